"""What was said to whom and who counts as told; receipts; who is suppressed; calls, ticks and handovers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from commcast.ledger import fence, history, oncall, overview, suppressions
from commcast.ledger import tables as schema
from commcast.ledger.history import deliveries
from commcast.ledger.oncall import TICKS_KEPT, Call, drift, handovers, offer
from commcast.ledger.receipts import harmless, join_receipts, open_ids, open_providers
from commcast.ledger.settle import Settlement
from commcast.ledger.store import Ledger
from commcast.ledger.suppressions import erased_key, list_suppressions, unsuppress
from commcast.ledger.tables import State, stamp
from commcast.model.history import ERASED, NOBODY_KNOWS, Said
from commcast.model.incident import Channel
from commcast.model.message import Outcome, OutcomeKind, Receipt, ReceiptKind
from commcast.model.oncall import Handover
from tests.ledger.conftest import ask, do, forget, opt_out, plans_of, rewrite
from tests.support.desk import NOW, ROW, answer, claim, fill, said, states, told
from tests.support.values import rows as rows_of

DELIVERED, BOUNCED, FAILED = ReceiptKind.DELIVERED, ReceiptKind.BOUNCED, ReceiptKind.FAILED
ACCEPTED = OutcomeKind.ACCEPTED
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
LATER = NOW + 3 * MINUTE
ANN = "ann@example.com"


def known_of(ledger: Ledger, key: str, notice: str = "update:2") -> tuple[str, bool, str]:
    found = ask(ledger, history.histories, ledger.secret, "pay7", notice, "email", [key])
    one = found.get(key, NOBODY_KNOWS)
    return one.state, one.told, one.suppressed


def readers(ledger: Ledger, notice: str = "update:2") -> list[str]:
    return [each.address for each in ask(ledger, history.told_people, "pay7", "email", notice)]


def let_in(ledger: Ledger, key: str, channel: str = "email") -> Any:
    return do(ledger, unsuppress, ledger.secret, channel, key)


def suppressed(ledger: Ledger) -> dict[str, str]:
    return {each.key: each.reason for each in ask(ledger, list_suppressions)}


@pytest.mark.parametrize("state", list(State))
def test_told_is_who_heard_may_have_heard_or_may_hear_at_any_moment(ledger: Ledger, state: State) -> None:
    """The notice itself is a state and not a telling; another incident or channel tells nobody of it."""
    fill(ledger, "a")
    fill(ledger, ["elsewhere"], incident="web1")
    fill(ledger, ["elsewhere"], channel="sms")
    rewrite(ledger, state=state)
    is_told = state not in {State.REJECTED, State.SKIPPED}
    assert known_of(ledger, "a") == ("", is_told, "")
    assert known_of(ledger, "a", "update:1") == (state, False, "")
    assert known_of(ledger, "elsewhere") == known_of(ledger, "stranger") == ("", False, "")
    assert (readers(ledger), readers(ledger, "update:1")) == (["a"] if is_told else [], [])


def test_who_was_told_twice_is_one_reader_as_last_frozen_with_words(ledger: Ledger) -> None:
    """What is held has no words yet; the end still has to find its reader."""
    fill(ledger, "a")
    fill(ledger, "a", number=2, row=replace(ROW, recipient={"name": "Ann Two"}, audience="support"))
    rewrite(ledger, state=State.ACCEPTED)
    fill(ledger, "a", number=3, row=replace(ROW, state=State.HELD))
    rewrite(ledger, schema.delivery.c.state == State.HELD, composition=None)
    (found,) = ask(ledger, history.told_people, "pay7", "email", "update:4")
    assert (found.key, found.audience, found.zone) == ("a", "support", "UTC")
    assert found.values == {"name": "Ann Two"}


def test_an_incident_stands_where_its_frozen_broadcasts_stand(ledger: Ledger) -> None:
    """A stop is written once, and one of all hides none."""
    for number, channel in ((1, "email"), (3, "email"), (1, "sms")):
        fill(ledger, "a", number=number, channel=channel)
    fill(ledger, "a", number=4, finish=False)
    stops = (("*", "dana"), ("pay7", "sam"), ("pay7", "kim"))
    assert [do(ledger, fence.stop_incident, *each, NOW) for each in stops] == [True, True, False]
    assert [stop.by for stop in ask(ledger, fence.stops_in_force, "pay7")] == ["dana", "sam"]
    assert [stop.by for stop in ask(ledger, fence.stops_in_force, "web1")] == ["dana"]
    found = ask(ledger, history.incident_history, "pay7")
    assert found.told_up_to == {Channel.EMAIL: 3, Channel.SMS: 1}
    begun = sorted(f"{notice} {channel.value}" for notice, channel in found.begun)
    assert begun == ["update:1 email", "update:1 sms", "update:3 email"]
    assert (found.releases, found.stopped_by) == ({}, "dana")


def test_tallies_count_by_state_and_reason_and_the_log_asks_for_some_states(ledger: Ledger) -> None:
    fill(ledger, "ab")
    fill(ledger, "c", number=2, row=replace(ROW, state=State.SKIPPED, reason="opted out"))
    fill(ledger, "d", incident="web1")
    fill(ledger, ["dana"], incident="~pay7")
    found = [(t.notice, t.state, t.reason, t.count) for t in ask(ledger, history.tallies, "pay7")]
    assert found == [("update:1", "pending", "", 2), ("update:2", "skipped", "opted out", 1)]
    everything = ask(ledger, history.tallies)
    assert ([t.incident for t in everything], everything[0].changed_at) == (["pay7", "pay7", "web1"], NOW)
    assert [t.address for t in ask(ledger, deliveries, "pay7", [State.SKIPPED])] == ["c"]


def test_each_audience_and_what_it_was_promised(ledger: Ledger) -> None:
    """Words that reach nobody promise nothing; and no list is read from end to end for it."""
    fill(ledger, "ab")
    fill(ledger, "a", channel="sms")
    rewrite(ledger, state=State.ACCEPTED)
    end = fill(ledger, "ab", number=2)
    fill(ledger, "c", number=3, row=replace(ROW, state=State.SKIPPED))
    words = schema.composition
    with ledger.write() as connection:
        for of, values in ((end.id, {"next_update_by": None}), (2, {"context": {"next_word": "update"}})):
            connection.execute(update(words).where(words.c.broadcast == of).values(**values))
    found: list[Any] = []
    look = lambda: found.extend(ask(ledger, history.what_was_said, "pay7"))  # noqa: E731
    steps = [plan for plan in plans_of(ledger, ("select",), look) if "delivery" in plan]
    assert steps
    assert all("delivery_composition" in plan for plan in steps), steps
    by = NOW + 20 * MINUTE
    assert found == [
        Said("update:1", 1, Channel.EMAIL, "customers", NOW, by, (), True),
        Said("update:1", 1, Channel.SMS, "customers", NOW, by, (by,), True),
        Said("update:2", 2, Channel.EMAIL, "customers", NOW, None, (), heard=False, waits=True),
        Said("update:3", 3, Channel.EMAIL, "customers", NOW, by, (), heard=False),
    ]


def among(ledger: Ledger, *keys: str) -> Any:
    return ask(ledger, suppressions.suppressed_among, ledger.secret, "email", keys)


def test_an_opt_out_ends_what_waits_and_leaves_what_was_said(ledger: Ledger) -> None:
    fill(ledger, "a", incident="old1")
    rewrite(ledger, state=State.ACCEPTED)
    fill(ledger, "ab")
    fill(ledger, "a", incident="held1", row=replace(ROW, state=State.HELD))
    fill(ledger, "a", incident="text1", channel="sms")
    opt_out(ledger, "a")
    opt_out(ledger, "a", "asked twice")
    assert among(ledger, "a", "b") == {"a": "asked"}, "an older opt-out keeps its reason"
    assert states(ledger) == {"a": "skipped", "b": "pending"}
    assert told(ledger)["a"].reason == "opted out"
    found = [states(ledger, incident)["a"] for incident in ("held1", "old1", "text1")]
    assert found == ["skipped", "accepted", "pending"]


def test_who_is_let_in_again_is_named_once(ledger: Ledger) -> None:
    for shut_out in (opt_out, forget):
        shut_out(ledger, "a")
        assert [let_in(ledger, "a", way) for way in ("sms", "email", "email")] == [False, True, False]
        assert among(ledger, "a") == {}


def test_an_erased_address_is_nowhere_in_the_ledger(ledger: Ledger) -> None:
    """Nor in a list that is still going in; its hash needs the ledger's secret."""
    fill(ledger, [ANN])
    fill(ledger, [ANN], number=2)
    fill(ledger, [ANN], number=3, finish=False)
    opt_out(ledger, ANN)
    assert (forget(ledger, ANN), forget(ledger, ANN)) == (3, 0)
    assert list(suppressed(ledger)) == [erased_key(ledger.secret, ANN)]
    assert erased_key(b"one", ANN) != erased_key(b"two", ANN)
    ledger.close()
    held = b"".join(path.read_bytes() for path in ledger.path.parent.iterdir())
    assert ANN.encode() not in held


