"""Reads what status shows from the folder and the ledger: how far every incident and every audience is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from commcast.errors import InputError, LedgerError
from commcast.model.incident import Incident
from commcast.model.oncall import Handover, OnDuty, on_duty_for, who_is_on_duty
from commcast.model.times import is_past
from commcast.oncall.ticks import NO_TICKS, Ticks, read_ticks, too_late
from commcast.plan.owed import NewestRelease, Owed, first_word_by, owed_to, told_of, with_elsewhere

if TYPE_CHECKING:
    from commcast.config.settings import Config
    from commcast.incidents.load import Loaded
    from commcast.ledger.oncall import LastNudge
    from commcast.ledger.overview import BroadcastCounts, Overview, Part
    from commcast.ledger.store import Ledger
    from commcast.model.history import Said
    from commcast.operations.desk import Desk


NOBODY = OnDuty(None, None)


@dataclass(frozen=True, slots=True)
class AudienceProgress:
    """How far an audience has been told: `notice` is the newest one that reached anybody in it, "" for none.

    `number` is the update that notice is about, `channels` those it went by, `told_at` when. `waits` counts
    the readers who are still pending.
    """

    audience: str
    owed: tuple[Owed, ...] = ()
    notice: str = ""
    number: int = 0
    channels: tuple[str, ...] = ()
    told_at: datetime | None = None
    waits: int = 0

    @property
    def promised(self) -> datetime | None:
        """The time by which it expects more, None if no promise is open."""
        return min((each.by for each in self.owed), default=None)

    def is_late(self, now: datetime) -> bool:
        return any(each.is_late(now) for each in self.owed)


@dataclass(frozen=True, slots=True)
class IncidentProgress:
    """One incident as the folder and the ledger know it. `drafts` are update numbers.

    `audiences` come best rank first. `first_due` is when the first message was due by the cadence, None if
    that does not apply; `first_told` is when it went out.
    """

    id: str
    title: str
    status: str
    severity: int
    number: int = 0
    drafts: tuple[int, ...] = ()
    over: bool = False
    elsewhere: bool = False
    told_at: datetime | None = None
    audiences: tuple[AudienceProgress, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    receipts: Mapping[str, int] = field(default_factory=dict)
    stopped_by: str = ""
    has_file: bool = True
    began: datetime | None = None
    first_due: datetime | None = None
    first_told: datetime | None = None
    duty: OnDuty = NOBODY
    nudged: LastNudge | None = None

    @property
    def promised(self) -> datetime | None:
        """The earliest time by which anybody is owed more, None if nobody is: a draft owes its first word."""
        known = [each.promised for each in self.audiences]
        return min(filter(None, [*known, self.first_due if self.is_draft else None]), default=None)

    @property
    def is_draft(self) -> bool:
        """Whether it was written down and nobody has released anything of it."""
        return not self.over and not self.number

    def is_late(self, now: datetime) -> bool:
        return self.promised is not None and is_past(self.promised, now)


@dataclass(frozen=True, slots=True)
class DeskStatus:
    """What status shows. `broken` holds, by file, the first fault of each file that cannot be read.

    `doubt` says why nobody can know from here what was sent, "" if the ledger can be trusted. `too_late` says
    which promises the ticks cannot keep, "" if they keep all.
    """

    now: datetime
    zone: ZoneInfo
    histories: tuple[IncidentProgress, ...]
    broken: Mapping[str, str]
    ticks: Ticks
    has_ledger: bool
    pauses: Mapping[str, datetime]
    sending: tuple[BroadcastCounts, ...] = ()
    too_late: str = ""
    doubt: str = ""

    @property
    def overdue(self) -> tuple[str, ...]:
        return tuple(each.id for each in self.histories if each.is_late(self.now))

    def only_late(self) -> DeskStatus:
        """Return this with nothing in it but what is late."""
        late = (
            replace(each, audiences=tuple(one for one in each.audiences if one.is_late(self.now)))
            for each in self.histories
            if each.is_late(self.now)
        )
        return replace(self, histories=tuple(late))


@dataclass(frozen=True, slots=True)
class _Known:
    """What the ledger knows, all of one moment. `unread` are the open incidents without a readable file.

    `drafts` says since when drafts wait.
    """

    overviews: Mapping[str, Overview] = field(default_factory=dict)
    sending: tuple[BroadcastCounts, ...] = ()
    ticks: Ticks = NO_TICKS
    pauses: Mapping[str, datetime] = field(default_factory=dict)
    handovers: Mapping[str, tuple[Handover, ...]] = field(default_factory=dict)
    nudges: Mapping[str, LastNudge] = field(default_factory=dict)
    unread: Mapping[str, Incident] = field(default_factory=dict)
    drafts: Mapping[str, datetime] = field(default_factory=dict)
    doubt: str = ""


def read_status(
    desk: Desk,
    ledger: Ledger | None,
    incident: str | None,
    load: Callable[[Desk], Loaded] | None = None,
) -> DeskStatus:
    """Read all that status shows; write nothing. Raises InputError for an unknown incident.

    `load` reads the incident files; a watch reads them again only if they changed.
    """
    from commcast.incidents.load import load_incidents
    from commcast.operations.desk import with_releases

    desk = with_releases(desk, ledger)
    loaded = load(desk) if load else load_incidents(desk.config, desk.now, released_at=desk.released_at)
    known = replace(_known(ledger, desk.now, loaded.ids), doubt=doubt_of(desk, ledger))
    histories = _histories(desk.config, loaded, known)
    if incident is not None:
        histories = [each for each in histories if each.id == incident]
        if not histories and not any(Path(path).stem == incident for path in loaded.broken):
            raise InputError(f"no incident {incident!r:.60}; commcast status lists all")
    return DeskStatus(
        now=desk.now,
        zone=desk.config.zone,
        histories=tuple(histories),
        broken={path: str(error.faults[0]) for path, error in loaded.broken.items()},
        ticks=known.ticks,
        has_ledger=ledger is not None,
        pauses=known.pauses,
        sending=tuple(each for each in known.sending if incident in {None, each.incident}),
        too_late=too_late(known.ticks.drift, desk.config),
        doubt=known.doubt,
    )


def doubt_of(desk: Desk, ledger: Ledger | None) -> str:
    """Return why this desk's ledger cannot be trusted; a desk that never had one needs none."""
    from commcast.ledger.location import check_file
    from commcast.ledger.store import ledger_path

    if ledger is not None or not desk.config.desk:
        return ledger.doubt if ledger is not None else ""
    try:
        check_file(ledger_path(desk.config.folder))
    except LedgerError as error:
        return str(error)
    return ""


