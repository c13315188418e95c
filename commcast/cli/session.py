"""Opens the desk and the ledger for a command, and finds the incident it is about."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from commcast.cli.options import clock, find_folder
from commcast.cli.output import say
from commcast.cli.present import NAMES
from commcast.errors import ConfigError, ExitCode, Fault, InputError, LedgerError

if TYPE_CHECKING:
    from commcast.cli.progress import ProgressBar
    from commcast.delivery.worker import Worker
    from commcast.incidents.load import Loaded
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk, Plan


@dataclass(frozen=True, slots=True)
class Place:
    """An incident, its desk, and the ids of all incidents there."""

    desk: Desk
    incident: Incident
    present: Collection[str]


def desk_now(folder: Path | None) -> Desk:
    """Return the desk as of this second: files hold no smaller times."""
    from commcast.model.times import at_offset_of
    from commcast.operations.desk import open_desk

    desk = open_desk(find_folder(folder), clock().replace(microsecond=0))
    return replace(desk, now=at_offset_of(desk.config.zone, desk.now))


@contextmanager
def ledger_of(desk: Desk, *, dry_run: bool = False) -> Iterator[Ledger]:
    """Yield the desk's ledger; for a dry run a copy of it, so that no byte of it changes.

    Raises LedgerError.
    """
    from commcast.ledger.location import check_file
    from commcast.ledger.store import ledger_path, open_copy, open_ledger

    path = ledger_path(desk.config.folder)
    if dry_run:
        check_file(path)
        with open_copy(path, desk.config.desk) as copy:
            assert copy is not None  # noqa: S101 - check_file has seen it
            tell_doubt(copy)
            yield copy
    else:
        with closing(open_ledger(path, desk.config.desk)) as ledger:
            yield ledger


@contextmanager
def ledger_if_any(desk: Desk) -> Iterator[Ledger | None]:
    """Yield a copy of the ledger, None if it cannot be opened: words are kept first, and sending says why."""
    with ExitStack() as stack:
        ledger = None
        with suppress(LedgerError):
            ledger = stack.enter_context(ledger_of(desk, dry_run=True))
        yield ledger


@contextmanager
def desk_to_work(folder: Path | None) -> Iterator[tuple[Desk, Ledger]]:
    """Yield the desk as of now and its ledger, open for writing. Raises ConfigError and LedgerError."""
    from commcast.operations.desk import open_desk

    desk = open_desk(find_folder(folder), clock())
    with ledger_of(desk) as ledger:
        yield desk, ledger


@contextmanager
def desk_to_read(
    folder: Path | None, now: datetime, *, shows: bool = True
) -> Iterator[tuple[Desk, Ledger | None]]:
    """Yield the desk as of `now` and a copy of its ledger: no byte of the folder changes.

    `shows`: nothing is sent or asked, so that anybody's desk will do.
    """
    from commcast.ledger.store import ledger_path, open_copy
    from commcast.operations.desk import open_desk

    found = find_folder(folder, shows=shows)
    desk = open_desk(found, now)
    with open_copy(ledger_path(found), desk.config.desk) as ledger:
        tell_doubt(ledger)
        yield desk, ledger


def tell_doubt(ledger: Ledger | None) -> None:
    """Say why nothing may be sent from this ledger, if so: it was opened for reading only."""
    if ledger is not None and ledger.doubt:
        say(ledger.doubt)


def worker_for(desk: Desk, ledger: Ledger, progress: ProgressBar) -> Worker:
    """Return what sends for this process and reports to `progress`."""
    from commcast.delivery.run import DRAIN_SECONDS
    from commcast.operations.send import make_worker

    def halting() -> None:
        progress.end()
        say(
            f"Nothing more is sent. Messages in flight have up to {DRAIN_SECONDS:.0f} seconds to finish; "
            "Ctrl-C stops at once."
        )

    return make_worker(desk, ledger, clock=clock, progress=progress, halting=halting)


def tell_unusable(desk: Desk, plan: Plan) -> ExitCode:
    """Warn of each channel in use that cannot send, such as one without its secret.

    Returns the exit code that the real run would have. Nothing connects.
    """
    from commcast.operations.send import unusable
    from commcast.providers.registry import adapter_for, fallback_for

    code = ExitCode.DONE
    try:
        for channel, error in unusable(
            plan,
            lambda channel: adapter_for(desk.config, channel, clock),
            lambda channel: fallback_for(desk.config, channel, clock),
        ):
            for fault in error.faults:
                say(f"Warning: {NAMES[channel]} cannot be sent: {fault}")
            code = error.exit_code
    except ConfigError as error:  # a channel is gone
        say(f"Warning: {error}")
        code = error.exit_code
    return code


def who() -> str:
    """Return the name under which the ledger records this person's decisions."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without this user's name
        return "somebody"


