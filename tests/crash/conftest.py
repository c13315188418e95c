"""Children, folders and receivers for the crash tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.harness import Children, quick_folder
from tests.crash.services import Desk, Service, smtp


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder in memory, for tests that kill and never cut the power."""
    with quick_folder() as made:
        yield made


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    started = Children(tmp_path_factory.mktemp("runs") / "said.log")
    yield started
    started.close()


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    """Children beside those of `runs`."""
    started = Children(tmp_path_factory.mktemp("others") / "said.log")
    yield started
    started.close()


@pytest.fixture(scope="module")
def mail() -> Iterator[Service]:
    """A mail server with room for eight messages on their way."""
    with smtp(window=8) as started:
        yield started


@pytest.fixture
def desk(tmp_path: Path, mail: Service) -> Desk:
    """A desk whose mail goes to that server; its ledger is on a real disk."""
    return mail.desk(tmp_path / "desk", people=41)
