"""How many segments a text message takes; look-alikes, quotes and wrong wording in a text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import NamedTuple

from gsm0338.charset import BASIC_CHARACTER_SET, BASIC_CHARACTER_SET_EXTENSION

MAX_CHARACTERS = 1600  # the longest Body that Twilio takes (error 21617)

GSM = "GSM-7"
UCS2 = "UCS-2"
_ESCAPE = "\x1b"  # announces an extension character on the wire; as a character of a text it is an attack
_BASIC = frozenset(map(unicodedata.lookup, BASIC_CHARACTER_SET.values()))
_EXTENSION = frozenset(map(unicodedata.lookup, BASIC_CHARACTER_SET_EXTENSION.values()))

# Units of a text that fits one segment, and of each segment of several (3GPP TS 23.040: the header of a part
# takes 6 bytes, which are 7 GSM-7 units or 3 UCS-2 units).
_SINGLE = {GSM: 160, UCS2: 70}
_PART = {GSM: 153, UCS2: 67}

_LOOKALIKES = {
    **dict.fromkeys("‘’‚‛′‵´`ʹʻʼˈ＇", "'"),
    **dict.fromkeys("“”„‟″‶«»＂", '"'),
    "‹": "<",
    "›": ">",
    **dict.fromkeys("‐‑‒–—―−⁃﹘﹣－", "-"),
    "…": "...",
    "•": "-",
    "⁄": "/",
    "∕": "/",
    "→": "->",
    "←": "<-",
    "×": "x",
    **dict.fromkeys("\t\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006", " "),
    **dict.fromkeys("\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
    **dict.fromkeys("\x0b\x85\u2028\u2029", "\n"),
    # Invisible: soft hyphen, zero-width space, word joiner, byte order mark. U+200C and U+200D stay, which
    # join emoji and the letters of several scripts.
    **dict.fromkeys("\u00ad\u200b\u2060\ufeff", ""),
}
_LOOKALIKE = re.compile("[" + re.escape("".join(_LOOKALIKES)) + "]")


class SmsSize(NamedTuple):
    """What a text message costs.

    `encoding` is "GSM-7" or "UCS-2"; `units` are septets or UTF-16 code units, without any part's header.
    `forced_by` is the first character that GSM-7 lacks, "" if the text is GSM-7.
    """

    encoding: str
    units: int
    segments: int
    forced_by: str


def measure(text: str) -> SmsSize:
    """Return the size of `text` as Twilio counts it: 160 or 153 units a segment in GSM-7, 70 or 67 in UCS-2.

    An extension character (such as € or [) costs two units; neither it nor a surrogate pair is ever split.
    Raises ValueError for the escape character and for half a surrogate pair, which no provider accepts.
    """
    if _ESCAPE in text:
        raise ValueError("contains the escape character U+001B; remove it")
    try:
        text.encode("utf-16-le")
    except UnicodeEncodeError:
        raise ValueError("contains half a character (a lone surrogate); write the character again") from None
    forced_by = next((char for char in text if char not in _BASIC and char not in _EXTENSION), "")
    encoding = UCS2 if forced_by else GSM
    widths = [2 if (char > "\uffff" if forced_by else char in _EXTENSION) else 1 for char in text]
    return SmsSize(encoding, sum(widths), _segments(widths, encoding), forced_by)


def replace_lookalikes(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return `text` with its look-alike characters replaced, and each (character, replacement) once.

    Each is replaced on its own, so that the parts of a text give the same as the whole. Letters are never
    touched: nobody's name is changed to save a segment.
    """
    found = dict.fromkeys(_LOOKALIKE.findall(text))
    if not found:
        return text, ()
    plain = _LOOKALIKE.sub(lambda match: _LOOKALIKES[match[0]], text)
    return plain, tuple((char, _LOOKALIKES[char]) for char in found)


def _segments(widths: list[int], encoding: str) -> int:
    """Return how many segments hold these widths, none of them split. An empty text is one segment."""
    if sum(widths) <= _SINGLE[encoding]:
        return 1
    segments, free = 0, 0
    for width in widths:
        if width > free:
            segments, free = segments + 1, _PART[encoding]
        free -= width
    return segments


_ENDS = ".!?…。！？．؟۔।։።"  # what a sentence ends with, in several scripts
_CLOSING = "\"'”’»›」』）)]"
_SINGLE_QUOTES = str.maketrans('"“”„‟«»', "'‘’‚‛‹›")


def as_sentence(text: str) -> str:
    """Return a text with a full stop, unless it has an end or closes with a link, if only inside quotes."""
    text = text.strip()
    has_end = not text or text.rstrip(_CLOSING)[-1:] in _ENDS or "://" in text.split()[-1]
    return text if has_end else text + "."


def single_quotes(text: str) -> str:
    """Return a text with single quotation marks, to be put into double ones."""
    return text.strip().translate(_SINGLE_QUOTES)


_MARKUP = re.compile(
    r"</?(?:a|b|i|u|p|br|em|strong|span|div|ul|ol|li|h[1-6]|table|tr|td|font|img)\b[^<>]{0,200}>"
    r"|&(?:nbsp|amp|lt|gt|quot|#\d{1,6});|\*\*\S[^*\n]*\*\*|`[^`\n]+`|\[[^\]\n]+\]\(https?:[^)\s]*\)?"
    r"|^#{1,6}(?= \S)",
    re.IGNORECASE | re.MULTILINE,
)


def markup_in(text: str) -> str:
    """Return the first HTML or Markdown in a text, which was probably pasted; "" for plain words."""
    found = _MARKUP.search(text)
    return found[0] if found else ""


_NEAR_ENOUGH = 0.6  # of 1, which is the same
_STOPS = f"{_ENDS},;:、，；：،؛"
_LONGEST_SEARCHED = 20_000  # characters of a text in which similar words are looked for


def holds(text: str, wrong: str) -> bool:
    """Return whether a text says `wrong`, whatever its case, line breaks and quotation marks.

    "3 hours" is not found in "13 hours" nor in "1.3 hours".
    """
    return bool(_pattern(wrong).search(_plain(text)))


def as_said(texts: Sequence[str], wrong: str) -> str:
    """Return `wrong` in the letter case in which one of these texts says it; unchanged if none does."""
    if any(wrong in " ".join(text.split()) for text in texts):
        return wrong
    found = next((hit for text in texts if (hit := _pattern(wrong).search(text))), None)
    return " ".join(found[0].split()) if found else wrong


def put_right(text: str, wrong: str, right: str) -> str:
    """Return the text with `right` wherever it says `wrong`; if it does not, unchanged.

    If a stop follows already, the one at the end of `right` is left out.
    """
    pattern = _pattern(wrong)

    def instead(found: re.Match[str]) -> str:
        begins_sentence = found[0][:1].isupper() and not wrong.strip()[:1].isupper()
        words = right[:1].upper() + right[1:] if begins_sentence else right
        behind = found.string[found.end() : found.end() + 1]
        return words[:-1] if behind and behind in _STOPS and words[-1:] in _ENDS else words

    return next((pattern.sub(instead, each) for each in (text, _plain(text)) if pattern.search(each)), text)


def put_title_right(title: str, wrong: str, right: str) -> str:
    """Return the title with `right` for `wrong`, without the stop of a sentence."""
    is_sentence = right[-1:] in {".", "。"} and right.count(right[-1]) == 1  # "at 3 p.m." keeps its own
    return put_right(title, wrong, right[:-1] if is_sentence else right)


def nearest(wrong: str, texts: Iterable[str]) -> str:
    """Return the words of `texts` that are most like `wrong`, "" if none are."""
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
        return re.compile(r"(?!)")  # no words are found nowhere
    before = r"(?<!\w)(?<!\d[.,])" if words[0][0].isalnum() else ""
    behind = r"(?!\w)(?![.,]\d)" if words[-1][-1].isalnum() else ""
    return re.compile(before + r"\s+".join(map(re.escape, words)) + behind, re.IGNORECASE)
