"""A run over one broadcast: what each answer does, its provider's limits, what ends it, and the fallback."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest
from sqlalchemy import update

from commcast.delivery import breaker
from commcast.delivery import run as running
from commcast.delivery.breaker import FAILURES_IN_A_ROW, LOST_REQUESTS, CircuitBreaker
from commcast.delivery.run import LEASE, BroadcastRun, Ended
from commcast.delivery.worker import Delivered, TakenOver, Trouble
from commcast.errors import ExitCode, Fault, LedgerError, ProviderError
from commcast.ledger import tables as schema
from commcast.ledger.broadcasts import open_broadcasts
from commcast.ledger.claims import settle_and_claim
from commcast.ledger.fence import stop_incident, stops_in_force
from commcast.ledger.settle import current_owner, settle_lost
from commcast.ledger.store import open_ledger
from commcast.ledger.suppressions import list_suppressions
from commcast.model.incident import Channel
from commcast.model.message import Blame, Delivery, DeliveryProgress, Email, Outcome, OutcomeKind, Unheard
from tests.support import desk, providers
from tests.support.desk import START, Bench, nothing_can_be_written
from tests.support.own_words import write_words
from tests.support.providers import FakeAdapter, HeldAdapter, accepted, address_of, saying

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
NOT_TAKEN, UNKNOWN = OutcomeKind.NOT_TAKEN, OutcomeKind.UNKNOWN


def going_on() -> Callable[[], datetime]:
    """Return a clock that goes on as the real one does."""
    begin = time.monotonic()
    return lambda: START + timedelta(seconds=time.monotonic() - begin)


def bench_of(folder: Path, people: int) -> Bench:
    """Return a desk with this many customers, whose first update is frozen and not handed over."""
    desk.write_desk(folder, customers=desk.numbered(people), support=[])
    desk.write_incident(folder)
    bench = Bench(folder)
    bench.release()
    bench.freeze()
    return bench


def run_of(
    bench: Bench,
    adapter: FakeAdapter,
    *,
    halt: asyncio.Event | None = None,
    clock: Callable[[], datetime] | None = None,
    progress: DeliveryProgress | None = None,
) -> BroadcastRun:
    with bench.ledger.read() as connection:
        broadcast = next(b for b in open_broadcasts(connection) if b.channel == adapter.channel)
    return BroadcastRun(
        broadcast=broadcast,
        ledger=bench.ledger,
        make=lambda _: adapter,
        owner=current_owner(),
        clock=clock or (lambda: START),
        halt=halt or asyncio.Event(),
        progress=progress or Unheard(),
        to_go=bench.states()[adapter.channel, "pending"],
    )


def deliver(bench: Bench, adapter: FakeAdapter, **more: Any) -> Ended:
    return asyncio.run(run_of(bench, adapter, **more).deliver())


def send_with(bench: Bench, email: FakeAdapter, fallback: FakeAdapter | None = None) -> Delivered:
    """Deliver as a command does; another provider takes all texts."""
    texts = FakeAdapter(Channel.SMS, name="texts")
    bench.adapter = lambda channel: email if channel is Channel.EMAIL else texts
    bench.fallback = lambda channel: fallback if channel is Channel.EMAIL else None
    return bench.worker.deliver("pay7")


def emails(bench: Bench) -> dict[str, int]:
    """Return how many emails are in each state."""
    return {state: count for (channel, state), count in bench.states().items() if channel == "email"}


def reasons(bench: Bench) -> set[str]:
    return {row.reason for row in bench.rows() if row.channel == "email"}


def at_third(act: Callable[[], object]) -> Callable[[FakeAdapter], object]:
    """Act when the third message has left and is not answered yet."""
    return lambda adapter: act() if len(adapter.handed) == 3 else None


REFUSES, DOWN = Trouble("fake", "refused", refuses=True), Trouble("fake", "down", refuses=False)


@pytest.mark.parametrize(
    ("delivered", "code"),
    [
        (Delivered(), ExitCode.DONE),
        (Delivered(outcomes=Counter(rejected=1, accepted=49)), ExitCode.DONE),
        (Delivered(outcomes=Counter(rejected=1, accepted=48)), ExitCode.UNKNOWN_OUTCOME),
        (Delivered(outcomes=Counter(unknown=1)), ExitCode.UNKNOWN_OUTCOME),
        (Delivered(lost=1), ExitCode.UNKNOWN_OUTCOME),
        (Delivered(waiting=2, planned=2), ExitCode.DONE),
        (Delivered(waiting=2, planned=1), ExitCode.TRY_AGAIN),
        (Delivered(waiting=2, troubles=[DOWN]), ExitCode.TRY_AGAIN),
        (Delivered(waiting=2, troubles=[DOWN, REFUSES]), ExitCode.REFUSED),
        (Delivered(waiting=2, stopped_by="dana"), ExitCode.DECISION),
        (Delivered(expired=1), ExitCode.DECISION),
        (Delivered(held_back=1), ExitCode.DECISION),
        (Delivered(held_back=1, outcomes=Counter(accepted=1)), ExitCode.DONE),
        (Delivered(signal=signal.SIGINT), ExitCode.INTERRUPTED),
        (Delivered(signal=signal.SIGTERM), ExitCode.TERMINATED),
    ],
)
def test_the_exit_code_is_that_of_the_gravest_thing_that_happened(
    delivered: Delivered, code: ExitCode
) -> None:
    assert delivered.exit_code(0.02) is code


Answer = Callable[[Delivery, int], Outcome | None]


def by(
    kind: OutcomeKind, why: str = "", when: Any = lambda *_: True, other: OutcomeKind = ACCEPTED, **more: Any
) -> Answer:
    """Answer so `when` the delivery, and how many were handed over with it, are such; else the `other`."""
    return lambda item, n: (
        Outcome(item.delivery, kind, why, **more) if when(item, n) else Outcome(item.delivery, other)
    )


def nth(first: int, last: int = 999) -> Callable[[Delivery, int], bool]:
    return lambda _, n: first <= n <= last


def third(item: Delivery, _: int) -> bool:
    return address_of(item).startswith("c10000003@")


def odd(item: Delivery, _: int = 0) -> bool:
    return bool(item.delivery % 2)


def even_answered(item: Delivery, _: int) -> Outcome | None:
    return None if odd(item) else accepted(item)


OURS: dict[str, Any] = {"blame": Blame.ACCOUNT}
THEIRS: dict[str, Any] = {"blame": Blame.PROVIDER}
UNCLEAR: dict[str, Any] = {"blame": Blame.UNCLEAR}
FOR_ONE: dict[str, Any] = {"blame": Blame.ACCOUNT_FOR_ONE}
TWO = {"connections": 2, "ready": 2}
OPTS_OUT: dict[str, Any] = {"suppress": True, "opted_out": True}
WHOLE = {"batch_size": 25, "ready": 1}  # a run begins with one reader; then come requests of 25
ALL_AT_ONCE = {"batch_size": 60}  # all answers come before the ledger has counted the first
ALL_REFUSED = "the first 20 recipients were all refused: no"
CASES: list[tuple[str, int, Answer, dict[str, int], str, str, str]] = [
    ("no key", 30, by(NOT_TAKEN, "no", **OURS), {}, "30 pending", "no", ""),
    ("revoked", 30, by(NOT_TAKEN, "no", nth(10), **OURS), {}, "9 accepted, 21 pending", "no", ""),
    ("no reason", 30, by(NOT_TAKEN, **OURS), {}, "30 pending", breaker.NO_REASON, ""),
    ("down, no reason", 30, by(NOT_TAKEN, **THEIRS), {}, "30 pending", "", breaker.NO_REASON),
    ("silent", 50, by(UNKNOWN, "lost"), {}, "2 unknown, 48 pending", "", "lost"),
    ("fails now and then", 20, by(UNKNOWN, "", odd), {}, "10 accepted, 10 unknown", "", ""),
    ("is silent to some", 20, even_answered, {}, "10 accepted, 10 unknown", "", ""),
    ("refuses in between", 20, by(UNKNOWN, "", odd, REJECTED), {}, "10 rejected, 10 unknown", "", ""),
    ("refuses everybody", 60, by(REJECTED, "no"), {}, "20 rejected, 40 pending", ALL_REFUSED, ""),
    ("most refused", 60, by(REJECTED, "", odd), ALL_AT_ONCE, "30 accepted, 30 rejected", "", ""),
    ("opt-outs", 20, by(REJECTED, **OPTS_OUT), {}, "20 rejected", "", ""),
    ("unclear", 30, by(NOT_TAKEN, "no", **UNCLEAR), TWO, "30 pending", "no", ""),
    ("unclear of few", 3, by(NOT_TAKEN, "no", **UNCLEAR), TWO, "3 pending", "no", ""),
    ("unclear of one", 1, by(NOT_TAKEN, "no", **UNCLEAR), TWO, "1 pending", "", ""),
    ("unclear of some", 30, by(NOT_TAKEN, "no", third, **UNCLEAR), TWO, "29 accepted, 1 pending", "", ""),
    ("unclear then", 30, by(NOT_TAKEN, "no", nth(10), **UNCLEAR), TWO, "8 accepted, 22 pending", "no", ""),
    ("a region", 60, by(REJECTED, "no", nth(10), **FOR_ONE), {}, "9 accepted, 51 rejected", "no", ""),
    ("the one region", 30, by(REJECTED, "no", **FOR_ONE), {}, "30 rejected", "no", ""),
    ("ours, for one", 30, by(NOT_TAKEN, "no", third, **FOR_ONE), TWO, "29 accepted, 1 pending", "no", ""),
    ("ours, for all", 99, by(NOT_TAKEN, "no", nth(3), **FOR_ONE), TWO, "2 accepted, 97 pending", "no", ""),
    ("greylisted", 30, by(NOT_TAKEN, "", nth(3, 3)), {}, "29 accepted, 1 pending", "", ""),
    ("one lost request", 99, by(UNKNOWN, "", nth(2, 26)), WHOLE, "25 unknown, 74 accepted", "", ""),
    ("two", 99, by(UNKNOWN, "lost", nth(2)), WHOLE, "1 accepted, 50 unknown, 48 pending", "", "lost"),
    ("busy for requests", 99, by(NOT_TAKEN, "busy", **THEIRS), WHOLE, "99 pending", "", "busy"),
]


@pytest.mark.parametrize(
    ("people", "answer", "options", "left", "refused", "down"),
    [pytest.param(*case, id=name) for name, *case in CASES],
)
def test_a_run_goes_on_or_ends_by_its_answers(
    tmp_path: Path, people: int, answer: Answer, options: dict[str, int], left: str, refused: str, down: str
) -> None:
    bench = bench_of(tmp_path, people)
    adapter = FakeAdapter(**options)  # type: ignore[arg-type]
    adapter.answer = lambda item: answer(item, len(adapter.handed))
    ended = deliver(bench, adapter)
    counted = {state: int(many) for many, state in (each.split() for each in left.split(", "))}
    assert (emails(bench), ended.waiting) == (counted, counted.get("pending", 0))
    refused_for = ended.refused or ended.refused_some
    assert (refused_for, ended.down, ended.refuses_everybody) == (refused, down, refused == ALL_REFUSED)
    taken = sum(counted.values()) - ended.waiting
    most = adapter.window if options is TWO else 1 if refused else FAILURES_IN_A_ROW
    assert not (refused or down) or len(adapter.handed) <= taken + most
    with bench.ledger.read() as connection:
        suppressed = {each.reason for each in list_suppressions(connection)}
    assert bool(suppressed) == (people == 20 and left == "20 rejected")


def test_a_reader_who_may_be_why_we_are_refused_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """The run ends, for it may be us; the next one begins with those behind, and a later one asks again."""
    bench = bench_of(tmp_path, 30)
    refuses = by(NOT_TAKEN, "no", third, blame=Blame.ACCOUNT, retry_after=300.0)
    left = []
    for minutes in (1, 6, 6):
        adapter = FakeAdapter(answer=lambda item: refuses(item, 0), ready=1)
        send_with(bench, adapter)
        left.append(emails(bench)["pending"])
        bench.later(minutes=minutes)
    assert (left[0] > 1, left[1:], len(adapter.handed)) == (True, [1, 1], 1)


def test_answers_in_any_order_find_their_own_delivery(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 7)

    def odd_ones_out(item: Delivery) -> Outcome:
        return Outcome(item.delivery, REJECTED if odd(item) else ACCEPTED, provider_id=address_of(item))

    adapter = FakeAdapter(answer=odd_ones_out, batch_size=3, connections=2, backwards=True)
    ended = deliver(bench, adapter)
    assert sorted(ended.outcomes.values()) == [3, 4]
    assert all(row.provider_id == row.address for row in bench.rows() if row.channel == "email")
    assert len(adapter.addresses) == len(set(adapter.addresses)) == 7


def test_an_adapter_that_raises_leaves_what_it_was_given_unknown_and_ends_the_run(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 6)

    def broken(item: Delivery) -> Outcome:
        raise ZeroDivisionError

    adapter, rest = FakeAdapter(answer=broken, ready=1), FakeAdapter()
    with pytest.raises(ZeroDivisionError):
        deliver(bench, adapter)
    assert (len(adapter.handed), adapter.left, emails(bench)) == (1, 1, {"unknown": 1, "pending": 5})
    send_with(bench, rest)
    assert emails(bench) == {"unknown": 1, "accepted": 5}
    assert not set(rest.addresses) & set(adapter.addresses)


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


def test_a_provider_that_fails_from_the_first_costs_one_or_two_readers_a_run(tmp_path: Path) -> None:
    """Not a window of them; and cron, a minute later, does not cost the next ones."""
    bench = bench_of(tmp_path, 200)
    fails = FakeAdapter(answer=saying(UNKNOWN), batch_size=25, connections=4, ready=1)
    for _ in range(2):
        send_with(bench, fails)
        assert emails(bench) == {"unknown": LOST_REQUESTS, "pending": 200 - LOST_REQUESTS}
        bench.later(minutes=1)
    bench.later(minutes=1)
    send_with(bench, FakeAdapter(batch_size=25))
    assert emails(bench)["accepted"] == 200 - LOST_REQUESTS


class Watching(Unheard):
    """Keeps what a run tells; `on_settled` is called for each."""

    def __init__(self, on_settled: Callable[[], object] = lambda: None) -> None:
        self.began: list[tuple[str, int]] = []
        self.outcomes: Counter[str] = Counter()
        self._on_settled = on_settled

    def begins(self, broadcast: str, waiting: int) -> None:
        self.began.append((broadcast, waiting))

    def settled(self, broadcast: str, outcomes: Mapping[str, int]) -> None:
        assert broadcast == self.began[-1][0]
        self.outcomes.update(outcomes)
        self._on_settled()


def claimed(bench: Bench) -> list[int]:
    """Return the deliveries that are claimed, as another process sees it."""
    with closing(sqlite3.connect(bench.ledger.path)) as ledger:
        return [row[0] for row in ledger.execute("select id from delivery where state = 'claimed'")]


@pytest.mark.parametrize(("connections", "batch_size"), [(1, 1), (3, 1), (2, 4)])
def test_never_more_than_a_window_is_claimed(tmp_path: Path, connections: int, batch_size: int) -> None:
    """Seen from outside, while the provider holds every answer back: a kill now costs at most W unknowns."""
    bench = bench_of(tmp_path, 40)
    adapter = HeldAdapter(connections=connections, batch_size=batch_size)
    seen: list[int] = []
    watching = Watching(lambda: seen.append(len(claimed(bench))))

    async def look() -> None:
        run = asyncio.create_task(run_of(bench, adapter, progress=watching).deliver())
        await adapter.begun.wait()
        # If a request carries many, one reader goes first.
        assert len(claimed(bench)) == (adapter.window if batch_size == 1 else 1)
        adapter.gate.set()
        await run

    asyncio.run(look())
    assert (watching.began, watching.outcomes) == ([("pay7 email", 40)], {"accepted": 40})
    assert emails(bench) == {"accepted": 40}
    assert max(seen) <= adapter.window


def test_a_claim_is_on_disk_before_its_message_leaves(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 5)
    on_disk: list[bool] = []
    adapter = FakeAdapter(
        before=lambda adapter: on_disk.append(adapter.handed[-1].delivery in claimed(bench)), connections=2
    )
    deliver(bench, adapter)
    assert on_disk == [True] * 5


def test_what_a_dead_run_had_claimed_is_unknown_and_told(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 5)
    broadcast = run_of(bench, FakeAdapter()).broadcast.id
    with bench.ledger.write() as connection:
        settle_and_claim(connection, broadcast, [], count=2, owner=providers.DEAD, lease=LEASE, now=START)
    delivered = send_with(bench, FakeAdapter())
    assert (delivered.lost, delivered.exit_code(0.02)) == (2, ExitCode.UNKNOWN_OUTCOME)
    assert emails(bench) == {"unknown": 2, "accepted": 3}


def test_requests_stay_full(tmp_path: Path) -> None:
    """What is claimed is always whole batches, so that a list is not sent in crumbs."""
    bench = bench_of(tmp_path, 95)
    sizes: list[int] = []
    adapter = FakeAdapter(batch_size=10, connections=3, ready=1)
    adapter.before = lambda _: sizes.append(len(adapter.handed) - sum(sizes))
    deliver(bench, adapter)
    assert sizes[0] == 1, "one reader first"
    assert sorted(sizes) == [1, 4, *[10] * 9]


def test_frozen_words_are_used_whatever_the_disk_holds_now(tmp_path: Path) -> None:
    """And a delivery that is made again has the same Message-ID."""
    bench = bench_of(tmp_path, 2)
    first, adapter = FakeAdapter(answer=saying(NOT_TAKEN)), FakeAdapter()
    deliver(bench, first)
    write_words(tmp_path, "customers", email="Subject: New\n\nNew")
    (tmp_path / "incidents/pay7.yaml").unlink()
    config = tmp_path / "commcast.toml"
    config.write_text(config.read_text().replace("status@acme.example", "other@acme.example"))
    bench.later(minutes=2)
    send_with(bench, adapter)
    messages = [item.message for item in adapter.handed if isinstance(item.message, Email)]
    assert len(messages) == 2
    assert all("Some customers see an error" in each.text for each in messages)
    assert {each.sender.address for each in messages} == {"status@acme.example"}
    before = {item.message.message_id for item in first.handed if isinstance(item.message, Email)}
    assert {each.message_id for each in messages} == before


def test_words_that_do_not_render_as_they_were_released_stop_the_run(tmp_path: Path) -> None:
    bench, which = bench_of(tmp_path, 9), "c10000002@example.com"
    with bench.ledger.write() as connection:
        changed = schema.delivery.c.address == which
        connection.execute(update(schema.delivery).where(changed).values(digest="another"))
    adapter = FakeAdapter()
    with pytest.raises(LedgerError, match="do not render as they did"):
        deliver(bench, adapter)
    assert which not in adapter.addresses
    assert +Counter(emails(bench)) == +Counter(accepted=len(adapter.handed), pending=9 - len(adapter.handed))


def timing(begun: list[float]) -> Callable[[FakeAdapter], None]:
    """Keep when each message left, by a clock that never goes back."""
    return lambda adapter: begun.extend([time.monotonic()] * (len(adapter.handed) - len(begun)))


@pytest.mark.parametrize(("per_second", "people", "batch"), [(40.0, 60, 1), (100.0, 130, 5)])
def test_a_run_keeps_to_the_limit(tmp_path: Path, per_second: float, people: int, batch: int) -> None:
    bench = bench_of(tmp_path, people)
    begun: list[float] = []
    adapter = FakeAdapter(per_second=per_second, connections=4, batch_size=batch, before=timing(begun))
    deliver(bench, adapter, clock=going_on())
    assert (emails(bench), len(begun)) == ({"accepted": people}, people)
    in_a_second = max(sum(1 for other in begun if at <= other < at + 1) for at in begun)
    assert in_a_second <= per_second * 1.05 + batch
    assert begun[-1] - begun[0] >= (people - batch) / per_second - 0.05


def test_a_message_that_missed_its_slot_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that jumps between claim and slot: nothing goes late and crowds the others."""
    monkeypatch.setattr(breaker, "_FIRST_LEAD", 0.0)
    bench = bench_of(tmp_path, 3)
    looks = iter([START] * 6 + [START + timedelta(seconds=9)] * 10_000)
    adapter = FakeAdapter(per_second=100.0)
    deliver(bench, adapter, clock=lambda: next(looks))
    assert (emails(bench), len(adapter.handed)) == ({"accepted": 3}, 3)


