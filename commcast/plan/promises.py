"""What is sent automatically to keep a promise: holding statements and promised texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil
from typing import NamedTuple
from zoneinfo import ZoneInfo

from commcast.config.settings import Config, OnSilence, Silence, SmsChannel
from commcast.model.history import History, Said
from commcast.model.incident import Channel, Incident, NextWord, Update
from commcast.plan import reasons
from commcast.plan.cadence import GRACE, interval, planned_bound, promises, since_window
from commcast.plan.notices import (
    Due,
    Hold,
    Notice,
    NoticeKind,
    broken_promises,
    holds_in_a_row,
    is_named_for,
    kind_of,
    last_said,
    name_of_promise,
    newest_released,
    notice_of,
)
from commcast.plan.reminders import end_of_quiet

_DEFAULTS = Silence.model_construct()


class _Case(NamedTuple):
    """One open incident at one moment: everything in this file is decided from it."""

    incident: Incident
    newest: Update
    history: History
    config: Config
    now: datetime


def holds_due(
    incident: Incident, history: History, config: Config, now: datetime, *, early: timedelta
) -> tuple[Due, ...]:
    """Return a line for each promise by email that a holding statement has to keep, now or later.

    Audiences that were promised the same moment share one statement. It is sent `early` before the promise,
    but never in the first half of the wait; texts keep their own promises. While an update has not reached
    anybody in an audience, for example because a provider is down, that update is sent first.
    """
    update = newest_released(incident, history)
    if update is None or update.is_end:
        return ()
    by_promise: defaultdict[datetime, list[Said]] = defaultdict(list)
    for said in last_said(history, Channel.EMAIL).values():
        news_waits = not said.heard and kind_of(said.notice) is not NoticeKind.HOLDING
        if said.promised is not None and not news_waits and said.audience in config.audiences:
            by_promise[said.promised].append(said)
    case = _Case(incident, update, history, config, now)
    return tuple(line for by in sorted(by_promise) for line in _hold_lines(case, by, by_promise[by], early))


def says_hold(config: Config, update: Update, audience: str, promised: datetime) -> bool:
    """Return whether an audience gets a holding statement if nobody writes before `promised`.

    Promises for the planned start or end of work, or later, always get one: readers are waiting for that
    moment.
    """
    if (silence := config.silence) is None or update.severity not in silence.severities:
        return since_window(update, promised)
    return silence.audiences.get(audience) is OnSilence.HOLD or since_window(update, promised)


def hold_at(update: Update, said_at: datetime, promised: datetime, early: timedelta) -> datetime:
    """Return when the statement that keeps a promise is sent: `early`, but in the second half of the wait.

    Where planned work begins or ends, it is sent after that moment, and those at work get a little time.
    """
    earliest = said_at + (promised - said_at) / 2
    if bound := planned_bound(update, promised):
        earliest = max(earliest, bound + GRACE / 3)
    return max(promised - early, earliest)


def last_news(incident: Incident, newest: Update) -> datetime:
    """Return when there was last news; updates that said "nothing new" don't count."""
    news = [update.at for update in incident.updates[: newest.number] if update.nothing_new is None]
    return news[-1] if news else newest.at


def _next_promise(case: _Case, audience: str, base: datetime, step: int) -> datetime:
    """Return the promise of the `step`th holding statement in a row to an audience, counted from `base`."""
    silence, cadence = case.config.silence or _DEFAULTS, case.config.cadence_of(case.newest.severity)
    every = interval(cadence, case.incident, case.newest, audience, at=base)
    steps = [each.after(every) for each in silence.steps]
    length = steps[step - 1] if step <= len(steps) else silence.then.after(every)
    return (base + length).replace(second=0, microsecond=0)


def _hold_lines(case: _Case, promised: datetime, waiting: list[Said], early: timedelta) -> Iterator[Due]:
    """Yield a line for audiences that get a statement, and one for those that only cause a nudge."""
    begun = case.history.begun
    hearing = [said for said in waiting if says_hold(case.config, case.newest, said.audience, promised)]
    others = [said for said in waiting if said not in hearing]
    if others:
        yield Due(_hold_notice(case, promised, others), False, reasons.LEFT_TO_NUDGE)
    if not hearing:
        return
    notice = _hold_notice(case, promised, hearing)
    if (notice.id, notice.channel) in begun:
        # It was sent to other audiences, before [silence] was changed to include these.
        notice = replace(notice, id=":".join([notice.id, *notice.audiences]))
    since = min(hold_at(case.newest, said.at, promised, early) for said in hearing)
    if (notice.id, notice.channel) in begun:
        yield Due(notice, False, reasons.ALREADY_SENT)
    elif case.now < since:
        reason = reasons.HOLD_LATER.format(time=f"{since.astimezone(case.config.zone):%H:%M %Z}")
        yield Due(notice, False, reason, since)
    else:
        yield Due(notice, True, reasons.NOBODY_WROTE, since)


