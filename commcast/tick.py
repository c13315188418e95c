"""One pass over all incidents, started by cron: sends what is released and owed; safe twice or late."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import delete, insert

from commcast.delivering import Delivered
from commcast.desk import check_story, renamed_faults
from commcast.errors import CommcastError, ExitCode, InputError, Interrupted, LedgerError, gravest
from commcast.incidents.load import Loaded
from commcast.ledger import schema
from commcast.ledger.freeze import open_broadcasts
from commcast.ledger.releases import released_incidents
from commcast.ledger.store import Ledger
from commcast.sending import Sender

TICKS_KEPT = 10_000  # about a week of one a minute


@dataclass(slots=True)
class Ticked:
    """What one tick did: by incident what was delivered, and what went wrong with it."""

    delivered: dict[str, Delivered] = field(default_factory=dict)
    errors: dict[str, CommcastError] = field(default_factory=dict)

    def exit_code(self, tolerate: float) -> ExitCode:
        # A stop is somebody's decision already: it is no news to cron.
        codes = [
            code
            for done in self.delivered.values()
            if (code := done.exit_code(tolerate)) is not ExitCode.DECISION or done.expired
        ]
        return gravest([*codes, *(error.exit_code for error in self.errors.values())])


def tick(sender: Sender, loaded: Loaded) -> Ticked:
    """Send what is released and owed of every incident.

    What is wrong with one incident stops only that one; what is frozen of it goes out from the ledger.
    Raises LedgerError at once when the ledger cannot be trusted.
    """
    ticked = Ticked()
    ledger = sender.deliverer.ledger
    record_tick(ledger, sender)
    ticked.errors.update(loaded.broken)
    present = [incident.id for incident in loaded.incidents]
    with ledger.read() as connection:
        released = released_incidents(connection)
    for incident in loaded.incidents:
        if incident.id in released:
            try:
                check_story(sender.desk, incident, ledger, present)
                _note(ticked, incident.id, sender.send_released(incident))
            except (LedgerError, Interrupted):
                raise
            except CommcastError as error:
                ticked.errors[incident.path] = error
                if isinstance(error, InputError):
                    _note(ticked, incident.id, sender.deliverer.deliver(incident.id))
        elif faults := renamed_faults(ledger, incident, present):
            ticked.errors[incident.path] = InputError(faults)
        if _interrupted(ticked):
            return ticked
    _finish_frozen(sender, ticked, set(present))
    return ticked


def record_tick(ledger: Ledger, sender: Sender) -> None:
    """Record that a tick ran: `declare` and `status` warn when none has lately."""
    now, host = schema.stamp(sender.desk.now), sender.deliverer.owner.partition("|")[0]
    with ledger.write() as connection:
        made = connection.execute(insert(schema.tick).values(at=now, host=host).returning(schema.tick.c.id))
        connection.execute(delete(schema.tick).where(schema.tick.c.id <= made.scalar_one() - TICKS_KEPT))


def _finish_frozen(sender: Sender, ticked: Ticked, present: set[str]) -> None:
    """Finish what is frozen of incidents whose file is broken or gone: the ledger holds all it needs."""
    with sender.deliverer.ledger.read() as connection:
        waiting = {broadcast.incident for broadcast in open_broadcasts(connection)}
    for incident in sorted(waiting - present - ticked.delivered.keys()):
        _note(ticked, incident, sender.deliverer.deliver(incident))
        if _interrupted(ticked):
            return


def _note(ticked: Ticked, incident: str, delivered: Delivered) -> None:
    ticked.delivered[incident] = delivered


def _interrupted(ticked: Ticked) -> bool:
    return any(done.signal for done in ticked.delivered.values())
