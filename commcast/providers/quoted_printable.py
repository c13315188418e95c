"""Encodes an email's body in quoted-printable: the same bytes as the stdlib's, many times faster."""

from __future__ import annotations

from binascii import a2b_qp, b2a_qp
from collections.abc import Sequence
from dataclasses import dataclass
from email import quoprimime
from functools import lru_cache
from operator import itemgetter
from typing import Any

from commcast.model.message import Pieces, Skeleton, Spliced

WIDTH = 76  # characters of an encoded line (RFC 2045 6.7)
_LINES_KEPT = 4096
_LONGEST_KEPT = 1000  # bytes of a line: the cache stays below a few megabytes
_SKELETONS_KEPT = 256
_DOT = ord(".")


def encoded(text: str) -> bytes:
    """Return the text in quoted-printable with CRLF line ends, as the stdlib's set_content encodes it.

    Each line is encoded on its own; lines that many readers share are encoded once.
    """
    lines = text.encode().splitlines() or [b""]
    return b"".join([_kept(line) if len(line) <= _LONGEST_KEPT else encoded_line(line) for line in lines])


def encoded_line(line: bytes) -> bytes:
    """Return one line in quoted-printable. It is given without its line end and returned with it.

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
    """One body of a group: lines without marks are already encoded (`parts`), others need a reader's values.

    `own` holds each line with marks: its place among the parts, the line as a template for `%`, and a getter
    of its values.
    """

    pieces: Pieces
    parts: tuple[bytes, ...]
    own: tuple[tuple[int, bytes, itemgetter[Any]], ...]
    has_dots: bool

    @classmethod
    def of(cls, pieces: Pieces) -> _Body:
        parts, own = [b""], []
        for line in _lines(pieces):
            marks = [piece for piece in line if isinstance(piece, int)]
            if marks and isinstance(line[0], bytes):
                broken, line[0] = _broken(line[0])
                parts[-1] += broken
            template = b"".join(b"%b" if isinstance(p, int) else p.replace(b"%", b"%%") for p in line)
            if marks:
                own.append((len(parts), template, itemgetter(*marks)))
                parts += [b"", b""]
            else:
                parts[-1] += encoded_line(template % ())
        return cls(pieces, tuple(parts), tuple(own), any(map(_may_begin_with_dot, parts)))

    def words(self, values: Sequence[str]) -> str:
        return "".join([values[p] if type(p) is int else p for p in self.pieces])  # type: ignore[misc]

    def filled(self, values: Sequence[bytes]) -> tuple[bytes, bool]:
        """Return the body, and whether a line may begin with a dot."""
        parts = list(self.parts)
        for place, template, picked in self.own:
            parts[place] = encoded_line(template % picked(values))
        has_dots = self.has_dots or any(map(_may_begin_with_dot, parts[1::2]))
        return b"".join(parts), has_dots


def _may_begin_with_dot(lines: bytes) -> bool:
    """Whether one of some encoded lines begins with a dot."""
    return lines[:1] == b"." or b"\n." in lines


def spliced(how: Spliced, text: str, html: str) -> tuple[bytes, bytes, bool] | None:
    """Return both bodies encoded, and whether a line may begin with a dot; None if they can't be spliced.

    They can if splicing gives exactly this text and HTML; otherwise these are encoded as a whole.
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
    """Return the bodies of text and HTML; None if lines end in anything but a newline."""
    if any("\r" in piece for piece in (*skeleton.text, *skeleton.html) if isinstance(piece, str)):
        return None
    return _Body.of(skeleton.text), _Body.of(skeleton.html)


def _lines(pieces: Pieces) -> list[list[bytes | int]]:
    """Return the lines of a body, each as texts and marks. A newline at the end starts no line."""
    lines: list[list[bytes | int]] = [[]]
    for piece in pieces:
        if isinstance(piece, int):
            lines[-1].append(piece)
        else:
            first, *others = piece.encode().split(b"\n")
            lines[-1].append(first)
            lines += [[text] for text in others]
    is_over = len(lines) > 1 and all(piece == b"" for piece in lines[-1])
    return lines[:-1] if is_over else lines


def _broken(start: bytes) -> tuple[bytes, bytes]:
    """Return the encoded lines that a line's start makes whatever follows, and the rest of the start.

    A soft break depends only on the text before it, as long as more than one line's worth follows.
    """
    lines, soft_break, _ = encoded_line(start.rstrip(b" \t")).rpartition(b"=\r\n")
    return lines + soft_break, start[len(a2b_qp(lines + soft_break)) :]
