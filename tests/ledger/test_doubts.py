"""Lost answers in the ledger: only what still is unknown changes, once, and each change says who made it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from commcast.errors import DecisionNeeded
from commcast.ledger import tables as schema
from commcast.ledger.broadcasts import Broadcast
from commcast.ledger.releases import stop_incident
from commcast.ledger.resolutions import (
    ANOTHERS,
    Candidate,
    Finding,
    candidates,
    record_findings,
    send_again,
    settle_by_hand,
    states_of,
)
from commcast.ledger.settle import settle_lost
from commcast.ledger.store import Ledger
from commcast.ledger.suppressions import erase, suppress
from commcast.ledger.tables import ALL_INCIDENTS, State, stamp
from commcast.ledger.unknowns import Act, Doubt, Which, acts, doubt_groups, doubts, ids_of_others
from commcast.model.message import OutcomeKind
from tests.support.desk import LEASE, ME, NOW, OTHER, ROW, answer, claim, fill, said, states, told, yes_to

LATER = NOW + timedelta(minutes=40)
ALL = Which()


def lost(ledger: Ledger, *keys: str, number: int = 1, channel: str = "email") -> Broadcast:
    """Freeze an update to these addresses; a run claims it and dies."""
    broadcast = fill(ledger, keys, number=number, channel=channel)
    claim(ledger, broadcast, len(keys))
    with ledger.write() as connection:
        assert settle_lost(connection, LATER) == len(keys)
    return broadcast


def unknown(ledger: Ledger, *providers: str, which: Which = ALL) -> dict[str, Doubt]:
    with ledger.read() as connection:
        found = doubts(connection, which, providers or ("",), after=0, limit=100)
    return {doubt.claim.key: doubt for doubt in found}


def record(ledger: Ledger, *findings: Finding) -> list[tuple[State, str]]:
    with ledger.write() as connection:
        return record_findings(connection, findings, LATER)


def accepted(doubt: Doubt, provider_id: str = "SM1") -> Finding:
    return Finding(doubt, State.ACCEPTED, "found at twilio", "twilio", provider_id)


def nothing(doubt: Doubt, detail: str = "twilio has no such message") -> Finding:
    return Finding(doubt, State.UNKNOWN, detail, "twilio")


def done(ledger: Ledger) -> list[Act]:
    with ledger.read() as connection:
        return list(acts(connection, "pay7"))


def offered(ledger: Ledger, which: Which = ALL) -> dict[str, Candidate]:
    with ledger.read() as connection:
        return {each.address: each for each in candidates(connection, which, LATER)}


def again(ledger: Ledger, *chosen: Candidate) -> frozenset[int]:
    with ledger.write() as connection:
        return send_again(connection, chosen, by="dana", now=LATER)


def by_hand(ledger: Ledger, *chosen: Candidate, state: State = State.ACCEPTED) -> frozenset[int]:
    with ledger.write() as connection:
        return settle_by_hand(connection, chosen, state, because="the log", by="dana", now=LATER)


def doubted(ledger: Ledger, key: str) -> int:
    with ledger.read() as connection:
        row = connection.execute(select(schema.delivery.c.doubted).where(schema.delivery.c.key == key))
        return int(row.scalar_one())


def test_a_dead_runs_hand_over_lies_between_its_claim_and_its_lease(ledger: Ledger) -> None:
    lost(ledger, "a")
    doubt = unknown(ledger)["a"]
    assert (doubt.begun, doubt.ended) == (NOW, NOW + LEASE)
    assert (doubt.provider, doubt.claim.attempts, doubt.claim.recipient) == ("", 1, {"name": "Ann"})


def test_a_lost_answer_ends_when_it_was_settled(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    mine = claim(ledger, broadcast).claims[0]
    soon = NOW + timedelta(seconds=30)
    answer(ledger, broadcast, [said(mine.delivery, OutcomeKind.UNKNOWN)], now=soon)
    doubt = unknown(ledger, "fake")["a"]
    assert (doubt.begun, doubt.ended, doubt.provider) == (NOW, soon, "fake")


def test_what_went_twice_may_have_arrived_since_it_was_frozen(ledger: Ledger) -> None:
    broadcast = lost(ledger, "a")
    again(ledger, offered(ledger)["a"])
    much_later = LATER + timedelta(hours=1)
    claim(ledger, broadcast, now=much_later)
    with ledger.write() as connection:
        settle_lost(connection, much_later + LEASE)
    doubt = unknown(ledger)["a"]
    assert (doubt.begun, doubt.ended) == (NOW, much_later + LEASE)


def test_a_clock_set_back_leaves_no_time_that_ends_before_it_begins(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    mine = claim(ledger, broadcast).claims[0]
    before = NOW - timedelta(hours=1)
    answer(ledger, broadcast, [said(mine.delivery, OutcomeKind.UNKNOWN)], now=before)
    doubt = unknown(ledger, "fake")["a"]
    assert doubt.begun == doubt.ended == NOW


def test_only_unknown_ones_are_found_in_chunks_and_by_what_is_asked(ledger: Ledger) -> None:
    lost(ledger, "a", "b", "c")
    lost(ledger, "+49", channel="sms")
    fill(ledger, ["d"], number=2)
    with ledger.read() as connection:
        first = doubts(connection, Which(channel="email"), [""], after=0, limit=2)
        rest = doubts(connection, Which(channel="email"), [""], after=first[-1].claim.delivery, limit=2)
        assert [d.claim.key for d in (*first, *rest)] == ["a", "b", "c"]
        assert doubts(connection, ALL, ["twilio"], after=0, limit=9) == ()
        assert doubt_groups(connection, ALL) == {("pay7", "email", ""): 3, ("pay7", "sms", ""): 1}
        assert doubt_groups(connection, Which("pay7", "email", "b")) == {("pay7", "email", ""): 1}
        assert doubt_groups(connection, Which("web1")) == {}


def test_what_is_proved_is_settled_with_its_proof(ledger: Ledger) -> None:
    lost(ledger, "a", "b")
    found = unknown(ledger)
    refused = Finding(found["b"], State.REJECTED, "twilio did not send it", "twilio", "SM2")
    assert record(ledger, accepted(found["a"]), refused) == [(State.ACCEPTED, ""), (State.REJECTED, "")]
    a, b = told(ledger)["a"], told(ledger)["b"]
    assert (a.state, a.reason, a.provider, a.provider_id) == ("accepted", "found at twilio", "twilio", "SM1")
    assert (b.state, b.reason, b.provider_id) == ("rejected", "twilio did not send it", "SM2")
    assert [(x.address, x.what, x.became, x.by, x.at) for x in done(ledger)] == [
        ("a", "reconcile", "accepted", "twilio", LATER),
        ("b", "reconcile", "rejected", "twilio", LATER),
    ]


def test_what_is_not_proved_stays_unknown_and_says_what_was_seen_and_known(ledger: Ledger) -> None:
    lost(ledger, "a")
    before = told(ledger)["a"]
    assert record(ledger, nothing(unknown(ledger)["a"])) == [(State.UNKNOWN, "twilio has no such message")]
    after = told(ledger)["a"]
    assert after.reason == f"twilio has no such message; at first: {before.reason}"
    # When it was handed over must not move: the next look would seek it at the wrong time.
    assert (after.state, after.changed_at) == ("unknown", before.changed_at)


def test_the_same_sight_again_is_no_news(ledger: Ledger) -> None:
    lost(ledger, "a")
    for _ in range(3):
        record(ledger, nothing(unknown(ledger)["a"]))
    assert len(done(ledger)) == 1
    first = told(ledger)["a"].reason
    record(ledger, nothing(unknown(ledger)["a"], "twilio has others"))
    assert told(ledger)["a"].reason == first.replace("no such message", "others").replace(
        "twilio has", "twilio has"
    )
    assert [act.detail for act in done(ledger)] == ["twilio has no such message", "twilio has others"]


def test_a_sight_is_not_taken_for_what_was_known_at_first(ledger: Ledger) -> None:
    lost(ledger, "a")
    with ledger.write() as connection:
        connection.execute(update(schema.delivery).values(reason=""))
    record(ledger, nothing(unknown(ledger)["a"], "one"))
    record(ledger, nothing(unknown(ledger)["a"], "two"))
    assert told(ledger)["a"].reason == "two"


@pytest.mark.parametrize("late", [OutcomeKind.ACCEPTED, OutcomeKind.REJECTED])
def test_a_late_answer_that_comes_first_stands(ledger: Ledger, late: OutcomeKind) -> None:
    broadcast = lost(ledger, "a")
    doubt = unknown(ledger)["a"]
    answer(ledger, broadcast, [said(doubt.claim.delivery, late)])
    other = State.REJECTED if late is OutcomeKind.ACCEPTED else State.ACCEPTED
    assert record(ledger, replace(accepted(doubt), state=other))[0][0] == late.value
    assert record(ledger, nothing(doubt))[0][0] == late.value
    assert told(ledger)["a"].reason == f"said {late}"
    assert done(ledger) == []


@pytest.mark.parametrize("late", list(OutcomeKind))
def test_a_late_answer_that_comes_second_changes_nothing(ledger: Ledger, late: OutcomeKind) -> None:
    broadcast = lost(ledger, "a")
    doubt = unknown(ledger)["a"]
    record(ledger, accepted(doubt))
    answer(ledger, broadcast, [said(doubt.claim.delivery, late)])
    assert (told(ledger)["a"].state, told(ledger)["a"].provider_id) == ("accepted", "SM1")


def test_a_late_answer_settles_what_was_looked_for_in_vain(ledger: Ledger) -> None:
    broadcast = lost(ledger, "a")
    doubt = unknown(ledger)["a"]
    record(ledger, nothing(doubt))
    answer(ledger, broadcast, [said(doubt.claim.delivery, OutcomeKind.ACCEPTED)])
    assert states(ledger) == {"a": "accepted"}


def test_what_was_sent_again_since_the_look_is_another_hand_over(ledger: Ledger) -> None:
    broadcast = lost(ledger, "a")
    seen = unknown(ledger)["a"]
    again(ledger, offered(ledger)["a"])
    assert record(ledger, replace(accepted(seen), state=State.REJECTED))[0][0] is State.PENDING
    claim(ledger, broadcast, now=LATER)
    with ledger.write() as connection:
        settle_lost(connection, LATER + LEASE)
    refused = replace(accepted(seen), state=State.REJECTED)
    assert record(ledger, refused, nothing(seen))[0][0] is State.UNKNOWN
    assert told(ledger)["a"].reason == "the run ended before the provider answered"


def test_one_message_never_stands_for_two(ledger: Ledger) -> None:
    lost(ledger, "a")
    lost(ledger, "a", number=2)
    with ledger.read() as connection:
        first, second = doubts(connection, ALL, [""], after=0, limit=9)
    assert record(ledger, accepted(first), accepted(second)) == [
        (State.ACCEPTED, ""),
        (State.UNKNOWN, ANOTHERS),
    ]
    with ledger.read() as connection:
        assert ids_of_others(connection, "email", ["a"], [second.claim.delivery]) == {"SM1"}
        assert ids_of_others(connection, "email", ["a"], [first.claim.delivery]) == set()
        assert ids_of_others(connection, "sms", ["a"], []) == set()
        assert ids_of_others(connection, "email", ["b"], []) == set()


def test_an_id_of_a_whole_request_stands_for_each_of_its_readers(ledger: Ledger) -> None:
    lost(ledger, "a", "b")
    found = unknown(ledger)
    record(ledger, accepted(found["a"], "request-1"), accepted(found["b"], "request-1"))
    assert states(ledger) == {"a": "accepted", "b": "accepted"}


def test_two_without_an_id_do_not_get_into_each_others_way(ledger: Ledger) -> None:
    lost(ledger, "a")
    lost(ledger, "a", number=2)
    with ledger.read() as connection:
        found = doubts(connection, ALL, [""], after=0, limit=9)
    assert {state for state, _ in record(ledger, *(accepted(doubt, "") for doubt in found))} == {"accepted"}


def test_somebody_erased_during_the_look_stays_erased(ledger: Ledger) -> None:
    lost(ledger, "a", "b")
    found = unknown(ledger)
    with ledger.write() as connection:
        for key in ("a", "b"):
            erase(connection, ledger.secret, "email", key, by="dana", now=LATER)
    record(ledger, accepted(found["a"], "a.eml"), nothing(found["b"], "seen: b"))
    with ledger.read() as connection:
        rows = connection.execute(select(schema.delivery).order_by(schema.delivery.c.id)).all()
    assert [(row.state, row.provider_id, row.address) for row in rows] == [
        ("accepted", "", ""),
        ("unknown", "", ""),
    ]
    assert "seen" not in rows[1].reason
    assert rows[0].reason == ""


def test_sent_again_it_waits_in_doubt_with_who_said_so(ledger: Ledger) -> None:
    broadcast = lost(ledger, "a")
    chosen = offered(ledger)["a"]
    assert again(ledger, chosen) == {chosen.delivery}
    assert (states(ledger), doubted(ledger, "a")) == ({"a": "pending"}, 1)
    assert [(act.what, act.became, act.by) for act in done(ledger)] == [("resend", "pending", "dana")]
    assert [c.attempts for c in claim(ledger, broadcast, now=LATER).claims] == [2]


def test_a_wait_for_the_provider_is_over_when_a_person_sends_again(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a"])
    mine = claim(ledger, broadcast).claims[0]
    wait = timedelta(hours=5)
    answer(ledger, broadcast, [said(mine.delivery, OutcomeKind.UNKNOWN, wait=wait)])
    again(ledger, offered(ledger)["a"])
    assert len(claim(ledger, broadcast, now=LATER).claims) == 1


def test_given_up_after_a_person_sent_it_again_it_is_unknown_again(ledger: Ledger) -> None:
    broadcast = lost(ledger, "a")
    again(ledger, offered(ledger)["a"])
    with ledger.write() as connection:
        suppress(connection, "email", "a", reason="asked", by="x", now=LATER)
    assert claim(ledger, broadcast, now=LATER).claims == ()
    assert states(ledger) == {"a": "unknown"}


def test_a_late_answer_does_not_undo_a_persons_decision(ledger: Ledger) -> None:
    broadcast = lost(ledger, "a")
    chosen = offered(ledger)["a"]
    again(ledger, chosen)
    answer(ledger, broadcast, [said(chosen.delivery, OutcomeKind.NOT_TAKEN)])
    assert states(ledger) == {"a": "pending"}


@pytest.mark.parametrize("decide", [again, by_hand])
def test_who_was_answered_meanwhile_is_not_decided_about(ledger: Ledger, decide: object) -> None:
    broadcast = lost(ledger, "a", "b")
    chosen = offered(ledger)
    answer(ledger, broadcast, [said(chosen["a"].delivery, OutcomeKind.ACCEPTED)])
    assert decide(ledger, *chosen.values()) == {chosen["b"].delivery}  # type: ignore[operator]
    assert told(ledger)["a"].reason == "said accepted"
    assert [act.address for act in done(ledger)] == ["b"]


@pytest.mark.parametrize("decide", [again, by_hand])
def test_who_was_sent_to_again_meanwhile_is_not_decided_about(ledger: Ledger, decide: object) -> None:
    broadcast = lost(ledger, "a")
    seen = offered(ledger)["a"]
    again(ledger, seen)
    claim(ledger, broadcast, now=LATER)
    with ledger.write() as connection:
        settle_lost(connection, LATER + LEASE)
    assert decide(ledger, seen) == frozenset()  # type: ignore[operator]


@pytest.mark.parametrize("stopped", ["pay7", ALL_INCIDENTS])
def test_nothing_of_a_stopped_incident_is_sent_again(ledger: Ledger, stopped: str) -> None:
    lost(ledger, "a")
    chosen = offered(ledger)["a"]
    with ledger.write() as connection:
        stop_incident(connection, stopped, "kim", LATER)
    with pytest.raises(DecisionNeeded, match=r"stopped by kim.*commcast resume pay7"):
        again(ledger, chosen)
    assert states(ledger) == {"a": "unknown"}


def test_who_must_not_hear_it_again_is_named_with_the_reason(ledger: Ledger) -> None:
    lost(ledger, "fit", "silent", "erased", "newer")
    with ledger.write() as connection:
        suppress(connection, "email", "silent", reason="asked", by="x", now=LATER)
        erase(connection, ledger.secret, "email", "erased", by="x", now=LATER)
    fill(ledger, ["newer"], number=2)
    seen = offered(ledger)
    assert {address: each.unfit for address, each in seen.items()} == {
        "fit": "",
        "silent": "opted out",
        "": "erased",
        "newer": "newer words are on the way to them",
    }
    assert again(ledger, *seen.values()) == {seen["fit"].delivery}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (State.HELD, "newer words are on the way to them"),
        (State.PENDING, "newer words are on the way to them"),
        (State.CLAIMED, "newer words are on the way to them"),
        (State.ACCEPTED, "newer words have gone to them"),
        (State.UNKNOWN, "newer words have gone to them"),
        (State.REJECTED, ""),
        (State.SKIPPED, ""),
    ],
)
def test_newer_words_that_wait_are_told_from_those_that_have_gone(
    ledger: Ledger, state: State, said: str
) -> None:
    lost(ledger, "a")
    newer = fill(ledger, ["a"], number=2)
    with ledger.write() as connection:
        connection.execute(
            update(schema.delivery).where(schema.delivery.c.broadcast == newer.id).values(state=state)
        )
        found = {each.notice: each.unfit for each in candidates(connection, ALL, NOW)}
    assert found["update:1"] == said


def test_what_becomes_unfit_at_the_question_is_left_out(ledger: Ledger) -> None:
    lost(ledger, "a", "b")
    seen = offered(ledger)
    with ledger.write() as connection:
        suppress(connection, "email", "a", reason="asked", by="x", now=LATER)
    assert again(ledger, *seen.values()) == {seen["b"].delivery}


def test_stale_words_are_not_sent_again(ledger: Ledger) -> None:
    for key, by in (("stale", LATER), ("fresh", LATER + timedelta(seconds=1))):
        number = 1 if key == "stale" else 2
        broadcast = fill(ledger, [key], number=number, row=replace(ROW, expires_at=by))
        claim(ledger, broadcast)
    with ledger.write() as connection:
        settle_lost(connection, LATER)
    assert {a: each.unfit for a, each in offered(ledger).items()} == {
        "stale": "the promise in these words has passed",
        "fresh": "",
    }


def test_the_beginning_is_not_sent_again_after_the_end(ledger: Ledger) -> None:
    lost(ledger, "a")
    fill(ledger, ["b"], number=2, status="resolved")
    assert offered(ledger)["a"].unfit == "it is over by now"


def test_newer_words_that_went_nowhere_or_elsewhere_are_no_reason(ledger: Ledger) -> None:
    lost(ledger, "a")
    with ledger.write() as connection:
        yes_to(connection, 7, "resolved")  # released, and not frozen yet
    fill(ledger, ["a"], number=2, row=replace(ROW, state=State.SKIPPED))
    fill(ledger, ["a"], number=3, finish=False)
    fill(ledger, ["a"], number=4, channel="sms")
    fill(ledger, ["a"], number=5, incident="web1")
    fill(ledger, ["c"], number=6)
    assert offered(ledger, Which("pay7", "email"))["a"].unfit == ""


def test_whether_records_were_asked_since_the_last_hand_over_is_known(ledger: Ledger) -> None:
    broadcast = lost(ledger, "a")
    assert not offered(ledger)["a"].was_asked
    record(ledger, nothing(unknown(ledger)["a"]))
    assert offered(ledger)["a"].was_asked
    again(ledger, offered(ledger)["a"])
    afterwards = LATER + timedelta(minutes=1)
    claim(ledger, broadcast, now=afterwards)
    with ledger.write() as connection:
        settle_lost(connection, afterwards + LEASE)
    assert not offered(ledger)["a"].was_asked


def test_a_resend_that_was_given_up_is_no_question_to_the_provider(ledger: Ledger) -> None:
    broadcast = lost(ledger, "a")
    again(ledger, offered(ledger)["a"])
    with ledger.write() as connection:
        suppress(connection, "email", "a", reason="asked", by="x", now=LATER)
    claim(ledger, broadcast, now=LATER)
    assert not offered(ledger)["a"].was_asked


@pytest.mark.parametrize("state", [State.ACCEPTED, State.REJECTED])
def test_a_person_settles_with_their_name_and_reason(ledger: Ledger, state: State) -> None:
    lost(ledger, "a", "b")
    chosen = offered(ledger)
    assert by_hand(ledger, chosen["a"], state=state) == {chosen["a"].delivery}
    assert states(ledger) == {"a": state.value, "b": "unknown"}
    assert told(ledger)["a"].reason == "settled by dana: the log"
    (act,) = done(ledger)
    assert (act.what, act.became, act.by, act.detail) == ("settle", state, "dana", "the log")
    with ledger.read() as connection:
        assert states_of(connection, [chosen["a"].delivery]) == [state]


def test_settling_somebody_erased_writes_no_words_to_them(ledger: Ledger) -> None:
    lost(ledger, "a")
    with ledger.write() as connection:
        erase(connection, ledger.secret, "email", "a", by="x", now=LATER)
    by_hand(ledger, *offered(ledger).values())
    assert (told(ledger)[""].state, told(ledger)[""].reason) == ("accepted", "")


def test_what_a_living_process_holds_is_nobodys_to_decide(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a", "b"])
    claim(ledger, broadcast, 1, owner=OTHER)
    claim(ledger, broadcast, 1, owner=ME)
    with ledger.write() as connection:
        assert settle_lost(connection, NOW + timedelta(minutes=1)) == 0
    assert offered(ledger) == {}


def test_a_thousand_decisions_are_one_transaction(ledger: Ledger) -> None:
    keys = [f"k{i:04d}" for i in range(1200)]
    lost(ledger, *keys)
    with pytest.raises(RuntimeError), ledger.write() as connection:
        send_again(connection, candidates(connection, ALL, LATER), by="dana", now=LATER)
        raise RuntimeError
    assert set(states(ledger).values()) == {"unknown"}
    assert len(again(ledger, *offered(ledger).values())) == 1200
    assert len(done(ledger)) == 1200


def test_what_was_done_is_listed_by_incident_in_order(ledger: Ledger) -> None:
    lost(ledger, "a")
    again(ledger, offered(ledger)["a"])
    with ledger.read() as connection:
        assert list(acts(connection, "web1")) == []
        (act,) = acts(connection, "pay7")
    assert (act.notice, act.channel, act.address, stamp(act.at)) == ("update:1", "email", "a", stamp(LATER))
