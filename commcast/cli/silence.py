"""What a person is told of the silence after these words: what goes out by itself, and who is woken."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from commcast.cli.present import When
    from commcast.desk import Desk, Owed
    from commcast.survey import Survey


def silence_line(desk: Desk, owed: Owed, survey: Survey, when: When) -> str:
    """Return what happens if nobody writes before the promise of these words: what is sent, who is woken."""
    from commcast.plan.holding import hold_at, says_hold

    update, config = owed.incident.latest, desk.config
    promised = _promised(survey)
    holding = {name: by for name, by in promised.items() if says_hold(config, update, name, by)}
    if not promised:
        return "Nobody here is promised a time."
    if holding:
        first = min(hold_at(desk.now, by, config.tick.hold_before) for by in holding.values())
        others = [name for name in promised if name not in holding]
        said = f"{_listed(holding)} get a holding statement from {when(first)} on"
        said += f", {_listed(others)} nothing" if others else ""
    else:
        said = "nothing goes out by itself ([silence] in commcast.toml)"
    return f"If nobody writes until then, {said}. {_nudge_sentence(desk, owed, min(promised.values()), when)}"


def _promised(survey: Survey) -> dict[str, datetime]:
    """Return, by audience, the promise that these mails make."""
    return {
        name: by
        for each in survey.notices
        if each.notice.channel == "email"
        for name in each.notice.audiences
        if (by := each.notice.next_update_by.get(name)) is not None
    }


def _nudge_sentence(desk: Desk, owed: Owed, promised: datetime, when: When) -> str:
    from commcast.people import reach
    from commcast.plan.nudging import first_nudge

    latest, config = owed.incident.latest, desk.config
    at = when(first_nudge(latest, desk.now, promised))
    keys = [key for key in (latest.owner, latest.backup) if key in config.people][:1] or list(config.people)
    reachable = [
        found.name
        for found in (reach(key, config, os.environ) for key in keys if key)
        if found.email or found.phone
    ]
    if config.nudge and config.nudge.command:
        reachable.append(f"the command {config.nudge.command[0]}")
    if not reachable:
        return f"Nobody can be nudged: write [people] in commcast.toml, and owner in {owed.incident.path}."
    return f"{_listed(reachable)} {'is' if len(reachable) == 1 else 'are'} nudged at {at}."


def _listed(names: Iterable[str]) -> str:
    *most, last = list(names)
    return f"{', '.join(most)} and {last}" if most else last
