"""Moments and lengths of time: read as people write them, shown as readers see them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, TypeGuard
from zoneinfo import ZoneInfo

from pytimeparse.timeparse import timeparse as read_seconds

from commcast.model.incident import Confidence, Timeframe, Window

if TYPE_CHECKING:
    from babel import Locale

# Only what cannot be misread: "90" has no unit and "1:30" may be minutes or hours.
_DURATION = re.compile(r"(?i)\s*(?:\d+(?:\.\d+)?\s*(?:[wdhms]|mins?|(?:minute|hour|day|week)s?)\s*)+")
_LONGEST = timedelta(days=366)


def parse_duration(text: str) -> timedelta:
    """Return the length that `text` means.

    Raises ValueError, with what to write instead, for anything but a number with a unit, repeated.
    """
    is_length = isinstance(text, str) and len(text) <= 40 and _DURATION.fullmatch(text)
    seconds = read_seconds(text.strip()) if is_length else None
    if not seconds:
        raise ValueError(f"{text!r:.40} is not a length of time; write 20m, 1h30m or 2d")
    if seconds > _LONGEST.total_seconds():  # checked first: a timedelta can't hold any number
        raise ValueError(f"{text!r} is longer than a year; write a shorter time")
    return timedelta(seconds=seconds)


def is_past(promised: datetime, now: datetime) -> bool:
    """Return whether a promise has passed by `now`: readers see minutes, so within its minute it is kept."""
    return promised.replace(second=0, microsecond=0) < now.replace(second=0, microsecond=0)


def short_duration(length: timedelta) -> str:
    """Return `length` as it is written in files: 20m, 1h30m, 2d. Below a minute: seconds."""
    parts = "".join(f"{count}{unit[0]}" for count, unit in _units(length))
    return parts or f"{int(length.total_seconds())}s"


def spoken_duration(length: timedelta, language: str = "en") -> str:
    """Return `length` to the minute in words: "2 hours 5 minutes", "less than a minute"."""
    parts = [_counted(count, unit, language) for count, unit in _units(length)]
    return " ".join(parts) or _words(language)[1]


def brief_duration(length: timedelta, language: str = "en") -> str:
    """Return `length` as it stands in brackets, in its two largest units: "1 h 33 min", "2 days 3 h"."""
    short = {"hour": "h", "minute": "min"}  # the same in every language
    parts = [
        f"{n} {short[unit]}" if unit in short else _counted(n, unit, language) for n, unit in _units(length)
    ]
    return " ".join(parts[:2]) or _words(language)[1]


def _units(length: timedelta) -> list[tuple[int, str]]:
    """Return how many days, hours and minutes a length has, without those it has none of."""
    hours, minutes = divmod(max(int(length.total_seconds()), 0) // 60, 60)
    counts = (*divmod(hours, 24), minutes)
    return [(count, unit) for count, unit in zip(counts, ("day", "hour", "minute"), strict=True) if count]


FIRST_YEAR, LAST_YEAR = 2000, 2100
_INSTANT = re.compile(
    r"(?P<date>[0-9]{4,6}-[0-9]{1,2}-[0-9]{1,2})[T ]"
    r"(?P<clock>[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)"
    r" ?(?P<offset>Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_CLOCK_AND_OFFSET = re.compile(r"([0-9]{1,2}:[0-9]{2}) ?(Z|[+-][0-9]{2}:?[0-9]{2})")
_HOW = "write it as 2026-11-21T10:05+01:00"
_HOW_WINDOW = 'write "2026-12-05 02:00/04:00", or "2026-12-05 22:00/2026-12-06 02:00"'


def parse_instant(text: str, zone: ZoneInfo | None) -> datetime:
    """Return the moment that `text` names: 2026-11-21T10:05+01:00, …Z; seconds optional, T may be a space.

    A time without offset is in `zone`; with no zone it is refused. Raises ValueError("what; what to write").
    """
    found = _INSTANT.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r:.60} is not a date and time; {_HOW}")
    local = _local(text, found["date"], found["clock"])
    if found["offset"]:
        return local.replace(tzinfo=_offset(text, found["offset"]))
    if zone is None:
        raise ValueError(f"{text} has no offset from UTC; write {text}+01:00 or {text}Z")
    return in_zone(local, zone)


def is_clock_time(text: str | None) -> TypeGuard[str]:
    """Return whether `text` is written as a time of day without its date: "14:00"."""
    return text is not None and _CLOCK.fullmatch(text) is not None


def parse_clock_time(text: str, after: datetime, zone: ZoneInfo) -> datetime:
    """Return the first moment after `after` at which clocks in `zone` show `text` ("14:00").

    Raises ValueError if `text` is not a clock time, or if that day has no such time, or has it twice.
    """
    found = _CLOCK.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r:.40} is not a clock time; write 14:00")
    if int(found[1]) > 23 or int(found[2]) > 59:
        raise ValueError(f"{text} is not a clock time; write 00:00 to 23:59")
    clock, day = time(int(found[1]), int(found[2])), after.astimezone(zone).date()
    for _ in range(3):
        local = datetime.combine(day, clock)
        # A day on which that time is over doesn't count, even if its clocks skipped it or showed it twice.
        if any(_at_offset(local.replace(tzinfo=zone, fold=fold)) > after for fold in (0, 1)):
            moment = in_zone(local, zone)
            if moment > after:
                return moment
        day += timedelta(days=1)
    raise ValueError(f"{text} is too far away; write the date too")  # pragma: no cover


def parse_window(text: str, after: datetime, zone: ZoneInfo) -> Window:
    """Return the stretch of time that `text` names: 2026-12-05 02:00/04:00, or with a date at its end too.

    A start without a date is the first such time after `after`, an end without one the first after the start.
    Raises ValueError("what; what to write"), also if it ends before it begins.
    """
    first, _, last = (part.strip() for part in text.partition("/"))
    if not first or not last:
        raise ValueError(f"{text!r:.60} is not a window; {_HOW_WINDOW}")
    start = parse_clock_time(first, after, zone) if _CLOCK.fullmatch(first) else parse_instant(first, zone)
    end = parse_end(last, start, zone)
    if end <= start:
        raise ValueError("the window ends before it begins; write a later end, with its date")
    return Window(start=start, end=end)


def parse_end(text: str, start: datetime, zone: ZoneInfo) -> datetime:
    """Return when something that begins at `start` ends: 04:00 after it, 04:00+01:00, or a date and time.

    Raises ValueError("what; what to write").
    """
    if found := _CLOCK_AND_OFFSET.fullmatch(text):
        day = start.astimezone(_offset(text, found[2])).date()
        moments = (parse_instant(f"{day + timedelta(days=n)} {found[1]}{found[2]}", None) for n in (0, 1))
        return next(moment for moment in moments if moment > start)
    if not _CLOCK.fullmatch(text):
        return parse_instant(text, zone)
    end = parse_clock_time(text, start, zone)
    if end.astimezone(zone).time() == start.astimezone(zone).time():
        raise ValueError(f"{text} is when it begins; write a later end, with its date")
    return end


def at_offset_of(zone: ZoneInfo, moment: datetime) -> datetime:
    """Return the same moment as clocks in `zone` show it, with their offset from UTC but not their rules.

    Python adds and compares times of one zone as its clocks show them: an hour too much or too little in the
    nights when they change.
    """
    return _at_offset(moment.astimezone(zone))


def _at_offset(moment: datetime) -> datetime:
    offset = moment.utcoffset()
    assert offset is not None  # noqa: S101 - aware, as all times here
    return moment.replace(tzinfo=timezone(offset), fold=0)


def in_zone(local: datetime, zone: ZoneInfo) -> datetime:
    """Return a naive local time as a moment. Raises ValueError if the clocks skip it or show it twice."""
    early, late = local.replace(tzinfo=zone), local.replace(tzinfo=zone, fold=1)
    if early.utcoffset() == late.utcoffset():
        return _at_offset(early)
    text = local.strftime("%Y-%m-%dT%H:%M")
    if early.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != local:
        what = f"{text} does not exist in {zone.key}, because the clocks go forward"
        raise ValueError(f"{what}; write the offset, or another time")
    choices = " or ".join(f"{text}{moment.isoformat()[-6:]}" for moment in (early, late))
    raise ValueError(f"{text} occurs twice in {zone.key}; write the offset: {choices}")


def write_instant(moment: datetime) -> str:
    """Return an aware moment as incident files hold it: to the minute, or to the second."""
    return moment.isoformat(timespec="seconds" if moment.second or moment.microsecond else "minutes")


def parse_timeframe(
    text: str, at: datetime, zone: ZoneInfo, confidence: Confidence = Confidence.LOW
) -> Timeframe:
    """Return what `text` says, anchored to `at`: unknown | 30m | 1h to 2h | by 14:00 | by 2026-11-21 14:00.

    Raises ValueError("what; what to write"), also if it is before `at`.
    """
    written = " ".join(text.split())
    if written == "unknown":
        return Timeframe(confidence=confidence)
    if written.startswith("by "):
        latest = _moment_after(written.removeprefix("by "), at, zone)
        if latest <= at:
            raise ValueError(f"{text!r:.40} is not after its own update; write a later time, or unknown")
        return Timeframe(latest=latest, confidence=confidence)
    try:
        lengths = [parse_duration(part) for part in written.split(" to ", 1)]
    except ValueError:
        what = f"{text!r:.40} is not a timeframe"
        raise ValueError(f"{what}; write unknown, 30m, 1h to 2h, or by 14:00") from None
    if len(lengths) == 1:
        return Timeframe(latest=at + lengths[0], confidence=confidence)
    if lengths[0] >= lengths[1]:
        raise ValueError(f"{text!r:.40} has the longer time first; write 1h to 2h")
    return Timeframe(earliest=at + lengths[0], latest=at + lengths[1], confidence=confidence)


def parse_promise(text: str, at: datetime, zone: ZoneInfo) -> datetime:
    """Return when the next update is due: 20m after `at`, or a clock time, or a date and time.

    Raises ValueError("what; what to write"), also if it is not after `at`.
    """
    try:
        moment = _moment_after(text, at, zone) if ":" in text else at + parse_duration(text)
    except ValueError as error:
        if ":" in text:
            raise
        raise ValueError(str(error).partition("; ")[0] + "; write 20m, 14:00, or a date and time") from None
    if moment <= at:
        raise ValueError(f"{text} is not after its own update; write a later time")
    return moment


def _moment_after(text: str, at: datetime, zone: ZoneInfo) -> datetime:
    return parse_clock_time(text, at, zone) if _CLOCK.fullmatch(text) else parse_instant(text, zone)


def _local(text: str, day: str, clock: str) -> datetime:
    year, month, of_month = map(int, day.split("-"))
    hour, minute, second, fraction = [*re.split("[:.]", clock), "0", "0"][:4]
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError(f"{text} is not between the years {FIRST_YEAR} and {LAST_YEAR}; {_HOW}")
    try:
        clock_time = time(int(hour), int(minute), int(second), int(fraction.ljust(6, "0")))
        return datetime.combine(date(year, month, of_month), clock_time)
    except ValueError:
        raise ValueError(f"{text} does not exist; check day, hour and minute") from None


def _offset(text: str, offset: str) -> tzinfo:
    if offset == "Z":
        return UTC
    hours, minutes = int(offset[1:3]), int(offset[-2:])
    if hours > 14 or minutes > 59:
        raise ValueError(f"{text} has no such offset from UTC; write -12:00 to +14:00")
    length = timedelta(hours=hours, minutes=minutes)
    return timezone(-length if offset[0] == "-" else length)


# British English is written out here, so that a message in it needs no Babel: its import takes 20 ms.
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# What Babel has no words for: between two times, and for a length of no minutes.
_WORDS = {
    "en": ("to", "less than a minute"),
    "de": ("bis", "weniger als eine Minute"),
    "fr": ("à", "moins d'une minute"),
    "es": ("a", "menos de un minuto"),
}
_LETTERS = re.compile(r"[A-Z]{2,6}")
_AMBIGUOUS = frozenset(("CST", "CDT", "IST", "PST", "BST"))  # letters of several zones, hours apart
# Zones, as Unicode names them, for whose letters some languages have their own: in winter and in summer.
_ZONES = {"Europe_Central": "CET CEST", "Europe_Eastern": "EET EEST", "Europe_Western": "WET WEST"}
_ZONES |= {"America_Eastern": "EST EDT", "America_Mountain": "MST MDT", "Atlantic": "AST ADT"}
_TAG = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}")
_DIRECTION_MARKS = re.compile("[\u061c\u200e\u200f]")


CLOCK = re.compile(r"(?<![\d:])(\d{1,2}):(\d{2})(?![\d:])")


def clocks_in(text: str) -> set[str]:
    """Return the clock times that a text names, as 09:50."""
    return {f"{int(hour):02}:{minute}" for hour, minute in CLOCK.findall(text)}


def moment(
    at: datetime,
    zone: ZoneInfo,
    reference: datetime | None,
    *,
    with_offset: bool = False,
    language: str = "en",
) -> dict[str, str]:
    """Return the aware time `at` in the forms that templates use, cut to the minute, in a language (BCP 47).

    iso    2026-11-21T11:05:00+01:00
    clock  11:05 CET
    short  11:05 CET, or Sat 21 Nov, 11:05 CET
    day    Sat 21 Nov
    full   Sat 21 Nov 2026, 11:05 CET (10:05 UTC)
    utc    10:05 UTC, "" if the zone is UTC

    `short` names the day if, in `zone`, it is not the day of `reference` (when the reader is told), or if
    there is no reference; it and `day` name a year other than the reference's. `clock` and `short` say the
    offset of letters that are ambiguous, or of any (`with_offset`): 11:05 CET (UTC+1). An unknown language
    is shown in English. Raises ValueError for a time without a zone.
    """
    if at.utcoffset() is None:
        raise ValueError("a time without a zone cannot be shown; pass an aware datetime")
    local, told = at.astimezone(zone), reference.astimezone(zone) if reference else None
    clock = f"{local:%H:%M} {_letters(local, language, with_offset=with_offset)}"
    utc = _in_utc(language, local)
    exact = f"{local:%H:%M} {_abbreviation(local, language)}" + (f" ({utc})" if utc else "")
    day = _day_unless_same(local, told, language)
    return {
        "iso": local.isoformat(timespec="seconds"),
        "clock": clock,
        "short": _joined(day, clock),
        "day": day or _day(local.date(), language),
        "full": f"{_day(local.date(), language, with_year=True)}, {exact}",
        "utc": utc,
    }


def span(
    start: datetime,
    end: datetime,
    zone: ZoneInfo,
    reference: datetime | None,
    *,
    with_offset: bool = False,
    language: str = "en",
) -> dict[str, str]:
    """Return the aware times `start` and `end` as one stretch of time, as `moment` shows one.

    short  11:05-12:05 CET, Sat 21 Nov, 11:05-12:05 CET, or Sat 21 Nov, 22:00 - Sun 22 Nov, 02:00 CET
    start  11:05, or Sat 21 Nov, 11:05
    end    12:05 CET, or Sun 22 Nov, 02:00 CET
    full   Sat 21 Nov 2026, 11:05 to 12:05 CET (10:05 to 11:05 UTC)
    utc    10:05 to 11:05 UTC, "" if the zone is UTC

    The end's day is named if it is not the start's, and the zone's letters once unless its clocks change in
    between. Raises ValueError for a time without a zone.
    """
    if start.utcoffset() is None or end.utcoffset() is None:
        raise ValueError("a time without a zone cannot be shown; pass an aware datetime")
    first, last = start.astimezone(zone), end.astimezone(zone)
    changes = first.tzname() != last.tzname()
    day = _day_unless_same(first, reference.astimezone(zone) if reference else None, language)
    other = _day_unless_same(last, first, language)
    first_letters = _letters(first, language, with_offset=with_offset)
    begin = f"{first:%H:%M} {first_letters}" if changes else f"{first:%H:%M}"
    clear = f"{last:%H:%M} {_letters(last, language, with_offset=with_offset)}"
    finish = f"{last:%H:%M} {_abbreviation(last, language)}"
    to, utc = _words(language)[0], _in_utc(language, first, last)
    until = _joined(other, finish) + (f" ({utc})" if utc else "")
    return {
        "short": _joined(day, begin) + (" - " if other or changes else "-") + _joined(other, clear),
        "start": _joined(day, begin),
        "end": _joined(other, clear),
        "full": f"{_day(first.date(), language, with_year=True)}, {begin} {to} {until}",
        "utc": utc,
    }


def _joined(day: str, clock: str) -> str:
    return f"{day}, {clock}" if day else clock


@lru_cache(maxsize=256)
def _locale(language: str) -> Locale | None:
    """Return what Babel knows of a language, or of a wider one. None: British English."""
    tag = language.replace("_", "-")
    while _TAG.fullmatch(tag) and tag.casefold() not in ("en", "en-gb"):
        from babel import Locale, UnknownLocaleError

        try:
            found = Locale.parse(tag, sep="-")
            if found.months["format"]["abbreviated"][11] != "M11":  # some languages have no names for months
                return found
        except (UnknownLocaleError, ValueError):
            pass
        tag = tag.rpartition("-")[0]
    return None


@lru_cache(maxsize=1024)
def _day(day: date, language: str, *, with_year: bool = False) -> str:
    locale = _locale(language)
    if locale is None:
        written = f"{_WEEKDAYS[day.weekday()]} {day.day} {_MONTHS[day.month - 1]}"
        return f"{written} {day.year}" if with_year else written
    from babel.dates import format_skeleton

    return _plain(format_skeleton("yMMMEd" if with_year else "MMMEd", day, locale=locale))


def _day_unless_same(local: datetime, reference: datetime | None, language: str) -> str:
    if reference is None:
        return _day(local.date(), language)
    if local.date() == reference.date():
        return ""
    return _day(local.date(), language, with_year=local.year != reference.year)


def _weekday(day: date, language: str) -> str:
    locale = _locale(language)
    return _plain(locale.days["format"]["abbreviated"][day.weekday()]) if locale else _WEEKDAYS[day.weekday()]


def weekdays_in(hours: str, language: str) -> str:
    """Return hours such as "Mon-Fri 08:00-18:00" with the days in a language."""
    monday = date(2001, 1, 1)

    def named(day: re.Match[str]) -> str:
        return _weekday(monday + timedelta(_WEEKDAYS.index(day[0].capitalize())), language)

    return re.sub("|".join(_WEEKDAYS), named, hours, flags=re.IGNORECASE)


@lru_cache(maxsize=1024)
def _counted(count: int, unit: str, language: str) -> str:
    """Return so many days, hours or minutes: "1 day", "5 Minuten"."""
    locale = _locale(language)
    if locale is None:
        return f"{count} {unit}{'' if count == 1 else 's'}"
    from babel.units import format_unit

    return _plain(format_unit(count, f"duration-{unit}", locale=locale))


def _words(language: str) -> tuple[str, str]:
    locale = _locale(language)
    return _WORDS.get(locale.language if locale else "en") or ("-", f"< {_counted(1, 'minute', language)}")


def _plain(text: str) -> str:
    """Return Babel's text without the odd spaces and the invisible marks in it."""
    return " ".join(_DIRECTION_MARKS.sub("", text).split())


