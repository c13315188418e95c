"""The event loop that deliveries run on: uvloop where there is one, for the same work costs it less."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

# COMMCAST_EVENT_LOOP=asyncio: Python's own, to find out whether a trouble is uvloop's, or what it is worth.
CHOICE = "COMMCAST_EVENT_LOOP"


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=_factory()) as runner:
        runner.run(work)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if os.environ.get(CHOICE) == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:  # there is none for this platform
        return None
    return uvloop.new_event_loop