_NAMES_SHOWN = 12


def load(desk: Desk, ledger: Ledger | None) -> tuple[Desk, Loaded]:
    """Return the desk that knows when updates were released, and the incidents of its folder."""
    from commcast.incidents.load import load_incidents
    from commcast.operations.desk import with_releases

    desk = with_releases(desk, ledger)
    return desk, load_incidents(desk.config, desk.now, released_at=desk.released_at)


def find_incident(
    loaded: Loaded, wanted: str | None, is_meant: Callable[[Incident], bool], what: str
) -> Incident | None:
    """Return the incident `wanted`; without an id the only one that `is_meant`, None if there is none.

    A broken file is an error unless another incident was named. `what` says in the plural what was looked
    for. Raises InputError.
    """
    if wanted is not None:
        return _named(loaded, wanted)
    if loaded.broken:
        raise InputError(fault for error in loaded.broken.values() for fault in error.faults)
    meant = [incident for incident in loaded.incidents if is_meant(incident)]
    if len(meant) > 1:
        names = listed(incident.id for incident in meant)
        raise InputError(Fault("", 0, 0, f"{len(meant)} {what}", f"say which: {names}"))
    return meant[0] if meant else None


def is_open(incident: Incident) -> bool:
    """Return whether readers of an incident still wait for updates."""
    return not incident.latest.is_end


def is_open_for_readers(ledger: Ledger | None) -> Callable[[Incident], bool]:
    """Return a test for incidents whose readers still wait: they don't know of an unreleased end."""
    from commcast.operations.desk import read_history

    def test(incident: Incident) -> bool:
        told = [n for n in read_history(ledger, incident.id).releases if n <= len(incident.updates)]
        return not (incident.update(max(told)) if told else incident.latest).is_end

    return test


def needs_sending(desk: Desk, ledger: Ledger | None) -> Callable[[Incident], bool]:
    """Return a test for incidents that have something to release, or to send of what was released."""
    from commcast.ledger.broadcasts import open_broadcasts
    from commcast.ledger.history import tallies
    from commcast.ledger.tables import State
    from commcast.operations.desk import make_plan

    waiting: set[str] = set()
    if ledger is not None:
        with ledger.read() as connection:
            named = {broadcast.incident for broadcast in open_broadcasts(connection)}
            counts = [tally for name in named for tally in tallies(connection, name)]
        # Frozen messages that can go now; quiet hours hold the others.
        waiting = {each.incident for each in counts if each.state in {State.PENDING, State.CLAIMED}}

    def test(incident: Incident) -> bool:
        plan = make_plan(desk, incident, ledger)
        # The end of an incident that nobody was told of is old history, not a draft.
        new = bool(plan.drafts) and (is_open(incident) or bool(plan.history.releases))
        return new or plan.review or bool(plan.deliveries) or incident.id in waiting

    return test


def _named(loaded: Loaded, wanted: str) -> Incident:
    found = next((incident for incident in loaded.incidents if incident.id == wanted), None)
    if found is not None:
        if loaded.broken:
            count = len(loaded.broken)
            files = "incident file is" if count == 1 else "incident files are"
            say(f"Note: {count} other {files} broken; see: commcast lint")
        return found
    own = [name for name in loaded.broken if name.rpartition("/")[2].removesuffix(".yaml") == wanted]
    faults = [fault for name in own or loaded.broken for fault in loaded.broken[name].faults]
    known = [incident.id for incident in loaded.incidents]
    raise InputError(faults if own else [*faults, no_incident(wanted, known)])


def no_incident(wanted: str, known: Collection[str]) -> Fault:
    """Return the fault of an id that no incident has."""
    remedy = f"known: {listed(known)}" if known else "there are none yet (commcast declare starts one)"
    return Fault("", 0, 0, f"no incident {wanted!r:.60}", remedy)


def listed(ids: Iterable[str]) -> str:
    """Return the ids in words, the first twelve of them."""
    names = list(ids)
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
