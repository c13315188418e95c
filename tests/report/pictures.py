"""Makes the pictures of a report in docs/images: python -m tests.report.pictures"""

from __future__ import annotations

import tempfile
from pathlib import Path
from zoneinfo import ZoneInfo

from commcast.report.figures import figures_of
from commcast.report.output import as_page
from commcast.report.reading import read_story
from tests.report.browsing import Scheme, chromium, shown
from tests.report.nights import clock, night_of_pay7

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


def make(folder: Path) -> None:
    """Tell a story on a desk in `folder`, and take a picture of the upper part of its report."""
    night = night_of_pay7(folder, customers=240)
    with night.bench.ledger.read() as connection:
        story = read_story(connection, "pay7", clock("13:00"))
    night.close()
    assert story is not None
    page = folder / "report.html"
    page.write_text(as_page(figures_of(story), ZoneInfo("Europe/Berlin")), encoding="utf-8")
    with chromium() as browser:
        for scheme in SCHEMES:
            with shown(browser, page, 1120, scheme) as seen:
                section = seen.page.locator("section").first.bounding_box()
                assert section is not None
                clip = {"x": 0.0, "y": 0.0, "width": 1120.0, "height": section["y"] + section["height"] + 16}
                seen.page.screenshot(path=IMAGES / f"report-{scheme}.png", full_page=True, clip=clip)  # type: ignore[arg-type]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        make(Path(made))
