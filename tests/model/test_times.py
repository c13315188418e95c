"""Times: what people write is one moment or is refused; what readers see cannot be misread."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from itertools import product
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.model import times
from commcast.model.times import moment, parse_instant, short_duration, span
from tests.support.values import rows

BERLIN = ZoneInfo("Europe/Berlin")
AT = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)  # 10:05 in Berlin
MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


LENGTHS = {"20m": 20, "1h30m": 90, "1.5h": 90, "2d": 2880, "1 hour": 60, " 90 min ": 90}
INSTANTS = {
    **dict.fromkeys(("2026-11-21T10:05+01:00", "2026-11-21 10:05+01:00", "2026-11-21T10:05 +0100"), AT),
    **dict.fromkeys(("2026-11-21T09:05Z", "2026-11-21T10:05"), AT),
    "2026-11-21T09:05:30Z": AT + MINUTE / 2,
    "2026-11-21T9:05:30.25Z": AT + timedelta(seconds=30.25),
}
CLOCK_TIMES = {"14:00": "2026-11-21T13:00", "10:05": "2026-11-22T09:05", "9:30": "2026-11-22T08:30"}
TIMEFRAMES = {
    "unknown": (None, None),
    "30m": (None, "2026-11-21T09:35"),
    "1h to 2h": ("2026-11-21T10:05", "2026-11-21T11:05"),
    "by 14:00": (None, "2026-11-21T13:00"),
    "by 2026-11-22 14:00": (None, "2026-11-22T13:00"),
}
PROMISES = {"20m": 20, "10:30": 25, "2026-11-21T10:30+01:00": 25}


instant = partial(parse_instant, zone=BERLIN)
clock_time = partial(times.parse_clock_time, after=AT, zone=BERLIN)
promise = partial(times.parse_promise, at=AT, zone=BERLIN)


def timeframe(text: str) -> tuple[datetime | None, datetime | None]:
    found = times.parse_timeframe(text, AT, BERLIN)
    assert found.known is (found.latest is not None)
    return found.earliest, found.latest


def test_what_people_write_has_one_meaning() -> None:
    """A length of time; a moment; the next such time of day; an estimate and a promise from an update on."""
    assert {text: times.parse_duration(text) / MINUTE for text in LENGTHS} == LENGTHS
    assert {text: instant(text) for text in INSTANTS} == INSTANTS
    assert {text: clock_time(text) for text in CLOCK_TIMES} == {
        text: utc(at) for text, at in CLOCK_TIMES.items()
    }
    spans = {text: tuple(at and utc(at) for at in span) for text, span in TIMEFRAMES.items()}
    assert {text: timeframe(text) for text in TIMEFRAMES} == spans
    assert {text: (promise(text) - AT) / MINUTE for text in PROMISES} == PROMISES


REFUSED: list[tuple[Callable[[str], object], str, list[str]]] = [
    (times.parse_duration, "write", ["", "20", "1:30", "-5m", "0m", "20m ago", "soon", "m", "9999d"]),
    (times.parse_duration, "write", ["1" * 50 + "m", "9" * 20 + "h"]),
    (instant, "does not exist; check day", ["2026-02-30T10:00Z", "2026-11-21T25:00Z", "2026-11-21T24:00Z"]),
    (instant, "does not exist; check day", ["2026-11-21T23:59:60Z", "2026-13-01T10:00Z"]),
    (instant, "years .*; ", ["99999-01-01T10:00Z", "1999-12-31T23:59Z"]),
    (instant, "offset .*; ", ["2026-11-21T10:00+15:00"]),
    (instant, "not a date and time; ", ["2026-11-21", "21.11.2026 10:05", "2026-11-21T10:05+01:00\n"]),
    (instant, "not a date and time; ", ["٢٠٢٦-11-21T10:05Z", "tomorrow", ""]),
    (instant, "does not exist .*; ", ["2026-03-29T02:30"]),
    (instant, r"occurs twice .*; .*02:30\+02:00 or 2026-10-25T02:30\+01:00", ["2026-10-25T02:30"]),
    (lambda text: parse_instant(text, None), "no offset .*; ", ["2026-11-21T10:05"]),
    (clock_time, "clock time; write", ["24:00", "12:60", "2pm", "1400", "", "14:00:00"]),
    (lambda text: times.parse_clock_time(text, utc("2026-03-28T20:00"), BERLIN), "does not exist", ["02:30"]),
    (timeframe, "; ", ["soon", "2", "2h to 1h", "1h to", "by noon", "by 2026-11-21 09:00", "1 to 2h"]),
    (promise, "; ", ["20", "soon", "2026-11-21T10:05+01:00", "2026-11-21T10:00+01:00", "0m", "10:99"]),
]


@pytest.mark.parametrize(("read", "what", "texts"), REFUSED)
def test_what_can_be_misread_is_refused(read: Callable[[str], object], what: str, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ValueError, match=what):
            read(text)


OFFSETS = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(2000, 1, 2), datetime(2100, 12, 30), timezones=OFFSETS)  # noqa: DTZ001


@given(st.integers(min_value=1, max_value=500_000), MOMENTS)
def test_a_length_and_a_moment_that_are_written_read_back(minutes: int, moment: datetime) -> None:
    assert times.parse_duration(short_duration(minutes * MINUTE)) == minutes * MINUTE
    assert parse_instant(times.write_instant(moment), None) == moment.replace(microsecond=0)


@given(st.text(max_size=40), st.sampled_from([timeframe, promise]))
def test_any_text_is_a_time_or_a_value_error(text: str, read: Callable[[str], object]) -> None:
    try:
        read(text)
    except ValueError as error:
        assert "; " in str(error)


def test_lengths_are_short_in_files_and_words_for_readers() -> None:
    short = {30: "30s", 60: "1m", 7500: "2h5m", 90_000: "1d1h"}
    said = ["less than a minute", "1 minute", "2 hours 5 minutes", "1 day 1 hour"]
    assert [short_duration(timedelta(seconds=each)) for each in short] == [*short.values()]
    assert [times.spoken_duration(timedelta(seconds=each)) for each in short] == said


# When it is, where the reader is, when they read it, a form, and what they see in it.
SHOWN = """
2026-11-21T10:05 | Europe/Berlin | 2026-11-21T09:05 | iso   | 2026-11-21T11:05:00+01:00
2026-11-21T10:05 | Europe/Berlin | 2026-11-21T09:05 | clock | 11:05 CET
2026-11-21T10:05 | Europe/Berlin | 2026-11-21T09:05 | both  | 11:05 CET (10:05 UTC)
2026-11-21T10:05 | Europe/Berlin | 2026-11-21T09:05 | full  | Sat 21 Nov 2026, 11:05 CET (10:05 UTC)
2026-11-21T10:05 | Europe/Berlin | 2026-11-21T09:05 | sms   | 11:05 CET
2026-11-21T23:05 | Europe/Berlin | 2026-11-21T09:05 | both  | Sun 22 Nov, 00:05 CET (Sat 23:05 UTC)
2026-11-21T23:05 | Europe/Berlin | 2026-11-21T09:05 | sms   | Sun 22 Nov 00:05 CET
2027-01-01T09:00 | Europe/Berlin | 2026-11-21T09:05 | sms   | Fri 1 Jan 2027 10:00 CET
2026-11-21T09:05 | Europe/Berlin |                  | both  | Sat 21 Nov, 10:05 CET (09:05 UTC)
2026-10-25T00:30 | Europe/Berlin |                  | clock | 02:30 CEST
2026-10-25T01:30 | Europe/Berlin |                  | clock | 02:30 CET
2026-11-21T09:05 | UTC               | 2026-11-21T09:05 | both  | 09:05 UTC
2026-11-21T09:05 | UTC               | 2026-11-21T09:05 | full  | Sat 21 Nov 2026, 09:05 UTC
2026-11-21T09:05 | Asia/Kathmandu    | 2026-11-21T09:05 | clock | 14:50 UTC+5:45
2026-11-21T09:05 | America/Sao_Paulo | 2026-11-21T09:05 | clock | 06:05 UTC-3
2026-11-21T09:05 | Pacific/Marquesas | 2026-11-21T09:05 | clock | 23:35 UTC-9:30
2026-11-21T09:05 | America/New_York  | 2026-11-21T09:05 | clock | 04:05 EST
2026-11-21T09:05 | America/Chicago   | 2026-11-21T09:05 | clock | 03:05 CST (UTC-6)
2026-11-21T09:05 | Asia/Shanghai     | 2026-11-21T09:05 | sms   | 17:05 CST (UTC+8)
2026-11-21T09:05 | Asia/Kolkata      | 2026-11-21T09:05 | sms   | 14:35 IST (UTC+5:30)
2026-07-21T09:05 | Europe/London     | 2026-07-21T09:05 | sms   | 10:05 BST (UTC+1)
2026-11-21T09:05 | America/Chicago   | 2026-11-21T09:05 | both  | 03:05 CST (09:05 UTC)
"""


@pytest.mark.parametrize(("at", "zone", "told", "form", "shown"), rows(SHOWN))
def test_a_moment_names_its_zone_and_odd_days(at: str, zone: str, told: str, form: str, shown: str) -> None:
    assert moment(utc(at), ZoneInfo(zone), utc(told) if told else None)[form] == shown


# Read at AT: start, end, where the reader is, a form, and what they see in it.
SPANS = """
2026-11-21T03:42 | 2026-11-21T04:42 | Europe/Berlin | both    | 04:42 to 05:42 CET (03:42 to 04:42 UTC)
2026-11-21T03:42 | 2026-11-21T04:42 | Europe/Berlin | between | between 04:42 and 05:42 CET (03:42 to 04:42 UTC)
2026-11-21T03:42 | 2026-11-21T04:42 | Europe/Berlin | full    | Sat 21 Nov 2026, 04:42 to 05:42 CET (03:42 to 04:42 UTC)
2026-11-21T03:42 | 2026-11-21T04:42 | Europe/Berlin | sms     | 04:42 to 05:42 CET
2026-11-21T22:30 | 2026-11-21T23:30 | Europe/Berlin | both    | 23:30 to Sun 22 Nov, 00:30 CET (22:30 to 23:30 UTC)
2026-11-21T22:30 | 2026-11-21T23:30 | Europe/Berlin | sms     | 23:30 to Sun 22 Nov 00:30 CET
2026-11-21T23:30 | 2026-11-22T00:30 | Europe/Berlin | both    | Sun 22 Nov, 00:30 to 01:30 CET (Sat 23:30 to Sun 00:30 UTC)
2026-11-21T23:30 | 2026-11-22T00:30 | Europe/Berlin | sms     | Sun 22 Nov 00:30 to 01:30 CET
2026-11-20T22:30 | 2026-11-20T23:30 | Europe/Berlin | both    | Fri 20 Nov, 23:30 to Sat 21 Nov, 00:30 CET (22:30 to 23:30 UTC)
2026-12-31T22:30 | 2026-12-31T23:30 | Europe/Berlin | sms     | Thu 31 Dec 23:30 to Fri 1 Jan 2027 00:30 CET
2026-11-22T03:42 | 2026-11-22T04:42 | Europe/Berlin | between | on Sun 22 Nov between 04:42 and 05:42 CET (03:42 to 04:42 UTC)
2026-11-21T23:30 | 2026-11-22T00:30 | America/New_York | both | 18:30 to 19:30 EST (23:30 to Sun 00:30 UTC)
2026-11-21T23:30 | 2026-11-22T00:30 | UTC | both    | 23:30 to Sun 22 Nov, 00:30 UTC
2026-11-21T23:30 | 2026-11-22T00:30 | UTC | between | between 23:30 and Sun 22 Nov, 00:30 UTC
2026-11-21T23:30 | 2026-11-22T00:30 | UTC | full    | Sat 21 Nov 2026, 23:30 to Sun 22 Nov, 00:30 UTC
2026-11-21T23:30 | 2026-11-22T00:30 | UTC | sms     | 23:30 to Sun 22 Nov 00:30 UTC
2026-11-21T09:05 | 2026-11-21T10:05 | Asia/Kathmandu | both | 14:50 to 15:50 UTC+5:45 (09:05 to 10:05 UTC)
"""  # noqa: E501


@pytest.mark.parametrize(("start", "end", "zone", "form", "shown"), rows(SPANS))
def test_a_span_names_its_zone_and_days_once(start: str, end: str, zone: str, form: str, shown: str) -> None:
    assert span(utc(start), utc(end), ZoneInfo(zone), AT)[form] == shown


def test_who_may_not_know_the_zone_is_told_the_distance_from_utc() -> None:
    """The letters of a zone that nobody wrote for a reader, and letters that several countries use."""
    zones = [ZoneInfo(key) for key in ("Europe/Berlin", "Asia/Kathmandu", "UTC")]
    shown = [moment(AT, zone, AT, with_offset=True)["sms"].partition(" ")[2] for zone in zones]
    assert shown == ["CET (UTC+1)", "UTC+5:45", "UTC"]
    assert span(AT, AT + 60 * MINUTE, BERLIN, AT, with_offset=True)["sms"] == "10:05 to 11:05 CET (UTC+1)"
    assert span(AT, AT + 60 * MINUTE, ZoneInfo("America/Chicago"), AT)["sms"] == "03:05 to 04:05 CST (UTC-6)"
    used: dict[str, set[timedelta | None]] = {}
    for key, month in product(available_timezones(), (1, 7)):
        local = datetime(2026, month, 15, tzinfo=UTC).astimezone(ZoneInfo(key))
        used.setdefault(local.tzname() or "", set()).add(local.utcoffset())
    assert {letters for letters, offsets in used.items() if len(offsets) > 1} <= times._AMBIGUOUS


def test_a_change_of_the_clocks_inside_a_span_shows_both_letters_and_no_zone_is_refused() -> None:
    shown = span(utc("2026-10-25T00:30"), utc("2026-10-25T01:30"), BERLIN, utc("2026-10-24T23:00"))
    assert shown["both"] == "02:30 CEST to 02:30 CET (00:30 to 01:30 UTC)"
    assert shown["between"].startswith("between 02:30 CEST and 02:30 CET (")
    assert shown["sms"] == "02:30 CEST to 02:30 CET"
    naive = AT.replace(tzinfo=None)
    with pytest.raises(ValueError, match="without a zone"):
        moment(naive, BERLIN, AT)
    with pytest.raises(ValueError, match="without a zone"):
        span(AT, naive, BERLIN, AT)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.timezones(),
)
def test_every_zone_gives_short_ascii_words_and_the_exact_moment(at: datetime, zone: ZoneInfo) -> None:
    shown = moment(at, zone, AT)
    assert all(text.isascii() and len(text) < 60 for text in shown.values())
    assert abs((datetime.fromisoformat(shown["iso"]) - at).total_seconds()) < 1
