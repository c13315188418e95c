"""Holding statements: what is said by itself when a promise is about to break and nobody wrote (pure).

They repeat the last released facts, promise again at growing steps, and yield to any word of a person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from commcast.cadence import interval, since_window
from commcast.config import Config, OnSilence, Silence
from commcast.model import Channel, Incident, Update
from commcast.plan import reasons
from commcast.plan.kinds import NoticeKind, kind_of
from commcast.plan.notices import Due, Hold, Notice, newest_released, notice_of
from commcast.plan.promised import broken_promises, holds_in_a_row, last_said, name_of_promise
from commcast.standing import IncidentStanding, Said

_DEFAULTS = Silence()


def holds_due(
    incident: Incident, standing: IncidentStanding, config: Config, now: datetime, *, early: timedelta
) -> tuple[Due, ...]:
    """Return a line for each promise by mail that a holding statement is to rescue, now or later.

    Audiences that were promised the same moment share one statement. It goes `early` before the promise, but
    never in the first half of the wait; texts keep their own promises (plan.texts). Where news still waits
    for all of an audience, as while a provider is down, that goes first.
    """
    update = newest_released(incident, standing)
    if update is None or update.is_end:
        return ()
    by_promise: defaultdict[datetime, list[Said]] = defaultdict(list)
    for said in last_said(standing, Channel.EMAIL).values():
        news_waits = not said.heard and kind_of(said.notice) is not NoticeKind.HOLDING
        if said.promised is not None and not news_waits and said.audience in config.audiences:
            by_promise[said.promised].append(said)
    return tuple(
        line
        for promised in sorted(by_promise)
        for line in _lines(incident, update, promised, by_promise[promised], standing, config, now, early)
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
    standing: IncidentStanding,
    config: Config,
    now: datetime,
    early: timedelta,
) -> Iterator[Due]:
    """Yield a line for those whose promise is rescued, and one for those who are left to the nudge."""
    hearing = [said for said in waiting if says_hold(config, update, said.audience, promised)]
    others = [said for said in waiting if said not in hearing]
    if others:
        yield Due(
            _notice(incident, update, promised, others, standing, config, now), False, reasons.LEFT_TO_NUDGE
        )
    if not hearing:
        return
    notice = _notice(incident, update, promised, hearing, standing, config, now)
    if (notice.id, notice.channel) in standing.begun:
        # It went to others: these were left to the nudge then, and [silence] says otherwise by now.
        notice = replace(notice, id=":".join([notice.id, *notice.audiences]))
    since = min(hold_from(said, promised, early) for said in hearing)
    if (notice.id, notice.channel) in standing.begun:
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
    standing: IncidentStanding,
    config: Config,
    now: datetime,
) -> Notice:
    names = {each.audience for each in said}
    plain = notice_of(incident, update, Channel.EMAIL, standing, config)
    audiences = tuple(sorted(names, key=lambda name: (config.audiences[name].rank, name)))
    since = last_news(incident, update)
    steps = {name: holds_in_a_row(standing, Channel.EMAIL, name) + 1 for name in audiences}
    # Who never got the newest words reads those: to them nothing has stayed as it was.
    knowing = {each.audience for each in said if not _has_news(incident, each.number, update.number)}
    return replace(
        plain,
        id=f"{NoticeKind.HOLDING}:{name_of_promise(promised, said, standing.said)}",
        kind=NoticeKind.HOLDING,
        events=frozenset(),
        audiences=audiences,
        next_update_by=_promises(config, incident, update, steps, max(promised, now)),
        broken=broken_promises(standing, Channel.EMAIL, audiences, now),
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
