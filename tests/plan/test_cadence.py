"""When: quiet hours where a reader is, and the promise of when readers hear from us again."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from commcast.config.settings import Cadence
from commcast.model.history import ReaderHistory
from commcast.model.incident import Channel, Kind, Recipient, Status, Update, Window
from commcast.plan.cadence import interval, lateness_faults, promise, promises
from commcast.plan.notices import notice_of
from commcast.plan.readers import Action, decide
from commcast.plan.reminders import end_of_quiet
from tests.support.values import AT, READER, config_of, incident_of, standing_of, story, update_of

S = Status
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CONFIG = config_of()

# --- quiet hours, 21:00-08:00 -------------------------------------------------------------------------------

NIGHT = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)  # 03:00 in Berlin


def held(
    recipient: Recipient = READER, severity: int = 2, channel: Channel = Channel.SMS, **history: Any
) -> datetime | None:
    incident = story(S.INVESTIGATING, severities=(severity,))
    of = notice_of(incident, incident.latest, channel, standing_of(incident, 1), CONFIG)
    found = decide(recipient, of, ReaderHistory(**history), CONFIG, NIGHT)
    assert (found.action is Action.HOLD) == (found.until is not None) == (found.reason == "quiet hours")
    return found.until


def test_a_text_at_night_waits_for_the_morning_where_its_reader_is() -> None:
    assert held() == datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
    assert held(READER._replace(timezone="America/New_York")) == datetime(2026, 11, 21, 13, 0, tzinfo=UTC)
    assert held(READER._replace(timezone="Asia/Tokyo")) is None


def test_not_held_are_mails_the_worst_severity_and_whoever_is_skipped() -> None:
    assert held(channel=Channel.EMAIL) is None
    assert held(severity=1) is None
    assert held(suppressed="asked") is None


@pytest.mark.parametrize(
    ("hours", "clocks", "is_quiet"),
    [
        ((21, 8), ("20:59:59", "08:00:00", "12:00:00"), False),
        ((21, 8), ("21:00:00", "23:59:59", "00:00:00", "07:59:59"), True),
        ((12, 13), ("11:59:59", "13:00:00"), False),
        ((12, 13), ("12:00:00",), True),
        ((8, 8), ("08:00:00",), False),
    ],
)
def test_quiet_hours_hold_from_their_start_until_just_before_their_end(
    hours: tuple[int, int], clocks: tuple[str, ...], is_quiet: bool
) -> None:
    quiet = time(hours[0]), time(hours[1])
    for clock in clocks:
        now = datetime.fromisoformat(f"2026-11-21T{clock}+00:00")
        assert (end_of_quiet(now, quiet, ZoneInfo("UTC")) is not None) == is_quiet, clock


@pytest.mark.parametrize(
    ("zone", "now", "ends"),
    [
        # Berlin, the night an hour is left out (01:00 UTC) and the night one comes twice (01:00 UTC).
        ("Europe/Berlin", "2026-03-28T22:00", "2026-03-29T06:00"),
        ("Europe/Berlin", "2026-03-29T00:59", "2026-03-29T06:00"),
        ("Europe/Berlin", "2026-03-29T01:00", "2026-03-29T06:00"),
        ("Europe/Berlin", "2026-10-24T22:00", "2026-10-25T07:00"),
        ("Europe/Berlin", "2026-10-25T00:30", "2026-10-25T07:00"),
        ("Europe/Berlin", "2026-10-25T01:30", "2026-10-25T07:00"),
        # New York: 2026-03-08 07:00 UTC and 2026-11-01 06:00 UTC.
        ("America/New_York", "2026-03-08T03:00", "2026-03-08T12:00"),
        ("America/New_York", "2026-03-08T07:00", "2026-03-08T12:00"),
        ("America/New_York", "2026-11-01T05:30", "2026-11-01T13:00"),
        ("America/New_York", "2026-11-01T06:30", "2026-11-01T13:00"),
        # Lord Howe moves by half an hour: 2026-04-04 15:00 UTC and 2026-10-03 15:30 UTC.
        ("Australia/Lord_Howe", "2026-04-04T11:00", "2026-04-04T21:30"),
        ("Australia/Lord_Howe", "2026-04-04T14:59", "2026-04-04T21:30"),
        ("Australia/Lord_Howe", "2026-10-03T12:00", "2026-10-03T21:00"),
        ("Australia/Lord_Howe", "2026-10-03T15:30", "2026-10-03T21:00"),
    ],
)
def test_a_night_in_which_the_clocks_change_ends_at_eight_by_the_readers_clock(
    zone: str, now: str, ends: str
) -> None:
    at = datetime.fromisoformat(f"{now}+00:00")
    until = end_of_quiet(at, (time(21), time(8)), ZoneInfo(zone))
    assert until == datetime.fromisoformat(f"{ends}+00:00")
    assert until is not None
    assert until.astimezone(ZoneInfo(zone)).time() == time(8)


def test_an_end_that_the_clock_leaves_out_is_later_by_as_much() -> None:
    now = datetime(2026, 3, 29, 0, 59, tzinfo=UTC)
    until = end_of_quiet(now, (time(21), time(2, 30)), ZoneInfo("Europe/Berlin"))
    assert until == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)  # 03:30 there


def test_an_end_that_comes_twice_is_the_first() -> None:
    zone, quiet = ZoneInfo("Europe/Berlin"), (time(21), time(2, 30))
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert end_of_quiet(first - MINUTE, quiet, zone) == first
    for minutes in (0, 29, 30, 59, 60, 120):
        assert end_of_quiet(first + minutes * MINUTE, quiet, zone) is None


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("quiet", [(time(21), time(8)), (time(21), time(2, 30)), (time(1, 30), time(2, 15))])
def test_a_hold_always_ends_later_and_within_a_day(zone: str, quiet: tuple[time, time]) -> None:
    """Every quarter of an hour around both changes of the clocks."""
    for month, day in [(3, 7), (3, 28), (4, 3), (10, 2), (10, 24), (10, 31)]:
        check_days(datetime(2026, month, day, tzinfo=UTC), quiet, ZoneInfo(zone))


def check_days(first: datetime, quiet: tuple[time, time], zone: ZoneInfo) -> None:
    for quarter in range(3 * 24 * 4):
        now = first + timedelta(minutes=15 * quarter)
        until = end_of_quiet(now, quiet, zone)
        assert until is None or now < until <= now + 13 * HOUR
        assert until is None or end_of_quiet(until, quiet, zone) is None


# --- the promise: when readers hear from us again -----------------------------------------------------------

PACE = Cadence.model_validate({"every": "20m", "after_2h": "60m", "after_1d": "4h", "board": "45m"})
WINDOW = Window(start=AT + 20 * HOUR, end=AT + 22 * HOUR)


def minutes_promised(update: Update, audience: str = "customers", started_before: float = 0) -> float | None:
    incident = incident_of(update, started=update.at - started_before * HOUR)
    by = promise(PACE, incident, update, audience)
    return (by - update.at).total_seconds() / 60 if by else None


@pytest.mark.parametrize("status", list(Status))
def test_all_but_an_end_promises_something(status: Status) -> None:
    is_end = status in {S.RESOLVED, S.RETRACTED, S.MERGED, S.COMPLETED, S.CANCELLED}
    assert (minutes_promised(update_of(1, status)) is None) == is_end


@pytest.mark.parametrize(
    ("hours", "customers", "board"),
    [(0, 20, 45), (1.99, 20, 45), (2, 60, 60), (23.9, 60, 60), (24, 240, 240)],
)
def test_the_pace_slows_with_age_and_is_never_faster_than_an_audiences_own(
    hours: float, customers: int, board: int
) -> None:
    assert minutes_promised(update_of(1), "customers", hours) == customers
    assert minutes_promised(update_of(1), "board", hours) == board


def test_an_audience_that_hears_seldom_is_not_told_oftener_when_it_is_old() -> None:
    seldom = Cadence.model_validate({"every": "20m", "after_2h": "60m", "board": "3h"})
    old = incident_of(update_of(1), started=AT - 3 * HOUR)
    assert interval(seldom, old, old.latest, "board") == 3 * HOUR


@pytest.mark.parametrize(("minutes", "promised"), [(5, 5), (20, 20), (30, 20)])
def test_a_writers_own_promise_can_only_be_sooner(minutes: int, promised: int) -> None:
    update = update_of(1, next_update=AT + minutes * MINUTE)
    assert minutes_promised(update) == promised


def test_a_promise_is_a_full_minute_not_later_than_it_was() -> None:
    update = update_of(1, at=AT.replace(second=59, microsecond=999999))
    by = promise(PACE, incident_of(update), update, "customers")
    assert by == AT + 20 * MINUTE


def test_a_promise_of_seconds_stays_after_its_update() -> None:
    soon = AT + timedelta(seconds=40)
    update = update_of(1, at=AT + timedelta(seconds=10), next_update=soon)
    assert promise(PACE, incident_of(update), update, "customers") == soon


@pytest.mark.parametrize(
    ("status", "hours"),
    [(S.SCHEDULED, 20), (S.RESCHEDULED, 20), (S.IN_PROGRESS, 22), (S.EXTENDED, 22), (S.VERIFYING, 22)],
)
def test_a_maintenance_promises_its_window(status: Status, hours: int) -> None:
    update = update_of(1, status, window=WINDOW)
    incident = incident_of(update, kind=Kind.MAINTENANCE)
    assert promise(PACE, incident, update, "customers") == AT + hours * HOUR


def test_a_maintenance_that_lasts_longer_than_planned_keeps_the_cadence() -> None:
    over = update_of(1, S.VERIFYING, window=Window(start=AT - HOUR, end=AT))
    assert minutes_promised(over) == 20


def test_each_audience_has_its_own_promise() -> None:
    config = config_of(cadence={"1": {"every": "20m", "board": "45m"}})
    incident = story(S.INVESTIGATING)
    assert promises(config, incident, incident.latest) == {
        "customers": AT + 20 * MINUTE,
        "support": AT + 20 * MINUTE,
        "board": AT + 45 * MINUTE,
    }


def test_the_promise_is_that_of_the_updates_own_severity() -> None:
    milder = story(S.INVESTIGATING, S.MONITORING, severities=(1, 4))
    found = promises(config_of(), milder, milder.latest)
    assert found["customers"] == milder.latest.at + 24 * HOUR


TOO_LATE = "next_update is later than the cadence of severity 1 allows", "write 20m or less, or leave it out"
HAS_PASSED = "next_update 10:04 has passed (it was read as tomorrow)", "write a new time, or 20m"


@pytest.mark.parametrize(
    ("by", "clock", "said"),
    [(21 * MINUTE, "", TOO_LATE), (24 * HOUR - MINUTE, "10:04", HAS_PASSED), (2 * HOUR, "12:05", TOO_LATE)],
    ids=["later than the cadence", "a clock time that has passed", "one still to come today"],
)
def test_a_promise_later_than_the_cadence_is_a_fault(
    by: timedelta, clock: str, said: tuple[str, str]
) -> None:
    late = incident_of(update_of(1, next_update=AT + by, next_clock=clock))
    [fault] = lateness_faults(CONFIG, late)
    assert (fault.file, fault.line, fault.what, fault.remedy) == ("incidents/pay7.yaml", 6, *said)


@pytest.mark.parametrize(
    "update",
    [
        update_of(1),
        update_of(1, next_update=AT + 20 * MINUTE),
        update_of(1, S.RESOLVED, next_update=AT + DAY),
        update_of(1, S.SCHEDULED, next_update=AT + DAY, window=WINDOW),
    ],
    ids=["none", "in time", "at the end", "a maintenance"],
)
def test_what_is_no_fault(update: Update) -> None:
    assert lateness_faults(CONFIG, incident_of(update)) == []


def test_every_late_update_is_named_but_those_that_were_released() -> None:
    late = incident_of(*(update_of(n, next_update=AT + 9 * HOUR) for n in (1, 2)))
    assert [fault.line for fault in lateness_faults(CONFIG, late)] == [6, 7]
    assert [fault.line for fault in lateness_faults(CONFIG, late, {1})] == [7]


LATE = WINDOW.start + 10 * MINUTE
TO_COME = {
    "when it should begin": (update_of(1, S.EXPECTED, expected_at=AT + 5 * DAY), AT + 5 * DAY),
    "as the writer says": (
        update_of(1, S.EXPECTED, expected_at=AT + 5 * DAY, next_update=AT + DAY),
        AT + DAY,
    ),
    "expected by now": (update_of(1, S.EXPECTED, expected_at=AT), AT + 20 * MINUTE),
    "work that should have begun": (update_of(1, S.SCHEDULED, at=LATE, window=WINDOW), WINDOW.end),
}


@pytest.mark.parametrize(("update", "by"), TO_COME.values(), ids=TO_COME.keys())
def test_what_is_to_come_promises_word_then(update: Update, by: datetime) -> None:
    """Nobody hears every twenty minutes for five days that a storm is coming."""
    assert promise(PACE, incident_of(update), update, "customers") == by


def test_planned_work_is_young_when_it_begins() -> None:
    """It was announced two weeks before: the pace is that of what began just now."""
    begun = update_of(1, S.IN_PROGRESS, at=WINDOW.start, window=WINDOW)
    incident = incident_of(begun, kind=Kind.MAINTENANCE, started=AT - 14 * DAY)
    assert interval(PACE, incident, begun, "customers", at=WINDOW.end - 30 * MINUTE) == timedelta(minutes=20)
    assert interval(PACE, incident, begun, "customers", at=WINDOW.end) == 60 * MINUTE
