"""A small folder for the tests of what is read from it and written to it."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Table, insert, select

from commcast.config.load import load_config
from commcast.config.settings import Config
from commcast.errors import InputError
from commcast.incidents.editor import create_file
from commcast.incidents.load import parse_incident
from commcast.incidents.yaml_lines import lines_of
from commcast.ledger import tables as schema
from commcast.ledger.oncall import begin_call, end_call
from commcast.ledger.store import create_ledger, ledger_path
from commcast.ledger.tables import OWN_STORY, stamp
from commcast.model.incident import Incident
from tests.crash.services import Receiver
from tests.support.desk import DESK, START, Bench, update_text, write_desk, write_incident, write_list
from tests.support.servers import twilio as twilio_standin
from tests.support.servers.http import HttpStandIn, threaded

BEGAN = datetime(2026, 11, 21, 8, 52, tzinfo=UTC)  # 09:52 in Berlin

EXTRA = """
sms_price = 0.0712
[audiences.executives]
recipients = "audiences/executives.csv"
view = "internal"
rank = 2
[cadence.1]
first = "10m"
every = "20m"
executives = "30m"
"""

HEAD = """\
title: {title}
severity: 1
started: {started}
owner: dana
updates:
"""

FIRST = {
    "status": "investigating",
    "issue": "Some customers in the EU see an error when they pay by card.",
    "resolution": "We are finding out what changed.",
    "timeframe": "unknown",
}


def clock(text: str) -> datetime:
    """Return a time of the day of the story, as Berlin's clocks show it."""
    hour, minute = map(int, text.split(":"))
    return datetime(2026, 11, 21, hour, minute, tzinfo=UTC) - timedelta(hours=1)


class ReportedNight:
    """One incident on a desk, told update by update."""

    def __init__(
        self,
        folder: Path,
        *,
        customers: int = 12,
        title: str = "Card payments fail in the EU",
        extra: str = EXTRA,
        rows: tuple[str, ...] = (),
    ) -> None:
        people = [*rows, *(f"c{i}@example.com,+4915112{i:06d},Customer {i}" for i in range(customers))]
        write_desk(folder, customers=people, extra=extra)
        write_list(folder, "executives", "email,name", ["mira@acme.example,Mira Sol"])
        self.bench = Bench(folder, now=clock("10:01"))
        self.path = folder / "incidents" / "pay7.yaml"
        self.text = HEAD.format(title=title, started=BEGAN.isoformat())

    def say(self, at: str, **keys: str) -> None:
        """Write an update, and tell it."""
        self.bench.now = clock(at)
        self.text += update_text(clock(at), **keys)
        self.path.write_text(self.text)
        self.bench.send()

    def hold(self, at: str, rescues: str, *, until: str) -> None:
        """Put a holding statement into the ledger for everybody who had the last message, promising word."""
        with self.bench.ledger.write() as connection:
            _copy_last(
                connection, "pay7", f"holding:{clock(rescues):%Y-%m-%dT%H:%M:%SZ}", clock(at), clock(until)
            )

    def nudge(self, at: str) -> None:
        """Put a nudge of the owner into the ledger: a mail in the people's own story, and a call."""
        with self.bench.ledger.write() as connection:
            notice = f"nudge:{clock(at):%Y-%m-%dT%H:%M:%SZ}:1"
            own = f"{OWN_STORY}pay7"
            _copy_last(connection, "pay7", notice, clock(at), None, into=own, most=1)
            begin_call(connection, "pay7", notice, clock(at))
            end_call(connection, "pay7", notice, is_accepted=True, detail="", now=clock(at))

    def close(self) -> None:
        self.bench.ledger.close()


