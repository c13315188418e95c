"""One pass over all incidents, started by cron: sends what is released and owed; safe twice or late."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from commcast.desk import (
    Desk,
    Owed,
    check_story,
    renamed_faults,
    what_is_owed,
    what_the_ledger_owes,
)
from commcast.duty import on_duty_for
from commcast.errors import (
    CommcastError,
    ExitCode,
    Fault,
    InputError,
    Interrupted,
    LedgerError,
    gravest,
)
from commcast.incidents.judged import Judged
from commcast.incidents.load import Loaded, load_incidents
from commcast.ledger.calls import nudges_given
from commcast.ledger.duty import handovers
from commcast.ledger.judged import read_judged, replace_judged, unfinished_incidents
from commcast.ledger.releases import open_incidents, released_incidents
from commcast.ledger.store import Ledger
from commcast.ledger.ticks import record_tick
from commcast.model import Incident, Update
from commcast.plan.handing import handing_nudges
from commcast.plan.nudging import Nudge, broken_file_nudge, nudges_due
from commcast.standing import IncidentStanding

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
            if (code := done.exit_code(tolerate)) is not ExitCode.DECISION or done.expired
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

    What is wrong with one incident stops only that one; what is frozen of it goes out from the ledger.
    Raises LedgerError at once when the ledger cannot be trusted, InputError where there are no files.
    """
    with ledger.read() as connection:
        released = released_incidents(connection)
        unfinished = unfinished_incidents(connection)
        judged = read_judged(connection)
    # What waits may need its file, to say what is true by the time it goes.
    usable = {path: each for path, each in judged.items() if each.incident not in unfinished}
    loaded = load_incidents(desk.config, desk.now, usable)
    with ledger.write() as connection:
        record_tick(connection, desk.now)
    running = _Running(desk, ledger, make_sender, loaded, released, unfinished)
    running.run()
    if not running.ticked.is_interrupted:
        _keep_judged(desk, ledger, judged, {name: judged[name] for name in loaded.over} | running.over)
    return running.ticked


