"""A receiver and a driver for each file of tests, and a desk for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.runs import GatedReceiver, Place, Runs


@pytest.fixture(scope="module")
def receiver() -> Iterator[GatedReceiver]:
    with GatedReceiver() as started:
        yield started


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    started = Runs(tmp_path_factory.mktemp("log") / "run.log")
    yield started
    started.close()


@pytest.fixture
def place(tmp_path: Path, receiver: GatedReceiver) -> Place:
    return Place(tmp_path / "desk", receiver).write()
