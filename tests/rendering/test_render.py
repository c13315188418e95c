"""From context to content: what an audience may see, and that content is complete, bounded and safe."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from functools import reduce
from operator import getitem
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.errors import TemplateError
from commcast.model.incident import (
    AudienceWords,
    Channel,
    Kind,
    NextWord,
    Recipient,
    Status,
    Timeframe,
    Update,
    Window,
)
from commcast.rendering.context import NO_OCCASION, Correction, Occasion, build_context, recipient_values
from commcast.rendering.moments import FOLLOW_UPS, MOMENTS, moment_of, moments_on
from commcast.rendering.render import EmailContent, Renderer, SmsContent
from commcast.rendering.templates import Wording
from tests.support.values import AT, config_of, full, incident_of, update_of

BERLIN = ZoneInfo("Europe/Berlin")
NEXT = AT + timedelta(minutes=20)
PUBLIC_KEYS = {
    *(
        "organisation",
        "brand",
        "contact",
        "incident",
        "planned",
        "tone",
        "update",
        "next_update_by",
        "promised_at_start",
        "sent",
        "next_word",
    ),
    *(
        "facts_from",
        "broken_promise",
        "holding",
        "reminder",
        "calendar",
        "corrections",
        "catch_up",
        "held_back",
    ),
    *("follow_up", "feedback", "merged_into", "audience", "language"),
}
DESK = config_of(
    contact={"reply_to": "help+{id}@acme.example", "phone": "+49 30 5550100"},
    people={"dana": {"name": "Dana Reyes", "email": "dana@acme.example", "phone": "+4915199999901"}},
    components={"payments-api": {"public": "Card payments"}, "payments-db": {"public": "Card payments"}},
    channels={"email": {"from": "status@acme.example"}, "sms": {}},
    audiences={
        "customers": {"recipients": "a.csv", "channels": ["email", "sms"]},
        "texted": {"recipients": "a.csv", "channels": ["sms"]},
        "support": {"recipients": "b.csv", "view": "internal"},
    },
)


def update(number: int = 1, status: Status = Status.INVESTIGATING, **changes: Any) -> Update:
    fields: dict[str, Any] = {"at": AT, "severity": 2, "affected": ("payments-api", "payments-db")}
    fields |= {"owner": "dana", "issue": "Some customers see an error."}
    return update_of(number, status, **{**fields, **changes})


def context(told: Update, audience: str = "customers", earlier: Any = (), **more: Any) -> dict[str, Any]:
    asked = {"previous": more.pop("previous", None), "occasion": more.pop("occasion", NO_OCCASION)}
    asked["language"] = more.pop("language", "en")
    asked["next_update_by"] = None if told.is_end or not more.pop("promised", True) else told.at + (NEXT - AT)
    incident = incident_of(*earlier, told, **{"started": AT - timedelta(minutes=13), **more})
    first = not earlier
    return build_context(DESK, incident, told, audience, zone=BERLIN, first=first, **asked)


def after(hours: float) -> datetime:
    return AT + timedelta(hours=hours)


# In the autumn night 02:45+02:00 is before 02:30+01:00, whatever their texts look like.
SUMMER = datetime(2026, 10, 25, 2, 45, tzinfo=timezone(timedelta(hours=2)))
WINTER = datetime(2026, 10, 25, 2, 30, tzinfo=timezone(timedelta(hours=1)))
AUTUMN = update(at=SUMMER, timeframe=Timeframe(latest=WINTER))
HALF_PAST = update(timeframe=Timeframe(latest=after(0.5)))
RANGE = update(timeframe=Timeframe(earliest=after(1), latest=after(2)))
OLD, NEW = Window(start=AT, end=NEXT), Window(start=NEXT, end=after(1.5))
NIGHT = Window(start=after(48), end=after(51))
WORK = (
    update(status=Status.SCHEDULED, window=NIGHT),
    update(2, Status.IN_PROGRESS, at=NIGHT.start + timedelta(minutes=5)),
)
DONE = update(3, Status.COMPLETED, at=after(50), ended=after(50), window=NIGHT)
LONGER = DONE.model_copy(update={"window": Window(start=NIGHT.start, end=NIGHT.end + timedelta(hours=1))})
BACK = (
    update(),
    update(2, Status.RESOLVED, at=after(1), ended=after(0.5)),
    update(3, Status.REOPENED, at=after(4)),
)
AGAIN = update(4, Status.RESOLVED, at=after(6), ended=after(5))
RESOLVED = update(status=Status.RESOLVED, ended=AT + timedelta(minutes=112))
BETTER = update(2, Status.MONITORING, issue="Most cards work again.")
GERMAN = {"de": {"issue": "Fehler.", "resolution": "Wir drehen zurück."}}
WAITING = {"support": AudienceWords(resolution="We wait.")}
PAYOUTS = update(status=Status.SCHEDULED, window=NIGHT, action="Run payouts before.")
NO_NEWS = (update(), update(2, at=NEXT, nothing_new="still rolling back"))
SPECIAL = update(words_in_force={"support": AudienceWords(issue="Card revenue is down 40%.")})


@pytest.mark.parametrize(
    ("told", "options", "shown"),
    [
        (AUTUMN, {}, {"timeframe.passed": False}),
        (AUTUMN, {"occasion": Occasion(now=WINTER + timedelta(minutes=1))}, {"timeframe.passed": True}),
        (
            update(2, at=after(1)),
            {"earlier": [HALF_PAST], "previous": HALF_PAST},
            {"earlier_timeframe.passed": True, "earlier_timeframe.latest.short": "10:35 CET"},
        ),
        (update(2, timeframe=HALF_PAST.timeframe), {"previous": HALF_PAST}, {"earlier_timeframe": None}),
        (RANGE, {}, {"timeframe.earliest.clock": "11:05 CET", "timeframe.latest.clock": "12:05 CET"}),
        (
            RANGE,
            {},
            {"timeframe.span.short": "11:05-12:05 CET", "timeframe.known": True},
        ),
        (update(), {}, {"timeframe.known": False, "timeframe.span": None, "unchanged_since": None}),
        (HALF_PAST, {}, {"timeframe.known": True, "timeframe.span": None}),
        (
            SPECIAL,
            {"audience": "support"},
            {"issue": "Card revenue is down 40%.", "resolution": "We roll back."},
        ),
        (SPECIAL, {}, {"issue": "Some customers see an error."}),
        (SPECIAL, {"audience": "support"}, {"told_customers": "Some customers see an error."}),
        # What is no sentence is a question that a template can ask.
        (
            update(action="none", scope="unknown"),
            {},
            {"action": None, "nothing_to_do": True, "scope": None, "scope_unknown": True},
        ),
        (update(action="Wait."), {}, {"action": "Wait.", "nothing_to_do": False, "scope_unknown": False}),
        (
            update(works="refunds", data="safe", cause="a release", urgent=True),
            {},
            {"works": "refunds", "data": "safe", "cause": "a release", "urgent": True},
        ),
        # An offer is for colleagues to make, unless the public may have it.
        (update(offer="a month"), {}, {"offer": None}),
        (update(offer="a month"), {"audience": "support"}, {"offer": "a month"}),
        (update(offer="a month", offer_public=True), {}, {"offer": "a month"}),
        # The end tells what was told before, and what was done: not what we were about to do.
        (
            update(2, Status.RESOLVED, issue="All is well.", resolution="We roll back."),
            {"earlier": [update()]},
            {"happened": "Some customers see an error.", "did": None},
        ),
        (update(2, Status.RESOLVED, resolution="Done."), {"earlier": [update()]}, {"did": "Done."}),
        (update(2, Status.RESOLVED, fixed="Rolled back."), {"earlier": [update()]}, {"did": "Rolled back."}),
        # What was reported is told in the words of before it looked better, and before it was over at first.
        (
            BETTER,
            {"earlier": [update()]},
            {"issue": BETTER.issue, "happened": "Some customers see an error.", "did": None},
        ),
        (
            update(3, Status.RESOLVED, issue="All is well."),
            {"earlier": [update(), BETTER]},
            {"happened": "Some customers see an error.", "did": None},
        ),
        (
            update(4, Status.RESOLVED, issue="All is well.", ended=after(5), at=after(6)),
            {"earlier": [*BACK[:2], BACK[2].model_copy(update={"issue": "Refunds fail, too."})]},
            {"happened": "Some customers see an error.", "came_back": "Refunds fail, too.", "in_parts": True},
        ),
        (RESOLVED, {}, {"happened": "Some customers see an error.", "came_back": None, "in_parts": False}),
        # So it is in another language, and in an audience's own words.
        (
            update(2, Status.RESOLVED, translations_in_force=GERMAN),
            {"earlier": [update(translations_in_force=GERMAN)], "language": "de"},
            {"happened": "Fehler.", "did": None},
        ),
        (
            update(2, Status.RESOLVED, words_in_force=WAITING),
            {"earlier": [update(words_in_force=WAITING)], "audience": "support"},
            {"did": None, "own_words": False},
        ),
        *((SPECIAL, {"audience": name}, {"own_words": name == "support"}) for name in ("support", "texted")),
        # Advice for before the work is over once it runs, unless somebody writes it anew.
        *(
            (update(2, Status(each), action=PAYOUTS.action), {"earlier": [PAYOUTS]}, {"action": told})
            for each, told in (
                *(("scheduled", PAYOUTS.action), ("rescheduled", PAYOUTS.action)),
                *((each, None) for each in ("in_progress", "extended", "verifying", "completed")),
            )
        ),
        (
            update(2, Status.IN_PROGRESS, action="Wait."),
            {"earlier": [PAYOUTS]},
            {"action": "Wait.", "nothing_to_do": False},
        ),
        (
            update(2, Status.IN_PROGRESS, action="none"),
            {"earlier": [PAYOUTS.model_copy(update={"action": "none"})]},
            {"action": None, "nothing_to_do": False},
        ),
        # An estimate moves from one that readers were told, and not past an end or beside a window.
        (RANGE, {"previous": HALF_PAST}, {"estimate_moved": "later"}),
        (HALF_PAST, {"previous": RANGE}, {"estimate_moved": "sooner"}),
        *(
            (told, {"previous": before}, {"estimate_moved": None})
            for told, before in (
                (RANGE, None),
                (RANGE, RANGE),
                (RANGE, update()),
                (update(), RANGE),
                (RESOLVED.model_copy(update={"timeframe": RANGE.timeframe}), HALF_PAST),
                (RANGE, RESOLVED.model_copy(update={"timeframe": HALF_PAST.timeframe})),
                (RANGE.model_copy(update={"window": NIGHT}), HALF_PAST),
            )
        ),
        (update(severity=2), {"previous": update(severity=3)}, {"severity_changed": "worse"}),
        (update(severity=2), {"previous": update(severity=1)}, {"severity_changed": "better"}),
        (update(severity=2), {}, {"severity_changed": None}),
        (
            update(3, at=after(1), nothing_new="60%"),
            {"earlier": NO_NEWS},
            {"unchanged_since.clock": "10:05 CET"},
        ),
        # It lasts from a beginning that somebody wrote, not from our first message.
        (RESOLVED, {}, {"duration": "2 h 5 min"}),
        (RESOLVED, {"started_written": False}, {"duration": None}),
        (AGAIN, {"earlier": BACK}, {"duration": "1 h 43 min"}),
        (DONE, {"earlier": WORK, "kind": Kind.MAINTENANCE}, {"duration": "1 h 55 min"}),
        # Longer than planned: the plan is what it was.
        (LONGER, {"earlier": WORK, "kind": Kind.MAINTENANCE}, {"window.length": "3 hours"}),
        (DONE, {}, {"window.length": "3 hours", "window.span.short": "10:05-13:05 CET"}),
        (update(window=NEW), {"previous": update(window=OLD)}, {"previous_window.start.clock": "10:05 CET"}),
        (update(window=NEW), {"previous": update(window=NEW)}, {"previous_window": None}),
    ],
)
def test_what_is_told_of_an_update(told: Update, options: dict[str, Any], shown: dict[str, object]) -> None:
    found = context(told, **options)["update"]
    for path, value in shown.items():
        assert reduce(getitem, path.split("."), found) == value


def test_a_public_context_has_the_public_keys_and_an_internal_one_also_what_is_inside() -> None:
    told = update(internal="db-eu-3 is dead")
    shown, inside = context(told), context(told, audience="support")
    assert (set(shown), set(inside)) == (PUBLIC_KEYS, {*PUBLIC_KEYS, "internal"})
    assert (shown["incident"]["affected"], shown["incident"]["started_known"]) == (["Card payments"], True)
    assert shown["contact"]["reply_to"] == "help+pay7@acme.example"
    assert shown["next_update_by"]["short"] == "10:25 CET"
    assert inside["internal"] == {
        "text": "db-eu-3 is dead",
        "severity": 2,
        "severity_label": "SEV-2",
        "owner": "Dana Reyes",
        "components": ["payments-api", "payments-db"],
    }
    # A component without a public name is given but not named.
    shown = context(update(affected=("db-eu-3",)), started_written=False)["incident"]
    assert (shown["affected"], shown["affected_known"], shown["started_known"]) == ([], True, False)
    assert context(update(affected=()))["incident"]["affected_known"] is False


def test_the_story_that_templates_are_tested_with_has_the_keys_of_a_real_one() -> None:
    window = Window(start=AT, end=after(1))
    occasion = Occasion(now=AT, unchanged_since=AT, step=1)
    real = context(update(window=window, timeframe=RANGE.timeframe), "support", occasion=occasion)
    real["recipient"] = recipient_values(Recipient(line=2), DESK.audiences["support"])
    assert keys_of(real) == keys_of(full("support", "unconfirmed"))


def keys_of(value: Any) -> Any:
    """Return the keys of JSON, and those of what is in it."""
    return {key: keys_of(inner) for key, inner in value.items()} if isinstance(value, dict) else None


@pytest.mark.parametrize(("hour", "phone"), [(10, "+49 30 5550100"), (2, "")])
def test_a_phone_is_given_only_while_somebody_answers_and_never_to_colleagues(hour: int, phone: str) -> None:
    now = AT.replace(hour=hour)
    desk = DESK.model_copy(update={"contact": DESK.contact.model_copy(update={"hours": "Sat 09:00-18:00"})})
    told = update(at=now)
    asked: dict[str, Any] = {
        "zone": BERLIN,
        "language": "en",
        "first": True,
        "next_update_by": NEXT,
        "previous": None,
    }
    found = [build_context(desk, incident_of(told), told, each, **asked) for each in ("customers", "support")]
    assert [each["contact"]["phone"] for each in found] == [phone, ""]
    assert [each["contact"]["reply_to"] for each in found] == ["help+pay7@acme.example", ""]


@pytest.mark.parametrize(
    ("told", "now", "by", "expected"),
    [
        (update(status=Status.SCHEDULED, window=NEW), AT, NextWord.UPDATE, True),
        (update(status=Status.RESCHEDULED, window=NEW), AT, NextWord.EMAIL, True),
        (update(status=Status.EXPECTED, expected_at=NEXT), AT, NextWord.UPDATE, True),
        # Who is promised no time, or an update before the start, or when it has passed, waits for no start.
        (update(status=Status.SCHEDULED, window=NEW), AT, NextWord.END, False),
        (update(status=Status.SCHEDULED, window=NIGHT), AT, NextWord.UPDATE, False),
        (update(status=Status.EXPECTED, expected_at=after(2)), AT, NextWord.UPDATE, False),
        (update(status=Status.SCHEDULED, window=NEW), NEXT, NextWord.UPDATE, False),
        (update(status=Status.IN_PROGRESS, window=NEW), AT, NextWord.UPDATE, False),
        (update(), AT, NextWord.UPDATE, False),
    ],
)
def test_a_word_is_promised_at_the_start_of_what_is_still_to_come(
    told: Update, now: datetime, by: NextWord, expected: bool
) -> None:
    found = context(told, occasion=Occasion(now=now, next_word=by))
    assert found["promised_at_start"] is expected
    assert found["sent"]["clock"] == ("10:05 CET" if now == AT else "10:25 CET")


FIRST, LATER, HELD = {"first": True}, {"first": False}, Occasion(now=AT, step=1)
WRONG = Occasion(corrections=(Correction(AT, "3 hours", "30 minutes"),))
SOON = update(status=Status.SCHEDULED, window=NIGHT)


@pytest.mark.parametrize(
    ("told", "occasion", "more", "moment"),
    [
        *((update(), NO_OCCASION, FIRST, "first_notice"), (update(2), NO_OCCASION, LATER, "update")),
        (update(2), NO_OCCASION, {**LATER, "has_begun": True}, "first_notice"),
        (update(2, Status.IDENTIFIED), NO_OCCASION, LATER, "found"),
        (update(2, Status.IDENTIFIED, nothing_new="60%"), NO_OCCASION, LATER, "update"),
        # Who was told nothing before reads all of it, and a turn is never a mere note.
        (update(2, Status.IDENTIFIED, nothing_new="60%"), NO_OCCASION, FIRST, "found"),
        (update(2, Status.RESOLVED, nothing_new="60%"), NO_OCCASION, LATER, "resolved"),
        *((update(), HELD, LATER, "no_change"), (SOON, HELD, LATER, "no_change")),
        (SOON, HELD._replace(now=NIGHT.start), LATER, "unconfirmed"),
        (SOON, Occasion(ahead=timedelta(hours=1)), LATER, "reminder"),
        *((update(2), WRONG, LATER, "correction"), (AGAIN, WRONG, LATER, "resolved")),
        *(
            (BACK[2], WRONG, LATER, "reopened"),
            (AGAIN.model_copy(update={"corrects": (2,)}), WRONG, LATER, "correction"),
        ),
        *((AGAIN, Occasion(follow_up=kind), LATER, name) for kind, name in FOLLOW_UPS.items()),
    ],
)
def test_which_moment_a_message_tells_of(
    told: Update, occasion: Occasion, more: dict[str, bool], moment: str
) -> None:
    assert moment_of(told, occasion, **more) == moment


def test_each_status_and_each_channel_has_its_moments() -> None:
    told = {moment_of(update(2, each, window=NIGHT), NO_OCCASION, first=False) for each in Status}
    assert len(told) == len(Status) and told < set(MOMENTS)
    assert set(MOMENTS) - set(moments_on(Channel.SMS)) == {"check_in", "review"}


SECRET = st.text("QXZJKV", min_size=6, max_size=12)
NAMES = ("dana", "reyes", "99999901")
HELD_AND_LATE = Occasion(now=NEXT, broken=AT, unchanged_since=AT - timedelta(hours=1), step=2)


@given(SECRET, SECRET, SECRET, st.sampled_from(list(Status)), st.sampled_from([NO_OCCASION, HELD_AND_LATE]))
def test_no_secret_or_name_is_public(
    inner: str, backup: str, part: str, status: Status, occasion: Any
) -> None:
    told = update(status=status, internal=f"is {inner}", backup=backup, affected=(part,), because="x")
    shown = context(told, earlier=[update()], previous=update(), occasion=occasion)
    text = json.dumps(shown).casefold()
    secrets = (inner, backup, part, *NAMES)
    assert not any(secret.casefold() in text for secret in (*secrets, "incidents/"))
    inside = json.dumps(context(told, audience="support"))
    assert all(secret in inside for secret in (inner, "Dana Reyes", part))


@pytest.mark.parametrize("status", Status)
def test_a_context_survives_json_and_only_an_end_promises_no_next_update(status: Status) -> None:
    told = update(status=status, ended=AT, window=Window(start=AT, end=NEXT))
    shown = context(told)
    assert json.loads(json.dumps(shown)) == shown
    assert (shown["next_update_by"] is None) is told.is_end
    if not told.is_end:
        with pytest.raises(ValueError, match="no next update"):
            context(told, promised=False)


@pytest.mark.parametrize(
    ("audience", "email", "expected"),
    [("customers", "d@x.example", True), ("customers", "", False), ("texted", "d@x.example", False)],
)
def test_a_readers_own_columns_never_hide_ours_beside_them(audience: str, email: str, expected: bool) -> None:
    own = {"plan": "gold", "name": "Eve", "by_email": "x"}
    reader = Recipient(2, email=email, phone="+491", name="Dana", extra=own)
    values = recipient_values(reader, DESK.audiences[audience])
    assert (values["plan"], values["name"], values["greeting"]) == ("gold", "Dana", "Hello Dana,")
    assert values["by_email"] is expected
    assert json.loads(json.dumps(values)) == values
    assert recipient_values(Recipient(line=2), DESK.audiences["customers"])["greeting"] == "Hello,"


SUBJECT = "{% block subject %}[{{ phase }}] {{ title }}{% endblock %}\n"
CONTEXT = {"phase": "Investigating", "title": "Card payments fail", "url": "https://status.acme.example"}
DANA = {"name": "Dana", "email": "dana@example.com"}


def renderer(text: str, html: str = "", **more: str) -> Renderer:
    """Return the renderer of templates c/email.txt.j2 and c/email.html.j2; `more` are others by name."""
    sources = {"user:c/email.txt.j2": text, **({"user:c/email.html.j2": html} if html else {})}
    names = ("user:c/email.txt.j2", "user:c/email.html.j2" if html else "")
    return Renderer(Wording(Channel.EMAIL, *names, "user", sources | more))


def email(text: str, html: str = "", **context: Any) -> EmailContent:
    return renderer(text, html).email({**CONTEXT, **context}, DANA)


LAYOUT = """<style inline>p { color: #111111 }</style>
<title>{{ subject }}</title><div>{{ preheader }}</div><h1>{{ label }}</h1>{{ body }}<hr>{{ foot }}"""


def in_markdown(source: str, layout: str = LAYOUT, **context: Any) -> EmailContent:
    """Return the email of c/found.md.j2 in its layout."""
    sources = {"user:c/found.md.j2": source, "shipped:layout.html.j2": layout}
    made = Renderer(Wording(Channel.EMAIL, "user:c/found.md.j2", "shipped:layout.html.j2", "user", sources))
    return made.email({**CONTEXT, **context}, DANA)


def sms(text: str, **context: Any) -> SmsContent:
    wording = Wording(Channel.SMS, "user:c/sms.txt.j2", "", "user", {"user:c/sms.txt.j2": text})
    return Renderer(wording).sms({**CONTEXT, **context}, DANA)


def test_subject_text_and_html_come_from_their_templates() -> None:
    content = email(SUBJECT + "Hello {{ recipient.name }},\n\n{{ title }}.", "<p>{{ title }}.</p>")
    assert content == EmailContent(
        "[Investigating] Card payments fail",
        "Hello Dana,\n\nCard payments fail.\n",
        "<p>Card payments fail.</p>\n",
    )
    base = "{% set up = title|upper %}{% block subject %}{{ up }}{% endblock %}{% block body %}{% endblock %}"
    child = (
        '{% extends "base.j2" %}{% block subject %}RE {{ super() }}{% endblock %}'
        "{% block body %}{{ self.subject() }}!{% endblock %}"
    )
    content = renderer(child, **{"user:base.j2": base}).email(CONTEXT, DANA)
    assert (content.subject, content.text) == ("RE CARD PAYMENTS FAIL", "RE CARD PAYMENTS FAIL!\n")
    text = email(SUBJECT + "a  \n\n\n\n{% if false %}\nx\n{% endif %}\n\nb\n-- \nAcme\n\n").text
    assert text == "a\n\nb\n-- \nAcme\n", "blank lines that a template leaves are collapsed"


def test_text_and_html_come_from_one_markdown_source() -> None:
    content = in_markdown(
        "{# Not read. #}\nSubject: [{{ phase }}] {{ title }}\nHello {{ recipient.name }},\n\n"
        "**Now:** {{ title }}.\n{% if false %}\nx\n{% endif %}\nSee [this]({{ url }}).\n\n"
        "- one\n{% if false %}- two{% endif %}\n- {{ '' }}\n\n---\nAcme"
    )
    link = f'<a href="{CONTEXT["url"]}">this</a>'
    shown = "Now: Card payments fail. See this <https://status.acme.example>."
    styled = 'p dir="auto" style="color: #111111"'
    assert content == EmailContent(
        "[Investigating] Card payments fail",
        f"Hello Dana,\n\n{shown}\n\n- one\n\n---\n\nAcme\n",
        "<title>[Investigating] Card payments fail</title><div>Now: Card payments fail. See this "
        f"&lt;https://status.acme.example&gt;.</div><h1>Investigating</h1><{styled}>Hello Dana,</p>\n"
        f"<{styled}><strong>Now:</strong> Card payments fail.\nSee {link}.</p>\n"
        f'<ul>\n<li dir="auto">one</li>\n</ul>\n<hr><{styled}>Acme</p>\n',
    )


@pytest.mark.parametrize(
    ("source", "layout", "context", "what"),
    [
        (
            "Hello",
            LAYOUT,
            {},
            r"found\.md\.j2: the .*has no subject|found\.md\.j2: has no subject; begin .*Subject:",
        ),
        ("Subject: [A] b\n{{ missing }}", LAYOUT, {}, r"found\.md\.j2:2: unknown variable 'missing'"),
        ("Subject: [A] b\n", LAYOUT, {}, r"found\.md\.j2: the text is empty"),
        ("Subject: {{ bad }}\ntext", LAYOUT, {"bad": "a\nBcc: x"}, "subject has more than one line"),
        ("Subject: [A] b\n{{ bad }}", LAYOUT, {"bad": "a\x1bb"}, r"control character U\+001B"),
        ("Subject: [A] b\n[x]({{ bad }})", LAYOUT, {"bad": "javascript:x"}, r"found\.md\.j2: .*href"),
        (
            "Subject: [A] b\ntext",
            "<script>{{ body }}</script>",
            {},
            r"layout\.html\.j2: <script> is not allowed",
        ),
        ("Subject: [A] b\ntext", "{{ nothing }}", {}, r"layout\.html\.j2:1: unknown variable 'nothing'"),
    ],
)
def test_what_fails_in_markdown_says_where(
    source: str, layout: str, context: dict[str, str], what: str
) -> None:
    with pytest.raises(TemplateError, match=what):
        in_markdown(source, layout, **context)


@pytest.mark.parametrize(
    ("source", "place", "what"),
    [
        ("a\n{{ missing }}", ":3: ", "unknown variable 'missing'"),
        *((f"{{{{ recipient{x} }}}}", ":2: ", "unknown variable 'plan'") for x in (".plan", "['plan']")),
        ("{{ recipient.copy }}", ":2: ", "unknown variable 'copy'"),
        ("{% if false %}{{ title|nofilter }}{% endif %}", ":2: ", "unknown filter 'nofilter'"),
        ("{% if title is notest %}{% endif %}", ":2: ", "unknown test 'notest'"),
        *(
            ("{% if title %}", ":2: ", "Unexpected end of template"),
            ("{{ title(1) }}", ":2: ", "not callable"),
        ),
        *(("{{ 1 // 0 }}", ":2: ", "divides by zero"), ('{% include "no.j2" %}', ":2: ", "no.j2 not found")),
        *(("{{ title + 1 }}", ":2: ", "does not work here"), ("{{ -title }}", ":2: ", "cannot be evaluated")),
        *(("{% for x in 5 %}{% endfor %}", ":2: ", "not iterable"), ("  \n ", ": ", "the text is empty")),
    ],
)
def test_what_fails_says_template_and_line(source: str, place: str, what: str) -> None:
    with pytest.raises(TemplateError) as caught:
        email(SUBJECT + source)
    assert f"templates/c/email.txt.j2{place}" in str(caught.value)
    assert what in str(caught.value)


def test_an_included_template_is_named_where_it_fails_and_a_mail_needs_a_subject() -> None:
    made = renderer(SUBJECT + '{% include "b.j2" %}', **{"shipped:b.j2": "x\n{{ missing }}"})
    with pytest.raises(TemplateError, match=r"shipped templates/b\.j2:2: "):
        made.email(CONTEXT, DANA)
    with pytest.raises(TemplateError, match="no block subject"):
        email("text")
    with pytest.raises(TemplateError, match=r"^((?!dana).)*$"):  # a reader is not named
        email(SUBJECT + "{{ recipient[recipient.email] }}")
    for subject in (" ", "a\nb", "a\r\nBcc: x@example.com"):
        with pytest.raises(TemplateError, match="subject"):
            email("{% block subject %}{{ bad }}{% endblock %}text", bad=subject)


@pytest.mark.parametrize(
    "bad",
    [
        *("\x1b]0;owned\x07", "\x9b2J", "a\x00b", "a\u202eb", "a\u2029b", "a\rb", "\x7f", "a\ud800"),
        *("a\x0bb", "a\x0cb", "a\x85b", "a\u2028b"),
    ],
)
def test_control_characters_never_reach_a_reader_or_a_terminal(bad: str) -> None:
    for text, html in ((SUBJECT + "{{ bad }}", ""), (SUBJECT + "t", "<p>{{ bad }}</p>"), (SUBJECT + "t", "")):
        with pytest.raises(TemplateError, match=r"control character U\+"):
            email(text, html, bad=bad, **({} if "bad" in text + html else {"title": bad}))
    if bad.split() == [bad]:  # a text joins its lines
        with pytest.raises(TemplateError, match=r"control character U\+"):
            sms("{{ bad }}", bad=bad)


@pytest.mark.parametrize("text", ["{{ 7 * 7 }}", "{# x #}", "{{ self.__init__ }}", "{% raw %}"])
def test_braces_in_an_incidents_text_are_data(text: str) -> None:
    content = email(SUBJECT + "{{ issue }}", "<p>{{ issue }}</p>", issue=text, title=text)
    assert (content.subject, content.text) == (f"[Investigating] {text}", f"{text}\n")
    assert text in content.html


def test_html_in_data_is_escaped_in_the_html_part_only() -> None:
    hostile = """<script>alert("1")</script><a href='javascript:x'>"""
    content = email(SUBJECT + "{{ issue }}", "<p title='{{ issue }}'>{{ issue }}</p>", issue=hostile)
    assert content.text.strip() == hostile
    assert "<script" not in content.html
    assert "&lt;script&gt;alert(&#34;1&#34;)" in content.html
    html = '{% from "m.txt.j2" import m with context %}{{ m() }}{% include "m.txt.j2" %}'
    part = "{% macro m() %}{{ issue ~ '' }}{% endmacro %}{{ issue }}"
    made = renderer(SUBJECT + "t", html + "{{ issue|e }}{{ issue|escape }}", **{"user:m.txt.j2": part})
    assert made.email({**CONTEXT, "issue": "<b>"}, DANA).html.strip() == "&lt;b&gt;" * 4


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Cf"]), min_size=1).map(str.strip))
def test_no_data_can_open_a_tag_or_leave_its_attribute(text: str) -> None:
    content = email(SUBJECT + "x{{ issue }}", '<p title="{{ issue }}">{{ issue }}</p>', issue=text)
    assert content.html.count("<") == 2
    assert content.html.count('"') == 2


GOOD_LINKS = ("https://a.example/x?y=1&z=2", "http://a.example", "mailto:help@a.example")
BAD_LINKS = (
    *("javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\nscript:alert(1)", " javascript:x", "vbscript:x"),
    *("data:text/html,<script>", "file:///etc/passwd", "//evil.example", "/path", "#x", "", "https:evil"),
    *("ftp://x.example", "https://a b", "tel:+491"),
)


@pytest.mark.parametrize("bad", BAD_LINKS)
def test_links_go_by_web_or_mail_and_no_other_way(bad: str) -> None:
    """Also after others that were fine: a tag is looked at again when its link differs."""
    made = renderer(SUBJECT + "t", '<a href="{{ recipient.link }}">x</a>')
    for good in GOOD_LINKS:
        assert "href" in made.email(CONTEXT, {"link": good}).html
        for _ in range(2):
            with pytest.raises(TemplateError, match=r"email\.html\.j2: .*href"):
                made.email(CONTEXT, {"link": bad})


@pytest.mark.parametrize(
    "html",
    [
        *("<script>x</script>", '<img src="https://a.example/x.png">', '<img alt="x">'),
        *("<svg onload=alert(1)></svg>", '<p onclick="x">t</p>'),
        '<td background="https://a.example/x.png">t</td>',
        *('<p style="background:URL (https://a.example/x)">t</p>', '<p style="width:expression(1)">t</p>'),
        *('<p style="background:\\75rl(x)">t</p>', "<style>@import 'https://a.example/x.css';</style>"),
        "<STYLE>p{background:url(https://a.example)}</STYLE>",
        '<meta http-equiv="refresh" content="0;url=https://a.example">',
        *('<!--[if mso]><img src="https://a.example"><![endif]-->', "<a href=javascript:x>t</a>"),
        *('<a href="&#106;avascript:x">t</a>', "<p>1 < 2</p>", '<a href="https://a.example'),
        *("<![foo[ x ]]>", " \n "),
    ],
)
def test_html_that_loads_runs_or_is_broken_is_refused(html: str) -> None:
    with pytest.raises(TemplateError, match=r"templates/c/email\.html\.j2: "):
        email(SUBJECT + "t", html)


def test_ordinary_mail_html_is_fine() -> None:
    html = (
        "<!DOCTYPE html><html><head><meta charset=utf-8>"
        "<style>@media (prefers-color-scheme: dark) { p { color: #fff } }</style></head><!-- don't -->"
        "<body><!--[if mso]><table><![endif]--><p style='color:#111'>a &lt; b</p></body></html>"
    )
    assert email(SUBJECT + "t", html).html.strip() == html


@pytest.mark.parametrize("piece", ["<", "<'", '<"', "<!--", "<style", "<a '\"", "<a b=", "&#"])
def test_looking_at_hostile_html_takes_no_time(piece: str) -> None:
    with pytest.raises(TemplateError):
        email(SUBJECT + "t", "{% set x = '' %}" + piece * (60_000 // len(piece)) + "<")


def test_sizes_are_capped_and_nothing_is_cut() -> None:
    for text, html, title, what in (
        *(("{{ 'é' * 25001 }}", "", "", "50 KB"), ("t", "{{ 'x' * 60000 }}{{ 'x' * 60000 }}", "", "100 KB")),
        ("t", "", "x" * 256, "more than 255"),
    ):
        with pytest.raises(TemplateError, match=what):
            email(SUBJECT + text, html, title=title)


def test_an_sms_is_one_line_with_look_alikes_replaced_and_never_cut_nor_empty() -> None:
    content = sms("Acme:\n\n  it’s down – sorry…  \t")
    assert content.body == "Acme: it's down - sorry..."
    assert dict(content.replaced) == {"’": "'", "–": "-", "…": "..."}
    assert (content.size.encoding, content.size.segments) == ("GSM-7", 1)
    assert sms("{{ 'x' * 1600 }}").size.segments == 11
    with pytest.raises(TemplateError, match="1601 characters, more than 1,600"):
        sms("{{ 'x' * 1601 }}")
    # But a sentence of the incident stops nothing: the title stands for all of them.
    quote = {"wrong": "a b " * 400, "right": "c " * 800}
    said = {"update": {"issue": "y" * 1601, "action": "Wait."}, "incident": {"title": "Cards fail"}}
    text = "{{ update.issue }}. {{ update.action or '' }}"
    text += "{% for each in corrections %} {{ each.wrong }}{{ each.right }}{% endfor %}"
    content = sms(text, corrections=[quote], **said)
    assert content.is_shortened and content.body.startswith("Cards fail. a b a b")
    assert content.body.count("...") == 2 and len(content.body) < 450
    assert not sms(text, corrections=[], **{**said, "update": {"issue": "y", "action": ""}}).is_shortened
    with pytest.raises(TemplateError, match="1601 characters, more than 1,600"):
        sms("{{ 'x' * 1601 }}", corrections=[], **said)
    with pytest.raises(TemplateError, match="the message is empty"):
        sms(" {% if false %}x{% endif %} ")
    # A clock's offset from UTC is said once.
    once = sms("As of 9:30 CST (UTC-6). By 10:30 CST (UTC-6), or 22:30 CST (UTC+8).").body
    assert once == "As of 9:30 CST (UTC-6). By 10:30 CST, or 22:30 CST (UTC+8)."
    emoji = sms("down 🔥")
    assert (emoji.body, emoji.size.encoding, emoji.size.forced_by) == ("down 🔥", "UCS-2", "🔥")


def test_one_message_leaves_nothing_behind_for_the_next() -> None:
    counting = "{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{{ recipient.name }}"
    made = renderer(SUBJECT + counting)
    readers = [{"name": "Dana"}, {"name": "Sam"}, {"name": "Dana"}]
    assert [made.email(CONTEXT, reader).text for reader in readers] == ["1Dana\n", "1Sam\n", "1Dana\n"]
    with pytest.raises(TemplateError):
        made.email(CONTEXT, {})
    assert made.email(CONTEXT, DANA).text == "1Dana\n"
    context: dict[str, Any] = {**CONTEXT, "names": ["a"]}
    email(SUBJECT + "{% set names = names + ['b'] %}{% set title = 'x' %}{{ names|join }}", **context)
    assert context == {**CONTEXT, "names": ["a"]}


def test_accents_that_are_written_apart_cost_no_more() -> None:
    content = sms("Cafe\u0301 Zu\u0308rich")
    assert (content.body, content.size.encoding, content.size.units) == ("Café Zürich", "GSM-7", 11)
