"""Runs the sides of a group in turn, round after round, and takes medians of the ratios of each round."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.children import ROOT, Void
from benchmarks.model import Group, Lab, Measure, Measured, Row, Sample, Side, Spread

Tell = Callable[[str], None]


def measure(group: Group, *, rounds: int, scale: float, tell: Tell) -> Measured:
    """Run a group in a scratch folder of its own. A run that is void is kept as such; the others go on."""
    measured = Measured(group.name, rounds, scale)
    with tempfile.TemporaryDirectory(prefix="commcast-benchmark-", dir=scratch()) as folder:
        tell(f"{group.name}: preparing")
        try:
            with group.sides(Lab(Path(folder), scale)) as sides:
                _run_rounds(sides, measured, tell)
        except Void as error:
            measured.failed.setdefault("preparing", str(error))
            tell(f"{group.name}: void: {error}")
    return measured


def scratch() -> Path:
    """Return where scratch folders go: on a disk, since a synced commit costs nothing in memory."""
    temporary = Path(tempfile.gettempdir()).resolve()
    if filesystem(temporary) not in {"tmpfs", "ramfs"}:
        return temporary
    here = ROOT / "build"
    here.mkdir(exist_ok=True)
    return here


def filesystem(path: Path) -> str:
    """Return the kind of file system that a folder is on, "" where that cannot be seen."""
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return ""
    mounts = {fields[1]: fields[2] for fields in map(str.split, lines)}
    return next((mounts[str(each)] for each in (path, *path.parents) if str(each) in mounts), "")


def _run_rounds(sides: Iterable[Side], measured: Measured, tell: Tell) -> None:
    able = []
    for side in sides:
        measured.timed[side.name] = side.timed
        measured.samples[side.name] = []
        if side.missing:
            measured.missing[side.name] = side.missing
            tell(f"{measured.group}: {side.name}: left out: {side.missing}")
        else:
            able.append(side)
    for number in range(measured.rounds):
        # There and back again, so that nobody always runs on a machine that another has just warmed.
        for side in able if number % 2 == 0 else reversed(able):
            sample = _sample(side, measured, tell)
            measured.samples[side.name].append(sample)
            if sample is not None:
                tell(f"{measured.group} {number + 1}/{measured.rounds}: {side.name}: {_in_words(sample)}")


def _sample(side: Side, measured: Measured, tell: Tell) -> Sample | None:
    try:
        return side.run()
    except Void as error:
        measured.failed[side.name] = str(error)
        tell(f"{measured.group}: {side.name}: void: {error}")
        return None


def _in_words(sample: Sample) -> str:
    rate = f"{sample.count:,} in {sample.seconds:.2f} s, {sample.count / sample.seconds:,.0f}/s"
    return f"{rate}; {sample.peak / 2**20:,.0f} MiB" if sample.peak else rate


def spread(values: Iterable[float]) -> Spread | None:
    """Return median, least and most; None of nothing."""
    kept = sorted(values)
    return Spread(statistics.median(kept), kept[0], kept[-1]) if kept else None


def spread_of(measured: Measured, side: str, what: Measure) -> Spread | None:
    """Return the spread of a side over the rounds."""
    return spread(sample.value(what) for sample in measured.taken(side))


def ratio_of(measured: Measured, row: Row) -> Spread | None:
    """Return the spread of a row's ratio, ours to the peer's in the same round; None where one is missing."""
    ours, peer = measured.samples.get(row.ours, []), measured.samples.get(row.peer, [])
    pairs = ((a, b) for a, b in zip(ours, peer, strict=False) if a is not None and b is not None)
    return spread(a.value(row.measure) / b.value(row.measure) for a, b in pairs)
