"""Handovers, pager calls, sent nudges, and ticks with the drafts they saw."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, not_, or_, select, update

from commcast.incidents.load import Judged
from commcast.ledger import tables
from commcast.ledger.releases import (
    open_incidents,
    read_judged,
    release_times,
    released_incidents,
    unfinished_incidents,
)
from commcast.ledger.settle import current_owner
from commcast.ledger.tables import IS_FROZEN, OWN_STORY, State, frozen_broadcast, insert_unless_there, one_of
from commcast.model.oncall import Drift, Handover, drift_of

_duty = tables.duty


def offer(
    connection: Connection, incident: str, person: str, *, by: str, now: datetime, note: str = ""
) -> None:
    """Record that an incident is offered to a person; an earlier offer that nobody took no longer counts."""
    connection.execute(
        insert(_duty).values(incident=incident, person=person, offered_by=by, offered_at=now, note=note)
    )


def take(connection: Connection, incident: str, person: str, *, by: str, now: datetime) -> bool:
    """Record that a person takes an incident; return whether it had been offered to them."""
    newest = connection.execute(
        select(_duty).where(_duty.c.incident == incident).order_by(_duty.c.id.desc()).limit(1)
    ).one_or_none()
    if newest is not None and newest.taken_at is None and newest.person == person:
        taken = connection.execute(
            update(_duty)
            .where(_duty.c.id == newest.id, _duty.c.taken_at.is_(None))
            .values(taken_by=by, taken_at=now)
        )
        return taken.rowcount > 0
    own = {"offered_by": "", "offered_at": now, "taken_by": by, "taken_at": now}
    connection.execute(insert(_duty).values(incident=incident, person=person, **own))
    return False


def handovers(connection: Connection, incident: str) -> tuple[Handover, ...]:
    """Return an incident's handovers, oldest first."""
    return handovers_of_all(connection, [incident]).get(incident, ())


def handovers_of_all(
    connection: Connection, incidents: Sequence[str] | None = None
) -> Mapping[str, tuple[Handover, ...]]:
    """Return the handovers of all incidents (or of these) that have any, oldest first."""
    wanted = [] if incidents is None else [one_of(connection, _duty.c.incident, incidents)]
    found: defaultdict[str, list[Handover]] = defaultdict(list)
    for row in connection.execute(select(_duty).where(*wanted).order_by(_duty.c.id)):
        handover = Handover(
            row.person, row.offered_by, row.offered_at, row.taken_by or "", row.taken_at, row.note
        )
        found[row.incident].append(handover)
    return {incident: tuple(each) for incident, each in found.items()}


_call = tables.call


@dataclass(frozen=True, slots=True)
class Call:
    """One run of the pager command. `state` is unknown until it has ended, then accepted or rejected."""

    nudge: str
    at: datetime
    ended_at: datetime | None
    state: State
    detail: str


def begin_call(connection: Connection, incident: str, nudge: str, now: datetime) -> bool:
    """Record that the command is about to run; return False if it has been started before."""
    made = connection.execute(
        insert_unless_there(connection, _call)
        .values(incident=incident, notice=nudge, at=now, state=State.UNKNOWN, detail="")
        .returning(_call.c.notice)
    )
    return made.one_or_none() is not None


def end_call(
    connection: Connection, incident: str, nudge: str, *, is_accepted: bool, detail: str, now: datetime
) -> None:
    """Record how the command ended."""
    connection.execute(
        update(_call)
        .where(_call.c.incident == incident, _call.c.notice == nudge)
        .values(state=State.ACCEPTED if is_accepted else State.REJECTED, detail=detail, ended_at=now)
    )


def calls(connection: Connection, incident: str) -> tuple[Call, ...]:
    """Return an incident's calls, oldest first."""
    c = _call.c
    columns = (c.notice, c.at, c.ended_at, c.state, c.detail)
    rows = connection.execute(select(*columns).where(c.incident == incident).order_by(c.at, c.notice))
    return tuple(Call(*row) for row in rows)


