"""What other open incidents last told their readers, and who of today's are among them. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from commcast.ledger import schema
from commcast.ledger.prepared import one_of
from commcast.ledger.releases import open_incidents
from commcast.ledger.schema import MAYBE_TOLD, BroadcastState, unstamp

_broadcast, _composition, _delivery = schema.broadcast, schema.composition, schema.delivery
_release = schema.release

MOST_STORIES = 5  # the ones that spoke last; more would be no help to who decides


@dataclass(frozen=True, slots=True)
class OtherStory:
    """What another open incident last told on a channel: broadcast, words, and when it promised more."""

    broadcast: int
    incident: str
    title: str
    status: str
    channel: str
    at: datetime
    promised: datetime | None


def other_stories(connection: Connection, incident: str) -> tuple[OtherStory, ...]:
    """Return what the other open incidents last told on each channel, the newest first."""
    others = open_incidents(connection) - {incident}
    if not others:
        return ()
    last = (
        select(func.max(_broadcast.c.id))
        .where(_broadcast.c.incident.in_(others), _broadcast.c.state == BroadcastState.FROZEN)
        .group_by(_broadcast.c.incident, _broadcast.c.channel)
    )
    promised = (
        select(func.min(_composition.c.next_update_by))
        .where(_composition.c.broadcast == _broadcast.c.id)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(
            _broadcast.c.id,
            _broadcast.c.incident,
            _release.c.title,
            _release.c.status,
            _broadcast.c.channel,
            _broadcast.c.created_at,
            promised,
        )
        .join(
            _release,
            (_release.c.incident == _broadcast.c.incident) & (_release.c.number == _broadcast.c.number),
        )
        .where(_broadcast.c.id.in_(last))
        .order_by(_broadcast.c.id.desc())
        .limit(MOST_STORIES)
    )
    return tuple(OtherStory(*row[:5], datetime.fromisoformat(row[5]), unstamp(row[6])) for row in rows)


def told_among(connection: Connection, story: OtherStory, keys: Sequence[str]) -> int:
    """Return how many of `keys` the last words of another incident reached, or may have reached."""
    counted = connection.execute(
        select(func.count())
        .select_from(_broadcast)
        .join(
            _delivery,
            # The key's own columns, so that the database finds them by its index.
            (_delivery.c.incident == _broadcast.c.incident)
            & (_delivery.c.notice == _broadcast.c.notice)
            & (_delivery.c.channel == _broadcast.c.channel),
        )
        .where(
            _broadcast.c.id == story.broadcast,
            one_of(connection, _delivery.c.key, keys),
            _delivery.c.state.in_(MAYBE_TOLD),
        )
    )
    return int(counted.scalar_one())
