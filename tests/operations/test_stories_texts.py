"""Readers who only get texts: what each text promises and says, by day, over quiet hours and after them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from commcast.ledger.history import incident_history
from commcast.ledger.oncall import record_tick
from commcast.operations.dry_run import foresee
from tests.support.desk import START, update_text
from tests.support.scenario import ANN_SMS, BOB_SMS, Story, Told, say, tell

HEAD = "email,phone,name,timezone"
BOTH = ("ann@example.com,+4915112345671,Ann", f",{BOB_SMS},Bob")
SILENCE = '[silence]\ncustomers = "hold"\nsteps = ["1x", "2x", "60m"]\nthen = "4h"\n'
PACE = '[cadence.1]\nevery = "20m"\n[cadence.2]\nevery = "20m"\n'
QUIET = 'quiet = "21:00-08:00"\nwake_for = [1]'
JOE, LIZ = "+12025550123", "+442071234567"


def desk(extra: str = "", **more: Any) -> dict[str, Any]:
    """Options of a story: Ann gets mail and texts, Bob texts only."""
    return {"customers": BOTH, "extra": PACE + extra, **more}


FACTS = say(status="identified", resolution="A fix is on its way.")
RESOLVED = say(status="resolved", fixed="Rolled back.", remains="nothing")
WORSE = say(severity="1", nothing_new="we are still looking")

STORIES = {
    # What is texted is the first notice; the promised text comes within three minutes before its time.
    "the promised text tells the newest facts to those it was promised to": Told(
        until=125,
        desk=desk(),
        acts={30: FACTS},
        heard={BOB_SMS: "0 text, 117 text", ANN_SMS: "0 text"},
        words={
            (ANN_SMS, 0): ["Updates by email."],
            (BOB_SMS, 0): ["Next text by 12:05 CET. https://status.acme.example"],
            (BOB_SMS, 1): ["IDENTIFIED: As of 10:35 CET.", "Next text by 14:05 CET."],
        },
    ),
    # What others heard by mail is news to readers who only get texts, also where nothing was new since.
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
            (BOB_SMS, 1): ["IDENTIFIED: As of 10:35 CET. Latest: the restart is at 60%. A restart fails."],
            (BOB_SMS, 2): [
                "As of 12:35 CET. No change since 10:20 CET: the restart is at 90%. A restart fails."
            ],
            (BOB_SMS, 3): ["No change since 10:20 CET. Latest: the restart is at 90%. A restart fails."],
        },
        never={(BOB_SMS, 1): "No change"},
    ),
    # A holding statement has nothing changed since the words before it, its severity included.
    "a text says what is worse only once": Told(
        until=136,
        desk=desk(SILENCE, severity=2),
        acts={15: WORSE},
        heard={BOB_SMS: "0 text, 15 text, 132 text"},
        words={
            (BOB_SMS, 1): ["Worse than before. No change since 10:05 CET: we are still looking."],
            (BOB_SMS, 2): ["No change since 10:05 CET. Latest: we are still looking."],
        },
        never={(BOB_SMS, 2): "Worse"},
    ),
    "what became worse says no change only to those who know what has not changed": Told(
        until=15,
        desk=desk(severity=2),
        acts={10: say(issue="A restart fails."), 15: WORSE},
        heard={BOB_SMS: "0 text, 15 text"},
        words={(BOB_SMS, 1): ["Worse than before. Latest: we are still looking."]},
    ),
    "where nothing is new and nobody may speak by itself, no text goes": Told(
        until=130, desk=desk(), heard={BOB_SMS: "0 text", ANN_SMS: "0 text"}
    ),
    "where silence may be held, readers of texts alone hear by text": Told(
        until=240,
        desk=desk(SILENCE),
        heard={BOB_SMS: "0 text, 117 text, 237 text", ANN_SMS: "0 text"},
        words={(BOB_SMS, 1): ["No change since 10:05 CET."]},
    ),
    "an update that is texted keeps the promise": Told(
        until=150, desk=desk(severity=2), acts={60: say(severity="1")}, heard={BOB_SMS: "0 text, 60 text"}
    ),
    "the end ends all promises of texts": Told(
        until=130,
        desk=desk(SILENCE),
        acts={60: RESOLVED},
        heard={BOB_SMS: "0 text, 60 text"},
        never={(BOB_SMS, 1): "Next text"},
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_story(name: str, tmp_path: Path) -> None:
    tell(tmp_path, STORIES[name])


def test_the_ledger_has_what_texts_promise(tmp_path: Path) -> None:
    story = Story(tmp_path, **desk())
    story.declare()
    with story.bench.ledger.read() as connection:
        said = incident_history(connection, "pay7").said
    assert [each.text_promises for each in said if each.channel == "sms"] == [(story.at(120),)]
    assert [each.text_promises for each in said if each.channel == "email"] == [(), ()]


def test_a_broken_promise_of_a_text_is_owned(tmp_path: Path) -> None:
    story = Story(tmp_path, **desk())
    story.declare()
    story.go_to(180)
    FACTS(story)
    text = story.texts(BOB_SMS)[-1]
    assert "Later than we promised, 12:05 CET." in text
    assert "Next text by 15:05 CET." in text


@pytest.mark.parametrize("level", ["key", "end"])
def test_readers_who_want_less_than_all_are_promised_no_time(tmp_path: Path, level: str) -> None:
    """Kim by mail and text, Kay by text: the beginning if it is a key event to them, and the end."""
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
        assert not any("Next update: by" in text or "Next text" in text for text in story.texts(reader))


def test_readers_of_texts_hear_that_nobody_confirmed_the_end_of_planned_work(tmp_path: Path) -> None:
    story = Story(tmp_path, **desk(start=datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)))
    story.declare(
        "kind: maintenance\ntitle: Payment database moves\nseverity: 3\nowner: sam\naudiences: [customers]\n"
        "window: {from: 2026-11-21T12:00Z, to: 2026-11-21T13:00Z}\nupdates:\n"
        "  - at: 2026-11-21T09:05Z\n    status: scheduled\n    issue: Cards pause for ten minutes.\n"
        "    resolution: We move the database.\n  - at: 2026-11-21T12:00Z\n    status: in_progress\n"
    )
    assert "Next text by 14:00 CET." in story.texts(BOB_SMS)[-1]
    story.until(65)
    said = "Planned end 14:00 CET is near, not confirmed yet that the work is complete."
    assert said in story.texts(BOB_SMS)[-1]


EXPECTED = (
    "title: The provider works on its lines\nseverity: 3\nowner: sam\naudiences: [customers]\n"
    "expected_at: 2026-11-21T20:00Z\nupdates:\n"
    "  - at: 2026-11-21T09:05Z\n    status: expected\n    issue: Cards may fail for an hour.\n"
    "    resolution: We watch it.\n    timeframe: unknown\n"
)


@pytest.mark.parametrize("events", ["", 'events = ["first", "retracted", "reopened", "resolved"]'])
def test_a_new_time_of_what_is_expected_is_texted_unless_sms_is_for_other_events(
    tmp_path: Path, events: str
) -> None:
    story = Story(tmp_path, **desk(sms=events))
    story.declare(EXPECTED)
    story.go_to(30)
    story.say(expected_at="2026-11-22T09:00Z")
    story.go_to(60)
    story.say(issue="Cards may fail for two hours.")  # what does not move it is plain
    assert story.line(BOB_SMS) == story.line(ANN_SMS) == ("0 text" if events else "0 text, 30 text")
    said = "EXPECTED: From Sun 22 Nov 10:00 CET (was 21:00 CET)."
    assert (said in story.texts(BOB_SMS)[-1]) == (not events)


# Over quiet hours

EVENING = datetime(2026, 12, 4, 18, tzinfo=UTC)  # a Friday, 19:00 in Berlin
MORNING = 13 * 60  # the minute of 08:00
MINUTE = timedelta(minutes=1)


def evening(folder: Path, *customers: str, extra: str = "", drift: int = 0) -> Story:
    """Declare an incident of severity 3 at 19:00; `drift` is how many minutes ticks were apart before."""
    story = Story(
        folder,
        start=EVENING,
        severity=3,
        customers=customers or (f",{BOB_SMS},Bob",),
        sms=QUIET,
        extra=extra,
        head="audiences: [customers]\n",
    )
    for passed in range(6 * drift, 0, -drift or -1):
        with story.bench.ledger.write() as connection:
            record_tick(connection, EVENING - passed * MINUTE)
    story.declare()
    return story


def slower(story: Story) -> None:
    """Ticks come farther apart than when the promise was made: its text falls due in quiet hours."""
    path = story.folder / "commcast.toml"
    path.write_text(path.read_text() + '\n[tick]\nhold_before = "15m"\n')


def say_at(story: Story, minute: float, **keys: str) -> None:
    story.go_to(minute)
    story.say(**keys)


def tick_at(story: Story, minute: float) -> None:
    story.go_to(minute)
    story.bench.tick()


ALL, HALF = {"issue": "All cards fail"}, {"issue": "Half of all cards fail"}


def test_a_promise_that_would_fall_into_quiet_hours_moves_to_their_end_by_zone(tmp_path: Path) -> None:
    """20:35 in Berlin is 14:35 in New York: two readers of one update are promised two times."""
    start = START + timedelta(hours=10, minutes=30)
    story = Story(tmp_path, **desk(sms='quiet = "21:00-08:00"', severity=2, start=start))
    story.people(HEAD, f",{BOB_SMS},Bob,", f",{JOE},Joe,America/New_York")
    story.declare()
    assert "Next text by Sun 22 Nov 08:10 CET." in story.texts(BOB_SMS)[0]
    assert "Next text by 16:35 EST." in story.texts(JOE)[0]
    say_at(story, 15, status="identified", resolution="A fix is on its way.")
    story.until(11 * 60 + 40, every=2)
    came = {to: [heard.at.strftime("%d %H:%M") for heard in story.by(to)][1] for to in (BOB_SMS, JOE)}
    assert came == {BOB_SMS: "22 07:08", JOE: "21 21:32"}


def test_a_text_held_for_the_night_promises_from_when_it_goes(tmp_path: Path) -> None:
    """Nobody wrote since; the holding statements by mail keep its facts true."""
    start = START + timedelta(hours=20)  # 06:05 in Berlin
    story = Story(tmp_path, **desk(SILENCE, sms='quiet = "21:00-08:00"', severity=2, start=start))
    story.declare()
    assert story.line(BOB_SMS) == ""
    story.until(240)
    held, kept = story.texts(BOB_SMS)[:2]
    assert story.minutes_of(BOB_SMS)[0] == 115
    assert "Next text by 10:00 CET." in held
    assert "Updates by email." in story.texts(ANN_SMS)[0]
    assert "No change since" in kept


def test_nobody_is_woken_to_what_is_over(tmp_path: Path) -> None:
    start = START + timedelta(hours=14)
    story = Story(tmp_path, **desk(sms='quiet = "21:00-08:00"', severity=2, start=start))
    story.declare()
    say_at(story, 30, status="resolved", fixed="Rolled back.", remains="nothing")
    tick_at(story, 8 * 60)
    assert story.line(BOB_SMS) == ""
    assert {row.state.value for row in story.bench.rows() if row.channel == "sms"} == {"skipped"}


def test_an_end_that_the_night_held_back_is_texted_in_the_morning(tmp_path: Path) -> None:
    """The promise of the words before it has long passed; an end promises nothing."""
    start = START.replace(hour=19, minute=30)
    story = Story(tmp_path, start=start, sms='quiet = "21:00-08:00"\nwake_for = []')
    story.declare()
    say_at(story, 60, status="resolved", fixed="The release is back.")
    assert story.line(BOB_SMS) == "0 text"
    tick_at(story, 11.5 * 60 + 1)
    assert story.line(BOB_SMS) == story.line(ANN_SMS) == "0 text, 691 text"


@pytest.mark.parametrize("drift", [0, 10, 14])
def test_however_far_ticks_are_apart_the_morning_text_comes_in_time(tmp_path: Path, drift: int) -> None:
    """Also where nobody knew of it when the promise was made."""
    story = evening(tmp_path, drift=drift)
    assert f"Next text by Sat 5 Dec 08:{15 if drift == 14 else 10} CET" in story.texts(BOB_SMS)[0]
    story.go_to(7)
    story.until(117, every=10)
    say_at(story, 118, **ALL)
    story.go_to(117)
    story.until(MORNING + 57, every=10)
    assert story.minutes_of(BOB_SMS) == [0, MORNING + 7]
    text = story.texts(BOB_SMS)[-1]
    assert "As of Fri 4 Dec 20:58 CET. All cards fail." in text
    assert "Later than we promised" not in text
    assert "Next text by Sat 5 Dec 10:10 CET" in text or drift == 14


@pytest.mark.parametrize("mail", ["", "ann@example.com"])
def test_a_promised_text_that_quiet_hours_hold_goes_with_what_is_newest_and_promises_anew(
    tmp_path: Path, mail: str
) -> None:
    story = evening(tmp_path, f",{BOB_SMS},Bob", f"{mail},{ANN_SMS},Ann")
    say_at(story, 60, **ALL)
    slower(story)
    tick_at(story, MORNING - 5)
    states = {row.state.value for row in story.bench.rows() if row.channel == "sms"}
    assert states == {"accepted", "held"}
    say_at(story, MORNING - 2, **HALF)
    story.go_to(MORNING + 1 / 6)
    coming = foresee(story.bench.desk, story.bench.ledger).coming
    assert [each.deliveries for each in coming if each.channel == "sms"] == [1 if mail else 2]
    story.bench.tick()
    text = story.texts(BOB_SMS)[-1]
    assert "As of 07:58 CET. Half of all cards fail." in text
    assert "Later than we promised" not in text
    assert "Next text by 10:10 CET" in text, "by the clock of that day"
    story.until(MORNING + 180)
    assert story.minutes_of(BOB_SMS)[:2] == [0, MORNING]
    assert len(story.by(BOB_SMS)) == 3, "and the new promise is kept"


def test_where_nothing_is_new_a_held_text_goes_as_a_holding_statement(tmp_path: Path) -> None:
    story = evening(tmp_path, extra=SILENCE.replace("customers", "severities = [3]\ncustomers"))
    slower(story)
    tick_at(story, MORNING - 5)
    tick_at(story, MORNING + 6)
    text = story.texts(BOB_SMS)[-1]
    assert "No change since Fri 4 Dec 19:00 CET." in text
    assert "Next text by Sat 5 Dec 10:10 CET" in text


def test_readers_of_two_zones_are_each_told_after_their_own_night(tmp_path: Path) -> None:
    story = evening(tmp_path)
    story.people(HEAD, f",{BOB_SMS},Bob,", f",{LIZ},Liz,Europe/London")
    say_at(story, 75, severity="2", **ALL)
    assert "Next text by Sat 5 Dec 08:10 CET" in story.texts(BOB_SMS)[-1]
    assert "Next text by Sat 5 Dec 08:10 GMT" in story.texts(LIZ)[-1]
    say_at(story, 80, **HALF)
    slower(story)
    story.go_to(MORNING - 9)
    story.until(MORNING + 90, every=4)
    assert story.minutes_of(BOB_SMS)[-1] == MORNING + 3
    assert story.minutes_of(LIZ)[-1] == MORNING + 63
    text = story.texts(LIZ)[-1]
    assert "As of Fri 4 Dec 19:20 GMT. Half of all cards fail." in text
    assert "Next text by Sat 5 Dec 10:10 GMT" in text


def test_after_the_end_a_held_promised_text_does_not_go(tmp_path: Path) -> None:
    story = evening(tmp_path)
    say_at(story, 60, **ALL)
    slower(story)
    tick_at(story, MORNING - 5)
    say_at(story, MORNING - 2, status="resolved", fixed="Rolled back.", remains="nothing")
    story.until(MORNING + 60, every=3)
    assert len(story.by(BOB_SMS)) == 2
    assert "RESOLVED" in story.texts(BOB_SMS)[-1]


@pytest.mark.parametrize("here", [True, False])
def test_what_became_worse_at_night_keeps_the_promise_in_the_morning(tmp_path: Path, here: bool) -> None:
    """Whoever waits for a text gets it, though nobody wrote since; also if others had it at once."""
    story = evening(tmp_path)
    if not here:
        story.people(HEAD, f",{BOB_SMS},Bob,", f",{JOE},Joe,America/New_York")
    say_at(story, 180, severity="2", **ALL)
    story.go_to(MORNING - 3)
    story.until(MORNING + 57, every=10)
    text = story.texts(BOB_SMS)[-1]
    assert "As of Fri 4 Dec 22:00 CET. Worse than before. All cards fail." in text
    assert story.minutes_of(BOB_SMS) == [0, MORNING + 7]
    assert "Later than we promised" not in text


def test_what_a_held_text_says_is_new_is_so_to_its_reader(tmp_path: Path) -> None:
    story = evening(tmp_path)
    say_at(story, 60, **ALL)
    say_at(story, 180, severity="2", nothing_new="the restart is at 60%")
    tick_at(story, MORNING)
    said = "Worse than before. Latest: the restart is at 60%. All cards fail."
    assert said in story.texts(BOB_SMS)[-1]


def test_readers_who_hear_first_in_the_morning_are_not_told_what_changed_at_night(tmp_path: Path) -> None:
    """The first text was held, and another took its place, before any of them went."""
    start, rows = EVENING + timedelta(hours=11), (f",{BOB_SMS},Bob",)
    only = "audiences: [customers]\n"
    story = Story(tmp_path, start=start, severity=3, head=only, customers=rows, sms=QUIET)
    story.declare()
    say_at(story, 90, severity="2", nothing_new="we are still looking")
    tick_at(story, 120)
    (text,) = story.texts(BOB_SMS)
    assert "INVESTIGATING: Latest: we are still looking. Some customers" in text


WORK = (
    "kind: maintenance\ntitle: Payment database moves\nseverity: 3\nowner: sam\naudiences: [customers]\n"
    "window: {from: 2026-12-05T00:30Z, to: 2026-12-05T02:30Z}\nupdates:\n"
    "  - at: 2026-12-04T11:00Z\n    status: scheduled\n    issue: Cards pause for ten minutes.\n"
    "    resolution: We move the database.\n"
)


@pytest.mark.parametrize(
    ("more", "said", "promised"),
    [
        ([], "Planned time Sat 5 Dec 01:30 to 03:30 CET has passed", "Next text by Sat 5 Dec 10:10 CET"),
        ([{"status": "in_progress"}], "Planned end 03:30 CET has passed, not confirmed yet", "Next text by "),
        (
            [
                {"status": "in_progress"},
                {"status": "completed", "fixed": "It has moved.", "remains": "nothing"},
            ],
            "COMPLETED: Over",
            "",
        ),
    ],
    ids=["nobody said that it began", "nobody said that it is complete", "complete"],
)
def test_what_is_known_of_planned_work_at_night_is_told_in_the_morning(
    tmp_path: Path, more: list[dict[str, str]], said: str, promised: str
) -> None:
    extra = '[tick]\nhold_before = "10m"' if not more else ""
    start = datetime(2026, 12, 4, 11, 0, 10, tzinfo=UTC)
    story = Story(tmp_path, start=start, customers=(f",{BOB_SMS},Bob",), sms=QUIET, extra=extra)
    story.declare(WORK)
    assert "Next text by Sat 5 Dec 08:10 CET" in story.texts(BOB_SMS)[0]
    for hours, keys in enumerate(more):
        story.bench.now = datetime(2026, 12, 5, hours, 30, tzinfo=UTC)
        story.path.write_text(story.path.read_text() + update_text(story.bench.now, **keys))
        story.bench.send()
    story.go_to(20 * 60 - 20)
    story.until(20 * 60 + 57, every=1 if not more else 5)
    _, *rest = story.texts(BOB_SMS)
    (text,) = rest
    assert said in text
    assert promised in text
    assert "Later than" not in text
    skipped = [row for row in story.bench.rows() if row.channel == "sms" and row.state == "skipped"]
    assert more or not skipped
