"""The ledger's file: whether it may be opened, how it is copied, and disk errors in plain words."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
import sqlite3
import stat
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy.exc import DBAPIError

from commcast.errors import LedgerError, TryAgain
from commcast.files import TRUSTED_OWNERS, is_named_safe

BUSY_SECONDS = 10.0  # how long to wait for a locked ledger before exit 75
_BUSY = {"SQLITE_BUSY", "SQLITE_LOCKED"}
FULL = {errno.ENOSPC, errno.EDQUOT}
# SQLite reports some full disks as failed reads and writes, or as a file that can't be opened: with less free
# than this, the index of its log (in pieces of 32 KiB) may not have fitted beside the ledger.
_NEXT_TO_NOTHING = 128 << 10
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_FAILED = ("SQLITE_IOERR", *_DAMAGED)
_RESTORE = "restore it from a backup; commcast never replaces it with an empty one"


class FailedDisk(LedgerError):
    """Reading or writing failed below the database, or the database is damaged: it can't be trusted any more.

    After a failed fsync the system may have dropped data, and the next fsync succeeds all the same. So a
    process that gets this writes nothing more; a new one sees what really is on the disk.
    """


def gone_meanwhile(path: Path) -> FailedDisk:
    """Return the error for a ledger that somebody took away while it was open."""
    return FailedDisk(
        f"{path}: was deleted, moved or replaced while it was in use. What was sent since then is not on "
        "record, and nothing more is sent. Put it back; or restore a backup, then: commcast doctor "
        "--adopt-ledger"
    )


@contextmanager
def named_errors(path: Path, at: Path | None = None) -> Iterator[None]:
    """Turn errors of the ledger at `path` into LedgerError, or TryAgain if it is only busy.

    `at` is the file that is open, if that is a copy.
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
                "with it: the next tick, or the same command again, will continue"
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
        return f"is damaged; {_RESTORE}. Keep the damaged file: it may still show who was told"
    if name.startswith("SQLITE_READONLY"):
        return "cannot be written: file, folder or file system is read-only"
    if name.startswith("SQLITE_CANTOPEN"):
        return "cannot be opened: check the permissions of file and folder, or for a read-only file system"
    if name.startswith("SQLITE_IOERR"):
        return _failed(name)
    return said


def _failed(how: str) -> str:
    stands = ": your yes may have been recorded; if so, the next tick sends it" if "FSYNC" in how else ""
    return f"reading or writing failed ({how}){stands}; check the disk first, then run the same command again"


def _full_for_copy(copy: Path) -> str:
    return (
        f"there is no room to read it: its copy goes to {copy.parent} ({_free_words(copy)}); "
        "make room there, or set TMPDIR to another folder"
    )


def _full(path: Path) -> str:
    return f"the disk is full ({_free_words(path)}); make room and run the same command again"


def _free(path: Path) -> int | None:
    return free_bytes(path.parent if os.path.lexists(path.parent) else path.parents[1])


def _free_words(path: Path) -> str:
    free = _free(path)
    return "free space unknown" if free is None else f"{free} bytes free"


def _has_next_to_nothing(path: Path) -> bool:
    return (free := _free(path)) is not None and free < _NEXT_TO_NOTHING


def free_bytes(folder: Path) -> int | None:
    """Return how many bytes are free on a folder's disk, None if that is not known."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


@contextmanager
def telling_of_copy(path: Path) -> Iterator[None]:
    """Report an OSError as a failure of the copy, which lies elsewhere. Raises LedgerError."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EIO:
            raise LedgerError(f"{path}: reading it failed; check the disk first") from None
        reason = f"cannot be copied to the temporary folder to read it: {_reason(path, error)}"
        raise LedgerError(f"{path}: {reason}; make room there, or set TMPDIR to another folder") from None


def _reason(path: Path, error: OSError) -> str:
    if error.errno not in FULL:
        return error.strerror or str(error)
    room = tempfile.gettempdir()
    needs = sum(each.stat().st_size for each in (path, _log(path)) if each.exists())
    return f"it needs {needs} bytes, and {room} has {free_bytes(Path(room))} free"


def copy_ledger(path: Path, copy: IO[bytes]) -> None:
    """Write a ledger, with all that its log has committed, into a file, while others may write to it.

    The copy needs no log of its own. Raises TryAgain if the ledger never holds still.
    """
    log = _log(path)
    for _ in range(20):
        before = _state(path, log)
        copy.seek(0)
        copy.truncate()
        with path.open("rb") as source:
            shutil.copyfileobj(source, copy)
        places, page, count = _committed(path)
        if places:
            with suppress(FileNotFoundError), log.open("rb") as newer:
                for number, at in places.items():
                    newer.seek(at)
                    copy.seek((number - 1) * page)
                    copy.write(newer.read(page))
            copy.truncate(count * page)
        copy.seek(_JOURNAL_KIND)
        copy.write(b"\1\1")
        if _state(path, log) == before:
            return
    raise TryAgain(f"{path}: is being written constantly; try again in a moment")


