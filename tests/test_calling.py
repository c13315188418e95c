"""The command that wakes somebody: what it reads, that it runs once, and what is kept of its end."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from commcast.errors import ExitCode
from commcast.ledger.oncall import Call, begin_call, calls
from commcast.ledger.suppressions import suppress
from commcast.ledger.tables import State
from commcast.operations import wake as calling
from commcast.operations.wake import call_once
from tests.support.desk import START, Bench, update_text, write_desk, write_incident

WRITES = """
import pathlib, sys
called = pathlib.Path("called")
before = called.read_text() if called.exists() else ""
called.write_text(before + sys.stdin.read() + "\\n")
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_desk(tmp_path)
    write_incident(tmp_path)
    return Bench(tmp_path)


def call(bench: Bench, *command: str, nudge: str = "nudge:draft:1") -> Call:
    call_once(
        bench.ledger,
        "pay7",
        nudge,
        command,
        '{"a": "ü"}',
        folder=bench.folder,
        clock=lambda: bench.now,
    )
    with bench.ledger.read() as connection:
        return calls(connection, "pay7")[-1]


def test_it_reads_json_and_runs_once(bench: Bench) -> None:
    for _ in range(2):
        done = call(bench, sys.executable, "-c", WRITES)
    assert (bench.folder / "called").read_text() == '{"a": "ü"}\n'
    assert (done.state, done.ended_at) == (State.ACCEPTED, START)


def test_one_that_was_begun_elsewhere_is_not_run_again(bench: Bench) -> None:
    with bench.ledger.write() as connection:
        assert begin_call(connection, "pay7", "nudge:draft:1", bench.now)
    assert call(bench, sys.executable, "-c", WRITES).state is State.UNKNOWN
    assert not (bench.folder / "called").exists()


@pytest.mark.parametrize(
    ("command", "detail"),
    [
        (("no-such-command-here",), "no-such-command-here cannot be run: No such file or directory"),
        (
            (sys.executable, "-c", "import sys; sys.exit('no line\\nto the pager')"),
            "ended with 1: to the pager",
        ),
        ((sys.executable, "-c", "pass"), ""),
    ],
)
def test_what_came_of_it_is_kept(bench: Bench, command: Sequence[str], detail: str) -> None:
    done = call(bench, *command)
    assert done.detail.endswith(detail)
    assert (done.state is State.ACCEPTED) is (not detail)


def test_one_that_hangs_is_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "LONGEST_CALL", 0.2)
    done = call(bench, sys.executable, "-c", "import time; time.sleep(60)")
    assert done.state is State.REJECTED
    assert "took longer" in done.detail


def test_a_tick_runs_it_for_a_nudge(tmp_path: Path) -> None:
    (tmp_path / "pager.py").write_text(WRITES)
    command = json.dumps([sys.executable, "pager.py"])
    write_desk(tmp_path, extra=f"[nudge]\ncommand = {command}\n")
    write_incident(tmp_path)
    bench = Bench(tmp_path)
    bench.send()
    bench.later(minutes=16)
    ticked = bench.tick()
    assert ticked.nudged["pay7"].unreached == ""
    document = json.loads((tmp_path / "called").read_text())
    assert (document["commcast"], document["version"], document["why"]) == ("nudge", 1, "promise")
    assert document["incident"] == "pay7"
    assert document["people"] == ["Dana Reyes"]
    assert document["command"] == 'commcast update pay7 --nothing-new "…" --next 20m'
    assert document["deadline"] == "2026-11-21T09:25:00+00:00"
    bench.later(minutes=1)
    assert bench.tick().nudged == {}


def test_who_cannot_be_reached_is_told_to_whoever_reads_crons_mail_once(bench: Bench) -> None:
    bench.send()
    bench.later(minutes=16)
    said = bench.tick().nudged["pay7"].unreached
    assert said.startswith("Word is due by 10:25 CET (09:25 UTC), in 4 minutes, and no address of Dana Reyes")
    assert bench.tick().nudged == {}


def test_an_update_that_nobody_released_is_nudged_for(bench: Bench) -> None:
    bench.send()
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text() + update_text(bench.now, issue="More of it."))
    bench.later(minutes=3)
    assert [nudge.id for nudge in bench.tick().nudged["pay7"].nudges] == ["nudge:draft:2"]


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ('[nudge]\ncommand = ["no-such-pager"]\n', "no-such-pager cannot be run: No such file or directory"),
        ('[people.sam]\nname = "Sam"\nemail = "sam@acme.example"\n', "opted out"),
    ],
)
def test_a_nudge_that_woke_nobody_is_told_to_whoever_reads_crons_mail(
    tmp_path: Path, extra: str, why: str
) -> None:
    """A pager that is not there, or an owner who once asked to hear nothing at that address."""
    write_desk(tmp_path, extra=extra)
    path = write_incident(tmp_path)
    if "sam" in extra:
        path.write_text(path.read_text().replace("owner: dana", "owner: sam"))
    bench = Bench(tmp_path)
    with bench.ledger.write() as connection:
        suppress(connection, "email", "sam@acme.example", reason="asked", by="x", now=bench.now)
    bench.send()
    bench.later(minutes=16)
    ticked = bench.tick()
    assert f"the nudge reached nobody: {why}" in ticked.nudged["pay7"].unreached
    assert ticked.exit_code(0.02) is ExitCode.DECISION
    assert bench.tick().nudged == {}
