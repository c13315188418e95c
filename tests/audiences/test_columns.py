"""A list read by columns and the same list read line by line are one list: people, counts, faults, places."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from commcast.errors import InputError
from commcast.model.incident import Recipient
from commcast.recipients.addresses import (
    NumberingPlans,
    normalise_email,
    normalise_phone,
    odd_phones,
    plain_emails,
)
from commcast.recipients.formats import LONGEST_LINE
from commcast.recipients.lists import RecipientList, Repeats
from tests.audiences.test_recipients import desk

Read = tuple[list[Recipient], int, int, list[str], list[str]]

COLUMNS = ["email", "phone", "name", "locale", "timezone", "components", "tags", "level", "plan", "seats"]
CELLS = {
    "email": [
        "a@acme.example",
        "B.c+d@ACME.example",
        "ü@acme.example",
        "x@bücher.example",
        "bad",
        " a@b.example",
    ],
    "phone": ["+491701234567", "+12025550123", "0170 1234567", "+19005550100", "+1", "+390612345678"],
    "name": ["Dana", " Dana  Reyes ", "Jürgen", "D\u202eana", "D\tR", "x" * 201, "a\u3000b", "\xa0Ann\xa0"],
    "locale": ["de", "de-AT", " en ", "german"],
    "timezone": ["Europe/Berlin", "UTC", "Mars"],
    "components": ["api", "api|web", "web;api", "db"],
    "tags": ["vip", "vip | beta|vip", "a\x7fb"],
    "level": ["all", "key", "end", "loud"],
    "plan": ["gold", " gold ", "y" * 1001, "é"],
    "seats": ["1", "012"],
}
ENDS = st.sampled_from(["\n", "\n", "\n", "\r\n"])


def read(folder: Path, name: str, *, by_columns: bool) -> Read:
    config = desk(folder, name, components={"api": {"public": "API"}, "web": {"public": "Web"}})
    reading = RecipientList(folder / name, name, config, by_columns=by_columns)
    broken: list[str] = []
    people: list[Recipient] = []
    try:
        people = list(reading)
    except InputError as error:
        broken = error.lines()
    return people, reading.rows, reading.skipped, [str(fault) for fault in reading.faults], broken


def check_alike(folder: Path, name: str, content: bytes) -> Read:
    (folder / name).write_bytes(content)
    try:
        by_line = read(folder, name, by_columns=False)
    except InputError as error:  # the header
        with pytest.raises(InputError, match=re.escape(error.lines()[0])):
            read(folder, name, by_columns=True)
        return [], 0, 0, [], error.lines()
    assert read(folder, name, by_columns=True) == by_line
    return by_line


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, bytes]:
    columns = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=6, unique=True))
    if not {"email", "phone"} & set(columns):
        columns.append("email")
    delimiter = draw(st.sampled_from([",", ";", "\t"]))

    def cell(column: str) -> str:
        text = draw(st.sampled_from(["", *CELLS[column][:2], *CELLS[column]]))
        quoted = draw(st.sampled_from([False] * 8 + [True])) or delimiter in text
        return f'"{text}"' if quoted else text

    lines = [delimiter.join(columns)]
    for _ in range(draw(st.integers(0, 8))):
        row = delimiter.join(cell(column) for column in columns)
        odd = st.sampled_from(
            [row] * 20 + ["", "  ", delimiter, '"', row + delimiter, row + "\r", "\0", "\ufeff"]
        )
        lines.append(draw(odd))
    text = "".join(line + draw(ENDS) for line in lines)
    mark = draw(st.sampled_from(["", "\ufeff"]))
    cut = draw(st.sampled_from([None, None, -1]))  # the last line without its end
    return draw(st.sampled_from(["l.csv", "l.csv", "l.tsv"])), (mark + text)[:cut].encode()


@given(tables())
def test_a_table_by_columns_and_by_line_is_one(
    tmp_path_factory: pytest.TempPathFactory, table: tuple[str, bytes]
) -> None:
    check_alike(tmp_path_factory.mktemp("desk"), *table)


@given(st.binary(max_size=200).map(lambda content: b"email,name\n" + content))
def test_whatever_bytes_come_by_columns_and_by_line_they_are_one(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    check_alike(tmp_path_factory.mktemp("desk"), "l.csv", content)


@given(
    st.lists(st.fixed_dictionaries({}, optional={c: st.sampled_from(CELLS[c]) for c in COLUMNS}), max_size=6)
)
def test_json_lines_hold_what_the_table_of_the_same_cells_holds(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("desk")
    text = "\n".join(json.dumps(row) for row in rows)
    people, count, skipped, *_ = check_alike(folder, "l.jsonl", b"\xef\xbb\xbf" + text.encode())
    quoted = [",".join('"' + row.get(c, "") + '"' for c in COLUMNS) for row in rows]
    table = check_alike(folder, "l.csv", "\n".join([",".join(COLUMNS), *quoted]).encode())
    nobody = [row for row in rows if not row]  # {} is a row that reaches nobody; a row of empty quotes too
    assert (count, skipped) == (table[1], table[2]), nobody
    assert [p._replace(line=0, extra={}) for p in people] == [p._replace(line=0, extra={}) for p in table[0]]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_lines_are_whole_wherever_a_block_of_the_file_ends(tmp_path: Path, end: bytes) -> None:
    """Blocks end at 64 KiB, in the midst of a line, of a character, of a CRLF."""
    for shift in range(6):
        rows = [f"reader{n}@mail{n % 7}.example,Jürgen {'é' * (n % 50)},{n}".encode() for n in range(3000)]
        rows[1500] = b'odd@acme.example,"O, ""dd""",1'
        rows[2000] = b"bad,Bad,2"
        content = b"email,name,plan" + b"x" * shift + end + end.join(rows) + end
        people, count, skipped, faults, broken = check_alike(tmp_path, "l.csv", content)
        assert (len(people), count, skipped, broken) == (2999, 3000, 1, [])
        assert [person.line for person in people] == [n for n in range(2, 3002) if n != 2002]
        assert faults[0].startswith("l.csv:2002:1: email")


