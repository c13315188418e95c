"""What surrounds an incident's messages: what readers answered, and which texts were sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select

from commcast.ledger import schema
from commcast.ledger.schema import State, stamp

_feedback, _delivery = schema.feedback, schema.delivery
_composition = schema.composition

_TEXTS_MEASURED = 500  # different texts that are measured; of more, those that most readers got


@dataclass(frozen=True, slots=True)
class Answered:
    """What was entered of readers' answers to "did we keep you well informed?"."""

    yes: int
    no: int
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TextSent:
    """One text that `count` readers got word for word; `recipient` holds the values of one of them."""

    audience: str
    count: int
    composition: int
    wording: str
    context: Mapping[str, Any]
    recipient: Mapping[str, Any]


def read_answers(connection: Connection, incident: str) -> tuple[Answered, ...]:
    """Return the counts that were entered for an incident, oldest first."""
    f = _feedback.c
    rows = connection.execute(select(f.yes, f.no, f.by, f.at).where(f.incident == incident).order_by(f.id))
    return tuple(Answered(*row[:3], datetime.fromisoformat(row[3])) for row in rows)


def record_answers(
    connection: Connection, incident: str, *, yes: int, no: int, by: str, now: datetime
) -> tuple[int, int]:
    """Add counts of readers' answers; return the sums."""
    connection.execute(insert(_feedback).values(incident=incident, yes=yes, no=no, by=by, at=stamp(now)))
    answers = read_answers(connection, incident)
    return sum(each.yes for each in answers), sum(each.no for each in answers)


def messages_accepted(connection: Connection, incident: str) -> int:
    """Return how many messages of an incident providers took."""
    ours = (_delivery.c.incident == incident, _delivery.c.state == State.ACCEPTED)
    return connection.execute(select(func.count()).where(*ours)).scalar_one()


def read_texts_sent(connection: Connection, incident: str) -> tuple[tuple[TextSent, ...], int]:
    """Return the texts that were handed over, those of most readers first, and how many there were in all.

    Of very many different ones only the first are returned.
    """
    d, c = _delivery.c, _composition.c
    ours = (
        d.incident == incident,
        d.channel == "sms",
        or_(d.state == State.ACCEPTED, d.state == State.UNKNOWN),
        d.composition.is_not(None),
    )
    total = connection.execute(select(func.count()).where(*ours)).scalar_one()
    alike = (
        select(func.count().label("count"), func.min(d.id).label("first"))
        .where(*ours)
        .group_by(d.composition, d.digest)
        .order_by(func.count().desc(), func.min(d.id))
        .limit(_TEXTS_MEASURED)
        .subquery()
    )
    rows = connection.execute(
        select(d.audience, alike.c.count, d.composition, c.wording, c.context, d.recipient)
        .join(alike, alike.c.first == d.id)
        .join(_composition, c.id == d.composition)
        .order_by(alike.c.first)
    )
    return tuple(TextSent(*row) for row in rows), total
