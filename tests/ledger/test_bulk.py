"""Rows gather beside the ledger: all of them arrive once, nobody waits long, and a lost freeze takes none."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from commcast.errors import TryAgain
from commcast.ledger import bulk
from commcast.ledger import tables as schema
from commcast.ledger.broadcasts import FREEZE_LEASE, Broadcast, begin_freeze, finish_freeze, read_composition
from commcast.ledger.bulk import GatheredRow, Gathering
from commcast.ledger.history import deliveries
from commcast.ledger.store import Ledger, open_ledger
from commcast.ledger.suppressions import suppress
from tests.ledger.conftest import ask, do
from tests.support.desk import DESK, ME, NOW, OTHER, WORDS


def begun(ledger: Ledger, owner: str = ME, later: timedelta = timedelta(), channel: str = "email") -> Any:
    about: dict[str, Any] = {"incident": "pay7", "notice": "update:1", "number": 1, "channel": channel}
    broadcast, mine = do(ledger, begin_freeze, owner=owner, now=NOW + later, **about)
    assert mine
    return broadcast


@pytest.fixture
def filling(ledger: Ledger) -> Any:
    return begun(ledger)


def row(key: str, words: int | None = None, **values: object) -> GatheredRow:
    recipient = json.dumps({"name": key, **values})
    return (key, key.upper(), "customers", words, recipient, "d", "pending", "", None, None)


def keys(ledger: Ledger) -> list[str]:
    d = schema.delivery.c
    found = ask(ledger, lambda c: c.execute(schema.delivery.select().order_by(d.id)).all())
    assert all((r.address, r.state, r.changed_at) == (r.key.upper(), "pending", NOW) for r in found)
    return [r.key for r in found]


def gather(ledger: Ledger, filling: Broadcast, *parts: Sequence[GatheredRow], chunk: int = 7) -> None:
    with Gathering(ledger, NOW, [filling]) as gathered:
        for rows in parts:
            for start in range(0, len(rows), chunk):
                gathered.add(0, rows[start : start + chunk])
            gathered.end_of_part()
        gathered.finish()


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 30, 137])
def test_all_rows_arrive_once(
    ledger: Ledger, filling: Any, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(bulk, "MOVED_AT_ONCE", 10)
    monkeypatch.setattr(bulk, "_AT_ONCE", 3)
    names = [f"k{n:03}" for n in range(count)]
    random.Random(count).shuffle(names)
    gather(ledger, filling, [row(name) for name in names])
    assert sorted(keys(ledger)) == sorted(names)
    assert do(ledger, finish_freeze, [filling], ME, NOW)
    assert len(ask(ledger, deliveries, "pay7")) == count


def test_rows_come_in_order_of_address_with_the_words_they_name(ledger: Ledger, filling: Broadcast) -> None:
    with Gathering(ledger, NOW, [filling]) as gathered:
        words = gathered.add_words(0, WORDS)
        gathered.add(0, [row(name, words, tags=["a"], by_email=True) for name in ("b", "ä", "a", "b")])
        gathered.finish()
    assert keys(ledger) == ["a", "b", "ä"]
    made = ask(ledger, lambda c: c.exec_driver_sql("select distinct composition from delivery").scalar_one())
    assert ask(ledger, read_composition, made) == WORDS


def test_rows_that_wait_for_a_yes_are_not_in_the_ledger_before(ledger: Ledger, filling: Broadcast) -> None:
    with Gathering(ledger, NOW) as gathered:
        gathered.add(0, [row(name, gathered.add_words(0, WORDS)) for name in "ba"])
        gathered.finish()
        assert (keys(ledger), gathered.count) == ([], 2)
        with gathered.transaction() as connection:
            gathered.move_all(connection, [filling])
    assert keys(ledger) == ["a", "b"]


def test_rows_of_two_notices_that_come_mixed_go_into_their_own_broadcasts(ledger: Ledger) -> None:
    both = [begun(ledger), begun(ledger, channel="sms")]
    with Gathering(ledger, NOW, both) as gathered:
        for notice, key in enumerate(("mail", "text", "another mail")):
            gathered.add(notice % 2, [row(key)])
        gathered.finish()
    assert ask(ledger, deliveries, "pay7") == []  # nobody sees them before both are open
    assert do(ledger, finish_freeze, both, ME, NOW)
    found = {(each.channel, each.address) for each in ask(ledger, deliveries, "pay7")}
    assert found == {("email", "MAIL"), ("email", "ANOTHER MAIL"), ("sms", "TEXT")}


def test_the_better_rank_and_the_first_row_of_an_address_stay(ledger: Ledger, filling: Broadcast) -> None:
    gather(ledger, filling, [row("z"), row("y", n=1)], [row("b"), row("y", n=2), row("a")])
    assert keys(ledger) == ["y", "z", "a", "b"]
    kept = ask(ledger, lambda c: c.execute(schema.delivery.select()).all())
    assert [each.recipient for each in kept if each.key == "y"] == [{"name": "y", "n": 1}]


def test_what_was_given_up_or_lost_puts_nothing_in(ledger: Ledger, filling: Broadcast) -> None:
    with pytest.raises(KeyboardInterrupt), Gathering(ledger, NOW, [filling]) as gathered:
        gathered.add(0, [row("a")])
        raise KeyboardInterrupt
    assert keys(ledger) == []
    gather(ledger, filling, [row("b")])
    assert keys(ledger) == ["b"]
    begun(ledger, OTHER, FREEZE_LEASE)
    with pytest.raises(TryAgain, match="taken this broadcast over"):
        gather(ledger, filling, [row("c")])
    assert keys(ledger) == []


def test_others_write_while_rows_gather(ledger: Ledger, filling: Broadcast) -> None:
    other = open_ledger(ledger.path, DESK)
    with Gathering(ledger, NOW, [filling]) as gathered:
        for name in "abc":
            gathered.add(0, [row(name)])
            with other.write() as connection:
                connection.execute(text("pragma busy_timeout = 0"))
                suppress(connection, "email", name, reason="asked", by="dana", now=NOW)
        gathered.finish()
    other.close()
    assert keys(ledger) == ["a", "b", "c"]


def test_ten_thousand_rows_are_a_handful_of_statements(ledger: Ledger, filling: Broadcast) -> None:
    """And one transaction, of the 20,000 rows that may go at once, that locks others out."""
    said: list[str] = []
    event.listen(ledger.engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    gather(ledger, filling, [row(f"k{n}") for n in range(10_000)], chunk=700)
    assert len(keys(ledger)) == 10_000
    assert said.count("begin immediate") == 1
    assert sum(each.startswith("insert into temp.gathered") for each in said) == 10
    assert len(said) < 50
