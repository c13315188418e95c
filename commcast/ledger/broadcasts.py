"""Fills a broadcast with its rows and words, chunk by chunk; newer words end older ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, insert, or_, select, update

from commcast.errors import TryAgain
from commcast.ledger import tables
from commcast.ledger.releases import merged_into
from commcast.ledger.settle import is_dead
from commcast.ledger.tables import (
    IS_OPEN,
    IS_PENDING,
    MAYBE_TOLD,
    WAITING,
    BroadcastState,
    State,
    given_up,
    insert_unless_there,
)
from commcast.model.incident import END_STATUSES
from commcast.model.release import ELSEWHERE

_broadcast, _delivery, _release = tables.broadcast, tables.delivery, tables.release
_frozen = tables.frozen_broadcast


def end_older_words(connection: Connection, broadcast: Broadcast, now: datetime) -> None:
    """Skip what `broadcast`, which opens now, overtakes on its channel."""
    if not connection.execute(_broadcasts_before(broadcast).limit(1)).all():
        return  # and no list of a million readers is looked through for it
    is_end = _is_end(connection, broadcast)
    if is_end:
        _spare_the_untold(connection, broadcast, now)
    _supersede(connection, broadcast, now, everybody=is_end)


def _supersede(connection: Connection, broadcast: Broadcast, now: datetime, *, everybody: bool) -> None:
    """Skip what still waits of earlier updates for people who are due these newer words on this channel.

    When it is over, `everybody` is meant: nobody hears of a beginning after the end.
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


def _spare_the_untold(connection: Connection, broadcast: Broadcast, now: datetime) -> None:
    """Take the end back from those for whom all earlier words still wait: they never heard that it began."""
    ways_of_release = select(_release.c.how).where(_release.c.incident == broadcast.incident)
    if ELSEWHERE in connection.execute(ways_of_release).scalars():
        return  # some were told before this ledger began, and it does not know whom
    earlier = select(_delivery.c.key).where(*_earlier(broadcast))
    connection.execute(
        update(_delivery)
        .where(
            _delivery.c.broadcast == broadcast.id,
            _delivery.c.state.in_(WAITING),
            _delivery.c.key.in_(earlier.where(_delivery.c.state.in_(WAITING))),
            _delivery.c.key.not_in(_told_of(broadcast, merged_into(connection, broadcast.incident))),
            # Who waits to be told once more may have been told the first time.
            _delivery.c.key.not_in(
                earlier.where(or_(_delivery.c.state.in_(MAYBE_TOLD), _delivery.c.doubted == 1))
            ),
        )
        .values(state=given_up(), reason="was never told that it began", changed_at=now)
    )


def _told_of(broadcast: Broadcast, incidents: Sequence[str]) -> Select[tuple[str]]:
    """Return who heard of incidents that go on as this one."""
    return select(_delivery.c.key).where(
        _delivery.c.incident.in_(incidents),
        _delivery.c.channel == broadcast.channel,
        _delivery.c.state.in_(MAYBE_TOLD),
    )


def _earlier(broadcast: Broadcast) -> tuple[Any, ...]:
    """Return the conditions of a delivery of older words on the same channel."""
    return (
        _delivery.c.incident == broadcast.incident,
        _delivery.c.channel == broadcast.channel,
        _delivery.c.broadcast.in_(_broadcasts_before(broadcast)),
    )


def _broadcasts_before(broadcast: Broadcast) -> Select[tuple[int]]:
    """Return the broadcasts of older words; of holding statements of one update the newest is what counts."""
    older_holding = and_(
        _frozen.c.number == broadcast.number,
        _frozen.c.id < broadcast.id,
        _frozen.c.notice.like("holding:%"),
    )
    return select(_frozen.c.id).where(
        _frozen.c.incident == broadcast.incident,
        _frozen.c.channel == broadcast.channel,
        or_(_frozen.c.number < broadcast.number, older_holding),
    )


def _is_end(connection: Connection, broadcast: Broadcast) -> bool:
    status = connection.execute(
        select(_release.c.status).where(
            _release.c.incident == broadcast.incident, _release.c.number == broadcast.number
        )
    ).scalar_one_or_none()
    return status in END_STATUSES


