"""What goes out by itself so that a promise holds: holding statements, promised texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil
from zoneinfo import ZoneInfo

from commcast.config.settings import Config, OnSilence, Silence, SmsChannel
from commcast.model.history import History, Said
from commcast.model.incident import Channel, Incident, NextWord, Update
from commcast.plan import reasons
from commcast.plan.cadence import interval, promises, since_window, window_bound
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

_DEFAULTS = Silence()


def holds_due(
    incident: Incident, history: History, config: Config, now: datetime, *, early: timedelta
) -> tuple[Due, ...]:
    """Return a line for each promise by mail that a holding statement is to rescue, now or later.

    Audiences that were promised the same moment share one statement. It goes `early` before the promise, but
    never in the first half of the wait; texts keep their own promises (plan.texts). Where news still waits
    for all of an audience, as while a provider is down, that goes first.
    """
    update = newest_released(incident, history)
    if update is None or update.is_end:
        return ()
    by_promise: defaultdict[datetime, list[Said]] = defaultdict(list)
    for said in last_said(history, Channel.EMAIL).values():
        news_waits = not said.heard and kind_of(said.notice) is not NoticeKind.HOLDING
        if said.promised is not None and not news_waits and said.audience in config.audiences:
            by_promise[said.promised].append(said)
    return tuple(
        line
        for promised in sorted(by_promise)
        for line in _lines(incident, update, promised, by_promise[promised], history, config, now, early)
    )


def says_hold(config: Config, update: Update, audience: str, promised: datetime) -> bool:
    """Return whether an audience gets a holding statement where nobody writes before `promised`.

    The start and end of a planned work are always spoken of, and what is promised of them since: readers
    wait for just that moment.
    """
    if since_window(update, promised):
        return True
    silence = config.silence
    return (
        silence is not None
        and update.severity in silence.severities
        and silence.audiences.get(audience) is OnSilence.HOLD
    )


def hold_from(said: Said, promised: datetime, early: timedelta) -> datetime:
    """Return when the statement that rescues a promise goes: `early`, but in the second half of the wait."""
    return hold_at(said.at, promised, early)


def hold_at(said_at: datetime, promised: datetime, early: timedelta) -> datetime:
    """Return what `hold_from` does for words said at a moment."""
    return max(promised - early, said_at + (promised - said_at) / 2)


def last_news(incident: Incident, newest: Update) -> datetime:
    """Return when there was news last; updates that said "nothing new" themselves do not count."""
    news = [update.at for update in incident.updates[: newest.number] if update.nothing_new is None]
    return news[-1] if news else newest.at


def next_promise(
    config: Config, incident: Incident, update: Update, audience: str, base: datetime, step: int
) -> datetime:
    """Return what the `step`th holding statement in a row promises an audience, counted from `base`."""
    silence = config.silence or _DEFAULTS
    every = interval(config.cadence_of(update.severity), incident, update, audience, at=base)
    steps = [each.after(every) for each in silence.steps]
    length = steps[step - 1] if step <= len(steps) else silence.then.after(every)
    return (base + length).replace(second=0, microsecond=0)


def _lines(
    incident: Incident,
    update: Update,
    promised: datetime,
    waiting: list[Said],
    history: History,
    config: Config,
    now: datetime,
    early: timedelta,
) -> Iterator[Due]:
    """Yield a line for those whose promise is rescued, and one for those who are left to the nudge."""
    hearing = [said for said in waiting if says_hold(config, update, said.audience, promised)]
    others = [said for said in waiting if said not in hearing]
    if others:
        yield Due(
            _notice(incident, update, promised, others, history, config, now), False, reasons.LEFT_TO_NUDGE
        )
    if not hearing:
        return
    notice = _notice(incident, update, promised, hearing, history, config, now)
    if (notice.id, notice.channel) in history.begun:
        # It went to others: these were left to the nudge then, and [silence] says otherwise by now.
        notice = replace(notice, id=":".join([notice.id, *notice.audiences]))
    since = min(hold_from(said, promised, early) for said in hearing)
    if (notice.id, notice.channel) in history.begun:
        yield Due(notice, False, reasons.ALREADY_SENT)
    elif now < since:
        words = reasons.HOLD_LATER.format(time=f"{since.astimezone(config.zone):%H:%M %Z}")
        yield Due(notice, False, words, since)
    else:
        yield Due(notice, True, reasons.NOBODY_WROTE, since)


def _notice(
    incident: Incident,
    update: Update,
    promised: datetime,
    said: list[Said],
    history: History,
    config: Config,
    now: datetime,
) -> Notice:
    names = {each.audience for each in said}
    plain = notice_of(incident, update, Channel.EMAIL, history, config)
    audiences = tuple(sorted(names, key=lambda name: (config.audiences[name].rank, name)))
    since = last_news(incident, update)
    steps = {name: holds_in_a_row(history, Channel.EMAIL, name) + 1 for name in audiences}
    # Who never got the newest words reads those: to them nothing has stayed as it was.
    knowing = {each.audience for each in said if not _has_news(incident, each.number, update.number)}
    return replace(
        plain,
        id=f"{NoticeKind.HOLDING}:{name_of_promise(promised, said, history.said)}",
        kind=NoticeKind.HOLDING,
        events=frozenset(),
        audiences=audiences,
        next_update_by=_promises(config, incident, update, steps, max(promised, now)),
        broken=broken_promises(history, Channel.EMAIL, audiences, now),
        holds={name: Hold(since, step) for name, step in steps.items() if name in knowing},
        only_told=True,
    )


def _promises(
    config: Config, incident: Incident, update: Update, steps: Mapping[str, int], base: datetime
) -> dict[str, datetime | None]:
    return {name: next_promise(config, incident, update, name, base, step) for name, step in steps.items()}


def _has_news(incident: Incident, heard: int, newest: int) -> bool:
    """Return whether anything new was said after the update numbered `heard`."""
    return any(update.nothing_new is None for update in incident.updates[heard:newest])


# How long after quiet hours a promise that would fall into them stands, at the least: ticks may turn out to
# come every ten minutes. What is longer is rounded up.
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
    """Return the time that a notice promises readers of an audience in `zone` who hear more as `word` says.

    None for an end, and for who is promised no time. The next text goes `early` before it, by default as long
    as the configuration says.
    """
    by, sms = notice.next_update_by.get(audience), config.channels.sms
    if by is None or word in {NextWord.KEY, NextWord.END}:
        return None
    if notice.channel is Channel.EMAIL or word is NextWord.EMAIL or sms is None:
        return by
    # From the time that was promised, not from shortly before it.
    at = max(now, notice.keeps or now)
    before = config.tick.hold_before if early is None else early
    is_awaited = window_bound(update, by) and by > at
    return text_promise(by, sms, notice.severity, zone, at, early=before, is_awaited=is_awaited)


def text_promise(
    by: datetime,
    sms: SmsChannel,
    severity: int,
    zone: ZoneInfo,
    now: datetime,
    *,
    early: timedelta = AFTER_QUIET,
    is_awaited: bool = False,
) -> datetime:
    """Return when readers in `zone` who only get texts are told to expect the next one.

    Plain updates are not texted, so it is later than `by`, the promise of the mails: `only_sms_every` from
    now, unless `by` is a time that readers wait for (`is_awaited`: a planned work begins or ends). It is on a
    full minute and never in their quiet hours, nor so soon after these that a text which goes `early` before
    it would fall into them, unless the severity wakes.
    """
    promised = by if is_awaited else max(by, now + sms.only_sms_every)
    promised = max(promised.replace(second=0, microsecond=0), by)
    if sms.quiet is None or severity in sms.wake_for:
        return promised
    # The text goes shortly before its promise: that too is after the quiet hours.
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

    It goes `early` before the promise. Whoever gets mail as well is promised nothing by a text.
    """
    newest = newest_released(incident, history)
    if config.channels.sms is None or newest is None or newest.is_end:
        return ()
    return tuple(
        _line(incident, newest, promised, audience, history, config, now, early)
        for audience, promised in _open_promises(history.said, incident)
        if audience in config.audiences
        and (_notice_id(promised, _maker(promised, audience, history.said), history.said), Channel.SMS)
        not in history.begun
    )


