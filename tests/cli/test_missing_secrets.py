"""A secret that is missing is seen before it is needed: by a dry run, and in a preview; nothing connects."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.desk import write_desk, write_incident
from tests.support.terminal import just_now, run

MISSING = "Warning: email cannot be sent: commcast.toml: providers.sendgrid: has no key; set SENDGRID_API_KEY"
WORDS = ("--issue", "Some cards fail.", "--resolution", "We roll back.", "--timeframe", "unknown")


@pytest.fixture
def keyless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A desk whose mail goes through SendGrid, without a key, on a machine that may not connect."""

    def refuse(*_: Any) -> None:
        raise AssertionError("nothing may connect")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    write_desk(tmp_path, email="sendgrid")
    write_incident(tmp_path, at=just_now())
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ("send", "pay7"),
        ("update", "pay7", "--issue", "More cards fail."),
        ("resolve", "pay7", "--fixed", "We rolled back."),
        ("declare", "Login fails", "--severity", "1", *WORDS),
    ],
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_dry_run_that_lacks_a_secret_fails(
    keyless: Path, command: tuple[str, ...], form: tuple[str, ...]
) -> None:
    """A check in a workflow must not pass where the real run would be refused."""
    done = run(*command, "--dry-run", *form, folder=keyless, expect=78)
    assert MISSING in done.stderr
    assert "Dry run:" in done.stdout or form


def test_a_preview_warns_and_is_shown_all_the_same(keyless: Path) -> None:
    done = run("preview", "pay7", folder=keyless)
    assert MISSING in done.stderr
    assert "email: through sendgrid" in done.stdout


def test_each_channel_that_lacks_a_secret_is_named(keyless: Path) -> None:
    config = keyless / "commcast.toml"
    config.write_text(config.read_text().replace("[channels.sms]", '[channels.sms]\nprovider = "twilio"'))
    warned = run("send", "pay7", "--dry-run", folder=keyless, expect=78).stderr
    assert MISSING in warned
    assert "Warning: SMS cannot be sent: commcast.toml: providers.twilio: TWILIO_ACCOUNT_SID" in warned
    refused = run("send", "pay7", "--yes", folder=keyless, expect=78).stderr
    assert "SENDGRID_API_KEY" in refused and "TWILIO_ACCOUNT_SID" in refused


def test_where_a_fallback_takes_over_a_dry_run_passes(keyless: Path) -> None:
    config = keyless / "commcast.toml"
    provider = 'provider = "sendgrid"'
    config.write_text(config.read_text().replace(provider, f'{provider}\nfallback = "smtp"'))
    assert "cannot be sent" not in run("send", "pay7", "--dry-run", folder=keyless).stderr


def test_with_its_secret_nothing_is_warned_of(keyless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.a-key")
    assert "cannot be sent" not in run("send", "pay7", "--dry-run", folder=keyless).stderr
