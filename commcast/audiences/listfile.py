"""List files (CSV, JSON Lines) -> named cells, a line at a time, with places; hostile files refused."""

from __future__ import annotations

import csv
import difflib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Protocol

from commcast.errors import FAULTS_SHOWN_PER_FILE, Fault, InputError

CORE_COLUMNS = ("email", "phone", "name", "locale", "timezone", "components", "tags", "level")

# Names that templates already read as recipient.<name>, or that Jinja finds on a mapping before its items.
_TAKEN = frozenset({"greeting", "by_email", "email_key", "line", "extra"}) | frozenset(dir(dict))
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MOST_COLUMNS = 100
_LONGEST_LINE = 64 * 1024  # bytes
_JSON_SUFFIXES = frozenset({".jsonl", ".ndjson"})
_SUFFIXES = _JSON_SUFFIXES | {".csv", ".tsv"}

Cells = Mapping[str, str | tuple[str, ...]]


class Format(Protocol):
    """How one line of a list becomes named cells."""

    def cells(self, text: str) -> Cells | None:
        """Return the line's cells by column, None for a blank line. Raises _Broken."""

    def column(self, text: str, name: str) -> int:
        """Return where the cell `name` starts in the line, from 1; 1 where the line lacks it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a list and its place in the file."""

    number: int
    cells: Cells
    text: str
    format: Format

    def column(self, name: str) -> int:
        """Return where the cell `name` starts, from 1."""
        return self.format.column(self.text, name)


class _Broken(Exception):
    """A line that does not fit the file's structure: then no row of the file can be trusted."""

    def __init__(self, column: int, what: str, remedy: str) -> None:
        super().__init__(what)
        self.column, self.what, self.remedy = column, what, remedy

    def fault(self, name: str, number: int) -> Fault:
        return Fault(name, number, self.column, self.what, self.remedy)


def find_list(folder: Path, name: str) -> Path:
    """Return the list's real path. Raises InputError where it leads out of `folder`, by `..` or a link."""
    try:
        path = (folder / name).resolve(strict=True)
        inside = path.is_relative_to(folder.resolve(strict=True))
    except (OSError, ValueError, RuntimeError):
        remedy = "make it, or name another file under [audiences]"
        raise InputError(Fault(name, 0, 0, "is not there", remedy)) from None
    if not inside:
        raise InputError(Fault(name, 0, 0, "lies outside this folder", "copy it into audiences/"))
    if path.suffix.lower() not in _SUFFIXES:
        remedy = "write a .csv, .tsv, .jsonl or .ndjson file"
        raise InputError(Fault(name, 0, 0, "is not a list that is understood", remedy))
    return path


def check_list(path: Path, name: str) -> None:
    """Raise InputError if the file cannot be opened, is no regular file, or its header is broken."""
    with _opened(path, name) as file:
        _format(path, name, _raw_lines(file))


def read_list(path: Path, name: str, broken: list[Fault]) -> Iterator[Line]:
    """Yield the rows, one in memory at a time; blank lines are left out.

    Lines that do not fit the structure are added to `broken`, at most 100: then the list must not be used.
    Raises InputError as `check_list` does.
    """
    with _opened(path, name) as file:
        lines = _raw_lines(file)
        form, first = _format(path, name, lines)
        for number, raw in enumerate(lines, first):
            try:
                text = _decoded(raw)
                cells = form.cells(text)
            except _Broken as error:
                broken.append(error.fault(name, number))
                if len(broken) >= FAULTS_SHOWN_PER_FILE or len(raw) > _LONGEST_LINE:
                    return
                continue
            if cells is not None:
                yield Line(number, cells, text, form)


@contextmanager
def _opened(path: Path, name: str) -> Iterator[BinaryIO]:
    """Open a file without waiting: a FIFO or a device would hang or never end."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            remedy = "write the list into a file of its own"
            raise InputError(Fault(name, 0, 0, "is not a regular file", remedy))
        with os.fdopen(handle, "rb", buffering=1 << 16) as file:
            yield file
    except OSError as error:
        raise InputError(Fault(name, 0, 0, f"cannot be read: {error.strerror}")) from None


def _raw_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines without a byte order mark and their ends; one that is too long comes in pieces."""
    line = file.readline(_LONGEST_LINE + 2).removeprefix(b"\xef\xbb\xbf")
    while line:
        yield line.removesuffix(b"\n").removesuffix(b"\r")
        line = file.readline(_LONGEST_LINE + 2)


def _decoded(raw: bytes) -> str:
    if len(raw) > _LONGEST_LINE:
        raise _Broken(1, "the line is longer than 64 KiB", "write one recipient a line")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _Broken(1, "this is UTF-16", "save the file as UTF-8")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        column = len(raw[: error.start].decode("utf-8")) + 1
        raise _Broken(column, "this is not UTF-8 text", "save the file as UTF-8") from None
    if "\0" in text:
        raise _Broken(text.index("\0") + 1, "holds a NUL character", "save the file as UTF-8 text")
    if "\r" in text:
        raise _Broken(text.index("\r") + 1, "holds a lone carriage return", "end each line with LF or CRLF")
    return text


def _format(path: Path, name: str, lines: Iterator[bytes]) -> tuple[Format, int]:
    """Return how the file's lines are read, and the number of the first line that is a row."""
    suffix = path.suffix.lower()
    if suffix in _JSON_SUFFIXES:
        return _JsonLines(), 1
    for number, raw in enumerate(lines, 1):
        try:
            text = _decoded(raw)
            if text.strip():
                return _Table.from_header(text, "\t" if suffix == ".tsv" else ""), number + 1
        except _Broken as error:
            raise InputError(error.fault(name, number)) from None
    remedy = "write a header line such as email,name and a row a recipient"
    raise InputError(Fault(name, 0, 0, "is empty", remedy))


