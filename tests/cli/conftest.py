"""Fixtures of the command line's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.terminal import desk, make_desk, person, prepare

__all__ = ["desk", "kept", "person"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a desk on which commands were run, made once: what is refused, or a dry run, leaves it so."""
    desks: dict[tuple[str, ...], Path] = {}

    def get(*commands: str) -> Path:
        if commands not in desks:
            desks[commands] = prepare(make_desk(tmp_path_factory.mktemp("kept") / "desk"), *commands)
        return desks[commands]

    return get
