"""Opens, creates and adopts a ledger; refuses one that can't be trusted."""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, select, text, update
from sqlalchemy.pool import QueuePool

from commcast.errors import LedgerError
from commcast.files import sign_of
from commcast.ledger import tables
from commcast.ledger.backups import (
    BackupMark,
    bring_up,
    doubt,
    name_of,
    new_mark,
    places,
    read_marks,
    write_marks,
)
from commcast.ledger.location import (
    BUSY_SECONDS,
    FailedDisk,
    check_file,
    check_folder,
    copy_ledger,
    gone_meanwhile,
    is_there,
    lost_commits,
    named_errors,
    telling_of_copy,
)

if TYPE_CHECKING:
    from alembic.config import Config as AlembicConfig


def read_identity(engine: Engine, path: Path) -> dict[str, str]:
    """Bring the tables up to date; return the ledger's names and values about itself."""
    with engine.connect() as connection:
        connection.execution_options(commcast_reads=True)
        revision = _revision(connection, path)
    if revision != tables.REVISION:
        _upgrade(engine, path, revision)
    with engine.connect() as connection:
        connection.execution_options(commcast_reads=True)
        kept = {row.name: row.value for row in connection.execute(select(tables.meta))}
    if not kept.get("generation", "").isdecimal():
        raise LedgerError(f"{path}: is damaged: its generation is missing; restore it from a backup")
    return kept


def check_desk(path: Path, found: str, desk: str) -> None:
    """Raise LedgerError if the ledger belongs to another desk, or commcast.toml names no desk."""
    if not desk:
        raise LedgerError(
            "commcast.toml has no desk: it doesn't say which ledger to trust; "
            "fix it with: commcast doctor --adopt-ledger"
        )
    if found != desk:
        raise LedgerError(
            f"{path}: is the ledger of another desk ({found[:8]}…, this folder's is {desk[:8]}…); "
            "put the right one there, or adopt this one with: commcast doctor --adopt-ledger"
        )


def secret_of(path: Path, kept: Mapping[str, str]) -> bytes:
    """Return a ledger's secret. Raises LedgerError if it is missing."""
    try:
        return bytes.fromhex(kept["secret"])
    except (KeyError, ValueError):
        raise LedgerError(f"{path}: is damaged: its secret is missing; restore it from a backup") from None


def _revision(connection: Connection, path: Path) -> str:
    known = connection.execute(
        text("select count(*) from sqlite_master where name in ('alembic_version', 'meta')")
    ).scalar_one()
    if known != 2:
        raise LedgerError(f"{path}: is a database, but not a commcast ledger; put the right file there")
    revision = connection.execute(text("select version_num from alembic_version")).scalar_one_or_none()
    if revision is None:
        raise LedgerError(f"{path}: is damaged: its revision is missing; restore it from a backup")
    return str(revision)


def _upgrade(engine: Engine, path: Path, revision: str) -> None:
    if revision not in known_revisions():
        raise LedgerError(
            f"{path}: was written by a newer commcast (tables {revision}); upgrade commcast here"
        )
    with engine.begin() as connection:
        upgrade(connection)


def known_revisions() -> frozenset[str]:
    """Return the revisions this program can start from."""
    from alembic.script import ScriptDirectory

    return frozenset(step.revision for step in ScriptDirectory.from_config(_steps()).walk_revisions())


def upgrade(connection: Connection) -> None:
    """Run every step that the ledger has not had; the caller's transaction makes it all or nothing."""
    from alembic import command

    config = _steps()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _steps() -> AlembicConfig:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


LEDGER_FOLDER = ".commcast"
LEDGER_NAME = "ledger.db"


@dataclass(frozen=True, slots=True)
class Ledger:
    """An open ledger. `secret` is the key for Message-IDs and erasure hashes.

    `doubt` says why a copy for reading must not be sent from, "" if nothing speaks against it; a ledger open
    for writing has none. `file` is what is open: `path`, or its copy; `inode` is its number on the disk.
    Use it from one thread at a time; `write` is one durable transaction, `read` sees one consistent state.
    """

    path: Path
    engine: Engine = field(repr=False)
    desk: str
    secret: bytes = field(repr=False)
    file: Path
    doubt: str = ""
    inode: int = 0
    _failed: list[FailedDisk] = field(default_factory=list, repr=False)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection in one transaction, committed with fsync at the end, rolled back on any error.

        Raises TryAgain if the ledger stays locked, LedgerError if it can't be written; and always once the
        disk has failed.
        """
        if self._failed:
            raise self._failed[0]
        with self.naming_errors():
            with self.engine.begin() as connection:
                yield connection
            if not self._is_in_place:
                raise LedgerError("")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that only reads. Raises LedgerError if the ledger can't be read."""
        with self.naming_errors(), self.engine.connect() as connection:
            connection.execution_options(commcast_reads=True)
            yield connection

    def rise(self) -> None:
        """Raise the generation by one, so that an older copy of this ledger is recognised.

        Call it before the first message of a run leaves, and after the last. Raises like `write`, and
        LedgerError if the mark beside the ledger can't be written.
        """
        with self.write() as connection:
            generation = raise_generation(connection)
        self.mark(generation)

    def mark(self, generation: int) -> None:
        """Write a committed generation to the ledger's marks. Raises LedgerError."""
        write_marks(self.path, new_mark(self.desk, name_of(self.secret), generation))

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def naming_errors(self) -> Iterator[None]:
        """Turn errors of the file into LedgerError or TryAgain; never use a failed disk again."""
        try:
            with named_errors(self.path, None if self.file == self.path else self.file):
                yield
        except LedgerError as error:
            found = error if self._is_in_place else gone_meanwhile(self.path)
            if isinstance(found, FailedDisk):
                self._failed.append(found)
                self.engine.dispose()  # what such a connection says next can't be trusted
            raise found from None

    @property
    def _is_in_place(self) -> bool:
        """Whether what is open can still be found; what is written to a file without a name is lost."""
        return sign_of(self.file)[1] == self.inode


