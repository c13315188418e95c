"""Lost answers in the ledger: only what still is unknown changes, once, and each change says who made it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from commcast.errors import DecisionNeeded
from commcast.ledger import fence, releases, resolutions, unknowns
from commcast.ledger import tables as schema
from commcast.ledger.broadcasts import Broadcast, begin_freeze
from commcast.ledger.resolutions import ANOTHERS, Candidate, Finding, candidates, send_again
from commcast.ledger.settle import NO_ANSWER, settle_lost
from commcast.ledger.store import Ledger
from commcast.ledger.tables import ALL_INCIDENTS, State
from commcast.ledger.unknowns import Doubt, Which, count_open, doubt_all_open, doubt_groups, ids_of_others
from commcast.model.message import OutcomeKind
from commcast.model.release import ELSEWHERE
from tests.ledger.conftest import ask, do, forget, opt_out, rewrite
from tests.support.desk import LEASE, NOW, ROW, answer, claim, fill, said, states, told, yes_to

LATER = NOW + timedelta(minutes=40)
ALL = Which()


def lose(ledger: Ledger, count: int, now: datetime = LATER) -> None:
    assert do(ledger, settle_lost, now) == count


def lost(ledger: Ledger, keys: str, **more: Any) -> Broadcast:
    """Freeze an update to these addresses; a run claims it and dies."""
    broadcast = fill(ledger, keys.split(), **more)
    claim(ledger, broadcast, len(keys))
    lose(ledger, len(keys.split()))
    return broadcast


def lost_again(ledger: Ledger, broadcast: Broadcast, now: datetime = LATER) -> None:
    claim(ledger, broadcast, now=now)
    lose(ledger, 1, now + LEASE)


def doubts(ledger: Ledger, which: Which, *providers: str, after: int = 0, limit: int = 99) -> Any:
    return ask(ledger, unknowns.doubts, which, providers or ("", "fake"), after=after, limit=limit)


def unknown(ledger: Ledger) -> dict[str, Doubt]:
    return {doubt.claim.key: doubt for doubt in doubts(ledger, ALL)}


def record(ledger: Ledger, *findings: Finding) -> Any:
    return do(ledger, resolutions.record_findings, findings, LATER)


def accepted(doubt: Doubt, provider_id: str = "SM1", state: State = State.ACCEPTED) -> Finding:
    return Finding(doubt, state, "found at twilio", "twilio", provider_id)


def nothing(doubt: Doubt, detail: str = "twilio has no such message") -> Finding:
    return Finding(doubt, State.UNKNOWN, detail, "twilio")


def done(ledger: Ledger) -> Any:
    return ask(ledger, unknowns.acts, "pay7")


def offered(ledger: Ledger, which: Which = ALL) -> dict[str, Candidate]:
    return {each.address: each for each in ask(ledger, candidates, which, LATER)}


def again(ledger: Ledger, *chosen: Candidate) -> Any:
    return do(ledger, send_again, chosen, by="dana", now=LATER)


def by_hand(ledger: Ledger, *chosen: Candidate, state: State = State.ACCEPTED) -> Any:
    return do(ledger, resolutions.settle_by_hand, chosen, state, because="the log", by="dana", now=LATER)


def test_a_hand_over_lies_between_its_claim_and_its_end(ledger: Ledger) -> None:
    """A clock set back ends nothing before it begins; a dead run's ends by its lease."""
    broadcast = fill(ledger, "abc")
    settled = {"a": timedelta(seconds=30), "b": timedelta(hours=-1)}
    for mine in claim(ledger, broadcast).claims[:2]:
        at = NOW + settled[mine.key]
        answer(ledger, broadcast, [said(mine.delivery, OutcomeKind.UNKNOWN)], now=at)
    lose(ledger, 1)
    for key, (ended, provider) in {
        "a": (settled["a"], "fake"),
        "b": (timedelta(), "fake"),
        "c": (LEASE, ""),
    }.items():
        doubt = unknown(ledger)[key]
        assert (doubt.begun, doubt.ended) == (NOW, NOW + ended)
        assert (doubt.provider, doubt.claim.attempts, doubt.claim.recipient) == (provider, 1, {"name": "Ann"})
    # What went twice may have arrived since it was frozen.
    again(ledger, offered(ledger)["c"])
    much_later = LATER + timedelta(hours=1)
    lost_again(ledger, broadcast, much_later)
    doubt = unknown(ledger)["c"]
    assert (doubt.begun, doubt.ended) == (NOW, much_later + LEASE)


