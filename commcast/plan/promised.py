"""What each audience was promised last, and whether that promise has passed unkept (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from commcast.model import Channel
from commcast.plan.kinds import NoticeKind, kind_of
from commcast.standing import IncidentStanding, Said


def last_said(standing: IncidentStanding, channel: Channel) -> dict[str, Said]:
    """Return, by audience, what it was told last on a channel."""
    return {said.audience: said for said in standing.said if said.channel is channel}


def broken_promises(
    standing: IncidentStanding, channel: Channel, audiences: Iterable[str], now: datetime
) -> Mapping[str, datetime]:
    """Return, by audience, the promise that had passed by `now` without a word; none where all were kept."""
    last = last_said(standing, channel)
    return {
        name: promised
        for name in audiences
        if name in last and (promised := last[name].promised) is not None and promised < now
    }


def holds_in_a_row(standing: IncidentStanding, channel: Channel, audience: str) -> int:
    """Return how many holding statements an audience got since a person spoke last."""
    count = 0
    for said in standing.said:
        if said.channel is channel and said.audience == audience:
            count = count + 1 if kind_of(said.notice) is NoticeKind.HOLDING else 0
    return count
