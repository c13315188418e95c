"""The promise: when readers hear from us again."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from commcast.config.settings import Cadence
from commcast.model.incident import Kind, Status, Update, Window
from commcast.plan.cadence import interval, lateness_faults, promise, promises
from tests.support.values import AT, config_of, incident_of, story, update_of

PACE = Cadence.model_validate({"every": "20m", "after_2h": "60m", "after_1d": "4h", "board": "45m"})
WINDOW = Window(start=AT + timedelta(hours=20), end=AT + timedelta(hours=22))


def minutes_promised(update: Update, audience: str = "customers", started_before: float = 0) -> float | None:
    incident = incident_of(update, started=update.at - timedelta(hours=started_before))
    by = promise(PACE, incident, update, audience)
    return (by - update.at).total_seconds() / 60 if by else None


@pytest.mark.parametrize("status", list(Status))
def test_all_but_an_end_promises_something(status: Status) -> None:
    is_end = status in {S.RESOLVED, S.RETRACTED, S.MERGED, S.COMPLETED, S.CANCELLED}
    assert (minutes_promised(update_of(1, status)) is None) == is_end


S = Status


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
    old = incident_of(update_of(1), started=AT - timedelta(hours=3))
    assert interval(seldom, old, old.latest, "board") == timedelta(hours=3)


@pytest.mark.parametrize(("minutes", "promised"), [(5, 5), (20, 20), (30, 20)])
def test_a_writers_own_promise_can_only_be_sooner(minutes: int, promised: int) -> None:
    update = update_of(1, next_update=AT + timedelta(minutes=minutes))
    assert minutes_promised(update) == promised


def test_a_promise_is_a_full_minute_not_later_than_it_was() -> None:
    update = update_of(1, at=AT.replace(second=59, microsecond=999999))
    by = promise(PACE, incident_of(update), update, "customers")
    assert by == AT + timedelta(minutes=20)


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
    assert promise(PACE, incident, update, "customers") == AT + timedelta(hours=hours)


def test_a_maintenance_that_lasts_longer_than_planned_keeps_the_cadence() -> None:
    over = update_of(1, S.VERIFYING, window=Window(start=AT - timedelta(hours=1), end=AT))
    assert minutes_promised(over) == 20


def test_each_audience_has_its_own_promise() -> None:
    config = config_of(cadence={"1": {"every": "20m", "board": "45m"}})
    incident = story(S.INVESTIGATING)
    assert promises(config, incident, incident.latest) == {
        "customers": AT + timedelta(minutes=20),
        "support": AT + timedelta(minutes=20),
        "board": AT + timedelta(minutes=45),
    }


def test_the_promise_is_that_of_the_updates_own_severity() -> None:
    milder = story(S.INVESTIGATING, S.MONITORING, severities=(1, 4))
    found = promises(config_of(), milder, milder.latest)
    assert found["customers"] == milder.latest.at + timedelta(hours=24)


def test_a_next_update_later_than_the_cadence_is_a_fault_with_what_to_write() -> None:
    late = incident_of(update_of(1, next_update=AT + timedelta(minutes=21)))
    [fault] = lateness_faults(config_of(), late)
    assert (fault.file, fault.line) == ("incidents/pay7.yaml", 6)
    assert "severity 1" in fault.what
    assert fault.remedy == "write 20m or less, or leave it out"


def test_a_clock_time_that_has_passed_is_said_to_have_passed() -> None:
    """It was read as tomorrow; "later than the cadence allows" tells nobody that a draft has grown old."""
    late = update_of(1, next_update=AT + timedelta(hours=23, minutes=59), next_clock="10:04")
    [fault] = lateness_faults(config_of(), incident_of(late))
    assert fault.what == "next_update 10:04 has passed (it was read as tomorrow)"
    assert fault.remedy == "write a new time, or 20m"


def test_a_clock_time_still_to_come_today_is_only_too_late() -> None:
    late = update_of(1, next_update=AT + timedelta(hours=2), next_clock="12:05")
    [fault] = lateness_faults(config_of(), incident_of(late))
    assert "later than the cadence" in fault.what


@pytest.mark.parametrize(
    "update",
    [
        update_of(1),
        update_of(1, next_update=AT + timedelta(minutes=20)),
        update_of(1, S.RESOLVED, next_update=AT + timedelta(days=1)),
        update_of(1, S.SCHEDULED, next_update=AT + timedelta(days=1), window=WINDOW),
    ],
    ids=["none", "in time", "at the end", "a maintenance"],
)
def test_what_is_no_fault(update: Update) -> None:
    assert lateness_faults(config_of(), incident_of(update)) == []


def test_every_late_update_is_named() -> None:
    late = [update_of(n, next_update=AT + timedelta(hours=9)) for n in (1, 2)]
    assert [fault.line for fault in lateness_faults(config_of(), incident_of(*late))] == [6, 7]


def test_what_is_expected_promises_word_when_it_is_to_begin() -> None:
    """Nobody hears every twenty minutes for five days that a storm is coming; a writer may promise more."""
    coming = AT + timedelta(days=5)
    assert promise_of(update_of(1, S.EXPECTED, expected_at=coming)) == coming
    sooner = update_of(1, S.EXPECTED, expected_at=coming, next_update=AT + timedelta(days=1))
    assert promise_of(sooner) == AT + timedelta(days=1)


def test_what_was_expected_by_now_is_spoken_of_at_the_cadence() -> None:
    assert promise_of(update_of(1, S.EXPECTED, expected_at=AT)) == AT + timedelta(minutes=20)


def test_work_that_should_have_begun_promises_word_at_its_end() -> None:
    """Somebody adds a word to planned work whose start nobody confirmed."""
    late = update_of(1, S.SCHEDULED, at=WINDOW.start + timedelta(minutes=10), window=WINDOW)
    assert promise_of(late) == WINDOW.end


def test_planned_work_is_young_when_it_begins() -> None:
    """It was announced two weeks before: the pace is that of what began just now."""
    begun = update_of(1, S.IN_PROGRESS, at=WINDOW.start, window=WINDOW)
    incident = incident_of(begun, kind=Kind.MAINTENANCE, started=AT - timedelta(days=14))
    assert interval(PACE, incident, begun, "customers", at=WINDOW.end - timedelta(minutes=30)) == timedelta(
        minutes=20
    )
    assert interval(PACE, incident, begun, "customers", at=WINDOW.end) == timedelta(minutes=60)


def promise_of(update: Update) -> datetime | None:
    return promise(PACE, incident_of(update), update, "customers")
