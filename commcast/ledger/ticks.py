"""When ticks ran: each is recorded, so that a desk knows whether anything goes by itself, and how late."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, select

from commcast.drift import Drift, drift_of
from commcast.ledger import schema
from commcast.ledger.owners import current_owner
from commcast.ledger.schema import stamp, unstamp

TICKS_KEPT = 10_000  # about a week of one a minute
LOOKED_BACK, MOST_LOOKED_AT = timedelta(days=1), 500

_tick = schema.tick


def record_tick(connection: Connection, now: datetime) -> None:
    """Record that a tick ran on this host."""
    host = current_owner().partition("|")[0]
    made = connection.execute(insert(_tick).values(at=stamp(now), host=host).returning(_tick.c.id))
    connection.execute(delete(_tick).where(_tick.c.id <= made.scalar_one() - TICKS_KEPT))


def last_tick(connection: Connection) -> datetime | None:
    """Return when a tick last ran over this ledger."""
    return unstamp(connection.execute(select(func.max(_tick.c.at))).scalar_one_or_none())


def drift(connection: Connection, now: datetime) -> Drift | None:
    """Return how far apart the ticks of the last day were, None where there were too few to tell."""
    rows = connection.execute(
        select(_tick.c.at, _tick.c.host)
        .where(_tick.c.at > stamp(now - LOOKED_BACK), _tick.c.at <= stamp(now))
        .order_by(_tick.c.id.desc())
        .limit(MOST_LOOKED_AT)
    ).all()
    # A clock that was set back leaves them out of order.
    ticks = sorted(datetime.fromisoformat(row.at) for row in rows)
    return drift_of(ticks, sorted({row.host for row in rows}))
