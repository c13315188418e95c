"""commcast declare: one line in the worst minute; what is wrong writes nothing."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.terminal import declare, everything_in, outbox, run_at_terminal


def files(desk: Path) -> list[str]:
    return sorted(path.name for path in (desk / "incidents").glob("*.yaml"))


def test_one_line_declares_and_tells_everybody(desk: Path) -> None:
    done = declare(desk, "--yes")
    assert done.exit_code == 0, done.output
    assert files(desk) == ["card1.yaml"]
    assert len(outbox(desk)) == 7
    assert "card1: update 1 released, 7 handed over." in done.stdout


def test_two_of_the_same_title_get_different_ids(desk: Path) -> None:
    assert declare(desk, "--yes").exit_code == 0
    assert declare(desk, "--yes").exit_code == 0
    assert files(desk) == ["card1.yaml", "card2.yaml"]


def test_an_id_that_the_ledger_knows_is_not_used_again(desk: Path) -> None:
    """Under the old id everybody would already have been told."""
    declare(desk, "--yes")
    (desk / "incidents" / "card1.yaml").unlink()
    assert declare(desk, "--yes", "--scope", "All cards.").exit_code == 0
    assert files(desk) == ["card2.yaml"]
    refused = declare(desk, "--yes", "--id", "card1")
    assert refused.exit_code == 2
    assert "card1 is in use already" in refused.stderr


def test_without_a_terminal_every_missing_option_is_listed_at_once(desk: Path) -> None:
    before = everything_in(desk)
    done = run_at_terminal(desk, "declare", "Cards fail")
    assert done.exit_code == 2
    for option in ("--severity", "--issue", "--resolution", "--timeframe"):
        assert f"{option} is missing" in done.stderr
    assert everything_in(desk) == before


@pytest.mark.usefixtures("person")
def test_what_is_missing_is_asked_for_until_it_can_be_used(desk: Path) -> None:
    typed = "Cards fail\n7\n1\nSome cards are refused.\nWe look.\nsoon\nunknown\ny\n"
    done = run_at_terminal(desk, "declare", typed=typed)
    assert done.exit_code == 0, done.output
    assert "write 1 (the worst) to 4" in done.stderr
    assert "'soon' is not a timeframe" in done.stderr
    assert len(outbox(desk)) == 7


@pytest.mark.usefixtures("person")
def test_an_estimate_that_has_just_passed_is_asked_for_again(desk: Path) -> None:
    """It would be read as tomorrow, and refused once everything else was answered, too."""
    passed = f"by {datetime.now(UTC) - timedelta(minutes=5):%H:%M}"
    done = run_at_terminal(
        desk, "declare", typed=f"Cards fail\n1\nSome fail.\nWe look.\n{passed}\nunknown\ny\n"
    )
    assert done.exit_code == 0, done.output
    assert f"{passed} is on " in done.stderr


@pytest.mark.usefixtures("person")
def test_input_that_ends_while_words_are_asked_for_writes_nothing(desk: Path) -> None:
    done = run_at_terminal(desk, "declare", "Cards fail", typed="1\nSome cards are refused.\n")
    assert done.exit_code == 5
    assert files(desk) == []


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--timeframe", "soon", "--timeframe: 'soon' is not a timeframe"),
        ("--next", "20", "--next: "),
        ("--next", "9h", "--next: next_update is later than the cadence"),
        ("--status", "broken", "--status: "),
        ("--owner", "nobody", "--owner: "),
        ("--audience", "martians", "--audience: "),
        ("--started", "yesterday", "--started: "),
        ("--issue", "a\x1b[2Jb", "--issue: "),
        ("--confidence", "sure", "--confidence: "),
        ("--id", "../x", "--id: "),
    ],
)
def test_a_fault_names_the_option_and_writes_nothing(desk: Path, option: str, value: str, said: str) -> None:
    before = everything_in(desk)
    done = declare(desk, option, value, "--yes")
    assert done.exit_code == 2, done.output
    assert said in done.stderr, done.stderr
    assert everything_in(desk) == before


def test_a_title_cannot_write_on_the_terminal(desk: Path) -> None:
    done = declare(desk, "--dry-run", title="Cards \x1b]0;owned\x07 fail")
    assert done.exit_code == 2
    assert "\x1b" not in done.output


def test_a_preset_brings_its_words_and_options_go_over_them(desk: Path) -> None:
    done = run_at_terminal(desk, "declare", "payments", "--severity", "2", "--timeframe", "30m", "--yes")
    assert done.exit_code == 0, done.output
    text = (desk / "incidents" / "card1.yaml").read_text()
    assert "severity: 2" in text
    assert "timeframe: 30m" in text
    assert "Some customers see an error when they pay by card." in text


def test_a_dry_run_shows_all_and_leaves_every_byte(desk: Path) -> None:
    declare(desk, "--yes")
    before = everything_in(desk)
    done = declare(desk, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "Some cards are refused." in done.stdout
    assert "Dry run: nothing was written, nothing was sent." in done.stdout
    assert everything_in(desk) == before


def test_a_dry_run_as_json_counts_what_would_go_out(desk: Path) -> None:
    done = declare(desk, "--dry-run", "--json")
    document = json.loads(done.stdout)
    assert (document["commcast"], document["version"], document["send"]) == ("plan", 1, 7)


def test_the_editor_is_started_without_a_shell_and_its_text_is_used(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "my editor"
    editor.write_text("#!/bin/sh\nsed -i 's/Some cards/All cards/' \"$1\"\n")
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", f"'{editor}'")
    done = declare(desk, "--edit", "--yes")
    assert done.exit_code == 0, done.output
    assert "All cards are refused." in (desk / "incidents" / "card1.yaml").read_text()


def test_an_editor_that_fails_writes_nothing(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "false")
    assert declare(desk, "--edit", "--yes").exit_code == 2
    assert files(desk) == []


@pytest.mark.usefixtures("person")
def test_an_editor_fills_what_is_missing(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled = tmp_path / "filled.yaml"
    filled.write_text(
        "# ours\ntitle: Cards fail\nseverity: 1\nupdates:\n  - issue: Cards fail.\n"
        "    resolution: We look.\n    timeframe: unknown\n"
    )
    monkeypatch.setenv("EDITOR", f"cp {filled}")
    assert run_at_terminal(desk, "declare", "Cards fail", "--edit", "--yes").exit_code == 0
    assert "# ours" in next((desk / "incidents").glob("*.yaml")).read_text()


def test_a_broken_ledger_keeps_the_words_and_sends_nothing(desk: Path) -> None:
    (desk / ".commcast" / "ledger.db").unlink()
    done = declare(desk, "--yes")
    assert done.exit_code == 3
    assert "The draft is kept in incidents/card1.yaml" in done.stderr
    assert files(desk) == ["card1.yaml"]
    assert outbox(desk) == []


def test_a_clock_time_is_the_last_one_of_the_desk(desk: Path) -> None:
    """Whoever types 23:59 in the morning means yesterday's."""
    began = datetime.now(UTC) - timedelta(hours=11)
    assert declare(desk, "--yes", "--started", f"{began:%H:%M}").exit_code == 0
    text = (desk / "incidents" / "card1.yaml").read_text()
    assert f"started: {began:%Y-%m-%dT%H:%M}+00:00" in text


