"""Which template an audience gets: the lookup order, and all that a message needs, frozen as a Wording."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]+)*")
LAYOUT = "layout.html.j2"
MAIN_LANGUAGE = "en"  # of the templates that are in no folder of a language
_LEGACY_PATH = (f"{USER}:", f"{SHIPPED}:")
_NAME = re.compile(r"(?:(user|shipped):)?((?:[A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.j2)")
_PART = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ENDINGS = {Channel.EMAIL: ".md.j2", Channel.SMS: ".sms.j2"}


class Wording(NamedTuple):
    """The templates of one message with everything they include: enough to render it again anywhere, later.

    `text` and `html` name their entry in `sources`: the message and, of an email, its layout; `html` is ""
    for a text. `origin` is "user" or "shipped". `sources` maps names such as "user:de/resolved.md.j2" to
    their text; `path` has the beginnings of such names, in the order in which a part is looked up.
    Earlier versions froze an email's text and HTML as two templates: ".txt.j2" and ".html.j2".
    """

    channel: Channel
    text: str
    html: str
    origin: str
    sources: Mapping[str, str]
    path: tuple[str, ...] = _LEGACY_PATH
    language: str = MAIN_LANGUAGE

    def to_json(self) -> str:
        """Return the wording as JSON; equal wordings give the same text."""
        fields = {**self._asdict(), "sources": dict(self.sources)}
        return json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the wording that `to_json` wrote. Raises ValueError for anything else."""
        try:
            fields = json.loads(text)
            path = tuple(fields.get("path", _LEGACY_PATH))
            return cls(**{**fields, "channel": Channel(fields["channel"]), "path": path})
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ValueError("this is not a stored wording") from None

    @property
    def digest(self) -> str:
        """The SHA-256 of the wording, in hex: it changes when any byte of any template does."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


class TemplateRow(NamedTuple):
    """One row of `commcast templates`: the file that wins for a moment. `file` is "" if none fits."""

    audience: str
    channel: Channel
    moment: str
    locale: str
    file: str = ""
    note: str = ""


class Templates(NamedTuple):
    """The user's templates over the shipped ones. `user` is None if there is no such folder."""

    user: Path | None
    shipped: Path

    def choose(
        self, audience: str, view: View, moment: str, locale: str, channel: Channel, *, desk: str = ""
    ) -> Wording:
        """Return the wording for one audience, moment and locale ("" for none), `desk` the desk's language.

        The first language of the reader's, the desk's and the main one that has the moment has all of its
        parts, too; if one is missing there, the next language is taken. In it, the audience's folder comes
        before `internal` (view internal only) and the language's own; in each, the user's file before the
        shipped one. Raises TemplateError if nothing fits, or if a file is missing, unsafe or no template.
        """
        self._check_user_folder()
        languages = languages_of(locale, desk)
        if not all(_PART.fullmatch(part) for part in (audience, moment, *languages)) or not audience:
            raise TemplateError.of("templates", "no file can have this name", "use a-z, 0-9 and -")
        for language in languages:
            try:
                wording = self.wording(audience, view, moment, language, channel)
            except MissingPart:
                if language == MAIN_LANGUAGE:
                    raise
                continue
            if wording:
                return wording
        raise _nothing_fits(audience, moment, channel)

    def wording(
        self, audience: str, view: View, moment: str, language: str, channel: Channel
    ) -> Wording | None:
        """Return the wording in exactly this language, None if it does not have the moment.

        Raises MissingPart if it lacks a part, TemplateError as `choose` does.
        """
        path = _path(audience, view, language)
        entry = _resolved(f"{moment}{_ENDINGS[channel]}", path, self._exists)
        if not self._exists(entry):
            return None
        others = () if language == MAIN_LANGUAGE else _path(audience, view, MAIN_LANGUAGE)
        sources: dict[str, str] = {}
        self._add(entry, sources, (), path, others)
        layout = ""
        if channel is Channel.EMAIL:
            layout = _resolved(LAYOUT, path, self._exists)
            if not self._exists(layout):  # of the main language: it has hardly any words
                layout = _resolved(LAYOUT, _LEGACY_PATH, self._exists)
            self._add(layout, sources, (), path, ())
        origin = entry.partition(":")[0]
        return Wording(channel, entry, layout, origin, dict(sorted(sources.items())), path, language)

    def fixed(self, channel: Channel, file: str) -> Wording:
        """Return the wording of one shipped file that no desk changes: a nudge's."""
        name = f"{SHIPPED}:{file}"
        return Wording(channel, name, "", SHIPPED, {name: self._read(name)})

    def copy(self, audience: str, view: View | None, name: str, language: str) -> tuple[str, str]:
        """Copy the file that wins for an audience ("" for all) into the user's folder.

        Return the name of what was copied, and the copy's path in templates/. Raises TemplateError if there
        is nothing to copy, or if the copy exists already.
        """
        language = language or MAIN_LANGUAGE
        start = "" if language == MAIN_LANGUAGE else f"{language}/"
        path = _path(audience, view or View.PUBLIC, language) if audience else (f"{SHIPPED}:{start}",)
        found = _resolved(name, [each for each in path if each.startswith(f"{SHIPPED}:")], self._exists)
        if not _NAME.fullmatch(name) or not _PART.fullmatch(language) or not self._exists(found):
            raise TemplateError.of(
                f"templates/{start}{name}", "no such template is shipped", "see: commcast templates"
            )
        target = f"{start}{audience}/{name}" if audience else f"{start}{name}"
        if self.user is None or self._exists(f"{USER}:{target}"):
            raise template_error(f"{USER}:{target}", "exists already", "edit it, or delete it first")
        self._check_user_folder()
        copy = self.user / target
        if not copy.parent.resolve().is_relative_to(self.user.resolve()):
            raise template_error(f"{USER}:{target}", "leads out of templates/", "make it a plain folder")
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with copy.open("x", encoding="utf-8", newline="") as file:
                file.write(self._read(found))
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            raise template_error(f"{USER}:{target}", what, "look at its folder") from None
        return found, target

    def has_part(self, name: str) -> bool:
        """Return whether a file of this name is shipped in the main language."""
        return self._exists(f"{SHIPPED}:{name}")

    def own_parts(self) -> list[str]:
        """Return the parts in the user's folder, which messages include."""
        paths = self.user.rglob("_*.j2") if self.user is not None else ()
        return sorted(path.relative_to(self.user).as_posix() for path in paths) if self.user else []

    def languages(self, audiences: Iterable[str]) -> list[str]:
        """Return the languages that have templates, the main one first."""
        names = {
            path.name
            for root in (self.user, self.shipped)
            if root is not None and root.is_dir()
            for path in root.iterdir()
            if path.is_dir() and LANGUAGE.fullmatch(path.name) and path.name not in audiences
        }
        return [MAIN_LANGUAGE, *sorted(names)]

    def listing(
        self,
        audiences: Mapping[str, View],
        channels: Iterable[tuple[Channel, str]],
        locales: Iterable[str] = ("",),
    ) -> tuple[TemplateRow, ...]:
        """Return which file wins for each audience, channel and its moment, and locale ("" for any).

        Raises TemplateError if the user's folder leads out of the desk's.
        """
        self._check_user_folder()
        every = product(audiences.items(), channels, locales)
        return tuple(self._listed(*each) for each in every)

    def _listed(self, named: tuple[str, View], told: tuple[Channel, str], locale: str) -> TemplateRow:
        (audience, view), (channel, moment) = named, told
        row = TemplateRow(audience, channel, moment, locale)
        try:
            chosen = self.choose(audience, view, moment, locale, channel)
        except TemplateError as error:
            return row._replace(note=f"refused: {error}")
        is_other = locale and chosen.language not in [*_shorter(locale)]
        return row._replace(
            file=display_name(chosen.text), note=f"not in {locale}: {chosen.language}" if is_other else ""
        )

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

    def _add(
        self,
        name: str,
        sources: dict[str, str],
        above: tuple[str, ...],
        path: tuple[str, ...],
        others: tuple[str, ...],
    ) -> None:
        """Read a template and all it includes; `others` is where the main language has its parts."""
        if name in sources:
            return
        sources[name] = source = self._read(name)
        if len(sources) > MOST_TEMPLATES or sum(map(len, sources.values())) > LARGEST_WORDING:
            remedy = f"keep one message within {MOST_TEMPLATES} files and {LARGEST_WORDING // 1024} KB"
            raise template_error(name, "too much is included", remedy)
        above = (*above, name)
        for written, line, is_optional in _references(name, source):
            target = _resolved(written, path, self._exists)
            if target in above:
                remedy = "break the circle; shipped:… names the shipped one"
                raise template_error(name, f"{written!r} includes itself", remedy, line)
            if self._exists(target):
                self._add(target, sources, above, path, others)
            # A part that only some audiences have may be missing, but not in one language alone.
            elif not is_optional or (others and self._exists(_resolved(written, others, self._exists))):
                remedy = f"write it, in {path[-1].partition(':')[2] or 'templates/'}"
                raise MissingPart(template_error(name, f"{written!r} not found", remedy, line).faults)

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


