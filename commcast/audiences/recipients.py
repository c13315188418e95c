"""Recipient lists, streamed: each row a checked Recipient, or a fault with its line and column."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from commcast.audiences.addresses import normalise_email, normalise_phone
from commcast.audiences.listfile import CORE_COLUMNS, Cells, Line, check_list, find_list, read_list
from commcast.config import CONFIG_NAME, Config
from commcast.errors import FAULTS_SHOWN_PER_FILE, Fault, InputError
from commcast.model import Level, Recipient

_LONGEST_NAME = 200
_LONGEST_VALUE = 1000
_LOCALE = re.compile(r"[a-z]{2}(-[A-Z]{2})?")
# Not posix/… and not right/…, which counts leap seconds.
_ZONE = re.compile(r"[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
# Controls, line separators, bidi marks and overrides, zero-width characters but for the joiners of scripts,
# and surrogates (JSON can write half of one).
_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb]"
)

T = TypeVar("T")


class Reading:
    """One audience's list. Iterating reads the file from its start and yields the good rows in flat memory.

    A broken structure raises InputError with every broken line, after the rows before it were yielded.
    A bad row (a wrong address, zone, …) is left out and counted or, with `bad_rows = "stop"`, raises
    InputError after the whole file was read. So a list may be used only once its iteration has ended.

    Meanwhile and after: `rows` read that were not blank, `skipped` of them, and the first 100 `faults`.
    """

    def __init__(self, path: Path, name: str, config: Config) -> None:
        self.rows = 0
        self.skipped = 0
        self.faults: list[Fault] = []
        self._path = path
        self._name = name
        self._config = config

    def __iter__(self) -> Iterator[Recipient]:
        self.rows, self.skipped, self.faults = 0, 0, []
        broken: list[Fault] = []
        for line in read_list(self._path, self._name, broken):
            self.rows += 1
            recipient, problems = _recipient(line.cells, line.number, self._config)
            if problems:
                self._note(line, problems)
            elif not broken:
                yield recipient
        self._judge(broken)

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


def open_recipients(name: str, config: Config) -> Reading:
    """Return the list of audience `name`, its place and header already checked.

    A .csv has a header line and commas, semicolons or tabs; .tsv tabs; .jsonl and .ndjson an object a line.
    Columns: email, phone, name, locale, timezone, components, tags, level; others go to `Recipient.extra`.
    components and tags hold several values as `a|b` or `a;b` (in JSON also as a list).
    Raises InputError for an unknown audience, a broken header, and a file that is missing, special or
    outside the folder.
    """
    audience = config.audiences.get(name)
    if audience is None:
        known = ", ".join(config.audiences)
        raise InputError(Fault(CONFIG_NAME, 0, 0, f"no audience {name!r:.60}", f"audiences are: {known}"))
    path = find_list(config.folder, audience.recipients)
    check_list(path, audience.recipients)
    return Reading(path, audience.recipients, config)


class _Row:
    """The cells of one row; `problems` gathers (column, "what; remedy")."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self.problems: list[tuple[str, str]] = []

    def take(self, column: str, convert: Callable[[str], T], missing: T) -> T:
        """Return the converted cell; `missing` where it is empty or, noted as a problem, refused."""
        value = self._cells.get(column, "")
        text = ("|".join(value) if isinstance(value, tuple) else value).strip(" \t\xa0")
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
        name=row.take("name", _name, ""),
        locale=row.take("locale", _locale, ""),
        timezone=row.take("timezone", _timezone, ""),
        components=row.take("components", lambda text: _components(text, config), ()),
        tags=row.take("tags", _items, ()),
        level=row.take("level", _level, Level.ALL),
        extra={column: row.take(column, _value, "") for column in cells if column not in CORE_COLUMNS},
    )
    return recipient, row.problems


def _name(text: str) -> str:
    if len(text) > _LONGEST_NAME:
        raise ValueError(f"is longer than {_LONGEST_NAME} characters; write a shorter one, it is never cut")
    return " ".join(_value(text).split())


def _value(text: str) -> str:
    if found := _UNFIT.search(text):
        raise ValueError(f"holds the invisible character U+{ord(found[0]):04X}; type the text anew")
    if len(text) > _LONGEST_VALUE:
        raise ValueError(f"is longer than {_LONGEST_VALUE} characters; write a shorter text")
    return text


def _items(text: str) -> tuple[str, ...]:
    """Return the parts of `a|b` or `a;b`, each once."""
    parts = (part.strip() for part in re.split(r"[|;]", _value(text)))
    return tuple(dict.fromkeys(part for part in parts if part))


def _components(text: str, config: Config) -> tuple[str, ...]:
    components = _items(text)
    if config.components and not config.components.keys() >= set(components):
        known = ", ".join(list(config.components)[:20])
        raise ValueError(f"names a component that commcast.toml does not know; it knows {known}")
    return components


def _locale(text: str) -> str:
    if not _LOCALE.fullmatch(text):
        raise ValueError("is not a locale; write one such as de or de-AT")
    return text


def _level(text: str) -> Level:
    try:
        return Level(text)
    except ValueError:
        raise ValueError(f"is not a level; write {', '.join(Level)}") from None


@lru_cache(maxsize=1024)
def _timezone(text: str) -> str:
    try:
        if _ZONE.fullmatch(text):
            return ZoneInfo(text).key
    except (KeyError, ValueError, OSError):
        pass
    raise ValueError("is not a time zone; write one such as Europe/Berlin or UTC")
