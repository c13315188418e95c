"""Servers on 127.0.0.1: an HTTP server under the test's control, an SMTP server, and certificates."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import chain
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import parse_qsl, urlsplit

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: closing sends a reset


@dataclass(frozen=True)
class Exchange:
    """One request as it came. Names in `headers` are lower-case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def form(self) -> dict[str, str]:
        """The fields of a form that was posted."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    def json(self) -> Any:
        return json.loads(self.body)


Body = bytes | str | Mapping[str, Any] | list[Any]


class Writer:
    """The answering side of one connection. `ended` is set when the server ends."""

    def __init__(self, stream: asyncio.StreamWriter, ended: asyncio.Event) -> None:
        self._stream, self.ended = stream, ended
        self.closed = False

    async def raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._stream.write(data)
        await self._stream.drain()

    async def answer(
        self, status: int = 200, body: Body = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Write a whole answer. A mapping or list goes as JSON."""
        await self.raw(_answer(status, body, headers))

    def close(self) -> None:
        """End the connection as usual (FIN)."""
        self.closed = True
        self._stream.close()

    def reset(self) -> None:
        """End the connection with a reset (RST)."""
        self.closed = True
        sock = self._stream.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._stream.transport.abort()


Handler = Callable[[Exchange, Writer], Awaitable[None]]


