"""When readers will hear from us again: the promise (`next_update_by`) in every message until the end."""

from __future__ import annotations

from collections.abc import Container, Mapping
from datetime import datetime, timedelta

from commcast.config.settings import Cadence, Config
from commcast.errors import Fault
from commcast.model.incident import Incident, Status, Update


def promise(cadence: Cadence, incident: Incident, update: Update, audience: str) -> datetime | None:
    """Return when `audience` is told to expect more, aware and on a full minute; None when this is the end.

    Never later than the cadence, nor than the writer's own `next_update`. A maintenance promises messages at
    its planned start and end, something expected one when it should begin.
    """
    if update.is_end:
        return None
    by = _window_promise(update) or update.at + interval(cadence, incident, update, audience)
    if update.next_update is not None:
        by = min(by, update.next_update)
    return _full_minute(by, after=update.at)


def promises(config: Config, incident: Incident, update: Update) -> Mapping[str, datetime | None]:
    """Return the promise of an update for each audience of the configuration."""
    cadence = config.cadence_of(update.severity)
    return {name: promise(cadence, incident, update, name) for name in config.audiences}


def interval(
    cadence: Cadence, incident: Incident, update: Update, audience: str, *, at: datetime | None = None
) -> timedelta:
    """Return how long an audience may wait for a message after `update`, or after `at` (aware).

    It is longer once the incident is old.
    """
    every = cadence.audiences.get(audience, cadence.every)
    # Planned work is announced long before it begins, and is young when it does.
    began = update.window.start if update.window else incident.started
    age = (at or update.at) - began
    slower = [pace for after, pace in cadence.later if age >= after]
    return max([every, *slower[-1:]])


def lateness_faults(
    config: Config, incident: Incident, released: Container[int] = frozenset()
) -> list[Fault]:
    """Return a fault for each update whose own `next_update` is later than its severity's cadence allows.

    Updates that are `released`, by number, keep their words: a shorter cadence binds the next ones.
    """
    faults = []
    for update in incident.updates:
        if (
            update.next_update is None
            or update.is_end
            or update.number in released
            or _window_promise(update)
        ):
            continue
        latest = update.at + interval(config.cadence_of(update.severity), incident, update, "")
        if update.next_update > latest:
            minutes = int((latest - update.at).total_seconds() // 60)
            what = f"next_update is later than the cadence of severity {update.severity} allows"
            remedy = f"write {minutes}m or less, or leave it out"
            if update.next_clock and _is_tomorrow(update.next_update, update.at, config):
                what = f"next_update {update.next_clock} has passed (it was read as tomorrow)"
                remedy = f"write a new time, or {minutes}m"
            faults.append(Fault(incident.path, update.line, 0, what, remedy))
    return faults


def _is_tomorrow(moment: datetime, at: datetime, config: Config) -> bool:
    return moment.astimezone(config.zone).date() > at.astimezone(config.zone).date()


def window_bound(update: Update, promised: datetime) -> bool:
    """Return whether a promise is exactly the planned start or end of planned work."""
    bound = _window_promise(update)
    return bound is not None and _full_minute(bound, after=update.at) == promised


def since_window(update: Update, promised: datetime) -> bool:
    """Return whether a promise is the planned start or end of planned work, or was made after that."""
    bound = _window_promise(update)
    return bound is not None and _full_minute(bound, after=update.at) <= promised


def _window_promise(update: Update) -> datetime | None:
    if update.status is Status.EXPECTED and update.expected_at is not None:
        return update.expected_at if update.expected_at > update.at else None
    if update.window is None:
        return None
    if update.status in {Status.SCHEDULED, Status.RESCHEDULED} and update.window.start > update.at:
        return update.window.start
    return update.window.end if update.window.end > update.at else None


def _full_minute(by: datetime, after: datetime) -> datetime:
    floored = by.replace(second=0, microsecond=0)
    return floored if floored > after else by
