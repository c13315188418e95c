"""A run keeps to its provider's limit and pauses, and hands on to a fallback what was surely not taken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from commcast.delivery import breaker as throttle
from commcast.delivery import breaker as verdict
from commcast.delivery.breaker import CircuitBreaker
from commcast.delivery.worker import Delivered
from commcast.errors import ExitCode, Fault, ProviderError
from commcast.ledger.suppressions import list_suppressions
from commcast.model.incident import Channel
from commcast.model.message import Blame, Delivery, Outcome, OutcomeKind
from tests.support.desk import START, Bench
from tests.support.providers import FakeAdapter, accepted, saying
from tests.test_broadcast import bench_of, deliver, mails, reasons, run_of

NOT_TAKEN, UNKNOWN, REJECTED = OutcomeKind.NOT_TAKEN, OutcomeKind.UNKNOWN, OutcomeKind.REJECTED


@dataclass
class TimedAdapter(FakeAdapter):
    """Keeps when each hand-over began, by a clock that never goes back."""

    begun: list[float] = field(default_factory=list)

    async def _handed_over(self, batch: Sequence[Delivery]) -> list[Outcome]:
        self.begun.extend([time.monotonic()] * len(batch))
        return await super()._handed_over(batch)


def most_in_a_second(begun: Sequence[float]) -> int:
    return max(sum(1 for other in begun if at <= other < at + 1) for at in begun)


def going_on() -> Callable[[], datetime]:
    """Return a clock that goes on as the real one does."""
    begin = time.monotonic()
    return lambda: START + timedelta(seconds=time.monotonic() - begin)


@pytest.mark.parametrize(("per_second", "people", "batch"), [(40.0, 60, 1), (100.0, 130, 5)])
def test_a_run_keeps_to_the_limit(tmp_path: Path, per_second: float, people: int, batch: int) -> None:
    bench = bench_of(tmp_path, people)
    adapter = TimedAdapter(per_second=per_second, connections=4, batch_size=batch)
    deliver(bench, adapter, going_on())
    assert mails(bench) == {"accepted": people}
    assert len(adapter.begun) == people
    assert most_in_a_second(adapter.begun) <= per_second * 1.05 + batch
    assert adapter.begun[-1] - adapter.begun[0] >= (people - batch) / per_second - 0.05


def test_a_hand_over_that_missed_its_slot_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that jumps between claim and hand-over: nothing goes late and crowds the others."""
    monkeypatch.setattr(throttle, "_FIRST_LEAD", 0.0)
    bench = bench_of(tmp_path, 3)
    looks = iter([START] * 6 + [START + timedelta(seconds=9)] * 10_000)
    adapter = FakeAdapter(per_second=100.0)
    deliver(bench, adapter, lambda: next(looks))
    assert mails(bench) == {"accepted": 3}
    assert len(adapter.handed) == 3


def test_a_named_time_is_respected_by_everybody(tmp_path: Path) -> None:
    """After "not for ten minutes" no run asks that provider again before, whichever process it is."""
    bench = bench_of(tmp_path, 5)
    busy = FakeAdapter(answer=saying(NOT_TAKEN, Blame.PROVIDER, retry_after=600.0), connections=2)
    delivered = send_with(bench, busy)
    assert len(busy.handed) <= 2
    assert "not to be tried before" in delivered.troubles[0].why
    assert delivered.exit_code(0.02) is ExitCode.TRY_AGAIN
    again = FakeAdapter()
    bench.later(minutes=5)
    assert send_with(bench, again).waiting == 5
    assert again.handed == []
    bench.later(minutes=6)
    send_with(bench, again)
    assert mails(bench) == {"accepted": 5}


def test_a_short_pause_is_waited_for_within_the_run(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 4)

    def once_busy(item: Delivery) -> Outcome:
        if len(adapter.handed) == 1:
            return Outcome(item.delivery, NOT_TAKEN, "busy", blame=Blame.PROVIDER, retry_after=0.2)
        return accepted(item)

    adapter = TimedAdapter(answer=once_busy)
    ended = deliver(bench, adapter, going_on())
    assert ended.down == ""
    assert mails(bench) == {"accepted": 4}
    assert adapter.begun[1] - adapter.begun[0] >= 0.2


