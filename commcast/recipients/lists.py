"""Streams a recipient list: each row becomes a checked Recipient or a fault with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from commcast.config.settings import CONFIG_NAME, Audience, Config
from commcast.errors import FAULTS_SHOWN_PER_FILE, Fault, InputError
from commcast.model.incident import Level, Recipient
from commcast.model.text import locale_of
from commcast.recipients.addresses import normalise_email, normalise_phone, odd_phones, plain_emails
from commcast.recipients.formats import NOT_UTF8, Cells, ListRow, Rows, check_list, find_list, read_list
from commcast.recipients.headers import CORE_COLUMNS, is_yes, opt_out_of

BLANKS = " \t\xa0"  # stripped from both ends of a cell
_NOT_EXTRA = {"", *CORE_COLUMNS}  # "" is a column that is left out
LONGEST_NAME = 200
LONGEST_VALUE = 1000
_LINE_BREAK = re.compile(r"\s*[\r\n]\s*")
# Not posix/… and not right/…, which counts leap seconds.
_ZONE = re.compile(r"[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
# Controls, line separators, bidi marks and overrides, zero-width characters but for the joiners of scripts,
# and surrogates (JSON can write half of one).
UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb]"
)


def name_of(text: str) -> str:
    if len(text) > LONGEST_NAME:
        raise ValueError(f"is longer than {LONGEST_NAME} characters; write a shorter name")
    return " ".join(value_of(text).split())


def value_of(text: str) -> str:
    if found := UNFIT.search(text):
        raise ValueError(f"has the invisible character U+{ord(found[0]):04X}; type the text again")
    if len(text) > LONGEST_VALUE:
        raise ValueError(f"is longer than {LONGEST_VALUE} characters; write a shorter text")
    return text


def items_of(text: str) -> tuple[str, ...]:
    """Return the parts of `a|b` or `a;b`, each once; of `"a","b"` too, as Mailchimp writes them."""
    parts = (part.strip(' "') for part in re.split(r'[|;]|"\s*,\s*"', value_of(text)))
    return tuple(dict.fromkeys(part for part in parts if part))


def components_of(text: str, config: Config) -> tuple[str, ...]:
    components = items_of(text)
    if config.components and not config.components.keys() >= set(components):
        known = ", ".join(list(config.components)[:20])
        raise ValueError(f"names a component that is not in commcast.toml; components are {known}")
    return components


def level_of(text: str) -> Level:
    try:
        return Level(text)
    except ValueError:
        raise ValueError(f"is not a level; write {', '.join(Level)}") from None


@lru_cache(maxsize=1024)
def timezone_of(text: str) -> str:
    try:
        if _ZONE.fullmatch(text):
            return ZoneInfo(text).key
    except (KeyError, ValueError, OSError):
        pass
    raise ValueError("is not a time zone; write one such as Europe/Berlin or UTC")


_TEXTS_KEPT = 4096  # of each column: most cells of a locale, a zone or a plan repeat
_made: Callable[[tuple[Any, ...]], Recipient] = partial(tuple.__new__, Recipient)


class Columns:
    """Makes recipients from columns: for a row that is not odd, the same as reading it by itself."""

    def __init__(self, components: Callable[[str], tuple[str, ...]]) -> None:
        self._known = {
            "locale": _Kept(locale_of, ""),
            "timezone": _Kept(timezone_of, ""),
            "components": _Kept(components, ()),
            "tags": _Kept(items_of, ()),
            "level": _Kept(level_of, Level.ALL),
        }

    def recipients(self, rows: Rows) -> tuple[list[Recipient], set[int]]:
        """Return a recipient for each row, and which rows are odd: their recipients are meaningless."""
        columns, count = rows.columns, len(rows.texts)
        odd: set[int] = set()
        text = "".join(map("".join, columns.values()))
        if not text.isprintable() and UNFIT.search(text):  # no forbidden character is printable
            odd.update(range(count))
        for name, cells in columns.items():
            if opt_out_of(name):
                odd.update(index for index, cell in enumerate(cells) if is_yes(cell))
        nothing = [""] * count
        addresses, keys, strange = plain_emails(columns.get("email", nothing))
        odd |= strange
        phones = columns.get("phone", nothing)
        odd |= odd_phones(phones)
        if "" in keys:
            odd.update(index for index, key in enumerate(keys) if not (key or phones[index]))
        names = columns.get("name")
        if names is not None:
            odd |= _longer(names, LONGEST_NAME)
            names = [" ".join(name.split()) for name in names]
        people = zip(
            rows.numbers,
            addresses,
            keys,
            phones,
            names or nothing,
            *(kept.column(columns.get(name), odd) for name, kept in self._known.items()),
            _extras(columns, odd),
            strict=False,  # a missing column never ends
        )
        return [*map(_made, people)], odd


class _Kept:
    """One column's texts, each converted once."""

    def __init__(self, convert: Callable[[str], Any], missing: Any) -> None:
        self._convert, self._missing = convert, missing
        self._values: dict[str, Any] = {}

    def column(self, cells: Sequence[str] | None, odd: set[int]) -> Iterable[Any]:
        """Return the values of a column, and add the cells that are refused to `odd`."""
        if cells is None:
            return repeat(self._missing)
        if len(self._values) > _TEXTS_KEPT:
            self._values.clear()
        refused = {text for text in {*cells} - self._values.keys() if not self._learn(text)}
        if refused:
            odd.update(index for index, text in enumerate(cells) if text in refused)
        return [self._values.get(text) for text in cells]

    def _learn(self, cell: str) -> bool:
        text = cell.strip(BLANKS)
        try:
            self._values[cell] = self._convert(text) if text else self._missing
        except ValueError:
            return False
        return True


