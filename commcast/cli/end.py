"""Resolve, retract, reopen, merge."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli import prompt
from commcast.cli.options import (
    ActionOption,
    BecauseOption,
    ConfidenceOption,
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
    PersistsOption,
    RemainsOption,
    ResolutionOption,
    ScopeOption,
    SeverityOption,
    TimeframeOption,
    YesOption,
    meaning,
    missing_options,
    with_dates,
    written_keys,
)
from commcast.cli.output import say
from commcast.cli.release import Wishes, desk_now, ledger_of
from commcast.cli.session import find_incident, is_open_for_readers
from commcast.cli.update import (
    OpenIncident,
    append_and_send,
    asked_for,
    find_open,
    refuse_over,
    refuse_untold,
)
from commcast.errors import DecisionNeeded, Fault, InputError, LedgerError
from commcast.model.incident import Incident, Status

if TYPE_CHECKING:
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident


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
    if missing and not prompt.at_terminal():
        raise missing_options(missing)
    for key in missing:
        keys[key] = prompt.ask_until_good(f"{key.capitalize()} ({meaning(key)}):", _check(key, place))
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


def _send(place: OpenIncident, keys: dict[str, Any], *, yes: bool, dry_run: bool, as_json: bool) -> None:
    append_and_send(place, keys, Wishes(yes=yes, as_json=as_json), edit=False, dry_run=dry_run)


def _find_over(folder: Path | None, wanted: str | None) -> OpenIncident:
    """Return the incident to reopen: one whose end readers heard."""
    from commcast.incidents.load import load_incidents
    from commcast.operations.desk import read_history

    desk = desk_now(folder)
    loaded = load_incidents(desk.config, desk.now)
    with ledger_of(desk, dry_run=True) as ledger:
        is_open = is_open_for_readers(ledger)

        def is_over(each: Incident) -> bool:
            return not is_open(each) and bool(read_history(ledger, each.id).releases)

        found = find_incident(loaded, wanted, is_over, "incidents are over")
        if found is None:
            raise InputError("no incident is over: there is nothing to reopen")
        _refuse_open(found, is_over=is_over(found))
    return OpenIncident(desk, found, [each.id for each in loaded.incidents])


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


def _check_goes_on(place: OpenIncident, into: str) -> None:
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


def _check(key: str, place: OpenIncident) -> prompt.Check:
    def check(answer: str) -> None:
        from commcast.model.times import parse_timeframe

        if key == "timeframe":
            parse_timeframe(answer, place.desk.now, place.desk.config.zone)

    return check


def resolve(
    incident: IncidentArgument = None,
    fixed: FixedOption = None,
    remains: RemainsOption = None,
    if_it_persists: PersistsOption = None,
    ended: EndedOption = None,
    resolution: ResolutionOption = None,
    check_in: Annotated[
        list[str] | None,
        typer.Option(
            "--check-in",
            help="An audience to ask on the next working day whether all is well; repeat it.",
            show_default=False,
        ),
    ] = None,
    internal: InternalOption = None,
    edit: EditOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Say that it is over, to everybody who was told that it began.

    Without words it asks for them: what mended it, what remains, what to do if it persists, when it ended.

    Example: commcast resolve pay7 --fixed "We took back the 09:45 release."
    """
    from commcast.model.times import write_instant

    keys = written_keys(locals())
    place = find_open(folder, incident)
    refuse_over(place, 'complete {id} --fixed "…"')
    _refuse_not_begun(place)
    if "fixed" not in keys and not edit:
        keys |= asked_for("fixed", "") | _asked_of_the_end(place, keys)
    keys["status"] = "resolved"
    # Now, not when somebody says yes to it: a draft that waits must not move the end.
    keys.setdefault("ended", write_instant(place.desk.now))
    _check_not_ahead(place, keys["ended"])
    _tell_duration(place, keys["ended"])
    append_and_send(place, keys, Wishes(yes=yes, as_json=as_json), edit=edit, dry_run=dry_run)


def _refuse_not_begun(place: OpenIncident) -> None:
    """Refuse to end what was only expected: readers would be told of an end without a beginning."""
    name = place.incident.id
    if place.incident.latest.status == "expected":
        remedy = f'if it will not come: commcast cancel {name} --because "…"; if it has begun: '
        remedy += f"commcast update {name} --status investigating"
        raise InputError(Fault("", 0, 0, f"{name} is only expected, and has not begun", remedy))


_QUESTIONS = {
    "remains": "What remains (what readers may still notice; Enter for nothing):",
    "if_it_persists": "If it persists (what to do when it is not over for somebody; Enter for nothing):",
    "ended": "Ended (such as 11:08; Enter for now):",
}


def _asked_of_the_end(place: OpenIncident, given: Mapping[str, Any]) -> dict[str, str]:
    """Return what else a person types about the end; all of it may be left empty."""

    def check(answer: str) -> None:
        ended = _moment(place, answer)
        if ended is None:
            raise ValueError("is no time; write 11:08, or 2026-11-21T11:08")
        began = _began(place.incident)
        if ended > place.desk.now or (began is not None and ended < began):
            raise ValueError("is in the future, or before it began; write when it was over")

    answers = {
        key: prompt.ask_until_good(
            question, check if key == "ended" else lambda answer: answer, is_needed=False
        )
        for key, question in _QUESTIONS.items()
        if key not in given
    }
    return {key: answer for key, answer in answers.items() if answer}


def _began(incident: Incident) -> datetime | None:
    """Return when it began, last if it was reopened; None where nobody knows."""
    reopened = [each.at for each in incident.updates if each.status is Status.REOPENED]
    if reopened:
        return reopened[-1].replace(second=0, microsecond=0)
    return incident.started if incident.started_written else None


def _check_not_ahead(place: OpenIncident, ended: str) -> None:
    """Refuse a clock time that is still to come: the day before is not what was meant. Raises InputError."""
    moment, first = _moment(place, ended), place.incident.updates[0].at
    if moment is not None and ":" in ended[:3] and moment < min(first, place.incident.started):
        when = moment.astimezone(place.desk.config.zone)
        what = f"{ended} was last on {when:%a} {when.day} {when:%b}, before it began"
        raise InputError(Fault("--ended", 0, 0, what, "write when it was over, or leave it out: now"))


def _tell_duration(place: OpenIncident, ended: str) -> None:
    """Say how long it lasted, as readers will read it: a wrong time is seen before it is sent."""
    from commcast.model.times import spoken_duration

    moment, incident = _moment(place, ended), place.incident
    if moment is not None and incident.started_written and moment >= incident.started:
        say(f"It lasted {spoken_duration(moment - incident.started)}.")


def _moment(place: OpenIncident, text: str) -> datetime | None:
    """Return the moment that a time of the end means, None where it is none."""
    from commcast.model.times import parse_instant

    try:
        return parse_instant(str(with_dates({"ended": text}, place.desk)["ended"]), place.desk.config.zone)
    except ValueError:
        return None
