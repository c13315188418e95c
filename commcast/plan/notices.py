"""A notice: what may be due to readers, its kind, and what is new in it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from commcast.config.settings import Config
from commcast.model.history import History, Said, WrongWords
from commcast.model.incident import Channel, Incident, Level, Status, Update
from commcast.model.release import ELSEWHERE
from commcast.model.times import is_past
from commcast.plan.cadence import promises


class NoticeKind(StrEnum):
    """What a notice is; its id in the ledger begins with this value ("update:3")."""

    UPDATE = "update"
    HOLDING = "holding"
    REMINDER = "reminder"
    FOLLOW_UP = "follow-up"
    NUDGE = "nudge"


NO_NEWS = frozenset({NoticeKind.HOLDING, NoticeKind.REMINDER})  # these wake nobody in quiet hours


def kind_of(notice: str) -> NoticeKind:
    """Return the kind of a notice by its id in the ledger."""
    return NoticeKind(notice.partition(":")[0])


def moment_id(at: datetime) -> str:
    """Return a moment as notice ids contain it: in UTC, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def is_named_for(notice: str, at: datetime) -> bool:
    """Return whether this is the id of a holding statement that keeps a promise of this moment."""
    named = notice.partition("/")[0].split(":", 1)[1]
    return kind_of(notice) is NoticeKind.HOLDING and f"{named}:".startswith(f"{moment_id(at)}:")


_EVENT_OF_STATUS = {
    Status.RESOLVED: "resolved",
    Status.COMPLETED: "resolved",
    Status.MERGED: "resolved",
    Status.RETRACTED: "retracted",
    Status.CANCELLED: "retracted",
    Status.RESCHEDULED: "correction",
    Status.REOPENED: "reopened",
    Status.IN_PROGRESS: "started",
}


@dataclass(frozen=True, slots=True)
class Hold:
    """A holding statement: nothing is new since `since`, and it is the `step`th in a row."""

    since: datetime
    step: int


@dataclass(frozen=True, slots=True)
class Notice:
    """What is due to readers on one channel; its id is like "update:3" or "holding:2026-11-21T09:25:00Z".

    number          the update whose facts it contains
    after           the update sent on this channel before it, 0 for none
    events          what is new since the last message on this channel: first, worse, resolved …
    audiences       those that use the channel, best rank first
    told_elsewhere  readers were told of the incident before this ledger began
    next_update_by  the promise to each audience
    broken          by audience, the broken promise that it admits
    holds           by audience, what a holding statement says
    ahead           in a reminder, the time until the start
    only_told       only for readers who were told before, according to the ledger
    keeps           the promise that this text keeps: only for readers whose last text made it
    not_before      by audience, when audiences without a lead are told
    wrong_words     what was wrong in earlier messages on this channel
    is_plain        a routine update: texted only to readers for whom it is more than that
    merged          incidents that continue as this one; their readers count as told of it
    goes_on_as      the title under which this one continues
    told_from       a follow-up is for readers who were told this update or a newer one
    asks_after      the end that a check-in asks about, on the reader's next working day
    strangers       the levels at which readers get this end though they were never told that it began
    """

    incident: str
    id: str
    number: int
    channel: Channel
    events: frozenset[str]
    audiences: tuple[str, ...]
    affected: frozenset[str]
    severity: int
    is_end: bool
    told_elsewhere: bool
    next_update_by: Mapping[str, datetime | None]
    kind: NoticeKind = NoticeKind.UPDATE
    broken: Mapping[str, datetime] = field(default_factory=dict)
    holds: Mapping[str, Hold] = field(default_factory=dict)
    ahead: timedelta | None = None
    after: int = 0
    only_told: bool = False
    keeps: datetime | None = None
    not_before: Mapping[str, datetime] = field(default_factory=dict)
    wrong_words: tuple[WrongWords, ...] = ()
    is_plain: bool = False
    merged: tuple[str, ...] = ()
    goes_on_as: str = ""
    told_from: int = 0
    asks_after: datetime | None = None
    strangers: frozenset[Level] = frozenset()


@dataclass(frozen=True, slots=True)
class Due:
    """One line of the plan: a notice, whether it is due now, and why or why not.

    `from_` is when it is sent automatically unless somebody posts first; None if it never is.
    """

    notice: Notice
    is_due: bool
    reason: str
    from_: datetime | None = None


def newest_released(incident: Incident, history: History) -> Update | None:
    """Return the newest released update, None if there is none."""
    released = [number for number in history.releases if number <= len(incident.updates)]
    return incident.update(max(released)) if released else None


