"""What a provider can do: send messages (Adapter), and answer questions about them (Records)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from commcast.errors import CommcastError, ExitCode
from commcast.model.incident import Channel
from commcast.model.message import Delivery, Outcome, Receipt


class Adapter(AbstractAsyncContextManager["Adapter", None], Protocol):
    """A provider on one channel.

    An adapter gets finished content. It does not render, choose recipients, retry or touch the ledger.

    `batch_size` is how many recipients one request may carry; if its response is lost, all of them become
    `unknown`. `window` is how many deliveries one process may have claimed at once, over all its calls of
    `send`; a kill leaves at most that many `unknown`. `per_second` is how many messages per second all
    processes together may send, 0 for no limit. With a limit no batch is larger than a twentieth of it,
    and `window` is as small as possible, so that no claimed delivery misses its slot waiting for a
    connection.

    Entering the context opens nothing that could send; leaving it closes all connections in bounded time.
    `send` runs concurrently, once per batch. If `batch_size` is 1, a batch may have up to `window` deliveries
    and is spread over the connections; otherwise it is one request. It yields exactly one `Outcome` for each
    delivery of the batch, in any order, as responses arrive.
    Once the provider has asked for a pause (`not_taken`, blame `provider`, with a `retry_after`), nothing
    more of the current batches begins.
    It never raises for what a provider or the network does: that is an outcome. If any byte that could
    complete a delivery may have left and no response came, the outcome is `unknown`, even if the task is
    cancelled (a cancelled `send` may omit outcomes; the caller then treats them as `unknown`).
    """

    channel: Channel
    name: str
    batch_size: int
    per_second: float

    @property
    def window(self) -> int: ...

    def halt(self) -> None:
        """Begin no more requests; what has not begun is returned as `not_taken`, detail NOT_BEGUN.

        Requests in flight may finish.
        """
        ...

    def send(self, batch: Sequence[Delivery]) -> AsyncIterator[Outcome]: ...


class Refused(CommcastError):
    """The provider refuses our credentials, or they lack a permission. A person has to fix it (exit 78)."""

    exit_code = ExitCode.REFUSED


class Seen(StrEnum):
    """What a provider's records say about one delivery.

    taken    our exact message is there: it was accepted
    refused  our exact message is there, but the provider did not send it
    foreign  there are messages to that address, but not ours
    nothing  there is no message to that address in that period
    cannot   the provider has no records that this account may read
    """

    TAKEN = "taken"
    REFUSED = "refused"
    FOREIGN = "foreign"
    NOTHING = "nothing"
    CANNOT = "cannot"


@dataclass(frozen=True, slots=True)
class Asked:
    """One delivery that a provider is asked about.

    `own_id` is the id that was sent with it (an email's Message-ID), "" if the channel has none. `words` is
    the text of an SMS or the subject of an email. It was handed over between `begun` and `ended` (aware).
    """

    delivery: int
    address: str
    own_id: str
    words: str
    begun: datetime
    ended: datetime


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the records show about one delivery. `detail` is short and contains no address."""

    delivery: int
    seen: Seen
    provider_id: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SuppressionEntry:
    """One address on a provider's own suppression list; `list` is the name of that list."""

    list: str
    address: str
    at: datetime
    reason: str = ""


class Records(AbstractAsyncContextManager["Records", None], Protocol):
    """A provider's records on one channel.

    Raises `Refused` if our credentials are refused, and TryAgain if the provider can't be asked now.
    """

    channel: Channel
    name: str

    def look(self, asked: Sequence[Asked], known: Collection[str]) -> AsyncIterator[Sighting]:
        """Yield one sighting for each delivery. `known` are provider ids that belong to other deliveries."""
        ...

    def receipts(self, since: datetime, open_ids: Collection[str]) -> AsyncIterator[Receipt]:
        """Yield what became of the messages handed over since then; `open_ids` have no final state yet.

        Other senders' messages may be among them; the caller matches them with its own.
        """
        ...
