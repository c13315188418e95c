"""No template gets out of the sandbox, and none blocks the desk: time and memory are bounded."""

from __future__ import annotations

import resource
import time
from typing import Any, NoReturn

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commcast.errors import TemplateError
from commcast.model.incident import Channel
from commcast.rendering.render import Renderer
from commcast.rendering.sandbox import MessageEnvironment
from commcast.rendering.templates import Wording

CONTEXT: dict[str, Any] = {
    "title": "Card payments fail",
    "long": "word " * 800,
    "facts": {"items": "a column", "format": "{0.__class__}", "update": "yes"},
    "names": ["Card payments", "Refunds"],
    "nothing": None,
}
INSIDES = ("Popen", "<class", "<built-in", "<function", "<module", "<bound", "Traceback", "0x")


def render(source: str, *, html: bool = False, extra: dict[str, str] | None = None) -> str:
    subject = "" if "block subject" in source else "{% block subject %}s{% endblock %}"
    sources = {"user:a.txt.j2": subject + source, **(extra or {})}
    if html:
        sources |= {"user:a.txt.j2": source, "user:t.txt.j2": "{% block subject %}s{% endblock %}t"}
        wording = Wording(Channel.EMAIL, "user:t.txt.j2", "user:a.txt.j2", "user", sources)
        return Renderer(wording).email(CONTEXT, {}).html.strip()
    return (
        Renderer(Wording(Channel.EMAIL, "user:a.txt.j2", "", "user", sources)).email(CONTEXT, {}).text.strip()
    )


def test_the_jinja_in_use_has_the_fixes_we_rely_on() -> None:
    assert tuple(map(int, jinja2.__version__.split(".")[:3])) >= (3, 1, 6)


ESCAPES = {
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "class by item": "{{ ''['__class__'] }}",
    "class by number": "{{ (1).__class__ }}",
    "class of undefined": "{{ missing.__class__ }}",
    "class of none": "{{ nothing.__class__ }}",
    "class of a group": "{{ facts.__class__ }}",
    "globals of a macro": "{% macro m() %}x{% endmacro %}{{ m.__globals__ }}",
    "function of a macro": "{% macro m() %}x{% endmacro %}{{ m._func.__globals__ }}",
    "globals of self": "{{ self.__init__.__globals__ }}",
    "context of self": "{{ self._TemplateReference__context }}",
    "environment": "{{ self._TemplateReference__context.environment }}",
    "cycler globals": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "joiner globals": "{{ joiner.__init__.__globals__ }}",
    "lipsum globals": "{{ lipsum.__globals__ }}",
    "namespace globals": "{{ namespace.__init__.__globals__ }}",
    "namespace attributes": "{% set ns = namespace() %}{{ ns._Namespace__attrs }}",
    "range class": "{{ range.__class__ }}",
    "loop context": "{% for x in names %}{{ loop._iterable }}{% endfor %}",
    "loop iterator": "{% for x in names %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "caller": "{% macro m() %}{{ caller.__globals__ }}{% endmacro %}{% call m() %}{% endcall %}",
    "varargs": "{% macro m() %}{{ varargs.__class__ }}{% endmacro %}{{ m(1) }}",
    "block reference": "{% block b %}x{% endblock %}{{ self.b._context }}",
    "CVE-2016-10745 str.format": "{{ '{0.__class__}'.format(1) }}",
    "CVE-2019-10906 str.format_map": "{{ '{x.__class__}'.format_map({'x': 1}) }}",
    "CVE-2020-28493 urlize": "{{ ('a.' * 50000)|urlize }}",
    "GHSA-h5c8-rqwp-cp95 xmlattr": "{{ {'x y': 'z'}|xmlattr }}",
    "GHSA-h75v-3vvj-5mfj xmlattr": "{{ {'x/onload=': 'z'}|xmlattr }}",
    "CVE-2024-56326 stored format": "{% set f = '{0.__class__}'.format %}{{ f(1) }}",
    "CVE-2024-56326 through map": "{{ ['{0.__class__}']|map('format', 1)|join }}",
    "CVE-2025-27516 attr": "{{ ('{0.__class__}'|attr('format'))(1) }}",
    "attr by map": "{{ ['']|map('attr', '__class__')|join }}",
    "map attribute": "{{ ['']|map(attribute='__class__')|join }}",
    "sort attribute": "{{ ['']|sort(attribute='__class__.__name__')|join }}",
    "selectattr": "{{ ['']|selectattr('__class__')|list|length / 0 }}",
    "format filter": "{{ '%s'|format(range) }}",
    "pprint": "{{ range|pprint }}",
    "string of a function": "{{ range|string }}",
    "concat of a function": "{{ 'a' ~ range }}",
    "percent": "{{ '%s' % range }}",
    "safe": "{{ '<b>'|safe }}",
    "autoescape off": "{% autoescape false %}{{ title }}{% endautoescape %}",
    "mutating a list": "{{ names.append(1) }}",
    "mutating a group": "{{ facts.pop('items') }}",
    "method that is no text": "{{ title.encode }}",
    "internal filter": "{{ 'x'|commcast charge }}",
    "import of python": "{% import 'os' as os %}",
    "line statement": "{% do names.append(1) %}",
    "debug": "{% debug %}",
}


