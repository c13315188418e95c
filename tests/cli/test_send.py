"""commcast send: nothing goes out that nobody released; the same again sends nothing."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from commcast.cli import prompt as asking
from commcast.config.load import load_config
from commcast.ledger.releases import read_releases
from commcast.ledger.store import ledger_path, open_ledger
from commcast.operations import release
from commcast.operations import send as sending
from tests.support.terminal import declare, everything_in, outbox, run_at_terminal

DRAFT = """\
title: Card payments fail
severity: 1
updates:
  - issue: Some cards are refused.
    resolution: We roll back the last release.
    timeframe: unknown
"""


def draft(desk: Path, name: str = "card1", text: str = DRAFT) -> Path:
    path = desk / "incidents" / f"{name}.yaml"
    path.write_text(text)
    return path


def releases(desk: Path, incident: str = "card1") -> list[int]:
    ledger = open_ledger(ledger_path(desk), load_config(desk).desk)
    with ledger.read() as connection:
        found = sorted(read_releases(connection, incident))
    ledger.close()
    return found


def nothing_went_out(desk: Path) -> None:
    """Neither now, nor by any tick that comes later."""
    assert releases(desk) == []
    done = run_at_terminal(desk, "tick")
    # 5: a draft of long ago is to wake somebody, and these desks name nobody.
    assert done.exit_code in {0, 2, 5}, done.output
    assert outbox(desk) == []


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize("typed", ["n\n", "\n", "maybe\n", "yes please\n", ""])
def test_anything_but_yes_keeps_the_draft_and_a_tick_sends_nothing(desk: Path, typed: str) -> None:
    before = draft(desk).read_text()
    done = run_at_terminal(desk, "send", "card1", typed=typed)
    assert done.exit_code == 5
    assert "commcast send card1" in done.stderr
    assert "commcast discard card1" in done.stderr
    assert (desk / "incidents" / "card1.yaml").read_text() == before
    nothing_went_out(desk)


@pytest.mark.usefixtures("person")
def test_ctrl_c_at_the_question_is_final(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_question: str, _seconds: float) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(asking, "ask", interrupted)
    draft(desk)
    done = run_at_terminal(desk, "send", "card1")
    assert done.exit_code == 130
    assert "nothing was released" in done.stderr
    nothing_went_out(desk)


def test_without_a_terminal_and_without_yes_nothing_is_released(desk: Path) -> None:
    draft(desk)
    done = run_at_terminal(desk, "send", "card1", typed="y\n")
    assert done.exit_code == 5
    nothing_went_out(desk)


def test_a_half_typed_file_is_named_and_nothing_goes_out(desk: Path) -> None:
    draft(desk, text=DRAFT[: DRAFT.index("resolution")] + "res")
    done = run_at_terminal(desk, "send", "card1", "--yes")
    assert done.exit_code == 2
    assert "incidents/card1.yaml:5:" in done.stderr
    nothing_went_out(desk)


@pytest.mark.usefixtures("person")
def test_a_yes_writes_the_time_that_was_shown_and_sends_once(desk: Path) -> None:
    path = draft(desk)
    done = run_at_terminal(desk, "send", typed="y\n")
    assert done.exit_code == 0, done.output
    assert "at: 2" in path.read_text()
    assert len(outbox(desk)) == 7


def test_the_same_send_again_says_so_and_sends_nothing(desk: Path) -> None:
    declare(desk, "--yes")
    sent = outbox(desk)
    for arguments in (["send", "card1"], ["send"], ["send", "card1", "--yes"]):
        done = run_at_terminal(desk, *arguments)
        assert done.exit_code == 0, done.output
        assert "already sent" in done.stdout
    assert outbox(desk) == sent


def test_send_without_an_id_and_several_drafts_lists_them(desk: Path) -> None:
    draft(desk, "card1")
    draft(desk, "login1")
    done = run_at_terminal(desk, "send", "--yes")
    assert done.exit_code == 2
    assert "card1, login1" in done.stderr
    assert outbox(desk) == []


def test_three_broken_files_give_all_their_faults(desk: Path) -> None:
    draft(desk, "a1", DRAFT.replace("severity: 1", "severity: 9"))
    draft(desk, "b1", DRAFT.replace("unknown", "soon"))
    draft(desk, "c1", "title: [\n")
    done = run_at_terminal(desk, "send", "--yes")
    assert done.exit_code == 2
    for place in ("incidents/a1.yaml:2:11: ", "incidents/b1.yaml:6:16: ", "incidents/c1.yaml:"):
        assert place in done.stderr, done.stderr
    assert outbox(desk) == []


def test_a_good_incident_goes_out_although_another_file_is_broken(desk: Path) -> None:
    draft(desk)
    draft(desk, "b1", "title: [\n")
    done = run_at_terminal(desk, "send", "card1", "--yes")
    assert done.exit_code == 0, done.output
    assert "commcast lint" in done.stderr


def test_a_renamed_file_is_refused_with_the_remedy(desk: Path) -> None:
    draft(desk)
    run_at_terminal(desk, "send", "--yes")
    sent = outbox(desk)
    (desk / "incidents" / "card1.yaml").rename(desk / "incidents" / "card9.yaml")
    done = run_at_terminal(desk, "send", "card9", "--yes")
    assert done.exit_code == 2
    assert "id: card1" in done.stderr
    assert outbox(desk) == sent


def test_released_words_that_changed_are_refused(desk: Path) -> None:
    path = draft(desk)
    run_at_terminal(desk, "send", "--yes")
    sent = outbox(desk)
    path.write_text(path.read_text().replace("Some cards", "All cards"))
    for verb in (["send", "card1", "--yes"], ["update", "card1", "--issue", "More.", "--yes"]):
        done = run_at_terminal(desk, *verb)
        assert done.exit_code == 2, done.output
        assert "was released and has changed since" in done.stderr
    assert outbox(desk) == sent


def test_without_its_ledger_nothing_is_sent(desk: Path) -> None:
    draft(desk)
    (desk / ".commcast" / "ledger.db").unlink()
    for more in ([], ["--dry-run"]):
        done = run_at_terminal(desk, "send", "card1", "--yes", *more)
        assert done.exit_code == 3, done.output
        assert "doctor --adopt-ledger" in done.stderr
    assert outbox(desk) == []


def test_with_the_ledger_of_another_desk_nothing_is_sent(desk: Path, tmp_path: Path) -> None:
    run_at_terminal(tmp_path, "init", str(tmp_path / "other"))
    draft(desk)
    (tmp_path / "other" / ".commcast" / "ledger.db").replace(desk / ".commcast" / "ledger.db")
    for more in ([], ["--dry-run"]):
        done = run_at_terminal(desk, "send", "card1", "--yes", *more)
        assert done.exit_code == 3, done.output
        assert "another desk" in done.stderr
    assert outbox(desk) == []


@pytest.mark.usefixtures("person")
def test_a_list_that_changes_at_the_question_sends_nothing(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person said yes to those they saw; somebody added a reader meanwhile: they are asked again."""
    answers = iter([True, False])

    def yes_after_a_change(_question: str, _seconds: float) -> bool:
        with (desk / "audiences" / "support.csv").open("a") as file:
            file.write("new@desk.example,New\n")
        return next(answers)

    monkeypatch.setattr(asking, "says_yes", yes_after_a_change)
    before = draft(desk).read_text()
    done = run_at_terminal(desk, "send", "card1")
    assert done.exit_code == 5
    assert "have changed since you looked" in done.stderr
    assert (desk / "incidents" / "card1.yaml").read_text() == before
    nothing_went_out(desk)


