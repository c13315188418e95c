"""No template gets out of its sandbox or blocks the desk."""

from __future__ import annotations

import resource
import time
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commcast.errors import TemplateError
from commcast.model.incident import Channel
from commcast.rendering.render import Renderer
from commcast.rendering.sandbox import Form, MessageEnvironment
from commcast.rendering.templates import Wording

PAGE = "{{ body }}{{ foot }}"
CONTEXT: dict[str, Any] = {
    "title": "Card payments fail",
    "long": "word " * 800,
    "facts": {"items": "a column", "format": "{0.__class__}", "update": "yes"},
    "names": ["Card payments", "Refunds"],
    "nothing": None,
}
INSIDES = ("Popen", "<class", "<built-in", "<function", "<module", "<bound", "Traceback", "0x")


def render(source: str, *, form: Form = Form.PLAIN, extra: dict[str, str] | None = None) -> str:
    html = form is Form.HTML
    if form is Form.MARKDOWN:
        sources = {"user:a.md.j2": f"Subject: s\n\n{source}", "user:l.j2": PAGE}
        wording = Wording(Channel.EMAIL, "user:a.md.j2", "user:l.j2", "user", sources)
        return Renderer(wording).email(CONTEXT, {}).text.strip()
    subject = "" if html or "block subject" in source else "{% block subject %}s{% endblock %}"
    sources = {
        "user:a.j2": subject + source,
        "user:t.j2": "{% block subject %}s{% endblock %}t",
        **(extra or {}),
    }
    names = ("user:t.j2", "user:a.j2") if html else ("user:a.j2", "")
    content = Renderer(Wording(Channel.EMAIL, *names, "user", sources)).email(CONTEXT, {})
    return (content.html if html else content.text).strip()