# --- whole requests


def test_one_lost_request_does_not_end_a_broadcast(tmp_path: Path) -> None:
    """A request of 25 that is lost costs its 25; a run does not take them for 25 failures."""
    bench = bench_of(tmp_path, 100)

    def second_is_lost(item: Delivery) -> Outcome:
        return Outcome(item.delivery, UNKNOWN, "lost") if 2 <= len(adapter.handed) <= 26 else accepted(item)

    adapter = FakeAdapter(answer=second_is_lost, batch_size=25, ready=1)
    assert deliver(bench, adapter).down == ""
    assert mails(bench) == {"unknown": 25, "accepted": 75}


def test_two_lost_requests_in_a_row_end_it(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 200)

    def only_the_first(item: Delivery) -> Outcome:
        return accepted(item) if len(adapter.handed) == 1 else Outcome(item.delivery, UNKNOWN, "lost")

    adapter = FakeAdapter(answer=only_the_first, batch_size=25, ready=1)
    assert deliver(bench, adapter).down == "lost"
    assert mails(bench) == {"accepted": 1, "unknown": 50, "pending": 149}


def test_a_provider_that_fails_from_the_first_costs_one_or_two_readers_a_run(tmp_path: Path) -> None:
    """Not a window of them; and cron, a minute later, does not cost the next ones."""
    bench = bench_of(tmp_path, 200)
    fails = FakeAdapter(answer=saying(UNKNOWN), batch_size=25, connections=4, ready=1)
    send_with(bench, fails)
    assert mails(bench) == {"unknown": verdict.LOST_REQUESTS, "pending": 200 - verdict.LOST_REQUESTS}
    bench.later(minutes=1)
    send_with(bench, fails)
    assert mails(bench)["unknown"] == verdict.LOST_REQUESTS
    bench.later(minutes=2)
    send_with(bench, FakeAdapter(batch_size=25))
    assert mails(bench)["accepted"] == 200 - verdict.LOST_REQUESTS


def test_requests_stay_full(tmp_path: Path) -> None:
    """What is claimed is always whole batches, so that a list is not sent in crumbs."""
    bench = bench_of(tmp_path, 95)
    sizes: list[int] = []

    @dataclass
    class Sized(FakeAdapter):
        async def send(self, batch: Sequence[Delivery]) -> AsyncIterator[Outcome]:
            sizes.append(len(batch))
            async for outcome in super().send(batch):
                yield outcome

    deliver(bench, Sized(batch_size=10, connections=3, ready=1))
    assert sizes[0] == 1, "one reader first"
    assert sorted(sizes) == [1, 4, *[10] * 9]


def test_a_burst_of_short_pauses_is_waited_for(tmp_path: Path) -> None:
    """Four requests in flight are told "in a moment": that is one pause, not four failures."""
    bench = bench_of(tmp_path, 12)
    begun = going_on()

    def busy_at_first(item: Delivery) -> Outcome:
        if begun() < START + timedelta(seconds=0.3):
            return Outcome(item.delivery, NOT_TAKEN, "busy", blame=Blame.PROVIDER, retry_after=0.1)
        return accepted(item)

    adapter = FakeAdapter(answer=busy_at_first, connections=4)
    second = FakeAdapter(name="other")
    bench.now = START
    ended = asyncio.run(run_of(bench, adapter, clock=going_on()).deliver())
    assert (ended.down, second.handed) == ("", [])
    assert mails(bench) == {"accepted": 12}


def test_a_stop_word_is_kept_with_the_answer_that_told_of_it(tmp_path: Path) -> None:
    """Not at the end of the run: a kill would lose it, and another incident would text them meanwhile."""
    bench = bench_of(tmp_path, 3)
    known: list[int] = []

    def first_opts_out(item: Delivery) -> Outcome:
        with bench.ledger.read() as connection:
            known.append(len(list_suppressions(connection)))
        if len(adapter.handed) == 1:
            return Outcome(item.delivery, REJECTED, "stop", suppress=True, opted_out=True)
        return accepted(item)

    adapter = FakeAdapter(answer=first_opts_out, ready=1)
    deliver(bench, adapter)
    assert known == [0, 1, 1]