def _hold_notice(case: _Case, promised: datetime, said: list[Said]) -> Notice:
    incident, update, history, config, now = case
    audiences = config.by_rank({each.audience for each in said})
    since, base = last_news(incident, update), max(promised, now)
    steps = {name: holds_in_a_row(history, Channel.EMAIL, name) + 1 for name in audiences}
    # Readers who never got the newest update get that instead: to them something has changed.
    knowing = {each.audience for each in said if not _has_news(incident, each.number, update.number)}
    return replace(
        notice_of(incident, update, Channel.EMAIL, history, config),
        id=f"{NoticeKind.HOLDING}:{name_of_promise(promised, said, history.said)}",
        kind=NoticeKind.HOLDING,
        events=frozenset(),
        audiences=audiences,
        next_update_by={name: _next_promise(case, name, base, step) for name, step in steps.items()},
        broken=broken_promises(history, Channel.EMAIL, audiences, now),
        holds={name: Hold(since, step) for name, step in steps.items() if name in knowing},
        only_told=True,
    )


def _has_news(incident: Incident, heard: int, newest: int) -> bool:
    """Return whether there was news after the update numbered `heard`."""
    return any(update.nothing_new is None for update in incident.updates[heard:newest])


# The least time between the end of quiet hours and a promise that was moved out of them, because ticks may
# run only every ten minutes. Longer times are rounded up.
AFTER_QUIET, _ROUND = timedelta(minutes=10), timedelta(minutes=5)


def promise_to(
    notice: Notice,
    audience: str,
    word: NextWord,
    update: Update,
    config: Config,
    zone: ZoneInfo,
    now: datetime,
    *,
    early: timedelta | None = None,
) -> datetime | None:
    """Return the time that a notice promises to readers in `zone`; `word` is how they get the next update.

    None for an end, for readers who are promised no time, and if the time of the next email has passed. The
    next text is sent `early` before it, by default as configured.
    """
    by, sms = notice.next_update_by.get(audience), config.channels.sms
    if by is None or word in {NextWord.KEY, NextWord.END}:
        return None
    if notice.channel is Channel.EMAIL or sms is None:
        return by
    if word is NextWord.EMAIL:
        return by if by > now else None
    # From the time that was promised, not from shortly before it.
    at = max(now, notice.keeps or now)
    before = config.tick.hold_before if early is None else early
    is_awaited = planned_bound(update, by) is not None and by > at
    return text_promise(by, sms, zone, at, early=before, is_awaited=is_awaited)


def text_promise(
    by: datetime,
    sms: SmsChannel,
    zone: ZoneInfo,
    now: datetime,
    *,
    early: timedelta = AFTER_QUIET,
    is_awaited: bool = False,
) -> datetime:
    """Return when readers in `zone` who only get texts are told to expect the next one, on a full minute.

    Routine updates are not texted, so it is later than `by`, the promise of the emails: `only_sms_every` from
    now, unless readers are waiting for `by` itself (`is_awaited`: planned work begins or ends). It is never
    in their quiet hours, nor so soon after them that a text sent `early` before it would be: only news wakes.
    """
    promised = by if is_awaited else max(by, now + sms.only_sms_every)
    promised = max(promised.replace(second=0, microsecond=0), by)
    if sms.quiet is None:
        return promised
    # The text is sent shortly before its promise: that has to be outside quiet hours too.
    room = max(AFTER_QUIET, ceil(early / _ROUND) * _ROUND)
    for moment in (promised, promised - room):
        if until := end_of_quiet(moment, sms.quiet, zone):
            later = until + room
            return until if end_of_quiet(later, sms.quiet, zone) else later
    return promised


def texts_due(
    incident: Incident, history: History, config: Config, now: datetime, *, early: timedelta
) -> tuple[Due, ...]:
    """Return a line for each promise of a text that is not kept yet, now or later.

    It is sent `early` before the promise. Texts promise nothing to readers who also get email.
    """
    newest, said = newest_released(incident, history), history.said
    if config.channels.sms is None or newest is None or newest.is_end:
        return ()
    case = _Case(incident, newest, history, config, now)
    lines = []
    for audience, promised in _open_promises(said, incident):
        # The last text that made this promise to the audience.
        made = [each for each in _texts_to(audience, said) if promised in each.text_promises][-1]
        is_begun = (_text_id(promised, made, said), Channel.SMS) in history.begun
        if audience in config.audiences and not is_begun:
            lines.append(_text_line(case, promised, made, early))
    return tuple(lines)


