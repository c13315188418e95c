"""The shipped languages: each says the same facts as the English templates, in its own words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from icalendar import Calendar
from jinja2 import Environment, nodes

from commcast.doctor import trial
from commcast.doctor.trial import TrialRenderer, made_up_stories
from commcast.model.incident import Channel, Level
from commcast.model.text import measure
from commcast.rendering.context import build_context, recipient_values
from commcast.rendering.moments import moments_on
from commcast.rendering.render import SmsContent
from commcast.rendering.templates import LAYOUT, shipped_templates
from tests.support.values import AT, AUDIENCES, FOLLOW_UPS, PUBLIC, READER, config_of

LANGUAGES = ("de", "fr", "es")
SHIPPED = shipped_templates()
NOT_TRANSLATED = {LAYOUT, "_nudge/email.txt.j2", "_nudge/sms.txt.j2"}
ENGLISH = re.compile(
    r"(?i)\b(the|and|we|we're|you|your|this|that|with|from|of|for|to|is|are|been|update|sorry|please|planned"
    r"|work|until|since|next|reply|yes|page|if|not|by|at|it|its|it's|what|when|affected|help)\b"
)
DESK = config_of(
    organisation={"name": "Acme Pay", "zone": "Europe/Berlin", "status_url": "https://status.acme.example"},
    contact={"reply_to": "help@acme.example", "phone": "+49 30 5550100", "hours": "Mon-Sat 08:00-18:00"},
    channels={"email": {"from": "status@acme.example"}, "sms": {}},
    audiences={
        name: {
            "recipients": "a.csv",
            "channels": ["email", "sms"],
            "view": "public" if name in PUBLIC else "internal",
        }
        for name in AUDIENCES
    },
)


def names_in(language: str) -> set[str]:
    folder = SHIPPED / language
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*.j2")}
    return {name for name in names if name.partition("/")[0] not in LANGUAGES} - NOT_TRANSLATED


NAMES = sorted(names_in(""))
EVERY = [*product(LANGUAGES, NAMES)]


@cache
def tree_of(name: str) -> nodes.Template:
    return Environment(autoescape=True).parse((SHIPPED / name).read_text("utf-8"))


def asked(node: nodes.Node) -> list[Any]:
    """Return what a template asks and prints, in its order, without its words."""
    values = [value for _, value in node.iter_fields(only=ATTRIBUTES)]
    found: list[Any] = [type(node).__name__, *(each for each in values if isinstance(each, str | bool))]
    inside = [asked(child) for child in node.iter_child_nodes() if not is_words(child, node)]
    # A language may name the values of a sentence in its own order.
    found += sorted(inside, key=repr) if isinstance(node, (nodes.Output, nodes.Concat)) else inside
    return found


ATTRIBUTES = ("name", "attr", "value", "op", "ignore_missing", "target")


def is_words(node: nodes.Node, parent: nodes.Node) -> bool:
    """Return whether a node is words for readers, or an output of nothing else."""
    if isinstance(node, nodes.Output):
        return all(is_words(child, node) for child in node.nodes)
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        is_key = isinstance(parent, nodes.Pair) and node is parent.key
        return not is_key and not isinstance(parent, COMPARING)
    return isinstance(node, nodes.TemplateData)


COMPARING = (nodes.Compare, nodes.Operand, nodes.Include, nodes.Filter, nodes.Keyword, nodes.Getitem)


def words_in(node: nodes.Node) -> Iterator[str]:
    """Yield a template's words for readers."""
    for child in node.iter_child_nodes():
        if isinstance(child, nodes.TemplateData):
            yield child.data
        elif isinstance(child, nodes.Const) and is_words(child, node):
            yield child.value
        yield from words_in(child)


def test_only_templates_without_words_for_readers_are_not_translated() -> None:
    assert all((SHIPPED / name).is_file() for name in NOT_TRANSLATED)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_file_and_no_other(language: str) -> None:
    assert sorted(names_in(language)) == NAMES


@pytest.mark.parametrize(("language", "name"), EVERY)
def test_a_file_asks_and_prints_what_the_english_one_does(language: str, name: str) -> None:
    assert asked(tree_of(f"{language}/{name}")) == asked(tree_of(name))


@pytest.mark.parametrize(("language", "name"), EVERY)
def test_no_english_is_left(language: str, name: str) -> None:
    text = "".join(words_in(tree_of(f"{language}/{name}"))).replace("Subject: ", "")
    assert ENGLISH.findall(text) == []


@pytest.mark.parametrize(("language", "name"), [each for each in EVERY if each[1].endswith(".sms.j2")])
def test_no_word_of_a_text_makes_it_cost_more(language: str, name: str) -> None:
    words = "".join(words_in(tree_of(f"{language}/{name}"))).strip()
    assert measure(words).forced_by == ""


