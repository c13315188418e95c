"""Claims: a delivery belongs to one process, on disk, before its first byte leaves."""

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
    return int(row[0]), row[1]


def planned(connection: Connection, broadcast: int, now: datetime) -> tuple[int, datetime | None]:
    """Return how many deliveries of a broadcast wait because others hear first, and until when."""
    row = connection.execute(
        select(func.count(), func.min(_delivery.c.not_before)).where(
            _delivery.c.broadcast == broadcast,
            IS_PENDING,
            _delivery.c.attempts == 0,
            _delivery.c.not_before > now,
        )
    ).one()
    return int(row[0]), row[1]


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
            IS_PENDING,
            or_(_delivery.c.not_before.is_(None), _delivery.c.not_before <= now),
            or_(_delivery.c.expires_at.is_(None), _delivery.c.expires_at > now),
        )
        .group_by(_broadcast.c.id)
        .order_by(_broadcast.c.id)
    )
    if incident:
        asked = asked.where(_broadcast.c.incident == incident)
    for row in connection.execute(asked):
        yield Ripe(*row)


_suppression, _stop = tables.suppression, tables.stop
_this = _broadcast.alias()

NO_SUCH_WAIT = timedelta(hours=2)  # longer than any wait that is ever written
EXPIRED = "expired: its promise had passed"


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this process, and nobody else, may hand over now."""

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
    """What one transaction gave: new claims, or why there are none.

    `slots` are when each hand-over of the claims may begin, empty where the provider has no limit.
    `expired` counts what was skipped because its promise had passed. `stopped_by` names who stopped the
    incident, `closed_until` until when the provider asked for a pause. `next_try` is when the first of what
    waits may be tried again; it is only looked up when nothing was claimed.
    """

    claims: tuple[Claim, ...] = ()
    slots: tuple[datetime, ...] = ()
    expired: int = 0
    stopped_by: str = ""
    closed_until: datetime | None = None
    next_try: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Taker:
    """Who claims, and on what terms; `by` is the provider, `waits` means what it does in settle_and_claim."""

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
    """Record answers and claim up to `count` further deliveries of a frozen broadcast, in one transaction.

    `limit` is the provider's. With `waits` unset, what another provider asked to be tried later may go now.
    """
    settle(connection, settlements, owner=owner, now=now)
    taker = _Taker(owner, lease, now, limit.provider if limit else None, waits)
    stopped_by = _stopped_by(connection, broadcast)
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


def _stopped_by(connection: Connection, broadcast: int) -> str:
    return str(_STOPPED_BY.run(connection, broadcast=broadcast).scalar_one_or_none() or "")


def _turn(connection: Connection, broadcast: int, count: int, taker: _Taker) -> Turn:
    claims, expired = _claim(connection, broadcast, count, taker)
    if claims:
        return Turn(claims=claims, expired=expired)
    return Turn(expired=expired, next_try=waiting(connection, broadcast)[1])


def _claim(
    connection: Connection, broadcast: int, count: int, taker: _Taker
) -> tuple[tuple[Claim, ...], int]:
    """Claim what may go; what may no longer (opted out since the freeze, promise passed) is skipped.

    Returns the claims, and how many were skipped because their promise had passed.
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
            _skip(connection, ids, reason, taker.now)
            expired += len(ids) if reason == EXPIRED else 0
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
    incident = (
        select(_broadcast.c.incident).where(_broadcast.c.id == bindparam("broadcast")).scalar_subquery()
    )
    return (
        select(_stop.c.by)
        .where(
            _stop.c.lifted_at.is_(None),
            or_(_stop.c.incident == incident, _stop.c.incident == ALL_INCIDENTS),
        )
        .limit(1)
    )


def _ripe(*also: ColumnElement[bool]) -> Select[Any]:
    """Return what may go now, oldest first, with all that a Claim holds, and why it may not go after all."""
    # A time far off was written before this machine's clock was set back.
    ripe = or_(
        _delivery.c.not_before.is_(None),
        _delivery.c.not_before <= bindparam("now"),
        _delivery.c.not_before > bindparam("far_off"),
        *also,
    )
    opted_out = (
        select(func.count())
        .where(_suppression.c.channel == _delivery.c.channel, _suppression.c.key == _delivery.c.key)
        .correlate(_delivery)
        .scalar_subquery()
    )
    # Newer words overtook these while they were in flight and came back as not taken. Mostly there are none,
    # which is found out once and not for each reader.
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
            newer.c.channel == _delivery.c.channel,
            newer.c.key == _delivery.c.key,
            newer.c.incident == _delivery.c.incident,
            speaks_of.c.number > _broadcast.c.number,
            newer.c.state != State.SKIPPED,
            newer.c.state != State.REJECTED,
        )
        .correlate(_delivery, _broadcast)
        .scalar_subquery()
    )
    return as_one(
        select(
            _delivery.c.expires_at,
            opted_out.label("opted_out"),
            case((there_are_newer, overtaken), else_=0).label("overtaken"),
            _delivery.c.id,
            _delivery.c.channel,
            _delivery.c.key,
            _delivery.c.address,
            _delivery.c.composition,
            _delivery.c.recipient,
            _delivery.c.digest,
            _delivery.c.notice,
            (_delivery.c.attempts + 1).label("attempts"),
        )
        .join(_broadcast, _broadcast.c.id == _delivery.c.broadcast)
        .where(
            _delivery.c.broadcast == bindparam("broadcast"),
            IS_PENDING,
            ripe,
        )
        .order_by(_delivery.c.id)
        .limit(bindparam("most"))
    )


def _ripe_for_another() -> Select[Any]:
    """Return the same, where another provider's "later" is not this one's; its own is, and so is a plan's."""
    was_tried = _delivery.c.attempts > 0
    no_provider, another = _delivery.c.provider.is_(None), _delivery.c.provider != bindparam("provider")
    return _ripe(and_(was_tried, or_(no_provider, another)))


def _take(connection: Connection, fit: Sequence[Claim], taker: _Taker) -> tuple[Claim, ...]:
    """Claim them; what somebody else was quicker to claim is left out."""
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
            # Who is handed it, on disk before the first byte leaves: if the answer is lost, they are asked.
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


def _unfit(expires_at: str | None, opted_out: int, overtaken: int, now: str) -> str:
    """Return why a delivery must not go any more, "" where it may."""
    if opted_out:
        return "opted out"
    if overtaken:
        return "superseded"
    if expires_at is not None and expires_at <= now:
        return EXPIRED
    return ""
