"""One connection to an SMTP server: opened, encrypted, logged in, and one mail after another handed over."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass
from typing import Self, cast

import aiosmtplib

from commcast.adapters import mime
from commcast.adapters.smtp_outcomes import OPENING, Answer, Stage, judge, reply_line
from commcast.config_providers import SmtpProvider
from commcast.message import Email, OutcomeKind

_FINAL_DOT = b".\r\n"


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail ready for the wire: `body` is dot-stuffed and ends with a line end, before the final dot."""

    sender: str
    to: str
    body: bytes

    @classmethod
    def of(cls, email: Email) -> Self:
        """Raises ValueError where the message cannot be put into a mail."""
        body = re.sub(rb"(?m)^\.", b"..", mime.build(email))
        body += b"" if body.endswith(b"\r\n") else b"\r\n"
        return cls(mime.wire_address(email.sender.address), mime.wire_address(email.to.address), body)

    @property
    def needs_smtputf8(self) -> bool:
        return not (self.sender + self.to).isascii()


class Connection:
    """One connection and the stage that its dialogue has reached.

    `reused` is set by the pool once a letter has gone over it.
    """

    def __init__(self, provider: SmtpProvider, password: str, context: ssl.SSLContext | None) -> None:
        self._provider, self._password, self._context = provider, password, context
        self._timeout = provider.timeout.total_seconds()
        self._client: aiosmtplib.SMTP | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._needs_reset = False
        self.stage = Stage.CONNECT
        self.reused = False

    async def carry(self, letter: Letter, until: float) -> Answer:
        """Hand one letter over, by `until` in the loop's own time. Never raises for what the network does."""
        try:
            async with asyncio.timeout_at(until):
                client = self._client or await self._open()
                reply = await self._transact(client, letter)
        except Exception as error:  # whatever the library makes of what a server sends: it is one answer
            answer = Answer(self.stage, _name(error, self.stage), _words(error))
        except BaseException:
            self.abort()
            raise
        else:
            answer = Answer(self.stage, reply_line(reply.code, reply.message), reply.message)
        self._needs_reset = judge(answer).kind is not OutcomeKind.ACCEPTED
        return answer

    async def quit(self, seconds: float) -> None:
        """Say QUIT and close; whatever the server does, it is closed after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                if self._client is not None:
                    await self._client.quit()
        except (aiosmtplib.SMTPException, OSError, ValueError):
            pass  # it is closed either way
        finally:
            self.abort()

    def abort(self) -> None:
        """Close at once, dropping what is still in our buffer: a plain close would wait for the server."""
        if self._transport is not None:
            self._transport.abort()
        if self._client is not None:
            self._client.close()
        self._client = None

    async def _open(self) -> aiosmtplib.SMTP:
        provider = self._provider
        self.stage = Stage.CONNECT
        sock = await _dial(provider.host, provider.port, self._timeout)
        client = self._client = aiosmtplib.SMTP(
            hostname=provider.host,
            sock=sock,
            local_hostname=provider.hello or _literal(sock),
            timeout=self._timeout,
            use_tls=provider.security == "tls",
            start_tls=False,
            tls_context=self._context,
        )
        await client.connect()
        self._transport = cast(asyncio.WriteTransport, client.transport)
        await self._greet(client)
        if provider.security == "starttls":
            await self._encrypt(client)
        if provider.user:
            await self._login(client)
        self._prepare_writing(client)
        return client

    async def _greet(self, client: aiosmtplib.SMTP) -> None:
        self.stage = Stage.HELLO
        try:
            await client.ehlo()
        except aiosmtplib.SMTPHeloError as error:
            if error.code not in {500, 502}:  # only a server that does not know the word gets the old one
                raise
            await client.helo()

    async def _encrypt(self, client: aiosmtplib.SMTP) -> None:
        self.stage = Stage.TLS
        if not client.supports_extension("starttls"):
            raise _MissingError
        await client.starttls()
        self._transport = cast(asyncio.WriteTransport, client.transport)
        await self._greet(client)  # what was offered before counts no more (RFC 3207 4.2)

    async def _login(self, client: aiosmtplib.SMTP) -> None:
        """Log in by one method: the library's `login` tries all, which is several failed logins at once."""
        self.stage = Stage.AUTH
        methods = {"plain": client.auth_plain, "login": client.auth_login, "cram-md5": client.auth_crammd5}
        for name, method in methods.items():
            if name in client.server_auth_methods:
                await method(self._provider.user, self._password)
                return
        raise _MissingError

    def _prepare_writing(self, client: aiosmtplib.SMTP) -> None:
        """Let `drain` wait until our buffer is empty, so that a body that stalls ends before its dot."""
        if self._transport is None or client.protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        # Not 0: asyncio's TLS transport pauses at "size >= high", with an empty buffer for ever.
        self._transport.set_write_buffer_limits(high=1, low=0)
        loop = asyncio.get_running_loop()
        self._writer = asyncio.StreamWriter(self._transport, client.protocol, None, loop)

    async def _transact(self, client: aiosmtplib.SMTP, letter: Letter) -> aiosmtplib.SMTPResponse:
        if self._needs_reset:
            self.stage = Stage.RESET
            await client.rset()
        self.stage = Stage.MAIL
        await _command(client, b"MAIL", b"FROM:<%b>" % letter.sender.encode(), *_options(client, letter))
        self.stage = Stage.RCPT
        await _command(client, b"RCPT", b"TO:<%b>" % letter.to.encode())
        self.stage = Stage.DATA
        await _command(client, b"DATA", expect=3)
        return await self._write(client, letter.body)

    async def _write(self, client: aiosmtplib.SMTP, body: bytes) -> aiosmtplib.SMTPResponse:
        """Write the body, and only when it has left our buffer the final dot.

        The library's `data` writes both at once, and raises the same error for a connection lost at DATA, in
        the body and after the dot; so the two steps are done here, with its protocol.
        """
        self.stage = Stage.BODY
        protocol, writer = client.protocol, self._writer
        if protocol is None or writer is None:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        protocol.write(body)
        async with asyncio.timeout(self._timeout):
            await writer.drain()
        if not protocol.is_connected:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        self.stage = Stage.DOT  # first of all: from here on the dot may have left
        protocol.write(_FINAL_DOT)
        return await protocol.read_response(timeout=self._timeout)


