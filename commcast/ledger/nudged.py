"""Who of an incident's own people was nudged last, and how: shown under the incident. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, not_, or_, select

from commcast.ledger import schema
from commcast.ledger.schema import OWN_STORY, State

_delivery, _call = schema.delivery, schema.call


def _is_nudge(notice: ColumnElement[str]) -> ColumnElement[bool]:
    """Return whether somebody was woken by it: that an incident was handed over is told, and wakes nobody."""
    handed = [notice.like("nudge:handover:%"), notice.like("nudge:taken:%")]
    return and_(notice.like("nudge:%"), not_(or_(*handed)))


# Oldest first; what was never to go is nobody's nudge. A range, not a pattern, so that the index serves it.
_OF_NUDGES = (
    select(
        _delivery.c.incident,
        _delivery.c.notice,
        _delivery.c.channel,
        _delivery.c.audience,
        _delivery.c.recipient,
        _delivery.c.state,
        _delivery.c.changed_at,
    )
    .where(_delivery.c.incident >= OWN_STORY, _delivery.c.incident < chr(ord(OWN_STORY) + 1))
    .where(_is_nudge(_delivery.c.notice), _delivery.c.state != State.SKIPPED)
    .order_by(_delivery.c.id)
)
_OF_CALLS = select(_call).where(_is_nudge(_call.c.notice)).order_by(_call.c.at)


@dataclass(frozen=True, slots=True)
class Nudged:
    """The last nudge of an incident: who was to hear of it over which channel, and what became of that.

    `people` are (name, channel, state); `called` is the state of the command that wakes somebody, "" where it
    was not run, and `detail` what went wrong with it.
    """

    notice: str
    at: datetime
    people: tuple[tuple[str, str, str], ...] = ()
    called: str = ""
    detail: str = ""


def last_nudges(connection: Connection) -> Mapping[str, Nudged]:
    """Return the last nudge of every incident that had one, by the incident's id."""
    found: dict[str, Nudged] = {}
    for row in connection.execute(_OF_NUDGES):
        name, at = row.incident.removeprefix(OWN_STORY), datetime.fromisoformat(row.changed_at)
        last = found.get(name)
        if last is None or last.notice != row.notice:
            last = Nudged(row.notice, at)
        who = (str(row.recipient.get("name") or row.audience), row.channel, row.state)
        found[name] = Nudged(row.notice, max(at, last.at), (*last.people, who))
    for row in connection.execute(_OF_CALLS):
        name, at = row.incident, datetime.fromisoformat(row.at)
        last = found.get(name)
        if last is not None and last.notice == row.notice:
            found[name] = Nudged(last.notice, max(at, last.at), last.people, row.state, row.detail)
        elif last is None or last.at < at:
            found[name] = Nudged(row.notice, at, (), row.state, row.detail)
    return found
