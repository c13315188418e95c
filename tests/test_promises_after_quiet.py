"""Texts promised for the end of quiet hours: they come in time, with what is newest, and promise anew."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from commcast.config.settings import SmsChannel
from commcast.ledger.oncall import record_tick
from commcast.operations.dry_run import foresee
from commcast.plan.promises import text_promise
from tests.support.desk import Bench, update_text, write_desk, write_incident, write_list
from tests.test_texts import BERLIN, SILENCE, texts_to, ticks

BOB, ANN, LIZ = "+4915112345672", "+4915112345671", "+442071234567"
EVENING = datetime(2026, 12, 4, 18, tzinfo=UTC)  # a Friday, 19:00 in Berlin
MORNING = datetime(2026, 12, 5, 7, tzinfo=UTC)  # 08:00 in Berlin
QUIET = 'quiet = "21:00-08:00"\nwake_for = [1]'
WORK = (
    "kind: maintenance\ntitle: Payment database moves\nseverity: 3\nowner: dana\naudiences: [customers]\n"
    "window: {from: 2026-12-05T00:30Z, to: 2026-12-05T02:30Z}\nupdates:\n"
    "  - at: 2026-12-04T11:00Z\n    status: scheduled\n    issue: Cards pause for ten minutes.\n"
    "    resolution: We move the database.\n"
)


def evening(folder: Path, *customers: str, extra: str = "", drift: int = 0) -> Bench:
    """Declare an incident of severity 3 at 19:00; `drift` is how many minutes ticks were apart before."""
    write_desk(folder, customers=customers or (f",{BOB},Bob",), sms=QUIET, extra=extra)
    write_incident(folder, severity=3, at=EVENING)
    path = folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text().replace("updates:", "audiences: [customers]\nupdates:", 1))
    bench = Bench(folder, EVENING)
    for passed in range(6 * drift, 0, -drift or -1):
        with bench.ledger.write() as connection:
            record_tick(connection, EVENING - timedelta(minutes=passed))
    bench.send()
    return bench


def say(bench: Bench, at: datetime, **keys: str) -> None:
    """Append an update of a moment to the incident and send it."""
    bench.now = at
    with (bench.folder / "incidents" / "pay7.yaml").open("a") as file:
        file.write(update_text(at, **keys))
    bench.send()


def sms_rows(bench: Bench) -> dict[str, tuple[str, str]]:
    """Return, by notice, what became of the one text of it."""
    return {row.notice: (row.state.value, row.reason) for row in bench.rows() if row.channel == "sms"}


def came(bench: Bench, who: str = BOB) -> list[datetime]:
    """Return when somebody's texts came."""
    return [
        row.changed_at.astimezone(UTC)
        for row in bench.rows()
        if row.channel == "sms" and row.address == who and row.state == "accepted"
    ]


@pytest.mark.parametrize("drift", [0, 10])
def test_where_ticks_are_ten_minutes_apart_the_morning_text_comes_in_time(tmp_path: Path, drift: int) -> None:
    """Also where nobody knew of it when the promise was made."""
    bench = evening(tmp_path, drift=drift)
    assert "Next text by Sat 5 Dec 08:10 CET" in texts_to(bench, BOB)[0]
    bench.now = EVENING + timedelta(minutes=7)
    ticks(bench, EVENING + timedelta(minutes=117), every=10)
    say(bench, EVENING + timedelta(minutes=118), issue="All cards fail")
    bench.now = EVENING + timedelta(minutes=117)
    ticks(bench, MORNING + timedelta(minutes=57), every=10)
    assert came(bench) == [EVENING, MORNING + timedelta(minutes=7)]
    text = texts_to(bench, BOB)[-1]
    assert "As of Fri 4 Dec 20:58 CET. All cards fail." in text
    assert "Later than we promised" not in text
    assert "Next text by Sat 5 Dec 10:10 CET" in text


def test_a_promise_after_quiet_hours_leaves_room_for_how_far_ticks_are_apart(tmp_path: Path) -> None:
    bench = evening(tmp_path, drift=14)
    assert "Next text by Sat 5 Dec 08:15 CET" in texts_to(bench, BOB)[0]
    sms = SmsChannel().model_copy(update={"quiet": (time(21), time(8))})
    for early, minute in [(3, 10), (10, 10), (11, 15), (30, 30)]:
        before = timedelta(minutes=early)
        for now in (MORNING - timedelta(hours=9), MORNING - timedelta(minutes=119)):
            promised = text_promise(now, sms, 3, BERLIN, now, early=before)
            assert promised == MORNING + timedelta(minutes=minute)


