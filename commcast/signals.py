"""Signals that end a process: at once if no message is in flight, otherwise in order.

SIGINT is a person saying stop. SIGTERM (a supervisor) and SIGHUP (a terminal or ssh session that closed) say
nothing about the incident: the next run carries on. Signals ignored at start (nohup) stay ignored.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

# A wrapper may pass on a signal that the terminal sent to us as well: within this time two count as one.
AGAIN_AFTER = 0.5  # seconds
Handler = Callable[[int, FrameType | None], None]
_RESUMABLE = (signal.SIGTERM, signal.SIGHUP)
_ALL = (signal.SIGINT, *_RESUMABLE)


class EndedBySignal(BaseException):
    """SIGTERM or SIGHUP arrived while nothing was in flight. Like KeyboardInterrupt, not an Exception."""

    def __init__(self, number: int) -> None:
        self.name = signal.Signals(number).name
        super().__init__(self.name)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise EndedBySignal, so that half-done work is undone before the exit."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise EndedBySignal(number)

    with _restored(_RESUMABLE, end):
        yield


@contextmanager
def never_lost() -> Iterator[Callable[[], None]]:
    """Yield a function that raises the first signal again if its exception was swallowed.

    It may have been raised inside a library, or a finalizer, that swallows every exception.
    """
    heard: list[tuple[int, FrameType | None]] = []

    with _restored(_ALL) as before:
        handlers = {number: handler for number, handler in before.items() if callable(handler)}

        def note(number: int, frame: FrameType | None) -> None:
            heard.append((number, frame))
            handlers[number](number, frame)

        def again() -> None:
            for number, frame in heard[:1]:
                handlers[number](number, frame)

        for number in handlers:
            signal.signal(number, note)
        yield again


@contextmanager
def deferring_signals() -> Iterator[list[int]]:
    """Yield a list of the signals that arrive meanwhile; the caller raises them afterwards."""
    heard: list[int] = []
    with _restored(_ALL, lambda number, _frame: heard.append(number)):
        yield heard


@contextmanager
def ending_in_order(
    loop: AbstractEventLoop, halt: Callable[[int], None], at_once: Callable[[], None]
) -> Iterator[None]:
    """Call `halt` with the first signal's number, and `at_once` if a person presses Ctrl-C again."""
    first = 0.0

    def caught(number: int) -> None:
        nonlocal first
        if not first:
            first = loop.time()
            halt(number)
        elif number == signal.SIGINT and loop.time() - first >= AGAIN_AFTER:
            first = float("inf")  # no third time
            at_once()

    with _restored(_ALL) as before:
        for number in before:
            loop.add_signal_handler(number, caught, number)
        try:
            yield
        finally:
            for number in before:
                loop.remove_signal_handler(number)


@contextmanager
def _restored(numbers: Iterable[int], handler: Handler | None = None) -> Iterator[Mapping[int, Any]]:
    """Set a handler for the signals that we may handle; yield the earlier ones, restore them at the end."""
    before = {int(number): signal.getsignal(number) for number in numbers if _is_ours(number)}
    try:
        for number in before if handler else ():
            signal.signal(number, handler)
        yield before
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _is_ours(number: int) -> bool:
    """Return whether we may handle a signal: only in the main thread, and not if it was ignored before us."""
    if threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(number) not in {signal.SIG_IGN, None}
