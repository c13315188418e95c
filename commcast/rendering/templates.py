"""Which template an audience gets: the lookup order, and all that a message needs, frozen as a Wording."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import NamedTuple, Self

from jinja2 import Environment, nodes
from jinja2.exceptions import TemplateSyntaxError

from commcast.errors import Fault, InputError, TemplateError
from commcast.files import read_text_file
from commcast.model.incident import Channel, View

USER = "user"
SHIPPED = "shipped"
LARGEST_TEMPLATE = 64 * 1024  # bytes
LARGEST_WORDING = 256 * 1024  # bytes of all templates of one message: they compile within a second or two
MOST_TEMPLATES = 32
_COMMON_FOLDER = {View.PUBLIC: "customers", View.INTERNAL: "internal"}
_NAME = re.compile(r"(?:(user|shipped):)?((?:[A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.j2)")
_PART = re.compile(r"(?:[A-Za-z0-9_-]{1,64})?")


class Wording(NamedTuple):
    """The templates of one message with everything they include: enough to render it again anywhere, later.

    `text` and `html` name their entry in `sources`; `html` is "" for a text-only email and for SMS.
    `origin` is "user" or "shipped". `sources` maps names such as "user:customers/email.txt.j2" to their text.
    """

    channel: Channel
    text: str
    html: str
    origin: str
    sources: Mapping[str, str]

    def to_json(self) -> str:
        """Return the wording as JSON; equal wordings give the same text."""
        fields = {**self._asdict(), "sources": dict(self.sources)}
        return json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the wording that `to_json` wrote. Raises ValueError for anything else."""
        try:
            fields = json.loads(text)
            return cls(**{**fields, "channel": Channel(fields["channel"])})
        except (KeyError, TypeError, ValueError):
            raise ValueError("this is not a stored wording") from None

    @property
    def digest(self) -> str:
        """The SHA-256 of the wording, in hex: it changes when any byte of any template does."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


class TemplateRow(NamedTuple):
    """One row of `commcast templates`: what an audience gets. `text` is "" if no template fits."""

    audience: str
    channel: Channel
    status: str
    locale: str
    text: str = ""
    html: str = ""
    note: str = ""


class Templates(NamedTuple):
    """The user's templates over the shipped ones. `user` is None if there is no such folder."""

    user: Path | None
    shipped: Path

    def choose(self, audience: str, view: View, status: str, locale: str, channel: Channel) -> Wording:
        """Return the wording for one audience, status and locale ("" for none).

        The first file wins: the user's folder, then the shipped one; in each the audience's folder, then
        `customers` (view public) or `internal`; in each status and locale, status, locale, general. The HTML
        part has to be in the same folder as its text, or the two could say different things.
        Raises TemplateError if nothing fits, or if a file it needs is missing, unsafe or not a template.
        """
        found = self._find(audience, view, status, locale, channel)
        if not found:
            raise _nothing_fits(audience, view, status, channel)
        sources: dict[str, str] = {}
        for name in found:
            self._add(name, sources, ())
        text, html = (*found, "")[:2]
        return Wording(channel, text, html, text.partition(":")[0], dict(sorted(sources.items())))

    def listing(
        self,
        audiences: Mapping[str, View],
        channels: Iterable[Channel] = tuple(Channel),
        statuses: Iterable[str] = ("",),
        locales: Iterable[str] = ("",),
    ) -> tuple[TemplateRow, ...]:
        """Return which file wins for each audience, channel, status and locale ("" for any)."""
        every = product(audiences.items(), channels, statuses, locales)
        return tuple(self._listed(*each) for each in every)

    def _listed(self, named: tuple[str, View], channel: Channel, status: str, locale: str) -> TemplateRow:
        audience, view = named
        row = TemplateRow(audience, channel, status, locale)
        found = self._find(audience, view, status, locale, channel)
        if not found:
            return row._replace(note="no template")
        try:
            for name in found:
                self._read(name)
        except TemplateError as error:
            return row._replace(note=f"refused: {error}")
        text, html = (*map(display_name, found), "")[:2]
        note = "text only" if channel is Channel.EMAIL and not html else ""
        return row._replace(text=text, html=html, note=note)

    def _find(self, audience: str, view: View, status: str, locale: str, channel: Channel) -> tuple[str, ...]:
        """Return the names of a message's text and, if it has one, its HTML part; () if nothing fits."""
        self._check_user_folder()
        if not all(_PART.fullmatch(part) for part in (audience, status, locale)) or not audience:
            raise TemplateError.of("templates", "no file can have this name", "use a-z, 0-9 and -")
        folders = dict.fromkeys((audience, _COMMON_FOLDER[view]))
        for root, folder, level in product((USER, SHIPPED), folders, _levels(status, locale)):
            start = f"{root}:{folder}/{level}{channel.value}"
            text, html = f"{start}.txt.j2", f"{start}.html.j2"
            if self._exists(text):
                return (text, html) if channel is Channel.EMAIL and self._exists(html) else (text,)
        return ()

    def _check_user_folder(self) -> None:
        if self.user is None:
            return
        try:
            inside = self.user.resolve().is_relative_to(self.user.parent.resolve())
        except (OSError, RuntimeError):  # links in a circle, before Python 3.13
            inside = False
        if not inside:
            raise TemplateError.of("templates/", "leads out of the desk's folder", "make it a plain folder")

    def _exists(self, name: str) -> bool:
        root, _, relative = name.partition(":")
        folder = self.user if root == USER else self.shipped
        if folder is None:
            return False
        try:
            os.lstat(folder / relative)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:  # it may exist: using another template instead would be wrong
            what = f"cannot be read: {error.strerror}"
            raise template_error(f"{root}:", what, f"look at: ls -lR {folder}") from None
        return True

    def _add(self, name: str, sources: dict[str, str], above: tuple[str, ...]) -> None:
        if name in sources:
            return
        sources[name] = source = self._read(name)
        if len(sources) > MOST_TEMPLATES or sum(map(len, sources.values())) > LARGEST_WORDING:
            remedy = f"keep one message within {MOST_TEMPLATES} files and {LARGEST_WORDING // 1024} KB"
            raise template_error(name, "too much is included", remedy)
        above = (*above, name)
        for written, line, optional in _references(name, source):
            target = _resolved(written, self._exists)
            if target in above:
                remedy = "break the circle; shipped:… names the shipped one"
                raise template_error(name, f"{written!r} includes itself", remedy, line)
            if self._exists(target):
                self._add(target, sources, above)
            elif not optional:
                remedy = "write its path below templates/"
                raise template_error(name, f"{written!r} not found", remedy, line)

    def _read(self, name: str) -> str:
        root, _, relative = name.partition(":")
        folder = self.user if root == USER else self.shipped
        if folder is None:
            raise template_error(name, "not found", "create the folder templates/")
        try:
            shown = display_name(name)
            text = read_text_file(folder / relative, folder=folder, name=shown, largest=LARGEST_TEMPLATE)
        except InputError as error:
            raise TemplateError(error.faults) from None
        if "\0" in text:
            raise template_error(name, "has a NUL character", "save it as plain text")
        return text


