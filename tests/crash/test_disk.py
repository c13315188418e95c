"""The disk: full, failing, read-only, damaged, restored from a backup, and as a power cut leaves it.

Nobody is told twice and nobody is lost; a ledger that cannot be trusted is named, and never sent from. Small
file systems are mounted, which takes root.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from commcast.ledger.backups import places
from tests.crash import faults, harness
from tests.crash.faults import Faults
from tests.crash.harness import KILLED, ROUNDS, SEND, Children, Run, broken_rules, check_finished, interrupt
from tests.crash.services import Desk, Service, outbox, smtp
from tests.crash.tracing import Disk, recording, strace
from tests.support.terminal import every_byte

TRY_AGAIN, UNTRUSTED = 75, 3
KIB = 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with harness.small_disk(tmp_path / "disk") as mounted:
        yield mounted


# Full


@pytest.mark.parametrize("kind", ["files", "mails"])
def test_a_full_disk_is_named_and_room_is_enough(kind: str, disk: Path, folder: Path, runs: Children) -> None:
    """Sampled over the bytes that are free; every second run is killed as well, on the full disk."""
    chance = random.Random(20261122)
    with outbox() as files, smtp() as mails:
        service = files if kind == "files" else mails
        struck: Counter[str] = Counter()
        for number in count():
            desk = service.desk(disk / f"full{number}", 16)
            kill_at = chance.randint(1, 150) if number % 2 else 0
            full = Faults(str(folder / f"{kind}{number}.passages"), kill_at=kill_at)
            with harness.filled(disk, number * 12 * KIB):
                ended = runs.do(desk.folder, *SEND, faults=full)
            assert ended.code in {KILLED, 0, 1, 2, UNTRUSTED, TRY_AGAIN}, ended.said  # 2: the incident's file
            if ended.code == UNTRUSTED:
                assert str(desk.folder) in ended.said
                assert "the disk is full" in ended.said, ended.said
                assert "bytes free); make room and run the same command again" in ended.said
            if ended.code != KILLED:
                harness.check_all_recorded(desk)
            began = desk.addresses("accepted", "claimed", "unknown")
            struck["in the middle" if began else "before the first"] += ended.code != 0
            struck["named"] += ended.code == UNTRUSTED
            if ended.code == 0 and not kill_at:
                break  # so much room is enough
            codes = runs.run(desk.folder, Run())
            assert (number, ended.code, broken_rules(desk, codes)) == (number, ended.code, [])
            shutil.rmtree(desk.folder)
    assert min(struck[name] for name in ("before the first", "in the middle", "named")) > 0


def test_a_desk_that_finds_no_room_is_not_half_made(disk: Path, runs: Children) -> None:
    for left in (0, 16, 64, 96):
        with harness.filled(disk, left * KIB):
            ended = runs.do(disk, "init", f"d{left}")
            assert ended.code in {2, 3}, ended.said
            assert "disk is full" in ended.said or "No space left" in ended.said
            assert not (disk / f"d{left}" / "commcast.toml").exists() or left == 96
    assert runs.do(disk, "init", "d0").code == 0


def test_where_room_for_the_copy_is_wanted_is_named(disk: Path, desk: Desk, runs: Children) -> None:
    assert runs.do(desk.folder, *SEND).code == 0
    with harness.filled(disk, 32 * KIB):
        ended = runs.do(desk.folder, "status", room=str(disk))
        assert ended.code == UNTRUSTED
        assert ended.said.startswith(f"{desk.ledger}: ")
        assert str(disk) in ended.said and "TMPDIR" in ended.said
    assert runs.do(desk.folder, "status").code == 0


# Failing

WRITES, SYNCS, SIZES = "pwrite64,write", "fsync,fdatasync", "ftruncate,fallocate"


def traced(desk: Desk, log: Path, calls: str, *options: str) -> list[str]:
    """Return a strace that looks at these calls on the ledger's own files only."""
    names = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db-journal", "generation")
    of_ledger = [option for name in names for option in ("-P", str(desk.ledger.with_name(name)))]
    return strace("-o", str(log), *of_ledger, "-e", f"trace={calls}", *options)


