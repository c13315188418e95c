"""demo: the first thing a newcomer sees; from any folder, twice in a row, without a question."""

from __future__ import annotations

from datetime import UTC, date, datetime
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from commcast.cli.demo_desk import moved
from tests.support.terminal import run

DAYS = [
    "2026-11-22T09:00+00:00",
    "2027-07-04T06:00+00:00",
    "2026-03-29T12:00+00:00",
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where no configuration is, here or above."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A demo that was run once: what it told, and its folder."""
    folder = tmp_path_factory.mktemp("demo") / "commcast-demo"
    return run("demo", "--folder", str(folder)).stdout, folder


def test_tells_the_whole_story_on_a_screen_of_eighty_columns() -> None:
    told = run("demo").stdout
    assert max(map(len, told.splitlines())) <= 80
    for moment in ("10:05", "10:24", "10:43", "11:02", "11:30"):
        assert f"\n{moment}  " in told
    assert "SMS: customers 2" in told
    assert "\x1b" not in told
    assert "commcast-demo/outbox" in told


def test_audiences_read_different_words(once: tuple[str, Path]) -> None:
    told = once[0]
    assert told.count("Impact: EU card revenue is down by about 40%") == 1
    assert told.count("case 88123;\n") == 1
    assert told.count("customers, SMS") == 2
    assert "About four in ten card payments" in told


def test_twice_in_a_row_and_with_the_desk_it_leaves() -> None:
    first = run("demo").stdout
    assert run("demo").stdout == first
    desk = Path("commcast-demo")
    assert run("status", folder=desk).stdout.splitlines()[1].startswith("pay7  1    resolved")
    assert run("lint", folder=desk).stdout.startswith("OK: 1 incident")
    assert run("tick", folder=desk).output == ""
    assert run("log", folder=desk).exit_code == 0


@pytest.mark.parametrize("now", DAYS)
def test_works_on_every_day_also_in_summer(now: str) -> None:
    told = run("demo", "--now", now).stdout
    assert "Next update: by 10:25 CE" in told
    assert "40 accepted" in told
    assert "11:21  tick: nobody wrote, and a holding statement goes out by itself" in told


def test_no_customer_reads_an_internal_word(once: tuple[str, Path]) -> None:
    for path in (once[1] / "outbox").glob("*.eml"):
        mail = message_from_bytes(path.read_bytes(), policy=policy.default)
        body = mail.get_body(("plain",))
        assert body is not None
        if "example" in str(mail["to"]) and "acme" not in str(mail["to"]):
            assert "88123" not in body.get_content()


def test_replaces_nothing_but_an_older_demo(tmp_path: Path) -> None:
    mine = tmp_path / "commcast-demo"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    assert "not made by a demo" in run("demo", expect=2).stderr
    assert (mine / "thesis.txt").read_text() == "years of work"
    run("demo", "--folder", "other")
    run("demo", "--folder", "other")


def test_the_example_keeps_its_clock_times_on_another_day() -> None:
    text = "# Saturday 21 November 2026\n- at: 2026-11-21T10:05+01:00\n"
    assert moved(text, date(2027, 7, 3)) == "# Saturday 3 July 2027\n- at: 2027-07-03T10:05+02:00\n"
    assert datetime.fromisoformat("2027-07-03T10:05+02:00").astimezone(UTC).hour == 8
