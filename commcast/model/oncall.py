"""On call: who answers for an incident, how late ticks come, and which promises they can keep (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil
from typing import NamedTuple

from commcast.model.incident import Incident


class Handover(NamedTuple):
    """An incident offered to a person of commcast.toml (its key), or taken by that person unasked.

    `offered_by` is "" if it was taken unasked. Until it is taken, `taken_at` is None and `taken_by` is "".
    `note` is the note with the offer, "" for none.
    """

    person: str
    offered_by: str
    offered_at: datetime
    taken_by: str = ""
    taken_at: datetime | None = None
    note: str = ""


class OnDuty(NamedTuple):
    """Who answers for an incident, as keys of [people]; None for nobody.

    `offered` is the hand-over that nobody has taken yet; until somebody does, the earlier owner answers.
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

    The last one that was taken counts. Only the last one can be pending: a second offer replaces the first.
    An owner named in the file at `owner_since` replaces all hand-overs before that. If the backup takes over,
    the former owner becomes the backup, so that there are still two people.
    """
    if owner_since is not None:
        handovers = [each for each in handovers if (each.taken_at or each.offered_at) >= owner_since]
    for each in handovers:
        if each.taken_at is not None and each.person != owner:
            backup = owner if backup == each.person else backup
            owner = each.person
    waits = handovers[-1] if handovers and handovers[-1].taken_at is None else None
    return OnDuty(owner, backup, waits if waits and waits.person != owner else None)


def on_duty_for(incident: Incident, handovers: Sequence[Handover]) -> OnDuty:
    """Return who is on duty for an incident that could be read."""
    latest = incident.latest
    return who_is_on_duty(latest.owner, latest.backup, handovers, owner_since=owner_since(incident))


def owner_since(incident: Incident) -> datetime | None:
    """Return when an update after the first last named an owner, the same or another; None if none did."""
    named = [new.at for old, new in pairwise(incident.updates) if new.owner_named or old.owner != new.owner]
    return named[-1] if named else None


TICK_LATE = timedelta(minutes=10)  # without a tick for this long, nothing is sent automatically
_FEWEST = 4  # intervals; fewer say nothing
# Two hosts whose cron fires at the same second count as one tick, or half of all intervals would be zero.
_TOGETHER = timedelta(seconds=15)
# An interval longer than this, and than this many usual ones, has another cause (a machine that slept) and
# says nothing about how late ticks usually are.
_GAP, _USUAL = timedelta(hours=1), 10
_MINUTE = timedelta(minutes=1)
_AT_WORK = timedelta(minutes=3)  # how long a pass may take until its messages have left


class Drift(NamedTuple):
    """How far apart ticks have been lately: `typical` is the median, `worst` the 95th percentile.

    `seen` counts the intervals, `gaps` those left out because they were too long to be usual; the longest of
    these is `longest_gap`. `hosts` are the machines that ran the ticks.
    """

    typical: timedelta
    worst: timedelta
    seen: int = 0
    gaps: int = 0
    longest_gap: timedelta = timedelta()
    hosts: tuple[str, ...] = ()

    @property
    def hold_before(self) -> timedelta:
        """How early to act on a promise so that a tick certainly comes before it: full minutes."""
        return ceil(self.worst / _MINUTE) * _MINUTE

    @property
    def shortest_promise(self) -> timedelta:
        """The shortest promise that ticks this far apart can keep without a person."""
        return self.hold_before + _AT_WORK


def drift_of(ticks: Sequence[datetime], hosts: Sequence[str] = ()) -> Drift | None:
    """Return how far apart ticks (oldest first) were, None if there are too few to tell."""
    apart = list(_intervals(ticks))
    if len(apart) < _FEWEST:
        return None
    longest = max(_GAP, _USUAL * _middle(sorted(apart)))
    usual = sorted(each for each in apart if each <= longest)
    gaps = [each for each in apart if each > longest]
    return Drift(
        typical=_middle(usual),
        worst=usual[ceil(0.95 * len(usual)) - 1],
        seen=len(apart),
        gaps=len(gaps),
        longest_gap=max(gaps, default=timedelta()),
        hosts=tuple(dict.fromkeys(hosts)),
    )


def _intervals(ticks: Sequence[datetime]) -> Iterator[timedelta]:
    last: datetime | None = None
    for at in ticks:
        if last is None:
            last = at
        elif at - last >= _TOGETHER:
            yield at - last
            last = at


def _middle(lengths: Sequence[timedelta]) -> timedelta:
    return lengths[(len(lengths) - 1) // 2]
