"""What grows with the list: memory and rate at a million readers."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import desks
from benchmarks.children import Void
from benchmarks.model import Group, Lab, Measure, Row, Sample, Side
from benchmarks.sinks import smtp_sink
from benchmarks.tools import missing_tool

FEW, MORE, MILLION = 1_000, 10_000, 1_000_000
CONNECTIONS = 32
DEADLINE = 3600.0
_SHORT_RUNS = 3

_SEND_FEW, _SEND_MILLION = "send, 1,000 readers", "send, 1,000,000 readers"
_RATE_MORE, _RATE_MILLION = "hand-over, 10,000 readers", "hand-over, 1,000,000 readers"


@contextmanager
def _sides(lab: Lab) -> Iterator[Sequence[Side]]:
    few, more, million = lab.count(FEW), lab.count(MORE, least=100), lab.count(MILLION, least=200)
    short_runs = _SHORT_RUNS if lab.scale >= 1 else 1

    def whole(people: int) -> Sample:
        with _desk(lab.folder / "whole", people) as folder, smtp_sink(people) as port:
            desks.ours("new", folder)
            desks.point_to_smtp(folder, port, CONNECTIONS)
            sample = desks.send(folder, people, DEADLINE)
        if not sample.peak:
            raise Void("the benchmark itself takes more memory, so that of the child is not known")
        return sample

    def rate(people: int, runs: int) -> Sample:
        samples = []
        with _desk(lab.folder / "frozen", people) as frozen:
            desks.freeze(frozen, people, DEADLINE)
            for number in range(runs):
                folder = frozen if number == runs - 1 else desks.copy(frozen, "round")
                with smtp_sink(people) as port:
                    desks.point_to_smtp(folder, port, CONNECTIONS)
                    samples.append(desks.deliver(folder, people, deadline=DEADLINE))
        middle = statistics.median_low([sample.seconds for sample in samples])
        return next(sample for sample in samples if sample.seconds == middle)

    what = (
        f"the whole of `commcast send --yes` to a sink, {CONNECTIONS} connections; compared is its peak RSS"
    )
    how = f"hand-over of a frozen broadcast, {CONNECTIONS} connections, until all is settled and closed"
    missing = missing_tool("smtp-sink")
    yield [
        Side(_SEND_FEW, f"{what}; {few:,} readers", lambda: whole(few), missing),
        Side(_SEND_MILLION, f"{what}; {million:,} readers", lambda: whole(million), missing),
        Side(
            _RATE_MORE,
            f"{how}; {more:,} readers, the middle of {short_runs} runs",
            lambda: rate(more, short_runs),
            missing,
        ),
        Side(_RATE_MILLION, f"{how}; {million:,} readers", lambda: rate(million, 1), missing),
    ]


@contextmanager
def _desk(folder: Path, people: int) -> Iterator[Path]:
    """Write a desk, and remove it afterwards: a million readers fill a gigabyte."""
    try:
        yield desks.write_desk(folder, people)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder.parent / "round", ignore_errors=True)


GROUP = Group(
    "million",
    "A million readers",
    (
        Row(
            "million-memory",
            "peak memory at 1,000,000 recipients, against 1,000",
            _SEND_MILLION,
            _SEND_FEW,
            1.3,
            Measure.PEAK,
        ),
        Row("million-rate", "rate at 1,000,000, against 10,000", _RATE_MILLION, _RATE_MORE, 0.9),
    ),
    _sides,
    rounds=1,
)
