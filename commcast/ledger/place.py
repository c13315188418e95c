"""Where a ledger lies, and what must be true of its file and folder before anybody opens it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from commcast.errors import LedgerError
from commcast.ledger.troubles import named_errors
from commcast.ledger.wal import pages_in_log

_HEADER = b"SQLite format 3\x00"


def is_there(path: Path) -> bool:
    """Return whether something lies where the ledger goes. Raises LedgerError where it is a link."""
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
    """Refuse a ledger that is missing, a link, somebody else's, empty, cut short or no database at all.

    Raises LedgerError. Nothing is ever put in its place.
    """
    if not is_there(path):
        raise LedgerError(
            f"{path}: there is no ledger, and commcast.toml says that this folder has one. Without it "
            "everybody could be told again: restore it from a backup, or begin anew with: "
            "commcast doctor --adopt-ledger"
        )
    with named_errors(path):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise LedgerError(f"{path}: is not a plain file; put the ledger itself there")
        if found.st_uid not in {os.getuid(), 0}:
            raise LedgerError(f"{path}: belongs to another user; run commcast as that user")
        if stat.S_IMODE(found.st_mode) & 0o077 and found.st_uid == os.getuid():
            path.chmod(0o600)
    _check_content(path, found.st_size)


def check_folder(folder: Path) -> None:
    """Refuse a folder that is a link, somebody else's, or that anybody may write in. Raises LedgerError."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise LedgerError(f"{folder}: is a link or not a folder; make it a folder of its own")
    if found.st_uid not in {os.getuid(), 0}:
        raise LedgerError(f"{folder}: belongs to another user; run commcast as that user")
    if stat.S_IMODE(found.st_mode) & 0o002:
        raise LedgerError(f"{folder}: anybody may write in it; mend it with: chmod 700 {folder}")
    if stat.S_IMODE(found.st_mode) & 0o077 and found.st_uid == os.getuid():
        folder.chmod(0o700)


def _check_content(path: Path, size: int) -> None:
    restore = "restore it from a backup; it is never replaced by an empty one"
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error.strerror}") from None
    if not head:
        raise LedgerError(f"{path}: is empty; {restore}")
    if len(head) < 100 or not head.startswith(_HEADER):
        raise LedgerError(f"{path}: is not a ledger (no SQLite file); {restore}")
    page = int.from_bytes(head[16:18], "big")
    page = 65536 if page == 1 else page
    pages = int.from_bytes(head[28:32], "big")
    # The page count in the header holds only where both change counters agree (SQLite file format, 1.3.7).
    # A checkpoint that was cut off (killed, or no room) has not written all pages: the log has the rest.
    is_short = head[24:28] == head[92:96] and pages * page > size
    if is_short and not pages_in_log(path).issuperset(range(size // page + 1, pages + 1)):
        raise LedgerError(f"{path}: is cut short ({size} of {pages * page} bytes); {restore}")
