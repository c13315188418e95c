"""What was said to whom and who counts as told; receipts; who is suppressed; ticks and hand-overs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, update

from commcast.ledger import tables as schema
from commcast.ledger.fence import stop_incident, stops_in_force
from commcast.ledger.history import (
    deliveries,
    histories,
    incident_history,
    tallies,
    told_people,
    what_was_said,
)
from commcast.ledger.oncall import (
    TICKS_KEPT,
    drift,
    handovers,
    handovers_of_all,
    last_tick,
    offer,
    record_tick,
)
from commcast.ledger.oncall import take as take_over
from commcast.ledger.overview import overviews
from commcast.ledger.receipts import Joined, harmless, join_receipts, open_ids, open_providers
from commcast.ledger.settle import Settlement
from commcast.ledger.store import Ledger
from commcast.ledger.suppressions import (
    erase,
    erased_key,
    list_suppressions,
    suppress,
    suppressed_among,
    unsuppress,
)
from commcast.ledger.tables import State, stamp
from commcast.model.history import ERASED, NOBODY_KNOWS, Said
from commcast.model.incident import Channel
from commcast.model.message import Outcome, OutcomeKind, Receipt, ReceiptKind
from commcast.model.oncall import Handover
from tests.support.desk import (
    NOW,
    ROW,
    Bench,
    answer,
    claim,
    fill,
    numbered,
    said,
    states,
    told,
    update_text,
    write_desk,
    write_incident,
)

DELIVERED, BOUNCED, FAILED = ReceiptKind.DELIVERED, ReceiptKind.BOUNCED, ReceiptKind.FAILED
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
LATER = NOW + 3 * MINUTE
ANN = "ann@example.com"


def put(ledger: Ledger, state: State) -> None:
    """Put every delivery into a state."""
    with ledger.write() as connection:
        connection.execute(update(schema.delivery).values(state=state))


def known_of(ledger: Ledger, key: str, notice: str = "update:2") -> tuple[str, bool, str]:
    with ledger.read() as connection:
        found = histories(connection, ledger.secret, "pay7", notice, "email", [key]).get(key, NOBODY_KNOWS)
    return found.state, found.told, found.suppressed


def readers(ledger: Ledger, notice: str = "update:2") -> list[str]:
    with ledger.read() as connection:
        return [person.address for person in told_people(connection, "pay7", "email", notice)]


def opt_out(ledger: Ledger, key: str, reason: str = "asked") -> None:
    with ledger.write() as connection:
        suppress(connection, "email", key, reason=reason, by="dana", now=NOW)


def let_in(ledger: Ledger, key: str, channel: str = "email") -> bool:
    with ledger.write() as connection:
        return unsuppress(connection, ledger.secret, channel, key)


def forget(ledger: Ledger, key: str) -> int:
    with ledger.write() as connection:
        return erase(connection, ledger.secret, "email", key, by="dana", now=NOW)


def suppressed(ledger: Ledger) -> dict[str, str]:
    with ledger.read() as connection:
        return {each.key: each.reason for each in list_suppressions(connection)}


def plans_of(ledger: Ledger, begins: str, look: Callable[[], object]) -> list[str]:
    """Return how the database finds its rows in the statements of a look-up that begin so."""
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith(begins):
            cursor.execute(f"explain query plan {statement}", parameters)
            plans.extend(row[3] for row in cursor.fetchall())

    event.listen(ledger.engine, "before_cursor_execute", explain)
    look()
    return plans


# --- who was told


@pytest.mark.parametrize("state", list(State))
def test_told_is_who_heard_may_have_heard_or_may_hear_at_any_moment(ledger: Ledger, state: State) -> None:
    """The notice itself is a state and not a telling; another incident or channel tells nobody of it."""
    fill(ledger, ["a"])
    fill(ledger, ["elsewhere"], incident="web1")
    fill(ledger, ["elsewhere"], channel="sms")
    put(ledger, state)
    is_told = state not in {State.REJECTED, State.SKIPPED}
    assert known_of(ledger, "a") == ("", is_told, "")
    assert known_of(ledger, "a", "update:1") == (state, False, "")
    assert known_of(ledger, "elsewhere") == known_of(ledger, "stranger") == ("", False, "")
    assert (readers(ledger), readers(ledger, "update:1")) == (["a"] if is_told else [], [])


def test_an_erased_person_is_known_by_hash_and_is_no_reader_any_more(ledger: Ledger) -> None:
    fill(ledger, ["a"])
    put(ledger, State.ACCEPTED)
    forget(ledger, "a")
    assert (known_of(ledger, "a"), readers(ledger)) == (("", True, "erased"), [])


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
    for number, channel in ((1, "email"), (3, "email"), (1, "sms")):
        fill(ledger, ["a"], number=number, channel=channel)
    fill(ledger, ["a"], number=4, finish=False)
    with ledger.write() as connection:
        stop_incident(connection, "*", "dana", NOW)
        found = incident_history(connection, "pay7")
    assert found.told_up_to == {Channel.EMAIL: 3, Channel.SMS: 1}
    mails = {("update:1", Channel.EMAIL), ("update:3", Channel.EMAIL)}
    assert found.begun == mails | {("update:1", Channel.SMS)}
    assert (found.releases, found.stopped_by) == ({}, "dana")


def test_a_stop_is_written_once_and_one_of_all_hides_none(ledger: Ledger) -> None:
    with ledger.write() as connection:
        assert stop_incident(connection, "pay7", "dana", NOW)
        assert not stop_incident(connection, "pay7", "sam", NOW)
        assert stop_incident(connection, "*", "sam", NOW)
        assert [stop.by for stop in stops_in_force(connection, "pay7")] == ["dana", "sam"]
        assert [stop.by for stop in stops_in_force(connection, "web1")] == ["sam"]


def test_tallies_count_by_state_and_reason_and_the_log_asks_for_some_states(ledger: Ledger) -> None:
    fill(ledger, ["a", "b"])
    fill(ledger, ["c"], number=2, row=replace(ROW, state=State.SKIPPED, reason="opted out"))
    fill(ledger, ["d"], incident="web1")
    fill(ledger, ["dana"], incident="~pay7")
    with ledger.read() as connection:
        found = [(t.notice, t.state, t.reason, t.count) for t in tallies(connection, "pay7")]
        assert found == [("update:1", "pending", "", 2), ("update:2", "skipped", "opted out", 1)]
        everything = tallies(connection)
        assert ([t.incident for t in everything], everything[0].changed_at) == (["pay7", "pay7", "web1"], NOW)
        assert [t.address for t in deliveries(connection, "pay7", [State.SKIPPED])] == ["c"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_desk(tmp_path, customers=numbered(20))
    write_incident(tmp_path)
    return Bench(tmp_path)


def test_each_audience_and_what_it_was_promised(bench: Bench) -> None:
    """And no list is read from end to end for it."""
    bench.send()
    path = bench.folder / "incidents" / "pay7.yaml"
    end = update_text(bench.later(minutes=5), status="resolved", fixed="The switch.")
    path.write_text(path.read_text() + end)
    bench.send()
    found: list[Said] = []

    def look() -> None:
        with bench.ledger.read() as connection:
            found.extend(what_was_said(connection, "pay7"))

    steps = [plan for plan in plans_of(bench.ledger, "SELECT", look) if "delivery" in plan]
    assert steps
    assert all("delivery_composition" in plan for plan in steps), steps
    told = [(each.notice, each.channel.value, each.audience, each.promised is None) for each in found]
    assert told == [
        ("update:1", "email", "customers", False),
        ("update:1", "email", "support", False),
        ("update:1", "sms", "customers", told[2][3]),
        ("update:2", "email", "customers", True),
        ("update:2", "email", "support", True),
        ("update:2", "sms", "customers", True),
    ]


# --- who is suppressed: opted out by key, erased by a hash that only this ledger can make


def among(ledger: Ledger, *keys: str) -> dict[str, str]:
    with ledger.read() as connection:
        return suppressed_among(connection, ledger.secret, "email", keys)


def test_an_opt_out_ends_what_waits_and_leaves_what_was_said(ledger: Ledger) -> None:
    said_before = fill(ledger, ["a"], incident="old1")
    taken = claim(ledger, said_before).claims[0]
    answer(ledger, said_before, [said(taken.delivery, OutcomeKind.ACCEPTED)])
    fill(ledger, ["a", "b"])
    fill(ledger, ["a"], incident="held1", row=replace(ROW, state=State.HELD))
    fill(ledger, ["a"], incident="text1", channel="sms")
    opt_out(ledger, "a")
    opt_out(ledger, "a", "asked twice")
    assert among(ledger, "a", "b") == {"a": "asked"}, "an older opt-out keeps its reason"
    assert states(ledger) == {"a": "skipped", "b": "pending"}
    assert told(ledger)["a"].reason == "opted out"
    found = {incident: states(ledger, incident)["a"] for incident in ("held1", "old1", "text1")}
    assert found == {"held1": "skipped", "old1": "accepted", "text1": "pending"}


@pytest.mark.parametrize("shut_out", [opt_out, forget])
def test_who_is_let_in_again_is_named_once(ledger: Ledger, shut_out: Callable[[Ledger, str], object]) -> None:
    shut_out(ledger, "a")
    assert (let_in(ledger, "a"), let_in(ledger, "a"), let_in(ledger, "a", "sms")) == (True, False, False)
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
    broadcast = fill(ledger, ["a", "b"])
    forget(ledger, "a")
    assert among(ledger, "a", "b") == {"a": ERASED}
    assert [c.key for c in claim(ledger, broadcast).claims] == ["b"]
    assert known_of(ledger, "a", "update:1") == ("skipped", False, ERASED)


@pytest.mark.parametrize(
    ("kind", "state"), [(OutcomeKind.ACCEPTED, "accepted"), (OutcomeKind.NOT_TAKEN, "skipped")]
)
def test_an_erasure_during_a_hand_over_still_settles_it(
    ledger: Ledger, kind: OutcomeKind, state: str
) -> None:
    broadcast = fill(ledger, ["a"])
    taken = claim(ledger, broadcast).claims[0]
    forget(ledger, "a")
    answer(ledger, broadcast, [said(taken.delivery, kind)])
    assert claim(ledger, broadcast).claims == ()
    assert states(ledger) == {"": state}


# --- what a provider says later: joined to the right delivery, weighed in any order, kept once


def accept(
    ledger: Ledger,
    *keys: str,
    number: int = 1,
    at: datetime = NOW,
    ids: str = "",
    kind: OutcomeKind = OutcomeKind.ACCEPTED,
    provider: str = "sendgrid",
) -> None:
    """Let a provider take update `number` to these addresses at a time; `ids` is its name for all of them."""
    broadcast = fill(ledger, keys, number=number, status="identified")
    for taken in claim(ledger, broadcast, len(keys), now=at).claims:
        outcome = Outcome(taken.delivery, kind, provider_id=ids or f"id-{taken.key}-{number}")
        answer(ledger, broadcast, [Settlement(outcome, provider)], now=at)


def hear(ledger: Ledger, *receipts: Receipt, provider: str = "sendgrid", channel: str = "email") -> Joined:
    where = {"provider": provider, "channel": Channel(channel), "now": NOW + timedelta(days=1)}
    with ledger.write() as connection:
        return join_receipts(connection, ledger.secret, receipts=receipts, **where)  # type: ignore[arg-type]


def rows(ledger: Ledger) -> dict[tuple[str, int], Any]:
    """Return deliveries by address and update."""
    with ledger.read() as connection:
        found = deliveries(connection, "pay7")
        return {(row.address, int(row.notice.partition(":")[2])): row for row in found}


def kinds(ledger: Ledger) -> dict[str, str]:
    """Return the receipt of each address; after a colon the update, where it is not the first."""
    return {
        key if number == 1 else f"{key}:{number}": row.receipt for (key, number), row in rows(ledger).items()
    }


def arrived(provider_id: str, at: datetime = NOW + MINUTE, key: str = "") -> Receipt:
    return Receipt(DELIVERED, at, provider_id=provider_id, key=key)


def bounce(key: str, at: datetime = NOW + MINUTE, **more: object) -> Receipt:
    whole = {"detail": "550 5.1.1 unknown", "lasting": True, "suppress": True, **more}
    return Receipt(BOUNCED, at, key=key, **whole)  # type: ignore[arg-type]


def block(key: str, at: datetime = NOW + MINUTE) -> Receipt:
    return Receipt(FAILED, at, "421 busy", key=key)


@pytest.mark.parametrize(
    ("receipts", "found", "foreign"),
    [
        pytest.param(
            [arrived("id-a-1"), arrived("somebody-else"), arrived("")],
            {"a": "delivered", "a:2": "", "b": ""},
            2,
            id="its own id",
        ),
        pytest.param(
            [arrived("id-a-1", key="a"), arrived("id-a-2", key="b"), arrived("id-c-1", key="a")],
            {"a": "delivered", "a:2": "", "b": ""},
            2,
            id="both have to fit",
        ),
        pytest.param(
            [
                arrived("id-a-1", NOW + timedelta(days=9), "a"),
                block("a", NOW + timedelta(days=9)),
                block("b"),
            ],
            {"a": "delivered", "a:2": "", "b": "failed"},
            1,
            id="both, however old; an address alone, three days for each",
        ),
        pytest.param(
            [block("a", NOW + 25 * MINUTE)], {"a": "", "a:2": "failed", "b": ""}, 0, id="the latest before"
        ),
        pytest.param([block("a")], {"a": "failed", "a:2": "", "b": ""}, 0, id="a block drops nothing"),
        pytest.param(
            [bounce("a", NOW - timedelta(days=200))],
            {"a": "failed", "a:2": "failed", "b": ""},
            0,
            id="an old bounce drops what came after it",
        ),
    ],
)
def test_which_delivery_a_receipt_speaks_of(
    ledger: Ledger, receipts: list[Receipt], found: dict[str, str], foreign: int
) -> None:
    accept(ledger, "a", "b")
    accept(ledger, "a", number=2, at=NOW + 20 * MINUTE)
    joined = hear(ledger, *receipts)
    assert (kinds(ledger), joined.foreign) == (found, foreign)
    assert joined.counts.total() == len([kind for kind in found.values() if kind])
    assert bool(suppressed(ledger)) is any(each.suppress for each in receipts)


@pytest.mark.parametrize(
    ("later", "kind"),
    [
        (timedelta(hours=72), "failed"),
        (timedelta(hours=72, seconds=1), ""),
        (timedelta(0), "failed"),
        (timedelta(seconds=-1), "failed"),  # whole seconds, and clocks that differ
        (timedelta(seconds=-3), ""),
    ],
)
def test_an_address_alone_speaks_of_three_days(ledger: Ledger, later: timedelta, kind: str) -> None:
    accept(ledger, "a")
    hear(ledger, block("a", NOW + later))
    assert kinds(ledger) == {"a": kind}


def test_an_id_of_a_whole_request_needs_the_address(ledger: Ledger) -> None:
    accept(ledger, "a", "b", ids="request-1")
    hear(ledger, arrived("request-1", key="a"))
    assert kinds(ledger) == {"a": "delivered", "b": ""}


def test_what_lasts_drops_what_came_later(ledger: Ledger) -> None:
    for number in (1, 2, 3):
        accept(ledger, "a", number=number, at=NOW + number * 10 * MINUTE)
    hear(ledger, arrived("id-a-3", NOW + 31 * MINUTE, "a"))
    joined = hear(ledger, bounce("a", NOW + 15 * MINUTE))
    assert kinds(ledger) == {"a": "bounced", "a:2": "failed", "a:3": "delivered"}
    assert rows(ledger)["a", 2].receipt_detail == "dropped: 550 5.1.1 unknown"
    assert joined.counts == {"bounced": 1, "failed": 1}


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        (OutcomeKind.UNKNOWN, {}),
        (OutcomeKind.REJECTED, {}),
        (OutcomeKind.NOT_TAKEN, {}),
        (OutcomeKind.ACCEPTED, {"provider": "smtp"}),
        (OutcomeKind.ACCEPTED, {"channel": "sms"}),
    ],
)
def test_only_what_this_provider_accepted_has_receipts(
    ledger: Ledger, kind: OutcomeKind, where: dict[str, str]
) -> None:
    accept(ledger, "a", kind=kind)
    assert hear(ledger, bounce("a"), arrived("id-a-1"), **where).foreign == 2
    assert (kinds(ledger), suppressed(ledger)) == ({"a": ""}, {})


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    "order",
    [
        *itertools.permutations(
            [
                arrived("id-a-1", NOW + 2 * MINUTE),
                Receipt(FAILED, NOW + 3 * MINUTE, "421 busy", key="a"),
                Receipt(BOUNCED, NOW + 4 * MINUTE, "550 gone", key="a", lasting=True, suppress=True),
            ]
        )
    ],
)
def test_the_order_of_words_is_no_matter(ledger: Ledger, order: tuple[Receipt, ...], together: bool) -> None:
    accept(ledger, "a")
    for receipts in [order] if together else [(each,) for each in order]:
        hear(ledger, *receipts)
    row = rows(ledger)["a", 1]
    assert (row.receipt, row.receipt_detail) == ("delivered", "bounced later: 550 gone")
    assert row.receipt_at == NOW + 4 * MINUTE
    assert suppressed(ledger) == {"a": "bounced: 550 gone"}


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ((DELIVERED, FAILED), "delivered"),
        ((DELIVERED, BOUNCED), "delivered"),
        ((FAILED, DELIVERED), "delivered"),
        ((BOUNCED, DELIVERED), "delivered"),
        ((FAILED, BOUNCED), "bounced"),
        ((BOUNCED, FAILED), "bounced"),
    ],
)
def test_a_word_gives_way_only_to_a_stronger_one(
    ledger: Ledger, said: tuple[ReceiptKind, ReceiptKind], kept: str
) -> None:
    accept(ledger, "a")
    before = rows(ledger)["a", 1]
    for minutes, kind in enumerate(said):
        hear(ledger, Receipt(kind, NOW + minutes * MINUTE, provider_id="id-a-1"))
    after = rows(ledger)["a", 1]
    assert after.receipt == kept
    assert replace(after, receipt="", receipt_at=None, receipt_detail="") == before  # nothing else changes


def test_twice_is_once(ledger: Ledger) -> None:
    for number in (1, 2):
        accept(ledger, "a", "b", number=number, at=NOW + number * 10 * MINUTE)
    heard = [
        bounce("a", NOW + 11 * MINUTE),
        block("b", NOW + 21 * MINUTE),
        arrived("id-b-1", NOW + 12 * MINUTE),
        arrived("id-a-2", NOW + 22 * MINUTE),
    ]
    assert hear(ledger, *heard).counts.total()
    before = rows(ledger), suppressed(ledger)
    again = hear(ledger, *heard, *heard)
    assert (again.counts.total(), again.suppressed) == (0, 0)
    assert (rows(ledger), suppressed(ledger)) == before


@pytest.mark.parametrize("delivered", [False, True], ids=["bounced", "bounced after delivery"])
def test_who_was_let_in_again_is_not_shut_out_by_the_same_bounce(ledger: Ledger, delivered: bool) -> None:
    accept(ledger, "a")
    if delivered:
        hear(ledger, arrived("id-a-1", NOW))
    first = hear(ledger, bounce("a"))
    assert (first.counts.total(), first.suppressed) == (not delivered, 1)
    assert let_in(ledger, "a")
    assert hear(ledger, bounce("a")).suppressed == 0
    assert suppressed(ledger) == {}
    accept(ledger, "a", number=2, at=NOW + 30 * MINUTE)  # the provider still drops it
    assert hear(ledger, bounce("a")).suppressed == 1


def test_an_older_suppression_keeps_its_reason_and_what_waits_is_skipped(ledger: Ledger) -> None:
    accept(ledger, "a", "b")
    opt_out(ledger, "b")
    fill(ledger, ["a", "c"], number=2)
    assert hear(ledger, bounce("a"), bounce("b"), bounce("stranger")).suppressed == 1
    assert suppressed(ledger) == {"a": "bounced: 550 5.1.1 unknown", "b": "asked"}
    found = rows(ledger)
    assert (found["a", 2].state, found["a", 2].reason) == ("skipped", "opted out")
    assert found["c", 2].state == "pending"
    with ledger.read() as connection:
        assert [each.by for each in list_suppressions(connection)] == ["dana", "sendgrid"]


@pytest.mark.parametrize(
    ("detail", "reason"),
    [
        ("bounced 5.1.1", "bounced: 5.1.1"),
        ("5.1.1", "bounced: 5.1.1"),
        ("", "bounced"),
        ("bounced", "bounced"),
    ],
)
def test_the_reason_names_the_kind_once(ledger: Ledger, detail: str, reason: str) -> None:
    accept(ledger, "a")
    hear(ledger, bounce("a", detail=detail))
    assert suppressed(ledger) == {"a": reason}


@pytest.mark.parametrize("bounced_first", [True, False])
def test_of_an_erased_person_only_the_kind_is_kept(ledger: Ledger, bounced_first: bool) -> None:
    accept(ledger, ANN)
    for bounces in (bounced_first, not bounced_first):
        if bounces:
            hear(ledger, bounce(ANN, detail="Ann has left"))
        else:
            forget(ledger, ANN)
    assert (told(ledger)[""].receipt, told(ledger)[""].receipt_detail) == ("bounced", "")
    assert suppressed(ledger) == {erased_key(ledger.secret, ANN): "erased"}


def test_an_erased_person_who_came_back_is_not_named_by_what_was_erased(ledger: Ledger) -> None:
    accept(ledger, ANN)
    forget(ledger, ANN)
    assert let_in(ledger, ANN)
    hear(ledger, bounce(ANN))
    assert suppressed(ledger) == {}


@pytest.mark.parametrize("at", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_times_out_of_all_range_are_no_traceback(ledger: Ledger, at: datetime) -> None:
    accept(ledger, "a")
    hear(ledger, bounce("a", at, lasting=False))
    hear(ledger, arrived("id-a-1", at))
    assert kinds(ledger) == {"a": "delivered"}


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("550 5.1.1 <ann@example.com>: unknown", "550 5.1.1 * unknown"),
        ("to ann%40example.com\r\n\x1b]0;x\x07 +49 151 12345671", "to * ]0;x *"),
        ("key SG.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "key SG.*"),
        ("x " * 500, ("x " * 60).strip()),
    ],
)
def test_a_providers_words_are_kept_without_people_and_short(words: str, kept: str) -> None:
    assert harmless(words) == kept


def test_open_is_what_was_accepted_lately_and_has_no_receipt(ledger: Ledger) -> None:
    accept(ledger, "a", "b", "c")
    accept(ledger, "d", number=2, at=NOW - timedelta(days=4))
    accept(ledger, "e", number=3, kind=OutcomeKind.UNKNOWN)
    accept(ledger, "f", number=4, provider="twilio")
    hear(ledger, arrived("id-a-1", NOW), bounce("c", NOW))
    with ledger.read() as connection:
        since = NOW - timedelta(days=3)
        assert open_providers(connection, since) == {("sendgrid", "email"): 1, ("twilio", "email"): 1}
        assert open_ids(connection, "sendgrid", Channel.EMAIL, since) == {"id-b-1"}
        assert overviews(connection)["pay7"].receipts == {"delivered": 1, "bounced": 1}


def test_an_old_ledger_that_kept_no_claim_is_asked_by_its_answers(ledger: Ledger) -> None:
    accept(ledger, "a")
    with ledger.write() as connection:
        connection.execute(update(schema.delivery).values(claimed_at=None))
        assert open_providers(connection, NOW - MINUTE) == {("sendgrid", "email"): 1}
    hear(ledger, block("a"))
    assert kinds(ledger) == {"a": "failed"}


def test_both_joins_use_an_index(ledger: Ledger) -> None:
    accept(ledger, "a")
    plans = plans_of(ledger, "SELECT delivery.id", lambda: hear(ledger, arrived("id-a-1"), bounce("a")))
    for index in ("delivery_receipt", "delivery_person"):
        assert index in " ".join(plans)


# --- ticks and hand-overs


def ticked(ledger: Ledger, at: Iterable[datetime], host: str = "a") -> None:
    with ledger.write() as connection:
        connection.execute(schema.tick.insert(), [{"at": stamp(each), "host": host} for each in at])


def test_so_many_ticks_are_kept_and_the_last_is_the_newest(ledger: Ledger) -> None:
    with ledger.write() as connection:
        assert (last_tick(connection), drift(connection, NOW)) == (None, None)
    ticked(ledger, (NOW - each * MINUTE for each in range(TICKS_KEPT + 50, 0, -1)))
    with ledger.write() as connection:
        record_tick(connection, NOW)
        assert last_tick(connection) == NOW
        assert len(connection.execute(select(schema.tick.c.id)).all()) == TICKS_KEPT


def test_the_drift_is_that_of_the_last_day(ledger: Ledger) -> None:
    ticked(ledger, (NOW - timedelta(days=2) + each * 30 * MINUTE for each in range(40)))
    ticked(ledger, (NOW - each * 5 * MINUTE for each in range(12, -1, -1)), "b")
    ticked(ledger, [NOW + timedelta(hours=2)])
    with ledger.read() as connection:
        found = drift(connection, NOW)
    assert found is not None
    assert (found.typical, found.worst, found.hosts) == (5 * MINUTE, 5 * MINUTE, ("b",))


def test_only_the_newest_offer_is_taken_but_what_was_not_offered_may_be_all_the_same(ledger: Ledger) -> None:
    with ledger.write() as connection:
        offer(connection, "pay7", "sam", by="dana", now=NOW, note="db-eu-3 is back")
        assert handovers(connection, "pay7") == (Handover("sam", "dana", NOW, note="db-eu-3 is back"),)
        assert take_over(connection, "pay7", "sam", by="sam", now=LATER)
        offer(connection, "dns2", "sam", by="dana", now=NOW)
        offer(connection, "dns2", "kim", by="dana", now=NOW)
        assert not take_over(connection, "dns2", "sam", by="sam", now=LATER)
        assert handovers(connection, "web1") == ()
        assert handovers_of_all(connection) == {
            "pay7": (Handover("sam", "dana", NOW, "sam", LATER, "db-eu-3 is back"),),
            "dns2": (
                *(Handover("sam", "dana", NOW), Handover("kim", "dana", NOW)),
                Handover("sam", "", LATER, "sam", LATER),
            ),
        }
