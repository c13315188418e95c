"""The commands stop and resume: halt deliveries at the next claim, and continue them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from commcast.cli.options import ByOption, FolderOption, argument, clock, refuse
from commcast.cli.outcomes import tell_trouble
from commcast.cli.output import going_on_unread, say, show, show_prose
from commcast.cli.progress import ProgressBar
from commcast.cli.session import desk_to_work, load, no_incident, who, worker_for
from commcast.cli.tick import delivered_in_words
from commcast.errors import DecisionNeeded, ExitCode, InputError, gravest

if TYPE_CHECKING:
    from commcast.delivery.worker import Delivered, Worker
    from commcast.ledger.store import Ledger
    from commcast.operations.desk import Desk


IdArgument = Annotated[
    str | None, argument("The incident; may be left out when one is open.", metavar="[ID]")
]
AllOption = Annotated[bool, typer.Option("--all", help="Every incident, including later ones.")]


def stop(
    incident: IdArgument = None,
    everything: AllOption = False,
    by: ByOption = None,
    folder: FolderOption = None,
) -> None:
    """Stop sending, on every host; messages already handed over still arrive.

    Until somebody resumes, neither tick nor send sends anything.

    Example: commcast stop pay7 --by dana
    """
    from commcast.ledger.fence import stop_incident
    from commcast.ledger.history import tallies
    from commcast.ledger.tables import State

    with desk_to_work(folder) as (desk, ledger):
        wanted = _wanted(desk, ledger, incident, everything)
        with ledger.write() as connection:
            is_new = stop_incident(connection, wanted, by or who(), clock())
        with ledger.read() as connection:
            found = tallies(connection, None if everything else wanted)
    waiting = sum(each.count for each in found if each.state in {State.PENDING, State.HELD})
    waits = "1 delivery is waiting" if waiting == 1 else f"{waiting} deliveries are waiting"
    name, which = ("Everything", "--all") if everything else (wanted, wanted)
    show_prose(f"{name} {'stopped' if is_new else 'was stopped already'}; {waits}.")
    say(f"Resume with: commcast resume {which}")


def resume(
    incident: IdArgument = None,
    everything: AllOption = False,
    by: ByOption = None,
    folder: FolderOption = None,
) -> None:
    """Lift a stop and send what is still pending; nobody gets it twice.

    Exits like send: 0 done, 1 unknown or rejected, 75 try again. --all lifts a stop of everything,
    but not those of single incidents. It also ends a pause that a provider asked for.

    Example: commcast resume pay7
    """
    from commcast.ledger.broadcasts import open_broadcasts
    from commcast.ledger.fence import lift_stop
    from commcast.ledger.settle import reopen

    with desk_to_work(folder) as (desk, ledger), going_on_unread():
        wanted = _wanted(desk, ledger, incident, everything)
        _check_no_correction_waits(desk, ledger, wanted)
        with ledger.write() as connection:
            lifted = lift_stop(connection, wanted, by or who(), clock())
            reopen(connection)
        how = "is no longer stopped" if lifted else "was not stopped; pending messages are sent"
        say(f"{'Everything' if everything else wanted} {how}.")
        with ledger.read() as connection:
            in_progress = {broadcast.incident for broadcast in open_broadcasts(connection)}
        codes = [ExitCode.DONE]
        for one in sorted(in_progress) if everything else [wanted]:
            with ProgressBar() as progress:
                delivered = deliver(desk, worker_for(desk, ledger, progress), one)
            words = delivered_in_words(delivered, desk.config.zone) or "nothing more to deliver"
            still = f", still stopped by {delivered.stopped_by}" if delivered.stopped_by else ""
            show_prose(f"{one}: {words}{still}")
            tell_trouble(one, delivered)
            codes.append(delivered.exit_code(desk.config.send.tolerate))
            if delivered.signal:
                break
        if len(codes) == 1:
            show("Nothing is open: everything released was delivered.")
    raise typer.Exit(gravest(codes))


def _check_no_correction_waits(desk: Desk, ledger: Ledger, wanted: str) -> None:
    """Refuse to go on with wrong words while the update that corrects them is a draft."""
    from commcast.cli.question import ways_on
    from commcast.model.release import drafts
    from commcast.operations.desk import read_history

    found = next((each for each in load(desk, ledger)[1].incidents if each.id == wanted), None)
    history = read_history(ledger, wanted)
    if found is None or not history.stopped_by:
        return
    if any(found.update(number).corrects for number in drafts(found, history.releases)):
        ways = ways_on(wanted, "to send it: it lifts the stop")
        raise DecisionNeeded(f"A correction of {wanted} is not released yet; nothing was resumed.\n{ways}")


def deliver(desk: Desk, worker: Worker, incident: str) -> Delivered:
    """Deliver what is open and, if the file is in order, what is released and due, as a tick would."""
    from commcast.delivery.worker import stopping_on_interrupt
    from commcast.operations.desk import check_story
    from commcast.operations.send import send_released

    ledger = worker.ledger
    with stopping_on_interrupt(ledger, incident, clock):
        desk, loaded = load(desk, ledger)
        for found in (each for each in loaded.incidents if each.id == incident):
            try:
                check_story(desk, found, ledger, loaded.ids)
                return send_released(desk, worker, found)
            except InputError as error:
                say(str(error))
        return worker.deliver(incident)


def _wanted(desk: Desk, ledger: Ledger, incident: str | None, everything: bool) -> str:
    """Return what to stop. Only the ledger may know the incident: its file may be broken or gone."""
    from commcast.incidents.load import load_incidents
    from commcast.ledger.overview import overviews
    from commcast.ledger.tables import ALL_INCIDENTS

    if everything and incident is not None:
        refuse("", "write an incident or --all, not both")
    if everything:
        return ALL_INCIDENTS
    with ledger.read() as connection:
        told = overviews(connection)
    if incident is None:
        is_open = [name for name, each in told.items() if not each.is_over or each.counts["pending"]]
        if not is_open:
            refuse("", "no incident is open", "name one, or pass --all")
        if len(is_open) > 1:
            names = ", ".join(sorted(is_open))
            refuse("", f"{len(is_open)} incidents are open", f"say which: {names}; or pass --all")
        return is_open[0]
    known = told.keys() | {each.id for each in load_incidents(desk.config, desk.now).incidents}
    if incident not in known:
        raise InputError([no_incident(incident, sorted(known))])
    return incident
