"""Follow-ups: what is still said after the end, the review and the question how it is now (pure).

They go by mail to those who were told the end, and to nobody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from commcast.config import Config
from commcast.model import Channel, Incident, Update
from commcast.plan import reasons
from commcast.plan.kinds import NoticeKind
from commcast.plan.notices import Due, Notice, newest_released, notice_of
from commcast.plan.quiet import next_morning
from commcast.standing import IncidentStanding

REVIEW = f"{NoticeKind.FOLLOW_UP}:review"
CHECK_IN = f"{NoticeKind.FOLLOW_UP}:check-in"

_EARLIEST_ZONE = ZoneInfo("Etc/GMT-14")  # where each day begins first
ASKED_FOR = timedelta(days=3)  # so long after its morning a check-in is no more than a nuisance
REVIEW_IS_NEWS = timedelta(days=90)  # a later one is not sent by mail


def follow_ups_due(
    incident: Incident, standing: IncidentStanding, config: Config, now: datetime
) -> Iterator[Due]:
    """Yield a line for each follow-up that is due, or will be. The review waits for a person's yes."""
    end = newest_released(incident, standing)
    if end is None or not end.is_end:
        return
    review = follow_up_notice(REVIEW, incident, end, standing, config)
    check_in = follow_up_notice(CHECK_IN, incident, end, standing, config)
    for line in (_review(review, incident, end, standing, now), _check_in(check_in, end, config, now)):
        if (
            line is not None
            and line.notice.audiences
            and (line.notice.id, Channel.EMAIL) not in standing.begun
        ):
            yield line


def follow_up_notice(
    kind: str, incident: Incident, end: Update, standing: IncidentStanding, config: Config
) -> Notice:
    """Return a follow-up (REVIEW or CHECK_IN) of an incident that ended with `end`."""
    ends = _ends(incident, end)
    wanted = {name for update in ends for name in update.check_in}
    told = _told(ends[0], standing) & config.audiences.keys()
    hearing = told & wanted if kind == CHECK_IN else told
    audiences = sorted(hearing, key=lambda name: (config.audiences[name].rank, name))
    return replace(
        notice_of(incident, end, Channel.EMAIL, standing, config),
        id=kind,
        kind=NoticeKind.FOLLOW_UP,
        events=frozenset(),
        audiences=tuple(audiences),
        only_told=True,
        told_from=ends[0].number,
        asks_after=end.at if kind == CHECK_IN else None,
    )


def _told(end: Update, standing: IncidentStanding) -> set[str]:
    """Return the audiences that were told an end by mail."""
    return {
        said.audience for said in standing.said if said.channel is Channel.EMAIL and said.number >= end.number
    }


def _ends(incident: Incident, end: Update) -> list[Update]:
    """Return the end, and the same end as it stood before it was corrected, oldest first."""
    found = [end]
    while found[0].corrects and found[0].number > 1 and incident.update(found[0].number - 1).is_end:
        found.insert(0, incident.update(found[0].number - 1))
    return found


def _review(
    notice: Notice, incident: Incident, end: Update, standing: IncidentStanding, now: datetime
) -> Due | None:
    if not incident.postmortem or now - end.at > REVIEW_IS_NEWS:
        return None
    if standing.asked:
        return Due(notice, True, reasons.REVIEW_OWED)
    return Due(notice, False, reasons.REVIEW_WAITS.format(incident=incident.id))


def _check_in(notice: Notice, end: Update, config: Config, now: datetime) -> Due | None:
    first = next_morning(end.at, _EARLIEST_ZONE)
    if now < first:
        when = f"{first.astimezone(config.zone):%a %H:%M %Z}"
        return Due(notice, False, reasons.CHECK_IN_LATER.format(time=when), first)
    return Due(notice, True, reasons.CHECK_IN_OWED) if now < first + ASKED_FOR else None
