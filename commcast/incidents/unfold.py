"""Turns a written file into an incident; each update carries forward what was said before."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
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
    SHORT_OF,
    AudienceWords,
    Confidence,
    Incident,
    Kind,
    Status,
    Timeframe,
    Update,
    Window,
    needed_at,
)
from commcast.model.times import is_clock_time, parse_instant, parse_promise, parse_timeframe

Result = TypeVar("Result")
# By incident and update, when an update was released whose file does not say so, because it could not be
# written there.
ReleasedAt = Mapping[tuple[str, int], datetime]


_CLOCK_SKEW = timedelta(minutes=15)  # how far ahead of ours a writer's clock may be
_FIRST_STATUS = {Kind.INCIDENT: Status.INVESTIGATING, Kind.MAINTENANCE: Status.SCHEDULED}
_STATUSES = {Kind.INCIDENT: INCIDENT_STATUSES, Kind.MAINTENANCE: MAINTENANCE_STATUSES}
_OVER = frozenset({Status.RESOLVED, Status.COMPLETED})
_NOT_BEGUN = END_STATUSES | {Status.EXPECTED}
_OF_THE_FILE = ("severity", "affected", "audiences", "owner", "backup")
# Closed by an end, written again at a reopening.
_SAID_AFRESH = (*AudienceWords.model_fields, "short", "link", "offer", "offer_public")
_AS_WRITTEN = (
    *("nothing_new", "internal", "cause", "fixed", "remains", "if_it_persists", "change", "because"),
    *("wrong", "right"),
)
# What one entry writes for single audiences, or in other languages; None takes back what earlier ones wrote.
_Own = dict[str, dict[str, str | None] | None]


@dataclass(slots=True)
class _Said:
    """What the updates so far have said, for the next one to carry forward.

    `stretch` is the timeframe as written, if it counts from when an expected incident begins.
    """

    values: dict[str, Any] = field(default_factory=dict)
    at: datetime | None = None
    status: Status | None = None
    ended: bool = False
    timeframe: Timeframe | None = None
    stretch: str | None = None
    window: Window | None = None
    expected_at: datetime | None = None
    words: dict[str, dict[str, str]] = field(default_factory=dict)
    translations: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(slots=True)
class Unfolding:
    """One file on its way to an incident; `faults` collects everything wrong with it.

    `stem`, the file's name, is the id if the file has none.
    """

    document: YamlDocument
    config: Config
    now: datetime
    written: IncidentFile
    spoiled: frozenset[Loc]
    stem: str
    released_at: ReleasedAt
    faults: list[Fault] = field(default_factory=list)
    said: _Said = field(default_factory=_Said)

    @property
    def zone(self) -> ZoneInfo:
        return self.config.zone

    def incident(self) -> Incident | None:
        """Return the incident, None if anything is wrong."""
        written = self.written
        self._names((), written)
        self.said.values = {key: getattr(written, key) for key in _OF_THE_FILE}
        self.said.window = self._window((), written.window)
        self.said.expected_at = self._moment(("expected_at",), written.expected_at)
        updates = [self._update(number, entry) for number, entry in enumerate(written.updates, 1)]
        started = self._started(updates)
        self._check_ends(updates, started)
        if self.faults or self.spoiled or None in updates:
            self._id()
            return None
        return Incident(
            id=self._id(),
            path=self.document.name,
            title=written.title,
            translations={tag: each.model_dump() for tag, each in (written.translations or {}).items()},
            kind=written.kind,
            started=started,
            started_written=written.started is not None,
            updates=tuple(update for update in updates if update is not None),
            postmortem=written.postmortem,
        )

    def _fault(self, loc: Loc, what: str, remedy: str, *, key: bool = False) -> None:
        self.faults.append(self.document.fault(loc, what, remedy, key=key))

    def _moment(self, loc: Loc, text: str | None) -> datetime | None:
        """Return the moment that a text names, None for no text or a wrong one, which is noted at `loc`."""
        return None if text is None else self._attempt(loc, parse_instant, text, self.zone)

    def _attempt(self, loc: Loc, read: Callable[..., Result], *given: Any) -> Result | None:
        """Return what `read` makes of a text, or note its complaint at `loc`."""
        try:
            return read(*given)
        except ValueError as error:
            what, _, remedy = str(error).partition("; ")
            self._fault(loc, f"{loc[-1]}: {what}", remedy)
            return None

    def _id(self) -> str:
        if self.written.id:
            return self.written.id
        if not re.fullmatch(ID_PATTERN, self.stem) and ("id",) not in self.spoiled:
            what = f"the file's name {self.stem!r:.60} cannot be an id"
            self._fault((), what, "rename it (a-z, 0-9, -), or add id: …")
        return self.stem

    def _started(self, updates: list[Update | None]) -> datetime:
        # While it was only expected, it had not begun.
        begun = [each for each in updates if each and each.status not in _NOT_BEGUN]
        first = (begun or updates)[0].at if updates[0] else self.now  # type: ignore[union-attr]
        if self.written.started is None:
            return first
        started = self._moment(("started",), self.written.started) or first
        if started > first and self.written.kind is Kind.INCIDENT and updates[0]:
            self._fault(("started",), "started is after the first update", "write when it began")
        return started

    def _check_ends(self, updates: list[Update | None], started: datetime) -> None:
        if self.written.started is None and self.written.updates[0].at is None:
            return  # nobody said when it began, and nothing was sent yet: the first update is from now
        reopened: datetime | None = None
        for update in updates:
            if update is None:
                continue
            reopened = update.at if update.status is Status.REOPENED else reopened
            loc = ("updates", update.number - 1, "ended")
            # Its `at` may have seconds, which nobody types.
            if update.ended and reopened and update.ended < reopened.replace(second=0, microsecond=0):
                what = f"ended is before it was reopened, at {reopened.astimezone(self.zone):%Y-%m-%dT%H:%M}"
                self._fault(loc, what, "write when it ended this time, or leave it out")
            elif update.ended and update.ended < started and self.written.kind is Kind.INCIDENT:
                if self.written.started is None:
                    self._fault(loc, "ended is before the first update", "add started: when it began")
                else:
                    self._fault(loc, "ended is before it started", "write when it ended")

    def _update(self, number: int, entry: UpdateEntry) -> Update | None:
        loc: Loc = ("updates", number - 1)
        before = len(self.faults)
        self._names(loc, entry)
        at = self._at(loc, entry)
        status = self._status(loc, entry)
        self._carry(loc, entry, number, status)
        window = self.said.window = self._window(loc, entry.window) or self.said.window
        was_expected = self.said.expected_at if self.said.status is Status.EXPECTED else None
        expected_at = self._expected_at(loc, entry, status, at)
        # How long a storm takes is counted from when it comes.
        begins = max(expected_at or at, at)
        if was_expected and expected_at and was_expected != expected_at:
            self._move_estimate(begins)
        timeframe = self._timeframe(loc, entry, begins, status)
        promise = self._promise(loc, entry, at, status)
        ended = self._ended(loc, entry, at, status)
        self._corrects(loc, entry, number)
        offer, offer_name = self._offer(loc, entry)
        if entry.urgent and self.written.kind is not Kind.MAINTENANCE:
            self._fault((*loc, "urgent"), "only a maintenance is urgent", "remove the line", key=True)
        words = _own(entry, "words", self.said.words)
        translations = _own(entry, "translations", self.said.translations)
        self._put_in_force(entry, status, words, translations)
        self.said.status, self.said.ended = status, status in END_STATUSES
        if len(self.faults) > before or any(place[:2] == loc for place in self.spoiled) or timeframe is None:
            return None
        said = self.said.values
        is_over = status in END_STATUSES
        update = Update(
            number=number,
            line=self.document.place(loc)[0],
            at=at,
            at_written=entry.at is not None,
            status=status,
            affected=tuple(said["affected"] or ()),
            audiences=None if said["audiences"] is None else tuple(said["audiences"]),
            owner_named=entry.owner is not None,
            issue=entry.issue or (entry.fixed if status in _OVER else None) or said.get("issue", ""),
            # What was being done, and what readers should do meanwhile, no longer applies.
            resolution=(entry.resolution or "") if is_over else said.get("resolution", ""),
            timeframe=timeframe,
            **{key: getattr(entry, key) if is_over else said.get(key) for key in ("action", "short")},
            next_update=promise,
            next_clock=entry.next_update if is_clock_time(entry.next_update) else "",
            offer=offer,
            offer_name=offer_name,
            words={name: AudienceWords(**(each or {})) for name, each in words.items()},
            words_in_force={name: AudienceWords(**each) for name, each in self.said.words.items()},
            translations={tag: _without_nones(each or {}) for tag, each in translations.items()},
            translations_in_force=self.said.translations,
            window=window,
            ended=ended,
            corrects=_numbers(entry.corrects),
            expected_at=expected_at,
            merged_into=entry.merged_into,
            check_in=tuple(entry.check_in or ()),
            **{key: bool(said.get(key)) for key in ("urgent", "offer_public")},
            **{key: said.get(key) for key in ("severity", "owner", "backup")},
            **{key: said.get(key) for key in ("scope", "works", "data", "link")},
            **{key: getattr(entry, key) for key in _AS_WRITTEN},
        )
        for tag, key in ((tag, key) for tag, each in update.translations.items() for key in each):
            if not getattr(update, key):
                what = f"translations: {tag} has {key}, which this update does not say"
                remedy = f"write {key}, or remove the line"
                self._fault((*loc, "translations", tag, key), what, remedy, key=True)
        return update

    def _offer(self, loc: Loc, entry: UpdateEntry) -> tuple[str | None, str]:
        """Return what may be offered, and its row of [offers] in commcast.toml, "" if it is written out."""
        offers: Mapping[str, str] = self.config.offers
        written: str | None = self.said.values.get("offer")
        if entry.offer and written not in offers and re.fullmatch(ID_PATTERN, entry.offer):
            known = f", or use one of {', '.join(list(offers)[:20])}" if offers else ""
            what = f"offer: no {entry.offer} in [offers] of commcast.toml"
            self._fault((*loc, "offer"), what, f"add it{known}, or write a sentence")
        return (offers[written], written) if written and written in offers else (written, "")

    def _names(self, loc: Loc, entry: IncidentFile | UpdateEntry) -> None:
        """Note each audience, component and person of an entry that is not in the configuration.

        Components are checked only if it has any.
        """
        config = self.config
        named: list[tuple[Loc, Any, Mapping[str, Any], str]] = []
        for key, known in (("audiences", config.audiences), ("affected", config.components)):
            table = "audiences" if key == "audiences" else "components"
            names = enumerate(getattr(entry, key) or ()) if known or key == "audiences" else ()
            named += [((key, n), name, known, table) for n, name in names]
        named += [((key,), getattr(entry, key), config.people, "people") for key in ("owner", "backup")]
        words = getattr(entry, "words", None) or ()
        named += [(("for", name), name, config.audiences, "audiences") for name in words]
        for below, name, known, table in named:
            if name is not None and name not in known:
                what = f"{below[0]}: no [{table}.{name:.60}] in commcast.toml"
                remedy = "add it" + (f", or use one of {', '.join(list(known)[:20])}" if known else "")
                self._fault((*loc, *below), what, remedy, key=True)

    def _window(self, loc: Loc, window: WindowWritten | None) -> Window | None:
        """Return the window written at `loc`, None if there is none or it is wrong, which is noted."""
        written = self.written
        if window is None:
            is_missing = written.kind is Kind.MAINTENANCE and written.updates[0].window is None and not loc
            if is_missing and not any("window" in place for place in self.spoiled):
                self._fault((), "'window' is missing: a maintenance needs it", "add window: {from: …, to: …}")
            return None
        loc = (*loc, "window")
        if written.kind is not Kind.MAINTENANCE:
            self._fault(loc, "only a maintenance has a window", "add kind: maintenance", key=True)
            return None
        start, end = self._moment((*loc, "from"), window.start), self._moment((*loc, "to"), window.end)
        if start is None or end is None:
            return None
        if end <= start:
            self._fault((*loc, "to"), "the window ends before it begins", "write a later time")
            return None
        return Window(start=start, end=end)

    def _at(self, loc: Loc, entry: UpdateEntry) -> datetime:
        """Return the update's time; if it is not released yet, the time of reading."""
        earlier = self.said.at
        loc = (*loc, "at")
        released = self.released_at.get((self.written.id or self.stem, int(loc[1]) + 1))
        if entry.at is None:
            at = released or (max(self.now, earlier) if earlier else self.now)
        else:
            written = self._moment(loc, entry.at)
            if written is None:
                return earlier or self.now
            at = written
            self._check_order(loc, at, earlier, released)
        self.said.at = at
        return at

    def _check_order(self, loc: Loc, at: datetime, earlier: datetime | None, released: object) -> None:
        # What is released, as earlier updates may be, is not refused because a clock was set back.
        is_last = loc[1] == len(self.written.updates) - 1
        if is_last and not released and at > self.now + _CLOCK_SKEW:
            self._fault(loc, "at is in the future", "write when it was sent, or leave `at` out")
        elif earlier and at < earlier:
            self._fault(loc, "at is before the update above it", "keep updates in order of time")

    def _status(self, loc: Loc, entry: UpdateEntry) -> Status:
        kind, before = self.written.kind, self.said.status
        status = entry.status or before or _FIRST_STATUS[kind]
        where = (*loc, "status") if entry.status else loc
        if status not in _STATUSES[kind]:
            known = ", ".join(sorted(_STATUSES[kind]))
            self._fault(where, f"{status} is not a status of kind {kind}", f"write one of {known}")
        elif self.said.ended and status is not Status.REOPENED and not (entry.corrects and status is before):
            remedy = "write status: reopened, or a new file; for a review, postmortem: at the top"
            self._fault(where, f"only reopened may follow {before}", remedy)
        elif status is Status.REOPENED and before is not Status.REOPENED and not self.said.ended:
            remedy = "write investigating, identified or monitoring"
            self._fault(where, "reopened may only follow an end", remedy)
        return status

    def _carry(self, loc: Loc, entry: UpdateEntry, number: int, status: Status) -> None:
        """Adopt what this update says; note what is missing in the first one, and in one after an end."""
        afresh = number == 1 or (self.said.ended and status is Status.REOPENED)
        if afresh:
            for key in _SAID_AFRESH:
                self.said.values.pop(key, None)
            self.said.timeframe = None
        if entry.model_fields_set & SHORT_OF:
            self.said.values.pop("short", None)
        for key in entry.model_fields_set.intersection((*_OF_THE_FILE, *_SAID_AFRESH, "urgent")):
            self.said.values[key] = getattr(entry, key)
        for key in needed_at(status) if afresh and ("updates",) not in self.spoiled else ():
            if getattr(entry, key) is None and (*loc, key) not in self.spoiled:
                why = "the first update needs it" if number == 1 else "it is needed again after an end"
                self._fault(loc, f"'{key}' is missing: {why}", _HOW[key])

    def _put_in_force(self, entry: UpdateEntry, status: Status, words: _Own, translations: _Own) -> None:
        """Keep what single audiences read, and other languages, for this update and the next.

        It holds until the sentence that it stands for is written anew or says nothing any more, or until it
        is taken back.
        """
        anew = {*entry.model_fields_set, *_AS_WRITTEN}
        if anew & SHORT_OF:
            anew.add("short")
        if status in END_STATUSES:
            anew |= {"resolution", "action", "short", *(["issue"] if status in _OVER and entry.fixed else [])}
        if self.said.ended and status is Status.REOPENED:
            anew.update(_SAID_AFRESH)
        self.said.words = _in_force(self.said.words, words, anew)
        self.said.translations = _in_force(self.said.translations, translations, anew)

    def _timeframe(self, loc: Loc, entry: UpdateEntry, at: datetime, status: Status) -> Timeframe | None:
        said, window = self.said, self.said.window
        if entry.timeframe is not None:
            confidence, loc = entry.confidence or Confidence.LOW, (*loc, "timeframe")
            found = self._attempt(loc, parse_timeframe, entry.timeframe, at, self.zone, confidence)
            said.timeframe = found
            said.stretch = None if entry.timeframe.startswith("by ") else entry.timeframe
            if window and found and found.latest and not window.start <= found.latest <= window.end:
                remedy = "leave it out: the window says it"
                if status not in (Status.SCHEDULED, Status.RESCHEDULED):
                    remedy += ", or write status: extended and the new window"
                self._fault(loc, "timeframe ends outside the window", remedy)
            return found
        if entry.confidence and (*loc, "timeframe") not in self.spoiled:
            self._fault((*loc, "confidence"), "confidence without a timeframe", "add timeframe: …")
        if entry.window is not None or "timeframe" in entry.taken_back:
            # It was about the earlier window, or is taken back.
            said.stretch, said.timeframe = None, None if window else Timeframe()
        if said.timeframe is None and window is not None:
            return Timeframe(latest=window.end)  # a maintenance lasts as long as its window
        return said.timeframe or Timeframe()

    def _move_estimate(self, begins: datetime) -> None:
        """Move the estimate of something expected whose start has moved.

        A length of time ("2h") counts from the new start; a moment before the new start is dropped.
        """
        estimate, stretch = self.said.timeframe, self.said.stretch
        if estimate is None or estimate.latest is None:
            return
        if stretch is not None:
            self.said.timeframe = parse_timeframe(stretch, begins, self.zone, estimate.confidence)
        elif estimate.latest <= begins:
            self.said.timeframe = Timeframe(confidence=estimate.confidence)

    def _promise(self, loc: Loc, entry: UpdateEntry, at: datetime, status: Status) -> datetime | None:
        if entry.next_update is None:
            return None
        if status in END_STATUSES:
            self._fault((*loc, "next_update"), f"no update can follow {status}", "remove the line")
            return None
        return self._attempt((*loc, "next_update"), parse_promise, entry.next_update, at, self.zone)

    def _ended(self, loc: Loc, entry: UpdateEntry, at: datetime, status: Status) -> datetime | None:
        loc = (*loc, "ended")
        if entry.ended is None:
            return at if status in _OVER else None
        if status not in END_STATUSES:
            self._fault(loc, f"ended in an update that is {status}", "write status: resolved, or remove it")
        ended = self._moment(loc, entry.ended)
        if ended is not None and ended > at:
            self._fault(loc, "ended is after its own update", "write when it ended")
        return ended

    def _corrects(self, loc: Loc, entry: UpdateEntry, number: int) -> None:
        for corrected in _numbers(entry.corrects):
            if corrected >= number:
                what = f"no earlier update {corrected}"
                self._fault((*loc, "corrects"), what, "write the number of an update above")

    def _expected_at(self, loc: Loc, entry: UpdateEntry, status: Status, at: datetime) -> datetime | None:
        """Return when something expected begins: as said here, before, or at the top of the file."""
        if entry.expected_at is not None:
            loc = (*loc, "expected_at")
            found = self.said.expected_at = self._moment(loc, entry.expected_at)
            if status is Status.EXPECTED and found is not None and found <= at:
                self._fault(loc, "expected_at is not after its own update", "write when it will begin")
        return self.said.expected_at if status is Status.EXPECTED else None


def _own(entry: UpdateEntry, key: str, before: Mapping[str, object]) -> _Own:
    if key in entry.taken_back:
        return dict.fromkeys(before)
    written = (getattr(entry, key) or {}).items()
    return {name: each.model_dump(exclude_unset=True) if each else None for name, each in written}


def _in_force(before: Mapping[str, dict[str, str]], own: _Own, anew: set[str]) -> dict[str, dict[str, str]]:
    """Return what holds on of earlier words, without sentences that are written anew, and an entry's own."""
    found = {}
    for name in dict.fromkeys((*before, *own)):
        kept = {key: text for key, text in before.get(name, {}).items() if key not in anew}
        said = own.get(name, {})
        found[name] = {} if said is None else _without_nones({**kept, **said})
    return {name: words for name, words in found.items() if words}


def _without_nones(words: Mapping[str, str | None]) -> dict[str, str]:
    return {key: text for key, text in words.items() if text is not None}


def _numbers(corrects: int | list[int] | None) -> tuple[int, ...]:
    return () if corrects is None else (corrects,) if isinstance(corrects, int) else tuple(corrects)


_HOW = {
    "issue": "add issue: what readers see, in their words",
    "resolution": "add resolution: what is being done",
}
