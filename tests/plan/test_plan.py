"""The plan: what is due, to whom, with which promise, and the reason for each line. Tables of the rules."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.model.history import History, ReaderHistory
from commcast.model.incident import Channel, Incident, Level, NextWord, Recipient, Status, Update, Window
from commcast.plan import reasons
from commcast.plan.due import due
from commcast.plan.notices import Notice, NoticeKind, audiences_of, notice_of
from commcast.plan.readers import decide
from commcast.rendering.context import next_word
from tests.support.values import AT, READER, config_of, incident_of, released, standing_of, story, update_of

S = Status
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CONFIG = config_of()
LOUD = config_of(channels={"email": {"from": "status@acme.example"}, "sms": {}})
BEGUN = story(S.INVESTIGATING)
OVER = story(S.INVESTIGATING, S.RESOLVED)


def lines(
    incident: Incident, history: History, *, now: datetime = AT, **more: Any
) -> dict[str, tuple[bool, str]]:
    """Return, by channel, whether something is due and why."""
    config = more.pop("config", CONFIG)
    found = due(incident, history, config, now, **more)
    return {line.notice.channel.value: (line.is_due, line.reason) for line in found}


def notice(
    incident: Incident = BEGUN, channel: Channel = Channel.EMAIL, told: int = 0, **changed: Any
) -> Notice:
    history = standing_of(incident, len(incident.updates), told=told)
    return replace(notice_of(incident, incident.latest, channel, history, CONFIG), **changed)


def decided(
    recipient: Recipient = READER, of: Notice | None = None, history: ReaderHistory | None = None
) -> tuple[str, str]:
    found = decide(recipient, of or notice(), history or ReaderHistory(), LOUD, AT)
    return found.action.value, found.reason


# --- what is due of an incident -----------------------------------------------------------------------------

TWO = story(S.INVESTIGATING, S.IDENTIFIED)
MILD = story(S.INVESTIGATING, severities=(3,))
FIRST, ENDED = (True, "update 1, first"), (True, "update 2, resolved")
SENT, ELSEWHERE = (False, "already sent"), (False, "told elsewhere, before this ledger")
STALE = (False, "older than its own promise; send it all the same with --late")


def begun(notice: str, channel: Channel) -> History:
    return standing_of(OVER, 1, 2, told=1, begun=frozenset({(notice, channel)}))


Line = tuple[bool, str] | None
OLD_HISTORY = History(released(OVER, 1, how="elsewhere") | released(OVER, 2))
IS_PLAIN = (True, "update 2, released"), (False, "a plain update does not go by SMS")
DUE: dict[str, tuple[Incident, History, Line, Line]] = {
    "nobody released it": (BEGUN, History(), None, None),
    "the released update left the file": (BEGUN, History(released(TWO, 2)), None, None),
    "the first, on each channel": (BEGUN, standing_of(BEGUN, 1), FIRST, FIRST),
    "no audience uses the channel": (MILD, standing_of(MILD, 1), FIRST, None),
    "told elsewhere": (BEGUN, standing_of(BEGUN, 1, how="elsewhere"), ELSEWHERE, ELSEWHERE),
    "what follows old history is no first": (OVER, OLD_HISTORY, ENDED, ENDED),
    "a plain update is mailed and not texted": (TWO, standing_of(TWO, 1, 2, told=1), *IS_PLAIN),
    "its mails were begun": (OVER, begun("update:2", Channel.EMAIL), SENT, ENDED),
    "its texts were begun": (OVER, begun("update:2", Channel.SMS), ENDED, SENT),
    "an earlier one was begun": (OVER, begun("update:1", Channel.SMS), ENDED, ENDED),
}


@pytest.mark.parametrize(("incident", "history", "email", "sms"), DUE.values(), ids=DUE.keys())
def test_the_newest_released_update_is_due_once_on_each_channel(
    incident: Incident, history: History, email: Line, sms: Line
) -> None:
    found = lines(incident, history)
    assert (found.get("email"), found.get("sms")) == (email, sms)


def test_only_the_newest_released_update_is_due() -> None:
    three = story(S.INVESTIGATING, S.IDENTIFIED, S.MONITORING)
    found = due(three, standing_of(three, 1, 2), CONFIG, AT)
    assert {line.notice.id for line in found} == {"update:2"}


def test_a_line_says_what_it_is() -> None:
    found = due(BEGUN, standing_of(BEGUN, 1), CONFIG, AT)[0].notice
    assert (found.id, found.number, found.severity, found.told_elsewhere) == ("update:1", 1, 1, False)
    assert found.next_update_by["customers"] == AT + 20 * MINUTE
    assert all(line.notice.told_elsewhere for line in due(OVER, OLD_HISTORY, CONFIG, AT))


def test_an_event_that_is_not_wanted_by_text_is_only_mailed() -> None:
    config = config_of(channels={"email": {"from": "a@acme.example"}, "sms": {"events": ["first"]}})
    found = lines(OVER, standing_of(OVER, 1, 2, told=1), config=config)
    assert {channel: is_due for channel, (is_due, _) in found.items()} == {"email": True, "sms": False}


def test_an_update_older_than_its_own_promise_is_stale_unless_sent_late() -> None:
    """Severity 1 promises word every 20 minutes; an end promises nothing."""
    history = standing_of(BEGUN, 1)
    assert lines(BEGUN, history, now=AT + 20 * MINUTE - timedelta(microseconds=1))["email"] == FIRST
    assert lines(BEGUN, history, now=AT + 20 * MINUTE)["email"] == STALE
    assert lines(BEGUN, history, now=AT + 3 * DAY, late=True)["email"] == FIRST
    assert lines(OVER, standing_of(OVER, 1, 2, told=1), now=AT + 9 * DAY)["email"] == ENDED


def test_an_update_is_stale_only_once_every_audience_waits_in_vain() -> None:
    config = config_of(cadence={"1": {"every": "20m", "support": "60m"}})
    found = lines(BEGUN, standing_of(BEGUN, 1), now=AT + 30 * MINUTE, config=config)
    assert found == {"email": FIRST, "sms": STALE}


# --- events and audiences -----------------------------------------------------------------------------------


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
    moved = story(S.SCHEDULED, S.RESCHEDULED)
    again = update_of(3, S.RESCHEDULED, window=Window(start=AT + 3 * DAY, end=AT + 3 * DAY + 2 * HOUR))
    assert notice(incident_of(*moved.updates, again, kind=moved.kind), told=2).events == {"correction"}


@pytest.mark.parametrize(
    ("newer", "events"),
    [
        (update_of(2, S.EXPECTED, expected_at=AT + DAY), set()),
        (update_of(2, S.EXPECTED, expected_at=AT + 2 * DAY), {"correction"}),
        (update_of(2, S.EXPECTED, expected_at=AT + 2 * DAY, corrects=(1,)), set()),
        (update_of(2, S.INVESTIGATING), {"started"}),
        (update_of(2, S.RETRACTED), {"retracted"}),
    ],
    ids=["it stays", "it moves", "it is corrected", "it begins", "it is taken back"],
)
def test_what_is_expected_has_the_events_of_planned_work(newer: Update, events: set[str]) -> None:
    coming = update_of(1, S.EXPECTED, expected_at=AT + DAY)
    assert notice(incident_of(coming, newer), told=1).events == events


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


@pytest.mark.parametrize(
    ("severities", "number", "hearing"),
    [
        pytest.param((1,), 1, ("board", "support", "customers"), id="the best rank first, then by name"),
        pytest.param((1, 4), 2, ("board", "support", "customers"), id="who heard of it stays"),
        pytest.param((4, 2), 1, ("support",), id="who hears of a mild one"),
        pytest.param((4, 2), 2, ("support", "customers"), id="who joins when it becomes worse"),
    ],
)
def test_who_hears_of_an_update(severities: tuple[int, ...], number: int, hearing: tuple[str, ...]) -> None:
    told = story(*[S.INVESTIGATING, S.MONITORING][: len(severities)], severities=severities)
    assert audiences_of(told, told.update(number), CONFIG) == hearing


def test_audiences_that_an_update_names_are_the_ones() -> None:
    named = incident_of(update_of(1, audiences=("customers",)))
    assert audiences_of(named, named.latest, CONFIG) == ("customers",)


# --- what is done for one reader ----------------------------------------------------------------------------

API, WEB = frozenset({"api"}), READER._replace(components=("web",))
TOLD, NEW = ReaderHistory(told=True), ReaderHistory()
END_ONLY, KEY_ONLY = READER._replace(level=Level.END), READER._replace(level=Level.KEY)
END, TEXT = notice(OVER, told=1), notice(channel=Channel.SMS)
SKIPPED = ReaderHistory(suppressed="asked")


@pytest.mark.parametrize(
    ("recipient", "of", "history", "action", "reason"),
    [
        (READER, notice(), NEW, "send", ""),
        (READER._replace(email="", email_key=""), notice(), NEW, "not owed", "has no email address"),
        (READER._replace(phone=""), TEXT, NEW, "not owed", "has no phone number"),
        (READER, notice(), ReaderHistory(state="pending"), "not owed", "already in the ledger: pending"),
        (READER, notice(), ReaderHistory(state="unknown"), "not owed", "already in the ledger: unknown"),
        (WEB, notice(affected=API), NEW, "not owed", "follows other components"),
        (WEB._replace(components=("web", "api")), notice(affected=API), NEW, "send", ""),
        (WEB, notice(), NEW, "send", ""),
        (READER, notice(affected=API), NEW, "send", ""),
        (WEB, replace(END, affected=API), TOLD, "send", ""),
        (
            WEB._replace(level=Level.END),
            replace(END, affected=API),
            NEW,
            "not owed",
            "follows other components",
        ),
        (READER, END, NEW, "not owed", "was never told that it began"),
        (READER, END, TOLD, "send", ""),
        (READER, replace(END, told_elsewhere=True), NEW, "send", ""),
        (END_ONLY, notice(), NEW, "not owed", "wants to hear of the end only"),
        (END_ONLY, END, NEW, "send", ""),
        (KEY_ONLY, notice(TWO, told=1), TOLD, "not owed", "wants to hear of key events only"),
        (KEY_ONLY, notice(), NEW, "send", ""),
        (KEY_ONLY, END, TOLD, "send", ""),
        (READER, notice(), SKIPPED, "skip", "hears nothing: asked"),
        (READER, END, SKIPPED, "not owed", "was never told that it began"),
    ],
)
def test_what_is_done_for_a_reader_has_a_reason(
    recipient: Recipient, of: Notice, history: ReaderHistory, action: str, reason: str
) -> None:
    assert decided(recipient, of, history) == (action, reason)


PLAIN = notice(TWO, told=1)
WORSE = notice(story(S.INVESTIGATING, S.IDENTIFIED, severities=(3, 1)), told=1)


def hears(level: Level, of: Notice, history: ReaderHistory = TOLD) -> bool:
    return decided(READER._replace(level=level), of, history)[0] == "send"


@pytest.mark.parametrize(
    ("of", "key", "end"),
    [
        pytest.param(PLAIN, False, False, id="a plain update"),
        pytest.param(
            replace(PLAIN, kind=NoticeKind.HOLDING, only_told=True), False, False, id="a holding one"
        ),
        pytest.param(replace(PLAIN, kind=NoticeKind.REMINDER), False, False, id="a reminder"),
        pytest.param(WORSE, True, False, id="worse"),
        pytest.param(
            notice(story(S.SCHEDULED, S.IN_PROGRESS), told=1), True, False, id="planned work starts"
        ),
        pytest.param(notice(story(S.SCHEDULED, S.RESCHEDULED), told=1), True, True, id="planned work moves"),
        pytest.param(replace(PLAIN, events=frozenset({"correction"})), True, True, id="a correction"),
        pytest.param(
            notice(story(S.INVESTIGATING, S.RESOLVED, S.REOPENED), told=2), True, True, id="not over"
        ),
        pytest.param(END, True, True, id="over"),
        pytest.param(notice(story(S.INVESTIGATING, S.RETRACTED), told=1), True, True, id="withdrawn"),
    ],
)
def test_who_was_told_hears_on_by_their_level(of: Notice, key: bool, end: bool) -> None:
    assert [hears(level, of) for level in (Level.ALL, Level.KEY, Level.END)] == [True, key, end]


def test_what_is_first_to_a_reader_is_a_key_event() -> None:
    assert hears(Level.KEY, PLAIN, NEW)
    assert not hears(Level.END, PLAIN, NEW)
    assert not hears(Level.KEY, replace(PLAIN, told_elsewhere=True), NEW), "they may know it"
    assert not hears(Level.END, replace(PLAIN, events=frozenset({"correction"})), NEW), "of nothing they know"


EVENTS = ("first", "worse", "correction", "retracted", "reopened", "resolved", "started")


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


# --- reasons: docs/reasons.md holds every reason that the plan gives, and no other --------------------------

PLAN = Path(reasons.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "reasons.md"
GIVEN = {name: value for name, value in vars(reasons).items() if name.isupper()}


def documented(*sections: str) -> list[str]:
    """Return the first cell of each row of the tables in these sections."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return [cell for name in sections for cell in re.findall(r"^\| `([^`]+)` \|", found[name], re.MULTILINE)]


def test_every_reason_of_the_plan_is_in_the_table_once_and_the_reverse() -> None:
    table = documented("Of a notice on a channel", "Of a reader")
    assert sorted(table) == sorted(GIVEN.values())


def is_verdict(value: ast.expr | None) -> bool:
    """Return whether this is "owed or not, and why", with the reason written out."""
    if not isinstance(value, ast.Tuple) or len(value.elts) != 2:
        return False
    plan, why = value.elts
    is_text = isinstance(why, ast.JoinedStr) or (isinstance(why, ast.Constant) and isinstance(why.value, str))
    return is_text and isinstance(plan, ast.Constant) and isinstance(plan.value, bool)


def literal_reasons() -> Iterator[str]:
    """Yield where the plan gives a reason that is not one of the constants."""
    for path in sorted(PLAN.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Return) and is_verdict(node.value):
                yield f"{path.name}:{node.lineno}"
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            place = {"Due": 2, "Decision": 1}.get(node.func.id)
            if place is None:
                continue
            given = [*node.args[place : place + 1], *(k.value for k in node.keywords if k.arg == "reason")]
            if any(isinstance(each, (ast.Constant, ast.JoinedStr)) for each in given):
                yield f"{path.name}:{node.lineno}"


def test_the_plan_writes_its_reasons_in_one_place_only() -> None:
    """Another reason is a constant in plan/reasons.py and a row in docs/reasons.md."""
    assert list(literal_reasons()) == []


def all_code() -> str:
    return "\n".join(path.read_text() for path in PLAN.parent.rglob("*.py"))


def test_every_constant_is_used_by_the_plan() -> None:
    code = all_code()
    for name in GIVEN:
        assert len(re.findall(rf"\b{name}\b", code)) > 1, name


def test_what_happens_to_a_row_later_is_what_the_ledger_says() -> None:
    code = all_code()
    found = documented("What happens to a row later")
    assert found
    assert [reason for reason in found if f'"{reason}"' not in code] == []
