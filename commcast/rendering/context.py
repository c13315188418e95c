"""The facts of one update that one group of readers may see."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from commcast.config.contact import contact_for
from commcast.config.settings import Audience, Config
from commcast.model.incident import (
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
from commcast.model.times import brief_duration, moment, span, spoken_duration, weekdays_in
from commcast.model.translation import LITERAL
from commcast.rendering.calendars import calendar_of
from commcast.rendering.colours import brand_facts
from commcast.rendering.sentences import (
    is_advice_for_before,
    told_while_it_went_on,
    translated_to,
    words_for,
)

Facts = dict[str, Any]  # plain JSON values
_ASKED_AT = frozenset({Status.RESOLVED, Status.COMPLETED})
_PLANS = frozenset({Status.SCHEDULED, Status.RESCHEDULED})


class _Clock(NamedTuple):
    """Shows times in the readers' zone, None as None.

    The day is left out if it is that of `reference` (None: never).
    """

    zone: ZoneInfo
    reference: datetime | None
    with_offset: bool
    language: str

    def __call__(self, at: datetime | None) -> Facts | None:
        if at is None:
            return None
        return moment(at, *self[:2], with_offset=self.with_offset, language=self.language)

    def span(self, start: datetime | None, end: datetime | None) -> Facts | None:
        if not start or not end:
            return None
        return span(start, end, *self[:2], with_offset=self.with_offset, language=self.language)

    def length(self, length: timedelta) -> str:
        return spoken_duration(length, self.language)


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
    continues this one. `follow_up` is "review" or "check-in" for a message after the end. `knows_zone` says
    whether somebody wrote the readers' time zone: others are told times with their distance from UTC.
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
    knows_zone: bool = True


NO_OCCASION = Occasion()


def _occasion_facts(
    config: Config, incident: Incident, update: Update, occasion: Occasion, show: _Clock
) -> Facts:
    """Return what templates may use of an occasion: plain JSON values, None for what does not apply."""
    return {
        "held_back": occasion.held_back or None,
        "facts_from": show(occasion.facts_from),
        "broken_promise": _broken_promise(occasion, show),
        "holding": _holding(update, occasion, show),
        "reminder": {"ahead": show.length(occasion.ahead)} if occasion.ahead else None,
        "corrections": [_correction(each, show) for each in occasion.corrections],
        "follow_up": _follow_up(occasion.follow_up, incident.postmortem or ""),
        "feedback": _feedback(config, incident, update, occasion),
        "merged_into": _if(update.merged_into is not None, id=update.merged_into, title=occasion.goes_on_as),
        "catch_up": _if(occasion.catches_up, since=show(incident.updates[0].at)),
    }


def _if(applies: object, **facts: Any) -> Facts | None:
    return facts if applies else None


def _broken_promise(occasion: Occasion, show: _Clock) -> Facts | None:
    now, broken = occasion.now, occasion.broken
    if broken is None or now is None:
        return None
    return {"promised": show(broken), "now": show(now), "late": show.length(now - broken)}


def _follow_up(kind: str, review: str) -> Facts | None:
    is_link = review.startswith(("http://", "https://"))
    return {"kind": kind, "review": review, "is_link": is_link} if kind else None


def _holding(update: Update, occasion: Occasion, show: _Clock) -> Facts | None:
    now, since = occasion.now, occasion.unchanged_since
    if since is None or now is None:
        return None
    about = {"since": show(since), "age": show.length(now - since), "now": show(now), "step": occasion.step}
    return {**about, "unconfirmed": unconfirmed(update, now)}


def unconfirmed(update: Update, now: datetime) -> str | None:
    """Return which moment of a plan has passed without anybody's word: start, end, whole or expected.

    Nothing is said of a moment that is still to come.
    """
    window, is_planned = update.window, update.status in _PLANS
    if update.status is Status.EXPECTED:
        return "expected" if update.expected_at and update.expected_at <= now else None
    if window is None or now < (window.start if is_planned else window.end):
        return None
    if not is_planned:
        return "end"
    return "whole" if window.end <= now else "start"


def _correction(correction: Correction, show: _Clock) -> Facts:
    frame, right = correction.timeframe or Timeframe(), correction.right
    if stretch := show.span(frame.earliest, frame.latest):
        right = stretch["short"]
    elif moment := show(frame.latest) or show(correction.ended):
        right = moment["short"]
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
    language: str,
    first: bool,
    next_update_by: datetime | None,
    previous: Update | None,
    occasion: Occasion = NO_OCCASION,
    with_calendar: bool = False,
) -> Facts:
    """Return what templates may use of `audience` in one zone and language: plain JSON values.

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
    show = _Clock(zone, update.at if is_same_day else None, not occasion.knows_zone, language)
    view, words = config.audiences[audience].view, words_for(config, incident, update, audience, language)
    title = incident.title_as_of(update, translated_to(config, language))
    context: Facts = {
        "organisation": {"name": config.organisation.name, "status_url": config.organisation.status_url},
        "brand": brand_facts(config.brand.colour),
        "contact": _contact(config, incident, audience, now, language),
        "incident": {**_incident(config, incident, update, show), "title": title},
        "planned": incident.kind is Kind.MAINTENANCE,
        "tone": _tone(incident, update),
        "update": {
            **_update(incident, update, occasion, view, show),
            **words,
            **told_while_it_went_on(config, incident, update, audience, language, words),
            **_changes(update, previous, now, show),
            "first": first,
        },
        "next_update_by": show(next_update_by if is_promised else None),
        "promised_at_start": is_promised and _is_at_start(update, next_update_by, now),
        "sent": show(now),
        "next_word": word.value if word else None,
        "calendar": calendar_of(config, incident, update, title, words, language) if with_calendar else None,
        **_occasion_facts(config, incident, update, occasion, show),
        "audience": {"name": audience, "view": view.value, "public": view is View.PUBLIC},
        "language": language,
    }
    if view is View.INTERNAL:
        context["internal"] = _internal(config, update)
    return context


