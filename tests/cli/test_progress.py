"""Progress: a long freeze or delivery is never mute, a short one says nothing of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from commcast.cli import progress
from commcast.cli.progress import Progress
from tests.cli.running import bench_now, run
from tests.desks import Bench, numbered, write_desk


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say a word for every row and outcome."""
    monkeypatch.setattr(progress, "_IN_LOG", 0.0)


def test_what_is_done_at_once_says_nothing(bench: Bench) -> None:
    assert "handed over" not in run("send", "pay7", "--yes", folder=bench.folder).stderr


@pytest.mark.usefixtures("impatient")
def test_freezing_and_sending_are_told_in_plain_lines(bench: Bench) -> None:
    write_desk(bench.folder, customers=numbered(1200))
    told = run("send", "pay7", "--yes", folder=bench.folder).stderr
    assert "Rendering and freezing: 1,000 done\nRendering and freezing: 1,201 done\n" in told
    assert "Sending: 2,401 handed over\n" in told
    assert "\x1b" not in told


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("command", [["tick"], ["resume", "pay7"]])
def test_tick_and_resume_tell_it_too(bench: Bench, command: list[str]) -> None:
    bench.release()
    assert "Sending: 5 handed over" in run(*command, folder=bench.folder).stderr


def test_at_a_terminal_one_line_is_written_over_and_left_empty(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_AT_TERMINAL", 0.0)
    with Progress(_terminal=True) as shown:
        shown.freezing(1000)
        shown.settled("pay7 email", {"accepted": 1})
    assert capsys.readouterr().err == (
        "\r\x1b[KRendering and freezing: 1,000 done\r\x1b[KSending: 1 handed over\r\x1b[K"
    )
