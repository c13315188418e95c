"""Mails on their way: one mail ready for the wire, and the answers to one call of `send`."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from commcast.adapters import mime
from commcast.adapters.smtp_outcomes import Answer, accepted, outcome
from commcast.message import NOT_BEGUN, Email, HandOver, Outcome, OutcomeKind

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
    def of(cls, item: HandOver, email: Email, batch: Batch, due: float) -> Self:
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