def values_in(facts: Any) -> Iterator[str]:
    """Yield each text among the facts of a message that can't be a word of a template."""
    if isinstance(facts, dict | list):
        for each in facts.values() if isinstance(facts, dict) else facts:
            yield from values_in(each)
    elif isinstance(facts, str) and re.search(r"[\d ]", facts):
        yield facts


@pytest.fixture
def in_english(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Show every time, length and greeting in English; return the values that messages could print."""
    seen: list[str] = []

    def facts(*given: Any, **asked: Any) -> Any:
        made = build_context(*given, **asked)
        seen[:] = sorted({*values_in(made), *values_in(values)})
        return made

    values = recipient_values(ANN, DESK.audiences["customers"])
    monkeypatch.setattr(trial, "message_language", lambda *_: "en")
    monkeypatch.setattr(trial, "recipient_values", lambda *_: values)
    monkeypatch.setattr(trial, "build_context", facts)
    return seen


ANN = READER._replace(name="Ann Lee")
STORIES = [
    (name, made, occasion._replace(**more), level)
    for name, told in made_up_stories(DESK).items()
    for place, (made, occasion) in enumerate((told[0], told[-1]))
    for more, level in (
        ({}, Level.ALL),
        ({"held_back": 3, "broken": AT, "step": occasion.step and 2, "catches_up": True}, Level.KEY),
        ({"facts_from": AT, "step": occasion.step and 3, "goes_on_as": "Cards"}, Level.END),
    )
    if level is Level.ALL or place == 0
]


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("audience", AUDIENCES)
def test_no_fact_is_lost_or_added_in_a_language(
    audience: str, channel: Channel, in_english: list[str]
) -> None:
    desk = TrialRenderer(DESK)
    for name, made, occasion, level in STORIES:
        if name not in moments_on(channel):
            continue
        said = {}
        for language in ("en", *LANGUAGES):
            reader = ANN._replace(locale=language, level=level)
            text = "\n".join(map(str, desk.render(made, audience, channel, reader, occasion)[:2]))
            said[language] = {value: text.count(value) for value in in_english if value in text}
        for language in LANGUAGES:
            assert said[language] == said["en"], (name, language)


@pytest.mark.parametrize(
    ("language", "hours", "summary", "description"),
    [
        ("en", "Mon-Sat", "Cancelled: ", "This work will not take place."),
        ("de-AT", "Mo.-Sa.", "Abgesagt: ", "Diese Arbeiten finden nicht statt."),
        ("fr", "lun.-sam.", "Annulation\u00a0: ", "Ces travaux n'auront pas lieu."),
        ("es", "lun-sáb", "Cancelado: ", "Estos trabajos no se realizarán."),
    ],
)
def test_opening_hours_and_calendars_are_in_the_language(
    language: str, hours: str, summary: str, description: str
) -> None:
    told, _ = made_up_stories(DESK)["cancelled"][0]
    asked: dict[str, Any] = {
        "zone": ZoneInfo("Europe/Berlin"),
        "language": language,
        "first": False,
        "previous": None,
    }
    facts = build_context(
        DESK, told, told.latest, "customers", next_update_by=None, with_calendar=True, **asked
    )
    event = Calendar.from_ical(facts["calendar"]["text"]).walk("VEVENT")[0]
    assert facts["contact"]["hours"] == f"{hours} 08:00-18:00"
    assert event["summary"] == f"{summary}Acme Pay: We move the payment database"
    assert str(event["description"]).splitlines()[:2] == [description, "The first check was wrong."]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_first_notice_by_text_is_short(language: str) -> None:
    (first, occasion), *_ = made_up_stories(DESK)["first_notice"]
    reader = ANN._replace(locale=language)
    content = TrialRenderer(DESK).render(first, "customers", Channel.SMS, reader, occasion)
    assert isinstance(content, SmsContent)
    assert content.size.encoding == "GSM-7" and content.size.segments <= 2, content.body


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_and_values_meet_without_a_doubled_or_stray_mark(language: str) -> None:
    desk = TrialRenderer(DESK)
    for name, made, occasion, level in STORIES:
        for channel in Channel if name not in FOLLOW_UPS else (Channel.EMAIL,):
            reader = ANN._replace(locale=language, level=level)
            for text in desk.render(made, "customers", channel, reader, occasion)[:2]:
                found = re.search(
                    r".{0,30}(?:\.\.|\s[,.]\s|,,|:\.|::|\(\)|\( |\s\)|[^\n]  ).{0,30}", str(text)
                )
                assert not found, (name, found)
