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
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from commcast.cli.doctor import write_desk as write_desk_line
from commcast.cli.options import clock
from commcast.config.load import load_config
from commcast.config.settings import SendGridProvider, TwilioProvider
from commcast.doctor import checks as doctor_checks
from commcast.doctor import providers as doctor_providers
from commcast.errors import ConfigError, Fault, ProviderError, TryAgain
from commcast.ledger.oncall import take
from commcast.model.incident import Channel
from commcast.providers import registry as wiring
from commcast.providers.base import Refused
from commcast.providers.registry import adapter_for
from commcast.providers.sendgrid.records import SendGridRecords
from commcast.providers.smtp import opening
from commcast.providers.twilio.client import Credentials
from commcast.providers.twilio.records import TwilioRecords
from tests.support.desk import DESK, Bench, update_text, write_desk, write_incident, write_list
from tests.support.providers import SayingRecords
from tests.support.servers.http import Certificate, Inbox, aiosmtpd_server, make_certificate
from tests.support.terminal import bench_now, every_byte, just_now, make_desk, missing, run
from tests.support.values import cases

SECRETS = {"SENDGRID_API_KEY": "SG.not-a-real-key.at-all", "TWILIO_ACCOUNT_SID": "AC" + "0" * 32}
SECRETS |= {"TWILIO_AUTH_TOKEN": "not-a-real-token"}
WELL = {"account": SimpleNamespace(status="active", type="Full"), "sender": True}
WELL["balance"] = (Decimal("12.30"), "USD")


@dataclass
class Doctor:
    """The command over one desk, whose incident pay7 is open."""

    bench: Bench
    patch: pytest.MonkeyPatch

    def __call__(self, *options: str, expect: int = 0) -> str:
        return run("doctor", *options, folder=self.bench.folder, expect=expect).stdout

    def checks(self, about: str, expect: int = 0) -> list[tuple[str, str]]:
        found = json.loads(self("--json", expect=expect))["checks"]
        return [(each["state"], each["what"]) for each in found if each["about"] == about]

    def change(self, *changes: tuple[str, str], more: str = "", file: str = "commcast.toml") -> None:
        """Change the configuration or another file, and write `more` below it."""
        path = self.bench.folder / file
        text = path.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text + more)

    def end(self) -> None:
        more = update_text(self.bench.now, status="resolved", fixed="Rolled back.")
        self.change(more=more, file="incidents/pay7.yaml")

    def live(
        self, email: str = "outbox", sms: str = "outbox", more: str = "", number: str = "Acme", **says: Any
    ) -> SayingRecords:
        """Let the channels use these providers, which say this; `email` may name a fallback, `more` is TOML.

        Their adapters can be made, whatever they are; nothing is asked of anybody.
        """
        for name, value in SECRETS.items():
            self.patch.setenv(name, value)
        records = SayingRecords(answers={**WELL, **says})
        for name, made in (("adapter_for", None), ("fallback_for", None), ("records_for", records)):
            self.patch.setattr(wiring, name, lambda *_, made=made: made)
        first, _, second = email.partition("/")
        texts = f'provider = "{sms}"\nquiet = "21:00-08:00"'
        write_desk(self.bench.folder, email=first, sms=texts, extra=more)
        self.change(('from = "Acme"', f'from = "{number}"'))
        if second:
            self.change(("[channels.email]\n", f'[channels.email]\nfallback = "{second}"\n'))
        return records


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    return Doctor(bench_now(tmp_path), monkeypatch)


def test_a_good_desk_is_ok_and_stays_as_it_is(doctor: Doctor) -> None:
    before = every_byte(doctor.bench.folder)
    shown = doctor()
    assert "FAIL" not in shown
    assert "warn  email: is written to files, nothing is sent\n      to go live: README, " in shown
    assert "warn  SMS: is written to files, nothing is sent\n" in shown
    assert "DNS" not in shown
    document = json.loads(doctor("--json"))
    assert document["ok"]
    assert {each["about"] for each in document["checks"]} >= {"ledger", "incidents", "tick", "email"}
    assert set(document["checks"][0]) == {"state", "about", "what", "remedy"}
    assert every_byte(doctor.bench.folder) == before


