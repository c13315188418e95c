"""Whole incidents, minute by minute: who hears what kind of message when, and that no promise breaks.

Nights with the owner asleep, things that happen at once or in an order that nobody has in mind, and readers
who come late.
"""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import commcast
from commcast.config.load import load_config
from commcast.errors import Fault, ProviderError
from commcast.ledger.tables import OWN_STORY
from commcast.model.incident import Channel
from commcast.model.message import OutcomeKind
from commcast.oncall.nudges import Nudge
from commcast.operations.status import read_status
from commcast.report.figures import figures_of
from commcast.report.reading import read_story
from tests.support.desk import DESK, START, Bench, update_text, write_incident, write_list
from tests.support.own_words import write_words
from tests.support.providers import FakeAdapter
from tests.support.scenario import (
    ANN,
    ANN_SMS,
    BOB,
    BOB_SMS,
    HOLDS,
    OWNERS,
    Act,
    Story,
    Told,
    both,
    night,
    say,
    tell,
)

SILENCE = f"[silence]\n{HOLDS}"
SU, CHIEF, SAM, KIM = "help@acme.example", "chief@acme.example", "sam@acme.example", "kim@acme.example"
NEW, NEW_SMS = "new@example.com", "+4915112345679"
HEAD = "email,phone,name"
RESOLVED = say(status="resolved", fixed="We rolled back.")
REOPENED = say(status="reopened", issue="It is back.", resolution="We work.", timeframe="unknown")
BROKEN_PROMISE = "This update is later than the 10:25 CET (UTC+1) we promised."


def listed(*rows: str) -> Act:
    return lambda story: story.people(HEAD, *rows)


def edit(path: str, old: str, new: str) -> Act:
    return lambda story: story.edit(path, old, new)


def frozen(story: Story) -> None:
    """A run that dies before its first claim."""
    story.bench.freeze()


def again_by(minute: int) -> Act:
    """Say that nothing is new, and promise the next update for a minute of the story."""
    by = (START + timedelta(minutes=minute)).isoformat()
    return say(nothing_new="we still look", next_update=f'"{by}"')


def without_bob(story: Story) -> None:
    story.answers[BOB] = OutcomeKind.REJECTED
    story.declare()
    story.answers.clear()


NIGHT = datetime(2026, 11, 21, 18, tzinfo=UTC)  # 19:00 in Berlin
QUIET = 'quiet = "21:00-08:00"\nwake_for = [1]'


def archived(story: Story) -> None:
    story.path.rename(story.folder / "pay7.yaml")


def broken_template(story: Story) -> None:
    write_words(story.folder, "customers", sms="{% if %}")


