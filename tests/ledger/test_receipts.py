"""What a provider says later: joined to the right delivery, weighed in any order, and kept once."""

from __future__ import annotations

import itertools
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, update

from commcast.ledger import tables as schema
from commcast.ledger.history import Told, deliveries
from commcast.ledger.overview import overviews
from commcast.ledger.receipts import (
    Joined,
    harmless,
    join_receipts,
    open_ids,
    open_providers,
    receipts_by_incident,
)
from commcast.ledger.settle import Settlement
from commcast.ledger.store import Ledger
from commcast.ledger.suppressions import erase, erased_key, list_suppressions, suppress, unsuppress
from commcast.model.incident import Channel
from commcast.model.message import Outcome, OutcomeKind, Receipt, ReceiptKind
from tests.support.desk import NOW, answer, claim, fill, told

DELIVERED, BOUNCED, FAILED = ReceiptKind.DELIVERED, ReceiptKind.BOUNCED, ReceiptKind.FAILED
MINUTE = timedelta(minutes=1)


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
    with ledger.write() as connection:
        return join_receipts(
            connection,
            ledger.secret,
            provider=provider,
            channel=Channel(channel),
            receipts=receipts,
            now=NOW + timedelta(days=1),
        )


def rows(ledger: Ledger) -> dict[tuple[str, int], Told]:
    """Return deliveries by address and update."""
    with ledger.read() as connection:
        found = deliveries(connection, "pay7")
        return {(row.address, int(row.notice.partition(":")[2])): row for row in found}


def kinds(ledger: Ledger) -> dict[tuple[str, int], str]:
    return {name: row.receipt for name, row in rows(ledger).items()}


def suppressed(ledger: Ledger) -> dict[str, str]:
    with ledger.read() as connection:
        return {each.key: each.reason for each in list_suppressions(connection)}


def bounce(key: str, at: datetime = NOW + MINUTE, **more: object) -> Receipt:
    whole = {"detail": "550 5.1.1 unknown", "lasting": True, "suppress": True, **more}
    return Receipt(BOUNCED, at, key=key, **whole)  # type: ignore[arg-type]


def block(key: str, at: datetime = NOW + MINUTE) -> Receipt:
    return Receipt(FAILED, at, "421 busy", key=key)


# --- which delivery a receipt speaks of


def test_its_own_id_names_one_delivery_and_foreign_ones_name_none(ledger: Ledger) -> None:
    accept(ledger, "a", "b")
    joined = hear(
        ledger,
        Receipt(DELIVERED, NOW + MINUTE, provider_id="id-a-1"),
        Receipt(DELIVERED, NOW + MINUTE, provider_id="somebody-else"),
        Receipt(DELIVERED, NOW + MINUTE, provider_id=""),
    )
    assert kinds(ledger) == {("a", 1): "delivered", ("b", 1): ""}
    assert (joined.counts, joined.foreign) == ({"delivered": 1}, 2)


def test_id_and_address_both_have_to_fit(ledger: Ledger) -> None:
    accept(ledger, "a", "b", ids="request-1")
    accept(ledger, "a", number=2, ids="request-2")
    joined = hear(
        ledger,
        Receipt(DELIVERED, NOW, provider_id="request-1", key="a"),
        Receipt(DELIVERED, NOW, provider_id="request-2", key="b"),
        Receipt(DELIVERED, NOW, provider_id="request-3", key="a"),
    )
    assert kinds(ledger) == {("a", 1): "delivered", ("a", 2): "", ("b", 1): ""}
    assert joined.foreign == 2


def test_id_and_address_fit_however_old_the_hand_over(ledger: Ledger) -> None:
    accept(ledger, "a")
    late = Receipt(DELIVERED, NOW + timedelta(days=9), provider_id="id-a-1", key="a")
    hear(ledger, late, bounce("b", NOW + timedelta(days=9)))
    assert kinds(ledger) == {("a", 1): "delivered"}


def test_an_address_alone_means_the_latest_before(ledger: Ledger) -> None:
    for number in (1, 2, 3):
        accept(ledger, "a", number=number, at=NOW + number * 10 * MINUTE)
    hear(ledger, block("a", NOW + 25 * MINUTE))
    assert kinds(ledger) == {("a", 1): "", ("a", 2): "failed", ("a", 3): ""}


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
    assert kinds(ledger) == {("a", 1): kind}


def test_three_days_are_counted_for_each_receipt(ledger: Ledger) -> None:
    accept(ledger, "a", "b")
    hear(ledger, block("a", NOW + timedelta(days=9)), block("b"))
    assert kinds(ledger) == {("a", 1): "", ("b", 1): "failed"}


