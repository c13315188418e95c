"""An event loop whose clock stands still while anything happens, so that a stall takes no time and a slow
machine breaks no deadline."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from commcast.delivery.run import LINGER, BroadcastRun

_QUIET = 0.05  # seconds without an event after which nothing more is on its way on this machine


class _IdleSelector(selectors.DefaultSelector):
    """Instead of sleeping until the next timer, it moves the clock there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.threads = 0  # of the loop's executor that are at work

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        events: list[tuple[selectors.SelectorKey, int]] = super().select(_QUIET)
        if not events and not self.threads:
            self.now += timeout
        return events


class IdleClockLoop(asyncio.SelectorEventLoop):
    """Both sides of the talk must live in this loop: it sees only its executor's threads."""

    def __init__(self) -> None:
        self._idle = _IdleSelector()
        super().__init__(self._idle)

    def time(self) -> float:
        return self._idle.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        self._idle.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._one_less)
        return future

    def _one_less(self, _: asyncio.Future[Any]) -> None:
        self._idle.threads -= 1


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it in such a loop, as `asyncio.run` does in an ordinary one."""
    with asyncio.Runner(loop_factory=IdleClockLoop) as runner:
        return runner.run(coroutine)


def wait_in_made_up_time(patch: pytest.MonkeyPatch, pass_by: Callable[[float], object]) -> None:
    """Let runs that wait for a provider wait no real time: `pass_by` moves the made-up clock by seconds."""
    news_by = BroadcastRun._news_by

    async def wait(run: BroadcastRun, moment: float) -> bool:
        left = moment - time.monotonic()
        if left <= LINGER:
            return await news_by(run, moment)
        pass_by(left)
        return False

    patch.setattr(BroadcastRun, "_news_by", wait)