def _longer(cells: Sequence[str], most: int) -> set[int]:
    if max(map(len, cells)) <= most:
        return set()
    return {index for index, cell in enumerate(cells) if len(cell) > most}


def _extras(columns: Mapping[str, Sequence[str]], odd: set[int]) -> Iterable[Mapping[str, str]]:
    """Return the cells of the list's further columns, by row."""
    further = {name: cells for name, cells in columns.items() if name not in _NOT_EXTRA}
    if not further:
        return repeat({})
    for cells in further.values():
        odd |= _longer(cells, LONGEST_VALUE)
    stripped = [[cell.strip(BLANKS) for cell in cells] for cells in further.values()]
    return [dict(zip(further, row, strict=True)) for row in zip(*stripped, strict=True)]


T = TypeVar("T")


class RecipientList:
    """One audience's list. Iterating reads the file from its start and yields the good rows in flat memory.

    A file that is no list, or has no row that can be read, raises InputError after its rows were yielded.
    A cell that cannot be read counts as empty, as long as an address is left. Any other bad row is left out
    and counted. With `bad_rows = "stop"` either raises InputError after the whole file was read. So use a
    list only once its iteration has ended. Who has opted out, by a column that says so, is not told.

    `rows` counts those read that were not blank and not opted out, `skipped` the bad ones; `faults` has the
    first 100.
    `warnings` has the first ignored cell of each kind, and how many there are.
    `by_columns=False` reads line by line, which gives the same and takes longer.
    """

    def __init__(self, path: Path, name: str, config: Config, *, by_columns: bool = True) -> None:
        self.rows = 0
        self.skipped = 0
        self.faults: list[Fault] = []
        self._ignored: dict[str, tuple[Fault, int]] = {}
        self._path = path
        self._name = name
        self._config = config
        self._stops = config.send.bad_rows == "stop"
        self._by_columns = by_columns
        self._columns = Columns(lambda text: components_of(text, config))

    def __iter__(self) -> Iterator[Recipient]:
        return chain.from_iterable(self.chunks())

    def chunks(self) -> Iterator[list[Recipient]]:
        """Yield the good rows, block by block of the file."""
        self.rows, self.skipped, self.faults, self._ignored = 0, 0, [], {}
        self._unreadable = 0
        broken: list[Fault] = []
        for block in read_list(self._path, self._name, broken, by_columns=self._by_columns):
            if isinstance(block, list):
                people = [person for line in block if (person := self._person(line)) is not None]
            else:
                people = self._side_by_side(block)
            if people and not broken:
                yield people
        self._judge(broken)

    @property
    def warnings(self) -> list[Fault]:
        found = self._ignored.values()
        return [
            each._replace(what=f"{each.what} ({'ignored ' if each.remedy else ''}in {counted_rows(count)})")
            for each, count in found
        ]

    def _person(self, line: ListRow | Fault) -> Recipient | None:
        self.rows += 1
        if isinstance(line, Fault):
            self._unreadable += 1
            self._leave_out([line])
            return None
        recipient, problems = _recipient(line.cells, line.number, self._config)
        if not problems:
            return recipient
        is_reached = bool(recipient.email or recipient.phone)
        faults = [problem for problem in problems if problem[2]]  # an opt-out needs no remedy
        if faults and (self._stops or not is_reached):
            room = FAULTS_SHOWN_PER_FILE - len(self.faults)
            self._leave_out([self._fault(line, *problem) for problem in faults[:room]])
            return None
        for problem in problems:
            first, count = self._ignored.get(problem[1]) or (self._fault(line, *problem), 0)
            if count or len(self._ignored) < FAULTS_SHOWN_PER_FILE:
                self._ignored[problem[1]] = (first, count + 1)
        self.rows -= not is_reached
        return recipient if is_reached else None

    def _fault(self, line: ListRow, column: str, what: str, remedy: str) -> Fault:
        return Fault(self._name, *line.place(column), what, remedy)

    def _side_by_side(self, rows: Rows) -> list[Recipient]:
        """Return the people of rows that are checked by columns; odd rows are checked one by one."""
        people, odd = self._columns.recipients(rows)
        self.rows += len(people) - len(odd)
        if not odd:
            return people
        found: list[Recipient | None] = [*people]
        for index in sorted(odd):
            line = rows.line(index)
            found[index] = None if line is None else self._person(line)
        return [person for person in found if person is not None]

    def _leave_out(self, faults: list[Fault]) -> None:
        self.skipped += 1
        self.faults.extend(faults[: FAULTS_SHOWN_PER_FILE - len(self.faults)])

    def _judge(self, broken: list[Fault]) -> None:
        bad = self.faults if self._stops or 0 < self._unreadable == self.rows else []
        if bad and self._unreadable < self.rows:
            what = f"{self.skipped} of {self.rows} rows are bad"
            bad = [Fault(self._name, 0, 0, what, 'fix them, or set bad_rows = "skip" under [send]'), *bad]
        if broken or bad:
            raise InputError([*broken, *bad][:FAULTS_SHOWN_PER_FILE])


