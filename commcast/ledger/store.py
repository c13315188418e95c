"""Opens, makes and adopts a ledger; refuses any that cannot be trusted. The only place that knows SQLite."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, select, text, update
from sqlalchemy.pool import QueuePool

from commcast.errors import LedgerError, TryAgain
from commcast.ledger import schema
from commcast.ledger.troubles import BUSY_SECONDS, named_errors

LEDGER_FOLDER = ".commcast"
LEDGER_NAME = "ledger.db"
_HEADER = b"SQLite format 3\x00"


@dataclass(frozen=True, slots=True)
class Ledger:
    """An open ledger. `secret` keys Message-IDs and erasure hashes.

    Used from one thread at a time; `write` is one durable transaction, `read` sees one consistent state.
    """

    path: Path
    engine: Engine = field(repr=False)
    desk: str
    secret: bytes = field(repr=False)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection in one transaction, committed with fsync at the end, undone on any error.

        Raises TryAgain when the ledger stays locked, LedgerError when it cannot be written.
        """
        with named_errors(self.path), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that only reads."""
        with named_errors(self.path), self.engine.connect() as connection:
            connection.execution_options(commcast_reads=True)
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def ledger_path(folder: Path) -> Path:
    """Return where a folder's ledger is."""
    return folder / LEDGER_FOLDER / LEDGER_NAME


def create_ledger(path: Path, desk: str) -> Ledger:
    """Make a new ledger for `desk`; never over anything that is there.

    It is made under another name and then linked, so that a crash leaves none rather than half of one.
    """
    with named_errors(path):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _check_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=".new-", suffix=".db", dir=path.parent)
        os.close(handle)
        _make(Path(name), path, desk)
    return open_ledger(path, desk)


def open_ledger(path: Path, desk: str) -> Ledger:
    """Open the ledger of `desk` for writing, bringing older tables up to date.

    Raises LedgerError where it is missing, foreign, damaged or newer than this program (exit 3).
    """
    check_file(path)
    return _trusted(path, _engine(path), desk)


@contextmanager
def open_copy(path: Path, desk: str) -> Iterator[Ledger | None]:
    """Yield the ledger for reading, from a private copy that leaves the folder byte-identical.

    SQLite cannot read a write-ahead log without touching its index file; so a preview reads a copy.
    Yields None where there is no ledger.
    """
    if not is_there(path):
        yield None
        return
    check_file(path)
    with _telling_of_copy(path):
        room = tempfile.TemporaryDirectory(prefix="commcast-")
    with room as folder:
        copy = Path(folder) / LEDGER_NAME
        with _telling_of_copy(path):
            _copy(path, copy)
        ledger = _trusted(path, _engine(copy), desk)
        try:
            yield ledger
        finally:
            ledger.close()


def adopt_ledger(path: Path, desk: str) -> Ledger:
    """Make the ledger at `path` this desk's own: a new one where there is none."""
    if not is_there(path):
        return create_ledger(path, desk)
    check_file(path)
    engine = _engine(path)
    with named_errors(path), engine.begin() as connection:
        connection.execute(update(schema.meta).where(schema.meta.c.name == "desk").values(value=desk))
    engine.dispose()
    return open_ledger(path, desk)


def is_there(path: Path) -> bool:
    """Return whether something lies where the ledger goes. Raises LedgerError where it is a link."""
    with named_errors(path):
        if not os.path.lexists(path.parent):
            return False
        _check_folder(path.parent)
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
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise LedgerError(f"{path}: is not a plain file; put the ledger itself there")
    if found.st_uid not in {os.getuid(), 0}:
        raise LedgerError(f"{path}: belongs to another user; run commcast as that user")
    if stat.S_IMODE(found.st_mode) & 0o077 and found.st_uid == os.getuid():
        path.chmod(0o600)
    _check_content(path, found.st_size)


def _check_folder(folder: Path) -> None:
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
    if head[24:28] == head[92:96] and pages * page > size:
        raise LedgerError(f"{path}: is cut short ({size} of {pages * page} bytes); {restore}")


def _make(made: Path, path: Path, desk: str) -> None:
    engine = _engine(made)
    try:
        with engine.begin() as connection:
            _fill(connection, desk)
        engine.dispose()
        os.link(made, path)
    except FileExistsError:
        raise LedgerError(f"{path}: there is a ledger already; nothing was changed") from None
    finally:
        engine.dispose()
        for left in path.parent.glob(made.name + "*"):
            left.unlink()


def _trusted(path: Path, engine: Engine, desk: str) -> Ledger:
    try:
        with named_errors(path):
            kept = _kept(engine, path)
        _check_desk(path, kept.get("desk", ""), desk)
        return Ledger(path, engine, desk, _secret(path, kept))
    except BaseException:
        engine.dispose()  # leaves no log beside a file that is not ours
        raise


