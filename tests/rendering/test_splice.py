"""A spliced email is the one rendered for its reader alone: same words, same errors, same digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from commcast.errors import TemplateError
from commcast.model.incident import Channel
from commcast.model.message import Email, Skeleton
from commcast.rendering import compose
from commcast.rendering.compose import Content, DeliveryKey, ReaderGroup, ReaderWords
from commcast.rendering.fields import Fields, fields_used
from commcast.rendering.render import EmailContent, Renderer
from commcast.rendering.splice import MOST_KEPT, TRIED, CutMail, cut_mail
from commcast.rendering.templates import Wording
from tests.support import templates
from tests.support.templates import FILES, HOSTILE, HTML, PLAIN, group_of, readers, shipped_wording, wordings
from tests.support.values import AUDIENCES, FOLLOW_UPS, MOMENTS, full, minimal

SUBJECT = "{% block subject %}{{ title }}{% endblock %}\n"
DANA: dict[str, Any] = {"name": "Dana", "greeting": "Hello Dana,", "link": "https://a.example/u/1"}
DANA |= {"plan": "gold", "tags": []}
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
LONG_NAMES = ["x" * length for length in range(100, 280, 3)]
LARGE_NAMES = [char * (5_000 + 125 * n) for n in range(9) for char in "xé&"]


def made(text: str, html: str = "", **more: str) -> ReaderGroup:
    head = "" if "block subject" in text else SUBJECT
    sources = {"user:t.j2": head + text, **({"user:h.j2": html} if html else {}), **more}
    return group_of(Wording(Channel.EMAIL, "user:t.j2", "user:h.j2" if html else "", "user", sources))


def outcome(render: Callable[[], Content]) -> Content | str:
    try:
        return render()
    except TemplateError as error:
        return said(error)


def said(error: TemplateError) -> str:
    """Return what an error says, without the name of one of several templates that go round in a circle."""
    text = str(error)
    return text.partition(": ")[2] if "is nested too deeply" in text else text


def assert_both_ways_agree(group: ReaderGroup, people: Sequence[Mapping[str, Any]]) -> int:
    """Return how many were spliced, once all words and errors were the same as for each reader alone."""
    spliced = 0
    for line, reader in enumerate(people, 2):
        words, content = read(group, reader, line)
        assert content == outcome(partial(group.alone, reader, line))
        if words and words.spliced:
            spliced += 1
            assert_spliced_well(words)
    return spliced


def read(group: ReaderGroup, one: Mapping[str, Any], line: int) -> tuple[ReaderWords | None, Content | str]:
    try:
        words = group.words(one, line=line)
    except TemplateError as error:
        return None, said(error)
    return words, words.content


def assert_spliced_well(words: ReaderWords) -> None:
    """The pieces with the values in them are the words, and are cut as adapters may rely on."""
    assert isinstance(words.content, EmailContent) and words.spliced
    skeleton, values, escaped = words.spliced.skeleton, words.spliced.values, words.spliced.escaped
    content = words.content
    for pieces, own, whole in (
        (skeleton.subject, values, content.subject),
        (skeleton.text, values, content.text),
        (skeleton.html, escaped, content.html),
    ):
        assert "".join(own[piece] if isinstance(piece, int) else piece for piece in pieces) == whole
        assert "" not in pieces
        assert not any(isinstance(one, str) and isinstance(two, str) for one, two in pairwise(pieces))
    for value in values:
        assert value and value == value.strip() and len(value.splitlines()) == 1


@settings(SLOW, max_examples=550)
@given(st.data(), st.sampled_from((Channel.EMAIL, Channel.EMAIL, Channel.EMAIL, Channel.SMS)))
def test_what_is_spliced_or_shared_is_what_each_would_get(data: st.DataObject, channel: Channel) -> None:
    wording = data.draw(wordings(channel))
    people = data.draw(st.lists(readers(), min_size=1, max_size=6))
    try:
        group = group_of(wording)
    except TemplateError:
        event("does not compile")
        return
    event(f"{channel} spliced: {assert_both_ways_agree(group, people) > 0}")


@pytest.mark.parametrize("piece", [*templates.BARE, *templates.USED, *templates.ROUND, *FILES, *HTML])
def test_any_value_in_any_place_gives_the_mail_rendered_for_that_reader_alone(piece: str) -> None:
    """What hypothesis may miss: each place alone, with each value that could upset it."""
    place = piece.replace("FIELD", "name").replace("BODY", "{{ recipient.name }}").replace("BLOCK", "b")
    part = {"user:p1.j2": "{{ recipient.name }}", "user:p2.j2": "{% macro made() %}m{% endmacro %}"}
    part["user:p2.j2"] += "{% set value = recipient.name %}{{ recipient.name }}"
    text, html = ("x", f"<p>h</p>{place}") if piece in HTML else (f"{place}.", f"<p>{place}</p>")
    group = made(text, html, **part)
    people = [{**DANA, "name": value} for value in (*PLAIN, *HOSTILE)]
    assert_both_ways_agree(group, [*people, {"link": "x"}])


@pytest.mark.parametrize(
    ("text", "html", "names", "spliced"),
    [
        ("x\n-{{ recipient.name }} \nx", "", ("-", "--", "---", "Dana"), 2),  # a line "-- " is a signature
        ("x\n{{ recipient.name }} \nx", "", ("-", "--", "---", "Dana"), 2),
        ("x\nx\n--{{ recipient.name }}", "", ("-", "--", "---", "Dana"), 2),
        ("{% block subject %}{{ recipient.name }}{% endblock %}x", "", LONG_NAMES, 52),
        ("{% block subject %}Hi {{ recipient.name }}{{ recipient.link }}{% endblock %}x", "", LONG_NAMES, 9),
        ("{{ recipient.name }}" * 9, "<p>{{ recipient.name }}</p>" * 9, ("x", *LARGE_NAMES), 1),
    ],
)
def test_what_changes_more_stays_out(text: str, html: str, names: Sequence[str], spliced: int) -> None:
    people = [{**DANA, "name": name} for name in names]
    assert assert_both_ways_agree(made(text, html), people) == spliced


def test_an_error_of_one_reader_names_their_line() -> None:
    group = made("{% block subject %}{{ recipient.name }}{% endblock %}Hello {{ recipient.name }}")
    for reader, line, said in (
        ({"link": "x"}, 9, r"variable 'name' \(for the reader in line 9 of audience cust"),
        ({**DANA, "name": "x" * 256}, 7, r"than 255 \(for the reader in line 7 of audience customers\)"),
    ):
        assert group.words(DANA).spliced
        with pytest.raises(TemplateError, match=said):
            group.words(reader, line=line)
    assert group.words(DANA).spliced


PATH = ("user:", "shipped:")


def shipped(audience: str, moment: str, channel: Channel, context: Mapping[str, Any]) -> ReaderGroup:
    wording = shipped_wording(audience, moment, channel)
    own = {key: value for key, value in context.items() if key != "recipient"}
    return group_of(wording, own, compose.renderer_for(wording.to_json()))


@pytest.mark.parametrize("told", [full, minimal])
@pytest.mark.parametrize("audience", AUDIENCES)
def test_the_shipped_emails_of_every_moment_are_spliced(audience: str, told: Any) -> None:
    """A reader is used only bare: a change that loses the fast road is seen here."""
    for moment in MOMENTS:
        context = told(audience, moment)
        group = shipped(audience, moment, Channel.EMAIL, context)
        people = [{**context["recipient"], "greeting": hello} for hello in ("Hello,", "Hello Zoë & <Co>,")]
        assert assert_both_ways_agree(group, people) == 2
        used = fields_used(group.wording.sources, group.wording.path)
        assert used and used.keys == ()


@pytest.mark.parametrize("audience", AUDIENCES)
def test_the_shipped_text_messages_of_every_moment_are_shared_by_all_who_get_the_same(audience: str) -> None:
    for moment in [name for name in MOMENTS if name not in FOLLOW_UPS]:
        context = full(audience, moment)
        group = shipped(audience, moment, Channel.SMS, context)
        people = [{**context["recipient"], "name": name, "by_email": name < "C"} for name in "ABCD"]
        bodies = [group.words(reader).content for reader in people]
        assert bodies[0] is bodies[1] and bodies[2] is bodies[3]
        assert bodies == [group.alone(reader) for reader in people]


@pytest.fixture
def renders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was rendered, mail by mail."""
    done: list[str] = []
    write = Renderer.write

    def noted(*given: Any) -> Any:
        done.append("write")
        return write(*given)

    monkeypatch.setattr(Renderer, "write", noted)
    return done


