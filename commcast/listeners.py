"""Readers as a notice sees them: who reads the same words, and who was told before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from commcast.model import Channel, Level, NextWord, Recipient
from commcast.standing import NOBODY_KNOWS, Misstated, PersonStanding


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
    misheard: tuple[Misstated, ...] = ()
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


def nobody_told(_notice: object, keys: Sequence[str]) -> Mapping[str, PersonStanding]:
    """Be who is asked for the standing of readers where there is no ledger."""
    return dict.fromkeys(keys, NOBODY_KNOWS)


def no_former_readers(_notice: object) -> Iterable[FormerReader]:
    """Be who is asked for those who were told before where there is no ledger."""
    return ()
