"""Mail servers on 127.0.0.1: aiosmtpd, a scripted one that misbehaves as told, Postfix's smtp-sink."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Received:
    """One message that a server took, with its envelope; `at` is when, in seconds of a clock that goes on."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    options: tuple[str, ...] = ()
    secure: bool = False
    login: str = ""
    at: float = field(default_factory=time.monotonic)


@dataclass
class Inbox:
    """An aiosmtpd handler that keeps and counts all it is given."""

    messages: list[Received] = field(default_factory=list)
    connections: int = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        raw = envelope.original_content or b""
        login = session.auth_data.login.decode() if isinstance(session.auth_data, LoginPassword) else ""
        options = tuple(option.upper() for option in envelope.mail_options)
        taken = Received(
            envelope.mail_from or "", tuple(envelope.rcpt_tos), raw, options, bool(session.ssl), login
        )
        self.messages.append(taken)
        return f"250 2.0.0 Ok: queued as Q{len(self.messages):06X}"

    def counts(self) -> Mapping[str, int]:
        """How many messages each recipient got."""
        counted: dict[str, int] = defaultdict(int)
        for message in self.messages:
            for recipient in message.recipients:
                counted[recipient] += 1
        return counted


@asynccontextmanager
async def aiosmtpd_server(
    inbox: Inbox,
    *,
    tls: ssl.SSLContext | None = None,
    login: tuple[str, str] | None = None,
    smtputf8: bool = False,
) -> AsyncIterator[int]:
    """Run aiosmtpd and give its port. With `tls` it demands STARTTLS, with `login` also AUTH."""

    def authenticate(server: SMTP, session: Session, envelope: Envelope, how: str, data: Any) -> AuthResult:
        told = (data.login.decode(), data.password.decode())
        return AuthResult(success=told == login, handled=False, auth_data=data)

    opened: list[SMTP] = []

    def protocol() -> SMTP:
        inbox.connections += 1
        opened.append(
            SMTP(
                inbox,
                hostname="mail.example",
                enable_SMTPUTF8=smtputf8,
                tls_context=tls,
                require_starttls=tls is not None,
                auth_required=login is not None,
                authenticator=authenticate if login else None,
                loop=asyncio.get_running_loop(),
            )
        )
        return opened[-1]

    server = await asyncio.get_running_loop().create_server(protocol, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in opened:
            if connection.transport is not None:
                cast(asyncio.WriteTransport, connection.transport).abort()
        await asyncio.sleep(0.01)  # lets their tasks see it


@dataclass(frozen=True)
class Certificate:
    """A certificate of its own authority, made for one test."""

    pem: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem, self.key)
        return context


