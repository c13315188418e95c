"""A new ledger for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from commcast.ledger.store import Ledger, create_ledger, ledger_path
from tests.support.desk import DESK


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = create_ledger(ledger_path(tmp_path), DESK)
    yield made
    made.close()
