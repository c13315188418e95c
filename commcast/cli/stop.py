"""The commands stop and resume: halt deliveries at the next claim, and let them go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from commcast.cli.options import FolderOption, clock
from commcast.cli.outcomes import tell_trouble
from commcast.cli.output import going_on_unread, say, show, show_prose
from commcast.cli.progress import ProgressBar
from commcast.cli.session import desk_to_work, who, worker_for
from commcast.cli.tick import delivered_in_words
from commcast.errors import ExitCode, InputError, gravest

if TYPE_CHECKING:
    from commcast.delivery.deliver import Delivered, Deliverer
    from commcast.ledger.store import Ledger
    from commcast.operations.desk import Desk


IdArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID]", help="The incident; may be left out when one is open.", show_default=False
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="Every incident, also later ones.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who decides this.", show_default=False)]


def stop(
    incident: IdArgument = None,
    everything: AllOption = False,
    by: ByOption = None,
    folder: FolderOption = None,
) -> None:
    """Halt an incident's deliveries at the next claim, whoever is sending on whatever host.

    What is on its way arrives. Until somebody resumes, no tick and no send hands anything over.

    Example: commcast stop pay7 --by dana
    """
    from commcast.ledger.releases import stop_incident

    with desk_to_work(folder) as (desk, ledger):
        wanted = _wanted(desk, ledger, incident, everything)
        with ledger.write() as connection:
            is_new = stop_incident(connection, wanted, by or who(), clock())
        waiting = _waiting(ledger, wanted)
    name = _name(wanted)
    waits = "1 delivery waits" if waiting == 1 else f"{waiting} deliveries wait"
    show_prose(f"{name} {'stopped' if is_new else 'was stopped already'}; {waits}.")
    say(f"Let them go on with: commcast resume {'--all' if everything else wanted}")


def resume(
    incident: IdArgument = None,
    everything: AllOption = False,
    by: ByOption = None,
    folder: FolderOption = None,
) -> None:
    """Lift a stop and deliver what is still open, nobody twice.

    Ends like the delivery: 0 done, 1 unknown or rejected, 75 try again. --all lifts a stop of everything,
    but not those of single incidents. A pause that a provider asked for ends, too.

    Example: commcast resume pay7
    """
    from commcast.ledger.releases import lift_stop
    from commcast.ledger.settle import reopen

    with desk_to_work(folder) as (desk, ledger), going_on_unread():
        wanted = _wanted(desk, ledger, incident, everything)
        with ledger.write() as connection:
            lifted = lift_stop(connection, wanted, by or who(), clock())
            reopen(connection)
        say(f"{_name(wanted)} {'may go on' if lifted else 'was not stopped; what is open goes on'}.")
        codes = [ExitCode.DONE]
        for one in _with_open_deliveries(ledger, wanted):
            with ProgressBar() as progress:
                delivered = _deliver(desk, worker_for(desk, ledger, progress), one)
            show_prose(f"{one}: {_in_words(delivered)}")
            tell_trouble(one, delivered)
            codes.append(delivered.exit_code(desk.config.send.tolerate))
            if delivered.signal:
                break
        if len(codes) == 1:
            show("Nothing is open: everything released was delivered.")
    raise typer.Exit(gravest(codes))


def _in_words(delivered: Delivered) -> str:
    words = delivered_in_words(delivered) or "nothing more to deliver"
    return f"{words}, still stopped by {delivered.stopped_by}" if delivered.stopped_by else words


def _deliver(desk: Desk, worker: Deliverer, incident: str) -> Delivered:
    """Deliver what is open; where the file is in order also what is released and owed, as a tick would."""
    from commcast.delivery.deliver import stopping_on_interrupt

    with stopping_on_interrupt(worker.ledger, incident, clock):
        return _deliver_open(desk, worker, incident)


def _deliver_open(desk: Desk, worker: Deliverer, incident: str) -> Delivered:
    from commcast.incidents.load import load_incidents
    from commcast.operations.desk import check_story, with_releases
    from commcast.operations.send import send_released

    desk = with_releases(desk, worker.ledger)
    loaded = load_incidents(desk.config, desk.now, released_at=desk.released_at)
    found = next((each for each in loaded.incidents if each.id == incident), None)
    if found is not None:
        try:
            check_story(desk, found, worker.ledger, [each.id for each in loaded.incidents])
            return send_released(desk, worker, found)
        except InputError as error:
            say(str(error))
    return worker.deliver(incident)


def _with_open_deliveries(ledger: Ledger, wanted: str) -> list[str]:
    from commcast.ledger.broadcasts import open_broadcasts
    from commcast.ledger.tables import ALL_INCIDENTS

    if wanted != ALL_INCIDENTS:
        return [wanted]
    with ledger.read() as connection:
        return sorted({broadcast.incident for broadcast in open_broadcasts(connection)})


def _waiting(ledger: Ledger, wanted: str) -> int:
    from commcast.ledger.history import tallies
    from commcast.ledger.tables import ALL_INCIDENTS, State

    with ledger.read() as connection:
        found = tallies(connection, None if wanted == ALL_INCIDENTS else wanted)
    return sum(each.count for each in found if each.state in {State.PENDING, State.HELD})


def _wanted(desk: Desk, ledger: Ledger, incident: str | None, everything: bool) -> str:
    """Return what to stop. An incident may be known to the ledger alone: its file may be broken or gone."""
    from commcast.incidents.load import load_incidents
    from commcast.ledger.overview import overviews
    from commcast.ledger.tables import ALL_INCIDENTS

    if everything and incident is not None:
        raise InputError("write an incident or --all, not both")
    if everything:
        return ALL_INCIDENTS
    with ledger.read() as connection:
        told = overviews(connection)
    open_ones = {
        name for name, overview in told.items() if not overview.is_over or overview.counts["pending"]
    }
    if incident is None:
        if len(open_ones) == 1:
            return open_ones.pop()
        raise InputError(f"say which incident, or --all; open are: {', '.join(sorted(open_ones)) or 'none'}")
    known = told.keys() | {each.id for each in load_incidents(desk.config, desk.now).incidents}
    if incident not in known:
        raise InputError(f"there is no incident {incident!r:.60}; known are: {', '.join(sorted(known)[:20])}")
    return incident


def _name(wanted: str) -> str:
    from commcast.ledger.tables import ALL_INCIDENTS

    return "Everything" if wanted == ALL_INCIDENTS else wanted
