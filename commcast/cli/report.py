"""Report, feedback."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from commcast.cli.options import FolderOption, JsonOption, NowOption, clock, moment_or_now
from commcast.cli.output import (
    BOLD,
    COLUMNS,
    DIM,
    RED,
    inert,
    paint,
    put,
    say,
    show,
    show_json,
    show_painted,
    wrapped_table,
)
from commcast.cli.session import desk_to_read, desk_to_work, who
from commcast.errors import Fault, InputError, LedgerError
from commcast.model.times import parse_duration
from commcast.report.documents import trend_as_markdown, trend_page
from commcast.report.reading import read_stories
from commcast.report.trend import Per, Trend, per_for, trend_document, trend_headline, trend_of, trend_table

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from commcast.config.settings import Config
    from commcast.ledger.store import Ledger
    from commcast.operations.desk import Desk
    from commcast.report.figures import Figures
    from commcast.report.story import Story
    from commcast.report.words import ReportTable


def show_tables(tables: Iterable[ReportTable]) -> None:
    """Print each table under its title, in red where it tells of what went wrong."""
    for each in tables:
        show_painted("")
        show_painted(paint(inert(each.title), *([BOLD, RED] if each.bad else [BOLD])))
        head, _, rest = wrapped_table([word.upper() for word in each.head], each.rows).partition("\n")
        show_painted(paint(head, DIM))
        show_painted(rest)
        for line in textwrap.wrap(inert(each.note), COLUMNS):
            show_painted(paint(line, DIM))


class ByChoice(StrEnum):
    """What a trend may be parted by."""

    AUDIENCE = "audience"


class PerChoice(StrEnum):
    """How long one row of a trend is."""

    WEEK = "week"
    MONTH = "month"


def _choice(option: str, choices: type[StrEnum]) -> Callable[[str], StrEnum]:
    """Return what reads one of `choices` and says in plain words what may be written instead."""

    def read(text: str) -> StrEnum:
        if text not in set(choices):
            remedy = f"write {' or '.join(f'{option} {each}' for each in choices)}"
            raise InputError(Fault(option, 0, 0, f"{text!r:.40} is not known", remedy))
        return choices(text)

    return read


class TrendAsked(NamedTuple):
    """What a trend is asked for: since when, by audience or not, how long a row is ("": as fits), and how."""

    since: str
    by_audience: bool
    per: str
    as_json: bool
    as_markdown: bool
    html: Path | None


MarkdownOption = Annotated[bool, typer.Option("--markdown", help="Print Markdown, for the review.")]
HtmlOption = Annotated[
    Path | None,
    typer.Option(
        "--html", metavar="FILE", help="Write one page with a timeline; - prints it.", show_default=False
    ),
]


def report(
    incident: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="The incident; may be left out when one is open, or only one known.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="90d", help="The trend over all incidents since then.", show_default=False
        ),
    ] = None,
    by: Annotated[
        ByChoice | None,
        typer.Option(
            "--by",
            parser=_choice("--by", ByChoice),
            metavar="audience",
            help="With --since: a row for each audience.",
            show_default=False,
        ),
    ] = None,
    per: Annotated[
        PerChoice | None,
        typer.Option(
            "--per",
            parser=_choice("--per", PerChoice),
            metavar="week|month",
            help="With --since: how long a row is; default: as fits.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    as_markdown: MarkdownOption = False,
    html: HtmlOption = None,
    now: NowOption = None,
    folder: FolderOption = None,
) -> None:
    """Show what was promised and kept: first word, silences, promises, estimates, outcomes.

    It is reckoned from the ledger, so it serves when the incident's file is gone. With --since it shows the
    trend: what was deposited with readers (promises kept, ends within the estimate) and what was withdrawn
    (time down, promises broken, corrections, texts at night).

    Example: commcast report pay7 --html report.html

    Example: commcast report --since 90d --by audience
    """
    _one_way(as_json, as_markdown, html)
    if since is not None or by is not None or per is not None:
        if incident is not None or since is None:
            raise InputError(
                "--since shows a trend over all incidents; --by and --per belong to it, an ID does not"
            )
        asked = TrendAsked(since, by is not None, per.value if per else "", as_json, as_markdown, html)
        show_trend(folder, moment_or_now(now), asked)
        return
    with desk_to_read(folder, moment_or_now(now)) as (desk, ledger):
        figures = _figures(desk, known(ledger), incident)
    if as_json:
        from commcast.report.documents import as_document

        show_json("report", as_document(figures))
    elif as_markdown:
        from commcast.report.documents import as_markdown as written

        put(inert(written(figures, desk.config.zone)))
    elif html is not None:
        from commcast.report.documents import as_page

        write_page(as_page(figures, desk.config.zone), html)
    else:
        _show(figures, desk.config.zone)


def _one_way(as_json: bool, as_markdown: bool, html: Path | None) -> None:
    if sum((as_json, as_markdown, html is not None)) > 1:
        raise InputError("--json, --markdown and --html are three ways to show it; choose one")


def known(ledger: Ledger | None) -> Ledger:
    if ledger is None:
        raise LedgerError("there is no ledger in this folder: nothing is known of what was told")
    return ledger


def _figures(desk: Desk, ledger: Ledger, incident: str | None) -> Figures:
    from commcast.report.reading import read_story

    name = incident or _only_one(ledger)
    with ledger.read() as connection:
        story = read_story(connection, name, desk.now)
    if story is None:
        raise InputError(f"nothing was said of an incident {name!r:.60}; commcast log lists all")
    return reckoned(_with_review(story, desk.config, desk.now), desk.config)


def reckoned(story: Story, config: Config) -> Figures:
    """Return the figures of a story by a folder's own tolerance, price and quiet hours."""
    from commcast.report.figures import NIGHT, figures_of

    quiet = config.channels.sms.quiet if config.channels.sms else None
    tolerate, price = config.send.tolerate, config.send.sms_price
    return figures_of(story, tolerate=tolerate, sms_price=price, night=quiet or NIGHT)


