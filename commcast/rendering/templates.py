"""Which template speaks to whom: the look-up order, and all that a message needs, frozen as a Wording."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

from jinja2 import Environment, nodes
from jinja2.exceptions import TemplateSyntaxError

from commcast.errors import Fault, TemplateError
from commcast.model.incident import Channel, View

USER = "user"
SHIPPED = "shipped"
LARGEST_TEMPLATE = 64 * 1024  # bytes
LARGEST_WORDING = 256 * 1024  # bytes of all templates of one message: what is compiled within a second or two
MOST_TEMPLATES = 32
_COMMON_FOLDER = {View.PUBLIC: "customers", View.INTERNAL: "internal"}
_NAME = re.compile(r"(?:(user|shipped):)?((?:[A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.j2)")
_PART = re.compile(r"(?:[A-Za-z0-9_-]{1,64})?")


@dataclass(frozen=True)
class Wording:
    """The templates of one message with everything they include: enough to render it again, elsewhere, later.

    `text` and `html` name their entry in `sources`; `html` is "" for a mail of text only and for SMS.
    `origin` is "user" or "shipped". `sources` maps names such as "user:customers/email.txt.j2" to their text.
    """

    channel: Channel
    text: str
    html: str
    origin: str
    sources: Mapping[str, str]

    def to_json(self) -> str:
        """Return the wording as JSON: the same wording always gives the same text."""
        fields = {
            "channel": self.channel.value,
            "text": self.text,
            "html": self.html,
            "origin": self.origin,
            "sources": dict(self.sources),
        }
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


@dataclass(frozen=True)
class TemplateRow:
    """One row of `commcast templates`: what an audience gets. `text` is "" where nothing fits."""

    audience: str
    channel: Channel
    status: str
    locale: str
    text: str
    html: str
    note: str = ""


@dataclass(frozen=True)
class _TemplateFound:
    root: str
    text: str
    html: str


@dataclass(frozen=True)
class Templates:
    """The user's templates over the shipped ones. `user` is None where there is no such folder."""

    user: Path | None
    shipped: Path

    def choose(self, audience: str, view: View, status: str, locale: str, channel: Channel) -> Wording:
        """Return the wording for one audience, status and locale ("" for none).

        The first file wins: the user's folder, then the shipped; in each the audience's folder, then
        `customers` (view public) or `internal`; in each status and locale, status, locale, general. The HTML
        part has to lie beside its text, or the two could say different things.
        Raises TemplateError: nothing fits, or a file that is needed is missing, unsafe or not a template.
        """
        found = self._find(audience, view, status, locale, channel)
        if found is None:
            raise TemplateError(_nothing_fits(audience, view, status, channel))
        html = f"{found.root}:{found.html}" if found.html else ""
        text = f"{found.root}:{found.text}"
        return Wording(channel, text, html, found.root, self._gather([text, html] if html else [text]))

    def listing(
        self,
        audiences: Mapping[str, View],
        channels: Iterable[Channel] = tuple(Channel),
        statuses: Iterable[str] = ("",),
        locales: Iterable[str] = ("",),
    ) -> tuple[TemplateRow, ...]:
        """Return which file wins for each audience, channel, status and locale ("" is any)."""
        channels, statuses, locales = tuple(channels), tuple(statuses), tuple(locales)
        return tuple(
            self._listed(audience, view, channel, status, locale)
            for audience, view in audiences.items()
            for channel in channels
            for status in statuses
            for locale in locales
        )

    def _listed(self, audience: str, view: View, channel: Channel, status: str, locale: str) -> TemplateRow:
        found = self._find(audience, view, status, locale, channel)
        if found is None:
            return TemplateRow(audience, channel, status, locale, "", "", "no template")
        try:
            for name in filter(None, (found.text, found.html)):
                self._read(f"{found.root}:{name}")
        except TemplateError as error:
            return TemplateRow(audience, channel, status, locale, "", "", f"refused: {error}")
        html = display_name(f"{found.root}:{found.html}") if found.html else ""
        note = "text only" if channel is Channel.EMAIL and not html else ""
        return TemplateRow(
            audience, channel, status, locale, display_name(f"{found.root}:{found.text}"), html, note
        )

    def _find(
        self, audience: str, view: View, status: str, locale: str, channel: Channel
    ) -> _TemplateFound | None:
        self._check_user_folder()
        if not all(_PART.fullmatch(part) for part in (audience, status, locale)) or not audience:
            raise TemplateError(Fault("templates", 0, 0, "no file can have this name", "use a-z, 0-9 and -"))
        for root in (USER, SHIPPED):
            for folder in dict.fromkeys((audience, _COMMON_FOLDER[view])):
                for level in _levels(status, locale):
                    text = f"{folder}/{level}{channel.value}.txt.j2"
                    if self._exists(root, text):
                        html = f"{folder}/{level}{channel.value}.html.j2"
                        has_html = channel is Channel.EMAIL and self._exists(root, html)
                        return _TemplateFound(root, text, html if has_html else "")
        return None

    def _check_user_folder(self) -> None:
        if self.user is None:
            return
        try:
            inside = self.user.resolve().is_relative_to(self.user.parent.resolve())
        except (OSError, RuntimeError):  # links in a circle, before Python 3.13
            inside = False
        if not inside:
            raise TemplateError(
                Fault("templates/", 0, 0, "leads out of the folder", "make it a plain folder")
            )

    def _folder(self, root: str) -> Path | None:
        return self.user if root == USER else self.shipped

    def _exists(self, root: str, name: str) -> bool:
        folder = self._folder(root)
        if folder is None:
            return False
        try:
            os.lstat(folder / name)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:  # what cannot be seen may be there: no other words in its place
            what = f"cannot be read: {error.strerror}"
            raise TemplateError(
                Fault(display_name(f"{root}:"), 0, 0, what, f"look at: ls -lR {folder}")
            ) from None
        return True

    def _gather(self, entries: list[str]) -> dict[str, str]:
        sources: dict[str, str] = {}
        for entry in entries:
            self._add(entry, sources, ())
        return dict(sorted(sources.items()))

    def _add(self, name: str, sources: dict[str, str], above: tuple[str, ...]) -> None:
        if name in sources:
            return
        sources[name] = source = self._read(name)
        if len(sources) > MOST_TEMPLATES or sum(map(len, sources.values())) > LARGEST_WORDING:
            remedy = f"keep one message within {MOST_TEMPLATES} files and {LARGEST_WORDING // 1024} KB"
            raise TemplateError(Fault(display_name(name), 0, 0, "too much is included", remedy))
        above = (*above, name)
        for written, line, optional in _references(name, source):
            target = self._resolve(written)
            if target in above:
                what, remedy = (
                    f"{written!r} includes itself",
                    "break the circle; shipped:… names the shipped one",
                )
                raise TemplateError(Fault(display_name(name), line, 0, what, remedy))
            if self._exists(*target.split(":", 1)):
                self._add(target, sources, above)
            elif not optional:
                what = f"{written!r} is not there"
                raise TemplateError(
                    Fault(display_name(name), line, 0, what, "check the name, from templates/ on")
                )

    def _resolve(self, written: str) -> str:
        if ":" in written:
            return written
        return f"{USER}:{written}" if self._exists(USER, written) else f"{SHIPPED}:{written}"

    def _read(self, name: str) -> str:
        root, _, relative = name.partition(":")
        folder = self._folder(root)
        if folder is None:
            raise TemplateError(Fault(display_name(name), 0, 0, "is not there", "make the folder templates"))
        try:
            return _read_inside(folder, relative)
        except RuntimeError:  # what pathlib raises for links that go round in a circle, before Python 3.13
            raise TemplateError(Fault(display_name(name), 0, 0, "is a link in a circle", "mend it")) from None
        except (OSError, ValueError) as error:
            what = error.strerror or "cannot be read" if isinstance(error, OSError) else str(error)
            what, _, remedy = what.partition("; ")
            raise TemplateError(Fault(display_name(name), 0, 0, what, remedy or "mend the file")) from None


