"""Which fields of a reader a template uses, and whether it only prints them."""

from __future__ import annotations

import pytest

from commcast.rendering.fields import Fields, fields_used
from tests.support.templates import FILES

PARTS = {"user:p1.j2": "{{ recipient.x }}", "user:p2.j2": "{% set value = 1 %}{{ recipient.x }}"}


X = {"user:p1.j2": "{{ recipient.x }}"}
BARE_ONES = (
    *("a{{- recipient.x -}}b{{ recipient['x'] }}", "{% block subject %}{{ recipient.x }}{% endblock %}"),
    "{% if title %}{{ recipient.x }}{% else %}{% for n in names %}{{ recipient.x }}{% endfor %}{% endif %}",
    "{% raw %}{{ recipient|length }}{% endraw %}{# {{ recipient }} #}{{ facts.recipient }}{{ recipient.x }}",
    *('{% include "p1.j2" %}', '{% extends "p1.j2" %}{% block b %}{{ recipient.x }}{% endblock %}'),
)
KEYS = (
    *(
        "{{ recipient.x|upper }}",
        "{{ recipient.x.y }}",
        "{{ recipient['x'][0] }}",
        "{{ names[recipient.x] }}",
    ),
    *("{{ recipient.x }}{% if recipient.x %}{% endif %}", "{% set v = recipient.x %}"),
    *("{% set v %}{% if title %}{{ recipient.x }}{% endif %}{% endset %}", "{{ m(recipient.x) }}"),
    *("{% filter upper %}{{ recipient.x }}{% endfilter %}", "{% macro m() %}{{ recipient.x }}{% endmacro %}"),
    "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ recipient.x }}{% endcall %}",
    "{% filter upper %}{% block b %}{{ recipient.x }}{% endblock %}{% endfilter %}",
    "{% block b %}{{ recipient.x }}{{ super() }}{% endblock %}",
    "{% block b %}{% if title %}{{ recipient.x }}{% endif %}{% endblock %}{% set s = self %}",
    *('{% set v %}{% include "p1.j2" %}{% endset %}', '{% macro m() %}{% include "p1.j2" %}{% endmacro %}'),
    '{% block b %}{% include "p1.j2" %}{% endblock %}{{ self.b() }}',
    *('{% import "p1.j2" as p with context %}', '{% from "p1.j2" import v with context %}'),
)
PATH = ("user:", "shipped:")
FAR = {"user:a.j2": '{% include "b.j2" %}', "user:b.j2": "{{ recipient.x }}"}
CHILD = '{% extends "base.j2" %}{% block b %}{{ recipient.x }}{% endblock %}'
BLOCK = "{% block b %}{% endblock %}"


@pytest.mark.parametrize(
    ("source", "more", "is_bare"),
    [
        *((source, X, True) for source in BARE_ONES),
        *((source, X, False) for source in KEYS),
        # What is included further on in a captured place is captured; so is a block that a parent captures.
        ('{% include "a.j2" %}', FAR, True),
        ('{% set v %}{% include "a.j2" %}{% endset %}', FAR, False),
        ('{% from "a.j2" import v with context %}{% include "b.j2" %}', FAR, False),
        (CHILD, {"user:base.j2": BLOCK}, True),
        (CHILD, {"user:base.j2": f"{{% set v %}}{BLOCK}{{% endset %}}"}, False),
    ],
)
def test_bare_is_what_is_only_printed(source: str, more: dict[str, str], is_bare: bool) -> None:
    found = fields_used({"user:t.j2": source, **more}, PATH)
    assert found == (Fields(("x",), ()) if is_bare else Fields((), ("x",)))


WHOLE = (
    *("{{ recipient }}", "{{ recipient[field] }}", "{{ recipient[0] }}", "{{ recipient.get('x') }}"),
    *("{{ recipient.items() }}", "{{ recipient.keys }}", "{{ recipient['values']() }}", "{% if %}"),
    *("{{ m(recipient) }}", "{% set recipient = facts %}", "{% set a, recipient = facts, facts %}"),
    *(
        "{% set recipient %}x{% endset %}",
        "{% set recipient.x = 1 %}",
        "{% for k in recipient %}{% endfor %}",
    ),
    *("{% for recipient in names %}{% endfor %}", "{% with recipient = facts %}{% endwith %}"),
    *("{% macro recipient() %}{% endmacro %}", "{% macro m(recipient) %}{% endmacro %}"),
    *("{% call(recipient) m() %}{% endcall %}", '{% import "p1.j2" as recipient %}', "{% include title %}"),
    *('{% from "p1.j2" import recipient %}', '{% from "p1.j2" import v as recipient %}'),
    *('{% include ["p1.j2", "p2.j2"] %}', '{% extends title or "p1.j2" %}'),
)


@pytest.mark.parametrize("source", WHOLE)
def test_where_the_reader_is_used_as_a_whole_nothing_is_listed(source: str) -> None:
    assert fields_used({**PARTS, "user:t.j2": source}, PATH) is None
    assert fields_used({**PARTS, "user:t.j2": '{% include "u.j2" %}', "user:u.j2": source}, PATH) is None
    assert all(fields_used({"user:t.j2": missing}, PATH) is not None for missing in FILES[:6])
