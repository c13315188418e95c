"""What declare, status and doctor say of ticks that do not come, or come late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commcast.cli.question import tick_warnings
from commcast.ledger import tables as schema
from commcast.ledger.tables import stamp
from commcast.operations.desk import make_plan
from tests.support.desk import Bench
from tests.support.terminal import bench_now, run

SLOW = "Ticks come every 5m or so, at worst 17m apart: promises shorter than 20m cannot be kept by tick"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def tick_at(bench: Bench, *minutes_ago: float) -> None:
    now = datetime.now(UTC)
    rows = [{"at": stamp(now - timedelta(minutes=each)), "host": "a"} for each in minutes_ago]
    with bench.ledger.write() as connection:
        connection.execute(schema.tick.insert(), rows)


def in_one(text: str) -> str:
    return " ".join(text.split())


def test_no_tick_for_ten_minutes_is_said_everywhere(bench: Bench) -> None:
    bench.send()
    tick_at(bench, 12)
    assert "No tick has run for 12m" in run("status", folder=bench.folder).stderr
    assert "the last one ran 12m ago" in in_one(run("doctor", folder=bench.folder).stdout)
    bench.now = datetime.now(UTC)
    (warning,) = tick_warnings(bench.desk, make_plan(bench.desk, bench.incident(), bench.ledger))
    remedy = "In another window run: commcast tick --loop 1m --until-closed"
    assert warning == f"Warning: no tick has run for 12m. {remedy}"


def test_a_tick_of_nine_minutes_ago_is_recent(bench: Bench) -> None:
    bench.send()
    tick_at(bench, 9)
    assert "No tick has run" not in run("status", folder=bench.folder).stderr
    assert list(tick_warnings(bench.desk, make_plan(bench.desk, bench.incident(), bench.ledger))) == []


def test_late_ticks_say_which_promises_they_cannot_keep(bench: Bench) -> None:
    path = bench.folder / "commcast.toml"
    path.write_text(path.read_text() + '[cadence.1]\nevery = "15m"\n')
    bench.send()
    tick_at(bench, 42, 37, 32, 15.5, 10, 5)
    said = f"{SLOW} (cadence.1.every = 15m)"
    assert said in in_one(run("status", folder=bench.folder).stderr)
    doctor = in_one(run("doctor", folder=bench.folder).stdout)
    assert said in doctor
    assert 'write hold_before = "17m" in [tick]' in doctor
    assert any(
        said in warning
        for warning in tick_warnings(bench.desk, make_plan(bench.desk, bench.incident(), bench.ledger))
    )


def test_ticks_in_time_say_how_often_they_come(bench: Bench) -> None:
    bench.send()
    tick_at(bench, 5, 4, 3, 2, 1, 0)
    assert "The last tick ran" in run("status", folder=bench.folder).stdout
    assert "comes every 1m or so, at worst 1m apart" in run("doctor", folder=bench.folder).stdout


def test_a_declare_without_a_question_warns_as_well(bench: Bench) -> None:
    assert "no tick has run yet" in run("send", "pay7", "--yes", folder=bench.folder).stderr
