"""What the ledger knows of every incident at a glance: its newest release, its promise, its deliveries."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, and_, func, select

from commcast.ledger import schema
from commcast.ledger.receipts import receipts_by_incident
from commcast.ledger.schema import ALL_INCIDENTS, MAYBE_TOLD, WAITING, State, unstamp
from commcast.ledger.stops import stops_in_force
from commcast.model import END_STATUSES, Status
from commcast.release import ELSEWHERE

_release, _broadcast = schema.release, schema.broadcast
_composition, _delivery = schema.composition, schema.delivery


@dataclass(slots=True)
class Overview:
    """One incident. `number`, `title`, `status` and `severity` are those of its newest release.

    `promised` is the earliest time by which readers were told to expect more in the newest update that any
    of them got, None where nothing is promised; `told_at` is when somebody was last told, `counts` the
    deliveries by state, `receipts` the accepted ones by what their provider said later.
    `released_at` is when somebody said yes to it. `elsewhere` says that another ledger, or nobody, told
    of it.
    """

    incident: str
    title: str
    status: Status
    severity: int
    number: int
    elsewhere: bool
    released_at: datetime
    promised: datetime | None = None
    told_at: datetime | None = None
    counts: Counter[str] = field(default_factory=Counter)
    receipts: Counter[str] = field(default_factory=Counter)
    stopped_by: str = ""

    @property
    def is_over(self) -> bool:
        return self.status in END_STATUSES


def count_broadcasts(connection: Connection) -> tuple[Counted, ...]:
    """Return the counts of every broadcast, oldest first: one look at each delivery."""
    d = _delivery.c
    rows = connection.execute(
        select(d.broadcast, d.state, func.count(), func.max(d.changed_at)).group_by(d.broadcast, d.state)
    )
    named = connection.execute(select(_broadcast).order_by(_broadcast.c.id))
    found = {row.id: Counted(row.incident, row.notice, row.channel) for row in named}
    for broadcast, state, count, changed_at in rows:
        counted = found[broadcast]
        counted.counts[state] += count
        if state in {State.ACCEPTED, State.UNKNOWN}:
            at = datetime.fromisoformat(changed_at)
            counted.told_at = max(counted.told_at or at, at)
    return tuple(found.values())


def overviews(connection: Connection, counted: Iterable[Counted] | None = None) -> dict[str, Overview]:
    """Return every incident that anything was released of, by its id.

    `counted` are the counts of this very moment, where the caller has them.
    """
    found = _newest_releases(connection)
    for each in count_broadcasts(connection) if counted is None else counted:
        if overview := found.get(each.incident):
            overview.counts.update(each.counts)
            if each.told_at is not None:
                overview.told_at = max(overview.told_at or each.told_at, each.told_at)
    for incident, receipts in receipts_by_incident(connection).items():
        if incident in found:
            found[incident].receipts = receipts
    waiting = _waiting(connection)
    for incident, told in _promises(connection).items():
        if incident not in found:
            continue
        newest = max(told)
        # Who still waits for the newest words was promised word by the ones before.
        owed = {number: by for number, by in told.items() if number == newest or newest in waiting[incident]}
        promised = [
            by
            for number, by in owed.items()
            if by is not None and (number != newest or _still_stands(found[incident], number))
        ]
        found[incident].promised = min(promised, default=None)
    for stop in stops_in_force(connection):
        for overview in found.values() if stop.incident == ALL_INCIDENTS else _one(found, stop.incident):
            overview.stopped_by = overview.stopped_by or stop.by
    return found


@dataclass(slots=True)
class Counted:
    """One broadcast's deliveries by state, and when one of those who were, or may have been, told changed."""

    incident: str
    notice: str
    channel: str
    counts: Counter[str] = field(default_factory=Counter)
    told_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class UnderWay:
    """One broadcast of which a delivery waits to go or is on its way. Held ones wait for their hour."""

    incident: str
    notice: str
    channel: str
    counts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values()) - self.counts.get(State.SKIPPED, 0)

    @property
    def done(self) -> int:
        """How many have an outcome that stays."""
        return sum(self.counts.get(state, 0) for state in (State.ACCEPTED, State.REJECTED, State.UNKNOWN))


def under_way(counted: Iterable[Counted]) -> tuple[UnderWay, ...]:
    """Return the broadcasts that are being sent, or wait to be, oldest first."""
    return tuple(
        UnderWay(each.incident, each.notice, each.channel, each.counts)
        for each in counted
        if each.counts[State.PENDING] or each.counts[State.CLAIMED]
    )


def _still_stands(overview: Overview, told: int) -> bool:
    """Return whether what readers were promised in update `told` is still owed to them."""
    if overview.number == told:
        return not overview.is_over
    if overview.elsewhere:
        return False
    # An end settles the promise when it has gone out; one that nobody is left to hear does so at once.
    return not overview.is_over or any(overview.counts[state] for state in WAITING)


def _one(found: dict[str, Overview], incident: str) -> list[Overview]:
    return [found[incident]] if incident in found else []


def _newest_releases(connection: Connection) -> dict[str, Overview]:
    newest = (
        select(_release.c.incident, func.max(_release.c.number).label("number"))
        .group_by(_release.c.incident)
        .subquery()
    )
    rows = connection.execute(
        select(_release).join(
            newest, and_(_release.c.incident == newest.c.incident, _release.c.number == newest.c.number)
        )
    )
    return {
        row.incident: Overview(
            incident=row.incident,
            title=row.title,
            status=Status(row.status),
            severity=row.severity,
            number=row.number,
            elsewhere=row.how == ELSEWHERE,
            released_at=datetime.fromisoformat(row.released_at),
        )
        for row in rows
    }


def _waiting(connection: Connection) -> defaultdict[str, set[int]]:
    """Return, by incident, the updates that somebody still waits for."""
    rows = connection.execute(
        select(_broadcast.c.incident, _broadcast.c.number)
        .join(_delivery, _delivery.c.broadcast == _broadcast.c.id)
        .where(_delivery.c.state.in_([State.PENDING, State.CLAIMED]))
        .distinct()
    )
    found: defaultdict[str, set[int]] = defaultdict(set)
    for row in rows:
        found[row.incident].add(row.number)
    return found


def _promises(connection: Connection) -> dict[str, dict[int, datetime | None]]:
    """Return, by incident, the two newest updates that anybody was told, with the earliest promise in each.

    What was frozen and reached nobody yet promises nothing: the word before it still stands.
    """
    rows = connection.execute(
        select(_broadcast.c.incident, _broadcast.c.number, func.min(_composition.c.next_update_by))
        .join(_delivery, _delivery.c.broadcast == _broadcast.c.id)
        .join(_composition, _composition.c.id == _delivery.c.composition)
        .where(_delivery.c.state.in_(MAYBE_TOLD))
        .group_by(_broadcast.c.incident, _broadcast.c.number)
    )
    found: dict[str, dict[int, datetime | None]] = {}
    for row in rows:
        found.setdefault(row[0], {})[row[1]] = unstamp(row[2])
    return {incident: dict(sorted(told.items())[-2:]) for incident, told in found.items()}
