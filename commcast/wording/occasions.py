"""What a message tells besides the facts of its update: lateness, silence, corrections, what comes after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from commcast.config import Config
from commcast.durations import spoken_duration
from commcast.model import END_STATUSES, Channel, Incident, Level, NextWord, Status, Timeframe, Update

_TURNS = END_STATUSES | {Status.REOPENED}
_ASKED_AT = frozenset({Status.RESOLVED, Status.COMPLETED})
Moment = dict[str, str]
Show = Callable[[datetime], Moment]
ShowSpan = Callable[[datetime, datetime], dict[str, str]]


def next_word(level: Level, channel: Channel, *, by_email: bool) -> NextWord:
    """Return how a reader hears more; `by_email` says that mail reaches them, too."""
    if level is not Level.ALL:
        return NextWord.KEY if level is Level.KEY else NextWord.END
    return NextWord.EMAIL if channel is Channel.SMS and by_email else NextWord.UPDATE


@dataclass(frozen=True, slots=True)
class Correction:
    """Words that these readers got, at the moment their message bears, and what is right instead.

    `timeframe` is the right one where the wrong words were the expected end. `is_short` is for a text.
    """

    at: datetime
    wrong: str
    right: str
    timeframe: Timeframe | None = None
    is_short: bool = False


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a message tells besides the facts of its update, all times aware.

    `now` is when it goes. `broken` is a promise to these readers that had passed by then. A holding statement
    tells that nothing is new since `unchanged_since`, as the `step`th in a row; a reminder tells how long
    `ahead` of the event it is. `next_word` is how they hear more; a cap `held_back` so many messages to them.
    `facts_from` is set where the facts are told later than others heard them. `corrections` are of what these
    very readers were told; `catches_up` says that others heard of it before. They know of the updates up to
    `knows_up_to` at the most, None for all. `goes_on_as` is the title of the
    incident that goes on instead. `follow_up` is "review" or "check-in" where it comes after the end.
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


def occasion_facts(
    config: Config, incident: Incident, update: Update, occasion: Occasion, show: Show, show_span: ShowSpan
) -> dict[str, Any]:
    """Return what templates may use of an occasion: plain JSON values, None for what does not apply."""
    return {
        "held_back": occasion.held_back or None,
        "facts_from": show(occasion.facts_from) if occasion.facts_from else None,
        "broken_promise": _broken_promise(occasion, show),
        "holding": _holding(occasion, show),
        "reminder": {"ahead": spoken_duration(occasion.ahead)} if occasion.ahead else None,
        "corrections": [_correction(each, show, show_span) for each in occasion.corrections],
        "follow_up": _follow_up(incident, occasion),
        "feedback": _feedback(config, incident, update, occasion),
        "merged_into": _merged_into(update, occasion),
        "catch_up": {"since": show(incident.updates[0].at)} if occasion.catches_up else None,
        "label": _label(update, occasion),
    }


def phase(status: Status) -> str:
    """Return a status as readers see it: "In progress"."""
    return status.value.replace("_", " ").capitalize()


def _label(update: Update, occasion: Occasion) -> str:
    """Return what a subject begins with: what kind of message it is, in a word or two."""
    if occasion.step:
        return "No change"
    if occasion.follow_up:
        return {"review": "Review", "check-in": "How is it now?"}[occasion.follow_up]
    if occasion.corrections and (update.corrects or update.status not in _TURNS):
        return "Correction"  # one that comes along with an end, or with its undoing, does not hide that
    return f"Reminder: in {spoken_duration(occasion.ahead)}" if occasion.ahead else phase(update.status)


def _broken_promise(occasion: Occasion, show: Show) -> dict[str, Any] | None:
    if occasion.broken is None or occasion.now is None:
        return None
    return {
        "promised": show(occasion.broken),
        "now": show(occasion.now),
        "late": spoken_duration(occasion.now - occasion.broken),
    }


def _holding(occasion: Occasion, show: Show) -> dict[str, Any] | None:
    if occasion.unchanged_since is None or occasion.now is None:
        return None
    return {
        "since": show(occasion.unchanged_since),
        "age": spoken_duration(occasion.now - occasion.unchanged_since),
        "now": show(occasion.now),
        "step": occasion.step,
    }


def _correction(correction: Correction, show: Show, show_span: ShowSpan) -> dict[str, Any]:
    frame, right = correction.timeframe, correction.right
    if frame is not None and frame.latest is not None:
        if frame.earliest is not None:
            right = show_span(frame.earliest, frame.latest)["sms" if correction.is_short else "between"]
        else:
            right = f"by {show(frame.latest)['sms' if correction.is_short else 'both']}"
    return {"at": show(correction.at), "wrong": correction.wrong, "right": right}


def _follow_up(incident: Incident, occasion: Occasion) -> dict[str, str | None] | None:
    return {"kind": occasion.follow_up, "review": incident.postmortem} if occasion.follow_up else None


def _feedback(
    config: Config, incident: Incident, update: Update, occasion: Occasion
) -> dict[str, str] | None:
    """Return where readers say whether they were kept well informed: of the incident, never of themselves."""
    url = config.contact.feedback_url.replace("{id}", incident.id)
    if not url or occasion.follow_up or update.status not in _ASKED_AT:
        return None
    url, mark, fragment = url.partition("#")
    start = f"{url}{'&' if '?' in url else '?'}incident={incident.id}&answer="
    return {answer: f"{start}{answer}{mark}{fragment}" for answer in ("yes", "no")}


def _merged_into(update: Update, occasion: Occasion) -> dict[str, str] | None:
    if update.merged_into is None:
        return None
    return {"id": update.merged_into, "title": occasion.goes_on_as}
