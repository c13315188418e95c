"""What stands on the screen before the question: what a person decides by."""

from __future__ import annotations

from pathlib import Path

import pytest

from commcast.cli.present import destination
from commcast.cli.question import new_facts
from commcast.config.load import load_config
from commcast.model.incident import Timeframe, Update
from tests.support.desk import write_desk, write_incident
from tests.support.terminal import WORDS, declare, just_now, run_at_terminal
from tests.support.terminal import run as plain


def update(issue: str, **more: str) -> Update:
    from datetime import UTC, datetime

    return Update(
        number=1,
        line=1,
        at=datetime(2026, 11, 21, 10, tzinfo=UTC),
        at_written=True,
        status="investigating",
        severity=1,
        issue=issue,
        resolution="We look.",
        timeframe=Timeframe(),
        **more,
    )


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        ("", "About 40% fail since 09:45.", ["40%", "09:45"]),
        ("About 40% fail.", "About 45% fail.", ["45%"]),
        ("About 40% fail.", "Still 40% fail.", []),
        ("", "See https://status.example/x, please.", ["https://status.example/x"]),
        ("", "1,250 orders, 3 hours, 2.5 GB", ["1,250 orders", "3 hours", "2.5 GB"]),
    ],
)
def test_new_numbers_times_and_links_are_named(before: str, now: str, found: list[str]) -> None:
    assert new_facts(update(before) if before else None, update(now)) == found


@pytest.mark.usefixtures("person")
def test_the_screen_before_the_question(desk: Path) -> None:
    """Counts, promise, what happens without a person, what is new, the messages, and the tick that misses."""
    (desk / "audiences" / "partners.csv").write_text(
        "email,name\nnot an address,X\nnoc@partner.example,NOC\n"
    )
    config = desk / "commcast.toml"
    config.write_text(config.read_text().replace("# sms_price = 0.08 ", "sms_price = 0.08 "))
    done = declare(desk)
    assert done.exit_code == 5
    screen = " ".join(done.stderr.split())
    for words in (
        "card1 SEV-1 update 1, investigating",
        "SMS cost: 1 segments x 0.08 = 0.08",
        "Left out: 1 of 2 rows of partners are bad",
        "audiences/partners.csv:2:",
        "readers are told to expect word by",
        "get a holding statement from",
        "no tick has run yet",
        "commcast tick --loop 1m",
        "end expected",
        "Readers cannot reach you: [contact] in commcast.toml is empty",
        "customers SMS 1 1 1",
        "SMS: into files in outbox/ (nothing leaves) This question is good until",
        "| Subject: [Investigating] Card payments fail (card1)",
        "Send 7 messages: 6 emails, 1 SMS? [y/N]",
    ):
        assert words in screen, f"{words}\n{done.stderr}"
    assert done.stdout == ""


@pytest.mark.usefixtures("person")
def test_no_line_of_the_screen_is_wider_than_80_columns(desk: Path) -> None:
    declare(desk, "--scope", "Payments by card " * 20)
    done = run_at_terminal(desk, "send", "card1", typed="n\n")
    assert max(len(line) for line in done.stderr.split("\n")) <= 80


@pytest.mark.usefixtures("person")
def test_what_is_new_is_measured_by_what_readers_read(desk: Path) -> None:
    """A draft that was never sent told nobody of its numbers."""
    declare(desk, "--scope", "About 40% of payments.", "--yes")
    run_at_terminal(desk, "update", "card1", "--scope", "About 55% of payments.", typed="n\n")
    done = run_at_terminal(desk, "update", "card1", "--nothing-new", "We still roll back.", typed="n\n")
    assert "New here, check each: 55%" in done.stderr


def test_where_messages_go_is_named(tmp_path: Path) -> None:
    write_desk(tmp_path, email="smtp", port=587)
    config = load_config(tmp_path)
    assert destination(config, "email") == "through 127.0.0.1:587"
    assert destination(config, "sms") == "into files in outbox/ (nothing leaves)"


@pytest.mark.usefixtures("person")
def test_a_tick_of_just_now_is_no_warning(desk: Path) -> None:
    run_at_terminal(desk, "tick")
    assert "no tick has run" not in declare(desk).stderr


