"""Whole incidents, minute by minute: who hears what kind of message when, and that no promise breaks.

Nights with the owner asleep, things that happen at once or in an order that nobody has in mind, and readers
who come late.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from commcast.errors import Fault, ProviderError
from commcast.ledger.tables import OWN_STORY
from commcast.model.incident import Channel
from commcast.model.message import OutcomeKind
from commcast.oncall.nudges import Nudge
from tests.support.desk import START, Bench, update_text, write_incident
from tests.support.providers import FakeAdapter
from tests.support.scenario import (
    ANN,
    ANN_SMS,
    BOB,
    BOB_SMS,
    HOLDS,
    OWNERS,
    Act,
    Heard,
    Story,
    Told,
    night,
    say,
    tell,
)

SILENCE = f"[silence]\n{HOLDS}"
SU, CHIEF, SAM, KIM = "help@acme.example", "chief@acme.example", "sam@acme.example", "kim@acme.example"
HEAD = "email,phone,name"
RESOLVED = say(status="resolved", fixed="We rolled back.")


def again_by(minute: int) -> Act:
    """Say that nothing is new, and name a minute of the story as the next word."""
    return lambda story: story.say(
        nothing_new="we still look", next_update=f'"{story.at(minute).isoformat()}"'
    )


def later_hold_support(story: Story) -> None:
    story.edit("commcast.toml", 'support = "nudge"', 'support = "hold"')


STORIES = {
    # The holding statement for 20 goes at 17; at 18 a person names 20, too.
    "a moment that a person promises again is kept again": Told(
        until=38,
        desk={"extra": SILENCE},
        acts={18: again_by(20)},
        heard={ANN: "0 Investigating, 17 No change, 18 Investigating, 19 No change, 37 No change"},
    ),
    "a person is woken again for a moment promised again": Told(
        until=19, acts={15: again_by(20)}, heard={SAM: "15 Nudge, 19 Nudge"}
    ),
    # Somebody sees at 30 that support hears nothing, and lets holding statements go to support, too.
    "an audience that is held only since others were is not left in silence": Told(
        until=60,
        desk={"extra": '[silence]\ncustomers = "hold"\nsupport = "nudge"\n'},
        acts={30: later_hold_support},
        heard={
            SU: "0 Investigating, 31 No change, 48 No change",
            ANN: "0 Investigating, 17 No change, 37 No change",
        },
        words={(SU, 1): ["We had promised to write by 10:25"]},
    ),
    # At a quarter past, "since 23:58" would be a time that is still to come.
    "what is said after midnight names the day before": Told(
        until=17,
        desk={"extra": SILENCE, "start": datetime(2026, 11, 21, 22, 58, tzinfo=UTC)},
        heard={ANN: "0 Investigating, 17 No change"},
        words={(ANN, 1): ["since Sat 21 Nov, 23:58 CET", "Next update: by Sun 22 Nov, 00:38 CET"]},
    ),
    "without a table of silence nothing is said by itself": Told(
        until=45, heard={ANN: "0 Investigating", SU: "0 Investigating"}
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_story(name: str, tmp_path: Path) -> None:
    tell(tmp_path, STORIES[name])


# A night: three audiences, the owner and the backup asleep

ALL_HOLD = f'{HOLDS}executives = "hold"\n'
EVENING = "0 Investigating, 14 Identified, 30 Identified"


@pytest.fixture
def evening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    """Declared, and two more updates; then the owner falls asleep, at minute 30."""
    with night(tmp_path, monkeypatch, silence=ALL_HOLD) as story:
        story.bench.send()
        story.until(14)
        story.say(status="identified", issue="A release broke card payments.")
        story.until(30)
        story.say(nothing_new="rollback at 60%")
        yield story


def promised(heard: Heard) -> datetime | None:
    """Return when a mail said its reader hears more."""
    for line in heard.text.splitlines():
        if line.startswith("Next update: by "):
            hour, minute = line.split()[3].split(":")
            return START.replace(hour=int(hour), minute=int(minute)) - timedelta(hours=1)
    return None


def check_no_promise_broke(story: Story, *readers: str) -> None:
    """Each mail but the last came with a promise, and the next one came before it."""
    for to in readers:
        for earlier, later in pairwise(story.by(to)):
            by = promised(earlier)
            assert by is not None, earlier
            assert later.at <= by, (earlier, later)
            assert "We had promised" not in later.text


def test_a_night_with_the_owner_asleep(evening: Story) -> None:
    """Updates, holding statements at growing steps with other words each, the nudges, and the end."""
    evening.until(215)
    RESOLVED(evening)
    evening.until(240)
    hold = "No change"
    assert evening.line(ANN) == f"{EVENING}, 47 {hold}, 67 {hold}, 107 {hold}, 167 {hold}, 215 Resolved"
    assert len(evening.by(BOB)) == 8
    # Executives hear every half an hour, and so their steps are longer.
    assert evening.line(CHIEF) == f"{EVENING}, 57 {hold}, 87 {hold}, 147 {hold}, 207 {hold}, 215 Resolved"
    check_no_promise_broke(evening, ANN, SU, CHIEF)
    for reader in (ANN, SU, CHIEF):
        said = evening.texts(reader)
        assert len(set(said)) == len(said)
    assert evening.line(ANN_SMS) == "0 text, 215 text"
    # The owner alone as long as somebody may be awake; both from the first holding statement on.
    sam, kim = evening.minutes_of(SAM), evening.minutes_of(KIM)
    assert (sam[:3], kim[0], max(sam) < 215) == ([29, 45, 47], 47, True)
    assert [minute for minute in sam if minute > 53] == [minute for minute in kim if minute > 53]
    assert evening.minutes_of("+4915199999901") == sam
    last = evening.texts(SAM)[0].rstrip().splitlines()[-1].strip()
    assert last == 'commcast update pay7 --nothing-new "…" --next 20m'


def test_four_ticks_at_once_say_nothing_twice(evening: Story) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        evening.until(44)
        for _ in range(4):
            evening.bench.later(minutes=1)
            pool.starmap(tick_there, [(str(evening.folder), evening.bench.now)] * 4, chunksize=1)
    holds = [row.address for row in evening.bench.rows() if row.notice.startswith("holding") and row.audience]
    assert sorted(holds) == sorted([ANN, BOB, SU])
    nudges = [row.notice for row in evening.bench.rows(f"{OWN_STORY}pay7") if row.address == SAM]
    assert len(nudges) == len(set(nudges)) == 3  # at 29, at 45, and with the holding statement


def tick_there(folder: str, now: datetime) -> None:
    """Tick as a process of its own."""
    bench = Bench(Path(folder), now)
    try:
        bench.tick()
    finally:
        bench.ledger.close()


@pytest.mark.parametrize("minute", [46, 47, 68])
def test_a_person_takes_over_at_any_minute(evening: Story, minute: int) -> None:
    evening.until(minute)
    before = len(evening.by(ANN))
    evening.say(issue="Nearly there.")
    evening.minutes(16)
    assert [heard.kind for heard in evening.by(ANN)[before:]] == ["Identified"]
    evening.minutes(1)
    hold = evening.by(ANN)[-1]
    assert hold.kind == "No change"
    assert "We have nothing new to report since" in hold.text  # the first in a row again


def test_after_a_gap_one_message_owns_its_lateness(evening: Story) -> None:
    """Cron stood still for three hours: one current message each, no backlog, and few nudges."""
    evening.edit("commcast.toml", 'executives = "hold"\n', "")
    evening.until(35)
    evening.heard.clear()
    evening.go_to(215)
    evening.bench.tick()
    evening.minutes(5)
    (ann,) = evening.texts(ANN)
    assert "We had promised to write by 10:55 CET (09:55 UTC) and write only now, at 13:40 CET" in ann
    assert "Next update: by 14:40 CET" in ann  # hourly after two hours
    assert evening.by(CHIEF) == []  # left to the nudge, and overdue
    assert max(len(evening.by(owner)) for owner in OWNERS) <= 3


def test_an_end_that_comes_late_owns_it_too(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.declare()
    story.go_to(45)
    RESOLVED(story)
    assert (
        "We had promised to write by 10:25 CET (09:25 UTC) and write only now, at 10:50 CET"
        in (story.texts(ANN)[-1])
    )


@pytest.mark.parametrize("becomes", ["broken", "gone"])
def test_a_broken_file_cannot_silence_a_promise(tmp_path: Path, becomes: str) -> None:
    story = Story(tmp_path, extra=SILENCE)
    story.declare()
    story.path.write_text("title: [") if becomes == "broken" else story.path.unlink()
    for minute in range(1, 21):
        story.go_to(minute)
        assert story.bench.tick().exit_code(0.02) == 2
    assert story.line(ANN) == "0 Investigating, 17 No change"
    assert "Some customers see an error when they pay by card." in story.texts(ANN)[1]
    assert len([heard for heard in story.by(SAM) if "is broken:" in heard.subject]) == 1


def test_a_broken_list_cannot_silence_a_promise(tmp_path: Path) -> None:
    """Those who were told hear its news by what the ledger knows of them, and not that nothing is new."""
    story = Story(tmp_path, extra=SILENCE)
    story.declare()
    story.go_to(5)
    story.write(issue="It is the switch.")
    story.bench.release()
    story.people("no such columns")
    for minute in range(6, 22):
        story.go_to(minute)
        assert story.bench.tick().exit_code(0.02) == 2
    assert story.line(ANN) == "0 Investigating, 17 Investigating"
    assert "It is the switch." in story.texts(ANN)[1]
    story.people(HEAD, f"{ANN},{ANN_SMS},Ann")
    story.minutes(1)
    assert "It is the switch." in story.texts(ANN)[-1]


def test_where_ticks_come_late_holding_statements_come_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler that comes every seven minutes keeps promises of twenty."""
    with night(tmp_path, monkeypatch, silence=ALL_HOLD) as story:
        story.path.unlink()
        story.until(70, every=7)
        story.declare()
        story.until(210, every=7)
        assert len(story.by(ANN)) >= 4
        check_no_promise_broke(story, ANN, SU, CHIEF)


