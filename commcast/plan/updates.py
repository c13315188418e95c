"""Whether the newest released update is owed on each channel, and why or why not (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from commcast.config import Config
from commcast.model import Channel, Incident, Update
from commcast.plan import reasons
from commcast.plan.corrections import corrects_here
from commcast.plan.notices import Due, Notice, newest_released, notice_of
from commcast.plan.promised import broken_promises
from commcast.release import ELSEWHERE
from commcast.standing import IncidentStanding


def updates_due(
    incident: Incident, standing: IncidentStanding, config: Config, now: datetime, *, late: bool = False
) -> tuple[Due, ...]:
    """Return a line for each channel: the newest released update, owed or not.

    Only the newest counts: words that newer ones have overtaken are never sent as a backlog. An update older
    than its own promise is stale; `late` sends it all the same.
    """
    update = newest_released(incident, standing)
    if update is None:
        return ()
    notices = [
        _as_texted(notice_of(incident, update, channel, standing, config), config) for channel in Channel
    ]
    return tuple(
        Due(owning(notice, standing, now), *_is_owed(notice, update, standing, now, late=late))
        for notice in notices
        if notice.audiences or (notice.merged and notice.channel in standing.merged_on)
    )


def with_held(lines: Iterable[Due], held: Mapping[tuple[str, Channel], tuple[int, int]]) -> tuple[Due, ...]:
    """Return the plan that says of what is frozen how much of it quiet hours hold.

    `held` counts that by notice and channel, and all texts of it.
    """
    return tuple(
        replace(line, reason=reasons.HELD_FOR_THE_NIGHT.format(held=found[0], number=found[1]))
        if line.reason == reasons.ALREADY_SENT and (found := held.get((line.notice.id, line.notice.channel)))
        else line
        for line in lines
    )


def owning(notice: Notice, standing: IncidentStanding, now: datetime) -> Notice:
    """Return the notice with the promises it has to own: those that had passed by `now` without a word.

    Only mails state a time to everybody; a text owns what it promised itself.
    """
    if notice.channel is not Channel.EMAIL:
        return notice
    return replace(notice, broken=broken_promises(standing, notice.channel, notice.audiences, now))


def _is_owed(
    notice: Notice, update: Update, standing: IncidentStanding, now: datetime, *, late: bool
) -> tuple[bool, str]:
    release = standing.releases[notice.number]
    if release.how == ELSEWHERE:
        return False, reasons.UPDATE_TOLD_ELSEWHERE
    if (notice.id, notice.channel) in standing.begun:
        return False, reasons.ALREADY_SENT
    if notice.is_plain and not corrects_here(notice, standing):
        return False, reasons.UPDATE_NOT_TEXTED
    if not late and _is_stale(notice, now):
        return False, reasons.UPDATE_STALE
    new = notice.events | ({"correction"} if notice.misstated else set())
    events = " and ".join(sorted(new)) or "released"
    return True, reasons.UPDATE_OWED.format(number=update.number, events=events)


def _as_texted(notice: Notice, config: Config) -> Notice:
    """Return the notice, marked where nothing in it is worth a text by itself."""
    if notice.channel is not Channel.SMS or config.channels.sms is None:
        return notice
    return replace(notice, is_plain=notice.events.isdisjoint(config.channels.sms.events))


def _is_stale(notice: Notice, now: datetime) -> bool:
    promised = [by for name in notice.audiences if (by := notice.next_update_by[name]) is not None]
    return bool(promised) and now >= max(promised)
