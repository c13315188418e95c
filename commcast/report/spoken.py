"""Times, lengths and counts as a report says them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Clock:
    """Shows times on the desk's clock; the day is named where the story is longer than one day."""

    def __init__(self, zone: ZoneInfo, moments: Iterable[datetime]) -> None:
        self.zone = zone
        self._days = {at.astimezone(zone).date() for at in moments}

    def time(self, at: datetime) -> str:
        """Return such as 10:24, or 21 Nov 10:24; a day on which nothing of the story was is named always."""
        local = at.astimezone(self.zone)
        return f"{local:%H:%M}" if self._days == {local.date()} else f"{self.day(at)} {local:%H:%M}"

    def day(self, at: datetime) -> str:
        local = at.astimezone(self.zone)
        return f"{local.day} {MONTHS[local.month - 1]}"

    def full(self, at: datetime) -> str:
        local = at.astimezone(self.zone)
        return f"{self.day(at)} {local.year}, {local:%H:%M}"

    def letters(self, at: datetime) -> str:
        """Return what the zone calls itself then, such as CET."""
        return at.astimezone(self.zone).tzname() or self.zone.key

    def hour_or_day(self, at: datetime, before: datetime | None) -> str:
        """Return what names a moment on an axis: its hour, or the day where that is another than `before`."""
        local = at.astimezone(self.zone)
        is_new = before is None or before.astimezone(self.zone).date() != local.date()
        return self.day(at) if is_new and len(self._days) > 1 else f"{local:%H:%M}"


def length(span: timedelta) -> str:
    """Return a length to the minute: 34 min, 1 h 16 min, 2 d 3 h."""
    minutes = int(span.total_seconds() // 60)
    if minutes < 1:
        return "under 1 min"
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def roughly(span: timedelta) -> str:
    """Return a length in its largest unit alone: 6 d, 23 h."""
    hours = span / timedelta(hours=1)
    return f"{hours / 24:.0f} d" if hours >= 36 else f"{hours:.0f} h"


def many(count: int, word: str) -> str:
    """Return a number with its word: 1 promise, 15 promises."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
