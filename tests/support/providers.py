"""Records of a provider under a test's control, and runs that die over what they claimed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from commcast.ledger.broadcasts import open_broadcasts
from commcast.ledger.claims import settle_and_claim
from commcast.ledger.settle import current_owner
from commcast.model.incident import Channel
from commcast.model.message import NOT_BEGUN, Blame, Delivery, Email, Outcome, OutcomeKind, Receipt
from commcast.providers.base import Asked, Seen, Sighting, SuppressionEntry
from tests.support.desk import Bench

T = TypeVar("T")
Answer = Callable[[Delivery], Outcome | None]


def accepted(item: Delivery) -> Outcome:
    """Take everything."""
    return Outcome(item.delivery, OutcomeKind.ACCEPTED, provider_id=f"id-{item.delivery}")


def saying(kind: OutcomeKind, blame: Blame = Blame.RECIPIENT, **more: object) -> Answer:
    """Give everybody the same answer."""
    return lambda item: Outcome(item.delivery, kind, f"said {kind}", blame=blame, **more)  # type: ignore[arg-type]


def address_of(item: Delivery) -> str:
    """Return where a hand-over goes."""
    return item.message.to.address if isinstance(item.message, Email) else item.message.to


@dataclass
class FakeAdapter:
    """Answers each hand-over by `answer`; None is no answer. `handed` keeps what was begun, in order.

    `before` runs once a hand-over has begun and before it is answered. `backwards` answers a batch from
    its end.
    """

    channel: Channel = Channel.EMAIL
    answer: Answer = accepted
    before: Callable[[FakeAdapter], object] | None = None
    batch_size: int = 1
    connections: int = 1
    backwards: bool = False
    name: str = "fake"
    handed: list[Delivery] = field(default_factory=list)
    left: int = 0
    ready: int = 2
    per_second: float = 0.0

    def __post_init__(self) -> None:
        self._halted = asyncio.Event()
        self._at_once = asyncio.Semaphore(self.connections)

    @property
    def window(self) -> int:
        return self.connections * self.batch_size * (1 if self.per_second else self.ready)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.left += 1

    def halt(self) -> None:
        """Give back what waits for a connection; what was begun is answered all the same."""
        self._halted.set()
        self._halted = asyncio.Event()

    async def send(self, batch: Sequence[Delivery]) -> AsyncIterator[Outcome]:
        size = self.batch_size
        parts = (batch[start : start + size] for start in range(0, len(batch), size))
        tasks = [asyncio.create_task(self._request(part)) for part in parts]
        try:
            for done in asyncio.as_completed(tasks):
                outcomes, began = await done
                for outcome in outcomes:
                    if outcome.retry_after is not None and outcome.blame is Blame.PROVIDER:
                        self.halt()
                    yield outcome
                if began:  # heard before the connection is used again
                    self._at_once.release()
        finally:
            for task in tasks:
                task.cancel()

    async def _request(self, batch: Sequence[Delivery]) -> tuple[list[Outcome], bool]:
        if not await self._may_begin():
            return [Outcome(item.delivery, OutcomeKind.NOT_TAKEN, NOT_BEGUN) for item in batch], False
        self.handed.extend(batch)
        return await self._handed_over(batch), True

    async def _may_begin(self) -> bool:
        """Wait for one of the connections; False where a halt comes first."""
        free, halted = asyncio.create_task(self._at_once.acquire()), asyncio.create_task(self._halted.wait())
        await asyncio.wait({free, halted}, return_when=asyncio.FIRST_COMPLETED)
        is_halted = halted.done()
        halted.cancel()
        if free.done() and is_halted:
            self._at_once.release()
        free.cancel()
        return not is_halted

    async def _handed_over(self, batch: Sequence[Delivery]) -> list[Outcome]:
        if self.before is not None:
            self.before(self)
        await settle_down()
        answers = [self.answer(item) for item in (reversed(batch) if self.backwards else batch)]
        return [answer for answer in answers if answer is not None]

    @property
    def addresses(self) -> list[str]:
        return [address_of(item) for item in self.handed]


@dataclass
class HeldAdapter(FakeAdapter):
    """Begins, says so by `begun`, and answers only once `gate` is open."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def _handed_over(self, batch: Sequence[Delivery]) -> list[Outcome]:
        self.begun.set()
        await self.gate.wait()
        await settle_down()
        return [accepted(item) for item in batch]


