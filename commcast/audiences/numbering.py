"""Which E.164 numbers stand as they are written: a pattern a country, from the phone library's tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

_LONGEST_CODE = 3
_E164_DIGITS = range(7, 16)  # as many as addresses.py takes, the country code among them
_OUTSIDE_COUNTRIES = "001"  # the library's region of codes that no country has: satellites, +800
_NOBODYS = re.compile("(?!)")


class NumberingPlans:
    """Judges E.164 numbers without parsing them.

    The library's verdict on a number written as + and digits depends on its country's tables alone: what a
    national prefix looks like, how long a number is, and which ones are premium-rate. Where no prefix can be
    stripped, the first digit is no zero, the length is possible and no premium-rate plan of that country code
    matches, the library returns the very same digits. A test compares the two over numbers of every country.
    """

    def __init__(self) -> None:
        self._plans: dict[str, re.Pattern[str]] = {}

    def is_plain(self, text: str) -> bool:
        """Return whether `text` is surely an ordinary number in E.164. False says nothing."""
        head = text[: _LONGEST_CODE + 1]
        plan = self._plans.get(head)
        if plan is None:
            plan = self._learn(head)
        return plan.fullmatch(text) is not None

    def _learn(self, head: str) -> re.Pattern[str]:
        if not re.fullmatch(r"\+[1-9][0-9]{2}", head):
            return _NOBODYS  # not kept: heads of this kind are without number
        codes = [int(head[1 : end + 1]) for end in range(1, _LONGEST_CODE + 1)]
        code = next((code for code in codes if code in COUNTRY_CODE_TO_REGION_CODE), None)
        plan = self._plans[head] = _NOBODYS if code is None else _plan(code)
        return plan


def _plan(code: int) -> re.Pattern[str]:
    """Return the pattern of the plain numbers under a country code. No country code begins another one."""
    tables = list(_tables(code))
    general = tables[0].general_desc
    lengths = general.possible_length if general else ()
    if not lengths:
        return _NOBODYS
    barred = [table.premium_rate.national_number_pattern for table in tables if table.premium_rate]
    refused = "".join(f"(?!(?:{pattern})$)" for pattern in barred if pattern)
    prefix = tables[0].national_prefix_for_parsing
    stripped = f"(?!{prefix})" if prefix else ""
    digits = "|".join(
        f"[1-9][0-9]{{{length - 1}}}" for length in lengths if len(str(code)) + length in _E164_DIGITS
    )
    return re.compile(rf"\+{code}{stripped}{refused}(?:{digits or '(?!)'})", re.ASCII)


def _tables(code: int) -> Iterator[PhoneMetadata]:
    """Yield the tables of all that share a country code, the main one first."""
    for region in COUNTRY_CODE_TO_REGION_CODE[code]:
        if region == _OUTSIDE_COUNTRIES:
            table = PhoneMetadata.metadata_for_nongeo_region(code)
        else:
            table = PhoneMetadata.metadata_for_region(region)
        if table is not None:
            yield table
