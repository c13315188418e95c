"""Wrong words: who is told that they were wrong, and who only reads the right ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from commcast.model.message import OutcomeKind
from commcast.operations.status import read_status
from commcast.report.reading import read_story
from tests.support.desk import START, update_text, write_incident
from tests.support.own_words import write_words
from tests.support.scenario import ANN, ANN_SMS, BOB, BOB_SMS, Story, say

WRONG, RIGHT = "3 hours", "30 minutes"
SU, NEW = "help@acme.example", "new@example.com"
FIRST, ONLY_RIGHT = f"It takes {WRONG}.", f"It takes {RIGHT}."
CORRECTED, BY_TEXT = f"wrong {WRONG} right {RIGHT}\n{ONLY_RIGHT}", f"wrong {WRONG} {ONLY_RIGHT}"
NEAR, OVER = "A fix is near.", "It is over."
# Rendered in no time: what the shipped words say is tested elsewhere.
WORDS = (
    "Subject: {{ incident.title }}\n\n{% for each in corrections %}"
    "wrong {{ each.wrong }} right {{ each.right }}\\\n{% endfor %}{{ update.issue }}\n"
)
TEXT = "{% for each in corrections %}wrong {{ each.wrong }} {% endfor %}{{ update.issue }}\n"


class Mistaken(Story):
    """A story whose first words are wrong, told in words of its own."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        for audience in ("customers", "support"):
            write_words(folder, audience, email=WORDS, sms=TEXT)
        self.draft()
        self.edit("incidents/pay7.yaml", "Some customers see an error when they pay by card.", FIRST)

    def said(self, to: str) -> list[str]:
        return [text.strip() for text in self.texts(to)]


Step = Callable[[Mistaken], object]
OTHERS = "    for: {support: {issue: It takes a while.}}\n"  # support is told the same facts in other words


def send(story: Mistaken) -> None:
    story.bench.send()


def freeze(story: Mistaken) -> None:
    """Release it; the run dies before its first claim."""
    story.bench.release()
    story.bench.freeze()


def write_correction(story: Mistaken) -> None:
    story.bench.later(minutes=5)
    story.write(issue=ONLY_RIGHT, corrects="1", wrong=f'"{WRONG}"', right=f'"{RIGHT}"')


def correct(story: Mistaken) -> None:
    """Write the correction five minutes later, and send it."""
    write_correction(story)
    story.bench.send()


def later(minutes: float) -> Step:
    return lambda story: story.bench.later(minutes=minutes)


def tick(story: Mistaken) -> None:
    story.minutes(1)


def in_other_words(story: Mistaken) -> None:
    story.path.write_text(story.path.read_text() + OTHERS)


def answering(kind: OutcomeKind | None) -> Step:
    """From now on Bob's provider gives this answer to emails."""
    return lambda story: story.answers.update({BOB: kind}) if kind else story.answers.clear()


def listed(*rows: str, head: str = "email,phone,name") -> Step:
    return lambda story: story.people(head, *rows)


def in_the_morning(story: Mistaken) -> None:
    story.bench.now = START.replace(day=22, hour=7, minute=1)


def to(*readers: str, said: Sequence[str]) -> dict[str, Sequence[str]]:
    return {reader: list(said) for reader in readers}


