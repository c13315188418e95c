"""One pass over all incidents, started by cron: sends what is released and owed; safe twice or late."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from commcast.desk import Desk, Owed
from commcast.duty import OnDuty
from commcast.errors import CommcastError, ExitCode, gravest
from commcast.incidents.judged import Judged
from commcast.ledger.judged import replace_judged
from commcast.ledger.store import Ledger
from commcast.ledger.ticks import record_tick
from commcast.model import Incident
from commcast.plan.nudging import Nudge
from commcast.rounds import make_round

if TYPE_CHECKING:
    from commcast.delivering import Delivered
    from commcast.nudging import Nudged
    from commcast.sending import Sender


@dataclass(slots=True)
class Ticked:
    """What one tick did: by incident what was delivered, who was nudged, and what went wrong with it.

    `quiet` are the incidents that were looked at and had nothing to send, with who stopped each, "" for
    nobody. What was found to be over in an earlier tick is in neither.
    """

    delivered: dict[str, Delivered] = field(default_factory=dict)
    nudged: dict[str, Nudged] = field(default_factory=dict)
    quiet: dict[str, str] = field(default_factory=dict)
    errors: dict[str, CommcastError] = field(default_factory=dict)

    def exit_code(self, tolerate: float) -> ExitCode:
        # A stop is somebody's decision already: it is no news to cron.
        codes = [
            code
            for done in self.delivered.values()
            if (code := done.exit_code(tolerate)) is not ExitCode.DECISION
            or done.expired
            or done.nobody_heard
        ]
        if any(nudged.unreached for nudged in self.nudged.values()):
            codes.append(ExitCode.DECISION)
        woken = (nudged.delivered for nudged in self.nudged.values() if nudged.delivered)
        codes.extend(done.exit_code(tolerate) for done in woken if done.signal)
        return gravest([*codes, *(error.exit_code for error in self.errors.values())])

    @property
    def is_interrupted(self) -> bool:
        woken = (nudged.delivered for nudged in self.nudged.values() if nudged.delivered)
        return any(done.signal for done in (*self.delivered.values(), *woken))


def tick(desk: Desk, ledger: Ledger, make_sender: Callable[[], Sender]) -> Ticked:
    """Send what is released and owed of every incident; `make_sender` is called where anything is.

    What is wrong with one incident stops only that one.
    Raises LedgerError at once when the ledger cannot be trusted, InputError where there are no files.
    """
    look = make_round(desk, ledger)
    with ledger.write() as connection:
        record_tick(connection, desk.now)
    hands = _Sending(desk, make_sender, Ticked(quiet=look.quiet, errors=look.errors))
    look.go(hands)
    if not hands.is_interrupted:
        _keep_judged(desk, ledger, look.judged, look.over)
    return hands.ticked


@dataclass
class _Sending:
    """The hands of a tick: they send, and wake people."""

    desk: Desk
    make_sender: Callable[[], Sender]
    ticked: Ticked
    _sender: Sender | None = None

    @property
    def sender(self) -> Sender:
        self._sender = self._sender or self.make_sender()
        return self._sender

    @property
    def is_interrupted(self) -> bool:
        return self.ticked.is_interrupted

    def send(self, owed: Owed) -> None:
        self.ticked.delivered[owed.incident.id] = self.sender.send(owed)

    def finish(self, incident: str) -> None:
        self.ticked.delivered[incident] = self.sender.deliverer.deliver(incident)

    def wake(self, incident: Incident, nudges: Sequence[Nudge], on_duty: OnDuty) -> None:
        from commcast.nudging import Nudger

        nudger = Nudger(self.desk, self.sender.deliverer, os.environ)
        self.ticked.nudged[incident.id] = nudger.nudge(incident, nudges, on_duty)


def _keep_judged(desk: Desk, ledger: Ledger, known: Mapping[str, Judged], over: Mapping[str, Judged]) -> None:
    """Keep what was found to be over, and forget what is no more; write nothing where nothing changed."""
    gone = known.keys() - over.keys()
    found = {path: each for path, each in over.items() if known.get(path) != each}
    if gone or found:
        with ledger.write() as connection:
            replace_judged(connection, gone, found, desk.now)