STORIES = {
    # The holding statement for 20 goes at 17; at 18 a person names 20, too.
    "a moment that a person promises again is kept again": Told(
        until=38,
        desk={"extra": SILENCE},
        acts={18: again_by(20)},
        heard={ANN: "0 Investigating, 17 No change, 18 Update, 19 No change, 37 No change"},
    ),
    "people are nudged again for a moment promised again": Told(
        until=19, acts={15: again_by(20)}, heard={SAM: "15 Nudge, 19 Nudge"}
    ),
    # At a quarter past, "since 23:58" would be a time that is still to come.
    "what is said after midnight names the day before": Told(
        until=17,
        desk={"extra": SILENCE, "start": datetime(2026, 11, 21, 22, 58, tzinfo=UTC)},
        heard={ANN: "0 Investigating, 17 No change"},
        words={(ANN, 1): "since Sat 21 Nov, 23:58 CET … Next update by Sun 22 Nov, 00:38 CET"},
    ),
    "an end that comes late admits it": Told(
        ticks=(),
        acts={45: RESOLVED},
        heard={ANN: "0 Investigating, 45 Resolved"},
        words={(ANN, 1): BROKEN_PROMISE},
    ),
    # Readers get one message, the newest, and it admits that the promise of 20 was broken.
    "a holding statement that never left promised nothing": Told(
        ticks=[47],
        desk={"extra": SILENCE},
        acts={17: frozen},
        heard={ANN: "0 Investigating, 47 No change"},
        words={(ANN, 1): BROKEN_PROMISE},
    ),
    # Texts promise the end of planned work, too: an update shortly before it promises it once more.
    "a text about an end that nobody confirmed does not stand in for news": Told(
        ticks=[119, 132, 133],
        desk={"extra": SILENCE, "customers": [f",{ANN_SMS},Ann"]},
        file="title: Database moves\nkind: maintenance\nseverity: 2\nowner: sam\n"
        f"window: {{from: {START.isoformat()}, to: {(START + timedelta(hours=2)).isoformat()}}}\nupdates:\n"
        + update_text(START, status="in_progress", issue="Payments pause.", resolution="We move it."),
        acts={133: say(severity="1", issue="One disk is slow, and all payments pause.")},
        heard={ANN_SMS: "0 text, 132 text, 133 text"},
    ),
    # Readers who were told by text that it began are told by text how it ended: here at 21:30.
    **{
        f"an end that waited for the morning goes, {happens.__name__}": Told(
            ticks=[780, 781],
            desk={"start": NIGHT, "severity": 2, "sms": QUIET},
            acts={150: both(RESOLVED, happens)},
            heard={ANN_SMS: "0 text, 780 text"},
            words={(ANN_SMS, 1): "RESOLVED"},
        )
        for happens in (archived, broken_template)
    },
    # Readers who come late, or go
    "a reader who left the list and was told the end is told that it is not over": Told(
        ticks=(),
        desk={"support": []},
        acts={5: both(RESOLVED, listed(f"{ANN},{ANN_SMS},Ann")), 10: REOPENED},
        heard=dict.fromkeys((ANN, BOB), "0 Investigating, 5 Resolved, 10 Back again"),
    ),
    "a newcomer gets the next update in full and reads once that it is not new": Told(
        ticks=(),
        acts={
            9: listed(f"{ANN},,Ann", f"{NEW},,New"),
            10: say(nothing_new="The rollback is at 60%."),
            20: say(issue="It is nearly over."),
        },
        heard={
            ANN: "0 Investigating, 10 Update, 20 Update",
            NEW: "10 Investigating, 20 Update",
        },
        words={
            (NEW, 0): "before you joined our list",
            (NEW, -2): "see an error when they pay by card",
            (ANN, 1): "see an error when they pay by card",
        },
        never=dict.fromkeys(((ANN, 0), (ANN, 1), (SU, 1), (NEW, 1)), "joined our list"),
    ),
    "a reader who could not be reached at first is no newcomer": Told(
        ticks=(),
        acts={0: without_bob, 5: say(issue="It is nearly over.")},
        heard={BOB: "5 Update"},
        never={(BOB, 0): "joined our list"},
    ),
    "a newcomer is texted once at the next update and told the end": Told(
        ticks=(),
        acts={
            9: listed(f"{ANN},{ANN_SMS},Ann", f"{NEW},{NEW_SMS},New"),
            10: say(nothing_new="The rollback is at 60%."),
            20: say(nothing_new="The rollback is at 80%."),
            30: RESOLVED,
        },
        heard={NEW_SMS: "10 text, 30 text", ANN_SMS: "0 text, 30 text", BOB_SMS: "0 text, 30 text"},
        words={(NEW_SMS, 0): "see an error"},
        never={(NEW_SMS, 0): "No change"},
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_story(name: str, tmp_path: Path) -> None:
    tell(tmp_path, STORIES[name])


ALL_HOLD = f'{HOLDS}executives = "hold"\n'
EVENING = "0 Investigating, 14 Identified, 30 Update"


@pytest.fixture
def evening(tmp_path: Path) -> Iterator[Story]:
    """Declared, and two more updates; then the owner falls asleep, at minute 30."""
    with night(tmp_path, silence=ALL_HOLD) as story:
        story.bench.send()
        story.until(14, near=(14,))
        story.say(status="identified", issue="A release broke card payments.")
        story.until(30, near=(29, 30))
        story.say(nothing_new="rollback at 60%")
        yield story


def check_no_promise_broke(story: Story, *readers: str) -> None:
    """Each mail but the last came with a promise, and the next one came before it."""
    for to in readers:
        for earlier, later in pairwise(story.by(to)):
            promised = re.search(
                r"^Next update by (?:\w+ \d+ \w+, )?(\d\d):(\d\d)", earlier.text, re.MULTILINE
            )
            assert promised, earlier
            assert later.at <= START.replace(hour=int(promised[1]) - 1, minute=int(promised[2])), later
            assert "later than the" not in later.text


def test_a_night_with_the_owner_asleep(evening: Story) -> None:
    """Updates, holding statements at growing steps with other words each, the nudges, and the end."""
    evening.until(215, near=(*range(30, 60), 67, 84, 87, 104, 107, 144, 147, 164, 167, 204, 207))
    RESOLVED(evening)
    evening.until(240, near=())
    hold = "No change"
    assert evening.line(ANN) == f"{EVENING}, 47 {hold}, 67 {hold}, 107 {hold}, 167 {hold}, 215 Resolved"
    assert len(evening.by(BOB)) == 8
    # Executives are told every half an hour, and so their steps are longer.
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
        evening.until(44, near=(44,))
        for _ in range(4):
            evening.bench.later(minutes=1)
            pool.starmap(tick_there, [(str(evening.folder), evening.bench.now)] * 4, chunksize=1)
    holds = [row.address for row in evening.bench.rows() if row.notice.startswith("holding") and row.audience]
    assert sorted(holds) == sorted([ANN, BOB, SU])
    nudges = [row.notice for row in evening.bench.rows(f"{OWN_STORY}pay7") if row.address == SAM]
    assert len(nudges) == len(set(nudges)) == 3  # at 29, at 45, and with the holding statement


def tick_there(folder: str, now: datetime) -> None:
    """Tick as a process of its own."""
    with closing((bench := Bench(Path(folder), now)).ledger):
        bench.tick()


@pytest.mark.parametrize("minute", [46, 47, 68])
def test_a_person_takes_over_at_any_minute(evening: Story, minute: int) -> None:
    evening.until(minute, near=range(30, 69))
    before = len(evening.by(ANN))
    evening.say(issue="Nearly there.")
    evening.minutes(16)
    assert [heard.kind for heard in evening.by(ANN)[before:]] == ["Identified"]
    evening.minutes(1)
    hold = evening.by(ANN)[-1]
    assert hold.kind == "No change"
    assert hold.text.splitlines()[2].startswith("No change since")  # the first in a row again


def test_after_a_gap_one_message_owns_its_lateness(evening: Story) -> None:
    """Cron stood still for three hours: one current message each, no backlog, and few nudges."""
    evening.edit("commcast.toml", 'executives = "hold"\n', "")
    evening.until(35)
    evening.heard.clear()
    evening.go_to(215)
    evening.bench.tick()
    evening.minutes(5)
    (ann,) = evening.texts(ANN)
    assert "This update is later than the 10:55 CET (UTC+1) we promised." in ann
    assert "Next update by 14:40 CET" in ann  # hourly after two hours
    assert evening.by(CHIEF) == []  # left to the nudge, and overdue
    assert max(len(evening.by(owner)) for owner in OWNERS) <= 3


@pytest.mark.parametrize("becomes", ["broken", "gone"])
def test_a_broken_file_cannot_silence_a_promise(tmp_path: Path, becomes: str) -> None:
    story = Story(tmp_path, extra=SILENCE)
    story.declare()
    story.path.write_text("title: [") if becomes == "broken" else story.path.unlink()
    for minute in (1, 15, 16, 17, 18, 20):
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
    for minute in (6, 15, 16, 17, 18, 21):
        story.go_to(minute)
        assert story.bench.tick().exit_code(0.02) == 2
    assert story.line(ANN) == "0 Investigating, 17 Update"
    assert "It is the switch." in story.texts(ANN)[1]
    story.people(HEAD, f"{ANN},{ANN_SMS},Ann")
    story.minutes(1)
    assert "It is the switch." in story.texts(ANN)[-1]


def test_where_ticks_come_late_holding_statements_come_early(tmp_path: Path) -> None:
    """A scheduler that comes every seven minutes keeps promises of twenty."""
    with night(tmp_path, silence=ALL_HOLD) as story:
        story.path.unlink()
        story.until(70, every=7)
        story.declare()
        story.until(210, every=7)
        assert len(story.by(ANN)) >= 4
        check_no_promise_broke(story, ANN, SU, CHIEF)


SHIPPED = Path(commcast.__file__).parent / "cli" / "shipped_desk" / "commcast.toml"


@pytest.mark.parametrize("severity", [1, 2, 3, 4])
def test_out_of_the_box_a_night_in_which_nobody_acts_breaks_no_promise(tmp_path: Path, severity: int) -> None:
    """To no audience and on no channel; and nobody is woken at night by a text without news."""
    evening = datetime(2026, 11, 21, 19, 30, tzinfo=UTC)  # 20:30 in Berlin
    story = Story(tmp_path, start=evening, customers=[f"{ANN},{ANN_SMS},Ann", f",{BOB_SMS},Bob"])
    desk = {
        "desk": DESK,
        "comment": "",
        "name": '"Acme"',
        "zone": '"Europe/Berlin"',
        "sender": '"a@acme.example"',
    }
    (tmp_path / "commcast.toml").write_text(SHIPPED.read_text().format(**desk))
    lists = ("executives", "internal", "partners")
    for name in lists:
        write_list(tmp_path, name, "email,name", [f"{name}@acme.example,Kim"])
    story.declare(
        write_incident(tmp_path, at=evening, severity=severity).read_text().replace("owner: dana\n", "")
    )
    story.until(13 * 60 if severity < 4 else 50 * 60, every=2 if severity < 4 else 20)
    with story.bench.ledger.read() as connection:
        told = read_story(connection, "pay7", story.bench.now)
    assert told
    found = figures_of(told)
    assert (found.kept, {each.name for each in found.audiences}) == (
        found.due,
        {*load_config(tmp_path).audiences_for(severity)},
    )
    assert found.due >= len(found.audiences)
    assert all(heard.at <= evening or 8 <= (heard.at.hour + 1) % 24 < 21 for heard in story.by(BOB_SMS))


def two_stories(folder: Path, **options: Any) -> Story:
    """Return pay7, told to everybody, and pay8 beside it."""
    story = Story(folder, extra=SILENCE, **options)
    story.bench.adapter = None
    story.declare()
    write_incident(folder, "pay8")
    story.bench.send("pay8")
    return story


def take_out(story: Story, begin: str, end: str) -> None:
    text = (story.folder / "commcast.toml").read_text()
    story.edit("commcast.toml", text[text.index(begin) : text.index(end)], "")


def test_an_audience_that_is_gone_from_the_configuration_stops_no_tick(tmp_path: Path) -> None:
    """Its file is refused, its other readers and all other incidents get their statements."""
    story = two_stories(tmp_path, head="audiences: [support, customers]\n")
    take_out(story, "[audiences.support]", "[audiences.customers]")
    story.edit("commcast.toml", 'support = "hold"\n', "")
    story.go_to(18)
    ticked = story.bench.tick()
    assert "no [audiences.support] in commcast.toml" in str(ticked.errors["incidents/pay7.yaml"])
    for name in ("pay7", "pay8"):
        assert ticked.delivered[name].outcomes == {"accepted": 2}, "customers, by mail"


def test_a_channel_that_is_gone_stops_only_what_waits_for_it(tmp_path: Path) -> None:
    """A text of an incident that is over waits, and SMS is taken out of the configuration."""
    story = two_stories(tmp_path)
    story.go_to(5)
    story.write(status="resolved", fixed="It works again.")
    story.bench.release()
    story.bench.freeze()
    take_out(story, "[channels.sms]", "[providers.smtp]")
    story.edit("commcast.toml", '"email", "sms"', '"email"')
    story.go_to(18)
    ticked = story.bench.tick()
    broken = [path for path, error in ticked.errors.items() if "[channels.sms] is missing" in str(error)]
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
    nudges = [each.id for each in nudges_of(story.bench, 31, minutes=1)]
    assert story.line(ANN) == "0 Investigating"
    assert "nudge:2026-11-21T09:25:00Z:late" in nudges, "what readers were promised, and heard"
    story.bench.adapter = story.adapter
    story.minutes(2)
    (_, told) = story.by(ANN)
    assert told.kind == "Update"
    assert "Cards fail everywhere in Europe." in told.text
    assert BROKEN_PROMISE in told.text
    assert "No change" not in told.text


def test_a_first_message_survives_its_provider(tmp_path: Path) -> None:
    """The provider refuses us from the first message on, for 45 minutes; the owner sleeps."""
    story = Story(tmp_path, extra=SILENCE)
    story.bench.adapter = refusing
    story.declare()
    nudges = []
    for minute in range(1, 46):
        nudges += [each.id for each in nudges_of(story.bench, 1, minutes=1)]
        overdue = read_status(story.bench.desk, story.bench.ledger, None).overdue
        assert overdue == (("pay7",) if minute > 10 else ()), minute
    by_mail = [f"nudge:untold:email:1:2026-11-21T{by}:00Z" for by in ("09:25", "09:45", "10:05")]
    once = dict.fromkeys(each for each in nudges if ":sms:" not in each)  # it is made anew while mail is down
    assert [*once] == ["nudge:provider:smtp:1", *by_mail], "and none says that an update is due"
    story.bench.adapter = story.adapter
    story.minutes(3)
    sam = [each for each in story.heard if each.to == "sam@acme.example" and each.at < story.bench.now]
    assert not [each for each in sam if "getting through" in each.text], "it is no longer so"
    for reader in (ANN, BOB, SU):
        (told,) = story.by(reader)
        assert (told.kind, "Updated Sat 21 Nov 2026, 10:05 CET" in told.text) == ("Investigating", True)
        assert "Next update by 11:05 CET" in told.text
    assert read_status(story.bench.desk, story.bench.ledger, None).overdue == ()
    story.until(65)
    assert [each.kind for each in story.by(ANN)] == ["Investigating", "No change"], "then its promise is kept"


def test_what_was_over_before_a_provider_took_the_first_word_is_told_as_what_is_over(tmp_path: Path) -> None:
    """All were to be told, and nobody was: they hear once, of the end."""
    story = Story(tmp_path, extra=SILENCE)
    story.bench.adapter = refusing
    story.declare()
    story.minutes(5)
    story.say(status="resolved", fixed="Cards work again.")
    story.minutes(5)
    story.bench.adapter = story.adapter
    story.minutes(3)
    for reader in (ANN, BOB, SU):
        (told,) = story.by(reader)
        assert (told.kind, "Cards work again." in told.text) == ("Resolved", True), reader


def nudges_of(bench: Bench, count: int, minutes: float) -> list[Nudge]:
    """Tick so often; return who was nudged, in order."""
    found: list[Nudge] = []
    for _ in range(count):
        bench.later(minutes=minutes)
        found += [nudge for nudged in bench.tick().nudged.values() for nudge in nudged.nudges]
    return found


def test_a_promise_of_texts_that_nothing_keeps_wakes_somebody(tmp_path: Path) -> None:
    """Bob gets mail, Ann only texts; silence is left to people."""
    silence = '[silence]\ncustomers = "nudge"\nsupport = "nudge"\n'
    story = Story(tmp_path, customers=[f"{BOB},,Bob", f",{ANN_SMS},Ann"], extra=silence)
    story.declare()
    assert "Next update by 12:05 CET" in story.texts(ANN_SMS)[0]
    nudges = [each.id for each in nudges_of(story.bench, 42, minutes=3)]
    assert [each for each in nudges if "11:05" in each] == [
        f"nudge:2026-11-21T11:05:00Z:{mark}" for mark in ("50", "85", "late")
    ]


def test_words_that_reached_nobody_wake_somebody_once(tmp_path: Path) -> None:
    """All readers get texts only, in their night: nobody has heard a word when the promise passes."""
    at = datetime(2026, 11, 21, 21, tzinfo=UTC)  # 22:00 in Berlin
    head, rows = "audiences: [customers]\n", [f",{ANN_SMS},Ann"]
    story = Story(tmp_path, start=at, severity=2, head=head, customers=rows, sms=QUIET)
    story.declare()
    nudges = nudges_of(story.bench, 60, minutes=15)
    assert [each.id for each in nudges] == ["nudge:unheard:1"]
    assert "update 1 reached no reader" in nudges[0].note


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
