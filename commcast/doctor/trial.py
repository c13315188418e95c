"""Renders messages for nobody: made-up and real incidents, to try templates on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from commcast.config.settings import Config
from commcast.incidents.load import parse_incident
from commcast.model.incident import Channel, Incident, Recipient, Update
from commcast.plan.cadence import promises
from commcast.rendering.compose import Content
from commcast.rendering.context import (
    NO_OCCASION,
    Correction,
    Occasion,
    build_context,
    next_word,
    recipient_values,
)
from commcast.rendering.moments import FOLLOW_UPS, has_begun, moment_of
from commcast.rendering.render import Renderer
from commcast.rendering.sentences import language_of, message_language
from commcast.rendering.templates import Templates, languages_of, shipped_templates

# What an update need not say, as an author would say it.
_OPTIONAL: dict[str, Any] = {
    "scope": "Card payments in the EU.",
    "works": "Bank transfers and refunds.",
    "data": "No payment is lost or charged twice.",
    "action": "Please don't pay twice. We show pending payments under Orders.",
    "nothing_new": "We've restarted half of the servers.",
    "internal": "db-eu-3 did not fail over.",
    "cause": "A configuration error in our network.",
    "fixed": "We went back to the version of this morning.",
    "remains": "Receipts arrive by tonight.",
    "if_it_persists": "Sign out, sign in again, then write to us.",
    "change": "We'll test this part before every release.",
    "because": "The first check was wrong.",
    "offer": "One month free, if they ask.",
}
_NOTHING: dict[str, Any] = dict.fromkeys(_OPTIONAL)
_SAID = (_OPTIONAL, {**_OPTIONAL, "nothing_new": None}, _NOTHING)  # a progress note hides its status


def made_up_stories(config: Config) -> dict[str, list[tuple[Incident, Occasion]]]:
    """Return by moment some incidents that came to it: the first say all, the last the least."""
    found: dict[str, list[tuple[Incident, Occasion]]] = {}
    now = datetime(2027, 1, 1, tzinfo=UTC)
    for path in sorted(Path(__file__).with_name("made_up").glob("*.yaml")):
        incident = parse_incident(path.read_text("utf-8"), path.name, config, now)
        for each, said in product(incident.updates, _SAID):
            updates = (*incident.updates[: each.number - 1], each.model_copy(update=said))
            made = incident.model_copy(update={"updates": updates})
            for occasion in _occasions(made.latest):
                moment = moment_of(made.latest, occasion, first=each.number == 1)
                found.setdefault(moment, []).append((made, occasion))
    return found


def _occasions(update: Update) -> Iterator[Occasion]:
    """Yield what may give rise to a message of an update: the update itself first."""
    yield Occasion()
    soon, late = update.at + timedelta(minutes=1), update.at + timedelta(days=365)
    if update.is_end:
        yield from (Occasion(now=late, follow_up=kind) for kind in FOLLOW_UPS)
    else:
        yield from (Occasion(now=now, unchanged_since=update.at, step=1) for now in (soon, late))
        yield Occasion(now=soon, corrections=(Correction(update.at, "Some cards fail.", "All cards fail."),))
    if update.window is not None:
        yield Occasion(now=soon, ahead=timedelta(days=1))


class TrialRenderer:
    """Renders as a broadcast would; `by_digest` holds each wording, compiled once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._templates = Templates(config.folder / "templates", shipped_templates())
        self._by_place: dict[tuple[str, ...], Renderer] = {}
        self.by_digest: dict[str, Renderer] = {}

    def renderer(self, audience: str, channel: Channel, moment: str, locale: str) -> Renderer:
        place = (audience, channel.value, moment, locale)
        if place not in self._by_place:
            view, desk = self.config.audiences[audience].view, language_of(self.config)
            wording = self._templates.choose(audience, view, moment, locale, channel, desk=desk)
            if wording.digest not in self.by_digest:
                self.by_digest[wording.digest] = Renderer(wording)
            self._by_place[place] = self.by_digest[wording.digest]
        return self._by_place[place]

    def check_languages(self, audience: str, channel: Channel, moment: str, locale: str) -> None:
        """Raise TemplateError if a reader's language has the moment without all of its parts."""
        view = self.config.audiences[audience].view
        for language in languages_of(locale, language_of(self.config)):
            self._templates.wording(audience, view, moment, language, channel)

    def render(
        self,
        incident: Incident,
        audience: str,
        channel: Channel,
        reader: Recipient,
        occasion: Occasion = NO_OCCASION,
    ) -> Content:
        """Return what one reader is told by the newest update. Raises TemplateError."""
        update, first = incident.latest, incident.latest.number == 1
        previous = None if first else incident.update(update.number - 1)
        by_email = channel is Channel.EMAIL or bool(reader.email)
        occasion = occasion._replace(next_word=next_word(reader.level, channel, by_email=by_email))
        moment = moment_of(update, occasion, first=first, has_begun=has_begun(update, previous))
        renderer = self.renderer(audience, channel, moment, reader.locale)
        language = renderer.wording.language
        values = recipient_values(reader, self.config.audiences[audience], language)
        context = build_context(
            self.config,
            incident,
            update,
            audience,
            zone=ZoneInfo(reader.timezone or self.config.organisation.zone),
            language=message_language(language, reader.locale),
            first=first,
            next_update_by=promises(self.config, incident, update).get(audience),
            previous=previous,
            occasion=occasion,
        )
        return (renderer.email if channel is Channel.EMAIL else renderer.sms)(context, values)
