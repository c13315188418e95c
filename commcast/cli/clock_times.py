"""Clock times and windows as people type them: what they mean, and which are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from commcast.cli.options import refuse
from commcast.cli.output import say
from commcast.errors import Fault, InputError
from commcast.model.incident import Window
from commcast.model.times import (
    parse_clock_time,
    parse_end,
    parse_instant,
    parse_window,
    span,
    spoken_duration,
    write_instant,
)

if TYPE_CHECKING:
    from commcast.model.incident import Incident
    from commcast.operations.desk import Desk


_MOST = timedelta(hours=12)
_CLOCK = re.compile(r"\s*(?P<by>by\s+)?(?P<clock>\d{1,2}:\d{2})\s*")
_BARE_CLOCK = re.compile(r"\d{1,2}:\d{2}")


def with_dates(keys: dict[str, Any], desk: Desk, *, is_expected: bool = False) -> dict[str, Any]:
    """Return `keys` with their clock times as moments, with date and offset from UTC.

    `started` and `ended` ("09:52") become the latest such moment; `expected_at`, `timeframe` ("by 16:30") and
    `next_update` the next one, except that the timeframe of what `is_expected` counts from its start. Raises
    InputError if that is so far off that another time is meant.
    """
    found: dict[str, Any] = {key: _latest(keys[key], desk) for key in ("started", "ended") if key in keys}
    if "started" in keys and found["started"] != keys["started"]:
        moment = datetime.fromisoformat(found["started"])
        if moment.tzinfo and _is_far(moment, desk.now):
            raise InputError(_far("--started", keys["started"], "was last on", moment, desk))
    if "expected_at" in keys:
        found["expected_at"] = _ahead(keys["expected_at"], desk)
    dated = {"next_update"} if is_expected or "expected_at" in keys else {"next_update", "timeframe"}
    found |= {key: with_its_date(desk, keys[key]) for key in keys.keys() & dated}
    return {**keys, **found}


def _latest(text: str, desk: Desk) -> str:
    """Return when the desk's clocks last showed `text`; anything but a clock time is returned unchanged."""
    if not _BARE_CLOCK.fullmatch(text):
        return text
    today = desk.now.astimezone(desk.config.zone).date()
    for day in (today, today - timedelta(days=1)):
        try:
            moment = parse_instant(f"{day}T{text:0>5}", desk.config.zone)
        except ValueError as error:  # clocks skip it that night, or show it twice: the file's reader says so
            return f"{day}T{text:0>5}" if "offset" in str(error) else text
        if moment <= desk.now:
            break
    return write_instant(moment)


def _ahead(text: str, desk: Desk) -> str:
    """Return the coming moment that `text` names. Raises InputError if it names none."""
    zone, is_clock = desk.config.zone, _BARE_CLOCK.fullmatch(text)
    return write_instant(
        _read(
            "--expected",
            lambda: parse_clock_time(text, desk.now, zone) if is_clock else parse_instant(text, zone),
        )
    )


def _is_far(moment: datetime, since: datetime) -> bool:
    """Return whether a clock time was read as a moment so far from `since` that another must be meant."""
    return abs(moment - since) > _MOST


def with_its_date(desk: Desk, text: str) -> str:
    """Return "by 16:30", or "16:30", with today's date: a draft released later must not mean another day.

    Anything but an existing clock time is returned unchanged. Raises InputError if it is far off.
    """
    found = _CLOCK.fullmatch(text)
    if not found:
        return text
    try:
        moment = parse_clock_time(found["clock"], desk.now, desk.config.zone)
    except ValueError:
        return text
    check_estimate(desk, text, moment)
    return f"{_by(text)}{write_instant(moment)}"


def check_estimate(desk: Desk, timeframe: object, latest: datetime | None) -> None:
    """Refuse "by 16:30" if that is so far off that another time must be meant: one that has just passed.

    Raises InputError.
    """
    text = str(timeframe or "").strip()
    if latest is not None and _by(text) and _is_far(latest, desk.now):
        raise InputError(_far("--timeframe", text, "is on", latest, desk))


def _far(option: str, text: str, verb: str, moment: datetime, desk: Desk) -> Fault:
    day = moment.astimezone(desk.config.zone)
    meant = f"{_by(text)}{day:%Y-%m-%dT%H:%M}"
    what = f"{text} {verb} {day:%a} {day.day} {day:%b}, more than {_MOST.seconds // 3600} hours away"
    return Fault(option, 0, 0, what, f"write its date if that is meant: {meant!r}")


