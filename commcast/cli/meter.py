"""How far one broadcast, or one freeze, is: counts, the rate of late, the time left; in lines that fit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from commcast.durations import short_duration

SPAN = 30.0  # seconds that the rate speaks of
SHORTEST = 0.5  # seconds that a rate has to be known for before it is told
QUIET = 5.0  # seconds without an answer, and three times the last gap, until no time left is told
_BETWEEN_SAMPLES = 0.25
_NARROWEST_BAR, _WIDEST_BAR = 8, 30
NOT_TAKEN, REJECTED, UNKNOWN = "not_taken", "rejected", "unknown"

Paint = Callable[[str, str], str]  # (text, kind of outcome) -> text, perhaps in colour


def unpainted(text: str, _kind: str) -> str:
    """Return `text` as it is."""
    return text


@dataclass
class Pace:
    """How fast something goes that is only counted upwards. Times are seconds of one monotonic clock."""

    began: float
    count: int = 0
    moved_at: float = 0.0
    _samples: deque[tuple[float, int]] = field(default_factory=deque)
    _gaps: deque[float] = field(default_factory=lambda: deque(maxlen=2))

    def __post_init__(self) -> None:
        self.moved_at = self.began
        self._samples.append((self.began, self.count))

    def add(self, more: int, now: float) -> None:
        """Count `more`. After a standstill the rate is learned anew."""
        if self.is_quiet(now):
            self._samples = deque([(now, self.count)])
        self._gaps.append(now - self.moved_at)
        self.count += more
        self.moved_at = now
        if now - self._samples[-1][0] >= _BETWEEN_SAMPLES:
            self._samples.append((now, self.count))
        while len(self._samples) > 1 and self._samples[1][0] <= now - SPAN:
            self._samples.popleft()

    def rate(self, now: float) -> float | None:
        """Return how many a second there were of late; None where too little is known, or nothing moves."""
        since, before = self._samples[0]
        if now - since < SHORTEST or self.is_quiet(now) or self.count == before:
            return None
        return (self.count - before) / (now - since)

    def is_quiet(self, now: float) -> bool:
        """Return whether it has stood still for longer than it does between two answers."""
        # The smaller of two gaps: one pause is not what is usual, a slow limit is.
        return now - self.moved_at > max(QUIET, 3 * min(self._gaps, default=0.0))

    def still_for(self, now: float) -> str:
        return _about(timedelta(seconds=now - self.moved_at))


@dataclass
class Meter:
    """One broadcast under way. `total` is what it has to hand over, with what this run already did."""

    name: str
    began: float
    total: int = 0
    rejected: int = 0
    unknown: int = 0
    pace: Pace = field(init=False)
    _given_back: deque[tuple[float, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.pace = Pace(self.began)

    @property
    def done(self) -> int:
        """How many have an outcome that stays."""
        return self.pace.count

    @property
    def is_over(self) -> bool:
        return self.done >= self.total

    def expect(self, waiting: int) -> None:
        """Hear how many still wait: at the start, and where another provider takes over."""
        self.total = self.done + waiting

    def settle(self, outcomes: Mapping[str, int], now: float) -> None:
        """Count what has become of further deliveries. What was not taken waits again."""
        if more := sum(count for kind, count in outcomes.items() if kind != NOT_TAKEN):
            self.pace.add(more, now)
            self.total = max(self.total, self.done)
        self.rejected += outcomes.get(REJECTED, 0)
        self.unknown += outcomes.get(UNKNOWN, 0)
        if given_back := outcomes.get(NOT_TAKEN, 0):
            self._given_back.append((now, given_back))

    def not_taken(self, now: float) -> int:
        """How many answers of late were that it is not taken now, and is to be tried again."""
        while self._given_back and self._given_back[0][0] <= now - SPAN:
            self._given_back.popleft()
        return sum(count for _, count in self._given_back)

    def facts(self, now: float) -> list[str]:
        """Return how far it is, the most important first: the count, the rate, the time left."""
        return [f"{self.done:,} of {self.total:,}", *self._going(now)]

    def troubles(self, now: float) -> list[tuple[str, str]]:
        """Return what went another way than it should, each with the kind of its outcome."""
        counts = ((self.rejected, REJECTED), (self.unknown, UNKNOWN), (self.not_taken(now), NOT_TAKEN))
        return [(f"{count:,} {kind.replace('_', ' ')}", kind) for count, kind in counts if count]

    def bar(self, width: int) -> str:
        """Return a bar of `width` columns."""
        inside = width - 2
        full = min(inside * self.done // self.total if self.total else inside, inside)
        return f"[{'=' * full}{' ' * (inside - full)}]"

    def sentence(self, now: float) -> str:
        """Return the same numbers for the log of a run."""
        return f"{self.name}: {', '.join([*self.facts(now), *(text for text, _ in self.troubles(now))])}"

    def _going(self, now: float) -> list[str]:
        if self.is_over:
            return []
        if self.pace.is_quiet(now):
            return [f"no answer for {self.pace.still_for(now)}"]
        rate = self.pace.rate(now)
        if rate is None:
            return []
        left = timedelta(seconds=(self.total - self.done) / rate)
        return [per_second(rate), f"{_about(left)} left"]


def picture(meters: Iterable[Meter], now: float, width: int, paint: Paint = unpainted) -> list[str]:
    """Return the lines of a terminal, none wider than `width`: the bars under each other.

    Where it is narrow, what matters less goes first: the time left, the rate, the bar.
    """
    rows = [(meter, meter.facts(now)) for meter in meters]
    longest = max((len(meter.name) for meter, _ in rows), default=0)
    kept = next(
        (count for count in (3, 2, 1) if all(_width(longest, facts[:count]) <= width for _, facts in rows)), 1
    )
    room = width - max((_width(longest, facts[:kept]) for _, facts in rows), default=0) - 2
    bar = min(room, _WIDEST_BAR) if room >= _NARROWEST_BAR else 0
    lines = []
    for meter, facts in rows:
        parts = [meter.name.ljust(longest), *([meter.bar(bar)] if bar else []), *facts[:kept]]
        lines.append(_cut("  ".join(parts), width))
        if troubles := meter.troubles(now):
            lines.append(_beneath(troubles, width, paint))
    return lines


def _beneath(troubles: list[tuple[str, str]], width: int, paint: Paint) -> str:
    plain = f"  {', '.join(text for text, _ in troubles)}"
    if len(plain) > width:
        return _cut(plain, width)
    return f"  {', '.join(paint(text, kind) for text, kind in troubles)}"


def _width(name: int, facts: list[str]) -> int:
    return name + sum(2 + len(fact) for fact in facts)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def per_second(rate: float) -> str:
    """Return a rate as it is read: "3,204/s", "0.4/s"."""
    return f"{rate:,.0f}/s" if rate >= 9.95 else f"{rate:.1f}/s"


def _about(length: timedelta) -> str:
    """Return a time left no finer than it can be known."""
    seconds = max(1, round(length.total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    return short_duration(timedelta(minutes=round(seconds / 60)))
