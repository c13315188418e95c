"""What of frozen broadcasts waits: for a provider, for others to hear first, or only to be taken."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, or_, select

from commcast.ledger import schema
from commcast.ledger.schema import IS_PENDING, BroadcastState, stamp

_broadcast, _delivery = schema.broadcast, schema.delivery


class Ripe(NamedTuple):
    """How many deliveries of one notice over one channel may go now."""

    incident: str
    notice: str
    number: int
    channel: str
    deliveries: int


def waiting(connection: Connection, broadcast: int) -> tuple[int, datetime | None]:
    """Return how many deliveries of a broadcast wait, and when the first of them may be tried again."""
    row = connection.execute(
        select(func.count(), func.min(_delivery.c.not_before)).where(
            _delivery.c.broadcast == broadcast, IS_PENDING
        )
    ).one()
    return int(row[0]), schema.unstamp(row[1])


def planned(connection: Connection, broadcast: int, now: datetime) -> tuple[int, datetime | None]:
    """Return how many deliveries of a broadcast wait because others hear first, and until when."""
    row = connection.execute(
        select(func.count(), func.min(_delivery.c.not_before)).where(
            _delivery.c.broadcast == broadcast,
            IS_PENDING,
            _delivery.c.attempts == 0,
            _delivery.c.not_before > stamp(now),
        )
    ).one()
    return int(row[0]), schema.unstamp(row[1])


def ripe_now(connection: Connection, now: datetime, incident: str = "") -> Iterator[Ripe]:
    """Yield, in the order they were frozen, the broadcasts (of one incident) of which some may go now."""
    asked = (
        select(
            _broadcast.c.incident,
            _broadcast.c.notice,
            _broadcast.c.number,
            _broadcast.c.channel,
            func.count(),
        )
        .join(_delivery, _delivery.c.broadcast == _broadcast.c.id)
        .where(
            _broadcast.c.state == BroadcastState.FROZEN,
            IS_PENDING,
            or_(_delivery.c.not_before.is_(None), _delivery.c.not_before <= stamp(now)),
            or_(_delivery.c.expires_at.is_(None), _delivery.c.expires_at > stamp(now)),
        )
        .group_by(_broadcast.c.id)
        .order_by(_broadcast.c.id)
    )
    if incident:
        asked = asked.where(_broadcast.c.incident == incident)
    for row in connection.execute(asked):
        yield Ripe(*row)
