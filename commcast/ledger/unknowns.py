"""Deliveries whose answer was lost: which, and what was done about each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, case, delete, func, insert, select, update

from commcast.ledger import tables
from commcast.ledger.broadcasts import Broadcast
from commcast.ledger.claims import Claim
from commcast.ledger.tables import IS_FROZEN, WAITING, BroadcastState, State, What
from commcast.model.release import ELSEWHERE

_broadcast, _delivery, _act = tables.broadcast, tables.delivery, tables.act

_ROWS_A_STATEMENT = 500  # SQLite takes a bounded number of values in one statement
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Which:
    """Which deliveries are meant: of one incident, on one channel, to one address; None for all."""

    incident: str | None = None
    channel: str | None = None
    key: str | None = None

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions that a delivery of these meets, unknown among them."""
        wanted = (
            (_delivery.c.incident, self.incident),
            (_delivery.c.channel, self.channel),
            (_delivery.c.key, self.key),
        )
        return [
            _delivery.c.state == State.UNKNOWN,
            IS_FROZEN,
            *(c == value for c, value in wanted if value is not None),
        ]


@dataclass(frozen=True, slots=True)
class Doubt:
    """One delivery whose answer was lost. It was handed over, if at all, between `begun` and `ended`.

    `provider` is who had it, "" where the run died before it could say so. An erased person has no address.
    """

    claim: Claim
    broadcast: Broadcast
    provider: str
    begun: datetime
    ended: datetime


@dataclass(frozen=True, slots=True)
class Act:
    """Something that was done about one lost answer, for the log. `became` is the state after it."""

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
    """Return how many deliveries are unknown by (incident, channel, provider or ""), in a stable order."""
    d = _delivery.c
    provider = func.coalesce(d.provider, "")
    rows = connection.execute(
        select(d.incident, d.channel, provider, func.count())
        .where(*which.conditions)
        .group_by(d.incident, d.channel, provider)
        .order_by(func.min(d.id))
    )
    return {(row[0], row[1], row[2]): row[3] for row in rows}


def doubts(
    connection: Connection, which: Which, providers: Collection[str], *, after: int, limit: int
) -> tuple[Doubt, ...]:
    """Return unknown deliveries of these providers ("" for none named) whose number is above `after`."""
    b = _broadcast.c
    rows = connection.execute(
        select(_delivery, b.number, b.owner.label("frozen_by"), b.created_at.label("frozen_at"))
        .join(_broadcast, b.id == _delivery.c.broadcast)
        .where(
            *which.conditions, func.coalesce(_delivery.c.provider, "").in_(providers), _delivery.c.id > after
        )
        .order_by(_delivery.c.id)
        .limit(limit)
    )
    return tuple(_doubt(row) for row in rows)


def ids_of_others(
    connection: Connection, channel: str, keys: Collection[str], but: Collection[int]
) -> set[str]:
    """Return the provider's ids of all other deliveries to these addresses: what is theirs is not ours."""
    found: set[str] = set()
    for some in chunks(sorted(keys)):
        rows = connection.execute(
            select(_delivery.c.id, _delivery.c.provider_id).where(
                _delivery.c.channel == channel,
                _delivery.c.key.in_(some),
                _delivery.c.provider_id != "",
                IS_FROZEN,
            )
        )
        found.update(row.provider_id for row in rows if row.id not in but)
    return found


def acts(connection: Connection, incident: str) -> Iterator[Act]:
    """Yield all that was done about the lost answers of an incident, oldest first."""
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
    """Write down that `by` did something about these deliveries, and what they became by it."""
    act = {"what": what, "became": became, "detail": detail, "by": by, "at": now}
    if deliveries:
        connection.execute(insert(_act), [{"delivery": each, **act} for each in deliveries])


def unless_erased(text: str) -> ColumnElement[str]:
    """Return `text`, nothing for somebody erased meanwhile: what others wrote may hold the address."""
    return case((_delivery.c.address == "", ""), else_=text)


def chunks(values: Sequence[_T]) -> Iterator[list[_T]]:
    """Yield `values` in lists that fit into one statement."""
    left = iter(values)
    while some := list(islice(left, _ROWS_A_STATEMENT)):
        yield some


def _doubt(row: Row[Any]) -> Doubt:
    claim = Claim(
        *(row.id, row.channel, row.key, row.address, row.composition),
        *(row.recipient, row.digest, row.notice, row.attempts),
    )
    broadcast = Broadcast(
        *(row.broadcast, row.incident, row.notice, row.number, row.channel),
        *(BroadcastState.FROZEN, row.frozen_by),
    )
    # What was handed over more than once may have arrived at any of these times; and a ledger of old did not
    # note when it claimed.
    begun = row.frozen_at if row.doubted or not row.claimed_at else row.claimed_at
    # A dead run is only found out later: its hand-over had ended by its lease.
    ended = max(begun, min(filter(None, (row.lease_until, row.changed_at))))
    return Doubt(claim, broadcast, row.provider or "", begun, ended)


_broadcast, _delivery, _release = tables.broadcast, tables.delivery, tables.release

REASON = "the ledger was restored: it may have been sent since"


def count_open(connection: Connection) -> int:
    """Return how many deliveries of a ledger are open: they wait, are held, or are claimed."""
    is_open = _delivery.c.state.in_([*WAITING, State.CLAIMED])
    return int(connection.execute(select(func.count()).where(is_open, IS_FROZEN)).scalar_one())


def doubt_all_open(connection: Connection, by: str, now: datetime) -> int:
    """Call unknown all that is open; return how many. Nothing of it goes by itself any more.

    Words that were released and not frozen count as told elsewhere: readers who are not in this ledger may
    have been told by the one that came after it. A list that was being frozen loses its rows, which told
    nobody, and is not frozen anew.
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
        .where(_delivery.c.state.in_([*WAITING, State.CLAIMED]))
        # The window in which it may have been sent is open to this day.
        .values(state=State.UNKNOWN, reason=REASON, lease_until=None, not_before=None, changed_at=now)
        .returning(_delivery.c.id)
    )
    ids = list(changed.scalars())
    put_acts(connection, ids, What.RESTORE, State.UNKNOWN, REASON, by, now)
    return len(ids)
