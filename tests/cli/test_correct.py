"""commcast correct: whoever got wrong words is told so there, all others get only the right ones."""

from __future__ import annotations

import email
import json
from datetime import UTC, datetime, timedelta
from email import policy
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from commcast.cli.correct import clock_near
from commcast.ledger.history import deliveries
from commcast.ledger.releases import stops_in_force
from commcast.ledger.store import ledger_path, open_copy
from commcast.ledger.tables import State
from tests.support.terminal import everything_in, outbox, run_at_terminal

FILE = "incidents/card1.yaml"
WRONG = ("correct", "--wrong", "3 hours", "--right", "30 minutes")
QUOTED = "we said “3 hours”"


def declared(desk: Path, *more: str, issue: str = "Some cards are refused for 3 hours.") -> None:
    done = run_at_terminal(
        desk,
        *("declare", "Card payments fail", "--severity", "1", "--issue", issue),
        *("--resolution", "We roll back.", "--timeframe", "unknown", *more),
    )
    assert done.exit_code == (0 if "--yes" in more else 5), done.output


@pytest.fixture
def told(desk: Path) -> Path:
    """A desk whose customers were told a wrong number by mail and by SMS."""
    declared(desk, "--yes")
    return desk


def texts_since(desk: Path, before: list[str]) -> tuple[list[str], list[str]]:
    """Return what the mails and the texts say that were handed over since."""
    new = [desk / "outbox" / name for name in outbox(desk) if name not in before]
    mails = [
        email.message_from_bytes(path.read_bytes(), policy=policy.default)
        for path in new
        if path.suffix == ".eml"
    ]
    bodies = [mail.get_body(("plain",)) for mail in mails]
    texts = [path.read_text() for path in new if path.suffix == ".txt"]
    return [" ".join(str(body.get_content()).split()) for body in bodies if body], texts


def stops(desk: Path) -> list[str]:
    with open_copy(ledger_path(desk), "", any_desk=True) as ledger:
        assert ledger is not None
        with ledger.read() as connection:
            return [stop.by for stop in stops_in_force(connection)]


def test_whoever_got_the_wrong_words_reads_both_on_each_channel(told: Path) -> None:
    before = outbox(told)
    done = run_at_terminal(told, *WRONG, "--yes")
    assert done.exit_code == 0, done.output
    mails, texts = texts_since(told, before)
    assert len(mails) == 6
    assert all(QUOTED in mail and "refused for 30 minutes" in mail for mail in mails)
    assert len(texts) == 1
    assert 'we said "3 hours", right is "30 minutes"' in texts[0]
    assert stops(told) == []


def test_the_file_says_what_was_wrong_and_what_is_right(told: Path) -> None:
    before = (told / FILE).read_text()
    run_at_terminal(told, *WRONG, "--yes")
    written = (told / FILE).read_text()
    assert written.startswith(before)
    added = written.removeprefix(before)
    assert "issue: Some cards are refused for 30 minutes." in added
    assert "corrects: [1]" in added
    assert "resolution" not in added, "what holds nothing wrong is carried forward"


def test_a_channel_that_the_wrong_words_never_went_by_gets_no_correction(desk: Path) -> None:
    declared(desk, "--resolution", "That takes 3 hours.", "--yes", issue="Some cards are refused.")
    before = outbox(desk)
    done = run_at_terminal(desk, *WRONG, "--yes")
    assert done.exit_code == 0, done.output
    mails, texts = texts_since(desk, before)
    assert len(mails) == 6
    assert texts == []


def test_words_that_nobody_got_are_an_error_that_names_the_nearest(told: Path) -> None:
    before = everything_in(told / "incidents"), outbox(told)
    done = run_at_terminal(told, "correct", "--wrong", "4 hours", "--right", "30 minutes", "--yes")
    assert done.exit_code == 2
    assert "no message of card1 says '4 hours'" in done.stderr
    assert "3 hours" in done.stderr
    assert (everything_in(told / "incidents"), outbox(told)) == before
    assert stops(told) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--wrong", "", "--right", "x"], "--wrong"),
        (["--wrong", "3 hours", "--right", " "], "--right"),
        (["--wrong", "3 hours", "--right", "3 hours"], "--right"),
        (["--wrong", "3 hours", "--right", "now\x07"], "--right"),
        (["--wrong", "3 hours", "--right", "now", "--update", "7"], "--update"),
        (["nope", "--wrong", "3 hours", "--right", "now"], "nope"),
    ],
)
def test_a_fault_names_the_option_and_stops_nothing(told: Path, options: list[str], said: str) -> None:
    before = everything_in(told / "incidents")
    done = run_at_terminal(told, "correct", *options, "--yes")
    assert done.exit_code == 2, done.output
    assert said in done.stderr, done.stderr
    assert everything_in(told / "incidents") == before
    assert stops(told) == []


