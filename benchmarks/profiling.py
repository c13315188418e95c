"""Profiles our side of a comparison: what a row that does not hold has to show."""

from __future__ import annotations

import cProfile
import io
import os
import pstats
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.model import Group, Lab, Row
from benchmarks.rounds import scratch

_LINES = 25
_INTO = "BENCHMARK_PROFILE"  # the file into which our side writes its profile


def profile(group: Group, row: Row, scale: float) -> str:
    """Run our side of a row once under a profiler and return what it shows."""
    with tempfile.TemporaryDirectory(prefix="commcast-benchmark-", dir=scratch()) as folder:
        path = Path(folder, "profile")
        os.environ[_INTO] = str(path)
        try:
            # What is prepared writes a profile as well; the last one stays, and is that of the side.
            with group.sides(Lab(Path(folder), scale)) as sides:
                next(side for side in sides if side.name == row.ours).run()
        finally:
            del os.environ[_INTO]
        return report(path)


def wanted() -> Path | None:
    """Return the file for a profile, None where none is wanted."""
    path = os.environ.get(_INTO)
    return Path(path) if path else None


def options() -> list[str]:
    """Return the interpreter's options that profile a whole program, where that is wanted."""
    path = wanted()
    return ["-m", "cProfile", "-o", str(path)] if path else []


@contextmanager
def all_threads(path: Path) -> Iterator[None]:
    """Profile this thread and each that begins meanwhile, and write them as one into a file for pstats."""
    # The time a thread has worked: what it waits for others would hide everything else.
    mine = cProfile.Profile(time.thread_time)
    others: list[cProfile.Profile] = []

    def begin(_frame: FrameType, _event: str, _argument: Any) -> None:
        profile = cProfile.Profile(time.thread_time)
        try:
            profile.enable()  # takes the place of this function in the new thread
        except ValueError:  # from Python 3.12 on only one thread is profiled at a time
            return
        others.append(profile)

    threading.setprofile(begin)
    mine.enable()
    try:
        yield
    finally:
        mine.disable()
        threading.setprofile(None)
        together = pstats.Stats(mine)
        for profile in others:
            profile.create_stats()
            together.add(profile)
        together.dump_stats(path)


def report(path: Path) -> str:
    """Return a profile as text: the functions by their own time, then by the time of all they call."""
    out = io.StringIO()
    stats = pstats.Stats(str(path), stream=out)
    stats.strip_dirs()
    for order in ("tottime", "cumulative"):
        stats.sort_stats(order).print_stats(_LINES)
    return out.getvalue()
