"""Rows side by side -> recipients, a column at a time; a row that is not plain is left to be judged alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Any

from commcast.audiences.addresses import odd_phones, plain_emails
from commcast.audiences.cells import (
    BLANKS,
    LONGEST_NAME,
    LONGEST_VALUE,
    UNFIT,
    items_of,
    level_of,
    locale_of,
    timezone_of,
)
from commcast.audiences.formats import CORE_COLUMNS, Rows
from commcast.model import Level, Recipient

_TEXTS_KEPT = 4096  # of each column: most cells of a locale, a zone or a plan are alike
_made: Callable[[tuple[Any, ...]], Recipient] = partial(tuple.__new__, Recipient)


class Columns:
    """Makes recipients of rows. What it returns for a row that is not odd is what reading it alone gives."""

    def __init__(self, components: Callable[[str], tuple[str, ...]]) -> None:
        self._known = {
            "locale": _Kept(locale_of, ""),
            "timezone": _Kept(timezone_of, ""),
            "components": _Kept(components, ()),
            "tags": _Kept(items_of, ()),
            "level": _Kept(level_of, Level.ALL),
        }

    def recipients(self, rows: Rows) -> tuple[list[Recipient], set[int]]:
        """Return a recipient for each row, and which rows are odd: theirs mean nothing."""
        columns, count = rows.columns, len(rows.texts)
        odd: set[int] = set()
        if _holds_unfit(columns):
            odd.update(range(count))
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
            strict=False,  # a column that is not there goes on for ever
        )
        return [*map(_made, people)], odd


class _Kept:
    """One column's texts, each converted once."""

    def __init__(self, convert: Callable[[str], Any], missing: Any) -> None:
        self._convert, self._missing = convert, missing
        self._values: dict[str, Any] = {}

    def column(self, cells: Sequence[str] | None, odd: set[int]) -> Iterable[Any]:
        """Return the values of a column, and put into `odd` which cells are refused."""
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


def _holds_unfit(columns: Mapping[str, Sequence[str]]) -> bool:
    """Return whether any cell holds a character that no text may: all of those are unprintable."""
    text = "".join(map("".join, columns.values()))
    return not text.isprintable() and UNFIT.search(text) is not None


def _longer(cells: Sequence[str], most: int) -> set[int]:
    if max(map(len, cells)) <= most:
        return set()
    return {index for index, cell in enumerate(cells) if len(cell) > most}


def _extras(columns: Mapping[str, Sequence[str]], odd: set[int]) -> Iterable[Mapping[str, str]]:
    """Return the cells of the list's further columns, by row."""
    further = {name: cells for name, cells in columns.items() if name not in CORE_COLUMNS}
    if not further:
        return repeat({})
    for cells in further.values():
        odd |= _longer(cells, LONGEST_VALUE)
    if len(further) == 1:
        ((name, cells),) = further.items()
        return [{name: cell.strip(BLANKS)} for cell in cells]
    stripped = [[cell.strip(BLANKS) for cell in cells] for cells in further.values()]
    return [dict(zip(further, row, strict=True)) for row in zip(*stripped, strict=True)]
