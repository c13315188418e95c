"""Statements that a run repeats for each group of deliveries: compiled once, whole sets in and out as JSON.

One step of the database then does the work of a group. That is not only fewer words to the database: while
it works, Python lets the event loop go on, and waits for it again after each step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Integer,
    Select,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.sql import Executable


class Prepared:
    """A statement made by `build` when it is first run, and handed to the driver as it was compiled then."""

    def __init__(self, build: Callable[[], Executable]) -> None:
        self._build = build
        self._compiled: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {}

    def run(self, connection: Connection, **values: object) -> CursorResult[Any]:
        """Run it. `values` are those of its bind parameters, as the database keeps them."""
        sql, names, fixed = self._for(connection)
        return connection.exec_driver_sql(sql, tuple(values.get(name, fixed.get(name)) for name in names))

    def rows(self, connection: Connection, **values: object) -> list[list[Any]]:
        """Run a statement made with `as_one`; return its rows."""
        found: list[list[Any]] = json.loads(self.run(connection, **values).scalar_one())
        return found

    def _for(self, connection: Connection) -> tuple[str, tuple[str, ...], dict[str, Any]]:
        kind = connection.dialect.name
        if kind not in self._compiled:
            made: Any = self._build().compile(dialect=connection.dialect)  # type: ignore[attr-defined]
            fixed = {
                name: str(value) if isinstance(value, str) else value for name, value in made.params.items()
            }
            self._compiled[kind] = (str(made), tuple(made.positiontup), fixed)
        return self._compiled[kind]


def as_one(rows: Select[Any]) -> Select[Any]:
    """Return a statement that gives all rows of another as one JSON document, a list a row."""
    table = rows.subquery()
    # What is JSON already goes in as it is, not as a text.
    columns = (func.json(each) if isinstance(each.type, JSON) else each for each in table.c)
    return select(func.json_group_array(func.json_array(*columns)))


def given(texts: ColumnElement[Any]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the columns of the table in a JSON parameter that holds texts by number: number, text."""
    table = func.json_each(texts).table_valued("key", "value")
    return cast(table.c.key, Integer), table.c.value


def listed(parameter: ColumnElement[Any]) -> Select[Any]:
    """Return the numbers or texts that a JSON parameter lists, for IN."""
    return select(func.json_each(parameter).table_valued("value", joins_implicitly=True).c.value)


def one_of(connection: Connection, column: Column[str], texts: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that a column holds one of many texts, all of them in one parameter."""
    if connection.dialect.name == "postgresql":
        return column.in_(texts)
    return column.in_(listed(literal(as_json(texts))))


def as_json(rows: Sequence[int] | Sequence[str] | Mapping[int, str]) -> str:
    """Return what `given` and `listed` read."""
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
