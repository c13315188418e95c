"""Clock times and windows as typed: what is meant, what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NoReturn, TypeVar

from commcast.cli.output import say
from commcast.errors import Fault, InputError

if TYPE_CHECKING:
    from commcast.model.incident import Incident, Window
    from commcast.operations.desk import Desk


_MOST = timedelta(hours=12)
_CLOCK = re.compile(r"\s*(?P<by>by\s+)?(?P<clock>\d{1,2}:\d{2})\s*")


def is_far(moment: datetime, since: datetime) -> bool:
    """Whether a clock time without a date was read as a moment so far from `since` that another is meant."""
    return abs(moment - since) > _MOST


def with_its_date(desk: Desk, text: str) -> str:
    """Return "by 16:30", or "16:30", with the date it has now: a draft released later must not mean another.

    What is no clock time, or none that there is, stays for its check. Raises InputError where it is far off.
    """
    from commcast.model.times import parse_clock_time, write_instant

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


Result = TypeVar("Result")
BEGUN = frozenset({"in_progress", "verifying", "extended"})
EARLY = timedelta(minutes=15)  # how long before its time work may begin without being moved


def window_of(incident: Incident) -> Window:
    window = incident.latest.window
    assert window is not None  # noqa: S101 - the reading refuses a maintenance without one
    return window


def read_window(desk: Desk, text: str) -> Window:
    from commcast.model.times import parse_window

    window: Window = _read(lambda: parse_window(text, desk.now, desk.config.zone), "--window")
    until = text.rpartition("/")[2].strip()
    _check_not_far(desk, "--window", until, window.end, window.start, "its beginning")
    return window


def _read(read: Callable[[], Result], option: str) -> Result:
    """Return what is read; what is wrong with it becomes a fault of the option."""
    try:
        return read()
    except ValueError as error:
        what, _, remedy = str(error).partition("; ")
        refuse(option, what, remedy)


def longer(desk: Desk, incident: Incident, until: str) -> Window:
    """Return the window with a new end. Raises InputError where it has not begun, or gets no longer."""
    from commcast.model.incident import Window
    from commcast.model.times import parse_end

    zone, old, name = desk.config.zone, window_of(incident), incident.id
    end: datetime = _read(lambda: parse_end(until, old.start, zone), "--until")
    if incident.latest.status not in BEGUN and desk.now < old.start:
        refuse("", f"{name} has not begun ({shown(desk, old)})", how_to_move(name))
    if end <= old.end:
        what = f"that is not later than the end that was said ({shown(desk, old)})"
        refuse("--until", what, "write a later end, with its date where that is another day")
    _check_not_far(desk, "--until", until, end, old.end, "the end that was said")
    if end <= desk.now:
        refuse("--until", "that has passed", "write an end that is still to come")
    return Window(start=old.start, end=end)


def _check_not_far(desk: Desk, option: str, until: str, end: datetime, since: datetime, name: str) -> None:
    """Refuse a clock time without a date that is far off: one that has passed today is no time tomorrow."""
    if len(until) <= len("05:00") and is_far(end, since):
        said = end.astimezone(desk.config.zone)
        what = f"{until} is on {said:%a} {said.day} {said:%b}, long after {name}"
        dated = f"{said:%Y-%m-%dT%H:%M}"
        dated = f'"…/{dated}"' if option == "--window" else dated
        refuse(option, what, f"where that is meant, write its date: {option} {dated}")


def still_to_come(desk: Desk) -> Callable[[Incident], None]:
    """Return a check of new work: its window is still to come. It is told to the person, too."""

    def check(incident: Incident) -> None:
        window = window_of(incident)
        check_ahead(desk, window)
        say_window(desk, window)

    return check


def check_ahead(desk: Desk, window: Window) -> None:
    if window.start <= desk.now:
        refuse("--window", f"it has begun already ({_in_words(desk, window)})", "give a start to come")


def say_window(desk: Desk, window: Window) -> None:
    """Say the window with weekday, zone and UTC, as it was read."""
    say(f"Window: {_in_words(desk, window)}; zone {desk.config.organisation.zone}.")


def _in_words(desk: Desk, window: Window) -> str:
    from commcast.model.times import span, spoken_duration

    zone = desk.config.zone
    offsets = {moment.astimezone(zone).utcoffset() for moment in (window.start, window.end)}
    changes = ", the clocks change within it" if len(offsets) > 1 else ""
    shown = span(window.start, window.end, zone, None)["full"]
    return f"{shown}, {spoken_duration(window.end - window.start)}{changes}"


def shown(desk: Desk, window: Window) -> str:
    from commcast.model.times import span

    return span(window.start, window.end, desk.config.zone, None)["full"]


def written(window: Window) -> dict[str, str]:
    from commcast.model.times import write_instant

    return {"from": write_instant(window.start), "to": write_instant(window.end)}


def how_to_move(name: str) -> str:
    return f'move it first: commcast reschedule {name} --window "…"'


def how_to_go_on(name: str) -> str:
    """Return the ways on from a window that passed without a word: only what did not happen is moved."""
    return (
        "say what became of it:\n"
        f'  it is done:       commcast complete {name} --ended HH:MM --fixed "…"\n'
        f"  it goes on:       commcast extend {name} --until HH:MM\n"
        f'  it did not begin: commcast reschedule {name} --window "…"'
    )


def refuse(option: str, what: str, remedy: str) -> NoReturn:
    raise InputError(Fault(option, 0, 0, what, remedy))
