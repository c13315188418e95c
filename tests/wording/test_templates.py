"""The shipped templates: each phase holds what it must and nothing it must not, for each audience."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest
from jinja2 import Environment, nodes

from commcast.model.incident import END_STATUSES, MAINTENANCE_STATUSES, Channel, Status, View
from commcast.rendering.render import EmailContent, Renderer, SmsContent
from commcast.rendering.templates import Templates, Wording, shipped_templates
from tests.support.values import AUDIENCES, ENDS, MAINTENANCE, PHASES, PUBLIC, Context, full, minimal, moment

ONGOING = tuple(status for status in PHASES if status not in ENDS)
EVERY = [(audience, status) for audience in AUDIENCES for status in PHASES]
VOID = frozenset(("meta", "br", "hr"))


@cache
def renderer(audience: str, status: str, channel: Channel) -> Renderer:
    view = View.PUBLIC if audience in PUBLIC else View.INTERNAL
    return _compiled(
        Templates(None, shipped_templates()).choose(audience, view, status, "", channel).to_json()
    )


@cache
def _compiled(wording: str) -> Renderer:
    return Renderer(Wording.from_json(wording))


def mail(context: Context) -> EmailContent:
    chosen = renderer(context["audience"]["name"], context["update"]["status"], Channel.EMAIL)
    return chosen.email(context, context["recipient"])


def text_message(context: Context) -> SmsContent:
    if context["next_word"] == "update" and context["recipient"]["by_email"]:
        context = context | {"next_word": "email"}
    chosen = renderer(context["audience"]["name"], context["update"]["status"], Channel.SMS)
    return chosen.sms(context, context["recipient"])


class Page(HTMLParser):
    """Reads a mail as a strict parser: `texts` are its visible pieces, `faults` what is not well-formed."""

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


def test_the_test_story_knows_every_status() -> None:
    assert set(PHASES) == {status.value for status in Status}
    assert set(MAINTENANCE) == {status.value for status in MAINTENANCE_STATUSES}
    assert set(ENDS) == {status.value for status in END_STATUSES}


@pytest.mark.parametrize("make", [full, minimal])
@pytest.mark.parametrize(("audience", "status"), EVERY)
class TestEveryMessage:
    def test_a_mail_is_whole(self, audience: str, status: str, make: Any) -> None:
        """It greets, names the phase, the headline and the reference, and no hole is left in it."""
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

    def test_a_text_message_is_cheap_and_promises_what_texts_keep(
        self, audience: str, status: str, make: Any
    ) -> None:
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

    def test_the_inside_stays_inside(self, audience: str, status: str, make: Any) -> None:
        context = make(audience, status)
        if audience not in PUBLIC:
            context.pop("internal")  # a configuration may make any audience public
        content = mail(context)
        everything = content.subject + content.text + content.html + text_message(context).body
        assert not re.search(r"SEV-|Dana Reyes|payments-api|db-eu-3|88123", everything)

    def test_it_apologises_once_at_most(self, audience: str, status: str, make: Any) -> None:
        text = mail(make(audience, status, first=True)).text
        assert len(re.findall(r"(?i)sorry|apolog", text)) <= (audience in PUBLIC)


@pytest.mark.parametrize("audience", AUDIENCES)
@pytest.mark.parametrize("status", ONGOING)
def test_until_the_end_every_mail_says_when_the_next_one_comes(audience: str, status: str) -> None:
    for make in (full, minimal):
        content = mail(make(audience, status))
        assert "Next update: by 10:25 CET (09:25 UTC), even if there is nothing new." in content.text
        assert "by 10:25 CET (09:25 UTC)" in content.html


@pytest.mark.parametrize("audience", AUDIENCES)
@pytest.mark.parametrize("status", ENDS)
def test_an_end_promises_nothing_more(audience: str, status: str) -> None:
    content = mail(full(audience, status))
    assert not re.search(r"(?i)next update|expected end|how long", content.text + content.html)


INCIDENT_FACTS = (
    "Some EU customers see an error when they pay by card.",
    "card payments in the EU; bank transfer works",
    "Card payments, Refunds",
    "We are rolling back the 09:45 release and checking that payments recover.",
    "between 11:05 and 12:05 CET (10:05 to 11:05 UTC)",
    "Please do not pay twice; we show pending payments under Orders.",
    "Started: 09:52 CET (08:52 UTC)",
)
WINDOW = "Sun 29 Nov 2026, 22:00 to 23:30 CET (21:00 to 22:30 UTC), 1 hour 30 minutes"
WINDOW_BEFORE = "Sun 29 Nov 2026, 20:00 to 21:30 CET (19:00 to 20:30 UTC)"
MAINTENANCE_FACTS = (
    "Card payments pause for up to 10 minutes within this time.",
    "We move the payment database to new hardware.",
    "Please run your payouts before 22:00 CET.",
    "Card payments, Refunds",
)
ENDED_FACTS = (
    "Ended: 12:10 CET (11:10 UTC), after 2 hours 18 minutes",
    "What remains: Receipts of the last two hours arrive by tonight.",
    "Sign out, sign in again, then write to us.",
    "What we did: We rolled back the 09:45 release.",
    "Card payments, Refunds",
    "card payments in the EU; bank transfer works",
)
MUST = {
    "investigating": INCIDENT_FACTS,
    "identified": (*INCIDENT_FACTS, "We have found what is wrong"),
    "monitoring": (
        *INCIDENT_FACTS,
        "As of 10:05 CET (09:05 UTC) a fix is in place",
        "Sign out, sign in again, then write to us.",
        "When we close this: Only once it has stayed stable.",
    ),
    "reopened": (*INCIDENT_FACTS, "This is not over after all."),
    "expected": (*INCIDENT_FACTS[:-1], "so that you can prepare"),
    "resolved": (
        *ENDED_FACTS,
        "\n\nThis is over.\n\n",
        "Started: 09:52 CET (08:52 UTC)",
        "Some EU customers see an error",
    ),
    "retracted": ("We withdraw what we told you", "Why: The first check was wrong."),
    "merged": ("This is part of another incident", "Messages under pay7 end here", *INCIDENT_FACTS[:3]),
    "scheduled": (
        *MAINTENANCE_FACTS,
        f"When: {WINDOW}",
        "Why: The first check was wrong.",
        ": Reply to this mail or call +49 30 5550100",
    ),
    "rescheduled": (*MAINTENANCE_FACTS, f"New time: {WINDOW}", f"Before it was: {WINDOW_BEFORE}", "Why:"),
    "in_progress": (*MAINTENANCE_FACTS, "has started", "Planned end: Sun 29 Nov, 23:30 CET (22:30 UTC)"),
    "verifying": (*MAINTENANCE_FACTS, "is done, and we are checking", "Sign out, sign in again"),
    "extended": (
        *MAINTENANCE_FACTS,
        "New end: Sun 29 Nov, 23:30 CET (22:30 UTC)",
        f"Now planned for: {WINDOW}",
        f"Before it was: {WINDOW_BEFORE}",
        "Why: The first check was wrong.",
    ),
    "completed": (*ENDED_FACTS, "The planned work is complete."),
    "cancelled": ("The planned work is cancelled.", f"It was planned for: {WINDOW}", "Why:"),
}
MUST_NOT = {
    "investigating": r"The first check was wrong|found what is wrong|fix is in place",
    "expected": r"Started",
    "monitoring": r"(?i)resolved|fixed|is over\b",
    "resolved": r"(?i)next update|no lingering|We are working",
    "retracted": r"rolling back|pay twice|Started",
    "completed": r"Started",
    "cancelled": r"pause for up to|payouts",
    "scheduled": r"Started|sorry",
}


@pytest.mark.parametrize("audience", AUDIENCES)
@pytest.mark.parametrize("status", PHASES)
class TestPhases:
    def test_each_phase_holds_what_it_must(self, audience: str, status: str) -> None:
        text = mail(full(audience, status)).text
        folded = text.replace("Between", "between")
        assert [fact for fact in MUST[status] if fact not in folded] == []

    def test_no_phase_holds_what_it_must_not(self, audience: str, status: str) -> None:
        context = full(audience, status)
        if audience in PUBLIC or status != "investigating":  # colleagues may hear of a cause at once
            for make in (full, minimal):
                assert not re.search(MUST_NOT.get(status, "(?!)"), mail(make(audience, status)).text)
        assert context["update"]["status"] == status


def test_unknown_things_are_said_plainly() -> None:
    text = mail(minimal("customers", "investigating")).text
    assert "Who is affected: We do not know yet." in text
    assert "How long: We cannot say yet." in text


def test_who_is_affected_is_unknown_only_where_nobody_named_it() -> None:
    """Neither a service of a public name nor one that readers have no name for."""
    context = minimal("customers", "investigating")
    context["incident"]["affected_known"] = True
    assert "Who is affected" not in mail(context).text
    assert "Who is affected" not in mail(minimal("customers", "identified")).text


@pytest.mark.parametrize("audience", AUDIENCES)
@pytest.mark.parametrize("status", ["investigating", "identified", "monitoring", "reopened", "resolved"])
def test_a_start_that_nobody_wrote_is_not_claimed(audience: str, status: str) -> None:
    context = full(audience, status, duration=None)
    context["incident"]["started_known"] = False
    text = mail(context).text
    assert "Known to us since: 09:52 CET (08:52 UTC)" in text
    assert not re.search(r"Started|counted from|\bafter \d", text)
    assert ", after" not in text_message(context).body


def test_the_first_message_says_sorry_and_later_ones_do_not_repeat_it() -> None:
    assert (
        "We are sorry for the trouble this causes you."
        in mail(minimal("customers", "identified", first=True)).text
    )
    assert "sorry" not in mail(minimal("customers", "identified")).text
    assert "We are sorry for the trouble this caused you." in mail(minimal("customers", "resolved")).text


@pytest.mark.parametrize(
    ("confidence", "first", "said"),
    [
        ("low", True, "Expected end: By 12:05 CET (11:05 UTC); this is our first estimate and may change."),
        ("low", False, "Expected end: By 12:05 CET (11:05 UTC); this is an estimate and may change."),
        ("high", True, "Expected end: By 12:05 CET (11:05 UTC)."),
    ],
)
def test_an_estimate_is_as_sure_as_its_writer(confidence: str, first: bool, said: str) -> None:
    latest = moment("12:05", "11:05")
    timeframe = {
        "known": True,
        "confidence": confidence,
        "earliest": None,
        "latest": latest,
        "span": None,
        "passed": False,
    }
    assert said in mail(minimal("customers", "identified", timeframe=timeframe, first=first)).text


def test_an_estimate_that_has_passed_is_owned() -> None:
    context = full("customers", "identified", at=moment("12:30", "11:30"))
    context["update"]["timeframe"]["passed"] = True
    text = mail(context).text
    assert "Longer than we said: our estimate was between 11:05 and 12:05 CET (10:05 to 11:05 UTC)." in text
    assert "Expected end" not in text


def test_a_window_is_not_repeated_as_an_estimate() -> None:
    context = full("customers", "in_progress")
    context["update"]["timeframe"] |= {
        "earliest": None,
        "latest": context["update"]["window"]["end"],
        "span": None,
    }
    assert "Expected end" not in mail(context).text
    assert "Expected end" in mail(full("customers", "in_progress")).text


@pytest.mark.parametrize("audience", AUDIENCES)
@pytest.mark.parametrize("status", ["scheduled", "rescheduled"])
def test_work_that_is_planned_has_its_window_and_no_estimate(audience: str, status: str) -> None:
    context = full(audience, status)
    assert not re.search("Expected end|How long", mail(context).text)
    assert "Estimate" not in text_message(context).body


def test_an_estimate_is_never_moved_without_a_word() -> None:
    before = {
        "known": True,
        "confidence": "low",
        "earliest": None,
        "latest": moment("10:00", "09:00"),
        "span": None,
    }
    passed = mail(full("customers", "identified", earlier_timeframe={**before, "passed": True})).text
    assert "Our earlier estimate, by 10:00 CET (09:00 UTC), has passed." in passed
    moved = mail(full("customers", "identified", earlier_timeframe={**before, "passed": False})).text
    assert "Our earlier estimate, by 10:00 CET (09:00 UTC), no longer stands." in moved


def test_an_estimate_that_has_passed_is_no_estimate_in_a_text() -> None:
    context = full("customers", "investigating")
    assert "Estimate: " in text_message(context).body
    context["update"]["timeframe"]["passed"] = True
    body = text_message(context).body
    assert "Estimate" not in body
    assert re.search(r"Longer than we said \(.*\d\d:\d\d.*\), no new estimate yet\.", body)


def test_the_end_by_text_says_on_which_condition_to_act() -> None:
    context = full("customers", "resolved")
    context["update"]["if_it_persists"] = "Call us."
    assert "If it persists: Call us." in text_message(context).body


def holding(step: int, age: str) -> dict[str, Any]:
    return {
        "since": moment("10:05", "09:05"),
        "now": moment("10:22", "09:22"),
        "age": age,
        "step": step,
    }


@pytest.mark.parametrize("audience", AUDIENCES)
def test_no_two_holding_statements_in_a_row_are_alike(audience: str) -> None:
    said = []
    for step in range(1, 6):
        context = full(audience, "identified") | {"holding": holding(step, f"{20 * step} minutes")}
        said.append(mail(context).text)
        assert "10:05 CET (09:05 UTC)" in said[-1].partition("\n\n")[2]
        assert "We have found" not in said[-1]  # nobody said that just now
    assert len(set(said)) == len(said)


@pytest.mark.parametrize("status", ["investigating", "monitoring", "resolved"])
def test_a_broken_promise_is_owned_with_both_times(status: str) -> None:
    broken = {"promised": moment("10:25", "09:25"), "now": moment("10:37", "09:37"), "late": "12 minutes"}
    shown = mail(full("customers", status) | {"broken_promise": broken})
    owned = "We had promised to write by 10:25 CET (09:25 UTC) and write only now, at 10:37 CET (09:37 UTC)"
    assert owned in shown.text
    assert owned in shown.html


@pytest.mark.parametrize("audience", AUDIENCES)
def test_holding_words_say_since_when_nothing_is_new(audience: str) -> None:
    since = moment("09:55", "08:55")
    context = full(audience, "identified", nothing_new="rollback at 60%", unchanged_since=since)
    assert "Nothing new to report since 09:55 CET (08:55 UTC): rollback at 60%.\n" in mail(context).text
    assert "No change since 09:55 CET: rollback at 60%." in text_message(context).body
    context["update"]["unchanged_since"] = None
    assert "Nothing new to report: rollback at 60%.\n" in mail(context).text


@pytest.mark.parametrize("audience", AUDIENCES)
def test_a_holding_statement_keeps_what_a_person_said_last(audience: str) -> None:
    """That the rollback was at 60% is no news, and still the last word of somebody."""
    context = full(audience, "identified", nothing_new="rollback at 60%") | {
        "holding": holding(1, "20 minutes")
    }
    content = mail(context)
    said = f"Our last word, of {context['update']['at']['both']}: rollback at 60%"
    assert said in " ".join(content.text.split())
    assert "rollback at 60%" in content.html


def test_a_change_of_severity_comes_first() -> None:
    worse = full("customers", "identified", severity_changed="worse")
    assert "\n\nThis is worse than we told you before. We have found" in mail(worse).text
    assert "IDENTIFIED: Worse than before." in text_message(worse).body
    assert "less severe" in mail(full("customers", "identified", severity_changed="better")).text
    assert "less severe" not in mail(full("customers", "resolved", severity_changed="better")).text


@pytest.mark.parametrize(
    ("contact", "said"),
    [
        ({"reply_to": "h@acme.example"}, "Questions: reply to this mail. \n"),
        ({"phone": "+49 30 1"}, "Questions: call +49 30 1. \n"),
        ({"phone": "+49 30 1", "hours": "Mon-Fri"}, "Questions: call +49 30 1 (Mon-Fri). \n"),
        ({"phone": "+49 30 1", "after_hours": "write to us"}, "call +49 30 1. After hours: write to us.\n"),
        (
            {"reply_to": "h@acme.example", "phone": "+49 30 1", "hours": "Mon-Fri", "after_hours": "wait"},
            "Questions: reply to this mail or call +49 30 1 (Mon-Fri). Outside these hours: wait.\n",
        ),
    ],
)
def test_only_ways_of_contact_that_exist_are_offered(contact: dict[str, str], said: str) -> None:
    context = minimal("customers", "investigating")
    context["contact"] |= contact
    assert said.replace(" \n", "\n") in mail(context).text
    assert "Questions" not in mail(minimal("customers", "investigating")).text


def test_who_still_sees_it_is_sent_only_where_somebody_reads() -> None:
    context = minimal("customers", "resolved")
    assert "If you still see it" not in mail(context).text
    context["contact"]["reply_to"] = "help@acme.example"
    assert "If you still see it: Reply to this mail and tell us what you see." in mail(context).text


@pytest.mark.parametrize(
    ("next_word", "status_url", "promise"),
    [
        ("email", "https://status.acme.example", "Updates by email."),
        ("update", "https://status.acme.example", "Next text by 10:25 CET. https://status.acme.example"),
        ("update", "", "Next text by 10:25 CET."),
        ("key", "", "We text you when something important changes."),
        ("end", "", "We text you when it is over."),
    ],
)
def test_a_text_message_promises_what_its_reader_gets(next_word: str, status_url: str, promise: str) -> None:
    context = full("customers", "investigating")
    context["organisation"]["status_url"] = status_url
    context["recipient"]["by_email"] = next_word == "email"
    assert text_message(context | {"next_word": next_word}).body.endswith(promise)


@pytest.mark.parametrize(
    ("next_word", "promise"),
    [("key", "when something important changes, and when it is over."), ("end", "when it is over.")],
)
@pytest.mark.parametrize("audience", AUDIENCES)
def test_a_mail_promises_no_time_to_who_wants_less_than_all(
    audience: str, next_word: str, promise: str
) -> None:
    context = full(audience, "identified") | {"next_word": next_word, "next_update_by": None}
    content = mail(context)
    assert f"Next update: {promise}" in content.text
    assert promise in content.html
    assert "10:25" not in content.text + content.html


def test_what_a_cap_held_back_is_one_line_in_the_next_message() -> None:
    for held_back, said in ((1, "We held back 1 message to you"), (2, "We held back 2 messages to you")):
        content = mail(full("customers", "identified") | {"held_back": held_back})
        assert said in content.text and said in content.html
    assert text_message(full("customers", "identified") | {"held_back": 2}).body.endswith(
        "2 texts held back before."
    )


def test_a_text_message_of_short_facts_is_one_segment() -> None:
    context = full("customers", "investigating", scope=None, action=None)
    assert text_message(context).size.segments == 1
    assert text_message(full("customers", "resolved", if_it_persists=None)).size.segments == 1


AUDIENCE_NEEDS = {
    "executives": ("SEV-1 IDENTIFIED: ", "Impact: ", "Led by: Dana Reyes"),
    "support": (
        "\n- What customers see: ",
        "\n- Please do not say: ",
        "\n- Tag: Mark every ticket about this with pay7.",
        "\n- Escalate to: Dana Reyes",
        "\n- Internal, not for customers: db-eu-3",
    ),
    "partners": ("counted from: Sat 21 Nov 2026, 09:52 CET (08:52 UTC)", "may forward this message"),
    "internal": (
        "SEV-1",
        "Components: payments-api",
        "may be unconfirmed, do not pass on: db-eu-3",
        "Dana Reyes",
    ),
    "customers": ("What you may see: ", "What you can do: "),
}


@pytest.mark.parametrize("audience", AUDIENCES)
def test_each_audience_finds_what_it_needs(audience: str) -> None:
    text = mail(full(audience, "identified")).text
    assert [need for need in AUDIENCE_NEEDS[audience] if need not in text] == []


@pytest.mark.parametrize(("audience", "most"), [("customers", 150), ("executives", 120)])
def test_a_busy_reader_is_done_soon(audience: str, most: int) -> None:
    """Counted as typical: all facts of the first hour, without the foot."""
    body = mail(full(audience, "identified", first=True, because=None)).text.partition("Questions:")[0]
    assert 60 <= len(body.split()) <= most
    if audience == "executives":
        assert "db-eu-3" not in body


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


def test_sentences_of_several_lines_keep_them() -> None:
    content = mail(full("customers", "investigating", action="First this.\nThen that."))
    assert "First this.\nThen that." in content.text
    assert "First this.\nThen that.</p>" in content.html


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("status", PHASES)
def test_colours_contrast_in_light_and_dark(status: str) -> None:
    """WCAG 2 AA: at least 4.5 to 1 for text. In the dark the classes replace the inline colours."""
    html = mail(full("customers", status)).html
    head = re.search(r"<td style=\"background-color:(#\w{6});[^\"]*color:(#\w{6});", html)
    assert head and _contrast(*head.groups()) >= 4.5
    dark = {
        name: dict(re.findall(r"(background-color|(?<!-)\bcolor|border-color): (#\w{6})", rules))
        for name, rules in re.findall(r"\.(\w+) \{ ([^}]*) \}", html)
    }
    card = dark["card"]["background-color"]
    assert min(_contrast(dark[name]["color"], card) for name in ("text", "quiet", "link")) >= 4.5
    assert _contrast(dark["promise"]["color"], dark["promise"]["background-color"]) >= 4.5
    inline = re.findall(r"class=\"(text|quiet|link|promise|foot quiet)\"[^>]*?[;\"]color:(#\w{6})", html)
    assert {name for name, _ in inline} >= {"text", "quiet", "link"}
    assert all(_contrast(colour, "#ffffff") >= 4.5 for name, colour in inline if name != "promise")
    promise = re.search(r"class=\"promise\"[^>]*background-color:(#\w{6})[^>]*;color:(#\w{6})", html)
    assert promise is None or _contrast(*promise.groups()) >= 4.5


def test_every_coloured_element_has_a_dark_colour() -> None:
    """But for the head, whose colours are made for both."""
    html = mail(full("customers", "identified")).html
    body = html.partition("</h1>")[2]
    styled = re.findall(r"<\w+ ([^>]*style=\"[^\"]*(?<!-)color:#[^>]*)>", body)
    assert styled and [tag for tag in styled if "class=" not in tag] == []


def test_mails_use_a_reader_only_bare() -> None:
    """So a mail can be rendered once and a person's values put in: no filter, macro or set touches it."""
    for path in sorted(shipped_templates().rglob("*.j2")):
        if path.name == "sms.txt.j2":
            continue
        tree = Environment(autoescape=True).parse(path.read_text(encoding="utf-8"))
        printed = [
            node.node
            for output in tree.find_all(nodes.Output)
            for node in output.nodes
            if isinstance(node, nodes.Getattr)
        ]
        uses = [name for name in tree.find_all(nodes.Name) if name.name == "recipient"]
        assert [use for use in uses if not any(use is each for each in printed)] == [], path.name
