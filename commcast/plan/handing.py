"""What the people of an incident are told of its hand-overs: offered, still not taken, and taken (pure)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta

from commcast.config import Config
from commcast.duty import HandOver, on_duty_for
from commcast.model import Incident
from commcast.plan.kinds import moment_id
from commcast.plan.nudging import Nudge, Why, nudge_id

NOT_TAKEN = timedelta(minutes=10)  # after so long both are told once more that nobody took it


def handing_nudges(
    incident: Incident,
    handovers: Sequence[HandOver],
    config: Config,
    now: datetime,
    *,
    nudged: Collection[str],
) -> tuple[Nudge, ...]:
    """Return what is to be told of the last hand-over and was not told yet; earlier ones are old news.

    Both are told: who has it, and to whom it goes; and who offered it, where that is a third one. Nothing is
    told of an incident that has ended.
    """
    if not handovers or incident.latest.is_end:
        return ()
    last = handovers[-1]
    before = on_duty_for(incident, handovers[:-1]).owner
    involved = (before or "", last.person, last.offered_by)
    told = tuple(dict.fromkeys(key for key in involved if key in config.people))
    if last.taken_at is not None:
        found = [] if before == last.person else [_taken(incident, last, last.taken_at, before, told, config)]
    else:
        waits = on_duty_for(incident, handovers).offered == last
        found = list(_offered(incident, last, told, config, now)) if waits else []
    return tuple(nudge for nudge in found if nudge.id not in nudged)


def _offered(
    incident: Incident, last: HandOver, told: tuple[str, ...], config: Config, now: datetime
) -> Iterator[Nudge]:
    line = f"commcast take {incident.id} --as {last.person}"
    to, by = _name(last.person, config), _name(last.offered_by, config)
    word = f": {last.note}" if last.note else ""
    offered = nudge_id(Why.HANDOVER, last.person, moment_id(last.offered_at))
    notes = {offered: f"{by} offers this to {to}{word}"}
    if now - last.offered_at >= NOT_TAKEN:
        notes[f"{offered}:again"] = f"{to} has not taken this over yet"
    for name, note in notes.items():
        yield Nudge(
            name,
            Why.HANDOVER,
            line,
            note=note,
            told=told,
            line_for=last.person,
            line_of_others=f"commcast status {incident.id}",
        )


def _taken(
    incident: Incident,
    last: HandOver,
    at: datetime,
    before: str | None,
    told: tuple[str, ...],
    config: Config,
) -> Nudge:
    source = f" from {_name(before, config)}" if before else ""
    return Nudge(
        nudge_id(Why.TAKEN, last.person, moment_id(at)),
        Why.TAKEN,
        f"commcast status {incident.id}",
        note=f"{_name(last.person, config)} has taken this over{source}",
        told=told,
    )


def _name(person: str, config: Config) -> str:
    found = config.people.get(person)
    return found.name if found else person