def test_an_old_list_cannot_tell_an_erased_person_again(ledger: Ledger) -> None:
    """They are known by their hash, and are readers no more; a hand-over at that time is settled still."""
    broadcast = fill(ledger, "ab")
    forget(ledger, "a")
    assert among(ledger, "a", "b") == {"a": ERASED}
    assert [c.key for c in claim(ledger, broadcast).claims] == ["b"]
    assert known_of(ledger, "a", "update:1") == ("skipped", False, ERASED)
    rewrite(ledger, state=State.ACCEPTED)
    assert (known_of(ledger, "a"), readers(ledger)) == (("", True, ERASED), ["b"])
    for kind, state in ((ACCEPTED, "accepted"), (OutcomeKind.NOT_TAKEN, "skipped")):
        broadcast = fill(ledger, [state], incident=state)
        taken = claim(ledger, broadcast).claims[0]
        forget(ledger, state)
        answer(ledger, broadcast, [said(taken.delivery, kind)])
        assert claim(ledger, broadcast).claims == ()
        assert states(ledger, state) == {"": state}


def accept(ledger: Ledger, keys: str, number: int = 1, at: datetime = NOW, **how: Any) -> None:
    """Let a provider take update `number` to these addresses at a time; `ids` is its name for all of them."""
    broadcast = fill(ledger, keys.split(), number=number, status="identified")
    for taken in claim(ledger, broadcast, now=at).claims:
        name = how.get("ids", f"{taken.key}-{number}")
        outcome = Outcome(taken.delivery, how.get("kind", ACCEPTED), provider_id=name)
        answer(ledger, broadcast, [Settlement(outcome, how.get("provider", "sendgrid"))], now=at)


