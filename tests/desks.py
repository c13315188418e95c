"""Desk folders for tests, and the engine over them with the clock in the test's hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from commcast.delivery.deliver import Delivered, Deliverer, no_fallback
from commcast.delivery.freeze import Freezer
from commcast.incidents.load import Loaded, load_incident, load_incidents
from commcast.ledger.history import Told, deliveries
from commcast.ledger.settle import current_owner
from commcast.ledger.store import Ledger, create_ledger, ledger_path, open_ledger
from commcast.model.incident import Channel, Incident
from commcast.model.message import Unheard
from commcast.operations.desk import Desk, check_story, open_desk, what_is_owed
from commcast.operations.release import release_updates
from commcast.operations.send import Sender
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
    fallback: Callable[[Channel], Adapter | None] = no_fallback

    def __post_init__(self) -> None:
        self.ledger: Ledger = open_ledger(ledger_path(self.folder), DESK)

    @property
    def desk(self) -> Desk:
        return replace(open_desk(self.folder, self.now), now=self.now)

    @property
    def sender(self) -> Sender:
        desk = self.desk
        deliverer = Deliverer(
            ledger=self.ledger,
            adapter_for=self.adapter or (lambda channel: adapter_for(desk.config, channel, lambda: self.now)),
            owner=current_owner(),
            clock=lambda: self.now,
            progress=Unheard(),
            fallback_for=self.fallback,
        )
        return Sender(desk, deliverer)

    def incident(self, name: str = "pay7") -> Incident:
        return load_incident(self.folder / "incidents" / f"{name}.yaml", self.desk.config, self.now)

    def loaded(self) -> Loaded:
        return load_incidents(self.desk.config, self.now)

    def check(self, name: str = "pay7") -> None:
        present = [incident.id for incident in self.loaded().incidents]
        check_story(self.desk, self.incident(name), self.ledger, present)

    def release(self, name: str = "pay7") -> None:
        """Say yes to every draft of an incident."""
        owed = what_is_owed(self.desk, self.incident(name), self.ledger, as_if_released=True)
        release_updates(self.desk, owed, owed.drafts, self.ledger, how="yes", by="test")

    def send(self, name: str = "pay7") -> Delivered:
        """Release and send an incident, as a verb with --yes does."""
        self.release(name)
        return self.sender.send_released(self.incident(name))

    def freeze(self, name: str = "pay7") -> None:
        """Freeze what is released and owed, as a run leaves it that dies before its first claim."""
        owed = what_is_owed(self.desk, self.incident(name), self.ledger)
        assert Freezer(self.ledger, current_owner(), self.now).freeze(owed.deliveries)

    def tick(self) -> Ticked:
        return tick(self.desk, self.ledger, lambda: self.sender)

    def later(self, **length: float) -> datetime:
        """Move the clock on."""
        self.now += timedelta(**length)
        return self.now

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
