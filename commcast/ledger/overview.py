"""An overview of every incident: its newest release, its promises and its deliveries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, func, or_, select

from commcast.ledger import tables
from commcast.ledger.fence import stops_in_force
from commcast.ledger.releases import newest_releases
from commcast.ledger.tables import ALL_INCIDENTS, MAYBE_TOLD, State
from commcast.ledger.tallies import COMPOSITION, RECEIPT, DeliveryCount, count_deliveries
from commcast.model.history import Said
from commcast.model.incident import END_STATUSES, Channel, NextWord, Status
from commcast.model.release import ELSEWHERE

_broadcast, _composition = tables.frozen_broadcast, tables.composition

_KNOWN_TO_BE_TOLD = (State.ACCEPTED, State.UNKNOWN)


@dataclass(slots=True)
class Overview:
    """One incident. `number`, `title`, `status` and `severity` are those of its newest release.

    `parts` has, by audience, what was sent to it, in order; `told_at` is when somebody was last told,
    `first_told_at` when the first words that reached anybody were frozen. `counts` are the deliveries by
    state, `receipts` the accepted ones by what their provider said later. `told_before` is the number of the
    last release that was told before this ledger began, 0 for none; `elsewhere` says that it is the newest.
    """

    incident: str
    title: str
    status: Status
    severity: int
    number: int
    told_before: int
    parts: dict[str, list[Part]] = field(default_factory=dict)
    told_at: datetime | None = None
    first_told_at: datetime | None = None
    counts: Counter[str] = field(default_factory=Counter)
    receipts: Counter[str] = field(default_factory=Counter)
    stopped_by: str = ""

    @property
    def elsewhere(self) -> bool:
        return self.number == self.told_before

    @property
    def is_over(self) -> bool:
        return self.status in END_STATUSES


def count_broadcasts(connection: Connection) -> tuple[BroadcastCounts, ...]:
    """Return the counts of every broadcast to readers that has deliveries, oldest first."""
    found: dict[int, BroadcastCounts] = {}
    promises = _promises(connection)
    for each in count_deliveries(connection, None, COMPOSITION, RECEIPT):
        if each.broadcast not in found:
            found[each.broadcast] = BroadcastCounts(
                each.incident, each.notice, each.number, each.channel, each.frozen_at
            )
        found[each.broadcast].add(each, promises.get(each.composition))
    return tuple(found.values())


def overviews(
    connection: Connection, counted: Iterable[BroadcastCounts] | None = None
) -> dict[str, Overview]:
    """Return every incident with a release, by its id.

    `counted` are the counts of this moment, if the caller has them already.
    """
    found = _newest_releases(connection)
    for each in count_broadcasts(connection) if counted is None else counted:
        if overview := found.get(each.incident):
            overview.counts.update(each.counts)
            overview.receipts.update(each.receipts)
            overview.told_at = _later(overview.told_at, each.told_at)
            if each.told_at and overview.first_told_at is None:
                overview.first_told_at = each.begun_at
            for audience, part in each.parts.items():
                overview.parts.setdefault(audience, []).append(part)
    for stop in stops_in_force(connection):
        for name, overview in found.items():
            if stop.incident in {name, ALL_INCIDENTS}:
                overview.stopped_by = overview.stopped_by or stop.by
    return found


@dataclass(slots=True)
class Part:
    """One audience's deliveries of one broadcast. `worded` counts those that have, or had, words.

    `promised` is the earliest promise to those who were told, `texts` are those of texts.
    """

    audience: str
    notice: str
    number: int
    channel: str
    begun_at: datetime
    counts: Counter[str] = field(default_factory=Counter)
    told_at: datetime | None = None
    promised: datetime | None = None
    worded: int = 0

    @property
    def told(self) -> int:
        return sum(self.counts[state] for state in MAYBE_TOLD)

    @property
    def waits(self) -> int:
        return self.counts[State.PENDING] + self.counts[State.CLAIMED]

    @property
    def said(self) -> Said:
        """What was said to it, as everything that asks for promises reads it."""
        return Said(
            notice=self.notice,
            number=self.number,
            channel=Channel(self.channel),
            audience=self.audience,
            at=self.begun_at,
            promised=self.promised,
            text_promises=(self.promised,) if self.channel == Channel.SMS and self.promised else (),
            heard=bool(self.told),
            waits=bool(self.waits),
            held=bool(self.counts[State.HELD]),
        )


@dataclass(slots=True)
class BroadcastCounts:
    """One broadcast's deliveries by state, when it was frozen, and when the last of its readers was told."""

    incident: str
    notice: str
    number: int
    channel: str
    begun_at: datetime
    counts: Counter[str] = field(default_factory=Counter)
    receipts: Counter[str] = field(default_factory=Counter)
    told_at: datetime | None = None
    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.counts.total() - self.counts[State.SKIPPED]

    @property
    def done(self) -> int:
        """The number of deliveries with a lasting outcome."""
        return sum(self.counts[state] for state in (State.ACCEPTED, State.REJECTED, State.UNKNOWN))

    def add(self, tally: DeliveryCount, promised: datetime | None) -> None:
        """Add a group of deliveries; `promised` is the time of the next update that their words promise."""
        about = (tally.audience, self.notice, self.number, self.channel, self.begun_at)
        part = self.parts.setdefault(tally.audience, Part(*about))
        part.worded += tally.count if tally.composition else 0
        for counts in (self.counts, part.counts):
            counts[tally.state] += tally.count
        if tally.receipt and tally.state is State.ACCEPTED:
            self.receipts[tally.receipt] += tally.count
        if tally.state in _KNOWN_TO_BE_TOLD:
            self.told_at = _later(self.told_at, tally.changed_at)
            part.told_at = _later(part.told_at, tally.changed_at)
        if tally.state in MAYBE_TOLD:
            part.promised = min((at for at in (part.promised, promised) if at), default=None)


def under_way(counted: Iterable[BroadcastCounts]) -> tuple[BroadcastCounts, ...]:
    """Return the broadcasts with waiting or claimed deliveries (held ones don't count), oldest first."""
    return tuple(each for each in counted if each.counts[State.PENDING] or each.counts[State.CLAIMED])


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((at for at in (one, other) if at), default=None)


def _newest_releases(connection: Connection) -> dict[str, Overview]:
    release = tables.release.c
    last = select(release.incident, func.max(release.number)).where(release.how == ELSEWHERE)
    before = {row[0]: row[1] for row in connection.execute(last.group_by(release.incident))}
    return {
        row.incident: Overview(
            incident=row.incident,
            title=row.title,
            status=Status(row.status),
            severity=row.severity,
            number=row.number,
            told_before=before.get(row.incident, 0),
        )
        for row in connection.execute(newest_releases())
    }


def _promises(connection: Connection) -> dict[int, datetime | None]:
    """Return, by composition, the time at which its readers were told to expect more on that channel.

    A text to somebody who also gets email promises no time; the email does.
    """
    word = func.coalesce(_composition.c.context["next_word"].as_string(), "")
    rows = connection.execute(
        select(_composition.c.id, _composition.c.next_update_by)
        .join(_broadcast, _broadcast.c.id == _composition.c.broadcast)
        .where(
            _composition.c.next_update_by.is_not(None),
            or_(_broadcast.c.channel != Channel.SMS, word != NextWord.EMAIL.value),
        )
    )
    return {row[0]: row[1] for row in rows}
