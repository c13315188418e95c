"""Signals to a whole command: nothing new leaves, what is on its way ends, the last line has the count."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.crash.harness import ROOT
from tests.faults.runs import SEND, Ended, Place, Runs, until
from tests.support.desk import write_list

RESUMABLE = [signal.SIGTERM, signal.SIGHUP]


def interrupted(place: Place, runs: Runs, number: int, *command: str) -> Ended:
    """Send a signal while the receiver stalls; then let it answer."""
    with place.receiver.shut():
        pid = runs.begin(place.folder, *command)
        until(lambda: len(place.told()) >= 4, "the first mails arrive")
        os.kill(pid, number)
        until(lambda: "Nothing more is sent" in runs.said(), "the signal is heard")
    return runs.finish()


def counts(ended: Ended) -> tuple[int, int]:
    """Return how many were handed over, and how many wait, as the last line says it."""
    last = ended.said.strip().splitlines()[-1]
    found = re.search(r"(\d+) handed over.*; (\d+) wait\. ", last)
    assert found, ended.said
    return int(found[1]), int(found[2])


@pytest.mark.parametrize("number", RESUMABLE)
def test_a_supervisor_or_a_lost_terminal_ends_a_run_that_the_next_one_finishes(
    place: Place, runs: Runs, number: signal.Signals
) -> None:
    ended = interrupted(place, runs, number, *SEND)
    assert ended.code == 143
    assert ended.said.strip().splitlines()[-1].startswith(f"Ended by {number.name}: ")
    handed, wait = counts(ended)
    assert handed == len(place.told())
    assert handed + wait == place.people + 1
    place.check_nobody_twice_nobody_lost(runs.run(place.folder, "tick"), in_doubt=0)


def test_a_person_stops_the_incident_and_resume_finishes_it(place: Place, runs: Runs) -> None:
    ended = interrupted(place, runs, signal.SIGINT, *SEND)
    assert ended.code == 130
    assert ended.said.endswith("Go on with: commcast resume pay7\n")
    handed, wait = counts(ended)
    assert (handed, handed + wait) == (len(place.told()), place.people + 1)
    assert runs.run(place.folder, "tick").code == 0
    assert len(place.told()) == handed, "a tick went on with what a person had stopped"
    place.check_nobody_twice_nobody_lost(runs.run(place.folder, "resume", "pay7"), in_doubt=0)


@pytest.mark.parametrize("command", [("tick",), ("resume", "pay7")])
def test_every_command_that_sends_ends_alike(place: Place, runs: Runs, command: tuple[str, ...]) -> None:
    interrupted(place, runs, signal.SIGTERM, *SEND)
    before = len(place.told())
    with place.receiver.shut():
        pid = runs.begin(place.folder, *command)
        until(lambda: len(place.told()) > before, "it goes on")
        os.kill(pid, signal.SIGTERM)
        until(lambda: "Nothing more is sent" in runs.said(), "the signal is heard")
    ended = runs.finish()
    assert ended.code == 143
    assert "Ended by SIGTERM: " in ended.said
    place.check_nobody_twice_nobody_lost(runs.run(place.folder, "tick"), in_doubt=0)


def test_ctrl_c_once_more_ends_at_once_and_what_was_on_its_way_is_unknown(place: Place, runs: Runs) -> None:
    with place.receiver.shut():
        pid = runs.begin(place.folder, *SEND, again_after=0.0)
        until(lambda: len(place.told()) >= 4, "the first mails arrive")
        os.kill(pid, signal.SIGINT)
        until(lambda: "Nothing more is sent" in runs.said(), "the signal is heard")
        os.kill(pid, signal.SIGINT)
        ended = runs.finish()
    assert ended.code == 130
    rows = place.rows()
    assert rows["claimed"] == 0
    assert 4 <= rows["unknown"] <= 8
    assert f"{rows['unknown']} of them unknown; " in ended.said
    handed, wait = counts(ended)
    assert (handed, wait) == (rows["unknown"], rows["pending"])
    assert runs.run(place.folder, "resume", "pay7").code in {0, 1}
    assert set(place.told().values()) == {1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_list_is_read_and_frozen_leaves_nothing_half(
    place: Place, runs: Runs, number: signal.Signals
) -> None:
    many = [f"many{i}.{place.tag}@example.com,,Customer {i}" for i in range(4_000)]
    few = (place.folder / "audiences" / "customers.csv").read_text()
    write_list(place.folder, "customers", "email,phone,name", many)
    pid = runs.begin(place.folder, *SEND)
    until(lambda: frozen_so_far(place) > 0, "the list is being frozen")
    os.kill(pid, number)
    ended = runs.finish()
    assert ended.code == (130 if number == signal.SIGINT else 143)
    assert ended.said.strip(), "it ended without a word"
    assert not place.told()
    assert frozen_so_far(place) == 0
    (place.folder / "audiences" / "customers.csv").write_text(few)
    again = ("resume", "pay7") if number == signal.SIGINT else ("tick",)
    place.check_nobody_twice_nobody_lost(runs.run(place.folder, *again), in_doubt=0)


def frozen_so_far(place: Place) -> int:
    with closing(sqlite3.connect(f"{place.ledger.as_uri()}?mode=rw", uri=True)) as connection:
        return int(connection.execute("select count(*) from delivery").fetchone()[0])


def test_what_nohup_has_let_ignore_stays_ignored(place: Place) -> None:
    command = ["nohup", sys.executable, "-m", "commcast", *SEND]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with place.receiver.shut():
        sending = subprocess.Popen(
            command,
            cwd=place.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        until(lambda: len(place.told()) >= 4, "the first mails arrive")
        sending.send_signal(signal.SIGHUP)
    said, _ = sending.communicate(timeout=60)
    place.check_nobody_twice_nobody_lost(Ended(sending.returncode, said), in_doubt=0)


def test_whoever_stops_reading_its_output_does_not_stop_a_run_nor_change_its_code(place: Place) -> None:
    command = f"{sys.executable} -m commcast {' '.join(SEND)}"
    shell = f"set -o pipefail; {command} 2>&1 | true; echo code $?; {command} --json | head -c 1 >/dev/null"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", shell], cwd=place.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "code 0\n"
    assert "Traceback" not in done.stderr
    place.check_nobody_twice_nobody_lost(Ended(0, done.stderr), in_doubt=0)
