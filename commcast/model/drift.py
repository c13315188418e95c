"""How late ticks come, and which promises that can keep (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

TICK_LATE = timedelta(minutes=10)  # without a tick for so long, nothing can be counted on to go by itself
FEWEST = 4  # intervals; of fewer nothing is said
# Two hosts whose cron fires at the same second are one tick: else half of all intervals would be nothing.
_TOGETHER = timedelta(seconds=15)
# What is longer than this, and than so many usual intervals, is a silence with a cause of its own (a machine
# that slept), not how late ticks usually are.
_GAP, _USUAL = timedelta(hours=1), 10
_MINUTE = timedelta(minutes=1)
_AT_WORK = timedelta(minutes=3)  # what a pass may take until its words have left


@dataclass(frozen=True, slots=True)
class Drift:
    """How far ticks were apart lately: `typical` is the median, `worst` the 95th percentile.

    `seen` counts the intervals, `gaps` those that were left out as too long to be usual, the longest of which
    is `longest_gap`. `hosts` are where the ticks ran.
    """

    typical: timedelta
    worst: timedelta
    seen: int = 0
    gaps: int = 0
    longest_gap: timedelta = timedelta()
    hosts: tuple[str, ...] = ()

    @property
    def hold_before(self) -> timedelta:
        """How long before a promise to speak, so that a tick surely comes in between: full minutes."""
        return ceil(self.worst / _MINUTE) * _MINUTE

    @property
    def shortest_promise(self) -> timedelta:
        """The shortest promise that ticks this far apart can keep by themselves."""
        return self.hold_before + _AT_WORK


def drift_of(ticks: Sequence[datetime], hosts: Sequence[str] = ()) -> Drift | None:
    """Return how far apart ticks were, None where there are too few to tell. `ticks` are oldest first."""
    apart = list(_intervals(ticks))
    if len(apart) < FEWEST:
        return None
    longest = max(_GAP, _USUAL * _middle(sorted(apart)))
    usual = sorted(each for each in apart if each <= longest)
    gaps = [each for each in apart if each > longest]
    return Drift(
        typical=_middle(usual),
        worst=usual[ceil(0.95 * len(usual)) - 1],
        seen=len(apart),
        gaps=len(gaps),
        longest_gap=max(gaps, default=timedelta()),
        hosts=tuple(dict.fromkeys(hosts)),
    )


def _intervals(ticks: Sequence[datetime]) -> Iterator[timedelta]:
    last: datetime | None = None
    for at in ticks:
        if last is None:
            last = at
        elif at - last >= _TOGETHER:
            yield at - last
            last = at


def _middle(lengths: Sequence[timedelta]) -> timedelta:
    return lengths[(len(lengths) - 1) // 2]
