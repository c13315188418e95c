"""The shipped templates, compiled once; and templates and readers that hypothesis makes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from commcast.cli import demo_desk
from commcast.config.load import load_config
from commcast.doctor.trial import TrialRenderer
from commcast.incidents.load import load_incident
from commcast.model.incident import Channel, Recipient, View
from commcast.rendering.compose import Content, Envelope, ReaderGroup, renderer_for
from commcast.rendering.render import Renderer
from commcast.rendering.templates import Templates, Wording, shipped_templates
from tests.support.values import PUBLIC

FIELDS = ("name", "greeting", "link", "plan", "tags")
CONTEXT: dict[str, Any] = {
    "title": "Card payments fail",
    "names": ["Card payments", "Refunds"],
    "facts": {"name": "a fact", "plan": "gold"},
    "field": "name",
    "number": 3,
}
PLAIN = ("Dana", "Hello Dana,", "Zoë", "https://a.example/u/17?x=1", "gold", "李 雷", "O'Neil & <Sons>", "😀")
HOSTILE: tuple[Any, ...] = (
    *("", " ", "x ", " x", "\xa0x", "a\nb", "a\tb", "a\r\nb", "a\u2028b", "a\x00b", "\ud800", "a\x85b"),
    *("-", "--", "---", "-- ", "\U000f0000", "x\U000f0001y", "\ue000", "\u200d", "a\u200cb", "\u202ex"),
    *("<b>", "-->", "--", '"', "'", "&", "amp;", "#32;", "&amp;", "{{ x }}", "…", "’", "=?utf-8?q?x?="),
    *("javascript:x", "https://a b", "https://a.example/?a=1&b=2", "mailto:x", "//evil.example", "http://"),
    *("x" * 254, "x" * 255, "x" * 300, "é" * 20_000, "&" * 30_000, "0", "ſtyle", "url(x)"),
    *(None, True, False, 0, 1, 1.0, 1.5, [], ["a"], ["a", "b"], {"a": "b"}),
)


def shipped_wording(audience: str, moment: str, channel: Channel, view: str = "") -> Wording:
    """Return the shipped wording of an audience at a moment, public unless told if it is one of PUBLIC."""
    view = view or (View.PUBLIC if audience in PUBLIC else View.INTERNAL)
    return Templates(None, shipped_templates()).choose(audience, View(view), moment, "", channel)


def shipped_renderer(audience: str, moment: str, channel: Channel, view: str = "") -> Renderer:
    """Return the renderer of the shipped wording, compiled once per process."""
    return renderer_for(shipped_wording(audience, moment, channel, view).to_json())


def example_told(folder: Path, number: int, channel: Channel) -> Content:
    """Return what a customer is told by update `number` of the shipped example, on a demo's desk."""
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    desk = demo_desk.make(folder, now)
    desk.incident_path.write_text(desk.incident_text, encoding="utf-8")
    config = load_config(desk.folder)
    incident = load_incident(desk.incident_path, config, now)
    incident = incident.model_copy(update={"updates": incident.updates[:number]})
    reader = Recipient(2, email="kim@bakery.example", phone="+493023125042", name="Kim Adler")
    return TrialRenderer(config).render(incident, "customers", channel, reader)


Draw = Callable[[st.SearchStrategy[Any]], Any]

