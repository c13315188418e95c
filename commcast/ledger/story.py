"""How far an incident's story is: what was released of it, what was broadcast, and whether it is stopped."""

from __future__ import annotations

from sqlalchemy import Connection, select

from commcast.ledger import schema
from commcast.ledger.releases import read_releases
from commcast.ledger.schema import BroadcastState
from commcast.ledger.stops import stops_in_force
from commcast.model import Channel
from commcast.standing import IncidentStanding

_broadcast = schema.broadcast


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
        stopped_by=stops[0].by if stops else "",
    )
