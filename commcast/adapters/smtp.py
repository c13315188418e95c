"""The SMTP adapter: one transaction a recipient, over a few connections that are used again."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self

from commcast.adapters.smtp_dialogue import Connection, Letter
from commcast.adapters.smtp_outcomes import Answer, Stage, outcome
from commcast.config import CONFIG_NAME
from commcast.config_providers import SmtpProvider
from commcast.errors import Fault, ProviderError
from commcast.message import Email, HandOver, Outcome
from commcast.model import Channel

READY = 2  # deliveries claimed a connection: one in flight, and one ready behind it
DEADLINE_STEPS = 3  # one whole hand-over, opening included, may last as long as this many steps
FAREWELL = 2.0  # seconds that leaving waits for the servers to answer QUIT


class SmtpAdapter:
    """Mail through one SMTP relay.

    `deadline` is the longest that one hand-over lasts, in seconds: a lease must be longer.
    Raises ProviderError where the settings cannot work or would send a password in the clear, and, on
    entering, where `ca_file` (relative to the current directory) cannot be read.
    """

    channel = Channel.EMAIL
    name = "smtp"
    batch_size = 1

    def __init__(self, provider: SmtpProvider, password: str | None) -> None:
        _check(provider, password)
        self.connections = provider.connections
        self.per_second = provider.per_second
        self.window = provider.connections * (1 if provider.per_second else READY)
        self.deadline = provider.timeout.total_seconds() * DEADLINE_STEPS
        self._provider, self._password = provider, password or ""
        self._context: ssl.SSLContext | None = None
        self._slots = asyncio.Semaphore(provider.connections)
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []

    async def __aenter__(self) -> Self:
        if self._provider.security != "none":
            self._context = await asyncio.to_thread(_tls_context, self._provider.ca_file)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        idle, self._idle = self._idle, []
        try:
            if kind is None:
                await asyncio.gather(*(connection.quit(FAREWELL) for connection in idle))
        finally:
            for connection in tuple(self._open):
                self._drop(connection)
            await asyncio.sleep(0)  # the turn of the loop in which aborted connections end

    def halt(self) -> None:
        """Nothing to do: one `send` is one message."""

    async def send(self, batch: Sequence[HandOver]) -> AsyncIterator[Outcome]:
        """Yield one outcome a mail. Where no connection can be opened, the rest of the batch is not tried."""
        closed: Answer | None = None
        for item in batch:
            if not isinstance(item.message, Email):
                raise TypeError("smtp carries mail only")
            answer = closed or await self._hand_over(item.message)
            if not answer.opened:
                closed = answer
            yield outcome(item.delivery, item.message, answer, self._provider.user)

    async def _hand_over(self, email: Email) -> Answer:
        try:
            letter = Letter.of(email)
        except ValueError as error:
            return Answer(Stage.MAIL, "unsendable", str(error))
        async with self._slots:
            until = asyncio.get_running_loop().time() + self.deadline
            connection = self._idle.pop() if self._idle else self._connection()
            answer = await self._carry(connection, letter, until)
            if connection.reused and answer.was_stale:
                # Nothing of this message was said yet: a fresh connection, not a second try.
                answer = await self._carry(self._connection(), letter, until)
            return answer

    async def _carry(self, connection: Connection, letter: Letter, until: float) -> Answer:
        try:
            answer = await connection.carry(letter, until)
        except BaseException:
            self._drop(connection)
            raise
        if answer.keeps_connection and connection in self._open:
            connection.reused = True
            self._idle.append(connection)
        else:
            self._drop(connection)
        return answer

    def _connection(self) -> Connection:
        connection = Connection(self._provider, self._password, self._context)
        self._open.add(connection)
        return connection

    def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.abort()


def _check(provider: SmtpProvider, password: str | None) -> None:
    faults = []
    if not provider.host:
        faults.append(("host", "is empty", "write the server's name"))
    if provider.hello and not re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", provider.hello):
        faults.append(("hello", "is not a host name", "write this machine's name, or leave it out"))
    if provider.user and provider.security == "none":
        what = "would send the password in the clear"
        faults.append(("user", what, 'write security = "starttls" or "tls", or leave user out'))
    if provider.user and not password:
        faults.append(("user", "has no password", "set COMMCAST_SMTP_PASSWORD"))
    if faults:
        raise ProviderError(
            "smtp",
            [
                Fault(CONFIG_NAME, 0, 0, f"providers.smtp.{key}: {what}", remedy)
                for key, what, remedy in faults
            ],
        )


def _tls_context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError):
        what = "providers.smtp.ca_file: cannot be read as certificates"
        raise ProviderError(
            "smtp", Fault(CONFIG_NAME, 0, 0, what, "name a PEM file, or leave it out")
        ) from None
