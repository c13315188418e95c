"""doctor: what keeps a desk from sending, line by line; and how a ledger is adopted without old history."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commcast.cli.doctor import write_desk as write_desk_line
from commcast.cli.options import clock
from commcast.config.load import load_config
from commcast.config.settings import SendGridProvider, TwilioProvider
from commcast.doctor import providers as doctor_providers
from commcast.doctor.checks import file_system
from commcast.errors import ConfigError, Fault, TryAgain
from commcast.ledger.oncall import take
from commcast.providers import registry as wiring
from commcast.providers.base import Refused
from commcast.providers.sendgrid.records import SendGridRecords
from commcast.providers.twilio.client import Credentials
from commcast.providers.twilio.records import TwilioRecords
from tests.support.desk import DESK, Bench, update_text, write_desk, write_incident, write_list
from tests.support.providers import SayingRecords
from tests.support.servers.http import Certificate, Inbox, aiosmtpd_server, make_certificate
from tests.support.terminal import bench_now, every_byte, just_now, make_desk, missing, run


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def doctor(bench: Bench, *options: str, expect: int = 0) -> str:
    return run("doctor", *options, folder=bench.folder, expect=expect).stdout


def checks(bench: Bench, about: str, expect: int = 0) -> list[tuple[str, str]]:
    found = json.loads(doctor(bench, "--json", expect=expect))["checks"]
    return [(each["state"], each["what"]) for each in found if each["about"] == about]


def change(bench: Bench, *changes: tuple[str, str], more: str = "") -> None:
    """Change the configuration, and write `more` below it."""
    path = bench.folder / "commcast.toml"
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text + more)


def end(bench: Bench) -> None:
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text() + update_text(bench.now, status="resolved", fixed="Rolled back."))


# --- the desk's own files, and its disk


def test_a_good_desk_is_ok_and_stays_as_it_is(bench: Bench) -> None:
    before = every_byte(bench.folder)
    shown = doctor(bench)
    assert "FAIL" not in shown
    assert "warn  email: goes into files, nothing is sent\n      to go live: README, " in shown
    assert "warn  SMS: goes into files, nothing is sent\n" in shown
    assert "DNS" not in shown
    document = json.loads(doctor(bench, "--json"))
    assert document["ok"]
    assert {each["about"] for each in document["checks"]} >= {"ledger", "incidents", "tick", "email"}
    assert set(document["checks"][0]) == {"state", "about", "what", "remedy"}
    assert every_byte(bench.folder) == before


def test_a_missing_ledger_is_three_and_broken_files_are_two(bench: Bench) -> None:
    (bench.folder / "incidents" / "half.yaml").write_text("title: [\n")
    broken = "FAIL  incidents: 1 is broken: incidents/half.yaml\n      see: commcast lint\n"
    assert broken in doctor(bench, expect=2)
    (bench.folder / ".commcast" / "ledger.db").unlink()
    assert "FAIL  ledger" in doctor(bench, expect=3)


def test_a_lost_folder_of_incidents_is_no_quiet_day(bench: Bench) -> None:
    (bench.folder / "incidents" / "pay7.yaml").unlink()
    (bench.folder / "incidents").rmdir()
    assert "FAIL  incidents: incidents/: is missing" in doctor(bench, expect=2)
    for verb in ("tick", "status", "lint"):
        assert "incidents/: is missing" in run(verb, folder=bench.folder, expect=2).output


@pytest.mark.parametrize("place", [".commcast", ".commcast/ledger.db"])
def test_a_ledger_that_cannot_be_written_is_three(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, how: path != bench.folder / place and real(path, how))
    assert f"FAIL  ledger: {bench.folder / place} cannot be written" in doctor(bench, expect=3)


def test_a_nearly_full_disk_and_copies_of_a_ledger_are_warnings(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(bench.folder)._replace(free=3 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    shutil.copy(bench.folder / ".commcast/ledger.db", bench.folder / ".commcast/ledger (copy).db")
    shown = doctor(bench)
    assert "warn  disk: is nearly full: 3,072 KiB free" in shown
    assert "warn  disk: copies of a ledger lie beside it: ledger (copy).db" in shown


def test_a_remote_disk_is_recognised() -> None:
    mounts = "dev / ext4 rw 0 0\nhost:/x /srv/share nfs4 rw 0 0\n"
    assert file_system(Path("/srv/share/desk/.commcast"), mounts) == "nfs4"
    assert file_system(Path("/srv/shared"), mounts) == "ext4"


# --- lists and templates: whether each can be used, without reading a list to its end


def write_template(bench: Bench, name: str, text: str) -> None:
    path = bench.folder / "templates" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_lists_are_opened_and_not_read(bench: Bench) -> None:
    """A bad row is none of its matters: a million rows would take too long."""
    write_list(bench.folder, "customers", "email,phone,name", ["ann@example.com,,Ann", "nobody,,"])
    assert checks(bench, "lists") == [("ok", "2 can be opened")]
    ((state, what),) = checks(bench, "templates")
    assert (state, what.partition(" ")[2]) == ("ok", "can be used")
    write_list(bench.folder, "customers", "street", ["Main St"])
    (bench.folder / "audiences" / "support.csv").unlink()
    first = "audiences/support.csv: file not found; create it, or name another under [audiences]"
    assert checks(bench, "lists", expect=2) == [("FAIL", f"2 are broken: {first}")]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("customers/email.txt.j2", "{% if", "1 is broken: templates/customers/email.txt.j2:1: "),
        ("customers/resolved.sms.txt.j2", "{% if", "templates/customers/resolved.sms.txt.j2:1: "),
        ("customers/sms.txt.j2", "{{ nosuch }}", "sms.txt.j2:1: unknown variable 'nosuch'"),
    ],
    ids=["in use", "not in use now", "fails for an open incident"],
)
def test_a_template_that_cannot_be_used_fails(bench: Bench, name: str, text: str, said: str) -> None:
    write_template(bench, name, text)
    ((state, what),) = checks(bench, "templates", expect=2)
    assert (state, said in what) == ("FAIL", True), what
    end(bench)
    assert ("nosuch" in said) == (
        checks(bench, "templates", expect=0 if "nosuch" in said else 2)[0][0] == "ok"
    )


# --- people who are to be nudged, and the monitor that notices when nothing is

PEOPLE = """\
[people.sam]
name = "Sam Okafor"
email = "env:SAM_MAIL"
[people.kim]
name = "Kim Lee"
phone = "+4915199999903"
"""


def test_whoever_answers_for_an_open_incident_has_to_be_reached(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(bench, more=PEOPLE)
    assert checks(bench, "people") == [("warn", "dana has no address, and owns pay7")]
    with bench.ledger.write() as connection:
        take(connection, "pay7", "sam", by="sam", now=bench.now)
    assert checks(bench, "people") == [("warn", "sam has no address that can be used, and owns pay7")]
    assert ("warn", "SAM_MAIL is not set: the email of sam") in checks(bench, "secret")
    monkeypatch.setenv("SAM_MAIL", "sam at acme")
    ((state, what),) = checks(bench, "people")
    assert (state, what.partition(" (")[0]) == ("warn", "the email of sam is not an email address")
    monkeypatch.setenv("SAM_MAIL", "sam@secret.example")
    assert ("ok", "SAM_MAIL is set") in checks(bench, "secret")
    assert checks(bench, "people") == []
    assert "secret.example" not in doctor(bench)


@pytest.mark.parametrize("over", [True, False])
def test_who_owns_nothing_open_needs_no_address(bench: Bench, over: bool) -> None:
    change(bench, more=PEOPLE)
    if over:
        end(bench)
    else:
        path = bench.folder / "incidents" / "pay7.yaml"
        path.write_text(path.read_text().replace("owner: dana", "owner: kim"))
    assert checks(bench, "people") == []


def test_the_heartbeat_is_known_by_its_host_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    change(bench, more='[tick]\nheartbeat_url = "env:BEAT"\n')
    assert ("warn", "BEAT is not set: where the heartbeat goes") in checks(bench, "secret")
    for url, state, what in (
        ("https://beat.example/t0ken", "ok", "goes to beat.example after every tick that went well"),
        ("http://beat.example/t0ken", "warn", "goes to beat.example in the clear"),
        ("t0ken", "warn", "goes to no web address"),
        ("https://[::1", "warn", "goes to no web address"),
    ):
        monkeypatch.setenv("BEAT", url)
        assert checks(bench, "heartbeat") == [(state, what)]
        assert "t0ken" not in doctor(bench)


def test_a_desk_without_people_is_told_how_to_name_one(tmp_path: Path) -> None:
    desk = make_desk(tmp_path / "desk")
    found = json.loads(run("doctor", "--json", folder=desk).stdout)["checks"]
    ((what, remedy),) = [(each["what"], each["remedy"]) for each in found if each["about"] == "people"]
    assert what == "nobody can be woken before a promise breaks: there is no [people]"
    assert missing("[people.dana] … name, email and phone … owner: dana", remedy) == []
    path = desk / "commcast.toml"
    path.write_text(path.read_text() + '[nudge]\ncommand = ["notify-oncall"]\n')
    assert "[people.dana]" not in run("doctor", folder=desk).stdout


# --- the adoption of a ledger


def test_old_history_stays_quiet_over_an_adopted_ledger(tmp_path: Path) -> None:
    bench = bench_now(tmp_path)
    bench.ledger.close()
    for number in range(9):
        at = just_now() - timedelta(days=number)
        more = update_text(at + timedelta(minutes=1), status="resolved", fixed="Done.") if number else ""
        write_incident(tmp_path, f"old{number}", at=at, more=more)
    for path in (tmp_path / ".commcast").iterdir():
        path.unlink()
    run("doctor", "--adopt-ledger", folder=tmp_path, expect=5)  # it needs a yes
    assert not (tmp_path / ".commcast" / "ledger.db").exists()
    result = run("doctor", "--adopt-ledger", "--yes", folder=tmp_path)
    assert "18 updates count as told elsewhere" in result.stdout
    assert run("tick", folder=tmp_path).output == ""
    for name in ("pay7", "old0", "old5"):
        run("send", name, "--yes", folder=tmp_path)
        run("send", name, "--late", "--yes", folder=tmp_path)
    assert not (tmp_path / "outbox").exists()


def test_a_folder_without_a_desk_gets_one_as_its_first_line(bench: Bench) -> None:
    config = bench.folder / "commcast.toml"
    change(bench, (f'desk = "{DESK}"\n', "# our desk\n"))
    text = config.read_text()
    run("tick", folder=bench.folder, expect=3)
    run("doctor", "--adopt-ledger", "--yes", folder=bench.folder)
    assert config.read_text().split("\n", 1)[1] == text
    assert len(load_config(bench.folder).desk) == 16
    run("tick", folder=bench.folder)


def test_what_was_released_before_an_adoption_is_not_sent_again(bench: Bench) -> None:
    bench.send()
    run("doctor", "--adopt-ledger", "--yes", folder=bench.folder)
    assert "already sent" in run("send", "pay7", "--yes", folder=bench.folder).output
    assert len(bench.mails()) == 3


def test_the_desk_line_keeps_bom_line_ends_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "commcast.toml"
    path.write_bytes(b"\xef\xbb\xbf# ours\r\n[send]\r\n")
    path.chmod(0o640)
    write_desk_line(path, "0" * 16)
    assert path.read_bytes() == b'\xef\xbb\xbfdesk = "0000000000000000"\r\n# ours\r\n[send]\r\n'
    assert path.stat().st_mode & 0o777 == 0o640


# --- a secret that is missing is seen before it is needed, and nothing connects

MISSING = "Warning: email cannot be sent: commcast.toml: providers.sendgrid: has no key; set SENDGRID_API_KEY"
WORDS = ("--issue", "Some cards fail.", "--resolution", "We roll back.", "--timeframe", "unknown")


@pytest.fixture
def keyless(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A desk whose mail goes through SendGrid, without a key, on a machine that may not connect."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("nothing may connect"))
    write_desk(bench.folder, email="sendgrid")
    return bench


@pytest.mark.parametrize(
    "command",
    [
        ("send", "pay7"),
        ("update", "pay7", "--issue", "More cards fail."),
        ("declare", "Login fails", "--severity", "1", *WORDS),
    ],
    ids=["send", "update", "declare"],
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_dry_run_that_lacks_a_secret_fails(
    keyless: Bench, command: tuple[str, ...], form: tuple[str, ...]
) -> None:
    """A check in a workflow must not pass where the real run would be refused."""
    done = run(*command, "--dry-run", *form, folder=keyless.folder, expect=78)
    assert MISSING in done.stderr
    assert "Dry run:" in done.stdout or form


def test_each_channel_that_lacks_a_secret_is_named(keyless: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    preview = run("preview", "pay7", folder=keyless.folder)  # shown all the same
    assert (MISSING in preview.stderr, "email: through sendgrid" in preview.stdout) == (True, True)
    change(keyless, ("[channels.sms]", '[channels.sms]\nprovider = "twilio"'))
    warned = run("send", "pay7", "--dry-run", folder=keyless.folder, expect=78).stderr
    assert MISSING in warned
    assert "Warning: SMS cannot be sent: commcast.toml: providers.twilio: TWILIO_ACCOUNT_SID" in warned
    refused = run("send", "pay7", "--yes", folder=keyless.folder, expect=78).stderr
    assert missing("SENDGRID_API_KEY … TWILIO_ACCOUNT_SID", refused) == []
    change(keyless, ('provider = "twilio"', ""))
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.a-key")
    assert "cannot be sent" not in run("send", "pay7", "--dry-run", folder=keyless.folder).stderr


def test_where_a_fallback_takes_over_a_dry_run_passes(keyless: Bench) -> None:
    change(keyless, ('provider = "sendgrid"', 'provider = "sendgrid"\nfallback = "smtp"'))
    assert "cannot be sent" not in run("send", "pay7", "--dry-run", folder=keyless.folder).stderr


# --- a mail server that is greeted


def live_desk(folder: Path, port: int, **settings: str) -> None:
    """Write a desk that sends over SMTP with a user."""
    write_desk(folder, email="smtp", port=port)
    path = folder / "commcast.toml"
    lines = "".join(f'{key} = "{value}"\n' for key, value in {"user": "desk", **settings}.items())
    path.write_text(path.read_text().replace('security = "none"\n', lines))


@contextmanager
def mail_server(certificate: Certificate | None) -> Iterator[int]:
    """Run a server that demands STARTTLS where it has a certificate, and takes one login."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ready: queue.Queue[int] = queue.Queue()

    async def serve() -> None:
        tls = certificate.server_context() if certificate else None
        async with aiosmtpd_server(Inbox(), tls=tls, login=("desk", "sesame") if tls else None) as port:
            ready.put(port)
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield ready.get(timeout=20)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def test_connect_says_hello_to_the_mail_server(bench: Bench) -> None:
    with mail_server(None) as port:
        write_desk(bench.folder, email="smtp", port=port)
        assert f"ok    email: 127.0.0.1:{port} answers\n" in doctor(bench, "--connect")
    assert "FAIL  email" in doctor(bench, "--connect", expect=75)


