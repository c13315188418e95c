"""When a tick last ran, how far apart ticks usually are, and which promises they can keep."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from commcast.model.oncall import TICK_LATE, Drift
from commcast.model.times import short_duration

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from commcast.config.settings import Config

LET_IT_RUN = "Let cron run it (commcast cron), or: commcast tick --loop 1m"
_MINUTE, _JITTER = timedelta(minutes=1), timedelta(seconds=5)
_STEPS = ((12 * _MINUTE, _MINUTE), (60 * _MINUTE, 5 * _MINUTE), (timedelta.max, 60 * _MINUTE))
_NAMED = 3  # keys of the configuration in one line


class Ticks(NamedTuple):
    """What the ledger knows about ticks: the last one, and how far apart recent ones were."""

    last: datetime | None = None
    drift: Drift | None = None


NO_TICKS = Ticks()


def read_ticks(connection: Connection, now: datetime) -> Ticks:
    """Return what a ledger knows about ticks."""
    from commcast.ledger.oncall import drift, last_tick

    return Ticks(last_tick(connection), drift(connection, now))


def silence(ticks: Ticks, now: datetime) -> str:
    """Return that no tick has run recently, without a full stop; "" if one has."""
    if ticks.last is None:
        return "no tick has run yet"
    ago = now - ticks.last
    return f"no tick has run for {short_duration(ago)}" if ago >= TICK_LATE else ""


def ran_ago(last: datetime, now: datetime) -> str:
    """Return how long ago a tick ran: "20s ago"."""
    return f"{short_duration(max(now - last, timedelta()))} ago"


def usually(drift: Drift) -> str:
    """Return how far apart ticks are, without a full stop: "every 1m or so, at worst 2m apart"."""
    words = f"every {_about(drift.typical)} or so, at worst {_about(drift.worst, _JITTER)} apart"
    if drift.gaps:
        many = "a gap" if drift.gaps == 1 else f"{drift.gaps} gaps"
        words += f", and {many} of up to {short_duration(drift.longest_gap)}"
    return words


def too_late(drift: Drift | None, config: Config) -> str:
    """Return which promises ticks this far apart cannot keep, and what to do; "" if they keep all."""
    if drift is None:
        return ""
    broken = not_kept(drift, config)
    early = drift.hold_before > config.tick.hold_before
    if not broken and not early:
        return ""
    words = f"Ticks come {usually(drift)}: promises shorter than {short_duration(drift.shortest_promise)}"
    words += " cannot be kept by tick"
    if broken:
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        words += f" ({', '.join(broken[:_NAMED])}{more})"
    before = short_duration(_round(drift.hold_before))
    return f'{words}; let it run more often, or write hold_before = "{before}" in [tick]' if early else words


def _round(length: timedelta) -> timedelta:
    """Return a length rounded up to a figure that a person would choose: 11m, 20m, 12h."""
    step = next(step for most, step in _STEPS if length <= most)
    return ceil(length / step) * step


def _about(length: timedelta, slack: timedelta = timedelta(seconds=30)) -> str:
    """Return a length rounded up to minutes, ignoring up to `slack`; below a minute, in seconds."""
    if length < _MINUTE:
        return short_duration(length)
    return short_duration(ceil((length - slack) / _MINUTE) * _MINUTE)


def not_kept(drift: Drift, config: Config) -> tuple[str, ...]:
    """Return the keys of commcast.toml, with values, that promise more than ticks this far apart can keep.

    Defaults that the file leaves out are included: they are promises too.
    """
    return tuple(
        f"{key} = {written}" for key, length, written in _promised(config) if length < drift.shortest_promise
    )


def _promised(config: Config) -> Iterator[tuple[str, timedelta, str]]:
    for severity in (1, 2, 3, 4):
        if not config.audiences_for(severity):
            continue
        cadence = config.cadence_of(severity)
        later = [(f"after_{short_duration(age)}", pace) for age, pace in cadence.later]
        for key, length in [("every", cadence.every), *later, *cadence.audiences.items()]:
            yield f"cadence.{severity}.{key}", length, short_duration(length)
