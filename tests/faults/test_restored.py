"""A ledger that is put back from a backup: noticed before anybody is told twice, taken only by a person."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from commcast.ledger.backups import places
from tests.faults.runs import SEND, Place, Runs, half_sent, until
from tests.support.terminal import every_byte

RESTORED = "it looks restored from a backup"


def put_back(place: Place, backup: Path) -> None:
    if backup.is_dir():
        shutil.rmtree(place.folder)
        shutil.copytree(backup, place.folder)
    else:
        shutil.copyfile(backup, place.ledger)


def marks(place: Place) -> tuple[Path, Path]:
    beside, elsewhere = places(place.ledger)
    return beside, elsewhere


def check_refused(place: Place, runs: Runs) -> None:
    told = place.told()
    for command in (SEND, ("tick",), ("resume", "pay7"), ("stop", "pay7"), ("doctor",)):
        ended = runs.run(place.folder, *command)
        assert ended.code == 3, (command, ended.said)
        assert f"{place.ledger}: " in ended.said
        assert RESTORED in ended.said
        assert "commcast doctor --adopt-ledger" in ended.said
    assert place.told() == told


@pytest.mark.parametrize("what", ["ledger", "folder"])
def test_a_restored_ledger_sends_nothing_until_a_person_takes_it_and_then_nothing_twice(
    place: Place, runs: Runs, what: str
) -> None:
    half_sent(place, runs)
    waited = place.rows()["pending"]
    assert waited > 0
    backup = place.folder.with_name("backup")
    if what == "ledger":
        shutil.copyfile(place.ledger, backup)
    else:
        shutil.copytree(place.folder, backup)
    place.check_nobody_twice_nobody_lost(runs.run(place.folder, "tick"), in_doubt=0)
    put_back(place, backup)
    check_refused(place, runs)
    looked_at = every_byte(place.folder)
    for command in (("status",), ("tick", "--dry-run"), ("log", "pay7"), ("send", "pay7", "--dry-run")):
        ended = runs.run(place.folder, *command)
        assert ended.code == 0, ended.said
        assert RESTORED in ended.said
    assert runs.run(place.folder, "doctor", "--adopt-ledger").code == 5
    assert every_byte(place.folder) == looked_at
    adopted = runs.run(place.folder, "doctor", "--adopt-ledger", "--yes")
    assert f"{waited} deliveries that it had open are unknown now" in adopted.said
    for command in (("tick",), SEND):
        assert runs.run(place.folder, *command).code in {0, 1}
    assert set(place.told().values()) == {1}, "somebody was told twice"
    assert place.rows()["unknown"] == waited
    assert f"{waited} readers  ledger restored by" in runs.run(place.folder, "log", "pay7").said
    put_back(place, backup)
    check_refused(place, runs)


def test_a_copy_that_was_made_while_messages_left_is_older_once_they_have(place: Place, runs: Runs) -> None:
    backup = place.folder.with_name("backup.db")
    with place.receiver.shut():
        runs.begin(place.folder, *SEND)
        until(lambda: len(place.told()) >= 4, "the first mails arrive")
        with closing(sqlite3.connect(place.ledger)) as live, closing(sqlite3.connect(backup)) as copy:
            live.backup(copy)
    assert runs.finish().code == 0
    put_back(place, backup)
    check_refused(place, runs)


def test_a_backup_of_an_older_version_is_noticed_too(place: Place, runs: Runs) -> None:
    backup = place.folder.with_name("backup.db")
    shutil.copyfile(place.ledger, backup)
    with closing(sqlite3.connect(backup, isolation_level=None)) as connection:
        for table in ("judged", "call", "duty", "feedback"):
            connection.execute(f"drop table {table}")
        connection.execute("drop index delivery_composition")
        connection.execute("delete from meta where name = 'generation'")
        connection.execute("update alembic_version set version_num = '0002'")
    assert runs.run(place.folder, *SEND).code == 0
    put_back(place, backup)
    check_refused(place, runs)


def lowered(place: Place, before: tuple[bytes, bytes]) -> None:
    for mark, content in zip(marks(place), before, strict=True):
        mark.write_bytes(content)


def torn(place: Place, _before: tuple[bytes, bytes]) -> None:
    for mark in marks(place):
        mark.write_bytes(mark.read_bytes()[:-30])


def gone(place: Place, _before: tuple[bytes, bytes]) -> None:
    for mark in marks(place):
        mark.unlink()


@pytest.mark.parametrize("lost", [lowered, torn, gone])
def test_marks_that_a_crash_left_behind_or_that_were_lost_say_nothing_and_are_brought_up(
    place: Place, runs: Runs, lost: Callable[[Place, tuple[bytes, bytes]], None]
) -> None:
    half_sent(place, runs)
    beside, elsewhere = marks(place)
    before = (beside.read_bytes(), elsewhere.read_bytes())
    place.check_nobody_twice_nobody_lost(runs.run(place.folder, "tick"), in_doubt=0)
    after = (beside.read_bytes(), elsewhere.read_bytes())
    assert after != before
    lost(place, before)
    assert runs.run(place.folder, "tick").code == 0
    generation = after[0].split(b'"generation": ')[1].split(b",")[0]
    assert all(b'"generation": ' + generation in mark.read_bytes() for mark in marks(place))


def test_a_folder_that_was_moved_or_copied_elsewhere_is_no_backup(place: Place, runs: Runs) -> None:
    half_sent(place, runs)
    copied = Place(place.folder.with_name("copied"), place.receiver)
    shutil.copytree(place.folder, copied.folder)
    assert runs.run(place.folder, "tick").code == 0
    assert runs.run(copied.folder, "stop", "pay7").code == 0
    moved = place.folder.rename(place.folder.with_name("moved"))
    assert runs.run(moved, "tick").code == 0


def test_a_new_ledger_in_place_of_a_lost_one_is_not_held_against_the_old_ones_marks(
    place: Place, runs: Runs
) -> None:
    assert runs.run(place.folder, *SEND).code == 0
    place.ledger.unlink()
    assert runs.run(place.folder, "tick").code == 3
    assert runs.run(place.folder, "doctor", "--adopt-ledger", "--yes").code == 0
    assert runs.run(place.folder, "tick").code == 0
    assert runs.run(place.folder, *SEND).code == 0
    assert set(place.told().values()) == {1}


def test_the_ledger_of_before_is_not_taken_for_the_one_that_came_after_it(place: Place, runs: Runs) -> None:
    first = place.folder.with_name("first.db")
    shutil.copyfile(place.ledger, first)
    place.ledger.unlink()
    assert runs.run(place.folder, "doctor", "--adopt-ledger", "--yes").code == 0
    put_back(place, first)
    ended = runs.run(place.folder, "tick")
    assert ended.code == 3
    assert "is another ledger than the one that sent from here last" in ended.said


def test_a_user_without_a_place_for_state_sends_all_the_same(place: Place, runs: Runs) -> None:
    _, elsewhere = marks(place)
    elsewhere.parent.mkdir(parents=True, exist_ok=True)
    elsewhere.mkdir()
    try:
        place.check_nobody_twice_nobody_lost(runs.run(place.folder, *SEND), in_doubt=0)
    finally:
        elsewhere.rmdir()