def _only_one(ledger: Ledger) -> str:
    """Return the one incident that is open, else the only one. Raises InputError where there are several."""
    from commcast.ledger.overview import overviews

    with ledger.read() as connection:
        known = overviews(connection)
    still = [name for name, overview in known.items() if not overview.is_over]
    for names in (still, list(known)):
        if len(names) == 1:
            return names[0]
    raise InputError(f"say which incident; known are: {', '.join(sorted(known)[:20]) or 'none'}")


def _with_review(story: Story, config: Config, now: datetime) -> Story:
    """Return the story with the review that its file names by now, where there is a file."""
    from commcast.incidents.load import load_incidents

    files = {each.id: each for each in load_incidents(config, now).incidents}
    found = files.get(story.incident)
    return replace(story, postmortem=found.postmortem) if found and found.postmortem else story


def write_page(page: str, html: Path) -> None:
    """Write a page to a file, or print it where that is called "-". Raises InputError."""
    page = inert(page)
    if str(html) == "-":
        put(page)
        return
    try:
        html.write_text(page, encoding="utf-8")
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise InputError(Fault(str(html), 0, 0, what, "name another: --html FILE")) from None
    say(f"Open it in a browser: {html}")


def _show(figures: Figures, zone: ZoneInfo) -> None:
    from commcast.report.words import clock_of, facts, headline, people_table, subject, tables

    clock = clock_of(figures, zone)
    for line in textwrap.wrap(inert(figures.story.title), COLUMNS):
        show_painted(paint(line, BOLD))
    show_painted(inert(subject(figures, clock)))
    show_painted("")
    for line in textwrap.wrap(inert(headline(figures)), COLUMNS):
        show_painted(paint(line, BOLD))
    show_tables(tables(figures, clock))
    show_painted("")
    known = list(facts(figures))
    width = max(len(what) for what, _ in known)
    for what, words in known:
        show_painted(inert(f"{what.ljust(width)}  {words}"))
    if (people := people_table(figures, clock)).rows:
        show_tables([people])


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


_LARGEST = 100_000_000


def feedback(
    incident: Annotated[
        str, typer.Argument(metavar="ID", help="The incident that readers were asked about.")
    ],
    yes: Annotated[int, typer.Option("--yes", metavar="N", help="How many more said yes.")] = 0,
    no: Annotated[int, typer.Option("--no", metavar="N", help="How many more said no.")] = 0,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Add what readers answered to "did we keep you well informed?"; the report shows the sum.

    What is given is added to what was entered before; without --yes and --no the sum is shown.

    Example: commcast feedback pay7 --yes 41 --no 3
    """
    _check(yes, no)
    from commcast.ledger.chronicle import messages_accepted, read_answers, record_answers

    with desk_to_work(folder) as (_, ledger):
        with ledger.read() as connection:
            told = messages_accepted(connection, incident)
            before = read_answers(connection, incident)
        sums = sum(each.yes for each in before) + yes, sum(each.no for each in before) + no
        if not told:
            raise InputError(f"nobody was told of an incident {incident!r:.60}; commcast log lists all")
        if sum(sums) > told:
            what = f"that makes {sum(sums):,} answers to {told:,} messages"
            remedy = "give only what came in since the last time"
            if not before:
                remedy = f"write how many answered yes and no, {told:,} in all at most"
            raise InputError(Fault("", 0, 0, what, remedy))
        if yes or no:
            with ledger.write() as connection:
                sums = record_answers(connection, incident, yes=yes, no=no, by=who(), now=clock())
    if as_json:
        show_json("feedback", {"incident": incident, "yes": sums[0], "no": sums[1]})
    else:
        show(f"{incident}: {sums[0]:,} yes, {sums[1]:,} no in all.")


def _check(yes: int, no: int) -> None:
    faults = [
        Fault(option, 0, 0, f"{count} is no count of answers", "write how many more came in, such as 12")
        for option, count in (("--yes", yes), ("--no", no))
        if not 0 <= count <= _LARGEST
    ]
    if faults:
        raise InputError(faults)
