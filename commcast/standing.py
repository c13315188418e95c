"""What is known of an incident and of one reader now: the ledger tells it, the plan decides by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from commcast.model import Channel
from commcast.release import Release

ERASED = "erased"  # why somebody is suppressed whose address we may not keep


@dataclass(frozen=True, slots=True)
class Said:
    """What one audience was told on one channel: a notice, the update it spoke of, and the promise it made.

    `at` is when it was frozen, `promised` when readers were told to expect more (None: nothing). Where
    readers of several zones were promised different times it is the earliest.
    """

    notice: str
    number: int
    channel: Channel
    audience: str
    at: datetime
    promised: datetime | None


@dataclass(frozen=True, slots=True)
class IncidentStanding:
    """What was released and said of an incident.

    `begun` holds (notice, channel) of every broadcast whose list is frozen. `told_up_to` is, by channel, the
    number of the last update that was broadcast. `said` is what was, or may have been, heard, oldest first.
    `stopped_by` names who stopped it, "" for nobody.
    """

    releases: Mapping[int, Release] = field(default_factory=dict)
    begun: frozenset[tuple[str, Channel]] = frozenset()
    told_up_to: Mapping[Channel, int] = field(default_factory=dict)
    said: tuple[Said, ...] = ()
    stopped_by: str = ""


class PersonStanding(NamedTuple):
    """What is known of one address for one notice.

    `state` is that of its delivery of this notice, "" where there is none. `told` says whether it was, or may
    have been, told anything of the incident on this channel. `suppressed` says why it hears nothing more.
    """

    state: str = ""
    told: bool = False
    suppressed: str = ""


NOBODY_KNOWS = PersonStanding()
