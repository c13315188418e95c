"""The shipped words of corrections, of what newcomers read, of follow-ups and of the question at the end."""

from __future__ import annotations

from typing import Any

import pytest

from commcast.model.incident import Channel, Status, View
from commcast.rendering.render import EmailContent, Renderer, SmsContent
from commcast.rendering.templates import Templates, shipped_templates
from tests.support.values import AUDIENCES, PUBLIC, full, moment

SHIPPED = Templates(None, shipped_templates())
QUOTE = {"at": moment("10:05", "09:05"), "wrong": "3 <hours>", "right": "30 & minutes"}
ANSWERS = {answer: f"https://acme.example/f?incident=pay7&answer={answer}" for answer in ("yes", "no")}


def rendered(audience: str, status: str, **changes: Any) -> tuple[EmailContent, SmsContent]:
    context = full(audience, status) | changes
    recipient = context.pop("recipient")
    view = View.PUBLIC if audience in PUBLIC else View.INTERNAL
    found = [SHIPPED.choose(audience, view, Status(status), "", channel) for channel in Channel]
    return Renderer(found[0]).email(context, recipient), Renderer(found[1]).sms(context, recipient)


@pytest.mark.parametrize("audience", AUDIENCES)
@pytest.mark.parametrize("status", ["investigating", "monitoring", "resolved", "in_progress"])
def test_a_correction_says_what_was_wrong_when_and_what_is_right(audience: str, status: str) -> None:
    mail, text = rendered(audience, status, corrections=[QUOTE], label="Correction")
    assert mail.subject.startswith("[Correction] ")
    said = " ".join(mail.text.split())
    assert "In our message of 10:05 CET (09:05 UTC) we said “3 <hours>”." in said
    assert "right is: “30 & minutes”." in said
    assert "CORRECTION, " in mail.text
    assert "3 &lt;hours&gt;" in mail.html
    assert 'In our message of 10:05 CET we said "3 <hours>", right is "30 & minutes".' in text.body


@pytest.mark.parametrize("audience", AUDIENCES)
def test_quoted_words_that_end_in_a_stop_get_no_second_one(audience: str) -> None:
    quote = QUOTE | {"wrong": "Cards fail again.", "right": "Cards fail."}
    mail, text = rendered(audience, "investigating", corrections=[quote], label="Correction")
    said = " ".join(mail.text.split())
    assert "we said “Cards fail again.” That was wrong; right is: “Cards fail.” " in said
    assert 'we said "Cards fail again.", right is "Cards fail." ' in text.body


@pytest.mark.parametrize("audience", AUDIENCES)
def test_a_newcomer_reads_that_it_is_not_new(audience: str) -> None:
    mail, text = rendered(audience, "identified", catch_up={"since": moment("10:05", "09:05")})
    assert "our first message about it was of 10:05 CET (09:05 UTC)" in " ".join(mail.text.split())
    assert "No change" not in text.body


@pytest.mark.parametrize("audience", AUDIENCES)
@pytest.mark.parametrize("status", ["resolved", "completed", "retracted", "merged", "cancelled"])
@pytest.mark.parametrize("kind", ["review", "check-in"])
def test_a_follow_up_says_what_it_is(audience: str, status: str, kind: str) -> None:
    label = {"review": "Review", "check-in": "How is it now?"}[kind]
    link = "https://acme.example/reviews/pay7"
    mail, _ = rendered(audience, status, follow_up={"kind": kind, "review": link}, label=label)
    assert mail.subject.startswith(f"[{label}] ")
    assert label.upper() in mail.text
    assert (link in mail.text) == (kind == "review")
    assert "sorry" not in mail.text
    assert "Next update" not in mail.text


@pytest.mark.parametrize("audience", AUDIENCES)
def test_the_end_asks_by_links_that_stand_on_lines_of_their_own(audience: str) -> None:
    mail, text = rendered(audience, "resolved", feedback=ANSWERS)
    assert f"\n\nDid we keep you well informed?\nYes: {ANSWERS['yes']}\nNo: {ANSWERS['no']}\n\n" in mail.text
    assert ANSWERS["yes"].replace("&", "&amp;") in mail.html
    assert "informed" not in text.body


def test_what_is_merged_names_where_it_goes_on() -> None:
    mail, text = rendered("customers", "merged")
    assert "“The network is slow” (net3)" in " ".join(mail.text.split())
    assert "The network is slow (net3)" in text.body
