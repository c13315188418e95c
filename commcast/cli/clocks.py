"""Clock times without a date that are far off: one that has just passed is no time tomorrow."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from commcast.errors import Fault, InputError

if TYPE_CHECKING:
    from commcast.desk import Desk
    from commcast.model import Incident

_MOST = timedelta(hours=12)
_CLOCK = re.compile(r"\s*(?P<by>by\s+)?(?P<clock>\d{1,2}:\d{2})\s*")


def is_far(moment: datetime, since: datetime) -> bool:
    """Whether a clock time without a date was read as a moment so far from `since` that another is meant."""
    return abs(moment - since) > _MOST


def with_its_date(desk: Desk, text: str) -> str:
    """Return "by 16:30", or "16:30", with the date it has now: a draft released later must not mean another.

    What is no clock time, or none that there is, stays for its check. Raises InputError where it is far off.
    """
    from commcast.instants import parse_clock_time, write_instant

    found = _CLOCK.fullmatch(text)
    if not found:
        return text
    try:
        moment = parse_clock_time(found["clock"], desk.now, desk.config.zone)
    except ValueError:
        return text
    if fault := far_estimate(desk, text, moment):
        raise InputError(fault)
    return f"{_by(text)}{write_instant(moment)}"


def check_estimate(desk: Desk, timeframe: object, incident: Incident) -> None:
    """Refuse "by 16:30" of a minute ago: readers would be told a time tomorrow. Raises InputError."""
    if fault := far_estimate(desk, str(timeframe or ""), incident.latest.timeframe.latest):
        raise InputError(fault)


def far_estimate(desk: Desk, timeframe: str, latest: datetime | None) -> Fault | None:
    """Return what is wrong with "by 16:30" where that is so far off that another time is meant."""
    if latest is None or not _by(timeframe) or not is_far(latest, desk.now):
        return None
    return _far("--timeframe", timeframe.strip(), "is on", latest, desk)


def check_past(desk: Desk, option: str, text: str, written: str) -> None:
    """Refuse a clock time last shown so long ago, at `written`, that another is meant. Raises InputError."""
    if written == text:
        return  # it was no clock time
    moment = datetime.fromisoformat(written)
    if is_far(moment, desk.now):
        raise InputError(_far(option, text, "was last on", moment, desk))


def _far(option: str, text: str, verb: str, moment: datetime, desk: Desk) -> Fault:
    day = moment.astimezone(desk.config.zone)
    meant = f"{_by(text)}{day:%Y-%m-%dT%H:%M}"
    what = f"{text} {verb} {day:%a} {day.day} {day:%b}, more than {_MOST.seconds // 3600} hours away"
    return Fault(option, 0, 0, what, f"write its date if that is meant: {meant!r}")


def _by(text: str) -> str:
    """Return "by " for a clock time that is an estimate ("by 16:30"), "" for anything else."""
    found = _CLOCK.fullmatch(text)
    return "by " if found and found["by"] else ""
