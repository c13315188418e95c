"""What a report counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, insert, or_, select, type_coerce

from commcast.ledger import tables
from commcast.ledger.tables import IS_FROZEN, State, Time
from commcast.ledger.tallies import PROVIDER, REASON, RECEIPT, count_deliveries, ended_at
from commcast.model.incident import Channel, NextWord

_release, _broadcast, _composition = tables.release, tables.frozen_broadcast, tables.composition
_delivery = tables.delivery

_TOLD = (State.ACCEPTED, State.UNKNOWN)
_NOBODY = "hears nothing"  # how the reasons of plan.people begin for somebody who opted out or was refused


@dataclass(frozen=True, slots=True)
class Scope:
    """Which incidents are told of: one, or all whose first release is not before `since` (aware).

    What an incident's own people were told is no incident: it is told of only where it is named.
    """

    incident: str = ""
    since: datetime | None = None

    def holds(self, column: ColumnElement[str]) -> ColumnElement[bool]:
        """Return the condition that an incident's id is one of these."""
        if self.since is None:
            return column == self.incident
        first = func.min(_release.c.released_at) >= self.since
        return column.in_(select(_release.c.incident).group_by(_release.c.incident).having(first))


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """A release with all that was known then."""

    incident: str
    number: int
    at: datetime
    title: str
    status: str
    severity: int
    how: str
    by: str
    released_at: datetime
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CountedOutcome:
    """Deliveries of one broadcast to one audience that ended alike, and when the first and last did.

    `reason` is there for skipped ones alone, without what differs from person to person. `number` is the
    update that the notice speaks of.
    """

    incident: str
    notice: str
    number: int
    channel: str
    frozen_at: datetime
    audience: str
    state: State
    reason: str
    receipt: str
    provider: str
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Promised:
    """How many readers of an audience a broadcast promised word by a time, and what came of it.

    `gone` opted out or were refused for good before the next word; `in_time` had a later message accepted by
    then, between `first_at` and `last_at` (None: no later message reached anybody).
    """

    incident: str
    notice: str
    channel: str
    audience: str
    made_at: datetime
    promised: datetime
    readers: int
    gone: int
    in_time: int
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class TextsAt:
    """How many texts readers of one zone got within one minute of UTC, `minute`."""

    incident: str
    audience: str
    zone: str
    minute: datetime
    count: int


def read_released(connection: Connection, scope: Scope) -> tuple[ReleaseRecord, ...]:
    """Return the releases of incidents, oldest first."""
    r = _release.c
    columns: tuple[Any, ...] = (
        r.incident,
        r.number,
        r.at,
        r.title,
        r.status,
        r.severity,
        r.how,
        r.by,
        r.released_at,
        r.facts,
    )
    rows = connection.execute(select(*columns).where(scope.holds(r.incident)).order_by(r.incident, r.number))
    return tuple(ReleaseRecord(*row) for row in rows)


def read_counted(connection: Connection, scope: Scope) -> tuple[CountedOutcome, ...]:
    """Return what became of every broadcast's deliveries, in the order things were said."""
    found: dict[tuple[object, ...], CountedOutcome] = {}
    ours = scope.holds(_delivery.c.incident)
    for t in count_deliveries(connection, ours, REASON, RECEIPT, PROVIDER, ended=True):
        reason = "" if t.state is not State.SKIPPED else _NOBODY if t.reason.startswith(_NOBODY) else t.reason
        alike = (t.broadcast, t.audience, t.state, reason, t.receipt, t.provider)
        known = found.get(alike)
        found[alike] = CountedOutcome(
            *(t.incident, t.notice, t.number, t.channel, t.frozen_at, *alike[1:]),
            t.count + (known.count if known else 0),
            min(t.first_at, known.first_at) if known else t.first_at,
            max(t.last_at, known.last_at) if known else t.last_at,
        )
    return tuple(found.values())


