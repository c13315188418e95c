"""What reports count: releases, outcomes, promises, texts, feedback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, FromClause, case, func, insert, or_, select, type_coerce

from commcast.ledger import tables
from commcast.ledger.tables import IS_FROZEN, State, Time, fields_of
from commcast.ledger.tallies import PROVIDER, REASON, RECEIPT, DeliveryCount, count_deliveries, ended_at
from commcast.model.incident import Channel, NextWord

_release, _broadcast, _composition = tables.release, tables.frozen_broadcast, tables.composition
_delivery, _feedback = tables.delivery, tables.feedback

_TOLD = (State.ACCEPTED, State.UNKNOWN)
_NOBODY = "hears nothing"  # how plan/reasons.py begins for people who opted out or were refused


@dataclass(frozen=True, slots=True)
class Scope:
    """Which incidents to read: one, or all first released at or after `since` (aware).

    Nudges to an incident's own people count only if their story is named.
    """

    incident: str = ""
    since: datetime | None = None

    def holds(self, column: ColumnElement[str]) -> ColumnElement[bool]:
        """Return the condition that a column holds the id of one of these."""
        if self.since is None:
            return column == self.incident
        first = func.min(_release.c.released_at) >= self.since
        return column.in_(select(_release.c.incident).group_by(_release.c.incident).having(first))


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """A release with everything that was known then."""

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
class Promised:
    """How many readers of an audience were promised another message by a time, and how many got it.

    `gone` opted out or were refused for good before it; for `in_time` a later message was accepted within its
    minute.
    `first_at` and `last_at` are when later messages were accepted (None: no later message reached anybody).
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
    """How many texts readers in one time zone got within one minute, `minute` (UTC)."""

    incident: str
    audience: str
    zone: str
    minute: datetime
    count: int


def read_released(connection: Connection, scope: Scope) -> tuple[ReleaseRecord, ...]:
    """Return the releases of incidents, oldest first."""
    r = _release.c
    columns = fields_of(ReleaseRecord, _release)
    rows = connection.execute(select(*columns).where(scope.holds(r.incident)).order_by(r.incident, r.number))
    return tuple(ReleaseRecord(*row) for row in rows)


def read_counted(connection: Connection, scope: Scope) -> list[DeliveryCount]:
    """Count the deliveries of every broadcast by outcome, in the order things were sent.

    Only skipped ones keep their reason, without what differs from person to person.
    """
    ours = scope.holds(_delivery.c.incident)
    counts = count_deliveries(connection, ours, REASON, RECEIPT, PROVIDER, ended=True)
    return [replace(each, reason=_general_reason(each)) for each in counts]


def _general_reason(count: DeliveryCount) -> str:
    if count.state is not State.SKIPPED:
        return ""
    return _NOBODY if count.reason.startswith(_NOBODY) else count.reason


def read_promised(connection: Connection, scope: Scope) -> tuple[Promised, ...]:
    """Return every promise and how many of its readers got a message in time, in the order of the promises.

    For each reader only their own next message on the promise's channel counts.
    """
    d, c, b = _delivery.c, _composition.c, _broadcast.c
    # Rows run from each reader's last message back to the first, so "before" a row means later in time.
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
            func.sum(case((_minute(one.c.next_at) <= _minute(c.next_update_by), 1), else_=0)),
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
    """Return the earliest time promised, by incident, notice, channel and audience."""
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
    """Count texts by the reader's time zone and the minute they were accepted in."""
    d, c = _delivery.c, _composition.c
    minute = type_coerce(_minute(ended_at()).concat("+00:00"), Time)
    rows = connection.execute(
        select(d.incident, d.audience, c.zone, minute, func.count())
        .join(_composition, c.id == d.composition)
        .where(scope.holds(d.incident), d.channel == Channel.SMS, d.state == State.ACCEPTED, IS_FROZEN)
        .group_by(d.incident, d.audience, c.zone, minute)
    )
    return tuple(TextsAt(*row) for row in rows)


def _minute(at: ColumnElement[Any]) -> ColumnElement[str]:
    """Return the minute of a stored time: readers were promised minutes, so seconds break nothing."""
    return func.substr(at, 1, len("2026-11-21T09:05"))


