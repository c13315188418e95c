"""When a reader is not woken: quiet hours in their own zone (pure)."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

MORNING = time(9)  # when a reader is asked how it is
_SATURDAY = 5


def end_of_quiet(now: datetime, quiet: tuple[time, time], zone: ZoneInfo) -> datetime | None:
    """Return when the quiet hours that `now` falls into end for a reader in `zone`; None outside of them.

    An end that the clock leaves out is later by as much as it leaves out; one that comes twice is the first.
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

    A beginning that comes twice is the first.
    """
    start = quiet[0]
    local = moment.astimezone(zone)
    clock = local.time()
    if not _is_inside(clock, quiet):
        return None
    day = local.date() if clock >= start else local.date() - timedelta(days=1)
    return min(datetime.combine(day, start, zone).astimezone(UTC), moment.astimezone(UTC))


def _is_inside(clock: time, quiet: tuple[time, time]) -> bool:
    start, end = quiet
    return start <= clock < end if start <= end else clock >= start or clock < end


def next_morning(after: datetime, zone: ZoneInfo) -> datetime:
    """Return 09:00 in `zone` on the first working day, Monday to Friday, after the day of `after`."""
    day = after.astimezone(zone).date() + timedelta(days=1)
    while day.weekday() >= _SATURDAY:
        day += timedelta(days=1)
    return datetime.combine(day, MORNING, zone).astimezone(UTC)