def counted_rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def changed_since(name: str, config: Config, moment: datetime) -> bool:
    """Return whether an audience's list was written, or moved into place, after `moment` (aware)."""
    try:
        path = find_list(config.folder, config.audiences[name].recipients)
        return path.stat().st_ctime > moment.timestamp()
    except (OSError, InputError):
        return False  # reading it will report what is wrong


def open_recipients(name: str, config: Config) -> RecipientList:
    """Return the list of audience `name`, its place and header already checked.

    A .csv or .txt has a header line and commas, semicolons or tabs; .tsv tabs; .jsonl and .ndjson one object
    a line. Columns: email, phone, name, locale, timezone, components, tags, level, or what others call them;
    further ones go into `Recipient.extra`.
    components and tags hold several values as `a|b` or `a;b` (in JSON also as a list).
    Raises InputError for an unknown audience, a broken header, and a file that is missing, special or
    outside the folder.
    """
    audience = known_audience(name, config)
    path = find_list(config.folder, audience.recipients)
    check_list(path, audience.recipients)
    return RecipientList(path, audience.recipients, config)


def known_audience(name: str, config: Config) -> Audience:
    """Return the settings of an audience. Raises InputError if there is none of that name."""
    if name not in config.audiences:
        remedy = f"audiences are: {', '.join(config.audiences)}"
        raise InputError.of(CONFIG_NAME, f"no audience {name!r:.60}", remedy)
    return config.audiences[name]


