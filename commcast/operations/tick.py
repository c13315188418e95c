"""One pass over all incidents: sends what is due, and nudges the people whose turn it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from commcast.errors import CommcastError, ExitCode, Fault, InputError, Interrupted, LedgerError, gravest
from commcast.incidents.load import Judged, Loaded, load_incidents
from commcast.ledger.oncall import (
    TickSnapshot,
    forget_unsent,
    handovers,
    nudges_given,
    record_tick,
    tick_snapshot,
)
from commcast.ledger.releases import (
    open_incidents,
    read_judged,
    release_times,
    replace_judged,
    unfinished_incidents,
)
from commcast.ledger.store import Ledger
from commcast.ledger.tables import OWN_STORY
from commcast.model.history import History
from commcast.model.incident import Incident
from commcast.model.message import OutcomeKind
from commcast.model.oncall import Handover, OnDuty, on_duty_for
from commcast.model.release import drafts
from commcast.oncall.nudges import Nudge, Why, broken_file_nudge, handing_nudges, nudges_due, provider_nudge
from commcast.operations.desk import (
    Desk,
    Plan,
    check_story,
    drafted_at,
    make_plan,
    plan_from_ledger,
    read_history,
    renamed_faults,
)
from commcast.plan.owed import Owed, owed

if TYPE_CHECKING:
    from commcast.delivery.worker import Delivered, Worker
    from commcast.operations.wake import NudgeResult


class Actions(Protocol):
    """What a tick does with what a round finds; a dry run only notes it.

    What one of these raises concerns that incident alone, except LedgerError and Interrupted.
    """

    @property
    def is_interrupted(self) -> bool:
        """Whether a signal came: nothing more may begin."""
        ...

    def send(self, plan: Plan) -> Delivered | None:
        """Send what is due of an incident, and all that is frozen of it and open; return what came of it."""
        ...

    def finish(self, incident: str) -> None:
        """Send what is frozen of an incident: the ledger holds all it needs."""
        ...

    def nudge(self, incident: Incident, nudges: Sequence[Nudge], on_duty: OnDuty) -> None:
        """Nudge an incident's people, once for each of these."""
        ...


