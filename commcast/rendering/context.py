"""The facts of one update that one group of readers may see."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from commcast.config.settings import Audience, Config
from commcast.model.incident import (
    END_STATUSES,
    AudienceWords,
    Channel,
    Incident,
    Kind,
    Level,
    NextWord,
    Recipient,
    Status,
    Timeframe,
    Update,
    View,
    Window,
    over_since,
)
from commcast.model.times import moment, span, spoken_duration
from commcast.rendering.calendars import calendar_of

_TURNS = END_STATUSES | {Status.REOPENED}
Facts = dict[str, Any]  # plain JSON values
_ASKED_AT = frozenset({Status.RESOLVED, Status.COMPLETED})
_PLANS = frozenset({Status.SCHEDULED, Status.RESCHEDULED})


class _Clock(NamedTuple):
    """Shows times in the readers' zone, None as None.

    The day is left out if it is that of `reference` (None: never).
    """

    zone: ZoneInfo
    reference: datetime | None

    def __call__(self, at: datetime | None) -> Facts | None:
        return None if at is None else moment(at, self.zone, self.reference)

    def span(self, start: datetime | None, end: datetime | None) -> Facts | None:
        return span(start, end, self.zone, self.reference) if start and end else None


def next_word(level: Level, channel: Channel, *, by_email: bool) -> NextWord:
    """Return how a reader will hear more; `by_email` says whether email reaches them too."""
    if level is not Level.ALL:
        return NextWord.KEY if level is Level.KEY else NextWord.END
    return NextWord.EMAIL if channel is Channel.SMS and by_email else NextWord.UPDATE


class Correction(NamedTuple):
    """Something wrong that these readers were told, the time their message shows, and what is correct.

    `timeframe` is the correct one if the expected end was wrong, `ended` if the time of the end was.
    `is_short` is for text messages.
    """

    at: datetime
    wrong: str
    right: str
    timeframe: Timeframe | None = None
    is_short: bool = False
    ended: datetime | None = None


class Occasion(NamedTuple):
    """What a message says besides the facts of its update; all times are aware.

    `now` is when it goes out. `broken` is a promise to these readers that had passed by then. A holding
    statement says that nothing has changed since `unchanged_since`, as the `step`th in a row; a reminder says
    how long `ahead` of the event it is. `next_word` is how they will hear more; a cap `held_back` that many
    messages to them. `facts_from` is set if they get the facts later than others did. `corrections` are of
    what these very readers were told; `catches_up` says that others were told before them. They know the
    updates up to `knows_up_to` at most, None for all. `goes_on_as` is the title of the incident that
    continues this one. `follow_up` is "review" or "check-in" for a message after the end.
    """

    now: datetime | None = None
    broken: datetime | None = None
    unchanged_since: datetime | None = None
    step: int = 0
    ahead: timedelta | None = None
    next_word: NextWord = NextWord.UPDATE
    held_back: int = 0
    facts_from: datetime | None = None
    corrections: tuple[Correction, ...] = ()
    catches_up: bool = False
    knows_up_to: int | None = None
    goes_on_as: str = ""
    follow_up: str = ""


NO_OCCASION = Occasion()


def _occasion_facts(
    config: Config, incident: Incident, update: Update, occasion: Occasion, show: _Clock
) -> Facts:
    """Return what templates may use of an occasion: plain JSON values, None for what does not apply."""
    return {
        "held_back": occasion.held_back or None,
        "facts_from": show(occasion.facts_from),
        "broken_promise": _broken_promise(occasion, show),
        "holding": _holding(occasion, show),
        "reminder": {"ahead": spoken_duration(occasion.ahead)} if occasion.ahead else None,
        "corrections": [_correction(each, show) for each in occasion.corrections],
        "follow_up": _if(occasion.follow_up, kind=occasion.follow_up, review=incident.postmortem),
        "feedback": _feedback(config, incident, update, occasion),
        "merged_into": _if(update.merged_into is not None, id=update.merged_into, title=occasion.goes_on_as),
        "catch_up": _if(occasion.catches_up, since=show(incident.updates[0].at)),
        "label": _label(update, occasion),
    }


def _if(applies: object, **facts: Any) -> Facts | None:
    return facts if applies else None


def phase(status: Status) -> str:
    """Return a status as readers see it: "In progress"."""
    return status.value.replace("_", " ").capitalize()


def _label(update: Update, occasion: Occasion) -> str:
    """Return what the subject begins with: the kind of message, in a word or two."""
    if occasion.step:
        return "No change"
    if occasion.follow_up:
        return {"review": "Review", "check-in": "How is it now?"}[occasion.follow_up]
    if occasion.corrections and (update.corrects or update.status not in _TURNS):
        return "Correction"  # one that comes with an end, or with a reopening, does not hide that
    return f"Reminder: in {spoken_duration(occasion.ahead)}" if occasion.ahead else phase(update.status)


def _broken_promise(occasion: Occasion, show: _Clock) -> Facts | None:
    now, broken = occasion.now, occasion.broken
    if broken is None or now is None:
        return None
    return {"promised": show(broken), "now": show(now), "late": spoken_duration(now - broken)}


def _holding(occasion: Occasion, show: _Clock) -> Facts | None:
    now, since, step = occasion.now, occasion.unchanged_since, occasion.step
    if since is None or now is None:
        return None
    return {"since": show(since), "age": spoken_duration(now - since), "now": show(now), "step": step}


def _correction(correction: Correction, show: _Clock) -> Facts:
    frame, right = correction.timeframe or Timeframe(), correction.right
    form = "sms" if correction.is_short else "both"
    if stretch := show.span(frame.earliest, frame.latest):
        right = stretch["sms" if correction.is_short else "between"]
    elif latest := show(frame.latest):
        right = f"by {latest[form]}"
    elif ended := show(correction.ended):
        right = ended[form]
    return {"at": show(correction.at), "wrong": correction.wrong, "right": right}


def _feedback(config: Config, incident: Incident, update: Update, occasion: Occasion) -> Facts | None:
    """Return where readers can say whether we kept them well informed; the links name nobody."""
    url = config.contact.feedback_url.replace("{id}", incident.id)
    if not url or occasion.follow_up or update.status not in _ASKED_AT:
        return None
    url, mark, fragment = url.partition("#")
    start = f"{url}{'&' if '?' in url else '?'}incident={incident.id}&answer="
    return {answer: f"{start}{answer}{mark}{fragment}" for answer in ("yes", "no")}


def build_context(
    config: Config,
    incident: Incident,
    update: Update,
    audience: str,
    *,
    zone: ZoneInfo,
    locale: str,
    first: bool,
    next_update_by: datetime | None,
    previous: Update | None,
    occasion: Occasion = NO_OCCASION,
    with_calendar: bool = False,
) -> Facts:
    """Return what templates may use for the readers of `audience` in one zone and locale: plain JSON values.

    `first` means that these readers were told nothing of the incident before; `previous` is the update they
    got last; `next_update_by` is the promise (aware), None at an end; `with_calendar` means that a calendar
    file may go with the message. The key `internal` exists only for audiences whose view is internal: what is
    not there cannot leak. Raises ValueError for an update that is no end and has no promise.
    """
    word = None if update.is_end else occasion.next_word
    is_promised = word in {NextWord.UPDATE, NextWord.EMAIL}
    if next_update_by is None and is_promised:
        raise ValueError(f"update {update.number} of {incident.id} has no next update time and is no end")
    now = occasion.now or update.at
    # A message that repeats the words of another day names the day of each time: readers would assume today.
    is_same_day = now.astimezone(zone).date() == update.at.astimezone(zone).date()
    show = _Clock(zone, update.at if is_same_day else None)
    view, words = config.audiences[audience].view, _words(update, audience)
    title = incident.title_as_of(update)
    context: Facts = {
        "organisation": {"name": config.organisation.name, "status_url": config.organisation.status_url},
        "contact": _contact(config, incident),
        "incident": _incident(config, incident, update, show),
        "update": {
            **_update(incident, update, occasion, show),
            **words,
            **_changes(update, previous, now, show),
            "first": first,
        },
        "next_update_by": show(next_update_by if is_promised else None),
        "next_word": word.value if word else None,
        "calendar": calendar_of(config, incident, update, title, words) if with_calendar else None,
        **_occasion_facts(config, incident, update, occasion, show),
        "audience": {"name": audience, "view": view.value},
        "locale": locale,
    }
    if view is View.INTERNAL:
        context["internal"] = _internal(config, update)
    return context


def recipient_values(recipient: Recipient, audience: Audience) -> Facts:
    """Return what templates may use of one reader as `recipient`: plain JSON values.

    The list's other columns are there too, and never hide ours.
    """
    _, email, _, _, name, locale, timezone, components, tags, level, extra = recipient
    return {
        **extra,
        "name": name,
        "greeting": f"Hello {name}," if name else "Hello,",
        "email": email,
        "locale": locale,
        "timezone": timezone,
        "tags": [*tags],
        "components": [*components],
        "level": level.value,
        "by_email": bool(email) and Channel.EMAIL in audience.channels,
    }


def _contact(config: Config, incident: Incident) -> dict[str, str]:
    contact = config.contact.model_dump(include={"reply_to", "phone", "hours", "after_hours"})
    return {**contact, "reply_to": contact["reply_to"].replace("{id}", incident.id)}


def _incident(config: Config, incident: Incident, update: Update, show: _Clock) -> Facts:
    # A component without a public name is left out: its id is internal.
    named = (config.components[each].public for each in update.affected if each in config.components)
    return {
        "id": incident.id,
        "title": incident.title_as_of(update),
        "kind": incident.kind.value,
        "started": show(incident.started),
        "started_known": incident.started_written,
        "affected": list(dict.fromkeys(named)),
        "affected_known": bool(update.affected),
    }


def _update(incident: Incident, update: Update, occasion: Occasion, show: _Clock) -> Facts:
    """Return what an update says, the same for all readers but for what they know."""
    now = occasion.now or update.at
    return {
        "number": update.number,
        "status": update.status.value,
        "phase": phase(update.status),
        "at": show(update.at),
        "timeframe": _timeframe(update.timeframe, now, show),
        "nothing_new": update.nothing_new,
        "unchanged_since": _unchanged_since(incident, update, occasion.knows_up_to, show),
        "ended": show(update.ended),
        "duration": _duration(incident, update),
        "fixed": update.fixed,
        "remains": update.remains,
        "if_it_persists": update.if_it_persists,
        "because": update.because,
        "window": _window(_planned(incident, update), now, show),
    }


def _planned(incident: Incident, update: Update) -> Window | None:
    """Return the window of an update; what is complete was planned as it was before it took longer."""
    if update.status is not Status.COMPLETED:
        return update.window
    plans = (u.window for u in incident.updates[: update.number] if u.status in _PLANS)
    return [update.window, *plans][-1]


def _changes(update: Update, previous: Update | None, now: datetime, show: _Clock) -> Facts:
    """Return what an update changes for readers who got `previous` last."""
    severity = window = None
    if previous and previous.severity != update.severity:
        severity = "worse" if update.severity < previous.severity else "better"
    if previous and previous.window != update.window:
        window = _window(previous.window, update.at, show)
    return {
        "earlier_timeframe": _earlier_timeframe(update, previous, now, show),
        "severity_changed": severity,
        "expected": _expected(update, previous, now, show),
        "previous_window": window,
    }


def _words(update: Update, audience: str) -> dict[str, str | None]:
    """Return the update's sentences, those written for the audience in place of the general ones."""
    special = update.words_in_force.get(audience) or AudienceWords()
    return update.model_dump(include=set(AudienceWords.model_fields)) | special.model_dump(exclude_none=True)