def _known(ledger: Ledger | None, now: datetime, read: Collection[str]) -> _Known:
    from commcast.ledger.oncall import handovers_of_all, last_nudges, read_drafts
    from commcast.ledger.overview import count_broadcasts, overviews, under_way
    from commcast.ledger.releases import released_incident
    from commcast.ledger.settle import pauses
    from commcast.ledger.tables import OWN_STORY

    if ledger is None:
        return _Known()
    with ledger.read() as connection:
        counted = count_broadcasts(connection)
        told = [each for each in counted if not each.incident.startswith(OWN_STORY)]
        found = overviews(connection, told)
        open_ones = [name for name, each in found.items() if name not in read and not each.is_over]
        return _Known(
            found,
            under_way(told),
            read_ticks(connection, now),
            pauses(connection, now),
            handovers_of_all(connection),
            last_nudges(connection),
            {name: known for name in open_ones if (known := released_incident(connection, name))},
            read_drafts(connection),
        )


def _histories(config: Config, loaded: Loaded, known: _Known) -> list[IncidentProgress]:
    files = {incident.id: incident for incident in loaded.incidents}
    found = [_of_file(each, known, config) for each in files.values()]
    found += [_of_ledger(each, known, config) for name, each in known.overviews.items() if name not in files]
    # Open ones first, in the order of their deadlines; then those that are over, the latest first.
    return sorted(found, key=_rank)


