"""The SMTP adapter and its pool of connections."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Self, cast

import aiosmtplib

from commcast.config.settings import CONFIG_NAME, SmtpProvider
from commcast.errors import Fault, ProviderError
from commcast.model.incident import Channel
from commcast.model.message import Delivery, Email, Outcome
from commcast.providers.masking import hide
from commcast.providers.smtp.connection import Batch, Connection, Letter
from commcast.providers.smtp.opening import Opening, trouble
from commcast.providers.smtp.outcomes import Answer, SmtpStage, outcome

_CANCEL_AGAIN = 0.05  # seconds


class Pool:
    """Spreads letters over at most `provider.connections` connections.

    A letter goes to an idle connection, else behind a body in flight; otherwise it waits while another
    connection is opened. The first one is opened alone, and so is the next after a failure, so a server that
    is down, or a wrong password, is tried only once. With `per_second` each waiting letter gets a connection
    of its own.
    """

    def __init__(
        self, provider: SmtpProvider, password: str, context: ssl.SSLContext | None, deadline: float
    ) -> None:
        self._provider, self._password, self._context = provider, password, context
        self._deadline, self._timeout = deadline, provider.timeout.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Letter] = deque()
        self._fresh: deque[Letter] = deque()  # only for connections that have carried nothing yet
        self._talks: set[Connection] = set()
        # Ordered sets of the connections that can take a letter.
        self._idle: dict[Connection, None] = {}
        self._roomy: dict[Connection, None] = {}
        self._openings: set[asyncio.Task[None]] = set()
        # A letter with a slot does not wait for another's opening: all that waited would leave together.
        self._is_paced = bool(provider.per_second)
        self._proved = self._halted = False
        self._open_again_at = 0.0

    # --- called by the adapter

    def post(self, letter: Letter) -> None:
        """Take a letter. Whatever happens, it is answered in time."""
        if self._halted:
            letter.not_begun()
            return
        self._waiting.append(letter)
        self._spread()

    def forget(self, batch: Batch) -> None:
        """Nobody waits for these letters any more: begin none of them, and end those that can be ended."""
        self._waiting = deque(letter for letter in self._waiting if letter.batch is not batch)
        self._fresh = deque(letter for letter in self._fresh if letter.batch is not batch)
        for talk in tuple(self._talks):
            talk.forget(batch)

    def opening(self) -> Opening:
        return Opening(self._provider, self._password, self._context)

    def halt(self) -> None:
        """Give back every letter that has not begun, at once, and take no more."""
        self._halted = True
        for queue in (self._fresh, self._waiting):
            while queue:
                queue.popleft().not_begun()

    async def close(self, farewell: float) -> None:
        """Send QUIT on idle connections, wait at most `farewell` seconds, and close them all."""
        self.halt()
        talks = tuple(self._talks)
        try:
            leaving = (talk.leave(farewell) for talk in talks)
            await asyncio.gather(self._end_openings(), *leaving, return_exceptions=True)
        finally:
            for talk in talks:
                talk.abort()

    async def _end_openings(self) -> None:
        """Cancel the openings until they have ended.

        Once is not enough: asyncio.wait_for of Python 3.11, which the library uses to wait for a reply, loses
        a cancellation that arrives together with that reply.
        """
        while self._openings:
            for opening in self._openings:
                opening.cancel()
            await asyncio.wait(self._openings, timeout=_CANCEL_AGAIN)
            self._openings = {opening for opening in self._openings if not opening.done()}

    # --- called by the connections

    def take(self, talk: Connection) -> Letter | None:
        return self._take(self._waiting, talk) if self._waiting else None

    def again(self, letter: Letter) -> None:
        if letter.batch.is_closed:
            return
        if self._halted:
            letter.not_begun()
        else:
            self._fresh.append(letter)

    def is_free(self, talk: Connection) -> None:
        self._roomy.pop(talk, None)
        letter = self.take(talk)
        if letter is not None:
            talk.give(letter)
        else:
            self._idle[talk] = None

    def has_room(self, talk: Connection) -> None:
        self._roomy[talk] = None

    def is_gone(self, talk: Connection) -> None:
        self._talks.discard(talk)
        self._idle.pop(talk, None)
        self._roomy.pop(talk, None)
        while self._waiting and self._waiting[0].due <= self._loop.time():
            self._waiting.popleft().not_begun()
        self._spread()

    # --- within

    def _spread(self) -> None:
        """Give waiting letters to connections that can take them, and open more if needed."""
        while self._waiting:
            takers = self._idle or self._roomy
            if not takers:
                break
            talk = next(iter(takers))
            letter = self._take(self._waiting, talk)
            if letter is not None:
                del takers[talk]
                talk.give(letter)
        self._open()

    def _take(self, queue: deque[Letter], talk: Connection) -> Letter | None:
        """Return the next letter that this connection can carry; answer those that can't be sent."""
        while queue:
            letter = queue.popleft()
            if letter.due <= self._loop.time():
                letter.not_begun()
            elif letter.needs_smtputf8 and not talk.takes_utf8:
                letter.answered(Answer(SmtpStage.MAIL, "missing"))
            else:
                return letter
        return None

    def _open(self) -> None:
        opening = len(self._openings)
        wanted = len(self._waiting) + len(self._fresh) - opening
        if wanted <= 0:
            return
        free = self._provider.connections - len(self._talks) - opening
        if not (self._proved or self._is_paced):
            free = min(free, 1 - opening)
        if self._talks and not self._fresh and self._loop.time() < self._open_again_at:
            return  # the server accepts no more connections: the open ones carry everything
        for _ in range(min(wanted, free)):
            task = self._loop.create_task(self._run(self.opening()))
            self._openings.add(task)

    async def _run(self, opening: Opening) -> None:
        answer = None
        try:
            async with asyncio.timeout(self._deadline):
                client = await opening.run()
        except Exception as error:  # whatever the library raises for what a server sends is an answer
            answer = opening.answer(error)
        finally:
            self._openings.discard(cast(asyncio.Task[None], asyncio.current_task()))
        if answer is not None:
            self._failed(answer)
        elif self._halted:
            opening.close()
        else:
            self._opened(client)

    def _opened(self, client: aiosmtplib.SMTP) -> None:
        self._proved = True
        talk = Connection(self, client, self._timeout)
        self._talks.add(talk)
        letter = self._take(self._fresh, talk)
        if letter is not None:
            talk.give(letter)
        else:
            self.is_free(talk)
        self._open()

    def _failed(self, answer: Answer) -> None:
        """Answer the letters that needed this connection: all of them if there is no other."""
        self._proved = False
        self._open_again_at = self._loop.time() + self._timeout
        for _ in range(1 if self._openings else len(self._fresh)):
            if self._fresh:
                self._fresh.popleft().answered(answer)
        while self._waiting and not self._talks and not self._openings:
            self._waiting.popleft().answered(answer)
        self._open()


