"""The desk: an incident as it stands in the folder and in the ledger, and what is owed of it now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commcast.config.load import load_config
from commcast.config.settings import Config
from commcast.delivery.lookups import lookup_in, told_before_in
from commcast.errors import Fault, InputError
from commcast.ledger.history import incident_history
from commcast.ledger.oncall import drift, handovers
from commcast.ledger.releases import incidents_by_digest, released_facts, released_incident, title_of
from commcast.ledger.store import Ledger
from commcast.model.history import History
from commcast.model.incident import Channel, Incident
from commcast.model.oncall import on_duty_for
from commcast.model.release import Release, changed, digest, drafts, nothing_kept
from commcast.operations.earlier_words import with_earlier_words
from commcast.plan.cadence import lateness_faults
from commcast.plan.due import REVIEW, due
from commcast.plan.notices import Due, Notice, newest_released
from commcast.plan.reasons import UPDATE_NOT_TEXTED, UPDATE_TO_NEWCOMERS

if TYPE_CHECKING:
    from commcast.delivery.lookups import Lookup, ToldBefore
    from commcast.delivery.rows import PendingRows
    from commcast.delivery.tally import Following, Tally
    from commcast.rendering.templates import Templates


@dataclass(frozen=True)
class Desk:
    """A folder ready to work with at one moment, `now` (aware). `shipped_only` leaves its templates alone."""

    config: Config
    now: datetime
    shipped_only: bool = False

    @cached_property
    def templates(self) -> Templates:
        """The folder's templates, over the shipped ones."""
        from commcast.rendering.templates import Templates, shipped_templates

        user = None if self.shipped_only else self.config.folder / "templates"
        return Templates(user, shipped_templates())


@dataclass(frozen=True, slots=True)
class Plan:
    """What is owed of one incident. `lines` says of each channel why or why not.

    `following` counts, as the messages are surveyed, who follows another incident already. `templates` are
    those that say it, where not the folder's own.
    """

    incident: Incident
    history: History
    lines: tuple[Due, ...]
    deliveries: tuple[PendingRows, ...]
    following: Following | None = None
    templates: Templates | None = None

    @property
    def drafts(self) -> tuple[int, ...]:
        """The numbers of the updates that nobody has released."""
        return drafts(self.incident, self.history.releases)

    @property
    def halted_by(self) -> str:
        """Who stopped it, "" for nobody; a stop put only until the correction, released by now, is over."""
        newest = newest_released(self.incident, self.history)
        ends = self.history.correcting and newest is not None and bool(newest.corrects)
        return "" if ends else self.history.stopped_by

    @property
    def review(self) -> bool:
        """Whether the review of an incident that is over goes now, or waits for a person's yes."""
        return any(line.notice.id == REVIEW for line in self.lines)

    def tally(self) -> Tally:
        """Render every message once and count them. Raises InputError with the faults of every audience."""
        from commcast.delivery.tally import faults_in

        try:
            return self._tally()
        except InputError as error:
            raise InputError(faults_in(self.deliveries, error, whole=True)) from None

    def _tally(self) -> Tally:
        from commcast.delivery.tally import tally_all

        reasons = [line.reason for line in self.lines if line.is_due]
        plan = zip(self.deliveries, reasons, strict=True)
        return tally_all(plan, self.following.look) if self.following else tally_all(plan)


def open_desk(folder: Path, now: datetime) -> Desk:
    """Read the configuration. Raises ConfigError."""
    return Desk(load_config(folder), now)


