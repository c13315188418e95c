"""What was said, by audience: only what reached somebody, found by an index however long the list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import event

from commcast.ledger.history import what_was_said
from tests.support.desk import Bench, numbered, update_text, write_desk, write_incident


def test_each_audience_and_what_it_was_promised(tmp_path: Path) -> None:
    write_desk(tmp_path)
    write_incident(tmp_path)
    bench = Bench(tmp_path)
    bench.send()
    bench.later(minutes=5)
    path = tmp_path / "incidents" / "pay7.yaml"
    path.write_text(path.read_text() + update_text(bench.now, status="resolved", fixed="The switch."))
    bench.send()
    with bench.ledger.read() as connection:
        said = what_was_said(connection, "pay7")
    told = [(each.notice, each.channel.value, each.audience, each.promised is None) for each in said]
    assert told == [
        ("update:1", "email", "customers", False),
        ("update:1", "email", "support", False),
        ("update:1", "sms", "customers", told[2][3]),
        ("update:2", "email", "customers", True),
        ("update:2", "email", "support", True),
        ("update:2", "sms", "customers", True),
    ]


def test_no_list_is_read_from_end_to_end_for_it(tmp_path: Path) -> None:
    write_desk(tmp_path, customers=numbered(20))
    write_incident(tmp_path)
    bench = Bench(tmp_path)
    bench.send()
    plans: list[str] = []

    def explain(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        if statement.startswith("SELECT") and "composition" in statement:
            cursor.execute(f"explain query plan {statement}", parameters)
            plans.extend(row[3] for row in cursor.fetchall())

    event.listen(bench.ledger.engine, "before_cursor_execute", explain)
    with bench.ledger.read() as connection:
        what_was_said(connection, "pay7")
    steps = [plan for plan in plans if "delivery" in plan]
    assert steps
    assert all("delivery_composition" in plan for plan in steps), steps