def test_all_options_that_are_missing_are_named_at_once(told: Path) -> None:
    done = run_at_terminal(told, "correct", "card1")
    assert done.exit_code == 2
    assert "2 options are missing:\n  --wrong  The wrong words, as they were sent" in done.stderr
    assert "\n  --right  What is right instead" in done.stderr
    one = run_at_terminal(told, "correct", "card1", "--wrong", "x").stderr
    assert "an option is missing:\n  --right  What is right instead" in one


def test_a_program_that_asked_for_json_gets_a_document_of_a_wrong_line_too(told: Path) -> None:
    done = run_at_terminal(told, "correct", "card1", "--json")
    document = json.loads(done.stdout)
    assert (document["commcast"], document["exit_code"]) == ("error", 2)
    assert document["message"].startswith("2 options are missing:")


def test_no_stop_is_doubled_and_what_was_said_is_quoted_as_it_stood(desk: Path) -> None:
    declared(desk, "--yes", issue="Cards fail again.")
    before = outbox(desk)
    done = run_at_terminal(desk, "correct", "--wrong", "cards fail again", "--right", "Cards fail.", "--yes")
    assert done.exit_code == 0, done.output
    assert "issue: Cards fail.\n" in (desk / FILE).read_text()
    mails, texts = texts_since(desk, before)
    assert len(mails) == 6
    assert all(
        "we said “Cards fail again”. That was wrong; right is: “Cards fail.” " in mail for mail in mails
    )
    assert not any(doubled in text for text in [*mails, *texts] for doubled in ("..", '.".', ".”."))


