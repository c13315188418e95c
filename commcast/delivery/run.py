"""Sends one frozen broadcast: claim, hand over to the adapter, settle. The only code that sends."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count, zip_longest

from commcast.delivery.breaker import AFTER_SILENCE, LONGEST_WAIT, LOST_REQUESTS, CircuitBreaker, RateLimiter
from commcast.delivery.freeze import FrozenWords
from commcast.delivery.recorder import Left, Recorder
from commcast.errors import CommcastError
from commcast.ledger.broadcasts import Broadcast
from commcast.ledger.claims import Turn
from commcast.ledger.settle import Settlement
from commcast.ledger.store import Ledger
from commcast.model.message import NOT_BEGUN, Blame, Delivery, DeliveryProgress, Outcome, OutcomeKind
from commcast.providers.base import Adapter

LINGER = 0.02  # seconds that the last answers of a broadcast wait for each other, to be recorded together
DRAIN_SECONDS = 60.0  # on a signal: how long hand-overs in flight may still finish


@dataclass(slots=True)
class Ended:
    """How a run over one broadcast ended. `outcomes` counts by OutcomeKind value what `provider` did.

    `expired` counts who was not told in time. `waiting` is what stays pending, `next_try` when the first of
    it may go; `planned` of it waits because others hear first, until `planned_at`. `stopped_by` says who
    stopped it; `refused` is the provider's word where it refuses us as a whole, `down` where it takes
    nothing; `interrupted` where a signal ended the run.
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
    refuses_everybody: bool = False
    down: str = ""
    interrupted: bool = False

    def count(self, left: Left) -> None:
        """Note what waits."""
        self.waiting, self.next_try, self.planned, self.planned_at = left


@dataclass(frozen=True, slots=True)
class _Ready:
    """One batch that is claimed; it may begin at `slot`, at once where there is none."""

    batch: list[Delivery]
    slot: datetime | None


