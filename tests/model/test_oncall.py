"""On call: who answers for an incident, and which promises the ticks can keep."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import accumulate

import pytest

from commcast.model.incident import Incident
from commcast.model.oncall import Drift, Handover, OnDuty, drift_of, on_duty_for, owner_since, who_is_on_duty
from commcast.oncall.ticks import not_kept
from tests.support.values import AT, config_of, incident_of, update_of

MINUTE = timedelta(minutes=1)


def offered(person: str, minute: int = 0) -> Handover:
    return Handover(person, "dana", AT + minute * MINUTE)


def taken(person: str, minute: int = 0) -> Handover:
    """Return a hand-over that was offered at a minute, and taken in the next one."""
    at = AT + minute * MINUTE
    return Handover(person, "dana", at, taken_by=person, taken_at=at + MINUTE)


@pytest.mark.parametrize(
    ("handovers", "owner", "backup", "waits_for"),
    [
        pytest.param([], "dana", "sam", None, id="the file's own words where nothing was handed over"),
        pytest.param([offered("alex")], "dana", "sam", "alex", id="until it is taken the earlier owner is"),
        pytest.param([taken("alex")], "alex", "sam", None, id="taken: the new one is"),
        pytest.param([offered("alex"), offered("kim", 1)], "dana", "sam", "kim", id="the second replaces"),
        pytest.param([offered("alex"), taken("kim", 1)], "kim", "sam", None, id="taken by another: no offer"),
        pytest.param([taken("alex"), offered("kim", 5)], "alex", "sam", "kim", id="handed on, not taken yet"),
        pytest.param([taken("alex"), taken("kim", 5)], "kim", "sam", None, id="handed on and taken"),
        pytest.param([taken("sam")], "sam", "dana", None, id="the backup takes over: two people stay two"),
        pytest.param([taken("sam"), taken("dana", 5)], "dana", "sam", None, id="and gives it back"),
        pytest.param([taken("dana")], "dana", "sam", None, id="taken by its owner: nothing moves"),
        pytest.param([offered("dana")], "dana", "sam", None, id="offered to its owner: nothing waits"),
    ],
)
def test_the_last_hand_over_that_was_taken_counts(
    handovers: list[Handover], owner: str, backup: str, waits_for: str | None
) -> None:
    found = who_is_on_duty("dana", "sam", handovers)
    assert (found.owner, found.backup) == (owner, backup)
    assert (found.offered.person if found.offered else None) == waits_for


@pytest.mark.parametrize("backup", [None, "sam"])
def test_an_incident_without_an_owner_can_be_taken(backup: str | None) -> None:
    assert who_is_on_duty(None, backup, [taken("sam")]) == OnDuty("sam", None)


@pytest.mark.parametrize(
    ("handover", "owner"), [(taken("sam"), "kim"), (offered("sam"), "kim"), (taken("sam", 40), "sam")]
)
def test_a_later_word_of_the_file_replaces_what_was_handed_over_before(
    handover: Handover, owner: str
) -> None:
    found = who_is_on_duty("kim", None, [handover], owner_since=AT + 30 * MINUTE)
    assert found == OnDuty(owner, None)


def owned(*owners: str | None, named: int = 1) -> Incident:
    """Return an incident whose updates have these owners; update `named` names its own."""
    pairs = enumerate(owners, 1)
    return incident_of(*(update_of(n, owner=owner, owner_named=n == named) for n, owner in pairs))


@pytest.mark.parametrize(
    ("incident", "minutes"),
    [
        pytest.param(owned(None, None, None), None, id="none names one"),
        pytest.param(owned("dana", "dana", "dana"), None, id="only the first does"),
        pytest.param(owned("dana", "kim", "kim"), 10, id="another one"),
        pytest.param(owned("dana", "dana", "dana", named=2), 10, id="the same one again"),
    ],
)
def test_the_file_names_an_owner_anew_where_an_update_does(incident: Incident, minutes: int | None) -> None:
    """dana lost it to sam: whom the file names after that has it."""
    assert owner_since(incident) == (None if minutes is None else AT + minutes * MINUTE)
    is_named_anew = minutes is not None
    assert on_duty_for(incident, [taken("sam", 5)]).owner == (
        incident.latest.owner if is_named_anew else "sam"
    )
    assert on_duty_for(incident, [taken("sam", 10)]).owner == "sam"


# --- drift --------------------------------------------------------------------------------------------------


def ticks(*apart: float) -> Sequence[datetime]:
    """Return ticks so many minutes after one another."""
    return [AT + minutes * MINUTE for minutes in accumulate(apart, initial=0.0)]


@pytest.mark.parametrize(
    ("apart", "typical", "worst"),
    [
        pytest.param([1] * 30, 1, 1, id="cron"),
        pytest.param([5, 5, 17, 5, 5, 8], 5, 17, id="of few the worst is the latest"),
        pytest.param([1] * 97 + [7, 1, 9], 1, 1, id="of many the two latest of a hundred do not count"),
        pytest.param([5] * 90 + [17] * 10, 5, 17, id="but one in ten does"),
        pytest.param([5, 5, 5, 5, 480, 5], 5, 5, id="a machine that slept is a gap"),
        pytest.param([60, 62, 70, 90, 61], 62, 90, id="hourly ticks are no gaps"),
        pytest.param([5, *[0.05, 4.95] * 3, 0.05], 5, 5, id="two hosts at once are one"),
    ],
)
def test_typical_and_worst(apart: Sequence[float], typical: float, worst: float) -> None:
    found = drift_of(ticks(*apart))
    assert found is not None
    assert (found.typical, found.worst) == (typical * MINUTE, worst * MINUTE)


@pytest.mark.parametrize("apart", [[], [1], [1, 1, 1], [0.1] * 10])
def test_too_few_ticks_tell_nothing(apart: Sequence[float]) -> None:
    assert drift_of(ticks(*apart)) is None
    assert drift_of([]) is None


def test_gaps_and_hosts_are_told() -> None:
    found = drift_of(ticks(5, 5, 480, 5, 5, 600), ["b", "a", "b"])
    assert found == Drift(5 * MINUTE, 5 * MINUTE, 6, 2, 600 * MINUTE, ("b", "a"))


def test_what_ticks_can_keep_follows_from_the_worst() -> None:
    drift = Drift(5 * MINUTE, timedelta(minutes=16, seconds=40))
    assert (drift.hold_before, drift.shortest_promise) == (17 * MINUTE, 20 * MINUTE)


def test_every_promise_shorter_than_that_is_named() -> None:
    own = {"first": "10m", "every": "15m", "after_2h": "60m", "board": "10m"}
    config = config_of(cadence={"1": own, "3": {"every": "20m"}})
    kept = Drift(5 * MINUTE, 17 * MINUTE)
    assert not_kept(kept, config) == ("cadence.1.every = 15m", "cadence.1.board = 10m")
    assert not_kept(Drift(MINUTE, 2 * MINUTE), config) == ()


def test_a_default_counts_where_somebody_hears_of_it() -> None:
    config = config_of(audiences={"customers": {"recipients": "c.csv", "severities": [1]}})
    assert not_kept(Drift(20 * MINUTE, 25 * MINUTE), config) == ("cadence.1.every = 20m",)
