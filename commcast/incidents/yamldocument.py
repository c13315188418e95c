"""A YAML file's data together with the place of each value, so that faults can say where."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from commcast.errors import Fault

_LONGEST_FAULT = 300

Loc = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, from 1. `key_*`: where its key, or itself, starts; `flow`: inside { } or [ ]."""

    line: int
    column: int
    key_line: int
    key_column: int
    end_line: int
    end_column: int
    flow: bool = False


@dataclass(slots=True)
class YamlDocument:
    """A file's data (dict, list, str, int, float, bool, None), each value's place, and the text's faults."""

    name: str
    data: Any = None
    places: dict[Loc, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def place(self, loc: Loc) -> tuple[int, int]:
        """Return line and column of the value at `loc`, or of the nearest value around it."""
        found = self._nearest(loc)
        return (found.line, found.column) if found else (1, 1)

    def key_place(self, loc: Loc) -> tuple[int, int]:
        """Return line and column of the key at `loc`, or of the nearest value around it."""
        if loc in self.places:
            return self.places[loc].key_line, self.places[loc].key_column
        return self.place(loc)

    def value(self, loc: Loc) -> Any:
        """Return the value at `loc`, None where there is none."""
        value = self.data
        for step in loc:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def fault(self, loc: Loc, what: str, remedy: str = "", *, key: bool = False) -> Fault:
        """Return a fault at the value (or the key) of `loc`."""
        line, column = self.key_place(loc) if key else self.place(loc)
        return Fault(self.name, line, column, _shown(what), _shown(remedy))

    def _nearest(self, loc: Loc) -> Place | None:
        return next((self.places[loc[:n]] for n in range(len(loc), -1, -1) if loc[:n] in self.places), None)


def _shown(text: str) -> str:
    """Return `text` fit for a terminal and a log: one line, not endless, no whole address or number."""
    text = " ".join(text.split())[:_LONGEST_FAULT]
    text = re.sub(r"([^\s@'\"])[^\s@'\"]*@(?=\S)", r"\1…@", text)
    return re.sub(r"\+[0-9 ]{5,}(?=[0-9]{4})", "…", text)
