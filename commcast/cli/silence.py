"""What a person is told of the silence after these words: what goes out by itself, and who is woken."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from commcast.cli.present import When
    from commcast.config import Config
    from commcast.desk import Desk, Owed
    from commcast.duty import OnDuty
    from commcast.ledger.store import Ledger
    from commcast.survey import Survey

_MOST_NAMED = 3  # people; commcast doctor names all


def silence_line(desk: Desk, owed: Owed, survey: Survey, when: When, ledger: Ledger | None) -> str:
    """Return what happens if nobody writes before the promise of these words: what is sent, who is woken.

    The ledger knows who has taken the incident over, and how late ticks are.
    """
    from commcast.desk import hold_before
    from commcast.plan.holding import hold_at, says_hold

    update, config = owed.incident.latest, desk.config
    promised = _promised(survey)
    holding = {name: by for name, by in promised.items() if says_hold(config, update, name, by)}
    if not promised:
        return "Nobody here is promised a time."
    if holding:
        early = hold_before(desk, ledger) if ledger is not None else config.tick.hold_before
        first = min(hold_at(desk.now, by, early) for by in holding.values())
        others = [name for name in promised if name not in holding]
        said = f"{_listed(holding)} get{'s' * (len(holding) == 1)} a holding statement from {when(first)} on"
        said += f", {_listed(others)} nothing" if others else ""
    else:
        said = "nothing goes out by itself ([silence] in commcast.toml)"
    nudge = _nudge_sentence(desk, owed, _on_duty(owed, ledger), min(promised.values()), when)
    return f"If nobody writes until then, {said}. {nudge}"


def _on_duty(owed: Owed, ledger: Ledger | None) -> OnDuty:
    from commcast.duty import OnDuty, on_duty_for

    if ledger is None:
        return OnDuty(owed.incident.latest.owner, owed.incident.latest.backup)
    from commcast.ledger.duty import handovers

    with ledger.read() as connection:
        return on_duty_for(owed.incident, handovers(connection, owed.incident.id))


def _promised(survey: Survey) -> dict[str, datetime]:
    """Return, by audience, the promise that these mails make."""
    return {
        name: by
        for each in survey.notices
        if each.notice.channel == "email"
        for name in each.notice.audiences
        if (by := each.notice.next_update_by.get(name)) is not None
    }


def _nudge_sentence(desk: Desk, owed: Owed, on_duty: OnDuty, promised: datetime, when: When) -> str:
    from commcast.people import reach
    from commcast.plan.nudging import first_nudge

    latest, config = owed.incident.latest, desk.config
    at = when(first_nudge(latest, desk.now, promised))
    keys = [key for key in (on_duty.owner, on_duty.backup) if key in config.people][:1] or list(config.people)
    reachable = [
        found.name
        for found in (reach(key, config, os.environ) for key in keys if key)
        if found.email or found.phone
    ]
    if config.nudge and config.nudge.command:
        reachable.append(f"the command {config.nudge.command[0]}")
    if not reachable and keys:
        return f"Nobody can be nudged: {_without_address([key for key in keys if key], config)}."
    if not reachable:
        return f"Nobody can be nudged: write [people] in commcast.toml, and owner in {owed.incident.path}."
    return f"{_listed(reachable)} {'is' if len(reachable) == 1 else 'are'} nudged at {at}."


def _without_address(keys: Sequence[str], config: Config) -> str:
    """Return that none of these people can be reached, and what helps, as doctor says it."""
    from commcast.people import unreachable

    # Whose address is not written at all is told only what to write.
    faults = [
        fault.removeprefix(f"{key} has no address; ")
        for key in keys[:_MOST_NAMED]
        for fault in unreachable(key, config, os.environ)
    ]
    has = "has" if len(keys) == 1 else "have"
    return f"{_listed(keys)} {has} no address that can be used ({'; '.join(faults)})"


def _listed(names: Iterable[str]) -> str:
    *most, last = list(names)
    return f"{', '.join(most)} and {last}" if most else last
