"""How far a delivery is, for whoever watches it at a terminal."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field


@dataclass
class Progress:
    """Counts outcomes on a terminal's stderr, at most ten times a second; silent elsewhere."""

    count: int = 0
    _shown: float = 0.0
    _terminal: bool = field(default_factory=lambda: sys.stderr.isatty())

    def __call__(self, _kind: str) -> None:
        self.count += 1
        if self._terminal and time.monotonic() - self._shown > 0.1:
            self._shown = time.monotonic()
            sys.stderr.write(f"\r{self.count:,} handed over")
            sys.stderr.flush()

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\r" + " " * 40 + "\r")
            sys.stderr.flush()