def _by(text: str) -> str:
    """Return "by " for a clock time that is an estimate ("by 16:30"), "" for anything else."""
    found = _CLOCK.fullmatch(text)
    return "by " if found and found["by"] else ""


Result = TypeVar("Result")
BEGUN = frozenset({"in_progress", "verifying", "extended"})
EARLY = timedelta(minutes=15)  # how long before its window work may start without being rescheduled


def window_of(incident: Incident) -> Window:
    window = incident.latest.window
    assert window is not None  # noqa: S101 - the reading refuses a maintenance without one
    return window


def read_window(desk: Desk, text: str) -> Window:
    window = _read("--window", lambda: parse_window(text, desk.now, desk.config.zone))
    until = text.rpartition("/")[2].strip()
    _check_not_far(desk, "--window", until, window.end, window.start, "its start")
    return window


def _read(option: str, read: Callable[[], Result]) -> Result:
    """Return what is read. Raises InputError: what is wrong with it is a fault of the option."""
    try:
        return read()
    except ValueError as error:
        what, _, remedy = str(error).partition("; ")
        refuse(option, what, remedy)


def longer(desk: Desk, incident: Incident, until: str) -> Window:
    """Return the window with a new end. Raises InputError if it has not begun, or does not get longer."""
    zone, old, name = desk.config.zone, window_of(incident), incident.id
    end = _read("--until", lambda: parse_end(until, old.start, zone))
    if incident.latest.status not in BEGUN and desk.now < old.start:
        refuse("", f"{name} has not begun ({shown(desk, old)})", how_to_move(name))
    if end <= old.end:
        what = f"that is not later than the announced end ({shown(desk, old)})"
        refuse("--until", what, "write a later end, with its date if that is another day")
    _check_not_far(desk, "--until", until, end, old.end, "the announced end")
    if end <= desk.now:
        refuse("--until", "that has passed", "write an end in the future")
    return Window(start=old.start, end=end)


def _check_not_far(desk: Desk, option: str, until: str, end: datetime, since: datetime, name: str) -> None:
    """Refuse a clock time without a date that is far off: if it passed today, tomorrow is not meant."""
    if len(until) <= len("05:00") and _is_far(end, since):
        said = end.astimezone(desk.config.zone)
        what = f"{until} is on {said:%a} {said.day} {said:%b}, long after {name}"
        dated = f"{said:%Y-%m-%dT%H:%M}"
        dated = f'"…/{dated}"' if option == "--window" else dated
        refuse(option, what, f"write its date if that is meant: {dated}")


def check_new(desk: Desk, incident: Incident) -> None:
    """Refuse new work whose window is not still to come; tell the person that window. Raises InputError."""
    check_ahead(desk, window_of(incident))
    say_window(desk, window_of(incident))


def check_ahead(desk: Desk, window: Window) -> None:
    if window.start <= desk.now:
        refuse("--window", f"it has already begun ({_in_words(desk, window)})", "give a start in the future")


def say_window(desk: Desk, window: Window) -> None:
    """Tell the person the window with weekday, zone and UTC."""
    say(f"Window: {_in_words(desk, window)}; zone {desk.config.organisation.zone}.")


def _in_words(desk: Desk, window: Window) -> str:
    zone = desk.config.zone
    offsets = {moment.astimezone(zone).utcoffset() for moment in (window.start, window.end)}
    changes = ", the clocks change during it" if len(offsets) > 1 else ""
    return f"{shown(desk, window)}, {spoken_duration(window.end - window.start)}{changes}"


def shown(desk: Desk, window: Window) -> str:
    return span(window.start, window.end, desk.config.zone, None)["full"]


def written(window: Window) -> dict[str, str]:
    return {"from": write_instant(window.start), "to": write_instant(window.end)}


def how_to_move(name: str) -> str:
    return f'reschedule it first: commcast reschedule {name} --window "…"'


def how_to_go_on(name: str) -> str:
    """Return what to do about a window that passed without an update; it moves only if nothing happened."""
    return (
        "say what happened to it:\n"
        f'  it is done:       commcast complete {name} --ended HH:MM --fixed "…"\n'
        f"  it goes on:       commcast extend {name} --until HH:MM\n"
        f'  it did not begin: commcast reschedule {name} --window "…"'
    )
