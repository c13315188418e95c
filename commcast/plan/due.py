"""The plan of one incident: its newest update, follow-ups, and who is told first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from commcast.config.settings import Config
from commcast.model.history import History, Said
from commcast.model.incident import Channel, Incident, Update
from commcast.model.release import ELSEWHERE
from commcast.plan import reasons
from commcast.plan.corrections import corrects_here
from commcast.plan.notices import (
    Due,
    Notice,
    NoticeKind,
    audiences_of,
    broken_promises,
    newest_released,
    notice_of,
)
from commcast.plan.promises import holds_due, texts_due
from commcast.plan.reminders import next_morning, reminders_due


def updates_due(
    incident: Incident, history: History, config: Config, now: datetime, *, late: bool = False
) -> tuple[Due, ...]:
    """Return a line per channel for the newest released update, due or not.

    Older updates are never sent as a backlog. An update whose own promise has passed is stale; `late` sends
    it anyway.
    """
    update = newest_released(incident, history)
    if update is None:
        return ()
    notices = [_update_notice(incident, update, channel, history, config, now) for channel in Channel]
    return tuple(
        Due(notice, *_is_due(notice, update, history, now, late=late))
        for notice in notices
        if notice.audiences or (notice.merged and notice.channel in history.merged_on)
    )


def _update_notice(
    incident: Incident, update: Update, channel: Channel, history: History, config: Config, now: datetime
) -> Notice:
    """Return the notice of an update: an email admits broken promises, a text knows whether it is routine.

    Only emails promise everybody a time; a text admits only what texts promised. What was texted before this
    ledger began is unknown, and some may have been promised a text: until it texted one, none is routine.
    """
    notice, sms = notice_of(incident, update, channel, history, config), config.channels.sms
    if channel is Channel.EMAIL:
        return replace(notice, broken=broken_promises(history, channel, notice.audiences, now))
    is_first_here = notice.told_elsewhere and not notice.is_end and channel not in history.told_up_to
    is_plain = sms is not None and not is_first_here and notice.events.isdisjoint(sms.events)
    return replace(notice, is_plain=is_plain)


def with_held(lines: Iterable[Due], held: Mapping[tuple[str, Channel], tuple[int, int]]) -> tuple[Due, ...]:
    """Return the plan with, for frozen notices, how many messages quiet hours hold back.

    `held` maps notice and channel to (messages held, messages in all).
    """
    return tuple(
        replace(line, reason=reasons.HELD_FOR_THE_NIGHT.format(held=found[0], number=found[1]))
        if line.reason == reasons.ALREADY_SENT and (found := held.get((line.notice.id, line.notice.channel)))
        else line
        for line in lines
    )


def _is_due(
    notice: Notice, update: Update, history: History, now: datetime, *, late: bool
) -> tuple[bool, str]:
    release = history.releases[notice.number]
    if release.how == ELSEWHERE:
        return False, reasons.UPDATE_TOLD_ELSEWHERE
    if (notice.id, notice.channel) in history.begun:
        return False, reasons.ALREADY_SENT
    if notice.is_plain and not corrects_here(notice, history):
        return False, reasons.UPDATE_NOT_TEXTED
    if not late and _is_stale(notice, now):
        return False, reasons.UPDATE_STALE
    new = notice.events | ({"correction"} if notice.wrong_words else set())
    events = " and ".join(sorted(new)) or "released"
    return True, reasons.UPDATE_OWED.format(number=update.number, events=events)


def _is_stale(notice: Notice, now: datetime) -> bool:
    promised = [by for name in notice.audiences if (by := notice.next_update_by[name]) is not None]
    return bool(promised) and now >= max(promised)


# With no tick for this long, nobody would send the rest: everybody is told at once.
TICK_IS_GONE = timedelta(minutes=10)
_NO_LEAD = frozenset({1, 2})  # the worst severities wait for nobody
# Something wrong was sent, or readers are waiting for the end or already know: waiting gains nothing.
_AT_ONCE = frozenset({"correction", "retracted", "resolved", "started"})


def others_wait(
    notice: Notice, incident: Incident, history: History, config: Config, now: datetime
) -> Mapping[str, datetime]:
    """Return, by audience, when audiences without a lead are told; {} if everybody is told now.

    Nobody waits until a promise to them is about to break, nor longer than half the time until the notice's
    own promise.
    """
    may_wait = notice.kind is NoticeKind.UPDATE and not _is_urgent(notice)
    if not may_wait or history.last_tick is None or now - history.last_tick >= TICK_IS_GONE:
        return {}
    hearing = audiences_of(incident, incident.update(notice.number), config)
    leads = {name: lead for name in hearing if (lead := config.audiences[name].lead)}
    if not leads:
        return {}
    at = now + max(leads.values())
    waits: dict[str, datetime] = {}
    for name in notice.audiences:
        latest = [at, *_bounds(notice, name, history.said, config, now)]
        if name not in leads and min(latest) > now:
            waits[name] = min(latest)
    return waits


def _is_urgent(notice: Notice) -> bool:
    corrects = any(each.by == notice.number for each in notice.wrong_words)
    return notice.severity in _NO_LEAD or notice.is_end or corrects or not _AT_ONCE.isdisjoint(notice.events)


def _bounds(
    notice: Notice, audience: str, said: Iterable[Said], config: Config, now: datetime
) -> Iterable[datetime]:
    """Yield the times by which an audience has to be told."""
    if (own := notice.next_update_by.get(audience)) is not None:
        yield now + (own - now) / 2
    promised = [each.promised for each in said if (each.audience, each.channel) == (audience, notice.channel)]
    if promised and promised[-1] is not None:
        yield promised[-1] - config.tick.hold_before


REVIEW = f"{NoticeKind.FOLLOW_UP}:review"
CHECK_IN = f"{NoticeKind.FOLLOW_UP}:check-in"

_EARLIEST_ZONE = ZoneInfo("Etc/GMT-14")  # where each day begins first
ASKED_FOR = timedelta(days=3)  # after this, a check-in would only be a nuisance
REVIEW_IS_NEWS = timedelta(days=90)  # a later one is not sent by email


def follow_ups_due(incident: Incident, history: History, config: Config, now: datetime) -> Iterator[Due]:
    """Yield a line for each follow-up that is due now or later. The review waits for a person's yes."""
    end = newest_released(incident, history)
    if end is None or not end.is_end:
        return

    def new(kind: str) -> Notice | None:
        notice = follow_up_notice(kind, incident, end, history, config)
        return notice if notice.audiences and (kind, Channel.EMAIL) not in history.begun else None

    if incident.postmortem and now - end.at <= REVIEW_IS_NEWS and (review := new(REVIEW)):
        waits = reasons.REVIEW_WAITS.format(incident=incident.id)
        yield Due(review, history.asked, reasons.REVIEW_OWED if history.asked else waits)
    first = next_morning(end.at, _EARLIEST_ZONE)
    if now < first + ASKED_FOR and (check_in := new(CHECK_IN)):
        later = reasons.CHECK_IN_LATER.format(time=f"{first.astimezone(config.zone):%a %H:%M %Z}")
        is_due = now >= first
        yield Due(check_in, is_due, reasons.CHECK_IN_OWED if is_due else later, None if is_due else first)


