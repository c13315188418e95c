"""tick: safe by itself, every minute, whatever lies in the folder; and what is said of missing ticks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commcast.cli.question import tick_warnings
from commcast.cli.tick import RepeatFilter, _is_news, _tell, loop_code, next_step, run_loop, why_in_words
from commcast.delivery.worker import Delivered, Trouble
from commcast.errors import ExitCode
from commcast.ledger import tables as schema
from commcast.ledger.tables import stamp
from commcast.oncall.nudges import Nudge, Why
from commcast.operations.desk import make_plan
from commcast.operations.tick import Ticked
from commcast.signals import EndedBySignal, ending_at_once
from tests.support.desk import Bench, update_text, write_incident
from tests.support.terminal import bench_now, in_one, just_now, run
from tests.support.values import cases

FAULTS = {"a-typo": "title: A\nseverity: 9\nupdates: []\n", "b-half": 'title: "half typed\n'}
FAULTS["c-number"] = "severity: 2\nupdates:\n  - next_update: 20\n"


def break_files(folder: Path) -> None:
    for name, text in FAULTS.items():
        (folder / f"incidents/{name}.yaml").write_text(text)


bench = pytest.fixture(lambda tmp_path: bench_now(tmp_path))


def test_each_reason_is_said_once_and_what_stays_as_it_was_is_no_news() -> None:
    """Two audiences may have been promised two times, both of which have passed."""
    nudges = [Nudge(str(i), why, "") for i, why in enumerate((Why.LATE, Why.LATE, Why.ESTIMATE, Why.LATE))]
    assert why_in_words(nudges) == "a promise is broken and an estimate has passed"
    news = [Delivered(lost=1), Delivered(expired=1), Delivered(held_back=1), Delivered(waiting=3)]
    assert [_is_news(each) for each in news] == [True, True, True, False]
    assert not _is_news(Delivered(waiting=3, stopped_by="dana"))


def test_sends_what_is_released_and_owed_once_and_never_a_draft(bench: Bench) -> None:
    assert run("tick", folder=bench.folder).output == ""
    bench.release()
    dry_run = run("tick", "--dry-run", folder=bench.folder).stdout
    assert "pay7: would send update 1 by email to 3\n" in dry_run
    assert "pay7: update 1: 5 accepted" in run("tick", folder=bench.folder).stdout
    assert run("tick", folder=bench.folder).output == ""
    assert (len(bench.mails()), len(bench.texts())) == (3, 2)


def test_json_is_one_document_and_nothing_of_a_stopped_incident_is_sent(bench: Bench) -> None:
    bench.stop()
    bench.release()
    dry_run = run("tick", "--dry-run", folder=bench.folder).stdout
    assert "pay7: stopped by dana; lift it with: commcast resume pay7\n" in dry_run
    assert "would send update" not in dry_run
    none: dict[str, object] = {"outcomes": {}, "lost": 0, "waiting": 0, "planned": 0}
    expected = none | {"stopped_by": "dana", "troubles": [], "taken_over": []}
    assert json.loads(run("tick", "--json", folder=bench.folder).stdout)["incidents"]["pay7"] == expected
    bench.resume()
    document = json.loads(run("tick", "--json", folder=bench.folder).stdout)
    assert (document["commcast"], document["exit_code"]) == ("tick", 0)
    assert document["incidents"]["pay7"]["outcomes"] == {"accepted": 5}


def test_a_dry_run_tells_whom_a_tick_would_nudge(bench: Bench) -> None:
    later = (just_now() + timedelta(minutes=10)).isoformat()
    result = run("tick", "--dry-run", "--now", later, folder=bench.folder)
    assert result.stdout == "pay7: would nudge Dana Reyes: a draft is waiting\n"
    document = json.loads(run("tick", "--dry-run", "--json", "--now", later, folder=bench.folder).stdout)
    assert document["would_send"] == []
    (nudge,) = document["would_nudge"]
    assert (nudge["why"], nudge["people"], nudge["line"]) == ("draft", ["Dana Reyes"], "commcast send pay7")


@cases("""
    arguments             | remedy
    --now 2026-11-21T10Z  | --dry-run
    --until-closed        | --until-closed needs --loop
    --for 1h              | --for needs --loop
    --loop 1m --json      | leave out --loop
    --loop soon           | --loop: 'soon' is not a length of time
""")
def test_what_makes_no_sense_is_refused(bench: Bench, arguments: str, remedy: str) -> None:
    assert remedy in run("tick", *arguments.split(), folder=bench.folder, expect=2).stderr


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


def test_a_fault_is_said_once_an_hour_where_cron_mails_each_line(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CI job, whose log stands alone, and a terminal show all of it."""
    monkeypatch.delenv("CI", raising=False)
    break_files(bench.folder)

    def said() -> bool:
        return "a-typo.yaml:2" in run("tick", folder=bench.folder, expect=2).output

    assert (said(), said()) == (True, False)
    monkeypatch.setenv("CI", "true")
    assert said()
    monkeypatch.delenv("CI")
    memory = bench.folder / ".commcast/said.json"
    memory.write_text(re.sub(r"\d+\.\d+", "1.0", memory.read_text()))  # long ago
    assert (said(), said()) == (True, False)
    memory.write_text("[")
    assert said()