@pytest.mark.parametrize(("connections", "busy_for"), [(1, 0.0), (4, 0.3)], ids=["one answer", "a burst"])
def test_a_short_pause_is_waited_for_within_the_run(
    tmp_path: Path, connections: int, busy_for: float
) -> None:
    """Four requests in flight are told "in a moment": that is one pause, not four failures."""
    bench = bench_of(tmp_path, 12)
    clock = going_on()

    def busy_at_first(item: Delivery) -> Outcome:
        if len(adapter.handed) == 1 or clock() < START + timedelta(seconds=busy_for):
            return Outcome(item.delivery, NOT_TAKEN, "busy", blame=Blame.PROVIDER, retry_after=0.1)
        return accepted(item)

    begun: list[float] = []
    adapter = FakeAdapter(answer=busy_at_first, connections=connections, before=timing(begun))
    ended = deliver(bench, adapter, clock=clock)
    assert (ended.down, emails(bench)) == ("", {"accepted": 12})
    assert begun[connections] - begun[0] >= 0.1


@pytest.mark.parametrize(
    ("blame", "asked", "waits"),
    [
        (Blame.PROVIDER, 3600.0, 3600),
        (Blame.PROVIDER, 1e9, 3600),
        (Blame.PROVIDER, -5.0, 0),
        (Blame.RECIPIENT, None, 60),
    ],
)
def test_what_is_not_taken_is_tried_again_at_a_providers_own_time_within_an_hour(
    tmp_path: Path, blame: Blame, asked: float | None, waits: int
) -> None:
    halt = asyncio.Event()

    def later(item: Delivery) -> Outcome:
        halt.set()
        return Outcome(item.delivery, NOT_TAKEN, "later", blame=blame, retry_after=asked)

    ended = deliver(bench_of(tmp_path, 1), FakeAdapter(answer=later), halt=halt)
    assert ended.next_try is not None
    # Never before the named time, and not all processes at the same moment.
    assert 0 <= (ended.next_try - START).total_seconds() - waits <= 5


