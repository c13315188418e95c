"""When an audience hears before all others, and when the others hear then (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from commcast.config import Config
from commcast.model import Incident
from commcast.plan.kinds import NoticeKind
from commcast.plan.notices import Notice, audiences_of
from commcast.standing import IncidentStanding, Said

# Without a tick for so long nobody would send the rest: then everybody hears at once.
TICK_IS_GONE = timedelta(minutes=10)
# The worst ones wait for nobody.
_NO_LEAD = frozenset({1, 2})
# Wrong words are out, or readers wait for the end, or they know since long: nothing is won by their waiting.
_AT_ONCE = frozenset({"correction", "retracted", "resolved", "started"})


def others_wait(
    notice: Notice, incident: Incident, standing: IncidentStanding, config: Config, now: datetime
) -> Mapping[str, datetime]:
    """Return, by audience, when those hear of a notice that another audience hears before; {} for now.

    Nobody waits past the time shortly before a promise made to them, nor past half
    of the time for which the notice's own words are right.
    """
    if not _may_wait(notice, standing, now):
        return {}
    hearing = audiences_of(incident, incident.update(notice.number), config)
    leads = {name: lead for name in hearing if (lead := config.audiences[name].lead)}
    if not leads:
        return {}
    at = now + max(leads.values())
    waits: dict[str, datetime] = {}
    for name in notice.audiences:
        latest = [at, *_bounds(notice, name, standing.said, config, now)]
        if name not in leads and min(latest) > now:
            waits[name] = min(latest)
    return waits


def _may_wait(notice: Notice, standing: IncidentStanding, now: datetime) -> bool:
    if notice.kind is not NoticeKind.UPDATE or notice.severity in _NO_LEAD:
        return False
    if notice.is_end or not _AT_ONCE.isdisjoint(notice.events):
        return False
    if any(each.by == notice.number for each in notice.misstated):
        return False
    return standing.last_tick is not None and now - standing.last_tick < TICK_IS_GONE


def _bounds(
    notice: Notice, audience: str, said: Iterable[Said], config: Config, now: datetime
) -> Iterable[datetime]:
    """Yield what an audience may at the latest wait for."""
    if (own := notice.next_update_by.get(audience)) is not None:
        yield now + (own - now) / 2
    promised = [each.promised for each in said if (each.audience, each.channel) == (audience, notice.channel)]
    if promised and promised[-1] is not None:
        yield promised[-1] - config.tick.hold_before
