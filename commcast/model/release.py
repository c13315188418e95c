"""A release: a person's yes to one update, kept as its number and the digest of its text (pure)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from commcast.errors import Fault
from commcast.model.incident import Incident, Update

# No reader gets these: its place in the file, who is on call for it, the internal note. Words for an audience
# are in the digest of the update that wrote them.
_NOT_PUBLISHED = {
    "number",
    "line",
    "at_written",
    "internal",
    "owner",
    "owner_named",
    "backup",
    "words_in_force",
    "translations_in_force",
}

# Keys of later versions: if empty they do not change the digest, so that older releases still match.
_SINCE_PROMISES = {
    *("corrects", "wrong", "right", "expected_at", "merged_into", "check_in", "short", "works", "data"),
    *("link", "cause", "change", "urgent", "offer", "offer_name", "offer_public", "translations"),
}

_PUBLISHED_OF_INCIDENT = ("title", "kind", "started")
_LONGEST_SHOWN = 80  # characters of a value in a fault

ELSEWHERE = "elsewhere"


class Release(NamedTuple):
    """One released update as the ledger knows it.

    `how` is the kind of yes: question, yes, or elsewhere (it was sent before the ledger was adopted, so this
    ledger tells nobody about it).
    """

    incident: str
    number: int
    digest: str
    at: datetime
    how: str
    by: str


def digest(incident: Incident, update: Update) -> str:
    """Return the digest of everything readers may get of an update, without `internal` and the incident's id.

    The id is left out so that a renamed file is recognised by what it has already said.
    """
    published: dict[str, Any] = {
        "title": incident.title,
        "kind": incident.kind.value,
        "started": incident.started.isoformat() if incident.started_written else None,
        "update": _as_before(update.model_dump(mode="json", exclude=_NOT_PUBLISHED)),
    }
    if update.offer_name:
        published["update"].pop("offer", None)  # the file names it; its words are those of commcast.toml
    text = json.dumps(published, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _as_before(said: dict[str, Any]) -> dict[str, Any]:
    """Return what an update says without keys of later versions that are empty, also in `words`."""
    return {
        key: {name: _as_before(words) for name, words in value.items()} if key == "words" else value
        for key, value in said.items()
        if value or key not in _SINCE_PROMISES
    }


def facts(incident: Incident, update: Update) -> dict[str, Any]:
    """Return what was known at an update, as JSON, for holding statements while the file is broken."""
    return {
        "incident": incident.model_dump(mode="json", exclude={"updates"}),
        "update": update.model_dump(mode="json"),
    }


def changed(
    incident: Incident,
    releases: Mapping[int, Release],
    facts_of: Callable[[int], Mapping[str, Any]] | None = None,
) -> list[Fault]:
    """Return a fault for each released update that the file no longer holds as it was released.

    `facts_of` returns the facts an update was released with, so that the fault can say how it was; None if
    only the digests are available.
    """
    faults = []
    for number, release in sorted(releases.items()):
        if number > len(incident.updates):
            what = f"update {number} was released and is no longer in the file"
            remedy = "put it back; if something in it was wrong, say so in a new update"
            faults.append(Fault(incident.path, 0, 0, what, remedy))
            continue
        update = incident.update(number)
        if digest(incident, update) != release.digest:
            what = f"update {number} was released and has changed since"
            what += _how_it_was(facts_of(number) if facts_of else {}, facts(incident, update))
            command = f'commcast correct {incident.id} --wrong "…" --right "…"'
            remedy = f"put it back; to correct what was sent: {command}"
            faults.append(Fault(incident.path, update.line, 0, what, remedy))
    return faults


def _how_it_was(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the first published key that differs, with both values, as far as they are kept."""
    keys = [("incident", key) for key in _PUBLISHED_OF_INCIDENT]
    keys += [("update", key) for key in now["update"] if key not in _NOT_PUBLISHED]
    for part, key in keys:
        if key in was.get(part, {}) and was[part][key] != now[part][key]:
            before, after = _short(was[part][key]), _short(now[part][key])
            return f": {key} was {before}; now {after}" if before != after else f": {key} differs"
    return " (its own words, or the title, started or an earlier update that it carries forward)"


def _short(value: Any) -> str:
    if value is None:
        return "left out"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f'"{text}"' if len(text) <= _LONGEST_SHOWN else f'"{text[: _LONGEST_SHOWN - 1]}…"'


def drafts(incident: Incident, releases: Iterable[int]) -> tuple[int, ...]:
    """Return the numbers of the updates that nobody has released."""
    released = set(releases)
    return tuple(update.number for update in incident.updates if update.number not in released)
