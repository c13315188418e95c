"""Lengths of time: what can be misread is refused, and what is written reads back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.model.times import parse_duration, short_duration, spoken_duration


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("20m", 20), ("1h30m", 90), ("1.5h", 90), ("2d", 2880), ("1 hour", 60), (" 90 min ", 90)],
)
def test_a_number_with_a_unit_is_read(text: str, minutes: float) -> None:
    assert parse_duration(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    "text", ["", "20", "1:30", "-5m", "0m", "20m ago", "soon", "m", "9999d", "1" * 50 + "m", "9" * 20 + "h"]
)
def test_what_can_be_misread_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_duration(text)


@given(st.integers(min_value=1, max_value=500_000))
def test_what_is_written_short_reads_back(minutes: int) -> None:
    length = timedelta(minutes=minutes)
    assert parse_duration(short_duration(length)) == length


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(30, "less than a minute"), (60, "1 minute"), (7500, "2 hours 5 minutes"), (90_000, "1 day 1 hour")],
)
def test_readers_get_words(seconds: int, said: str) -> None:
    assert spoken_duration(timedelta(seconds=seconds)) == said
