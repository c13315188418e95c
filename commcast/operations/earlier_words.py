"""Earlier words that still matter: who was told a mistake, and which incidents were merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from commcast.config.settings import Config
from commcast.ledger.broadcasts import broadcasts_of
from commcast.ledger.releases import merged_into
from commcast.ledger.wrong_words import Frozen, frozen_words
from commcast.model.history import History, WrongWords
from commcast.model.incident import Channel, Incident, Timeframe, Update
from commcast.model.text import as_said, holds
from commcast.model.times import clocks_in, parse_timeframe
from commcast.plan.corrections import correcting, says
from commcast.plan.notices import newest_released


@dataclass(frozen=True, slots=True)
class EarlierWords:
    """What one group of readers was sent about update `number`; `at` is the time on the message."""

    frozen: Frozen
    number: int
    at: datetime
    texts: tuple[str, ...]

    @property
    def channel(self) -> Channel:
        return Channel(self.frozen.broadcast.channel)


def words_of(connection: Connection, incident: str) -> Iterator[EarlierWords]:
    """Yield all that was frozen of an incident as one reader of each group reads it, oldest first.

    What a correction quotes of earlier words is left out; what it says instead is not.
    """
    from commcast.delivery.freeze import thawed_group
    from commcast.rendering.render import EmailContent

    for frozen in frozen_words(connection, incident):
        context = frozen.composition.context
        quotes = context.get("corrections") or []
        plain = replace(frozen.composition, context={**context, "corrections": []})
        content = thawed_group(frozen.broadcast, plain).alone(frozen.recipient, 0)
        said = (content.subject, content.text) if isinstance(content, EmailContent) else (content.body,)
        itself = context.get("holding")
        at = itself["now"] if itself else context["update"]["at"]
        texts = (*said, *(each["right"] for each in quotes))
        yield EarlierWords(frozen, context["update"]["number"], datetime.fromisoformat(at["iso"]), texts)


def trace(
    connection: Connection, incident: Incident, corrections: Sequence[Update], zone: ZoneInfo
) -> tuple[WrongWords, ...]:
    """Return the frozen words that these updates correct."""
    earliest = min(min(update.corrects) for update in corrections)
    found = []
    for words in words_of(connection, incident.id):
        if words.number < earliest:
            continue
        for update in corrections:
            if words.number in update.corrects and (said := wrong_in(words, incident, update.wrong, zone)):
                frozen = words.frozen
                audience, by = frozen.composition.audience, update.number
                kinds = (said.kind in {"timeframe", "estimate"}, said.kind == "end")
                found.append(WrongWords(frozen.id, words.channel, audience, by, said.text, words.at, *kinds))
    return tuple(found)


class WrongHit(NamedTuple):
    """What is wrong in some words, as they put it.

    `kind` is "" if somebody wrote it. Else it is a time that messages show in each reader's zone: of the
    expected end, as written ("timeframe", 3 hours) or by its clock time ("estimate"), or of the end ("end").
    """

    text: str
    kind: str = ""


def wrong_in(words: EarlierWords, incident: Incident, wrong: str | None, zone: ZoneInfo) -> WrongHit | None:
    """Return what is wrong in these words; `zone` is that of the person who says so."""
    if not wrong:
        return None
    if any(holds(text, wrong) for text in words.texts):
        return WrongHit(as_said(words.texts, wrong))
    update = incident.update(words.number)
    frame = timeframe_meant(incident, words.number, wrong, zone)
    hits = [WrongHit(form, "timeframe") for form in _forms(words, frame)]
    if not says(update, wrong):
        if _is_named(wrong, zone, update.timeframe.earliest, update.timeframe.latest):
            hits += [WrongHit(form, "estimate") for form in _forms(words, update.timeframe)]
        if _is_named(wrong, zone, update.ended):
            ended = words.frozen.composition.context["update"]["ended"]
            hits += [WrongHit(form, "end") for form in _shown(ended)]
    return next((hit for hit in hits if any(holds(text, hit.text) for text in words.texts)), None)


def _is_named(wrong: str, zone: ZoneInfo, *moments: datetime | None) -> bool:
    """Return whether `wrong` names the clock time of one of these, in `zone` or in UTC."""
    shown = {f"{moment.astimezone(each):%H:%M}" for moment in moments if moment for each in (zone, UTC)}
    return not shown.isdisjoint(clocks_in(wrong))


def timeframe_meant(incident: Incident, number: int, wrong: str, zone: ZoneInfo) -> Timeframe | None:
    """Return the timeframe of update `number` if `wrong` is how it, or an update before it, was written.

    Readers got clock times; a person who notices that they are wrong says "3 hours".
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


def _forms(words: EarlierWords, frame: Timeframe | None) -> list[str]:
    """Return how a timeframe may be worded in these words."""
    shown = words.frozen.composition.context["update"]["timeframe"]
    if frame is None or not shown["known"]:
        return []
    if not (span := shown.get("span")):
        return [form for latest in _shown(shown["latest"]) for form in (f"by {latest}", latest)]
    ends = [f"{span['start']} {word} {span['end']}" for word in _BETWEEN] if "start" in span else []
    return [*(f"between {each}" for each in ends[:1]), *ends, *_shown(span)]


# What templates write between the two ends of an estimate: en, de, fr, es.
_BETWEEN = ("and", "und", "et", "y")


def _shown(time: Mapping[str, str]) -> list[str]:
    """Return how a time is shown in messages, also in those of earlier versions."""
    return [time[form] for form in ("between", "both", "short", "sms") if form in time]


def with_earlier_words(
    connection: Connection, config: Config, incident: Incident, history: History
) -> History:
    """Return the history with the earlier words that matter to the newest update, if it is still to go.

    At an end these include the incidents that were merged into this one: their readers are told, too.
    """
    newest = newest_released(incident, history)
    if newest is None or any(f"update:{newest.number}" == notice for notice, _ in history.begun):
        return history
    history = with_mistakes(connection, config, incident, history)
    if not newest.is_end:
        return history
    merged = merged_into(connection, incident.id)
    channels = frozenset(Channel(each.channel) for name in merged for each in broadcasts_of(connection, name))
    return replace(history, merged=merged, merged_on=channels)


def with_mistakes(connection: Connection, config: Config, incident: Incident, history: History) -> History:
    """Return the history with the frozen words that were corrected since."""
    corrections = correcting(incident, history)
    if not corrections:
        return history
    return replace(history, wrong_words=trace(connection, incident, corrections, config.zone))
