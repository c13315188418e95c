"""The desk: an incident as the folder and the ledger know it, and what is due for it now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from commcast.config.load import load_config
from commcast.config.settings import CONFIG_NAME, Config
from commcast.errors import Fault, InputError
from commcast.files import FileSign, sign_of
from commcast.incidents.unfold import ReleasedAt
from commcast.ledger.fence import Fence, read_fence
from commcast.ledger.history import incident_history
from commcast.ledger.oncall import drift, handovers
from commcast.ledger.releases import (
    incidents_by_digest,
    release_times,
    released_facts,
    released_incident,
    title_of,
)
from commcast.ledger.store import Ledger
from commcast.model.history import History
from commcast.model.incident import Channel, Incident
from commcast.model.oncall import Drift, Handover, on_duty_for
from commcast.model.release import Release, changed, digest, drafts
from commcast.operations.earlier_words import with_earlier_words
from commcast.plan.cadence import lateness_faults
from commcast.plan.due import REVIEW, due
from commcast.plan.notices import Due, Notice, newest_released
from commcast.plan.reasons import UPDATE_NOT_TEXTED, UPDATE_TO_NEWCOMERS

if TYPE_CHECKING:
    from commcast.delivery.freeze import Keeper
    from commcast.delivery.rows import PendingRows
    from commcast.delivery.tally import Following, Tally
    from commcast.rendering.templates import Templates


@dataclass(frozen=True)
class Desk:
    """A folder ready to work with at one moment, `now` (aware). `shipped_only` leaves its templates alone.

    `sign` is that of the configuration file that was read. `released_at` says when updates were released, for
    files that do not say it yet.
    """

    config: Config
    now: datetime
    shipped_only: bool = False
    sign: FileSign = ("", 0, 0, 0)
    released_at: ReleasedAt = field(default_factory=dict)

    @cached_property
    def templates(self) -> Templates:
        """The folder's templates, over the shipped ones."""
        from commcast.rendering.templates import Templates, shipped_templates

        user = None if self.shipped_only else self.config.folder / "templates"
        return Templates(user, shipped_templates())


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the ledger knows of one incident, all of one moment.

    `planned` is the history as the plan takes it: with the drafts that count as released, with earlier words
    that were wrong, and with merged incidents. `title_of_whole` is that of the incident it is merged into.
    """

    history: History = field(default_factory=History)
    planned: History = field(default_factory=History)
    handovers: tuple[Handover, ...] = ()
    drift: Drift | None = None
    title_of_whole: str = ""
    fence: Fence | None = None

    def hold_before(self, config: Config) -> timedelta:
        """Return how long before a promise a holding statement goes: longer if ticks have been late."""
        return max(config.tick.hold_before, self.drift.hold_before if self.drift else timedelta())


@dataclass(frozen=True, slots=True)
class Plan:
    """What is due of an incident. `lines` says for each channel why or why not.

    `following` counts, as the messages are tallied, who already follows another incident. `templates` are set
    if they are not the folder's own. `known` is what the ledger knew when the plan was made.
    """

    incident: Incident
    history: History
    lines: tuple[Due, ...]
    deliveries: tuple[PendingRows, ...]
    following: Following | None = None
    templates: Templates | None = None
    known: Snapshot = field(default_factory=Snapshot)

    @property
    def drafts(self) -> tuple[int, ...]:
        """The numbers of the updates that nobody has released."""
        return drafts(self.incident, self.history.releases)

    @property
    def halted_by(self) -> str:
        """Who stopped it, "" for nobody; a stop that was to last until a correction ends with its release."""
        newest = newest_released(self.incident, self.history)
        ends = self.history.correcting and newest is not None and bool(newest.corrects)
        return "" if ends else self.history.stopped_by

    @property
    def review(self) -> bool:
        """Whether the review of an incident that is over goes now, or waits for a person's yes."""
        return any(line.notice.id == REVIEW for line in self.lines)

    def tally(self, keeper: Keeper | None = None) -> Tally:
        """Render every message once and count them; `keeper` keeps them for a yes.

        Raises InputError with the faults of every audience.
        """
        from commcast.delivery.tally import faults_in, tally_all

        reasons = [line.reason for line in self.lines if line.is_due]
        try:
            return tally_all(self.deliveries, reasons, self.following, keeper)
        except InputError as error:
            raise InputError(faults_in(self.deliveries, error, whole=True)) from None


