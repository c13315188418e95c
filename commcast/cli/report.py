"""The command report: what was promised and kept, of one incident or over many."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from commcast.cli.colour import BOLD, paint, show_painted
from commcast.cli.opening import desk_to_read
from commcast.cli.options import FolderOption, JsonOption, NowOption, moment_or_now
from commcast.cli.output import inert, put, say, show_json
from commcast.cli.report_tables import show_tables
from commcast.cli.wrapped import COLUMNS
from commcast.errors import Fault, InputError, LedgerError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from commcast.config import Config
    from commcast.desk import Desk
    from commcast.ledger.store import Ledger
    from commcast.report.figures import Figures
    from commcast.report.story import Story


class By(StrEnum):
    """What a trend may be parted by."""

    AUDIENCE = "audience"


class Per(StrEnum):
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
        By | None,
        typer.Option(
            "--by",
            parser=_choice("--by", By),
            metavar="audience",
            help="With --since: a row for each audience.",
            show_default=False,
        ),
    ] = None,
    per: Annotated[
        Per | None,
        typer.Option(
            "--per",
            parser=_choice("--per", Per),
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
        from commcast.cli.report_trend import show_trend

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
        from commcast.report.document import as_document

        show_json("report", as_document(figures))
    elif as_markdown:
        from commcast.report.markdown import as_markdown as written

        put(inert(written(figures, desk.config.zone)))
    elif html is not None:
        from commcast.report.page import as_page

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
