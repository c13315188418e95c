"""A mail's body in quoted-printable: the same bytes as the stdlib's, many times faster."""

from __future__ import annotations

from binascii import b2a_qp
from collections.abc import Sequence
from dataclasses import dataclass
from email import quoprimime
from functools import lru_cache

from commcast.model.message import Pieces, Skeleton, Spliced

WIDTH = 76  # characters of an encoded line (RFC 2045 6.7)
_LINES_KEPT = 4096
_LONGEST_KEPT = 1000  # bytes of a line: what is kept stays below some megabytes
_SKELETONS_KEPT = 256
_DOT = ord(".")
_ESCAPES = [
    quoprimime.quote(chr(octet)) if quoprimime.body_check(octet) else chr(octet) for octet in range(256)
]


def encoded(text: str) -> bytes:
    """Return the text in quoted-printable with CRLF line ends, as the stdlib's set_content has it.

    Each line is encoded on its own; lines that many readers share are encoded once.
    """
    lines = text.encode().splitlines() or [b""]
    return b"".join([_kept(line) if len(line) <= _LONGEST_KEPT else encoded_line(line) for line in lines])


def encoded_line(line: bytes) -> bytes:
    """Return one line, given without its end, in quoted-printable and with its end.

    binascii differs from the stdlib's Python code in three cases, which are left to the latter: white space
    at the end (a soft break if quoting it makes the line too long), a dot at the beginning (binascii quotes a
    lone one), and an escape that ends at the 76th character (binascii breaks before it).
    """
    coded = b2a_qp(line + b"\n")
    if line[-1:] in b" \t" or line[0] == _DOT or coded[-5:-3] == b"\n=":
        coded = quoprimime.body_encode(line.decode("latin-1"), WIDTH).encode() + b"\n"
    return coded.replace(b"\n", b"\r\n")


_kept = lru_cache(_LINES_KEPT)(encoded_line)


@dataclass(frozen=True, slots=True)
class _Body:
    """One body of a group: lines without a mark are encoded (`parts`), the others need a reader's values.

    `single` holds each line with one mark as its place among the parts, the text before the mark, its number,
    and the text after it; `several` holds lines with more marks.
    """

    pieces: Pieces
    parts: tuple[bytes, ...]
    single: tuple[tuple[int, bytes, int, bytes], ...]
    several: tuple[tuple[int, tuple[bytes | int, ...]], ...]
    has_dots: bool

    @classmethod
    def of(cls, pieces: Pieces) -> _Body:
        parts, single, several = [b""], [], []
        for line in _lines(pieces):
            if not line.rest:
                parts[-1] += encoded_line(line.start)
                continue
            broken, before = _broken(line.start)
            parts[-1] += broken
            match line.rest:
                case [int(number)]:
                    single.append((len(parts), before, number, b""))
                case [int(number), bytes(behind)]:
                    single.append((len(parts), before, number, behind))
                case rest:
                    several.append((len(parts), (before, *rest)))
            parts += [b"", b""]
        has_dots = any(_may_begin_with_dot(part) for part in parts)
        return cls(pieces, tuple(parts), tuple(single), tuple(several), has_dots)

    def words(self, values: Sequence[str]) -> str:
        return "".join([values[p] if type(p) is int else p for p in self.pieces])  # type: ignore[misc]

    def filled(self, values: Sequence[bytes]) -> tuple[bytes, bool]:
        """Return the body, and whether a line may begin with a dot."""
        parts = list(self.parts)
        for place, before, number, behind in self.single:
            parts[place] = encoded_line(before + values[number] + behind)
        for place, pieces in self.several:
            parts[place] = encoded_line(b"".join([values[p] if type(p) is int else p for p in pieces]))  # type: ignore[misc]
        has_dots = self.has_dots or any(map(_may_begin_with_dot, parts[1::2]))
        return b"".join(parts), has_dots


def _may_begin_with_dot(lines: bytes) -> bool:
    """Whether one of some encoded lines begins with a dot."""
    return lines[:1] == b"." or b"\n." in lines


def spliced(how: Spliced, text: str, html: str) -> tuple[bytes, bytes, bool] | None:
    """Return both bodies encoded, and whether a line may begin with a dot; None if splicing does not fit.

    It fits only if it gives exactly these words; otherwise they are encoded as if they had not been spliced.
    """
    values = "".join(how.values) + "".join(how.escaped)
    if not values.isprintable() or "" in how.values or "" in how.escaped:
        return None  # a value that ends a line would make one more
    bodies = _bodies(how.skeleton)
    if bodies is None or bodies[0].words(how.values) != text or bodies[1].words(how.escaped) != html:
        return None
    plain, plain_dots = bodies[0].filled([value.encode() for value in how.values])
    markup, markup_dots = bodies[1].filled([value.encode() for value in how.escaped])
    return plain, markup, plain_dots or markup_dots


@lru_cache(_SKELETONS_KEPT)
def _bodies(skeleton: Skeleton) -> tuple[_Body, _Body] | None:
    """Return the bodies of the text and the markup; None if lines end in anything but a newline."""
    if any("\r" in piece for piece in (*skeleton.text, *skeleton.html) if isinstance(piece, str)):
        return None
    return _Body.of(skeleton.text), _Body.of(skeleton.html)


class _Line:
    """One line of a body: its `start`, then marks and the text between and after them."""

    __slots__ = ("rest", "start")

    def __init__(self, start: bytes) -> None:
        self.start = start
        self.rest: list[bytes | int] = []


def _lines(pieces: Pieces) -> list[_Line]:
    lines = [_Line(b"")]
    for piece in pieces:
        if isinstance(piece, int):
            lines[-1].rest.append(piece)
            continue
        first, *others = piece.encode().split(b"\n")
        if lines[-1].rest:
            lines[-1].rest += [first] if first else []
        else:
            lines[-1].start += first
        lines += map(_Line, others)
    # An empty last line: the text ended with a newline, which begins no line.
    is_over = len(lines) > 1 and not lines[-1].start and not lines[-1].rest
    return lines[:-1] if is_over else lines


def _broken(start: bytes) -> tuple[bytes, bytes]:
    """Return the encoded lines that a line's start makes whatever follows, and the rest of the start.

    A soft break depends only on the text before it, as long as more than one line's worth follows.
    """
    lines, coded = [], [_ESCAPES[octet] for octet in start]
    left, at = sum(map(len, coded)), 0
    while left > WIDTH:
        begin, width = at, 0
        while width + len(coded[at]) < WIDTH:
            width += len(coded[at])
            at += 1
        lines.append("".join(coded[begin:at]) + "=\r\n")
        left -= width
    return "".join(lines).encode(), start[at:]
