"""The shipped templates: each message says what it must and nothing it must not, for each audience."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.model.incident import END_STATUSES, MAINTENANCE_STATUSES, SENTENCES, Channel, Status
from commcast.rendering import moments
from commcast.rendering.render import EmailContent, SmsContent
from commcast.rendering.templates import shipped_templates
from tests.support.templates import example_told, shipped_renderer
from tests.support.values import (
    AUDIENCES,
    ENDS,
    FOLLOW_UPS,
    MOMENTS,
    PLANNED,
    PUBLIC,
    Context,
    full,
    minimal,
    moment,
    span,
)

ONGOING = tuple(name for name in MOMENTS if name not in ENDS)
EVERY = [(audience, name) for audience in AUDIENCES for name in MOMENTS]
END_OF_HEAD = "\0"  # no message holds it
VOID = frozenset(("meta", "br", "hr"))
PROMISE = "Next update by 10:25 CET, even if nothing has changed."


def mail(context: Context, name: str) -> EmailContent:
    chosen = shipped_renderer(context["audience"]["name"], name, Channel.EMAIL, context["audience"]["view"])
    return chosen.email(context, context["recipient"])


def text_message(context: Context, name: str) -> SmsContent:
    if context["next_word"] == "update" and context["recipient"]["by_email"]:
        context = context | {"next_word": "email"}
    chosen = shipped_renderer(context["audience"]["name"], name, Channel.SMS, context["audience"]["view"])
    return chosen.sms(context, context["recipient"])


class Page(HTMLParser):
    """Reads an email as a strict parser: `head` and `body` are its visible words, `faults` what is broken.

    A link's address follows its words, as it does in the text part.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.faults: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self._link = 0
        self.feed(html)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self._open]
        head, self.body = "".join(self.pieces).split(END_OF_HEAD)
        self.preheader, self.label, self.title = map(str.strip, filter(str.strip, head.splitlines()))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._link = len(self.pieces) if tag == "a" else self._link
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")
        if tag == "h1":
            self.pieces.append(END_OF_HEAD)
        address = (
            next(attrs["href"] for name, attrs in reversed(self.tags) if name == tag) if tag == "a" else ""
        )
        if address and "".join(self.pieces[self._link :]) != address:
            self.pieces.append(f" <{address}>")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "title"):
            self.pieces.append(data)


def words_of(part: str) -> list[str]:
    """Return the words of one part of an email, without the marks of lists and of the foot."""
    return [word for word in part.split() if word not in ("-", "---")]


def test_the_story_knows_every_moment_and_every_status() -> None:
    assert list(MOMENTS) == list(moments.MOMENTS)
    assert {status for status, _ in MOMENTS.values()} == {each.value for each in Status}
    for names, statuses in ((PLANNED, MAINTENANCE_STATUSES), (ENDS, END_STATUSES)):
        assert {MOMENTS[name][0] for name in names} == {each.value for each in statuses}


