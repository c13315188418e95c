"""Nudges: at which moments an incident's people are told, for what, whom, and that each is given once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commcast.config.settings import Config
from commcast.model.history import History, Said
from commcast.model.incident import Channel, Status, Timeframe
from commcast.model.oncall import Handover
from commcast.oncall.nudges import Nudge, Why, broken_file_nudge, first_nudge, handing_nudges, nudges_due
from commcast.oncall.people import Reach, reach, unreachable, variables_of
from commcast.plan.due import due
from tests.plan.test_promises import HOLDS, MINUTE, Told, begun
from tests.support.values import AT, config_of, incident_of, story, update_of

S = Status


def nudges(told: Told, now: datetime, given_before: frozenset[str] = frozenset()) -> tuple[Nudge, ...]:
    lines = due(told.incident, told.history, told.config, now)
    return nudges_due(told.incident, told.history, lines, told.config, now, drafted={}, nudged=given_before)


def for_customers(told: Told, minutes: int) -> list[Nudge]:
    return [nudge for nudge in nudges(told, AT + minutes * MINUTE) if "customers" in nudge.audiences]


def quiet() -> Told:
    """Return an incident told at AT where silence is left to the nudge."""
    return begun(config_of())


def begun_with(*statuses: Status, after: int = 0) -> Told:
    """Return an incident with these updates, told some minutes after AT."""
    told = Told(story(*statuses), config_of())
    told.release()
    told.tick(AT + after * MINUTE)
    return told


# --- promises


def test_at_three_quarters_of_the_wait_once_with_the_line_to_paste() -> None:
    told = quiet()
    assert nudges(told, AT + 14 * MINUTE) == ()
    (nudge,) = nudges(told, AT + 15 * MINUTE)
    assert nudge.id == "nudge:2026-11-21T09:25:00Z:75"
    assert (nudge.why, nudge.deadline, nudge.backup_too) == (Why.PROMISE, AT + 20 * MINUTE, False)
    assert set(nudge.audiences) == {"board", "customers", "support"}
    assert nudge.line == 'commcast update pay7 --nothing-new "…" --next 20m'
    assert nudges(told, AT + 16 * MINUTE, frozenset({nudge.id})) == ()


def test_a_long_wait_is_nudged_twice() -> None:
    told = quiet()
    told.config = config_of(cadence={"1": {"every": "60m"}})
    said = Said("update:1", 1, Channel.EMAIL, "customers", AT, AT + 60 * MINUTE)
    told.history = replace(told.history, said=(said,))
    ids = [tuple(n.id.rpartition(":")[2] for n in nudges(told, AT + m * MINUTE)) for m in (29, 30, 50, 51)]
    assert ids == [(), ("50",), ("50",), ("85",)]


def test_what_was_late_or_never_sent_is_told_to_the_backup_too() -> None:
    (broken,) = nudges(quiet(), AT + 21 * MINUTE)
    assert (broken.why, broken.backup_too) == (Why.LATE, True)
    told = Told(story(S.INVESTIGATING), config_of())
    told.release()
    (unsent,) = nudges(told, AT + 21 * MINUTE)
    assert (unsent.why, unsent.backup_too, unsent.line) == (Why.LATE, True, "commcast send pay7 --late")


def test_from_the_first_holding_statement_on_both_are_nudged() -> None:
    told = begun()
    assert [(nudge.why, nudge.backup_too) for nudge in for_customers(told, 17)] == [(Why.HELD, True)]
    told.tick(AT + 17 * MINUTE)
    assert [(nudge.why, nudge.backup_too, nudge.held) for nudge in for_customers(told, 36)] == [
        (Why.PROMISE, True, ("customers", "support"))
    ]


def test_a_nudge_names_those_whom_a_holding_statement_rescues() -> None:
    """Only what `[silence]` has on "hold", and only in its severities: the rest hear nothing by itself."""
    told = begun()
    (nudge,) = nudges(told, AT + 15 * MINUTE)
    assert (set(nudge.audiences), set(nudge.held)) == (
        {"board", "customers", "support"},
        {"customers", "support"},
    )
    told.config = config_of(silence={"customers": "hold", "severities": [2]})
    (nudge,) = nudges(told, AT + 15 * MINUTE)
    assert nudge.held == ()


def test_what_somebody_stopped_is_said_to_be_so() -> None:
    told = begun()
    told.history = replace(told.history, stopped_by="dana")
    (nudge,) = for_customers(told, 17)
    assert (nudge.why, nudge.held) == (Why.PROMISE, ())
    assert nudge.note == "It is stopped by dana; commcast resume pay7 lifts that."


def test_nobody_is_nudged_after_the_end() -> None:
    told = quiet()
    told.write(AT + 5 * MINUTE, S.RESOLVED)
    assert [nudges(told, AT + minute * MINUTE) for minute in range(5, 100)] == [()] * 95


@settings(max_examples=40)
@given(st.lists(st.integers(1, 90), max_size=20), st.booleans())
def test_no_promise_passes_without_a_nudge(gaps: list[int], holds: bool) -> None:
    """Whenever a tick looks after three quarters of a wait, somebody was or is nudged; nothing twice."""
    told = begun(HOLDS if holds else config_of())
    now, seen = AT, frozenset[str]()
    for gap in gaps:
        now += timedelta(minutes=gap)
        found = nudges(told, now, seen)
        assert len({nudge.id for nudge in found}) == len(found)
        seen |= {nudge.id for nudge in found}
        told.tick(now)
        for said in told.history.said:
            newer = [
                each for each in told.history.said if each.audience == said.audience and each.at > said.at
            ]
            if said.promised and now > said.promised and not newer and said.channel is Channel.EMAIL:
                assert any(said.promised.strftime("%Y-%m-%dT%H:%M:%SZ:") in each for each in seen)


# --- drafts, estimates, planned work, broken files


@pytest.mark.parametrize(("minutes", "wanted"), [(2, []), (3, ["nudge:draft:1"])])
def test_a_draft_is_nudged_for_after_three_minutes(minutes: int, wanted: list[str]) -> None:
    now = AT + minutes * MINUTE
    found = nudges_due(story(S.INVESTIGATING), History(), (), HOLDS, now, drafted={1: AT}, nudged=())
    assert [nudge.id for nudge in found] == wanted
    assert all(nudge.line == "commcast send pay7" for nudge in found)


def test_a_passed_estimate_is_nudged_for_once() -> None:
    update = update_of(1, S.INVESTIGATING, timeframe=Timeframe(latest=AT + 10 * MINUTE))
    told = Told(incident_of(update), config_of())
    told.release()
    told.tick(AT)
    assert nudges(told, AT + 9 * MINUTE) == ()
    (nudge,) = nudges(told, AT + 10 * MINUTE)
    assert nudge.why is Why.ESTIMATE
    assert nudges(told, AT + 11 * MINUTE, frozenset({nudge.id})) == ()


@pytest.mark.parametrize(
    ("before", "marks"), [(31, []), (30, ["30m"]), (10, ["10m"])], ids=lambda each: str(each)
)
def test_both_ends_of_a_window_are_nudged_for(before: int, marks: list[str]) -> None:
    planned, working = begun_with(S.SCHEDULED), begun_with(S.SCHEDULED, S.IN_PROGRESS, after=10)
    window = planned.incident.latest.window
    assert window is not None
    for told, moment, line in (
        (planned, window.start, "commcast start pay7"),
        (working, window.end, "commcast complete pay7"),
    ):
        found = nudges(told, moment - before * MINUTE)
        assert [nudge.id.rpartition(":")[2] for nudge in found] == marks
        assert {nudge.line for nudge in found} <= {line}
    assert first_nudge(planned.incident.latest, AT, window.start) == window.start - 30 * MINUTE


def test_a_file_is_nudged_for_once_for_each_way_in_which_it_is_broken() -> None:
    one, same, other = (broken_file_nudge(story(S.INVESTIGATING), faults).id for faults in "aab")
    assert one == same != other


# --- hand-overs

PEOPLE = config_of(
    people={"dana": {"name": "Dana Reyes"}, "sam": {"name": "Sam Oyo"}, "kim": {"name": "Kim"}}
)
OWNED = incident_of(update_of(1, owner="dana"))
OFFERED = Handover("sam", "dana", AT)
TAKEN = Handover("sam", "dana", AT, taken_by="sam", taken_at=AT + timedelta(minutes=2))


def of_handovers(*handovers: Handover, after: int = 1, nudged: Sequence[str] = ()) -> tuple[Nudge, ...]:
    return handing_nudges(OWNED, handovers, PEOPLE, AT + timedelta(minutes=after), nudged=nudged)


def test_an_offer_is_told_to_both_once_and_once_more_when_nobody_takes_it() -> None:
    (first,) = of_handovers(OFFERED)
    assert first.line == "commcast take pay7 --as sam"
    assert (first.line_for, first.line_of_others) == ("sam", "commcast status pay7")
    assert of_handovers(OFFERED, nudged=[first.id]) == ()
    (again,) = of_handovers(OFFERED, after=10, nudged=[first.id])
    assert again.note == "Sam Oyo has not taken this over yet"
    assert of_handovers(OFFERED, after=60, nudged=[first.id, again.id]) == ()


@pytest.mark.parametrize(
    ("handovers", "told", "note"),
    [
        pytest.param([OFFERED], ("dana", "sam"), "Dana Reyes offers this to Sam Oyo", id="offered"),
        pytest.param(
            [Handover("sam", "kim", AT)],
            ("dana", "sam", "kim"),
            "Kim offers this to Sam Oyo",
            id="by others",
        ),
        pytest.param(
            [Handover("sam", "root", AT)], ("dana", "sam"), "root offers this to Sam Oyo", id="by a stranger"
        ),
        pytest.param(
            [TAKEN], ("dana", "sam"), "Sam Oyo has taken this over from Dana Reyes", id="taken, not offered"
        ),
        pytest.param(
            [TAKEN, Handover("kim", "sam", AT + timedelta(minutes=5))],
            ("sam", "kim"),
            "Sam Oyo offers this to Kim",
            id="the last alone is news",
        ),
    ],
)
def test_who_is_told_of_a_hand_over(handovers: list[Handover], told: tuple[str, ...], note: str) -> None:
    (found,) = of_handovers(*handovers)
    assert (found.told, found.note) == (told, note)


def test_what_moves_nothing_is_told_to_nobody() -> None:
    assert of_handovers() == ()
    assert of_handovers(Handover("dana", "dana", AT)) == ()
    assert of_handovers(Handover("dana", "", AT, taken_by="dana", taken_at=AT)) == ()
    ended = story(Status.INVESTIGATING, Status.RESOLVED)
    assert handing_nudges(ended, [OFFERED], PEOPLE, AT, nudged=()) == ()


# --- how people are reached, and what is said where they cannot be

SET = {"DANA_MAIL": "Dana@Acme.example", "DANA_PHONE": "+4915112345671", "ODD": "dana at acme"}


def config_with(**person: str) -> Config:
    return config_of(people={"dana": {"name": "Dana Reyes", **person}})


@pytest.mark.parametrize(
    ("person", "email", "phone", "fault"),
    [
        pytest.param({"email": "dana@acme.example"}, "dana@acme.example", "", "", id="as it stands there"),
        pytest.param({"email": "env:DANA_MAIL"}, "Dana@acme.example", "", "", id="from the environment"),
        pytest.param({"phone": "env:DANA_PHONE"}, "", "+4915112345671", "", id="a phone, too"),
        pytest.param({"phone": "+49 151 12345671"}, "", "+4915112345671", "", id="a phone is made E.164"),
        pytest.param(
            {"email": "env:NOT_SET", "phone": "env:DANA_PHONE"},
            *("", "+4915112345671"),
            "NOT_SET is not set: the email of dana; set it where commcast runs",
            id="one is",
        ),
        pytest.param(
            {"email": "env:ODD"}, "", "", "the email of dana is not an email address", id="no address"
        ),
        pytest.param(
            {},
            *("", ""),
            "dana has no address; write email or phone in [people.dana] of commcast.toml",
            id="none",
        ),
    ],
)
def test_an_address_stands_in_the_file_or_in_the_environment(
    person: Mapping[str, str], email: str, phone: str, fault: str
) -> None:
    """A fault names no address."""
    assert reach("dana", config_with(**person), SET) == Reach("Dana Reyes", email, phone, "dana")
    found = unreachable("dana", config_with(**person), SET)
    assert len(found) == bool(fault)
    assert all(each.startswith(fault) and "at acme" not in each for each in found)


def test_whom_nobody_knows_is_called_by_the_key() -> None:
    config = config_of()
    assert reach("kim", config, {}) == Reach("kim", key="kim")
    assert unreachable("kim", config, {}) == ("'kim' is not a known person; known: nobody yet",)


def test_the_variables_that_hold_addresses_are_known() -> None:
    config = config_with(email="env:DANA_MAIL", phone="+4915112345671")
    assert variables_of(config) == {"DANA_MAIL": "the email of dana"}
