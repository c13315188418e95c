"""Texts: sizes as they are billed, look-alikes replaced, and wrong words put right."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.model.text import (
    MAX_CHARACTERS,
    SmsSize,
    as_said,
    measure,
    put_right,
    put_title_right,
    replace_lookalikes,
)

SIZES = [
    # text, encoding, units, segments, forced by; compared with Twilio's own calculator
    ("", "GSM-7", 0, 1, ""),
    ("Card payments fail", "GSM-7", 18, 1, ""),
    ("a" * 160, "GSM-7", 160, 1, ""),
    ("a" * 161, "GSM-7", 161, 2, ""),
    ("a" * 306, "GSM-7", 306, 2, ""),
    ("a" * 307, "GSM-7", 307, 3, ""),
    ("€" * 80, "GSM-7", 160, 1, ""),
    ("a" + "€" * 80, "GSM-7", 161, 2, ""),
    ("€" * 153, "GSM-7", 306, 3, ""),  # 76 whole ones fit a part of 153
    ("^{}\\[~]|€\f", "GSM-7", 20, 1, ""),
    ("@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ", "GSM-7", 31, 1, ""),
    ("ç", "UCS-2", 1, 1, "ç"),
    ("`", "UCS-2", 1, 1, "`"),
    ("a\tb", "UCS-2", 3, 1, "\t"),
    ("’" + "a" * 69, "UCS-2", 70, 1, "’"),
    ("a" * 70 + "’", "UCS-2", 71, 2, "’"),
    ("ж" * 134, "UCS-2", 134, 2, "ж"),
    ("ж" * 135, "UCS-2", 135, 3, "ж"),
    ("😀" * 35, "UCS-2", 70, 1, "😀"),
    ("😀" * 36, "UCS-2", 72, 2, "😀"),
    ("😀" * 67, "UCS-2", 134, 3, "😀"),  # 33 whole ones fit a part of 67
    ("a" * 66 + "😀" * 3, "UCS-2", 72, 2, "😀"),
]


@pytest.mark.parametrize(("text", "encoding", "units", "segments", "forced_by"), SIZES)
def test_a_text_is_measured_as_the_provider_bills_it(
    text: str, encoding: str, units: int, segments: int, forced_by: str
) -> None:
    assert measure(text) == SmsSize(encoding, units, segments, forced_by)


@pytest.mark.parametrize("text", ["\x1b", "red \x1b[31m", "half \ud83d", "\udc00"])
def test_what_no_phone_can_show_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=";"):
        measure(text)


@pytest.mark.parametrize(
    ("text", "plain", "replaced"),
    [
        ("plain", "plain", ()),
        ("“Hi” – it’s…", '"Hi" - it\'s...', (("“", '"'), ("”", '"'), ("–", "-"), ("’", "'"), ("…", "..."))),
        ("10\u00a0min ’’", "10 min ''", (("\u00a0", " "), ("’", "'"))),
        ("a\u200bb\u00adc\ufeff", "abc", (("\u200b", ""), ("\u00ad", ""), ("\ufeff", ""))),
        ("a\u2028b\tc", "a\nb c", (("\u2028", "\n"), ("\t", " "))),
        ("Łukasz, Garçon, жду 😀", "Łukasz, Garçon, жду 😀", ()),
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧", ()),
    ],
)
def test_look_alikes_are_replaced_once_named_and_letters_never(
    text: str, plain: str, replaced: tuple[tuple[str, str], ...]
) -> None:
    assert replace_lookalikes(text) == (plain, replaced)


def test_a_smart_quote_no_longer_halves_the_room_of_a_text() -> None:
    text = "it’s " + "a" * 155
    assert measure(text).segments == 3
    assert measure(replace_lookalikes(text)[0]) == SmsSize("GSM-7", 160, 1, "")


def test_the_longest_body_is_twilios() -> None:
    assert (MAX_CHARACTERS, measure("a" * MAX_CHARACTERS).segments) == (1600, 11)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x1b"), max_size=500)
texts |= st.text("ab €[]éÇ\n", max_size=500) | st.text("abж😀’", max_size=300)


@given(texts)
def test_segments_hold_all_units_and_lose_at_most_one_unit_each(text: str) -> None:
    size = measure(text)
    single, part = (160, 153) if size.encoding == "GSM-7" else (70, 67)
    if size.units <= single:
        assert size.segments == 1
    else:
        assert (size.segments - 1) * (part - 1) < size.units <= size.segments * part
    assert (size.encoding == "UCS-2") == bool(size.forced_by)
    assert size.forced_by in text
    if size.encoding == "UCS-2":
        assert size.units == len(text.encode("utf-16-le")) // 2


@given(texts, texts)
def test_more_text_never_costs_less(left: str, right: str) -> None:
    assert measure(left + right).segments >= measure(left).segments
    assert measure(left + right).units <= 2 * (measure(left).units + measure(right).units)


@given(texts, texts)
def test_replacing_in_parts_equals_replacing_the_whole(left: str, right: str) -> None:
    whole, replaced = replace_lookalikes(left + right)
    assert whole == replace_lookalikes(left)[0] + replace_lookalikes(right)[0]
    assert replace_lookalikes(whole) == (whole, ())
    assert all(char in left + right for char, _ in replaced)


@given(texts)
def test_replacing_puts_in_only_what_gsm_7_has_and_keeps_every_letter(text: str) -> None:
    _, replaced = replace_lookalikes(text)
    assert all(measure(replacement).encoding == "GSM-7" for _, replacement in replaced)
    kept = [char for char in text if unicodedata.category(char)[0] == "L" and char not in "ʹʻʼˈ"]
    assert not {char for char, _ in replaced} & (set(kept) - {"x"})


@pytest.mark.parametrize(
    ("text", "right", "found"),
    [
        ("Cards fail again.", "Cards fail.", "Cards fail."),
        ("Cards fail again!", "Cards fail.", "Cards fail!"),
        ("Cards fail again, and more.", "Cards fail.", "Cards fail, and more."),
        ("Cards fail again", "Cards fail.", "Cards fail."),
        ("Cards fail again. More.", "at 3 p.m.", "At 3 p.m. More."),
    ],
)
def test_a_stop_that_follows_the_wrong_words_is_not_doubled(text: str, right: str, found: str) -> None:
    assert put_right(text, "cards fail again", right) == found


def test_a_title_gets_no_stop() -> None:
    assert put_title_right("Cards fail again", "cards fail again", "Cards fail.") == "Cards fail"
    assert put_title_right("Cards fail now", "now", "at 3 p.m.") == "Cards fail at 3 p.m."


def test_wrong_words_are_quoted_in_the_letter_case_they_had() -> None:
    assert as_said(["No.", "Oh: Cards\nfail."], "cards fail") == "Cards fail"
    assert as_said(["Cards fail.", "The cards fail."], "cards fail") == "cards fail"
    assert as_said(["Nothing."], "cards fail") == "cards fail"