def test_waits_come_with_jitter_and_never_before_a_named_time() -> None:
    breakers = [CircuitBreaker(patience=20, chance=lambda chance=chance: chance) for chance in (0.0, 1.0)]  # type: ignore[misc]
    named = Outcome(1, NOT_TAKEN, blame=Blame.PROVIDER, retry_after=20.0)
    unnamed = Outcome(1, NOT_TAKEN, blame=Blame.PROVIDER)
    assert [each.wait(named) for each in breakers] == [20.0, 22.0]
    assert [each.wait(unnamed) for each in breakers] == [0.5, 1.0]


def test_a_named_time_is_respected_by_every_process(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 5)
    busy = FakeAdapter(answer=saying(NOT_TAKEN, Blame.PROVIDER, retry_after=600.0), connections=2)
    delivered = send_with(bench, busy)
    assert (len(busy.handed) <= 2, delivered.exit_code(0.02)) == (True, ExitCode.TRY_AGAIN)
    assert "no retry before" in delivered.troubles[0].why
    again = FakeAdapter()
    bench.later(minutes=5)
    assert (send_with(bench, again).waiting, again.handed) == (5, [])
    bench.later(minutes=6)
    send_with(bench, again)
    assert emails(bench) == {"accepted": 5}


def test_on_a_halt_what_is_in_flight_ends_and_nothing_more_begins(tmp_path: Path) -> None:
    """Nor is there reason for a fallback."""
    bench = bench_of(tmp_path, 20)
    halt = asyncio.Event()
    ended = deliver(bench, FakeAdapter(before=at_third(halt.set)), halt=halt)
    assert (ended.interrupted, ended.can_be_taken_over, ended.waiting) == (True, False, 17)
    assert emails(bench) == {"accepted": 3, "pending": 17}
    assert deliver(bench, FakeAdapter(), halt=halt).outcomes == {}