def hear(ledger: Ledger, *receipts: Receipt, provider: str = "sendgrid", channel: str = "email") -> Any:
    where: dict[str, Any] = {"provider": provider, "channel": Channel(channel), "now": NOW + DAY}
    return do(ledger, join_receipts, ledger.secret, receipts=receipts, **where)


def rows(ledger: Ledger) -> dict[str, Any]:
    """Return deliveries by address; after it the update, where it is not the first."""
    found = ask(ledger, deliveries, "pay7")
    return {f"{row.address}:{row.notice[-1]}".removesuffix(":1"): row for row in found}


def kinds(ledger: Ledger) -> dict[str, str]:
    found = {key: row for key, row in rows(ledger).items() if row.receipt}
    return {key: f"{row.receipt} {row.receipt_detail}".strip() for key, row in found.items()}


def arrived(provider_id: str, at: datetime = NOW + MINUTE, key: str = "") -> Receipt:
    return Receipt(DELIVERED, at, provider_id=provider_id, key=key)


def bounce(key: str, at: datetime = NOW + MINUTE, **more: Any) -> Receipt:
    return Receipt(BOUNCED, at, key=key, **{"detail": "gone", "lasting": True, "suppress": True, **more})


def block(key: str, at: datetime = NOW + MINUTE) -> Receipt:
    return Receipt(FAILED, at, "busy", key=key)


WHICH = """
its own id                 | arrived a-1, arrived other, arrived                  | 2 | a delivered
both have to fit           | arrived a-1 to a, arrived a-2 to b, arrived c-1 to a | 2 | a delivered
an id of a whole request   | arrived request to c                                 | 0 | c:3 delivered
id and address, of any age | arrived a-1 to a after 216                           | 0 | a delivered
an address within 3 days   | block to a after 216, block to b after 72            | 1 | b failed busy
and no more                | block to b after 72.001                              | 1 |
not before it went         | block to b after -0.001                              | 1 |
but clocks differ          | block to b after -0.0003                             | 0 | b failed busy
at once                    | block to b after 0                                   | 0 | b failed busy
the latest before          | block to a after 0.4                                 | 0 | a:2 failed busy
a block drops nothing      | block to a                                           | 0 | a failed busy
an old bounce drops all | bounce to a after -4800 | 0 | a failed dropped: gone, a:2 failed dropped: gone
not what arrived | arrived a-2 to a after 0.35, bounce to a after 0.25 | 0 | a bounced gone, a:2 delivered
"""