def _open_promises(said: Iterable[Said], incident: Incident) -> Iterator[tuple[str, datetime]]:
    """Yield (audience, promise) of the texts that readers wait for.

    What goes to all of an audience keeps every promise to it; one that keeps a promise keeps that one only. A
    correction may go to some: the others still wait, and who does is decided reader by reader.
    """
    waiting: dict[str, set[datetime]] = {}
    for each in said:
        if each.channel is not Channel.SMS:
            continue
        if _is_for_all(each, incident):
            waiting[each.audience] = set()
        own = waiting.setdefault(each.audience, set())
        own -= {promised for promised in own if is_named_for(each.notice, promised)}
        own |= set(each.text_promises)
    for audience, open_ones in waiting.items():
        for promised in sorted(open_ones):
            yield audience, promised


def _is_for_all(said: Said, incident: Incident) -> bool:
    told = incident.updates[said.number - 1 : said.number]
    return kind_of(said.notice) is not NoticeKind.HOLDING and not any(one.corrects for one in told)


def _known_to_all(promised: datetime, audience: str, said: Iterable[Said], incident: Incident) -> int:
    """Return the last update that everybody knows who waits for this promise: some may know more."""
    known: list[int] = []
    for each in said:
        if each.channel is not Channel.SMS or each.audience != audience:
            continue
        if _is_for_all(each, incident):
            known.clear()
        if promised in each.text_promises:
            known.append(each.number)
    return min(known, default=0)


