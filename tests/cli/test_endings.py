"""retract, reopen and merge: who hears, what is asked for, and that two stories become one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.terminal import declare, everything_in, outbox, run_at_terminal

ANEW = ("--issue", "Cards are refused again.", "--resolution", "We look into it.", "--timeframe", "unknown")


@pytest.fixture
def told(desk: Path) -> Path:
    """A desk whose customers know of one incident."""
    assert declare(desk, "--yes").exit_code == 0
    return desk


def bodies(desk: Path, before: list[str]) -> list[str]:
    return [(desk / "outbox" / name).read_text() for name in outbox(desk) if name not in before]


def customers(desk: Path, *rows: str) -> None:
    head, *_ = (desk / "audiences/customers.csv").read_text().splitlines()
    (desk / "audiences/customers.csv").write_text("\n".join([head, *rows]) + "\n")


def test_a_false_alarm_is_taken_back_from_those_who_heard_it(told: Path) -> None:
    before = outbox(told)
    customers(told, "new@example.com,,New,")
    done = run_at_terminal(told, "retract", "--because", "Our monitor was wrong.", "--yes")
    assert done.exit_code == 0, done.output
    new = bodies(told, before)
    assert len(new) == 7
    assert all("Our monitor was wrong." in " ".join(text.replace("=\n", "").split()) for text in new)
    assert not any("new@example.com" in text for text in new)
    assert run_at_terminal(told, "send", "card1").stdout.count("already sent")


@pytest.mark.parametrize("verb", ["retract", "cancel"])
def test_what_nobody_was_told_is_not_taken_back(desk: Path, verb: str) -> None:
    if verb == "retract":
        declare(desk)
    else:
        window = ("--window", "2099-12-05 02:00/04:00")
        run_at_terminal(desk, "schedule", "Cards move", *window, *ANEW[:4], "--id", "card1")
    before = everything_in(desk / "incidents")
    done = run_at_terminal(desk, verb, "card1", "--because", "Our monitor was wrong.", "--yes")
    assert done.exit_code == 2, done.output
    assert "nobody was told of card1; write: commcast discard card1" in done.stderr
    assert everything_in(desk / "incidents") == before
    assert run_at_terminal(desk, "discard", "card1", "--yes").exit_code == 0


@pytest.mark.usefixtures("person")
def test_retract_asks_why(told: Path) -> None:
    done = run_at_terminal(told, "retract", typed="Our monitor was wrong.\ny\n")
    assert done.exit_code == 0, done.output
    assert "because: Our monitor was wrong." in (told / "incidents/card1.yaml").read_text()


def test_reopen_needs_what_is_seen_and_done_anew(told: Path) -> None:
    run_at_terminal(told, "resolve", "--fixed", "Done.", "--yes")
    done = run_at_terminal(told, "reopen", "card1", "--issue", "Again.", "--yes")
    assert done.exit_code == 2
    assert "--resolution is missing" in done.stderr
    assert "--timeframe is missing" in done.stderr
    before = outbox(told)
    done = run_at_terminal(told, "reopen", *ANEW, "--yes")
    assert done.exit_code == 0, done.output
    assert len(outbox(told)) == len(before) + 7
    assert run_at_terminal(told, "update", "--nothing-new", "We look.", "--yes").exit_code == 0


def test_an_end_before_the_last_reopening_is_refused(told: Path) -> None:
    """It would say of what is new that it was over before it began."""
    run_at_terminal(told, "resolve", "--fixed", "Done.", "--yes")
    run_at_terminal(told, "reopen", *ANEW, "--yes")
    text, before = (told / "incidents/card1.yaml").read_text(), outbox(told)
    ended = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    done = run_at_terminal(told, "resolve", "--fixed", "Done.", "--ended", ended, "--yes")
    assert done.exit_code == 2
    assert "ended is before it was reopened" in done.stderr
    assert (told / "incidents/card1.yaml").read_text() == text
    assert outbox(told) == before
    assert run_at_terminal(told, "resolve", "--fixed", "Done.", "--yes").exit_code == 0


@pytest.mark.usefixtures("person")
def test_reopen_asks_for_what_is_needed(told: Path) -> None:
    run_at_terminal(told, "resolve", "--fixed", "Done.", "--yes")
    done = run_at_terminal(told, "reopen", "card1", typed="Again.\nWe look into it.\nsoon\nunknown\ny\n")
    assert done.exit_code == 0, done.output
    assert "is not a timeframe" in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("reopen", "card1", *ANEW), "card1 is not over"),
        (("reopen", *ANEW), "no incident is over"),
        (("reopen", "nope", *ANEW), "there is no incident 'nope'"),
        (("retract",), "--because is missing"),
        (("merge", "card1", "--into", "card1"), "cannot be part of itself"),
        (("merge", "card1", "--into", "nope"), "there is no incident 'nope'"),
        (("merge", "nope", "--into", "card1"), "there is no incident 'nope'"),
    ],
)
def test_a_fault_is_named_and_writes_nothing(told: Path, command: tuple[str, ...], said: str) -> None:
    before = everything_in(told / "incidents"), outbox(told)
    done = run_at_terminal(told, *command, "--yes")
    assert done.exit_code == 2, done.output
    assert said in done.stderr, done.stderr
    assert (everything_in(told / "incidents"), outbox(told)) == before


@pytest.mark.parametrize("over", [True, False])
def test_nothing_is_merged_into_what_is_over_or_untold(told: Path, over: bool) -> None:
    declare(told, *(["--yes"] if over else []), title="Sign-in fails")
    if over:
        run_at_terminal(told, "resolve", "sign1", "--fixed", "Done.", "--yes")
    done = run_at_terminal(told, "merge", "card1", "--into", "sign1", "--yes")
    assert done.exit_code == 2
    assert ("sign1 is over" if over else "nobody was told of sign1") in done.stderr


@pytest.mark.parametrize("ahead", ["planned work", "what is expected"])
def test_nothing_is_merged_into_what_may_never_begin(told: Path, ahead: str) -> None:
    """Whoever was told that something is down would hear nothing until then, and no end of it."""
    day = f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%d}"
    words = ("--issue", "Payments pause.", "--resolution", "We move it.", "--id", "db1", "--yes")
    if ahead == "planned work":
        done = run_at_terminal(told, "schedule", "Database", "--window", f"{day} 02:00/04:00", *words)
    else:
        more = ("--severity", "2", "--timeframe", "2h", "--expected", f"{day} 02:00")
        done = run_at_terminal(told, "declare", "Database", *more, *words)
    assert done.exit_code == 0, done.output
    before = outbox(told)
    done = run_at_terminal(told, "merge", "card1", "--into", "db1", "--yes")
    assert done.exit_code == 2
    assert "--into: db1 " in done.stderr
    assert outbox(told) == before


@pytest.mark.parametrize(
    "verb",
    [
        ("retract", "--because", "A false alarm."),
        ("resolve", "--fixed", "Done."),
    ],
)
def test_a_dry_run_of_each_leaves_every_byte(told: Path, verb: tuple[str, ...]) -> None:
    before = everything_in(told)
    assert run_at_terminal(told, *verb, "--dry-run").exit_code == 0
    assert everything_in(told) == before


def test_two_stories_become_one_and_its_end_reaches_the_readers_of_both(told: Path) -> None:
    """Who heard of the one, and stands on no list of the other, hears how the other one ends: once."""
    run_at_terminal(
        told, "declare", "The network is slow", "--severity", "1", *ANEW, "--audience", "internal", "--yes"
    )
    before = outbox(told)
    done = run_at_terminal(told, "merge", "card1", "--into", "network1", "--yes")
    assert done.exit_code == 0, done.output
    last = bodies(told, before)
    assert len(last) == 7
    mails = [" ".join(text.replace("=\n", "").split()) for text in last if "MIME-Version" in text]
    assert all("The network is slow" in mail and "(network1)" in mail for mail in mails)
    before = outbox(told)
    run_at_terminal(told, "update", "network1", "--nothing-new", "We look.", "--yes")
    assert len(outbox(told)) == len(before) + 1, "the story goes on for its own readers"
    before = outbox(told)
    done = run_at_terminal(told, "resolve", "network1", "--fixed", "The switch is replaced.", "--yes")
    assert done.exit_code == 0, done.output
    ends = [name for name in outbox(told) if name not in before]
    assert len(ends) == 7
    assert run_at_terminal(told, "tick").exit_code == 0
    assert len(outbox(told)) == len(before) + 7


@pytest.mark.parametrize("verb", [("update", "--issue", "More."), ("resolve", "--fixed", "Done.")])
def test_what_is_merged_is_told_where_to_say_more(told: Path, verb: tuple[str, ...]) -> None:
    declare(told, "--yes", title="Sign-in fails")
    assert run_at_terminal(told, "merge", "card1", "--into", "sign1", "--yes").exit_code == 0
    done = run_at_terminal(told, verb[0], "card1", *verb[1:], "--yes")
    assert done.exit_code == 2
    assert "card1 is part of sign1; say more there: commcast update sign1; " in done.stderr
    assert "commcast reopen card1" in done.stderr
    assert "status:" not in done.stderr


def test_a_chain_of_merges_ends_for_all(told: Path) -> None:
    run_at_terminal(
        told, "declare", "The network is slow", "--severity", "1", *ANEW, "--audience", "internal", "--yes"
    )
    run_at_terminal(
        told, "declare", "Power is out", "--severity", "1", *ANEW, "--audience", "support", "--yes"
    )
    assert run_at_terminal(told, "merge", "card1", "--into", "network1", "--yes").exit_code == 0
    assert run_at_terminal(told, "merge", "network1", "--into", "power1", "--yes").exit_code == 0
    before = outbox(told)
    run_at_terminal(told, "resolve", "power1", "--fixed", "It is back.", "--yes")
    assert len(outbox(told)) == len(before) + 7


def test_merge_without_an_id_means_the_other_one(told: Path) -> None:
    declare(told, "--yes", title="Sign-in fails")
    assert run_at_terminal(told, "merge", "--into", "sign1", "--yes").exit_code == 0
    assert "merged_into: sign1" in (told / "incidents/card1.yaml").read_text()
