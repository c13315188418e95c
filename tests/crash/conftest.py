"""A folder in memory and two kinds of children for every module of crash tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.harness import Children, children, quick_folder


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with quick_folder() as made:
        yield made


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    """Children on the loop that production runs on."""
    with children(tmp_path_factory.mktemp("runs") / "children.log") as started:
        yield started


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    """Children on Python's own loop, in which fault points can be put."""
    with children(tmp_path_factory.mktemp("plain") / "children.log", plain=True) as started:
        yield started
