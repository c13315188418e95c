"""The rules of corrections, follow-ups and newcomers, each on its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.model.history import History, ReaderHistory, WrongWords
from commcast.model.incident import AudienceWords, Channel, Status, Update
from commcast.model.text import holds
from commcast.plan import reasons
from commcast.plan.corrections import (
    corrected,
    has_right_words,
    is_for_former_reader,
    is_for_others,
    is_newcomer,
    says,
)
from commcast.plan.notices import Notice, notice_of
from tests.support.values import AT, config_of, story, update_of

WRONG = WrongWords(7, Channel.SMS, "customers", 2, "3 hours", AT)
PLAIN = story(Status.INVESTIGATING, Status.IDENTIFIED)


def notice(**changes: Any) -> Notice:
    """Return the text that update 2 is, in which nothing is an event."""
    found = notice_of(PLAIN, PLAIN.latest, Channel.SMS, History(), config_of())
    return replace(found, **{"events": frozenset(), **changes})


def update(status: Status = Status.INVESTIGATING, **changes: Any) -> Update:
    said = {"issue": "It takes 3 hours.", "resolution": "We look into it."}
    return update_of(1, status, **{**said, **changes})


TOLD = ReaderHistory(told=True, is_known=True, heard=1)


@pytest.mark.parametrize(
    ("plain", "wrong", "history", "told"),
    [
        (True, (), TOLD, False),
        (True, (WRONG,), TOLD, False),
        (True, (WRONG,), TOLD._replace(waits=True), True),
        (True, (), ReaderHistory(), True),
        (False, (), TOLD, True),
    ],
)
def test_a_plain_text_goes_to_those_whose_words_were_wrong_and_to_newcomers(
    plain: bool, wrong: tuple[WrongWords, ...], history: ReaderHistory, told: bool
) -> None:
    assert (is_for_others(notice(is_plain=plain, wrong_words=wrong), history) == "") == told


def test_a_corrected_end_is_not_told_again_to_who_read_it_right() -> None:
    end = notice(number=3, is_end=True, wrong_words=(WRONG._replace(by=3),))
    assert has_right_words(end, TOLD._replace(heard=2)) == reasons.RIGHT_END_TOLD
    assert has_right_words(end, TOLD) == "", "they know of the beginning only"
    assert has_right_words(end, TOLD._replace(heard=2, waits=True)) == ""
    assert has_right_words(notice(number=3, is_end=True), TOLD._replace(heard=2)) == ""
    after = notice(number=3, is_end=True, wrong_words=(WRONG,))
    assert has_right_words(after, TOLD._replace(heard=2)) == "", "words before the end were corrected"


@given(
    told=st.booleans(),
    known=st.booleans(),
    is_end=st.booleans(),
    elsewhere=st.booleans(),
    first=st.booleans(),
)
def test_a_newcomer_is_whom_nothing_was_ever_meant_for(
    told: bool, known: bool, is_end: bool, elsewhere: bool, first: bool
) -> None:
    events = frozenset({"first"} if first else ())
    about = notice(is_end=is_end, told_elsewhere=elsewhere, events=events)
    is_new = is_newcomer(about, ReaderHistory(told=told, is_known=known))
    assert is_new == (not any((told, known, is_end, elsewhere, first)))


def test_a_former_reader_hears_ends_and_corrections_of_what_they_read() -> None:
    assert not is_for_former_reader(notice(), TOLD)
    assert is_for_former_reader(notice(), TOLD._replace(told_wrong=(WRONG,)))
    assert is_for_former_reader(notice(is_end=True), TOLD)
    assert is_for_former_reader(notice(only_told=True), TOLD)


def test_only_what_holds_wrong_words_is_said_anew() -> None:
    assert corrected(update(), "3 hours", "1 hour") == {"issue": "It takes 1 hour."}
    words = {"executives": AudienceWords(issue="Down for 3 hours."), "support": AudienceWords(scope="EU")}
    keys = corrected(update(words=words), "3 hours", "1 hour")
    assert keys["for"] == {"executives": {"issue": "Down for 1 hour."}, "support": {"scope": "EU"}}


def test_an_end_is_said_once_more_as_a_whole() -> None:
    done = "Done after 3 hours."
    end = update(Status.RESOLVED, issue=done, fixed=done, resolution="", remains="Receipts.", ended=AT)
    keys = {"status": "resolved", "ended": AT, "fixed": "Done after 1 hour.", "remains": "Receipts."}
    assert corrected(end, "3 hours", "1 hour") == {**keys, "issue": "Done after 1 hour."}
    fixed = update(Status.RESOLVED, issue="Rolled back.", fixed="Rolled back.", remains=done, ended=AT)
    assert "issue" not in corrected(fixed, "3 hours", "1 hour"), "what was fixed says it"
    told = update(Status.RESOLVED, issue="Cards fail.", fixed=done, ended=AT)
    assert corrected(told, "3 hours", "1 hour")["issue"] == "Cards fail."


SENTENCE = st.text("abc 123.,", min_size=1, max_size=40).map(str.strip).filter(bool)


@given(issue=SENTENCE, resolution=SENTENCE, fixed=SENTENCE, wrong=SENTENCE)
def test_nothing_that_is_said_anew_holds_the_wrong_words(
    issue: str, resolution: str, fixed: str, wrong: str
) -> None:
    for status in (Status.INVESTIGATING, Status.RESOLVED):
        mended = fixed if status is Status.RESOLVED else None
        said = update(status=status, issue=issue, resolution=resolution, fixed=mended)
        keys = corrected(said, wrong, "RIGHT")
        texts = [text for text in keys.values() if isinstance(text, str)]
        assert not any(holds(text, wrong) for text in texts)
        assert says(said, wrong) == any("RIGHT" in text for text in texts)