# Frozen and killed, gone or refused in the middle


@pytest.mark.parametrize(("next_tick", "came"), [(47, 47), (38, 38)], ids=["it was late", "the next is due"])
def test_a_holding_statement_that_never_left_promised_nothing(
    tmp_path: Path, next_tick: int, came: int
) -> None:
    """Frozen at 17 and killed; readers get one message, the newest, and it owns the promise of 20."""
    story = Story(tmp_path, extra=SILENCE)
    story.declare()
    story.go_to(17)
    story.bench.freeze()
    story.go_to(next_tick - 1)
    story.minutes(2 if next_tick == 38 else 1)
    assert story.line(ANN) == f"0 Investigating, {came} No change"
    assert "We had promised to write by 10:25 CET" in story.texts(ANN)[1]


def test_a_text_that_is_promised_again_is_kept_again(tmp_path: Path) -> None:
    """Texts promise the end of planned work, too: who speaks shortly before it names it once more."""
    story = Story(tmp_path, extra=SILENCE)
    story.people("phone,name", f"{ANN_SMS},Ann")
    story.declare(
        "title: Database moves\nkind: maintenance\nseverity: 2\nowner: sam\n"
        f"window: {{from: {START.isoformat()}, to: {story.at(120).isoformat()}}}\nupdates:\n"
        + update_text(START, status="in_progress", issue="Payments pause.", resolution="We move it.")
    )
    for minute in (117, 118, 119):
        story.go_to(minute)
        story.bench.tick()
        if minute == 118:
            story.say(severity="1", issue="One disk is slow, and all payments pause.")
    assert story.line(ANN_SMS) == "0 text, 117 text, 118 text, 119 text"


