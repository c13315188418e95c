"""Words come by the short way or one by one: the same words, the same errors, the same digest."""

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
from commcast.model.incident import Channel, View
from commcast.model.message import Email, Skeleton, Sms
from commcast.rendering.compose import (
    Content,
    DeliveryKey,
    ReaderGroup,
    ReaderWords,
    build_message,
    content_digest,
    renderer_for,
)
from commcast.rendering.render import EmailContent, Renderer
from commcast.rendering.splice import MOST_KEPT, TRIED
from commcast.rendering.templates import Templates, Wording, shipped_templates
from tests.support.templates import (
    BARE,
    FILES,
    HOSTILE,
    HTML,
    PLAIN,
    ROUND,
    USED,
    group_of,
    readers,
    wordings,
)
from tests.support.values import AUDIENCES, PHASES, PUBLIC, full, minimal

SUBJECT = "{% block subject %}{{ title }}{% endblock %}\n"
DANA = {
    "name": "Dana",
    "greeting": "Hello Dana,",
    "link": "https://a.example/u/1",
    "plan": "gold",
    "tags": [],
}
OWED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


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
    """Return what an error says; of templates in a circle, which are refused where files are gathered, the
    depth of Python's stack decides which one is named."""
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


def read(
    group: ReaderGroup, reader: Mapping[str, Any], line: int
) -> tuple[ReaderWords | None, Content | str]:
    try:
        words = group.words(reader, line=line)
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


@settings(OWED, max_examples=400)
@given(wordings(), st.lists(readers(), min_size=1, max_size=6))
def test_a_mail_by_the_short_way_is_the_mail_rendered_for_that_reader_alone(
    wording: Wording, people: list[Mapping[str, Any]]
) -> None:
    try:
        group = group_of(wording)
    except TemplateError:
        event("does not compile")
        return
    event(f"spliced: {assert_both_ways_agree(group, people) > 0}")


@settings(OWED, max_examples=150)
@given(wordings(Channel.SMS), st.lists(readers(), min_size=1, max_size=6))
def test_a_text_message_that_is_shared_is_the_one_rendered_for_that_reader_alone(
    wording: Wording, people: list[Mapping[str, Any]]
) -> None:
    try:
        group = group_of(wording)
    except TemplateError:
        return
    assert_both_ways_agree(group, people)


@pytest.mark.parametrize("piece", [*BARE, *USED, *ROUND, *FILES, *HTML])
def test_any_value_in_any_place_gives_the_mail_rendered_for_that_reader_alone(piece: str) -> None:
    """What hypothesis may miss: each place alone, with each value that could upset it."""
    place = piece.replace("FIELD", "name").replace("BODY", "{{ recipient.name }}").replace("BLOCK", "b")
    part = {"user:p1.j2": "{{ recipient.name }}", "user:p2.j2": "{% macro made() %}m{% endmacro %}"}
    part["user:p2.j2"] += "{% set value = recipient.name %}{{ recipient.name }}"
    group = (
        made("x", f"<p>h</p>{place}", **part)
        if piece in HTML
        else made(f"{place}.", f"<p>{place}</p>", **part)
    )
    people = [{**DANA, "name": value} for value in (*PLAIN, *HOSTILE)]
    assert_both_ways_agree(group, [*people, {"link": "x"}])


@pytest.mark.parametrize(
    "text", ["-{{ recipient.name }} \nx", "{{ recipient.name }} \nx", "x\n--{{ recipient.name }}"]
)
def test_a_value_that_makes_a_line_the_mark_of_a_signature_is_not_spliced(text: str) -> None:
    group = made("x\n" + text)
    assert assert_both_ways_agree(group, [{**DANA, "name": name} for name in ("-", "--", "---", "Dana")]) == 2


