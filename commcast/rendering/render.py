"""Renders a wording and its context to finished content, and checks it before it leaves."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from html.parser import HTMLParser
from itertools import product
from textwrap import shorten
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

from jinja2 import Template, UndefinedError
from jinja2.exceptions import SecurityError, TemplateNotFound, TemplateRuntimeError, TemplateSyntaxError
from jinja2.runtime import Context
from markupsafe import Markup, escape

from commcast.errors import Fault, TemplateError
from commcast.files import named
from commcast.model.incident import SENTENCES, Incident
from commcast.model.text import MAX_CHARACTERS, SmsSize, markup_in, measure, replace_lookalikes
from commcast.rendering.fields import READER, Fields, fields_used
from commcast.rendering.markdown import Mail, fill, read_styles, split_subject, subject_line, write
from commcast.rendering.sandbox import (
    Budget,
    Form,
    LimitExceeded,
    MessageEnvironment,
    ReaderText,
)
from commcast.rendering.templates import Wording, reached, template_error

_OFFSET = re.compile(r"\b[A-Z]+ \(UTC[+-][0-9:]+\)")
_LINK = re.compile(r"(?:https?://|mailto:)[^\s\x00-\x20]+", re.IGNORECASE)
_LINKS = frozenset(("href", "xlink:href", "cite", "action", "formaction"))
_LOADS = frozenset(("src", "srcset", "background", "poster", "data", "lowsrc", "ping", "manifest"))
_BARRED = frozenset(
    ("applet", "audio", "base", "button", "embed", "form", "frame", "frameset", "iframe", "image", "img")
) | frozenset(("input", "link", "math", "object", "script", "svg", "textarea", "video"))
_LOADINGSTYLE = re.compile(r"url\s*\(|@import|expression\s*\(|\\", re.IGNORECASE)
_STYLE = re.compile("<style", re.IGNORECASE)
_STYLE_END = re.compile("</style", re.IGNORECASE)
# No "<" inside a tag, and short comments only: so the time is proportional to the length of the text. Some
# email programs read what is inside <!--[if …]>, so it is checked like the rest.
TAG = re.compile(r"""(<!--(?!\[if).{0,2000}?-->|<(?:"[^"<]*"|'[^'<]*'|[^<>"'])*+>)""", re.DOTALL)
_TAGS_KEPT = 5_000

# What any link may hold: nothing here ends an attribute or a tag, and "&" only occurs in its escaped form,
# which reads as "&" again whatever comes next.
PLAIN = r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$()*+,;=%]|&amp;)+"
SCHEME = "(?:https?://|mailto:)"
ATTRIBUTES = r'(?:[ \n]+[A-Za-z-]+="[^"<>]*")*+'
_BEFORE = r'(?:[ \n]+(?!href=)[A-Za-z-]+="[^"<>]*")*+'
_OWN_LINK = re.compile(f'(<a{_BEFORE})[ \n]+href="{SCHEME}{PLAIN}"({ATTRIBUTES}[ \n]*>)')


class HtmlCheck:
    """Checks the emails of one template. Tags seen before are not checked again: most are alike."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._known_around_links: set[tuple[str, str]] = set()

    def problems(self, html: str) -> Iterator[str]:
        """Yield what is wrong with the HTML of one email."""
        parts = TAG.split(html)
        if "<" in "".join(parts[::2]):
            yield "a tag in the HTML part is never closed"
        if any(map(_LOADINGSTYLE.search, styles_in(html))):
            yield "a style in the HTML part loads something"
        for tag in set(parts[1::2]) - self._known:
            yield from self._tag_problems(tag)

    def _tag_problems(self, tag: str) -> Iterator[str]:
        """Yield what is wrong with a new tag; a tag without a fault is known from now on.

        A link that differs by reader is known by what surrounds its address.
        """
        link = _OWN_LINK.fullmatch(tag)
        if link and link.groups() in self._known_around_links:
            return
        problems = _tag_problems(tag)
        if problems:
            yield from problems
        elif link and len(self._known_around_links) < _TAGS_KEPT:
            self._known_around_links.add((link[1], link[2]))
        elif len(self._known) < _TAGS_KEPT:
            self._known.add(tag)


def styles_in(html: str) -> list[str]:
    """Return what follows each "<style", up to its end."""
    return [_STYLE_END.split(style, maxsplit=1)[0] for style in _STYLE.split(html)[1:]]


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
        return f"has a {name} that is not a web or email address"
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
    except AssertionError:  # how the parser refuses <![…
        return ["the HTML part has a tag that no email program knows"]
    return reader.problems


LARGEST_HTML = 100_000  # bytes; Gmail cuts an email at 102 KB
LARGEST_TEXT = 50_000  # bytes
LONGEST_SUBJECT = 255  # characters
# Line separators, C0 and C1 (a terminal obeys them), and overrides that reverse the reading direction.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]")
_FINE = bytes((9, 10, *range(32, 127)))  # of ASCII

Pieces = Sequence[str]
# Where a layout has the first paragraph as text, the message and its foot: what no value can hold by chance.
_FIRST, _BODY, _FOOT = (Markup(f"\U0010ffff{secrets.randbits(64)}\U0010ffff") for _ in range(3))  # noqa: S704
_SLOT = re.compile(f"({_FIRST}|{_BODY}|{_FOOT})")
_INLINE = re.compile("<style inline>([^<]*)</style>\n?")


class _Reader(Mapping[str, Any]):
    """A reader's values, which are known as theirs when they are printed."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]
        return ReaderText(value) if type(value) is str else value

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class EmailContent(NamedTuple):
    """The words of one finished email. `html` is "" for a text-only email; lines end in "\\n"."""

    subject: str
    text: str
    html: str


