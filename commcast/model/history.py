"""What was said so far about an incident, to an audience, to one reader."""

from __future__ import annotations

from collections.abc import Mapping
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
    not reached anybody, so that nobody knows of its promise. Some readers are still pending if it `waits`;
    the quiet hours of some have to end first if it is `held`.
    """

    notice: str
    number: int
    channel: Channel
    audience: str
    at: datetime
    promised: datetime | None
    text_promises: tuple[datetime, ...] = ()
    heard: bool = True
    waits: bool = False
    held: bool = False


class WrongWords(NamedTuple):
    """Something that turned out wrong, as one group of readers got it.

    `composition` is the ledger's number of that group's content, `by` the number of the update that corrects
    it. `said` is what was wrong, as these readers read it, `at` the time on their message (aware).
    `is_timeframe` means that the expected end was wrong, `is_end` that it was the time of the end.
    """

    composition: int
    channel: Channel
    audience: str
    by: int
    said: str
    at: datetime
    is_timeframe: bool = False
    is_end: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """What was released and sent about one incident.

    `begun` has (notice, channel) of every broadcast whose recipients are frozen. `told_up_to` is, by channel,
    the number of the last update that was broadcast. `said` is what readers read, or may still read, oldest
    first; `unsaid` is what nobody has read: refused, given up, or held back for the night. `stopped_by` names
    the person who stopped it, "" for nobody; `correcting` means that it is stopped only until a correction is
    ready. `wrong_words` is what released corrections correct. `merged` are the incidents that continue as
    this one, `merged_on` the channels on which their readers were told. `last_tick` is when a tick last used
    the ledger. `asked` means that a person is sending now, or previewing what they would send.
    """

    releases: Mapping[int, Release] = field(default_factory=dict)
    begun: frozenset[tuple[str, Channel]] = frozenset()
    told_up_to: Mapping[Channel, int] = field(default_factory=dict)
    said: tuple[Said, ...] = ()
    unsaid: tuple[Said, ...] = ()
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


class Listener(NamedTuple):
    """What readers of one audience have in common if they read the same words.

    `next_word` is how they will hear more, `held_back` how many messages a cap kept from them, `broken` the
    promise of their last text if it was not kept. `told_wrong` is what they read that was wrong; `is_new`
    means that they are told of this for the first time, though others were told before.
    """

    zone: str
    locale: str
    next_word: NextWord = NextWord.UPDATE
    held_back: int = 0
    broken: datetime | None = None
    told_wrong: tuple[WrongWords, ...] = ()
    is_new: bool = False


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
