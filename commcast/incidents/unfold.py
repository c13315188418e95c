"""A file as written -> an incident, each update carrying forward what was said."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo

from commcast.config.settings import Config
from commcast.errors import Fault
from commcast.incidents.schema import IncidentFile, UpdateEntry, WindowWritten
from commcast.incidents.yaml import Loc, YamlDocument
from commcast.model.incident import (
    END_STATUSES,
    ID_PATTERN,
    INCIDENT_STATUSES,
    MAINTENANCE_STATUSES,
    AudienceWords,
    Confidence,
    Incident,
    Kind,
    Status,
    Timeframe,
    Update,
    Window,
)
from commcast.model.times import is_clock_time, parse_instant, parse_promise, parse_timeframe

Result = TypeVar("Result")
# When update number so-and-so of an incident was released: for one whose file does not say it, because
# whoever released it could not write it there.
ReleasedAt = Mapping[tuple[str, int], datetime]


class FaultSink(Protocol):
    """A file that is being read: what is wrong is noted at its place."""

    written: IncidentFile
    spoiled: frozenset[Loc]

    @property
    def zone(self) -> ZoneInfo: ...
    def fault(self, loc: Loc, what: str, remedy: str = "", *, key: bool = False) -> None: ...
    def attempt(self, loc: Loc, read: Callable[..., Result], *given: Any) -> Result | None: ...


def read_window(reading: FaultSink, loc: Loc, window: WindowWritten | None) -> Window | None:
    """Return the window that stands at `loc`, None where none does or it is wrong, which is noted."""
    if window is None:
        if not loc:
            _check_not_missing(reading)
        return None
    if reading.written.kind is not Kind.MAINTENANCE:
        reading.fault((*loc, "window"), "only a maintenance has a window", "add kind: maintenance", key=True)
        return None
    start = reading.attempt((*loc, "window", "from"), parse_instant, window.start, reading.zone)
    end = reading.attempt((*loc, "window", "to"), parse_instant, window.end, reading.zone)
    if start is None or end is None:
        return None
    if end <= start:
        reading.fault((*loc, "window", "to"), "the window ends before it begins", "write a later time")
        return None
    return Window(start=start, end=end)


def check_in_window(
    reading: FaultSink, loc: Loc, window: Window | None, timeframe: Timeframe | None, status: Status
) -> None:
    """Note an estimate that the window of planned work does not hold."""
    if window is None or timeframe is None or timeframe.latest is None:
        return
    if not window.start <= timeframe.latest <= window.end:
        remedy = "leave it out: the window says it"
        if status not in (Status.SCHEDULED, Status.RESCHEDULED):
            remedy += ", or write status: extended and the new window"
        reading.fault((*loc, "timeframe"), "timeframe ends outside the window", remedy)


def read_expected(reading: FaultSink, loc: Loc, text: str, status: Status, at: datetime) -> datetime | None:
    """Return when something is expected; that it does not lie after its own update is noted."""
    loc = (*loc, "expected_at")
    found = reading.attempt(loc, parse_instant, text, reading.zone)
    if status is Status.EXPECTED and found is not None and found <= at:
        reading.fault(loc, "expected_at is not after its own update", "write when it will begin")
    return found


def moved_estimate(
    said: Timeframe | None, stretch: str | None, begins: datetime, zone: ZoneInfo
) -> Timeframe | None:
    """Return the estimate of what was expected, and begins at another time than was said.

    A `stretch` as somebody wrote it ("2h") lasts as long from then on; a moment before it begins is moot.
    """
    if said is None or said.latest is None:
        return said
    if stretch is None:
        return said if said.latest > begins else Timeframe(confidence=said.confidence)
    return parse_timeframe(stretch, begins, zone, said.confidence)


def _check_not_missing(reading: FaultSink) -> None:
    written = reading.written
    is_needed = written.kind is Kind.MAINTENANCE and written.updates[0].window is None
    if is_needed and not any("window" in place for place in reading.spoiled):
        reading.fault((), "'window' is missing: a maintenance needs it", "add window: {from: …, to: …}")


Unknown = tuple[Loc, str, str]  # place below the entry, what is wrong, what to write


def unknown_names(entry: IncidentFile | UpdateEntry, config: Config) -> Iterator[Unknown]:
    """Yield each audience, component and person of an entry that the configuration does not know.

    Components are looked up only where it knows any.
    """
    for key, known in (("audiences", config.audiences), ("affected", config.components)):
        for index, name in enumerate(getattr(entry, key) or ()):
            if name not in known and (known or key != "affected"):
                yield _unknown((key, index), "component" if key == "affected" else "audience", name, known)
    for key in ("owner", "backup"):
        name = getattr(entry, key)
        if name is not None and name not in config.people:
            yield _unknown((key,), "person", name, config.people)
    for name in getattr(entry, "words", None) or ():
        if name not in config.audiences:
            yield _unknown(("for", name), "audience", name, config.audiences)


def _unknown(loc: Loc, kind: str, name: str, known: Mapping[str, Any]) -> Unknown:
    names = ", ".join(list(known)[:20]) or "none yet: add it to commcast.toml"
    return loc, f"{name!r:.60} is not a known {kind}", f"known: {names}"


CLOCK_SKEW = timedelta(minutes=15)  # how far ahead of ours a writer's clock may be
FIRST_STATUS = {Kind.INCIDENT: Status.INVESTIGATING, Kind.MAINTENANCE: Status.SCHEDULED}
STATUSES = {Kind.INCIDENT: INCIDENT_STATUSES, Kind.MAINTENANCE: MAINTENANCE_STATUSES}
OVER = frozenset({Status.RESOLVED, Status.COMPLETED})


_NOT_BEGUN = END_STATUSES | {Status.EXPECTED}
_SAID_AFRESH = ("issue", "resolution", "scope", "action")  # what an end closes, a reopening says anew
_CARRIED = ("severity", "affected", "audiences", "owner", "backup", *_SAID_AFRESH)


@dataclass(slots=True)
class _Said:
    """What the updates so far have said, for the next one to carry forward."""

    values: dict[str, Any] = field(default_factory=dict)
    at: datetime | None = None
    status: Status | None = None
    ended: bool = False
    timeframe: Timeframe | None = None
    stretch: str | None = None  # the timeframe as written, where it is counted from a beginning
    window: Window | None = None
    expected_at: datetime | None = None


@dataclass(slots=True)
class Unfolding:
    """One file on its way to an incident; `faults` gathers all that is wrong on the way."""

    document: YamlDocument
    config: Config
    now: datetime
    written: IncidentFile
    spoiled: frozenset[Loc]
    id: str
    released_at: ReleasedAt
    faults: list[Fault] = field(default_factory=list)
    said: _Said = field(default_factory=_Said)

    @property
    def zone(self) -> ZoneInfo:
        return self.config.zone

    def incident(self) -> Incident | None:
        written = self.written
        self._names((), written)
        self.said.values = {
            key: getattr(written, key) for key in ("severity", "affected", "audiences", "owner", "backup")
        }
        self.said.window = read_window(self, (), written.window)
        if written.expected_at is not None:
            at = written.expected_at
            self.said.expected_at = self.attempt(("expected_at",), parse_instant, at, self.zone)
        updates = [self._update(number, entry) for number, entry in enumerate(written.updates, 1)]
        started = self._started(updates)
        self._check_ends(updates, started)
        if self.faults or self.spoiled or None in updates:
            self._id(self.id)
            return None
        return Incident(
            id=self._id(self.id),
            path=self.document.name,
            title=written.title,
            kind=written.kind,
            started=started,
            started_written=self.written.started is not None,
            updates=tuple(update for update in updates if update is not None),
            postmortem=written.postmortem,
            dedupe_key=written.dedupe_key,
        )

    def fault(self, loc: Loc, what: str, remedy: str = "", *, key: bool = False) -> None:
        self.faults.append(self.document.fault(loc, what, remedy, key=key))

    def attempt(self, loc: Loc, read: Callable[..., Result], *given: Any) -> Result | None:
        """Return what `read` makes of a text, or note its complaint at `loc`."""
        try:
            return read(*given)
        except ValueError as error:
            what, _, remedy = str(error).partition("; ")
            self.fault(loc, f"{loc[-1]}: {what}", remedy)
            return None

    def _id(self, stem: str) -> str:
        if self.written.id:
            return self.written.id
        if not re.fullmatch(ID_PATTERN, stem) and ("id",) not in self.spoiled:
            self.fault(
                (), f"the file's name {stem!r:.60} cannot be an id", "rename it (a-z, 0-9, -), or add id: …"
            )
        return stem

    def _started(self, updates: list[Update | None]) -> datetime:
        # What was only expected had not begun: it is older than its own beginning.
        begun = [each for each in updates if each and each.status not in _NOT_BEGUN]
        first = (begun or updates)[0].at if updates[0] else self.now  # type: ignore[union-attr]
        if self.written.started is None:
            return first
        started = self.attempt(("started",), parse_instant, self.written.started, self.zone) or first
        if started > first and self.written.kind is Kind.INCIDENT and updates[0]:
            self.fault(("started",), "started is after the first update", "write when it began")
        return started

    def _check_ends(self, updates: list[Update | None], started: datetime) -> None:
        if self.written.started is None and self.written.updates[0].at is None:
            return  # nobody said when it began, and nothing is told yet: the first update is of this moment
        reopened: datetime | None = None
        for update in updates:
            if update is None:
                continue
            reopened = update.at if update.status is Status.REOPENED else reopened
            loc = ("updates", update.number - 1, "ended")
            # Its `at` may bear seconds that nobody types.
            if update.ended and reopened and update.ended < reopened.replace(second=0, microsecond=0):
                at = f"{reopened.astimezone(self.zone):%Y-%m-%dT%H:%M}"
                what = f"ended is before it was reopened, at {at}"
                self.fault(loc, what, "write when it was over this time, or leave it out")
            elif update.ended and update.ended < started and self.written.kind is Kind.INCIDENT:
                if self.written.started is None:
                    self.fault(loc, "ended is before the first update", "add started: when it began")
                else:
                    self.fault(loc, "ended is before it started", "write when it was over")

    def _update(self, number: int, entry: UpdateEntry) -> Update | None:
        loc: Loc = ("updates", number - 1)
        before = len(self.faults)
        self._names(loc, entry)
        at = self._at(loc, entry)
        status = self._status(loc, entry)
        self._carry(loc, entry, number, status)
        window = self.said.window = read_window(self, loc, entry.window) or self.said.window
        was_expected = self.said.expected_at if self.said.status is Status.EXPECTED else None
        expected_at = self._expected_at(loc, entry, status, at)
        # How long a storm takes is counted from when it comes.
        begins = max(expected_at or at, at)
        if was_expected and expected_at and was_expected != expected_at:
            self.said.timeframe = moved_estimate(self.said.timeframe, self.said.stretch, begins, self.zone)
        timeframe = self._timeframe(loc, entry, begins, status)
        promise = self._promise(loc, entry, at, status)
        ended = self._ended(loc, entry, at, status)
        self._corrects(loc, entry, number)
        self.said.status, self.said.ended = status, status in END_STATUSES
        if len(self.faults) > before or any(place[:2] == loc for place in self.spoiled) or timeframe is None:
            return None
        carried = self.said.values
        is_over = status in END_STATUSES
        return Update(
            number=number,
            line=self.document.place(loc)[0],
            at=at,
            at_written=entry.at is not None,
            status=status,
            severity=carried["severity"],
            affected=tuple(carried["affected"] or ()),
            audiences=None if carried["audiences"] is None else tuple(carried["audiences"]),
            owner=carried["owner"],
            owner_named=entry.owner is not None,
            backup=carried["backup"],
            issue=entry.issue or (entry.fixed if status in OVER else None) or carried["issue"],
            # What was being done, and what readers were to do meanwhile, is false once it is over.
            resolution=(entry.resolution or "") if is_over else carried["resolution"],
            timeframe=timeframe,
            scope=carried.get("scope"),
            action=entry.action if is_over else carried.get("action"),
            next_update=promise,
            next_clock=entry.next_update if is_clock_time(entry.next_update) else "",
            nothing_new=entry.nothing_new,
            internal=entry.internal,
            words={name: AudienceWords(**words.model_dump()) for name, words in (entry.words or {}).items()},
            window=window,
            ended=ended,
            fixed=entry.fixed,
            remains=entry.remains,
            if_it_persists=entry.if_it_persists,
            because=entry.because,
            corrects=_numbers(entry.corrects),
            wrong=entry.wrong,
            right=entry.right,
            expected_at=expected_at,
            merged_into=entry.merged_into,
            check_in=tuple(entry.check_in or ()),
        )

    def _names(self, loc: Loc, entry: IncidentFile | UpdateEntry) -> None:
        for below, what, remedy in unknown_names(entry, self.config):
            self.fault((*loc, *below), what, remedy, key=True)

    def _at(self, loc: Loc, entry: UpdateEntry) -> datetime:
        """Return the update's moment; one that was not released yet has that of the reading."""
        earlier = self.said.at
        loc = (*loc, "at")
        if entry.at is None:
            released = self.released_at.get((self.id, int(loc[1]) + 1))
            at = released or (max(self.now, earlier) if earlier else self.now)
        else:
            written = self.attempt(loc, parse_instant, entry.at, self.zone)
            if written is None:
                return earlier or self.now
            at = written
            self._check_order(loc, at, earlier)
        self.said.at = at
        return at

    def _check_order(self, loc: Loc, at: datetime, earlier: datetime | None) -> None:
        # What stands above the last update may be released: a clock that was set back must not refuse it.
        is_last = loc[1] == len(self.written.updates) - 1
        if is_last and at > self.now + CLOCK_SKEW:
            self.fault(loc, "at is in the future", "write when it was said, or leave `at` out")
        elif earlier and at < earlier:
            self.fault(loc, "at is before the update above it", "keep updates in order of time")

    def _status(self, loc: Loc, entry: UpdateEntry) -> Status:
        kind, before = self.written.kind, self.said.status
        status = entry.status or before or FIRST_STATUS[kind]
        where = (*loc, "status") if entry.status else loc
        if status not in STATUSES[kind]:
            known = ", ".join(sorted(STATUSES[kind]))
            self.fault(where, f"{status} is not a status of kind {kind}", f"write one of {known}")
        elif self.said.ended and status is not Status.REOPENED and not _rights_the_end(entry, before, status):
            self.fault(
                where, f"nothing may follow {before} but reopened", "write status: reopened, or a new file"
            )
        elif status is Status.REOPENED and before is not Status.REOPENED and not self.said.ended:
            self.fault(where, "reopened follows only an end", "write investigating, identified or monitoring")
        return status

    def _carry(self, loc: Loc, entry: UpdateEntry, number: int, status: Status) -> None:
        """Take over what this update says; ask for what must be said at first, and again after an end."""
        afresh = number == 1 or (self.said.ended and status is Status.REOPENED)
        if afresh:
            for key in _SAID_AFRESH:
                self.said.values.pop(key, None)
            self.said.timeframe = None
        for key in _CARRIED:
            value = getattr(entry, key)
            if value is not None:
                self.said.values[key] = value
        planned = self.written.kind is Kind.MAINTENANCE
        needed = ("issue", "resolution") if planned else ("issue", "resolution", "timeframe")
        for key in needed if afresh else ():
            if getattr(entry, key) is None and (*loc, key) not in self.spoiled:
                why = "the first update needs it" if number == 1 else "after an end it is needed anew"
                self.fault(loc, f"'{key}' is missing: {why}", _HOW[key])

    def _timeframe(self, loc: Loc, entry: UpdateEntry, at: datetime, status: Status) -> Timeframe | None:
        confidence = entry.confidence or Confidence.LOW
        if entry.timeframe is not None:
            found = self.attempt(
                (*loc, "timeframe"), parse_timeframe, entry.timeframe, at, self.zone, confidence
            )
            self.said.timeframe = found
            self.said.stretch = None if entry.timeframe.startswith("by ") else entry.timeframe

            check_in_window(self, loc, self.said.window, found, status)
            return found
        if entry.confidence and (*loc, "timeframe") not in self.spoiled:
            self.fault((*loc, "confidence"), "confidence stands without a timeframe", "add timeframe: …")
        if entry.window is not None:
            self.said.timeframe = None  # it was said of the window before
        if self.said.timeframe is None and self.said.window is not None:
            return Timeframe(latest=self.said.window.end)  # a maintenance lasts as long as its window
        return self.said.timeframe

    def _promise(self, loc: Loc, entry: UpdateEntry, at: datetime, status: Status) -> datetime | None:
        if entry.next_update is None:
            return None
        if status in END_STATUSES:
            self.fault((*loc, "next_update"), f"no update follows {status}", "take the line out")
            return None
        return self.attempt((*loc, "next_update"), parse_promise, entry.next_update, at, self.zone)

    def _ended(self, loc: Loc, entry: UpdateEntry, at: datetime, status: Status) -> datetime | None:
        loc = (*loc, "ended")
        if entry.ended is None:
            return at if status in OVER else None
        if status not in END_STATUSES:
            self.fault(
                loc, f"ended stands in an update that is {status}", "write status: resolved, or take it out"
            )
        ended = self.attempt(loc, parse_instant, entry.ended, self.zone)
        if ended is not None and ended > at:
            self.fault(loc, "ended is after its own update", "write when it was over")
        return ended

    def _corrects(self, loc: Loc, entry: UpdateEntry, number: int) -> None:
        for corrected in _numbers(entry.corrects):
            if corrected < number:
                continue
            self.fault(
                (*loc, "corrects"),
                f"there is no earlier update {corrected}",
                "write the number of one above",
            )

    def _expected_at(self, loc: Loc, entry: UpdateEntry, status: Status, at: datetime) -> datetime | None:
        """Return when what is known to be coming begins: as said here, before, or at the top of the file."""
        if entry.expected_at is not None:
            self.said.expected_at = read_expected(self, loc, entry.expected_at, status, at)
        return self.said.expected_at if status is Status.EXPECTED else None


def _rights_the_end(entry: UpdateEntry, before: Status | None, status: Status) -> bool:
    """Return whether an update says an end once more, for what was wrong in its words."""
    return entry.corrects is not None and status is before


def _numbers(corrects: int | list[int] | None) -> tuple[int, ...]:
    return () if corrects is None else (corrects,) if isinstance(corrects, int) else tuple(corrects)


_HOW = {
    "issue": "add issue: what readers see, in their words",
    "resolution": "add resolution: what is being done, or may be",
    "timeframe": "add timeframe: unknown, 30m, 1h to 2h, or by 14:00",
}
