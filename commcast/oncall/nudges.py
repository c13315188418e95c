"""When an incident's own people are nudged, and about what."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from commcast.config.settings import Config
from commcast.model.history import History, Said
from commcast.model.incident import Channel, Incident, Kind, Update
from commcast.model.oncall import Handover, on_duty_for
from commcast.model.times import short_duration
from commcast.plan.cadence import interval, window_bound
from commcast.plan.notices import (
    Due,
    Notice,
    NoticeKind,
    holds_in_a_row,
    is_named_for,
    moment_id,
    name_of_promise,
    newest_released,
)
from commcast.plan.reasons import UPDATE_STALE

LONG_WAIT = timedelta(minutes=30)  # a longer one is nudged twice
MARKS, MARKS_OF_LONG_WAIT = (75,), (50, 85)  # percent of the wait for a promise
BEFORE_WINDOW = (timedelta(minutes=30), timedelta(minutes=10))
DRAFT_WAITS = timedelta(minutes=3)


class Why(StrEnum):
    """What a nudge is about; it is part of the JSON that the command gets."""

    PROMISE = "promise"
    LATE = "late"
    HELD = "held"
    DRAFT = "draft"
    ESTIMATE = "estimate"
    BROKEN_FILE = "broken file"
    HANDOVER = "handover"
    TAKEN = "taken"


@dataclass(frozen=True, slots=True)
class Nudge:
    """One nudge for one incident, for all its audiences. `line` is the command to paste.

    `deadline` is what it warns of (aware), None where it warns of no time; `audiences` are those that wait.
    `held` are those of them to whom a holding statement goes by itself: nobody else hears anything if nobody
    writes. `backup_too` nudges the backup as well. `note` is said as well, "" for nothing. `told` are the
    people it is for, where that is not who is on duty. Where the line is for one of them alone, `line_for`,
    the rest read `line_of_others`.
    """

    id: str
    why: Why
    line: str
    deadline: datetime | None = None
    audiences: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    backup_too: bool = False
    note: str = ""
    told: tuple[str, ...] = ()
    line_for: str = ""
    line_of_others: str = ""


def nudges_due(
    incident: Incident,
    history: History,
    lines: Sequence[Due],
    config: Config,
    now: datetime,
    *,
    drafted: Mapping[int, datetime],
    nudged: Collection[str],
) -> tuple[Nudge, ...]:
    """Return the nudges that are due now and were not given yet.

    `lines` is the plan of this moment. `drafted` tells since when each unreleased update waits, `nudged` are
    the ids of the nudges given. Of several marks that have passed only the last is given: no backlog.
    """
    found = [
        *_of_drafts(incident, drafted, now),
        *_of_promises(incident, history, lines, config, now),
        *_of_estimate(incident, history, now),
        *_of_stale(incident, lines),
        *_of_unheard(incident, history, lines, config, now),
    ]
    return tuple(nudge for nudge in found if nudge.id not in nudged)


def first_nudge(update: Update, said_at: datetime, promised: datetime) -> datetime:
    """Return when an incident's people are nudged first about a promise made at `said_at`."""
    if window_bound(update, promised):
        return max(said_at, promised - BEFORE_WINDOW[0])
    wait = promised - said_at
    return said_at + wait * (MARKS_OF_LONG_WAIT if wait > LONG_WAIT else MARKS)[0] / 100


def broken_file_nudge(incident: Incident, faults: str, where: str = "") -> Nudge:
    """Return the nudge that says that a file is broken: once for each way in which it is.

    `where` is the file that is wrong, where it is not the incident's own: a list, a template.
    """
    digest = hashlib.sha256(faults.encode()).hexdigest()[:12]
    note = f"{where or incident.path} is broken: readers hear no news before it is mended"
    line = f"commcast lint {incident.path}"
    return Nudge(nudge_id("broken", digest), Why.BROKEN_FILE, line, backup_too=False, note=note)


def nudge_id(*parts: object) -> str:
    """Return a nudge's id in the ledger: "nudge:2026-11-21T09:25:00Z:75"."""
    return ":".join([NoticeKind.NUDGE, *(str(part) for part in parts)])


def update_line(incident: Incident, update: Update, config: Config) -> str:
    """Return the command that says that nothing is new, to be pasted and completed."""
    every = interval(config.cadence_of(update.severity), incident, update, "")
    return f'commcast update {incident.id} --nothing-new "…" --next {short_duration(every)}'


def _of_drafts(incident: Incident, drafted: Mapping[int, datetime], now: datetime) -> Iterator[Nudge]:
    if drafted and now - drafted[newest := max(drafted)] >= DRAFT_WAITS:
        yield Nudge(nudge_id(Why.DRAFT, newest), Why.DRAFT, f"commcast send {incident.id}")


def _of_promises(
    incident: Incident,
    history: History,
    lines: Sequence[Due],
    config: Config,
    now: datetime,
) -> Iterator[Nudge]:
    update = newest_released(incident, history)
    if update is None or update.is_end:
        return
    spoken = [] if history.stopped_by else lines  # nothing goes by itself of what somebody stopped
    going = {line.notice.id for line in spoken if line.is_due}
    by_itself = [line.notice for line in spoken if line.from_ is not None]
    by_promise: defaultdict[datetime, list[Said]] = defaultdict(list)
    for promised, said in _awaited(history, lines):
        by_promise[promised].append(said)
    for promised in sorted(by_promise):
        waiting = by_promise[promised]
        is_going = any(is_named_for(notice, promised) for notice in going)
        is_asleep = any(holds_in_a_row(history, said.channel, said.audience) for said in waiting)
        mark, why = _mark(update, promised, waiting, now, is_first_hold=is_going and not is_asleep)
        if not mark:
            continue
        audiences = tuple(dict.fromkeys(said.audience for said in waiting))
        unheld = {said.audience for said in waiting if not _is_held(said, promised, by_itself)}
        yield Nudge(
            nudge_id(name_of_promise(promised, waiting, history.said), mark),
            why,
            _line_for(incident, update, promised, config),
            deadline=promised,
            audiences=audiences,
            held=tuple(name for name in audiences if name not in unheld),
            note=_stop_note(incident, history),
            # At the first statement that goes by itself the owner is likely asleep: from then on both.
            backup_too=why is not Why.PROMISE or is_asleep,
        )


