"""Rendered content is complete, bounded and safe; what fails says where, in which row, and names nobody."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.errors import TemplateError
from commcast.model.incident import Channel
from commcast.rendering.render import EmailContent, Renderer, SmsContent
from commcast.rendering.templates import Wording

SUBJECT = "{% block subject %}[{{ phase }}] {{ title }}{% endblock %}\n"
CONTEXT = {"phase": "Investigating", "title": "Card payments fail", "url": "https://status.acme.example"}
DANA = {"name": "Dana", "email": "dana@example.com"}


def email(
    text: str, html: str = "", recipient: dict[str, Any] | None = None, line: int = 0, **context: Any
) -> EmailContent:
    sources = {"user:c/email.txt.j2": text} | ({"user:c/email.html.j2": html} if html else {})
    wording = Wording(
        Channel.EMAIL, "user:c/email.txt.j2", "user:c/email.html.j2" if html else "", "user", sources
    )
    return Renderer(wording).email({**CONTEXT, **context}, recipient or DANA, line)


def sms(text: str, **context: Any) -> SmsContent:
    wording = Wording(Channel.SMS, "user:c/sms.txt.j2", "", "user", {"user:c/sms.txt.j2": text})
    return Renderer(wording).sms({**CONTEXT, **context}, DANA)


def test_subject_text_and_html_come_from_their_templates() -> None:
    content = email(SUBJECT + "Hello {{ recipient.name }},\n\n{{ title }}.", "<p>{{ title }}.</p>")
    assert content.subject == "[Investigating] Card payments fail"
    assert content.text == "Hello Dana,\n\nCard payments fail.\n"
    assert content.html == "<p>Card payments fail.</p>\n"


def test_the_subject_may_stand_in_a_parent_and_use_what_is_set_before() -> None:
    sources = {
        "user:base.j2": "{% set name = title|upper %}{% block subject %}{{ name }}{% endblock %}"
        "{% block body %}{% endblock %}",
        "user:a.j2": '{% extends "base.j2" %}{% block subject %}RE {{ super() }}{% endblock %}'
        "{% block body %}b{% endblock %}",
    }
    content = Renderer(Wording(Channel.EMAIL, "user:a.j2", "", "user", sources)).email(CONTEXT, DANA)
    assert (content.subject, content.text) == ("RE CARD PAYMENTS FAIL", "b\n")


def test_the_text_may_repeat_the_subject() -> None:
    content = email(SUBJECT + "{{ self.subject() }}!")
    assert content.text == f"{content.subject}!\n"


def test_blank_lines_that_a_template_leaves_are_collapsed() -> None:
    text = email(SUBJECT + "a  \n\n\n\n{% if false %}\nx\n{% endif %}\n\nb\n-- \nAcme\n\n").text
    assert text == "a\n\nb\n-- \nAcme\n"


@pytest.mark.parametrize(
    ("source", "place", "what"),
    [
        ("a\n{{ missing }}", ":3: ", "'missing' is undefined"),
        ("a\n\n{{ recipient.plan }}", ":4: ", "'plan' is undefined"),
        ("{{ recipient['plan'] }}", ":2: ", "'plan' is undefined"),
        ("{{ title|nofilter }}", ":2: ", "no filter is named 'nofilter'"),
        ("{% if false %}{{ title|nofilter }}{% endif %}", ":2: ", "no filter is named 'nofilter'"),
        ("{% if title is notest %}{% endif %}", ":2: ", "no test is named 'notest'"),
        ("{% if title %}", ":2: ", "Unexpected end of template"),
        ("{{ 1 / (title|length - 18) }}", ":2: ", "divides by zero"),
        ("{{ 1 // 0 }}", ":2: ", "divides by zero"),
        ('{% include "no.j2" %}', ":2: ", "no.j2 is not there"),
        ("{{ title + 1 }}", ":2: ", "does not work here"),
        ("{{ -title }}", ":2: ", "cannot be worked out"),
        ("{{ title(1) }}", ":2: ", "not callable"),
        ("{{ title|truncate('x') }}", ":2: ", "cannot be worked out"),
        ("{% for x in 5 %}{% endfor %}", ":2: ", "not iterable"),
        ("  \n ", ": ", "the text is empty"),
    ],
)
def test_what_fails_says_template_and_line(source: str, place: str, what: str) -> None:
    with pytest.raises(TemplateError) as caught:
        email(SUBJECT + source)
    assert f"templates/c/email.txt.j2{place}" in str(caught.value)
    assert what in str(caught.value)


def test_what_fails_for_one_reader_names_the_row_and_not_the_reader() -> None:
    with pytest.raises(TemplateError, match="for the recipient in line 17") as caught:
        email(SUBJECT + "{{ recipient[recipient.email] }}", line=17)
    assert "dana" not in str(caught.value).lower()


def test_an_included_template_is_named_where_it_fails() -> None:
    sources = {"user:a.j2": SUBJECT + '{% include "b.j2" %}', "shipped:b.j2": "x\n{{ missing }}"}
    with pytest.raises(TemplateError, match=r"shipped templates/b\.j2:2: "):
        Renderer(Wording(Channel.EMAIL, "user:a.j2", "", "user", sources)).email(CONTEXT, DANA)


def test_a_mail_needs_a_subject() -> None:
    with pytest.raises(TemplateError, match="no block subject"):
        email("text")
    with pytest.raises(TemplateError, match="subject is empty"):
        email("{% block subject %} {% endblock %}text")


@pytest.mark.parametrize(
    "bad", ["a\nBcc: x@example.com", "a\r\nb", "a\rb", "a\x0bb", "a\x0cb", "a\x85b", "a\u2028b", "a\x1b[2Jb"]
)
def test_a_subject_cannot_hold_a_line_break_of_any_kind(bad: str) -> None:
    with pytest.raises(TemplateError, match="subject"):
        email(SUBJECT + "text", title=bad)


def test_a_subject_is_never_cut() -> None:
    with pytest.raises(TemplateError, match="more than 255"):
        email(SUBJECT + "text", title="x" * 256)


@pytest.mark.parametrize(
    "bad", ["\x1b]0;owned\x07", "\x9b2J", "a\x00b", "a\u202eb", "a\u2029b", "a\rb", "\x7f"]
)
def test_control_characters_never_reach_a_reader_or_a_terminal(bad: str) -> None:
    with pytest.raises(TemplateError, match=r"control character U\+"):
        email(SUBJECT + "{{ bad }}", bad=bad)
    with pytest.raises(TemplateError, match=r"control character U\+"):
        email(SUBJECT + "text", "<p>{{ bad }}</p>", bad=bad)


def test_half_a_character_is_an_error_and_no_traceback() -> None:
    with pytest.raises(TemplateError, match=r"U\+D800"):
        email(SUBJECT + "{{ bad }}", bad="a\ud800")
    with pytest.raises(TemplateError, match=r"U\+D800"):
        sms("{{ bad }}", bad="a\ud800")


@pytest.mark.parametrize(
    "text", ["{{ 7 * 7 }}", "{% for x in range(9) %}", "{# x #}", "{{ self.__init__ }}", "-sub-", "{% raw %}"]
)
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


def test_an_included_text_template_is_escaped_in_html_too() -> None:
    sources = {
        "user:t.j2": SUBJECT + "t",
        "user:h.j2": '{% from "m.txt.j2" import m with context %}{{ m() }}{% include "m.txt.j2" %}',
        "user:m.txt.j2": "{% macro m() %}{{ issue ~ '' }}{% endmacro %}{{ issue }}",
    }
    wording = Wording(Channel.EMAIL, "user:t.j2", "user:h.j2", "user", sources)
    content = Renderer(wording).email({**CONTEXT, "issue": "<b>"}, DANA)
    assert content.html.strip() == "&lt;b&gt;&lt;b&gt;"


def test_html_may_escape_by_hand() -> None:
    """What only the HTML part pulls in is not asked to be a template of plain text as well."""
    content = email(SUBJECT + "t", "<p>{{ issue | e }} {{ issue | escape }}</p>", issue="<b>")
    assert content.html == "<p>&lt;b&gt; &lt;b&gt;</p>\n"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Cf"]), min_size=1).map(str.strip))
def test_no_data_can_open_a_tag_or_leave_its_attribute(text: str) -> None:
    content = email(SUBJECT + "x{{ issue }}", '<p title="{{ issue }}">{{ issue }}</p>', issue=text)
    assert content.html.count("<") == 2
    assert content.html.count('"') == 2


@pytest.mark.parametrize("url", ["https://a.example/x?y=1&z=2", "http://a.example", "mailto:help@a.example"])
def test_links_by_web_or_mail_are_fine(url: str) -> None:
    assert "href" in email(SUBJECT + "t", '<a href="{{ url }}">x</a>', url=url).html


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\nscript:alert(1)",
        " javascript:x",
        "data:text/html,<script>",
        "vbscript:x",
        "file:///etc/passwd",
        "//evil.example",
        "/path",
        "#x",
        "",
        "ftp://x.example",
        "https:evil",
        "https://a b",
        "tel:+491",
    ],
)
def test_other_links_are_refused(url: str) -> None:
    with pytest.raises(TemplateError, match=r"email\.html\.j2: .*href"):
        email(SUBJECT + "t", '<a href="{{ url }}">x</a>', url=url)


@pytest.mark.parametrize(
    "html",
    [
        "<script>x</script>",
        '<img src="https://a.example/x.png">',
        '<img alt="x">',
        "<iframe></iframe>",
        '<link rel="stylesheet" href="https://a.example/x.css">',
        '<base href="https://a.example/">',
        '<form action="https://a.example/"></form>',
        "<svg onload=alert(1)></svg>",
        '<p onclick="x">t</p>',
        '<td background="https://a.example/x.png">t</td>',
        '<p style="background:URL (https://a.example/x)">t</p>',
        '<p style="width:expression(1)">t</p>',
        '<p style="background:\\75rl(x)">t</p>',
        "<style>@import 'https://a.example/x.css';</style>",
        "<STYLE>p{background:url(https://a.example)}</STYLE>",
        '<meta http-equiv="refresh" content="0;url=https://a.example">',
        '<!--[if mso]><img src="https://a.example"><![endif]-->',
        "<a href=javascript:x>t</a>",
        '<a href="&#106;avascript:x">t</a>',
        "<p>1 < 2</p>",
        '<a href="https://a.example',
        "<![foo[ x ]]>",
        " \n ",
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


def test_a_tag_is_looked_at_again_when_its_link_differs() -> None:
    sources = {"user:t.j2": SUBJECT + "t", "user:h.j2": '<a href="{{ recipient.link }}">x</a>'}
    renderer = Renderer(Wording(Channel.EMAIL, "user:t.j2", "user:h.j2", "user", sources))
    for _ in range(2):
        renderer.email(CONTEXT, {"link": "https://a.example"})
        for _ in range(2):
            with pytest.raises(TemplateError):
                renderer.email(CONTEXT, {"link": "javascript:x"})


def test_sizes_are_capped() -> None:
    with pytest.raises(TemplateError, match="50 KB"):
        email(SUBJECT + "{{ 'x' * 50001 }}")
    with pytest.raises(TemplateError, match="50 KB"):
        email(SUBJECT + "{{ 'é' * 25001 }}")
    with pytest.raises(TemplateError, match="100 KB"):
        email(SUBJECT + "t", "{{ 'x' * 60000 }}{{ 'x' * 60000 }}")


def test_an_sms_is_one_line_with_look_alikes_replaced_and_reported() -> None:
    content = sms("Acme:\n\n  it’s down – sorry…  \t")
    assert content.body == "Acme: it's down - sorry..."
    assert dict(content.replaced) == {"’": "'", "–": "-", "…": "..."}
    assert (content.size.encoding, content.size.segments) == ("GSM-7", 1)


def test_an_sms_is_never_cut() -> None:
    assert sms("{{ 'x' * 1600 }}").size.segments == 11
    with pytest.raises(TemplateError, match="1601 characters, more than 1,600"):
        sms("{{ 'x' * 1601 }}")


def test_an_empty_sms_is_an_error() -> None:
    with pytest.raises(TemplateError, match="the message is empty"):
        sms(" {% if false %}x{% endif %} ")


def test_emoji_are_counted_and_named_not_removed() -> None:
    content = sms("down 🔥")
    assert content.body.endswith("🔥")
    assert (content.size.encoding, content.size.forced_by) == ("UCS-2", "🔥")


def test_a_stored_wording_renders_the_same_bytes() -> None:
    sources = {
        "user:t.j2": SUBJECT + '{% include "f.j2" %}é',
        "user:h.j2": "<p>{{ title }}</p>",
        "shipped:f.j2": "foot",
    }
    wording = Wording(Channel.EMAIL, "user:t.j2", "user:h.j2", "user", sources)
    again = Wording.from_json(wording.to_json())
    assert Renderer(again).email(CONTEXT, DANA) == Renderer(wording).email(CONTEXT, DANA)


def test_one_message_leaves_nothing_behind_for_the_next() -> None:
    sources = {
        "user:t.j2": SUBJECT
        + "{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{{ recipient.name }}"
    }
    renderer = Renderer(Wording(Channel.EMAIL, "user:t.j2", "", "user", sources))
    readers = [{"name": "Dana"}, {"name": "Sam"}, {"name": "Dana"}]
    assert [renderer.email(CONTEXT, reader).text for reader in readers] == ["1Dana\n", "1Sam\n", "1Dana\n"]
    with pytest.raises(TemplateError):
        renderer.email(CONTEXT, {})
    assert renderer.email(CONTEXT, DANA).text == "1Dana\n"


def test_the_context_is_not_changed_by_rendering() -> None:
    context: dict[str, Any] = {**CONTEXT, "names": ["a"]}
    email(SUBJECT + "{% set names = names + ['b'] %}{% set title = 'x' %}{{ names|join }}", **context)
    assert context == {**CONTEXT, "names": ["a"]}
