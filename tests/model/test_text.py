"""Texts: sizes as they are billed, look-alikes replaced, and wrong words found and put right."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.model.text import (
    SmsSize,
    as_said,
    holds,
    markup_in,
    measure,
    nearest,
    put_right,
    put_title_right,
)
from commcast.model.text import replace_lookalikes as plainly
from tests.support.segments import SIZES as SIZES_BY_TWILIO
from tests.support.segments import texts as texts_around_borders
from tests.support.values import cases

SIZES: list[tuple[Any, ...]] = [
    # text, encoding, units, segments, forced by; compared with Twilio's own calculator
    *(("", "GSM-7", 0, 1, ""), ("Card payments fail", "GSM-7", 18, 1, "")),
    *(("a" * 160, "GSM-7", 160, 1, ""), ("a" * 161, "GSM-7", 161, 2, ""), ("a" * 306, "GSM-7", 306, 2, "")),
    *(("a" * 307, "GSM-7", 307, 3, ""), ("a" * 1600, "GSM-7", 1600, 11, "")),
    *(("€" * 80, "GSM-7", 160, 1, ""), ("a" + "€" * 80, "GSM-7", 161, 2, "")),
    ("€" * 153, "GSM-7", 306, 3, ""),  # 76 whole ones fit a part of 153
    ("^{}\\[~]|€\f", "GSM-7", 20, 1, ""),
    ("@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ", "GSM-7", 31, 1, ""),
    *(("ç", "UCS-2", 1, 1, "ç"), ("`", "UCS-2", 1, 1, "`"), ("a\tb", "UCS-2", 3, 1, "\t")),
    *(("’" + "a" * 69, "UCS-2", 70, 1, "’"), ("a" * 70 + "’", "UCS-2", 71, 2, "’")),
    *(("ж" * 134, "UCS-2", 134, 2, "ж"), ("ж" * 135, "UCS-2", 135, 3, "ж")),
    *(("😀" * 35, "UCS-2", 70, 1, "😀"), ("😀" * 36, "UCS-2", 72, 2, "😀")),
    ("😀" * 67, "UCS-2", 134, 3, "😀"),  # 33 whole ones fit a part of 67
    ("a" * 66 + "😀" * 3, "UCS-2", 72, 2, "😀"),
]


def test_texts_are_sized_as_billed_and_what_no_phone_can_show_is_refused() -> None:
    for text, *size in SIZES:
        assert measure(text) == SmsSize(*size)
    for text in ("\x1b", "red \x1b[31m", "half \ud83d", "\udc00"):
        with pytest.raises(ValueError, match=";"):
            measure(text)


def test_three_thousand_texts_are_sized_as_twilios_calculator_sizes_them() -> None:
    """Emoji clusters and accents included; see `tests/support/segments.py` for where the sizes come from."""
    sizes = SIZES_BY_TWILIO.read_text(encoding="utf-8").split()
    for text, expected in zip(texts_around_borders(), sizes, strict=True):
        found = measure(text)
        assert (f"{found.encoding[0]}{found.units}/{found.segments}", text) == (expected, text)


def test_what_no_segment_holds_is_split_after_all() -> None:
    assert measure("a" + "\u0301" * 200).segments == 3  # the calculator says 2: more than a segment holds


def test_look_alikes_are_replaced_and_named() -> None:
    for text, plain, replaced in (
        ("plain", "plain", ()),
        ("“Hi” – it’s…", '"Hi" - it\'s...', (("“", '"'), ("”", '"'), ("–", "-"), ("’", "'"), ("…", "..."))),
        ("10\u00a0min ’’", "10 min ''", (("\u00a0", " "), ("’", "'"))),
        ("a\u200bb\u00adc\ufeff", "abc", (("\u200b", ""), ("\u00ad", ""), ("\ufeff", ""))),
        ("a\u2028b\tc", "a\nb c", (("\u2028", "\n"), ("\t", " "))),
        ("Łukasz, Garçon, жду 😀", "Łukasz, Garçon, жду 😀", ()),
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧", ()),
    ):
        assert plainly(text) == (plain, replaced)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x1b"), max_size=500)
texts |= st.text("ab €[]éÇ\n", max_size=500) | st.text("abж😀’", max_size=300)


@given(texts)
def test_segments_hold_all_units_and_lose_no_more_than_they_must(text: str) -> None:
    size = measure(text)
    single, part = (160, 153) if size.encoding == "GSM-7" else (70, 67)
    if size.units <= single:
        assert size.segments == 1
    else:
        assert size.units <= size.segments * part
        assert (size.segments - 1) * (part - 1 if size.encoding == "GSM-7" else part / 2) < size.units
    assert (size.encoding == "UCS-2") == bool(size.forced_by)
    assert size.forced_by in text
    if size.encoding == "UCS-2":
        assert size.units == len(text.encode("utf-16-le")) // 2


@given(texts, texts)
def test_replacing_in_parts_equals_replacing_the_whole_and_keeps_every_letter(left: str, right: str) -> None:
    whole, replaced = plainly(left + right)
    assert whole == plainly(left)[0] + plainly(right)[0]
    assert plainly(whole) == (whole, ())
    assert all(char in left + right for char, _ in replaced)
    assert all(measure(replacement).encoding == "GSM-7" for _, replacement in replaced)
    assert {char for char, _ in replaced if unicodedata.category(char)[0] == "L"} <= set("ʹʻʼˈ")


@cases(r"""
    text                                            | wrong            | right       | found
    It takes\n3\n  Hours.                           | 3 hours          | 4 hours     | It takes\n4 hours.
    It takes 13 hours, or 1.3 hours, or 3 hoursish. | 3 hours          | x           |
    3.5 apples                                      | 3                | x           |
    We said ‘now’.                                  | 'now'            | then        | We said then.
    Three hours. Not three hours.                   | three hours      | one hour    | One hour. Not one hour.
    Cards fail again.                               | cards fail again | Cards fail. | Cards fail.
    Cards fail again!                               | cards fail again | Cards fail. | Cards fail!
    Cards fail again, and more.                     | cards fail again | Cards fail. | Cards fail, and more.
    Cards fail again                                | cards fail again | Cards fail. | Cards fail.
    Cards fail again. More.                         | cards fail again | at 3 p.m.   | At 3 p.m. More.
