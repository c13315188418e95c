"""The shipped templates: each phase says what it must and nothing it must not, for each audience."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from commcast.model.incident import END_STATUSES, MAINTENANCE_STATUSES, Channel, Status
from commcast.rendering.render import EmailContent, SmsContent
from tests.support.templates import shipped_renderer
from tests.support.values import AUDIENCES, ENDS, MAINTENANCE, PHASES, PUBLIC, Context, full, minimal, moment

ONGOING = tuple(status for status in PHASES if status not in ENDS)
EVERY = [(audience, status) for audience in AUDIENCES for status in PHASES]
VOID = frozenset(("meta", "br", "hr"))


def mail(context: Context) -> EmailContent:
    chosen = shipped_renderer(context["audience"]["name"], context["update"]["status"], Channel.EMAIL)
    return chosen.email(context, context["recipient"])


def text_message(context: Context) -> SmsContent:
    if context["next_word"] == "update" and context["recipient"]["by_email"]:
        context = context | {"next_word": "email"}
    chosen = shipped_renderer(context["audience"]["name"], context["update"]["status"], Channel.SMS)
    return chosen.sms(context, context["recipient"])


class Page(HTMLParser):
    """Reads an email as a strict parser: `texts` are its visible pieces, `faults` what is not well-formed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.faults: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if data.strip() and self._open[-1] not in ("style", "title"):
            self.texts.append(" ".join(data.split()))


def test_the_story_knows_every_status() -> None:
    for named, known in ((PHASES, Status), (MAINTENANCE, MAINTENANCE_STATUSES), (ENDS, END_STATUSES)):
        assert {*named} == {each.value for each in known}


@pytest.mark.parametrize("make", [full, minimal])
@pytest.mark.parametrize(("audience", "status"), EVERY)
class TestEveryMessage:
    def test_an_email_is_whole(self, audience: str, status: str, make: Any) -> None:
        context = make(audience, status)
        content = mail(context)
        title = context["incident"]["title"]
        assert content.subject == f"[{PHASES[status]}] {title} (pay7)"
        assert content.text.startswith(context["recipient"]["greeting"] + "\n\n")
        assert f"{PHASES[status].upper()}: {title}" in content.text
        assert "Reference: pay7" in content.text
        assert context["update"]["at"]["full"] in content.text
        for part in (content.text, content.html):
            assert not re.search(r"None|Undefined|\{\{|\{%|: \n|\.\.|  +- ", part)
        assert "\n\n\n" not in content.text

    def test_text_and_html_say_the_same(self, audience: str, status: str, make: Any) -> None:
        content = mail(make(audience, status))
        pieces = Page(content.html).texts
        said = " ".join(content.text.split())
        assert [piece for piece in pieces if piece not in said] == []
        shown = "\n".join(pieces)
        for row in filter(None, content.text.split("\n")):
            label, _, sentence = row.removeprefix("- ").partition(": ")
            assert row in shown or all(part in shown for part in (label, sentence)), row

    def test_the_html_is_sound_small_and_loads_nothing(self, audience: str, status: str, make: Any) -> None:
        html = mail(make(audience, status)).html
        page = Page(html)
        assert page.faults == []
        assert len(html.encode()) < 20_000
        assert not re.search(r"(?i)src=|url\(|@import|@font-face|<(img|link|script|iframe|base|form)\b", html)
        links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
        assert set(links) <= {"https://status.acme.example"}
        assert ("html", {"lang": "en"}) in page.tags
        assert all(attrs.get("role") == "presentation" for tag, attrs in page.tags if tag == "table")
        assert ("meta", {"name": "color-scheme", "content": "light dark"}) in page.tags
        assert "<title>" in html and "@media (prefers-color-scheme: dark)" in html

    def test_a_text_is_cheap_and_promises_as_texts_do(self, audience: str, status: str, make: Any) -> None:
        content = text_message(make(audience, status))
        assert content.body.startswith("Acme Pay ")
        assert PHASES[status].upper() + ":" in content.body
        assert content.size.encoding == "GSM-7" and content.size.segments <= 2
        assert content.replaced == ()
        promises = ("Updates by email.", "Next text by 10:25 CET.", "We text you when it is over.")
        assert sum(promise in content.body for promise in promises) == (status not in ENDS)
        by_email = make(audience, status)["recipient"]["by_email"]
        assert ("10:25" in content.body) == (status not in ENDS and not by_email)
        assert not re.search(r"None|\.\.|  |: \.", content.body)

    def test_the_inside_stays_inside_and_one_sorry_does(self, audience: str, status: str, make: Any) -> None:
        text = mail(make(audience, status, first=True)).text
        assert len(re.findall(r"(?i)sorry|apolog", text)) <= (audience in PUBLIC)
        context = make(audience, status)
        if audience not in PUBLIC:
            context.pop("internal")  # a configuration may make any audience public
        everything = "".join((*mail(context), text_message(context).body))
        assert not re.search(r"SEV-|Dana Reyes|payments-api|db-eu-3|88123", everything)


