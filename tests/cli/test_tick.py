"""tick: safe by itself, every minute, whatever lies in the folder; and what is said of missing ticks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commcast.cli.question import tick_warnings
from commcast.cli.tick import RepeatFilter, _is_news, loop_code, next_step, run_loop, why_in_words
from commcast.delivery.worker import Delivered
from commcast.errors import ExitCode
from commcast.ledger import tables as schema
from commcast.ledger.fence import lift_stop, stop_incident
from commcast.ledger.tables import stamp
from commcast.model.message import Blame, OutcomeKind
from commcast.oncall.nudges import Nudge, Why
from commcast.operations.desk import make_plan
from commcast.signals import EndedBySignal, ending_at_once
from tests.support.desk import Bench, update_text, write_incident
from tests.support.providers import FakeAdapter, saying
from tests.support.terminal import bench_now, just_now, run


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def file_of(bench: Bench) -> Path:
    return bench.folder / "incidents" / "pay7.yaml"


def make_unreadable(path: Path, becomes: str) -> None:
    path.write_text("title: [\n") if becomes == "broken" else path.unlink()


def break_files(folder: Path) -> None:
    (folder / "incidents" / "a-typo.yaml").write_text("title: A\nseverity: 9\nupdates: []\n")
    (folder / "incidents" / "b-half.yaml").write_text('title: "half typed\n')
    (folder / "incidents" / "c-number.yaml").write_text("severity: 2\nupdates:\n  - next_update: 20\n")


def stop(bench: Bench) -> None:
    with bench.ledger.write() as connection:
        stop_incident(connection, "pay7", "dana", bench.now)


# --- one pass


def test_each_reason_for_a_nudge_is_said_once() -> None:
    """Two audiences may have been promised two times, both of which have passed."""
    nudges = [Nudge(str(i), why, "") for i, why in enumerate((Why.LATE, Why.LATE, Why.ESTIMATE, Why.LATE))]
    assert why_in_words(nudges) == "a promise is broken and an estimate has passed"


def test_what_stays_as_it_was_is_no_news_every_minute() -> None:
    news = [Delivered(lost=1), Delivered(expired=1), Delivered(held_back=1), Delivered(waiting=3)]
    assert [_is_news(each) for each in news] == [True, True, True, False]
    assert not _is_news(Delivered(waiting=3, stopped_by="dana"))


def test_sends_what_is_released_and_owed_once_and_never_a_draft(bench: Bench) -> None:
    assert run("tick", folder=bench.folder).output == ""
    assert bench.mails() == []
    bench.release()
    dry_run = run("tick", "--dry-run", folder=bench.folder).stdout
    assert "pay7: would send update 1 by email to 3\n" in dry_run
    assert "pay7: update 1: 5 accepted" in run("tick", folder=bench.folder).stdout
    assert run("tick", folder=bench.folder).output == ""
    assert (len(bench.mails()), len(bench.texts())) == (3, 2)


def test_json_is_one_document_and_nothing_of_a_stopped_incident_is_sent(bench: Bench) -> None:
    stop(bench)
    bench.release()
    dry_run = run("tick", "--dry-run", folder=bench.folder).stdout
    assert "pay7: stopped by dana; go on with: commcast resume pay7\n" in dry_run
    assert "would send update" not in dry_run
    none: dict[str, object] = {"outcomes": {}, "lost": 0, "waiting": 0, "planned": 0}
    expected = none | {"stopped_by": "dana", "troubles": [], "taken_over": []}
    assert json.loads(run("tick", "--json", folder=bench.folder).stdout)["incidents"]["pay7"] == expected
    assert bench.mails() == []
    with bench.ledger.write() as connection:
        lift_stop(connection, "pay7", "dana", bench.now)
    document = json.loads(run("tick", "--json", folder=bench.folder).stdout)
    assert (document["commcast"], document["exit_code"]) == ("tick", 0)
    assert document["incidents"]["pay7"]["outcomes"] == {"accepted": 5}


@pytest.mark.parametrize("becomes", ["broken", "gone"])
def test_finishes_what_is_frozen_of_a_file_that_is(bench: Bench, becomes: str) -> None:
    nothing = saying(OutcomeKind.NOT_TAKEN, Blame.ACCOUNT, retry_after=0.0)
    bench.adapter = lambda channel: FakeAdapter(channel, answer=nothing)
    bench.send()
    bench.adapter = None
    assert bench.mails() == []
    make_unreadable(file_of(bench), becomes)
    run("tick", folder=bench.folder, expect=2)
    assert len(bench.mails()) == 3


def test_a_dry_run_tells_whom_a_tick_would_nudge(bench: Bench) -> None:
    later = (just_now() + timedelta(minutes=10)).isoformat()
    result = run("tick", "--dry-run", "--now", later, folder=bench.folder)
    assert result.stdout == "pay7: would nudge Dana Reyes: a draft waits\n"
    document = json.loads(run("tick", "--dry-run", "--json", "--now", later, folder=bench.folder).stdout)
    assert document["would_send"] == []
    (nudge,) = document["would_nudge"]
    assert (nudge["why"], nudge["people"], nudge["line"]) == ("draft", ["Dana Reyes"], "commcast send pay7")


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--now", "2026-11-21T10:05Z"], "--dry-run"),
        (["--until-closed"], "--until-closed needs --loop"),
        (["--for", "1h"], "--for needs --loop"),
        (["--loop", "1m", "--json"], "leave out --loop"),
        (["--loop", "soon"], "--loop: 'soon' is not a length of time"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_makes_no_sense_is_refused(bench: Bench, arguments: list[str], remedy: str) -> None:
    assert remedy in run("tick", *arguments, folder=bench.folder, expect=2).stderr


# --- the loop


def test_a_loop_ends_by_itself_sees_what_is_released_and_says_a_fault_once(bench: Bench) -> None:
    break_files(bench.folder)
    write_incident(bench.folder, "db2", at=just_now())
    bench.release()
    bench.release("db2")
    result = run("tick", "--loop", "1s", "--for", "2s", folder=bench.folder, expect=2)
    assert [result.stderr.count(f"incidents/{name}.yaml:1") for name in ("a-typo", "b-half")] == [0, 1]
    assert "incidents/a-typo.yaml:" in result.stderr and "incidents/c-number.yaml:" in result.stderr
    assert "pay7: " in result.stdout and "db2: " in result.stdout
    assert len(bench.mails()) == 6


def test_a_fault_is_said_again_only_after_it_was_gone(capsys: pytest.CaptureFixture[str]) -> None:
    """One more fault does not repeat those that were said in the pass before."""
    talk = RepeatFilter()
    for text in ("a: one", "a: one\nb: two", "", "a: one", "a: one"):
        talk.faults(text)
    assert capsys.readouterr().err.splitlines() == ["a: one", "b: two", "a: one"]


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
        run_loop(one_pass, 600.0, 600.0, lambda: False)
    assert len(passes) == 1


@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        ("tick --loop 10m", signal.SIGTERM, 143),
        ("tick --loop 10m", signal.SIGINT, 130),
        ("status --watch --json", signal.SIGINT, 0),
    ],
)
def test_a_signal_ends_a_loop_or_a_watch_well(
    bench: Bench, command: str, number: signal.Signals, code: int
) -> None:
    break_files(bench.folder)
    going = subprocess.Popen(
        [sys.executable, "-m", "commcast", *command.split(), "-C", str(bench.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    told = going.stderr if code else going.stdout
    assert told is not None
    assert "a-typo.yaml" in told.readline()  # said at the end of the first pass, or at the first look
    going.send_signal(number)
    _, said = going.communicate(timeout=60)
    assert (going.returncode, "Traceback" in said, code or said) == (code, False, code or ""), said


def test_a_loop_keeps_its_step_and_ends_with_the_gravest_pass() -> None:
    """ "Try again" counts only at the end."""
    again, unknown, done = ExitCode.TRY_AGAIN, ExitCode.UNKNOWN_OUTCOME, ExitCode.DONE
    assert [loop_code(each) for each in ([unknown, again, done], [again, done], [done, again])] == [
        unknown,
        done,
        again,
    ]
    passed = (0.0, 5.0, 59.9, 60.0, 61.0, 130.0, 600.5)
    assert [next_step(each, 60.0) for each in passed] == [60, 60, 60, 120, 120, 180, 660]


UNTIL_CLOSED = ("tick", "--loop", "1s", "--for", "1s", "--until-closed")
ENDED = "No incident is open and nothing is pending: the loop has ended."


def test_a_loop_ends_when_nothing_is_open(bench: Bench) -> None:
    bench.release()
    at = just_now() + timedelta(minutes=1)  # so short ago that nobody is nudged for the draft
    path = file_of(bench)
    path.write_text(path.read_text() + update_text(at, status="resolved", fixed="Rolled back."))
    assert ENDED not in run(*UNTIL_CLOSED, folder=bench.folder).stdout  # nobody said yes to the end yet
    bench.now = datetime.now(UTC)
    bench.release()
    assert ENDED in run(*UNTIL_CLOSED, folder=bench.folder).stdout
    assert bench.states(notice="update:2") == {("email", "accepted"): 3, ("sms", "accepted"): 2}
    path.unlink()
    assert ENDED in run("tick", "--loop", "1h", "--until-closed", folder=bench.folder).stdout


@pytest.mark.parametrize(("becomes", "code"), [("", 0), ("broken", 2), ("gone", 2)])
def test_a_loop_goes_on_while_readers_wait_or_a_file_may_be_open(
    bench: Bench, becomes: str, code: int
) -> None:
    bench.send()
    if becomes:
        make_unreadable(file_of(bench), becomes)
    assert ENDED not in run(*UNTIL_CLOSED, folder=bench.folder, expect=code).stdout


# --- ticks that do not come, or come late: said by status, by doctor and before a yes

SLOW = "Ticks come every 5m or so, at worst 17m apart: promises shorter than 20m cannot be kept by tick"


def tick_at(bench: Bench, *minutes_ago: float) -> None:
    now = datetime.now(UTC)
    rows = [{"at": stamp(now - timedelta(minutes=each)), "host": "a"} for each in minutes_ago]
    with bench.ledger.write() as connection:
        connection.execute(schema.tick.insert(), rows)


def in_one(text: str) -> str:
    return " ".join(text.split())


def tick_warnings_of(bench: Bench) -> list[str]:
    return list(tick_warnings(bench.desk, make_plan(bench.desk, bench.incident(), bench.ledger)))


def test_no_tick_for_ten_minutes_is_said_everywhere(bench: Bench) -> None:
    assert "no tick has run yet" in run("send", "pay7", "--yes", folder=bench.folder).stderr
    tick_at(bench, 12)
    assert "No tick has run for 12m" in run("status", folder=bench.folder).stderr
    assert "the last one ran 12m ago" in in_one(run("doctor", folder=bench.folder).stdout)
    bench.now = datetime.now(UTC)
    remedy = "In another window run: commcast tick --loop 1m --until-closed"
    assert tick_warnings_of(bench) == [f"Warning: no tick has run for 12m. {remedy}"]
    tick_at(bench, 9)  # is recent
    assert "No tick has run" not in run("status", folder=bench.folder).stderr
    assert tick_warnings_of(bench) == []


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
    assert any(said in warning for warning in tick_warnings_of(bench))


def test_ticks_in_time_say_how_often_they_come(bench: Bench) -> None:
    bench.send()
    tick_at(bench, 5, 4, 3, 2, 1, 0)
    assert "The last tick ran" in run("status", folder=bench.folder).stdout
    assert "comes every 1m or so, at worst 1m apart" in run("doctor", folder=bench.folder).stdout
