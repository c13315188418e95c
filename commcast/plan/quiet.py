"""When a reader is not woken: quiet hours in their own zone (pure)."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo


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
