"""Wrong words: whether a text holds them, and the text with the right ones in their place (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from commcast.wording.sms import replace_lookalikes

_NEAR_ENOUGH = 0.6  # of 1, which is the same
_STOPS = ".!?,;:"
_LONGEST_SEARCHED = 20_000  # characters of a text in which the nearest words are looked for


def holds(text: str, wrong: str) -> bool:
    """Return whether a text says `wrong`, in whatever case, line breaks and quotation marks.

    "3 hours" does not stand in "13 hours" nor in "1.3 hours".
    """
    return bool(_pattern(wrong).search(_plain(text)))


def as_said(texts: Sequence[str], wrong: str) -> str:
    """Return `wrong` in the letter case in which one of these texts says it; as it is where none does."""
    if any(wrong in " ".join(text.split()) for text in texts):
        return wrong
    found = next((hit for text in texts if (hit := _pattern(wrong).search(text))), None)
    return " ".join(found[0].split()) if found else wrong


def put_right(text: str, wrong: str, right: str) -> str:
    """Return the text with `right` in every place where it says `wrong`; else just as it was.

    Where a stop follows already, the one that `right` ends in is left out.
    """
    pattern = _pattern(wrong)

    def instead(found: re.Match[str]) -> str:
        begins_sentence = found[0][:1].isupper() and not wrong.strip()[:1].isupper()
        words = right[:1].upper() + right[1:] if begins_sentence else right
        behind = found.string[found.end() : found.end() + 1]
        return words[:-1] if behind and behind in _STOPS and words[-1:] in {".", "!", "?"} else words

    if pattern.search(text):
        return pattern.sub(instead, text)
    return pattern.sub(instead, _plain(text)) if pattern.search(_plain(text)) else text


def put_title_right(title: str, wrong: str, right: str) -> str:
    """Return the title with `right` for `wrong`; the stop of a sentence does not go into a title."""
    is_sentence = right.endswith(".") and right.count(".") == 1  # "at 3 p.m." keeps its own
    return put_right(title, wrong, right[:-1] if is_sentence else right)


def nearest(wrong: str, texts: Iterable[str]) -> str:
    """Return the words of `texts` that come nearest to `wrong`, "" where none do."""
    count = len(wrong.split())
    best, found = _NEAR_ENOUGH, ""
    matcher = SequenceMatcher(b=wrong.casefold(), autojunk=False)
    for words in {" ".join(some) for text in texts for some in _runs(text[:_LONGEST_SEARCHED], count)}:
        matcher.set_seq1(words.casefold())
        if matcher.real_quick_ratio() > best and matcher.quick_ratio() > best and matcher.ratio() > best:
            best, found = matcher.ratio(), words
    return found


def _runs(text: str, count: int) -> Iterable[list[str]]:
    words = [word.strip(".,;:!?()\"'") for word in _plain(text).split()]
    for length in {max(count - 1, 1), count, count + 1}:
        yield from (words[start : start + length] for start in range(max(len(words) - length + 1, 0)))


def _plain(text: str) -> str:
    return replace_lookalikes(text)[0]


@lru_cache(maxsize=64)
def _pattern(wrong: str) -> re.Pattern[str]:
    words = _plain(wrong).split()
    if not words:
        return re.compile(r"(?!)")  # no words stand nowhere
    before = r"(?<!\w)(?<!\d[.,])" if words[0][0].isalnum() else ""
    behind = r"(?!\w)(?![.,]\d)" if words[-1][-1].isalnum() else ""
    return re.compile(before + r"\s+".join(map(re.escape, words)) + behind, re.IGNORECASE)