# A greeting, what comes before the name, and its end: after a comma, German would go on in lower case.
_GREETINGS = {"de": ("Guten Tag", ", ", "!"), "fr": ("Bonjour", " ", ","), "es": ("Hola", ", ", ":")}


def recipient_values(recipient: Recipient, audience: Audience, language: str = "") -> Facts:
    """Return what templates may use of one reader as `recipient`: plain JSON values.

    They are greeted in `language`, in English if we don't speak it. The list's other columns are there too,
    and never hide ours.
    """
    _, email, _, _, name, locale, timezone, components, tags, level, extra = recipient
    hello, comma, end = _GREETINGS.get(language.partition("-")[0], ("Hello", " ", ","))
    return {
        **extra,
        "name": name,
        "greeting": f"{hello}{comma if name else ''}{name}{end}",
        "email": email,
        "locale": locale,
        "timezone": timezone,
        "tags": [*tags],
        "components": [*components],
        "level": level.value,
        "by_email": bool(email) and Channel.EMAIL in audience.channels,
    }


def _tone(incident: Incident, update: Update) -> str:
    """Return what the colour of an email's head says: good, watch, calm, plan or bad."""
    if update.status in {Status.RESOLVED, Status.COMPLETED}:
        return "good"
    if update.status in {Status.MONITORING, Status.EXPECTED, Status.EXTENDED}:
        return "watch"
    if update.is_end:
        return "calm"
    return "plan" if incident.kind is Kind.MAINTENANCE else "bad"


def _contact(
    config: Config, incident: Incident, audience: str, now: datetime, language: str
) -> dict[str, str]:
    """Return how readers reach a person now: no phone that nobody answers."""
    contact = contact_for(config, audience, now)
    return {
        "reply_to": contact.reply_to.replace("{id}", incident.id),
        "phone": contact.phone,
        "hours": weekdays_in(contact.hours, language),
        "after_hours": contact.after_hours,
    }


def _incident(config: Config, incident: Incident, update: Update, show: _Clock) -> Facts:
    # A component without a public name is left out: its id is internal.
    named = (config.components[each].public for each in update.affected if each in config.components)
    return {
        "id": incident.id,
        "kind": incident.kind.value,
        "started": show(incident.started),
        "started_known": incident.started_written,
        "affected": list(dict.fromkeys(named)),
        "affected_known": bool(update.affected),
    }


def _update(incident: Incident, update: Update, occasion: Occasion, view: View, show: _Clock) -> Facts:
    """Return what an update says, the same for all readers but for what they know."""
    now = occasion.now or update.at
    return {
        "number": update.number,
        "status": update.status.value,
        "scope_unknown": update.scope == LITERAL["scope"],
        "nothing_to_do": update.action == LITERAL["action"] and not is_advice_for_before(incident, update),
        "link": update.link,
        "urgent": update.urgent,
        "offer": update.offer_for(view),
        "at": show(update.at),
        "timeframe": _timeframe(update.timeframe, now, show),
        "unchanged_since": _unchanged_since(incident, update, occasion.knows_up_to, show),
        "ended": show(update.ended),
        "duration": _duration(incident, update, show),
        "in_parts": bool(over_since(incident.updates[: update.number])[1]),
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
        "estimate_moved": _moved(update, previous),
        "expected": _expected(update, previous, now, show),
        "previous_window": window,
    }


def _is_at_start(update: Update, promised: datetime | None, now: datetime) -> bool:
    """Return whether what is promised is an update once something planned or expected has started."""
    start = update.window.start if update.window else update.expected_at
    is_ahead = update.status in _PLANS or update.status is Status.EXPECTED
    return is_ahead and start is not None and promised is not None and now < start <= promised


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
    if previous is None or update.is_end or previous.is_end or previous.window is not None:
        return None
    is_replaced = previous.timeframe.known and previous.timeframe.latest != update.timeframe.latest
    return _timeframe(previous.timeframe, now, show) if is_replaced else None


def _moved(update: Update, previous: Update | None) -> str | None:
    """Return whether the estimate is "later" or "sooner" than the one that readers were told."""
    if previous is None or update.is_end or previous.is_end or update.window is not None:
        return None
    told, now = previous.timeframe.latest, update.timeframe.latest
    if told is None or now is None or told == now:
        return None
    return "later" if told < now else "sooner"


def _unchanged_since(incident: Incident, update: Update, knows: int | None, show: _Clock) -> Facts | None:
    """Return when there was news last; updates that said "nothing new" themselves don't count.

    None for readers who only know the updates up to `knows`, if there was news after those.
    """
    if update.nothing_new is None:
        return None
    news = [u for u in incident.updates if u.number < update.number and u.nothing_new is None]
    is_known = bool(news) and (knows is None or news[-1].number <= knows)
    return show(news[-1].at) if is_known else None


def _duration(incident: Incident, update: Update, show: _Clock) -> str | None:
    began = _began(incident, update)
    if update.ended is None or began is None or update.ended < began:
        return None
    _, between = over_since(incident.updates[: update.number])
    return brief_duration(update.ended - began - between, show.language)


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
        "length": show.length(window.end - window.start),
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
