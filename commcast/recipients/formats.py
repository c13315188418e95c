"""Reads CSV and JSON Lines in blocks, as named cells with their places; refuses hostile files."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BufferedReader
from itertools import repeat, zip_longest
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from commcast.errors import FAULTS_SHOWN_PER_FILE, Fault, InputError
from commcast.files import CONFLICT, line_and_column, open_regular
from commcast.recipients.headers import CORE_COLUMNS, column_problem, columns_of, opt_out_of

LONGEST_LINE = 64 * 1024  # bytes
_MOST_COLUMNS = 100
_MOST_LINES = 100  # of a row with line breaks in quotes
# What a row has in the column of its address, at least.
_ADDRESS = re.compile(r'\s*"?([^\s@"]+@[^\s@"]+|\+?[0-9][0-9 ()/.-]{6,})"?\s*')
_CONFLICT_LINES = ("<<<<<<< ", "=======", ">>>>>>> ")

Cells = Mapping[str, str | tuple[str, ...] | None]  # None: JSON that is not text


class ListRow(NamedTuple):
    """One row of a list and its line number in the file."""

    number: int
    cells: Cells
    text: str
    format: ListFormat

    def place(self, name: str) -> tuple[int, int]:
        """Return line and column at which the cell `name` starts, from 1."""
        line, column = line_and_column(self.text, self.format.column(self.text, name) - 1)
        return self.number + line - 1, column


class Rows(NamedTuple):
    """Many rows of a list by columns: the cells of each, one per row. Every cell is text."""

    numbers: Sequence[int]
    texts: Sequence[str]
    columns: Mapping[str, Sequence[str]]
    format: ListFormat

    def line(self, index: int) -> ListRow | None:
        """Return one row by itself, None if it is blank."""
        text = self.texts[index]
        cells = self.format.cells(text)
        return None if cells is None else ListRow(self.numbers[index], cells, text, self.format)


class Broken(Exception):
    """A row cannot be read. Holds (column, what, remedy)."""


class BrokenHeader(Broken):
    """The header of a list names columns that it cannot have. Holds (column, what, remedy) of each."""


class Misshapen(Broken):
    """The file is not the list that it should be, so no row can be trusted."""


def _clean(block: bytes) -> str | None:
    """Return a block as text whose lines end in LF alone; None if a line has to be read by itself."""
    block = block.replace(b"\r\n", b"\n").removesuffix(b"\r")
    if len(block) > LONGEST_LINE or b"\r" in block or b"\0" in block:
        return None
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _decoded(raw: bytes) -> str:
    """Return a line as text; bytes that are not UTF-8 stay as halves of characters. Raises Broken."""
    if len(raw) > LONGEST_LINE:
        raise Misshapen(1, "the line is longer than 64 KiB", "write one recipient per line")
    if raw.startswith(_CONFLICT_LINES[0].encode()):
        raise Broken(1, *CONFLICT)
    text = raw.decode("utf-8", "surrogateescape")
    if "\0" in text:
        raise Broken(text.index("\0") + 1, "has a NUL character", "save the file as UTF-8 text")
    if "\r" in text:
        raise Broken(text.index("\r") + 1, "has a lone carriage return", "end each line with LF or CRLF")
    return text


class CellTable:
    """Rows of cells under a header, as RFC 4180 has them; an open quote swallows no row."""

    def __init__(self, header: tuple[str, ...], delimiter: str) -> None:
        self._columns, self._delimiter = columns_of(header), delimiter

    @classmethod
    def from_header(cls, text: str, delimiter: str) -> CellTable:
        """Return the table that a header begins. Raises Broken."""
        delimiter = delimiter or max(",;\t", key=text.count)
        table = cls(tuple(cell.strip() for cell in _split(text, delimiter)), delimiter)
        columns, places = table._columns, _starts(text, delimiter)
        faults: list[tuple[int, str, str]] = []
        if len(columns) > _MOST_COLUMNS:
            faults.append((1, f"more than {_MOST_COLUMNS} columns", "keep those that templates use"))
        for index, column in enumerate(columns[:_MOST_COLUMNS]):
            what, remedy = column_problem(column) if column else ("", "")
            if column and column in columns[:index]:
                what, remedy = f"column {column} appears twice", "remove or rename one of them"
            if what:
                faults.append((places[index], what, remedy))
        if not faults and not {"email", "phone"} & set(columns):
            faults.append((1, "neither an email nor a phone column", "add one to the header line"))
        if faults:
            raise BrokenHeader(*faults)
        return table

    def cells(self, text: str) -> Cells | None:
        """Return the row's cells by column, missing last ones empty; None for a blank row. Raises Broken."""
        if not text.strip(self._delimiter + " \t"):
            return None
        cells, width = _split(text, self._delimiter), len(self._columns)
        if any(map(str.strip, cells[width:])):
            what = f"{len(cells)} cells, but the header has {width} columns"
            remedy = f"remove cells, and quote a cell that contains {self._delimiter!r}"
            raise Broken(_starts(text, self._delimiter)[width], what, remedy)
        return dict(zip_longest(self._columns, cells[:width], fillvalue=""))

    def extent(self, lines: Sequence[str], at: int) -> int:
        """Return how many lines the row that starts at `at` has; 0 if they end before it does.

        A quote that is not closed, or behind which another row would disappear, ends with its line.
        """
        quotes, length = lines[at].count('"'), 0
        if quotes % 2 == 0 or self._is_whole(lines[at]):
            return 1
        for end, line in enumerate(lines[at + 1 : at + _MOST_LINES], at + 1):
            quotes, length = quotes + line.count('"'), length + len(line)
            if self._is_row(line) or length > LONGEST_LINE:
                return 1
            if quotes % 2 == 0:
                return end - at + 1 if self._is_whole("\n".join(lines[at : end + 1])) else 1
        return 0 if len(lines) < at + _MOST_LINES else 1

    def _is_whole(self, text: str) -> bool:
        try:
            return bool(_split(text, self._delimiter))
        except Broken:
            return False

    def _is_row(self, line: str) -> bool:
        """Return whether a line behind an open quote has enough cells and an address where a row has it."""
        cells = line.split(self._delimiter)
        inside = (line if line.count('"') % 2 == 0 else line.partition('"')[0]).split(self._delimiter)
        return len(cells) >= len(self._columns) and any(
            column in ("email", "phone") and _ADDRESS.fullmatch(cell)
            for column, cell in zip(self._columns, inside, strict=False)
        )

    def rows(self, block: bytes, number: int) -> Rows | None:
        """Return the lines of a block (the first is `number`) by columns; None if one is not a plain row.

        The cells are those that `cells` gives line by line; some rows may be blank.
        """
        text = _clean(block)
        if text is None or any(mark in text for mark in _CONFLICT_LINES):
            return None
        lines = text.split("\n")
        width = len(self._columns)
        if '"' in text or {*map(str.count, lines, repeat(self._delimiter))} != {width - 1}:
            return self._rows_one_by_one(lines, number)
        cells = text.replace("\n", self._delimiter).split(self._delimiter)
        columns = {column: cells[place::width] for place, column in enumerate(self._columns)}
        return Rows(range(number, number + len(lines)), lines, columns, self)

    def _rows_one_by_one(self, lines: Sequence[str], first: int) -> Rows | None:
        """Return rows if some of them have quotes or are blank."""
        blank = self._delimiter + " \t"
        kept = [(number, line) for number, line in enumerate(lines, first) if line.strip(blank)]
        if not kept:
            return None
        numbers, texts = zip(*kept, strict=True)
        try:
            cells = [_split(text, self._delimiter) for text in texts]
        except Broken:
            return None
        if {*map(len, cells)} != {len(self._columns)}:
            return None
        columns = dict(zip(self._columns, zip(*cells, strict=True), strict=True))
        return Rows(numbers, texts, columns, self)

    def column(self, text: str, name: str) -> int:
        """Return where the cell `name` starts in the line, from 1; 1 if the line lacks it."""
        starts = _starts(text, self._delimiter)
        return starts[min(self._columns.index(name), len(starts) - 1)] if name in self._columns else 1


