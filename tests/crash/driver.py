"""Runs the command line in forked children: a hundred runs without a hundred starts of Python.

Reads one JSON object per line, {"folder", "log", "runs"}; a run has the fields of `harness.Run`. Answers
with the process ids of the children as they start, then with their exit codes, negative for a signal.
"""

from __future__ import annotations

import ctypes
import faulthandler
import fcntl
import gc
import json
import os
import struct
import subprocess
import sys
import tempfile
import termios
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import twilio.rest.api  # noqa: F401
import typer.main

import commcast.operations.tick  # noqa: F401 - what a child would spend its first second on
from commcast import signals
from commcast.cli import app
from commcast.cli import main as run_cli
from tests.crash.faults import Faults, install, wait_for_locks
from tests.crash.services import outbox

_PR_SET_PTRACER = 0x59616D61  # prctl(2): who else may trace us, where the system is strict
_ANYBODY = -1
_CAPABILITIES_3 = 0x20080522  # capabilities(7)
_OVERRIDES = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
PATIENCE = 120.0  # seconds after which a child that hangs says where, and ends


def child(order: dict[str, Any], run: dict[str, Any], go: int) -> None:
    """Be one run of the command line; never returns."""
    os.chdir(order["folder"])
    if run["terminal"]:
        sit_at(run["terminal"])
    else:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
    # The old ones are the driver's, and know what those files can do.
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))
    if run["trace"]:
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)
    faulthandler.dump_traceback_later(PATIENCE, exit=True, file=2)
    os.read(go, 1)
    code: object = 99
    try:
        prepare(run)
        sys.argv = ["commcast", *run["command"]]
        run_cli()
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        os.write(2, f"TRACEBACK {error!r}\n".encode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 98)


def sit_at(terminal: str) -> None:
    """Make a terminal this child's own, as a shell does."""
    os.setsid()
    screen = os.open(terminal, os.O_RDWR)
    fcntl.ioctl(screen, termios.TIOCSCTTY, 0)
    for stream in range(3):
        os.dup2(screen, stream)


def prepare(run: dict[str, Any]) -> None:
    """Change in this process what the run asks for."""
    if run["patience"] is not None:
        wait_for_locks(run["patience"])
    if run["again_after"] is not None:
        signals.AGAIN_AFTER = run["again_after"]
    if run["room"]:
        tempfile.tempdir = run["room"]
    if run["obeys_modes"]:
        obey_modes()
    if run["faults"]:
        install(Faults(**run["faults"]))


def obey_modes() -> None:
    """Bind root by the modes of files, like everybody else."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = ctypes.create_string_buffer(struct.pack("II", _CAPABILITIES_3, 0)), bytearray(24)
    buffer = (ctypes.c_char * 24).from_buffer(data)
    assert libc.capget(header, buffer) == 0
    words = list(struct.unpack("6I", data))
    words[0] &= ~_OVERRIDES
    struct.pack_into("6I", data, 0, *words)
    assert libc.capset(header, buffer) == 0, os.strerror(ctypes.get_errno())


def attach(trace: list[str], pid: int) -> subprocess.Popen[bytes]:
    """Start strace on a child that waits to start, and wait until strace holds it."""
    tracer = subprocess.Popen([*trace, "-p", str(pid)], stdin=subprocess.DEVNULL)
    status = Path(f"/proc/{pid}/status")
    while "TracerPid:\t0" in status.read_text():
        if tracer.poll() is not None:
            raise SystemExit(f"strace cannot trace here (exit {tracer.returncode}); see what it said above")
        time.sleep(0.002)  # between two looks; nothing depends on its length
    return tracer


def serve(order: dict[str, Any]) -> None:
    """Run what one order asks for, and answer."""
    pids: list[int] = []
    tracers: list[subprocess.Popen[bytes]] = []
    waits, go = os.pipe()
    for run in order["runs"]:
        pid = os.fork()
        if pid == 0:
            os.close(go)
            child(order, run, waits)
        pids.append(pid)
        if run["trace"]:
            tracers.append(attach(run["trace"], pid))
    print(json.dumps(pids), flush=True)
    os.close(waits)
    os.close(go)  # all begin at the same moment
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    for tracer in tracers:
        tracer.wait(60)
    print(json.dumps(codes), flush=True)


def warm() -> None:
    """Send once, into files, so that no child has to import anything."""
    cli = typer.main.get_command(app)
    with outbox() as service, tempfile.TemporaryDirectory() as name, Path(os.devnull).open("w") as nowhere:
        desk = service.desk(Path(name) / "desk")
        with redirect_stdout(nowhere), redirect_stderr(nowhere), suppress(SystemExit):
            cli(["send", "pay7", "--yes", "--folder", str(desk.folder)])
        if len(desk.got()) != len(desk.people):
            raise SystemExit("the driver's own first run did not send")
    gc.collect()
    gc.freeze()


def main() -> None:
    """Serve until the input ends."""
    warm()
    for line in sys.stdin:
        serve(json.loads(line))


if __name__ == "__main__":
    main()
