"""Decides for one reader of a notice: send, hold, skip or nothing, with the reason (pure)."""

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
from commcast.plan.notices import Notice
from commcast.plan.reminders import end_of_quiet, next_morning, quiet_hours


class Action(StrEnum):
    """What to do for one recipient. NOT_DUE leaves no trace in the ledger; the others do."""

    SEND = "send"
    SKIP = "skip"
    HOLD = "hold"
    NOT_DUE = "not owed"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do for one recipient, and why. `until` is when the message goes if it does not go now."""

    action: Action
    reason: str = ""
    until: datetime | None = None


SEND = Decision(Action.SEND)
WAS_ERASED = Decision(Action.SKIP, reasons.HEARS_NOTHING.format(why=ERASED))
HELD_BACK = Decision(Action.SKIP, reasons.HELD_BACK)
# Whatever changes what a reader believes goes out, however much they got lately.
NEVER_HELD_BACK = frozenset({"first", "worse", "correction", "retracted", "reopened", "resolved"})
# Readers who asked for the end only, and were told it, must not go on believing something wrong.
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
    """Return what to do for one recipient of an audience that hears this notice."""
    if reason := _not_due(recipient, notice, history):
        return Decision(Action.NOT_DUE, reason)
    if history.suppressed == ERASED:
        return WAS_ERASED
    if history.suppressed:
        return Decision(Action.SKIP, reasons.HEARS_NOTHING.format(why=history.suppressed))
    if _has_had_enough(notice, history, config):
        return HELD_BACK
    if until := _morning(recipient, notice, config, now):
        return Decision(Action.HOLD, reasons.UNTIL_MORNING, until)
    if until := _quiet_until(recipient, notice, config, now):
        return Decision(Action.HOLD, reasons.QUIET_HOURS, until)
    later = notice.not_before.get(audience) if notice.not_before else None
    return Decision(Action.SEND, reasons.AFTER_LEAD, later) if later else SEND


def is_never_held_back(notice: Notice) -> bool:
    """Return whether no cap holds back this notice, for any reader."""
    return notice.is_end or not NEVER_HELD_BACK.isdisjoint(notice.events)


def _has_had_enough(notice: Notice, history: ReaderHistory, config: Config) -> bool:
    """Return whether a cap holds this back: never the first to this reader, nor what they need to know."""
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
    if _never_heard(recipient, notice, history):
        return reasons.NEVER_TOLD
    if notice.keeps is not None and history.promised != notice.keeps:
        return reasons.NO_TEXT_PROMISED
    if history.told_wrong:
        return ""  # readers of wrong words get the right ones
    return (
        _below_level(recipient.level, notice, history)
        or is_for_others(notice, history)
        or has_right_words(notice, history)
    )


def _below_level(level: Level, notice: Notice, history: ReaderHistory) -> str:
    """Return why a reader who wants less than all does not hear this, "" if they do.

    The first message to them is a key event. Reminders and holding statements say nothing new, and are not.
    """
    if level is Level.ALL:
        return ""
    if level is Level.KEY:
        is_first = not history.told and not notice.told_elsewhere
        return "" if notice.events or notice.is_end or is_first else reasons.KEY_ONLY
    undone = history.told and not _UNDOES_THE_END.isdisjoint(notice.events)
    return "" if notice.is_end or undone else reasons.END_ONLY


def _follows_others(recipient: Recipient, notice: Notice) -> bool:
    return bool(recipient.components and notice.affected and notice.affected.isdisjoint(recipient.components))


def _never_heard(recipient: Recipient, notice: Notice, history: ReaderHistory) -> bool:
    """Return whether this ends something the reader never heard of, unless the end is all they asked for."""
    heard = history.told or notice.told_elsewhere or recipient.level is Level.END
    return notice.is_end and not heard


def _morning(recipient: Recipient, notice: Notice, config: Config, now: datetime) -> datetime | None:
    """Return when a reader is asked whether all is well, None for now and if the notice asks nothing."""
    if notice.asks_after is None:
        return None
    until = next_morning(notice.asks_after, ZoneInfo(recipient.timezone or config.organisation.zone))
    return until if until > now else None


def _quiet_until(recipient: Recipient, notice: Notice, config: Config, now: datetime) -> datetime | None:
    quiet = quiet_hours(notice.severity, notice.channel, config)
    zone = ZoneInfo(recipient.timezone or config.organisation.zone)
    return end_of_quiet(now, quiet, zone) if quiet else None
