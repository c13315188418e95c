"""What was said so far about an incident, to an audience, to one reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from commcast.model.incident import Channel, Level, NextWord, Recipient
from commcast.model.release import Release

ERASED = "erased"  # why somebody is suppressed: we may not keep their address

CORRECTING = ", until the correction is ready"  # ends the name of who stopped an incident to correct it


def way_on(incident: str, by: str) -> str:
    """Return what goes on with an incident that `by` stopped: never its wrong words, if it is corrected."""
    if by.endswith(CORRECTING):
        return f"commcast send {incident} (the correction), or commcast discard {incident}"
    return f"commcast resume {incident}"


class Said(NamedTuple):
    """One notice that was sent to one audience on one channel, and what it promised.

    `number` is the update it was about, `at` when its recipients were frozen. `promised` is when readers were
    told to expect more (the earliest time if it differs by zone), None for no promise. `text_promises` are
    all times by which readers who only get texts were promised the next one. `heard` is False while it has
    not reached anybody, so that nobody knows of its promise.
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
    """Something that turned out wrong, as one group of readers got it.

    `composition` is the ledger's number of that group's content, `by` the number of the update that corrects
    it. `said` is what was wrong, as these readers read it, `at` the time on their message (aware).
    `is_timeframe` means that the expected end was wrong.
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
    """What was released and sent about one incident.

    `begun` has (notice, channel) of every broadcast whose recipients are frozen. `told_up_to` is, by channel,
    the number of the last update that was broadcast. `said` is what readers read, or may have read, oldest
    first. `stopped_by` names the person who stopped it, "" for nobody; `correcting` means that it is stopped
    only until a correction is ready. `wrong_words` is what released corrections correct. `merged` are the
    incidents that continue as this one, `merged_on` the channels on which their readers were told.
    `last_tick` is when a tick last used the ledger. `asked` means that a person is sending now, or previewing
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
    """What the ledger knows of one address when one notice is planned.

    `state` is the state of its delivery of this notice, "" if there is none. `told` means that it was, or may
    have been, told anything about the incident on this channel; `is_known`, that the ledger has any earlier
    delivery to it, whatever its outcome. `suppressed` is why it gets no more messages, "" if it does.
    `lately` counts the messages it got on this channel within the last hour, for all incidents, as far as
    that comes near the cap; `held_back` those that the cap held back since its last message. `promised` is
    when the last text to a reader who only gets texts told them to expect the next one. After a correction:
    `told_wrong` is what this address read, or may have read, that was wrong and is not corrected yet; `waits`
    means that a delivery with something wrong is pending; `heard` is the number of the last update it was
    told. `news_waits` means that an update itself is still to be sent to it.
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
    news_waits: bool = False


NOBODY_KNOWS = ReaderHistory()


class Heard(NamedTuple):
    """How far one notice on one channel has reached one audience.

    `number` is the update it is about. `told` counts the readers who were, or may have been, told; `at` is
    when the last of them was, if known. `waits` counts those who are still pending, `held` those whose quiet
    hours have to end first. `promised` is the earliest time by which those who were told expect more.
    """

    notice: str
    number: int
    channel: str
    told: int = 0
    at: datetime | None = None
    waits: int = 0
    held: int = 0
    promised: datetime | None = None


class AudienceProgress(NamedTuple):
    """How far an audience has been told: `notice` is the newest one that reached anybody in it, "" for none.

    `number` is the update that notice is about, `channels` those it went by, `told_at` when. `promised` is
    the time by which the audience still expects more, None if no promise is open.
    `waits` counts the readers who are still pending.
    """

    audience: str
    notice: str = ""
    number: int = 0
    channels: tuple[str, ...] = ()
    told_at: datetime | None = None
    promised: datetime | None = None
    waits: int = 0

    def is_late(self, now: datetime) -> bool:
        """Return whether its promise has passed."""
        return self.promised is not None and self.promised < now


class NewestRelease(NamedTuple):
    """The last released update: its number, whether it is an end, and whether another ledger told it."""

    number: int
    is_end: bool
    elsewhere: bool = False


def audience_progress(audience: str, heard: Sequence[Heard], newest: NewestRelease) -> AudienceProgress:
    """Return how far an audience has been told. `heard` is in the order in which notices were sent.

    Any newer notice to the audience keeps a promise. What a text promised to readers who only get texts is
    kept by a newer text; a text that goes only to them (its notice names the audience) keeps no other
    promise, and counts as the last thing the audience was told only if nobody in it gets email. Readers for
    whom the newest notice is still pending have the promise of the one before: that one is open as well. The
    end settles a promise once it is told, and at once if nobody in the audience is left to be told.
    """
    waits = sum(each.waits for each in heard)
    reached = [each for each in heard if each.told]
    by_mail = any(each.channel == Channel.EMAIL for each in reached)
    # A notice that names the audience goes only to those of it to whom a text promised it.
    told = [each for each in reached if not (by_mail and "/" in each.notice)]
    texts = [each for each in reached if each.channel == Channel.SMS]
    if not told:
        return AudienceProgress(audience, waits=waits)
    last = [each for each in told if each.notice == told[-1].notice]
    before = [each for each in told if each.notice != told[-1].notice]
    standing: list[Heard] = []
    if _stands(told[-1].number, heard, newest):
        standing += last
    if before and any(each.waits for each in last):
        standing += [each for each in before if each.notice == before[-1].notice]
    standing = [each for each in standing if each.channel != Channel.SMS]
    if texts and _stands(texts[-1].number, heard, newest):
        standing += texts[-2:] if texts[-1].waits else texts[-1:]
    return AudienceProgress(
        audience=audience,
        notice=told[-1].notice,
        number=told[-1].number,
        channels=tuple(each.channel for each in last),
        told_at=max((each.at for each in last if each.at), default=None),
        promised=min((each.promised for each in standing if each.promised), default=None),
        waits=waits,
    )


def _stands(told: int, heard: Sequence[Heard], newest: NewestRelease) -> bool:
    """Return whether a promise made with update `told` is still open."""
    if told == newest.number:
        return not newest.is_end
    if newest.elsewhere:
        return False
    return not newest.is_end or any(each.waits or each.held for each in heard)


class Listener(NamedTuple):
    """What readers of one audience have in common if they read the same words.

    `next_word` is how they will hear more, `held_back` how many messages a cap kept from them, `broken` the
    promise of their last text if it was not kept. `told_wrong` is what they read that was wrong; `is_new`
    means that they are told of this for the first time, though others were told before. `knows_zone` says
    whether somebody wrote their zone.
    """

    zone: str
    locale: str
    next_word: NextWord = NextWord.UPDATE
    held_back: int = 0
    broken: datetime | None = None
    told_wrong: tuple[WrongWords, ...] = ()
    is_new: bool = False
    knows_zone: bool = True


class FormerReader(NamedTuple):
    """Somebody who was told of this incident: enough to tell them how it ends, whatever the lists say now."""

    key: str
    address: str
    audience: str
    zone: str
    locale: str
    values: Mapping[str, Any]

    def as_recipient(self, channel: Channel) -> Recipient:
        """Return this reader as a recipient of today's lists, so that one rule decides for all."""
        level = level_of(self.values)
        if channel is Channel.EMAIL:
            return Recipient(0, email=self.address, email_key=self.key, timezone=self.zone, level=level)
        return Recipient(0, phone=self.key, timezone=self.zone, level=level)


def level_of(values: Mapping[str, Any]) -> Level:
    """Return how much a reader wants to hear, from their stored values; older versions stored none."""
    return Level(values.get("level", Level.ALL))
