"""Claims: before a delivery's first byte leaves, one process owns it, and the disk says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Update,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)

from commcast.ledger import tables
from commcast.ledger.settle import (
    SendLimit,
    Settlement,
    closed_until,
    free_from,
    next_slot,
    room,
    settle,
    take_slots,
)
from commcast.ledger.tables import (
    ALL_INCIDENTS,
    IS_PENDING,
    IS_WRITTEN_ANEW,
    Prepared,
    State,
    as_json,
    as_one,
    given_up,
    listed,
    stamp,
)

_broadcast, _delivery = tables.frozen_broadcast, tables.delivery


class Ripe(NamedTuple):
    """How many deliveries of one notice on one channel may be sent now."""

    incident: str
    notice: str
    number: int
    channel: str
    deliveries: int


def waiting(
    connection: Connection, broadcast: int, *also: ColumnElement[bool]
) -> tuple[int, datetime | None]:
    """Count the deliveries of a broadcast that wait, and return when the first may be tried again."""
    ours = (_delivery.c.broadcast == broadcast, IS_PENDING, *also)
    row = connection.execute(select(func.count(), func.min(_delivery.c.not_before)).where(*ours)).one()
    return int(row[0]), row[1]


def planned(connection: Connection, broadcast: int, now: datetime) -> tuple[int, datetime | None]:
    """Count the deliveries of a broadcast that wait because others are told first, and until when."""
    return waiting(connection, broadcast, _delivery.c.attempts == 0, _delivery.c.not_before > now)


def ripe_now(connection: Connection, now: datetime, incident: str = "") -> Iterator[Ripe]:
    """Yield, in the order of freezing, the broadcasts (of one incident) with deliveries that may go now."""
    b, d = _broadcast.c, _delivery.c
    rows = connection.execute(
        select(b.incident, b.notice, b.number, b.channel, func.count())
        .join(_delivery, d.broadcast == b.id)
        .where(
            IS_PENDING,
            or_(d.not_before.is_(None), d.not_before <= now),
            or_(d.expires_at.is_(None), d.expires_at > now),
            *([b.incident == incident] if incident else []),
        )
        .group_by(b.id)
        .order_by(b.id)
    )
    for row in rows:
        yield Ripe(*row)


_suppression, _stop = tables.suppression, tables.stop
_this = _broadcast.alias()

NO_SUCH_WAIT = timedelta(hours=2)  # longer than any wait that is written
EXPIRED = "expired: its promise had passed"
ANEW = "its promise had passed: it is written anew"


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that only this process may hand over now."""

    delivery: int
    channel: str
    key: str
    address: str
    composition: int
    recipient: Mapping[str, Any]
    digest: str
    notice: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Turn:
    """The result of one transaction: new claims, or why there are none.

    `slots` are the times at which each batch of the claims may start, empty if the provider has no limit.
    `expired` counts deliveries that were not sent because their promise had passed. `stopped_by` names who
    stopped the incident; `closed_until` is the end of a pause that the provider asked for. `next_try` is when
    the first waiting delivery may be tried again; it is only looked up if nothing was claimed.
    """

    claims: tuple[Claim, ...] = ()
    slots: tuple[datetime, ...] = ()
    expired: int = 0
    stopped_by: str = ""
    closed_until: datetime | None = None
    next_try: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Taker:
    """Who claims, and on what terms; `by` is the provider, `waits` is explained in settle_and_claim."""

    owner: str
    lease: timedelta
    now: datetime
    by: str | None = None
    waits: bool = True


