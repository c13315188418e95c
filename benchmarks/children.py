"""Runs other programs: without inherited settings, with a deadline, measured, and ended by their own id."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
DEADLINE = 900.0  # seconds that one run may take
_STARTS_WITHIN = 20.0  # seconds in which a server must answer
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
_INHERITED = ("PYTHON", "COMMCAST_", "SENDGRID_", "TWILIO_", "TYPER_")


class Void(Exception):
    """A run that says nothing: it failed, took too long, or lost a message."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that ended well. `seconds` and `cpu` are of the whole process.

    `peak` is its RSS in bytes, 0 where it is less than ours: what a child has of us before it becomes another
    program counts as its own.
    """

    seconds: float
    cpu: float
    peak: int
    out: str


def environment(more: Mapping[str, str] | None = None, *, ours: bool = True) -> dict[str, str]:
    """Return what a child inherits: nothing that makes Python slow (no bytecode) or leads elsewhere.

    `ours` lets it import commcast and benchmarks from this checkout; `more` is set on top.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_INHERITED) and not name.lower().endswith("_proxy")
    }
    path = {"PYTHONPATH": str(ROOT)} if ours else {}
    tools = os.pathsep.join([kept.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    # Desks are copied over each other here: outside of them no mark may tell which ledger sent last.
    fixed = {"PATH": tools, "LANG": "C.UTF-8", "NO_COLOR": "1", "XDG_STATE_HOME": f"{os.devnull}/none"}
    return {**kept, **path, **fixed, **(more or {})}


def run(
    command: Sequence[object],
    *,
    env: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    deadline: float = DEADLINE,
) -> Ended:
    """Run a program to its end. Raises Void where it ends in anything but 0, or not in time."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        start = time.perf_counter()
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=error,
            cwd=folder,
            env=environment() if env is None else dict(env),
        )
        timer = threading.Timer(deadline, child.kill)
        timer.start()
        try:
            # Not Popen.wait: only wait4 tells what this one child used.
            _, status, used = os.wait4(child.pid, 0)
            seconds = time.perf_counter() - start
            child.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            child.kill()
            child.wait()
            raise
        finally:
            timer.cancel()
        out.seek(0)
        text = out.read().decode(errors="replace")
        if child.returncode:
            error.seek(0)
            said = (error.read().decode(errors="replace") or text).strip()[-600:]
            late = f" after {deadline:.0f} s" if seconds >= deadline else ""
            raise Void(f"{_short(words)} ended in {child.returncode}{late}: {said}")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = used.ru_maxrss * _MAXRSS_UNIT if used.ru_maxrss > own else 0
    return Ended(seconds, used.ru_utime + used.ru_stime, peak, text)


@contextmanager
def running(command: Sequence[object], *, ready: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server beside us until the block ends; yield it and its first line.

    With `ready` the server is waited for until its first line begins so; without it nothing is read of it.
    """
    words = [str(word) for word in command]
    with tempfile.TemporaryFile("w+") as error:
        server = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if ready else subprocess.DEVNULL,
            stderr=error,
            text=True,
            cwd=ROOT,
            env=environment(),
        )
        try:
            line = _first_line(server, ready) if ready else ""
            if not line.startswith(ready):
                error.seek(0)
                raise Void(f"{_short(words)} did not start: {(line + error.read()).strip()[-600:]}")
            yield server, line
        finally:
            _end(server)


def _first_line(server: subprocess.Popen[str], ready: str) -> str:
    assert server.stdout is not None, ready
    timer = threading.Timer(_STARTS_WITHIN, server.kill)
    timer.start()
    try:
        return server.stdout.readline().strip()
    finally:
        timer.cancel()


def _end(server: subprocess.Popen[str]) -> None:
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    if server.stdout is not None:
        server.stdout.close()


def _short(words: Sequence[str]) -> str:
    return " ".join([Path(words[0]).name, *words[1:4]])