_composition = tables.composition
# A freeze that takes longer was given up, wherever its process ran.
FREEZE_LEASE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One notice of an incident over one channel. `number` is the update it speaks of."""

    id: int
    incident: str
    notice: str
    number: int
    channel: str
    state: BroadcastState
    owner: str


@dataclass(frozen=True, slots=True)
class Composition:
    """One group's words as they are frozen; `wording` is JSON, `envelope` holds sender and reply-to."""

    audience: str
    zone: str
    locale: str
    wording: str
    context: Mapping[str, Any]
    envelope: Mapping[str, Any]
    next_update_by: datetime | None


@dataclass(frozen=True, slots=True)
class FrozenRow:
    """One recipient of a broadcast as it goes into the ledger.

    `digest` is that of the rendered content. `not_before` is set for a held row, which has no composition:
    its words are made when it goes. `reason` tells why a row is skipped or held.
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
    """A delivery that waited for its reader's quiet hours to end."""

    id: int
    broadcast: int
    number: int
    notice: str
    channel: str
    key: str
    address: str
    audience: str
    recipient: Mapping[str, Any]


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
    """Return the broadcast and whether the caller is to fill it.

    A half-filled one of a dead process, or one that has taken longer than `FREEZE_LEASE`, is emptied and
    taken over. One that is frozen, or that a living process is filling, is the other's.
    """
    existing = find_broadcast(connection, incident, notice, channel)
    if existing is None:
        connection.execute(
            insert(_broadcast).values(
                incident=incident,
                notice=notice,
                number=number,
                channel=channel,
                state=BroadcastState.FREEZING,
                owner=owner,
                created_at=now,
            )
        )
    elif existing.state is BroadcastState.FROZEN or not _may_take_over(connection, existing, owner, now):
        return existing, False
    else:
        _empty(connection, existing.id)
        connection.execute(
            update(_broadcast)
            .where(_broadcast.c.id == existing.id)
            .values(owner=owner, number=number, created_at=now)
        )
    made = find_broadcast(connection, incident, notice, channel)
    assert made is not None  # noqa: S101 - it was inserted or found in this very transaction
    return made, True


def find_broadcast(connection: Connection, incident: str, notice: str, channel: str) -> Broadcast | None:
    """Return a broadcast by its key, None where there is none."""
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
    """Put one group's words into a broadcast; return its number."""
    made = connection.execute(
        insert(_composition)
        .values(
            broadcast=broadcast,
            **{each.name: getattr(composition, each.name) for each in fields(Composition)},
        )
        .returning(_composition.c.id)
    )
    return int(made.scalar_one())


def add_rows(connection: Connection, broadcast: Broadcast, rows: Sequence[FrozenRow], now: datetime) -> None:
    """Put recipients into a broadcast that is freezing.

    The UNIQUE key refuses a second row for one notice, channel and address: the first one stays.
    Raises TryAgain where another process has taken the broadcast over.
    """
    check_still_filling(connection, broadcast)
    if rows:
        values = [_values(broadcast, row, now) for row in rows]
        connection.execute(insert_unless_there(connection, _delivery), values)


def check_still_filling(connection: Connection, broadcast: Broadcast) -> None:
    """Raise TryAgain where the broadcast is no longer the caller's to fill."""
    found = find_broadcast(connection, broadcast.incident, broadcast.notice, broadcast.channel)
    if found is None or found.owner != broadcast.owner or found.state is not BroadcastState.FREEZING:
        raise TryAgain("another process has taken this broadcast over")


def finish_freeze(connection: Connection, broadcasts: Iterable[Broadcast], owner: str, now: datetime) -> bool:
    """Open broadcasts to claims, and end what is pending of older words to the same people.

    All of them at once, so that no message leaves while another channel's list is still half in.
    Returns False, and changes nothing, where one of them is no longer the caller's to open.
    """
    ids = [broadcast.id for broadcast in broadcasts]
    mine = (
        _broadcast.c.id.in_(ids),
        _broadcast.c.owner == owner,
        _broadcast.c.state == BroadcastState.FREEZING,
    )
    if len(connection.execute(select(_broadcast.c.id).where(*mine)).all()) != len(ids):
        return False
    connection.execute(update(_broadcast).where(*mine).values(state=BroadcastState.FROZEN))
    for broadcast in broadcasts:
        end_older_words(connection, broadcast, now)
    return True