def settle_and_claim(
    connection: Connection,
    broadcast: int,
    settlements: Sequence[Settlement],
    *,
    count: int,
    owner: str,
    lease: timedelta,
    now: datetime,
    limit: SendLimit | None = None,
    waits: bool = True,
) -> Turn:
    """Record answers and claim up to `count` more deliveries of a frozen broadcast, in one transaction.

    `limit` is the provider's. With `waits` unset, deliveries that another provider put off may be sent now.
    """
    settle(connection, settlements, owner=owner, now=now)
    taker = _Taker(owner, lease, now, limit.provider if limit else None, waits)
    stopped_by = str(_STOPPED_BY.run(connection, broadcast=broadcast).scalar_one_or_none() or "")
    if stopped_by or count <= 0:
        return Turn(stopped_by=stopped_by)
    if limit and (until := closed_until(connection, limit.provider, now)):
        return Turn(closed_until=until, next_try=until if waiting(connection, broadcast)[0] else None)
    if not limit or not limit.per_second:
        return _turn(connection, broadcast, count, taker)
    slot = next_slot(connection, limit, now)
    if not (free := min(count, room(limit, slot, now))):
        again = free_from(limit, slot)
        return Turn(next_try=again if waiting(connection, broadcast)[0] else None)
    turn = _turn(connection, broadcast, free, taker)
    return replace(turn, slots=take_slots(connection, limit, slot, len(turn.claims)))


def _turn(connection: Connection, broadcast: int, count: int, taker: _Taker) -> Turn:
    claims, expired = _claim(connection, broadcast, count, taker)
    if claims:
        return Turn(claims=claims, expired=expired)
    return Turn(expired=expired, next_try=waiting(connection, broadcast)[1])


def _claim(
    connection: Connection, broadcast: int, count: int, taker: _Taker
) -> tuple[tuple[Claim, ...], int]:
    """Claim deliveries that may be sent; skip those that no longer may (opted out, promise passed).

    Words whose promise has passed are held to be written anew, if they may be. Returns the claims, and how
    many were not sent because their promise had passed.
    """
    expired = 0
    while candidates := _candidates(connection, broadcast, count, taker):
        fit: list[Claim] = []
        unfit: dict[str, list[int]] = {}
        now = stamp(taker.now)
        for expires_at, opted_out, overtaken, *fields in candidates:
            reason = _unfit(expires_at, opted_out, overtaken, now)
            if reason:
                unfit.setdefault(reason, []).append(fields[0])
            else:
                fit.append(Claim(*fields))
        for reason, ids in unfit.items():
            if reason == EXPIRED:
                _hold_anew(connection, ids, taker.now)
                expired += len(ids)
            _skip(connection, ids, reason, taker.now)
        if fit:
            fit.sort(key=lambda claim: claim.delivery)
            return _take(connection, fit, taker), expired
    return (), expired


def _candidates(connection: Connection, broadcast: int, count: int, taker: _Taker) -> list[list[Any]]:
    statement = _RIPE if taker.waits or taker.by is None else _RIPE_FOR_ANOTHER
    return statement.rows(
        connection,
        broadcast=broadcast,
        now=stamp(taker.now),
        far_off=stamp(taker.now + NO_SUCH_WAIT),
        provider=taker.by,
        most=count,
    )


def _stops() -> Select[Any]:
    incident = select(_broadcast.c.incident).where(_broadcast.c.id == bindparam("broadcast"))
    halts = or_(_stop.c.incident == incident.scalar_subquery(), _stop.c.incident == ALL_INCIDENTS)
    return select(_stop.c.by).where(_stop.c.lifted_at.is_(None), halts).limit(1)