def test_an_adapter_that_hangs_is_waited_for_only_a_certain_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "DRAIN_SECONDS", 0.01)
    bench = bench_of(tmp_path, 10)
    adapter = HeldAdapter(connections=2)

    async def halted() -> Ended:
        halt = asyncio.Event()
        run = asyncio.create_task(run_of(bench, adapter, halt=halt).deliver())
        await adapter.begun.wait()
        await providers.settle_down()
        halt.set()
        return await run

    assert asyncio.run(halted()).outcomes == {"unknown": 2, "not_taken": 2}
    assert emails(bench) == {"unknown": 2, "pending": 8}
    assert "interrupted in flight" in reasons(bench)


def test_an_answer_that_came_before_a_run_was_cut_off_is_recorded(tmp_path: Path) -> None:
    """A person presses Ctrl-C a second time: what was in flight is unknown, and not what was answered."""
    bench = bench_of(tmp_path, 3)
    runs: list[asyncio.Task[Ended]] = []

    class CutOff(FakeAdapter):
        async def send(self, batch: Sequence[Delivery]) -> AsyncIterator[Outcome]:
            async for outcome in super().send(batch):
                yield outcome
                runs[0].cancel()

    async def cut_off() -> Ended:
        runs.append(asyncio.create_task(run_of(bench, CutOff(ready=1)).deliver()))
        return await runs[0]

    ended = asyncio.run(cut_off())
    assert (ended.interrupted, ended.waiting, emails(bench)) == (True, 2, {"accepted": 1, "pending": 2})