@dataclass
class BroadcastRun:
    """One process's run over one frozen broadcast.

    `clock` gives aware UTC now; `lease` is longer than the longest hand-over; `halt` is set by a signal.
    `progress` is told what waits (`to_go`), and what became of it once settled. With `waits` unset, what
    was to be tried later goes now: this provider takes over from another.
    """

    broadcast: Broadcast
    ledger: Ledger
    adapter: Adapter
    owner: str
    lease: timedelta
    clock: Callable[[], datetime]
    halt: asyncio.Event
    progress: DeliveryProgress
    to_go: int
    waits: bool = True

    def __post_init__(self) -> None:
        self.ended = Ended(self.adapter.name)
        self._name = f"{self.broadcast.incident} {self.broadcast.channel}"
        self._words = FrozenWords(self.broadcast, self.ledger.secret)
        self._throttle = RateLimiter(self.adapter, self.clock)
        batch = self.adapter.batch_size
        in_flight = self.adapter.window // batch
        self._verdict = CircuitBreaker(patience=max(in_flight, LOST_REQUESTS), batch=batch)
        self._requests = count()
        self._open: set[int] = set()  # claimed, and not settled yet
        self._answered: list[Outcome] = []
        self._settling: list[Settlement] = []  # answered, and not yet known to be recorded
        self._news = asyncio.Event()  # there are answers, or the run is to end
        self._over = asyncio.Event()  # nothing more is to begin
        self._is_last = False  # nothing waits to be claimed after these
        self._drained_by = 0.0
        self._broken: Exception | None = None
        self._recorder = Recorder(
            self.ledger,
            self.broadcast,
            self.adapter.name,
            self.owner,
            self.lease,
            self.clock,
            self._words.load,
            self.waits,
        )

    async def deliver(self) -> Ended:
        """Hand over all that may go; return how it ended.

        Raises LedgerError or TryAgain when the ledger cannot be written: then nothing more leaves.
        """
        tasks = {asyncio.create_task(self._end_on_halt())}
        try:
            self.progress.begins(self._name, self.to_go)
            async with self.adapter:
                try:
                    await self._turns(tasks)
                except CommcastError:  # of the ledger: the next run calls unknown what is claimed now
                    await _cancelled(tuple(tasks))
                    with suppress(CommcastError):
                        await self._record(self._known())
                    raise
                except BaseException:
                    await self._give_up(tasks)
                    raise
                await self._give_up(tasks)
            await self._conclude()
        finally:
            await _cancelled(tuple(tasks))
            self._recorder.end()
        if self._broken is not None:
            raise self._broken
        return self.ended

    async def _turns(self, tasks: set[asyncio.Task[None]]) -> None:
        while True:
            wanted = self._wanted(len(self._open))
            turn = await self._turn(self._settling, wanted)
            self._settling, self._is_last = [], len(turn.claims) < wanted
            self._open.update(claim.delivery for claim in turn.claims)
            for ready in self._batches(turn):
                task = asyncio.create_task(self._hand_over(ready))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            if self._ending:
                self._end()
            if self._open:
                outcomes = await self._answers()
                if not outcomes:
                    return
                self._open.difference_update(outcome.delivery for outcome in outcomes)
                self._settling = [self._settlement(outcome) for outcome in outcomes]
            elif not await self._worth_waiting(turn):
                return

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
        if size > 1 and not self._verdict.accepts:
            # One reader first: a provider that fails costs him his answer, and not a window of readers.
            return 0 if open_claims else 1
        return (self.adapter.window - open_claims) // size * size

    @property
    def _ending(self) -> bool:
        ended = self.ended
        if self.halt.is_set():
            ended.interrupted = True
        ended.refused, ended.down = self._verdict.refused, self._verdict.down
        ended.refuses_everybody = self._verdict.refuses_everybody
        return bool(
            ended.interrupted or ended.stopped_by or self._verdict.is_final or self._broken is not None
        )

    async def _turn(self, settled: Sequence[Settlement], wanted: int) -> Turn:
        began = time.monotonic()
        turn = await self._recorder.turn(settled, wanted, self._throttle.limit, self._throttle.closed_until)
        self._throttle.claimed_in(time.monotonic() - began)
        self._tell(settled)
        self.ended.stopped_by = self.ended.stopped_by or turn.stopped_by
        self.ended.expired += turn.expired
        self._heed_pause(turn.closed_until if turn.next_try else None)
        return turn

    def _tell(self, settled: Sequence[Settlement]) -> None:
        if settled:
            became = Counter(settlement.outcome.kind.value for settlement in settled)
            self.ended.outcomes.update(became)
            self.progress.settled(self._name, became)

    def _heed_pause(self, until: datetime | None) -> None:
        """End the run where the provider asks for a longer pause than a person at the shell can wait."""
        if until and self._throttle.outlasts_us(until):
            words = f"it is not to be tried before {until:%H:%M:%S} UTC (commcast resume lifts that)"
            self._verdict.down = self._verdict.down or words

    async def _conclude(self) -> None:
        """Suppress who was refused for good, and count what waits."""
        if self._verdict.is_silent:
            self._throttle.asked_to_pause(AFTER_SILENCE)
        refused, closed_until = self._verdict.to_suppress, self._throttle.closed_until
        self.ended.count(await self._recorder.conclude(refused, closed_until))

    def _batches(self, turn: Turn) -> list[_Ready]:
        """Compose what was claimed. What cannot be composed as frozen is given back, and ends the run."""
        made: list[Delivery] = []
        now = self.clock()
        for claim in turn.claims:
            try:
                made.append(Delivery(claim.delivery, self._words.message(claim, now)))
            except Exception as error:  # whatever it is, nothing of it has left
                self._broken = self._broken or error
                self._answer(Outcome(claim.delivery, OutcomeKind.NOT_TAKEN, "could not be composed"))
        # An adapter that sends one reader a request spreads any number over its connections by itself.
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
        """Heed an answer at once: where it ends or pauses the run, nothing more begins."""
        self._verdict.heed(outcome, request)
        if self._verdict.is_final:
            self._end()
        is_told_when = outcome.blame is Blame.PROVIDER and outcome.retry_after is not None
        if outcome.kind is OutcomeKind.NOT_TAKEN and is_told_when:
            self._throttle.asked_to_pause(self._verdict.wait(outcome))
        self._answer(outcome)

    def _answer(self, outcome: Outcome) -> None:
        self._answered.append(outcome)
        self._news.set()

    async def _may_begin(self, slot: datetime | None) -> bool:
        """Wait for the slot; False where the run ends or pauses, or the slot was missed."""
        if self._ending or not await self._throttle.slot_is_kept(slot, self._over):
            return False
        return not self._ending and not self._throttle.is_closed

    async def _answers(self) -> list[Outcome]:
        """Return all answers there are, waiting for the first; [] when a signal's patience has run out."""
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
        """Wait for news until `moment` in monotonic seconds; False where there was none."""
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
        again = self.clock() + timedelta(seconds=self._verdict.wait(outcome))
        return Settlement(outcome, self.adapter.name, again)

    async def _worth_waiting(self, turn: Turn) -> bool:
        """Wait, within bounds, for what may be tried again soon; False when this run is at its end."""
        if self._ending or turn.next_try is None:
            return False
        wait = turn.next_try - self.clock()
        if wait > LONGEST_WAIT:
            return False
        if turn.closed_until:
            self._throttle.paused_for(wait)
        self._news.clear()
        await self._news_by(time.monotonic() + max(wait.total_seconds(), 0.01 if turn.slots else 0.05))
        return True

    async def _give_up(self, tasks: set[asyncio.Task[None]]) -> None:
        """Record what was answered last; call unknown what was in flight when the run had to end."""
        await _cancelled(tuple(tasks))
        last = self._known()
        for delivery in sorted(self._open - {settlement.outcome.delivery for settlement in last}):
            last.append(self._settlement(Outcome(delivery, OutcomeKind.UNKNOWN, "interrupted in flight")))
        await self._record(last)

    def _known(self) -> list[Settlement]:
        """Return the answers that are not known to be recorded; to record one twice changes nothing."""
        answered = (outcome for outcome in self._answered if outcome.delivery in self._open)
        return [*self._settling, *map(self._settlement, answered)]

    async def _record(self, last: Sequence[Settlement]) -> None:
        if last:
            await self._recorder.settle(last)
            self._tell(last)


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks until they end: a cancellation is lost where what was waited for ends just then."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.1)
