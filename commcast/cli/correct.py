"""The command correct: tells readers who got something wrong what is right."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from datetime import time as time_of_day
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from commcast.cli.clock_times import BEGUN
from commcast.cli.options import VerbInput, clock, refuse, text_option, update_entry, verb
from commcast.cli.output import say
from commcast.cli.release import send_incident
from commcast.cli.session import Place, desk_now, ledger_of, who
from commcast.cli.verbs import append, check_unchanged, checked_update, find_in
from commcast.errors import Fault, InputError
from commcast.files import FORBIDDEN
from commcast.model.text import holds, nearest, put_right, put_title_right
from commcast.model.times import CLOCK, clocks_in, parse_timeframe, write_instant

if TYPE_CHECKING:
    from commcast.ledger.store import Ledger
    from commcast.model.incident import Incident, Update
    from commcast.operations.desk import Desk
    from commcast.operations.earlier_words import EarlierWords


# How long to wait for the answers to what was handed over before the stop.
_PATIENCE = 30.0  # seconds
_BETWEEN_LOOKS = 0.1


@verb("incident action timeframe internal")
def correct(
    said: VerbInput,
    wrong: Annotated[str, text_option("The wrong words, as they were sent: '3 hours'.")],
    right: Annotated[str, text_option("What is right instead: '30 minutes'.")],
    number: Annotated[
        list[int] | None,
        typer.Option("--update", help="Only what this update said; repeatable.", show_default=False),
    ] = None,
) -> None:
    """Correct something that was sent: its readers get a correction, everyone else the right wording.

    Sending stops at once, on every host. Readers who got the wrong words, or may have got them, are told on
    the same channel what was wrong and what is right; everyone else gets only the right wording.

    Example: commcast correct pay7 --wrong "3 hours" --right "30 minutes"
    """
    wrong, right = _checked(wrong.strip(), right.strip())
    keys = {key: text for key, text in said.keys.items() if key not in {"wrong", "right"}}
    desk = desk_now(said.folder)
    none = "no incident is open; name the one to correct: commcast correct ID …"
    with ledger_of(desk, dry_run=said.dry_run) as ledger:
        place = find_in(desk, ledger, said.incident, lambda _, is_open: is_open, "incidents are open", none)
        found = _found(place, ledger, wrong, number or [])
        times = {} if found.in_words or "timeframe" in keys else _right_times(place, wrong, right)
        entry = update_entry(_entry(place, found, wrong, right) | times | keys)
        incident, seen = checked_update(place.desk, place.incident, entry)
        _tell_of_title(place.incident, wrong, right)
        if not said.dry_run:
            check_unchanged(place, incident, said, ledger)
            if found.numbers:
                _halt(ledger, incident.id)
            incident = append(place.desk, incident, entry, seen)
        raise typer.Exit(send_incident(replace(place, incident=incident), ledger, said))


def _checked(wrong: str, right: str) -> tuple[str, str]:
    """Return both as they are. Raises InputError if one is empty or unfit, or both say the same."""
    faults = [
        Fault(option, 0, 0, "is empty" if not text else "contains a control character", "use plain text")
        for option, text in (("--wrong", wrong), ("--right", right))
        if not text or FORBIDDEN.search(text)
    ]
    if faults:
        raise InputError(faults)
    if wrong == right:
        refuse("--right", "says the same as --wrong", "write what is right instead")
    return wrong, right


@dataclass(frozen=True, slots=True)
class _Found:
    """Where the wrong words are: the updates whose frozen messages contain them, and how.

    `as_timeframe`: as the expected end. `in_words`: in what somebody wrote. Otherwise messages compute it.
    """

    numbers: tuple[int, ...]
    as_timeframe: bool
    in_words: bool


def _found(place: Place, ledger: Ledger, wrong: str, only: Sequence[int]) -> _Found:
    """Return where the wrong words are. Raises InputError, naming the nearest words, if nowhere."""
    from commcast.operations.earlier_words import words_of, wrong_in
    from commcast.plan.corrections import says

    incident = place.incident
    if unknown := [number for number in only if not 1 <= number <= len(incident.updates)]:
        remedy = f"write a number from 1 to {len(incident.updates)}"
        refuse("--update", f"{incident.id} has no update {unknown[0]}", remedy)
    with ledger.read() as connection:
        said = [words for words in words_of(connection, incident.id) if not only or words.number in only]
    same = [update for update in incident.updates if (update.wrong or "").casefold() == wrong.casefold()]
    before = {number: update for update in same for number in update.corrects}
    zone = place.desk.config.zone
    holding = {
        words.number: hit.kind == "timeframe"
        for words in said
        if words.number not in before and (hit := wrong_in(words, incident, wrong, zone))
    }
    if not holding and (said or not says(incident.latest, wrong)):
        _refuse_nowhere(incident, wrong, said, before)
    as_timeframe = bool(holding) and all(holding.values())
    written = any(says(incident.update(number), wrong) for number in holding)
    return _Found(tuple(sorted(holding)), as_timeframe, written or as_timeframe or not holding)


def _refuse_nowhere(
    incident: Incident, wrong: str, said: Iterable[EarlierWords], before: Mapping[int, Update]
) -> NoReturn:
    if before:
        done = next(iter(before.values()))
        what = f"{wrong!r:.80} was corrected already, to {done.right!r:.80}, by update {done.number}"
        refuse("--wrong", what, "if that is wrong too, pass it with --wrong")
    near = nearest(wrong, [text for words in said for text in words.texts])
    remedy = f"the nearest is {near!r:.80}" if near else f"see what was said, in {incident.path}"
    refuse("--wrong", f"no message of {incident.id} says {wrong!r:.80}", remedy)


def _entry(place: Place, found: _Found, wrong: str, right: str) -> dict[str, Any]:
    """Return the keys of the update that corrects."""
    from commcast.plan.corrections import corrected

    latest = place.incident.latest
    keys = corrected(latest, wrong, right)
    if latest.because and latest.next_update and latest.next_update > place.desk.now:
        # Longer than the cadence: a correction makes no promise sooner.
        keys |= {"next_update": write_instant(latest.next_update)}
        keys |= {"because": put_right(latest.because, wrong, right)}
    if keys.get("ended"):
        keys["ended"] = write_instant(keys["ended"])
    if found.as_timeframe:
        keys["timeframe"] = _timeframe(place, found.numbers[0], right)
    if found.numbers:
        keys |= {"corrects": list(found.numbers), "wrong": wrong, "right": right}
    return {key: value for key, value in keys.items() if value not in (None, "", {})}


def _timeframe(place: Place, number: int, right: str) -> str:
    """Return the right expected end for the file: counted, as the wrong one was, from its message."""
    desk, update = place.desk, place.incident.update(number)
    try:
        meant = parse_timeframe(right, update.at, desk.config.zone)
    except ValueError:
        remedy = "write --right as 30 minutes, 1h to 2h, by 14:00 or unknown, or add --timeframe"
        refuse("--right", f"{right!r:.80} is not an expected end", remedy)
    if meant.latest is None:
        return "unknown"
    if meant.earliest is not None or meant.latest <= desk.now:
        return right  # counted from now: a range, or an end that would have passed
    return f"by {write_instant(meant.latest)}"


def _tell_of_title(incident: Incident, wrong: str, right: str) -> None:
    """Say that a title with the wrong words stays in the file, and how readers see it from now on."""
    if holds(told := incident.title_as_of(), wrong):
        title = put_title_right(told, wrong, right)
        say(
            f"The title contains it too: from now on readers see {title!r:.120}; the title in the file stays "
            "as it was released."
        )


def _halt(ledger: Ledger, incident: str) -> None:
    """Stop sending, and wait for the answers to what is on its way, to know who got it."""
    from commcast.ledger.fence import stop_to_correct
    from commcast.ledger.settle import settle_lost
    from commcast.ledger.wrong_words import on_their_way

    with ledger.write() as connection:
        stopped_by = stop_to_correct(connection, incident, who(), clock())
    before = f" It was stopped by {stopped_by}; the correction lifts that." if stopped_by else ""
    say(f"{incident} is stopped until the correction is released.{before}")
    deadline, has_said = time.monotonic() + _PATIENCE, False
    while True:
        with ledger.write() as connection:
            settle_lost(connection, clock(), incident)
            waits = on_their_way(connection, incident)
        if not waits or time.monotonic() > deadline:
            return
        if not has_said:
            say(f"Waiting for the answers to {waits:,} messages that are in flight …")
            has_said = True
        time.sleep(_BETWEEN_LOOKS)


def _right_times(place: Place, wrong: str, right: str) -> dict[str, Any]:
    """Return the keys that correct what `wrong` names, if it is a time that messages compute.

    Otherwise a correction would still show the wrong time below. Raises InputError if another command says
    such a time.
    """
    desk, incident = place.desk, place.incident
    key, shown, zone = next(_named(incident, wrong, desk), ("", desk.now, desk.config.zone))
    if not key or holds(incident.title_as_of(), wrong):
        return {}
    if key == "window":
        begun = incident.latest.status in BEGUN
        move = f'extend {incident.id} --until "…"' if begun else f'reschedule {incident.id} --window "…"'
        refuse("--wrong", "this time is part of the planned window", f"to move it: commcast {move}")
    if key == "started":
        remedy = f'explain it in an update: commcast update {incident.id} --issue "…"'
        refuse("--wrong", "this is the start time, which was released and cannot change", remedy)
    meant = clock_near(shown, right, zone)
    if key == "ended":
        if meant is None:
            remedy = "write its clock time: --right 10:01"
            refuse("--wrong", f"{right!r:.40} is not an end time", remedy)
        return {key: write_instant(meant)}
    if meant is None or incident.latest.timeframe.earliest is not None:
        remedy = 'pass the right one as well: --timeframe "…"'
        refuse("--wrong", "this time is part of the timeframe", remedy)
    return {key: f"by {write_instant(meant)}"}


def _named(incident: Incident, wrong: str, desk: Desk) -> Iterator[tuple[str, datetime, tzinfo]]:
    """Yield key, moment and zone of each time that messages compute and `wrong` names by its clock time."""
    latest, clocks = incident.latest, clocks_in(wrong)
    moments: list[tuple[str, datetime | None]] = [
        ("ended", latest.ended),
        ("window", latest.window.start if latest.window else None),
        ("window", latest.window.end if latest.window else None),
        ("timeframe", None if latest.is_end or latest.window else latest.timeframe.latest),
        ("timeframe", None if latest.is_end or latest.window else latest.timeframe.earliest),
        ("started", None if latest.window else incident.started),
    ]
    for zone in (desk.config.zone, UTC):
        for key, moment in moments:
            if moment is not None and f"{moment.astimezone(zone):%H:%M}" in clocks:
                yield key, moment, zone


def clock_near(moment: datetime, text: str, zone: tzinfo) -> datetime | None:
    """Return the moment next to `moment` at which clocks in `zone` show the one time that `text` names.

    None if it names none or several.
    """
    clocks = CLOCK.findall(text)
    if len(clocks) != 1 or int(clocks[0][0]) > 23 or int(clocks[0][1]) > 59:
        return None
    clock, day = time_of_day(int(clocks[0][0]), int(clocks[0][1])), moment.astimezone(zone).date()
    days = (day + timedelta(days=number) for number in (-1, 0, 1))  # ten to twelve is the day before
    return min((datetime.combine(each, clock, zone) for each in days), key=lambda found: abs(found - moment))
