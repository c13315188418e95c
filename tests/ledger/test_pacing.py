"""A provider's limit holds over all processes on one ledger, and so does a pause that it asked for."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commcast.ledger.settle import SendLimit, close, closed_until, next_slot, pauses, reopen, room, take_slots
from commcast.ledger.store import Ledger
from commcast.model.message import OutcomeKind
from tests.support.desk import LEASE, NOW, OTHER, answer, claim, fill, said, states

SOON = timedelta(milliseconds=20)


def pace(per_second: float, batch: int = 1, provider: str = "smtp") -> SendLimit:
    return SendLimit(provider, per_second, batch, SOON)


def take(ledger: Ledger, limit: SendLimit, wanted: int, now: datetime) -> tuple[datetime, ...]:
    """Take what may be taken of `wanted` in one transaction, as a claim does."""
    with ledger.write() as connection:
        slot = next_slot(connection, limit, now)
        free = min(wanted, room(limit, slot, now))
        return take_slots(connection, limit, slot, free)


def test_slots_are_evenly_spaced_from_the_lead_on(ledger: Ledger) -> None:
    slots = take(ledger, pace(20), 4, NOW)
    assert slots == tuple(NOW + SOON + number * timedelta(seconds=0.05) for number in range(4))


def test_two_takers_never_share_a_slot(ledger: Ledger) -> None:
    first, second = take(ledger, pace(20), 4, NOW), take(ledger, pace(20), 4, NOW)
    assert not set(first) & set(second)
    assert second[0] - first[-1] == timedelta(seconds=0.05)


def test_nobody_takes_more_than_a_second_ahead(ledger: Ledger) -> None:
    assert len(take(ledger, pace(20), 500, NOW)) == 20
    assert take(ledger, pace(20), 500, NOW) == ()
    assert len(take(ledger, pace(20), 500, NOW + timedelta(seconds=0.5))) == 10


def test_less_than_one_a_second_is_possible(ledger: Ledger) -> None:
    assert len(take(ledger, pace(0.2), 5, NOW)) == 1
    assert take(ledger, pace(0.2), 5, NOW + timedelta(seconds=4)) == ()
    assert len(take(ledger, pace(0.2), 5, NOW + timedelta(seconds=5))) == 1


def test_a_batch_takes_one_slot_and_the_time_of_all_its_messages(ledger: Ledger) -> None:
    slots = take(ledger, pace(100, batch=5), 12, NOW)
    assert len(slots) == 3
    assert slots[1] - slots[0] == timedelta(seconds=0.05)


def test_each_provider_has_a_pace_of_its_own(ledger: Ledger) -> None:
    assert len(take(ledger, pace(20), 20, NOW)) == 20
    assert len(take(ledger, pace(20, provider="twilio"), 20, NOW)) == 20


def test_a_clock_that_was_set_back_does_not_hold_up_everybody(ledger: Ledger) -> None:
    take(ledger, pace(20), 5, NOW + timedelta(hours=3))
    assert take(ledger, pace(20), 1, NOW) == (NOW + SOON,)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    per_second=st.sampled_from([1.0, 7.0, 20.0, 33.3]),
    looks=st.lists(st.tuples(st.integers(0, 900), st.integers(1, 40)), min_size=2, max_size=25),
)
def test_no_rolling_second_holds_more_than_the_limit(
    ledger: Ledger, per_second: float, looks: list[tuple[int, int]]
) -> None:
    """Whoever asks, whenever, for however many; a slot may be used LATE seconds late."""
    now = NOW
    taken: list[datetime] = []
    with ledger.write() as connection:
        connection.exec_driver_sql("delete from pace")
    for milliseconds, wanted in looks:
        now += timedelta(milliseconds=milliseconds)
        taken += take(ledger, pace(per_second), wanted, now)
    assert taken == sorted(taken)
    for start in taken:
        within = [slot for slot in taken if start <= slot < start + timedelta(seconds=1)]
        assert len(within) <= -(-per_second // 1)


def test_a_closed_provider_is_claimed_for_by_nobody(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a", "b"])
    until = NOW + timedelta(seconds=90)
    with ledger.write() as connection:
        close(connection, "smtp", until)
    turn = claim(ledger, broadcast, limit=pace(0))
    assert (turn.claims, turn.closed_until, turn.next_try) == ((), until, until)
    # Another provider is not closed, and when the time has come neither is this one.
    assert claim(ledger, broadcast, count=1, limit=pace(0, provider="sendgrid"), owner=OTHER).claims
    assert claim(ledger, broadcast, now=until, limit=pace(0)).claims


def test_a_shorter_pause_does_not_end_a_longer_one(ledger: Ledger) -> None:
    long = NOW + timedelta(minutes=5)
    with ledger.write() as connection:
        close(connection, "smtp", long)
        close(connection, "smtp", NOW + timedelta(seconds=5))
        assert closed_until(connection, "smtp", NOW) == long
        assert closed_until(connection, "smtp", long) is None


def test_claims_come_with_their_slots_and_no_more_than_there_are(ledger: Ledger) -> None:
    broadcast = fill(ledger, [str(number) for number in range(50)])
    turn = claim(ledger, broadcast, count=50, limit=pace(20))
    assert len(turn.claims) == len(turn.slots) == 20
    again = claim(ledger, broadcast, count=50, limit=pace(20))
    assert again.claims == ()
    assert again.next_try is not None
    assert again.next_try > NOW


def test_who_takes_over_does_not_wait_for_the_first_providers_time(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    taken = claim(ledger, broadcast).claims[0]
    answer(ledger, broadcast, [said(taken.delivery, OutcomeKind.NOT_TAKEN, wait=LEASE)])
    assert states(ledger) == {"a": "pending"}
    assert claim(ledger, broadcast).claims == ()
    # Its own "later" is kept: a greylisted reader is not asked for again and again.
    assert claim(ledger, broadcast, limit=pace(0, provider="fake"), waits=False).claims == ()
    assert claim(ledger, broadcast, limit=pace(0, provider="sendgrid"), waits=False).claims


def test_a_wait_or_a_pause_that_no_clock_meant_is_void(ledger: Ledger) -> None:
    """Written while this machine's clock was a month ahead: a tick is not silent for a month."""
    broadcast = fill(ledger, ["a"])
    taken = claim(ledger, broadcast).claims[0]
    month = timedelta(days=30)
    answer(ledger, broadcast, [said(taken.delivery, OutcomeKind.NOT_TAKEN, wait=month)])
    with ledger.write() as connection:
        close(connection, "smtp", NOW + month)
        assert pauses(connection, NOW) == {}
    assert claim(ledger, broadcast, limit=pace(0)).claims


def test_a_person_lifts_a_pause(ledger: Ledger) -> None:
    with ledger.write() as connection:
        close(connection, "smtp", NOW + timedelta(minutes=50))
        assert pauses(connection, NOW) == {"smtp": NOW + timedelta(minutes=50)}
        reopen(connection)
        assert pauses(connection, NOW) == {}


@pytest.mark.parametrize("per_second", [20.0, 100.0])
def test_unused_slots_are_not_saved_up(ledger: Ledger, per_second: float) -> None:
    """After a quiet minute nobody may send a minute's worth at once."""
    take(ledger, pace(per_second), 1, NOW)
    later = NOW + timedelta(minutes=1)
    slots = take(ledger, pace(per_second), 5, later)
    assert slots[0] >= later
    assert slots[-1] - slots[0] == 4 * timedelta(seconds=1 / per_second)
