"""Hands a frozen broadcast over: claim, give to the adapter, settle. The only code that sends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection

from commcast.adapters.base import Adapter
from commcast.compose import DeliveryKey, Envelope, Group, build_message, content_digest, renderer_for
from commcast.errors import LedgerError
from commcast.ledger.claims import (
    Claim,
    Settlement,
    Turn,
    settle,
    settle_and_claim,
    suppress_refused,
    waiting,
)
from commcast.ledger.freeze import Broadcast, Composition, read_composition
from commcast.ledger.store import Ledger
from commcast.message import HandOver, Message, Outcome, OutcomeKind
from commcast.model import Channel
from commcast.verdict import NOT_BEGUN, Verdict
from commcast.wording.templating import Wording

LONGEST_WAIT = timedelta(seconds=30)  # a run waits no longer than this for a provider to be ready again
DRAIN_SECONDS = 60.0  # on a signal: how long hand-overs in flight may still finish


@dataclass(slots=True)
class Ended:
    """How a run over one broadcast ended. `outcomes` counts by OutcomeKind value what this run did.

    `expired` counts who was not told in time. `waiting` is what stays pending, `next_try` when the first of
    it may go. `stopped_by` says who stopped it; `refused` is the provider's word where it refuses us as a
    whole, `down` where it takes nothing; `interrupted` where a signal ended the run.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    expired: int = 0
    next_try: datetime | None = None
    stopped_by: str = ""
    refused: str = ""
    refuses_everybody: bool = False
    down: str = ""
    interrupted: bool = False


