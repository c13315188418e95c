"""Imports a provider's own suppression lists."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from commcast.errors import CommcastError, ExitCode
from commcast.ledger.receipts import harmless
from commcast.ledger.store import Ledger
from commcast.ledger.suppressions import Suppression, suppress_new, suppressed_among
from commcast.model.incident import Channel
from commcast.operations.reconcile import TROUBLES, in_chunks
from commcast.providers.base import SuppressionEntry
from commcast.recipients.addresses import normalise_email

CHUNK = 300  # addresses that are written in one transaction


class Lists(Protocol):
    """A provider's lists. Raises `Refused` and TryAgain, as `Records` do."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def listed(self, names: Collection[str]) -> AsyncIterator[SuppressionEntry]:
        """Yield the entries of these lists."""
        ...


@dataclass(slots=True)
class Imported:
    """What one list gave. Without `suppresses` it was only counted: then nobody `new` is suppressed.

    `known` were suppressed before, or erased. `trouble` is why it could not be read, or not to its end.
    """

    list: str
    suppresses: bool
    read: int = 0
    new: int = 0
    known: int = 0
    unreadable: int = 0
    trouble: CommcastError | None = None

    @property
    def exit_code(self) -> ExitCode:
        return self.trouble.exit_code if self.trouble else ExitCode.DONE


@dataclass(frozen=True)
class Importer:
    """Imports for one process and one provider, whose name as people write it is `title`.

    `by` is the person who asked for it, `clock` gives aware now.
    """

    ledger: Ledger
    title: str
    by: str
    clock: Callable[[], datetime]

    def bring_in(self, lists: Lists, names: Sequence[tuple[str, bool]]) -> list[Imported]:
        """Read lists by name; suppress the addresses on those that are marked True, and count the others.

        Raises LedgerError or TryAgain if the ledger cannot be written; what was written until then stays.
        """
        found = [Imported(name, suppresses) for name, suppresses in names]
        asyncio.run(self._bring_in(lists, found))
        return found

    async def _bring_in(self, lists: Lists, found: Sequence[Imported]) -> None:
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(lists)
            except TROUBLES as trouble:
                for each in found:
                    each.trouble = trouble
                return
            for each in found:
                # One list per request: a key that may not read one may still read another.
                await self._one(lists.listed([each.list]), each)

    async def _one(self, entries: AsyncIterator[SuppressionEntry], imported: Imported) -> None:
        async for chunk in in_chunks(entries, CHUNK, imported):
            await asyncio.to_thread(self._write, chunk, imported)

    def _readable(self, entries: Sequence[SuppressionEntry]) -> Iterator[Suppression]:
        for entry in entries:
            try:
                key = normalise_email(entry.address)[1]
            except ValueError:
                continue
            yield Suppression(Channel.EMAIL, key, self._reason(entry), self.by, entry.at)

    def _reason(self, entry: SuppressionEntry) -> str:
        words = (f"imported from {self.title}", entry.list, harmless(entry.reason))
        return ": ".join(filter(None, words))

    def _write(self, entries: Sequence[SuppressionEntry], imported: Imported) -> None:
        chunk = list(self._readable(entries))
        keys, secret = [each.key for each in chunk], self.ledger.secret
        with self.ledger.write() if imported.suppresses else self.ledger.read() as connection:
            if imported.suppresses:
                new = len(suppress_new(connection, secret, Channel.EMAIL, chunk, self.clock()))
            else:
                known = suppressed_among(connection, secret, Channel.EMAIL, keys)
                new = len(set(keys) - set(known))
        imported.read += len(entries)
        imported.unreadable += len(entries) - len(chunk)
        imported.new += new
        imported.known += len(chunk) - new