def _texts_to(audience: str, said: Iterable[Said]) -> list[Said]:
    return [each for each in said if each.channel is Channel.SMS and each.audience == audience]


def _open_promises(said: Iterable[Said], incident: Incident) -> Iterator[tuple[str, datetime]]:
    """Yield (audience, promise) of the texts that readers are waiting for.

    A text to a whole audience keeps every promise to it; a promised text keeps only its own. A correction may
    go to some readers only: whether the others are still waiting is decided reader by reader.
    """
    waiting: dict[str, set[datetime]] = {}
    for each in said:
        if each.channel is Channel.SMS:
            own = set() if _is_for_all(each, incident) else waiting.get(each.audience, set())
            kept = {promised for promised in own if is_named_for(each.notice, promised)}
            waiting[each.audience] = (own - kept).union(each.text_promises)
    for audience, open_ones in waiting.items():
        yield from ((audience, promised) for promised in sorted(open_ones))


def _is_for_all(said: Said, incident: Incident) -> bool:
    told = incident.updates[said.number - 1 : said.number]
    return kind_of(said.notice) is not NoticeKind.HOLDING and not any(one.corrects for one in told)


def _known_to_all(promised: datetime, audience: str, said: Iterable[Said], incident: Incident) -> int:
    """Return the last update that everybody waiting for this promise has; some may have a later one."""
    known: list[int] = []
    for each in _texts_to(audience, said):
        if _is_for_all(each, incident):
            known.clear()
        if promised in each.text_promises:
            known.append(each.number)
    return min(known, default=0)


def _text_id(promised: datetime, made: Said, said: Sequence[Said]) -> str:
    return f"{NoticeKind.HOLDING}:{name_of_promise(promised, [made], said)}/{made.audience}"


def _text_line(case: _Case, promised: datetime, made: Said, early: timedelta) -> Due:
    """Return the line of the text that keeps a promise: with newer facts, or saying that nothing is new."""
    config, newest = case.config, case.newest
    told = {"promise": f"{promised.astimezone(config.zone):%H:%M}", "number": newest.number}
    notice, goes = _text(case, promised, made), hold_at(newest, made.at, promised, early)
    # Quiet hours may have moved the promise away from the planned start or end that it was made for.
    awaited = promises(config, case.incident, newest).get(made.audience) or promised
    if notice.holds and not any(says_hold(config, newest, made.audience, by) for by in (promised, awaited)):
        return Due(notice, False, reasons.TEXT_LEFT_TO_NUDGE.format(**told))
    is_due = case.now >= goes
    reason = (reasons.TEXT_HOLDS if notice.holds else reasons.TEXT_OWED) if is_due else reasons.TEXT_LATER
    return Due(notice, is_due, reason.format(**told), goes)


def promised_text(
    notice: str, audience: str, incident: Incident, history: History, config: Config, now: datetime
) -> Notice | None:
    """Return the text with this id in the ledger, which keeps a promise to an audience, as of `now`.

    None if the ledger no longer has the message that made the promise.
    """
    if (newest := newest_released(incident, history)) is None:
        return None
    case = _Case(incident, newest, history, config, now)
    promises_made = ((by, each) for each in _texts_to(audience, history.said) for by in each.text_promises)
    named = (_text(case, *each) for each in promises_made if _text_id(*each, history.said) == notice)
    return next(named, None)


def _text(case: _Case, promised: datetime, made: Said) -> Notice:
    """Return the text that keeps a promise of `made`: a holding statement if there is nothing newer."""
    incident, newest, history, config, now = case
    known = _known_to_all(promised, made.audience, history.said, incident)
    notice = replace(
        notice_of(incident, newest, Channel.SMS, history, config),
        id=_text_id(promised, made, history.said),
        kind=NoticeKind.HOLDING,
        events=frozenset(),
        audiences=(made.audience,),
        only_told=True,
        keeps=promised,
        after=known,
    )
    # For planned work it says that nobody has confirmed its start or end, and says so to everybody.
    if made.number < newest.number or (known < newest.number and newest.window is None):
        return notice
    step = _step(made, history.said)
    by = _next_promise(case, made.audience, max(promised, now), step)
    return replace(
        notice,
        holds={made.audience: Hold(last_news(incident, newest), step)},
        next_update_by={**notice.next_update_by, made.audience: by},
    )


def _step(made: Said, said: tuple[Said, ...]) -> int:
    """Return how many texts in a row, including the next, say that nothing is new."""
    texts = _texts_to(made.audience, said)
    before = {_text_id(promised, each, said): each for each in texts for promised in each.text_promises}
    step, kept = 1, made
    while (earlier := before.get(kept.notice)) is not None and earlier.number == kept.number:
        step, kept = step + 1, earlier
    return step
