"""Two and four processes on one ledger: one is killed while the others go on, or all are, and all come again.

Sampled: who is killed where is a seeded choice (COMMCAST_CRASH_ROUNDS makes more of them).
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.faults import Faults
from tests.crash.harness import ROUNDS, Children, HeldChild, Run, broken_rules, states
from tests.crash.services import SERVICES, Service, outbox

PEOPLE = 24
TIMES = max(1, int(3 * ROUNDS))


@pytest.fixture(scope="module", params=SERVICES)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    with SERVICES[request.param]() as started:
        yield started


@pytest.mark.parametrize("count", [2, 4])
def test_one_is_killed_at_a_point_while_the_others_go_on(
    count: int, service: Service, folder: Path, plain: Children
) -> None:
    """Who goes on ends well by itself; the next run finds what the dead one had claimed."""
    chance = random.Random(count)
    killed = 0
    for number in range(TIMES):
        desk = service.desk(folder / f"{service.name}-{count}-one-{number}", PEOPLE)
        victim = Faults(str(desk.folder / "passages"), kill_at=chance.randint(1, 60))
        codes = plain.run(desk.folder, Run(faults=victim), *[Run()] * (count - 1))
        killed += codes[0] == -9
        assert set(codes[1:]) <= {0, 1}
        codes = [*codes[1:], *plain.run(desk.folder, *[Run()] * count)]
        assert (number, broken_rules(desk, codes)) == (number, [])
    assert killed


@pytest.mark.parametrize("count", [2, 4])
def test_all_are_killed_and_all_come_again(
    count: int, service: Service, folder: Path, runs: Children
) -> None:
    chance = random.Random(count)
    killed = 0
    for number in range(TIMES):
        desk = service.desk(folder / f"{service.name}-{count}-all-{number}", PEOPLE)
        codes = runs.run(desk.folder, *[Run(kill_after=chance.uniform(0.05, 0.3)) for _ in range(count)])
        killed += codes.count(-9)
        codes = [code for code in codes if code != -9] + runs.run(desk.folder, *[Run()] * count)
        assert (number, broken_rules(desk, codes, kills=count)) == (number, [])
    assert killed


def test_who_waits_for_a_freeze_takes_over_when_its_process_dies(
    folder: Path, runs: Children, plain: Children
) -> None:
    """Or it would wait two minutes for a dead one, and then tell nobody."""
    with outbox() as service:
        desk = service.desk(folder / "frozen", PEOPLE)
        freezing, waiting = HeldChild(desk.folder, "freezing"), HeldChild(desk.folder, "waiting")
        plain.begin(desk.folder, Run(faults=freezing.at("after commit", 2)))  # it has said that it freezes
        pid = freezing.wait(plain)
        assert pid is not None
        runs.begin(desk.folder, Run(faults=waiting.at("after commit", 1)))  # it has seen that another does
        assert waiting.wait(runs) is not None
        os.kill(pid, signal.SIGKILL)
        assert plain.finish() == [-signal.SIGKILL]
        waiting.let_go()
        codes = runs.finish()
        assert broken_rules(desk, codes) == []
        assert codes == [0]


def test_together_they_tell_each_reader_once(service: Service, folder: Path, runs: Children) -> None:
    desk = service.desk(folder / f"{service.name}-four", PEOPLE)
    codes = runs.run(desk.folder, *[Run()] * 4)
    assert codes == [0] * 4
    assert broken_rules(desk, codes) == []
    assert set(states(desk.folder).values()) == {"accepted"}
