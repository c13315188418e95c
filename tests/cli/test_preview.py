"""commcast preview and test: the very messages, and no trace."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from commcast.config.load import load_config
from commcast.ledger.history import tallies
from commcast.ledger.releases import released_incidents
from commcast.ledger.store import ledger_path, open_ledger
from tests.support.terminal import declare, everything_in, outbox, run_at_terminal


def draft(desk: Path) -> None:
    assert declare(desk).exit_code == 5  # no terminal: the draft is kept


def test_preview_shows_what_send_hands_over(desk: Path) -> None:
    """Subject, text and HTML of every audience's mail, and the text message, are those of the outbox."""
    draft(desk)
    path = desk / "incidents" / "card1.yaml"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    path.write_text(path.read_text().replace("  - issue", f"  - at: {now}\n    issue"))
    shown = json.loads(run_at_terminal(desk, "preview", "card1", "--json").stdout)
    assert run_at_terminal(desk, "send", "card1", "--yes").exit_code == 0
    sent = {handed_over(desk / "outbox" / name) for name in outbox(desk)}
    messages = [part["message"] for notice in shown["notices"] for part in notice["audiences"]]
    assert len(messages) == 6
    for message in messages:
        assert (message.get("subject", ""), message["text"], message.get("html", "")) in sent


def handed_over(path: Path) -> tuple[str, str, str]:
    """Return subject, text and HTML of a message in the outbox."""
    raw = path.read_bytes()
    if path.suffix == ".txt":
        return "", raw.decode().partition("\n\n")[2].removesuffix("\n"), ""
    mail = message_from_bytes(raw, policy=policy.default)
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None and html is not None
    return (
        str(mail["Subject"]),
        text.get_content().replace("\r\n", "\n"),
        html.get_content().replace("\r\n", "\n"),
    )


def test_preview_leaves_every_byte_also_beside_a_write_ahead_log(desk: Path) -> None:
    declare(desk, "--yes")
    draft(desk)
    ledger = open_ledger(ledger_path(desk), load_config(desk).desk)
    with ledger.write() as connection:
        connection.exec_driver_sql("create table if not exists touched (x)")
    assert (desk / ".commcast" / "ledger.db-wal").exists()
    before = everything_in(desk)
    for more in ([], ["--json"], ["--html"], ["--audience", "customers"]):
        done = run_at_terminal(desk, "preview", "card2", *more)
        assert done.exit_code == 0, done.output
    assert everything_in(desk) == before
    ledger.close()


def test_preview_needs_no_ledger_and_says_what_that_means(desk: Path) -> None:
    """A reviewer's clone has none."""
    draft(desk)
    (desk / ".commcast" / "ledger.db").unlink()
    done = run_at_terminal(desk, "preview", "card1")
    assert done.exit_code == 0, done.output
    assert "there is no ledger here" in done.stderr


def test_preview_masks_addresses(desk: Path) -> None:
    draft(desk)
    done = run_at_terminal(desk, "preview", "card1")
    assert "a…@customer.example" in done.stdout
    assert "alex@customer.example" not in done.output
    assert "+4915550100001" not in done.output


def test_preview_of_one_audience_shows_only_its_messages(desk: Path) -> None:
    draft(desk)
    done = run_at_terminal(desk, "preview", "card1", "--audience", "customers")
    assert "--- customers, by email" in done.stdout
    assert "--- customers, by SMS" in done.stdout
    assert "--- support" not in done.stdout
    wrong = run_at_terminal(desk, "preview", "card1", "--audience", "custmers")
    assert wrong.exit_code == 2
    assert "those that do: customers" in wrong.stderr


def test_preview_tells_what_forced_a_costly_text(desk: Path) -> None:
    """A look-alike is replaced and said; an emoji is kept, and named as what makes the text costly."""
    declare(desk, "--issue", "Card payments “fail” \N{PARTY POPPER}")
    sms = json.loads(run_at_terminal(desk, "preview", "card1", "--json").stdout)["notices"][1]["audiences"][
        0
    ]["message"]
    assert sms["encoding"] == "UCS-2"
    assert sms["forced_by"] == "\N{PARTY POPPER}"
    assert ["“", '"'] in sms["replaced"]
    screen = run_at_terminal(desk, "preview", "card1").stdout
    assert "UCS-2 because of" in screen
    assert "Look-alikes replaced" in screen


def test_preview_as_of_another_time(desk: Path) -> None:
    draft(desk)
    done = run_at_terminal(desk, "preview", "card1", "--now", "2031-01-02T10:05Z")
    assert "10:25 UTC" in done.stdout
    assert run_at_terminal(desk, "preview", "card1", "--now", "10:05").exit_code == 2


def test_preview_writes_samples_as_mails(desk: Path, tmp_path: Path) -> None:
    draft(desk)
    run_at_terminal(desk, "preview", "card1", "--eml", str(tmp_path / "mails"))
    names = sorted(path.name for path in (tmp_path / "mails").iterdir())
    assert "card1-customers.eml" in names
    mail = message_from_bytes(
        (tmp_path / "mails" / "card1-customers.eml").read_bytes(), policy=policy.default
    )
    assert not mail.defects


def test_preview_of_what_was_sent_says_so(desk: Path) -> None:
    declare(desk, "--yes")
    done = run_at_terminal(desk, "preview", "card1")
    assert done.exit_code == 0
    assert "Update 1 by email: already sent\n" in done.stdout


