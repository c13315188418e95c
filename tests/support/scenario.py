"""Stories: incidents told update by update on small desks, and what everybody heard of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, insert, select

from commcast.config.load import load_config
from commcast.config.settings import Config
from commcast.errors import InputError
from commcast.incidents.editor import create_file
from commcast.incidents.load import parse_incident
from commcast.incidents.yaml_lines import lines_of
from commcast.ledger import tables as schema
from commcast.ledger.oncall import begin_call, end_call, record_tick
from commcast.ledger.tables import OWN_STORY, stamp
from commcast.model.incident import Channel, Incident
from commcast.model.message import Delivery, Email, Outcome, OutcomeKind
from tests.support.desk import START, Bench, update_text, write_desk, write_incident, write_list
from tests.support.providers import FakeAdapter, accepted, address_of, saying

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
            _copy_last(connection, f"holding:{clock(rescues):%Y-%m-%dT%H:%M:%SZ}", clock(at), clock(until))

    def nudge(self, at: str) -> None:
        """Put a nudge of the owner into the ledger: a mail in the people's own story, and a call."""
        with self.bench.ledger.write() as connection:
            notice = f"nudge:{clock(at):%Y-%m-%dT%H:%M:%SZ}:1"
            _copy_last(connection, notice, clock(at), None, into=f"{OWN_STORY}pay7", most=1)
            begin_call(connection, "pay7", notice, clock(at))
            end_call(connection, "pay7", notice, is_accepted=True, detail="", now=clock(at))

    def close(self) -> None:
        self.bench.ledger.close()


def _copy_last(
    connection: Connection, notice: str, at: datetime, by: datetime | None, into: str = "pay7", most: int = 99
) -> None:
    """Copy the last mailed broadcast of pay7 as another notice, accepted at one moment."""
    b, c, d = schema.broadcast, schema.composition, schema.delivery
    last = connection.execute(
        select(b).where(b.c.incident == "pay7", b.c.channel == "email").order_by(b.c.id.desc())
    ).first()
    assert last is not None
    values = {**last._mapping, "notice": notice, "created_at": stamp(at), "incident": into}
    del values["id"]
    made = _put(connection, b, values)
    words: dict[int, int] = {}
    for row in connection.execute(select(c).where(c.c.broadcast == last.id)).all():
        copy = {**row._mapping, "broadcast": made, "next_update_by": stamp(by) if by else None}
        number = copy.pop("id")
        words[number] = _put(connection, c, copy)
    told = connection.execute(select(d).where(d.c.broadcast == last.id, d.c.state == "accepted")).all()
    for row in told[:most]:
        copy = {**row._mapping, "broadcast": made, "notice": notice, "changed_at": stamp(at)}
        copy |= {"incident": into, "composition": words[row.composition], "provider_id": ""}
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


PEOPLE = """
[people.sam]
name = "Sam Oyo"
email = "sam@acme.example"
phone = "+4915199999901"
[people.kim]
name = "Kim Ode"
email = "kim@acme.example"
phone = "+4915199999902"
"""
OWNERS = {"sam@acme.example", "kim@acme.example", "+4915199999901", "+4915199999902"}
ANN, BOB = "ann@example.com", "bob@example.com"
ANN_SMS, BOB_SMS = "+4915112345671", "+4915112345672"


@dataclass(frozen=True)
class Heard:
    """One message that somebody got: its subject ("" for a text), its words on one line, and when."""

    to: str
    subject: str
    text: str
    at: datetime

    @property
    def kind(self) -> str:
        """What a mail is labelled, "No change" where nobody wrote in time; "text" for a text."""
        if "Our last update is below." in self.text:
            return "No change"
        return self.subject.partition("]")[0][1:] if self.subject else "text"


Act = Callable[["Story"], object]