def failures(connection: Connection, incident: str, nudge: str) -> tuple[str, ...] | None:
    """Return why a nudge reached nobody, or None if it did, may have, or still may."""
    d, c = tables.delivery.c, _call.c
    of_nudge = (d.incident == OWN_STORY + incident, d.notice == nudge, IS_FROZEN)
    sent = select(d.state, d.reason).where(*of_nudge)
    called = select(c.state, c.detail).where(c.incident == incident, c.notice == nudge)
    rows = connection.execute(sent.union_all(called)).all()
    if any(state not in {State.REJECTED, State.SKIPPED} for state, _ in rows):
        return None
    return tuple(dict.fromkeys(why for _, why in rows if why))


def nudges_given(connection: Connection, incident: str, *, with_command: bool = False) -> frozenset[str]:
    """Return the ids of an incident's nudges, whether sent or called.

    With `with_command` only those whose command was started: a run may die after a nudge's messages and
    before its command, and nobody asleep would notice.
    """
    return _nudges_of(connection, [incident], with_command).get(incident, frozenset())


def forget_unsent(connection: Connection) -> None:
    """Forget the messages to incidents' own people that certainly nobody has had, so that they are made anew.

    While a provider is down they wait, and what they say about the time would be wrong when it is back.
    """
    b, d = tables.broadcast.c, tables.delivery.c
    begun = select(d.id).where(d.broadcast == b.id, or_(d.state != State.PENDING, d.doubted == 1))
    own = and_(b.incident >= OWN_STORY, b.incident < chr(ord(OWN_STORY) + 1))
    connection.execute(delete(tables.broadcast).where(own, ~begun.exists()))


def _nudges_of(
    connection: Connection, incidents: Sequence[str], with_command: bool
) -> dict[str, frozenset[str]]:
    own, b = [OWN_STORY + incident for incident in incidents], frozen_broadcast.c
    id_alone = func.substr(b.incident, len(OWN_STORY) + 1)
    by_message = select(id_alone, b.notice).where(one_of(connection, b.incident, own))
    by_call = select(_call.c.incident, _call.c.notice).where(one_of(connection, _call.c.incident, incidents))
    found: defaultdict[str, set[str]] = defaultdict(set)
    for incident, nudge in connection.execute(by_call if with_command else by_message.union(by_call)):
        found[incident].add(nudge)
    return {incident: frozenset(nudges) for incident, nudges in found.items()}


_delivery = tables.delivery