class _Table:
    """Lines of cells under a header. A quoted cell ends on its line: an open quote cannot swallow people."""

    def __init__(self, columns: tuple[str, ...], delimiter: str) -> None:
        self._columns, self._delimiter = columns, delimiter

    @classmethod
    def from_header(cls, text: str, delimiter: str) -> _Table:
        delimiter = delimiter or max(",;\t", key=text.count)
        columns = tuple(cell.strip() for cell in _split(text, delimiter))
        places = _starts(text, delimiter)
        if len(columns) > _MOST_COLUMNS:
            raise _Broken(1, f"more than {_MOST_COLUMNS} columns", "keep those that templates use")
        for index, column in enumerate(columns):
            _check_column(column, places[index])
            if column in columns[:index]:
                raise _Broken(places[index], f"column {column} stands twice", "remove or rename one of them")
        if not {"email", "phone"} & set(columns):
            raise _Broken(1, "neither an email nor a phone column", "add one to the header line")
        return cls(columns, delimiter)

    def cells(self, text: str) -> Cells | None:
        if not text.strip(self._delimiter + " \t"):
            return None
        cells = _split(text, self._delimiter)
        if len(cells) != len(self._columns):
            starts = [*_starts(text, self._delimiter), len(text) + 1]
            raise _Broken(
                starts[min(len(cells), len(self._columns))],
                f"{len(cells)} cells, but the header has {len(self._columns)} columns",
                f"add or remove cells, and quote a cell that holds {self._delimiter!r}",
            )
        return dict(zip(self._columns, cells, strict=True))

    def column(self, text: str, name: str) -> int:
        return _starts(text, self._delimiter)[self._columns.index(name)] if name in self._columns else 1


class _JsonLines:
    """One flat JSON object a line. Numbers stay as they are written; true and false are refused."""

    def cells(self, text: str) -> Cells | None:
        if not text.strip(" \t"):
            return None
        try:
            found = json.loads(
                text, object_pairs_hook=_once, parse_int=str, parse_float=str, parse_constant=_no_constant
            )
        except json.JSONDecodeError as error:
            raise _Broken(error.colno, f"is not JSON: {error.msg}", "write one object a line") from None
        except RecursionError:
            raise _Broken(1, "is nested too deeply", "write one flat object a line") from None
        if not isinstance(found, dict):
            raise _Broken(1, "is not an object", 'write {"email": "…"}')
        return {key: self._cell(key, value, self.column(text, key)) for key, value in found.items()}

    def column(self, text: str, name: str) -> int:
        return text.find(json.dumps(name)) + 1 or 1

    @staticmethod
    def _cell(key: str, value: object, place: int) -> str | tuple[str, ...]:
        _check_column(key, place)
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        if isinstance(value, list) and key in {"components", "tags"}:
            texts = tuple(item for item in value if isinstance(item, str))
            if len(texts) == len(value):
                return texts
        raise _Broken(place, f"{key} is not text", "put the value in quotes")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Broken(1, "a key stands twice", "remove one of them")
    if len(found) > _MOST_COLUMNS:
        raise _Broken(1, f"more than {_MOST_COLUMNS} keys", "keep those that templates use")
    return found


def _no_constant(name: str) -> str:
    raise _Broken(1, f"{name} is not JSON", "write a number, or a text in quotes")


def _check_column(column: str, place: int) -> None:
    """Raise _Broken for a name that no template can use, or that is surely a slip for one we know."""
    what, remedy = _column_problem(column)
    if what:
        raise _Broken(place, what, remedy)


@lru_cache(maxsize=256)  # JSON names its columns anew on every line
def _column_problem(column: str) -> tuple[str, str]:
    if column in CORE_COLUMNS:
        return "", ""
    if "@" in column:
        return "an address where a column's name should be", "start with a line such as email,name"
    if not _COLUMN.fullmatch(column):
        better = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")[:40]
        if "|" in column:
            return "columns separated by |", "separate them by a comma, a semicolon or a tab"
        hint = f"write {better}" if _COLUMN.fullmatch(better) else "use a-z, 0-9 and _, a letter first"
        return f"{column[:40]!a} is not a column name", hint
    if column in _TAKEN:
        return f"{column} already has a meaning in templates", "rename the column"
    if near := difflib.get_close_matches(column, CORE_COLUMNS, n=1, cutoff=0.8):
        return f"unknown column {column}", f"did you mean {near[0]}? if not, rename it"
    return "", ""


def _split(text: str, delimiter: str) -> list[str]:
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True, skipinitialspace=True))
    except csv.Error:
        place = _starts(text, delimiter)[-1]
        what, remedy = (
            "a quote that is not closed where its cell ends",
            'close it; a quote inside is written ""',
        )
        raise _Broken(place, what, remedy) from None


def _starts(text: str, delimiter: str) -> list[int]:
    """Return where each cell starts, from 1. It ends with the cell whose quotes are broken, where one is."""
    starts, fresh, quoted, inside = [1], True, False, False
    for place, char in enumerate(text, 1):
        if char == '"' and (fresh or quoted):
            quoted, inside = True, not inside
        elif char == delimiter and not inside:
            starts.append(place + 1)
            fresh, quoted = True, False
            continue
        elif quoted and not inside:
            break
        fresh = fresh and char == " "
    return starts
