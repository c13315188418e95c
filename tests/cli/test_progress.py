"""Progress: a long freeze or delivery is never mute, a short one says nothing of itself."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from commcast.cli import progress
from commcast.cli.progress import QUIET, SPAN, Meter, ProgressBar
from tests.support.desk import Bench, numbered, write_desk
from tests.support.terminal import at_terminal, bench_now, run, screen


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say a word for every row and outcome."""
    monkeypatch.setattr(progress, "_IN_LOG", 0.0)


class Clock:
    """A clock in the test's hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


Show = Callable[[], list[str]]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    """Return what stands on a screen of COLUMNS after all that was written so far."""
    monkeypatch.setenv("COLUMNS", "80")
    written: list[str] = []

    def read() -> list[str]:
        written.append(capsys.readouterr().err)
        return screen("".join(written), int(os.environ["COLUMNS"]))

    return read


def watched(clock: Clock, *, terminal: bool = True) -> ProgressBar:
    return ProgressBar(clock=clock, watched=False, _terminal=terminal)


def test_what_is_done_at_once_says_nothing(bench: Bench) -> None:
    assert "of 5" not in run("send", "pay7", "--yes", folder=bench.folder).stderr


@pytest.mark.usefixtures("impatient")
def test_freezing_and_sending_are_told_in_plain_lines(bench: Bench) -> None:
    write_desk(bench.folder, customers=numbered(1200))
    told = run("send", "pay7", "--yes", folder=bench.folder).stderr
    assert "Rendering and freezing: 1,201 done" in told
    assert "pay7 email: 1,201 of 1,201\n" in told
    assert "pay7 sms: 1,200 of 1,200\n" in told
    assert "\x1b" not in told


def test_what_goes_to_an_incidents_own_people_says_so(shown: Show) -> None:
    """The ledger's name of their story, ~pay7, means nothing to whoever looks at the screen."""
    clock = Clock()
    told = watched(clock)
    told.begins("~pay7 email", 2)
    told.settled("~pay7 email", {"accepted": 1})
    clock.now += 10
    told.look()
    assert shown()[0].startswith("pay7's own people, email  [")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("command", [["tick"], ["resume", "pay7"]])
def test_tick_and_resume_tell_it_too(bench: Bench, command: list[str]) -> None:
    bench.release()
    assert "pay7 email: 3 of 3\n" in run(*command, folder=bench.folder).stderr


def half_way(told: ProgressBar, clock: Clock) -> None:
    told.begins("pay7 email", 200_000)
    told.begins("pay7 sms", 1_800)
    for _ in range(100):
        clock.now += 0.1
        told.settled("pay7 email", {"accepted": 1_198, "rejected": 1, "unknown": 1})
        told.settled("pay7 sms", {"accepted": 2, "not_taken": 1})


