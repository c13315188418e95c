"""The progress of a run, on stderr: bars at a terminal, otherwise a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from commcast.cli.output import CYAN, RED, YELLOW, can_draw, console_for, inert, room_of, say
from commcast.model.times import short_duration

if TYPE_CHECKING:
    from rich.console import Group

_SHOWN_AFTER, _REDRAWN = 0.5, 0.1  # seconds until a terminal shows anything, and between drawings
_IN_LOG, _STANDSTILL = 5.0, 60.0  # seconds between lines of a log, and between those that say nothing moves
SPAN = 30.0  # seconds that a rate is measured over
SHORTEST = 0.5  # seconds that have to pass before a rate is told
QUIET = 5.0  # seconds without an answer, if that is more than three times the last gap, until it is told
_NARROWEST_BAR, _WIDEST_BAR = 8, 30
_TROUBLES = {"rejected": YELLOW, "unknown": RED, "not_taken": YELLOW}


@dataclass
class Meter:
    """How far one thing is; `total` is None if it is only counted. Times are monotonic seconds."""

    name: str
    moved_at: float
    total: int | None = None
    done: int = 0  # how many have an outcome that stays
    counts: Counter[str] = field(default_factory=Counter)
    _samples: deque[tuple[float, int]] = field(default_factory=deque)
    _gaps: deque[float] = field(default_factory=lambda: deque(maxlen=2))
    _not_taken: deque[tuple[float, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._samples.append((self.moved_at, self.done))

    @property
    def is_over(self) -> bool:
        return self.total is not None and self.done >= self.total

    def settle(self, outcomes: Mapping[str, int], now: float) -> None:
        """Count the outcomes of further deliveries. What was not taken waits again."""
        self.counts.update(outcomes)
        if again := outcomes.get("not_taken", 0):
            self._not_taken.append((now, again))
        if more := sum(outcomes.values()) - again:
            self.add(more, now)

    def add(self, more: int, now: float) -> None:
        """Count `more`. After a standstill the rate is measured anew."""
        if self.is_quiet(now):
            self._samples = deque([(now, self.done)])
        self._gaps.append(now - self.moved_at)
        self.moved_at = now
        self.done += more
        if self.total is not None:
            self.total = max(self.total, self.done)
        self._samples.append((now, self.done))
        while len(self._samples) > 1 and self._samples[1][0] <= now - SPAN:
            self._samples.popleft()

    def is_quiet(self, now: float) -> bool:
        """Return whether nothing came for longer than usual between two answers."""
        # The smaller of two gaps: one pause is not what is usual, a slow limit is.
        return now - self.moved_at > max(QUIET, 3 * min(self._gaps, default=0.0))

    def rate(self, now: float) -> float | None:
        """Return how many a second there were lately; None if too little is known, or nothing moves."""
        since, before = self._samples[0]
        if now - since < SHORTEST or self.is_quiet(now) or self.done == before:
            return None
        return (self.done - before) / (now - since)

    def facts(self, now: float) -> list[str]:
        """Return how far it is, the most important first: the count, the rate, the time left."""
        rate = self.rate(now)
        if self.total is None:
            return [f"{self.done:,} done", *([per_second(rate)] if rate else [])]
        count = f"{self.done:,} of {self.total:,}"
        if self.is_over:
            return [count]
        if self.is_quiet(now):
            return [count, f"no answer for {_about(now - self.moved_at)}"]
        going = [per_second(rate), f"{_about((self.total - self.done) / rate)} left"] if rate else []
        return [count, *going]

    def troubles(self, now: float) -> dict[str, str]:
        """Return what did not go as it should, each with its colour; what was not taken, only lately."""
        while self._not_taken and self._not_taken[0][0] <= now - SPAN:
            self.counts["not_taken"] -= self._not_taken.popleft()[1]
        return {
            f"{self.counts[kind]:,} {kind.replace('_', ' ')}": colour
            for kind, colour in _TROUBLES.items()
            if self.counts[kind]
        }

    def sentence(self, now: float) -> str:
        """Return all of it as a line of a log."""
        return f"{self.name}: {', '.join([*self.facts(now), *self.troubles(now)])}"


class ProgressBar(AbstractContextManager["ProgressBar"]):
    """Shows how far a run is; what is done at once shows nothing.

    A thread of its own shows it, so that a pause is told although nothing happens. `clock` gives monotonic
    seconds. Without `in_log` it is shown only at a terminal.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, in_log: bool = True) -> None:
        self.clock, self._in_log = clock, in_log
        self._news_at = clock()
        self.meters: dict[str, Meter] = {}
        self._lock = Lock()
        self._ended = Event()
        self._thread: Thread | None = None

    def freezing(self, rows: int) -> None:
        """Note how many rows of the current list are rendered and frozen."""
        with self._lock:
            now = self.clock()
            known = self.meters.get("")
            if known is None or rows < known.done:
                self.meters = {"": Meter("Rendering", now, done=rows)}
            else:
                known.add(rows - known.done, now)
        self._heard()

    def begins(self, broadcast: str, waiting: int) -> None:
        """Note that a broadcast begins, or that another provider takes over the rest of it."""
        with self._lock:
            meter = self._meter(broadcast)
            meter.total = meter.done + waiting
        self._heard()

    def settled(self, broadcast: str, outcomes: Mapping[str, int]) -> None:
        """Note the outcomes of further deliveries."""
        with self._lock:
            self._meter(broadcast).settle(outcomes, self.clock())
        self._heard()

    def asked(self, provider: str, done: int) -> None:
        """Note how many deliveries a provider was asked about."""
        with self._lock:
            self.meters = {"": Meter(f"Asking {provider}", self.clock(), done=done)}
        self._heard()

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Leave the screen as it was, for what is printed next."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def lines(self) -> list[str]:
        """Return what a log is told now."""
        with self._lock:
            now = self.clock()
            return [meter.sentence(now) for meter in self.meters.values()]

    def picture(self, width: int) -> Group:
        """Return the bars as a terminal of `width` columns shows them, and below them what went wrong.

        In a narrow one the bar goes first, then the time left, then the rate.
        """
        from rich.console import Group
        from rich.progress_bar import ProgressBar as Bar
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            now = self.clock()
            shown = [(meter, meter.facts(now), meter.troubles(now)) for meter in self.meters.values()]
        names = max(len(meter.name) for meter, *_ in shown)
        room = width - names - 2
        for kept in (3, 2, 1):
            words = ["  ".join(facts[:kept]) for _, facts, _ in shown]
            if max(map(len, words)) <= room:
                break
        bar = min(room - max(map(len, words)) - 2, _WIDEST_BAR)
        grid, below = Table.grid(padding=(0, 2, 0, 0)), []
        for (meter, _, troubles), text in zip(shown, words, strict=True):
            if bar >= _NARROWEST_BAR:
                grid.add_row(
                    Text(meter.name),
                    Bar(meter.total, meter.done, bar, complete_style=CYAN, finished_style=CYAN),
                    Text(text),
                )
            else:
                grid.add_row(Text(f"{meter.name}  {text}", no_wrap=True, overflow="ellipsis"))
            if troubles:
                below.append(Text(f"{meter.name}: ", no_wrap=True, overflow="ellipsis"))
                below[-1].append_text(Text(", ").join(Text(*each) for each in troubles.items()))
        return Group(grid, *below)

    def _meter(self, broadcast: str) -> Meter:
        """Return the meter of a broadcast; a new one takes the place of those that are over."""
        if broadcast not in self.meters:
            under_way = {name: each for name, each in self.meters.items() if name and not each.is_over}
            self.meters = {**under_way, broadcast: Meter(story_in_words(broadcast), self.clock(), 0)}
        return self.meters[broadcast]

    def _heard(self) -> None:
        self._news_at = self.clock()
        if self._thread is None:
            # In this context: a reader of our output who went away is no more to the thread than to us.
            self._thread = Thread(target=copy_context().run, args=(self._show,), name="progress", daemon=True)
            self._thread.start()

    def _show(self) -> None:
        try:
            if can_draw(sys.stderr):
                self._draw()
            elif self._in_log:
                self._log()
        except (OSError, ValueError):  # a terminal or a log that went away is no reason to end a send
            return

    def _draw(self) -> None:
        if self._ended.wait(_SHOWN_AFTER):
            return
        from rich.live import Live

        console = console_for(sys.stderr)
        with Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        ) as live:
            while True:
                console.size = room_of(sys.stderr)
                live.update(self.picture(console.width), refresh=True)
                if self._ended.wait(_REDRAWN):
                    return

    def _log(self) -> None:
        told, told_at = 0.0, self.clock()
        while not self._ended.wait(_IN_LOG):
            # That nothing moves is no news every five seconds.
            if self._news_at > told or self.clock() - told_at >= _STANDSTILL:
                told, told_at = self._news_at, self.clock()
                for line in self.lines():
                    say(line)


def story_in_words(broadcast: str) -> str:
    """Return the name of an incident or broadcast as people read it, also of one to its own people."""
    from commcast.ledger.tables import OWN_STORY

    if not broadcast.startswith(OWN_STORY):
        return inert(broadcast)
    incident, *channel = broadcast.removeprefix(OWN_STORY).split(" ")
    return inert(", ".join([f"{incident}'s own people", *channel]))


def per_second(rate: float) -> str:
    """Return a rate as it is read: "3,204/s", "0.4/s"."""
    return f"{rate:,.0f}/s" if rate >= 9.95 else f"{rate:.1f}/s"


def _about(seconds: float) -> str:
    """Return a length of time no finer than it can be known."""
    whole = max(1, round(seconds))
    return f"{whole}s" if whole < 120 else short_duration(timedelta(minutes=round(seconds / 60)))
