"""Levels: who hears what of all kinds of notices, and that nobody is promised what they will not hear."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.model.history import ReaderHistory
from commcast.model.incident import Channel, Level, NextWord, Status
from commcast.plan.notices import Notice, NoticeKind, notice_of
from commcast.plan.readers import Action, decide
from commcast.rendering.context import next_word
from tests.support.values import AT, READER, config_of, standing_of, story

S = Status
CONFIG = config_of(channels={"email": {"from": "a@acme.example"}, "sms": {}})
TOLD = ReaderHistory(told=True)
EVENTS = ("first", "worse", "correction", "retracted", "reopened", "resolved", "started")


def notice(*statuses: Status, severities: tuple[int, ...] = (), told: int = 0) -> Notice:
    incident = story(*statuses, severities=severities)
    history = standing_of(incident, len(statuses), told=told)
    return notice_of(incident, incident.latest, Channel.EMAIL, history, CONFIG)


def hears(level: Level, of: Notice, history: ReaderHistory = TOLD) -> bool:
    return decide(READER._replace(level=level), of, history, CONFIG, AT).action is Action.SEND


PLAIN = notice(S.INVESTIGATING, S.IDENTIFIED, told=1)
HOLD = replace(PLAIN, kind=NoticeKind.HOLDING, only_told=True)
REMINDER = replace(PLAIN, kind=NoticeKind.REMINDER)
WORSE = notice(S.INVESTIGATING, S.IDENTIFIED, severities=(3, 1), told=1)
STARTED = notice(S.SCHEDULED, S.IN_PROGRESS, told=1)
MOVED = notice(S.SCHEDULED, S.RESCHEDULED, told=1)
BACK = notice(S.INVESTIGATING, S.RESOLVED, S.REOPENED, told=2)
OVER = notice(S.INVESTIGATING, S.RESOLVED, told=1)
WITHDRAWN = notice(S.INVESTIGATING, S.RETRACTED, told=1)
CORRECTED = replace(PLAIN, events=frozenset({"correction"}), only_told=True)


@pytest.mark.parametrize(
    ("of", "key", "end"),
    [
        pytest.param(PLAIN, False, False, id="a plain update"),
        pytest.param(HOLD, False, False, id="a holding statement"),
        pytest.param(REMINDER, False, False, id="a reminder"),
        pytest.param(WORSE, True, False, id="worse"),
        pytest.param(STARTED, True, False, id="planned work starts"),
        pytest.param(MOVED, True, True, id="planned work moves, of which they were told"),
        pytest.param(CORRECTED, True, True, id="a correction of what they were told"),
        pytest.param(BACK, True, True, id="not over after all"),
        pytest.param(OVER, True, True, id="over"),
        pytest.param(WITHDRAWN, True, True, id="withdrawn"),
    ],
)
def test_who_was_told_hears_on_by_their_level(of: Notice, key: bool, end: bool) -> None:
    assert hears(Level.ALL, of)
    assert hears(Level.KEY, of) == key
    assert hears(Level.END, of) == end


def test_what_is_first_to_a_reader_is_a_key_event() -> None:
    assert hears(Level.KEY, PLAIN, ReaderHistory())
    assert not hears(Level.END, PLAIN, ReaderHistory())
    assert not hears(Level.KEY, replace(PLAIN, told_elsewhere=True), ReaderHistory()), "they may know it"


@given(
    events=st.frozensets(st.sampled_from(EVENTS)),
    kind=st.sampled_from([NoticeKind.UPDATE, NoticeKind.HOLDING, NoticeKind.REMINDER]),
    is_end=st.booleans(),
    told=st.booleans(),
)
def test_who_wants_less_hears_no_more_and_always_the_end(
    events: frozenset[str], kind: NoticeKind, is_end: bool, told: bool
) -> None:
    of = replace(PLAIN, events=events, kind=kind, is_end=is_end)
    history = ReaderHistory(told=told)
    if hears(Level.END, of, history) and told:
        assert hears(Level.KEY, of, history)
    if hears(Level.KEY, of, history):
        assert hears(Level.ALL, of, history)
    assert hears(Level.END, of, history) or not is_end


@given(level=st.sampled_from(list(Level)), channel=st.sampled_from(list(Channel)), by_email=st.booleans())
def test_a_time_is_promised_only_to_who_hears_every_update_there(
    level: Level, channel: Channel, by_email: bool
) -> None:
    word = next_word(level, channel, by_email=by_email)
    assert (word in {NextWord.UPDATE, NextWord.EMAIL}) == (level is Level.ALL)
    assert (word is NextWord.EMAIL) == (level is Level.ALL and channel is Channel.SMS and by_email)
