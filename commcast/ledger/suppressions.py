"""Suppressed and erased addresses, and how many messages readers got within the last hour."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Select, and_, delete, func, insert, or_, select, update

from commcast.ledger import tables
from commcast.ledger.tables import (
    HAS_MORE,
    IN_FROZEN,
    IS_FROZEN,
    MAYBE_TOLD,
    WAITING,
    State,
    given_up,
    insert_unless_there,
    one_of,
    said_to_readers,
    stamp,
    unstamp,
)
from commcast.model.history import ERASED
from commcast.model.incident import Channel
from commcast.model.message import Outcome

_suppression, _delivery = tables.suppression, tables.delivery
_ERASED_KEY = "erased:"  # and hexadecimal digits


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that gets no more messages; `key` is a hash if the person was erased."""

    channel: str
    key: str
    reason: str
    by: str
    at: datetime


def suppress(connection: Connection, channel: str, key: str, *, reason: str, by: str, now: datetime) -> None:
    """Suppress an address, and skip what still waits for it. An older entry keeps its reason."""
    _add(connection, [Suppression(channel, key, reason, by, now)])
    _skip_waiting(connection, channel, [key], now)


def suppress_refused(connection: Connection, outcomes: Sequence[Outcome], now: datetime) -> None:
    """Suppress the addresses of deliveries that a provider refused permanently."""
    reasons = {outcome.delivery: f"refused for good: {outcome.detail}" for outcome in outcomes}
    d = _delivery.c
    people = connection.execute(select(d.id, d.channel, d.key).where(d.id.in_(list(reasons)))).all()
    _add(
        connection,
        [Suppression(each.channel, each.key, reasons[each.id], "provider", now) for each in people],
    )


def suppress_new(
    connection: Connection, secret: bytes, channel: str, found: Sequence[Suppression], now: datetime
) -> frozenset[str]:
    """Suppress those that are not suppressed yet, and skip what still waits for them; return their keys.

    An older entry keeps its reason; an erased person stays a hash.
    """
    known = suppressed_among(connection, secret, channel, [each.key for each in found])
    new = {each.key: each for each in reversed(found) if each.key not in known}
    if new:
        _add(connection, [replace(each, channel=channel) for each in new.values()])
        _skip_waiting(connection, channel, list(new), now)
    return frozenset(new)


def _add(connection: Connection, entries: Sequence[Suppression]) -> None:
    connection.execute(insert_unless_there(connection, _suppression), [asdict(each) for each in entries])


def _skip_waiting(connection: Connection, channel: str, keys: Sequence[str], now: datetime) -> None:
    connection.execute(
        update(_delivery)
        .where(
            _delivery.c.channel == channel,
            _delivery.c.key.in_(keys),
            _delivery.c.state.in_(WAITING),
        )
        .values(state=given_up(), reason="opted out", changed_at=now)
    )


def unsuppress(connection: Connection, secret: bytes, channel: str, key: str) -> bool:
    """Allow messages to an address again; return False if it was not suppressed."""
    gone = connection.execute(
        delete(_suppression)
        .where(_suppression.c.channel == channel, _suppression.c.key.in_([key, erased_key(secret, key)]))
        .returning(_suppression.c.key)
    )
    return bool(gone.all())


def erase(connection: Connection, secret: bytes, channel: str, key: str, *, by: str, now: datetime) -> int:
    """Erase an address: in every delivery a keyed hash replaces it, so that an old list can't bring it back.

    A delivery being handed over right now keeps its row but loses the address. Returns the number of
    deliveries to it.
    """
    suppress(connection, channel, key, reason=ERASED, by=by, now=now)
    hashed = erased_key(secret, key)
    rows = connection.execute(
        update(_delivery)
        .where(_delivery.c.channel == channel, _delivery.c.key == key)
        # A provider's id may contain the address, as the name of a file in the outbox does.
        .values(key=hashed, address="", recipient={}, provider_id="", receipt_detail="", changed_at=now)
        .returning(_delivery.c.id)
    ).all()
    connection.execute(
        delete(_suppression).where(_suppression.c.channel == channel, _suppression.c.key == key)
    )
    _add(connection, [Suppression(channel, hashed, ERASED, by, now)])
    return len(rows)


