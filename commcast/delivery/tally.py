"""Counts the stream of rows, with a sample message for each audience, or only checks it for faults."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from commcast.config.settings import Config
from commcast.delivery.freeze import Keeper
from commcast.delivery.rows import ListCount, PendingRow, PendingRows, read_together
from commcast.errors import Fault, InputError, TemplateError
from commcast.ledger.store import Ledger
from commcast.ledger.wrong_words import OtherStory, other_stories, told_among
from commcast.model.incident import Channel, NextWord
from commcast.plan.notices import Notice
from commcast.plan.readers import Action
from commcast.rendering.compose import ReaderGroup, renderer_for
from commcast.rendering.context import NO_OCCASION
from commcast.rendering.moments import moment_of
from commcast.rendering.render import SmsContent


@dataclass(slots=True)
class AudienceTally:
    """One audience on one channel. `segments` counts SMS parts over all its readers.

    `later` of those that are sent go at `later_at`, because others are told first. `text_by` is the first
    time by which readers who only get texts are promised the next one. `corrected` counts those, sent or
    held, who get a correction: `correction` is one of them, `sample` one of the others, `in_languages` one of
    each other language. `texted_in` are the time zones of those who get a text.
    """

    audience: str
    send: int = 0
    segments: int = 0
    later: int = 0
    later_at: datetime | None = None
    text_by: datetime | None = None
    held: int = 0
    held_until: datetime | None = None
    skipped: Counter[str] = field(default_factory=Counter)
    not_due: Counter[str] = field(default_factory=Counter)
    sample: PendingRow | None = None
    in_languages: dict[str, PendingRow] = field(default_factory=dict)
    corrected: int = 0
    correction: PendingRow | None = None
    texted_in: set[str] = field(default_factory=set)


@dataclass(slots=True)
class NoticeTally:
    """One notice on one channel, as its rows pass. `counts` tells what reading each list gave."""

    notice: Notice
    reason: str
    counts: Mapping[str, ListCount]
    audiences: dict[str, AudienceTally]
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256, repr=False, compare=False)

    @property
    def send(self) -> int:
        return sum(audience.send for audience in self.audiences.values())

    @property
    def held(self) -> int:
        return sum(audience.held for audience in self.audiences.values())

    @property
    def segments(self) -> int:
        return sum(audience.segments for audience in self.audiences.values())

    @property
    def digest(self) -> str:
        """Equal exactly when the same people get the same words."""
        return self._digest.hexdigest()

    def count(self, rows: Sequence[PendingRow]) -> None:
        told = [
            f"{key}\0{decision.action}\0{words.digest if words else ''}\n"
            for key, _, _, decision, _, _, words in rows
            if decision.action is not Action.NOT_DUE
        ]
        self._digest.update("".join(told).encode())
        for row in rows:
            if row.audience not in self.audiences:
                self.audiences[row.audience] = AudienceTally(row.audience)
            _count(self.audiences[row.audience], row)


@dataclass(frozen=True, slots=True)
class Tally:
    """Everything that one release would send. `digest` changes when any message or reader does."""

    notices: tuple[NoticeTally, ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256("".join(notice.digest for notice in self.notices).encode()).hexdigest()

    @property
    def send(self) -> int:
        return sum(notice.send for notice in self.notices)

    @property
    def held(self) -> int:
        return sum(notice.held for notice in self.notices)


def tally_all(
    deliveries: Sequence[PendingRows],
    reasons: Sequence[str],
    following: Following | None = None,
    keeper: Keeper | None = None,
) -> Tally:
    """Read every list to its end, so that each message is rendered once before any is sent.

    `reasons` say why each notice is due. `following` learns who is told; `keeper` keeps the rows, so that
    what was counted is what goes.
    """
    counted = tuple(
        NoticeTally(
            each.notice, reason, each.counts, {name: AudienceTally(name) for name in each.notice.audiences}
        )
        for each, reason in zip(deliveries, reasons, strict=True)
    )
    for number, rows in read_together(deliveries):
        counted[number].count(rows)
        if following:
            following.look(deliveries[number].notice, [row.key for row in rows if row.words is not None])
        if keeper:
            keeper.take(number, rows)
    return Tally(counted)


def _count(audience: AudienceTally, row: PendingRow) -> None:
    decision = row.decision
    if decision.action is Action.SEND:
        audience.send += 1
        _sample(audience, row)
        if decision.until is not None:
            audience.later += 1
            audience.later_at = decision.until
        if isinstance(row.content, SmsContent):
            audience.segments += row.content.size.segments
            audience.text_by = _earlier(audience.text_by, row.group)
            if row.group is not None:
                audience.texted_in.add(row.group.zone)
    elif decision.action is Action.HOLD:
        audience.held += 1
        _sample(audience, row)
        known = [at for at in (audience.held_until, decision.until) if at]
        audience.held_until = min(known) if known else None
    elif decision.action is Action.SKIP:
        audience.skipped[decision.reason] += 1
    else:
        audience.not_due[decision.reason] += 1


def _earlier(known: datetime | None, group: ReaderGroup | None) -> datetime | None:
    if group is None or group.next_update_by is None or group.context["next_word"] != NextWord.UPDATE:
        return known
    return min(known or group.next_update_by, group.next_update_by)


def _sample(audience: AudienceTally, row: PendingRow) -> None:
    if row.is_correction:
        audience.corrected += 1
        audience.correction = audience.correction or row
    else:
        audience.sample = audience.sample or row
        if row.group and row.group.wording.language != _language(audience.sample):
            audience.in_languages.setdefault(row.group.wording.language, row)


def _language(row: PendingRow) -> str:
    return row.group.wording.language if row.group else ""


def faults_in(
    pending: Iterable[PendingRows], known: InputError | None = None, *, whole: bool = False
) -> tuple[Fault, ...]:
    """Return the faults of every audience's list and templates, each once, after those `known` already.

    Each list is read until its first readers have their words, to its end only if `whole` is set; faults
    further down stay unseen.
    """
    found: dict[Hashable, Fault] = {}
    errors = [known] if known else []
    for deliveries in pending:
        for audience in deliveries.notice.audiences:
            errors.extend(_errors_of(deliveries, audience, whole=whole))
    for error in errors:
        for fault in error.faults:
            # A template that many audiences share names another reader in each of them.
            is_same = (fault.file, fault.line, fault.column) if isinstance(error, TemplateError) else fault
            found.setdefault(is_same, fault)
    return tuple(found.values())


def _errors_of(deliveries: PendingRows, audience: str, *, whole: bool) -> list[InputError]:
    only = replace(deliveries, notice=replace(deliveries.notice, audiences=(audience,)))
    try:
        for _ in only.chunks():
            if not whole:
                break
        return []
    except TemplateError as error:
        return [error]
    except InputError as error:
        return [error, *_errors_of_template(deliveries, audience)]


def _errors_of_template(deliveries: PendingRows, audience: str) -> list[InputError]:
    """Return what is wrong with the templates of an audience whose list cannot be read."""
    told = deliveries.config.audiences.get(audience)
    if told is None:
        return []
    update = deliveries.incident.update(deliveries.notice.number)
    moment = moment_of(update, NO_OCCASION, first=update.number == 1)
    try:
        chosen = deliveries.templates.choose(audience, told.view, moment, "", deliveries.notice.channel)
        renderer_for(chosen.to_json())
    except InputError as error:
        return [error]
    return []


@dataclass(frozen=True, slots=True)
class Lasting:
    """One channel's messages of one release, at its provider's limit.

    `per_second` is the limit, in messages; `last_at` (aware) is when the last of `messages` is handed over
    at best; `promised` is the earliest next update that these emails promise, None at an end, and for texts,
    which state none.
    """

    channel: Channel
    messages: int
    per_second: float
    length: timedelta
    last_at: datetime
    promised: datetime | None

    @property
    def outlasts_promise(self) -> bool:
        """Whether the last reader would be promised a time that has already passed."""
        return self.promised is not None and self.last_at > self.promised


def lastings(config: Config, tally: Tally, now: datetime) -> Iterator[Lasting]:
    """Yield how long each channel with a limit takes. Channels are delivered side by side."""
    messages: Counter[Channel] = Counter()
    promises: dict[Channel, datetime] = {}
    for notice in tally.notices:
        channel = notice.notice.channel
        messages[channel] += notice.send
        for by in notice.notice.next_update_by.values():
            if by is not None and channel is Channel.EMAIL:  # texts state no time
                promises[channel] = min(by, promises.get(channel, by))
    for channel, count in messages.items():
        if (limit := config.per_second(channel)) and count:
            length = timedelta(seconds=count / limit)
            yield Lasting(channel, count, limit, length, now + length, promises.get(channel))


LOOKED_AT = 50_000  # readers of one channel: a preview of a million does not wait for a count


@dataclass(frozen=True, slots=True)
class Follows:
    """How many readers of one channel were told of another incident, and what that was (`story`).

    `at_least` means that not all readers were looked at.
    """

    story: OtherStory
    readers: int
    at_least: bool


@dataclass
class Following:
    """Counts who follows another incident while the lists are read; looks nobody up if no other is open."""

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
            Follows(story, self._told[story.broadcast], story.channel in self._cut)
            for story in self._stories or ()
            if self._told[story.broadcast]
        )
