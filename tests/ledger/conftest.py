"""A new ledger for each test, and short ways to ask it and to change it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, update

from commcast.ledger.store import Ledger, create_ledger, ledger_path
from commcast.ledger.suppressions import erase, suppress
from commcast.ledger.tables import delivery
from tests.support.desk import DESK, NOW


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = create_ledger(ledger_path(tmp_path), DESK)
    yield made
    made.close()


def ask(ledger: Ledger, look: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Return what a look-up finds; a list of what it yields."""
    with ledger.read() as connection:
        found = look(connection, *given, **named)
        return list(found) if isinstance(found, Generator) else found


def do(ledger: Ledger, change: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Make a change in a transaction of its own, and return what it returns."""
    with ledger.write() as connection:
        return change(connection, *given, **named)


def rewrite(ledger: Ledger, *where: Any, **values: Any) -> None:
    """Put values into deliveries, past all rules."""
    with ledger.write() as connection:
        connection.execute(update(delivery).where(*where).values(**values))


def opt_out(ledger: Ledger, key: str, reason: str = "asked") -> None:
    do(ledger, suppress, "email", key, reason=reason, by="dana", now=NOW)


def forget(ledger: Ledger, key: str) -> int:
    return int(do(ledger, erase, ledger.secret, "email", key, by="dana", now=NOW))


def plans_of(ledger: Ledger, begins: tuple[str, ...], look: Callable[[], object]) -> list[str]:
    """Return how the database finds its rows in the statements of a look-up that begin so."""
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lower().startswith(begins):
            cursor.execute(f"explain query plan {statement}", parameters)
            plans.extend(row[3] for row in cursor.fetchall())

    event.listen(ledger.engine, "before_cursor_execute", explain)
    look()
    event.remove(ledger.engine, "before_cursor_execute", explain)
    return plans
