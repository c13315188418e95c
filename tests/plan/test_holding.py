"""Holding statements: who gets one, when, what it promises, and that it yields to any word of a person."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commcast.config.settings import Config
from commcast.model.history import History, Said
from commcast.model.incident import Channel, Incident, Status
from commcast.plan.due import due
from commcast.plan.notices import Due, NoticeKind
from commcast.plan.promises import hold_at
from tests.support.values import AT, config_of, released, story, update_of

S = Status
MINUTE = timedelta(minutes=1)
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
            said for said in self.history.said if said.audience == audience and said.channel is Channel.EMAIL
        ]


def begun(config: Config = HOLDS) -> Told:
    """Return an incident that was declared and told at AT."""
    told = Told(story(S.INVESTIGATING), config)
    told.release()
    told.tick(AT)
    return told


def holds(told: Told) -> list[Due]:
    return [line for _, line in told.log if line.notice.kind is NoticeKind.HOLDING]


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


def test_steps_grow_and_then_are_steady() -> None:
    told = begun()
    for minute in range(12 * 60):
        told.tick(AT + minute * MINUTE)
    promised = [said.promised for said in told.mails("customers") if said.promised]
    waits = [(later - earlier) / MINUTE for earlier, later in pairwise(promised)]
    assert waits[:4] == [20, 40, 60, 240]
    assert set(waits[3:]) == {240}


@pytest.mark.parametrize(
    "silence", [None, {}, {"customers": "nudge"}, {"customers": "hold", "severities": [2]}]
)
def test_nothing_is_said_by_itself_where_the_table_does_not_say_so(silence: object) -> None:
    told = begun(config_of(silence=silence) if silence is not None else config_of())
    for minute in range(90):
        assert told.tick(AT + minute * MINUTE) == []


def test_a_milder_incident_is_left_to_the_nudge() -> None:
    told = Told(story(S.INVESTIGATING, severities=(3,)))
    told.release()
    told.tick(AT)
    for minute in range(0, 180, 5):
        assert told.tick(AT + minute * MINUTE) == []


def test_nothing_is_held_after_the_end() -> None:
    told = begun()
    told.write(AT + 10 * MINUTE, S.RESOLVED)
    for minute in range(11, 120):
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
    told = Told(story(S.SCHEDULED), config_of())
    told.release()
    told.tick(AT)
    window = told.incident.latest.window
    assert window is not None
    told.tick(window.start - 10 * MINUTE)
    assert holds(told) == []
    (line,) = [each for each in told.tick(window.start) if each.notice.kind is NoticeKind.HOLDING]
    assert line.notice.id.startswith("holding:")


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
