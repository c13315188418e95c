"""Lengths of time as people write them (20m, 1h30m, 2d) and as readers see them."""

from __future__ import annotations

import re
from datetime import timedelta

from pytimeparse.timeparse import timeparse as read_seconds

# Only what cannot be misread: "90" has no unit and "1:30" may be minutes or hours.
_WRITTEN = re.compile(
    r"\s*(?:\d+(?:\.\d+)?\s*(?:w|d|h|m|s|min|mins|hours?|days?|minutes?|weeks?)\s*)+", re.IGNORECASE
)
_LONGEST = timedelta(days=366)


def parse_duration(text: str) -> timedelta:
    """Return the length that `text` means.

    Raises ValueError, with what to write instead, for anything but a number with a unit, repeated.
    """
    if not isinstance(text, str) or len(text) > 40 or not _WRITTEN.fullmatch(text):
        raise ValueError(f"{text!r:.40} is not a length of time; write 20m, 1h30m or 2d")
    seconds = read_seconds(text.strip())
    if not seconds:
        raise ValueError(f"{text!r} is not a length of time; write 20m, 1h30m or 2d")
    if seconds > _LONGEST.total_seconds():  # asked first: a timedelta holds no number of any size
        raise ValueError(f"{text!r} is longer than a year; write a shorter time")
    return timedelta(seconds=seconds)


def short_duration(length: timedelta) -> str:
    """Return `length` as it is written in files: 20m, 1h30m, 2d. Below a minute: seconds."""
    seconds = int(length.total_seconds())
    if seconds < 60:
        return f"{seconds}s"
    days, rest = divmod(seconds // 60, 1440)
    hours, minutes = divmod(rest, 60)
    parts = [f"{days}d" if days else "", f"{hours}h" if hours else "", f"{minutes}m" if minutes else ""]
    return "".join(parts)


def spoken_duration(length: timedelta) -> str:
    """Return `length` to the minute in words: "2 hours 5 minutes", "less than a minute"."""
    minutes = int(length.total_seconds() // 60)
    if minutes < 1:
        return "less than a minute"
    days, rest = divmod(minutes, 1440)
    hours, minutes = divmod(rest, 60)
    named = [(days, "day"), (hours, "hour"), (minutes, "minute")]
    return " ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in named if count)
