"""Emails ready for the wire, and the connection that carries them, pipelined (RFC 2920) if it can be."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, Self, cast

import aiosmtplib

from commcast.model.message import NOT_BEGUN, Delivery, Email, Outcome, OutcomeKind
from commcast.providers import mime
from commcast.providers.masking import masked
from commcast.providers.smtp.outcomes import Answer, SmtpStage, accepted, outcome, reply_line


class Batch:
    """One call of `send`: its outcomes as they arrive, until all are in or nobody waits for them any more.

    `owed` is how many have not been yielded. `user` is our login, which no detail may contain.
    """

    def __init__(self, count: int, user: str) -> None:
        self.owed, self.user, self.is_closed = count, user, False
        self._outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
        self.tell = self._outcomes.put_nowait

    async def outcomes(self) -> AsyncIterator[Outcome]:
        """Yield as many outcomes as the batch has letters."""
        while self.owed:
            found = await self._outcomes.get()
            self.owed -= 1
            yield found


@dataclass(slots=True, eq=False)
class Letter:
    """One email ready for the wire.

    `body` is dot-stuffed and ends with a line end, without the final dot. `due` is the deadline for its
    answer, by the loop's clock.
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
        """Make the letter. Raises ValueError if the message cannot be made into an email."""
        sender, to = _sender(email.sender.address), mime.wire_address(email.to.address)
        return cls(item.delivery, email, sender, to.encode(), mime.wire(email), batch, due)

    @property
    def needs_smtputf8(self) -> bool:
        return not (self.to.isascii() and self.sender.isascii())

    def from_line(self, size: bool) -> bytes:
        """Return what follows MAIL. Our emails are ASCII: only a non-ASCII address needs 8 bits."""
        wide = b" BODY=8BITMIME SMTPUTF8" if self.needs_smtputf8 else b""
        if size:
            return b"FROM:<%b> SIZE=%d%b" % (self.sender, len(self.body), wide)
        return b"FROM:<%b>%b" % (self.sender, wide)

    def to_line(self) -> bytes:
        """Return what follows RCPT."""
        return b"TO:<%b>" % self.to

    def accepted(self, text: str) -> None:
        """Report that the server accepted it; `text` is the text of its reply."""
        self.batch.tell(accepted(self.delivery, text))

    def answered(self, answer: Answer) -> None:
        """Report how it ended."""
        self.batch.tell(outcome(self.delivery, self.email, answer, self.batch.user))

    def not_begun(self) -> None:
        """Report that nothing of it was sent."""
        self.batch.tell(Outcome(self.delivery, OutcomeKind.NOT_TAKEN, NOT_BEGUN))


@lru_cache(maxsize=8)  # a broadcast has one
def _sender(address: str) -> bytes:
    return mime.wire_address(address).encode()


GARBAGE = 0  # instead of a code: the bytes are no reply, and what follows them is ignored

# Far more than RFC 5321 4.5.3.1.5 allows (512), but too little for a server to fill our memory.
LONGEST_LINE = 8_192  # bytes
LONGEST_REPLY = 32_768  # bytes, all lines of it

_LAST = frozenset({b" ", b"\r", b""})  # what follows the code on the last line; "-" on the others


