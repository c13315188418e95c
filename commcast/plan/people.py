"""What is to be done for one reader of a notice: send, hold, skip or nothing, with the reason (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from commcast.config import Config
from commcast.model import Channel, Level, Recipient
from commcast.plan.notices import Notice
from commcast.plan.quiet import end_of_quiet
from commcast.standing import ERASED, PersonStanding


class Action(StrEnum):
    """What is to be done for one recipient. not_owed leaves no trace in the ledger; the others do."""

    SEND = "send"
    SKIP = "skip"
    HOLD = "hold"
    NOT_OWED = "not owed"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done for one recipient, and why. `until` is set for a hold."""

    action: Action
    reason: str = ""
    until: datetime | None = None


SEND = Decision(Action.SEND)
WAS_ERASED = Decision(Action.SKIP, f"hears nothing: {ERASED}")


def decide(
    recipient: Recipient, notice: Notice, standing: PersonStanding, config: Config, now: datetime
) -> Decision:
    """Return what is to be done for one recipient of an audience that hears this notice."""
    if reason := _not_owed(recipient, notice, standing):
        return Decision(Action.NOT_OWED, reason)
    if standing.suppressed == ERASED:
        return WAS_ERASED
    if standing.suppressed:
        return Decision(Action.SKIP, f"hears nothing: {standing.suppressed}")
    until = _quiet_until(recipient, notice, config, now)
    return Decision(Action.HOLD, "quiet hours", until) if until else SEND


def _not_owed(recipient: Recipient, notice: Notice, standing: PersonStanding) -> str:
    if not recipient.key(notice.channel):
        return f"has no {'email address' if notice.channel is Channel.EMAIL else 'phone number'}"
    if standing.state:
        return f"already in the ledger: {standing.state}"
    if not standing.told and _follows_others(recipient, notice):
        return "follows other components"
    if _never_heard(recipient, notice, standing):
        return "was never told that it began"
    if recipient.level is Level.END and not notice.is_end:
        return "wants to hear of the end only"
    if recipient.level is Level.KEY and not notice.events:
        return "wants to hear of key events only"
    return ""


def _follows_others(recipient: Recipient, notice: Notice) -> bool:
    return bool(recipient.components and notice.affected and notice.affected.isdisjoint(recipient.components))


def _never_heard(recipient: Recipient, notice: Notice, standing: PersonStanding) -> bool:
    """Nobody hears of the end of what they never heard of, unless the end is all they asked for."""
    heard = standing.told or notice.told_elsewhere or recipient.level is Level.END
    return notice.is_end and not heard


def _quiet_until(recipient: Recipient, notice: Notice, config: Config, now: datetime) -> datetime | None:
    sms = config.channels.sms
    if notice.channel is not Channel.SMS or sms is None or sms.quiet is None:
        return None
    if notice.severity in sms.wake_for:
        return None
    return end_of_quiet(now, sms.quiet, ZoneInfo(recipient.timezone or config.organisation.zone))