def test_what_cannot_be_read_or_written_has_the_exit_code_of_its_kind(doctor: Doctor) -> None:
    folder, real = doctor.bench.folder, os.access
    (folder / "incidents" / "half.yaml").write_text("title: [\n")
    broken = "FAIL  incidents: 1 is broken: incidents/half.yaml\n      run: commcast lint\n"
    assert broken in doctor(expect=2)
    shutil.rmtree(folder / "incidents")  # a lost folder is no quiet day
    assert "FAIL  incidents: incidents/: is missing" in doctor(expect=2)
    for verb in ("tick", "status", "lint"):
        assert "incidents/: is missing" in run(verb, folder=folder, expect=2).output
    for place in (folder / ".commcast", folder / ".commcast/ledger.db"):
        doctor.patch.setattr(os, "access", lambda path, how, place=place: path != place and real(path, how))
        assert f"FAIL  ledger: {place} is not writable" in doctor(expect=3)
    (folder / ".commcast" / "ledger.db").unlink()
    assert "FAIL  ledger" in doctor(expect=3)


def test_a_full_disk_copies_of_a_ledger_and_a_remote_disk_are_warnings(doctor: Doctor) -> None:
    usage = shutil.disk_usage(doctor.bench.folder)._replace(free=3 << 20)
    doctor.patch.setattr(shutil, "disk_usage", lambda _: usage)
    home = doctor.bench.folder / ".commcast"
    shutil.copy(home / "ledger.db", home / "ledger (copy).db")
    mounts = f"dev / ext4 rw 0 0\nhost:/x {home.parent} nfs4 rw 0 0\n"
    doctor.patch.setattr(doctor_checks, "_mounts", lambda: mounts)
    assert doctor.checks("disk") == [
        ("warn", "the ledger is on nfs4, where file locks are unreliable"),
        ("warn", "there are copies of the ledger next to it: ledger (copy).db"),
        ("warn", "nearly full: 3,072 KiB free"),
    ]
    assert doctor_checks.file_system(Path(f"{home.parent}s"), mounts) == "ext4"


def test_lists_are_opened_and_not_read(doctor: Doctor) -> None:
    folder = doctor.bench.folder
    write_list(folder, "customers", "email,phone,name", ["ann@example.com,,Ann", "nobody,,"])
    assert doctor.checks("lists") == [("ok", "2 can be opened")]
    ((state, what),) = doctor.checks("templates")
    assert (state, what.partition(" ")[2]) == ("ok", "can be used")
    write_list(folder, "customers", "street", ["Main St"])
    (folder / "audiences" / "support.csv").unlink()
    ((state, what),) = doctor.checks("lists", expect=2)
    assert (state, what.startswith("2 are broken: audiences/support.csv: ")) == ("FAIL", True)


@cases("""
    name                | text         | said
    found.md.j2         | {% if        | 1 is broken: templates/customers/found.md.j2:1:
    resolved.sms.j2     | {% if        | templates/customers/resolved.sms.j2:1:
    first_notice.sms.j2 | {{ nosuch }} | templates/customers/first_notice.sms.j2:1:
""")
def test_a_template_of_no_use_fails(doctor: Doctor, name: str, text: str, said: str) -> None:
    """In use, or not in use now, also after the end of the last incident."""
    path = doctor.bench.folder / "templates" / "customers" / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    ((state, what),) = doctor.checks("templates", expect=2)
    assert (state, said in what) == ("FAIL", True), what
    doctor.end()
    assert doctor.checks("templates", expect=2)[0][0] == "FAIL"


def test_a_template_that_nothing_reads_is_a_warning(doctor: Doctor) -> None:
    path = doctor.bench.folder / "templates" / "customers" / "resolved.email.html.j2"
    path.parent.mkdir(parents=True)
    path.write_text("<p>")
    said = f"warn  templates: templates/customers/{path.name}: nothing reads this file\n"
    assert said + "      email and text are one file for each moment now" in doctor()
    path.rename(path.with_name("resolved.md.j2")).write_text("{% include 'shipped:resolved.md.j2' %}")
    assert "nothing reads" not in doctor()


PEOPLE = '[people.sam]\nname = "S"\nemail = "env:SAM_MAIL"\n[people.kim]\nname = "K"\nphone = "+4930123456"\n'


