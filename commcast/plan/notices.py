"""A notice: what may be due to readers, its kind, and what is new in it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from commcast.config.settings import Config
from commcast.model.history import History, Said, WrongWords
from commcast.model.incident import Channel, Incident, Status, Update
from commcast.model.release import ELSEWHERE
from commcast.plan.cadence import promises


class NoticeKind(StrEnum):
    """What a notice is; its value begins the notice's id in the ledger ("update:3")."""

    UPDATE = "update"
    HOLDING = "holding"
    REMINDER = "reminder"
    FOLLOW_UP = "follow-up"
    NUDGE = "nudge"


def kind_of(notice: str) -> NoticeKind:
    """Return the kind of a notice by its id in the ledger."""
    return NoticeKind(notice.partition(":")[0])


def moment_id(at: datetime) -> str:
    """Return a moment as it appears in a notice's id, in UTC and to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def promise_id(at: datetime, again: int = 0) -> str:
    """Return a promise as it appears in the id of what keeps it: its moment.

    `again` is the number of the update if an older one had promised the same moment, else 0: what kept the
    older promise does not keep this one.
    """
    return f"{moment_id(at)}:{again}" if again else moment_id(at)


def is_named_for(notice: str, at: datetime) -> bool:
    """Return whether a holding statement, by its id, keeps a promise of this moment."""
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
    """What a holding statement says: nothing is new since `since`, and it is the `step`th in a row."""

    since: datetime
    step: int


@dataclass(frozen=True, slots=True)
class Notice:
    """What is due to readers on one channel, named "update:3" or "holding:2026-11-21T09:25Z" in the ledger.

    number          the update whose facts it gives
    after           the update that this channel gave before it, 0 for none
    events          what is new since this channel last spoke: first, worse, resolved …
    audiences       those that use the channel, best rank first
    told_elsewhere  readers heard of the incident before this ledger began
    next_update_by  the promise to each audience
    broken          by audience, the promise that had passed unkept when this goes
    holds           by audience, what a holding statement says
    ahead           in a reminder, the time before the event
    only_told       it goes only to those who were told before, as the ledger knows them
    keeps           the promise of a text that this one keeps: it goes only to those whose last text made it
    not_before      when each audience hears that is not among the first to hear
    wrong_words     what was said wrongly on this channel
    is_plain        nothing in it is an event for a text: it goes only to those to whom it is more than plain
    merged          the incidents that continue as this one, whose readers count as told of it
    goes_on_as      the title it continues under itself
    told_from       a follow-up goes to those who were told words of this update or a newer one
    asks_after      the end that a follow-up asks about, on the reader's next working day
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


@dataclass(frozen=True, slots=True)
class Due:
    """One line of the plan: a notice, whether it is due now, and why or why not.

    `from_` is when it goes by itself if nobody writes before, None if it does not.
    """

    notice: Notice
    is_due: bool
    reason: str
    from_: datetime | None = None


def newest_released(incident: Incident, history: History) -> Update | None:
    """Return the newest update that somebody released, None if there is none."""
    released = [number for number in history.releases if number <= len(incident.updates)]
    return incident.update(max(released)) if released else None


def notice_of(
    incident: Incident, update: Update, channel: Channel, history: History, config: Config
) -> Notice:
    """Return the notice that `update` is on a channel."""
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
    )


def audiences_of(incident: Incident, update: Update, config: Config) -> tuple[str, ...]:
    """Return the audiences that hear of an update, best rank first.

    Audiences of earlier updates stay: nobody is left in the middle of a story because it became milder. An
    audience that is gone from commcast.toml has no list and no words any more.
    """
    hearing: set[str] = set()
    for earlier in incident.updates[: update.number]:
        hearing.update(
            config.audiences_for(earlier.severity) if earlier.audiences is None else earlier.audiences
        )
    return config.by_rank(hearing & config.audiences.keys())


def events_of(incident: Incident, update: Update, told_up_to: int) -> frozenset[str]:
    """Return what is new in `update` for a channel that was told everything up to update `told_up_to`."""
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
    """Return whether an update keeps the status before it, and only corrects it or adds to it."""
    if newer.status is not before.status:
        return False
    return bool(newer.corrects) or not (newer.is_end or newer.window != before.window)


def _event_of_expected(before: Update, newer: Update) -> str:
    """Return the event if what was expected begins, or gets another time, as planned work does."""
    if newer.status is Status.EXPECTED:
        is_moved = before.expected_at != newer.expected_at and not newer.corrects
        return _EVENT_OF_STATUS[Status.RESCHEDULED] if is_moved else ""
    return "" if newer.is_end else "started"


def last_said(history: History, channel: Channel) -> dict[str, Said]:
    """Return, by audience, what it was told last on a channel."""
    return {said.audience: said for said in history.said if said.channel is channel}


def broken_promises(
    history: History, channel: Channel, audiences: Iterable[str], now: datetime
) -> Mapping[str, datetime]:
    """Return, by audience, the promise that had passed by `now` without any message.

    Messages that are still pending, after a crash or while a provider is down, have told nobody anything.
    Readers see minutes: a message within the promised minute is in time.
    """
    minute = now.replace(second=0, microsecond=0)
    last = {said.audience: said for said in history.said if said.channel is channel and said.heard}
    return {
        name: promised
        for name in audiences
        if name in last and (promised := last[name].promised) is not None and promised < minute
    }


def holds_in_a_row(history: History, channel: Channel, audience: str) -> int:
    """Return how many holding statements an audience got since a person last wrote."""
    count = 0
    for said in history.said:
        if said.channel is channel and said.audience == audience:
            count = count + 1 if kind_of(said.notice) is NoticeKind.HOLDING else 0
    return count


def name_of_promise(promised: datetime, made: Iterable[Said], said: Collection[Said]) -> str:
    """Return the name of the promise that `made` made; `said` is everything sent about the incident.

    A moment may be promised twice: a holding statement goes shortly before it, and a person who writes then
    may name the same moment.
    """
    number = max(each.number for each in made)
    first = min(
        (each.number for each in said if promised == each.promised or promised in each.text_promises),
        default=number,
    )
    return promise_id(promised, number if number > first else 0)
