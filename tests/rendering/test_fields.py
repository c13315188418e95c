"""What a wording does with a reader's values is read off its tree: bare, a key, or not to be listed."""

from __future__ import annotations

import pytest

from commcast.rendering.fields import Fields, fields_used
from tests.support.templates import FILES

PARTS = {"user:p1.j2": "{{ recipient.x }}", "user:p2.j2": "{% set value = 1 %}{{ recipient.x }}"}


def used(source: str, **more: str) -> Fields | None:
    return fields_used({"user:t.j2": source, **more})


@pytest.mark.parametrize(
    "source",
    [
        "{{ recipient.x }}",
        '{{ recipient["x"] }}',
        "a{{- recipient.x -}}b{{ recipient['x'] }}",
        "{% block subject %}{{ recipient.x }}{% endblock %}",
        "{% if title %}{{ recipient.x }}{% else %}{{ recipient.x }}{% endif %}",
        "{% for n in names %}{{ recipient.x }}{% else %}{{ recipient.x }}{% endfor %}",
        "{% with w = 1 %}{{ recipient.x }}{% endwith %}",
        "{% raw %}{{ recipient|length }}{% endraw %}{# {{ recipient }} #}{{ recipient.x }}",
        '{% include "p1.j2" %}',
        '{% extends "p1.j2" %}{% block b %}{{ recipient.x }}{% endblock %}',
        "{{ facts.recipient }}{{ recipient.x }}",
    ],
)
def test_a_value_that_is_only_printed_is_bare(source: str) -> None:
    assert used(source, **{"user:p1.j2": "{{ recipient.x }}"}) == Fields(("x",), ())


@pytest.mark.parametrize(
    "source",
    [
        "{{ recipient.x|upper }}",
        "{{ recipient.x ~ '' }}",
        "{{ recipient.x.y }}",
        "{{ recipient['x'][0] }}",
        "{{ recipient.x if recipient.x else '' }}",
        "{{ (recipient.x, 1)[0] }}",
        "{{ m(recipient.x) }}",
        "{{ names[recipient.x] }}",
        "{{ recipient.x is defined and 'y' or 'n' }}",
        "{{ recipient.x }}{% if recipient.x %}{% endif %}",
        "{% set v = recipient.x %}",
        "{% set ns.v = recipient.x %}",
        "{% for n in recipient.x %}{% endfor %}",
        "{% for n in names if n == recipient.x %}{% endfor %}",
        "{% with w = recipient.x %}{% endwith %}",
        "{% filter upper %}{{ recipient.x }}{% endfilter %}",
        "{% filter replace('a', recipient.x) %}a{% endfilter %}",
        "{% set v %}{{ recipient.x }}{% endset %}",
        "{% set v %}{% if title %}{{ recipient.x }}{% endif %}{% endset %}",
        "{% macro m() %}{{ recipient.x }}{% endmacro %}",
        "{% macro m(a=recipient.x) %}{% endmacro %}",
        "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ recipient.x }}{% endcall %}",
        "{% filter upper %}{% block b %}{{ recipient.x }}{% endblock %}{% endfilter %}",
        "{% block b %}{{ recipient.x }}{% endblock %}{{ self.b() }}",
        "{% block b %}{{ recipient.x }}{{ super() }}{% endblock %}",
        "{% block b %}{% if title %}{{ recipient.x }}{% endif %}{% endblock %}{% set s = self %}",
        '{% filter upper %}{% include "p1.j2" %}{% endfilter %}',
        '{% set v %}{% include "p1.j2" %}{% endset %}',
        '{% macro m() %}{% include "p1.j2" %}{% endmacro %}',
        '{% block b %}{% include "p1.j2" %}{% endblock %}{{ self.b() }}',
        '{% import "p1.j2" as p with context %}',
        '{% from "p1.j2" import v with context %}',
    ],
)
def test_a_value_that_more_may_depend_on_is_a_key(source: str) -> None:
    assert used(source, **{"user:p1.j2": "{{ recipient.x }}"}) == Fields((), ("x",))


def test_what_is_included_further_on_in_a_captured_place_is_captured() -> None:
    inner = {"user:a.j2": '{% include "b.j2" %}', "user:b.j2": "{{ recipient.x }}"}
    assert used('{% include "a.j2" %}', **inner) == Fields(("x",), ())
    assert used('{% set v %}{% include "a.j2" %}{% endset %}', **inner) == Fields((), ("x",))
    assert used('{% from "a.j2" import v with context %}{% include "b.j2" %}', **inner) == Fields((), ("x",))


def test_a_block_of_a_child_that_its_parent_captures_is_captured() -> None:
    child = '{% extends "base.j2" %}{% block b %}{{ recipient.x }}{% endblock %}'
    plain = {"user:base.j2": "{% block b %}{% endblock %}"}
    captured = {"user:base.j2": "{% set v %}{% block b %}{% endblock %}{% endset %}"}
    assert used(child, **plain) == Fields(("x",), ())
    assert used(child, **captured) == Fields((), ("x",))


@pytest.mark.parametrize(
    "source",
    [
        "{{ recipient }}",
        "{{ recipient|length }}",
        "{{ recipient[field] }}",
        "{{ recipient[0] }}",
        "{{ recipient['x' ~ 'y'] }}",
        "{{ recipient.get('x') }}",
        "{{ recipient.items() }}",
        "{{ recipient.keys }}",
        "{{ recipient['values']() }}",
        "{{ 'x' in recipient and 'y' or 'n' }}",
        "{{ facts[recipient] }}",
        "{{ m(recipient) }}",
        "{{ m(a=recipient) }}",
        "{% if recipient %}{% endif %}",
        "{% if recipient is mapping %}{% endif %}",
        "{% set r = recipient %}",
        "{% set recipient = facts %}",
        "{% set a, recipient = facts, facts %}",
        "{% set recipient %}x{% endset %}",
        "{% set recipient.x = 1 %}",
        "{% for k in recipient %}{% endfor %}",
        "{% for recipient in names %}{% endfor %}",
        "{% for a, recipient in names %}{% endfor %}",
        "{% with recipient = facts %}{% endwith %}",
        "{% with r = recipient %}{% endwith %}",
        "{% macro recipient() %}{% endmacro %}",
        "{% macro m(recipient) %}{% endmacro %}",
        "{% call(recipient) m() %}{% endcall %}",
        '{% import "p1.j2" as recipient %}',
        '{% from "p1.j2" import recipient %}',
        '{% from "p1.j2" import v as recipient %}',
        '{% from "p1.j2" import recipient as v %}',
        '{% include ["p1.j2", "p2.j2"] %}',
        "{% include title %}",
        '{% extends title or "p1.j2" %}',
        "{% if %}",
    ],
)
def test_where_the_reader_is_used_as_a_whole_nothing_is_listed(source: str) -> None:
    assert used(source, **PARTS) is None
    assert used('{% include "u.j2" %}', **{**PARTS, "user:u.j2": source}) is None


@pytest.mark.parametrize("source", FILES[:6])
def test_a_file_that_is_not_there_is_no_matter_here(source: str) -> None:
    assert used(source) is not None
