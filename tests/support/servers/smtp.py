"""An SMTP server on 127.0.0.1 that does at each point of the dialogue what a test tells it to."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.support.servers.http import HOST, Certificate, Received

CLOSE = "close"  # hang up without a word
STALL = "stall"  # say nothing for ever
GARBAGE = "garbage"  # bytes that are no reply
DRIP = "drip"  # a reply that never ends
GOOD = "good"  # what a healthy server says


EACH = "each"  # every reply goes out by itself
MERGED = "merged"  # replies go out together, as far as what is asked is at hand
BYTES = "bytes"  # every byte of a reply goes out by itself


@dataclass
class Script:
    """What the scripted server does at each point, in turn, and then what a healthy one does.

    Points: connect ehlo helo starttls auth mail rcpt data body middle dot rset quit. An action is a reply
    ("550 5.1.1 no"), or one of CLOSE, STALL, GARBAGE, DRIP, GOOD. "body" is the moment after 354 in which
    nothing was read yet, "middle" the one after the body's first line. With `wants_empty` it says 354 also
    where no recipient was taken. `pace` is how replies go out: EACH, MERGED or BYTES. With `tls` it speaks
    TLS from the first byte, else after STARTTLS, if there is a `certificate`.
    """

    also_offered: ClassVar[Sequence[str]] = ()  # beside each script's own extensions

    actions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    extensions: Sequence[str] = ("SIZE 30000000", "8BITMIME")
    certificate: Certificate | None = None
    tls: bool = False
    wants_empty: bool = False
    pace: str = EACH
    messages: list[Received] = field(default_factory=list)
    spoken: list[str] = field(default_factory=list)
    connections: int = 0
    ended: int = 0  # of them
    used: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def next(self, point: str) -> str:
        done, planned = self.used[point], self.actions.get(point, ())
        self.used[point] += 1
        return planned[done] if done < len(planned) else GOOD


class HangUpError(Exception):
    """The script says to close."""


class Talk:
    """One connection of the scripted server."""

    def __init__(self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.script, self.reader, self.writer = script, reader, writer
        self.sender, self.recipients, self.secure, self.login = "", list[str](), False, ""
        self.lines, self.rest, self.replies = deque[bytes](), b"", b""

    async def run(self) -> None:
        await self.answer("connect", "220 mail.example ESMTP")
        while line := await self.line():
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            self.script.spoken.append(text)
            if await self.obey(text) == "quit":
                await self.flush()
                return

    async def obey(self, text: str) -> str:
        verb = text.split(" ")[0].lower()
        if verb == "ehlo":
            offered = ["mail.example", *self.script.also_offered, *self.script.extensions]
            lines = [f"250{'-' if more else ' '}{word}" for more, word in _with_more(offered)]
            await self.answer("ehlo", "\r\n".join(lines))
        elif verb == "starttls":
            await self.answer("starttls", "220 2.0.0 ready")
            await self.flush()
            assert self.script.certificate
            await self.writer.start_tls(self.script.certificate.server_context())
            self.secure = True
        elif verb == "auth":
            self.login = text
            await self.answer("auth", "235 2.7.0 ok")
        elif verb in {"mail", "rcpt", "data"}:
            await getattr(self, verb)(text)
        else:
            self.sender, self.recipients = "", []
            await self.answer(verb, "221 2.0.0 bye" if verb == "quit" else "250 2.0.0 ok")
        return verb

    async def mail(self, text: str) -> None:
        if self.sender:
            await self.say("503 5.5.1 nested MAIL command")
        elif (await self.answer("mail", "250 2.1.0 ok")).startswith("2"):
            self.sender, self.recipients = _path(text), []

    async def rcpt(self, text: str) -> None:
        if not self.sender:
            await self.say("503 5.5.1 need MAIL command")
        elif (await self.answer("rcpt", "250 2.1.5 ok")).startswith("2"):
            self.recipients.append(_path(text))

    async def data(self, _: str) -> None:
        if not self.sender or not (self.recipients or self.script.wants_empty):
            await self.say("554 5.5.1 no valid recipients" if self.sender else "503 5.5.1 need MAIL command")
        elif (await self.answer("data", "354 go on")).startswith("3"):
            await self.take()

    async def take(self) -> None:
        await self.answer("body", "")
        raw = bytearray()
        while (line := await self.line()) != b".\r\n":
            if not line:
                raise HangUpError
            if not raw:
                await self.answer("middle", "")
            raw += line.removeprefix(b".") if line.startswith(b"..") else line
        number, good = len(self.script.messages) + 1, bool(self.recipients)
        answer = f"250 2.0.0 Ok: queued as S{number}" if good else "554 5.5.1 no valid recipients"
        if (await self.answer("dot", answer)).startswith("2"):
            self.script.messages.append(
                Received(self.sender, tuple(self.recipients), bytes(raw), (), self.secure, self.login)
            )
        self.sender, self.recipients = "", []

    async def line(self) -> bytes:
        while not self.lines:
            await self.flush()
            if not (data := await self.reader.read(1 << 16)):
                return b""
            *lines, self.rest = (self.rest + data).split(b"\n")
            self.lines.extend(line + b"\n" for line in lines)
        return self.lines.popleft()

    async def answer(self, point: str, good: str) -> str:
        """Do what the script says for this point; return the reply that was given, "" for none."""
        action = self.script.next(point)
        if action in {CLOSE, STALL, DRIP}:
            await self.flush()
        if action == CLOSE:
            raise HangUpError
        if action == STALL:
            self.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.Event().wait()
        while action == DRIP:
            self.writer.write(b"2")
            await asyncio.sleep(0.4)
        reply = {GOOD: good, GARBAGE: "\x00\x1b[2J what?"}.get(action, action)
        if reply:
            await self.say(reply)
        if action.startswith("421"):
            await self.flush()
            raise HangUpError
        return reply

    async def say(self, reply: str) -> None:
        self.replies += reply.encode() + b"\r\n"
        if self.script.pace != MERGED:
            await self.flush()

    async def flush(self) -> None:
        replies, self.replies = self.replies, b""
        step = 1 if self.script.pace == BYTES else len(replies) or 1
        for start in range(0, len(replies), step):
            self.writer.write(replies[start : start + step])
            await self.writer.drain()


def _with_more(words: Sequence[str]) -> Iterator[tuple[bool, str]]:
    yield from ((number < len(words) - 1, word) for number, word in enumerate(words))


def _path(text: str) -> str:
    found = re.search(r"<(.*?)>", text)
    return found[1] if found else ""


@asynccontextmanager
async def scripted_server(script: Script) -> AsyncIterator[int]:
    """Run a server that follows the script, and give its port."""
    talks: set[asyncio.Task[Any]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script.connections += 1
        task = asyncio.current_task()
        assert task
        talks.add(task)
        writers.append(writer)
        try:
            await Talk(script, reader, writer).run()
        except (HangUpError, OSError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            talks.discard(task)
            script.ended += 1
            writer.transport.close()

    listener = socket.create_server((HOST, 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that a body can stall
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio itself does it for some sockets
    context = script.certificate.server_context() if script.certificate and script.tls else None
    server = await asyncio.start_server(serve, sock=listener, limit=1 << 16, ssl=context)
    try:
        yield listener.getsockname()[1]
    finally:
        server.close()
        for talk in tuple(talks):
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        for _ in range(3):
            await asyncio.sleep(0)  # the turns of the loop in which aborted connections end