def _timeframe(timeframe: Timeframe, now: datetime, show: _Clock) -> Facts:
    latest = timeframe.latest
    return {
        "known": timeframe.known,
        "confidence": timeframe.confidence.value,
        "earliest": show(timeframe.earliest),
        "latest": show(latest),
        "span": show.span(timeframe.earliest, latest),
        "passed": latest is not None and latest < now,
    }


def _earlier_timeframe(update: Update, previous: Update | None, now: datetime, show: _Clock) -> Facts | None:
    """Return the estimate that this one replaces: no estimate changes unannounced."""
    if previous is None or update.is_end or previous.window is not None:
        return None
    is_replaced = previous.timeframe.known and previous.timeframe.latest != update.timeframe.latest
    return _timeframe(previous.timeframe, now, show) if is_replaced else None


def _unchanged_since(incident: Incident, update: Update, knows: int | None, show: _Clock) -> Facts | None:
    """Return when there was news last; updates that said "nothing new" themselves don't count.

    None for readers who only know the updates up to `knows`, if there was news after those.
    """
    if update.nothing_new is None:
        return None
    news = [u for u in incident.updates if u.number < update.number and u.nothing_new is None]
    is_known = bool(news) and (knows is None or news[-1].number <= knows)
    return show(news[-1].at) if is_known else None


