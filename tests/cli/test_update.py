"""commcast update, resolve and discard: old lines stay as they are, and only drafts are taken back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.terminal import declare, everything_in, outbox, run_at_terminal

FILE = "incidents/card1.yaml"


@pytest.fixture
def told(desk: Path) -> Path:
    """A desk whose customers know of one incident."""
    assert declare(desk, "--yes").exit_code == 0
    return desk


def test_an_update_is_appended_below_untouched_lines_and_sent(told: Path) -> None:
    path = told / FILE
    path.write_text("# ours: keep me\n" + path.read_text())
    before, sent = path.read_text(), len(outbox(told))
    done = run_at_terminal(
        told, "update", "--nothing-new", "The rollback is at 60%.", "--next", "20m", "--yes"
    )
    assert done.exit_code == 0, done.output
    assert path.read_text().startswith(before)
    assert len(outbox(told)) == sent + 6  # a plain update is not texted


def test_the_end_reaches_whoever_heard_the_beginning(told: Path) -> None:
    sent = len(outbox(told))
    done = run_at_terminal(
        told, "resolve", "--fixed", "We took back the release.", "--remains", "Receipts.", "--yes"
    )
    assert done.exit_code == 0, done.output
    assert len(outbox(told)) == sent + 7
    assert "already sent" in run_at_terminal(told, "send", "card1").stdout


@pytest.mark.parametrize("verb", [["update", "--issue", "More."], ["resolve", "--fixed", "Done."]])
def test_a_dry_run_leaves_every_byte(told: Path, verb: list[str]) -> None:
    before = everything_in(told)
    done = run_at_terminal(told, *verb, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "nothing was sent" in done.stdout
    assert everything_in(told) == before


@pytest.mark.parametrize("verb", [["update", "--issue", "More."], ["resolve", "--fixed", "Done."]])
def test_without_an_open_incident_there_is_nothing_to_say(desk: Path, verb: list[str]) -> None:
    done = run_at_terminal(desk, *verb, "--yes")
    assert done.exit_code == 2
    assert "commcast declare" in done.stderr


def test_without_an_id_several_open_incidents_are_listed(told: Path) -> None:
    declare(told, "--yes", title="Sign-in fails")
    before = everything_in(told / "incidents")
    done = run_at_terminal(told, "update", "--issue", "More.", "--yes")
    assert done.exit_code == 2
    assert "card1, sign1" in done.stderr
    assert everything_in(told / "incidents") == before


@pytest.mark.parametrize("verb", [["resolve", "--fixed", "Again."], ["retract", "--because", "No."]])
def test_what_is_over_is_told_the_verbs_that_go_on(told: Path, verb: list[str]) -> None:
    run_at_terminal(told, "resolve", "--fixed", "Done.", "--yes")
    done = run_at_terminal(told, verb[0], "card1", *verb[1:], "--yes")
    assert done.exit_code == 2
    assert "commcast reopen card1" in done.stderr


def test_a_clock_time_to_come_is_no_end(told: Path) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=2)
    done = run_at_terminal(told, "resolve", "--fixed", "Done.", "--ended", f"{ahead:%H:%M}", "--yes")
    assert done.exit_code == 2
    assert "--ended: " in done.stderr
    assert "before it began; write when it was over" in done.stderr


def test_an_estimate_that_has_just_passed_is_no_time_tomorrow(told: Path) -> None:
    """Typed a few minutes late: readers would be told a time that nobody means."""
    now = datetime.now(UTC)
    before = everything_in(told)
    gone = now - timedelta(minutes=5)
    done = run_at_terminal(told, "update", "--timeframe", f"by {gone:%H:%M}", "--yes")
    assert done.exit_code == 2
    tomorrow = gone + timedelta(days=1)
    assert f"--timeframe: by {gone:%H:%M} is on {tomorrow:%a} {tomorrow.day} {tomorrow:%b}" in done.stderr
    assert f"'by {tomorrow:%Y-%m-%dT%H:%M}'" in done.stderr
    assert everything_in(told) == before
    meant = run_at_terminal(told, "update", "--timeframe", f"by {tomorrow:%Y-%m-%dT%H:%M}", "--yes")
    assert meant.exit_code == 0, meant.output


def test_nothing_follows_the_end(told: Path) -> None:
    run_at_terminal(told, "resolve", "--fixed", "Done.", "--yes")
    before = everything_in(told / "incidents")
    done = run_at_terminal(told, "update", "card1", "--issue", "More.", "--yes")
    assert done.exit_code == 2
    assert "card1 is over (resolved); if it is not: commcast reopen card1 --issue" in done.stderr
    assert everything_in(told / "incidents") == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--timeframe", "soon"], "--timeframe: "),
        (["--next", "8h"], "--next: "),
        (["--status", "scheduled"], "--status: "),
        (["--severity", "7"], "--severity: "),
        (["--confidence", "high"], "--confidence: "),
        ([], "there is nothing to say"),
    ],
)
def test_a_fault_names_the_option_and_writes_nothing(told: Path, options: list[str], said: str) -> None:
    before = (told / FILE).read_bytes()
    done = run_at_terminal(told, "update", "card1", *options, "--yes")
    assert done.exit_code == 2, done.output
    assert said in done.stderr, done.stderr
    assert (told / FILE).read_bytes() == before


@pytest.mark.parametrize("option", ["--issue", "--resolution"])
def test_nothing_new_is_not_said_above_new_words(told: Path, option: str) -> None:
    before = (told / FILE).read_bytes()
    words = ("--nothing-new", "At 60%.", option, "Cards fail in all of Europe.")
    done = run_at_terminal(told, "update", "card1", *words, "--yes")
    assert done.exit_code == 2, done.output
    assert f"leave --nothing-new out and write what is new in {option}, or leave {option} out" in done.stderr
    assert (told / FILE).read_bytes() == before


def test_an_empty_option_is_left_out_there_is_no_line_to_take_out(told: Path) -> None:
    done = run_at_terminal(told, "resolve", "card1", "--fixed", "Done.", "--remains", "", "--yes")
    assert done.exit_code == 2
    assert "--remains: is empty; write it, or leave --remains out" in done.stderr


def test_resolve_without_fixed_and_without_a_terminal_is_an_error(told: Path) -> None:
    assert "--fixed is missing" in run_at_terminal(told, "resolve", "--yes").stderr


@pytest.mark.usefixtures("person")
def test_resolve_asks_what_mended_it(told: Path) -> None:
    done = run_at_terminal(told, "resolve", typed="We took back the release.\nReceipts.\n\n\ny\n")
    assert done.exit_code == 0, done.output
    assert "fixed: We took back the release." in (told / FILE).read_text()
    assert "remains: Receipts." in (told / FILE).read_text()
    assert "if_it_persists" not in (told / FILE).read_text()


@pytest.mark.usefixtures("person")
def test_resolve_asks_when_it_ended_and_says_how_long_it_was(desk: Path) -> None:
    assert declare(desk, "--started", "2026-01-01T10:00Z", "--yes").exit_code == 0
    done = run_at_terminal(
        desk, "resolve", typed="Done.\n\n\nsoon\n2025-12-31T10:00Z\n2026-01-01T11:30Z\ny\n"
    )
    assert done.exit_code == 0, done.output
    assert "is no time" in done.stderr
    assert "before it began" in done.stderr
    assert "It lasted 1 hour 30 minutes." in done.stderr


def test_discard_gives_the_file_back_as_it_was(told: Path) -> None:
    before = (told / FILE).read_bytes()
    run_at_terminal(told, "update", "--issue", "More.")
    assert (told / FILE).read_bytes() != before
    done = run_at_terminal(told, "discard", "--yes")
    assert done.exit_code == 0, done.output
    assert (told / FILE).read_bytes() == before


def test_discard_removes_the_file_where_nothing_was_released(desk: Path) -> None:
    declare(desk)
    assert (desk / FILE).exists()
    assert run_at_terminal(desk, "discard", "card1", "--yes").exit_code == 0
    assert not (desk / FILE).exists()


def test_discard_takes_back_no_released_update(told: Path) -> None:
    before = (told / FILE).read_bytes()
    done = run_at_terminal(told, "discard", "card1", "--yes")
    assert done.exit_code == 2
    assert "card1 has no draft" in done.stderr
    assert (told / FILE).read_bytes() == before


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize("typed", ["n\n", ""])
def test_discard_asks_first(told: Path, typed: str) -> None:
    run_at_terminal(told, "update", "--issue", "More.", typed="n\n")
    before = (told / FILE).read_bytes()
    assert run_at_terminal(told, "discard", "card1", typed=typed).exit_code == 5
    assert (told / FILE).read_bytes() == before


def test_discard_without_a_terminal_needs_yes(desk: Path) -> None:
    declare(desk)
    done = run_at_terminal(desk, "discard", "card1", typed="y\n")
    assert (done.exit_code, "with --yes" in done.stderr) == (5, True), done.output
    assert (desk / FILE).exists()


def test_several_updates_are_discarded_in_the_plural(told: Path) -> None:
    for words in ("More.", "Still more."):
        run_at_terminal(told, "update", "--issue", words)
    done = run_at_terminal(told, "discard", "--yes")
    assert done.stdout == f"Discarded updates 2, 3 of {FILE}; nobody was told of them.\n"
    run_at_terminal(told, "update", "--issue", "More.")
    assert (
        run_at_terminal(told, "discard", "--yes").stdout
        == f"Discarded update 2 of {FILE}; nobody was told of it.\n"
    )


def test_a_discarded_end_leaves_the_incident_open(told: Path) -> None:
    run_at_terminal(told, "resolve", "--fixed", "Done.")
    assert run_at_terminal(told, "discard", "--yes").exit_code == 0
    assert run_at_terminal(told, "update", "--issue", "More.", "--yes").exit_code == 0


def test_a_clock_time_is_written_with_its_date(told: Path) -> None:
    """A draft that is released after that time would mean the next day."""
    soon = datetime.now(UTC) + timedelta(minutes=18)
    done = run_at_terminal(
        told, "update", "--issue", "More.", "--timeframe", f"by {soon:%H:%M}", "--next", f"{soon:%H:%M}"
    )
    assert done.exit_code == 5, done.output
    text = (told / FILE).read_text()
    assert f"timeframe: by {soon:%Y-%m-%dT%H:%M}+00:00\n" in text
    assert f"next_update: {soon:%Y-%m-%dT%H:%M}+00:00\n" in text.replace('"', "").replace("'", "")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("merged", "commcast merge card1 --into ID"),
        ("retracted", 'commcast retract card1 --because "…"'),
        ("expected", "readers were told that card1 has begun"),
    ],
)
def test_what_has_a_verb_of_its_own_or_has_begun_is_not_said_by_a_status(
    told: Path, status: str, says: str
) -> None:
    before = everything_in(told / "incidents")
    done = run_at_terminal(told, "update", "--status", status, "--yes")
    assert done.exit_code == 2
    assert says in done.stderr
    assert everything_in(told / "incidents") == before
