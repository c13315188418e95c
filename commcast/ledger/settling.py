"""Settling: what became of a claimed delivery. Nothing goes from `unknown` back to `pending` by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, String, Update, and_, bindparam, case, or_, select, update

from commcast.ledger import schema
from commcast.ledger.owners import is_dead
from commcast.ledger.prepared import Prepared, as_json, given
from commcast.ledger.schema import IS_OPEN, State, insert_unless_there, stamp
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
    alike: dict[_Said, dict[int, str]] = {}
    for each in settlements:
        outcome, wait = each.outcome, each.not_before
        said = (outcome.kind, outcome.detail, each.provider, stamp(wait) if wait else None)
        alike.setdefault(said, {})[outcome.delivery] = outcome.provider_id
    for (kind, detail, provider, not_before), ids in alike.items():
        _SETTLE.run(
            connection,
            ids=as_json(ids),
            kind=str(kind),
            detail=detail,
            by_provider=provider,
            wait_until=not_before,
            by_owner=owner,
            now=stamp(now),
        )


def settle_lost(connection: Connection, now: datetime) -> int:
    """Call unknown what a dead process had claimed, or whose lease has run out; return how many."""
    owners = connection.execute(
        select(_delivery.c.owner).where(IS_OPEN, _delivery.c.state == State.CLAIMED).distinct()
    ).scalars()
    dead = [owner for owner in owners if is_dead(owner)]
    lost = connection.execute(
        update(_delivery)
        .where(
            IS_OPEN,
            _delivery.c.state == State.CLAIMED,
            or_(_delivery.c.owner.in_(dead), _delivery.c.lease_until <= stamp(now)),
        )
        .values(state=State.UNKNOWN, reason=NO_ANSWER, changed_at=stamp(now))
        .returning(_delivery.c.id)
    )
    return len(lost.all())


def _settling() -> Update:
    """Return what settles deliveries of which the same was said; their provider's own ids come with them."""
    delivery, provider_id = given(bindparam("ids"))
    kind = bindparam("kind", type_=String)
    ours = or_(
        _delivery.c.state == State.CLAIMED,
        and_(_delivery.c.state == State.UNKNOWN, kind != OutcomeKind.NOT_TAKEN),
        # A person had it sent again, and its first answer comes after all: the second one does not go.
        and_(_delivery.c.state == State.PENDING, _delivery.c.doubted == 1, kind == OutcomeKind.ACCEPTED),
    )
    state = case(
        (kind == OutcomeKind.NOT_TAKEN, State.PENDING),
        # That the second one was refused does not say that the first did not arrive.
        (and_(kind == OutcomeKind.REJECTED, _delivery.c.doubted == 1), State.UNKNOWN),
        else_=kind,
    )
    # Somebody erased while their message was in flight stays erased: such words may hold the address.
    erased = _delivery.c.address == ""
    return (
        update(_delivery)
        .where(_delivery.c.id == delivery, _delivery.c.owner == bindparam("by_owner"), ours)
        .values(
            state=state,
            reason=case((erased, ""), else_=bindparam("detail")),
            provider=bindparam("by_provider"),
            provider_id=case((erased, ""), else_=provider_id),
            not_before=bindparam("wait_until"),
            changed_at=bindparam("now"),
        )
    )


_SETTLE = Prepared(_settling)
_Said = tuple[OutcomeKind, str, str, str | None]  # kind, detail, provider, when it may be tried again


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
