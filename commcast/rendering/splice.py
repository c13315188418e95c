"""Renders an email once and inserts each reader's values into it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from hashlib import sha256
from typing import Any, Generic, TypeVar

from markupsafe import escape

from commcast.model.message import Pieces, Skeleton, Spliced
from commcast.rendering.render import (
    ATTRIBUTES,
    LARGEST_HTML,
    LARGEST_TEXT,
    LONGEST_SUBJECT,
    PLAIN,
    SCHEME,
    TAG,
    EmailContent,
    Renderer,
    Written,
    styles_in,
)

_LINK_TAG = re.compile(f"<a{ATTRIBUTES}[ \n]*>")
_ATTRIBUTE = re.compile(r'([ \n]+)([A-Za-z-]+)="([^"<>]*)"')
_BEGUN = re.compile(SCHEME)


class HoleKind(Enum):
    """What a value has to be, as written in HTML: any text, a whole plain link, or a plain part of one."""

    TEXT = re.compile(".+")  # an escaped value: no quote, no angle bracket
    LINK = re.compile(SCHEME + PLAIN)
    PART = re.compile(PLAIN)


class _Misplaced(Exception):
    """A mark is where a value could change more than itself."""


def read_marks(html: str, marks: re.Pattern[str]) -> tuple[Mapping[str, HoleKind], str] | None:
    """Return the strictest place of each mark, and the HTML with plain links instead of marks in links.

    A mark may be in text between tags, or in the double-quoted href of an <a>. Return None if one is
    elsewhere: in a comment, a style, a tag's name or another attribute.
    An escaped value in text has no "<" and no ">", so the same tags are found around it; one in a link has
    nothing that ends the attribute, and the link is http, https or mailto whatever the value is.
    """
    parts = TAG.split(html)
    places = {mark: HoleKind.TEXT for part in parts[::2] for mark in marks.findall(part)}
    if any(map(marks.search, styles_in(html))):
        return None
    try:
        for number in range(1, len(parts), 2):
            parts[number] = _tag(parts[number], marks, places)
    except _Misplaced:
        return None
    return places, "".join(parts)


def _tag(tag: str, marks: re.Pattern[str], places: dict[str, HoleKind]) -> str:
    """Return the tag with links instead of its marks, and note what those are. Raises _Misplaced."""
    if tag.startswith("<!--") and not (tag.startswith("<!--[if") or tag.endswith("-->")):
        raise _Misplaced  # a value "--" before a later ">" would end this comment there
    if not marks.search(tag):
        return tag
    if not _LINK_TAG.fullmatch(tag):
        raise _Misplaced

    def filled(attribute: re.Match[str]) -> str:
        gap, name, value = attribute.groups()
        return f'{gap}{name}="{_address(name, value, marks, places)}"'

    return _ATTRIBUTE.sub(filled, tag)


def _address(name: str, value: str, marks: re.Pattern[str], places: dict[str, HoleKind]) -> str:
    found = marks.findall(value)
    if not found:
        return value
    whole = marks.match(value) is not None
    # A lone "&" could form a character reference with what follows it.
    if name != "href" or not (whole or _BEGUN.match(value)) or "&" in value.replace("&amp;", ""):
        raise _Misplaced
    for number, mark in enumerate(found):
        place = HoleKind.LINK if whole and number == 0 else HoleKind.PART
        if places.get(mark) is not HoleKind.LINK:
            places[mark] = place
    return marks.sub("x", f"https://{value}" if whole else value)


# Private-use characters of plane 15: escaping, trimming and the check for controls all leave them alone.
_FIRST_MARK, _MOST_MARKS = 0xF0000, 64
_MARK = re.compile(f"[{chr(_FIRST_MARK)}-{chr(_FIRST_MARK + _MOST_MARKS - 1)}]")
# Controls, what ends a line, bidi and invisible marks, half characters, and our own marks.
_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb"
    f"{chr(_FIRST_MARK)}-{chr(_FIRST_MARK + _MOST_MARKS - 1)}]"
)
_SPECIAL = re.compile("[&<>\"']")  # all that `escape` changes
_SIGNATURE = ("-", "--")  # may form the line "-- " with what is next to it, and that line keeps its space
_WIDEST_TEXT, _WIDEST_HTML = 4, 5  # bytes that one character of a value can make: 😀, and & as &amp;
_LEFT_OVER = 1_000_000  # of the budget's characters: more than all values that fit can use together


class CutMail:
    """An email cut at the places of its readers' values, with what decides which readers fit it.

    `fields` names the values, in order; it is empty if the email is the same for all.
    """

    def __init__(
        self, fields: Sequence[str], skeleton: Skeleton, limits: Sequence[int], places: Sequence[HoleKind]
    ) -> None:
        self.fields = tuple(fields)
        self.skeleton = skeleton
        self._limited = tuple(zip(fields, limits, strict=True))
        self._links = [(n, place) for n, place in enumerate(places) if place is not HoleKind.TEXT]
        parts = [skeleton.subject, skeleton.text, skeleton.html]
        self._subject, self._text, self._html = map(_Filled, parts)
        self._digest = sha256(repr([parts, str(escape("&<>\"'"))]).encode())

    def values_of(self, recipient: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Return a reader's values; None if the email has to be rendered for this reader alone."""
        values = []
        for name, limit in self._limited:
            value = recipient.get(name)
            if type(value) is not str or not 0 < len(value) <= limit:
                return None
            if value[0].isspace() or value[-1].isspace() or value in _SIGNATURE:
                return None
            if not value.isprintable() and _UNFIT.search(value):
                return None
            values.append(value)
        for number, place in self._links:
            if not place.value.fullmatch(_escaped(values[number])):
                return None
        return tuple(values)

    def digest(self, values: tuple[str, ...]) -> str:
        """Return a digest of the email that these values make, in hex: of the skeleton and the values."""
        own = self._digest.copy()
        own.update("\0".join(values).encode())  # no value contains \0
        return own.hexdigest()

    def spliced(self, values: tuple[str, ...]) -> Spliced:
        """Return the skeleton with these values, as providers get it."""
        return Spliced(self.skeleton, values, tuple([_escaped(value) for value in values]))

    def content(self, spliced: Spliced) -> EmailContent:
        """Return the email that these values make: the same as if rendered for this reader alone."""
        values = spliced.values
        return EmailContent(self._subject.by(values), self._text.by(values), self._html.by(spliced.escaped))


