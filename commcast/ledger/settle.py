"""Records the outcomes of claimed deliveries, also of dead processes', and paces each provider."""

from __future__ import annotations

import hashlib
import math
import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, String, Update, and_, bindparam, case, or_, select, update

from commcast.ledger import tables
from commcast.ledger.tables import (
    IS_OPEN,
    IS_PENDING,
    Prepared,
    State,
    as_json,
    given,
    insert_unless_there,
    pace,
    stamp,
    unstamp,
)
from commcast.model.message import Outcome, OutcomeKind

# A longer pause is not believed, and neither is a time written before this machine's clock was set back.
LONGEST_PAUSE = timedelta(hours=1, minutes=1)
# Slots are given no further ahead, so that the next process gets its share soon.
HORIZON = timedelta(seconds=1)
# No slot is given this far ahead: one that is was written before this machine's clock was set back.
_CLOCK_WAS_WRONG = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class SendLimit:
    """A provider's limit. `per_second` is in messages, 0 for none; `batch` is the number sent at once.

    `lead` is how long before its slot a claim has to be on disk.
    """

    provider: str
    per_second: float
    batch: int
    lead: timedelta

    @property
    def spacing(self) -> timedelta:
        """The time from one batch to the next, never rounded down."""
        return timedelta(microseconds=math.ceil(1e6 * self.batch / self.per_second))


def closed_until(connection: Connection, provider: str, now: datetime) -> datetime | None:
    """Return the end of a pause that a provider asked for, None if it may be used now."""
    until = unstamp(_CLOSED_UNTIL.run(connection, provider=provider).scalar_one_or_none())
    return until if until is not None and now < until <= now + LONGEST_PAUSE else None


def close(connection: Connection, provider: str, until: datetime) -> None:
    """Let no process use a provider before `until`; a later time that is already known stays."""
    _ensure(connection, provider)
    connection.execute(
        update(pace)
        .where(
            pace.c.provider == provider,
            (pace.c.closed_until.is_(None)) | (pace.c.closed_until < until),
        )
        .values(closed_until=until)
    )


def reopen(connection: Connection) -> None:
    """End the pauses of all providers and the waits of what they did not take, because a person says so."""
    connection.execute(update(pace).values(closed_until=None))
    tried = and_(IS_PENDING, _delivery.c.attempts > 0, _delivery.c.not_before.is_not(None))
    connection.execute(update(_delivery).where(tried).values(not_before=None))


def pauses(connection: Connection, now: datetime) -> dict[str, datetime]:
    """Return the providers that asked for a pause, and until when."""
    found = connection.execute(select(pace.c.provider)).scalars().all()
    return {name: until for name in found if (until := closed_until(connection, name, now))}


def next_slot(connection: Connection, limit: SendLimit, now: datetime) -> datetime:
    """Return when the next batch may start."""
    _ensure(connection, limit.provider)
    kept: datetime | None = connection.execute(
        select(pace.c.next_slot).where(pace.c.provider == limit.provider).with_for_update()
    ).scalar_one()
    soonest = now + limit.lead
    if kept is None or kept > now + max(_CLOCK_WAS_WRONG, 2 * limit.spacing):
        return soonest
    return max(kept, soonest)


def room(limit: SendLimit, slot: datetime, now: datetime) -> int:
    """Return how many deliveries may be claimed now, the first for `slot`; 0 if that is far off."""
    ahead = now + limit.lead + max(HORIZON, limit.spacing) - slot
    return max(int(ahead / limit.spacing), 0) * limit.batch


def free_from(limit: SendLimit, slot: datetime) -> datetime:
    """Return when there will be room again if `slot` is the next."""
    return slot + limit.spacing - limit.lead - max(HORIZON, limit.spacing)