def test_a_greylisting_fallback_is_not_asked_again_and_again(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 3)
    refuses = FakeAdapter(answer=saying(NOT_TAKEN, Blame.ACCOUNT))
    second = FakeAdapter(answer=saying(NOT_TAKEN), name="other")
    send_with(bench, refuses, second)
    assert len(second.handed) == 3
    assert mails(bench) == {"pending": 3}


def test_a_reader_who_said_stop_speaks_of_nobody_else(tmp_path: Path) -> None:
    """Twenty opt-outs are no reason to stop, and each is kept though nobody else was accepted."""
    bench = bench_of(tmp_path, verdict.FIRST_REFUSALS)
    stop = saying(REJECTED, suppress=True, opted_out=True)
    ended = deliver(bench, FakeAdapter(answer=stop))
    assert not ended.refuses_everybody
    with bench.ledger.read() as connection:
        assert len(list_suppressions(connection)) == verdict.FIRST_REFUSALS


def test_waits_come_with_jitter_and_never_before_a_named_time() -> None:
    low, high = (
        CircuitBreaker(patience=20, chance=lambda: 0.0),
        CircuitBreaker(patience=20, chance=lambda: 1.0),
    )
    named = Outcome(1, NOT_TAKEN, blame=Blame.PROVIDER, retry_after=20.0)
    assert (low.wait(named), high.wait(named)) == (20.0, 22.0)
    unnamed = Outcome(1, NOT_TAKEN, blame=Blame.PROVIDER)
    assert (low.wait(unnamed), high.wait(unnamed)) == (0.5, 1.0)


# --- the fallback


def send_with(bench: Bench, adapter: FakeAdapter, fallback: FakeAdapter | None = None) -> Delivered:
    """Deliver as a verb does; texts are taken by another provider."""
    texts = FakeAdapter(Channel.SMS, name="texts")
    bench.adapter = lambda channel: adapter if channel is Channel.EMAIL else texts
    bench.fallback = lambda channel: fallback if channel is Channel.EMAIL else None
    return bench.worker.deliver("pay7")


@pytest.mark.parametrize(
    ("why", "blame"),
    [
        ("the key is refused", Blame.ACCOUNT),
        ("the provider cannot be reached", Blame.PROVIDER),
    ],
)
def test_another_provider_takes_over_where_the_first_refuses_as_a_whole(
    tmp_path: Path, why: str, blame: Blame
) -> None:
    bench = bench_of(tmp_path, 40)
    first = FakeAdapter(answer=lambda item: Outcome(item.delivery, NOT_TAKEN, why, blame=blame))
    second = FakeAdapter(name="other")
    delivered = send_with(bench, first, second)
    assert mails(bench) == {"accepted": 40}
    assert len(second.handed) == 40
    assert delivered.exit_code(0.02) is ExitCode.DONE
    assert [(each.provider, each.why, each.by) for each in delivered.taken_over] == [("fake", why, "other")]


def test_a_busy_provider_is_taken_over_from_at_its_end(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 5)
    busy = FakeAdapter(answer=saying(NOT_TAKEN, Blame.PROVIDER, retry_after=900.0))
    second = FakeAdapter(name="other")
    assert send_with(bench, busy, second).exit_code(0.02) is ExitCode.DONE
    assert mails(bench) == {"accepted": 5}


def test_an_unknown_outcome_is_never_handed_to_a_second_provider(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 60)
    second = FakeAdapter(name="other")
    send_with(bench, FakeAdapter(answer=saying(UNKNOWN), connections=2), second)
    counted = mails(bench)
    assert counted["unknown"] >= 4
    assert len(second.handed) == counted["accepted"] == 60 - counted["unknown"]
    assert reasons(bench) >= {"said unknown"}


