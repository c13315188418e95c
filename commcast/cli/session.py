"""Opens the desk and the ledger for a command, and finds the incident it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from commcast.cli.options import clock, find_folder
from commcast.cli.output import say
from commcast.cli.present import NAMES
from commcast.errors import ConfigError, ExitCode, Fault, InputError

if TYPE_CHECKING:
    from commcast.cli.progress import ProgressBar
    from commcast.delivery.worker import Worker
    from commcast.incidents.load import Loaded
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk, Plan


@contextmanager
def desk_to_work(folder: Path | None) -> Iterator[tuple[Desk, Ledger]]:
    """Yield the desk as of now and its ledger, open for writing. Raises ConfigError and LedgerError."""
    from commcast.ledger.store import ledger_path, open_ledger
    from commcast.operations.desk import open_desk

    found = find_folder(folder)
    desk = open_desk(found, clock())
    ledger = open_ledger(ledger_path(found), desk.config.desk)
    try:
        yield desk, ledger
    finally:
        ledger.close()


@contextmanager
def desk_to_read(folder: Path | None, now: datetime) -> Iterator[tuple[Desk, Ledger | None]]:
    """Yield the desk as of `now` and a copy of its ledger: no byte of the folder changes."""
    from commcast.ledger.store import ledger_path, open_copy
    from commcast.operations.desk import open_desk

    found = find_folder(folder)
    desk = open_desk(found, now)
    with open_copy(ledger_path(found), desk.config.desk) as ledger:
        tell_doubt(ledger)
        yield desk, ledger


def tell_doubt(ledger: Ledger | None) -> None:
    """Say of a ledger that is only read why it is not to be sent from."""
    if ledger is not None and ledger.doubt:
        say(ledger.doubt)


def worker_for(desk: Desk, ledger: Ledger, progress: ProgressBar) -> Worker:
    """Return what sends for this process, and tells `progress` how far it is."""
    from commcast.delivery.run import DRAIN_SECONDS
    from commcast.operations.send import make_worker

    def halting() -> None:
        progress.end()
        say(
            f"Nothing more is sent. What is on its way may finish, for at most {DRAIN_SECONDS:.0f} seconds; "
            "Ctrl-C ends that at once."
        )

    return make_worker(desk, ledger, clock=clock, progress=progress, halting=halting)


def tell_unusable(desk: Desk, plan: Plan) -> ExitCode:
    """Warn of each channel of what is owed that cannot be served, a missing secret above all.

    Returns the exit code that the real run would end in for it. Nothing connects.
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
    """Return the name under which the ledger remembers this person's decisions."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without this user's name
        return "somebody"


_NAMES_SHOWN = 12


def find_incident(
    loaded: Loaded, wanted: str | None, is_meant: Callable[[Incident], bool], what: str
) -> Incident | None:
    """Return the incident `wanted`; without an id the only one that `is_meant`, None where there is none.

    A broken file stops this unless another incident was named. `what` says in the plural what was looked for.
    Raises InputError.
    """
    if wanted is not None:
        return _named(loaded, wanted)
    if loaded.broken:
        raise InputError(fault for error in loaded.broken.values() for fault in error.faults)
    meant = [incident for incident in loaded.incidents if is_meant(incident)]
    if len(meant) > 1:
        raise InputError(Fault("", 0, 0, f"{len(meant)} {what}", f"say which: {_listed(meant)}"))
    return meant[0] if meant else None


def is_open(incident: Incident) -> bool:
    """Return whether readers of an incident still wait for word."""
    return not incident.latest.is_end


def is_open_for_readers(ledger: Ledger | None) -> Callable[[Incident], bool]:
    """Return a test for incidents whose readers still wait: an unreleased end has not reached them."""
    from commcast.operations.desk import read_history

    def test(incident: Incident) -> bool:
        told = [n for n in read_history(ledger, incident.id).releases if n <= len(incident.updates)]
        return not (incident.update(max(told)) if told else incident.latest).is_end

    return test


def needs_sending(desk: Desk, ledger: Ledger | None) -> Callable[[Incident], bool]:
    """Return a test for incidents that have something to release, or something released that has not gone."""
    from commcast.operations.desk import make_plan

    waiting = _waiting(ledger) if ledger is not None else set()

    def test(incident: Incident) -> bool:
        plan = make_plan(desk, incident, ledger)
        # The end of what nobody ever heard of is old history, not a draft.
        new = bool(plan.drafts) and (is_open(incident) or bool(plan.history.releases))
        return new or plan.review or bool(plan.deliveries) or incident.id in waiting

    return test


def _waiting(ledger: Ledger) -> set[str]:
    """Return the incidents of which something frozen can go now; what quiet hours hold cannot."""
    from commcast.ledger.broadcasts import open_broadcasts
    from commcast.ledger.history import tallies
    from commcast.ledger.tables import State

    with ledger.read() as connection:
        named = {broadcast.incident for broadcast in open_broadcasts(connection)}
        counts = [tally for name in named for tally in tallies(connection, name)]
    return {tally.incident for tally in counts if tally.state in {State.PENDING, State.CLAIMED}}


def _named(loaded: Loaded, wanted: str) -> Incident:
    found = next((incident for incident in loaded.incidents if incident.id == wanted), None)
    if found is not None:
        if loaded.broken:
            count = len(loaded.broken)
            files = "incident file is" if count == 1 else "incident files are"
            say(f"Note: {count} other {files} broken: commcast lint tells where.")
        return found
    own = [name for name in loaded.broken if name.rpartition("/")[2].removesuffix(".yaml") == wanted]
    faults = [fault for name in own or loaded.broken for fault in loaded.broken[name].faults]
    if not own:
        known = _listed(loaded.incidents) or "there is none yet: commcast declare"
        faults.append(Fault("", 0, 0, f"there is no incident {wanted!r:.60}", f"known: {known}"))
    raise InputError(faults)


def _listed(incidents: Iterable[Incident]) -> str:
    names: Sequence[str] = [incident.id for incident in incidents]
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
