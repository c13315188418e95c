"""The terms of commcast as frozen, checked values: incident, update, recipient and their parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

from commcast.model.text import in_locale, put_title_right

WORST_SEVERITY = 1
MILDEST_SEVERITY = 4
Severity = Annotated[int, Field(ge=WORST_SEVERITY, le=MILDEST_SEVERITY)]

# Ids and audience names become folder names, file names and parts of headers: nothing else may be in them.
ID_PATTERN = r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"


class Channel(StrEnum):
    """How a message reaches a reader."""

    EMAIL = "email"
    SMS = "sms"


class View(StrEnum):
    """What an audience may see: `public` never holds an internal field."""

    PUBLIC = "public"
    INTERNAL = "internal"


class Kind(StrEnum):
    """What an incident file is about."""

    INCIDENT = "incident"
    MAINTENANCE = "maintenance"


class Status(StrEnum):
    """How far an incident or a maintenance has got."""

    EXPECTED = "expected"
    INVESTIGATING = "investigating"
    IDENTIFIED = "identified"
    MONITORING = "monitoring"
    RESOLVED = "resolved"
    REOPENED = "reopened"
    RETRACTED = "retracted"
    MERGED = "merged"
    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    VERIFYING = "verifying"
    COMPLETED = "completed"
    RESCHEDULED = "rescheduled"
    EXTENDED = "extended"
    CANCELLED = "cancelled"


MAINTENANCE_STATUSES = frozenset(
    map(
        Status, ("scheduled", "in_progress", "verifying", "completed", "rescheduled", "extended", "cancelled")
    )
)
INCIDENT_STATUSES = frozenset(Status) - MAINTENANCE_STATUSES
END_STATUSES = frozenset(map(Status, ("resolved", "retracted", "merged", "completed", "cancelled")))


_CLAIMS = (Status.INVESTIGATING, Status.IDENTIFIED, Status.MONITORING)


def goes_back(before: str, after: str) -> bool:
    """Return whether a status takes back what the one before it claimed: a cause, or a fix, was found."""
    return after in _CLAIMS and before in _CLAIMS[_CLAIMS.index(Status(after)) + 1 :]


class Confidence(StrEnum):
    """How reliable the writer thinks a timeframe is."""

    LOW = "low"
    HIGH = "high"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Timeframe(_Frozen):
    """When the writer expects the end. Both times are aware and were anchored to the update that states it.

    unknown: both None. A range ("1h to 2h"): both set. "by 14:00" or "30m": only `latest`.
    """

    earliest: datetime | None = None
    latest: datetime | None = None
    confidence: Confidence = Confidence.LOW

    @property
    def known(self) -> bool:
        return self.latest is not None


class Window(_Frozen):
    """The planned start and end of a maintenance, aware."""

    start: datetime
    end: datetime


class AudienceWords(_Frozen):
    """Other wording for one audience (`for:`) with the same facts. None keeps the update's own."""

    issue: str | None = None
    resolution: str | None = None
    scope: str | None = None
    works: str | None = None
    data: str | None = None
    action: str | None = None


# What an update tells readers in its author's words.
SENTENCES = (
    *("issue", "resolution", "scope", "works", "data", "action", "short", "nothing_new"),
    *("cause", "fixed", "remains", "if_it_persists", "change", "because"),
)
SHORT_OF = frozenset(("issue", "scope", "action"))  # what `short` stands for in texts


class Update(_Frozen):
    """One dated entry of an incident, with what earlier entries said carried forward.

    `number` is its position in the file, from 1; `line` is its line there. `at` is aware; if the file leaves
    it out, it is the time of reading, and `at_written` is False. `owner` may be carried forward as well;
    `owner_named` means that this entry names it itself. `resolution` may be "" at the end, where `fixed` says
    what was done. `next_update` is the writer's own promise, aware; None leaves it to the cadence.
    `next_clock` is how it was written if that was a clock time without a date, else ""; no reader gets it and
    no ledger keeps it. `internal` may reach only audiences whose view is internal. `corrects` are the numbers
    of the updates that said `wrong`, which should have been `right`. `expected_at` is when something expected
    begins, aware; `merged_into` the id of the incident that continues instead; `check_in` the audiences that
    are asked on the next working day whether all is well. `words` are what this entry itself writes for
    single audiences, `words_in_force` also what earlier ones wrote for them about sentences that still
    stand; so for `translations`, by locale, and `translations_in_force`. `short` is what texts say in place
    of issue, scope and action; `works` is what still works, `data` whether data is safe or late. `cause` is
    for the public, `change` what keeps it from happening again, `link` one https address about it. `urgent`
    is a maintenance that could not be planned. `offer` is what support may offer; only with `offer_public`
    may the public read it. `offer_name` is its row of [offers] in commcast.toml, "" if it was written here.
    """

    number: int
    line: int
    at: datetime
    at_written: bool
    status: Status
    severity: Severity
    affected: tuple[str, ...] = ()
    audiences: tuple[str, ...] | None = None
    owner: str | None = None
    owner_named: bool = False
    backup: str | None = None
    issue: str
    resolution: str
    timeframe: Timeframe
    scope: str | None = None
    works: str | None = None
    data: str | None = None
    action: str | None = None
    short: str | None = None
    link: str | None = None
    urgent: bool = False
    offer: str | None = None
    offer_name: str = ""
    offer_public: bool = False
    next_update: datetime | None = None
    next_clock: str = Field("", exclude=True)
    nothing_new: str | None = None
    internal: str | None = None
    words: Mapping[str, AudienceWords] = Field(default_factory=dict)
    words_in_force: Mapping[str, AudienceWords] = Field(default_factory=dict)
    translations: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)
    translations_in_force: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)
    window: Window | None = None
    ended: datetime | None = None
    cause: str | None = None
    fixed: str | None = None
    remains: str | None = None
    if_it_persists: str | None = None
    change: str | None = None
    because: str | None = None
    corrects: tuple[int, ...] = ()
    wrong: str | None = None
    right: str | None = None
    expected_at: datetime | None = None
    merged_into: str | None = None
    check_in: tuple[str, ...] = ()

    @property
    def is_end(self) -> bool:
        return self.status in END_STATUSES

    def offer_for(self, view: View) -> str | None:
        """Return what readers of a view may be offered; the public reads it only with `offer_public`."""
        return self.offer if view is View.INTERNAL or self.offer_public else None


