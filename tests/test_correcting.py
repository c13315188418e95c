"""Who is told that words were wrong, and who only the right ones: over receivers that count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.ledger.releases import stop_incident
from commcast.model.incident import Channel
from commcast.model.message import Delivery, Email, Outcome, OutcomeKind
from commcast.model.text import holds, nearest, put_right
from commcast.providers import registry as wiring
from tests.support.desk import START, Bench, numbered, update_text, write_desk, write_incident, write_list
from tests.support.providers import Answer, FakeAdapter, accepted, address_of, saying
from tests.support.terminal import run

WRONG, RIGHT = "3 hours", "30 minutes"
PEOPLE, NOTICED = 40_000, 9_000
# Rendered in no time: what the shipped words say is tested elsewhere.
WORDS = (
    "{% block subject %}{{ incident.title }}{% endblock %}\n{% for each in corrections %}"
    "wrong {{ each.wrong }} right {{ each.right }}\n{% endfor %}{{ update.issue }}\n"
)
TEXT = "{% for each in corrections %}wrong {{ each.wrong }} {% endfor %}{{ update.issue }}\n"


def correction(at: datetime, *, corrects: str = "1", issue: str = f"It takes {RIGHT}.", **keys: str) -> str:
    """Return the update that corrects, as YAML."""
    return update_text(at, issue=issue, corrects=corrects, wrong=f'"{WRONG}"', right=f'"{RIGHT}"', **keys)


def first_words(folder: Path, more: str = "", *, severity: int = 1) -> None:
    """Write an incident whose first words are wrong."""
    path = write_incident(folder, severity=severity, more=more)
    wrong = f"It takes {WRONG}."
    path.write_text(path.read_text().replace("Some customers see an error when they pay by card.", wrong))


def said(adapter: Counting, address: str) -> list[str]:
    """Return what one address was handed, in order."""
    return [text_of(item) for item in adapter.handed if address_of(item) == address]


def text_of(item: Delivery) -> str:
    return (item.message.text if isinstance(item.message, Email) else item.message.body).strip()


@dataclass
class Counting:
    """A channel's counting receiver: a new adapter for each run, as in another process."""

    channel: Channel = Channel.EMAIL
    answer: Answer = accepted
    before: Callable[[FakeAdapter], object] | None = None
    handed: list[Delivery] = field(default_factory=list)

    def adapter(self) -> FakeAdapter:
        return FakeAdapter(
            self.channel, self.answer, self.before, batch_size=200, connections=4, handed=self.handed
        )


class Channels:
    """A counting receiver for each channel."""

    def __init__(self, bench: Bench) -> None:
        self.mail, self.sms = Counting(), Counting(Channel.SMS)
        bench.adapter = lambda channel: (self.mail if channel is Channel.EMAIL else self.sms).adapter()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_desk(tmp_path)
    for audience in ("customers", "support"):
        (tmp_path / "templates" / audience).mkdir(parents=True)
        (tmp_path / "templates" / audience / "email.txt.j2").write_text(WORDS)
        (tmp_path / "templates" / audience / "sms.txt.j2").write_text(TEXT)
    first_words(tmp_path)
    return Bench(tmp_path)


@pytest.fixture
def channels(bench: Bench) -> Channels:
    return Channels(bench)


def correct(bench: Bench, **keys: str) -> None:
    """Write the correction and send it."""
    first_words(bench.folder, correction(bench.later(minutes=5), **keys))
    bench.send()


def test_each_channel_is_corrected_by_what_went_there(bench: Bench, channels: Channels) -> None:
    """Bob's mail was refused: by mail he reads only what is right."""
    channels.mail.answer = lambda item: (
        saying(OutcomeKind.REJECTED)(item) if address_of(item) == "bob@example.com" else accepted(item)
    )
    bench.send()
    channels.mail.answer = accepted
    correct(bench)
    assert said(channels.mail, "ann@example.com")[1].startswith("wrong 3 hours right 30 minutes")
    assert said(channels.mail, "bob@example.com")[1] == "It takes 30 minutes."
    assert said(channels.sms, "+4915112345672")[1].startswith("wrong 3 hours")


