"""What a comparison is made of: sides that are measured in turn, and rows that are ratios of two of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Measure(StrEnum):
    """What of a side's samples a row compares."""

    RATE = "rate"  # messages or rows a second: more is better
    TIME = "time"  # seconds a run: less is better
    PEAK = "peak"  # bytes of memory: less is better


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one side: `count` things in `seconds`.

    `cpu` (seconds) and `peak` (bytes) are of its whole process, 0 where they are not known. `note` says what
    else was seen.
    """

    count: int
    seconds: float
    cpu: float = 0.0
    peak: int = 0
    note: str = ""

    def value(self, measure: Measure) -> float:
        """Return what a row compares."""
        if measure is Measure.RATE:
            return self.count / self.seconds
        return self.seconds if measure is Measure.TIME else float(self.peak)


@dataclass(frozen=True, slots=True)
class Side:
    """One program at one job. `timed` says in one sentence what it does and what of it is timed.

    `missing` says why it cannot run here, "" where it can.
    """

    name: str
    timed: str
    run: Callable[[], Sample]
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: ours against a peer's, with the target, or None for one that only informs."""

    key: str
    what: str
    ours: str
    peer: str
    target: float | None
    measure: Measure = Measure.RATE

    @property
    def at_least(self) -> bool:
        """Whether the target is a least ratio; else it is the most."""
        return self.measure is Measure.RATE

    def holds(self, ratio: float) -> bool:
        """Return whether a ratio reaches the target."""
        if self.target is None:
            return True
        return ratio >= self.target if self.at_least else ratio <= self.target


@dataclass(frozen=True, slots=True)
class Lab:
    """Where a comparison works: a scratch folder of its own, and how small the numbers are made."""

    folder: Path
    scale: float = 1.0

    def count(self, number: int, *, least: int = 20) -> int:
        """Return a number of messages or rows, made smaller for a quick look."""
        return max(min(number, least), round(number * self.scale))


@dataclass(frozen=True, slots=True)
class Group:
    """Comparisons that are measured together, side by side in each round.

    `sides` prepares the lab and gives the sides for as long as its context is open. `rounds` is set where a
    group has fewer than the others.
    """

    name: str
    title: str
    rows: Sequence[Row]
    sides: Callable[[Lab], AbstractContextManager[Sequence[Side]]]
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle, the least and the most of some rounds."""

    median: float
    least: float
    most: float


@dataclass(slots=True)
class Measured:
    """What the rounds of one group gave: the samples of each side, and why a side gave none.

    `missing` names sides whose programs are not here, `failed` those of which a run was void.
    """

    group: str
    rounds: int
    scale: float
    timed: dict[str, str] = field(default_factory=dict)
    samples: dict[str, list[Sample | None]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def taken(self, side: str) -> Iterator[Sample]:
        """Yield the samples of a side, those of failed rounds left out."""
        return (sample for sample in self.samples.get(side, ()) if sample is not None)


Notes = Mapping[str, Mapping[str, str]]
