"""Freezes a broadcast: its rows and words go in, and newer words replace older ones that still wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, insert, or_, select, update

from commcast.errors import TryAgain
from commcast.ledger import tables
from commcast.ledger.releases import merged_into
from commcast.ledger.settle import is_dead
from commcast.ledger.tables import (
    HAS_MORE,
    IS_OPEN,
    IS_PENDING,
    IS_WRITTEN_ANEW,
    MAYBE_TOLD,
    WAITING,
    BroadcastState,
    State,
    given_up,
)
from commcast.model.incident import END_STATUSES, Status
from commcast.model.release import ELSEWHERE

_broadcast, _delivery, _release = tables.broadcast, tables.delivery, tables.release
_frozen = tables.frozen_broadcast


def end_older_words(connection: Connection, broadcast: Broadcast, now: datetime) -> None:
    """Skip what `broadcast`, which opens now, replaces on its channel."""
    if not connection.execute(_broadcasts_before(broadcast).limit(1)).all():
        return  # saves looking through a list of a million readers
    of_it = (_release.c.incident == broadcast.incident, _release.c.number == broadcast.number)
    status = connection.execute(select(_release.c.status).where(*of_it)).scalar_one_or_none()
    if status in END_STATUSES:
        _spare_the_untold(connection, broadcast, status, now)
    _supersede(connection, broadcast, now, everybody=status in END_STATUSES)


def _supersede(connection: Connection, broadcast: Broadcast, now: datetime, *, everybody: bool) -> None:
    """Skip what still waits from earlier updates for people who will get these newer words on this channel.

    With `everybody` for all people: after the end nobody is told that it began.
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
        .values(state=given_up(), reason="superseded", changed_at=now)
    )


_REACHED = (Status.RESOLVED, Status.COMPLETED)


def _spare_the_untold(connection: Connection, broadcast: Broadcast, status: str, now: datetime) -> None:
    """Skip the end for people whose earlier messages all still wait: they were never told that it began.

    If nobody at all was, because providers took nothing, a real end concerns them all.
    """
    f = _frozen.c
    before = select(f.id).where(f.incident == broadcast.incident, f.number < broadcast.number)
    # Those who sleep, or wait because others are told first, wait for no provider.
    waits_its_turn = and_(_delivery.c.attempts == 0, _delivery.c.not_before.is_not(None))
    knows = (_delivery.c.state.in_((*MAYBE_TOLD, State.HELD)), _delivery.c.doubted == 1, waits_its_turn)
    is_known = select(_delivery.c.id).where(_delivery.c.broadcast.in_(before), or_(*knows)).limit(1)
    if status in _REACHED and connection.execute(is_known).first() is None:
        return
    ways_of_release = select(_release.c.how).where(_release.c.incident == broadcast.incident)
    if ELSEWHERE in connection.execute(ways_of_release).scalars():
        return  # some were told before this ledger began, and it doesn't know who
    earlier = select(_delivery.c.key).where(*_earlier(broadcast))
    connection.execute(
        update(_delivery)
        .where(
            _delivery.c.broadcast == broadcast.id,
            _delivery.c.state.in_(WAITING),
            _delivery.c.key.in_(earlier.where(_delivery.c.state.in_(WAITING))),
            _delivery.c.key.not_in(_told_of(broadcast, merged_into(connection, broadcast.incident))),
            # A delivery that waits for a second attempt may have arrived at the first.
            _delivery.c.key.not_in(
                earlier.where(or_(_delivery.c.state.in_(MAYBE_TOLD), _delivery.c.doubted == 1))
            ),
        )
        .values(state=given_up(), reason="was never told that it began", changed_at=now)
    )


def _told_of(broadcast: Broadcast, incidents: Sequence[str]) -> Select[tuple[str]]:
    """Return the keys of readers who may have been told of incidents that continue as this one."""
    return select(_delivery.c.key).where(
        _delivery.c.incident.in_(incidents),
        _delivery.c.channel == broadcast.channel,
        _delivery.c.state.in_(MAYBE_TOLD),
    )


def _earlier(broadcast: Broadcast) -> tuple[Any, ...]:
    """Return the conditions for deliveries of older words on the same channel."""
    return (
        _delivery.c.incident == broadcast.incident,
        _delivery.c.channel == broadcast.channel,
        _delivery.c.broadcast.in_(_broadcasts_before(broadcast)),
    )


