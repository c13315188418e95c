"""How far a freeze and a delivery are, for whoever watches them or reads the log of a run."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from commcast.cli.output import say

_AT_TERMINAL, _IN_LOG = 0.1, 5.0  # seconds from one word to the next
_CLEAR = "\r\x1b[K"


@dataclass
class Progress:
    """Counts on stderr: in one line of a terminal, else in a plain line every 5 seconds.

    What is done sooner than that says nothing of itself.
    """

    count: int = 0
    _shown: float = field(default_factory=time.monotonic)
    _is_dirty: bool = False
    _terminal: bool = field(default_factory=lambda: sys.stderr.isatty())

    def freezing(self, rows: int) -> None:
        """Hear how many rows of a list are rendered and frozen."""
        self._tell(f"Rendering and freezing: {rows:,} done")

    def begins(self, broadcast: str, waiting: int) -> None:
        """Hear that a broadcast begins."""

    def settled(self, broadcast: str, outcomes: Mapping[str, int]) -> None:  # noqa: ARG002
        """Hear what has become of further deliveries."""
        self.count += sum(count for kind, count in outcomes.items() if kind != "not_taken")
        self._tell(f"Sending: {self.count:,} handed over")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Leave the terminal's line empty for what is printed next."""
        if self._is_dirty:
            self._write(_CLEAR)
            self._is_dirty = False

    def _tell(self, text: str) -> None:
        now = time.monotonic()
        if now - self._shown < (_AT_TERMINAL if self._terminal else _IN_LOG):
            return
        self._shown = now
        if self._terminal:
            self._write(f"{_CLEAR}{text}")
            self._is_dirty = True
        else:
            say(text)

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:  # a terminal that went away is no reason to end a send half way
            self._terminal = False
