"""Unknown deliveries: which there are, and what was done about each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, delete, func, insert, select, update

from commcast.ledger import tables
from commcast.ledger.broadcasts import Broadcast
from commcast.ledger.claims import Claim
from commcast.ledger.tables import IS_FROZEN, WAITING, BroadcastState, State, What, fields_of, one_of
from commcast.model.release import ELSEWHERE

_broadcast, _delivery, _act = tables.broadcast, tables.delivery, tables.act
_PROVIDER = func.coalesce(_delivery.c.provider, "")


@dataclass(frozen=True, slots=True)
class Which:
    """Selects unknown deliveries (or of another state) by incident, channel and address; None means any."""

    incident: str | None = None
    channel: str | None = None
    key: str | None = None
    state: State = State.UNKNOWN

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions on a delivery."""
        wanted = ((column, getattr(self, column.name)) for column in fields_of(Which, _delivery))
        named = (column == value for column, value in wanted if value is not None)
        return [IS_FROZEN, *named]


@dataclass(frozen=True, slots=True)
class Doubt:
    """One unknown delivery. If it was handed over at all, then between `begun` and `ended`.

    `provider` is "" if the run died before it was recorded. An erased person has no address.
    """

    claim: Claim
    broadcast: Broadcast
    provider: str
    begun: datetime
    ended: datetime


@dataclass(frozen=True, slots=True)
class Act:
    """What was done about one unknown delivery, for the log. `became` is the state after it."""

    incident: str
    notice: str
    channel: str
    address: str
    what: What
    became: State
    detail: str
    by: str
    at: datetime


def doubt_groups(connection: Connection, which: Which) -> dict[tuple[str, str, str], int]:
    """Count these deliveries by (incident, channel, provider or ""), in a stable order."""
    d = _delivery.c
    rows = connection.execute(
        select(d.incident, d.channel, _PROVIDER, func.count())
        .where(*which.conditions)
        .group_by(d.incident, d.channel, _PROVIDER)
        .order_by(func.min(d.id))
    )
    return {(row[0], row[1], row[2]): row[3] for row in rows}


def doubts(
    connection: Connection, which: Which, providers: Collection[str], *, after: int, limit: int
) -> tuple[Doubt, ...]:
    """Return up to `limit` unknown deliveries of these providers ("" for none) with an id above `after`."""
    b = _broadcast.c
    rows = connection.execute(
        select(_delivery, b.number, b.owner.label("frozen_by"), b.created_at.label("frozen_at"))
        .join(_broadcast, b.id == _delivery.c.broadcast)
        .where(*which.conditions, _PROVIDER.in_(providers), _delivery.c.id > after)
        .order_by(_delivery.c.id)
        .limit(limit)
    )
    return tuple(_doubt(row) for row in rows)


def ids_of_others(
    connection: Connection, channel: str, keys: Collection[str], but: Collection[int]
) -> set[str]:
    """Return the provider ids of all other deliveries to these addresses: they can't be ours."""
    d = _delivery.c
    theirs = (d.channel == channel, one_of(connection, d.key, sorted(keys)), d.provider_id != "", IS_FROZEN)
    rows = connection.execute(select(d.id, d.provider_id).where(*theirs))
    return {row.provider_id for row in rows if row.id not in but}


def acts(connection: Connection, incident: str) -> Iterator[Act]:
    """Yield everything that was done about an incident's unknown deliveries, oldest first."""
    d, a = _delivery.c, _act.c
    rows = connection.execute(
        select(d.incident, d.notice, d.channel, d.address, a.what, a.became, a.detail, a.by, a.at)
        .join(_delivery, d.id == a.delivery)
        .where(d.incident == incident, IS_FROZEN)
        .order_by(a.id)
    )
    for row in rows:
        yield Act(*row)


def put_acts(
    connection: Connection,
    deliveries: Collection[int],
    what: What,
    became: State,
    detail: str,
    by: str,
    now: datetime,
) -> None:
    """Record that `by` did something about these deliveries, and the state they are in now."""
    act = {"what": what, "became": became, "detail": detail, "by": by, "at": now}
    if deliveries:
        connection.execute(insert(_act), [{"delivery": each, **act} for each in deliveries])


def unless_erased(text: str) -> ColumnElement[str]:
    """Return `text`, or "" for somebody erased meanwhile: it may contain the address."""
    return case((_delivery.c.address == "", ""), else_=text)


def _doubt(row: Row[Any]) -> Doubt:
    claim = Claim(
        *(row.id, row.channel, row.key, row.address, row.composition),
        *(row.recipient, row.digest, row.notice, row.attempts),
    )
    broadcast = Broadcast(
        *(row.broadcast, row.incident, row.notice, row.number, row.channel),
        *(BroadcastState.FROZEN, row.frozen_by),
    )
    # After several attempts it may have arrived at any of them; and old ledgers did not record claim times.
    begun = row.frozen_at if row.doubted or not row.claimed_at else row.claimed_at
    # A dead run is only noticed later, but by the end of its lease it had stopped.
    ended = max(begun, min(filter(None, (row.lease_until, row.changed_at))))
    return Doubt(claim, broadcast, row.provider or "", begun, ended)


_release = tables.release
_IS_OPEN = _delivery.c.state.in_([*WAITING, State.CLAIMED])

REASON = "the ledger was restored: it may have been sent since"


def count_open(connection: Connection) -> int:
    """Count the open deliveries of a ledger: waiting, held or claimed."""
    return connection.execute(select(func.count()).where(_IS_OPEN, IS_FROZEN)).scalar_one()


def doubt_all_open(connection: Connection, by: str, now: datetime) -> int:
    """Mark all open deliveries unknown, so that none is sent automatically; return how many.

    Releases that were never frozen count as told elsewhere: the newer ledger may have sent them to readers
    that this one doesn't know. Broadcasts that were still being filled reached nobody: their rows are
    deleted, and they are not filled again.
    """
    unopened = select(_broadcast.c.id).where(_broadcast.c.state == BroadcastState.FREEZING)
    for table in (_delivery, tables.composition):
        connection.execute(delete(table).where(table.c.broadcast.in_(unopened)))
    frozen = select(tables.frozen_broadcast.c.id).where(
        tables.frozen_broadcast.c.incident == _release.c.incident,
        tables.frozen_broadcast.c.number == _release.c.number,
    )
    connection.execute(update(_release).where(~frozen.exists()).values(how=ELSEWHERE))
    connection.execute(update(_broadcast).values(state=BroadcastState.FROZEN))
    changed = connection.execute(
        update(_delivery)
        .where(_IS_OPEN)
        # It may have been sent at any time until now.
        .values(state=State.UNKNOWN, reason=REASON, lease_until=None, not_before=None, changed_at=now)
        .returning(_delivery.c.id)
    )
    ids = list(changed.scalars())
    put_acts(connection, ids, What.RESTORE, State.UNKNOWN, REASON, by, now)
    return len(ids)