ANY = (
    "x",
    " ",
    "\n",
    "\n\n\n",
    "Hello ",
    "--",
    "- ",
    " \n",
    "-- \n",
    "\r\n",
    "\t",
    "…",
    "é",
    "{# a comment #}",
)
BARE = (
    *("{{ recipient.FIELD }}", '{{ recipient["FIELD"] }}', "{{- recipient.FIELD -}}"),
    *("{{ recipient.FIELD }} {{ recipient.FIELD }}", "({{ recipient.FIELD }})", "-{{ recipient.FIELD }} "),
    "\n{{ recipient.FIELD }} \n",
)
USED = (
    *("{{ recipient.FIELD|upper }}", "{{ recipient.FIELD|trim }}", "{{ recipient.FIELD|default('none') }}"),
    *("{{ recipient.FIELD|length }}", "{{ recipient.FIELD|truncate(5) }}"),
    *("{{ recipient.FIELD|replace('a', 'b') }}", "{{ recipient.FIELD ~ '!' }}", "{{ recipient.FIELD[0] }}"),
    *("{{ recipient.FIELD.x }}", "{{ recipient.FIELD.upper() }}", "{{ recipient.get('FIELD') }}"),
    *("{{ recipient.items()|length }}", "{{ recipient.FIELD if recipient.FIELD == 'gold' else 'no' }}"),
    "{{ 'y' if recipient.FIELD is defined else 'n' }}",
    *("{{ 'y' if recipient.FIELD is string else 'n' }}", "{{ recipient|length }}", "{{ recipient }}"),
    *("{{ recipient[field] }}", "{{ facts[recipient.FIELD] }}"),
    *("{{ [recipient.FIELD, 'b']|sort|join(',') }}", "{{ {'a': recipient.FIELD}.a }}"),
    *("{{ self.subject() }}", "{{ recipient.FIELD or 'nobody' }}", "{{ title }}", "{{ missing }}"),
    *("{{ number * 2 }}", "{% raw %}{{ recipient.FIELD }}{% endraw %}"),
    *("{% set v = recipient.FIELD %}{{ v }}", "{% set recipient = facts %}"),
    "{% set ns = namespace(x=recipient.FIELD) %}{{ ns.x }}",
    "{% for recipient in [facts] %}{{ recipient.name }}{% endfor %}",
    "{% macro recipient() %}x{% endmacro %}",
    "{% macro mm(recipient) %}{{ recipient.name }}{% endmacro %}{{ mm(facts) }}",
    "{% macro mk() %}{{ kwargs.recipient.name }}{% endmacro %}{{ mk(recipient=recipient) }}",
    "{% with recipient = facts %}{{ recipient.name }}{% endwith %}",
    *("{% for x in recipient.FIELD %}{{ x }}{% endfor %}", "{% for x in recipient %}{{ x }}{% endfor %}"),
    "{% for x in 'ab' %}{{ loop.changed(recipient.FIELD) and 'c' or 'd' }}{% endfor %}",
)
ROUND = (
    "{% if recipient.FIELD %}BODY{% else %}BODY{% endif %}",
    *("{% if recipient.FIELD == 'gold' %}BODY{% endif %}", "{% if title %}BODY{%- endif %}"),
    *("{% if false %}BODY{% endif %}", "{% for n in names %}{{ n }}BODY{% endfor %}"),
    "{%- for n in names if n != recipient.FIELD -%}BODY{%- else -%}BODY{%- endfor -%}",
    *("{% filter upper %}BODY{% endfilter %}", "{% filter trim %}BODY{% endfilter %}"),
    *("{% set v %}BODY{% endset %}{{ v }}", "{% set v %}BODY{% endset %}{{ v|length }}"),
    *("{% set v %}BODY{% endset %}", "{% macro m() %}BODY{% endmacro %}{{ m() }}"),
    "{% macro m(a) %}BODY{{ a }}{% endmacro %}{{ m(recipient.FIELD) }}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}BODY{% endcall %}",
    "{% macro m() %}{{ caller()|upper }}{% endmacro %}{% call m() %}BODY{% endcall %}",
    *("{% block BLOCK %}BODY{% endblock %}", "{% block BLOCK %}BODY{% endblock %}{{ self.BLOCK() }}"),
    "{% filter upper %}{% block BLOCK %}BODY{% endblock %}{% endfilter %}",
    *("{% with w = title %}BODY{% endwith %}", "BODY BODY"),
)
FILES = (
    *('{% include "p1.j2" %}', '{% include "p1.j2" without context %}'),
    '{% set v %}{% include "p1.j2" %}{% endset %}{{ v }}',
    '{% filter upper %}{% include "p1.j2" %}{% endfilter %}',
    '{% macro m() %}{% include "p1.j2" %}{% endmacro %}{{ m() }}',
    '{% from "p2.j2" import value with context %}{{ value }}',
    '{% import "p2.j2" as part with context %}{{ part.value }}{{ part.made() }}',
    '{% import "p2.j2" as recipient with context %}{{ recipient.value }}',
    '{% from "p2.j2" import value as recipient with context %}{{ recipient }}',
)
HTML = (
    *("<p>BODY</p>", "<p style='color:red'>BODY</p>"),
    '<a href="https://a.example/{{ recipient.FIELD }}">BODY</a>',
    '<a class="x" href="https://a.example/?a=1&amp;b={{ recipient.FIELD }}" title="t">x</a>',
    *('<a href="https://a.example/&{{ recipient.FIELD }}">x</a>', '<a href="{{ recipient.FIELD }}">x</a>'),
    '<a href="{{ recipient.FIELD }}/{{ recipient.FIELD }}">x</a>',
    *("<a href='{{ recipient.FIELD }}'>x</a>", "<a href={{ recipient.FIELD }}>x</a>"),
    *('<p title="{{ recipient.FIELD }}">x</p>', '<p style="color:{{ recipient.FIELD }}">x</p>'),
    *("<!-- {{ recipient.FIELD }} -->", "<!-- c -->BODY", "<!-- c > {{ recipient.FIELD }}>"),
    *("<!--[if mso]>BODY<![endif]-->", "<style>p { color: {{ recipient.FIELD }} }</style>"),
    *("<style>p { color: red }</style>BODY", "<{{ recipient.FIELD }}>x", "<b {{ recipient.FIELD }}>x</b>"),
    *("<p>1 < {{ recipient.FIELD }}</p>", "&{{ recipient.FIELD }};"),
)

