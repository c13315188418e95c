"""Marks of how far the ledger had come: a restored backup is older than they say.

A ledger's generation is committed before the mark that tells of it is written. So a ledger is never older
than its mark, whatever is killed or loses power between the two; unless an older copy was put in its place,
or the disk lost what it said it had kept. A mark that is missing or unreadable says nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from commcast.files import sync_folder
from commcast.ledger.location import named_errors

MARK_NAME = "generation"
_LONGEST = 4096  # bytes of a mark that are read


@dataclass(frozen=True, slots=True)
class BackupMark:
    """The highest generation that was seen of a desk's ledger, `at` (ISO 8601, UTC) and on which `host`.

    `ledger` names it, see `name_of`.
    """

    desk: str
    ledger: str
    generation: int
    at: str
    host: str


def name_of(secret: bytes) -> str:
    """Return a ledger's own name: it tells nothing of its secret, and every copy of it has the same."""
    return hashlib.sha256(b"name of the ledger\0" + secret).hexdigest()[:16]


def new_mark(desk: str, name: str, generation: int) -> BackupMark:
    """Return the mark of a generation that was committed just now on this host."""
    return BackupMark(
        desk, name, generation, datetime.now(UTC).isoformat(timespec="seconds"), socket.gethostname()
    )


def places(path: Path) -> tuple[Path, ...]:
    """Return where the marks of the ledger at `path` are: beside it, and in the user's state folder.

    The second one stays when the whole folder is restored. It belongs to one folder of one host and user: a
    copy elsewhere has its own. There is none where the user has no home.
    """
    beside = path.with_name(MARK_NAME)
    state = _state_folder()
    if state is None:
        return (beside,)
    key = hashlib.sha256(os.fsencode(path.parent.resolve())).hexdigest()[:32]
    return (beside, state / "commcast" / "generations" / key)


def read_marks(path: Path, desk: str) -> tuple[BackupMark, ...]:
    """Return the marks of this desk that can be read.

    Read them before the ledger, which may go further meanwhile.
    """
    found = (_read(place) for place in places(path))
    return tuple(mark for mark in found if mark is not None and mark.desk == desk)


def write_marks(path: Path, mark: BackupMark, *, anew: bool = False) -> None:
    """Write a mark, durably; a higher one of the same ledger stays, unless it is set `anew`.

    Raises LedgerError where the one beside the ledger cannot be written. The other one is written where that
    is possible: a user without a home sends all the same.
    """
    beside, *others = places(path)
    with named_errors(beside):
        _write(beside, mark, anew=anew)
    bring_up(others, mark, anew=anew)


def bring_up(marks: Iterable[Path], mark: BackupMark, *, anew: bool = False) -> None:
    """Write a mark to each of these places that takes it."""
    for place in marks:
        if not mark.generation and not place.exists():
            continue  # nothing has been sent: there is nothing to lose yet
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(place, mark, anew=anew)
        except OSError:
            continue  # a second pair of eyes; doctor tells where it is missing


def doubt(path: Path, marks: Iterable[BackupMark], name: str, generation: int) -> str:
    """Return why a ledger is not the one that sent from here last, "" where nothing speaks against it."""
    for mark in marks:
        seen = f"seen {mark.at.replace('T', ' ').replace('+00:00', ' UTC')} on {mark.host}"
        if mark.ledger != name:
            what = f"is another ledger than the one that sent from here last ({seen})"
        elif mark.generation > generation:
            what = (
                f"is older than the ledger that sent from here last (generation {generation}; "
                f"{mark.generation} was {seen}): it looks restored from a backup"
            )
        else:
            continue
        return (
            f"{path}: {what}. Who was told since is not in it, and would be told again: put the newest one "
            "back; or take this one, where all that waits then counts as perhaps told, with: "
            "commcast doctor --adopt-ledger"
        )
    return ""


def _state_folder() -> Path | None:
    """Return where this user's programs keep their state (XDG base directories), None where nowhere."""
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
    """Write in place: less than a sector, its checksum tells where it was torn, and no other file is left."""
    is_new = not place.exists()
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(place, flags, 0o600)
    try:
        there = _parsed(os.pread(handle, _LONGEST, 0))
        if not anew and there and there.ledger == mark.ledger and there.generation >= mark.generation:
            return
        content = _written(mark)
        if os.pwrite(handle, content, 0) != len(content):
            os.pwrite(handle, content, 0)  # the disk filled up in the middle: this says so
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
        return None  # written by a later version, which knows more


def _sum(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()[:16]
