"""How far an incident's story is: what was released of it, what was broadcast, and whether it is stopped."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, and_, case, func, select

from commcast.ledger import schema
from commcast.ledger.history import is_text_promise
from commcast.ledger.releases import read_releases
from commcast.ledger.schema import MAYBE_TOLD, WAITING, BroadcastState, unstamp
from commcast.ledger.stops import stops_in_force
from commcast.ledger.ticks import last_tick
from commcast.model import Channel
from commcast.standing import IncidentStanding, Said

_broadcast, _composition, _delivery = schema.broadcast, schema.composition, schema.delivery


def incident_standing(connection: Connection, incident: str) -> IncidentStanding:
    """Return what was released and said of an incident, and whether it is stopped."""
    frozen = connection.execute(
        select(_broadcast.c.notice, _broadcast.c.channel, _broadcast.c.number).where(
            _broadcast.c.incident == incident, _broadcast.c.state == BroadcastState.FROZEN
        )
    ).all()
    told_up_to: dict[Channel, int] = {}
    for row in frozen:
        channel = Channel(row.channel)
        told_up_to[channel] = max(row.number, told_up_to.get(channel, 0))
    stops = stops_in_force(connection, incident)
    return IncidentStanding(
        releases=read_releases(connection, incident),
        begun=frozenset((row.notice, Channel(row.channel)) for row in frozen),
        told_up_to=told_up_to,
        said=what_was_said(connection, incident),
        stopped_by=stops[0].by if stops else "",
        last_tick=last_tick(connection),
        correcting=bool(stops) and all(stop.is_for_correction for stop in stops),
    )


def what_was_said(connection: Connection, incident: str) -> tuple[Said, ...]:
    """Return what each audience was, or may yet be, told on each channel, oldest first.

    Words that reached nobody, and wait for nobody, promise nothing.
    """
    of_these = select(_delivery.c.id).where(_delivery.c.composition == _composition.c.id)
    reached = of_these.where(_delivery.c.state.in_((*MAYBE_TOLD, *WAITING)))
    told = of_these.where(_delivery.c.state.in_(MAYBE_TOLD))
    by_text = and_(_broadcast.c.channel == Channel.SMS, is_text_promise())
    rows = connection.execute(
        select(
            _broadcast.c.notice,
            _broadcast.c.number,
            _broadcast.c.channel,
            _composition.c.audience,
            _broadcast.c.created_at,
            func.min(_composition.c.next_update_by),
            # No comma stands in a time of the ledger.
            func.group_concat(case((by_text, _composition.c.next_update_by)).distinct()),
            func.max(case((told.exists(), 1), else_=0)),
        )
        .join(_composition, _composition.c.broadcast == _broadcast.c.id)
        .where(
            _broadcast.c.incident == incident,
            _broadcast.c.state == BroadcastState.FROZEN,
            reached.exists(),
        )
        .group_by(_broadcast.c.id, _composition.c.audience)
        .order_by(_broadcast.c.id, _composition.c.audience)
    )
    return tuple(
        Said(
            row.notice,
            row.number,
            Channel(row.channel),
            row.audience,
            datetime.fromisoformat(row.created_at),
            unstamp(row[5]),
            _text_promises(row[6]),
            bool(row[7]),
        )
        for row in rows
    )


def _text_promises(listed: str | None) -> tuple[datetime, ...]:
    return tuple(datetime.fromisoformat(at) for at in sorted((listed or "").split(",")) if at)