@dataclass(eq=False)
class HttpStandIn:
    """The server. `exchanges` are whole requests, `connections` counts those accepted, `open` those served.

    `tls` serves https. `take` closes each connection after that many bytes of the request have been read,
    with a reset if `rude` is set: such a request is in no exchange.
    """

    handler: Handler
    _: KW_ONLY
    tls: ssl.SSLContext | None = None
    take: int | None = None
    rude: bool = False

    def __post_init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.faults: list[BaseException] = []
        self.connections = self.open = self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended, self._news = asyncio.Event(), asyncio.Condition()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        self._ended, self._news = asyncio.Event(), asyncio.Condition()
        self._server = await asyncio.start_server(self._accept, HOST, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._server is not None
        self._ended.set()
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.faults and kind is None:
            raise self.faults[0]

    async def requested(self, count: int = 1) -> None:
        """Wait until `count` whole requests have come (only in the server's own loop)."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.exchanges) >= count)

    async def _accept(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, stream)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass  # the other side went away: that is what many tests make it do
        except Exception as error:
            self.faults.append(error)
        finally:
            self._tasks.discard(task)
            self.open -= 1
            stream.close()

    async def _serve(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        writer = Writer(stream, self._ended)
        if self.take is not None:
            await reader.readexactly(self.take)
            writer.reset() if self.rude else writer.close()
            return
        while not writer.closed:
            exchange = await _read(reader)
            async with self._news:
                self.exchanges.append(exchange)
                self._news.notify_all()
            await self.handler(exchange, writer)
            if exchange.headers.get("connection", "").lower() == "close":
                return


@contextmanager
def threaded(server: HttpStandIn) -> Iterator[HttpStandIn]:
    """Run the server in a thread of its own, for tests whose sender is another process."""
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        end = asyncio.Event()
        # Its faults are raised below, where the test sees them.
        with suppress(Exception):
            async with server:
                ready.set_result((asyncio.get_running_loop(), end))
                await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    loop, end = ready.result(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(10)
    if server.faults:
        raise server.faults[0]


def answer(status: int = 200, body: Body = b"", headers: Mapping[str, str] | None = None) -> Handler:
    """Answer every request alike; the connection stays open unless the other side closes it."""

    async def handle(exchange: Exchange, writer: Writer) -> None:
        await writer.answer(status, body, headers)

    return handle


def in_turn(*handlers: Handler) -> Handler:
    """Serve each request by the next handler, and all further ones by the last."""
    waiting = list(handlers)

    async def handle(exchange: Exchange, writer: Writer) -> None:
        this = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        await this(exchange, writer)

    return handle


def redirect(url: str, status: int = 302) -> Handler:
    """Send to another server; give it a `HttpStandIn(answer())` and look whether anything came."""
    return answer(status, "moved", {"Location": url})


def raw(data: bytes) -> Handler:
    """Answer with these bytes and close."""

    async def handle(exchange: Exchange, writer: Writer) -> None:
        await writer.raw(data)
        writer.close()

    return handle


def half(status: int = 202, body: bytes = b'{"half": ') -> Handler:
    """Promise more than is sent, and close."""
    return raw(b"HTTP/1.1 %d Words\r\nContent-Length: 1000\r\n\r\n%s" % (status, body))


async def hang(exchange: Exchange, writer: Writer) -> None:
    """Never answer."""
    await writer.ended.wait()
    writer.close()


async def reset(exchange: Exchange, writer: Writer) -> None:
    """Reset the connection when the whole request is there."""
    writer.reset()


async def close(exchange: Exchange, writer: Writer) -> None:
    """Close the connection when the whole request is there."""
    writer.close()


# Something that is not HTTP.
garbage = raw(b"\x00\xff\xfe 250 OK\r\n\x1b]0;hello\x07\r\n\r\n")


def endlessly(piece: bytes, head: bytes = b"") -> Handler:
    """Answer 202 with pieces for ever, of the headers unless another `head` ends them."""

    async def handle(exchange: Exchange, writer: Writer) -> None:
        await writer.raw(b"HTTP/1.1 202 Accepted\r\nX-Message-Id: never\r\n" + head)
        while not writer.ended.is_set():
            await writer.raw(piece)

    return handle


endless = endlessly(b"x" * 65536, b"\r\n")
endless_head = endlessly(b"X-Filler: x\r\n" * 5000)


async def drip(exchange: Exchange, writer: Writer) -> None:
    """Answer 202 so slowly that each single read succeeds and the whole never comes."""
    for byte in _answer(202, b"x" * 5000, {"X-Message-Id": "never"}):
        await writer.raw(bytes([byte]))
        with suppress(TimeoutError):
            await asyncio.wait_for(writer.ended.wait(), 0.05)
            return


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    """Give the URL of a port at which nobody listens."""
    with socket.socket() as held:
        held.bind((HOST, 0))  # bound, never listening: connections are refused, and nobody else gets it
        yield f"http://{HOST}:{held.getsockname()[1]}"


def _answer(status: int, body: Body, headers: Mapping[str, str] | None) -> bytes:
    head = dict(headers or {})
    if isinstance(body, (Mapping, list)):
        head = {"Content-Type": "application/json", **head}
        body = json.dumps(body)
    data = body.encode() if isinstance(body, str) else body
    head["Content-Length"] = str(len(data))
    lines = [f"HTTP/1.1 {status} Words", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + data


async def _read(reader: asyncio.StreamReader) -> Exchange:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Exchange(method, target, headers, body)


@dataclass(frozen=True)
class Received:
    """One message that a server took, with its envelope; `at` is when, in seconds of a clock that goes on."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    secure: bool = False
    login: str = ""
    at: float = field(default_factory=time.monotonic)


@dataclass
class Inbox:
    """An aiosmtpd handler that keeps and counts all it is given."""

    messages: list[Received] = field(default_factory=list)
    pipelining: bool = False

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [responses[0], *(["250-PIPELINING"] if self.pipelining else []), *responses[1:]]

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        raw = envelope.original_content or b""
        login = session.auth_data.login.decode() if isinstance(session.auth_data, LoginPassword) else ""
        to = tuple(envelope.rcpt_tos)
        self.messages.append(Received(envelope.mail_from or "", to, raw, bool(session.ssl), login))
        return f"250 2.0.0 Ok: queued as Q{len(self.messages):06X}"

    def counts(self) -> Counter[str]:
        """How many messages each recipient got."""
        return Counter(chain.from_iterable(message.recipients for message in self.messages))


@asynccontextmanager
async def aiosmtpd_server(
    inbox: Inbox, *, tls: ssl.SSLContext | None = None, login: tuple[str, str] | None = None
) -> AsyncIterator[int]:
    """Run aiosmtpd and give its port. With `tls` it demands STARTTLS, with `login` also AUTH."""

    def authenticate(server: SMTP, session: Session, envelope: Envelope, how: str, data: Any) -> AuthResult:
        told = (data.login.decode(), data.password.decode())
        return AuthResult(success=told == login, handled=False, auth_data=data)

    opened: list[SMTP] = []

    def protocol() -> SMTP:
        how: dict[str, Any] = {
            "tls_context": tls,
            "require_starttls": tls is not None,
            "auth_required": login is not None,
        }
        opened.append(SMTP(inbox, hostname="mail.example", loop=loop, authenticator=check, **how))
        return opened[-1]

    loop, check = asyncio.get_running_loop(), authenticate if login else None
    server = await loop.create_server(protocol, HOST, 0)
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
    encoding, how = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    made.key.write_bytes(key.private_bytes(encoding, how, serialization.NoEncryption()))
    return made
