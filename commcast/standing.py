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
    readers of several zones were promised different times it is the earliest. `text_promises` are all times
    by which readers who only get texts were promised the next one. `heard` is False while it still waits for
    everybody: nobody knows of what it promises.
    """

    notice: str
    number: int
    channel: Channel
    audience: str
    at: datetime
    promised: datetime | None
    text_promises: tuple[datetime, ...] = ()
    heard: bool = True


class Misstated(NamedTuple):
    """Frozen words that turned out wrong: those of one group of readers, as the ledger knows them by number.

    `by` is the number of the update that corrects them. `said` is what was wrong, as these readers read it,
    `at` the moment that their message bears, aware. `is_timeframe` says that it was the expected end.
    """

    composition: int
    channel: Channel
    audience: str
    by: int
    said: str
    at: datetime
    is_timeframe: bool = False


@dataclass(frozen=True, slots=True)
class IncidentStanding:
    """What was released and said of an incident.

    `begun` holds (notice, channel) of every broadcast whose list is frozen. `told_up_to` is, by channel, the
    number of the last update that was broadcast. `said` is what was, or may have been, heard, oldest first.
    `stopped_by` names who stopped it, "" for nobody; `correcting` says that it is halted only until a
    correction is ready to go. `misstated` is what was said wrongly, by the corrections that were released.
    `merged` are the incidents that go on as this one, `merged_on` the channels their readers were told on.
    `last_tick` is when a tick last ran over the ledger. `asked` says that a person is sending, or looks at
    what they would send.
    """

    releases: Mapping[int, Release] = field(default_factory=dict)
    begun: frozenset[tuple[str, Channel]] = frozenset()
    told_up_to: Mapping[Channel, int] = field(default_factory=dict)
    said: tuple[Said, ...] = ()
    stopped_by: str = ""
    last_tick: datetime | None = None
    asked: bool = False
    correcting: bool = False
    misstated: tuple[Misstated, ...] = ()
    merged: tuple[str, ...] = ()
    merged_on: frozenset[Channel] = frozenset()


class PersonStanding(NamedTuple):
    """What is known of one address for one notice.

    `state` is that of its delivery of this notice, "" where there is none. `told` says whether it was, or may
    have been, told anything of the incident on this channel. `suppressed` says why it hears nothing more.
    `lately` counts what it got on this channel within the last hour, of all incidents, as far as that is
    near the cap; `held_back` what a cap held back since it last got anything. `promised` is when the last
    text to somebody who only gets texts told them to expect the next one.
    `is_known` says that the ledger holds an earlier delivery to it, whatever became of that.
    Where something was misstated: `misheard` is what of it this address was, or may have been, told and not
    yet told right; `waits` says that wrong words wait for it; `heard` is the last update that it heard.
    """

    state: str = ""
    told: bool = False
    suppressed: str = ""
    lately: int = 0
    held_back: int = 0
    promised: datetime | None = None
    is_known: bool = False
    misheard: tuple[Misstated, ...] = ()
    waits: bool = False
    heard: int = 0


NOBODY_KNOWS = PersonStanding()
