"""Looks into a write-ahead log: which pages it holds, and whether it lost commits after a crash.

SQLite reads a log up to the first frame whose checksum is wrong, and takes what follows for never written: a
log that was damaged loses commits in silence, and who was told would be pending again. The index beside it
(`-shm`) still tells how far the log was committed. With synchronous=FULL it is written after the log is on
disk, so it is never ahead of a log that is whole. (Formats: sqlite.org/walformat.html, fileformat2.html 4.)
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_HEADER = struct.Struct("=3I2BH6I2I")  # the first of two alike, in the byte order of the machine
_VERSION = 3007000
_DEAD_MAN = 128  # the byte of the index that every open connection holds a lock on
_MAGIC = {b"\x37\x7f\x06\x82": "<", b"\x37\x7f\x06\x83": ">"}  # the byte order of a log's checksums
_LOG_HEADER, _FRAME_HEADER = 32, 24  # bytes
_FLOCK = struct.Struct("hhqqi4x")  # fcntl(2), Linux


@dataclass(frozen=True, slots=True)
class _Index:
    """How far a log was committed: `frames` of them, `moved` of these already in the ledger itself."""

    salt: bytes
    page: int
    frames: int
    moved: int
    checksum: tuple[int, int]
    written_at: float


def lost_commits(path: Path) -> bool:
    """Return whether the log of the ledger at `path` is without commits that it had.

    False where another process has the ledger open, or this one: then the log is in good use. Linux only;
    elsewhere nothing is known.
    """
    beside = path.with_name(path.name + "-shm")
    if sys.platform != "linux" or not beside.exists() or _is_open_here(beside):
        return False
    index = _read_index(beside)
    if index is None or index.frames <= index.moved:
        return False
    log = path.with_name(path.name + "-wal")
    try:
        with log.open("rb") as file:
            lost = _lacks(file, index)
    except FileNotFoundError:
        lost = _is_of_this_boot(index)
    except OSError:
        return False  # whoever opens it will say why
    return lost and _read_index(beside) == index  # else somebody has begun to work with it


def pages_in_log(path: Path) -> set[int]:
    """Return the numbers of the ledger's pages that its log holds; not whether they are whole."""
    pages: set[int] = set()
    try:
        with path.with_name(path.name + "-wal").open("rb") as log:
            head = log.read(_LOG_HEADER)
            if len(head) < _LOG_HEADER or head[:4] not in _MAGIC:
                return pages
            page = int.from_bytes(head[8:12], "big")
            while len(frame := log.read(_FRAME_HEADER)) == _FRAME_HEADER and frame[8:16] == head[16:24]:
                pages.add(int.from_bytes(frame[:4], "big"))
                log.seek(page, os.SEEK_CUR)
    except OSError:
        return pages
    return pages


def _lacks(log: IO[bytes], index: _Index) -> bool:
    head = log.read(_LOG_HEADER)
    if len(head) < _LOG_HEADER or head[16:24] != index.salt:
        return _is_of_this_boot(index)
    order = _MAGIC.get(head[:4])
    if order is None:
        return True
    found = struct.unpack(">2I", head[24:32])
    for _ in range(index.frames):
        frame = log.read(_FRAME_HEADER + index.page)
        if len(frame) < _FRAME_HEADER + index.page or frame[8:16] != index.salt:
            return True
        found = _checksum(frame[:8] + frame[_FRAME_HEADER:], order, found)
    return found != index.checksum


def _is_of_this_boot(index: _Index) -> bool:
    """Return whether the machine has run since; after a power cut the index may be of an earlier log."""
    return index.written_at > time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _read_index(path: Path) -> _Index | None:
    """Return what an index says; None where there is none, it is not whole, or somebody has it open."""
    try:
        with path.open("rb") as file:
            if _is_locked(file):
                return None
            head, written_at = file.read(2 * _HEADER.size + 4), os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    size = _HEADER.size
    if len(head) < 2 * size + 4 or head[:size] != head[size : 2 * size]:
        return None
    version, _, _, is_ready, _, page, frames, _, *rest = _HEADER.unpack(head[:size])
    checksum, own = (rest[0], rest[1]), (rest[4], rest[5])
    if version != _VERSION or not is_ready or own != _checksum(head[: size - 8], "=", (0, 0)):
        return None
    moved = struct.unpack("=I", head[2 * size :])[0]
    return _Index(head[32:40], 65536 if page == 1 else page, frames, moved, checksum, written_at)


def _is_locked(file: IO[bytes]) -> bool:
    """Return whether another process has the ledger open. Locks of our own are not seen by this."""
    asked = fcntl.fcntl(file, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _DEAD_MAN, 1, 0))
    return bool(_FLOCK.unpack(asked)[0] != fcntl.F_UNLCK)


def _is_open_here(path: Path) -> bool:
    """Return whether this process has a file open: to open and close it again would drop SQLite's locks."""
    for handle in Path("/proc/self/fd").iterdir():
        try:
            if handle.samefile(path):
                return True
        except OSError:
            continue  # closed meanwhile, or there is no such file
    return False


def _checksum(data: bytes, order: str, start: tuple[int, int]) -> tuple[int, int]:
    first, second = start
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for one, two in zip(words, words, strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return first, second
