"""Wrong times that no words hold: what messages reckon from an estimate, an end, a window or a beginning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, NoReturn

from commcast.errors import Fault, InputError

if TYPE_CHECKING:
    from commcast.desk import Desk
    from commcast.model import Incident

_CLOCK = re.compile(r"(?<![\d:])(\d{1,2}):(\d{2})(?![\d:])")


def right_times(desk: Desk, incident: Incident, wrong: str, right: str) -> dict[str, Any]:
    """Return the keys that put right what `wrong` names, where it is a time that messages reckon.

    To say what is right and to show the wrong time below it would help nobody. Raises InputError where
    another command says such a time.
    """
    from commcast.instants import write_instant

    key, shown, zone = next(_named(incident, wrong, desk), ("", desk.now, desk.config.zone))
    if not key:
        return {}
    if key == "window":
        move = f'commcast reschedule {incident.id} --window "…"'
        if incident.latest.status in {"in_progress", "verifying", "extended"}:
            move = f'commcast extend {incident.id} --until "…"'
        _refuse("this is a time of the planned window", f"{move} tells both windows")
    if key == "started":
        remedy = f'tell it in words: commcast update {incident.id} --issue "…"'
        _refuse("this is when it began, which was released and stays", remedy)
    meant = clock_near(shown, right, zone)
    if key == "ended":
        if meant is None:
            _refuse(f"{right!r:.40} names no one time of the end", "write its clock time: --right 10:01")
        return {key: write_instant(meant)}
    if meant is None or incident.latest.timeframe.earliest is not None:
        _refuse("this is a time of the expected end", 'say the right one as well: --timeframe "…"')
    return {key: f"by {write_instant(meant)}"}


def _named(incident: Incident, wrong: str, desk: Desk) -> Iterator[tuple[str, datetime, tzinfo]]:
    """Yield key, moment and zone of each time that messages reckon and `wrong` names by its clock time."""
    latest, clocks = incident.latest, {f"{int(found[1]):02}:{found[2]}" for found in _CLOCK.finditer(wrong)}
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

    None where it names none or several.
    """
    clocks = _CLOCK.findall(text)
    if len(clocks) != 1 or int(clocks[0][0]) > 23 or int(clocks[0][1]) > 59:
        return None
    clock, day = time(int(clocks[0][0]), int(clocks[0][1])), moment.astimezone(zone).date()
    days = (day + timedelta(days=number) for number in (-1, 0, 1))  # ten to twelve is the day before
    return min((datetime.combine(each, clock, zone) for each in days), key=lambda found: abs(found - moment))


def _refuse(what: str, remedy: str) -> NoReturn:
    raise InputError(Fault("--wrong", 0, 0, what, remedy))
