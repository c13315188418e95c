"""Traces wrong words through what was frozen: for which readers they were made, on which channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from commcast.instants import parse_timeframe
from commcast.ledger.misheard import Frozen, frozen_words
from commcast.model import Channel, Incident, Timeframe, Update
from commcast.standing import Misstated
from commcast.thawing import thawed_group
from commcast.wording.rendering import EmailContent
from commcast.wording.wrong import as_said, holds


@dataclass(frozen=True, slots=True)
class Words:
    """What one group of readers was made to read: of update `number`, at the moment `at` that it bears."""

    frozen: Frozen
    number: int
    at: datetime
    texts: tuple[str, ...]

    @property
    def channel(self) -> Channel:
        return Channel(self.frozen.broadcast.channel)


def words_of(connection: Connection, incident: str) -> Iterator[Words]:
    """Yield all that was frozen of an incident as one reader of each group reads it, oldest first.

    What a correction quotes of earlier words is left out, what it says instead is not.
    """
    for frozen in frozen_words(connection, incident):
        context = frozen.composition.context
        quotes = context.get("corrections") or []
        plain = replace(frozen.composition, context={**context, "corrections": []})
        content = thawed_group(frozen.broadcast, plain).alone(frozen.recipient, 0)
        said = (content.subject, content.text) if isinstance(content, EmailContent) else (content.body,)
        itself = context.get("holding")
        at = itself["now"] if itself else context["update"]["at"]
        texts = (*said, *(each["right"] for each in quotes))
        yield Words(frozen, context["update"]["number"], datetime.fromisoformat(at["iso"]), texts)


def trace(
    connection: Connection, incident: Incident, corrections: Sequence[Update], zone: ZoneInfo
) -> tuple[Misstated, ...]:
    """Return the frozen words that these updates correct."""
    earliest = min(min(update.corrects) for update in corrections)
    found = []
    for words in words_of(connection, incident.id):
        if words.number < earliest:
            continue
        for update in corrections:
            if words.number in update.corrects and (said := wrong_in(words, incident, update.wrong, zone)):
                found.append(_misstated(words, update.number, *said))
    return tuple(found)


def wrong_in(words: Words, incident: Incident, wrong: str | None, zone: ZoneInfo) -> tuple[str, bool] | None:
    """Return what of these words is wrong, as they put it, and whether it is the expected end."""
    if not wrong:
        return None
    if any(holds(text, wrong) for text in words.texts):
        return as_said(words.texts, wrong), False
    frame = timeframe_meant(incident, words.number, wrong, zone)
    shown = [form for form in _forms(words, frame) if any(holds(text, form) for text in words.texts)]
    return (shown[0], True) if shown else None


def timeframe_meant(incident: Incident, number: int, wrong: str, zone: ZoneInfo) -> Timeframe | None:
    """Return the timeframe of update `number` where `wrong` is what it, or an update before, wrote of it.

    Readers got clock times of it; whoever notices that it is wrong says "3 hours".
    """
    said = incident.update(number).timeframe
    for update in incident.updates[:number]:
        try:
            meant = parse_timeframe(wrong, update.at, zone)
        except ValueError:
            continue
        if meant.known and (meant.earliest, meant.latest) == (said.earliest, said.latest):
            return said
    return None


def _forms(words: Words, frame: Timeframe | None) -> list[str]:
    """Return how a timeframe may stand in these words."""
    shown = words.frozen.composition.context["update"]["timeframe"]
    if frame is None or not shown["known"]:
        return []
    if span := shown.get("span"):
        return [span["between"], span["both"], span["sms"]]
    return [f"by {shown['latest'][form]}" for form in ("both", "sms")]


def _misstated(words: Words, by: int, said: str, is_timeframe: bool) -> Misstated:
    return Misstated(
        composition=words.frozen.id,
        channel=words.channel,
        audience=words.frozen.composition.audience,
        by=by,
        said=said,
        at=words.at,
        is_timeframe=is_timeframe,
    )
