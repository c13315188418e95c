"""The disk is full, or somebody else has the ledger locked, at any step of a run: nobody twice, nobody lost.

Exhaustive over the steps that begin a transaction, sampled over the bytes that are free. A real small file
system is mounted, which takes root, as continuous integration has it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from commcast.ledger.store import ledger_path
from tests.crash.faults import Faults
from tests.crash.harness import Children, HeldChild, Run, broken_rules, states, unknown
from tests.crash.services import Desk, Service, outbox, smtp
from tests.support.reader import as_root, own_disk_options

PEOPLE = 16
SIZE = 4 << 20  # bytes of the small file system
STEP = 12 << 10  # bytes by which the room of the next run is larger
PATIENCE = 0.2  # seconds that a child waits for a locked ledger
TRY_AGAIN, UNTRUSTED = 75, 3


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with smtp() as started:
        yield started


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    options = f"size={SIZE},mode=700,{own_disk_options()}"
    command = [*as_root(), "mount", "-t", "tmpfs", "-o", options, "commcast-test", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(
            f"this test mounts a small file system, and may not: {done.stderr.strip()}; run it as root"
        )
    try:
        yield place
    finally:
        subprocess.run([*as_root(), "umount", "--lazy", str(place)], check=True)


def free(place: Path) -> int:
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def leave(place: Path, room: int) -> Path:
    """Fill the file system up to `room` bytes, and return what fills it."""
    filler = place / "filler"
    filler.write_bytes(bytes(max(free(place) - room, 0)))
    return filler


def phase(desk: Desk) -> str:
    """Say how far a run came before the disk was full."""
    found = Counter(states(desk.folder).values())
    if found["accepted"] == PEOPLE:
        return "end"
    if found["accepted"] or found["claimed"] or found["unknown"]:
        return "settle"
    return "claim" if found["pending"] else "freeze"


@pytest.mark.parametrize("kind", ["files", "mails"])
def test_a_full_disk_at_any_step_loses_nobody(
    kind: str, service: Service, small_disk: Path, folder: Path, plain: Children
) -> None:
    """Every second run is killed as well, on the full disk."""
    chance = random.Random(20261122)
    with outbox() as files:
        used = files if kind == "files" else service
        phases, codes_seen = Counter[str](), Counter[int]()
        for number in count():
            desk = used.desk(small_disk / f"full{number}", PEOPLE)
            filler = leave(small_disk, number * STEP)
            kill_at = chance.randint(1, 150) if number % 2 else 0
            path = str(folder / f"{kind}{number}.passages")
            (code,) = plain.run(desk.folder, Run(faults=Faults(path, kill_at=kill_at)))
            filler.unlink()
            assert code in {-signal.SIGKILL, 0, 1, UNTRUSTED, TRY_AGAIN}
            phases[phase(desk)] += 1
            codes_seen[code] += 1
            if code == 0 and not kill_at:
                break  # so much room is enough
            codes = plain.run(desk.folder, Run())
            assert (number, code, broken_rules(desk, codes)) == (number, code, [])
            shutil.rmtree(desk.folder)
        assert phases["freeze"] > 0
        assert phases["claim"] > 0
        assert phases["settle"] > 0
        assert codes_seen[UNTRUSTED] > 0


@pytest.mark.parametrize("killed", [False, True], ids=["patience", "killed"])
def test_a_ledger_locked_at_any_step_loses_nobody(
    killed: bool, service: Service, folder: Path, plain: Children
) -> None:
    """Another process takes the lock as a run is about to begin a transaction, and keeps it."""
    in_doubt = 0
    for at in count(1):  # how often a run begins a transaction differs from run to run
        desk = service.desk(folder / f"locked{at}-{killed}", PEOPLE)
        code = locked_at(at, desk, plain, killed=killed)
        if code == 0:
            break
        assert (at, code) == (at, -signal.SIGKILL if killed else TRY_AGAIN)
        codes = plain.run(desk.folder, Run())
        assert (at, broken_rules(desk, codes)) == (at, [])
        in_doubt += len(unknown(desk.folder))
    assert at > 5
    assert in_doubt > 0, "no lock fell between a hand-over and its record: the test proved nothing"


def locked_at(at: int, desk: Desk, plain: Children, *, killed: bool) -> int:
    """Run, and lock the ledger at a point until the run has ended; return its exit code.

    That is 0 where the run has fewer such points.
    """
    held = HeldChild(desk.folder)
    busy = 30.0 if killed else PATIENCE
    plain.begin(desk.folder, Run(faults=held.at("before begin", at, busy)))
    pid = held.wait(plain)
    if pid is None:
        return plain.finish()[0]
    with closing(sqlite3.connect(ledger_path(desk.folder), isolation_level=None)) as other:
        other.execute("begin immediate")
        held.let_go()
        if killed:
            time.sleep(0.05)  # so that it waits by then; what must hold does not depend on it
            os.kill(pid, signal.SIGKILL)
        (code,) = plain.finish()
        other.execute("rollback")
    return code
