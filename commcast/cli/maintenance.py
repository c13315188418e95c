"""The commands for planned work: schedule, start, extend, reschedule, complete and cancel."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from commcast.cli import clock_times, prompt
from commcast.cli.clock_times import read_window, shown, window_of, written
from commcast.cli.declare import begin, completed, first_words
from commcast.cli.options import VerbInput, argument, refuse, text_option, verb
from commcast.cli.output import say
from commcast.cli.session import Place, desk_now
from commcast.cli.verbs import append_and_send, find_open, refuse_untold, typed_words
from commcast.model.times import write_instant

if TYPE_CHECKING:
    from commcast.model.incident import Incident


DEFAULT_SEVERITY = 2  # customers are told of it, and of its end even if nobody writes


@verb(
    "window severity urgent issue resolution scope works data action short link affected audiences owner "
    "internal id edit"
)
def schedule(
    said: VerbInput, title: Annotated[str | None, argument("A title, or a preset's name.")] = None
) -> None:
    """Announce planned work: write its file, show what goes out, ask for confirmation, and send.

    Readers are reminded before it begins, and their calendars are kept up to date. Default severity: 2.

    Example: commcast schedule "Database moves" --window "2026-12-05 02:00/04:00"
    --issue "Payments pause for 10 minutes." --resolution "We move the database."
    """
    desk = desk_now(said.folder)
    if "window" in said.keys:
        said.keys["window"] = written(read_window(desk, said.keys["window"]))
    data = {"kind": "maintenance", **first_words(desk.config, title, said.keys)}
    if "severity" not in data:
        data["severity"] = DEFAULT_SEVERITY
        say(f"Severity {DEFAULT_SEVERITY} (--severity was not given): it decides who is told, and how often.")
    begin(desk, completed(desk, data, asked=not said.edit), said, partial(clock_times.check_new, desk))


@verb("incident issue resolution scope works data action short link next_update internal edit")
def start(said: VerbInput) -> None:
    """Announce that planned work has started.

    Example: commcast start database1
    """
    place = _find_maintenance(said)
    window, name = window_of(place.incident), place.incident.id
    if place.incident.latest.status in clock_times.BEGUN:
        refuse("", f"{name} has already begun", f"post an update with: commcast update {name}")
    announced = shown(place.desk, window)
    if place.desk.now >= window.end:
        refuse("", f"the window of {name} is over ({announced})", clock_times.how_to_go_on(name))
    if place.desk.now < window.start - clock_times.EARLY:
        remedy = f'reschedule it before starting early: commcast reschedule {name} --window "…"'
        refuse("", f"{name} is announced for {announced}", remedy)
    append_and_send(place, said, {"status": "in_progress"})


@verb("incident because issue resolution scope works data action short link next_update internal edit")
def extend(
    said: VerbInput,
    until: Annotated[str | None, text_option("The new end: 05:00, or 2026-12-05 05:00.")] = None,
) -> None:
    """Announce that planned work is taking longer.

    Example: commcast extend --until 05:00 --because "Copying takes longer than planned."
    """
    place = _find_maintenance(said)
    if until is None:
        refuse("", "--until is missing", "write the new end: --until 05:00")
    window = clock_times.longer(place.desk, place.incident, until)
    clock_times.say_window(place.desk, window)
    append_and_send(place, said, {"status": "extended", "window": written(window)})


@verb("incident window urgent because issue resolution scope works data action short link internal edit")
def reschedule(said: VerbInput) -> None:
    """Move planned work to another time; calendars and reminders move with it.

    Example: commcast reschedule database1 --window "2026-12-06 02:00/04:00"
    """
    place = _find_maintenance(said)
    if "window" not in said.keys:
        refuse("", "--window is missing", 'write the new time: --window "2026-12-06 02:00/04:00"')
    found, old = read_window(place.desk, said.keys["window"]), window_of(place.incident)
    clock_times.check_ahead(place.desk, found)
    if (found.start, found.end) == (old.start, old.end):
        refuse("--window", "this is already the window", "give the new one")
    clock_times.say_window(place.desk, found)
    append_and_send(place, said, {"status": "rescheduled", "window": written(found)})


@verb("incident fixed remains if_it_persists data link ended internal edit")
def complete(said: VerbInput) -> None:
    """Announce that planned work is done, and what readers may still notice.

    Example: commcast complete database1 --fixed "The database runs on new hardware."
    """
    place = _find_maintenance(said)
    latest, window, name = place.incident.latest, window_of(place.incident), place.incident.id
    if latest.status not in clock_times.BEGUN and place.desk.now < window.start:
        remedy = f'cancel it with: commcast cancel {name} --because "…"'
        refuse("", f"{name} has not begun ({shown(place.desk, window)})", remedy)
    typed = typed_words(said, "fixed", planned=True)
    if typed and "remains" not in said.keys:
        answer = prompt.ask("What may readers still notice? (empty: nothing)")
        typed |= {"remains": answer} if answer else {}
    ended_now = {"ended": write_instant(place.desk.now)}
    append_and_send(place, said, ended_now | said.keys | typed | {"status": "completed"})


@verb("incident because internal edit")
def cancel(said: VerbInput) -> None:
    """Cancel planned work, or an expected incident that will not happen.

    Example: commcast cancel database1 --because "The new hardware came damaged."
    """
    place = find_open(
        said,
        is_meant=lambda each, is_open: is_open and (_is_planned(each) or _is_expected(each)),
        what="maintenances or expected incidents are open",
        none="nothing is planned or expected: there is nothing to cancel",
    )
    found = place.incident
    if not (_is_planned(found) or _is_expected(found)):
        remedy = f'end it with: commcast resolve {found.id} --fixed "…"'
        refuse("", f"{found.id} is an incident that has begun", remedy)
    if not found.latest.is_end:
        refuse_untold(place)
    status = "cancelled" if _is_planned(found) else "retracted"
    append_and_send(place, said, typed_words(said, "because") | {"status": status})


def _find_maintenance(said: VerbInput) -> Place:
    place = find_open(
        said,
        is_meant=lambda each, is_open: is_open and _is_planned(each),
        what="maintenances are open",
        none="no maintenance is open; plan one with: commcast schedule",
    )
    found = place.incident
    if not _is_planned(found):
        remedy = f"post an update with: commcast update {found.id}"
        refuse("", f"{found.id} is an incident, not maintenance", remedy)
    if found.latest.is_end:
        refuse("", f"{found.id} is {found.latest.status} already", "schedule it again: commcast schedule")
    return place


def _is_planned(incident: Incident) -> bool:
    return incident.kind == "maintenance"


def _is_expected(incident: Incident) -> bool:
    return incident.latest.status == "expected"
