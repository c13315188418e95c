"""receipts and recipients import: what providers tell of what they accepted, and whom they serve no more."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commcast.errors import ConfigError, Fault, TryAgain
from commcast.model.incident import Channel
from commcast.model.message import Receipt, ReceiptKind
from commcast.providers import registry as wiring
from commcast.providers.base import Refused, SuppressionEntry
from tests.support.desk import Bench, write_incident
from tests.support.providers import FakeAdapter, SayingRecords
from tests.support.terminal import at_terminal, bench_now, every_byte, run

HEAD = "PROVIDER  ASKED  DELIVERED  BOUNCED  FAILED  SUPPRESSED"
THEN = datetime(2025, 3, 1, tzinfo=UTC)
IMPORT = ("recipients", "import", "--from", "sendgrid")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def suppressed(bench: Bench) -> str:
    return run("recipients", "suppressed", folder=bench.folder).stdout


# --- receipts


def send(bench: Bench) -> None:
    """Let sendgrid take the mails and twilio the texts of pay7: three mails, two texts."""
    names = {Channel.EMAIL: "sendgrid", Channel.SMS: "twilio"}
    bench.adapter = lambda channel: FakeAdapter(channel=channel, name=names[channel])
    bench.send()


def say(monkeypatch: pytest.MonkeyPatch, **said: Sequence[Receipt | Exception] | Exception) -> None:
    """Let the providers say this."""
    channels = {"sendgrid": Channel.EMAIL, "twilio": Channel.SMS}

    def records_for(_config: object, provider: str, _clock: Callable[[], datetime]) -> SayingRecords:
        found = said.get(provider, [])
        if isinstance(found, Exception):
            raise found
        return SayingRecords(found, channels[provider], provider)

    monkeypatch.setattr(wiring, "records_for", records_for)


def delivered(bench: Bench) -> list[Receipt]:
    """Return that both texts arrived."""
    ids = [row.provider_id for row in bench.rows() if row.channel == "sms"]
    return [Receipt(ReceiptKind.DELIVERED, bench.now, provider_id=each) for each in ids]


def bounced(bench: Bench, key: str = "ann@example.com") -> Receipt:
    words = "550 5.1.1 <ann@example.com> unknown"
    return Receipt(ReceiptKind.BOUNCED, bench.later(minutes=1), words, key=key, lasting=True, suppress=True)


def test_news_is_a_table_and_no_news_is_silence(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    send(bench)
    assert " accepted: " not in run("status", folder=bench.folder).stdout
    block = Receipt(ReceiptKind.FAILED, bench.now, "421 busy", key="bob@example.com")
    say(monkeypatch, sendgrid=[bounced(bench), block], twilio=delivered(bench))
    result = run("receipts", folder=bench.folder)
    assert result.stdout.splitlines() == [
        HEAD,
        "sendgrid  3      0          1        1       1",
        "twilio    2      2          0        0       0",
    ]
    assert "ann@" not in result.output
    assert run("receipts", folder=bench.folder).output == ""
    assert "bounced: 550 5.1.1 * unknown  sendgrid" in suppressed(bench)
    shown = run("status", folder=bench.folder).stdout
    assert "\n  of 5 accepted: 2 delivered, 1 bounced, 1 failed\n" in shown
    assert max(map(len, shown.splitlines())) <= 80
    (found,) = json.loads(run("status", "--json", folder=bench.folder).stdout)["incidents"]
    assert found["receipts"] == {"delivered": 2, "bounced": 1, "failed": 1}
    assert found["deliveries"]["accepted"] == 5
    again = run("recipients", "unsuppress", "ann@example.com", folder=bench.folder).stdout
    assert "SendGrid's own list" in again


@pytest.mark.parametrize(
    ("trouble", "code"),
    [(Refused("the key may not read bounces"), 78), (TryAgain("is down"), 75), (ConfigError("no key"), 2)],
)
def test_trouble_is_said_and_the_other_is_asked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, trouble: Exception, code: int
) -> None:
    send(bench)
    say(monkeypatch, sendgrid=trouble, twilio=delivered(bench)[:1])
    result = run("receipts", folder=bench.folder, expect=code)
    assert result.stderr == f"sendgrid: {trouble}\n"
    assert "twilio    2      1" in result.stdout
    again = run("receipts", folder=bench.folder, expect=code)
    assert (again.stdout, again.stderr) == ("", f"sendgrid: {trouble}\n")


def test_json_is_one_document(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    send(bench)
    say(monkeypatch, sendgrid=[bounced(bench), bounced(bench, "x@y.example"), Refused("no")])
    document = json.loads(run("receipts", "--json", folder=bench.folder, expect=78).stdout)
    mails, texts = document["providers"]
    sums = {"delivered": 0, "bounced": 1, "failed": 0, "suppressed": 1, "foreign": 1}
    assert mails == {"provider": "sendgrid", "channel": "email", "asked": 3, **sums, "trouble": "no"}
    assert (texts["trouble"], document["exit_code"]) == (None, 78)


def test_only_what_is_young_is_asked_about(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.now -= timedelta(hours=2)
    write_incident(bench.folder, at=bench.now - timedelta(minutes=1))
    send(bench)
    say(monkeypatch, sendgrid=TryAgain("is down"), twilio=TryAgain("is down"))
    run("receipts", "--since", "1h", folder=bench.folder)
    run("receipts", "--since", "3h", folder=bench.folder, expect=75)
    assert "--since" in run("receipts", "--since", "yesterday", folder=bench.folder, expect=2).stderr


def test_files_and_smtp_are_asked_nothing_and_a_person_is_told_so(bench: Bench) -> None:
    bench.send()
    before = every_byte(bench.folder)
    assert run("receipts", folder=bench.folder).output == ""
    seen = at_terminal(bench.folder, ["receipts"], [])
    assert seen.screen == "Nothing to ask: no provider owes a receipt of the last 3d.\n"
    assert seen.exit_code == 0
    after = every_byte(bench.folder)
    assert {name for name in after if after[name] != before.get(name) and "ledger" not in name} == set()


# --- recipients import


def stand(monkeypatch: pytest.MonkeyPatch, **lists: Sequence[str | Exception]) -> None:
    """Let these addresses stand on SendGrid's lists."""
    entries: dict[str, Sequence[SuppressionEntry | Exception]] = {
        name: [
            each if isinstance(each, Exception) else SuppressionEntry(name, each, THEN, "550 gone")
            for each in lists.get(name, [])
        ]
        for name in ("unsubscribes", "bounces", "blocks")
    }
    monkeypatch.setattr(wiring, "records_for", lambda *_: SayingRecords(lists=dict(entries)))


