"""The commands for planned work: schedule, start, extend, reschedule, complete and cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from commcast.cli import options, prompt
from commcast.cli.clock_times import (
    BEGUN,
    EARLY,
    check_ahead,
    how_to_go_on,
    how_to_move,
    longer,
    read_window,
    say_window,
    shown,
    still_to_come,
    window_of,
    written,
)
from commcast.cli.declare import begin, completed, first_words
from commcast.cli.options import refuse
from commcast.cli.release import desk_now
from commcast.cli.verbs import OpenIncident, VerbInput, append_and_send, find_open, refuse_untold, typed_words
from commcast.model.times import write_instant

if TYPE_CHECKING:
    from commcast.model.incident import Incident


DEFAULT_SEVERITY = 2  # customers hear of it, and of its end where nobody writes


def schedule(
    title: Annotated[
        str | None, typer.Argument(help="A title, or a preset's name.", show_default=False)
    ] = None,
    window: options.WindowOption = None,
    severity: options.SeverityOption = None,
    issue: options.IssueOption = None,
    resolution: options.ResolutionOption = None,
    scope: options.ScopeOption = None,
    action: options.ActionOption = None,
    affected: options.AffectedOption = None,
    audience: options.AudienceOption = None,
    owner: options.OwnerOption = None,
    internal: options.InternalOption = None,
    id: options.IdOption = None,
    edit: options.EditOption = False,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """Announce planned work: write its file, show what goes out, ask, and send.

    Readers are reminded before it begins, and their calendars follow it. The severity is 2 unless given.

    Example: commcast schedule "Database moves" --window "2026-12-05 02:00/04:00"
    --issue "Payments pause for 10 minutes." --resolution "We move the database."
    """
    said = VerbInput.of(locals())
    desk = desk_now(folder)
    if window is not None:
        said.keys["window"] = written(read_window(desk, window))
    data = {"severity": DEFAULT_SEVERITY, **first_words(desk.config, title, said.keys), "kind": "maintenance"}
    begin(desk, completed(desk, data, asked=not edit), said, still_to_come(desk))


def start(
    incident: options.IncidentArgument = None,
    issue: options.IssueOption = None,
    resolution: options.ResolutionOption = None,
    scope: options.ScopeOption = None,
    action: options.ActionOption = None,
    next_: options.NextOption = None,
    internal: options.InternalOption = None,
    edit: options.EditOption = False,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """Say that the planned work has begun.

    Example: commcast start database1
    """
    said = VerbInput.of(locals())
    place = _find_maintenance(said)
    window, name = window_of(place.incident), place.incident.id
    if place.incident.latest.status in BEGUN:
        refuse("", f"{name} has begun already", f"say more with: commcast update {name}")
    if place.desk.now >= window.end:
        refuse("", f"the window of {name} is over ({shown(place.desk, window)})", how_to_go_on(name))
    if place.desk.now < window.start - EARLY:
        refuse("", f"readers expect {name} later ({shown(place.desk, window)})", how_to_move(name))
    append_and_send(place, said, {"status": "in_progress"})


def extend(
    incident: options.IncidentArgument = None,
    until: Annotated[str | None, options.text_option("The new end: 05:00, or 2026-12-05 05:00.")] = None,
    because: options.BecauseOption = None,
    issue: options.IssueOption = None,
    resolution: options.ResolutionOption = None,
    scope: options.ScopeOption = None,
    action: options.ActionOption = None,
    next_: options.NextOption = None,
    internal: options.InternalOption = None,
    edit: options.EditOption = False,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """Say that the work takes longer than planned.

    Example: commcast extend --until 05:00 --because "Copying takes longer than planned."
    """
    said = VerbInput.of(locals())
    place = _find_maintenance(said)
    if until is None:
        refuse("", "--until is missing", "write the new end: --until 05:00")
    window = longer(place.desk, place.incident, until)
    say_window(place.desk, window)
    append_and_send(place, said, {"status": "extended", "window": written(window)})


def reschedule(
    incident: options.IncidentArgument = None,
    window: options.WindowOption = None,
    because: options.BecauseOption = None,
    issue: options.IssueOption = None,
    resolution: options.ResolutionOption = None,
    scope: options.ScopeOption = None,
    action: options.ActionOption = None,
    internal: options.InternalOption = None,
    edit: options.EditOption = False,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """Move planned work to another time; calendars and reminders move with it.

    Example: commcast reschedule database1 --window "2026-12-06 02:00/04:00"
    """
    said = VerbInput.of(locals())
    place = _find_maintenance(said)
    if window is None:
        refuse("", "--window is missing", 'write the new time: --window "2026-12-06 02:00/04:00"')
    found, old = read_window(place.desk, window), window_of(place.incident)
    check_ahead(place.desk, found)
    if (found.start, found.end) == (old.start, old.end):
        refuse("--window", "that is the window already", "give the new one")
    say_window(place.desk, found)
    append_and_send(place, said, {"status": "rescheduled", "window": written(found)})


def complete(
    incident: options.IncidentArgument = None,
    fixed: options.FixedOption = None,
    remains: options.RemainsOption = None,
    if_it_persists: options.PersistsOption = None,
    ended: options.EndedOption = None,
    internal: options.InternalOption = None,
    edit: options.EditOption = False,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """Say that the work is done, and what remains.

    Example: commcast complete database1 --fixed "The database runs on new hardware."
    """
    said = VerbInput.of(locals())
    place = _find_maintenance(said)
    latest, window, name = place.incident.latest, window_of(place.incident), place.incident.id
    if latest.status not in BEGUN and place.desk.now < window.start:
        remedy = f'call it off with: commcast cancel {name} --because "…"'
        refuse("", f"{name} has not begun ({shown(place.desk, window)})", remedy)
    typed = typed_words(said, "fixed", planned=True)
    if (
        typed
        and remains is None
        and (answer := prompt.ask("What may readers still notice? (empty: nothing)"))
    ):
        typed["remains"] = answer
    ended_now = {"ended": write_instant(place.desk.now)}
    append_and_send(place, said, ended_now | said.keys | typed | {"status": "completed"})


def cancel(
    incident: options.IncidentArgument = None,
    because: options.BecauseOption = None,
    internal: options.InternalOption = None,
    edit: options.EditOption = False,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """Call off planned work, or what was expected and will not come.

    Example: commcast cancel database1 --because "The new hardware came damaged."
    """
    said = VerbInput.of(locals())
    place = find_open(
        said,
        is_meant=lambda each: _is_planned(each) or _is_expected(each),
        what="maintenances or expected incidents are open",
        none="nothing is planned or expected: there is nothing to cancel",
    )
    found = place.incident
    if not (_is_planned(found) or _is_expected(found)):
        remedy = f'end it with: commcast resolve {found.id} --fixed "…"'
        refuse("", f"{found.id} is an incident that has begun", remedy)
    if not found.latest.is_end:
        refuse_untold(place)
    status = "cancelled" if _is_planned(found) else "retracted"
    append_and_send(place, said, typed_words(said, "because") | {"status": status})


def _find_maintenance(said: VerbInput) -> OpenIncident:
    place = find_open(
        said,
        is_meant=_is_planned,
        what="maintenances are open",
        none="no maintenance is open; plan one with: commcast schedule",
    )
    found = place.incident
    if not _is_planned(found):
        refuse("", f"{found.id} is an incident, no maintenance", f"say more with: commcast update {found.id}")
    if found.latest.is_end:
        refuse("", f"{found.id} is {found.latest.status} already", "plan it anew with: commcast schedule")
    return place


def _is_planned(incident: Incident) -> bool:
    return incident.kind == "maintenance"


def _is_expected(incident: Incident) -> bool:
    return incident.latest.status == "expected"
