"""What is known of an incident, an audience and a reader now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from commcast.model.incident import Channel, Level, NextWord, Recipient
from commcast.model.release import Release

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


class WrongWords(NamedTuple):
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
class History:
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
    wrong_words: tuple[WrongWords, ...] = ()
    merged: tuple[str, ...] = ()
    merged_on: frozenset[Channel] = frozenset()


class ReaderHistory(NamedTuple):
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
    told_wrong: tuple[WrongWords, ...] = ()
    waits: bool = False
    heard: int = 0


NOBODY_KNOWS = ReaderHistory()


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
class AudienceProgress:
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


def audience_progress(audience: str, heard: Sequence[Heard], newest: NewestRelease) -> AudienceProgress:
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
        return AudienceProgress(audience, waits=waits)
    last = [each for each in told if each.notice == told[-1].notice]
    before = [each for each in told if each.notice != told[-1].notice]
    plan: list[Heard] = []
    if _stands(told[-1].number, heard, newest):
        plan += last
    if before and any(each.waits for each in last):
        plan += [each for each in before if each.notice == before[-1].notice]
    plan = [each for each in plan if each.channel != Channel.SMS]
    if texts and _stands(texts[-1].number, heard, newest):
        plan += texts[-2:] if texts[-1].waits else texts[-1:]
    return AudienceProgress(
        audience=audience,
        notice=told[-1].notice,
        number=told[-1].number,
        channels=tuple(each.channel for each in last),
        told_at=max((each.at for each in last if each.at), default=None),
        promised=min((each.promised for each in plan if each.promised), default=None),
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


class Listener(NamedTuple):
    """What makes readers of one audience read the same words.

    They hear more as `next_word` says; a cap `held_back` so many messages to them; the promise of the last
    text to them was `broken`. They `misheard` what was wrong in words of ours; `is_new` says that they hear
    of this for the first time, though others were told before.
    """

    zone: str
    locale: str
    next_word: NextWord = NextWord.UPDATE
    held_back: int = 0
    broken: datetime | None = None
    told_wrong: tuple[WrongWords, ...] = ()
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class FormerReader:
    """Somebody who was told of this incident: enough to tell them how it ends, whatever the lists say now."""

    key: str
    address: str
    audience: str
    zone: str
    locale: str
    values: Mapping[str, Any]

    def as_recipient(self, channel: Channel) -> Recipient:
        """Return this reader as one of today, so that one rule decides for all."""
        level = level_of(self.values)
        if channel is Channel.EMAIL:
            return Recipient(0, email=self.address, email_key=self.key, timezone=self.zone, level=level)
        return Recipient(0, phone=self.key, timezone=self.zone, level=level)


def level_of(values: Mapping[str, Any]) -> Level:
    """Return how much a reader wants to hear, by their values; those of older versions do not tell."""
    return Level(values.get("level", Level.ALL))