def drafted_at(config: Config, incident: Incident, number: int, seen: Mapping[str, datetime]) -> datetime:
    """Return since when a draft is waiting: the time it gives, else when its file was written.

    `seen` says what an earlier tick saw: that a file was edited, or checked out anew, changes nothing.
    """
    update = incident.update(number)
    if update.at_written:
        return update.at
    nanoseconds = sign_of(config.folder / incident.path)[3]
    written = datetime.fromtimestamp(nanoseconds / 1e9, UTC) if nanoseconds else update.at
    return min(written, update.at, seen.get(f"{incident.path}:{number}", written))


def open_desk(folder: Path, now: datetime) -> Desk:
    """Read the configuration. Raises ConfigError."""
    sign = sign_of(folder / CONFIG_NAME)
    return Desk(load_config(folder), now, sign=sign)


def with_releases(desk: Desk, ledger: Ledger | None) -> Desk:
    """Return the desk with the release times of updates whose files do not have them yet."""
    if ledger is None:
        return desk
    with ledger.read() as connection:
        return replace(desk, released_at=release_times(connection))


def make_plan(
    desk: Desk,
    incident: Incident,
    ledger: Ledger | None,
    *,
    present: Iterable[str] | None = None,
    as_if_released: bool = False,
    late: bool = False,
    unaided: bool = False,
    history: History | None = None,
) -> Plan:
    """Return what is due of an incident now; `as_if_released` also counts what nobody has released yet.

    With `present`, the ids of all incidents in the folder, its story is checked too (`check_story`).
    `history` is what the ledger knows of it, if that was read a moment ago. `unaided` is only what the ledger
    can say alone. Lists are opened now, so that a missing or broken one is reported; they are read when the
    deliveries are. Raises InputError.
    """
    if ledger is None:
        history = history or History()
        known = Snapshot(history, _planned(incident, history, as_if_released))
    else:
        with ledger.read() as connection:
            known = take_snapshot(connection, desk, incident, history, present, as_if_released)
    early = known.hold_before(desk.config) if known.history.said else None
    lines = due(incident, known.planned, desk.config, desk.now, late=late, early=early, unaided=unaided)
    if ledger is not None and not unaided:
        lines = with_newcomers(desk, incident, lines, known, ledger)
    deliveries = tuple(
        deliveries_of(desk, incident, line.notice, known, ledger) for line in lines if line.is_due
    )
    if deliveries:
        _check_lists(desk.config, deliveries)
    following = _following(ledger, incident) if deliveries else None
    said = replace(known.history, wrong_words=known.planned.wrong_words)
    return Plan(incident, said, lines, deliveries, following, known=known)


def take_snapshot(
    connection: Connection,
    desk: Desk,
    incident: Incident,
    history: History | None,
    present: Iterable[str] | None,
    as_if_released: bool,
) -> Snapshot:
    """Return all that a plan needs of one incident, all of one moment. Raises InputError as `check_story`."""
    if history is None:
        history = incident_history(connection, incident.id)
    if present is not None:
        check_released(connection, desk, incident, history, present)
    planned = _planned(incident, history, as_if_released)
    planned = with_earlier_words(connection, desk.config, incident, planned)
    into = incident.latest.merged_into
    return Snapshot(
        history,
        planned,
        handovers(connection, incident.id),
        drift(connection, desk.now),
        title_of(connection, into) if into else "",
        read_fence(connection, incident.id, {each.composition for each in planned.wrong_words}),
    )


def _planned(incident: Incident, history: History, as_if_released: bool) -> History:
    planned = _with_drafts(incident, history) if as_if_released else history
    return replace(planned, asked=as_if_released)


def with_newcomers(
    desk: Desk, incident: Incident, lines: tuple[Due, ...], known: Snapshot, ledger: Ledger
) -> tuple[Due, ...]:
    """Return the plan with the text of a plain update due if a list has changed and somebody is new to it.

    It goes with the email of the same update; a list that changes later is looked at with the next one.
    """
    if not any(
        line.is_due and line.notice.channel is Channel.EMAIL and not line.notice.only_told for line in lines
    ):
        return lines
    return tuple(
        replace(line, is_due=True, reason=UPDATE_TO_NEWCOMERS.format(number=line.notice.number))
        if line.reason == UPDATE_NOT_TEXTED
        and _somebody_comes_late(desk, incident, line.notice, known, ledger)
        else line
        for line in lines
    )


def _somebody_comes_late(
    desk: Desk, incident: Incident, notice: Notice, known: Snapshot, ledger: Ledger
) -> bool:
    from commcast.plan.readers import Action
    from commcast.recipients.lists import changed_since

    sms = desk.config.channels.sms
    texted = [said.at for said in known.history.said if said.channel is Channel.SMS]
    if sms is None or "first" not in sms.events or notice.is_end or notice.told_elsewhere or not texted:
        return False
    if not any(changed_since(name, desk.config, max(texted)) for name in notice.audiences):
        return False
    rows = deliveries_of(desk, incident, notice, known, ledger)
    return any(row.decision.action in {Action.SEND, Action.HOLD} for row in rows)


