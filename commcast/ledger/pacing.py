"""How fast all processes on one ledger together hand over to a provider, and when it asked for a pause.

Hand-overs get evenly spaced slots, taken in the transaction that claims them: the slot and the claim are
on disk together, and two processes, on one host or two, never get the same one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, select, update

from commcast.ledger.prepared import Prepared
from commcast.ledger.schema import insert_unless_there, pace, stamp, unstamp

# Nobody is believed who asks for more, nor a time that was written before this machine's clock was set back.
LONGEST_PAUSE = timedelta(hours=1, minutes=1)
HORIZON = timedelta(seconds=1)  # slots are given no further ahead: who comes next gets its share soon
# Nobody is given a slot so far ahead; one that is was written before this machine's clock was set back.
_CLOCK_WAS_WRONG = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Pace:
    """A provider's limit. `per_second` is in messages, 0 for none; `batch` is how many go in one hand-over.

    `lead` is how long before its slot a claim has to be on disk.
    """

    provider: str
    per_second: float
    batch: int
    lead: timedelta

    @property
    def spacing(self) -> timedelta:
        """The time from one hand-over to the next, never rounded down."""
        return timedelta(microseconds=math.ceil(1e6 * self.batch / self.per_second))


def closed_until(connection: Connection, provider: str, now: datetime) -> datetime | None:
    """Return until when a provider asked to be left alone, None where it may be asked now."""
    until = unstamp(_CLOSED_UNTIL.run(connection, provider=provider).scalar_one_or_none())
    return until if until is not None and now < until <= now + LONGEST_PAUSE else None


def close(connection: Connection, provider: str, until: datetime) -> None:
    """Let no process ask a provider before `until`; a later time that is known already stays."""
    _ensure(connection, provider)
    connection.execute(
        update(pace)
        .where(
            pace.c.provider == provider,
            (pace.c.closed_until.is_(None)) | (pace.c.closed_until < stamp(until)),
        )
        .values(closed_until=stamp(until))
    )


def reopen(connection: Connection) -> None:
    """Let every provider be asked again: a person says so."""
    connection.execute(update(pace).values(closed_until=None))


def pauses(connection: Connection, now: datetime) -> dict[str, datetime]:
    """Return the providers that asked to be left alone, and until when."""
    found = connection.execute(select(pace.c.provider)).scalars().all()
    return {name: until for name in found if (until := closed_until(connection, name, now))}


def next_slot(connection: Connection, limit: Pace, now: datetime) -> datetime:
    """Return when the next hand-over may begin."""
    _ensure(connection, limit.provider)
    row = connection.execute(
        select(pace.c.next_slot).where(pace.c.provider == limit.provider).with_for_update()
    ).scalar_one()
    kept, soonest = unstamp(row), now + limit.lead
    if kept is None or kept > now + max(_CLOCK_WAS_WRONG, 2 * limit.spacing):
        return soonest
    return max(kept, soonest)


def room(limit: Pace, slot: datetime, now: datetime) -> int:
    """Return how many deliveries may be claimed now, the first of them for `slot`; 0 where it is far off."""
    ahead = now + limit.lead + max(HORIZON, limit.spacing) - slot
    return max(int(ahead / limit.spacing), 0) * limit.batch


def free_from(limit: Pace, slot: datetime) -> datetime:
    """Return from when on there is room, where `slot` is the next."""
    return slot + limit.spacing - limit.lead - max(HORIZON, limit.spacing)


def take_slots(connection: Connection, limit: Pace, slot: datetime, count: int) -> tuple[datetime, ...]:
    """Take a slot for each hand-over of `count` deliveries, from `slot` on, and return them."""
    slots = tuple(slot + number * limit.spacing for number in range(-(-count // limit.batch)))
    if slots:
        after = stamp(slots[-1] + limit.spacing)
        connection.execute(update(pace).where(pace.c.provider == limit.provider).values(next_slot=after))
    return slots


# Asked in every turn of a run.
_CLOSED_UNTIL = Prepared(lambda: select(pace.c.closed_until).where(pace.c.provider == bindparam("provider")))


def _ensure(connection: Connection, provider: str) -> None:
    connection.execute(insert_unless_there(connection, pace), [{"provider": provider}])
