"""What the columns of a list are called: our own names, and those that other programs export."""

from __future__ import annotations

import difflib
import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

CORE_COLUMNS = ("email", "phone", "name", "locale", "timezone", "components", "tags", "level")

# Names that templates already know as recipient.<name>, or that Jinja finds on a mapping before its items.
_TAKEN = frozenset({"greeting", "by_email", "email_key", "line", "extra"}) | frozenset(dir(dict))
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,39}")
_SLIP = 0.8  # how similar to a known column a name must be to count as a slip for it

_KNOWN = tomllib.loads(Path(__file__).with_name("exported_columns.toml").read_text("utf-8"))
_OPT_OUTS: Mapping[str, Sequence[str]] = _KNOWN["opt_outs"]
_SPELLINGS: Mapping[str, Sequence[str]] = {column: [column] for column in CORE_COLUMNS} | _KNOWN["columns"]
_NO = {"", *_KNOWN["cells"]["no"]}


def opt_out_of(column: str) -> Sequence[str]:
    """Return the addresses that a yes in this column takes away; () for any other column."""
    return _OPT_OUTS.get(_whole(column), ())


def is_yes(cell: str) -> bool:
    """Return whether a cell of such a column says yes. A date is one, and so is what we cannot read."""
    return cell.strip(" \t\xa0").casefold() not in _NO


def columns_of(header: Sequence[str]) -> tuple[str, ...]:
    """Return the column that each cell of a header stands for; "" for one that is left out.

    A header of our own plain names stays as it is. Any other was exported: well-known headers are the columns
    that they mean, the others are named after their letters, such as plan_name for "Plan Name".
    """
    if {"email", "phone"} & {*header} and all(map(_COLUMN.fullmatch, header)):
        return tuple(header)
    slugs = [_slug(cell) for cell in header]
    wholes = [_whole(slug) for slug in slugs]
    names = [""] * len(header)
    for column, spellings in _SPELLINGS.items():
        found = [(spellings.index(whole), n) for n, whole in enumerate(wholes) if whole in spellings]
        if found:
            names[min(found)[1]] = column
    slips = () if "email" in names or "phone" in names else CORE_COLUMNS[:2]  # without these it is no list
    for n, cell in enumerate(header):
        if not names[n]:
            is_slip = _near(wholes[n], slips)
            name = cell if re.search("[@|]", cell) else wholes[n] if is_slip else _free(slugs[n])
            names[n] = "" if name in {*names, *CORE_COLUMNS} else name
    return tuple(names)


def _slug(header: str) -> str:
    plain = "".join(char for char in unicodedata.normalize("NFKD", header) if not unicodedata.combining(char))
    return re.sub(r"[^a-z0-9]+", "_", plain.lower().replace("ß", "ss")).strip("_")[:40]


def _whole(slug: str) -> str:
    return slug.replace("_", "")


def _near(name: str, known: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(name, known, n=1, cutoff=_SLIP)


def _free(slug: str) -> str:
    """Return a name for templates that means nothing else; "" if the letters make none."""
    is_taken = slug in _TAKEN or _near(slug, CORE_COLUMNS)
    name = f"customer_{slug}"[:40] if is_taken and slug not in CORE_COLUMNS else slug
    return name if _COLUMN.fullmatch(name) else ""


@lru_cache(maxsize=256)  # JSON repeats its column names on every line
def column_problem(column: str) -> tuple[str, str]:
    """Return what is wrong with a column's name, and what to write instead; "" for both if nothing is."""
    if column in CORE_COLUMNS:
        return "", ""
    if "@" in column:
        return "an address instead of a column name", "start with a line such as email,name"
    if not _COLUMN.fullmatch(column):
        if "|" in column:
            return "columns separated by |", "separate them by a comma, a semicolon or a tab"
        return f"{column[:40]!a} is not a column name", _better(column)
    if column in _TAKEN:
        return f"{column} is a reserved name in templates", "rename the column"
    if near := _near(column, CORE_COLUMNS):
        return f"unknown column {column}", f"did you mean {near[0]}? if not, rename it"
    return "", ""


def _better(column: str) -> str:
    """Return what to write instead of an invalid name: something that is not refused again."""
    better = columns_of([column])[0]
    return f"write {better}" if _COLUMN.fullmatch(better) else "use a-z, 0-9 and _, a letter first"
