"""What a person sees of caps, leads, texts and other open incidents before and after sending."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commcast.plan.reasons import HELD_BACK
from tests.support.desk import Bench, update_text, write_incident, write_list
from tests.support.terminal import bench_now, just_now, run

ROWS = ["ann@example.com,+4915112345671,Ann", ",+4915112345672,Bob", "kim@example.com,,Kim"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = bench_now(tmp_path)
    write_list(tmp_path, "customers", "email,phone,name", ROWS)
    return bench


def add_to_config(folder: Path, before: str, text: str) -> None:
    path = folder / "commcast.toml"
    path.write_text(path.read_text().replace(before, text))


def words(text: str) -> str:
    return " ".join(text.split())


def test_preview_says_who_follows_another_open_incident_already(bench: Bench) -> None:
    write_incident(bench.folder, "net3", at=just_now(), severity=2)
    bench.send("net3")
    shown = run("preview", "pay7", folder=bench.folder).stdout
    ours = [line for line in shown.splitlines() if not line.startswith("|")]
    assert all(len(line) <= 80 for line in ours)
    assert "3 of those by email were told of net3 at " in words(shown)
    assert "2 of those by SMS were told of net3 at " in words(shown)
    assert ": Investigating, Card payments fail, next update by " in words(shown)
    document = json.loads(run("preview", "pay7", "--json", folder=bench.folder).stdout)
    assert {(each["incident"], each["channel"], each["readers"]) for each in document["following"]} == {
        ("net3", "email", 3),
        ("net3", "sms", 2),
    }


def test_an_incident_that_is_over_is_followed_by_nobody(bench: Bench) -> None:
    end = update_text(
        just_now() + timedelta(minutes=1), status="resolved", fixed="Rolled back.", remains="nothing"
    )
    write_incident(bench.folder, "net3", at=just_now())
    bench.send("net3")
    write_incident(bench.folder, "net3", at=just_now(), more=end)
    bench.send("net3")
    shown = run("preview", "pay7", folder=bench.folder).stdout
    assert "net3" not in shown
    assert json.loads(run("preview", "pay7", "--json", folder=bench.folder).stdout)["following"] == []


def test_a_lead_is_shown_before_and_after_and_is_no_failure(bench: Bench) -> None:
    add_to_config(bench.folder, "[audiences.support]\n", '[audiences.support]\nlead = "5m"\n')
    path = write_incident(bench.folder, at=just_now(), severity=3)
    path.write_text(path.read_text().replace("severity: 3", "severity: 3\naudiences: [support, customers]"))
    run("tick", folder=bench.folder)
    shown = run("preview", "pay7", folder=bench.folder).stdout
    assert "Later: 2 by email in customers at " in shown
    assert "after those who hear first; a tick sends them" in words(shown)
    done = run("send", "pay7", "--yes", folder=bench.folder, expect=0)
    assert "pay7: update 1 released, 1 handed over." in done.stdout
    assert "4 follow at " in done.stderr and ", sent by tick." in done.stderr
    assert "wait for their turn" not in done.stderr
    assert "would send nothing" in run("tick", "--dry-run", folder=bench.folder).stdout
    later = (datetime.now(UTC) + timedelta(minutes=6)).isoformat(timespec="minutes")
    shown = run("tick", "--dry-run", "--now", later, folder=bench.folder).stdout
    assert "pay7: would send update 1 by email to 2" in shown
    told = json.loads(run("send", "pay7", "--json", folder=bench.folder, expect=0).stdout)
    assert (told["planned"], told["waiting"]) == (4, 4)


def test_a_text_shows_its_promise_and_the_promise_of_texts(bench: Bench) -> None:
    write_list(bench.folder, "customers", "email,phone,name", ROWS[1:2])
    shown = run("preview", "pay7", "--audience", "customers", folder=bench.folder).stdout
    assert "customers, by SMS (1 segment, GSM-7)" in shown
    assert "Next text by " in shown
    assert "; readers who only get texts: the next one by " in words(shown)


def test_what_a_cap_holds_back_is_shown_and_released_all_the_same(bench: Bench) -> None:
    add_to_config(bench.folder, "[send]\n", "[send]\nmost_an_hour = 1\n")
    bench.send()
    at = just_now() + timedelta(minutes=1)
    write_incident(
        bench.folder, at=just_now(), more=update_text(at, status="identified", resolution="A fix comes.")
    )
    shown = run("preview", "pay7", folder=bench.folder).stdout
    assert f"Not told: 2 by email in customers: {HELD_BACK}" in words(shown)
    assert "Promise: none; nobody is told now." in run("send", "--dry-run", folder=bench.folder).stdout
    done = run("send", "pay7", "--yes", folder=bench.folder, expect=5)
    assert "update 2 released, 0 handed over." in done.stdout
    assert "NOBODY WAS TOLD: all 3 had as many messages within the hour" in done.stderr
    assert "Next word is promised" not in done.stderr
    assert "held back" in run("log", "pay7", folder=bench.folder).stdout
