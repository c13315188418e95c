"""Readers see clock times that cannot be misread: zone, UTC, and the day where it is another."""

from __future__ import annotations

import locale
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.model.times import moment, span

BERLIN = ZoneInfo("Europe/Berlin")
TOLD = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)


def test_a_moment_of_the_same_day_is_a_clock_time_with_zone_and_utc() -> None:
    assert moment(datetime(2026, 11, 21, 10, 5, tzinfo=UTC), BERLIN, TOLD) == {
        "iso": "2026-11-21T11:05:00+01:00",
        "clock": "11:05 CET",
        "both": "11:05 CET (10:05 UTC)",
        "full": "Sat 21 Nov 2026, 11:05 CET (10:05 UTC)",
        "sms": "11:05 CET",
    }


def test_another_day_is_named_on_both_sides_of_midnight() -> None:
    shown = moment(datetime(2026, 11, 21, 23, 5, tzinfo=UTC), BERLIN, TOLD)
    assert shown["both"] == "Sun 22 Nov, 00:05 CET (Sat 23:05 UTC)"
    assert shown["sms"] == "Sun 22 Nov 00:05 CET"


def test_another_year_is_named() -> None:
    assert moment(datetime(2027, 1, 1, 9, 0, tzinfo=UTC), BERLIN, TOLD)["sms"] == "Fri 1 Jan 2027 10:00 CET"


def test_without_a_reference_the_day_is_always_named() -> None:
    assert moment(TOLD, BERLIN, None)["both"] == "Sat 21 Nov, 10:05 CET (09:05 UTC)"


def test_utc_is_not_said_twice() -> None:
    shown = moment(TOLD, ZoneInfo("UTC"), TOLD)
    assert (shown["both"], shown["full"]) == ("09:05 UTC", "Sat 21 Nov 2026, 09:05 UTC")


@pytest.mark.parametrize(
    ("zone", "clock"),
    [
        ("Asia/Dubai", "13:05 UTC+4"),
        ("Asia/Kathmandu", "14:50 UTC+5:45"),
        ("America/Sao_Paulo", "06:05 UTC-3"),
        ("Pacific/Marquesas", "23:35 UTC-9:30"),
        ("Europe/London", "09:05 GMT"),
        ("America/New_York", "04:05 EST"),
    ],
)
def test_a_zone_without_letters_shows_its_distance_from_utc(zone: str, clock: str) -> None:
    assert moment(TOLD, ZoneInfo(zone), TOLD)["clock"] == clock


def test_the_hour_that_occurs_twice_is_told_apart() -> None:
    first = moment(datetime(2026, 10, 25, 0, 30, tzinfo=UTC), BERLIN, None)["clock"]
    second = moment(datetime(2026, 10, 25, 1, 30, tzinfo=UTC), BERLIN, None)["clock"]
    assert (first, second) == ("02:30 CEST", "02:30 CET")


def stretch(
    start: str, end: str, zone: str = "Europe/Berlin", told: datetime | None = TOLD
) -> dict[str, str]:
    begin, finish = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (start, end))
    return span(begin, finish, ZoneInfo(zone), told)


def test_a_span_names_its_zone_once_and_both_ends_in_utc() -> None:
    assert stretch("2026-11-21T03:42", "2026-11-21T04:42") == {
        "both": "04:42 to 05:42 CET (03:42 to 04:42 UTC)",
        "between": "between 04:42 and 05:42 CET (03:42 to 04:42 UTC)",
        "full": "Sat 21 Nov 2026, 04:42 to 05:42 CET (03:42 to 04:42 UTC)",
        "sms": "04:42 to 05:42 CET",
    }