def resolve_in(sources: Mapping[str, str], written: str) -> str:
    """Return the name in `sources` that `written` means: the user's file hides the shipped one."""
    return _resolved(written, sources.__contains__)


def _resolved(written: str, exists: Callable[[str], bool]) -> str:
    if ":" in written:
        return written
    return f"{USER}:{written}" if exists(f"{USER}:{written}") else f"{SHIPPED}:{written}"


def reached(sources: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the names in `sources` that `name` pulls in by any way, itself first.

    Raises TemplateError if a template does not parse, or does not name another one by a constant.
    """
    found, todo = dict.fromkeys([name]), [name]
    while todo:
        each = todo.pop()
        named = (resolve_in(sources, written) for written, _, _ in _references(each, sources[each]))
        new = [one for one in named if one in sources and one not in found]
        found.update(dict.fromkeys(new))
        todo += new
    return tuple(found)


def template_error(name: str, what: str, remedy: str, line: int = 0) -> TemplateError:
    """Return the error of one template, under the name that people know."""
    return TemplateError(Fault(display_name(name), line, 0, what, remedy))


def display_name(name: str) -> str:
    """Return a template's name as people know it: templates/… in their desk, or a shipped one."""
    root, _, relative = name.partition(":")
    return f"templates/{relative}" if root == USER else f"shipped templates/{relative}"


def shipped_templates() -> Path:
    """Return the folder of the shipped templates: package data in a wheel, else the checkout's own folder."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_data" / "templates", package.parent / "templates"):
        if folder.is_dir():
            return folder
    raise TemplateError.of("templates", "the shipped templates are missing", "reinstall commcast")


def _levels(status: str, locale: str) -> Iterator[str]:
    """Yield the prefixes of a file name, most specific first: zh-Hans-TW falls back to zh-Hans and zh."""
    parts = locale.split("-")
    locales = dict.fromkeys("-".join(parts[:count]) for count in range(len(parts), -1, -1))
    for state in dict.fromkeys((status, "")):
        for tongue in locales:
            yield "".join(f"{part}." for part in (state, tongue) if part)


def _nothing_fits(audience: str, view: View, status: str, channel: Channel) -> TemplateError:
    what = f"no {channel.value} template for audience {audience}{status and f' at status {status}'}"
    remedy = f"write templates/{audience}/{channel.value}.txt.j2, or one in templates/{_COMMON_FOLDER[view]}"
    return TemplateError.of(f"templates/{audience}", what, remedy)


@lru_cache(maxsize=MOST_TEMPLATES * 4)  # each audience, channel and notice asks again for the same few files
def _references(name: str, source: str) -> tuple[tuple[str, int, bool], ...]:
    """Return (name as written, line, may be missing) of every template that `source` pulls in."""
    try:
        tree = Environment(autoescape=True).parse(source)
    except TemplateSyntaxError as error:
        what = (error.message or "is not a template").rstrip(".")
        raise template_error(name, what, "fix this line", error.lineno) from None
    except (RecursionError, ValueError):
        raise template_error(name, "is nested too deeply", "split it up") from None
    kinds = (nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)
    return tuple(_reference(name, node) for node in tree.find_all(kinds))


def _reference(name: str, node: nodes.Node) -> tuple[str, int, bool]:
    target = getattr(node, "template", None)
    written = target.value if isinstance(target, nodes.Const) else None
    if not isinstance(written, str) or not _NAME.fullmatch(written):
        what, remedy = "this is not a template's name", 'write it in quotes: "customers/layout.html.j2"'
        raise template_error(name, what, remedy, node.lineno)
    return written, node.lineno, bool(getattr(node, "ignore_missing", False))