@pytest.mark.parametrize(
    ("number", "code", "stopped"),
    [(signal.SIGINT, ExitCode.INTERRUPTED, ["pay7"]), (signal.SIGTERM, ExitCode.TERMINATED, [])],
)
def test_a_signal_ends_the_run_in_order_and_only_a_person_also_stops_the_incident(
    tmp_path: Path, number: signal.Signals, code: ExitCode, stopped: list[str]
) -> None:
    bench = bench_of(tmp_path, 20)
    before, rest = signal.getsignal(number), FakeAdapter()
    delivered = send_with(bench, FakeAdapter(before=at_third(lambda: signal.raise_signal(number))))
    assert (delivered.exit_code(0.02), emails(bench)) == (code, {"accepted": 3, "pending": 17})
    assert signal.getsignal(number) == before
    with bench.ledger.read() as connection:
        assert [stop.incident for stop in stops_in_force(connection)] == stopped
    send_with(bench, rest)
    assert len(rest.handed) == (0 if stopped else 17)


def test_a_stop_during_a_run_ends_it_and_names_who(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 20)

    def stop() -> None:
        with bench.ledger.write() as connection:
            stop_incident(connection, "pay7", "dana", START)

    adapter = FakeAdapter(before=at_third(stop))
    assert deliver(bench, adapter).stopped_by == "dana"
    gone = len(adapter.handed)
    assert (gone <= 3 + 2, emails(bench)) == (True, {"accepted": gone, "pending": 20 - gone})


