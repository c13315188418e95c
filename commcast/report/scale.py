"""From moments to pixels: where time runs, which moments are named, and what is drawn shorter than it was."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise

_STEPS = [timedelta(minutes=minutes) for minutes in (5, 10, 15, 30, 60, 120, 180, 360, 720)]
# Time in which nothing happens for so long is drawn shorter than it is, and marked as such.
_BREAK_ABOVE, _BREAK_SHARE, _BREAK_DRAWN = timedelta(hours=6), 0.25, 0.1


class Scale:
    """From moments to pixels along. Long stretches without any event are shortened; `breaks` are those."""

    def __init__(self, moments: Iterable[datetime], start: float, end: float) -> None:
        self.moments = sorted(set(moments))
        lengths = [after - before for before, after in pairwise(self.moments)]
        rest, broken = sum(lengths, timedelta()), [False] * len(lengths)
        for i in sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True):
            if lengths[i] > _BREAK_ABOVE and lengths[i] > _BREAK_SHARE * rest:
                rest, broken[i] = rest - lengths[i], True
        drawn = [
            _BREAK_DRAWN * (rest.total_seconds() or 1.0) if is_long else each.total_seconds()
            for each, is_long in zip(lengths, broken, strict=True)
        ]
        size = (end - start) / (sum(drawn) or 1.0)
        self.places = [start]
        for each in drawn:
            self.places.append(self.places[-1] + each * size)
        self.breaks = [i for i, is_long in enumerate(broken) if is_long]

    def at(self, moment: datetime) -> float:
        """Return where a moment lies; one outside lies at the edge."""
        i = max(0, min(bisect_right(self.moments, moment) - 1, len(self.moments) - 2))
        if len(self.moments) < 2:
            return self.places[0]
        before, after = self.moments[i], self.moments[i + 1]
        share = min(1.0, max(0.0, (moment - before) / (after - before)))
        return self.places[i] + share * (self.places[i + 1] - self.places[i])


def ticks(scale: Scale, most: float) -> Iterator[datetime]:
    """Yield full moments of the clock, at most so many, so that all are equally far apart."""
    first, last = scale.moments[0], scale.moments[-1]
    span = last - first
    shown = span - sum((scale.moments[i + 1] - scale.moments[i] for i in scale.breaks), timedelta())
    step = next((each for each in _STEPS if shown / each <= most), timedelta(days=1))
    while span / step > 500:  # a story of months
        step *= 2
    whole = timedelta(seconds=int(first.timestamp()) % int(step.total_seconds()))
    tick = first.replace(microsecond=0) - whole
    while tick <= last:
        if tick >= first and not any(scale.moments[i] < tick < scale.moments[i + 1] for i in scale.breaks):
            yield tick
        tick += step