def test_whoever_answers_for_an_open_incident_has_to_be_reached(doctor: Doctor) -> None:
    doctor.change(more=PEOPLE)
    assert doctor.checks("people") == [("warn", "dana has no address (dana owns pay7)")]
    with doctor.bench.ledger.write() as connection:
        take(connection, "pay7", "sam", by="sam", now=doctor.bench.now)
    assert doctor.checks("people") == [("warn", "sam has no usable address (sam owns pay7)")]
    assert ("warn", "SAM_MAIL is not set: the email of sam") in doctor.checks("secret")
    doctor.patch.setenv("SAM_MAIL", "sam at acme")
    ((state, what),) = doctor.checks("people")
    assert (state, what.partition(" (")[0]) == ("warn", "the email of sam is not one address")
    doctor.patch.setenv("SAM_MAIL", "sam@secret.example")
    assert ("ok", "SAM_MAIL is set") in doctor.checks("secret")
    assert doctor.checks("people") == []
    assert "secret.example" not in doctor()


def test_who_owns_nothing_open_needs_no_address(doctor: Doctor) -> None:
    doctor.change(more=PEOPLE)
    doctor.change(("owner: dana", "owner: kim"), file="incidents/pay7.yaml")
    assert doctor.checks("people") == []
    doctor.change(("owner: kim", "owner: dana"), file="incidents/pay7.yaml")
    doctor.end()
    assert doctor.checks("people") == []


@cases("""
    url                        | state | what
    https://beat.example/t0ken | ok    | goes to beat.example after every successful tick
    http://beat.example/t0ken  | warn  | goes to beat.example unencrypted
    t0ken                      | warn  | is not a web address
    https://[::1               | warn  | is not a web address
""")
def test_the_heartbeat_is_known_by_its_host_alone(doctor: Doctor, url: str, state: str, what: str) -> None:
    doctor.change(more='[tick]\nheartbeat_url = "env:BEAT"\n')
    assert ("warn", "BEAT is not set: where the heartbeat goes") in doctor.checks("secret")
    doctor.patch.setenv("BEAT", url)
    assert doctor.checks("heartbeat") == [(state, what)]
    assert "t0ken" not in doctor()


def test_a_desk_without_people_is_told_how_to_name_one(tmp_path: Path) -> None:
    desk = make_desk(tmp_path / "desk")
    found = json.loads(run("doctor", "--json", folder=desk).stdout)["checks"]
    ((what, remedy),) = [(each["what"], each["remedy"]) for each in found if each["about"] == "people"]
    assert what == "nobody can be nudged before a promise breaks: there is no [people]"
    assert missing("[people.dana] … name, email and phone … owner: dana", remedy) == []
    path = desk / "commcast.toml"
    path.write_text(path.read_text() + '[nudge]\ncommand = ["notify-oncall"]\n')
    assert "[people.dana]" not in run("doctor", folder=desk).stdout


def test_old_history_stays_quiet_over_an_adopted_ledger(tmp_path: Path) -> None:
    bench_now(tmp_path).ledger.close()
    for number in range(9):
        at = just_now() - timedelta(days=number)
        more = update_text(at + timedelta(minutes=1), status="resolved", fixed="Done.") if number else ""
        write_incident(tmp_path, f"old{number}", at=at, more=more)
    for path in (tmp_path / ".commcast").iterdir():
        path.unlink()
    run("doctor", "--adopt-ledger", folder=tmp_path, expect=5)  # it needs a yes
    assert not (tmp_path / ".commcast" / "ledger.db").exists()
    result = run("doctor", "--adopt-ledger", "--yes", folder=tmp_path)
    assert "18 updates count as sent elsewhere" in result.stdout
    assert "old0 is open" in result.stderr
    assert 'commcast update old0 --nothing-new "…" --next ' in result.stderr
    assert "old1 is open" not in result.stderr
    assert run("tick", folder=tmp_path).output == ""
    for name in ("pay7", "old0", "old5"):
        run("send", name, "--yes", folder=tmp_path)
        run("send", name, "--late", "--yes", folder=tmp_path)
    assert not (tmp_path / "outbox").exists()


