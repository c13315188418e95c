"""Release: a yes to these very words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from commcast.model.incident import AudienceWords, Incident, Status, Timeframe, Window
from commcast.model.release import changed, digest, drafts, facts
from tests.support.values import AT, incident_of, released, story, update_of

BASE = incident_of(update_of(1, ended=None))


def with_update(**more: Any) -> Incident:
    return incident_of(update_of(1, **more))


@pytest.mark.parametrize(
    "more",
    [
        {"at": AT + timedelta(minutes=1)},
        {"status": Status.MONITORING},
        {"severity": 2},
        {"affected": ("api",)},
        {"audiences": ("board",)},
        {"issue": "Cards fail!"},
        {"resolution": "x"},
        {"timeframe": Timeframe(latest=AT)},
        {"scope": "x"},
        {"action": "x"},
        {"next_update": AT + timedelta(minutes=5)},
        {"nothing_new": "x"},
        {"words": {"board": AudienceWords(issue="x")}},
        {"window": Window(start=AT, end=AT + timedelta(hours=1))},
        {"ended": AT},
        {"fixed": "x"},
        {"remains": "x"},
        {"if_it_persists": "x"},
        {"because": "x"},
    ],
    ids=lambda more: next(iter(more)),
)
def test_all_that_a_reader_may_get_is_in_the_digest(more: dict[str, Any]) -> None:
    status = more.pop("status", Status.IDENTIFIED)
    other = incident_of(update_of(1, status, **more))
    assert digest(other, other.latest) != digest(BASE, BASE.latest)


@pytest.mark.parametrize("more", [{"title": "Other"}, {"started": AT - timedelta(hours=1)}])
def test_the_incidents_own_words_are_in_the_digest(more: dict[str, Any]) -> None:
    other = incident_of(update_of(1), **more)
    assert digest(other, other.latest) != digest(BASE, BASE.latest)


@pytest.mark.parametrize(
    "more",
    [
        {"internal": "db-eu-3"},
        {"owner": "dana"},
        {"owner_named": True},
        {"backup": "sam"},
        {"line": 99},
        {"at_written": False},
    ],
    ids=lambda more: next(iter(more)),
)
def test_what_no_reader_gets_may_change(more: dict[str, Any]) -> None:
    other = with_update(**more)
    assert digest(other, other.latest) == digest(BASE, BASE.latest)


@pytest.mark.parametrize("more", [{"id": "web1"}, {"path": "incidents/web1.yaml"}, {"dedupe_key": "k"}])
def test_the_files_name_may_change(more: dict[str, Any]) -> None:
    other = incident_of(update_of(1), **more)
    assert digest(other, other.latest) == digest(BASE, BASE.latest)


def test_every_field_of_an_update_was_thought_of() -> None:
    """A new field is published and so in the digest, unless it is named as internal here and there."""
    from commcast.model.release import _NOT_PUBLISHED

    assert set(type(BASE.latest).model_fields) >= _NOT_PUBLISHED
    internal = {"internal", "owner", "owner_named", "backup", "number", "line", "at_written"}
    assert internal == _NOT_PUBLISHED


def test_a_released_update_that_is_as_it_was_is_no_fault() -> None:
    two = story(Status.INVESTIGATING, Status.IDENTIFIED)
    assert changed(two, released(two, 1, 2)) == []
    assert changed(two, {}) == []


def test_a_released_update_that_changed_or_is_gone_is_named_with_its_line() -> None:
    three = story(Status.INVESTIGATING, Status.IDENTIFIED, Status.MONITORING)
    now = incident_of(three.update(1), update_of(2, issue="Cards work."))
    faults = changed(now, released(three, 3, 2, 1))
    assert [(fault.line, fault.what.partition(" was")[0]) for fault in faults] == [
        (7, "update 2"),
        (0, "update 3"),
    ]
    assert all("put it back as it was" in fault.remedy for fault in faults)


def test_drafts_are_what_nobody_released() -> None:
    three = story(Status.INVESTIGATING, Status.IDENTIFIED, Status.MONITORING)
    assert drafts(three, [2]) == (1, 3)
    assert drafts(three, released(three, 1, 2, 3)) == ()


def test_facts_hold_what_was_known_then() -> None:
    found = facts(BASE, BASE.latest)
    assert found["incident"]["title"] == "Cards fail"
    assert "updates" not in found["incident"]
    assert found["update"]["issue"] == "Cards fail."


def test_a_changed_release_says_how_it_was() -> None:
    then = with_update(issue="It is slow.")
    now = with_update(issue="It is very slow. " + "x" * 100)
    (fault,) = changed(now, released(then, 1), lambda _number: facts(then, then.latest))
    assert 'has changed since: issue was "It is slow."; now "It is very slow. xxx' in fault.what
    assert fault.what.endswith('x…"')
    assert len(fault.what) < 200
