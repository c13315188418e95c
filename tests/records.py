"""Records of a provider under a test's control, and runs that die over what they claimed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from commcast.ledger.claims import settle_and_claim
from commcast.ledger.freeze import open_broadcasts
from commcast.ledger.settle import current_owner
from commcast.model.incident import Channel
from commcast.model.message import Receipt
from commcast.providers.base import Asked, Seen, Sighting
from tests.desks import Bench

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

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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


def die_over(bench: Bench, owner: str = DEAD, incident: str = "pay7") -> None:
    """Claim all that is open, as a run does that is killed then."""
    with bench.ledger.write() as connection:
        for broadcast in open_broadcasts(connection, incident):
            settle_and_claim(
                connection, broadcast.id, [], count=9999, owner=owner, lease=LEASE, now=bench.now
            )
