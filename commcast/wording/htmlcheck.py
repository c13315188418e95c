"""Looks at a mail's HTML before it leaves: every tag closed, links to web or mail only, nothing loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

_LINK = re.compile(r"(?:https?://|mailto:)[^\s\x00-\x20]+", re.IGNORECASE)
_LINKS = frozenset(("href", "xlink:href", "cite", "action", "formaction"))
_LOADS = frozenset(("src", "srcset", "background", "poster", "data", "lowsrc", "ping", "manifest"))
_BARRED = frozenset(
    (
        "applet",
        "audio",
        "base",
        "button",
        "embed",
        "form",
        "frame",
        "frameset",
        "iframe",
        "image",
        "img",
        "input",
        "link",
        "math",
        "object",
        "script",
        "svg",
        "textarea",
        "video",
    )
)
_LOADINGSTYLE = re.compile(r"url\s*\(|@import|expression\s*\(|\\", re.IGNORECASE)
STYLE = re.compile("<style", re.IGNORECASE)
STYLE_END = re.compile("</style", re.IGNORECASE)
# No "<" inside a tag, and short comments: the time stays in proportion to the text. Some mail programs read
# the inside of <!--[if …]>, so it is looked at like the rest.
TAG = re.compile(r"""(<!--(?!\[if).{0,2000}?-->|<(?:"[^"<]*"|'[^'<]*'|[^<>"'])*+>)""", re.DOTALL)
_TAGS_KEPT = 5_000

# What an address in a link may hold without a second thought: nothing here ends an attribute or a tag, and
# "&" stands only as the escaped form, which reads as "&" again whatever is beside it.
PLAIN = r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$()*+,;=%]|&amp;)+"
SCHEME = "(?:https?://|mailto:)"
ATTRIBUTES = r'(?:[ \n]+[A-Za-z-]+="[^"<>]*")*+'
_BEFORE = r'(?:[ \n]+(?!href=)[A-Za-z-]+="[^"<>]*")*+'
_OWN_LINK = re.compile(f'(<a{_BEFORE})[ \n]+href="{SCHEME}{PLAIN}"({ATTRIBUTES}[ \n]*>)')


class HtmlCheck:
    """Looks at the mails of one template. Tags seen before are known: most are alike."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._known_styles: set[str] = set()
        self._known_round_links: set[tuple[str, str]] = set()

    def problems(self, html: str) -> Iterator[str]:
        """Yield what is wrong with the HTML of one mail."""
        parts = TAG.split(html)
        if "<" in "".join(parts[::2]):
            yield "a tag in the HTML part is never closed"
        tags = set(parts[1::2])
        unknown = tags - self._known - self._known_styles
        styles = (tags & self._known_styles).union(filter(STYLE.search, unknown))
        if styles and any(map(_loads, _behind(styles, parts))):
            yield "a style in the HTML part loads something"
        for tag in unknown:
            yield from self._tag_problems(tag, self._known_styles if tag in styles else self._known)

    def _tag_problems(self, tag: str, known: set[str]) -> Iterator[str]:
        """Yield what is wrong with a tag that is not known; one without a fault is known from now on.

        A link that differs by reader is known by what stands round its address.
        """
        link = _OWN_LINK.fullmatch(tag)
        if link and link.groups() in self._known_round_links:
            return
        problems = _tag_problems(tag)
        yield from problems
        if problems:
            return
        if link and len(self._known_round_links) < _TAGS_KEPT:
            self._known_round_links.add((link[1], link[2]))
        elif len(known) < _TAGS_KEPT:
            known.add(tag)


def _behind(styles: set[str], parts: list[str]) -> list[str]:
    """Return what stands behind each "<style", up to the next one: all of them are in the tags `styles`."""
    first = next(number for number in range(1, len(parts), 2) if parts[number] in styles)
    return STYLE.split("".join(parts[first:]))[1:]


def _loads(style: str) -> bool:
    return bool(_LOADINGSTYLE.search(STYLE_END.split(style, maxsplit=1)[0]))


class _TagReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BARRED:
            self.problems.append(f"<{tag:.20}> is not allowed in the HTML part")
        for name, value in attrs:
            problem = _attribute_problem(name, value or "")
            if problem:
                self.problems.append(f"<{tag:.20}> {problem}")


def _attribute_problem(name: str, value: str) -> str:
    if name in _LINKS and not _LINK.fullmatch(value):
        return f"has a {name} that is no web or mail address"
    if name in _LOADS or (name == "style" and _LOADINGSTYLE.search(value)):
        return f"loads something by its {name}"
    if name.startswith("on") or (name == "http-equiv" and value.strip().lower() == "refresh"):
        return f"runs something by its {name:.20}"
    return ""


def _tag_problems(tag: str) -> list[str]:
    reader = _TagReader()
    try:
        reader.feed(tag)
        reader.close()
    except AssertionError:  # the parser's way to refuse <![…
        return ["the HTML part holds a tag that no mail program knows"]
    return reader.problems
