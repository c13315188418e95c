"""A tick reads a file again whenever what it once found there may no longer hold, and not otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Executable

import commcast
from commcast.incidents import load
from commcast.ledger import tables as schema
from commcast.ledger.fence import lift_stop, stop_incident
from commcast.ledger.releases import read_judged, record_history, unfinished_incidents
from commcast.operations.tick import Ticked
from tests.support.desk import Bench, update_text, write_desk, write_incident

END = {"status": "resolved", "fixed": "Rolled back."}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(write_desk(tmp_path))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were parsed, in order; clear it between ticks."""
    names: list[str] = []
    monkeypatch.setattr(commcast, "__version__", commcast.__version__)  # put back afterwards
    parse = load.parse_incident

    def noted(text: str, name: str, *rest: object) -> object:
        names.append(name.removeprefix("incidents/").removesuffix(".yaml"))
        return parse(text, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(load, "parse_incident", noted)
    return names


def close(bench: Bench, name: str, *, explicit_id: bool = False) -> Path:
    """Tell of an incident and of its end."""
    path = write_incident(bench.folder, name, at=bench.now)
    if explicit_id:
        path.write_text(f"id: {name}\n{path.read_text()}")
    bench.send(name)
    bench.later(minutes=1)
    path.write_text(path.read_text() + update_text(bench.now, **END))
    bench.send(name)
    return path


def second_tick(bench: Bench, parsed: list[str]) -> Ticked:
    parsed.clear()
    bench.later(minutes=1)
    return bench.tick()


def test_of_a_thousand_closed_and_three_open_files_three_are_parsed(bench: Bench, parsed: list[str]) -> None:
    for number in range(1000):  # history that another desk told
        more = update_text(bench.now + timedelta(minutes=1), **END)
        write_incident(bench.folder, f"old{number:04}", at=bench.now, more=more)
    with bench.ledger.write() as connection:
        record_history(connection, bench.loaded().incidents, "test", bench.now)
    for name in ("a", "b", "c"):
        write_incident(bench.folder, name, at=bench.now)
        bench.send(name)
    parsed.clear()
    bench.tick()
    assert len(parsed) == 1003
    with bench.ledger.read() as connection:
        before = connection.execute(schema.judged.select()).all()
    second_tick(bench, parsed)
    assert parsed == ["a", "b", "c"]
    with bench.ledger.read() as connection:
        assert connection.execute(schema.judged.select()).all() == before


def change(path: Path, old: str, new: str) -> None:
    """Change bytes in place, and keep size, time and inode."""
    found = path.stat()
    path.write_text(path.read_text().replace(old, new))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def execute(bench: Bench, statement: Executable) -> None:
    with bench.ledger.write() as connection:
        connection.execute(statement)


def reopen(bench: Bench, path: Path, minutes: int) -> None:
    path.write_text(path.read_text() + update_text(bench.later(minutes=minutes), status="reopened"))


def become_a_link(path: Path) -> None:
    path.rename(path.with_name("real.txt"))
    path.symlink_to(path.with_name("real.txt"))


BOARD = 'sms_price = 0.1\n[audiences.board]\nrecipients = "audiences/support.csv"'
WAITS = schema.delivery.update().values(state="held", not_before="2999")
# Each of these leaves a file that a tick has to read, however often it did before.
HAPPENS: dict[str, Callable[[Bench, Path], object]] = {
    "it is open again": lambda bench, path: reopen(bench, path, 5),
    "a byte changes in place": lambda bench, path: change(path, "Rolled", "rolled"),
    "a comment changes": lambda bench, path: path.write_text(f"# a comment\n{path.read_text()}"),
    "the config changes": lambda bench, path: write_desk(bench.folder, extra=BOARD),
    "the program is upgraded": lambda bench, path: setattr(commcast, "__version__", "9.9.9"),
    "what was kept is lost": lambda bench, path: execute(bench, schema.judged.delete()),
    "it becomes a link": lambda bench, path: become_a_link(path),
    "a delivery waits": lambda bench, path: execute(bench, WAITS),
}


@pytest.mark.parametrize("happens", HAPPENS.values(), ids=HAPPENS.keys())
def test_a_closed_file_is_read_again_when(bench: Bench, parsed: list[str], happens: Any) -> None:
    path = close(bench, "pay7")
    bench.tick()
    second_tick(bench, parsed)
    assert parsed == []
    happens(bench, path)
    second_tick(bench, parsed)
    assert parsed == ["pay7"]


def test_what_is_not_over_is_read_every_time(bench: Bench, parsed: list[str]) -> None:
    write_incident(bench.folder, "open1", at=bench.now)
    bench.send("open1")
    path = close(bench, "drafted")
    reopen(bench, path, 1)
    write_incident(bench.folder, "nobody", at=bench.now, more=update_text(bench.later(minutes=1), **END))
    close(bench, "stopped")
    with bench.ledger.write() as connection:
        stop_incident(connection, "stopped", "dana", bench.now)
    for _ in range(2):
        second_tick(bench, parsed)
        assert parsed == ["drafted", "nobody", "open1", "stopped"]
    with bench.ledger.write() as connection:
        lift_stop(connection, "stopped", "dana", bench.now)
    second_tick(bench, parsed)
    second_tick(bench, parsed)
    assert parsed == ["drafted", "nobody", "open1"]


def test_what_is_wrong_with_a_judged_file_is_said_on_each_tick(bench: Bench, parsed: list[str]) -> None:
    path = close(bench, "pay7")
    bench.tick()
    text = path.read_text()
    for old, new, said in (
        *(("title: ", "title: [", "pay7.yaml:"), ("Rolled back.", "Mended.", "was released and has changed")),
    ):
        path.write_text(text.replace(old, new))
        for _ in range(2):
            assert said in str(second_tick(bench, parsed).errors["incidents/pay7.yaml"])
        assert parsed == ["pay7"]


def test_a_second_file_with_the_id_of_a_judged_one_faults_both(bench: Bench, parsed: list[str]) -> None:
    path = close(bench, "pay7", explicit_id=True)
    bench.tick()
    path.with_name("again.yaml").write_text(path.read_text())
    for _ in range(2):
        assert list(second_tick(bench, parsed).errors) == ["incidents/again.yaml", "incidents/pay7.yaml"]
    path.with_name("again.yaml").unlink()
    assert second_tick(bench, parsed).errors == {}
    second_tick(bench, parsed)
    assert parsed == []


def test_a_copy_under_another_id_passes_and_a_renamed_file_is_named(bench: Bench, parsed: list[str]) -> None:
    path = close(bench, "pay7")
    bench.tick()
    copy = path.with_name("copy.yaml")
    copy.write_text(path.read_text())
    assert second_tick(bench, parsed).errors == {}
    copy.unlink()
    path.rename(path.with_name("pay8.yaml"))
    for _ in range(2):
        assert "pay7" in str(second_tick(bench, parsed).errors["incidents/pay8.yaml"])
    with bench.ledger.read() as connection:
        assert read_judged(connection) == {}


def test_what_a_dead_run_left_of_a_judged_one_is_finished(bench: Bench, parsed: list[str]) -> None:
    close(bench, "pay7")
    bench.tick()
    with bench.ledger.write() as connection:
        which = (schema.delivery.c.key == "ann@example.com") & (schema.delivery.c.notice == "update:2")
        connection.execute(schema.delivery.update().where(which).values(state="pending", expires_at=None))
        assert unfinished_incidents(connection) == {"pay7"}
    assert second_tick(bench, parsed).delivered["pay7"].outcomes == {"accepted": 1}
    assert parsed == ["pay7"]