# Markdown around a value; in the first message of a desk as in the oddest one.
MARKDOWN = (
    *(
        "**BODY**",
        "*BODY*",
        "`BODY`",
        "# BODY\n",
        "## BODY **BODY**\n",
        "- BODY\n- BODY\n",
        "> BODY\n> BODY\n",
    ),
    *("1. BODY\n2. BODY\n", "> - BODY\n>   - BODY\n\nBODY", "- > BODY\n", "\n\nBODY\n\n", "BODY\\\nBODY"),
    *("\n\n---\n\nBODY", "[BODY](https://a.example/{{ recipient.FIELD }})", "[BODY]({{ recipient.FIELD }})"),
    *(
        "[]({{ recipient.FIELD }})",
        "[{{ recipient.FIELD }}]({{ recipient.FIELD }})",
        "<https://a.example/BODY>",
    ),
    *("[{{ title }}]({{ recipient.FIELD }})", "[BODY](https://a.example/?a=1&b={{ recipient.FIELD }})"),
    *("&BODY;", "&amp;BODY", "\\BODY", "_BODY_", "***BODY** BODY*", "![BODY](https://a.b)", "<b>BODY</b>"),
    *("    BODY", "BODY\n===\n", "[x]: BODY\n", "> BODY\nBODY\n", "- BODY\nBODY\n", "BODY\n> BODY\n"),
    *("{% if title %}BODY{% endif %}\n", "{% if recipient.FIELD == 'gold' %}\n- BODY\n{% endif %}\n"),
    *("- {% if title %}BODY{% endif %}\n", "```\nBODY\n```", "<!-- BODY -->", "~ BODY", "BODY…"),
)
PAGES = (
    "<style inline>p { margin: 0 } .promise { color: red }</style><p>{{ preheader }}</p>{{ body }}{{ foot }}",
    "<title>{{ subject }}</title><i>{{ label }}</i><p title='{{ title }}'>x</p>{{ body }}<hr>{{ foot }}",
)


def readers() -> st.SearchStrategy[dict[str, Any]]:
    """Return readers: mostly with plain values in all fields, some with hostile ones or none."""
    value = st.sampled_from(PLAIN) | st.sampled_from(PLAIN + HOSTILE) | st.text(min_size=1, max_size=9)
    every = st.fixed_dictionaries(dict.fromkeys(FIELDS, value))
    return every | every.map(lambda one: {k: v for k, v in one.items() if k != "name"}) | every


@st.composite
def wordings(draw: st.DrawFn, channel: Channel = Channel.EMAIL) -> Wording:
    """Make a wording with the files it includes, imports and extends; not every one renders."""
    # Most wordings keep to what can be spliced, or hypothesis would hardly make one that is.
    wild = draw(st.sampled_from((False, False, True)))
    sources = {
        "user:t.j2": _text_file(draw, wild, mail=channel is Channel.EMAIL),
        "user:p1.j2": _body(draw, wild, 1),
        "user:p2.j2": f"{_body(draw, wild, 1)}{{% set value = {draw(st.sampled_from(_VALUES))} %}}"
        f"{{% macro made() %}}{_body(draw, wild, 0)}{{% endmacro %}}",
        "shipped:base.j2": f"{_body(draw, wild, 1)}{{% block main %}}{_body(draw, wild, 0)}{{% endblock %}}"
        "{% block subject %}s{% endblock %}",
    }
    html = ""
    if channel is Channel.EMAIL and draw(st.booleans()):
        html = "user:h.j2"
        sources[html] = _body(draw, wild, 2, HTML) + _body(draw, wild, 2, HTML)
    return Wording(channel, "user:t.j2", html, "user", sources)


