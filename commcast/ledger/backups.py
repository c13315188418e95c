"""Marks that record a ledger's generation, so that a restored backup is recognised as too old.

A generation is committed before its mark is written. So a ledger is never older than its mark, even after a
kill or a power cut between the two; unless an older copy was put in its place, or the disk lost data it had
confirmed. A missing or unreadable mark says nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname

from commcast.files import sync_folder
from commcast.ledger.location import named_errors

MARK_NAME = "generation"
_LONGEST = 4096  # bytes of a mark that are read


@dataclass(frozen=True, slots=True)
class BackupMark:
    """The highest generation seen of a desk's ledger, when (`at`, ISO 8601 in UTC) and on which `host`.

    `ledger` is the result of `name_of`.
    """

    desk: str
    ledger: str
    generation: int
    at: str
    host: str


def name_of(secret: bytes) -> str:
    """Return a ledger's name: it reveals nothing of the secret, and every copy has the same one."""
    return hashlib.sha256(b"name of the ledger\0" + secret).hexdigest()[:16]


def new_mark(desk: str, name: str, generation: int) -> BackupMark:
    """Return the mark for a generation that was just committed on this host."""
    return BackupMark(desk, name, generation, datetime.now(UTC).isoformat(timespec="seconds"), gethostname())


def places(path: Path) -> tuple[Path, ...]:
    """Return where the marks of the ledger at `path` are: beside it, and in the user's state folder.

    The second one survives when the whole folder is restored. It belongs to one folder, host and user; a user
    without a home has none.
    """
    beside = path.with_name(MARK_NAME)
    state = _state_folder()
    if state is None:
        return (beside,)
    key = hashlib.sha256(os.fsencode(path.parent.resolve())).hexdigest()[:32]
    return (beside, state / "commcast" / "generations" / key)


def read_marks(path: Path, desk: str) -> tuple[BackupMark, ...]:
    """Return the readable marks of this desk.

    Call it before reading the ledger, whose generation may rise in the meantime.
    """
    found = (_read(place) for place in places(path))
    return tuple(mark for mark in found if mark is not None and mark.desk == desk)


def write_marks(path: Path, mark: BackupMark, *, anew: bool = False) -> None:
    """Write a mark durably; a higher one of the same ledger stays, unless `anew` is set.

    Raises LedgerError if the one beside the ledger can't be written. The other one is optional: a user
    without a home can send all the same.
    """
    beside, *others = places(path)
    with named_errors(beside):
        _write(beside, mark, anew=anew)
    bring_up(others, mark, anew=anew)


def bring_up(marks: Iterable[Path], mark: BackupMark, *, anew: bool = False) -> None:
    """Write a mark to each of these places that takes it."""
    for place in marks:
        if not mark.generation and not place.exists():
            continue  # nothing has been sent, so nothing can be lost
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(place, mark, anew=anew)
        except OSError:
            continue  # it is only a second mark; doctor reports if it is missing


def doubt(path: Path, marks: Iterable[BackupMark], name: str, generation: int) -> str:
    """Return why a ledger can't be the one that last sent from here, "" if nothing speaks against it."""
    for mark in marks:
        seen = f"seen {mark.at.replace('T', ' ').replace('+00:00', ' UTC')} on {mark.host}"
        if mark.ledger != name:
            what = f"is not the ledger that last sent from here ({seen})"
        elif mark.generation > generation:
            what = (
                f"is older than the ledger that last sent from here (generation {generation}; "
                f"{mark.generation} was {seen}): it looks restored from a backup"
            )
        else:
            continue
        return (
            f"{path}: {what}. Readers told since then are not in it and would be told again: put the newest "
            "one back; or adopt this one (all waiting messages then count as possibly sent) with: "
            "commcast doctor --adopt-ledger"
        )
    return ""


def _state_folder() -> Path | None:
    """Return the user's state folder (XDG base directories), None if there is none."""
    given = os.environ.get("XDG_STATE_HOME", "")
    if Path(given).is_absolute():
        return Path(given)
    try:
        return Path.home() / ".local" / "state"
    except RuntimeError:
        return None


def _read(place: Path) -> BackupMark | None:
    try:
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _parsed(os.read(handle, _LONGEST)) if stat.S_ISREG(os.fstat(handle).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(handle)


def _write(place: Path, mark: BackupMark, *, anew: bool) -> None:
    """Write in place: it fits in a sector, its checksum reveals a torn write, and no extra file is left."""
    is_new = not place.exists()
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(place, flags, 0o600)
    try:
        there = _parsed(os.pread(handle, _LONGEST, 0))
        if not anew and there and there.ledger == mark.ledger and there.generation >= mark.generation:
            return
        content = _written(mark)
        if os.pwrite(handle, content, 0) != len(content):
            os.pwrite(handle, content, 0)  # the disk filled up half-way: now this raises
        os.ftruncate(handle, len(content))
        os.fsync(handle)
    finally:
        os.close(handle)
    if is_new:
        sync_folder(place.parent)


def _written(mark: BackupMark) -> bytes:
    line = json.dumps(asdict(mark))
    return f"{line}\n{_sum(line)}\n".encode()


def _parsed(content: bytes) -> BackupMark | None:
    line, _, rest = content.decode("utf-8", "replace").partition("\n")
    if rest.strip() != _sum(line):
        return None
    try:
        return BackupMark(**json.loads(line))
    except (TypeError, ValueError):
        return None  # written by a newer version


def _sum(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()[:16]
