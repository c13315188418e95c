"""Words come by the short way or one by one: the same words, the same errors, the same digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from commcast.compose import Content, DeliveryKey, Group, Words, build_message, content_digest
from commcast.errors import TemplateError
from commcast.message import Email, Skeleton, Sms
from commcast.model import Channel, View
from commcast.wording.rendering import EmailContent, Renderer
from commcast.wording.sharing import MOST_KEPT, TRIED
from commcast.wording.templating import Templates, Wording, shipped_templates
from tests.template_contexts import AUDIENCES, PHASES, PUBLIC, full, minimal
from tests.wording.made_templates import CONTEXT, HOSTILE, group_of, readers, wordings

SUBJECT = "{% block subject %}{{ title }}{% endblock %}\n"
DANA = {
    "name": "Dana",
    "greeting": "Hello Dana,",
    "link": "https://a.example/u/1",
    "plan": "gold",
    "tags": [],
}
OWED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def made(text: str, html: str = "", channel: Channel = Channel.EMAIL, **more: str) -> Group:
    head = SUBJECT if channel is Channel.EMAIL and "block subject" not in text else ""
    sources = {"user:t.j2": head + text, **({"user:h.j2": html} if html else {}), **more}
    return group_of(Wording(channel, "user:t.j2", "user:h.j2" if html else "", "user", sources))


def outcome(render: Callable[[], Content]) -> Content | str:
    try:
        return render()
    except TemplateError as error:
        return str(error)


def assert_both_ways_agree(group: Group, people: list[Mapping[str, Any]]) -> int:
    """Return how many were spliced, once all words and errors were the same as for each reader alone."""
    spliced = 0
    for line, reader in enumerate(people, 2):
        words: list[Words] = []

        def short_way(reader: Mapping[str, Any] = reader, line: int = line, words: Any = words) -> Content:
            words.append(group.words(reader, line=line))
            return words[0].content  # type: ignore[no-any-return]

        assert outcome(short_way) == outcome(lambda: group.alone(reader, line))
        if words and words[0].spliced:
            spliced += 1
            assert_spliced_well(words[0])
    return spliced


def assert_spliced_well(words: Words) -> None:
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
        texts = [isinstance(piece, str) for piece in pieces]
        assert "" not in pieces and not any(one and two for one, two in zip(texts, texts[1:], strict=False))
    for value in values:
        assert value and value == value.strip() and len(value.splitlines()) == 1


@settings(OWED, max_examples=600)
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
