"""Calls of the command that wakes somebody: begun on disk before it runs, so that it runs once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from commcast.ledger import schema
from commcast.ledger.schema import State, insert_unless_there, stamp, unstamp

_call = schema.call


@dataclass(frozen=True, slots=True)
class Call:
    """One run of the command. `state` is accepted, rejected, or unknown while nothing more is known."""

    nudge: str
    at: datetime
    ended_at: datetime | None
    state: State
    detail: str


def begin_call(connection: Connection, incident: str, nudge: str, now: datetime) -> bool:
    """Record that the command is about to run; False where somebody has begun it before."""
    made = connection.execute(
        insert_unless_there(connection, _call)
        .values(incident=incident, notice=nudge, at=stamp(now), state=State.UNKNOWN, detail="")
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
        .values(state=State.ACCEPTED if is_accepted else State.REJECTED, detail=detail, ended_at=stamp(now))
    )


def calls(connection: Connection, incident: str) -> tuple[Call, ...]:
    """Return an incident's calls, oldest first."""
    rows = connection.execute(
        select(_call).where(_call.c.incident == incident).order_by(_call.c.at, _call.c.notice)
    )
    return tuple(
        Call(
            row.notice,
            datetime.fromisoformat(row.at),
            unstamp(row.ended_at),
            State(row.state),
            row.detail,
        )
        for row in rows
    )


def failures(connection: Connection, incident: str, nudge: str) -> tuple[str, ...] | None:
    """Return why a nudge reached nobody by any way, None where it did, may have, or may yet."""
    sent = select(schema.delivery.c.state, schema.delivery.c.reason).where(
        schema.delivery.c.incident == schema.OWN_STORY + incident, schema.delivery.c.notice == nudge
    )
    called = select(_call.c.state, _call.c.detail).where(
        _call.c.incident == incident, _call.c.notice == nudge
    )
    rows = connection.execute(sent.union_all(called)).all()
    if any(state not in {State.REJECTED, State.SKIPPED} for state, _ in rows):
        return None
    return tuple(dict.fromkeys(why for _, why in rows if why))


def nudges_given(connection: Connection, incident: str, *, with_command: bool = False) -> frozenset[str]:
    """Return the ids of the nudges that were given for an incident, by whatever way.

    `with_command` leaves out those whose command nobody has begun to run: a run that died between a nudge's
    messages and its command has woken nobody who sleeps.
    """
    own = schema.OWN_STORY + incident
    by_message = select(schema.broadcast.c.notice).where(
        schema.broadcast.c.incident == own, schema.broadcast.c.state == schema.BroadcastState.FROZEN
    )
    by_call = select(_call.c.notice).where(_call.c.incident == incident)
    given = by_call if with_command else by_message.union(by_call)
    return frozenset(connection.execute(given).scalars())