def test_the_first_incident_makes_its_folder(desk: Path) -> None:
    (desk / "incidents" / ".gitkeep").unlink(missing_ok=True)
    shutil.rmtree(desk / "incidents")
    assert declare(desk, "--yes").exit_code == 0
    assert files(desk) == ["card1.yaml"]


def test_an_option_that_holds_no_text_is_named(desk: Path) -> None:
    done = declare(desk, "--scope", "caf\udce9", title="Cards \udcff")
    assert done.exit_code == 2
    assert [line.partition(";")[0] for line in done.stderr.splitlines()] == [
        "TITLE holds bytes that are no text",
        "--scope holds bytes that are no text",
    ]
    assert files(desk) == []


def test_an_editor_that_leaves_a_pipe_does_not_hang(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nrm "$1"; mkfifo "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    done = declare(desk, "--edit", "--yes")
    assert (done.exit_code, "the edited text: is not a regular file" in done.stderr) == (2, True)


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize(("bad", "named"), [("\x1b[A", "U+001B"), ("a\u2028b", "U+2028"), ("a\tb", "U+0009")])
def test_an_answer_that_no_file_may_hold_is_asked_for_again(desk: Path, bad: str, named: str) -> None:
    typed = f"1\nSome {bad} cards.\nSome cards.\nWe look.\nunknown\ny\n"
    done = run_at_terminal(desk, "declare", "Cards fail", typed=typed)
    assert done.exit_code == 0, done.output
    assert f"holds the control character {named}; type it once more" in done.stderr
    assert "Some cards." in (desk / "incidents" / files(desk)[0]).read_text()


@pytest.mark.parametrize("severity", ["one", "0", "5", "1.5", ""])
def test_a_severity_that_is_none_is_explained(desk: Path, severity: str) -> None:
    done = run_at_terminal(desk, "declare", "Card payments fail", "--severity", severity)
    assert done.exit_code == 2
    assert f"--severity: severity is 1, 2, 3 or 4, not {severity!r}; 1 is the worst" in done.stderr


def test_a_start_that_is_still_to_come_was_not_yesterday(desk: Path) -> None:
    """A slip of the finger is not told to readers as an outage of a day."""
    ahead = datetime.now(UTC) + timedelta(minutes=30)
    done = declare(desk, "--started", f"{ahead:%H:%M}", "--yes")
    assert done.exit_code == 2
    last = ahead - timedelta(days=1)
    assert f"--started: {ahead:%H:%M} was last on {last:%a} {last.day} {last:%b}" in done.stderr
    assert outbox(desk) == []


@pytest.mark.parametrize("typed", ["paymets", "Payments", " payment"])
def test_what_is_nearly_a_preset_is_told_which(desk: Path, typed: str) -> None:
    done = run_at_terminal(desk, "declare", typed)
    assert done.exit_code == 2
    assert "--severity is missing" in done.stderr
    assert done.stderr.endswith("is no preset; did you mean: commcast declare payments\n")


@pytest.mark.usefixtures("person")
def test_at_a_terminal_it_is_told_before_anything_is_asked(desk: Path) -> None:
    done = run_at_terminal(desk, "declare", "paymets")
    assert done.stderr.startswith("'paymets' is no preset; did you mean: commcast declare payments\n")


def test_a_title_that_is_far_from_any_preset_is_left_alone(desk: Path) -> None:
    assert "preset" not in run_at_terminal(desk, "declare", "Card payments fail").stderr.lower()


def test_without_any_word_the_presets_are_listed(desk: Path) -> None:
    (desk / "presets" / "warehouse.yaml").write_text("title: [\n")
    said = run_at_terminal(desk, "declare").stderr
    assert said.endswith(
        "Presets, nearly written already:\n"
        "  commcast declare dependency | login | payments | slow | warehouse\n"
    )
