"""Desks over a counting mail receiver, runs of the command line that meet a fault, and how they ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from commcast.ledger.history import deliveries
from commcast.ledger.store import ledger_path, open_copy
from commcast.ledger.tables import State
from tests.crash.harness import ROOT
from tests.crash.services import Receiver
from tests.support.desk import DESK, write_desk, write_incident
from tests.support.reader import as_root, own_disk_options
from tests.support.servers.http import Inbox

PEOPLE = 40
WINDOW = 4 * 2  # connections x 2, as tests/desks.py configures
SEND = ("send", "pay7", "--yes")


class GatedInbox(Inbox):
    """Answers no mail while its gate is shut."""

    is_open = True

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        answer = await super().handle_DATA(server, session, envelope)
        while not self.is_open:
            await asyncio.sleep(0.01)
        return answer


class GatedReceiver(Receiver):
    """A receiver whose gate a test can shut: mails are taken, and not answered until it opens again."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = self.inbox = GatedInbox()

    @contextmanager
    def shut(self) -> Iterator[None]:
        self.gate.is_open = False
        try:
            yield
        finally:
            self.gate.is_open = True


@dataclass(frozen=True)
class Ended:
    """How one run ended: its exit code, and all it said. `trace` holds the system calls that were traced."""

    code: int
    said: str
    trace: str = ""


class Runs:
    """Runs of the command line, one after another, in forked children."""

    def __init__(self, log: Path) -> None:
        self._log, self._trace = log, log.with_suffix(".strace")
        self._driver = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.driver"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(
        self,
        folder: Path,
        *command: str,
        strace: Sequence[str] = (),
        patience: float | None = None,
        again_after: float | None = None,
        room: Path | None = None,
        obeys_modes: bool = False,
    ) -> int:
        """Start a command and return its process id.

        `strace` are options for strace, `patience` is how long a locked ledger is waited for, `again_after`
        how long a second signal counts as the first, `room` is the temporary folder; with `obeys_modes` not
        even root may write what is not to be written.
        """
        order = {
            "folder": str(folder),
            "command": command,
            "log": str(self._log),
            "trace": str(self._trace),
            "strace": list(strace),
            "patience": patience,
            "again_after": again_after,
            "room": str(room) if room else "",
            "obeys_modes": obeys_modes,
        }
        assert self._driver.stdin is not None
        self._trace.write_text("")
        self._driver.stdin.write(json.dumps(order) + "\n")
        self._driver.stdin.flush()
        return int(self._answer())

    def said(self) -> str:
        """Return what the command has said so far."""
        return self._log.read_text()

    def finish(self) -> Ended:
        """Wait for the command that was begun."""
        code = int(self._answer())
        said = self._log.read_text()
        assert "TRACEBACK" not in said, said
        assert "Traceback" not in said, said
        return Ended(code, said, self._trace.read_text())

    def run(self, folder: Path, *command: str, **order: Any) -> Ended:
        self.begin(folder, *command, **order)
        return self.finish()

    def close(self) -> None:
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.close()
        self._driver.wait(60)
        self._driver.stdout.close()

    def _answer(self) -> str:
        assert self._driver.stdout is not None
        answer = self._driver.stdout.readline()
        assert answer, f"the driver ended: {self._log.read_text() if self._log.exists() else ''}"
        return answer


@dataclass(frozen=True)
class Place:
    """A desk in a folder whose mail goes to a receiver: an incident that nobody has released, mail only."""

    folder: Path
    receiver: GatedReceiver
    people: int = PEOPLE

    @property
    def ledger(self) -> Path:
        return ledger_path(self.folder)

    @property
    def tag(self) -> str:
        return f"{self.folder.parent.name}-{self.folder.name}".replace("_", "").lower()

    def write(self) -> Place:
        self.folder.mkdir(parents=True, exist_ok=True)
        customers = [f"c{i}.{self.tag}@example.com,,Customer {i}" for i in range(self.people)]
        support = [f"help.{self.tag}@acme.example,Su"]
        write_desk(self.folder, customers=customers, support=support, email="smtp", port=self.receiver.port)
        write_incident(self.folder, at=datetime.now(UTC).replace(microsecond=0))
        return self

    def told(self) -> Counter[str]:
        """How many mails each of this desk's people got."""
        counts = self.receiver.counts()
        return Counter({who: count for who, count in counts.items() if f".{self.tag}@" in who})

    def rows(self) -> Counter[str]:
        """How many deliveries the ledger holds of each state."""
        with open_copy(self.ledger, DESK) as ledger:
            assert ledger is not None
            with ledger.read() as connection:
                return Counter(row.state.value for row in deliveries(connection, "pay7"))

    def addresses(self, *states: State) -> set[str]:
        with open_copy(self.ledger, DESK) as ledger:
            assert ledger is not None
            with ledger.read() as connection:
                return {row.address for row in deliveries(connection, "pay7", states)}

    def check_nobody_twice_nobody_lost(self, ended: Ended, *, in_doubt: int = WINDOW) -> int:
        """After the run that finished: each was told once, or is unknown; return how many are."""
        lost = self.addresses(State.UNKNOWN)
        got = self.told()
        assert ended.code == (1 if lost else 0), ended.said
        assert set(got.values()) <= {1}, "somebody was told twice"
        assert len(set(got) | lost) == self.people + 1, "somebody was not told, and is not in doubt"
        assert len(lost) <= in_doubt
        assert set(self.rows()) <= {"accepted", "unknown"}
        return len(lost)

    def check_all_recorded(self) -> None:
        """Whoever got a mail is in the ledger as told, claimed or in doubt: nothing left unrecorded."""
        recorded = self.addresses(State.ACCEPTED, State.CLAIMED, State.UNKNOWN)
        assert set(self.told()) <= recorded


@contextmanager
def small_disk(at: Path, size: str) -> Iterator[Path]:
    """Mount a file system of its own in memory, as small as a test needs it."""
    at.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", f"size={size},mode=700,{own_disk_options()}", "commcast-test", str(at))
    try:
        yield at
    finally:
        subprocess.run([*as_root(), "umount", "--lazy", str(at)], check=True)


def make_read_only(disk: Path, *, read_only: bool) -> None:
    """Let a mounted file system take no writes, or take them again."""
    _mount("-o", f"remount,{'ro' if read_only else 'rw'}", str(disk))


def _mount(*options: str) -> None:
    done = subprocess.run([*as_root(), "mount", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"this test mounts a small disk, for which it needs root: {done.stderr.strip()}")


@contextmanager
def filled(disk: Path, left: int) -> Iterator[None]:
    """Fill a disk so that about so many bytes are left; make room again afterwards."""
    filler = disk / "filler"
    usage = os.statvfs(disk)
    with filler.open("wb") as file, suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, max(usage.f_bavail * usage.f_frsize - left, 1))
    try:
        yield
    finally:
        filler.unlink()


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait until something is so; fail where it does not become so."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)  # between two looks; nothing depends on its length


def half_sent(place: Place, runs: Runs) -> None:
    """Let a run be ended in the middle."""
    with place.receiver.shut():
        pid = runs.begin(place.folder, *SEND)
        until(lambda: len(place.told()) >= 4, "the first mails arrive")
        os.kill(pid, signal.SIGTERM)
        until(lambda: "Nothing more is sent" in runs.said(), "the signal is heard")
    assert runs.finish().code == 143
