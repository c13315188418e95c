"""tick --loop: passes at a steady step, until the time is over or nothing is open."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from commcast.errors import ExitCode, gravest
from commcast.signals import never_lost

_ENDED_BY_SIGNAL = frozenset({ExitCode.INTERRUPTED, ExitCode.TERMINATED})


@dataclass(frozen=True, slots=True)
class Loop:
    """Passes every so many seconds, counted from the first: one that takes long shifts no later one.

    `lasting` is after how many seconds no pass begins any more, None for never.
    """

    one_pass: Callable[[], ExitCode]
    every: float
    lasting: float | None = None

    def run(self, is_closed: Callable[[], bool]) -> ExitCode:
        """Run passes until the time is over, `is_closed`, or a signal came; return what they end in."""
        codes: list[ExitCode] = []
        start = time.monotonic()
        with never_lost() as raise_again:
            while True:
                codes.append(self.one_pass())
                if codes[-1] in _ENDED_BY_SIGNAL:
                    return codes[-1]
                due = next_step(time.monotonic() - start, self.every)
                if is_closed() or (self.lasting is not None and due > self.lasting):
                    return loop_code(codes)
                raise_again()
                time.sleep(max(start + due - time.monotonic(), 0.0))


def next_step(passed: float, every: float) -> float:
    """Return when the next pass is due, in seconds from the first; steps that were missed are left out."""
    return (passed // every + 1) * every


def loop_code(codes: Sequence[ExitCode]) -> ExitCode:
    """Return what a loop ends in: the gravest of its passes, where "try again" only counts from the last."""
    return gravest([*(code for code in codes if code is not ExitCode.TRY_AGAIN), *codes[-1:]])
