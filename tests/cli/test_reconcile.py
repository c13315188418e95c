"""commcast reconcile, and what log shows of it: a table, JSON, the exit code, and never a message."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from commcast.config.settings import Config
from commcast.errors import ConfigError, TryAgain
from commcast.model.incident import Channel
from commcast.providers import registry as wiring
from commcast.providers.base import Records, Refused, Seen
from tests.support.desk import Bench, write_desk, write_incident
from tests.support.providers import FakeRecords, die_over, seeing, taken
from tests.support.servers.http import Exchange, HttpStandIn, Writer, threaded
from tests.support.servers.sendgrid import KEY
from tests.support.terminal import just_now, run


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A desk whose texts go by Twilio; a run died over all of its messages."""
    return lost_desk(tmp_path)


def lost_desk(folder: Path, email: str = "outbox", extra: str = "") -> Bench:
    write_desk(folder, email=email, sms='provider = "twilio"', extra=extra)
    write_incident(folder, at=just_now())
    bench = Bench(folder, now=datetime.now(UTC))
    bench.release()
    bench.freeze()
    die_over(bench)
    return bench


def keeping(monkeypatch: pytest.MonkeyPatch, *records: FakeRecords) -> None:
    """Let these be the records that there are."""
    by_name = {each.name: each for each in records}
    monkeypatch.setattr(wiring, "records_for", lambda config, provider, clock: by_name.get(provider))


def test_what_can_be_proved_is_settled_and_shown_and_the_rest_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sightings = iter([taken, seeing(Seen.NOTHING)])
    keeping(monkeypatch, FakeRecords(answer=lambda asked: next(sightings)(asked)))
    result = run("reconcile", "pay7", folder=bench.folder, expect=1)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["ID", "BY", "PROVIDER", "ASKED", "ACCEPTED", "REJECTED", "UNKNOWN"]
    assert ["pay7", "email", "outbox", "-", "-", "-", "3"] in lines
    assert ["pay7", "SMS", "twilio", "2", "1", "-", "1"] in lines
    assert "1 unknown by SMS: twilio does not list it, looked at twice\n" in result.stdout
    assert "3 unknown by email: outbox keeps no records" in result.stdout
    for command in ("log pay7", "resend pay7 --unknown", "settle pay7 --unknown --as accepted"):
        assert f"commcast {command}" in result.stderr
    assert bench.mails() == bench.texts() == []


def test_twice_is_as_once_and_a_tick_sends_nothing_of_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping(monkeypatch, FakeRecords(answer=seeing(Seen.NOTHING)))
    run("reconcile", folder=bench.folder, expect=1)
    rows = bench.rows()
    run("reconcile", folder=bench.folder, expect=1)
    run("tick", folder=bench.folder)
    assert bench.rows() == rows
    assert bench.mails() == bench.texts() == []


def test_sendgrid_is_asked_over_the_wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Email Activity knows one of three mails as ours, and another mail to a second reader."""
    monkeypatch.setenv("SENDGRID_API_KEY", KEY)
    subjects = FakeRecords(Channel.EMAIL, "sendgrid", answer=lambda asked: None)

    async def activity(exchange: Exchange, writer: Writer) -> None:
        assert (exchange.method, exchange.path) == ("GET", "/v3/messages")
        query = exchange.query["query"]
        owns = "unique_args" in query
        found = "ann@example.com" if owns else "bob@example.com"
        subject = next(asked.words for asked in subjects.asked if asked.address == found)
        message = {"to_email": found, "subject": subject if owns else "Hi", "status": "delivered"}
        await writer.answer(200, {"messages": [{**message, "msg_id": "req-1.filter001"}]})

    with threaded(HttpStandIn(activity)) as server:
        bench = lost_desk(tmp_path, "sendgrid", extra=f'[providers.sendgrid]\nbase_url = "{server.url}"')
        with monkeypatch.context() as patch:
            keeping(patch, subjects)
            run("reconcile", folder=tmp_path, expect=1)
        assert len(subjects.asked) == 3
        patch_twilio_away(monkeypatch)
        result = run("reconcile", folder=tmp_path, expect=1)
    rows = {row.address: row for row in bench.rows()}
    ann = rows["ann@example.com"]
    assert (ann.state.value, ann.provider, ann.provider_id) == ("accepted", "sendgrid", "req-1")
    assert "1 unknown by email: sendgrid has other messages to them, none with our words" in result.stdout
    lagging = "1 unknown by email: sendgrid does not list it (yet): ask again in a few minutes"
    assert lagging in result.stdout
    again, offer = (result.stderr.index(f"commcast {each} pay7") for each in ("reconcile", "resend"))
    assert again < offer
    assert KEY not in result.output
    assert bench.mails() == bench.texts() == []


def patch_twilio_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only SendGrid be asked."""
    real = wiring.records_for

    def only_sendgrid(config: Config, provider: str, clock: Callable[[], datetime]) -> Records | None:
        return real(config, provider, clock) if provider == "sendgrid" else None

    monkeypatch.setattr(wiring, "records_for", only_sendgrid)


