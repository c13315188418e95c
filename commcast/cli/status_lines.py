"""How status looks: the table, what somebody should do, and what keeps promises from being kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from commcast.cli.colour import BOLD, DIM, RED, YELLOW, paint
from commcast.cli.output import inert
from commcast.durations import short_duration

if TYPE_CHECKING:
    from commcast.cli.status import DeskStatus, Standing

CLOSED_SHOWN = 10
TICK_LATE = timedelta(minutes=5)  # without a tick for so long, nothing that waits will go
COUNTED = ("accepted", "pending", "claimed", "held", "unknown", "rejected", "skipped")
RECEIPTS = ("delivered", "bounced", "failed")
_WORD_OF = {"pending": "waiting", "claimed": "on the way"}


def lines_of(found: DeskStatus) -> Iterator[str]:
    """Yield the table and what is broken, in our colours where stdout shows them."""
    closed = [each for each in found.standings if each.over]
    shown = [*(each for each in found.standings if not each.over), *closed[:CLOSED_SHOWN]]
    if shown:
        yield from _table_lines(found, shown)
    elif not found.broken:
        yield 'No incidents yet. Declare one: commcast declare "…"'
    if len(closed) > CLOSED_SHOWN:
        yield f"and {len(closed) - CLOSED_SHOWN} older ones that are over: commcast status --json"
    for fault in found.broken.values():
        yield paint(inert(f"broken: {fault}"), RED)


def _table_lines(found: DeskStatus, shown: list[Standing]) -> Iterator[str]:
    rows = [_row(each, found) for each in shown]
    head = ("ID", "SEV", "STATUS", "LAST TOLD", "NEXT WORD", "DELIVERIES")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    yield paint(_joined(head, widths), DIM)
    for each, row in zip(shown, rows, strict=True):
        line = _joined(row, widths)
        codes = [RED] if each.is_late(found.now) else [] if each.over else [BOLD]
        yield paint(line, *codes) if codes else line
        for text, colour in _below(each):
            yield paint(inert(f"  {text}"), colour) if colour else inert(f"  {text}")


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
        f"{each.counts[state]} {_WORD_OF.get(state, state)}" for state in COUNTED if each.counts.get(state)
    ]


def _below(each: Standing) -> list[tuple[str, str]]:
    """Return the lines under an incident, each with its colour: its title, and what somebody should do."""
    lines = [(each.title if len(each.title) <= 76 else f"{each.title[:75]}…", "")]
    if also := _counts(each)[1:]:
        lines.append((f"also {', '.join(also)}", ""))
    if each.receipts:
        said = [f"{each.receipts[kind]:,} {kind}" for kind in RECEIPTS if each.receipts.get(kind)]
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


def warnings(found: DeskStatus) -> Iterator[str]:
    """Yield what keeps promises from being kept, where anything is open."""
    for name, until in found.pauses.items():
        yield f"{name} is left alone until {_when(until, found)}: it asked for that, or gave no answers."
    if not found.has_ledger:
        yield "There is no ledger in this folder: nothing is known of what was told. See: commcast doctor"
    elif all(each.over for each in found.standings):
        return
    elif found.last_tick is None:
        yield "No tick has run yet. Let cron run it, or: commcast tick --loop 1m"
    elif found.now - found.last_tick > TICK_LATE:
        ago = short_duration(found.now - found.last_tick)
        yield f"The last tick ran {ago} ago. Let cron run it, or: commcast tick --loop 1m"


def last_tick_line(found: DeskStatus) -> str:
    """Return when the last tick ran, where that is as it should be and anything is open; else ""."""
    if not found.has_ledger or found.last_tick is None or all(each.over for each in found.standings):
        return ""
    ago = found.now - found.last_tick
    return (
        ""
        if ago > TICK_LATE
        else paint(f"The last tick ran {short_duration(max(ago, timedelta()))} ago.", DIM)
    )
