"""Points in time as readers see them: a clock time that names its zone, and the same moment in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

# Written out here: strftime would follow the locale of the machine that happens to send.
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LETTERS = re.compile(r"[A-Z]{2,6}")


def moment(at: datetime, zone: ZoneInfo, reference: datetime | None) -> dict[str, str]:
    """Return the aware time `at` in the forms that templates use, cut to the minute, in English.

    iso    2026-11-21T11:05:00+01:00
    clock  11:05 CET
    both   11:05 CET (10:05 UTC)
    full   Sat 21 Nov 2026, 11:05 CET (10:05 UTC)
    sms    11:05 CET

    `both` and `sms` name the day where it differs, in `zone`, from the day of `reference` (when the reader is
    told), or where there is no reference. UTC is not said twice. Raises ValueError for a time without a zone.
    """
    if at.utcoffset() is None:
        raise ValueError("a time without a zone cannot be shown; pass an aware datetime")
    local = at.astimezone(zone)
    clock = f"{local:%H:%M} {_abbreviation(local)}"
    both = clock + _in_utc(local)
    day = _day_unless_same(local, reference.astimezone(zone) if reference else None)
    return {
        "iso": local.isoformat(timespec="seconds"),
        "clock": clock,
        "both": f"{day}, {both}" if day else both,
        "full": f"{_day(local)} {local.year}, {both}",
        "sms": f"{day} {clock}" if day else clock,
    }


def span(start: datetime, end: datetime, zone: ZoneInfo, reference: datetime | None) -> dict[str, str]:
    """Return the aware times `start` and `end` as one stretch of time, as `moment` shows one, in English.

    both     11:05 to 12:05 CET (10:05 to 11:05 UTC)
    between  between 11:05 and 12:05 CET (10:05 to 11:05 UTC)
    full     Sat 21 Nov 2026, 11:05 to 12:05 CET (10:05 to 11:05 UTC)
    sms      11:05 to 12:05 CET

    The end's day is named where it is not the start's, and the zone's letters once unless its clocks change
    in between. Raises ValueError for a time without a zone.
    """
    if start.utcoffset() is None or end.utcoffset() is None:
        raise ValueError("a time without a zone cannot be shown; pass an aware datetime")
    first, last = start.astimezone(zone), end.astimezone(zone)
    letters = _abbreviation(first)
    begin = f"{first:%H:%M}" if letters == _abbreviation(last) else f"{first:%H:%M} {letters}"
    finish = f"{last:%H:%M} {_abbreviation(last)}"
    day = _day_unless_same(first, reference.astimezone(zone) if reference else None)
    other = _day_unless_same(last, first)
    until = f"{other}, {finish}" if other else finish
    utc = _both_in_utc(first, last)
    from_day = f"{day}, {begin}" if day else begin
    if day and not other:
        between = f"on {day} between {begin} and {until}"
    else:
        between = f"between {from_day} and {until}"
    return {
        "both": f"{from_day} to {until}{utc}",
        "between": between + utc,
        "full": f"{_day(first)} {first.year}, {begin} to {until}{utc}",
        "sms": f"{day} {begin} to ".lstrip() + f"{other} {finish}".lstrip(),
    }


def _day(local: datetime) -> str:
    return f"{_WEEKDAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]}"


def _day_unless_same(local: datetime, reference: datetime | None) -> str:
    if reference is None:
        return _day(local)
    if local.date() == reference.date():
        return ""
    return _day(local) if local.year == reference.year else f"{_day(local)} {local.year}"


def _abbreviation(local: datetime) -> str:
    """Return the zone's letters, or its distance from UTC: many zones have only that ("+04" in tzdata)."""
    name = local.tzname() or ""
    if _LETTERS.fullmatch(name):
        return name
    minutes = int((local.utcoffset() or timedelta()).total_seconds() // 60)
    hours, rest = divmod(abs(minutes), 60)
    sign = "-" if minutes < 0 else "+"
    return f"UTC{sign}{hours}:{rest:02d}" if rest else f"UTC{sign}{hours}"


def _in_utc(local: datetime) -> str:
    if _abbreviation(local) == "UTC":
        return ""
    utc = local.astimezone(UTC)
    day = "" if utc.date() == local.date() else f"{_WEEKDAYS[utc.weekday()]} "
    return f" ({day}{utc:%H:%M} UTC)"


def _both_in_utc(first: datetime, last: datetime) -> str:
    if _abbreviation(first) == _abbreviation(last) == "UTC":
        return ""
    start, end = first.astimezone(UTC), last.astimezone(UTC)
    day = "" if start.date() == first.date() else f"{_WEEKDAYS[start.weekday()]} "
    other = "" if end.date() == start.date() else f"{_WEEKDAYS[end.weekday()]} "
    return f" ({day}{start:%H:%M} to {other}{end:%H:%M} UTC)"