class Replies:
    """Turns bytes in pieces of any size into whole replies, each a code and its text."""

    __slots__ = ("_begun", "_code", "_rest", "_size")

    def __init__(self) -> None:
        self._rest = b""  # a line that has no end yet
        self._begun: list[bytes] = []  # the lines so far of a reply that goes on
        self._code, self._size = b"", 0

    @property
    def is_amid(self) -> bool:
        """Whether an unfinished reply has been read."""
        return bool(self._rest or self._begun)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the replies that these bytes complete. If they are no reply, the last is (GARBAGE, b"")."""
        lines = (self._rest + data if self._rest else data).split(b"\n")
        self._rest = lines.pop()
        found: list[tuple[int, bytes]] = []
        for line in lines:
            code, mark = line[:3], line[3:4]
            if not self._is_sane(code, line):
                return [*found, (GARBAGE, b"")]
            if mark in _LAST:
                found.append((int(code), self._whole(line[4:]) if self._begun else line[4:]))
            elif mark == b"-":
                self._begun.append(line[4:])
                self._code, self._size = code, self._size + len(line)
            else:
                return [*found, (GARBAGE, b"")]
        if len(self._rest) > LONGEST_LINE:
            found.append((GARBAGE, b""))
        return found

    def _is_sane(self, code: bytes, line: bytes) -> bool:
        if not (code.isdigit() and b"100" <= code < b"600") or len(line) > LONGEST_LINE:
            return False
        return not self._begun or (code == self._code and self._size + len(line) <= LONGEST_REPLY)

    def _whole(self, last: bytes) -> bytes:
        text = b"\n".join((*self._begun, last))
        self._begun, self._size = [], 0
        return text


# A body up to this size goes in one write with its dot and the next envelope: no socket's send buffer is
# smaller once the previous email is answered. The dot of a larger one follows when the kernel has taken the
# body, so a body that stalls is certainly not taken.
ONE_WRITE = 16_384  # bytes

# A large body is written in pieces, each when the one before has left our buffer: a TLS transport passes on
# whatever it is given at once, and would accept the dot while the body still waits in the buffer below it.
PIECE = 65_536  # bytes

_FINAL_DOT = b".\r\n"
_NEXT = {
    SmtpStage.RESET: SmtpStage.MAIL,
    SmtpStage.MAIL: SmtpStage.RCPT,
    SmtpStage.RCPT: SmtpStage.DATA,
}


class Feeder(Protocol):
    """Where a connection gets its letters from."""

    def take(self, talk: Connection) -> Letter | None:
        """Return the next waiting letter for this connection."""
        ...

    def again(self, letter: Letter) -> None:
        """Take back a letter that the server has not heard of; it goes over a fresh connection."""
        ...

    def is_free(self, talk: Connection) -> None:
        """The connection is idle: give it a letter when there is one."""
        ...

    def has_room(self, talk: Connection) -> None:
        """A body is in flight, and an envelope may be sent behind it."""
        ...

    def is_gone(self, talk: Connection) -> None:
        """The connection is closed, and all its letters are answered."""
        ...


class Connection(asyncio.Protocol):
    """One open connection, taken over from the library that opened it. Answers each letter exactly once.

    `_front` is the letter that the next reply is about, `_stage` what that reply answers; `_behind` is the
    letter whose envelope follows the body in flight. From the moment `_stage` is DOT, the final dot may have
    left; with a `_refusal` it is the lone dot of a letter without a recipient (RFC 2920 3.1).
    If the server does not offer PIPELINING, each command waits in `_unsaid` for the reply to the one before.
    """

    def __init__(self, feeder: Feeder, client: aiosmtplib.SMTP, timeout: float) -> None:
        offers = client.supports_extension
        self.takes_utf8 = offers("smtputf8") and offers("8bitmime")  # RFC 6531 3.1 demands both
        self._is_pipelined, self._takes_size = offers("pipelining"), offers("size")
        self._unsaid: list[bytes] = []
        self._feeder, self._timeout = feeder, timeout
        self._loop = asyncio.get_running_loop()
        self._replies = Replies()
        self._front: Letter | None = None
        self._behind: Letter | None = None
        self._stage = SmtpStage.MAIL
        self._refusal: Answer | None = None
        self._paused = self._closed = self._surplus = False
        self._reused = False  # a letter was answered here, so the connection may have gone stale since
        self._needs_reset = self._follows_refusal = False
        self._poured = 0  # bytes of a large body that are written
        self._unsent = 0  # bytes from the final dot on, in the write that holds it
        self._expires, self._timer = math.inf, cast(asyncio.TimerHandle | None, None)
        self._farewell: asyncio.Future[None] | None = None
        self._transport = cast(asyncio.Transport, client.transport)
        self._is_plain = self._transport.get_extra_info("sslcontext") is None
        # Not 0: asyncio's TLS transport pauses at "size >= high", so an empty buffer would pause for ever.
        self._transport.set_write_buffer_limits(high=1, low=0)
        self._transport.set_protocol(self)

    # --- called by the pool

    def give(self, letter: Letter) -> None:
        """Begin this letter, or send its envelope behind the body in flight.

        Only after the connection has told the pool that it can take one.
        """
        if self._front is not None:
            self._behind = letter
            self._transport.write(self._envelope(letter))
            return
        self._front, self._refusal = letter, None
        commands = self._envelope(letter)
        if self._needs_reset:
            commands = b"RSET\r\n" + commands
        self._stage = SmtpStage.RESET if self._needs_reset else SmtpStage.MAIL
        self._needs_reset = False
        if not self._is_pipelined:
            commands, *self._unsaid = commands.splitlines(keepends=True)
        self._transport.write(commands)
        self._wait()

    def forget(self, batch: Batch) -> None:
        """Nobody waits for these answers any more: end a letter of this batch whose dot has not left.

        After the dot the connection goes on, for the letter behind.
        """
        if self._front is not None and self._front.batch is batch and self._stage is not SmtpStage.DOT:
            self._lose()

    def abort(self) -> None:
        """Close at once. Letters that were begun are answered by what is known of them."""
        if self._farewell is not None and not self._farewell.done():
            self._farewell.set_result(None)
        if not self._closed:
            self._lose()

    async def leave(self, seconds: float) -> None:
        """Say QUIT if nothing has begun, wait up to `seconds` for the reply, and close."""
        if self._front is None and seconds and not self._closed:
            self._farewell = self._loop.create_future()
            self._transport.write(b"QUIT\r\n")
            await asyncio.wait({self._farewell}, timeout=seconds)
        self.abort()

    # --- called by the transport

    def data_received(self, data: bytes) -> None:
        replies = self._replies.feed(data)
        if self._farewell is not None:
            self.abort()
            return
        left = len(replies)
        for code, text in replies:
            left -= 1
            if self._closed:
                return
            # Replies to commands that we haven't sent yet: no telling what the next ones would answer.
            self._surplus = left > 0 or self._replies.is_amid
            is_early = self._surplus and (self._stage is SmtpStage.DATA or self._unsaid)
            if code == GARBAGE or self._front is None or is_early:
                self._lose("garbage")
            elif self._stage is SmtpStage.DOT:
                self._heed_dot(code, text)
            elif self._stage is SmtpStage.DATA:
                self._heed_data(code, text)
            elif self._stage is SmtpStage.BODY:  # before the dot there is nothing to answer
                self._end(self._answer(code, text))
            else:
                self._heed_command(code, text)
        if replies and self._front is not None:
            self._wait()

    def eof_received(self) -> None:
        self.abort()

    def connection_lost(self, _: Exception | None) -> None:
        self.abort()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._stage is SmtpStage.BODY and not self._closed:
            self._pour()

    # --- one reply after another

    def _heed_command(self, code: int, text: bytes) -> None:
        """RSET, MAIL or RCPT is answered."""
        if 200 <= code < 300:
            self._stage = _NEXT[self._stage]
            if self._unsaid:
                self._transport.write(self._unsaid.pop(0))
            return
        if code == 503 and self._follows_refusal and self._stage is SmtpStage.MAIL:
            # "Nested MAIL": the server kept the refused letter's envelope, though RFC 5321 4.1.1.4 clears it.
            self._stage = SmtpStage.RESET
        answer = self._answer(code, text)
        if self._unsaid or not answer.keeps_connection:
            self._refused(answer)
        else:  # keep the refusal until DATA, which was already sent, is answered as well
            self._refusal = self._refusal or answer
            self._stage = _NEXT[self._stage]

    def _heed_data(self, code: int, text: bytes) -> None:
        refusal = self._refusal
        if not 300 <= code < 400:
            self._refused(self._answer(code, text))
        elif refusal is None:
            self._begin_body()
        elif refusal.stage is SmtpStage.RCPT:
            self._write_dot(b"")
        else:  # MAIL was refused, yet DATA was not: there may be a recipient, so send not even a dot
            self._end(refusal)

    def _heed_dot(self, code: int, text: bytes) -> None:
        if self._refusal is None and 200 <= code < 300:
            cast(Letter, self._front).accepted(_words(text))
            self._follows_refusal = False
            self._go_on()
        else:
            self._refused(self._answer(code, text))

    def _refused(self, answer: Answer) -> None:
        """End the letter in front with its first refusal; the connection goes on if it can.

        The server may still hold the refused envelope.
        """
        if not answer.keeps_connection:
            self._end(answer)
            return
        cast(Letter, self._front).answered(self._refusal or answer)
        self._follows_refusal = self._behind is not None
        self._needs_reset = not self._follows_refusal
        self._go_on()

    def _answer(self, code: int, text: bytes) -> Answer:
        words = _words(text)
        return Answer(self._stage, reply_line(code, words), words)

    # --- what goes out

    def _envelope(self, letter: Letter) -> bytes:
        return b"MAIL %b\r\nRCPT %b\r\nDATA\r\n" % (letter.from_line(self._takes_size), letter.to_line())

    def _begin_body(self) -> None:
        body = cast(Letter, self._front).body
        if len(body) <= ONE_WRITE:
            self._write_dot(body)
        else:
            self._stage, self._poured = SmtpStage.BODY, 0
            self._pour()

    def _pour(self) -> None:
        """Write as much of a large body as the transport takes, and the dot once it has left our buffer."""
        body = cast(Letter, self._front).body
        while self._poured < len(body) and not self._paused:
            self._transport.write(body[self._poured : self._poured + PIECE])
            self._poured += PIECE
        if not self._paused:
            self._write_dot(b"")
            self._wait()

    def _write_dot(self, body: bytes) -> None:
        """Write the final dot, with the body before it and the next letter's envelope behind it.

        If no letter is waiting, its envelope follows on its own when one comes. Tried: pausing 0.1 to 4 ms
        for it saves writes, but costs more than it saves.
        """
        self._stage = SmtpStage.DOT  # first of all: from here on the dot may have left
        after = b""
        if self._is_pipelined:
            self._behind = self._feeder.take(self)
            if self._behind is None:
                self._feeder.has_room(self)
            else:
                after = self._envelope(self._behind)
        self._unsent = len(_FINAL_DOT) + len(after)
        self._transport.write(b"%b.\r\n%b" % (body, after))

    # --- ends

    def _go_on(self) -> None:
        """The letter in front is answered: the one behind moves up."""
        self._reused, self._refusal = True, None
        self._stage = SmtpStage.MAIL
        self._front, self._behind = self._behind, None
        if self._front is None and not self._surplus:
            self._feeder.is_free(self)
        elif self._front is None or self._front.batch.is_closed:
            self._lose()

    def _lose(self, said: str = "lost") -> None:
        self._end(Answer(self._stage, said))

    def _end(self, answer: Answer) -> None:
        """Give up the connection. `answer` is for the letter in front, unless that was refused before."""
        front, behind = self._front, self._behind
        self._close()
        if front is not None:
            if self._refusal is not None:
                front.answered(self._refusal)
            elif self._reused and answer.was_stale:
                self._feeder.again(front)
            else:
                front.answered(answer)
        if behind is not None:
            behind.answered(Answer(SmtpStage.MAIL, "lost"))
        self._feeder.is_gone(self)

    def _close(self) -> None:
        self._closed = True
        self._front = self._behind = None
        if self._timer is not None:
            self._timer.cancel()
        self._transport.abort()

    # --- time

    def _wait(self) -> None:
        """Start the next step's time. The only timer is moved only if it would fire too late."""
        due = cast(Letter, self._front).due
        self._expires = min(self._loop.time() + self._timeout, due)
        if self._timer is None or self._timer.when() > self._expires:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._expires, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        if self._front is None or self._closed:
            return
        if self._loop.time() < self._expires:
            self._set_timer()
            return
        if self._stage is SmtpStage.DOT and self._dot_is_ours():
            self._stage = SmtpStage.BODY
        self._lose("silence")

    def _dot_is_ours(self) -> bool:
        """Whether the final dot is certainly still in our own buffer; with TLS nobody can tell."""
        return self._is_plain and self._transport.get_write_buffer_size() >= self._unsent


def _words(text: bytes) -> str:
    return masked(text.decode("utf-8", "replace").strip())