def take_slots(connection: Connection, limit: SendLimit, slot: datetime, count: int) -> tuple[datetime, ...]:
    """Take a slot for each batch of `count` deliveries, starting with `slot`, and return them."""
    slots = tuple(slot + number * limit.spacing for number in range(-(-count // limit.batch)))
    if slots:
        after = slots[-1] + limit.spacing
        connection.execute(update(pace).where(pace.c.provider == limit.provider).values(next_slot=after))
    return slots


# Read in every turn of a run.
_CLOSED_UNTIL = Prepared(lambda: select(pace.c.closed_until).where(pace.c.provider == bindparam("provider")))


def _ensure(connection: Connection, provider: str) -> None:
    connection.execute(insert_unless_there(connection, pace), [{"provider": provider}])


def current_owner() -> str:
    """Return this process's name in claims."""
    pid = os.getpid()
    return f"{_here()}|{pid}|{_started(pid)}"


def is_dead(owner: str) -> bool:
    """Return True if `owner` ran on this machine and is certainly not running any more.

    Otherwise its claims end with their lease.
    """
    return runs(owner) is False


def runs(owner: str) -> bool | None:
    """Return whether a process is running; None if that cannot be known here.

    A host name alone proves nothing: two machines may share one. Nor does a machine's id in a container: its
    image may have brought it.
    """
    here, pid, started = owner.rsplit("|", 2)
    (host, boot, space), (own_host, own_boot, own_space) = here.split("|"), _here().split("|")
    machine, _, booted = boot.rpartition("/")
    own_machine, _, own_booted = own_boot.rpartition("/")
    if host != own_host or space != own_space or not booted:
        return None
    if booted == own_booted:
        return _started(int(pid)) == started
    return False if machine and machine == own_machine and space == _NO_CONTAINER else None


_NO_CONTAINER = "pid:[4026531836]"  # the kernel's first process id namespace has this number (proc_ns.h)


@cache
def _here() -> str:
    """Return the host's name, "machine/boot" and the process id namespace; what is not known is "".

    The machine's id is confidential (machine-id(5)): a digest of it tells machines apart as well.
    """
    machine, boot = _read("/etc/machine-id"), _read("/proc/sys/kernel/random/boot_id")
    if not boot:  # macOS
        boot = _said("sysctl", "-n", "kern.bootsessionuuid")
    digest = machine and hashlib.sha256(f"commcast {machine}".encode()).hexdigest()[:12]
    return f"{socket.gethostname()}|{digest}/{boot}|{_process_space()}"


def _process_space() -> str:
    """Return the process id namespace: in another container the same number is another process."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return when a process started, in its system's own unit; "" if there is no such process."""
    if Path("/proc/self/stat").exists():
        # The name in brackets may hold anything; the start time is the 20th field after it (proc(5)).
        _, _, rest = _read(f"/proc/{pid}/stat").rpartition(")")
        fields = rest.split()
        return fields[19] if len(fields) > 19 and fields[0] not in {"Z", "X"} else ""
    return _said("ps", "-o", "lstart=", "-p", str(pid))


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


_delivery = tables.delivery

NO_ANSWER = "the run ended before the provider answered"


@dataclass(frozen=True, slots=True)
class Settlement:
    """An outcome and, if the provider did not take it, when it may be tried again."""

    outcome: Outcome
    provider: str
    not_before: datetime | None = None


def settle(connection: Connection, settlements: Sequence[Settlement], *, owner: str, now: datetime) -> None:
    """Record the outcomes of claimed deliveries.

    A late answer also settles a delivery that another process had to mark unknown, except "not taken":
    nothing goes back from unknown to pending.
    """
    alike: dict[_Said, dict[int, str]] = {}
    for each in settlements:
        outcome, wait = each.outcome, each.not_before
        said = (outcome.kind, outcome.detail, each.provider, stamp(wait) if wait else None)
        alike.setdefault(said, {})[outcome.delivery] = outcome.provider_id
    for (kind, detail, provider, not_before), ids in alike.items():
        _SETTLE.run(
            connection,
            ids=as_json(ids),
            kind=str(kind),
            detail=detail,
            by_provider=provider,
            wait_until=not_before,
            by_owner=owner,
            now=stamp(now),
        )


def are_claims_ours(connection: Connection, incident: str) -> bool:
    """Return whether all that have claimed deliveries of an incident did so on this machine.

    What one of them has not settled yet it settles, or the next run does.
    """
    claimed = (IS_OPEN, _delivery.c.state == State.CLAIMED, _delivery.c.incident == incident)
    owners = connection.execute(select(_delivery.c.owner).where(*claimed).distinct()).scalars()
    return all(runs(owner) is not None for owner in owners)


def settle_lost(connection: Connection, now: datetime, incident: str | None = None) -> int:
    """Mark claims (of one incident) unknown whose process is dead or whose lease has run out; count them."""
    claimed = [IS_OPEN, _delivery.c.state == State.CLAIMED]
    if incident is not None:
        claimed.append(_delivery.c.incident == incident)
    owners = connection.execute(select(_delivery.c.owner).where(*claimed).distinct()).scalars()
    dead = [owner for owner in owners if is_dead(owner)]
    lost = connection.execute(
        update(_delivery)
        .where(*claimed, or_(_delivery.c.owner.in_(dead), _delivery.c.lease_until <= now))
        .values(state=State.UNKNOWN, reason=NO_ANSWER, changed_at=now)
        .returning(_delivery.c.id)
    )
    return len(lost.all())


def _settling() -> Update:
    """Build the update that settles deliveries with the same outcome, each with its own provider id."""
    delivery, provider_id = given(bindparam("ids"))
    kind = bindparam("kind", type_=String)
    ours = or_(
        _delivery.c.state == State.CLAIMED,
        and_(_delivery.c.state == State.UNKNOWN, kind != OutcomeKind.NOT_TAKEN),
        # A person had it sent again, and then its first answer came after all: the second one is not sent.
        and_(_delivery.c.state == State.PENDING, _delivery.c.doubted == 1, kind == OutcomeKind.ACCEPTED),
    )
    state = case(
        (kind == OutcomeKind.NOT_TAKEN, State.PENDING),
        # If the second one was refused, the first may still have arrived.
        (and_(kind == OutcomeKind.REJECTED, _delivery.c.doubted == 1), State.UNKNOWN),
        else_=kind,
    )
    # Somebody erased while their message was in flight stays erased: an answer may contain the address.
    erased = _delivery.c.address == ""
    return (
        update(_delivery)
        .where(_delivery.c.id == delivery, _delivery.c.owner == bindparam("by_owner"), ours)
        .values(
            state=state,
            reason=case((erased, ""), else_=bindparam("detail")),
            provider=bindparam("by_provider"),
            provider_id=case((erased, ""), else_=provider_id),
            not_before=bindparam("wait_until"),
            changed_at=bindparam("now"),
        )
    )


_SETTLE = Prepared(_settling)
_Said = tuple[OutcomeKind, str, str, str | None]  # kind, detail, provider, when it may be tried again
