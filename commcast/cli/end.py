"""The commands resolve, retract, reopen and merge."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from commcast.cli import options, prompt
from commcast.cli.clock_times import with_dates
from commcast.cli.declare import answer_check
from commcast.cli.options import meaning, missing_options, refuse
from commcast.cli.output import say
from commcast.cli.release import desk_now, ledger_of
from commcast.cli.session import find_incident, is_open_for_readers
from commcast.cli.verbs import (
    OpenIncident,
    VerbInput,
    append_and_send,
    find_open,
    refuse_over,
    refuse_untold,
    typed_words,
)
from commcast.errors import DecisionNeeded, InputError, LedgerError
from commcast.model.incident import Status
from commcast.model.times import parse_instant, spoken_duration, write_instant

if TYPE_CHECKING:
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident


def resolve(
    incident: options.IncidentArgument = None,
    fixed: options.FixedOption = None,
    remains: options.RemainsOption = None,
    if_it_persists: options.PersistsOption = None,
    ended: options.EndedOption = None,
    resolution: options.ResolutionOption = None,
    check_in: Annotated[
        list[str] | None,
        typer.Option(
            help="An audience to ask on the next working day whether all is well; repeat it.",
            show_default=False,
        ),
    ] = None,
    internal: options.InternalOption = None,
    edit: options.EditOption = False,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """Say that it is over, to everybody who was told that it began.

    Without options it asks: what fixed it, what remains, what to do if it persists, when it ended.

    Example: commcast resolve pay7 --fixed "We took back the 09:45 release."
    """
    said = VerbInput.of(locals())
    place = find_open(said)
    refuse_over(place, 'complete {id} --fixed "…"')
    _refuse_not_begun(place)
    typed = typed_words(said, "fixed")
    if typed:
        typed |= _typed_of_the_end(place, said)
    # Now, not when somebody says yes to it: a draft that waits must not move the end.
    keys = {"ended": write_instant(place.desk.now)} | said.keys | typed
    _check_not_ahead(place, keys["ended"])
    _tell_duration(place, keys["ended"])
    append_and_send(place, said, keys | {"status": "resolved"})


def retract(
    incident: options.IncidentArgument = None,
    because: options.BecauseOption = None,
    action: options.ActionOption = None,
    internal: options.InternalOption = None,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """Withdraw a false alarm; exactly those who were told get a retraction.

    Example: commcast retract pay7 --because "Our monitor was wrong: all payments went through."
    """
    said = VerbInput.of(locals())
    place = find_open(said)
    refuse_over(place, 'cancel {id} --because "…"')
    refuse_untold(place)
    append_and_send(place, said, typed_words(said, "because") | {"status": "retracted"})


def reopen(
    incident: Annotated[
        str | None,
        typer.Argument(help="The incident's id; may be left out when only one is over.", show_default=False),
    ] = None,
    issue: options.IssueOption = None,
    resolution: options.ResolutionOption = None,
    timeframe: options.TimeframeOption = None,
    confidence: options.ConfidenceOption = None,
    scope: options.ScopeOption = None,
    action: options.ActionOption = None,
    severity: options.SeverityOption = None,
    next_: options.NextOption = None,
    internal: options.InternalOption = None,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """Say that it is not over after all, with what is seen and done now.

    What was said before the end no longer holds: issue, resolution and timeframe are needed again.

    Example: commcast reopen pay7 --issue "Cards are refused again." --resolution
    "We look into it." --timeframe unknown
    """
    said = VerbInput.of(locals())
    place = _find_over(said)
    missing = [key for key in ("issue", "resolution", "timeframe") if key not in said.keys]
    if missing and not prompt.at_terminal():
        raise missing_options(missing)
    typed = {
        key: prompt.ask_until_good(f"{key.capitalize()} ({meaning(key)}):", answer_check(place.desk, key))
        for key in missing
    }
    append_and_send(place, said, typed | {"status": "reopened"})


def merge(
    into: Annotated[str, typer.Option(help="The incident that goes on.", metavar="ID")],
    incident: Annotated[
        str | None, typer.Argument(help="The incident that ends here.", show_default=False)
    ] = None,
    because: options.BecauseOption = None,
    action: options.ActionOption = None,
    internal: options.InternalOption = None,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    folder: options.FolderOption = None,
) -> None:
    """End an incident that is part of another, with one last message that names it.

    From then on it is one story: readers of this one also hear how the other one ends.

    Example: commcast merge pay8 --into pay7
    """
    said = VerbInput.of(locals())
    none = "no other incident is open; see them with: commcast status"
    place = find_open(said, is_meant=lambda each: each.id != into, none=none)
    _check_goes_on(place, into)
    append_and_send(place, said, {"status": "merged", "merged_into": into})


def _find_over(said: VerbInput) -> OpenIncident:
    """Return the incident to reopen: one whose end readers heard. Raises InputError and DecisionNeeded."""
    from commcast.incidents.load import load_incidents
    from commcast.operations.desk import read_history

    desk = desk_now(said.folder)
    loaded = load_incidents(desk.config, desk.now)
    with ledger_of(desk, dry_run=True) as ledger:
        is_open = is_open_for_readers(ledger)

        def is_over(each: Incident) -> bool:
            return not is_open(each) and bool(read_history(ledger, each.id).releases)

        found = find_incident(loaded, said.incident, is_over, "incidents are over")
        if found is None:
            raise InputError("no incident is over: there is nothing to reopen")
        if not found.latest.is_end:
            refuse("", f"{found.id} is not over", f"say more with: commcast update {found.id}")
        if not is_over(found):
            raise DecisionNeeded(
                f"the end of {found.id} is a draft that nobody released: commcast discard {found.id} "
                "takes it back"
            )
    return OpenIncident(desk, found, loaded.ids)


def _check_goes_on(place: OpenIncident, into: str) -> None:
    """Refuse to send readers to an incident that does not exist, is over, or that nobody was told of."""
    name = place.incident.id
    if into == name:
        refuse("--into", f"{into} cannot be part of itself", "name the other one")
    if into not in place.present:
        known = ", ".join(sorted(set(place.present) - {name})[:12]) or "there is none"
        refuse("--into", f"there is no incident {into!r:.60}", f"known: {known}")
    with ExitStack() as stack:
        try:
            ledger = stack.enter_context(ledger_of(place.desk, dry_run=True))
        except LedgerError:
            return  # sending will say it
        told = _last_told(ledger, into)
    if told is None:
        refuse("--into", f"nobody was told of {into} yet", f"first: commcast send {into}")
    if told.kind == "maintenance" or told.latest.status == "expected":
        # It may never take place, and until then nobody would hear a word.
        what = f"{into} is planned work" if told.kind == "maintenance" else f"{into} has not begun"
        refuse("--into", what, f"go on with {name}, and name {into} in its words")
    if told.latest.is_end:
        refuse("--into", f"{into} is over", f'end this one by itself: commcast resolve {name} --fixed "…"')


def _last_told(ledger: Ledger, incident: str) -> Incident | None:
    """Return an incident as it was released; None if nothing of it was."""
    from commcast.ledger.releases import released_incident

    with ledger.read() as connection:
        return released_incident(connection, incident)


def _refuse_not_begun(place: OpenIncident) -> None:
    """Refuse to end what was only expected: readers would be told of an end without a beginning."""
    name = place.incident.id
    if place.incident.latest.status == "expected":
        remedy = f'if it will not come: commcast cancel {name} --because "…"; if it has begun: '
        remedy += f"commcast update {name} --status investigating"
        refuse("", f"{name} is only expected, and has not begun", remedy)


_QUESTIONS = {
    "remains": "What remains (what readers may still notice; Enter for nothing):",
    "if_it_persists": "If it persists (what to do when it is not over for somebody; Enter for nothing):",
    "ended": "Ended (such as 11:08; Enter for now):",
}


def _typed_of_the_end(place: OpenIncident, said: VerbInput) -> dict[str, str]:
    """Return what else a person types about the end; all of it may be left empty."""

    def check_ended(answer: str) -> None:
        ended = _moment(place, answer)
        if ended is None:
            raise ValueError("is no time; write 11:08, or 2026-11-21T11:08")
        began = _began(place.incident)
        if ended > place.desk.now or (began is not None and ended < began):
            raise ValueError("is in the future, or before it began; write when it was over")

    checks: dict[str, prompt.Check] = {"ended": check_ended}
    answers = {
        key: prompt.ask_until_good(question, checks.get(key, lambda answer: answer), is_needed=False)
        for key, question in _QUESTIONS.items()
        if key not in said.keys
    }
    return {key: answer for key, answer in answers.items() if answer}


def _began(incident: Incident) -> datetime | None:
    """Return when it began, or was last reopened; None if nobody knows."""
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
        refuse("--ended", what, "write when it was over, or leave it out: now")


def _tell_duration(place: OpenIncident, ended: str) -> None:
    """Say how long it lasted, as readers will read it: a wrong time is seen before it is sent."""
    moment, incident = _moment(place, ended), place.incident
    if moment is not None and incident.started_written and moment >= incident.started:
        say(f"It lasted {spoken_duration(moment - incident.started)}.")


def _moment(place: OpenIncident, text: str) -> datetime | None:
    """Return the moment that a time of the end means, None if it means none."""
    try:
        return parse_instant(str(with_dates({"ended": text}, place.desk)["ended"]), place.desk.config.zone)
    except ValueError:
        return None
