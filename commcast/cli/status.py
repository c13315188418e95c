"""The command status: every incident at a glance, the open ones first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from commcast.cli.colour import show_painted
from commcast.cli.opening import desk_to_read
from commcast.cli.options import FolderOption, JsonOption, NowOption, moment_or_now
from commcast.cli.output import say, show_json
from commcast.cli.status_lines import COUNTED, RECEIPTS, last_tick_line, lines_of, warnings
from commcast.errors import ExitCode, InputError

if TYPE_CHECKING:
    from commcast.config import Config
    from commcast.incidents.load import Loaded
    from commcast.ledger.overview import Overview, UnderWay
    from commcast.ledger.store import Ledger
    from commcast.model import Incident


@dataclass(frozen=True, slots=True)
class Standing:
    """One line of status: an incident as the folder and the ledger know it. `drafts` are update numbers."""

    id: str
    title: str
    status: str
    severity: int
    number: int
    drafts: tuple[int, ...]
    over: bool
    elsewhere: bool
    told_at: datetime | None
    promised: datetime | None
    counts: Mapping[str, int]
    receipts: Mapping[str, int]
    stopped_by: str
    has_file: bool

    def is_late(self, now: datetime) -> bool:
        return self.promised is not None and self.promised < now


@dataclass(frozen=True, slots=True)
class DeskStatus:
    """What status shows. `broken` holds, by file, the first fault of each file that cannot be read."""

    now: datetime
    zone: ZoneInfo
    standings: tuple[Standing, ...]
    broken: Mapping[str, str]
    last_tick: datetime | None
    has_ledger: bool
    pauses: Mapping[str, datetime]
    sending: tuple[UnderWay, ...] = ()

    @property
    def overdue(self) -> tuple[str, ...]:
        return tuple(each.id for each in self.standings if each.is_late(self.now))


def status(
    incident: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only this incident.", show_default=False)
    ] = None,
    overdue: Annotated[
        bool, typer.Option("--overdue", help="End with 4 when a promise to readers is broken.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", "-w", help="Draw it anew in place until Ctrl-C, with what is being sent."),
    ] = False,
    every: Annotated[
        str, typer.Option("--every", help="With --watch: how long from one look to the next.")
    ] = "2s",
    as_json: JsonOption = False,
    now: NowOption = None,
    folder: FolderOption = None,
) -> None:
    """Show where every incident stands: what was told to how many, and when the next word is due.

    A watch disturbs nothing that runs: it reads a copy, and only when something has changed. Ctrl-C is how
    it ends, so that it ends in 0. With --json it prints one line of JSON for each change, also into a pipe.

    Example: commcast status --overdue

    Example: commcast status --watch
    """
    if watch:
        from commcast.cli.watch import watch_status

        if overdue or now is not None:
            raise InputError("--watch shows what is so now, and goes on: leave out --overdue and --now")
        watch_status(folder, incident, every, as_json=as_json)
        return
    found = read_status(folder, moment_or_now(now), incident)
    if as_json:
        show_json("status", as_document(found))
    else:
        _show(found)
    if overdue and found.overdue:
        say(f"Overdue: {', '.join(found.overdue)}. Readers were promised word; {_way_out(found)}")
        raise typer.Exit(ExitCode.OVERDUE)


def _way_out(found: DeskStatus) -> str:
    """Return what helps: words, or, where words wait for a provider, getting them out."""
    late = [each for each in found.standings if each.id in found.overdue]
    name = late[0].id if len(late) == 1 else "ID"
    if any(each.counts.get("pending") for each in late):
        return f"what is written waits: commcast send {name}, commcast doctor --connect"
    return f'write: commcast update {name} --nothing-new "…"'


def show_status(folder: Path | None, *, now: datetime, incident: str | None) -> None:
    """Show the table of a folder as of `now`."""
    _show(read_status(folder, now, incident))


def read_status(
    folder: Path | None,
    now: datetime,
    incident: str | None,
    load: Callable[[Config, datetime], Loaded] | None = None,
) -> DeskStatus:
    """Read all that status shows; leaves no trace. Raises InputError for an incident nobody knows.

    `load` reads the incident files; a watch reads them again only where they changed.
    """
    from commcast.incidents.load import load_incidents

    with desk_to_read(folder, now) as (desk, ledger):
        loaded = (load or load_incidents)(desk.config, now)
        known, sending, last = _known(ledger)
        pauses = _pauses(ledger, now)
        standings = _standings(desk.config, loaded, known)
        if incident is not None:
            standings = [each for each in standings if each.id == incident]
            if not standings and not any(Path(path).stem == incident for path in loaded.broken):
                raise InputError(f"there is no incident {incident!r:.60}; commcast status lists all")
        broken = {path: str(error.faults[0]) for path, error in loaded.broken.items()}
        return DeskStatus(
            now,
            desk.config.zone,
            tuple(standings),
            broken,
            last,
            ledger is not None,
            pauses,
            tuple(each for each in sending if incident in {None, each.incident}),
        )


def _pauses(ledger: Ledger | None, now: datetime) -> Mapping[str, datetime]:
    from commcast.ledger.pacing import pauses

    if ledger is None:
        return {}
    with ledger.read() as connection:
        return pauses(connection, now)


def _known(
    ledger: Ledger | None,
) -> tuple[Mapping[str, Overview], tuple[UnderWay, ...], datetime | None]:
    from commcast.ledger.overview import count_broadcasts, overviews, under_way
    from commcast.ledger.ticks import last_tick

    if ledger is None:
        return {}, (), None
    with ledger.read() as connection:
        counted = count_broadcasts(connection)
        return overviews(connection, counted), under_way(counted), last_tick(connection)


def _standings(config: Config, loaded: Loaded, known: Mapping[str, Overview]) -> list[Standing]:
    files = {incident.id: incident for incident in loaded.incidents}
    found = [_standing(each, known.get(each.id), config) for each in files.values()]
    found.extend(_of(overview, (), False, config) for name, overview in known.items() if name not in files)
    # What is open first, and there what is due first; what is over by when it was last told of.
    return sorted(found, key=_rank)


def _rank(each: Standing) -> tuple[bool, float, int, str]:
    due = each.promised.timestamp() if each.promised else float("inf")
    told = -each.told_at.timestamp() if each.told_at else 0.0
    return each.over, told if each.over else due, each.severity, each.id


def _standing(incident: Incident, overview: Overview | None, config: Config) -> Standing:
    if overview is None:
        drafts = tuple(update.number for update in incident.updates)
        return Standing(
            id=incident.id,
            title=incident.title,
            status="draft",
            severity=incident.latest.severity,
            number=0,
            drafts=drafts,
            # The end of what nobody ever heard of is old history, not news.
            over=incident.latest.is_end,
            elsewhere=False,
            told_at=None,
            promised=None,
            counts={},
            receipts={},
            stopped_by="",
            has_file=True,
        )
    drafts = tuple(update.number for update in incident.updates if update.number > overview.number)
    return _of(overview, drafts, True, config)


def _of(overview: Overview, drafts: tuple[int, ...], has_file: bool, config: Config) -> Standing:
    return Standing(
        id=overview.incident,
        title=overview.title,
        status=overview.status.value,
        severity=overview.severity,
        number=overview.number,
        drafts=drafts,
        over=overview.is_over and not drafts,
        elsewhere=overview.elsewhere,
        told_at=overview.told_at,
        promised=overview.promised or _first_due(overview, config),
        counts=overview.counts,
        receipts=overview.receipts,
        stopped_by=overview.stopped_by,
        has_file=has_file,
    )


def _first_due(overview: Overview, config: Config) -> datetime | None:
    """Return when the first word was due that has reached nobody yet, None where somebody was told."""
    waits = overview.counts["pending"] or overview.counts["claimed"]
    if overview.told_at or overview.elsewhere or overview.is_over or not waits:
        return None
    return overview.released_at + config.cadence_of(overview.severity).first


def as_document(found: DeskStatus) -> dict[str, Any]:
    """Return the status as JSON."""
    return {
        "now": found.now.isoformat(),
        "last_tick": found.last_tick.isoformat() if found.last_tick else None,
        "overdue": list(found.overdue),
        "broken": dict(found.broken),
        "pauses": {name: until.isoformat() for name, until in found.pauses.items()},
        "sending": [_sending_document(each) for each in found.sending],
        "incidents": [_incident_document(each, found.now) for each in found.standings],
    }


def _sending_document(each: UnderWay) -> dict[str, Any]:
    return {
        "incident": each.incident,
        "notice": each.notice,
        "channel": each.channel,
        "done": each.done,
        "total": each.total,
        "rejected": each.counts.get("rejected", 0),
        "unknown": each.counts.get("unknown", 0),
    }


def _incident_document(each: Standing, now: datetime) -> dict[str, Any]:
    return {
        "id": each.id,
        "title": each.title,
        "status": each.status,
        "severity": each.severity,
        "update": each.number,
        "drafts": list(each.drafts),
        "over": each.over,
        "told_elsewhere": each.elsewhere,
        "last_told": each.told_at.isoformat() if each.told_at else None,
        "next_update_by": each.promised.isoformat() if each.promised else None,
        "overdue": each.is_late(now),
        "deliveries": {state: each.counts.get(state, 0) for state in COUNTED},
        "receipts": {kind: each.receipts.get(kind, 0) for kind in RECEIPTS},
        "stopped_by": each.stopped_by or None,
        "file": each.has_file,
    }


def _show(found: DeskStatus) -> None:
    for line in lines_of(found):
        show_painted(line)
    for line in warnings(found):
        say(line)
    if line := last_tick_line(found):
        show_painted(line)