def test_a_dry_run_leaves_every_byte(told: Path) -> None:
    before = everything_in(told)
    done = run_at_terminal(told, *WRONG, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "who got the wrong words" in done.stdout
    assert everything_in(told) == before


def test_the_counts_are_in_the_document(told: Path) -> None:
    plan = json.loads(run_at_terminal(told, *WRONG, "--dry-run", "--json").stdout)
    corrected = {
        (notice["channel"], audience["audience"]): audience["corrected"]
        for notice in plan["notices"]
        for audience in notice["audiences"]
    }
    assert corrected["email", "customers"] == 2
    assert corrected["sms", "customers"] == 1


@pytest.mark.usefixtures("person")
def test_the_question_tells_how_many_get_which_words(told: Path) -> None:
    done = run_at_terminal(told, *WRONG, typed="y\n")
    assert done.exit_code == 0, done.output
    assert "2 by email in customers got the wrong words" in " ".join(done.stderr.split())
    assert "0 get only the right words" in " ".join(done.stderr.split())


@pytest.mark.usefixtures("person")
def test_a_no_keeps_all_stopped_until_the_correction_goes(told: Path) -> None:
    before = outbox(told)
    assert run_at_terminal(told, *WRONG, typed="n\n").exit_code == 5
    assert outbox(told) == before
    assert len(stops(told)) == 1
    assert run_at_terminal(told, "tick").exit_code == 0
    assert outbox(told) == before, "a tick released nothing"
    done = run_at_terminal(told, "send", "card1", typed="y\n")
    assert done.exit_code == 0, done.output
    assert len(outbox(told)) == len(before) + 7
    assert stops(told) == []


@pytest.mark.usefixtures("person")
def test_who_stops_it_meanwhile_is_not_overruled(told: Path) -> None:
    before = outbox(told)
    assert run_at_terminal(told, *WRONG, typed="n\n").exit_code == 5
    assert "card1 stopped" in run_at_terminal(told, "stop", "card1", "--by", "sam").stdout
    assert run_at_terminal(told, "send", "card1", "--yes").exit_code == 5
    assert outbox(told) == before
    done = run_at_terminal(told, "discard", "card1", "--yes")
    assert "still stopped by sam" in done.stderr


def test_a_persons_own_stop_ends_with_the_correction(told: Path) -> None:
    run_at_terminal(told, "stop", "card1", "--by", "dana")
    done = run_at_terminal(told, *WRONG, "--yes")
    assert done.exit_code == 0, done.output
    assert "It was stopped by dana" in done.stderr
    assert stops(told) == []


def test_a_stop_of_everything_stays_and_the_wrong_words_do_not_go_on(told: Path) -> None:
    run_at_terminal(told, "stop", "--all", "--by", "dana")
    before = outbox(told)
    assert run_at_terminal(told, *WRONG, "--yes").exit_code == 5
    assert run_at_terminal(told, "resume", "--all").exit_code == 0
    assert outbox(told) == before
    assert run_at_terminal(told, "send", "card1", "--yes").exit_code == 0
    assert len(outbox(told)) == len(before) + 7


def test_the_same_once_more_corrects_nobody_twice(told: Path) -> None:
    run_at_terminal(told, *WRONG, "--yes")
    before = outbox(told)
    done = run_at_terminal(told, *WRONG, "--yes")
    assert done.exit_code == 2
    assert "was corrected already, to '30 minutes', by update 2" in done.stderr
    assert outbox(told) == before


def test_a_correction_can_be_corrected(told: Path) -> None:
    run_at_terminal(told, *WRONG, "--yes")
    before = outbox(told)
    done = run_at_terminal(told, "correct", "--wrong", "30 minutes", "--right", "40 minutes", "--yes")
    assert done.exit_code == 0, done.output
    mails, texts = texts_since(told, before)
    assert len(mails) == 6
    assert all("we said “30 minutes”" in mail and "3 hours" not in mail for mail in mails)
    assert len(texts) == 1


def test_before_anybody_was_told_the_words_are_simply_right(desk: Path) -> None:
    declared(desk)
    done = run_at_terminal(desk, *WRONG, "--yes")
    # The draft that holds the wrong words was released by nobody: --yes is a yes to this update alone.
    assert done.exit_code == 5, done.output
    assert "discard" in done.stderr
    assert outbox(desk) == []


def test_an_end_is_corrected_for_those_who_heard_it(told: Path) -> None:
    run_at_terminal(told, "resolve", "--fixed", "The release is back; it was down for 4 hours.", "--yes")
    before = outbox(told)
    done = run_at_terminal(told, "correct", "card1", "--wrong", "4 hours", "--right", "1 hour", "--yes")
    assert done.exit_code == 0, done.output
    mails, texts = texts_since(told, before)
    assert len(mails) == 6
    assert all("we said “4 hours”" in mail and "down for 1 hour" in mail for mail in mails)
    assert texts == []


def test_a_wrong_expected_end_is_found_by_what_was_typed(desk: Path) -> None:
    run_at_terminal(
        desk,
        *("declare", "Card payments fail", "--severity", "1", "--issue", "Some cards are refused."),
        *("--resolution", "We roll back.", "--timeframe", "3h", "--yes"),
    )
    before = outbox(desk)
    done = run_at_terminal(desk, *WRONG, "--yes")
    assert done.exit_code == 0, done.output
    mails, texts = texts_since(desk, before)
    assert len(mails) == 6
    assert all("we said “by " in mail and "right is: “by " in mail for mail in mails), mails[0]
    assert all("no longer stands" not in mail for mail in mails)
    assert len(texts) == 1
    assert "timeframe: by " in (desk / FILE).read_text()


def test_a_wrong_number_in_the_title_is_read_right_from_now_on(desk: Path) -> None:
    done = run_at_terminal(
        desk,
        *("declare", "Cards fail for 3 hours", "--severity", "1", "--issue", "Some cards are refused."),
        *("--resolution", "We roll back.", "--timeframe", "unknown", "--yes"),
    )
    assert done.exit_code == 0, done.output
    before = outbox(desk)
    done = run_at_terminal(desk, *WRONG, "--yes")
    assert done.exit_code == 0, done.output
    assert "The title holds it too" in done.stderr
    mails, _ = texts_since(desk, before)
    assert all("Cards fail for 30 minutes" in mail for mail in mails)


def test_a_released_update_that_changed_names_this_command(told: Path) -> None:
    path = told / FILE
    path.write_text(path.read_text().replace("3 hours", "30 minutes"))
    done = run_at_terminal(told, "send", "card1", "--yes")
    assert done.exit_code == 2
    assert 'commcast correct card1 --wrong "…" --right "…"' in " ".join(done.stderr.split())


def test_nothing_of_it_waits_afterwards(told: Path) -> None:
    run_at_terminal(told, *WRONG, "--yes")
    with open_copy(ledger_path(told), "", any_desk=True) as ledger:
        assert ledger is not None
        with ledger.read() as connection:
            assert {row.state for row in deliveries(connection, "card1")} == {State.ACCEPTED}


def clock_in(minutes: int) -> str:
    """Return what the desk's clocks (UTC) show so many minutes from now."""
    return f"{datetime.now(UTC) + timedelta(minutes=minutes):%H:%M}"


def test_a_wrong_time_that_messages_reckon_is_put_right_below_as_well(desk: Path) -> None:
    """The expected end is nobody's words: quoted as wrong and shown again below it would help nobody."""
    wrong, right = clock_in(180), clock_in(150)
    declared(desk, "--yes", "--timeframe", f"by {wrong}", issue="Cards fail.")
    before = outbox(desk)
    done = run_at_terminal(desk, "correct", "card1", "--wrong", wrong, "--right", right, "--yes")
    assert done.exit_code == 0, done.output
    mails, _ = texts_since(desk, before)
    assert mails
    for said in mails:
        quoted, _, below = said.partition(f"“{right}”")
        assert f"“{wrong}”" in quoted
        assert wrong not in below
        assert right in below.partition("Expected end:")[2]


@pytest.mark.parametrize(
    ("wrong", "right", "meant"),
    [
        ("2026-11-23T00:20", "23:50", "2026-11-22T23:50"),
        ("2026-11-22T23:50", "00:20", "2026-11-23T00:20"),
        ("2026-11-22T23:50", "by 23:20", "2026-11-22T23:20"),
        ("2026-11-22T23:50", "22:00 or 23:00", None),
        ("2026-11-22T23:50", "in an hour", None),
    ],
)
def test_the_right_time_is_the_one_next_to_the_wrong_one(wrong: str, right: str, meant: str | None) -> None:
    """Over midnight it is another day's."""
    berlin = ZoneInfo("Europe/Berlin")
    found = clock_near(datetime.fromisoformat(wrong).replace(tzinfo=berlin), right, berlin)
    assert found == (datetime.fromisoformat(meant).replace(tzinfo=berlin) if meant else None)


def test_a_wrong_end_is_put_right_below_as_well(desk: Path) -> None:
    began, wrong, right = clock_in(-60), clock_in(-20), clock_in(-10)
    declared(desk, "--yes", "--started", began, issue="Cards fail.")
    assert (
        run_at_terminal(desk, "resolve", "--fixed", "We repaired it.", "--ended", wrong, "--yes").exit_code
        == 0
    )
    before = outbox(desk)
    done = run_at_terminal(desk, "correct", "card1", "--wrong", wrong, "--right", right, "--yes")
    assert done.exit_code == 0, done.output
    mails, texts = texts_since(desk, before)
    assert mails
    for said in (*mails, *texts):
        assert wrong not in said.partition(right)[2]
        assert said.count(right) > 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [("02:00", "commcast reschedule card1"), ("04:00", "commcast reschedule card1")],
)
def test_a_wrong_window_is_moved_by_its_own_verb(desk: Path, wrong: str, says: str) -> None:
    day = f"{datetime.now(UTC) + timedelta(days=9):%Y-%m-%d}"
    done = run_at_terminal(
        desk,
        *("schedule", "Card database", "--id", "card1", "--window", f"{day} 02:00/04:00"),
        *("--issue", "Payments pause.", "--resolution", "We move it.", "--yes"),
    )
    assert done.exit_code == 0, done.output
    before = outbox(desk), everything_in(desk / "incidents")
    done = run_at_terminal(desk, "correct", "card1", "--wrong", wrong, "--right", "05:00", "--yes")
    assert done.exit_code == 2
    assert says in done.stderr
    assert (outbox(desk), everything_in(desk / "incidents")) == before


def test_when_it_began_is_no_word_to_correct(desk: Path) -> None:
    began = clock_in(-30)
    declared(desk, "--yes", "--started", began, issue="Cards fail.")
    done = run_at_terminal(desk, "correct", "card1", "--wrong", began, "--right", clock_in(-20), "--yes")
    assert done.exit_code == 2
    assert "when it began" in done.stderr
