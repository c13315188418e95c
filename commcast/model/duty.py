"""Who is on duty for an incident, by its file and by who handed it over to whom (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from commcast.model.incident import Incident


@dataclass(frozen=True, slots=True)
class Handover:
    """An incident offered to a person of commcast.toml (its key), or taken by that person unasked.

    `offered_by` is who offered it, "" where it was taken unasked. `taken_at` is None as long as it is not
    taken; `taken_by` is then "". `note` is what was said with the offer, "" for nothing.
    """

    person: str
    offered_by: str
    offered_at: datetime
    taken_by: str = ""
    taken_at: datetime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class OnDuty:
    """Who answers for an incident, as keys of [people]; None for nobody.

    `offered` is the hand-over that waits to be taken: until then the earlier owner is the one.
    """

    owner: str | None
    backup: str | None
    offered: Handover | None = None


def who_is_on_duty(
    owner: str | None,
    backup: str | None,
    handovers: Sequence[Handover],
    *,
    owner_since: datetime | None = None,
) -> OnDuty:
    """Return who is on duty. `handovers` are in the order in which they were made.

    The last one that was taken counts, and only the last one waits: a second offer replaces the first. What
    the file says counts again where it named an owner later, at `owner_since`. Where the backup takes
    over, whoever had it becomes the backup: two people stay two.
    """
    counting = [each for each in handovers if owner_since is None or _moved_at(each) >= owner_since]
    for each in counting:
        if each.taken_at is not None and each.person != owner:
            backup = owner if backup == each.person else backup
            owner = each.person
    waits = counting[-1] if counting and counting[-1].taken_at is None else None
    return OnDuty(owner, backup, waits if waits and waits.person != owner else None)


def _moved_at(each: Handover) -> datetime:
    return each.taken_at or each.offered_at


def on_duty_for(incident: Incident, handovers: Sequence[Handover]) -> OnDuty:
    """Return who is on duty for an incident that could be read."""
    latest = incident.latest
    return who_is_on_duty(latest.owner, latest.backup, handovers, owner_since=owner_since(incident))


def owner_since(incident: Incident) -> datetime | None:
    """Return when an update after the first last named an owner, the same or another; None where none did."""
    updates = incident.updates
    for before, after in zip(reversed(updates[:-1]), reversed(updates[1:]), strict=True):
        if after.owner_named or before.owner != after.owner:
            return after.at
    return None
