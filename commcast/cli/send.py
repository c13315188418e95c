"""The commands send and discard: release what is drafted, or take it back."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import typer

from commcast.cli import prompt
from commcast.cli.options import (
    DryRunOption,
    FolderOption,
    IncidentArgument,
    JsonOption,
    NoQuestionOption,
    YesOption,
)
from commcast.cli.output import say, show
from commcast.cli.release import Wishes, desk_now, ledger_of, send_incident, show_plan, tally_of
from commcast.cli.session import find_incident, is_open, needs_sending
from commcast.errors import DecisionNeeded, ExitCode, Fault, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk


LateOption = Annotated[bool, typer.Option("--late", help="Also what is older than its own promise.")]


def send(
    incident: IncidentArgument = None,
    late: LateOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Release an incident's drafts after a question, and send what is owed. Twice is safe.

    Example: commcast send pay7
    """
    wishes = Wishes(yes=yes, late=late, as_json=as_json)
    desk = desk_now(folder)
    with ledger_of(desk, dry_run=dry_run) as ledger:
        raise typer.Exit(send_by_id(desk, ledger, incident, wishes, dry_run=dry_run))


def send_by_id(desk: Desk, ledger: Ledger, wanted: str | None, wishes: Wishes, *, dry_run: bool) -> ExitCode:
    """Find the incident that is meant, and send it or show what would be sent."""
    from commcast.incidents.load import load_incidents
    from commcast.operations.desk import with_releases

    desk = with_releases(desk, ledger)
    loaded = load_incidents(desk.config, desk.now, released_at=desk.released_at)
    what = "incidents have something to send"
    found = find_incident(loaded, wanted, needs_sending(desk, ledger), what)
    if found is None:
        found = find_incident(loaded, None, is_open, "incidents are open, and all was already sent")
    if found is None:
        show("Nothing to send: no incident has a draft, and all was already sent.")
        return ExitCode.DONE
    present = [each.id for each in loaded.incidents]
    if dry_run:
        return plan_only(desk, found, ledger, present, wishes)
    return send_incident(desk, found, ledger, present, wishes)


def plan_only(
    desk: Desk, incident: Incident, ledger: Ledger | None, present: Collection[str], wishes: Wishes
) -> ExitCode:
    """Show what would be released and sent; write and send nothing. Returns 78 where that cannot be sent."""
    from commcast.operations.desk import check_story, make_plan

    check_story(desk, incident, ledger, present)
    plan = make_plan(desk, incident, ledger, as_if_released=True, late=wishes.late)
    return show_plan(desk, plan, tally_of(plan), ledger, as_json=wishes.as_json)


def discard(
    incident: IncidentArgument = None, yes: NoQuestionOption = False, folder: FolderOption = None
) -> None:
    """Take back updates that nobody released: only their lines leave the file.

    Example: commcast discard pay7
    """
    from commcast.incidents.load import load_incidents
    from commcast.model.release import changed, drafts
    from commcast.operations.desk import read_history, with_releases

    desk = desk_now(folder)
    with ledger_of(desk) as ledger:
        desk = with_releases(desk, ledger)
        loaded = load_incidents(desk.config, desk.now, released_at=desk.released_at)

        def has_drafts(each: Incident) -> bool:
            releases = read_history(ledger, each.id).releases
            return bool(drafts(each, releases)) and (is_open(each) or bool(releases))

        found = find_incident(loaded, incident, has_drafts, "incidents have drafts")
        if found is None:
            show("Nothing to discard: no open incident has a draft.")
            return
        releases = read_history(ledger, found.id).releases
        numbers = drafts(found, releases)
        if faults := changed(found, releases):
            raise InputError(faults)
        _discard(desk, found, ledger, numbers, whole=not releases, yes=yes)


def _discard(
    desk: Desk, incident: Incident, ledger: Ledger, numbers: tuple[int, ...], *, whole: bool, yes: bool
) -> None:
    from commcast.ledger.fence import stops_in_force

    if not numbers:
        raise InputError(
            Fault("", 0, 0, f"{incident.id} has no draft", "what was released stays; say more with an update")
        )
    path = desk.config.folder / incident.path
    several = "update" if len(numbers) == 1 else "updates"
    what = incident.path if whole else f"{several} {', '.join(map(str, numbers))} of {incident.path}"
    if not yes:
        _ask_to_discard(incident, numbers, what)
    with ledger.write() as connection:  # nobody can release anything while this is held
        if _is_still_draft(connection, desk, incident, numbers, whole=whole):
            _take_back(path, numbers, whole=whole)
        else:
            raise DecisionNeeded(
                f"{incident.path} has changed or was sent since you looked; nothing was discarded."
            )
    show(f"Discarded {what}; nobody was told of {'it' if whole or len(numbers) == 1 else 'them'}.")
    with ledger.read() as connection:
        if stops := stops_in_force(connection, incident.id):
            say(f"{incident.id} is still stopped by {stops[0].by}: commcast resume {incident.id}")


def _take_back(path: Path, numbers: tuple[int, ...], *, whole: bool) -> None:
    from commcast.incidents.editor import remove_updates

    if whole:
        path.unlink()
    else:
        remove_updates(path, numbers)


def _is_still_draft(
    connection: Connection, desk: Desk, incident: Incident, numbers: tuple[int, ...], *, whole: bool
) -> bool:
    """Return whether ledger and file still are as they were when the person was asked."""
    from commcast.incidents.load import load_incident
    from commcast.ledger.releases import read_releases

    releases = read_releases(connection, incident.id)
    untold = not releases if whole else releases.keys().isdisjoint(numbers)
    path = desk.config.folder / incident.path
    return untold and load_incident(path, desk.config, desk.now, desk.released_at) == incident


def _ask_to_discard(incident: Incident, numbers: tuple[int, ...], what: str) -> None:
    if not prompt.at_terminal():
        raise DecisionNeeded("Nothing was discarded: this needs a yes, at a terminal or with --yes.")
    for number in numbers:
        update = incident.update(number)
        say(f"update {number}, {update.status}: {update.nothing_new or update.fixed or update.issue}")
    if not prompt.says_yes(f"Discard {what}?"):
        raise DecisionNeeded("No: nothing was discarded.")
