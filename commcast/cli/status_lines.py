"""How status looks: the table, what somebody should do, and what keeps promises from being kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from commcast.cli.colour import BOLD, DIM, RED, paint
from commcast.cli.output import inert
from commcast.cli.status_incident import below
from commcast.cli.status_words import counts_in_words, due_in_words, moment
from commcast.cli.ticking import LET_IT_RUN, ran_ago, silence, usually

if TYPE_CHECKING:
    from commcast.cli.standings import DeskStatus, Standing

CLOSED_SHOWN = 10


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
        for text, colour in below(each, found):
            yield paint(inert(f"  {text}"), colour) if colour else inert(f"  {text}")


def _joined(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(inert(cell).ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _row(each: Standing, found: DeskStatus) -> tuple[str, ...]:
    told = moment(each.told_at, found) if each.told_at else "elsewhere" if each.elsewhere else "never"
    return (
        each.id,
        str(each.severity),
        each.status.replace("_", " "),
        told,
        due_in_words(each.promised, found),
        (counts_in_words(each) or ["none"])[0],
    )


def warnings(found: DeskStatus) -> Iterator[str]:
    """Yield what keeps promises from being kept, where anything is open."""
    for name, until in found.pauses.items():
        yield f"{name} is left alone until {moment(until, found)}: it asked for that, or gave no answers."
    if not found.has_ledger:
        yield "There is no ledger in this folder: nothing is known of what was told. See: commcast doctor"
    elif all(each.over for each in found.standings):
        return
    else:
        if words := silence(found.ticks, found.now):
            yield f"{words[:1].upper()}{words[1:]}. {LET_IT_RUN}"
        if found.too_late:
            yield found.too_late


def last_tick_line(found: DeskStatus) -> str:
    """Return when the last tick ran, where that is as it should be and anything is open; else ""."""
    last, drift = found.ticks
    if last is None or all(each.over for each in found.standings) or silence(found.ticks, found.now):
        return ""
    often = f"; they come {usually(drift)}" if drift and not found.too_late else ""
    return paint(f"The last tick ran {ran_ago(last, found.now)}{often}.", DIM)
