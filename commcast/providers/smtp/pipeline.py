"""The transaction, pipelined (RFC 2920)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import ClassVar, cast

import aiosmtplib

from commcast.providers.smtp.letter import PIECE, Batch, Feeder, Letter
from commcast.providers.smtp.opening import offered
from commcast.providers.smtp.outcomes import Answer, SmtpStage, reply_line

GARBAGE = 0  # instead of a code: the bytes are no reply, and nothing after them counts

# Far more than RFC 5321 4.5.3.1.5 allows (512), but too little for a server to fill our memory.
LONGEST_LINE = 8_192  # bytes
LONGEST_REPLY = 32_768  # bytes, all lines of it

_LAST = frozenset({b" ", b"\r", b""})  # what follows the code on the last line; "-" on the others


class Replies:
    """Turns bytes in pieces of any size into whole replies, each a code and its words."""

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
        """Return the replies that these bytes complete; (GARBAGE, b"") ends the list if they are no reply."""
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
# smaller once the mail before is answered. The dot of a larger one follows when the kernel has taken the
# body, so that a body that stalls is certainly not taken.
ONE_WRITE = 16_384  # bytes

_FINAL_DOT = b".\r\n"


class Pipeline(asyncio.Protocol):
    """One open connection, taken over from the library that opened it.

    `_front` is the letter that the next reply is about, `_stage` what that reply answers; `_behind` is the
    letter whose envelope follows the body in flight. From the moment `_stage` is DOT, the final dot may have
    left; with a `_refusal` it is the lone dot of a letter without a recipient (RFC 2920 3.1).
    """

    def __init__(self, feeder: Feeder, client: aiosmtplib.SMTP, timeout: float) -> None:
        self.offered = offered(client)
        self._feeder, self._timeout = feeder, timeout
        self._loop = asyncio.get_running_loop()
        self._replies = Replies()
        self._front: Letter | None = None
        self._behind: Letter | None = None
        self._stage = SmtpStage.MAIL
        self._refusal: Answer | None = None
        self._paused = self._closed = False
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
        """Begin this letter, or send its envelope behind the body in flight."""
        if self._front is None:
            self._front, self._refusal = letter, None
            self._stage = SmtpStage.RESET if self._needs_reset else SmtpStage.MAIL
            reset = b"RSET\r\n" if self._needs_reset else b""
            self._transport.write(reset + self._envelope(letter))
            self._wait()
            return
        self._behind = letter
        self._transport.write(self._envelope(letter))

    def forget(self, batch: Batch) -> None:
        """End a letter before its dot; after the dot the connection goes on, for the letter behind."""
        if self._front is not None and self._front.batch is batch and self._stage is not SmtpStage.DOT:
            self._lose()

    def abort(self) -> None:
        if not self._closed:
            self._lose()

    async def leave(self, seconds: float) -> None:
        if self._front is None and seconds and not self._closed:
            self._farewell = self._loop.create_future()
            self._transport.write(b"QUIT\r\n")
            await asyncio.wait({self._farewell}, timeout=seconds)
        self.abort()

    # --- called by the transport

    def data_received(self, data: bytes) -> None:
        replies = self._replies.feed(data)
        if self._farewell is not None:
            self._part()
            return
        left = len(replies)
        for code, text in replies:
            left -= 1
            if self._closed:
                return
            if code == GARBAGE or self._front is None:
                self._lose("garbage")
            elif self._stage is SmtpStage.DATA and (left or self._replies.is_amid):
                self._lose("garbage")  # an answer to something we have not said yet: no telling what follows
            else:
                self._heed[self._stage](self, code, text)
        if replies and self._front is not None:
            self._wait()

    def eof_received(self) -> None:
        self._gone()

    def connection_lost(self, _: Exception | None) -> None:
        self._gone()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._stage is SmtpStage.BODY and not self._closed:
            self._pour()

    # --- one reply after another

    def _heed_reset(self, code: int, text: bytes) -> None:
        if 200 <= code < 300:
            self._stage = SmtpStage.MAIL
            self._needs_reset = False
        else:
            self._end(self._answer(code, text))

    def _heed_mail(self, code: int, text: bytes) -> None:
        if 200 <= code < 300:
            self._stage = SmtpStage.RCPT
        elif code == 503 and self._follows_refusal:
            # "Nested MAIL": the server kept the refused letter's envelope, though RFC 5321 4.1.1.4 clears it.
            self._stage = SmtpStage.RESET
            self._end(self._answer(code, text))
        else:
            self._note(code, text, SmtpStage.RCPT)

    def _heed_rcpt(self, code: int, text: bytes) -> None:
        if 200 <= code < 300:
            self._stage = SmtpStage.DATA
        else:
            self._note(code, text, SmtpStage.DATA)

    def _heed_data(self, code: int, text: bytes) -> None:
        refusal = self._refusal
        if 300 <= code < 400:
            if refusal is None:
                self._begin_body()
            elif refusal.stage is SmtpStage.RCPT:
                self._write_dot(b"")
            else:  # the sender refused, but content wanted: there may be a recipient, so not even a dot
                self._end(refusal)
            return
        self._refused(self._answer(code, text))

    def _heed_body(self, code: int, text: bytes) -> None:
        self._end(self._answer(code, text))  # before the dot there is nothing to answer

    def _heed_dot(self, code: int, text: bytes) -> None:
        front, refusal = self._front, self._refusal
        if refusal is None and 200 <= code < 300 and front is not None:
            front.accepted(_words(text))
            self._follows_refusal = False
            self._go_on()
            return
        self._refused(self._answer(code, text))

    _heed: ClassVar[dict[SmtpStage, Callable[[Pipeline, int, bytes], None]]] = {
        SmtpStage.RESET: _heed_reset,
        SmtpStage.MAIL: _heed_mail,
        SmtpStage.RCPT: _heed_rcpt,
        SmtpStage.DATA: _heed_data,
        SmtpStage.BODY: _heed_body,
        SmtpStage.DOT: _heed_dot,
    }

    def _refused(self, answer: Answer) -> None:
        """End the letter in front with its first refusal; the connection goes on if it can."""
        if answer.keeps_connection:
            self._finish(self._refusal or answer)
        else:
            self._end(answer)

    def _note(self, code: int, text: bytes, then: SmtpStage) -> None:
        """Keep a refusal until DATA, which was already sent, is answered as well."""
        answer = self._answer(code, text)
        if not answer.keeps_connection:
            self._end(answer)
            return
        self._refusal = self._refusal or answer
        self._stage = then

    def _answer(self, code: int, text: bytes) -> Answer:
        words = _words(text)
        return Answer(self._stage, reply_line(code, words), words)

    # --- what goes out

    def _envelope(self, letter: Letter) -> bytes:
        return b"MAIL %b\r\nRCPT %b\r\nDATA\r\n" % (letter.from_line(self.offered.size), letter.to_line())

    def _begin_body(self) -> None:
        body = cast(Letter, self._front).body
        if len(body) <= ONE_WRITE:
            self._write_dot(body)
        else:
            self._stage, self._poured = SmtpStage.BODY, 0
            self._pour()

    def _pour(self) -> None:
        """Write as much of a large body as the transport takes, and its dot once it has left our buffer."""
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
        self._behind = self._feeder.take(self)
        after = self._envelope(self._behind) if self._behind is not None else b""
        self._unsent = len(_FINAL_DOT) + len(after)
        self._transport.write(b"%b.\r\n%b" % (body, after))
        if self._behind is None:
            self._feeder.has_room(self)

    # --- ends

    def _finish(self, answer: Answer) -> None:
        """Answer with a refusal, after which the server may still hold the refused envelope."""
        cast(Letter, self._front).answered(answer)
        self._needs_reset = self._behind is None
        self._follows_refusal = self._behind is not None
        self._go_on()

    def _go_on(self) -> None:
        """The letter in front is answered: the one behind moves up."""
        self._reused, self._refusal = True, None
        self._stage = SmtpStage.MAIL
        self._front, self._behind = self._behind, None
        if self._front is None:
            self._feeder.is_free(self)
        elif self._front.batch.is_closed:
            self._lose()

    def _gone(self) -> None:
        if self._farewell is not None:
            self._part()
        elif not self._closed:
            self._lose()

    def _part(self) -> None:
        if self._farewell is not None and not self._farewell.done():
            self._farewell.set_result(None)

    def _lose(self, said: str = "lost") -> None:
        self._end(Answer(self._stage, said))

    def _end(self, answer: Answer) -> None:
        """Give up the connection. `answer` is what became of the letter in front, unless it was refused."""
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
        """Give the next step its time; the one timer is moved only if it would fire too late."""
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
        """Whether the final dot is known to be still in our own buffer; TLS hides that."""
        return self._is_plain and self._transport.get_write_buffer_size() >= self._unsent


def _words(text: bytes) -> str:
    return text.decode("utf-8", "replace").strip()
