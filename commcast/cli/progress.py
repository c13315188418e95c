"""How far a freeze and a delivery are, for whoever watches them or reads the log of a run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Self

from commcast.cli.output import inert, room_of, say

if TYPE_CHECKING:
    from commcast.cli.meter import Meter, Pace

_AT_TERMINAL, _IN_LOG = 0.1, 5.0  # seconds from one word to the next
_STANDING = 60.0  # and in a log, while nothing moves
_LOOK = 0.5  # seconds until it is looked at again, whether anything was heard or not
_COLOUR = {"rejected": "33", "unknown": "31", "not_taken": "33"}


def _is_screen() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@dataclass
class Progress:
    """Tells on stderr: a bar for each broadcast at a terminal, else a plain line each every 5 seconds.

    What is done sooner than that says nothing of itself. It is looked at twice a second by a thread of its
    own, so that a pause is told without anything that happens. `clock` gives monotonic seconds.
    """

    clock: Callable[[], float] = time.monotonic
    watched: bool = True  # by the thread; a test looks itself
    _terminal: bool = field(default_factory=_is_screen)
    _meters: dict[str, Meter] = field(default_factory=dict)
    _frozen: Pace | None = None
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
        from commcast.cli.meter import Pace

        with self._lock:
            now = self.clock()
            if self._frozen is None or rows < self._rows:
                self._frozen = Pace(now, rows)
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
            from commcast.cli.meter import picture

            lines = picture(self._meters.values(), now, width, _paint)
        lines = lines[-max(height - 1, 1) :]
        # Each line is written over, and what is left of the last drawing below them is wiped out.
        self._write(f"{self._up()}{''.join(f'{line}{chr(10)}' for line in lines)}")
        self._on_screen = len(lines)

    def _preparing(self, now: float) -> list[str]:
        """Return what is told while nothing is handed over yet."""
        if self._frozen is None:
            return [self._asked] if self._asked else []
        from commcast.cli.meter import per_second

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
    from commcast.cli.meter import Meter
    from commcast.ledger.schema import OWN_STORY

    if not broadcast.startswith(OWN_STORY):
        return Meter(broadcast, now)
    incident, _, channel = broadcast.removeprefix(OWN_STORY).partition(" ")
    return Meter(f"{incident}'s own people, {channel}", now)


def _paint(text: str, kind: str) -> str:
    code = "" if os.environ.get("NO_COLOR") else _COLOUR.get(kind, "")
    return f"\x1b[{code}m{inert(text)}\x1b[0m" if code else inert(text)
