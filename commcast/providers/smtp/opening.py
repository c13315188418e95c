"""Opens a connection to an SMTP server: dial, greet, encrypt, log in."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import cast

import aiosmtplib

from commcast.config.settings import SmtpProvider
from commcast.providers.smtp.letter import Offered
from commcast.providers.smtp.outcomes import OPENING, SmtpStage, reply_line


class MissingError(Exception):
    """The server does not offer what we need."""


class Opening:
    """One connection being opened, and the stage it has reached."""

    def __init__(self, provider: SmtpProvider, password: str, context: ssl.SSLContext | None) -> None:
        self._provider, self._password, self._context = provider, password, context
        self._client: aiosmtplib.SMTP | None = None
        self._transport: asyncio.WriteTransport | None = None
        self.stage = SmtpStage.CONNECT

    async def run(self) -> aiosmtplib.SMTP:
        """Return the client, ready for the first mail. If it raises (see `name_of`), everything is closed."""
        try:
            return await self._open()
        except BaseException:
            close(self._client, self._transport)
            raise

    async def _open(self) -> aiosmtplib.SMTP:
        provider = self._provider
        timeout = provider.timeout.total_seconds()
        sock = await _dial(provider.host, provider.port, timeout)
        client = self._client = aiosmtplib.SMTP(
            hostname=provider.host,
            sock=sock,
            local_hostname=provider.hello or _literal(sock),
            timeout=timeout,
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
        if client.protocol is None or not client.protocol.is_connected:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        return client

    async def _greet(self, client: aiosmtplib.SMTP) -> None:
        self.stage = SmtpStage.HELLO
        try:
            await client.ehlo()
        except aiosmtplib.SMTPHeloError as error:
            if error.code not in {500, 502}:  # only a server that does not know EHLO gets HELO
                raise
            await client.helo()

    async def _encrypt(self, client: aiosmtplib.SMTP) -> None:
        self.stage = SmtpStage.TLS
        if not client.supports_extension("starttls"):
            raise MissingError
        await client.starttls()
        self._transport = cast(asyncio.WriteTransport, client.transport)
        await self._greet(client)  # earlier offers no longer count (RFC 3207 4.2)

    async def _login(self, client: aiosmtplib.SMTP) -> None:
        """Log in by one method: the library's `login` tries all of them, which is several failed logins."""
        self.stage = SmtpStage.AUTH
        methods = {"plain": client.auth_plain, "login": client.auth_login, "cram-md5": client.auth_crammd5}
        for name, method in methods.items():
            if name in client.server_auth_methods:
                await method(self._provider.user, self._password)
                return
        raise MissingError


def offered(client: aiosmtplib.SMTP) -> Offered:
    """Return what the server's last answer to EHLO offers; SMTPUTF8 needs 8BITMIME (RFC 6531 3.1)."""
    has = client.supports_extension
    return Offered(has("pipelining"), has("size"), has("smtputf8") and has("8bitmime"))


def close(client: aiosmtplib.SMTP | None, transport: asyncio.WriteTransport | None) -> None:
    """Close at once and drop what is still in our buffer: a plain close would wait for the server."""
    if transport is not None:
        transport.abort()
    if client is not None:
        client.close()


async def _dial(host: str, port: int, timeout: float) -> socket.socket:
    """Connect to the first address that answers; each gets its share of the time, in case one never does."""
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
    """Return our own address as RFC 5321 4.1.3 writes it: looking up our name is slow and reveals it."""
    address = str(sock.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def name_of(error: Exception, stage: SmtpStage) -> str:
    """Return what came instead of a good reply, in the words of `Answer.said`."""
    match _root(error):
        case MissingError():
            return "missing"
        case aiosmtplib.SMTPResponseException() as refusal:
            return reply_line(refusal.code, refusal.message) if refusal.code > 0 else "garbage"
        case TimeoutError():
            return "silence"
        case socket.gaierror() | UnicodeError() if stage is SmtpStage.CONNECT:
            return "unresolved"
        case ssl.SSLCertVerificationError():
            return "certificate"
        case ssl.SSLError() if stage in OPENING:
            return "handshake"
        case aiosmtplib.SMTPServerDisconnected():
            return "lost"
        case OSError():
            return "unreachable" if stage is SmtpStage.CONNECT else "lost"
    return "garbage"


def words_of(error: Exception) -> str:
    match _root(error):
        case aiosmtplib.SMTPResponseException() as refusal:
            return refusal.message
        case ssl.SSLCertVerificationError() as refusal:
            return refusal.verify_message
        case OSError() as failure if not isinstance(failure, (aiosmtplib.SMTPException, ssl.SSLError)):
            return failure.strerror or ""
    return ""


def _root(error: Exception) -> BaseException:
    """Return the cause of the library's own error for a connection that could not be made."""
    wrapped = isinstance(error, aiosmtplib.SMTPConnectError) and error.__cause__ is not None
    return cast(BaseException, error.__cause__) if wrapped else error
