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

MORNING = time(9)  # when readers are asked whether everything works again
_SATURDAY = 5


def end_of_quiet(now: datetime, quiet: tuple[time, time], zone: ZoneInfo) -> datetime | None:
    """Return when the quiet hours that `now` falls into end for a reader in `zone`; None outside them.

    If the clocks skip the end, it moves later by as much; if it occurs twice, the first counts.
    """
    local, end = now.astimezone(zone), quiet[1]
    if not is_inside(local.time(), quiet):
        return None
    day = local.date() if local.time() < end else local.date() + timedelta(days=1)
    until = datetime.combine(day, end, zone).astimezone(UTC)
    return until.astimezone(now.tzinfo) if until > now.astimezone(UTC) else None


def start_of_quiet(moment: datetime, quiet: tuple[time, time], zone: ZoneInfo) -> datetime | None:
    """Return when the quiet hours that `moment` falls into began in `zone`, in UTC; None outside them.

    If the start occurs twice, the first counts.
    """
    local, start = moment.astimezone(zone), quiet[0]
    if not is_inside(local.time(), quiet):
        return None
    day = local.date() if local.time() >= start else local.date() - timedelta(days=1)
    return min(datetime.combine(day, start, zone).astimezone(UTC), moment.astimezone(UTC))


def next_quiet(after: datetime, quiet: tuple[time, time], zone: ZoneInfo) -> datetime:
    """Return when quiet hours next begin in `zone`, in UTC and later than `after`."""
    today = after.astimezone(zone).date()
    days = (today + timedelta(days=number) for number in range(3))
    starts = (datetime.combine(day, quiet[0], zone).astimezone(UTC) for day in days)
    return next(start for start in starts if start > after)


def is_inside(clock: time, hours: tuple[time, time]) -> bool:
    """Return whether a time of day is within `hours` (from, to), which may span midnight."""
    start, end = hours
    return start <= clock < end if start <= end else clock >= start or clock < end


def quiet_hours(severity: int | None, channel: Channel, config: Config) -> tuple[time, time] | None:
    """Return the quiet hours for news of this severity on this channel; None if there are none.

    Pass None for what is no news (reminders, statements, promised texts): it wakes nobody.
    """
    sms = config.channels.sms
    return None if channel is not Channel.SMS or sms is None or severity in sms.wake_for else sms.quiet


def next_morning(after: datetime, zone: ZoneInfo) -> datetime:
    """Return 09:00 in `zone` on the first working day, Monday to Friday, after the day of `after`."""
    today = after.astimezone(zone).date()
    days = (today + timedelta(days=number) for number in range(1, 4))
    day = next(day for day in days if day.weekday() < _SATURDAY)
    return datetime.combine(day, MORNING, zone).astimezone(UTC)


TO_COME = frozenset({Status.SCHEDULED, Status.RESCHEDULED})
BEFORE_QUIET = timedelta(minutes=30)  # room for late ticks
_PUNCTUAL = timedelta(minutes=15)  # a reminder no later than this still states the planned offset


class Reminder(NamedTuple):
    """One reminder, due `offset` before the start: sent at `at`, never at `until` or later."""

    offset: timedelta
    at: datetime
    until: datetime


def reminders_due(incident: Incident, history: History, config: Config, now: datetime) -> tuple[Due, ...]:
    """Return a line for each channel on which a reminder of planned work is due now.

    Only the newest released update counts: reminders of an earlier window are gone. A reminder that was due
    before that release, or that the next one has overtaken, is not sent late. Call this only if no update is
    due: an update says everything a reminder would.
    """
    update = newest_released(incident, history)
    if update is None or update.window is None or update.status not in TO_COME:
        return ()
    number, released_at = update.number, history.releases[update.number].at
    return tuple(
        Due(notice, *_is_due(notice, reminder, history, config, now))
        for channel in Channel
        for reminder in reminders_of(update.window, channel, config)
        if released_at < reminder.at <= now < reminder.until
        and (notice := reminder_notice(incident, number, channel, history, config, reminder.offset, now))
        and notice.audiences
    )


def reminders_of(window: Window, channel: Channel, config: Config) -> tuple[Reminder, ...]:
    """Return the reminders of a window on a channel, in order of time.

    A text that would fall into quiet hours, in the organisation's time zone, is sent before they begin. If
    two then coincide, the one nearer to the start remains.
    """
    quiet = quiet_hours(None, channel, config)

    def awake(moment: datetime) -> datetime:
        begins = start_of_quiet(moment, quiet, config.zone) if quiet else None
        return moment if begins is None else begins - BEFORE_QUIET

    offsets = sorted(set(config.maintenance.reminders), reverse=True)
    moments = [awake(window.start - offset) for offset in offsets]
    return tuple(map(Reminder, offsets, moments, [*moments[1:], window.start]))


def ahead(window: Window, offset: timedelta, now: datetime) -> timedelta:
    """Return how far off readers are told the start is: the planned offset, or the time left, rounded."""
    left = window.start - now
    if abs(left - offset) <= _PUNCTUAL:
        return offset
    far = left >= timedelta(hours=2)
    step = timedelta(hours=1) if far else timedelta(minutes=5 if left >= timedelta(minutes=30) else 1)
    return max(round(left / step) * step, timedelta(minutes=1))


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
    assert update.window is not None  # noqa: S101 - only planned work has reminders
    return replace(
        notice_of(incident, update, channel, history, config),
        id=f"{NoticeKind.REMINDER}:{number}:{short_duration(offset)}",
        kind=NoticeKind.REMINDER,
        events=frozenset(),
        ahead=ahead(update.window, offset, now),
    )


def offset_of(notice: str) -> timedelta:
    """Return how long before the start the reminder of this id is due."""
    return parse_duration(notice.rpartition(":")[2])


def still_ahead(incident: Incident, number: int, newest: Update, now: datetime) -> bool:
    """Return whether the work in update `number` is still to come, at the time that was announced."""
    window = incident.update(number).window
    return newest.status in TO_COME and newest.window == window and window is not None and now < window.start


def _is_due(
    notice: Notice, reminder: Reminder, history: History, config: Config, now: datetime
) -> tuple[bool, str]:
    if (notice.id, notice.channel) in history.begun:
        return False, reasons.ALREADY_SENT
    sms, quiet = config.channels.sms, quiet_hours(None, notice.channel, config)
    if notice.channel is Channel.SMS and (sms is None or "reminder" not in sms.events):
        return False, reasons.REMINDER_NOT_TEXTED
    if quiet and (until := end_of_quiet(now, quiet, config.zone)) and until >= reminder.until:
        return False, reasons.REMINDER_TOO_LATE
    return True, reasons.REMINDER_OWED.format(offset=short_duration(reminder.offset))
