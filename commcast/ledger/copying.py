"""Copies a ledger and its write-ahead log as one state, so that readers leave its folder byte-identical."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commcast.errors import LedgerError, TryAgain
from commcast.ledger.troubles import FULL, free_bytes


@contextmanager
def room_for_copy(path: Path) -> Iterator[Path]:
    """Yield a private folder for a copy of the ledger at `path`. Raises LedgerError where there is none."""
    with telling_of_copy(path):
        room = tempfile.TemporaryDirectory(prefix="commcast-")
    with room as folder:
        yield Path(folder)


@contextmanager
def telling_of_copy(path: Path) -> Iterator[None]:
    """Say of a failure that it is the copy's, which lies elsewhere."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EIO:
            raise LedgerError(f"{path}: reading it failed; look at the disk before anything else") from None
        reason = f"cannot be copied to the temporary folder to read it: {_reason(path, error)}"
        raise LedgerError(f"{path}: {reason}; make room there, or set TMPDIR to another") from None


def _reason(path: Path, error: OSError) -> str:
    if error.errno not in FULL:
        return error.strerror or str(error)
    room = tempfile.gettempdir()
    needs = sum(each.stat().st_size for each in (path, _log(path)) if each.exists())
    return f"it takes {needs} bytes, and {room} has {free_bytes(Path(room))} left"


def copy_ledger(path: Path, copy: Path) -> None:
    """Copy a ledger and its write-ahead log as one state, also while another process writes."""
    log, copied_log = _log(path), _log(copy)
    for _ in range(20):
        before = _state(path, log)
        shutil.copyfile(path, copy)
        copied_log.unlink(missing_ok=True)
        if log.exists():
            shutil.copyfile(log, copied_log)
        if _state(path, log) == before:
            return
    raise TryAgain(f"{path}: is being written all the time; try again in a moment")


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _state(path: Path, log: Path) -> tuple[object, ...]:
    """Return what changes when a checkpoint moves the log into the ledger; its growth is no matter."""
    found = path.stat()
    try:
        with log.open("rb") as file:
            salt = file.read(32)
    except FileNotFoundError:
        salt = b""
    return (found.st_mtime_ns, found.st_size, found.st_ino, salt)
