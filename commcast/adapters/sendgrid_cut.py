"""Where a spliced mail is cut: what stands for all its group's readers, and each reader's own values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from commcast.adapters.mime import one_line
from commcast.message import Email, Pieces, Skeleton

_SKELETONS_KEPT = 256


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """One group's mail with its places numbered through subject, text and HTML.

    `plain` and `escaped` tell which of a reader's values goes to each place: those of subject and text, and
    then those of the HTML.
    """

    subject: Pieces
    text: Pieces
    html: Pieces
    plain: tuple[int, ...]
    escaped: tuple[int, ...]

    @property
    def places(self) -> int:
        return len(self.plain) + len(self.escaped)

    @property
    def literals(self) -> list[str]:
        return [piece for piece in (*self.subject, *self.text, *self.html) if isinstance(piece, str)]

    def filled(self, at: Sequence[str]) -> tuple[str, str, str]:
        """Return subject, text and HTML with a text at each place."""
        return _joined(self.subject, at), _joined(self.text, at), _joined(self.html, at)


def cut_of(email: Email) -> tuple[Cut, tuple[str, ...]] | None:
    """Return where a mail is cut, and the reader's own text for each place; None where it has to go whole.

    The mail's words are then surely what the cut gives with these texts, and JSON and mails can hold them.
    """
    how = email.spliced
    cut = _cut(how.skeleton) if how else None
    if how is None or cut is None:
        return None
    own = (*[how.values[number] for number in cut.plain], *[how.escaped[number] for number in cut.escaped])
    is_right = cut.filled(own) == (email.subject, email.text, email.html)
    if is_right and _is_whole("".join(own)) and one_line(email.subject) == email.subject:
        return cut, own
    return None


@lru_cache(_SKELETONS_KEPT)
def _cut(skeleton: Skeleton) -> Cut | None:
    numbers: list[int] = []

    def numbered(pieces: Pieces) -> Pieces:
        found: list[str | int] = []
        for piece in pieces:
            if isinstance(piece, int):
                numbers.append(piece)
            found.append(piece if isinstance(piece, str) else len(numbers) - 1)
        return tuple(found)

    subject, text = numbered(skeleton.subject), numbered(skeleton.text)
    plain = tuple(numbers)
    cut = Cut(subject, text, numbered(skeleton.html), plain, tuple(numbers[len(plain) :]))
    return cut if _is_whole("".join(cut.literals)) else None


def _is_whole(text: str) -> bool:
    """Whether the text holds neither lone surrogates nor NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def _joined(pieces: Pieces, at: Sequence[str]) -> str:
    return "".join([at[p] if type(p) is int else p for p in pieces])  # type: ignore[misc]
