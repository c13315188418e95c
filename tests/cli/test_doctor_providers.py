"""doctor over the providers: their settings, secrets and servers, and what they say when they are asked."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commcast.doctor import providers as doctor_smtp
from commcast.errors import ConfigError, Fault, TryAgain
from commcast.providers import registry as wiring
from commcast.providers.base import Refused
from tests.support.desk import Bench, write_desk
from tests.support.providers import SaidRecords as FakeRecords
from tests.support.terminal import bench_now, run

KEY = "SG.not-a-real-key.at-all"
SECRETS = {
    "SENDGRID_API_KEY": KEY,
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "not-a-real-token",
}
READS = ("suppression.read", "messages.read")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A desk whose adapters can be made, whatever they are; nothing is asked of anybody."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(wiring, "adapter_for", lambda *_: None)
    monkeypatch.setattr(wiring, "fallback_for", lambda *_: None)
    return bench_now(tmp_path)


def configure(
    bench: Bench, email: str = "outbox", sms: str = "outbox", more: str = "", sender: str = "Acme"
) -> None:
    """Let the channels use these providers; `more` is TOML at the end."""
    write_desk(bench.folder, email=email, sms=f'provider = "{sms}"\nquiet = "21:00-08:00"', extra=more)
    path = bench.folder / "commcast.toml"
    path.write_text(path.read_text().replace('from = "Acme"', f'from = "{sender}"'))


def fall_back(bench: Bench, fallback: str) -> None:
    path = bench.folder / "commcast.toml"
    path.write_text(
        path.read_text().replace("[channels.email]\n", f'[channels.email]\nfallback = "{fallback}"\n')
    )


@dataclass
class Asked(FakeRecords):
    """A provider that answers what doctor asks; what is an error is raised."""

    says: dict[str, Any] = field(default_factory=dict)
    senders: list[str] = field(default_factory=list)

    async def scopes(self) -> tuple[str, ...]:
        return self._say("scopes")  # type: ignore[no-any-return]

    async def account(self) -> Any:
        return self._say("account")

    async def balance(self) -> Any:
        return self._say("balance")

    async def knows_sender(self, sender: str) -> Any:
        self.senders.append(sender)
        return self._say("sender")

    def _say(self, what: str) -> Any:
        if isinstance(self.says[what], Exception):
            raise self.says[what]
        return self.says[what]


ACTIVE = SimpleNamespace(status="active", type="Full")
WELL = {"account": ACTIVE, "sender": True, "balance": (Decimal("12.30"), "USD")}


def answer(monkeypatch: pytest.MonkeyPatch, **says: Any) -> Asked:
    """Let every provider say this."""
    records = Asked(says=says)
    monkeypatch.setattr(wiring, "records_for", lambda *_: records)
    return records


def doctor(bench: Bench, *options: str, expect: int = 0) -> str:
    shown = run("doctor", *options, folder=bench.folder, expect=expect).stdout
    for value in SECRETS.values():
        assert value not in shown
    return shown


# --- what is written down


def test_servers_limits_and_secrets_are_shown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(bench, "sendgrid", "twilio", "[providers.twilio]\nper_second = 10")
    monkeypatch.delenv("TWILIO_AUTH_TOKEN")
    monkeypatch.setenv("TWILIO_API_KEY", "SK1")
    monkeypatch.setenv("TWILIO_API_SECRET", "quiet")
    shown = doctor(bench)
    assert "ok    email: goes to api.sendgrid.com; 4 connections, batches of 250, no limit of ours" in shown
    assert "ok    SMS: goes to api.twilio.com; 16 connections, at most 10 messages a second" in shown
    names = ("SENDGRID_API_KEY", "TWILIO_ACCOUNT_SID", "TWILIO_API_KEY", "TWILIO_API_SECRET")
    assert all(f"ok    secret: {name} is set" in shown for name in names)
    assert "TWILIO_AUTH_TOKEN" not in shown
    assert "warn  email" not in shown
    assert "warn  SMS" not in shown


def test_a_secret_that_is_missing_keeps_the_desk_from_sending(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConfigError(Fault("commcast.toml", 0, 0, "sendgrid has no key", "set SENDGRID_API_KEY"))

    configure(bench, "sendgrid")
    monkeypatch.setattr(wiring, "adapter_for", refuse)
    asked = answer(monkeypatch, scopes=())
    shown = doctor(bench, "--connect", expect=78)
    assert "FAIL  email: sendgrid has no key\n      set SENDGRID_API_KEY, where commcast runs" in shown
    assert asked.left == 0


def test_a_fallback_is_looked_at_like_any_provider(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(bench, "sendgrid")
    fall_back(bench, "smtp")
    shown = doctor(bench)
    assert "ok    email: falls back on 127.0.0.1:25 (none); 4 connections, no limit of ours" in shown
    assert "warn  email: travels in the clear" in shown
    assert "fate" not in shown

    def refuse(*_: object) -> None:
        raise ConfigError(Fault("commcast.toml", 0, 0, "has no password", "set it"))

    monkeypatch.setattr(wiring, "fallback_for", refuse)
    assert "FAIL  email: has no password" in doctor(bench, expect=78)


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("https://api.sendgrid.com", False),
        ("https://api.eu.sendgrid.com/", False),
        ("https://api.sendgrid.com:443", False),
        ("https://api.sendgrid.com:8443", True),
        ("https://api.sendgrid.com.evil.example", True),
        ("https://api.twilio.com", True),
        ("http://127.0.0.1:9", True),
    ],
)
def test_a_server_that_is_not_the_providers_own_is_a_warning(bench: Bench, url: str, warned: bool) -> None:
    configure(bench, "sendgrid", more=f'[providers.sendgrid]\nbase_url = "{url}"')
    shown = doctor(bench)
    assert ("is not SendGrid itself (api.sendgrid.com or api.eu.sendgrid.com)" in shown) == warned
    assert ("travels in the clear" in shown) == url.startswith("http:")


@pytest.mark.parametrize(
    ("first", "second", "host", "warned"),
    [
        ("sendgrid", "smtp", "smtp.sendgrid.net", True),
        ("smtp", "sendgrid", "SMTP.SendGrid.net.", True),
        ("sendgrid", "smtp", "api.sendgrid.com", True),
        ("sendgrid", "smtp", "notsendgrid.net", False),
        ("sendgrid", "smtp", "smtp.acme.example", False),
        ("smtp", "", "smtp.sendgrid.net", False),
    ],
)
def test_a_fallback_in_the_same_house_is_a_warning(
    bench: Bench, first: str, second: str, host: str, warned: bool
) -> None:
    configure(bench, first)
    fall_back(bench, second)
    path = bench.folder / "commcast.toml"
    path.write_text(path.read_text().replace('host = "127.0.0.1"', f'host = "{host}"'))
    assert ("shares its provider's fate" in doctor(bench)) == warned


@pytest.mark.parametrize(
    ("host", "warned"), [("127.0.0.1", False), ("localhost", False), ("smtp.sendgrid.net", True)]
)
def test_a_stand_in_on_this_machine_shares_no_fate(bench: Bench, host: str, warned: bool) -> None:
    configure(
        bench,
        "sendgrid",
        more=f'[providers.sendgrid]\nbase_url = "http://{host.replace("smtp.sendgrid.net", "127.0.0.1")}:9"',
    )
    fall_back(bench, "smtp")
    path = bench.folder / "commcast.toml"
    path.write_text(path.read_text().replace('host = "127.0.0.1"', f'host = "{host}"'))
    assert ("shares its provider's fate" in doctor(bench)) == warned


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError("timed out"), "no answer in time"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "no TLS connection"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
    ],
)
def test_a_relay_that_cannot_be_talked_to_is_told_in_plain_words(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def dial(*_: object) -> None:
        raise error

    configure(bench, "smtp")
    monkeypatch.setattr(doctor_smtp, "_dialled", dial)
    shown = doctor(bench, "--connect", expect=75)
    assert "FAIL  email: 127.0.0.1:25 does not answer as it should: " in shown
    assert f"{said}\n" in shown
    assert "SSL:" not in shown


# --- what SendGrid says


def test_a_key_that_may_all_is_well(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(bench, "sendgrid")
    asked = answer(monkeypatch, scopes=("mail.send", *READS))
    shown = doctor(bench, "--connect")
    assert "ok    email: SendGrid takes the key, and it may send" in shown
    assert "warn  email" not in shown
    assert asked.left == 1


def test_without_connect_nobody_is_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(bench, "sendgrid", "twilio")
    asked = answer(monkeypatch)
    doctor(bench)
    assert asked.left == 0


def test_a_key_that_may_not_send_fails_with_the_page(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(bench, "sendgrid")
    answer(monkeypatch, scopes=READS)
    shown = doctor(bench, "--connect", expect=78)
    assert "FAIL  email: the key may not send: it lacks the scope mail.send" in shown
    assert "https://app.sendgrid.com/settings/api_keys" in shown


@pytest.mark.parametrize(
    ("scopes", "lacking"),
    [
        ((), {"suppression.read", "messages.read"}),
        (("messages.read",), {"suppression.read"}),
        (("suppression.read",), {"messages.read"}),
        (("suppression.bounces.read", "messages.read"), {"suppression.read"}),
        (
            ("suppression.bounces.read", "suppression.blocks.read", "suppression.unsubscribes.read"),
            {"messages.read"},
        ),
    ],
)
def test_what_does_not_work_for_want_of_a_scope_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, scopes: tuple[str, ...], lacking: set[str]
) -> None:
    configure(bench, "sendgrid")
    answer(monkeypatch, scopes=("mail.send", *scopes))
    shown = doctor(bench, "--connect")
    assert {name for name in READS if f"({name})" in shown} == lacking
    assert shown.count("warn  email") == len(lacking)


def test_an_unsubscribe_group_has_its_own_scope(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(bench, "sendgrid", more="[providers.sendgrid]\nasm_group = 7")
    answer(monkeypatch, scopes=("mail.send", *READS))
    assert "(asm.groups.read)" in doctor(bench, "--connect")


@pytest.mark.parametrize(
    ("trouble", "code", "said"),
    [
        (
            Refused("SendGrid refuses the key"),
            78,
            "https://app.sendgrid.com/settings/api_keys (or base_url is the other region's)",
        ),
        (TryAgain("SendGrid cannot be asked now"), 75, "try again"),
    ],
)
def test_a_provider_that_does_not_answer_is_a_failure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, trouble: Exception, code: int, said: str
) -> None:
    configure(bench, "sendgrid", "twilio")
    answer(monkeypatch, scopes=trouble, **WELL)
    shown = doctor(bench, "--connect", expect=code)
    assert f"FAIL  email: {trouble}\n" in shown
    assert said in shown
    assert "ok    SMS: Twilio takes the credentials" in shown


def test_trouble_on_the_way_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(bench, "sendgrid")
    answer(monkeypatch, scopes=TryAgain("SendGrid cannot be asked for the key now (no answer in time)"))
    shown = doctor(bench, "--connect", expect=75)
    assert "FAIL  email: SendGrid cannot be asked for the key now (no answer in time)\n" in shown


# --- what Twilio says


def twilio(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, price: float = 0, expect: int = 0, **says: Any
) -> tuple[str, Asked]:
    configure(bench, sms="twilio", sender="+4915799912345")
    path = bench.folder / "commcast.toml"
    path.write_text(path.read_text().replace("[send]\n", f"[send]\nsms_price = {price}\n"))
    asked = answer(monkeypatch, **{**WELL, **says})
    return doctor(bench, "--connect", expect=expect), asked


def test_a_good_account_is_well(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, asked = twilio(bench, monkeypatch)
    assert "ok    SMS: Twilio takes the credentials, and the account is active" in shown
    assert "ok    SMS: Twilio knows the sender …2345" in shown
    assert "ok    SMS: the Twilio balance is 12.30 USD" in shown
    assert "warn  SMS" not in shown
    assert "+4915799912345" not in shown
    assert asked.senders == ["+4915799912345"]


@pytest.mark.parametrize("status", ["suspended", "closed", ""])
def test_an_account_that_is_not_active_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    account = SimpleNamespace(status=status, type="Full")
    shown, asked = twilio(bench, monkeypatch, account=account, expect=78)
    assert f"FAIL  SMS: the Twilio account is {status or 'in a state'}" in shown
    assert asked.senders == []


def test_a_trial_tells_only_verified_numbers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, _ = twilio(bench, monkeypatch, account=SimpleNamespace(status="active", type="Trial"))
    assert "warn  SMS: it is a trial account: only numbers that were verified" in shown


def test_a_sender_that_is_not_ours_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, _ = twilio(bench, monkeypatch, sender=False, expect=78)
    assert "FAIL  SMS: the Twilio account has no sender …2345" in shown


def test_a_name_as_sender_cannot_be_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(bench, sms="twilio", sender="Acme")
    asked = answer(monkeypatch, **{**WELL, "sender": None})
    assert "ok    SMS: the sender Acme is a name" in doctor(bench, "--connect")
    assert asked.senders == ["Acme"]


@pytest.mark.parametrize(
    ("sender", "code", "said"),
    [
        ("12345", 0, "ok    SMS: the sender 12345 is a short code"),
        ("123", 0, "ok    SMS: the sender 123 is a short code"),
        ("12345678", 0, "is a short code"),
        ("12", 78, "is no number in full, no short code and, without a letter, no name"),
        ("4915799912345", 78, "is no number in full, no short code and, without a letter, no name"),
        ("--- ---", 78, "without a letter, no name"),
        ("+1500", 78, "is no number in full"),
        ("+49 15799912345", 78, "is no number in full"),
        ("+0915799912345", 78, "is no number in full"),
        ("Acme Payments", 78, "is longer than the 11 characters that a name may have"),
        ("Acme Paymen", 0, "ok    SMS: the sender Acme Paymen is a name"),
    ],
)
def test_a_sender_that_twilio_need_not_be_asked_about(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, sender: str, code: int, said: str
) -> None:
    configure(bench, sms="twilio", sender=sender)
    asked = answer(monkeypatch, **{**WELL, "sender": None})
    shown = doctor(bench, "--connect", expect=code)
    assert said in shown
    assert "99912345" not in shown.replace("+4915799912345", "")
    assert ("is a name" in shown) == bool(asked.senders)
    assert "the Twilio balance" in shown


def test_a_messaging_service_is_the_sender(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    service = "MG" + "0123456789abcdef" * 2
    configure(bench, sms="twilio", more=f'[providers.twilio]\nmessaging_service = "{service}"')
    asked = answer(monkeypatch, **WELL)
    assert "Twilio knows the sender MG0123456789…" in doctor(bench, "--connect")
    assert asked.senders == [service]


@pytest.mark.parametrize(
    ("amount", "price", "said"),
    [
        (Decimal("12.30"), 0.0, "ok    SMS: the Twilio balance is 12.30 USD\n"),
        (Decimal("0"), 0.0, "warn  SMS: the Twilio balance is 0.00 USD: texts may be refused\n"),
        (Decimal("-3.5"), 0.0, "warn  SMS: the Twilio balance is -3.50 USD: texts may be refused\n"),
        (
            0.15,
            0.08,
            "warn  SMS: the Twilio balance is 0.15 USD: that pays for 1 texts, and 2 readers get texts",
        ),
        (0.16, 0.08, "ok    SMS: the Twilio balance is 0.16 USD\n"),
    ],
)
def test_a_balance_is_held_against_what_one_round_costs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, amount: Any, price: float, said: str
) -> None:
    shown, _ = twilio(bench, monkeypatch, price=price, balance=(amount, "USD"))
    assert said in shown


@pytest.mark.parametrize("what", ["sender", "balance"])
def test_one_thing_that_may_not_be_asked_hides_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    configure(bench, sms="twilio", sender="+4915799912345")
    answer(monkeypatch, **{**WELL, what: Refused("this key may not read it")})
    shown = doctor(bench, "--connect")
    assert "warn  SMS: this key may not read it" in shown
    assert ("knows the sender" in shown) == (what == "balance")
    assert ("balance is" in shown) == (what == "sender")