def test_a_cadence_made_shorter_locks_nobody_out_and_binds_what_nobody_has_released(tmp_path: Path) -> None:
    """What was released under the old one cannot be changed any more, and must not have to be."""
    story = Story(tmp_path, extra=f'{SILENCE}[cadence.1]\nfirst = "10m"\nevery = "60m"\n')
    story.declare()
    story.until(5)
    story.say(nothing_new="we still look", next_update="50m")
    story.edit("commcast.toml", 'every = "60m"', 'every = "20m"')
    assert not story.bench.tick().errors
    story.until(10)
    RESOLVED(story)
    assert story.line(ANN).endswith("10 Resolved")
    other = Story(tmp_path / "other")
    other.declare()
    other.write(nothing_new="we still look", next_update="50m")
    assert "later than the cadence" in str(other.bench.tick().errors["incidents/pay7.yaml"])


NIGHT = datetime(2026, 11, 21, 18, tzinfo=UTC)  # 19:00 in Berlin
QUIET = 'quiet = "21:00-08:00"\nwake_for = [1]'


def archived(story: Story) -> None:
    story.path.rename(story.folder / "pay7.yaml")


def broken_file(story: Story) -> None:
    story.path.write_text(story.path.read_text() + "  - bad: [\n")


def broken_template(story: Story) -> None:
    (story.folder / "templates" / "customers").mkdir(parents=True)
    (story.folder / "templates" / "customers" / "sms.txt.j2").write_text("{% if %}")


