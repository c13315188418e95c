"""An SMTP server's replies, cut out of whatever bytes come in (RFC 5321 4.2)."""

from __future__ import annotations

GARBAGE = 0  # stands in place of a code where the bytes are no reply; nothing after them counts

# Far more than RFC 5321 4.5.3.1.5 allows (512), and little enough that no server can fill our memory.
LONGEST_LINE = 8_192  # bytes
LONGEST_REPLY = 32_768  # bytes, all lines of it

_LAST = frozenset({b" ", b"\r", b""})  # what follows the code on the last line; "-" on the others


class Replies:
    """Takes bytes in pieces of any size and gives whole replies, each a code and its words."""

    __slots__ = ("_begun", "_code", "_rest", "_size")

    def __init__(self) -> None:
        self._rest = b""  # a line that has no end yet
        self._begun: list[bytes] = []  # the lines so far of a reply that goes on
        self._code, self._size = b"", 0

    @property
    def is_amid(self) -> bool:
        """Whether a part of a reply is in that has no end yet."""
        return bool(self._rest or self._begun)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the replies that these bytes complete; (GARBAGE, b"") ends the list where they are none."""
        lines = (self._rest + data if self._rest else data).split(b"\n")
        self._rest = lines.pop()
        found: list[tuple[int, bytes]] = []
        for line in lines:
            code, mark = line[:3], line[3:4]
            if not self._is_sane(code, line):
                return [*found, (GARBAGE, b"")]
            if mark in _LAST:
                found.append((int(code), self._whole(line[4:]) if self._begun else line[4:]))
            elif mark == b"-":
                self._begun.append(line[4:])
                self._code, self._size = code, self._size + len(line)
            else:
                return [*found, (GARBAGE, b"")]
        if len(self._rest) > LONGEST_LINE:
            found.append((GARBAGE, b""))
        return found

    def _is_sane(self, code: bytes, line: bytes) -> bool:
        if not (code.isdigit() and b"100" <= code < b"600") or len(line) > LONGEST_LINE:
            return False
        return not self._begun or (code == self._code and self._size + len(line) <= LONGEST_REPLY)

    def _whole(self, last: bytes) -> bytes:
        text = b"\n".join((*self._begun, last))
        self._begun, self._size = [], 0
        return text
