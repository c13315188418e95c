"""The commands handover and take: hand an incident from one person to another."""

from __future__ import annotations

import os
from collections.abc import Mapping
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
    from commcast.config.settings import Config, Person
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk


_LONGEST_NOTE = 200  # characters; it goes into a text message


def handover(
    to: Annotated[str, typer.Option("--to", help="The person of commcast.toml who should have it.")],
    incident: IncidentArgument = None,
    note: Annotated[str, typer.Option(help="A sentence for whoever takes it.", show_default=False)] = "",
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Offer an incident to another person; both are told, and it moves when it is taken.

    Until then its current owner keeps it, and gets the nudges. A second offer replaces the first; offering it
    to its current owner withdraws the pending offer. Readers are told the desk's name, never a person's.

    Example: commcast handover pay7 --to sam --note "the rollback runs, watch db-eu-3"
    """
    from commcast.ledger import oncall

    with desk_to_work(folder) as (desk, ledger), going_on_unread():
        person, said = known_person(desk.config, to), _one_line(note)
        found = _incident(desk, ledger, incident)
        before = _on_duty(found, ledger)
        by = _person_of_login(desk.config.people, who()) or who()
        with ledger.write() as connection:
            oncall.offer(connection, found.id, person, by=by, now=clock(), note=said)
        after = _on_duty(found, ledger)
        _tell(desk, ledger, found, after)
        _show(found, after, as_json, _offered_in_words(found, before, after, person))
        _warn_of_addresses(desk.config, person)


def take(
    incident: IncidentArgument = None,
    as_: Annotated[
        str | None, typer.Option("--as", help="The person of commcast.toml who takes it.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Take over an incident: from now on the nudges go to you; both are told.

    You are recognised if your login is a key or a name in [people]; otherwise pass --as. It need not have
    been offered to you.

    Example: commcast take pay7 --as sam
    """
    from commcast.ledger import oncall

    with desk_to_work(folder) as (desk, ledger), going_on_unread():
        person = _who_takes(desk.config, as_)
        found = _incident(desk, ledger, incident)
        before = _on_duty(found, ledger)
        with ledger.write() as connection:
            was_offered = oncall.take(connection, found.id, person, by=who(), now=clock())
        after = _on_duty(found, ledger)
        _tell(desk, ledger, found, after)
        _show(found, after, as_json, _taken_in_words(found, before, after))
        if before.owner not in {None, person} and not was_offered:
            offered = f"; it was offered to {before.offered.person}" if before.offered else ""
            say(f"You take it over from {before.owner}, who had not offered it to you{offered}.")
        _warn_of_addresses(desk.config, person)


def known_person(config: Config, named: str) -> str:
    """Return the key of a person, named by it or by their name. Raises InputError with who is known."""
    if named in config.people:
        return named
    if (found := _person_of_login(config.people, named)) is not None:
        return found
    raise InputError(f"{named!r:.60} is not a known person; known: {_known(config)}")


def _known(config: Config) -> str:
    return ", ".join(config.people) or "nobody yet: write [people] in commcast.toml"


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
    if not config.people or not prompt.at_terminal():
        what = f"no [people] entry matches your login {who()!r:.60}; pass --as NAME; known: {_known(config)}"
        raise InputError(what)

    def check(answer: str) -> None:
        try:
            known_person(config, answer)
        except InputError as error:
            raise ValueError(str(error)) from None

    return known_person(config, prompt.ask_until_good(f"Who are you? ({', '.join(config.people)})", check))


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
            say(f"{found.path} cannot be read; the ledger knows {wanted} as it was last told.")
    found = found or find_incident(loaded, wanted, is_open, "incidents are open")
    if found is None:
        raise InputError("no incident is open: there is nothing to hand over")
    if found.latest.is_end:
        raise InputError(f"{found.id} is over: nobody has to look after it")
    return found


def _on_duty(incident: Incident, ledger: Ledger) -> OnDuty:
    from commcast.ledger import oncall

    with ledger.read() as connection:
        return on_duty_for(incident, oncall.handovers(connection, incident.id))


def _tell(desk: Desk, ledger: Ledger, incident: Incident, on_duty: OnDuty) -> None:
    """Tell both, the way nudges are sent; the next tick tells what cannot be told now."""
    from commcast.ledger import oncall
    from commcast.oncall.nudges import handing_nudges
    from commcast.operations.wake import Nudger

    with ledger.read() as connection:
        given = oncall.nudges_given(connection, incident.id)
        moved = oncall.handovers(connection, incident.id)
    nudges = handing_nudges(incident, moved, desk.config, desk.now, nudged=given)
    if not nudges:
        return
    with ProgressBar() as progress:
        nudger = Nudger(desk, worker_for(desk, ledger, progress), os.environ)
        told = nudger.nudge(incident, nudges, on_duty)
    if told.unreached:
        say(f"Nobody was told: {told.unreached}")
    elif told.people:
        say(f"Told: {' and '.join(told.people)}.")


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


def _taken_in_words(incident: Incident, before: OnDuty, after: OnDuty) -> str:
    backup = f", backup {after.backup}" if after.backup else ""
    now = "already" if before.owner == after.owner else "now"
    return f"{after.owner} {now} has {incident.id}{backup}."


def _show(incident: Incident, after: OnDuty, as_json: bool, text: str) -> None:
    if not as_json:
        show(text)
        return
    offered = after.offered.person if after.offered else None
    content = {"incident": incident.id, "owner": after.owner, "backup": after.backup, "offered_to": offered}
    show_json("duty", content)


def _warn_of_addresses(config: Config, person: str) -> None:
    """Say why a person could not be nudged."""
    from commcast.oncall.people import unreachable

    for fault in unreachable(person, config, os.environ):
        say(f"Note: {fault}")
