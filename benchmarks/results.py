"""Keeps what was measured in results.json: all samples of each group's last full run, and where it ran."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.children import ROOT
from benchmarks.model import Measured, Sample
from benchmarks.rounds import filesystem, scratch
from benchmarks.tools import versions

RESULTS = Path(__file__).with_name("results.json")


@dataclass(slots=True)
class Place:
    """When and where something was measured, and of what."""

    date: str
    commit: str
    machine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Kept:
    """The last run of one group, with where it was."""

    measured: Measured
    place: Place


def here() -> Place:
    """Return what is measured now: this machine, this commit, these versions."""
    return Place(
        date=datetime.now(UTC).date().isoformat(),
        commit=_commit(),
        machine=_machine(),
        versions={"Python": platform.python_version(), "SQLite": _sqlite(), **versions()},
    )


def read(path: Path = RESULTS) -> dict[str, Kept]:
    """Return what was kept of each group; nothing where nothing was."""
    if not path.exists():
        return {}
    return {name: _kept(name, found) for name, found in json.loads(path.read_text()).items()}


def write(kept: Mapping[str, Kept], path: Path = RESULTS) -> None:
    """Keep the results of these groups, a line a side's rounds."""
    document = {name: _document(each) for name, each in kept.items()}
    text = json.dumps(document, indent=1, ensure_ascii=False)
    # A sample is one line, so that a change of figures is a change of few lines.
    text = re.sub(
        r"\[\s+(-?[\d.]+),\s+([\d.e-]+),\s+([\d.e-]+),\s+(\d+),\s+(\"[^\"]*\")\s+\]",
        r"[\1, \2, \3, \4, \5]",
        text,
    )
    path.write_text(text + "\n")


def _document(kept: Kept) -> dict[str, Any]:
    measured = kept.measured
    return {
        **asdict(kept.place),
        "rounds": measured.rounds,
        "scale": measured.scale,
        "timed": measured.timed,
        "missing": measured.missing,
        "failed": measured.failed,
        "samples": {side: [_row(sample) for sample in rounds] for side, rounds in measured.samples.items()},
    }


def _row(sample: Sample | None) -> list[Any] | None:
    if sample is None:
        return None
    return [sample.count, round(sample.seconds, 4), round(sample.cpu, 3), sample.peak, sample.note]


def _kept(name: str, found: Mapping[str, Any]) -> Kept:
    measured = Measured(name, found["rounds"], found["scale"], dict(found["timed"]))
    measured.missing, measured.failed = dict(found["missing"]), dict(found["failed"])
    measured.samples = {side: _samples(rounds) for side, rounds in found["samples"].items()}
    return Kept(measured, Place(found["date"], found["commit"], found["machine"], found["versions"]))


def _samples(rounds: Sequence[Sequence[Any] | None]) -> list[Sample | None]:
    return [Sample(*found) if found is not None else None for found in rounds]


def _machine() -> dict[str, str]:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{pages / 2**30:.0f} GiB",
        "scratch on": filesystem(scratch()) or "an unknown file system",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "Python build": platform.python_compiler(),
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _sqlite() -> str:
    import sqlite3

    return sqlite3.sqlite_version


def _commit() -> str:
    """Return the short name of this checkout's commit, "+" behind it where files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