def test_a_server_that_is_down_is_said_once_and_nothing_by_an_internal_name(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(**outcomes: int) -> list[str]:
        down = Delivered(Counter(outcomes), waiting=2, troubles=[Trouble("smtp", "timed out", refuses=False)])
        _tell(bench.desk, Ticked({"pay7": down, "~pay7": down}), False, talk)
        return capsys.readouterr().out.splitlines()

    talk, waiting = RepeatFilter(), "2 waiting, smtp is down: timed out"
    assert said() == [f"pay7: {waiting}", f"pay7's own people: {waiting}"]
    assert said() == []
    assert said(accepted=1)[0] == f"pay7: 1 accepted, {waiting}"
    assert said() == []


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


@cases("""
    command               | number  | code
    tick --loop 10m       | SIGTERM | 143
    tick --loop 10m       | SIGINT  | 130
    status --watch --json | SIGINT  | 0
""")
def test_a_signal_ends_a_loop_or_a_watch_well(bench: Bench, command: str, number: str, code: str) -> None:
    break_files(bench.folder)
    run_it = [sys.executable, "-m", "commcast", *command.split(), "-C", str(bench.folder)]
    where = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    pipe = subprocess.PIPE
    going = subprocess.Popen(run_it, stdout=pipe, stderr=pipe, text=True, env=where)
    told = going.stdout if code == "0" else going.stderr
    assert told is not None
    assert "a-typo.yaml" in told.readline()  # said at the end of the first pass, or at the first look
    going.send_signal(signal.Signals[number])
    _, said = going.communicate(timeout=60)
    assert (going.returncode, "Traceback" in said) == (int(code), False), said
    assert said == "" or code != "0"


def test_a_loop_keeps_its_step_and_ends_with_the_gravest_pass() -> None:
    again, unknown, done = ExitCode.TRY_AGAIN, ExitCode.UNKNOWN_OUTCOME, ExitCode.DONE
    assert (loop_code([unknown, again, done]), loop_code([again, done])) == (unknown, done)
    assert loop_code([done, again]) is again  # "Try again" counts only at the end
    passed = (0.0, 5.0, 59.9, 60.0, 61.0, 130.0, 600.5)
    assert [next_step(each, 60.0) for each in passed] == [60, 60, 60, 120, 120, 180, 660]


UNTIL_CLOSED = ("tick", "--loop", "1s", "--for", "1s", "--until-closed")
ENDED = "No incident is open and nothing is pending: the loop has ended."


def test_a_loop_ends_when_nothing_is_open(bench: Bench) -> None:
    bench.release()
    at = just_now() + timedelta(minutes=1)  # so short ago that nobody is nudged for the draft
    bench.append("incidents/pay7.yaml", update_text(at, status="resolved", fixed="Rolled back."))
    assert ENDED not in run(*UNTIL_CLOSED, folder=bench.folder).stdout  # nobody said yes to the end yet
    bench.now = datetime.now(UTC)
    bench.release()
    assert ENDED in run(*UNTIL_CLOSED, folder=bench.folder).stdout
    assert bench.states(notice="update:2") == {("email", "accepted"): 3, ("sms", "accepted"): 2}
    (bench.folder / "incidents/pay7.yaml").unlink()
    assert ENDED in run("tick", "--loop", "1h", "--until-closed", folder=bench.folder).stdout


@pytest.mark.parametrize(("becomes", "code"), [("", 0), ("broken", 2), ("gone", 2)])
def test_a_loop_goes_on_while_one_is_open_or_its_file_is_lost(bench: Bench, becomes: str, code: int) -> None:
    bench.send()
    if becomes:
        path = bench.folder / "incidents/pay7.yaml"
        path.write_text("title: [\n") if becomes == "broken" else path.unlink()
    assert ENDED not in run(*UNTIL_CLOSED, folder=bench.folder, expect=code).stdout


def tick_at(bench: Bench, *minutes_ago: float) -> None:
    """Leave in the ledger that ticks ran then, and no others."""
    now = datetime.now(UTC)
    rows = [{"at": stamp(now - timedelta(minutes=each)), "host": "a"} for each in minutes_ago]
    with bench.ledger.write() as connection:
        connection.execute(schema.tick.delete())
        connection.execute(schema.tick.insert(), rows)


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


def test_ticks_say_how_often_they_come_and_late_ones_which_promises_they_cannot_keep(bench: Bench) -> None:
    bench.append("commcast.toml", '[cadence.1]\nevery = "15m"\n')
    bench.send()
    tick_at(bench, 42, 37, 32, 15.5, 10, 5)
    said = "Ticks come every 5m or so, at worst 17m apart: promises shorter than 20m cannot be kept by tick"
    said += " (cadence.1.every = 15m)"
    assert said in in_one(run("status", folder=bench.folder).stderr)
    doctor = in_one(run("doctor", folder=bench.folder).stdout)
    assert said in doctor and 'write hold_before = "20m" in [tick]' in doctor
    assert any(said in warning for warning in tick_warnings_of(bench))
    tick_at(bench, 5, 4, 3, 2, 1, 0)
    assert "The last tick ran" in run("status", folder=bench.folder).stdout
    assert "comes every 1m or so, at worst 1m apart" in run("doctor", folder=bench.folder).stdout
