"""Asks providers what became of what they accepted, and lets the ledger join their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime

from commcast.errors import CommcastError, ExitCode, InputError, TryAgain
from commcast.ledger.receipts import Joined, join_receipts, open_ids, open_providers
from commcast.ledger.store import Ledger
from commcast.model import Channel
from commcast.providers.base import Receipt, Records, Refused

CHUNK = 300  # receipts that are joined in one transaction: others get their turn in between
# What keeps one provider from being asked, and no other. The ledger's own troubles end the run.
_TROUBLES = (Refused, TryAgain, InputError)


@dataclass(slots=True)
class Received:
    """What one provider said. `asked` is how many deliveries had no receipt before.

    `trouble` is why it could not be asked, or not to the end; what it said until then is kept.
    """

    provider: str
    channel: Channel
    asked: int
    joined: Joined = field(default_factory=Joined)
    trouble: CommcastError | None = None

    @property
    def is_news(self) -> bool:
        return bool(self.joined.counts.total() or self.joined.suppressed)

    @property
    def exit_code(self) -> ExitCode:
        return self.trouble.exit_code if self.trouble else ExitCode.DONE


@dataclass(frozen=True)
class Receiver:
    """Asks for one process. `records_for` makes a provider's records, None where it keeps none.

    It may raise ConfigError. `clock` gives aware now.
    """

    ledger: Ledger
    records_for: Callable[[str], Records | None]
    clock: Callable[[], datetime]

    def receive(self, since: datetime) -> list[Received]:
        """Ask every provider that accepted deliveries without a receipt since then.

        Raises LedgerError or TryAgain where the ledger cannot be written; what was joined until then stays.
        """
        with self.ledger.read() as connection:
            providers = open_providers(connection, since)
        found = []
        for (provider, channel), asked in providers.items():
            received = Received(provider, channel, asked)
            try:
                records = self.records_for(provider)
            except _TROUBLES as trouble:
                received.trouble = trouble
            else:
                if records is None or records.channel is not channel:
                    continue
                asyncio.run(self._ask(records, since, received))
            found.append(received)
        return found

    async def _ask(self, records: Records, since: datetime, received: Received) -> None:
        with self.ledger.read() as connection:
            ids = open_ids(connection, received.provider, received.channel, since)
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(records)
            except _TROUBLES as trouble:
                received.trouble = trouble
                return
            said = records.receipts(since, ids)
            more = True
            while more:
                receipts = await self._next_chunk(said, received)
                more = len(receipts) == CHUNK
                if receipts:
                    # In a thread: the provider's connection lives on while the ledger waits for its disk.
                    await asyncio.to_thread(self._join, receipts, received)

    async def _next_chunk(self, said: AsyncIterator[Receipt], received: Received) -> list[Receipt]:
        """Return the next receipts, fewer than CHUNK at the end; note what ended it too early."""
        chunk: list[Receipt] = []
        try:
            async for receipt in said:
                chunk.append(receipt)
                if len(chunk) == CHUNK:
                    break
        except _TROUBLES as trouble:
            received.trouble = trouble
        return chunk

    def _join(self, receipts: list[Receipt], received: Received) -> None:
        with self.ledger.write() as connection:
            joined = join_receipts(
                connection,
                self.ledger.secret,
                provider=received.provider,
                channel=received.channel,
                receipts=receipts,
                now=self.clock(),
            )
        received.joined.add(joined)