@pytest.mark.parametrize("html", [False, True])
@pytest.mark.parametrize("name", ESCAPES)
def test_no_known_way_out_of_the_sandbox_works(name: str, html: bool) -> None:
    with pytest.raises(TemplateError) as caught:
        render(ESCAPES[name], html=html)
    assert not any(word in str(caught.value) for word in INSIDES)


def test_cve_2024_56201_a_hostile_name_of_a_template_is_only_a_name() -> None:
    """The name of a template must not become code; names are also refused where files are looked up."""
    hostile = "user:x'+open('/tmp/owned','w')+'{}.j2"
    wording = Wording(Channel.EMAIL, hostile, "", "user", {hostile: "{{ missing }}{% include 'y' %}"})
    with pytest.raises(TemplateError):
        Renderer(wording).email(CONTEXT, {})


def test_cve_2014_0012_no_cache_of_code_is_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What compiled once is kept in memory alone: no file is read or written for it."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a template's code was looked for in a file")

    made: list[object] = []
    compile_one = MessageEnvironment.compile

    def count(environment: MessageEnvironment, *source: Any) -> Any:
        made.append(source)
        return compile_one(environment, *source)

    monkeypatch.setattr(MessageEnvironment, "compile", count)
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("os.open", refuse)
    wording = Wording(Channel.EMAIL, "a", "", "user", {"a": "kept in memory {{ 1 }}"})
    for _ in range(3):
        Renderer(wording)
    assert len(made) == 1


def grow(start: str, step: str, times: int = 99) -> str:
    loop = f"{{% for i in range({times}) %}}{{% set ns.x = {step} %}}{{% endfor %}}"
    return f"{{% set ns = namespace(x={start}) %}}{loop}"


