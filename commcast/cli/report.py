"""The commands report and feedback: promises made and kept, for one incident or as a trend."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from commcast.cli.log import known_ledger, nothing_sent_for
from commcast.cli.options import FolderOption, JsonOption, NowOption, clock, duration, moment_or_now
from commcast.cli.output import BOLD, DIM, RED, aligned, inert, put, room_of, say, show, show_json, table
from commcast.cli.session import desk_to_read, desk_to_work, who
from commcast.errors import Fault, InputError
from commcast.report.figures import NIGHT, figures_of
from commcast.report.trend import Per, per_for, trend_document, trend_headline, trend_of, trend_table
from commcast.report.words import clock_of, facts, headline, people_table, subject, tables

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from commcast.config.settings import Config
    from commcast.ledger.store import Ledger
    from commcast.operations.desk import Desk
    from commcast.report.figures import Figures
    from commcast.report.story import Story
    from commcast.report.trend import Trend
    from commcast.report.words import ReportTable


def report(
    incident: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="The incident; may be left out if one is open, or only one is known."
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="90d", help="The trend of all incidents over this time.")
    ] = None,
    by: Annotated[
        Literal["audience"] | None, typer.Option("--by", help="With --since: one row per audience.")
    ] = None,
    per: Annotated[
        Per | None,
        typer.Option("--per", help="With --since: one row per week or month; default: whichever fits."),
    ] = None,
    as_json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for the review.")] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write one page with a timeline; - prints it."),
    ] = None,
    now: NowOption = None,
    folder: FolderOption = None,
) -> None:
    """Show what was promised and kept: first message, silences, promises, estimates, outcomes.

    It is computed from the ledger, so it works even if the incident's file is gone. With --since it shows the
    trend: what built trust (promises kept, ends within the estimate) and what cost trust (downtime, broken
    promises, corrections, texts at night).

    Example: commcast report pay7 --html report.html

    Example: commcast report --since 90d --by audience
    """
    form, at = _Form(as_json, markdown, html), moment_or_now(now)
    if sum((as_json, markdown, html is not None)) > 1:
        raise InputError("--json, --markdown and --html exclude each other; choose one")
    if since is None and by is None and per is None:
        _report_incident(folder, at, incident, form)
    elif since is None or incident is not None:
        raise InputError(
            "--since shows a trend over all incidents: --by and --per need it, and it takes no ID"
        )
    else:
        _report_trend(folder, at, since, per, by is not None, form)


class _Form(NamedTuple):
    """How a report is shown: as one of these, or as text."""

    as_json: bool
    markdown: bool
    html: Path | None

    def show(
        self,
        document: tuple[str, Callable[[], Mapping[str, Any]]],
        markdown: Callable[[], str],
        page: Callable[[], str],
        text: Callable[[], None],
    ) -> None:
        if self.as_json:
            show_json(document[0], document[1]())
        elif self.markdown:
            put(inert(markdown()))
        elif self.html is not None:
            _write_page(inert(page()), self.html)
        else:
            text()


def _report_incident(folder: Path | None, now: datetime, incident: str | None, form: _Form) -> None:
    from commcast.report.documents import as_document, as_markdown, as_page

    with desk_to_read(folder, now) as (desk, ledger):
        figures, zone = _figures(desk, known_ledger(ledger), incident), desk.config.zone
    form.show(
        ("report", lambda: as_document(figures)),
        lambda: as_markdown(figures, zone),
        lambda: as_page(figures, zone),
        lambda: _show(figures, zone),
    )


def _figures(desk: Desk, ledger: Ledger, incident: str | None) -> Figures:
    from commcast.report.reading import read_story

    name = incident or _only_one(ledger)
    with ledger.read() as connection:
        story = read_story(connection, name, desk.now)
    if story is None:
        raise nothing_sent_for(name)
    return _computed(_with_review(story, desk.config, desk.now), desk.config)


def _computed(story: Story, config: Config) -> Figures:
    """Return the figures of a story with the desk's own tolerance, price and quiet hours."""
    quiet = config.channels.sms.quiet if config.channels.sms else None
    tolerate, price = config.send.tolerate, config.send.sms_price
    return figures_of(
        story,
        tolerate=tolerate,
        sms_price=price,
        night=quiet or NIGHT,
        first_within=lambda severity: config.cadence_of(severity).first,
    )