def test_readers_share_a_render_with_those_who_are_alike_where_a_template_decides(renders: list[str]) -> None:
    group = made("{{ recipient.name }}{% if recipient.plan == 'gold' %} thanks{% endif %}")
    people = [{**DANA, "name": f"N{n}", "plan": ("gold", "blue")[n % 2]} for n in range(1000)]
    skeletons = {id(words.spliced.skeleton) for each in people if (words := group.words(each)).spliced}
    assert (len(skeletons), len(renders)) == (2, 2)
    assert_both_ways_agree(group, list(people[:4]))


def test_equal_values_of_another_kind_are_not_alike() -> None:
    group = made("{{ recipient.name }} {{ 'yes' if recipient.plan is true else 'no' }}")
    plans = [True, 1, 1.0, "1", "True", None, "None", [], ["a"], "['a']"]
    people = [{**DANA, "plan": plan} for plan in plans] + [{"name": "Dana"}]
    assert_both_ways_agree(group, people)


def test_only_so_much_is_made_and_kept_for_sharing(renders: list[str]) -> None:
    group = made("{{ recipient.name|upper }} {{ recipient.link }}")
    words = [group.words({**DANA, "name": f"N{n}"}) for n in range(1000)]
    assert len(renders) == 1000
    assert sum(1 for each in words if each.spliced) == TRIED + 1
    renders.clear()
    group = made("{{ recipient.plan|upper }} {{ recipient.name }}")
    for number in range(MOST_KEPT + 1):
        for name in ("Ann", "Bob"):
            group.words({**DANA, "plan": f"p{number}", "name": name})
    for plan, count in (("p1", MOST_KEPT + 1), ("p0", MOST_KEPT + 2)):  # kept, and made again
        group.words({**DANA, "plan": plan})
        assert len(renders) == count


