"""Readers who only get texts: what a text promises them, and that it is kept."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.config.settings import Silence, SmsChannel
from commcast.ledger.history import incident_history
from commcast.model.history import History, Said
from commcast.model.incident import Channel, Incident, Status
from commcast.plan.promises import AFTER_QUIET, text_promise, texts_due
from commcast.plan.reminders import end_of_quiet
from tests.support.desk import START, Bench, update_text, write_desk, write_incident, write_list
from tests.support.values import AT, config_of, incident_of, released, story

BERLIN = ZoneInfo("Europe/Berlin")
YEAR = datetime(2026, 3, 1, 0, 0, 17, tzinfo=UTC)
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "UTC")
HOUR = timedelta(hours=1)
MOMENTS = st.integers(0, 270 * 24 * 60).map(lambda minutes: YEAR + timedelta(minutes=minutes))
SILENCE = '[silence]\ncustomers = "hold"\nsteps = ["1x", "2x", "60m"]\nthen = "4h"\n'
EVERYBODY = ("ann@example.com,+4915112345671,Ann", ",+4915112345672,Bob")


@given(
    now=MOMENTS,
    after=st.integers(1, 30 * 60),
    zone=st.sampled_from(ZONES),
    every=st.integers(1, 600),
    quiet=st.sampled_from(
        [(time(21), time(8)), (time(12), time(13)), (time(0), time(23)), (time(8), time(7, 59))]
    ),
)
def test_a_text_never_promises_a_time_of_quiet_nor_one_too_soon(
    now: datetime, after: int, zone: str, every: int, quiet: tuple[time, time]
) -> None:
    at = now
    sms = SmsChannel(quiet=None, only_sms_every=f"{every}m").model_copy(update={"quiet": quiet})
    by = at + timedelta(minutes=after)
    promised = text_promise(by, sms, 2, ZoneInfo(zone), at)
    assert promised >= by
    assert promised > at + timedelta(minutes=every - 1)
    assert end_of_quiet(promised, quiet, ZoneInfo(zone)) is None


@given(now=MOMENTS, zone=st.sampled_from(ZONES))
def test_a_text_that_keeps_a_promise_goes_outside_of_quiet_hours_too(now: datetime, zone: str) -> None:
    at, quiet = now, (time(21), time(8))
    sms = SmsChannel().model_copy(update={"quiet": quiet})
    promised = text_promise(at, sms, 2, ZoneInfo(zone), at)
    assert end_of_quiet(promised - AFTER_QUIET, quiet, ZoneInfo(zone)) is None


def test_the_severities_that_wake_are_promised_the_plain_time() -> None:
    sms = SmsChannel().model_copy(update={"quiet": (time(21), time(8))})
    night = datetime(2026, 11, 21, 22, 0, 30, tzinfo=UTC)
    assert text_promise(night, sms, 1, BERLIN, night) == datetime(2026, 11, 22, 0, 0, tzinfo=UTC)
    assert text_promise(night, sms, 2, BERLIN, night) == datetime(2026, 11, 22, 7, 10, tzinfo=UTC)


def test_a_text_promises_the_very_start_and_end_of_planned_work() -> None:
    sms = SmsChannel().model_copy(update={"quiet": (time(21), time(8))})
    day, night = YEAR.replace(hour=12, second=0), YEAR.replace(hour=23, second=0)
    assert text_promise(day, sms, 3, BERLIN, day - HOUR, is_awaited=True) == day
    assert text_promise(night, sms, 3, BERLIN, night - HOUR, is_awaited=True) == night + timedelta(
        hours=8, minutes=10
    )


# Which promises of texts are due


TEXTED = config_of(channels={"email": {"from": "a@acme.example"}, "sms": {}})


def due_texts(
    incident: Incident, *said: Said, now: datetime, silence: bool = False, early: int = 3
) -> dict[str, tuple[bool, str]]:
    history = History(
        releases=released(incident, len(incident.updates)),
        said=said,
        begun=frozenset((each.notice, each.channel) for each in said),
    )
    config = TEXTED
    if silence:
        config = config.model_copy(update={"silence": Silence.model_validate({"customers": "hold"})})
    lines = texts_due(incident, history, config, now, early=timedelta(minutes=early))
    return {line.notice.id: (line.is_due, line.reason) for line in lines}


def texted(number: int, *promised: int, notice: str = "", channel: Channel = Channel.SMS) -> Said:
    """Return an update's words, said when it was, that promise texts so many minutes after AT."""
    at = AT + timedelta(minutes=10 * (number - 1))
    by = tuple(AT + timedelta(minutes=minutes) for minutes in promised)
    return Said(notice or f"update:{number}", number, channel, "customers", at, min(by, default=None), by)


