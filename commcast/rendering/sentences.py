"""What an author wrote, as one group of readers gets it: in their language, and as far as it still holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from commcast.config.settings import Config
from commcast.model.incident import END_STATUSES, Incident, Status, Update
from commcast.model.translation import LITERAL, translated

_LOOKS_BETTER = END_STATUSES | {Status.MONITORING, Status.VERIFYING}
_UNDER_WAY = frozenset({Status.IN_PROGRESS, Status.EXTENDED, Status.VERIFYING, Status.COMPLETED})
_PLANS = frozenset({Status.SCHEDULED, Status.RESCHEDULED})


def language_of(config: Config) -> str:
    """Return the language of a desk's own words, and of readers whose row names none."""
    return config.organisation.language


def message_language(wording: str, locale: str) -> str:
    """Return the language of a message's dates: the reader's variant of the language of its words."""
    return locale if locale.partition("-")[0] == wording.partition("-")[0] else wording


def words_for(
    config: Config, incident: Incident, update: Update, audience: str, language: str
) -> dict[str, str | None]:
    """Return the update's sentences for an audience, in its language as far as they are translated."""
    words, _ = translated(incident, update, audience, translated_to(config, language))
    if is_advice_for_before(incident, update):
        words["action"] = None
    # Values that are no sentences: templates ask for scope_unknown and nothing_to_do.
    return {key: None if text == LITERAL.get(key) else text for key, text in words.items()}


def is_advice_for_before(incident: Incident, update: Update) -> bool:
    """Return whether `action` was written before the planned work began, and the work has begun."""
    if update.status not in _UNDER_WAY:
        return False
    plans = [each for each in incident.updates[: update.number] if each.status in _PLANS]
    return bool(plans) and plans[-1].action == update.action


def translated_to(config: Config, language: str) -> str:
    """Return the locale whose translations are read, "" for the language of the desk's own words."""
    own = config.organisation.language.partition("-")[0]
    return "" if language.partition("-")[0] == own else language


def told_while_it_went_on(
    config: Config,
    incident: Incident,
    update: Update,
    audience: str,
    language: str,
    words: Mapping[str, str | None],
) -> dict[str, Any]:
    """Return what happened, in the words told while it went on, and what was done.

    Once it looks better, `issue` is how it is now, and what is carried forward as `resolution` says what we
    were about to do. At an end, `happened` is told as it was before it was over at first, and `came_back` as
    it was after that.
    """
    problems = [each for each in incident.updates[: update.number] if each.status not in _LOOKS_BETTER]
    over = next((each.number for each in incident.updates if each.is_end), update.number)
    first = [each for each in problems if each.number < over] or problems or [update]
    told = words_for(config, incident, first[-1], audience, language)
    latest = words_for(config, incident, (problems or [update])[-1], audience, language)
    is_other = update.is_end and latest["issue"] != told["issue"]
    is_new = not problems or words["resolution"] != latest["resolution"]
    return {
        "happened": told["issue"] if update.is_end else latest["issue"],
        "happened_own": _has_ownwords_for(
            first[-1] if update.is_end else (problems or [update])[-1], audience
        ),
        "came_back": latest["issue"] if is_other else None,
        "told_customers": words_for(config, incident, update, "", language)["issue"],
        "own_words": _has_ownwords_for(update, audience),
        "did": words["fixed"] or (words["resolution"] if is_new and update.is_end else None),
    }


def _has_ownwords_for(update: Update, audience: str) -> bool:
    own = update.words_in_force.get(audience)
    return bool(own and own.issue)
