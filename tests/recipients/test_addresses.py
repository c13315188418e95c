"""Addresses: one form to send to, one to compare with, one to show."""

from __future__ import annotations

import re

import phonenumbers
import pytest
from email_validator import validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from commcast.recipients.addresses import is_plain_phone, mask, normalise_email, normalise_phone, plain_emails

# As written, and the address; the key is the same in lower case.
SAME = ["d.r+pay@gmail.com", "dana@xn--bcher-kva.example", "Jürgen@acme.example", "o'neil@acme.example"]
SAME += ["dana@acme.test", "dana@acme.invalid", "dana@mail.local", "a" * 64 + "@acme.example"]
GOOD_EMAILS = dict(zip(SAME, SAME, strict=True)) | {
    "  Dana@ACME.Example\t": "Dana@acme.example",
    "dana@Bücher.example": "dana@xn--bcher-kva.example",
    "dana@LOCALHOST": "dana@localhost",
}

NO_EMAILS = [
    *("dana", "dana@@acme.example", "dana@acme", "dana reyes@acme.example", "dana..r@acme.example"),
    *("dana.@acme.example", "dana@acme.example.", "dana@-acme.example", "dana@acme_pay.example"),
    *("dana@192.0.2.1", "dana@[192.0.2.1]", "dana@xn--zz.example", '"dana reyes"@acme.example'),
    *("Dana <dana@acme.example>", "dana@acme.example,sam@acme.example", "dana@acme.example;sam@acme.example"),
    *("mailto:dana@acme.example", "dana@hidden.onion"),
]
BAD_EMAILS = {
    "is not an email address": NO_EMAILS,
    "is empty": [""],
    "too long": ["a" * 65 + "@acme.example"],
    "longer than 254": ["a@" + "b" * 60 + ".example" * 30],
    "starts with a dash": ["-dana@acme.example"],
}
# Each of these anywhere in an address.
INVISIBLE = "\u200b\ufeff\u202e\r\n\0\x1b\u2028\ud800"

# A number in E.164, and other ways to write it, each with the region that it is read in.
GOOD_PHONES = {
    "+491701234567": [
        *(("+491701234567", ""), (" +49 170 1234567 ", ""), ("+49 (0)170 123-45-67", "")),
        *(("+491701234567", "US"), ("(0170) 1234567", "DE"), ("0049 170 1234567", "DE")),
        # As contact apps and word processors write it.
        *(("\u202a+49\u00a0170\u202f12\u201145\u201367\u202c".replace("12\u201145", "123\u201145"), ""),),
        *((f"{mark}+49170{mark}1234567", "") for mark in "\u200b\u200e\u200f\u202d\u2060\u2066\ufeff"),
    ],
    "+12025550123": [("+1 (202) 555-0123", ""), ("+1.202.555.0123", ""), ("(202) 555-0123", "US")],
    "+390612345678": [("06 12345678", "IT")],
    "+15005550006": [("+15005550006", "")],
}

# What is said of numbers, and these, as (written, region).
BAD_PHONES = {
    "is empty": [("", "")],
    "has no country code": [("0170 1234567", ""), ("491701234567", "")],
    "lost its + or its leading 0": [("491701234567", "DE"), ("1701234567", "DE"), ("(555) 123-4567", "DE")],
    "spreadsheet": [("1.4E+10", ""), ("1,4e+10", "DE"), ("4.91701E+11", "DE"), ("491701234567.0", "DE")],
    "no extension": [(f"+1 202 555 0123{more}", "") for more in (" ext 5", " x5", ";ext=5")],
    "may hold only digits": [
        *(("1-800-FLOWERS", "US"), ("+49 170 l234567", ""), ("++491701234567", ""), ("-1701234567", "DE")),
        *(("+٤٩١٧٠١٢٣٤٥٦٧", ""), ("+49 30 5550100 / +49 30 5550101", "")),
    ],
    "U+000D": [("+491701234567\r\n", "")],
    "U+200D": [("+4917\u200d01234567", "")],
    "is not a phone number": [("+999123456789", "")],
    "the country code and the number": [("+0491701234567", ""), ("+4917012345678901", "")],
    "is too short": [("+12025", "")],
    "too short": [("112", "US"), ("(202) 155-0123", "US")],
    "premium": [("+19005550100", ""), ("+49 900 1 234567", ""), ("0900 1 234567", "DE")],
}


@pytest.mark.parametrize(("written", "address"), GOOD_EMAILS.items())
def test_a_mail_address_is_sent_to_as_written_and_compared_without_case(written: str, address: str) -> None:
    assert normalise_email(written) == (address, address.lower())


@pytest.mark.parametrize(
    ("written", "what"),
    [
        *((written, what) for what, texts in BAD_EMAILS.items() for written in texts),
        *((f"dana{char}@acme.example", f"U+{ord(char):04X}") for char in INVISIBLE),
        *((f"dana@acme.example{char}Bcc: x", f"U+{ord(char):04X}") for char in INVISIBLE),
    ],
)
def test_a_bad_mail_address_is_refused_with_a_remedy_and_without_being_shown(written: str, what: str) -> None:
    with pytest.raises(ValueError, match=re.escape(what)) as error:
        normalise_email(written)
    assert "; " in str(error.value)
    assert str(error.value).isprintable()
    assert "acme" not in str(error.value)


@pytest.mark.parametrize(
    ("written", "region", "number"), [(*x, n) for n in GOOD_PHONES for x in GOOD_PHONES[n]]
)
def test_a_phone_number_written_differently_is_one_number(written: str, region: str, number: str) -> None:
    assert normalise_phone(written, region) == number