def _letters(local: datetime, language: str, *, with_offset: bool) -> str:
    """Return the zone's letters, with its distance from UTC if a reader may not know which zone that is."""
    letters = _abbreviation(local, language)
    is_clear = letters.startswith("UTC") or not (with_offset or letters in _AMBIGUOUS)
    return letters if is_clear else f"{letters} ({_from_utc(local)})"


def _abbreviation(local: datetime, language: str) -> str:
    """Return the zone's letters, or its distance from UTC: many zones have only that ("+04" in tzdata)."""
    name = local.tzname() or ""
    return _in_language(name, language) if _LETTERS.fullmatch(name) else _from_utc(local)


@lru_cache(maxsize=1024)
def _in_language(letters: str, language: str) -> str:
    """Return a language's own letters for those of tzdata: MEZ for CET.

    Babel isn't asked for the name of a zone: it may know older rules, and takes winter in Dublin for summer.
    """
    locale = _locale(language)
    area = next((name for name, both in _ZONES.items() if letters in both.split()), "")
    if locale is None or not area:
        return letters
    season = "standard" if _ZONES[area].startswith(letters) else "daylight"
    own = str(locale.meta_zones.get(area, {}).get("short", {}).get(season, ""))
    return own if _LETTERS.fullmatch(own) else letters


def _from_utc(local: datetime) -> str:
    minutes = int((local.utcoffset() or timedelta()).total_seconds() // 60)
    hours, rest = divmod(abs(minutes), 60)
    sign = "-" if minutes < 0 else "+"
    return f"UTC{sign}{hours}:{rest:02d}" if rest else f"UTC{sign}{hours}"


def _in_utc(language: str, *times: datetime) -> str:
    """Return these times in UTC, "" if they are in UTC already."""
    if all(local.tzname() == "UTC" for local in times):
        return ""
    shown, day = [], times[0].date()
    for utc in (local.astimezone(UTC) for local in times):
        named = f"{_weekday(utc, language)} " if utc.date() != day else ""
        shown.append(f"{named}{utc:%H:%M}")
        day = utc.date()
    return f"{f' {_words(language)[0]} '.join(shown)} UTC"