@pytest.mark.parametrize("length", [LONGEST_LINE - 1, LONGEST_LINE, LONGEST_LINE + 1, 3 * LONGEST_LINE])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nb@acme.example,B\n"])
def test_a_line_of_64_kib_is_the_longest(tmp_path: Path, length: int, end: str) -> None:
    line = "a@acme.example," + "x" * (length - 15)
    *_, broken = check_alike(tmp_path, "l.csv", f"email,name\n{line}{end}".encode())
    assert broken == (
        ["l.csv:2:1: the line is longer than 64 KiB; write one recipient a line"]
        if length > LONGEST_LINE
        else []
    )


def test_every_broken_line_of_every_block_is_named(tmp_path: Path) -> None:
    rows = [f"reader{n}@mail.example,{'x' * 100}" for n in range(2000)]
    rows[3] += ",more"
    rows[1900] = "less"
    *_, broken = check_alike(tmp_path, "l.csv", "\n".join(["email,name", *rows]).encode())
    assert [line.split(":")[1] for line in broken] == ["5", "1902"]


# --- addresses by the column --------------------------------------------------------------------------------

local = st.from_regex(r"[A-Za-z0-9_+.-]{1,20}", fullmatch=True)
domain = st.sampled_from(
    ["acme.example", "ACME.example", "a-b.example", "xn--a.example", "x.local", "x.test", "a"]
)
mails = st.builds(lambda left, right: f"{left}@{right}", local, domain)


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
PLANS = NumberingPlans()


@given(numbers)
@example("+494544")
@example("+19005550100")
@example("+390212345678")
@example("+310000000")
@example("+80012345678")
def test_a_number_that_stands_as_it_is_written_is_what_the_library_makes_of_it(text: str) -> None:
    if PLANS.is_plain(text):
        assert re.fullmatch(r"\+[1-9][0-9]{6,14}", text)
        assert by_the_library(text) == text
        assert normalise_phone(text, "DE") == text


def test_ordinary_numbers_of_every_country_are_judged_alike() -> None:
    kinds = range(len(phonenumbers.PhoneNumberType.values()))
    found = [
        phonenumbers.example_number_for_type(r, k) for r in phonenumbers.SUPPORTED_REGIONS for k in kinds
    ]
    texts = [phonenumbers.format_number(n, phonenumbers.PhoneNumberFormat.E164) for n in found if n]
    plain = [text for text in texts if PLANS.is_plain(text)]
    assert [by_the_library(text) for text in plain] == plain
    assert len(plain) > 0.8 * len(texts)


def test_a_list_of_numbers_in_e164_asks_the_library_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(phonenumbers, "parse")
    rows = [f"a{n}@acme.example,+4915112{n:06d}" for n in range(3000)]
    (tmp_path / "l.csv").write_text("\n".join(["email,phone", *rows]))
    people, *_ = read(tmp_path, "l.csv", by_columns=True)
    assert len({person.phone for person in people}) == 3000
    assert odd_phones(["+12025550123", "+447700900123", "+33612345678", "+919876543210"]) == frozenset()


@given(st.lists(st.text("ab", max_size=4)))
def test_an_address_is_new_once(keys: Sequence[str]) -> None:
    repeats, known = Repeats(), set[str]()
    for key in keys:
        assert (key in repeats) == (key in known)
        assert repeats.add(key) == (key not in known)
        known.add(key)


def test_of_many_addresses_none_is_taken_for_another() -> None:
    repeats = Repeats()
    assert all(repeats.add(f"reader{n}@acme.example") for n in range(300_000))
    assert not any(repeats.add(f"reader{n}@acme.example") for n in range(0, 300_000, 7))
    assert not any(f"other{n}@acme.example" in repeats for n in range(100_000))
