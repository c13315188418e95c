"""Facts of one update as the JSON context that one group of readers may see."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from commcast.config import Audience, Config
from commcast.durations import spoken_duration
from commcast.model import (
    Channel,
    Incident,
    Kind,
    NextWord,
    Recipient,
    Status,
    Timeframe,
    Update,
    View,
    Window,
    Words,
)
from commcast.wording.clocktimes import moment, span
from commcast.wording.occasions import (
    NO_OCCASION,
    Moment,
    Occasion,
    Show,
    ShowSpan,
    occasion_facts,
    phase,
)
from commcast.wording.wrong import put_title_right


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
) -> dict[str, Any]:
    """Return what templates may use for the readers of `audience` in one zone and locale: plain JSON values.

    `first` says that these readers hear of the incident for the first time; `previous` is the update they
    heard last; `next_update_by` is the promise (aware), which an end does not make; `with_calendar` tells
    that a calendar file may go with the words. The key `internal` exists
    only for audiences whose view is internal: what is not there cannot leak.
    Raises ValueError when an update that is no end comes without a promise.
    """
    word = None if update.is_end else occasion.next_word
    is_promised = word in {NextWord.UPDATE, NextWord.EMAIL}
    if next_update_by is None and is_promised:
        raise ValueError(f"update {update.number} of {incident.id} has no next update time and is no end")

    # What repeats the words of another day names the day of each time, lest a reader takes it for today's.
    told_at = occasion.now or update.at
    is_same_day = told_at.astimezone(zone).date() == update.at.astimezone(zone).date()
    reference = update.at if is_same_day else None

    def show(at: datetime) -> Moment:
        return moment(at, zone, reference)

    def show_span(start: datetime, end: datetime) -> dict[str, str]:
        return span(start, end, zone, reference)

    view = config.audiences[audience].view
    context: dict[str, Any] = {
        "organisation": {"name": config.organisation.name, "status_url": config.organisation.status_url},
        "contact": _contact(config, incident),
        "incident": _incident(config, incident, update, show),
        "update": _update(incident, update, audience, first, previous, show, show_span, occasion),
        "next_update_by": show(next_update_by) if next_update_by and is_promised else None,
        "next_word": word.value if word else None,
        "calendar": _calendar(config, incident, update, audience) if with_calendar else None,
        **occasion_facts(config, incident, update, occasion, show, show_span),
        "audience": {"name": audience, "view": view.value},
        "locale": locale,
    }
    if view is View.INTERNAL:
        context["internal"] = _internal(config, update)
    return context


def recipient_values(recipient: Recipient, audience: Audience) -> dict[str, Any]:
    """Return what templates may use of one reader as `recipient`: plain JSON values.

    The list's further columns stand beside ours and never hide them.
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


def _calendar(config: Config, incident: Incident, update: Update, audience: str) -> dict[str, Any] | None:
    from commcast.wording.calendars import calendar_of  # most messages carry none

    return calendar_of(config, incident, update, _words(update, update.words.get(audience)))


def _contact(config: Config, incident: Incident) -> dict[str, str]:
    contact = config.contact
    return {
        "reply_to": contact.reply_to.replace("{id}", incident.id),
        "phone": contact.phone,
        "hours": contact.hours,
        "after_hours": contact.after_hours,
    }


def _incident(config: Config, incident: Incident, update: Update, show: Show) -> dict[str, Any]:
    return {
        "id": incident.id,
        "title": _title(incident, update),
        "kind": incident.kind.value,
        "started": show(incident.started),
        "started_known": incident.started_written,
        "affected": _public_names(config, update.affected),
        "affected_known": bool(update.affected),
    }


def _title(incident: Incident, update: Update) -> str:
    """Return the title as it reads from the first correction of its words on; the file's own stays."""
    title = incident.title
    for each in incident.updates[: update.number]:
        if each.corrects and each.wrong and each.right:
            title = put_title_right(title, each.wrong, each.right)
    return title


def _public_names(config: Config, affected: tuple[str, ...]) -> list[str]:
    """Return each name once. A component without a public name is left out: its id is an inside word."""
    return list(dict.fromkeys(config.components[c].public for c in affected if c in config.components))


def _update(
    incident: Incident,
    update: Update,
    audience: str,
    first: bool,
    previous: Update | None,
    show: Show,
    show_span: ShowSpan,
    occasion: Occasion,
) -> dict[str, Any]:
    return {
        "number": update.number,
        "status": update.status.value,
        "phase": phase(update.status),
        "at": show(update.at),
        **_words(update, update.words.get(audience)),
        "timeframe": {
            **_timeframe(update.timeframe, show, show_span),
            "passed": _has_passed(update.timeframe, occasion.now or update.at),
        },
        "earlier_timeframe": _earlier_timeframe(update, previous, occasion, show, show_span),
        "first": first,
        "nothing_new": update.nothing_new,
        "unchanged_since": _unchanged_since(incident, update, occasion.knows_up_to, show),
        "severity_changed": _severity_changed(update, previous),
        "ended": show(update.ended) if update.ended else None,
        "duration": _duration(incident, update),
        "fixed": update.fixed,
        "remains": update.remains,
        "if_it_persists": update.if_it_persists,
        "because": update.because,
        "window": _window(update.window, show, show_span, occasion.now or update.at),
        "expected": _expected(update, previous, show, occasion.now or update.at),
        "previous_window": _previous_window(update, previous, show, show_span),
    }


