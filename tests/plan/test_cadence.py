"""When: quiet hours where a reader is, and the promise of when readers hear from us again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from commcast.config.settings import Cadence
from commcast.model.history import ReaderHistory
from commcast.model.incident import Channel, Kind, Recipient, Status, Update, Window
from commcast.plan.cadence import GRACE, interval, lateness_faults, promise, promises
from commcast.plan.notices import NoticeKind, notice_of
from commcast.plan.readers import Action, decide
from commcast.plan.reminders import end_of_quiet
from tests.support.values import AT, READER, cases, config_of, incident_of, standing_of, story, update_of

S = Status
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CONFIG = config_of()
BERLIN = ZoneInfo("Europe/Berlin")

NIGHT = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)  # 03:00 in Berlin
QUIET = (time(21), time(8))


def held(
    recipient: Recipient = READER,
    severity: int = 2,
    channel: Channel = Channel.SMS,
    kind: NoticeKind = NoticeKind.UPDATE,
    **history: Any,
) -> datetime | None:
    incident = story(S.INVESTIGATING, severities=(severity,))
    of = notice_of(incident, incident.latest, channel, standing_of(incident, 1), CONFIG)
    of = replace(of, kind=kind)
    found = decide(recipient, of, ReaderHistory(**history), CONFIG, NIGHT)
    assert (found.action is Action.HOLD) == (found.until is not None) == (found.reason == "quiet hours")
    return found.until


def test_a_text_at_night_waits_for_the_morning_where_its_reader_is() -> None:
    """Not held are mails, news of the worst severity, and texts to readers who are skipped."""
    assert held() == datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
    assert held(READER._replace(timezone="America/New_York")) == datetime(2026, 11, 21, 13, 0, tzinfo=UTC)
    assert held(READER._replace(timezone="Asia/Tokyo")) is None
    assert held(channel=Channel.EMAIL) is None
    assert held(severity=1) is None
    for kind in (NoticeKind.HOLDING, NoticeKind.REMINDER):
        assert held(severity=1, kind=kind) == held(), "no news: it wakes nobody"
    assert held(suppressed="asked") is None


@cases("""
    start | end | loud              | quiet
    21    | 8   | 20:59:59 08:00:00 | 21:00:00 23:59:59 00:00:00 07:59:59
    12    | 13  | 11:59:59 13:00:00 | 12:00:00
    8     | 8   | 08:00:00          |
""")
def test_quiet_hours_hold_until_just_before_their_end(start: str, end: str, loud: str, quiet: str) -> None:
    for clock in f"{loud} {quiet}".split():
        now = datetime.fromisoformat(f"2026-11-21T{clock}+00:00")
        found = end_of_quiet(now, (time(int(start)), time(int(end))), ZoneInfo("UTC"))
        assert (found is not None) == (clock in quiet), clock


@cases("""
    zone                | nows                                               | ends
    Europe/Berlin       | 2026-03-28T22:00 2026-03-29T00:59 2026-03-29T01:00 | 2026-03-29T06:00
    Europe/Berlin       | 2026-10-24T22:00 2026-10-25T00:30 2026-10-25T01:30 | 2026-10-25T07:00
    America/New_York    | 2026-03-08T03:00 2026-03-08T07:00                  | 2026-03-08T12:00
    America/New_York    | 2026-11-01T05:30 2026-11-01T06:30                  | 2026-11-01T13:00
    Australia/Lord_Howe | 2026-04-04T11:00 2026-04-04T14:59                  | 2026-04-04T21:30
    Australia/Lord_Howe | 2026-10-03T12:00 2026-10-03T15:30                  | 2026-10-03T21:00