def test_who_waits_for_planned_work_at_night_hears_of_it_in_the_morning(tmp_path: Path) -> None:
    write_desk(tmp_path, customers=(f",{BOB},Bob",), sms=QUIET, extra='[tick]\nhold_before = "10m"')
    (tmp_path / "incidents" / "db2.yaml").write_text(WORK)
    bench = Bench(tmp_path, datetime(2026, 12, 4, 11, 0, 10, tzinfo=UTC))
    bench.send("db2")
    assert "Next text by Sat 5 Dec 08:10 CET" in texts_to(bench, BOB)[0]
    bench.now = MORNING - timedelta(minutes=20)
    ticks(bench, MORNING + timedelta(minutes=30))
    text = texts_to(bench, BOB)[-1]
    assert "Planned time Sat 5 Dec 01:30 to 03:30 CET has passed" in text
    assert "Next text by Sat 5 Dec 10:10 CET" in text
    assert [row for row in bench.rows("db2") if row.channel == "sms" and row.state == "skipped"] == []
    assert "Later than" not in text


@pytest.mark.parametrize("is_done", [True, False])
def test_what_is_said_of_planned_work_at_night_is_told_in_the_morning(tmp_path: Path, is_done: bool) -> None:
    """That it is complete, or that nobody said so by the time at which it was to end."""
    write_desk(tmp_path, customers=(f",{BOB},Bob",), sms=QUIET)
    path = tmp_path / "incidents" / "db2.yaml"
    path.write_text(WORK)
    bench = Bench(tmp_path, datetime(2026, 12, 4, 11, 0, 10, tzinfo=UTC))
    bench.send("db2")
    bench.now = datetime(2026, 12, 5, 0, 30, tzinfo=UTC)
    path.write_text(path.read_text() + update_text(bench.now, status="in_progress"))
    bench.send("db2")
    if is_done:
        more = update_text(bench.later(hours=1), status="completed", fixed="It has moved.", remains="nothing")
        path.write_text(path.read_text() + more)
        bench.send("db2")
    bench.now = MORNING - timedelta(minutes=3)
    ticks(bench, MORNING + timedelta(minutes=57), every=10)
    first, text = texts_to(bench, BOB)
    assert "Next text by Sat 5 Dec 08:10 CET" in first
    if is_done:
        assert "COMPLETED: Over" in text
    else:
        assert "Planned end 03:30 CET has passed, not confirmed yet" in text
        assert "Next text by 10:07 CET" in text


def slower(bench: Bench) -> None:
    """Ticks come farther apart than when the promise was made: its text falls due in quiet hours."""
    path = bench.folder / "commcast.toml"
    path.write_text(path.read_text() + '\n[tick]\nhold_before = "15m"\n')


@pytest.mark.parametrize("mail", ["", "ann@example.com"])
def test_a_promised_text_that_quiet_hours_hold_goes_with_what_is_newest_and_promises_anew(
    tmp_path: Path, mail: str
) -> None:
    bench = evening(tmp_path, f",{BOB},Bob", f"{mail},{ANN},Ann")
    say(bench, EVENING + timedelta(hours=1), issue="All cards fail")
    slower(bench)
    bench.now = MORNING - timedelta(minutes=5)
    bench.tick()
    assert {state for state, _ in sms_rows(bench).values()} == {"accepted", "held"}
    say(bench, MORNING - timedelta(minutes=2), issue="Half of all cards fail")
    bench.now = MORNING + timedelta(seconds=10)
    foreseen = [each.deliveries for each in foresee(bench.desk, bench.ledger).coming if each.channel == "sms"]
    assert foreseen == [1 if mail else 2]
    bench.tick()
    text = texts_to(bench, BOB)[-1]
    assert "As of 07:58 CET. Half of all cards fail." in text
    assert "Later than we promised" not in text
    assert "Next text by 10:10 CET" in text, "by the clock of that day"
    assert came(bench)[-1] == MORNING + timedelta(seconds=10)
    ticks(bench, MORNING + timedelta(hours=3))
    assert len(came(bench)) == 3, "and the new promise is kept"