def receipt_of(text: str) -> Receipt:
    """Return a receipt: its kind, the provider's id, "to" an address, "after" so many hours."""
    words = text.split()
    key = words[words.index("to") + 1] if "to" in words else ""
    hours = float(words[words.index("after") + 1]) if "after" in words else 1 / 60
    at = NOW + timedelta(hours=hours)
    if words[0] != "arrived":
        return {"block": block, "bounce": bounce}[words[0]](key, at)
    return arrived("".join(words[1:2]), at, key)


@pytest.mark.parametrize("row", rows_of(WHICH), ids=lambda row: row[0])
def test_which_delivery_a_receipt_speaks_of(ledger: Ledger, row: list[str]) -> None:
    accept(ledger, "a b")
    accept(ledger, "a", number=2, at=NOW + 20 * MINUTE)
    accept(ledger, "c d", number=3, ids="request")
    receipts = [receipt_of(each) for each in row[1].split(", ")]
    joined = hear(ledger, *receipts)
    found = kinds(ledger)
    assert ", ".join(f"{key} {said}" for key, said in found.items()) == row[3]
    assert (joined.foreign, joined.counts.total()) == (int(row[2]), len(found))
    assert bool(suppressed(ledger)) is any(each.suppress for each in receipts)


@pytest.mark.parametrize("kind", list(OutcomeKind))
def test_only_what_this_provider_accepted_has_receipts(ledger: Ledger, kind: OutcomeKind) -> None:
    accept(ledger, "a", kind=kind)
    for where in ({"provider": "smtp"}, {"channel": "sms"}, {})[: 2 if kind is ACCEPTED else 3]:
        assert hear(ledger, bounce("a"), arrived("a-1"), **where).foreign == 2
    assert (kinds(ledger), suppressed(ledger)) == ({}, {})


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_the_order_of_words_is_no_matter(ledger: Ledger, order: tuple[int, ...]) -> None:
    """Whether they come together, as those of a, or one by one."""
    accept(ledger, "a b")
    for key, chunk in (("a", 3), ("b", 1)):
        two, three, four = (NOW + number * MINUTE for number in (2, 3, 4))
        words = [arrived(f"{key}-1", two), block(key, three), bounce(key, four)]
        ordered = [words[number] for number in order]
        for start in range(0, 3, chunk):
            hear(ledger, *ordered[start : start + chunk])
    assert kinds(ledger) == dict.fromkeys("ab", "delivered bounced later: gone")
    assert {row.receipt_at for row in rows(ledger).values()} == {NOW + 4 * MINUTE}
    assert suppressed(ledger) == dict.fromkeys("ab", "bounced: gone")


@pytest.mark.parametrize(("first", "second"), [*itertools.permutations(ReceiptKind, 2)])
def test_a_stronger_receipt_stays(ledger: Ledger, first: ReceiptKind, second: ReceiptKind) -> None:
    accept(ledger, "a")
    before = rows(ledger)["a"]
    for minutes, kind in enumerate((first, second)):
        hear(ledger, Receipt(kind, NOW + minutes * MINUTE, provider_id="a-1"))
    after = rows(ledger)["a"]
    assert after.receipt == max(first, second, key=[FAILED, BOUNCED, DELIVERED].index)
    assert replace(after, receipt="", receipt_at=None, receipt_detail="") == before  # nothing else changes


def test_twice_is_once(ledger: Ledger) -> None:
    for number in (1, 2):
        accept(ledger, "a b", number=number, at=NOW + number * 10 * MINUTE)
    heard = [bounce("a", NOW + 11 * MINUTE), block("b", NOW + 21 * MINUTE)]
    heard += [arrived("b-1", NOW + 12 * MINUTE), arrived("a-2", NOW + 22 * MINUTE)]
    assert hear(ledger, *heard).counts.total()
    before = rows(ledger), suppressed(ledger)
    again = hear(ledger, *heard, *heard)
    assert (again.counts.total(), again.suppressed) == (0, 0)
    assert (rows(ledger), suppressed(ledger)) == before


