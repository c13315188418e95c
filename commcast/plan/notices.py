"""What may be owed to readers: a notice, its kind, what is new in it."""

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
    """Return a moment as it stands in a notice's id, in UTC and to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def promise_id(at: datetime, again: int = 0) -> str:
    """Return a promise as it stands in the id of what keeps it: its moment.

    `again` is the number of the update that promised a moment which an older one had promised before, 0 for
    none: what kept the older promise does not keep this one.
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
    """What a holding statement tells: nothing is new since `since`, and it is the `step`th in a row."""

    since: datetime
    step: int


@dataclass(frozen=True, slots=True)
class Notice:
    """What is owed to readers on one channel, named "update:3" or "holding:2026-11-21T09:25Z" in the ledger.

    `number` is the update whose facts it tells, `after` the one that this channel told before it, 0 for none.
    `events` tell what is new since this channel last spoke: first, worse, resolved … `audiences` are those
    that use the channel, best rank first. `told_elsewhere` says that readers heard of the incident before
    this ledger began. `next_update_by` is the promise to each audience, `broken` the promise to each that had
    passed unkept when this goes. `holds` tells what each audience hears where it is a holding statement;
    `ahead` (time before the event) is set in a reminder. `only_told` says that it goes to those who were told
    before, as the ledger knows them, and to nobody else. `keeps` is the promise of a text that this one
    keeps: it goes to those whose last text made it, and to nobody else. `not_before` is when each audience
    hears that is not the first to hear (plan.lead). `misstated` is what was said wrongly on this channel.
    `is_plain` says that nothing in it is an event for a text: it goes only to those for whom it is more than
    a plain update. `merged` are the incidents that go on as this one, whose readers count as told of it;
    `goes_on_as` is the title it goes on under itself.
    A follow-up goes to those who were told words of update `told_from` or newer; one that `asks_after` an
    end comes on the reader's next working day.
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
    """One line of the plan: a notice, whether it is owed now, and why or why not.

    `from_` is when it goes by itself if nothing else is said before, None where it does not.
    """

    notice: Notice
    is_due: bool
    reason: str
    from_: datetime | None = None


def newest_released(incident: Incident, history: History) -> Update | None:
    """Return the newest update that somebody said yes to, None where there is none."""
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
    """Return who hears of an update, best rank first.

    Whoever an earlier update went to stays: nobody is left in the middle of a story because it became milder.
    An audience that is gone from commcast.toml has no list, and no words, any more.
    """
    hearing: set[str] = set()
    for earlier in incident.updates[: update.number]:
        hearing.update(
            config.audiences_for(earlier.severity) if earlier.audiences is None else earlier.audiences
        )
    return config.by_rank(hearing & config.audiences.keys())


def events_of(incident: Incident, update: Update, told_up_to: int) -> frozenset[str]:
    """Return what is new in `update` for a channel that has told all up to update `told_up_to`."""
    found = set()
    if told_up_to == 0:
        found.add("first")
    elif told_up_to <= len(incident.updates) and update.severity < incident.update(told_up_to).severity:
        found.add("worse")
    for newer in incident.updates[told_up_to : update.number]:
        if newer.number > 1 and _has_begun(incident.update(newer.number - 1), newer):
            found.add("started")
        if newer.number > 1 and _is_moved(incident.update(newer.number - 1), newer):
            found.add(_EVENT_OF_STATUS[Status.RESCHEDULED])
        if newer.status in _EVENT_OF_STATUS and not _says_again(incident, newer):
            found.add(_EVENT_OF_STATUS[newer.status])
    return frozenset(found)


def _says_again(incident: Incident, update: Update) -> bool:
    """Return whether an update stays at the status before it, and only puts that right or says more of it."""
    if update.number == 1 or update.status is not incident.update(update.number - 1).status:
        return False
    moves = update.window != incident.update(update.number - 1).window
    return bool(update.corrects) or not (update.is_end or moves)


def _has_begun(before: Update, newer: Update) -> bool:
    """Return whether what was only expected is an incident by now."""
    return before.status is Status.EXPECTED and newer.status is not Status.EXPECTED and not newer.is_end


def _is_moved(before: Update, newer: Update) -> bool:
    """Return whether what is expected gets another time: news of the same kind as that of planned work."""
    is_expected = before.status is newer.status is Status.EXPECTED
    return is_expected and before.expected_at != newer.expected_at and not newer.corrects


def last_said(history: History, channel: Channel) -> dict[str, Said]:
    """Return, by audience, what it was told last on a channel."""
    return {said.audience: said for said in history.said if said.channel is channel}


def broken_promises(
    history: History, channel: Channel, audiences: Iterable[str], now: datetime
) -> Mapping[str, datetime]:
    """Return, by audience, the promise that had passed by `now` without a word; none where all were kept.

    Words that a run which died, or a provider that is down, left waiting have told nobody anything.
    Readers see minutes: word within the promised minute came in time.
    """
    minute = now.replace(second=0, microsecond=0)
    last = {said.audience: said for said in history.said if said.channel is channel and said.heard}
    return {
        name: promised
        for name in audiences
        if name in last and (promised := last[name].promised) is not None and promised < minute
    }


def holds_in_a_row(history: History, channel: Channel, audience: str) -> int:
    """Return how many holding statements an audience got since a person spoke last."""
    count = 0
    for said in history.said:
        if said.channel is channel and said.audience == audience:
            count = count + 1 if kind_of(said.notice) is NoticeKind.HOLDING else 0
    return count


def name_of_promise(promised: datetime, made: Iterable[Said], said: Collection[Said]) -> str:
    """Return how the promise that `made` made is named; `said` is all that was said of the incident.

    A moment may be promised twice: shortly before it a holding statement goes, and a person who speaks then
    may name the same moment.
    """
    number = max(each.number for each in made)
    first = min(
        (each.number for each in said if promised == each.promised or promised in each.text_promises),
        default=number,
    )
    return promise_id(promised, number if number > first else 0)