def read_composition(connection: Connection, composition: int) -> Composition:
    """Return one group's frozen words."""
    row = connection.execute(select(_composition).where(_composition.c.id == composition)).one()
    return Composition(*row[2:])


def open_broadcasts(connection: Connection, incident: str | None = None) -> tuple[Broadcast, ...]:
    """Return frozen broadcasts with deliveries that still wait or are claimed, oldest first."""
    # Two halves, for each has its index.
    of_broadcast = select(_delivery.c.id).where(_delivery.c.broadcast == _frozen.c.id)
    waiting = or_(
        of_broadcast.where(IS_PENDING).exists(),
        _frozen.c.id.in_(select(_delivery.c.broadcast).where(IS_OPEN)),
    )
    wanted = [] if incident is None else [_frozen.c.incident == incident]
    rows = connection.execute(select(_frozen).where(waiting, *wanted).order_by(_frozen.c.id))
    return tuple(_from_row(row) for row in rows)


def is_anything_claimed(connection: Connection) -> bool:
    """Return whether any delivery is somebody's, living or dead."""
    claimed = select(_delivery.c.id).where(IS_OPEN, _delivery.c.state == State.CLAIMED).limit(1)
    return connection.execute(claimed).first() is not None


def held_rows(connection: Connection, incident: str, now: datetime) -> tuple[HeldRow, ...]:
    """Return an incident's held deliveries whose time has come."""
    d = _delivery.c
    rows = connection.execute(
        select(
            *(d.id, d.broadcast, _frozen.c.number, d.notice, d.channel),
            *(d.key, d.address, d.audience, d.recipient),
        )
        .join(_frozen, _frozen.c.id == d.broadcast)
        .where(d.incident == incident, IS_OPEN, d.state == State.HELD, d.not_before <= now)
        .order_by(d.id)
    )
    return tuple(HeldRow(*row) for row in rows)


def thaw_row(connection: Connection, held: HeldRow, row: FrozenRow, now: datetime) -> None:
    """Let a held delivery go with the words made for it now, or skip it with the row's reason."""
    connection.execute(
        update(_delivery)
        .where(_delivery.c.id == held.id, _delivery.c.state == State.HELD)
        .values(
            composition=row.composition,
            digest=row.digest,
            state=row.state,
            reason=row.reason,
            not_before=None,
            expires_at=row.expires_at,
            changed_at=now,
        )
    )


def drop_freeze(connection: Connection, broadcasts: Iterable[Broadcast], owner: str) -> None:
    """Take back broadcasts that never opened, rows and all."""
    for broadcast in broadcasts:
        mine = connection.execute(
            select(_broadcast.c.id).where(
                _broadcast.c.id == broadcast.id,
                _broadcast.c.owner == owner,
                _broadcast.c.state == BroadcastState.FREEZING,
            )
        ).scalar_one_or_none()
        if mine is not None:
            _empty(connection, mine)
            connection.execute(delete(_broadcast).where(_broadcast.c.id == mine))


def _may_take_over(connection: Connection, existing: Broadcast, owner: str, now: datetime) -> bool:
    begun = connection.execute(
        select(_broadcast.c.created_at).where(_broadcast.c.id == existing.id)
    ).scalar_one()
    return existing.owner == owner or is_dead(existing.owner) or begun <= now - FREEZE_LEASE


def _empty(connection: Connection, broadcast: int) -> None:
    connection.execute(delete(_delivery).where(_delivery.c.broadcast == broadcast))
    connection.execute(delete(_composition).where(_composition.c.broadcast == broadcast))


def _values(broadcast: Broadcast, row: FrozenRow, now: datetime) -> dict[str, Any]:
    whose = {"broadcast": broadcast.id, "incident": broadcast.incident, "notice": broadcast.notice}
    return {**_columns(row), **whose, "channel": broadcast.channel, "changed_at": now}


def _columns(row: FrozenRow | Composition) -> dict[str, Any]:
    return {each.name: getattr(row, each.name) for each in fields(row)}


def _from_row(row: Any) -> Broadcast:
    return Broadcast(*row[:7])
