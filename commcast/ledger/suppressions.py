"""Addresses that are suppressed, and readers who had enough messages this hour."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Select, and_, delete, func, insert, not_, or_, select, update

from commcast.ledger import tables
from commcast.ledger.tables import (
    IS_FROZEN,
    IS_OPEN,
    IS_PENDING,
    MAYBE_TOLD,
    OWN_STORY,
    WAITING,
    State,
    given_up,
    insert_unless_there,
    one_of,
    stamp,
    unstamp,
)
from commcast.model.history import ERASED
from commcast.model.incident import Channel

_suppression, _delivery = tables.suppression, tables.delivery
_ERASED_KEY = "erased:"  # and hexadecimal digits


@dataclass(frozen=True, slots=True)
class Suppression:
    """One address that gets no more messages; `key` is a hash where the person was erased."""

    channel: str
    key: str
    reason: str
    by: str
    at: datetime


def suppress(connection: Connection, channel: str, key: str, *, reason: str, by: str, now: datetime) -> None:
    """Suppress an address, and skip what is pending to it. An older entry keeps its reason."""
    row = {"channel": channel, "key": key, "reason": reason, "by": by, "at": now}
    connection.execute(insert_unless_there(connection, _suppression), [row])
    _skip_waiting(connection, channel, [key], now)


def suppress_new(
    connection: Connection, secret: bytes, channel: str, found: Sequence[Suppression], now: datetime
) -> frozenset[str]:
    """Suppress those that are not yet, each with its own reason and date, and skip what is pending to them.

    Returns their keys. An older entry keeps its reason; an erased person stays a hash.
    """
    known = suppressed_among(connection, secret, channel, [each.key for each in found])
    new = {each.key: each for each in reversed(found) if each.key not in known}
    rows = [
        {"channel": channel, "key": key, "reason": each.reason, "by": each.by, "at": each.at}
        for key, each in new.items()
    ]
    if rows:
        connection.execute(insert_unless_there(connection, _suppression), rows)
        _skip_waiting(connection, channel, list(new), now)
    return frozenset(new)


def _skip_waiting(connection: Connection, channel: str, keys: Sequence[str], now: datetime) -> None:
    connection.execute(
        update(_delivery)
        .where(
            _delivery.c.channel == channel,
            _delivery.c.key.in_(keys),
            _delivery.c.state.in_([State.PENDING, State.HELD]),
        )
        .values(state=given_up(), reason="opted out", changed_at=now)
    )


def unsuppress(connection: Connection, secret: bytes, channel: str, key: str) -> bool:
    """Let an address hear again; False where it was not suppressed."""
    gone = connection.execute(
        delete(_suppression)
        .where(_suppression.c.channel == channel, _suppression.c.key.in_([key, erased_key(secret, key)]))
        .returning(_suppression.c.key)
    )
    return bool(gone.all())


def erase(connection: Connection, secret: bytes, channel: str, key: str, *, by: str, now: datetime) -> int:
    """Forget an address: in every delivery it becomes a keyed hash, and an old list cannot tell them again.

    A delivery that is being handed over right now keeps its row; its address goes too. Returns how many
    deliveries spoke to it.
    """
    suppress(connection, channel, key, reason=ERASED, by=by, now=now)
    hashed = erased_key(secret, key)
    rows = connection.execute(
        update(_delivery)
        .where(_delivery.c.channel == channel, _delivery.c.key == key)
        # A provider's own name for a delivery may hold the address, as a file's name in the outbox does.
        .values(
            key=hashed,
            address="",
            recipient={},
            provider_id="",
            receipt_detail="",
            changed_at=now,
        )
        .returning(_delivery.c.id)
    ).all()
    connection.execute(
        delete(_suppression).where(_suppression.c.channel == channel, _suppression.c.key == key)
    )
    row = {"channel": channel, "key": hashed, "reason": ERASED, "by": by, "at": now}
    connection.execute(insert_unless_there(connection, _suppression), [row])
    return len(rows)


def phones_beside(connection: Connection, addresses: Sequence[str]) -> tuple[str, ...]:
    """Return the phone numbers whose deliveries name one of these mail addresses: the same person's."""
    named = func.lower(_delivery.c.recipient["email"].as_string())
    found = connection.execute(
        select(_delivery.c.key)
        .where(_delivery.c.channel == Channel.SMS, named.in_([address.lower() for address in addresses]))
        .distinct()
    )
    return tuple(found.scalars())


def suppressed_among(
    connection: Connection, secret: bytes, channel: str, keys: Sequence[str]
) -> dict[str, str]:
    """Return, of these addresses, the suppressed ones and why."""
    anybody = select(_suppression.c.key).where(_suppression.c.channel == channel).limit(1)
    if not connection.execute(anybody).all():
        return {}
    by_hash = erased_among(connection, secret, channel, keys)
    rows = connection.execute(
        select(_suppression.c.key, _suppression.c.reason).where(
            _suppression.c.channel == channel, one_of(connection, _suppression.c.key, [*keys, *by_hash])
        )
    )
    return {by_hash.get(row.key, row.key): row.reason for row in rows}


def erased_among(connection: Connection, secret: bytes, channel: str, keys: Sequence[str]) -> dict[str, str]:
    """Return these addresses by the hash that they would have if erased; none where nobody ever was."""
    erased = [
        select(table.c.key).where(
            table.c.channel == channel, table.c.key.between(_ERASED_KEY, _ERASED_KEY + "g")
        )
        for table in (_suppression, _delivery)
    ]
    if not any(connection.execute(query.limit(1)).all() for query in erased):
        return {}
    return {erased_key(secret, key): key for key in keys}


def list_suppressions(connection: Connection) -> tuple[Suppression, ...]:
    """Return every suppressed address, oldest first."""
    rows = connection.execute(select(_suppression).order_by(_suppression.c.at, _suppression.c.key))
    return tuple(Suppression(*row) for row in rows)


def erased_key(secret: bytes, key: str) -> str:
    """Return the keyed hash that stands for an erased address: useless without the ledger's secret."""
    return _ERASED_KEY + hmac.digest(secret, b"erased\0" + key.encode(), "sha256").hex()[:40]


_broadcast, _delivery, _meta = tables.frozen_broadcast, tables.delivery, tables.meta

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
        not_(_broadcast.c.incident.startswith(OWN_STORY)),
        or_(_broadcast.c.created_at > now - _BEGUN[Channel(channel)], open_ones),
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
        and_(_delivery.c.state.in_(MAYBE_TOLD), handed > recently.now - LATELY),
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
            IS_FROZEN,
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
            _broadcast.c.channel == channel, _broadcast.c.created_at > now - HELD_BACK_IS_NEWS
        )
    ).scalar_one_or_none()
    return int(first) if first is not None else None
