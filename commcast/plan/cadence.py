"""The promise of the next update (`next_update_by`), which every message makes until the end."""

from __future__ import annotations

from collections.abc import Container, Mapping
from datetime import datetime, timedelta

from commcast.config.settings import Cadence, Config
from commcast.errors import Fault
from commcast.model.incident import Incident, Status, Update

# After a planned start or end, people at work have so long to say so before it counts as late.
GRACE = timedelta(minutes=15)


def promise(cadence: Cadence, incident: Incident, update: Update, audience: str) -> datetime | None:
    """Return when `audience` is told to expect the next update, on a full minute; None if this is the end.

    Never later than the writer's own `next_update`, nor, unless the update says why (`because`), than the
    cadence. Planned work promises an update `GRACE` after its planned start and end; an expected incident,
    after it should have begun.
    """
    if update.is_end:
        return None
    bound = _next_bound(update)
    by = bound + GRACE if bound else update.at + interval(cadence, incident, update, audience)
    if update.next_update is not None:
        by = update.next_update if update.because and not bound else min(by, update.next_update)
    return _full_minute(by, after=update.at)


def promises(config: Config, incident: Incident, update: Update) -> Mapping[str, datetime | None]:
    """Return the promise of an update for each audience of the configuration."""
    cadence = config.cadence_of(update.severity)
    return {name: promise(cadence, incident, update, name) for name in config.audiences}


def interval(
    cadence: Cadence, incident: Incident, update: Update, audience: str, *, at: datetime | None = None
) -> timedelta:
    """Return how long an audience may wait for a message after `update`, or after `at`.

    The wait grows with the age of the incident.
    """
    every = cadence.audiences.get(audience, cadence.every)
    # Planned work is announced long before it begins: its age counts from its start.
    began = update.window.start if update.window else incident.started
    age = (at or update.at) - began
    slower = [pace for after, pace in cadence.later if age >= after]
    return max([every, *slower[-1:]])


def lateness_faults(
    config: Config, incident: Incident, released: Container[int] = frozenset()
) -> list[Fault]:
    """Return a fault for each update with a `next_update` later than its cadence, and no reason for it.

    Updates that are `released`, by number, are left alone: a shorter cadence only binds later ones.
    """
    faults = []
    for update in incident.updates:
        if (
            update.next_update is None
            or update.number in released
            or update.is_end
            or update.because
            or _next_bound(update)
        ):
            continue
        latest = update.at + interval(config.cadence_of(update.severity), incident, update, "")
        if update.next_update > latest:
            minutes = int((latest - update.at).total_seconds() // 60)
            what = f"next_update is later than the cadence of severity {update.severity} allows"
            why = "or add because: … (why readers wait so long)"
            remedy = f"write {minutes}m or less, {why}"
            day, today = (each.astimezone(config.zone).date() for each in (update.next_update, update.at))
            if update.next_clock and day > today:
                what = f"next_update {update.next_clock} has passed (it was read as tomorrow)"
                remedy = f"write a new time, or {minutes}m, {why}"
            faults.append(Fault(incident.path, update.line, 0, what, remedy))
    return faults


def planned_bound(update: Update, promised: datetime) -> datetime | None:
    """Return the planned start or end that a promise is for, None if it is for neither."""
    bound = _next_bound(update)
    return bound if bound is not None and bound + GRACE == promised else None


def since_window(update: Update, promised: datetime) -> bool:
    """Return whether a promise is for the planned start or end of planned work, or later."""
    bound = _next_bound(update)
    return bound is not None and bound <= promised


def _next_bound(update: Update) -> datetime | None:
    """Return the next planned moment after an update, on a full minute: a start or an end."""
    planned: list[datetime] = []
    if update.status is Status.EXPECTED and update.expected_at is not None:
        planned = [update.expected_at]
    elif update.window is not None:
        is_to_come = update.status in {Status.SCHEDULED, Status.RESCHEDULED}
        planned = [update.window.start, update.window.end] if is_to_come else [update.window.end]
    found = next((moment for moment in planned if moment > update.at), None)
    return found and _full_minute(found, after=update.at)


def _full_minute(by: datetime, after: datetime) -> datetime:
    floored = by.replace(second=0, microsecond=0)
    return floored if floored > after else by
