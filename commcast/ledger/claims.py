"""Claims: a delivery is somebody's, on disk, before its first byte leaves.

One transaction settles what was answered and claims the refill, so that kill -9 leaves at most one window
of claims in doubt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, or_, select, update

from commcast.ledger import schema
from commcast.ledger.pacing import Pace, closed_until, free_from, next_slot, room, take_slots
from commcast.ledger.schema import ALL_INCIDENTS, BroadcastState, State, given_up, stamp
from commcast.ledger.settling import Settlement, settle

_broadcast, _delivery = schema.broadcast, schema.delivery
_suppression, _stop = schema.suppression, schema.stop

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
    limit: Pace | None = None,
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
    incident = select(_broadcast.c.incident).where(_broadcast.c.id == broadcast).scalar_subquery()
    return (
        connection.execute(
            select(_stop.c.by)
            .where(
                _stop.c.lifted_at.is_(None),
                or_(_stop.c.incident == incident, _stop.c.incident == ALL_INCIDENTS),
            )
            .limit(1)
        ).scalar_one_or_none()
        or ""
    )


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
        fit: list[int] = []
        unfit: dict[str, list[int]] = {}
        for row in candidates:
            reason = _unfit(row, taker.now)
            (unfit.setdefault(reason, []) if reason else fit).append(row.id)
        for reason, ids in unfit.items():
            _skip(connection, ids, reason, taker.now)
            expired += len(ids) if reason == EXPIRED else 0
        if fit:
            return _take(connection, fit, taker), expired
    return (), expired


def _candidates(connection: Connection, broadcast: int, count: int, taker: _Taker) -> Sequence[Any]:
    # A time far off was written before this machine's clock was set back.
    ripe = or_(
        _delivery.c.not_before.is_(None),
        _delivery.c.not_before <= stamp(taker.now),
        _delivery.c.not_before > stamp(taker.now + NO_SUCH_WAIT),
    )
    if taker.by is not None and not taker.waits:
        # Another provider's "later" is not this one's; its own is.
        ripe = or_(ripe, _delivery.c.provider.is_(None), _delivery.c.provider != taker.by)
    opted_out = (
        select(func.count())
        .where(_suppression.c.channel == _delivery.c.channel, _suppression.c.key == _delivery.c.key)
        .correlate(_delivery)
        .scalar_subquery()
    )
    # Newer words overtook these while they were in flight and came back as not taken.
    newer, speaks_of = _delivery.alias(), _broadcast.alias()
    overtaken = (
        select(func.count())
        .select_from(newer.join(speaks_of, speaks_of.c.id == newer.c.broadcast))
        .where(
            newer.c.channel == _delivery.c.channel,
            newer.c.key == _delivery.c.key,
            newer.c.incident == _delivery.c.incident,
            speaks_of.c.number > _broadcast.c.number,
            speaks_of.c.state == BroadcastState.FROZEN,
            newer.c.state.not_in([State.SKIPPED, State.REJECTED]),
        )
        .correlate(_delivery, _broadcast)
        .scalar_subquery()
    )
    return connection.execute(
        select(
            _delivery.c.id,
            _delivery.c.expires_at,
            opted_out.label("opted_out"),
            overtaken.label("overtaken"),
        )
        .join(_broadcast, _broadcast.c.id == _delivery.c.broadcast)
        .where(
            _delivery.c.broadcast == broadcast,
            _broadcast.c.state == BroadcastState.FROZEN,
            _delivery.c.state == State.PENDING,
            ripe,
        )
        .order_by(_delivery.c.id)
        .limit(count)
        .with_for_update(of=_delivery, skip_locked=True)
    ).all()


def _take(connection: Connection, ids: Sequence[int], taker: _Taker) -> tuple[Claim, ...]:
    taken = connection.execute(
        update(_delivery)
        .where(_delivery.c.id.in_(ids), _delivery.c.state == State.PENDING)
        .values(
            state=State.CLAIMED,
            owner=taker.owner,
            lease_until=stamp(taker.now + taker.lease),
            attempts=_delivery.c.attempts + 1,
            claimed_at=stamp(taker.now),
            # Who is handed it, on disk before the first byte leaves: if the answer is lost, they are asked.
            provider=taker.by,
            provider_id=None,
            changed_at=stamp(taker.now),
        )
        .returning(
            _delivery.c.id,
            _delivery.c.channel,
            _delivery.c.key,
            _delivery.c.address,
            _delivery.c.composition,
            _delivery.c.recipient,
            _delivery.c.digest,
            _delivery.c.notice,
            _delivery.c.attempts,
        )
    ).all()
    return tuple(sorted((Claim(*row) for row in taken), key=lambda claim: claim.delivery))


def _skip(connection: Connection, ids: Iterable[int], reason: str, now: datetime) -> None:
    connection.execute(
        update(_delivery)
        .where(_delivery.c.id.in_(list(ids)), _delivery.c.state == State.PENDING)
        .values(state=given_up(), reason=reason, changed_at=stamp(now))
    )


def _unfit(row: Any, now: datetime) -> str:
    """Return why a delivery must not go any more, "" where it may."""
    if row.opted_out:
        return "opted out"
    if row.overtaken:
        return "superseded"
    if row.expires_at is not None and row.expires_at <= stamp(now):
        return EXPIRED
    return ""


def waiting(connection: Connection, broadcast: int) -> tuple[int, datetime | None]:
    """Return how many deliveries of a broadcast wait, and when the first of them may be tried again."""
    row = connection.execute(
        select(func.count(), func.min(_delivery.c.not_before)).where(
            _delivery.c.broadcast == broadcast, _delivery.c.state == State.PENDING
        )
    ).one()
    return int(row[0]), schema.unstamp(row[1])
