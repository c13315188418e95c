"""When somebody can be called: "Mon-Fri 08:00-18:00, Sat 09:00-12:00", as the clocks of a zone show it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "(" + "|".join(_DAYS) + ")"
_CLOCK = r"(\d{1,2}):(\d\d)"
_PART = re.compile(rf"{_DAY}(?:\s?[-–]\s?{_DAY})?\s+{_CLOCK}\s?[-–]\s?{_CLOCK}", re.ASCII | re.IGNORECASE)
_ALWAYS = "24/7"
_DAY_LONG = 24 * 60
_HOW = 'write "Mon-Fri 08:00-18:00, Sat 09:00-12:00", or "24/7"'


class OpenSpan(NamedTuple):
    """One stretch of open hours: from `start` to `end` minutes after a `weekday` (0 is Monday) begins.

    `end` is after `start`, and beyond 1440 if it is on the next day.
    """

    weekday: int
    start: int
    end: int


def parse_hours(text: str) -> tuple[OpenSpan, ...]:
    """Return the open hours that a text names; none for "" and "24/7", which leave nothing closed.

    Raises ValueError for anything else than days with hours.
    """
    if text.strip() in {"", _ALWAYS}:
        return ()
    return tuple(sorted({span for part in text.split(",") for span in _spans(part.strip())}))


def _spans(part: str) -> Iterator[OpenSpan]:
    found = _PART.fullmatch(part)
    if not found:
        raise ValueError(f"{part!r:.60} is not a day with its hours; {_HOW}")
    first, last = (_DAYS.index(day.lower()) for day in (found[1], found[2] or found[1]))
    start, end = _minutes(found[3], found[4]), _minutes(found[5], found[6])
    if start in {end, _DAY_LONG}:
        raise ValueError(f"{part!r:.60} is open for no time; {_HOW}")
    for day in range((last - first) % 7 + 1):
        yield OpenSpan((first + day) % 7, start, end if end > start else end + _DAY_LONG)


def _minutes(hour: str, minute: str) -> int:
    minutes = int(hour) * 60 + int(minute)
    if int(minute) > 59 or minutes > _DAY_LONG:
        raise ValueError(f"{hour}:{minute} is not a time of day; {_HOW}")
    return minutes


def opens_at(spans: tuple[OpenSpan, ...], now: datetime, zone: tzinfo) -> datetime | None:
    """Return when it next opens, aware; None while it is open, and if it is never closed.

    A clock time that a night leaves out counts from the clock before it; of one that comes twice, the first
    counts (RFC 5545).
    """
    today = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    openings = []
    for day in (today + timedelta(days=count) for count in range(-2, 9)):
        for span in (each for each in spans if each.weekday == day.weekday()):
            start, end = (_instant(day + timedelta(minutes=each), zone) for each in span[1:])
            if start <= now < end:
                return None
            openings.append(start)
    return min((each for each in openings if each > now), default=None)


def _instant(wall: datetime, zone: tzinfo) -> datetime:
    naive = wall.replace(tzinfo=zone)
    return (naive - (naive.utcoffset() or timedelta())).replace(tzinfo=UTC).astimezone(zone)
