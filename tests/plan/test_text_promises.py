"""Readers who only get texts: which time a text promises, and which promised texts are due."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.config.settings import Silence, SmsChannel
from commcast.model.history import History, Said
from commcast.model.incident import Channel, Incident, Status
from commcast.plan.promises import AFTER_QUIET, text_promise, texts_due
from commcast.plan.reminders import end_of_quiet
from tests.support.values import AT, config_of, incident_of, released, story

BERLIN = ZoneInfo("Europe/Berlin")
YEAR = datetime(2026, 3, 1, 0, 0, 17, tzinfo=UTC)
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "UTC")
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
MOMENTS = st.integers(0, 270 * 24 * 60).map(lambda minutes: YEAR + minutes * MINUTE)
NIGHT = (time(21), time(8))
SMS = SmsChannel().model_copy(update={"quiet": NIGHT})


@given(
    now=MOMENTS,
    after=st.integers(1, 30 * 60),
    zone=st.sampled_from(ZONES),
    every=st.integers(1, 600),
    quiet=st.sampled_from([NIGHT, (time(12), time(13)), (time(0), time(23)), (time(8), time(7, 59))]),
)
def test_a_text_never_promises_a_time_of_quiet_nor_one_too_soon(
    now: datetime, after: int, zone: str, every: int, quiet: tuple[time, time]
) -> None:
    sms = SmsChannel(quiet=None, only_sms_every=f"{every}m").model_copy(update={"quiet": quiet})
    by = now + after * MINUTE
    promised = text_promise(by, sms, 2, ZoneInfo(zone), now)
    assert promised >= by
    assert promised > now + (every - 1) * MINUTE
    assert end_of_quiet(promised, quiet, ZoneInfo(zone)) is None


@given(now=MOMENTS, zone=st.sampled_from(ZONES))
def test_a_text_that_keeps_a_promise_goes_outside_of_quiet_hours_too(now: datetime, zone: str) -> None:
    promised = text_promise(now, SMS, 2, ZoneInfo(zone), now)
    assert end_of_quiet(promised - AFTER_QUIET, NIGHT, ZoneInfo(zone)) is None


def test_the_severities_that_wake_are_promised_the_plain_time() -> None:
    night = datetime(2026, 11, 21, 22, 0, 30, tzinfo=UTC)
    assert text_promise(night, SMS, 1, BERLIN, night) == datetime(2026, 11, 22, 0, 0, tzinfo=UTC)
    assert text_promise(night, SMS, 2, BERLIN, night) == datetime(2026, 11, 22, 7, 10, tzinfo=UTC)


def test_a_text_promises_the_very_start_and_end_of_planned_work() -> None:
    day, night = YEAR.replace(hour=12, second=0), YEAR.replace(hour=23, second=0)
    assert text_promise(day, SMS, 3, BERLIN, day - HOUR, is_awaited=True) == day
    by = night + timedelta(hours=8, minutes=10)
    assert text_promise(night, SMS, 3, BERLIN, night - HOUR, is_awaited=True) == by


@pytest.mark.parametrize(("early", "minute"), [(3, 10), (10, 10), (11, 15), (30, 30)])
def test_a_promise_after_quiet_hours_leaves_room_for_how_far_ticks_are_apart(early: int, minute: int) -> None:
    morning = datetime(2026, 12, 5, 7, tzinfo=UTC)  # 08:00 in Berlin
    for now in (morning - 9 * HOUR, morning - 119 * MINUTE):
        promised = text_promise(now, SMS, 3, BERLIN, now, early=early * MINUTE)
        assert promised == morning + minute * MINUTE


# Which promised texts are due

TEXTED = config_of(channels={"email": {"from": "a@acme.example"}, "sms": {}})
ONE, TWO = story(Status.INVESTIGATING), story(Status.INVESTIGATING, Status.IDENTIFIED)
CORRECTED = incident_of(TWO.update(1), TWO.update(2).model_copy(update={"corrects": (1,)}))
FIRST, SECOND = "holding:2026-11-21T11:05:00Z/customers", "holding:2026-11-21T12:05:00Z/customers"


def due_texts(
    incident: Incident, *said: Said, minute: int, silence: bool = False, early: int = 3
) -> dict[str, tuple[bool, str]]:
    history = History(
        releases=released(incident, len(incident.updates)),
        said=said,
        begun=frozenset((each.notice, each.channel) for each in said),
    )
    config = TEXTED
    if silence:
        config = config.model_copy(update={"silence": Silence.model_validate({"customers": "hold"})})
    lines = texts_due(incident, history, config, AT + minute * MINUTE, early=early * MINUTE)
    return {line.notice.id: (line.is_due, line.reason) for line in lines}


def texted(number: int, *promised: int, notice: str = "", channel: Channel = Channel.SMS) -> Said:
    """Return an update's words, said when it was, that promise texts so many minutes after AT."""
    by = tuple(AT + minutes * MINUTE for minutes in promised)
    at = AT + 10 * (number - 1) * MINUTE
    return Said(notice or f"update:{number}", number, channel, "customers", at, min(by, default=None), by)


