"""A report as HTML, Markdown and JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from commcast import __version__
from commcast.report.drawing import mark_of, timeline_of
from commcast.report.figures import AudienceFigures, Estimate, Figures, Gap, Promise, worst_severity
from commcast.report.story import StoryNudge, Telling
from commcast.report.trend import Trend, trend_cards, trend_chart, trend_headline, trend_table
from commcast.report.words import (
    ReportTable,
    cards,
    clock_of,
    facts,
    headline,
    name_of,
    people_table,
    subject,
    tables,
)


# The pages belong to the program: nothing in a desk's templates/ changes them.
def as_page(figures: Figures, zone: ZoneInfo) -> str:
    """Return the report of one incident as an HTML page."""
    clock = clock_of(figures, zone)
    return _render(
        "page.html.j2",
        title=figures.story.title,
        subject=subject(figures, clock),
        headline=headline(figures),
        cards=list(cards(figures, clock)),
        wide=timeline_of(figures, clock),
        medium=timeline_of(figures, clock, 740),
        narrow=timeline_of(figures, clock, 360),
        letters=clock.letters,
        zone=zone.key,
        facts=list(facts(figures)),
        tables=list(tables(figures, clock)),
        people=people_table(figures, clock),
        made=clock.full(figures.story.now),
    )


def trend_page(trend: Trend, organisation: str) -> str:
    """Return a trend as an HTML page."""
    return _render(
        "trend.html.j2",
        title=f"How {organisation} communicated",
        since=f"{trend.since:%Y-%m-%d}",
        headline=trend_headline(trend),
        cards=list(trend_cards(trend)),
        wide=trend_chart(trend, 1100),
        medium=trend_chart(trend, 740),
        narrow=trend_chart(trend, 360),
        per=trend.per.value,
        table=trend_table(trend),
    )


def _render(name: str, **values: object) -> str:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"mark_of": mark_of, "name_of": name_of}
    return environment.get_template(name).render(version=__version__, **values)


# What GitHub, GitLab or pandoc would treat as markup, HTML, a mention or a link.
_MARKUP = re.compile(r"[\\`*_{}\[\]()#+!|~<>&$@]|(?<=[a-z]):(?=//)")


def as_markdown(figures: Figures, zone: ZoneInfo) -> str:
    """Return the report of one incident as Markdown."""
    clock = clock_of(figures, zone)
    lines = [f"## How we communicated: {plain(figures.story.title)}", ""]
    lines += [plain(subject(figures, clock)), "", f"**{plain(headline(figures))}**", ""]
    lines += [f"- {plain(what)}: {plain(words)}" for what, words in facts(figures)]
    people = people_table(figures, clock)
    for table in [*tables(figures, clock), *([people] if people.rows else [])]:
        lines += ["", f"### {plain(table.title)}", "", *_table_lines(table)]
    return "\n".join(lines)


def trend_as_markdown(trend: Trend) -> str:
    """Return a trend as Markdown."""
    head, table = ("## How we communicated", "", f"**{plain(trend_headline(trend))}**"), trend_table(trend)
    return "\n".join((*head, *(["", *_table_lines(table)] if table.rows else [])))


def _table_lines(table: ReportTable) -> Iterator[str]:
    yield _row(table.head)
    yield _row("---" for _ in table.head)
    for row in table.rows:
        yield _row(map(plain, row))
    if table.note:
        yield ""
        yield plain(table.note)


def plain(text: str) -> str:
    """Return `text` with everything escaped that Markdown would treat as markup."""
    return _MARKUP.sub(lambda found: f"\\{found[0]}", " ".join(text.split()))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def as_document(figures: Figures) -> dict[str, Any]:
    """Return all figures of one incident for JSON. Times are ISO 8601, durations are whole seconds."""
    story = figures.story
    yes, no = story.feedback
    return {
        "incident": story.incident,
        "title": story.title,
        "kind": story.kind,
        "severity": worst_severity(story.stages),
        "status": story.stages[-1].status,
        "now": _plain(story.now),
        "started": _plain(story.started),
        "first_release": _plain(story.first_release),
        "ended": _plain(figures.ended),
        "down_seconds": _plain(figures.down),
        "promises": {
            "made": len(figures.promises),
            "due": figures.due,
            "kept": figures.kept,
            "each": [_fields(each) for each in figures.promises],
        },
        "audiences": [_fields(each) for each in figures.audiences],
        "messages": [{**_fields(each), "lead": each.lead} for each in story.tellings],
        "holding_statements": figures.holdings,
        "corrections": figures.corrections,
        "estimates": [
            {**_fields(each), "off_seconds": _plain(each.off), "held": each.held}
            for each in figures.estimates
        ],
        "deliveries": dict(figures.outcomes),
        "texts": {**asdict(story.texts), "cost": figures.cost, "at_night": figures.texts_at_night},
        "nudges": [_fields(each) for each in story.nudges],
        "feedback": {"yes": yes, "no": no},
        "postmortem": story.postmortem or None,
    }


# Names in the document, where they differ from our fields; two fields are left out.
_NAMES = {
    "name": "audience",
    "from_start": "first_after_start_seconds",
    "from_release": "first_after_release_seconds",
    "silence": "longest_silence",
    "outcomes": "deliveries",
    "late": "late_seconds",
    "by_holding": "by_holding_statement",
    "shape": "what",
    "number": "update",
    "way": "by",
}
_LEFT_OUT = {"promises", "frozen_at"}


def _fields(each: AudienceFigures | Promise | Telling | Estimate | StoryNudge) -> dict[str, Any]:
    names = [field.name for field in fields(each) if field.name not in _LEFT_OUT]
    return {_NAMES.get(name, name): _plain(getattr(each, name)) for name in names}


def _plain(value: Any) -> Any:
    """Return a value for JSON."""
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return int(value.total_seconds())
        case float():
            return round(value, 4)
        case Gap():
            return {
                "start": _plain(value.start),
                "end": _plain(value.end),
                "seconds": _plain(value.length),
            }
        case Mapping():
            return dict(value)
        case tuple():
            return list(value)
    return value
