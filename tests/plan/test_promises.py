"""What goes out by itself: holding statements, reminders of planned work, and promised texts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commcast.config.settings import Config, Maintenance, Silence, SmsChannel
from commcast.model.history import History, Said
from commcast.model.incident import Channel, Incident, Kind, Status, Update, Window
from commcast.plan.cadence import GRACE
from commcast.plan.due import due
from commcast.plan.notices import Due, NoticeKind
from commcast.plan.promises import AFTER_QUIET, hold_at, text_promise, texts_due
from commcast.plan.reminders import ahead, end_of_quiet, offset_of, reminders_due
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
        numbers = range(1, len(self.incident.updates) + 1)
        self.history = replace(self.history, releases=released(self.incident, *numbers))

    def write(self, now: datetime, status: Status = S.IDENTIFIED) -> None:
        number = len(self.incident.updates) + 1
        more = update_of(number, status, at=now)
        self.incident = self.incident.model_copy(update={"updates": (*self.incident.updates, more)})
        self.release()
        self.tick(now)

    def tick(self, now: datetime) -> list[Due]:
        lines = [line for line in due(self.incident, self.history, self.config, now) if line.is_due]
        for line in lines:
            self._say(line, now)
        return lines

    def _say(self, line: Due, now: datetime) -> None:
        notice, channel, before = line.notice, line.notice.channel, self.history
        promised = [(name, now, notice.next_update_by[name]) for name in notice.audiences]
        said = (*before.said, *(Said(notice.id, notice.number, channel, *each) for each in promised))
        self.log.append((now, line))
        begun, told = before.begun | {(notice.id, channel)}, {**before.told_up_to, channel: notice.number}
        self.history = replace(before, begun=begun, told_up_to=told, said=said)

    def mails(self, audience: str) -> list[Said]:
        own = (audience, Channel.EMAIL)
        return [each for each in self.history.said if (each.audience, each.channel) == own]


def begun(config: Config = HOLDS, incident: Incident | None = None) -> Told:
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


def test_the_plan_says_when_it_would_go_and_who_is_left_to_the_nudge() -> None:
    told = begun()
    found = due(told.incident, told.history, HOLDS, AT + MINUTE)
    (line,) = [each for each in found if each.from_]
    assert not line.is_due
    assert line.reason == "is sent automatically from 10:22 CET unless somebody posts first"
    left = [line.reason for line in found if line.notice.audiences == ("board",)]
    assert left == ["no holding statement, only a nudge (commcast.toml, [silence])"]
    told = begun(config_of(silence={"customers": "hold"}))
    assert [line.notice.audiences for line in told.tick(AT + 17 * MINUTE)] == [("customers",)]
    told.config = HOLDS  # a statement to those who were left has an id of its own
    (line,) = told.tick(AT + 18 * MINUTE)
    assert line.notice.id == "holding:2026-11-21T09:25:00Z:support"


def test_steps_grow_and_then_are_steady() -> None:
    told = begun()
    for minute in range(12 * 60):
        told.tick(AT + minute * MINUTE)
    promised = [said.promised for said in told.mails("customers") if said.promised]
    waits = [(later - earlier) / MINUTE for earlier, later in pairwise(promised)]
    assert waits[:4] == [20, 40, 60, 240]
    assert set(waits[3:]) == {240}


def test_nothing_is_said_by_itself_where_the_table_does_not_say_so_nor_after_the_end() -> None:
    ended = begun()
    ended.write(AT + 10 * MINUTE, S.RESOLVED)
    milder = begun(incident=story(S.INVESTIGATING, severities=(3,)))
    tables: tuple[dict[str, Any], ...] = (
        {},
        {"customers": "nudge"},
        {"customers": "hold", "severities": [2]},
    )
    silent = [begun(config_of()), *(begun(config_of(silence=each)) for each in tables), milder, ended]
    for minute in range(11, 190, 2):
        assert [told.tick(AT + minute * MINUTE) for told in silent] == [[]] * 6


def test_a_late_one_owns_the_promise_and_promises_from_now_and_none_goes_in_the_first_half() -> None:
    told, now = begun(), AT + timedelta(hours=3)
    (line,) = told.tick(now)
    assert line.notice.broken["customers"] == AT + EVERY
    assert line.notice.next_update_by["customers"] == now + 60 * MINUTE  # hourly after two hours
    assert told.tick(now) == []
    update = told.incident.latest
    assert hold_at(update, AT, AT + 4 * MINUTE, 3 * MINUTE) == AT + 2 * MINUTE
    assert hold_at(update, AT, AT + 20 * MINUTE, 17 * MINUTE) == AT + 10 * MINUTE


def test_the_window_of_a_planned_work_is_spoken_of_without_any_table_and_not_before_it_has_passed() -> None:
    told = begun(config_of(), story(S.SCHEDULED))
    window = told.incident.latest.window
    assert window is not None
    kinds = [
        [each.notice.kind for each in told.tick(window.start + late * MINUTE)] for late in (-3, 0, 11, 12)
    ]
    assert [found.count(NoticeKind.HOLDING) for found in kinds] == [0, 0, 0, 1]
    # Ticks that come every quarter of an hour speak early, but not of what has only just passed.
    assert hold_at(told.incident.latest, AT, window.start + GRACE, timedelta(hours=1)) > window.start


@settings(max_examples=40)
@given(
    gaps=st.lists(st.integers(1, 200) | st.just(1), min_size=1, max_size=60),
    writing=st.sets(st.integers(0, 59), max_size=6),
)
def test_whatever_happens(gaps: list[int], writing: set[int]) -> None:
    """No promise passes that a tick could keep; nothing twice; what is late is owned, and nothing else is.

    `gaps` are the minutes between ticks; at some of them a person writes, and takes over.
    """
    told, now = begun(), AT
    for number, gap in enumerate(gaps):
        now += gap * MINUTE
        before = {name: told.mails(name)[-1] for name in ("customers", "support")}
        told.write(now) if number in writing else told.tick(now)
        for name, last in before.items():
            assert last.promised is not None
            told_now = told.mails(name)[-1] is not last
            assert told_now or now < hold_at(told.incident.latest, last.at, last.promised, 3 * MINUTE)
            if told_now:
                line = next(line for at, line in reversed(told.log) if at == now)
                assert line.notice.broken.get(name) == (last.promised if last.promised < now else None)
            promised = told.mails(name)[-1].promised
            assert promised is None or promised > now
    ids = [(line.notice.id, line.notice.channel) for _, line in told.log]
    assert len(set(ids)) == len(ids)


def test_word_within_the_promised_minute_is_not_late_and_nothing_is_new_since_there_was_news() -> None:
    """By mail as by text: an update that said "nothing new" was none."""
    for seconds, late in ((42, set()), (60, {"board", "customers", "support"})):
        told = begun(config_of())
        told.write(AT + EVERY + timedelta(seconds=seconds))
        mails = [line.notice for _, line in told.log if line.notice.channel is Channel.EMAIL]
        assert set(mails[-1].broken) == late
    told = begun()
    quiet = update_of(2, S.INVESTIGATING, at=AT + 15 * MINUTE, nothing_new="The rollback is at 60%.")
    told.incident = told.incident.model_copy(update={"updates": (*told.incident.updates, quiet)})
    told.release()
    told.tick(AT + 15 * MINUTE)
    (line,) = told.tick(AT + 32 * MINUTE)
    assert {hold.since for hold in line.notice.holds.values()} == {AT}


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


def plan(of: Incident, now: datetime, config: Config = TEXTED, *begun: Any) -> dict[Channel, str]:
    lines = reminders_due(of, known(of, *begun), config, now)
    return {line.notice.channel: line.notice.id for line in lines if line.is_due}


def over_time(incident: Incident, channel: Channel, config: Config = TEXTED) -> list[tuple[str, timedelta]]:
    """Return each reminder, and how long before the start it goes, with a tick every five minutes."""
    begun: list[tuple[str, Channel]] = []
    found = []
    now = incident.updates[-1].at
    while now < START + 3 * HOUR:
        sent = plan(incident, now, config, *begun)
        if channel in sent:
            found.append((sent[channel], START - now))
            begun.append((sent[channel], channel))
        now += 5 * MINUTE
    return found


CLOSE = TEXTED.model_copy(update={"maintenance": Maintenance.model_construct(reminders=(2 * HOUR, HOUR))})
EVENING = 5 * HOUR + 30 * MINUTE  # 20:30 in Berlin of the evening before: half an hour before quiet hours
OFFSETS = {"1:7d": 7 * DAY, "1:1d": DAY, "1:1h": HOUR}
EVENINGS = {name: (left if left > HOUR else timedelta()) + EVENING for name, left in OFFSETS.items()}
NEXT_WEEK = Window(start=START + 7 * DAY, end=START + 7 * DAY + 2 * HOUR)
MOVED = planned(told(), told(2, S.RESCHEDULED, at=START - 3 * DAY, window=NEXT_WEEK))
OVER = (S.IN_PROGRESS, S.EXTENDED, S.VERIFYING, S.COMPLETED, S.CANCELLED)
EMAIL, TEXT = Channel.EMAIL, Channel.SMS
REMINDED: dict[str, tuple[Incident, Channel, Config, dict[str, timedelta]]] = {
    "by mail": (planned(told()), EMAIL, TEXTED, OFFSETS),
    "a text that would wake readers goes before their quiet hours": (planned(told()), TEXT, TEXTED, EVENINGS),
    "and no severity wakes for one": (planned(told(severity=1)), TEXT, TEXTED, EVENINGS),
    "two that meet before quiet hours are one": (planned(told()), TEXT, CLOSE, {"1:1h": EVENING}),
    "texted only where the folder asks for it": (planned(told()), TEXT, config_of(), {}),
    "only after the announcement": (planned(told(at=START - DAY)), EMAIL, TEXTED, {"1:1h": HOUR}),
    "an hour before": (planned(told(at=START - HOUR)), EMAIL, TEXTED, {}),
    "the old ones are gone": (MOVED, EMAIL, TEXTED, {"2:7d": timedelta()}),
    **{status: (planned(told(), told(2, status, at=START - 3 * HOUR)), EMAIL, TEXTED, {}) for status in OVER},
}


@pytest.mark.parametrize("name", REMINDED)
def test_a_week_a_day_and_an_hour_before_the_start(name: str) -> None:
    """Of what was announced before; nothing reminds of work that has begun, is over or has moved."""
    incident, channel, config, left = REMINDED[name]
    assert over_time(incident, channel, config) == [
        (f"reminder:{name}", length) for name, length in left.items()
    ]


def test_after_a_gap_only_the_newest_goes_and_none_past_the_start_or_at_night() -> None:
    incident = planned(told())
    assert plan(incident, START - 2 * DAY) == dict.fromkeys(Channel, "reminder:1:7d")
    assert plan(incident, START - 30 * MINUTE)[Channel.EMAIL] == "reminder:1:1h"
    assert plan(incident, START) == plan(incident, START + HOUR) == {}
    assert plan(MOVED, NEXT_WEEK.start - DAY)[Channel.EMAIL] == "reminder:2:1d"
    # The tick came after quiet hours had begun, and they last until after the start.
    lines = reminders_due(incident, known(incident), TEXTED, START - 4 * HOUR)
    texts = [(line.is_due, line.reason) for line in lines if line.notice.channel is Channel.SMS]
    assert texts == [(False, "quiet hours last until it would be too late for this reminder")]


def test_an_update_that_is_yet_to_go_says_it_all_and_what_is_no_planned_work_reminds_of_nothing() -> None:
    incident = planned(told())
    fresh = History(releases=known(incident).releases)
    lines = due(incident, fresh, TEXTED, START - 6 * DAY)
    assert {line.notice.id for line in lines if line.is_due} == {"update:1"}
    assert reminders_due(incident, History(), TEXTED, START - HOUR) == ()  # nobody released it
    plain = incident_of(update_of(1))
    assert reminders_due(plain, known(plain), TEXTED, START) == ()


def test_the_plan_holds_reminders_beside_updates_and_each_is_known_by_its_id() -> None:
    incident = planned(told())
    for offset in (7 * DAY, 36 * HOUR, 45 * MINUTE):
        config = config_of(maintenance={"reminders": [f"{int(offset.total_seconds() // 60)}m"]})
        line, *_ = reminders_due(incident, known(incident), config, START - offset)
        assert offset_of(line.notice.id) == offset
    lines: tuple[Due, ...] = due(incident, known(incident), TEXTED, START - HOUR)
    (line,) = [each for each in lines if each.notice.id.startswith("reminder") and each.is_due]
    assert line.notice.ahead == HOUR
    assert line.reason == "reminder, 1h before the start"
    assert not line.notice.events  # who wants key events only is not reminded
    assert line.notice.next_update_by["customers"] == START + GRACE


def test_readers_are_told_how_far_off_it_is_and_not_how_late_we_are() -> None:
    for left, said in (
        (24 * 60, 24 * 60),
        (1430, 24 * 60),
        (1250, 1260),
        (47, 45),
        (9.75, 10),
        (3, 3),
        (0.2, 1),
    ):
        assert ahead(WINDOW, DAY, START - left * MINUTE) == said * MINUTE


# Readers who only get texts are promised other times.
BERLIN = ZoneInfo("Europe/Berlin")
YEAR = datetime(2026, 3, 1, 0, 0, 17, tzinfo=UTC)
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "UTC")
MOMENTS = st.integers(0, 270 * 24 * 60).map(lambda minutes: YEAR + minutes * MINUTE)
NIGHT = (time(21), time(8))
QUIET = SmsChannel().model_copy(update={"quiet": NIGHT})


QUIETS = st.sampled_from([NIGHT, (time(12), time(13)), (time(0), time(23)), (time(8), time(7, 59))])


@given(MOMENTS, st.integers(1, 30 * 60), st.sampled_from(ZONES), st.integers(1, 600), QUIETS)
def test_a_text_never_promises_a_time_of_quiet_nor_one_too_soon(
    now: datetime, after: int, zone: str, every: int, quiet: tuple[time, time]
) -> None:
    sms = SmsChannel(quiet=None, only_sms_every=f"{every}m").model_copy(update={"quiet": quiet})
    by = now + after * MINUTE
    promised = text_promise(by, sms, ZoneInfo(zone), now)
    assert promised >= by
    assert promised > now + (every - 1) * MINUTE
    assert end_of_quiet(promised, quiet, ZoneInfo(zone)) is None


@given(now=MOMENTS, zone=st.sampled_from(ZONES))
def test_a_text_that_keeps_a_promise_goes_outside_of_quiet_hours_too(now: datetime, zone: str) -> None:
    promised = text_promise(now, QUIET, ZoneInfo(zone), now)
    assert end_of_quiet(promised - AFTER_QUIET, NIGHT, ZoneInfo(zone)) is None


def test_a_text_promises_the_plain_time_where_it_is_awaited_and_leaves_room_for_late_ticks() -> None:
    night = datetime(2026, 11, 21, 22, 0, 30, tzinfo=UTC)
    assert text_promise(night, QUIET, BERLIN, night) == datetime(2026, 11, 22, 7, 10, tzinfo=UTC)
    day, night = YEAR.replace(hour=12, second=0), YEAR.replace(hour=23, second=0)
    assert text_promise(day, QUIET, BERLIN, day - HOUR, is_awaited=True) == day
    by = night + timedelta(hours=8, minutes=10)
    assert text_promise(night, QUIET, BERLIN, night - HOUR, is_awaited=True) == by
    morning = datetime(2026, 12, 5, 7, tzinfo=UTC)  # 08:00 in Berlin
    for early, minute in ((3, 10), (10, 10), (11, 15), (30, 30)):
        for now in (morning - 9 * HOUR, morning - 119 * MINUTE):
            promised = text_promise(now, QUIET, BERLIN, now, early=early * MINUTE)
            assert promised == morning + minute * MINUTE


BY_TEXT = config_of(channels={"email": {"from": "a@acme.example"}, "sms": {}})
ONE, TWO = story(S.INVESTIGATING), story(S.INVESTIGATING, S.IDENTIFIED)
CORRECTED = incident_of(TWO.update(1), TWO.update(2).model_copy(update={"corrects": (1,)}))
FIRST, SECOND, THIRD = (f"holding:2026-11-21T{hour}:05:00Z/customers" for hour in (11, 12, 13))


def due_texts(
    incident: Incident, *said: Said, minute: int, silence: bool = False, early: int = 3
) -> dict[str, tuple[bool, str]]:
    begun = frozenset((each.notice, each.channel) for each in said)
    history = History(released(incident, len(incident.updates)), begun, said=said)
    holds = {"silence": Silence.model_validate({"customers": "hold"})} if silence else {}
    config = BY_TEXT.model_copy(update=holds)
    lines = texts_due(incident, history, config, AT + minute * MINUTE, early=early * MINUTE)
    return {line.notice.id: (line.is_due, line.reason) for line in lines}


def texted(number: int, *promised: int, notice: str = "", channel: Channel = Channel.SMS) -> Said:
    """Return an update's words, said when it was, that promise texts so many minutes after AT."""
    by = tuple(AT + minutes * MINUTE for minutes in promised)
    at = AT + 10 * (number - 1) * MINUTE
    return Said(notice or f"update:{number}", number, channel, "customers", at, min(by, default=None), by)


