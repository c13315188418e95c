"""Writes one Markdown source as an email's text and HTML, which so cannot say different things.

Values are no part of what is parsed: each is a hole, one private-use character, filled afterwards. So no
value can change a tag or a word around it, and one parse serves all readers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from markupsafe import escape

from commcast.rendering.sandbox import FIRST_HOLE, MOST_HOLES, LimitExceeded, ReaderText

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.tree import SyntaxTreeNode

HOLE = re.compile(f"([{chr(FIRST_HOLE)}-{chr(FIRST_HOLE + MOST_HOLES - 1)}])")
LONGEST_PREHEADER = 150  # characters: what an inbox shows beside the subject
MOST_NESTED = 20  # quotes, lists, their items, bold and links inside each other
_MOST_FILLED = 1_000_000  # characters of values put in: more than any email that is not too large needs
_SUBJECT = re.compile(r"\s*Subject:[ \t]*(?:\[([^\]\n]*)\][ \t]*)?(.*)\n?")
# What would swallow the line after it, as the same paragraph (CommonMark 0.31, "lazy continuation").
_SWALLOWS = re.compile(r"[ \t]*(?:>|[-*+] |\d{1,9}[.)] )")
_BIDI = frozenset(("R", "AL"))
_NUMBERED = re.compile("&#(?:[xX]([0-9a-fA-F]{1,6})|([0-9]{1,7}));")

Styles = Mapping[str, str]


@dataclass(slots=True)
class Mail:
    """The parts of one email, in pieces as written."""

    subject: list[str]
    text: list[str]
    body: list[str]
    foot: list[str]
    preheader: str


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    """Return CommonMark without what surprises in a message: HTML, images, and code by indentation."""
    from markdown_it import MarkdownIt

    off = ["code", "fence", "lheading", "reference", "html_block", "html_inline", "image"]
    # Without room, the parser would leave out what is nested more deeply than allowed, and say nothing.
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": MOST_NESTED + 2}).disable(off)
    parser.normalizeLink = parser.normalizeLinkText = lambda url: url  # type: ignore[method-assign,assignment]
    parser.validateLink = bool  # type: ignore[method-assign,assignment] # the finished one is checked
    return parser


@lru_cache(maxsize=256)
def _parsed(source: str) -> SyntaxTreeNode:
    from markdown_it.tree import SyntaxTreeNode

    codes = (int(found[1], 16) if found[1] else int(found[2]) for found in _NUMBERED.finditer(source))
    if any(code >= FIRST_HOLE for code in codes):
        raise LimitExceeded("has a private character, as &#…;; write another character")
    tokens = _parser().parse(_spaced(source))
    depth = 0
    for token in (each for block in tokens for each in (block, *(block.children or ()))):
        depth += token.nesting
        if depth > MOST_NESTED:
            raise LimitExceeded("is nested too deeply")
    return SyntaxTreeNode(tokens)


def _spaced(source: str) -> str:
    """Return the Markdown with a blank line after each quote or list, which else take in the next line."""
    lines: list[str] = []
    inside = False
    for line in source.split("\n"):
        begins = bool(_SWALLOWS.match(line))
        if inside and line.strip() and not begins and not line.startswith("  "):
            lines.append("")
        inside = begins or (inside and line.startswith("  "))
        lines.append(line)
    return "\n".join(lines)


def split_subject(source: str) -> tuple[str, str, str] | None:
    """Return (label, the rest of the subject, the body) of a message's Markdown; None without a subject."""
    found = _SUBJECT.match(source)
    return (found[1] or "", found[2].strip(), source[found.end() :]) if found else None


def write(subject: tuple[str, str, str], values: Sequence[str], styles: Styles) -> Mail:
    """Return the email that a message's Markdown makes with these values.

    Raises LimitExceeded if it is nested too deeply or grows without bounds.
    """
    writer = _Writer(values, styles)
    writer.document(_parsed(subject[2]))
    head = writer.pieces(subject_line(subject), in_html=False)
    return Mail(head, writer.text, writer.body, writer.foot, writer.preheader)


def subject_line(subject: tuple[str, str, str]) -> str:
    """Return the whole subject."""
    label, rest, _ = subject
    return f"[{label}] {rest}" if label else rest


def fill(source: str, values: Sequence[str]) -> str:
    """Return one line of Markdown source with its values, as plain text."""
    return "".join(_Writer(values, {}).pieces(source, in_html=False)).strip()


@lru_cache(maxsize=64)
def read_styles(css: str) -> Styles:
    """Return the styles of a layout's <style inline>: by element, or by place and element (".foot p").

    What is inside an at-rule such as @media is left out: it does not hold everywhere.
    """
    rules: dict[str, str] = {}
    for selectors, style in _rules(css):
        flat = " ".join(style.split()).rstrip(";").replace('"', "'")
        for selector in selectors.split(","):
            name = " ".join(selector.split())
            rules[name] = f"{rules[name]};{flat}" if name in rules else flat
    return rules


