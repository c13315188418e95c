"""The story of an incident, as a report reads it: plain values, no database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from textwrap import shorten
from typing import NamedTuple

_PARAGRAPH = re.compile(r"\n[ \t]*\n|\n(?=[-*] )")
# Sentences end with one of these; a greeting ends with a comma, and a heading with none.
_STOPS, _QUOTES = ".!?…。؟", "\"'”’»)"
_AFTER_A_SENTENCE = re.compile(rf"(?<=[{_STOPS}])\s+|(?<=[{_STOPS}][{_QUOTES}])\s+")
_LEAD_FROM, _LEAD_TO = 50, 240  # characters: "We told you something wrong." alone says too little


class Shape(StrEnum):
    """What a message was for its readers."""

    UPDATE = "update"
    HOLDING = "holding statement"
    CORRECTION = "correction"
    REMINDER = "reminder"
    FOLLOW_UP = "follow-up"
    END = "end"


@dataclass(frozen=True, slots=True)
class StoryUpdate:
    """One released update: its own time (`at`), and when somebody released it.

    `earliest` and `latest` are its estimate of the end, or the planned end; None if unknown. `ended` is when
    it says that the incident was over. `elsewhere` means that it was sent before this ledger began.
    """

    number: int
    at: datetime
    released_at: datetime
    status: str
    severity: int
    is_end: bool
    earliest: datetime | None = None
    latest: datetime | None = None
    ended: datetime | None = None
    corrects: tuple[int, ...] = ()
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Telling:
    """One notice to one audience on one channel.

    `first_at` and `last_at` are when the provider accepted it for the first and the last reader, None if for
    nobody. `outcomes` counts its deliveries: accepted (including delivered, bounced and failed), delivered,
    bounced, failed, rejected, unknown, waiting, held, "skipped: …". `subject` and `text` are what most of its
    readers read, without what is one reader's own; "" if they cannot be read any more. `next_update_by` is
    the time by which they promise another message.
    """

    notice: str
    shape: Shape
    number: int
    channel: str
    audience: str
    frozen_at: datetime
    first_at: datetime | None
    last_at: datetime | None
    outcomes: Mapping[str, int]
    providers: tuple[str, ...] = ()
    subject: str = ""
    text: str = ""
    next_update_by: datetime | None = None

    @property
    def lead(self) -> str:
        """How its text begins: sentences of 50 characters or more together, without greeting and headings."""
        found: list[str] = []
        for paragraph in _PARAGRAPH.split(self.text):
            for sentence in _AFTER_A_SENTENCE.split(" ".join(paragraph.lstrip("-*> ").split())):
                if sentence.rstrip(_QUOTES).endswith(tuple(_STOPS)):
                    found.append(sentence)
                if sum(map(len, found)) >= _LEAD_FROM:
                    return shorten(" ".join(found), _LEAD_TO, placeholder=" …")
        return " ".join(found)

    @property
    def is_for_some(self) -> bool:
        """Whether it was only for readers who had been promised a text."""
        return "/" in self.notice

    @property
    def statement(self) -> str:
        """Its notice id, without the audience in the id of a promised text."""
        statement, to_some, _ = self.notice.partition("/")
        return statement + to_some

    @property
    def reached(self) -> int:
        """How many readers a provider accepted it for."""
        return self.outcomes.get("accepted", 0)


class Pledge(NamedTuple):
    """The next message that one message promised to one audience by a time.

    `first_at` and `last_at` are when the first and the last of its readers had their next message, None if
    nobody had one. `readers` were promised it; `gone` of them opted out or were refused for good before it
    came; `in_time` of them had a later message accepted by `promised`.
    """

    notice: str
    audience: str
    made_at: datetime
    promised: datetime
    first_at: datetime | None
    last_at: datetime | None
    readers: int
    gone: int
    in_time: int


@dataclass(frozen=True, slots=True)
class NightTexts:
    """How many texts an audience got within one minute, in the readers' own time zone."""

    audience: str
    local: datetime
    count: int


@dataclass(frozen=True, slots=True)
class StoryNudge:
    """One nudge to our own people by email, sms or command: to how many, and its outcome."""

    notice: str
    at: datetime
    way: str
    count: int
    outcome: str


@dataclass(frozen=True, slots=True)
class Texts:
    """How many texts were sent, and their segments; `exact` is False if that is an estimate."""

    count: int = 0
    segments: int = 0
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that a report is computed from. `now` is when the report is made.

    `started` is when an incident began; None if unknown, and for planned work, which is announced long before
    it begins. `feedback` is (yes, no).
    """

    incident: str
    title: str
    kind: str
    now: datetime
    started: datetime | None
    stages: tuple[StoryUpdate, ...]
    tellings: tuple[Telling, ...] = ()
    pledges: tuple[Pledge, ...] = ()
    nights: tuple[NightTexts, ...] = ()
    nudges: tuple[StoryNudge, ...] = ()
    feedback: tuple[int, int] = (0, 0)
    texts: Texts = field(default_factory=Texts)
    postmortem: str = ""

    @property
    def first_release(self) -> datetime:
        """When an update was first released here or, if none was, elsewhere."""
        ours = [stage.released_at for stage in self.stages if not stage.elsewhere]
        return min(ours or [stage.released_at for stage in self.stages])

    @property
    def is_planned(self) -> bool:
        return self.kind != "incident"

    @property
    def was_expected(self) -> bool:
        """Whether it was first announced as expected."""
        return self.stages[0].status == "expected"

    @property
    def began_at(self) -> datetime | None:
        """When planned work or an expected incident began; None before that and for other incidents."""
        if self.is_planned:
            return next((stage.at for stage in self.stages if stage.status == "in_progress"), None)
        begun = (stage.at for stage in self.stages if stage.status != "expected" and not stage.is_end)
        known = next(begun, None) if self.was_expected else None
        return known and (self.started or known)

    @property
    def is_over(self) -> bool:
        return self.stages[-1].is_end