@dataclass
class _Running:
    """One tick under way. `over` grows by the files that the next tick need not read."""

    desk: Desk
    ledger: Ledger
    make_sender: Callable[[], Sender]
    loaded: Loaded
    released: frozenset[str]
    unfinished: frozenset[str]
    ticked: Ticked = field(default_factory=Ticked)
    over: dict[str, Judged] = field(default_factory=dict)
    _sender: Sender | None = None

    @property
    def sender(self) -> Sender:
        self._sender = self._sender or self.make_sender()
        return self._sender

    def run(self) -> None:
        self.ticked.errors.update(self.loaded.broken)
        for incident in self.loaded.incidents:
            if incident.id in self.released:
                self._one(incident)
            elif faults := renamed_faults(self.ledger, incident, self.loaded.ids):
                self.ticked.errors[incident.path] = InputError(faults)
            elif not incident.latest.is_end:  # the end of what nobody ever heard of is old history
                self._nudge_of_drafts(incident)
            if self.ticked.is_interrupted:
                return
        self._without_file()
        self._finish_frozen()

    def _nudge_of_drafts(self, incident: Incident) -> None:
        """Wake the people of an incident that was written down and never released."""
        self._nudge(Owed(incident, IncidentStanding(), (), ()))

    def _without_file(self) -> None:
        """Keep the promises of open incidents whose file cannot be read, or is gone."""
        with self.ledger.read() as connection:
            unread = sorted(open_incidents(connection) - set(self.loaded.ids))
        for incident in unread:
            owed = what_the_ledger_owes(self.desk, incident, self.ledger)
            if owed is None or not owed.standing.said:
                continue
            path = owed.incident.path
            gone = InputError(Fault(path, 0, 0, "is gone, and readers wait for its end", "put the file back"))
            error = self.ticked.errors.setdefault(path, gone)
            if isinstance(error, InputError) and not self.ticked.is_interrupted:
                self._keep_promises(incident, error)

    def _one(self, incident: Incident) -> None:
        try:
            check_story(self.desk, incident, self.ledger, self.loaded.ids)
            owed = what_is_owed(self.desk, incident, self.ledger)
            self._nudge(owed)
            if not self.ticked.is_interrupted:
                self._send(owed)
        except (LedgerError, Interrupted):
            raise
        except CommcastError as error:
            self.ticked.errors[incident.path] = error
            if isinstance(error, InputError):
                self._keep_promises(incident.id, error)

    def _send(self, owed: Owed) -> None:
        incident = owed.incident
        if owed.deliveries or incident.id in self.unfinished:
            self.ticked.delivered[incident.id] = self.sender.send(owed)
            return
        self.ticked.quiet[incident.id] = owed.standing.stopped_by
        if _is_over(owed) and incident.path in self.loaded.digests:
            self.over[incident.path] = Judged(self.loaded.digests[incident.path], incident.id)

    def _keep_promises(self, incident: str, error: InputError) -> None:
        """Keep what was promised of an incident whose file, lists or templates are wrong; wake its people.

        It speaks from the ledger: the last released words, to those who were told them.
        """
        owed = what_the_ledger_owes(self.desk, incident, self.ledger)
        if owed is None or _end_is_told(owed):
            self.ticked.delivered[incident] = self.sender.deliverer.deliver(incident)
            return
        self._nudge(
            owed,
            broken_file_nudge(owed.incident, str(error), next((fault.file for fault in error.faults), "")),
        )
        self.ticked.delivered[incident] = self.sender.send(owed)

    def _nudge(self, owed: Owed, *more: Nudge) -> None:
        """Wake an incident's people first: a long broadcast must not keep them asleep."""
        with self.ledger.read() as connection:
            given = nudges_given(connection, owed.incident.id)
            taken = handovers(connection, owed.incident.id)
        incident = owed.incident
        drafted = {
            number: _drafted_at(self.desk, incident.update(number), incident.path) for number in owed.drafts
        }
        nudges = nudges_due(
            incident,
            owed.standing,
            owed.lines,
            self.desk.config,
            self.desk.now,
            drafted=drafted,
            nudged=given,
        )
        handed = handing_nudges(incident, taken, self.desk.config, self.desk.now, nudged=given)
        wanted = [*(each for each in more if each.id not in given), *handed, *nudges]
        if wanted:
            from commcast.nudging import Nudger

            on_duty = on_duty_for(incident, taken)
            nudger = Nudger(self.desk, self.sender.deliverer, os.environ)
            try:
                self.ticked.nudged[incident.id] = nudger.nudge(incident, wanted, on_duty)
            except (LedgerError, Interrupted):
                raise
            except CommcastError as error:  # what keeps its people asleep must not keep readers waiting
                self.ticked.errors[incident.path] = error

    def _finish_frozen(self) -> None:
        """Finish what is frozen of incidents whose file is broken or gone: the ledger holds all it needs."""
        with self.ledger.read() as connection:
            waiting = unfinished_incidents(connection)
        seen = {incident.id for incident in self.loaded.incidents}
        for incident in sorted(waiting - seen):
            self.ticked.delivered[incident] = self.sender.deliverer.deliver(incident)
            if self.ticked.is_interrupted:
                return


def _drafted_at(desk: Desk, update: Update, path: str) -> datetime:
    """Return since when a draft waits: when it says it was said, else when its file was written."""
    if update.at_written:
        return update.at
    try:
        return datetime.fromtimestamp((desk.config.folder / path).stat().st_mtime, UTC)
    except OSError:
        return desk.now


def _end_is_told(owed: Owed) -> bool:
    """Return whether an incident is over for its readers: what is wrong with its file now harms nobody."""
    latest = owed.incident.latest
    told = {notice for notice, _ in owed.standing.begun}
    return latest.is_end and (f"update:{latest.number}" in told or not told)


def _is_over(owed: Owed) -> bool:
    """Return whether nothing of an incident can become due unless its file, or what it is read by, changes.

    A stop is somebody's word that may be lifted; an update without a time of its own reads as now.
    """
    incident = owed.incident
    return (
        incident.latest.is_end
        and not owed.drafts
        and not any(line.owed or line.from_ for line in owed.lines)
        and not owed.standing.stopped_by
        and all(update.at_written for update in incident.updates)
    )


def _keep_judged(desk: Desk, ledger: Ledger, known: Mapping[str, Judged], over: Mapping[str, Judged]) -> None:
    """Keep what was found to be over, and forget what is no more; write nothing where nothing changed."""
    gone = known.keys() - over.keys()
    found = {path: each for path, each in over.items() if known.get(path) != each}
    if gone or found:
        with ledger.write() as connection:
            replace_judged(connection, gone, found, desk.now)
