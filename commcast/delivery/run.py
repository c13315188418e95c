"""Sends one frozen broadcast: claim, hand over to the adapter, settle. The only code that sends."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count, zip_longest
from typing import TypeVar

from sqlalchemy import Connection

from commcast.delivery.breaker import AFTER_SILENCE, LONGEST_WAIT, LOST_REQUESTS, CircuitBreaker, RateLimiter
from commcast.delivery.freeze import FrozenWords
from commcast.errors import CommcastError, ProviderError
from commcast.ledger.broadcasts import Broadcast
from commcast.ledger.claims import Turn, planned, settle_and_claim, waiting
from commcast.ledger.settle import Settlement, close, settle
from commcast.ledger.store import Ledger
from commcast.ledger.suppressions import suppress_refused
from commcast.model.incident import Channel
from commcast.model.message import NOT_BEGUN, Blame, Delivery, DeliveryProgress, Outcome, OutcomeKind
from commcast.providers.base import Adapter

LINGER = 0.02  # seconds that the last answers of a broadcast wait for each other, to be recorded together
DRAIN_SECONDS = 60.0  # after a signal: how long requests in flight may take to finish
# Longer than the longest request plus the one that waits before it; then another host may call it unknown.
LEASE = timedelta(minutes=30)

_Result = TypeVar("_Result")


@dataclass(slots=True)
class Ended:
    """How a run over one broadcast ended. `outcomes` counts by OutcomeKind value what `provider` did.

    `expired` counts readers who could not be told in time. `waiting` is how many stay pending, `next_try`
    when the first of them may go; `planned` of them wait because others are told first, until `planned_at`.
    `stopped_by` says who stopped it. `refused` is the provider's reason if it refuses us as a whole,
    `refused_some` if it refuses us for some readers, `down` its reason if it takes nothing now. `interrupted`
    means that a signal ended the run.
    """

    provider: str = ""
    outcomes: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    expired: int = 0
    next_try: datetime | None = None
    planned: int = 0
    planned_at: datetime | None = None
    stopped_by: str = ""
    refused: str = ""
    refused_some: str = ""
    refuses_everybody: bool = False
    down: str = ""
    interrupted: bool = False

    @property
    def can_be_taken_over(self) -> bool:
        """Whether the provider as a whole took nothing, and left work that another provider may do."""
        failed = (self.refused and not self.refuses_everybody) or self.down
        left = self.waiting > self.planned
        return bool(failed and left and not self.stopped_by and not self.interrupted)


@dataclass(frozen=True, slots=True)
class _Ready:
    """One batch that is claimed; it may begin at `slot`, or at once if that is None."""

    batch: list[Delivery]
    slot: datetime | None


@dataclass
class BroadcastRun:
    """One process's run over one frozen broadcast.

    `make` returns the adapter of a channel, None if there is none. `clock` gives aware UTC now; a signal sets
    `halt`. `progress` is told how many wait (`to_go`), and what became of them once settled. With `waits`
    unset, what was to be tried later goes now: this provider takes over from another. `zone` is that of the
    times in its words.
    """

    broadcast: Broadcast
    ledger: Ledger
    make: Callable[[Channel], Adapter | None]
    owner: str
    clock: Callable[[], datetime]
    halt: asyncio.Event
    progress: DeliveryProgress
    to_go: int
    waits: bool = True
    zone: tzinfo = UTC

    def __post_init__(self) -> None:
        self.ended = Ended()
        self._name = f"{self.broadcast.incident} {self.broadcast.channel}"
        self._words = FrozenWords(self.broadcast, self.ledger.secret)
        self._requests = count()
        self._open: set[int] = set()  # claimed, and not settled yet
        self._answered: list[Outcome] = []
        self._settling: list[Settlement] = []  # answered, and not yet known to be recorded
        self._news = asyncio.Event()  # there are answers, or the run should end
        self._over = asyncio.Event()  # nothing more may begin
        self._is_last = False  # nothing waits to be claimed after these
        self._drained_by = 0.0
        self._broken: Exception | None = None

    async def deliver(self) -> Ended:
        """Hand over all that may go; return how it ended. `provider` is "" if there is no adapter.

        A provider that cannot be used at all counts as one that refuses us. Raises LedgerError or TryAgain if
        the ledger cannot be written: then nothing more leaves.
        """
        try:
            if adapter := self.make(Channel(self.broadcast.channel)):
                async with self._under_way(adapter):
                    while True:
                        wanted = self._wanted(len(self._open))
                        turn = await self._turn(self._settling, wanted)
                        self._settling, self._is_last = [], len(turn.claims) < wanted
                        self._begin(turn)
                        if self._open:
                            if not (outcomes := await self._answers()):
                                break
                            self._open.difference_update(outcome.delivery for outcome in outcomes)
                            self._settling = [self._settlement(outcome) for outcome in outcomes]
                        elif not await self._worth_waiting(turn):
                            break
            return self.ended
        except ProviderError as error:
            refused = "; ".join(f"{fault.what}; {fault.remedy}" for fault in error.faults)
            self.ended.provider, self.ended.refused = error.provider, refused
        except asyncio.CancelledError:
            # The second Ctrl-C: what was open is settled as unknown, and the rest is only counted.
            self.ended.interrupted = True
        with self.ledger.read() as connection:
            self._count(connection)
        return self.ended

    @asynccontextmanager
    async def _under_way(self, adapter: Adapter) -> AsyncIterator[None]:
        """Open the adapter; at the end, let nothing go on, and settle what is still open."""
        self.ended.provider, self.adapter = adapter.name, adapter
        self._limiter = RateLimiter(adapter, self.clock)
        in_flight = adapter.window // adapter.batch_size
        self._breaker = CircuitBreaker(patience=max(in_flight, LOST_REQUESTS), batch=adapter.batch_size)
        # The event loop never waits for a disk; one thread keeps the run's transactions in order.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._tasks = {asyncio.create_task(self._end_on_halt())}
        try:
            self.progress.begins(self._name, self.to_go)
            async with adapter:
                try:
                    yield
                except CommcastError:  # of the ledger: the next run calls unknown what is claimed now
                    await self._cancel_tasks()
                    with suppress(CommcastError):
                        await self._record(self._known())
                    raise
                except BaseException:
                    await self._give_up()
                    raise
                await self._give_up()
            await self._conclude()
        finally:
            await self._cancel_tasks()
            self._thread.shutdown()
            self.ended.refused, self.ended.down = self._breaker.refused, self._breaker.down
            self.ended.refused_some = self._breaker.refused_some
            self.ended.refuses_everybody = self._breaker.refuses_everybody
            self.ended.interrupted = self.halt.is_set()
        if self._broken is not None:
            raise self._broken

    def _begin(self, turn: Turn) -> None:
        """Hand over what was claimed, unless the run should end by now."""
        self._open.update(claim.delivery for claim in turn.claims)
        for ready in self._batches(turn):
            task = asyncio.create_task(self._hand_over(ready))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._ending:
            self._end()

    async def _end_on_halt(self) -> None:
        await self.halt.wait()
        self._drained_by = time.monotonic() + DRAIN_SECONDS
        self._end()

    def _end(self) -> None:
        """Begin nothing more: what is in flight may finish."""
        self._over.set()
        self._news.set()
        self.adapter.halt()

    def _wanted(self, open_claims: int) -> int:
        """Return how many deliveries to claim: whole batches, so that requests stay few and full."""
        if self._ending:
            return 0
        size = self.adapter.batch_size
        if size > 1 and not self._breaker.accepts:
            # One reader first: a provider that fails then costs one answer, not a window of them.
            return 0 if open_claims else 1
        return (self.adapter.window - open_claims) // size * size

    @property
    def _ending(self) -> bool:
        stopped = self.ended.stopped_by or self._breaker.is_final
        return bool(self.halt.is_set() or stopped or self._broken is not None)

    async def _turn(self, settled: Sequence[Settlement], wanted: int) -> Turn:
        """Record answers, and the pause a provider asked for, and claim up to `wanted` further deliveries."""
        limit, closed_until = self._limiter.limit, self._limiter.closed_until

        def transact(connection: Connection) -> Turn:
            if closed_until:
                close(connection, self.adapter.name, closed_until)
            turn = settle_and_claim(
                connection,
                self.broadcast.id,
                settled,
                count=wanted,
                owner=self.owner,
                lease=LEASE,
                now=self.clock(),
                limit=limit,
                waits=self.waits,
            )
            self._words.load(connection, turn.claims)
            # A reader's "stop" is on disk together with the answer that told us of it.
            if stops := [each.outcome for each in settled if each.outcome.opted_out]:
                suppress_refused(connection, stops, self.clock())
            return turn

        began = time.monotonic()
        turn = await self._in_ledger(transact)
        self._limiter.claimed_in(time.monotonic() - began)
        self._tell(settled)
        self.ended.stopped_by = self.ended.stopped_by or turn.stopped_by
        self.ended.expired += turn.expired
        if (until := turn.closed_until) and turn.next_try and self._limiter.outlasts_us(until):
            # A person at the shell does not wait that long.
            at = f"{until.astimezone(self.zone):%H:%M:%S %Z}"
            words = f"no retry before {at} (commcast resume lifts that)"
            self._breaker.down = self._breaker.down or words
        return turn

    async def _in_ledger(self, work: Callable[[Connection], _Result], *, writes: bool = True) -> _Result:
        """Do some work in one transaction, in the run's own thread."""

        def transact() -> _Result:
            with self.ledger.write() if writes else self.ledger.read() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._thread, transact)

    def _tell(self, settled: Sequence[Settlement]) -> None:
        if settled:
            became = Counter(settlement.outcome.kind.value for settlement in settled)
            self.ended.outcomes.update(became)
            self.progress.settled(self._name, became)

    async def _conclude(self) -> None:
        """Suppress those whom the provider refuses for good, and count what waits."""
        self._breaker.conclude()
        if self._breaker.is_silent:
            self._limiter.asked_to_pause(AFTER_SILENCE)
        refused, closed_until = self._breaker.to_suppress, self._limiter.closed_until

        def transact(connection: Connection) -> None:
            if closed_until:
                close(connection, self.adapter.name, closed_until)
            if refused:
                suppress_refused(connection, refused, self.clock())
            self._count(connection)

        await self._in_ledger(transact, writes=bool(refused or closed_until))

    def _count(self, connection: Connection) -> None:
        """Note what of the broadcast waits."""
        ended, broadcast = self.ended, self.broadcast.id
        ended.waiting, ended.next_try = waiting(connection, broadcast)
        ended.planned, ended.planned_at = planned(connection, broadcast, self.clock())

    def _batches(self, turn: Turn) -> list[_Ready]:
        """Compose what was claimed. What cannot be composed as frozen is given back, and ends the run."""
        made: list[Delivery] = []
        now = self.clock()
        for claim in turn.claims:
            try:
                made.append(Delivery(claim.delivery, self._words.message(claim, now)))
            except Exception as error:  # whatever it is, nothing of it has left
                self._broken = self._broken or error
                self._answer(Outcome(claim.delivery, OutcomeKind.NOT_TAKEN, "could not be rendered"))
        # An adapter with one reader per request spreads any number over its connections by itself.
        one_request = self.adapter.batch_size > 1 or turn.slots
        size = self.adapter.batch_size if one_request else max(len(made), 1)
        batches = [made[start : start + size] for start in range(0, len(made), size)]
        return [_Ready(batch, slot) for batch, slot in zip_longest(batches, turn.slots[: len(batches)])]

    async def _hand_over(self, ready: _Ready) -> None:
        if not await self._may_begin(ready.slot):
            for item in ready.batch:
                self._answer(Outcome(item.delivery, OutcomeKind.NOT_TAKEN, NOT_BEGUN))
            return
        alone = self.adapter.batch_size == 1  # each is a request of its own
        request = next(self._requests)
        missing = {each.delivery for each in ready.batch}
        try:
            async for outcome in self.adapter.send(ready.batch):
                missing.discard(outcome.delivery)
                self._note(outcome, next(self._requests) if alone else request)
        except Exception as error:  # an adapter must not raise; if it does, what it did is not known
            self._broken = self._broken or error
        for delivery in missing:
            lost = Outcome(delivery, OutcomeKind.UNKNOWN, "the adapter gave no answer")
            self._note(lost, next(self._requests) if alone else request)

    def _note(self, outcome: Outcome, request: int) -> None:
        """Act on an answer at once: if it ends or pauses the run, nothing more begins."""
        self._breaker.heed(outcome, request)
        if self._breaker.is_final:
            self._end()
        is_told_when = outcome.blame is Blame.PROVIDER and outcome.retry_after is not None
        if outcome.kind is OutcomeKind.NOT_TAKEN and is_told_when:
            self._limiter.asked_to_pause(self._breaker.wait(outcome))
        self._answer(outcome)

    def _answer(self, outcome: Outcome) -> None:
        self._answered.append(outcome)
        self._news.set()

    async def _may_begin(self, slot: datetime | None) -> bool:
        """Wait for the slot; False if the run ends or pauses, or the slot was missed."""
        if self._ending or not await self._limiter.slot_is_kept(slot, self._over):
            return False
        return not self._ending and not self._limiter.is_closed

    async def _answers(self) -> list[Outcome]:
        """Return all answers there are, waiting for the first; [] when the time after a signal is over."""
        while not self._answered:
            self._news.clear()
            if not self._drained_by:
                await self._news.wait()
            elif not await self._news_by(self._drained_by):
                break
        patience = time.monotonic() + LINGER
        while self._is_last and len(self._answered) < len(self._open) and time.monotonic() < patience:
            self._news.clear()
            await self._news_by(patience)
        found, self._answered = self._answered, []
        return found

    async def _news_by(self, moment: float) -> bool:
        """Wait for news until `moment` in monotonic seconds; False if there was none."""
        try:
            async with asyncio.timeout(max(moment - time.monotonic(), 0)):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _settlement(self, outcome: Outcome) -> Settlement:
        """Return what is to be recorded, and when to try again what was not taken."""
        if outcome.kind is not OutcomeKind.NOT_TAKEN:
            return Settlement(outcome, self.adapter.name)
        again = self.clock() + timedelta(seconds=self._breaker.wait(outcome))
        return Settlement(outcome, self.adapter.name, again)

    async def _worth_waiting(self, turn: Turn) -> bool:
        """Wait, within bounds, for what may be tried again soon; False when this run is at its end."""
        if self._ending or turn.next_try is None:
            return False
        wait = turn.next_try - self.clock()
        if wait > LONGEST_WAIT:
            return False
        if turn.closed_until:
            self._limiter.paused_for(wait)
        self._news.clear()
        await self._news_by(time.monotonic() + max(wait.total_seconds(), 0.01 if turn.slots else 0.05))
        return True

    async def _give_up(self) -> None:
        """Record what was answered last; call unknown what was in flight when the run had to end."""
        await self._cancel_tasks()
        last = self._known()
        for delivery in sorted(self._open - {settlement.outcome.delivery for settlement in last}):
            last.append(self._settlement(Outcome(delivery, OutcomeKind.UNKNOWN, "interrupted in flight")))
        await self._record(last)

    def _known(self) -> list[Settlement]:
        """Return the answers that are not known to be recorded; to record one twice changes nothing."""
        answered = (outcome for outcome in self._answered if outcome.delivery in self._open)
        return [*self._settling, *map(self._settlement, answered)]

    async def _record(self, last: Sequence[Settlement]) -> None:
        """Record answers, and claim nothing."""
        if last:
            await self._in_ledger(
                lambda connection: settle(connection, last, owner=self.owner, now=self.clock())
            )
            self._tell(last)

    async def _cancel_tasks(self) -> None:
        """Cancel tasks until they end: a cancellation is lost if what was waited for ends just then."""
        left = set(self._tasks)
        while left:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=0.1)
