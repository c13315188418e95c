"""What lies ahead, as an incident file says it: the window of planned work, when something is expected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo

from commcast.incidents.written import IncidentFile, WindowWritten
from commcast.incidents.yamldocument import Loc
from commcast.instants import parse_instant, parse_timeframe
from commcast.model import Kind, Status, Timeframe, Window

Result = TypeVar("Result")


class Reading(Protocol):
    """A file that is being read: what is wrong is noted at its place."""

    written: IncidentFile
    spoiled: frozenset[Loc]

    @property
    def zone(self) -> ZoneInfo: ...
    def fault(self, loc: Loc, what: str, remedy: str = "", *, key: bool = False) -> None: ...
    def attempt(self, loc: Loc, read: Callable[..., Result], *given: Any) -> Result | None: ...


def read_window(reading: Reading, loc: Loc, window: WindowWritten | None) -> Window | None:
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
    reading: Reading, loc: Loc, window: Window | None, timeframe: Timeframe | None, status: Status
) -> None:
    """Note an estimate that the window of planned work does not hold."""
    if window is None or timeframe is None or timeframe.latest is None:
        return
    if not window.start <= timeframe.latest <= window.end:
        remedy = "leave it out: the window says it"
        if status not in (Status.SCHEDULED, Status.RESCHEDULED):
            remedy += ", or write status: extended and the new window"
        reading.fault((*loc, "timeframe"), "timeframe ends outside the window", remedy)


def read_expected(reading: Reading, loc: Loc, text: str, status: Status, at: datetime) -> datetime | None:
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


def _check_not_missing(reading: Reading) -> None:
    written = reading.written
    is_needed = written.kind is Kind.MAINTENANCE and written.updates[0].window is None
    if is_needed and not any("window" in place for place in reading.spoiled):
        reading.fault((), "'window' is missing: a maintenance needs it", "add window: {from: …, to: …}")
