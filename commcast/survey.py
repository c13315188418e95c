"""What would go out, counted, with one sample an audience: for preview and the question before sending."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from commcast.compose import Group
from commcast.model import NextWord
from commcast.owed import ListCount, OwedDeliveries, OwedRow
from commcast.plan.notices import Notice
from commcast.plan.people import Action
from commcast.wording.rendering import SmsContent


@dataclass(slots=True)
class AudienceSurvey:
    """One audience on one channel. `segments` counts SMS parts over all its readers.

    `later` of those that are sent go at `later_at`, because others hear first. `text_by` is the first time by
    which readers who only get texts are promised the next one. `corrected` counts those, sent or held, who
    read that earlier words of ours were wrong: `correction` is one of them, `sample` one of the others.
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
    not_owed: Counter[str] = field(default_factory=Counter)
    sample: OwedRow | None = None
    corrected: int = 0
    correction: OwedRow | None = None


@dataclass(frozen=True, slots=True)
class NoticeSurvey:
    """One notice on one channel. `counts` tells what reading each list gave."""

    notice: Notice
    reason: str
    audiences: Mapping[str, AudienceSurvey]
    counts: Mapping[str, ListCount]
    digest: str

    @property
    def send(self) -> int:
        return sum(audience.send for audience in self.audiences.values())

    @property
    def held(self) -> int:
        return sum(audience.held for audience in self.audiences.values())

    @property
    def segments(self) -> int:
        return sum(audience.segments for audience in self.audiences.values())


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything that one release would send. `digest` changes when any message or reader does."""

    notices: tuple[NoticeSurvey, ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256("".join(notice.digest for notice in self.notices).encode()).hexdigest()

    @property
    def send(self) -> int:
        return sum(notice.send for notice in self.notices)

    @property
    def held(self) -> int:
        return sum(notice.held for notice in self.notices)


class RowDigest:
    """A digest over a stream of rows: equal exactly when the same people get the same words."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, rows: Iterable[OwedRow]) -> None:
        told = [
            f"{key}\0{decision.action}\0{words.digest if words else ''}\n"
            for key, _, _, decision, _, _, words in rows
            if decision.action is not Action.NOT_OWED
        ]
        self._hash.update("".join(told).encode())

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def unseen(_notice: Notice, _keys: Sequence[str]) -> None:
    """Look nobody up."""


def survey_all(
    owed: Iterable[tuple[OwedDeliveries, str]], look: Callable[[Notice, Sequence[str]], None] = unseen
) -> Survey:
    """Read every stream to its end, so that each message is rendered once before any is sent.

    `look` hears the addresses of who is to be told, some hundreds at a time.
    """
    return Survey(tuple(_survey(deliveries, reason, look) for deliveries, reason in owed))


def _survey(owed: OwedDeliveries, reason: str, look: Callable[[Notice, Sequence[str]], None]) -> NoticeSurvey:
    audiences = {name: AudienceSurvey(name) for name in owed.notice.audiences}
    digest = RowDigest()
    for chunk in owed.chunks():
        digest.add(chunk)
        look(owed.notice, [row.key for row in chunk if row.words is not None])
        for row in chunk:
            if row.audience not in audiences:
                audiences[row.audience] = AudienceSurvey(row.audience)
            _count(audiences[row.audience], row)
    return NoticeSurvey(owed.notice, reason, audiences, owed.counts, digest.hexdigest())


def _count(audience: AudienceSurvey, row: OwedRow) -> None:
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
    elif decision.action is Action.HOLD:
        audience.held += 1
        _sample(audience, row)
        known = [at for at in (audience.held_until, decision.until) if at]
        audience.held_until = min(known) if known else None
    elif decision.action is Action.SKIP:
        audience.skipped[decision.reason] += 1
    else:
        audience.not_owed[decision.reason] += 1


def _earlier(known: datetime | None, group: Group | None) -> datetime | None:
    if group is None or group.next_update_by is None or group.context["next_word"] != NextWord.UPDATE:
        return known
    return min(known or group.next_update_by, group.next_update_by)


def _sample(audience: AudienceSurvey, row: OwedRow) -> None:
    if row.is_correction:
        audience.corrected += 1
        audience.correction = audience.correction or row
    else:
        audience.sample = audience.sample or row