FACTS = "the text promised by 12:05, with the facts of update 2"


@pytest.mark.parametrize(
    ("incident", "said", "minute", "silence", "early", "due"),
    [
        (
            TWO,
            [texted(1, 120)],
            116,
            False,
            3,
            "the text promised by 12:05 goes out by itself shortly before",
        ),
        (TWO, [texted(1, 120)], 117, False, 3, FACTS),
        (TWO, [texted(1, 120)], 177, False, 3, FACTS),
        (TWO, [texted(1, 120)], 116, False, 5, FACTS),
        (
            ONE,
            [texted(1, 120)],
            118,
            False,
            3,
            "nothing is new for the text promised by 12:05, and [silence] leaves that to a nudge",
        ),
        (ONE, [texted(1, 120)], 118, True, 3, "the text promised by 12:05: nothing is new since update 1"),
        # A correction went to some, and promised what the text before it had promised to all.
        (CORRECTED, [texted(1, 120), texted(2, 120)], 118, True, 3, FACTS),
        (
            TWO,
            [texted(1, 120), texted(2, 120)],
            118,
            True,
            3,
            "the text promised by 12:05: nothing is new since update 2",
        ),
    ],
)
def test_facts_go_shortly_before_the_promise_and_old_ones_only_where_silence_may_be_held(
    incident: Incident, said: list[Said], minute: int, silence: bool, early: int, due: str
) -> None:
    is_due = due == FACTS or (silence and "nothing is new" in due)
    found = due_texts(incident, *said, minute=minute, silence=silence, early=early)
    assert list(found.values()) == [(is_due, due)]


@pytest.mark.parametrize(
    ("incident", "said", "due"),
    [
        # Two zones were promised two times; a text that keeps one leaves the other.
        (TWO, [texted(1, 120, 180)], {FIRST, SECOND}),
        (
            TWO,
            [texted(1, 120, 180), texted(2, 240, notice=FIRST)],
            {SECOND, "holding:2026-11-21T13:05:00Z/customers"},
        ),
        # Words to all keep every promise, a correction only of those it reaches.
        (TWO, [texted(1, 120), texted(2, 180)], {SECOND}),
        (CORRECTED, [texted(1, 120), texted(2, 180)], {FIRST, SECOND}),
        # Nothing is due after the end, without a promise, nor to readers who get mail.
        (story(Status.INVESTIGATING, Status.RESOLVED), [texted(1, 120)], set()),
        (TWO, [texted(1)], set()),
        (TWO, [texted(1, 120, channel=Channel.EMAIL)], set()),
    ],
)
def test_each_promise_is_kept_for_itself(incident: Incident, said: list[Said], due: set[str]) -> None:
    assert due_texts(incident, *said, minute=200).keys() == due