def _escaped(value: str) -> str:
    """Return a value as written in HTML."""
    return str(escape(value)) if _SPECIAL.search(value) else value


class _Filled:
    """One part of an email, to be filled with values."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = [piece if isinstance(piece, str) else "" for piece in pieces]
        self._holes = [(at, piece) for at, piece in enumerate(pieces) if isinstance(piece, int)]
        self._same = "" if self._holes else "".join(self._pieces)

    def by(self, values: tuple[str, ...]) -> str:
        if not self._holes:
            return self._same
        pieces = self._pieces.copy()
        for at, number in self._holes:
            pieces[at] = values[number]
        return "".join(pieces)


def cut_mail(
    renderer: Renderer, context: Mapping[str, Any], recipient: Mapping[str, Any], bare: Sequence[str]
) -> CutMail | None:
    """Return the cut email for all readers who differ from `recipient` in the `bare` fields only.

    Return None if a mark was lost or changed, or is where a value could change more than itself.
    Raises TemplateError if the email cannot be rendered with marks.
    """
    if len(bare) > _MOST_MARKS:
        return None
    marks = {name: chr(_FIRST_MARK + number) for number, name in enumerate(bare)}
    watched = _Watched(recipient, marks)
    written = renderer.write(context, watched)
    came_out = _came_out(written)
    if came_out != watched.asked or watched.seen_whole or written.left < _LEFT_OVER:
        return None
    return _cut_up(renderer, written, [name for name in bare if came_out[marks[name]]], marks)


def _cut_up(
    renderer: Renderer, written: Written, fields: Sequence[str], marks: Mapping[str, str]
) -> CutMail | None:
    own = [marks[name] for name in fields]
    marked = read_marks("".join(written.html or ()).replace("\r\n", "\n").strip(), _MARK)
    if marked is None:
        return None
    places, checked = marked
    content = renderer.finish(written, checked_html=checked)
    numbers = {mark: number for number, mark in enumerate(own)}
    skeleton = Skeleton(*(_cut(part, numbers) for part in content))
    return CutMail(
        fields,
        skeleton,
        [_limit(mark, written, content.subject) for mark in own],
        [places.get(mark, HoleKind.TEXT) for mark in own],
    )


class _Watched(Mapping[str, Any]):
    """A reader with marks instead of some values; counts how often each mark was looked up."""

    def __init__(self, values: Mapping[str, Any], marks: Mapping[str, str]) -> None:
        self._values = values
        self._marks = marks
        self.asked: Counter[str] = Counter()
        self.seen_whole = False

    def __getitem__(self, name: str) -> Any:
        mark = self._marks.get(name)
        if mark is None:
            return self._values[name]
        self.asked[mark] += 1
        return mark

    def __contains__(self, name: object) -> bool:
        return name in self._marks or name in self._values

    def __iter__(self) -> Iterator[str]:
        self.seen_whole = True
        return iter({**self._values, **self._marks})

    def __len__(self) -> int:
        self.seen_whole = True
        return len({**self._values, **self._marks})


def _came_out(written: Written) -> Counter[str] | None:
    """Return how often each mark was written; None if one is not a piece of its own."""
    found: Counter[str] = Counter()
    pieces = (*written.subject, *written.text, *(written.html or ()), *(written.printed or ()))
    for piece in pieces:
        if not piece.isascii() and _MARK.search(piece):
            if len(piece) > 1:
                return None
            found[str(piece)] += 1
    if written.printed is None:
        return found
    return Counter({mark: sum(map(mark.__eq__, written.printed)) for mark in found})


def _limit(mark: str, written: Written, subject: str) -> int:
    """Return how long a value may be for the email not to get too large, whatever the other values are."""
    text, html = "".join(written.text), "".join(written.html or ())
    rooms = [
        (subject, LONGEST_SUBJECT - len(subject), 1),
        (text, LARGEST_TEXT - len(text.encode()), _WIDEST_TEXT),
        (html, LARGEST_HTML - len(html.encode()), _WIDEST_HTML),
    ]
    return min(room // (widest * len(_MARK.findall(part))) for part, room, widest in rooms if mark in part)


def _cut(text: str, numbers: Mapping[str, int]) -> Pieces:
    pieces: list[str | int] = []
    start = 0
    for found in _MARK.finditer(text):
        pieces += [text[start : found.start()], numbers[found[0]]]
        start = found.end()
    pieces.append(text[start:])
    return tuple(piece for piece in pieces if piece != "")


MOST_KEPT = 256
TRIED = 64  # once this many more were made than reused, no more are made

T = TypeVar("T")


class Shared(Generic[T]):
    """Caches what `make` returns, by the readers' values of the fields `keys`; None ("nothing") too."""

    def __init__(self, keys: tuple[str, ...], make: Callable[[Mapping[str, Any]], T | None]) -> None:
        self._keys = keys
        self._make = make
        self._kept: dict[str, T | None] = {}
        self._in_vain = 0

    def get(self, values: Mapping[str, Any]) -> T | None:
        """Return what was made for readers like this one; None if there is nothing for them."""
        key = repr([values.get(name, ...) for name in self._keys]) if self._keys else ""
        if key in self._kept:
            if self._keys:
                self._in_vain = max(0, self._in_vain - 1)
                self._kept[key] = self._kept.pop(key)  # the last used comes last
            return self._kept[key]
        if self._in_vain > TRIED:
            return None
        self._in_vain += 1
        made = self._kept[key] = self._make(values)
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        return made
