"""Ticks in the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from commcast.ledger import tables as schema
from commcast.ledger.oncall import TICKS_KEPT, drift, last_tick, record_tick
from commcast.ledger.store import Ledger
from commcast.ledger.tables import stamp
from tests.support.desk import NOW

MINUTE = timedelta(minutes=1)


def ticked(ledger: Ledger, at: Iterable[datetime], host: str = "a") -> None:
    with ledger.write() as connection:
        connection.execute(schema.tick.insert(), [{"at": stamp(each), "host": host} for each in at])


def test_the_last_tick_is_the_newest(ledger: Ledger) -> None:
    with ledger.write() as connection:
        assert last_tick(connection) is None
        record_tick(connection, NOW)
        assert last_tick(connection) == NOW


def test_so_many_ticks_are_kept(ledger: Ledger) -> None:
    ticked(ledger, (NOW - each * MINUTE for each in range(TICKS_KEPT + 50, 0, -1)))
    with ledger.write() as connection:
        record_tick(connection, NOW)
        rows = connection.execute(schema.tick.select()).all()
    assert len(rows) == TICKS_KEPT
    assert rows[-1].at == stamp(NOW)


def test_the_drift_is_that_of_the_last_day(ledger: Ledger) -> None:
    ticked(ledger, (NOW - timedelta(days=2) + each * 30 * MINUTE for each in range(40)))
    ticked(ledger, (NOW - each * 5 * MINUTE for each in range(12, -1, -1)), "b")
    ticked(ledger, [NOW + timedelta(hours=2)])
    with ledger.read() as connection:
        found = drift(connection, NOW)
    assert found is not None
    assert (found.typical, found.worst, found.hosts) == (5 * MINUTE, 5 * MINUTE, ("b",))


def test_a_desk_where_nothing_ticked_has_no_drift(ledger: Ledger) -> None:
    with ledger.read() as connection:
        assert drift(connection, NOW) is None
