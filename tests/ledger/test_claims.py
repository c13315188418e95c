"""Claims: one owner a delivery, settled by that owner alone, and never back from unknown."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, text, update
from sqlalchemy.exc import IntegrityError

from commcast.ledger import tables as schema
from commcast.ledger.broadcasts import (
    Broadcast,
    FrozenRow,
    add_composition,
    add_rows,
    held_rows,
    open_broadcasts,
)
from commcast.ledger.claims import planned, waiting
from commcast.ledger.history import deliveries
from commcast.ledger.releases import lift_stop, stop_incident, unfinished_incidents
from commcast.ledger.settle import NO_ANSWER, SendLimit, settle, settle_lost, suppress_refused
from commcast.ledger.store import Ledger, open_ledger
from commcast.ledger.suppressions import list_suppressions, suppress
from commcast.ledger.tables import ALL_INCIDENTS, State, stamp
from commcast.model.message import OutcomeKind
from tests.support.desk import (
    DESK,
    LEASE,
    ME,
    NOW,
    OTHER,
    ROW,
    WORDS,
    answer,
    claim,
    fill,
    said,
    states,
    told,
)

DEAD = "elsewhere|boot|pid:[1]|12|99"


def test_what_one_process_claimed_no_other_can(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a", "b", "c"])
    mine = claim(ledger, broadcast, 2)
    second = open_ledger(ledger.path, DESK)
    theirs = claim(second, broadcast, 10, owner=OTHER)
    second.close()
    assert [c.key for c in mine.claims] == ["a", "b"]
    assert [c.key for c in theirs.claims] == ["c"]
    assert claim(ledger, broadcast).claims == ()


def test_a_claim_that_lost_the_race_takes_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a database lets two look at the same candidates, the update itself must see who was first."""
    from commcast.ledger import claims

    broadcast = fill(ledger, ["a"])
    taker = claims._Taker(ME, LEASE, NOW)
    with ledger.read() as connection:
        ((_, _, _, *fields),) = claims._candidates(connection, broadcast.id, 9, taker)
    seen = claims.Claim(*fields)
    assert len(claim(ledger, broadcast, owner=OTHER).claims) == 1
    with ledger.write() as connection:
        assert claims._take(connection, [seen], taker) == ()
    answer(ledger, broadcast, [said(seen.delivery, OutcomeKind.ACCEPTED)], owner=OTHER)
    assert states(ledger) == {"a": "accepted"}


def test_a_skip_that_lost_the_race_changes_nothing(ledger: Ledger) -> None:
    from commcast.ledger import claims

    broadcast = fill(ledger, ["a"])
    taken = claim(ledger, broadcast).claims[0]
    with ledger.write() as connection:
        claims._skip(connection, [taken.delivery], "opted out", NOW)
    assert states(ledger) == {"a": "claimed"}


