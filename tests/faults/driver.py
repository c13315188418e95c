"""Runs commands in forked children, as they are asked for on standard input: Python starts once for all.

Reads one JSON object a line, see `runs.Runs.begin`; answers with the child's process id, then its exit code.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import commcast.operations.send
import commcast.operations.tick  # noqa: F401 - what a child would spend its first second on
from commcast import signals
from commcast.cli import main as run_cli
from commcast.ledger import store

_CAPABILITIES_3 = 0x20080522  # capabilities(7)
_OVERRIDES = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


def child(order: dict[str, Any], go: int) -> None:
    """Be one run of the command line; never returns."""
    os.chdir(order["folder"])
    out = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdin = Path("/dev/stdin").open()  # noqa: SIM115 - stays open as long as the child lives
    if order["patience"] is not None:
        vars(store)["BUSY_SECONDS"] = order["patience"]
    if order["again_after"] is not None:
        signals.AGAIN_AFTER = order["again_after"]
    if order["room"]:
        tempfile.tempdir = order["room"]
    if order["obeys_modes"]:
        obey_modes()
    os.read(go, 1)
    sys.argv = ["commcast", *order["command"]]
    code: object = 99
    try:
        run_cli()
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        os.write(2, f"TRACEBACK {error!r}\n".encode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 98)


def obey_modes() -> None:
    """Let root be bound by the modes of files, as everybody else is."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = ctypes.create_string_buffer(struct.pack("II", _CAPABILITIES_3, 0)), bytearray(24)
    buffer = (ctypes.c_char * 24).from_buffer(data)
    assert libc.capget(header, buffer) == 0
    words = list(struct.unpack("6I", data))
    words[0] &= ~_OVERRIDES
    struct.pack_into("6I", data, 0, *words)
    assert libc.capset(header, buffer) == 0, os.strerror(ctypes.get_errno())


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        order = json.loads(line)
        hold, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(go)
            child(order, hold)
        os.close(hold)
        tracer = None
        if order["strace"]:
            command = ["strace", "-f", "-p", str(pid), "-o", order["trace"], *order["strace"]]
            tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            assert "attached" in said, said
        print(json.dumps(pid), flush=True)
        os.write(go, b"!")
        os.close(go)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if tracer is not None:
            tracer.communicate()
        print(json.dumps(code), flush=True)


if __name__ == "__main__":
    main()