def _only_one(ledger: Ledger) -> str:
    """Return the one incident that is open, else the only one. Raises InputError if there are several."""
    from commcast.ledger.overview import overviews

    with ledger.read() as connection:
        known = overviews(connection)
    still = [name for name, overview in known.items() if not overview.is_over]
    for names in (still, list(known)):
        if len(names) == 1:
            return names[0]
    if not known:
        raise InputError("nothing has been sent yet, so there is nothing to report")
    raise InputError(f"say which incident; known are: {', '.join(sorted(known)[:20])}")


def _with_review(story: Story, config: Config, now: datetime) -> Story:
    """Return the story with the review that its file names now, if there is a file."""
    from commcast.incidents.load import load_incidents

    files = {each.id: each for each in load_incidents(config, now).incidents}
    found = files.get(story.incident)
    return replace(story, postmortem=found.postmortem) if found and found.postmortem else story


def _write_page(page: str, html: Path) -> None:
    """Write a page to a file, or print it if that is called "-". Raises InputError."""
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
    clock = clock_of(figures, zone)
    _show_wrapped(figures.story.title, BOLD)
    show(subject(figures, clock))
    show("")
    _show_wrapped(headline(figures), BOLD)
    _show_tables(tables(figures, clock))
    show("")
    for line in aligned(facts(figures)):
        show(line)
    _show_tables([people_table(figures, clock)])


def _show_tables(found: Iterable[ReportTable]) -> None:
    """Print each table under its title, in red if it tells of what went wrong."""
    for each in filter(lambda each: each.rows, found):
        show("")
        show(each.title, BOLD, *([RED] if each.bad else []))
        put(table([word.upper() for word in each.head], each.rows, DIM))
        _show_wrapped(each.note, DIM)


def _show_wrapped(text: str, style: str) -> None:
    for line in textwrap.wrap(inert(text), min(79, room_of(sys.stdout)[0])):
        show(line, style)


def _report_trend(
    folder: Path | None, now: datetime, since: str, per: Per | None, by_audience: bool, form: _Form
) -> None:
    from commcast.report.documents import trend_as_markdown, trend_page
    from commcast.report.reading import read_stories

    span = duration(since, "--since")
    with desk_to_read(folder, now) as (desk, ledger), known_ledger(ledger).read() as connection:
        figures = [_computed(story, desk.config) for story in read_stories(connection, now - span, now)]
        zone, organisation = desk.config.zone, desk.config.organisation.name
    trend = trend_of(figures, now - span, now, zone, per=per or per_for(span), by_audience=by_audience)
    form.show(
        ("trend", lambda: trend_document(trend)),
        lambda: trend_as_markdown(trend),
        lambda: trend_page(trend, organisation),
        lambda: _show_trend(trend),
    )


def _show_trend(trend: Trend) -> None:
    _show_wrapped(trend_headline(trend), BOLD)
    _show_tables([trend_table(trend)])


_LARGEST = 100_000_000


def feedback(
    incident: Annotated[
        str, typer.Argument(metavar="ID", help="The incident that readers were asked about.")
    ],
    yes: Annotated[
        int, typer.Option("--yes", metavar="N", min=0, max=_LARGEST, help="How many more said yes.")
    ] = 0,
    no: Annotated[
        int, typer.Option("--no", metavar="N", min=0, max=_LARGEST, help="How many more said no.")
    ] = 0,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Add readers' answers to "did we keep you well informed?"; the report shows the totals.

    The counts are added to those entered before. Without --yes and --no it shows the sum.

    Example: commcast feedback pay7 --yes 41 --no 3
    """
    from commcast.ledger.chronicle import messages_accepted, read_answers, record_answers

    with desk_to_work(folder) as (_, ledger):
        with ledger.read() as connection:
            told = messages_accepted(connection, incident)
            before = read_answers(connection, incident)
        sums = before[0] + yes, before[1] + no
        if not told:
            raise nothing_sent_for(incident)
        if sum(sums) > told:
            what = f"that makes {sum(sums):,} answers to {told:,} messages"
            all_of_them = f"write how many answered yes and no, at most {told:,} in total"
            remedy = "give only what came in since the last time" if any(before) else all_of_them
            raise InputError(Fault("", 0, 0, what, remedy))
        if yes or no:
            with ledger.write() as connection:
                sums = record_answers(connection, incident, yes=yes, no=no, by=who(), now=clock())
    if as_json:
        show_json("feedback", {"incident": incident, "yes": sums[0], "no": sums[1]})
    else:
        show(f"{incident}: {sums[0]:,} yes, {sums[1]:,} no in total.")
