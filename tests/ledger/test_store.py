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
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, select, text
from sqlalchemy.exc import OperationalError

from commcast.errors import ExitCode, LedgerError, TryAgain
from commcast.ledger import location as copying
from commcast.ledger import store
from commcast.ledger import tables as schema
from commcast.ledger.location import named_errors
from commcast.ledger.migrations.upgrade import known_revisions, upgrade
from commcast.ledger.store import adopt_ledger, create_ledger, ledger_path, open_copy, open_ledger
from commcast.ledger.tables import State
from tests.support.desk import (
    DESK,
    NOW,
    START,
    Bench,
    claim,
    fill,
    nothing_can_be_written,
    numbered,
    states,
    update_text,
    write_desk,
    write_incident,
)

OTHER_DESK = "0d5e" * 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a ledger that was closed in order."""
    found = ledger_path(tmp_path)
    create_ledger(found, DESK).close()
    return found


def refused(path: Path, says: str) -> LedgerError:
    """Expect that a ledger is refused by writer and reader alike, and that its file stays as it is."""
    before = snapshot(path.parent)
    with pytest.raises(LedgerError, match=says) as caught:
        open_ledger(path, DESK)
    if path.exists():
        with pytest.raises(LedgerError, match=says), open_copy(path, DESK):
            pass
    assert snapshot(path.parent) == before
    assert caught.value.exit_code is ExitCode.LEDGER
    return caught.value


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Return size and digest of each file in a folder, also of those that SQLite makes."""
    if not folder.is_dir():
        return {}
    return {
        found.name: (found.stat().st_size, sha256(found.read_bytes()).hexdigest())
        for found in folder.iterdir()
        if found.exists()
    }


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_missing_ledger_is_never_made_by_opening(tmp_path: Path) -> None:
    path = ledger_path(tmp_path)
    refused(path, "there is no ledger")
    path.parent.mkdir(mode=0o700)
    refused(path, "there is no ledger")
    with open_copy(path, DESK) as ledger:
        assert ledger is None
    assert list(path.parent.iterdir()) == []


def cut_short(size: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[:size])


def rubbish(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[100:4096] = b"\x55" * (4096 - 100)
    path.write_bytes(whole)


def anothers(path: Path) -> None:
    path.unlink()
    with raw(path) as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table meta (name, value)")


def moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.symlink_to(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(lambda path: path.write_bytes(b""), "is empty", id="empty"),
        *(
            pytest.param(cut_short(size), "is cut short|not an SQLite file", id=f"cut short at {size}")
            for size in (1, 99, 100, 4096, -4096, -1)
        ),
        pytest.param(
            lambda path: path.write_bytes(b"title: Card payments fail\n" * 100),
            "not an SQLite file",
            id="text",
        ),
        pytest.param(rubbish, "is damaged", id="pages of rubbish"),
        pytest.param(anothers, "not a commcast ledger", id="another program's"),
        pytest.param(
            lambda path: change(path, "update alembic_version set version_num = '9999'"),
            "newer commcast",
            id="a newer program's",
        ),
        pytest.param(moved, "is a link", id="its folder is a link"),
        pytest.param(lambda path: path.parent.chmod(0o777), "anybody may write", id="anybody may write"),
    ],
)
def test_a_ledger_that_cannot_be_trusted_is_refused(
    path: Path, damage: Callable[[Path], object], says: str
) -> None:
    """And never replaced: an empty file is not taken for a new ledger."""
    damage(path)
    before = mode(path.parent)
    refused(path, says)
    assert mode(path.parent) == before


def test_damage_behind_the_first_page_is_named_when_it_is_read(path: Path) -> None:
    ledger = open_ledger(path, DESK)
    fill(ledger, [f"{n}@example.com" for n in range(200)])
    ledger.close()
    whole = bytearray(path.read_bytes())
    whole[4096 * 3 :] = b"\x55" * (len(whole) - 4096 * 3)
    path.write_bytes(whole)
    with pytest.raises(LedgerError, match="is damaged"):
        states(open_ledger(path, DESK))


def test_the_ledger_of_another_desk_is_refused_and_its_name_is_told(path: Path) -> None:
    path.unlink()
    create_ledger(path, OTHER_DESK).close()
    told = str(refused(path, "another desk"))
    assert OTHER_DESK[:8] in told
    assert OTHER_DESK not in told