@pytest.mark.parametrize("happens", [archived, broken_file, broken_template])
def test_an_end_that_waited_for_the_morning_goes_whatever_became_of_its_file(
    tmp_path: Path, happens: Callable[[Story], None]
) -> None:
    """Readers who were told by text that it began are told by text how it ended: here at 21:30."""
    story = Story(tmp_path, start=NIGHT, severity=2, sms=QUIET)
    story.declare()
    story.go_to(150)
    RESOLVED(story)
    assert story.line(ANN_SMS) == "0 text"
    happens(story)
    story.go_to(13 * 60)
    story.bench.tick()
    story.minutes(1)
    assert story.line(ANN_SMS) == f"0 text, {13 * 60} text"
    assert "RESOLVED" in story.texts(ANN_SMS)[-1]


def test_an_audience_that_is_gone_from_the_configuration_stops_no_tick(tmp_path: Path) -> None:
    """Its file is refused, its other readers and all other incidents get their statements."""
    story = Story(tmp_path, extra=SILENCE, head="audiences: [support, customers]\n")
    story.declare()
    write_incident(tmp_path, "pay8")
    story.bench.send("pay8")
    text = (tmp_path / "commcast.toml").read_text()
    gone = text[text.index("[audiences.support]") : text.index("[audiences.customers]")]
    story.edit("commcast.toml", gone, "")
    story.edit("commcast.toml", 'support = "hold"\n', "")
    story.go_to(18)
    ticked = story.bench.tick()
    assert "no [audiences.support] in commcast.toml" in str(ticked.errors["incidents/pay7.yaml"])
    for name in ("pay7", "pay8"):
        assert ticked.delivered[name].outcomes == {"accepted": 2}, "customers, by mail"


