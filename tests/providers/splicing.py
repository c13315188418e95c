"""Emails as splicing makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape

from hypothesis import strategies as st

from commcast.model.message import Email, Pieces, Skeleton, Spliced


def spliced(base: Email, skeleton: Skeleton, values: Sequence[str]) -> Email:
    """The email of a reader with these values."""
    escaped = tuple(map(escape, values))

    def joined(pieces: Pieces, values: Sequence[str]) -> str:
        return "".join(values[piece] if isinstance(piece, int) else piece for piece in pieces)

    text, html = joined(skeleton.text, values), joined(skeleton.html, escaped)
    how = Spliced(skeleton, tuple(values), escaped)
    return replace(base, subject=joined(skeleton.subject, values), text=text, html=html, spliced=how)


def skeletons(texts: st.SearchStrategy[str], values: int) -> st.SearchStrategy[Skeleton]:
    """Draw pieces for so many values: no text is empty, and no two texts stand side by side."""

    def merged(drawn: list[str | int]) -> Pieces:
        found: list[str | int] = []
        for piece in drawn:
            if isinstance(piece, str) and found and isinstance(found[-1], str):
                found[-1] += piece
            else:
                found.append(piece)
        return tuple(found)

    pieces = st.lists(st.integers(0, values - 1) | texts.filter(bool), max_size=7).map(merged)
    return st.builds(Skeleton, pieces, pieces, pieces)
