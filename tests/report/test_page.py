"""The page in a real browser: legible, accessible, silent on every network, and hostile words inert."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import combinations, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser

from commcast.report.documents import as_page, trend_page
from commcast.report.drawing import timeline_of
from commcast.report.figures import Figures, figures_of
from commcast.report.reading import read_story
from commcast.report.story import Shape
from commcast.report.trend import Per, trend_of
from commcast.report.words import clock_of
from tests.support.browser import Scheme, Seen, chromium, shown
from tests.support.scenario import clock, night_of_pay7

BERLIN = ZoneInfo("Europe/Berlin")
HOSTILE = (
    "</title></svg></style><script>alert(1)</script><img src=//evil.example/x onerror=alert(2)>\"'&{{ 7 }}"
)
LOOKED_AT = pytest.mark.linux("Chromium, as system-tools installs it")
SCREENS: tuple[tuple[int, Scheme], ...] = ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"))


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    night = night_of_pay7(tmp_path_factory.mktemp("desk"))
    with night.bench.ledger.read() as connection:
        story = read_story(connection, "pay7", clock("18:00"))
    night.close()
    assert story is not None
    return figures_of(story)


@pytest.fixture(scope="module")
def browser(figures: Figures) -> Iterator[Browser]:
    """Start it when the story is told: the browser's driver and the engine want an event loop each."""
    with chromium() as started:
        yield started


def written(figures: Figures, folder: Path) -> Path:
    page = folder / "report.html"
    page.write_text(as_page(figures, BERLIN), encoding="utf-8")
    return page


def assert_sound(seen: Seen, page: Path) -> None:
    """It is accessible, fits the window, asks nothing of any network and shows one drawing."""
    assert seen.grave_findings() == []
    assert seen.overflow <= 0
    assert (seen.asked, seen.said) == ([page.as_uri()], [])
    assert seen.page.locator("svg[role=img]:visible").count() == 1


MARKS = (
    "marks => marks.map(mark => { const b = mark.querySelector('path').getBoundingClientRect();"
    " return [b.left + b.width / 2, b.top + b.height / 2] })"
)


@LOOKED_AT
def test_the_page_is_legible_accessible_and_silent(
    browser: Browser, figures: Figures, tmp_path: Path
) -> None:
    """Between a phone and a desk words may be a little smaller; marks of a lane lie apart on both."""
    page = written(figures, tmp_path)
    for width in (360, 700, 1019, 1020, 1100):
        with shown(browser, page, width) as seen:
            assert seen.overflow <= 0
            assert seen.smallest_word >= 9.5
    for width, scheme in SCREENS:
        with shown(browser, page, width, scheme) as seen:
            assert_sound(seen, page)
            assert seen.smallest_word >= 10.5
            assert seen.page.evaluate("document.scripts.length") == 0
            places = seen.page.locator("svg[role=img]:visible .mark").evaluate_all(MARKS)
            assert len(places) == 24
            for (x, y), (other_x, other_y) in combinations(places, 2):
                assert max(abs(x - other_x), abs(y - other_y)) > 15


WIDTHS = (390, 768, 800, 1000, 1440)
STORIES = ("nothing", "nobody", "one", "whole", "five", "many")


def retold(figures: Figures, which: str) -> Figures:
    """Return the figures of other stories, which begin like the one told.

    nothing was sent, nobody took it, one message, the whole story with all its texts shown, five audiences
    with long names and promises that are a little late, 300 messages.
    """
    story = figures.story
    first, tellings, pledges = story.tellings[0], list(story.tellings), list(story.pledges)
    stages = story.stages
    if which in {"nothing", "nobody", "one"}:
        refused = replace(first, first_at=None, last_at=None, outcomes={"rejected": 12})
        tellings = {"nothing": [], "nobody": [refused], "one": [first]}[which]
        pledges, stages = (pledges[:1] if which == "one" else []), stages[:1]
    for name in ("accountants", "system-integrators-eu") if which == "five" else ():
        tellings += [replace(each, audience=name) for each in story.tellings if each.audience == "customers"]
        pledges += [each._replace(audience=name) for each in story.pledges if each.audience == "customers"]
    for i, each in enumerate(pledges):
        if which == "five" and each.first_at and i % 2:
            pledges[i] = each._replace(promised=each.first_at - timedelta(seconds=20), in_time=0)
    if which == "many":
        starts = [stages[0].at + timedelta(minutes=10 * i) for i in range(100)]
        stages = tuple(replace(stages[0], number=i, at=at, released_at=at) for i, at in enumerate(starts, 1))
        names = list(enumerate(starts, 1)), ("customers", "executives", "support")
        tellings = [
            replace(first, notice=f"update:{i}", number=i, audience=name, first_at=at, last_at=at)
            for i, at in names[0]
            for name in names[1]
        ]
        pledges = [
            story.pledges[0]._replace(
                notice=each.notice,
                audience=each.audience,
                made_at=each.frozen_at,
                promised=each.frozen_at + timedelta(minutes=10 + i % 4),
            )
            for i, each in enumerate(tellings)
        ]
    made = replace(story, tellings=tuple(tellings), pledges=tuple(pledges), stages=stages)
    return figures_of(made, first_within=lambda severity: timedelta(minutes=5))


