"""Who is on duty: the rules of handing over and taking, as tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from commcast.model.duty import Handover, OnDuty, on_duty_for, owner_since, who_is_on_duty
from commcast.model.incident import Status
from tests.support.values import story

AT = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)


def offered(person: str, minute: int = 0) -> Handover:
    return Handover(person, "dana", AT + timedelta(minutes=minute))


def taken(person: str, minute: int = 0, after: int = 1) -> Handover:
    at = AT + timedelta(minutes=minute)
    return Handover(person, "dana", at, taken_by=person, taken_at=at + timedelta(minutes=after))


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
        pytest.param([taken("dana")], "dana", "sam", None, id="taken by who has it: nothing moves"),
        pytest.param([offered("dana")], "dana", "sam", None, id="offered to who has it: nothing waits"),
    ],
)
def test_the_last_hand_over_that_was_taken_counts(
    handovers: list[Handover], owner: str, backup: str, waits_for: str | None
) -> None:
    found = who_is_on_duty("dana", "sam", handovers)
    assert (found.owner, found.backup) == (owner, backup)
    assert (found.offered.person if found.offered else None) == waits_for


def test_an_incident_without_an_owner_can_be_taken() -> None:
    assert who_is_on_duty(None, None, [taken("sam")]) == OnDuty("sam", None)
    assert who_is_on_duty(None, "sam", [taken("sam")]) == OnDuty("sam", None)


def test_a_later_word_of_the_file_replaces_what_was_handed_over_before() -> None:
    later = AT + timedelta(minutes=30)
    assert who_is_on_duty("kim", None, [taken("sam")], owner_since=later) == OnDuty("kim", None)
    assert who_is_on_duty("kim", None, [offered("sam")], owner_since=later) == OnDuty("kim", None)
    assert who_is_on_duty("kim", None, [taken("sam", 40)], owner_since=later) == OnDuty("sam", None)


def test_the_file_names_an_owner_anew_where_an_update_changes_it() -> None:
    told = story(Status.INVESTIGATING, Status.IDENTIFIED, Status.MONITORING)
    one, two, three = told.updates
    assert owner_since(told) is None
    changed = told.model_copy(
        update={
            "updates": (
                one.model_copy(update={"owner": "dana"}),
                two.model_copy(update={"owner": "kim"}),
                three.model_copy(update={"owner": "kim"}),
            )
        }
    )
    assert owner_since(changed) == two.at
    before = Handover("sam", "dana", two.at - timedelta(minutes=2), "sam", two.at - timedelta(minutes=1))
    assert on_duty_for(changed, [before]).owner == "kim"


def test_the_file_names_an_owner_anew_where_an_update_names_the_same_one() -> None:
    """dana, whom the file names, lost it to sam and is named once more: she has it again."""
    told = story(Status.INVESTIGATING, Status.IDENTIFIED, Status.MONITORING)
    updates = [each.model_copy(update={"owner": "dana"}) for each in told.updates]
    updates[1] = updates[1].model_copy(update={"owner_named": True})
    named = told.model_copy(update={"updates": tuple(updates)})
    before = Handover("sam", "dana", AT, "sam", updates[1].at - timedelta(minutes=1))
    assert on_duty_for(named, [before]).owner == "dana"
    after = Handover("sam", "dana", AT, "sam", updates[1].at + timedelta(minutes=1))
    assert on_duty_for(named, [after]).owner == "sam"
