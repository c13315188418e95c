"""Killed inside SQLite and inside the loop, at system calls, and cut off from power after a send.

Sampled: some calls of each kind, by a seeded choice. The kills are on the loop that production runs on.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from commcast.ledger.store import ledger_path
from tests.crash.faults import Faults
from tests.crash.harness import CODE, ROUNDS, TWICE, Children, Run, broken_rules, unknown
from tests.crash.services import Service, smtp
from tests.crash.tracing import Disk, counting, killing, recording

PEOPLE = 6
LEDGER = {"pwrite64": 20, "fdatasync": 5}  # how many of each one run makes at least
SENDS = ["sendto", "sendmsg", "write", "writev"]  # which of them it is depends on the loop
KILLS = max(2, int(5 * ROUNDS))  # of each call
CUTS = max(3, int(6 * ROUNDS))


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with smtp(pipelining=True) as started:
        yield started


def test_killed_at_system_calls_and_run_again(tmp_path: Path, service: Service, runs: Children) -> None:
    whole = service.desk(tmp_path / "whole", PEOPLE)
    log = tmp_path / "whole.log"
    codes = runs.run(whole.folder, Run(trace=counting([*LEDGER, *SENDS], log)))
    assert broken_rules(whole, codes) == []
    made = re.findall(r"^(\d+) +(\w+)\(\d+<(\w*)", log.read_text(), re.M)
    by_name = Counter(call for _, call, _ in made)
    for call, least in LEDGER.items():
        assert by_name[call] >= least
    sends = {call for _, call, kind in made if call in SENDS and kind == "TCP"}
    assert sends, "no way of sending was seen"
    chance, killed = random.Random(20261122), Counter[str]()
    for call in [*LEDGER, *sorted(sends)]:
        # strace counts in each thread for itself.
        most = max(Counter(thread for thread, name, _ in made if name == call).values())
        for number in sorted(chance.sample(range(1, most + 1), min(KILLS, most))):
            desk = service.desk(tmp_path / f"{call}{number}", PEOPLE)
            (code,) = runs.run(desk.folder, Run(trace=killing(call, number, tmp_path / "killing.log")))
            killed[call] += code == -9
            codes = runs.run(desk.folder, Run())
            assert (call, number, broken_rules(desk, codes)) == (call, number, [])
    assert set(killed) == {*LEDGER, *sends}
    assert min(killed.values()) > 0


def after_power_cuts(
    variant: str, tmp_path: Path, service: Service, plain: Children
) -> tuple[Counter[str], int]:
    """Cut the power after a send, in some runs; return the promises broken, and how many are in doubt."""
    whole = service.desk(tmp_path / "whole", PEOPLE)
    passages = whole.folder / "passages"
    assert plain.run(whole.folder, Run(faults=Faults(str(passages)))) == [0]
    sends = [at for at, name in enumerate(passages.read_text().splitlines(), 1) if name == "after send"]
    broken, in_doubt = Counter[str](), 0
    for cut in range(CUTS):
        at = sends[-1 - cut * len(sends) // CUTS]
        desk = service.desk(tmp_path / f"cut{cut}", PEOPLE)
        ledger = ledger_path(desk.folder)
        disk = Disk([ledger, ledger.with_name(ledger.name + "-wal")])
        faults = Faults(str(desk.folder / "passages"), kill_at=at, variant=variant)
        trace = recording(tmp_path / f"cut{cut}.trace")
        plain.run(desk.folder, Run(faults=faults, trace=trace))
        disk.replay(tmp_path / f"cut{cut}.trace")
        ledger.with_name(ledger.name + "-shm").unlink(missing_ok=True)
        disk.cut_the_power()
        codes = plain.run(desk.folder, Run())
        broken.update(broken_rules(desk, codes))
        in_doubt += len(unknown(desk.folder))
        assert variant or disk.syncs >= 3
    return broken, in_doubt


def test_a_power_cut_after_any_send_tells_nobody_twice(
    tmp_path: Path, service: Service, plain: Children
) -> None:
    broken, in_doubt = after_power_cuts("", tmp_path, service, plain)
    assert not broken
    assert in_doubt > 0


def test_a_program_that_skips_the_fsync_is_caught(tmp_path: Path, service: Service, plain: Children) -> None:
    """Somebody is told twice, unless the ledger's mark, which is synced by itself, shows what it lost."""
    broken, _ = after_power_cuts("skips the fsync", tmp_path, service, plain)
    assert broken[TWICE] + broken[CODE] > 0
