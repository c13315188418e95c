"""A ledger that is damaged, cut short, not to be written or too new: refused by name, and never sent from."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from commcast.ledger.tables import State
from tests.faults.runs import SEND, GatedReceiver, Place, Runs, half_sent, make_read_only, small_disk, until


def flipped(path: Path, start: int, length: int = 512) -> None:
    raw = bytearray(path.read_bytes())
    raw[start : start + length] = bytes(byte ^ 0x5A for byte in raw[start : start + length])
    path.write_bytes(raw)


def pages_with(path: Path, words: bytes) -> int:
    """Return where the first page begins that holds these words."""
    return path.read_bytes().index(words) // 4096 * 4096


DAMAGE: dict[str, Callable[[Path], object]] = {
    "header": lambda path: flipped(path, 0, 64),
    "first page": lambda path: flipped(path, 100, 3000),
    "a page of deliveries": lambda path: flipped(path, pages_with(path, b"update:1email"), 64),
    "zero length": lambda path: path.write_bytes(b""),
    "one byte": lambda path: os.truncate(path, 1),
    "half a header": lambda path: os.truncate(path, 50),
    "one page": lambda path: os.truncate(path, 4096),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "one page less": lambda path: os.truncate(path, path.stat().st_size - 4096),
    "one byte less": lambda path: os.truncate(path, path.stat().st_size - 1),
    "gone": lambda path: path.unlink(),
}


def kept_half_way(place: Place, runs: Runs) -> Path:
    """Let a run be ended in the middle, its ledger closed in order; return a copy of that."""
    half_sent(place, runs)
    kept = place.folder.with_name("kept.db")
    shutil.copyfile(place.ledger, kept)
    return kept


def test_a_damaged_ledger_is_named_and_never_sent_from_and_its_backup_finishes(
    place: Place, runs: Runs
) -> None:
    kept = kept_half_way(place, runs)
    told = place.told()
    assert 0 < len(told) <= place.people
    for name, damage in DAMAGE.items():
        shutil.copyfile(kept, place.ledger)
        damage(place.ledger)
        for command in (SEND, ("tick",), ("resume", "pay7")):
            ended = runs.run(place.folder, *command)
            assert ended.code == 3, (name, command, ended.said)
            assert f"{place.ledger}: " in ended.said, (name, ended.said)
            assert "restore it from a backup" in ended.said, (name, ended.said)
        assert place.told() == told, f"{name}: something was sent"
    shutil.copyfile(kept, place.ledger)
    place.check_nobody_twice_nobody_lost(runs.run(place.folder, *SEND), in_doubt=0)


def killed(place: Place, runs: Runs) -> Place:
    """Let a run be killed in the middle; its log stays beside the ledger."""
    with place.receiver.shut():
        pid = runs.begin(place.folder, *SEND)
        until(lambda: len(place.told()) >= 4, "the first mails arrive")
        os.kill(pid, signal.SIGKILL)
        assert runs.finish().code == -signal.SIGKILL
    assert log_of(place).stat().st_size > 4096
    return place


def log_of(place: Place) -> Path:
    return place.ledger.with_name("ledger.db-wal")


@pytest.mark.parametrize("damage", ["first frame", "last frame", "cut", "empty", "gone"])
def test_a_log_that_lost_what_a_killed_run_recorded_is_not_sent_from(
    place: Place, runs: Runs, damage: str
) -> None:
    """SQLite takes the rest of such a log for never written: everybody in it would be told again."""
    place = killed(place, runs)
    told, log = place.told(), log_of(place)
    size = log.stat().st_size
    if damage == "gone":
        log.unlink()
    elif damage in {"cut", "empty"}:
        os.truncate(log, size - 3 * 4120 if damage == "cut" else 0)
    else:
        flipped(log, 32 + 24 + 100 if damage == "first frame" else size - 2000)
    for command in (SEND, ("tick",)):
        ended = runs.run(place.folder, *command)
        assert ended.code == 3, ended.said
        assert "ledger.db-wal" in ended.said or "is cut short" in ended.said
    assert place.told() == told
    if "is cut short" in ended.said:
        return  # only a backup helps
    adopted = runs.run(place.folder, "doctor", "--adopt-ledger", "--yes")
    assert "is the ledger of desk" in adopted.said
    for command in (SEND, ("tick",)):
        assert runs.run(place.folder, *command).code in {0, 1}
    assert set(place.told().values()) == {1}


def test_a_log_that_a_killed_run_left_whole_is_sent_from(place: Place, runs: Runs) -> None:
    place = killed(place, runs)
    place.check_nobody_twice_nobody_lost(runs.run(place.folder, *SEND))


@pytest.mark.parametrize("what", ["ledger", "folder", "log"])
def test_what_may_not_be_written_is_named(place: Place, runs: Runs, what: str) -> None:
    place = killed(place, runs)
    path = {"ledger": place.ledger, "folder": place.ledger.parent, "log": log_of(place)}[what]
    told = place.told()
    if what == "folder":
        for each in path.glob("ledger.db-*"):
            each.rename(place.folder / each.name)
    path.chmod(0o500 if what == "folder" else 0o400)
    ended = runs.run(place.folder, *SEND, obeys_modes=True)
    assert ended.code == 3, ended.said
    assert str(place.ledger) in ended.said
    assert "read-only" in ended.said or "look at the rights" in ended.said, ended.said
    assert place.told() == told
    path.chmod(0o700 if what == "folder" else 0o600)
    if what == "folder":
        for each in place.folder.glob("ledger.db-*"):
            each.rename(path / each.name)
    place.check_nobody_twice_nobody_lost(runs.run(place.folder, *SEND))


def test_a_read_only_file_system_is_named(tmp_path: Path, receiver: GatedReceiver, runs: Runs) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        place = Place(disk / "desk", receiver).write()
        make_read_only(disk, read_only=True)
        ended = runs.run(place.folder, *SEND)
        assert ended.code == 3, ended.said
        assert f"{place.ledger}: " in ended.said
        assert "read-only" in ended.said
        assert not place.told()
        assert runs.run(place.folder, "status").code == 0
        make_read_only(disk, read_only=False)
        place.check_nobody_twice_nobody_lost(runs.run(place.folder, *SEND), in_doubt=0)


def test_a_broken_ledger_is_a_finding_of_doctor(place: Place, runs: Runs) -> None:
    assert runs.run(place.folder, *SEND).code == 0
    assert runs.run(place.folder, "doctor").code == 0
    flipped(place.ledger, pages_with(place.ledger, b"update:1email"), 64)
    ended = runs.run(place.folder, "doctor")
    assert ended.code == 3
    assert "is damaged" in ended.said
    assert State.UNKNOWN not in place.told()
