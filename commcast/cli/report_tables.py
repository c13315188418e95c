"""How a report's tables look on a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

from commcast.cli.colour import BOLD, DIM, RED, paint, show_painted
from commcast.cli.output import inert
from commcast.cli.wrapped import COLUMNS, wrapped_table

if TYPE_CHECKING:
    from commcast.report.words import Table


def show_tables(tables: Iterable[Table]) -> None:
    """Print each table under its title, in red where it tells of what went wrong."""
    for each in tables:
        show_painted("")
        show_painted(paint(inert(each.title), *([BOLD, RED] if each.bad else [BOLD])))
        head, _, rest = wrapped_table([word.upper() for word in each.head], each.rows).partition("\n")
        show_painted(paint(head, DIM))
        show_painted(rest)
        for line in textwrap.wrap(inert(each.note), COLUMNS):
            show_painted(paint(line, DIM))