def test_an_answer_that_was_lost_counts_as_told(bench: Bench, channels: Channels) -> None:
    channels.mail.answer = saying(OutcomeKind.UNKNOWN)
    bench.send()
    channels.mail.answer = accepted
    correct(bench)
    assert said(channels.mail, "ann@example.com")[1].startswith("wrong 3 hours")


def test_words_that_still_wait_are_never_sent(bench: Bench, channels: Channels) -> None:
    bench.release()
    bench.freeze()
    correct(bench)
    assert [text_of(item) for item in channels.mail.handed] == ["It takes 30 minutes."] * 3
    assert [text_of(item) for item in channels.sms.handed] == ["It takes 30 minutes."] * 2
    assert bench.states()["email", "skipped"] == 3


def test_words_wait_for_nobody_who_left_the_list_meanwhile(bench: Bench, channels: Channels) -> None:
    bench.release()
    bench.freeze()
    write_list(bench.folder, "customers", "email,phone,name", ["ann@example.com,,Ann"])
    correct(bench)
    bench.later(minutes=1)
    bench.tick()
    assert all("3 hours" not in text_of(item) for item in (*channels.mail.handed, *channels.sms.handed))


def test_whoever_left_the_list_with_the_wrong_words_is_corrected_too(
    bench: Bench, channels: Channels
) -> None:
    bench.send()
    write_list(bench.folder, "customers", "email,phone,name", ["new@example.com,,New"])
    correct(bench)
    assert said(channels.mail, "ann@example.com")[1].startswith("wrong 3 hours")
    assert said(channels.mail, "new@example.com") == ["It takes 30 minutes."]


def test_only_the_audience_that_read_it_is_corrected(bench: Bench, channels: Channels) -> None:
    """Support was told other words for the same facts."""
    path = write_incident(bench.folder)
    right, wrong = "Some customers see an error when they pay by card.", f"It takes {WRONG}."
    other = "    for: {support: {issue: It takes a while.}}\n"
    path.write_text(path.read_text().replace(right, wrong) + other)
    bench.send()
    path.write_text(path.read_text() + correction(bench.later(minutes=5)) + other)
    bench.send()
    assert said(channels.mail, "help@acme.example") == ["It takes a while.", "It takes a while."]
    assert said(channels.mail, "ann@example.com")[1].startswith("wrong 3 hours")


def test_a_correction_that_newer_words_overtook_comes_with_them(bench: Bench, channels: Channels) -> None:
    bench.send()
    correcting = correction(bench.later(minutes=5))
    first_words(bench.folder, correcting)
    bench.release()
    bench.freeze()
    first_words(bench.folder, correcting + update_text(bench.later(minutes=1), issue="A fix is near."))
    bench.send()
    assert said(channels.mail, "ann@example.com")[1:] == ["wrong 3 hours right 30 minutes\nA fix is near."]


def test_nobody_is_corrected_twice(bench: Bench, channels: Channels) -> None:
    bench.send()
    correct(bench)
    later = update_text(bench.later(minutes=5), issue="A fix is near.")
    first_words(bench.folder, correction(bench.now.replace(minute=10)) + later)
    bench.send()
    assert said(channels.mail, "ann@example.com")[2] == "A fix is near."


def test_the_end_after_a_correction_is_told_to_everybody(bench: Bench, channels: Channels) -> None:
    """Only an end that is itself the correction leaves out who knows of the end and read nothing wrong."""
    bench.send()
    correct(bench)
    path = bench.folder / "incidents" / "pay7.yaml"
    end = update_text(
        bench.later(minutes=5),
        status="resolved",
        issue="It is over.",
        fixed="We took the release back.",
        if_it_persists="Call us.",
    )
    path.write_text(path.read_text() + end)
    bench.send()
    for address in ("ann@example.com", "bob@example.com", "help@acme.example"):
        assert "It is over" in said(channels.mail, address)[-1]


