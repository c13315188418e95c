"""Runs the command that wakes somebody, at most once for each nudge, with JSON on its standard input."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from commcast.ledger.calls import begin_call, end_call
from commcast.ledger.store import Ledger

LONGEST_CALL = 20.0  # seconds: a pager that takes longer is not waited for
LONGEST_DETAIL = 200  # characters of what the command complained of


def call_once(
    ledger: Ledger,
    incident: str,
    nudge: str,
    command: Sequence[str],
    document: str,
    *,
    folder: Path,
    clock: Callable[[], datetime],
) -> None:
    """Run the command for this nudge, unless some process has begun to; record what came of it.

    No shell reads it, and what it prints goes nowhere but for the last line of a complaint.
    """
    with ledger.write() as connection:
        if not begin_call(connection, incident, nudge, clock()):
            return
    is_accepted, detail = _run(command, document, folder)
    with ledger.write() as connection:
        end_call(connection, incident, nudge, is_accepted=is_accepted, detail=detail, now=clock())


def _run(command: Sequence[str], document: str, folder: Path) -> tuple[bool, str]:
    try:
        done = subprocess.run(
            list(command),
            input=document.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=folder,
            timeout=LONGEST_CALL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"{command[0]} took longer than {LONGEST_CALL:.0f} seconds and was ended"
    except OSError as error:
        return False, f"{command[0]} cannot be run: {error.strerror}"
    if done.returncode == 0:
        return True, ""
    complaint = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    said = f": {complaint[0][:LONGEST_DETAIL]}" if complaint else ""
    return False, f"{command[0]} ended with {done.returncode}{said}"