def test_a_channel_that_is_gone_stops_only_what_waits_for_it(tmp_path: Path) -> None:
    """A text of an incident that is over waits, and SMS is taken out of the configuration."""
    story = Story(tmp_path, extra=SILENCE)
    story.bench.adapter = None
    story.declare()
    write_incident(tmp_path, "pay8")
    story.bench.send("pay8")
    story.go_to(5)
    story.write(status="resolved", fixed="It works again.")
    story.bench.release()
    story.bench.freeze()
    text = (tmp_path / "commcast.toml").read_text()
    story.edit("commcast.toml", text[text.index("[channels.sms]") : text.index("[providers.smtp]")], "")
    story.edit("commcast.toml", '"email", "sms"', '"email"')
    story.go_to(18)
    ticked = story.bench.tick()
    broken = [path for path, error in ticked.errors.items() if "no [channels.sms]" in str(error)]
    assert broken == ["incidents/pay7.yaml"]
    assert ticked.delivered["pay8"].outcomes["accepted"] == 3


def refusing(channel: Channel) -> FakeAdapter:
    raise ProviderError("smtp", Fault("commcast.toml", 0, 0, "the password is refused", "mend it"))


def test_news_that_nobody_got_is_never_called_no_change(tmp_path: Path) -> None:
    """The provider refuses us from before the news on until its promise has passed, and takes us again."""
    story = Story(tmp_path, extra=SILENCE)
    story.declare()
    story.go_to(10)
    story.bench.adapter = refusing
    story.say(issue="Cards fail everywhere in Europe.")
    nudges = [each.id for _ in range(31) for each in nudged_after(story.bench, minutes=1)]
    assert story.line(ANN) == "0 Investigating"
    assert "nudge:2026-11-21T09:25:00Z:late" in nudges, "what readers were promised, and heard"
    story.bench.adapter = story.adapter
    story.minutes(2)
    (_, told) = story.by(ANN)
    assert told.kind == "Investigating"
    assert "Cards fail everywhere in Europe." in told.text
    assert "We had promised to write by 10:25 CET" in told.text
    assert "nothing new to report" not in told.text


def nudged_after(bench: Bench, minutes: float) -> Iterator[Nudge]:
    bench.later(minutes=minutes)
    for nudged in bench.tick().nudged.values():
        yield from nudged.nudges


def test_a_promise_of_texts_that_nothing_keeps_wakes_somebody(tmp_path: Path) -> None:
    """Bob gets mail, Ann only texts; silence is left to people."""
    silence = '[silence]\ncustomers = "nudge"\nsupport = "nudge"\n'
    story = Story(tmp_path, customers=[f"{BOB},,Bob", f",{ANN_SMS},Ann"], extra=silence)
    story.declare()
    assert "Next text by 12:05 CET" in story.texts(ANN_SMS)[0]
    nudges = [each.id for _ in range(42) for each in nudged_after(story.bench, minutes=3)]
    assert [each for each in nudges if "11:05" in each] == [
        f"nudge:2026-11-21T11:05:00Z:{mark}" for mark in ("50", "85", "late")
    ]


def test_words_that_reached_nobody_wake_somebody_once(tmp_path: Path) -> None:
    """All readers get texts only, in their night: nobody has heard a word when the promise passes."""
    at = datetime(2026, 11, 21, 21, tzinfo=UTC)  # 22:00 in Berlin
    head, rows = "audiences: [customers]\n", [f",{ANN_SMS},Ann"]
    story = Story(tmp_path, start=at, severity=2, head=head, customers=rows, sms=QUIET)
    story.declare()
    nudges = [each for _ in range(60) for each in nudged_after(story.bench, minutes=15)]
    assert [each.id for each in nudges] == ["nudge:unheard:1"]
    assert "update 1 reached no reader" in nudges[0].note


# Readers who come late, or go: whoever was told the beginning is told the end

WINDOW = "window: {from: 2026-11-21T12:00Z, to: 2026-11-21T14:00Z}\n"
WORK = f"title: Database moves\nkind: maintenance\nseverity: 1\nowner: sam\n{WINDOW}updates:\n" + update_text(
    START, issue="Payments pause.", resolution="We move it."
)
AT_FIRST = {ANN, BOB, SU, ANN_SMS, BOB_SMS}


