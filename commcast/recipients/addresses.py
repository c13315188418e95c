"""Email addresses and phone numbers: what to send to, compare, and log."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

_LONGEST_CODE = 3
_E164_DIGITS = range(7, 16)  # of a whole number, country code included
_NOBODYS = re.compile("(?!)")


def is_plain_phone(text: str) -> bool:
    """Return whether `text` is certainly an ordinary number in E.164, without parsing it. False means unsure.

    For a number written as + and digits, the library uses its country's tables alone: what a national prefix
    looks like, how long a number is, and which ones are premium-rate. If no prefix can be stripped, the first
    digit is not zero, the length is possible and no premium-rate plan of that country code matches, the
    library returns the same digits. A test compares the two over numbers of every country.
    """
    return _plan(text[: _LONGEST_CODE + 1]).fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _plan(head: str) -> re.Pattern[str]:
    """Return the pattern of the plain numbers with these first characters. No country code begins another."""
    if not re.fullmatch(r"\+[1-9][0-9]{2}", head):
        return _NOBODYS
    codes = [int(head[1 : end + 1]) for end in range(1, _LONGEST_CODE + 1)]
    code = next((code for code in codes if code in COUNTRY_CODE_TO_REGION_CODE), 0)
    # Of all regions that share the code, the main one first.
    regions = COUNTRY_CODE_TO_REGION_CODE.get(code, ())
    found = (PhoneMetadata.metadata_for_region_or_calling_code(code, region) for region in regions)
    tables = [table for table in found if table is not None]
    general = tables[0].general_desc if tables else None
    lengths = general.possible_length if general else ()
    if not lengths:
        return _NOBODYS
    barred = [table.premium_rate.national_number_pattern for table in tables if table.premium_rate]
    refused = "".join(f"(?!(?:{pattern})$)" for pattern in barred if pattern)
    prefix = tables[0].national_prefix_for_parsing
    stripped = f"(?!{prefix})" if prefix else ""
    digits = "|".join(f"[1-9][0-9]{{{n - 1}}}" for n in lengths if len(str(code)) + n in _E164_DIGITS)
    return re.compile(rf"\+{code}{stripped}{refused}(?:{digits or '(?!)'})", re.ASCII)


_LONGEST_EMAIL = 254  # RFC 5321 4.5.3.1.3, without the angle brackets
_LONGEST_PHONE = 40

# The plain shape of nearly every address. A match is certainly valid (a test compares it with the library
# over generated addresses); everything else goes to the library. A label with two hyphens may be punycode.
_SHAPE = (
    r"(?=[^@\n]{1,64}@)[A-Za-z0-9_+]+(?:[.-][A-Za-z0-9_+]+)*@"
    r"(?:[A-Za-z0-9]{1,30}(?:-[A-Za-z0-9]{1,30})?\.)+"
    r"(?!(?i:alt|arpa|invalid|local|localhost|onion|test)$)[A-Za-z]{2,24}"
)
_PLAIN = re.compile(_SHAPE)
# A column of them and of empty cells, one per line. Atomic: a mismatch is given up at once.
_PLAIN_LINES = re.compile(rf"(?>(?:{_SHAPE})?\n)*+", re.MULTILINE)
_CAPITAL_IN_DOMAIN = re.compile(r"@[^\n]*[A-Z]")
_DOMAIN = re.compile("@[^@]*$")
# Reserved for networks without the public DNS (RFC 2606, 6762): fine in a rehearsal or with your own relay.
_PRIVATE_DOMAIN = re.compile(r"(?:.+\.)?(?:localhost|local|invalid)", re.IGNORECASE)
_STAND_IN = ".test"  # appended to a private domain, it lets the library check the rest

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_PHONE_SHAPE = re.compile(r"[+(0-9][0-9 ()/.\-]+")
_SPREADSHEET = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+|[0-9]{7,}[.,]0*")
# What phones, contact apps and word processors put into a number that people do not see.
_PASTED = str.maketrans(
    "\u00a0\u2007\u2009\u202f\u2010\u2011\u2012\u2013\u2212",
    "    -----",
    "\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff",
)
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_MASK = "…"


def normalise_email(text: str) -> tuple[str, str]:
    """Return (address to send to, key to compare with).

    The domain of both is lower case and ASCII (punycode); all of the key is lower case. A local part outside
    ASCII is kept: only a server with SMTPUTF8 accepts it. Dots and "+tags" are kept: with most providers they
    name another mailbox.
    Raises ValueError("what; remedy"), without the address.
    """
    address = text.strip(" \t")
    if len(address) <= _LONGEST_EMAIL and _PLAIN.fullmatch(address):
        local, _, domain = address.rpartition("@")
    else:
        local, domain = _validated(address)
    address = f"{local}@{domain.lower()}"
    return address, address.lower()


def normalise_any(text: str, region: str) -> tuple[bool, str, str]:
    """Return (whether it is an email address, the address, key to compare with) of an address of either kind.

    Raises ValueError("what; remedy"), without the address.
    """
    if "@" in text:
        return True, *normalise_email(text)
    if not re.search("[0-9]", text):
        raise ValueError("is neither an email address nor a phone number; try dana@example.com or +4930231")
    phone = normalise_phone(text, region)
    return False, phone, phone


def plain_emails(cells: Sequence[str]) -> tuple[Sequence[str], Sequence[str], frozenset[int]]:
    """Return (addresses, keys, which cells are not plain) of a column, as `normalise_email` gives them.

    A cell that is not plain must be checked by itself; its values here are meaningless. An empty cell stays
    empty.
    """
    joined = "\n".join(cells) + "\n"
    if joined.count("\n") != len(cells):
        return cells, cells, frozenset(range(len(cells)))  # a line feed inside a cell, as JSON can write it
    odd = _not_plain(joined, cells)
    keys = joined.lower().split("\n")[:-1]
    if _CAPITAL_IN_DOMAIN.search(joined):
        cells = [_DOMAIN.sub(lambda found: found[0].lower(), cell) for cell in cells]
    return cells, keys, odd


def _not_plain(joined: str, cells: Sequence[str]) -> frozenset[int]:
    whole = _PLAIN_LINES.match(joined)
    if whole is not None and whole.end() == len(joined) and max(map(len, cells)) <= _LONGEST_EMAIL:
        return frozenset()
    return frozenset(
        index
        for index, cell in enumerate(cells)
        if cell and not (len(cell) <= _LONGEST_EMAIL and _PLAIN.fullmatch(cell))
    )


def normalise_phone(text: str, region: str) -> str:
    """Return the number as E.164 (+491701234567).

    A national number is read as one of `region` (a country such as "DE"); without a region it is refused,
    because a guess might text a stranger. Raises ValueError("what; remedy"), without the number.
    """
    text = text.translate(_PASTED).strip(" \t")
    if is_plain_phone(text):
        return text
    if not _E164.fullmatch(text):
        _check_phone_shape(text, region)
    number = _parsed(text, region)
    if phonenumbers.number_type(number) == phonenumbers.PhoneNumberType.PREMIUM_RATE:
        raise ValueError("is a premium-rate number; write an ordinary one")
    normal = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    # Several zeros (+31 00…): a number that would lose another one when read again is nobody's.
    if not _E164.fullmatch(normal) or phonenumbers.parse(normal) != number:
        raise ValueError("cannot be dialled from abroad; write +, the country code and the number")
    return normal


def odd_phones(cells: Iterable[str]) -> frozenset[int]:
    """Return which cells of a column are neither empty nor already a plain number in E.164."""
    plan, head = _plan, slice(_LONGEST_CODE + 1)  # local names: this runs for every reader
    return frozenset(n for n, cell in enumerate(cells) if cell and plan(cell[head]).fullmatch(cell) is None)


def is_digit_off(phone: str) -> bool:
    """Return whether a number in E.164 fits no plan of its country, and would with a digit more or less."""

    def fits(text: str) -> bool:
        return phonenumbers.is_valid_number(phonenumbers.parse(text))

    return not fits(phone) and (fits(phone[:-1]) or any(fits(phone + digit) for digit in "0123456789"))


def _parsed(text: str, region: str) -> phonenumbers.PhoneNumber:
    try:
        number = phonenumbers.parse(text, region or None)
    except phonenumbers.NumberParseException:
        raise ValueError("is not a phone number; write +, the country code and the number") from None
    # Without + or a trunk zero, only full validity tells a number from one that lost its +49 or +33.
    certain = phonenumbers.is_possible_number if text[0] in "+0" else phonenumbers.is_valid_number
    if not certain(number):
        raise ValueError("is too short or too long for its country; check it against its source")
    return number


def mask(address: str) -> str:
    """Return what may appear in a log or an error: d…@example.com, …0123 for a phone, else only "…".

    The result is harmless on a terminal, whatever `address` is.
    """
    local, at, domain = address.strip().rpartition("@")
    if at:
        return f"{_shown(local[:1])}{_MASK}@{_shown(domain[:60])}"
    digits = re.sub(r"[^0-9]", "", address)
    return f"{_MASK}{digits[-4:]}" if len(digits) >= 7 else _MASK


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() and char != " " else _MASK for char in text)


def _validated(address: str) -> tuple[str, str]:
    """Return (local part, ASCII domain) of an address that the library accepts. Raises ValueError."""
    if not address:
        raise ValueError("is empty; write an address such as dana@example.com")
    if len(address) > _LONGEST_EMAIL:
        raise ValueError(f"is longer than {_LONGEST_EMAIL} characters; write one address")
    if (character := _invisible(address)) is not None:
        raise ValueError(f"has the invisible character {character}; type the address again")
    if address.startswith("-"):
        raise ValueError("starts with a dash, which mail servers may take for an option; use another address")
    domain = address.rpartition("@")[2]
    tail = _STAND_IN if _PRIVATE_DOMAIN.fullmatch(domain) else ""
    try:
        found = validate_email(address + tail, check_deliverability=False, test_environment=True, strict=True)
    except EmailNotValidError as error:
        # The library's reason names characters, never the address.
        why = "".join(char if char.isprintable() else _MASK for char in str(error))[:120]
        why = why[:1].lower() + why[1:].rstrip(".").replace(";", ",")
        raise ValueError(f"is not an email address ({why}); write one such as dana@example.com") from None
    return found.local_part, found.ascii_domain.removesuffix(tail)


def _check_phone_shape(text: str, region: str) -> None:
    """Raise ValueError for what the phone library would accept too generously."""
    if not text:
        raise ValueError("is empty; write +, the country code and the number")
    if (found := _invisible(text)) is not None:
        raise ValueError(f"has the invisible character {found}; type the number again")
    if _SPREADSHEET.fullmatch(text):
        raise ValueError("was rewritten by a spreadsheet; format its column as text and export again")
    if len(text) > _LONGEST_PHONE or not _PHONE_SHAPE.fullmatch(text):
        raise ValueError("may hold only digits, spaces, ()/.-; write +, country code, number, no extension")
    if not text.startswith("+") and not region:
        raise ValueError("has no country code; add it (+49…), or set region under [channels.sms]")
    if text.lstrip("( ")[:1] not in "+0" and phonenumbers.ndd_prefix_for_region(region, True) == "0":
        raise ValueError("lost its + or its leading 0; write +, the country code and the number")


def _invisible(text: str) -> str | None:
    """Return the code point (U+200B) of the first invisible character of `text`."""
    return next((f"U+{ord(char):04X}" for char in text if unicodedata.category(char) in _INVISIBLE), None)
