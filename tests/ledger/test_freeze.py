"""Freezing: all channels open at once or none, and a dead process's half is taken over."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from commcast.errors import TryAgain
from commcast.ledger import broadcasts as freeze
from commcast.ledger.broadcasts import (
    add_composition,
    add_rows,
    begin_freeze,
    broadcasts_of,
    drop_freeze,
    find_broadcast,
    finish_freeze,
    held_rows,
    open_broadcasts,
    read_composition,
    thaw_row,
)
from commcast.ledger.history import Told, deliveries
from commcast.ledger.store import Ledger
from commcast.ledger.tables import BroadcastState, State
from commcast.model.message import OutcomeKind
from tests.support.desk import ME, NOW, OTHER, ROW, WORDS, answer, claim, fill, said, states, told, yes_to


def begin(ledger: Ledger, owner: str = ME, now: datetime = NOW) -> tuple[freeze.Broadcast, bool]:
    with ledger.write() as connection:
        return begin_freeze(
            connection,
            incident="pay7",
            notice="update:1",
            number=1,
            channel="email",
            owner=owner,
            now=now,
        )


def all_rows(ledger: Ledger) -> list[Told]:
    with ledger.read() as connection:
        return list(deliveries(connection, "pay7"))


def test_a_frozen_notice_is_not_frozen_again(ledger: Ledger) -> None:
    made = fill(ledger, ["a"])
    found, to_fill = begin(ledger)
    assert (found.id, found.state, to_fill) == (made.id, BroadcastState.FROZEN, False)
    assert states(ledger) == {"a": "pending"}


def test_what_a_living_process_is_filling_is_left_to_it(ledger: Ledger) -> None:
    fill(ledger, ["a"], finish=False)
    found, to_fill = begin(ledger, OTHER)
    assert (found.owner, to_fill) == (ME, False)
    assert states(ledger) == {"a": "pending"}


def test_a_dead_processs_half_is_emptied_and_taken_over(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = fill(ledger, ["a"], finish=False)
    monkeypatch.setattr(freeze, "is_dead", lambda owner: owner == ME)
    found, to_fill = begin(ledger, OTHER)
    assert (found.id, found.owner, to_fill) == (half.id, OTHER, True)
    assert states(ledger) == {}
    with ledger.write() as connection:
        assert not finish_freeze(connection, [half], ME, NOW)


def test_a_process_begins_its_own_half_anew(ledger: Ledger) -> None:
    fill(ledger, ["a"], finish=False)
    assert begin(ledger)[1]
    assert states(ledger) == {}


def test_nothing_opens_unless_all_can(ledger: Ledger) -> None:
    mine = fill(ledger, ["a"], finish=False)
    theirs = fill(ledger, ["+1"], channel="sms", owner=OTHER, finish=False)
    with ledger.write() as connection:
        assert not finish_freeze(connection, [mine, theirs], ME, NOW)
    assert claim(ledger, mine).claims == ()
    assert claim(ledger, theirs).claims == ()


def test_a_broadcast_is_opened_once(ledger: Ledger) -> None:
    mine = fill(ledger, ["a"])
    with ledger.write() as connection:
        assert not finish_freeze(connection, [mine], ME, NOW)


def test_dropping_takes_back_rows_and_words_of_ones_own_unopened_broadcasts(ledger: Ledger) -> None:
    half = fill(ledger, ["a"], finish=False)
    whole = fill(ledger, ["b"], number=2)
    theirs = fill(ledger, ["c"], number=3, owner=OTHER, finish=False)
    with ledger.write() as connection:
        drop_freeze(connection, [half, whole, theirs], ME)
    assert states(ledger) == {"b": "pending", "c": "pending"}
    with ledger.read() as connection:
        assert [b.number for b in broadcasts_of(connection, "pay7")] == [2]
        assert find_broadcast(connection, "pay7", "update:1", "email") is None
        assert find_broadcast(connection, "pay7", "update:3", "email") == theirs


def test_frozen_words_are_read_as_they_were_put_in(ledger: Ledger) -> None:
    broadcast = fill(ledger, [])
    with ledger.write() as connection:
        number = add_composition(connection, broadcast.id, WORDS)
        assert read_composition(connection, number) == WORDS


def test_newer_words_end_what_still_waits_of_older_ones(ledger: Ledger) -> None:
    first = fill(ledger, ["a", "b", "c", "d"])
    taken = claim(ledger, first, 1).claims[0]
    answer(ledger, first, [said(taken.delivery, OutcomeKind.ACCEPTED)])
    fill(ledger, ["b"], row=replace(ROW, state=State.HELD), channel="sms")
    second = fill(ledger, ["a", "b", "c"], number=2)
    with ledger.read() as connection:
        rows = [(r.notice, r.channel, r.address, r.state.value) for r in all_rows(ledger)]
        assert [b.id for b in open_broadcasts(connection)][-1] == second.id
    assert rows == [
        ("update:1", "email", "a", "accepted"),
        ("update:1", "email", "b", "skipped"),
        ("update:1", "email", "c", "skipped"),
        ("update:1", "email", "d", "pending"),
        ("update:1", "sms", "b", "held"),
        ("update:2", "email", "a", "pending"),
        ("update:2", "email", "b", "pending"),
        ("update:2", "email", "c", "pending"),
    ]
    assert {r.reason for r in all_rows(ledger) if r.state is State.SKIPPED} == {"superseded"}


def test_older_words_frozen_late_end_nothing_newer(ledger: Ledger) -> None:
    fill(ledger, ["a"], number=2)
    fill(ledger, ["a"], number=1)
    assert [r.state.value for r in all_rows(ledger)] == ["pending", "pending"]


def by_notice(ledger: Ledger) -> dict[tuple[str, str], tuple[str, str]]:
    return {(row.address, row.notice[-1]): (row.state.value, row.reason) for row in all_rows(ledger)}


def test_when_it_is_over_nobody_hears_of_the_beginning_any_more(ledger: Ledger) -> None:
    """Also not who is on no list any more, nor the words that quiet hours hold back."""
    first = fill(ledger, ["told", "waits", "gone"])
    taken = claim(ledger, first, 1).claims[0]
    answer(ledger, first, [said(taken.delivery, OutcomeKind.ACCEPTED)])
    fill(ledger, ["told", "waits"], number=2, status="resolved")
    assert by_notice(ledger) == {
        ("told", "1"): ("accepted", "said accepted"),
        ("waits", "1"): ("skipped", "superseded"),
        ("gone", "1"): ("skipped", "superseded"),
        ("told", "2"): ("pending", ""),
        ("waits", "2"): ("skipped", "was never told that it began"),
    }


def test_who_is_being_told_while_the_end_is_made_ready_gets_the_end(ledger: Ledger) -> None:
    first = fill(ledger, ["a", "b"])
    end = fill(ledger, ["a", "b"], number=2, finish=False, status="resolved")
    claim(ledger, first, 1, owner=OTHER)
    with ledger.write() as connection:
        assert finish_freeze(connection, [end], ME, NOW)
    assert by_notice(ledger) == {
        ("a", "1"): ("claimed", ""),
        ("b", "1"): ("skipped", "superseded"),
        ("a", "2"): ("pending", ""),
        ("b", "2"): ("skipped", "was never told that it began"),
    }


def test_who_heard_some_of_it_gets_the_end_though_later_words_still_waited(ledger: Ledger) -> None:
    first = fill(ledger, ["a"])
    taken = claim(ledger, first).claims[0]
    answer(ledger, first, [said(taken.delivery, OutcomeKind.UNKNOWN)])
    fill(ledger, ["a"], number=2)
    fill(ledger, ["a"], number=3, status="resolved")
    assert by_notice(ledger) == {
        ("a", "1"): ("unknown", "said unknown"),
        ("a", "2"): ("skipped", "superseded"),
        ("a", "3"): ("pending", ""),
    }


def test_the_end_of_another_channel_or_incident_ends_nothing_here(ledger: Ledger) -> None:
    fill(ledger, ["a"], incident="web1")
    fill(ledger, ["a"], channel="sms")
    fill(ledger, ["a"], number=2, status="resolved")
    assert states(ledger, "web1") == {"a": "pending"}
    assert [row.state.value for row in all_rows(ledger)] == ["pending", "pending"]


def test_who_heard_of_it_before_this_ledger_gets_the_end_whatever_still_waits(ledger: Ledger) -> None:
    with ledger.write() as connection:
        yes_to(connection, 1, "investigating", how="elsewhere")
    fill(ledger, ["a"], number=2)
    fill(ledger, ["a"], number=3, status="resolved")
    assert by_notice(ledger)["a", "3"] == ("pending", "")


def test_who_wants_the_end_only_gets_it(ledger: Ledger) -> None:
    fill(ledger, ["a"])
    fill(ledger, ["a", "end-only"], number=2, status="completed")
    assert by_notice(ledger)["end-only", "2"] == ("pending", "")


def test_a_freeze_that_never_ended_is_taken_over_wherever_it_ran(ledger: Ledger) -> None:
    half = fill(ledger, ["a"], finish=False)
    late = NOW + freeze.FREEZE_LEASE
    assert not begin(ledger, OTHER, late - timedelta(microseconds=1))[1]
    found, to_fill = begin(ledger, OTHER, late)
    assert (found.id, found.owner, to_fill) == (half.id, OTHER, True)
    assert not begin(ledger, ME, late)[1]


def test_who_lost_a_broadcast_puts_nothing_more_into_it(ledger: Ledger) -> None:
    half = fill(ledger, ["a"], finish=False)
    begin(ledger, OTHER, NOW + freeze.FREEZE_LEASE)
    with pytest.raises(TryAgain, match="taken this broadcast over"), ledger.write() as connection:
        add_rows(connection, half, [replace(ROW, key="b", address="b")], NOW)
    assert states(ledger) == {}


def test_nothing_goes_into_a_list_that_is_frozen(ledger: Ledger) -> None:
    whole = fill(ledger, ["a"])
    with pytest.raises(TryAgain), ledger.write() as connection:
        add_rows(connection, whole, [replace(ROW, key="b", address="b")], NOW)
    assert states(ledger) == {"a": "pending"}


def test_another_incidents_deliveries_are_left_alone(ledger: Ledger) -> None:
    fill(ledger, ["a"], incident="web1")
    fill(ledger, ["a"], number=2)
    assert states(ledger, "web1") == {"a": "pending"}


def test_open_broadcasts_are_the_frozen_ones_with_something_left(ledger: Ledger) -> None:
    done = fill(ledger, ["a"], incident="done1")
    taken = claim(ledger, done).claims[0]
    answer(ledger, done, [said(taken.delivery, OutcomeKind.ACCEPTED)])
    fill(ledger, ["a"], incident="half1", finish=False)
    for name, state in (("pend1", State.PENDING), ("held1", State.HELD), ("skip1", State.SKIPPED)):
        fill(ledger, ["a"], incident=name, row=replace(ROW, state=state))
    in_flight = fill(ledger, ["a"], incident="take1")
    claim(ledger, in_flight)
    with ledger.read() as connection:
        assert [b.incident for b in open_broadcasts(connection)] == ["pend1", "held1", "take1"]
        assert [b.incident for b in open_broadcasts(connection, "held1")] == ["held1"]


def test_what_waits_for_a_provider_is_not_held(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    mine = claim(ledger, broadcast).claims[0]
    answer(ledger, broadcast, [said(mine.delivery, OutcomeKind.NOT_TAKEN, wait=timedelta(0))])
    with ledger.read() as connection:
        assert held_rows(connection, "pay7", NOW + timedelta(days=1)) == ()


def test_held_rows_come_up_at_their_time_and_thaw_once(ledger: Ledger) -> None:
    until = NOW + timedelta(hours=5)
    broadcast = fill(
        ledger, ["+1", "+2"], channel="sms", row=replace(ROW, state=State.HELD, not_before=until)
    )
    with ledger.write() as connection:
        assert held_rows(connection, "pay7", until - timedelta(microseconds=1)) == ()
        assert held_rows(connection, "web1", until) == ()
        first, second = held_rows(connection, "pay7", until)
        words = add_composition(connection, broadcast.id, WORDS)
        thaw_row(connection, first, replace(ROW, composition=words), until)
        thaw_row(connection, second, replace(ROW, state=State.SKIPPED, reason="over"), until)
        thaw_row(connection, second, replace(ROW, composition=words), until)
        assert held_rows(connection, "pay7", until) == ()
    assert states(ledger) == {"+1": "pending", "+2": "skipped"}
    assert told(ledger)["+2"].reason == "over"
    assert [c.key for c in claim(ledger, broadcast, now=until).claims] == ["+1"]