def test_if_answers_cannot_be_recorded_nothing_more_leaves(tmp_path: Path) -> None:
    """Afterwards nobody is told again: what had left and could not be recorded is unknown."""
    bench = bench_of(tmp_path, 20)
    with ExitStack() as disk:
        gives_out = at_third(lambda: disk.enter_context(nothing_can_be_written()))
        adapter, rest = FakeAdapter(before=gives_out), FakeAdapter()
        with pytest.raises(LedgerError, match="reading or writing failed"):
            deliver(bench, adapter)
    assert (len(adapter.handed) <= 3 + 2, emails(bench)["claimed"] <= 2) == (True, True)
    bench.ledger.close()
    bench.ledger = open_ledger(bench.ledger.path, desk.DESK)  # a new process: the one before writes no more
    with bench.ledger.write() as connection:
        settle_lost(connection, START + LEASE)
    send_with(bench, rest)
    assert not set(rest.addresses) & set(adapter.addresses)
    assert set(emails(bench)) == {"accepted", "unknown"}


@pytest.mark.parametrize("by", ["deleted", "replaced"])
def test_if_the_ledger_is_gone_nothing_more_leaves_and_it_is_not_said_that_all_is_recorded(
    tmp_path: Path, by: str
) -> None:
    """An open file can be written although nobody finds it any more."""
    bench = bench_of(tmp_path, 20)
    folder = bench.ledger.path.parent

    def lose() -> None:
        folder.rename(tmp_path / "elsewhere")
        if by == "replaced":
            shutil.copytree(tmp_path / "elsewhere", folder)

    adapter = FakeAdapter(before=at_third(lose))
    with pytest.raises(LedgerError, match="deleted, moved or replaced") as caught:
        deliver(bench, adapter)
    assert (len(adapter.handed) <= 3 + 2, "unrecorded" in str(caught.value)) == (True, False)
    with pytest.raises(LedgerError, match="deleted, moved or replaced"), bench.ledger.write():
        pass