class JsonLines:
    """One flat JSON object per line. Numbers stay as they are written; true and false are not text."""

    def cells(self, text: str) -> Cells | None:
        """Return the line's cells by column, None for a blank line. Raises Broken."""
        if not text.strip(" \t"):
            return None
        try:
            # json.loads refuses a byte order mark, with a message of its own.
            found = json.loads(text) if text.startswith("\ufeff") else _JSON.decode(text)
        except json.JSONDecodeError as error:
            raise Broken(error.colno, f"invalid JSON: {error.msg}", "write one object per line") from None
        except RecursionError:
            raise Broken(1, "is nested too deeply", "write one flat object per line") from None
        if not isinstance(found, dict):
            raise Broken(1, "is not an object", 'write {"email": "…"}')
        return {
            key: value if type(value) is str and key in CORE_COLUMNS else self._cell(text, key, value)
            for key, value in found.items()
        }

    def column(self, text: str, name: str) -> int:
        """Return where the key `name` stands in the line, from 1; 1 if the line lacks it."""
        return text.find(json.dumps(name)) + 1 or 1

    def _cell(self, text: str, key: str, value: object) -> str | tuple[str, ...] | None:
        what, remedy = column_problem(key)
        if what:
            raise Misshapen(self.column(text, key), what, remedy)
        if value is None:
            return ""
        if isinstance(value, bool) and opt_out_of(key):
            return str(value)
        if isinstance(value, str):
            return value
        if isinstance(value, list) and key in {"components", "tags"}:
            texts = tuple(item for item in value if isinstance(item, str))
            if len(texts) == len(value):
                return texts
        return None


