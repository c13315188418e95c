"""An event loop whose clock stands still while anything happens, so that a stall takes no time and a slow
machine breaks no deadline."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

_QUIET = 0.05  # seconds without an event after which nothing more is on its way on this machine


class _IdleSelector(selectors.DefaultSelector):
    """Instead of sleeping until the next timer, it moves the clock there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        events: list[tuple[selectors.SelectorKey, int]] = super().select(_QUIET)
        if not events:
            self.now += timeout
        return events


class IdleClockLoop(asyncio.SelectorEventLoop):
    """Both sides of the talk must live in this loop: it cannot see a thread or another process at work."""

    def __init__(self) -> None:
        self._idle = _IdleSelector()
        super().__init__(self._idle)

    def time(self) -> float:
        return self._idle.now


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it in such a loop, as `asyncio.run` does in an ordinary one."""
    with asyncio.Runner(loop_factory=IdleClockLoop) as runner:
        return runner.run(coroutine)
