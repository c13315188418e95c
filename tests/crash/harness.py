"""Children that run the command line and can be killed, and what must hold after all of them have ended."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.crash.faults import Faults
from tests.crash.services import Desk
from tests.support.reader import as_root, own_disk_options
from tests.support.servers import apis

ROOT = Path(__file__).parents[2]
SEND = ("send", "pay7", "--yes")
KILLED = -signal.SIGKILL
ROUNDS = float(os.environ.get("COMMCAST_CRASH_ROUNDS") or 1)
"""How many times as many sampled kills as usual: COMMCAST_CRASH_ROUNDS=30 for a night, 0.2 for a look."""
PATIENCE = 120.0  # seconds for what must happen, however slow the machine


@dataclass(frozen=True)
class Run:
    """One child: its command line, and what else happens to it.

    `trace` is the command line of a strace that is attached before it begins, `terminal` the path of a pseudo
    terminal, `patience` the seconds for which a locked ledger is waited for, `again_after` those in which a
    second signal counts as the first, `room` the temporary folder. With `obeys_modes` root is bound by modes.
    """

    command: Sequence[str] = SEND
    faults: Faults | None = None
    trace: Sequence[str] = ()
    terminal: str = ""
    patience: float | None = None
    again_after: float | None = None
    room: str = ""
    obeys_modes: bool = False


@dataclass(frozen=True)
class Ended:
    """How one child ended: its exit code, and all it said."""

    code: int
    said: str


class Children:
    """Runs of the command line in forked processes: those of one order at the same time, orders in turn."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._start_driver()

    def _start_driver(self) -> None:
        secrets = {"SENDGRID_API_KEY": apis.KEY, "TWILIO_ACCOUNT_SID": apis.ACCOUNT}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        environment = {**os.environ, **secrets, "TWILIO_AUTH_TOKEN": apis.TOKEN}
        command = [sys.executable, "-m", "tests.crash.driver"]
        self._driver = subprocess.Popen[str](command, cwd=ROOT, env=environment, **pipes)
        assert self._driver.stdin and self._driver.stdout
        self._orders, self.answers = self._driver.stdin, self._driver.stdout
        self._is_busy = False

    def begin(self, folder: Path, *runs: Run) -> list[int]:
        """Start one child per run, all at the same moment; return their process ids."""
        if self._is_busy:  # with what a test began that failed in the middle
            self._driver.kill()
            self.close()
            self._start_driver()
        self._is_busy = True
        self._log.write_text("")
        order = {"folder": str(folder), "log": str(self._log), "runs": [asdict(run) for run in runs]}
        print(json.dumps(order), file=self._orders, flush=True)
        return self._answer()

    def finish(self) -> list[int]:
        """Wait for the children that were begun; return their exit codes, negative for a signal."""
        codes = self._answer()
        self._is_busy = False
        said = self.said()
        assert "traceback" not in said.lower() and "Timeout (" not in said, said[-4000:]
        return codes

    def run(self, folder: Path, *runs: Run) -> list[int]:
        """Run children to their end; return their exit codes."""
        self.begin(folder, *runs)
        return self.finish()

    def start(self, folder: Path, *command: str, **more: Any) -> int:
        """Start one command, with what else a `Run` knows; return its process id."""
        return self.begin(folder, Run(command, **more))[0]

    def end(self) -> Ended:
        """Wait for the one command that was started."""
        return Ended(self.finish()[0], self.said())

    def do(self, folder: Path, *command: str, **more: Any) -> Ended:
        """Run one command to its end."""
        self.start(folder, *command, **more)
        return self.end()

    def said(self) -> str:
        """Return what the children that were begun last have said so far, but for those at a terminal."""
        return self._log.read_text()

    def have_ended(self) -> bool:
        return bool(select.select([self.answers], [], [], 0)[0])

    def close(self) -> None:
        self._orders.close()
        self._driver.wait(60)
        self.answers.close()

    def _answer(self) -> list[int]:
        answer = self.answers.readline()
        assert answer, f"the driver ended: {self.said()}"
        numbers: list[int] = json.loads(answer)
        return numbers


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait until something is so; fail if that never happens."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.002)  # between two looks; nothing depends on its length


