"""The wrong words of a text are found and put right, whatever their case and line ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from commcast.model.text import holds, nearest, put_right


def test_the_words_of_a_text_are_found_in_any_case_and_over_line_ends() -> None:
    assert holds("It takes\n3\n  Hours.", "3 hours")
    assert not holds("It takes 13 hours, or 1.3 hours, or 3 hoursish.", "3 hours")
    assert not holds("3.5 apples", "3")
    assert holds("We said ‘now’.", "'now'")


def test_the_right_words_begin_a_sentence_as_the_wrong_ones_did() -> None:
    assert put_right("Three hours. Not three hours.", "three hours", "one hour") == "One hour. Not one hour."


def test_the_nearest_words_are_named() -> None:
    assert nearest("4 hours", ["The rollback takes 3 hours, we think."]) == "3 hours"
    assert nearest("a fire in the cellar", ["All is well."]) == ""


WORDS_OF = st.lists(st.text("abcdefgh0123456789", min_size=1, max_size=6), min_size=1, max_size=4)
PHRASE = WORDS_OF.map(" ".join)


@given(before=PHRASE, wrong=PHRASE, right=PHRASE, behind=PHRASE)
def test_what_is_put_right_says_the_right_words_and_the_wrong_no_more(
    before: str, wrong: str, right: str, behind: str
) -> None:
    text = f"{before} {wrong} {behind}"
    assert holds(text, wrong)
    mended = put_right(text, wrong, right)
    assert right.casefold() in mended.casefold()
    assert holds(mended, right)
    if not holds(f"{before} {right} {behind}", wrong) and mended == f"{before} {right} {behind}":
        assert not holds(mended, wrong)


@given(text=st.text(max_size=200), wrong=st.text(max_size=20), right=st.text(max_size=20))
def test_any_text_can_be_looked_through(text: str, wrong: str, right: str) -> None:
    mended = put_right(text, wrong, right)
    assert holds(text, wrong) or mended == text
