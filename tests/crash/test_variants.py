"""Programs that are broken on purpose are caught by the checks that the real one passes.

Sampled: each program is killed at every fifth of the points at which mails are on their way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.faults import Faults
from tests.crash.harness import DOUBT, LOST, TWICE, Children, Run, broken_rules
from tests.crash.services import Service, smtp

PEOPLE = 9  # more than twice W: a window that is none shows
STEP = 5
# "skips the fsync" is in test_power.py: a kill does not show it.
CAUGHT_BY = {
    "commits late": TWICE,
    "skips the claim": TWICE,
    "sends the unknown again": TWICE,
    "calls it sent when it is claimed": LOST,
    "claims without bound": DOUBT,
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with smtp() as started:
        yield started


def found(variant: str, service: Service, folder: Path, plain: Children, *, until: str = "") -> Counter[str]:
    """Kill at many points and run again; return how often each rule was broken, up to the first `until`."""
    whole = service.desk(folder / f"{variant}-whole", PEOPLE)
    plain.run(whole.folder, Run(faults=Faults(str(whole.folder / "passages"))))
    points = (whole.folder / "passages").read_text().splitlines()
    first = points.index("before connect")
    broken = Counter[str]()
    for at in range(first, len(points), STEP):
        desk = service.desk(folder / f"{variant}-at{at}", PEOPLE)
        path = str(desk.folder / "passages")
        plain.run(desk.folder, Run(faults=Faults(path, kill_at=at, variant=variant)))
        codes = plain.run(desk.folder, Run(faults=Faults(path, variant=variant)))
        broken.update(broken_rules(desk, codes))
        if until and broken[until]:
            break
    return broken


def test_the_real_program_breaks_no_rule(service: Service, folder: Path, plain: Children) -> None:
    assert not found("", service, folder, plain)


@pytest.mark.parametrize(("variant", "rule"), CAUGHT_BY.items())
def test_a_broken_program_is_caught(
    variant: str, rule: str, service: Service, folder: Path, plain: Children
) -> None:
    assert found(variant, service, folder, plain, until=rule)[rule]
