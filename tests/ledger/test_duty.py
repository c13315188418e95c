"""Hand-overs in the ledger."""

from __future__ import annotations

from datetime import timedelta

from commcast.ledger.oncall import handovers, handovers_of_all, offer, take
from commcast.ledger.store import Ledger
from commcast.model.oncall import Handover
from tests.support.desk import NOW

LATER = NOW + timedelta(minutes=3)


def test_an_offer_is_taken_by_whom_it_was_made_to(ledger: Ledger) -> None:
    with ledger.write() as connection:
        offer(connection, "pay7", "sam", by="dana", now=NOW, note="db-eu-3 is back")
        assert handovers(connection, "pay7") == (Handover("sam", "dana", NOW, note="db-eu-3 is back"),)
        assert take(connection, "pay7", "sam", by="sam", now=LATER)
        taken = Handover("sam", "dana", NOW, "sam", LATER, "db-eu-3 is back")
        assert handovers(connection, "pay7") == (taken,)
        assert handovers(connection, "dns2") == ()


def test_what_was_not_offered_may_be_taken_all_the_same(ledger: Ledger) -> None:
    with ledger.write() as connection:
        offer(connection, "pay7", "sam", by="dana", now=NOW)
        assert not take(connection, "pay7", "kim", by="kim", now=LATER)
        assert handovers_of_all(connection) == {
            "pay7": (Handover("sam", "dana", NOW), Handover("kim", "", LATER, "kim", LATER))
        }


def test_only_the_newest_offer_can_be_taken(ledger: Ledger) -> None:
    with ledger.write() as connection:
        offer(connection, "pay7", "sam", by="dana", now=NOW)
        offer(connection, "pay7", "kim", by="dana", now=NOW)
        assert not take(connection, "pay7", "sam", by="sam", now=LATER)
        assert [each.person for each in handovers(connection, "pay7") if each.taken_at] == ["sam"]