def test_a_digest_changes_with_the_words_and_does_not_depend_on_who_came_before() -> None:
    """Rows are frozen in the order of the list and handed over in another, in another process."""
    people = [{**DANA, "name": f"N{n}", "plan": f"p{n}"} for n in range(3 * TRIED)]
    for text, count in (
        ("{{ recipient.name }}", len(people)),
        ("{{ recipient.plan|upper }} {{ recipient.name }}", len(people)),
        ("{{ recipient|length }}", 1),
    ):
        one, other = made(text), made(text)
        frozen = [one.words(reader).digest for reader in people]
        assert [other.words(reader).digest for reader in reversed(people)] == frozen[::-1]
        assert len(set(frozen)) == count
    digests = {
        made(text, html).words({**DANA, "name": name}).digest
        for text in ("{{ recipient.name }}", "{{ recipient.name }}.", "{{ recipient.link }}")
        for html in ("", "<p>{{ recipient.name }}</p>", "<p>{{ recipient.name }}.</p>")
        for name in ("Ann", "Bob")
    }
    assert len(digests) == 17, "a text alone of the link is the same for both"


@pytest.mark.parametrize("text", ["{{ recipient.name }}", "{{ recipient.name|upper }}", "all the same"])
def test_words_frozen_by_an_older_version_are_known_again(text: str) -> None:
    words = made(text, "<p>{{ title }}</p>").words(DANA)
    content = words.content
    assert isinstance(content, EmailContent)
    old = hashlib.sha256(json.dumps([*content], ensure_ascii=False).encode()).hexdigest()
    assert (
        words.are_frozen_as(words.digest)
        and words.are_frozen_as(old)
        and old == compose.content_digest(content)
    )
    assert not words.are_frozen_as(made(text + "!").words(DANA).digest)
    assert not words.are_frozen_as("s1:" + old)


KEY = DeliveryKey("pay7", "update:1", Channel.EMAIL, "dana@example.com")
NOW = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)


def message_of(group: ReaderGroup, key: DeliveryKey = KEY) -> Email:
    given: dict[str, Any] = {"address": "dana@example.com", "name": "Dana", "secret": b"secret", "now": NOW}
    found = compose.build_message(group.words(DANA), group.envelope, key, **given)
    assert isinstance(found, Email)
    return found


def test_a_message_is_the_same_by_either_way_with_an_id_of_its_own_in_its_incidents_thread() -> None:
    spliced, alone = message_of(made("{{ recipient.name }}")), message_of(made("{{ recipient.name ~ '' }}"))
    assert spliced == alone and spliced.spliced and isinstance(spliced.spliced.skeleton, Skeleton)
    assert (spliced.spliced.skeleton.text, spliced.spliced.values) == ((0, "\n"), ("Dana",))
    group = made("x")
    one, other = message_of(group), message_of(group, DeliveryKey("pay7", "update:2", Channel.EMAIL, KEY.key))
    far = message_of(group, DeliveryKey("pay8", "update:1", Channel.EMAIL, KEY.key))
    assert one.message_id != other.message_id and one.references == other.references != far.references
    assert one.message_id.endswith("@acme.example>") and one.list_id == "<incidents.acme.example>"
    assert message_of(group) == one


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