def make_plan(
    desk: Desk,
    incident: Incident,
    ledger: Ledger | None,
    *,
    as_if_released: bool = False,
    late: bool = False,
    unaided: bool = False,
    asked: bool = False,
    history: History | None = None,
) -> Plan:
    """Return what is owed of an incident now; `as_if_released` also counts what nobody has released yet.

    `standing` is what the ledger knows of it, where that was read a moment ago.
    `asked` says that a person has said yes to it: then a review that waited goes.
    `unaided` is only what the ledger can say alone. Lists are opened, so that a missing or broken one is
    named now; they are read when the deliveries are.
    Raises InputError.
    """
    history = history or read_history(ledger, incident.id)
    planned = _with_drafts(incident, history) if as_if_released else history
    planned = replace(planned, asked=asked or as_if_released)
    planned = with_earlier_words(desk.config, incident, planned, ledger)
    early = hold_before(desk, ledger) if ledger is not None and history.said else None
    lines = due(incident, planned, desk.config, desk.now, late=late, early=early, unaided=unaided)
    if ledger is not None and not unaided:
        lines = with_newcomers(desk, incident, lines, planned, ledger)
    deliveries = tuple(deliveries_of(desk, incident, line.notice, ledger) for line in lines if line.is_due)
    if deliveries:
        _check_lists(desk.config, deliveries)
    following = _following(ledger, incident) if deliveries else None
    said = replace(history, wrong_words=planned.wrong_words)
    return Plan(incident, said, lines, deliveries, following)


def with_newcomers(
    desk: Desk, incident: Incident, lines: tuple[Due, ...], history: History, ledger: Ledger
) -> tuple[Due, ...]:
    """Return the plan with the text of a plain update owed, where a list has changed and somebody comes late.

    It goes with the mail of the same update: a list that changes later is looked through at the next one.
    """
    if not any(
        line.is_due and line.notice.channel is Channel.EMAIL and not line.notice.only_told for line in lines
    ):
        return lines
    return tuple(
        replace(line, is_due=True, reason=UPDATE_TO_NEWCOMERS.format(number=line.notice.number))
        if line.reason == UPDATE_NOT_TEXTED
        and _somebody_comes_late(desk, incident, line.notice, history, ledger)
        else line
        for line in lines
    )


def _somebody_comes_late(
    desk: Desk, incident: Incident, notice: Notice, history: History, ledger: Ledger
) -> bool:
    from commcast.plan.readers import Action
    from commcast.recipients.lists import changed_since

    sms = desk.config.channels.sms
    texted = [said.at for said in history.said if said.channel is Channel.SMS]
    if sms is None or "first" not in sms.events or notice.is_end or notice.told_elsewhere or not texted:
        return False
    if not any(changed_since(name, desk.config, max(texted)) for name in notice.audiences):
        return False
    rows = deliveries_of(desk, incident, notice, ledger)
    return any(row.decision.action in {Action.SEND, Action.HOLD} for row in rows)


def _following(ledger: Ledger | None, incident: Incident) -> Following | None:
    from commcast.delivery.tally import Following

    return None if ledger is None else Following(ledger, incident.id)


def hold_before(desk: Desk, ledger: Ledger) -> timedelta:
    """Return how long before a promise a holding statement goes: longer where ticks are seen to drift."""
    with ledger.read() as connection:
        seen = drift(connection, desk.now)
    return max(desk.config.tick.hold_before, seen.hold_before if seen else timedelta())


def plan_from_ledger(desk: Desk, incident: str, ledger: Ledger) -> Plan | None:
    """Return what is owed of an incident by its last released words alone: its file is broken or gone.

    Only what keeps a promise by itself; None where nothing was released. Shipped templates say it, so that a
    broken template cannot silence it either.
    """
    with ledger.read() as connection:
        known = released_incident(connection, incident)
    if known is None:
        return None
    plain = Desk(desk.config, desk.now, shipped_only=True)
    return replace(make_plan(plain, known, ledger, unaided=True), templates=plain.templates)


def read_history(ledger: Ledger | None, incident: str) -> History:
    """Return what the ledger knows of an incident; nothing where there is no ledger."""
    if ledger is None:
        return History()
    with ledger.read() as connection:
        return incident_history(connection, incident)


