"""A full disk, at whatever write it strikes: named, nothing unrecorded leaves, room is enough to go on."""

from __future__ import annotations

from pathlib import Path

from tests.faults.runs import SEND, GatedReceiver, Place, Runs, filled, small_disk

KIB = 1024
# From not one page left to all that is needed: reading, freezing, claiming, settling, the log and its index.
LEFT = [0, 16, 48, 96, 160, 192, 224, 256, 288, 320, 384, 640]


def test_a_full_disk_is_named_whenever_it_strikes_and_room_is_enough_to_go_on(
    tmp_path: Path, receiver: GatedReceiver, runs: Runs
) -> None:
    struck_before_the_first, struck_in_the_middle = 0, 0
    with small_disk(tmp_path / "disk", "4m") as disk:
        for left in LEFT:
            place = Place(disk / f"k{left}", receiver).write()
            with filled(disk, left * KIB):
                ended = runs.run(place.folder, *SEND)
            told = len(place.told())
            if ended.code == 3:
                assert str(place.folder) in ended.said
                assert "the disk is full" in ended.said, (left, ended.said)
                assert "bytes free); make room and run the same command again" in ended.said
                struck_before_the_first += told == 0
                struck_in_the_middle += told > 0
            else:
                assert ended.code in {0, 2}, ended.said  # 2: the incident's file could not be written
                assert ended.code == 0 or told == 0
            place.check_all_recorded()
            place.check_nobody_twice_nobody_lost(runs.run(place.folder, *SEND))
            for path in sorted(place.folder.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
    assert struck_before_the_first >= 3
    assert struck_in_the_middle >= 1, "no level let the disk fill up while messages were leaving"


def test_a_desk_that_finds_no_room_is_not_half_made(tmp_path: Path, runs: Runs) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        for left in (0, 16, 64, 96):
            with filled(disk, left * KIB):
                ended = runs.run(disk, "init", f"d{left}")
                assert ended.code in {2, 3}, ended.said
                assert "disk is full" in ended.said or "No space left" in ended.said
                assert not (disk / f"d{left}" / "commcast.toml").exists() or left == 96
        assert runs.run(disk, "init", "d0").code == 0


def test_without_room_for_its_copy_the_ledger_is_named_and_the_place_where_room_is_wanted(
    tmp_path: Path, place: Place, runs: Runs
) -> None:
    assert runs.run(place.folder, *SEND).code == 0
    with small_disk(tmp_path / "disk", "32k") as room:
        ended = runs.run(place.folder, "status", room=room)
        assert ended.code == 3
        assert ended.said.startswith(f"{place.ledger}: ")
        assert str(room) in ended.said
        assert "TMPDIR" in ended.said
    assert runs.run(place.folder, "status").code == 0