@pytest.mark.parametrize(("written", "region", "what"), [(*n, x) for x, y in BAD_PHONES.items() for n in y])
def test_a_bad_phone_number_is_refused_and_never_guessed(written: str, region: str, what: str) -> None:
    with pytest.raises(ValueError, match=re.escape(what)) as error:
        normalise_phone(written, region)
    assert "; " in str(error.value)
    assert not re.search(r"\d{5}", str(error.value))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        *(("dana@example.com", "d…@example.com"), ("d@example.com", "d…@example.com")),
        *(("+15550100123", "…0123"), ("0170 1234567", "…4567")),
        *((text, "…") for text in ("112", "", "Dana Reyes")),
        ("a@b@example.com", "a…@example.com"),
        ("\x1b]0;x\x07@example.com\r\nBcc: x", "……@example.com……Bcc:…x"),
        ("@example.com", "…@example.com"),
    ],
)
def test_mask_shows_only_what_a_log_may_hold(address: str, shown: str) -> None:
    assert mask(address) == shown


@given(st.text(max_size=80))
def test_mask_never_shows_the_local_part_and_is_harmless_on_a_terminal(text: str) -> None:
    assert mask(f"ab{text}@example.com".replace("@", "", text.count("@"))) == "a…@example.com"
    assert mask(text).isprintable()


label = st.from_regex(r"[A-Za-z0-9](-?[A-Za-z0-9]){0,12}", fullmatch=True)
local = st.from_regex(r"[A-Za-z0-9_+-]{1,20}([.-][A-Za-z0-9_+äéøł]{1,20}){0,3}", fullmatch=True)
domain = st.builds(
    lambda labels, top: ".".join([*labels, top]),
    st.lists(label | st.from_regex(r"[a-zäöüß]{1,10}", fullmatch=True), min_size=1, max_size=4),
    st.sampled_from(["com", "EXAMPLE", "test", "de", "museum", "invalid", "local"]) | label,
)
emails = st.builds("{}@{}".format, local, domain)


def accepted(text: str) -> tuple[str, str] | None:
    try:
        return normalise_email(text)
    except ValueError as error:
        assert "; " in str(error)
        return None


@given(emails | st.text(max_size=60))
def test_any_text_is_an_address_that_stays_as_it_is_or_refused_with_a_reason(text: str) -> None:
    if found := accepted(text):
        address, key = found
        assert normalise_email(address) == (address, key)
        assert normalise_email(key) == (key, key)
        assert address.rpartition("@")[2].isascii()


@given(st.from_regex(r"[A-Za-z0-9_+.-]{1,66}@[A-Za-z0-9.-]{1,30}\.[A-Za-z]{2,9}", fullmatch=True))
def test_the_short_cut_for_plain_addresses_agrees_with_the_library(text: str) -> None:
    is_private = text.lower().endswith((".local", ".invalid", ".localhost"))
    try:
        judged = validate_email(text, check_deliverability=False, test_environment=True, strict=True)
    except ValueError:
        assert text.startswith("-") or is_private or not accepted(text)
    else:
        expected = None if text.startswith("-") else f"{judged.local_part}@{judged.ascii_domain}"
        assert (accepted(text) or (None,))[0] == expected


PHONE_LIKE = st.from_regex(r"\+?[0-9 ()/.-]{5,20}", fullmatch=True) | st.text(max_size=60)


@example("+310000000", "")
@given(PHONE_LIKE, st.sampled_from(["", "DE", "US", "IT", "GB", "FR"]))
def test_a_normalised_phone_number_is_e164_and_stays_as_it_is(text: str, region: str) -> None:
    try:
        number = normalise_phone(text, region)
    except ValueError as error:
        assert "; " in str(error)
        return
    assert re.fullmatch(r"\+[1-9][0-9]{6,14}", number)
    assert normalise_phone(number, "") == number
    assert normalise_phone(number, "US") == number


DOMAINS = ["acme.example", "ACME.example", "a-b.example", "xn--a.example", "x.local", "x.test", "a"]
box = st.from_regex(r"[A-Za-z0-9_+.-]{1,20}", fullmatch=True)
mails = st.builds("{}@{}".format, box, st.sampled_from(DOMAINS))


@given(st.lists(st.just("") | mails | st.text(max_size=8), max_size=8))
def test_a_column_of_mail_addresses_is_judged_as_each_of_them(cells: list[str]) -> None:
    found, keys, odd = plain_emails(cells)
    for index, cell in enumerate(cells):
        if index not in odd:
            assert (found[index], keys[index]) == (normalise_email(cell) if cell else ("", ""))


def by_the_library(text: str) -> str:
    """Return the E.164 number that the library makes of one, "" where it refuses it: the rule as it was."""
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        return ""
    premium = phonenumbers.PhoneNumberType.PREMIUM_RATE
    if not phonenumbers.is_possible_number(number) or phonenumbers.number_type(number) == premium:
        return ""
    normal = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return normal if phonenumbers.parse(normal) == number else ""


codes = st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE))
numbers = st.builds(lambda code, rest: f"+{code}{rest}", codes, st.from_regex("[0-9]{2,13}", fullmatch=True))


@given(numbers)
@example("+494544")
@example("+19005550100")
@example("+390212345678")
@example("+310000000")
@example("+80012345678")
@example("+3758469890410")  # its 8 is Belarus's own prefix, which the library strips
@example("+352151279286")
def test_a_number_that_stands_as_it_is_written_is_what_the_library_makes_of_it(text: str) -> None:
    if is_plain_phone(text):
        assert re.fullmatch(r"\+[1-9][0-9]{6,14}", text)
        assert by_the_library(text) == text
        assert normalise_phone(text, "DE") == text
