"""Whole nights in seconds: a desk with a real mail server and a Twilio stand-in, and a clock to move."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from commcast.ledger.store import create_ledger, ledger_path
from tests.adapters import twilio_standin
from tests.adapters.http_standins import HttpStandIn, threaded
from tests.crash.services import Receiver
from tests.desks import DESK, START, Bench, write_incident, write_list

CONFIG = """\
desk = "{desk}"
[organisation]
name = "Acme Pay"
zone = "Europe/Berlin"
[contact]
reply_to = "help+{{id}}@acme.example"
[people.dana]
name = "Dana Reyes"
email = "dana@acme.example"
phone = "+4915199999901"
[people.sam]
name = "Sam Oyo"
email = "sam@acme.example"
phone = "+4915199999902"
[audiences.support]
recipients = "audiences/support.csv"
view = "internal"
rank = 1
[audiences.executives]
recipients = "audiences/executives.csv"
view = "internal"
rank = 2
[audiences.customers]
recipients = "audiences/customers.csv"
rank = 9
channels = ["email", "sms"]
[cadence.1]
first = "10m"
every = "20m"
after_2h = "60m"
executives = "30m"
[silence]
{silence}
[channels.email]
provider = "smtp"
from = "Acme Pay <status@acme.example>"
[channels.sms]
provider = "twilio"
from = "{sender}"
[providers.smtp]
host = "127.0.0.1"
port = {port}
security = "none"
[providers.twilio]
base_url = "{twilio}"
[send]
unsubscribe = "mailto:unsubscribe@acme.example"
"""
HOLDS = 'customers = "hold"\nsupport = "hold"'
OWNERS = {"dana@acme.example", "sam@acme.example", "+4915199999901", "+4915199999902"}


@dataclass(frozen=True)
class Heard:
    """One message that somebody got: on what address, its subject ("" for a text), its words, and when."""

    to: str
    subject: str
    text: str
    at: datetime


@dataclass
class Night:
    """A desk over real services. `minutes` moves the clock and ticks; `heard` is what arrived so far."""

    bench: Bench
    receiver: Receiver
    twilio: twilio_standin.Twilio
    heard: list[Heard] = field(default_factory=list)
    ticks: int = 1
    _mails: int = 0
    _texts: int = 0

    def tick(self) -> None:
        """Let as many ticks run one after another as this night has, and listen."""
        for _ in range(self.ticks):
            ticked = self.bench.tick()
            assert not ticked.errors
        self.listen()

    def minutes(self, count: int, every: int = 1) -> None:
        """Move the clock on and tick, so many times."""
        for _ in range(0, count, every):
            self.bench.later(minutes=every)
            self.tick()

    def send(self) -> None:
        """Release what is drafted and send it, as a verb does."""
        self.bench.send()
        self.listen()

    def listen(self) -> None:
        """Take note of what has arrived since."""
        mails = self.receiver.inbox.messages
        for taken in mails[self._mails :]:
            mail = email.message_from_bytes(taken.raw, policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            body = mail.get_body(("plain",))
            assert body is not None
            for to in taken.recipients:
                self.heard.append(Heard(to, str(mail["Subject"]), body.get_content(), self.bench.now))
        self._mails = len(mails)
        for form in self.twilio.forms[self._texts :]:
            self.heard.append(Heard(form["To"], "", form["Body"], self.bench.now))
        self._texts = len(self.twilio.forms)

    def by(self, to: str) -> list[Heard]:
        """Return what one address heard, in order."""
        return [heard for heard in self.heard if heard.to == to]

    def minutes_of(self, to: str, start: datetime = START) -> list[int]:
        """Return at which minutes of the night one address heard something."""
        return [int((heard.at - start) / timedelta(minutes=1)) for heard in self.by(to)]


@contextmanager
def night(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    customers: Sequence[str] = ("ann@example.com,+4915112345671,Ann", "bob@example.com,+4915112345672,Bob"),
    silence: str = HOLDS,
    extra: str = "",
    backup: str = "sam",
    start: datetime = START,
) -> Iterator[Night]:
    """Yield a desk with an incident of severity 1 that nobody has released yet, at `start`."""
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", twilio_standin.ACCOUNT)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", twilio_standin.TOKEN)
    twilio = twilio_standin.Twilio()
    with Receiver() as receiver, threaded(HttpStandIn(twilio)) as server:
        (folder / "incidents").mkdir(parents=True)
        (folder / "audiences").mkdir()
        text = CONFIG.format(
            desk=DESK,
            silence=silence,
            sender=twilio_standin.SENDER,
            port=receiver.port,
            twilio=server.url,
        )
        (folder / "commcast.toml").write_text(text + extra)
        write_list(folder, "customers", "email,phone,name", customers)
        write_list(folder, "support", "email,name", ["help@acme.example,Su Port"])
        write_list(folder, "executives", "email,name", ["chief@acme.example,Chi Ef"])
        create_ledger(ledger_path(folder), DESK).close()
        path = write_incident(folder, at=start)
        path.write_text(path.read_text().replace("owner: dana\n", f"owner: dana\nbackup: {backup}\n"))
        yield Night(Bench(folder, start), receiver, twilio)


def later(start: datetime = START, **length: float) -> datetime:
    """Return a moment of the night, in UTC."""
    return (start + timedelta(**length)).astimezone(UTC)