@dataclass
class Round:
    """One look over all incidents, and what it found.

    `known` is what the ledger said at the start; once anything is sent it is read again (`_now_known`).
    `drafts` says since when each draft waits, by "incidents/pay7.yaml:1".
    `over` are the files that the next round need not read. `errors` says by file what went wrong. `quiet` are
    the incidents with nothing to send, and who stopped each, "" for nobody; `kept` are those whose promises
    were kept from the ledger. `late` says by incident what its readers are owed and late, after all this.
    """

    desk: Desk
    ledger: Ledger
    loaded: Loaded
    known: TickSnapshot
    drafts: Mapping[str, datetime]
    errors: dict[str, CommcastError] = field(default_factory=dict)
    quiet: dict[str, str] = field(default_factory=dict)
    over: dict[str, Judged] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    late: dict[str, list[Owed]] = field(default_factory=dict)
    has_acted: bool = False

    def _now_known(self) -> TickSnapshot:
        """Return what the ledger knows of all incidents, read again if something was sent since."""
        if self.has_acted:
            self.known, self.has_acted = read_snapshot(self.desk, self.ledger), False
        return self.known

    def go(self, actions: Actions) -> None:
        """Look at each incident and pass what is due to `actions`.

        What is wrong with one incident stops only that one; what is frozen of it goes out from the ledger.
        """
        known = self.known
        self.over.update({path: known.judged[path] for path in self.loaded.over})
        self.errors.update(self.loaded.broken)
        for incident in self.loaded.incidents:
            if incident.id in known.released:
                self._one(incident, actions)
            elif faults := self._renamed(incident):
                self.errors[incident.path] = InputError(faults)
            elif not incident.latest.is_end:  # it was written down and never released
                self._nudge(draft := Plan(incident, History(), (), ()), actions)
                self._judge(draft, actions)
            if actions.is_interrupted:
                return
        self._without_file(actions)
        self._finish_frozen(actions)

    def _renamed(self, incident: Incident) -> list[Fault]:
        with self.ledger.read() as connection:
            return renamed_faults(connection, incident, self.loaded.ids)

    def _without_file(self, actions: Actions) -> None:
        """Keep the promises of open incidents whose file cannot be read, or is gone."""
        for incident in sorted(self._now_known().open - set(self.loaded.ids)):
            plan = plan_from_ledger(self.desk, incident, self.ledger)
            if plan is None or not plan.history.said:
                continue
            path = plan.incident.path
            gone = InputError(
                Fault(path, 0, 0, "is gone, and readers are waiting for its end", "put it back")
            )
            error = self.errors.setdefault(path, gone)
            if isinstance(error, InputError) and not actions.is_interrupted:
                self._keep_promises(incident, error, actions)

    def _one(self, incident: Incident, actions: Actions) -> None:
        try:
            history = check_story(self.desk, incident, self.ledger, self.loaded.ids)
            history = replace(history, last_tick=self.desk.now)  # this very round is a tick
            plan = make_plan(self.desk, incident, self.ledger, history=history)
            self._nudge(plan, actions)
            if not actions.is_interrupted:
                self._send(plan, actions)
            self._judge(plan, actions)
        except (LedgerError, Interrupted):
            raise
        except CommcastError as error:
            self.errors[incident.path] = error
            if isinstance(error, InputError):
                self._keep_promises(incident.id, error, actions)

    def _send(self, plan: Plan, actions: Actions) -> None:
        incident = plan.incident
        if plan.deliveries or incident.id in self.known.unfinished:
            self.has_acted = True
            self._tell_of_trouble(plan, actions, actions.send(plan))
            return
        self.quiet[incident.id] = plan.history.stopped_by
        if _is_over(plan) and incident.path in self.loaded.digests:
            self.over[incident.path] = Judged(self.loaded.digests[incident.path], incident.id)

    def _tell_of_trouble(self, plan: Plan, actions: Actions, done: Delivered | None) -> None:
        """Nudge an incident's people at once if a provider refuses us or is down."""
        rejected = done.outcomes[OutcomeKind.REJECTED] if done else 0
        if done is None or not (done.waiting or rejected):
            return
        name, number = plan.incident.id, max(plan.history.releases)
        frozen = [each.at for each in plan.history.said if each.waits]
        since = min(frozen, default=self.desk.now).astimezone(self.desk.config.zone)
        left = f"{done.waiting:,} waiting since {since:%H:%M %Z}"
        if not done.waiting:
            left = f"{rejected:,} were rejected; once that is fixed: commcast resend {name} --rejected"
        for provider, why, refuses in done.troubles:
            said = f"{provider} {'refuses us' if refuses else 'is down'}: {why}. {left}"
            about = provider if done.waiting else f"{provider}:some"
            self._nudge(plan, actions, provider_nudge(name, about, number, said, refuses))

    def _judge(self, plan: Plan, actions: Actions) -> None:
        """Note what is late now, and nudge about whom nobody reached: what was just sent is neither."""
        history, now = plan.history, self.desk.now
        if history.releases and plan.incident.id not in self.quiet:
            history = read_history(self.ledger, plan.incident.id)
        drafted = self.drafts.get(f"{plan.incident.path}:1")
        all_owed = owed(plan.incident, history, self.desk.config, drafted)
        if late := [each for each in all_owed if each.is_late(now)]:
            self.late[plan.incident.id] = late
        if not actions.is_interrupted:
            self._nudge(replace(plan, history=history), actions, is_sent=True)

    def _keep_promises(self, incident: str, error: InputError, actions: Actions) -> None:
        """Keep what was promised of an incident whose file, lists or templates are wrong; nudge its people.

        The words come from the ledger: the last released ones, to those who were told them.
        """
        self.kept.add(incident)
        plan = plan_from_ledger(self.desk, incident, self.ledger)
        if plan is not None and not _end_is_told(plan):
            where = next((fault.file for fault in error.faults), "")
            self._nudge(plan, actions, broken_file_nudge(plan.incident, str(error), where))
        self._from_ledger(incident, plan, actions)
        if plan is not None:
            self._judge(plan, actions)

    def _from_ledger(self, incident: str, plan: Plan | None, actions: Actions) -> None:
        """Send what the ledger alone can say of an incident; what is wrong with that stops no other."""
        self.has_acted = True
        try:
            if plan is None:
                actions.finish(incident)
            else:
                actions.send(plan)
        except (LedgerError, Interrupted):
            raise
        except CommcastError as worse:
            path = plan.incident.path if plan else incident
            if str(worse) != str(self.errors.get(path)):
                self.errors[f"{path} (from the ledger)" if path in self.errors else path] = worse

    def _nudge(self, plan: Plan, actions: Actions, *more: Nudge, is_sent: bool = False) -> None:
        """Nudge an incident's people first: a long broadcast must not delay that.

        Only who reached nobody is known when all `is_sent`.
        """
        given, taken = self._given_and_taken(plan.incident.id)
        incident, config, now = plan.incident, self.desk.config, self.desk.now
        drafted = {number: self.drafts.get(f"{incident.path}:{number}", now) for number in plan.drafts}
        nudges = nudges_due(incident, plan.history, plan.lines, config, now, drafted=drafted, nudged=given)
        handed = () if is_sent else handing_nudges(incident, taken, config, now, nudged=given)
        now_due = [each for each in nudges if (each.why is Why.UNTOLD) == is_sent]
        wanted = [*(each for each in more if each.id not in given), *handed, *now_due]
        if wanted:
            self.has_acted = True
            try:
                actions.nudge(incident, wanted, on_duty_for(incident, taken))
            except (LedgerError, Interrupted):
                raise
            except CommcastError as error:  # a nudge that fails must not keep readers waiting
                self.errors[incident.path] = error

    def _given_and_taken(self, incident: str) -> tuple[frozenset[str], tuple[Handover, ...]]:
        """Return the nudges that were given for an incident, and its handovers."""
        known = self._now_known()
        if incident in known.open:
            return known.nudged.get(incident, frozenset()), known.handovers.get(incident, ())
        with self.ledger.read() as connection:
            given = nudges_given(connection, incident, with_command=_calls(self.desk))
            return given, handovers(connection, incident)

    def _finish_frozen(self, actions: Actions) -> None:
        """Finish what is frozen or held of incidents that are over, or whose file is broken or gone."""
        waiting = self._now_known().unfinished
        seen = {incident.id for incident in self.loaded.incidents}
        for incident in sorted(waiting - seen - self.kept):
            self._from_ledger(incident, plan_from_ledger(self.desk, incident, self.ledger), actions)
            if actions.is_interrupted:
                return


