"""The windows of planned work: read from what a person typed, checked, and shown to them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NoReturn, TypeVar

from commcast.cli.clocks import is_far
from commcast.cli.output import say
from commcast.errors import Fault, InputError

if TYPE_CHECKING:
    from commcast.desk import Desk
    from commcast.model import Incident, Window

Result = TypeVar("Result")
BEGUN = frozenset({"in_progress", "verifying", "extended"})
EARLY = timedelta(minutes=15)  # how long before its time work may begin without being moved


def window_of(incident: Incident) -> Window:
    window = incident.latest.window
    assert window is not None  # noqa: S101 - the reading refuses a maintenance without one
    return window


def read_window(desk: Desk, text: str) -> Window:
    from commcast.instants import parse_window

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
    from commcast.instants import parse_end
    from commcast.model import Window

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
    from commcast.durations import spoken_duration
    from commcast.wording.clocktimes import span

    zone = desk.config.zone
    offsets = {moment.astimezone(zone).utcoffset() for moment in (window.start, window.end)}
    changes = ", the clocks change within it" if len(offsets) > 1 else ""
    shown = span(window.start, window.end, zone, None)["full"]
    return f"{shown}, {spoken_duration(window.end - window.start)}{changes}"


def shown(desk: Desk, window: Window) -> str:
    from commcast.wording.clocktimes import span

    return span(window.start, window.end, desk.config.zone, None)["full"]


def written(window: Window) -> dict[str, str]:
    from commcast.instants import write_instant

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