@pytest.mark.parametrize(
    ("calls", "error"), [(SYNCS, "EIO"), (WRITES, "EIO"), (WRITES, "ENOSPC"), (SIZES, "EIO")]
)
def test_a_call_that_fails_ends_the_run_and_the_next_one_finishes(
    calls: str, error: str, tmp_path: Path, mail: Service, runs: Children
) -> None:
    """Sampled over the calls, which a run without a fault counts.

    A second fsync may succeed although what the first was for is lost: nothing is built on it.
    """
    log, whole = tmp_path / "strace", mail.desk(tmp_path / "whole", 41)
    assert runs.do(whole.folder, *SEND, trace=traced(whole, log, calls)).code == 0
    made = sum(" = " in line for line in log.read_text().splitlines())
    assert made, "the run made none of these calls"
    noticed = ""
    for when in sorted({1, 2, made // 3, made * 2 // 3, max(made - 4, 1), made} - {0}):
        desk = mail.desk(tmp_path / f"n{when}", 41)
        inject = ("-e", f"inject={calls}:error={error}:when={when}")
        ended = runs.do(desk.folder, *SEND, trace=traced(desk, log, calls, *inject))
        assert "(INJECTED)" in log.read_text() or ended.code == 0
        # 0: it struck while the log was moved into the ledger, where it stays until a later time.
        assert ended.code in {0, UNTRUSTED}, ended.said
        if ended.code == UNTRUSTED:
            noticed += ended.said
            assert str(desk.ledger.parent) in ended.said
            end = "run the same command again; nothing unrecorded was sent"
            assert re.search(f"(failed|disk is full).*{end}", ended.said), ended.said
        harness.check_all_recorded(desk)
        check_finished(desk, runs.do(desk.folder, *SEND), kills=1)
    assert "SQLITE_IOERR_FSYNC" in noticed if calls == SYNCS else noticed


# As a power cut leaves it: of each file what its last fsync made durable


def cut_power(desk: Desk, kill: Faults, trace: Path, runs: Children) -> int | None:
    """Run to a kill and leave of the ledger what was synced by then.

    Return how often it was synced, None if the run ended before the kill.
    """
    disk = Disk([desk.ledger, desk.log])
    code = runs.do(desk.folder, *SEND, faults=kill, trace=recording(trace)).code
    if code == 0:
        return None
    assert code == KILLED
    disk.replay(trace)
    desk.ledger.with_name("ledger.db-shm").unlink(missing_ok=True)
    disk.cut_the_power()
    return disk.syncs


@pytest.mark.parametrize("variant", ["", "skips the fsync"])
def test_a_power_cut_after_any_send_tells_nobody_twice(variant: str, tmp_path: Path, runs: Children) -> None:
    """Sampled over the sends. A program that skips the fsync is caught.

    It tells somebody twice, unless the ledger's mark, which is synced by itself, shows what it lost.
    """
    broken, in_doubt, cuts = Counter[str](), 0, max(3, int(6 * ROUNDS))
    with smtp(pipelining=True) as service:
        whole = service.desk(tmp_path / "whole")
        passages = whole.folder / "passages"
        assert runs.run(whole.folder, Run(faults=Faults(str(passages)))) == [0]
        sends = passages.read_text().splitlines().count("after send")
        for cut in range(1, cuts + 1):
            at, syncs = cut * sends // cuts + 1, None
            while syncs is None:  # a run may need fewer sends than the first did: then at its last one
                at -= 1
                desk = service.desk(tmp_path / f"cut{cut}-{at}")
                kill = Faults(str(desk.folder / "passages"), kill_at=at, of="after send", variant=variant)
                syncs = cut_power(desk, kill, tmp_path / f"cut{cut}-{at}.trace", runs)
            assert variant or syncs >= 3
            broken.update(broken_rules(desk, runs.run(desk.folder, Run())))
            in_doubt += len(desk.unknown())
    if variant:
        assert broken[harness.TWICE] + broken[harness.CODE] > 0
    else:
        assert not broken
        assert in_doubt > 0


def test_a_yes_that_was_committed_outlives_a_power_cut(tmp_path: Path, mail: Service, runs: Children) -> None:
    whole, passages = mail.desk(tmp_path / "whole", 3), tmp_path / "passages"
    assert runs.do(whole.folder, *SEND, faults=faults.statement(0, passages)).code == 0
    *before, after = harness.transaction_with(passages.read_text().splitlines(), "insert into release")
    for number in (before[-1], after):
        desk = mail.desk(tmp_path / f"yes{number}", 3)
        kill = faults.statement(number, desk.folder / "passages")
        assert cut_power(desk, kill, tmp_path / f"{number}.trace", runs) is not None
        runs.do(desk.folder, "tick")
        assert bool(desk.got()) == (number == after)
        check_finished(desk, runs.do(desk.folder, *SEND))


# Damaged, or not to be written


def flipped(path: Path, start: int, length: int = 512) -> None:
    raw = bytearray(path.read_bytes())
    raw[start : start + length] = bytes(byte ^ 0x5A for byte in raw[start : start + length])
    path.write_bytes(raw)


def page_of_deliveries(path: Path) -> int:
    """Return where the first page begins that holds deliveries."""
    return path.read_bytes().index(b"update:1email") // 4096 * 4096


DAMAGE: dict[str, Callable[[Path], object]] = {
    "header": lambda path: flipped(path, 0, 64),
    "a page of deliveries": lambda path: flipped(path, page_of_deliveries(path), 64),
    "zero length": lambda path: path.write_bytes(b""),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "one page less": lambda path: os.truncate(path, path.stat().st_size - 4096),
    "gone": lambda path: path.unlink(),
}


def half_sent(desk: Desk, runs: Children) -> None:
    """Let a run be ended in the middle, its ledger closed in order."""
    assert interrupt(desk, runs, signal.SIGTERM).code == 143


def killed(desk: Desk, runs: Children) -> None:
    """Let a run be killed in the middle; its log stays beside the ledger."""
    assert interrupt(desk, runs, signal.SIGKILL).code == KILLED
    assert desk.log.stat().st_size > 4096


def test_a_damaged_ledger_is_never_sent_from_and_its_backup_finishes(desk: Desk, runs: Children) -> None:
    half_sent(desk, runs)
    kept = desk.folder.with_name("kept.db")
    shutil.copyfile(desk.ledger, kept)
    told = desk.got()
    assert 0 < len(told) < len(desk.people)
    for name, damage in DAMAGE.items():
        shutil.copyfile(kept, desk.ledger)
        damage(desk.ledger)
        for command in (SEND, ("tick",), ("resume", "pay7"), ("doctor",)):
            ended = runs.do(desk.folder, *command)
            assert ended.code == UNTRUSTED, (name, command, ended.said)
            assert f"{desk.ledger}: " in ended.said, (name, ended.said)
            assert "restore it from a backup" in ended.said, (name, ended.said)
        assert desk.got() == told, f"{name}: something was sent"
    shutil.copyfile(kept, desk.ledger)
    check_finished(desk, runs.do(desk.folder, *SEND))


@pytest.mark.parametrize("damage", ["first frame", "last frame", "cut", "empty", "gone"])
def test_a_log_that_lost_records_is_not_sent_from(damage: str, desk: Desk, runs: Children) -> None:
    """SQLite takes the rest of such a log for never written: everybody in it would be told again."""
    killed(desk, runs)
    told, log = desk.got(), desk.log
    size = log.stat().st_size
    if damage == "gone":
        log.unlink()
    elif damage in {"cut", "empty"}:
        os.truncate(log, size - 3 * 4120 if damage == "cut" else 0)
    else:
        flipped(log, 32 + 24 + 100 if damage == "first frame" else size - 2000)
    for command in (SEND, ("tick",)):
        ended = runs.do(desk.folder, *command)
        assert ended.code == UNTRUSTED, ended.said
        assert "ledger.db-wal" in ended.said or "is cut short" in ended.said
    assert desk.got() == told
    if "is cut short" in ended.said:
        return  # only a backup helps
    adopted = runs.do(desk.folder, "doctor", "--adopt-ledger", "--yes")
    assert "is the ledger of desk" in adopted.said
    for command in (SEND, ("tick",)):
        assert runs.do(desk.folder, *command).code in {0, 1}
    assert set(desk.got().values()) == {1}


@pytest.mark.parametrize("what", ["ledger", "folder", "log"])
def test_what_may_not_be_written_is_named(what: str, desk: Desk, runs: Children) -> None:
    (half_sent if what == "folder" else killed)(desk, runs)  # into the folder, a log has to be made
    path = {"ledger": desk.ledger, "folder": desk.ledger.parent, "log": desk.log}[what]
    told = desk.got()
    path.chmod(0o500 if what == "folder" else 0o400)
    ended = runs.do(desk.folder, *SEND, obeys_modes=True)
    assert ended.code == UNTRUSTED, ended.said
    assert str(desk.ledger) in ended.said
    assert "read-only" in ended.said or "look at the rights" in ended.said, ended.said
    assert desk.got() == told
    path.chmod(0o700 if what == "folder" else 0o600)
    check_finished(desk, runs.do(desk.folder, *SEND), kills=1)


def test_a_read_only_file_system_is_named(disk: Path, mail: Service, runs: Children) -> None:
    desk = mail.desk(disk / "desk", 41)
    harness.make_read_only(disk, read_only=True)
    ended = runs.do(desk.folder, *SEND)
    assert ended.code == UNTRUSTED, ended.said
    assert f"{desk.ledger}: " in ended.said
    assert "read-only" in ended.said
    assert not desk.got()
    assert runs.do(desk.folder, "status").code == 0
    harness.make_read_only(disk, read_only=False)
    check_finished(desk, runs.do(desk.folder, *SEND))


# Restored from a backup: noticed before anybody is told twice, taken only by a person

RESTORED = "it looks restored from a backup"
ADOPT = ("doctor", "--adopt-ledger", "--yes")


def check_refused(desk: Desk, runs: Children) -> None:
    told = desk.got()
    for command in (SEND, ("tick",), ("resume", "pay7"), ("stop", "pay7"), ("doctor",)):
        ended = runs.do(desk.folder, *command)
        assert ended.code == UNTRUSTED, (command, ended.said)
        assert f"{desk.ledger}: " in ended.said
        assert RESTORED in ended.said
        assert "commcast doctor --adopt-ledger" in ended.said
    assert desk.got() == told


@pytest.mark.parametrize("what", ["ledger", "folder"])
def test_of_a_restored_ledger_nothing_is_sent_twice(what: str, desk: Desk, runs: Children) -> None:
    """Nothing at all until a person takes it."""
    half_sent(desk, runs)
    waited = desk.states()["pending"]
    assert waited > 0
    backup = desk.folder.with_name("backup")
    shutil.copytree(desk.folder, backup)
    check_finished(desk, runs.do(desk.folder, "tick"))

    def put_back() -> None:
        if what == "folder":
            shutil.rmtree(desk.folder)
            shutil.copytree(backup, desk.folder)
        else:
            shutil.copyfile(backup / ".commcast" / "ledger.db", desk.ledger)
        check_refused(desk, runs)

    put_back()
    looked_at = every_byte(desk.folder)
    for command in (("status",), ("tick", "--dry-run"), ("log", "pay7"), ("send", "pay7", "--dry-run")):
        ended = runs.do(desk.folder, *command)
        assert ended.code == (3 if command[0] in {"status", "tick"} else 0), ended.said
        assert RESTORED in ended.said
    assert runs.do(desk.folder, "doctor", "--adopt-ledger").code == 5
    assert every_byte(desk.folder) == looked_at
    adopted = runs.do(desk.folder, *ADOPT)
    assert f"{waited} pending deliveries are now unknown" in adopted.said
    for command in (("tick",), SEND):
        assert runs.do(desk.folder, *command).code in {0, 1}
    assert set(desk.got().values()) == {1}, "somebody was told twice"
    assert desk.states()["unknown"] == waited
    assert f"{waited} readers  ledger restored by" in runs.do(desk.folder, "log", "pay7").said
    put_back()


def test_a_copy_that_was_made_while_messages_left_is_older_once_they_have(desk: Desk, runs: Children) -> None:
    """Also one that an older version made, before generations were counted."""
    backup = desk.folder.with_name("backup.db")
    with (
        harness.while_sending(desk, runs),
        closing(sqlite3.connect(desk.ledger)) as live,
        closing(sqlite3.connect(backup)) as copy,
    ):
        live.backup(copy)
    assert runs.end().code == 0
    shutil.copyfile(backup, desk.ledger)
    check_refused(desk, runs)
    with closing(sqlite3.connect(backup, isolation_level=None)) as connection:
        for table in ("judged", "call", "duty", "feedback"):
            connection.execute(f"drop table {table}")
        connection.execute("drop index delivery_composition")
        connection.execute("delete from meta where name = 'generation'")
        connection.execute("update alembic_version set version_num = '0002'")
    shutil.copyfile(backup, desk.ledger)
    check_refused(desk, runs)


def test_marks_that_a_crash_left_behind_or_tore_are_brought_up(desk: Desk, runs: Children) -> None:
    half_sent(desk, runs)
    behind, torn = places(desk.ledger)
    before = behind.read_bytes()
    check_finished(desk, runs.do(desk.folder, "tick"))
    after = behind.read_bytes()
    assert after != before
    behind.write_bytes(before)
    torn.write_bytes(torn.read_bytes().replace(b'"generation": ', b'"generation": 9'))
    assert runs.do(desk.folder, "tick").code == 0
    generation = after.split(b'"generation": ')[1].split(b",")[0]
    assert all(b'"generation": ' + generation + b"," in mark.read_bytes() for mark in (behind, torn))


def test_a_folder_that_was_moved_or_copied_elsewhere_is_no_backup(desk: Desk, runs: Children) -> None:
    half_sent(desk, runs)
    copied = desk.folder.with_name("copied")
    shutil.copytree(desk.folder, copied)
    assert runs.do(desk.folder, "tick").code == 0
    assert runs.do(copied, "stop", "pay7").code == 0
    moved = desk.folder.rename(desk.folder.with_name("moved"))
    assert runs.do(moved, "tick").code == 0
