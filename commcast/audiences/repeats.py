"""Which addresses a stream of readers has had, in ten bytes or so each."""

from __future__ import annotations

_SPREAD = 0xFFFF
_WIDTH = 8  # bytes kept of each address
_ALL_BITS = (1 << 8 * _WIDTH) - 1


class Repeats:
    """A set of addresses that keeps 80 bits of each: a million of them take some 12 MB.

    The bits come from Python's own hash of strings, which is keyed anew for each process. That two of a
    million addresses share them has a chance of one in 10^12.
    """

    def __init__(self) -> None:
        self._marks = [b""] * (_SPREAD + 1)

    def __contains__(self, key: str) -> bool:
        return _holds(self._marks[hash(key) & _SPREAD], _mark(key))

    def add(self, key: str) -> bool:
        """Put an address in; return whether it is new."""
        place, mark = hash(key) & _SPREAD, _mark(key)
        marks = self._marks[place]
        if mark in marks and _holds(marks, mark):
            return False
        self._marks[place] = marks + mark
        return True


def _mark(key: str) -> bytes:
    # Of another text than the place: so the two tell 80 bits together, and not 64.
    return (hash(key + "\n") & _ALL_BITS).to_bytes(_WIDTH, "little")


def _holds(marks: bytes, mark: bytes) -> bool:
    at = marks.find(mark)
    while at > 0 and at % _WIDTH:  # found across two marks
        at = marks.find(mark, at + 1)
    return at >= 0
