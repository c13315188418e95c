"""The SMTP adapter: one transaction a recipient, over a few connections that are used again."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self

from commcast.adapters.smtp_letter import Batch, Letter
from commcast.adapters.smtp_outcomes import Answer, Stage, outcome
from commcast.adapters.smtp_pool import Pool
from commcast.config import CONFIG_NAME
from commcast.config_providers import SmtpProvider
from commcast.errors import Fault, ProviderError
from commcast.message import Email, HandOver, Outcome
from commcast.model import Channel

READY = 2  # deliveries claimed a connection: one in flight, and one ready behind it
DEADLINE_STEPS = 3  # one whole hand-over, waiting and opening included, may last as long as this many steps
FAREWELL = 2.0  # seconds that leaving waits for the servers to answer QUIT


class SmtpAdapter:
    """Mail through one SMTP relay.

    `deadline` is the longest that one hand-over lasts, in seconds from the call of `send` on, waiting for a
    connection included: a lease must be longer.
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
        self._pool: Pool | None = None

    async def __aenter__(self) -> Self:
        context = None
        if self._provider.security != "none":
            context = await asyncio.to_thread(_tls_context, self._provider.ca_file)
        self._pool = Pool(self._provider, self._password, context, self.deadline)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open_pool().close(FAREWELL if kind is None else 0)
        await asyncio.sleep(0)  # the turn of the loop in which aborted connections end

    def halt(self) -> None:
        """Begin no further letter: those that wait are given back at once."""
        if self._pool is not None:
            self._pool.halt()

    async def send(self, batch: Sequence[HandOver]) -> AsyncIterator[Outcome]:
        """Yield one outcome a mail, as answers come."""
        emails = [(item, item.message) for item in batch if isinstance(item.message, Email)]
        if len(emails) < len(batch):
            raise TypeError("smtp carries mail only")
        pool, user = self._open_pool(), self._provider.user
        due = asyncio.get_running_loop().time() + self.deadline
        letters = Batch(len(batch), user)
        try:
            for item, email in emails:
                try:
                    pool.post(Letter.of(item, email, letters, due))
                except ValueError as error:
                    answer = Answer(Stage.MAIL, "unsendable", str(error))
                    letters.tell(outcome(item.delivery, email, answer, user))
            async for each in letters.answers():
                yield each
        finally:
            letters.is_closed = True
            if not letters.is_done:
                pool.forget(letters)

    def _open_pool(self) -> Pool:
        if self._pool is None:
            raise RuntimeError("the adapter's context is not open")
        return self._pool


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