def test_only_unknown_ones_are_found_in_chunks_and_by_what_is_asked(ledger: Ledger) -> None:
    lost(ledger, "a b c")
    lost(ledger, "+49", channel="sms")
    fill(ledger, "d", number=2)
    mails = Which(channel="email")
    first = doubts(ledger, mails, limit=2)
    rest = doubts(ledger, mails, after=first[-1].claim.delivery, limit=2)
    assert [d.claim.key for d in (*first, *rest)] == ["a", "b", "c"]
    assert doubts(ledger, ALL, "twilio") == ()
    assert ask(ledger, doubt_groups, ALL) == {("pay7", "email", ""): 3, ("pay7", "sms", ""): 1}
    assert ask(ledger, doubt_groups, Which("pay7", "email", "b")) == {("pay7", "email", ""): 1}
    assert ask(ledger, doubt_groups, Which("web1")) == {}


def test_what_is_proved_is_settled_with_its_proof(ledger: Ledger) -> None:
    lost(ledger, "a b")
    found = unknown(ledger)
    refused = Finding(found["b"], State.REJECTED, "twilio did not send it", "twilio", "SM2")
    assert record(ledger, accepted(found["a"]), refused) == [(State.ACCEPTED, ""), (State.REJECTED, "")]
    proofs = {"a": ("accepted", "found at twilio", "SM1"), "b": ("rejected", "twilio did not send it", "SM2")}
    assert {key: (r.state, r.reason, r.provider_id) for key, r in told(ledger).items()} == proofs
    assert {r.provider for r in told(ledger).values()} == {"twilio"}
    assert [(x.address, x.became, x.detail) for x in done(ledger)] == [(k, *p[:2]) for k, p in proofs.items()]
    about = {(x.notice, x.channel, x.what, x.by, x.at) for x in done(ledger)}
    assert about == {("update:1", "email", "reconcile", "twilio", LATER)}
    assert ask(ledger, unknowns.acts, "web1") == []


def test_what_is_not_proved_stays_unknown_and_says_what_was_seen_and_known(ledger: Ledger) -> None:
    """The same sight again is no news, and a sight is not taken for what was known at first."""
    lost(ledger, "a b")
    rewrite(ledger, schema.delivery.c.key == "b", reason="")
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
    for sight in ("one", "two"):
        record(ledger, nothing(unknown(ledger)["b"], sight))
    assert told(ledger)["b"].reason == "two"
    seen = ["twilio has no such message", "twilio has others", "one", "two"]
    assert [act.detail for act in done(ledger)] == seen


@pytest.mark.parametrize("late", list(OutcomeKind))
def test_of_proof_and_late_answer_the_first_stands(ledger: Ledger, late: OutcomeKind) -> None:
    """A look in vain is no proof: an answer settles it."""
    broadcast = lost(ledger, "answered proved vain")
    found = unknown(ledger)
    answers = {key: [said(doubt.claim.delivery, late)] for key, doubt in found.items()}
    answer(ledger, broadcast, answers["answered"])
    settles = late in {OutcomeKind.ACCEPTED, OutcomeKind.REJECTED}
    if settles:
        other = State.REJECTED if late is OutcomeKind.ACCEPTED else State.ACCEPTED
        assert record(ledger, accepted(found["answered"], state=other))[0][0] == late.value
        assert record(ledger, nothing(found["answered"]))[0][0] == late.value
        assert told(ledger)["answered"].reason == f"said {late}"
        assert done(ledger) == []
    record(ledger, accepted(found["proved"]), nothing(found["vain"]))
    answer(ledger, broadcast, answers["proved"] + answers["vain"])
    assert (told(ledger)["proved"].state, told(ledger)["proved"].provider_id) == ("accepted", "SM1")
    assert states(ledger)["vain"] == (late.value if settles else "unknown")


def test_what_was_sent_again_since_the_look_is_another_hand_over(ledger: Ledger) -> None:
    broadcast = lost(ledger, "a")
    seen = unknown(ledger)["a"]
    assert not offered(ledger)["a"].was_asked
    record(ledger, nothing(seen))
    assert offered(ledger)["a"].was_asked
    again(ledger, offered(ledger)["a"])
    refused = accepted(seen, state=State.REJECTED)
    assert record(ledger, refused)[0][0] is State.PENDING
    lost_again(ledger, broadcast, LATER + timedelta(minutes=1))
    assert not offered(ledger)["a"].was_asked
    assert record(ledger, refused, nothing(seen))[0][0] is State.UNKNOWN
    assert told(ledger)["a"].reason == NO_ANSWER


