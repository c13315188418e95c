"""A mail is cut only where its marks came out one for one, in places where a value changes only itself."""

from __future__ import annotations

from typing import Any

import pytest

from commcast.model.incident import Channel
from commcast.rendering.render import Renderer
from commcast.rendering.splice import CutMail, cut_mail
from commcast.rendering.templates import Wording

SUBJECT = "{% block subject %}s{% endblock %}"
CONTEXT: dict[str, Any] = {"title": "Card payments fail", "mark": "\U000f0000", "facts": {"x": "y"}}


def cut(text: str, html: str = "", *bare: str, **reader: Any) -> CutMail | None:
    sources = {"user:t.j2": SUBJECT + text, "user:h.j2": html}
    wording = Wording(Channel.EMAIL, "user:t.j2", "user:h.j2" if html else "", "user", sources)
    return cut_mail(Renderer(wording), CONTEXT, reader, bare or ("x",))


def test_a_mail_is_cut_at_its_values() -> None:
    made = cut("Hello {{ recipient.x }}{{ recipient.y }}!", "<p>{{ recipient.y }}</p>", "x", "y", "z")
    assert made is not None and made.fields == ("x", "y")
    assert made.skeleton.text == ("Hello ", 0, 1, "!\n")
    assert made.skeleton.html == ("<p>", 1, "</p>\n")
    assert made.skeleton.subject == ("s",)


@pytest.mark.parametrize(
    "text",
    [
        "{{ recipient.x|length }}",
        "{{ recipient.x ~ '!' }}",
        "{% if recipient.x %}x{% endif %}",
        "{% set v = recipient.x %}{{ v }}{{ v }}",
        "{% set v = recipient.x %}y",
        "{% filter upper %}a{{ recipient.x }}{% endfilter %}",
        "{% set v %}{{ recipient.x }}{% endset %}y",
        "{% for k in recipient %}{{ k }}{% endfor %}",
        "{{ recipient|length }}",
        "{{ recipient.x }}{{ mark }}",
        "{{ mark }}",
        "a\U000f0000b",
        "{{ recipient.x }}{{ 'x' * 3000 }}{% for i in range(3000) %}{% set z = 'x' * 1500 %}{% endfor %}",
    ],
)
def test_a_mark_that_is_lost_changed_or_not_ours_lets_nothing_be_cut(text: str) -> None:
    """The second guard, asked without the first one: these fields are no bare ones."""
    assert cut(text + " and more") is None


@pytest.mark.parametrize(
    "html",
    [
        "<!-- {{ recipient.x }} -->",
        "<!--{{ recipient.x }}-->",
        "<!-- c > {{ recipient.x }}>",
        "<p {{ recipient.x }}>t</p>",
        "<p{{ recipient.x }}>t</p>",
        '<p title="{{ recipient.x }}">t</p>',
        '<p style="color:{{ recipient.x }}">t</p>',
        "<style>{{ recipient.x }}</style>",
        "<style>p { color: red } {{ recipient.x }}",
        "<STYLE>{{ recipient.x }}</STYLE>",
        '<a href="https://a.example/" title="{{ recipient.x }}">t</a>',
        "<a href='https://a.example/{{ recipient.x }}'>t</a>",
        '<a href="https://a.example/&{{ recipient.x }}">t</a>',
        '<a href="https://a.example/&#{{ recipient.x }}">t</a>',
        '<q cite="https://a.example/{{ recipient.x }}">t</q>',
        '<a hidden href="https://a.example/{{ recipient.x }}">t</a>',
        "<!--[if {{ recipient.x }}]>t<![endif]-->",
    ],
)
def test_a_mark_in_an_odd_place_lets_nothing_be_cut(html: str) -> None:
    assert cut("t", html) is None


@pytest.mark.parametrize(
    ("html", "fit", "unfit"),
    [
        (
            "<p>{{ recipient.x }}</p>",
            ("<b>", "-->", "javascript:x", "--x"),
            ("", " x", "-", "--", "a\nb", None, 1),
        ),
        ("<style>p { color: red }</style><p>{{ recipient.x }}", ("url(x)", "\\"), ()),
        (
            '<a href="{{ recipient.x }}">t</a>',
            ("https://a.example/?a=1&b=2", "mailto:x"),
            ("x", "https://", "https://a b"),
        ),
        (
            '<a class="c" href="https://a.example/{{ recipient.x }}/y" title="t" >t</a>',
            ("x", "#32;", "?&"),
            ("'", '"', "<", "é"),
        ),
        ('<a href="https://a.example/?a=1&amp;b={{ recipient.x }}">t</a>', ("x&y",), ("x y",)),
        ('{{ recipient.x }}<a href="mailto:{{ recipient.x }}">t</a>', ("a@b.example",), ("a b",)),
        ('<a href="{{ recipient.x }}{{ recipient.x }}">t</a>', ("https://a",), ("a",)),
    ],
)
def test_a_value_fits_only_where_every_check_stays_as_it_is(
    html: str, fit: tuple[Any, ...], unfit: tuple[Any, ...]
) -> None:
    made = cut("t", html)
    assert made is not None
    assert [value for value in fit if made.values_of({"x": value}) != (value,)] == []
    assert [value for value in (*unfit, "\U000f0001", "x" * 100_000) if made.values_of({"x": value})] == []
    assert made.values_of({}) is None
