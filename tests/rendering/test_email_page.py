"""The shipped emails as pages: valid, small, and legible in a real browser, on a phone and in the dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from justhtml import JustHTML
from playwright.sync_api import Browser

from commcast.model.incident import Channel
from commcast.rendering.colours import READABLE, brand_facts, contrast
from tests.support.browser import Scheme, Seen, chromium, shown
from tests.support.templates import shipped_renderer
from tests.support.values import AUDIENCES, MOMENTS, Context, full, minimal

LOOKED_AT = pytest.mark.linux("Chromium, as system-tools installs it")
SHOWN = (
    *("first_notice", "found", "monitoring", "no_change", "correction", "resolved", "reopened"),
    *("planned_work", "new_time", "check_in"),
)
SCREENS: tuple[tuple[int, Scheme], ...] = ((390, "light"), (390, "dark"), (1000, "dark"), (1000, "light"))
COLOURS = ("", "#ffcc00", "#0b4f8a", "#ffffff", "#000000")
LONG = "payments-api.eu-central-1.internal.acme.example/" * 4
RTL = "نعتذر: الدفع بالبطاقة (Visa) لا يعمل منذ 09:52.\nשורה שנייה"


def html_of(context: Context, name: str) -> str:
    about = context["audience"]
    chosen = shipped_renderer(about["name"], name, Channel.EMAIL, about["view"])
    return chosen.email(context, context["recipient"]).html


def looked_at(audience: str, name: str, number: int) -> Context:
    """Return a context with, in turn, each colour, a word without an end, and words from right to left."""
    context = full(audience, name)
    context["brand"] = brand_facts(COLOURS[number % len(COLOURS)])
    words = ("", LONG, RTL)[number % 3]
    if words:
        context["update"] |= dict.fromkeys(("issue", "resolution", "action", "remains", "happened"), words)
        context["incident"] |= {"title": words.splitlines()[0]}
        context["organisation"] |= {"name": words[:60]}
        context["recipient"] |= {"greeting": f"Hello {words[:60]},"}
    return context


@given(st.binary(min_size=3, max_size=3))
def test_a_brand_is_read_on_the_page_and_the_page_on_it(parts: bytes) -> None:
    colour = f"#{parts.hex()}"
    found = brand_facts(colour)
    assert contrast(found["ink"], colour) >= READABLE
    assert contrast(found["link"], "#ffffff") >= contrast(found["link"], "#e9f1fb") >= READABLE
    assert found["link"] == colour or contrast(colour, "#e9f1fb") < READABLE


@pytest.mark.parametrize(
    ("colour", "ink", "link"),
    [
        ("", "", ""),
        ("#0b4F8a", "#ffffff", "#0b4F8a"),
        ("#000000", "#ffffff", "#000000"),
        ("#ffffff", "#000000", "#6d6d6d"),
        ("#ffcc00", "#000000", "#846a00"),
    ],
)
def test_black_or_white_on_a_brand_and_its_links_as_dark_as_needed(colour: str, ink: str, link: str) -> None:
    assert brand_facts(colour) == {"colour": colour, "ink": ink, "link": link}
    assert round(contrast("#000000", "#ffffff"), 2) == 21 and round(contrast("#777777", "#ffffff"), 2) == 4.48


@pytest.mark.parametrize("name", MOMENTS)
def test_the_html_is_valid_and_keeps_to_what_email_programs_know(name: str) -> None:
    """Outlook knows neither max-width nor white-space; Gmail cuts what is larger than 102 KB."""
    for audience, make, colour in product(AUDIENCES, (full, minimal), COLOURS[:2]):
        html = html_of(make(audience, name) | {"brand": brand_facts(colour)}, name)
        page = JustHTML(html, collect_errors=True, sanitize=False)
        assert page.errors == []
        assert len(html.encode()) < 20_000
        assert "white-space" not in html and not page.query("p div, p p, p table, p ul, li > p")
        assert not page.query("img, link, script, iframe, base, form, [src], [background]")
        assert not re.search(r"(?i)url\(|@import|@font-face", html)
        assert len(page.query("table")) == len(page.query("table[role=presentation]"))
        assert '<!--[if mso]><table role="presentation" align="center" width="600"' in html
        for cell in page.query("table, td"):
            style = (cell.attrs or {}).get("style") or ""
            assert ("background-color:" in style) is bool(re.search(r"(^|;)\s*color:", style)), style


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


# An email is a part of its program's page, which has the landmarks.
PAGES_ONLY = ("moderate landmark-one-main", "moderate region")


def assert_sound(seen: Seen) -> None:
    """Nothing scrolls sideways, lies on something else or is cut; axe finds nothing, contrast included."""
    assert (seen.overflow, seen.layout_faults) == (0, [])
    assert [each for each in seen.findings() if not each.startswith(PAGES_ONLY)] == []
    assert len(seen.asked) == 1 and seen.said == []


CASES = [(audience, name) for name in SHOWN for audience in ("customers", "support")]


@LOOKED_AT
@pytest.mark.parametrize(("number", "audience", "name"), [(n, *each) for n, each in enumerate(CASES)])
def test_an_email_is_legible_on_phones_and_desktops_in_light_and_dark(
    browser: Browser, tmp_path: Path, number: int, audience: str, name: str
) -> None:
    page = tmp_path / "mail.html"
    page.write_text(html_of(looked_at(audience, name, number), name), encoding="utf-8")
    with shown(browser, page, 390) as seen:
        for width, scheme in SCREENS:
            seen.page.set_viewport_size({"width": width, "height": 900})
            seen.page.emulate_media(color_scheme=scheme)
            assert_sound(seen)
