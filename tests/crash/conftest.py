"""Children, folders and receivers for the crash tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.crash.harness import Children
from tests.crash.services import Desk, Service, smtp


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder in memory, if there is one: kill -9 loses nothing that a file system was told."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with TemporaryDirectory(prefix="commcast-crash-", dir=place) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    with closing(Children(tmp_path_factory.mktemp("runs") / "said.log")) as started:
        yield started


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    """Children beside those of `runs`."""
    with closing(Children(tmp_path_factory.mktemp("others") / "said.log")) as started:
        yield started


@pytest.fixture(scope="module")
def mail() -> Iterator[Service]:
    """A mail server with room for eight messages on their way."""
    with smtp(window=8) as started:
        yield started


@pytest.fixture
def desk(tmp_path: Path, mail: Service) -> Desk:
    """A desk whose mail goes to that server; its ledger is on a real disk."""
    return mail.desk(tmp_path / "desk", people=41)
