"""Settles unknown deliveries, and sends rejected ones again: a person decides, or a provider's records show
what happened.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, select, update

from commcast.errors import DecisionNeeded
from commcast.ledger import tables
from commcast.ledger.fence import stops_in_force
from commcast.ledger.tables import IS_WRITTEN_ANEW, WAITING, State, What, one_of
from commcast.ledger.unknowns import Doubt, Which, ids_of_others, put_acts, unless_erased
from commcast.model.history import way_on
from commcast.model.incident import END_STATUSES

_broadcast, _delivery, _release = tables.frozen_broadcast, tables.delivery, tables.release
_suppression, _act = tables.suppression, tables.act


@dataclass(frozen=True, slots=True)
class Candidate:
    """An unknown or rejected delivery that a person may decide about.

    `unfit` says why it must not be sent again, "" if it may. `was_asked` says whether a provider's records
    were checked since it was claimed.
    """

    delivery: int
    incident: str
    notice: str
    channel: str
    address: str
    provider: str
    attempts: int
    unfit: str
    was_asked: bool


def candidates(connection: Connection, which: Which, now: datetime) -> tuple[Candidate, ...]:
    """Return the deliveries that a person may decide about, in the order of freezing."""
    d = _delivery.c
    asked_since = select(_act.c.id).where(
        _act.c.delivery == d.id,
        _act.c.what == What.RECONCILE,
        _act.c.at >= func.coalesce(d.claimed_at, ""),
    )
    rows = connection.execute(
        select(
            *(d.id, d.incident, d.notice, d.channel, d.address, func.coalesce(d.provider, ""), d.attempts),
            *(_why_unfit(now), asked_since.exists()),
        )
        .join(_broadcast, _broadcast.c.id == d.broadcast)
        .where(*which.conditions)
        .order_by(d.id)
    )
    return tuple(Candidate(*row) for row in rows)


def send_again(
    connection: Connection,
    chosen: Sequence[Candidate],
    state: State = State.UNKNOWN,
    *,
    by: str,
    now: datetime,
) -> frozenset[int]:
    """Queue the deliveries that a person chose in this state, as far as they still may be sent; return which.

    Raises DecisionNeeded, and changes nothing, if an incident is stopped.
    """
    fit: set[int] = set()
    for incident in {each.incident for each in chosen}:
        if stops := stops_in_force(connection, incident):
            raise DecisionNeeded(stopped_in_words(incident, stops[0].by))
        now_there = candidates(connection, Which(incident, state=state), now)
        fit.update(each.delivery for each in now_there if not each.unfit)
    values = {
        "state": State.PENDING,
        "doubted": int(state is State.UNKNOWN),
        "reason": f"to be sent again, says {by}",
        "not_before": None,
        "changed_at": now,
    }
    going = [each for each in chosen if each.delivery in fit]
    return _decide(connection, going, state, values, What.RESEND, "", by, now)


def settle_by_hand(
    connection: Connection,
    chosen: Sequence[Candidate],
    state: State,
    *,
    because: str,
    by: str,
    now: datetime,
) -> frozenset[int]:
    """Record what a person knows about unknown deliveries; return which were settled."""
    reason = f"settled by {by}" + (f": {because}" if because else "")
    values = {"state": state, "reason": unless_erased(reason), "changed_at": now}
    return _decide(connection, chosen, State.UNKNOWN, values, What.SETTLE, because, by, now)


def states_of(connection: Connection, deliveries: Collection[int]) -> list[State]:
    """Return the states of these deliveries."""
    these = one_of(connection, _delivery.c.id, sorted(deliveries))
    return list(connection.execute(select(_delivery.c.state).where(these)).scalars())


def stopped_in_words(incident: str, by: str) -> str:
    """Return why nothing of a stopped incident can be sent again, and what to do."""
    return f"{incident} is stopped by {by}: nothing was sent again. First: {way_on(incident, by)}"


def _why_unfit(now: datetime) -> ColumnElement[str]:
    d = _delivery.c
    opted_out = select(_suppression.c.key).where(
        _suppression.c.channel == d.channel, _suppression.c.key == d.key
    )
    newer, speaks_of = _delivery.alias(), _broadcast.alias()
    later = and_(
        speaks_of.c.incident == d.incident,
        speaks_of.c.channel == d.channel,
        speaks_of.c.number > _broadcast.c.number,
    )

    def overtaken(*states: State) -> Select[Any]:
        return _correlated(
            select(newer.c.id)
            .join(speaks_of, speaks_of.c.id == newer.c.broadcast)
            .where(later, newer.c.key == d.key, newer.c.state.in_(states))
        )

    its_update = and_(_release.c.incident == speaks_of.c.incident, _release.c.number == speaks_of.c.number)
    is_end = _release.c.status.in_(sorted(END_STATUSES))
    over = _correlated(select(speaks_of.c.id).join(_release, its_update).where(later, is_end))
    return case(
        (d.address == "", "erased"),
        (and_(d.state == State.REJECTED, d.doubted == 1), "an earlier copy may have arrived"),
        (d.composition.is_(None), "its words were never made"),
        (opted_out.exists(), case((d.state == State.REJECTED, "suppressed"), else_="opted out")),
        (overtaken(State.ACCEPTED, State.UNKNOWN).exists(), "a newer update has gone to them"),
        (overtaken(*WAITING, State.CLAIMED).exists(), "a newer update is on its way to them"),
        (over.exists(), "it is over by now"),
        (
            and_(d.expires_at <= now, ~and_(d.state == State.REJECTED, IS_WRITTEN_ANEW)),
            "the promise in this message has passed",
        ),
        else_="",
    )


def _correlated(query: Select[Any]) -> Select[Any]:
    return query.correlate(_delivery, _broadcast)


def _decide(
    connection: Connection,
    chosen: Sequence[Candidate],
    seen: State,
    values: dict[str, Any],
    what: What,
    detail: str,
    by: str,
    now: datetime,
) -> frozenset[int]:
    """Change those that are still as the person saw them, and record who decided."""
    changed: list[int] = []
    for attempts in sorted({each.attempts for each in chosen}):
        these = [each.delivery for each in chosen if each.attempts == attempts]
        as_seen = (
            one_of(connection, _delivery.c.id, these),
            _delivery.c.attempts == attempts,
            _delivery.c.state == seen,
        )
        rows = connection.execute(
            update(_delivery).where(*as_seen).values(**values).returning(_delivery.c.id)
        )
        changed.extend(rows.scalars())
    put_acts(connection, changed, what, values["state"], detail, by, now)
    return frozenset(changed)


ANOTHERS = "what was found there is another delivery's"
_FIRST = "; at first: "  # in a reason: what was known before the records were checked


@dataclass(frozen=True, slots=True)
class Finding:
    """What a provider's records show about one delivery. `state` is UNKNOWN if they prove nothing.

    `detail` says in a few words what was found, `by` is the provider.
    """

    doubt: Doubt
    state: State
    detail: str
    by: str
    provider_id: str = ""


def record_findings(
    connection: Connection, findings: Sequence[Finding], now: datetime
) -> list[tuple[State, str]]:
    """Settle what is proven, and note what was found about the rest.

    Returns, in the same order, each delivery's state now, and the reason if it stays unknown.
    """
    return [_recorded(connection, finding, now) for finding in findings]


def _recorded(connection: Connection, finding: Finding, now: datetime) -> tuple[State, str]:
    if finding.state is State.UNKNOWN:
        return _noted(connection, finding, finding.detail, now)
    if finding.provider_id and _is_anothers(connection, finding):
        return _noted(connection, finding, ANOTHERS, now)
    return _settled(connection, finding, now)


def _settled(connection: Connection, finding: Finding, now: datetime) -> tuple[State, str]:
    changed = connection.execute(
        update(_delivery)
        .where(*_still_as_seen(finding.doubt))
        .values(
            state=finding.state,
            reason=unless_erased(finding.detail),
            provider=finding.by,
            provider_id=unless_erased(finding.provider_id),
            changed_at=now,
        )
        .returning(_delivery.c.id)
    ).all()
    if not changed:
        return _as_it_is(connection, finding)
    ids = [finding.doubt.claim.delivery]
    put_acts(connection, ids, What.RECONCILE, finding.state, finding.detail, finding.by, now)
    return finding.state, ""


def _noted(connection: Connection, finding: Finding, detail: str, now: datetime) -> tuple[State, str]:
    """Note on the delivery what was found, unless it says so already."""
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
        reason = _reason(row.reason, seen_before, detail)
        connection.execute(update(_delivery).where(_delivery.c.id == delivery).values(reason=reason))
    put_acts(connection, [delivery], What.RECONCILE, State.UNKNOWN, detail, finding.by, now)
    return State.UNKNOWN, detail


def _reason(reason: str, seen_before: str | None, detail: str) -> str:
    """Return what was found, followed by what was known before."""
    first = "" if reason == seen_before else reason.partition(_FIRST)[2] or reason
    return detail + (_FIRST + first if first else "")


def _as_it_is(connection: Connection, finding: Finding) -> tuple[State, str]:
    state = connection.execute(
        select(_delivery.c.state).where(_delivery.c.id == finding.doubt.claim.delivery)
    ).scalar_one()
    return State(state), "it was sent again meanwhile"


def _is_anothers(connection: Connection, finding: Finding) -> bool:
    """Return whether another delivery already has this provider id: one message never counts twice.

    An id may stand for a request with many readers, so only deliveries to the same address count.
    """
    claim = finding.doubt.claim
    found = ids_of_others(connection, claim.channel, [claim.key], [claim.delivery])
    return finding.provider_id in found


def _still_as_seen(doubt: Doubt) -> tuple[ColumnElement[bool], ...]:
    return (
        _delivery.c.id == doubt.claim.delivery,
        _delivery.c.state == State.UNKNOWN,
        _delivery.c.attempts == doubt.claim.attempts,
    )
