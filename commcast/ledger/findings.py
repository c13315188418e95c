"""What a provider's records prove of a lost answer, and what was seen where they prove nothing.

Only a row that still is `unknown`, and was not handed over once more since it was looked at, changes: a late
answer of its owner may come in between, and then stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, select, update

from commcast.ledger import schema
from commcast.ledger.doubts import Doubt, What, put_acts, unless_erased
from commcast.ledger.schema import State, stamp

_delivery, _act = schema.delivery, schema.act

ANOTHERS = "what was found there is another delivery's"
_FIRST = "; at first: "  # in a reason: what was known before anybody asked


@dataclass(frozen=True, slots=True)
class Finding:
    """What a provider's records make of one delivery. `state` is UNKNOWN where they prove nothing.

    `detail` says in a few words what was seen, `by` is the provider that was asked.
    """

    doubt: Doubt
    state: State
    detail: str
    by: str
    provider_id: str = ""


def record_findings(
    connection: Connection, findings: Sequence[Finding], now: datetime
) -> list[tuple[State, str]]:
    """Settle what is proved, and note what was seen of the rest.

    Returns, in the same order, the state that each delivery is in now, and why where it stays unknown.
    """
    return [_recorded(connection, finding, now) for finding in findings]


def _recorded(connection: Connection, finding: Finding, now: datetime) -> tuple[State, str]:
    if finding.state is not State.UNKNOWN:
        if finding.provider_id and _is_anothers(connection, finding):
            return _noted(connection, finding, ANOTHERS, now)
        return _settled(connection, finding, now)
    return _noted(connection, finding, finding.detail, now)


def _settled(connection: Connection, finding: Finding, now: datetime) -> tuple[State, str]:
    changed = connection.execute(
        update(_delivery)
        .where(*_still_as_seen(finding.doubt))
        .values(
            state=finding.state,
            reason=unless_erased(finding.detail),
            provider=finding.by,
            provider_id=unless_erased(finding.provider_id),
            changed_at=stamp(now),
        )
        .returning(_delivery.c.id)
    ).all()
    if not changed:
        return _as_it_is(connection, finding)
    ids = [finding.doubt.claim.delivery]
    put_acts(connection, ids, What.RECONCILE, finding.state, finding.detail, finding.by, now)
    return finding.state, ""


def _noted(connection: Connection, finding: Finding, detail: str, now: datetime) -> tuple[State, str]:
    """Write what was seen to the delivery, once: the same sight again is no news."""
    row = connection.execute(
        select(_delivery.c.reason, _delivery.c.address).where(*_still_as_seen(finding.doubt))
    ).one_or_none()
    if row is None:
        return _as_it_is(connection, finding)
    delivery = finding.doubt.claim.delivery
    seen_before = connection.execute(
        select(_act.c.detail).where(_act.c.delivery == delivery).order_by(_act.c.id.desc()).limit(1)
    ).scalar_one_or_none()
    if seen_before == detail:
        return State.UNKNOWN, detail
    if row.address:
        connection.execute(
            update(_delivery)
            .where(_delivery.c.id == delivery)
            .values(reason=_reason(row.reason, seen_before, detail))
        )
    put_acts(connection, [delivery], What.RECONCILE, State.UNKNOWN, detail, finding.by, now)
    return State.UNKNOWN, detail


def _reason(reason: str, seen_before: str | None, detail: str) -> str:
    """Return what was seen, and behind it what was known before anybody asked."""
    first = "" if reason == seen_before else reason.partition(_FIRST)[2] or reason
    return detail + (_FIRST + first if first else "")


def _as_it_is(connection: Connection, finding: Finding) -> tuple[State, str]:
    state = connection.execute(
        select(_delivery.c.state).where(_delivery.c.id == finding.doubt.claim.delivery)
    ).scalar_one()
    return State(state), "it was sent again meanwhile"


def _is_anothers(connection: Connection, finding: Finding) -> bool:
    """Return whether another delivery has this provider's id: one message never stands for two.

    An id may name a whole request with many readers, so the address counts too.
    """
    claim = finding.doubt.claim
    return bool(
        connection.execute(
            select(func.count()).where(
                _delivery.c.channel == claim.channel,
                _delivery.c.key == claim.key,
                _delivery.c.provider_id == finding.provider_id,
                _delivery.c.id != claim.delivery,
            )
        ).scalar_one()
    )


def _still_as_seen(doubt: Doubt) -> tuple[ColumnElement[bool], ...]:
    return (
        _delivery.c.id == doubt.claim.delivery,
        _delivery.c.state == State.UNKNOWN,
        _delivery.c.attempts == doubt.claim.attempts,
    )
