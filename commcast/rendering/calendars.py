"""Planned work as a calendar file, so that readers' calendars stay up to date (RFC 5545, RFC 5546)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from commcast.config.settings import Config
from commcast.model.incident import Incident, Kind, Status, Update
from commcast.model.message import read_mailbox

if TYPE_CHECKING:
    from icalendar import Component

# What a calendar file says besides the author's words: that work is off, in brief and as a sentence.
_WORDS = {
    "en": ("Cancelled", "This work will not take place.", "Reference"),
    "de": ("Abgesagt", "Diese Arbeiten finden nicht statt.", "Referenz"),
    "fr": ("Annulation\u00a0", "Ces travaux n'auront pas lieu.", "Référence"),
    "es": ("Cancelado", "Estos trabajos no se realizarán.", "Referencia"),
}
_SAID = ("issue", "resolution", "scope", "action")
_COMES_WITH = frozenset({Status.SCHEDULED, Status.RESCHEDULED, Status.EXTENDED, Status.CANCELLED})


def calendar_of(
    config: Config,
    incident: Incident,
    update: Update,
    title: str,
    words: Mapping[str, str | None],
    language: str = "en",
) -> dict[str, Any] | None:
    """Return the calendar file that goes with an update, None if none does: plain JSON values.

    `title` is the corrected one, `words` are the readers' own. An update always gives the same `text`; its
    lines end in CRLF. `sequence` rises with each change of the window, so that a calendar knows which of two
    files is newer.
    """
    if incident.kind is not Kind.MAINTENANCE or update.window is None or update.status not in _COMES_WITH:
        return None
    from icalendar import Calendar, Event

    is_cancelled = update.status is Status.CANCELLED
    off, is_off, reference = _WORDS.get(language.partition("-")[0], _WORDS["en"])
    said = [is_off, words["because"]] if is_cancelled else [words[key] for key in _SAID]
    ends = [config.organisation.status_url, f"{reference}: {incident.id}"]
    moves = sum(newer.window != older.window for older, newer in pairwise(incident.updates[: update.number]))
    sequence = moves + is_cancelled
    status = "CANCELLED" if is_cancelled else "CONFIRMED"
    event = Event()
    _add(
        event,
        # It depends on the desk and the incident only.
        uid=f"{incident.id}-{sha256(f'{config.desk}/{incident.id}'.encode()).hexdigest()[:32]}",
        sequence=sequence,
        dtstamp=update.at.astimezone(UTC).replace(microsecond=0),
        dtstart=update.window.start.astimezone(UTC),
        dtend=update.window.end.astimezone(UTC),
        # Some calendars keep what was cancelled.
        summary=f"{f'{off}: ' if is_cancelled else ''}{config.organisation.name}: {title}",
        description="\n".join(filter(None, [*said, *ends])),
        status=status,
        transp="TRANSPARENT",  # our work does not make its readers busy
    )
    if config.channels.email is not None:
        address, name = read_mailbox(config.channels.email.sender)
        event.add("organizer", f"mailto:{address}", {"cn": name} if name else {})
    if config.organisation.status_url:
        event.add("url", config.organisation.status_url)
    calendar = Calendar()
    _add(
        calendar,
        prodid="-//commcast//planned work//EN",
        version="2.0",
        method="CANCEL" if is_cancelled else "PUBLISH",
    )
    calendar.add_component(event)
    text = calendar.to_ical().decode()
    return {"name": f"{incident.id}.ics", "text": text, "sequence": sequence, "status": status}


def _add(component: Component, **properties: Any) -> None:
    for name, value in properties.items():
        component.add(name, value)


def as_test(text: str, mark: str) -> str:
    """Return a calendar file marked as a test: an entry of its own that no real one replaces."""
    from icalendar import Calendar

    calendar = Calendar.from_ical(text)
    for event in calendar.walk("VEVENT"):
        summary, uid = str(event["summary"]), str(event["uid"])
        del event["summary"], event["uid"]
        event.add("summary", f"{mark} {summary}")
        event.add("uid", f"{uid}-test")
    return str(calendar.to_ical(), "utf-8")
