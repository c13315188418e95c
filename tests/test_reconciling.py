"""Asking providers what became of lost answers: what they prove is settled, and nothing is ever sent."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path

import pytest
from sqlalchemy import update

from commcast.errors import CommcastError, ConfigError, ExitCode, LedgerError, TryAgain
from commcast.ledger import tables as schema
from commcast.ledger.history import Told
from commcast.ledger.settle import current_owner
from commcast.ledger.suppressions import erase
from commcast.ledger.unknowns import Which, acts
from commcast.model.incident import Channel
from commcast.model.message import Email, OutcomeKind, Sms
from commcast.operations import reconcile as reconciling
from commcast.operations.reconcile import ERASED, NOT_ASKED, Reconciled, Reconciler, UnknownGroup
from commcast.providers.base import Asked, Records, Refused, Seen, Sighting
from tests.support.desk import Bench, nothing_can_be_written, numbered, write_desk, write_incident
from tests.support.providers import FakeAdapter, FakeRecords, die_over, saying, seeing, taken

ALL = Which()


def desk_of(
    tmp_path: Path, customers: int = 4, *, email: str = "outbox", answer: OutcomeKind | None = None
) -> Bench:
    """A desk whose texts go by Twilio; the answers to all of its messages were lost.

    Without an `answer` the run died over them, and nobody wrote down who had them.
    """
    write_desk(
        tmp_path,
        customers=numbered(customers),
        support=["help@acme.example,Su"],
        email=email,
        sms='provider = "twilio"',
    )
    write_incident(tmp_path)
    bench = Bench(tmp_path)
    bench.release()
    if answer is not None:
        bench.adapter = lambda channel: FakeAdapter(
            channel, answer=saying(answer), name="twilio" if channel is Channel.SMS else email, ready=50
        )
        bench.send()
        return bench
    bench.freeze()
    die_over(bench)
    return bench


def ask(bench: Bench, *records: Records, which: Which = ALL, default: str = "twilio") -> Reconciled:
    """Reconcile with these records, and none of any other provider; anything handed over fails the test."""
    by_name = {each.name: each for each in records}
    reconciler = Reconciler(
        ledger=bench.ledger,
        configured={"email": "outbox", "sms": default},
        records_for=by_name.get,
        clock=lambda: bench.now,
        progress=lambda provider, done: None,
    )
    result = reconciler.reconcile(which)
    assert bench.mails() == bench.texts() == []
    return result


def texts(bench: Bench) -> list[Told]:
    return [row for row in bench.rows() if row.channel == "sms"]


def states(bench: Bench) -> Counter[str]:
    return Counter(row.state.value for row in texts(bench))


def count_acts(bench: Bench) -> int:
    with bench.ledger.read() as connection:
        return len(list(acts(connection, "pay7")))


SMS = UnknownGroup("pay7", "sms", "twilio")
MAIL = UnknownGroup("pay7", "email", "outbox")


def test_what_is_found_is_settled_and_the_rest_says_why_not(tmp_path: Path) -> None:
    bench = desk_of(tmp_path)
    bench.later(minutes=1)
    sightings = iter(
        [
            taken,
            seeing(Seen.REFUSED, "30006: landline"),
            seeing(Seen.FOREIGN),
            seeing(Seen.NOTHING),
        ]
    )
    records = FakeRecords(answer=lambda asked: next(sightings)(asked))
    result = ask(bench, records)
    rows = texts(bench)
    assert [row.state.value for row in rows] == ["accepted", "rejected", "unknown", "unknown"]
    assert rows[0].provider_id == f"SM{records.asked[0].delivery}"
    assert rows[1].reason == "twilio has it, and did not deliver it (30006: landline)"
    assert rows[2].reason.startswith("twilio has other messages to them, none with our words; at first: ")
    assert rows[3].reason.startswith("twilio does not list it, looked at twice; at first: ")
    tally = result.tallies[SMS]
    assert (tally.asked, tally.accepted, tally.rejected, tally.unknown.total()) == (4, 1, 1, 2)
    assert result.exit_code is ExitCode.UNKNOWN_OUTCOME
    assert result.tallies[MAIL].unknown == {"outbox keeps no records": 5}


def test_what_is_asked_of_a_text_is_its_very_words(tmp_path: Path) -> None:
    bench = desk_of(tmp_path, customers=2)
    begun = bench.now
    bench.later(minutes=1)
    records = FakeRecords()
    ask(bench, records)
    sent = FakeAdapter(Channel.SMS)
    bench.adapter = lambda channel: sent
    assert [asked.address for asked in records.asked] == [row.address for row in texts(bench)]
    assert {(asked.own_id, asked.begun, asked.ended) for asked in records.asked} == {("", begun, bench.now)}
    whole = {message.to: message.body for message in frozen_texts(tmp_path)}
    assert {asked.address: asked.words for asked in records.asked} == whole


def frozen_texts(tmp_path: Path) -> list[Sms]:
    """What a run hands over of the same incident in another desk's folder."""
    other = tmp_path / "other"
    write_desk(other, customers=numbered(2), support=["help@acme.example,Su"])
    write_incident(other)
    bench = Bench(other)
    adapters = {channel: FakeAdapter(channel) for channel in Channel}
    bench.adapter = adapters.__getitem__
    bench.send()
    return [item.message for item in adapters[Channel.SMS].handed if isinstance(item.message, Sms)]