def test_a_text_is_corrected_though_its_channel_carries_no_corrections(tmp_path: Path) -> None:
    write_desk(tmp_path, sms='events = ["first", "resolved", "retracted"]')
    first_words(tmp_path)
    bench = Bench(tmp_path)
    channels = Channels(bench)
    bench.send()
    correct(bench)
    assert len(said(channels.sms, "+4915112345671")) == 2


@pytest.mark.parametrize("level", ["key", "end"])
def test_whoever_reads_little_reads_the_correction_of_what_they_read(tmp_path: Path, level: str) -> None:
    write_desk(tmp_path)
    rows = ["ann@example.com,Ann,"]
    write_list(tmp_path, "customers", "email,name,level", rows)
    first_words(tmp_path)
    bench = Bench(tmp_path)
    channels = Channels(bench)
    bench.send()
    write_list(tmp_path, "customers", "email,name,level", [f"ann@example.com,Ann,{level}"])
    correct(bench)
    assert WRONG in said(channels.mail, "ann@example.com")[1]


def test_a_text_held_for_the_night_goes_with_the_right_words(tmp_path: Path) -> None:
    write_desk(tmp_path, sms='quiet = "21:00-08:00"\nwake_for = []')
    first_words(tmp_path)
    bench = Bench(tmp_path, now=START.replace(hour=21))
    path = bench.folder / "incidents/pay7.yaml"
    text = path.read_text().replace(START.isoformat(), bench.now.isoformat())
    path.write_text(text)
    channels = Channels(bench)
    bench.send()
    path.write_text(text + correction(bench.later(minutes=5)))
    bench.send()
    assert channels.sms.handed == []
    bench.now = START.replace(day=22, hour=7, minute=1)
    path.write_text(path.read_text() + update_text(bench.now, issue="A fix is near."))
    bench.send()
    texts = [text_of(item) for item in channels.sms.handed]
    assert len(texts) == 2
    assert all(WRONG not in text for text in texts)


def test_a_correction_held_for_the_night_is_one_when_it_goes(tmp_path: Path) -> None:
    write_desk(tmp_path, sms='quiet = "21:00-08:00"\nwake_for = []')
    first_words(tmp_path)
    bench = Bench(tmp_path, now=START.replace(hour=19, minute=50))
    path = bench.folder / "incidents/pay7.yaml"
    text = path.read_text().replace(START.isoformat(), bench.now.isoformat())
    path.write_text(text)
    channels = Channels(bench)
    bench.send()
    assert len(channels.sms.handed) == 2
    path.write_text(text + correction(bench.later(minutes=30)))
    bench.send()
    assert len(channels.sms.handed) == 2
    bench.now = START.replace(day=22, hour=7, minute=1)
    path.write_text(path.read_text() + update_text(bench.now, issue="A fix is near."))
    bench.send()
    texts = [text_of(item) for item in channels.sms.handed[2:]]
    assert len(texts) == 2
    assert all(f'we said "{WRONG}"' in text for text in texts)


@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """The one mail provider of all commands: it counts."""
    counting = Counting()
    monkeypatch.setattr(wiring, "adapter_for", lambda *_: counting.adapter())
    return counting


