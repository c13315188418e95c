"""The commands retract, reopen and merge: an incident that was none, is not over, or is part of another."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli import asking
from commcast.cli.finding import find_incident, is_open_for_readers
from commcast.cli.options import DryRunOption, FolderOption, IncidentArgument, JsonOption, YesOption
from commcast.cli.releasing import Wishes, desk_now, ledger_of
from commcast.cli.update import Place, append_and_send, asked_for, find_open, refuse_over, refuse_untold
from commcast.cli.words import (
    ActionOption,
    BecauseOption,
    ConfidenceOption,
    InternalOption,
    IssueOption,
    NextOption,
    ResolutionOption,
    ScopeOption,
    SeverityOption,
    TimeframeOption,
    meaning,
    missing_options,
    written_keys,
)
from commcast.errors import DecisionNeeded, Fault, InputError, LedgerError

if TYPE_CHECKING:
    from commcast.ledger.store import Ledger
    from commcast.model import Incident

_NEEDED_ANEW = ("issue", "resolution", "timeframe")


def retract(
    incident: IncidentArgument = None,
    because: BecauseOption = None,
    action: ActionOption = None,
    internal: InternalOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Take a false alarm back: exactly those who heard of it are told so.

    Example: commcast retract pay7 --because "Our monitor was wrong: all payments went through."
    """
    keys = written_keys(locals())
    place = find_open(folder, incident)
    refuse_over(place, 'cancel {id} --because "…"')
    refuse_untold(place)
    if "because" not in keys:
        keys |= asked_for("because", "")
    _send(place, {**keys, "status": "retracted"}, yes=yes, dry_run=dry_run, as_json=as_json)


def reopen(
    incident: Annotated[
        str | None,
        typer.Argument(help="The incident's id; may be left out when only one is over.", show_default=False),
    ] = None,
    issue: IssueOption = None,
    resolution: ResolutionOption = None,
    timeframe: TimeframeOption = None,
    confidence: ConfidenceOption = None,
    scope: ScopeOption = None,
    action: ActionOption = None,
    severity: SeverityOption = None,
    next_: NextOption = None,
    internal: InternalOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Say that it is not over after all, with what is seen and done now.

    What was said before the end does not hold any more: issue, resolution and timeframe are needed anew.

    Example: commcast reopen pay7 --issue "Cards are refused again." --resolution
    "We look into it." --timeframe unknown
    """
    keys = written_keys(locals())
    place = _find_over(folder, incident)
    missing = [key for key in _NEEDED_ANEW if key not in keys]
    if missing and not asking.at_terminal():
        raise missing_options(missing)
    for key in missing:
        keys[key] = asking.ask_until_good(f"{key.capitalize()} ({meaning(key)}):", _check(key, place))
    _send(place, {**keys, "status": "reopened"}, yes=yes, dry_run=dry_run, as_json=as_json)


def merge(
    into: Annotated[str, typer.Option("--into", help="The incident that goes on.", metavar="ID")],
    incident: Annotated[
        str | None, typer.Argument(help="The incident that ends here.", show_default=False)
    ] = None,
    because: BecauseOption = None,
    action: ActionOption = None,
    internal: InternalOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """End an incident that is part of another, with one last message that names it.

    From then on it is one story: whoever heard of this one also hears how the other one ends.

    Example: commcast merge pay8 --into pay7
    """
    keys = written_keys(locals())
    place = find_open(
        folder,
        incident,
        is_meant=lambda each: each.id != into,
        none="no other incident is open; see them with: commcast status",
    )
    _check_goes_on(place, into)
    words = {**keys, "status": "merged", "merged_into": into}
    _send(place, words, yes=yes, dry_run=dry_run, as_json=as_json)


def _send(place: Place, keys: dict[str, Any], *, yes: bool, dry_run: bool, as_json: bool) -> None:
    append_and_send(place, keys, Wishes(yes=yes, as_json=as_json), edit=False, dry_run=dry_run)


def _find_over(folder: Path | None, wanted: str | None) -> Place:
    """Return the incident to reopen: one whose end readers heard."""
    from commcast.desk import read_standing
    from commcast.incidents.load import load_incidents

    desk = desk_now(folder)
    loaded = load_incidents(desk.config, desk.now)
    with ledger_of(desk, dry_run=True) as ledger:
        is_open = is_open_for_readers(ledger)

        def is_over(each: Incident) -> bool:
            return not is_open(each) and bool(read_standing(ledger, each.id).releases)

        found = find_incident(loaded, wanted, is_over, "incidents are over")
        if found is None:
            raise InputError("no incident is over: there is nothing to reopen")
        _refuse_open(found, is_over=is_over(found))
    return Place(desk, found, [each.id for each in loaded.incidents])


def _refuse_open(incident: Incident, *, is_over: bool) -> None:
    if not is_over and incident.latest.is_end:
        raise DecisionNeeded(
            f"the end of {incident.id} is a draft that nobody released: commcast discard {incident.id} "
            "takes it back"
        )
    if not is_over or not incident.latest.is_end:
        raise InputError(
            Fault("", 0, 0, f"{incident.id} is not over", f"say more with: commcast update {incident.id}")
        )


def _check_goes_on(place: Place, into: str) -> None:
    """Refuse to send readers to an incident that is none, is over, or that nobody was told of."""
    if into == place.incident.id:
        raise InputError(Fault("--into", 0, 0, f"{into} cannot be part of itself", "name the other one"))
    if into not in place.present:
        known = ", ".join(sorted(set(place.present) - {place.incident.id})[:12]) or "there is none"
        raise InputError(Fault("--into", 0, 0, f"there is no incident {into!r:.60}", f"known: {known}"))
    with ExitStack() as stack:
        try:
            ledger = stack.enter_context(ledger_of(place.desk, dry_run=True))
        except LedgerError:
            return  # sending will say it
        told = _last_told(ledger, into)
    if told is None:
        remedy = f"first: commcast send {into}"
        raise InputError(Fault("--into", 0, 0, f"nobody was told of {into} yet", remedy))
    if told.kind == "maintenance" or told.latest.status == "expected":
        # It may never take place, and until then nobody would hear a word.
        what = f"{into} is planned work" if told.kind == "maintenance" else f"{into} has not begun"
        raise InputError(
            Fault("--into", 0, 0, what, f"go on with {place.incident.id}, and name {into} in its words")
        )
    if told.latest.is_end:
        remedy = f'end this one by itself: commcast resolve {place.incident.id} --fixed "…"'
        raise InputError(Fault("--into", 0, 0, f"{into} is over", remedy))


def _last_told(ledger: Ledger, incident: str) -> Incident | None:
    """Return an incident as it was released; None where nothing of it was."""
    from commcast.ledger.releases import released_incident

    with ledger.read() as connection:
        return released_incident(connection, incident)


def _check(key: str, place: Place) -> asking.Check:
    def check(answer: str) -> None:
        from commcast.instants import parse_timeframe

        if key == "timeframe":
            parse_timeframe(answer, place.desk.now, place.desk.config.zone)

    return check