@pytest.mark.parametrize("delivered", [False, True], ids=["bounced", "bounced after delivery"])
def test_who_was_let_in_again_is_not_shut_out_by_the_same_bounce(ledger: Ledger, delivered: bool) -> None:
    accept(ledger, "a")
    if delivered:
        hear(ledger, arrived("a-1", NOW))
    first = hear(ledger, bounce("a"))
    assert (first.counts.total(), first.suppressed) == (not delivered, 1)
    assert let_in(ledger, "a")
    assert hear(ledger, bounce("a")).suppressed == 0
    assert suppressed(ledger) == {}
    accept(ledger, "a", number=2, at=NOW + 30 * MINUTE)  # the provider still drops it
    assert hear(ledger, bounce("a")).suppressed == 1


def test_an_older_suppression_keeps_its_reason_and_what_waits_is_skipped(ledger: Ledger) -> None:
    accept(ledger, "a b")
    opt_out(ledger, "b")
    fill(ledger, "ac", number=2)
    assert hear(ledger, bounce("a"), bounce("b"), bounce("stranger")).suppressed == 1
    assert suppressed(ledger) == {"a": "bounced: gone", "b": "asked"}
    found = rows(ledger)
    assert (found["a:2"].state, found["a:2"].reason) == ("skipped", "opted out")
    assert found["c:2"].state == "pending"
    assert [each.by for each in ask(ledger, list_suppressions)] == ["dana", "sendgrid"]
    # The reason names the kind once.
    details = {"d": "bounced 5.1.1", "e": "5.1.1", "f": "", "g": "bounced"}
    accept(ledger, " ".join(details), number=3)
    hear(ledger, *(bounce(key, detail=detail) for key, detail in details.items()))
    reasons = ["bounced: 5.1.1", "bounced: 5.1.1", "bounced", "bounced"]
    assert [suppressed(ledger)[key] for key in details] == reasons


@pytest.mark.parametrize("bounced_first", [True, False])
def test_of_an_erased_person_only_the_kind_is_kept(ledger: Ledger, bounced_first: bool) -> None:
    """And one who came back is not named by what was erased."""
    accept(ledger, ANN)
    for bounces in (bounced_first, not bounced_first):
        if bounces:
            hear(ledger, bounce(ANN, detail="Ann has left"))
        else:
            forget(ledger, ANN)
    assert kinds(ledger) == {"": "bounced"}
    assert suppressed(ledger) == {erased_key(ledger.secret, ANN): "erased"}
    assert let_in(ledger, ANN)
    hear(ledger, bounce(ANN))
    assert suppressed(ledger) == {}


def test_a_providers_times_may_be_out_of_range_and_its_words_are_kept_without_people(
    ledger: Ledger,
) -> None:
    accept(ledger, "a b")
    for key, when in (("a", datetime.min.replace(tzinfo=UTC)), ("b", datetime.max.replace(tzinfo=UTC))):
        hear(ledger, bounce(key, when, lasting=False), arrived(f"{key}-1", when))
        assert rows(ledger)[key].receipt == "delivered"
    assert harmless("550 5.1.1 <ann@example.com>: unknown") == "550 5.1.1 * unknown"
    assert harmless("to ann%40example.com\r\n\x1b]0;x\x07 +49 151 12345671") == "to * ]0;x *"
    assert harmless("key SG.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") == "key SG.*"
    assert harmless("x " * 500) == ("x " * 60).strip()


def test_open_is_what_was_accepted_lately_and_has_no_receipt(ledger: Ledger) -> None:
    accept(ledger, "a b c")
    accept(ledger, "d", number=2, at=NOW - 4 * DAY)
    accept(ledger, "e", number=3, kind=OutcomeKind.UNKNOWN)
    accept(ledger, "f", number=4, provider="twilio")
    hear(ledger, arrived("a-1", NOW), bounce("c", NOW))
    since = NOW - 3 * DAY
    assert ask(ledger, open_providers, since) == {("sendgrid", "email"): 1, ("twilio", "email"): 1}
    assert ask(ledger, open_ids, "sendgrid", Channel.EMAIL, since) == {"b-1"}
    assert ask(ledger, overview.overviews)["pay7"].receipts == {"delivered": 1, "bounced": 1}


def test_an_old_ledger_that_kept_no_claim_is_asked_by_its_answers_and_by_an_index(ledger: Ledger) -> None:
    accept(ledger, "a")
    rewrite(ledger, claimed_at=None)
    assert ask(ledger, open_providers, NOW - MINUTE) == {("sendgrid", "email"): 1}
    hear(ledger, block("a"))
    assert kinds(ledger) == {"a": "failed busy"}
    plans = plans_of(ledger, ("select delivery.id",), lambda: hear(ledger, arrived("a-1"), bounce("a")))
    for index in ("delivery_receipt", "delivery_person"):
        assert index in " ".join(plans)