@pytest.mark.parametrize(
    "answer", [saying(REJECTED), saying(NOT_TAKEN)], ids=["refused for good", "not taken now"]
)
def test_one_readers_refusal_is_nothing_for_a_fallback(tmp_path: Path, answer: object) -> None:
    bench = bench_of(tmp_path, 3)
    second = FakeAdapter(name="other")
    send_with(bench, FakeAdapter(answer=answer), second)  # type: ignore[arg-type]
    assert second.handed == []


def test_refusing_everybody_is_nothing_for_a_fallback(tmp_path: Path) -> None:
    """Twenty readers refused one by one: the list or the words are wrong, not the provider."""
    bench = bench_of(tmp_path, 60)
    second = FakeAdapter(name="other")
    delivered = send_with(bench, FakeAdapter(answer=saying(REJECTED)), second)
    assert second.handed == []
    assert delivered.exit_code(0.02) is ExitCode.REFUSED


def test_both_refuse_and_nothing_is_lost(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 30)
    refuses = saying(NOT_TAKEN, Blame.ACCOUNT)
    delivered = send_with(bench, FakeAdapter(answer=refuses), FakeAdapter(answer=refuses, name="other"))
    assert mails(bench) == {"pending": 30}
    assert delivered.exit_code(0.02) is ExitCode.REFUSED


def test_a_signal_is_no_reason_for_a_fallback(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 5)
    halt = asyncio.Event()
    halt.set()
    run = run_of(bench, FakeAdapter(), halt=halt)
    assert asyncio.run(run.deliver()).interrupted
    assert mails(bench) == {"pending": 5}


# --- a provider that cannot even be spoken to


def test_a_missing_key_stops_neither_the_other_channel_nor_the_fallback(tmp_path: Path) -> None:
    """The usual mistake under cron: the key is not in its environment."""
    bench = bench_of(tmp_path, 5)
    texts = FakeAdapter(Channel.SMS, name="texts")
    second = FakeAdapter(name="other")

    def adapter_for(channel: Channel) -> FakeAdapter:
        if channel is Channel.SMS:
            return texts
        raise ProviderError("sendgrid", Fault("commcast.toml", 0, 0, "has no key", "set SENDGRID_API_KEY"))

    bench.adapter = adapter_for
    delivered = bench.worker.deliver("pay7")
    assert len(texts.handed) == 5
    assert mails(bench) == {"pending": 5}
    assert delivered.exit_code(0.02) is ExitCode.REFUSED
    assert [(each.provider, each.why) for each in delivered.troubles] == [
        ("sendgrid", "has no key; set SENDGRID_API_KEY")
    ]
    bench.fallback = lambda channel: second if channel is Channel.EMAIL else None
    delivered = bench.worker.deliver("pay7")
    assert mails(bench) == {"accepted": 5}
    assert delivered.exit_code(0.02) is ExitCode.DONE
    assert [each.by for each in delivered.taken_over] == ["other"]


def test_a_tick_goes_on_where_one_provider_cannot_be_spoken_to(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 3)

    def adapter_for(channel: Channel) -> FakeAdapter:
        if channel is Channel.SMS:
            return FakeAdapter(Channel.SMS)
        raise ProviderError("sendgrid", Fault("commcast.toml", 0, 0, "has no key", "set SENDGRID_API_KEY"))

    bench.adapter = adapter_for
    ticked = bench.tick()
    assert ticked.errors == {}
    assert ticked.exit_code(0.02) is ExitCode.REFUSED
    assert bench.states()[("sms", "accepted")] == 3


def test_each_provider_in_trouble_is_named(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 3)
    refuses = FakeAdapter(answer=saying(NOT_TAKEN, Blame.ACCOUNT), name="sendgrid")
    breaks = FakeAdapter(Channel.SMS, answer=saying(UNKNOWN), name="twilio")
    bench.adapter = lambda channel: refuses if channel is Channel.EMAIL else breaks
    delivered = bench.worker.deliver("pay7")
    assert {(each.provider, each.refuses) for each in delivered.troubles} == {
        ("sendgrid", True),
        ("twilio", False),
    }