def make_certificate(folder: Path, *, host: str = HOST, valid: timedelta = timedelta(days=1)) -> Certificate:
    """Make a self-signed certificate; with a negative `valid` it has run out."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "commcast test")])
    known: x509.GeneralName = x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
    start = datetime.now(UTC) - timedelta(days=2)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(datetime.now(UTC) + valid)
        .add_extension(x509.SubjectAlternativeName([known]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    made.pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return made


CLOSE = "close"  # hang up without a word
STALL = "stall"  # say nothing for ever
GARBAGE = "garbage"  # bytes that are no reply
DRIP = "drip"  # a reply that never ends
GOOD = "good"  # what a healthy server says


@dataclass
class Script:
    """What the scripted server does at each point, in turn, and then what a healthy one does.

    Points: connect ehlo helo starttls auth mail rcpt data body dot rset quit. An action is a reply
    ("550 5.1.1 no"), or one of CLOSE, STALL, GARBAGE, DRIP, GOOD. "body" is the moment after 354 in which
    nothing was read yet.
    """

    actions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    extensions: Sequence[str] = ("SIZE 30000000", "8BITMIME")
    certificate: Certificate | None = None
    messages: list[Received] = field(default_factory=list)
    spoken: list[str] = field(default_factory=list)
    connections: int = 0
    used: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def next(self, point: str) -> str:
        done, planned = self.used[point], self.actions.get(point, ())
        self.used[point] += 1
        return planned[done] if done < len(planned) else GOOD


class _HangUpError(Exception):
    """The script says to close."""


class _Talk:
    """One connection of the scripted server."""

    def __init__(self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.script, self.reader, self.writer = script, reader, writer
        self.sender, self.recipients, self.secure, self.login = "", list[str](), False, ""

    async def run(self) -> None:
        await self.answer("connect", "220 mail.example ESMTP")
        while line := await self.reader.readline():
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            self.script.spoken.append(text)
            if await self.obey(text) == "quit":
                return

    async def obey(self, text: str) -> str:
        verb = text.split(" ")[0].lower()
        if verb == "ehlo":
            offered = ["mail.example", *self.script.extensions]
            lines = [f"250{'-' if more else ' '}{word}" for more, word in _with_more(offered)]
            await self.answer("ehlo", "\r\n".join(lines))
        elif verb == "starttls":
            await self.answer("starttls", "220 2.0.0 ready")
            assert self.script.certificate
            await self.writer.start_tls(self.script.certificate.server_context())
            self.secure = True
        elif verb == "auth":
            self.login = text
            await self.answer("auth", "235 2.7.0 ok")
        elif verb == "mail":
            self.sender, self.recipients = _path(text), []
            await self.answer("mail", "250 2.1.0 ok")
        elif verb == "rcpt":
            self.recipients.append(_path(text))
            await self.answer("rcpt", "250 2.1.5 ok")
        elif verb == "data":
            if await self.answer("data", "354 go on"):
                await self.take()
        else:
            await self.answer(verb, "221 2.0.0 bye" if verb == "quit" else "250 2.0.0 ok")
        return verb

    async def take(self) -> None:
        await self.answer("body", "")
        raw = b""
        while (line := await self.reader.readline()) != b".\r\n":
            if not line:
                raise _HangUpError
            raw += line.removeprefix(b".") if line.startswith(b"..") else line
        number = len(self.script.messages) + 1
        if await self.answer("dot", f"250 2.0.0 Ok: queued as S{number}"):
            self.script.messages.append(
                Received(self.sender, tuple(self.recipients), raw, (), self.secure, self.login)
            )

    async def answer(self, point: str, good: str) -> bool:
        action = self.script.next(point)
        if action == CLOSE:
            raise _HangUpError
        if action == STALL:
            await asyncio.Event().wait()
        while action == DRIP:
            self.writer.write(b"2")
            await asyncio.sleep(0.01)
        reply = {GOOD: good, GARBAGE: "\x00\x1b[2J what?"}.get(action, action)
        if reply:
            self.writer.write(reply.encode() + b"\r\n")
            await self.writer.drain()
        if action.startswith("421"):
            raise _HangUpError
        return action == GOOD


def _with_more(words: Sequence[str]) -> Iterator[tuple[bool, str]]:
    yield from ((number < len(words) - 1, word) for number, word in enumerate(words))


def _path(text: str) -> str:
    found = re.search(r"<(.*?)>", text)
    return found[1] if found else ""


@asynccontextmanager
async def scripted_server(script: Script) -> AsyncIterator[int]:
    """Run a server that follows the script, and give its port."""
    talks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script.connections += 1
        task = asyncio.current_task()
        assert task
        talks.add(task)
        try:
            await _Talk(script, reader, writer).run()
        except (_HangUpError, OSError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            talks.discard(task)
            writer.transport.close()

    listener = socket.create_server((HOST, 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that a body can stall
    server = await asyncio.start_server(serve, sock=listener, limit=1 << 16)
    try:
        yield listener.getsockname()[1]
    finally:
        server.close()
        for talk in tuple(talks):
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


@dataclass(frozen=True)
class Sink:
    """A running smtp-sink: its port, and the folder it keeps every message in."""

    port: int
    folder: Path

    def messages(self) -> list[Received]:
        """Return what it took; the envelope stands in headers of its own."""
        taken = []
        for path in sorted(self.folder.rglob("mail.*")):
            raw = path.read_bytes()
            head = raw.partition(b"\n\n")[0]
            sender = re.search(rb"^X-Mail-Args: <(.*?)>", head, re.M)
            recipients = re.findall(rb"^X-Rcpt-Args: <(.*?)>", head, re.M)
            taken.append(
                Received(sender[1].decode() if sender else "", tuple(r.decode() for r in recipients), raw)
            )
        return taken


@contextmanager
def smtp_sink(*options: str) -> Iterator[Sink]:
    """Run Postfix's smtp-sink, which keeps all it takes; without it the test fails."""
    binary = shutil.which("smtp-sink", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if binary is None:
        pytest.fail("smtp-sink is missing; install it: apt-get install --no-install-recommends postfix")
    # Started by root it becomes nobody, who cannot look into pytest's own folders.
    user = ("-u", "nobody") if os.geteuid() == 0 else ()
    port = _free_port()
    with TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        place = ("-R", "/", "-d", f"{name}/mail.") if user else ("-d", f"{name}/mail.")
        with subprocess.Popen([binary, "-4", *user, *place, *options, f"{HOST}:{port}", "128"]) as process:
            try:
                _wait_for(port, process)
                yield Sink(port, Path(name))
            finally:
                process.terminate()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection((HOST, port), timeout=5).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
    pytest.fail("smtp-sink does not listen")
