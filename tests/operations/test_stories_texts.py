"""Readers who only get texts: what each text promises and says, by day, over quiet hours and after them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from commcast.ledger.oncall import record_tick
from commcast.operations.dry_run import foresee
from tests.support.desk import START, update_text
from tests.support.scenario import ANN_SMS, BOB_SMS, Act, Story, Told, both, say, tell

HEAD = "email,phone,name,timezone"
BOTH = ("ann@example.com,+4915112345671,Ann", f",{BOB_SMS},Bob")
SILENCE = '[silence]\ncustomers = "hold"\nsteps = ["1x", "2x", "60m"]\nthen = "4h"\n'
PACE = '[cadence.1]\nevery = "20m"\n[cadence.2]\nevery = "20m"\n'
QUIET, NIGHTLY = 'quiet = "21:00-08:00"\nwake_for = [1]', 'quiet = "21:00-08:00"'
JOE = "+12025550123"
EVENING = datetime(2026, 12, 4, 18, tzinfo=UTC)  # a Friday, 19:00 in Berlin
MORNING = 13 * 60  # the minute of 08:00 in a story that begins then
MINUTE = timedelta(minutes=1)


def desk(extra: str = "", **more: Any) -> dict[str, Any]:
    """Options of a story: Ann gets emails and texts, Bob texts only."""
    return {"customers": BOTH, "extra": PACE + extra, **more}


def night(*customers: str, **more: Any) -> dict[str, Any]:
    """Options of a story of severity 3 that begins at 19:00; texts wait from 21:00 to 08:00."""
    rows = customers or (f",{BOB_SMS},Bob",)
    head = "audiences: [customers]\n"
    return {"start": EVENING, "severity": 3, "customers": rows, "sms": QUIET, "head": head, **more}


def slower(story: Story) -> None:
    """Ticks come farther apart than when the promise was made: its text falls due in quiet hours."""
    path = story.folder / "commcast.toml"
    path.write_text(path.read_text() + '\n[tick]\nhold_before = "15m"\n')


FACTS = say(status="identified", resolution="A fix is on its way.")
RESOLVED = say(status="resolved", fixed="Rolled back.", remains="nothing")
WORSE = say(severity="1", nothing_new="we are still looking")
ALL, HALF = say(issue="All cards fail"), say(issue="Half of all cards fail")
EXPECTED = (
    "title: The provider works on its lines\nseverity: 3\nowner: sam\naudiences: [customers]\n"
    "expected_at: 2026-11-21T20:00Z\nupdates:\n"
    + update_text(
        START, status="expected", issue="Cards may fail.", resolution="We watch.", timeframe="unknown"
    )
)
WORK = (
    "kind: maintenance\ntitle: Payment database moves\nseverity: 3\nowner: sam\naudiences: [customers]\n"
    "window: {from: 2026-12-05T00:30Z, to: 2026-12-05T02:30Z}\nupdates:\n"
)

STORIES = {
    # What is texted is the first notice; the promised text comes within three minutes before its time.
    "the promised text tells the newest facts to those it was promised to": Told(
        until=125,
        desk=desk(),
        acts={30: FACTS},
        heard={BOB_SMS: "0 text, 117 text", ANN_SMS: "0 text"},
        words={
            (ANN_SMS, 0): "We'll email an update by 10:25 CET (UTC+1).",
            (BOB_SMS, 0): "Next update by 12:05 CET (UTC+1). https://status.acme.example",
            (BOB_SMS, 1): "As of 10:35 CET (UTC+1): … Next update by 14:05 CET.",
        },
    ),
    # What others were emailed is news to readers who only get texts, even if nothing was new since.
    "the promised text says no change only to those who know what has not changed": Told(
        until=360,
        desk=desk(SILENCE),
        acts={
            15: say(status="identified", issue="A restart fails."),
            30: say(nothing_new="the restart is at 60%"),
            150: say(nothing_new="the restart is at 90%"),
        },
        heard={BOB_SMS: "0 text, 117 text, 237 text, 357 text"},
        words={
            (
                BOB_SMS,
                1,
            ): "the restart is at 60%. As of 10:35 CET (UTC+1): A restart fails.",
            (
                BOB_SMS,
                2,
            ): "the restart is at 90%. No other change since 10:20 CET (UTC+1). As of 12:35 CET: A",
            (
                BOB_SMS,
                3,
            ): "No change since 10:20 CET (UTC+1): the restart is at 90%. A restart fails.",
        },
        never={(BOB_SMS, 1): "change since"},
    ),
    # A holding statement has nothing changed since the words before it, its severity included.
    "a text says what is worse only once": Told(
        until=136,
        desk=desk(SILENCE, severity=2),
        acts={15: WORSE},
        heard={BOB_SMS: "0 text, 15 text, 132 text"},
        words={
            (
                BOB_SMS,
                1,
            ): "Affecting more than we first told you. we are still looking. No other change since",
            (BOB_SMS, 2): "No change since 10:05 CET (UTC+1): we are still looking.",
        },
        never={(BOB_SMS, 2): "Affecting more"},
    ),
    "a broken promise of a text is admitted": Told(
        ticks=(),
        desk=desk(),
        acts={180: FACTS},
        heard={BOB_SMS: "0 text, 180 text"},
        words={
            (
                BOB_SMS,
                1,
            ): "As of 13:05 CET (UTC+1): … Later than the 12:05 CET we promised, sorry. … by 15:05 CET."
        },
    ),
    "a new time of what is expected is texted, a plain update is not": Told(
        ticks=(),
        desk=desk(),
        file=EXPECTED,
        acts={30: say(expected_at="2026-11-22T09:00Z"), 60: say(issue="Cards may fail for two hours.")},
        heard=dict.fromkeys((ANN_SMS, BOB_SMS), "0 text, 30 text"),
        words={(BOB_SMS, 1): "From Sun 22 Nov, 10:00 CET (UTC+1) (not 21:00 CET): Cards may fail."},
    ),
    # Over quiet hours. Nobody wrote since; the holding statements by email keep the facts true.
    "a text held for the night promises from when it goes": Told(
        until=240,
        desk=desk(SILENCE, sms=NIGHTLY, severity=2, start=START + timedelta(hours=20)),  # 06:05 in Berlin
        heard={BOB_SMS: "115 text, 232 text", ANN_SMS: "115 text"},
        words={
            (BOB_SMS, 0): "Next update by 10:00 CET (UTC+1).",
            (BOB_SMS, 1): "No change since",
            (ANN_SMS, 0): "We'll email an update by 08:25 CET (UTC+1).",
        },
    ),
    "a text that is late names no time that has passed": Told(
        ticks=[40],
        desk=desk(sms=NIGHTLY, severity=2, start=START + timedelta(hours=21, minutes=15)),  # 07:20 in Berlin
        heard={ANN_SMS: "40 text"},
        words={(ANN_SMS, 0): "We'll text you when something important changes."},
        never={(ANN_SMS, 0): "update by"},
    ),
    "if nothing is new, a held text goes as a holding statement": Told(
        ticks=[MORNING - 5, MORNING + 6],
        desk=night(extra=SILENCE.replace("customers", "severities = [3]\ncustomers")),
        acts={1: slower},
        heard={BOB_SMS: f"0 text, {MORNING + 6} text"},
        words={
            (
                BOB_SMS,
                1,
            ): "No change since Fri 4 Dec, 19:00 CET (UTC+1): … Next update by Sat 5 Dec, 10:10 CET."
        },
    ),
    "after the end a held promised text does not go": Told(
        ticks=[MORNING - 5, *range(MORNING + 1, MORNING + 60, 3)],
        desk=night(),
        acts={60: both(ALL, slower), MORNING - 2: RESOLVED},
        heard={BOB_SMS: f"0 text, {MORNING + 1} text"},
        words={(BOB_SMS, 1): "RESOLVED"},
    ),
    "what a held text says is new is new to its reader": Told(
        ticks=[MORNING],
        desk=night(),
        acts={60: ALL, 180: say(severity="2", nothing_new="the restart is at 60%")},
        heard={BOB_SMS: f"0 text, {MORNING} text"},
        words={
            (
                BOB_SMS,
                1,
            ): "Affecting more than … the restart is at 60%. As of Fri 4 Dec, 22:00 CET (UTC+1): All cards"
        },
    ),
    # The first text was held, and another took its place, before any of them went.
    "readers told first in the morning are not told what changed at night": Told(
        ticks=[120],
        desk=night(start=EVENING + timedelta(hours=11)),
        acts={90: say(severity="2", nothing_new="we are still looking")},
        heard={BOB_SMS: "120 text"},
        words={(BOB_SMS, 0): "Acme Pay: we are still looking. Some customers"},
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_story(name: str, tmp_path: Path) -> None:
    story = tell(tmp_path, STORIES[name])
    assert not [row for row in story.bench.rows() if row.state == "held"]


@pytest.mark.parametrize("level", ["key", "end"])
def test_readers_who_want_less_than_all_are_promised_no_time(tmp_path: Path, level: str) -> None:
    """Kim by email and text, Kay by text: the beginning if it is a key event to them, and the end."""
    story = Story(tmp_path, **desk(SILENCE))
    kim, kay = "kim@example.com", "+4915112345674"
    story.people("email,phone,name,level", f"{kim},+4915112345673,Kim,{level}", f",{kay},Kay,{level}")
    story.declare()
    story.until(300, every=10)
    FACTS(story)
    story.go_to(305)
    RESOLVED(story)
    for reader in (kim, "+4915112345673", kay):
        assert story.minutes_of(reader) == ([0, 305] if level == "key" else [305])
        assert not any("update by" in text for text in story.texts(reader))


def say_at(story: Story, minute: float, act: Act) -> None:
    story.go_to(minute)
    act(story)


def test_a_promise_that_would_fall_into_quiet_hours_moves_to_their_end_by_zone(tmp_path: Path) -> None:
    """20:35 in Berlin is 14:35 in New York: two readers of one update are promised two times."""
    start = START + timedelta(hours=10, minutes=30)
    story = Story(tmp_path, **desk(sms=NIGHTLY, severity=2, start=start))
    story.people(HEAD, f",{BOB_SMS},Bob,", f",{JOE},Joe,America/New_York")
    story.declare()
    assert "Next update by Sun 22 Nov, 08:10 CET (UTC+1)." in story.texts(BOB_SMS)[0]
    assert "Next update by 16:35 EST." in story.texts(JOE)[0]
    say_at(story, 15, FACTS)
    story.until(11 * 60 + 40, every=2, near=(117, 692))
    came = {to: [heard.at.strftime("%d %H:%M") for heard in story.by(to)][1] for to in (BOB_SMS, JOE)}
    assert came == {BOB_SMS: "22 07:08", JOE: "21 21:32"}


@pytest.mark.parametrize("drift", [0, 10, 14])
def test_however_far_apart_ticks_are_the_morning_text_comes_in_time(tmp_path: Path, drift: int) -> None:
    """Even if nobody knew of the drift when the promise was made."""
    story = Story(tmp_path, **night())
    for passed in range(6 * drift, 0, -drift or -1):
        with story.bench.ledger.write() as connection:
            record_tick(connection, EVENING - passed * MINUTE, {})
    story.declare()
    assert f"Next update by Sat 5 Dec, 08:{15 if drift == 14 else 10} CET" in story.texts(BOB_SMS)[0]
    story.go_to(7)
    story.until(117, every=10)
    say_at(story, 118, ALL)
    story.go_to(117)
    story.until(MORNING + 57, every=10, near=(MORNING, MORNING + 7))
    assert story.minutes_of(BOB_SMS) == [0, MORNING + 7]
    text = story.texts(BOB_SMS)[-1]
    assert "As of Fri 4 Dec, 20:58 CET (UTC+1): All cards fail." in text
    assert "Later than" not in text
    assert "Next update by Sat 5 Dec, 10:10 CET" in text or drift == 14


@pytest.mark.parametrize("email", ["", "ann@example.com"])
def test_a_held_promised_text_goes_with_the_newest_words_and_promises_again(
    tmp_path: Path, email: str
) -> None:
    story = Story(tmp_path, **night(f",{BOB_SMS},Bob", f"{email},{ANN_SMS},Ann"))
    story.declare()
    say_at(story, 60, both(ALL, slower))
    say_at(story, MORNING - 5, lambda story: story.bench.tick())
    states = {row.state.value for row in story.bench.rows() if row.channel == "sms"}
    assert states == {"accepted", "held"}
    say_at(story, MORNING - 2, HALF)
    story.go_to(MORNING + 1 / 6)
    coming = foresee(story.bench.desk, story.bench.ledger).coming
    assert [each.deliveries for each in coming if each.channel == "sms"] == [1 if email else 2]
    story.bench.tick()
    text = story.texts(BOB_SMS)[-1]
    assert "As of 07:58 CET (UTC+1): Half of all cards fail." in text
    assert "Later than" not in text
    assert "Next update by 10:10 CET" in text, "by the clock of that day"
    story.until(MORNING + 180, near=())
    assert story.minutes_of(BOB_SMS)[:2] == [0, MORNING]
    assert len(story.by(BOB_SMS)) == 3, "and the new promise is kept"


def test_a_promise_is_kept_in_the_morning_though_others_were_told_at_night(tmp_path: Path) -> None:
    story = Story(tmp_path, **night())
    story.declare()
    story.people(HEAD, f",{BOB_SMS},Bob,", f",{JOE},Joe,America/New_York")
    say_at(story, 180, say(severity="2", issue="All cards fail"))
    assert story.minutes_of(JOE) == [180]
    story.go_to(MORNING - 3)
    story.until(MORNING + 57, every=10)
    assert story.minutes_of(BOB_SMS) == [0, MORNING + 7]
    assert "Later than" not in story.texts(BOB_SMS)[-1]


BEGINS = {"status": "in_progress"}
ENDS = {"status": "completed", "fixed": "It has moved.", "remains": "nothing"}


@pytest.mark.parametrize(
    ("more", "said", "promised"),
    [
        (
            [],
            "Work planned Sat 5 Dec, 01:30-03:30 CET (UTC+1), not confirmed that it took place",
            "Next update by Sat 5 Dec, 10:10 CET",
        ),
        ([BEGINS], "Work due to end 03:30 CET (UTC+1), end not confirmed yet", "Next update by "),
        ([BEGINS, ENDS], "Planned work finished", ""),
    ],
    ids=["nobody said that it began", "nobody said that it is complete", "complete"],
)
def test_what_is_known_of_planned_work_at_night_is_told_in_the_morning(
    tmp_path: Path, more: list[dict[str, str]], said: str, promised: str
) -> None:
    extra = '[tick]\nhold_before = "10m"' if not more else ""
    start = datetime(2026, 12, 4, 11, 0, 10, tzinfo=UTC)
    story = Story(tmp_path, start=start, customers=(f",{BOB_SMS},Bob",), sms=QUIET, extra=extra)
    said_first = {"status": "scheduled", "issue": "Cards pause.", "resolution": "We move the database."}
    story.declare(WORK + update_text(start.replace(second=0), **said_first))
    assert "Next update by Sat 5 Dec, 08:10 CET" in story.texts(BOB_SMS)[0]
    for hours, keys in enumerate(more):
        story.bench.now = datetime(2026, 12, 5, hours, 30, tzinfo=UTC)
        story.say(**keys)
    story.go_to(20 * 60 - 20)
    story.until(20 * 60 + 57, every=1 if not more else 5)
    _, text = story.texts(BOB_SMS)
    assert said in text
    assert promised in text
    assert "Later than" not in text
    skipped = [row for row in story.bench.rows() if row.channel == "sms" and row.state == "skipped"]
    assert more or not skipped
