"""The stops in force, and the fence that shows whether anything changed during a question."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, or_, select, update

from commcast.ledger import tables
from commcast.ledger.releases import merged_into
from commcast.ledger.tables import ALL_INCIDENTS, MAYBE_TOLD, BroadcastState
from commcast.model.history import CORRECTING
from commcast.model.incident import Channel

_broadcast, _delivery, _duty = tables.broadcast, tables.delivery, tables.duty
_release, _stop = tables.release, tables.stop


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop in force. `incident` is "*" for all incidents."""

    incident: str
    by: str
    at: datetime

    @property
    def is_for_correction(self) -> bool:
        """Whether it ends by itself as soon as a correction is ready."""
        return self.by.endswith(CORRECTING)


def give_up_correction(connection: Connection, incident: str, by: str, now: datetime, *, keep: bool) -> None:
    """End a stop for a correction that was discarded; `keep` leaves it as a stop of the person."""
    if any(stop.is_for_correction for stop in stops_in_force(connection, incident)):
        lift_stop_to_correct(connection, incident, by, now)
        if keep:
            stop_incident(connection, incident, by, now)


def stop_incident(connection: Connection, incident: str, by: str, now: datetime) -> bool:
    """Stop an incident (or ALL_INCIDENTS); return False if it was stopped already.

    It replaces a stop for a correction, because that would end by itself and a person's must not.
    """
    found = [stop for stop in stops_in_force(connection, incident) if stop.incident == incident]
    if any(not stop.is_for_correction for stop in found):
        return False
    lift_stop(connection, incident, by, now)
    connection.execute(insert(_stop).values(incident=incident, by=by, at=now))
    return True


def stop_to_correct(connection: Connection, incident: str, by: str, now: datetime) -> str:
    """Stop an incident until a correction is ready; return who had stopped it before, "" for nobody.

    It replaces their stop: the person who corrects decides that the right words are sent.
    """
    found = [stop for stop in stops_in_force(connection, incident) if stop.incident == incident]
    lift_stop(connection, incident, by, now)
    connection.execute(insert(_stop).values(incident=incident, by=by + CORRECTING, at=now))
    return next((stop.by for stop in found if not stop.is_for_correction), "")


def lift_stop_to_correct(connection: Connection, incident: str, by: str, now: datetime) -> None:
    """Lift a stop by `stop_to_correct`; a person's own stop stays."""
    connection.execute(
        update(_stop)
        .where(_stop.c.incident == incident, _stop.c.lifted_at.is_(None), _stop.c.by.endswith(CORRECTING))
        .values(lifted_at=now, lifted_by=by)
    )


def lift_stop(connection: Connection, incident: str, by: str, now: datetime) -> bool:
    """Lift the stop of an incident (or of ALL_INCIDENTS); return False if there was none."""
    lifted = connection.execute(
        update(_stop)
        .where(_stop.c.incident == incident, _stop.c.lifted_at.is_(None))
        .values(lifted_at=now, lifted_by=by)
        .returning(_stop.c.id)
    )
    return bool(lifted.all())


def stops_in_force(connection: Connection, incident: str | None = None) -> tuple[Stop, ...]:
    """Return the stops that halt `incident`, or every stop in force."""
    wanted = (
        [] if incident is None else [or_(_stop.c.incident == incident, _stop.c.incident == ALL_INCIDENTS)]
    )
    rows = connection.execute(select(_stop).where(_stop.c.lifted_at.is_(None), *wanted).order_by(_stop.c.id))
    return tuple(Stop(row.incident, row.by, row.at) for row in rows)


@dataclass(frozen=True, slots=True)
class Fence:
    """Counts and newest numbers from before the words were made: if they are equal later, nothing changed.

    `told_wrong` counts readers who may have been told words that a correction puts right; `capped` has the
    newest broadcast on each channel, of any incident, because it counts towards the cap.
    Changes that only remove readers (opt-outs, erasures) are left out: claims check those.
    """

    releases: tuple[int, int]
    broadcasts: tuple[int, int]
    stops: tuple[int, ...]
    handover: tuple[int, str]
    told_wrong: int
    capped: tuple[int, ...]


def read_fence(connection: Connection, incident: str, wrong: Collection[int]) -> Fence:
    """Return the current fence of an incident. `wrong` are compositions with wrong words."""
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
