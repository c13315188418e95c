"""How much each address got lately, over all incidents, and what a cap held back: asked only where it may be.

One broadcast speaks to an address once. So nobody can have had more messages within an hour than broadcasts
spoke in it, and where these are fewer than the cap nobody is looked up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Select, and_, delete, func, insert, not_, or_, select

from commcast.ledger import schema
from commcast.ledger.prepared import one_of
from commcast.ledger.schema import (
    IS_OPEN,
    IS_PENDING,
    MAYBE_TOLD,
    OWN_STORY,
    WAITING,
    BroadcastState,
    State,
    stamp,
    unstamp,
)
from commcast.model import Channel

_broadcast, _delivery, _meta = schema.broadcast, schema.delivery, schema.meta

LATELY = timedelta(hours=1)
# A text may have been held for a night: so long ago the broadcast of one that went lately may have begun.
_BEGUN = {Channel.EMAIL: LATELY, Channel.SMS: timedelta(hours=24)}
# What was held back longer ago is no news any more.
HELD_BACK_IS_NEWS = timedelta(hours=24)
_HELD_BACK = "held_back:"  # and the channel: when a cap last held anything back


@dataclass(frozen=True, slots=True)
class Recently:
    """What there is to look up for readers of one channel: `spoken` are broadcasts, () for none.

    `held_back_from` is the first broadcast in which a cap may have held anything back, None for none.
    """

    channel: str
    now: datetime
    spoken: tuple[int, ...] = ()
    held_back_from: int | None = None

    @property
    def is_quiet(self) -> bool:
        """Whether nobody needs to be looked up."""
        return not self.spoken and self.held_back_from is None


def look_back(
    connection: Connection, incident: str, notice: str, channel: str, now: datetime, *, cap: int | None
) -> Recently:
    """Return what there is to look up for readers of a notice; `cap` is None where none holds it back."""
    spoken: tuple[int, ...] = ()
    if cap is not None:
        found = connection.execute(_spoken(channel, now)).all()
        spoken = tuple(row.id for row in found if (row.incident, row.notice) != (incident, notice))
        spoken = spoken if len(spoken) >= cap else ()
    return Recently(channel, now, spoken, _held_back_from(connection, channel, now))


def _spoken(channel: str, now: datetime) -> Select[tuple[int, str, str]]:
    """Return the broadcasts to readers that began lately, or that still have anything to hand over."""
    open_ones = or_(
        _broadcast.c.id.in_(select(_delivery.c.broadcast).where(IS_OPEN)),
        select(_delivery.c.id).where(_delivery.c.broadcast == _broadcast.c.id, IS_PENDING).exists(),
    )
    return select(_broadcast.c.id, _broadcast.c.incident, _broadcast.c.notice).where(
        _broadcast.c.channel == channel,
        _broadcast.c.state == BroadcastState.FROZEN,
        not_(_broadcast.c.incident.startswith(OWN_STORY)),
        or_(_broadcast.c.created_at > stamp(now - _BEGUN[Channel(channel)]), open_ones),
    )


def messages_lately(
    connection: Connection, recently: Recently, incident: str, keys: Sequence[str]
) -> dict[str, int]:
    """Return how many messages each of `keys` got within the last hour, or may have got, or is to get.

    What waits of this incident does not count: newer words take its place.
    """
    if not recently.spoken:
        return {}
    handed = func.coalesce(_delivery.c.claimed_at, _delivery.c.changed_at)
    counts = or_(
        and_(_delivery.c.state.in_(MAYBE_TOLD), handed > stamp(recently.now - LATELY)),
        and_(_delivery.c.state.in_(WAITING), _delivery.c.incident != incident),
    )
    rows = connection.execute(
        select(_delivery.c.key, func.count())
        .join_from(
            _broadcast,
            _delivery,
            # The key's own columns, so that the database finds them by its index.
            and_(
                _delivery.c.incident == _broadcast.c.incident,
                _delivery.c.notice == _broadcast.c.notice,
                _delivery.c.channel == _broadcast.c.channel,
            ),
        )
        .where(_broadcast.c.id.in_(recently.spoken), one_of(connection, _delivery.c.key, keys), counts)
        .group_by(_delivery.c.key)
    )
    return {row[0]: row[1] for row in rows}


def held_back_since(
    connection: Connection, recently: Recently, keys: Sequence[str], reason: str
) -> Counter[str]:
    """Return how many messages were skipped for `reason` to each of `keys` since they last got any."""
    held_back: Counter[str] = Counter()
    if recently.held_back_from is None:
        return held_back
    rows = connection.execute(
        select(_delivery.c.key, _delivery.c.state, _delivery.c.reason)
        .where(
            _delivery.c.channel == recently.channel,
            one_of(connection, _delivery.c.key, keys),
            _delivery.c.broadcast >= recently.held_back_from,
            not_(_delivery.c.incident.startswith(OWN_STORY)),
        )
        .order_by(_delivery.c.id)
    )
    for row in rows:
        if row.state in MAYBE_TOLD:
            held_back.pop(row.key, None)
        elif row.state == State.SKIPPED and row.reason == reason:
            held_back[row.key] += 1
    return held_back


def note_held_back(connection: Connection, channel: str, now: datetime) -> None:
    """Note that a cap held something back on a channel: until then nobody is looked up for it."""
    name = _HELD_BACK + channel
    connection.execute(delete(_meta).where(_meta.c.name == name))
    connection.execute(insert(_meta).values(name=name, value=stamp(now)))


def _held_back_from(connection: Connection, channel: str, now: datetime) -> int | None:
    last = unstamp(
        connection.execute(
            select(_meta.c.value).where(_meta.c.name == _HELD_BACK + channel)
        ).scalar_one_or_none()
    )
    if last is None or now - last > HELD_BACK_IS_NEWS:
        return None
    first = connection.execute(
        select(func.min(_broadcast.c.id)).where(
            _broadcast.c.channel == channel, _broadcast.c.created_at > stamp(now - HELD_BACK_IS_NEWS)
        )
    ).scalar_one_or_none()
    return int(first) if first is not None else None