def test_bounces_and_unsubscribes_come_in_and_blocks_are_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand(
        monkeypatch,
        bounces=["ann@example.com", "gone@example.com", "no address"],
        unsubscribes=["ann@example.com"],
        blocks=["bob@example.com"],
    )
    bench.ledger.close()
    before = every_byte(bench.folder)
    dry = run(*IMPORT, "--dry-run", folder=bench.folder).stdout
    assert every_byte(bench.folder) == before
    result = run(*IMPORT, folder=bench.folder)
    assert result.stdout.splitlines() == [
        "LIST          READ  NEW  KNOWN  UNREADABLE",
        "unsubscribes  1     1    0      0",
        "bounces       3     1    1      1",
        "blocks        1     1    0      0",
        "1 new on the list blocks: they hear on, for SendGrid goes on delivering to them.",
        "To suppress them, too: --list blocks",
    ]
    assert dry == f"{result.stdout}Nothing was written.\n"
    listed = suppressed(bench)
    assert "imported from SendGrid: unsubscribes: 550 gone" in listed
    assert "imported from SendGrid: bounces: 550 gone" in listed
    assert "2025-03-01" in listed
    assert "b…@example.com" not in listed
    assert "ann@example.com" not in result.output
    bench = Bench(bench.folder, now=bench.now)
    bench.send()
    assert bench.states()["email", "skipped"] == 1


def test_blocks_are_suppressed_when_they_are_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stand(monkeypatch, bounces=["ann@example.com"], blocks=["bob@example.com"])
    result = run(*IMPORT, "--list", "blocks", folder=bench.folder)
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["LIST", "blocks"]
    listed = suppressed(bench)
    assert ("b…@example.com" in listed, "a…@example.com" in listed) == (True, False)


def test_a_list_that_may_not_be_read_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stand(monkeypatch, bounces=["ann@example.com"], unsubscribes=[Refused("the key may not read it")])
    document = json.loads(run(*IMPORT, "--dry-run", "--json", folder=bench.folder, expect=78).stdout)
    unsubscribes, bounces, blocks = document["lists"]
    assert (unsubscribes["trouble"], bounces["new"]) == ("the key may not read it", 1)
    assert (blocks["suppresses"], bounces["suppresses"]) == (False, True)
    assert (document["from"], document["dry_run"], document["exit_code"]) == ("sendgrid", True, 78)
    result = run(*IMPORT, folder=bench.folder, expect=78)
    assert result.stderr == "unsubscribes: the key may not read it\n"
    assert "unsubscribes  -     -    -      -" in result.stdout
    assert "bounces       1     1    0      0" in result.stdout
    assert "a…@example.com" in suppressed(bench)


def test_what_was_read_before_the_trouble_is_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stand(monkeypatch, unsubscribes=["ann@example.com", TryAgain("is down")])
    assert "unsubscribes  1     1    0      0" in run(*IMPORT, folder=bench.folder, expect=75).stdout


def test_who_hears_again_is_still_on_the_list_of_sendgrid(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand(monkeypatch, bounces=["ann@example.com"])
    run(*IMPORT, folder=bench.folder)
    run("recipients", "suppress", "bob@example.com", folder=bench.folder)
    theirs = "Also take it off SendGrid's own list (Suppressions)"
    for address, is_theirs in (
        ("Ann@example.com", True),
        ("ann@example.com", False),
        ("bob@example.com", False),
    ):
        shown = run("recipients", "unsuppress", address, folder=bench.folder).stdout
        assert (theirs in shown) == is_theirs


def test_only_what_can_be_imported_is_taken(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--from" in run("recipients", "import", folder=bench.folder, expect=2).stderr
    run("recipients", "import", "--from", "twilio", folder=bench.folder, expect=2)
    run(*IMPORT, "--list", "friends", folder=bench.folder, expect=2)

    def refuse(*_: object) -> None:
        raise ConfigError(Fault("commcast.toml", 0, 0, "SENDGRID_API_KEY is not set", "set it"))

    monkeypatch.setattr(wiring, "records_for", refuse)
    assert "SENDGRID_API_KEY is not set" in run(*IMPORT, folder=bench.folder, expect=2).stderr
