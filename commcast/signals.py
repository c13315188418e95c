"""Signals that ask a process to end: at once where nothing is in flight, in order where something is.

SIGINT is a person's "stop". SIGTERM (a supervisor) and SIGHUP (a terminal or an ssh session that went away)
say nothing about the incident: the next run goes on. What was ignored when we started (nohup) stays ignored.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


# A wrapper that passes on what the terminal has sent to us too makes two of one: so long they count as one.
AGAIN_AFTER = 0.5  # seconds
_RESUMABLE = (signal.SIGTERM, signal.SIGHUP)


class EndedBySignal(BaseException):
    """SIGTERM or SIGHUP came where nothing is in flight; like KeyboardInterrupt, it is no error of a line."""

    def __init__(self, number: int) -> None:
        self.name = signal.Signals(number).name
        super().__init__(self.name)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise EndedBySignal, so that what is half done is undone before the end."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise EndedBySignal(number)

    before = {number: signal.getsignal(number) for number in _RESUMABLE if _is_ours(number)}
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def never_lost() -> Iterator[Callable[[], None]]:
    """Yield what raises again a signal that came in the meantime and ended nothing.

    Its exception may come up where a library, or a finalizer, swallows whatever comes up there.
    """
    heard: list[tuple[int, FrameType | None]] = []
    numbers = [number for number in (signal.SIGINT, *_RESUMABLE) if _is_ours(number)]
    before = {int(number): handler for number in numbers if callable(handler := signal.getsignal(number))}

    def note(number: int, frame: FrameType | None) -> None:
        heard.append((number, frame))
        before[number](number, frame)

    def again() -> None:
        for number, frame in heard[:1]:
            before[number](number, frame)

    for number in before:
        signal.signal(number, note)
    try:
        yield again
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    """Call `halt` with the first signal's number; and `at_once` where a person presses Ctrl-C again."""
    first = 0.0

    def caught(number: int) -> None:
        nonlocal first
        if not first:
            first = loop.time()
            halt(number)
        elif number == signal.SIGINT and loop.time() - first >= AGAIN_AFTER:
            first = float("inf")  # no third time
            at_once()

    numbers = [number for number in (signal.SIGINT, *_RESUMABLE) if _is_ours(number)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in before:
        loop.add_signal_handler(number, caught, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def _is_ours(number: int) -> bool:
    """Return whether we may hear a signal: only the main thread can, and not what was ignored before us."""
    if threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(number) not in {signal.SIG_IGN, None}
