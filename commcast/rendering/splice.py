"""One rendering cut where readers' values go, for all it holds for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    """What a value must be, as it stands in HTML: any text, a whole plain link, or a plain part of one."""

    TEXT = re.compile(".+")  # an escaped value: no quote, no angle bracket
    LINK = re.compile(SCHEME + PLAIN)
    PART = re.compile(PLAIN)


@dataclass(frozen=True, slots=True)
class MarkedHtml:
    """The strictest place of each mark, and the HTML with plain links in the place of the marks in links."""

    places: Mapping[str, HoleKind]
    checked: str


class _Misplaced(Exception):
    """A mark stands where a value could change more than itself."""


def read_marks(html: str, marks: re.Pattern[str]) -> MarkedHtml | None:
    """Return where the marks stand: in text between tags, or in the double-quoted href of an <a>.

    Return None where one stands elsewhere: in a comment, a style, a tag's name or another attribute.
    A value in text holds no "<" and no ">", so the same tags are found round it; one in a link holds nothing
    that ends the attribute, and the link is by http, https or mailto whatever is put in.
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
    return MarkedHtml(places, "".join(parts))


def _tag(tag: str, marks: re.Pattern[str], places: dict[str, HoleKind]) -> str:
    """Return the tag with links in the place of its marks, and note what these are. Raises _Misplaced."""
    if tag.startswith("<!--") and not (tag.startswith("<!--[if") or tag.endswith("-->")):
        raise _Misplaced  # a value "--" before a ">" further on would end this comment there
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
    # A lone "&" could make a character of what follows it.
    if name != "href" or not (whole or _BEGUN.match(value)) or "&" in value.replace("&amp;", ""):
        raise _Misplaced
    for number, mark in enumerate(found):
        place = HoleKind.LINK if whole and number == 0 else HoleKind.PART
        if places.get(mark) is not HoleKind.LINK:
            places[mark] = place
    return marks.sub("x", f"https://{value}" if whole else value)


# Private-use characters of plane 15: escaping, trimming and looking for controls all leave them alone.
_FIRST_MARK, _MOST_MARKS = 0xF0000, 64
_MARK = re.compile(f"[{chr(_FIRST_MARK)}-{chr(_FIRST_MARK + _MOST_MARKS - 1)}]")
# Controls, what ends a line, bidi and invisible marks, half characters, and our own marks.
_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb"
    f"{chr(_FIRST_MARK)}-{chr(_FIRST_MARK + _MOST_MARKS - 1)}]"
)
_SPECIAL = re.compile("[&<>\"']")  # all that `escape` changes
_SIGNATURE = ("-", "--")  # may make a line "-- " with what is beside it, which keeps its space
_WIDEST_TEXT, _WIDEST_HTML = 4, 5  # bytes that one character of a value can make: 😀, and & as &amp;
_LEFT_OVER = 1_000_000  # of the budget's characters: more than all values that fit can take together


class CutMail:
    """A mail cut at the places of its readers' values, and what tells which readers fit it.

    `fields` name the values, in their order; none where the mail is the same for all.
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
        """Return a reader's values; None where the reader's mail has to be rendered for them alone."""
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
        """Return a digest of the mail that these values make, in hex: of what was cut and of the values."""
        own = self._digest.copy()
        own.update("\0".join(values).encode())  # no value holds \0
        return own.hexdigest()

    def spliced(self, values: tuple[str, ...]) -> Spliced:
        """Return the values as they are handed on."""
        return Spliced(self.skeleton, values, tuple([_escaped(value) for value in values]))

    def content(self, spliced: Spliced) -> EmailContent:
        """Return the mail that these values make: the one that is rendered for this reader alone."""
        values = spliced.values
        return EmailContent(self._subject.by(values), self._text.by(values), self._html.by(spliced.escaped))


def _escaped(value: str) -> str:
    """Return a value as it stands in HTML."""
    return str(escape(value)) if _SPECIAL.search(value) else value


class _Filled:
    """One part of a mail, to be filled with values."""

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
    """Return the cut mail for all readers who differ from `recipient` in the `bare` fields only.

    Return None where a mark was lost, changed, or stands where a value could change more than itself.
    Raises TemplateError where the mail cannot be rendered with marks.
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
    content = renderer.finish(written, checked_html=marked.checked)
    numbers = {mark: number for number, mark in enumerate(own)}
    skeleton = Skeleton(
        subject=_cut(content.subject, numbers),
        text=_cut(content.text, numbers),
        html=_cut(content.html, numbers),
    )
    return CutMail(
        fields,
        skeleton,
        [_limit(mark, written, content.subject) for mark in own],
        [marked.places.get(mark, HoleKind.TEXT) for mark in own],
    )


class _Watched(Mapping[str, Any]):
    """A reader with marks in the place of some values, who counts how often each mark was asked for."""

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
    """Return how often each mark was written; None where one is not a piece of its own."""
    found: Counter[str] = Counter()
    for piece in (*written.subject, *written.text, *(written.html or ())):
        if not piece.isascii() and _MARK.search(piece):
            if len(piece) > 1:
                return None
            found[str(piece)] += 1
    return found


def _limit(mark: str, written: Written, subject: str) -> int:
    """Return how many characters a value may have, whatever the other values are, for the mail to fit."""
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
