"""Rows gather beside the ledger: all of them arrive once, nobody waits long, and a lost freeze takes none."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import event, text

from commcast.errors import TryAgain
from commcast.ledger import bulk as gathering
from commcast.ledger import tables as schema
from commcast.ledger.broadcasts import FREEZE_LEASE, Broadcast, add_composition, begin_freeze, finish_freeze
from commcast.ledger.bulk import GatheredRow, Gathering, add_in_order
from commcast.ledger.history import deliveries
from commcast.ledger.store import Ledger, open_ledger
from commcast.ledger.suppressions import suppress
from tests.support.desk import DESK, ME, NOW, OTHER, WORDS

Filling = tuple[Broadcast, int]


@pytest.fixture
def filling(ledger: Ledger) -> Filling:
    return begun(ledger)


def begun(ledger: Ledger, owner: str = ME, later: timedelta = timedelta()) -> Filling:
    about = {"incident": "pay7", "notice": "update:1", "number": 1, "channel": "email"}
    with ledger.write() as connection:
        broadcast, mine = begin_freeze(connection, owner=owner, now=NOW + later, **about)  # type: ignore[arg-type]
        assert mine
        return broadcast, add_composition(connection, broadcast.id, WORDS)


def row(key: str, words: int | None = None, **values: object) -> GatheredRow:
    recipient = json.dumps({"name": key, **values})
    return (key, key.upper(), "customers", words, recipient, "d", "pending", "", None, None)


def kept(ledger: Ledger) -> list[tuple[object, ...]]:
    with ledger.read() as connection:
        columns = [schema.delivery.c[name] for name in ("key", "address", "recipient", "state", "changed_at")]
        found = connection.execute(schema.delivery.select().with_only_columns(*columns).order_by("id"))
        return [tuple(each) for each in found]


def keys(ledger: Ledger) -> list[str]:
    return [str(each[0]) for each in kept(ledger)]


def gather(ledger: Ledger, broadcast: Broadcast, rows: Sequence[GatheredRow], chunk: int = 7) -> None:
    with Gathering(ledger, broadcast, NOW) as gathered:
        for start in range(0, len(rows), chunk):
            gathered.add(rows[start : start + chunk])
        gathered.finish()


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 30, 137])
def test_all_rows_arrive_once_however_many_turns_it_takes(
    ledger: Ledger, filling: Filling, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(gathering, "MOVED_AT_ONCE", 10)
    monkeypatch.setattr(gathering, "_AT_ONCE", 3)
    broadcast, words = filling
    names = [f"k{n:03}" for n in range(count)]
    random.Random(count).shuffle(names)
    gather(ledger, broadcast, [row(name, words) for name in names])
    assert sorted(keys(ledger)) == sorted(names)
    with ledger.write() as connection:
        assert finish_freeze(connection, [broadcast], ME, NOW)
        assert len(list(deliveries(connection, "pay7"))) == count


def test_the_two_ways_into_a_database_keep_the_same(ledger: Ledger, filling: Filling) -> None:
    broadcast, words = filling
    rows = [row(name, words, tags=["a"], by_email=True) for name in ("b", "ä", "a", "b")]
    gather(ledger, broadcast, rows)
    gathered = kept(ledger)
    with ledger.write() as connection:
        connection.execute(schema.delivery.delete())
        add_in_order(connection, broadcast, rows, NOW)
    assert kept(ledger) == gathered
    assert [each[0] for each in gathered] == ["a", "b", "ä"]


def test_an_audience_of_better_rank_comes_first(ledger: Ledger, filling: Filling) -> None:
    broadcast, _ = filling
    with Gathering(ledger, broadcast, NOW) as gathered:
        gathered.add([row("z"), row("y")])
        gathered.end_of_part()
        gathered.add([row("b"), row("a")])
        gathered.finish()
    assert keys(ledger) == ["y", "z", "a", "b"]


def test_the_first_of_two_rows_of_one_address_stays(ledger: Ledger, filling: Filling) -> None:
    broadcast, _ = filling
    with Gathering(ledger, broadcast, NOW) as gathered:
        gathered.add([row("a", n=1)])
        gathered.end_of_part()
        gathered.add([row("a", n=2)])
        gathered.finish()
    assert [each[2] for each in kept(ledger)] == [{"name": "a", "n": 1}]


def test_a_freeze_that_was_lost_puts_nothing_in_and_says_so(ledger: Ledger, filling: Filling) -> None:
    broadcast, _ = filling
    begun(ledger, OTHER, FREEZE_LEASE)
    with pytest.raises(TryAgain, match="taken this broadcast over"):
        gather(ledger, broadcast, [row("a")])
    assert keys(ledger) == []


def test_what_was_given_up_moves_no_more(ledger: Ledger, filling: Filling) -> None:
    broadcast, _ = filling
    with pytest.raises(KeyboardInterrupt), Gathering(ledger, broadcast, NOW) as gathered:
        gathered.add([row("a")])
        raise KeyboardInterrupt
    assert keys(ledger) == []
    gather(ledger, broadcast, [row("b")])
    assert keys(ledger) == ["b"]


def test_others_write_while_rows_gather(ledger: Ledger, filling: Filling) -> None:
    broadcast, _ = filling
    other = open_ledger(ledger.path, DESK)
    with Gathering(ledger, broadcast, NOW) as gathered:
        for name in "abc":
            gathered.add([row(name)])
            with other.write() as connection:
                connection.execute(text("pragma busy_timeout = 0"))
                suppress(connection, "email", name, reason="asked", by="dana", now=NOW)
        gathered.finish()
    other.close()
    assert keys(ledger) == ["a", "b", "c"]


def test_ten_thousand_rows_are_a_handful_of_statements(ledger: Ledger, filling: Filling) -> None:
    """And one transaction, of the 20,000 rows that may go at once, that locks others out."""
    broadcast, _ = filling
    said: list[str] = []
    event.listen(ledger.engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    gather(ledger, broadcast, [row(f"k{n}") for n in range(10_000)], chunk=700)
    assert len(keys(ledger)) == 10_000
    assert said.count("begin immediate") == 1
    assert sum(each.startswith("insert into temp.gathered") for each in said) == 10
    assert len(said) < 50
