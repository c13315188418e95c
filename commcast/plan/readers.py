"""Decides for one reader of a notice: send, hold, skip or nothing, and why (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from commcast.config.settings import Config
from commcast.model.history import ERASED, ReaderHistory
from commcast.model.incident import Channel, Level, Recipient
from commcast.plan import reasons
from commcast.plan.corrections import has_right_words, is_for_others
from commcast.plan.notices import NO_NEWS, Notice, NoticeKind
from commcast.plan.reminders import end_of_quiet, next_morning, quiet_hours


class Action(StrEnum):
    """What to do for one recipient. NOT_DUE leaves no trace in the ledger; the others do."""

    SEND = "send"
    SKIP = "skip"
    HOLD = "hold"
    NOT_DUE = "not owed"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do for one recipient, and why. `until` is when a message that has to wait is sent."""

    action: Action
    reason: str = ""
    until: datetime | None = None


SEND = Decision(Action.SEND)
WAS_ERASED = Decision(Action.SKIP, reasons.HEARS_NOTHING.format(why=ERASED))
HELD_BACK = Decision(Action.SKIP, reasons.HELD_BACK)
# Anything that changes what readers believe is sent, however many messages they just got.
NEVER_HELD_BACK = frozenset({"first", "worse", "correction", "retracted", "reopened", "resolved"})
# Readers who only asked for the end, and were told it, must not go on believing something wrong.
_UNDOES_THE_END = frozenset({"correction", "retracted", "reopened"})


def decide(
    recipient: Recipient,
    notice: Notice,
    history: ReaderHistory,
    config: Config,
    now: datetime,
    *,
    audience: str = "",
) -> Decision:
    """Return what to do for one recipient of a notice; `audience` is the one they are told as part of."""
    if reason := _not_due(recipient, notice, history):
        return Decision(Action.NOT_DUE, reason)
    if history.suppressed == ERASED:
        return WAS_ERASED
    if history.suppressed:
        return Decision(Action.SKIP, reasons.HEARS_NOTHING.format(why=history.suppressed))
    if _has_had_enough(notice, history, config):
        return HELD_BACK
    zone = ZoneInfo(recipient.timezone or config.organisation.zone)
    if notice.asks_after is not None and (until := next_morning(notice.asks_after, zone)) > now:
        return Decision(Action.HOLD, reasons.UNTIL_MORNING, until)
    news_of = None if notice.kind in NO_NEWS else notice.severity
    quiet = quiet_hours(news_of, notice.channel, config)
    if quiet and (end := end_of_quiet(now, quiet, zone)):
        return Decision(Action.HOLD, reasons.QUIET_HOURS, end)
    later = notice.not_before.get(audience) if notice.not_before else None
    return Decision(Action.SEND, reasons.AFTER_LEAD, later) if later else SEND


def is_never_held_back(notice: Notice) -> bool:
    """Return whether this notice is exempt from the hourly limit, for every reader."""
    return notice.is_end or not NEVER_HELD_BACK.isdisjoint(notice.events)


def _has_had_enough(notice: Notice, history: ReaderHistory, config: Config) -> bool:
    """Return whether the hourly limit holds this back; a reader's first message is never held back."""
    if not history.told or history.told_wrong or history.waits or is_never_held_back(notice):
        return False
    return history.lately >= config.send.most_an_hour


def _not_due(recipient: Recipient, notice: Notice, history: ReaderHistory) -> str:
    if not recipient.key(notice.channel):
        return reasons.NO_EMAIL if notice.channel is Channel.EMAIL else reasons.NO_PHONE
    if history.state:
        return reasons.IN_LEDGER.format(state=history.state)
    if not history.told and _follows_others(recipient, notice):
        return reasons.OTHER_COMPONENTS
    knows = history.told or notice.told_elsewhere
    if notice.is_end and not knows and recipient.level not in notice.strangers:
        return reasons.NEVER_TOLD
    if notice.kind is NoticeKind.HOLDING and history.news_waits:
        return reasons.NEWS_WAITS
    if notice.keeps is not None and history.promised != notice.keeps:
        return reasons.NO_TEXT_PROMISED
    if history.told_wrong:
        return ""  # readers of a wrong message get the right one
    return (
        _below_level(recipient.level, notice, history)
        or is_for_others(notice, history)
        or has_right_words(notice, history)
    )


def _below_level(level: Level, notice: Notice, history: ReaderHistory) -> str:
    """Return why a reader who does not want every message does not get this one; "" if they do.

    Their first message is a key event. Reminders and holding statements are not: they contain nothing new.
    """
    if level is Level.ALL or notice.is_end:
        return ""
    if level is Level.KEY:
        is_first = not history.told and not notice.told_elsewhere
        return "" if notice.events or is_first else reasons.KEY_ONLY
    undone = history.told and not _UNDOES_THE_END.isdisjoint(notice.events)
    return "" if undone else reasons.END_ONLY


def _follows_others(recipient: Recipient, notice: Notice) -> bool:
    return bool(recipient.components and notice.affected and notice.affected.isdisjoint(recipient.components))