def _is_held(said: Said, promised: datetime, by_itself: Iterable[Notice]) -> bool:
    """Return whether one of these statements, which go by themselves, keeps what these words promised."""
    return any(
        notice.channel is said.channel
        and said.audience in notice.audiences
        and is_named_for(notice.id, promised)
        for notice in by_itself
    )


def _stop_note(incident: Incident, history: History) -> str:
    by = history.stopped_by
    return f"It is stopped by {by}; commcast resume {incident.id} lifts that." if by else ""


def _of_stale(incident: Incident, lines: Sequence[Due]) -> Iterator[Nudge]:
    """Wake for words that somebody released and that went to nobody before their own promise had passed."""
    stale = [line.notice for line in lines if line.reason == UPDATE_STALE]
    if stale:
        number = stale[0].number
        note = f"Update {number} was released and never sent: it is older than its own promise"
        line = f"commcast send {incident.id} --late"
        yield Nudge(nudge_id("stale", number), Why.LATE, line, backup_too=True, note=note)


def _of_unheard(
    incident: Incident, history: History, lines: Sequence[Due], config: Config, now: datetime
) -> Iterator[Nudge]:
    """Wake where all there was to say reached nobody: held for a night and dropped, or nobody may hear it."""
    update = newest_released(incident, history)
    if update is None or update.is_end or history.said:
        return
    frozen = [line.notice for line in lines if (line.notice.id, line.notice.channel) in history.begun]
    promised = [by for notice in frozen for name in notice.audiences if (by := notice.next_update_by[name])]
    if promised and now >= max(promised):
        note = f"Nobody has heard of it yet: update {update.number} reached no reader (commcast log says why)"
        line = update_line(incident, update, config)
        yield Nudge(nudge_id("unheard", update.number), Why.LATE, line, backup_too=True, note=note)


def _awaited(history: History, lines: Sequence[Due]) -> Iterator[tuple[datetime, Said]]:
    """Yield each promise that readers wait for, and the words that made it.

    Words that reached nobody yet make a promise, and leave the one before them standing. A promise of texts
    that nothing keeps by itself is a person's to keep.
    """
    told = _told_by(history.said)
    heard = _told_by([said for said in history.said if said.heard])
    for said in (*told.values(), *(said for name, said in heard.items() if not told[name].heard)):
        if said.promised is not None:
            yield said.promised, said
    for line in lines:
        promised = line.notice.keeps
        by_itself = not history.stopped_by and (line.is_due or line.from_ is not None)
        if promised is not None and not by_itself:
            made = [each for each in history.said if promised in each.text_promises]
            yield promised, next(each for each in reversed(made) if each.audience in line.notice.audiences)


def _told_by(said: Iterable[Said]) -> Mapping[str, Said]:
    """Return what each audience was told last, by mail where it gets mail."""
    return {
        each.audience: each
        for channel in (Channel.SMS, Channel.EMAIL)
        for each in said
        if each.channel is channel
    }


def _mark(
    update: Update, promised: datetime, waiting: Sequence[Said], now: datetime, *, is_first_hold: bool
) -> tuple[str, Why]:
    """Return the last mark that has passed, "" where none has."""
    if is_first_hold:
        return Why.HELD.value, Why.HELD
    if now > promised:
        return Why.LATE.value, Why.LATE
    if window_bound(update, promised):
        passed = [short_duration(before) for before in BEFORE_WINDOW if now >= promised - before]
        return (passed[-1], Why.PROMISE) if passed else ("", Why.PROMISE)
    told = min(said.at for said in waiting)
    wait = promised - told
    marks = MARKS_OF_LONG_WAIT if wait > LONG_WAIT else MARKS
    reached = [mark for mark in marks if now >= told + wait * mark / 100]
    return (str(reached[-1]), Why.PROMISE) if reached else ("", Why.PROMISE)


def _line_for(incident: Incident, update: Update, promised: datetime, config: Config) -> str:
    window = update.window
    if incident.kind is Kind.MAINTENANCE and window is not None and window_bound(update, promised):
        is_start = promised < window.end
        return f"commcast start {incident.id}" if is_start else f"commcast complete {incident.id}"
    return update_line(incident, update, config)


def _of_estimate(incident: Incident, history: History, now: datetime) -> Iterator[Nudge]:
    update = newest_released(incident, history)
    if update is None or not history.said:
        return
    latest = update.timeframe.latest
    if update.is_end or update.window is not None or latest is None or now < latest:
        return
    line = f"commcast update {incident.id} --timeframe unknown"
    yield Nudge(nudge_id(Why.ESTIMATE, moment_id(latest)), Why.ESTIMATE, line, deadline=latest)


NOT_TAKEN = timedelta(minutes=10)  # after so long both are told once more that nobody took it


def handing_nudges(
    incident: Incident,
    handovers: Sequence[Handover],
    config: Config,
    now: datetime,
    *,
    nudged: Collection[str],
) -> tuple[Nudge, ...]:
    """Return the nudges about the last hand-over that were not given yet; earlier ones are old news.

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
    incident: Incident, last: Handover, told: tuple[str, ...], config: Config, now: datetime
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
    last: Handover,
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