def ledger_path(folder: Path) -> Path:
    """Return where a folder's ledger is."""
    return folder / LEDGER_FOLDER / LEDGER_NAME


def create_ledger(path: Path, desk: str) -> Ledger:
    """Create a new ledger for `desk`. Raises LedgerError if anything is there already.

    It is made under another name and then linked, so that a crash leaves no ledger rather than half of one.
    """
    _create(path, desk, None)
    return open_ledger(path, desk)


def open_ledger(path: Path, desk: str) -> Ledger:
    """Open the ledger of `desk` for writing, bringing older tables up to date.

    Raises LedgerError if it is missing, another desk's, damaged or newer than this program (exit 3).
    """
    check_file(path)
    if lost_commits(path):
        raise LedgerError(_lost(path))  # opening it with SQLite would wipe out every trace
    marks = read_marks(path, desk)
    ledger = _opened(path, path, desk)
    try:
        if why := _doubt(ledger, marks, lost=False):
            raise LedgerError(why)
        _bring_up(ledger)
    except BaseException:
        ledger.close()
        raise
    return ledger


@contextmanager
def open_copy(path: Path, desk: str, *, any_desk: bool = False) -> Iterator[Ledger | None]:
    """Yield a private copy of the ledger for reading, None if there is no ledger.

    SQLite can't read a write-ahead log without touching its index file; with a copy the folder stays
    byte-identical. The copy loses its name before it is filled, so that no kill can leave it behind. With
    `any_desk` another desk's ledger is accepted.
    """
    if not is_there(path):
        yield None
        return
    check_file(path)
    lost, marks = lost_commits(path), read_marks(path, desk)
    with ExitStack() as stack:
        with telling_of_copy(path):
            handle, name = tempfile.mkstemp(prefix="commcast-")
            with os.fdopen(handle, "wb") as copy:
                nameless = [stack.enter_context(closing(_connect(Path(name)))) for _ in range(_AT_A_TIME)]
                Path(name).unlink()
                copy_ledger(path, copy)
        ledger = _opened(path, Path(name), None if any_desk else desk, nameless)
        stack.callback(ledger.close)
        yield replace(ledger, doubt=_doubt(ledger, marks, lost=lost))


def check_sound(ledger: Ledger) -> None:
    """Read every page of a ledger. Raises LedgerError if they are inconsistent."""
    with ledger.read() as connection:
        said = connection.execute(text("pragma quick_check(1)")).scalar_one()
    if said != "ok":
        raise LedgerError(f"{ledger.path}: is damaged ({said}); restore it from a backup")


def adopt_ledger(path: Path, desk: str, record: Callable[[Connection, str], None] | None = None) -> Ledger:
    """Make the ledger at `path` this desk's own; create one if there is none.

    `record` runs in the same transaction and records what the adoption means; its text says why the ledger
    could not be trusted, "" if nothing spoke against it.
    """
    if not is_there(path):
        _create(path, desk, record)
        return open_ledger(path, desk)
    check_file(path)
    lost, marks = lost_commits(path), read_marks(path, desk)
    if lost:
        # Opening it wipes out the trace: until the adoption is complete, this mark keeps it untrusted.
        write_marks(path, new_mark(desk, "a damaged one", 0), anew=True)
    ledger = _opened(path, path, None)
    try:
        with ledger.write() as connection:
            connection.execute(update(tables.meta).where(tables.meta.c.name == "desk").values(value=desk))
            name = name_of(ledger.secret)
            why = _doubt(ledger, marks, lost=lost)
            seen = max([mark.generation for mark in marks if mark.ledger == name], default=0)
            generation = raise_generation(connection, seen)
            if record:
                record(connection, why)
        # Last, so that an untrusted ledger stays untrusted until everything is recorded.
        write_marks(path, new_mark(desk, name, generation), anew=True)
    finally:
        ledger.close()
    return open_ledger(path, desk)


