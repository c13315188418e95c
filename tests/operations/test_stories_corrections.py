"""Wrong words: who is told that they were wrong, and who only reads the right ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from commcast.ledger.fence import stop_incident
from commcast.model.message import Delivery, Email, Outcome, OutcomeKind
from commcast.providers import registry
from tests.support.desk import START, Bench, numbered
from tests.support.providers import FakeAdapter, accepted, address_of, saying
from tests.support.scenario import ANN, ANN_SMS, BOB, BOB_SMS, Story
from tests.support.terminal import run

WRONG, RIGHT = "3 hours", "30 minutes"
SU = "help@acme.example"
HEAD = "email,phone,name"
CORRECTED, ONLY_RIGHT = f"wrong {WRONG} right {RIGHT}\nIt takes {RIGHT}.", f"It takes {RIGHT}."
# Rendered in no time: what the shipped words say is tested elsewhere.
WORDS = (
    "{% block subject %}{{ incident.title }}{% endblock %}\n{% for each in corrections %}"
    "wrong {{ each.wrong }} right {{ each.right }}\n{% endfor %}{{ update.issue }}\n"
)
TEXT = "{% for each in corrections %}wrong {{ each.wrong }} {% endfor %}{{ update.issue }}\n"


class Mistaken(Story):
    """A story whose first words are wrong, told in words of its own."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        for audience in ("customers", "support"):
            (folder / "templates" / audience).mkdir(parents=True)
            (folder / "templates" / audience / "email.txt.j2").write_text(WORDS)
            (folder / "templates" / audience / "sms.txt.j2").write_text(TEXT)
        self.draft()
        self.edit(
            "incidents/pay7.yaml",
            "Some customers see an error when they pay by card.",
            f"It takes {WRONG}.",
        )

    def write_correction(self) -> None:
        self.write(issue=ONLY_RIGHT, corrects="1", wrong=f'"{WRONG}"', right=f'"{RIGHT}"')

    def correct(self) -> None:
        """Write the correction five minutes later, and send it."""
        self.bench.later(minutes=5)
        self.write_correction()
        self.bench.send()

    def said(self, to: str) -> list[str]:
        return [text.strip() for text in self.texts(to)]


@pytest.fixture
def story(tmp_path: Path) -> Mistaken:
    return Mistaken(tmp_path)


@pytest.mark.parametrize("kind", [OutcomeKind.REJECTED, OutcomeKind.UNKNOWN])
def test_each_channel_is_corrected_by_what_went_there(story: Mistaken, kind: OutcomeKind) -> None:
    """Bob's mail was refused, or its answer was lost, which counts as told; his text arrived."""
    story.answers[BOB] = kind
    story.bench.send()
    story.answers.clear()
    story.correct()
    assert story.said(ANN)[1] == CORRECTED
    assert story.said(BOB) == [ONLY_RIGHT if kind is OutcomeKind.REJECTED else CORRECTED]
    assert story.said(BOB_SMS)[1].startswith(f"wrong {WRONG}")


@pytest.mark.parametrize("left", [False, True], ids=["all are listed", "Bob left the list"])
def test_words_that_still_wait_are_never_sent(story: Mistaken, left: bool) -> None:
    story.bench.release()
    story.bench.freeze()
    if left:
        story.people(HEAD, f"{ANN},{ANN_SMS},Ann")
    story.correct()
    story.minutes(1)
    told = {ANN, ANN_SMS, SU} if left else {ANN, ANN_SMS, BOB, BOB_SMS, SU}
    assert {heard.to: heard.text.strip() for heard in story.heard} == dict.fromkeys(told, ONLY_RIGHT)
    assert story.bench.states()["email", "skipped"] == 3


def test_a_reader_who_left_the_list_with_the_wrong_words_is_corrected_too(story: Mistaken) -> None:
    story.bench.send()
    story.people(HEAD, "new@example.com,,New")
    story.correct()
    assert story.said(ANN)[1] == CORRECTED
    assert story.said("new@example.com") == [ONLY_RIGHT]


def test_only_the_audience_that_read_it_is_corrected(story: Mistaken) -> None:
    """Support was told other words for the same facts."""
    other = "    for: {support: {issue: It takes a while.}}\n"
    story.path.write_text(story.path.read_text() + other)
    story.bench.send()
    story.bench.later(minutes=5)
    story.write_correction()
    story.path.write_text(story.path.read_text() + other)
    story.bench.send()
    assert story.said(SU) == ["It takes a while.", "It takes a while."]
    assert story.said(ANN)[1] == CORRECTED


