"""What a Markdown message, its links and its layout may hold, and what they may cost."""

from __future__ import annotations

import re
import time

import pytest

from commcast.errors import TemplateError
from commcast.rendering.markdown import read_styles
from tests.support.markdown import HOSTILE, Seen, mail, message

ADDRESSES = (
    *(
        "javascript:alert(1)",
        "JAVASCRIPT:x",
        "data:text/html,x",
        "//evil.example",
        "/x",
        "x",
        "ftp://a.b",
        "https://",
    ),
    *("https://a.b c", "https://a.b\nc", " https://a.b", "vbscript:x", "file:///etc/passwd", "mailto:", "#x"),
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_link_leads_to_the_web_or_an_inbox(address: str) -> None:
    for body in ("[go]({{ value }})", "[go]({{ recipient.x }})", "[]({{ value }})"):
        with pytest.raises(
            TemplateError, match=r"templates/t\.md\.j2: <a> has a href that is not a web or email"
        ):
            mail(body, value=address, reader={"x": address})


@pytest.mark.parametrize(
    "address", ['https://a.b/"x', "https://a.b/'>", "https://a.b/)<b>", "https://a.b/&amp;"]
)
def test_an_address_stays_in_its_attribute(address: str) -> None:
    text, html = message("[go]({{ value }}) on", value=address)
    assert text == f"go <{address}> on"
    assert [tag.split()[0] for tag in Seen(html).tags] == ["p", "a", "/a", "/p"]
    assert Seen(html).words.split() == ["go", "on"]


NESTED = {
    "quotes": "> " * 9999 + "x",
    "lists": "- " * 9999 + "x",
    "steps": "".join("  " * n + "- x\n" for n in range(170)),
    "bold": "**a " * 3000 + "b** " * 3000,
    "in a loop": "{% for i in range(9999) %}>{% endfor %} x",
    "just too deep": "> " * 20 + "x",
    "large": "{% set v %}{{ long }}{% endset %}" + "{{ v }}" * 9000,
    "a large subject": "{% set v %}{{ long }}{% endset %}" + "{{ v }}" * 30,
    "many": "{% for i in range(9999) %}{{ i }} {% endfor %}",
    "large HTML": "{{ '<' * 30000 }}",
    "a private character": "a\U00100000b",
    "a reference to one": "a&#1048576;b",
    "in hex": "a&#x10FFFF;b",
}


@pytest.mark.parametrize("body", NESTED.values(), ids=NESTED)
def test_what_is_too_much_is_refused_soon_and_clearly(body: str) -> None:
    began = time.process_time()
    with pytest.raises(
        TemplateError, match=r"^templates/t\.md\.j2.*(too deeply|grows over|more than 2000|far more|private)"
    ):
        mail(body, long="x" * 49_000)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    "body",
    [
        "[" * 20_000 + "]" * 20_000,
        "*a_" * 15_000,
        "- x\n" * 900,
        "`" + "``` `` " * 6000,
        "[a]: b\n" * 3000,
        "[a](<b" * 8000,
        *(
            "{% raw %}" + "{%\n" * 15_000 + "{% endraw %}x",
            "{% raw %}" + "{#\n" * 15_000 + "{% endraw %}x",
            "&" * 15_000,
        ),
    ],
    ids=range(9),
)
def test_odd_markdown_is_read_soon(body: str) -> None:
    began = time.process_time()
    mail(body)
    assert time.process_time() - began < 3


@pytest.mark.parametrize("long", ["x" * 49_000, "x\n" * 9_000, "> " * 15_000, "א" * 20_000], ids=range(4))
def test_a_long_value_is_no_more_work_than_its_length(long: str) -> None:
    began = time.process_time()
    assert message("**{{ value }}**", value=long)[0].split() == long.split()
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("{{ body }}{{ foot }}{{ missing }}", r"layout\.html\.j2:1: unknown variable 'missing'"),
        ("{{ body }}{{ foot }}{{ recipient.name }}", r"layout\.html\.j2:1: unknown variable 'recipient'"),
        ("<script>x</script>{{ body }}{{ foot }}", r"layout\.html\.j2: <script> is not allowed"),
        ("<img src='x'>{{ body }}{{ foot }}", r"layout\.html\.j2: <img> (is not allowed|loads something)"),
        (
            "<style inline>p { background: url(x) }</style>{{ body }}{{ foot }}",
            "layout.*loads something by its style",
        ),
        ("<p onclick='x'>{{ body }}{{ foot }}", "layout.*runs something by its onclick"),
        ("<p>hello</p>{{ foot }}", r"layout\.html\.j2: leaves out body; write {{ body }} where it belongs"),
        ("<p>hello</p>{{ body }}", r"layout\.html\.j2: leaves out foot; write {{ foot }} where it belongs"),
        ("<style inline>{{ body }}</style>{{ foot }}", "leaves out body"),
        ("{% if x %}", r"layout\.html\.j2:1: "),
    ],
)
def test_a_layout_by_a_user_is_held_to_what_every_email_is(page: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        mail("x\n\n---\n\ny", page)


def test_a_value_in_a_layout_is_no_place_for_the_message() -> None:
    for value in HOSTILE:
        html = mail("x\n\n---\n\ny", "<b>{{ value }}</b>{{ body }}{{ foot }}", value=value).html
        assert html.count("<p ") == 2


@pytest.mark.parametrize(
    ("css", "styles"),
    [
        ("p { a: b; }", {"p": "a: b"}),
        ("p,\n.foot  p{a:b}p{c:d}", {"p": "a:b;c:d", ".foot p": "a:b"}),
        ("/* x { */ p { a: /* } */ b }/* p { c: d }", {"p": "a: b"}),
        ('@media (x) { p { a: b } } a { c: "d" }', {"a": "c: 'd'"}),
        ("@media (x) { @supports (y) { p { a: b } } } a { c: d }", {"a": "c: d"}),
        ("} p { a: b } }", {"p": "a: b"}),
        ("p { a: b", {}),
        ("", {}),
        ("x" * 90_000, {}),
        ("/*" * 45_000, {}),
        ("{" * 90_000, {}),
        ("p{}" * 30_000, None),
    ],
    ids=range(12),
)
def test_the_styles_of_a_layout(css: str, styles: dict[str, str] | None) -> None:
    began = time.process_time()
    found = read_styles(css)
    assert styles is None or found == styles
    assert time.process_time() - began < 1


def test_the_styles_of_a_layout_are_written_where_they_hold() -> None:
    page = "<style inline>p { a: b } .promise p { c: 'd' } .promise { e: f } .foot p { g: h }</style>\n"
    page += "{{ body }}{{ foot }}"
    html = mail("x\n\n> y\n\n---\n\nz", page).html
    assert re.findall('<(?:p|td)[^>]*style="([^"]*)"', html) == ["a: b", "e: f", "c: &#39;d&#39;", "g: h"]
    assert "<style" not in html
