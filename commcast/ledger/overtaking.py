"""Newer words end what still waits of older ones; after the end nobody hears of the beginning."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Connection, Select, and_, or_, select, update

from commcast.ledger import schema
from commcast.ledger.merged import merged_into
from commcast.ledger.schema import MAYBE_TOLD, WAITING, given_up, stamp
from commcast.model import END_STATUSES
from commcast.release import ELSEWHERE

_broadcast, _delivery, _release = schema.broadcast, schema.delivery, schema.release


class _Words(Protocol):
    """A broadcast, as much of it as is needed here."""

    @property
    def id(self) -> int: ...
    @property
    def incident(self) -> str: ...
    @property
    def number(self) -> int: ...
    @property
    def channel(self) -> str: ...


def end_older_words(connection: Connection, broadcast: _Words, now: datetime) -> None:
    """Skip what `broadcast`, which opens now, overtakes on its channel."""
    if not connection.execute(_broadcasts_before(broadcast).limit(1)).all():
        return  # and no list of a million readers is looked through for it
    is_end = _is_end(connection, broadcast)
    if is_end:
        _spare_the_untold(connection, broadcast, now)
    _supersede(connection, broadcast, now, everybody=is_end)


def _supersede(connection: Connection, broadcast: _Words, now: datetime, *, everybody: bool) -> None:
    """Skip what still waits of earlier updates for people who are due these newer words on this channel.

    When it is over, `everybody` is meant: nobody hears of a beginning after the end.
    """
    newer = select(_delivery.c.key).where(
        _delivery.c.broadcast == broadcast.id, _delivery.c.state.in_(WAITING)
    )
    connection.execute(
        update(_delivery)
        .where(
            *_earlier(broadcast),
            _delivery.c.state.in_(WAITING),
            *([] if everybody else [_delivery.c.key.in_(newer)]),
        )
        .values(state=given_up(), reason="superseded", changed_at=stamp(now))
    )


def _spare_the_untold(connection: Connection, broadcast: _Words, now: datetime) -> None:
    """Take the end back from those for whom all earlier words still wait: they never heard that it began."""
    ways_of_release = select(_release.c.how).where(_release.c.incident == broadcast.incident)
    if ELSEWHERE in connection.execute(ways_of_release).scalars():
        return  # some were told before this ledger began, and it does not know whom
    earlier = select(_delivery.c.key).where(*_earlier(broadcast))
    connection.execute(
        update(_delivery)
        .where(
            _delivery.c.broadcast == broadcast.id,
            _delivery.c.state.in_(WAITING),
            _delivery.c.key.in_(earlier.where(_delivery.c.state.in_(WAITING))),
            _delivery.c.key.not_in(_told_of(broadcast, merged_into(connection, broadcast.incident))),
            # Who waits to be told once more may have been told the first time.
            _delivery.c.key.not_in(
                earlier.where(or_(_delivery.c.state.in_(MAYBE_TOLD), _delivery.c.doubted == 1))
            ),
        )
        .values(state=given_up(), reason="was never told that it began", changed_at=stamp(now))
    )


def _told_of(broadcast: _Words, incidents: Sequence[str]) -> Select[tuple[str]]:
    """Return who heard of incidents that go on as this one."""
    return select(_delivery.c.key).where(
        _delivery.c.incident.in_(incidents),
        _delivery.c.channel == broadcast.channel,
        _delivery.c.state.in_(MAYBE_TOLD),
    )


def _earlier(broadcast: _Words) -> tuple[Any, ...]:
    """Return the conditions of a delivery of older words on the same channel."""
    return (
        _delivery.c.incident == broadcast.incident,
        _delivery.c.channel == broadcast.channel,
        _delivery.c.broadcast.in_(_broadcasts_before(broadcast)),
    )


def _broadcasts_before(broadcast: _Words) -> Select[tuple[int]]:
    """Return the broadcasts of older words; of holding statements of one update the newest is what counts."""
    older_holding = and_(
        _broadcast.c.number == broadcast.number,
        _broadcast.c.id < broadcast.id,
        _broadcast.c.notice.like("holding:%"),
    )
    return select(_broadcast.c.id).where(
        _broadcast.c.incident == broadcast.incident,
        _broadcast.c.channel == broadcast.channel,
        or_(_broadcast.c.number < broadcast.number, older_holding),
    )


def _is_end(connection: Connection, broadcast: _Words) -> bool:
    status = connection.execute(
        select(_release.c.status).where(
            _release.c.incident == broadcast.incident, _release.c.number == broadcast.number
        )
    ).scalar_one_or_none()
    return status in END_STATUSES
