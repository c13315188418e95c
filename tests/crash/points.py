"""Kills a run before and after every write, commit, file call and network call.

Exhaustive: a run without a kill counts the points, and then each of them is the end of a run of its own.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.crash.faults import Faults
from tests.crash.harness import Children, Run, broken_rules, unknown
from tests.crash.services import SERVICES, Desk

# Of each kind a run passes at least so many, before and after: else the kills would prove nothing.
LEDGER = {"begin": 5, "write": 8, "commit": 5}
LEAST = {
    "outbox": {"file fsync": 8, "file link": 4, "file unlink": 4},
    "smtp": {"send": 16, "receive": 16},
    "pipelining": {"send": 6, "receive": 6},
    "sendgrid": {"send": 3, "receive": 3},
    "twilio": {"send": 4, "receive": 4},
}
PEOPLE = {"outbox": 4, "smtp": 3, "pipelining": 5, "sendgrid": 5, "twilio": 4}


def passages(path: Path) -> list[str]:
    return path.read_text().splitlines()


def killed_at(number: int, desk: Desk, runs: Children) -> bool:
    """Run and kill at one point; say whether the run came so far."""
    path = desk.folder / "passages"
    (code,) = runs.run(desk.folder, Run(faults=Faults(str(path), kill_at=number)))
    assert code in {-9, 0}
    assert (code == -9) == (len(passages(path)) == number)
    return code == -9


def kill_at_every_point(name: str, folder: Path, runs: Children) -> None:
    """Assert that no kill at any point breaks a promise, and that points of each kind were there."""
    people = PEOPLE[name]
    with SERVICES[name]() as service:
        whole = service.desk(folder / f"{name}-whole", people)
        (code,) = runs.run(whole.folder, Run(faults=Faults(str(whole.folder / "passages"))))
        assert broken_rules(whole, [code]) == []
        passed = Counter(passages(whole.folder / "passages"))
        for kind, least in {**LEDGER, **LEAST[name]}.items():
            assert passed[f"before {kind}"] >= least
            assert passed[f"after {kind}"] >= least
        in_doubt, number, goes_on = 0, 0, True
        while goes_on:  # how many points there are depends on how the answers come: to the last of this run
            number += 1
            desk = service.desk(folder / f"{name}-{number}", people)
            goes_on = killed_at(number, desk, runs)
            codes = runs.run(desk.folder, Run())
            at = passages(desk.folder / "passages")[-1]
            assert (number, at, broken_rules(desk, codes)) == (number, at, [])
            in_doubt += len(unknown(desk.folder))
        assert number > 0.7 * sum(passed.values())
        assert in_doubt > 0, "no kill fell into a hand-over: the test proved nothing"