def _copy_last(
    connection: Connection,
    incident: str,
    notice: str,
    at: datetime,
    promised: datetime | None,
    *,
    into: str = "",
    most: int = 1_000_000,
) -> None:
    """Copy the last mailed broadcast of an incident as another notice, accepted at one moment."""
    b, c, d = schema.broadcast, schema.composition, schema.delivery
    last = connection.execute(
        select(b).where(b.c.incident == incident, b.c.channel == "email").order_by(b.c.id.desc())
    ).first()
    assert last is not None
    values = {**last._mapping, "notice": notice, "created_at": stamp(at), "incident": into or incident}
    del values["id"]
    made = _put(connection, b, values)
    words: dict[int, int] = {}
    for row in connection.execute(select(c).where(c.c.broadcast == last.id)).all():
        copy = {**row._mapping, "broadcast": made, "next_update_by": stamp(promised) if promised else None}
        number = copy.pop("id")
        words[number] = _put(connection, c, copy)
    told = connection.execute(select(d).where(d.c.broadcast == last.id, d.c.state == "accepted")).all()
    for row in told[:most]:
        copy = {**row._mapping, "broadcast": made, "notice": notice, "changed_at": stamp(at)}
        copy |= {"incident": into or incident, "composition": words[row.composition], "provider_id": ""}
        del copy["id"]
        connection.execute(insert(d).values(**copy))


def _put(connection: Connection, table: Table, values: dict[str, Any]) -> int:
    key = connection.execute(insert(table).values(**values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def night_of_pay7(folder: Path, **options: int | str) -> ReportedNight:
    """Tell a whole incident: updates, one of them late, holding statements, a correction, the end."""
    night = ReportedNight(folder, **options)  # type: ignore[arg-type]
    night.say("10:01", **FIRST)
    night.say(
        "10:19",
        status="identified",
        issue="About four in ten card payments in the EU end in an error.",
        resolution="The 09:45 release broke the connection to a database; we are rolling it back.",
        timeframe="30m to 60m",
    )
    night.say("10:38", nothing_new="The rollback is through in two of three data centres.")
    night.nudge("10:53")
    night.hold("10:55", "10:58", until="11:15")
    night.say(
        "11:26",
        issue="About one in ten card payments in the EU ends in an error.",
        timeframe="by 12:00",
        confidence="high",
    )
    night.say(
        "11:33",
        issue="About one in twenty card payments in the EU ends in an error.",
        corrects="[4]",
        wrong='"one in ten"',
        right='"one in twenty"',
    )
    night.say(
        "11:48", status="monitoring", issue="Card payments in the EU go through again.", timeframe="by 12:05"
    )
    night.say(
        "12:06",
        status="resolved",
        ended=clock("12:01").isoformat(),
        fixed="We took back the 09:45 release.",
        if_it_persists="Reply to this message.",
    )
    return night


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


NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)  # 13:00 in Berlin

CONFIG = """
[organisation]
name = "Acme Pay"
zone = "Europe/Berlin"
[people.dana]
name = "Dana Reyes"
[people.sam]
name = "Sam Okoro"
[components.payments-api]
public = "Card payments"
[audiences.customers]
recipients = "audiences/customers.csv"
[audiences.executives]
recipients = "audiences/executives.csv"
view = "internal"
[channels.email]
from = "Acme Pay <status@acme.example>"
"""

LEAST = """\
title: Card payments fail
severity: 2
updates:
  - at: 2026-11-21T10:05+01:00
    issue: Some payments fail.
    resolution: We roll back.
    timeframe: 1h to 2h
"""


def make_desk(folder: Path) -> Config:
    """Write a configuration into `folder` and read it."""
    (folder / "commcast.toml").write_text(CONFIG)
    (folder / "incidents").mkdir()
    return load_config(folder)


def read(text: str, config: Config, name: str = "incidents/pay7.yaml") -> Incident:
    return parse_incident(text, name, config, NOW)


def faults(text: str, config: Config, name: str = "incidents/pay7.yaml") -> list[str]:
    """Return what is wrong with an incident file, one line a fault, [] for nothing."""
    try:
        read(text, config, name)
    except InputError as error:
        return [str(fault) for fault in error.faults]
    return []


def create_incident(config: Config, incident_id: str, data: Mapping[str, Any]) -> Path:
    """Write an incident file with `data` in its order, as the verbs write theirs."""
    return create_file(config, incident_id, "\n".join(lines_of(data, 0)) + "\n")