""")
def test_wrong_words_are_found_and_put_right(text: str, wrong: str, right: str, found: str) -> None:
    """In any case, over line ends, never inside another word or number; a stop is not doubled."""
    text, found = text.replace(r"\n", "\n"), found.replace(r"\n", "\n")
    assert holds(text, wrong) is bool(found)
    assert put_right(text, wrong, right) == (found or text)


@cases("""
    text                                   | pasted
    <p>Cards fail.</p>                     | <p>
    Cards&nbsp;fail                        | &nbsp;
    It is **down** now                     | **down**
    See [status](https://status.example/x) | [status](https://status.example/x)
    ## What happened                       | ##
    Run `restart`                          | `restart`
    1 < 2 > 0, 5 * 3 * 2, R&D, <none>, #4  |
    snake_case_name and [EU] (all)         |
""")
def test_pasted_markup_is_noticed(text: str, pasted: str) -> None:
    assert markup_in(text) == pasted


def test_a_title_gets_no_stop_and_wrong_words_are_quoted_in_the_letter_case_they_had() -> None:
    assert put_title_right("Cards fail again", "cards fail again", "Cards fail.") == "Cards fail"
    assert put_title_right("Cards fail now", "now", "at 3 p.m.") == "Cards fail at 3 p.m."

    assert as_said(["No.", "Oh: Cards\nfail."], "cards fail") == "Cards fail"
    assert as_said(["Cards fail.", "The cards fail."], "cards fail") == "cards fail"
    assert as_said(["Nothing."], "cards fail") == "cards fail"
    assert nearest("4 hours", ["The rollback takes 3 hours, we think."]) == "3 hours"
    assert nearest("a fire in the cellar", ["All is well."]) == ""


PHRASE = st.lists(st.text("abcdefgh0123456789", min_size=1, max_size=6), min_size=1, max_size=4).map(" ".join)


@given(before=PHRASE, wrong=PHRASE, right=PHRASE, behind=PHRASE)
def test_what_is_put_right_says_the_right_words(before: str, wrong: str, right: str, behind: str) -> None:
    text, expected = f"{before} {wrong} {behind}", f"{before} {right} {behind}"
    assert holds(text, wrong)
    corrected = put_right(text, wrong, right)
    assert right.casefold() in corrected.casefold() and holds(corrected, right)
    if not holds(expected, wrong) and corrected == expected:
        assert not holds(corrected, wrong)


@given(text=st.text(max_size=200), wrong=st.text(max_size=20), right=st.text(max_size=20))
def test_any_text_can_be_searched(text: str, wrong: str, right: str) -> None:
    corrected = put_right(text, wrong, right)
    assert holds(text, wrong) or corrected == text