@pytest.mark.parametrize(
    "subject", ["{{ recipient.name }}", "Hello {{ recipient.name }}{{ recipient.link }}"]
)
def test_a_subject_that_a_value_makes_too_long_is_refused_for_that_reader(subject: str) -> None:
    group = made(f"{{% block subject %}}{subject}{{% endblock %}}x")
    people = [{**DANA, "name": "x" * length} for length in range(100, 280, 3)]
    assert assert_both_ways_agree(group, people) > 0
    with pytest.raises(
        TemplateError, match=r"more than 255 \(for the reader in line 7 of audience customers\)"
    ):
        group.words({**DANA, "name": "x" * 256}, line=7)


def test_a_mail_that_a_value_makes_too_large_is_refused_for_that_reader() -> None:
    group = made("{{ recipient.name }}" * 9, "<p>{{ recipient.name }}</p>" * 9)
    people = [{**DANA, "name": char * (5_000 + 125 * n)} for n in range(9) for char in "xé&"]
    assert assert_both_ways_agree(group, [{**DANA, "name": "x"}, *people]) > 0


def test_a_missing_column_is_an_error_of_that_reader_only() -> None:
    group = made("Hello {{ recipient.name }}")
    assert group.words(DANA).spliced
    with pytest.raises(TemplateError, match=r"'name' is undefined.*line 9 of audience customers"):
        group.words({"link": "x"}, line=9)
    assert group.words(DANA).spliced


def shipped(audience: str, status: str, channel: Channel, context: Mapping[str, Any]) -> ReaderGroup:
    view = View.PUBLIC if audience in PUBLIC else View.INTERNAL
    wording = Templates(None, shipped_templates()).choose(audience, view, status, "", channel)
    own = {key: value for key, value in context.items() if key != "recipient"}
    return group_of(wording, own, renderer_for(wording.to_json()))


@pytest.mark.parametrize("told", [full, minimal])
@pytest.mark.parametrize("audience", AUDIENCES)
def test_the_shipped_mails_of_every_status_are_spliced(audience: str, told: Any) -> None:
    """A change that loses the fast road is seen here."""
    for status in PHASES:
        context = told(audience, status)
        people = [{**context["recipient"], "greeting": hello} for hello in ("Hello,", "Hello Zoë & <Co>,")]
        assert assert_both_ways_agree(shipped(audience, status, Channel.EMAIL, context), people) == 2


@pytest.mark.parametrize("audience", AUDIENCES)
def test_the_shipped_text_messages_of_every_status_are_shared_by_all_who_get_the_same(audience: str) -> None:
    for status in PHASES:
        context = full(audience, status)
        group = shipped(audience, status, Channel.SMS, context)
        people = [{**context["recipient"], "name": name, "by_email": name < "C"} for name in "ABCD"]
        bodies = [group.words(reader).content for reader in people]
        assert bodies[0] is bodies[1] and bodies[2] is bodies[3]
        assert bodies == [group.alone(reader) for reader in people]


