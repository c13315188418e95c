"""What goes out by itself: holding statements, until a person writes, and reminders of planned work."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commcast.config.settings import Config, Maintenance
from commcast.model.history import History, Said
from commcast.model.incident import Channel, Incident, Kind, Status, Update, Window
from commcast.plan.due import due
from commcast.plan.notices import Due, NoticeKind
from commcast.plan.promises import hold_at
from commcast.plan.reminders import ahead, offset_of, reminders_due
from tests.support.values import AT, config_of, incident_of, released, story, update_of

S = Status
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
HOLDS = config_of(silence={"customers": "hold", "support": "hold"})
EVERY = 20 * MINUTE


@dataclass
class Told:
    """An incident as it is told: each owed line is said at once, as a run does."""

    incident: Incident
    config: Config = HOLDS
    history: History = field(default_factory=History)
    log: list[tuple[datetime, Due]] = field(default_factory=list)

    def release(self) -> None:
        """Say yes to all that is written."""
        numbers = range(1, len(self.incident.updates) + 1)
        self.history = replace(self.history, releases=released(self.incident, *numbers))

    def write(self, now: datetime, status: Status = S.IDENTIFIED) -> None:
        """Append an update of this moment and release it."""
        number = len(self.incident.updates) + 1
        more = update_of(number, status, at=now)
        self.incident = self.incident.model_copy(update={"updates": (*self.incident.updates, more)})
        self.release()
        self.tick(now)

    def tick(self, now: datetime) -> list[Due]:
        """Say what is owed now."""
        lines = [line for line in due(self.incident, self.history, self.config, now) if line.is_due]
        for line in lines:
            self._say(line, now)
        return lines

    def _say(self, line: Due, now: datetime) -> None:
        notice, channel = line.notice, line.notice.channel
        said = [
            Said(notice.id, notice.number, channel, name, now, notice.next_update_by[name])
            for name in notice.audiences
        ]
        self.log.append((now, line))
        self.history = replace(
            self.history,
            begun=self.history.begun | {(notice.id, channel)},
            told_up_to={**self.history.told_up_to, channel: notice.number},
            said=(*self.history.said, *said),
        )

    def mails(self, audience: str) -> list[Said]:
        return [
            each for each in self.history.said if (each.audience, each.channel) == (audience, Channel.EMAIL)
        ]


def begun(config: Config = HOLDS, incident: Incident | None = None) -> Told:
    """Return an incident that was declared and told at AT."""
    told = Told(incident or story(S.INVESTIGATING), config)
    told.release()
    told.tick(AT)
    return told


def test_it_goes_shortly_before_the_promise_and_names_it() -> None:
    told = begun()
    assert told.tick(AT + 16 * MINUTE) == []
    (line,) = told.tick(AT + 17 * MINUTE)
    assert line.notice.id == "holding:2026-11-21T09:25:00Z"
    assert set(line.notice.audiences) == {"customers", "support"}
    assert line.notice.holds["customers"].since == AT
    assert line.notice.next_update_by["customers"] == AT + 2 * EVERY
    assert line.notice.broken == {}
    assert line.notice.only_told
    assert told.tick(AT + 18 * MINUTE) == []


def test_the_plan_says_when_it_would_go() -> None:
    told = begun()
    found = due(told.incident, told.history, HOLDS, AT + MINUTE)
    (line,) = [each for each in found if each.from_]
    assert not line.is_due
    assert line.reason == "goes out by itself from 10:22 CET if nobody writes before"
    left = [line.reason for line in found if line.notice.audiences == ("board",)]
    assert left == ["silence is left to the nudge (commcast.toml, [silence])"]


def test_a_statement_to_those_who_were_left_to_the_nudge_has_an_id_of_its_own() -> None:
    told = begun(config_of(silence={"customers": "hold"}))
    assert [line.notice.audiences for line in told.tick(AT + 17 * MINUTE)] == [("customers",)]
    told.config = HOLDS
    assert [line.notice.id for line in told.tick(AT + 18 * MINUTE)] == [
        "holding:2026-11-21T09:25:00Z:support"
    ]


def test_steps_grow_and_then_are_steady() -> None:
    told = begun()
    for minute in range(12 * 60):
        told.tick(AT + minute * MINUTE)
    promised = [said.promised for said in told.mails("customers") if said.promised]
    waits = [(later - earlier) / MINUTE for earlier, later in pairwise(promised)]
    assert waits[:4] == [20, 40, 60, 240]
    assert set(waits[3:]) == {240}


def ended() -> Told:
    told = begun()
    told.write(AT + 10 * MINUTE, S.RESOLVED)
    return told


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(begun(config_of()), id="no table"),
        pytest.param(begun(config_of(silence={})), id="an empty table"),
        pytest.param(begun(config_of(silence={"customers": "nudge"})), id="left to the nudge"),
        pytest.param(
            begun(config_of(silence={"customers": "hold", "severities": [2]})), id="another severity"
        ),
        pytest.param(begun(incident=story(S.INVESTIGATING, severities=(3,))), id="a milder incident"),
        pytest.param(ended(), id="after the end"),
    ],
)
def test_nothing_is_said_by_itself_where_the_table_does_not_say_so(told: Told) -> None:
    for minute in range(11, 190, 2):
        assert told.tick(AT + minute * MINUTE) == []


def test_a_late_one_owns_the_promise_and_promises_from_now() -> None:
    told = begun()
    now = AT + timedelta(hours=3)
    (line,) = told.tick(now)
    assert line.notice.broken["customers"] == AT + EVERY
    assert line.notice.next_update_by["customers"] == now + 60 * MINUTE  # hourly after two hours
    assert told.tick(now) == []


def test_never_in_the_first_half_of_the_wait() -> None:
    assert hold_at(AT, AT + 4 * MINUTE, 3 * MINUTE) == AT + 2 * MINUTE
    assert hold_at(AT, AT + 20 * MINUTE, 17 * MINUTE) == AT + 10 * MINUTE


def test_the_window_of_a_planned_work_is_spoken_of_without_any_table() -> None:
    told = begun(config_of(), story(S.SCHEDULED))
    window = told.incident.latest.window
    assert window is not None
    kinds = [[each.notice.kind for each in told.tick(window.start + late * MINUTE)] for late in (-10, 0)]
    assert [found.count(NoticeKind.HOLDING) for found in kinds] == [0, 1]


@st.composite
def nights(draw: st.DrawFn) -> tuple[list[int], set[int]]:
    """Return minutes between ticks, and at which ticks a person writes."""
    gaps = draw(st.lists(st.integers(1, 200), min_size=1, max_size=40))
    return gaps, draw(st.sets(st.integers(0, len(gaps) - 1), max_size=6))


@settings(max_examples=40)
@given(nights())
def test_whatever_happens(night: tuple[list[int], set[int]]) -> None:
    """No promise passes that a tick could keep; nothing twice; what is late is owned; a person takes over."""
    gaps, writing = night
    told, now = begun(), AT
    for number, gap in enumerate(gaps):
        earlier, now = now, now + gap * MINUTE
        before = {name: told.mails(name)[-1] for name in ("customers", "support")}
        told.write(now) if number in writing else told.tick(now)
        for name, last in before.items():
            assert last.promised is not None
            told_now = told.mails(name)[-1] is not last
            if now >= hold_at(last.at, last.promised, 3 * MINUTE):
                assert told_now
            if earlier <= last.promised < now and told_now:
                line = next(line for at, line in reversed(told.log) if at == now)
                assert line.notice.broken[name] == last.promised
            promised = told.mails(name)[-1].promised
            assert promised is None or promised > now
    ids = [(line.notice.id, line.notice.channel) for _, line in told.log]
    assert len(set(ids)) == len(ids)


@settings(max_examples=15)
@given(st.sets(st.integers(1, 300), max_size=8))
def test_with_a_tick_every_minute_no_promise_breaks(writing: set[int]) -> None:
    told = begun()
    for minute in range(1, 301):
        now = AT + minute * MINUTE
        told.write(now) if minute in writing else told.tick(now)
    for name in ("customers", "support"):
        said = told.mails(name)
        for last, new in pairwise(said):
            assert last.promised is None or new.at <= last.promised
    for _, line in told.log:
        assert not line.notice.broken.keys() & {"customers", "support"}


def test_word_within_the_promised_minute_is_not_called_late() -> None:
    told = begun(config_of())
    within = told.incident.latest.at + EVERY + timedelta(seconds=42)
    told.write(within)
    assert told.log[-1][1].notice.broken == {}
    late = begun(config_of())
    late.write(late.incident.latest.at + EVERY + timedelta(seconds=60))
    mails = [line.notice for _, line in late.log if line.notice.channel is Channel.EMAIL]
    assert set(mails[-1].broken) == {"board", "customers", "support"}


def test_since_when_nothing_is_new_is_when_there_was_news_last() -> None:
    """By mail as by text: an update that said "nothing new" was none."""
    told = begun()
    quiet = update_of(2, S.INVESTIGATING, at=AT + 15 * MINUTE, nothing_new="The rollback is at 60%.")
    told.incident = told.incident.model_copy(update={"updates": (*told.incident.updates, quiet)})
    told.release()
    told.tick(AT + 15 * MINUTE)
    (line,) = told.tick(AT + 32 * MINUTE)
    assert {hold.since for hold in line.notice.holds.values()} == {AT}


# --- reminders ----------------------------------------------------------------------------------------------

START = datetime(2026, 12, 5, 1, 0, tzinfo=UTC)  # 02:00 in Berlin
WINDOW = Window(start=START, end=START + 2 * HOUR)
ANNOUNCED = START - 14 * DAY
SMS = {"quiet": "21:00-08:00", "events": ["first", "reminder"]}
TEXTED = config_of(channels={"email": {"from": "status@acme.example"}, "sms": SMS})


def planned(*updates: Update) -> Incident:
    return incident_of(*updates, kind=Kind.MAINTENANCE, id="move1")


def told(number: int = 1, status: Status = S.SCHEDULED, at: datetime = ANNOUNCED, **more: Any) -> Update:
    return update_of(number, status, at=at, **{"severity": 2, "window": WINDOW, **more})


def known(incident: Incident, *begun: tuple[str, Channel]) -> History:
    """Return what is known where all was released when it was said, and broadcast."""
    numbers = range(1, len(incident.updates) + 1)
    releases = released(incident, *numbers)
    said = {number: releases[number]._replace(at=incident.update(number).at) for number in numbers}
    sent = {(f"update:{number}", channel) for number in numbers for channel in Channel}
    return History(said, frozenset({*sent, *begun}), dict.fromkeys(Channel, len(numbers)))


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
    while now < START + 3 * HOUR:
        sent = plan(incident, now, config, known(incident, *begun))
        if channel in sent:
            found.append((sent[channel], START - now))
            begun.append((sent[channel], channel))
        now += 5 * MINUTE
    return found


CLOSE = TEXTED.model_copy(update={"maintenance": Maintenance.model_construct(reminders=(2 * HOUR, HOUR))})
EVENING = 5 * HOUR + 30 * MINUTE  # 20:30 in Berlin of the evening before: half an hour before quiet hours


@pytest.mark.parametrize(
    ("severity", "channel", "config", "left"),
    [
        pytest.param(2, Channel.EMAIL, TEXTED, {"7d": 7 * DAY, "1d": DAY, "1h": HOUR}, id="by mail"),
        pytest.param(
            2,
            Channel.SMS,
            TEXTED,
            {"7d": 7 * DAY + EVENING, "1d": DAY + EVENING, "1h": EVENING},
            id="a text that would wake readers goes before their quiet hours",
        ),
        pytest.param(
            1, Channel.SMS, TEXTED, {"7d": 7 * DAY, "1d": DAY, "1h": HOUR}, id="a severity that wakes"
        ),
        pytest.param(2, Channel.SMS, CLOSE, {"1h": EVENING}, id="two that meet before quiet hours are one"),
        pytest.param(2, Channel.SMS, config_of(), {}, id="texted only where the folder asks for it"),
    ],
)
def test_a_week_a_day_and_an_hour_before_the_start(
    severity: int, channel: Channel, config: Config, left: dict[str, timedelta]
) -> None:
    found = over_time(planned(told(severity=severity)), channel, config)
    assert found == [(f"reminder:1:{name}", length) for name, length in left.items()]


@pytest.mark.parametrize(
    ("announced", "reminders"),
    [
        (3 * DAY, ["reminder:1:1d", "reminder:1:1h"]),
        (DAY, ["reminder:1:1h"]),
        (HOUR, []),
        (20 * MINUTE, []),
    ],
)
def test_only_what_comes_after_the_announcement_reminds(announced: timedelta, reminders: list[str]) -> None:
    incident = planned(told(at=START - announced))
    assert [name for name, _ in over_time(incident, Channel.EMAIL)] == reminders


def test_after_a_gap_only_the_newest_goes_and_none_past_the_start() -> None:
    incident = planned(told())
    assert plan(incident, START - 2 * DAY) == {
        Channel.EMAIL: "reminder:1:7d",
        Channel.SMS: "reminder:1:7d",
    }
    assert plan(incident, START - 30 * MINUTE)[Channel.EMAIL] == "reminder:1:1h"
    assert plan(incident, START) == {}
    assert plan(incident, START + HOUR) == {}


def test_a_text_that_missed_its_evening_does_not_wake_readers() -> None:
    """The tick came after quiet hours had begun, and they last until after the start."""
    lines = reminders_due(planned(told()), known(planned(told())), TEXTED, START - 4 * HOUR)
    texts = [line for line in lines if line.notice.channel is Channel.SMS]
    assert [(line.is_due, line.reason) for line in texts] == [
        (False, "quiet hours last until it would be too late for this reminder")
    ]


@pytest.mark.parametrize("status", [S.IN_PROGRESS, S.EXTENDED, S.VERIFYING, S.COMPLETED, S.CANCELLED])
def test_work_that_has_begun_or_is_over_reminds_of_nothing(status: Status) -> None:
    incident = planned(told(), told(2, status, at=START - 3 * HOUR))
    assert over_time(incident, Channel.EMAIL) == []


def test_after_a_move_the_old_reminders_are_gone() -> None:
    later = Window(start=START + 7 * DAY, end=START + 7 * DAY + 2 * HOUR)
    incident = planned(told(), told(2, S.RESCHEDULED, at=START - 3 * DAY, window=later))
    assert Channel.EMAIL not in plan(incident, START - HOUR)
    assert plan(incident, later.start - DAY)[Channel.EMAIL] == "reminder:2:1d"


def test_an_update_that_is_yet_to_go_says_it_all() -> None:
    incident = planned(told())
    fresh = History(releases=known(incident).releases)
    lines = due(incident, fresh, TEXTED, START - 6 * DAY)
    assert {line.notice.id for line in lines if line.is_due} == {"update:1"}


def test_nothing_is_owed_of_what_nobody_released_or_is_no_planned_work() -> None:
    assert reminders_due(planned(told()), History(), TEXTED, START - HOUR) == ()
    plain = incident_of(update_of(1))
    assert reminders_due(plain, known(plain), TEXTED, START) == ()


def test_the_plan_holds_reminders_beside_updates() -> None:
    incident = planned(told())
    lines: tuple[Due, ...] = due(incident, known(incident), TEXTED, START - HOUR)
    (line,) = [each for each in lines if each.notice.id.startswith("reminder") and each.is_due]
    assert line.notice.ahead == HOUR
    assert line.reason == "reminder, 1h before the start"
    assert not line.notice.events  # who wants key events only is not reminded
    assert line.notice.next_update_by["customers"] == START


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (DAY, DAY),
        (23 * HOUR + 50 * MINUTE, DAY),
        (20 * HOUR + 50 * MINUTE, 20 * HOUR),
        (47 * MINUTE, 45 * MINUTE),
        (3 * MINUTE, MINUTE),
    ],
)
def test_readers_are_told_how_far_off_it_is_and_not_how_late_we_are(left: timedelta, said: timedelta) -> None:
    assert ahead(WINDOW, DAY, START - left) == said


@pytest.mark.parametrize("offset", [7 * DAY, 36 * HOUR, 45 * MINUTE])
def test_a_reminder_is_known_by_its_id(offset: timedelta) -> None:
    config = config_of(maintenance={"reminders": [f"{int(offset.total_seconds() // 60)}m"]})
    (line,) = reminders_due(planned(told()), known(planned(told())), config, START - offset)[:1]
    assert offset_of(line.notice.id) == offset