class Story:
    """One incident on a desk whose clock the test moves, and what everybody heard of it, in order.

    `severity` and `head`, lines for the top of the file, are the incident's; all other options are those of
    `write_desk`. `heard` has what was handed over, by any process that uses this desk's `bench`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        start: datetime = START,
        severity: int = 1,
        head: str = "",
        extra: str = "",
        **desk: Any,
    ) -> None:
        write_desk(folder, extra=extra + PEOPLE, **desk)
        self.folder, self.start, self.severity, self.head = folder, start, severity, head
        self.bench = Bench(folder, start)
        self.bench.adapter = self.adapter
        self.edit, self.write = self.bench.edit, self.bench.write
        self.heard: list[Heard] = []
        self.answers: dict[str, OutcomeKind] = {}

    def adapter(self, channel: Channel) -> FakeAdapter:
        """Return a provider that takes everything but what `answers` says of an address."""
        return FakeAdapter(channel, answer=self._hear, connections=2)

    def _hear(self, item: Delivery) -> Outcome | None:
        if kind := self.answers.get(address_of(item)):
            return saying(kind)(item)
        message = item.message
        subject, text = (message.subject, message.text) if isinstance(message, Email) else ("", message.body)
        self.heard.append(Heard(address_of(item), subject, text, self.bench.now))
        return accepted(item)

    @property
    def path(self) -> Path:
        return self.folder / "incidents" / "pay7.yaml"

    @property
    def minute(self) -> int:
        return (self.bench.now - self.start) // timedelta(minutes=1)

    def people(self, head: str, *rows: str) -> None:
        """Write the customers' list."""
        write_list(self.folder, "customers", head, rows)

    def draft(self, text: str = "") -> None:
        """Write the incident as of now, nobody has said yes to it; `text` is a whole other file."""
        path = write_incident(self.folder, at=self.bench.now, severity=self.severity)
        first = path.read_text().replace("owner: dana\n", "owner: sam\nbackup: kim\n").partition("updates:")
        path.write_text(text or f"{first[0]}{self.head}updates:{first[2]}")

    def declare(self, text: str = "") -> None:
        """Write the incident and send it."""
        self.draft(text)
        self.bench.send()

    def say(self, **keys: str) -> None:
        """Append an update and send it, as a verb with --yes does."""
        self.write(**keys)
        self.bench.check()
        self.bench.send()

    def go_to(self, minute: float) -> None:
        """Set the clock; no tick runs in the meantime."""
        self.bench.now = self.start + timedelta(minutes=minute)

    def until(self, minute: float, every: float = 1, near: Iterable[int] | None = None) -> None:
        """Tick until a minute of the story.

        With `near`, ticks that are further than a minute from one of these, and from every tenth, are only
        recorded: what would be due then goes with the next one, at a minute that no story expects.
        """
        watched = None if near is None else {at + by for at in near for by in (-1, 0, 1)}
        while self.bench.now < self.start + timedelta(minutes=minute):
            self.bench.later(minutes=every)
            if watched is None or self.minute in watched or self.minute % 10 == 0:
                self.bench.tick()
            else:
                with self.bench.ledger.write() as connection:
                    record_tick(connection, self.bench.now, {})

    def minutes(self, count: float, every: float = 1) -> None:
        """Tick for this many minutes more."""
        self.until((self.bench.now - self.start) / timedelta(minutes=1) + count, every)

    def by(self, to: str) -> list[Heard]:
        return [heard for heard in self.heard if heard.to == to]

    def texts(self, to: str) -> list[str]:
        """Return the words of each message that one address got."""
        return [heard.text for heard in self.by(to)]

    def minutes_of(self, to: str) -> list[int]:
        """Return at which minutes of the story one address heard something."""
        return [(heard.at - self.start) // timedelta(minutes=1) for heard in self.by(to)]

    def line(self, to: str) -> str:
        """Return what one address heard, as "0 Investigating, 17 No change"."""
        minutes = self.minutes_of(to)
        return ", ".join(f"{at} {each.kind}" for at, each in zip(minutes, self.by(to), strict=True))


def say(**keys: str) -> Act:
    return lambda story: story.say(**keys)


def both(*acts: Act) -> Act:
    return lambda story: [act(story) for act in acts]


@dataclass(frozen=True)
class Told:
    """One story as a table.

    At minute 0 the incident is declared, or what `acts` says; `file` is a whole other one. Then `acts` are
    done at their minutes. Ticks run every minute up to `until`, or only at the minutes of `ticks`. `heard` is
    what each address heard, by `Story.line`; `words` are parts of the nth message to an address, in their
    order and separated by "…", `never` what it does not say. `desk` has options of `Story`.
    """

    heard: Mapping[str, str]
    until: int = 0
    acts: Mapping[int, Act] = field(default_factory=dict)
    words: Mapping[tuple[str, int], str] = field(default_factory=dict)
    never: Mapping[tuple[str, int], str] = field(default_factory=dict)
    desk: Mapping[str, Any] = field(default_factory=dict)
    ticks: Sequence[int] | None = None
    file: str = ""


def tell(folder: Path, told: Told) -> Story:
    """Live through a story and assert who heard what, when."""
    story = Story(folder, **told.desk)
    lines = ", ".join(told.heard.values()).split(", ")
    near = {1, 2, told.until, *told.acts, *(int(line.split()[0]) for line in lines if line)}
    for minute in sorted({0, *told.acts, *(told.ticks or ()), told.until}):
        if told.ticks is None and minute:
            story.until(minute, near=near)
        elif minute in (told.ticks or ()):
            story.go_to(minute)
            story.bench.tick()
        else:
            story.go_to(minute)
        if act := told.acts.get(minute, None if minute else lambda story: story.declare(told.file)):
            act(story)
    assert {to: story.line(to) for to in told.heard} == told.heard
    for (to, number), said in told.words.items():
        text = " ".join(story.texts(to)[number].split())
        assert re.search(".*".join(map(re.escape, said.split(" … "))), text), (text, said)
    for (to, number), unsaid in told.never.items():
        assert unsaid not in story.texts(to)[number]
    return story


NIGHT = """
[audiences.executives]
recipients = "audiences/executives.csv"
view = "internal"
rank = 2
[cadence.1]
first = "10m"
every = "20m"
after_2h = "60m"
executives = "30m"
[silence]
"""
HOLDS = 'customers = "hold"\nsupport = "hold"\n'


@contextmanager
def night(folder: Path, *, silence: str = HOLDS) -> Iterator[Story]:
    """Yield a desk of three audiences with an incident of severity 1 that nobody has released yet."""
    folder.mkdir(parents=True, exist_ok=True)
    story = Story(folder, extra=NIGHT + silence)
    write_list(folder, "executives", "email,name", ["chief@acme.example,Chi Ef"])
    story.draft()
    yield story
    story.bench.ledger.close()


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
