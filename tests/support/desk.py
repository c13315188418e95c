"""Desks for tests: a folder, the engine over it at one moment, and rows put straight into a ledger."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from commcast.delivery.freeze import freeze, read_whole
from commcast.delivery.worker import Delivered, Worker
from commcast.incidents.load import Loaded, load_incident, load_incidents
from commcast.ledger import broadcasts
from commcast.ledger.broadcasts import Broadcast, Composition, FrozenRow
from commcast.ledger.claims import Turn, settle_and_claim
from commcast.ledger.fence import lift_stop, stop_incident
from commcast.ledger.history import Told, deliveries
from commcast.ledger.releases import record_release
from commcast.ledger.settle import Settlement, current_owner
from commcast.ledger.store import Ledger, create_ledger, ledger_path, open_ledger
from commcast.ledger.tables import State, delivery, insert_unless_there, release, stamp
from commcast.model.incident import Channel, Incident
from commcast.model.message import Outcome, OutcomeKind, Unheard
from commcast.operations.desk import Desk, check_story, make_plan, open_desk
from commcast.operations.send import send_released
from commcast.operations.tick import Ticked, tick
from commcast.providers.base import Adapter
from commcast.providers.registry import adapter_for

DESK = "9f3c" * 4
START = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)

CONFIG = """\
desk = "{desk}"
[organisation]
name = "Acme Pay"
zone = "Europe/Berlin"
status_url = "https://status.acme.example"
[contact]
reply_to = "help+{{id}}@acme.example"
[people.dana]
name = "Dana Reyes"
[audiences.support]
recipients = "audiences/support.csv"
view = "internal"
rank = 1
[audiences.customers]
recipients = "audiences/customers.csv"
rank = 9
channels = ["email", "sms"]
[channels.email]
provider = "{email}"
from = "Acme Pay <status@acme.example>"
[channels.sms]
from = "Acme"
{sms}
[providers.smtp]
host = "127.0.0.1"
port = {port}
security = "none"
connections = 4
timeout = "20s"
[send]
unsubscribe = "mailto:unsubscribe@acme.example"
{extra}
"""

FIRST = """\
  - at: {at}
    issue: Some customers see an error when they pay by card.
    resolution: We are rolling back the last release.
    timeframe: unknown
    internal: db-eu-3 did not fail over
"""


def write_desk(
    folder: Path,
    *,
    customers: Iterable[str] = ("ann@example.com,+4915112345671,Ann", "bob@example.com,+4915112345672,Bob"),
    support: Iterable[str] = ("help@acme.example,Su Port",),
    email: str = "outbox",
    port: int = 25,
    sms: str = "",
    extra: str = "",
) -> Path:
    """Write a desk's folder with a new ledger; rows are the lines of its lists."""
    (folder / "incidents").mkdir(parents=True, exist_ok=True)
    (folder / "audiences").mkdir(exist_ok=True)
    text = CONFIG.format(desk=DESK, email=email, port=port, sms=sms, extra=extra)
    (folder / "commcast.toml").write_text(text)
    write_list(folder, "customers", "email,phone,name", customers)
    write_list(folder, "support", "email,name", support)
    if not ledger_path(folder).exists():
        create_ledger(ledger_path(folder), DESK).close()
    return folder


def write_list(folder: Path, audience: str, head: str, rows: Iterable[str]) -> None:
    """Write one audience's list."""
    (folder / "audiences" / f"{audience}.csv").write_text("\n".join([head, *rows]) + "\n")


def write_incident(
    folder: Path, name: str = "pay7", *, at: datetime = START, severity: int = 1, more: str = ""
) -> Path:
    """Write an incident with one update, and `more` after it."""
    path = folder / "incidents" / f"{name}.yaml"
    head = f"title: Card payments fail\nseverity: {severity}\nowner: dana\nupdates:\n"
    path.write_text(head + FIRST.format(at=at.isoformat()) + more)
    return path


def update_text(at: datetime, **keys: str) -> str:
    """Return one further update as YAML."""
    return "".join([f"  - at: {at.isoformat()}\n", *(f"    {key}: {value}\n" for key, value in keys.items())])


def numbered(count: int) -> list[str]:
    """Return rows for `count` customers with mail and phone."""
    return [f"c{i}@example.com,+49151{i:08d},Customer {i}" for i in range(10_000_000, 10_000_000 + count)]


