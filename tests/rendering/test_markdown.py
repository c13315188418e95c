"""One Markdown source, two parts: no value changes a tag or another word, and both say the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commcast.errors import TemplateError
from commcast.model.incident import Channel
from commcast.rendering.markdown import LONGEST_PREHEADER
from commcast.rendering.render import Renderer
from commcast.rendering.sandbox import tag_lines
from commcast.rendering.templates import Wording
from tests.support.markdown import HOSTILE, LINK, Seen, mail, message

# Every place of a value. @ is the value; « and » stand around it, so that it is found again.
PLACES = (
    *(
        "«@»",
        "Hello «@», **so**",
        "a\n«@»\nb",
        "**«@»**",
        "*«@»* x",
        "***«@»***",
        "`«@»`",
        "# «@»",
        "a **b«@»c** d",
    ),
    *("- «@»\n- b", "1. «@»\n2. b", "- a\n  - «@»", "> «@»", "> a\n> «@»\n\nb", "- > «@»", "a\n\n---\n\n«@»"),
    *(
        f"[«@»]({LINK}) x",
        f"x [a «@» b]({LINK}).",
        "«@»\\\nb",
        "_«@»_",
        "[«@»]: b",
        "[«@»]",
        f"![«@»]({LINK})",
    ),
    *("{% set v %}«@»{% endset %}{{ v }} {{ v }}", "{% set v %}**«@»**{% endset %}- {{ v }}\n- x"),
    *("{% macro m(x) %}> «{{ x }}»{% endmacro %}{{ m(value) }}", "{% set v = value ~ '' %}«{{ v }}»"),
    *(
        "{% set v %}a*«@»{% endset %}{{ '*' ~ v ~ '*' }}",
        "<b title='«@»'>",
        "&«@»;",
        "<!-- «@» -->",
        "a `«@»",
    ),
    "{% macro m() %}**{{ caller() }}**{% endmacro %}{% call m() %}«@»{% endcall %}",
)
CONTROLS = ("\x00", "a\x07", "\x1b[2J", "\x85", "\u2028", "\u202e", "\ud800", "a\rb", "\x7f", "\x0b")


def words_of(text: str) -> list[str]:
    return text.split()


def words_seen_in_text(text: str) -> list[str]:
    """Return the words of a text part without what only a text part has: rules, list marks, addresses."""
    lines = [re.sub(r"^[ \t]*(?:(?:- |\d\. )[ \t]*)*", "", line) for line in text.split("\n")]
    kept = "\n".join(line for line in lines if line != "---")
    return kept.replace(f" <{LINK}>", "").split()


def check_a_value(place: str, value: str, reader: bool) -> None:
    """A value stands where a plain word would, and nothing else is another than with that word."""
    if reader:
        place = re.sub(r"\bvalue\b", "recipient.x", place)
    source = place.replace("@", "{{ recipient.x }}" if reader else "{{ value }}")
    plain, hostile = (
        message(f"Before.\n\n{source}\n\nAfter.", value=each, reader={"x": each}) for each in ("word", value)
    )
    before, after = Seen(plain[1]), Seen(hostile[1])
    assert before.tags == after.tags
    shown = value.strip("\n")
    assert before.words.replace("word", shown).split() == after.words.split()
    # The text part ends no line with a space, and has no more than one empty line in a row.
    assert plain[0].replace("word", shown).split() == hostile[0].split()
    if value.strip() and "\n" not in value:
        assert (
            words_seen_in_text(plain[0].replace("word", "w"))
            == Seen(plain[1].replace("word", "w")).words.split()
        )


@pytest.mark.parametrize("place", PLACES)
def test_a_value_changes_no_tag_and_no_other_word(place: str) -> None:
    for value in HOSTILE:
        for reader in (False, True):
            check_a_value(place, value, reader)


NO_CONTROLS = st.characters(
    exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\u202a\u202b\u202c\u202d\u202e"
)
CLEAN = st.text(NO_CONTROLS)
VALUES = st.sampled_from(HOSTILE) | CLEAN | st.lists(st.sampled_from(HOSTILE), max_size=5).map("".join)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(PLACES), VALUES, st.booleans())
def test_nor_does_any_value(place: str, value: str, reader: bool) -> None:
    check_a_value(place, value, reader)


@pytest.mark.parametrize(
    "value", [each for each in HOSTILE if not re.search("\t|\n|a{200}", each.strip("\n"))]
)
def test_a_subject_is_a_line_of_plain_text(value: str) -> None:
    for subject in ("Subject: [Update] a {{ value }} *b*", "Subject: [{{ value }}] a *b*"):
        made = mail("x", subject=subject, value=value)
        shown = value.strip("\n")
        plain = subject.removeprefix("Subject: ").replace("{{ value }}", shown)
        assert made.subject == plain.strip()
    assert mail("x", "<b>{{ label }}</b>{{ body }}", subject="Subject: [{{ v }}] b", v="<i>").html[:17] == (
        "<b>&lt;i&gt;</b><"
    )


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("place", ["Subject: @\n\nx", "Subject: s\n\n@", f"Subject: s\n\n[@]({LINK})"])
def test_no_control_character_leaves(place: str, control: str) -> None:
    for reader in (False, True):
        body = place.replace("@", "x{{ recipient.x }}x" if reader else "x{{ value }}x")
        with pytest.raises(TemplateError, match=r"control character|more than one line"):
            mail(body, subject="", value=control, reader={"x": control})


# Each row: the trap, a template's body, its text and its HTML, without the styles of a layout.
P = '<p dir="auto">'
TRAPS = [
    (
        "captured text",
        "{% set v %}**a** {{ x }}{% endset %}{{ v }}",
        "a *x*",
        f"{P}<strong>a</strong> *x*</p>",
    ),
    ("captured by a macro", "{% macro m() %}*{{ x }}*{% endmacro %}{{ m() }}", "*x*", f"{P}<em>*x*</em></p>"),
    (
        "joined by ~",
        "{% set v %}**a**{% endset %}{{ v ~ '*b*' ~ x }}",
        "a*b**x*",
        f"{P}<strong>a</strong>*b**x*</p>",
    ),
    (
        "nothing taken from a sentence's end",
        "{% if x %}At 12:10.{% endif %}\nSorry.",
        "At 12:10. Sorry.",
        f"{P}At 12:10.\nSorry.</p>",
    ),
    ("a false if on a line", "a\n{% if no %}b{% endif %}\nc", "a c", f"{P}a\nc</p>"),
    ("written without spaces", "a\n{%if no%}b{%endif%}\nc", "a c", f"{P}a\nc</p>"),
    ("a false if over lines", "- a\n{% if no %}\n- b\n{% endif %}\n- c", "- a\n- c", None),
    ("tags alone on a line", "a\n  {# b #} {% set y = 1 %}  \nc", "a c", f"{P}a\nc</p>"),
    ("a value is no Markdown", "{{ '**Late**' if x }}", "**Late**", f"{P}**Late**</p>"),
    ("sentences end", "{{ 'It broke'|sentence }} Really", "It broke. Really", f"{P}It broke. Really</p>"),
    ("no code by indentation", "a\n\n    b", "a\n\nb", f"{P}a</p>\n{P}b</p>"),
    ("no fences", "```\na\n```", "a", f"{P}a</p>"),
    ("no heading by underline", "Acme\n---\nfoot", "Acme\n\n---\n\nfoot", f"{P}Acme</p>\n</main>{P}foot</p>"),
    ("no references", "[a]: b", "[a]: b", f"{P}[a]: b</p>"),
    ("no HTML", "<b>a</b>", "<b>a</b>", f"{P}&lt;b&gt;a&lt;/b&gt;</p>"),
    ("no images", "![a](https://a.b)", "!a <https://a.b>", f'{P}!<a href="https://a.b">a</a></p>'),
    ("nothing swallowed by a list", "- a\nb", "- a\n\nb", f'<ul>\n<li dir="auto">a</li>\n</ul>\n{P}b</p>'),
    ("nor by a quote", "> a\nb", "a\n\nb", None),
    (
        "a product and a date of values",
        "{{ '22. November' }}\n{{ '5*3*2' }}",
        "22. November 5*3*2",
        f"{P}22. November\n5*3*2</p>",
    ),
    ("a template's lines are one paragraph", "a.\nb.", "a. b.", f"{P}a.\nb.</p>"),
    ("a value's lines are lines", "{{ lines }}", "a\nb", f"{P}a<br>\nb</p>"),
    ("an empty paragraph", "a\n\n{{ empty }}\n\nb", "a\n\nb", f"{P}a</p>\n{P}b</p>"),
    ("empty bold", "a **{{ empty }}**b", "a b", f"{P}a <strong></strong>b</p>"),
    (
        "an empty item",
        "- a\n- {{ empty }}\n- c",
        "- a\n- c",
        '<ul>\n<li dir="auto">a</li>\n<li dir="auto">c</li>\n</ul>',
    ),
    ("an empty list", "a\n\n- {{ empty }}", "a", f"{P}a</p>"),
    ("an empty box", "a\n\n> {{ empty }}", "a", f"{P}a</p>"),
    ("an empty heading", "a\n\n# {{ empty }}", "a", f"{P}a</p>"),
    ("a line that is empty", "a\n{{ empty }}\nb", "a b", f"{P}a\nb</p>"),
    (
        "empty link words",
        "[{{ empty }}](https://a.b)",
        "https://a.b",
        f'{P}<a href="https://a.b">https://a.b</a></p>',
    ),
    ("an empty address", "a [b]({{ empty }})", "a", f"{P}a </p>"),
    (
        "words that are the address",
        "[{{ url }}]({{ url }})",
        "https://a.b",
        f'{P}<a href="https://a.b">https://a.b</a></p>',
    ),
    ("no link by itself", "https://a.b", "https://a.b", f"{P}https://a.b</p>"),
    (
        "right to left",
        "{{ rtl }}",
        "א\nb",
        '<p dir="rtl"><span dir="auto">א</span><br>\n<span dir="auto">b</span></p>',
    ),
    (
        "the side of the words before",
        "A: {{ rtl }}",
        "A: א\nb",
        f'{P}A: <span dir="auto">א</span><br>\n<span dir="auto">b</span></p>',
    ),
    ("items of an item", "- a\n  - b\n- c", "- a\n\n  - b\n- c", None),
    (
        "numbers go on",
        "3. a\n4. b",
        "3. a\n4. b",
        '<ol start="3">\n<li dir="auto">a</li>\n<li dir="auto">b</li>\n</ol>',
    ),
]


@pytest.mark.parametrize(("body", "text", "html"), [row[1:] for row in TRAPS], ids=[row[0] for row in TRAPS])
def test_traps(body: str, text: str, html: str | None) -> None:
    values = {"x": "*x*", "no": None, "empty": "", "lines": "a\nb", "url": "https://a.b", "rtl": "א\nb"}
    made = message(body, **values)
    assert made[0] == text
    assert html in (None, made[1])
    assert message(body.replace("\n", "\r\n"), **values) == made, "saved on Windows"


@pytest.mark.parametrize(
    "used",
    [
        "v|upper",
        "v|replace('a', 'b')",
        "v|length",
        "v|truncate(3)",
        "[v]|join",
        "[v, 'a']|join",
        "v|join",
        *(
            "v + v",
            "v + 'a'",
            "v|sentence",
            "v|trim",
            "v.upper()",
            "'a'|replace('a', v)",
            "v % 1",
            "[v]|map('upper')|join",
        ),
    ],
)
def test_captured_text_is_not_taken_apart(used: str) -> None:
    with pytest.raises(TemplateError, match=r"captured text|unknown variable|not work"):
        mail("{% set v %}a {{ x }}{% endset %}{{ " + used + " }}", x="*")
    with pytest.raises(TemplateError, match="unknown filter 'escape'"):
        mail("{{ x|escape }}", x="*")


def test_an_error_has_the_line_of_the_file() -> None:
    lines = [
        "{# a",
        "b #}",
        "{% if true %}",
        "{% if true %}x{% endif %}",
        "  {% set y = 1 -%}",
        "{% endif %}",
        "x",
    ]
    for number in (0, 2, 3, 4, 5, 6, 7):
        body = "\n".join([*lines[:number], "{{ missing }}"] + ["{% endif %}"] * (2 < number < 6))
        with pytest.raises(
            TemplateError, match=rf"templates/t\.md\.j2:{number + 3}: unknown variable 'missing'"
        ):
            mail(body)


def test_captured_text_that_is_imported_has_the_values_of_each_message() -> None:
    sources = {
        "user:t.md.j2": 'Subject: s\n\n{{ x }}{% from "p.j2" import v %} {{ v }}',
        "user:h.j2": "{{ body }}",
    }
    sources["user:p.j2"] = "{% set v %}*{{ 'team' }}*{% endset %}"
    renderer = Renderer(Wording(Channel.EMAIL, "user:t.md.j2", "user:h.j2", "user", sources))
    assert [renderer.email({"x": x}, {}).text for x in "ab"] == ["a team\n", "b team\n"]


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("Hello {{ recipient.x }}.\n\nCards fail. {{ y }}", "Cards fail. <y>"),
        ("**{{ recipient.x }}**\n\n# A title\n\n> A promise\n\n- item\n\nThe words", "item"),
        ("{{ recipient.x }}\n\n---\n\nfoot", ""),
        ("word " * 40, ("word " * 29).strip() + "…"),
        ("x" * 151, "x" * 149 + "…"),
        ("x" * 150, "x" * 150),
        ("a\nb **c** [d](https://a.b)", "a b c d <https://a.b>"),
    ],
)
def test_the_inbox_shows_the_first_paragraph_that_no_reader_is_in(body: str, shown: str) -> None:
    found = re.match("<i>(.*?)</i>", mail(body, y="<y>", reader={"x": "Dana"}).html)
    assert found and found[1] == shown.replace("<", "&lt;").replace(">", "&gt;")
    assert len(shown) <= LONGEST_PREHEADER


@pytest.mark.parametrize("start", ["", "Hello", "# Subject: s", "subject: s", "{{ 'Subject: s' }}"])
def test_a_message_without_a_subject_says_what_to_write(start: str) -> None:
    with pytest.raises(
        TemplateError, match=r"t\.md\.j2: has no subject; begin the file with: Subject: \[Update\]"
    ):
        mail("x", subject=start)


MARKS: tuple[str, ...] = (
    "- ",
    "> ",
    "1. ",
    "  ",
    "    ",
    "\n",
    "\n",
    "\n\n",
    "**",
    "*",
    "_",
    "`",
    "# ",
    "---",
    "\\",
    "\t",
    "=",
    "|",
)
MARKS += (
    "[",
    f"]({LINK})",
    f"<{LINK}>",
    "](",
    ")",
    "!",
    "&amp;",
    "<",
    ">",
    "a",
    "b",
    "{{ value }}",
    "{{ empty }}",
)


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(MARKS), max_size=30).map("".join))
def test_whatever_a_template_says_both_parts_say_the_same(source: str) -> None:
    try:
        text, html = message(f"x {source}\n\n{source}", value="v", empty="")
    except TemplateError as error:
        assert re.search("nested too deeply|href that is not|is never closed", str(error))
        return
    said, seen = (each.replace(f"<{LINK}>", "") for each in (text, Seen(html).words))
    assert [*filter(str.isalpha, said)] == [*filter(str.isalpha, seen)]


LINES = st.lists(
    st.sampled_from(
        (
            "{% if x %}",
            "{% endif %}",
            "{% else %}",
            "{# c #}",
            "{#",
            "#}",
            "{%",
            "%}",
            "-%}",
            "{%-",
            "{{ x }}",
        )
    )
    | st.sampled_from(
        ("a", " ", "\n", "\n", "{% if x %}b{% endif %}\n", "{% set y = 1 +%}\n", "{% raw %}", "{% endraw %}")
    )
)


@given(LINES)
def test_tag_lines_move_line_ends_only(pieces: list[str]) -> None:
    source = "".join(pieces)
    moved = tag_lines(source)
    assert moved.count("\n") == source.count("\n")
    assert "".join(moved.split()) == "".join(source.split())
