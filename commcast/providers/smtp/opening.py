"""Opens a connection to an SMTP server: dial, greet, encrypt, log in."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import cast

import aiosmtplib

from commcast.config.settings import SmtpProvider, is_loopback
from commcast.errors import TryAgain
from commcast.model.message import Blame
from commcast.providers.base import Refused
from commcast.providers.masking import masked
from commcast.providers.smtp.outcomes import Answer, SmtpStage, judge, reply_line


class MissingError(Exception):
    """The server does not offer what we need."""


class Opening:
    """A connection that is being opened, and the stage it has reached."""

    def __init__(self, provider: SmtpProvider, password: str, context: ssl.SSLContext | None) -> None:
        self._provider, self._password, self._context = provider, password, context
        self._client: aiosmtplib.SMTP | None = None
        self._transport: asyncio.WriteTransport | None = None
        self.stage = SmtpStage.CONNECT

    async def run(self) -> aiosmtplib.SMTP:
        """Return the client, ready for the first email. If this raises (see `answer`), all is closed."""
        try:
            return await self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close at once and drop what is still in our buffer: an orderly close would wait for the server."""
        if self._transport is not None:
            self._transport.abort()
        if self._client is not None:
            self._client.close()

    def answer(self, error: Exception) -> Answer:
        """Return what an error of `run` means: what came instead of a good reply, and the server's words."""
        if isinstance(error, aiosmtplib.SMTPConnectError) and isinstance(error.__cause__, Exception):
            error = error.__cause__  # the library's own error hides it
        said, words = "garbage", str(getattr(error, "strerror", None) or "")
        match error:
            case MissingError():
                said = "missing"
            case aiosmtplib.SMTPResponseException(code=code, message=words):
                said = reply_line(code, words) if code > 0 else "garbage"
            case TimeoutError():
                said = "silence"
            case socket.gaierror() | UnicodeError() if self.stage is SmtpStage.CONNECT:
                said = "unresolved"
            case ssl.SSLCertVerificationError(verify_message=words):
                said = "certificate"
            case ssl.SSLError():
                said, words = "handshake", ""
            case aiosmtplib.SMTPServerDisconnected():
                said = "lost"
            case OSError():
                said = "unreachable" if self.stage is SmtpStage.CONNECT else "lost"
        return Answer(self.stage, said, masked(words))

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
            if error.code not in {500, 502}:  # HELO is only for a server that doesn't know EHLO
                raise
            await client.helo()

    async def _encrypt(self, client: aiosmtplib.SMTP) -> None:
        self.stage = SmtpStage.TLS
        if not client.supports_extension("starttls"):
            raise MissingError
        await client.starttls()
        self._transport = cast(asyncio.WriteTransport, client.transport)
        await self._greet(client)  # what was offered before TLS no longer counts (RFC 3207 4.2)

    async def _login(self, client: aiosmtplib.SMTP) -> None:
        """Log in by one method: the library's `login` tries them all, and each would be a failed login."""
        self.stage = SmtpStage.AUTH
        methods = {"plain": client.auth_plain, "login": client.auth_login, "cram-md5": client.auth_crammd5}
        for name, method in methods.items():
            if name in client.server_auth_methods:
                await method(self._provider.user, self._password)
                return
        raise MissingError


def trouble(provider: SmtpProvider, answer: Answer) -> Refused | TryAgain:
    """Return what keeps a connection from opening, and what to do. No word of the server's is in it.

    Its reply to a login may contain the login, and any other what it was told earlier.
    """
    rule, own = judge(answer), answer.said in {"unresolved", "unreachable", "certificate"}
    said = answer.text[:80] if own else answer.said if answer.said[0].isdigit() else ""
    is_ours = rule.blame is Blame.ACCOUNT
    remedy = 'check host, port, security ("tls" for port 465, "starttls" for 587), and the network'
    if answer.said == "certificate":
        remedy = 'write ca_file = "…" with its CA certificates, or correct host'
    elif is_ours and answer.stage is SmtpStage.AUTH:
        remedy = "check user and COMMCAST_SMTP_PASSWORD"
    elif is_ours:
        remedy = 'write security = "tls" with port = 465, or use a port that offers it'
        if is_loopback(provider.host) and not provider.user:
            remedy += '; for a relay on this machine: security = "none"'
    words = f"{provider.host}:{provider.port}: {rule.words}{f' ({said})' if said else ''}; {remedy}"
    return Refused(words) if is_ours else TryAgain(words)


async def _dial(host: str, port: int, timeout: float) -> socket.socket:
    """Connect to the first address that answers; each gets an equal share of the time."""
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
        except BaseException as error:
            sock.close()
            if not isinstance(error, OSError):
                raise
            last = error
    raise last


def _literal(sock: socket.socket) -> str:
    """Return our own address as in RFC 5321 4.1.3: looking up our name would be slow and reveal it."""
    address = str(sock.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