def test_a_folder_without_a_desk_gets_one_as_its_first_line(doctor: Doctor) -> None:
    path = doctor.bench.folder / "commcast.toml"
    doctor.change((f'desk = "{DESK}"\n', "# our desk\n"))
    text = path.read_text()
    run("tick", folder=path.parent, expect=3)
    doctor("--adopt-ledger", "--yes")
    assert path.read_text().split("\n", 1)[1] == text
    assert len(load_config(path.parent).desk) == 16
    run("tick", folder=path.parent)
    path.write_bytes(b"\xef\xbb\xbf# ours\r\n[send]\r\n")
    path.chmod(0o640)
    write_desk_line(path, "0" * 16)
    assert path.read_bytes() == b'\xef\xbb\xbfdesk = "0000000000000000"\r\n# ours\r\n[send]\r\n'
    assert path.stat().st_mode & 0o777 == 0o640


def test_what_was_released_before_an_adoption_is_not_sent_again(doctor: Doctor) -> None:
    doctor.bench.send()
    doctor("--adopt-ledger", "--yes")
    assert "already sent" in run("send", "pay7", "--yes", folder=doctor.bench.folder).output
    assert len(doctor.bench.mails()) == 3


MISSING = "Warning: email cannot be sent: commcast.toml: providers.sendgrid: SENDGRID_API_KEY is not set; "
WORDS = "--issue Down. --resolution Soon. --timeframe unknown"


@pytest.fixture
def keyless(doctor: Doctor) -> Doctor:
    """A desk whose mail goes through SendGrid, without a key, on a machine that may not connect."""
    doctor.patch.setattr(socket.socket, "connect", lambda *_: pytest.fail("nothing may connect"))
    write_desk(doctor.bench.folder, email="sendgrid")
    return doctor


@pytest.mark.parametrize("command", ["send pay7", "update pay7 --issue X", f"declare L --severity 1 {WORDS}"])
def test_a_dry_run_that_lacks_a_secret_fails(keyless: Doctor, command: str) -> None:
    """A check in a workflow must not pass where the real run would be refused."""
    for form in ("", "--json"):
        done = run(*f"{command} --dry-run {form}".split(), folder=keyless.bench.folder, expect=78)
        assert MISSING in done.stderr
        assert "Dry run:" in done.stdout or form


def test_each_channel_that_lacks_a_secret_is_named(keyless: Doctor) -> None:
    folder = keyless.bench.folder
    preview = run("preview", "pay7", folder=folder)  # shown all the same
    assert (MISSING in preview.stderr, "email: through sendgrid" in preview.stdout) == (True, True)
    keyless.change(("[channels.sms]", '[channels.sms]\nprovider = "twilio"'))
    warned = run("send", "pay7", "--dry-run", folder=folder, expect=78).stderr
    assert MISSING in warned
    assert "Warning: SMS cannot be sent: commcast.toml: providers.twilio: TWILIO_ACCOUNT_SID" in warned
    refused = run("send", "pay7", "--yes", folder=folder, expect=78).stderr
    assert missing("SENDGRID_API_KEY … TWILIO_ACCOUNT_SID", refused) == []
    keyless.change(('provider = "twilio"', ""))
    keyless.change(('provider = "sendgrid"', 'provider = "sendgrid"\nfallback = "smtp"'))
    assert "cannot be sent" not in run("send", "pay7", "--dry-run", folder=folder).stderr


def relay_desk(folder: Path, port: int, **settings: str) -> None:
    """Write a desk that sends over SMTP with a user."""
    write_desk(folder, email="smtp", port=port)
    path = folder / "commcast.toml"
    lines = "".join(f'{key} = "{value}"\n' for key, value in {"user": "desk", **settings}.items())
    path.write_text(path.read_text().replace('security = "none"\n', lines))


