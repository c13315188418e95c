"""The commands handover and take: an incident goes from one person to another."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from commcast.cli import prompt
from commcast.cli.options import FolderOption, IncidentArgument, JsonOption, clock
from commcast.cli.output import going_on_unread, inert, say, show, show_json
from commcast.cli.progress import ProgressBar
from commcast.cli.session import desk_to_work, find_incident, is_open, who, worker_for
from commcast.errors import InputError
from commcast.model.oncall import OnDuty, on_duty_for

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from commcast.config.settings import Config, Person
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk


_LONGEST_NOTE = 200  # characters; it goes into a text message


def handover(
    to: Annotated[str, typer.Option("--to", help="The person in commcast.toml who should have it.")],
    incident: IncidentArgument = None,
    note: Annotated[
        str, typer.Option(help="A sentence for the person who takes it.", show_default=False)
    ] = "",
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Offer an incident to another person; both are told, and it moves once they take it.

    Until then its current owner keeps it, and gets the nudges. A second offer replaces the first; offering it
    to its current owner withdraws the pending offer. Readers see the desk's name, never a person's.

    Example: commcast handover pay7 --to sam --note "the rollback runs, watch db-eu-3"
    """
    from commcast.ledger import oncall

    with desk_to_work(folder) as (desk, ledger), going_on_unread():
        person, text = known_person(desk.config, to), _one_line(note)
        by = _person_of_login(desk.config.people, who()) or who()
        found = _incident(desk, ledger, incident)
        offer = partial(oncall.offer, incident=found.id, person=person, by=by, now=clock(), note=text)
        before, after = _moved(desk, ledger, found, offer)
        _show(desk.config, person, found.id, after, as_json, _offered_in_words(found, before, after, person))