def test_what_lasts_drops_what_came_later(ledger: Ledger) -> None:
    for number in (1, 2, 3):
        accept(ledger, "a", number=number, at=NOW + number * 10 * MINUTE)
    hear(ledger, Receipt(DELIVERED, NOW + 31 * MINUTE, provider_id="id-a-3", key="a"))
    joined = hear(ledger, bounce("a", NOW + 15 * MINUTE))
    assert kinds(ledger) == {("a", 1): "bounced", ("a", 2): "failed", ("a", 3): "delivered"}
    assert rows(ledger)["a", 2].receipt_detail == "dropped: 550 5.1.1 unknown"
    assert joined.counts == {"bounced": 1, "failed": 1}


def test_a_passing_block_drops_nothing_and_silences_nobody(ledger: Ledger) -> None:
    accept(ledger, "a")
    accept(ledger, "a", number=2, at=NOW + 10 * MINUTE)
    hear(ledger, block("a"))
    assert kinds(ledger) == {("a", 1): "failed", ("a", 2): ""}
    assert suppressed(ledger) == {}


def test_an_old_bounce_drops_what_came_after_it(ledger: Ledger) -> None:
    accept(ledger, "a")
    hear(ledger, bounce("a", NOW - timedelta(days=200)))
    assert kinds(ledger) == {("a", 1): "failed"}


@pytest.mark.parametrize("kind", [OutcomeKind.UNKNOWN, OutcomeKind.REJECTED, OutcomeKind.NOT_TAKEN])
def test_only_what_was_accepted_has_receipts(ledger: Ledger, kind: OutcomeKind) -> None:
    accept(ledger, "a", kind=kind)
    joined = hear(ledger, bounce("a"), Receipt(DELIVERED, NOW, provider_id="id-a-1"))
    assert kinds(ledger) == {("a", 1): ""}
    assert joined.foreign == 2
    assert suppressed(ledger) == {}


def test_another_provider_and_another_channel_are_strangers(ledger: Ledger) -> None:
    accept(ledger, "a")
    ours = Receipt(DELIVERED, NOW, provider_id="id-a-1")
    assert hear(ledger, ours, bounce("a"), provider="smtp").foreign == 2
    assert hear(ledger, ours, bounce("a"), channel="sms").foreign == 2
    assert kinds(ledger) == {("a", 1): ""}


# --- what gives way to what

WORDS = (
    Receipt(DELIVERED, NOW + 2 * MINUTE, provider_id="id-a-1"),
    Receipt(FAILED, NOW + 3 * MINUTE, "421 busy", key="a"),
    Receipt(BOUNCED, NOW + 4 * MINUTE, "550 gone", key="a", lasting=True, suppress=True),
)


@pytest.mark.parametrize("order", [*itertools.permutations(WORDS)])
@pytest.mark.parametrize("together", [True, False])
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
    for minutes, kind in enumerate(said):
        hear(ledger, Receipt(kind, NOW + minutes * MINUTE, provider_id="id-a-1"))
    assert kinds(ledger) == {("a", 1): kept}


def test_twice_is_once(ledger: Ledger) -> None:
    for number in (1, 2):
        accept(ledger, "a", "b", number=number, at=NOW + number * 10 * MINUTE)
    said = [
        bounce("a", NOW + 11 * MINUTE),
        block("b", NOW + 21 * MINUTE),
        Receipt(DELIVERED, NOW + 12 * MINUTE, provider_id="id-b-1"),
        Receipt(DELIVERED, NOW + 22 * MINUTE, provider_id="id-a-2"),
    ]
    assert hear(ledger, *said).counts.total()
    before = rows(ledger), suppressed(ledger)
    again = hear(ledger, *said, *said)
    assert (again.counts.total(), again.suppressed) == (0, 0)
    assert (rows(ledger), suppressed(ledger)) == before


def test_who_was_let_in_again_is_not_shut_out_by_the_same_bounce(ledger: Ledger) -> None:
    accept(ledger, "a")
    assert hear(ledger, bounce("a")).suppressed == 1
    with ledger.write() as connection:
        unsuppress(connection, ledger.secret, "email", "a")
    assert hear(ledger, bounce("a")).suppressed == 0
    assert suppressed(ledger) == {}
    accept(ledger, "a", number=2, at=NOW + 30 * MINUTE)  # the provider still drops it
    assert hear(ledger, bounce("a")).suppressed == 1
    assert kinds(ledger) == {("a", 1): "bounced", ("a", 2): "failed"}


def test_a_bounce_after_delivery_silences_once_and_is_no_other_receipt(ledger: Ledger) -> None:
    accept(ledger, "a")
    hear(ledger, Receipt(DELIVERED, NOW, provider_id="id-a-1"))
    first = hear(ledger, bounce("a"))
    assert (first.counts.total(), first.suppressed) == (0, 1)
    with ledger.write() as connection:
        unsuppress(connection, ledger.secret, "email", "a")
    assert hear(ledger, bounce("a")).suppressed == 0
    assert suppressed(ledger) == {}


