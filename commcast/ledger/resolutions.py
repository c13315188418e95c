"""Settles unknown deliveries by what a person decided or a provider's records show."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, select, update

from commcast.errors import DecisionNeeded
from commcast.ledger import tables
from commcast.ledger.fence import stops_in_force
from commcast.ledger.tables import IS_FROZEN, WAITING, State, What
from commcast.ledger.unknowns import Doubt, Which, chunks, put_acts, unless_erased
from commcast.model.incident import END_STATUSES

_broadcast, _delivery, _release = tables.frozen_broadcast, tables.delivery, tables.release
_suppression, _act = tables.suppression, tables.act


@dataclass(frozen=True, slots=True)
class Candidate:
    """An unknown delivery that a person may decide about.

    `unfit` says why it must not be sent again, "" where it may. `was_asked` says whether a provider's records
    were asked since it was handed over.
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
    """Return the unknown deliveries that a person may decide about, in the order they were frozen."""
    d = _delivery.c
    asked_since = select(_act.c.id).where(
        _act.c.delivery == d.id,
        _act.c.what == What.RECONCILE,
        _act.c.at >= func.coalesce(d.claimed_at, ""),
    )
    rows = connection.execute(
        select(
            d.id.label("delivery"),
            d.incident,
            d.notice,
            d.channel,
            d.address,
            func.coalesce(d.provider, "").label("provider"),
            d.attempts,
            _why_unfit(now).label("unfit"),
            asked_since.exists().label("was_asked"),
        )
        .join(_broadcast, _broadcast.c.id == d.broadcast)
        .where(*which.conditions)
        .order_by(d.id)
    )
    return tuple(Candidate(**row._mapping) for row in rows)


def send_again(
    connection: Connection, chosen: Sequence[Candidate], *, by: str, now: datetime
) -> frozenset[int]:
    """Let what a person chose go once more, as far as it still may; return which do.

    Raises DecisionNeeded where its incident is stopped: then nothing changes.
    """
    fit: set[int] = set()
    for incident in {each.incident for each in chosen}:
        if stops := stops_in_force(connection, incident):
            raise DecisionNeeded(stopped_in_words(incident, stops[0].by))
        now_there = candidates(connection, Which(incident), now)
        fit.update(each.delivery for each in now_there if not each.unfit)
    values = {
        "state": State.PENDING,
        "doubted": 1,
        "reason": f"to be sent again, says {by}",
        "not_before": None,
        "changed_at": now,
    }
    going = [each for each in chosen if each.delivery in fit]
    return _decide(connection, going, values, What.RESEND, "", by, now)


def settle_by_hand(
    connection: Connection,
    chosen: Sequence[Candidate],
    state: State,
    *,
    because: str,
    by: str,
    now: datetime,
) -> frozenset[int]:
    """Record what a person knows of deliveries whose answer was lost; return which of them it settled."""
    reason = f"settled by {by}" + (f": {because}" if because else "")
    values = {"state": state, "reason": unless_erased(reason), "changed_at": now}
    return _decide(connection, chosen, values, What.SETTLE, because, by, now)


def states_of(connection: Connection, deliveries: Collection[int]) -> list[State]:
    """Return the states that these deliveries are in."""
    return [
        State(state)
        for some in chunks(sorted(deliveries))
        for state in connection.execute(select(_delivery.c.state).where(_delivery.c.id.in_(some))).scalars()
    ]


def stopped_in_words(incident: str, by: str) -> str:
    """Return why nothing of an incident can be sent again, and the way out."""
    return f"{incident} is stopped by {by}: nothing was sent again. First: commcast resume {incident}"


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

    over = _correlated(
        select(speaks_of.c.id)
        .join(
            _release,
            and_(_release.c.incident == speaks_of.c.incident, _release.c.number == speaks_of.c.number),
        )
        .where(later, _release.c.status.in_(sorted(END_STATUSES)))
    )
    return case(
        (d.address == "", "erased"),
        (d.composition.is_(None), "its words were never made"),
        (opted_out.exists(), "opted out"),
        (overtaken(State.ACCEPTED, State.UNKNOWN).exists(), "newer words have gone to them"),
        (overtaken(*WAITING, State.CLAIMED).exists(), "newer words are on the way to them"),
        (over.exists(), "it is over by now"),
        (d.expires_at <= now, "the promise in these words has passed"),
        else_="",
    )


def _correlated(query: Select[Any]) -> Select[Any]:
    return query.correlate(_delivery, _broadcast)


def _decide(
    connection: Connection,
    chosen: Sequence[Candidate],
    values: dict[str, Any],
    what: What,
    detail: str,
    by: str,
    now: datetime,
) -> frozenset[int]:
    """Change what still is as the person saw it, and write down that they did."""
    changed: list[int] = []
    for attempts in sorted({each.attempts for each in chosen}):
        for some in chunks([each.delivery for each in chosen if each.attempts == attempts]):
            as_seen = (
                _delivery.c.id.in_(some),
                _delivery.c.attempts == attempts,
                _delivery.c.state == State.UNKNOWN,
            )
            rows = connection.execute(
                update(_delivery).where(*as_seen).values(**values).returning(_delivery.c.id)
            )
            changed.extend(rows.scalars())
    put_acts(connection, changed, what, values["state"], detail, by, now)
    return frozenset(changed)


_delivery, _act = tables.delivery, tables.act

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
                IS_FROZEN,
            )
        ).scalar_one()
    )


def _still_as_seen(doubt: Doubt) -> tuple[ColumnElement[bool], ...]:
    return (
        _delivery.c.id == doubt.claim.delivery,
        _delivery.c.state == State.UNKNOWN,
        _delivery.c.attempts == doubt.claim.attempts,
    )
