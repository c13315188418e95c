"""Children that run the command line and can be killed, and what must hold after all of them have ended."""

from __future__ import annotations

import json
import os
import select
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from commcast.ledger.store import ledger_path
from tests.crash.faults import Faults
from tests.crash.services import Desk
from tests.support.servers import sendgrid as sendgrid_standin
from tests.support.servers import twilio as twilio_standin

ROOT = Path(__file__).parents[2]
SEND = ("send", "pay7", "--yes")
ROUNDS = float(os.environ.get("COMMCAST_CRASH_ROUNDS") or 1)
"""How many times as many sampled kills as usual: COMMCAST_CRASH_ROUNDS=20 for a night, 0.2 for a look."""


@dataclass(frozen=True)
class Run:
    """One child: its command line, the seconds after which it is killed, and what else befalls it.

    `trace` is the command line of a strace that is attached before it begins.
    """

    command: Sequence[str] = SEND
    kill_after: float | None = None
    faults: Faults | None = None
    trace: Sequence[str] | None = None


class Children:
    """Runs of the command line in forked processes. With `plain` they have no uvloop."""

    def __init__(self, log: Path, *, plain: bool = False) -> None:
        self.log = log
        self._driver = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.driver", *(["plain"] if plain else [])],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, folder: Path, *runs: Run | Sequence[str], kill_after: float | None = None) -> None:
        """Start one child a run, all at the same moment. A bare command is killed after `kill_after`."""
        assert self._driver.stdin is not None
        made = [run if isinstance(run, Run) else Run(run, kill_after) for run in runs]
        order = {"folder": str(folder), "log": str(self.log), "runs": [asdict(run) for run in made]}
        self._driver.stdin.write(json.dumps(order) + "\n")
        self._driver.stdin.flush()

    def finish(self) -> list[int]:
        """Wait for the children that were begun; return their exit codes."""
        assert self._driver.stdout is not None
        answer = self._driver.stdout.readline()
        assert answer, "the driver ended"
        codes: list[int] = json.loads(answer)
        said = self.log.read_text()
        assert "TRACEBACK" not in said, said[-4000:]
        assert "Timeout (" not in said, f"a child hangs: {said[-4000:]}"
        return codes

    @property
    def answers(self) -> int:
        """The file number on which the driver tells that what was begun has ended."""
        assert self._driver.stdout is not None
        return self._driver.stdout.fileno()

    def run(self, folder: Path, *runs: Run | Sequence[str], kill_after: float | None = None) -> list[int]:
        self.begin(folder, *runs, kill_after=kill_after)
        return self.finish()

    def close(self) -> None:
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.close()
        self._driver.wait(20)
        self._driver.stdout.close()


class HeldChild:
    """A child that waits at a point, until it is let go or killed."""

    def __init__(self, folder: Path, name: str = "passages") -> None:
        self._passages = folder / name
        self._held, self._go = folder / f"{name}.held", folder / f"{name}.go"
        os.mkfifo(self._held)
        os.mkfifo(self._go)

    def at(self, point: str, number: int, busy: float | None = None) -> Faults:
        """Return the faults that hold a child at the `number`th passage of a point."""
        return Faults(str(self._passages), hold_at=number, of=point, busy=busy)

    def wait(self, runs: Children) -> int | None:
        """Wait until the child is held; return its process id, None where it ended and never came there."""
        held = os.open(self._held, os.O_RDONLY | os.O_NONBLOCK)
        try:
            ready, _, _ = select.select([held, runs.answers], [], [])
            return int(os.read(held, 100)) if held in ready else None
        finally:
            os.close(held)

    def let_go(self) -> None:
        self._go.write_bytes(b"")


@contextmanager
def children(log: Path, *, plain: bool = False) -> Iterator[Children]:
    """Give children that know the stand-ins' secrets, and end their driver."""
    log.touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENDGRID_API_KEY", sendgrid_standin.KEY)
        patch.setenv("TWILIO_ACCOUNT_SID", twilio_standin.ACCOUNT)
        patch.setenv("TWILIO_AUTH_TOKEN", twilio_standin.TOKEN)
        started = Children(log, plain=plain)
    try:
        yield started
    finally:
        started.close()


@contextmanager
def quick_folder() -> Iterator[Path]:
    """Give a folder in memory where there is one: kill -9 loses nothing that a file system was told."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="commcast-crash-", dir=place) as name:
        yield Path(name)


def unknown(folder: Path) -> set[str]:
    """The addresses whose answer was lost."""
    return {address for address, state in states(folder).items() if state == "unknown"}


def states(folder: Path) -> dict[str, str]:
    """Return each address's state, as the ledger's tables have it."""
    with closing(sqlite3.connect(ledger_path(folder))) as connection:
        return dict(connection.execute("select address, state from delivery"))


WAITING = {"pending", "held", "claimed"}
TWICE, LOST, DOUBT, CODE = "told twice", "lost", "too many in doubt", "wrong exit code"


def broken_rules(desk: Desk, codes: Iterable[int], *, kills: int = 1) -> list[str]:
    """Return which promises do not hold, now that every process has ended and the last ones ran to their end.

    `codes` are the exit codes of the last runs; one of them has to say so where somebody is in doubt, unless
    a run that was killed itself may have found that out before.
    """
    got, found, codes = desk.got(), states(desk.folder), list(codes)
    lost = {address for address, state in found.items() if state == "unknown"}
    broken = []
    if max(got.values(), default=0) > 1:
        broken.append(TWICE)
    if desk.people - set(got) - lost or WAITING & set(found.values()):
        broken.append(LOST)
    if len(lost) > kills * desk.service.window:
        broken.append(DOUBT)
    unsaid = lost and 1 not in codes and kills == 1
    if set(codes) - {0, 1} or unsaid or (1 in codes and not lost):
        broken.append(CODE)
    return broken