class _MissingError(Exception):
    """The server does not offer what we need."""


async def _command(client: aiosmtplib.SMTP, *words: bytes, expect: int = 2) -> None:
    reply = await client.execute_command(*words)
    if reply.code // 100 != expect:
        raise aiosmtplib.SMTPResponseException(reply.code, reply.message)


def _options(client: aiosmtplib.SMTP, letter: Letter) -> list[bytes]:
    """Return what to add to MAIL. Our mails are ASCII: only a non-ASCII address needs eight bits."""
    options = []
    if client.supports_extension("size"):
        options.append(b"SIZE=%d" % len(letter.body))
    if letter.needs_smtputf8:
        if not (client.supports_extension("smtputf8") and client.supports_extension("8bitmime")):
            raise _MissingError
        options += [b"BODY=8BITMIME", b"SMTPUTF8"]
    return options


async def _dial(host: str, port: int, timeout: float) -> socket.socket:
    """Connect to the first address that answers; each gets its share of the time, against black holes."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    last = OSError("no address")
    for family, kind, proto, _, address in found:
        sock = socket.socket(family, kind, proto)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(timeout / len(found)):
                await loop.sock_connect(sock, address)
            return sock
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
    raise last


def _literal(sock: socket.socket) -> str:
    """Return our own address as RFC 5321 4.1.3 writes it: looking up our name is slow, and tells it."""
    address = str(sock.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _name(error: Exception, stage: Stage) -> str:
    """Name what came instead of a good reply, in the words of `Answer.said`."""
    match _root(error):
        case _MissingError():
            return "missing"
        case aiosmtplib.SMTPResponseException() as refusal:
            return reply_line(refusal.code, refusal.message) if refusal.code > 0 else "garbage"
        case TimeoutError():
            return "silence"
        case socket.gaierror() | UnicodeError() if stage is Stage.CONNECT:
            return "unresolved"
        case ssl.SSLCertVerificationError():
            return "certificate"
        case ssl.SSLError() if stage in OPENING:
            return "handshake"
        case aiosmtplib.SMTPServerDisconnected():
            return "lost"
        case OSError():
            return "unreachable" if stage is Stage.CONNECT else "lost"
    return "garbage"


def _words(error: Exception) -> str:
    match _root(error):
        case aiosmtplib.SMTPResponseException() as refusal:
            return refusal.message
        case ssl.SSLCertVerificationError() as refusal:
            return refusal.verify_message
        case OSError() as failure if not isinstance(failure, (aiosmtplib.SMTPException, ssl.SSLError)):
            return failure.strerror or ""
    return ""


def _root(error: Exception) -> BaseException:
    """Return what lies under the library's own error for a connection that could not be made."""
    wrapped = isinstance(error, aiosmtplib.SMTPConnectError) and error.__cause__ is not None
    return cast(BaseException, error.__cause__) if wrapped else error