def phones_beside(connection: Connection, addresses: Sequence[str]) -> tuple[str, ...]:
    """Return phone numbers of the same people: their deliveries name one of these email addresses."""
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
    """Return the suppressed ones among these addresses, and why."""
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
    """Return these addresses by the hash they would have if erased; empty if nobody ever was."""
    for table in (_suppression, _delivery):
        is_erased = table.c.key.between(_ERASED_KEY, _ERASED_KEY + "g")
        erased = select(table.c.key).where(table.c.channel == channel, is_erased).limit(1)
        if connection.execute(erased).all():
            return {erased_key(secret, key): key for key in keys}
    return {}


def list_suppressions(connection: Connection) -> tuple[Suppression, ...]:
    """Return every suppressed address, oldest first."""
    rows = connection.execute(select(_suppression).order_by(_suppression.c.at, _suppression.c.key))
    return tuple(Suppression(*row) for row in rows)


def erased_key(secret: bytes, key: str) -> str:
    """Return the keyed hash that replaces an erased address; useless without the ledger's secret."""
    return _ERASED_KEY + hmac.digest(secret, b"erased\0" + key.encode(), "sha256").hex()[:40]


_broadcast, _delivery, _meta = tables.frozen_broadcast, tables.delivery, tables.meta

LATELY = timedelta(hours=1)
# A text may have been held overnight: its broadcast may be this old.
_BEGUN = {Channel.EMAIL: LATELY, Channel.SMS: timedelta(hours=24)}
# After this, readers are no longer told that something was held back.
HELD_BACK_IS_NEWS = timedelta(hours=24)
_HELD_BACK = "held_back:"  # and the channel: when a cap last held anything back


@dataclass(frozen=True, slots=True)
class Recently:
    """What to look up for the readers of one channel: the recent broadcasts in `spoken`, () for none.

    `held_back_from` is the first broadcast in which a cap may have held anything back, None for none.
    """

    channel: str
    now: datetime
    spoken: tuple[int, ...] = ()
    held_back_from: int | None = None

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to look up."""
        return not self.spoken and self.held_back_from is None


def look_back(
    connection: Connection, incident: str, notice: str, channel: str, now: datetime, *, cap: int | None
) -> Recently:
    """Return what to look up for the readers of a notice; `cap` is None if no cap applies."""
    spoken: tuple[int, ...] = ()
    if cap is not None:
        found = connection.execute(_spoken(channel, now)).all()
        spoken = tuple(row.id for row in found if (row.incident, row.notice) != (incident, notice))
        spoken = spoken if len(spoken) >= cap else ()
    return Recently(channel, now, spoken, _held_back_from(connection, channel, now))


def _spoken(channel: str, now: datetime) -> Select[tuple[int, str, str]]:
    """Select the broadcasts to readers that are recent, or that still have something to send."""
    return select(_broadcast.c.id, _broadcast.c.incident, _broadcast.c.notice).where(
        _broadcast.c.channel == channel,
        said_to_readers(_broadcast.c.incident),
        or_(_broadcast.c.created_at > now - _BEGUN[Channel(channel)], HAS_MORE),
    )


def messages_lately(
    connection: Connection, recently: Recently, incident: str, keys: Sequence[str]
) -> dict[str, int]:
    """Count the messages that each of `keys` got within the last hour, may have got, or will get.

    Messages of this incident that still wait don't count: newer words will replace them.
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
        .join_from(_broadcast, _delivery, IN_FROZEN)
        .where(_broadcast.c.id.in_(recently.spoken), one_of(connection, _delivery.c.key, keys), counts)
        .group_by(_delivery.c.key)
    )
    return {row[0]: row[1] for row in rows}


def held_back_since(
    connection: Connection, recently: Recently, keys: Sequence[str], reason: str
) -> Counter[str]:
    """Count the messages skipped for `reason` for each of `keys` since their last message."""
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
            said_to_readers(_delivery.c.incident),
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
    """Note that a cap held something back on a channel: only then are readers looked up for it."""
    name = _HELD_BACK + channel
    connection.execute(delete(_meta).where(_meta.c.name == name))
    connection.execute(insert(_meta).values(name=name, value=stamp(now)))


def _held_back_from(connection: Connection, channel: str, now: datetime) -> int | None:
    noted = select(_meta.c.value).where(_meta.c.name == _HELD_BACK + channel)
    last = unstamp(connection.execute(noted).scalar_one_or_none())
    if last is None or now - last > HELD_BACK_IS_NEWS:
        return None
    b = _broadcast.c
    first = select(func.min(b.id)).where(b.channel == channel, b.created_at > now - HELD_BACK_IS_NEWS)
    return connection.execute(first).scalar_one_or_none()