def _ripe(*also: ColumnElement[bool]) -> Select[Any]:
    """Select what may be sent now, oldest first: why it may not after all, then the fields of a Claim."""
    d = _delivery.c
    # A time far off was written before this machine's clock was set back.
    far_off = d.not_before > bindparam("far_off")
    ripe = or_(d.not_before.is_(None), d.not_before <= bindparam("now"), far_off, *also)
    opted_out = (
        select(func.count())
        .where(_suppression.c.channel == d.channel, _suppression.c.key == d.key)
        .correlate(_delivery)
        .scalar_subquery()
    )
    # Newer words may have gone out while these were in flight and came back as not taken. Mostly there are
    # none, which is found out once and not for each reader.
    speaks = _broadcast.alias()
    there_are_newer = (
        select(speaks.c.id)
        .join(_this, _this.c.id == bindparam("broadcast"))
        .where(
            speaks.c.incident == _this.c.incident,
            speaks.c.channel == _this.c.channel,
            speaks.c.number > _this.c.number,
        )
        .exists()
    )
    newer, speaks_of = _delivery.alias(), _broadcast.alias()
    overtaken = (
        select(func.count())
        .select_from(newer.join(speaks_of, speaks_of.c.id == newer.c.broadcast))
        .where(
            *(newer.c[name] == d[name] for name in ("channel", "key", "incident")),
            speaks_of.c.number > _broadcast.c.number,
            *(newer.c.state != gone for gone in (State.SKIPPED, State.REJECTED)),
        )
        .correlate(_delivery, _broadcast)
        .scalar_subquery()
    )
    return as_one(
        select(
            d.expires_at,
            opted_out.label("opted_out"),
            case((there_are_newer, overtaken), else_=0).label("overtaken"),
            *(d.id, d.channel, d.key, d.address, d.composition, d.recipient, d.digest, d.notice),
            (d.attempts + 1).label("attempts"),
        )
        .join(_broadcast, _broadcast.c.id == d.broadcast)
        .where(d.broadcast == bindparam("broadcast"), IS_PENDING, ripe)
        .order_by(d.id)
        .limit(bindparam("most"))
    )


def _ripe_for_another() -> Select[Any]:
    """Select the same, without the waits that another provider asked for."""
    was_tried = _delivery.c.attempts > 0
    no_provider, another = _delivery.c.provider.is_(None), _delivery.c.provider != bindparam("provider")
    return _ripe(and_(was_tried, or_(no_provider, another)))


def _take(connection: Connection, fit: Sequence[Claim], taker: _Taker) -> tuple[Claim, ...]:
    """Claim them; leave out what another process claimed first."""
    ids = as_json([claim.delivery for claim in fit])
    taken = _TAKE.run(
        connection,
        ids=ids,
        by_owner=taker.owner,
        leased=stamp(taker.now + taker.lease),
        now=stamp(taker.now),
        by_provider=taker.by,
    )
    if taken.rowcount == len(fit):
        return tuple(fit)
    mine = set(_MINE.run(connection, ids=ids, by_owner=taker.owner).scalars())
    return tuple(claim for claim in fit if claim.delivery in mine)


def _taking() -> Update:
    return (
        update(_delivery)
        .where(_delivery.c.id.in_(listed(bindparam("ids"))), IS_PENDING)
        .values(
            state=State.CLAIMED,
            owner=bindparam("by_owner"),
            lease_until=bindparam("leased"),
            attempts=_delivery.c.attempts + 1,
            claimed_at=bindparam("now"),
            # On disk before the first byte leaves: if the answer is lost, this provider is asked.
            provider=bindparam("by_provider"),
            provider_id=None,
            changed_at=bindparam("now"),
        )
    )


def _taken() -> Select[Any]:
    return select(_delivery.c.id).where(
        _delivery.c.id.in_(listed(bindparam("ids"))),
        _delivery.c.state == State.CLAIMED,
        _delivery.c.owner == bindparam("by_owner"),
    )


_STOPPED_BY = Prepared(_stops)
_RIPE = Prepared(_ripe)
_RIPE_FOR_ANOTHER = Prepared(_ripe_for_another)
_TAKE = Prepared(_taking)
_MINE = Prepared(_taken)


def _skip(connection: Connection, ids: Iterable[int], reason: str, now: datetime) -> None:
    connection.execute(
        update(_delivery)
        .where(_delivery.c.id.in_(list(ids)), IS_PENDING)
        .values(state=given_up(), reason=reason, changed_at=now)
    )


def _hold_anew(connection: Connection, ids: Iterable[int], now: datetime) -> None:
    connection.execute(
        update(_delivery)
        .where(_delivery.c.id.in_(list(ids)), IS_PENDING, IS_WRITTEN_ANEW)
        .values(state=State.HELD, reason=ANEW, not_before=now, changed_at=now)
    )


def _unfit(expires_at: str | None, opted_out: int, overtaken: int, now: str) -> str:
    """Return why a delivery must not be sent any more, "" if it may."""
    if opted_out:
        return "opted out"
    if overtaken:
        return "superseded"
    if expires_at is not None and expires_at <= now:
        return EXPIRED
    return ""
