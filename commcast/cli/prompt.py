"""Asks a person at a terminal: one line, yes or no, or a text in their editor. Questions go to stderr."""

from __future__ import annotations

import os
import re
import select
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from commcast.cli.output import inert, say
from commcast.errors import DecisionNeeded, Fault, InputError
from commcast.files import FORBIDDEN, read_text_file

# What no incident file may hold, and what may not be in one line of it.
_UNFIT = re.compile(FORBIDDEN.pattern + r"|[\r\t]")
Check = Callable[[str], object]  # raises InputError, or ValueError("what is wrong; what to write")


def at_terminal() -> bool:
    """Return whether a person can be asked: questions are seen, and answers can be typed."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str, seconds: float | None = None) -> str:
    """Return the line typed after `question`. Raises DecisionNeeded if the input ends without an answer.

    Raises NothingTyped if nothing is typed within `seconds`.
    """
    sys.stderr.write(inert(question) + " ")
    sys.stderr.flush()
    if seconds is not None and not _is_typed_within(max(seconds, 0.0)):
        sys.stderr.write("\n")
        raise NothingTyped
    answer = sys.stdin.readline()
    if not answer:
        sys.stderr.write("\n")
        raise DecisionNeeded("There was no answer.")
    return answer.strip()


class NothingTyped(Exception):
    """Nothing was typed in time."""


def _is_typed_within(seconds: float) -> bool:
    """Wait for a line. A terminal gives whole lines, so none is left in Python's buffer."""
    try:
        handle = sys.stdin.fileno()
    except (OSError, ValueError):  # not a file, so there is nothing to wait for: it answers at once
        return True
    return bool(select.select([handle], [], [], seconds)[0])


def ask_until_good(question: str, check: Check, *, is_needed: bool = True) -> str:
    """Ask until `check` takes the answer, and return it; say what is wrong with the others.

    If it is not needed, the answer may be empty.
    """
    while True:
        answer = ask(question)
        try:
            if not answer and not is_needed:
                return answer
            if not answer:
                raise ValueError("is required; Ctrl-C cancels and leaves nothing behind")
            if unfit := _UNFIT.search(answer):
                raise ValueError(f"contains {_named(unfit[0])}; type it again, in plain text")
            check(answer)
        except InputError as error:
            for fault in error.faults:
                say(f"  {fault._replace(file='')}")
        except ValueError as error:
            say(f"  {error}")
        else:
            return answer


def _named(character: str) -> str:
    is_byte = "\ud800" <= character <= "\udfff"  # how Python shows a byte that is not text
    return "bytes that are not text" if is_byte else f"the control character U+{ord(character):04X}"


def says_yes(question: str) -> bool:
    """Return whether the answer is yes; anything else, even nothing, is no. Raises as `ask` does."""
    return ask(f"{question} [y/N]").lower() in {"y", "yes"}


def edited(text: str) -> str:
    """Return `text` as changed in $VISUAL or $EDITOR (else vi).

    Raises InputError if no editor runs, or it fails: then nothing was changed.
    """
    with tempfile.TemporaryDirectory(prefix="commcast-") as folder:
        path = Path(folder) / "incident.yaml"
        path.write_text(text, encoding="utf-8")
        edit_file(path)
        return read_text_file(path, name="the edited text")


def edit_file(path: Path) -> None:
    """Open a file in $VISUAL or $EDITOR (else vi). Raises InputError if no editor runs, or it fails."""
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        done = subprocess.run([*shlex.split(command), str(path)], check=False)
        if done.returncode:
            raise OSError(f"it exited with {done.returncode}")
    except (OSError, ValueError) as error:
        what = f"the editor {command!r:.60} failed ({error})"
        remedy = "set EDITOR to one that works here, or use options"
        raise InputError(Fault("", 0, 0, what, remedy)) from None