def test_nothing_left_unknown_ends_in_0(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping(monkeypatch, FakeRecords(), FakeRecords(Channel.EMAIL, "outbox"))
    run("reconcile", folder=bench.folder)
    assert "Nothing is unknown" in run("reconcile", "pay7", folder=bench.folder).stdout


@pytest.mark.parametrize(("trouble", "code"), [(Refused("401: look there"), 78), (TryAgain("429"), 75)])
def test_one_providers_trouble_is_told_and_the_other_is_asked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, trouble: Exception, code: int
) -> None:
    mails = FakeRecords(Channel.EMAIL, "outbox")
    keeping(monkeypatch, FakeRecords(trouble=trouble), mails)
    result = run("reconcile", folder=bench.folder, expect=code)
    assert f"twilio: {trouble}" in result.stderr
    assert len(mails.asked) == 3
    assert f"2 unknown by SMS: could not be asked: {trouble}" in result.stdout
    assert "pay7: mend or wait, then: commcast reconcile pay7" in result.stderr
    assert "commcast resend" not in result.stderr
    assert "commcast settle" not in result.stderr


def test_a_missing_secret_is_told_and_ends_in_2(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_config: object, provider: str, _clock: object) -> None:
        if provider == "twilio":
            raise ConfigError("TWILIO_AUTH_TOKEN is not set")

    monkeypatch.setattr(wiring, "records_for", missing)
    result = run("reconcile", folder=bench.folder, expect=2)
    assert "TWILIO_AUTH_TOKEN is not set" in result.stderr


def test_as_json(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping(monkeypatch, FakeRecords(trouble=TryAgain("429"), until=1))
    document = json.loads(run("reconcile", "--json", folder=bench.folder, expect=75).stdout)
    assert (document["commcast"], document["version"], document["exit_code"]) == ("reconcile", 1, 75)
    assert document["troubles"] == {"twilio": "429"}
    assert document["unknown"] == 4
    row = next(each for each in document["asked"] if each["channel"] == "sms")
    assert row == {
        "incident": "pay7",
        "channel": "sms",
        "provider": "twilio",
        "asked": 1,
        "accepted": 1,
        "rejected": 0,
        "unknown": 1,
        "meanwhile": 0,
        "why": {"could not be asked": 1},
    }


def test_an_incident_that_nobody_spoke_of_is_refused(bench: Bench) -> None:
    run("reconcile", "nothing1", folder=bench.folder, expect=2)


def test_without_its_ledger_nothing_is_asked(bench: Bench) -> None:
    (bench.folder / ".commcast/ledger.db").unlink()
    run("reconcile", folder=bench.folder, expect=3)


def test_a_broken_incident_file_does_not_keep_it_from_asking(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping(monkeypatch, FakeRecords(), FakeRecords(Channel.EMAIL, "outbox"))
    (bench.folder / "incidents/pay7.yaml").write_text("title: [\n")
    run("reconcile", "pay7", folder=bench.folder)


def test_log_tells_who_was_asked_and_what_can_follow(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sightings = iter([taken, seeing(Seen.NOTHING)])
    keeping(monkeypatch, FakeRecords(answer=lambda asked: next(sightings)(asked)))
    run("reconcile", folder=bench.folder, expect=1)
    result = run("log", "pay7", folder=bench.folder)
    assert "update 1  SMS  …5671  asked twilio: accepted  found at twilio" in result.stdout
    assert "asked twilio: unknown  twilio does not list it, looked at twice" in result.stdout
    assert "update 1  email  3 readers  asked outbox: unknown" in result.stdout
    assert "commcast reconcile pay7" in result.stderr
    full = run("log", "pay7", "--addresses", "--channel", "sms", folder=bench.folder).stdout
    assert "SMS  +4915112345671  asked twilio: accepted" in full
    assert "asked outbox" not in full
    listed = json.loads(run("log", "--json", folder=bench.folder).stdout)["acts"]
    assert counted(listed) == {("reconcile", "accepted"): 1, ("reconcile", "unknown"): 4}
    assert "+4915112345671" not in json.dumps(listed)


def counted(listed: list[dict[str, str]]) -> dict[tuple[str, str], int]:
    keys = [(each["what"], each["became"]) for each in listed]
    return {key: keys.count(key) for key in keys}


def test_an_address_that_was_erased_is_nowhere_in_the_log(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping(monkeypatch, FakeRecords())
    run("reconcile", folder=bench.folder, expect=1)
    run("recipients", "erase", "+4915112345671", "--yes", folder=bench.folder)
    shown = run("log", "--addresses", folder=bench.folder).output
    assert "(erased)" in shown
    assert "5671" not in shown


def test_what_another_host_is_still_sending_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_desk(tmp_path)
    write_incident(tmp_path, at=just_now())
    bench = Bench(tmp_path, now=datetime.now(UTC))
    bench.release()
    bench.freeze()
    die_over(bench, "elsewhere|boot|pid:[1]|10|99")
    assert "Nothing is unknown" in run("reconcile", folder=tmp_path).stdout
    assert {row.state.value for row in bench.rows()} == {"claimed"}