def _kept(engine: Engine, path: Path) -> dict[str, str]:
    """Return what the ledger says of itself, its tables brought up to date."""
    with engine.connect() as connection:
        connection.execution_options(commcast_reads=True)
        revision = _revision(connection, path)
    if revision != schema.REVISION:
        _upgrade(engine, path, revision)
    with engine.connect() as connection:
        connection.execution_options(commcast_reads=True)
        return {row.name: row.value for row in connection.execute(select(schema.meta))}


def _check_desk(path: Path, found: str, desk: str) -> None:
    if not desk:
        raise LedgerError(
            "commcast.toml has no desk: it does not say whose ledger to trust; "
            "mend it with: commcast doctor --adopt-ledger"
        )
    if found != desk:
        raise LedgerError(
            f"{path}: is the ledger of another desk ({found[:8]}…, this folder's is {desk[:8]}…); "
            "put the right one there, or take this one with: commcast doctor --adopt-ledger"
        )


def _secret(path: Path, kept: Mapping[str, str]) -> bytes:
    try:
        return bytes.fromhex(kept["secret"])
    except (KeyError, ValueError):
        raise LedgerError(f"{path}: is damaged: its secret is gone; restore it from a backup") from None


def _revision(connection: Connection, path: Path) -> str:
    known = connection.execute(
        text("select count(*) from sqlite_master where name in ('alembic_version', 'meta')")
    ).scalar_one()
    if known != 2:
        raise LedgerError(f"{path}: is a database, but not a ledger of commcast; put the right file there")
    revision = connection.execute(text("select version_num from alembic_version")).scalar_one_or_none()
    if revision is None:
        raise LedgerError(f"{path}: is damaged: it does not say how old it is; restore it from a backup")
    return str(revision)


def _upgrade(engine: Engine, path: Path, revision: str) -> None:
    from commcast.ledger.migrations.upgrade import known_revisions, upgrade

    if revision not in known_revisions():
        raise LedgerError(
            f"{path}: was written by a newer commcast (tables {revision}); upgrade commcast here"
        )
    with engine.begin() as connection:
        upgrade(connection)


def _fill(connection: Connection, desk: str) -> None:
    schema.metadata.create_all(connection)
    connection.execute(text("create table alembic_version (version_num varchar(32) not null primary key)"))
    connection.execute(text("insert into alembic_version values (:revision)"), {"revision": schema.REVISION})
    kept = {"desk": desk, "secret": secrets.token_hex(32), "generation": "0"}
    connection.execute(insert(schema.meta), [{"name": name, "value": value} for name, value in kept.items()])


def _engine(path: Path) -> Engine:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )

    # Kept open: closing the last connection would move the whole log into the ledger each time.
    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=1, max_overflow=2)
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def _set_pragmas(connection: Any, _record: Any) -> None:
    # FULL: a claim is on disk before the first byte leaves; NORMAL in WAL could lose it in a power cut.
    # secure_delete: an erased address is overwritten, not left in a free page.
    for pragma in ("journal_mode=wal", "synchronous=full", "foreign_keys=on", "secure_delete=on"):
        connection.execute(f"pragma {pragma}")


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get("commcast_reads")
    connection.exec_driver_sql("begin" if reads else "begin immediate")


@contextmanager
def _telling_of_copy(path: Path) -> Iterator[None]:
    """Say of a failure that it is the copy's, which lies elsewhere."""
    try:
        yield
    except OSError as error:
        reason = f"cannot be copied to the temporary folder to read it: {error.strerror or error}"
        raise LedgerError(f"{path}: {reason}; make room there, or set TMPDIR to another") from None


def _copy(path: Path, copy: Path) -> None:
    """Copy a ledger and its write-ahead log as one state, also while another process writes."""
    log, copied_log = path.with_name(path.name + "-wal"), copy.with_name(copy.name + "-wal")
    for _ in range(20):
        before = _state(path, log)
        shutil.copyfile(path, copy)
        copied_log.unlink(missing_ok=True)
        if log.exists():
            shutil.copyfile(log, copied_log)
        if _state(path, log) == before:
            return
    raise TryAgain(f"{path}: is being written all the time; try again in a moment")


def _state(path: Path, log: Path) -> tuple[object, ...]:
    """Return what changes when a checkpoint moves the log into the ledger; its growth is no matter."""
    found = path.stat()
    try:
        with log.open("rb") as file:
            salt = file.read(32)
    except FileNotFoundError:
        salt = b""
    return (found.st_mtime_ns, found.st_size, found.st_ino, salt)