def test_the_help_groups_commands_and_shows_an_example_for_each(desk: Path) -> None:
    screen = run_at_terminal(desk, "init", "--help").stdout
    assert "Example: commcast init" in screen
    for name in ("declare", "update", "resolve", "send", "discard", "preview", "test"):
        assert f"Example: commcast {name}" in run_at_terminal(desk, name, "--help").stdout


LIMITED = "[providers.sendgrid]\nper_second = {per_second}\n"


def limited_desk(
    folder: Path, per_second: float, monkeypatch: pytest.MonkeyPatch, fallback: str = ""
) -> Path:
    """Return a desk whose mail goes through SendGrid at a limit; nothing listens at its address."""
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.nobody")
    write_desk(folder, email="sendgrid", support=[], extra=LIMITED.format(per_second=per_second))
    config = folder / "commcast.toml"
    text = config.read_text().replace(
        "[providers.sendgrid]\n", '[providers.sendgrid]\nbase_url = "http://127.0.0.1:9"\n'
    )
    if fallback:
        text = text.replace('provider = "sendgrid"', f'provider = "sendgrid"\nfallback = "{fallback}"')
    config.write_text(text)
    return folder


def test_how_long_it_takes_at_the_limit_is_said_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = limited_desk(tmp_path, 1, monkeypatch)
    write_incident(folder, at=just_now())
    shown = " ".join(plain("preview", "pay7", folder=folder).stdout.split())
    assert "At 1 a second the last of 2 email messages leaves by" in shown
    assert "promise the next word" not in shown
    assert "email: through sendgrid (127.0.0.1:9)" in shown


@pytest.mark.usefixtures("person")
def test_a_promise_before_the_last_hand_over_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two mails at one in an hour, and word promised within twenty minutes: exit 5, a draft stays."""
    folder = limited_desk(tmp_path, 1 / 3600, monkeypatch)
    write_incident(folder, at=just_now())
    refused = run_at_terminal(folder, "send", "pay7", typed="y\n")
    assert refused.exit_code == 5
    assert "after the promised" in refused.stderr
    assert "Raise per_second" in refused.stderr
    assert "1 draft waits" in plain("status", folder=folder).stdout


def test_with_yes_the_late_promise_is_said_and_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = limited_desk(tmp_path, 1 / 3600, monkeypatch)
    write_incident(folder, at=just_now())
    sent = plain("send", "pay7", "--yes", folder=folder, expect=75)
    assert "readers not reached by then are dropped" in " ".join(sent.stderr.split())


def test_what_carries_the_messages_may_itself_be_affected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = limited_desk(tmp_path, 100, monkeypatch, fallback="smtp")
    path = write_incident(folder, at=just_now())
    path.write_text(path.read_text().replace("owner: dana\n", "owner: dana\naffected: [sendgrid-mail]\n"))
    shown = " ".join(plain("send", "pay7", "--dry-run", folder=folder).stdout.split())
    assert "email goes through sendgrid, which is itself affected" in shown
    assert "through sendgrid (127.0.0.1:9); where it refuses us, through 127.0.0.1:25" in shown


@pytest.mark.parametrize("command", [("send", "login1", "--dry-run"), ("preview", "login1")])
def test_whom_a_mild_severity_leaves_out_is_said(desk: Path, command: tuple[str, ...]) -> None:
    """Nothing else would tell that whole audiences hear nothing."""
    run_at_terminal(desk, "declare", "Login is slow", "--severity", "3", *WORDS)
    shown = " ".join(run_at_terminal(desk, *command).stdout.split())
    assert "Not told at severity 3: executives, partners, customers (severities in commcast.toml)" in shown


def test_who_is_named_by_hand_leaves_nobody_out_unsaid(desk: Path) -> None:
    """Whoever names audiences knows whom they leave out; and a severity that all hear has no such line."""
    run_at_terminal(desk, "declare", "Login is slow", "--severity", "3", "--audience", "support", *WORDS)
    assert "Not told at severity" not in run_at_terminal(desk, "preview", "login1").stdout
    declare(desk)
    assert "Not told at severity" not in run_at_terminal(desk, "preview", "card1").stdout