class SmsContent(NamedTuple):
    """One finished text message. `replaced` holds pairs of a look-alike character and its replacement.

    `is_shortened` means that it says the title in place of sentences too long for a text.
    """

    body: str
    size: SmsSize
    replaced: tuple[tuple[str, str], ...]
    is_shortened: bool = False


class Written(NamedTuple):
    """What the templates of an email wrote, in pieces as written. `left` is what is left of the characters.

    `html` is None without an HTML part. `printed` are the values that Markdown printed, once each.
    """

    subject: Pieces
    text: Pieces
    html: Pieces | None
    left: int
    printed: Pieces | None = None


class Renderer:
    """Renders one wording for many readers; compiled once, used by one thread at a time.

    Raises TemplateError if a template does not compile. Each message may take 2 seconds.
    """

    def __init__(self, wording: Wording) -> None:
        self.wording = wording
        self._in_markdown = wording.text.endswith(".md.j2")
        form = Form.MARKDOWN if self._in_markdown else Form.PLAIN
        self._text = _Compiled(wording, wording.text, form)
        self._html = _Compiled(wording, wording.html, Form.HTML) if wording.html else None
        self._html_check = HtmlCheck()

    @cached_property
    def fields(self) -> Fields | None:
        """The fields of a reader that the wording uses; None if they cannot be listed."""
        return fields_used(self.wording.sources, self.wording.path)

    def email(self, context: Mapping[str, Any], recipient: Mapping[str, Any]) -> EmailContent:
        """Return the email for one reader: `recipient` as context.recipient_values gives it.

        Raises TemplateError with template and line if a template fails, grows without bounds or writes
        nothing; for a subject of several lines or over 255 characters; for a control character; for a link
        that is not a web or email address, and for anything that an email program would load from elsewhere.
        """
        return self.finish(self.write(context, recipient))

    def write(self, context: Mapping[str, Any], recipient: Mapping[str, Any]) -> Written:
        """Run the templates of an email for one reader. Raises TemplateError as `email` does."""
        budget = Budget()
        if self._in_markdown:
            return self._write_both(context, recipient, budget)
        values = {**context, READER: recipient}
        subject, text = self._text.render(values, budget, LARGEST_TEXT)
        if subject is None:
            self._text.fail("has no block subject", "begin with {% block subject %}…{% endblock %}")
        html = self._html.render(values, budget, LARGEST_HTML)[1] if self._html else None
        return Written(subject, text, html, budget.characters)

    def _write_both(
        self, context: Mapping[str, Any], recipient: Mapping[str, Any], budget: Budget
    ) -> Written:
        """Write the text and the HTML of an email from its one Markdown source."""
        assert self._html is not None  # noqa: S101 - a message in Markdown has a layout
        values = {**context, READER: _Reader(recipient)}
        _, pieces = self._text.render(values, budget, LARGEST_TEXT)
        printed = self._text.holes
        subject = split_subject("".join(pieces))
        if subject is None:
            self._text.fail("has no subject", "begin the file with: Subject: [Update] …")
        try:
            label, line = fill(subject[0], printed), fill(subject_line(subject), printed)
            around = {"label": label, "subject": line, "preheader": _FIRST, "body": _BODY, "foot": _FOOT}
            _, layout = self._html.render({**context, **around}, budget, LARGEST_HTML)
            page = "".join(layout)
            mail = write(subject, printed, read_styles("\n".join(_INLINE.findall(page))))
            text = _bounded(mail.text, LARGEST_TEXT)
            html = _bounded(self._in_layout(_INLINE.sub("", page), mail), LARGEST_HTML)
        except LimitExceeded as error:
            self._text.fail(*_reason(error))
        return Written(mail.subject, text, html, budget.characters, printed)

    def _in_layout(self, page: str, mail: Mail) -> Iterator[str]:
        """Yield the page with the parts of an email in it, in pieces."""
        assert self._html is not None  # noqa: S101 - a message in Markdown has a layout
        slots = {str(_FIRST): [str(escape(mail.preheader))], str(_BODY): mail.body, str(_FOOT): mail.foot}
        for name, slot in (("body", _BODY), ("foot", _FOOT)):
            if slots[slot] and slot not in page:
                self._html.fail(f"leaves out {name}", f"write {{{{ {name} }}}} where it belongs")
        for piece in _SLOT.split(page):
            yield from slots.get(piece, [piece])

    def finish(self, written: Written, *, checked_html: str = "") -> EmailContent:
        """Return the finished email. Raises TemplateError as `email` does.

        `checked_html` is checked instead of the HTML if it differs where a reader's values go.
        """
        html = "".join(written.html or ()).replace("\r\n", "\n").strip()
        if self._html:
            self._check_html(self._html, checked_html or html)
        return EmailContent(
            self._subject("".join(written.subject).strip()),
            self._body("".join(written.text).replace("\r\n", "\n")),
            html and html + "\n",
        )

    def sms(self, context: Mapping[str, Any], recipient: Mapping[str, Any]) -> SmsContent:
        """Return the text message for one reader, on one line, with look-alike characters replaced.

        A sentence is never cut: over 1,600 characters, the title stands in place of all sentences. Raises
        TemplateError as `email` does, and for more than 1,600 characters of the template itself.
        """
        content = self._sms(context, recipient)
        if len(content.body) > MAX_CHARACTERS and "incident" in context:
            content = self._sms(_shortened(context), recipient)._replace(is_shortened=True)
        if len(content.body) > MAX_CHARACTERS:
            what = f"the SMS has {len(content.body)} characters, more than {MAX_CHARACTERS:,}"
            self._text.fail(what, "write shorter sentences")
        return content

    def _sms(self, context: Mapping[str, Any], recipient: Mapping[str, Any]) -> SmsContent:
        values = {**context, READER: recipient}
        _, pieces = self._text.render(values, Budget(), LARGEST_TEXT)
        # "e" with a combining accent is "é", which GSM-7 has.
        written = unicodedata.normalize("NFC", "".join(pieces))
        body, replaced = replace_lookalikes(" ".join(written.split()))
        body = _offsets_once(" ".join(body.split()))
        self._check_text("message", body)
        return SmsContent(body, measure(body), replaced)

    def _subject(self, subject: str) -> str:
        if "\n" in subject or "\t" in subject:
            self._text.fail("the subject has more than one line", "write it on one line")
        self._check_text("subject", subject)
        if len(subject) > LONGEST_SUBJECT:
            what = f"the subject has {len(subject)} characters, more than {LONGEST_SUBJECT}"
            self._text.fail(what, "write a shorter title")
        return subject

    def _body(self, text: str) -> str:
        # A signature's "-- " keeps its space (RFC 3676 4.3).
        lines = [row if row == "-- " else row.rstrip() for row in text.split("\n")]
        body = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        self._check_text("text", body)
        return body + "\n"

    def _check_text(self, part: str, text: str) -> None:
        if not text:
            self._text.fail(f"the {part} is empty", "write words for this status")
        self._text.check_characters(part, text)

    def _check_html(self, template: _Compiled, html: str) -> None:
        if not html:
            template.fail("the HTML part is empty", "write words for this status, or remove the file")
        template.check_characters("HTML part", html)
        for problem in self._html_check.problems(html):
            if self._in_markdown and problem.startswith("<a> has a href"):  # a message makes nothing else
                template = self._text
            remedy = "emails link by http, https or mailto only, and load nothing from elsewhere"
            template.fail(problem, remedy)