@pytest.mark.parametrize("make", [full, minimal])
@pytest.mark.parametrize(("audience", "name"), EVERY)
class TestEveryMessage:
    def test_an_email_is_whole(self, audience: str, name: str, make: Any) -> None:
        context = make(audience, name)
        content = mail(context, name)
        assert content.subject == f"[{MOMENTS[name][1]}] {context['incident']['title']} (pay7)"
        assert content.text.startswith(context["recipient"]["greeting"] + "\n\n")
        _, _, foot = content.text.partition("\n---\n")
        is_old = name in ("no_change", "unconfirmed", "reminder", *FOLLOW_UPS)
        at = f"Sent {context['sent']['full']}" if is_old else f"Updated {context['update']['at']['full']}"
        assert f"{at} · Reference pay7\n" in foot
        for part in (content.text, content.html):
            assert not re.search(
                r"None|Undefined|\{\{|\{%|\*\*|: *\n|[.!?,;:]\.|[\U00100000-\U0010ffff]", part
            )
        assert not re.search(r"(?m)\S  |\n\n\n| [.,;:]|^- *$|^> | $", content.text)
        assert not re.search(r"<(p|li|td)[^>]*>\s*</", content.html)
        # UTC once, in the foot; a partner's contract counts from a time that is in both.
        assert content.text.count("UTC") - content.text.count("SLA") == foot.count("UTC") == 1

    def test_text_and_html_say_the_same_words(self, audience: str, name: str, make: Any) -> None:
        context = make(audience, name)
        content = mail(context, name)
        page = Page(content.html)
        assert (page.label, page.title) == (MOMENTS[name][1], context["incident"]["title"])
        assert words_of(page.body) == words_of(content.text)
        # An inbox shows the beginning of the first paragraph that is the same for all readers.
        first = " ".join(content.text.split("\n\n")[1].split())
        assert first.startswith(page.preheader.rstrip("…"))

    def test_the_html_is_closed_and_links_to_us_only(self, audience: str, name: str, make: Any) -> None:
        html = mail(make(audience, name), name).html
        page = Page(html)
        assert page.faults == []
        links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
        assert all(link and re.match("https://(status.)?acme.example", link) for link in links)
        assert ("html", {"lang": "en", "dir": "auto"}) in page.tags
        assert ("meta", {"name": "color-scheme", "content": "light dark"}) in page.tags
        assert "<title>" in html and "@media (prefers-color-scheme: dark)" in html

    def test_a_text_is_cheap_and_promises_once(self, audience: str, name: str, make: Any) -> None:
        if name in FOLLOW_UPS:  # they are only sent by email
            return
        context = make(audience, name)
        content = text_message(context, name)
        level = " SEV-1" if audience not in PUBLIC and name not in PLANNED else ""
        assert re.match(f"Acme Pay{level}( CORRECTION)?( RESOLVED)?: ", content.body)
        assert content.size.encoding == "GSM-7" and content.size.segments <= 2 + (name == "correction")
        assert content.replaced == ()
        by_email = context["recipient"]["by_email"]
        promise = " We'll email an update by 10:25 CET." if by_email else " Next update by 10:25 CET."
        assert content.body.endswith(promise) is (name not in ENDS)
        assert content.body.count("10:25") == (name not in ENDS)
        assert not re.search(r"None|[.!?,;:]\.|  | [.:,]|UTC", content.body)

    def test_the_promise_stands_before_what_to_do_and_the_facts(
        self, audience: str, name: str, make: Any
    ) -> None:
        above, promise, _ = mail(make(audience, name), name).text.partition(PROMISE)
        assert bool(promise) is (name in ONGOING)
        told = r"\n- |can do:|Advice to|Tell customers|problems[?:]|not working\?|don't need to do"
        assert not promise or not re.search(told, above)

    def test_the_inside_stays_inside(self, audience: str, name: str, make: Any) -> None:
        context = make(audience, name)
        if audience not in PUBLIC:
            context.pop("internal")  # a configuration may make any audience public
            context["audience"] |= {"view": "public", "public": True}
        texts = () if name in FOLLOW_UPS else (text_message(context, name).body,)
        assert not re.search(
            r"SEV-|Dana Reyes|payments-api|db-eu-3|88123", "".join(mail(context, name) + texts)
        )


@pytest.mark.parametrize(("audience", "name"), EVERY)
def test_sorry_is_said_once_to_the_public_and_to_others_for_our_own_words_only(
    audience: str, name: str
) -> None:
    for first, late, wrong in ((True, None, []), (False, FACTS["BROKEN"], []), (False, None, [QUOTE])):
        if late and name == "reopened":
            continue  # after an end no promise is open
        if wrong and name in ONGOING and name not in ("correction", "reopened"):
            continue  # then it is a correction
        context = full(audience, name, first=first, estimate_moved=None if first else "later")
        context |= {"broken_promise": late}
        context |= {"corrections": wrong} if wrong else {}
        said = len(re.findall(r"(?i)sorry|apolog", mail(context, name).text))
        owned = audience in PUBLIC or bool(late or wrong) or name == "correction"
        assert said <= owned, (first, late, wrong)


def test_the_first_text_of_the_shipped_example_is_one_segment(tmp_path: Path) -> None:
    content = example_told(tmp_path / "demo", 1, Channel.SMS)
    assert isinstance(content, SmsContent)
    assert (content.size.encoding, content.size.segments) == ("GSM-7", 1), content.body


def estimate(latest: dict[str, str], confidence: str = "low", *, passed: bool = False) -> Context:
    unknown = {"known": True, "earliest": None, "span": None}
    return unknown | {"confidence": confidence, "latest": latest, "passed": passed}


