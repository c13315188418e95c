"""The commands for planned work: schedule, start, extend, reschedule, complete and cancel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli import prompt
from commcast.cli.clock_times import (
    BEGUN,
    EARLY,
    check_ahead,
    how_to_go_on,
    how_to_move,
    longer,
    read_window,
    refuse,
    say_window,
    shown,
    still_to_come,
    window_of,
    written,
)
from commcast.cli.declare import begin, first_words
from commcast.cli.declare import complete as filled_in
from commcast.cli.options import (
    ActionOption,
    AffectedOption,
    AudienceOption,
    BecauseOption,
    DryRunOption,
    EditOption,
    EndedOption,
    FixedOption,
    FolderOption,
    IncidentArgument,
    InternalOption,
    IssueOption,
    JsonOption,
    NextOption,
    OwnerOption,
    PersistsOption,
    RemainsOption,
    ResolutionOption,
    ScopeOption,
    SeverityOption,
    WindowOption,
    YesOption,
    written_keys,
)
from commcast.cli.release import Wishes, desk_now
from commcast.cli.update import OpenIncident, append_and_send, asked_for, find_open, refuse_untold

if TYPE_CHECKING:
    from commcast.model.incident import Incident


DEFAULT_SEVERITY = 2  # customers hear of it, and of its end where nobody writes


def schedule(
    title: Annotated[
        str | None, typer.Argument(help="A title, or a preset's name.", show_default=False)
    ] = None,
    window: WindowOption = None,
    severity: SeverityOption = None,
    issue: IssueOption = None,
    resolution: ResolutionOption = None,
    scope: ScopeOption = None,
    action: ActionOption = None,
    affected: AffectedOption = None,
    audience: AudienceOption = None,
    owner: OwnerOption = None,
    internal: InternalOption = None,
    id: Annotated[
        str | None, typer.Option("--id", help="A short id; default: made from the title.", show_default=False)
    ] = None,
    edit: EditOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Announce planned work: write its file, show what goes out, ask, and tell everybody.

    Readers are reminded before it begins, and their calendars move with it. Severity 2 unless you say so.

    Example: commcast schedule "Database moves" --window "2026-12-05 02:00/04:00"
    --issue "Payments pause for 10 minutes." --resolution "We move the database."
    """
    keys = written_keys(locals())
    desk = desk_now(folder)
    keys.pop("title", None)
    if "window" in keys:
        keys["window"] = written(read_window(desk, keys["window"]))
    data = first_words(desk.config, title, keys)
    data = filled_in(desk, {"severity": DEFAULT_SEVERITY, **data, "kind": "maintenance"}, asked=not edit)
    wishes = Wishes(yes=yes, as_json=as_json)
    raise typer.Exit(begin(desk, data, wishes, edit=edit, dry_run=dry_run, check=still_to_come(desk)))