def test_each_channel_has_its_line_at_a_terminal(shown: Show) -> None:
    clock = Clock()
    with watched(clock) as told:
        half_way(told, clock)
        assert shown() == [
            "pay7 email  [===============           ]  120,000 of 200,000  12,000/s  7s left",
            "  100 rejected, 100 unknown",
            "pay7 sms    [==                        ]  198 of 1,800  20/s  81s left",
            "  99 not taken",
        ]
    assert shown() == []


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120, 200, 400])
def test_a_line_fits_whatever_the_width(shown: Show, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    clock = Clock()
    with watched(clock) as told:
        half_way(told, clock)
        lines = shown()
        assert len(lines) == 4
        assert max(map(len, lines)) < min(columns, 200)
        assert lines[0].startswith("pay7 email  ")
        assert ("[==" in lines[0]) is (columns >= 60)
        if columns >= 40:
            assert "120,000 of 200,000" in lines[0]
            assert lines[1] == "  100 rejected, 100 unknown"


def test_nothing_is_painted_against_the_readers_will(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    painted = re.compile(r"\x1b\[[\d;]*m")
    for wish, is_painted in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", wish)
        clock = Clock()
        with watched(clock) as told:
            half_way(told, clock)
        assert bool(painted.search(capsys.readouterr().err)) is is_painted


def test_a_pause_is_told_without_a_rate_or_a_time_left(shown: Show) -> None:
    """Nothing is heard while a provider's pause lasts: it is looked at all the same."""
    clock = Clock()
    with watched(clock) as told:
        half_way(told, clock)
        clock.now += 40
        told.look()
        assert "120,000 of 200,000  no answer for 40s" in shown()[0]
        assert "left" not in "".join(shown())


def test_after_a_pause_the_rate_is_that_of_now() -> None:
    meter = Meter("pay7 email", 0.0, 100_000)
    for second in range(1, 11):
        meter.settle({"accepted": 100}, second)
    assert meter.pace.rate(10.0) == 100
    meter.settle({"accepted": 50}, 600.0)
    meter.settle({"accepted": 50}, 601.0)
    assert meter.pace.rate(601.0) == 100
    assert meter.pace.rate(601.0 + QUIET + 0.1) is None


def test_a_slow_limit_is_no_standstill() -> None:
    """One text every ten seconds is a rate, and not a pause."""
    meter = Meter("pay7 sms", 0.0, 100)
    for turn in range(1, 10):
        meter.settle({"accepted": 1}, turn * 10.0)
    assert meter.pace.rate(98.0) == pytest.approx(0.1, rel=0.3)
    assert "0.1/s" in meter.facts(98.0)
    assert "no answer for 60s" in meter.facts(150.0)


def test_what_was_not_taken_is_told_while_it_is_so() -> None:
    meter = Meter("pay7 sms", 0.0, 100)
    meter.settle({"not_taken": 7}, 1.0)
    assert (meter.done, meter.troubles(2.0)) == (0, [("7 not taken", "not_taken")])
    assert meter.troubles(2.0 + SPAN) == []


def test_who_takes_over_goes_on_with_the_count() -> None:
    meter = Meter("pay7 email", 0.0)
    meter.expect(100)
    meter.settle({"accepted": 40, "not_taken": 10}, 1.0)
    meter.expect(60)
    assert (meter.done, meter.total, meter.is_over) == (40, 100, False)


def test_what_is_over_makes_room_for_the_next_incident(shown: Show) -> None:
    clock = Clock()
    with watched(clock) as told:
        told.begins("pay7 email", 5)
        told.settled("pay7 email", {"accepted": 5})
        told.begins("db2 email", 10)
        clock.now += 1
        told.settled("db2 email", {"accepted": 5})
        assert [line.split()[0] for line in shown()] == ["db2"]


def test_a_log_gets_the_same_numbers_every_five_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    told = watched(clock, terminal=False)
    half_way(told, clock)
    clock.now += 30
    told.look()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "pay7 email: 61,200 of 200,000, 12,000/s, 12s left, 51 rejected, 51 unknown",
        "pay7 sms: 100 of 1,800, 20/s, 87s left, 50 not taken",
        "pay7 email: 120,000 of 200,000, no answer for 30s, 100 rejected, 100 unknown",
        "pay7 sms: 200 of 1,800, no answer for 30s",
    ]
    for _ in range(50):  # that nothing moves is no news every five seconds
        clock.now += 1
        told.look()
    assert capsys.readouterr().err == ""
    clock.now += 10
    told.look()
    assert "no answer for 90s" in capsys.readouterr().err
    told.end()


def test_freezing_tells_rows_and_rate(shown: Show) -> None:
    clock = Clock()
    with watched(clock) as told:
        for chunk in range(1, 11):
            clock.now += 0.5
            told.freezing(chunk * 1000)
        assert shown() == ["Rendering and freezing: 10,000 done, 2,000/s"]
        told.begins("pay7 email", 10_000)
        clock.now += 1
        told.look()
        assert "0 of 10,000" in shown()[0]


class Hangup(io.StringIO):
    """A terminal that went away."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_that_goes_away_ends_no_send(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setattr(sys, "stderr", Hangup())
    monkeypatch.setattr(progress, "say", lambda text: sys.stderr.write(text))
    clock = Clock()
    with watched(clock, terminal=terminal) as told:
        half_way(told, clock)


def test_the_thread_that_looks_ends_with_the_send() -> None:
    with ProgressBar(_terminal=True) as told:
        told.begins("pay7 email", 1)
        thread = told._thread
        assert thread is not None
    assert not thread.is_alive()


def test_a_person_sees_a_bar_and_then_only_the_result(bench: Bench) -> None:
    write_desk(bench.folder, customers=numbered(3000))
    seen = at_terminal(bench.folder, ["send", "pay7", "--yes"], [])
    assert seen.exit_code == 0
    assert re.search(r"pay7 email  \[=* *\]  [\d,]+ of 3,001", seen.screen)
    left = screen(seen.screen.replace("\n", "\r\n"))
    assert not [line for line in left if " of 3,0" in line or "freezing" in line]
    assert any("6,001 handed over" in line for line in left)
