"""Counts who got what: the outbox's files, mail servers, stand-ins for providers; makes desks for them."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from ssl import SSLContext
from tempfile import TemporaryDirectory
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from commcast.ledger.store import ledger_path
from commcast.providers.outbox import OutboxAdapter
from tests.support.desk import write_desk, write_incident
from tests.support.own_words import write_words
from tests.support.servers import apis
from tests.support.servers.http import HOST, Exchange, Handler, HttpStandIn, Inbox, Writer, threaded

LATENCY = 0.01  # seconds before a stand-in takes a request, so that a kill falls into one
# What a message says is tested elsewhere: short words are compiled and written in no time.
WORDS = "Subject: {{ incident.title }}\n\nDear {{ recipient.name }}, {{ update.issue }}\n"
TEXT = "{{ incident.title }}, {{ update.issue }}\n"
_DESKS = count()


@dataclass
class GatedInbox(Inbox):
    """Takes mails, and answers none while its gate is shut."""

    is_open: bool = True

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        answer = await super().handle_DATA(server, session, envelope)
        while not self.is_open:
            await asyncio.sleep(0.01)
        return answer


class Receiver:
    """A real SMTP server; `inbox` keeps all it took, `open` counts its connections. Port 0 is any.

    It takes every login, or none with `refuses_login`.
    """

    def __init__(self, *, pipelining: bool = False, port: int = 0, tls: SSLContext | None = None) -> None:
        self.inbox = GatedInbox(pipelining=pipelining)
        self.port, self.open, self.tls, self.refuses_login = port, 0, tls, False

    @contextmanager
    def serving(self) -> Iterator[Self]:
        """Run it in a thread of its own."""
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        thread.start()
        loop, end = ready.result(60)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(end.set)
            thread.join(60)

    async def _serve(self, ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        server = await loop.create_server(lambda: _Served(self), HOST, self.port, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        ready.set_result((loop, end))
        await end.wait()
        server.close()
        # A client that is gone is noticed a moment later; a connection left open fails whatever comes next.
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                while self.open:
                    await asyncio.sleep(0.001)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Answer no mail in the meantime."""
        self.inbox.is_open = False
        try:
            yield
        finally:
            self.inbox.is_open = True


