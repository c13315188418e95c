"""List files (CSV, JSON Lines) -> named cells, by blocks of lines, with places; hostile files refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from commcast.audiences.formats import LONGEST_LINE, Broken, Format, JsonLines, Line, Rows, Table, decoded
from commcast.errors import FAULTS_SHOWN_PER_FILE, Fault, InputError

_MARK = b"\xef\xbb\xbf"  # the byte order mark that some programs write
_JSON_SUFFIXES = frozenset({".jsonl", ".ndjson"})
_SUFFIXES = _JSON_SUFFIXES | {".csv", ".tsv"}


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


def read_list(
    path: Path, name: str, broken: list[Fault], *, by_columns: bool = True
) -> Iterator[Rows | list[Line]]:
    """Yield the rows, one block of at most 64 KiB in memory at a time; blank lines are left out of `Line`s.

    A block of a table comes as `Rows` where that surely gives what reading it line by line would. All other
    blocks are read line by line, and without `by_columns` every one.

    Lines that do not fit the structure are added to `broken`, at most 100: then the list must not be used.
    Raises InputError as `check_list` does.
    """
    with _opened(path, name) as file:
        form, number = _format(path, name, _raw_lines(file))
        for block in _blocks(file):
            rows = form.rows(block, number) if by_columns and isinstance(form, Table) else None
            if rows is not None:
                yield rows
            else:
                yield _lines(block, number, form, name, broken)
                if len(broken) >= FAULTS_SHOWN_PER_FILE or any(map(_is_too_long, block.split(b"\n"))):
                    return
            number += block.count(b"\n") + 1


def _lines(block: bytes, first: int, form: Format, name: str, broken: list[Fault]) -> list[Line]:
    """Return the rows of a block, and put into `broken` what ails the others."""
    found = []
    for number, raw in enumerate(block.split(b"\n"), first):
        try:
            text = decoded(raw.removesuffix(b"\r"))
            cells = form.cells(text)
        except Broken as error:
            broken.append(error.fault(name, number))
            if len(broken) >= FAULTS_SHOWN_PER_FILE or _is_too_long(raw):
                break
            continue
        if cells is not None:
            found.append(Line(number, cells, text, form))
    return found


def _is_too_long(raw: bytes) -> bool:
    return len(raw.removesuffix(b"\r")) > LONGEST_LINE


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
    line = file.readline(LONGEST_LINE + 2).removeprefix(_MARK)
    while line:
        yield line.removesuffix(b"\n").removesuffix(b"\r")
        line = file.readline(LONGEST_LINE + 2)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the rest of a file by whole lines, without the last line end of each block.

    A block is longer than 64 KiB only where one of its lines is; such a line ends the reading.
    """
    rest = b"" if file.tell() else file.read(len(_MARK)).removeprefix(_MARK)
    while read := file.read(max(LONGEST_LINE - len(rest), 1 << 10)):
        head, end, tail = (rest + read).rpartition(b"\n")
        if end:
            yield head
        rest = tail
        if len(rest) > LONGEST_LINE + 1:  # its CR may be the last byte
            yield rest
            return
    if rest:
        yield rest


def _format(path: Path, name: str, lines: Iterator[bytes]) -> tuple[Format, int]:
    """Return how the file's lines are read, and the number of the first line that is a row."""
    suffix = path.suffix.lower()
    if suffix in _JSON_SUFFIXES:
        return JsonLines(), 1
    for number, raw in enumerate(lines, 1):
        try:
            text = decoded(raw)
            if text.strip():
                return Table.from_header(text, "\t" if suffix == ".tsv" else ""), number + 1
        except Broken as error:
            raise InputError(error.fault(name, number)) from None
    remedy = "write a header line such as email,name and a row a recipient"
    raise InputError(Fault(name, 0, 0, "is empty", remedy))