""")
def test_a_night_with_a_change_of_clocks_ends_at_eight_there(zone: str, nows: str, ends: str) -> None:
    """They change at 01:00 UTC in Berlin, at 07:00 or 06:00 in New York, and by half an hour in Lord Howe."""
    for now in nows.split():
        until = end_of_quiet(datetime.fromisoformat(f"{now}+00:00"), QUIET, ZoneInfo(zone))
        assert until == datetime.fromisoformat(f"{ends}+00:00")
        assert until.astimezone(ZoneInfo(zone)).time() == time(8)


def test_an_end_that_the_clock_leaves_out_is_later_by_as_much_and_one_that_comes_twice_is_the_first() -> None:
    quiet = (time(21), time(2, 30))
    until = end_of_quiet(datetime(2026, 3, 29, 0, 59, tzinfo=UTC), quiet, BERLIN)
    assert until == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)  # 03:30 there
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert end_of_quiet(first - MINUTE, quiet, BERLIN) == first
    assert {end_of_quiet(first + minutes * MINUTE, quiet, BERLIN) for minutes in (0, 29, 30, 60, 120)} == {
        None
    }


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("quiet", [QUIET, (time(21), time(2, 30)), (time(1, 30), time(2, 15))])
def test_a_hold_always_ends_later_and_within_a_day(zone: str, quiet: tuple[time, time]) -> None:
    """Every quarter of an hour around both changes of the clocks."""
    for month, day in [(3, 7), (3, 28), (4, 3), (10, 2), (10, 24), (10, 31)]:
        for quarter in range(3 * 24 * 4):
            now = datetime(2026, month, day, tzinfo=UTC) + 15 * quarter * MINUTE
            until = end_of_quiet(now, quiet, ZoneInfo(zone))
            assert until is None or now < until <= now + 13 * HOUR
            assert until is None or end_of_quiet(until, quiet, ZoneInfo(zone)) is None


PACE = Cadence.model_validate({"every": "20m", "after_2h": "60m", "after_1d": "4h", "board": "45m"})
WINDOW = Window(start=AT + 20 * HOUR, end=AT + 22 * HOUR)
LATE = WINDOW.start + 10 * MINUTE
SOON = AT + timedelta(seconds=40)


def test_all_but_an_end_promises_something() -> None:
    updates = [update_of(1, status) for status in S]
    ends = [each.status for each in updates if promise(PACE, incident_of(each), each, "customers") is None]
    assert {*ends} == {S.RESOLVED, S.RETRACTED, S.MERGED, S.COMPLETED, S.CANCELLED}


def test_the_pace_slows_with_age_and_is_never_faster_than_an_audiences_own() -> None:
    for hours, customers, board in ((0, 20, 45), (1.99, 20, 45), (2, 60, 60), (23.9, 60, 60), (24, 240, 240)):
        old = incident_of(update_of(1), started=AT - hours * HOUR)
        for name, minutes in (("customers", customers), ("board", board)):
            assert promise(PACE, old, old.latest, name) == AT + minutes * MINUTE
    seldom = Cadence.model_validate({"every": "20m", "after_2h": "60m", "board": "3h"})
    assert interval(seldom, old, old.latest, "board") == 3 * HOUR
    # Planned work that was announced two weeks before is young when it begins.
    begun = update_of(1, S.IN_PROGRESS, window=WINDOW, at=WINDOW.start)
    incident = incident_of(begun, kind=Kind.MAINTENANCE, started=AT - 14 * DAY)
    assert interval(PACE, incident, begun, "customers", at=WINDOW.end - 30 * MINUTE) == 20 * MINUTE
    assert interval(PACE, incident, begun, "customers", at=WINDOW.end) == 60 * MINUTE


def expected(at: datetime = AT + 5 * DAY, **more: Any) -> Update:
    return update_of(1, S.EXPECTED, expected_at=at, **more)


def planned(status: Status, window: Window = WINDOW, **more: Any) -> Update:
    return update_of(1, status, window=window, **more)


PROMISED: dict[str, tuple[Update, datetime]] = {
    "a writer's own may be sooner": (update_of(1, next_update=AT + 5 * MINUTE), AT + 5 * MINUTE),
    "or as late": (update_of(1, next_update=AT + 20 * MINUTE), AT + 20 * MINUTE),
    "and never later": (update_of(1, next_update=AT + 30 * MINUTE), AT + 20 * MINUTE),
    "but with a reason": (update_of(1, next_update=AT + DAY, because="Why."), AT + DAY),
    "no reason moves a window": (
        planned(S.SCHEDULED, next_update=AT + 3 * DAY, because="Why."),
        WINDOW.start + GRACE,
    ),
    "a full minute": (update_of(1, at=AT.replace(second=59, microsecond=999999)), AT + 20 * MINUTE),
    "after its update": (update_of(1, at=AT + timedelta(seconds=10), next_update=SOON), SOON),
    "soon after the start": (planned(S.SCHEDULED), WINDOW.start + GRACE),
    "soon after the new start": (planned(S.RESCHEDULED), WINDOW.start + GRACE),
    "soon after the end": (planned(S.IN_PROGRESS), WINDOW.end + GRACE),
    "soon after the new end": (planned(S.EXTENDED), WINDOW.end + GRACE),
    "soon after the end, still": (planned(S.VERIFYING), WINDOW.end + GRACE),
    "should have ended": (planned(S.VERIFYING, Window(start=AT - HOUR, end=AT)), AT + 20 * MINUTE),
    "should have begun": (planned(S.SCHEDULED, at=LATE), WINDOW.end + GRACE),
    "soon after when it should begin": (expected(), AT + 5 * DAY + GRACE),
    "as the writer says": (expected(next_update=AT + DAY), AT + DAY),
    "expected by now": (expected(AT), AT + 20 * MINUTE),
}


@pytest.mark.parametrize(("update", "by"), PROMISED.values(), ids=PROMISED.keys())
def test_what_is_promised(update: Update, by: datetime) -> None:
    """What is to come promises word then: nobody hears every twenty minutes that a storm is coming."""
    kind = Kind.MAINTENANCE if update.window else Kind.INCIDENT
    incident = incident_of(update, started=update.at, kind=kind)
    assert promise(PACE, incident, update, "customers") == by


def test_each_audience_has_its_own_promise_by_the_updates_own_severity() -> None:
    config = config_of(cadence={"1": {"every": "20m", "board": "45m"}})
    incident = story(S.INVESTIGATING)
    own = {"customers": AT + 20 * MINUTE, "support": AT + 20 * MINUTE, "board": AT + 45 * MINUTE}
    assert promises(config, incident, incident.latest) == own
    milder = story(S.INVESTIGATING, S.MONITORING, severities=(1, 4))
    assert promises(config_of(), milder, milder.latest)["customers"] == milder.latest.at + 24 * HOUR


WHY = "or add because: … (why readers wait so long)"
TOO_LATE = "next_update is later than the cadence of severity 1 allows", f"write 20m or less, {WHY}"
HAS_PASSED = "next_update 10:04 has passed (it was read as tomorrow)", f"write a new time, or 20m, {WHY}"


def test_a_promise_later_than_the_cadence_is_a_fault_but_of_what_was_released() -> None:
    """A clock time that has passed was read as tomorrow's; one still to come today is only too late."""
    for by, clock, said in (
        (21 * MINUTE, "", TOO_LATE),
        (24 * HOUR - MINUTE, "10:04", HAS_PASSED),
        (2 * HOUR, "12:05", TOO_LATE),
    ):
        [fault] = lateness_faults(CONFIG, incident_of(update_of(1, next_update=AT + by, next_clock=clock)))
        assert (fault.file, fault.line, fault.what, fault.remedy) == ("incidents/pay7.yaml", 6, *said)
    late = incident_of(*(update_of(n, next_update=AT + 9 * HOUR) for n in (1, 2)))
    assert [fault.line for fault in lateness_faults(CONFIG, late)] == [6, 7]
    assert [fault.line for fault in lateness_faults(CONFIG, late, {1})] == [7]
    in_time = update_of(1, next_update=AT + 20 * MINUTE)
    at_the_end = update_of(1, S.RESOLVED, next_update=AT + DAY)
    tomorrow = update_of(1, next_update=AT + DAY, because="The vendor works on it overnight.")
    for update in (update_of(1), in_time, at_the_end, tomorrow, planned(S.SCHEDULED, next_update=AT + DAY)):
        assert lateness_faults(CONFIG, incident_of(update)) == []