def take(
    incident: IncidentArgument = None,
    as_: Annotated[
        str | None, typer.Option("--as", help="The person in commcast.toml who takes it.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Take over an incident: from now on you get the nudges; both of you are told.

    You are recognised if your login is a key or a name in [people]; otherwise pass --as. It need not have
    been offered to you.

    Example: commcast take pay7 --as sam
    """
    from commcast.ledger import oncall

    with desk_to_work(folder) as (desk, ledger), going_on_unread():
        person = _who_takes(desk.config, as_)
        found = _incident(desk, ledger, incident)
        taking = partial(oncall.take, incident=found.id, person=person, by=who(), now=clock())
        before, after = _moved(desk, ledger, found, taking)
        backup = f", backup {after.backup}" if after.backup else ""
        now = "already" if before.owner == after.owner else "now"
        offered_to = before.offered.person if before.offered else None
        if before.owner not in {None, person} and offered_to != person:
            offered = f"; it was offered to {offered_to}" if offered_to else ""
            say(f"You take it over from {before.owner}, who had not offered it to you{offered}.")
        said = f"{after.owner} {now} has {found.id}{backup}."
        if found.latest.owner not in {None, after.owner}:
            say(f"{found.path} still names {found.latest.owner}: nudges follow this command, not that line.")
        _show(desk.config, person, found.id, after, as_json, said)


def known_person(config: Config, named: str) -> str:
    """Return the key of a person, given that or their name. Raises InputError, naming who is known."""
    if named in config.people:
        return named
    if (found := _person_of_login(config.people, named)) is not None:
        return found
    known = f"; known: {', '.join(config.people)}" if config.people else ""
    raise InputError(f"no [people.{named:.60}] in commcast.toml; add it{known}")


def _person_of_login(people: Mapping[str, Person], login: str) -> str | None:
    """Return the only person with this key, name or first name."""
    wanted = login.casefold()
    for called in (
        lambda key, _person: key.casefold() == wanted,
        lambda _key, person: wanted in {person.name.casefold(), person.name.casefold().split(" ")[0]},
    ):
        found = [key for key, person in people.items() if called(key, person)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _who_takes(config: Config, named: str | None) -> str:
    """Return who takes it: by --as, else by login, else by asking. Raises InputError without a terminal."""
    if named is not None:
        return known_person(config, named)
    if (found := _person_of_login(config.people, who())) is not None:
        return found
    known = ", ".join(config.people)
    if not known or not prompt.at_terminal():
        remedy = f"pass --as NAME; known: {known or 'nobody yet: write [people] in commcast.toml'}"
        raise InputError(f"no [people] entry matches your login {who()!r:.60}; {remedy}")
    answer = prompt.ask_until_good(f"Who are you? ({known})", partial(known_person, config))
    return known_person(config, answer)


def _one_line(note: str) -> str:
    said = note.strip()
    if inert(said) != said or "\n" in said or "\t" in said or len(said) > _LONGEST_NOTE:
        raise InputError(f"--note is more than one line of {_LONGEST_NOTE} characters; write one sentence")
    return said


def _incident(desk: Desk, ledger: Ledger, wanted: str | None) -> Incident:
    """Return the incident that is meant, from the ledger if its file is broken. Raises InputError."""
    from commcast.incidents.load import load_incidents
    from commcast.ledger.releases import released_incident

    loaded = load_incidents(desk.config, desk.now)
    found = None
    if wanted is not None and wanted not in loaded.ids:
        with ledger.read() as connection:
            found = released_incident(connection, wanted)
        if found is not None:
            say(f"{found.path} cannot be read; what the ledger last recorded of {wanted} is used.")
    found = found or find_incident(loaded, wanted, is_open, "incidents are open")
    if found is None:
        raise InputError("no incident is open: there is nothing to hand over")
    if found.latest.is_end:
        raise InputError(f"{found.id} is over: there is nothing to hand over")
    return found


def _moved(
    desk: Desk, ledger: Ledger, incident: Incident, move: Callable[[Connection], object]
) -> tuple[OnDuty, OnDuty]:
    """Record a move and tell both people as nudges are sent; return who was on duty before, and who is now.

    The next tick tells those who could not be told now.
    """
    from commcast.ledger import oncall
    from commcast.oncall.nudges import handing_nudges
    from commcast.operations.wake import Nudger

    with ledger.write() as connection:
        before = on_duty_for(incident, oncall.handovers(connection, incident.id))
        move(connection)
        handovers = oncall.handovers(connection, incident.id)
        given = oncall.nudges_given(connection, incident.id)
    after = on_duty_for(incident, handovers)
    nudges = handing_nudges(incident, handovers, desk.config, desk.now, nudged=given)
    if not nudges:
        return before, after
    with ProgressBar() as progress:
        nudger = Nudger(desk, worker_for(desk, ledger, progress), os.environ)
        told = nudger.nudge(incident, nudges, after)
    if told.unreached:
        say(f"Nobody was told: {told.unreached}")
    elif told.people:
        say(f"Told: {' and '.join(told.people)}.")
    return before, after


def _offered_in_words(incident: Incident, before: OnDuty, after: OnDuty, person: str) -> str:
    if after.offered is None:
        withdrawn = f"; the offer to {before.offered.person} is withdrawn" if before.offered else ""
        return f"{person} has {incident.id} already{withdrawn}."
    earlier = before.offered.person if before.offered else person
    instead = f" instead of {earlier}" if earlier != person else ""
    return (
        f"{incident.id} is offered to {person}{instead}. Until it is taken (commcast take {incident.id} "
        f"--as {person}) {after.owner or 'nobody'} has it."
    )


def _show(config: Config, person: str, name: str, after: OnDuty, as_json: bool, text: str) -> None:
    """Show who is on duty now, and why a person could not be nudged."""
    from commcast.oncall.people import unreachable

    if as_json:
        offered = after.offered.person if after.offered else None
        duty = {"owner": after.owner, "backup": after.backup, "offered_to": offered}
        show_json("duty", {"incident": name, **duty})
    else:
        show(text)
    for fault in unreachable(person, config, os.environ):
        say(f"Note: {fault}")
