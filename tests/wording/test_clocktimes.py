"""Readers see clock times that cannot be misread: zone, UTC, and the day where it is another."""

from __future__ import annotations

import locale
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.wording.clocktimes import moment

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