def _offsets_once(text: str) -> str:
    """Return the text with each "CET (UTC+1)" as "CET" once it was said what CET is."""
    for clock in set(_OFFSET.findall(text)):
        first, letters = text.index(clock) + len(clock), clock.partition(" ")[0]
        text = text[:first] + text[first:].replace(clock, letters)
    return text


def _shortened(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context with the title in place of all sentences, and quotes of a correction cut."""
    quotes = [
        {**each, **{key: shorten(each[key], 200, placeholder=" ...") for key in ("wrong", "right")}}
        for each in context["corrections"]
    ]
    update = {**context["update"], **dict.fromkeys(SENTENCES), "issue": context["incident"]["title"]}
    return {**context, "update": update, "corrections": quotes}


_TOO_LONG = f"a text would have more than {MAX_CHARACTERS:,} characters, so texts say the title instead"
_TOO_LONG += "; add short: what texts say, in a sentence"


def word_warnings(incident: Incident, *, is_too_long: bool) -> Iterator[Fault]:
    """Yield what readers will not read as the author of the newest update meant it, at the line of the words.

    `is_too_long` means that texts say the title in place of its sentences.
    """
    said = incident.latest
    found = {("issue", said.issue, _TOO_LONG)} if is_too_long else set()
    for key, each in product(SENTENCES, (said, *said.words_in_force.values())):
        if (text := getattr(each, key, None)) and (markup := markup_in(text)):
            found.add(
                (key, text, f"{markup!r:.40} is not rendered: readers see it as it is; write plain text")
            )
    for key, text, what in sorted(found):
        line = next((each.line for each in incident.updates if getattr(each, key) == text), said.line)
        yield Fault(incident.path, line, 0, *f"{key}: {what}".split("; "))


class _Compiled:
    """One template with its environment; turns every failure into a TemplateError with its place."""

    def __init__(self, wording: Wording, name: str, form: Form) -> None:
        self._name = name
        self._environment = MessageEnvironment(wording.sources, wording.path, form)
        try:
            for each in reached(wording.sources, name, wording.path):
                self._environment.get_template(each)
            self._template = self._environment.get_template(name)
        except TemplateSyntaxError as error:
            raise template_error(error.name or name, *_reason(error), error.lineno) from None
        except TemplateError:
            raise
        except Exception as error:
            what, remedy = _reason(error)
            raise template_error(name, f"does not compile: {what}", remedy) from None

    def render(self, values: dict[str, Any], budget: Budget, largest: int) -> tuple[Pieces | None, Pieces]:
        """Return (what the block subject wrote or None, all the rest), in pieces as written."""
        self._environment.budget, self._environment.holes = budget, []
        try:
            context = self._template.new_context(values)
            subjects = _take_out(context, "subject")
            pieces = _bounded(self._template.root_render_func(context), largest)
        except Exception as error:
            name, line = _place(error.__traceback__) or (self._name, 0)
            raise template_error(name, *_reason(error), line) from None
        return (subjects[0] if subjects else None), pieces

    @property
    def holes(self) -> Sequence[str]:
        """The values that the last message printed into its Markdown."""
        return self._environment.holes

    def fail(self, what: str, remedy: str) -> NoReturn:
        raise template_error(self._name, what, remedy)

    def check_characters(self, part: str, text: str) -> None:
        if text.isascii() and not text.encode().translate(None, _FINE):
            return
        if found := _CONTROL.search(text):
            what = f"the {part} has the control character {named(found[0])}"
            self.fail(what, "remove it from the incident, the template or the list")


def _take_out(context: Context, block: str) -> list[Pieces]:
    """Redirect `block` into the list returned, wherever it is defined."""
    taken: list[Pieces] = []

    def capture(inner: Context) -> Iterator[str]:
        own = context.blocks[block][1](inner)
        if taken:  # this is {{ self.subject() }} in the text
            yield from own
        else:
            taken.append(list(own))

    context.blocks.setdefault(block, []).insert(0, capture)
    return taken


def _bounded(written: Iterable[str], largest: int) -> Pieces:
    pieces: list[str] = []
    total = 0
    for piece in written:
        total += len(piece) if piece.isascii() else len(piece.encode("utf-8", "surrogatepass"))
        if total > largest:
            raise LimitExceeded(f"the message grows over {largest // 1000} KB")
        pieces.append(piece)
    return pieces


def _place(trace: TracebackType | None) -> tuple[str, int] | None:
    """Return (template, line) of the innermost frame that belongs to a template."""
    place = None
    while trace:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if isinstance(template, Template):
            place = (template.name or "", template.get_corresponding_lineno(trace.tb_lineno))
        trace = trace.tb_next
    return place


def _reason(error: Exception) -> tuple[str, str]:
    """Return (what is wrong, what to do), in words that never quote a reader's data."""
    match error:
        case UndefinedError():
            what = re.sub("^('.*') is undefined$", r"unknown variable \1", error.message or "undefined")
            return what.rstrip("."), "if it is a list column, every row needs it"
        case LimitExceeded():
            what, _, remedy = str(error).partition("; ")
            return what, remedy or "make the template simpler"
        case ZeroDivisionError():
            return "divides by zero", "test the divisor first"
        case TemplateNotFound():
            return f"template {error.name} not found", "check the name"
        case SecurityError():
            pass
        case TemplateSyntaxError() | TemplateRuntimeError():
            return (error.message or "fails").rstrip("."), "fix this line"
        case RecursionError() | SyntaxError() | MemoryError():  # Python's own words for too deep
            return "is nested too deeply", "make the template simpler"
        case TypeError() | OverflowError():
            return f"cannot be evaluated: {error}"[:200], "check the values used on this line"
    return f"cannot be evaluated ({type(error).__name__})", "check the values used on this line"