def _rank(each: IncidentProgress) -> tuple[bool, float, int, str]:
    due = each.promised.timestamp() if each.promised else float("inf")
    told = -each.told_at.timestamp() if each.told_at else 0.0
    return each.over, told if each.over else due, each.severity, each.id


def _of_file(incident: Incident, known: _Known, config: Config) -> IncidentProgress:
    from commcast.operations.desk import drafted_at

    overview, latest = known.overviews.get(incident.id), incident.latest
    duty = on_duty_for(incident, known.handovers.get(incident.id, ()))
    if overview is None and known.doubt:
        return IncidentProgress(incident.id, incident.title, "unknown", latest.severity, number=-1, duty=duty)
    released = overview.number if overview else 0
    drafts = tuple(update.number for update in incident.updates if update.number > released)
    if overview is None:
        # An end is no news if nobody was ever told of the incident.
        title, over = incident.title_as_of(), latest.is_end
        made = IncidentProgress(incident.id, title, "draft", latest.severity, over=over)
    else:
        made = _of_ledger(overview, known, config, incident)
        made = replace(made, over=overview.is_over and not drafts, has_file=True)
    drafted = drafted_at(config, incident, 1, known.drafts)
    return replace(
        made,
        drafts=drafts,
        began=incident.started if incident.started_written else drafted,
        first_due=None if overview and overview.told_before else first_word_by(incident, config, drafted),
        duty=duty,
    )


def _of_ledger(
    overview: Overview, known: _Known, config: Config, file: Incident | None = None
) -> IncidentProgress:
    handovers, told = known.handovers.get(overview.incident, ()), known.unread.get(overview.incident)
    return IncidentProgress(
        id=overview.incident,
        title=overview.title,
        status=overview.status.value,
        severity=overview.severity,
        number=overview.number,
        over=overview.is_over,
        elsewhere=overview.elsewhere,
        told_at=overview.told_at,
        audiences=_audiences(overview, config, file),
        counts=overview.counts,
        receipts=overview.receipts,
        stopped_by=overview.stopped_by,
        has_file=False,
        first_told=overview.first_told_at,
        duty=on_duty_for(told, handovers) if told else who_is_on_duty(None, None, handovers),
        nudged=known.nudges.get(overview.incident),
    )


def _audiences(overview: Overview, config: Config, file: Incident | None) -> tuple[AudienceProgress, ...]:
    """Return how far each audience is, best rank first."""
    from commcast.ledger.tables import State

    newest = NewestRelease(overview.number, overview.is_over, overview.elsewhere)
    all_said: Sequence[Said] = [
        part.said
        for parts in overview.parts.values()
        for part in parts
        if part.worded or part.counts[State.HELD]
    ]
    if file is not None:
        all_said = with_elsewhere(all_said, overview.told_before, file, config)
    first = config.cadence_of(overview.severity).first
    found = []
    for name in dict.fromkeys([*overview.parts, *(each.audience for each in all_said)]):
        parts, said = overview.parts.get(name, []), [each for each in all_said if each.audience == name]
        found.append(_progress(name, parts, said, tuple(owed_to(name, said, newest, first))))

    def rank(each: AudienceProgress) -> tuple[float, str]:
        known = config.audiences.get(each.audience)
        return known.rank if known else float("inf"), each.audience

    return tuple(sorted(found, key=rank))


def _progress(
    name: str, parts: Sequence[Part], said: Sequence[Said], owed: tuple[Owed, ...]
) -> AudienceProgress:
    waits = sum(part.waits for part in parts)
    told = told_of([each for each in said if each.heard])
    if not told:
        return AudienceProgress(name, owed, waits=waits)
    last = [each for each in told if each.notice == told[-1].notice]
    at = [part.told_at for part in parts if part.notice == told[-1].notice and part.told_at]
    channels = tuple(each.channel.value for each in last)
    return AudienceProgress(
        name, owed, told[-1].notice, told[-1].number, channels, max(at, default=None), waits
    )
