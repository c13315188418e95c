"""Recipient lists, streamed: each row a checked Recipient, or a fault with its line and column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TypeVar

from commcast.audiences.addresses import normalise_email, normalise_phone
from commcast.audiences.cells import (
    BLANKS,
    components_of,
    items_of,
    level_of,
    locale_of,
    name_of,
    timezone_of,
    value_of,
)
from commcast.audiences.columns import Columns
from commcast.audiences.formats import CORE_COLUMNS, Cells, Line, Rows
from commcast.audiences.listfile import check_list, find_list, read_list
from commcast.config import CONFIG_NAME, Audience, Config
from commcast.errors import FAULTS_SHOWN_PER_FILE, Fault, InputError
from commcast.model import Level, Recipient

T = TypeVar("T")


class Reading:
    """One audience's list. Iterating reads the file from its start and yields the good rows in flat memory.

    A broken structure raises InputError with every broken line, after rows before it were yielded.
    A bad row (a wrong address, zone, …) is left out and counted or, with `bad_rows = "stop"`, raises
    InputError after the whole file was read. So a list may be used only once its iteration has ended.

    Meanwhile and after: `rows` read that were not blank, `skipped` of them, and the first 100 `faults`.
    `by_columns=False` reads line by line, which gives the same and takes longer.
    """

    def __init__(self, path: Path, name: str, config: Config, *, by_columns: bool = True) -> None:
        self.rows = 0
        self.skipped = 0
        self.faults: list[Fault] = []
        self._path = path
        self._name = name
        self._config = config
        self._by_columns = by_columns
        self._columns = Columns(lambda text: components_of(text, config))

    def __iter__(self) -> Iterator[Recipient]:
        return chain.from_iterable(self.chunks())

    def chunks(self) -> Iterator[list[Recipient]]:
        """Yield the good rows by the block of the file that they stand in."""
        self.rows, self.skipped, self.faults = 0, 0, []
        broken: list[Fault] = []
        for block in read_list(self._path, self._name, broken, by_columns=self._by_columns):
            people = self._one_by_one(block) if isinstance(block, list) else self._side_by_side(block)
            if people and not broken:
                yield people
        self._judge(broken)

    def _one_by_one(self, lines: Iterable[Line | None]) -> list[Recipient]:
        people = (self._person(line) for line in lines if line is not None)
        return [person for person in people if person is not None]

    def _person(self, line: Line) -> Recipient | None:
        self.rows += 1
        recipient, problems = _recipient(line.cells, line.number, self._config)
        if problems:
            self._note(line, problems)
            return None
        return recipient

    def _side_by_side(self, rows: Rows) -> list[Recipient]:
        """Return the people of rows whose columns are judged at once; who is odd is judged by themselves."""
        people, odd = self._columns.recipients(rows)
        self.rows += len(people) - len(odd)
        if not odd:
            return people
        found: list[Recipient | None] = [*people]
        for index in sorted(odd):
            line = rows.line(index)
            found[index] = None if line is None else self._person(line)
        return [person for person in found if person is not None]

    def _note(self, line: Line, problems: list[tuple[str, str]]) -> None:
        self.skipped += 1
        for column, message in problems[: FAULTS_SHOWN_PER_FILE - len(self.faults)]:
            what, _, remedy = message.partition("; ")
            self.faults.append(
                Fault(self._name, line.number, line.column(column), f"{column} {what}", remedy)
            )

    def _judge(self, broken: list[Fault]) -> None:
        bad = self.faults if self._config.send.bad_rows == "stop" else []
        if bad:
            what = f"{self.skipped} of {self.rows} rows are bad"
            remedy = 'mend them, or write bad_rows = "skip" under [send]'
            bad = [Fault(self._name, 0, 0, what, remedy), *bad]
        if broken or bad:
            raise InputError([*broken, *bad][:FAULTS_SHOWN_PER_FILE])


def changed_since(name: str, config: Config, moment: datetime) -> bool:
    """Return whether an audience's list was written, or put in its place, after `moment` (aware)."""
    try:
        return (
            find_list(config.folder, config.audiences[name].recipients).stat().st_ctime > moment.timestamp()
        )
    except (OSError, InputError):
        return False  # reading it says what is wrong with it


def open_recipients(name: str, config: Config) -> Reading:
    """Return the list of audience `name`, its place and header already checked.

    A .csv has a header line and commas, semicolons or tabs; .tsv tabs; .jsonl and .ndjson an object a line.
    Columns: email, phone, name, locale, timezone, components, tags, level; others go to `Recipient.extra`.
    components and tags hold several values as `a|b` or `a;b` (in JSON also as a list).
    Raises InputError for an unknown audience, a broken header, and a file that is missing, special or
    outside the folder.
    """
    audience = known_audience(name, config)
    path = find_list(config.folder, audience.recipients)
    check_list(path, audience.recipients)
    return Reading(path, audience.recipients, config)


def known_audience(name: str, config: Config) -> Audience:
    """Return the settings of an audience. Raises InputError where none is called so."""
    if name not in config.audiences:
        known = ", ".join(config.audiences)
        raise InputError(Fault(CONFIG_NAME, 0, 0, f"no audience {name!r:.60}", f"audiences are: {known}"))
    return config.audiences[name]


class _Row:
    """The cells of one row; `problems` gathers (column, "what; remedy")."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self.problems: list[tuple[str, str]] = []

    def take(self, column: str, convert: Callable[[str], T], missing: T) -> T:
        """Return the converted cell; `missing` where it is empty or, noted as a problem, refused."""
        value = self._cells.get(column, "")
        text = ("|".join(value) if isinstance(value, tuple) else value).strip(BLANKS)
        if not text:
            return missing
        try:
            return convert(text)
        except ValueError as error:
            self.problems.append((column, str(error)))
            return missing


def _recipient(cells: Cells, line: int, config: Config) -> tuple[Recipient, list[tuple[str, str]]]:
    """Return the recipient, and all that is wrong with its row: then it must not be used."""
    row = _Row(cells)
    region = config.channels.sms.region if config.channels.sms else ""
    email, email_key = row.take("email", normalise_email, ("", ""))
    phone = row.take("phone", lambda text: normalise_phone(text, region), "")
    if not (email or phone or row.problems):
        row.problems.append(("email", "and phone are both empty; write at least one of them"))
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
        extra={column: row.take(column, value_of, "") for column in cells if column not in CORE_COLUMNS},
    )
    return recipient, row.problems
