"""One mail on its way, and what connection and pool ask of each other."""

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

    `user` is our login, which no detail may hold.
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

    `body` is dot-stuffed and ends with a line end, before the final dot. `due` is when, in the loop's own
    time, its answer must be in.
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
        """Raises ValueError where the message cannot be put into a mail."""
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
        """Tell that the server took it, and its words."""
        self.batch.tell(accepted(self.delivery, text))

    def answered(self, answer: Answer) -> None:
        """Tell how its hand-over ended."""
        self.batch.tell(outcome(self.delivery, self.email, answer, self.batch.user))

    def not_begun(self) -> None:
        """Give it back: nothing was done about it."""
        self.batch.tell(Outcome(self.delivery, OutcomeKind.NOT_TAKEN, NOT_BEGUN))


def _address(address: str) -> bytes:
    if _PLAIN.fullmatch(address):
        return address.encode()
    return mime.wire_address(address).encode()


_sender = lru_cache(maxsize=8)(_address)  # a broadcast has one

# A body is written in pieces, each when the one before is out of our hands: a TLS transport hands on whatever
# it is given at once, and would take a dot before a body that waits in the buffer below it.
PIECE = 65_536  # bytes


@dataclass(frozen=True, slots=True)
class Offered:
    """What the server said it can do, in its last answer to EHLO. `smtputf8` stands with 8BITMIME."""

    pipelining: bool
    size: bool
    smtputf8: bool


class Conversation(Protocol):
    """One open connection. It answers every letter that it was given, once."""

    offered: Offered

    def give(self, letter: Letter) -> None:
        """Hand this letter over; only where the talk has told the pool that it can take one."""
        ...

    def forget(self, batch: Batch) -> None:
        """Nobody waits for these answers any more: end what can still be ended."""
        ...

    def abort(self) -> None:
        """Close at once. What is under way is told as it stands."""
        ...

    async def leave(self, seconds: float) -> None:
        """Say QUIT where nothing is under way and `seconds` are given to wait for its answer, and close."""
        ...


class Feeder(Protocol):
    """Where a talk gets its letters from."""

    def take(self, talk: Conversation) -> Letter | None:
        """Return the next letter that waits, for this talk to hand over."""
        ...

    def again(self, letter: Letter) -> None:
        """Take back a letter of which nothing was said yet; it goes over a fresh connection."""
        ...

    def is_free(self, talk: Conversation) -> None:
        """The talk has nothing to do: give it a letter when there is one."""
        ...

    def has_room(self, talk: Conversation) -> None:
        """A body is on its way, and an envelope may be sent behind it."""
        ...

    def is_gone(self, talk: Conversation) -> None:
        """The talk's connection is closed, and all its letters are answered."""
        ...
