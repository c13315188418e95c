"""One run's ledger transactions, in order, in a thread of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection

from commcast.ledger.broadcasts import Broadcast
from commcast.ledger.claims import Claim, Turn, planned, settle_and_claim, waiting
from commcast.ledger.settle import SendLimit, Settlement, close, settle
from commcast.ledger.store import Ledger
from commcast.ledger.suppressions import suppress_refused
from commcast.model.message import Outcome

Result = TypeVar("Result")


class Left(NamedTuple):
    """What of a broadcast waits: how many, and when the first may be tried again.

    `planned` of them wait because others hear first, until `planned_at`.
    """

    waiting: int
    next_try: datetime | None
    planned: int
    planned_at: datetime | None


def what_is_left(connection: Connection, broadcast: int, now: datetime) -> Left:
    """Return what of a broadcast waits."""
    return Left(*waiting(connection, broadcast), *planned(connection, broadcast, now))


@dataclass(frozen=True, slots=True)
class Recorder:
    """Records for one run over one frozen broadcast, handed over by `provider`.

    The event loop never waits for a disk; one thread keeps the transactions in order. `load` reads the words
    that claims need, within the transaction that claims them. With `waits` unset, what another provider asked
    to be tried later may go now.
    """

    ledger: Ledger
    broadcast: Broadcast
    provider: str
    owner: str
    lease: timedelta
    clock: Callable[[], datetime]
    load: Callable[[Connection, Sequence[Claim]], None]
    waits: bool
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger"), repr=False
    )

    def end(self) -> None:
        """Let the thread end, once what it was given is done."""
        self._thread.shutdown()

    async def turn(
        self, settled: Sequence[Settlement], wanted: int, limit: SendLimit, closed_until: datetime | None
    ) -> Turn:
        """Record answers, and the pause a provider asked for, and claim up to `wanted` further deliveries."""

        def transact(connection: Connection) -> Turn:
            self._close(connection, closed_until)
            turn = settle_and_claim(
                connection,
                self.broadcast.id,
                settled,
                count=wanted,
                owner=self.owner,
                lease=self.lease,
                now=self.clock(),
                limit=limit,
                waits=self.waits,
            )
            self.load(connection, turn.claims)
            # A reader's "stop" is on disk with the answer that told of it.
            if stops := [each.outcome for each in settled if each.outcome.opted_out]:
                suppress_refused(connection, stops, self.clock())
            return turn

        return await self._write(transact)

    async def settle(self, settled: Sequence[Settlement]) -> None:
        """Record answers, and claim nothing."""
        await self._write(lambda connection: settle(connection, settled, owner=self.owner, now=self.clock()))

    async def conclude(self, refused: Sequence[Outcome], closed_until: datetime | None) -> Left:
        """Suppress who was refused for good; return what is left."""

        def transact(connection: Connection) -> Left:
            self._close(connection, closed_until)
            if refused:
                suppress_refused(connection, refused, self.clock())
            return what_is_left(connection, self.broadcast.id, self.clock())

        if refused or closed_until:
            return await self._write(transact)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._left)

    def _left(self) -> Left:
        with self.ledger.read() as connection:
            return what_is_left(connection, self.broadcast.id, self.clock())

    def _close(self, connection: Connection, until: datetime | None) -> None:
        if until:
            close(connection, self.provider, until)

    async def _write(self, work: Callable[[Connection], Result]) -> Result:
        def transact() -> Result:
            with self.ledger.write() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._thread, transact)