class _Served(SMTP):
    """One connection, counted while it is open."""

    def __init__(self, receiver: Receiver) -> None:
        own: dict[str, Any] = {"hostname": "mail.example", "loop": asyncio.get_running_loop()}
        super().__init__(receiver.inbox, auth_require_tls=False, authenticator=self._judge, **own)
        self._receiver = receiver

    def _judge(self, *_: object) -> AuthResult:
        return AuthResult(success=not self._receiver.refuses_login, handled=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._receiver.open += 1
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._receiver.open -= 1


@dataclass(frozen=True)
class Service:
    """A receiver and how to make a desk that sends to it.

    `window` is the most messages on their way at once. `takers` says to whom each message went that was
    taken; `open` how many connections there are. `receiver` is the mail server, if it is one.
    """

    name: str
    window: int
    takers: Callable[[Path], Iterable[str]]
    open: Callable[[], int]
    email: str = "outbox"
    port: int = 25
    sms: str = ""
    extra: str = ""
    receiver: Receiver = field(default_factory=Receiver)

    def desk(self, folder: Path, people: int = 6) -> Desk:
        """Make a desk with people of its own and an incident that nobody has released."""
        number = next(_DESKS)
        if self.sms:
            addresses = [f"+49151{10_000_000 + number * 10_000 + at}" for at in range(people)]
            rows = [f",{address},Customer {at}" for at, address in enumerate(addresses)]
        else:
            addresses = [f"c{at}.k{number}@example.com" for at in range(people)]
            rows = [f"{address},,Customer {at}" for at, address in enumerate(addresses)]
        how: dict[str, Any] = {"email": self.email, "port": self.port, "sms": self.sms, "extra": self.extra}
        write_desk(folder, customers=rows, support=[], **how)
        config = folder / "commcast.toml"
        connections = f"connections = {self.window // 2}"  # the window of SMTP is twice its connections
        config.write_text(config.read_text().replace("connections = 4\ntimeout", f"{connections}\ntimeout"))
        write_words(folder, "customers", email=WORDS, sms=TEXT)
        write_incident(folder, at=datetime.now(UTC).replace(microsecond=0))
        return Desk(folder, frozenset(addresses), self)


@dataclass(frozen=True)
class Desk:
    """A desk's folder, whom it has to tell, and through which service."""

    folder: Path
    people: frozenset[str]
    service: Service

    @property
    def ledger(self) -> Path:
        return ledger_path(self.folder)

    @property
    def log(self) -> Path:
        """The ledger's write-ahead log."""
        return self.ledger.with_name("ledger.db-wal")

    def told(self) -> Counter[str]:
        """Return how many messages each of this desk's people has got so far."""
        return Counter(each for each in self.service.takers(self.folder) if each in self.people)

    def got(self) -> Counter[str]:
        """Return how many messages each of this desk's people got, once all that was sent has been read."""
        deadline = time.monotonic() + 60
        while self.service.open():
            assert time.monotonic() < deadline, "a connection stays open though its process has ended"
            time.sleep(0.002)  # between two looks; nothing depends on its length
        return self.told()

    def rows(self) -> list[tuple[str, str]]:
        """Return each delivery's address and state, from a copy: looking must not touch the ledger's log."""
        with TemporaryDirectory() as name:
            for path in (self.ledger, self.log):
                if path.exists():
                    shutil.copyfile(path, Path(name) / path.name)
            with closing(sqlite3.connect(Path(name) / self.ledger.name)) as connection:
                return connection.execute("select address, state from delivery").fetchall()

    def states(self) -> Counter[str]:
        """Return how many deliveries are in each state."""
        return Counter(state for _, state in self.rows())

    def addresses(self, *states: str) -> set[str]:
        """Return whose deliveries are in one of these states."""
        return {address for address, state in self.rows() if state in states}

    def unknown(self) -> set[str]:
        """Return whose answer was lost."""
        return self.addresses("unknown")


def _to_whom(folder: Path) -> Iterator[str]:
    for path in (folder / "outbox").glob("*.eml"):
        yield re.findall(r"^To: .*?<?([^ <>]+)>?$", path.read_text(), re.M)[0]


@contextmanager
def outbox() -> Iterator[Service]:
    yield Service("outbox", OutboxAdapter.window, _to_whom, lambda: 0)


@contextmanager
def smtp(window: int = 4, *, pipelining: bool = False) -> Iterator[Service]:
    with Receiver(pipelining=pipelining).serving() as receiver:
        server: dict[str, Any] = {"email": "smtp", "port": receiver.port, "receiver": receiver}
        name = "smtp with pipelining" if pipelining else "smtp"
        takers = receiver.inbox.counts
        yield Service(name, window, lambda _: takers().elements(), lambda: receiver.open, **server)


@contextmanager
def sendgrid(batch: int = 2, connections: int = 2) -> Iterator[Service]:
    stand_in = apis.SendGrid()
    with threaded(HttpStandIn(_slowly(stand_in))) as server:
        limits = f"batch = {batch}\nconnections = {connections}\n"
        extra = f'[providers.sendgrid]\nbase_url = "{server.url}"\n{limits}'
        window, takers = batch * connections, lambda _: [taken.address for taken in stand_in.taken]
        yield Service("sendgrid", window, takers, lambda: server.open, email="sendgrid", extra=extra)


@contextmanager
def twilio(connections: int = 3) -> Iterator[Service]:
    stand_in = apis.Twilio()
    with threaded(HttpStandIn(_slowly(stand_in))) as server:
        extra = f'[providers.twilio]\nbase_url = "{server.url}"\nconnections = {connections}\n'
        sms, takers = 'provider = "twilio"', lambda _: [form["To"] for form in stand_in.forms]
        yield Service("twilio", connections, takers, lambda: server.open, sms=sms, extra=extra)


Start = Callable[[], AbstractContextManager[Service]]
SERVICES: dict[str, Start] = {"outbox": outbox, "smtp": smtp, "sendgrid": sendgrid, "twilio": twilio}
SERVICES["pipelining"] = lambda: smtp(pipelining=True)


def _slowly(handler: Handler) -> Handler:
    """Take a moment before the taking, as a real provider does."""

    async def handle(exchange: Exchange, writer: Writer) -> None:
        await asyncio.sleep(LATENCY)
        await handler(exchange, writer)

    return handle
