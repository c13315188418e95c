"""A counting mail receiver in a thread, and children that run the command line and can be killed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from commcast.ledger.history import deliveries
from commcast.ledger.schema import State
from commcast.ledger.store import ledger_path, open_ledger
from tests.adapters.servers import Inbox, aiosmtpd_server
from tests.desks import DESK

ROOT = Path(__file__).parents[2]


class Receiver:
    """A real SMTP server in a thread of its own; `inbox` keeps all it took."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.port = 0
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        assert self._end is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with aiosmtpd_server(self.inbox) as self.port:
            self._ready.set()
            await self._end.wait()

    def counts(self) -> Counter[str]:
        """Return how many mails each address got."""
        return Counter(self.inbox.counts())


class Children:
    """Runs of the command line in forked processes."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._driver = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.driver"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, folder: Path, *commands: Sequence[str], kill_after: float | None = None) -> None:
        """Start one child a command, at the same moment."""
        assert self._driver.stdin is not None
        order = {
            "folder": str(folder),
            "commands": [list(command) for command in commands],
            "kill_after": kill_after,
            "log": str(self.log),
        }
        self._driver.stdin.write(json.dumps(order) + "\n")
        self._driver.stdin.flush()

    def finish(self) -> list[int]:
        """Wait for the children that were begun; return their exit codes."""
        assert self._driver.stdout is not None
        answer = self._driver.stdout.readline()
        assert answer, "the driver ended"
        codes: list[int] = json.loads(answer)
        assert "TRACEBACK" not in self.log.read_text(), self.log.read_text()[-4000:]
        return codes

    def run(self, folder: Path, *commands: Sequence[str], kill_after: float | None = None) -> list[int]:
        self.begin(folder, *commands, kill_after=kill_after)
        return self.finish()

    def close(self) -> None:
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.close()
        self._driver.wait(20)
        self._driver.stdout.close()


@contextmanager
def children(log: Path) -> Iterator[Children]:
    """Give children, and end their driver."""
    log.touch()
    started = Children(log)
    try:
        yield started
    finally:
        started.close()


def unknown(folder: Path) -> set[str]:
    """The addresses whose answer was lost."""
    ledger = open_ledger(ledger_path(folder), DESK)
    with ledger.read() as connection:
        found = {told.address for told in deliveries(connection, "pay7", [State.UNKNOWN])}
    ledger.close()
    return found