def test_preview_of_what_quiet_hours_hold_says_so(desk: Path) -> None:
    """It was not sent, and status counts it as held."""
    path = desk / "commcast.toml"
    now = datetime.now(UTC).astimezone(load_config(desk).zone)
    quiet = f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=2):%H:%M}"
    night = path.read_text().replace('quiet = "21:00-08:00"', f'quiet = "{quiet}"')
    path.write_text(night.replace("wake_for = [1, 2]", "wake_for = []"))
    declare(desk, "--yes")
    shown = run_at_terminal(desk, "preview", "card1").stdout
    assert "Update 1 by email: already sent\n" in shown
    assert "Update 1 by SMS: quiet hours hold back 1 of 1 until they end\n" in shown


def test_preview_says_to_whom_a_holding_statement_goes_and_when(desk: Path) -> None:
    """A line without its notice would read as if nothing at all went by mail."""
    declare(desk, "--yes")
    shown = " ".join(run_at_terminal(desk, "preview", "card1").stdout.split())
    assert "Holding statement by email to executives, internal: silence is left to the nudge" in shown
    assert "Holding statement by email to support, partners, customers: goes out by itself from" in shown


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            'email = "env:DANA_MAIL"',
            "Nobody can be nudged: dana has no address that can be used "
            "(DANA_MAIL is not set: the email of dana; set it where commcast runs).",
        ),
        (
            "",
            "Nobody can be nudged: dana has no address that can be used "
            "(write email or phone in [people.dana] of commcast.toml).",
        ),
    ],
)
def test_preview_says_what_keeps_the_owner_from_being_woken(
    desk: Path, monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    """Not that [people] and an owner are missing, where both are there."""
    monkeypatch.delenv("DANA_MAIL", raising=False)
    config = desk / "commcast.toml"
    config.write_text(config.read_text() + f'\n[people.dana]\nname = "Dana Reyes"\n{address}\n')
    assert "write [people]" not in " ".join(declare(desk, "--owner", "dana", "--dry-run").output.split())
    declare(desk, "--owner", "dana")
    assert said in " ".join(run_at_terminal(desk, "preview", "card1").output.split())


def test_test_sends_every_audience_to_oneself_and_leaves_no_trace_in_the_ledger(desk: Path) -> None:
    draft(desk)
    before = everything_in(desk)
    done = run_at_terminal(desk, "test", "card1", "--to", "me@own.example", "--to", "+4915550100009")
    assert done.exit_code == 0, done.output
    assert len(outbox(desk)) == 6
    assert "SMS: into files in outbox/" in done.stderr
    for name in outbox(desk):
        raw = (desk / "outbox" / name).read_bytes()
        assert re.search(
            rb"(?m)^(Subject: )?\[TEST for (customers|support|executives|internal|partners)\]", raw
        )
        assert name in done.stdout
        assert b"me@own.example" in raw or b"+4915550100009" in raw
        assert b"customer.example" not in raw
    after = {name: state for name, state in everything_in(desk).items() if not name.startswith("outbox")}
    assert after == before
    run_at_terminal(desk, "tick")
    assert len(outbox(desk)) == 6


def test_a_test_changes_nothing_of_what_is_owed(desk: Path) -> None:
    draft(desk)
    run_at_terminal(desk, "test", "card1", "--to", "alex@customer.example")
    sent = len(outbox(desk))
    assert run_at_terminal(desk, "send", "card1", "--yes").exit_code == 0
    assert len(outbox(desk)) == sent + 7
    ledger = open_ledger(ledger_path(desk), load_config(desk).desk)
    with ledger.read() as connection:
        assert sum(tally.count for tally in tallies(connection)) == 7
        assert released_incidents(connection) == {"card1"}
    ledger.close()


def test_a_test_of_an_end_finds_its_readers_though_nobody_was_told(desk: Path) -> None:
    declare(desk)
    run_at_terminal(desk, "resolve", "card1", "--fixed", "It works again.")
    done = run_at_terminal(desk, "test", "card1", "--to", "me@own.example")
    assert done.exit_code == 0, done.output
    assert len(outbox(desk)) == 5


@pytest.mark.parametrize(
    ("to", "said"),
    [([], "--to is missing"), (["--to", "me@"], "--to: "), (["--to", "12"], "--to: ")],
)
def test_a_test_without_a_usable_address_sends_nothing(desk: Path, to: list[str], said: str) -> None:
    draft(desk)
    done = run_at_terminal(desk, "test", "card1", *to)
    assert done.exit_code == 2
    assert said in done.stderr
    assert outbox(desk) == []


def test_samples_are_their_owners_alone_and_follow_no_link(desk: Path, tmp_path: Path) -> None:
    draft(desk)
    precious, folder = tmp_path / "precious", tmp_path / "samples"
    precious.write_text("precious")
    folder.mkdir()
    (folder / "card1-customers.eml").symlink_to(precious)
    before = os.umask(0)
    try:
        assert run_at_terminal(desk, "preview", "card1", "--eml", str(folder)).exit_code == 0
    finally:
        os.umask(before)
    assert precious.read_text() == "precious"
    written = sorted(folder.iterdir())
    assert "card1-customers.eml" in [path.name for path in written]
    assert {(path.is_symlink(), path.stat().st_mode & 0o777) for path in written} == {(False, 0o600)}


@pytest.mark.parametrize("below", ["", "deeper"])
def test_samples_that_cannot_be_written_are_an_error_for_people(
    desk: Path, tmp_path: Path, below: str
) -> None:
    draft(desk)
    (tmp_path / "file").write_text("no folder")
    done = run_at_terminal(desk, "preview", "card1", "--eml", str(tmp_path / "file" / below))
    assert (done.exit_code, "--eml: " in done.stderr) == (2, True), done.output
