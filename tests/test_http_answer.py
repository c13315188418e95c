"""When a provider asks to be tried again: what is believed, and what is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.providers.http import NoAnswer, retry_after

NOW = datetime(2026, 11, 21, 10, 5, tzinfo=UTC)
UNIX = int(NOW.timestamp())
DAY = 86_400.0


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("86400", DAY),
        ("86401", DAY),
        ("1000000000", DAY),
        ("9" * 15, DAY),
        ("-0", 0.0),
        ("-1", None),
        ("-1000000000", None),
        ("9" * 16, None),
        ("1e9", None),
        ("0x10", None),
        ("+7", None),
        ("7s", None),
        ("7, 8", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("soon", None),
        ("\u0667", 7.0),
        ("Sat, 21 Nov 2026 10:05:30 GMT", 30.0),
        ("Saturday, 21-Nov-26 10:05:30 GMT", 30.0),
        ("Sat Nov 21 10:05:30 2026", 30.0),
        ("Sat, 21 Nov 2026 12:05:30 +0200", 30.0),
        ("Sat, 21 Nov 2026 10:05:30 -0000", 30.0),
        ("Sat, 21 Nov 2026 10:04:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", DAY),
        ("Sat, 99 Nov 2026 10:05:30 GMT", None),
        ("Sat, 21 Nov 2026 10:05:30 +9999999999", None),
    ],
)
def test_retry_after(text: str, wait: float | None) -> None:
    """Seconds or a date; what is past means now, what is far means a day, what is nonsense means nothing."""
    assert retry_after({"retry-after": text}, NOW) == wait


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        (f"{UNIX + 30}", 30.0),
        (f"{UNIX}", 0.0),
        (f"{UNIX - 1}", 0.0),
        ("0", 0.0),
        (f"{UNIX}000", DAY),  # milliseconds
        ("9" * 15, DAY),
        ("-5", None),
        ("soon", None),
        ("Sat, 21 Nov 2026 10:05:30 GMT", None),
    ],
)
def test_a_reset_in_unix_time(text: str, wait: float | None) -> None:
    """X-RateLimit-Reset names a moment in Unix seconds."""
    assert retry_after({"x-ratelimit-reset": text}, NOW) == wait


def test_which_header_counts() -> None:
    """Retry-After where it makes sense, else the other; without both there is none."""
    reset = {"x-ratelimit-reset": f"{UNIX + 30}"}
    assert retry_after({"retry-after": "7", **reset}, NOW) == 7.0
    assert retry_after({"retry-after": "0", **reset}, NOW) == 0.0
    assert retry_after({"retry-after": "-7", **reset}, NOW) == 30.0
    assert retry_after({"retry-after": "", **reset}, NOW) == 30.0
    assert retry_after({}, NOW) is None
    assert retry_after({"Retry-After": "7"}, NOW) is None  # names are lower-case in an answer


_TEXTS = st.one_of(
    st.text(max_size=40),
    st.integers().map(str),
    st.floats().map(str),
    st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,6} \d{1,3}:\d{1,3}(:\d{1,3})? [+-]?\w{0,10}"),
)


@given(_TEXTS, _TEXTS)
def test_no_header_breaks_it(after: str, reset: str) -> None:
    """Whatever a provider writes: nothing, or a time between now and a day."""
    wait = retry_after({"retry-after": after, "x-ratelimit-reset": reset}, NOW)
    assert wait is None or 0 <= wait <= DAY


@given(st.integers(0, 86_400), st.integers(-12, 14))
def test_a_date_and_its_seconds_say_the_same(seconds: int, hours: int) -> None:
    """In any time zone."""
    at = (NOW + timedelta(seconds=seconds)).astimezone(timezone(timedelta(hours=hours)))
    assert retry_after({"retry-after": at.strftime("%a, %d %b %Y %H:%M:%S %z")}, NOW) == seconds
    assert retry_after({"retry-after": str(seconds)}, NOW) == seconds
    assert retry_after({"x-ratelimit-reset": str(UNIX + seconds)}, NOW) == seconds


def test_each_trouble_has_its_words() -> None:
    assert all(trouble.words for trouble in NoAnswer)
    assert len({trouble.words for trouble in NoAnswer}) == len(NoAnswer)