QUOTE = {"at": moment("10:05", "09:05"), "wrong": "3 <hours>", "right": "30 & minutes"}
EXPECTED = {"at": moment("12:00", "11:00"), "passed": False, "was": None}
FACTS: dict[str, Any] = {
    "NOON": moment("12:30", "11:30"),
    "SINCE": moment("09:55", "08:55"),
    "ESTIMATE": estimate(moment("12:05", "11:05")),
    "SURE": estimate(moment("12:05", "11:05"), "high"),
    "AT_ITS_END": estimate(moment("23:30", "22:30", "Sun 29 Nov 2026", later=True)),
    "EARLIER": estimate(moment("10:00", "09:00")),
    "PASSED": estimate(moment("10:00", "09:00"), passed=True),
    "BROKEN": {"promised": moment("10:25", "09:25"), "now": moment("10:37", "09:37"), "late": "12 minutes"},
    "EXPECTED": EXPECTED,
    "LATER": EXPECTED | {"was": moment("10:00", "09:00")},
    "WINDOW": {
        "span": span("22:00", "21:00", "23:30", "22:30", "Sun 29 Nov 2026"),
        "end": moment("23:30", "22:30"),
    },
    "OTHER_WINDOW": {"span": span("20:00", "19:00", "21:30", "20:30", "Sun 29 Nov 2026")},
    "QUOTE": [QUOTE],
    "QUOTED": [QUOTE | {"wrong": "It says “no card”.", "right": 'It says "declined"'}],
    "STOPPED": [QUOTE | {"wrong": "Cards fail again.", "right": "Cards fail."}],
    "JOINED": {"since": moment("10:05", "09:05")},
    "CALENDAR": {"name": "pay7.ics", "text": "", "sequence": 0, "status": "CONFIRMED"},
    "ANSWERS": {each: f"https://acme.example/f?incident=pay7&answer={each}" for each in ("yes", "no")},
}
GROUPS = {
    "every": tuple(MOMENTS),
    "ongoing": ONGOING,
    "ended": ENDS,
}
_TEXT = Path(__file__).with_name("messages.txt").read_text(encoding="utf-8")
RULES = [rule.splitlines() for rule in re.split(r"\n(?=\S)", _TEXT) if not rule.startswith("#")]


def told(rule: Sequence[str]) -> Iterator[Any]:
    """Yield a case for each audience and moment of a rule."""
    name, where = rule[0].rsplit(": ", 1)
    asked, *more = re.split(r"(?:^|\s)to\s|,", where)
    audiences = [audience for audience in AUDIENCES if {"all", audience} & set(" ".join(more).split())]
    chosen = [each for group in asked.split() for each in GROUPS.get(group, (group,))]
    make = minimal if " minimal" in more else full
    for audience in audiences or ["customers"]:
        for each in chosen:
            yield pytest.param(make, audience, each, rule[1:], id=f"{name}, {each} to {audience}")


def set_in(context: Context, changes: str) -> None:
    """Set values such as update.duration = null; a name in capitals is one of FACTS."""
    for change in changes.split("; "):
        path, value = change.split(" = ")
        *parents, name = path.split(".")
        place = context
        for parent in parents:
            place = place[parent]
        place[name] = FACTS[value] if value.isupper() else json.loads(value)


@pytest.mark.parametrize(("make", "audience", "name", "lines"), [x for rule in RULES for x in told(rule)])
def test_what_a_message_says(make: Any, audience: str, name: str, lines: Sequence[str]) -> None:
    context = make(audience, name)
    rows = [tuple(line.split(maxsplit=1)) for line in lines]
    for _, changes in (row for row in rows if row[0] == "set"):
        set_in(context, changes)
    content = mail(context, name)
    parts = {
        "mail": [f"{content.subject}\n{content.text}"],
        "html": [content.html],
        "both": [content.text, content.html],
    }
    if any("sms" in row[0] for row in rows):
        parts["sms"] = [f"{text_message(context, name).body}$"]
    for kind, words in (row for row in rows if row[0] != "set"):
        for part in parts[kind.removeprefix("!")]:
            if kind.startswith("!"):
                assert not re.search(words, part)
            else:
                wanted = words.replace("\\n", "\n")
                assert wanted in (part if "\n" in wanted else " ".join(part.split()))


def test_a_busy_reader_is_done_soon() -> None:
    for audience in ("customers", "executives"):
        body, _, _ = mail(full(audience, "found", first=True, because=None), "found").text.partition(
            "\n---\n"
        )
        assert 60 <= len(body.split()) <= 120
    for make, name in ((minimal, "first_notice"), (full, "resolved"), (minimal, "planned_work")):
        assert text_message(make("customers", name), name).size.segments == 1


