"""Killed before and after every write, commit, file call and network call: nobody twice, nobody lost.

Exhaustive: a run without a kill counts the points, and then each of them is the end of a run of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.faults import Faults
from tests.crash.harness import Children, Run, broken_rules, children, quick_folder, unknown
from tests.crash.services import SERVICES, Desk, Service

# Of each kind a run for five readers passes at least so many, before and after: a count that cannot be too
# low would prove nothing. One send is the least for a mail, one a request of two for SendGrid.
LEDGER = {"begin": 5, "write": 8, "commit": 5}
LEAST = {
    "outbox": {"file fsync": 10, "file link": 5, "file unlink": 5},
    "smtp": {"send": 20, "receive": 20},
    "pipelining": {"send": 6, "receive": 6},
    "sendgrid": {"send": 6, "receive": 3},
    "twilio": {"send": 5, "receive": 5},
}
PEOPLE = 5


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with quick_folder() as made:
        yield made


@pytest.fixture(scope="module")
def runs(folder: Path) -> Iterator[Children]:
    with children(folder / "children.log", plain=True) as started:
        yield started


def passages(path: Path) -> list[str]:
    return path.read_text().splitlines()


def killed_at(number: int, service: Service, folder: Path, runs: Children) -> tuple[Desk, bool]:
    """Run and kill at one point; say whether the run came so far."""
    desk = service.desk(folder / f"{service.name}-{number}", PEOPLE)
    path = desk.folder / "passages"
    (code,) = runs.run(desk.folder, Run(faults=Faults(str(path), kill_at=number)))
    assert code in {-9, 0}
    assert (code == -9) == (len(passages(path)) == number)
    return desk, code == -9


@pytest.mark.parametrize("name", SERVICES)
def test_killed_at_every_point_and_run_again(name: str, folder: Path, runs: Children) -> None:
    with SERVICES[name]() as service:
        whole = service.desk(folder / f"{name}-whole", PEOPLE)
        (code,) = runs.run(whole.folder, Run(faults=Faults(str(whole.folder / "passages"))))
        assert broken_rules(whole, [code]) == []
        passed = Counter(passages(whole.folder / "passages"))
        for kind, least in {**LEDGER, **LEAST[name]}.items():
            assert passed[f"before {kind}"] >= least
            assert passed[f"after {kind}"] >= least
        in_doubt, number, goes_on = 0, 0, True
        while goes_on:  # how many points there are depends on how the answers come: to the last of this run
            number += 1
            desk, goes_on = killed_at(number, service, folder, runs)
            codes = runs.run(desk.folder, Run())
            at = passages(desk.folder / "passages")[-1]
            assert (number, at, broken_rules(desk, codes)) == (number, at, [])
            in_doubt += len(unknown(desk.folder))
        assert number > 0.7 * sum(passed.values())
        assert in_doubt > 0, "no kill fell into a hand-over: the test proved nothing"