_VALUES = ("title", "title", "recipient.name", "recipient.plan|upper", "title ~ recipient.link")


@st.composite
def markdown_wordings(draw: st.DrawFn) -> Wording:
    """Make a wording of one Markdown source with its layout and all that the source names."""
    wild = draw(st.sampled_from((False, False, True)))
    pieces = [_body(draw, wild, draw(st.integers(0, 2)), MARKDOWN) for _ in range(draw(st.integers(1, 4)))]
    subject = draw(st.sampled_from(("s", "[Update] s", "[{{ title }}] {{ recipient.plan }}", "{{ title }}")))
    sources = {
        "user:t.md.j2": f"Subject: {subject}\n\n{''.join(pieces)}{_body(draw, wild, 1, MARKDOWN)}",
        "user:p1.j2": _body(draw, wild, 1, MARKDOWN),
        "user:p2.j2": f"{{% set value = {draw(st.sampled_from(_VALUES))} %}}"
        f"{{% macro made() %}}{_body(draw, wild, 1, MARKDOWN)}{{% endmacro %}}",
        "user:h.j2": draw(st.sampled_from(PAGES)),
    }
    return Wording(Channel.EMAIL, "user:t.md.j2", "user:h.j2", "user", sources)


def _text_file(draw: Draw, wild: bool, *, mail: bool) -> str:
    if not mail:
        return _body(draw, wild, 2)
    subject = _body(draw, wild, 0)
    if draw(st.sampled_from((False, False, False, True))):
        body = _body(draw, wild, 1)
        return f'{{% extends "base.j2" %}}{{% block main %}}{body}{{% endblock %}}' + (
            f"{{% block subject %}}{subject} {{{{ super() }}}}{{% endblock %}}"
        )
    head = f"{{% block subject %}}s {subject}{{% endblock %}}\n"
    return f"{head}{_body(draw, wild, 2)}{_body(draw, wild, 2)}{_body(draw, wild, 1)}"


def _body(draw: Draw, wild: bool, depth: int, more: tuple[str, ...] = ()) -> str:
    """Return a piece of template. What is tame prints bare, and uses a field otherwise at times."""
    kinds: list[tuple[str, ...]] = [ANY, BARE, BARE, ("{{ title }}",)]
    if wild:
        kinds += [USED, USED]
    if depth:
        kinds += [more, more, more] if more else []
        kinds += [ROUND, ROUND, FILES] if wild else [_TAME, _TAME]
    made = str(draw(st.sampled_from(draw(st.sampled_from(kinds)))))
    while "BODY" in made:
        made = made.replace("BODY", _body(draw, wild, depth - 1, more), 1)
    while "FIELD" in made:
        made = made.replace("FIELD", draw(st.sampled_from(FIELDS)), 1)
    return made.replace("BLOCK", f"b{draw(_NUMBER)}")


_NUMBER = st.integers(0, 10**9)
_TAME = (
    *("BODY BODY", "{% if recipient.plan == 'gold' %}BODY{% else %}BODY{% endif %}"),
    *("{% if title %}BODY{%- endif %}", "{% for n in names %}{{ n }}BODY{% endfor %}"),
    *('{% include "p1.j2" %}', "{{ recipient.plan|upper }}BODY"),
)


def group_of(
    wording: Wording, context: dict[str, Any] | None = None, renderer: Renderer | None = None
) -> ReaderGroup:
    """Return a group of its own for a wording. Raises TemplateError where it does not compile."""
    return ReaderGroup(
        channel=wording.channel,
        incident="pay7",
        audience="customers",
        zone="Europe/Berlin",
        locale="",
        wording=wording,
        context=CONTEXT if context is None else context,
        envelope=Envelope("Acme Pay <status@acme.example>", "help@acme.example"),
        next_update_by=None,
        renderer=renderer or Renderer(wording),
    )
