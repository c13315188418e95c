"""What is made once for all readers alike in some fields: bounded, and given up where it does not pay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

MOST_KEPT = 256
TRIED = 64  # makings in vain, above those that were used again, after which no more are made

T = TypeVar("T")


class Shared(Generic[T]):
    """Keeps what `make` returns by the readers' values of the fields `keys`; None, for nothing, too."""

    def __init__(self, keys: tuple[str, ...], make: Callable[[Mapping[str, Any]], T | None]) -> None:
        self._keys = keys
        self._make = make
        self._kept: dict[str, T | None] = {}
        self._in_vain = 0

    def get(self, values: Mapping[str, Any]) -> T | None:
        """Return what was made for readers such as this one; None where there is nothing for them."""
        key = repr([values.get(name, ...) for name in self._keys]) if self._keys else ""
        if key in self._kept:
            if self._keys:
                self._in_vain = max(0, self._in_vain - 1)
                self._kept[key] = self._kept.pop(key)  # the one used last stands last
            return self._kept[key]
        if self._in_vain > TRIED:
            return None
        self._in_vain += 1
        made = self._kept[key] = self._make(values)
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        return made
