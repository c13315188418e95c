"""status --watch: drawn in place, read only when something changed, a line of JSON for each change."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commcast.cli import status as watching
from commcast.cli.status import Watch, picture
from commcast.config.settings import Config
from commcast.incidents import load
from commcast.ledger import tables as schema
from commcast.model.incident import Incident
from commcast.operations.status import DeskStatus
from tests.support.desk import Bench, numbered, write_desk
from tests.support.terminal import CTRL_C, at_terminal, bench_now, every_byte, run, screen

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


class Seconds:
    """A monotonic clock in the test's hand."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def watch_of(bench: Bench, incident: str | None = None) -> tuple[Watch, Seconds]:
    seconds = Seconds()
    return Watch(bench.folder, incident, seconds=seconds), seconds


def half_sent(bench: Bench, accepted: int, rejected: int = 0, unknown: int = 0) -> None:
    """Leave a frozen mail of which so many have their outcome and the rest waits."""
    d = schema.delivery.c
    states = ["accepted"] * accepted + ["rejected"] * rejected + ["unknown"] * unknown
    with bench.ledger.write() as connection:
        ids = list(connection.execute(schema.delivery.select().where(d.channel == "email")).scalars())
        for number, state in zip(ids, states, strict=False):
            connection.execute(schema.delivery.update().where(d.id == number).values(state=state))


def frozen(bench: Bench, count: int) -> None:
    write_desk(bench.folder, customers=numbered(count), support=[])
    bench.release()
    bench.freeze()


def drawn(found: DeskStatus, watch: Watch) -> str:
    return "\n".join(picture(found, watch.rates))


def test_what_is_being_sent_is_shown_with_its_rate_between_two_looks(bench: Bench) -> None:
    frozen(bench, 100)
    watch, seconds = watch_of(bench)
    half_sent(bench, 10)
    assert "pay7 email, update:1: 10 of 100" in drawn(watch.look(), watch)
    half_sent(bench, 50, rejected=4, unknown=2)
    seconds.at += 2
    text = drawn(watch.look(), watch)
    assert "pay7 email, update:1: 56 of 100, 23/s, 4 rejected, 2 unknown" in text
    assert "pay7 SMS, update:1: 0 of 100, nothing since the last look" in text


def test_nothing_is_read_where_nothing_changed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.send()
    parsed: list[str] = []
    parse = load.parse_incident

    def noted(text: str, name: str, config: Config, now: datetime) -> Incident:
        parsed.append(name)
        return parse(text, name, config, now)

    monkeypatch.setattr(load, "parse_incident", noted)
    watch, _ = watch_of(bench)
    for _ in range(3):
        watch.look()
    assert (watch.looks, len(parsed)) == (1, 1)
    with bench.ledger.write() as connection:
        connection.execute(schema.tick.insert().values(at="2026-11-21T10:00:00+00:00", host="here"))
    watch.look()
    assert (watch.looks, len(parsed)) == (2, 1)
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text() + "# a comment\n")
    watch.look()
    assert (watch.looks, len(parsed)) == (3, 2)


def test_a_promise_counts_down_without_reading_anything(bench: Bench) -> None:
    bench.send()
    watch, _ = watch_of(bench)
    watch.look()
    watch.now = lambda: datetime(2999, 1, 1, tzinfo=UTC)
    assert "LATE by" in drawn(watch.look(), watch)
    assert watch.looks == 1


def test_a_watch_leaves_every_byte(bench: Bench) -> None:
    bench.send()
    before = every_byte(bench.folder)
    watch, _ = watch_of(bench, "pay7")
    watch.look()
    watch.look()
    assert every_byte(bench.folder) == before


def test_without_a_terminal_it_says_what_to_write(bench: Bench) -> None:
    assert "status --watch --json" in run("status", "--watch", folder=bench.folder, expect=2).stderr


@pytest.mark.parametrize("more", [["--overdue"], ["--now", "2026-11-21T10:05Z"]])
def test_what_a_watch_cannot_mean_is_refused(bench: Bench, more: list[str]) -> None:
    assert "leave out" in run("status", "--watch", *more, folder=bench.folder, expect=2).stderr


def test_json_is_a_line_for_each_change(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen(bench, 10)
    accepted = iter([0, 4, 0])

    def wait(_: float) -> None:
        more = next(accepted, None)
        if more is None:
            raise KeyboardInterrupt
        half_sent(bench, more)

    monkeypatch.setattr(time, "sleep", wait)
    lines = run("status", "--watch", "--json", folder=bench.folder).stdout.splitlines()
    documents = [json.loads(line) for line in lines]
    assert [(each["commcast"], each["version"]) for each in documents] == [("status", 1)] * 2
    assert [each["sending"][0]["done"] for each in documents] == [0, 4]
    assert documents[0]["sending"][0]["per_second"] is None
    assert documents[1]["sending"][0]["per_second"] > 0


def test_a_person_sees_it_in_place_and_ends_it_with_ctrl_c(bench: Bench) -> None:
    bench.send()
    seen = at_terminal(
        bench.folder, ["status", "--watch", "--every", "1s"], [("Ctrl-C ends", b""), ("Ctrl-C ends", CTRL_C)]
    )
    assert seen.exit_code == 0
    assert "Traceback" not in seen.screen
    left = screen(
        seen.screen.replace("\x1b[2J\x1b[H", "").replace("\x1b[H", "\x1b[99A\r").replace("\n", "\r\n")
    )
    assert len([line for line in left if "Ctrl-C ends the watch" in line]) == 1
    assert len([line for line in left if line.startswith("pay7")]) == 1


def test_a_file_half_written_is_named_and_the_watch_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.send()
    config = bench.folder / "commcast.toml"
    whole = config.read_text()
    watch, _ = watch_of(bench)
    pictures = watching._pictures(watch)
    next(pictures)
    config.write_text("[organisation\n")
    next(pictures)
    assert "cannot be read now: commcast.toml" in capsys.readouterr().out
    config.write_text(whole)
    next(pictures)
    last = capsys.readouterr().out
    assert "cannot be read" not in last
    assert "pay7" in last


def test_a_reader_that_goes_away_ends_the_lines_quietly(bench: Bench) -> None:
    bench.send()
    command = [sys.executable, "-m", "commcast", "status", "--watch", "--json", "-C", str(bench.folder)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["commcast"] == "status"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")


def test_the_last_tick_is_shown_and_its_silence_grows_without_reading(bench: Bench) -> None:
    bench.send()
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    with bench.ledger.write() as connection:
        connection.execute(schema.tick.insert().values(at=at, host="here"))
    watch, _ = watch_of(bench)
    assert "The last tick ran" in drawn(watch.look(), watch)
    watch.now = lambda: datetime.now(UTC) + timedelta(minutes=11)
    assert "No tick has run for 1" in drawn(watch.look(), watch)
    assert watch.looks == 1


def test_a_window_too_low_says_how_many_lines_are_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "room_of", lambda _stream: (79, 12))
    watching._draw([f"line {number}" for number in range(1, 11)])
    assert "more lines" not in capsys.readouterr().out
    watching._draw([f"line {number}" for number in range(1, 31)])
    drawn = capsys.readouterr().out
    assert "line 9\x1b" in drawn
    assert "line 10\x1b" not in drawn
    assert "… 21 more lines: a taller window or commcast status shows them" in drawn
