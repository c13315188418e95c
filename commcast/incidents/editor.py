"""Writes incident files: adds lines, and keeps every byte that was there.

The new lines are spliced into the text, and the result is read back before it replaces the file.
"""

from __future__ import annotations

import fcntl
import os
import re
import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from commcast.config.settings import Config
from commcast.errors import InputError
from commcast.files import decode, read_bytes_file, sync_folder, temporary_file
from commcast.incidents.yaml import YamlDocument, YamlPlace, parse
from commcast.incidents.yaml_lines import as_written, in_braces, lines_of
from commcast.model.incident import ID_PATTERN
from commcast.model.times import write_instant

_BOM = b"\xef\xbb\xbf"
_FILE_MODE = 0o600  # it may hold what only our own people may know
_SMALL_WORDS = frozenset(
    ("a all an and are at by for from in is it not of on or our some slow the to we with your").split()  # noqa: SIM905
)


def create_file(config: Config, incident_id: str, text: str) -> Path:
    """Write incidents/<id>.yaml with `text`, and return its path. Nobody ever sees half a file.

    Raises InputError if the id is not valid, or the file exists.
    """
    name = f"incidents/{incident_id:.60}.yaml"
    if not re.fullmatch(ID_PATTERN, incident_id):
        raise InputError.of("", f"{incident_id!r:.60} cannot be an id", "use at most 40 of a-z, 0-9 and -")
    folder = _incidents_folder(config)
    path = folder / f"{incident_id}.yaml"
    with _telling(name), temporary_file(folder, text.encode(), _FILE_MODE) as written:
        try:
            os.link(written, path)  # unlike a rename, a link never replaces what is there
        except FileExistsError:
            raise InputError.of(name, "file exists", "use another id, or post an update") from None
        sync_folder(folder)
    return path


def append_update(path: Path, entry: Mapping[str, Any], *, seen: str | None = None) -> None:
    """Add an update below the last one.

    `seen` is the text that the update was checked against. Raises InputError, with nothing written, if the
    file has changed since, is not YAML or cannot be written.
    """

    def added(text: str, name: str) -> str:
        if seen is not None and text != seen:
            raise InputError.of(name, "was changed by someone else meanwhile", "check it, then try again")
        return with_update(text, name, entry)

    _edit(path, added)


def fill_times(path: Path, times: Mapping[int, datetime], *, locked: bool = False) -> None:
    """Write the `at` of these updates (numbers from 1), unless they have one.

    `locked` means that the caller is within `incidents_locked`.
    """

    def filled(text: str, name: str) -> str:
        for number, at in times.items():
            text = with_at(text, name, number, at)
        return text

    _edit(path, filled, locked=locked)


def remove_updates(path: Path, numbers: Iterable[int]) -> None:
    """Remove these updates (from 1) from a file; the lines of all others stay, and one has to stay.

    Raises InputError if that can't be done without touching anything else.
    """
    _edit(path, lambda text, name: without_updates(text, name, numbers))


def with_update(text: str, name: str, entry: Mapping[str, Any]) -> str:
    """Return `text` with one more update; every character of `text` stays in its order."""
    document = parse(text, name)
    updates = document.value(("updates",))
    if not isinstance(updates, list) or not updates:
        raise InputError(document.fault((), "has no updates to add to", "write updates: with a first one"))
    wanted = {**document.data, "updates": [*updates, as_written(entry)]}
    for candidate in _candidates(text, document, entry):
        if _reads_as(candidate, wanted, name):
            return candidate
    raise InputError(document.fault(("updates",), "an update cannot be added here", "write it by hand"))


def with_at(text: str, name: str, number: int, at: datetime) -> str:
    """Return `text` with the `at` of update `number`, unless it has one; every character of `text` stays."""
    document = parse(text, name)
    entry = document.value(("updates", number - 1))
    if not isinstance(entry, dict) or number < 1:
        raise InputError(document.fault(("updates",), f"has no update {number}", "look at the file again"))
    if "at" in entry:
        return text
    place = document.places["updates", number - 1]
    start = _offset(text, place.line, place.column)
    if text[start] == "{":
        start, line = start + 1, f"at: {write_instant(at)}{', ' if entry else ''}"
    else:
        line = f"at: {write_instant(at)}{_line_end(text)}{' ' * (place.column - 1)}"
    result = text[:start] + line + text[start:]
    updates = list(document.data["updates"])
    updates[number - 1] = {**entry, "at": write_instant(at)}
    if not _reads_as(result, {**document.data, "updates": updates}, name):
        loc = ("updates", number - 1)
        raise InputError(document.fault(loc, "`at` cannot be added here", "write it by hand"))
    return result


def without_updates(text: str, name: str, numbers: Iterable[int]) -> str:
    """Return `text` without the updates `numbers` (from 1), and without their comments; all else stays."""
    document = parse(text, name)
    gone = {number - 1 for number in numbers}
    stays = [update for index, update in enumerate(document.value(("updates",))) if index not in gone]
    lines = text.split("\n")
    for index in sorted(gone, reverse=True):
        first, last = _lines_of_update(lines, document, index)
        if not stays or lines[first - 1][: document.places["updates", index].column - 1].strip(" -"):
            break
        del lines[first - 1 : last]
    result = "\n".join(lines)
    if not stays or not _reads_as(result, {**document.data, "updates": stays}, name):
        raise InputError(document.fault(("updates",), "cannot be removed here", "delete the lines by hand"))
    return result