MARKED: dict[str, Any] = {"title": "Card payments fail", "mark": "\U000f0000", "facts": {"x": "y"}}


def cut(text: str, html: str = "", *bare: str, **reader: Any) -> CutMail | None:
    sources = {"user:t.j2": "{% block subject %}s{% endblock %}" + text, "user:h.j2": html}
    wording = Wording(Channel.EMAIL, "user:t.j2", "user:h.j2" if html else "", "user", sources)
    return cut_mail(Renderer(wording), MARKED, reader, bare or ("x",))


def test_a_mail_is_cut_at_its_values() -> None:
    made = cut("Hello {{ recipient.x }}{{ recipient.y }}!", "<p>{{ recipient.y }}</p>", "x", "y", "z")
    assert made is not None and made.fields == ("x", "y")
    assert made.skeleton.text == ("Hello ", 0, 1, "!\n")
    assert made.skeleton.html == ("<p>", 1, "</p>\n")
    assert made.skeleton.subject == ("s",)


# A mark that is lost, changed or not ours: the second guard, asked without the first.
LOST = (
    *("{{ recipient.x|length }}", "{{ recipient|length }}", "{% if recipient.x %}x{% endif %}"),
    *("{% set v = recipient.x %}{{ v }}{{ v }}", "{% filter upper %}a{{ recipient.x }}{% endfilter %}"),
    *("{% set v %}{{ recipient.x }}{% endset %}y", "{% for k in recipient %}{{ k }}{% endfor %}"),
    *("{{ recipient.x }}{{ mark }}", "a\U000f0000b"),
    "{{ recipient.x }}{{ 'x' * 3000 }}{% for i in range(3000) %}{% set z = 'x' * 1500 %}{% endfor %}",
)
ODD_PLACES = (
    *("<!--{{ recipient.x }}-->", "<!-- c > {{ recipient.x }}>", "<!--[if {{ recipient.x }}]>t<![endif]-->"),
    *("<p {{ recipient.x }}>t</p>", "<p{{ recipient.x }}>t</p>", '<p title="{{ recipient.x }}">t</p>'),
    *("<style>p { color: red } {{ recipient.x }}", "<STYLE>{{ recipient.x }}</STYLE>"),
    *(
        '<a href="https://a.example/" title="{{ recipient.x }}">t</a>',
        "<a href='https:{{ recipient.x }}'>t</a>",
    ),
    *(
        '<a href="https://a.example/&{{ recipient.x }}">t</a>',
        '<q cite="https://a.b/{{ recipient.x }}">t</q>',
    ),
    *(
        '<a href="https://a.b/&#{{ recipient.x }}">t</a>',
        '<a hidden href="https://a.b/{{ recipient.x }}">t</a>',
    ),
)


@pytest.mark.parametrize(("text", "html"), [*((x, "") for x in LOST), *(("t", x) for x in ODD_PLACES)])
def test_a_mark_that_is_not_its_value_alone_lets_nothing_be_cut(text: str, html: str) -> None:
    assert cut(text + " and more", html) is None


@pytest.mark.parametrize(
    ("html", "fit", "unfit"),
    [
        ("<p>{{ recipient.x }}</p>", ("<b>", "-->", "--x"), ("", " x", "-", "--", "a\nb", None, 1)),
        ("<style>p { color: red }</style><p>{{ recipient.x }}", ("url(x)", "\\"), ()),
        (
            '<a href="{{ recipient.x }}">t</a>',
            ("https://a.b/?a=1&b=2", "mailto:x"),
            ("x", "https://", "ftp://a"),
        ),
        (
            '<a class="c" href="https://a.b/{{ recipient.x }}" id="t" >t</a>',
            ("#32;", "?&"),
            ("'", '"', "<", "é"),
        ),
        ('<a href="https://a.example/?a=1&amp;b={{ recipient.x }}">t</a>', ("x&y",), ("x y",)),
        ('{{ recipient.x }}<a href="mailto:{{ recipient.x }}">t</a>', ("a@b.example",), ("a b",)),
        ('<a href="{{ recipient.x }}{{ recipient.x }}">t</a>', ("https://a",), ("a",)),
    ],
)
def test_a_value_fits_where_all_checks_hold(html: str, fit: tuple[Any, ...], unfit: tuple[Any, ...]) -> None:
    made = cut("t", html)
    assert made is not None
    assert [value for value in fit if made.values_of({"x": value}) != (value,)] == []
    assert [value for value in (*unfit, "\U000f0001", "x" * 100_000) if made.values_of({"x": value})] == []
    assert made.values_of({}) is None
