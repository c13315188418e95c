"""What a tick would do now: the same round, in hands that only note what they are given."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from commcast.desk import Desk, Owed
from commcast.duty import OnDuty
from commcast.errors import CommcastError
from commcast.ledger.freeze import held_rows
from commcast.ledger.stops import stops_in_force
from commcast.ledger.store import Ledger
from commcast.ledger.waits import ripe_now
from commcast.model import Incident
from commcast.nudging import whom
from commcast.plan.nudging import Nudge
from commcast.rounds import make_round


class Coming(NamedTuple):
    """How many deliveries of one notice over one channel a tick would hand over."""

    incident: str
    notice: str
    number: int
    channel: str
    deliveries: int


class Waking(NamedTuple):
    """A nudge that a tick would give, and the names of those whom it would wake."""

    incident: str
    nudge: Nudge
    people: tuple[str, ...]


@dataclass
class Foreseen:
    """What a tick would send, whom it would wake, what it leaves since somebody stopped it, what is wrong.

    `stopped` has who stopped it by incident, `errors` what is wrong by file.
    """

    coming: list[Coming] = field(default_factory=list)
    waking: list[Waking] = field(default_factory=list)
    stopped: dict[str, str] = field(default_factory=dict)
    errors: dict[str, CommcastError] = field(default_factory=dict)


def foresee(desk: Desk, ledger: Ledger) -> Foreseen:
    """Return what a tick would do at the desk's now. Nothing is written.

    Raises InputError where there are no files.
    """
    look = make_round(desk, ledger)
    hands = _Noting(desk, ledger, Foreseen(errors=look.errors))
    look.go(hands)
    return hands.foreseen


@dataclass
class _Noting:
    """The hands of a dry run."""

    desk: Desk
    ledger: Ledger
    foreseen: Foreseen

    @property
    def is_interrupted(self) -> bool:
        return False

    def send(self, owed: Owed) -> None:
        if owed.halted_by:
            self.foreseen.stopped[owed.incident.id] = owed.halted_by
            return
        self._note_frozen(owed.incident.id)
        if owed.deliveries:
            self.foreseen.coming += [
                Coming(found.incident, found.id, found.number, found.channel, each.send)
                for each in owed.survey().notices
                if each.send and (found := each.notice)
            ]

    def finish(self, incident: str) -> None:
        with self.ledger.read() as connection:
            stops = stops_in_force(connection, incident)
        if stops:
            self.foreseen.stopped[incident] = stops[0].by
        else:
            self._note_frozen(incident)

    def _note_frozen(self, incident: str) -> None:
        """Note what waits and may go now; what quiet hours held is looked at once more when it goes."""
        with self.ledger.read() as connection:
            ripe = Counter(
                {
                    (each.notice, each.number, each.channel): each.deliveries
                    for each in ripe_now(connection, self.desk.now)
                    if each.incident == incident
                }
            )
            held = held_rows(connection, incident, self.desk.now)
        ripe.update((row.notice, row.number, row.channel) for row in held)
        self.foreseen.coming += [Coming(incident, *key, count) for key, count in ripe.items()]

    def wake(self, incident: Incident, nudges: Sequence[Nudge], on_duty: OnDuty) -> None:
        self.foreseen.waking += [
            Waking(
                incident.id,
                nudge,
                tuple(each.name for each in whom(self.desk, on_duty, nudge, os.environ)),
            )
            for nudge in nudges
        ]
