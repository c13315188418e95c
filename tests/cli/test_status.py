"""status and log: what was told, what is promised, what somebody has to do."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from commcast.model.message import Blame, Delivery, Outcome, OutcomeKind
from tests.support.desk import Bench, numbered, update_text, write_desk, write_incident
from tests.support.providers import FakeAdapter, accepted, saying
from tests.support.terminal import bench_now, every_byte, run


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def test_a_draft_says_how_to_send_it(bench: Bench) -> None:
    assert "1 draft waits for a yes: commcast send pay7" in run("status", folder=bench.folder).stdout


def test_a_promise_counts_down_and_is_late_when_it_has_passed(bench: Bench) -> None:
    bench.send()
    assert re.search(r"\d\d:\d\d, in 1\dm", run("status", folder=bench.folder).stdout)
    later = (bench.now + timedelta(minutes=40)).isoformat()
    result = run("status", "--overdue", "--now", later, folder=bench.folder, expect=4)
    assert "LATE by 2" in result.stdout
    assert run("status", "--overdue", folder=bench.folder).exit_code == 0


def test_only_what_readers_got_is_a_promise(bench: Bench) -> None:
    """A release that reached nobody promises nothing, and leaves the promise before it standing."""
    bench.release()
    assert "none due" in run("status", folder=bench.folder).stdout
    bench.send()
    with (bench.folder / "incidents" / "pay7.yaml").open("a") as file:
        file.write(update_text(bench.later(minutes=25), nothing_new="Still at it."))
    bench.release()
    late = run("status", "--now", bench.later(minutes=1).isoformat(), folder=bench.folder).stdout
    assert "LATE by" in late
    bench.send()
    assert "LATE" not in run("status", "--now", bench.now.isoformat(), folder=bench.folder).stdout


def test_an_end_settles_the_promise_when_it_has_gone_out(bench: Bench) -> None:
    bench.send()
    with (bench.folder / "incidents" / "pay7.yaml").open("a") as file:
        file.write(update_text(bench.now, status="resolved", fixed="Rolled back."))
    bench.send()
    later = (bench.now + timedelta(hours=2)).isoformat()
    run("status", "--overdue", "--now", later, folder=bench.folder)


def test_leaves_every_byte_and_fits_eighty_columns(bench: Bench) -> None:
    bench.send()
    before = every_byte(bench.folder)
    result = run("status", folder=bench.folder)
    assert every_byte(bench.folder) == before
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "\x1b" not in result.stdout


def test_shows_a_stop_and_who_did_it(bench: Bench) -> None:
    bench.send()
    run("stop", "pay7", "--by", "dana", folder=bench.folder)
    assert "stopped by dana: commcast resume pay7" in run("status", folder=bench.folder).stdout


def test_names_broken_files_and_goes_on(bench: Bench) -> None:
    (bench.folder / "incidents" / "half.yaml").write_text("title: [\n")
    result = run("status", folder=bench.folder)
    assert "broken: incidents/half.yaml:" in result.stdout
    assert "pay7" in result.stdout


def test_what_is_open_comes_first(bench: Bench) -> None:
    write_incident(bench.folder, "aaa", at=bench.now - timedelta(minutes=4))
    with (bench.folder / "incidents" / "aaa.yaml").open("a") as file:
        at = (bench.now - timedelta(minutes=3)).isoformat()
        file.write(f"  - at: {at}\n    status: resolved\n    fixed: Rolled back.\n")
    bench.send("aaa")
    bench.send()
    lines = run("status", folder=bench.folder).stdout.splitlines()
    order = [line.split()[0] for line in lines if line.startswith(("aaa", "pay7"))]
    assert order == ["pay7", "aaa"]


def test_json_is_stable(bench: Bench) -> None:
    bench.send()
    document = json.loads(run("status", "--json", folder=bench.folder).stdout)
    (incident,) = document["incidents"]
    assert (document["commcast"], document["version"]) == ("status", 1)
    assert incident["deliveries"]["accepted"] == 5
    assert incident["next_update_by"]


def test_an_unknown_incident_is_refused(bench: Bench) -> None:
    run("status", "nothing1", folder=bench.folder, expect=2)


def test_log_lists_unknown_ones_masked_and_all_in_full_on_demand(bench: Bench) -> None:
    # A name for each channel: one provider that falls silent on a channel is left alone on the other, too.
    bench.adapter = lambda channel: FakeAdapter(
        channel, answer=saying(OutcomeKind.UNKNOWN), connections=10, name=f"fake {channel}"
    )
    bench.send()
    shown = run("log", "pay7", folder=bench.folder).stdout
    assert "a…@example.com" in shown
    assert "ann@example.com" not in shown
    full = run("log", "pay7", "--addresses", "--channel", "sms", folder=bench.folder).stdout
    assert "+4915112345671" in full
    assert "ann@example.com" not in full


def test_log_counts_what_was_said(bench: Bench) -> None:
    bench.send()
    assert "update 1  email  customers  2 accepted" in run("log", folder=bench.folder).stdout
    document = json.loads(run("log", "--json", folder=bench.folder).stdout)
    assert sum(each["count"] for each in document["said"]) == 5
    assert document["deliveries"] == []


def test_log_of_what_nobody_said_is_refused(bench: Bench) -> None:
    run("log", "nothing1", folder=bench.folder, expect=2)


# --- promises while something waits


def waiting_desk(folder: Path, told: int) -> Bench:
    """Return a desk of which `told` readers of three got the second update; the others wait for it."""
    write_desk(folder, customers=numbered(3), support=[])
    write_incident(folder)
    bench = Bench(folder)
    bench.adapter = lambda channel: FakeAdapter(channel)
    bench.send()
    first = bench.now + timedelta(minutes=20)
    bench.later(minutes=10)
    path = folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text() + update_text(bench.now, nothing_new="The rollback is at 60%."))

    def some(item: Delivery) -> Outcome:
        if len(adapter.handed) <= told:
            return accepted(item)
        return Outcome(item.delivery, OutcomeKind.NOT_TAKEN, "busy", blame=Blame.PROVIDER, retry_after=900.0)

    adapter = FakeAdapter(answer=some, ready=1)
    bench.adapter = lambda channel: adapter
    bench.send()
    bench.now = first + timedelta(minutes=1)
    return bench


@pytest.mark.parametrize("told", [0, 1])
def test_a_promise_stands_while_somebody_still_waits_for_the_next_word(tmp_path: Path, told: int) -> None:
    """One reader who got it does not keep the promise to the others."""
    bench = waiting_desk(tmp_path, told)
    late = run("status", "--overdue", "--now", bench.now.isoformat(), folder=tmp_path, expect=4)
    assert "LATE by 1m" in late.stdout
    assert "commcast send pay7" in late.stderr
    bench.ledger.close()


def test_a_promise_is_kept_when_everybody_has_the_next_word(tmp_path: Path) -> None:
    bench = waiting_desk(tmp_path, 3)
    run("status", "--overdue", "--now", bench.now.isoformat(), folder=tmp_path)


def test_a_first_word_that_reaches_nobody_is_overdue(tmp_path: Path) -> None:
    write_desk(tmp_path, customers=numbered(3), support=[])
    write_incident(tmp_path)
    bench = Bench(tmp_path)
    busy = FakeAdapter(answer=saying(OutcomeKind.NOT_TAKEN, Blame.PROVIDER, retry_after=9000.0))
    bench.adapter = lambda channel: busy
    bench.send()
    run("status", "--overdue", "--now", bench.now.isoformat(), folder=tmp_path)
    later = bench.now + timedelta(minutes=11)
    late = run("status", "--overdue", "--now", later.isoformat(), folder=tmp_path, expect=4)
    assert "never" in late.stdout
    assert "LATE by 1m" in late.stdout