def test_a_configuration_without_a_desk_trusts_no_ledger(path: Path) -> None:
    with pytest.raises(LedgerError, match="has no desk"):
        open_ledger(path, "")


@pytest.mark.parametrize(
    "damage",
    [
        "delete from meta where name = 'secret'",
        "delete from meta",
        "update meta set value = 'no hex' where name = 'secret'",
        "delete from alembic_version",
    ],
)
def test_a_ledger_that_lost_what_makes_it_one_is_refused(path: Path, damage: str) -> None:
    change(path, damage)
    with pytest.raises(LedgerError):
        open_ledger(path, DESK)


def change(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


def test_a_link_in_place_of_the_ledger_is_refused(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    refused(path, "is a link")
    elsewhere.unlink()  # and a link to nowhere is no missing ledger, which could be made anew
    for refuse in (open_ledger, adopt_ledger):
        with pytest.raises(LedgerError, match="is a link; put the ledger itself there"):
            refuse(path, DESK)
    with pytest.raises(LedgerError, match="is a link"), open_copy(path, DESK):
        pass
    assert path.is_symlink()


def test_wrong_modes_are_tightened(path: Path) -> None:
    path.parent.chmod(0o755)
    path.chmod(0o644)
    open_ledger(path, DESK).close()
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_whatever_the_umask_only_the_owner_can_read(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        ledger = create_ledger(ledger_path(tmp_path), DESK)
        fill(ledger, ["a"])
        found = {each.name: mode(each) for each in ledger.path.parent.iterdir()}
        ledger.close()
    finally:
        os.umask(before)
    assert found == {
        "generation": 0o600,
        "ledger.db": 0o600,
        "ledger.db-wal": 0o600,
        "ledger.db-shm": 0o600,
    }
    assert mode(ledger.path.parent) == 0o700


@pytest.mark.parametrize("there", [b"", b"anything at all", b"SQLite format 3\x00"])
def test_a_new_ledger_is_never_made_over_anything(tmp_path: Path, there: bytes) -> None:
    path = ledger_path(tmp_path)
    path.parent.mkdir(mode=0o700)
    path.write_bytes(there)
    with pytest.raises(LedgerError, match="there is a ledger already"):
        create_ledger(path, DESK)
    assert path.read_bytes() == there
    assert [found.name for found in path.parent.iterdir()] == ["ledger.db"]
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.db")  # nor through a link to nowhere
    with pytest.raises(LedgerError):
        create_ledger(path, DESK)
    assert not (tmp_path / "elsewhere.db").exists()
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("")  # nor where its folder would be
    with pytest.raises(LedgerError):
        create_ledger(path, DESK)


def test_a_ledger_that_could_not_be_made_leaves_nothing(tmp_path: Path) -> None:
    path = ledger_path(tmp_path)
    with pytest.raises(LedgerError), nothing_can_be_written():
        create_ledger(path, DESK)
    assert list(path.parent.iterdir()) == []
    create_ledger(path, DESK).close()


def test_adopting_keeps_all_that_was_said(path: Path) -> None:
    ledger = open_ledger(path, DESK)
    fill(ledger, ["a"])
    ledger.close()
    adopted = adopt_ledger(path, OTHER_DESK)
    assert states(adopted) == {"a": "pending"}
    assert adopted.secret == ledger.secret
    adopted.close()
    refused(path, "another desk")


def test_adopting_makes_a_ledger_only_where_there_is_none(tmp_path: Path) -> None:
    path = ledger_path(tmp_path)
    adopt_ledger(path, DESK).close()
    path.write_bytes(b"")
    with pytest.raises(LedgerError, match="is empty"):
        adopt_ledger(path, DESK)


def test_each_ledger_has_a_secret_of_its_own(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    made = [create_ledger(ledger_path(tmp_path / name), DESK) for name in "ab"]
    assert made[0].secret != made[1].secret
    assert made[0].secret.hex() not in repr(made[0])
    assert repr(made[0].secret) not in repr(made[0])
    for ledger in made:
        ledger.close()


def test_a_ledger_locked_by_another_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.02)
    ledger = open_ledger(path, DESK)
    with locked_by_another_process(path):
        with pytest.raises(TryAgain, match="in use by another process") as caught, ledger.write():
            pass
        assert caught.value.exit_code is ExitCode.TRY_AGAIN
        assert states(ledger) == {}
    fill(ledger, ["a"])
    ledger.close()


def test_a_ledger_locked_whole_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an offline backup or a repair does it."""
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.02)
    with locked_by_another_process(path, "pragma locking_mode=exclusive"), pytest.raises(TryAgain):
        open_ledger(path, DESK)
    open_ledger(path, DESK).close()


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


def test_writers_wait_for_each_other_from_their_first_read_on(path: Path) -> None:
    """A transaction that reads first and then writes would fail where another wrote in between."""
    ledger, other = open_ledger(path, DESK), open_ledger(path, DESK)
    with ledger.write() as connection:
        connection.execute(text("select count(*) from delivery")).scalar_one()
        with raw(path) as second:
            second.execute("pragma busy_timeout=0")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                second.execute("begin immediate")
    fill(other, ["a"])
    ledger.close()
    other.close()


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def test_readers_do_not_wait_for_a_writer(path: Path) -> None:
    ledger, reader = open_ledger(path, DESK), open_ledger(path, DESK)
    with ledger.write() as connection:
        connection.execute(text("insert into tick (at, host) values ('x', 'y')"))
        assert states(reader) == {}
    ledger.close()
    reader.close()


@pytest.mark.syncs
def test_every_commit_is_on_disk_before_it_counts(path: Path) -> None:
    ledger = open_ledger(path, DESK)
    with ledger.read() as connection:
        assert connection.execute(text("pragma synchronous")).scalar_one() == 2
        assert connection.execute(text("pragma journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("pragma foreign_keys")).scalar_one() == 1
        assert connection.execute(text("pragma secure_delete")).scalar_one() == 1
    ledger.close()


def test_a_full_disk_is_named_with_what_is_free(path: Path) -> None:
    ledger = open_ledger(path, DESK)
    with ledger.read() as connection:
        pages = connection.execute(text("pragma page_count")).scalar_one()
        connection.execute(text(f"pragma max_page_count = {pages}"))
    with pytest.raises(LedgerError, match=r"disk is full \(\d+ bytes free\)"):
        fill(ledger, [f"{n}@example.com" for n in range(1000)])
    assert states(ledger) == {}
    with ledger.read() as connection:
        connection.execute(text(f"pragma max_page_count = {pages + 1000}"))
    fill(ledger, ["a"])
    ledger.close()


def test_a_disk_that_takes_no_write_leaves_no_claim(path: Path) -> None:
    ledger = open_ledger(path, DESK)
    broadcast = fill(ledger, ["a"])
    with nothing_can_be_written(), pytest.raises(LedgerError, match="reading or writing failed"):
        claim(ledger, broadcast)
    assert states(ledger) == {"a": "pending"}
    # What the same connection says next is not to be believed: this process writes no more.
    with pytest.raises(LedgerError, match="reading or writing failed"):
        claim(ledger, broadcast)
    ledger.close()
    ledger = open_ledger(path, DESK)
    assert len(claim(ledger, broadcast).claims) == 1
    ledger.close()


def test_a_ledger_that_may_not_be_written_says_so(path: Path) -> None:
    ledger = open_ledger(path, DESK)
    with ledger.read() as connection:
        connection.execute(text("pragma query_only = on"))
    with pytest.raises(LedgerError, match="read-only"):
        fill(ledger, ["a"])
    ledger.close()


def test_what_the_database_refuses_names_no_address(path: Path) -> None:
    ledger = open_ledger(path, DESK)
    with pytest.raises(LedgerError) as caught, ledger.write() as connection:
        connection.execute(text("insert into nowhere values (:who)"), {"who": "ann@example.com"})
    assert "ann@example.com" not in str(caught.value)
    ledger.close()


def test_a_copy_leaves_the_folder_as_it_was_while_a_writer_is_open(path: Path) -> None:
    ledger = open_ledger(path, DESK)
    fill(ledger, ["a"])
    before = snapshot(path.parent)
    assert "ledger.db-wal" in before
    with open_copy(path, DESK) as copy:
        assert copy is not None
        assert copy.path == path
        assert states(copy) == {"a": "pending"}
        fill(copy, ["b"], number=2)
    assert snapshot(path.parent) == before
    assert states(ledger) == {"a": "pending"}
    ledger.close()


def killed_writer(path: Path) -> None:
    """Leave the ledger as a process leaves it that was killed after its commit: with a log beside it."""
    script = (
        "import os, sys; from pathlib import Path; from commcast.ledger.store import open_ledger;"
        "from tests.support.desk import fill;"
        "fill(open_ledger(Path(sys.argv[1]), sys.argv[2]), ['a']); os._exit(9)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script, str(path), DESK], env=environment, check=False)
    assert done.returncode == 9
    assert path.with_name("ledger.db-wal").stat().st_size > 0


def test_a_copy_shows_what_a_killed_writer_committed_and_touches_nothing(path: Path) -> None:
    """Nor is it lost to who opens the ledger itself."""
    killed_writer(path)
    before = snapshot(path.parent)
    with open_copy(path, DESK) as copy:
        assert copy is not None
        assert states(copy) == {"a": "pending"}
    assert snapshot(path.parent) == before
    assert states(open_ledger(path, DESK)) == {"a": "pending"}


def test_a_ledger_that_is_always_being_written_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = iter(range(1000))
    monkeypatch.setattr(copying, "_state", lambda path, log: (next(changing),))
    with pytest.raises(TryAgain, match="written constantly"), open_copy(path, DESK):
        pass


def test_a_copy_that_has_no_room_is_an_error_for_people(path: Path) -> None:
    with pytest.raises(LedgerError), nothing_can_be_written(), open_copy(path, DESK):
        pass


@pytest.mark.parametrize("change_to", ["foreign", "newer", "other"])
def test_what_is_wrong_with_a_ledger_is_said_of_it_and_not_of_its_copy(path: Path, change_to: str) -> None:
    if change_to == "foreign":
        change(path, "drop table meta")
    elif change_to == "newer":
        change(path, "update alembic_version set version_num = '9999'")
    with pytest.raises(LedgerError) as caught, open_copy(path, OTHER_DESK):
        pass
    assert str(caught.value).startswith(f"{path}: ")


def test_a_folder_that_may_not_be_entered_is_an_error_for_people(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.lstat

    def refuse(each: Path) -> os.stat_result:
        if each == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(each))
        return real(each)

    monkeypatch.setattr(Path, "lstat", refuse)
    refused_in_words(path, "Permission denied")


def test_without_a_usable_temporary_folder_nothing_is_read(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(LedgerError, match=r"temporary folder to read it: .*TMPDIR"), open_copy(path, DESK):
        pass


def refused_in_words(path: Path, says: str) -> None:
    for open_it in (open_ledger, adopt_ledger):
        with pytest.raises(LedgerError, match=says):
            open_it(path, DESK)
    with pytest.raises(LedgerError, match=says), open_copy(path, DESK):
        pass


@pytest.mark.parametrize("name", ["SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_WRITE", "SQLITE_CANTOPEN"])
def test_a_full_disk_is_named_whatever_the_database_calls_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    about = {"SQLITE_CANTOPEN": "cannot be opened: check the permissions"}.get(
        name, "reading or writing failed"
    )
    assert about in trouble(path, name)
    usage = shutil.disk_usage(path.parent)._replace(free=8192)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert trouble(path, name).startswith(f"{path}: the disk is full (8192 bytes free)")


def trouble(path: Path, name: str) -> str:
    said = sqlite3.OperationalError("unable")
    said.sqlite_errorname = name
    with pytest.raises(LedgerError) as caught, named_errors(path):
        raise OperationalError("select 1", {}, said)
    return str(caught.value)


def test_the_copy_is_gone_afterwards(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    with open_copy(path, DESK):
        assert [mode(found) for found in room.iterdir()] == [0o700]
    assert list(room.iterdir()) == []


def shape(build: Callable[[Connection], None]) -> set[tuple[str, ...]]:
    """Return every table, column and index that `build` makes, in the database's own words."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        build(connection)
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
        found = connection.execute(
            text("select type, name, tbl_name, sql from sqlite_master where name != 'alembic_version'")
        )
        rows = {(r.type, r.name, r.tbl_name, " ".join((r.sql or "").split())) for r in found}
    engine.dispose()
    return {row for row in rows if "alembic_version" not in row[2]}


def test_old_ledgers_brought_up_to_date_are_like_new_ones() -> None:
    assert shape(upgrade) == shape(schema.metadata.create_all)


def test_todays_tables_have_a_revision_that_is_known() -> None:
    assert schema.REVISION in known_revisions()


def test_an_older_ledger_is_brought_up_to_date_when_it_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or nothing: a step that fails leaves the ledger as it was."""
    from commcast.ledger.migrations import upgrade as steps

    monkeypatch.setattr(schema, "REVISION", "9999")

    def half(connection: Connection) -> None:
        connection.execute(text("create table half (a)"))
        raise sqlite3.OperationalError("no room")

    monkeypatch.setattr(steps, "upgrade", half)
    with pytest.raises(sqlite3.OperationalError):
        open_ledger(path, DESK)
    with raw(path) as connection:
        assert connection.execute("select count(*) from sqlite_master where name = 'half'").fetchone() == (0,)

    def whole(connection: Connection) -> None:
        connection.execute(text("update alembic_version set version_num = '9999'"))

    monkeypatch.setattr(steps, "upgrade", whole)
    open_ledger(path, DESK).close()
    with raw(path) as connection:
        assert connection.execute("select version_num from alembic_version").fetchone() == ("9999",)


def test_a_ledger_that_an_earlier_commcast_wrote_goes_on(tmp_path: Path) -> None:
    """It was written before the files of this program were moved.

    A run had died over an incident, another while a list was going in.
    """
    ledger_path(tmp_path).parent.mkdir(mode=0o700)
    with raw(ledger_path(tmp_path)) as connection:
        connection.execute("pragma journal_mode=wal")
        connection.executescript((Path(__file__).parent.parent / "data" / "ledger_0004.sql").read_text())
    write_desk(tmp_path, customers=numbered(4))
    end = update_text(START, status="resolved", fixed="The switch.")
    for name, more in {"old1": end, "pay7": "", "dns2": ""}.items():
        write_incident(tmp_path, name, more=more)
    bench = Bench(tmp_path, START + timedelta(minutes=5))
    before = bench.rows()
    assert bench.rows("dns2") == []
    ticked = bench.tick()
    assert (ticked.errors, sorted(ticked.delivered)) == ({}, ["dns2", "pay7"])
    found = Counter((row.channel, row.state.value) for row in bench.rows())
    assert found == {
        ("email", "accepted"): 2,
        ("email", "unknown"): 2,
        ("email", "skipped"): 1,
        ("sms", "accepted"): 3,
        ("sms", "skipped"): 1,
    }
    ended = [row for row in before if row.state in {State.ACCEPTED, State.SKIPPED}]
    assert [row for row in bench.rows() if row in ended] == ended
    skipped = {("email", "skipped"): 1, ("sms", "skipped"): 1}
    assert bench.states("dns2") == {("email", "accepted"): 4, ("sms", "accepted"): 3, **skipped}
    assert (bench.rows("old1"), bench.tick().delivered) == ([], {})


def test_a_ledger_of_the_tables_before_is_brought_up_to_date_with_all_its_rows(path: Path) -> None:
    ledger = open_ledger(path, DESK)
    broadcast = fill(ledger, ["a", "b"])
    claim(ledger, broadcast, 1)
    secret = ledger.secret
    ledger.close()
    with raw(path) as connection:
        for table in ("judged", "call", "duty", "feedback"):
            connection.execute(f"drop table {table}")
        connection.execute("drop index delivery_composition")
        connection.execute("delete from meta where name = 'generation'")
        connection.execute("update alembic_version set version_num = '0002'")
    upgraded = open_ledger(path, DESK)
    assert states(upgraded) == {"a": "claimed", "b": "pending"}
    assert upgraded.secret == secret
    with upgraded.read() as connection:
        assert connection.execute(text("select version_num from alembic_version")).scalar_one() == "0004"
        assert connection.execute(text("select count(*) from judged")).scalar_one() == 0
        generation = text("select value from meta where name = 'generation'")
        assert connection.execute(generation).scalar_one() == "0"
    upgraded.close()


def test_a_ledger_keeps_aware_times_as_texts_that_sort(path: Path) -> None:
    ledger = open_ledger(path, DESK)
    berlin = NOW.astimezone(ZoneInfo("Europe/Berlin"))
    with ledger.write() as connection:
        connection.execute(schema.tick.insert().values(at=berlin, host=""))
        assert connection.execute(select(schema.tick.c.at)).scalar_one() == NOW
        kept = connection.execute(text("select at from tick")).scalar_one()
    ledger.close()
    assert kept == schema.stamp(NOW) == "2026-11-21T09:05:00.000000+00:00"
    with pytest.raises(ValueError, match="aware"):
        schema.stamp(NOW.replace(tzinfo=None))