def _duration(incident: Incident, update: Update) -> str | None:
    began = _began(incident, update)
    if update.ended is None or began is None or update.ended < began:
        return None
    _, between = over_since(incident.updates[: update.number])
    return spoken_duration(update.ended - began - between) + (" in all" if between else "")


def _began(incident: Incident, update: Update) -> datetime | None:
    """Return when it began, None if nobody said so. Planned work is announced long before it begins."""
    if incident.kind is not Kind.MAINTENANCE:
        return incident.started if incident.started_written else None
    # Work that began before it was moved doesn't count.
    moved = max((u.number for u in incident.updates if u.status is Status.RESCHEDULED), default=0)
    planned = update.window.start if update.window else None
    return next((u.at for u in incident.updates[moved:] if u.status is Status.IN_PROGRESS), planned)


def _window(window: Window | None, now: datetime, show: _Clock) -> Facts | None:
    if window is None:
        return None
    return {
        "start": show(window.start),
        "end": show(window.end),
        "span": show.span(window.start, window.end),
        "length": spoken_duration(window.end - window.start),
        "has_begun": window.start <= now,
        "is_over": window.end <= now,
    }


def _expected(update: Update, previous: Update | None, now: datetime, show: _Clock) -> Facts | None:
    """Return when an expected incident begins; also if it has just begun or been withdrawn."""
    told = update if update.status is Status.EXPECTED else previous
    if told is None or told.status is not Status.EXPECTED or told.expected_at is None:
        return None
    moved = previous.expected_at if previous and previous.expected_at != told.expected_at else None
    return {"at": show(told.expected_at), "passed": told.expected_at <= now, "was": show(moved)}


def _internal(config: Config, update: Update) -> Facts:
    person = config.people.get(update.owner) if update.owner else None
    return {
        "text": update.internal,
        "severity": update.severity,
        "severity_label": f"SEV-{update.severity}",
        "owner": person.name if person else update.owner,
        "components": list(update.affected),
    }
