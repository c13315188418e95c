"""What is told of a hand-over, and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from commcast.model.incident import Status
from commcast.model.oncall import Handover
from commcast.oncall.nudges import Nudge, handing_nudges
from tests.support.values import AT, config_of, incident_of, story, update_of

CONFIG = config_of(
    people={"dana": {"name": "Dana Reyes"}, "sam": {"name": "Sam Oyo"}, "kim": {"name": "Kim"}}
)
OWNED = incident_of(update_of(1, owner="dana"))
OFFERED = Handover("sam", "dana", AT)
TAKEN = Handover("sam", "dana", AT, taken_by="sam", taken_at=AT + timedelta(minutes=2))


def nudges(*handovers: Handover, after: int = 1, nudged: Sequence[str] = ()) -> tuple[Nudge, ...]:
    return handing_nudges(OWNED, handovers, CONFIG, AT + timedelta(minutes=after), nudged=nudged)


def test_an_offer_is_told_to_both_once_and_once_more_when_nobody_takes_it() -> None:
    (first,) = nudges(OFFERED)
    assert (first.told, first.note) == (("dana", "sam"), "Dana Reyes offers this to Sam Oyo")
    assert first.line == "commcast take pay7 --as sam"
    assert (first.line_for, first.line_of_others) == ("sam", "commcast status pay7")
    assert nudges(OFFERED, nudged=[first.id]) == ()
    (again,) = nudges(OFFERED, after=10, nudged=[first.id])
    assert again.note == "Sam Oyo has not taken this over yet"
    assert nudges(OFFERED, after=60, nudged=[first.id, again.id]) == ()


def test_a_third_one_who_hands_it_over_is_told_as_well() -> None:
    (first,) = nudges(Handover("sam", "kim", AT))
    assert first.told == ("dana", "sam", "kim")
    (first,) = nudges(Handover("sam", "root", AT))
    assert (first.told, first.note) == (("dana", "sam"), "root offers this to Sam Oyo")


def test_that_it_was_taken_is_told_to_both_and_the_offer_no_more() -> None:
    (taken,) = nudges(TAKEN)
    assert (taken.told, taken.note) == (("dana", "sam"), "Sam Oyo has taken this over from Dana Reyes")


def test_only_the_last_hand_over_is_news() -> None:
    (offered,) = nudges(TAKEN, Handover("kim", "sam", AT + timedelta(minutes=5)))
    assert offered.told == ("sam", "kim")


def test_what_moves_nothing_is_told_to_nobody() -> None:
    assert nudges() == ()
    assert nudges(Handover("dana", "dana", AT)) == ()
    assert nudges(Handover("dana", "", AT, taken_by="dana", taken_at=AT)) == ()
    ended = story(Status.INVESTIGATING, Status.RESOLVED)
    assert handing_nudges(ended, [OFFERED], CONFIG, AT, nudged=()) == ()
