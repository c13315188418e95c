"""What each audience was promised last, and whether that promise has passed unkept (pure)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from commcast.model import Channel
from commcast.plan.kinds import NoticeKind, kind_of, promise_id
from commcast.standing import IncidentStanding, Said


def last_said(standing: IncidentStanding, channel: Channel) -> dict[str, Said]:
    """Return, by audience, what it was told last on a channel."""
    return {said.audience: said for said in standing.said if said.channel is channel}


def broken_promises(
    standing: IncidentStanding, channel: Channel, audiences: Iterable[str], now: datetime
) -> Mapping[str, datetime]:
    """Return, by audience, the promise that had passed by `now` without a word; none where all were kept.

    Words that a run which died, or a provider that is down, left waiting have told nobody anything.
    Readers see minutes: word within the promised minute came in time.
    """
    minute = now.replace(second=0, microsecond=0)
    last = {said.audience: said for said in standing.said if said.channel is channel and said.heard}
    return {
        name: promised
        for name in audiences
        if name in last and (promised := last[name].promised) is not None and promised < minute
    }


def holds_in_a_row(standing: IncidentStanding, channel: Channel, audience: str) -> int:
    """Return how many holding statements an audience got since a person spoke last."""
    count = 0
    for said in standing.said:
        if said.channel is channel and said.audience == audience:
            count = count + 1 if kind_of(said.notice) is NoticeKind.HOLDING else 0
    return count


def name_of_promise(promised: datetime, made: Iterable[Said], said: Collection[Said]) -> str:
    """Return how the promise that `made` made is named; `said` is all that was said of the incident.

    A moment may be promised twice: shortly before it a holding statement goes, and a person who speaks then
    may name the same moment.
    """
    number = max(each.number for each in made)
    first = min(
        (each.number for each in said if promised == each.promised or promised in each.text_promises),
        default=number,
    )
    return promise_id(promised, number if number > first else 0)