def _doubt(ledger: Ledger, marks: Sequence[BackupMark], *, lost: bool) -> str:
    """Return why a ledger must not be sent from, "" if nothing speaks against it."""
    if lost:
        return _lost(ledger.path)
    with ledger.read() as connection:
        generation = _generation(connection)
    return doubt(ledger.path, marks, name_of(ledger.secret), generation)


def _lost(path: Path) -> str:
    return (
        f"{path}: its log (ledger.db-wal) is damaged or missing, and with it the latest records. Readers "
        "told then would be told again: put an intact one back; or adopt this one (all waiting "
        "messages then count as possibly sent) with: commcast doctor --adopt-ledger"
    )


def _generation(connection: Connection) -> int:
    value = connection.execute(select(tables.meta.c.value).where(tables.meta.c.name == "generation"))
    return int(value.scalar_one())


def raise_generation(connection: Connection, above: int = 0) -> int:
    """Raise the generation above its value and `above`; return it."""
    generation = max(_generation(connection), above) + 1
    connection.execute(
        update(tables.meta).where(tables.meta.c.name == "generation").values(value=str(generation))
    )
    return generation


def _bring_up(ledger: Ledger) -> None:
    """Bring each mark up to date: another user may have sent, or the mark may have been lost."""
    with ledger.read() as connection:
        generation = _generation(connection)
    if generation:
        mark = new_mark(ledger.desk, name_of(ledger.secret), generation)
        bring_up(places(ledger.path), mark)


def _create(path: Path, desk: str, record: Callable[[Connection, str], None] | None) -> None:
    with named_errors(path):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        check_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=".new-", suffix=".db", dir=path.parent)
        os.close(handle)
        secret = _make(Path(name), path, desk, record)
    # Also replaces the marks of an earlier ledger.
    write_marks(path, new_mark(desk, name_of(secret), 0), anew=True)


def _make(made: Path, path: Path, desk: str, record: Callable[[Connection, str], None] | None) -> bytes:
    engine = _engine(made)
    secret = secrets.token_bytes(32)
    try:
        with engine.begin() as connection:
            _fill(connection, desk, secret)
            if record:
                record(connection, "")
        engine.dispose()
        os.link(made, path)
    except FileExistsError:
        raise LedgerError(f"{path}: a ledger already exists; nothing was changed") from None
    finally:
        engine.dispose()
        for left in path.parent.glob(made.name + "*"):
            left.unlink()
    return secret


def _opened(path: Path, file: Path, desk: str | None, nameless: Sequence[sqlite3.Connection] = ()) -> Ledger:
    """Open `file` as the ledger at `path`; with None for `desk`, any desk's.

    `nameless` are the connections to a copy, which has no name any more.
    """
    engine = _engine(file, nameless)
    try:
        with named_errors(path, None if file == path else file):
            kept = read_identity(engine, path)
        if desk is not None:
            check_desk(path, kept.get("desk", ""), desk)
        desk = kept.get("desk", "")
        return Ledger(path, engine, desk, secret_of(path, kept), file, inode=sign_of(file)[1])
    except BaseException:
        engine.dispose()  # leaves no log beside a file that is not ours
        raise


def _fill(connection: Connection, desk: str, secret: bytes) -> None:
    tables.metadata.create_all(connection)
    connection.execute(text("create table alembic_version (version_num varchar(32) not null primary key)"))
    connection.execute(text("insert into alembic_version values (:revision)"), {"revision": tables.REVISION})
    kept = {"desk": desk, "secret": secret.hex(), "generation": "0"}
    connection.execute(insert(tables.meta), [{"name": name, "value": value} for name, value in kept.items()])


_AT_A_TIME = 3  # connections


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _engine(path: Path, nameless: Sequence[sqlite3.Connection] = ()) -> Engine:
    # Pooled, because closing the last connection moves the whole log into the ledger.
    creator = iter(nameless).__next__ if nameless else partial(_connect, path)
    kept = _AT_A_TIME if nameless else 1
    size = {"poolclass": QueuePool, "pool_size": kept, "max_overflow": _AT_A_TIME - kept}
    engine = create_engine("sqlite://", creator=creator, **size)
    # A signal while a connection is returned is raised anyway: the pool's own traceback is noise.
    logging.getLogger("sqlalchemy.pool").addHandler(logging.NullHandler())
    event.listen(engine, "connect", partial(_set_pragmas, "memory" if nameless else "wal"))
    event.listen(engine, "begin", _begin)
    return engine


def _set_pragmas(journal: str, connection: Any, _record: Any) -> None:
    # FULL: a claim is on disk before the first byte leaves; NORMAL in WAL could lose it in a power cut.
    # secure_delete: an erased address is overwritten, not left in a free page.
    for pragma in (f"journal_mode={journal}", "synchronous=full", "foreign_keys=on", "secure_delete=on"):
        connection.execute(f"pragma {pragma}")


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get("commcast_reads")
    connection.exec_driver_sql("begin" if reads else "begin immediate")
