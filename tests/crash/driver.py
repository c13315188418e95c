"""Runs the command line in forked children: a hundred runs without a hundred starts of Python.

Reads one JSON object a line: {"folder", "log", "runs": [{"command", "kill_after", "faults", "trace"}, …]}.
`kill_after` is in seconds or null, `faults` are those of tests/crash/faults.py or null, and `trace` is the
command line of a strace that is to be attached, or null.
Answers with the children's exit codes, negative for a signal. Started with "plain" it has no uvloop.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

if "plain" in sys.argv:
    sys.modules["uvloop"] = None  # type: ignore[assignment]

import twilio.rest.api  # noqa: F401
import typer.main

import commcast.operations.tick  # noqa: F401 - what a child would spend its first second on
from commcast.cli import app
from tests.crash.faults import Faults, install
from tests.crash.services import outbox

Cli = Callable[[list[str]], object]

_PR_SET_PTRACER = 0x59616D61  # prctl(2): who else may trace us, where the system is strict
_ANYBODY = -1
PATIENCE = 60.0  # seconds after which a child that hangs says where, and ends


def child(cli: Cli, order: dict[str, Any], run: dict[str, Any], go: int) -> None:
    """Be one run of the command line; never returns."""
    os.chdir(order["folder"])
    out = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    if run["trace"]:
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)
    faulthandler.dump_traceback_later(PATIENCE, exit=True, file=2)
    os.read(go, 1)
    code = 99
    try:
        if run["faults"]:
            install(Faults(**run["faults"]))
        cli(run["command"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 98
    except BaseException as error:
        os.write(2, f"TRACEBACK {error!r}\n".encode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def attach(trace: list[str], pid: int) -> subprocess.Popen[bytes]:
    """Start strace on a child that waits, and wait until it has hold of it."""
    tracer = subprocess.Popen([*trace, "-p", str(pid)], stdin=subprocess.DEVNULL)
    status = Path(f"/proc/{pid}/status")
    while "TracerPid:\t0" in status.read_text():
        if tracer.poll() is not None:
            raise SystemExit(f"strace cannot trace here (exit {tracer.returncode}); see what it said above")
        time.sleep(0.002)  # between two looks; nothing depends on its length
    return tracer


def serve(cli: Cli, order: dict[str, Any]) -> list[int]:
    """Run what one order asks for; return the exit codes."""
    pids: list[int] = []
    tracers: list[subprocess.Popen[bytes]] = []
    waits, go = os.pipe()
    for run in order["runs"]:
        pid = os.fork()
        if pid == 0:
            os.close(go)
            child(cli, order, run, waits)
        pids.append(pid)
        if run["trace"]:
            tracers.append(attach(run["trace"], pid))
    os.close(waits)
    os.close(go)  # all begin at the same moment
    began = time.monotonic()
    kills = [(run["kill_after"], pid) for run, pid in zip(order["runs"], pids, strict=True)]
    for after, pid in sorted(kill for kill in kills if kill[0] is not None):
        time.sleep(max(began + after - time.monotonic(), 0))
        os.kill(pid, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    for tracer in tracers:
        tracer.wait(60)
    return codes


def warm(cli: Cli) -> None:
    """Send once, into files, so that no child has to import anything."""
    with outbox() as service, TemporaryDirectory() as name, open(os.devnull, "w") as nowhere:  # noqa: PTH123
        desk = service.desk(Path(name) / "desk")
        with redirect_stdout(nowhere), redirect_stderr(nowhere), suppress(SystemExit):
            cli(["send", "pay7", "--yes", "--folder", str(desk.folder)])
        if len(desk.got()) != len(desk.people):
            raise SystemExit("the driver's own first run did not send")
    gc.collect()
    gc.freeze()


def main() -> None:
    """Serve until the input ends."""
    cli = typer.main.get_command(app)
    warm(cli)
    for line in sys.stdin:
        print(json.dumps(serve(cli, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
