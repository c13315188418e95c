"""What a provider can be asked about what it was handed; nothing here sends (see adapters/base.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

from commcast.errors import CommcastError, ExitCode
from commcast.model import Channel


class Refused(CommcastError):
    """The provider refuses our credentials, or what they may not do; a person has to mend it (exit 78)."""

    exit_code = ExitCode.REFUSED


class Seen(StrEnum):
    """What a look at a provider's records says of one delivery.

    taken    our very words are there: it was accepted
    refused  our very words are there, and the provider did not send them
    foreign  there are messages to that address, but none with our words
    nothing  there is no message to that address in the time in question
    cannot   the provider keeps no records that this account may read
    """

    TAKEN = "taken"
    REFUSED = "refused"
    FOREIGN = "foreign"
    NOTHING = "nothing"
    CANNOT = "cannot"


@dataclass(frozen=True, slots=True)
class Asked:
    """One delivery whose fate is asked.

    `own_id` is what went along with it as its own name (a mail's Message-ID), "" where a channel has none.
    `words` is the text of an SMS, the subject of a mail. It was handed over between `begun` and `ended`
    (aware).
    """

    delivery: int
    address: str
    own_id: str
    words: str
    begun: datetime
    ended: datetime


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was seen of one delivery. `detail` is short and holds no address."""

    delivery: int
    seen: Seen
    provider_id: str = ""
    detail: str = ""


class ReceiptKind(StrEnum):
    """What became of an accepted message, as the provider says later. `delivered` is final."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One later word of a provider, joined to a delivery by `provider_id`, by `key` (the address as the
    ledger compares it), or by both where both are given.

    `at` (aware) is when it happened. By `key` alone it speaks of what was handed over before `at`; where
    `lasting` is set the provider also drops what is handed over after it. `suppress` asks that the address
    be told nothing more.
    """

    kind: ReceiptKind
    at: datetime
    detail: str = ""
    provider_id: str = ""
    key: str = ""
    lasting: bool = False
    suppress: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One address on a provider's own list of those it does not serve. `list` is the list's name there."""

    list: str
    address: str
    at: datetime
    reason: str = ""


class Records(Protocol):
    """A provider's records on one channel.

    Raises `Refused` where credentials are refused and TryAgain where the provider cannot be asked now.
    """

    channel: Channel
    name: str

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def look(self, asked: Sequence[Asked], known: Collection[str]) -> AsyncIterator[Sighting]:
        """Yield one sighting for each delivery. `known` are provider ids that belong to other deliveries."""
        ...

    def receipts(self, since: datetime, open_ids: Collection[str]) -> AsyncIterator[Receipt]:
        """Yield what the provider says of what it was handed since then; `open_ids` have no final word yet.

        Foreign messages may be among them: whoever asks joins them.
        """
        ...