def test_a_user_without_a_password_keeps_the_desk_from_sending(bench: Bench) -> None:
    live_desk(bench.folder, 25)
    shown = doctor(bench, "--connect", expect=78)
    assert "FAIL  email: providers.smtp.user: has no password\n      set COMMCAST_SMTP_PASSWORD" in shown


@pytest.mark.parametrize(
    ("password", "settings", "code", "said"),
    [
        ("sesame", {"ca_file": "certificate.pem"}, 0, "answers and takes the login"),
        (
            *("barley", {"ca_file": "certificate.pem"}, 78),
            "refuses the login of desk\n      check user and COMMCAST_SMTP_PASSWORD",
        ),
        ("sesame", {}, 78, 'write ca_file = "…"'),
        ("sesame", None, 78, 'offers no STARTTLS\n      write security = "tls" with port = 465'),
    ],
    ids=["well", "wrong password", "untrusted", "no STARTTLS"],
)
def test_connect_logs_in(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    password: str,
    settings: dict[str, str] | None,
    code: int,
    said: str,
) -> None:
    monkeypatch.setenv("COMMCAST_SMTP_PASSWORD", password)
    certificate = make_certificate(bench.folder) if settings is not None else None
    with mail_server(certificate) as port:
        live_desk(bench.folder, port, **(settings or {}))
        shown = doctor(bench, "--connect", expect=code)
    assert said in shown
    assert password not in re.sub(r"/\S+", "", shown)


