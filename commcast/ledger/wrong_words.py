"""Readers who were told wrong words, and readers of another open incident."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select, update

from commcast.ledger import tables
from commcast.ledger.broadcasts import Broadcast, Composition, broadcasts_of, read_composition
from commcast.ledger.releases import open_incidents
from commcast.ledger.tables import (
    IN_FROZEN,
    IS_FROZEN,
    IS_OPEN,
    MAYBE_TOLD,
    WAITING,
    State,
    given_up,
    one_of,
)
from commcast.model.history import WrongWords

_broadcast, _composition, _delivery = tables.frozen_broadcast, tables.composition, tables.delivery


class Misheard(NamedTuple):
    """What one address was told: wrong words not yet corrected, whether some wait, and up to which update."""

    wrong: tuple[WrongWords, ...] = ()
    waits: bool = False
    up_to: int = 0


NOTHING_HEARD = Misheard()


@dataclass(frozen=True, slots=True)
class Frozen:
    """One group's frozen words, with the values of one of its readers as a sample."""

    id: int
    broadcast: Broadcast
    composition: Composition
    recipient: Mapping[str, Any]


def frozen_words(connection: Connection, incident: str) -> Iterator[Frozen]:
    """Yield all frozen words of an incident that have a reader, oldest first."""
    for broadcast in broadcasts_of(connection, incident):
        ids = select(_composition.c.id).where(_composition.c.broadcast == broadcast.id)
        for number in connection.execute(ids.order_by(_composition.c.id)).scalars():
            sample = connection.execute(
                select(_delivery.c.recipient)
                .where(
                    # All columns of the UNIQUE key, so that the database uses its index.
                    _delivery.c.incident == broadcast.incident,
                    _delivery.c.notice == broadcast.notice,
                    _delivery.c.channel == broadcast.channel,
                    _delivery.c.composition == number,
                    _delivery.c.address != "",
                )
                .limit(1)
            ).scalar_one_or_none()
            if sample is not None:
                yield Frozen(number, broadcast, read_composition(connection, number), sample)


def told_wrong(
    connection: Connection,
    incident: str,
    channel: str,
    keys: Sequence[str],
    wrong_words: Sequence[WrongWords],
) -> dict[str, Misheard]:
    """Return which wrong words those of `keys` were told that the ledger knows."""
    if not wrong_words:
        return {}
    d = _delivery.c
    rows = connection.execute(
        select(d.key, d.composition, d.state, d.doubted, _broadcast.c.number)
        .join(_broadcast, _broadcast.c.id == d.broadcast)
        .where(d.incident == incident, d.channel == channel, one_of(connection, d.key, keys))
        .order_by(d.id)
    )
    by_key = defaultdict(list)
    for row in rows:
        by_key[row.key].append(row)
    wrong = defaultdict(list)
    for each in wrong_words:
        wrong[each.composition].append(each)
    return {key: _misheard(heard, wrong) for key, heard in by_key.items()}


def _misheard(rows: Sequence[Any], wrong: Mapping[int, Sequence[WrongWords]]) -> Misheard:
    # A delivery that waits for a second attempt may have arrived at the first.
    told = [row for row in rows if row.state in MAYBE_TOLD or row.doubted]
    up_to = max((row.number for row in told), default=0)
    found = {each.by: each for row in told for each in wrong.get(row.composition, ()) if each.by > up_to}
    waits = any(
        row.state == State.HELD or (row.state in WAITING and row.composition in wrong) for row in rows
    )
    return Misheard(tuple(found[by] for by in sorted(found)), waits, up_to)


def end_wrong_words(connection: Connection, compositions: Collection[int], now: datetime) -> None:
    """Skip deliveries of corrected words that still wait."""
    connection.execute(
        update(_delivery)
        .where(_delivery.c.composition.in_(sorted(compositions)), _delivery.c.state.in_(WAITING))
        .values(state=given_up(), reason="superseded", changed_at=now)
    )


def on_their_way(connection: Connection, incident: str) -> int:
    """Count the deliveries of an incident that are with a provider at this moment."""
    return connection.execute(
        select(func.count()).where(
            IS_OPEN, _delivery.c.state == State.CLAIMED, _delivery.c.incident == incident, IS_FROZEN
        )
    ).scalar_one()


_release = tables.release

MOST_STORIES = 5  # the latest ones; more would not help a person decide


@dataclass(frozen=True, slots=True)
class OtherStory:
    """The last broadcast of another open incident on a channel, and the time it promised."""

    broadcast: int
    incident: str
    title: str
    status: str
    channel: str
    at: datetime
    promised: datetime | None


def other_stories(connection: Connection, incident: str) -> tuple[OtherStory, ...]:
    """Return the last broadcasts of the other open incidents on each channel, newest first."""
    others = open_incidents(connection) - {incident}
    if not others:
        return ()
    b = _broadcast.c
    last = select(func.max(b.id)).where(b.incident.in_(others)).group_by(b.incident, b.channel)
    promised = (
        select(func.min(_composition.c.next_update_by))
        .where(_composition.c.broadcast == b.id)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(b.id, b.incident, _release.c.title, _release.c.status, b.channel, b.created_at, promised)
        .join(_release, (_release.c.incident == b.incident) & (_release.c.number == b.number))
        .where(b.id.in_(last))
        .order_by(b.id.desc())
        .limit(MOST_STORIES)
    )
    return tuple(OtherStory(*row) for row in rows)


def told_among(connection: Connection, story: OtherStory, keys: Sequence[str]) -> int:
    """Count those of `keys` that another incident's last broadcast reached, or may have reached."""
    counted = connection.execute(
        select(func.count())
        .join_from(_broadcast, _delivery, IN_FROZEN)
        .where(
            _broadcast.c.id == story.broadcast,
            one_of(connection, _delivery.c.key, keys),
            _delivery.c.state.in_(MAYBE_TOLD),
        )
    )
    return int(counted.scalar_one())