def new_incident_id(title: str, taken: Container[str]) -> str:
    """Return a free id that is easy to say on the phone: the title's first meaningful word and a number."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = [word for word in re.findall(r"[a-z]{3,}", plain) if word not in _SMALL_WORDS]
    stem = words[0][:8] if words else "incident"
    return next(f"{stem}{number}" for number in count(1) if f"{stem}{number}" not in taken)


def _candidates(text: str, document: YamlDocument, entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield texts with the new update, best looking first; the first that reads back correctly is used."""
    place = document.places["updates",]
    if text[_offset(text, place.line, place.column)] == "[":
        end = _offset(text, place.end_line, place.end_column) - 1
        for comma in (", ", " "):
            yield text[:end] + comma + in_braces(entry) + text[end:]
        return
    lines, line_end = text.split("\n"), _line_end(text)
    for after in _gaps(lines, document, place):
        before, behind = "\n".join(lines[:after]), lines[after:]
        before += "\n" if behind else line_end  # the last line had no end
        yield before + line_end.join(_block(lines, document, place, entry)) + line_end + "\n".join(behind)


def _gaps(lines: list[str], document: YamlDocument, place: YamlPlace) -> Iterator[int]:
    """Yield the lines (from 1) that the update may follow: after the last one's comments, text, or space."""
    last = document.places["updates", len(document.value(("updates",))) - 1]
    below = [p.key_line for loc, p in document.places.items() if len(loc) == 1 and p.key_line > place.line]
    ends = [n for n, line in enumerate(lines, 1) if n > last.line and re.match(r"\.\.\.\s*$", line)]
    last_line = min([*below, len(lines) + 1, *ends]) - 1
    text_end = last_line
    while text_end > last.line and re.match(r"\s*(#|$)", lines[text_end - 1]):
        text_end -= 1
    own = text_end
    while own < last_line and re.match(rf"[ ]{{{place.column},}}#", lines[own]):
        own += 1
    before_space = last_line
    while before_space > last.line and not lines[before_space - 1].strip():
        before_space -= 1
    yield from (own, text_end, before_space, last_line)


def _lines_of_update(lines: list[str], document: YamlDocument, index: int) -> tuple[int, int]:
    """Return the first and last line (from 1) of an update, with its comments and the blank line above."""
    first = document.places["updates", index].line
    following = document.places.get(("updates", index + 1))
    if following is not None:
        return first, following.line - 1
    if first > 1 and not lines[first - 2].strip():
        first -= 1  # the blank line that set it off
    return first, next(_gaps(lines, document, document.places["updates",]))


def _block(lines: list[str], document: YamlDocument, place: YamlPlace, entry: Mapping[str, Any]) -> list[str]:
    indent = " " * (place.column - 1)
    first, *rest = lines_of(entry, place.column + 1)
    last = document.places["updates", len(document.value(("updates",))) - 1]
    spaced = len(document.value(("updates",))) > 1 and last.line > 1 and not lines[last.line - 2].strip()
    return [*([""] if spaced else []), f"{indent}- {first.lstrip(' ')}", *rest]


def _offset(text: str, line: int, column: int) -> int:
    start = 0
    for _ in range(line - 1):
        start = text.index("\n", start) + 1
    return start + column - 1


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _reads_as(text: str, wanted: Any, name: str) -> bool:
    try:
        return bool(_loose(parse(text, name).data) == _loose(wanted))
    except InputError:
        return False


def _loose(value: Any) -> Any:
    """Return `value` with True distinct from 1, and without line ends after a last block of text."""
    if isinstance(value, dict):
        return {key: _loose(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_loose(item) for item in value]
    return value.rstrip("\n") if isinstance(value, str) else (type(value), repr(value))


def _incidents_folder(config: Config) -> Path:
    folder = config.folder / "incidents"
    with _telling("incidents"):
        folder.mkdir(exist_ok=True)
        if not folder.resolve(strict=True).is_relative_to(config.folder.resolve(strict=True)):
            raise InputError.of("incidents", "points outside the desk's folder", "make it a folder there")
    return folder


def _edit(path: Path, change: Callable[[str, str], str], *, locked: bool = False) -> None:
    """Replace a file by what `change` makes of its text, atomically and durably; two editors take turns."""
    real = path.resolve()
    name = f"{real.parent.name}/{real.name}"  # as `load_incident` calls it
    with _telling(name), nullcontext() if locked else _turn(real.parent):
        raw = read_bytes_file(real, name=name)
        text = decode(raw, name)
        changed = change(text, name)
        if changed == text:
            return
        new = (_BOM if raw.startswith(_BOM) else b"") + changed.encode()
        old = real.stat()
        with temporary_file(real.parent, new, old.st_mode & 0o7777, (old.st_uid, old.st_gid)) as written:
            written.replace(real)
            sync_folder(real.parent)


@contextmanager
def incidents_locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing incident files of the desk in `folder` meanwhile."""
    with _turn((folder / "incidents").resolve()):
        yield


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _telling(name: str) -> Iterator[None]:
    """Turn an error of the disk into a fault that the person on call can act on."""
    try:
        yield
    except OSError as error:
        remedy = "free disk space or check permissions"
        raise InputError.of(name, f"cannot be written: {error.strerror}", remedy) from None
