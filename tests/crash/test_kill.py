"""Killed at each step of a run and at random, and run again: nobody twice, nobody lost.

Exhaustive over points and over SQL statements: a run without a kill counts them, and then each is the end of
a run of its own. Sampled, with a seed, over moments and system calls; COMMCAST_CRASH_ROUNDS makes more.
Programs that are broken on purpose prove that the same checks find a fault.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.crash import faults, harness, services
from tests.crash.faults import Faults
from tests.crash.harness import KILLED, QUESTION_ENDS, ROUNDS, SEND, AskedChild, Children, Run, broken_rules
from tests.crash.services import SERVICES, Desk, Service, smtp
from tests.crash.tracing import counting, killing

# Of each kind a run passes at least so many points, before and after: else the kills would prove nothing.
LEDGER = {"begin": 4, "write": 8, "commit": 4}
FILES = {"file fsync": 8, "file link": 4, "file unlink": 4}
SENT = {"smtp": 14, "pipelining": 6, "sendgrid": 3, "twilio": 4}
PEOPLE = {"outbox": 4, "smtp": 3, "pipelining": 5, "sendgrid": 5, "twilio": 4}


def passages(desk: Desk) -> list[str]:
    return (desk.folder / "passages").read_text().splitlines()


@pytest.mark.parametrize("name", SERVICES)
def test_killed_at_every_point(name: str, folder: Path, runs: Children) -> None:
    """Before each step: what the world sees after one is what it sees before the next."""
    with SERVICES[name]() as service:
        whole = service.desk(folder / f"{name}-whole", PEOPLE[name])
        codes = runs.run(whole.folder, Run(faults=Faults(str(whole.folder / "passages"))))
        assert broken_rules(whole, codes, kills=0) == []
        passed = Counter(passages(whole))
        least = FILES if name == "outbox" else dict.fromkeys(("send", "receive"), SENT[name])
        for kind, times in {**LEDGER, **least}.items():
            assert min(passed[f"before {kind}"], passed[f"after {kind}"]) >= times
        in_doubt, number, code = 0, 0, KILLED
        while code == KILLED:  # how many points there are depends on how the answers come: to the last
            number += 1
            desk = service.desk(folder / f"{name}-{number}", PEOPLE[name])
            kill = Faults(str(desk.folder / "passages"), kill_at=number, of="before")
            (code,) = runs.run(desk.folder, Run(faults=kill))
            came_so_far = sum(each.startswith("before") for each in passages(desk)) == number
            assert code == (KILLED if came_so_far else 0)
            codes = runs.run(desk.folder, Run())
            assert (number, passages(desk)[-1], broken_rules(desk, codes)) == (number, passages(desk)[-1], [])
            in_doubt += len(desk.unknown())
        assert number > 0.7 * sum(passed.values()) / 2
        assert in_doubt > 0, "no kill fell into a hand-over: the test proved nothing"


WINDOW = 8
LARGE: dict[str, tuple[int, services.Start]] = {
    "outbox": (300, services.outbox),  # a file takes no time
    "smtp": (60, lambda: smtp(WINDOW)),
    "pipelining": (60, lambda: smtp(WINDOW, pipelining=True)),
    "sendgrid": (60, lambda: services.sendgrid(batch=8, connections=2)),
    "twilio": (60, lambda: services.twilio(connections=8)),
}


@pytest.mark.parametrize("name", LARGE)
def test_killed_at_random(name: str, folder: Path, runs: Children) -> None:
    """On the loop that production runs on. Each kill leaves at most a window in doubt."""
    people, starts = LARGE[name]
    with starts() as service:
        chance = random.Random(20261122)
        in_doubt = 0
        for number in range(max(2, int(12 * ROUNDS))):
            desk, most = service.desk(folder / f"{name}-k{number}", people), chance.randrange(people)
            harness.kill_when(runs, runs.start(desk.folder, *SEND), lambda: desk.told().total() >= most)  # noqa: B023
            runs.finish()
            codes = runs.run(desk.folder, Run())
            assert (number, broken_rules(desk, codes)) == (number, [])
            in_doubt += len(desk.unknown())
        assert in_doubt > 0, "no kill fell into a hand-over: the test proved nothing"


def test_a_run_killed_again_and_again_still_ends(folder: Path, runs: Children) -> None:
    with smtp(WINDOW) as service:
        desk = service.desk(folder / "again", people=200)
        chance = random.Random(7)
        kills, codes = 8, []
        for _ in range(kills):
            most = desk.told().total() + chance.randrange(30)
            harness.kill_when(runs, runs.start(desk.folder, *SEND), lambda: desk.told().total() >= most)  # noqa: B023
            codes += runs.finish()
        codes = [code for code in codes if code >= 0] + runs.run(desk.folder, Run())
        assert broken_rules(desk, codes, kills=kills) == []


SYSTEM_CALLS = {"pwrite64": 20, "fdatasync": 5}  # how many of each one run makes at least
SENDS = ["sendto", "sendmsg", "write", "writev"]  # which of them it is depends on the loop


def test_killed_at_system_calls(tmp_path: Path, runs: Children) -> None:
    """Inside SQLite, and inside the loop that production runs on. And the ledger really reaches the disk."""
    with smtp(pipelining=True) as service:
        whole, log = service.desk(tmp_path / "whole"), tmp_path / "whole.log"
        codes = runs.run(whole.folder, Run(trace=counting([*SYSTEM_CALLS, *SENDS], log)))
        assert broken_rules(whole, codes, kills=0) == []
        made = re.findall(r"^(\d+) +(\w+)\(\d+<(\w*)", log.read_text(), re.M)
        by_name = Counter(call for _, call, _ in made)
        for call, least in SYSTEM_CALLS.items():
            assert by_name[call] >= least
        sends = {call for _, call, kind in made if call in SENDS and kind == "TCP"}
        assert sends, "no way of sending was seen"
        chance, killed = random.Random(20261122), Counter[str]()
        for call in [*SYSTEM_CALLS, *sorted(sends)]:
            # strace counts in each thread for itself.
            most = max(Counter(thread for thread, name, _ in made if name == call).values())
            for number in sorted(chance.sample(range(1, most + 1), min(max(2, int(5 * ROUNDS)), most))):
                desk = service.desk(tmp_path / f"{call}{number}")
                (code,) = runs.run(desk.folder, Run(trace=killing(call, number, tmp_path / "killing.log")))
                killed[call] += code == KILLED
                codes = runs.run(desk.folder, Run())
                assert (call, number, broken_rules(desk, codes)) == (call, number, [])
        assert set(killed) == {*SYSTEM_CALLS, *sends}
        assert min(killed.values()) > 0


# At the question, and in the transaction of its yes
@pytest.mark.parametrize("end", QUESTION_ENDS)
def test_a_question_that_ends_leaves_a_draft(end: str, folder: Path, mail: Service, runs: Children) -> None:
    desk = mail.desk(folder / f"asked-{end}", 3)
    before = (desk.folder / "incidents" / "pay7.yaml").read_bytes()
    how, code = QUESTION_ENDS[end]
    assert how(AskedChild(runs, desk.folder, "send", "pay7")) == code
    assert (desk.folder / "incidents" / "pay7.yaml").read_bytes() == before
    assert runs.do(desk.folder, "tick").code == 0
    assert (desk.rows(), desk.got()) == ([], {})
    harness.check_finished(desk, runs.do(desk.folder, *SEND))


def test_killed_at_every_statement_of_a_yes(folder: Path, mail: Service, runs: Children) -> None:
    """Before the commit the words are a draft and nothing is owed; after it the next tick sends them."""
    whole = mail.desk(folder / "yes-whole", 3)
    watch = faults.statement(0, whole.folder / "passages")
    assert AskedChild(runs, whole.folder, "send", "pay7", faults=watch).type("y\n") == 0
    *before, after = harness.transaction_with(passages(whole), "insert into release")
    assert len(before) >= 3
    for number in (*before, after):
        desk = mail.desk(folder / f"yes-{number}", 3)
        kill = faults.statement(number, desk.folder / "passages")
        assert AskedChild(runs, desk.folder, "send", "pay7", faults=kill).type("y\n") == KILLED
        assert len(passages(desk)) == number
        ended = runs.do(desk.folder, "tick")
        if number != after:
            assert (number, desk.rows(), desk.got()) == (number, [], {})
            ended = runs.do(desk.folder, *SEND)
        harness.check_finished(desk, ended)


# Programs that are broken on purpose

# "skips the fsync" is in test_disk.py: a kill does not show it.
CAUGHT_BY = {
    **dict.fromkeys(("commits late", "skips the claim", "sends the unknown again"), harness.TWICE),
    "calls it sent when it is claimed": harness.LOST,
    "claims without bound": harness.DOUBT,
}


@pytest.mark.parametrize(("variant", "rule"), CAUGHT_BY.items())
def test_a_broken_program_is_caught(variant: str, rule: str, folder: Path, runs: Children) -> None:
    """Sampled: at every fifth of the points at which mails are on their way. The real one passes above."""
    broken = Counter[str]()
    with smtp() as service:
        # More than twice as many people as may be on their way at once: a window that is none shows.
        whole = service.desk(folder / f"{variant}-whole", people=9)
        runs.run(whole.folder, Run(faults=Faults(str(whole.folder / "passages"))))
        points = passages(whole)
        for at in range(points.index("before connect"), len(points), 5):
            desk = service.desk(folder / f"{variant}-at{at}", people=9)
            path = str(desk.folder / "passages")
            runs.run(desk.folder, Run(faults=Faults(path, kill_at=at, variant=variant)))
            codes = runs.run(desk.folder, Run(faults=Faults(path, variant=variant)))
            broken.update(broken_rules(desk, codes))
            if broken[rule]:
                break
    assert broken[rule] > 0
