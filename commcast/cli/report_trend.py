"""The command report with --since: the trend over all incidents."""

from __future__ import annotations

import textwrap
from datetime import datetime
from pathlib import Path

import typer

from commcast.cli.colour import BOLD, paint, show_painted
from commcast.cli.opening import desk_to_read
from commcast.cli.output import inert, put, show_json
from commcast.cli.report import TrendAsked, known, reckoned, write_page
from commcast.cli.report_tables import show_tables
from commcast.cli.wrapped import COLUMNS
from commcast.durations import parse_duration
from commcast.report.markdown import trend_as_markdown
from commcast.report.page import trend_page
from commcast.report.reading import read_stories
from commcast.report.trend import Per, Trend, per_for, trend_document, trend_headline, trend_of, trend_table


def show_trend(folder: Path | None, now: datetime, asked: TrendAsked) -> None:
    """Print the trend. Raises typer.BadParameter for a length that cannot be read."""
    trend, organisation = _read(folder, now, asked)
    if asked.as_json:
        show_json("trend", trend_document(trend))
    elif asked.as_markdown:
        put(inert(trend_as_markdown(trend)))
    elif asked.html is not None:
        write_page(trend_page(trend, organisation), asked.html)
    else:
        for line in textwrap.wrap(inert(trend_headline(trend)), COLUMNS):
            show_painted(paint(line, BOLD))
        show_tables([trend_table(trend)])


def _read(folder: Path | None, now: datetime, asked: TrendAsked) -> tuple[Trend, str]:
    try:
        span = parse_duration(asked.since)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None
    with desk_to_read(folder, now) as (desk, ledger):
        with known(ledger).read() as connection:
            stories = read_stories(connection, now - span, now)
        figures = [reckoned(story, desk.config) for story in stories]
        trend = trend_of(
            figures,
            now - span,
            now,
            desk.config.zone,
            per=Per(asked.per) if asked.per else per_for(span),
            by_audience=asked.by_audience,
        )
        return trend, desk.config.organisation.name
