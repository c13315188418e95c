"""A pass over many incidents: what it costs where nothing is due."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from commcast.ledger.store import Ledger
from tests.support.desk import Bench, update_text, write_desk, write_incident


def count_reads(ledger: Ledger) -> list[Connection]:
    """Return the list into which every read transaction goes that begins from now on."""
    begun: list[Connection] = []

    def note(connection: Connection) -> None:
        if connection.get_execution_options().get("commcast_reads"):
            begun.append(connection)

    event.listen(ledger.engine, "begin", note)
    return begun


@pytest.mark.parametrize("closed", [0, 12])
@pytest.mark.parametrize("is_open", [False, True], ids=["all closed", "one open"])
def test_a_pass_with_nothing_due_reads_the_ledger_in_few_transactions(
    tmp_path: Path, closed: int, is_open: bool
) -> None:
    """However many incidents are over."""
    write_desk(tmp_path)
    bench = Bench(tmp_path)
    for number in range(closed):
        end = update_text(bench.now, status="resolved", fixed="The switch.")
        write_incident(tmp_path, f"old{number}", more=end)
        bench.send(f"old{number}")
    if is_open:
        write_incident(tmp_path)
        bench.send()
    bench.later(minutes=1)
    bench.tick()  # finds out what is over
    bench.later(minutes=1)
    begun = count_reads(bench.ledger)
    ticked = bench.tick()
    assert (ticked.delivered, ticked.nudged, list(ticked.quiet)) == ({}, {}, ["pay7"] if is_open else [])
    assert len(begun) <= 4