@pytest.mark.usefixtures("person")
def test_words_that_change_at_the_question_are_not_sent(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second question shows the new ones; its yes is a yes to these."""
    asked: list[bool] = []

    def yes_after_a_change(_question: str, _seconds: float) -> bool:
        asked.append(True)
        draft(desk, text=DRAFT.replace("Some cards", "All cards"))
        return True

    monkeypatch.setattr(asking, "says_yes", yes_after_a_change)
    draft(desk)
    done = run_at_terminal(desk, "send", "card1")
    assert (done.exit_code, len(asked)) == (0, 2), done.output
    assert "have changed since you looked" in done.stderr
    assert all("All cards" in (desk / "outbox" / each).read_text() for each in outbox(desk))


@pytest.mark.usefixtures("person")
def test_a_question_that_stood_too_long_is_asked_anew(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its times have passed: 10:25 is no promise at 10:40."""
    monkeypatch.setattr(release, "QUESTION_STANDS", timedelta(seconds=-1))
    draft(desk)
    done = run_at_terminal(desk, "send", "card1", typed="y\n")
    assert done.exit_code == 5
    assert "no longer right" in done.stderr
    nothing_went_out(desk)


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize(("typed", "code"), [("y\n", 5), ("6\n", 5), ("7\n", 0)])
def test_above_confirm_above_the_number_is_typed(desk: Path, typed: str, code: int) -> None:
    config = desk / "commcast.toml"
    config.write_text(config.read_text().replace("confirm_above = 1000", "confirm_above = 6"))
    draft(desk)
    done = run_at_terminal(desk, "send", "card1", typed=typed)
    assert done.exit_code == code, done.output
    assert "Type 7 to send" in done.stderr
    assert len(outbox(desk)) == (7 if code == 0 else 0)


def test_a_stopped_incident_is_not_sent_and_its_draft_is_kept(desk: Path) -> None:
    draft(desk)
    assert run_at_terminal(desk, "stop", "card1").exit_code == 0
    done = run_at_terminal(desk, "send", "card1", "--yes")
    assert done.exit_code == 5
    assert "commcast resume card1" in done.stderr
    assert outbox(desk) == []


def test_words_older_than_their_promise_go_only_with_late(desk: Path) -> None:
    old = (datetime.now(UTC) - timedelta(hours=3)).isoformat(timespec="minutes")
    draft(desk, text=DRAFT.replace("  - issue", f"  - at: {old}\n    issue"))
    done = run_at_terminal(desk, "send", "card1", "--yes")
    assert done.exit_code == 5
    assert "--late" in done.stderr
    nothing_went_out(desk)
    assert run_at_terminal(desk, "send", "card1", "--yes", "--late").exit_code == 0
    assert len(outbox(desk)) == 7


def test_lists_without_anybody_are_an_error_before_the_question(desk: Path) -> None:
    for path in (desk / "audiences").glob("*.csv"):
        path.write_text("email,phone\n")
    draft(desk)
    done = run_at_terminal(desk, "send", "card1", "--yes")
    assert done.exit_code == 2
    assert re.match("no recipients: audiences/.+, audiences/.+ have no usable row$", done.stderr, re.M)
    nothing_went_out(desk)


def test_a_dry_run_leaves_every_byte_and_shows_what_send_hands_over(desk: Path) -> None:
    """Also beside a ledger whose write-ahead log is not moved in yet."""
    declare(desk, "--yes")
    draft(desk, "login1", DRAFT.replace("Card payments fail", "Sign-in fails"))
    ledger = open_ledger(ledger_path(desk), load_config(desk).desk)
    with ledger.read():
        assert (desk / ".commcast" / "ledger.db-wal").exists()
        before = everything_in(desk)
        done = run_at_terminal(desk, "send", "login1", "--dry-run", "--json")
        assert everything_in(desk) == before
    ledger.close()
    planned = json.loads(done.stdout)
    sent = set(outbox(desk))
    assert run_at_terminal(desk, "send", "login1", "--yes").exit_code == 0
    mails = [name for name in outbox(desk) if name not in sent and name.endswith(".eml")]
    subjects = set()
    for name in mails:
        mail = message_from_bytes((desk / "outbox" / name).read_bytes(), policy=policy.default)
        subjects.add(str(mail["Subject"]))
    shown = {
        part["message"]["subject"]
        for notice in planned["notices"]
        if notice["channel"] == "email"
        for part in notice["audiences"]
    }
    assert shown == subjects
    assert planned["send"] == 7


def test_json_tells_what_became_of_each_audience(desk: Path) -> None:
    draft(desk)
    document = json.loads(run_at_terminal(desk, "send", "--yes", "--json").stdout)
    assert document["released"] == [1]
    assert document["exit_code"] == 0
    assert sum(row["accepted"] for row in document["outcomes"]) == 7


def test_two_drafts_are_released_together_and_readers_get_the_newest(desk: Path) -> None:
    draft(desk, text=DRAFT + "  - status: identified\n    issue: All cards are refused.\n")
    done = run_at_terminal(desk, "send", "--yes")
    assert done.exit_code == 0, done.output
    assert releases(desk) == [1, 2]
    assert len([name for name in outbox(desk) if name.endswith(".eml")]) == 6


def test_an_incident_that_is_not_there_names_those_that_are(desk: Path) -> None:
    draft(desk)
    done = run_at_terminal(desk, "send", "pay9")
    assert done.exit_code == 2
    assert "there is no incident 'pay9'; known: card1" in done.stderr


def test_old_files_over_an_empty_ledger_are_neither_sent_nor_in_the_way(desk: Path) -> None:
    """A hundred resolved incidents of before are history."""
    old = (
        DRAFT.replace("  - issue", "  - at: 2025-01-02T10:00Z\n    issue")
        + "  - at: 2025-01-02T11:00Z\n    status: resolved\n    fixed: It is fixed.\n"
    )
    for number in range(100):
        draft(desk, f"old{number}", old.replace("Card payments", f"Old card payments {number}"))
    assert run_at_terminal(desk, "tick").exit_code == 0
    assert outbox(desk) == []
    assert "Nothing to send" in run_at_terminal(desk, "send").stdout
    draft(desk)
    assert run_at_terminal(desk, "send", "--yes").exit_code == 0
    assert len(outbox(desk)) == 7


@pytest.mark.usefixtures("person")
def test_ctrl_c_after_the_yes_stops_the_incident_until_resume(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object, **_named: object) -> None:
        raise KeyboardInterrupt

    draft(desk)
    with monkeypatch.context() as patch:
        patch.setattr(sending, "hand_over", interrupted)
        done = run_at_terminal(desk, "send", "card1", typed="y\n")
    assert done.exit_code == 130, done.output
    assert "commcast resume card1" in done.stderr
    run_at_terminal(desk, "tick")
    assert outbox(desk) == []
    assert run_at_terminal(desk, "resume", "card1").exit_code == 0
    assert len(outbox(desk)) == 7


def test_after_sending_the_next_promise_is_named(desk: Path) -> None:
    draft(desk)
    done = run_at_terminal(desk, "send", "--yes")
    assert "Next word is promised by" in done.stderr
    assert "commcast update card1" in done.stderr
