"""receipts: what became of what was accepted, for cron and for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from commcast.errors import ConfigError, TryAgain
from commcast.model.incident import Channel
from commcast.model.message import Receipt, ReceiptKind
from commcast.providers import registry as wiring
from commcast.providers.base import Refused
from tests.support.desk import Bench, write_incident
from tests.support.providers import FakeAdapter
from tests.support.providers import SaidRecords as FakeRecords
from tests.support.terminal import at_terminal, bench_now, every_byte, run

HEAD = "PROVIDER  ASKED  DELIVERED  BOUNCED  FAILED  SUPPRESSED"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def send(bench: Bench) -> None:
    """Let sendgrid take the mails and twilio the texts of pay7: three mails, two texts."""
    names = {Channel.EMAIL: "sendgrid", Channel.SMS: "twilio"}
    bench.adapter = lambda channel: FakeAdapter(channel=channel, name=names[channel])
    bench.send()


def ids(bench: Bench, channel: str) -> list[str]:
    return [row.provider_id for row in bench.rows() if row.channel == channel]


def say(monkeypatch: pytest.MonkeyPatch, **said: Sequence[Receipt | Exception] | Exception) -> None:
    """Let the providers say this."""
    channels = {"sendgrid": Channel.EMAIL, "twilio": Channel.SMS}

    def records_for(_config: object, provider: str, _clock: Callable[[], datetime]) -> FakeRecords | None:
        found = said.get(provider, [])
        if isinstance(found, Exception):
            raise found
        return FakeRecords(found, channels[provider], provider)

    monkeypatch.setattr(wiring, "records_for", records_for)


def delivered(bench: Bench, name: str) -> Receipt:
    return Receipt(ReceiptKind.DELIVERED, bench.now, provider_id=name)


def bounced(bench: Bench, key: str) -> Receipt:
    words = "550 5.1.1 <ann@example.com> unknown"
    return Receipt(ReceiptKind.BOUNCED, bench.later(minutes=1), words, key=key, lasting=True, suppress=True)


def test_news_is_a_table_and_no_news_is_silence(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    send(bench)
    say(
        monkeypatch,
        sendgrid=[bounced(bench, "ann@example.com")],
        twilio=[delivered(bench, name) for name in ids(bench, "sms")],
    )
    result = run("receipts", folder=bench.folder)
    assert result.stdout.splitlines() == [
        HEAD,
        "sendgrid  3      0          1        0       1",
        "twilio    2      2          0        0       0",
    ]
    assert "ann@" not in result.output
    assert run("receipts", folder=bench.folder).output == ""
    listed = run("recipients", "suppressed", folder=bench.folder).stdout
    assert "bounced: 550 5.1.1 * unknown  sendgrid" in listed
    again = run("recipients", "unsuppress", "ann@example.com", folder=bench.folder).stdout
    assert "SendGrid's own list" in again


def test_status_shows_what_became_of_what_was_accepted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    send(bench)
    assert " accepted: " not in run("status", folder=bench.folder).stdout
    block = Receipt(ReceiptKind.FAILED, bench.now, "421 busy", key="bob@example.com")
    texts = [delivered(bench, name) for name in ids(bench, "sms")]
    say(monkeypatch, sendgrid=[bounced(bench, "ann@example.com"), block], twilio=texts)
    run("receipts", folder=bench.folder)
    shown = run("status", folder=bench.folder).stdout
    assert "\n  of 5 accepted: 2 delivered, 1 bounced, 1 failed\n" in shown
    assert max(map(len, shown.splitlines())) <= 80
    (found,) = json.loads(run("status", "--json", folder=bench.folder).stdout)["incidents"]
    assert found["receipts"] == {"delivered": 2, "bounced": 1, "failed": 1}
    assert found["deliveries"]["accepted"] == 5


@pytest.mark.parametrize(
    ("trouble", "code"),
    [(Refused("the key may not read bounces"), 78), (TryAgain("is down"), 75), (ConfigError("no key"), 2)],
)
def test_trouble_is_said_and_the_other_is_asked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, trouble: Exception, code: int
) -> None:
    send(bench)
    say(monkeypatch, sendgrid=trouble, twilio=[delivered(bench, ids(bench, "sms")[0])])
    result = run("receipts", folder=bench.folder, expect=code)
    assert result.stderr == f"sendgrid: {trouble}\n"
    assert "twilio    2      1" in result.stdout
    again = run("receipts", folder=bench.folder, expect=code)
    assert (again.stdout, again.stderr) == ("", f"sendgrid: {trouble}\n")


def test_json_is_one_document(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    send(bench)
    say(
        monkeypatch,
        sendgrid=[bounced(bench, "ann@example.com"), bounced(bench, "x@y.example"), Refused("no")],
    )
    document = json.loads(run("receipts", "--json", folder=bench.folder, expect=78).stdout)
    mails, texts = document["providers"]
    sums = {"delivered": 0, "bounced": 1, "failed": 0, "suppressed": 1, "foreign": 1}
    assert mails == {"provider": "sendgrid", "channel": "email", "asked": 3, **sums, "trouble": "no"}
    assert texts["trouble"] is None
    assert document["exit_code"] == 78


def test_only_what_is_young_is_asked_about(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.now -= timedelta(hours=2)
    write_incident(bench.folder, at=bench.now - timedelta(minutes=1))
    send(bench)
    say(monkeypatch, sendgrid=TryAgain("is down"), twilio=TryAgain("is down"))
    run("receipts", "--since", "1h", folder=bench.folder)
    run("receipts", "--since", "3h", folder=bench.folder, expect=75)


def test_a_length_that_is_none_is_refused(bench: Bench) -> None:
    assert "--since" in run("receipts", "--since", "yesterday", folder=bench.folder, expect=2).stderr


def test_help_says_that_sendgrid_may_count_a_full_mailbox_as_a_bounce() -> None:
    shown = " ".join(run("receipts", "--help").stdout.split())
    assert "A full mailbox, too, where SendGrid counts it as a bounce" in shown
    assert "A block for a while silences nobody" in shown


def test_files_and_smtp_are_asked_nothing(bench: Bench) -> None:
    bench.send()
    before = every_byte(bench.folder)
    assert run("receipts", folder=bench.folder).output == ""
    assert {name: data for name, data in every_byte(bench.folder).items() if "ledger" not in name} == {
        name: data for name, data in before.items() if "ledger" not in name
    }


def test_a_person_is_told_that_there_is_nothing_to_ask(bench: Bench) -> None:
    seen = at_terminal(bench.folder, ["receipts"], [])
    assert seen.screen == "Nothing to ask: no provider owes a receipt of the last 3d.\n"
    assert seen.exit_code == 0
