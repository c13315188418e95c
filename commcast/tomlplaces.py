"""Where a key of a TOML text stands: tomllib keeps no places, so it is asked again with fewer lines."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

_MOST_LINES = 60  # of one value: what is longer is not followed to its end
_MOST_TRIES = 100  # parses; where they do not suffice the places are left out
_LARGEST = 1 << 16  # characters of a text that is parsed so often


class Places:
    """Tells the places of keys in one text that is TOML."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._data = _parsed(text) or {}
        self._tries = _MOST_TRIES if len(text) <= _LARGEST else 0

    def of(self, path: str) -> tuple[int, int]:
        """Return line and column, from 1, of a key such as "send.most_an_hour"; (0, 0) where nobody knows.

        A key that is missing has the place of the table in which it is missing.
        """
        keys = self._known(path.split("."))
        if not keys:
            return 0, 0
        for number, line in enumerate(self._lines):
            found = re.search(rf"(?<![\w-]){re.escape(keys[-1])}(?![\w-])", line.partition("#")[0])
            if found and self._begins(number, keys):
                return number + 1, found.start() + 1
        return 0, 0

    def _known(self, keys: Sequence[str]) -> list[str]:
        """Return the part of a path that the text holds."""
        known: list[str] = []
        node: Any = self._data
        for key in keys:
            if not isinstance(node, dict) or key not in node:
                break
            node = node[key]
            known.append(key)
        return known

    def _begins(self, number: int, keys: Sequence[str]) -> bool:
        """Return whether the text holds the key with this line, and not before it."""
        before = self._parse(number)
        if before is None or _holds(before, keys):
            return False
        for end in range(number + 1, min(number + _MOST_LINES, len(self._lines)) + 1):
            if (after := self._parse(end)) is not None:
                return _holds(after, keys)
        return False

    def _parse(self, count: int) -> dict[str, Any] | None:
        self._tries -= 1
        return _parsed("\n".join(self._lines[:count]) + "\n") if self._tries > 0 else None


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


def _holds(node: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return True
