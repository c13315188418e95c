"""One look over all incidents: what of each is due now, for hands that do it, or that only note it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from commcast.desk import (
    Desk,
    Owed,
    check_story,
    renamed_faults,
    what_is_owed,
    what_the_ledger_owes,
)
from commcast.duty import OnDuty, on_duty_for
from commcast.errors import CommcastError, Fault, InputError, Interrupted, LedgerError
from commcast.incidents.judged import Judged
from commcast.incidents.load import Loaded, load_incidents
from commcast.ledger.calls import nudges_given
from commcast.ledger.duty import handovers
from commcast.ledger.judged import read_judged, unfinished_incidents
from commcast.ledger.releases import open_incidents, released_incidents
from commcast.ledger.store import Ledger
from commcast.model import Incident, Update
from commcast.plan.handing import handing_nudges
from commcast.plan.nudging import Nudge, broken_file_nudge, nudges_due
from commcast.standing import IncidentStanding


class Hands(Protocol):
    """What becomes of what a round finds: a tick does it, its dry run notes it.

    What one of these raises is the fault of that incident alone, but for LedgerError and Interrupted.
    """

    @property
    def is_interrupted(self) -> bool:
        """Whether a signal came: nothing more is begun."""
        ...

    def send(self, owed: Owed) -> None:
        """Send what is owed of an incident, and all that is frozen of it and open."""
        ...

    def finish(self, incident: str) -> None:
        """Send what is frozen of an incident: the ledger holds all it needs."""
        ...

    def wake(self, incident: Incident, nudges: Sequence[Nudge], on_duty: OnDuty) -> None:
        """Wake an incident's people, once for each of these."""
        ...


