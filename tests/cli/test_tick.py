"""tick: safe by itself, every minute, whatever lies in the folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commcast.cli.tick import Loop, RepeatFilter, loop_code, next_step, why_in_words
from commcast.errors import ExitCode
from commcast.ledger.oncall import last_tick
from commcast.ledger.releases import stop_incident
from commcast.model.message import Blame, OutcomeKind
from commcast.oncall.nudges import Nudge, Why
from commcast.signals import EndedBySignal, ending_at_once
from tests.support.desk import Bench, update_text, write_incident
from tests.support.providers import FakeAdapter, saying
from tests.support.terminal import bench_now, every_byte, just_now, run


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def break_files(folder: Path) -> None:
    (folder / "incidents" / "a-typo.yaml").write_text("title: A\nseverity: 9\nupdates: []\n")
    (folder / "incidents" / "b-half.yaml").write_text('title: "half typed\n')
    (folder / "incidents" / "c-number.yaml").write_text("severity: 2\nupdates:\n  - next_update: 20\n")


def half_sent(bench: Bench) -> None:
    """Release and freeze an incident whose provider takes nothing yet."""
    nothing = saying(OutcomeKind.NOT_TAKEN, Blame.ACCOUNT, retry_after=0.0)
    bench.adapter = lambda channel: FakeAdapter(channel, answer=nothing)
    bench.send()
    bench.adapter = None
    assert bench.mails() == []


def test_each_reason_for_which_somebody_is_woken_is_said_once() -> None:
    """Two audiences may have been promised two times, both of which have passed."""
    nudges = [Nudge(str(i), why, "") for i, why in enumerate((Why.LATE, Why.LATE, Why.ESTIMATE, Why.LATE))]
    assert why_in_words(nudges) == "a promise is broken and an estimate has passed"


def test_sends_nothing_that_nobody_released(bench: Bench) -> None:
    result = run("tick", folder=bench.folder)
    assert result.output == ""
    assert bench.mails() == []


def test_sends_what_is_released_and_owed_once(bench: Bench) -> None:
    bench.release()
    assert "pay7: update 1: 5 accepted" in run("tick", folder=bench.folder).stdout
    assert run("tick", folder=bench.folder).output == ""
    assert (len(bench.mails()), len(bench.texts())) == (3, 2)


def test_serves_the_good_incident_beside_three_broken_ones(bench: Bench) -> None:
    bench.release()
    break_files(bench.folder)
    result = run("tick", folder=bench.folder, expect=2)
    assert len(bench.mails()) == 3
    for name in ("a-typo.yaml", "b-half.yaml", "c-number.yaml"):
        assert f"incidents/{name}:" in result.stderr


@pytest.mark.parametrize("becomes", ["broken", "gone"])
def test_finishes_what_is_frozen_of_a_file_that_is(bench: Bench, becomes: str) -> None:
    half_sent(bench)
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text("title: [\n") if becomes == "broken" else path.unlink()
    run("tick", folder=bench.folder, expect=2)
    assert len(bench.mails()) == 3


def test_sends_nothing_of_a_stopped_incident(bench: Bench) -> None:
    bench.release()
    with bench.ledger.write() as connection:
        stop_incident(connection, "pay7", "dana", bench.now)
    run("tick", folder=bench.folder)
    assert bench.mails() == []


def test_refuses_a_missing_ledger(bench: Bench) -> None:
    (bench.folder / ".commcast" / "ledger.db").unlink()
    assert "doctor --adopt-ledger" in run("tick", folder=bench.folder, expect=3).stderr


def test_a_dry_run_tells_what_would_go_and_leaves_every_byte(bench: Bench) -> None:
    bench.release()
    before = every_byte(bench.folder)
    result = run("tick", "--dry-run", folder=bench.folder)
    assert "pay7: would send update 1 by email to 3\n" in result.stdout
    assert every_byte(bench.folder) == before


def test_a_dry_run_tells_whom_a_tick_would_wake(bench: Bench) -> None:
    later = (just_now() + timedelta(minutes=10)).isoformat()
    result = run("tick", "--dry-run", "--now", later, folder=bench.folder)
    assert result.stdout == "pay7: would nudge Dana Reyes: a draft waits\n"
    document = json.loads(run("tick", "--dry-run", "--json", "--now", later, folder=bench.folder).stdout)
    assert document["would_send"] == []
    (waking,) = document["would_nudge"]
    assert (waking["why"], waking["people"], waking["line"]) == (
        "draft",
        ["Dana Reyes"],
        "commcast send pay7",
    )


def test_a_dry_run_tells_what_is_stopped(bench: Bench) -> None:
    bench.release()
    with bench.ledger.write() as connection:
        stop_incident(connection, "pay7", "dana", bench.now)
    result = run("tick", "--dry-run", folder=bench.folder)
    assert "pay7: stopped by dana; go on with: commcast resume pay7\n" in result.stdout
    assert "would send update" not in result.stdout


def test_now_is_only_for_looking(bench: Bench) -> None:
    assert "--dry-run" in run("tick", "--now", "2026-11-21T10:05Z", folder=bench.folder, expect=2).stderr


def test_json_is_one_document(bench: Bench) -> None:
    bench.release()
    document = json.loads(run("tick", "--json", folder=bench.folder).stdout)
    assert document["commcast"] == "tick"
    assert document["incidents"]["pay7"]["outcomes"] == {"accepted": 5}


def test_a_loop_ends_by_itself_and_says_a_fault_once(bench: Bench) -> None:
    break_files(bench.folder)
    result = run("tick", "--loop", "1s", "--for", "2s", folder=bench.folder, expect=2)
    assert result.stderr.count("b-half.yaml") == 1


def test_what_is_wrong_is_said_again_only_when_it_was_gone(capsys: pytest.CaptureFixture[str]) -> None:
    """One more fault does not repeat those that were said in the pass before."""
    talk = RepeatFilter()
    for text in ("a: one", "a: one\nb: two", "", "a: one", "a: one"):
        talk.faults(text)
    assert capsys.readouterr().err.splitlines() == ["a: one", "b: two", "a: one"]


def test_a_loop_sees_what_is_released_meanwhile(bench: Bench) -> None:
    write_incident(bench.folder, "db2", at=just_now())
    bench.release()
    bench.release("db2")
    result = run("tick", "--loop", "1s", "--for", "1s", folder=bench.folder)
    assert "pay7: " in result.stdout
    assert "db2: " in result.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_a_pass_swallowed_ends_the_loop(number: signal.Signals) -> None:
    """A finalizer, or a library that catches whatever comes up, must not keep a loop alive."""
    passes = []

    def one_pass() -> ExitCode:
        passes.append(number)
        with suppress(BaseException):
            signal.raise_signal(number)
        return ExitCode.DONE

    with ending_at_once(), pytest.raises((KeyboardInterrupt, EndedBySignal)):
        Loop(one_pass, every=600).run(lambda: False)
    assert len(passes) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_loop_well(bench: Bench, number: signal.Signals, code: int) -> None:
    command = [sys.executable, "-c", "from commcast.cli import main; main()", "tick", "--loop", "10m"]
    looping = subprocess.Popen(
        [*command, "-C", str(bench.folder)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    deadline = time.monotonic() + 60
    while not ticked(bench) and time.monotonic() < deadline:
        time.sleep(0.05)
    looping.send_signal(number)
    _, said = looping.communicate(timeout=60)
    assert looping.returncode == code, said
    assert "Traceback" not in said


def test_the_gravest_pass_counts_and_try_again_only_at_the_end() -> None:
    again, unknown, done = ExitCode.TRY_AGAIN, ExitCode.UNKNOWN_OUTCOME, ExitCode.DONE
    assert loop_code([unknown, again, done]) is unknown
    assert loop_code([again, done]) is done
    assert loop_code([done, again]) is again


def ticked(bench: Bench) -> bool:
    with bench.ledger.read() as connection:
        return last_tick(connection) is not None


def test_a_loop_ends_when_nothing_is_open(bench: Bench) -> None:
    bench.release()
    at = just_now() + timedelta(minutes=1)  # so short ago that nobody is nudged for the draft
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text() + update_text(at, status="resolved", fixed="Rolled back."))
    ended = "No incident is open and nothing waits: the loop has ended."
    loop = ("tick", "--loop", "1s", "--for", "2s", "--until-closed")
    assert ended not in run(*loop, folder=bench.folder).stdout  # the end is a draft: nobody said yes to it
    bench.now = datetime.now(UTC)
    bench.release()
    assert ended in run(*loop, folder=bench.folder).stdout
    assert bench.states(notice="update:2") == {("email", "accepted"): 3, ("sms", "accepted"): 2}


def test_a_loop_goes_on_while_readers_wait_for_the_end(bench: Bench) -> None:
    bench.send()
    result = run("tick", "--loop", "1s", "--for", "1s", "--until-closed", folder=bench.folder)
    assert "the loop has ended" not in result.stdout


@pytest.mark.parametrize("becomes", ["broken", "gone"])
def test_a_loop_goes_on_while_a_file_may_be_open(bench: Bench, becomes: str) -> None:
    bench.send()
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text("title: [\n") if becomes == "broken" else path.unlink()
    result = run("tick", "--loop", "1s", "--for", "1s", "--until-closed", folder=bench.folder, expect=2)
    assert "the loop has ended" not in result.stdout


def test_a_desk_where_nothing_is_open_ends_the_loop_at_once(bench: Bench) -> None:
    (bench.folder / "incidents" / "pay7.yaml").unlink()
    assert "the loop has ended" in run("tick", "--loop", "1h", "--until-closed", folder=bench.folder).stdout


@pytest.mark.parametrize("option", [("--until-closed",), ("--for", "1h")])
def test_what_bounds_a_loop_wants_one(bench: Bench, option: tuple[str, ...]) -> None:
    assert "--loop 1m" in run("tick", *option, folder=bench.folder, expect=2).stderr


@pytest.mark.parametrize(
    ("passed", "due"),
    [(0.0, 60.0), (5.0, 60.0), (59.9, 60.0), (60.0, 120.0), (61.0, 120.0), (130.0, 180.0), (600.5, 660.0)],
)
def test_a_loop_keeps_its_step_whatever_a_pass_takes(passed: float, due: float) -> None:
    assert next_step(passed, 60.0) == due