def _promises_time() -> ColumnElement[bool]:
    """Return the condition that words promise a time; texts do only for readers who get no email."""
    word = func.coalesce(_composition.c.context["next_word"].as_string(), "")
    return or_(_broadcast.c.channel == Channel.EMAIL, word == NextWord.UPDATE.value)


_TEXTS_MEASURED = 500  # at most so many different texts are measured: those that most readers got


class WordsSent(NamedTuple):
    """Frozen words that so many `readers` got; `recipient` holds the values of one of them.

    `promised` is the time by which they promise another message.
    """

    notice: str
    channel: str
    audience: str
    readers: int
    promised: datetime | None
    wording: str
    context: Mapping[str, Any]
    recipient: Mapping[str, Any]


def read_answers(connection: Connection, incident: str) -> tuple[int, int]:
    """Return how many readers of an incident answered yes, and how many no."""
    sums = [func.coalesce(func.sum(column), 0) for column in (_feedback.c.yes, _feedback.c.no)]
    yes, no = connection.execute(select(*sums).where(_feedback.c.incident == incident)).one()
    return yes, no


def record_answers(
    connection: Connection, incident: str, *, yes: int, no: int, by: str, now: datetime
) -> tuple[int, int]:
    """Add counts of readers' answers; return the sums."""
    connection.execute(insert(_feedback).values(incident=incident, yes=yes, no=no, by=by, at=now))
    return read_answers(connection, incident)


def messages_accepted(connection: Connection, incident: str) -> int:
    """Count an incident's accepted messages."""
    ours = (_delivery.c.incident == incident, _delivery.c.state == State.ACCEPTED, IS_FROZEN)
    return connection.execute(select(func.count()).where(*ours)).scalar_one()


def read_words_sent(connection: Connection, incident: str) -> tuple[WordsSent, ...]:
    """Return the words of each notice by channel and audience: those that most of its readers got."""
    d = _delivery.c
    ours = (d.incident == incident, d.state.in_(_TOLD), d.composition.is_not(None), IS_FROZEN)
    alike = (
        select(d.broadcast, d.audience, func.count().label("count"), func.min(d.id).label("first"))
        .where(*ours)
        .group_by(d.broadcast, d.audience, d.composition)
        .subquery()
    )
    place = func.row_number().over(
        partition_by=(alike.c.broadcast, alike.c.audience), order_by=(alike.c.count.desc(), alike.c.first)
    )
    ranked = select(alike.c.count, alike.c.first, place.label("place")).subquery()
    return _words_sent(connection, select(ranked).where(ranked.c.place == 1).subquery())


def _words_sent(connection: Connection, groups: FromClause) -> tuple[WordsSent, ...]:
    """Return the words of groups of deliveries, each given by its size and its first delivery."""
    d, c = _delivery.c, _composition.c
    promised = case((_promises_time(), c.next_update_by))
    rows = connection.execute(
        select(d.notice, d.channel, d.audience, groups.c.count, promised, c.wording, c.context, d.recipient)
        .join(groups, groups.c.first == d.id)
        .join(_composition, c.id == d.composition)
        .join(_broadcast, _broadcast.c.id == d.broadcast)
        .order_by(groups.c.first)
    )
    return tuple(WordsSent(*row) for row in rows)


def read_texts_sent(connection: Connection, incident: str) -> tuple[tuple[WordsSent, ...], int]:
    """Return the different texts that were sent, most readers first, and how many messages there were.

    At most `_TEXTS_MEASURED` different texts are returned.
    """
    d = _delivery.c
    theirs = (d.incident == incident, d.channel == Channel.SMS, d.state.in_(_TOLD))
    ours = (*theirs, d.composition.is_not(None), IS_FROZEN)
    total = connection.execute(select(func.count()).where(*ours)).scalar_one()
    alike = (
        select(func.count().label("count"), func.min(d.id).label("first"))
        .where(*ours)
        .group_by(d.composition, d.digest)
        .order_by(func.count().desc(), func.min(d.id))
        .limit(_TEXTS_MEASURED)
        .subquery()
    )
    return _words_sent(connection, alike), total
