"""The disk: full, failing, read-only, damaged, restored from a backup, and as a power cut leaves it.

Nobody is told twice and nobody is lost; a ledger that cannot be trusted is named, and never sent from. Small
file systems are mounted, which takes root.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from commcast.ledger.backups import places
from tests.crash import faults
from tests.crash.faults import Faults
from tests.crash.harness import (
    CODE,
    KILLED,
    ROUNDS,
    SEND,
    TWICE,
    Children,
    Ended,
    Run,
    broken_rules,
    check_all_recorded,
    check_finished,
    filled,
    interrupt,
    make_read_only,
    small_disk,
    transaction_with,
    while_sending,
)
from tests.crash.services import Desk, Service, outbox, smtp
from tests.crash.test_together import ENVIRONMENT, PROGRAM
from tests.crash.tracing import Disk, recording, strace
from tests.support.terminal import every_byte

TRY_AGAIN, UNTRUSTED = 75, 3
KIB = 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    with small_disk(tmp_path / "disk", "4m") as mounted:
        yield mounted


# Full


@pytest.mark.parametrize("kind", ["files", "mails"])
def test_a_full_disk_is_named_whenever_it_strikes_and_room_is_enough_to_go_on(
    kind: str, disk: Path, folder: Path, runs: Children
) -> None:
    """Sampled over the bytes that are free; every second run is killed as well, on the full disk."""
    chance = random.Random(20261122)
    with outbox() as files, smtp() as mails:
        service = files if kind == "files" else mails
        struck: Counter[str] = Counter()
        for number in count():
            desk = service.desk(disk / f"full{number}", 16)
            kill_at = chance.randint(1, 150) if number % 2 else 0
            full = Faults(str(folder / f"{kind}{number}.passages"), kill_at=kill_at)
            with filled(disk, number * 12 * KIB):
                ended = runs.do(desk.folder, *SEND, faults=full)
            check_struck(desk, ended)
            struck[phase(desk) if ended.code != 0 else "nothing"] += 1
            struck["named"] += ended.code == UNTRUSTED
            if ended.code == 0 and not kill_at:
                break  # so much room is enough
            codes = runs.run(desk.folder, Run())
            assert (number, ended.code, broken_rules(desk, codes)) == (number, ended.code, [])
            shutil.rmtree(desk.folder)
    assert min(struck[name] for name in ("before the first", "in the middle", "named")) > 0


def check_struck(desk: Desk, ended: Ended) -> None:
    """Assert that a run on a full disk named the disk, recorded whom it told, and ended with a fit code."""
    assert ended.code in {KILLED, 0, 1, 2, UNTRUSTED, TRY_AGAIN}, ended.said  # 2: the incident's own file
    if ended.code == UNTRUSTED:
        assert str(desk.folder) in ended.said
        assert "the disk is full" in ended.said, ended.said
        assert "bytes free); make room and run the same command again" in ended.said
    if ended.code != KILLED:
        check_all_recorded(desk)


def phase(desk: Desk) -> str:
    return "in the middle" if desk.addresses("accepted", "claimed", "unknown") else "before the first"


def test_a_desk_that_finds_no_room_is_not_half_made(disk: Path, runs: Children) -> None:
    for left in (0, 16, 64, 96):
        with filled(disk, left * KIB):
            ended = runs.do(disk, "init", f"d{left}")
            assert ended.code in {2, 3}, ended.said
            assert "disk is full" in ended.said or "No space left" in ended.said
            assert not (disk / f"d{left}" / "commcast.toml").exists() or left == 96
    assert runs.do(disk, "init", "d0").code == 0


def test_without_room_for_its_copy_the_place_where_room_is_wanted_is_named(
    tmp_path: Path, desk: Desk, runs: Children
) -> None:
    assert runs.do(desk.folder, *SEND).code == 0
    with small_disk(tmp_path / "disk", "32k") as room:
        ended = runs.do(desk.folder, "status", room=str(room))
        assert ended.code == UNTRUSTED
        assert ended.said.startswith(f"{desk.ledger}: ")
        assert str(room) in ended.said
        assert "TMPDIR" in ended.said
    assert runs.do(desk.folder, "status").code == 0


# Failing

WRITES, SYNCS, SIZES = "pwrite64,write", "fsync,fdatasync", "ftruncate,fallocate"


def traced(desk: Desk, log: Path, calls: str, *options: str) -> list[str]:
    """Return a strace that looks at these calls on the ledger's own files only."""
    names = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db-journal", "generation")
    of_ledger = [option for name in names for option in ("-P", str(desk.ledger.with_name(name)))]
    return strace("-o", str(log), *of_ledger, "-e", f"trace={calls}", *options)