def follow_up_notice(kind: str, incident: Incident, end: Update, history: History, config: Config) -> Notice:
    """Return a follow-up (REVIEW or CHECK_IN) of an incident that ended with `end`."""
    ends = _ends(incident, end)
    first = ends[0].number
    told = {each.audience for each in history.said if each.channel is Channel.EMAIL and each.number >= first}
    wanted = {name for update in ends for name in update.check_in} if kind == CHECK_IN else told
    return replace(
        notice_of(incident, end, Channel.EMAIL, history, config),
        id=kind,
        kind=NoticeKind.FOLLOW_UP,
        events=frozenset(),
        audiences=config.by_rank(told & wanted & config.audiences.keys()),
        only_told=True,
        told_from=first,
        asks_after=end.at if kind == CHECK_IN else None,
    )


def _ends(incident: Incident, end: Update) -> list[Update]:
    """Return an end with the ends that it corrects, oldest first."""
    found = [end]
    while found[0].corrects and found[0].number > 1 and incident.update(found[0].number - 1).is_end:
        found.insert(0, incident.update(found[0].number - 1))
    return found


def due(
    incident: Incident,
    history: History,
    config: Config,
    now: datetime,
    *,
    late: bool = False,
    early: timedelta | None = None,
    unaided: bool = False,
) -> tuple[Due, ...]:
    """Return a line for each notice that may be due now. `late` also sends stale updates.

    Holding statements are sent `early` before their promise, by default as configured. If a person's update
    is due, nothing is sent automatically. `unaided` leaves out everything that needs files: the rest is
    decided from the ledger alone.
    """
    before = config.tick.hold_before if early is None else early
    lines = () if unaided else updates_due(incident, history, config, now, late=late)
    plan = {line.notice.channel for line in lines if line.is_due}
    if not plan and not unaided:
        lines = (*lines, *reminders_due(incident, history, config, now))
    if Channel.EMAIL not in plan:
        lines = (*lines, *holds_due(incident, history, config, now, early=before))
    if Channel.SMS not in plan:
        lines = (*lines, *texts_due(incident, history, config, now, early=before))
    if not unaided:
        lines = (*lines, *follow_ups_due(incident, history, config, now))
    return tuple(
        replace(line, notice=replace(line.notice, not_before=waits))
        if line.is_due and (waits := others_wait(line.notice, incident, history, config, now))
        else line
        for line in lines
    )
