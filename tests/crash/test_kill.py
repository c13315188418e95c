"""Killed at random and run again, stopped in the middle: nobody twice, nobody lost.

Random, with a seed: 20 kills of each service, on the loop that production runs on; COMMCAST_CRASH_ROUNDS
makes more of them. tests/crash/points.py has the kills at each step.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.crash import services
from tests.crash.harness import ROUNDS, SEND, Children, Run, broken_rules, children, unknown
from tests.crash.services import Desk, Service

KILLS = max(2, int(20 * ROUNDS))
WINDOW = 8
PEOPLE = 60
LARGE: dict[str, Callable[[], AbstractContextManager[Service]]] = {
    "outbox": services.outbox,
    "smtp": lambda: services.smtp(WINDOW),
    "pipelining": lambda: services.smtp(WINDOW, pipelining=True),
    "sendgrid": lambda: services.sendgrid(batch=8, connections=2),
    "twilio": lambda: services.twilio(connections=8),
}


def seconds_of_a_run(desk: Desk, runs: Children) -> float:
    began = time.monotonic()
    assert runs.run(desk.folder, Run()) == [0]
    return time.monotonic() - began


@pytest.mark.parametrize("name", LARGE)
def test_killed_at_random_and_run_again_at_once(name: str, folder: Path, runs: Children) -> None:
    """Each kill leaves at most W in doubt; the run after it finishes the rest; nobody gets two."""
    with LARGE[name]() as service:
        people = PEOPLE if name != "outbox" else 5 * PEOPLE  # a file takes no time
        longest = min(seconds_of_a_run(service.desk(folder / f"{name}{at}", people), runs) for at in range(3))
        chance = random.Random(20261122)
        in_doubt = 0
        for number in range(KILLS):
            desk = service.desk(folder / f"{name}-k{number}", people)
            runs.run(desk.folder, Run(kill_after=chance.uniform(longest / 4, longest)))
            codes = runs.run(desk.folder, Run())
            assert (number, broken_rules(desk, codes)) == (number, [])
            in_doubt += len(unknown(desk.folder))
        assert in_doubt > 0, "no kill fell into a hand-over: the test proved nothing"


def test_a_run_killed_again_and_again_still_ends(folder: Path, runs: Children) -> None:
    with services.smtp(WINDOW) as service:
        desk = service.desk(folder / "again", people=200)
        chance = random.Random(7)
        kills = 8
        codes = []
        for _ in range(kills):
            codes += runs.run(desk.folder, Run(kill_after=chance.uniform(0.1, 0.4)))
        codes = [code for code in codes if code >= 0] + runs.run(desk.folder, Run())
        assert broken_rules(desk, codes, kills=kills) == []


def test_stop_from_another_process_halts_five_thousand_within_a_window(
    tmp_path: Path, runs: Children
) -> None:
    with services.smtp(WINDOW) as service, children(tmp_path / "other.log") as other:
        desk = service.desk(tmp_path / "stopped", people=5000)
        runs.begin(desk.folder, SEND)
        deadline = time.monotonic() + 120
        while sum(service.counts().values()) < 100:
            assert time.monotonic() < deadline
            time.sleep(0.02)  # between two looks at the receiver; nothing depends on its length
        assert other.run(desk.folder, ["stop", "pay7"]) == [0]
        at_stop = sum(service.counts().values())
        assert runs.finish() == [5]
        assert sum(desk.got().values()) - at_stop <= WINDOW
        assert len(desk.got()) < 5000
        assert other.run(desk.folder, ["resume", "pay7"]) == [0]
        assert broken_rules(desk, [0]) == []