ONE, TWO = story(Status.INVESTIGATING), story(Status.INVESTIGATING, Status.IDENTIFIED)
FIRST, SECOND = "holding:2026-11-21T11:05:00Z/customers", "holding:2026-11-21T12:05:00Z/customers"


def test_newer_facts_go_shortly_before_the_promise() -> None:
    early, now = AT + timedelta(minutes=116), AT + timedelta(minutes=117)
    later = "the text promised by 12:05 goes out by itself shortly before"
    plan = "the text promised by 12:05, with the facts of update 2"
    assert due_texts(TWO, texted(1, 120), now=early) == {FIRST: (False, later)}
    assert due_texts(TWO, texted(1, 120), now=now) == {FIRST: (True, plan)}
    assert due_texts(TWO, texted(1, 120), now=now + HOUR) == {FIRST: (True, plan)}
    assert due_texts(TWO, texted(1, 120), now=early, early=5) == {FIRST: (True, plan)}


def test_old_facts_go_only_where_silence_may_be_held() -> None:
    now = AT + timedelta(minutes=118)
    (left,) = due_texts(ONE, texted(1, 120), now=now).values()
    assert left == (
        False,
        "nothing is new for the text promised by 12:05, and [silence] leaves that to a nudge",
    )
    (held,) = due_texts(ONE, texted(1, 120), now=now, silence=True).values()
    assert held == (True, "the text promised by 12:05: nothing is new since update 1")


def test_each_promise_is_kept_for_itself() -> None:
    """Two zones were promised two times; a text that keeps one leaves the other."""
    now = AT + timedelta(minutes=200)
    assert due_texts(TWO, texted(1, 120, 180), now=now).keys() == {FIRST, SECOND}
    kept = texted(2, 240, notice=FIRST)
    assert due_texts(TWO, texted(1, 120, 180), kept, now=now).keys() == {
        SECOND,
        "holding:2026-11-21T13:05:00Z/customers",
    }


def test_words_to_all_keep_every_promise_and_a_correction_only_of_those_it_reaches() -> None:
    now = AT + timedelta(minutes=200)
    assert due_texts(TWO, texted(1, 120), texted(2, 180), now=now).keys() == {SECOND}
    corrected = incident_of(TWO.update(1), TWO.update(2).model_copy(update={"corrects": (1,)}))
    assert due_texts(corrected, texted(1, 120), texted(2, 180), now=now).keys() == {FIRST, SECOND}


def test_where_some_who_wait_for_one_moment_know_less_than_others_it_tells_the_facts() -> None:
    """A correction went to some, and promised what the text before it had promised to all."""
    now = AT + timedelta(minutes=118)
    corrected = incident_of(TWO.update(1), TWO.update(2).model_copy(update={"corrects": (1,)}))
    (line,) = due_texts(corrected, texted(1, 120), texted(2, 120), now=now, silence=True).values()
    assert line == (True, "the text promised by 12:05, with the facts of update 2")
    (line,) = due_texts(TWO, texted(1, 120), texted(2, 120), now=now, silence=True).values()
    assert line == (True, "the text promised by 12:05: nothing is new since update 2")