def resolve_in(sources: Mapping[str, str], written: str) -> str:
    """Return the name in `sources` that is meant by `written`: the user's file hides the shipped one."""
    if ":" in written:
        return written
    return f"{USER}:{written}" if f"{USER}:{written}" in sources else f"{SHIPPED}:{written}"


def reached(sources: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the names in `sources` that `name` pulls in by any way, itself first.

    Raises TemplateError: a template does not parse, or names another in a way that nobody can look up.
    """
    found, todo = dict.fromkeys([name]), [name]
    while todo:
        each = todo.pop()
        named = (resolve_in(sources, written) for written, _, _ in _references(each, sources[each]))
        new = [one for one in named if one in sources and one not in found]
        found.update(dict.fromkeys(new))
        todo += new
    return tuple(found)


def display_name(name: str) -> str:
    """Return a template's name as people know it: templates/… in their folder, or one of the shipped."""
    root, _, relative = name.partition(":")
    return f"templates/{relative}" if root == USER else f"shipped templates/{relative}"


def shipped_templates() -> Path:
    """Return the folder of the shipped templates: package data in a wheel, else the checkout's own folder."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_data" / "templates", package.parent / "templates"):
        if folder.is_dir():
            return folder
    raise TemplateError(
        Fault("templates", 0, 0, "the shipped templates are missing", "install commcast again")
    )


def _levels(status: str, locale: str) -> Iterator[str]:
    """Yield the prefixes of a file name, most special first; "de-AT" falls back to its language."""
    locales = dict.fromkeys((locale, locale.partition("-")[0], ""))
    for state in dict.fromkeys((status, "")):
        for tongue in locales:
            yield "".join(f"{part}." for part in (state, tongue) if part)


def _nothing_fits(audience: str, view: View, status: str, channel: Channel) -> Fault:
    what = f"no {channel.value} template fits the audience {audience}"
    if status:
        what += f" at status {status}"
    remedy = f"write templates/{audience}/{channel.value}.txt.j2, or one in templates/{_COMMON_FOLDER[view]}"
    return Fault(f"templates/{audience}", 0, 0, what, remedy)


@lru_cache(maxsize=MOST_TEMPLATES * 4)  # each audience, channel and notice asks again for the same few files
def _references(name: str, source: str) -> tuple[tuple[str, int, bool], ...]:
    """Return (name as written, line, may be missing) of every template that `source` pulls in."""
    try:
        tree = Environment(autoescape=True).parse(source)
    except TemplateSyntaxError as error:
        what = (error.message or "is no template").rstrip(".")
        raise TemplateError(Fault(display_name(name), error.lineno, 0, what, "mend the line")) from None
    except (RecursionError, ValueError):
        raise TemplateError(Fault(display_name(name), 0, 0, "is nested too deeply", "split it up")) from None
    kinds = (nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)
    return tuple(_reference(name, node) for node in tree.find_all(kinds))


def _reference(name: str, node: nodes.Node) -> tuple[str, int, bool]:
    target = getattr(node, "template", None)
    written = target.value if isinstance(target, nodes.Const) else None
    if not isinstance(written, str) or not _NAME.fullmatch(written):
        what, remedy = "this is no name of a template", 'write it in quotes: "customers/layout.html.j2"'
        raise TemplateError(Fault(display_name(name), node.lineno, 0, what, remedy))
    return written, node.lineno, bool(getattr(node, "ignore_missing", False))


def _read_inside(folder: Path, relative: str) -> str:
    """Return the text of a file that lies in `folder`. Raises OSError, or ValueError("what; remedy")."""
    path = (folder / relative).resolve(strict=True)
    if not path.is_relative_to(folder.resolve()):
        raise ValueError("is a link out of the templates folder; copy the file to this place")
    # Not blocking, and asked of the open file: a pipe in its place must not stop us for ever.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("is no regular file; put a template there")
        raw = file.read(LARGEST_TEMPLATE + 1)
    if len(raw) > LARGEST_TEMPLATE:
        raise ValueError(f"is larger than {LARGEST_TEMPLATE // 1024} KB; split it up")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    if "\0" in text:
        raise ValueError("holds a NUL character; save it as plain text")
    return text
