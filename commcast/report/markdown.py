"""A report as Markdown, to be pasted into the review."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from zoneinfo import ZoneInfo

from commcast.report.figures import Figures
from commcast.report.trend import Trend, trend_headline, trend_table
from commcast.report.words import Table, clock_of, facts, headline, people_table, subject, tables

# What GitHub, GitLab or pandoc would read as markup, as HTML, as somebody's name, or as a link.
_MARKUP = re.compile(r"[\\`*_{}\[\]()#+!|~<>&$@]|(?<=[a-z]):(?=//)")


def as_markdown(figures: Figures, zone: ZoneInfo) -> str:
    """Return the whole report as one document."""
    clock = clock_of(figures, zone)
    lines = [f"## How we communicated: {plain(figures.story.title)}", ""]
    lines += [plain(subject(figures, clock)), "", f"**{plain(headline(figures))}**", ""]
    lines += [f"- {plain(what)}: {plain(words)}" for what, words in facts(figures)]
    people = people_table(figures, clock)
    for table in [*tables(figures, clock), *([people] if people.rows else [])]:
        lines += ["", f"### {plain(table.title)}", "", *table_lines(table)]
    return "\n".join(lines)


def trend_as_markdown(trend: Trend) -> str:
    """Return a trend as one document."""
    lines = ["## How we communicated", "", f"**{plain(trend_headline(trend))}**", ""]
    return "\n".join([*lines, *table_lines(trend_table(trend))])


def table_lines(table: Table) -> Iterator[str]:
    """Yield a table as Markdown writes it."""
    yield _row(table.head)
    yield _row("---" for _ in table.head)
    for row in table.rows:
        yield _row(map(plain, row))
    if table.note:
        yield ""
        yield plain(table.note)


def plain(text: str) -> str:
    """Return `text` with all that Markdown would read as markup written out."""
    return _MARKUP.sub(lambda found: f"\\{found[0]}", " ".join(text.split()))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