def start(
    incident: IncidentArgument = None,
    issue: IssueOption = None,
    resolution: ResolutionOption = None,
    scope: ScopeOption = None,
    action: ActionOption = None,
    next_: NextOption = None,
    internal: InternalOption = None,
    edit: EditOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Say that the planned work has begun.

    Example: commcast start database1
    """
    keys = written_keys(locals())
    place = _find_maintenance(folder, incident)
    window, name = window_of(place.incident), place.incident.id
    if place.incident.latest.status in BEGUN:
        refuse("", f"{name} has begun already", f"say more with: commcast update {name}")
    if place.desk.now >= window.end:
        refuse("", f"the window of {name} is over ({shown(place.desk, window)})", how_to_go_on(name))
    if place.desk.now < window.start - EARLY:
        refuse("", f"readers expect {name} later ({shown(place.desk, window)})", how_to_move(name))
    keys["status"] = "in_progress"
    append_and_send(place, keys, Wishes(yes=yes, as_json=as_json), edit=edit, dry_run=dry_run)


def extend(
    incident: IncidentArgument = None,
    until: Annotated[
        str | None,
        typer.Option(help="The new end: 05:00, or 2026-12-05 05:00.", show_default=False, metavar="TEXT"),
    ] = None,
    because: BecauseOption = None,
    issue: IssueOption = None,
    resolution: ResolutionOption = None,
    scope: ScopeOption = None,
    action: ActionOption = None,
    next_: NextOption = None,
    internal: InternalOption = None,
    edit: EditOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Say that the work takes longer than planned.

    Example: commcast extend --until 05:00 --because "Copying takes longer than planned."
    """
    keys = written_keys(locals())
    place = _find_maintenance(folder, incident)
    if until is None:
        refuse("", "--until is missing", "write the new end: --until 05:00")
    window = longer(place.desk, place.incident, until)
    keys |= {"status": "extended", "window": written(window)}
    say_window(place.desk, window)
    append_and_send(place, keys, Wishes(yes=yes, as_json=as_json), edit=edit, dry_run=dry_run)


def reschedule(
    incident: IncidentArgument = None,
    window: WindowOption = None,
    because: BecauseOption = None,
    issue: IssueOption = None,
    resolution: ResolutionOption = None,
    scope: ScopeOption = None,
    action: ActionOption = None,
    internal: InternalOption = None,
    edit: EditOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Move planned work to another time; calendars and reminders move with it.

    Example: commcast reschedule database1 --window "2026-12-06 02:00/04:00"
    """
    keys = written_keys(locals())
    place = _find_maintenance(folder, incident)
    if window is None:
        refuse("", "--window is missing", 'write the new time: --window "2026-12-06 02:00/04:00"')
    found, old = read_window(place.desk, window), window_of(place.incident)
    check_ahead(place.desk, found)
    if (found.start, found.end) == (old.start, old.end):
        refuse("--window", "that is the window already", "give the new one")
    keys |= {"status": "rescheduled", "window": written(found)}
    say_window(place.desk, found)
    append_and_send(place, keys, Wishes(yes=yes, as_json=as_json), edit=edit, dry_run=dry_run)


def complete(
    incident: IncidentArgument = None,
    fixed: FixedOption = None,
    remains: RemainsOption = None,
    if_it_persists: PersistsOption = None,
    ended: EndedOption = None,
    internal: InternalOption = None,
    edit: EditOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Say that the work is done, and what remains.

    Example: commcast complete database1 --fixed "The database runs on new hardware."
    """
    from commcast.model.times import write_instant

    keys = written_keys(locals())
    place = _find_maintenance(folder, incident)
    latest, window, name = place.incident.latest, window_of(place.incident), place.incident.id
    if latest.status not in BEGUN and place.desk.now < window.start:
        remedy = f'call it off with: commcast cancel {name} --because "…"'
        refuse("", f"{name} has not begun ({shown(place.desk, window)})", remedy)
    if "fixed" not in keys and not edit:
        keys |= asked_for("fixed", "", planned=True)
        keys |= _what_remains(keys)
    keys["status"] = "completed"
    keys.setdefault("ended", write_instant(place.desk.now))
    append_and_send(place, keys, Wishes(yes=yes, as_json=as_json), edit=edit, dry_run=dry_run)


def cancel(
    incident: IncidentArgument = None,
    because: BecauseOption = None,
    internal: InternalOption = None,
    edit: EditOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Call off planned work, or what was expected and will not come.

    Example: commcast cancel database1 --because "The new hardware came damaged."
    """
    keys = written_keys(locals())
    place = find_open(
        folder,
        incident,
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
    if "because" not in keys and not edit:
        keys |= asked_for("because", "")
    keys["status"] = "cancelled" if _is_planned(found) else "retracted"
    append_and_send(place, keys, Wishes(yes=yes, as_json=as_json), edit=edit, dry_run=dry_run)


def _find_maintenance(folder: Path | None, wanted: str | None) -> OpenIncident:
    place = find_open(
        folder,
        wanted,
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


def _what_remains(keys: dict[str, Any]) -> dict[str, str]:
    """Return what a person at a terminal says of what readers may still notice; nothing for an empty line."""
    if "remains" in keys or not prompt.at_terminal():
        return {}
    answer = prompt.ask("What may readers still notice? (empty: nothing)")
    return {"remains": answer} if answer else {}