def test_one_message_never_stands_for_two(ledger: Ledger) -> None:
    """But an id of a whole request stands for each of its readers, and no id for anybody."""
    lost(ledger, "a b")
    lost(ledger, "a", number=2)
    lost(ledger, "a", number=3)
    first, other, second, third = doubts(ledger, ALL)
    found = record(ledger, accepted(first), accepted(other), accepted(second))
    assert found == [(State.ACCEPTED, ""), (State.ACCEPTED, ""), (State.UNKNOWN, ANOTHERS)]
    assert ask(ledger, ids_of_others, "email", ["a"], [second.claim.delivery]) == {"SM1"}
    for channel, key, but in (("email", "a", [first.claim.delivery]), ("sms", "a", []), ("email", "c", [])):
        assert ask(ledger, ids_of_others, channel, [key], but) == set()
    without_id = record(ledger, accepted(second, ""), accepted(third, ""))
    assert [state for state, _ in without_id] == ["accepted"] * 2


def test_sent_again_it_waits_in_doubt_with_who_said_so(ledger: Ledger) -> None:
    """Without the wait that the provider asked for; and given up, it is unknown again."""
    broadcast = fill(ledger, "ab")
    for mine in claim(ledger, broadcast).claims:
        answer(ledger, broadcast, [said(mine.delivery, OutcomeKind.UNKNOWN, wait=timedelta(hours=5))])
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
def test_what_changed_meanwhile_is_not_decided_about(ledger: Ledger, decide: Callable[..., Any]) -> None:
    """Somebody was answered, somebody was sent to again."""
    broadcast = lost(ledger, "answered again seen")
    chosen = offered(ledger)
    answer(ledger, broadcast, [said(chosen["answered"].delivery, OutcomeKind.ACCEPTED)])
    again(ledger, chosen["again"])
    lost_again(ledger, broadcast)
    assert decide(ledger, *chosen.values()) == {chosen["seen"].delivery}
    assert told(ledger)["answered"].reason == "said accepted"
    assert [act.address for act in done(ledger)] == ["again", "seen"]


def test_nothing_of_a_stopped_incident_is_sent_again(ledger: Ledger) -> None:
    lost(ledger, "a")
    for stopped in ("pay7", ALL_INCIDENTS):
        do(ledger, fence.stop_incident, stopped, "kim", LATER)
        with pytest.raises(DecisionNeeded, match=r"stopped by kim.*commcast resume pay7"):
            again(ledger, *offered(ledger).values())
        do(ledger, fence.lift_stop, stopped, "kim", LATER)
    assert states(ledger) == {"a": "unknown"}


def test_who_must_not_hear_it_again_is_named_with_the_reason(ledger: Ledger) -> None:
    """What becomes unfit only at the question is left out, too."""
    lost(ledger, "fit silent erased late")
    for number, by in enumerate((LATER, LATER + timedelta(seconds=1)), 2):
        claim(ledger, fill(ledger, [f"by {number}"], number=number, row=replace(ROW, expires_at=by)))
    lose(ledger, 2)
    opt_out(ledger, "silent")
    forget(ledger, "erased")
    seen = offered(ledger)
    unfit = {"silent": "opted out", "": "erased", "by 2": "the promise in this message has passed"}
    assert {address: each.unfit for address, each in seen.items() if each.unfit} == unfit
    assert seen.keys() == {*unfit, "fit", "late", "by 3"}
    opt_out(ledger, "late")
    assert again(ledger, *seen.values()) == {seen["fit"].delivery, seen["by 3"].delivery}
    lost_again(ledger, fill(ledger, ["other"], number=4))
    fill(ledger, "b", number=5, status="resolved")
    assert offered(ledger)["other"].unfit == "it is over by now"


def test_newer_words_that_wait_are_told_from_those_that_have_gone(ledger: Ledger) -> None:
    """What went nowhere, to others or elsewhere is no reason."""
    lost(ledger, "a")
    do(ledger, yes_to, 7, "resolved")  # released, and not frozen yet
    fill(ledger, "a", number=3, finish=False)
    fill(ledger, "a", number=4, channel="sms")
    fill(ledger, "a", number=5, incident="web1")
    fill(ledger, "c", number=6)
    assert offered(ledger, Which("pay7", "email"))["a"].unfit == ""
    newer = fill(ledger, "a", number=8)
    waits = dict.fromkeys((State.HELD, State.PENDING, State.CLAIMED), "a newer update is on its way to them")
    went = dict.fromkeys((State.ACCEPTED, State.UNKNOWN), "a newer update has gone to them")
    for state in State:
        rewrite(ledger, schema.delivery.c.broadcast == newer.id, state=state)
        found = {each.notice: each.unfit for each in ask(ledger, candidates, ALL, NOW)}
        assert found["update:1"] == {**waits, **went}.get(state, "")


