"""Ledgers for tests, with rows put in without lists, templates or files."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from commcast.ledger.claims import Turn, settle_and_claim
from commcast.ledger.freeze import (
    Broadcast,
    Composition,
    FrozenRow,
    add_composition,
    add_rows,
    begin_freeze,
    finish_freeze,
)
from commcast.ledger.history import Told, deliveries
from commcast.ledger.schema import State, release, stamp
from commcast.ledger.settle import Pace, Settlement
from commcast.ledger.store import Ledger
from commcast.model.message import Outcome, OutcomeKind

NOW = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)
LEASE = timedelta(minutes=30)
ME = "elsewhere|boot|pid:[1]|10|99"  # of another host: never proved dead
OTHER = "elsewhere|boot|pid:[1]|11|99"

WORDS = Composition(
    audience="customers",
    zone="UTC",
    locale="",
    wording="{}",
    context={"a": 1},
    envelope={"sender": "status@acme.example"},
    next_update_by=NOW + timedelta(minutes=20),
)
ROW = FrozenRow(
    key="",
    address="",
    audience="customers",
    composition=None,
    recipient={"name": "Ann"},
    digest="d",
    state=State.PENDING,
)


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
    with ledger.write() as connection:
        if status:
            yes_to(connection, number, status)
        broadcast, to_fill = begin_freeze(
            connection,
            incident=incident,
            notice=f"update:{number}",
            number=number,
            channel=channel,
            owner=owner,
            now=now,
        )
        assert to_fill
        words = add_composition(connection, broadcast.id, WORDS)
        rows = [replace(row, key=key, address=key, composition=words) for key in keys]
        add_rows(connection, broadcast, rows, NOW)
        if finish:
            assert finish_freeze(connection, [broadcast], owner, NOW)
    return broadcast


def yes_to(connection: Connection, number: int, status: str, how: str = "yes") -> None:
    """Release an update of pay7."""
    words = {"digest": str(number), "title": "", "severity": 1, "facts": {}, "by": "dana"}
    times = {"at": stamp(NOW), "released_at": stamp(NOW)}
    row = {"incident": "pay7", "number": number, "status": status, "how": how, **words, **times}
    connection.execute(release.insert(), [row])


def claim(
    ledger: Ledger,
    broadcast: Broadcast,
    count: int = 10,
    *,
    owner: str = ME,
    now: datetime = NOW,
    limit: Pace | None = None,
    waits: bool = True,
) -> Turn:
    """Claim without settling anything."""
    return answer(ledger, broadcast, [], count, owner=owner, now=now, limit=limit, waits=waits)


def answer(
    ledger: Ledger,
    broadcast: Broadcast,
    settlements: Sequence[Settlement],
    count: int = 0,
    *,
    owner: str = ME,
    now: datetime = NOW,
    limit: Pace | None = None,
    waits: bool = True,
) -> Turn:
    """Settle, and claim up to `count` more."""
    with ledger.write() as connection:
        return settle_and_claim(
            connection,
            broadcast.id,
            settlements,
            count=count,
            owner=owner,
            lease=LEASE,
            now=now,
            limit=limit,
            waits=waits,
        )


def said(
    delivery: int, kind: OutcomeKind, *, wait: timedelta | None = None, suppress: bool = False
) -> Settlement:
    """Return a provider's answer about one delivery."""
    outcome = Outcome(delivery, kind, f"said {kind}", "its-id", suppress=suppress)
    return Settlement(outcome, "fake", NOW + wait if wait is not None else None)


def told(ledger: Ledger, incident: str = "pay7") -> dict[str, Told]:
    """Return an incident's deliveries by address."""
    with ledger.read() as connection:
        return {row.address: row for row in deliveries(connection, incident)}


def states(ledger: Ledger, incident: str = "pay7") -> dict[str, str]:
    """Return the state of each address of an incident."""
    return {address: row.state.value for address, row in told(ledger, incident).items()}


@contextmanager
def nothing_can_be_written() -> Iterator[None]:
    """Let every write to a file fail, as on a disk that gives out; reading goes on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
