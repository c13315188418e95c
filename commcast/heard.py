"""What each audience has heard of an incident, and what it was promised that still stands (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from commcast.model import Channel


@dataclass(frozen=True, slots=True)
class Heard:
    """One notice over one channel, as far as it reached one audience.

    `told` counts who was, or may have been, told, `at` is when the last of them was, where that is known.
    `waits` counts who waits for it or is being told, `held` those whose quiet hours it waits for.
    `promised` is the earliest time by which those who were told expect more.
    """

    notice: str
    number: int
    channel: str
    told: int = 0
    at: datetime | None = None
    waits: int = 0
    held: int = 0
    promised: datetime | None = None


@dataclass(frozen=True, slots=True)
class AudienceStanding:
    """Where one audience stands: the newest notice that anybody of it was told, "" for none, and when.

    `promised` is what it still waits for, None where nothing was promised or the promise is settled. `waits`
    counts those who are still to be told.
    """

    audience: str
    notice: str = ""
    number: int = 0
    channels: tuple[str, ...] = ()
    told_at: datetime | None = None
    promised: datetime | None = None
    waits: int = 0

    def is_late(self, now: datetime) -> bool:
        """Return whether what was promised to it has passed."""
        return self.promised is not None and self.promised < now


@dataclass(frozen=True, slots=True)
class NewestRelease:
    """What was last released: its number, whether it is an end, and whether others told of it."""

    number: int
    is_end: bool
    elsewhere: bool = False


def standing_of_audience(audience: str, heard: Sequence[Heard], newest: NewestRelease) -> AudienceStanding:
    """Return where an audience stands. `heard` is in the order in which things were said.

    A promise is kept by any newer notice to the audience; what a text promised to readers who only get texts
    is kept by a newer text, and a text that goes only to those (its notice names the audience) keeps no other
    promise, and is what the audience was told last only where nobody of it gets mail. Who still waits for the
    newest one was promised word by the one before: that promise stands, too. The end settles what was
    promised once it is told, and at once where nobody of the audience is left to hear it.
    """
    waits = sum(each.waits for each in heard)
    reached = [each for each in heard if each.told]
    by_mail = any(each.channel == Channel.EMAIL for each in reached)
    told = [each for each in reached if not (by_mail and _is_for_some(each))]
    texts = [each for each in reached if each.channel == Channel.SMS]
    if not told:
        return AudienceStanding(audience, waits=waits)
    last = [each for each in told if each.notice == told[-1].notice]
    before = [each for each in told if each.notice != told[-1].notice]
    owed: list[Heard] = []
    if _stands(told[-1].number, heard, newest):
        owed += last
    if before and any(each.waits for each in last):
        owed += [each for each in before if each.notice == before[-1].notice]
    owed = [each for each in owed if each.channel != Channel.SMS]
    if texts and _stands(texts[-1].number, heard, newest):
        owed += texts[-2:] if texts[-1].waits else texts[-1:]
    return AudienceStanding(
        audience=audience,
        notice=told[-1].notice,
        number=told[-1].number,
        channels=tuple(each.channel for each in last),
        told_at=max((each.at for each in last if each.at), default=None),
        promised=min((each.promised for each in owed if each.promised), default=None),
        waits=waits,
    )


def _is_for_some(heard: Heard) -> bool:
    """Return whether a notice goes only to those of an audience whom a text promised one."""
    return "/" in heard.notice


def _stands(told: int, heard: Sequence[Heard], newest: NewestRelease) -> bool:
    """Return whether what an audience was promised with update `told` is still owed to it."""
    if told == newest.number:
        return not newest.is_end
    if newest.elsewhere:
        return False
    return not newest.is_end or any(each.waits or each.held for each in heard)
