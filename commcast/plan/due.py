"""The plan of one incident: every notice that may be owed now, each with why or why not (pure)."""

from __future__ import annotations

from datetime import datetime, timedelta

from commcast.config import Config
from commcast.model import Channel, Incident
from commcast.plan.holding import holds_due
from commcast.plan.notices import Due
from commcast.plan.updates import updates_due
from commcast.standing import IncidentStanding


def due(
    incident: Incident,
    standing: IncidentStanding,
    config: Config,
    now: datetime,
    *,
    late: bool = False,
    early: timedelta | None = None,
) -> tuple[Due, ...]:
    """Return a line for each notice that may be owed now. `late` sends an update that is stale, too.

    Holding statements go `early` before their promise, by default as long as the configuration says. Where a
    person's words are owed, nothing is said by itself.
    """
    updates = updates_due(incident, standing, config, now, late=late)
    if any(line.owed and line.notice.channel is Channel.EMAIL for line in updates):
        return updates
    before = config.tick.hold_before if early is None else early
    return (*updates, *holds_due(incident, standing, config, now, early=before))