def test_where_nothing_is_new_it_goes_as_a_holding_statement(tmp_path: Path) -> None:
    bench = evening(tmp_path, extra=f"{SILENCE}".replace("customers", "severities = [3]\ncustomers"))
    slower(bench)
    bench.now = MORNING - timedelta(minutes=5)
    bench.tick()
    bench.now = MORNING + timedelta(minutes=6)
    bench.tick()
    text = texts_to(bench, BOB)[-1]
    assert "No change since Fri 4 Dec 19:00 CET." in text
    assert "Next text by Sat 5 Dec 10:10 CET" in text


def test_readers_of_two_zones_are_each_told_after_their_own_night(tmp_path: Path) -> None:
    bench = evening(tmp_path)
    rows = [f",{BOB},Bob,", f",{LIZ},Liz,Europe/London"]
    write_list(tmp_path, "customers", "email,phone,name,timezone", rows)
    say(bench, EVENING + timedelta(minutes=75), severity="2", issue="All cards fail")
    assert "Next text by Sat 5 Dec 08:10 CET" in texts_to(bench, BOB)[-1]
    assert "Next text by Sat 5 Dec 08:10 GMT" in texts_to(bench, LIZ)[-1]
    say(bench, EVENING + timedelta(minutes=80), issue="Half of all cards fail")
    slower(bench)
    bench.now = MORNING - timedelta(minutes=9)
    ticks(bench, MORNING + timedelta(minutes=90), every=4)
    assert came(bench)[-1] == MORNING + timedelta(minutes=3)
    assert came(bench, LIZ)[-1] == MORNING + timedelta(minutes=63)
    text = texts_to(bench, LIZ)[-1]
    assert "As of Fri 4 Dec 19:20 GMT. Half of all cards fail." in text
    assert "Next text by Sat 5 Dec 10:10 GMT" in text


def test_after_the_end_a_held_promised_text_does_not_go(tmp_path: Path) -> None:
    bench = evening(tmp_path)
    say(bench, EVENING + timedelta(hours=1), issue="All cards fail")
    slower(bench)
    bench.now = MORNING - timedelta(minutes=5)
    bench.tick()
    say(bench, MORNING - timedelta(minutes=2), status="resolved", fixed="Rolled back.", remains="nothing")
    ticks(bench, MORNING + timedelta(hours=1), every=3)
    assert len(came(bench)) == 2
    assert "RESOLVED" in texts_to(bench, BOB)[-1]


@pytest.mark.parametrize("here", [True, False])
def test_what_became_worse_at_night_keeps_the_promise_in_the_morning(tmp_path: Path, here: bool) -> None:
    """Who waits for a text gets it, though nobody wrote since; also where others had it at once."""
    bench = evening(tmp_path)
    if not here:
        rows = [f",{BOB},Bob,", ",+12025550123,Joe,America/New_York"]
        write_list(tmp_path, "customers", "email,phone,name,timezone", rows)
    say(bench, EVENING + timedelta(hours=3), severity="2", issue="All cards fail")
    bench.now = MORNING - timedelta(minutes=3)
    ticks(bench, MORNING + timedelta(minutes=57), every=10)
    text = texts_to(bench, BOB)[-1]
    assert "As of Fri 4 Dec 22:00 CET. Worse than before. All cards fail." in text
    assert came(bench) == [EVENING, MORNING + timedelta(minutes=7)]
    assert "Later than we promised" not in text


def test_what_a_held_text_says_is_new_is_so_to_who_reads_it(tmp_path: Path) -> None:
    bench = evening(tmp_path)
    say(bench, EVENING + timedelta(hours=1), issue="All cards fail")
    say(bench, EVENING + timedelta(hours=3), severity="2", nothing_new="the restart is at 60%")
    bench.now = MORNING
    bench.tick()
    text = texts_to(bench, BOB)[-1]
    assert "Worse than before. Latest: the restart is at 60%. All cards fail." in text


def test_who_hears_first_in_the_morning_is_not_told_what_changed_at_night(tmp_path: Path) -> None:
    """The first text was held, and another took its place, before any of them went."""
    write_desk(tmp_path, customers=(f",{BOB},Bob",), sms=QUIET)
    at = MORNING - timedelta(hours=2)
    write_incident(tmp_path, severity=3, at=at)
    path = tmp_path / "incidents" / "pay7.yaml"
    path.write_text(path.read_text().replace("updates:", "audiences: [customers]\nupdates:", 1))
    bench = Bench(tmp_path, at)
    bench.send()
    say(bench, at + timedelta(minutes=90), severity="2", nothing_new="we are still looking")
    bench.now = MORNING
    bench.tick()
    (text,) = texts_to(bench, BOB)
    assert "INVESTIGATING: Latest: we are still looking. Some customers" in text
