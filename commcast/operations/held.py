"""What quiet hours or a provider held back: whether it is still sent, and with which words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from commcast.delivery.freeze import TEXT_STANDS
from commcast.delivery.rows import PendingRows
from commcast.ledger.broadcasts import HeldRow
from commcast.ledger.store import Ledger
from commcast.model.history import ReaderHistory, Said
from commcast.model.incident import Channel, Update
from commcast.operations.desk import Desk, Plan
from commcast.plan.cadence import interval, promises
from commcast.plan.due import follow_up_notice
from commcast.plan.notices import (
    NO_NEWS,
    Hold,
    Notice,
    NoticeKind,
    broken_promises,
    kind_of,
    last_said,
    notice_of,
)
from commcast.plan.promises import last_news, promised_text
from commcast.plan.reminders import end_of_quiet, offset_of, quiet_hours, reminder_notice, still_ahead

STALE = "expired: nobody has written since, long after the promise"
# Older facts are not sent without a person, however long a provider was down.
ANEW_FOR = timedelta(days=1)


def reason_to_drop(desk: Desk, plan: Plan, row: HeldRow, history: ReaderHistory) -> str:
    """Return why a held text no longer goes to its reader, "" if it still does.

    A reader who was promised a text gets it, however old the facts are: it says from when they are.
    """
    if row.audience not in desk.config.audiences:
        return "its audience is gone from commcast.toml"
    newest = plan.incident.update(max(plan.history.releases))
    if kind_of(row.notice) is NoticeKind.FOLLOW_UP and not newest.is_end:
        return "not over after all"
    if newest.is_end and not plan.incident.update(row.number).is_end:
        return "over by the time it could be sent"
    if kind_of(row.notice) is NoticeKind.REMINDER and not still_ahead(
        plan.incident, row.number, newest, desk.now
    ):
        return "begun, or moved, by the time it could be sent"
    if row.expired:
        return STALE if desk.now - newest.at > ANEW_FOR else ""
    return STALE if history.promised is None and _is_old(desk, plan, row) else ""


def quiet_until(desk: Desk, plan: Plan, row: HeldRow) -> datetime | None:
    """Return when the reader of words that are written anew may be texted, None for now."""
    if row.expired is None:
        return None
    newest = plan.incident.update(max(plan.history.releases))
    news_of = None if kind_of(row.notice) in NO_NEWS else newest.severity
    hours = quiet_hours(news_of, Channel(row.channel), desk.config)
    zone = str(row.recipient.get("timezone") or desk.config.organisation.zone)
    return end_of_quiet(desk.now, hours, ZoneInfo(zone)) if hours else None


def writer_of(desk: Desk, ledger: Ledger, plan: Plan, row: HeldRow) -> PendingRows:
    """Return what makes the words of a held row, and of all others of its notice and audience."""
    return PendingRows(
        desk.config,
        plan.templates or desk.templates,
        plan.incident,
        held_notice(desk, plan, row),
        desk.now,
        ledger,
        plan.known.hold_before(desk.config),
    )


def held_notice(desk: Desk, plan: Plan, row: HeldRow) -> Notice:
    """Return the notice that was held, with the newest facts: they may have changed overnight."""
    held, newest = plan.incident.update(row.number), plan.incident.update(max(plan.history.releases))
    channel, config = Channel(row.channel), desk.config
    if kind_of(row.notice) is NoticeKind.REMINDER:
        ahead = offset_of(row.notice)
        return reminder_notice(plan.incident, newest.number, channel, plan.history, config, ahead, desk.now)
    if kind_of(row.notice) is NoticeKind.FOLLOW_UP:
        return follow_up_notice(row.notice, plan.incident, held, plan.history, config)
    if kind_of(row.notice) is NoticeKind.HOLDING:
        text = promised_text(row.notice, row.audience, plan.incident, plan.history, config, desk.now)
        if text is not None:
            return text
    notice = notice_of(plan.incident, held, channel, plan.history, config)
    current = notice_of(plan.incident, newest, channel, plan.history, config)
    before = [said.number for said in plan.history.said if _is_before(said, row)]
    notice = replace(
        notice,
        number=newest.number,
        next_update_by=current.next_update_by,
        after=max(before, default=0),
    )
    promised = notice.next_update_by.get(row.audience)
    if channel is Channel.SMS and promised is not None:
        promised = _promised(desk, plan, row)
        notice = replace(notice, next_update_by={**current.next_update_by, row.audience: promised})
    if row.expired and not before:  # its readers did not join late: nothing could be sent to them
        notice = replace(notice, events=notice.events | {"first"})
    if row.expired and newest.window is None:
        if promised is None or promised > desk.now + plan.known.hold_before(desk.config):
            return notice
        notice = replace(notice, broken=broken_promises(plan.history, channel, (row.audience,), desk.now))
        mailed = last_said(plan.history, Channel.EMAIL).get(row.audience)
        if channel is Channel.SMS and mailed and mailed.heard:
            return notice  # emails do not promise anew what texts say of them
        return replace(notice, next_update_by=_next_promises(desk, plan, newest))
    if not _is_old(desk, plan, row):
        return notice
    if newest.window is None:
        return replace(notice, keeps=desk.now)
    # The times that planned work names have passed.
    return replace(notice, holds={row.audience: Hold(last_news(plan.incident, newest), 1)})


def _next_promises(desk: Desk, plan: Plan, newest: Update) -> Mapping[str, datetime]:
    """Return the promise to each audience of words that are written anew: a whole wait from now on."""
    cadence, now = desk.config.cadence_of(newest.severity), desk.now
    waits = {name: interval(cadence, plan.incident, newest, name, at=now) for name in desk.config.audiences}
    return {name: (now + wait).replace(second=0, microsecond=0) for name, wait in waits.items()}


def _is_before(said: Said, row: HeldRow) -> bool:
    """Return whether a held row's readers were told this before it, on its channel."""
    return (said.channel, said.audience) == (row.channel, row.audience) and said.number < row.number


def _is_old(desk: Desk, plan: Plan, row: HeldRow) -> bool:
    """Return whether the facts are too old to send; holding statements by email keep them fresh, too."""
    newest = plan.incident.update(max(plan.history.releases))
    if newest.is_end or kind_of(row.notice) is NoticeKind.HOLDING:
        return False  # an end promises nothing; a holding statement says itself from when its facts are
    promised = _promised(desk, plan, row)
    return promised is not None and promised + TEXT_STANDS <= desk.now


def _promised(desk: Desk, plan: Plan, row: HeldRow) -> datetime | None:
    """Return the latest time that a row's audience was promised; holding statements by email promise, too."""
    newest = plan.incident.update(max(plan.history.releases))
    mailed = [
        said.promised
        for said in plan.history.said
        if said.audience == row.audience and said.channel is Channel.EMAIL
    ]
    known = [promises(desk.config, plan.incident, newest).get(row.audience), *mailed]
    return max(filter(None, known), default=None)