@pytest.mark.parametrize(
    ("start", "end", "both", "sms"),
    [
        (
            "2026-11-21T22:30",
            "2026-11-21T23:30",
            "23:30 to Sun 22 Nov, 00:30 CET (22:30 to 23:30 UTC)",
            "23:30 to Sun 22 Nov 00:30 CET",
        ),
        (
            "2026-11-21T23:30",
            "2026-11-22T00:30",
            "Sun 22 Nov, 00:30 to 01:30 CET (Sat 23:30 to Sun 00:30 UTC)",
            "Sun 22 Nov 00:30 to 01:30 CET",
        ),
        (
            "2026-11-20T22:30",
            "2026-11-20T23:30",
            "Fri 20 Nov, 23:30 to Sat 21 Nov, 00:30 CET (22:30 to 23:30 UTC)",
            "Fri 20 Nov 23:30 to Sat 21 Nov 00:30 CET",
        ),
        (
            "2026-12-31T22:30",
            "2026-12-31T23:30",
            "Thu 31 Dec, 23:30 to Fri 1 Jan 2027, 00:30 CET (22:30 to 23:30 UTC)",
            "Thu 31 Dec 23:30 to Fri 1 Jan 2027 00:30 CET",
        ),
    ],
)
def test_a_span_names_each_day_that_the_reader_would_not_think_of(
    start: str, end: str, both: str, sms: str
) -> None:
    shown = stretch(start, end)
    assert (shown["both"], shown["sms"]) == (both, sms)


def test_a_span_on_another_day_puts_the_day_before_between() -> None:
    shown = stretch("2026-11-22T03:42", "2026-11-22T04:42")
    assert shown["between"] == "on Sun 22 Nov between 04:42 and 05:42 CET (03:42 to 04:42 UTC)"


def test_midnight_in_utc_alone_is_named_in_the_bracket() -> None:
    shown = stretch("2026-11-21T23:30", "2026-11-22T00:30", "America/New_York")
    assert shown["both"] == "18:30 to 19:30 EST (23:30 to Sun 00:30 UTC)"


def test_a_change_of_the_clocks_inside_a_span_shows_both_letters() -> None:
    told = datetime(2026, 10, 24, 23, 0, tzinfo=UTC)
    shown = stretch("2026-10-25T00:30", "2026-10-25T01:30", told=told)
    assert shown["both"] == "02:30 CEST to 02:30 CET (00:30 to 01:30 UTC)"
    assert shown["between"].startswith("between 02:30 CEST and 02:30 CET (")
    assert shown["sms"] == "02:30 CEST to 02:30 CET"


def test_a_span_in_utc_says_so_once() -> None:
    assert stretch("2026-11-21T23:30", "2026-11-22T00:30", "UTC") == {
        "both": "23:30 to Sun 22 Nov, 00:30 UTC",
        "between": "between 23:30 and Sun 22 Nov, 00:30 UTC",
        "full": "Sat 21 Nov 2026, 23:30 to Sun 22 Nov, 00:30 UTC",
        "sms": "23:30 to Sun 22 Nov 00:30 UTC",
    }


def test_a_span_without_letters_shows_its_distance_from_utc_once() -> None:
    shown = stretch("2026-11-21T09:05", "2026-11-21T10:05", "Asia/Kathmandu")
    assert shown["both"] == "14:50 to 15:50 UTC+5:45 (09:05 to 10:05 UTC)"


def test_a_span_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        span(TOLD, datetime(2026, 11, 21, 9, 5), BERLIN, TOLD)  # noqa: DTZ001


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        moment(datetime(2026, 11, 21, 9, 5), BERLIN, TOLD)  # noqa: DTZ001


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.timezones(),
)
def test_every_zone_gives_short_ascii_words_and_the_exact_moment(at: datetime, zone: ZoneInfo) -> None:
    shown = moment(at, zone, TOLD)
    assert all(text.isascii() and len(text) < 60 for text in shown.values())
    assert abs((datetime.fromisoformat(shown["iso"]) - at).total_seconds()) < 1


def test_the_words_are_english_whatever_the_machine_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locale, "setlocale", lambda *_: pytest.fail("asked for the locale"))
    assert moment(TOLD, BERLIN, None)["full"].startswith("Sat 21 Nov")