READY = 2  # deliveries claimed per connection: one in flight, and one ready behind it
DEADLINE_STEPS = 3  # a delivery may take as many times `timeout`, including waiting and opening
FAREWELL = 2.0  # seconds to wait for servers to answer QUIT


class SmtpAdapter:
    """Email through one SMTP relay.

    `deadline` is the longest that one delivery can take, in seconds from the call of `send`, including the
    wait for a connection; a lease must be longer.
    Raises ProviderError if the settings can't work or would send a password in the clear, and, on entering
    the context, if `ca_file` (relative to the current directory) can't be read.
    """

    channel = Channel.EMAIL
    name = "smtp"
    batch_size = 1

    def __init__(self, provider: SmtpProvider, password: str | None) -> None:
        _check(provider, password)
        hide(password or "")
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

    async def __aexit__(self, kind: object, *_: object) -> None:
        await self._open_pool().close(FAREWELL if kind is None else 0)
        await asyncio.sleep(0)  # aborted connections end in this turn of the loop

    async def greet(self, seconds: float) -> None:
        """Connect and log in as a run would, in at most `seconds`; nothing is sent.

        Raises Refused or TryAgain, with "what is wrong; what to do".
        """
        opening = self._open_pool().opening()
        try:
            async with asyncio.timeout(seconds):
                await opening.run()
        except Exception as error:  # as for a run
            raise trouble(self._provider, opening.answer(error)) from None
        finally:
            opening.close()

    def halt(self) -> None:
        """Begin no more letters; those that wait are given back at once."""
        if self._pool is not None:
            self._pool.halt()

    async def send(self, batch: Sequence[Delivery]) -> AsyncIterator[Outcome]:
        """Yield one outcome per email, as replies arrive. Raises TypeError for anything but emails."""
        emails = [(item, item.message) for item in batch if isinstance(item.message, Email)]
        if len(emails) < len(batch):
            raise TypeError("smtp carries email only")
        pool, user = self._open_pool(), self._provider.user
        due = asyncio.get_running_loop().time() + self.deadline
        letters = Batch(len(batch), user)
        try:
            for item, email in emails:
                try:
                    pool.post(Letter.of(item, email, letters, due))
                except ValueError as error:
                    answer = Answer(SmtpStage.MAIL, "unsendable", str(error))
                    letters.tell(outcome(item.delivery, email, answer, user))
            async for each in letters.outcomes():
                yield each
        finally:
            letters.is_closed = True
            if letters.owed:
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
        faults.append(("hello", "is not a host name", "write this machine's name, or remove it"))
    if provider.user and provider.security == "none":
        what = "would send the password in the clear"
        faults.append(("user", what, 'write security = "starttls" or "tls", or remove user'))
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
        raise ProviderError("smtp", Fault(CONFIG_NAME, 0, 0, what, "name a PEM file, or remove it")) from None
