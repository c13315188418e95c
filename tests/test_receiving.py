"""Asking providers: one's trouble is not the other's, all that was heard is kept, and nothing piles up."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from sqlalchemy import Connection, event

from commcast.errors import CommcastError, ConfigError, ExitCode, LedgerError, TryAgain
from commcast.ledger.history import tallies
from commcast.ledger.receipts import receipts_by_incident
from commcast.ledger.settle import Settlement
from commcast.ledger.store import Ledger, create_ledger, ledger_path, open_ledger
from commcast.ledger.suppressions import Suppression, erase, erased_key, list_suppressions, suppress
from commcast.model.incident import Channel
from commcast.model.message import Outcome, OutcomeKind, Receipt, ReceiptKind
from commcast.operations import reconcile as receiving
from commcast.operations import suppress as importing
from commcast.operations.reconcile import Received, Receiver
from commcast.operations.suppress import Imported, Importer
from commcast.providers.base import Asked, Records, Refused, Sighting, SuppressionEntry
from tests.support.desk import DESK, NOW, answer, claim, fill, nothing_can_be_written

LATER = NOW + timedelta(minutes=5)
SINCE = NOW - timedelta(days=3)
DELIVERED = ReceiptKind.DELIVERED


@dataclass
class FakeRecords:
    """Records that say what they are given; what is an error is raised at its place."""

    said: Iterable[Receipt | Exception] = ()
    channel: Channel = Channel.EMAIL
    name: str = "sendgrid"
    closed: Exception | None = None
    asked: list[tuple[datetime, Collection[str]]] = field(default_factory=list)
    left: int = 0

    async def __aenter__(self) -> Self:
        if self.closed is not None:
            raise self.closed
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.left += 1

    async def look(self, asked: Sequence[Asked], known: Collection[str]) -> AsyncIterator[Sighting]:
        raise AssertionError("receipts look at no single message")
        yield

    async def receipts(self, since: datetime, open_ids: Collection[str]) -> AsyncIterator[Receipt]:
        self.asked.append((since, open_ids))
        for each in self.said:
            if isinstance(each, Exception):
                raise each
            yield each


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = create_ledger(ledger_path(tmp_path), DESK)
    yield made
    made.close()


def accept(ledger: Ledger, *keys: str, provider: str = "sendgrid", channel: str = "email") -> None:
    """Let a provider take an update to these addresses."""
    broadcast = fill(ledger, keys, channel=channel)
    taken = claim(ledger, broadcast, len(keys)).claims
    answers = [
        Settlement(Outcome(each.delivery, OutcomeKind.ACCEPTED, provider_id=f"id-{each.key}"), provider)
        for each in taken
    ]
    answer(ledger, broadcast, answers)


def arrived(*keys: str) -> list[Receipt]:
    return [Receipt(DELIVERED, LATER, provider_id=f"id-{key}") for key in keys]


def receive(ledger: Ledger, **records: FakeRecords | Exception | None) -> list[Received]:
    def records_for(provider: str) -> Records | None:
        found = records[provider]
        if isinstance(found, Exception):
            raise found
        return found

    return Receiver(ledger, records_for, lambda: LATER).receive(SINCE)


def sums(ledger: Ledger) -> dict[str, int]:
    with ledger.read() as connection:
        return dict(receipts_by_incident(connection).get("pay7", {}))


def test_a_provider_is_asked_about_what_has_no_receipt(ledger: Ledger) -> None:
    accept(ledger, "a", "b")
    records = FakeRecords(arrived("a"))
    (received,) = receive(ledger, sendgrid=records)
    assert records.asked == [(SINCE, {"id-a", "id-b"})]
    assert (received.asked, received.joined.counts, received.is_news) == (2, {"delivered": 1}, True)
    receive(ledger, sendgrid=records)
    assert records.asked[1] == (SINCE, {"id-b"})
    assert records.left == 2


def test_when_nothing_is_open_nobody_is_asked(ledger: Ledger) -> None:
    assert receive(ledger) == []
    accept(ledger, "a")
    receive(ledger, sendgrid=FakeRecords(arrived("a")))
    assert receive(ledger) == []


def test_a_provider_without_records_is_left_out(ledger: Ledger) -> None:
    accept(ledger, "a", provider="smtp")
    assert receive(ledger, smtp=None) == []


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (Refused("the key may not read bounces"), ExitCode.REFUSED),
        (TryAgain("down"), ExitCode.TRY_AGAIN),
        (ConfigError("SENDGRID_API_KEY is not set"), ExitCode.INPUT),
    ],
)
@pytest.mark.parametrize("when", ["made", "entered", "asked"])
def test_one_providers_trouble_is_not_the_others(
    ledger: Ledger, trouble: CommcastError, code: ExitCode, when: str
) -> None:
    accept(ledger, "a")
    accept(ledger, "+491", provider="twilio", channel="sms")
    broken: dict[str, FakeRecords | Exception] = {
        "made": trouble,
        "entered": FakeRecords(closed=trouble),
        "asked": FakeRecords([*arrived("a"), trouble]),
    }
    texts = FakeRecords(arrived("+491"), Channel.SMS, "twilio")
    first, second = receive(ledger, sendgrid=broken[when], twilio=texts)
    assert (first.trouble, first.exit_code) == (trouble, code)
    assert (second.exit_code, second.joined.counts) == (ExitCode.DONE, {"delivered": 1})
    # What was said before the trouble came is kept.
    assert sums(ledger) == {"delivered": 2 if when == "asked" else 1}


def test_receipts_are_joined_by_chunks(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "RECEIPTS_AT_ONCE", 10)
    keys = [f"k{number}" for number in range(25)]
    accept(ledger, *keys)
    seen_at: list[int] = []

    def saying() -> Iterator[Receipt]:
        for each in arrived(*keys):
            seen_at.append(sums(ledger).get("delivered", 0))
            yield each

    (received,) = receive(ledger, sendgrid=FakeRecords(saying()))
    assert received.joined.counts == {"delivered": 25}
    assert seen_at == [0] * 10 + [10] * 10 + [20] * 5


def test_a_full_last_chunk_is_no_trouble(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "RECEIPTS_AT_ONCE", 2)
    accept(ledger, "a", "b")
    (received,) = receive(ledger, sendgrid=FakeRecords(arrived("a", "b")))
    assert (received.trouble, received.joined.counts) == (None, {"delivered": 2})


def test_a_ledger_that_cannot_be_written_ends_the_run(ledger: Ledger) -> None:
    accept(ledger, "a")
    with nothing_can_be_written(), pytest.raises(LedgerError):
        receive(ledger, sendgrid=FakeRecords(arrived("a")))
    assert sums(ledger) == {}


def test_two_at_once_are_one(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "RECEIPTS_AT_ONCE", 3)
    keys = [f"k{number}" for number in range(60)]
    accept(ledger, *keys)
    bounces = [
        Receipt(ReceiptKind.BOUNCED, LATER, "550", key=key, lasting=True, suppress=True) for key in keys[::2]
    ]
    found: list[Received] = []

    def one() -> None:
        own = open_ledger(ledger.path, DESK)
        found.extend(receive(own, sendgrid=FakeRecords([*arrived(*keys[1::2]), *bounces])))
        own.close()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums(ledger) == {"delivered": 30, "bounced": 30}
    assert sum(each.joined.counts["delivered"] for each in found) == 30
    assert sum(each.joined.suppressed for each in found) == 30


# --- a provider's own lists


@dataclass
class FakeLists(FakeRecords):
    """Lists by name."""

    lists: dict[str, Sequence[SuppressionEntry | Exception]] = field(default_factory=dict)

    async def listed(self, names: Collection[str]) -> AsyncIterator[SuppressionEntry]:
        for name in names:
            for each in self.lists[name]:
                if isinstance(each, Exception):
                    raise each
                yield each


THEN = NOW - timedelta(days=400)


def entry(address: str, name: str = "bounces", reason: str = "550 5.1.1 unknown") -> SuppressionEntry:
    return SuppressionEntry(name, address, THEN, reason)


def bring_in(
    ledger: Ledger, *marked: bool, **lists: Sequence[SuppressionEntry | Exception]
) -> list[Imported]:
    names = [(name, not marked or marked[at]) for at, name in enumerate(lists)]
    importer = Importer(ledger, "SendGrid", "dana", lambda: NOW)
    return importer.bring_in(FakeLists(lists=dict(lists)), names)


def silenced(ledger: Ledger) -> dict[str, Suppression]:
    with ledger.read() as connection:
        return {each.key: each for each in list_suppressions(connection)}


def test_an_entry_keeps_its_reason_and_its_date(ledger: Ledger) -> None:
    (found,) = bring_in(ledger, bounces=[entry("Ann@Example.COM", reason="550 <ann@example.com> gone")])
    assert (found.read, found.new) == (1, 1)
    reason = "imported from SendGrid: bounces: 550 * gone"
    assert silenced(ledger) == {
        "ann@example.com": Suppression("email", "ann@example.com", reason, "dana", THEN)
    }


def test_known_doubled_and_unreadable_ones_are_counted(ledger: Ledger) -> None:
    with ledger.write() as connection:
        suppress(connection, "email", "old@example.com", reason="asked", by="dana", now=NOW)
    unsubscribed, bounced = bring_in(
        ledger,
        unsubscribes=[entry("both@example.com", "unsubscribes", "")],
        bounces=[
            entry("old@example.com"),
            entry("both@example.com"),
            entry("twice@example.com", reason="first"),
            entry("twice@example.com", reason="second"),
            entry("\x1b[31m no address"),
        ],
    )
    assert (unsubscribed.read, unsubscribed.new) == (1, 1)
    assert (bounced.read, bounced.new, bounced.known, bounced.unreadable) == (5, 1, 3, 1)
    reasons = {key: each.reason for key, each in silenced(ledger).items()}
    assert reasons["old@example.com"] == "asked"
    assert reasons["both@example.com"] == "imported from SendGrid: unsubscribes"
    assert reasons["twice@example.com"] == "imported from SendGrid: bounces: first"
    again = bring_in(ledger, bounces=[entry("twice@example.com")])
    assert (again[0].new, again[0].known) == (0, 1)


def test_an_erased_person_stays_a_hash(ledger: Ledger) -> None:
    with ledger.write() as connection:
        erase(connection, ledger.secret, "email", "ann@example.com", by="dana", now=NOW)
    (found,) = bring_in(ledger, bounces=[entry("Ann@example.com")])
    assert (found.new, found.known) == (0, 1)
    assert list(silenced(ledger)) == [erased_key(ledger.secret, "ann@example.com")]


def test_what_waits_for_them_is_skipped(ledger: Ledger) -> None:
    fill(ledger, ["ann@example.com", "bob@example.com"])
    bring_in(ledger, bounces=[entry("ann@example.com")])
    with ledger.read() as connection:
        assert {(each.state.value, each.reason) for each in tallies(connection)} == {
            ("skipped", "opted out"),
            ("pending", ""),
        }


def test_a_list_that_is_only_counted_silences_nobody(ledger: Ledger) -> None:
    with ledger.write() as connection:
        suppress(connection, "email", "old@example.com", reason="asked", by="dana", now=NOW)
    writes = watch_writes(ledger)
    (found,) = bring_in(ledger, False, blocks=[entry("ann@example.com"), entry("old@example.com")])
    assert (found.read, found.new, found.known, found.suppresses) == (2, 1, 1, False)
    assert list(silenced(ledger)) == ["old@example.com"]
    assert writes() == 0


def test_one_lists_trouble_is_not_the_others(ledger: Ledger) -> None:
    trouble = Refused("the key may not read unsubscribes")
    first, second = bring_in(ledger, unsubscribes=[trouble], bounces=[entry("ann@example.com")])
    assert (first.trouble, first.exit_code) == (trouble, ExitCode.REFUSED)
    assert (second.new, second.exit_code) == (1, ExitCode.DONE)


def test_a_provider_that_is_down_is_said_of_every_list(ledger: Ledger) -> None:
    lists = FakeLists(closed=TryAgain("down"))
    found = Importer(ledger, "SendGrid", "dana", lambda: NOW).bring_in(lists, [("a", True), ("b", True)])
    assert [each.exit_code for each in found] == [ExitCode.TRY_AGAIN] * 2


def test_lists_come_in_by_chunks(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CHUNK", 10)
    writes = watch_writes(ledger)
    entries = [entry(f"k{number}@example.com") for number in range(25)]
    (found,) = bring_in(ledger, bounces=[*entries, TryAgain("down")])
    assert (found.read, found.new, found.exit_code) == (25, 25, ExitCode.TRY_AGAIN)
    assert writes() == 3


def watch_writes(ledger: Ledger) -> Callable[[], int]:
    """Return what counts the transactions that write from now on."""
    begun: list[str] = []

    def note(connection: Connection) -> None:
        if not connection.get_execution_options().get("commcast_reads"):
            begun.append("write")

    event.listen(ledger.engine, "begin", note)
    return lambda: len(begun)
