"""When an incident's own people are nudged, and about what."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from commcast.config.settings import Config
from commcast.model.history import History, Said, way_on
from commcast.model.incident import Channel, Incident, Kind, Update
from commcast.model.oncall import Handover, on_duty_for
from commcast.model.times import is_past, short_duration
from commcast.plan.cadence import interval, planned_bound
from commcast.plan.notices import (
    Due,
    NoticeKind,
    holds_in_a_row,
    is_named_for,
    last_said,
    moment_id,
    name_of_promise,
    newest_released,
)
from commcast.plan.owed import first_word_by, owed
from commcast.plan.reasons import UPDATE_STALE


class Why(StrEnum):
    """What a nudge is about; it is part of the JSON that the command gets."""

    PROMISE = "promise"
    LATE = "late"
    UNTOLD = "untold"
    PROVIDER = "provider"
    HELD = "held"
    DRAFT = "draft"
    ESTIMATE = "estimate"
    BROKEN_FILE = "broken file"
    HANDOVER = "handover"
    TAKEN = "taken"


_NAME = {Channel.EMAIL: "Email", Channel.SMS: "SMS"}
LONG_WAIT = timedelta(minutes=30)  # people are nudged twice during a longer one
MARKS, MARKS_OF_LONG_WAIT = (75,), (50, 85)  # percent of the wait for a promise
BEFORE_WINDOW = (timedelta(minutes=30), timedelta(minutes=10))
DRAFT_WAITS = timedelta(minutes=3)
NOT_TAKEN = timedelta(minutes=10)  # after this, a hand-over that nobody took is nudged about again


@dataclass(frozen=True, slots=True)
class Nudge:
    """One nudge for one incident, for all its audiences. `line` is the command to paste.

    `deadline` is the time it warns about, None for none. `audiences` are waiting; those in `held` get a
    holding statement automatically, the first at `held_at`, the others get nothing unless somebody writes.
    `backup_too` also nudges the backup. `note` is added to the text, "" for nothing. `told` are the people it
    is for, if not those on duty. If the line is for one of them alone, `line_for`, the others get
    `line_of_others`.
    """

    id: str
    why: Why
    line: str
    deadline: datetime | None = None
    audiences: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    held_at: datetime | None = None
    backup_too: bool = False
    note: str = ""
    told: tuple[str, ...] = ()
    line_for: str = ""
    line_of_others: str = ""


class _Moment(NamedTuple):
    """One open incident at one moment; `update` is its newest released one, `lines` is the plan."""

    incident: Incident
    update: Update
    history: History
    lines: Sequence[Due]
    config: Config
    now: datetime


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
    """Return the nudges that are due now and were not sent yet.

    `lines` is the plan for this moment, `drafted` says since when each unreleased update has been waiting,
    and `nudged` holds the ids of nudges already sent. If several marks have passed, only the last is nudged
    about: there is no backlog.
    """
    found = []
    update = newest_released(incident, history)
    if drafted and now - drafted[newest := max(drafted)] >= DRAFT_WAITS:
        due = first_word_by(incident, config, min(drafted.values())) if update is None else None
        late = bool(due and is_past(due, now))
        name = nudge_id(Why.DRAFT, newest, *["late"] * late)
        found.append(Nudge(name, Why.DRAFT, f"commcast send {incident.id}", due, backup_too=late))
    if update is not None and not update.is_end:
        case = _Moment(incident, update, history, lines, config, now)
        found += [*_of_promises(case), *_of_estimate(case), *_of_stale(case)]
        found += [*_of_unheard(case), *_of_untold(case)]
    return tuple(nudge for nudge in found if nudge.id not in nudged)


def first_nudge(update: Update, said_at: datetime, promised: datetime) -> datetime:
    """Return when an incident's people are first nudged about a promise made at `said_at`."""
    return max(said_at, min(_marks(update, said_at, promised).values()))


def broken_file_nudge(incident: Incident, faults: str, where: str = "") -> Nudge:
    """Return the nudge about a broken file: one for each way in which it is broken.

    `where` is the file, if not the incident's own: a list or a template.
    """
    digest = hashlib.sha256(faults.encode()).hexdigest()[:12]
    note = f"{where or incident.path} is broken: readers get no updates until it's fixed"
    return Nudge(nudge_id("broken", digest), Why.BROKEN_FILE, f"commcast lint {incident.path}", note=note)


def provider_nudge(incident: str, provider: str, number: int, note: str, is_refusal: bool) -> Nudge:
    """Return the nudge about a provider that takes nothing of update `number`; `note` says all about it."""
    line = "commcast doctor --connect" if is_refusal else f"commcast send {incident}"
    return Nudge(nudge_id(Why.PROVIDER, provider, number), Why.PROVIDER, line, note=note)


