"""Release: a person's yes to one update, held as its number and the digest of its words (pure)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from commcast.errors import Fault
from commcast.model import Incident, Update

# Where it stands in the file and who is woken for it are not words that a reader gets.
_NOT_PUBLISHED = {"number", "line", "at_written", "internal", "owner", "backup"}

ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class Release:
    """One released update as the ledger knows it.

    `how` says by what kind of yes: question, yes, or elsewhere (it was history when the ledger was adopted,
    so nobody is told of it by this ledger).
    """

    incident: str
    number: int
    digest: str
    at: datetime
    how: str
    by: str


def digest(incident: Incident, update: Update) -> str:
    """Return the digest of all that readers may get of an update; `internal` and the incident's id left out.

    The id is left out so that a renamed file is recognised by what it already said.
    """
    published = {
        "title": incident.title,
        "kind": incident.kind.value,
        "started": incident.started.isoformat(),
        "update": update.model_dump(mode="json", exclude=_NOT_PUBLISHED),
    }
    text = json.dumps(published, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def facts(incident: Incident, update: Update) -> dict[str, Any]:
    """Return what was known at an update, as JSON: for holding statements while the file is broken."""
    return {
        "incident": incident.model_dump(mode="json", exclude={"updates"}),
        "update": update.model_dump(mode="json"),
    }


def changed(incident: Incident, releases: Mapping[int, Release]) -> list[Fault]:
    """Return a fault for each released update that the file no longer holds as it was released."""
    faults = []
    for number, release in sorted(releases.items()):
        if number > len(incident.updates):
            faults.append(
                Fault(
                    incident.path,
                    0,
                    0,
                    f"update {number} was released and is no longer in the file",
                    "put it back as it was; say what is wrong in a new update",
                )
            )
        elif digest(incident, incident.update(number)) != release.digest:
            faults.append(
                Fault(
                    incident.path,
                    incident.update(number).line,
                    0,
                    f"update {number} was released and has changed since (its own words, or the title, "
                    "started or an earlier update that it carries forward)",
                    "put it back as it was; say what is wrong in a new update",
                )
            )
    return faults


def drafts(incident: Incident, releases: Iterable[int]) -> tuple[int, ...]:
    """Return the numbers of the updates that nobody has released."""
    released = set(releases)
    return tuple(update.number for update in incident.updates if update.number not in released)