def _words(update: Update, special: Words | None) -> dict[str, str | None]:
    special = special or Words()
    return {
        name: getattr(update, name) if getattr(special, name) is None else getattr(special, name)
        for name in ("issue", "resolution", "scope", "action")
    }


def _timeframe(timeframe: Timeframe, show: Show, show_span: ShowSpan) -> dict[str, Any]:
    earliest, latest = timeframe.earliest, timeframe.latest
    return {
        "known": timeframe.known,
        "confidence": timeframe.confidence.value,
        "earliest": show(earliest) if earliest else None,
        "latest": show(latest) if latest else None,
        "span": show_span(earliest, latest) if earliest and latest else None,
    }


def _has_passed(timeframe: Timeframe, now: datetime) -> bool:
    return timeframe.latest is not None and timeframe.latest < now


def _earlier_timeframe(
    update: Update, previous: Update | None, occasion: Occasion, show: Show, show_span: ShowSpan
) -> dict[str, Any] | None:
    """Return the estimate that this one takes the place of: none is ever moved without a word."""
    if previous is None or update.is_end or previous.window is not None:
        return None
    if not previous.timeframe.known or previous.timeframe.latest == update.timeframe.latest:
        return None
    return {
        **_timeframe(previous.timeframe, show, show_span),
        "passed": _has_passed(previous.timeframe, occasion.now or update.at),
    }


def _unchanged_since(incident: Incident, update: Update, knows: int | None, show: Show) -> Moment | None:
    """Return when there was news last; updates that said "nothing new" themselves do not count.

    None to readers who know of the updates up to `knows` only, where there was news after these.
    """
    if update.nothing_new is None:
        return None
    news = [u for u in incident.updates if u.number < update.number and u.nothing_new is None]
    is_known = bool(news) and (knows is None or news[-1].number <= knows)
    return show(news[-1].at) if is_known else None


def _severity_changed(update: Update, previous: Update | None) -> str | None:
    if previous is None or previous.severity == update.severity:
        return None
    return "worse" if update.severity < previous.severity else "better"


def _duration(incident: Incident, update: Update) -> str | None:
    began = _began(incident, update)
    if update.ended is None or began is None or update.ended < began:
        return None
    return spoken_duration(update.ended - began)


def _began(incident: Incident, update: Update) -> datetime | None:
    """Return when it began, None where nobody said. A maintenance is announced long before its work."""
    if incident.kind is not Kind.MAINTENANCE:
        return incident.started if incident.started_written else None
    # What began before it was moved is not what this is about.
    moved = max((u.number for u in incident.updates if u.status is Status.RESCHEDULED), default=0)
    work = [u.at for u in incident.updates[moved:] if u.status is Status.IN_PROGRESS]
    if work:
        return work[0]
    return update.window.start if update.window else None


def _window(window: Window | None, show: Show, show_span: ShowSpan, now: datetime) -> dict[str, Any] | None:
    if window is None:
        return None
    return {
        "start": show(window.start),
        "end": show(window.end),
        "span": show_span(window.start, window.end),
        "length": spoken_duration(window.end - window.start),
        "has_begun": window.start <= now,
        "is_over": window.end <= now,
    }


def _previous_window(
    update: Update, previous: Update | None, show: Show, show_span: ShowSpan
) -> dict[str, Any] | None:
    if previous is None or previous.window == update.window:
        return None
    return _window(previous.window, show, show_span, update.at)


def _expected(update: Update, previous: Update | None, show: Show, now: datetime) -> dict[str, Any] | None:
    """Return when what is known to be coming begins; also where it has just begun, or is taken back."""
    told = update if update.status is Status.EXPECTED else previous
    if told is None or told.status is not Status.EXPECTED or told.expected_at is None:
        return None
    moved = previous.expected_at if previous and previous.expected_at != told.expected_at else None
    return {
        "at": show(told.expected_at),
        "passed": told.expected_at <= now,
        "was": show(moved) if moved else None,
    }


def _internal(config: Config, update: Update) -> Mapping[str, Any]:
    person = config.people.get(update.owner) if update.owner else None
    return {
        "text": update.internal,
        "severity": update.severity,
        "severity_label": f"SEV-{update.severity}",
        "owner": person.name if person else update.owner,
        "components": list(update.affected),
    }