def test_nothing_is_due_by_text_after_the_end_nor_to_who_gets_mail() -> None:
    now = AT + timedelta(minutes=200)
    assert due_texts(story(Status.INVESTIGATING, Status.RESOLVED), texted(1, 120), now=now) == {}
    assert due_texts(TWO, texted(1), now=now) == {}
    assert due_texts(TWO, texted(1, 120, channel=Channel.EMAIL), now=now) == {}


# Through the engine


def desk(folder: Path, *, sms: str = "", extra: str = "", severity: int = 1) -> Bench:
    write_desk(
        folder,
        customers=EVERYBODY,
        sms=sms,
        extra=f"[cadence.1]\nevery = '4h'\n[cadence.2]\nevery = '4h'\n{extra}",
    )
    text = (folder / "commcast.toml").read_text().replace("'4h'", '"20m"')
    (folder / "commcast.toml").write_text(text)
    write_incident(folder, severity=severity)
    return Bench(folder)


def texts_to(bench: Bench, who: str) -> list[str]:
    """Return the texts that somebody got, oldest first."""
    return [path.read_text() for path in bench.texts() if who in path.read_text()]


def ticks(bench: Bench, until: datetime, every: float = 1) -> None:
    while bench.now < until:
        bench.later(minutes=every)
        bench.tick()


def told_by_text(bench: Bench) -> list[tuple[str, str, datetime]]:
    return [
        (row.notice, row.address, row.changed_at)
        for row in bench.rows()
        if row.channel == "sms" and row.state == "accepted"
    ]


ANN, BOB = "+4915112345671", "+4915112345672"


def test_a_text_to_who_gets_no_mail_promises_the_next_text(tmp_path: Path) -> None:
    bench = desk(tmp_path)
    bench.send()
    assert "Updates by email." in texts_to(bench, ANN)[0]
    assert "Next text by 12:05 CET. https://status.acme.example" in texts_to(bench, BOB)[0]
    with bench.ledger.read() as connection:
        said = incident_history(connection, "pay7").said
    assert [each.text_promises for each in said if each.channel == "sms"] == [(START + 2 * HOUR,)]
    assert [each.text_promises for each in said if each.channel == "email"] == [(), ()]


def test_the_promised_text_tells_the_newest_facts_to_whom_it_was_promised(tmp_path: Path) -> None:
    bench = desk(tmp_path)
    bench.send()
    more = update_text(bench.later(minutes=30), status="identified", resolution="A fix is on its way.")
    write_incident(tmp_path, more=more)
    bench.send()
    assert len(told_by_text(bench)) == 2, "a plain update is not texted"
    ticks(bench, START + 2 * HOUR + timedelta(minutes=5))
    notice, address, at = told_by_text(bench)[-1]
    assert len(told_by_text(bench)) == 3
    assert (notice, address) == ("holding:2026-11-21T11:05:00Z/customers", BOB)
    assert START + 2 * HOUR - timedelta(minutes=3) <= at <= START + 2 * HOUR
    text = texts_to(bench, BOB)[-1]
    assert "IDENTIFIED: As of 10:35 CET." in text
    assert "Next text by 14:05 CET." in text


def updated(bench: Bench, at: datetime, **keys: str) -> None:
    """Append an update of a moment and send it."""
    bench.now = at
    with (bench.folder / "incidents" / "pay7.yaml").open("a") as file:
        file.write(update_text(at, **keys))
    bench.send()


