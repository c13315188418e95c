"""Desk folders for our side: written, frozen once, and copied for each round."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import corpus, profiling
from benchmarks.children import DEADLINE, PYTHON, Ended, Void, environment, run
from benchmarks.model import Sample

DESK = "be9c" * 4
INCIDENT = "pay7"
MOST_IN_FLIGHT = 64
KEYS = {
    "SENDGRID_API_KEY": "SG.benchmark.0123456789abcdef",
    "TWILIO_ACCOUNT_SID": "AC" + "0a" * 16,
    "TWILIO_AUTH_TOKEN": "benchmark" * 4,
}

_CONFIG = """\
desk = "{desk}"
[organisation]
name = "Acme Pay"
zone = "UTC"
status_url = "{status_url}"
[contact]
reply_to = "help+{{id}}@acme.example"
[people.dana]
name = "Dana Reyes"
[audiences.customers]
recipients = "audiences/customers.csv"
rank = 9
channels = ["{channel}"]
[cadence.4]
first = "24h"
every = "24h"
[send]
unsubscribe = "mailto:unsubscribe@acme.example"
[channels.email]
provider = "{email}"
from = "{sender}"
[channels.sms]
provider = "{sms}"
from = "+4915799912345"
"""
_INCIDENT = """\
title: {title}
severity: 4
owner: dana
updates:
  - at: {at}
    status: identified
    issue: {issue}
    resolution: {resolution}
    timeframe: unknown
    action: {action}
"""


@dataclass(frozen=True, slots=True)
class Template:
    """The words of a desk's customers: an email, the page around it, and a text."""

    email: str = corpus.EMAIL
    layout: str = corpus.LAYOUT
    sms: str = corpus.SMS

    @classmethod
    def by_person(cls) -> Template:
        """Return words that have to be rendered for each person alone."""
        return cls(corpus.by_person(corpus.EMAIL), corpus.LAYOUT, corpus.by_person(corpus.SMS))


def write_desk(
    folder: Path, people: int, *, provider: str = "smtp", template: Template | None = None
) -> Path:
    """Write a desk with one drafted incident and a list of people. The provider's settings come later."""
    texts = provider == "twilio"
    template = template or Template()
    words = folder / "templates" / "customers"
    for each in (words, folder / "incidents", folder / "audiences", folder / ".commcast"):
        each.mkdir(parents=True)
    (folder / "commcast.toml").write_text(
        _CONFIG.format(
            desk=DESK,
            status_url=corpus.STATUS_URL,
            channel="sms" if texts else "email",
            email="outbox" if texts else provider,
            sms="twilio" if texts else "outbox",
            sender=corpus.SENDER,
        )
        + ('[providers.smtp]\nhost = "127.0.0.1"\n' if provider == "smtp" else "")
    )
    (words / "found.md.j2").write_text(template.email)
    (words / "layout.html.j2").write_text(template.layout)
    (words / "found.sms.j2").write_text(template.sms)
    corpus.write_people(folder / "audiences" / "customers.csv", people)
    write_incident(folder)
    return folder


def write_incident(folder: Path) -> None:
    """Write the incident, its only update made a minute ago; nobody has released it."""
    at = (datetime.now(UTC) - timedelta(minutes=1)).isoformat(timespec="seconds")
    (folder / "incidents" / f"{INCIDENT}.yaml").write_text(
        _INCIDENT.format(
            title=corpus.TITLE,
            at=at,
            issue=json.dumps(corpus.ISSUE),
            resolution=json.dumps(corpus.RESOLUTION),
            action=json.dumps(corpus.ACTION),
        )
    )


def point_to(folder: Path, provider: str, **settings: str | int) -> None:
    """Write a provider's settings into a desk: where it listens, and how many requests may be in flight."""
    path = folder / "commcast.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    kept = path.read_text().partition("[providers.")[0]
    path.write_text("\n".join([f"{kept}[providers.{provider}]", *lines]) + "\n")


def point_to_smtp(folder: Path, port: int, connections: int) -> None:
    """Let a desk send through a sink on this machine."""
    settings: dict[str, str | int] = {"host": "127.0.0.1", "port": port, "connections": connections}
    point_to(folder, "smtp", **settings, security="none", timeout="60s")


def copy(desk: Path, name: str) -> Path:
    """Return a copy of a prepared desk, in place of an earlier one of this name."""
    target = desk.parent / name
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(desk, target))


def ours(
    command: str, folder: Path, *options: str, deadline: float = DEADLINE
) -> tuple[Ended, dict[str, Any]]:
    """Run our driver (benchmarks/ours.py) on a desk; return how it ended and what it found."""
    words = [PYTHON, "-m", "benchmarks.ours", command, folder, *options]
    ended = run(words, env=environment(KEYS), deadline=deadline)
    return ended, json.loads(ended.out.splitlines()[-1])


def freeze(folder: Path, people: int, deadline: float = DEADLINE) -> Sample:
    """Release and freeze a desk's incident; nothing is sent."""
    ended, found = ours("freeze", folder, deadline=deadline)
    check(folder, people, "pending")
    return Sample(people, found["seconds"], ended.cpu, ended.peak)


def deliver(folder: Path, people: int, *options: str, deadline: float = DEADLINE) -> Sample:
    """Hand over a frozen broadcast, and see that all of it was accepted."""
    ended, found = ours("deliver", folder, *options, deadline=deadline)
    check(folder, people, "accepted")
    note = f"{found['loop']}, W {found['window']}"
    return Sample(people, found["seconds"], ended.cpu, ended.peak, note)


def send(folder: Path, people: int, deadline: float = DEADLINE) -> Sample:
    """Run the whole command on a drafted incident, from the list to the last answer."""
    command = [PYTHON, *profiling.options(), "-m", "commcast", "send", INCIDENT, "--yes", "--folder", folder]
    ended = run(command, env=environment(KEYS), deadline=deadline)
    check(folder, people, "accepted")
    return Sample(people, ended.seconds, ended.cpu, ended.peak)


def check(folder: Path, people: int, state: str) -> None:
    """Raise Void unless each delivery of a desk's ledger is in this state: none unknown, none left over."""
    with closing(sqlite3.connect(folder / ".commcast" / "ledger.db")) as ledger:
        found: Mapping[str, int] = Counter(
            dict(ledger.execute("select state, count(*) from delivery group by state").fetchall())
        )
    if found != {state: people}:
        raise Void(f"the ledger should hold {people:,} {state}, and holds {dict(found)}")