def kill_when(runs: Children, pid: int, is_so: Callable[[], bool]) -> None:
    """Kill a child as soon as something is so, unless it ends before."""
    until(lambda: is_so() or runs.have_ended(), "it comes so far or ends")
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class HeldChild:
    """A child that waits at a point until it is let go or killed."""

    def __init__(self, folder: Path, name: str = "passages") -> None:
        self._passages = folder / name
        self._held, self._go = folder / f"{name}.held", folder / f"{name}.go"
        os.mkfifo(self._held)
        os.mkfifo(self._go)

    def at(self, point: str, number: int) -> Faults:
        """Return the faults that hold a child at the `number`th passage of a point."""
        return Faults(str(self._passages), hold_at=number, of=point)

    def wait(self, runs: Children) -> int | None:
        """Wait until the child is held; return its process id, None if it ended and never came there."""
        held = os.open(self._held, os.O_RDONLY | os.O_NONBLOCK)
        try:
            ready, _, _ = select.select([held, runs.answers.fileno()], [], [])
            return int(os.read(held, 100)) if held in ready else None
        finally:
            os.close(held)

    def let_go(self, runs: Children) -> None:
        """Let it go on, unless a signal has ended its waiting."""
        until(lambda: self._opened() or runs.have_ended(), "it waits no more")

    def _opened(self) -> bool:
        try:
            os.close(os.open(self._go, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody waits there yet
            return False
        return True


class AskedChild:
    """A child at a terminal of its own that waits for an answer; `seen` is what its screen got."""

    def __init__(self, runs: Children, folder: Path, *command: str, **more: Any) -> None:
        self.runs, self.seen = runs, ""
        self._screen, own_end = os.openpty()
        self.pid = runs.start(folder, *command, terminal=os.ttyname(own_end), **more)
        until(lambda: "[y/N]" in self._read() or runs.have_ended(), "it asks")
        os.close(own_end)
        assert "[y/N]" in self.seen, f"it never asked: {self.seen}"

    def type(self, keys: str) -> int:
        """Answer; return the exit code. A control character does what it does at a terminal."""
        os.write(self._screen, keys.encode())
        return self._end()

    def signal(self, number: int) -> int:
        """Send a signal while the question waits; return the exit code."""
        os.kill(self.pid, number)
        return self._end()

    def hang_up(self) -> int:
        """Close the terminal, as a connection that is lost does; return the exit code."""
        os.close(self._screen)
        self._screen = -1
        return self._end()

    def _end(self) -> int:
        until(lambda: bool(self._read()) and self.runs.have_ended(), "it ends")
        (code,) = self.runs.finish()
        assert "Traceback" not in self._read(), self.seen
        if self._screen >= 0:
            os.close(self._screen)
        return code

    def _read(self) -> str:
        """Return all that the screen has shown up to now."""
        with suppress(OSError):  # nobody has the other end open any more
            while self._screen >= 0 and select.select([self._screen], [], [], 0)[0]:
                self.seen += os.read(self._screen, 65536).decode(errors="replace")
        return self.seen


# How a question ends without a yes, and with which exit code
QUESTION_ENDS: dict[str, tuple[Callable[[AskedChild], int], int]] = {
    "no": (lambda asked: asked.type("n\n"), 5),
    "end of input": (lambda asked: asked.type("\x04"), 5),
    "Ctrl-C": (lambda asked: asked.type("\x03"), 130),
    "SIGTERM": (lambda asked: asked.signal(signal.SIGTERM), 143),
    "hung up": (lambda asked: asked.hang_up(), 143),
    "SIGKILL": (lambda asked: asked.signal(signal.SIGKILL), KILLED),
}


def transaction_with(statements: Sequence[str], words: str) -> range:
    """Return the numbers, from 1, of a transaction's statements: begin, those between, commit, and one after.

    `statements` are those of `faults.statement(0, …)`; the transaction is the one that has a statement with
    `words`. A kill before the one after it comes when the commit is done.
    """
    lowered = [line.removeprefix("statement ").lower() for line in statements]
    (inside, *more) = [at for at, line in enumerate(lowered) if words in line]
    begin = max(at for at, line in enumerate(lowered[:inside]) if line.startswith("begin"))
    commit = lowered.index("commit", inside)
    assert all(at < commit for at in more), f"several transactions say {words!r}"
    return range(begin + 1, commit + 3)


@contextmanager
def small_disk(at: Path) -> Iterator[Path]:
    """Mount a file system of its own in memory, with 4 MiB."""
    at.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", f"size=4m,mode=700,{own_disk_options()}", "commcast-test", str(at))
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


TWICE, LOST, DOUBT, CODE = "told twice", "lost", "too many in doubt", "wrong exit code"


def broken_rules(desk: Desk, codes: Iterable[int], *, kills: int = 1) -> list[str]:
    """Return which promises do not hold, now that every process has ended and the last ones ran to their end.

    `codes` are the exit codes of the last runs; one of them has to say so if somebody is in doubt, unless
    several runs were killed: one of those may have found that out before.
    """
    got, rows, codes = desk.got(), desk.rows(), list(codes)
    lost = {address for address, state in rows if state == "unknown"}
    broken = []
    if max(got.values(), default=0) > 1:
        broken.append(TWICE)
    if desk.people - set(got) - lost or {state for _, state in rows} - {"accepted", "unknown"}:
        broken.append(LOST)
    if len(lost) > kills * desk.service.window:
        broken.append(DOUBT)
    unsaid = lost and 1 not in codes and kills <= 1
    if set(codes) - {0, 1} or unsaid or (1 in codes and not lost):
        broken.append(CODE)
    return broken


def check_finished(desk: Desk, ended: Ended, *, kills: int = 0) -> int:
    """Assert that all is told after the run that finished; return how many are unknown, 0 without a kill."""
    assert broken_rules(desk, [ended.code], kills=kills) == [], ended.said
    return len(desk.unknown())


def check_all_recorded(desk: Desk) -> None:
    """Assert that the ledger has everybody who got a message as told, claimed or in doubt."""
    assert set(desk.got()) <= desk.addresses("accepted", "claimed", "unknown")


@contextmanager
def while_sending(desk: Desk, runs: Children, *command: str, **more: Any) -> Iterator[int]:
    """Start a command and yield its process id with the first messages taken and none answered."""
    enough = desk.told().total() + desk.service.window // 2  # one on each connection
    with desk.service.receiver.shut():
        pid = runs.start(desk.folder, *(command or SEND), **more)
        until(lambda: desk.told().total() >= enough, "the first messages arrive")
        yield pid


def interrupt(desk: Desk, runs: Children, number: int, *command: str, **more: Any) -> Ended:
    """Send a signal while the receiver stalls; then let it answer, and wait for the end."""
    with while_sending(desk, runs, *command, **more) as pid:
        os.kill(pid, number)
        if number != signal.SIGKILL:
            until(lambda: "Nothing more is sent" in runs.said(), "the signal is heard")
    return runs.end()