ListFormat = CellTable | JsonLines


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Broken(1, "a key appears twice", "remove one of them")
    if len(found) > _MOST_COLUMNS:
        raise Broken(1, f"more than {_MOST_COLUMNS} keys", "keep those that templates use")
    return found


def _no_constant(name: str) -> str:
    raise Broken(1, f"invalid JSON: {name}", "write a number, or text in quotes")


_JSON = json.JSONDecoder(object_pairs_hook=_once, parse_int=str, parse_float=str, parse_constant=_no_constant)


def _split(text: str, delimiter: str) -> list[str]:
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True, skipinitialspace=True))
    except csv.Error:
        what, remedy = "quote not closed at the end of its cell", 'close it; write a quote inside as ""'
        raise Broken(_starts(text, delimiter)[-1], what, remedy) from None


def _starts(text: str, delimiter: str) -> list[int]:
    """Return where each cell starts, from 1; the last one is the first whose quotes are broken, if any is."""
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


NOT_UTF8 = re.compile("[\udc80-\udcff]")  # how bytes that are no text are kept
_MARK = b"\xef\xbb\xbf"  # the byte order mark that some programs write
_SEPARATOR = re.compile(r"sep=([,;\t])[,;\t]*", re.IGNORECASE)  # Excel's own first line
_JSON_SUFFIXES = frozenset({".jsonl", ".ndjson"})
SUFFIXES = _JSON_SUFFIXES | {".csv", ".tsv", ".txt"}


def find_list(folder: Path, name: str) -> Path:
    """Return the list's real path. Raises InputError if it leads out of `folder`, by `..` or a link."""
    try:
        path = (folder / name).resolve(strict=True)
        inside = path.is_relative_to(folder.resolve(strict=True))
    except (OSError, ValueError, RuntimeError):
        raise InputError.of(name, "file not found", "create it, or name another under [audiences]") from None
    if not inside:
        raise InputError.of(name, "is outside the desk's folder", "copy it into audiences/")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError.of(name, "unknown kind of list", "use a .csv, .tsv, .txt, .jsonl or .ndjson file")
    return path


def check_list(path: Path, name: str) -> None:
    """Raise InputError if the file cannot be opened, is not a regular file, or its header is broken."""
    with _opened(path, name) as file:
        _format(path, name, _raw_lines(file))


