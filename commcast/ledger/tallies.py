"""The one query that counts deliveries, shared by status, log, outcomes and report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, case, func, literal, select

from commcast.ledger import tables
from commcast.ledger.tables import State, What, said_to_readers

_delivery, _broadcast, _act = tables.delivery, tables.frozen_broadcast, tables.act

REASON, RECEIPT, PROVIDER, COMPOSITION = "reason", "receipt", "provider", "composition"
_LEFT_OUT: dict[str, str | int] = {REASON: "", RECEIPT: "", PROVIDER: "", COMPOSITION: 0}


@dataclass(frozen=True, slots=True)
class DeliveryCount:
    """The count of similar deliveries of one broadcast to one audience.

    `number` is the update that the notice is about. `reason`, `receipt`, `provider` and `composition` are
    empty (0) unless asked for. `first_at` and `last_at` are when the first and the last of them changed (with
    `ended`: when their outcomes were known), `changed_at` is the last change of a row.
    """

    broadcast: int
    incident: str
    notice: str
    number: int
    channel: str
    frozen_at: datetime
    audience: str
    state: State
    reason: str
    receipt: str
    provider: str
    composition: int
    count: int
    first_at: datetime
    last_at: datetime
    changed_at: datetime


def count_deliveries(
    connection: Connection, incidents: ColumnElement[bool] | None, *apart: str, ended: bool = False
) -> list[DeliveryCount]:
    """Count deliveries by broadcast, audience and state, and by the columns that `apart` names.

    `incidents` is a condition on `delivery.incident`; None for all, without nudges to their own people.
    The result is in the order of sending.
    """
    d, b = _delivery.c, _broadcast.c
    # Only the columns asked for are read: with a million rows each further one takes time.
    at = ended_at() if ended else d.changed_at
    also = [
        func.coalesce(d[name], empty) if name in apart else literal(empty)
        for name, empty in _LEFT_OUT.items()
    ]
    alike = [d.broadcast, d.audience, d.state]
    asked = [column for name, column in zip(_LEFT_OUT, also, strict=True) if name in apart]
    counts = (
        select(
            *alike,
            *(column.label(name) for name, column in zip(_LEFT_OUT, also, strict=True)),
            func.count().label("count"),
            func.min(at).label("first_at"),
            func.max(at).label("last_at"),
            func.max(d.changed_at).label("changed_at"),
        )
        .where(*([] if incidents is None else [incidents]))
        .group_by(*alike, *asked)
        .subquery()
    )
    of_broadcast = (b.id, b.incident, b.notice, b.number, b.channel, b.created_at)
    rows = connection.execute(
        select(*of_broadcast, *counts.c[1:])
        .join(counts, counts.c.broadcast == b.id)
        .where(*([said_to_readers(b.incident)] if incidents is None else []))
        .order_by(b.id, *(counts.c[name] for name in ("audience", "state", *apart)))
    )
    return [DeliveryCount(*row) for row in rows]


def ended_at() -> ColumnElement[datetime]:
    """Return when a delivery ended: when its outcome came, or if that was settled later, its claim."""
    d = _delivery.c
    said_later = d.id.in_(select(_act.c.delivery).where(_act.c.what.in_((What.SETTLE, What.RECONCILE))))
    return case((said_later, func.coalesce(d.claimed_at, d.changed_at)), else_=d.changed_at)
