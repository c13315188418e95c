"""Reminders of planned work, and quiet hours."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from commcast.config.settings import Config
from commcast.model.history import History
from commcast.model.incident import Channel, Incident, Status, Update, Window
from commcast.model.times import parse_duration, short_duration
from commcast.plan import reasons
from commcast.plan.notices import Due, Notice, NoticeKind, newest_released, notice_of

MORNING = time(9)  # when readers are asked whether all is well
_SATURDAY = 5


def end_of_quiet(now: datetime, quiet: tuple[time, time], zone: ZoneInfo) -> datetime | None:
    """Return when the quiet hours that `now` falls into end for a reader in `zone`; None outside of them.

    If the clocks skip the end, it is later by as much as they skip; if it comes twice, it is the first.
    """
    end = quiet[1]
    local = now.astimezone(zone)
    clock = local.time()
    if not _is_inside(clock, quiet):
        return None
    day = local.date() if clock < end else local.date() + timedelta(days=1)
    until = datetime.combine(day, end, zone).astimezone(UTC)
    return until.astimezone(now.tzinfo) if until > now.astimezone(UTC) else None


def start_of_quiet(moment: datetime, quiet: tuple[time, time], zone: ZoneInfo) -> datetime | None:
    """Return when the quiet hours that `moment` falls into began in `zone`, in UTC; None outside of them.

    If the beginning comes twice, it is the first.
    """
    start = quiet[0]
    local = moment.astimezone(zone)
    clock = local.time()
    if not _is_inside(clock, quiet):
        return None
    day = local.date() if clock >= start else local.date() - timedelta(days=1)
    return min(datetime.combine(day, start, zone).astimezone(UTC), moment.astimezone(UTC))


def next_quiet(after: datetime, quiet: tuple[time, time], zone: ZoneInfo) -> datetime:
    """Return when quiet hours begin next in `zone`, in UTC; now is not counted."""
    day = after.astimezone(zone).date()
    starts = (
        datetime.combine(day + timedelta(days=days), quiet[0], zone).astimezone(UTC) for days in (0, 1, 2)
    )
    return next(start for start in starts if start > after)


def _is_inside(clock: time, quiet: tuple[time, time]) -> bool:
    start, end = quiet
    return start <= clock < end if start <= end else clock >= start or clock < end


def quiet_hours(severity: int, channel: Channel, config: Config) -> tuple[time, time] | None:
    """Return the quiet hours that hold for a message of this severity; None if none do."""
    sms = config.channels.sms
    return None if channel is not Channel.SMS or sms is None or severity in sms.wake_for else sms.quiet


def next_morning(after: datetime, zone: ZoneInfo) -> datetime:
    """Return 09:00 in `zone` on the first working day, Monday to Friday, after the day of `after`."""
    day = after.astimezone(zone).date() + timedelta(days=1)
    while day.weekday() >= _SATURDAY:
        day += timedelta(days=1)
    return datetime.combine(day, MORNING, zone).astimezone(UTC)


TO_COME = frozenset({Status.SCHEDULED, Status.RESCHEDULED})
BEFORE_QUIET = timedelta(minutes=30)  # room for ticks that come late
_PUNCTUAL = timedelta(minutes=15)  # a reminder that is no later than this still says the planned length


class Reminder(NamedTuple):
    """One reminder: due `offset` before the start, it goes `at` a moment, and not after `until`."""

    offset: timedelta
    at: datetime
    until: datetime


def reminders_due(incident: Incident, history: History, config: Config, now: datetime) -> tuple[Due, ...]:
    """Return a line for each channel on which a reminder of planned work is due now.

    Only the newest released update counts: what an earlier window promised is gone. A reminder that was due
    before that release, or that the next one has overtaken, is not sent late. This is asked only if no update
    is due, which would say all that a reminder would.
    """
    update = newest_released(incident, history)
    if update is None or update.window is None or update.status not in TO_COME:
        return ()
    number = update.number
    lines = []
    for channel in Channel:
        for reminder in reminders_of(update, update.window, channel, config):
            if not history.releases[number].at < reminder.at <= now < reminder.until:
                continue
            notice = reminder_notice(incident, number, channel, history, config, reminder.offset, now)
            if notice.audiences:
                plan = _is_due(notice, reminder, history, config, now)
                lines.append(Due(notice, *plan))
    return tuple(lines)


def reminders_of(update: Update, window: Window, channel: Channel, config: Config) -> tuple[Reminder, ...]:
    """Return the reminders of a window on a channel in order of time.

    A text that would fall into quiet hours, by the organisation's clocks, goes before they begin. If two
    meet, the one nearer to the start stays.
    """
    offsets = sorted(set(config.maintenance.reminders), reverse=True)
    moments = [_awake(window.start - offset, update, channel, config) for offset in offsets]
    ends = [*moments[1:], window.start]
    return tuple(map(Reminder, offsets, moments, ends))


def ahead(window: Window, offset: timedelta, now: datetime) -> timedelta:
    """Return how far off readers are told the start is: as planned, or what is left in round numbers."""
    left = window.start - now
    if abs(left - offset) <= _PUNCTUAL:
        return offset
    step = timedelta(minutes=5) if left < timedelta(hours=2) else timedelta(hours=1)
    return max(left // step * step, timedelta(minutes=1))


def reminder_notice(
    incident: Incident,
    number: int,
    channel: Channel,
    history: History,
    config: Config,
    offset: timedelta,
    now: datetime,
) -> Notice:
    """Return the notice of one reminder as it reads at `now`."""
    update = incident.update(number)
    assert update.window is not None  # noqa: S101 - what has no window has no reminder
    notice = notice_of(incident, update, channel, history, config)
    return replace(
        notice,
        id=f"{NoticeKind.REMINDER}:{number}:{short_duration(offset)}",
        kind=NoticeKind.REMINDER,
        events=frozenset(),
        ahead=ahead(update.window, offset, now),
    )


def offset_of(notice: str) -> timedelta:
    """Return how long before the start the reminder of this id is due."""
    return parse_duration(notice.rpartition(":")[2])


def still_ahead(incident: Incident, number: int, newest: Update, now: datetime) -> bool:
    """Return whether the work that update `number` reminded of is still to come, at the time it named."""
    window = incident.update(number).window
    return newest.status in TO_COME and newest.window == window and window is not None and now < window.start


def _is_due(
    notice: Notice, reminder: Reminder, history: History, config: Config, now: datetime
) -> tuple[bool, str]:
    if (notice.id, notice.channel) in history.begun:
        return False, reasons.ALREADY_SENT
    sms, quiet = config.channels.sms, quiet_hours(notice.severity, notice.channel, config)
    if notice.channel is Channel.SMS and (sms is None or "reminder" not in sms.events):
        return False, reasons.REMINDER_NOT_TEXTED
    if quiet and (until := end_of_quiet(now, quiet, config.zone)) and until >= reminder.until:
        return False, reasons.REMINDER_TOO_LATE
    return True, reasons.REMINDER_OWED.format(offset=short_duration(reminder.offset))


def _awake(moment: datetime, update: Update, channel: Channel, config: Config) -> datetime:
    quiet = quiet_hours(update.severity, channel, config)
    begins = start_of_quiet(moment, quiet, config.zone) if quiet else None
    return moment if begins is None else begins - BEFORE_QUIET
