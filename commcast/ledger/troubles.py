"""What the database and the disk say of a ledger, in words for the person on call."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from commcast.errors import LedgerError, TryAgain

BUSY_SECONDS = 10.0  # how long a locked ledger is waited for before exit 75
_BUSY = {"SQLITE_BUSY", "SQLITE_LOCKED"}
FULL = {errno.ENOSPC, errno.EDQUOT}
# SQLite tells some full disks as failed reads and writes, or as a file that cannot be opened: below so many
# bytes it may not have found room for the index of its log (32 KiB a piece) beside the ledger.
_NEXT_TO_NOTHING = 128 << 10
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_FAILED = ("SQLITE_IOERR", *_DAMAGED)


class FailedDisk(LedgerError):
    """Reading or writing failed below the database, or it is damaged: it is not to be believed any more.

    After a failed fsync the system may have dropped what was to be written, and the next fsync succeeds all
    the same. So whoever gets this writes no more: a new process looks at what really is on the disk.
    """


@contextmanager
def named_errors(path: Path, at: Path | None = None) -> Iterator[None]:
    """Turn what goes wrong with the ledger at `path` into LedgerError, or TryAgain where it is only busy.

    `at` is where the file lies that is open, where that is a copy of the ledger.
    """
    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.IntegrityError):
            raise
        name = getattr(error.orig, "sqlite_errorname", "") or ""
        if name.split("_SNAPSHOT")[0] in _BUSY:
            raise TryAgain(
                f"{path}: is in use by another process for over {BUSY_SECONDS:.0f} seconds; nothing is wrong "
                "with it: the next tick, or the same command, goes on"
            ) from None
        kind = FailedDisk if name.startswith(_FAILED) else LedgerError
        raise kind(
            f"{path}: {_trouble(at or path, name, str(error.orig), is_copy=at is not None)}; "
            "nothing unrecorded was sent"
        ) from None
    except OSError as error:
        reason = _full(at or path) if error.errno in FULL else error.strerror or str(error)
        if error.errno == errno.EIO:
            reason = _failed(reason)
        raise LedgerError(f"{path}: {reason}; nothing unrecorded was sent") from None


def _trouble(at: Path, name: str, said: str, *, is_copy: bool) -> str:
    nameless = name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN"))
    if name.startswith("SQLITE_FULL") or (nameless and _has_next_to_nothing(at)):
        return _full_for_copy(at) if is_copy else _full(at)
    if name.startswith(_DAMAGED):
        return (
            "is damaged; restore it from a backup, it is never replaced by an empty one. Keep the damaged "
            "one: it may still tell who was told"
        )
    if name.startswith("SQLITE_READONLY"):
        return "cannot be written: file, folder or file system is read-only"
    if name.startswith("SQLITE_CANTOPEN"):
        return "cannot be opened: look at the rights of file and folder, or for a read-only file system"
    if name.startswith("SQLITE_IOERR"):
        return _failed(name)
    return said


def _failed(how: str) -> str:
    return (
        f"reading or writing failed ({how}); look at the disk before anything else, then run the same "
        "command again"
    )


def _full_for_copy(copy: Path) -> str:
    return (
        f"there is no room to read it: its copy goes to {copy.parent.parent} ({_free_words(copy)}); "
        "make room there, or set TMPDIR to another"
    )


def _full(path: Path) -> str:
    return f"the disk is full ({_free_words(path)}); make room and run the same command again"


def _free_words(path: Path) -> str:
    free = free_bytes(path.parent if os.path.lexists(path.parent) else path.parents[1])
    return "nobody knows how much is free" if free is None else f"{free} bytes free"


def _has_next_to_nothing(path: Path) -> bool:
    free = free_bytes(path.parent if os.path.lexists(path.parent) else path.parents[1])
    return free is not None and free < _NEXT_TO_NOTHING


def free_bytes(folder: Path) -> int | None:
    """Return how many bytes are free on a folder's disk, None where that is not known."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