def estimate(latest: dict[str, str], confidence: str = "low", *, passed: bool = False) -> Context:
    unknown = {"known": True, "earliest": None, "span": None}
    return unknown | {"confidence": confidence, "latest": latest, "passed": passed}


QUOTE = {"at": moment("10:05", "09:05"), "wrong": "3 <hours>", "right": "30 & minutes"}
HOLDING = {"since": moment("10:05", "09:05"), "now": moment("10:22", "09:22"), "age": "20 minutes", "step": 1}
FACTS: dict[str, Any] = {
    "NOON": moment("12:30", "11:30"),
    "SINCE": moment("09:55", "08:55"),
    "ESTIMATE": estimate(moment("12:05", "11:05")),
    "SURE": estimate(moment("12:05", "11:05"), "high"),
    "AT_ITS_END": estimate(moment("23:30", "22:30", "Sun 29 Nov 2026", later=True)),
    "EARLIER": estimate(moment("10:00", "09:00")),
    "PASSED": estimate(moment("10:00", "09:00"), passed=True),
    "BROKEN": {"promised": moment("10:25", "09:25"), "now": moment("10:37", "09:37"), "late": "12 minutes"},
    "HOLDING": HOLDING,
    "QUOTE": [QUOTE],
    "QUOTED": [QUOTE | {"wrong": "It says “no card”.", "right": 'It says "declined"'}],
    "STOPPED": [QUOTE | {"wrong": "Cards fail again.", "right": "Cards fail."}],
    "JOINED": {"since": moment("10:05", "09:05")},
    "REVIEW": {"kind": "review", "review": "https://acme.example/reviews/pay7"},
    "CHECK_IN": {"kind": "check-in", "review": "https://acme.example/reviews/pay7"},
    "ANSWERS": {each: f"https://acme.example/f?incident=pay7&answer={each}" for each in ("yes", "no")},
}
GROUPS = {
    "ongoing": ONGOING,
    "ended": ENDS,
    "started": ("investigating", "identified", "monitoring", "reopened", "resolved"),
}
_TEXT = Path(__file__).with_name("messages.txt").read_text(encoding="utf-8")
RULES = [rule.splitlines() for rule in re.split(r"\n(?=\S)", _TEXT) if not rule.startswith("#")]


def told(rule: Sequence[str]) -> Iterator[Any]:
    """Yield a case for each audience and status of a rule."""
    name, where = rule[0].rsplit(": ", 1)
    statuses, *more = re.split(",| to ", where)
    named = [audience for audience in AUDIENCES if {"all", audience} & set(" ".join(more).split())]
    for audience in named or ["customers"]:
        for status in GROUPS.get(statuses, statuses.split()):
            make = minimal if " minimal" in more else full
            yield pytest.param(make, audience, status, rule[1:], id=f"{name}, {status} to {audience}")


def set_in(context: Context, changes: str) -> None:
    """Set values such as update.duration = null; a name in capitals is one of FACTS."""
    for change in changes.split("; "):
        path, value = change.split(" = ")
        *parents, name = path.split(".")
        place = context
        for parent in parents:
            place = place[parent]
        place[name] = FACTS[value] if value.isupper() else json.loads(value)