def test_the_promised_text_says_no_change_only_to_who_knows_what_has_not_changed(tmp_path: Path) -> None:
    """What others heard by mail is news to who only gets texts, also where nothing was new since."""
    bench = desk(tmp_path, extra=SILENCE)
    bench.send()
    updated(bench, START + timedelta(minutes=15), status="identified", issue="A restart fails.")
    updated(bench, START + timedelta(minutes=30), nothing_new="the restart is at 60%")
    ticks(bench, START + 2 * HOUR)
    text = texts_to(bench, BOB)[-1]
    assert "IDENTIFIED: As of 10:35 CET. Latest: the restart is at 60%. A restart fails." in text
    assert "No change" not in text
    updated(bench, START + timedelta(minutes=150), nothing_new="the restart is at 90%")
    ticks(bench, START + 4 * HOUR)
    text = texts_to(bench, BOB)[-1]
    assert "As of 12:35 CET. No change since 10:20 CET: the restart is at 90%. A restart fails." in text
    ticks(bench, START + 6 * HOUR)
    text = texts_to(bench, BOB)[-1]
    assert "No change since 10:20 CET. Latest: the restart is at 90%. A restart fails." in text


def test_a_text_says_what_is_worse_only_once(tmp_path: Path) -> None:
    """A holding statement has nothing changed since the words before it, its severity included."""
    bench = desk(tmp_path, severity=2, extra=SILENCE)
    bench.send()
    updated(bench, START + timedelta(minutes=15), severity="1", nothing_new="we are still looking")
    assert "Worse than before. No change since 10:05 CET: we are still looking." in texts_to(bench, BOB)[-1]
    ticks(bench, START + timedelta(minutes=136))
    text = texts_to(bench, BOB)[-1]
    assert "No change since 10:05 CET. Latest: we are still looking." in text
    assert "Worse" not in text


def test_what_became_worse_says_no_change_only_to_who_knows_what_has_not_changed(tmp_path: Path) -> None:
    bench = desk(tmp_path, severity=2)
    bench.send()
    updated(bench, START + timedelta(minutes=10), issue="A restart fails.")
    updated(bench, START + timedelta(minutes=15), severity="1", nothing_new="the restart is at 60%")
    assert "Worse than before. Latest: the restart is at 60%." in texts_to(bench, BOB)[-1]


def test_where_nothing_is_new_silence_says_what_happens(tmp_path: Path) -> None:
    bench = desk(tmp_path)
    bench.send()
    ticks(bench, START + 4 * HOUR, every=3)
    assert len(told_by_text(bench)) == 2, "nobody may speak by itself"
    (tmp_path / "loud").mkdir()
    loud = desk(tmp_path / "loud", extra=SILENCE)
    loud.send()
    ticks(loud, START + 7 * HOUR, every=3)
    notices = [notice for notice, address, _ in told_by_text(loud) if address == BOB]
    assert len(notices) == 4
    assert "No change since 10:05 CET." in texts_to(loud, BOB)[1]
    assert [row for row in told_by_text(loud) if row[1] == ANN][1:] == [], "who gets mail hears by mail"


def test_a_broken_promise_of_a_text_is_owned(tmp_path: Path) -> None:
    bench = desk(tmp_path)
    bench.send()
    bench.later(hours=3)
    write_incident(tmp_path, more=update_text(bench.now, status="identified", resolution="A fix is here."))
    bench.send()
    text = texts_to(bench, BOB)[-1]
    assert "Later than we promised, 12:05 CET." in text
    assert "Next text by 15:05 CET." in text


def test_an_update_that_is_texted_keeps_the_promise(tmp_path: Path) -> None:
    bench = desk(tmp_path, severity=2)
    bench.send()
    write_incident(tmp_path, severity=2, more=update_text(bench.later(minutes=60), severity="1"))
    bench.send()
    ticks(bench, START + timedelta(hours=2, minutes=30), every=5)
    assert [notice for notice, who, _ in told_by_text(bench) if who == BOB] == ["update:1", "update:2"]


def test_the_end_ends_all_promises_of_texts(tmp_path: Path) -> None:
    bench = desk(tmp_path, extra=SILENCE)
    bench.send()
    end = update_text(bench.later(minutes=60), status="resolved", fixed="Rolled back.", remains="nothing")
    write_incident(tmp_path, more=end)
    bench.send()
    ticks(bench, START + 5 * HOUR, every=10)
    assert [notice for notice, who, _ in told_by_text(bench) if who == BOB] == ["update:1", "update:2"]
    assert "Next text" not in texts_to(bench, BOB)[-1]


