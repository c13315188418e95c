"""The plan of one incident: every notice that may be owed now, each with why or why not (pure)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from commcast.config import Config
from commcast.model import Channel, Incident
from commcast.plan.follow_ups import follow_ups_due
from commcast.plan.holding import holds_due
from commcast.plan.lead import others_wait
from commcast.plan.notices import Due
from commcast.plan.reminders import reminders_due
from commcast.plan.texts import texts_due
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
    unaided: bool = False,
) -> tuple[Due, ...]:
    """Return a line for each notice that may be owed now. `late` sends an update that is stale, too.

    Holding statements go `early` before their promise, by default as long as the configuration says. Where a
    person's words are owed, nothing is said by itself. `unaided` leaves out all that needs files: what is
    left is said from the ledger alone.
    """
    before = config.tick.hold_before if early is None else early
    lines = () if unaided else updates_due(incident, standing, config, now, late=late)
    owed = {line.notice.channel for line in lines if line.owed}
    if not owed and not unaided:
        lines = (*lines, *reminders_due(incident, standing, config, now))
    if Channel.EMAIL not in owed:
        lines = (*lines, *holds_due(incident, standing, config, now, early=before))
    if Channel.SMS not in owed:
        lines = (*lines, *texts_due(incident, standing, config, now, early=before))
    if not unaided:
        lines = (*lines, *follow_ups_due(incident, standing, config, now))
    return tuple(
        replace(line, notice=replace(line.notice, not_before=waits))
        if line.owed and (waits := others_wait(line.notice, incident, standing, config, now))
        else line
        for line in lines
    )
