"""Cells of a list other than addresses -> what a recipient holds; a refusal says what to write instead."""

from __future__ import annotations

import re
from functools import lru_cache
from zoneinfo import ZoneInfo

from commcast.config import Config
from commcast.model import Level

BLANKS = " \t\xa0"  # what stands around a cell's text without belonging to it
LONGEST_NAME = 200
LONGEST_VALUE = 1000
_LOCALE = re.compile(r"[a-z]{2}(-[A-Z]{2})?")
# Not posix/… and not right/…, which counts leap seconds.
_ZONE = re.compile(r"[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
# Controls, line separators, bidi marks and overrides, zero-width characters but for the joiners of scripts,
# and surrogates (JSON can write half of one).
UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb]"
)


def name_of(text: str) -> str:
    if len(text) > LONGEST_NAME:
        raise ValueError(f"is longer than {LONGEST_NAME} characters; write a shorter one, it is never cut")
    return " ".join(value_of(text).split())


def value_of(text: str) -> str:
    if found := UNFIT.search(text):
        raise ValueError(f"holds the invisible character U+{ord(found[0]):04X}; type the text anew")
    if len(text) > LONGEST_VALUE:
        raise ValueError(f"is longer than {LONGEST_VALUE} characters; write a shorter text")
    return text


def items_of(text: str) -> tuple[str, ...]:
    """Return the parts of `a|b` or `a;b`, each once."""
    parts = (part.strip() for part in re.split(r"[|;]", value_of(text)))
    return tuple(dict.fromkeys(part for part in parts if part))


def components_of(text: str, config: Config) -> tuple[str, ...]:
    components = items_of(text)
    if config.components and not config.components.keys() >= set(components):
        known = ", ".join(list(config.components)[:20])
        raise ValueError(f"names a component that commcast.toml does not know; it knows {known}")
    return components


def locale_of(text: str) -> str:
    if not _LOCALE.fullmatch(text):
        raise ValueError("is not a locale; write one such as de or de-AT")
    return text


def level_of(text: str) -> Level:
    try:
        return Level(text)
    except ValueError:
        raise ValueError(f"is not a level; write {', '.join(Level)}") from None


@lru_cache(maxsize=1024)
def timezone_of(text: str) -> str:
    try:
        if _ZONE.fullmatch(text):
            return ZoneInfo(text).key
    except (KeyError, ValueError, OSError):
        pass
    raise ValueError("is not a time zone; write one such as Europe/Berlin or UTC")