def _broadcasts_before(broadcast: Broadcast) -> Select[tuple[int]]:
    """Return the broadcasts of older words; of one update's holding statements only the newest counts."""
    f = _frozen.c
    of_same_update = (f.number == broadcast.number, f.id < broadcast.id, f.notice.like("holding:%"))
    older = or_(f.number < broadcast.number, and_(*of_same_update))
    return select(f.id).where(f.incident == broadcast.incident, f.channel == broadcast.channel, older)


_composition = tables.composition
# A freeze that takes longer has been abandoned, on whatever host it ran.
FREEZE_LEASE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One notice of an incident on one channel. `number` is the update it is about."""

    id: int
    incident: str
    notice: str
    number: int
    channel: str
    state: BroadcastState
    owner: str


@dataclass(frozen=True, slots=True)
class Composition:
    """One group's frozen words; `wording` is JSON, `envelope` holds sender and reply-to."""

    audience: str
    zone: str
    locale: str
    wording: str
    context: Mapping[str, Any]
    envelope: Mapping[str, Any]
    next_update_by: datetime | None


@dataclass(frozen=True, slots=True)
class FrozenRow:
    """One recipient of a broadcast, ready for the ledger.

    `digest` is the digest of the rendered content. A held row has `not_before` and no composition: its words
    are made when it is sent. `reason` says why a row is skipped or held.
    """

    key: str
    address: str
    audience: str
    composition: int | None
    recipient: Mapping[str, Any]
    digest: str
    state: State
    reason: str = ""
    not_before: datetime | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A delivery whose words are made now: quiet hours held it, or the promise in its words has passed.

    `expired` is when that promise passed, None if it never had words.
    """

    id: int
    broadcast: int
    number: int
    notice: str
    channel: str
    key: str
    address: str
    audience: str
    recipient: Mapping[str, Any]
    expired: datetime | None = None


def begin_freeze(
    connection: Connection,
    *,
    incident: str,
    notice: str,
    number: int,
    channel: str,
    owner: str,
    now: datetime,
) -> tuple[Broadcast, bool]:
    """Return the broadcast, and whether the caller has to fill it.

    A half-filled one is emptied and taken over if its process is dead or took longer than `FREEZE_LEASE`.
    One that is frozen, or that a living process is filling, stays as it is.
    """
    existing = find_broadcast(connection, incident, notice, channel)
    changed = {"number": number, "owner": owner, "created_at": now}
    if existing is None:
        new = {"incident": incident, "notice": notice, "channel": channel, "state": BroadcastState.FREEZING}
        made = connection.execute(insert(_broadcast).values(**new, **changed).returning(_broadcast))
        return _from_row(made.one()), True
    if existing.state is BroadcastState.FROZEN or not _may_take_over(connection, existing, owner, now):
        return existing, False
    _empty(connection, existing.id)
    connection.execute(update(_broadcast).where(_broadcast.c.id == existing.id).values(**changed))
    return replace(existing, number=number, owner=owner), True


def find_broadcast(connection: Connection, incident: str, notice: str, channel: str) -> Broadcast | None:
    """Return a broadcast by its key, None if there is none."""
    row = connection.execute(
        select(_broadcast).where(
            _broadcast.c.incident == incident,
            _broadcast.c.notice == notice,
            _broadcast.c.channel == channel,
        )
    ).one_or_none()
    return _from_row(row) if row else None


def broadcasts_of(connection: Connection, incident: str) -> tuple[Broadcast, ...]:
    """Return an incident's frozen broadcasts, oldest first."""
    rows = connection.execute(select(_frozen).where(_frozen.c.incident == incident).order_by(_frozen.c.id))
    return tuple(_from_row(row) for row in rows)


def add_composition(connection: Connection, broadcast: int, composition: Composition) -> int:
    """Put one group's words into a broadcast; return their number."""
    made = insert(_composition).values(broadcast=broadcast, **_columns(composition))
    return int(connection.execute(made.returning(_composition.c.id)).scalar_one())


def check_still_filling(connection: Connection, broadcast: Broadcast) -> None:
    """Raise TryAgain if the broadcast is no longer the caller's to fill."""
    found = find_broadcast(connection, broadcast.incident, broadcast.notice, broadcast.channel)
    if found is None or found.owner != broadcast.owner or found.state is not BroadcastState.FREEZING:
        raise TryAgain("another process has taken this broadcast over")