def test_a_promise_that_would_fall_into_quiet_hours_moves_to_their_end_by_zone(tmp_path: Path) -> None:
    bench = desk(tmp_path, sms='quiet = "21:00-08:00"', severity=2)
    rows = [",+4915112345672,Bob,", ",+12025550123,Joe,America/New_York"]
    write_list(tmp_path, "customers", "email,phone,name,timezone", rows)
    bench.now = START + timedelta(hours=10, minutes=30)  # 20:35 in Berlin, 14:35 in New York
    write_incident(tmp_path, severity=2, at=bench.now)
    bench.send()
    assert "Next text by Sun 22 Nov 08:10 CET." in texts_to(bench, BOB)[0]
    assert "Next text by 16:35 EST." in texts_to(bench, "+12025550123")[0]
    with bench.ledger.read() as connection:
        said = [each for each in incident_history(connection, "pay7").said if each.channel == "sms"]
    assert said[0].text_promises == (
        datetime(2026, 11, 21, 21, 35, tzinfo=UTC),
        datetime(2026, 11, 22, 7, 10, tzinfo=UTC),
    )
    more = update_text(bench.later(minutes=15), status="identified", resolution="A fix is on its way.")
    write_incident(tmp_path, severity=2, at=START + timedelta(hours=10, minutes=30), more=more)
    bench.send()
    ticks(bench, datetime(2026, 11, 22, 7, 30, tzinfo=UTC), every=2)
    told = {
        (who, at.astimezone(UTC).strftime("%d %H:%M"))
        for notice, who, at in told_by_text(bench)
        if "holding" in notice
    }
    assert told == {("+12025550123", "21 21:32"), (BOB, "22 07:08")}


@pytest.mark.parametrize("level", ["key", "end"])
def test_who_wants_less_than_all_is_promised_no_time(tmp_path: Path, level: str) -> None:
    bench = desk(tmp_path, extra=SILENCE)
    rows = [f"kim@example.com,+4915112345673,Kim,{level}", f",+4915112345674,Kay,{level}"]
    write_list(tmp_path, "customers", "email,phone,name,level", rows)
    bench.send()
    ticks(bench, START + 5 * HOUR, every=10)
    more = update_text(bench.now, status="identified", resolution="A fix is on its way.")
    end = update_text(bench.later(minutes=5), status="resolved", fixed="Rolled back.", remains="nothing")
    write_incident(tmp_path, more=more + end)
    bench.send()
    got = sorted(
        row.notice for row in bench.rows() if row.audience == "customers" and row.state == "accepted"
    )
    # Kim by mail and text, Kay by text: the beginning where it is a key event, and the end.
    assert got == (["update:1"] * 3 if level == "key" else []) + ["update:3"] * 3
    kim = [path.read_text() for path in bench.mails() if "kim@example.com" in path.read_text()]
    assert len(kim) == (2 if level == "key" else 1)
    assert not any("Next update: by" in text for text in kim)
    for text in texts_to(bench, "+4915112345674"):
        assert "Next text" not in text


def test_a_text_held_for_the_night_promises_from_when_it_goes(tmp_path: Path) -> None:
    """Nobody wrote since; the holding statements by mail keep its facts true."""
    bench = desk(tmp_path, sms='quiet = "21:00-08:00"', extra=SILENCE, severity=2)
    bench.now = START + timedelta(hours=20)  # 06:05 in Berlin
    write_incident(tmp_path, severity=2, at=bench.now)
    bench.send()
    assert bench.texts() == []
    ticks(bench, datetime(2026, 11, 22, 7, 5, tzinfo=UTC))
    assert "Next text by 10:00 CET." in texts_to(bench, BOB)[0]
    assert "Updates by email." in texts_to(bench, ANN)[0]
    ticks(bench, datetime(2026, 11, 22, 9, 5, tzinfo=UTC))
    assert "No change since" in texts_to(bench, BOB)[1]


