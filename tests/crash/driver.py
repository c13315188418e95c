"""Runs the command line in forked children: a hundred runs without a hundred starts of Python.

Reads one JSON object a line: {"folder", "commands": [[…], …], "kill_after": seconds or null, "log"}.
Answers with the children's exit codes, negative for a signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import commcast.adapters.outbox
import commcast.adapters.sendgrid
import commcast.adapters.smtp
import commcast.adapters.twilio
import commcast.sending
import commcast.tick  # noqa: F401 - what a child would spend its first second on
from commcast.cli import app


def child(folder: str, command: list[str], log: str) -> None:
    """Be one run of the command line; never returns."""
    os.chdir(folder)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    code = 99
    try:
        app(command)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 98
    except BaseException as error:
        os.write(2, f"TRACEBACK {error!r}\n".encode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        order = json.loads(line)
        children = []
        for command in order["commands"]:
            pid = os.fork()
            if pid == 0:
                child(order["folder"], command, order["log"])
            children.append(pid)
        if order["kill_after"] is not None:
            time.sleep(order["kill_after"])
            for pid in children:
                os.kill(pid, signal.SIGKILL)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        print(json.dumps(codes), flush=True)


if __name__ == "__main__":
    main()
