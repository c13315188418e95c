"""Result to stdout, talk to stderr, tables, colour, nothing foreign raw."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

# C0 but tab and line feed, DEL, C1, and what turns the reading direction: shown, never obeyed.
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_GOES_ON: ContextVar[bool] = ContextVar("goes_on", default=False)
# A command or a quoted line at the beginning; the columns of a table, a tab.
_AS_IT_IS = re.compile(r"^\s*(?:commcast|\$|\||>) |\S {2,}\S|\t")
_LAST_COMMAND = re.compile(r"(?<=: )(?:cd \S+ && )?commcast [^;]{,60}$")
PROSE = 78  # columns used of 80
LONGEST_LINE = 2000  # characters; a longer one is cut in talk, never in a result


def inert(text: str) -> str:
    """Return `text` with every character that a terminal would obey shown as its number."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def say(text: str) -> None:
    """Print talk to stderr: what happens, what to do next, what is wrong."""
    _flush(sys.stdout)  # so that a log which holds both streams keeps their order
    for line in inert(text).split("\n"):
        cut = line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + "…"
        put(_folded(cut, sys.stderr), sys.stderr)


def show(text: str) -> None:
    """Print a result to stdout."""
    put(inert(text))


def show_prose(text: str) -> None:
    """Print a result that is sentences: folded at a terminal, as it is for a program that reads it."""
    for line in inert(text).split("\n"):
        put(_folded(line, sys.stdout))


def _folded(line: str, stream: TextIO) -> str:
    """Return a line of prose as a terminal shows it whole; tables, and commands to copy, stay as they are."""
    if len(line) <= PROSE or not stream.isatty() or _AS_IT_IS.search(line):
        return line
    indent = line[: len(line) - len(line.lstrip())]
    # What inert() leaves holds no NUL: it keeps a command together.
    whole = _LAST_COMMAND.sub(lambda found: found[0].replace(" ", "\0"), line)
    lines = textwrap.wrap(
        whole.replace("commcast ", "commcast\0"),
        min(PROSE, room_of(stream)[0]),
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace("\0", " ")


def show_json(kind: str, content: Mapping[str, Any]) -> None:
    """Print one JSON document; `version` rises when a key changes its meaning or goes."""
    import json

    document = {"commcast": kind, "version": 1, **content}
    put(json.dumps(document, ensure_ascii=False, indent=2, default=str))


def show_json_line(kind: str, content: Mapping[str, Any]) -> None:
    """Print one JSON document on one line, at once: one of many, for a program that reads on."""
    import json

    put(json.dumps({"commcast": kind, "version": 1, **content}, ensure_ascii=False, default=str))
    _flush(sys.stdout)


def put(text: str, stream: TextIO | None = None) -> None:
    """Print `text` as it is, to stdout unless told otherwise; where that takes no more, say so and go on.

    Raises BrokenPipeError where nobody reads a result any more, but not where messages are being sent.
    """
    stream = stream or sys.stdout
    try:
        print(text, file=stream)
    except BrokenPipeError:
        _without_reader(stream)
    except OSError as error:
        _give_up(stream, error)


def finish() -> None:
    """Write what still waits to be written, before the process ends. Raises nothing."""
    for stream in (sys.stdout, sys.stderr):
        try:
            _flush(stream)
        except BrokenPipeError:
            silence(stream)


def silence(stream: TextIO) -> None:
    """Let whatever is written to `stream` from now on, and waits in it, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextmanager
def going_on_unread() -> Iterator[None]:
    """Go on where nobody reads our output any more (`| head`): they are done with it, not with sending."""
    token = _GOES_ON.set(True)
    try:
        yield
    finally:
        _GOES_ON.reset(token)


def _without_reader(stream: TextIO) -> None:
    """Go on without whoever read our talk; end where nobody wants a result."""
    if stream is sys.stdout and not _GOES_ON.get():
        raise  # the BrokenPipeError that is being handled
    silence(stream)


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except BrokenPipeError:
        _without_reader(stream)
    except OSError as error:
        _give_up(stream, error)


def _give_up(stream: TextIO, error: OSError) -> None:
    """Go on without a stream that fails: a full disk under a log must not end a send half way."""
    silence(stream)
    if stream is sys.stdout:
        say(f"stdout: {error.strerror or error}: not all of the output was written")


def room_of(stream: TextIO) -> tuple[int, int]:
    """Return the columns to draw in on a terminal, at most 199, and its lines; without a size 79 and 24."""
    try:
        found = os.get_terminal_size(stream.fileno())
        columns, lines = found.columns, found.lines
    except (OSError, ValueError):
        columns, lines = 0, 0
    if (said := os.environ.get("COLUMNS", "")).isdigit():
        columns = int(said)
    # One column is left free: some terminals begin a new line when the last one is written.
    return max(20, min(columns or 80, 200)) - 1, lines or 24


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under a heading, in columns as wide as they need to be."""
    cells = [list(head), *[[inert(str(cell)).replace("\n", " ") for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"


def has_colour() -> bool:
    """Return whether stdout shows colour: a terminal that can, and whose owner has not said no."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, *codes: str) -> str:
    """Return `text` in colour where stdout shows it. Make it inert first; print it with `show_painted`."""
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if has_colour() and text else text


def show_painted(text: str) -> None:
    """Print a result that holds our own colours; whatever others wrote in it has been made inert before."""
    put(text)


COLUMNS = 79
_NARROWEST = 8


def wrapped_table(head: Sequence[str], rows: Sequence[Sequence[str]], room: int = COLUMNS) -> str:
    """Return rows under a heading, at most `room` characters wide where their columns can be made so."""
    cells = [list(head), *[[inert(str(cell)).replace("\n", " ") for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    while sum(widths) + 2 * (len(widths) - 1) > room and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    lines: list[str] = []
    for row in cells:
        parts = [
            textwrap.wrap(cell, width, break_on_hyphens=False) or [""]
            for cell, width in zip(row, widths, strict=True)
        ]
        for i in range(max(map(len, parts))):
            line = [part[i] if i < len(part) else "" for part in parts]
            padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)
