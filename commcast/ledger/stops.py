"""The stop flag: halts an incident's deliveries, or all, at the next claim, from any host."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, or_, select, update

from commcast.ledger import schema
from commcast.ledger.schema import ALL_INCIDENTS, stamp

_stop = schema.stop
_CORRECTING = ", until the correction is ready"


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop in force. `incident` is "*" for all incidents."""

    incident: str
    by: str
    at: datetime

    @property
    def is_for_correction(self) -> bool:
        """Whether it ends by itself as soon as a correction is ready to go."""
        return self.by.endswith(_CORRECTING)


def stop_incident(connection: Connection, incident: str, by: str, now: datetime) -> bool:
    """Stop an incident (or ALL_INCIDENTS); return False where it was stopped already.

    A stop that only waits for a correction gives way: it would end by itself, and a person's must not.
    """
    found = [stop for stop in stops_in_force(connection, incident) if stop.incident == incident]
    if any(not stop.is_for_correction for stop in found):
        return False
    lift_stop(connection, incident, by, now)
    connection.execute(insert(_stop).values(incident=incident, by=by, at=stamp(now)))
    return True


def stop_to_correct(connection: Connection, incident: str, by: str, now: datetime) -> str:
    """Stop an incident until a correction is ready; return who had stopped it before, "" for nobody.

    It takes the place of their stop: whoever corrects decides that the right words go.
    """
    found = [stop for stop in stops_in_force(connection, incident) if stop.incident == incident]
    lift_stop(connection, incident, by, now)
    connection.execute(insert(_stop).values(incident=incident, by=by + _CORRECTING, at=stamp(now)))
    return next((stop.by for stop in found if not stop.is_for_correction), "")


def lift_stop_to_correct(connection: Connection, incident: str, by: str, now: datetime) -> None:
    """Lift what `stop_to_correct` put on an incident; a person's own stop stays."""
    connection.execute(
        update(_stop)
        .where(_stop.c.incident == incident, _stop.c.lifted_at.is_(None), _stop.c.by.endswith(_CORRECTING))
        .values(lifted_at=stamp(now), lifted_by=by)
    )


def lift_stop(connection: Connection, incident: str, by: str, now: datetime) -> bool:
    """Lift the stop of an incident (or of ALL_INCIDENTS); return False where there was none."""
    lifted = connection.execute(
        update(_stop)
        .where(_stop.c.incident == incident, _stop.c.lifted_at.is_(None))
        .values(lifted_at=stamp(now), lifted_by=by)
        .returning(_stop.c.id)
    )
    return bool(lifted.all())


def stops_in_force(connection: Connection, incident: str | None = None) -> tuple[Stop, ...]:
    """Return the stops that halt `incident`, or every stop in force."""
    wanted = (
        [] if incident is None else [or_(_stop.c.incident == incident, _stop.c.incident == ALL_INCIDENTS)]
    )
    rows = connection.execute(select(_stop).where(_stop.c.lifted_at.is_(None), *wanted).order_by(_stop.c.id))
    return tuple(Stop(row.incident, row.by, datetime.fromisoformat(row.at)) for row in rows)
