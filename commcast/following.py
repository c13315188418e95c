"""Who of those who are to be told follows another open incident already: counted beside the survey."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from commcast.ledger.following import OtherStory, other_stories, told_among
from commcast.ledger.store import Ledger
from commcast.plan.notices import Notice

LOOKED_AT = 50_000  # readers of one channel: a preview of a million does not wait for a count


@dataclass(frozen=True, slots=True)
class Follows:
    """So many readers of one channel were told of another incident, and what that was.

    `at_least` says that not all readers were looked at.
    """

    channel: str
    readers: int
    at_least: bool
    incident: str
    title: str
    status: str
    at: datetime
    promised: datetime | None


@dataclass
class Following:
    """Counts while the lists are read; where no other incident is open nobody is looked up."""

    ledger: Ledger
    incident: str
    _stories: tuple[OtherStory, ...] | None = None
    _told: Counter[int] = field(default_factory=Counter)
    _looked_at: Counter[str] = field(default_factory=Counter)
    _cut: set[str] = field(default_factory=set)

    def look(self, notice: Notice, keys: Sequence[str]) -> None:
        """Look up some readers of a notice."""
        if self._stories is None:
            with self.ledger.read() as connection:
                self._stories = other_stories(connection, self.incident)
        stories = [story for story in self._stories if story.channel == notice.channel]
        if not stories or not keys:
            return
        if self._looked_at[notice.channel] >= LOOKED_AT:
            self._cut.add(notice.channel)
            return
        self._looked_at[notice.channel] += len(keys)
        with self.ledger.read() as connection:
            for story in stories:
                self._told[story.broadcast] += told_among(connection, story, keys)

    def found(self) -> tuple[Follows, ...]:
        """Return what was counted."""
        return tuple(
            Follows(
                story.channel,
                self._told[story.broadcast],
                story.channel in self._cut,
                story.incident,
                story.title,
                story.status,
                story.at,
                story.promised,
            )
            for story in self._stories or ()
            if self._told[story.broadcast]
        )