@dataclass
class Run:
    """One process's run over one frozen broadcast.

    `clock` gives aware UTC now; `lease` is longer than the longest hand-over; `halt` is set by a signal.
    `progress` is told each outcome's kind as it is settled.
    """

    broadcast: Broadcast
    ledger: Ledger
    adapter: Adapter
    owner: str
    lease: timedelta
    clock: Callable[[], datetime]
    halt: asyncio.Event
    progress: Callable[[str], None]

    def __post_init__(self) -> None:
        self.ended = Ended()
        self._groups: dict[int, Group] = {}
        self._verdict = Verdict(patience=self.window)
        self._broken: Exception | None = None
        # The event loop never waits for a disk; one thread keeps the ledger's transactions in order.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")

    @property
    def window(self) -> int:
        """W: how many deliveries this process may have claimed at once."""
        return self.adapter.window

    async def deliver(self) -> Ended:
        """Hand over all that may go; return how it ended.

        Raises LedgerError or TryAgain when the ledger cannot be written: then nothing more leaves.
        """
        try:
            async with self.adapter:
                await self._loop()
            await self._conclude()
        finally:
            self._thread.shutdown()
        if self._broken is not None:
            raise self._broken
        return self.ended

    async def _loop(self) -> None:
        ready: asyncio.Queue[list[HandOver]] = asyncio.Queue()
        answers: asyncio.Queue[Outcome] = asyncio.Queue()
        workers = [asyncio.create_task(self._work(ready, answers)) for _ in range(self.adapter.connections)]
        open_claims: set[int] = set()
        try:
            await self._turns(ready, answers, open_claims)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await self._give_up(open_claims)

    async def _turns(
        self, ready: asyncio.Queue[list[HandOver]], answers: asyncio.Queue[Outcome], open_claims: set[int]
    ) -> None:
        settled: list[Settlement] = []
        while True:
            turn = await self._turn(settled, 0 if self._ending else self.window - len(open_claims))
            settled = []
            open_claims.update(claim.delivery for claim in turn.claims)
            for batch in self._batches(turn.claims, answers):
                ready.put_nowait(batch)
            if self._ending:
                _take_back(ready, answers)
            if open_claims:
                outcomes = await self._answers(ready, answers)
                if not outcomes:
                    return
                open_claims.difference_update(outcome.delivery for outcome in outcomes)
                settled = [self._settlement(outcome) for outcome in outcomes]
            elif not await self._worth_waiting(turn):
                return

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

    async def _turn(self, settled: Sequence[Settlement], count: int) -> Turn:
        def transact() -> Turn:
            with self.ledger.write() as connection:
                turn = settle_and_claim(
                    connection,
                    self.broadcast.id,
                    settled,
                    count=count,
                    owner=self.owner,
                    lease=self.lease,
                    now=self.clock(),
                )
                self._load_words(connection, turn.claims)
                return turn

        turn = await asyncio.get_running_loop().run_in_executor(self._thread, transact)
        for settlement in settled:
            self.ended.outcomes[settlement.outcome.kind] += 1
            self.progress(settlement.outcome.kind)
        self.ended.stopped_by = self.ended.stopped_by or turn.stopped_by
        self.ended.expired += turn.expired
        return turn

    async def _conclude(self) -> None:
        """Suppress who was refused for good, and count what waits."""

        def conclude() -> tuple[int, datetime | None]:
            with self.ledger.write() as connection:
                if refused := self._verdict.to_suppress:
                    suppress_refused(connection, refused, self.clock())
                return waiting(connection, self.broadcast.id)

        found = await asyncio.get_running_loop().run_in_executor(self._thread, conclude)
        self.ended.waiting, self.ended.next_try = found

    def _load_words(self, connection: Connection, claims: Sequence[Claim]) -> None:
        for composition in {claim.composition for claim in claims} - self._groups.keys():
            frozen = read_composition(connection, composition)
            self._groups[composition] = thawed_group(self.broadcast, frozen)

    def _batches(self, claims: Sequence[Claim], answers: asyncio.Queue[Outcome]) -> list[list[HandOver]]:
        """Compose what was claimed. What cannot be composed as frozen is given back, and ends the run."""
        made: list[HandOver] = []
        for claim in claims:
            try:
                made.append(HandOver(claim.delivery, self._message(claim)))
            except Exception as error:  # whatever it is, nothing of it has left
                self._broken = self._broken or error
                answers.put_nowait(Outcome(claim.delivery, OutcomeKind.NOT_TAKEN, "could not be composed"))
        size = self.adapter.batch_size
        return [made[start : start + size] for start in range(0, len(made), size)]

    def _message(self, claim: Claim) -> Message:
        group = self._groups[claim.composition]
        content = group.content(claim.recipient)
        if content_digest(content) != claim.digest:
            raise LedgerError(
                "the frozen words do not render as they did when they were released (another version of the "
                "program or of Jinja?); nothing more was sent: finish with the version that froze them"
            )
        channel = Channel(claim.channel)
        return build_message(
            content,
            group.envelope,
            DeliveryKey(self.broadcast.incident, claim.notice, channel, claim.key),
            address=claim.address,
            name=str(claim.recipient.get("name", "")),
            secret=self.ledger.secret,
            now=self.clock(),
            valid_until=group.next_update_by,
        )

    async def _work(self, ready: asyncio.Queue[list[HandOver]], answers: asyncio.Queue[Outcome]) -> None:
        def note(outcome: Outcome) -> None:
            self._verdict.heed(
                outcome
            )  # at once: where it ends the run, this very worker begins nothing more
            answers.put_nowait(outcome)

        while True:
            batch = await ready.get()
            if self._ending:
                _give_back(batch, answers)
                continue
            missing = {item.delivery for item in batch}
            try:
                async for outcome in self.adapter.send(batch):
                    missing.discard(outcome.delivery)
                    note(outcome)
            except Exception as error:  # an adapter must not raise; if it does, what it did is not known
                self._broken = self._broken or error
            for delivery in missing:
                note(Outcome(delivery, OutcomeKind.UNKNOWN, "the adapter gave no answer"))

    async def _answers(
        self, ready: asyncio.Queue[list[HandOver]], answers: asyncio.Queue[Outcome]
    ) -> list[Outcome]:
        """Return all answers there are, waiting for the first; [] when a signal's patience has run out."""
        first = await self._first_answer(ready, answers)
        found = [first] if first else []
        while not answers.empty():
            found.append(answers.get_nowait())
        return found

    async def _first_answer(
        self, ready: asyncio.Queue[list[HandOver]], answers: asyncio.Queue[Outcome]
    ) -> Outcome | None:
        getting = asyncio.create_task(answers.get())
        halting = asyncio.create_task(self.halt.wait())
        try:
            if not self.halt.is_set():
                await asyncio.wait({getting, halting}, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                _take_back(ready, answers)
                await asyncio.wait({getting}, timeout=DRAIN_SECONDS)
            return getting.result() if getting.done() else None
        finally:
            getting.cancel()
            halting.cancel()

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
        halted = asyncio.create_task(self.halt.wait())
        await asyncio.wait({halted}, timeout=max(wait.total_seconds(), 0.05))
        halted.cancel()
        return True

    async def _give_up(self, open_claims: set[int]) -> None:
        """Call unknown what was in flight when the run had to end."""
        if not open_claims:
            return
        lost = [
            Settlement(Outcome(delivery, OutcomeKind.UNKNOWN, "interrupted in flight"), self.adapter.name)
            for delivery in sorted(open_claims)
        ]

        def transact() -> None:
            with self.ledger.write() as connection:
                settle(connection, lost, owner=self.owner, now=self.clock())

        await asyncio.get_running_loop().run_in_executor(self._thread, transact)
        self.ended.outcomes[OutcomeKind.UNKNOWN] += len(lost)


def thawed_group(broadcast: Broadcast, frozen: Composition) -> Group:
    """Return a group as it was frozen."""
    return Group(
        channel=Channel(broadcast.channel),
        incident=broadcast.incident,
        audience=frozen.audience,
        zone=frozen.zone,
        locale=frozen.locale,
        wording=Wording.from_json(frozen.wording),
        context=frozen.context,
        envelope=Envelope(**frozen.envelope),
        next_update_by=frozen.next_update_by,
        renderer=renderer_for(frozen.wording),
    )


def _take_back(ready: asyncio.Queue[list[HandOver]], answers: asyncio.Queue[Outcome]) -> None:
    """Give back what was claimed and not yet begun."""
    while not ready.empty():
        _give_back(ready.get_nowait(), answers)


def _give_back(batch: Sequence[HandOver], answers: asyncio.Queue[Outcome]) -> None:
    for item in batch:
        answers.put_nowait(Outcome(item.delivery, OutcomeKind.NOT_TAKEN, NOT_BEGUN))