@pytest.fixture
def renders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was rendered, mail by mail and text by text."""
    done: list[str] = []
    for name in ("write", "sms"):
        monkeypatch.setattr(Renderer, name, counted(getattr(Renderer, name), done))
    return done


def counted(render: Callable[..., Any], done: list[str]) -> Callable[..., Any]:
    def run(*given: Any) -> Any:
        done.append(render.__name__)
        return render(*given)

    return run


@pytest.mark.parametrize("channel", Channel)
def test_a_thousand_readers_of_one_group_cost_one_render(renders: list[str], channel: Channel) -> None:
    context = full("customers", "identified")
    group = shipped("customers", "identified", channel, context)
    for number in range(1000):
        reader = {**context["recipient"], "name": f"N{number}", "greeting": f"Hello N{number},"}
        assert group.words(reader, line=number).content
    assert len(renders) == 1


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


def test_where_readers_are_hardly_ever_alike_no_more_is_made_to_be_shared(renders: list[str]) -> None:
    group = made("{{ recipient.name|upper }} {{ recipient.link }}")
    words = [group.words({**DANA, "name": f"N{n}"}) for n in range(1000)]
    assert len(renders) == 1000
    assert sum(1 for each in words if each.spliced) == TRIED + 1


def test_only_so_much_is_kept_for_sharing(renders: list[str]) -> None:
    group = made("{{ recipient.plan|upper }} {{ recipient.name }}")
    plans = [f"p{number}" for number in range(MOST_KEPT + 1)]
    for plan in plans:
        for name in ("Ann", "Bob"):
            group.words({**DANA, "plan": plan, "name": name})
    assert len(renders) == len(plans)
    group.words({**DANA, "plan": plans[1]})
    assert len(renders) == len(plans), "kept"
    group.words({**DANA, "plan": plans[0]})
    assert len(renders) == len(plans) + 1, "made again"


def test_a_digest_does_not_depend_on_who_came_before() -> None:
    """Rows are frozen in the order of the list and handed over in another, in another process."""
    people = [{**DANA, "name": f"N{n}", "plan": f"p{n}"} for n in range(3 * TRIED)]
    for text in (
        "{{ recipient.name }}",
        "{{ recipient.plan|upper }} {{ recipient.name }}",
        "{{ recipient|length }}",
    ):
        one, other = made(text), made(text)
        frozen = [one.words(reader).digest for reader in people]
        assert [other.words(reader).digest for reader in reversed(people)] == frozen[::-1]
        assert len(set(frozen)) == (1 if "length" in text else len(people))


def test_a_digest_changes_with_the_words() -> None:
    digests = {
        made(text, html).words({**DANA, "name": name}).digest
        for text in ("{{ recipient.name }}", "{{ recipient.name }}.", "{{ recipient.link }}")
        for html in ("", "<p>{{ recipient.name }}</p>", "<p>{{ recipient.name }}.</p>")
        for name in ("Ann", "Bob")
    }
    assert len(digests) == 17, "a text alone of the link is the same for both"


@pytest.mark.parametrize("text", ["{{ recipient.name }}", "{{ recipient.name|upper }}", "all the same"])
def test_words_frozen_by_an_older_version_are_known_again(text: str) -> None:
    """It froze a digest of the content alone, whatever the template."""
    words = made(text, "<p>{{ title }}</p>").words(DANA)
    content = words.content
    assert isinstance(content, EmailContent)
    parts = [content.subject, content.text, content.html]
    old = hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()
    assert words.are_frozen_as(words.digest) and words.are_frozen_as(old) and old == content_digest(content)
    assert not words.are_frozen_as(made(text + "!").words(DANA).digest)
    assert not words.are_frozen_as("s1:" + old)


KEY = DeliveryKey("pay7", "update:1", Channel.EMAIL, "dana@example.com")
NOW = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)


def message_of(group: ReaderGroup, key: DeliveryKey = KEY) -> Email | Sms:
    return build_message(
        group.words(DANA),
        group.envelope,
        key,
        address="dana@example.com",
        name="Dana",
        secret=b"secret",
        now=NOW,
    )


def test_a_message_is_the_same_by_either_way_and_tells_how_it_was_spliced() -> None:
    spliced, alone = message_of(made("{{ recipient.name }}")), message_of(made("{{ recipient.name ~ '' }}"))
    assert spliced == alone
    assert isinstance(spliced, Email) and spliced.spliced
    assert spliced.spliced.skeleton.text == (0, "\n") and spliced.spliced.values == ("Dana",)
    assert isinstance(spliced.spliced.skeleton, Skeleton)


def test_every_delivery_has_an_id_of_its_own_in_the_thread_of_its_incident() -> None:
    group = made("x")
    one, other = message_of(group), message_of(group, DeliveryKey("pay7", "update:2", Channel.EMAIL, KEY.key))
    far = message_of(group, DeliveryKey("pay8", "update:1", Channel.EMAIL, KEY.key))
    assert isinstance(one, Email) and isinstance(other, Email) and isinstance(far, Email)
    assert one.message_id != other.message_id and one.references == other.references != far.references
    assert one.message_id.endswith("@acme.example>") and one.list_id == "<incidents.acme.example>"
    assert message_of(group) == one
