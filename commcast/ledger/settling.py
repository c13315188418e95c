"""Settling: what became of a claimed delivery. Nothing goes from `unknown` back to `pending` by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, or_, select, update

from commcast.ledger import schema
from commcast.ledger.owners import is_dead
from commcast.ledger.schema import State, insert_unless_there, stamp
from commcast.message import Outcome, OutcomeKind

_delivery, _suppression = schema.delivery, schema.suppression

NO_ANSWER = "the run ended before the provider answered"


@dataclass(frozen=True, slots=True)
class Settlement:
    """An outcome and, where the provider did not take it, when it may be tried again."""

    outcome: Outcome
    provider: str
    not_before: datetime | None = None


def settle(connection: Connection, settlements: Sequence[Settlement], *, owner: str, now: datetime) -> None:
    """Record what became of claimed deliveries.

    A late answer settles a delivery that another process had to call unknown; but "not taken" comes too late
    then, for nothing goes back from unknown to pending.
    """
    for kind in OutcomeKind:
        rows = [_settled(s, now) for s in settlements if s.outcome.kind is kind]
        if rows:
            connection.execute(_settle_statement(kind, owner), rows)


def settle_lost(connection: Connection, now: datetime) -> int:
    """Call unknown what a dead process had claimed, or whose lease has run out; return how many."""
    owners = connection.execute(
        select(_delivery.c.owner).where(_delivery.c.state == State.CLAIMED).distinct()
    ).scalars()
    dead = [owner for owner in owners if is_dead(owner)]
    lost = connection.execute(
        update(_delivery)
        .where(
            _delivery.c.state == State.CLAIMED,
            or_(_delivery.c.owner.in_(dead), _delivery.c.lease_until <= stamp(now)),
        )
        .values(state=State.UNKNOWN, reason=NO_ANSWER, changed_at=stamp(now))
        .returning(_delivery.c.id)
    )
    return len(lost.all())


def _settle_statement(kind: OutcomeKind, owner: str) -> Any:
    ours = [_delivery.c.state == State.CLAIMED]
    if kind is not OutcomeKind.NOT_TAKEN:
        ours.append(_delivery.c.state == State.UNKNOWN)
    if kind is OutcomeKind.ACCEPTED:
        # A person had it sent again, and its first answer comes after all: the second one does not go.
        ours.append(and_(_delivery.c.state == State.PENDING, _delivery.c.doubted == 1))
    state: Any = State.PENDING if kind is OutcomeKind.NOT_TAKEN else State(kind.value)
    if kind is OutcomeKind.REJECTED:
        # That the second one was refused does not say that the first did not arrive.
        state = case((_delivery.c.doubted == 1, State.UNKNOWN), else_=State.REJECTED)
    return (
        update(_delivery)
        .where(_delivery.c.id == bindparam("delivery"), _delivery.c.owner == owner, or_(*ours))
        .values(
            state=state,
            # Somebody erased while their message was in flight stays erased: such words may hold the address.
            reason=case((_delivery.c.address == "", ""), else_=bindparam("detail")),
            provider=bindparam("by_provider"),
            provider_id=case((_delivery.c.address == "", ""), else_=bindparam("their_id")),
            not_before=bindparam("wait_until"),
            changed_at=bindparam("now"),
        )
    )


def _settled(settlement: Settlement, now: datetime) -> dict[str, Any]:
    outcome, wait = settlement.outcome, settlement.not_before
    return {
        "delivery": outcome.delivery,
        "detail": outcome.detail,
        "by_provider": settlement.provider,
        "their_id": outcome.provider_id,
        "wait_until": stamp(wait) if wait else None,
        "now": stamp(now),
    }


def suppress_refused(connection: Connection, outcomes: Sequence[Outcome], now: datetime) -> None:
    """Let addresses that were refused for good hear nothing more."""
    reasons = {outcome.delivery: outcome.detail for outcome in outcomes}
    people = connection.execute(
        select(_delivery.c.id, _delivery.c.channel, _delivery.c.key).where(_delivery.c.id.in_(list(reasons)))
    ).all()
    rows = [
        {
            "channel": person.channel,
            "key": person.key,
            "reason": f"refused for good: {reasons[person.id]}",
            "by": "provider",
            "at": stamp(now),
        }
        for person in people
    ]
    connection.execute(insert_unless_there(connection, _suppression), rows)
