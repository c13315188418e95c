"""Writes values as YAML that every YAML reader understands alike; reads unquoted values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from commcast.files import FORBIDDEN
from commcast.model.times import short_duration, write_instant

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40}))(?:[eE][-+]?[0-9]{1,4})?")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

# Text that readers of YAML 1.1 and 1.2 both read as text without quotes.
_LENGTH = r"(?:[0-9]+(?:min|m|h|d|w))+"
_TIME = rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9:]+(?:[+-][0-9:]+|Z)|{_LENGTH}(?: to {_LENGTH})?"
_PLAIN = re.compile(rf"[^\W\d_][^:#\n\t\[\]{{}},&*!|>'\"%@`=]*|{_TIME}")
_PLAIN_SENTENCE = re.compile(rf"[^\W\d_](?:[^:#\n\t]|:(?=\S)|(?<=\S)#)*|{_TIME}")
_WORDS_OF_OLD_YAML = re.compile(r"(?:y|yes|n|no|on|off|true|false|null)", re.IGNORECASE)


def plain_value(text: str) -> str | int | float | bool | None:
    """Return what unquoted `text` means in YAML 1.2; octal, hex and leading zeros stay text."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", "", 1))
    return float(text) if _FLOAT.fullmatch(text) else text


def as_written(value: Any) -> Any:
    """Return `value` with its times, durations and choices as the text that files have."""
    if isinstance(value, Mapping):
        return {str(key): as_written(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return write_instant(value)
    if isinstance(value, timedelta):
        return short_duration(value)
    if isinstance(value, Enum):
        return as_written(value.value)
    return [as_written(item) for item in value] if isinstance(value, list | tuple) else value


def lines_of(data: Mapping[str, Any], indent: int) -> list[str]:
    """Return a mapping as lines of YAML: lists of words in brackets, sentences quoted if they need it."""
    pad = " " * indent
    lines: list[str] = []
    for name, value in as_written(data).items():
        key = _scalar(name)
        if isinstance(value, dict) and value:
            lines += [f"{pad}{key}:", *lines_of(value, indent + 2)]
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            lines.append(f"{pad}{key}:")
            for item in value:
                first, *rest = lines_of(item, indent + 4) or ["{}"]
                lines += [f"{pad}  - {first.lstrip(' ')}", *rest]
        elif isinstance(value, str):
            lines += _text_lines(f"{pad}{key}:", value, indent + 2)
        else:
            lines.append(f"{pad}{key}: {in_braces(value)}")
    return lines


def _text_lines(head: str, text: str, indent: int) -> list[str]:
    parts = text.split("\n")
    block = len(parts) > 1 and parts[0].strip() and parts[0][0] not in " \t" and parts[-1].strip()
    if block and not FORBIDDEN.search(text) and "\r" not in text and all(p.strip() or not p for p in parts):
        return [f"{head} |-", *(f"{' ' * indent}{part}" if part else "" for part in parts)]
    return [f"{head} {_scalar(text, _PLAIN_SENTENCE)}"]


def in_braces(value: Any) -> str:
    """Return a value on one line, as it may appear inside { } or [ ]."""
    value = as_written(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {in_braces(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(in_braces(item) for item in value) + "]"
    return _scalar(value) if isinstance(value, str) else "~" if value is None else json.dumps(value)


def _scalar(text: str, plain: re.Pattern[str] = _PLAIN) -> str:
    is_plain = plain.fullmatch(text) and text.isprintable() and text == text.strip()
    if is_plain and not text.endswith(":") and not _WORDS_OF_OLD_YAML.fullmatch(text):
        return text
    return json.dumps(text, ensure_ascii=False)
