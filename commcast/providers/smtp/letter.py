"""One mail on its way, and what connections and the pool ask of each other."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, Self

from commcast.model.message import NOT_BEGUN, Delivery, Email, Outcome, OutcomeKind
from commcast.providers import mime
from commcast.providers.smtp.outcomes import Answer, accepted, outcome

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
# What `mime.wire_address` gives back unchanged; all else goes the long way through it.
_PLAIN = re.compile(
    rf"(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@[A-Za-z0-9](?:[A-Za-z0-9.-]{{0,251}}[A-Za-z0-9])?"
)


class Batch:
    """One call of `send`: its answers as they come, until all are in or nobody waits for them any more.

    `user` is our login, which no detail may contain.
    """

    __slots__ = ("_answers", "_owed", "_waiter", "is_closed", "user")

    def __init__(self, count: int, user: str) -> None:
        self._owed, self.user, self.is_closed = count, user, False
        self._answers: deque[Outcome] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def tell(self, outcome: Outcome) -> None:
        self._answers.append(outcome)
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None

    async def answers(self) -> AsyncIterator[Outcome]:
        """Yield as many outcomes as the batch has letters."""
        answers = self._answers
        while self._owed:
            if not answers:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
            while answers:
                self._owed -= 1
                yield answers.popleft()

    @property
    def is_done(self) -> bool:
        return not self._owed


@dataclass(slots=True, eq=False)
class Letter:
    """One mail ready for the wire.

    `body` is dot-stuffed and ends with a line end; the final dot is not part of it. `due` is when its answer
    must be in, by the loop's clock.
    """

    delivery: int
    email: Email
    sender: bytes
    to: bytes
    body: bytes
    batch: Batch
    due: float

    @classmethod
    def of(cls, item: Delivery, email: Email, batch: Batch, due: float) -> Self:
        """Raises ValueError if the message cannot be put into a mail."""
        body, sender = mime.wire(email), _sender(email.sender.address)
        return cls(item.delivery, email, sender, _address(email.to.address), body, batch, due)

    @property
    def needs_smtputf8(self) -> bool:
        return not (self.to.isascii() and self.sender.isascii())

    def from_line(self, size: bool) -> bytes:
        """Return what follows MAIL. Our mails are ASCII: only a non-ASCII address needs eight bits."""
        wide = b" BODY=8BITMIME SMTPUTF8" if self.needs_smtputf8 else b""
        if size:
            return b"FROM:<%b> SIZE=%d%b" % (self.sender, len(self.body), wide)
        return b"FROM:<%b>%b" % (self.sender, wide)

    def to_line(self) -> bytes:
        """Return what follows RCPT."""
        return b"TO:<%b>" % self.to

    def accepted(self, text: str) -> None:
        """Report that the server took it, with the server's words."""
        self.batch.tell(accepted(self.delivery, text))

    def answered(self, answer: Answer) -> None:
        """Report how it ended."""
        self.batch.tell(outcome(self.delivery, self.email, answer, self.batch.user))

    def not_begun(self) -> None:
        """Give it back untouched."""
        self.batch.tell(Outcome(self.delivery, OutcomeKind.NOT_TAKEN, NOT_BEGUN))


def _address(address: str) -> bytes:
    if _PLAIN.fullmatch(address):
        return address.encode()
    return mime.wire_address(address).encode()


_sender = lru_cache(maxsize=8)(_address)  # a broadcast has one

# A body is written in pieces, each when the one before has left our buffer: a TLS transport passes on
# whatever it is given at once, and would accept the dot while the body still waits in the buffer below it.
PIECE = 65_536  # bytes


@dataclass(frozen=True, slots=True)
class Offered:
    """What the server's last answer to EHLO offers. `smtputf8` includes 8BITMIME."""

    pipelining: bool
    size: bool
    smtputf8: bool


class Conversation(Protocol):
    """One open connection. It answers each letter that it was given exactly once."""

    offered: Offered

    def give(self, letter: Letter) -> None:
        """Carry this letter; only after the connection has told the pool that it can take one."""
        ...

    def forget(self, batch: Batch) -> None:
        """Nobody waits for these answers any more: end those that can still be ended."""
        ...

    def abort(self) -> None:
        """Close at once; letters under way are answered as they stand."""
        ...

    async def leave(self, seconds: float) -> None:
        """Say QUIT if nothing is under way, wait up to `seconds` for the answer, and close."""
        ...


class Feeder(Protocol):
    """Where a connection gets its letters from."""

    def take(self, talk: Conversation) -> Letter | None:
        """Return the next waiting letter for this connection."""
        ...

    def again(self, letter: Letter) -> None:
        """Take back a letter that the server has not heard of; it goes over a fresh connection."""
        ...

    def is_free(self, talk: Conversation) -> None:
        """The connection is idle: give it a letter when there is one."""
        ...

    def has_room(self, talk: Conversation) -> None:
        """A body is on its way, and an envelope may be sent behind it."""
        ...

    def is_gone(self, talk: Conversation) -> None:
        """The connection is closed, and all its letters are answered."""
        ...