def _rules(css: str) -> Iterator[tuple[str, str]]:
    """Yield (selectors, style) of each rule of its own, in time proportional to the length."""
    first, *others = css.split("/*")
    pieces = re.split("([{}])", first + "".join(each.partition("*/")[2] for each in others))
    depth, selectors = 0, ""
    for piece, brace in zip(pieces[::2], pieces[1::2], strict=False):
        if brace == "{":
            depth += 1
            selectors = piece if depth == 1 else selectors
        else:
            if depth == 1 and not selectors.lstrip().startswith("@"):
                yield selectors, piece
            depth = max(0, depth - 1)


@dataclass(slots=True)
class _Writer:
    """Writes text and HTML side by side: each decision is made once, for both."""

    values: Sequence[str]
    styles: Styles
    text: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    foot: list[str] = field(default_factory=list)
    preheader: str = ""
    _place: str = ""
    _in_item: bool = False
    _filled_with: int = 0
    _html: list[str] = field(default_factory=list)

    def document(self, root: SyntaxTreeNode) -> None:
        self._html = self.body
        for block in root.children:
            if block.type == "hr" and self._place != "foot":
                self._place, self._html = "foot", self.foot
                self._text_block(["---"], "")
            else:
                self._block(block, "")

    def _block(self, block: SyntaxTreeNode, indent: str) -> None:
        match block.type:
            case "paragraph" | "heading":
                self._paragraph(block, indent)
            case "blockquote":
                self._box(block, indent)
            case "bullet_list" | "ordered_list":
                self._list(block, indent)
            case "hr":
                self._text_block(["---"], indent)
                self._html.append(self._tag("hr"))
            case _:  # nothing else can be parsed
                raise ValueError(block.type)

    def _paragraph(self, block: SyntaxTreeNode, indent: str) -> None:
        text, html = self._inline(block)
        if not "".join(text).strip():
            return
        if block.type == "paragraph" and not self.preheader and self._place == "":
            self._preview(block, text)
        self._text_block(text, indent)
        if self._in_item:
            self._html += ["<br>\n"] * bool(self._html) + html
            return
        tag = "p" if block.type == "paragraph" else f"h{min(int(block.tag[1]) + 1, 6)}"
        self._html += [self._tag(tag, f'dir="{_side(text)}"'), *html, f"</{tag}>\n"]

    def _preview(self, block: SyntaxTreeNode, text: Sequence[str]) -> None:
        """Take the first paragraph that no reader's value is in: the inbox shows it beside the subject.

        A paragraph that is all bold is a heading.
        """
        if [each.type for each in block.children[0].children] == ["strong"]:
            return
        holes = HOLE.findall(block.children[0].content)
        if not any(isinstance(self._value(hole), ReaderText) for hole in holes):
            words = " ".join("".join(text).split())
            cut = words[: LONGEST_PREHEADER - 1].rpartition(" ")[0]
            cut = cut or words[: LONGEST_PREHEADER - 1]
            self.preheader = words if len(words) <= LONGEST_PREHEADER else f"{cut}…"

    def _box(self, block: SyntaxTreeNode, indent: str) -> None:
        place, outer = self._place, self._html
        inner: list[str] = []
        self._place, self._html = "promise", inner
        for each in block.children:
            self._block(each, indent)
        self._place, self._html = place, outer
        if inner:
            table = 'role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"'
            cell = self._tag("td", 'class="promise"', style=self.styles.get(".promise", ""))
            start = self._tag("table", table, style=self.styles.get(".promise table", ""))
            self._html += [start, "<tr>", cell, "\n", *inner, "</td></tr></table>\n"]

    def _list(self, block: SyntaxTreeNode, indent: str) -> None:
        tag = "ul" if block.type == "bullet_list" else "ol"
        outer, was_inside = self._html, self._in_item
        items: list[list[str]] = []
        self._in_item = True
        first = int(block.attrs.get("start", 1)) if tag == "ol" else 1
        for item in block.children:
            self._html = []
            mark = "- " if tag == "ul" else f"{first + len(items)}. "
            before = len(self.text)
            for each in item.children:
                self._block(each, indent + " " * len(mark))
            if self._html:
                self._begin_item(before, indent, mark, is_first=not items)
                items.append(self._html)
        self._html, self._in_item = outer, was_inside
        if items:
            start = f'start="{first}"' if first != 1 else ""
            self._html.append(self._tag(tag, start) + "\n")
            for html in items:
                self._html += [self._tag("li", 'dir="auto"'), *html, "</li>\n"]
            self._html.append(f"</{tag}>\n")

    def _begin_item(self, at: int, indent: str, mark: str, *, is_first: bool) -> None:
        """Put an item's mark before its first line; items follow each other without a blank line."""
        gap = self.text[at]
        assert gap.startswith("\n\n") or at == 0  # noqa: S101 - how _text_block begins
        lead = "\n\n" if is_first else "\n"
        self.text[at] = (lead if at else "") + indent + mark

    def _text_block(self, text: Sequence[str], indent: str) -> None:
        self.text.append(("\n\n" if self.text else "") + indent)
        self.text += text

    def _tag(self, name: str, attributes: str = "", style: str | None = None) -> str:
        place = f".{self._place} {name}"
        own = self.styles.get(place, self.styles.get(name, "")) if style is None else style
        parts = [name, attributes, f'style="{escape(own)}"' if own else ""]
        return f"<{' '.join(filter(None, parts))}>"

    def _inline(self, block: SyntaxTreeNode) -> tuple[list[str], list[str]]:
        text: list[str] = []
        html: list[str] = []
        for node in block.children[0].children if block.children else ():
            self._span(node, text, html)
        while text and text[-1] == " ":  # nothing was written after the last line break
            text.pop()
        return text, html

    def _span(self, node: SyntaxTreeNode, text: list[str], html: list[str]) -> None:
        match node.type:
            case "text" | "code_inline" | "text_special":
                text += self.pieces(node.content, in_html=False)
                html += self.pieces(node.content, in_html=True)
            case "softbreak":  # a template has one sentence on a line, which may be empty
                if next(filter(None, reversed(text)), " ")[-1].strip():
                    text.append(" ")
                    html.append("\n")
            case "hardbreak":
                text.append("\n")
                html.append("<br>\n")
            case "link":
                self._link(node, text, html)
            case "strong" | "em":
                html.append(f"<{node.tag}>")
                for each in node.children:
                    self._span(each, text, html)
                html.append(f"</{node.tag}>")
            case _:
                raise ValueError(node.type)

    def _link(self, node: SyntaxTreeNode, text: list[str], html: list[str]) -> None:
        """Write a link: words and address in text; a link without words shows its address.

        Words that are the address are shown once, unless a reader's value decides.
        """
        address = str(node.attrs["href"])
        plain = self.pieces(address, in_html=False)
        if not "".join(plain).strip():
            return
        words: tuple[list[str], list[str]] = ([], [])
        for each in () if node.markup == "autolink" else node.children:
            self._span(each, *words)
        start = self._tag("a", 'href="\0"').split("\0")
        html += [start[0], *self._attribute(address), start[1]]
        has_words = bool("".join(words[0]).strip())
        html += words[1] if has_words else self.pieces(address, in_html=True)
        html.append("</a>")
        own = any(isinstance(piece, ReaderText) for piece in (*words[0], *plain))
        once = not has_words or (not own and "".join(words[0]) == "".join(plain))
        text += plain if once else [*words[0], " <", *plain, ">"]

    def _value(self, hole: str) -> str:
        return self.values[ord(hole) - FIRST_HOLE]

    def pieces(self, source: str, *, in_html: bool) -> list[str]:
        """Return a source cut at its holes, with the values in them; a reader's is a piece of its own."""
        return list(self._filled(source, in_html))

    def _filled(self, source: str, in_html: bool) -> Iterator[str]:
        for number, piece in enumerate(HOLE.split(source)):
            if number % 2 == 0:
                if piece:
                    yield str(escape(piece)) if in_html else piece
                continue
            value = self._value(piece)
            text = value.replace("\r\n", "\n").strip("\n")
            self._filled_with += len(text)
            if self._filled_with > _MOST_FILLED:
                raise LimitExceeded("makes far more text than a message holds")
            own = isinstance(value, ReaderText)
            yield _as_html(text, own=own) if in_html else ReaderText(text) if own else text

    def _attribute(self, address: str) -> list[str]:
        return [str(escape(each)) for each in self.pieces(address, in_html=False)]


def _side(pieces: Sequence[str]) -> str:
    """Return "rtl" if words of the program's begin from the right, else "auto".

    A browser itself does not look into the <span> that such a value gets. What follows a reader's value is
    left to the browser: one email is cut for all readers.
    """
    for piece in pieces:
        if isinstance(piece, ReaderText):
            break
        for side in map(unicodedata.bidirectional, piece):
            if side == "L" or side in _BIDI:
                return "auto" if side == "L" else "rtl"
    return "auto"


def _as_html(text: str, *, own: bool) -> str:
    """Return a value of several lines with real line breaks; each reads from its own side.

    A reader's `own` value gets no tag for its side: one email is cut for all of them.
    """
    if not (own or text.isascii()) and any(unicodedata.bidirectional(char) in _BIDI for char in text):
        return "<br>\n".join(f'<span dir="auto">{escape(line)}</span>' for line in text.split("\n"))
    return str(escape(text)).replace("\n", "<br>\n")