@pytest.mark.parametrize(("make", "audience", "status", "lines"), [x for rule in RULES for x in told(rule)])
def test_what_a_message_says(make: Any, audience: str, status: str, lines: Sequence[str]) -> None:
    context = make(audience, status)
    rows = [tuple(line.split(maxsplit=1)) for line in lines]
    for _, changes in (row for row in rows if row[0] == "set"):
        set_in(context, changes)
    content = mail(context)
    parts = {
        "mail": [f"{content.subject}\n{content.text}"],
        "html": [content.html],
        "both": [content.text, content.html],
        "sms": [f"{text_message(context).body}$"],
    }
    for kind, words in (row for row in rows if row[0] != "set"):
        for part in parts[kind.removeprefix("!")]:
            if kind.startswith("!"):
                assert not re.search(words, part)
            else:
                wanted = words.replace("\\n", "\n")
                assert wanted in (part if "\n" in wanted else " ".join(part.split()))


@pytest.mark.parametrize("audience", AUDIENCES)
def test_no_two_holding_statements_in_a_row_are_alike(audience: str) -> None:
    said = []
    for step in range(1, 6):
        holding = HOLDING | {"age": f"{20 * step} minutes", "step": step}
        said.append(mail(full(audience, "identified") | {"holding": holding}).text)
        assert "10:05 CET (09:05 UTC)" in said[-1].partition("\n\n")[2]
        assert "We have found" not in said[-1]  # nobody said that just now
    assert len(set(said)) == len(said)


def test_a_busy_reader_is_done_soon() -> None:
    for audience, most in (("customers", 150), ("executives", 120)):
        body = mail(full(audience, "identified", first=True, because=None)).text.partition("Questions:")[0]
        assert 60 <= len(body.split()) <= most
        assert audience == "customers" or "db-eu-3" not in body
    for status, without in (("investigating", ("scope", "action")), ("resolved", ("if_it_persists",))):
        short = full("customers", status, **dict.fromkeys(without))
        assert text_message(short).size.segments == 1


def test_hostile_text_is_shown_as_text() -> None:
    context = full("customers", "investigating", issue='<b onclick=x>{{ 7*7 }}</b> & "q"')
    context["incident"]["title"] = "</title><script>alert(1)</script>"
    context["recipient"]["greeting"] = "Hello <i>O'Neil</i>,"
    context["contact"]["phone"] = "<a href=x>"
    context["incident"]["affected"] = ["<u>Pay</u>", "A&B"]
    content = mail(context)
    assert Page(content.html).faults == []
    assert not re.search(r"<(script|b|i|u|a href=x)[ >]", content.html)
    assert "&amp;lt;" not in content.html, "escaped once, not twice"
    assert "{{ 7*7 }}" in content.text and "{{ 7*7 }}" in content.html
    assert "Hello <i>O'Neil</i>," in content.text


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours such as #1a2b3c, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("status", PHASES)
def test_colours_contrast_in_light_and_dark(status: str) -> None:
    """WCAG 2 AA: at least 4.5 to 1 for text. In the dark the classes replace the inline colours."""
    html = mail(full("customers", status)).html
    head = re.search(r"<td style=\"background-color:(#\w{6});[^\"]*color:(#\w{6});", html)
    assert head and contrast(*head.groups()) >= 4.5
    dark = {
        name: dict(re.findall(r"(background-color|(?<!-)\bcolor|border-color): (#\w{6})", rules))
        for name, rules in re.findall(r"\.(\w+) \{ ([^}]*) \}", html)
    }
    card = dark["card"]["background-color"]
    assert min(contrast(dark[name]["color"], card) for name in ("text", "quiet", "link")) >= 4.5
    assert contrast(dark["promise"]["color"], dark["promise"]["background-color"]) >= 4.5
    inline = re.findall(r"class=\"(text|quiet|link|promise|foot quiet)\"[^>]*?[;\"]color:(#\w{6})", html)
    assert {name for name, _ in inline} >= {"text", "quiet", "link"}
    assert all(contrast(colour, "#ffffff") >= 4.5 for name, colour in inline if name != "promise")
    promise = re.search(r"class=\"promise\"[^>]*background-color:(#\w{6})[^>]*;color:(#\w{6})", html)
    assert promise is None or contrast(*promise.groups()) >= 4.5
    # Every coloured element has a dark colour, except the head, whose colours are made for both.
    styled = re.findall(r"<\w+ ([^>]*style=\"[^\"]*(?<!-)color:#[^>]*)>", html.partition("</h1>")[2])
    assert styled and [tag for tag in styled if "class=" not in tag] == []
