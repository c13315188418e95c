"""How late ticks are, and which promises that can keep."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from commcast.model.drift import Drift, drift_of
from commcast.oncall.ticks import not_kept
from tests.support.values import config_of

AT = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)


def ticks(*apart: float) -> Sequence[datetime]:
    """Return ticks so many minutes after one another."""
    found = [AT]
    for minutes in apart:
        found.append(found[-1] + timedelta(minutes=minutes))
    return found


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


@pytest.mark.parametrize(
    ("apart", "typical", "worst"),
    [
        pytest.param([1] * 30, 1, 1, id="cron"),
        pytest.param([5, 5, 17, 5, 5, 8], 5, 17, id="of few the worst is the latest"),
        pytest.param([1] * 97 + [7, 1, 9], 1, 1, id="of many the two latest of a hundred do not count"),
        pytest.param([5] * 90 + [17] * 10, 5, 17, id="but one in ten does"),
        pytest.param([5, 5, 5, 5, 480, 5], 5, 5, id="a machine that slept is a gap"),
        pytest.param([60, 62, 70, 90, 61], 62, 90, id="hourly ticks are no gaps"),
        pytest.param([5, 0.05, 4.95, 0.05, 4.95, 0.05, 4.95, 0.05], 5, 5, id="two hosts at once are one"),
    ],
)
def test_typical_and_worst(apart: Sequence[float], typical: float, worst: float) -> None:
    found = drift_of(ticks(*apart))
    assert found is not None
    assert (found.typical, found.worst) == (minutes(typical), minutes(worst))


@pytest.mark.parametrize("apart", [[], [1], [1, 1, 1], [0.1] * 10])
def test_too_few_ticks_tell_nothing(apart: Sequence[float]) -> None:
    assert drift_of(ticks(*apart)) is None
    assert drift_of([]) is None


def test_gaps_and_hosts_are_told() -> None:
    found = drift_of(ticks(5, 5, 480, 5, 5, 600), ["b", "a", "b"])
    assert found == Drift(minutes(5), minutes(5), 6, 2, minutes(600), ("b", "a"))


def test_what_ticks_can_keep_follows_from_the_worst() -> None:
    drift = Drift(minutes(5), timedelta(minutes=16, seconds=40))
    assert drift.hold_before == minutes(17)
    assert drift.shortest_promise == minutes(20)


def test_every_promise_shorter_than_that_is_named() -> None:
    config = config_of(
        cadence={
            "1": {"first": "10m", "every": "15m", "after_2h": "60m", "board": "10m"},
            "3": {"every": "20m"},
        }
    )
    drift = Drift(minutes(5), minutes(17))
    assert not_kept(drift, config) == ("cadence.1.every = 15m", "cadence.1.board = 10m")
    assert not_kept(Drift(minutes(1), minutes(2)), config) == ()


def test_a_default_counts_where_somebody_hears_of_it() -> None:
    drift = Drift(minutes(20), minutes(25))
    customers = {"recipients": "c.csv", "severities": [1]}
    assert not_kept(drift, config_of(audiences={"customers": customers})) == ("cadence.1.every = 20m",)
