"""A mail server on 127.0.0.1 that keeps what it takes (aiosmtpd), and certificates for servers."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

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
    pipelining: bool = False

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [responses[0], *(["250-PIPELINING"] if self.pipelining else []), *responses[1:]]

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