def test_a_failure_on_one_channel_ends_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "DRAIN_SECONDS", 0.01)
    bench = bench_of(tmp_path, 20)

    class Broken(FakeAdapter):
        """Fails once an email is on its way."""

        async def _handed_over(self, batch: Sequence[Delivery]) -> list[Outcome]:
            await held.begun.wait()
            raise ZeroDivisionError

    texts, held = Broken(Channel.SMS), HeldAdapter()
    bench.adapter = lambda channel: held if channel is Channel.EMAIL else texts
    with pytest.raises(ZeroDivisionError):
        bench.worker.deliver("pay7")
    assert (emails(bench), len(held.handed)) == ({"unknown": 1, "pending": 19}, 1)


def over(why: str, first: str = "fake") -> list[TakenOver]:
    return [TakenOver(first, why, "other")]


KEYLESS = saying(NOT_TAKEN, Blame.ACCOUNT)
NOT_SAID, LOST = over("said not_taken"), over("said unknown")


@pytest.mark.parametrize(
    ("answer", "seconds", "left", "taken_over", "code"),
    [
        (saying(NOT_TAKEN, Blame.ACCOUNT), accepted, {"accepted": 60}, NOT_SAID, ExitCode.DONE),
        (saying(NOT_TAKEN, Blame.PROVIDER), accepted, {"accepted": 60}, NOT_SAID, ExitCode.DONE),
        # Nothing unknown is ever handed to a second provider.
        (saying(UNKNOWN), accepted, {"unknown": 2, "accepted": 58}, LOST, ExitCode.UNKNOWN_OUTCOME),
        # What concerns single readers is nothing for a fallback; nor is a list or a message that is wrong.
        (saying(NOT_TAKEN), accepted, {"pending": 60}, [], ExitCode.TRY_AGAIN),
        (saying(REJECTED), accepted, {"rejected": 20, "pending": 40}, [], ExitCode.REFUSED),
        (saying(REJECTED, opted_out=True), accepted, {"rejected": 60}, [], ExitCode.UNKNOWN_OUTCOME),
        (saying(NOT_TAKEN, Blame.ACCOUNT), KEYLESS, {"pending": 60}, NOT_SAID, ExitCode.REFUSED),
    ],
    ids=["refuses us", "is down", "is silent", "greylists", "refuses everybody", "opt-outs", "both refuse"],
)
def test_another_provider_takes_over_only_what_the_first_as_a_whole_did_not_take(
    tmp_path: Path,
    answer: Any,
    seconds: Any,
    left: Mapping[str, int],
    taken_over: list[TakenOver],
    code: ExitCode,
) -> None:
    bench = bench_of(tmp_path, 60)
    fallback = FakeAdapter(name="other", answer=seconds)
    delivered = send_with(bench, FakeAdapter(answer=answer), fallback)
    assert (emails(bench), delivered.taken_over, delivered.exit_code(0.02)) == (left, taken_over, code)
    assert len(fallback.handed) == (left.get("accepted", 0) or len(taken_over))


