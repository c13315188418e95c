"""A ledger that others hold: waited for, then left to the next run; nobody is told twice for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.faults.runs import SEND, Place, Runs, until


@contextmanager
def held(place: Place, how: str = "begin immediate") -> Iterator[None]:
    """Hold the ledger, as a backup or a repair by hand does."""
    connection = sqlite3.connect(place.ledger, isolation_level=None)
    try:
        connection.execute(how)
        yield
    finally:
        connection.close()


def test_a_ledger_that_stays_locked_is_left_to_the_next_run(place: Place, runs: Runs) -> None:
    with held(place):
        ended = runs.run(place.folder, *SEND, patience=0.3)
        assert ended.code == 75
        assert f"{place.ledger}: is in use by another process" in ended.said
        assert "the next tick, or the same command, goes on" in ended.said
        assert not place.told()
    place.check_nobody_twice_nobody_lost(runs.run(place.folder, *SEND), in_doubt=0)


def test_a_ledger_that_is_locked_in_the_middle_leaves_at_most_a_window_in_doubt(
    place: Place, runs: Runs
) -> None:
    with place.receiver.shut():
        runs.begin(place.folder, *SEND, patience=0.3)
        until(lambda: len(place.told()) >= 4, "the first mails arrive")
        lock = ExitStack()
        lock.enter_context(held(place))
    with lock:
        ended = runs.finish()
    assert ended.code == 75, ended.said
    place.check_all_recorded()
    place.check_nobody_twice_nobody_lost(runs.run(place.folder, *SEND))


def test_a_lock_that_is_let_go_in_time_is_only_waited_for(place: Place, runs: Runs) -> None:
    with held(place):
        runs.begin(place.folder, *SEND, patience=60.0)
    place.check_nobody_twice_nobody_lost(runs.finish(), in_doubt=0)
