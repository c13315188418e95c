"""Where marks stand in a mail's HTML, and what a value must be there for every check to stay as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from commcast.wording.htmlcheck import ATTRIBUTES, PLAIN, SCHEME, STYLE, STYLE_END, TAG

_LINK_TAG = re.compile(f"<a{ATTRIBUTES}[ \n]*>")
_ATTRIBUTE = re.compile(r'([ \n]+)([A-Za-z-]+)="([^"<>]*)"')
_BEGUN = re.compile(SCHEME)


class Place(Enum):
    """What a value must be, as it stands in HTML: any text, a whole plain link, or a plain part of one."""

    TEXT = re.compile(".+")  # an escaped value: no quote, no angle bracket
    LINK = re.compile(SCHEME + PLAIN)
    PART = re.compile(PLAIN)


@dataclass(frozen=True, slots=True)
class MarkedHtml:
    """The strictest place of each mark, and the HTML with plain links in the place of the marks in links."""

    places: Mapping[str, Place]
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
    places = {mark: Place.TEXT for part in parts[::2] for mark in marks.findall(part)}
    for style in STYLE.split(html)[1:]:
        if marks.search(STYLE_END.split(style, maxsplit=1)[0]):
            return None
    try:
        for number in range(1, len(parts), 2):
            parts[number] = _tag(parts[number], marks, places)
    except _Misplaced:
        return None
    return MarkedHtml(places, "".join(parts))


def _tag(tag: str, marks: re.Pattern[str], places: dict[str, Place]) -> str:
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


def _address(name: str, value: str, marks: re.Pattern[str], places: dict[str, Place]) -> str:
    found = marks.findall(value)
    if not found:
        return value
    whole = marks.match(value) is not None
    # A lone "&" could make a character of what follows it.
    if name != "href" or not (whole or _BEGUN.match(value)) or "&" in value.replace("&amp;", ""):
        raise _Misplaced
    for number, mark in enumerate(found):
        place = Place.LINK if whole and number == 0 else Place.PART
        if places.get(mark) is not Place.LINK:
            places[mark] = place
    return marks.sub("x", f"https://{value}" if whole else value)