def test_what_is_asked_of_a_mail_is_its_subject_and_its_message_id(tmp_path: Path) -> None:
    bench = desk_of(tmp_path, customers=2, email="sendgrid", answer=None)
    records = FakeRecords(Channel.EMAIL, "sendgrid")
    reconciler = Reconciler(
        bench.ledger, {"email": "sendgrid"}, {"sendgrid": records}.get, lambda: bench.now, lambda *_: None
    )
    reconciler.reconcile(Which(channel="email"))
    with bench.ledger.write() as connection:
        connection.execute(update(schema.delivery).values(state="pending", owner=None))
    adapter = FakeAdapter(Channel.EMAIL)
    bench.adapter = lambda channel: adapter if channel is Channel.EMAIL else FakeAdapter(channel)
    bench.worker.deliver("pay7")
    handed = {item.delivery: item.message for item in adapter.handed}
    assert len(handed) == len(records.asked) == 3
    for asked in records.asked:
        message = handed[asked.delivery]
        assert isinstance(message, Email)
        assert (f"<{asked.own_id}>", asked.words) == (message.message_id, message.subject)


def test_the_provider_that_had_them_is_asked_not_the_one_of_today(tmp_path: Path) -> None:
    bench = desk_of(tmp_path, answer=OutcomeKind.UNKNOWN)
    todays = FakeRecords(name="todays")
    former = FakeRecords()
    ask(bench, todays, former, default="todays")
    assert (len(todays.asked), len(former.asked)) == (0, 4)
    assert states(bench) == {"accepted": 4}


def test_where_a_dead_run_named_no_provider_the_configured_one_is_asked(tmp_path: Path) -> None:
    bench = desk_of(tmp_path)
    ask(bench, FakeRecords())
    assert {row.provider for row in texts(bench)} == {"twilio"}
    assert states(bench) == {"accepted": 4}


def test_a_channel_that_nobody_serves_any_more_is_said_so(tmp_path: Path) -> None:
    bench = desk_of(tmp_path)
    result = ask(bench, FakeRecords(), default="")
    assert result.tallies[UnknownGroup("pay7", "sms", "")].unknown == {"no provider is set for sms": 4}


def test_records_of_another_channel_are_not_asked(tmp_path: Path) -> None:
    bench = desk_of(tmp_path)
    records = FakeRecords(Channel.EMAIL)
    assert ask(bench, records).tallies[SMS].unknown == {"twilio keeps no records": 4}
    assert records.asked == []


def test_what_a_living_process_is_handing_over_is_not_asked_about(tmp_path: Path) -> None:
    bench = desk_of(tmp_path)
    with bench.ledger.write() as connection:
        connection.execute(update(schema.delivery).values(owner=current_owner()))
    records = FakeRecords()
    result = ask(bench, records)
    assert (records.asked, result.tallies, result.exit_code) == ([], {}, ExitCode.DONE)
    assert states(bench) == {"claimed": 4}