LATER = "the text promised by 12:05 is sent automatically shortly before"
FACTS = "the text promised by 12:05, with the facts of update 2"
LEFT = "nothing is new for the text promised by 12:05: only a nudge ([silence])"
OLD = "the text promised by 12:05: nothing is new since update"


def test_facts_go_shortly_before_the_promise_and_old_ones_only_where_silence_may_be_held() -> None:
    """A correction went to some, and promised what the text before it had promised to all."""
    two = [texted(1, 120), texted(2, 120)]
    for incident, said, minute, silence, early, reason in (
        *((TWO, two[:1], 116, False, 3, LATER), (TWO, two[:1], 117, False, 3, FACTS)),
        *((TWO, two[:1], 177, False, 3, FACTS), (TWO, two[:1], 116, False, 5, FACTS)),
        *((ONE, two[:1], 118, False, 3, LEFT), (ONE, two[:1], 118, True, 3, f"{OLD} 1")),
        *((CORRECTED, two, 118, True, 3, FACTS), (TWO, two, 118, True, 3, f"{OLD} 2")),
    ):
        is_due = reason == FACTS or (silence and "nothing is new" in reason)
        found = due_texts(incident, *said, minute=minute, silence=silence, early=early)
        assert list(found.values()) == [(is_due, reason)]


def test_each_promise_is_kept_for_itself() -> None:
    for incident, said, ids in (
        # Two zones were promised two times; a text that keeps one leaves the other.
        (TWO, [texted(1, 120, 180)], {FIRST, SECOND}),
        (TWO, [texted(1, 120, 180), texted(2, 240, notice=FIRST)], {SECOND, THIRD}),
        # Words to all keep every promise, a correction only of those it reaches.
        (TWO, [texted(1, 120), texted(2, 180)], {SECOND}),
        (CORRECTED, [texted(1, 120), texted(2, 180)], {FIRST, SECOND}),
        # Nothing is due after the end, without a promise, nor to readers who get mail.
        (story(S.INVESTIGATING, S.RESOLVED), [texted(1, 120)], set()),
        (TWO, [texted(1)], set()),
        (TWO, [texted(1, 120, channel=Channel.EMAIL)], set()),
    ):
        assert due_texts(incident, *said, minute=200).keys() == ids
