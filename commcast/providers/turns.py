"""Several requests at once: so many turns at a provider, none after a halt, and answers as they come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Iterable
from types import TracebackType
from typing import Any, TypeVar

Answer = TypeVar("Answer")


async def as_they_come(work: Iterable[Coroutine[Any, Any, Answer]]) -> AsyncGenerator[Answer, None]:
    """Do all of it at once, and yield each result as it comes; who stops asking closes it (`aclosing`)."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        for answered in asyncio.as_completed(tasks):
            yield await answered
    finally:
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class HaltedError(Exception):
    """There are no further turns: what waited for one has not been begun."""


class Turns:
    """`async with turns:` holds one of `count` turns; who waits is served in order.

    Raises HaltedError for who waits or comes after `halt`. For one event loop.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.is_halted = False

    def halt(self) -> None:
        """Give no further turns; who has one keeps it."""
        self.is_halted = True
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(HaltedError)

    async def __aenter__(self) -> None:
        if self.is_halted:
            raise HaltedError
        if self._free:
            self._free -= 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._leave()  # it was given a turn at the same moment
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1
