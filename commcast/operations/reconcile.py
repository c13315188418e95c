"""Asks providers what became of unknown deliveries, and of accepted ones."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from commcast.delivery.freeze import FrozenWords
from commcast.errors import CommcastError, ExitCode, InputError, LedgerError, TryAgain, gravest
from commcast.ledger.receipts import Joined, join_receipts, open_ids, open_providers
from commcast.ledger.resolutions import Finding, record_findings
from commcast.ledger.settle import settle_lost
from commcast.ledger.store import Ledger
from commcast.ledger.tables import State
from commcast.ledger.unknowns import Doubt, Which, doubt_groups, doubts, ids_of_others
from commcast.model.incident import Channel
from commcast.model.message import Email, Receipt
from commcast.providers.base import Asked, Records, Refused, Seen, Sighting

_A = TypeVar("_A")
_R = TypeVar("_R")

ASKED_AT_ONCE = 500  # deliveries that a provider is asked about at a time
_AT_ONCE = 50  # findings that one transaction records: what is proved is kept if the run is killed
_LONGEST_DETAIL = 120  # characters of a provider's words
NOT_ASKED = "could not be asked"
# A provider's list lags behind: what is not in it yet may be there in a few minutes.
NOT_LISTED = "does not list it (yet): ask again in a few minutes"
# Twilio's records wait for the lag, and look once more (providers/twilio_records.py).
_NOT_LISTED_TWICE = {"twilio": "twilio does not list it, looked at twice"}
ERASED = "erased: there is no address to ask about"
_SEEN = {
    Seen.TAKEN: (State.ACCEPTED, "found at {by}"),
    Seen.REFUSED: (State.REJECTED, "{by} has it, and did not deliver it"),
    Seen.FOREIGN: (State.UNKNOWN, "{by} has other messages to them, none with our text"),
    Seen.NOTHING: (State.UNKNOWN, f"{{by}} {NOT_LISTED}"),
    Seen.CANNOT: (State.UNKNOWN, "{by} cannot tell"),
}


class UnknownGroup(NamedTuple):
    """Deliveries of one incident by one channel; `provider` is the one that is asked about them."""

    incident: str
    channel: str
    provider: str


@dataclass(slots=True)
class ReconcileTally:
    """What became of one group. `unknown` counts by what was seen; `meanwhile` is what others sent again."""

    asked: int = 0
    accepted: int = 0
    rejected: int = 0
    meanwhile: int = 0
    unknown: Counter[str] = field(default_factory=Counter)

    def add(self, state: State, why: str) -> None:
        if state is State.ACCEPTED:
            self.accepted += 1
        elif state is State.REJECTED:
            self.rejected += 1
        elif state is State.UNKNOWN:
            self.unknown[why] += 1
        else:
            self.meanwhile += 1


@dataclass(slots=True)
class Reconciled:
    """What asking gave. `troubles` says, by provider, why it could not be asked, or not to the end."""

    tallies: dict[UnknownGroup, ReconcileTally] = field(default_factory=dict)
    troubles: dict[str, CommcastError] = field(default_factory=dict)

    @property
    def unknown(self) -> int:
        """How many deliveries are still unknown."""
        return sum(tally.unknown.total() for tally in self.tallies.values())

    @property
    def exit_code(self) -> ExitCode:
        """The exit code: that of a provider that could not be asked, else 1 if anything is still unknown."""
        if self.troubles:
            return gravest(error.exit_code for error in self.troubles.values())
        return ExitCode.UNKNOWN_OUTCOME if self.unknown else ExitCode.DONE

    def tally(self, doubt: Doubt, provider: str) -> ReconcileTally:
        group = UnknownGroup(doubt.broadcast.incident, doubt.claim.channel, provider)
        return self.tallies.setdefault(group, ReconcileTally())


@dataclass(frozen=True)
class Reconciler:
    """Asks for one process.

    `configured` names the provider of each channel: it is asked if a run died before it could say who had a
    delivery. `records_for` opens a provider's records, None if it keeps none; it may raise ConfigError.
    `progress` is told a provider's name and how many of its deliveries are done.
    """

    ledger: Ledger
    configured: Mapping[str, str]
    records_for: Callable[[str], Records | None]
    clock: Callable[[], datetime]
    progress: Callable[[str, int], None]

    def reconcile(self, which: Which) -> Reconciled:
        """Ask about all unknown deliveries of these, and settle what is proved. Safe to repeat.

        Raises LedgerError. What a provider refuses or cannot tell now is among the troubles.
        """
        with self.ledger.write() as connection:
            settle_lost(connection, self.clock(), which.incident)
        result = Reconciled()
        with self.ledger.read() as connection:
            groups = doubt_groups(connection, which)
        names: dict[tuple[str, str], set[str]] = {}
        for _, channel, named in groups:
            names.setdefault((channel, self._provider(channel, named)), set()).add(named)
        asyncio.run(self._ask_all(which, names, result))
        self._count_the_rest(which, result)
        return result

    def _provider(self, channel: str, named: str) -> str:
        return named or self.configured.get(channel, "")

    async def _ask_all(
        self, which: Which, names: Mapping[tuple[str, str], set[str]], result: Reconciled
    ) -> None:
        # The event loop never waits for a disk; one thread keeps the ledger's transactions in order.
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger") as thread:
            for (channel, provider), named in names.items():
                asking = _Asking(self, which, channel, provider, named, result, thread)
                try:
                    await asking.ask()
                except LedgerError:
                    raise
                except CommcastError as error:
                    result.troubles[provider] = error

    def _count_the_rest(self, which: Which, result: Reconciled) -> None:
        """Count what is still unknown because nobody could be asked about it."""
        with self.ledger.read() as connection:
            groups = doubt_groups(connection, which)
        left: Counter[UnknownGroup] = Counter()
        for (incident, channel, named), count in groups.items():
            left[UnknownGroup(incident, channel, self._provider(channel, named))] += count
        for group, count in left.items():
            tally = result.tallies.setdefault(group, ReconcileTally())
            if (rest := count - tally.unknown.total()) > 0:
                tally.unknown[NOT_ASKED] += rest


@dataclass
class _Asking:
    """Asks one provider about its deliveries on one channel. `named` are its names in the ledger."""

    reconciler: Reconciler
    which: Which
    channel: str
    provider: str
    named: set[str]
    result: Reconciled
    thread: ThreadPoolExecutor

    def __post_init__(self) -> None:
        self._words: dict[int, FrozenWords] = {}
        self._done = 0

    async def ask(self) -> None:
        """Ask about all of them. Raises what the records raise; what was found by then is recorded."""
        records = self.reconciler.records_for(self.provider) if self.provider else None
        if records is None or records.channel != self.channel:
            await self._by_chunks(self._say_without_records)
            return
        async with records:
            await self._by_chunks(partial(self._look, records))

    async def _by_chunks(self, work: Callable[[Sequence[Doubt]], Awaitable[None]]) -> None:
        after = 0
        while chunk := await self._off_loop(self._read, after):
            after = chunk[-1].claim.delivery
            await work(chunk)

    async def _off_loop(self, work: Callable[[_A], _R], argument: _A) -> _R:
        return await asyncio.get_running_loop().run_in_executor(self.thread, work, argument)

    async def _say_without_records(self, chunk: Sequence[Doubt]) -> None:
        by = self.provider or "commcast"
        why = f"{by} keeps no records" if self.provider else f"no provider is set for {self.channel}"
        told = [Finding(doubt, State.UNKNOWN, why, by) for doubt in self._without_erased(chunk)]
        await self._off_loop(self._record, told)

    async def _look(self, records: Records, chunk: Sequence[Doubt]) -> None:
        """Ask about one chunk and record the answers, some at a time, as they come."""
        self.reconciler.progress(self.provider, self._done)
        asked, found, known = await self._off_loop(self._asked, chunk)
        doubt_of = {doubt.claim.delivery: doubt for doubt in chunk}
        waiting = {each.delivery: doubt_of[each.delivery] for each in asked}
        try:
            if asked:
                async for sighting in records.look(asked, known):
                    if doubt := waiting.pop(sighting.delivery, None):
                        self.result.tally(doubt, self.provider).asked += 1
                        found.append(self._finding(doubt, sighting))
                    if len(found) >= _AT_ONCE:
                        some, found = found, []
                        await self._off_loop(self._record, some)
            silence = f"{self.provider} gave no answer about it"
            found += [Finding(each, State.UNKNOWN, silence, self.provider) for each in waiting.values()]
        finally:
            # Also if the asking is cut off: nothing that was proved is lost.
            self.thread.submit(self._record, found).result()

    def _finding(self, doubt: Doubt, sighting: Sighting) -> Finding:
        state, words = _SEEN[sighting.seen]
        words = words.format(by=self.provider)
        if sighting.seen is Seen.NOTHING:
            words = _NOT_LISTED_TWICE.get(self.provider, words)
        detail = f" ({sighting.detail[:_LONGEST_DETAIL]})" if sighting.detail else ""
        return Finding(doubt, state, words + detail, self.provider, sighting.provider_id)

    def _read(self, after: int) -> tuple[Doubt, ...]:
        which = replace(self.which, channel=self.channel)
        with self.reconciler.ledger.read() as connection:
            return doubts(connection, which, self.named, after=after, limit=ASKED_AT_ONCE)

    def _asked(self, chunk: Sequence[Doubt]) -> tuple[list[Asked], list[Finding], set[str]]:
        """Return what can be asked, what cannot, and the ids that belong to other deliveries."""
        named = self._without_erased(chunk)
        ids = {doubt.claim.delivery for doubt in named}
        with self.reconciler.ledger.read() as connection:
            known = ids_of_others(connection, self.channel, {doubt.claim.key for doubt in named}, ids)
            for doubt in named:
                words = FrozenWords(doubt.broadcast, self.reconciler.ledger.secret)
                self._words.setdefault(doubt.broadcast.id, words).load(connection, [doubt.claim])
        asked: list[Asked] = []
        cannot: list[Finding] = []
        for doubt in named:
            try:
                asked.append(self._question(doubt))
            except CommcastError:
                why = "its words do not render as they were frozen: there is nothing to compare with"
                cannot.append(Finding(doubt, State.UNKNOWN, why, self.provider))
        return asked, cannot, known

    def _question(self, doubt: Doubt) -> Asked:
        """Return what is asked of a delivery, its words as they were frozen. Raises CommcastError."""
        claim = doubt.claim
        message = self._words[doubt.broadcast.id].message(claim, self.reconciler.clock())
        return Asked(
            delivery=claim.delivery,
            address=claim.address,
            own_id=message.message_id.strip("<>") if isinstance(message, Email) else "",
            words=message.subject if isinstance(message, Email) else message.body,
            begun=doubt.begun,
            ended=doubt.ended,
        )

    def _without_erased(self, chunk: Iterable[Doubt]) -> list[Doubt]:
        left: list[Doubt] = []
        for doubt in chunk:
            if doubt.claim.address:
                left.append(doubt)
            else:
                self.result.tally(doubt, self.provider).unknown[ERASED] += 1
        return left

    def _record(self, findings: Sequence[Finding]) -> None:
        if not findings:
            return
        with self.reconciler.ledger.write() as connection:
            ended = record_findings(connection, findings, self.reconciler.clock())
        for finding, (state, why) in zip(findings, ended, strict=True):
            self.result.tally(finding.doubt, self.provider).add(state, why)
        self._done += len(findings)
        self.reconciler.progress(self.provider, self._done)


RECEIPTS_AT_ONCE = 300  # receipts that are joined in one transaction: others get their turn in between
# What keeps one provider, and no other, from being asked. The ledger's own errors end the run.
TROUBLES = (Refused, TryAgain, InputError)


class Hindered(Protocol):
    """Keeps why a provider could not be asked, or not to the end."""

    trouble: CommcastError | None


async def in_chunks(said: AsyncIterator[_A], size: int, asked: Hindered) -> AsyncIterator[list[_A]]:
    """Yield what a provider says in lists of `size`, the last one shorter.

    If one of TROUBLES ends it too early, it is kept in `asked`.
    """
    chunk: list[_A] = []
    try:
        async for each in said:
            chunk.append(each)
            if len(chunk) == size:
                yield chunk
                chunk = []
    except TROUBLES as trouble:
        asked.trouble = trouble
    if chunk:
        yield chunk


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
    """Asks for one process. `records_for` makes a provider's records, None if it keeps none.

    It may raise ConfigError. `clock` gives aware now.
    """

    ledger: Ledger
    records_for: Callable[[str], Records | None]
    clock: Callable[[], datetime]

    def receive(self, since: datetime) -> list[Received]:
        """Ask every provider that accepted deliveries without a receipt since then.

        Raises LedgerError or TryAgain if the ledger cannot be written; what was joined until then stays.
        """
        with self.ledger.read() as connection:
            providers = open_providers(connection, since)
        found = []
        for (provider, channel), asked in providers.items():
            received = Received(provider, channel, asked)
            try:
                records = self.records_for(provider)
            except TROUBLES as trouble:
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
            except TROUBLES as trouble:
                received.trouble = trouble
                return
            said = records.receipts(since, ids)
            async for receipts in in_chunks(said, RECEIPTS_AT_ONCE, received):
                # In a thread: the provider's connection stays alive while the ledger waits for its disk.
                await asyncio.to_thread(self._join, receipts, received)

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
