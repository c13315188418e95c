"""What an open connection and the pool that feeds it may ask of each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from commcast.adapters.smtp_letter import Batch, Letter

# A body is written in pieces, each when the one before is out of our hands: a TLS transport hands on whatever
# it is given at once, and would take a dot before a body that waits in the buffer below it.
PIECE = 65_536  # bytes


@dataclass(frozen=True, slots=True)
class Offered:
    """What the server said it can do, in its last answer to EHLO. `smtputf8` stands with 8BITMIME."""

    pipelining: bool
    size: bool
    smtputf8: bool


class Talk(Protocol):
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

    def take(self, talk: Talk) -> Letter | None:
        """Return the next letter that waits, for this talk to hand over."""
        ...

    def again(self, letter: Letter) -> None:
        """Take back a letter of which nothing was said yet; it goes over a fresh connection."""
        ...

    def is_free(self, talk: Talk) -> None:
        """The talk has nothing to do: give it a letter when there is one."""
        ...

    def has_room(self, talk: Talk) -> None:
        """A body is on its way, and an envelope may be sent behind it."""
        ...

    def is_gone(self, talk: Talk) -> None:
        """The talk's connection is closed, and all its letters are answered."""
        ...
