"""Reminders of planned work: which are due when, and which make no sense any more. Tables of the rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from commcast.config.settings import Config
from commcast.model.history import History
from commcast.model.incident import Channel, Incident, Kind, Status, Update, Window
from commcast.model.release import Release, digest
from commcast.plan.due import due
from commcast.plan.notices import Due
from commcast.plan.reminders import ahead, offset_of, reminders_due
from tests.support.values import config_of, incident_of, update_of

S = Status
START = datetime(2026, 12, 5, 1, 0, tzinfo=UTC)  # 02:00 in Berlin
WINDOW = Window(start=START, end=START + timedelta(hours=2))
ANNOUNCED = START - timedelta(days=14)
TEXTED = config_of(
    channels={
        "email": {"from": "status@acme.example"},
        "sms": {"quiet": "21:00-08:00", "events": ["first", "reminder"]},
    }
)


def planned(*updates: Update) -> Incident:
    return incident_of(*updates, kind=Kind.MAINTENANCE, id="move1")


def told(number: int = 1, status: Status = S.SCHEDULED, at: datetime = ANNOUNCED, **more: Any) -> Update:
    return update_of(number, status, at=at, **{"severity": 2, "window": WINDOW, **more})


def known(incident: Incident, *begun: tuple[str, Channel]) -> History:
    """Return what is known where all was released when it was said, and broadcast."""
    releases = {
        update.number: Release("move1", update.number, digest(incident, update), update.at, "yes", "dana")
        for update in incident.updates
    }
    sent = {(f"update:{number}", channel) for number in releases for channel in Channel}
    return History(
        releases=releases,
        begun=frozenset({*sent, *begun}),
        told_up_to=dict.fromkeys(Channel, len(incident.updates)),
    )


def plan(
    incident: Incident, now: datetime, config: Config = TEXTED, history: History | None = None
) -> dict[Channel, str]:
    """Return the id of the reminder that each channel owes."""
    lines = reminders_due(incident, history or known(incident), config, now)
    return {line.notice.channel: line.notice.id for line in lines if line.is_due}


def over_time(incident: Incident, channel: Channel, config: Config = TEXTED) -> list[tuple[str, timedelta]]:
    """Return each reminder, and how long before the start it goes, with a tick every five minutes."""
    begun: list[tuple[str, Channel]] = []
    found = []
    now = incident.updates[-1].at
    while now < START + timedelta(hours=3):
        sent = plan(incident, now, config, known(incident, *begun))
        if channel in sent:
            found.append((sent[channel], START - now))
            begun.append((sent[channel], channel))
        now += timedelta(minutes=5)
    return found


def test_a_week_a_day_and_an_hour_before_the_start_by_mail() -> None:
    assert over_time(planned(told()), Channel.EMAIL) == [
        ("reminder:1:7d", timedelta(days=7)),
        ("reminder:1:1d", timedelta(days=1)),
        ("reminder:1:1h", timedelta(hours=1)),
    ]


def test_a_text_that_would_wake_readers_goes_before_their_quiet_hours() -> None:
    """20:30 in Berlin of the evening before, and never past the start."""
    assert over_time(planned(told()), Channel.SMS) == [
        ("reminder:1:7d", timedelta(days=7, hours=5, minutes=30)),
        ("reminder:1:1d", timedelta(days=1, hours=5, minutes=30)),
        ("reminder:1:1h", timedelta(hours=5, minutes=30)),
    ]


def test_a_text_whose_severity_wakes_readers_goes_at_its_time() -> None:
    assert [left for _, left in over_time(planned(told(severity=1)), Channel.SMS)] == [
        timedelta(days=7),
        timedelta(days=1),
        timedelta(hours=1),
    ]


def test_two_that_meet_before_quiet_hours_are_one() -> None:
    """Two hours and one hour before 02:00 both move to 20:30: readers get one text."""
    close = TEXTED.model_copy(
        update={
            "maintenance": TEXTED.maintenance.model_copy(
                update={"reminders": (timedelta(hours=2), timedelta(hours=1))}
            )
        }
    )
    assert over_time(planned(told()), Channel.SMS, close) == [
        ("reminder:1:1h", timedelta(hours=5, minutes=30))
    ]


def test_reminders_are_texted_only_where_the_folder_asks_for_it() -> None:
    assert over_time(planned(told()), Channel.SMS, config_of()) == []


@pytest.mark.parametrize(
    ("announced", "reminders"),
    [
        (timedelta(days=3), ["reminder:1:1d", "reminder:1:1h"]),
        (timedelta(days=1), ["reminder:1:1h"]),
        (timedelta(hours=1), []),
        (timedelta(minutes=20), []),
    ],
)
def test_only_what_comes_after_the_announcement_reminds(announced: timedelta, reminders: list[str]) -> None:
    incident = planned(told(at=START - announced))
    assert [name for name, _ in over_time(incident, Channel.EMAIL)] == reminders


def test_after_a_gap_only_the_newest_goes_and_none_past_the_start() -> None:
    incident = planned(told())
    assert plan(incident, START - timedelta(days=2)) == {
        Channel.EMAIL: "reminder:1:7d",
        Channel.SMS: "reminder:1:7d",
    }
    assert plan(incident, START - timedelta(minutes=30))[Channel.EMAIL] == "reminder:1:1h"
    assert plan(incident, START) == {}
    assert plan(incident, START + timedelta(hours=1)) == {}


def test_a_text_that_missed_its_evening_does_not_wake_readers() -> None:
    """The tick came after quiet hours had begun, and they last until after the start."""
    lines = reminders_due(planned(told()), known(planned(told())), TEXTED, START - timedelta(hours=4))
    texts = [line for line in lines if line.notice.channel is Channel.SMS]
    assert [(line.is_due, line.reason) for line in texts] == [
        (False, "quiet hours last until it would be too late for this reminder")
    ]


@pytest.mark.parametrize("status", [S.IN_PROGRESS, S.EXTENDED, S.VERIFYING, S.COMPLETED, S.CANCELLED])
def test_work_that_has_begun_or_is_over_reminds_of_nothing(status: Status) -> None:
    incident = planned(told(), told(2, status, at=START - timedelta(hours=3)))
    assert over_time(incident, Channel.EMAIL) == []


def test_after_a_move_the_old_reminders_are_gone() -> None:
    later = Window(start=START + timedelta(days=7), end=START + timedelta(days=7, hours=2))
    incident = planned(told(), told(2, S.RESCHEDULED, at=START - timedelta(days=3), window=later))
    assert Channel.EMAIL not in plan(incident, START - timedelta(hours=1))
    assert plan(incident, later.start - timedelta(days=1))[Channel.EMAIL] == "reminder:2:1d"


def test_an_update_that_is_yet_to_go_says_it_all() -> None:
    incident = planned(told())
    fresh = History(releases=known(incident).releases)
    lines = due(incident, fresh, TEXTED, START - timedelta(days=6))
    assert {line.notice.id for line in lines if line.is_due} == {"update:1"}


def test_nothing_is_owed_of_what_nobody_released_or_is_no_planned_work() -> None:
    assert reminders_due(planned(told()), History(), TEXTED, START - timedelta(hours=1)) == ()
    plain = incident_of(update_of(1))
    assert reminders_due(plain, known(plain), TEXTED, START) == ()


def test_the_plan_holds_reminders_beside_updates() -> None:
    incident = planned(told())
    lines: tuple[Due, ...] = due(incident, known(incident), TEXTED, START - timedelta(hours=1))
    (line,) = [each for each in lines if each.notice.id.startswith("reminder") and each.is_due]
    assert line.notice.ahead == timedelta(hours=1)
    assert line.reason == "reminder, 1h before the start"
    assert not line.notice.events  # who wants key events only is not reminded
    assert line.notice.next_update_by["customers"] == START


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (timedelta(days=1), timedelta(days=1)),
        (timedelta(hours=23, minutes=50), timedelta(days=1)),
        (timedelta(hours=20, minutes=50), timedelta(hours=20)),
        (timedelta(minutes=47), timedelta(minutes=45)),
        (timedelta(minutes=3), timedelta(minutes=1)),
    ],
)
def test_readers_are_told_how_far_off_it_is_and_not_how_late_we_are(left: timedelta, said: timedelta) -> None:
    assert ahead(WINDOW, timedelta(days=1), START - left) == said


@pytest.mark.parametrize("offset", [timedelta(days=7), timedelta(hours=36), timedelta(minutes=45)])
def test_a_reminder_is_known_by_its_id(offset: timedelta) -> None:
    config = config_of(maintenance={"reminders": [f"{int(offset.total_seconds() // 60)}m"]})
    (line,) = reminders_due(planned(told()), known(planned(told())), config, START - offset)[:1]
    assert offset_of(line.notice.id) == offset
