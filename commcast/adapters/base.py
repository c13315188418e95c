"""The protocol every adapter fulfils (the contract suite in tests/adapters/contract.py checks it)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Protocol, Self

from commcast.message import HandOver, Outcome
from commcast.model import Channel


class Adapter(Protocol):
    """A provider on one channel.

    An adapter gets finished content. It does not render, choose recipients, retry or touch the ledger.

    `batch_size` is how many recipients one request may carry: an answer that is lost makes that many
    `unknown`. `window` is W: how many deliveries one process may have claimed at once, in all its calls of
    `send` together; a kill leaves at most so many `unknown`. `per_second` is how many messages a second it
    may be given by all processes together, 0 for any number; then no batch is larger than a twentieth of it,
    and nothing is claimed that would wait for a connection and miss its slot: `window` is the least there is.

    Entering the context opens nothing that could send; leaving it closes all connections, bounded in time.
    `send` runs as often at the same moment as there are batches. Where `batch_size` is 1 a batch may hold as
    many as `window` and is spread over the connections there are; else it is one request. It yields exactly
    one `Outcome` for each hand-over of the batch, in any order, as answers come.
    Once the provider has asked for a pause (`not_taken`, blame `provider`, with a `retry_after`), nothing
    more of the batches at hand begins.
    It never raises for what a provider or the network does: that is an outcome. Once any byte that could
    complete a hand-over may have left and no answer came, the outcome is `unknown`, also when the task is
    cancelled (a cancelled `send` may leave outcomes out; the caller then treats them as `unknown`).
    """

    channel: Channel
    name: str
    batch_size: int
    per_second: float

    @property
    def window(self) -> int: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def halt(self) -> None:
        """Begin no further request: what has not begun is given back as `not_taken`, detail NOT_BEGUN.

        What is in flight may finish.
        """
        ...

    def send(self, batch: Sequence[HandOver]) -> AsyncIterator[Outcome]: ...