def read_promised(connection: Connection, scope: Scope) -> tuple[Promised, ...]:
    """Return every promise with how many of its readers had word in time, in the order they were made.

    Reader by reader: their own next message counts, on the channel of the promise.
    """
    d, c, b = _delivery.c, _composition.c, _broadcast.c
    # From each reader's last message back to the first: what came after one is what was met before it.
    later: dict[str, Any] = {
        "partition_by": (d.incident, d.channel, d.key),
        "order_by": d.broadcast.desc(),
        "rows": (None, -1),
    }
    at = ended_at()
    next_at = func.min(case((d.state == State.ACCEPTED, at))).over(**later)
    gone = func.max(case((d.reason.like(f"{_NOBODY}%"), 1), else_=0)).over(**later)
    one = (
        select(
            d.broadcast,
            d.composition,
            d.audience,
            d.state,
            case((d.state == State.ACCEPTED, at)).label("heard_at"),
            next_at.label("next_at"),
            gone.label("gone"),
        )
        .where(scope.holds(d.incident), d.state.in_((*_TOLD, State.SKIPPED)), IS_FROZEN)
        .subquery()
    )
    has_gone = case((one.c.next_at.is_(None), func.coalesce(one.c.gone, 0)), else_=0)
    rows = connection.execute(
        select(
            b.incident,
            b.notice,
            b.channel,
            one.c.audience,
            func.coalesce(func.min(one.c.heard_at), b.created_at),
            c.next_update_by,
            func.count(),
            func.sum(has_gone),
            func.sum(case((one.c.next_at <= c.next_update_by, 1), else_=0)),
            func.min(one.c.next_at),
            func.max(one.c.next_at),
        )
        .join(_composition, c.id == one.c.composition)
        .join(_broadcast, b.id == one.c.broadcast)
        .where(one.c.state.in_(_TOLD), c.next_update_by.is_not(None), _promises_time())
        .group_by(b.id, b.incident, b.notice, b.channel, b.created_at, one.c.audience, c.next_update_by)
        .order_by(b.id, one.c.audience, c.next_update_by)
    )
    return tuple(Promised(*row) for row in rows)


def read_stated(connection: Connection, scope: Scope) -> dict[tuple[str, str, str, str], datetime]:
    """Return by when word was promised, by incident, notice, channel and audience; the earliest one."""
    b, c = _broadcast.c, _composition.c
    whose = (b.incident, b.notice, b.channel, c.audience)
    rows = connection.execute(
        select(*whose, func.min(c.next_update_by))
        .join(_composition, c.broadcast == b.id)
        .where(scope.holds(b.incident), c.next_update_by.is_not(None), _promises_time())
        .group_by(*whose)
    )
    return {(row[0], row[1], row[2], row[3]): row[4] for row in rows}


def read_texts(connection: Connection, scope: Scope) -> tuple[TextsAt, ...]:
    """Return how many texts went to readers of which zone in which minute."""
    d, c = _delivery.c, _composition.c
    minute = type_coerce(func.substr(ended_at(), 1, len("2026-11-21T09:05")).concat("+00:00"), Time)
    rows = connection.execute(
        select(d.incident, d.audience, c.zone, minute, func.count())
        .join(_composition, c.id == d.composition)
        .where(scope.holds(d.incident), d.channel == "sms", d.state == State.ACCEPTED, IS_FROZEN)
        .group_by(d.incident, d.audience, c.zone, minute)
    )
    return tuple(TextsAt(*row) for row in rows)


def _promises_time() -> ColumnElement[bool]:
    """Return the condition that words promise a time: of texts only those to who gets no mail beside them."""
    word = func.coalesce(_composition.c.context["next_word"].as_string(), "")
    return or_(_broadcast.c.channel == Channel.EMAIL, word == NextWord.UPDATE.value)


_feedback, _delivery = tables.feedback, tables.delivery
_composition = tables.composition

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
    return tuple(Answered(*row) for row in rows)


def record_answers(
    connection: Connection, incident: str, *, yes: int, no: int, by: str, now: datetime
) -> tuple[int, int]:
    """Add counts of readers' answers; return the sums."""
    connection.execute(insert(_feedback).values(incident=incident, yes=yes, no=no, by=by, at=now))
    answers = read_answers(connection, incident)
    return sum(each.yes for each in answers), sum(each.no for each in answers)


def messages_accepted(connection: Connection, incident: str) -> int:
    """Return how many messages of an incident providers took."""
    ours = (_delivery.c.incident == incident, _delivery.c.state == State.ACCEPTED, IS_FROZEN)
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
        IS_FROZEN,
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