@dataclass
class Bench:
    """The engine over one folder at one moment. `now` is set by the test."""

    folder: Path
    now: datetime = START
    adapter: Callable[[Channel], Adapter] | None = None
    fallback: Callable[[Channel], Adapter | None] | None = None

    def __post_init__(self) -> None:
        self.ledger: Ledger = open_ledger(ledger_path(self.folder), DESK)

    @property
    def desk(self) -> Desk:
        return replace(open_desk(self.folder, self.now), now=self.now)

    @property
    def worker(self) -> Worker:
        desk = self.desk
        return Worker(
            ledger=self.ledger,
            adapter_for=self.adapter or (lambda channel: adapter_for(desk.config, channel, lambda: self.now)),
            owner=current_owner(),
            clock=lambda: self.now,
            progress=Unheard(),
            fallback_for=self.fallback,
        )

    def incident(self, name: str = "pay7") -> Incident:
        return load_incident(self.folder / "incidents" / f"{name}.yaml", self.desk.config, self.now)

    def loaded(self) -> Loaded:
        return load_incidents(self.desk.config, self.now)

    def check(self, name: str = "pay7") -> None:
        present = [incident.id for incident in self.loaded().incidents]
        check_story(self.desk, self.incident(name), self.ledger, present)

    def release(self, name: str = "pay7") -> None:
        """Say yes to every draft of an incident."""
        plan = make_plan(self.desk, self.incident(name), self.ledger, as_if_released=True)
        promised = [by for line in plan.lines for by in line.notice.next_update_by.values() if by]
        by, how = min(promised, default=None), {"how": "yes", "by": "test"}
        with self.ledger.write() as connection:
            for number in plan.drafts:
                record_release(connection, plan.incident, number, next_update_by=by, now=self.now, **how)

    def send(self, name: str = "pay7") -> Delivered:
        """Release and send an incident, as a verb with --yes does."""
        self.release(name)
        return self.send_released(name)

    def send_released(self, name: str = "pay7", *, late: bool = False) -> Delivered:
        """Send what is released and due of an incident."""
        return send_released(self.desk, self.worker, self.incident(name), late=late)

    def freeze(self, name: str = "pay7") -> None:
        """Freeze what is released, as a run that dies before its first claim leaves it."""
        plan = make_plan(self.desk, self.incident(name), self.ledger)
        notices = [each.notice for each in plan.deliveries]
        rows = read_whole(plan.deliveries)
        assert freeze(self.ledger, notices, rows, (), current_owner(), self.now, lambda _: None)

    def tick(self) -> Ticked:
        return tick(self.desk, self.ledger, lambda: self.worker)

    def later(self, **length: float) -> datetime:
        """Move the clock on."""
        self.now += timedelta(**length)
        return self.now

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace words that a file of the desk has."""
        text = (self.folder / path).read_text()
        assert old in text
        (self.folder / path).write_text(text.replace(old, new))

    def append(self, path: str, text: str) -> None:
        """Add to the end of a file of the desk."""
        with (self.folder / path).open("a") as file:
            file.write(text)

    def write(self, **keys: str) -> None:
        """Append an update of this moment to pay7; nobody has said yes to it yet."""
        self.append("incidents/pay7.yaml", update_text(self.now, **keys))

    def stop(self, by: str = "dana") -> None:
        with self.ledger.write() as connection:
            stop_incident(connection, "pay7", by, self.now)

    def resume(self, by: str = "dana") -> None:
        with self.ledger.write() as connection:
            lift_stop(connection, "pay7", by, self.now)

    def rows(self, name: str = "pay7") -> list[Told]:
        with self.ledger.read() as connection:
            return list(deliveries(connection, name))

    def states(self, name: str = "pay7", notice: str = "update:1") -> Counter[tuple[str, str]]:
        """Return how many deliveries of a notice are in each (channel, state)."""
        return Counter((row.channel, row.state.value) for row in self.rows(name) if row.notice == notice)

    def mails(self) -> list[Path]:
        return sorted((self.folder / "outbox").glob("*.eml"))

    def texts(self) -> list[Path]:
        return sorted((self.folder / "outbox").glob("*.txt"))


NOW = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)
LEASE = timedelta(minutes=30)
ME = "elsewhere|boot|pid:[1]|10|99"  # of another host: never proved dead
OTHER = "elsewhere|boot|pid:[1]|11|99"

SENDER = {"sender": "status@acme.example"}
WORDS = Composition(
    "customers", "UTC", "", "{}", {"a": 1}, SENDER, next_update_by=NOW + timedelta(minutes=20)
)
ROW = FrozenRow("", "", "customers", None, recipient={"name": "Ann"}, digest="d", state=State.PENDING)


def fill(
    ledger: Ledger,
    keys: Sequence[str],
    *,
    number: int = 1,
    channel: str = "email",
    incident: str = "pay7",
    owner: str = ME,
    row: FrozenRow = ROW,
    finish: bool = True,
    status: str = "",
    now: datetime = NOW,
) -> Broadcast:
    """Freeze an update to these addresses; without `finish` the broadcast stays half filled.

    With a `status` the update is one that was released.
    """
    notice = f"update:{number}"
    with ledger.write() as connection:
        if status:
            yes_to(connection, number, status)
        broadcast, to_fill = broadcasts.begin_freeze(
            connection, incident=incident, notice=notice, number=number, channel=channel, owner=owner, now=now
        )
        assert to_fill
        words = broadcasts.add_composition(connection, broadcast.id, WORDS)
        rows = [replace(row, key=key, address=key, composition=words) for key in keys]
        add_rows(connection, broadcast, rows)
        if finish:
            assert broadcasts.finish_freeze(connection, [broadcast], owner, NOW)
    return broadcast


def add_rows(connection: Connection, broadcast: Broadcast, rows: Sequence[FrozenRow]) -> None:
    """Put recipients into a broadcast that is freezing; of one address the first row stays."""
    broadcasts.check_still_filling(connection, broadcast)
    whose = {name: getattr(broadcast, name) for name in ("incident", "notice", "channel")}
    whose |= {"broadcast": broadcast.id, "changed_at": NOW}
    values = [{each.name: getattr(row, each.name) for each in fields(row)} | whose for row in rows]
    if values:
        connection.execute(insert_unless_there(connection, delivery), values)


def yes_to(connection: Connection, number: int, status: str, how: str = "yes") -> None:
    """Release an update of pay7."""
    words = {"digest": str(number), "title": "", "severity": 1, "facts": {}, "by": "dana"}
    times = {"at": stamp(NOW), "released_at": stamp(NOW)}
    row = {"incident": "pay7", "number": number, "status": status, "how": how, **words, **times}
    connection.execute(release.insert(), [row])


def claim(ledger: Ledger, broadcast: Broadcast, count: int = 10, **more: Any) -> Turn:
    """Claim without settling anything."""
    return answer(ledger, broadcast, [], count, **more)


def answer(
    ledger: Ledger,
    broadcast: Broadcast,
    settlements: Sequence[Settlement],
    count: int = 0,
    *,
    owner: str = ME,
    now: datetime = NOW,
    **more: Any,
) -> Turn:
    """Settle, and claim up to `count` more; `more` are options of `settle_and_claim`."""
    with ledger.write() as connection:
        return settle_and_claim(
            connection, broadcast.id, settlements, count=count, owner=owner, lease=LEASE, now=now, **more
        )


def said(
    delivery: int, kind: OutcomeKind, *, wait: timedelta | None = None, suppress: bool = False
) -> Settlement:
    """Return a provider's answer about one delivery."""
    outcome = Outcome(delivery, kind, f"said {kind}", "its-id", suppress=suppress)
    return Settlement(outcome, "fake", NOW + wait if wait is not None else None)


def told(ledger: Ledger, incident: str = "pay7") -> dict[str, Any]:
    """Return an incident's rows by address, those of a list that is still going in as well."""
    rows = delivery.select().where(delivery.c.incident == incident).order_by(delivery.c.id)
    with ledger.read() as connection:
        return {row.address: row for row in connection.execute(rows)}


def states(ledger: Ledger, incident: str = "pay7") -> dict[str, str]:
    """Return the state of each address of an incident."""
    return {address: row.state.value for address, row in told(ledger, incident).items()}


@contextmanager
def nothing_can_be_written() -> Iterator[None]:
    """Make every write to a file fail, as on a failing disk; reading still works."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