def test_noticed_at_9_000_of_40_000_one_command_puts_it_right(tmp_path: Path, wired: Counting) -> None:
    people = [row.split(",")[0] + ",," + row.split(",")[2] for row in numbered(PEOPLE)]
    write_desk(tmp_path, customers=people)
    (tmp_path / "templates/customers").mkdir(parents=True)
    (tmp_path / "templates/customers/email.txt.j2").write_text(WORDS)
    first_words(tmp_path)
    path = tmp_path / "incidents/pay7.yaml"
    path.write_text(
        path.read_text().replace(f"at: {START.isoformat()}", f"at: {datetime.now(UTC).isoformat()}")
    )
    other = Bench(tmp_path)

    def noticed(adapter: FakeAdapter) -> None:
        if len(adapter.handed) >= NOTICED:
            with other.ledger.write() as connection:
                stop_incident(connection, "pay7", "dana", datetime.now(UTC))

    def losing_some(item: Delivery) -> Outcome | None:
        return saying(OutcomeKind.UNKNOWN)(item) if item.delivery % 1000 == 7 else accepted(item)

    wired.before, wired.answer = noticed, losing_some
    run("send", "pay7", "--yes", folder=tmp_path, expect=5)
    got_wrong = {address_of(item) for item in wired.handed}
    assert NOTICED <= len(got_wrong) < NOTICED + 2_000
    wired.before, wired.answer = None, accepted
    begun = len(wired.handed)
    run("correct", "pay7", "--wrong", WRONG, "--right", RIGHT, "--yes", folder=tmp_path, expect=0)
    since = wired.handed[begun:]
    corrected = {address_of(item) for item in since if WRONG in text_of(item)}
    only_right = {address_of(item) for item in since if WRONG not in text_of(item)}
    assert len(since) == PEOPLE + 1
    assert corrected == got_wrong
    assert len(only_right) == PEOPLE + 1 - len(got_wrong)
    assert corrected.isdisjoint(only_right)


def test_the_words_of_a_text_are_found_in_any_case_and_over_line_ends() -> None:
    assert holds("It takes\n3\n  Hours.", "3 hours")
    assert not holds("It takes 13 hours, or 1.3 hours, or 3 hoursish.", "3 hours")
    assert not holds("3.5 apples", "3")
    assert holds("We said ‘now’.", "'now'")


def test_the_right_words_begin_a_sentence_as_the_wrong_ones_did() -> None:
    assert put_right("Three hours. Not three hours.", "three hours", "one hour") == "One hour. Not one hour."


def test_the_nearest_words_are_named() -> None:
    assert nearest("4 hours", ["The rollback takes 3 hours, we think."]) == "3 hours"
    assert nearest("a fire in the cellar", ["All is well."]) == ""


WORD = st.text("abcdefgh0123456789", min_size=1, max_size=6)
WORDS_OF = st.lists(WORD, min_size=1, max_size=4).map(" ".join)


@given(before=WORDS_OF, wrong=WORDS_OF, right=WORDS_OF, behind=WORDS_OF)
def test_what_is_put_right_says_the_right_words_and_the_wrong_no_more(
    before: str, wrong: str, right: str, behind: str
) -> None:
    text = f"{before} {wrong} {behind}"
    assert holds(text, wrong)
    mended = put_right(text, wrong, right)
    assert right.casefold() in mended.casefold()
    assert holds(mended, right) or not right
    if not holds(f"{before} {right} {behind}", wrong) and mended == f"{before} {right} {behind}":
        assert not holds(mended, wrong)


@given(text=st.text(max_size=200), wrong=st.text(max_size=20), right=st.text(max_size=20))
def test_any_text_can_be_looked_through(text: str, wrong: str, right: str) -> None:
    mended = put_right(text, wrong, right)
    assert holds(text, wrong) or mended == text


@pytest.mark.parametrize("status", ["resolved", "retracted"])
def test_whoever_was_corrected_hears_the_end_like_everybody(
    bench: Bench, channels: Channels, status: str
) -> None:
    bench.send()
    correct(bench)
    path = bench.folder / "incidents" / "pay7.yaml"
    words = {"fixed": "The switch."} if status == "resolved" else {"because": "A false alarm."}
    path.write_text(path.read_text() + update_text(bench.later(minutes=5), status=status, **words))
    bench.send()
    assert bench.states(notice="update:3") == {("email", "accepted"): 3, ("sms", "accepted"): 2}
