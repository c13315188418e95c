"""Points in time: what people write is one moment, or is refused with what to write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.model.times import (
    parse_clock_time,
    parse_instant,
    parse_promise,
    parse_timeframe,
    write_instant,
)

BERLIN = ZoneInfo("Europe/Berlin")
AT = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)  # 10:05 in Berlin


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T10:05+01:00", AT),
        ("2026-11-21 10:05+01:00", AT),
        ("2026-11-21T10:05 +0100", AT),
        ("2026-11-21T09:05Z", AT),
        ("2026-11-21T09:05:30Z", AT + timedelta(seconds=30)),
        ("2026-11-21T09:05:30.25Z", AT + timedelta(seconds=30.25)),
        ("2026-11-21T10:05", AT),
    ],
)
def test_moments(text: str, moment: datetime) -> None:
    found = parse_instant(text, BERLIN)
    assert found == moment
    assert found.tzinfo is not None


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("2026-02-30T10:00Z", "not a moment that exists"),
        ("2026-11-21T25:00Z", "not a moment that exists"),
        ("2026-11-21T23:59:60Z", "not a moment that exists"),
        ("2026-13-01T10:00Z", "not a moment that exists"),
        ("99999-01-01T10:00Z", "years"),
        ("1999-12-31T23:59Z", "years"),
        ("2026-11-21T10:00+15:00", "offset"),
        ("2026-11-21", "not a date and time"),
        ("21.11.2026 10:05", "not a date and time"),
        ("2026-11-21T10:05+01:00\n", "not a date and time"),
        ("٢٠٢٦-11-21T10:05Z", "not a date and time"),
        ("tomorrow", "not a date and time"),
        ("", "not a date and time"),
        ("2026-03-29T02:30", "does not exist"),
        ("2026-10-25T02:30", "occurs twice"),
    ],
)
def test_what_is_no_moment_says_what_to_write(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=rf"{what}.*; "):
        parse_instant(text, BERLIN)


def test_a_doubled_hour_names_both_offsets() -> None:
    with pytest.raises(ValueError, match=r"02:30\+02:00 or 2026-10-25T02:30\+01:00"):
        parse_instant("2026-10-25T02:30", BERLIN)


def test_a_local_time_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="no offset"):
        parse_instant("2026-11-21T10:05", None)


def test_a_clock_time_is_the_next_one() -> None:
    assert parse_clock_time("14:00", AT, BERLIN) == datetime(2026, 11, 21, 13, 0, tzinfo=UTC)
    assert parse_clock_time("10:05", AT, BERLIN) == AT + timedelta(days=1)
    assert parse_clock_time("9:30", AT, BERLIN) == datetime(2026, 11, 22, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize("text", ["24:00", "12:60", "2pm", "1400", "", "14:00:00"])
def test_other_clock_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="clock time; write"):
        parse_clock_time(text, AT, BERLIN)


def test_a_clock_time_in_the_skipped_hour_is_refused() -> None:
    with pytest.raises(ValueError, match="does not exist"):
        parse_clock_time("02:30", datetime(2026, 3, 28, 20, 0, tzinfo=UTC), BERLIN)


def test_timeframes_are_anchored_to_their_update() -> None:
    assert not parse_timeframe("unknown", AT, BERLIN).known
    assert parse_timeframe("30m", AT, BERLIN).latest == AT + timedelta(minutes=30)
    both = parse_timeframe("1h to 2h", AT, BERLIN)
    assert (both.earliest, both.latest) == (AT + timedelta(hours=1), AT + timedelta(hours=2))
    assert parse_timeframe("by 14:00", AT, BERLIN).latest == datetime(2026, 11, 21, 13, 0, tzinfo=UTC)
    assert parse_timeframe("by 2026-11-22 14:00", AT, BERLIN).latest == datetime(
        2026, 11, 22, 13, 0, tzinfo=UTC
    )


@pytest.mark.parametrize(
    "text", ["soon", "2", "2h to 1h", "1h to", "by noon", "by 2026-11-21 09:00", "1 to 2h"]
)
def test_other_timeframes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="; "):
        parse_timeframe(text, AT, BERLIN)


def test_promises() -> None:
    assert parse_promise("20m", AT, BERLIN) == AT + timedelta(minutes=20)
    assert parse_promise("10:30", AT, BERLIN) == AT + timedelta(minutes=25)
    assert parse_promise("2026-11-21T10:30+01:00", AT, BERLIN) == AT + timedelta(minutes=25)


@pytest.mark.parametrize(
    "text", ["20", "soon", "2026-11-21T10:05+01:00", "2026-11-21T10:00+01:00", "0m", "10:99"]
)
def test_other_promises_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="; "):
        parse_promise(text, AT, BERLIN)


OFFSETS = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(2000, 1, 2), datetime(2100, 12, 30), timezones=OFFSETS)  # noqa: DTZ001


@given(MOMENTS)
def test_what_is_written_reads_back(moment: datetime) -> None:
    assert parse_instant(write_instant(moment), None) == moment.replace(microsecond=0)


@given(st.text(max_size=40), st.sampled_from([parse_timeframe, parse_promise]))
def test_any_text_is_a_time_or_a_value_error(text: str, read: object) -> None:
    try:
        read(text, AT, BERLIN)  # type: ignore[operator]
    except ValueError as error:
        assert "; " in str(error)
