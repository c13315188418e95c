"""The plan of one incident: every notice that may be owed now, each with why or why not (pure)."""

from __future__ import annotations

from datetime import datetime

from commcast.config import Config
from commcast.model import Incident
from commcast.plan.notices import Due
from commcast.plan.updates import updates_due
from commcast.standing import IncidentStanding


def due(
    incident: Incident, standing: IncidentStanding, config: Config, now: datetime, *, late: bool = False
) -> tuple[Due, ...]:
    """Return a line for each notice that may be owed now. `late` sends an update that is stale, too."""
    return updates_due(incident, standing, config, now, late=late)