def test_a_person_settles_with_their_name_and_reason(ledger: Ledger) -> None:
    lost(ledger, "a b c")
    for key, state in (("a", State.ACCEPTED), ("b", State.REJECTED)):
        chosen = offered(ledger)[key]
        assert by_hand(ledger, chosen, state=state) == {chosen.delivery}
        assert (told(ledger)[key].state, told(ledger)[key].reason) == (state, "settled by dana: the log")
        act = done(ledger)[-1]
        assert (act.what, act.became, act.by, act.detail) == ("settle", state, "dana", "the log")
        assert ask(ledger, resolutions.states_of, [chosen.delivery]) == [state]
    assert states(ledger)["c"] == "unknown"


def test_nothing_that_was_seen_or_decided_names_somebody_erased(ledger: Ledger) -> None:
    lost(ledger, "a b c")
    found = unknown(ledger)
    for key in "abc":
        forget(ledger, key)
    record(ledger, accepted(found["a"], "a.eml"), nothing(found["b"], "seen: b"))
    by_number = {each.delivery: each for each in ask(ledger, candidates, ALL, LATER)}
    by_hand(ledger, by_number[found["c"].claim.delivery])
    rows = ask(ledger, lambda c: c.execute(select(schema.delivery).order_by(schema.delivery.c.id)).all())
    nameless = [("accepted", "", "", ""), ("unknown", "", "", NO_ANSWER), ("accepted", "", "", "")]
    assert [(row.state, row.provider_id, row.address, row.reason) for row in rows] == nameless


def test_a_thousand_decisions_are_one_transaction(ledger: Ledger) -> None:
    lost(ledger, " ".join(f"k{i:04d}" for i in range(1200)))
    with pytest.raises(RuntimeError), ledger.write() as connection:
        send_again(connection, candidates(connection, ALL, LATER), by="dana", now=LATER)
        raise RuntimeError
    assert set(states(ledger).values()) == {"unknown"}
    assert len(again(ledger, *offered(ledger).values())) == len(done(ledger)) == 1200


def test_what_waits_is_held_or_claimed_becomes_unknown_and_what_is_over_stays(ledger: Ledger) -> None:
    """A provider is asked about all the time since the backup."""
    claim(ledger, fill(ledger, ["claimed", "pending"]), 1)
    held = replace(ROW, state=State.HELD, reason="quiet hours", not_before=LATER)
    fill(ledger, ["held"], channel="sms", row=held)
    fill(ledger, ["skipped"], number=2, channel="sms", row=replace(ROW, state=State.SKIPPED))
    rewrite(ledger, schema.delivery.c.key == "held", composition=None)
    assert ask(ledger, count_open) == do(ledger, doubt_all_open, "dana", LATER) == 3
    in_doubt = dict.fromkeys(["claimed", "pending", "held"], "unknown")
    assert states(ledger) == {**in_doubt, "skipped": "skipped"}
    assert [(act.what, act.by) for act in done(ledger)] == [("restore", "dana")] * 3
    assert {(doubt.begun, doubt.ended) for doubt in unknown(ledger).values()} == {(NOW, LATER)}
    assert offered(ledger)["held"].unfit == "its words were never made"


@pytest.mark.parametrize("frozen", [True, False], ids=["a list was going in", "not frozen yet"])
def test_what_was_released_and_not_open_counts_as_told_elsewhere(ledger: Ledger, frozen: bool) -> None:
    """A later ledger may have told it. Rows told nobody: they go, none is unknown, none is frozen anew."""
    fill(ledger, "a", status="investigating")
    if frozen:
        fill(ledger, "ab", number=2, finish=False, status="identified")
    else:
        do(ledger, yes_to, 2, "identified")
    assert do(ledger, doubt_all_open, "dana", LATER) == 1
    assert {key: row.notice for key, row in told(ledger).items()} == {"a": "update:1"}
    found = ask(ledger, releases.read_releases, "pay7")
    assert {number: each.how for number, each in found.items()} == {1: "yes", 2: ELSEWHERE}
    assert len(ask(ledger, lambda c: c.execute(select(schema.composition.c.broadcast)).all())) == 1
    anew: dict[str, Any] = {"incident": "pay7", "notice": "update:2", "number": 2, "channel": "email"}
    assert do(ledger, begin_freeze, **anew, owner="me", now=LATER)[1] is not frozen