NIGHT = {"sms": 'quiet = "21:00-08:00"\nwake_for = []'}
HELD = NIGHT | {"start": START.replace(hour=21)}
JUST_BEFORE = NIGHT | {"start": START.replace(hour=19, minute=50)}
FEW_TEXTS = {"sms": 'events = ["first", "resolved", "retracted"]'}
LONGER = "It takes 2 hours."
wrongly = say(issue=NEAR, corrects="1", wrong=f'"{WRONG}"', right=f'"{RIGHT}"')  # said nowhere else
ONLY_ANN, LEVEL = listed(f"{ANN},{ANN_SMS},Ann"), "email,name,level"
near, over = say(issue=NEAR), say(status="resolved", issue=OVER, fixed="Back.", if_it_persists="Call us.")
alarm = say(status="retracted", because="A false alarm.")
refused, lost, answers = answering(OutcomeKind.REJECTED), answering(OutcomeKind.UNKNOWN), answering(None)
EMAILS, TEXTS = (ANN, BOB, SU), (ANN_SMS, BOB_SMS)
BY_EMAIL, BY_SMS = [FIRST, CORRECTED], [FIRST, BY_TEXT]
Case = tuple[str, dict[str, Any], Sequence[Step], Mapping[str, Sequence[str]]]
CASES: list[Case] = [
    # Each channel is corrected by what went there: an answer that was lost counts as told.
    ("refused", {}, [refused, send, answers, correct], {BOB: [ONLY_RIGHT], BOB_SMS: BY_SMS, ANN: BY_EMAIL}),
    ("lost", {}, [lost, send, answers, correct], {BOB: [CORRECTED], BOB_SMS: BY_SMS, ANN: BY_EMAIL}),
    ("pending words never go", {}, [freeze, correct, tick], to(*EMAILS, *TEXTS, said=[ONLY_RIGHT])),
    (
        "nor to those who left, and they are told nothing",
        {},
        [freeze, ONLY_ANN, correct, tick],
        to(ANN, ANN_SMS, SU, said=[ONLY_RIGHT]) | to(BOB, BOB_SMS, said=[]),
    ),
    ("a newcomer", {}, [send, listed(f"{NEW},,New"), correct], {ANN: BY_EMAIL, NEW: [ONLY_RIGHT]}),
    (
        "an audience that read other words is not corrected",
        {},
        [in_other_words, send, write_correction, in_other_words, send],
        {SU: ["It takes a while.", "It takes a while."], ANN: BY_EMAIL},
    ),
    (
        "a correction that newer words overtook comes with them",
        {},
        [send, write_correction, freeze, later(1), near],
        {ANN: [FIRST, f"wrong {WRONG} right {RIGHT}\n{NEAR}"]},
    ),
    (
        "a correction that is itself wrong",
        {},
        [send, wrongly, later(5), say(issue=LONGER, corrects="2", wrong=f'"{RIGHT}"', right='"2 hours"')],
        {ANN: [FIRST, f"wrong {WRONG} right {RIGHT}\n{NEAR}", f"wrong {RIGHT} right 2 hours\n{LONGER}"]},
    ),
    # Only an end that is itself the correction leaves out readers who saw nothing wrong.
    (
        "nobody is corrected twice, and everybody is told what follows",
        {},
        [send, correct, later(5), near, later(5), over],
        to(*EMAILS, said=[*BY_EMAIL, NEAR, OVER]) | to(*TEXTS, said=[*BY_SMS, OVER]),
    ),
    (
        "readers who were corrected are told that it was a false alarm",
        {},
        [send, correct, later(5), alarm],
        to(*EMAILS, said=[*BY_EMAIL, ONLY_RIGHT]) | to(*TEXTS, said=[*BY_SMS, ONLY_RIGHT]),
    ),
    ("texts carry no other corrections", FEW_TEXTS, [send, correct], {ANN_SMS: BY_SMS}),
    *(
        (
            f"a reader who now wants only {level}",
            {},
            [listed(f"{ANN},Ann,", head=LEVEL), send, listed(f"{ANN},Ann,{level}", head=LEVEL), correct],
            {ANN: BY_EMAIL},
        )
        for level in ("key", "end")
    ),
    # What a night held goes as what it is by then.
    ("nobody is texted at night", HELD, [send, later(25), correct], to(*TEXTS, said=[])),
    ("held wrong words", HELD, [send, later(25), correct, in_the_morning, near], to(*TEXTS, said=[NEAR])),
    (
        "a held correction comes with what is newest",
        JUST_BEFORE,
        [send, later(25), correct, in_the_morning, near],
        to(*TEXTS, said=[FIRST, f"wrong {WRONG} {NEAR}"]),
    ),
]


@pytest.mark.parametrize(
    ("options", "steps", "said"), [pytest.param(*case, id=name) for name, *case in CASES]
)
def test_who_reads_what(
    tmp_path: Path, options: dict[str, Any], steps: Sequence[Step], said: Mapping[str, Sequence[str]]
) -> None:
    story = Mistaken(tmp_path, **options)
    for step in steps:
        step(story)
    assert {to: story.said(to) for to in said} == said


def test_a_corrected_title_is_the_title_wherever_it_is_told(tmp_path: Path) -> None:
    """By status and report, to people on call, and to readers of what is merged into it."""
    story = Story(tmp_path)
    story.declare()
    write_incident(tmp_path, "web8")
    story.bench.send("web8")
    story.go_to(5)
    story.say(issue="Refunds fail.", corrects="1", wrong="Card payments", right="Refunds")
    story.bench.append(
        "incidents/web8.yaml", update_text(story.bench.now, status="merged", merged_into="pay7")
    )
    story.bench.send("web8")
    story.until(21)
    for reader in (ANN, ANN_SMS, "sam@acme.example"):
        last = story.by(reader)[-1]
        assert "Refunds fail" in last.subject + last.text
    (shown,) = read_status(story.bench.desk, story.bench.ledger, "pay7").histories
    with story.bench.ledger.read() as connection:
        reported = read_story(connection, "pay7", story.bench.now)
    assert reported
    assert {shown.title, reported.title} == {"Refunds fail"}
