"""What quiet hours held back, when its time has come: whether it still stands, and which notice it is now."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from commcast.desk import Desk, Owed
from commcast.freezing import TEXT_STANDS
from commcast.ledger.freeze import HeldRow
from commcast.model import Channel
from commcast.plan.follow_ups import follow_up_notice
from commcast.plan.kinds import NoticeKind, kind_of
from commcast.plan.notices import Notice, notice_of
from commcast.plan.reminders import offset_of, reminder_notice, still_ahead

STALE = "expired: nobody has written since, long after the promise"


def reason_to_drop(desk: Desk, owed: Owed, row: HeldRow) -> str:
    """Return why a held text goes to nobody any more, "" where it still stands."""
    if row.audience not in desk.config.audiences:
        return "its audience is gone from commcast.toml"
    newest = owed.incident.update(max(owed.standing.releases))
    if kind_of(row.notice) is NoticeKind.FOLLOW_UP and not newest.is_end:
        return "not over after all"
    if newest.is_end and not owed.incident.update(row.number).is_end:
        return "over by the time quiet hours ended"
    if kind_of(row.notice) is NoticeKind.REMINDER and not still_ahead(
        owed.incident, row.number, newest, desk.now
    ):
        return "begun, or moved, by the time quiet hours ended"
    if newest.is_end:
        return ""  # an end, and what follows it, promises nothing that could pass
    promised = _promised(desk, owed, row)
    if promised is not None and promised + TEXT_STANDS <= desk.now:
        return STALE
    return ""


def held_notice(desk: Desk, owed: Owed, row: HeldRow) -> Notice:
    """Return the notice that was held, with the newest facts: what was so at night may not be so now."""
    held, newest = owed.incident.update(row.number), owed.incident.update(max(owed.standing.releases))
    channel, config = Channel(row.channel), desk.config
    if kind_of(row.notice) is NoticeKind.REMINDER:
        ahead = offset_of(row.notice)
        return reminder_notice(owed.incident, newest.number, channel, owed.standing, config, ahead, desk.now)
    if kind_of(row.notice) is NoticeKind.FOLLOW_UP:
        return follow_up_notice(row.notice, owed.incident, held, owed.standing, config)
    notice = notice_of(owed.incident, held, channel, owed.standing, config)
    current = notice_of(owed.incident, newest, channel, owed.standing, config)
    return replace(notice, number=newest.number, next_update_by=current.next_update_by)


def _promised(desk: Desk, owed: Owed, row: HeldRow) -> datetime | None:
    """Return until when the facts stand: holding statements by mail keep them true, too."""
    mailed = [
        said.promised
        for said in owed.standing.said
        if said.audience == row.audience and said.channel is Channel.EMAIL
    ]
    known = [held_notice(desk, owed, row).next_update_by.get(row.audience), *mailed]
    return max(filter(None, known), default=None)
