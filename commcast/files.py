"""Files from outside: read bounded, written durably."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from commcast.errors import Fault, InputError

LARGEST_FILE = 1 << 20  # bytes
# C0 and C1 controls, line and paragraph separators, bidi overrides and isolates, surrogates, a BOM inside.
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)


def read_text_file(
    path: Path, limit: int = LARGEST_FILE, *, folder: Path | None = None, name: str = ""
) -> str:
    """Return the text of a regular file, without its byte order mark.

    The file, links followed, must lie inside `folder` (default: its own); `name` is what faults call it.
    Raises InputError for anything else: a pipe, a device, a directory, more than `limit` bytes, no UTF-8.
    """
    return decode(read_bytes_file(path, limit, folder=folder, name=name), name or path.name)


def read_bytes_file(
    path: Path, limit: int = LARGEST_FILE, *, folder: Path | None = None, name: str = ""
) -> bytes:
    """Return the bytes of a file under the rules of `read_text_file`. Never waits on a pipe or a device."""
    name = name or path.name
    try:
        inside = (folder or path.parent).resolve(strict=True)
        real = path.resolve(strict=True)
        if not real.is_relative_to(inside):
            raise InputError(Fault(name, 0, 0, "leads out of its folder", "keep the file itself there"))
        if not stat.S_ISREG(real.stat().st_mode):
            raise InputError(Fault(name, 0, 0, "is not a regular file", "write a plain text file"))
        raw = _read_regular(real, name, limit)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "its links go round in a circle"
        raise InputError(Fault(name, 0, 0, f"cannot be read: {reason}")) from None
    if len(raw) > limit:
        raise InputError(Fault(name, 0, 0, f"is larger than {limit >> 10} KiB", "shorten it"))
    return raw


def decode(raw: bytes, name: str) -> str:
    """Return `raw` as text without its byte order mark. Raises InputError at the first byte not in UTF-8."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(Fault(name, 1, 1, "is UTF-16 text", "save it as UTF-8"))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8", "replace")
        line, column = line_and_column(before, len(before))
        raise InputError(
            Fault(
                name, line, column, f"byte 0x{error.object[error.start]:02x} is not UTF-8", "save it as UTF-8"
            )
        ) from None


def _read_regular(path: Path, name: str, limit: int) -> bytes:
    # The path may have become a pipe since it was looked at: open without waiting, then look at what is open.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise InputError(Fault(name, 0, 0, "is not a regular file", "write a plain text file"))
        return file.read(limit + 1)


def line_and_column(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - (text.rfind("\n", 0, index) + 1) + 1


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk: a file that is synced may still lose its own. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


FileSign = tuple[str, int, int, int]


def sign_of(path: Path) -> FileSign:
    """Return what changes when a file is written or replaced: its path, inode, size and time in nanoseconds.

    Of a file that is not there only the path is told.
    """
    try:
        found = path.stat()
    except OSError:
        return (str(path), 0, 0, 0)
    return (str(path), found.st_ino, found.st_size, found.st_mtime_ns)
