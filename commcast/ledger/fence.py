"""The fence around a question: what in the ledger could change what a person looks at."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from commcast.ledger import tables
from commcast.ledger.releases import merged_into
from commcast.ledger.tables import ALL_INCIDENTS, MAYBE_TOLD, BroadcastState
from commcast.model.incident import Channel

_broadcast, _delivery, _duty = tables.broadcast, tables.delivery, tables.duty
_release, _stop = tables.release, tables.stop


@dataclass(frozen=True, slots=True)
class Fence:
    """Counts and newest numbers from before the words were made: equal ones later mean nothing has changed.

    `told_wrong` counts who may have been told words that a correction puts right; `capped` is the newest
    broadcast of each channel of any incident: it may use up what the cap allows.
    What only removes readers (an opt-out, an erasure) is no part of it: claims look at that themselves.
    """

    releases: tuple[int, int]
    broadcasts: tuple[int, int]
    stops: tuple[int, ...]
    handover: tuple[int, str]
    told_wrong: int
    capped: tuple[int, ...]


def read_fence(connection: Connection, incident: str, wrong: Collection[int]) -> Fence:
    """Return the fence of an incident as it stands. `wrong` are compositions that hold wrong words."""
    incidents = [incident, *merged_into(connection, incident)]
    frozen = _broadcast.c.state == BroadcastState.FROZEN
    releases = connection.execute(
        select(func.count(), func.max(_release.c.number)).where(_release.c.incident.in_(incidents))
    ).one()
    broadcasts = connection.execute(
        select(func.count(), func.max(_broadcast.c.id)).where(_broadcast.c.incident.in_(incidents), frozen)
    ).one()
    stops = connection.execute(
        select(_stop.c.id)
        .where(_stop.c.lifted_at.is_(None), _stop.c.incident.in_([incident, ALL_INCIDENTS]))
        .order_by(_stop.c.id)
    ).scalars()
    handover = connection.execute(
        select(_duty.c.id, _duty.c.taken_at).where(_duty.c.incident == incident).order_by(_duty.c.id.desc())
    ).first()
    told = 0
    if wrong:
        told = connection.execute(
            select(func.count()).where(_delivery.c.composition.in_(wrong), _delivery.c.state.in_(MAYBE_TOLD))
        ).scalar_one()
    newest = (
        connection.execute(
            select(func.max(_broadcast.c.id)).where(_broadcast.c.channel == channel, frozen)
        ).scalar_one()
        for channel in Channel
    )
    return Fence(
        (releases[0], releases[1] or 0),
        (broadcasts[0], broadcasts[1] or 0),
        tuple(stops),
        (handover.id, str(handover.taken_at or "")) if handover else (0, ""),
        told,
        tuple(each or 0 for each in newest),
    )