class Incident(_Frozen):
    """One problem or maintenance, read from one file. `updates` is never empty and is in order of time.

    If the file leaves `started` out, it is the time of the first update, and `started_written` is False: then
    nobody knows when it really began. `translations` has the title by locale. `source` identifies the text of
    the file.
    """

    id: str
    path: str
    title: str
    translations: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)
    kind: Kind = Kind.INCIDENT
    started: datetime
    started_written: bool = True
    updates: tuple[Update, ...]
    postmortem: str | None = None
    source: str = Field(default="", exclude=True, repr=False)

    @property
    def latest(self) -> Update:
        return self.updates[-1]

    def title_as_of(self, update: Update | None = None, locale: str = "") -> str:
        """Return the title as corrected up to an update, by default the last; the file keeps its own.

        Readers of a locale without a translation, or whose translation was not corrected, get the original.
        """
        return self.title_in(locale, update) or self._titles(update, locale)[0]

    def title_in(self, locale: str, update: Update | None = None) -> str:
        """Return the title as corrected, translated for a locale; "" if it is not."""
        return self._titles(update, locale)[1]

    def _titles(self, update: Update | None, locale: str) -> tuple[str, str]:
        title, own = self.title, in_locale(self.translations, locale).get("title", "")
        for each in self.updates[: (update or self.latest).number]:
            if each.corrects and each.wrong and each.right:
                told, title = title, put_title_right(title, each.wrong, each.right)
                if own and title != told:
                    said, wrong = in_locale(each.translations, locale), own
                    own = put_title_right(own, said.get("wrong", ""), said.get("right", ""))
                    own = "" if own == wrong else own
        return title, own

    def update(self, number: int) -> Update:
        """Return update `number` (from 1)."""
        return self.updates[number - 1]


def needed_at(status: str) -> tuple[str, ...]:
    """Return the sentences that a first update, or one after an end, must have."""
    return ("issue",) if status == Status.INVESTIGATING else ("issue", "resolution")


class _Dated(Protocol):
    """What the time that something lasted is counted from."""

    @property
    def at(self) -> datetime: ...
    @property
    def ended(self) -> datetime | None: ...
    @property
    def is_end(self) -> bool: ...


def over_since(updates: Iterable[_Dated]) -> tuple[datetime | None, timedelta]:
    """Return since when it is over, None if it is not, and how long it was over before it was reopened.

    That is the time that the last end states, else its own. An end that follows an end is a correction: it
    only moves the end if it states another time.
    """
    ended, between = None, timedelta()
    for before, each in pairwise((None, *updates)):
        assert each is not None  # noqa: S101 - only the first has none before it
        if not each.is_end:
            ended, between = None, between + (each.at - ended if ended else timedelta())
        elif before is None or not before.is_end:
            ended = each.ended or each.at
        elif each.ended not in {None, each.at}:
            ended = each.ended
    return ended, between


_NOTHING: Mapping[str, str] = MappingProxyType({})


class Level(StrEnum):
    """How much a recipient wants to hear: everything, key events, or only the end."""

    ALL = "all"
    KEY = "key"
    END = "end"


class NextWord(StrEnum):
    """How readers will hear more after a message that is not an end.

    update  at the promised time, on this channel
    email   at the promised time, by email: this is a text
    key     when something important changes, and at the end; they are promised no time
    end     when it is over; they are promised no time
    """

    UPDATE = "update"
    EMAIL = "email"
    KEY = "key"
    END = "end"


class Recipient(NamedTuple):
    """One row of an audience, already normalised.

    `email` and `phone` are "" if the row has none; `phone` is E.164. `email_key` is the address folded for
    comparison (lower case, IDN as punycode). `locale` and `timezone` are "" if the row leaves them to the
    configuration. `extra` holds the list's further columns, for templates.
    """

    line: int
    email: str = ""
    email_key: str = ""
    phone: str = ""
    name: str = ""
    locale: str = ""
    timezone: str = ""
    components: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    level: Level = Level.ALL
    extra: Mapping[str, str] = _NOTHING

    def address(self, channel: Channel) -> str:
        """Return where this recipient is reached on `channel`, "" for nowhere."""
        return self.email if channel is Channel.EMAIL else self.phone

    def key(self, channel: Channel) -> str:
        """Return the address as the ledger compares it, "" for nowhere."""
        return self.email_key if channel is Channel.EMAIL else self.phone
