"""The plain dialogue, one step at a time, with a server that does not offer PIPELINING."""

from __future__ import annotations

import asyncio
from typing import cast

import aiosmtplib

from commcast.model.message import OutcomeKind
from commcast.providers.smtp.letter import PIECE, Batch, Feeder, Letter
from commcast.providers.smtp.opening import close, name_of, offered, words_of
from commcast.providers.smtp.outcomes import Answer, SmtpStage, judge, reply_line

FINAL_DOT = b".\r\n"


class Dialogue:
    """One open connection that carries letters one by one, and the stage of the current one."""

    def __init__(self, feeder: Feeder, client: aiosmtplib.SMTP, timeout: float) -> None:
        self.offered = offered(client)
        self.stage = SmtpStage.MAIL
        self._feeder, self._client, self._timeout = feeder, client, timeout
        self._transport = cast(asyncio.WriteTransport, client.transport)
        self._writer = _writer(client, self._transport)
        self._needs_reset = self._reused = False
        self._letter: Letter | None = None
        self._task: asyncio.Task[None] | None = None

    def give(self, letter: Letter) -> None:
        """Carry this letter; only while nothing is under way."""
        self._letter = letter
        self._task = asyncio.get_running_loop().create_task(self._carry(letter))

    def forget(self, batch: Batch) -> None:
        if self._letter is not None and self._letter.batch is batch:
            self.abort()

    def abort(self) -> None:
        """Close at once; the letter under way is answered as it stands."""
        close(self._client, self._transport)

    async def leave(self, seconds: float) -> None:
        try:
            if self._letter is None and seconds:
                async with asyncio.timeout(seconds):
                    await self._client.quit()
        except (aiosmtplib.SMTPException, OSError, ValueError):
            pass  # it is closed either way
        finally:
            self.abort()
        if self._task is not None:
            await asyncio.wait({self._task})  # until the letter under way is answered

    async def _carry(self, letter: Letter) -> None:
        answer = await self._hand_over(letter)
        self._needs_reset = judge(answer).kind is not OutcomeKind.ACCEPTED
        is_stale, self._letter = self._reused and answer.was_stale, None
        self._reused = True
        if is_stale:
            self._feeder.again(letter)
        else:
            letter.answered(answer)
        if answer.keeps_connection and self._client.is_connected:
            self._feeder.is_free(self)
        else:
            self.abort()
            self._feeder.is_gone(self)

    async def _hand_over(self, letter: Letter) -> Answer:
        """Never raises for what the network does."""
        try:
            async with asyncio.timeout_at(letter.due):
                reply = await self._transact(letter)
        except Exception as error:  # whatever the library raises for what a server sends: it is one answer
            return Answer(self.stage, name_of(error, self.stage), words_of(error))
        return Answer(self.stage, reply_line(reply.code, reply.message), reply.message)

    async def _transact(self, letter: Letter) -> aiosmtplib.SMTPResponse:
        if self._needs_reset:
            self.stage = SmtpStage.RESET
            await self._client.rset()
        self.stage = SmtpStage.MAIL
        await self._command(b"MAIL", letter.from_line(self.offered.size))
        self.stage = SmtpStage.RCPT
        await self._command(b"RCPT", letter.to_line())
        self.stage = SmtpStage.DATA
        await self._command(b"DATA", expect=3)
        return await self._write(letter.body)

    async def _command(self, *words: bytes, expect: int = 2) -> None:
        reply = await self._client.execute_command(*words)
        if reply.code // 100 != expect:
            raise aiosmtplib.SMTPResponseException(reply.code, reply.message)

    async def _write(self, body: bytes) -> aiosmtplib.SMTPResponse:
        """Write the body and, once it has left our buffer, the final dot.

        The library's `data` writes both at once, and raises the same error for a connection lost at DATA, in
        the body and after the dot; so the two steps are done here, with its protocol.
        """
        self.stage = SmtpStage.BODY
        protocol = self._client.protocol
        if protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        async with asyncio.timeout(self._timeout):
            for start in range(0, len(body), PIECE):
                protocol.write(body[start : start + PIECE])
                await self._writer.drain()
        if not protocol.is_connected:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        self.stage = SmtpStage.DOT  # first of all: from here on the dot may have left
        protocol.write(FINAL_DOT)
        return await protocol.read_response(timeout=self._timeout)


def _writer(client: aiosmtplib.SMTP, transport: asyncio.WriteTransport) -> asyncio.StreamWriter:
    """Return a writer whose `drain` waits for an empty buffer: a body that stalls never gets its dot."""
    if client.protocol is None:
        raise aiosmtplib.SMTPServerDisconnected("Connection lost")
    # Not 0: asyncio's TLS transport pauses at "size >= high", so an empty buffer would pause for ever.
    transport.set_write_buffer_limits(high=1, low=0)
    return asyncio.StreamWriter(transport, client.protocol, None, asyncio.get_running_loop())
