"""Handing over: what each answer does to a delivery, and what ends a run."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import pytest
from sqlalchemy import update

from commcast.delivery import breaker as verdict
from commcast.delivery import run as broadcasting
from commcast.delivery.run import LEASE, BroadcastRun, Ended
from commcast.delivery.worker import Delivered
from commcast.errors import ExitCode, Fault, LedgerError, ProviderError
from commcast.ledger import tables as schema
from commcast.ledger.broadcasts import Broadcast, open_broadcasts
from commcast.ledger.claims import settle_and_claim
from commcast.ledger.fence import stop_incident, stops_in_force
from commcast.ledger.settle import current_owner, settle_lost
from commcast.ledger.store import open_ledger
from commcast.model.incident import Channel
from commcast.model.message import Blame, Delivery, DeliveryProgress, Email, Outcome, OutcomeKind, Unheard
from tests.support.desk import (
    DESK,
    START,
    Bench,
    nothing_can_be_written,
    numbered,
    write_desk,
    write_incident,
)
from tests.support.providers import FakeAdapter, HeldAdapter, accepted, address_of, saying, settle_down

NOT_TAKEN, UNKNOWN = OutcomeKind.NOT_TAKEN, OutcomeKind.UNKNOWN


class Clock:
    """A clock that goes on by `step` with every look at it."""

    def __init__(self, step: timedelta = timedelta(0)) -> None:
        self.now, self.step = START, step

    def __call__(self) -> datetime:
        self.now += self.step
        return self.now


def bench_of(folder: Path, people: int) -> Bench:
    """Return a desk with this many customers, whose first update is frozen and not handed over."""
    write_desk(folder, customers=numbered(people), support=[])
    write_incident(folder)
    bench = Bench(folder)
    bench.release()
    bench.freeze()
    return bench


def frozen(bench: Bench, channel: Channel = Channel.EMAIL) -> Broadcast:
    with bench.ledger.read() as connection:
        return next(b for b in open_broadcasts(connection) if b.channel == channel)


def run_of(
    bench: Bench,
    adapter: FakeAdapter,
    *,
    halt: asyncio.Event | None = None,
    clock: Callable[[], datetime] | None = None,
    progress: DeliveryProgress | None = None,
) -> BroadcastRun:
    return BroadcastRun(
        broadcast=frozen(bench, adapter.channel),
        ledger=bench.ledger,
        make=lambda _: adapter,
        owner=current_owner(),
        clock=clock or Clock(),
        halt=halt or asyncio.Event(),
        progress=progress or Unheard(),
        to_go=bench.states()[adapter.channel, "pending"],
    )


def deliver(bench: Bench, adapter: FakeAdapter, clock: Callable[[], datetime] | None = None) -> Ended:
    return asyncio.run(run_of(bench, adapter, clock=clock).deliver())


def mails(bench: Bench) -> dict[str, int]:
    """Return how many mails are in each state."""
    return {state: count for (channel, state), count in bench.states().items() if channel == "email"}


def reasons(bench: Bench) -> set[str]:
    return {row.reason for row in bench.rows() if row.channel == "email"}


def send_with(bench: Bench, adapter: FakeAdapter) -> Delivered:
    """Deliver as a verb does, with this adapter for mail and one that takes all for texts."""
    texts = FakeAdapter(Channel.SMS)
    bench.adapter = lambda channel: adapter if channel is Channel.EMAIL else texts
    return bench.worker.deliver("pay7")


@pytest.mark.parametrize(
    ("kind", "state", "code"),
    [
        (OutcomeKind.ACCEPTED, "accepted", ExitCode.DONE),
        (OutcomeKind.REJECTED, "rejected", ExitCode.UNKNOWN_OUTCOME),
        (OutcomeKind.UNKNOWN, "unknown", ExitCode.UNKNOWN_OUTCOME),
        (OutcomeKind.NOT_TAKEN, "pending", ExitCode.TRY_AGAIN),
    ],
)
def test_each_answer_has_its_state_and_exit_code(
    tmp_path: Path, kind: OutcomeKind, state: str, code: ExitCode
) -> None:
    bench = bench_of(tmp_path, 1)
    delivered = send_with(bench, FakeAdapter(answer=saying(kind)))
    assert mails(bench) == {state: 1}
    assert reasons(bench) == {f"said {kind}"}
    assert delivered.outcomes[kind] == (2 if kind is OutcomeKind.ACCEPTED else 1)  # the text is taken too
    assert delivered.exit_code(0.02) is code


def test_answers_in_any_order_find_their_own_delivery(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 7)

    def odd_ones_out(item: Delivery) -> Outcome:
        kind = OutcomeKind.REJECTED if item.delivery % 2 else OutcomeKind.ACCEPTED
        return Outcome(item.delivery, kind, provider_id=address_of(item))

    adapter = FakeAdapter(answer=odd_ones_out, batch_size=3, connections=2, backwards=True)
    ended = deliver(bench, adapter)
    assert ended.outcomes == {"accepted": 3, "rejected": 4} or ended.outcomes == {
        "accepted": 4,
        "rejected": 3,
    }
    assert all(row.provider_id == row.address for row in bench.rows() if row.channel == "email")
    assert sorted(adapter.addresses) == sorted(set(adapter.addresses))


def test_no_answer_is_unknown_and_is_not_tried_again(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 3)
    silent = FakeAdapter(answer=lambda item: None, connections=2)
    deliver(bench, silent)
    assert mails(bench) == {"unknown": 3}
    again = FakeAdapter()
    send_with(bench, again)
    assert again.handed == []


def test_an_adapter_that_raises_leaves_what_it_had_in_hand_unknown_and_ends_the_run(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 6)

    def broken(item: Delivery) -> Outcome:
        raise ZeroDivisionError

    adapter = FakeAdapter(answer=broken, ready=1)
    with pytest.raises(ZeroDivisionError):
        deliver(bench, adapter)
    assert len(adapter.handed) == 1
    assert mails(bench) == {"unknown": 1, "pending": 5}
    assert adapter.left == 1
    rest = FakeAdapter()
    send_with(bench, rest)
    assert mails(bench) == {"unknown": 1, "accepted": 5}
    assert not set(rest.addresses) & set(adapter.addresses)


@pytest.mark.parametrize(("connections", "batch_size"), [(1, 1), (3, 1), (2, 4)])
def test_never_more_than_a_window_is_claimed(tmp_path: Path, connections: int, batch_size: int) -> None:
    """Seen from outside, while the provider holds every answer back: a kill now costs at most W unknowns."""
    bench = bench_of(tmp_path, 40)
    adapter = HeldAdapter(connections=connections, batch_size=batch_size)
    window = adapter.window
    seen: list[int] = []

    async def look() -> None:
        run = run_of(bench, adapter, progress=Heard(lambda: seen.append(claimed(bench))))
        running = asyncio.create_task(run.deliver())
        await adapter.begun.wait()
        # Where a request carries many, one reader goes first.
        assert claimed(bench) == (window if batch_size == 1 else 1)
        adapter.gate.set()
        await running

    asyncio.run(look())
    assert mails(bench) == {"accepted": 40}
    assert max(seen) <= window


def claimed(bench: Bench) -> int:
    connection = sqlite3.connect(bench.ledger.path)
    try:
        return int(connection.execute("select count(*) from delivery where state = 'claimed'").fetchone()[0])
    finally:
        connection.close()


def test_a_claim_is_on_disk_before_its_hand_over_begins(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 5)
    unclaimed: list[int] = []

    def check(adapter: FakeAdapter) -> None:
        connection = sqlite3.connect(bench.ledger.path)
        found = connection.execute(
            "select count(*) from delivery where id = ? and state = 'claimed'", [adapter.handed[-1].delivery]
        ).fetchone()
        connection.close()
        if not found[0]:
            unclaimed.append(adapter.handed[-1].delivery)

    deliver(bench, FakeAdapter(before=check, connections=2))
    assert unclaimed == []
    assert mails(bench) == {"accepted": 5}


def test_credentials_that_are_refused_stop_at_once_and_the_rest_waits(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 30)
    adapter = FakeAdapter(answer=saying(NOT_TAKEN, Blame.ACCOUNT))
    delivered = send_with(bench, adapter)
    assert len(adapter.handed) == 1
    assert [each.why for each in delivered.troubles] == ["said not_taken"]
    assert delivered.exit_code(0.02) is ExitCode.REFUSED
    assert mails(bench) == {"pending": 30}
    bench.later(minutes=2)
    send_with(bench, FakeAdapter())
    assert mails(bench) == {"accepted": 30}


@pytest.mark.parametrize("blame", [Blame.ACCOUNT, Blame.PROVIDER])
def test_a_refusal_without_a_reason_ends_the_run_too(tmp_path: Path, blame: Blame) -> None:
    bench = bench_of(tmp_path, 30)
    adapter = FakeAdapter(answer=lambda item: Outcome(item.delivery, NOT_TAKEN, blame=blame))
    ended = deliver(bench, adapter)
    assert verdict.NO_REASON in {ended.refused, ended.down}
    assert len(adapter.handed) <= 2


def test_a_key_that_is_revoked_in_the_middle_stops_there(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 30)

    def until_ten(item: Delivery) -> Outcome:
        if len(adapter.handed) < 10:
            return accepted(item)
        return Outcome(item.delivery, NOT_TAKEN, "revoked", blame=Blame.ACCOUNT)

    adapter = FakeAdapter(answer=until_ten)
    ended = deliver(bench, adapter)
    assert ended.refused == "revoked"
    assert mails(bench) == {"accepted": 9, "pending": 21}
    assert ended.waiting == 21


def test_a_provider_that_is_down_ends_the_run_and_nothing_is_lost(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 50)
    adapter = FakeAdapter(answer=saying(NOT_TAKEN, Blame.PROVIDER), connections=2)
    delivered = send_with(bench, adapter)
    assert [each.why for each in delivered.troubles] == ["said not_taken"]
    assert delivered.exit_code(0.02) is ExitCode.TRY_AGAIN
    assert mails(bench) == {"pending": 50}
    assert len(adapter.handed) <= verdict.FAILURES_IN_A_ROW
    bench.later(minutes=2)
    send_with(bench, FakeAdapter())
    assert mails(bench) == {"accepted": 50}


def test_a_provider_that_never_answers_costs_few_unknowns(tmp_path: Path) -> None:
    """Whoever takes a message and falls silent, each time, gets no more of them."""
    bench = bench_of(tmp_path, 50)
    delivered = send_with(bench, FakeAdapter(answer=saying(UNKNOWN), connections=2))
    assert delivered.troubles[0].why == "said unknown"
    assert delivered.exit_code(0.02) is ExitCode.UNKNOWN_OUTCOME
    assert mails(bench)["unknown"] <= verdict.FAILURES_IN_A_ROW
    assert mails(bench)["pending"] == 50 - mails(bench)["unknown"]


@pytest.mark.parametrize("between", [OutcomeKind.ACCEPTED, OutcomeKind.REJECTED])
def test_a_provider_that_fails_now_and_then_is_not_down(tmp_path: Path, between: OutcomeKind) -> None:
    bench = bench_of(tmp_path, 20)

    def every_second(item: Delivery) -> Outcome:
        kind = between if item.delivery % 2 else UNKNOWN
        return Outcome(item.delivery, kind)

    ended = deliver(bench, FakeAdapter(answer=every_second))
    assert ended.down == ""
    assert mails(bench) == {between.value: 10, "unknown": 10}


def test_a_relay_that_refuses_everybody_is_stopped_early(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 60)
    delivered = send_with(bench, FakeAdapter(answer=saying(OutcomeKind.REJECTED)))
    assert delivered.exit_code(0.02) is ExitCode.REFUSED
    assert mails(bench) == {
        "rejected": verdict.FIRST_REFUSALS,
        "pending": 60 - verdict.FIRST_REFUSALS,
    }


def test_many_refusals_beside_acceptances_are_no_refusal_of_us(tmp_path: Path) -> None:
    """Also where all answers come at once, before the ledger has counted the first."""
    bench = bench_of(tmp_path, 60)

    def most_refused(item: Delivery) -> Outcome:
        kind = OutcomeKind.ACCEPTED if item.delivery % 10 == 0 else OutcomeKind.REJECTED
        return Outcome(item.delivery, kind, "no such mailbox")

    ended = deliver(bench, FakeAdapter(answer=most_refused, batch_size=60))
    assert ended.refused == ""
    assert mails(bench) == {"accepted": 6, "rejected": 54}


def test_one_readers_refusal_for_now_does_not_hold_up_the_others(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 30)

    def one_greylisted(item: Delivery) -> Outcome:
        greylisted = address_of(item).startswith("c10000003@")
        return Outcome(item.delivery, NOT_TAKEN, "greylisted") if greylisted else accepted(item)

    ended = deliver(bench, FakeAdapter(answer=one_greylisted))
    assert mails(bench) == {"accepted": 29, "pending": 1}
    assert ended.waiting == 1
    assert ended.next_try == START + timedelta(minutes=1)


def test_a_busy_provider_is_tried_again_in_the_same_run(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 3)
    busy: set[int] = set()

    def busy_once(item: Delivery) -> Outcome:
        if item.delivery in busy or len(adapter.handed) > 1:
            return accepted(item)
        busy.add(item.delivery)
        return Outcome(item.delivery, NOT_TAKEN, "busy", blame=Blame.PROVIDER)

    adapter = FakeAdapter(answer=busy_once)
    ended = deliver(bench, adapter, Clock(timedelta(seconds=1)))
    assert mails(bench) == {"accepted": 3}
    assert len(adapter.handed) == 4
    assert ended.waiting == 0


@pytest.mark.parametrize(("asked", "waits"), [(3600.0, 3600), (1e9, 3600), (-5.0, 0)])
def test_a_providers_own_time_is_heeded_within_a_day(tmp_path: Path, asked: float, waits: int) -> None:
    bench = bench_of(tmp_path, 1)
    halt = asyncio.Event()

    def later(item: Delivery) -> Outcome:
        halt.set()
        return Outcome(item.delivery, NOT_TAKEN, "later", blame=Blame.PROVIDER, retry_after=asked)

    ended = asyncio.run(run_of(bench, FakeAdapter(answer=later), halt=halt).deliver())
    assert ended.next_try is not None
    # Never before the named time, and not everybody at the same moment.
    assert 0 <= (ended.next_try - START).total_seconds() - waits <= 5


def test_on_a_halt_what_is_in_flight_ends_and_nothing_more_begins(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 20)
    halt = asyncio.Event()

    def halt_at_third(adapter: FakeAdapter) -> None:
        if len(adapter.handed) == 3:
            halt.set()

    adapter = FakeAdapter(before=halt_at_third)
    ended = asyncio.run(run_of(bench, adapter, halt=halt).deliver())
    assert ended.interrupted
    assert len(adapter.handed) == 3
    assert mails(bench) == {"accepted": 3, "pending": 17}
    assert ended.waiting == 17


def test_an_adapter_that_hangs_is_waited_for_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcasting, "DRAIN_SECONDS", 0.01)
    bench = bench_of(tmp_path, 10)
    adapter = HeldAdapter(connections=2)

    async def halted() -> Ended:
        halt = asyncio.Event()
        running = asyncio.create_task(run_of(bench, adapter, halt=halt).deliver())
        await adapter.begun.wait()
        await settle_down()
        halt.set()
        return await running

    ended = asyncio.run(halted())
    assert mails(bench) == {"unknown": 2, "pending": 8}
    assert ended.outcomes == {"unknown": 2, "not_taken": 2}
    assert "interrupted in flight" in reasons(bench)


@pytest.mark.parametrize(
    ("number", "code", "stopped"),
    [(signal.SIGINT, ExitCode.INTERRUPTED, ["pay7"]), (signal.SIGTERM, ExitCode.TERMINATED, [])],
)
def test_a_signal_ends_the_run_in_order_and_only_a_person_also_stops_the_incident(
    tmp_path: Path, number: signal.Signals, code: ExitCode, stopped: list[str]
) -> None:
    bench = bench_of(tmp_path, 20)

    def raise_at_third(adapter: FakeAdapter) -> None:
        if len(adapter.handed) == 3:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    adapter = FakeAdapter(before=raise_at_third)
    delivered = send_with(bench, adapter)
    assert delivered.exit_code(0.02) is code
    assert mails(bench) == {"accepted": 3, "pending": 17}
    assert signal.getsignal(number) == before
    with bench.ledger.read() as connection:
        assert [stop.incident for stop in stops_in_force(connection)] == stopped
    rest = FakeAdapter()
    send_with(bench, rest)
    assert len(rest.handed) == (0 if stopped else 17)


def test_a_stop_during_a_run_ends_it_and_names_who(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 20)

    def stop_at_third(adapter: FakeAdapter) -> None:
        if len(adapter.handed) == 3:
            with bench.ledger.write() as connection:
                stop_incident(connection, "pay7", "dana", START)

    adapter = FakeAdapter(before=stop_at_third)
    ended = deliver(bench, adapter)
    assert ended.stopped_by == "dana"
    assert len(adapter.handed) <= 3 + 2
    assert mails(bench) == {"accepted": len(adapter.handed), "pending": 20 - len(adapter.handed)}


def test_frozen_words_are_used_whatever_the_disk_holds_now(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 2)
    folder = tmp_path / "templates/customers"
    folder.mkdir(parents=True)
    (folder / "email.txt.j2").write_text(
        "{% block subject %}New{% endblock %}{% block text %}New{% endblock %}"
    )
    (tmp_path / "incidents/pay7.yaml").unlink()
    config = tmp_path / "commcast.toml"
    config.write_text(config.read_text().replace("status@acme.example", "other@acme.example"))
    adapter = FakeAdapter()
    send_with(bench, adapter)
    assert len(adapter.handed) == 2
    for item in adapter.handed:
        assert isinstance(item.message, Email)
        assert "Some customers see an error" in item.message.text
        assert item.message.sender.address == "status@acme.example"


def test_words_that_do_not_render_as_they_were_released_are_not_sent(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 5)
    with bench.ledger.write() as connection:
        connection.execute(update(schema.delivery).values(digest="another"))
    adapter = FakeAdapter(connections=2)
    with pytest.raises(LedgerError, match="do not render as they did"):
        deliver(bench, adapter)
    assert adapter.handed == []
    assert mails(bench) == {"pending": 5}


def test_one_row_whose_words_differ_stops_those_behind_it(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 9)
    with bench.ledger.write() as connection:
        third = schema.delivery.c.address == "c10000002@example.com"
        connection.execute(update(schema.delivery).where(third).values(digest="another"))
    adapter = FakeAdapter(connections=1)
    with pytest.raises(LedgerError):
        deliver(bench, adapter)
    assert "c10000002@example.com" not in adapter.addresses
    assert mails(bench) == {"accepted": len(adapter.handed), "pending": 9 - len(adapter.handed)}


def test_where_answers_cannot_be_recorded_nothing_more_leaves(tmp_path: Path) -> None:
    """Afterwards nobody is told again: what had left and could not be recorded is unknown."""
    bench = bench_of(tmp_path, 20)
    with ExitStack() as disk:

        def give_out_at_third(adapter: FakeAdapter) -> None:
            if len(adapter.handed) == 3:
                disk.enter_context(nothing_can_be_written())

        adapter = FakeAdapter(before=give_out_at_third)
        with pytest.raises(LedgerError, match="reading or writing failed"):
            deliver(bench, adapter)
    assert len(adapter.handed) <= 3 + 2
    assert mails(bench)["claimed"] <= 2
    bench.ledger.close()
    bench.ledger = open_ledger(bench.ledger.path, DESK)  # a new process: the one before writes no more
    with bench.ledger.write() as connection:
        settle_lost(connection, START + LEASE)
    rest = FakeAdapter()
    send_with(bench, rest)
    assert not set(rest.addresses) & set(adapter.addresses)
    assert set(mails(bench)) == {"accepted", "unknown"}


def test_a_failure_on_one_channel_ends_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcasting, "DRAIN_SECONDS", 0.01)
    bench = bench_of(tmp_path, 20)

    class Broken(FakeAdapter):
        """Fails once a mail is on its way."""

        async def _handed_over(self, batch: Sequence[Delivery]) -> list[Outcome]:
            await held.begun.wait()
            raise ZeroDivisionError

    texts, held = Broken(Channel.SMS), HeldAdapter()
    bench.adapter = lambda channel: held if channel is Channel.EMAIL else texts
    with pytest.raises(ZeroDivisionError):
        bench.worker.deliver("pay7")
    assert mails(bench) == {"unknown": 1, "pending": 19}
    assert len(held.handed) == 1


class Heard(Unheard):
    """Keeps what a run tells; `on_settled` is called for each."""

    def __init__(self, on_settled: Callable[[], None] = lambda: None) -> None:
        self.began: list[tuple[str, int]] = []
        self.outcomes: Counter[str] = Counter()
        self._on_settled = on_settled

    def begins(self, broadcast: str, waiting: int) -> None:
        self.began.append((broadcast, waiting))

    def settled(self, broadcast: str, outcomes: Mapping[str, int]) -> None:
        assert broadcast == self.began[-1][0]
        self.outcomes.update(outcomes)
        self._on_settled()


def test_progress_hears_what_waits_and_of_each_outcome_once(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 5)
    heard = Heard()
    asyncio.run(run_of(bench, FakeAdapter(), progress=heard).deliver())
    assert heard.began == [("pay7 email", 5)]
    assert heard.outcomes == {"accepted": 5}


def test_the_same_delivery_has_the_same_message_id_when_it_is_made_again(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 1)
    first, second = FakeAdapter(answer=saying(NOT_TAKEN)), FakeAdapter()
    deliver(bench, first)
    bench.later(minutes=2)
    send_with(bench, second)
    ids = {
        item.message.message_id for item in [*first.handed, *second.handed] if isinstance(item.message, Email)
    }
    assert len(first.handed) == len(second.handed) == 1
    assert len(ids) == 1


def test_a_tolerated_share_of_refusals_is_no_failure(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 10)

    def one_refused(item: Delivery) -> Outcome:
        refused = address_of(item).startswith("c10000003@")
        return Outcome(item.delivery, OutcomeKind.REJECTED) if refused else accepted(item)

    delivered = send_with(bench, FakeAdapter(answer=one_refused))
    assert delivered.exit_code(0.1) is ExitCode.DONE
    assert delivered.exit_code(0.04) is ExitCode.UNKNOWN_OUTCOME


def test_what_a_dead_run_had_claimed_is_unknown_and_told(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 5)
    dead, broadcast = current_owner().rpartition("|")[0] + "|1", frozen(bench).id
    with bench.ledger.write() as connection:
        settle_and_claim(connection, broadcast, [], count=2, owner=dead, lease=LEASE, now=START)
    delivered = send_with(bench, FakeAdapter())
    assert delivered.lost == 2
    assert delivered.exit_code(0.02) is ExitCode.UNKNOWN_OUTCOME
    assert mails(bench) == {"unknown": 2, "accepted": 3}


class Unopened(FakeAdapter):
    """Cannot be spoken to: its certificates cannot be read."""

    async def __aenter__(self) -> Self:
        raise ProviderError("smtp", Fault("commcast.toml", 0, 0, "ca_file cannot be read", "name a PEM file"))


def test_a_provider_that_cannot_be_opened_refuses_us_and_the_other_channel_goes_on(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 3)
    texts = FakeAdapter(Channel.SMS)
    bench.adapter = lambda channel: Unopened() if channel is Channel.EMAIL else texts
    delivered = bench.worker.deliver("pay7")
    assert delivered.exit_code(0.02) is ExitCode.REFUSED
    assert "ca_file cannot be read" in delivered.troubles[0].why
    assert mails(bench) == {"pending": 3}
    assert len(texts.handed) > 0


def test_an_answer_that_came_before_a_run_was_cut_off_is_recorded(tmp_path: Path) -> None:
    """A person presses Ctrl-C a second time: what was in flight is unknown, and not what was answered."""
    bench = bench_of(tmp_path, 3)
    runs: list[asyncio.Task[Ended]] = []

    class CutOff(FakeAdapter):
        async def send(self, batch: Sequence[Delivery]) -> AsyncIterator[Outcome]:
            async for outcome in super().send(batch):
                yield outcome
                runs[0].cancel()

    async def cut_off() -> None:
        runs.append(asyncio.create_task(run_of(bench, CutOff(ready=1)).deliver()))
        ended = await runs[0]
        assert (ended.interrupted, ended.waiting) == (True, 2)

    asyncio.run(cut_off())
    assert mails(bench) == {"accepted": 1, "pending": 2}