def test_a_fallback_greylists_in_its_turn_and_then_goes_on(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 5)
    busy = FakeAdapter(answer=saying(NOT_TAKEN, Blame.PROVIDER, retry_after=900.0))
    greylists = FakeAdapter(answer=saying(NOT_TAKEN), name="other")
    send_with(bench, busy, greylists)
    assert (len(greylists.handed), emails(bench)) == (5, {"pending": 5})
    bench.later(minutes=2)
    send_with(bench, busy, FakeAdapter(name="other"))
    assert emails(bench) == {"accepted": 5}


class Unopened(FakeAdapter):
    """Cannot be used: its certificates cannot be read."""

    async def __aenter__(self) -> Self:
        raise keyless


keyless = ProviderError("sendgrid", Fault("commcast.toml", 0, 0, "has no key", "set SENDGRID_API_KEY"))
WHY = "has no key; set SENDGRID_API_KEY"


def raising(channel: Channel) -> FakeAdapter:
    raise keyless


@pytest.mark.parametrize("make", [raising, Unopened], ids=["cannot be made", "cannot be opened"])
def test_a_provider_that_cannot_be_used_stops_neither_the_other_channel_nor_the_fallback(
    tmp_path: Path, make: Callable[[Channel], FakeAdapter]
) -> None:
    """The usual mistake under cron: the key is not in its environment."""
    bench = bench_of(tmp_path, 5)
    texts, second = FakeAdapter(Channel.SMS, name="texts"), FakeAdapter(name="other")
    bench.adapter = lambda channel: texts if channel is Channel.SMS else make(channel)
    ticked = bench.tick()
    delivered = ticked.delivered["pay7"]
    assert (ticked.errors, ticked.exit_code(0.02)) == ({}, ExitCode.REFUSED)
    assert delivered.troubles == [Trouble("sendgrid", WHY, refuses=True)]
    assert (len(texts.handed), emails(bench)) == (5, {"pending": 5})
    bench.fallback = make
    delivered = bench.worker.deliver("pay7")
    assert (delivered.exit_code(0.02), emails(bench)) == (ExitCode.REFUSED, {"pending": 5})
    bench.fallback = lambda channel: second if channel is Channel.EMAIL else None
    delivered = bench.worker.deliver("pay7")
    assert (delivered.exit_code(0.02), delivered.taken_over) == (ExitCode.DONE, over(WHY, "sendgrid"))
    assert emails(bench) == {"accepted": 5}


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