def check_story(
    desk: Desk, incident: Incident, ledger: Ledger | None, present: Iterable[str] = ()
) -> History:
    """Return what the ledger knows of an incident, where its file may be used.

    Refused is one whose promises break the cadence, whose released words changed, or that was renamed.
    `present` are the ids of all incidents in the folder: words released under an id that is there no more
    are those of a renamed file. Raises InputError with every fault.
    """
    history = read_history(ledger, incident.id)
    facts_of = nothing_kept if ledger is None else _facts_in(ledger, incident.id)
    late = lateness_faults(desk.config, incident, history.releases)
    faults = [*late, *changed(incident, history.releases, facts_of)]
    if ledger is not None and not history.releases:
        faults.extend(renamed_faults(ledger, incident, present))
    if faults:
        raise InputError(faults)
    return history


def _facts_in(ledger: Ledger, incident: str) -> Callable[[int], Mapping[str, Any]]:
    def facts_of(number: int) -> Mapping[str, Any]:
        with ledger.read() as connection:
            return released_facts(connection, incident, number)

    return facts_of


def _with_drafts(incident: Incident, history: History) -> History:
    releases = dict(history.releases)
    for number in drafts(incident, releases):
        update = incident.update(number)
        releases[number] = Release(incident.id, number, digest(incident, update), update.at, "draft", "")
    return replace(history, releases=releases)


def deliveries_of(desk: Desk, incident: Incident, notice: Notice, ledger: Ledger | None) -> PendingRows:
    from commcast.delivery.lookups import no_former_readers, nobody_told
    from commcast.delivery.rows import PendingRows

    if ledger is not None and (into := incident.update(notice.number).merged_into):
        with ledger.read() as connection:
            notice = replace(notice, goes_on_as=title_of(connection, into))
    lookup: Lookup = nobody_told if ledger is None else lookup_in(ledger, desk.config, desk.now)
    told_before: ToldBefore = no_former_readers if ledger is None else told_before_in(ledger)
    led = incident if ledger is None else _led_by_who_has_it(incident, ledger)
    # Only texts promise a time that has to leave room for it.
    early = None if ledger is None or notice.channel is not Channel.SMS else hold_before(desk, ledger)
    return PendingRows(desk.config, desk.templates, led, notice, desk.now, lookup, told_before, early)


def _led_by_who_has_it(incident: Incident, ledger: Ledger) -> Incident:
    """Return the incident with whoever took it over as its owner: readers inside are told who leads."""
    with ledger.read() as connection:
        owner = on_duty_for(incident, handovers(connection, incident.id)).owner
    if owner == incident.latest.owner:
        return incident
    updates = tuple(update.model_copy(update={"owner": owner}) for update in incident.updates)
    return incident.model_copy(update={"updates": updates})


def _check_lists(config: Config, plan: Iterable[PendingRows]) -> None:
    """Open every list that is owed something. Raises InputError, also with what is wrong with the words."""
    from commcast.delivery.tally import faults_in
    from commcast.recipients.lists import open_recipients

    listed = [each.notice for each in plan if not each.notice.only_told]
    for name in sorted({name for notice in listed for name in notice.audiences}):
        try:
            open_recipients(name, config)
        except InputError as error:
            raise InputError(faults_in(plan, error)) from None


def renamed_faults(ledger: Ledger, incident: Incident, present: Iterable[str]) -> list[Fault]:
    """Return a fault where an incident nobody released holds the words of one whose file is gone."""
    digests = [digest(incident, update) for update in incident.updates]
    with ledger.read() as connection:
        known = incidents_by_digest(connection, digests)
    return [
        Fault(
            incident.path,
            1,
            1,
            f"these updates were released as incident {earlier!r}, whose file is gone: a renamed file would "
            "tell everybody again",
            f"give the file its old name back, or write in it: id: {earlier}",
        )
        for earlier in sorted(known - set(present) - {incident.id})
    ]