async def settle_down() -> None:
    """Let every callback that is ready run, a signal's handler too: no time passes."""
    for _ in range(10):
        await asyncio.sleep(0)


DEAD = current_owner().rpartition("|")[0] + "|1"
LEASE = timedelta(minutes=30)
Look = Callable[[Asked], Sighting | None]


def taken(asked: Asked) -> Sighting:
    """Our very words are there."""
    return Sighting(asked.delivery, Seen.TAKEN, f"SM{asked.delivery}")


def seeing(seen: Seen, detail: str = "") -> Look:
    """See the same of everybody."""
    return lambda asked: Sighting(asked.delivery, seen, "", detail)


@dataclass
class FakeRecords:
    """Answers each question by `answer`; raises `trouble` after `until` of them."""

    channel: Channel = Channel.SMS
    name: str = "twilio"
    answer: Look = taken
    trouble: BaseException | None = None
    until: int = 0
    before: Callable[[], object] = lambda: None
    asked: list[Asked] = field(default_factory=list)
    known: list[set[str]] = field(default_factory=list)
    inside: int = 0

    async def __aenter__(self) -> Self:
        self.inside += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.inside -= 1

    async def look(self, asked: Sequence[Asked], known: Collection[str]) -> AsyncIterator[Sighting]:
        assert self.inside == 1
        self.known.append(set(known))
        for each in asked:
            if self.trouble is not None and len(self.asked) >= self.until:
                raise self.trouble
            self.asked.append(each)
            self.before()
            await asyncio.sleep(0)
            if (sighting := self.answer(each)) is not None:
                yield sighting

    async def receipts(self, since: datetime, open_ids: Collection[str]) -> AsyncIterator[Receipt]:
        raise NotImplementedError
        yield


@dataclass
class SayingRecords:
    """Records that say what they are given: receipts, `lists` by name, and `answers` to what doctor asks.

    What is an error is raised at its place, `closed` at once. `asked` is since when receipts were asked for,
    and for which open ids.
    """

    said: Iterable[Receipt | Exception] = ()
    channel: Channel = Channel.EMAIL
    name: str = "sendgrid"
    closed: Exception | None = None
    lists: dict[str, Sequence[SuppressionEntry | Exception]] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[datetime, Collection[str]]] = field(default_factory=list)
    senders: list[str] = field(default_factory=list)
    left: int = 0

    async def __aenter__(self) -> Self:
        return _or_raised(self.closed or self)

    async def __aexit__(self, *_: object) -> None:
        self.left += 1

    async def look(self, asked: Sequence[Asked], known: Collection[str]) -> AsyncIterator[Sighting]:
        raise AssertionError("receipts look at no single message")
        yield

    async def receipts(self, since: datetime, open_ids: Collection[str]) -> AsyncIterator[Receipt]:
        self.asked.append((since, open_ids))
        for each in self.said:
            yield _or_raised(each)

    async def listed(self, names: Collection[str]) -> AsyncIterator[SuppressionEntry]:
        for each in (each for name in names for each in self.lists[name]):
            yield _or_raised(each)

    async def scopes(self) -> tuple[str, ...]:
        return _or_raised(self.answers["scopes"])

    async def account(self) -> Any:
        return _or_raised(self.answers["account"])

    async def balance(self) -> Any:
        return _or_raised(self.answers["balance"])

    async def knows_sender(self, sender: str) -> Any:
        self.senders.append(sender)
        return _or_raised(self.answers["sender"])


def _or_raised(said: T | Exception) -> T:
    if isinstance(said, Exception):
        raise said
    return said


def die_over(bench: Bench, owner: str = DEAD, incident: str = "pay7") -> None:
    """Claim all that is open, as a run does that is killed then."""
    with bench.ledger.write() as connection:
        for broadcast in open_broadcasts(connection, incident):
            settle_and_claim(
                connection, broadcast.id, [], count=9999, owner=owner, lease=LEASE, now=bench.now
            )
