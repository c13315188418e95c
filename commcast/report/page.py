"""A report as one self-contained page: no script, no request, every word of others escaped."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from commcast import __version__
from commcast.report.chart import trend_chart
from commcast.report.figures import Figures
from commcast.report.timeline import tall_timeline, wide_timeline
from commcast.report.trend import Trend, trend_cards, trend_headline, trend_table
from commcast.report.words import cards, clock_of, facts, headline, people_table, subject, tables

# The program's own page, not a message: nothing in a user's templates/ changes it.
_HERE = Path(__file__).parent


def as_page(figures: Figures, zone: ZoneInfo) -> str:
    """Return the whole page as HTML."""
    clock = clock_of(figures, zone)
    return _render(
        "page.html.j2",
        title=figures.story.title,
        subject=subject(figures, clock),
        headline=headline(figures),
        cards=list(cards(figures, clock)),
        wide=wide_timeline(figures, clock),
        tall=tall_timeline(figures, clock),
        letters=clock.letters(figures.until),
        zone=zone.key,
        facts=list(facts(figures)),
        tables=list(tables(figures, clock)),
        people=people_table(figures, clock),
        made=f"{clock.full(figures.story.now)} {clock.letters(figures.story.now)}",
    )


def trend_page(trend: Trend, organisation: str) -> str:
    """Return the page of a trend as HTML."""
    return _render(
        "trend.html.j2",
        title=f"How {organisation} communicated",
        since=f"{trend.since:%Y-%m-%d}",
        headline=trend_headline(trend),
        cards=list(trend_cards(trend)),
        wide=trend_chart(trend, 1100),
        narrow=trend_chart(trend, 360),
        per=trend.per.value,
        table=trend_table(trend),
    )


def _render(name: str, **values: object) -> str:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(version=__version__, **values)
