"""Killed at any instant and run again, twice at once, stopped in the middle: nobody twice, nobody lost."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.crash.harness import Children, Receiver, children, unknown
from tests.desks import write_desk, write_incident

PEOPLE = 60
WINDOW = 4 * 2  # connections x 2, as tests/desks.py configures
KILLS = 50
SEND = ["send", "pay7", "--yes"]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    with children(tmp_path_factory.mktemp("log") / "children.log") as started:
        yield started


def a_desk(folder: Path, port: int, people: int = PEOPLE) -> Path:
    """A desk with an incident that nobody has released, and mail only."""
    tag = folder.name
    customers = [f"c{i}.{tag}@example.com,,Customer {i}" for i in range(people)]
    write_desk(folder, customers=customers, support=[f"help.{tag}@acme.example,Su"], email="smtp", port=port)
    write_incident(folder, at=datetime.now(UTC).replace(microsecond=0))
    return folder


def copies(receiver: Receiver, folder: Path) -> dict[str, int]:
    """How many mails each of this desk's people got."""
    return {address: n for address, n in receiver.counts().items() if f".{folder.name}@" in address}


def test_killed_fifty_times_and_run_again_at_once(tmp_path: Path, receiver: Receiver, runs: Children) -> None:
    """Each kill leaves at most W in doubt; the run after it finishes the rest; nobody gets two."""
    whole = a_desk(tmp_path / "whole", receiver.port)
    began = time.monotonic()
    assert runs.run(whole, SEND) == [0]
    longest = time.monotonic() - began
    chance = random.Random(20261122)
    in_doubt = 0
    for number in range(KILLS):
        folder = a_desk(tmp_path / f"k{number}", receiver.port)
        runs.run(folder, SEND, kill_after=chance.uniform(0.02, longest))
        (code,) = runs.run(folder, SEND)
        lost = unknown(folder)
        got = copies(receiver, folder)
        assert code == (1 if lost else 0)
        assert len(lost) <= WINDOW
        assert set(got.values()) <= {1}
        assert len(set(got) | lost) == PEOPLE + 1
        in_doubt += len(lost)
    assert in_doubt > 0, "no kill fell into a hand-over: the test proved nothing"


def test_two_sends_at_the_same_moment_tell_each_reader_once(
    tmp_path: Path, receiver: Receiver, runs: Children
) -> None:
    for number in range(5):
        folder = a_desk(tmp_path / f"twins{number}", receiver.port)
        assert runs.run(folder, SEND, SEND) == [0, 0]
        got = copies(receiver, folder)
        assert set(got.values()) == {1}
        assert len(got) == PEOPLE + 1


def test_a_run_killed_again_and_again_still_ends(tmp_path: Path, receiver: Receiver, runs: Children) -> None:
    folder = a_desk(tmp_path / "again", receiver.port, people=200)
    chance = random.Random(7)
    kills = 8
    for _ in range(kills):
        runs.run(folder, SEND, kill_after=chance.uniform(0.2, 0.9))
    assert runs.run(folder, SEND)[0] in {0, 1}
    lost, got = unknown(folder), copies(receiver, folder)
    assert set(got.values()) <= {1}
    assert len(set(got) | lost) == 201
    assert len(lost) <= kills * WINDOW


def test_stop_from_another_process_halts_five_thousand_within_a_window(
    tmp_path: Path, receiver: Receiver, runs: Children
) -> None:
    folder = a_desk(tmp_path / "stopped", receiver.port, people=5000)
    with children(tmp_path / "other.log") as other:
        runs.begin(folder, SEND)
        deadline = time.monotonic() + 120
        while len(copies(receiver, folder)) < 100:
            assert time.monotonic() < deadline
            time.sleep(0.02)  # between two looks at the receiver; nothing depends on its length
        assert other.run(folder, ["stop", "pay7"]) == [0]
        at_stop = len(receiver.inbox.messages)
        assert runs.finish() == [5]
        assert len(receiver.inbox.messages) - at_stop <= WINDOW
        assert len(copies(receiver, folder)) < 5001
        assert other.run(folder, ["resume", "pay7"]) == [0]
    got = copies(receiver, folder)
    assert set(got.values()) == {1}
    assert len(got) == 5001
