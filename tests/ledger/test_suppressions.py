"""Who hears nothing more: opted out by key, erased by a hash that only this ledger can make."""

from __future__ import annotations

from dataclasses import replace

from commcast.ledger.history import histories
from commcast.ledger.store import Ledger
from commcast.ledger.suppressions import (
    erase,
    erased_key,
    list_suppressions,
    suppress,
    suppressed_among,
    unsuppress,
)
from commcast.ledger.tables import State
from commcast.model.history import ERASED
from commcast.model.message import OutcomeKind
from tests.support.desk import NOW, ROW, answer, claim, fill, said, states, told


def opt_out(ledger: Ledger, key: str, reason: str = "asked", channel: str = "email") -> None:
    with ledger.write() as connection:
        suppress(connection, channel, key, reason=reason, by="dana", now=NOW)


def forget(ledger: Ledger, key: str) -> int:
    with ledger.write() as connection:
        return erase(connection, ledger.secret, "email", key, by="dana", now=NOW)


def found_among(ledger: Ledger, *keys: str) -> dict[str, str]:
    with ledger.read() as connection:
        return suppressed_among(connection, ledger.secret, "email", keys)


def test_an_opt_out_ends_what_waits_and_leaves_what_was_said(ledger: Ledger) -> None:
    said_before = fill(ledger, ["a"], incident="old1")
    taken = claim(ledger, said_before).claims[0]
    answer(ledger, said_before, [said(taken.delivery, OutcomeKind.ACCEPTED)])
    fill(ledger, ["a", "b"])
    fill(ledger, ["a"], incident="held1", row=replace(ROW, state=State.HELD))
    fill(ledger, ["a"], incident="text1", channel="sms")
    opt_out(ledger, "a")
    assert states(ledger) == {"a": "skipped", "b": "pending"}
    assert told(ledger)["a"].reason == "opted out"
    assert states(ledger, "held1") == {"a": "skipped"}
    assert states(ledger, "old1") == {"a": "accepted"}
    assert states(ledger, "text1") == {"a": "pending"}


def test_an_older_opt_out_keeps_its_reason(ledger: Ledger) -> None:
    opt_out(ledger, "a", "asked")
    opt_out(ledger, "a", "asked twice")
    assert found_among(ledger, "a", "b") == {"a": "asked"}


def test_who_is_let_in_again_is_named_once(ledger: Ledger) -> None:
    opt_out(ledger, "a")
    with ledger.write() as connection:
        assert unsuppress(connection, ledger.secret, "email", "a")
        assert not unsuppress(connection, ledger.secret, "email", "a")
        assert not unsuppress(connection, ledger.secret, "sms", "a")
    assert found_among(ledger, "a") == {}


def test_an_erased_address_is_nowhere_in_the_ledger(ledger: Ledger) -> None:
    fill(ledger, ["ann@example.com"])
    fill(ledger, ["ann@example.com"], number=2)
    opt_out(ledger, "ann@example.com")
    assert forget(ledger, "ann@example.com") == 2
    ledger.close()
    held = b"".join(path.read_bytes() for path in ledger.path.parent.iterdir())
    assert b"ann@example.com" not in held


def test_an_old_list_cannot_tell_an_erased_person_again(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a", "b"])
    forget(ledger, "a")
    assert found_among(ledger, "a", "b") == {"a": ERASED}
    assert [c.key for c in claim(ledger, broadcast).claims] == ["b"]
    with ledger.read() as connection:
        found = histories(connection, ledger.secret, "pay7", "update:1", "email", ["a"])
    assert found["a"].state == "skipped"
    assert found["a"].suppressed == ERASED


def test_an_erasure_during_a_hand_over_still_settles_it(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    taken = claim(ledger, broadcast).claims[0]
    forget(ledger, "a")
    answer(ledger, broadcast, [said(taken.delivery, OutcomeKind.ACCEPTED)])
    assert states(ledger) == {"": "accepted"}


def test_what_was_not_taken_after_an_erasure_goes_nowhere(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    taken = claim(ledger, broadcast).claims[0]
    forget(ledger, "a")
    answer(ledger, broadcast, [said(taken.delivery, OutcomeKind.NOT_TAKEN)])
    assert claim(ledger, broadcast).claims == ()
    assert states(ledger) == {"": "skipped"}


def test_an_erasure_twice_is_one(ledger: Ledger) -> None:
    fill(ledger, ["a"])
    assert forget(ledger, "a") == 1
    assert forget(ledger, "a") == 0
    with ledger.read() as connection:
        assert [s.key for s in list_suppressions(connection)] == [erased_key(ledger.secret, "a")]


def test_an_erased_person_may_come_back(ledger: Ledger) -> None:
    forget(ledger, "a")
    with ledger.write() as connection:
        assert unsuppress(connection, ledger.secret, "email", "a")
    assert found_among(ledger, "a") == {}


def test_the_hash_of_an_erased_address_needs_the_ledgers_secret(ledger: Ledger) -> None:
    assert erased_key(b"one", "a") != erased_key(b"two", "a")
    assert "ann" not in erased_key(ledger.secret, "ann@example.com")
