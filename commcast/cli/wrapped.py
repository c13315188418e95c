"""A table that fits the terminal: its widest column goes on in the next line."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from commcast.cli.output import inert

COLUMNS = 79
_NARROWEST = 8


def wrapped_table(head: Sequence[str], rows: Sequence[Sequence[str]], room: int = COLUMNS) -> str:
    """Return rows under a heading, at most `room` characters wide where their columns can be made so."""
    cells = [list(head), *[[inert(str(cell)).replace("\n", " ") for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    while sum(widths) + 2 * (len(widths) - 1) > room and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    lines: list[str] = []
    for row in cells:
        parts = [
            textwrap.wrap(cell, width, break_on_hyphens=False) or [""]
            for cell, width in zip(row, widths, strict=True)
        ]
        for i in range(max(map(len, parts))):
            line = [part[i] if i < len(part) else "" for part in parts]
            padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)