def nudge_id(*parts: object) -> str:
    """Return a nudge's id in the ledger: "nudge:2026-11-21T09:25:00Z:75"."""
    return ":".join(map(str, [NoticeKind.NUDGE, *parts]))


def update_line(incident: Incident, update: Update, config: Config) -> str:
    """Return the command that says that nothing is new, to be pasted and completed."""
    every = interval(config.cadence_of(update.severity), incident, update, "")
    return f'commcast update {incident.id} --nothing-new "…" --next {short_duration(every)}'


def _of_promises(case: _Moment) -> Iterator[Nudge]:
    history = case.history
    automatic = [] if history.stopped_by else case.lines  # a stop also stops what is sent automatically
    going = {line.notice.id for line in automatic if line.is_due}
    by_promise: defaultdict[datetime, list[Said]] = defaultdict(list)
    for promised, said in _awaited(case):
        by_promise[promised].append(said)
    for promised, waiting in sorted(by_promise.items()):
        is_going = any(is_named_for(notice, promised) for notice in going)
        is_asleep = any(holds_in_a_row(history, said.channel, said.audience) for said in waiting)
        mark, why = _mark(case, promised, waiting, is_first_hold=is_going and not is_asleep)
        if not mark:
            continue
        audiences = tuple(dict.fromkeys(said.audience for said in waiting))
        held_from = [(said.audience, _held_from(said, promised, automatic)) for said in waiting]
        unheld = {name for name, at in held_from if at is None}
        stop = (
            f"{history.stopped_by} stopped it; {way_on(case.incident.id, history.stopped_by)} lifts the stop."
        )
        yield Nudge(
            nudge_id(name_of_promise(promised, waiting, history.said), mark),
            why,
            _line_for(case, promised),
            deadline=promised,
            audiences=audiences,
            held=tuple(name for name in audiences if name not in unheld),
            held_at=min((at for _, at in held_from if at is not None), default=None),
            note=stop if history.stopped_by else "",
            # If a statement had to be sent automatically, the owner is probably asleep: from then on both.
            backup_too=why is not Why.PROMISE or is_asleep,
        )


def _held_from(said: Said, promised: datetime, automatic: Iterable[Due]) -> datetime | None:
    """Return from when an automatic statement keeps this promise to this audience, None if none does."""
    of_it = (line for line in automatic if is_named_for(line.notice.id, promised))
    of_it = (line for line in of_it if line.notice.channel is said.channel)
    return next((line.from_ for line in of_it if said.audience in line.notice.audiences), None)


def _of_estimate(case: _Moment) -> Iterator[Nudge]:
    latest = case.update.timeframe.latest
    if case.history.said and case.update.window is None and latest is not None and case.now >= latest:
        line = f"commcast update {case.incident.id} --timeframe unknown"
        yield Nudge(nudge_id(Why.ESTIMATE, moment_id(latest)), Why.ESTIMATE, line, deadline=latest)


def _of_stale(case: _Moment) -> Iterator[Nudge]:
    """Nudge about an update that was released but reached nobody before its own promise had passed."""
    stale = [line.notice for line in case.lines if line.reason == UPDATE_STALE]
    if stale:
        number = stale[0].number
        note = f"Update {number} was released but never sent, and its own promise has passed"
        line = f"commcast send {case.incident.id} --late"
        yield Nudge(nudge_id("stale", number), Why.LATE, line, backup_too=True, note=note)


def _of_unheard(case: _Moment) -> Iterator[Nudge]:
    """Nudge if nothing reached anybody: all was held for a night and dropped, or nobody may be told."""
    if case.history.said:
        return
    begun, number = case.history.begun, case.update.number
    frozen = [line.notice for line in case.lines if (line.notice.id, line.notice.channel) in begun]
    promised = [by for notice in frozen for name in notice.audiences if (by := notice.next_update_by[name])]
    if promised and case.now >= max(promised):
        note = f"Nobody has been told yet: update {number} reached no reader (commcast log says why)"
        line = update_line(case.incident, case.update, case.config)
        yield Nudge(nudge_id("unheard", number), Why.LATE, line, backup_too=True, note=note)