_JOURNAL_KIND = 18  # where the header says how to write and to read: 2 with a log, 1 without


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _state(path: Path, log: Path) -> tuple[object, ...]:
    """Return what changes when a checkpoint moves the log into the ledger, but not when the log grows."""
    found = path.stat()
    try:
        with log.open("rb") as file:
            salt = file.read(32)
    except FileNotFoundError:
        salt = b""
    return (found.st_mtime_ns, found.st_size, found.st_ino, salt)


_WAL_HEADER = struct.Struct("=3I2BH6I2I")  # the first of two equal ones, in the machine's byte order
_VERSION = 3007000
_DEAD_MAN = 128  # every open connection holds a lock on this byte of the index
_MAGIC = {b"\x37\x7f\x06\x82": "<", b"\x37\x7f\x06\x83": ">"}  # the byte order of a log's checksums
_LOG_HEADER, _FRAME_HEADER = 32, 24  # bytes
_FLOCK = struct.Struct("hhqqi4x")  # fcntl(2), Linux


@dataclass(frozen=True, slots=True)
class _Index:
    """How far a log is committed: `frames` in all, `moved` of them already in the ledger itself."""

    salt: bytes
    page: int
    frames: int
    moved: int
    checksum: tuple[int, int]
    written_at: float


def lost_commits(path: Path) -> bool:
    """Return whether the log of the ledger at `path` has lost commits.

    False if this or another process has the ledger open: then the log is in use. Always False outside Linux.
    """
    beside = path.with_name(path.name + "-shm")
    if sys.platform != "linux" or not beside.exists() or _is_open_here(beside):
        return False
    index = _read_index(beside)
    if index is None or index.frames <= index.moved:
        return False
    try:
        with _log(path).open("rb") as file:
            lost = _lacks(file, index)
    except FileNotFoundError:
        lost = _is_of_this_boot(index)
    except OSError:
        return False  # opening it will say why
    return lost and _read_index(beside) == index  # otherwise somebody has started to use it


def _committed(path: Path) -> tuple[dict[int, int], int, int]:
    """Return where in its log the newest content of each page is, the pages' size, and how many there are.

    Only up to the last commit. An index of this boot says where that is; without one, checksums do.
    """
    places: dict[int, int] = {}
    new: dict[int, int] = {}
    page = pages = 0
    with suppress(OSError), _log(path).open("rb") as log:
        head = log.read(_LOG_HEADER)
        page = int.from_bytes(head[8:12], "big")
        beside = path.with_name(path.name + "-shm")
        index = _read_index(beside, even_if_open=True) if sys.platform == "linux" else None
        known = index.frames if index and index.salt == head[16:24] and _is_of_this_boot(index) else None
        for number, count, _ in itertools.islice(_frames(log, checked=known is None), known):
            new[number] = log.tell() - page
            if count:  # the last frame of a commit
                places.update(new)
                new, pages = {}, count
    return places, page, pages


