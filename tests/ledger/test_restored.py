"""What becomes of a ledger that is older than what was sent: all that it has open is in doubt."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select, update

from commcast.ledger.broadcasts import begin_freeze
from commcast.ledger.releases import read_releases
from commcast.ledger.resolutions import candidates
from commcast.ledger.store import Ledger
from commcast.ledger.tables import BroadcastState, State, broadcast, delivery
from commcast.ledger.unknowns import Which, acts, count_open, doubt_all_open, doubts
from commcast.model.release import ELSEWHERE
from tests.support.desk import NOW, ROW, claim, fill, states, yes_to

LATER = NOW + timedelta(hours=5)


def take(ledger: Ledger) -> int:
    with ledger.write() as connection:
        return doubt_all_open(connection, "dana", LATER)


def test_what_waits_is_held_or_claimed_becomes_unknown_and_what_is_over_stays(ledger: Ledger) -> None:
    claim(ledger, fill(ledger, ["claimed", "pending"]), 1)
    held = replace(ROW, state=State.HELD, reason="quiet hours", not_before=LATER)
    fill(ledger, ["held"], channel="sms", row=held)
    fill(ledger, ["skipped"], number=2, channel="sms", row=replace(ROW, state=State.SKIPPED))
    with ledger.read() as connection:
        assert count_open(connection) == 3
    assert take(ledger) == 3
    assert states(ledger) == {
        "claimed": "unknown",
        "pending": "unknown",
        "held": "unknown",
        "skipped": "skipped",
    }
    with ledger.read() as connection:
        assert [(act.what, act.by) for act in acts(connection, "pay7")] == [("restore", "dana")] * 3


def test_a_provider_is_asked_about_all_the_time_since_the_backup(ledger: Ledger) -> None:
    claim(ledger, fill(ledger, ["claimed", "pending"]), 1)
    take(ledger)
    with ledger.read() as connection:
        found = doubts(connection, Which("pay7"), ["", "fake"], after=0, limit=10)
    assert [(doubt.begun, doubt.ended) for doubt in found] == [(NOW, LATER)] * 2


def test_what_quiet_hours_held_has_no_words_that_could_be_sent_again(ledger: Ledger) -> None:
    fill(ledger, ["held"], channel="sms", row=replace(ROW, state=State.HELD, not_before=LATER))
    with ledger.write() as connection:
        connection.execute(update(delivery).values(composition=None))
    take(ledger)
    with ledger.read() as connection:
        (found,) = candidates(connection, Which("pay7"), LATER)
    assert found.unfit == "its words were never made"


def test_a_list_that_was_being_frozen_is_not_frozen_anew(ledger: Ledger) -> None:
    fill(ledger, ["a"], finish=False)
    take(ledger)
    assert states(ledger) == {"a": "unknown"}
    with ledger.write() as connection:
        state = connection.execute(select(broadcast.c.state)).scalar_one()
        assert state == BroadcastState.FROZEN
        again = {"incident": "pay7", "notice": "update:1", "number": 1, "channel": "email"}
        assert begin_freeze(connection, **again, owner="me", now=LATER)[1] is False  # type: ignore[arg-type]


def test_words_that_were_released_and_not_frozen_count_as_told_elsewhere(ledger: Ledger) -> None:
    fill(ledger, ["a"], status="investigating")
    with ledger.write() as connection:
        yes_to(connection, 2, "identified")
    take(ledger)
    with ledger.read() as connection:
        how = {number: release.how for number, release in read_releases(connection, "pay7").items()}
    assert how == {1: "yes", 2: ELSEWHERE}
