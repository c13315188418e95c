"""The command status: every incident at a glance, the open ones first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from commcast.cli.colour import BOLD, DIM, RED, YELLOW, paint, show_painted
from commcast.cli.opening import desk_to_read
from commcast.cli.options import FolderOption, JsonOption, NowOption, moment_or_now
from commcast.cli.output import inert, say, show_json
from commcast.durations import short_duration
from commcast.errors import ExitCode, InputError

if TYPE_CHECKING:
    from commcast.config import Config
    from commcast.incidents.load import Loaded
    from commcast.ledger.overview import Overview
    from commcast.ledger.store import Ledger
    from commcast.model import Incident

CLOSED_SHOWN = 10
TICK_LATE = timedelta(minutes=5)  # without a tick for so long, nothing that waits will go
_COUNTED = ("accepted", "pending", "claimed", "held", "unknown", "rejected", "skipped")
_RECEIPTS = ("delivered", "bounced", "failed")
_WORD_OF = {"pending": "waiting", "claimed": "on the way"}


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
    as_json: JsonOption = False,
    now: NowOption = None,
    folder: FolderOption = None,
) -> None:
    """Show where every incident stands: what was told to how many, and when the next word is due.

    Example: commcast status --overdue
    """
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


def read_status(folder: Path | None, now: datetime, incident: str | None) -> DeskStatus:
    """Read all that status shows; leaves no trace. Raises InputError for an incident nobody knows."""
    from commcast.incidents.load import load_incidents

    with desk_to_read(folder, now) as (desk, ledger):
        loaded = load_incidents(desk.config, now)
        known, last = _known(ledger)
        pauses = _pauses(ledger, now)
        standings = _standings(desk.config, loaded, known)
        if incident is not None:
            standings = [each for each in standings if each.id == incident]
            if not standings and not any(Path(path).stem == incident for path in loaded.broken):
                raise InputError(f"there is no incident {incident!r:.60}; commcast status lists all")
        broken = {path: str(error.faults[0]) for path, error in loaded.broken.items()}
        return DeskStatus(now, desk.config.zone, tuple(standings), broken, last, ledger is not None, pauses)


def _pauses(ledger: Ledger | None, now: datetime) -> Mapping[str, datetime]:
    from commcast.ledger.pacing import pauses

    if ledger is None:
        return {}
    with ledger.read() as connection:
        return pauses(connection, now)


def _known(ledger: Ledger | None) -> tuple[Mapping[str, Overview], datetime | None]:
    from commcast.ledger.history import last_tick
    from commcast.ledger.overview import overviews

    if ledger is None:
        return {}, None
    with ledger.read() as connection:
        return overviews(connection), last_tick(connection)


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
        "incidents": [_incident_document(each, found.now) for each in found.standings],
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
        "deliveries": {state: each.counts.get(state, 0) for state in _COUNTED},
        "receipts": {kind: each.receipts.get(kind, 0) for kind in _RECEIPTS},
        "stopped_by": each.stopped_by or None,
        "file": each.has_file,
    }


def _show(found: DeskStatus) -> None:
    closed = [each for each in found.standings if each.over]
    shown = [*(each for each in found.standings if not each.over), *closed[:CLOSED_SHOWN]]
    if shown:
        _show_table(found, shown)
    elif not found.broken:
        show_painted('No incidents yet. Declare one: commcast declare "…"')
    if len(closed) > CLOSED_SHOWN:
        show_painted(f"and {len(closed) - CLOSED_SHOWN} older ones that are over: commcast status --json")
    for fault in found.broken.values():
        show_painted(paint(inert(f"broken: {fault}"), RED))
    _warn(found)


def _show_table(found: DeskStatus, shown: list[Standing]) -> None:
    rows = [_row(each, found) for each in shown]
    head = ("ID", "SEV", "STATUS", "LAST TOLD", "NEXT WORD", "DELIVERIES")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    show_painted(paint(_joined(head, widths), DIM))
    for each, row in zip(shown, rows, strict=True):
        line = _joined(row, widths)
        codes = [RED] if each.is_late(found.now) else [] if each.over else [BOLD]
        show_painted(paint(line, *codes) if codes else line)
        for text, colour in _below(each):
            show_painted(paint(inert(f"  {text}"), colour) if colour else inert(f"  {text}"))


def _joined(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(inert(cell).ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _row(each: Standing, found: DeskStatus) -> tuple[str, ...]:
    return (
        each.id,
        str(each.severity),
        each.status.replace("_", " "),
        _when(each.told_at, found) if each.told_at else "elsewhere" if each.elsewhere else "never",
        _next_word(each, found),
        (_counts(each) or ["none"])[0],
    )


def _next_word(each: Standing, found: DeskStatus) -> str:
    if each.promised is None:
        return "none due"
    away = each.promised - found.now
    if away.total_seconds() < 0:
        return f"LATE by {short_duration(-away)}"
    return f"{_when(each.promised, found)}, in {short_duration(away)}"


def _when(at: datetime, found: DeskStatus) -> str:
    local, today = at.astimezone(found.zone), found.now.astimezone(found.zone).date()
    return f"{local:%H:%M}" if local.date() == today else f"{local.day} {local:%b %H:%M}"


def _counts(each: Standing) -> list[str]:
    return [
        f"{each.counts[state]} {_WORD_OF.get(state, state)}" for state in _COUNTED if each.counts.get(state)
    ]


def _below(each: Standing) -> list[tuple[str, str]]:
    """Return the lines under an incident, each with its colour: its title, and what somebody should do."""
    lines = [(each.title if len(each.title) <= 76 else f"{each.title[:75]}…", "")]
    if also := _counts(each)[1:]:
        lines.append((f"also {', '.join(also)}", ""))
    if each.receipts:
        said = [f"{each.receipts[kind]:,} {kind}" for kind in _RECEIPTS if each.receipts.get(kind)]
        lines.append((f"of {each.counts.get('accepted', 0):,} accepted: {', '.join(said)}", ""))
    if each.counts.get("unknown"):
        lines.append(
            (f"{each.counts['unknown']} may or may not have arrived: commcast reconcile {each.id}", YELLOW)
        )
    if each.drafts and not each.over:
        many = "1 draft waits" if len(each.drafts) == 1 else f"{len(each.drafts)} drafts wait"
        lines.append((f"{many} for a yes: commcast send {each.id}", YELLOW))
    if each.stopped_by:
        lines.append((f"stopped by {each.stopped_by}: commcast resume {each.id}", YELLOW))
    if not each.has_file:
        lines.append(("its file is gone or broken; what is frozen of it still goes out", YELLOW))
    return lines


def _warn(found: DeskStatus) -> None:
    """Say what keeps promises from being kept, where anything is open."""
    for name, until in found.pauses.items():
        say(f"{name} is left alone until {_when(until, found)}: it asked for that, or gave no answers.")
    if not found.has_ledger:
        say("There is no ledger in this folder: nothing is known of what was told. See: commcast doctor")
    elif all(each.over for each in found.standings):
        return
    elif found.last_tick is None:
        say("No tick has run yet. Let cron run it, or: commcast tick --loop 1m")
    elif found.now - found.last_tick > TICK_LATE:
        ago = short_duration(found.now - found.last_tick)
        say(f"The last tick ran {ago} ago. Let cron run it, or: commcast tick --loop 1m")
    else:
        show_painted(
            paint(
                f"The last tick ran {short_duration(max(found.now - found.last_tick, timedelta()))} ago.", DIM
            )
        )