def _frames(log: IO[bytes], *, checked: bool = True) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Yield (page, pages in all if it ends a commit, checksum) of each frame, up to the first not whole."""
    log.seek(0)
    head = log.read(_LOG_HEADER)
    order, size = _MAGIC.get(head[:4]), _FRAME_HEADER + int.from_bytes(head[8:12], "big")
    if order is None or len(head) < _LOG_HEADER:
        return
    found = struct.unpack(">2I", head[24:])
    while len(frame := log.read(size)) == size and frame[8:16] == head[16:24]:
        if checked:
            found = _checksum(frame[:8] + frame[_FRAME_HEADER:], order, found)
            if found != struct.unpack(">2I", frame[16:24]):
                return
        number, count = struct.unpack(">2I", frame[:8])
        yield number, count, found


def _lacks(log: IO[bytes], index: _Index) -> bool:
    if log.read(_LOG_HEADER)[16:24] != index.salt:
        return _is_of_this_boot(index)
    sums = [found for *_, found in itertools.islice(_frames(log), index.frames)]
    return len(sums) < index.frames or sums[-1] != index.checksum


def _is_of_this_boot(index: _Index) -> bool:
    """Return whether the machine was up since then; after a power cut an index may be of an older log."""
    return index.written_at > time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _read_index(path: Path, *, even_if_open: bool = False) -> _Index | None:
    """Return what an index says; None if it is missing or incomplete, or somebody has it open."""
    try:
        with path.open("rb") as file:
            if not even_if_open and _is_locked(file):
                return None
            head, written_at = file.read(2 * _WAL_HEADER.size + 4), os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    size = _WAL_HEADER.size
    if len(head) < 2 * size + 4 or head[:size] != head[size : 2 * size]:
        return None
    version, _, _, is_ready, _, page, frames, _, *rest = _WAL_HEADER.unpack(head[:size])
    checksum, own = (rest[0], rest[1]), (rest[4], rest[5])
    if version != _VERSION or not is_ready or own != _checksum(head[: size - 8], "=", (0, 0)):
        return None
    moved = struct.unpack("=I", head[2 * size :])[0]
    return _Index(head[32:40], 65536 if page == 1 else page, frames, moved, checksum, written_at)


def _is_locked(file: IO[bytes]) -> bool:
    """Return whether another process has the ledger open. This process's own locks don't show."""
    asked = fcntl.fcntl(file, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _DEAD_MAN, 1, 0))
    return bool(_FLOCK.unpack(asked)[0] != fcntl.F_UNLCK)


def _is_open_here(path: Path) -> bool:
    """Return whether this process has a file open: opening and closing it again would drop SQLite's locks."""
    for handle in Path("/proc/self/fd").iterdir():
        try:
            if handle.samefile(path):
                return True
        except OSError:
            continue  # closed in the meantime, or no such file
    return False


def _checksum(data: bytes, order: str, start: tuple[int, ...]) -> tuple[int, ...]:
    first, second = start
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for one, two in zip(words, words, strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return first, second


_DATABASE_HEADER = b"SQLite format 3\x00"


def is_there(path: Path) -> bool:
    """Return whether there is something where the ledger belongs. Raises LedgerError if it is a link."""
    with named_errors(path):
        if not os.path.lexists(path.parent):
            return False
        check_folder(path.parent)
        try:
            found = path.lstat()
        except FileNotFoundError:
            return False
    if stat.S_ISLNK(found.st_mode):
        raise LedgerError(f"{path}: is a link; put the ledger itself there")
    return True


def check_file(path: Path) -> None:
    """Raise LedgerError if the ledger is missing, a link, somebody else's, empty, cut short or no database.

    Nothing is ever put in its place.
    """
    if not is_there(path):
        raise LedgerError(
            f"{path}: there is no ledger, but commcast.toml says that this folder has one. Without it "
            "everybody could be told again: restore it from a backup, or start a new one with: "
            "commcast doctor --adopt-ledger"
        )
    with named_errors(path):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise LedgerError(f"{path}: is not a plain file; put the ledger itself there")
        _close_to_others(path, found, path.parents[1], 0o600)
    _check_content(path, found.st_size)


def check_folder(folder: Path) -> None:
    """Raise LedgerError if a folder is a link, somebody else's, or writable for everybody."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise LedgerError(f"{folder}: is a link or not a folder; put a real folder there")
    if found.st_mode & stat.S_IWOTH and not is_named_safe(folder.parent):
        raise LedgerError(f"{folder}: anybody may write in it; fix it with: chmod 700 {folder}")
    _close_to_others(folder, found, folder.parent, 0o700)


def _close_to_others(path: Path, found: os.stat_result, desk: Path, mode: int) -> None:
    if found.st_uid not in TRUSTED_OWNERS and not is_named_safe(desk):
        raise LedgerError(f"{path}: belongs to another user; run commcast as that user")
    if stat.S_IMODE(found.st_mode) & 0o077 and found.st_uid == os.getuid():
        path.chmod(mode)


def _check_content(path: Path, size: int) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error.strerror}") from None
    if not head:
        raise LedgerError(f"{path}: is empty; {_RESTORE}")
    if len(head) < 100 or not head.startswith(_DATABASE_HEADER):
        raise LedgerError(f"{path}: is not a ledger (not an SQLite file); {_RESTORE}")
    page = int.from_bytes(head[16:18], "big")
    page = 65536 if page == 1 else page
    pages = int.from_bytes(head[28:32], "big")
    # The page count in the header is only valid if both change counters agree (SQLite file format, 1.3.7).
    # An interrupted checkpoint (killed, or no room) has not written all pages: the log has the rest.
    is_short = head[24:28] == head[92:96] and pages * page > size
    if is_short and not set(range(size // page + 1, pages + 1)) <= _committed(path)[0].keys():
        raise LedgerError(f"{path}: is cut short ({size} of {pages * page} bytes); {_RESTORE}")