def _is_nudge(notice: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a notice asks somebody to act; handover notices don't."""
    handed = [notice.like("nudge:handover:%"), notice.like("nudge:taken:%")]
    return and_(notice.like("nudge:%"), not_(or_(*handed)))


# Oldest first, without skipped ones. A range, not a pattern, so that the index is used.
_OF_NUDGES = (
    select(
        *(_delivery.c.incident, _delivery.c.notice, _delivery.c.channel, _delivery.c.audience),
        *(_delivery.c.recipient, _delivery.c.state, _delivery.c.changed_at),
    )
    .where(_delivery.c.incident >= OWN_STORY, _delivery.c.incident < chr(ord(OWN_STORY) + 1))
    .where(_is_nudge(_delivery.c.notice), _delivery.c.state != State.SKIPPED, IS_FROZEN)
    .order_by(_delivery.c.id)
)
_OF_CALLS = select(_call).where(_is_nudge(_call.c.notice)).order_by(_call.c.at)


@dataclass(frozen=True, slots=True)
class LastNudge:
    """The last nudge of an incident: to whom, on which channel, and with what outcome.

    `people` are (name, channel, state); `called` is the state of the pager command, "" if it was not run, and
    `detail` what went wrong with it.
    """

    notice: str
    at: datetime
    people: tuple[tuple[str, str, str], ...] = ()
    called: str = ""
    detail: str = ""


def last_nudges(connection: Connection) -> Mapping[str, LastNudge]:
    """Return the last nudge of every incident that had one, by its id."""
    found: dict[str, LastNudge] = {}
    for row in connection.execute(_OF_NUDGES):
        name, at = row.incident.removeprefix(OWN_STORY), row.changed_at
        last = found.get(name)
        if last is None or last.notice != row.notice:
            last = LastNudge(row.notice, at)
        who = (str(row.recipient.get("name") or row.audience), row.channel, row.state)
        found[name] = LastNudge(row.notice, max(at, last.at), (*last.people, who))
    for row in connection.execute(_OF_CALLS):
        name, at = row.incident, row.at
        last = found.get(name)
        if last is not None and last.notice == row.notice:
            found[name] = LastNudge(last.notice, max(at, last.at), last.people, row.state, row.detail)
        elif last is None or last.at < at:
            found[name] = LastNudge(row.notice, at, (), row.state, row.detail)
    return found


TICKS_KEPT = 10_000  # about a week, at one per minute
LOOKED_BACK, MOST_LOOKED_AT = timedelta(days=1), 500

_tick = tables.tick


_OF_DRAFTS = tables.meta.c.name == "drafts"


def read_drafts(connection: Connection) -> dict[str, datetime]:
    """Return since when each draft waits that the last tick saw, by "incidents/pay7.yaml:1"."""
    kept = connection.execute(select(tables.meta.c.value).where(_OF_DRAFTS)).scalar_one_or_none()
    return {name: datetime.fromisoformat(at) for name, at in json.loads(kept or "{}").items()}


def record_tick(connection: Connection, now: datetime, drafts: Mapping[str, datetime]) -> None:
    """Record that a tick ran on this host, and since when the `drafts` wait that it saw."""
    kept = json.dumps(drafts, default=datetime.isoformat)
    connection.execute(delete(tables.meta).where(_OF_DRAFTS))
    connection.execute(insert(tables.meta).values(name="drafts", value=kept))
    host = current_owner().partition("|")[0]
    made = connection.execute(insert(_tick).values(at=now, host=host).returning(_tick.c.id))
    connection.execute(delete(_tick).where(_tick.c.id <= made.scalar_one() - TICKS_KEPT))


def last_tick(connection: Connection) -> datetime | None:
    """Return when a tick last ran over this ledger."""
    return connection.execute(select(func.max(_tick.c.at))).scalar_one_or_none()


def drift(connection: Connection, now: datetime) -> Drift | None:
    """Return how far apart the ticks of the last day were, None if there were too few to tell."""
    rows = connection.execute(
        select(_tick.c.at, _tick.c.host)
        .where(_tick.c.at > now - LOOKED_BACK, _tick.c.at <= now)
        .order_by(_tick.c.id.desc())
        .limit(MOST_LOOKED_AT)
    ).all()
    # They are out of order if a clock was set back.
    ticks = sorted(row.at for row in rows)
    return drift_of(ticks, sorted({row.host for row in rows}))


@dataclass(frozen=True, slots=True)
class TickSnapshot:
    """What a tick needs to know of all incidents, at one moment.

    `released` are the incidents with a release, `open` those of them that have not ended, `unfinished` those
    with waiting deliveries. `judged` are the files found to be over. `nudged` and `handovers` belong to the
    open incidents; `released_at` has the `at` of each released update, `drafts` what `read_drafts` returns.
    """

    released: frozenset[str]
    open: frozenset[str]
    unfinished: frozenset[str]
    judged: Mapping[str, Judged]
    nudged: Mapping[str, frozenset[str]]
    handovers: Mapping[str, tuple[Handover, ...]]
    released_at: Mapping[tuple[str, int], datetime]
    drafts: Mapping[str, datetime]


def tick_snapshot(connection: Connection, *, with_command: bool) -> TickSnapshot:
    """Return the snapshot for a tick; `with_command` as in `nudges_given`."""
    open_ones = open_incidents(connection)
    return TickSnapshot(
        released=released_incidents(connection),
        open=open_ones,
        unfinished=unfinished_incidents(connection),
        judged=read_judged(connection),
        nudged=_nudges_of(connection, sorted(open_ones), with_command),
        handovers=handovers_of_all(connection, sorted(open_ones)),
        released_at=release_times(connection),
        drafts=read_drafts(connection),
    )