def make_round(desk: Desk, ledger: Ledger, known: TickSnapshot) -> Round:
    """Read all incidents; `known` is what the ledger knows of them.

    Raises InputError if there are no files.
    """
    # What is pending may need its file, to say what is true by the time it goes.
    usable = {path: each for path, each in known.judged.items() if each.incident not in known.unfinished}
    loaded = load_incidents(desk.config, desk.now, usable, known.released_at)
    # The drafts of a file that is broken for now go on waiting.
    drafts = {name: at for name, at in known.drafts.items() if name.rpartition(":")[0] in loaded.broken}
    for incident in loaded.incidents:
        for update in incident.updates:
            if (incident.id, update.number) not in known.released_at:
                at = drafted_at(desk.config, incident, update.number, known.drafts)
                drafts[f"{incident.path}:{update.number}"] = at
    return Round(desk, ledger, loaded, known, drafts)


def read_snapshot(desk: Desk, ledger: Ledger) -> TickSnapshot:
    """Return what the ledger knows of all incidents at this moment."""
    with ledger.read() as connection:
        return tick_snapshot(connection, with_command=_calls(desk))


def _calls(desk: Desk) -> bool:
    return bool(desk.config.nudge and desk.config.nudge.command)


def _end_is_told(plan: Plan) -> bool:
    """Return whether an incident is over for its readers, so that a fault in its file harms nobody."""
    latest = plan.incident.latest
    told = {notice for notice, _ in plan.history.begun}
    return latest.is_end and (f"update:{latest.number}" in told or not told)


def _is_over(plan: Plan) -> bool:
    """Return whether nothing of an incident can become due unless its file, or the program, changes.

    A stop may be lifted, and an update without a time of its own counts as of now: neither is over.
    """
    incident = plan.incident
    return (
        incident.latest.is_end
        and not plan.drafts
        and not any(line.is_due or line.from_ for line in plan.lines)
        and not plan.history.stopped_by
        and all(update.at_written for update in incident.updates)
    )