def failing(desk: Desk, log: Path, calls: str, error: str, when: int) -> list[str]:
    return traced(desk, log, calls, "-e", f"inject={calls}:error={error}:when={when}")


@pytest.mark.parametrize(
    ("calls", "error"), [(SYNCS, "EIO"), (WRITES, "EIO"), (WRITES, "ENOSPC"), (SIZES, "EIO")]
)
def test_a_call_that_fails_ends_the_run_and_the_next_one_finishes(
    calls: str, error: str, tmp_path: Path, mail: Service, runs: Children
) -> None:
    """Sampled over the calls, which a run without a fault counts."""
    log, whole = tmp_path / "strace", mail.desk(tmp_path / "whole", 41)
    assert runs.do(whole.folder, *SEND, trace=traced(whole, log, calls)).code == 0
    made = sum(" = " in line for line in log.read_text().splitlines())
    assert made, "the run made none of these calls"
    noticed = 0
    for when in sorted({1, 2, made // 3, made * 2 // 3, max(made - 4, 1), made} - {0}):
        desk = mail.desk(tmp_path / f"n{when}", 41)
        ended = runs.do(desk.folder, *SEND, trace=failing(desk, log, calls, error, when))
        assert "(INJECTED)" in log.read_text() or ended.code == 0
        # 0: it struck while the log was moved into the ledger, where it stays until a later time.
        assert ended.code in {0, UNTRUSTED}, ended.said
        if ended.code == UNTRUSTED:
            noticed += 1
            assert str(desk.ledger.parent) in ended.said
            assert "failed" in ended.said or "disk is full" in ended.said, ended.said
        check_all_recorded(desk)
        check_finished(desk, runs.do(desk.folder, *SEND), kills=1)
    assert noticed >= 1


def test_after_a_failed_fsync_nothing_more_is_sent_by_that_process(
    tmp_path: Path, desk: Desk, runs: Children
) -> None:
    """A second fsync may succeed although what the first was for is lost: nothing is built on it."""
    ended = runs.do(desk.folder, *SEND, trace=failing(desk, tmp_path / "strace", SYNCS, "EIO", 8))
    assert ended.code == UNTRUSTED
    assert "reading or writing failed (SQLITE_IOERR_FSYNC)" in ended.said
    states = desk.states()
    assert states["claimed"] + states["accepted"] >= len(desk.got())
    assert states["claimed"] <= 8
    check_finished(desk, runs.do(desk.folder, *SEND), kills=1)


def test_the_same_holds_for_the_program_as_it_is_started(desk: Desk) -> None:
    command = [*failing(desk, Path(os.devnull), SYNCS, "EIO", 6), "--seccomp-bpf", *PROGRAM]
    done = subprocess.run(
        command, cwd=desk.folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == UNTRUSTED, done.stderr
    assert done.stderr.endswith("then run the same command again; nothing unrecorded was sent\n")
    check_all_recorded(desk)


# As a power cut leaves it: of each file what its last fsync made durable


def cut_power(desk: Desk, trace: Path, run: Callable[[list[str]], int]) -> int | None:
    """Run to a kill and leave of the ledger what was synced by then.

    Return how often it was synced, None if the run ended before the kill.
    """
    disk = Disk([desk.ledger, desk.log])
    code = run(recording(trace))
    if code == 0:
        return None
    assert code == KILLED
    disk.replay(trace)
    desk.ledger.with_name("ledger.db-shm").unlink(missing_ok=True)
    disk.cut_the_power()
    return disk.syncs


def after_power_cuts(variant: str, tmp_path: Path, runs: Children) -> tuple[Counter[str], int]:
    """Cut the power after a send, in some runs; return the promises broken, and how many are in doubt."""
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
                syncs = cut_power(
                    desk,
                    tmp_path / f"cut{cut}-{at}.trace",
                    lambda trace: runs.do(desk.folder, *SEND, faults=kill, trace=trace).code,  # noqa: B023
                )
            assert variant or syncs >= 3
            broken.update(broken_rules(desk, runs.run(desk.folder, Run())))
            in_doubt += len(desk.unknown())
    return broken, in_doubt


def test_a_power_cut_after_any_send_tells_nobody_twice(tmp_path: Path, runs: Children) -> None:
    broken, in_doubt = after_power_cuts("", tmp_path, runs)
    assert not broken
    assert in_doubt > 0


def test_a_program_that_skips_the_fsync_is_caught(tmp_path: Path, runs: Children) -> None:
    """Somebody is told twice, unless the ledger's mark, which is synced by itself, shows what it lost."""
    broken, _ = after_power_cuts("skips the fsync", tmp_path, runs)
    assert broken[TWICE] + broken[CODE] > 0


def test_a_yes_that_was_committed_outlives_a_power_cut(tmp_path: Path, mail: Service, runs: Children) -> None:
    whole, passages = mail.desk(tmp_path / "whole", 3), tmp_path / "passages"
    assert runs.do(whole.folder, *SEND, faults=faults.statement(0, passages)).code == 0
    *before, after = transaction_with(passages.read_text().splitlines(), "insert into release")
    for number in (before[-1], after):
        desk = mail.desk(tmp_path / f"yes{number}", 3)
        kill = faults.statement(number, desk.folder / "passages")
        syncs = cut_power(
            desk,
            tmp_path / f"{number}.trace",
            lambda trace: runs.do(desk.folder, *SEND, faults=kill, trace=trace).code,  # noqa: B023
        )
        assert syncs is not None
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
    "first page": lambda path: flipped(path, 100, 3000),
    "a page of deliveries": lambda path: flipped(path, page_of_deliveries(path), 64),
    "zero length": lambda path: path.write_bytes(b""),
    "one byte": lambda path: os.truncate(path, 1),
    "half a header": lambda path: os.truncate(path, 50),
    "one page": lambda path: os.truncate(path, 4096),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "one page less": lambda path: os.truncate(path, path.stat().st_size - 4096),
    "one byte less": lambda path: os.truncate(path, path.stat().st_size - 1),
    "gone": lambda path: path.unlink(),
}


def half_sent(desk: Desk, runs: Children) -> None:
    """Let a run be ended in the middle, its ledger closed in order."""
    assert interrupt(desk, runs, signal.SIGTERM).code == 143


def killed(desk: Desk, runs: Children) -> None:
    """Let a run be killed in the middle; its log stays beside the ledger."""
    assert interrupt(desk, runs, signal.SIGKILL).code == KILLED
    assert desk.log.stat().st_size > 4096


def test_a_damaged_ledger_is_named_and_never_sent_from_and_its_backup_finishes(
    desk: Desk, runs: Children
) -> None:
    half_sent(desk, runs)
    kept = desk.folder.with_name("kept.db")
    shutil.copyfile(desk.ledger, kept)
    told = desk.got()
    assert 0 < len(told) < len(desk.people)
    for name, damage in DAMAGE.items():
        shutil.copyfile(kept, desk.ledger)
        damage(desk.ledger)
        for command in (SEND, ("tick",), ("resume", "pay7")):
            ended = runs.do(desk.folder, *command)
            assert ended.code == UNTRUSTED, (name, command, ended.said)
            assert f"{desk.ledger}: " in ended.said, (name, ended.said)
            assert "restore it from a backup" in ended.said, (name, ended.said)
        assert desk.got() == told, f"{name}: something was sent"
    shutil.copyfile(kept, desk.ledger)
    check_finished(desk, runs.do(desk.folder, *SEND))


@pytest.mark.parametrize("damage", ["first frame", "last frame", "cut", "empty", "gone"])
def test_a_log_that_lost_what_a_killed_run_recorded_is_not_sent_from(
    damage: str, desk: Desk, runs: Children
) -> None:
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


def test_a_log_that_a_killed_run_left_whole_is_sent_from(desk: Desk, runs: Children) -> None:
    killed(desk, runs)
    check_finished(desk, runs.do(desk.folder, *SEND), kills=1)


@pytest.mark.parametrize("what", ["ledger", "folder", "log"])
def test_what_may_not_be_written_is_named(what: str, desk: Desk, runs: Children) -> None:
    killed(desk, runs)
    path = {"ledger": desk.ledger, "folder": desk.ledger.parent, "log": desk.log}[what]
    told = desk.got()
    if what == "folder":
        for each in path.glob("ledger.db-*"):
            each.rename(desk.folder / each.name)
    path.chmod(0o500 if what == "folder" else 0o400)
    ended = runs.do(desk.folder, *SEND, obeys_modes=True)
    assert ended.code == UNTRUSTED, ended.said
    assert str(desk.ledger) in ended.said
    assert "read-only" in ended.said or "look at the rights" in ended.said, ended.said
    assert desk.got() == told
    path.chmod(0o700 if what == "folder" else 0o600)
    if what == "folder":
        for each in desk.folder.glob("ledger.db-*"):
            each.rename(path / each.name)
    check_finished(desk, runs.do(desk.folder, *SEND), kills=1)


def test_a_read_only_file_system_is_named(disk: Path, mail: Service, runs: Children) -> None:
    desk = mail.desk(disk / "desk", 41)
    make_read_only(disk, read_only=True)
    ended = runs.do(desk.folder, *SEND)
    assert ended.code == UNTRUSTED, ended.said
    assert f"{desk.ledger}: " in ended.said
    assert "read-only" in ended.said
    assert not desk.got()
    assert runs.do(desk.folder, "status").code == 0
    make_read_only(disk, read_only=False)
    check_finished(desk, runs.do(desk.folder, *SEND))


def test_a_broken_ledger_is_a_finding_of_doctor(desk: Desk, runs: Children) -> None:
    assert runs.do(desk.folder, *SEND).code == 0
    assert runs.do(desk.folder, "doctor").code == 0
    flipped(desk.ledger, page_of_deliveries(desk.ledger), 64)
    ended = runs.do(desk.folder, "doctor")
    assert ended.code == UNTRUSTED
    assert "is damaged" in ended.said


# Restored from a backup: noticed before anybody is told twice, taken only by a person

RESTORED = "it looks restored from a backup"
ADOPT = ("doctor", "--adopt-ledger", "--yes")


def put_back(desk: Desk, backup: Path) -> None:
    if backup.is_dir():
        shutil.rmtree(desk.folder)
        shutil.copytree(backup, desk.folder)
    else:
        shutil.copyfile(backup, desk.ledger)


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
def test_a_restored_ledger_sends_nothing_until_a_person_takes_it_and_then_nothing_twice(
    what: str, desk: Desk, runs: Children
) -> None:
    half_sent(desk, runs)
    waited = desk.states()["pending"]
    assert waited > 0
    backup = desk.folder.with_name("backup")
    if what == "ledger":
        shutil.copyfile(desk.ledger, backup)
    else:
        shutil.copytree(desk.folder, backup)
    check_finished(desk, runs.do(desk.folder, "tick"))
    put_back(desk, backup)
    check_refused(desk, runs)
    looked_at = every_byte(desk.folder)
    for command in (("status",), ("tick", "--dry-run"), ("log", "pay7"), ("send", "pay7", "--dry-run")):
        ended = runs.do(desk.folder, *command)
        assert ended.code == 0, ended.said
        assert RESTORED in ended.said
    assert runs.do(desk.folder, "doctor", "--adopt-ledger").code == 5
    assert every_byte(desk.folder) == looked_at
    adopted = runs.do(desk.folder, *ADOPT)
    assert f"{waited} deliveries that were open are now unknown" in adopted.said
    for command in (("tick",), SEND):
        assert runs.do(desk.folder, *command).code in {0, 1}
    assert set(desk.got().values()) == {1}, "somebody was told twice"
    assert desk.states()["unknown"] == waited
    assert f"{waited} readers  ledger restored by" in runs.do(desk.folder, "log", "pay7").said
    put_back(desk, backup)
    check_refused(desk, runs)


def test_a_copy_that_was_made_while_messages_left_is_older_once_they_have(desk: Desk, runs: Children) -> None:
    backup = desk.folder.with_name("backup.db")
    with (
        while_sending(desk, runs),
        closing(sqlite3.connect(desk.ledger)) as live,
        closing(sqlite3.connect(backup)) as copy,
    ):
        live.backup(copy)
    assert runs.end().code == 0
    put_back(desk, backup)
    check_refused(desk, runs)


def test_a_backup_of_an_older_version_is_noticed_too(desk: Desk, runs: Children) -> None:
    backup = desk.folder.with_name("backup.db")
    shutil.copyfile(desk.ledger, backup)
    with closing(sqlite3.connect(backup, isolation_level=None)) as connection:
        for table in ("judged", "call", "duty", "feedback"):
            connection.execute(f"drop table {table}")
        connection.execute("drop index delivery_composition")
        connection.execute("delete from meta where name = 'generation'")
        connection.execute("update alembic_version set version_num = '0002'")
    assert runs.do(desk.folder, *SEND).code == 0
    put_back(desk, backup)
    check_refused(desk, runs)


LOSSES: dict[str, Callable[[Path, bytes], object]] = {
    "lowered": lambda mark, before: mark.write_bytes(before),
    "torn": lambda mark, _: mark.write_bytes(mark.read_bytes()[:-30]),
    "gone": lambda mark, _: mark.unlink(),
}


@pytest.mark.parametrize("lost", LOSSES)
def test_marks_that_a_crash_left_behind_or_that_were_lost_say_nothing_and_are_brought_up(
    lost: str, desk: Desk, runs: Children
) -> None:
    half_sent(desk, runs)
    marks = places(desk.ledger)
    before = [mark.read_bytes() for mark in marks]
    check_finished(desk, runs.do(desk.folder, "tick"))
    after = [mark.read_bytes() for mark in marks]
    assert after != before
    for mark, content in zip(marks, before, strict=True):
        LOSSES[lost](mark, content)
    assert runs.do(desk.folder, "tick").code == 0
    generation = after[0].split(b'"generation": ')[1].split(b",")[0]
    assert all(b'"generation": ' + generation in mark.read_bytes() for mark in marks)


def test_a_folder_that_was_moved_or_copied_elsewhere_is_no_backup(desk: Desk, runs: Children) -> None:
    half_sent(desk, runs)
    copied = desk.folder.with_name("copied")
    shutil.copytree(desk.folder, copied)
    assert runs.do(desk.folder, "tick").code == 0
    assert runs.do(copied, "stop", "pay7").code == 0
    moved = desk.folder.rename(desk.folder.with_name("moved"))
    assert runs.do(moved, "tick").code == 0


def test_a_new_ledger_in_place_of_a_lost_one_is_not_held_against_the_old_ones_marks(
    desk: Desk, runs: Children
) -> None:
    assert runs.do(desk.folder, *SEND).code == 0
    desk.ledger.unlink()
    assert runs.do(desk.folder, "tick").code == UNTRUSTED
    assert runs.do(desk.folder, *ADOPT).code == 0
    assert runs.do(desk.folder, "tick").code == 0
    assert runs.do(desk.folder, *SEND).code == 0
    assert set(desk.got().values()) == {1}


def test_the_ledger_of_before_is_not_taken_for_the_one_that_came_after_it(desk: Desk, runs: Children) -> None:
    first = desk.folder.with_name("first.db")
    shutil.copyfile(desk.ledger, first)
    desk.ledger.unlink()
    assert runs.do(desk.folder, *ADOPT).code == 0
    put_back(desk, first)
    ended = runs.do(desk.folder, "tick")
    assert ended.code == UNTRUSTED
    assert "is not the ledger that last sent from here" in ended.said


def test_a_user_without_a_place_for_state_sends_all_the_same(desk: Desk, runs: Children) -> None:
    _, elsewhere = places(desk.ledger)
    elsewhere.parent.mkdir(parents=True, exist_ok=True)
    elsewhere.mkdir()
    try:
        check_finished(desk, runs.do(desk.folder, *SEND))
    finally:
        elsewhere.rmdir()
