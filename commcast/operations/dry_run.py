"""What a tick would do now: the same pass, but only noted; nothing is sent."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from commcast.errors import CommcastError
from commcast.ledger.broadcasts import held_rows
from commcast.ledger.claims import Ripe, ripe_now
from commcast.ledger.fence import stops_in_force
from commcast.ledger.store import Ledger
from commcast.model.history import NOBODY_KNOWS
from commcast.model.incident import Channel, Incident
from commcast.model.oncall import OnDuty
from commcast.oncall.nudges import Nudge, Why
from commcast.operations.desk import Desk, Plan
from commcast.operations.held import reason_to_drop, writer_of
from commcast.operations.tick import make_round, read_snapshot
from commcast.operations.wake import whom
from commcast.plan.notices import NoticeKind, kind_of


class Waking(NamedTuple):
    """A nudge that a tick would give, and the names of the people who would get it."""

    incident: str
    nudge: Nudge
    people: tuple[str, ...]


@dataclass
class Foreseen:
    """What a tick would send (`coming`), whom it would nudge, what it would leave alone, and what is wrong.

    `stopped` says by incident who stopped it, `errors` by file what is wrong.
    """

    coming: list[Ripe] = field(default_factory=list)
    waking: list[Waking] = field(default_factory=list)
    stopped: dict[str, str] = field(default_factory=dict)
    errors: dict[str, CommcastError] = field(default_factory=dict)


def foresee(desk: Desk, ledger: Ledger) -> Foreseen:
    """Return what a tick would do at the desk's now. Writes nothing.

    Raises InputError if there are no files.
    """
    look = make_round(desk, ledger, read_snapshot(desk, ledger))
    found = Foreseen(errors=look.errors)
    look.go(_Notes(desk, ledger, found))
    return found


@dataclass
class _Notes:
    """Notes what a tick would do, instead of doing it."""

    desk: Desk
    ledger: Ledger
    foreseen: Foreseen
    is_interrupted = False

    def send(self, plan: Plan) -> None:
        incident = plan.incident.id
        if plan.halted_by:
            self.foreseen.stopped[incident] = plan.halted_by
            return
        found = plan.tally().notices if plan.deliveries else ()
        updates = [each for each in found if each.send and kind_of(each.notice.id) is NoticeKind.UPDATE]
        self._note_ripe(incident, overtaken_on={each.notice.channel for each in updates})
        self._note_held(plan)
        for each in found:
            now = each.send - sum(audience.later for audience in each.audiences.values())
            self._note(incident, each.notice.id, each.notice.number, each.notice.channel, now)

    def finish(self, incident: str) -> None:
        with self.ledger.read() as connection:
            stops = stops_in_force(connection, incident)
        if stops:
            self.foreseen.stopped[incident] = stops[0].by
        else:
            self._note_ripe(incident)

    def _note_ripe(self, incident: str, overtaken_on: Collection[Channel] = ()) -> None:
        """Note what is frozen and pending, unless a newer update takes its place on its channel."""
        with self.ledger.read() as connection:
            ripe = ripe_now(connection, self.desk.now, incident)
            self.foreseen.coming.extend(each for each in ripe if each.channel not in overtaken_on)

    def _note_held(self, plan: Plan) -> None:
        """Note what quiet hours held back until now and is still to be sent."""
        with self.ledger.read() as connection:
            rows = held_rows(connection, plan.incident.id, self.desk.now)
        going: Counter[tuple[str, int, str]] = Counter()
        for (notice, number, channel, _), of_one in groupby(
            rows, key=lambda row: (row.notice, row.number, row.channel, row.audience)
        ):
            held = list(of_one)
            known = writer_of(self.desk, self.ledger, plan, held[0]).histories([row.key for row in held])
            going[notice, number, channel] += sum(
                not reason_to_drop(self.desk, plan, row, known.get(row.key, NOBODY_KNOWS)) for row in held
            )
        for (notice, number, channel), count in going.items():
            self._note(plan.incident.id, notice, number, channel, count)

    def _note(self, incident: str, notice: str, number: int, channel: str, deliveries: int) -> None:
        if deliveries:
            self.foreseen.coming.append(Ripe(incident, notice, number, channel, deliveries))

    def nudge(self, incident: Incident, nudges: Sequence[Nudge], on_duty: OnDuty) -> None:
        for nudge in nudges:
            if nudge.why is Why.UNTOLD:
                continue  # what would go is taken as told: nobody can know yet whether a provider takes it
            people = tuple(each.name for each in whom(self.desk, on_duty, nudge, os.environ))
            self.foreseen.waking.append(Waking(incident.id, nudge, people))
