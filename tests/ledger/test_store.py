"""The ledger's file: opened only where it can be trusted, and never replaced by an empty one."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, select, text
from sqlalchemy.exc import OperationalError

from commcast.errors import ExitCode, LedgerError, TryAgain
from commcast.ledger import backups, location, store
from commcast.ledger import tables as schema
from commcast.ledger.releases import released_incident
from commcast.ledger.store import Ledger, adopt_ledger, create_ledger, ledger_path, open_copy, open_ledger
from commcast.ledger.tables import State
from commcast.model.incident import AudienceWords
from commcast.report.reading import read_story
from tests.ledger.conftest import ask, do
from tests.support import desk
from tests.support.desk import DESK, NOW, START, Bench, claim, fill, nothing_can_be_written, states

OTHER_DESK = "0d5e" * 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a ledger that was closed in order."""
    found = ledger_path(tmp_path)
    create_ledger(found, DESK).close()
    return found


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Return size and digest of each file in a folder, also of those that SQLite makes."""
    there = [found for found in (folder.iterdir() if folder.is_dir() else ()) if found.exists()]
    return {found.name: (found.stat().st_size, sha256(found.read_bytes()).hexdigest()) for found in there}


def refused(path: Path, says: str, *how: Callable[[Path, str], Ledger]) -> LedgerError:
    """Expect that a ledger is refused by writer and reader alike, and that its file stays as it is."""
    before = snapshot(path.parent)
    for open_it in (open_ledger, *how):
        with pytest.raises(LedgerError, match=says) as caught:
            open_it(path, DESK)
    if os.path.lexists(path):
        with pytest.raises(LedgerError, match=says), open_copy(path, DESK) as copy:
            raise LedgerError(copy.doubt if copy else "")
    assert snapshot(path.parent) == before
    assert str(caught.value).startswith(f"{path.parent}")
    assert caught.value.exit_code is ExitCode.LEDGER
    return caught.value


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def test_a_missing_ledger_is_never_made_by_opening(tmp_path: Path) -> None:
    path = ledger_path(tmp_path)
    refused(path, "there is no ledger")
    path.parent.mkdir(mode=0o700)
    refused(path, "there is no ledger")
    with open_copy(path, DESK) as ledger:
        assert (ledger, list(path.parent.iterdir())) == (None, [])


def cut(size: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[:size])


def spoil(path: Path, start: int, end: int) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:start] + b"\x55" * len(whole[start:end]) + whole[end:])


def anothers(path: Path) -> None:
    path.unlink()
    change("pragma journal_mode=wal")(path)
    change("create table meta (name, value)")(path)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def change(statement: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with raw(path) as connection:
            connection.execute(statement)

    return apply


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(lambda path: path.write_bytes(b""), "is empty", id="empty"),
        *((cut(size), "is cut short|not an SQLite file") for size in (1, 99, 100, 4096, -4096, -1)),
        pytest.param(lambda path: path.write_bytes(b"title: Card\n" * 99), "not an SQLite file", id="text"),
        pytest.param(lambda path: spoil(path, 100, 4096), "is damaged", id="pages of rubbish"),
        pytest.param(anothers, "not a commcast ledger", id="another program's"),
        pytest.param(change("update alembic_version set version_num = '9999'"), "newer commcast", id="newer"),
        pytest.param(change("delete from alembic_version"), "revision is missing", id="no revision"),
        pytest.param(change("delete from meta where name = 'secret'"), "secret is missing", id="no secret"),
        pytest.param(change("update meta set value = 'x' where name = 'secret'"), "secret is", id="no hex"),
        pytest.param(change("delete from meta"), "generation is missing", id="nothing about itself"),
        (lambda path: adopt_ledger(path, OTHER_DESK).close(), "another desk .0d5e0d5e…, this"),
        pytest.param(lambda path: linked(path.parent), "is a link", id="its folder is a link"),
        pytest.param(linked, "is a link; put the ledger itself there", id="a link"),
        pytest.param(lambda path: path.parent.chmod(0o777), "anybody may write", id="anybody may write"),
    ],
)
def test_a_ledger_that_cannot_be_trusted_is_refused(path: Path, damage: Any, says: str) -> None:
    """And never replaced: an empty file is not taken for a new ledger. No desk is named in full."""
    damage(path)
    before = mode(path.parent)
    assert OTHER_DESK not in str(refused(path, says))
    assert mode(path.parent) == before


def test_damage_behind_the_first_page_is_named_when_it_is_read(path: Path) -> None:
    with closing(open_ledger(path, DESK)) as ledger:
        fill(ledger, [f"{n}@example.com" for n in range(200)])
    with pytest.raises(LedgerError, match="has no desk"):  # a configuration without one trusts no ledger
        open_ledger(path, "")
    spoil(path, 4096 * 3, path.stat().st_size)
    with pytest.raises(LedgerError, match="is damaged"):
        states(open_ledger(path, DESK))


def test_a_link_to_nowhere_is_no_missing_ledger(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one in a folder that nobody may enter."""
    path.unlink()
    path.symlink_to(path.with_name("nowhere.db"))
    refused(path, "is a link; put the ledger itself there", adopt_ledger)
    with pytest.raises(LedgerError):
        create_ledger(path, DESK)
    assert path.is_symlink()
    assert not (path.with_name("nowhere.db")).exists()
    real = Path.lstat

    def refuse(each: Path) -> os.stat_result:
        if each == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(each))
        return real(each)

    monkeypatch.setattr(Path, "lstat", refuse)
    refused(path, "Permission denied", adopt_ledger)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_whatever_the_umask_only_the_owner_can_read(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with closing(create_ledger(ledger_path(tmp_path), DESK)) as ledger:
            fill(ledger, "a")
            found = {each.name: mode(each) for each in ledger.path.parent.iterdir()}
    finally:
        os.umask(before)
    assert found == dict.fromkeys(("generation", "ledger.db", "ledger.db-wal", "ledger.db-shm"), 0o600)
    assert mode(ledger.path.parent) == 0o700
    ledger.path.parent.chmod(0o755)  # and wrong modes are tightened
    ledger.path.chmod(0o644)
    open_ledger(ledger.path, DESK).close()
    assert (mode(ledger.path.parent), mode(ledger.path)) == (0o700, 0o600)


@pytest.mark.parametrize("there", [b"", b"anything at all", b"SQLite format 3\x00"])
def test_a_new_ledger_is_never_made_over_anything(tmp_path: Path, there: bytes) -> None:
    path = ledger_path(tmp_path)
    path.parent.mkdir(mode=0o700)
    path.write_bytes(there)
    with pytest.raises(LedgerError, match="a ledger already exists"):
        create_ledger(path, DESK)
    assert path.read_bytes() == there
    assert [found.name for found in path.parent.iterdir()] == ["ledger.db"]
    path.unlink()
    with pytest.raises(LedgerError), nothing_can_be_written():
        create_ledger(path, DESK)
    assert list(path.parent.iterdir()) == [], "one that could not be made leaves nothing"
    path.parent.rmdir()
    path.parent.write_text("")  # nor where its folder would be
    with pytest.raises(LedgerError):
        create_ledger(path, DESK)


def test_adopting_keeps_all_that_was_said_and_makes_a_ledger_only_where_none_is(path: Path) -> None:
    with closing(open_ledger(path, DESK)) as ledger:
        fill(ledger, "a")
    with closing(adopt_ledger(path, OTHER_DESK)) as adopted:
        assert (states(adopted), adopted.secret) == ({"a": "pending"}, ledger.secret)
    refused(path, "another desk")
    path.unlink()
    with closing(adopt_ledger(path, DESK)) as other:
        assert other.secret != ledger.secret
        assert not any(secret in repr(other) for secret in (other.secret.hex(), repr(other.secret)))
    path.write_bytes(b"")
    refused(path, "is empty", adopt_ledger)


def generations(path: Path) -> list[int]:
    return [mark.generation for mark in backups.read_marks(path, DESK)]


def test_marks_of_the_ledger_and_the_user_tell_a_backup(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is made by the first send only; each is brought up if it is lost, and never lowered."""
    beside, of_user = backups.places(path)
    assert (generations(path), of_user.exists()) == ([0], False)
    open_ledger(path, DESK).close()
    assert not of_user.exists(), "nothing was sent"
    backup = path.read_bytes()
    with closing(open_ledger(path, DESK)) as ledger:
        ledger.rise()
        ledger.rise()
        assert generations(path) == [2, 2]
        ledger.mark(1)
        assert generations(path) == [2, 2]
    for lost in (beside, of_user):
        lost.unlink()
        open_ledger(path, DESK).close()
        assert generations(path) == [2, 2]
    newest, *_ = backups.read_marks(path, DESK)
    monkeypatch.setattr(backups, "gethostname", lambda: "another")
    open_ledger(path, DESK).close()
    assert backups.read_marks(path, DESK)[0] == newest, "and tells when it was sent from, not opened"
    path.write_bytes(backup)
    for mark in (None, beside):
        if mark:
            mark.unlink()
        refused(path, r"generation 0; 2 was seen .* UTC on .*looks restored from a backup")
    adopt_ledger(path, OTHER_DESK).close()
    assert [mark.generation for mark in backups.read_marks(path, OTHER_DESK)] == [1, 1]
    backups.write_marks(path, newest, anew=True)
    path.write_bytes(backup)
    adopt_ledger(path, DESK).close()
    assert generations(path) == [3, 3]
    path.unlink()
    create_ledger(path, DESK).close()  # a new one is not held against the marks of the one before
    assert generations(path) == [0, 0]
    path.write_bytes(backup)
    refused(path, "is not the ledger that last sent from here")
    monkeypatch.setenv("XDG_STATE_HOME", str(path))  # no folder: the user has no place for state
    with closing(adopt_ledger(path, DESK)) as adopted:
        adopted.rise()
    assert generations(path) == [2]


@pytest.mark.parametrize("first", ["", "pragma locking_mode=exclusive"])
def test_a_locked_ledger_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """An offline backup, or a repair, locks it whole."""
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.02)
    ledger = open_ledger(path, DESK)
    if first:
        ledger.close()
    with locked_by_another_process(path, first):
        with pytest.raises(TryAgain, match="in use by another process") as caught, ledger.write():
            pass
        assert caught.value.exit_code is ExitCode.TRY_AGAIN
        if first:
            with pytest.raises(TryAgain):
                open_ledger(path, DESK)
        else:
            assert states(ledger) == {}
    fill(ledger, "a")
    ledger.close()


@contextmanager
def locked_by_another_process(path: Path, first: str = "") -> Iterator[None]:
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute(sys.argv[2]);"
        "c.execute('begin immediate'); c.execute('create table t (a)'); print('locked', flush=True); input()"
    )
    command = [sys.executable, "-c", script, str(path), first]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        try:
            yield
        finally:
            other.kill()


def test_writers_wait_for_each_other_from_their_first_read_on_and_readers_for_nobody(ledger: Ledger) -> None:
    """A transaction that reads first and then writes would fail where another wrote in between."""
    other = open_ledger(ledger.path, DESK)
    with ledger.write() as connection:
        connection.execute(text("select count(*) from delivery")).scalar_one()
        with raw(ledger.path) as second:
            second.execute("pragma busy_timeout=0")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                second.execute("begin immediate")
        connection.execute(text("insert into tick (at, host) values ('x', 'y')"))
        assert states(other) == {}
    fill(other, "a")
    other.close()


@pytest.mark.syncs
def test_every_commit_is_on_disk_before_it_counts(ledger: Ledger) -> None:
    asked = {"synchronous": 2, "journal_mode": "wal", "foreign_keys": 1, "secure_delete": 1}
    for pragma, value in asked.items():
        assert ask(ledger, lambda c, p=pragma: c.execute(text(f"pragma {p}")).scalar_one()) == value


def test_a_full_disk_is_named_with_what_is_free(ledger: Ledger) -> None:
    pages = ask(ledger, lambda c: c.execute(text("pragma page_count")).scalar_one())
    ask(ledger, lambda c: c.execute(text(f"pragma max_page_count = {pages}")))
    with pytest.raises(LedgerError, match=r"disk is full \(\d+ bytes free\)"):
        fill(ledger, [f"{n}@example.com" for n in range(1000)])
    assert states(ledger) == {}
    ask(ledger, lambda c: c.execute(text(f"pragma max_page_count = {pages + 1000}")))
    fill(ledger, "a")


def test_a_disk_that_takes_no_write_leaves_no_claim_and_a_refusal_names_no_address(ledger: Ledger) -> None:
    broadcast = fill(ledger, "a")
    with nothing_can_be_written(), pytest.raises(LedgerError, match="reading or writing failed"):
        claim(ledger, broadcast)
    assert states(ledger) == {"a": "pending"}
    # What the same connection says next is not to be believed: this process writes no more.
    with pytest.raises(LedgerError, match="reading or writing failed"):
        claim(ledger, broadcast)
    ledger.close()
    with closing(open_ledger(ledger.path, DESK)) as another:
        assert len(claim(another, broadcast).claims) == 1
        ask(another, lambda c: c.execute(text("pragma query_only = on")))
        with pytest.raises(LedgerError, match="read-only"):
            fill(another, "b", number=2)
        with pytest.raises(LedgerError) as caught:
            do(another, lambda c: c.execute(text("insert into nowhere values (:who)"), {"who": "ann@acme"}))
        assert "ann@acme" not in str(caught.value)


def test_a_copy_leaves_no_trace(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is private, and gone afterwards; without room, or of what is written constantly, there is none."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "room"))
    (tmp_path / "room").mkdir()
    fill(ledger, "a")
    before = snapshot(ledger.path.parent)
    assert "ledger.db-wal" in before
    with open_copy(ledger.path, DESK) as copy:
        assert copy is not None
        assert copy.path == ledger.path
        assert states(copy) == {"a": "pending"}
        fill(copy, "b", number=2)
        assert list((tmp_path / "room").iterdir()) == []  # nor is there a name now that a kill could leave
    assert snapshot(ledger.path.parent) == before
    assert states(ledger) == {"a": "pending"}
    with pytest.raises(LedgerError), nothing_can_be_written(), open_copy(ledger.path, DESK):
        pass
    with monkeypatch.context() as patched:
        changing, named = iter(range(1000)), list[Path]()

        def state(_path: Path, _log: Path) -> tuple[int]:
            named.extend((tmp_path / "room").iterdir())  # while it is filled
            return (next(changing),)

        patched.setattr(location, "_state", state)
        with pytest.raises(TryAgain, match="written constantly"), open_copy(ledger.path, DESK):
            pass
        assert (next(changing), named) == (40, [])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(LedgerError, match=r"folder to read it: .*TMPDIR"), open_copy(ledger.path, DESK):
        pass


KILLED = """
import os, sys
from pathlib import Path
from tests.support import desk
ledger = desk.open_ledger(Path(sys.argv[1]), sys.argv[2])
for number, who in enumerate("abc", 1):
    desk.fill(ledger, [who], number=number)
raw = ledger.engine.raw_connection().cursor()
raw.execute("pragma cache_size = 5")
raw.execute("begin immediate")  # never committed, and too large to stay out of the log
raw.executemany("insert into meta values (?, ?)", [(f"n{each}", "x" * 900) for each in range(200)])
os._exit(9)
"""


@pytest.mark.parametrize("index", ["of this boot", "of an earlier boot", "none", "none, and a torn log"])
def test_a_copy_shows_what_a_killed_writer_committed_and_touches_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: str
) -> None:
    """It holds what SQLite itself reads there. Nor is it lost to who opens the ledger itself."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(path), DESK]
    assert subprocess.run(command, env=environment, check=False).returncode == 9
    log = path.with_name("ledger.db-wal")
    assert log.stat().st_size > 200_000
    if index == "of an earlier boot":
        monkeypatch.setattr(location, "_is_of_this_boot", lambda _: False)
    elif index.startswith("none"):
        path.with_name("ledger.db-shm").unlink()
    if index.endswith("torn log"):
        os.truncate(log, log.stat().st_size - 1000)
    before = snapshot(path.parent)
    with open_copy(path, DESK) as copy:
        assert copy is not None
        shown = list(copy.engine.raw_connection().driver_connection.iterdump())  # type: ignore[union-attr]
    assert snapshot(path.parent) == before
    shutil.copytree(path.parent, tmp_path / "own")
    with closing(sqlite3.connect(tmp_path / "own" / "ledger.db")) as own:
        assert shown == list(own.iterdump())
    assert states(open_ledger(path, DESK)) == dict.fromkeys("abc", "pending")


@pytest.mark.parametrize("name", ["SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_WRITE", "SQLITE_CANTOPEN"])
def test_a_full_disk_by_other_names(path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Below 128 KiB; what is free is asked of the nearest folder that is there."""
    about = "cannot be opened: check the permissions" if "OPEN" in name else "reading or writing failed"
    assert about in trouble(path, name)
    assert "your yes may" not in trouble(path, name) and "your yes may" in trouble(path, "SQLITE_IOERR_FSYNC")
    asked: dict[Path, int] = {}
    for free in (128 << 10, (128 << 10) - 1):
        monkeypatch.setattr(location, "free_bytes", lambda at, f=free: asked.setdefault(at, f) and f)
        full = f"{path}: the disk is full ({free} bytes free)"
        assert trouble(path, name).startswith(full) is (free < 128 << 10)
    assert list(asked) == [path.parent]
    shutil.rmtree(path.parent)
    assert "the disk is full" in trouble(path, name)
    assert list(asked) == [path.parent, path.parents[1]]
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: path.stat())  # which is not there
    assert about in trouble(path, name)
    assert "the disk is full (free space unknown)" in trouble(path, "SQLITE_FULL")


def trouble(path: Path, name: str) -> str:
    said = sqlite3.OperationalError("unable")
    said.sqlite_errorname = name
    with pytest.raises(LedgerError) as caught, location.named_errors(path):
        raise OperationalError("select 1", {}, said)
    return str(caught.value)


def shape(build: Callable[[Connection], None]) -> set[tuple[str, ...]]:
    """Return every table, column and index that `build` makes, in the database's own words."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        build(connection)
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
        found = connection.execute(text("select type, name, tbl_name, sql from sqlite_master")).all()
    engine.dispose()
    rows = {(r.type, r.name, r.tbl_name, " ".join((r.sql or "").split())) for r in found}
    return {row for row in rows if "alembic_version" not in row[1] + row[2]}


def test_old_ledgers_brought_up_to_date_are_like_new_ones() -> None:
    assert shape(store.upgrade) == shape(schema.metadata.create_all)
    assert schema.REVISION in store.known_revisions()


def test_a_ledger_that_an_earlier_commcast_wrote_goes_on(tmp_path: Path) -> None:
    """A run had died over an incident, another while a list was going in."""
    ledger_path(tmp_path).parent.mkdir(mode=0o700)
    with raw(ledger_path(tmp_path)) as connection:
        connection.execute("pragma journal_mode=wal")
        script = (Path(__file__).parent.parent / "data" / "ledger_0004.sql").read_text()
        connection.executescript(
            script.replace('"words": {}', '"words": {"support": {"issue": "A vendor."}}')
        )
    desk.write_desk(tmp_path, customers=desk.numbered(4))
    end = desk.update_text(START, status="resolved", fixed="The switch.")
    for name, more in {"old1": end, "pay7": "", "dns2": ""}.items():
        desk.write_incident(tmp_path, name, more=more)
    bench = Bench(tmp_path, START + timedelta(minutes=5))
    before = bench.rows()
    assert bench.rows("dns2") == []
    ticked = bench.tick()
    assert (ticked.errors, sorted(ticked.delivered)) == ({}, ["dns2", "pay7"])
    skipped = {("email", "skipped"): 1, ("sms", "skipped"): 1}
    found = Counter((row.channel, row.state.value) for row in bench.rows())
    assert found == {("email", "accepted"): 2, ("email", "unknown"): 2, ("sms", "accepted"): 3, **skipped}
    ended = [row for row in before if row.state in {State.ACCEPTED, State.SKIPPED}]
    assert [row for row in bench.rows() if row in ended] == ended
    assert bench.states("dns2") == {("email", "accepted"): 4, ("sms", "accepted"): 3, **skipped}
    assert (bench.rows("old1"), bench.tick().delivered) == ([], {})
    with bench.ledger.read() as connection:  # with keys that are gone, and without new ones
        kept = released_incident(connection, "old1")
    assert kept and kept.latest.words_in_force == {"support": AudienceWords(issue="A vendor.")}
    check_earlier_words(bench)


def check_earlier_words(bench: Bench) -> None:
    """What was frozen in templates of an earlier form is shown, and its readers get a correction."""
    knowing = {row.address for row in bench.rows() if row.state in {State.ACCEPTED, State.UNKNOWN}}
    wrong, issue = "when they pay by card", "Some customers see an error when they pay by invoice."
    bench.write(issue=issue, corrects="1", wrong=f'"{wrong}"', right='"when they pay by invoice"')
    bench.send()
    with bench.ledger.read() as connection:
        story = read_story(connection, "pay7", bench.now)
    assert story
    assert [wrong in told.text for told in story.tellings] == [True] * 6
    corrected = {row.address for row in bench.rows() if row.notice == "update:2" and not row.reason}
    assert corrected == knowing


def test_an_older_ledger_is_brought_up_to_date_or_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all its rows, as it was."""
    with closing(open_ledger(path, DESK)) as ledger:
        claim(ledger, fill(ledger, "ab"), 1)
    with raw(path) as connection:
        for table in ("judged", "call", "duty", "feedback"):
            connection.execute(f"drop table {table}")
        connection.execute("drop index delivery_composition")
        connection.execute("delete from meta where name = 'generation'")
        connection.execute("update alembic_version set version_num = '0002'")
    upgrade = store.upgrade

    def fail(connection: Connection) -> None:
        upgrade(connection)
        raise sqlite3.OperationalError("no room")

    def found(*wanted: str) -> list[str]:
        with raw(path) as connection:
            return [connection.execute(f"select {each}").fetchone()[0] for each in wanted]

    revision, judged = "version_num from alembic_version", "count(*) from sqlite_master where name = 'judged'"
    monkeypatch.setattr(store, "upgrade", fail)
    with pytest.raises(sqlite3.OperationalError):
        open_ledger(path, DESK)
    assert found(revision, judged) == ["0002", 0]
    monkeypatch.undo()
    with closing(open_ledger(path, DESK)) as upgraded:
        assert (states(upgraded), upgraded.secret) == ({"a": "claimed", "b": "pending"}, ledger.secret)
    assert found(revision, judged, "value from meta where name = 'generation'") == ["0004", 1, "0"]


def test_a_ledger_keeps_aware_times_as_texts_that_sort(ledger: Ledger) -> None:
    berlin = NOW.astimezone(ZoneInfo("Europe/Berlin"))
    do(ledger, lambda c: c.execute(schema.tick.insert().values(at=berlin, host="")))
    assert ask(ledger, lambda c: c.execute(select(schema.tick.c.at)).scalar_one()) == NOW
    kept = ask(ledger, lambda c: c.execute(text("select at from tick")).scalar_one())
    assert kept == schema.stamp(NOW) == "2026-11-21T09:05:00.000000+00:00"
    with pytest.raises(ValueError, match="aware"):
        schema.stamp(NOW.replace(tzinfo=None))