@dataclass(slots=True)
class Ticked:
    """What one tick did: by incident what was delivered, who was nudged, and what went wrong with it.

    `quiet` are the incidents that had nothing to send, with who stopped each, "" for nobody. What an earlier
    tick found to be over is in neither. `late` is what readers are owed and late all the same.
    """

    delivered: dict[str, Delivered] = field(default_factory=dict)
    nudged: dict[str, NudgeResult] = field(default_factory=dict)
    quiet: dict[str, str] = field(default_factory=dict)
    errors: dict[str, CommcastError] = field(default_factory=dict)
    late: dict[str, list[Owed]] = field(default_factory=dict)

    def exit_code(self, tolerate: float) -> ExitCode:
        # A stop is a decision that somebody has already made: no news for cron.
        codes = [
            code
            for done in self.delivered.values()
            if (code := done.exit_code(tolerate)) is not ExitCode.DECISION
            or done.expired
            or done.nobody_heard
        ]
        if any(nudged.unreached for nudged in self.nudged.values()):
            codes.append(ExitCode.DECISION)
        if self.late:
            codes.append(ExitCode.OVERDUE)
        codes.extend(done.exit_code(tolerate) for done in self._nudges)
        return gravest([*codes, *(error.exit_code for error in self.errors.values())])

    @property
    def is_interrupted(self) -> bool:
        return any(done.signal for done in (*self.delivered.values(), *self._nudges))

    @property
    def _nudges(self) -> list[Delivered]:
        return [nudged.delivered for nudged in self.nudged.values() if nudged.delivered]


def tick(desk: Desk, ledger: Ledger, make_worker: Callable[[], Worker]) -> Ticked:
    """Send what is released and due of every incident; `make_worker` is called only if anything is.

    What is wrong with one incident stops only that one.
    Raises LedgerError at once if the ledger cannot be trusted, InputError if there are no files.
    """
    known = read_snapshot(desk, ledger)
    has_unsent = any(each.startswith(OWN_STORY) for each in known.unfinished)
    look = make_round(desk, ledger, known)
    with ledger.write() as connection:
        record_tick(connection, desk.now, look.drafts)
        if has_unsent:
            forget_unsent(connection)
    look.has_acted = has_unsent
    judged = look.known.judged
    actions = _Sending(desk, make_worker, Ticked(quiet=look.quiet, errors=look.errors, late=look.late))
    look.go(actions)
    if not actions.is_interrupted:
        _keep_judged(desk, ledger, judged, look.over)
    return actions.ticked


@dataclass
class _Sending:
    """What a tick does: it sends, and nudges people."""

    desk: Desk
    make_worker: Callable[[], Worker]
    ticked: Ticked
    _worker: Worker | None = None

    @property
    def worker(self) -> Worker:
        self._worker = self._worker or self.make_worker()
        return self._worker

    @property
    def is_interrupted(self) -> bool:
        return self.ticked.is_interrupted

    def send(self, plan: Plan) -> Delivered:
        from commcast.operations.send import send

        done = self.ticked.delivered[plan.incident.id] = send(self.desk, self.worker, plan)
        return done

    def finish(self, incident: str) -> None:
        self.ticked.delivered[incident] = self.worker.deliver(incident)

    def nudge(self, incident: Incident, nudges: Sequence[Nudge], on_duty: OnDuty) -> None:
        from commcast.operations.wake import Nudger

        nudger = Nudger(self.desk, self.worker, os.environ)
        self.ticked.nudged[incident.id] = nudger.nudge(
            incident, nudges, on_duty, self.ticked.nudged.get(incident.id)
        )


def _keep_judged(desk: Desk, ledger: Ledger, known: Mapping[str, Judged], over: Mapping[str, Judged]) -> None:
    """Keep what was found to be over, forget files that are gone; write nothing if nothing changed."""
    gone = known.keys() - over.keys()
    found = {path: each for path, each in over.items() if known.get(path) != each}
    if gone or found:
        with ledger.write() as connection:
            replace_judged(connection, gone, found, desk.now)


def is_anything_open(desk: Desk, ledger: Ledger) -> bool:
    """Return whether anything may still have to be said: to a reader, or to the people of an incident.

    A file that cannot be read counts, as it may be open. An incident that ended before anybody was told does
    not.
    """
    with ledger.read() as connection:
        if open_incidents(connection) or unfinished_incidents(connection):
            return True
        judged, released_at = read_judged(connection), release_times(connection)
    loaded = load_incidents(desk.config, desk.now, judged, released_at)
    return bool(loaded.broken) or any(_waits_for_a_yes(each, ledger) for each in loaded.incidents)


def _waits_for_a_yes(incident: Incident, ledger: Ledger) -> bool:
    releases = read_history(ledger, incident.id).releases
    return bool(drafts(incident, releases)) and (bool(releases) or not incident.latest.is_end)