# Among them CVE-2016-10745, CVE-2019-10906, CVE-2020-28493, CVE-2024-56326, CVE-2025-27516,
# GHSA-h5c8-rqwp-cp95 and GHSA-h75v-3vvj-5mfj.
ESCAPES = (
    *("{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ ''['__class__'] }}", "{{ missing.__class__ }}"),
    *("{{ nothing.__class__ }}", "{{ self.__init__.__globals__ }}", "{{ lipsum.__globals__ }}"),
    "{% macro m() %}x{% endmacro %}{{ m.__globals__ }}",
    *("{% macro m() %}x{% endmacro %}{{ m._func.__globals__ }}", "{{ self._TemplateReference__context }}"),
    *("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "{{ range.__class__ }}"),
    *("{% set ns = namespace() %}{{ ns._Namespace__attrs }}", "{{ ('a.' * 50000)|urlize }}"),
    *(f"{{% for x in names %}}{{{{ loop.{name} }}}}{{% endfor %}}" for name in ("_iterable", "__init__")),
    "{% macro m() %}{{ caller.__globals__ }}{% endmacro %}{% call m() %}{% endcall %}",
    *("{% block b %}x{% endblock %}{{ self.b._context }}", "{{ '{0.__class__}'.format(1) }}"),
    *("{{ '{x.__class__}'.format_map({'x': 1}) }}", "{{ {'x y': 'z'}|xmlattr }}", "{{ names.append(1) }}"),
    *("{% set f = '{0.__class__}'.format %}{{ f(1) }}", "{{ ['{0.__class__}']|map('format', 1)|join }}"),
    *("{{ ('{0.__class__}'|attr('format'))(1) }}", "{{ ['']|map('attr', '__class__')|join }}"),
    *("{{ ['']|map(attribute='__class__')|join }}", "{{ ['']|sort(attribute='__class__.__name__')|join }}"),
    *("{{ ['']|selectattr('__class__')|list|length / 0 }}", "{{ '%s'|format(range) }}", "{{ title.encode }}"),
    *("{{ range|pprint }}", "{{ range|string }}", "{{ 'a' ~ range }}", "{{ '%s' % range }}", "{% debug %}"),
    *("{{ '<b>'|safe }}", "{% autoescape false %}{{ title }}{% endautoescape %}", "{% do names.append(1) %}"),
    *("{{ facts.pop('items') }}", "{{ 'x'|commcast charge }}", "{% import 'os' as os %}"),
)


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("source", ESCAPES)
def test_no_known_way_out_of_the_sandbox_works(source: str, form: Form) -> None:
    with pytest.raises(TemplateError) as caught:
        render(source, form=form)
    assert not any(word in str(caught.value) for word in INSIDES)


def test_cve_2024_56201_a_hostile_name_of_a_template_is_only_a_name() -> None:
    assert tuple(map(int, jinja2.__version__.split(".")[:3])) >= (3, 1, 6), "it has the fixes we rely on"
    hostile = "user:x'+open('/tmp/owned','w')+'{}.j2"
    wording = Wording(Channel.EMAIL, hostile, "", "user", {hostile: "{{ missing }}{% include 'y' %}"})
    with pytest.raises(TemplateError):
        Renderer(wording).email(CONTEXT, {})


def test_cve_2014_0012_no_cache_of_code_is_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    compile_one = MessageEnvironment.compile

    def count(environment: MessageEnvironment, *source: Any) -> Any:
        made.append(source)
        return compile_one(environment, *source)

    monkeypatch.setattr(MessageEnvironment, "compile", count)
    for opens in ("builtins.open", "os.open"):
        monkeypatch.setattr(opens, lambda *_, **__: pytest.fail("code was looked for in a file"))
    for _ in range(3):
        Renderer(Wording(Channel.EMAIL, "a", "", "user", {"a": "kept in memory {{ 1 }}"}))
    assert len(made) == 1


def grow(start: str, step: str, times: int = 99) -> str:
    loop = f"{{% for i in range({times}) %}}{{% set ns.x = {step} %}}{{% endfor %}}"
    return f"{{% set ns = namespace(x={start}) %}}{loop}"


NESTED = "{% for a in range(10000) %}" * 6 + "{% endfor %}" * 6
PAIRS = "{% macro a(n) %}{% if n %}{{ a(n-1) }}{{ a(n-1) }}{% endif %}{% endmacro %}"
LOOP = "{% for i in range(9999) %}"
BOMBS = (
    # Loops, macros and blocks that go round too often, with and without output.
    NESTED,
    "{% for a in range(9999) if false %}{% endfor %}" * 800,
    LOOP + "{% for b in range(9999) if false %}{% endfor %}{% endfor %}",
    *("{{ range(10 ** 9)|list|length }}", "{% for a in range(1000000000) %}{% endfor %}"),
    *("{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}", PAIRS + "{{ a(25) }}"),
    PAIRS.replace("{% if", "xxxxxxxx{% if") + "{% set x = a(24) %}",
    f"{{% macro m() %}}LARGE{{% endmacro %}}{{% set x %}}{LOOP}{{{{ m() }}}}{{% endfor %}}{{% endset %}}",
    f"{{% set x %}}{LOOP}LARGE{{% endfor %}}{{% endset %}}",
    f"{{% set x %}}{LOOP}{{% for j in [] %}}{{% else %}}LARGE{{% endfor %}}{{% endfor %}}{{% endset %}}",
    "{% block b %}{{ self.b() }}{% endblock %}",
    "{% for a in [[1]] recursive %}{{ loop(a) }}{% endfor %}",
    "{% macro m() %}{% call m() %}{% endcall %}{% endmacro %}{{ m() }}",
    LOOP + "y" * 500 + "{% endfor %}",
    # Texts, lists, groups and numbers that grow.
    *(grow("'a'", "ns.x ~ ns.x"), grow("'a'", "ns.x + ns.x"), grow("[1]", "ns.x + ns.x")),
    "{% set x = 'aaaaaaaa' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 30,
    *(grow("[1]", "[ns.x, ns.x]") + "{{ ns.x }}", grow("{}", "{'a': ns.x, 'b': ns.x}")),
    *(grow("'aa'", "[ns.x, ns.x]|join(ns.x)"), grow("'aa'", "ns.x|replace('a', ns.x)")),
    *(grow("[]", "ns.x + [long ~ i]", 9999), grow("9", "ns.x * ns.x")),
    *("{{ 'a' * 1000000000 }}", "{{ [1] * 1000000000 }}", "{{ 1000000000 * 'a' }}"),
    *("{{ 9 ** 9 ** 9 ** 9 }}", "{{ 2 ** 100000000 }}", "{{ '%1000000000d' % 1 }}"),
    # Filters and methods that make much of little.
    *("{{ '%1000000000d'|format(1) }}", "{{ '{:1000000000}'.format(1) }}", "{{ 'a'|center(1000000000) }}"),
    *("{{ 'a'.center(1000000000) }}", "{{ long.replace('', long) }}", "{{ long.join(long) }}"),
    *("{{ long|indent(1000000000, true) }}", "{{ long|replace(' ', '\n')|indent(long, true) }}"),
    *("{{ long|wordwrap(1, true, long) }}", "{{ long|truncate(1000000000000, true, long * 9) }}"),
    *("{{ [1]|batch(1000000000, 'x')|list }}", "{{ 1|round(1000000000) }}", "{{ lipsum(100000) }}"),
    "{{ [-1000000000]|map('commcast charge')|list|length }}{% set x %}"
    + LOOP
    + "LARGE{% endfor %}{% endset %}",
    # Work that makes no text: comparing, searching, sorting, wrapping, compiling.
    grow("[long]", "ns.x + ns.x", 13) + "{{ ns.x|sort|length }}",
    "{% if " + "names == names == " * 3000 + "names %}x{% endif %}",
    "{% set a = 'x' * 99999 %}{% set b = 'x' * 99999 %}"
    + "{% if a == b and b == a and a in b %}{% endif %}" * 1000
    + NESTED.replace("{% endfor %}", "{% if a == b %}{% endif %}{% endfor %}", 1),
    "{% set a = 'x' * 29000 %}{% set b = 'x' * 49 ~ 'y' ~ 'x' * 49 %}"
    + "{% if b in a or b in a or b in a %}{% endif %}" * 1200,
    "{% set w = 'x' * 99999 %}" + "{% set v = w|wordwrap(1) %}" * 200,
    "{% set w = '-' * 60000 %}" + "{% set v = w|wordwrap(20) %}" * 200,
    "{% set w = '(-' * 49999 %}" + "{% set v = w|title|trim('-') %}" * 200,
    *("{{ " + "1 + " * 300 + "1 }}", "{% macro m() %}" * 100 + "{% endmacro %}" * 100),
    *("{{ " + "9" * 60_000 + " }}", "{% if true %}" * 900 + "{% endif %}" * 900),
    "{{ " + "(" * 900 + "1" + ")" * 900 + " }}",
)


@pytest.mark.linux("memory counted in KiB")
@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb[:50])
def test_no_template_blocks_the_desk(bomb: str) -> None:
    """Each is refused within 3 seconds and 200 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    with pytest.raises(TemplateError):
        render(bomb.replace("LARGE", "y" * 50_000))
    assert time.process_time() - began < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_includes_that_double_and_blocks_filled_in_a_loop_are_bounded() -> None:
    extra = {f"user:p{n}.j2": f'{{% include "p{n + 1}.j2" %}}' * 2 for n in range(25)}
    with pytest.raises(TemplateError, match="without end"):
        render('{% include "p0.j2" %}', extra={**extra, "user:p25.j2": "x"})
    base = "{% set x %}{% for i in range(9999) %}{% block b %}{% endblock %}{% endfor %}{% endset %}"
    child = '{% extends "base.j2" %}{% block b %}' + "y" * 50_000 + "{% endblock %}"
    with pytest.raises(TemplateError):
        render(child + "{% block subject %}s{% endblock %}", extra={"user:base.j2": base})


ORDINARY = {
    "{{ '=' * (title|length) }}": "=" * 18,
    "{{ names|join(', ') }}": "Card payments, Refunds",
    "{% for n in names %}{{ loop.index }}{% if not loop.last %};{% endif %}{% endfor %}": "1;2",
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


@pytest.mark.parametrize(("source", "text"), ORDINARY.items())
def test_what_templates_need_works(source: str, text: str) -> None:
    assert render(source) == text
    if "{% filter" not in source:  # which would take Markdown apart
        assert render(source, form=Form.MARKDOWN) == text


@pytest.mark.parametrize(
    ("source", "what"),
    [
        *(("{{ nothing }}", "prints None"), ("{{ names }}", "prints a list")),
        *(("{{ title == 'x' }}", "prints true or false"), ("{{ facts }}", "prints a group")),
        *(("{{ 'x' ~ nothing }}", "prints None"), ("{{ [nothing]|join }}", "prints None")),
        *(("{{ names|join(nothing) }}", "prints None"), ("{{ 'nan'|float }}", "prints NaN or infinity")),
        *(("{{ nothing|upper }}", "prints None"), (grow("[1]", "ns.x + ns.x", 14), "a list grows too long")),
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
@given(st.lists(st.sampled_from(WORDS), max_size=14), st.sampled_from((Form.PLAIN, Form.MARKDOWN)))
def test_random_templates_render_or_fail_cleanly(words: list[str], form: Form) -> None:
    try:
        text = render(" ".join(words), form=form)
    except TemplateError as error:
        text = str(error)
    assert not any(word in text for word in INSIDES)