@contextmanager
def mail_server(certificate: Certificate | None) -> Iterator[int]:
    """Run a server that demands STARTTLS where it has a certificate, and takes one login."""
    ready: queue.Queue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        tls, stop = certificate.server_context() if certificate else None, asyncio.Event()
        async with aiosmtpd_server(Inbox(), tls=tls, login=("desk", "sesame") if tls else None) as port:
            ready.put((port, asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    port, loop, stop = ready.get(timeout=20)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def test_connect_says_hello_to_the_mail_server(doctor: Doctor) -> None:
    with mail_server(None) as port:
        write_desk(doctor.bench.folder, email="smtp", port=port)
        assert f"ok    email: 127.0.0.1:{port} responds\n" in doctor("--connect")
    assert "FAIL  email" in doctor("--connect", expect=75)
    relay_desk(doctor.bench.folder, 25)
    without = "FAIL  email: providers.smtp.user: has no password\n      set COMMCAST_SMTP_PASSWORD"
    assert without in doctor("--connect", expect=78)


@cases("""
    server   | password | ca              | code | said
    STARTTLS | sesame   | certificate.pem | 0    | responds and accepts the login
    STARTTLS | barley   | certificate.pem | 78   | login was refused (535 5.7.8) … check user and COMMCAST_
    STARTTLS | sesame   |                 | 78   | write ca_file = "…"
    plain    | sesame   |                 | 78   | does not offer STARTTLS … security = "tls" with port = 465
    plain    |          |                 | 78   | does not offer STARTTLS … security = "none"
""")
def test_connect_logs_in(doctor: Doctor, server: str, password: str, ca: str, code: str, said: str) -> None:
    doctor.patch.setenv("COMMCAST_SMTP_PASSWORD", password)
    folder = doctor.bench.folder
    with mail_server(make_certificate(folder) if server == "STARTTLS" else None) as port:
        relay_desk(folder, port, **({"ca_file": ca} if ca else {}), **({} if password else {"user": ""}))
        shown = doctor("--connect", expect=int(code))
    assert missing(said, shown) == []
    assert not password or password not in re.sub(r"/\S+", "", shown)


def test_a_relay_that_cannot_be_talked_to_is_told_in_plain_words(doctor: Doctor) -> None:
    write_desk(doctor.bench.folder, email="smtp")
    for error, said in (
        (TimeoutError("timed out"), "the server did not reply in time"),
        (
            ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"),
            "no TLS connection can be made",
        ),
        (ConnectionRefusedError(111, "Connection refused"), "cannot be reached (Connection refused)"),
    ):
        doctor.patch.setattr(opening, "_dial", Mock(side_effect=error))
        shown = doctor("--connect", expect=75)
        told = f"FAIL  email: 127.0.0.1:25: … {said}\n      check host, port"
        assert (missing(told, shown), "SSL:" in shown) == ([], False)


@contextmanager
def endless_server(piece: bytes, pause: float) -> Iterator[tuple[int, list[int]]]:
    """Run a server that sends the same again and again; yield its port, and how much was sent each time."""
    sent: list[int] = []

    def serve() -> None:
        with suppress(OSError), listener.accept()[0] as taken:
            while True:
                sent.append(taken.send(piece))
                time.sleep(pause)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], sent
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize(("count", "pause"), [(1, 0.05), (10_000, 0)], ids=["slowly", "much"])
def test_a_relay_whose_greeting_never_ends_is_left(doctor: Doctor, count: int, pause: float) -> None:
    doctor.patch.setattr(doctor_providers, "_SECONDS", 1.0)
    began = time.monotonic()
    with endless_server(b"220-hello\r\n" * count, pause) as (port, sent):
        write_desk(doctor.bench.folder, email="smtp", port=port)
        assert f"FAIL  email: 127.0.0.1:{port}: the server" in doctor("--connect", expect=75)
    assert time.monotonic() - began < 15
    assert sum(sent) < 16 << 20


def test_servers_limits_and_secrets_are_shown(doctor: Doctor) -> None:
    asked = doctor.live("sendgrid", "twilio", "[providers.twilio]\nper_second = 10")
    doctor.patch.delenv("TWILIO_AUTH_TOKEN")
    doctor.patch.setenv("TWILIO_API_KEY", "SK1")
    doctor.patch.setenv("TWILIO_API_SECRET", "quiet")
    shown = doctor()
    assert "ok    email: goes to api.sendgrid.com; 4 connections, batches of 250, no rate limit" in shown
    assert "ok    SMS: goes to api.twilio.com; 16 connections, at most 10 messages per second" in shown
    names = ("SENDGRID_API_KEY", "TWILIO_ACCOUNT_SID", "TWILIO_API_KEY", "TWILIO_API_SECRET")
    assert all(f"ok    secret: {name} is set" in shown for name in names)
    for absent in ("TWILIO_AUTH_TOKEN", "warn  email", "warn  SMS", *SECRETS.values()):
        assert absent not in shown
    assert asked.left == 0, "without --connect nobody is asked"


@pytest.mark.parametrize("whose", ["adapter_for", "fallback_for"])
def test_a_secret_that_is_missing_keeps_the_desk_from_sending(doctor: Doctor, whose: str) -> None:
    def no_secret(*_: object) -> None:
        raise ConfigError(Fault("commcast.toml", 0, 0, "has no secret", "set IT"))

    asked = doctor.live("sendgrid/smtp", scopes=())
    doctor.patch.setattr(wiring, whose, no_secret)
    shown = doctor("--connect", expect=78)
    assert "FAIL  email: has no secret\n      set IT, where commcast runs" in shown
    assert "ok    email: falls back on 127.0.0.1:25 (none); 4 connections, no rate limit" in shown
    assert "warn  email: is sent unencrypted" in shown
    assert asked.left == 0


WARNINGS = {"other": "is not SendGrid itself (api.sendgrid.com or api.eu.sendgrid.com)"}
WARNINGS |= {"fate": "fails together with its provider", "clear": "the key is sent unencrypted"}


@cases("""
    email         | host              | url                                   | warned
    sendgrid      | 127.0.0.1         | https://api.eu.sendgrid.com/          |
    sendgrid      | 127.0.0.1         | https://api.sendgrid.com:443          |
    sendgrid      | 127.0.0.1         | https://api.sendgrid.com:8443         | other
    sendgrid      | 127.0.0.1         | https://api.sendgrid.com.evil.example | other
    sendgrid      | 127.0.0.1         | http://127.0.0.1:9                    | other clear
    sendgrid/smtp | smtp.sendgrid.net | https://api.sendgrid.com              | fate
    smtp/sendgrid | SMTP.SendGrid.net.| https://api.sendgrid.com              | fate
    sendgrid/smtp | api.sendgrid.com  | https://api.sendgrid.com              | fate
    sendgrid/smtp | smtp.sendgrid.net | http://127.0.0.1:9                    | other clear fate
    sendgrid/smtp | smtp.acme.example | https://api.sendgrid.com              |
    smtp          | smtp.sendgrid.net | https://api.sendgrid.com              |
    sendgrid/smtp | 127.0.0.1         | http://127.0.0.1:9                    | other clear
""")
def test_whose_servers_they_are(doctor: Doctor, email: str, host: str, url: str, warned: str) -> None:
    """A fallback at SendGrid is down whenever SendGrid is; a server of this machine is no SendGrid."""
    doctor.live(email, more=f'[providers.sendgrid]\nbase_url = "{url}"')
    doctor.change(('host = "127.0.0.1"', f'host = "{host}"'))
    shown = doctor()
    assert {name for name, words in WARNINGS.items() if words in shown} == set(warned.split())


@pytest.mark.parametrize("group", ["", "asm.groups.read"])
@cases("""
    scopes                                                                    | lacking
    mail.send suppression.read messages.read                                  |
    mail.send messages.read                                                   | suppression.read
    mail.send messages.read suppression.bounces.read                          | suppression.read
    mail.send suppression.bounces.read suppression.blocks.read suppression.unsubscribes.read | messages.read
    suppression.read messages.read                                            |
""")
def test_what_a_scope_is_missing_for_is_named(doctor: Doctor, scopes: str, lacking: str, group: str) -> None:
    more = "[providers.sendgrid]\nasm_group = 7" if group else ""
    asked = doctor.live("sendgrid", more=more, scopes=tuple(scopes.split()))
    may_send = "mail.send" in scopes
    shown = doctor("--connect", expect=0 if may_send else 78)
    warned = re.findall(r"warn  email: the key may not read .* \((\S+)\)", shown)
    assert sorted(warned) == sorted([*lacking.split(), *group.split()])
    assert shown.count("warn  email") == len(warned)
    may = "ok    email: SendGrid accepts the key, and it may send"
    may_not = "FAIL  email: the key may not send: it lacks the scope mail.send"
    assert (may in shown, may_not in shown) == (may_send, not may_send)
    assert asked.left == 1


def test_a_provider_that_does_not_answer_is_a_failure(doctor: Doctor) -> None:
    for trouble, code, said in (
        (Refused("SendGrid refuses the key"), 78, "settings/api_keys (or base_url is the other region's)"),
        (TryAgain("SendGrid cannot be asked now (no answer in time)"), 75, "try again"),
    ):
        doctor.live("sendgrid", "twilio", scopes=trouble)
        shown = doctor("--connect", expect=code)
        told = f"FAIL  email: {trouble}\n … {said} … ok    SMS: Twilio accepts the credentials"
        assert missing(told, shown) == []


NUMBER = "+4915799912345"
ALL_WELL = (
    "ok    SMS: Twilio accepts the credentials, and the account is active … "
    "ok    SMS: Twilio knows the sender …2345 … ok    SMS: the Twilio balance is 12.30 USD\n"
)
MAY_NOT = Refused("this key may not")


def account(status: str, kind: str = "Full") -> dict[str, Any]:
    return {"account": SimpleNamespace(status=status, type=kind)}


def balance(amount: str) -> dict[str, Any]:
    return {"balance": (Decimal(amount), "USD")}


@pytest.mark.parametrize(
    ("says", "code", "said"),
    [
        *(({}, 0, ALL_WELL), (account("suspended"), 78, "FAIL  SMS: the Twilio account is suspended")),
        (account(""), 78, "FAIL  SMS: the Twilio account is not active"),
        (account("active", "Trial"), 0, "warn  SMS: this is a trial account: only numbers verified"),
        ({"sender": False}, 78, "FAIL  SMS: the Twilio account has no sender …2345"),
        (balance("0"), 0, "warn  SMS: the Twilio balance is 0.00 USD: texts may be"),
        (balance("0.15"), 0, "warn  SMS: the Twilio balance is 0.15 USD: enough for 1 of 2 texts"),
        (balance("0.16"), 0, "ok    SMS: the Twilio balance is 0.16 USD\n"),
        # One thing that may not be asked hides no other.
        ({"sender": MAY_NOT}, 0, "warn  SMS: this key may not … balance is"),
        ({"balance": MAY_NOT}, 0, "warn  SMS: this key may not … knows the sender"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_twilio_says_of_the_account(doctor: Doctor, says: dict[str, Any], code: int, said: str) -> None:
    asked = doctor.live(sms="twilio", number=NUMBER, **says)
    doctor.change(("[send]\n", "[send]\nsms_price = 0.08\n"))
    shown = doctor("--connect", expect=code)
    assert missing(said, shown) == []
    assert NUMBER not in shown
    assert asked.senders == ([NUMBER] if asked.answers["account"].status == "active" else [])
    assert says or "warn  SMS" not in shown


@cases("""
    sender           | said
    123              | the sender 123 is a short code
    12345678         | is a short code
    123456789        | is not a complete number or a short code, and a name needs a letter
    4915799912345    | is not a complete number or a short code, and a name needs a letter
    +49 15799912345  | is not a complete number
    +0915799912345   | is not a complete number
    Acme Payments    | is longer than the 11 characters of a name
    Acme Paymen      | the sender Acme Paymen is a name
""")
def test_a_sender_that_twilio_need_not_be_asked_about(doctor: Doctor, sender: str, said: str) -> None:
    asked = doctor.live(sms="twilio", number=sender, sender=None)
    is_good = "is a short code" in said or "is a name" in said
    shown = doctor("--connect", expect=0 if is_good else 78)
    assert f"{'ok  ' if is_good else 'FAIL'}  SMS: the sender " in shown
    assert said in shown
    assert "99912345" not in shown.replace(NUMBER, "")  # an example of one
    assert asked.senders == ([sender] if "is a name" in shown else [])
    assert "the Twilio balance" in shown
    refused = f"commcast.toml: channels.sms.from {said}; write from = "
    linted = run("lint", folder=doctor.bench.folder).stderr
    assert (refused in linted) != is_good
    with nullcontext() if is_good else pytest.raises(ProviderError, match=said):
        adapter_for(doctor.bench.desk.config, Channel.SMS, clock)
    service = "MG" + "0123456789abcdef" * 2
    asked = doctor.live(sms="twilio", more=f'[providers.twilio]\nmessaging_service = "{service}"')
    assert "Twilio knows the sender MG0123456789…" in doctor("--connect")
    assert asked.senders == [service]


def test_records_can_be_asked_what_doctor_asks() -> None:
    """The type checker compares them with doctor's protocols here."""
    sendgrid: doctor_providers._SendGrid = SendGridRecords(SendGridProvider(), "SG.key", clock)
    login = Credentials("AC1", "AC1", "token")
    twilio: doctor_providers._Twilio = TwilioRecords(TwilioProvider(), login, clock)
    assert all(map(callable, (sendgrid.scopes, twilio.account, twilio.balance, twilio.knows_sender)))