def test_an_older_suppression_keeps_its_reason_and_what_waits_is_skipped(ledger: Ledger) -> None:
    accept(ledger, "a", "b")
    with ledger.write() as connection:
        suppress(connection, "email", "b", reason="asked", by="dana", now=NOW)
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


# --- people who were erased


def forget(ledger: Ledger, key: str) -> None:
    with ledger.write() as connection:
        erase(connection, ledger.secret, "email", key, by="dana", now=NOW)


def test_of_an_erased_person_only_the_kind_is_kept(ledger: Ledger) -> None:
    accept(ledger, "ann@example.com")
    forget(ledger, "ann@example.com")
    hear(ledger, bounce("ann@example.com", detail="ann is gone"))
    row = told(ledger)[""]
    assert (row.receipt, row.receipt_detail) == ("bounced", "")
    assert suppressed(ledger) == {erased_key(ledger.secret, "ann@example.com"): "erased"}


def test_an_erasure_takes_the_words_of_a_receipt_along(ledger: Ledger) -> None:
    accept(ledger, "ann@example.com")
    hear(ledger, bounce("ann@example.com", detail="Ann Smith has left"))
    forget(ledger, "ann@example.com")
    assert (told(ledger)[""].receipt, told(ledger)[""].receipt_detail) == ("bounced", "")


def test_an_erased_person_who_came_back_is_not_named_by_what_was_erased(ledger: Ledger) -> None:
    accept(ledger, "ann@example.com")
    forget(ledger, "ann@example.com")
    with ledger.write() as connection:
        unsuppress(connection, ledger.secret, "email", "ann@example.com")
    hear(ledger, bounce("ann@example.com"))
    assert suppressed(ledger) == {}


# --- hostile words and times


@pytest.mark.parametrize("at", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_times_beyond_reckoning_are_no_traceback(ledger: Ledger, at: datetime) -> None:
    accept(ledger, "a")

    hear(ledger, bounce("a", at, lasting=False))
    hear(ledger, Receipt(DELIVERED, at, provider_id="id-a-1"))
    assert kinds(ledger) == {("a", 1): "delivered"}


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


# --- what is still to be asked, and what is shown


def test_open_is_what_was_accepted_lately_and_has_no_receipt(ledger: Ledger) -> None:
    accept(ledger, "a", "b", "c")
    accept(ledger, "d", number=2, at=NOW - timedelta(days=4))
    accept(ledger, "e", number=3, kind=OutcomeKind.UNKNOWN)
    accept(ledger, "f", number=4, provider="twilio")
    hear(ledger, Receipt(DELIVERED, NOW, provider_id="id-a-1"), block("c", NOW))
    with ledger.read() as connection:
        since = NOW - timedelta(days=3)
        assert open_providers(connection, since) == {("sendgrid", "email"): 1, ("twilio", "email"): 1}
        assert open_ids(connection, "sendgrid", Channel.EMAIL, since) == {"id-b-1"}


def test_an_old_ledger_that_kept_no_claim_is_asked_by_its_answers(ledger: Ledger) -> None:
    accept(ledger, "a")
    with ledger.write() as connection:
        connection.execute(update(schema.delivery).values(claimed_at=None))
    with ledger.read() as connection:
        assert open_providers(connection, NOW - MINUTE) == {("sendgrid", "email"): 1}
    hear(ledger, block("a"))
    assert kinds(ledger) == {("a", 1): "failed"}


def test_sums_by_incident(ledger: Ledger) -> None:
    accept(ledger, "a", "b", "c")
    hear(ledger, Receipt(DELIVERED, NOW, provider_id="id-a-1"), bounce("b"))
    with ledger.read() as connection:
        assert receipts_by_incident(connection) == {"pay7": {"delivered": 1, "bounced": 1}}
        assert overviews(connection)["pay7"].receipts == {"delivered": 1, "bounced": 1}


def test_a_receipt_changes_nothing_that_was_told(ledger: Ledger) -> None:
    accept(ledger, "a")
    before = rows(ledger)["a", 1]
    hear(ledger, bounce("a"))
    after = rows(ledger)["a", 1]
    assert replace(after, receipt="", receipt_at=None, receipt_detail="") == before


def test_both_joins_use_an_index(ledger: Ledger) -> None:
    accept(ledger, "a")
    plans: list[str] = []

    def explain(
        connection: object, cursor: sqlite3.Cursor, statement: str, parameters: tuple[object, ...], *_: object
    ) -> None:
        if statement.startswith("SELECT delivery.id"):
            cursor.execute(f"explain query plan {statement}", parameters)
            plans.extend(row[3] for row in cursor.fetchall())

    event.listen(ledger.engine, "before_cursor_execute", explain)
    hear(ledger, Receipt(DELIVERED, NOW, provider_id="id-a-1"), bounce("a"))
    joined = " ".join(plans)
    assert "delivery_receipt" in joined
    assert "delivery_person" in joined
