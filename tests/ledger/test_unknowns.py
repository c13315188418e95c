"""Lost answers in the ledger: only what still is unknown changes, once, and each change says who made it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from commcast.errors import DecisionNeeded
from commcast.ledger import tables as schema
from commcast.ledger.broadcasts import Broadcast, begin_freeze
from commcast.ledger.fence import stop_incident
from commcast.ledger.releases import read_releases
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
from commcast.ledger.tables import ALL_INCIDENTS, State
from commcast.ledger.unknowns import (
    Act,
    Doubt,
    Which,
    acts,
    count_open,
    doubt_all_open,
    doubt_groups,
    doubts,
    ids_of_others,
)
from commcast.model.message import OutcomeKind
from commcast.model.release import ELSEWHERE
from tests.support.desk import LEASE, ME, NOW, OTHER, ROW, answer, claim, fill, said, states, told, yes_to

LATER = NOW + timedelta(minutes=40)
ALL = Which()


def lose(ledger: Ledger, count: int, now: timedelta = LATER - NOW) -> None:
    """Let so many claims end without an answer."""
    with ledger.write() as connection:
        assert settle_lost(connection, NOW + now) == count


def lost(ledger: Ledger, *keys: str, number: int = 1, channel: str = "email") -> Broadcast:
    """Freeze an update to these addresses; a run claims it and dies."""
    broadcast = fill(ledger, keys, number=number, channel=channel)
    claim(ledger, broadcast, len(keys))
    lose(ledger, len(keys))
    return broadcast


def unknown(ledger: Ledger, *providers: str) -> dict[str, Doubt]:
    with ledger.read() as connection:
        found = doubts(connection, ALL, providers or ("",), after=0, limit=100)
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


def opt_out(ledger: Ledger, key: str) -> None:
    with ledger.write() as connection:
        suppress(connection, "email", key, reason="asked", by="x", now=LATER)


def forget(ledger: Ledger, *keys: str) -> None:
    with ledger.write() as connection:
        for key in keys:
            erase(connection, ledger.secret, "email", key, by="dana", now=LATER)


# --- when it was handed over, and which are meant


@pytest.mark.parametrize(
    ("settled", "ended"),
    [
        pytest.param(timedelta(seconds=30), timedelta(seconds=30), id="when it was settled"),
        pytest.param(timedelta(hours=-1), timedelta(), id="a clock set back ends nothing before it begins"),
        pytest.param(None, LEASE, id="a dead run's by its lease"),
    ],
)
def test_a_hand_over_lies_between_its_claim_and_its_end(
    ledger: Ledger, settled: timedelta | None, ended: timedelta
) -> None:
    broadcast = fill(ledger, ["a"])
    mine = claim(ledger, broadcast).claims[0]
    if settled is None:
        lose(ledger, 1)
    else:
        answer(ledger, broadcast, [said(mine.delivery, OutcomeKind.UNKNOWN)], now=NOW + settled)
    doubt = unknown(ledger, "", "fake")["a"]
    assert (doubt.begun, doubt.ended) == (NOW, NOW + ended)
    assert (doubt.provider, doubt.claim.attempts) == ("" if settled is None else "fake", 1)
    assert doubt.claim.recipient == {"name": "Ann"}


def test_what_went_twice_may_have_arrived_since_it_was_frozen(ledger: Ledger) -> None:
    broadcast = lost(ledger, "a")
    again(ledger, offered(ledger)["a"])
    much_later = LATER + timedelta(hours=1)
    claim(ledger, broadcast, now=much_later)
    lose(ledger, 1, much_later + LEASE - NOW)
    doubt = unknown(ledger)["a"]
    assert (doubt.begun, doubt.ended) == (NOW, much_later + LEASE)


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


# --- what a provider's records say


def test_what_is_proved_is_settled_with_its_proof(ledger: Ledger) -> None:
    lost(ledger, "a", "b")
    found = unknown(ledger)
    refused = Finding(found["b"], State.REJECTED, "twilio did not send it", "twilio", "SM2")
    assert record(ledger, accepted(found["a"]), refused) == [(State.ACCEPTED, ""), (State.REJECTED, "")]
    a, b = told(ledger)["a"], told(ledger)["b"]
    assert (a.state, a.reason, a.provider, a.provider_id) == ("accepted", "found at twilio", "twilio", "SM1")
    assert (b.state, b.reason, b.provider_id) == ("rejected", "twilio did not send it", "SM2")
    assert [(x.notice, x.channel, x.address, x.what, x.became, x.by, x.at) for x in done(ledger)] == [
        ("update:1", "email", "a", "reconcile", "accepted", "twilio", LATER),
        ("update:1", "email", "b", "reconcile", "rejected", "twilio", LATER),
    ]
    with ledger.read() as connection:
        assert list(acts(connection, "web1")) == []


def test_what_is_not_proved_stays_unknown_and_says_what_was_seen_and_known(ledger: Ledger) -> None:
    """The same sight again is no news."""
    lost(ledger, "a")
    before = told(ledger)["a"]
    for _ in range(3):
        found = record(ledger, nothing(unknown(ledger)["a"]))
        assert found == [(State.UNKNOWN, "twilio has no such message")]
    after = told(ledger)["a"]
    assert after.reason == f"twilio has no such message; at first: {before.reason}"
    # When it was handed over must not move: the next look would seek it at the wrong time.
    assert (after.state, after.changed_at) == ("unknown", before.changed_at)
    record(ledger, nothing(unknown(ledger)["a"], "twilio has others"))
    assert told(ledger)["a"].reason == f"twilio has others; at first: {before.reason}"
    assert [act.detail for act in done(ledger)] == ["twilio has no such message", "twilio has others"]


def test_a_sight_is_not_taken_for_what_was_known_at_first(ledger: Ledger) -> None:
    lost(ledger, "a")
    with ledger.write() as connection:
        connection.execute(update(schema.delivery).values(reason=""))
    for sight in ("one", "two"):
        record(ledger, nothing(unknown(ledger)["a"], sight))
    assert told(ledger)["a"].reason == "two"


@pytest.mark.parametrize("late", list(OutcomeKind))
def test_of_proof_and_late_answer_the_first_stands(ledger: Ledger, late: OutcomeKind) -> None:
    """A look in vain is no proof: an answer settles it."""
    broadcast = lost(ledger, "answered", "proved", "in vain")
    found = unknown(ledger)
    answers = {key: [said(doubt.claim.delivery, late)] for key, doubt in found.items()}
    answer(ledger, broadcast, answers["answered"])
    settles = late in {OutcomeKind.ACCEPTED, OutcomeKind.REJECTED}
    if settles:
        other = State.REJECTED if late is OutcomeKind.ACCEPTED else State.ACCEPTED
        assert record(ledger, replace(accepted(found["answered"]), state=other))[0][0] == late.value
        assert record(ledger, nothing(found["answered"]))[0][0] == late.value
        assert told(ledger)["answered"].reason == f"said {late}"
        assert done(ledger) == []
    record(ledger, accepted(found["proved"]), nothing(found["in vain"]))
    answer(ledger, broadcast, answers["proved"] + answers["in vain"])
    assert (told(ledger)["proved"].state, told(ledger)["proved"].provider_id) == ("accepted", "SM1")
    assert states(ledger)["in vain"] == (late.value if settles else "unknown")


def test_what_was_sent_again_since_the_look_is_another_hand_over(ledger: Ledger) -> None:
    broadcast = lost(ledger, "a")
    seen = unknown(ledger)["a"]
    again(ledger, offered(ledger)["a"])
    assert record(ledger, replace(accepted(seen), state=State.REJECTED))[0][0] is State.PENDING
    claim(ledger, broadcast, now=LATER)
    lose(ledger, 1, LATER + LEASE - NOW)
    refused = replace(accepted(seen), state=State.REJECTED)
    assert record(ledger, refused, nothing(seen))[0][0] is State.UNKNOWN
    assert told(ledger)["a"].reason == "the run ended before the provider answered"


def test_one_message_never_stands_for_two(ledger: Ledger) -> None:
    """But an id of a whole request stands for each of its readers, and no id for anybody."""
    lost(ledger, "a", "b")
    lost(ledger, "a", number=2)
    lost(ledger, "a", number=3)
    with ledger.read() as connection:
        first, other, second, third = doubts(connection, ALL, [""], after=0, limit=9)
    assert record(ledger, accepted(first), accepted(other), accepted(second)) == [
        (State.ACCEPTED, ""),
        (State.ACCEPTED, ""),
        (State.UNKNOWN, ANOTHERS),
    ]
    with ledger.read() as connection:
        assert ids_of_others(connection, "email", ["a"], [second.claim.delivery]) == {"SM1"}
        assert ids_of_others(connection, "email", ["a"], [first.claim.delivery]) == set()
        assert ids_of_others(connection, "sms", ["a"], []) == set()
        assert ids_of_others(connection, "email", ["c"], []) == set()
    without_id = record(ledger, accepted(second, ""), accepted(third, ""))
    assert [state for state, _ in without_id] == ["accepted"] * 2


# --- what a person decides


def test_sent_again_it_waits_in_doubt_with_who_said_so(ledger: Ledger) -> None:
    """Without the wait that the provider asked for; and given up, it is unknown again."""
    broadcast = fill(ledger, ["a", "b"])
    wait = timedelta(hours=5)
    for mine in claim(ledger, broadcast).claims:
        answer(ledger, broadcast, [said(mine.delivery, OutcomeKind.UNKNOWN, wait=wait)])
    chosen = offered(ledger)
    assert again(ledger, *chosen.values()) == {each.delivery for each in chosen.values()}
    assert (told(ledger)["a"].state, told(ledger)["a"].doubted) == ("pending", 1)
    assert [(act.what, act.became, act.by) for act in done(ledger)] == [("resend", "pending", "dana")] * 2
    answer(ledger, broadcast, [said(chosen["a"].delivery, OutcomeKind.NOT_TAKEN)])
    assert states(ledger)["a"] == "pending", "a late answer does not undo a person's decision"
    opt_out(ledger, "b")
    assert [c.attempts for c in claim(ledger, broadcast, now=LATER).claims] == [2]
    assert states(ledger) == {"a": "claimed", "b": "unknown"}
    assert not offered(ledger)["b"].was_asked, "a resend that was given up is no question to the provider"


@pytest.mark.parametrize("decide", [again, by_hand])
def test_what_changed_meanwhile_is_not_decided_about(
    ledger: Ledger, decide: Callable[..., frozenset[int]]
) -> None:
    """Somebody was answered, somebody was sent to again."""
    broadcast = lost(ledger, "answered", "again", "as seen")
    chosen = offered(ledger)
    answer(ledger, broadcast, [said(chosen["answered"].delivery, OutcomeKind.ACCEPTED)])
    again(ledger, chosen["again"])
    claim(ledger, broadcast, now=LATER)
    lose(ledger, 1, LATER + LEASE - NOW)
    assert decide(ledger, *chosen.values()) == {chosen["as seen"].delivery}
    assert told(ledger)["answered"].reason == "said accepted"
    assert [act.address for act in done(ledger)] == ["again", "as seen"]


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
    """What becomes unfit only at the question is left out, too."""
    lost(ledger, "fit", "silent", "erased", "newer", "late")
    opt_out(ledger, "silent")
    forget(ledger, "erased")
    fill(ledger, ["newer"], number=2)
    seen = offered(ledger)
    assert {address: each.unfit for address, each in seen.items()} == {
        "fit": "",
        "silent": "opted out",
        "": "erased",
        "newer": "newer words are on the way to them",
        "late": "",
    }
    opt_out(ledger, "late")
    assert again(ledger, *seen.values()) == {seen["fit"].delivery}


@pytest.mark.parametrize(
    ("state", "says"),
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
    ledger: Ledger, state: State, says: str
) -> None:
    lost(ledger, "a")
    newer = fill(ledger, ["a"], number=2)
    with ledger.write() as connection:
        connection.execute(
            update(schema.delivery).where(schema.delivery.c.broadcast == newer.id).values(state=state)
        )
        found = {each.notice: each.unfit for each in candidates(connection, ALL, NOW)}
    assert found["update:1"] == says


def test_stale_words_and_the_beginning_after_the_end_are_not_sent_again(ledger: Ledger) -> None:
    for number, by in enumerate((LATER, LATER + timedelta(seconds=1)), 1):
        claim(ledger, fill(ledger, [f"by {number}"], number=number, row=replace(ROW, expires_at=by)))
    lose(ledger, 2)
    stale = "the promise in these words has passed"
    assert {key: each.unfit for key, each in offered(ledger).items()} == {"by 1": stale, "by 2": ""}
    fill(ledger, ["b"], number=3, status="resolved")
    assert offered(ledger)["by 2"].unfit == "it is over by now"


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
    lose(ledger, 1, afterwards + LEASE - NOW)
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


def test_nothing_that_was_seen_or_decided_names_somebody_erased(ledger: Ledger) -> None:
    lost(ledger, "a", "b", "c")
    found = unknown(ledger)
    forget(ledger, "a", "b", "c")
    record(ledger, accepted(found["a"], "a.eml"), nothing(found["b"], "seen: b"))
    with ledger.write() as connection:
        by_number = {each.delivery: each for each in candidates(connection, ALL, LATER)}
    by_hand(ledger, by_number[found["c"].claim.delivery])
    with ledger.read() as connection:
        rows = connection.execute(select(schema.delivery).order_by(schema.delivery.c.id)).all()
    assert [(row.state, row.provider_id, row.address) for row in rows] == [
        ("accepted", "", ""),
        ("unknown", "", ""),
        ("accepted", "", ""),
    ]
    assert (rows[0].reason, rows[2].reason, "seen" in rows[1].reason) == ("", "", False)


def test_what_a_living_process_holds_is_nobodys_to_decide(ledger: Ledger) -> None:
    broadcast = fill(ledger, ["a", "b"])
    claim(ledger, broadcast, 1, owner=OTHER)
    claim(ledger, broadcast, 1, owner=ME)
    lose(ledger, 0, timedelta(minutes=1))
    assert offered(ledger) == {}


def test_a_thousand_decisions_are_one_transaction(ledger: Ledger) -> None:
    lost(ledger, *(f"k{i:04d}" for i in range(1200)))
    with pytest.raises(RuntimeError), ledger.write() as connection:
        send_again(connection, candidates(connection, ALL, LATER), by="dana", now=LATER)
        raise RuntimeError
    assert set(states(ledger).values()) == {"unknown"}
    assert len(again(ledger, *offered(ledger).values())) == len(done(ledger)) == 1200


# --- a ledger that is older than what was sent: all that it has open is in doubt


def take_over(ledger: Ledger) -> int:
    with ledger.write() as connection:
        return doubt_all_open(connection, "dana", LATER)


def test_what_waits_is_held_or_claimed_becomes_unknown_and_what_is_over_stays(ledger: Ledger) -> None:
    """A provider is asked about all the time since the backup."""
    claim(ledger, fill(ledger, ["claimed", "pending"]), 1)
    held = replace(ROW, state=State.HELD, reason="quiet hours", not_before=LATER)
    fill(ledger, ["held"], channel="sms", row=held)
    fill(ledger, ["skipped"], number=2, channel="sms", row=replace(ROW, state=State.SKIPPED))
    with ledger.write() as connection:
        connection.execute(
            update(schema.delivery).where(schema.delivery.c.key == "held").values(composition=None)
        )
        assert count_open(connection) == 3
    assert take_over(ledger) == 3
    unknowns = dict.fromkeys(["claimed", "pending", "held"], "unknown")
    assert states(ledger) == {**unknowns, "skipped": "skipped"}
    assert [(act.what, act.by) for act in done(ledger)] == [("restore", "dana")] * 3
    assert {(doubt.begun, doubt.ended) for doubt in unknown(ledger, "", "fake").values()} == {(NOW, LATER)}
    assert offered(ledger)["held"].unfit == "its words were never made"


def test_a_list_that_was_going_in_loses_its_rows_and_is_not_frozen_anew(ledger: Ledger) -> None:
    """They told nobody, so none is unknown; a later ledger may have told them: the update counts as told."""
    fill(ledger, ["a"], status="investigating")
    fill(ledger, ["a", "b"], number=2, finish=False, status="identified")
    assert take_over(ledger) == 1
    assert {key: row.notice for key, row in told(ledger).items()} == {"a": "update:1"}
    words = select(schema.composition.c.broadcast)
    with ledger.write() as connection:
        assert len(connection.execute(words).all()) == 1
        releases = read_releases(connection, "pay7")
        assert {number: each.how for number, each in releases.items()} == {1: "yes", 2: ELSEWHERE}
        again = {"incident": "pay7", "notice": "update:2", "number": 2, "channel": "email"}
        assert begin_freeze(connection, **again, owner="me", now=LATER)[1] is False  # type: ignore[arg-type]


def test_words_that_were_released_and_not_frozen_count_as_told_elsewhere(ledger: Ledger) -> None:
    fill(ledger, ["a"], status="investigating")
    with ledger.write() as connection:
        yes_to(connection, 2, "identified")
    take_over(ledger)
    with ledger.read() as connection:
        how = {number: release.how for number, release in read_releases(connection, "pay7").items()}
    assert how == {1: "yes", 2: ELSEWHERE}
