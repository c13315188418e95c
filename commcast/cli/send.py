"""The commands send and discard: release what is drafted, or take it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from commcast.cli import prompt
from commcast.cli.options import (
    FolderOption,
    IncidentArgument,
    NoQuestionOption,
    VerbInput,
    clock,
    refuse,
    verb,
)
from commcast.cli.output import say, show
from commcast.cli.release import send_incident
from commcast.cli.session import Place, desk_now, find_incident, is_open, ledger_of, load, needs_sending, who
from commcast.errors import DecisionNeeded, InputError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk


@verb("incident late")
def send(said: VerbInput) -> None:
    """Release an incident's drafts after confirmation, and send what is due. Safe to repeat.

    Example: commcast send pay7
    """
    desk = desk_now(said.folder)
    with ledger_of(desk, dry_run=said.dry_run) as ledger:
        desk, loaded = load(desk, ledger)
        what = "incidents have something to send"
        found = find_incident(loaded, said.incident, needs_sending(desk, ledger), what)
        if found is None:
            found = find_incident(loaded, None, is_open, "incidents are open, and everything was sent")
        if found is None:
            show("Nothing to send: no incident has a draft, and no message waits.")
            return
        raise typer.Exit(send_incident(Place(desk, found, loaded.ids), ledger, said))


def discard(
    incident: IncidentArgument = None, yes: NoQuestionOption = False, folder: FolderOption = None
) -> None:
    """Delete unreleased drafts from the incident file.

    Example: commcast discard pay7
    """
    from commcast.incidents.editor import remove_updates
    from commcast.model.release import changed, drafts
    from commcast.operations.desk import read_history

    desk = desk_now(folder)
    with ledger_of(desk) as ledger:
        desk, loaded = load(desk, ledger)

        def has_drafts(each: Incident) -> bool:
            releases = read_history(ledger, each.id).releases
            return bool(drafts(each, releases)) and (is_open(each) or bool(releases))

        found = find_incident(loaded, incident, has_drafts, "incidents have drafts")
        if found is None:
            show("Nothing to discard: no open incident has a draft.")
            return
        history = read_history(ledger, found.id)
        releases = history.releases
        numbers, whole = drafts(found, releases), not releases
        if faults := changed(found, releases):
            raise InputError(faults)
        if not numbers and history.correcting:  # it ended between its stop and its words
            with ledger.write() as connection:
                _give_up_correction(connection, found.id)
            show(f"The correction of {found.id} is abandoned; nothing was written.")
            _tell_of_stop(ledger, found.id)
            return
        if not numbers:
            refuse("", f"{found.id} has no draft", "what was released stays; post an update instead")
        several = "update" if len(numbers) == 1 else "updates"
        what = found.path if whole else f"{several} {', '.join(map(str, numbers))} of {found.path}"
        if not yes:
            _ask_to_discard(found, numbers, what)
        with ledger.write() as connection:  # nobody can release anything while this is held
            if not _is_still_draft(connection, desk, found, numbers, whole=whole):
                what = f"{found.path} has changed or was sent since you looked"
                raise DecisionNeeded(f"{what}; nothing was discarded.")
            path = desk.config.folder / found.path
            if whole:
                path.unlink()
            else:
                remove_updates(path, numbers)
            _give_up_correction(connection, found.id)
        show(f"Discarded {what}; nobody was told of {'it' if whole or len(numbers) == 1 else 'them'}.")
        _tell_of_stop(ledger, found.id)


def _give_up_correction(connection: Connection, incident: str) -> None:
    """End the stop of a correction that is not to be; what still waits stays stopped by this person."""
    from commcast.ledger.fence import give_up_correction
    from commcast.ledger.overview import overviews

    told = overviews(connection).get(incident)
    waits = bool(told and told.counts["pending"])
    give_up_correction(connection, incident, who(), clock(), keep=waits)


def _tell_of_stop(ledger: Ledger, incident: str) -> None:
    from commcast.ledger.fence import stops_in_force
    from commcast.model.history import way_on

    with ledger.read() as connection:
        if stops := stops_in_force(connection, incident):
            say(f"{incident} is still stopped by {stops[0].by}: {way_on(incident, stops[0].by)}")


def _is_still_draft(
    connection: Connection, desk: Desk, incident: Incident, numbers: tuple[int, ...], *, whole: bool
) -> bool:
    """Return whether ledger and file are still as they were when the person was asked."""
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