@dataclass
class Round:
    """One look over all incidents, and what it found.

    `judged` are the files found to be over in earlier rounds, `over` those that the next one need not read.
    `errors` is what went wrong by file. `quiet` are the incidents that were looked at and had nothing to
    send, with who stopped each, "" for nobody; `kept` are those whose promises were kept from the ledger.
    """

    desk: Desk
    ledger: Ledger
    loaded: Loaded
    judged: dict[str, Judged]
    released: frozenset[str]
    unfinished: frozenset[str]
    errors: dict[str, CommcastError] = field(default_factory=dict)
    quiet: dict[str, str] = field(default_factory=dict)
    over: dict[str, Judged] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)

    def go(self, hands: Hands) -> None:
        """Look at each incident and give what is due to `hands`.

        What is wrong with one incident stops only that one; what is frozen of it goes out from the ledger.
        """
        self.over.update({path: self.judged[path] for path in self.loaded.over})
        self.errors.update(self.loaded.broken)
        for incident in self.loaded.incidents:
            if incident.id in self.released:
                self._one(incident, hands)
            elif faults := renamed_faults(self.ledger, incident, self.loaded.ids):
                self.errors[incident.path] = InputError(faults)
            elif not incident.latest.is_end:  # the end of what nobody ever heard of is old history
                self._nudge_of_drafts(incident, hands)
            if hands.is_interrupted:
                return
        self._without_file(hands)
        self._finish_frozen(hands)

    def _nudge_of_drafts(self, incident: Incident, hands: Hands) -> None:
        """Wake the people of an incident that was written down and never released."""
        self._nudge(Owed(incident, IncidentStanding(), (), ()), hands)

    def _without_file(self, hands: Hands) -> None:
        """Keep the promises of open incidents whose file cannot be read, or is gone."""
        with self.ledger.read() as connection:
            unread = sorted(open_incidents(connection) - set(self.loaded.ids))
        for incident in unread:
            owed = what_the_ledger_owes(self.desk, incident, self.ledger)
            if owed is None or not owed.standing.said:
                continue
            path = owed.incident.path
            gone = InputError(Fault(path, 0, 0, "is gone, and readers wait for its end", "put the file back"))
            error = self.errors.setdefault(path, gone)
            if isinstance(error, InputError) and not hands.is_interrupted:
                self._keep_promises(incident, error, hands)

    def _one(self, incident: Incident, hands: Hands) -> None:
        try:
            standing = check_story(self.desk, incident, self.ledger, self.loaded.ids)
            standing = replace(standing, last_tick=self.desk.now)  # this very round is a tick
            owed = what_is_owed(self.desk, incident, self.ledger, standing=standing)
            self._nudge(owed, hands)
            if not hands.is_interrupted:
                self._send(owed, hands)
        except (LedgerError, Interrupted):
            raise
        except CommcastError as error:
            self.errors[incident.path] = error
            if isinstance(error, InputError):
                self._keep_promises(incident.id, error, hands)

    def _send(self, owed: Owed, hands: Hands) -> None:
        incident = owed.incident
        if owed.deliveries or incident.id in self.unfinished:
            hands.send(owed)
            return
        self.quiet[incident.id] = owed.standing.stopped_by
        if _is_over(owed) and incident.path in self.loaded.digests:
            self.over[incident.path] = Judged(self.loaded.digests[incident.path], incident.id)

    def _keep_promises(self, incident: str, error: InputError, hands: Hands) -> None:
        """Keep what was promised of an incident whose file, lists or templates are wrong; wake its people.

        It speaks from the ledger: the last released words, to those who were told them.
        """
        self.kept.add(incident)
        owed = what_the_ledger_owes(self.desk, incident, self.ledger)
        if owed is not None and not _end_is_told(owed):
            where = next((fault.file for fault in error.faults), "")
            self._nudge(owed, hands, broken_file_nudge(owed.incident, str(error), where))
        self._from_ledger(incident, owed, hands)

    def _from_ledger(self, incident: str, owed: Owed | None, hands: Hands) -> None:
        """Send what the ledger alone can say of an incident; what is wrong with that stops no other."""
        try:
            if owed is None:
                hands.finish(incident)
            else:
                hands.send(owed)
        except (LedgerError, Interrupted):
            raise
        except CommcastError as worse:
            path = owed.incident.path if owed else incident
            if str(worse) != str(self.errors.get(path)):
                self.errors[f"{path} (from the ledger)" if path in self.errors else path] = worse

    def _nudge(self, owed: Owed, hands: Hands, *more: Nudge) -> None:
        """Wake an incident's people first: a long broadcast must not keep them asleep."""
        calls = bool(self.desk.config.nudge and self.desk.config.nudge.command)
        with self.ledger.read() as connection:
            given = nudges_given(connection, owed.incident.id, with_command=calls)
            taken = handovers(connection, owed.incident.id)
        incident, config, now = owed.incident, self.desk.config, self.desk.now
        drafted = {
            number: _drafted_at(self.desk, incident.update(number), incident.path) for number in owed.drafts
        }
        nudges = nudges_due(incident, owed.standing, owed.lines, config, now, drafted=drafted, nudged=given)
        handed = handing_nudges(incident, taken, config, now, nudged=given)
        wanted = [*(each for each in more if each.id not in given), *handed, *nudges]
        if wanted:
            try:
                hands.wake(incident, wanted, on_duty_for(incident, taken))
            except (LedgerError, Interrupted):
                raise
            except CommcastError as error:  # what keeps its people asleep must not keep readers waiting
                self.errors[incident.path] = error

    def _finish_frozen(self, hands: Hands) -> None:
        """Finish what is frozen, or held, of incidents whose file is broken or gone, and that are over."""
        with self.ledger.read() as connection:
            waiting = unfinished_incidents(connection)
        seen = {incident.id for incident in self.loaded.incidents}
        for incident in sorted(waiting - seen - self.kept):
            self._from_ledger(incident, what_the_ledger_owes(self.desk, incident, self.ledger), hands)
            if hands.is_interrupted:
                return


def make_round(desk: Desk, ledger: Ledger) -> Round:
    """Read all incidents and what the ledger knows of them. Raises InputError where there are no files."""
    with ledger.read() as connection:
        released = released_incidents(connection)
        unfinished = unfinished_incidents(connection)
        judged = read_judged(connection)
    # What waits may need its file, to say what is true by the time it goes.
    usable = {path: each for path, each in judged.items() if each.incident not in unfinished}
    loaded = load_incidents(desk.config, desk.now, usable)
    return Round(desk, ledger, loaded, dict(judged), released, unfinished)


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