NESTED = "{% for a in range(10000) %}" * 6 + "{% endfor %}" * 6
PAIRS = "{% macro a(n) %}{% if n %}{{ a(n-1) }}{{ a(n-1) }}{% endif %}{% endmacro %}"
BOMBS = {
    "nested loops without output": NESTED,
    "nested loops that filter everything": "{% for a in range(9999) if false %}{% endfor %}" * 800,
    "loops over loops": "{% for a in range(9999) %}"
    + "{% for b in range(9999) if false %}{% endfor %}{% endfor %}",
    "range": "{{ range(10 ** 9)|list|length }}",
    "huge range": "{% for a in range(1000000000) %}{% endfor %}",
    "recursive macro": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "macros that call in pairs": PAIRS + "{{ a(25) }}",
    "macros that make text": PAIRS.replace("{% if", "xxxxxxxx{% if") + "{% set x = a(24) %}",
    "macro with a large body": "{% macro m() %}LARGE{% endmacro %}"
    "{% set x %}{% for i in range(9999) %}{{ m() }}{% endfor %}{% endset %}",
    "loop with a large body": "{% set x %}{% for i in range(9999) %}LARGE{% endfor %}{% endset %}",
    "loop with a large else": "{% set x %}{% for i in range(9999) %}"
    "{% for j in [] %}{% else %}LARGE{% endfor %}{% endfor %}{% endset %}",
    "block that calls itself": "{% block b %}{{ self.b() }}{% endblock %}",
    "recursive loop": "{% for a in [[1]] recursive %}{{ loop(a) }}{% endfor %}",
    "caller in a circle": "{% macro m() %}{% call m() %}{% endcall %}{% endmacro %}{{ m() }}",
    "doubling by ~": grow("'a'", "ns.x ~ ns.x"),
    "doubling by +": grow("'a'", "ns.x + ns.x"),
    "doubling by set": "{% set x = 'aaaaaaaa' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 30,
    "doubling lists": grow("[1]", "ns.x + ns.x"),
    "lists in lists": grow("[1]", "[ns.x, ns.x]") + "{{ ns.x }}",
    "groups in groups": grow("{}", "{'a': ns.x, 'b': ns.x}"),
    "doubling by join": grow("'aa'", "[ns.x, ns.x]|join(ns.x)"),
    "doubling by replace": grow("'aa'", "ns.x|replace('a', ns.x)"),
    "many long texts": grow("[]", "ns.x + [long ~ i]", 9999),
    "text times number": "{{ 'a' * 1000000000 }}",
    "list times number": "{{ [1] * 1000000000 }}",
    "number times text": "{{ 1000000000 * 'a' }}",
    "power": "{{ 9 ** 9 ** 9 ** 9 }}",
    "power of two": "{{ 2 ** 100000000 }}",
    "squaring": grow("9", "ns.x * ns.x"),
    "percent width": "{{ '%1000000000d' % 1 }}",
    "format filter": "{{ '%1000000000d'|format(1) }}",
    "format method": "{{ '{:1000000000}'.format(1) }}",
    "center filter": "{{ 'a'|center(1000000000) }}",
    "center method": "{{ 'a'.center(1000000000) }}",
    "ljust": "{{ 'a'.ljust(1000000000) }}",
    "zfill": "{{ 'a'.zfill(1000000000) }}",
    "expandtabs": "{{ '\t'.expandtabs(1000000000) }}",
    "replace method": "{{ long.replace('', long) }}",
    "join method": "{{ long.join(long) }}",
    "indent": "{{ long|indent(1000000000, true) }}",
    "indent by text": "{{ long|replace(' ', '\n')|indent(long, true) }}",
    "wordwrap": "{{ long|wordwrap(1, true, long) }}",
    "truncate": "{{ long|truncate(1000000000000, true, long * 9) }}",
    "batch": "{{ [1]|batch(1000000000, 'x')|list }}",
    "slice": "{{ [1]|slice(1000000000)|list }}",
    "round": "{{ 1|round(1000000000) }}",
    "round down": "{{ 1|round(-1000000000, 'floor') }}",
    "lipsum": "{{ lipsum(100000) }}",
    "credit by an internal filter": "{{ [-1000000000]|map('commcast charge')|list|length }}"
    "{% set x %}{% for i in range(999) %}LARGE{% endfor %}{% endset %}",
    "sort of copies": grow("[long]", "ns.x + ns.x", 13) + "{{ ns.x|sort|length }}",
    "long comparison": "{% if " + "names == names == " * 3000 + "names %}x{% endif %}",
    "many comparisons": "{% set a = 'x' * 99999 %}{% set b = 'x' * 99999 %}"
    + "{% if a == b and b == a and a in b %}{% endif %}" * 1000
    + NESTED.replace("{% endfor %}", "{% if a == b %}{% endif %}{% endfor %}", 1),
    "searches that cost most": "{% set a = 'x' * 29000 %}{% set b = 'x' * 49 ~ 'y' ~ 'x' * 49 %}"
    + "{% if b in a or b in a or b in a %}{% endif %}" * 1200,
    "wrapping one long word": "{% set w = 'x' * 99999 %}" + "{% set v = w|wordwrap(1) %}" * 200,
    "wrapping hyphens": "{% set w = '-' * 60000 %}" + "{% set v = w|wordwrap(20) %}" * 200,
    "title of dashes": "{% set w = '(-' * 49999 %}" + "{% set v = w|title|trim('-') %}" * 200,
    "deep sums": "{{ " + "1 + " * 300 + "1 }}",
    "macros in macros": "{% macro m() %}" * 100 + "{% endmacro %}" * 100,
    "number without end": "{{ " + "9" * 60_000 + " }}",
    "deep nesting": "{% if true %}" * 900 + "{% endif %}" * 900,
    "deep brackets": "{{ " + "(" * 900 + "1" + ")" * 900 + " }}",
    "output without end": "{% for i in range(9999) %}" + "y" * 500 + "{% endfor %}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_template_blocks_the_desk(name: str) -> None:
    """Each is refused within 3 seconds and 200 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    with pytest.raises(TemplateError):
        render(BOMBS[name].replace("LARGE", "y" * 50_000))
    assert time.process_time() - began < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_includes_that_double_are_bounded() -> None:
    extra = {f"user:p{n}.j2": f'{{% include "p{n + 1}.j2" %}}' * 2 for n in range(25)}
    began = time.process_time()
    with pytest.raises(TemplateError, match="without end"):
        render('{% include "p0.j2" %}', extra={**extra, "user:p25.j2": "x"})
    assert time.process_time() - began < 3


def test_a_block_filled_by_a_child_inside_a_loop_of_its_parent_is_bounded() -> None:
    base = "{% set x %}{% for i in range(9999) %}{% block b %}{% endblock %}{% endfor %}{% endset %}"
    child = '{% extends "base.j2" %}{% block b %}' + "y" * 50_000 + "{% endblock %}"
    with pytest.raises(TemplateError):
        render(child + "{% block subject %}s{% endblock %}", extra={"user:base.j2": base})


ORDINARY = {
    "{{ '=' * (title|length) }}": "=" * 18,
    "{{ names|join(', ') }}": "Card payments, Refunds",
    "{% for n in names %}{{ loop.index }}. {{ n }}{% if not loop.last %}; {% endif %}{% endfor %}": (
        "1. Card payments; 2. Refunds"
    ),
    "{{ title|upper }}{{ ' x '|trim }}": "CARD PAYMENTS FAILx",
    "{{ 'a' ~ 1 ~ 'b' }} {{ 7 // 2 }} {{ 7 % 2 }} {{ 2 * 3 - 1 }}": "a1b 3 1 5",
    "{{ nothing or 'none' }} {{ missing|default('d') }}": "none d",
    "{% macro m(x) %}[{{ x }}]{{ caller() if caller is defined else '' }}{% endmacro %}"
    "{{ m(1) }}{% call m(2) %}c{% endcall %}": "[1][2]c",
    "{% for k, v in [('a', title), ('b', 'x')] %}{{ k }}={{ v }} {% endfor %}": "a=Card payments fail b=x",
    "{% set ns = namespace(n=0) %}{% for n in names %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}": "2",
    "{% for k in facts.keys()|sort %}{{ k }} {% endfor %}": "format items update",
    "{{ names|map('upper')|join('+') }}": "CARD PAYMENTS+REFUNDS",
    "{{ (long|wordwrap(60)).splitlines()|length }}": "67",
    "{% if title is defined and 'Card' in title and missing is not defined %}yes{% endif %}": "yes",
    "{% block b %}one{% endblock %}{{ self.b() }}": "oneone",
    "{% filter upper %}quiet{% endfilter %}": "QUIET",
    # A column hides a method of the same name, and a format in data stays text.
    "{{ facts.items }} {{ facts.update }} {{ facts.get('no', 'none') }}": "a column yes none",
    "{{ facts.format }}": "{0.__class__}",
}


@pytest.mark.parametrize("source", ORDINARY)
def test_what_templates_need_works(source: str) -> None:
    assert render(source) == ORDINARY[source]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("{{ nothing }}", "prints None"),
        ("{{ names }}", "prints a list"),
        ("{{ title == 'x' }}", "prints true or false"),
        ("{{ facts }}", "prints a group"),
        ("{{ 'x' ~ nothing }}", "prints None"),
        ("{{ [nothing]|join }}", "prints None"),
        ("{{ names|join(nothing) }}", "prints None"),
        ("{{ 'nan'|float }}", "prints no number"),
        ("{{ nothing|upper }}", "prints None"),
        (grow("[1]", "ns.x + ns.x", 14), "a list grows too long"),
        (grow("'a'", "ns.x ~ ns.x", 17), "a text grows too long"),
        (grow("9", "ns.x * ns.x"), "a number is too large"),
    ],
)
def test_a_refusal_says_why(source: str, what: str) -> None:
    """ "None", "False" or a list in brackets in an email is a mistake of the template."""
    with pytest.raises(TemplateError, match=what):
        render(source)


WORDS = (
    *("{{", "}}", "{%", "%}", "{#", "#}", "for", "in", "range(9)", "if", "endif", "endfor", "set", "x", "="),
    *(".", "__class__", "|", "join", "(", ")", "[", "]", "names", "title", "macro", "m", "endmacro", "call"),
    *("''", "~", "*", "self", "loop", "block", "b", "endblock", "include"),
)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(WORDS), max_size=14))
def test_random_templates_render_or_fail_cleanly(words: list[str]) -> None:
    try:
        text = render(" ".join(words))
    except TemplateError as error:
        text = str(error)
    assert not any(word in text for word in INSIDES)