def test_a_text_held_for_the_night_counts_as_one_that_is_to_come(tmp_path: Path) -> None:
    bench = desk(tmp_path, sms='quiet = "21:00-08:00"', severity=2)
    bench.now = START + timedelta(hours=14)
    write_incident(tmp_path, severity=2, at=bench.now)
    bench.send()
    end = update_text(bench.later(minutes=30), status="resolved", fixed="Rolled back.", remains="nothing")
    write_incident(tmp_path, severity=2, at=START + timedelta(hours=14), more=end)
    bench.send()
    bench.now = datetime(2026, 11, 22, 7, 1, tzinfo=UTC)
    bench.tick()
    assert bench.texts() == [], "nobody is woken to what is over"
    assert {row.state.value for row in bench.rows() if row.channel == "sms"} <= {"skipped"}


def test_who_only_gets_texts_hears_that_nobody_confirmed_the_end_of_planned_work(tmp_path: Path) -> None:
    bench = desk(tmp_path)
    path = tmp_path / "incidents" / "db2.yaml"
    window = "window: {from: 2026-11-21T12:00Z, to: 2026-11-21T13:00Z}"
    path.write_text(
        "kind: maintenance\ntitle: Payment database moves\nseverity: 3\nowner: dana\n"
        f"audiences: [customers]\n{window}\nupdates:\n"
        "  - at: 2026-11-21T09:05Z\n    status: scheduled\n    issue: Cards pause for ten minutes.\n"
        "    resolution: We move the database.\n"
        "  - at: 2026-11-21T12:00Z\n    status: in_progress\n"
    )
    bench.now = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)
    bench.send("db2")
    assert "Next text by 14:00 CET." in texts_to(bench, BOB)[-1]
    ticks(bench, datetime(2026, 11, 21, 13, 5, tzinfo=UTC))
    text = texts_to(bench, BOB)[-1]
    assert "Planned end 14:00 CET is near, not confirmed yet that the work is complete." in text


EXPECTED = (
    "title: The provider works on its lines\nseverity: 3\nowner: dana\naudiences: [customers]\n"
    "expected_at: 2026-11-21T20:00Z\nupdates:\n"
    "  - at: 2026-11-21T09:05Z\n    status: expected\n    issue: Cards may fail for an hour.\n"
    "    resolution: We watch it.\n    timeframe: unknown\n"
)


def test_a_new_time_of_what_is_expected_is_texted_as_that_of_planned_work_is(tmp_path: Path) -> None:
    bench = desk(tmp_path)
    path = tmp_path / "incidents" / "exp.yaml"
    path.write_text(EXPECTED)
    bench.send("exp")
    more = update_text(bench.later(minutes=30), expected_at="2026-11-22T09:00Z")
    path.write_text(path.read_text() + more)
    bench.send("exp")
    assert "EXPECTED: From Sun 22 Nov 10:00 CET (was 21:00 CET)." in texts_to(bench, BOB)[-1]
    assert len(texts_to(bench, BOB)) == len(texts_to(bench, ANN)) == 2
    plain = update_text(bench.later(minutes=30), issue="Cards may fail for two hours.")
    path.write_text(path.read_text() + plain)
    bench.send("exp")
    assert len(texts_to(bench, BOB)) == 2, "what does not move it is plain"


def test_who_has_sms_for_other_events_only_is_not_texted_a_new_time(tmp_path: Path) -> None:
    bench = desk(tmp_path, sms='events = ["first", "retracted", "reopened", "resolved"]')
    path = tmp_path / "incidents" / "exp.yaml"
    path.write_text(EXPECTED)
    bench.send("exp")
    more = update_text(bench.later(minutes=30), expected_at="2026-11-22T09:00Z")
    path.write_text(path.read_text() + more)
    bench.send("exp")
    assert len(texts_to(bench, BOB)) == 1
