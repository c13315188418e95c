"""Who must hear nothing more: opted out, refused for good, or erased (then known only by a keyed hash)."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select, update

from commcast.ledger import schema
from commcast.ledger.prepared import one_of
from commcast.ledger.schema import State, given_up, insert_unless_there, stamp
from commcast.model import Channel
from commcast.standing import ERASED

_suppression, _delivery = schema.suppression, schema.delivery
_ERASED_KEY = "erased:"  # and hexadecimal digits


@dataclass(frozen=True, slots=True)
class Suppression:
    """One address that hears nothing more; `key` is a hash where the person was erased."""

    channel: str
    key: str
    reason: str
    by: str
    at: datetime


def suppress(connection: Connection, channel: str, key: str, *, reason: str, by: str, now: datetime) -> None:
    """Suppress an address, and skip what is pending to it. An older entry keeps its reason."""
    row = {"channel": channel, "key": key, "reason": reason, "by": by, "at": stamp(now)}
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
        {"channel": channel, "key": key, "reason": each.reason, "by": each.by, "at": stamp(each.at)}
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
        .values(state=given_up(), reason="opted out", changed_at=stamp(now))
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
            changed_at=stamp(now),
        )
        .returning(_delivery.c.id)
    ).all()
    connection.execute(
        delete(_suppression).where(_suppression.c.channel == channel, _suppression.c.key == key)
    )
    row = {"channel": channel, "key": hashed, "reason": ERASED, "by": by, "at": stamp(now)}
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
    return tuple(
        Suppression(row.channel, row.key, row.reason, row.by, datetime.fromisoformat(row.at)) for row in rows
    )


def erased_key(secret: bytes, key: str) -> str:
    """Return the keyed hash that stands for an erased address: useless without the ledger's secret."""
    return _ERASED_KEY + hmac.digest(secret, b"erased\0" + key.encode(), "sha256").hex()[:40]