def _following(ledger: Ledger | None, incident: Incident) -> Following | None:
    from commcast.delivery.tally import Following

    return None if ledger is None else Following(ledger, incident.id)


def plan_from_ledger(desk: Desk, incident: str, ledger: Ledger) -> Plan | None:
    """Return what is due of an incident by its last released words alone: its file is broken or gone.

    Only what keeps a promise by itself; None if nothing was released. It uses the shipped templates, so that
    a broken template cannot silence it either.
    """
    with ledger.read() as connection:
        known = released_incident(connection, incident)
    if known is None:
        return None
    plain = Desk(desk.config, desk.now, shipped_only=True)
    return replace(make_plan(plain, known, ledger, unaided=True), templates=plain.templates)


def read_history(ledger: Ledger | None, incident: str) -> History:
    """Return what the ledger knows of an incident; nothing if there is no ledger."""
    if ledger is None:
        return History()
    with ledger.read() as connection:
        return incident_history(connection, incident)


def check_story(
    desk: Desk, incident: Incident, ledger: Ledger | None, present: Iterable[str] = ()
) -> History:
    """Return what the ledger knows of an incident whose file may be used.

    A file is refused if its promises break the cadence, if its released words changed, or if it was renamed:
    its words were released under an id that is no longer `present`, the ids of all incidents in the folder.
    Raises InputError with every fault.
    """
    if ledger is None:
        if faults := list(lateness_faults(desk.config, incident, {})):
            raise InputError(faults)
        return History()
    with ledger.read() as connection:
        history = incident_history(connection, incident.id)
        check_released(connection, desk, incident, history, present)
    return history


def check_released(
    connection: Connection, desk: Desk, incident: Incident, history: History, present: Iterable[str]
) -> None:
    """Refuse a file that may not be used, as `check_story` does. Raises InputError."""
    late = lateness_faults(desk.config, incident, history.releases)
    changes = changed(incident, history.releases, partial(released_facts, connection, incident.id))
    renamed = [] if history.releases else renamed_faults(connection, incident, present)
    if faults := [*late, *changes, *renamed]:
        raise InputError(faults)


def _with_drafts(incident: Incident, history: History) -> History:
    releases = dict(history.releases)
    for number in drafts(incident, releases):
        update = incident.update(number)
        releases[number] = Release(incident.id, number, digest(incident, update), update.at, "draft", "")
    return replace(history, releases=releases)


def deliveries_of(
    desk: Desk, incident: Incident, notice: Notice, known: Snapshot, ledger: Ledger | None
) -> PendingRows:
    """Return the rows of one notice, as a stream that nobody has read yet."""
    from commcast.delivery.rows import PendingRows

    if incident.update(notice.number).merged_into:
        notice = replace(notice, goes_on_as=known.title_of_whole)
    led = _with_current_owner(incident, known.handovers)
    # Only texts promise a time that has to leave room for it.
    early = known.hold_before(desk.config) if notice.channel is Channel.SMS and ledger is not None else None
    return PendingRows(desk.config, desk.templates, led, notice, desk.now, ledger, early)


def _with_current_owner(incident: Incident, taken: Sequence[Handover]) -> Incident:
    """Return the incident with its current owner after handovers: internal readers are told who leads."""
    owner = on_duty_for(incident, taken).owner
    if owner == incident.latest.owner:
        return incident
    updates = tuple(update.model_copy(update={"owner": owner}) for update in incident.updates)
    return incident.model_copy(update={"updates": updates})


def _check_lists(config: Config, plan: Iterable[PendingRows]) -> None:
    """Open every list that something is due to. Raises InputError, also with the faults of the templates."""
    from commcast.delivery.tally import faults_in
    from commcast.recipients.lists import open_recipients

    listed = [each.notice for each in plan if not each.notice.only_told]
    for name in sorted({name for notice in listed for name in notice.audiences}):
        try:
            open_recipients(name, config)
        except InputError as error:
            raise InputError(faults_in(plan, error)) from None


def renamed_faults(connection: Connection, incident: Incident, present: Iterable[str]) -> list[Fault]:
    """Return a fault if an unreleased incident has the words of a released one whose file is gone."""
    known = incidents_by_digest(connection, [digest(incident, update) for update in incident.updates])
    return [
        Fault(
            incident.path,
            1,
            1,
            f"these updates were released as incident {earlier!r}, whose file is gone: under a new name "
            "they would go to everyone again",
            f"give the file its old name back, or add to it: id: {earlier}",
        )
        for earlier in sorted(known - set(present) - {incident.id})
    ]