def _notice_id(promised: datetime, made: Said, said: Sequence[Said]) -> str:
    return f"{NoticeKind.HOLDING}:{name_of_promise(promised, [made], said)}/{made.audience}"


def _line(
    incident: Incident,
    newest: Update,
    promised: datetime,
    audience: str,
    history: History,
    config: Config,
    now: datetime,
    early: timedelta,
) -> Due:
    """Return the text that keeps a promise to an audience: newer facts, or that nothing is new."""
    made = _maker(promised, audience, history.said)
    told = {"promise": f"{promised.astimezone(config.zone):%H:%M}", "number": newest.number}
    notice = _text(incident, newest, promised, made, history, config, now)
    goes = hold_from(made, promised, early)
    if not notice.holds:
        reason = reasons.TEXT_OWED if now >= goes else reasons.TEXT_LATER
        return Due(notice, now >= goes, reason.format(**told), goes)
    # Quiet hours may have moved the promise away from the start or end of the work that it stood for.
    awaited = promises(config, incident, newest).get(audience) or promised
    if not any(says_hold(config, newest, audience, by) for by in (promised, awaited)):
        return Due(notice, False, reasons.TEXT_LEFT_TO_NUDGE.format(**told))
    reason = reasons.TEXT_HOLDS if now >= goes else reasons.TEXT_LATER
    return Due(notice, now >= goes, reason.format(**told), goes)


def promised_text(
    notice: str, audience: str, incident: Incident, history: History, config: Config, now: datetime
) -> Notice | None:
    """Return the text that keeps a promise to an audience, by its id in the ledger, as it is to be told now.

    None where the ledger knows nothing any more of the words that promised it.
    """
    newest = newest_released(incident, history)
    for made in history.said:
        if made.channel is not Channel.SMS or made.audience != audience or newest is None:
            continue
        for promised in made.text_promises:
            if _notice_id(promised, made, history.said) == notice:
                return _text(incident, newest, promised, made, history, config, now)
    return None


def _text(
    incident: Incident,
    newest: Update,
    promised: datetime,
    made: Said,
    history: History,
    config: Config,
    now: datetime,
) -> Notice:
    """Return the text that keeps a promise that was made: a holding statement where nothing is newer."""
    known = _known_to_all(promised, made.audience, history.said, incident)
    notice = replace(
        notice_of(incident, newest, Channel.SMS, history, config),
        id=_notice_id(promised, made, history.said),
        kind=NoticeKind.HOLDING,
        events=frozenset(),
        audiences=(made.audience,),
        only_told=True,
        keeps=promised,
        after=known,
    )
    # Of planned work it tells that nobody has confirmed its start or end, and that to all alike.
    if made.number < newest.number or (known < newest.number and newest.window is None):
        return notice
    step = _step(made, made.audience, history.said)
    by = next_promise(config, incident, newest, made.audience, max(promised, now), step)
    return replace(
        notice,
        holds={made.audience: Hold(last_news(incident, newest), step)},
        next_update_by={**notice.next_update_by, made.audience: by},
    )


def _maker(promised: datetime, audience: str, said: Iterable[Said]) -> Said:
    """Return the last words on SMS that made this promise to an audience."""
    return [
        each
        for each in said
        if each.channel is Channel.SMS and each.audience == audience and promised in each.text_promises
    ][-1]


def _step(made: Said, audience: str, said: tuple[Said, ...]) -> int:
    """Return how many texts in a row, with the next one, say that nothing is new."""
    step, kept = 1, made
    before = {
        _notice_id(promised, each, said): each
        for each in said
        if each.channel is Channel.SMS and each.audience == audience
        for promised in each.text_promises
    }
    while (earlier := before.get(kept.notice)) is not None and earlier.number == kept.number:
        step, kept = step + 1, earlier
    return step
