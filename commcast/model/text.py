"""How many segments a text message takes; look-alikes, quotes, wrong wording and languages of a text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from functools import cache, lru_cache
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

    An extension character (such as € or [) costs two units. It is never split, nor is a surrogate pair, nor
    what is seen as one character: a letter with its accents, a flag, a family.
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
    units = sum(widths)
    if forced_by and units > _SINGLE[UCS2]:
        widths = _widths_as_seen(text, widths)
    return SmsSize(encoding, units, _segments(widths, encoding), forced_by)


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


# BCP 47: language, script, region, then variants and extensions.
_LOCALE = re.compile(
    r"(?ai)(?=.{2,35}$)([a-z]{2,3}(?:-[a-z]{3}){0,3})(?:-([a-z]{4}))?(?:-([a-z]{2}|\d{3}))?"
    r"((?:-(?:[a-z\d]{5,8}|\d[a-z\d]{3}))*(?:-[a-z\d](?:-[a-z\d]{2,8})+)*)"
)


def locale_of(text: str) -> str:
    """Return a BCP 47 tag as it is usually written: de_at and DE-AT are de-AT. Raises ValueError."""
    found = _LOCALE.fullmatch(text.replace("_", "-"))
    if not found:
        raise ValueError("is not a locale; write one such as de or de-AT")
    language, script, region, more = (part or "" for part in found.groups())
    return "-".join(filter(None, (language.lower(), script.title(), region.upper()))) + more.lower()


def in_locale(translations: Mapping[str, Mapping[str, str]], locale: str) -> dict[str, str]:
    """Return what is translated for readers of a locale: de-AT takes from de what it lacks."""
    parts = locale.split("-")
    tags = ("-".join(parts[:count]) for count in range(1, len(parts) + 1))
    return {key: text for tag in tags for key, text in translations.get(tag, {}).items()}


# Twilio's calculator splits by Unicode 10 (UAX #29), which lists the emoji that take a skin tone or follow a
# joiner. Later emoji count as several characters.
_TAKES_TONE = (
    "[☝⛹✊-✍🎅🏂-🏄🏇🏊-🏌👂👃👆-👐👦-👩👮👰-👸👼💁-💃💅-💇💪🕴🕵🕺"
    "🖐🖕🖖🙅-🙇🙋-🙏🚣🚴-🚶🛀🛌🤘-🤜🤞🤟🤦🤰-🤹🤽🤾🧑-🧝]"
)
_FOLLOWS_JOINER = "[♀♂⚕⚖✈❤🌈🌾🍳🎓🎤🎨🏫🏭💋💻💼🔧🔬🗨🚀🚒]"
_STANDS_ALONE = "\\x00-\\x1f\\x7f-\\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
_SPACED_MARKS = "ါားၢ-ၤၧ-ၭႃႇ-ႌႏႚ-ႜ"  # Burmese vowels that begin a character of their own


def _widths_as_seen(text: str, widths: list[int]) -> list[int]:
    """Return the widths of the characters as they are seen; unchanged if one would not fit a segment."""
    joining, one = _seen_as_one()
    if joining.isdisjoint(text):
        return widths
    seen = [len(each.encode("utf-16-le")) // 2 for each in one.findall(text)]
    return seen if max(seen) <= _PART[UCS2] else widths


@cache
def _seen_as_one() -> tuple[frozenset[str], re.Pattern[str]]:
    """Return what joins characters, and the pattern of one as it is seen, made from every mark of Unicode."""
    apart = re.compile(f"[{_SPACED_MARKS}]")
    found = {char for char in map(chr, range(0x300, 0x1E94B)) if unicodedata.category(char)[0] == "M"}
    found = {char for char in found if not apart.match(char)} | set("\u200c\u0e33\u0eb3\uff9e\uff9f")
    found |= set(map(chr, (*range(0xE0020, 0xE0080), *range(0xE0100, 0xE01F0))))
    flag, tone, person, mark = "[🇦-🇿]", "[🏻-🏿]", "[👦-👩]", f"[{''.join(found)}]"
    joined = f"(?:\u200d(?:{_FOLLOWS_JOINER}|{person}{tone}?)?)*"
    joined_or_marked = f"(?:{mark}|\u200d(?:{_FOLLOWS_JOINER}|{person}(?:{mark}{tone})?)?)*"
    start = f"(?:{_TAKES_TONE}(?:{mark}?{tone})?|[^{_STANDS_ALONE}])"
    one = re.compile(f"{flag}{{2}}(?:{mark}|\u200d)?|{start}{joined}{joined_or_marked}|.", re.DOTALL)
    return frozenset(found) | set("\u200d🏻🏼🏽🏾🏿") | set(map(chr, range(0x1F1E6, 0x1F200))), one


_ENDS = ".!?…。！？．؟۔।։።"  # what a sentence ends with, in several scripts
_CLOSING = "\"'”’“‘»›」』）)]\u00a0\u202f"  # in German “ closes; in French a space comes before »
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
