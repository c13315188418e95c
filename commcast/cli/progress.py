"""How far a run is, in lines that fit."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from commcast.cli.output import inert, room_of, say
from commcast.model.times import short_duration

_AT_TERMINAL, _IN_LOG = 0.1, 5.0  # seconds from one word to the next
_STANDING = 60.0  # and in a log, while nothing moves
_LOOK = 0.5  # seconds until it is looked at again, whether anything was heard or not
_COLOUR = {"rejected": "33", "unknown": "31", "not_taken": "33"}


def _is_screen() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@dataclass
class ProgressBar:
    """Tells on stderr: a bar for each broadcast at a terminal, else a plain line each every 5 seconds.

    What is done sooner than that says nothing of itself. It is looked at twice a second by a thread of its
    own, so that a pause is told without anything that happens. `clock` gives monotonic seconds.
    """

    clock: Callable[[], float] = time.monotonic
    watched: bool = True  # by the thread; a test looks itself
    _terminal: bool = field(default_factory=_is_screen)
    _meters: dict[str, Meter] = field(default_factory=dict)
    _frozen: CountingPace | None = None
    _rows: int = 0
    _asked: str = ""
    _on_screen: int = 0  # lines, the cursor below them
    _lock: Lock = field(default_factory=Lock)
    _ended: Event = field(default_factory=Event)
    _thread: Thread | None = None

    def __post_init__(self) -> None:
        self._shown = self._moved = self.clock()

    def freezing(self, rows: int) -> None:
        """Hear how many rows of the list at hand are rendered and frozen."""

        with self._lock:
            now = self.clock()
            if self._frozen is None or rows < self._rows:
                self._frozen = CountingPace(now, rows)
            else:
                self._frozen.add(rows - self._rows, now)
            self._rows = rows
            self._heard(now)

    def begins(self, broadcast: str, waiting: int) -> None:
        """Hear that a broadcast begins, or that another provider takes over the rest of it."""
        with self._lock:
            now = self.clock()
            self._frozen = None
            if broadcast not in self._meters:
                self._meters = {name: each for name, each in self._meters.items() if not each.is_over}
                self._meters[broadcast] = _meter(broadcast, now)
            self._meters[broadcast].expect(waiting)
            self._heard(now)

    def settled(self, broadcast: str, outcomes: Mapping[str, int]) -> None:
        """Hear what has become of further deliveries."""
        with self._lock:
            now = self.clock()
            if broadcast not in self._meters:
                self._meters[broadcast] = _meter(broadcast, now)
            self._meters[broadcast].settle(outcomes, now)
            self._heard(now)

    def asked(self, provider: str, done: int) -> None:
        """Hear how many deliveries a provider was asked about."""
        with self._lock:
            if not done and self._terminal:
                self._shown = 0.0  # at once: a provider's list lags, and is waited for
            self._asked = f"Asking {provider}: {done:,} done"
            self._heard(self.clock())

    def look(self) -> None:
        """Show what is so by now, where it is time to."""
        with self._lock:
            self._show_if_due(self.clock())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Leave the screen as it was, for what is printed next."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            if self._on_screen:
                self._write(self._up())
                self._on_screen = 0

    def _heard(self, now: float) -> None:
        self._moved = now
        self._show_if_due(now)
        if self.watched and self._thread is None:
            self._thread = Thread(target=self._watch, name="progress", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK):
            self.look()

    def _show_if_due(self, now: float) -> None:
        often = _AT_TERMINAL if self._terminal else _IN_LOG
        # In a log, that nothing moves is no news every five seconds.
        if not self._terminal and self._moved <= self._shown:
            often = max(often, _STANDING)
        if now - self._shown < often or self._ended.is_set():
            return
        self._shown = now
        if self._terminal:
            self._draw(now)
        else:
            self._log(self._sentences(now))

    def _sentences(self, now: float) -> list[str]:
        return self._preparing(now) or [meter.sentence(now) for meter in self._meters.values()]

    def _log(self, lines: list[str]) -> None:
        try:
            for line in lines:
                say(line)
        except OSError:  # a log that nobody reads any more: the same
            self._ended.set()

    def _draw(self, now: float) -> None:
        width, height = room_of(sys.stderr)
        lines = [line[:width] for line in self._preparing(now)]
        if not lines and self._meters:
            lines = picture(self._meters.values(), now, width, _paint)
        lines = lines[-max(height - 1, 1) :]
        # Each line is written over, and what is left of the last drawing below them is wiped out.
        self._write(f"{self._up()}{''.join(f'{line}{chr(10)}' for line in lines)}")
        self._on_screen = len(lines)

    def _preparing(self, now: float) -> list[str]:
        """Return what is told while nothing is handed over yet."""
        if self._frozen is None:
            return [self._asked] if self._asked else []

        rate = self._frozen.rate(now)
        return [f"Rendering and freezing: {self._rows:,} done{f', {per_second(rate)}' if rate else ''}"]

    def _up(self) -> str:
        return f"\x1b[{self._on_screen}A\r\x1b[J" if self._on_screen else "\r\x1b[J"

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):  # a terminal that went away is no reason to end a send half way
            self._terminal = False


def _meter(broadcast: str, now: float) -> Meter:
    """Return the meter of a broadcast; what goes to an incident's own people says so in words."""
    from commcast.ledger.tables import OWN_STORY

    if not broadcast.startswith(OWN_STORY):
        return Meter(broadcast, now)
    incident, _, channel = broadcast.removeprefix(OWN_STORY).partition(" ")
    return Meter(f"{incident}'s own people, {channel}", now)


def _paint(text: str, kind: str) -> str:
    code = "" if os.environ.get("NO_COLOR") else _COLOUR.get(kind, "")
    return f"\x1b[{code}m{inert(text)}\x1b[0m" if code else inert(text)


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
class CountingPace:
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
    pace: CountingPace = field(init=False)
    _given_back: deque[tuple[float, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.pace = CountingPace(self.began)

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
