"""A correction while another process sends the wrong words, or was killed at it: over a real mail server."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from email import message_from_bytes, policy

import pytest

from commcast.ledger.tables import State
from tests.faults.runs import SEND, Place, Runs, until

CORRECT = ("correct", "pay7", "--wrong", "pay by card", "--right", "pay by invoice", "--yes")
QUOTE = "we said “pay by card”"


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Runs beside those of the fixture `runs`."""
    log = tmp_path_factory.mktemp("others") / "run.log"
    log.touch()  # it is looked into from the first moment
    started = Runs(log)
    yield started
    started.close()


def mails(place: Place) -> dict[str, list[str]]:
    """Return, by address, the texts of the mails that it got, in order."""
    found: dict[str, list[str]] = {}
    for received in list(place.receiver.gate.messages):
        body = message_from_bytes(received.raw, policy=policy.default).get_body(("plain",))
        assert body is not None
        for address in received.recipients:
            if f".{place.tag}@" in address:
                found.setdefault(address, []).append(" ".join(str(body.get_content()).split()))
    return found


def check_all_put_right(place: Place, got_wrong: set[str]) -> None:
    """Who got, or may have got, the wrong words reads the correction once; the others only what is right."""
    found = mails(place)
    in_doubt = place.addresses(State.UNKNOWN)
    assert len(found) == place.people + 1
    for address, texts in found.items():
        wrong = [text for text in texts if "when they pay by card" in text]
        corrections = [text for text in texts if QUOTE in text]
        right = [text for text in texts if "when they pay by invoice" in text]
        assert len(right) == 1, address
        assert len(wrong) == (address in got_wrong), address
        assert len(corrections) == (address in got_wrong or address in in_doubt), address
    assert got_wrong


def test_another_process_is_sending_when_it_is_noticed(place: Place, runs: Runs, others: Runs) -> None:
    with place.receiver.shut():
        runs.begin(place.folder, *SEND)
        until(lambda: len(place.told()) >= 4, "the first mails arrive")
        others.begin(place.folder, *CORRECT)
        until(lambda: "Waiting for the answers" in others.said(), "the correction waits for the answers")
        got_wrong = set(place.told())
    ended, corrected = runs.finish(), others.finish()
    first = "an error when they pay by card."
    got_wrong |= {address for address, texts in mails(place).items() if any(first in text for text in texts)}
    assert "until the correction is ready" in ended.said, ended.said
    assert corrected.code == 0, corrected.said
    check_all_put_right(place, got_wrong)
    assert runs.run(place.folder, "tick").code == 0
    check_all_put_right(place, got_wrong)


def test_the_sending_process_was_killed(place: Place, runs: Runs, others: Runs) -> None:
    with place.receiver.shut():
        pid = runs.begin(place.folder, *SEND)
        until(lambda: len(place.told()) >= 4, "the first mails arrive")
        os.kill(pid, signal.SIGKILL)
        runs.finish()
    got_wrong = set(place.told())
    corrected = others.run(place.folder, *CORRECT)
    assert corrected.code in {0, 1}, corrected.said
    check_all_put_right(place, got_wrong)


def test_a_correction_that_was_killed_is_finished_by_the_next_tick(place: Place, runs: Runs) -> None:
    assert runs.run(place.folder, *SEND).code == 0
    before = len(place.receiver.gate.messages)
    with place.receiver.shut():
        pid = runs.begin(place.folder, *CORRECT)
        until(lambda: len(place.receiver.gate.messages) > before, "the first corrections arrive")
        os.kill(pid, signal.SIGKILL)
        runs.finish()
    runs.run(place.folder, "tick")
    found = mails(place)
    in_doubt = place.addresses(State.UNKNOWN)
    corrected = {address for address, texts in found.items() if any(QUOTE in text for text in texts)}
    assert corrected | in_doubt == set(found)
    assert all(sum(QUOTE in text for text in texts) <= 1 for texts in found.values())