def _of_untold(case: _Moment) -> Iterator[Nudge]:
    """Nudge if a message has reached nobody in some audiences, as when a provider is down or refuses us.

    Again for each new promise that its words get. Audiences that are told a little later wait at most half as
    long as their promise is away.
    """
    for channel in () if case.history.stopped_by else Channel:
        waiting = defaultdict(list)
        for said in last_said(case.history, channel).values():
            if not said.heard and said.promised and case.now >= said.at + (said.promised - said.at) * 3 / 4:
                waiting[said.number, said.promised].append(said.audience)
        for (number, promised), audiences in waiting.items():
            some, name = ", ".join(audiences), case.incident.id
            yield Nudge(
                nudge_id(Why.UNTOLD, channel, number, moment_id(promised)),
                Why.UNTOLD,
                f"commcast send {name}",
                audiences=tuple(audiences),
                backup_too=True,
                note=f"{_NAME[channel]} isn't getting through: update {number} has reached nobody in {some}",
            )


def _awaited(case: _Moment) -> Iterator[tuple[datetime, Said]]:
    """Yield each promise that readers are waiting for, and the message that made it.

    What was never heard promises nothing: `_of_untold` speaks of it. Of an audience with email, the promise
    of its emails counts. A text's promise is left out if the text keeps it by itself.
    """
    history = case.history
    by_itself = {
        (name, line.notice.keeps)
        for line in case.lines
        if not history.stopped_by and (line.is_due or line.from_ is not None)
        for name in line.notice.audiences
    }
    spoken_for = {said.audience for said in history.said if said.heard and said.channel is Channel.EMAIL}
    for audience, _, by, made in owed(case.incident, history, case.config):
        if made is None:
            continue
        if made.channel is Channel.EMAIL or audience not in spoken_for or (audience, by) not in by_itself:
            yield by, made
        spoken_for.add(audience)


def _marks(update: Update, said_at: datetime, promised: datetime) -> dict[str, datetime]:
    """Return when people are nudged about a promise, oldest first, by the mark in the nudge's id."""
    if bound := planned_bound(update, promised):
        return {short_duration(before): bound - before for before in BEFORE_WINDOW}
    wait = promised - said_at
    marks = MARKS_OF_LONG_WAIT if wait > LONG_WAIT else MARKS
    return {str(mark): said_at + wait * mark / 100 for mark in marks}


def _mark(
    case: _Moment, promised: datetime, waiting: Sequence[Said], *, is_first_hold: bool
) -> tuple[str, Why]:
    """Return the last mark that has passed, "" if none has."""
    if is_first_hold or is_past(promised, case.now):
        why = Why.HELD if is_first_hold else Why.LATE
        return why.value, why
    marks = _marks(case.update, min(said.at for said in waiting), promised)
    return next((mark for mark in reversed(marks) if case.now >= marks[mark]), ""), Why.PROMISE


def _line_for(case: _Moment, promised: datetime) -> str:
    incident, window = case.incident, case.update.window
    bound = planned_bound(case.update, promised)
    if incident.kind is Kind.MAINTENANCE and window is not None and bound is not None:
        return f"commcast {'start' if bound < window.end else 'complete'} {incident.id}"
    return update_line(incident, case.update, case.config)


def handing_nudges(
    incident: Incident,
    handovers: Sequence[Handover],
    config: Config,
    now: datetime,
    *,
    nudged: Collection[str],
) -> tuple[Nudge, ...]:
    """Return the nudges about the last hand-over that were not sent yet; earlier ones are old news.

    They are for both sides, and for the person who offered it if that is somebody else. After the end of an
    incident there are none.
    """
    if not handovers or incident.latest.is_end:
        return ()
    last, status = handovers[-1], f"commcast status {incident.id}"
    before = on_duty_for(incident, handovers[:-1]).owner or ""
    told = tuple(key for key in dict.fromkeys((before, last.person, last.offered_by)) if key in config.people)
    names = {key: person.name for key, person in config.people.items()}
    to, by = names.get(last.person, last.person), names.get(last.offered_by, last.offered_by)
    notes: dict[str, str] = {}
    if last.taken_at is None:
        line = f"commcast take {incident.id} --as {last.person}"
        blank = Nudge("", Why.HANDOVER, line, told=told, line_for=last.person, line_of_others=status)
        if on_duty_for(incident, handovers).offered == last:
            offered = nudge_id(Why.HANDOVER, last.person, moment_id(last.offered_at))
            notes[offered] = f"{by} is handing this over to {to}" + (f": {last.note}" if last.note else "")
            if now - last.offered_at >= NOT_TAKEN:
                notes[f"{offered}:again"] = f"{to} hasn't taken this over yet"
    else:
        blank = Nudge("", Why.TAKEN, status, told=told)
        if before != last.person:
            source = f" from {names.get(before, before)}" if before else ""
            taken = nudge_id(Why.TAKEN, last.person, moment_id(last.taken_at))
            notes[taken] = f"{to} has taken this over{source}"
    return tuple(replace(blank, id=name, note=note) for name, note in notes.items() if name not in nudged)
