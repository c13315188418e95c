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
_FULL = {errno.ENOSPC, errno.EDQUOT}
# SQLite tells some full disks as failed reads and writes, or as a file that cannot be opened: below so many
# bytes it may not have found room for the index of its log (32 KiB a piece) beside the ledger.
_NEXT_TO_NOTHING = 128 << 10


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the ledger at `path` into LedgerError, or TryAgain where it is only busy."""
    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.IntegrityError):
            raise
        name = getattr(error.orig, "sqlite_errorname", "") or ""
        if name.split("_SNAPSHOT")[0] in _BUSY:
            raise TryAgain(
                f"{path}: is in use by another process for over {BUSY_SECONDS:.0f} seconds"
            ) from None
        raise LedgerError(
            f"{path}: {_trouble(path, name, str(error.orig))}; nothing unrecorded was sent"
        ) from None
    except OSError as error:
        reason = _full(path) if error.errno in _FULL else error.strerror or error
        raise LedgerError(f"{path}: {reason}; nothing unrecorded was sent") from None


def _trouble(path: Path, name: str, said: str) -> str:
    nameless = name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN"))
    if name.startswith("SQLITE_FULL") or (nameless and _free(path) < _NEXT_TO_NOTHING):
        return _full(path)
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return "is damaged; restore it from a backup, it is never replaced by an empty one"
    if name.startswith("SQLITE_READONLY"):
        return "cannot be written: file, folder or file system is read-only"
    if name.startswith("SQLITE_CANTOPEN"):
        return "cannot be opened: look at the rights of file and folder, or for a read-only file system"
    if name.startswith("SQLITE_IOERR"):
        return f"reading or writing failed ({name}); look at the disk before anything else"
    return said


def _full(path: Path) -> str:
    return f"the disk is full ({_free(path)} bytes free); make room and run the same command again"


def _free(path: Path) -> int:
    try:
        return shutil.disk_usage(path.parent if os.path.lexists(path.parent) else path.parents[1]).free
    except OSError:
        return _NEXT_TO_NOTHING  # not known: then nothing is said to be full
