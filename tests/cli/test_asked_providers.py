"""receipts, recipients import and doctor --connect, from the command line to a provider on 127.0.0.1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.desk import Bench, write_desk
from tests.support.servers.http import Exchange, HttpStandIn, Writer, threaded
from tests.support.servers.http import answer as http_answer
from tests.support.servers.twilio import ACCOUNT, SENDER, TOKEN, Twilio
from tests.support.terminal import bench_now, run

KEY = "SG.kept-secret_key.0123456789abcdef"


@dataclass
class SendGrid:
    """Takes every mail; `lists` are what GET gives, by path, `status` by path where it is not 200."""

    lists: dict[str, Any] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    mails: int = 0

    async def __call__(self, exchange: Exchange, writer: Writer) -> None:
        assert exchange.headers["authorization"] == f"Bearer {KEY}"
        path = exchange.path.removeprefix("/v3/")
        if exchange.method == "POST":
            assert path == "mail/send"
            self.mails += len(exchange.json()["personalizations"])
            await writer.answer(202, headers={"X-Message-Id": "request-1"})
            return
        assert exchange.method == "GET"
        rows = self.lists.get(path, [])
        if path.startswith("suppression/"):
            at = int(exchange.query.get("offset", "0"))
            rows = rows[at : at + int(exchange.query.get("limit", "500"))]
        await writer.answer(self.status.get(path, 200), rows)

    def bounce(self, address: str, at: float) -> None:
        row = {
            "created": int(at),
            "email": address,
            "reason": f"550 5.1.1 <{address}> gone",
            "status": "5.1.1",
        }
        self.lists.setdefault("suppression/bounces", []).append(row)


@pytest.fixture
def sendgrid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[SendGrid, Bench]]:
    """SendGrid on this machine, and a desk whose mail goes there."""
    monkeypatch.setenv("SENDGRID_API_KEY", KEY)
    bench = bench_now(tmp_path)
    stand_in = SendGrid({"messages": {"messages": []}, "scopes": {"scopes": ["mail.send", "messages.read"]}})
    with threaded(HttpStandIn(stand_in)) as server:
        write_desk(tmp_path, email="sendgrid", extra=f'[providers.sendgrid]\nbase_url = "{server.url}"')
        yield stand_in, bench


def test_a_bounce_comes_home(sendgrid: tuple[SendGrid, Bench]) -> None:
    stand_in, bench = sendgrid
    run("send", "pay7", "--yes", folder=bench.folder)
    assert stand_in.mails == 3
    assert run("receipts", folder=bench.folder).output == ""
    soon = bench.now.timestamp() + 600
    stand_in.bounce("ann@example.com", soon)
    stand_in.bounce("stranger@example.com", soon)
    stand_in.lists["messages"]["messages"] = [
        {
            "msg_id": "request-1.recvd-1",
            "to_email": "bob@example.com",
            "status": "delivered",
            "last_event_time": bench.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    ]
    result = run("receipts", folder=bench.folder)
    assert result.stdout.splitlines()[1] == "sendgrid  3      1          1        0       1"
    assert "  of 5 accepted: 1 delivered, 1 bounced\n" in run("status", folder=bench.folder).stdout
    listed = run("recipients", "suppressed", folder=bench.folder).stdout
    assert "bounced: 5.1.1" in listed
    assert "stranger" not in listed
    assert run("receipts", folder=bench.folder).output == ""


@pytest.mark.parametrize(("status", "code"), [(401, 78), (403, 78), (429, 75), (500, 75)])
def test_a_provider_that_does_not_tell(sendgrid: tuple[SendGrid, Bench], status: int, code: int) -> None:
    stand_in, bench = sendgrid
    run("send", "pay7", "--yes", folder=bench.folder)
    stand_in.status = {"suppression/bounces": status, "scopes": status}
    for command in (("receipts",), ("recipients", "import", "--from", "sendgrid"), ("doctor", "--connect")):
        result = run(*command, folder=bench.folder, expect=code)
        assert KEY not in result.output
        assert "ann@example.com" not in result.output


def test_sendgrids_lists_come_in(sendgrid: tuple[SendGrid, Bench]) -> None:
    stand_in, bench = sendgrid
    for number in range(1201):
        stand_in.bounce(f"Gone{number}@example.com", 1_700_000_000 + number)
    stand_in.lists["suppression/unsubscribes"] = [{"created": 1_600_000_000, "email": "ann@example.com"}]
    stand_in.lists["suppression/blocks"] = [{"created": 1_600_000_000, "email": "bob@example.com"}]
    shown = run("recipients", "import", "--from", "sendgrid", folder=bench.folder).stdout
    assert "unsubscribes  1      1      0      0" in shown
    assert "bounces       1,201  1,201  0      0" in shown
    assert "1 new on the list blocks" in shown
    run("send", "pay7", "--yes", folder=bench.folder)
    assert stand_in.mails == 2
    listed = run("recipients", "suppressed", folder=bench.folder).stdout
    assert "2020-09-13" in listed
    assert "imported from SendGrid: bounces: 5.1.1" in listed


def test_doctor_asks_what_the_key_may_do(sendgrid: tuple[SendGrid, Bench]) -> None:
    stand_in, bench = sendgrid
    shown = run("doctor", "--connect", folder=bench.folder).stdout
    assert "ok    secret: SENDGRID_API_KEY is set" in shown
    assert "is not SendGrid itself" in shown
    assert "ok    email: SendGrid takes the key, and it may send" in shown
    assert "(suppression.read)" in shown
    assert "(messages.read)" not in shown
    stand_in.lists["scopes"] = {"scopes": ["messages.read"]}
    assert "lacks the scope mail.send" in run("doctor", "--connect", folder=bench.folder, expect=78).stdout
    assert KEY not in shown
    assert stand_in.mails == 0


def test_without_a_key_nothing_can_be_asked(
    sendgrid: tuple[SendGrid, Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bench = sendgrid
    run("send", "pay7", "--yes", folder=bench.folder)
    monkeypatch.delenv("SENDGRID_API_KEY")
    assert "SENDGRID_API_KEY" in run("receipts", folder=bench.folder, expect=78).stderr
    assert "SENDGRID_API_KEY" in run("doctor", folder=bench.folder, expect=78).stdout


@pytest.fixture
def twilio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Twilio, Bench]]:
    """Twilio on this machine, and a desk whose texts go there."""
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", ACCOUNT)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", TOKEN)
    bench, stand_in = bench_now(tmp_path), Twilio()
    with threaded(HttpStandIn(stand_in)) as server:
        extra = f'[providers.twilio]\nbase_url = "{server.url}"'
        write_desk(tmp_path, sms='provider = "twilio"', extra=extra)
        path = tmp_path / "commcast.toml"
        path.write_text(path.read_text().replace('from = "Acme"', f'from = "{SENDER}"'))
        yield stand_in, bench


def settle(stand_in: Twilio, *states: tuple[str, int | None]) -> None:
    """Let the texts that were taken end so, each with its state and error number."""
    now = format_datetime(datetime.now(UTC))
    for message, (state, code) in zip(stand_in.messages, states, strict=True):
        message.update(status=state, error_code=code, date_sent=now, date_updated=now)


def test_what_became_of_texts_comes_home(twilio: tuple[Twilio, Bench]) -> None:
    stand_in, bench = twilio
    run("send", "pay7", "--yes", folder=bench.folder)
    assert run("receipts", folder=bench.folder).output == ""
    settle(stand_in, ("delivered", None), ("sent", None))
    assert run("receipts", folder=bench.folder).stdout.splitlines()[1].split() == ["twilio", *"21000"]
    settle(stand_in, ("delivered", None), ("undelivered", 30006))
    assert run("receipts", folder=bench.folder).stdout.splitlines()[1].split() == ["twilio", *"10011"]
    assert run("receipts", folder=bench.folder).output == ""
    assert "  of 5 accepted: 1 delivered, 1 failed\n" in run("status", folder=bench.folder).stdout
    listed = run("recipients", "suppressed", folder=bench.folder).stdout
    assert "failed: 30006: landline" in listed
    assert "+4915112345671" not in listed


def test_an_unreachable_phone_is_told_again(twilio: tuple[Twilio, Bench]) -> None:
    stand_in, bench = twilio
    run("send", "pay7", "--yes", folder=bench.folder)
    settle(stand_in, ("undelivered", 30003), ("failed", 30008))
    assert run("receipts", folder=bench.folder).stdout.splitlines()[1].split() == ["twilio", *"20020"]
    assert "Nobody is suppressed" in run("recipients", "suppressed", folder=bench.folder).stdout


def test_doctor_asks_about_the_account(twilio: tuple[Twilio, Bench]) -> None:
    stand_in, bench = twilio
    shown = run("doctor", "--connect", folder=bench.folder).stdout
    for line in (
        "ok    SMS: Twilio takes the credentials, and the account is active",
        "ok    SMS: Twilio knows the sender …0006",
        "ok    SMS: the Twilio balance is 12.50 USD",
    ):
        assert line in shown
    stand_in.account["type"] = "Trial"
    stand_in.numbers = []
    stand_in.balance["balance"] = "-1"
    shown = run("doctor", "--connect", folder=bench.folder, expect=78).stdout
    assert "warn  SMS: it is a trial account" in shown
    assert "FAIL  SMS: the Twilio account has no sender …0006" in shown
    assert "warn  SMS: the Twilio balance is -1.00 USD" in shown
    stand_in.account["status"] = "suspended"
    shown = run("doctor", "--connect", folder=bench.folder, expect=78).stdout
    assert "FAIL  SMS: the Twilio account is suspended" in shown
    assert TOKEN not in shown
    assert stand_in.forms == []


def test_twilio_that_refuses_is_seventy_eight(
    twilio: tuple[Twilio, Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in, bench = twilio
    run("send", "pay7", "--yes", folder=bench.folder)
    stand_in.answers = [http_answer(401), http_answer(503), http_answer(401)]
    assert "Twilio refuses" in run("receipts", folder=bench.folder, expect=78).stderr
    assert "Twilio cannot be asked" in run("receipts", folder=bench.folder, expect=75).stderr
    assert "FAIL  SMS: Twilio refuses" in run("doctor", "--connect", folder=bench.folder, expect=78).stdout
    monkeypatch.delenv("TWILIO_AUTH_TOKEN")
    assert "TWILIO_AUTH_TOKEN" in run("doctor", folder=bench.folder, expect=78).stdout
    assert "TWILIO_AUTH_TOKEN" in run("receipts", folder=bench.folder, expect=78).stderr
