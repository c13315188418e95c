"""The plan: what is owed, to whom, and the reason for each line. Tables of the rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from commcast.model.history import History, ReaderHistory
from commcast.model.incident import Channel, Incident, Level, Recipient, Status, Window
from commcast.plan.due import due
from commcast.plan.notices import Due, Notice, audiences_of, notice_of
from commcast.plan.readers import Action, decide
from commcast.plan.reminders import end_of_quiet
from tests.support.values import AT, READER, config_of, incident_of, released, standing_of, story, update_of

S = Status
CONFIG = config_of()
LOUD = config_of(channels={"email": {"from": "status@acme.example"}, "sms": {}})
BEGUN = story(S.INVESTIGATING)
OVER = story(S.INVESTIGATING, S.RESOLVED)


def lines(
    incident: Incident, history: History, *, late: bool = False, now: datetime = AT
) -> dict[str, tuple[bool, str]]:
    found = due(incident, history, CONFIG, now, late=late)
    return {line.notice.channel.value: (line.is_due, line.reason) for line in found}


def notice(incident: Incident = BEGUN, channel: Channel = Channel.EMAIL, told: int = 0) -> Notice:
    history = standing_of(incident, len(incident.updates), told=told)
    return notice_of(incident, incident.latest, channel, history, CONFIG)


def decided(
    recipient: Recipient = READER, of: Notice | None = None, history: ReaderHistory | None = None
) -> tuple[str, str]:
    found = decide(recipient, of or notice(), history or ReaderHistory(), LOUD, AT)
    return found.action.value, found.reason


# What is owed of an incident


def test_nothing_is_owed_of_what_nobody_released() -> None:
    assert due(BEGUN, History(), CONFIG, AT) == ()


def test_a_release_of_an_update_that_left_the_file_owes_nothing() -> None:
    two = story(S.INVESTIGATING, S.IDENTIFIED)
    history = History(releases=released(two, 2))
    assert due(BEGUN, history, CONFIG, AT) == ()


def test_the_first_update_is_owed_on_each_channel_that_an_audience_uses() -> None:
    assert lines(BEGUN, standing_of(BEGUN, 1)) == {
        "email": (True, "update 1, first"),
        "sms": (True, "update 1, first"),
    }


def test_a_channel_that_no_audience_uses_has_no_line() -> None:
    mild = story(S.INVESTIGATING, severities=(3,))
    assert lines(mild, standing_of(mild, 1)) == {"email": (True, "update 1, first")}


def test_only_the_newest_released_update_is_owed() -> None:
    three = story(S.INVESTIGATING, S.IDENTIFIED, S.MONITORING)
    found = due(three, standing_of(three, 1, 2), CONFIG, AT)
    assert {line.notice.id for line in found} == {"update:2"}


@pytest.mark.parametrize(
    ("begun", "reason"),
    [
        (
            {("update:2", Channel.EMAIL)},
            {"email": (False, "already sent"), "sms": (True, "update 2, resolved")},
        ),
        (
            {("update:2", Channel.SMS)},
            {"email": (True, "update 2, resolved"), "sms": (False, "already sent")},
        ),
        (
            {("update:1", Channel.SMS)},
            {"email": (True, "update 2, resolved"), "sms": (True, "update 2, resolved")},
        ),
    ],
)
def test_what_was_begun_on_a_channel_is_not_owed_there_again(
    begun: set[tuple[str, Channel]], reason: dict[str, tuple[bool, str]]
) -> None:
    assert lines(OVER, standing_of(OVER, 1, 2, told=1, begun=frozenset(begun))) == reason


def test_what_was_told_before_this_ledger_is_not_told_by_it() -> None:
    said = (False, "told elsewhere, before this ledger")
    assert lines(BEGUN, standing_of(BEGUN, 1, how="elsewhere")) == {"email": said, "sms": said}


def test_what_follows_old_history_is_owed_and_is_no_first() -> None:
    releases = released(OVER, 1, how="elsewhere") | released(OVER, 2)
    found = due(OVER, History(releases=releases), CONFIG, AT)
    assert [line.reason for line in found] == ["update 2, resolved", "update 2, resolved"]
    assert all(line.notice.told_elsewhere for line in found)


def test_a_plain_update_is_mailed_and_not_texted() -> None:
    plain = story(S.INVESTIGATING, S.IDENTIFIED)
    assert lines(plain, standing_of(plain, 1, 2, told=1)) == {
        "email": (True, "update 2, released"),
        "sms": (False, "a plain update does not go by SMS"),
    }


def test_an_event_that_is_not_wanted_by_text_is_only_mailed() -> None:
    config = config_of(channels={"email": {"from": "a@acme.example"}, "sms": {"events": ["first"]}})
    found = due(OVER, standing_of(OVER, 1, 2, told=1), config, AT)
    assert [(line.notice.channel, line.is_due) for line in found] == [
        (Channel.EMAIL, True),
        (Channel.SMS, False),
    ]


def test_an_update_older_than_its_own_promise_is_stale_unless_sent_late() -> None:
    """Severity 1 promises word every 20 minutes."""
    history = standing_of(BEGUN, 1)
    just_in_time = AT + timedelta(minutes=20, microseconds=-1)
    assert lines(BEGUN, history, now=just_in_time)["email"][0]
    stale = lines(BEGUN, history, now=AT + timedelta(minutes=20))
    assert stale["email"] == (False, "older than its own promise; send it all the same with --late")
    assert lines(BEGUN, history, now=AT + timedelta(days=3), late=True)["email"][0]


def test_an_update_is_stale_only_once_every_audience_waits_in_vain() -> None:
    config = config_of(cadence={"1": {"every": "20m", "support": "60m"}})
    history = standing_of(BEGUN, 1)
    found = {d.notice.channel: d.is_due for d in due(BEGUN, history, config, AT + timedelta(minutes=30))}
    assert found == {Channel.EMAIL: True, Channel.SMS: False}


def test_an_end_promises_nothing_and_is_never_stale() -> None:
    assert lines(OVER, standing_of(OVER, 1, 2, told=1), now=AT + timedelta(days=9))["email"][0]


# Events


@pytest.mark.parametrize(
    ("statuses", "told", "events"),
    [
        ((S.INVESTIGATING,), 0, {"first"}),
        ((S.INVESTIGATING, S.IDENTIFIED), 0, {"first"}),
        ((S.INVESTIGATING, S.IDENTIFIED), 1, set()),
        ((S.INVESTIGATING, S.RESOLVED), 1, {"resolved"}),
        ((S.INVESTIGATING, S.RESOLVED), 0, {"first", "resolved"}),
        ((S.INVESTIGATING, S.RETRACTED), 1, {"retracted"}),
        ((S.INVESTIGATING, S.MERGED), 1, {"resolved"}),
        ((S.INVESTIGATING, S.RESOLVED, S.REOPENED), 2, {"reopened"}),
        ((S.INVESTIGATING, S.RESOLVED, S.REOPENED), 1, {"resolved", "reopened"}),
        ((S.INVESTIGATING, S.IDENTIFIED, S.MONITORING), 2, set()),
        ((S.SCHEDULED, S.IN_PROGRESS), 1, {"started"}),
        ((S.SCHEDULED, S.RESCHEDULED), 1, {"correction"}),
        ((S.SCHEDULED, S.CANCELLED), 1, {"retracted"}),
        ((S.SCHEDULED, S.IN_PROGRESS, S.EXTENDED), 2, set()),
        ((S.SCHEDULED, S.IN_PROGRESS, S.COMPLETED), 2, {"resolved"}),
    ],
)
def test_events_are_what_is_new_since_a_channel_last_spoke(
    statuses: tuple[Status, ...], told: int, events: set[str]
) -> None:
    assert notice(story(*statuses), told=told).events == events


@pytest.mark.parametrize(
    ("statuses", "event"),
    [
        ((S.INVESTIGATING, S.RESOLVED, S.REOPENED), "reopened"),
        ((S.SCHEDULED, S.IN_PROGRESS), "started"),
        ((S.SCHEDULED, S.RESCHEDULED), "correction"),
    ],
)
def test_what_only_stays_as_it_was_is_no_event_again(statuses: tuple[Status, ...], event: str) -> None:
    stays = story(*statuses, statuses[-1])
    assert notice(stays, told=len(statuses)).events == set()
    assert notice(stays, told=len(statuses) - 1).events == {event}


def test_a_window_that_moves_once_more_is_an_event_once_more() -> None:
    moved = story(S.SCHEDULED, S.RESCHEDULED, S.RESCHEDULED)
    later = Window(start=AT + timedelta(days=3), end=AT + timedelta(days=3, hours=2))
    again = update_of(3, S.RESCHEDULED, window=later)
    moved = incident_of(*moved.updates[:2], again, kind=moved.kind)
    assert notice(moved, told=2).events == {"correction"}


@pytest.mark.parametrize(
    ("severities", "told", "events"),
    [
        ((3, 2), 1, {"worse"}),
        ((2, 3), 1, set()),
        ((2, 2), 1, set()),
        ((3, 2, 2), 1, {"worse"}),
        ((3, 2, 2), 2, set()),
        ((2, 1, 2), 1, set()),
        ((3, 2), 0, {"first"}),
    ],
)
def test_worse_is_measured_against_what_was_last_said(
    severities: tuple[int, ...], told: int, events: set[str]
) -> None:
    statuses = [S.INVESTIGATING, *[S.IDENTIFIED] * (len(severities) - 1)]
    assert notice(story(*statuses, severities=severities), told=told).events == events


# Audiences


def test_the_best_rank_comes_first_and_names_break_ties() -> None:
    assert audiences_of(BEGUN, BEGUN.latest, CONFIG) == ("board", "support", "customers")


def test_who_heard_of_it_stays_when_it_becomes_milder() -> None:
    milder = story(S.INVESTIGATING, S.MONITORING, severities=(1, 4))
    assert audiences_of(milder, milder.latest, CONFIG) == ("board", "support", "customers")
    assert audiences_of(milder, milder.update(1), CONFIG) == ("board", "support", "customers")


def test_who_did_not_hear_of_it_joins_when_it_becomes_worse() -> None:
    worse = story(S.INVESTIGATING, S.MONITORING, severities=(4, 2))
    assert audiences_of(worse, worse.update(1), CONFIG) == ("support",)
    assert audiences_of(worse, worse.update(2), CONFIG) == ("support", "customers")


def test_audiences_that_an_update_names_are_the_ones() -> None:
    named = incident_of(update_of(1, audiences=("customers",)))
    assert audiences_of(named, named.latest, CONFIG) == ("customers",)


# What is done for one reader


def test_a_reader_of_the_first_update_is_sent_it() -> None:
    assert decided() == ("send", "")


@pytest.mark.parametrize(
    ("recipient", "of", "history", "reason"),
    [
        (READER._replace(email="", email_key=""), notice(), ReaderHistory(), "has no email address"),
        (READER._replace(phone=""), notice(channel=Channel.SMS), ReaderHistory(), "has no phone number"),
        (READER, notice(), ReaderHistory(state="pending"), "already in the ledger: pending"),
        (READER, notice(), ReaderHistory(state="unknown"), "already in the ledger: unknown"),
        (
            READER._replace(components=("web",)),
            replace(notice(), affected=frozenset({"api"})),
            ReaderHistory(),
            "follows other components",
        ),
        (READER, notice(OVER, told=1), ReaderHistory(), "was never told that it began"),
        (READER._replace(level=Level.END), notice(), ReaderHistory(), "wants to hear of the end only"),
        (
            READER._replace(level=Level.KEY),
            notice(story(S.INVESTIGATING, S.IDENTIFIED), told=1),
            ReaderHistory(told=True),
            "wants to hear of key events only",
        ),
    ],
)
def test_what_is_not_owed_leaves_no_trace_and_has_a_reason(
    recipient: Recipient, of: Notice, history: ReaderHistory, reason: str
) -> None:
    assert decided(recipient, of, history) == ("not owed", reason)


@pytest.mark.parametrize(
    ("recipient", "of", "history"),
    [
        (READER._replace(components=("web", "api")), replace(notice(), affected=frozenset({"api"})), None),
        (READER._replace(components=("web",)), notice(), None),
        (READER, replace(notice(), affected=frozenset({"api"})), None),
        (
            READER._replace(components=("web",)),
            replace(notice(OVER, told=1), affected=frozenset({"api"})),
            ReaderHistory(told=True),
        ),
        (READER, notice(OVER, told=1), ReaderHistory(told=True)),
        (READER, replace(notice(OVER, told=1), told_elsewhere=True), None),
        (READER._replace(level=Level.END), notice(OVER, told=1), None),
        (READER._replace(level=Level.KEY), notice(), None),
        (READER._replace(level=Level.KEY), notice(OVER, told=1), ReaderHistory(told=True)),
    ],
    ids=[
        "follows a component that is affected",
        "no component is named",
        "follows all",
        "was told, though it is about others now",
        "the end of what they heard of",
        "the end of what they heard of elsewhere",
        "the end is all they asked for",
        "the first is a key event",
        "the end is a key event",
    ],
)
def test_who_is_owed_it(recipient: Recipient, of: Notice, history: ReaderHistory | None) -> None:
    assert decided(recipient, of, history) == ("send", "")


def test_who_wants_the_end_only_and_follows_other_components_hears_nothing() -> None:
    other = READER._replace(components=("web",), level=Level.END)
    of = replace(notice(OVER, told=1), affected=frozenset({"api"}))
    assert decided(other, of) == ("not owed", "follows other components")


def test_a_suppressed_reader_is_skipped_with_the_reason() -> None:
    assert decided(history=ReaderHistory(suppressed="asked")) == ("skip", "hears nothing: asked")


def test_nothing_is_recorded_for_a_suppressed_reader_whom_it_does_not_concern() -> None:
    of = notice(OVER, told=1)
    assert decided(of=of, history=ReaderHistory(suppressed="asked"))[0] == "not owed"


# Quiet hours, 21:00-08:00


NIGHT = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)  # 03:00 in Berlin


def held(
    recipient: Recipient = READER, severity: int = 2, channel: Channel = Channel.SMS, now: datetime = NIGHT
) -> datetime | None:
    of = notice(story(S.INVESTIGATING, severities=(severity,)), channel)
    found = decide(recipient, of, ReaderHistory(), CONFIG, now)
    assert (found.action is Action.HOLD) == (found.until is not None)
    assert found.reason == ("quiet hours" if found.until else "")
    return found.until


def test_a_text_at_night_waits_for_the_morning_where_its_reader_is() -> None:
    assert held() == datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
    assert held(READER._replace(timezone="America/New_York")) == datetime(2026, 11, 21, 13, 0, tzinfo=UTC)
    assert held(READER._replace(timezone="Asia/Tokyo")) is None


def test_mail_wakes_nobody() -> None:
    assert held(channel=Channel.EMAIL) is None


def test_the_worst_wakes_everybody() -> None:
    assert held(severity=1) is None


def test_a_suppressed_reader_is_skipped_and_not_held() -> None:
    of = notice(story(S.INVESTIGATING, severities=(2,)), Channel.SMS)
    found = decide(READER, of, ReaderHistory(suppressed="asked"), CONFIG, NIGHT)
    assert found.action is Action.SKIP


@pytest.mark.parametrize(
    ("clock", "quiet"),
    [
        ("20:59:59", False),
        ("21:00:00", True),
        ("23:59:59", True),
        ("00:00:00", True),
        ("07:59:59", True),
        ("08:00:00", False),
        ("12:00:00", False),
    ],
)
def test_quiet_hours_hold_from_their_start_until_just_before_their_end(clock: str, quiet: bool) -> None:
    now = datetime.fromisoformat(f"2026-11-21T{clock}+00:00")
    assert (end_of_quiet(now, (time(21), time(8)), ZoneInfo("UTC")) is not None) == quiet


@pytest.mark.parametrize(("clock", "quiet"), [("11:59", False), ("12:00", True), ("13:00", False)])
def test_quiet_hours_within_one_day(clock: str, quiet: bool) -> None:
    now = datetime.fromisoformat(f"2026-11-21T{clock}+00:00")
    assert (end_of_quiet(now, (time(12), time(13)), ZoneInfo("UTC")) is not None) == quiet


def test_no_hours_are_no_quiet() -> None:
    now = datetime(2026, 11, 21, 8, tzinfo=UTC)
    assert end_of_quiet(now, (time(8), time(8)), ZoneInfo("UTC")) is None


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
    assert end_of_quiet(first - timedelta(minutes=1), quiet, zone) == first
    for minutes in (0, 29, 30, 59, 60, 120):
        assert end_of_quiet(first + timedelta(minutes=minutes), quiet, zone) is None


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("quiet", [(time(21), time(8)), (time(21), time(2, 30)), (time(1, 30), time(2, 15))])
def test_a_hold_always_ends_later_and_within_a_day(zone: str, quiet: tuple[time, time]) -> None:
    """Every quarter of an hour around both changes of the clocks."""
    for first in (datetime(2026, 3, 7, tzinfo=UTC), datetime(2026, 3, 28, tzinfo=UTC)):
        check_days(first, quiet, ZoneInfo(zone))
    for first in (datetime(2026, 4, 3, tzinfo=UTC), datetime(2026, 10, 2, tzinfo=UTC)):
        check_days(first, quiet, ZoneInfo(zone))
    for first in (datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 10, 31, tzinfo=UTC)):
        check_days(first, quiet, ZoneInfo(zone))


def check_days(first: datetime, quiet: tuple[time, time], zone: ZoneInfo) -> None:
    for quarter in range(3 * 24 * 4):
        now = first + timedelta(minutes=15 * quarter)
        until = end_of_quiet(now, quiet, zone)
        assert until is None or now < until <= now + timedelta(hours=13)
        assert until is None or end_of_quiet(until, quiet, zone) is None


def test_lines_say_what_they_are() -> None:
    found = due(BEGUN, standing_of(BEGUN, 1), CONFIG, AT)
    assert all(isinstance(line, Due) for line in found)
    assert found[0].notice.next_update_by["customers"] == AT + timedelta(minutes=20)
    assert (found[0].notice.id, found[0].notice.number, found[0].notice.severity) == ("update:1", 1, 1)