def read_list(
    path: Path, name: str, broken: list[Fault], *, by_columns: bool = True
) -> Iterator[Rows | list[ListRow | Fault]]:
    """Yield the rows, with one block of at most 64 KiB in memory at a time.

    A block of a table comes as `Rows` if that certainly gives what reading it line by line would give. All
    other blocks are read line by line; without `by_columns` all are.

    A row that cannot be read comes as its fault. Lines that make the whole list unfit are added to `broken`,
    at most 100: then it must not be used. Raises InputError as `check_list` does.
    """
    with _opened(path, name) as file:
        form, number = _format(path, name, _raw_lines(file))
        held = b""  # lines of a row that goes on in the next block
        for read in _blocks(file):
            block, held = held + read, b""
            rows = form.rows(block, number) if by_columns and isinstance(form, CellTable) else None
            if rows is not None:
                yield rows
            else:
                lines, held = _lines(block, number, form, name, broken)
                yield lines
                if len(broken) >= FAULTS_SHOWN_PER_FILE or any(map(_is_too_long, block.split(b"\n"))):
                    return
            number += block.count(b"\n") + 1 - held.count(b"\n")
        if held:
            yield _lines(held[:-1], number, form, name, broken, is_last=True)[0]


def _lines(
    block: bytes, first: int, form: ListFormat, name: str, broken: list[Fault], *, is_last: bool = False
) -> tuple[list[ListRow | Fault], bytes]:
    """Return the rows of a block and the lines behind them; add what makes the list unfit to `broken`."""
    found: list[ListRow | Fault] = []
    raws = [raw.removesuffix(b"\r") for raw in block.split(b"\n")]
    # Bytes that are not UTF-8 stay in their cell as halves of characters, which no cell may have.
    texts = ["" if _is_too_long(raw) else raw.decode("utf-8", "surrogateescape") for raw in raws]
    extent, at = form.extent if isinstance(form, CellTable) else lambda *_: 1, 0
    while at < len(raws) and (count := extent(texts, at) or is_last):
        text = "\n".join(texts[at : at + count])
        try:
            _decoded(raws[at])
            cells = None if text.startswith(_CONFLICT_LINES) else form.cells(text)
            if cells is not None:
                found.append(ListRow(first + at, cells, text, form))
        except Misshapen as error:
            broken.append(Fault(name, first + at, *error.args))
            if len(broken) >= FAULTS_SHOWN_PER_FILE or _is_too_long(raws[at]):
                break
        except Broken as error:
            found.append(Fault(name, first + at, *error.args))
        at += count
    return found, b"".join(raw + b"\n" for raw in raws[at:])


def _is_too_long(raw: bytes) -> bool:
    return len(raw.removesuffix(b"\r")) > LONGEST_LINE


@contextmanager
def _opened(path: Path, name: str) -> Iterator[BinaryIO]:
    try:
        with open_regular(path, name, "write the list into a file of its own") as file:
            is_utf16 = cast(BufferedReader, file).peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
            yield cast(BinaryIO, codecs.EncodedFile(file, "utf-8", "utf-16", "replace")) if is_utf16 else file
    except OSError as error:
        raise InputError.of(name, f"cannot be read: {error.strerror}") from None


def _raw_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines without byte order mark and line ends; one that is too long comes in pieces."""
    line = file.readline(LONGEST_LINE + 2).removeprefix(_MARK)
    while line:
        yield line.removesuffix(b"\n").removesuffix(b"\r")
        line = file.readline(LONGEST_LINE + 2)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the rest of a file in blocks of whole lines, without the last line end of each.

    A block is longer than 64 KiB only if one of its lines is; reading ends with such a line.
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


def _format(path: Path, name: str, lines: Iterator[bytes]) -> tuple[ListFormat, int]:
    """Return how the file's lines are read, and the number of the first line that is a row."""
    suffix = path.suffix.lower()
    if suffix in _JSON_SUFFIXES:
        return JsonLines(), 1
    delimiter = "\t" if suffix == ".tsv" else ""
    for number, raw in enumerate(lines, 1):
        try:
            text = _decoded(raw)
            if NOT_UTF8.search(text):
                text = raw.decode("cp1252", "replace")  # a header is only compared
            if found := _SEPARATOR.fullmatch(text):
                delimiter = found[1]
            elif text.strip():
                return CellTable.from_header(text, delimiter), number + 1
        except BrokenHeader as error:
            raise InputError(Fault(name, number, *each) for each in error.args) from None
        except Broken as error:
            raise InputError(Fault(name, number, *error.args)) from None
    raise InputError.of(name, "is empty", "write a header line such as email,name and a row per recipient")