def test_a_correction_that_newer_words_overtook_comes_with_them(story: Mistaken) -> None:
    story.bench.send()
    story.go_to(5)
    story.write_correction()
    story.bench.release()
    story.bench.freeze()
    story.go_to(6)
    story.say(issue="A fix is near.")
    assert story.said(ANN)[1:] == [f"wrong {WRONG} right {RIGHT}\nA fix is near."]


def test_nobody_is_corrected_twice_and_everybody_hears_what_follows(story: Mistaken) -> None:
    """Only an end that is itself the correction leaves out readers who saw nothing wrong."""
    story.bench.send()
    story.correct()
    story.go_to(10)
    story.say(issue="A fix is near.")
    assert story.said(ANN)[1:] == [CORRECTED, "A fix is near."]
    story.go_to(15)
    story.say(status="resolved", issue="It is over.", fixed="We took it back.", if_it_persists="Call us.")
    for address in (ANN, BOB, SU, ANN_SMS, BOB_SMS):
        assert "It is over" in story.said(address)[-1]


def test_a_reader_who_was_corrected_hears_that_it_was_a_false_alarm(story: Mistaken) -> None:
    story.bench.send()
    story.correct()
    story.go_to(10)
    story.say(status="retracted", because="A false alarm.")
    assert story.bench.states(notice="update:3") == {("email", "accepted"): 3, ("sms", "accepted"): 2}


def test_a_text_is_corrected_though_its_channel_carries_no_corrections(tmp_path: Path) -> None:
    story = Mistaken(tmp_path, sms='events = ["first", "resolved", "retracted"]')
    story.bench.send()
    story.correct()
    assert len(story.said(ANN_SMS)) == 2


@pytest.mark.parametrize("level", ["key", "end"])
def test_readers_who_want_little_read_the_correction_of_what_they_read(tmp_path: Path, level: str) -> None:
    story = Mistaken(tmp_path)
    story.people("email,name,level", f"{ANN},Ann,")
    story.bench.send()
    story.people("email,name,level", f"{ANN},Ann,{level}")
    story.correct()
    assert story.said(ANN)[1] == CORRECTED


@pytest.mark.parametrize(
    ("start", "told"),
    [
        pytest.param(START.replace(hour=21), [], id="the wrong words were held, and never go"),
        pytest.param(START.replace(hour=19, minute=50), [f"It takes {WRONG}."], id="the correction was held"),
    ],
)
def test_what_a_night_held_goes_as_what_it_is_by_then(
    tmp_path: Path, start: datetime, told: list[str]
) -> None:
    story = Mistaken(tmp_path, start=start, sms='quiet = "21:00-08:00"\nwake_for = []')
    story.bench.send()
    assert story.said(ANN_SMS) == story.said(BOB_SMS) == told
    story.bench.later(minutes=25)
    story.correct()
    assert story.said(ANN_SMS) == told
    story.bench.now = START.replace(day=22, hour=7, minute=1)
    story.say(issue="A fix is near.")
    for reader in (ANN_SMS, BOB_SMS):
        (text,) = story.said(reader)[len(told) :]
        assert text == (f"wrong {WRONG} A fix is near." if told else "A fix is near.")


def test_noticed_in_the_middle_of_many_one_command_puts_it_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people, noticed = 2_000, 450
    handed: list[Delivery] = []
    other: list[Bench] = []

    def stopping(adapter: FakeAdapter) -> None:
        if len(handed) >= noticed:
            with other[0].ledger.write() as connection:
                stop_incident(connection, "pay7", "dana", datetime.now(UTC))

    def losing_some(item: Delivery) -> Outcome | None:
        return saying(OutcomeKind.UNKNOWN)(item) if item.delivery % 100 == 7 else accepted(item)

    before: Callable[[FakeAdapter], object] | None = stopping
    monkeypatch.setattr(
        registry,
        "adapter_for",
        lambda *_: FakeAdapter(
            answer=losing_some if before else accepted,
            before=before,
            batch_size=20,
            connections=4,
            handed=handed,
        ),
    )
    rows = [",,".join(row.split(",")[::2]) for row in numbered(people)]
    story = Mistaken(tmp_path, start=datetime.now(UTC) - timedelta(minutes=1), customers=rows)
    other.append(story.bench)
    run("send", "pay7", "--yes", folder=tmp_path, expect=5)
    got_wrong = {address_of(item) for item in handed}
    assert noticed <= len(got_wrong) < noticed + 200
    before, begun = None, len(handed)
    run("correct", "pay7", "--wrong", WRONG, "--right", RIGHT, "--yes", folder=tmp_path, expect=0)
    since = {address_of(item): item.message for item in handed[begun:]}
    assert len(handed) - begun == len(since) == people + 1
    corrected = {to for to, mail in since.items() if isinstance(mail, Email) and WRONG in mail.text}
    assert corrected == got_wrong