def finish_freeze(connection: Connection, broadcasts: Sequence[Broadcast], owner: str, now: datetime) -> bool:
    """Open broadcasts to claims, and skip older words that still wait for the same people.

    All at once, so that no message leaves while another channel's list is still incomplete.
    Returns False, and changes nothing, if one of them is no longer the caller's to open.
    """
    mine = _filled_by(connection, broadcasts, owner)
    if len(mine) != len(broadcasts):
        return False
    connection.execute(
        update(_broadcast).where(_broadcast.c.id.in_(mine)).values(state=BroadcastState.FROZEN)
    )
    for broadcast in broadcasts:
        end_older_words(connection, broadcast, now)
    return True


def read_composition(connection: Connection, composition: int) -> Composition:
    """Return one group's frozen words."""
    row = connection.execute(select(_composition).where(_composition.c.id == composition)).one()
    return Composition(*row[2:])


def open_broadcasts(connection: Connection, incident: str | None = None) -> tuple[Broadcast, ...]:
    """Return frozen broadcasts with deliveries that still wait or are claimed, oldest first."""
    wanted = [] if incident is None else [_frozen.c.incident == incident]
    rows = connection.execute(select(_frozen).where(HAS_MORE, *wanted).order_by(_frozen.c.id))
    return tuple(_from_row(row) for row in rows)


def is_anything_claimed(connection: Connection, incident: str) -> bool:
    """Return whether any process, living or dead, has claimed a delivery of an incident."""
    claimed = (IS_OPEN, _delivery.c.state == State.CLAIMED, _delivery.c.incident == incident)
    return connection.execute(select(_delivery.c.id).where(*claimed).limit(1)).first() is not None


def held_rows(connection: Connection, incident: str, now: datetime) -> tuple[HeldRow, ...]:
    """Return an incident's deliveries that may be sent now, once their words are made or written anew."""
    d = _delivery.c
    held = and_(IS_OPEN, d.state == State.HELD, d.not_before <= now)
    columns: list[Any] = [d.id, d.broadcast, _frozen.c.number, d.notice, d.channel, d.key]
    columns += [d.address, d.audience, d.recipient, d.expires_at]
    rows = connection.execute(
        select(*columns)
        .join(_frozen, _frozen.c.id == d.broadcast)
        .where(d.incident == incident, or_(held, _has_expired(now)))
        .order_by(d.id)
    )
    return tuple(HeldRow(*row) for row in rows)


def _has_expired(now: datetime) -> ColumnElement[bool]:
    return and_(IS_PENDING, _delivery.c.expires_at <= now, IS_WRITTEN_ANEW)


def thaw_row(connection: Connection, held: HeldRow, row: FrozenRow, now: datetime) -> None:
    """Release a held delivery with words made just now, hold it longer, or skip it with the row's reason."""
    connection.execute(
        update(_delivery)
        .where(_delivery.c.id == held.id, or_(_delivery.c.state == State.HELD, _has_expired(now)))
        .values(
            composition=row.composition,
            digest=row.digest,
            state=row.state,
            reason=row.reason,
            not_before=row.not_before,
            expires_at=row.expires_at,
            changed_at=now,
        )
    )


def drop_freeze(connection: Connection, broadcasts: Iterable[Broadcast], owner: str) -> None:
    """Delete broadcasts of `owner` that never opened, with their rows and words."""
    mine = _filled_by(connection, broadcasts, owner)
    connection.execute(delete(_broadcast).where(_broadcast.c.id.in_(mine)))  # rows and words go with it


def _filled_by(connection: Connection, broadcasts: Iterable[Broadcast], owner: str) -> Sequence[int]:
    """Return which of these broadcasts `owner` is still filling."""
    mine = select(_broadcast.c.id).where(
        _broadcast.c.id.in_([broadcast.id for broadcast in broadcasts]),
        _broadcast.c.owner == owner,
        _broadcast.c.state == BroadcastState.FREEZING,
    )
    return connection.execute(mine).scalars().all()


def _may_take_over(connection: Connection, existing: Broadcast, owner: str, now: datetime) -> bool:
    begun = select(_broadcast.c.created_at).where(_broadcast.c.id == existing.id)
    is_free = existing.owner == owner or is_dead(existing.owner)
    return is_free or connection.execute(begun).scalar_one() <= now - FREEZE_LEASE


def _empty(connection: Connection, broadcast: int) -> None:
    connection.execute(delete(_delivery).where(_delivery.c.broadcast == broadcast))
    connection.execute(delete(_composition).where(_composition.c.broadcast == broadcast))


def _columns(row: FrozenRow | Composition) -> dict[str, Any]:
    return {each.name: getattr(row, each.name) for each in fields(row)}


def _from_row(row: Any) -> Broadcast:
    return Broadcast(*row[:7])
