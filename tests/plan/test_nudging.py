"""Nudges: at which moments an incident's people are woken, for what, and that each is given once."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commcast.model.history import History, Said
from commcast.model.incident import Channel, Status, Timeframe
from commcast.oncall.nudges import Nudge, Why, broken_file_nudge, first_nudge, nudges_due
from commcast.plan.due import due
from tests.plan.test_promises import HOLDS, MINUTE, Told, begun
from tests.support.values import AT, config_of, incident_of, story, update_of

S = Status


def nudges(told: Told, now: datetime, given_before: frozenset[str] = frozenset()) -> tuple[Nudge, ...]:
    lines = due(told.incident, told.history, told.config, now)
    return nudges_due(told.incident, told.history, lines, told.config, now, drafted={}, nudged=given_before)


def quiet(config: object = None) -> Told:
    """Return an incident told at AT where silence is left to the nudge."""
    return begun(config_of())


def test_at_three_quarters_of_the_wait_with_the_line_to_paste() -> None:
    told = quiet()
    assert nudges(told, AT + 14 * MINUTE) == ()
    (nudge,) = nudges(told, AT + 15 * MINUTE)
    assert nudge.id == "nudge:2026-11-21T09:25:00Z:75"
    assert nudge.deadline == AT + 20 * MINUTE
    assert set(nudge.audiences) == {"board", "customers", "support"}
    assert nudge.line == 'commcast update pay7 --nothing-new "…" --next 20m'
    assert not nudge.backup_too


def test_a_long_wait_is_nudged_twice() -> None:
    told = quiet()
    told.config = config_of(cadence={"1": {"every": "60m"}})
    told.history = replace(told.history, said=())
    said = Said("update:1", 1, Channel.EMAIL, "customers", AT, AT + 60 * MINUTE)
    told.history = replace(told.history, said=(said,))
    ids = [tuple(n.id.rpartition(":")[2] for n in nudges(told, AT + m * MINUTE)) for m in (29, 30, 50, 51)]
    assert ids == [(), ("50",), ("50",), ("85",)]


def test_a_broken_promise_wakes_the_backup_too() -> None:
    (nudge,) = nudges(quiet(), AT + 21 * MINUTE)
    assert (nudge.why, nudge.backup_too) == (Why.LATE, True)


def test_the_first_holding_statement_wakes_both_and_from_then_on_both_are_nudged() -> None:
    told = begun()
    found = nudges(told, AT + 17 * MINUTE)
    assert [(nudge.why, nudge.backup_too) for nudge in found if "customers" in nudge.audiences] == [
        (Why.HELD, True)
    ]
    told.tick(AT + 17 * MINUTE)
    later = [nudge for nudge in nudges(told, AT + 36 * MINUTE) if "customers" in nudge.audiences]
    assert [(nudge.why, nudge.backup_too, nudge.held) for nudge in later] == [
        (Why.PROMISE, True, ("customers", "support"))
    ]


def test_a_nudge_names_those_whom_a_holding_statement_rescues() -> None:
    """Only what `[silence]` has on "hold", and only in its severities: the rest hear nothing by itself."""
    told = begun()
    (nudge,) = nudges(told, AT + 15 * MINUTE)
    assert set(nudge.audiences) == {"board", "customers", "support"}
    assert set(nudge.held) == {"customers", "support"}
    told.config = config_of(silence={"customers": "hold", "severities": [2]})
    (nudge,) = nudges(told, AT + 15 * MINUTE)
    assert nudge.held == ()


def test_each_is_given_once() -> None:
    told = quiet()
    (nudge,) = nudges(told, AT + 15 * MINUTE)
    assert nudges(told, AT + 16 * MINUTE, frozenset({nudge.id})) == ()


def test_a_draft_is_nudged_for_after_three_minutes() -> None:
    incident = story(S.INVESTIGATING)
    for minutes, wanted in ((2, []), (3, ["nudge:draft:1"])):
        found = nudges_due(
            incident,
            History(),
            (),
            HOLDS,
            AT + minutes * MINUTE,
            drafted={1: AT},
            nudged=frozenset(),
        )
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
    ("before", "mark", "line"),
    [(31, None, ""), (30, "30m", "commcast start pay7"), (10, "10m", "commcast start pay7")],
)
def test_both_ends_of_a_window_are_nudged_for(before: int, mark: str | None, line: str) -> None:
    told = Told(story(S.SCHEDULED), config_of())
    told.release()
    told.tick(AT)
    window = told.incident.latest.window
    assert window is not None
    found = nudges(told, window.start - before * MINUTE)
    assert [nudge.id.rpartition(":")[2] for nudge in found] == ([mark] if mark else [])
    assert all(nudge.line == line for nudge in found)
    assert first_nudge(told.incident.latest, AT, window.start) == window.start - 30 * MINUTE


def test_the_end_of_the_work_asks_for_its_completion() -> None:
    told = Told(story(S.SCHEDULED, S.IN_PROGRESS), config_of())
    told.release()
    told.tick(AT + 10 * MINUTE)
    window = told.incident.latest.window
    assert window is not None
    (nudge,) = nudges(told, window.end - 10 * MINUTE)
    assert nudge.line == "commcast complete pay7"


def test_nobody_is_woken_after_the_end() -> None:
    told = quiet()
    told.write(AT + 5 * MINUTE, S.RESOLVED)
    for minute in range(5, 100):
        assert nudges(told, AT + minute * MINUTE) == ()


def test_a_file_is_nudged_for_once_for_each_way_in_which_it_is_broken() -> None:
    incident = story(S.INVESTIGATING)
    assert broken_file_nudge(incident, "a").id != broken_file_nudge(incident, "b").id
    assert broken_file_nudge(incident, "a").id == broken_file_nudge(incident, "a").id


@settings(max_examples=40)
@given(st.lists(st.integers(1, 90), max_size=20), st.booleans())
def test_no_promise_passes_without_a_nudge(gaps: list[int], holds: bool) -> None:
    """Whenever a tick looks after three quarters of a wait, somebody was or is woken; nothing twice."""
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


def test_what_somebody_stopped_is_said_to_be_so() -> None:
    told = begun()
    told.history = replace(told.history, stopped_by="dana")
    (nudge,) = [each for each in nudges(told, AT + 17 * MINUTE) if "customers" in each.audiences]
    assert (nudge.why, nudge.held) == (Why.PROMISE, ())
    assert nudge.note == "It is stopped by dana; commcast resume pay7 lifts that."


def test_words_that_were_released_and_never_sent_wake_both() -> None:
    told = Told(story(S.INVESTIGATING), config_of())
    told.release()
    (nudge,) = nudges(told, AT + 21 * MINUTE)
    assert (nudge.why, nudge.backup_too, nudge.line) == (Why.LATE, True, "commcast send pay7 --late")
