"""What was said to whom, and who counts as told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from commcast.ledger import tables as schema
from commcast.ledger.history import deliveries, histories, incident_history, promised, tallies, told_people
from commcast.ledger.releases import stop_incident, stops_in_force
from commcast.ledger.store import Ledger
from commcast.ledger.suppressions import erase
from commcast.ledger.tables import State
from commcast.model.history import NOBODY_KNOWS
from commcast.model.incident import Channel
from tests.support.desk import NOW, ROW, WORDS, fill


def put(ledger: Ledger, state: State, **where: str) -> None:
    """Put every delivery of an incident into a state."""
    with ledger.write() as connection:
        connection.execute(update(schema.delivery).values(state=state))


def standing_of(ledger: Ledger, key: str, notice: str = "update:2") -> tuple[str, bool, str]:
    with ledger.read() as connection:
        known = histories(connection, ledger.secret, "pay7", notice, "email", [key])
    found = known.get(key, NOBODY_KNOWS)
    return found.state, found.told, found.suppressed


def readers(ledger: Ledger, notice: str = "update:2") -> list[str]:
    with ledger.read() as connection:
        return [person.address for person in told_people(connection, "pay7", "email", notice)]


@pytest.mark.parametrize("state", list(State))
def test_told_is_who_heard_may_have_heard_or_may_hear_at_any_moment(ledger: Ledger, state: State) -> None:
    fill(ledger, ["a"])
    put(ledger, state)
    told = state not in {State.REJECTED, State.SKIPPED}
    assert standing_of(ledger, "a") == ("", told, "")
    assert readers(ledger) == (["a"] if told else [])


@pytest.mark.parametrize("state", list(State))
def test_the_notice_itself_is_a_state_and_not_a_telling(ledger: Ledger, state: State) -> None:
    fill(ledger, ["a"])
    put(ledger, state)
    assert standing_of(ledger, "a", "update:1") == (state.value, False, "")
    assert readers(ledger, "update:1") == []


def test_nobody_knows_a_stranger(ledger: Ledger) -> None:
    fill(ledger, ["a"])
    assert standing_of(ledger, "b") == ("", False, "")


def test_another_incident_or_channel_does_not_tell_of_this_one(ledger: Ledger) -> None:
    fill(ledger, ["a"], incident="web1")
    fill(ledger, ["a"], channel="sms")
    put(ledger, State.ACCEPTED)
    assert standing_of(ledger, "a") == ("", False, "")
    assert readers(ledger) == []


def test_an_erased_person_is_known_by_hash_and_is_no_reader_any_more(ledger: Ledger) -> None:
    fill(ledger, ["a"])
    put(ledger, State.ACCEPTED)
    with ledger.write() as connection:
        erase(connection, ledger.secret, "email", "a", by="dana", now=NOW)
    assert standing_of(ledger, "a") == ("", True, "erased")
    assert readers(ledger) == []


def test_who_was_told_twice_is_one_reader_as_last_frozen(ledger: Ledger) -> None:
    fill(ledger, ["a"])
    fill(ledger, ["a"], number=2, row=replace(ROW, recipient={"name": "Ann Two"}, audience="support"))
    put(ledger, State.ACCEPTED)
    with ledger.read() as connection:
        found = list(told_people(connection, "pay7", "email", "update:3"))
    assert [(p.key, p.audience, p.zone, p.recipient) for p in found] == [
        ("a", "support", "UTC", {"name": "Ann Two"})
    ]


def test_who_waits_for_quiet_hours_to_end_is_spoken_to_as_before(ledger: Ledger) -> None:
    """What is held has no words yet; the end still has to find its reader."""
    fill(ledger, ["a"])
    put(ledger, State.ACCEPTED)
    fill(ledger, ["a"], number=2, row=replace(ROW, state=State.HELD))
    with ledger.write() as connection:
        held = schema.delivery.c.state == State.HELD
        connection.execute(update(schema.delivery).where(held).values(composition=None))
    assert readers(ledger, "update:3") == ["a"]


def test_an_incident_stands_where_its_frozen_broadcasts_stand(ledger: Ledger) -> None:
    fill(ledger, ["a"])
    fill(ledger, ["a"], number=3)
    fill(ledger, ["+1"], channel="sms")
    fill(ledger, ["a"], number=4, finish=False)
    with ledger.write() as connection:
        stop_incident(connection, "*", "dana", NOW)
        found = incident_history(connection, "pay7")
    assert found.told_up_to == {Channel.EMAIL: 3, Channel.SMS: 1}
    assert found.begun == {
        ("update:1", Channel.EMAIL),
        ("update:3", Channel.EMAIL),
        ("update:1", Channel.SMS),
    }
    assert (found.releases, found.stopped_by) == ({}, "dana")


def test_a_stop_is_written_once(ledger: Ledger) -> None:
    with ledger.write() as connection:
        assert stop_incident(connection, "pay7", "dana", NOW)
        assert not stop_incident(connection, "pay7", "sam", NOW)
        assert [stop.by for stop in stops_in_force(connection)] == ["dana"]


def test_a_stop_of_all_does_not_hide_the_stop_of_one(ledger: Ledger) -> None:
    with ledger.write() as connection:
        assert stop_incident(connection, "*", "dana", NOW)
        assert stop_incident(connection, "pay7", "sam", NOW)
        assert len(stops_in_force(connection, "pay7")) == 2
        assert len(stops_in_force(connection, "web1")) == 1


def test_tallies_count_by_state_and_reason(ledger: Ledger) -> None:
    fill(ledger, ["a", "b"])
    fill(ledger, ["c"], number=2, row=replace(ROW, state=State.SKIPPED, reason="opted out"))
    fill(ledger, ["d"], incident="web1")
    with ledger.read() as connection:
        found = [(t.notice, t.state.value, t.reason, t.count) for t in tallies(connection, "pay7")]
        everything = tallies(connection)
    assert found == [("update:1", "pending", "", 2), ("update:2", "skipped", "opted out", 1)]
    assert len(everything) == 3
    assert everything[0].changed_at == NOW


def test_the_log_can_be_asked_for_some_states(ledger: Ledger) -> None:
    fill(ledger, ["a"])
    fill(ledger, ["b"], number=2, row=replace(ROW, state=State.SKIPPED))
    with ledger.read() as connection:
        assert [t.address for t in deliveries(connection, "pay7", [State.SKIPPED])] == ["b"]


def test_what_was_promised_is_kept_by_audience(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    with ledger.read() as connection:
        assert promised(connection, broadcast.id) == {"customers": WORDS.next_update_by}
