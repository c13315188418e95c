"""The plan of one incident: its newest update, follow-ups, and who hears first."""

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
    """Return a line for each channel: the newest released update, due or not.

    Only the newest counts: older updates are never sent as a backlog. An update older than its own promise is
    stale; `late` sends it anyway.
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
    """Return the notice of an update; a mail names the promises it breaks, a text whether it is a plain one.

    Only mails state a time to everybody; a text owns up to what it promised itself.
    """
    notice, sms = notice_of(incident, update, channel, history, config), config.channels.sms
    if channel is Channel.EMAIL:
        return replace(notice, broken=broken_promises(history, channel, notice.audiences, now))
    return replace(notice, is_plain=sms is not None and notice.events.isdisjoint(sms.events))


def with_held(lines: Iterable[Due], held: Mapping[tuple[str, Channel], tuple[int, int]]) -> tuple[Due, ...]:
    """Return the plan with the reasons of frozen notices saying how many messages quiet hours hold.

    `held` has by notice and channel how many are held, and how many there are.
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


# Without a tick for this long nobody would send the rest: then everybody is told at once.
TICK_IS_GONE = timedelta(minutes=10)
_NO_LEAD = frozenset({1, 2})  # the worst severities wait for nobody
# Wrong words are out, or readers wait for the end, or have long known: nothing is gained by waiting.
_AT_ONCE = frozenset({"correction", "retracted", "resolved", "started"})


def others_wait(
    notice: Notice, incident: Incident, history: History, config: Config, now: datetime
) -> Mapping[str, datetime]:
    """Return, by audience, when those hear of a notice who hear later than others; {} if all hear now.

    Nobody waits until their own promise is about to break, nor longer than half the time until the notice's
    own promise.
    """
    if not _may_wait(notice, history, now):
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


def _may_wait(notice: Notice, history: History, now: datetime) -> bool:
    if notice.kind is not NoticeKind.UPDATE or notice.severity in _NO_LEAD:
        return False
    if notice.is_end or not _AT_ONCE.isdisjoint(notice.events):
        return False
    if any(each.by == notice.number for each in notice.wrong_words):
        return False
    return history.last_tick is not None and now - history.last_tick < TICK_IS_GONE


def _bounds(
    notice: Notice, audience: str, said: Iterable[Said], config: Config, now: datetime
) -> Iterable[datetime]:
    """Yield the latest times until which an audience may wait."""
    if (own := notice.next_update_by.get(audience)) is not None:
        yield now + (own - now) / 2
    promised = [each.promised for each in said if (each.audience, each.channel) == (audience, notice.channel)]
    if promised and promised[-1] is not None:
        yield promised[-1] - config.tick.hold_before


REVIEW = f"{NoticeKind.FOLLOW_UP}:review"
CHECK_IN = f"{NoticeKind.FOLLOW_UP}:check-in"

_EARLIEST_ZONE = ZoneInfo("Etc/GMT-14")  # in which each day begins first
ASKED_FOR = timedelta(days=3)  # this long after its morning a check-in is only a nuisance
REVIEW_IS_NEWS = timedelta(days=90)  # a later one is not sent by mail


def follow_ups_due(incident: Incident, history: History, config: Config, now: datetime) -> Iterator[Due]:
    """Yield a line for each follow-up that is due now or later. The review waits for a person's yes."""
    end = newest_released(incident, history)
    if end is None or not end.is_end:
        return
    for kind, line_of in ((REVIEW, _review), (CHECK_IN, _check_in)):
        notice = follow_up_notice(kind, incident, end, history, config)
        is_new = notice.audiences and (notice.id, Channel.EMAIL) not in history.begun
        if is_new and (line := line_of(notice, incident, end, history, config, now)):
            yield line


def follow_up_notice(kind: str, incident: Incident, end: Update, history: History, config: Config) -> Notice:
    """Return a follow-up (REVIEW or CHECK_IN) of an incident that ended with `end`."""
    ends = _ends(incident, end)
    wanted = {name for update in ends for name in update.check_in}
    told = _told(ends[0], history) & config.audiences.keys()
    hearing = told & wanted if kind == CHECK_IN else told
    return replace(
        notice_of(incident, end, Channel.EMAIL, history, config),
        id=kind,
        kind=NoticeKind.FOLLOW_UP,
        events=frozenset(),
        audiences=config.by_rank(hearing),
        only_told=True,
        told_from=ends[0].number,
        asks_after=end.at if kind == CHECK_IN else None,
    )


def _told(end: Update, history: History) -> set[str]:
    """Return the audiences that were told an end by mail."""
    return {
        said.audience for said in history.said if said.channel is Channel.EMAIL and said.number >= end.number
    }


def _ends(incident: Incident, end: Update) -> list[Update]:
    """Return the end, and the same end before it was corrected, oldest first."""
    found = [end]
    while found[0].corrects and found[0].number > 1 and incident.update(found[0].number - 1).is_end:
        found.insert(0, incident.update(found[0].number - 1))
    return found


def _review(
    notice: Notice, incident: Incident, end: Update, history: History, _config: Config, now: datetime
) -> Due | None:
    if not incident.postmortem or now - end.at > REVIEW_IS_NEWS:
        return None
    waits = reasons.REVIEW_WAITS.format(incident=incident.id)
    return Due(notice, history.asked, reasons.REVIEW_OWED if history.asked else waits)


def _check_in(
    notice: Notice, _incident: Incident, end: Update, _history: History, config: Config, now: datetime
) -> Due | None:
    first = next_morning(end.at, _EARLIEST_ZONE)
    if now < first:
        when = f"{first.astimezone(config.zone):%a %H:%M %Z}"
        return Due(notice, False, reasons.CHECK_IN_LATER.format(time=when), first)
    return Due(notice, True, reasons.CHECK_IN_OWED) if now < first + ASKED_FOR else None


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
    """Return a line for each notice that may be due now. `late` sends stale updates as well.

    Holding statements go `early` before their promise, by default as early as the configuration says. If a
    person's words are due, nothing goes out by itself. `unaided` leaves out everything that needs files: the
    rest is decided from the ledger alone.
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
