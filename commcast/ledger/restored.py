"""A ledger that is older than what was sent: all that it calls open may have been sent since."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, select, update

from commcast.ledger import schema
from commcast.ledger.doubts import What, put_acts
from commcast.ledger.schema import WAITING, BroadcastState, State, stamp
from commcast.release import ELSEWHERE

_broadcast, _delivery, _release = schema.broadcast, schema.delivery, schema.release

REASON = "the ledger was restored: it may have been sent since"


def count_open(connection: Connection) -> int:
    """Return how many deliveries of a ledger are open: they wait, are held, or are claimed."""
    is_open = _delivery.c.state.in_([*WAITING, State.CLAIMED])
    return int(connection.execute(select(func.count()).where(is_open)).scalar_one())


def doubt_all_open(connection: Connection, by: str, now: datetime) -> int:
    """Call unknown all that is open; return how many. Nothing of it goes by itself any more.

    A list that was being frozen counts as frozen, and words that were released and not frozen as told
    elsewhere: whoever is not in this ledger may have been told by the one that came after it.
    """
    changed = connection.execute(
        update(_delivery)
        .where(_delivery.c.state.in_([*WAITING, State.CLAIMED]))
        # The window in which it may have been sent is open to this day.
        .values(state=State.UNKNOWN, reason=REASON, lease_until=None, not_before=None, changed_at=stamp(now))
        .returning(_delivery.c.id)
    )
    ids = list(changed.scalars())
    put_acts(connection, ids, What.RESTORE, State.UNKNOWN, REASON, by, now)
    connection.execute(update(_broadcast).values(state=BroadcastState.FROZEN))
    frozen = select(_broadcast.c.id).where(
        _broadcast.c.incident == _release.c.incident, _broadcast.c.number == _release.c.number
    )
    connection.execute(update(_release).where(~frozen.exists()).values(how=ELSEWHERE))
    return len(ids)
