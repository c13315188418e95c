"""A disk that fails under a run, at each write and each fsync: it stops at once, the next run finishes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.harness import ROOT
from tests.faults.runs import SEND, GatedReceiver, Place, Runs

WRITES, SYNCS, SIZES = "pwrite64,write", "fsync,fdatasync", "ftruncate,fallocate"


def files(place: Place) -> list[str]:
    """Return the options that let only the ledger's own files fail."""
    names = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db-journal", "generation")
    return [option for name in names for option in ("-P", str(place.ledger.with_name(name)))]


def failing(place: Place, calls: str, error: str, when: int) -> list[str]:
    return [*files(place), "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={when}"]


def count(place: Place, runs: Runs, calls: str) -> int:
    """Return how many such calls a run makes that nothing happens to."""
    ended = runs.run(place.folder, *SEND, strace=[*files(place), "-e", f"trace={calls}"])
    assert ended.code == 0
    found = len([line for line in ended.trace.splitlines() if " = " in line])
    assert found, "the run made none of these calls"
    return found


@pytest.mark.parametrize(
    ("calls", "error"),
    [(SYNCS, "EIO"), (WRITES, "EIO"), (WRITES, "ENOSPC"), (SIZES, "EIO")],
)
def test_a_call_that_fails_ends_the_run_and_the_next_one_finishes(
    tmp_path: Path, receiver: GatedReceiver, runs: Runs, calls: str, error: str
) -> None:
    whole = count(Place(tmp_path / "whole", receiver).write(), runs, calls)
    noticed = 0
    for when in sorted({1, 2, whole // 3, whole * 2 // 3, max(whole - 4, 1), whole} - {0}):
        place = Place(tmp_path / f"n{when}", receiver).write()
        ended = runs.run(place.folder, *SEND, strace=failing(place, calls, error, when))
        assert "(INJECTED)" in ended.trace or ended.code == 0
        # 0: it struck while the log was moved into the ledger, where it stays until a later time.
        assert ended.code in {0, 3}, ended.said
        if ended.code == 3:
            noticed += 1
            assert str(place.ledger.parent) in ended.said
            assert "failed" in ended.said or "disk is full" in ended.said, ended.said
        place.check_all_recorded()
        place.check_nobody_twice_nobody_lost(runs.run(place.folder, *SEND))
    assert noticed >= 1


def test_after_a_failed_fsync_nothing_more_is_sent_by_that_process(place: Place, runs: Runs) -> None:
    """A second fsync may succeed although what the first was for is lost: nothing is built on it."""
    ended = runs.run(place.folder, *SEND, strace=failing(place, SYNCS, "EIO", 8))
    assert ended.code == 3
    assert "reading or writing failed (SQLITE_IOERR_FSYNC)" in ended.said
    told = len(place.told())
    rows = place.rows()
    assert rows["claimed"] + rows["accepted"] >= told
    assert rows["claimed"] <= 8
    place.check_nobody_twice_nobody_lost(runs.run(place.folder, *SEND))


def test_the_same_holds_for_the_program_as_it_is_started(place: Place) -> None:
    command = ["strace", "-f", "--seccomp-bpf", "-o", os.devnull, *failing(place, SYNCS, "EIO", 6)]
    program = [sys.executable, "-m", "commcast", *SEND]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *program], cwd=place.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr.endswith("then run the same command again; nothing unrecorded was sent\n")
    place.check_all_recorded()