class MissingPart(TemplateError):
    """A template includes a file that is not there."""


def languages_of(locale: str, desk: str) -> tuple[str, ...]:
    """Return the languages to try for a reader: zh-Hant-TW, zh-Hant, zh, the desk's, the main one."""
    tags = [tag for each in (locale, desk) for tag in _shorter(each)]
    return tuple(dict.fromkeys([*tags, MAIN_LANGUAGE]))


def _shorter(tag: str) -> Iterator[str]:
    parts = tag.split("-")
    for count in range(len(parts), 0, -1):
        if tag:
            yield "-".join(parts[:count])


def _path(audience: str, view: View, language: str) -> tuple[str, ...]:
    """Return where a message and its parts are looked up, the most special folder first."""
    start = "" if language == MAIN_LANGUAGE else f"{language}/"
    internal = ["internal/"] if view is View.INTERNAL else []
    folders = dict.fromkeys([f"{audience}/", *internal, ""])
    return tuple(f"{root}:{start}{folder}" for folder in folders for root in (USER, SHIPPED))


def resolve_in(sources: Mapping[str, str], written: str, path: Sequence[str]) -> str:
    """Return the name in `sources` that `written` means."""
    return _resolved(written, path, sources.__contains__)


def _resolved(written: str, path: Sequence[str], exists: Callable[[str], bool]) -> str:
    """Return the first name that exists on the path, else the last; "shipped:…" is looked up there only."""
    root, _, name = written.rpartition(":")
    names = [f"{start}{name}" for start in path if not root or start.startswith(f"{root}:")]
    return next(filter(exists, names), names[-1])


def reached(sources: Mapping[str, str], name: str, path: Sequence[str]) -> tuple[str, ...]:
    """Return the names in `sources` that `name` pulls in by any way, itself first.

    Raises TemplateError if a template does not parse, or does not name another one by a constant.
    """
    found, todo = dict.fromkeys([name]), [name]
    while todo:
        each = todo.pop()
        named = (resolve_in(sources, written, path) for written, _, _ in _references(each, sources[each]))
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


def _nothing_fits(audience: str, moment: str, channel: Channel) -> TemplateError:
    what = f"no {channel.value} template for audience {audience} and moment {moment}"
    return TemplateError.of("templates", what, f"write templates/{moment}{_ENDINGS[channel]}")


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