def test_twice_is_as_once(tmp_path: Path) -> None:
    bench = desk_of(tmp_path)
    half = FakeRecords(answer=lambda a: taken(a) if a.delivery % 2 else seeing(Seen.NOTHING)(a))
    ask(bench, half)
    before, count = bench.rows(), count_acts(bench)
    bench.later(hours=1)
    again = ask(bench, half)
    assert (bench.rows(), count_acts(bench)) == (before, count)
    assert again.tallies[SMS].asked == 2


def test_the_ids_of_other_deliveries_are_told_and_none_is_taken_twice(tmp_path: Path) -> None:
    bench = desk_of(tmp_path, customers=1)
    one = FakeRecords(answer=lambda asked: Sighting(asked.delivery, Seen.TAKEN, "SM1"))
    ask(bench, one)
    write_incident(tmp_path, "web1")
    bench.release("web1")
    bench.adapter = lambda channel: FakeAdapter(channel, saying(OutcomeKind.UNKNOWN), name="twilio", ready=50)
    bench.send("web1")
    result = ask(bench, one, which=Which(channel="sms"))
    assert one.known == [set(), {"SM1"}]
    assert result.tallies[UnknownGroup("web1", "sms", "twilio")].unknown == {
        "what was found there is another delivery's": 1
    }


def test_a_look_that_is_cut_short_keeps_what_it_proved_and_the_other_provider_is_asked(
    tmp_path: Path,
) -> None:
    bench = desk_of(tmp_path, email="sendgrid", answer=OutcomeKind.UNKNOWN)
    mails = FakeRecords(Channel.EMAIL, "sendgrid", trouble=TryAgain("busy"), until=2)
    result = ask(bench, mails, FakeRecords())
    assert states(bench) == {"accepted": 4}
    tally = result.tallies[UnknownGroup("pay7", "email", "sendgrid")]
    assert (tally.accepted, tally.unknown) == (2, {NOT_ASKED: 3})
    assert {name: str(error) for name, error in result.troubles.items()} == {"sendgrid": "busy"}
    assert result.exit_code is ExitCode.TRY_AGAIN


@pytest.mark.parametrize(
    ("trouble", "code"),
    [(Refused("401"), ExitCode.REFUSED), (TryAgain("429"), ExitCode.TRY_AGAIN), (ConfigError("no key"), 2)],
)
def test_a_provider_that_cannot_be_asked_ends_in_its_own_code(
    tmp_path: Path, trouble: CommcastError, code: int
) -> None:
    bench = desk_of(tmp_path)
    before = texts(bench)
    result = ask(bench, FakeRecords(trouble=trouble))
    assert (result.exit_code, result.tallies[SMS].unknown) == (code, {NOT_ASKED: 4})
    assert [row.reason for row in texts(bench)] != [row.reason for row in before]  # claims became unknown
    assert states(bench) == {"unknown": 4}


def test_records_that_cannot_be_opened_are_a_trouble_too(tmp_path: Path) -> None:
    bench = desk_of(tmp_path)

    def missing(provider: str) -> Records | None:
        if provider == "twilio":
            raise ConfigError("TWILIO_ACCOUNT_SID is missing")
        return None

    reconciler = Reconciler(bench.ledger, {"sms": "twilio"}, missing, lambda: bench.now, lambda *_: None)
    result = reconciler.reconcile(Which())
    assert (result.exit_code, list(result.troubles)) == (ExitCode.INPUT, ["twilio"])


def test_records_that_lie_settle_nothing_else(tmp_path: Path) -> None:
    """Answers about others, about the same one twice, and none at all."""
    bench = desk_of(tmp_path)

    class Lying(FakeRecords):
        async def look(self, asked: Sequence[Asked], known: Collection[str]) -> AsyncIterator[Sighting]:
            yield Sighting(10_000, Seen.TAKEN, "SM0")
            yield seeing(Seen.NOTHING)(asked[0])  # type: ignore[misc]
            yield taken(asked[0])

    result = ask(bench, Lying())
    assert states(bench) == {"unknown": 4}
    assert result.tallies[SMS].unknown == {
        "twilio does not list it, looked at twice": 1,
        "twilio gave no answer about it": 3,
    }