def notice_of(
    incident: Incident, update: Update, channel: Channel, history: History, config: Config
) -> Notice:
    """Return the notice of `update` on a channel."""
    hearing = audiences_of(incident, update, config)
    elsewhere = [number for number, release in history.releases.items() if release.how == ELSEWHERE]
    told_up_to = max([history.told_up_to.get(channel, 0), *elsewhere])
    return Notice(
        incident=incident.id,
        id=f"{NoticeKind.UPDATE}:{update.number}",
        number=update.number,
        channel=channel,
        after=told_up_to if told_up_to < update.number else update.number - 1,
        events=events_of(incident, update, told_up_to),
        audiences=tuple(name for name in hearing if channel in config.audiences[name].channels),
        affected=frozenset(update.affected),
        severity=update.severity,
        is_end=update.is_end,
        told_elsewhere=bool(elsewhere),
        next_update_by=promises(config, incident, update),
        wrong_words=tuple(each for each in history.wrong_words if each.channel is channel),
        merged=history.merged if update.is_end else (),
        strangers=_strangers(update, history),
    )


def _strangers(update: Update, history: History) -> frozenset[Level]:
    """Return the levels at which readers who know nothing yet hear of this end.

    What was withdrawn concerns nobody who never heard of it. What is over when first told concerns all:
    nobody wrote in time, or providers took none of the words that wait.
    """
    if update.status not in (Status.RESOLVED, Status.COMPLETED):
        return frozenset()
    is_first_word = not any(said.heard and said.number < update.number for said in history.said)
    return frozenset(Level) if is_first_word else frozenset({Level.END})


def audiences_of(incident: Incident, update: Update, config: Config) -> tuple[str, ...]:
    """Return the audiences of an update, best rank first.

    Audiences of earlier updates are included: nobody is dropped because an incident became milder. Audiences
    that are no longer in commcast.toml are left out.
    """
    named = (
        config.audiences_for(earlier.severity) if earlier.audiences is None else earlier.audiences
        for earlier in incident.updates[: update.number]
    )
    return config.by_rank(set().union(*named) & config.audiences.keys())


def events_of(incident: Incident, update: Update, told_up_to: int) -> frozenset[str]:
    """Return what is new in `update` on a channel whose last message was update `told_up_to`, 0 for none."""
    found = set()
    if told_up_to == 0:
        found.add("first")
    elif told_up_to <= len(incident.updates) and update.severity < incident.update(told_up_to).severity:
        found.add("worse")
    for newer in incident.updates[told_up_to : update.number]:
        before = incident.update(newer.number - 1) if newer.number > 1 else None
        if before is None or not _says_again(before, newer):
            found.add(_EVENT_OF_STATUS.get(newer.status, ""))
        if before is not None and before.status is Status.EXPECTED:
            found.add(_event_of_expected(before, newer))
    return frozenset(found - {""})


def _says_again(before: Update, newer: Update) -> bool:
    """Return whether an update only corrects or repeats the status before it."""
    if newer.status is not before.status:
        return False
    return bool(newer.corrects) or not (newer.is_end or newer.window != before.window)


def _event_of_expected(before: Update, newer: Update) -> str:
    """Return the event when something expected begins or is expected at another time."""
    if newer.status is Status.EXPECTED:
        is_moved = before.expected_at != newer.expected_at and not newer.corrects
        return _EVENT_OF_STATUS[Status.RESCHEDULED] if is_moved else ""
    return "" if newer.is_end else "started"


def last_said(history: History, channel: Channel) -> dict[str, Said]:
    """Return, by audience, the last message on a channel."""
    return {said.audience: said for said in history.said if said.channel is channel}


def broken_promises(
    history: History, channel: Channel, audiences: Iterable[str], now: datetime
) -> Mapping[str, datetime]:
    """Return, by audience, the promise that had passed by `now` without a message.

    Messages that are still pending, after a crash or while a provider is down, don't count.
    """
    last = {said.audience: said for said in history.said if said.channel is channel and said.heard}
    return {
        name: promised
        for name in audiences
        if name in last and (promised := last[name].promised) is not None and is_past(promised, now)
    }


def holds_in_a_row(history: History, channel: Channel, audience: str) -> int:
    """Return how many holding statements an audience got since a person last posted an update."""
    count = 0
    for said in history.said:
        if said.channel is channel and said.audience == audience:
            count = count + 1 if kind_of(said.notice) is NoticeKind.HOLDING else 0
    return count


def name_of_promise(promised: datetime, made: Iterable[Said], said: Collection[Said]) -> str:
    """Return how ids name the promise that `made` made; `said` is everything sent about the incident.

    That is its moment, and the number of the update if an older one had promised the same moment: a holding
    statement goes out shortly before it, and a person who writes then may promise that moment again. What
    kept the older promise does not keep the newer one.
    """
    number = max(each.number for each in made)
    numbers = [each.number for each in said if promised in (each.promised, *each.text_promises)]
    return f"{moment_id(promised)}:{number}" if number > min(numbers, default=number) else moment_id(promised)
