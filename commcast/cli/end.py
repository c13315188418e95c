"""The commands resolve, retract, reopen and merge."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from commcast.cli import prompt, verbs
from commcast.cli.clock_times import with_dates
from commcast.cli.declare import ASKED_FOR, answer_check
from commcast.cli.options import VerbInput, missing_options, refuse, verb
from commcast.cli.output import say
from commcast.cli.session import Place, desk_now, ledger_if_any, ledger_of, no_incident
from commcast.errors import DecisionNeeded
from commcast.model.incident import Status, needed_at, over_since
from commcast.model.times import parse_instant, spoken_duration, write_instant

if TYPE_CHECKING:
    from commcast.model.incident import Incident


@verb(
    "incident fixed cause remains if_it_persists change works data link offer ended resolution check_in "
    "internal edit"
)
def resolve(said: VerbInput) -> None:
    """Resolve an incident, and tell everyone who was told that it began.

    Without options it asks what fixed it, what remains, what to do if it persists, and when it ended.

    Example: commcast resolve pay7 --fixed "We took back the 09:45 release."
    """
    place = verbs.find_open(said)
    verbs.refuse_over(place, 'complete {id} --fixed "…"')
    name = place.incident.id
    if place.incident.latest.status == "expected":  # readers would be told of an end without a start
        remedy = f'if it will not come: commcast cancel {name} --because "…"; if it has begun: '
        remedy += f"commcast update {name} --status investigating"
        refuse("", f"{name} is only expected, and has not begun", remedy)
    typed = verbs.typed_words(said, "fixed")
    if typed:
        typed |= _typed_of_the_end(place, said)
    # Now, not when somebody releases it: a draft that waits must not move the end.
    keys = {"ended": write_instant(place.desk.now)} | said.keys | typed
    _check_end(place, keys["ended"])
    verbs.append_and_send(place, said, keys | {"status": "resolved"})


@verb("incident because action internal")
def retract(said: VerbInput) -> None:
    """Withdraw a false alarm; exactly those who were told get a retraction.

    Example: commcast retract pay7 --because "Our monitor was wrong: all payments went through."
    """
    place = verbs.find_open(said)
    verbs.refuse_over(place, 'cancel {id} --because "…"')
    verbs.refuse_untold(place)
    verbs.append_and_send(place, said, verbs.typed_words(said, "because") | {"status": "retracted"})


@verb(
    "incident issue resolution timeframe confidence scope works data action short link offer severity "
    "next_update because internal",
    incident="The incident's id; may be left out when only one is over.",
)
def reopen(said: VerbInput) -> None:
    """Reopen an incident that was not over after all, with what readers see now.

    Nothing is carried forward from before the end: issue and resolution are needed again.

    Example: commcast reopen pay7 --issue "Cards are refused again." --resolution
    "We look into it." --timeframe unknown
    """
    place = _find_over(said)
    needed, asks = needed_at("reopened"), prompt.at_terminal()
    missing = [key for key in (ASKED_FOR if asks else needed) if key not in said.keys]
    if missing and not asks:
        raise missing_options(missing)
    typed = {
        key: answer
        for key in missing
        if (answer := verbs.ask_for(key, answer_check(place.desk, key), is_needed=key in needed))
    }
    verbs.append_and_send(place, said, typed | {"status": "reopened"})


@verb("incident because action internal", incident="The incident that ends here.")
def merge(
    said: VerbInput,
    merged_into: Annotated[str, typer.Option("--into", help="The incident that continues.", metavar="ID")],
) -> None:
    """Close an incident that is part of another; one last message says where updates continue.

    From then on readers of this one also get the updates of the other one.

    Example: commcast merge pay8 --into pay7
    """
    none = "no other incident is open; see them with: commcast status"
    place = verbs.find_open(
        said, is_meant=lambda each, is_open: is_open and each.id != merged_into, none=none
    )
    _check_goes_on(place, merged_into)
    verbs.append_and_send(place, said, {"status": "merged"})


def _find_over(said: VerbInput) -> Place:
    """Return the incident to reopen: its readers were told of its end. Raises InputError, DecisionNeeded."""
    from commcast.operations.desk import read_history

    def is_over(each: Incident, is_open: bool) -> bool:
        return not is_open and bool(read_history(ledger, each.id).releases)

    desk = desk_now(said.folder)
    with ledger_of(desk, dry_run=True) as ledger:
        none = "no incident is over: there is nothing to reopen"
        place = verbs.find_in(desk, ledger, said.incident, is_over, "incidents are over", none)
        found = place.incident
        if not found.latest.is_end:
            refuse("", f"{found.id} is not over", f"post an update with: commcast update {found.id}")
        if found.latest.number not in read_history(ledger, found.id).releases:
            what = f"the end of {found.id} is an unreleased draft"
            raise DecisionNeeded(f"{what}: commcast discard {found.id} deletes it")
    return place


def _check_goes_on(place: Place, into: str) -> None:
    """Refuse to send readers to an incident that does not exist, is over, or that nobody was told of."""
    from commcast.ledger.releases import released_incident

    name = place.incident.id
    if into == name:
        refuse("--into", f"{into} cannot be part of itself", "name the other one")
    if into not in place.present:
        unknown = no_incident(into, sorted(set(place.present) - {name}))
        refuse("--into", unknown.what, unknown.remedy)
    with ledger_if_any(place.desk) as ledger:
        if ledger is None:
            return
        with ledger.read() as connection:
            told = released_incident(connection, into)
    if told is None:
        refuse("--into", f"nobody has been told about {into} yet", f"first: commcast send {into}")
    if told.kind == "maintenance" or told.latest.status == "expected":
        # It may never take place, and until then these readers would get no update.
        what = f"{into} is planned work" if told.kind == "maintenance" else f"{into} has not begun"
        refuse("--into", what, f"go on with {name}, and mention {into} in its text")
    if told.latest.is_end:
        refuse("--into", f"{into} is over", f'end this one on its own: commcast resolve {name} --fixed "…"')


_QUESTIONS = {
    "remains": "What remains (what readers may still notice; Enter for nothing):",
    "if_it_persists": "If it persists (what readers should do then; Enter for nothing):",
    "ended": "Ended (such as 11:08; Enter for now):",
}


def _typed_of_the_end(place: Place, said: VerbInput) -> dict[str, str]:
    """Return what else a person types about the end; any of it may be empty."""

    def check_ended(answer: str) -> None:
        ended = _moment(place, answer)
        if ended is None:
            raise ValueError("is not a time; write 11:08, or 2026-11-21T11:08")
        began = _began(place.incident)
        if ended > place.desk.now or (began is not None and ended < began):
            raise ValueError("is in the future, or before it began; write when it was over")

    answers = {
        key: prompt.ask_until_good(question, check_ended if key == "ended" else str, is_needed=False)
        for key, question in _QUESTIONS.items()
        if key not in said.keys
    }
    return {key: answer for key, answer in answers.items() if answer}


def _began(incident: Incident) -> datetime | None:
    """Return when it began, or was last reopened; None if unknown."""
    reopened = [each.at for each in incident.updates if each.status is Status.REOPENED]
    if reopened:
        return reopened[-1].replace(second=0, microsecond=0)
    return incident.started if incident.started_written else None


def _check_end(place: Place, ended: str) -> None:
    """Refuse a clock time still to come, which would mean the day before; else say how long it lasted.

    So a wrong time is noticed before it is sent. Raises InputError.
    """
    moment, incident = _moment(place, ended), place.incident
    if moment is None:
        return
    if ":" in ended[:3] and moment < min(incident.updates[0].at, incident.started):
        when = moment.astimezone(place.desk.config.zone)
        what = f"{ended} was last on {when:%a} {when.day} {when:%b}, before it began"
        refuse("--ended", what, "write when it was over, or leave it out: now")
    if incident.started_written and moment >= incident.started:
        lasted = moment - incident.started - over_since(incident.updates)[1]
        say(f"It lasted {spoken_duration(lasted)}.")


def _moment(place: Place, text: str) -> datetime | None:
    """Return the moment that a time of the end means, None if it is not a time."""
    try:
        return parse_instant(str(with_dates({"ended": text}, place.desk)["ended"]), place.desk.config.zone)
    except ValueError:
        return None
