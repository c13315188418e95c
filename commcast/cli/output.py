"""Prints results to stdout and notes to stderr, with colour at a terminal; foreign text is escaped."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# C0 except tab and line feed, DEL, C1, and what changes the reading direction: shown, never obeyed.
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_GOES_ON: ContextVar[bool] = ContextVar("goes_on", default=False)
# A command or a quoted line at the beginning; the columns of a table, a tab.
_AS_IT_IS = re.compile(r"^\s*(?:commcast|\$|\||>) |\S {2,}\S|\t")
_LAST_COMMAND = re.compile(r"(?<=: )(?:cd \S+ && )?commcast [^;]{,60}$")
PROSE = 78  # columns used of 80
LONGEST_LINE = 2000  # characters; longer lines are cut on stderr, never in a result
BOLD, DIM, RED, GREEN, YELLOW, CYAN = "bold", "dim", "red", "green", "yellow", "cyan"


def inert(text: str) -> str:
    """Return `text` with every character that a terminal would obey shown as its number."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def say(text: str) -> None:
    """Print a note to stderr: what happens, what to do next, what is wrong."""
    _flush(sys.stdout)  # a log that holds both streams keeps their order
    for line in inert(text).split("\n"):
        cut = line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + "…"
        put(_folded(cut, sys.stderr), sys.stderr)


def show(text: str, *styles: str) -> None:
    """Print a result to stdout, in these styles if it is a terminal that shows them."""
    put(paint(inert(text), *styles))


def show_prose(text: str, *styles: str) -> None:
    """Print sentences as a result: folded at a terminal, one line each in a pipe."""
    for line in inert(text).split("\n"):
        put(paint(_folded(line, sys.stdout), *styles))


def _folded(line: str, stream: TextIO) -> str:
    """Return a line of prose folded to fit a terminal; tables, and commands to copy, stay as they are."""
    if not stream.isatty() or _AS_IT_IS.search(line) or len(line) <= (room := min(PROSE, room_of(stream)[0])):
        return line
    indent = line[: len(line) - len(line.lstrip())]
    # inert() leaves no NUL in the text, so NUL can keep a command on one line.
    whole = _LAST_COMMAND.sub(lambda found: found[0].replace(" ", "\0"), line)
    lines = textwrap.wrap(
        whole.replace("commcast ", "commcast\0"),
        room,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace("\0", " ")


def picked(value: object, *names: str) -> dict[str, Any]:
    """Return these attributes by name, for a JSON document."""
    return {name: getattr(value, name) for name in names}


def show_json(kind: str, content: Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Print one JSON document; `version` rises when a key is removed or changes its meaning.

    Without an `indent` it is printed on one line, for a program that reads a stream of documents.
    """
    import json

    document = {"commcast": kind, "version": 1, **content}
    put(json.dumps(document, ensure_ascii=False, indent=indent, default=_plain))
    _flush(sys.stdout)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def put(text: str, stream: TextIO | None = None) -> None:
    """Print `text` as it is, to stdout by default; if it cannot be written, say so and go on.

    Raises BrokenPipeError if the reader of a result has gone, but not while messages are being sent.
    """
    stream = stream or sys.stdout
    with _outlasting(stream):
        print(text, file=stream)


def _flush(stream: TextIO) -> None:
    with _outlasting(stream):
        stream.flush()


def finish() -> None:
    """Write buffered output before the process ends. Raises nothing."""
    with going_on_unread():
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)


@contextmanager
def going_on_unread() -> Iterator[None]:
    """Go on when the reader of our output has gone (`| head`): sending must not end with it."""
    token = _GOES_ON.set(True)
    try:
        yield
    finally:
        _GOES_ON.reset(token)


@contextmanager
def _outlasting(stream: TextIO) -> Iterator[None]:
    """Go on without a stream that fails: a full disk under a log must not end a send halfway."""
    try:
        yield
    except BrokenPipeError:
        if stream is sys.stdout and not _GOES_ON.get():
            raise  # nobody wants this result
        silence(stream)
    except OSError as error:
        silence(stream)
        if stream is sys.stdout:
            say(f"stdout: {error.strerror or error}: not all of the output was written")


def silence(stream: TextIO) -> None:
    """Discard what is buffered in `stream` and everything written to it later."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


# rich is imported in these functions only: a pipe, a cron job and --help never load it.


def can_draw(stream: TextIO) -> bool:
    """Return whether `stream` is a terminal with cursor movement and colour."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def room_of(stream: TextIO) -> tuple[int, int]:
    """Return a terminal's usable columns, at most 199, and its lines; 79 and 24 if it has no size."""
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, lines = 0, 0
    if (said := os.environ.get("COLUMNS", "")).isdigit():
        columns = int(said)
    # One column is left free: some terminals start a new line when the last column is written.
    return max(20, min(columns or 80, 200)) - 1, lines or 24


def console_for(stream: TextIO) -> Console:
    """Return a console for this terminal that respects NO_COLOR; text is never read as markup."""
    from rich.console import Console

    columns, lines = room_of(stream)
    return Console(
        file=stream,
        force_terminal=True,
        color_system=None if os.environ.get("NO_COLOR") else "standard",
        width=columns,
        height=lines,
        markup=False,
        highlight=False,
        emoji=False,
    )


def paint(text: str, *styles: str) -> str:
    """Return `text` in these styles if stdout shows them. Make it inert first; print it with `put`."""
    style = " ".join(filter(None, styles))
    if not (text and style) or os.environ.get("NO_COLOR") or not can_draw(sys.stdout):
        return text
    from rich.color import ColorSystem
    from rich.style import Style

    return Style.parse(style).render(text, color_system=ColorSystem.STANDARD)


_LONGEST_WORD = 8  # columns; longer words may be cut in two to make a table fit


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return rows as lines, with columns as wide as their widest cell."""
    cells = _cells(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return [line.rstrip() for line in lines]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], style: str = "") -> str:
    """Return rows under a heading in this style; cells are folded if that makes the table fit a terminal."""
    cells = _cells((head, *rows))
    first, *others = lines = aligned(cells)
    least = sum(_least(column) + 2 for column in zip(*cells, strict=True)) - 2
    if can_draw(sys.stdout) and least <= room_of(sys.stdout)[0] < max(map(len, lines)):
        return _folded_table(cells, style)
    return "\n".join([paint(first, style), *others])


def _cells(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    return [[inert(str(cell)).replace("\n", " ") for cell in row] for row in rows]


def _folded_table(cells: Sequence[Sequence[str]], style: str) -> str:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    for column in zip(*cells, strict=True):
        grid.add_column(min_width=_least(column), overflow="fold")
    grid.add_row(*(Text(cell, style) for cell in cells[0]))
    for row in cells[1:]:
        grid.add_row(*map(Text, row))
    console = console_for(sys.stdout)
    with console.capture() as captured:
        console.print(grid)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _least(column: Iterable[str]) -> int:
    """Return how narrow a column may become."""
    return min(max(len(word) for cell in column for word in cell.split() or [""]), _LONGEST_WORD)
