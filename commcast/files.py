"""Whom a folder trusts; reads files of any origin within limits, and writes files durably."""

from __future__ import annotations

import os
import re
import shlex
import stat
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from commcast.errors import Fault, InputError

LARGEST_FILE = 1 << 20  # bytes
# C0 and C1 controls, line and paragraph separators, bidi overrides and isolates, surrogates, a BOM inside.
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)


TRUSTED_OWNERS = {os.geteuid(), 0}  # root may do anything anyway
SAFE_FOLDER = "COMMCAST_SAFE_FOLDER"  # names desks, separated by ":", that are obeyed whoever owns them


def distrusted(folder: Path, *names: str) -> Fault | None:
    """Return why a desk is not obeyed, with the one line to type; None if it is. `names` are its settings.

    Who can write one of them could have commands run, and keys sent to a server of theirs. That may only be
    ourselves and root. A group that has its user's own name, as most systems make one, is that user's alone.
    """
    for path in () if is_named_safe(folder) else (folder, *(folder / name for name in names)):
        with suppress(OSError):
            found = path.stat()
            what, remedy = "", f"fix it with: chmod go-w {shlex.quote(str(path.absolute()))}"
            if found.st_uid not in TRUSTED_OWNERS:
                line = f"export {SAFE_FOLDER}={shlex.quote(str(folder.resolve()))}"
                what, remedy = "belongs to another user", f"run as that user or, if you trust it: {line}"
            elif found.st_mode & stat.S_IWOTH:
                what = "anybody may change it"
            elif found.st_mode & stat.S_IWGRP and not _is_own_group(path):
                what = "its group may change it"
            if what:
                return Fault(str(path.absolute()), 0, 0, f"{what}, so it is not trusted", remedy)
    return None


def is_named_safe(folder: Path) -> bool:
    """Return whether the environment names this desk as one to obey."""
    named = filter(None, os.environ.get(SAFE_FOLDER, "").split(os.pathsep))
    return folder.resolve() in {Path(each).resolve() for each in named}


def _is_own_group(path: Path) -> bool:
    try:
        return path.group() == path.owner()
    except KeyError:  # a container without these names
        return path.stat().st_gid == path.stat().st_uid


CONFLICT = ("unresolved merge conflict", "keep one side, and delete the lines <<<, === and >>>")
_CONFLICT = re.compile("^<{7} ", re.MULTILINE)


def named(character: str) -> str:
    """Return what a character that cannot be seen is called: U+2028 (line separator)."""
    name = unicodedata.name(character, "").lower()
    return f"U+{ord(character):04X} ({name})" if name else f"U+{ord(character):04X}"


def merge_conflict(text: str, name: str) -> Fault | None:
    """Return the fault of a text that Git could not merge, None for any other."""
    found = _CONFLICT.search(text) if "\n>>>>>>> " in text else None
    return Fault(name, *line_and_column(text, found.start()), *CONFLICT) if found else None


def read_text_file(
    path: Path, *, folder: Path | None = None, name: str = "", largest: int = LARGEST_FILE
) -> str:
    """Return the text of a regular file, without its byte order mark.

    The file, links followed, must be inside `folder` (default: its own); `name` is what faults call it.
    Raises InputError for anything else: a pipe, a device, a directory, over `largest` bytes, not UTF-8.
    """
    return decode(read_bytes_file(path, folder=folder, name=name, largest=largest), name or path.name)


def read_bytes_file(
    path: Path, *, folder: Path | None = None, name: str = "", largest: int = LARGEST_FILE
) -> bytes:
    """Return the bytes of a file under the rules of `read_text_file`. Never waits for a pipe or a device."""
    name = name or path.name
    try:
        inside = (folder or path.parent).resolve(strict=True)
        real = path.resolve(strict=True)
        if not real.is_relative_to(inside):
            raise InputError.of(name, "points outside its folder", "keep the file itself there")
        with open_regular(real, name, "write a plain text file") as file:
            raw = file.read(largest + 1)
    except (OSError, RuntimeError) as error:
        raise InputError.of(name, cannot_read(error)) from None
    if len(raw) > largest:
        raise InputError.of(name, f"is larger than {largest >> 10} KiB", "shorten it")
    return raw


def cannot_read(error: OSError | RuntimeError) -> str:
    """Return why a path can't be read. Before Python 3.13 pathlib raises RuntimeError for a loop of links."""
    return f"cannot be read: {getattr(error, 'strerror', None) or 'its links form a loop'}"


@contextmanager
def open_regular(path: Path | str, name: str, remedy: str) -> Iterator[BinaryIO]:
    """Open a regular file for reading; `name` is what faults call it. A Path has been resolved and checked.

    It is opened without waiting and checked once open: a pipe would hang, a device never end, and a path may
    become one, or lead through a link, at any time. Raises InputError with `remedy`, and OSError.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW)
    what = "" if stat.S_ISREG(os.fstat(handle).st_mode) else "is not a regular file"
    if isinstance(path, Path) and not what and _is_another(handle, path):
        what, remedy = "was replaced by a link while it was opened", "keep a plain file there"
    if what:
        os.close(handle)
        raise InputError.of(name, what, remedy)
    with os.fdopen(handle, "rb", buffering=1 << 16) as file:
        yield file


def _is_another(handle: int, path: Path) -> bool:
    """Return whether a file was opened elsewhere than at its resolved path, as far as the system tells."""
    try:
        opened = str(Path(f"/proc/self/fd/{handle}").readlink())
    except OSError:  # it has no /proc
        return False
    return opened.removesuffix(" (deleted)").casefold() != str(path).casefold()


def decode(raw: bytes, name: str) -> str:
    """Return `raw` as text without its byte order mark.

    Raises InputError at the first byte not in UTF-8, and for a merge conflict.
    """
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(Fault(name, 1, 1, "is UTF-16 text", "save it as UTF-8"))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8", "replace")
        line, column = line_and_column(before, len(before))
        what = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        raise InputError(Fault(name, line, column, what, "save it as UTF-8")) from None
    if fault := merge_conflict(text, name):
        raise InputError(fault)
    return text


def line_and_column(text: str, index: int) -> tuple[int, int]:
    """Return the line and column of a character, from 1."""
    return text.count("\n", 0, index) + 1, index - (text.rfind("\n", 0, index) + 1) + 1


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk: a synced file may otherwise lose its name. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


FileSign = tuple[str, int, int, int]


def sign_of(path: Path) -> FileSign:
    """Return what changes when a file is written or replaced: its path, inode, size and mtime in nanoseconds.

    For a missing file all but the path is 0.
    """
    try:
        found = path.stat()
    except OSError:
        return (str(path), 0, 0, 0)
    return (str(path), found.st_ino, found.st_size, found.st_mtime_ns)


@contextmanager
def temporary_file(
    folder: Path, content: bytes, mode: int, owner: tuple[int, int] | None = None
) -> Iterator[Path]:
    """Yield a file that is completely on disk; it is deleted afterwards unless renamed. Raises OSError."""
    handle, written = tempfile.mkstemp(prefix=".", suffix=".new", dir=folder)
    path = Path(written)
    try:
        with os.fdopen(handle, "wb") as file:
            if owner:
                with suppress(PermissionError):
                    os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)