# --- what is written down of providers

SECRETS = {
    "SENDGRID_API_KEY": "SG.not-a-real-key.at-all",
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "not-a-real-token",
}
READS = ("suppression.read", "messages.read")
ACTIVE = SimpleNamespace(status="active", type="Full")
WELL = {"account": ACTIVE, "sender": True, "balance": (Decimal("12.30"), "USD")}


@pytest.fixture
def live(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A desk whose adapters can be made, whatever they are; nothing is asked of anybody."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(wiring, "adapter_for", lambda *_: None)
    monkeypatch.setattr(wiring, "fallback_for", lambda *_: None)
    return bench


def configure(
    bench: Bench, email: str = "outbox", sms: str = "outbox", more: str = "", sender: str = "Acme"
) -> None:
    """Let the channels use these providers; `email` may name a fallback, `more` is TOML at the end."""
    first, _, second = email.partition("/")
    write_desk(bench.folder, email=first, sms=f'provider = "{sms}"\nquiet = "21:00-08:00"', extra=more)
    fallback = f'[channels.email]\nfallback = "{second}"\n'
    change(
        bench,
        ('from = "Acme"', f'from = "{sender}"'),
        ("[channels.email]\n", fallback if second else "[channels.email]\n"),
    )


def answer(monkeypatch: pytest.MonkeyPatch, **says: Any) -> SayingRecords:
    """Let every provider say this."""
    records = SayingRecords(answers={**WELL, **says})
    monkeypatch.setattr(wiring, "records_for", lambda *_: records)
    return records


def no_secret(*_: object) -> None:
    raise ConfigError(Fault("commcast.toml", 0, 0, "has no secret", "set IT"))


def test_servers_limits_and_secrets_are_shown(live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(live, "sendgrid", "twilio", "[providers.twilio]\nper_second = 10")
    monkeypatch.delenv("TWILIO_AUTH_TOKEN")
    monkeypatch.setenv("TWILIO_API_KEY", "SK1")
    monkeypatch.setenv("TWILIO_API_SECRET", "quiet")
    asked = answer(monkeypatch)
    shown = doctor(live)
    assert "ok    email: goes to api.sendgrid.com; 4 connections, batches of 250, no limit of ours" in shown
    assert "ok    SMS: goes to api.twilio.com; 16 connections, at most 10 messages a second" in shown
    names = ("SENDGRID_API_KEY", "TWILIO_ACCOUNT_SID", "TWILIO_API_KEY", "TWILIO_API_SECRET")
    assert all(f"ok    secret: {name} is set" in shown for name in names)
    for absent in ("TWILIO_AUTH_TOKEN", "warn  email", "warn  SMS", *SECRETS.values()):
        assert absent not in shown
    assert asked.left == 0, "without --connect nobody is asked"


@pytest.mark.parametrize("whose", ["adapter_for", "fallback_for"])
def test_a_secret_that_is_missing_keeps_the_desk_from_sending(
    live: Bench, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    configure(live, "sendgrid/smtp")
    monkeypatch.setattr(wiring, whose, no_secret)
    asked = answer(monkeypatch, scopes=())
    shown = doctor(live, "--connect", expect=78)
    assert "FAIL  email: has no secret\n      set IT, where commcast runs" in shown
    assert "ok    email: falls back on 127.0.0.1:25 (none); 4 connections, no limit of ours" in shown
    assert "warn  email: travels in the clear" in shown
    assert asked.left == 0


OTHER = "is not SendGrid itself (api.sendgrid.com or api.eu.sendgrid.com)"
FATE, CLEAR = "shares its provider's fate", "the key travels in the clear"


@pytest.mark.parametrize(
    ("email", "host", "url", "warned"),
    [
        ("sendgrid", "", "https://api.sendgrid.com", set()),
        ("sendgrid", "", "https://api.eu.sendgrid.com/", set()),
        ("sendgrid", "", "https://api.sendgrid.com:443", set()),
        ("sendgrid", "", "https://api.sendgrid.com:8443", {OTHER}),
        ("sendgrid", "", "https://api.sendgrid.com.evil.example", {OTHER}),
        ("sendgrid", "", "https://api.twilio.com", {OTHER}),
        ("sendgrid", "", "http://127.0.0.1:9", {OTHER, CLEAR}),
        # A fallback that is down whenever the first provider is.
        ("sendgrid/smtp", "smtp.sendgrid.net", "", {FATE}),
        ("smtp/sendgrid", "SMTP.SendGrid.net.", "", {FATE}),
        ("sendgrid/smtp", "api.sendgrid.com", "", {FATE}),
        ("sendgrid/smtp", "smtp.sendgrid.net", "http://127.0.0.1:9", {OTHER, CLEAR, FATE}),
        ("sendgrid/smtp", "notsendgrid.net", "", set()),
        ("sendgrid/smtp", "smtp.acme.example", "", set()),
        ("smtp", "smtp.sendgrid.net", "", set()),
        # A stand-in on this machine says nothing of SendGrid.
        ("sendgrid/smtp", "127.0.0.1", "http://127.0.0.1:9", {OTHER, CLEAR}),
        ("sendgrid/smtp", "localhost", "http://localhost:9", {OTHER, CLEAR}),
    ],
)
def test_whose_servers_they_are(live: Bench, email: str, host: str, url: str, warned: set[str]) -> None:
    configure(live, email, more=f'[providers.sendgrid]\nbase_url = "{url}"' if url else "")
    change(live, ('host = "127.0.0.1"', f'host = "{host or "127.0.0.1"}"'))
    shown = doctor(live)
    assert {each for each in (OTHER, FATE, CLEAR) if each in shown} == warned


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError("timed out"), "no answer in time"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "no TLS connection"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
    ],
    ids=["timeout", "TLS", "refused"],
)
def test_a_relay_that_cannot_be_talked_to_is_told_in_plain_words(
    live: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def dial(*_: object) -> None:
        raise error

    configure(live, "smtp")
    monkeypatch.setattr(doctor_providers, "_dialled", dial)
    shown = doctor(live, "--connect", expect=75)
    assert "FAIL  email: 127.0.0.1:25 does not answer as it should: " in shown
    assert (f"{said}\n" in shown, "SSL:" in shown) == (True, False)


# --- what SendGrid and Twilio say


@pytest.mark.parametrize(
    ("scopes", "code", "lacking"),
    [
        (("mail.send", *READS), 0, set()),
        (("mail.send",), 0, {"suppression.read", "messages.read"}),
        (("mail.send", "messages.read"), 0, {"suppression.read"}),
        (("mail.send", "suppression.read"), 0, {"messages.read"}),
        (("mail.send", "suppression.bounces.read", "messages.read"), 0, {"suppression.read"}),
        (
            *(("mail.send", *(f"suppression.{x}.read" for x in ("bounces", "blocks", "unsubscribes"))), 0),
            {"messages.read"},
        ),
        (READS, 78, set()),
    ],
    ids=["all", "sends only", "no lists", "no activity", "one list", "all lists", "may not send"],
)
@pytest.mark.parametrize("group", ["", "[providers.sendgrid]\nasm_group = 7"])
def test_what_does_not_work_for_want_of_a_scope_is_named(
    live: Bench,
    monkeypatch: pytest.MonkeyPatch,
    scopes: tuple[str, ...],
    code: int,
    lacking: set[str],
    group: str,
) -> None:
    configure(live, "sendgrid", more=group)
    asked = answer(monkeypatch, scopes=scopes)
    shown = doctor(live, "--connect", expect=code)
    lacking = lacking | ({"asm.groups.read"} if group else set())
    assert {name for name in (*READS, "asm.groups.read") if f"({name})" in shown} == lacking
    assert shown.count("warn  email") == len(lacking)
    may = "ok    email: SendGrid takes the key, and it may send"
    may_not = "FAIL  email: the key may not send: it lacks the scope mail.send"
    assert (may in shown, may_not in shown) == (code == 0, code == 78)
    assert asked.left == 1


@pytest.mark.parametrize(
    ("trouble", "code", "said"),
    [
        (Refused("SendGrid refuses the key"), 78, "settings/api_keys (or base_url is the other region's)"),
        (TryAgain("SendGrid cannot be asked now (no answer in time)"), 75, "try again"),
    ],
    ids=["refused", "down"],
)
def test_a_provider_that_does_not_answer_is_a_failure(
    live: Bench, monkeypatch: pytest.MonkeyPatch, trouble: Exception, code: int, said: str
) -> None:
    configure(live, "sendgrid", "twilio")
    answer(monkeypatch, scopes=trouble)
    shown = doctor(live, "--connect", expect=code)
    assert f"FAIL  email: {trouble}\n" in shown
    assert said in shown
    assert "ok    SMS: Twilio takes the credentials" in shown


NUMBER = "+4915799912345"
SUSPENDED, CLOSED, UNNAMED, TRIAL = (
    SimpleNamespace(status=status, type=kind)
    for status, kind in (("suspended", "Full"), ("closed", "Full"), ("", "Full"), ("active", "Trial"))
)


@pytest.mark.parametrize(
    ("says", "price", "code", "said"),
    [
        (
            *({}, 0, 0),
            "ok    SMS: Twilio takes the credentials, and the account is active … "
            "ok    SMS: Twilio knows the sender …2345 … ok    SMS: the Twilio balance is 12.30 USD\n",
        ),
        ({"account": SUSPENDED}, 0, 78, "FAIL  SMS: the Twilio account is suspended"),
        ({"account": CLOSED}, 0, 78, "FAIL  SMS: the Twilio account is closed"),
        ({"account": UNNAMED}, 0, 78, "FAIL  SMS: the Twilio account is in a state"),
        ({"account": TRIAL}, 0, 0, "warn  SMS: it is a trial account: only numbers that were verified"),
        ({"sender": False}, 0, 78, "FAIL  SMS: the Twilio account has no sender …2345"),
        ({"balance": (Decimal("0"), "USD")}, 0, 0, "warn  SMS: the Twilio balance is 0.00 USD: texts may be"),
        (
            {"balance": (Decimal("-3.5"), "USD")},
            0,
            0,
            "warn  SMS: the Twilio balance is -3.50 USD: texts may be",
        ),
        ({"balance": (0.15, "USD")}, 0.08, 0, "pays for 1 texts, and 2 readers get texts"),
        ({"balance": (0.16, "USD")}, 0.08, 0, "ok    SMS: the Twilio balance is 0.16 USD\n"),
        # One thing that may not be asked hides no other.
        ({"sender": Refused("this key may not")}, 0, 0, "warn  SMS: this key may not … balance is"),
        ({"balance": Refused("this key may not")}, 0, 0, "warn  SMS: this key may not … knows the sender"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_twilio_says_of_the_account(
    live: Bench, monkeypatch: pytest.MonkeyPatch, says: dict[str, Any], price: float, code: int, said: str
) -> None:
    configure(live, sms="twilio", sender=NUMBER)
    change(live, ("[send]\n", f"[send]\nsms_price = {price}\n"))
    asked = answer(monkeypatch, **says)
    shown = doctor(live, "--connect", expect=code)
    assert missing(said, shown) == []
    assert NUMBER not in shown
    is_active = says.get("account", ACTIVE).status == "active"
    assert asked.senders == ([NUMBER] if is_active else [])
    assert says or "warn  SMS" not in shown


MUST = "is no number in full, no short code and, without a letter, no name"


@pytest.mark.parametrize(
    ("sender", "code", "said"),
    [
        ("12345", 0, "ok    SMS: the sender 12345 is a short code"),
        ("123", 0, "ok    SMS: the sender 123 is a short code"),
        ("12345678", 0, "is a short code"),
        ("12", 78, MUST),
        ("4915799912345", 78, MUST),
        ("--- ---", 78, MUST),
        ("+1500", 78, "is no number in full"),
        ("+49 15799912345", 78, "is no number in full"),
        ("+0915799912345", 78, "is no number in full"),
        ("Acme Payments", 78, "is longer than the 11 characters that a name may have"),
        ("Acme Paymen", 0, "ok    SMS: the sender Acme Paymen is a name"),
    ],
)
def test_a_sender_that_twilio_need_not_be_asked_about(
    live: Bench, monkeypatch: pytest.MonkeyPatch, sender: str, code: int, said: str
) -> None:
    configure(live, sms="twilio", sender=sender)
    asked = answer(monkeypatch, sender=None)
    shown = doctor(live, "--connect", expect=code)
    assert said in shown
    assert "99912345" not in shown.replace(NUMBER, "")
    assert asked.senders == ([sender] if "is a name" in shown else [])
    assert "the Twilio balance" in shown


def test_a_messaging_service_is_the_sender(live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    service = "MG" + "0123456789abcdef" * 2
    configure(live, sms="twilio", more=f'[providers.twilio]\nmessaging_service = "{service}"')
    asked = answer(monkeypatch)
    assert "Twilio knows the sender MG0123456789…" in doctor(live, "--connect")
    assert asked.senders == [service]


def test_records_can_be_asked_what_doctor_asks() -> None:
    """The type checker compares them with doctor's protocols here."""
    sendgrid: doctor_providers._SendGrid = SendGridRecords(SendGridProvider(), "SG.key", clock)
    account = Credentials("AC1", "AC1", "token")
    twilio: doctor_providers._Twilio = TwilioRecords(TwilioProvider(), account, clock)
    assert callable(sendgrid.scopes)
    assert all(map(callable, (twilio.account, twilio.balance, twilio.knows_sender)))
