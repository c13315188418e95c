"""Several processes on one ledger, locks and signals: nobody twice, nobody lost, and each says how it ended.

Sampled: who is killed where is a seeded choice (COMMCAST_CRASH_ROUNDS makes more of them).
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email import message_from_bytes, policy
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.crash import harness
from tests.crash.faults import Faults
from tests.crash.harness import (
    KILLED,
    QUESTION_ENDS,
    SEND,
    AskedChild,
    Children,
    Ended,
    Run,
    broken_rules,
    check_finished,
    until,
)
from tests.crash.services import SERVICES, Desk, Service, outbox, smtp
from tests.support.reader import words

PEOPLE, PROCESSES, TIMES = 24, 3, max(1, int(3 * harness.ROUNDS))
TRY_AGAIN = 75


@pytest.fixture(scope="module", params=SERVICES)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    with SERVICES[request.param]() as started:
        yield started


def test_one_is_killed_while_the_others_go_on(service: Service, folder: Path, runs: Children) -> None:
    """Those that go on end well by themselves; the next run finds what the dead one had claimed."""
    chance = random.Random(PROCESSES)
    killed = 0
    for number in range(TIMES):
        desk = service.desk(folder / f"{service.name}-one-{number}", PEOPLE)
        victim = Faults(str(desk.folder / "passages"), kill_at=chance.randint(1, 30))
        codes = runs.run(desk.folder, Run(faults=victim), *[Run()] * (PROCESSES - 1))
        killed += codes[0] == KILLED
        assert set(codes[1:]) <= {0, 1}
        codes = [*codes[1:], *runs.run(desk.folder, *[Run()] * PROCESSES)]
        assert (number, broken_rules(desk, codes)) == (number, [])
    assert killed


def test_all_are_killed_and_all_come_again(service: Service, folder: Path, runs: Children) -> None:
    chance = random.Random(PROCESSES)
    killed = 0
    for number in range(TIMES):
        desk = service.desk(folder / f"{service.name}-all-{number}", PEOPLE)
        pids = runs.begin(desk.folder, *[Run()] * PROCESSES)
        for pid, most in zip(pids, sorted(chance.choices(range(PEOPLE), k=PROCESSES)), strict=True):
            harness.kill_when(runs, pid, lambda: desk.told().total() >= most)  # noqa: B023
        codes = runs.finish()
        killed += codes.count(KILLED)
        codes = [code for code in codes if code != KILLED] + runs.run(desk.folder, *[Run()] * PROCESSES)
        assert (number, broken_rules(desk, codes, kills=PROCESSES)) == (number, [])
    assert killed


def test_together_they_tell_each_reader_once(service: Service, folder: Path, runs: Children) -> None:
    desk = service.desk(folder / f"{service.name}-together", PEOPLE)
    codes = runs.run(desk.folder, *[Run()] * PROCESSES)
    assert codes == [0] * PROCESSES
    assert broken_rules(desk, codes, kills=0) == []


def test_two_who_say_yes_tell_each_once(
    folder: Path, mail: Service, runs: Children, others: Children
) -> None:
    desk = mail.desk(folder / "both-yes", PEOPLE)
    one, two = (AskedChild(each, desk.folder, "send", "pay7") for each in (runs, others))
    codes = [one.type("y\n"), two.type("y\n")]
    assert codes[0] == 0
    check_finished(desk, Ended(0, one.seen + two.seen))


def test_a_dead_one_that_froze_is_taken_over(folder: Path, runs: Children, others: Children) -> None:
    """By who waits for its freeze: or it would wait two minutes for a dead one, and then tell nobody."""
    with outbox() as service:
        desk = service.desk(folder / "frozen", PEOPLE)
        freezing, waiting = (harness.HeldChild(desk.folder, name) for name in ("freezing", "waiting"))
        others.begin(desk.folder, Run(faults=freezing.at("after commit", 2)))  # it has said that it freezes
        pid = freezing.wait(others)
        assert pid is not None
        runs.begin(desk.folder, Run(faults=waiting.at("after commit", 1)))  # it has seen that another does
        assert waiting.wait(runs) is not None
        os.kill(pid, signal.SIGKILL)
        assert others.finish() == [KILLED]
        waiting.let_go(runs)
        assert runs.finish() == [0]
        assert broken_rules(desk, [0], kills=0) == []


def test_two_processes_keep_to_a_limit_together(tmp_path: Path, runs: Children) -> None:
    """A slow machine only makes messages later: the nth never comes before its time from the start on."""
    per_second, people = 20, 50
    with smtp(window=8) as service:
        desk = service.desk(tmp_path / "limited", people)
        config = desk.folder / "commcast.toml"
        limit = f"\nper_second = {per_second}\ntimeout"
        config.write_text(config.read_text().replace("\ntimeout", limit, 1))
        began = time.monotonic()
        assert runs.run(desk.folder, Run(), Run()) == [0, 0]
        arrived = sorted(message.at for message in service.receiver.inbox.messages)
    assert len(arrived) == people
    early = [number for number, at in enumerate(arrived) if at - began < (number - 1) / per_second]
    assert early == []


def test_a_stop_from_another_process_halts_a_run_within_a_window(
    folder: Path, mail: Service, runs: Children, others: Children
) -> None:
    desk = mail.desk(folder / "stopped", people=400)
    runs.start(desk.folder, *SEND)
    until(lambda: desk.told().total() >= 50, "fifty are told")
    with mail.receiver.shut():
        assert others.do(desk.folder, "stop", "pay7").code == 0
        at_stop = desk.told().total()
    assert runs.finish() == [5]
    assert desk.got().total() - at_stop <= mail.window
    assert desk.got().total() < 400
    check_finished(desk, others.do(desk.folder, "resume", "pay7"))


# A correction beside the words that it corrects

CORRECT = ("correct", "pay7", "--wrong", "pay by card", "--right", "pay by invoice", "--yes")
QUOTE = "said: “pay by card”"


@pytest.fixture
def spoken(desk: Desk) -> Desk:
    """A desk that speaks the shipped words: corrections are in them."""
    shutil.rmtree(desk.folder / "templates")
    return desk


def mails(desk: Desk) -> dict[str, list[str]]:
    """Return, by address, the texts of the mails that it got, in order."""
    found: dict[str, list[str]] = {}
    for received in list(desk.service.receiver.inbox.messages):
        text = words(message_from_bytes(received.raw, policy=policy.default))
        for address in desk.people.intersection(received.recipients):
            found.setdefault(address, []).append(text)
    return found


def check_all_put_right(desk: Desk, got_wrong: set[str]) -> None:
    """Readers of the wrong words, known or possible, get one correction; the others only what is right."""
    found, in_doubt = mails(desk), desk.unknown()
    assert set(found) == desk.people
    for address, texts in found.items():
        wrong = [text for text in texts if "when they pay by card" in text]
        corrections = [text for text in texts if QUOTE in text]
        right = [text for text in texts if "when they pay by invoice" in text]
        assert len(right) == 1, address
        assert len(wrong) == (address in got_wrong), address
        assert len(corrections) == (address in got_wrong or address in in_doubt), address
    assert got_wrong


def test_a_mistake_is_noticed_while_it_is_sent(spoken: Desk, runs: Children, others: Children) -> None:
    with harness.while_sending(spoken, runs):
        others.start(spoken.folder, *CORRECT)
        until(lambda: "Waiting for the answers" in others.said(), "the correction waits for the answers")
        got_wrong = set(spoken.told())
    ended, corrected = runs.end(), others.end()
    first = "an error when they pay by card."
    got_wrong |= {address for address, texts in mails(spoken).items() if any(first in text for text in texts)}
    assert "until the correction is ready" in ended.said, ended.said
    assert corrected.code == 0, corrected.said
    check_all_put_right(spoken, got_wrong)
    assert runs.do(spoken.folder, "tick").code == 0
    check_all_put_right(spoken, got_wrong)


def test_the_process_that_sent_the_mistake_was_killed(spoken: Desk, runs: Children) -> None:
    harness.interrupt(spoken, runs, signal.SIGKILL)
    got_wrong = set(spoken.told())
    assert runs.do(spoken.folder, *CORRECT).code in {0, 1}
    check_all_put_right(spoken, got_wrong)


def test_a_correction_that_was_killed_is_finished_by_the_next_tick(spoken: Desk, runs: Children) -> None:
    assert runs.do(spoken.folder, *SEND).code == 0
    harness.interrupt(spoken, runs, signal.SIGKILL, *CORRECT)
    runs.do(spoken.folder, "tick")
    found = mails(spoken)
    corrected = {address for address, texts in found.items() if any(QUOTE in text for text in texts)}
    assert corrected | spoken.unknown() == set(found)
    assert all(sum(QUOTE in text for text in texts) <= 1 for texts in found.values())


def readers_of_the_mistake(desk: Desk) -> set[str]:
    desk.got()  # once all that was sent has been read
    wrong = "an error when they pay by card"
    return {address for address, texts in mails(desk).items() if any(wrong in text for text in texts)}


@pytest.mark.parametrize("end", QUESTION_ENDS)
def test_a_correction_that_ends_in_its_question_keeps_the_mistake_from_others(
    end: str, spoken: Desk, runs: Children
) -> None:
    """Some have read the wrong words, the others wait; whatever is typed next, these never read them."""
    harness.interrupt(spoken, runs, signal.SIGTERM)
    got_wrong = readers_of_the_mistake(spoken)
    how, code = QUESTION_ENDS[end]
    assert how(AskedChild(runs, spoken.folder, *CORRECT[:-1])) == code
    for command, expected in (
        ("tick", 0),
        ("resume pay7", 5),
        ("resume --all", 5),
        ("send pay7", 5),
        ("tick", 0),
    ):
        ended = runs.do(spoken.folder, *command.split())
        assert (command, ended.code) == (command, expected), ended.said
        assert readers_of_the_mistake(spoken) == got_wrong, command
    assert runs.do(spoken.folder, *SEND).code == 0
    check_all_put_right(spoken, got_wrong)


BESIDE = ("send pay7 --yes", "resume pay7", "resume --all", "tick", "correct", "discard pay7 --yes")


@pytest.mark.parametrize("beside", BESIDE)
def test_another_shell_beside_the_question_of_a_correction_spreads_no_mistake(
    beside: str, spoken: Desk, runs: Children, others: Children
) -> None:
    harness.interrupt(spoken, runs, signal.SIGTERM)
    got_wrong = readers_of_the_mistake(spoken)
    asked = AskedChild(runs, spoken.folder, *CORRECT[:-1])
    ended = others.do(spoken.folder, *(CORRECT if beside == "correct" else beside.split()))
    assert readers_of_the_mistake(spoken) == got_wrong, ended.said
    asked.type("y\n")
    assert readers_of_the_mistake(spoken) == got_wrong, asked.seen
    for command in ("tick", "resume pay7", "tick"):
        if beside.startswith("discard") and command != "tick":
            continue  # the words are no mistake any more: whoever resumes wants them to go on
        runs.do(spoken.folder, *command.split())
        assert readers_of_the_mistake(spoken) == got_wrong, command
    if not beside.startswith("discard"):
        check_all_put_right(spoken, got_wrong)


# A ledger that others have locked


@contextmanager
def locked(desk: Desk) -> Iterator[None]:
    """Lock the ledger, as a backup or a repair by hand does."""
    with closing(sqlite3.connect(desk.ledger, isolation_level=None)) as connection:
        connection.execute("begin immediate")
        yield
        connection.execute("rollback")


@pytest.mark.parametrize("killed", [False, True], ids=["patience", "killed"])
def test_a_ledger_locked_at_any_step_loses_nobody(killed: bool, folder: Path, runs: Children) -> None:
    """Exhaustive: another process takes the lock as a run is about to begin a transaction, and keeps it."""
    in_doubt = 0
    with smtp() as service:
        for at in count(1):  # how often a run begins a transaction differs from run to run
            desk = service.desk(folder / f"locked{at}-{killed}", 8)
            held = harness.HeldChild(desk.folder)
            faults, patience = held.at("before begin", at), 60.0 if killed else 0.1
            runs.start(desk.folder, *SEND, faults=faults, patience=patience)
            pid = held.wait(runs)
            if pid is None:
                assert runs.finish() == [0]
                break
            with locked(desk):
                held.let_go(runs)
                if killed:
                    os.kill(pid, signal.SIGKILL)
                (code,) = runs.finish()
            all_told = desk.states() == {"accepted": 8}  # what comes after that may fail unsaid
            assert code == (KILLED if killed else TRY_AGAIN) or (code == 0 and all_told), at
            if code == TRY_AGAIN:
                assert f"{desk.ledger}: is in use by another process" in runs.said()
                assert "the next tick, or the same command again, will continue" in runs.said()
            harness.check_all_recorded(desk)
            codes = runs.run(desk.folder, Run())
            assert (at, broken_rules(desk, codes)) == (at, [])
            in_doubt += len(desk.unknown())
    assert at > 5
    assert in_doubt > 0, "no lock fell between a hand-over and its record: the test proved nothing"


def test_a_lock_that_is_let_go_in_time_is_only_waited_for(desk: Desk, runs: Children) -> None:
    with locked(desk):
        runs.start(desk.folder, *SEND, patience=60.0)
    check_finished(desk, runs.end())


# Signals: nothing new leaves, what is on its way ends, and the last line has the count


def counts(ended: Ended) -> tuple[int, int]:
    """Return how many were handed over, and how many wait, as the last line says it."""
    found = re.search(r"(\d+) handed over.*; (\d+) waiting\. ", ended.said.strip().splitlines()[-1])
    assert found, ended.said
    return int(found[1]), int(found[2])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])  # a supervisor, or a lost terminal
def test_a_run_ended_by_a_signal_is_finished(number: signal.Signals, desk: Desk, runs: Children) -> None:
    for command in (SEND, ("tick",), ("resume", "pay7")):
        before = len(desk.got())
        ended = harness.interrupt(desk, runs, number, *command)
        assert ended.code == 143
        assert ended.said.strip().splitlines()[-1].startswith(f"Ended by {number.name}: ")
        told = len(desk.got())
        assert counts(ended) == (told - before, len(desk.people) - told)
    check_finished(desk, runs.do(desk.folder, "tick"))


def test_a_person_stops_the_incident_and_resume_finishes_it(desk: Desk, runs: Children) -> None:
    ended = harness.interrupt(desk, runs, signal.SIGINT)
    assert ended.code == 130
    assert ended.said.endswith("Continue with: commcast resume pay7\n")
    handed = len(desk.got())
    assert counts(ended) == (handed, len(desk.people) - handed)
    assert runs.do(desk.folder, "tick").code == 0
    assert len(desk.got()) == handed, "a tick went on with what a person had stopped"
    check_finished(desk, runs.do(desk.folder, "resume", "pay7"))


def test_ctrl_c_once_more_ends_at_once_and_what_was_on_its_way_is_unknown(desk: Desk, runs: Children) -> None:
    with harness.while_sending(desk, runs, again_after=0.0) as pid:
        os.kill(pid, signal.SIGINT)
        until(lambda: "Nothing more is sent" in runs.said(), "the signal is heard")
        os.kill(pid, signal.SIGINT)
        ended = runs.end()
    assert ended.code == 130
    states = desk.states()
    assert states["claimed"] == 0
    assert 4 <= states["unknown"] <= 8
    assert f"{states['unknown']} of them unknown; " in ended.said
    assert counts(ended) == (states["unknown"], states["pending"])
    assert runs.do(desk.folder, "resume", "pay7").code in {0, 1}
    assert set(desk.got().values()) == {1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_yes_is_heard_after_it(number: signal.Signals, desk: Desk, runs: Children) -> None:
    """Then all of it is released and nothing is sent: a tick goes on, but after Ctrl-C only a person does."""
    held = harness.HeldChild(desk.folder)
    pid = runs.start(desk.folder, *SEND, faults=held.at("after write", 4))
    assert held.wait(runs) == pid
    os.kill(pid, number)
    held.let_go(runs)
    ended = runs.end()
    by_person = number == signal.SIGINT
    assert ended.code == (130 if by_person else 143)
    assert ended.said.strip(), "it ended without a word"
    assert desk.told() == {}
    assert {state for _, state in desk.rows()} == {"pending"}
    if by_person:
        assert runs.do(desk.folder, "tick").code == 0
        assert desk.told() == {}
    check_finished(desk, runs.do(desk.folder, *(("resume", "pay7") if by_person else ("tick",))))


# The program as a shell starts it

PROGRAM = [sys.executable, "-m", "commcast", *SEND]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(harness.ROOT)}


def test_what_nohup_has_let_ignore_stays_ignored(desk: Desk, tmp_path: Path) -> None:
    with desk.service.receiver.shut(), (tmp_path / "said").open("w") as said:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said}
        sending = subprocess.Popen(["nohup", *PROGRAM], cwd=desk.folder, env=ENVIRONMENT, **streams)
        until(lambda: desk.told().total() >= 4, "the first mails arrive")
        sending.send_signal(signal.SIGHUP)
    check_finished(desk, Ended(sending.wait(120), (tmp_path / "said").read_text()))


def test_a_reader_that_closes_its_pipe_does_not_stop_a_run_nor_change_its_code(desk: Desk) -> None:
    command = " ".join(PROGRAM)
    shell = f"set -o pipefail; {command} 2>&1 | true; echo code $?; {command} --json | head -c 1 >/dev/null"
    done = subprocess.run(
        ["bash", "-c", shell], cwd=desk.folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "code 0\n"
    assert "Traceback" not in done.stderr
    check_finished(desk, Ended(0, done.stderr))
