"""What is owed now and to whom, with the reason for each line. Pure: no clock, no disk, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from commcast.cadence import promises
from commcast.config import Config
from commcast.model import Channel, Incident, Level, Recipient, Status, Update
from commcast.release import ELSEWHERE
from commcast.standing import ERASED, IncidentStanding, PersonStanding

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
class Notice:
    """What is owed to readers on one channel: here an update, named "update:3" in the ledger.

    `events` tell what is new since this channel last spoke: first, worse, resolved … `audiences` are those
    that use the channel, best rank first. `told_elsewhere` says that readers heard of the incident before
    this ledger began. `next_update_by` is the promise to each audience.
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


@dataclass(frozen=True, slots=True)
class Due:
    """One line of the plan: a notice, whether it is owed now, and why or why not."""

    notice: Notice
    owed: bool
    reason: str


class Action(StrEnum):
    """What is to be done for one recipient. not_owed leaves no trace in the ledger; the others do."""

    SEND = "send"
    SKIP = "skip"
    HOLD = "hold"
    NOT_OWED = "not owed"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done for one recipient, and why. `until` is set for a hold."""

    action: Action
    reason: str = ""
    until: datetime | None = None


SEND = Decision(Action.SEND)
WAS_ERASED = Decision(Action.SKIP, f"hears nothing: {ERASED}")


def due(
    incident: Incident, standing: IncidentStanding, config: Config, now: datetime, *, late: bool = False
) -> tuple[Due, ...]:
    """Return a line for each channel: the newest released update, owed or not.

    Only the newest counts: words that newer ones have overtaken are never sent as a backlog. An update older
    than its own promise is stale; `late` sends it all the same.
    """
    released = [number for number, release in standing.releases.items() if number <= len(incident.updates)]
    if not released:
        return ()
    update = incident.update(max(released))
    return tuple(
        Due(notice, *_is_owed(notice, update, standing, config, now, late=late))
        for channel in Channel
        if (notice := notice_of(incident, update, channel, standing, config)).audiences
    )


def notice_of(
    incident: Incident, update: Update, channel: Channel, standing: IncidentStanding, config: Config
) -> Notice:
    """Return the notice that `update` is on a channel."""
    hearing = audiences_of(incident, update, config)
    elsewhere = [number for number, release in standing.releases.items() if release.how == ELSEWHERE]
    told_up_to = max([standing.told_up_to.get(channel, 0), *elsewhere])
    return Notice(
        incident=incident.id,
        id=f"update:{update.number}",
        number=update.number,
        channel=channel,
        events=_events(incident, update, told_up_to),
        audiences=tuple(name for name in hearing if channel in config.audiences[name].channels),
        affected=frozenset(update.affected),
        severity=update.severity,
        is_end=update.is_end,
        told_elsewhere=bool(elsewhere),
        next_update_by=promises(config, incident, update),
    )


def audiences_of(incident: Incident, update: Update, config: Config) -> tuple[str, ...]:
    """Return who hears of an update, best rank first.

    Whoever an earlier update went to stays: nobody is left in the middle of a story because it became milder.
    """
    hearing: set[str] = set()
    for earlier in incident.updates[: update.number]:
        hearing.update(
            config.audiences_for(earlier.severity) if earlier.audiences is None else earlier.audiences
        )
    return tuple(sorted(hearing, key=lambda name: (config.audiences[name].rank, name)))


def decide(
    recipient: Recipient, notice: Notice, standing: PersonStanding, config: Config, now: datetime
) -> Decision:
    """Return what is to be done for one recipient of an audience that hears this notice."""
    if reason := _not_owed(recipient, notice, standing):
        return Decision(Action.NOT_OWED, reason)
    if standing.suppressed == ERASED:
        return WAS_ERASED
    if standing.suppressed:
        return Decision(Action.SKIP, f"hears nothing: {standing.suppressed}")
    until = _quiet_until(recipient, notice, config, now)
    return Decision(Action.HOLD, "quiet hours", until) if until else SEND


def _is_owed(
    notice: Notice, update: Update, standing: IncidentStanding, config: Config, now: datetime, *, late: bool
) -> tuple[bool, str]:
    release = standing.releases[notice.number]
    if release.how == ELSEWHERE:
        return False, "told elsewhere, before this ledger"
    if (notice.id, notice.channel) in standing.begun:
        return False, "already sent"
    if notice.channel is Channel.SMS and config.channels.sms is not None:
        wanted = notice.events & set(config.channels.sms.events)
        if not wanted:
            return False, "a plain update does not go by SMS"
    if not late and _is_stale(notice, now):
        return False, "older than its own promise; send it all the same with --late"
    return True, f"update {update.number}, {' and '.join(sorted(notice.events)) or 'released'}"


def _is_stale(notice: Notice, now: datetime) -> bool:
    promised = [by for name in notice.audiences if (by := notice.next_update_by[name]) is not None]
    return bool(promised) and now >= max(promised)


def _events(incident: Incident, update: Update, told_up_to: int) -> frozenset[str]:
    found = set()
    if told_up_to == 0:
        found.add("first")
    elif told_up_to <= len(incident.updates) and update.severity < incident.update(told_up_to).severity:
        found.add("worse")
    for newer in incident.updates[told_up_to : update.number]:
        if newer.status in _EVENT_OF_STATUS:
            found.add(_EVENT_OF_STATUS[newer.status])
    return frozenset(found)


def _not_owed(recipient: Recipient, notice: Notice, standing: PersonStanding) -> str:
    if not recipient.key(notice.channel):
        return f"has no {'email address' if notice.channel is Channel.EMAIL else 'phone number'}"
    if standing.state:
        return f"already in the ledger: {standing.state}"
    if not standing.told and _follows_others(recipient, notice):
        return "follows other components"
    if _never_heard(recipient, notice, standing):
        return "was never told that it began"
    if recipient.level is Level.END and not notice.is_end:
        return "wants to hear of the end only"
    if recipient.level is Level.KEY and not notice.events:
        return "wants to hear of key events only"
    return ""


def _follows_others(recipient: Recipient, notice: Notice) -> bool:
    return bool(recipient.components and notice.affected and notice.affected.isdisjoint(recipient.components))


def _never_heard(recipient: Recipient, notice: Notice, standing: PersonStanding) -> bool:
    """Nobody hears of the end of what they never heard of, unless the end is all they asked for."""
    heard = standing.told or notice.told_elsewhere or recipient.level is Level.END
    return notice.is_end and not heard


def _quiet_until(recipient: Recipient, notice: Notice, config: Config, now: datetime) -> datetime | None:
    sms = config.channels.sms
    if notice.channel is not Channel.SMS or sms is None or sms.quiet is None:
        return None
    if notice.severity in sms.wake_for:
        return None
    return end_of_quiet(now, sms.quiet, ZoneInfo(recipient.timezone or config.organisation.zone))


def end_of_quiet(now: datetime, quiet: tuple[time, time], zone: ZoneInfo) -> datetime | None:
    """Return when the quiet hours that `now` falls into end for a reader in `zone`; None outside of them.

    An end that the clock leaves out is later by as much as it leaves out; one that comes twice is the first.
    """
    start, end = quiet
    local = now.astimezone(zone)
    clock = local.time()
    inside = start <= clock < end if start <= end else clock >= start or clock < end
    if not inside:
        return None
    day = local.date() if clock < end else local.date() + timedelta(days=1)
    until = datetime.combine(day, end, zone).astimezone(UTC)
    return until.astimezone(now.tzinfo) if until > now.astimezone(UTC) else None
