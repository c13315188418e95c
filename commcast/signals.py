"""Signals that end a process: at once if no message is in flight, otherwise in order.

SIGINT is a person saying stop. SIGTERM (a supervisor) and SIGHUP (a terminal or ssh session that closed) say
nothing about the incident: the next run carries on. What was ignored when we started (nohup) stays ignored.
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
_RESUMABLE = (signal.SIGTERM, signal.SIGHUP)
_ALL = (signal.SIGINT, *_RESUMABLE)


class EndedBySignal(BaseException):
    """SIGTERM or SIGHUP came while nothing was in flight; like KeyboardInterrupt, not an error of a line."""

    def __init__(self, number: int) -> None:
        self.name = signal.Signals(number).name
        super().__init__(self.name)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise EndedBySignal, so that what is half done is undone before the end."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise EndedBySignal(number)

    with _restored(_RESUMABLE) as before:
        for number in before:
            signal.signal(number, end)
        yield


@contextmanager
def never_lost() -> Iterator[Callable[[], None]]:
    """Yield a function that raises again the first signal that came in the meantime and ended nothing.

    Its exception may be raised inside a library, or a finalizer, that swallows every exception.
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
    """Yield a list of the signals that come meanwhile and end nothing: the caller raises them afterwards."""
    heard: list[int] = []
    numbers = [int(number) for number in (signal.SIGINT, *_RESUMABLE) if _is_ours(number)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in before:
        signal.signal(number, lambda number, _frame: heard.append(number))
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
def _restored(numbers: Iterable[int]) -> Iterator[Mapping[int, Any]]:
    """Yield the handlers of those signals that we may handle, and put them back at the end."""
    before = {int(number): signal.getsignal(number) for number in numbers if _is_ours(number)}
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_ours(number: int) -> bool:
    """Return whether we may handle a signal: only in the main thread, and not if it was ignored before us."""
    if threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(number) not in {signal.SIG_IGN, None}
