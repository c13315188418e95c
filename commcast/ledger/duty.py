"""Hand-overs in the ledger: offered to whom, and taken by whom; the newest row of an incident is in force."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from commcast.duty import HandOver
from commcast.ledger import schema
from commcast.ledger.schema import stamp, unstamp

_duty = schema.duty


def offer(
    connection: Connection, incident: str, person: str, *, by: str, now: datetime, note: str = ""
) -> None:
    """Record that an incident is offered to a person; an earlier offer that nobody took is replaced."""
    connection.execute(
        insert(_duty).values(
            incident=incident, person=person, offered_by=by, offered_at=stamp(now), note=note
        )
    )


def take(connection: Connection, incident: str, person: str, *, by: str, now: datetime) -> bool:
    """Record that a person takes an incident; return whether it had been offered to that person."""
    newest = connection.execute(
        select(_duty).where(_duty.c.incident == incident).order_by(_duty.c.id.desc()).limit(1)
    ).one_or_none()
    if newest is not None and newest.taken_at is None and newest.person == person:
        taken = connection.execute(
            update(_duty)
            .where(_duty.c.id == newest.id, _duty.c.taken_at.is_(None))
            .values(taken_by=by, taken_at=stamp(now))
        )
        return taken.rowcount > 0
    at = stamp(now)
    connection.execute(
        insert(_duty).values(
            incident=incident, person=person, offered_by="", offered_at=at, taken_by=by, taken_at=at
        )
    )
    return False


def handovers(connection: Connection, incident: str) -> tuple[HandOver, ...]:
    """Return an incident's hand-overs in the order in which they were made."""
    rows = connection.execute(select(_duty).where(_duty.c.incident == incident).order_by(_duty.c.id))
    return tuple(_hand_over(row) for row in rows)


def handovers_of_all(connection: Connection) -> Mapping[str, tuple[HandOver, ...]]:
    """Return the hand-overs of every incident that has any."""
    found: defaultdict[str, list[HandOver]] = defaultdict(list)
    for row in connection.execute(select(_duty).order_by(_duty.c.id)):
        found[row.incident].append(_hand_over(row))
    return {incident: tuple(each) for incident, each in found.items()}


def _hand_over(row: Row[Any]) -> HandOver:
    return HandOver(
        person=row.person,
        offered_by=row.offered_by,
        offered_at=datetime.fromisoformat(row.offered_at),
        taken_by=row.taken_by or "",
        taken_at=unstamp(row.taken_at),
        note=row.note,
    )