def test_a_providers_words_are_cut(tmp_path: Path) -> None:
    bench = desk_of(tmp_path, customers=1)
    ask(bench, FakeRecords(answer=seeing(Seen.REFUSED, "x" * 5000)))
    assert len(texts(bench)[0].reason) < 200


def test_an_answer_that_comes_during_the_look_stands(tmp_path: Path) -> None:
    bench = desk_of(tmp_path, customers=2)
    values = {"state": "rejected", "reason": "late"}

    def late() -> None:
        with bench.ledger.write() as connection:
            connection.execute(update(schema.delivery).values(**values))

    result = ask(bench, FakeRecords(before=late), which=Which(channel="sms"))
    assert {(row.state.value, row.reason) for row in texts(bench)} == {("rejected", "late")}
    assert (result.tallies[SMS].rejected, result.exit_code) == (2, ExitCode.DONE)
    assert count_acts(bench) == 0


def test_what_somebody_sends_again_during_the_look_is_theirs(tmp_path: Path) -> None:
    bench = desk_of(tmp_path, customers=1)

    def resent() -> None:
        with bench.ledger.write() as connection:
            connection.execute(update(schema.delivery).values(state="pending", doubted=1))

    result = ask(bench, FakeRecords(before=resent), which=Which(channel="sms"))
    assert (states(bench), result.tallies[SMS].meanwhile) == ({"pending": 1}, 1)


def test_somebody_erased_cannot_be_asked_about(tmp_path: Path) -> None:
    bench = desk_of(tmp_path, customers=2)
    number = texts(bench)[0].address
    with bench.ledger.write() as connection:
        erase(connection, bench.ledger.secret, "sms", number, by="dana", now=bench.now)
    records = FakeRecords()
    result = ask(bench, records)
    assert len(records.asked) == 1
    assert (result.tallies[SMS].accepted, result.tallies[SMS].unknown) == (1, {ERASED: 1})


def test_words_that_do_not_render_as_they_were_frozen_are_not_compared(tmp_path: Path) -> None:
    bench = desk_of(tmp_path, customers=2)
    first = texts(bench)[0].address
    with bench.ledger.write() as connection:
        changed = update(schema.delivery).where(schema.delivery.c.address == first).values(digest="other")
        connection.execute(changed)
    records = FakeRecords()
    result = ask(bench, records)
    assert len(records.asked) == 1
    assert "do not render as they were frozen" in next(iter(result.tallies[SMS].unknown))


def test_many_are_asked_about_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "ASKED_AT_ONCE", 3)
    monkeypatch.setattr(reconciling, "_AT_ONCE", 2)
    bench = desk_of(tmp_path, customers=10)
    records = FakeRecords(answer=lambda a: taken(a) if a.delivery % 2 else seeing(Seen.NOTHING)(a))
    result = ask(bench, records)
    assert len(records.known) == 4
    assert len({asked.delivery for asked in records.asked}) == len(records.asked) == 10
    assert states(bench) == {"accepted": 5, "unknown": 5}
    assert (result.tallies[SMS].accepted, result.tallies[SMS].unknown.total()) == (5, 5)


def test_only_the_incident_that_is_meant_is_asked_about(tmp_path: Path) -> None:
    bench = desk_of(tmp_path, customers=1)
    write_incident(tmp_path, "web1")
    bench.release("web1")
    bench.adapter = lambda channel: FakeAdapter(channel, saying(OutcomeKind.UNKNOWN), name="twilio", ready=50)
    bench.send("web1")
    result = ask(bench, FakeRecords(), which=Which("web1"))
    assert {group.incident for group in result.tallies} == {"web1"}
    assert states(bench) == {"unknown": 1}


def test_a_ledger_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    bench = desk_of(tmp_path)
    ask(bench, FakeRecords(answer=seeing(Seen.NOTHING)))
    with nothing_can_be_written(), pytest.raises(LedgerError):
        ask(bench, FakeRecords())


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
    assert states(bench) == +Counter(accepted=sightings, unknown=4 - sightings)
    ask(bench, FakeRecords())
    assert states(bench) == {"accepted": 4}
    assert len({row.provider_id for row in texts(bench)}) == 4
