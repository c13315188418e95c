"""Chromium and axe for the report's page and emails. python -m tests.support.browser makes docs/images."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Dialog, Page, sync_playwright
from playwright.sync_api import Error as BrowserError

from commcast.model.incident import Channel
from commcast.rendering.render import EmailContent
from commcast.report.documents import as_page
from commcast.report.figures import figures_of
from commcast.report.reading import read_story
from tests.support.scenario import clock, night_of_pay7
from tests.support.templates import example_told

NAMES = ("chromium", "chromium-browser", "google-chrome")
# It runs as root in a container, and must not talk to anybody.
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]
INSTALL = "install Chromium (Debian: sudo apt-get install chromium), or: make system-tools"
Scheme = Literal["light", "dark"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium; a machine without one fails the test, and says what to install."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.fail(f"none of {', '.join(NAMES)} is here; {INSTALL}")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        except BrowserError as error:
            pytest.fail(f"{program} cannot be started: {str(error).splitlines()[0]}; {INSTALL}")
        yield browser
        browser.close()


# What is wrong with how a page is laid out. Words that were broken into lines have a box for each of them.
FAULTS = """() => {
  const found = [], boxes = [], round = each => each.words.slice(0, 40)
  const meet = (a, b, by) => a.l < b.r - by && b.l < a.r - by && a.t < b.b - 3 && b.t < a.b - 3
  const box = (of, words, r) => ({of, words, l: r.left, r: r.right, t: r.top, b: r.bottom})
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  for (let node; node = walker.nextNode();) {
    const of = node.parentElement, words = node.textContent.trim(), range = document.createRange()
    if (!words || of.closest('title, thead') || !of.checkVisibility({contentVisibilityAuto: true})) continue
    range.selectNodeContents(node)
    boxes.push(...[...range.getClientRects()].filter(r => r.width > 1).map(r => box(of, words, r)))
  }
  for (const each of boxes) {
    const frame = each.of.closest('section, .cards li, main, .card td').getBoundingClientRect()
    if (each.l < frame.left - 1 || each.r > frame.right + 1 || each.b > frame.bottom + 1)
      found.push(`outside: ${round(each)}`)
  }
  boxes.sort((a, b) => a.t - b.t)
  boxes.forEach((a, i) => {
    for (let j = i + 1; j < boxes.length && boxes[j].t < a.b - 3; j++)
      if (a.of != boxes[j].of && meet(a, boxes[j], 1.5))
        found.push(`on top: ${round(a)} / ${round(boxes[j])}`)
  })
  const bars = [...document.querySelectorAll('svg[role=img] rect.span')]
    .map(each => box(each, each.className.baseVal, each.getBoundingClientRect()))
    .filter(each => each.b > each.t)
  for (const word of boxes.filter(each => each.of.matches('text.late')))
    for (const bar of bars)
      if (meet(word, bar, 0)) found.push(`on a bar: ${round(word)} / ${bar.words}`)
  for (const each of document.querySelectorAll('main *, .card, .card *'))
    if (!each.closest('svg, thead') && each.clientWidth && each.scrollWidth > each.clientWidth + 1)
      found.push(`cut off: ${each.textContent.trim().slice(0, 40)}`)
  return found
}"""


@dataclass
class Seen:
    """One page as somebody sees it; `asked` is every address it asked for, `said` what a script said."""

    page: Page
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def grave_findings(self) -> list[str]:
        """Return what axe finds serious or critical."""
        found = self._judged_by_axe()["violations"]
        return _in_words(each for each in found if each["impact"] in {"serious", "critical"})

    def findings(self) -> list[str]:
        """Return all that axe finds, and where it cannot tell whether the contrast is enough."""
        found = self._judged_by_axe()
        untold = [each for each in found["incomplete"] if each["id"] == "color-contrast"]
        return _in_words(found["violations"] + untold)

    def _judged_by_axe(self) -> dict[str, Any]:
        found: dict[str, Any] = Axe().run(self.page).response
        return found

    @property
    def layout_faults(self) -> list[str]:
        """Return the words that lie on others or on a bar, outside of their frame, or are cut off."""
        found: list[str] = self.page.evaluate(FAULTS)
        return found

    @property
    def smallest_word(self) -> float:
        """How many pixels high the letters of the smallest word in the drawing are, as it is shown."""
        found = self.page.locator("svg[role=img]:visible").evaluate(
            "svg => Math.min(...[...svg.querySelectorAll('text')].map(each =>"
            " parseFloat(getComputedStyle(each).fontSize)"
            " * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width))"
        )
        return float(found)

    @property
    def overflow(self) -> int:
        """How many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


def _in_words(found: Iterable[dict[str, Any]]) -> list[str]:
    return [f"{each['impact']} {each['id']}: {each['nodes'][0]['html'][:160]}" for each in found]


@contextmanager
def shown(browser: Browser, file: Path, width: int, scheme: Scheme = "light") -> Iterator[Seen]:
    """Show a file in a window of this width."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    seen = Seen(page)
    page.on("request", lambda request: seen.asked.append(request.url))

    def hear(dialog: Dialog) -> None:
        seen.said.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", hear)
    page.goto(file.as_uri())
    yield seen
    page.close()


IMAGES = Path(__file__).parents[2] / "docs" / "images"
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


MAILS: tuple[tuple[str, int, Scheme], ...] = (
    ("mail-390-light", 390, "light"),
    ("mail-390-dark", 390, "dark"),
    ("mail-desktop", 800, "light"),
)


def make(folder: Path) -> None:
    """Tell a story on a desk in `folder`; take pictures of the upper part of its report, and of an email."""
    night = night_of_pay7(folder, customers=240)
    with night.bench.ledger.read() as connection:
        story = read_story(connection, "pay7", clock("13:00"))
    night.close()
    assert story is not None
    page = folder / "report.html"
    page.write_text(as_page(figures_of(story), ZoneInfo("Europe/Berlin")), encoding="utf-8")
    mail = folder / "mail.html"
    content = example_told(folder / "demo", 2, Channel.EMAIL)
    assert isinstance(content, EmailContent)
    mail.write_text(content.html, encoding="utf-8")
    with chromium() as browser:
        for name, width, scheme in MAILS:
            with shown(browser, mail, width, scheme) as seen:
                table = seen.page.locator("table.page").bounding_box()
                assert table is not None
                seen.page.set_viewport_size({"width": width, "height": round(table["height"])})
                seen.page.screenshot(path=IMAGES / f"{name}.png")
        for scheme in SCHEMES:
            with shown(browser, page, 1120, scheme) as seen:
                section = seen.page.locator("section").first.bounding_box()
                assert section is not None
                clip = {"x": 0.0, "y": 0.0, "width": 1120.0, "height": section["y"] + section["height"] + 16}
                seen.page.screenshot(path=IMAGES / f"report-{scheme}.png", full_page=True, clip=clip)  # type: ignore[arg-type]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        make(Path(made))