def test_a_call_is_begun_once_and_ends_by_itself(ledger: Ledger) -> None:
    """A nudge has failed only if each way of it has."""
    for incident, nudge in (("pay7", "nudge:1"), ("pay7", "nudge:2"), ("web1", "nudge:1")):
        assert do(ledger, oncall.begin_call, incident, nudge, NOW)
    assert not do(ledger, oncall.begin_call, "pay7", "nudge:1", LATER)
    do(ledger, oncall.end_call, "pay7", "nudge:1", is_accepted=False, detail="exit 1", now=LATER)
    do(ledger, oncall.end_call, "pay7", "nudge:2", is_accepted=True, detail="", now=LATER)
    ended = (("nudge:1", NOW, LATER, State.REJECTED, "exit 1"), ("nudge:2", NOW, LATER, State.ACCEPTED, ""))
    assert ask(ledger, oncall.calls, "pay7") == tuple(Call(*each) for each in ended)
    assert ask(ledger, oncall.calls, "web1") == (Call("nudge:1", NOW, None, State.UNKNOWN, ""),)
    fill(ledger, ["dana"], incident="~pay7")
    rewrite(ledger, notice="nudge:1", reason="busy")
    for state in State:
        rewrite(ledger, state=state)
        failed = ("busy", "exit 1") if state in {State.REJECTED, State.SKIPPED} else None
        assert ask(ledger, oncall.failures, "pay7", "nudge:1") == failed
    found = [ask(ledger, oncall.failures, *each) for each in (("pay7", "nudge:2"), ("web1", "nudge:1"))]
    assert (found, ask(ledger, oncall.failures, "web1", "nudge:2")) == ([None, None], ())


def ticked(ledger: Ledger, at: Iterable[datetime], host: str = "a") -> None:
    rows = [{"at": stamp(each), "host": host} for each in at]
    do(ledger, lambda connection: connection.execute(schema.tick.insert(), rows))


def test_so_many_ticks_are_kept_and_the_last_is_the_newest(ledger: Ledger) -> None:
    """The drift is that of the last day."""
    assert (ask(ledger, oncall.last_tick), ask(ledger, drift, NOW)) == (None, None)
    ticked(ledger, (NOW - each * MINUTE for each in range(TICKS_KEPT + 50, 0, -1)))
    do(ledger, oncall.record_tick, NOW, {})
    assert ask(ledger, oncall.last_tick) == NOW
    assert len(ask(ledger, lambda c: c.execute(select(schema.tick.c.id)).all())) == TICKS_KEPT
    do(ledger, lambda c: c.execute(schema.tick.delete()))
    ticked(ledger, (NOW - 2 * DAY + each * 30 * MINUTE for each in range(40)))
    ticked(ledger, (NOW - each * 5 * MINUTE for each in range(12, -1, -1)), "b")
    ticked(ledger, [NOW + timedelta(hours=2)])
    found = ask(ledger, drift, NOW)
    assert (found.typical, found.worst, found.hosts) == (5 * MINUTE, 5 * MINUTE, ("b",))


def test_only_the_newest_offer_is_taken_but_what_was_not_offered_may_be_all_the_same(ledger: Ledger) -> None:
    do(ledger, offer, "pay7", "sam", by="dana", now=NOW, note="db-eu-3 is back")
    assert ask(ledger, handovers, "pay7") == (Handover("sam", "dana", NOW, note="db-eu-3 is back"),)
    assert do(ledger, oncall.take, "pay7", "sam", by="sam", now=LATER)
    for person in ("sam", "kim"):
        do(ledger, offer, "dns2", person, by="dana", now=NOW)
    assert not do(ledger, oncall.take, "dns2", "sam", by="sam", now=LATER)
    assert ask(ledger, handovers, "web1") == ()
    offers = [Handover(person, "dana", NOW) for person in ("sam", "kim")]
    dns2 = (*offers, Handover("sam", "", LATER, "sam", LATER))
    pay7 = (Handover("sam", "dana", NOW, "sam", LATER, "db-eu-3 is back"),)
    assert ask(ledger, oncall.handovers_of_all) == {"pay7": pay7, "dns2": dns2}