def newly(story: Story, before: int) -> set[str]:
    """Return who has heard something since so many messages, the people on call aside."""
    return {heard.to for heard in story.heard[before:]} - OWNERS


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", {"status": "resolved", "fixed": "Done."}),
        ("", {"status": "retracted", "because": "Our monitor was wrong."}),
        ("", {"status": "merged", "merged_into": "net3"}),
        (WORK, {"status": "cancelled", "because": "A part is missing."}),
        (WORK, {"status": "completed", "fixed": "Done."}),
    ],
    ids=lambda value: value["status"] if isinstance(value, dict) else "",
)
def test_every_end_reaches_whoever_heard_the_beginning_and_nobody_else(
    tmp_path: Path, text: str, end: dict[str, str]
) -> None:
    story = Story(tmp_path)
    story.declare(text)
    assert newly(story, 0) == AT_FIRST
    before = len(story.heard)
    story.people(HEAD, "new@example.com,,New", f"{BOB},,Bob")
    story.go_to(10)
    story.write(**end)
    story.bench.send()
    assert newly(story, before) == AT_FIRST


def test_a_reader_who_left_the_list_and_heard_the_end_hears_that_it_is_not_over(tmp_path: Path) -> None:
    story = Story(tmp_path, support=[])
    story.declare()
    story.go_to(5)
    RESOLVED(story)
    story.people(HEAD, f"{ANN},{ANN_SMS},Ann")
    story.go_to(10)
    story.say(status="reopened", issue="It is back.", resolution="We work.", timeframe="unknown")
    assert story.line(BOB) == story.line(ANN) == "0 Investigating, 5 Resolved, 10 Reopened"


def test_a_newcomer_gets_the_next_update_in_full_and_reads_once_that_it_is_not_new(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.declare()
    assert not any("on our list" in heard.text for heard in story.heard)
    story.people(HEAD, f"{ANN},,Ann", "new@example.com,,New")
    story.go_to(10)
    story.say(nothing_new="The rollback is at 60%.")
    for reader in (ANN, SU, "new@example.com"):
        text = story.texts(reader)[-1]
        assert ("before you were on our list" in text) == (reader == "new@example.com")
        assert "see an error when they pay by card" in text
    story.go_to(20)
    story.say(issue="It is nearly over.")
    assert "on our list" not in story.texts("new@example.com")[-1]


def test_a_reader_who_could_not_be_reached_at_first_is_no_newcomer(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.answers[BOB] = OutcomeKind.REJECTED
    story.declare()
    story.answers.clear()
    story.go_to(5)
    story.say(issue="It is nearly over.")
    assert story.line(BOB) == "5 Investigating"
    assert "on our list" not in story.texts(BOB)[0]


def test_a_newcomer_is_texted_once_at_the_next_update_and_hears_the_end(tmp_path: Path) -> None:
    new = "+4915112345679"
    story = Story(tmp_path)
    story.declare()
    story.people(HEAD, f"{ANN},{ANN_SMS},Ann", f"new@example.com,{new},New")
    for minute, words in ((10, "The rollback is at 60%."), (20, "The rollback is at 80%.")):
        story.go_to(minute)
        story.say(nothing_new=words)
    assert (story.line(new), story.line(ANN_SMS)) == ("10 text", "0 text")
    assert "see an error" in story.texts(new)[0]
    assert "No change" not in story.texts(new)[0]
    story.go_to(30)
    RESOLVED(story)
    assert [story.line(each) for each in (new, ANN_SMS, BOB_SMS)] == [
        "10 text, 30 text",
        "0 text, 30 text",
        "0 text, 30 text",
    ]


def test_without_newcomers_a_plain_update_is_texted_to_nobody(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.declare()
    story.people(HEAD, f"{ANN},{ANN_SMS},Ann")
    story.go_to(10)
    story.say(issue="It is nearly over.")
    assert story.line(ANN_SMS) == story.line(BOB_SMS) == "0 text"