@LOOKED_AT
@pytest.mark.parametrize("which", STORIES)
def test_the_page_is_right_at_every_width_and_for_every_number_of_messages(
    browser: Browser, figures: Figures, tmp_path: Path, which: str
) -> None:
    """Nothing scrolls sideways, lies on something else or is cut off; words have enough contrast."""
    page = written(retold(figures, which), tmp_path)
    for width in WIDTHS:
        with shown(browser, page, width) as seen:
            if which == "whole":
                seen.page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
            assert (seen.overflow, seen.layout_faults) == (0, []), width
    for width, scheme in SCREENS[1:3]:
        with shown(browser, page, width, scheme) as seen:
            assert seen.grave_findings() == []


def brightness(seen: Seen, name: str) -> int:
    """Return the brightness of a colour of the page, 0 to 765."""
    colour = seen.page.evaluate(f"getComputedStyle(document.body).{name}")
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


@LOOKED_AT
def test_dark_is_dark_and_paper_is_white(browser: Browser, figures: Figures, tmp_path: Path) -> None:
    page = written(figures, tmp_path)
    with shown(browser, page, 1280, "light") as seen:
        assert brightness(seen, "backgroundColor") > 600
    with shown(browser, page, 720, "dark") as seen:
        assert brightness(seen, "backgroundColor") < 150
        seen.page.emulate_media(media="print", color_scheme="dark")
        assert brightness(seen, "color") < 200 < 700 < brightness(seen, "backgroundColor")
        assert seen.page.locator("svg.wide").is_visible()


@LOOKED_AT
def test_hostile_words_are_inert(browser: Browser, figures: Figures, tmp_path: Path) -> None:
    story = figures.story
    outcome = {f"skipped: {HOSTILE}": 1}
    tellings = [replace(each, outcomes={**each.outcomes, **outcome}) for each in story.tellings]
    tellings[0] = replace(tellings[0], notice=HOSTILE, audience=HOSTILE)
    nudges = tuple(replace(each, outcome=HOSTILE) for each in story.nudges)
    hostile = replace(story, title=HOSTILE * 3, postmortem=HOSTILE, incident=HOSTILE)
    page = written(figures_of(replace(hostile, tellings=tuple(tellings), nudges=nudges)), tmp_path)
    assert "<script" not in page.read_text().lower()
    with shown(browser, page, 390) as seen:
        assert seen.page.locator("h1").inner_text() == HOSTILE * 3
        assert seen.page.locator("script, img").count() == 0
        assert (seen.asked, seen.said) == ([page.as_uri()], [])
        assert seen.overflow <= 0


@LOOKED_AT
@pytest.mark.parametrize("count", [0, 1, 60])
def test_the_page_of_a_trend_is_so_too(
    browser: Browser, figures: Figures, tmp_path: Path, count: int
) -> None:
    """With a year of weeks on it, too; of no incidents there is a sentence only."""
    now, story = clock("18:00"), figures.story
    stages = [
        [replace(each, released_at=each.released_at - timedelta(days=6 * i)) for each in story.stages]
        for i in range(count)
    ]
    known = [figures_of(replace(story, stages=tuple(each))) for each in stages]
    page = tmp_path / "trend.html"
    for days, by_audience in ((365, False), (90, True)):
        span = now - timedelta(days=days)
        trend = trend_of(known, span, now, BERLIN, per=Per.WEEK, by_audience=by_audience)
        page.write_text(trend_page(trend, HOSTILE), encoding="utf-8")
        for width in (*WIDTHS, 780):
            with shown(browser, page, width) as seen:
                assert (seen.overflow, seen.layout_faults) == (0, []), width
                tops = seen.page.locator(".cards li").evaluate_all(
                    "all => [...new Set(all.map(each => each.getBoundingClientRect().top))]"
                )
                assert len(tops) <= (3 if width < 760 else 1), "its tiles are in one row"
    for width, scheme in SCREENS[1:3] if count else ():
        with shown(browser, page, width, scheme) as seen:
            assert_sound(seen, page)


def test_every_kind_of_message_has_a_shape_of_its_own(figures: Figures) -> None:
    """Not by colour alone: no two kinds are drawn alike."""
    shapes = list(Shape)
    some = figures.story.tellings[: len(shapes)]
    tellings = tuple(replace(each, shape=shape) for each, shape in zip(some, shapes, strict=True))
    page = as_page(figures_of(replace(figures.story, tellings=tellings)), BERLIN)
    paths = dict(re.findall(r'<g class="mark ([\w-]+)"[^>]*>(?:<title>.*?</title>)?(<path[^>]*>)', page))
    assert len(paths) == len(shapes)
    assert len(set(paths.values())) == len(shapes)


def test_promises_in_a_lane_lie_apart_and_days_of_nothing_are_short(
    figures: Figures,
) -> None:
    drawing = timeline_of(figures, clock_of(figures, BERLIN))
    rows: dict[float, list[tuple[float, float]]] = {}
    for bar in drawing.spans:
        if bar.what.startswith("span") and bar.height == 6:
            rows.setdefault(bar.y, []).append((bar.x, bar.x + bar.width))
    assert len(rows) == 9, "three rows for each of three audiences"
    for row in rows.values():
        assert all(end < start for (_, end), (start, _) in pairwise(sorted(row)))
    story = figures.story
    first = min(each.first_at for each in story.tellings if each.first_at)
    early = replace(story.stages[0], released_at=first.replace(day=14))
    page = as_page(figures_of(replace(story, started=None, stages=(early, *story.stages[1:]))), BERLIN)
    assert "… 7 d …" in page