def test_a_newcomer_can_read_and_change_a_template() -> None:
    """Short files, no expression over a line, and no question after the status: the file's name answers."""
    folder, lines = shipped_templates(), 0
    for file in sorted(folder.rglob("*.j2")):
        text = file.read_text(encoding="utf-8")
        if file.relative_to(folder).parts[0] in ("de", "fr", "es"):
            continue
        lines += len(text.splitlines())
        assert file.name == "layout.html.j2" or len(text.splitlines()) <= 60, file
        assert all(line.count("{{") == line.count("}}") for line in text.splitlines()), file
        assert all(line.count("{%") == line.count("%}") for line in text.splitlines()), file
        assert not re.search(r"update\.status|\bmail\b", text), file
    assert lines < 700


def test_hostile_text_is_shown_as_text() -> None:
    context = full("customers", "first_notice", issue='<b onclick=x>{{ 7*7 }}</b> & "q" **bold** [x](y)')
    context["incident"]["title"] = "</title><script>alert(1)</script>"
    context["recipient"]["greeting"] = "Hello <i>O'Neil</i>,"
    context["contact"]["phone"] = "<a href=x>"
    context["incident"]["affected"] = ["<u>Pay</u>", "A&B"]
    content = mail(context, "first_notice")
    page = Page(content.html)
    assert page.faults == []
    assert not re.search(r"<(script|b|i|u|a href=x)[ >]", content.html)
    assert "&amp;lt;" not in content.html, "escaped once, not twice"
    assert "{{ 7*7 }}" in content.text and '{{ 7*7 }}</b> & "q" **bold** [x](y).' in page.body
    assert "Hello <i>O'Neil</i>," in content.text


MARKS = st.sampled_from(
    (
        *"*_`#<>&[]()!|~-+1.\\\"'= ",
        "\n",
        "\n\n",
        "- ",
        "> ",
        "](",
        "**",
        "---",
        "{{ x }}",
        "مرحبا",
        "a",
        "&amp;",
    )
)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Cf", "Co", "Cn"]), min_size=1)
WORDS = (ANY_TEXT | st.lists(MARKS, min_size=1, max_size=20).map("".join)).map(str.strip).filter(bool)


@given(st.lists(WORDS, min_size=1, max_size=4), WORDS, st.sampled_from(EVERY))
def test_whatever_an_author_writes_text_and_html_say_the_same(
    said: list[str], name: str, which: tuple[str, str]
) -> None:
    """And no value of it is read as Markdown: the tags are those of any other message."""
    audience, moment = which
    texts = (dict(zip(SENTENCES, cycle(each), strict=False)) for each in (said, "x"))
    context, plain = (full(audience, moment, **each) for each in texts)
    context["recipient"]["greeting"] = f"Hello {' '.join(name.split())},"
    content, usual = mail(context, moment), mail(plain, moment)
    page = Page(content.html)
    assert page.faults == []
    assert words_of(page.body) == words_of(content.text)
    shown, expected = (
        [tag for tag, _ in each.tags if tag not in ("br", "span")] for each in (page, Page(usual.html))
    )
    assert shown == expected


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours such as #1a2b3c, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("tone", ["good", "watch", "calm", "plan", "bad"])
def test_colours_contrast_in_light_and_dark(tone: str) -> None:
    """WCAG 2 AA: at least 4.5 to 1 for text. In the dark the classes replace the inline colours."""
    html = mail(full("customers", "found") | {"tone": tone}, "found").html
    head = re.search(r"<td style=\"background-color:(#\w{6});[^\"]*color:(#\w{6});", html)
    assert head and contrast(*head.groups()) >= 4.5
    pair = r"background-color: ?(#\w{6})[^\"}]*?(?<!-)\bcolor: ?(#\w{6})"
    for place in ("text", "foot", "promise"):
        inline = re.search(rf'class="{place}"[^>]*style="[^"]*?{pair}', html)
        dark = re.search(rf"\.{place} \{{ {pair}", html)
        assert inline and dark, place
        link = (
            re.search(r"<a [^>]*color: (#\w{6})", html),
            re.search(r"\.text a, \.foot a \{ color: (#\w{6})", html),
        )
        for (back, ink), its_link in zip((inline.groups(), dark.groups()), link, strict=True):
            assert its_link and min(contrast(back, ink), contrast(back, its_link[1])) >= 4.5, place
    # Every coloured element has a dark colour, except the head, whose colours are made for both.
    styled = re.findall(r"<(\w+) ([^>]*style=\"[^\"]*(?<!-)color: ?#[^>]*)>", html.partition("</h1>")[2])
    assert styled and [tag for name, tag in styled if "class=" not in tag and name != "a"] == []
