"""Asking providers about unknown deliveries, receipts and lists: what they prove is kept, nothing is sent."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, update

from commcast.errors import CommcastError, ConfigError, ExitCode, LedgerError, TryAgain
from commcast.ledger import tables as schema
from commcast.ledger.history import Told
from commcast.ledger.settle import Settlement, current_owner
from commcast.ledger.store import Ledger, create_ledger, ledger_path, open_ledger
from commcast.ledger.suppressions import Suppression, erase, erased_key, list_suppressions, suppress
from commcast.ledger.unknowns import Which, acts
from commcast.model.incident import Channel
from commcast.model.message import Email, Outcome, OutcomeKind, Receipt, ReceiptKind
from commcast.operations import reconcile as reconciling
from commcast.operations import suppress as importing
from commcast.operations.reconcile import ERASED, NOT_ASKED, Received, Receiver, Reconciled, Reconciler
from commcast.operations.reconcile import UnknownGroup as Group
from commcast.operations.suppress import Imported, Importer
from commcast.providers.base import Asked, Records, Refused, Seen, Sighting, SuppressionEntry
from tests.support import desk, providers
from tests.support.desk import DESK, NOW, Bench, fill, nothing_can_be_written
from tests.support.providers import FakeAdapter, FakeRecords, SayingRecords, saying, seeing, taken

ALL = Which()
LATER, SINCE = NOW + timedelta(minutes=5), NOW - timedelta(days=3)
TROUBLES = [
    (Refused("the key may not read bounces"), ExitCode.REFUSED),
    (TryAgain("down"), ExitCode.TRY_AGAIN),
    (ConfigError("SENDGRID_API_KEY is not set"), ExitCode.INPUT),
]


def desk_of(
    folder: Path, customers: int = 4, *, email: str = "outbox", answer: OutcomeKind | None = None
) -> Bench:
    """A desk whose texts go by Twilio; the answers to all of its messages were lost.

    Without an `answer` the run died over them, and nobody wrote down who had them.
    """
    su = ["help@acme.example,Su"]
    desk.write_desk(
        folder, customers=desk.numbered(customers), support=su, email=email, sms='provider = "twilio"'
    )
    desk.write_incident(folder)
    bench = Bench(folder)
    bench.release()
    if answer is None:
        bench.freeze()
        providers.die_over(bench)
        return bench
    name = {Channel.SMS: "twilio", Channel.EMAIL: email}
    bench.adapter = lambda channel: FakeAdapter(channel, saying(answer), name=name[channel], ready=50)
    bench.send()
    return bench


def ask(
    bench: Bench,
    *records: FakeRecords,
    which: Which = ALL,
    sms: str = "twilio",
    records_for: Callable[[str], Records | None] | None = None,
) -> Reconciled:
    """Reconcile with these records, and none of any other provider; anything handed over fails the test."""
    by_name: dict[str, Records] = {each.name: each for each in records}
    email = records[0].name if records and records[0].channel == "email" else "outbox"
    reconciler = Reconciler(
        ledger=bench.ledger,
        configured={"email": email, "sms": sms},
        records_for=records_for or by_name.get,
        clock=lambda: bench.now,
        progress=lambda provider, done: None,
    )
    result = reconciler.reconcile(which)
    assert bench.mails() == bench.texts() == []
    return result


def texts(bench: Bench) -> list[Told]:
    return [row for row in bench.rows() if row.channel == "sms"]


def of_texts(bench: Bench) -> Counter[str]:
    return Counter(row.state.value for row in texts(bench))


def change(bench: Bench, *where: object, **values: object) -> None:
    with bench.ledger.write() as connection:
        connection.execute(update(schema.delivery).where(*where).values(**values))  # type: ignore[arg-type]


SMS = Group("pay7", "sms", "twilio")
MAIL = Group("pay7", "email", "outbox")
half = seeing(Seen.NOTHING)


def every_second(asked: Asked) -> Sighting | None:
    return taken(asked) if asked.delivery % 2 else half(asked)


def test_what_is_found_is_settled_and_the_rest_says_why_not(tmp_path: Path) -> None:
    """A run that died named no provider: the configured one is asked, and its words are cut."""
    bench = desk_of(tmp_path)
    bench.later(minutes=1)
    long = "30006: landline" + "x" * 5000
    sightings = iter([taken, seeing(Seen.REFUSED, long), seeing(Seen.FOREIGN), seeing(Seen.NOTHING)])
    records = FakeRecords(answer=lambda asked: next(sightings)(asked))
    result = ask(bench, records)
    rows = texts(bench)
    assert [row.state.value for row in rows] == ["accepted", "rejected", "unknown", "unknown"]
    assert {row.provider for row in rows[:2]} == {"twilio"}
    assert rows[0].provider_id == f"SM{records.asked[0].delivery}"
    assert rows[1].reason.startswith("twilio has it, and did not deliver it (30006: landline")
    assert len(rows[1].reason) < 200
    assert rows[2].reason.startswith("twilio has other messages to them, none with our text; at first: ")
    assert rows[3].reason.startswith("twilio does not list it, looked at twice; at first: ")
    tally = result.tallies[SMS]
    assert (tally.asked, tally.accepted, tally.rejected, tally.unknown.total()) == (4, 1, 1, 2)
    assert result.exit_code is ExitCode.UNKNOWN_OUTCOME
    assert result.tallies[MAIL].unknown == {"outbox keeps no records": 5}


def test_what_is_asked_is_what_was_handed_over_when_it_was(tmp_path: Path) -> None:
    """Of a text its very words, of a mail its subject and its Message-ID."""
    bench = desk_of(tmp_path, customers=2, email="sendgrid")
    begun = bench.now
    bench.later(minutes=1)
    records = [FakeRecords(Channel.EMAIL, "sendgrid", half), FakeRecords(answer=half)]
    ask(bench, *records)
    asked = {each.delivery: each for one in records for each in one.asked}
    assert {(each.begun, each.ended) for each in asked.values()} == {(begun, bench.now)}
    change(bench, state="pending", owner=None)
    adapters = {channel: FakeAdapter(channel) for channel in Channel}
    bench.adapter = adapters.__getitem__
    bench.tick()
    handed = [item for adapter in adapters.values() for item in adapter.handed]
    assert len(handed) == len(asked) == 5
    for item in handed:
        of, message = asked[item.delivery], item.message
        assert of.address == providers.address_of(item)
        if isinstance(message, Email):
            assert (f"<{of.own_id}>", of.words) == (message.message_id, message.subject)
        else:
            assert (of.own_id, of.words) == ("", message.body)


def test_the_provider_that_had_them_is_asked_not_the_one_of_today(tmp_path: Path) -> None:
    bench = desk_of(tmp_path, answer=OutcomeKind.UNKNOWN)
    todays, former = FakeRecords(name="todays"), FakeRecords()
    ask(bench, todays, former, sms="todays")
    assert (len(todays.asked), len(former.asked), of_texts(bench)) == (0, 4, {"accepted": 4})


@pytest.mark.parametrize(
    ("of", "sms", "why"),
    [(Channel.SMS, "", "no provider is set for sms"), (Channel.EMAIL, "twilio", "twilio keeps no records")],
)
def test_if_nobody_can_be_asked_that_is_said(tmp_path: Path, of: Channel, sms: str, why: str) -> None:
    records = FakeRecords(of)
    result = ask(desk_of(tmp_path), sms=sms, records_for={"twilio": records}.get)
    assert (result.tallies[Group("pay7", "sms", sms)].unknown, records.asked) == ({why: 4}, [])


def test_what_a_living_process_is_handing_over_is_not_asked_about(tmp_path: Path) -> None:
    bench = desk_of(tmp_path)
    change(bench, owner=current_owner())
    records = FakeRecords()
    result = ask(bench, records)
    assert (records.asked, result.tallies, result.exit_code) == ([], {}, ExitCode.DONE)
    assert of_texts(bench) == {"claimed": 4}


def test_the_ids_of_other_deliveries_are_told_and_none_is_taken_twice(tmp_path: Path) -> None:
    bench = desk_of(tmp_path, customers=1)
    one = FakeRecords(answer=lambda asked: Sighting(asked.delivery, Seen.TAKEN, "SM1"))
    ask(bench, one)
    desk.write_incident(bench.folder, "web1")
    bench.adapter = lambda channel: FakeAdapter(channel, saying(OutcomeKind.UNKNOWN), name="twilio", ready=50)
    bench.send("web1")
    result = ask(bench, one, which=Which(channel="sms"))
    assert one.known == [set(), {"SM1"}]
    anothers = {"what was found there is another delivery's": 1}
    assert result.tallies[Group("web1", "sms", "twilio")].unknown == anothers


@pytest.mark.parametrize(("trouble", "code"), TROUBLES)
@pytest.mark.parametrize("opened", [True, False])
def test_a_provider_that_cannot_be_asked_ends_in_its_own_code(
    tmp_path: Path, trouble: CommcastError, code: ExitCode, opened: bool
) -> None:
    bench = desk_of(tmp_path)

    def closed(provider: str) -> Records | None:
        if provider == "twilio":
            raise trouble
        return None

    result = ask(bench, FakeRecords(trouble=trouble), records_for=None if opened else closed)
    assert (result.exit_code, list(result.troubles)) == (code, ["twilio"])
    assert (result.tallies[SMS].unknown, of_texts(bench)) == ({NOT_ASKED: 4}, {"unknown": 4})


def test_records_that_lie_settle_nothing_else(tmp_path: Path) -> None:
    """Answers about others, about the same one twice, and none at all."""
    bench = desk_of(tmp_path)

    class Lying(FakeRecords):
        async def look(self, asked: Sequence[Asked], known: Collection[str]) -> AsyncIterator[Sighting]:
            yield Sighting(10_000, Seen.TAKEN, "SM0")
            yield seeing(Seen.NOTHING)(asked[0])  # type: ignore[misc]
            yield taken(asked[0])

    result = ask(bench, Lying())
    assert of_texts(bench) == {"unknown": 4}
    assert result.tallies[SMS].unknown == {
        "twilio does not list it, looked at twice": 1,
        "twilio gave no answer about it": 3,
    }


@pytest.mark.parametrize(
    ("values", "found"),
    [
        pytest.param({"state": "rejected", "reason": "late"}, "rejected", id="an answer that comes"),
        pytest.param({"state": "pending", "doubted": 1}, "meanwhile", id="what somebody sends again"),
    ],
)
def test_what_changes_during_the_look_stands(tmp_path: Path, values: dict[str, object], found: str) -> None:
    bench = desk_of(tmp_path, customers=2)
    result = ask(bench, FakeRecords(before=lambda: change(bench, **values)), which=Which(channel="sms"))
    assert of_texts(bench) == {values["state"]: 2}
    assert (getattr(result.tallies[SMS], found), result.exit_code) == (2, ExitCode.DONE)
    with bench.ledger.read() as connection:
        assert not list(acts(connection, "pay7"))


def test_somebody_erased_and_words_that_do_not_render_are_not_asked_about(tmp_path: Path) -> None:
    bench = desk_of(tmp_path, customers=3)
    erased, changed, asked = (row.address for row in texts(bench))
    with bench.ledger.write() as connection:
        erase(connection, bench.ledger.secret, "sms", erased, by="dana", now=bench.now)
    change(bench, schema.delivery.c.address == changed, digest="other")
    records = FakeRecords()
    tally = ask(bench, records).tallies[SMS]
    assert ([each.address for each in records.asked], tally.accepted) == ([asked], 1)
    assert tally.unknown.pop(ERASED) == 1
    assert "do not render as they were frozen" in next(iter(tally.unknown))


def test_many_are_asked_about_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "ASKED_AT_ONCE", 3)
    monkeypatch.setattr(reconciling, "_AT_ONCE", 2)
    bench = desk_of(tmp_path, customers=10)
    records = FakeRecords(answer=every_second)
    result = ask(bench, records)
    assert len(records.known) == 4
    assert len({asked.delivery for asked in records.asked}) == len(records.asked) == 10
    assert of_texts(bench) == {"accepted": 5, "unknown": 5}
    assert (result.tallies[SMS].accepted, result.tallies[SMS].unknown.total()) == (5, 5)


@pytest.mark.parametrize("sightings", [0, 1, 3])
def test_killed_in_the_middle_it_loses_nothing_and_the_next_one_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sightings: int
) -> None:
    monkeypatch.setattr(reconciling, "_AT_ONCE", 1)
    desk_of(tmp_path).ledger.close()
    child = os.fork()
    if child == 0:  # a process of its own, with a ledger of its own
        killed = FakeRecords()
        killed.before = lambda: os.kill(os.getpid(), signal.SIGKILL if len(killed.asked) > sightings else 0)
        ask(Bench(tmp_path), killed)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    bench = Bench(tmp_path)
    assert of_texts(bench) == +Counter(accepted=sightings, unknown=4 - sightings)
    ask(bench, FakeRecords())
    assert of_texts(bench) == {"accepted": 4}
    assert len({row.provider_id for row in texts(bench)}) == 4


def test_what_cannot_be_recorded_ends_it(tmp_path: Path, ledger: Ledger) -> None:
    bench = desk_of(tmp_path / "desk")
    ask(bench, FakeRecords(answer=half))
    accept(ledger, "a")
    with nothing_can_be_written():
        with pytest.raises(LedgerError):
            ask(bench, FakeRecords())
        with pytest.raises(LedgerError):
            receive(ledger, sendgrid=SayingRecords(arrived("a")))
    assert heard(ledger) == {}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = create_ledger(ledger_path(tmp_path), DESK)
    yield made
    made.close()


def accept(ledger: Ledger, *keys: str, provider: str = "sendgrid", channel: str = "email") -> None:
    """Let a provider take an update to these addresses."""
    broadcast = fill(ledger, keys, channel=channel)
    for each in desk.claim(ledger, broadcast, len(keys)).claims:
        outcome = Outcome(each.delivery, OutcomeKind.ACCEPTED, provider_id=f"id-{each.key}")
        desk.answer(ledger, broadcast, [Settlement(outcome, provider)])


def arrived(*keys: str) -> list[Receipt]:
    return [Receipt(ReceiptKind.DELIVERED, LATER, provider_id=f"id-{key}") for key in keys]


def receive(ledger: Ledger, **records: Records | Exception | None) -> list[Received]:
    def records_for(provider: str) -> Records | None:
        found = records[provider]
        if isinstance(found, Exception):
            raise found
        return found

    return Receiver(ledger, records_for, lambda: LATER).receive(SINCE)


def heard(ledger: Ledger) -> Counter[str]:
    """Return how many deliveries have each kind of receipt."""
    return Counter(row.receipt for row in desk.told(ledger).values() if row.receipt)


def test_a_provider_is_asked_about_what_has_no_receipt(ledger: Ledger) -> None:
    """Where nothing is open nobody is asked, nor who keeps no records."""
    assert receive(ledger) == []
    accept(ledger, "a", "b")
    records = SayingRecords(arrived("a"))
    (received,) = receive(ledger, sendgrid=records)
    assert (received.asked, received.joined.counts, received.is_news) == (2, {"delivered": 1}, True)
    receive(ledger, sendgrid=records)
    assert records.asked == [(SINCE, {"id-a", "id-b"}), (SINCE, {"id-b"})]
    assert records.left == 2
    receive(ledger, sendgrid=SayingRecords(arrived("b")))
    assert receive(ledger) == []
    accept(ledger, "c", provider="smtp", channel="sms")
    assert receive(ledger, smtp=None) == []


@pytest.mark.parametrize(("trouble", "code"), TROUBLES)
@pytest.mark.parametrize("when", ["made", "entered", "asked"])
def test_one_providers_trouble_is_not_the_others(
    ledger: Ledger, trouble: CommcastError, code: ExitCode, when: str
) -> None:
    accept(ledger, "a")
    accept(ledger, "+491", provider="twilio", channel="sms")
    broken: dict[str, SayingRecords | Exception] = {
        "made": trouble,
        "entered": SayingRecords(closed=trouble),
        "asked": SayingRecords([*arrived("a"), trouble]),
    }
    first, second = receive(
        ledger, sendgrid=broken[when], twilio=SayingRecords(arrived("+491"), Channel.SMS, "twilio")
    )
    assert (first.trouble, first.exit_code) == (trouble, code)
    assert (second.exit_code, second.joined.counts) == (ExitCode.DONE, {"delivered": 1})
    # What was said before the trouble came is kept.
    assert heard(ledger) == {"delivered": 2 if when == "asked" else 1}


@pytest.mark.parametrize("count", [25, 20], ids=["", "a full last chunk"])
def test_receipts_are_joined_by_chunks(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(reconciling, "RECEIPTS_AT_ONCE", 10)
    keys = [f"k{number}" for number in range(count)]
    accept(ledger, *keys)
    seen_at: list[int] = []

    def said() -> Iterator[Receipt]:
        for each in arrived(*keys):
            seen_at.append(heard(ledger)["delivered"])
            yield each

    (received,) = receive(ledger, sendgrid=SayingRecords(said()))
    assert (received.trouble, received.joined.counts) == (None, {"delivered": count})
    assert seen_at == [number // 10 * 10 for number in range(count)]


def test_two_at_once_are_one(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "RECEIPTS_AT_ONCE", 3)
    keys = [f"k{number}" for number in range(60)]
    accept(ledger, *keys)
    bounces = [
        Receipt(ReceiptKind.BOUNCED, LATER, "550", key=key, lasting=True, suppress=True) for key in keys[::2]
    ]
    found: list[Received] = []

    def one() -> None:
        own = open_ledger(ledger.path, DESK)
        found.extend(receive(own, sendgrid=SayingRecords([*arrived(*keys[1::2]), *bounces])))
        own.close()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard(ledger) == {"delivered": 30, "bounced": 30}
    assert sum(each.joined.counts["delivered"] for each in found) == 30
    assert sum(each.joined.suppressed for each in found) == 30


THEN = NOW - timedelta(days=400)
ANN = "ann@example.com"


def entry(address: str, name: str = "bounces", reason: str = "550 5.1.1 unknown") -> SuppressionEntry:
    return SuppressionEntry(name, address, THEN, reason)


def bring_in(
    ledger: Ledger,
    *marked: bool,
    trouble: CommcastError | None = None,
    **lists: Sequence[SuppressionEntry | Exception],
) -> list[Imported]:
    names = [(name, not marked or marked[at]) for at, name in enumerate(lists)]
    importer = Importer(ledger, "SendGrid", "dana", lambda: NOW)
    return importer.bring_in(SayingRecords(lists=dict(lists), closed=trouble), names)


def opt_out(ledger: Ledger, key: str) -> None:
    with ledger.write() as connection:
        suppress(connection, "email", key, reason="asked", by="dana", now=NOW)


def suppressed(ledger: Ledger) -> dict[str, Suppression]:
    with ledger.read() as connection:
        return {each.key: each for each in list_suppressions(connection)}


def watch_writes(ledger: Ledger) -> Callable[[], int]:
    """Return what counts the transactions that write from now on."""
    begun: list[str] = []

    def note(connection: Connection) -> None:
        if not connection.get_execution_options().get("commcast_reads"):
            begun.append("write")

    event.listen(ledger.engine, "begin", note)
    return lambda: len(begun)


def test_an_entry_keeps_its_reason_and_its_date_and_ends_what_waits(ledger: Ledger) -> None:
    fill(ledger, [ANN, "bob@example.com"])
    (found,) = bring_in(ledger, bounces=[entry("Ann@Example.COM", reason="550 <ann@example.com> gone")])
    assert (found.read, found.new) == (1, 1)
    reason = "imported from SendGrid: bounces: 550 * gone"
    assert suppressed(ledger) == {ANN: Suppression("email", ANN, reason, "dana", THEN)}
    assert desk.states(ledger) == {ANN: "skipped", "bob@example.com": "pending"}


def test_known_doubled_and_unreadable_ones_are_counted(ledger: Ledger) -> None:
    opt_out(ledger, "old@example.com")
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
    assert {key: each.reason for key, each in suppressed(ledger).items()} == {
        "old@example.com": "asked",
        "both@example.com": "imported from SendGrid: unsubscribes",
        "twice@example.com": "imported from SendGrid: bounces: first",
    }
    again = bring_in(ledger, bounces=[entry("twice@example.com")])
    assert (again[0].new, again[0].known) == (0, 1)


def test_an_erased_reader_stays_a_hash(ledger: Ledger) -> None:
    with ledger.write() as connection:
        erase(connection, ledger.secret, "email", ANN, by="dana", now=NOW)
    (found,) = bring_in(ledger, bounces=[entry("Ann@example.com")])
    assert (found.new, found.known, set(suppressed(ledger))) == (0, 1, {erased_key(ledger.secret, ANN)})


def test_a_list_that_is_only_counted_writes_nothing_and_one_lists_trouble_is_not_the_others(
    ledger: Ledger,
) -> None:
    writes, trouble = watch_writes(ledger), Refused("the key may not read unsubscribes")
    first, second = bring_in(ledger, False, False, unsubscribes=[trouble], bounces=[entry(ANN)])
    assert (first.trouble, first.exit_code) == (trouble, ExitCode.REFUSED)
    assert (second.read, second.new, second.suppresses, second.exit_code) == (1, 1, False, ExitCode.DONE)
    assert (suppressed(ledger), writes()) == ({}, 0)
    found = bring_in(ledger, trouble=TryAgain("down"), a=[], b=[])  # of the provider, and so everybody's
    assert [each.exit_code for each in found] == [ExitCode.TRY_AGAIN] * 2


def test_lists_come_in_by_chunks(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CHUNK", 10)
    writes = watch_writes(ledger)
    entries = [entry(f"k{number}@example.com") for number in range(25)]
    (found,) = bring_in(ledger, bounces=[*entries, TryAgain("down")])
    assert (found.read, found.new, found.exit_code) == (25, 25, ExitCode.TRY_AGAIN)
    assert writes() == 3