def test_a_claim_carries_all_that_a_message_needs(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    found = claim(ledger, broadcast).claims[0]
    assert (found.channel, found.key, found.address, found.notice) == ("email", "a", "a", "update:1")
    assert (found.recipient, found.digest, found.attempts) == ({"name": "Ann"}, "d", 1)


def test_nothing_is_claimed_while_the_list_is_still_going_in(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"], finish=False)
    assert claim(ledger, broadcast).claims == ()


@pytest.mark.parametrize("kind", [OutcomeKind.ACCEPTED, OutcomeKind.REJECTED, OutcomeKind.UNKNOWN])
def test_an_answer_settles_a_claim_with_its_reason_and_provider(ledger: Ledger, kind: OutcomeKind) -> None:
    broadcast = fill(ledger, ["a"])
    mine = claim(ledger, broadcast).claims[0]
    answer(ledger, broadcast, [said(mine.delivery, kind)])
    row = told(ledger)["a"]
    assert (row.state.value, row.reason, row.provider, row.provider_id) == (
        kind.value,
        f"said {kind}",
        "fake",
        "its-id",
    )


def test_only_the_owner_of_a_claim_settles_it(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    mine = claim(ledger, broadcast).claims[0]
    for kind in OutcomeKind:
        answer(ledger, broadcast, [said(mine.delivery, kind)], owner=OTHER)
    assert states(ledger) == {"a": "claimed"}


def test_what_was_not_taken_waits_for_its_time(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    mine = claim(ledger, broadcast).claims[0]
    later = timedelta(minutes=5)
    answer(ledger, broadcast, [said(mine.delivery, OutcomeKind.NOT_TAKEN, wait=later)])
    assert states(ledger) == {"a": "pending"}
    early = claim(ledger, broadcast, now=NOW + later - timedelta(microseconds=1))
    assert early.claims == ()
    assert early.next_try == NOW + later
    again = claim(ledger, broadcast, now=NOW + later)
    assert [c.attempts for c in again.claims] == [2]


def test_unknown_never_goes_back_to_pending(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    mine = claim(ledger, broadcast).claims[0]
    answer(ledger, broadcast, [said(mine.delivery, OutcomeKind.UNKNOWN)])
    answer(ledger, broadcast, [said(mine.delivery, OutcomeKind.NOT_TAKEN)])
    assert states(ledger) == {"a": "unknown"}
    assert claim(ledger, broadcast).claims == ()


@pytest.mark.parametrize("kind", [OutcomeKind.ACCEPTED, OutcomeKind.REJECTED])
def test_a_late_answer_settles_what_another_called_unknown(ledger: Ledger, kind: OutcomeKind) -> None:
    broadcast = fill(ledger, ["a"])
    mine = claim(ledger, broadcast).claims[0]
    with ledger.write() as connection:
        assert settle_lost(connection, NOW + LEASE) == 1
    assert states(ledger) == {"a": "unknown"}
    answer(ledger, broadcast, [said(mine.delivery, kind)])
    assert states(ledger) == {"a": kind.value}


@pytest.mark.parametrize("first", [OutcomeKind.ACCEPTED, OutcomeKind.REJECTED])
@pytest.mark.parametrize("second", list(OutcomeKind))
def test_the_first_answer_stands(ledger: Ledger, first: OutcomeKind, second: OutcomeKind) -> None:
    broadcast = fill(ledger, ["a"])
    mine = claim(ledger, broadcast).claims[0]
    answer(ledger, broadcast, [said(mine.delivery, first)])
    answer(ledger, broadcast, [said(mine.delivery, second)])
    assert states(ledger) == {"a": first.value}


def test_a_claim_is_its_owners_until_the_lease_ends(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    claim(ledger, broadcast)
    with ledger.write() as connection:
        assert settle_lost(connection, NOW + LEASE - timedelta(microseconds=1)) == 0
    assert states(ledger) == {"a": "claimed"}
    with ledger.write() as connection:
        assert settle_lost(connection, NOW + LEASE) == 1
    assert told(ledger)["a"].reason == NO_ANSWER
    assert states(ledger) == {"a": "unknown"}


@pytest.mark.parametrize("kind", list(OutcomeKind))
def test_what_was_answered_is_not_lost_when_its_lease_ends(ledger: Ledger, kind: OutcomeKind) -> None:
    broadcast = fill(ledger, ["a"])
    mine = claim(ledger, broadcast).claims[0]
    answer(ledger, broadcast, [said(mine.delivery, kind)])
    before = told(ledger)
    with ledger.write() as connection:
        assert settle_lost(connection, NOW + LEASE) == 0
    assert told(ledger) == before


def test_a_dead_owners_claims_end_at_once_and_nobody_elses(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from commcast.ledger import settle as settling

    broadcast = fill(ledger, ["a", "b", "c"])
    claim(ledger, broadcast, 1, owner=DEAD)
    claim(ledger, broadcast, 1)
    monkeypatch.setattr(settling, "is_dead", lambda owner: owner == DEAD)
    with ledger.write() as connection:
        assert settle_lost(connection, NOW) == 1
    assert states(ledger) == {"a": "unknown", "b": "claimed", "c": "pending"}


@pytest.mark.parametrize("stopped", ["pay7", ALL_INCIDENTS])
def test_a_stop_holds_at_the_very_next_claim(ledger: Ledger, stopped: str) -> None:
    broadcast = fill(ledger, ["a", "b"])
    first = claim(ledger, broadcast, 1).claims[0]
    with ledger.write() as connection:
        stop_incident(connection, stopped, "dana", NOW)
    turn = answer(ledger, broadcast, [said(first.delivery, OutcomeKind.ACCEPTED)], 1)
    assert (turn.claims, turn.stopped_by) == ((), "dana")
    assert states(ledger) == {"a": "accepted", "b": "pending"}
    with ledger.write() as connection:
        lift_stop(connection, stopped, "dana", NOW)
    assert len(claim(ledger, broadcast).claims) == 1


def test_another_incidents_stop_is_no_matter(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    with ledger.write() as connection:
        stop_incident(connection, "web1", "dana", NOW)
    assert len(claim(ledger, broadcast).claims) == 1


def test_an_opt_out_written_after_the_freeze_is_heeded_at_the_claim(ledger: Ledger) -> None:
    """Also one that did not touch the rows: the provider's own, or another tool's."""
    broadcast = fill(ledger, ["a", "b"])
    with ledger.write() as connection:
        row = {"channel": "email", "key": "a", "reason": "asked", "by": "x", "at": stamp(NOW)}
        connection.execute(schema.suppression.insert(), [row])
    assert [c.key for c in claim(ledger, broadcast).claims] == ["b"]
    assert told(ledger)["a"].reason == "opted out"
    assert states(ledger)["a"] == "skipped"


def test_an_opt_out_counts_on_its_own_channel_only(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    with ledger.write() as connection:
        suppress(connection, "sms", "a", reason="asked", by="x", now=NOW)
    assert len(claim(ledger, broadcast).claims) == 1


def test_opted_out_people_do_not_end_the_claims_of_those_behind_them(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a", "b", "c"])
    with ledger.write() as connection:
        for key in ("a", "b"):
            row = {"channel": "email", "key": key, "reason": "asked", "by": "x", "at": stamp(NOW)}
            connection.execute(schema.suppression.insert(), [row])
    assert [c.key for c in claim(ledger, broadcast, 1).claims] == ["c"]


def test_words_whose_promise_has_passed_are_not_handed_over(ledger: Ledger) -> None:
    by = NOW + timedelta(minutes=20)
    broadcast = fill(ledger, ["a", "b"], row=replace(ROW, expires_at=by))
    assert len(claim(ledger, broadcast, 1, now=by - timedelta(microseconds=1)).claims) == 1
    assert claim(ledger, broadcast, now=by).claims == ()
    assert told(ledger)["b"].reason == "expired: its promise had passed"


def test_older_words_that_were_not_taken_do_not_follow_newer_ones(ledger: Ledger) -> None:
    first = fill(ledger, ["a", "b"])
    mine = claim(ledger, first).claims
    fill(ledger, ["a"], number=2)
    answer(ledger, first, [said(each.delivery, OutcomeKind.NOT_TAKEN) for each in mine])
    again = claim(ledger, first)
    assert [c.key for c in again.claims] == ["b"]
    with ledger.read() as connection:
        found = [(t.address, t.notice, t.state.value, t.reason) for t in deliveries(connection, "pay7")]
    assert found[0] == ("a", "update:1", "skipped", "superseded")


def test_newer_words_that_are_not_ready_or_go_nowhere_overtake_nothing(ledger: Ledger) -> None:
    first = fill(ledger, ["a"])
    mine = claim(ledger, first).claims[0]
    fill(ledger, ["a"], number=2, row=replace(ROW, state=State.SKIPPED))
    fill(ledger, ["a"], number=3, finish=False)
    fill(ledger, ["a"], number=4, channel="sms")
    fill(ledger, ["a"], number=5, incident="web1")
    answer(ledger, first, [said(mine.delivery, OutcomeKind.NOT_TAKEN)])
    assert len(claim(ledger, first).claims) == 1


def test_who_a_provider_names_dead_is_suppressed(ledger: Ledger) -> None:
    mine = claim(ledger, fill(ledger, ["a"])).claims[0]
    with ledger.write() as connection:
        suppress_refused(connection, [said(mine.delivery, OutcomeKind.REJECTED).outcome], NOW)
        found = list_suppressions(connection)
    assert [(s.channel, s.key, s.by) for s in found] == [("email", "a", "provider")]


def test_no_answers_change_nothing(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    with ledger.write() as connection:
        settle(connection, [], owner=ME, now=NOW)
    assert states(ledger) == {"a": "pending"}
    assert answer(ledger, broadcast, [], 0).claims == ()


def test_what_waits_is_counted_with_its_first_time(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a", "b", "c"])
    mine = claim(ledger, broadcast, 2).claims
    for each, minutes in zip(mine, (7, 5), strict=True):
        wait = timedelta(minutes=minutes)
        answer(ledger, broadcast, [said(each.delivery, OutcomeKind.NOT_TAKEN, wait=wait)])
    with ledger.read() as connection:
        assert waiting(connection, broadcast.id) == (3, NOW + timedelta(minutes=5))


def test_the_key_refuses_a_second_row_for_one_notice_channel_and_address(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"], finish=False)
    with ledger.write() as connection:
        words = add_composition(connection, broadcast.id, WORDS)
        again: FrozenRow = replace(ROW, key="a", address="second", composition=words)
        add_rows(connection, broadcast, [again], NOW)
    assert list(told(ledger)) == ["a"]


def test_the_database_itself_refuses_a_second_row(ledger: Ledger) -> None:
    fill(ledger, ["a"])
    columns = (
        "broadcast, incident, notice, channel, key, address, audience, composition, recipient, digest, "
        "state, changed_at"
    )
    with pytest.raises(IntegrityError), ledger.write() as connection:
        connection.execute(text(f"insert into delivery ({columns}) select {columns} from delivery"))  # noqa: S608
    assert states(ledger) == {"a": "pending"}


def test_the_database_itself_refuses_a_state_there_is_not(ledger: Ledger) -> None:
    fill(ledger, ["a"])
    with pytest.raises(IntegrityError), ledger.write() as connection:
        connection.execute(update(schema.delivery).values(state="sent"))


def test_a_transaction_that_fails_leaves_no_claim(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    with pytest.raises(RuntimeError), ledger.write() as connection:
        from commcast.ledger.claims import settle_and_claim

        settle_and_claim(connection, broadcast.id, [], count=1, owner=ME, lease=LEASE, now=NOW)
        raise RuntimeError
    assert states(ledger) == {"a": "pending"}
    with ledger.read() as connection:
        assert connection.execute(select(schema.delivery.c.attempts)).scalar_one() == 0


def test_states_in_code_and_table_are_the_same(ledger: Ledger) -> None:
    broadcast = fill(ledger, [state.value for state in State])
    with ledger.write() as connection:
        for state in State:
            connection.execute(
                update(schema.delivery)
                .where(schema.delivery.c.broadcast == broadcast.id, schema.delivery.c.key == state.value)
                .values(state=state)
            )
    assert states(ledger) == {state.value: state.value for state in State}


# --- sent again by a person


def doubt(ledger: Ledger, address: str = "a") -> int:
    """Let a lost delivery go once more, as `resend` does; return its number."""
    with ledger.write() as connection:
        row = connection.execute(
            update(schema.delivery)
            .where(schema.delivery.c.address == address, schema.delivery.c.state == State.UNKNOWN)
            .values(state=State.PENDING, doubted=1)
            .returning(schema.delivery.c.id)
        )
        return int(row.scalar_one())


def lost(ledger: Ledger, broadcast: Broadcast) -> None:
    """Lose the answer of whatever can be claimed."""
    taken = claim(ledger, broadcast).claims
    answer(ledger, broadcast, [said(each.delivery, OutcomeKind.UNKNOWN) for each in taken])


def test_a_second_copy_that_is_refused_does_not_say_that_the_first_was(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    lost(ledger, broadcast)
    number = doubt(ledger)
    assert claim(ledger, broadcast).claims
    answer(ledger, broadcast, [said(number, OutcomeKind.REJECTED)])
    assert states(ledger) == {"a": "unknown"}


def test_a_first_answer_that_comes_after_all_keeps_the_second_copy_back(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    lost(ledger, broadcast)
    number = doubt(ledger)
    answer(ledger, broadcast, [said(number, OutcomeKind.ACCEPTED)])
    assert states(ledger) == {"a": "accepted"}
    assert claim(ledger, broadcast).claims == ()


def test_who_waits_for_a_second_copy_hears_the_end(ledger: Ledger) -> None:
    """They may have heard of the beginning: the end is owed to them, and the second copy is not."""
    first = fill(ledger, ["a"], status="investigating")
    lost(ledger, first)
    doubt(ledger)
    fill(ledger, ["a"], number=2, status="resolved")
    with ledger.read() as connection:
        found = [(row.notice, row.state.value) for row in deliveries(connection, "pay7")]
    assert found == [("update:1", "unknown"), ("update:2", "pending")]


def test_a_claim_says_who_is_handed_it(ledger: Ledger) -> None:
    """Killed now, the delivery is asked for where it went, not where it had been before."""
    broadcast = fill(ledger, ["a"])
    first = claim(ledger, broadcast, limit=SendLimit("sendgrid", 0, 1, timedelta())).claims[0]
    answer(ledger, broadcast, [said(first.delivery, OutcomeKind.NOT_TAKEN)])
    claim(ledger, broadcast, limit=SendLimit("smtp", 0, 1, timedelta()))
    assert told(ledger)["a"].provider == "smtp"


def test_what_a_run_asks_again_and_again_is_found_by_an_index(ledger: Ledger) -> None:
    """A million rows that are done cost nothing: no statement reads the whole table."""
    from commcast.ledger import claims
    from commcast.ledger import settle as settling

    asked: list[tuple[str, Any]] = []

    def keep(*call: Any) -> None:
        asked.append((call[2], call[3]))

    event.listen(ledger.engine, "before_cursor_execute", keep)
    broadcast = fill(ledger, ["a"])
    asked.clear()
    mine = claim(ledger, broadcast).claims[0]
    answer(ledger, broadcast, [said(mine.delivery, OutcomeKind.NOT_TAKEN)])
    with ledger.write() as connection:
        settle_lost(connection, NOW)
        waiting(connection, broadcast.id)
        open_broadcasts(connection, "pay7")
        held_rows(connection, "pay7", NOW)
        unfinished_incidents(connection)
        claims._RIPE_FOR_ANOTHER.rows(connection, broadcast=broadcast.id, now=stamp(NOW), most=1)
        claims._MINE.run(connection, ids="[1]", by_owner=ME)
        settling.suppress_refused(connection, [said(mine.delivery, OutcomeKind.REJECTED).outcome], NOW)
    with ledger.read() as connection:
        plans = [
            step.detail
            for sql, values in asked
            if sql.lower().startswith(("select", "update"))
            for step in connection.exec_driver_sql(f"explain query plan {sql}", values)
        ]
    assert len(plans) > 15
    assert [plan for plan in plans if plan.startswith("SCAN delivery")] == []


def test_what_waits_by_plan_waits_for_another_provider_too(ledger: Ledger) -> None:
    """That one was told "later" is not another's business; that others hear first is everybody's."""
    later = NOW + timedelta(minutes=5)
    broadcast = fill(ledger, ["a", "b"], row=replace(ROW, not_before=later))
    with ledger.read() as connection:
        assert planned(connection, broadcast.id, NOW) == (2, later)
    limit = SendLimit("fake", 0, 1, timedelta())
    assert claim(ledger, broadcast, limit=limit, waits=False).claims == ()
    (first, _) = claim(ledger, broadcast, now=later, limit=limit, waits=False).claims
    answer(ledger, broadcast, [said(first.delivery, OutcomeKind.NOT_TAKEN, wait=timedelta(minutes=20))])
    with ledger.read() as connection:
        assert planned(connection, broadcast.id, NOW) == (0, None), "this one waits for a provider"