class _Row:
    """The cells of one row; `problems` gathers (column, what, remedy)."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self.problems: list[tuple[str, str, str]] = []

    def take(self, column: str, convert: Callable[[str], T], missing: T) -> T:
        """Return the converted cell, or `missing` if it is empty or refused, which is noted as a problem."""
        value = self._cells.get(column, "")
        text = "|".join(value) if isinstance(value, tuple) else value or ""
        text = _LINE_BREAK.sub(" ", text).strip(BLANKS)
        try:
            if value is None:
                raise ValueError("is not text; put the value in quotes")
            if NOT_UTF8.search(text):
                raise ValueError("is not UTF-8 text; save the file as UTF-8")
            return convert(text) if text else missing
        except ValueError as error:
            what, _, remedy = str(error).partition("; ")
            self.problems.append((column, f"{column} {what}", remedy))
            return missing


def _recipient(cells: Cells, line: int, config: Config) -> tuple[Recipient, list[tuple[str, str, str]]]:
    """Return the recipient, without the cells that cannot be read, and what is wrong with them."""
    row = _Row(cells)
    region = config.channels.sms.region if config.channels.sms else ""
    email, email_key = row.take("email", normalise_email, ("", ""))
    phone = row.take("phone", lambda text: normalise_phone(text, region), "")
    for column in filter(opt_out_of, cells):
        if is_yes(str(cells[column])):
            gone = opt_out_of(column)
            email, email_key = ("", "") if "email" in gone else (email, email_key)
            phone = "" if "phone" in gone else phone
            row.problems.append((column, f"{column}: opted out", ""))
    if not (email or phone or row.problems):
        row.problems.append(("email", "email and phone are both empty", "fill in at least one"))
    recipient = Recipient(
        line=line,
        email=email,
        email_key=email_key,
        phone=phone,
        name=row.take("name", name_of, ""),
        locale=row.take("locale", locale_of, ""),
        timezone=row.take("timezone", timezone_of, ""),
        components=row.take("components", lambda text: components_of(text, config), ()),
        tags=row.take("tags", items_of, ()),
        level=row.take("level", level_of, Level.ALL),
        extra={column: row.take(column, value_of, "") for column in cells if column not in _NOT_EXTRA},
    )
    return recipient, row.problems


_SPREAD = 0xFFFF
_WIDTH = 8  # bytes kept of each address
_ALL_BITS = (1 << 8 * _WIDTH) - 1


class Repeats:
    """A set of addresses that keeps 80 bits of each: a million of them take some 12 MB.

    The bits come from Python's own hash of strings, which has a new key in each process. The chance that two
    of a million addresses share them is one in 10^12.
    """

    def __init__(self) -> None:
        self._marks = [b""] * (_SPREAD + 1)

    def __contains__(self, key: str) -> bool:
        return _holds(self._marks[hash(key) & _SPREAD], _mark(key))

    def add(self, key: str) -> bool:
        """Add an address; return whether it is new."""
        place, mark = hash(key) & _SPREAD, _mark(key)
        marks = self._marks[place]
        if mark in marks and _holds(marks, mark):
            return False
        self._marks[place] = marks + mark
        return True


def _mark(key: str) -> bytes:
    # Of another text than the place, so that the two give 80 bits together, not 64.
    return (hash(key + "\n") & _ALL_BITS).to_bytes(_WIDTH, "little")


def _holds(marks: bytes, mark: bytes) -> bool:
    at = marks.find(mark)
    while at > 0 and at % _WIDTH:  # found across two marks
        at = marks.find(mark, at + 1)
    return at >= 0
