"""SMTP servers on 127.0.0.1: one that follows a script, and a whole Postfix."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp
from typing import Any, ClassVar

import pytest

from commcast.config.settings import SmtpProvider
from commcast.providers.smtp.adapter import SmtpAdapter
from tests.support.reader import as_root
from tests.support.servers.http import HOST, Certificate, Received

CLOSE = "close"  # hang up without a word
STALL = "stall"  # say nothing for ever
GARBAGE = "garbage"  # bytes that are no reply
DRIP = "drip"  # a reply that never ends
GOOD = "good"  # what a healthy server says

# How replies go out: each by itself, together as far as the commands are at hand, or byte by byte.
EACH, MERGED, BYTES = "each", "merged", "bytes"
PIPELINING = ("PIPELINING", "SIZE 30000000", "8BITMIME")
PASSWORD = "correct horse battery"
STEP = timedelta(seconds=1.5)  # if something stalls; the idle clock lets it pass only while nothing happens


def relay(
    port: int, security: str = "none", timeout: timedelta = timedelta(seconds=20), **settings: Any
) -> SmtpProvider:
    """Return the settings of a server on this machine; `timeout` may be a part of a second."""
    made = SmtpProvider.model_validate({"host": HOST, "port": port, "security": security, **settings})
    return made.model_copy(update={"timeout": timeout})


@dataclass
class Script:
    """What the scripted server does at each point, in turn, and then what a healthy one does.

    Points: connect ehlo helo starttls auth mail rcpt data body middle dot rset quit. An action is a reply
    ("550 5.1.1 no"), or one of CLOSE, STALL, GARBAGE, DRIP, GOOD. "body" is right after 354, "middle" after
    the body's first line. With `wants_empty` it says 354 even if no recipient was accepted. With `tls` it
    speaks TLS from the first byte, otherwise after STARTTLS, if there is a `certificate`.
    """

    also_offered: ClassVar[Sequence[str]] = ()  # besides each script's own extensions

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
            *lines, last = offered
            await self.answer("ehlo", "".join(f"250-{line}\r\n" for line in lines) + f"250 {last}")
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
            to = tuple(self.recipients)
            self.script.messages.append(Received(self.sender, to, bytes(raw), self.secure, self.login))
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


@asynccontextmanager
async def adapter_for(script: Script, **settings: Any) -> AsyncIterator[SmtpAdapter]:
    """An adapter with one connection to it, by TLS if it has a certificate, impatient if it stalls."""
    settings = {"connections": 1, **settings}
    if script.certificate:
        settings = {"security": "starttls", "ca_file": str(script.certificate.pem), **settings}
    if {STALL, DRIP} & {action for actions in script.actions.values() for action in actions}:
        settings = {"timeout": STEP, **settings}
    async with scripted_server(script) as port, SmtpAdapter(relay(port, **settings), PASSWORD) as adapter:
        yield adapter


_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
enable_long_queue_ids = yes
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = mail.example
mydestination =
alias_maps =
virtual_mailbox_domains = private.example
virtual_mailbox_maps = regexp:{folder}/readers
virtual_transport = discard:
in_flow_delay = 0
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate.pem}
smtpd_tls_key_file = {certificate.key}
smtpd_discard_ehlo_keywords = {hidden}
"""
_MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


@contextmanager
def real_postfix(
    certificate: Certificate, hidden: str = ""
) -> Iterator[tuple[int, Callable[[int], Mapping[str, int]]]]:
    """Run a whole Postfix apart from the machine's own; it offers STARTTLS, and all but what is `hidden`.

    It knows readerN@private.example and throws their email away. Give its port, and what tells how often each
    reader's was delivered, once that many deliveries are logged.
    """
    postfix, root = [*as_root(), _tool("postfix")], as_root()
    port, folder = free_port(), Path(mkdtemp(prefix="commcast-postfix-"))

    def delivered(at_least: int) -> Mapping[str, int]:
        until, sent = time.monotonic() + 30, list[str]()
        while len(sent) < at_least and time.monotonic() < until:
            sent = re.findall(r"to=<([^>]*)>, .*status=sent", (folder / "log").read_text())
            time.sleep(0.05)
        return Counter(sent)

    try:
        folder.chmod(0o755)
        for part in ("conf", "queue", "data"):
            (folder / part).mkdir()
        (folder / "readers").write_text("/^reader[0-9]+@private\\.example$/ x\n")
        made = _MAIN_CF.format(folder=folder, certificate=certificate, hidden=hidden)
        (folder / "conf" / "main.cf").write_text(made)
        (folder / "conf" / "master.cf").write_text(_MASTER_CF.format(port=port))
        subprocess.run([*root, "chown", "-R", "root:", str(folder)], check=True)
        subprocess.run([*root, "chown", "postfix", str(folder / "data")], check=True)
        _order(postfix, folder, "start")
        try:
            with socket.create_connection((HOST, port), timeout=30) as probe:
                if not probe.recv(200).startswith(b"220 "):
                    pytest.fail(f"Postfix does not greet: {(folder / 'log').read_text()}")
            yield port, delivered
        finally:
            _order(postfix, folder, "stop")
    finally:  # what Postfix leaves behind belongs to others; only root can remove it
        subprocess.run([*root, "rm", "-rf", str(folder)], check=True)


def _order(postfix: Sequence[str], folder: Path, order: str) -> None:
    with TemporaryFile("w+") as words:  # a file, since the daemon would keep a pipe open for ever
        command = [*postfix, "-c", str(folder / "conf"), order]
        code = subprocess.run(command, stdout=words, stderr=words, timeout=60, check=False).returncode
        words.seek(0)
        if code:
            log = folder / "log"
            pytest.fail(f"postfix {order}: {words.read()}{log.read_text() if log.exists() else ''}")


def _tool(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.fail(f"{name} is missing; install it: apt-get install --no-install-recommends postfix")
    return found


def free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])
