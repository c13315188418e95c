"""Recipient lists: every fault with its place, and a broken structure is never half believed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from commcast.config.settings import Config
from commcast.errors import InputError
from commcast.model.incident import Level, Recipient
from commcast.recipients.addresses import odd_phones
from commcast.recipients.formats import LONGEST_LINE
from commcast.recipients.headers import CORE_COLUMNS
from commcast.recipients.lists import RecipientList, Repeats, _holds, open_recipients


def desk(folder: Path, recipients: str = "list.csv", **changes: Any) -> Config:
    tables: dict[str, Any] = {
        "folder": folder,
        "organisation": {"name": "Acme Pay"},
        "audiences": {"customers": {"recipients": recipients}},
        "channels": {"email": {"from": "status@acme.example"}, "sms": {"region": "DE"}},
    }
    return Config.model_validate({**tables, **changes})


def opened(folder: Path, text: str | bytes, name: str = "list.csv", **changes: Any) -> RecipientList:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_recipients("customers", desk(folder, name, **changes))


def read(folder: Path, text: str | bytes, name: str = "list.csv", **changes: Any) -> list[Recipient]:
    return list(opened(folder, text, name, **changes))


def faults(folder: Path, text: str | bytes, name: str = "list.csv", **changes: Any) -> list[str]:
    with pytest.raises(InputError) as error:
        read(folder, text, name, **changes)
    return error.value.lines()


STOP: dict[str, Any] = {"send": {"bad_rows": "stop"}}

WHO: dict[str, Any] = {"phone": "+491701234567", "name": "Dana Reyes", "locale": "de-AT"}
WHO |= {"timezone": "Europe/Vienna", "components": ("api", "web"), "tags": ("vip", "beta")}
FULL = Recipient(2, "Dana@acme.example", "dana@acme.example", level=Level.KEY, extra={"plan": "gold"}, **WHO)


@pytest.mark.parametrize("name", ["l.csv ,", "l.csv ;", "l.csv \t", "l.tsv \t", "l.CSV ,"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_table_is_read_in_any_form(tmp_path: Path, name: str, end: str, mark: str) -> None:
    name, delimiter = name.split(" ")
    row = ["Dana@ACME.example", "0170 1234567", '"Dana  Reyes"', "de-AT", "Europe/Vienna", "api|web"]
    row += ["vip | beta|vip", "key", " gold "]
    text = mark + delimiter.join([*CORE_COLUMNS, "plan"]) + end + delimiter.join(row) + end
    assert read(tmp_path, text, name) == [FULL]


@pytest.mark.parametrize("name", ["l.jsonl", "l.ndjson"])
def test_json_lines_are_read_with_lists_and_numbers_as_written(tmp_path: Path, name: str) -> None:
    row = {"email": "Dana@acme.example", **WHO, "level": "key", "plan": "gold"}
    text = "\n" + json.dumps(row) + "\n\r\n"
    assert read(tmp_path, text, name) == [FULL]
    seats = read(tmp_path, '{"email": "a@acme.example", "seats": 012}'.replace("012", "1.50"), name)
    assert seats[0].extra == {"seats": "1.50"}
    assert read(tmp_path, '{"email": "a@acme.example", "phone": null}', name)[0].phone == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("\n  \nemail,name\n\n,\n , \na@acme.example,A\n\n", [(7, "A")]),  # blank lines hold nobody
        (
            'name,email\n"Reyes, ""D""",a@b.example\nD "D" R, "b@b.example"\n',
            [(2, 'Reyes, "D"'), (3, 'D "D" R')],
        ),
        ("phone,name\n+491701234567,A\n", [(2, "A")]),
        ("email,name\na@acme.example,A\nbad,B\n", [(2, "A")]),
    ],
)
def test_a_list_is_read_with_fresh_counts(tmp_path: Path, text: str, found: list[tuple[int, str]]) -> None:
    reading = opened(tmp_path, text)
    for _ in range(2):
        assert [(person.line, person.name) for person in reading] == found
        assert reading.skipped == len(reading.faults) == text.count("bad") == reading.rows - len(found)


BAD_ROWS = [
    ("sam@@acme.example,,,,,,,", "1: email is not an email address"),
    (",1.4E+10,,,,,,", "2: phone was rewritten by a spreadsheet"),
    (",,Dana,,,,,", "1: email and phone are both empty"),
    ("a,b@acme.example,Dana,,,,,,gold", "28: 9 cells, but the header has 8 columns; remove cells"),
    ('b@acme.example,,"Da"na,,,,,', "17: quote not closed at the end of its cell"),
    ("b@acme.example,,Dana\0", "21: has a NUL character"),
]
BAD_CELLS = [
    ("d@acme.example,12x,,,,,,", "16: phone may hold only digits"),
    ("sam@@acme.example,+491701234567,,,,,,", "1: email is not an email address"),
    ("d@acme.example,,J\udcfcrgen", "17: name is not UTF-8 text"),
    ("d@acme.example,," + "x" * 1000 + ",,,,,", "17: name is longer than 200 characters"),
    ("d@acme.example,,Dana\u202e,,,,,", "17: name has the invisible character U+202E"),
    ("d@acme.example,,Dana\u2028Bcc,,,,,", "17: name has the invisible character U+2028"),
    ("d@acme.example,,,de-,,,,", "18: locale is not a locale"),
    ("d@acme.example,,,../de,,,,", "18: locale is not a locale"),
    ("d@acme.example,,,deutsch,,,,", "18: locale is not a locale"),
    ("d@acme.example,,,,Europe/Atlantis,,,", "19: timezone is not a time zone"),
    ("d@acme.example,,,,../../etc/passwd,,,", "19: timezone is not a time zone"),
    ("d@acme.example,,,,right/Europe/Berlin,,,", "19: timezone is not a time zone"),
    ("d@acme.example,,,,,db,,", "20: components names a component that is not in commcast.toml"),
    ("d@acme.example,,,,,,a\x7fb,", "21: tags has the invisible character U+007F"),
    ("d@acme.example,,,,,,,loud", "22: level is not a level"),
]


@pytest.mark.parametrize(("row", "fault"), BAD_ROWS)
def test_a_row_without_an_address_is_left_out_counted_and_placed(
    tmp_path: Path, row: str, fault: str
) -> None:
    text = ",".join(CORE_COLUMNS) + f"\nfirst@acme.example,,,,,api,,\n{row}\nlast@acme.example,,,,,,,\n"
    reading = opened(tmp_path, text, components={"api": {"public": "API"}})
    assert [r.line for r in reading] == [2, 4]
    assert (reading.rows, reading.skipped, reading.warnings) == (3, 1, [])
    assert str(reading.faults[0]).startswith(f"list.csv:3:{fault}")
    assert "sam" not in str(reading.faults[0])
    assert reading.faults[0].remedy


@pytest.mark.parametrize(("row", "fault"), BAD_CELLS)
def test_a_bad_cell_counts_as_empty_and_its_reader_is_kept(tmp_path: Path, row: str, fault: str) -> None:
    text = ",".join(CORE_COLUMNS) + f"\nfirst@acme.example,,,,,api,,\n{row}\n{row}\n"
    reading = opened(tmp_path, text.encode("utf-8", "surrogateescape"), components={"api": {"public": "A"}})
    people = [person for person in reading if person.line > 2]
    bare = Recipient(line=0, email="d@acme.example", email_key="d@acme.example")
    if "+49" in row:
        bare = Recipient(line=0, phone="+491701234567")
    assert [person._replace(line=0, extra={}) for person in people] == [bare, bare]
    assert (reading.rows, reading.skipped, reading.faults) == (3, 0, [])
    assert len(reading.warnings) == 1
    assert str(reading.warnings[0]).startswith(f"list.csv:3:{fault}")
    assert reading.warnings[0].what.endswith("(ignored in 2 rows)")
    with pytest.raises(InputError, match="2 of 3 rows are bad"):
        read(tmp_path, text.encode("utf-8", "surrogateescape"), components={"api": {"public": "A"}}, **STOP)


@pytest.mark.parametrize(
    ("written", "locale"),
    [
        *((same, same) for same in ("de", "de-AT", "es-419", "zh-Hans", "zh-Hant-TW", "gsw", "ca-valencia")),
        *(("de_DE", "de-DE"), ("EN", "en"), ("en-us", "en-US"), ("ZH-HANS-cn", "zh-Hans-CN")),
        *(("de-DE-1996", "de-DE-1996"), ("en-U-CA-gregory", "en-u-ca-gregory")),
    ],
)
def test_a_locale_is_any_language_tag_however_it_is_written(
    tmp_path: Path, written: str, locale: str
) -> None:
    reading = opened(tmp_path, f"email,locale\na@acme.example,{written}\n")
    assert [person.locale for person in reading] == [locale]
    assert not reading.warnings


def test_all_that_is_wrong_with_a_row_is_said_and_it_counts_once(tmp_path: Path) -> None:
    reading = opened(tmp_path, "email,name,level\nbad,Dana,loud\n")
    assert list(reading) == []
    assert [(f.line, f.column) for f in reading.faults] == [(2, 1), (2, 10)]
    assert reading.skipped == 1
    rows = [f'{{"email": "a@acme.example", "name": "\\u{code}"}}\n' for code in ("d800", "0000")]
    reading = opened(tmp_path, "".join(rows), "l.jsonl")
    assert [person.name for person in reading] == ["", ""]
    assert [f.what.split()[5] for f in reading.warnings] == ["U+D800", "U+0000"]


def test_bad_rows_stop_when_asked_after_all_were_read_and_with_the_total(tmp_path: Path) -> None:
    reading = opened(tmp_path, "email\n" + "bad\n" * 250 + "a@acme.example\n", **STOP)
    with pytest.raises(InputError) as error:
        list(reading)
    lines = error.value.lines()
    assert lines[0].startswith("list.csv: 250 of 251 rows are bad")
    assert lines[1].startswith("list.csv:2:1: email is not an email address")
    assert len(lines) == len(reading.faults) == 100
    assert reading.rows == 251


BROKEN_TABLES = [
    *(("", " is empty"), ("name,plan\nDana,gold\n", "1:1: neither an email nor a phone column")),
    ("dana@acme.example,Dana\n", "1:1: an address instead of a column name"),
    ("email,name,email\n", "1:12: column email appears twice"),
    ("email|name\n", "1:1: columns separated by |"),
    ("emial,phone\n", "1:1: unknown column emial; did you mean email?"),
    ("email,greeting\n", "1:7: greeting is a reserved name"),
    ("email," + ",".join(f"c{n}" for n in range(100)) + "\n", "1:1: more than 100 columns"),
    ("email,name\na@acme.example,A,B\n", "2:18: 3 cells, but the header has 2 columns"),
    ('email,name\na@acme.example,"A\n"b@acme.example"x,B\n', "2:16: quote not closed"),
    ('email,name\na@acme.example,"A"x\n', "2:16: quote not closed"),
    *(('email,name\n"a"b,"A\n', "2:1: quote not closed"), ('email,"na\nme"\n', "1:7: quote not closed")),
    ("email,name\na@acme.example,A\0\n", "2:17: has a NUL character"),
    ("email,name\ra@acme.example,A\r", "1:11: has a lone carriage return"),
    ("Vorname;E-Mial\n", "1:9: unknown column emial; did you mean email?"),
    ("<<<<<<< HEAD\nemail\n", "1:1: unresolved merge conflict"),
    ("sep=|\nemail|name\n", "1:1: columns separated by |"),
    ("name\na@acme.example\n".encode("utf-16"), "1:1: neither an email nor a phone column"),
    (b"x" * 70_000, "1:1: the line is longer than 64 KiB"),
]


BROKEN_JSON = [
    *(("a@acme.example", "1:1: invalid JSON"), ('{"email": "a@acme.example"} {}', "1:29: invalid JSON")),
    ('["a@acme.example"]', "1:1: is not an object"),
    ('{"email": "a@acme.example", "email": "b@acme.example"}', "1:1: a key appears twice"),
    ('{"email": "a@acme.example", "seats": NaN}', "1:1: invalid JSON: NaN"),
    ('{"email": "a@acme.example", "Seats": 3}', "1:29: 'Seats' is not a column name; write seats"),
    # What is written first as told must not be refused again.
    ('{"E-Mail": "a@acme.example"}', "1:2: 'E-Mail' is not a column name; write email"),
    ('{"Time-Zone": "UTC"}', "1:2: 'Time-Zone' is not a column name; write timezone"),
    ('{"Greeting": "Hello"}', "1:2: 'Greeting' is not a column name; write customer_greeting"),
    ('{"emial": "a@acme.example"}', "1:2: unknown column emial"),
    ("[" * 60_000, "1:1: is nested too deeply"),
]


@pytest.mark.parametrize("changes", [{}, STOP], ids=["skip", "stop"])
@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [("l.csv", *row) for row in BROKEN_TABLES] + [("l.jsonl", *row) for row in BROKEN_JSON],
)
def test_broken_lists_stop(tmp_path: Path, name: str, text: str | bytes, fault: str, changes: Any) -> None:
    assert faults(tmp_path, text, name, **changes)[0].startswith(f"{name}:{fault}")


def test_all_wrong_columns_of_a_header_are_named_at_once(tmp_path: Path) -> None:
    found = faults(tmp_path, "emial,phone,levels,greeting,phone\n")
    assert [line.split(":")[2] for line in found] == ["1", "13", "20", "29"]


def test_all_broken_lines_are_named_at_once_up_to_a_hundred_and_no_row_is_used(tmp_path: Path) -> None:
    rows = ['{"email": "a@acme.example"}', *(f'{{"mail": "b{n}@acme.example"}}' for n in range(200))]
    (tmp_path / "l.jsonl").write_text("\n".join(rows))
    used: list[Recipient] = []
    with pytest.raises(InputError) as error:
        used.extend(open_recipients("customers", desk(tmp_path, "l.jsonl")))
    assert [recipient.line for recipient in used] in ([], [1])
    assert [f.line for f in error.value.faults] == [*range(2, 102)]
    assert len(faults(tmp_path, b"email\n" + b"\xff\xfe\x00\n" * 100_000)) == 100


# --- rows of unequal length, and quotes ---------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("rows", "found", "left_out"),
    [
        # Missing last cells are empty, and empty ones too many are nothing.
        ("a@b.example\nb@b.example,B\nc@b.example,C,gold,,", ["2 a  ", "3 b B ", "4 c C gold"], []),
        ("a@b.example,A,B,C\nb@b.example,B", ["3 b B "], [2]),
        # A line break in quotes belongs to its cell.
        ('a@b.example,A,"one\ntwo, ""2""\n\nthree"\nb@b.example', ['2 a A one two, "2" three', "6 b  "], []),
        ('"a@b.example\n","A\nB"\nb@b.example', ["2 a A B ", "5 b  "], []),
        (
            'a@b.example,A,"see Ann,\nwho is z@b.example"\nb@b.example',
            ["2 a A see Ann, who is z@b.example"],
            [],
        ),
        # A quote that is never closed, or behind which readers would disappear, ends with its line.
        ('a@b.example,"A\nb@b.example,B\nc@b.example', ["3 b B ", "4 c  "], [2]),
        ('a@b.example,"A,x\nb@b.example,B,y\nc@b.example,C",z', ["3 b B y", '4 c C" z'], [2]),
        ('a@b.example,"A,x\nb@b.example,B",y', ['3 b B" y'], [2]),
        ('a@b.example,"A\nb@b.example,"B"', ["3 b B "], [2]),
        ('a@b.example,"A"x\nb@b.example', ["3 b  "], [2]),
        ('a@b.example,5" disk,x\nb@b.example,"B"', ['2 a 5" disk x', "3 b B "], []),
    ],
)
def test_rows_are_read_as_spreadsheets_write_them(
    tmp_path: Path, rows: str, found: list[str], left_out: list[int], end: str
) -> None:
    reading = opened(tmp_path, ("email,name,plan\n" + rows + "\n").replace("\n", end))
    people = [f"{p.line} {p.email[0]} {p.name} {p.extra['plan']}" for p in reading]
    assert people[: len(found)] == found
    assert [fault.line for fault in reading.faults] == left_out
    assert reading.rows == len(people) + len(left_out)
    check_alike(tmp_path, "list.csv", (tmp_path / "list.csv").read_bytes())


def test_a_row_of_many_lines_is_whole_wherever_a_block_of_the_file_ends(tmp_path: Path) -> None:
    """What is never closed gives up after 100 lines, and costs its own row."""
    for shift in range(0, 36, 7):
        rows = [f'reader{n}@mail.example,"Reader {n}\n{"é" * (n % 50)}, 2nd\nend",{n}' for n in range(2000)]
        rows[1000] = 'lost@acme.example,"open'
        rows[1001:1002] = ["no row", "\n"] * 100
        text = "email,name,plan" + "x" * shift + "\n" + "\n".join(rows)
        people, _, skipped, faults, broken = check_alike(tmp_path, "l.csv", text.encode())
        assert (len(people), skipped, broken) == (1998, 101, [])
        assert faults[0].startswith("l.csv:3002:19: quote not closed")
        assert people[-1].line == 3002 + 301 + 3 * 997


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", "sep=;;", "\ufeffsep=;"])
def test_the_first_line_of_a_spreadsheet_names_its_separator(tmp_path: Path, first: str) -> None:
    people = read(tmp_path, f"{first}\r\nemail;name\r\na@b.example;A\r\n")
    assert [(person.line, person.name) for person in people] == [(3, "A")]


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl"])
def test_a_merge_conflict_is_named_once_and_both_sides_are_told(tmp_path: Path, name: str) -> None:
    rows = [f"{each}@b.example" for each in "abc"]
    if name == "l.jsonl":
        rows = [json.dumps({"email": row}) for row in rows]
    rows[1:2] = ["<<<<<<< HEAD", rows[1], "=======", rows[1].replace("b@", "z@"), ">>>>>>> other"]
    head = ["email"] if name == "l.csv" else []
    people, _, skipped, faults, _ = check_alike(tmp_path, name, "\n".join([*head, *rows]).encode())
    assert [person.email[0] for person in people] == ["a", "b", "z", "c"]
    assert skipped == len(faults) == 1
    assert "unresolved merge conflict" in faults[0]


@pytest.mark.parametrize(
    ("recipients", "said"),
    [
        *((name, "is outside") for name in ("../secret.csv", "link.csv", "linked/secret.csv", "/etc/passwd")),
        *((name, "file not found") for name in ("\0.csv", "loop.csv")),
        *((name, "(is not a regular file|cannot be read)") for name in ("fifo.csv", "folder.csv")),
        ("none.csv", "file not found; create it"),
        ("list.xlsx", r"use a \.csv, \.tsv, \.txt, \.jsonl or \.ndjson file"),
    ],
)
def test_only_regular_lists_inside_the_folder_are_read(tmp_path: Path, recipients: str, said: str) -> None:
    with pytest.raises(InputError, match="no audience 'nobody'; audiences are: customers"):
        open_recipients("nobody", desk(tmp_path))
    with pytest.raises(InputError):
        opened(tmp_path, "name\n")
    folder = tmp_path / "desk"
    (folder / "folder.csv").mkdir(parents=True)
    os.mkfifo(folder / "fifo.csv")
    (tmp_path / "secret.csv").write_text("email\na@acme.example\n")
    (folder / "list.xlsx").write_bytes(b"PK")
    for name, target in {"link.csv": "../secret.csv", "linked": "..", "loop.csv": "loop.csv"}.items():
        (folder / name).symlink_to(target)
    with pytest.raises(InputError, match=said):
        open_recipients("customers", desk(folder, recipients))
    (folder / "real.csv").write_text("email\na@acme.example\n")
    (folder / "inside.csv").symlink_to("real.csv")
    assert len(list(open_recipients("customers", desk(folder, "inside.csv")))) == 1


Folders = pytest.TempPathFactory
cells = st.text("ab,;\t\"' @.+17\r\n\0é\u202e", max_size=12)


@given(st.lists(st.lists(cells, max_size=4), max_size=5), st.sampled_from(["l.csv", "l.tsv", "l.jsonl"]))
def test_any_rows_are_read_or_refused(tmp_path_factory: Folders, rows: list[list[str]], name: str) -> None:
    folder = tmp_path_factory.mktemp("desk")
    text = "email,name\n" + "\n".join(",".join(row) for row in rows)
    (folder / name).write_bytes(text.encode())
    try:
        reading = open_recipients("customers", desk(folder, name))
        found = list(reading)
    except InputError as error:
        assert error.faults
        assert all(fault.line >= 1 and fault.column >= 1 and fault.remedy for fault in error.faults)
    else:
        assert len(found) + reading.skipped == reading.rows
        assert all(r.email or r.phone for r in found)


names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)


@given(st.lists(names, min_size=1, max_size=5), st.sampled_from([",", ";", "\t"]))
def test_what_is_quoted_is_read_back(tmp_path_factory: Folders, written: list[str], delimiter: str) -> None:
    quoted = ['"' + name.replace('"', '""') + '"' for name in written]
    lines = [f"a{n}@acme.example{delimiter}{name}" for n, name in enumerate(quoted)]
    found = read(tmp_path_factory.mktemp("desk"), "\r\n".join([f"email{delimiter}name", *lines]))
    assert [person.name for person in found] == written


Read = tuple[list[Recipient], int, int, list[str], list[str]]

COLUMNS = ["email", "phone", "name", "locale", "timezone", "components", "tags", "level", "plan", "seats"]
MAILS = ("a@acme.example", "B.c+d@ACME.example", "ü@acme.example", "x@bücher.example", "bad", " a@b.example")
CELLS = {
    "email": [*MAILS],
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


def read_as(folder: Path, name: str, *, by_columns: bool) -> Read:
    config = desk(folder, name, components={"api": {"public": "API"}, "web": {"public": "Web"}})
    reading = RecipientList(folder / name, name, config, by_columns=by_columns)
    broken: list[str] = []
    people: list[Recipient] = []
    try:
        people = list(reading)
    except InputError as error:
        broken = error.lines()
    said = [str(fault) for fault in [*reading.faults, *reading.warnings]]
    return people, reading.rows, reading.skipped, said, broken


def check_alike(folder: Path, name: str, content: bytes) -> Read:
    (folder / name).write_bytes(content)
    try:
        by_line = read_as(folder, name, by_columns=False)
    except InputError as error:  # the header
        with pytest.raises(InputError, match=re.escape(error.lines()[0])):
            read_as(folder, name, by_columns=True)
        return [], 0, 0, [], error.lines()
    assert read_as(folder, name, by_columns=True) == by_line
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
        odd = ["", "  ", delimiter, '"', row + delimiter, row + "\r", "\0", "\ufeff"]
        lines.append(draw(st.sampled_from([row] * 20 + odd)))
    text = "".join(line + draw(ENDS) for line in lines)
    mark = draw(st.sampled_from(["", "\ufeff"]))
    cut = draw(st.sampled_from([None, None, -1]))  # the last line without its end
    return draw(st.sampled_from(["l.csv", "l.csv", "l.tsv"])), (mark + text)[:cut].encode()


@settings(max_examples=150)
@example(("l.csv", b"email,name\na@acme.example," + b"x" * 201))
@example(("l.csv", b"email,plan\na@acme.example," + b"y" * 1001))
@given(tables() | st.binary(max_size=200).map(lambda content: ("l.csv", b"email,name\n" + content)))
def test_columns_and_lines_are_one(tmp_path_factory: Folders, table: tuple[str, bytes]) -> None:
    check_alike(tmp_path_factory.mktemp("desk"), *table)


ROWS = st.fixed_dictionaries({}, optional={c: st.sampled_from(CELLS[c]) for c in COLUMNS})


@given(st.lists(ROWS, max_size=6))
def test_json_lines_are_like_tables(tmp_path_factory: Folders, rows: list[dict[str, str]]) -> None:
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
def test_a_line_of_64_kib_is_the_longest(tmp_path: Path, length: int) -> None:
    line, what = "a@acme.example," + "x" * (length - 15), "l.csv:2:1: the line is longer than 64 KiB; write"
    for end in ("", "\n", "\r\n", "\nb@acme.example,B\n"):
        *_, broken = check_alike(tmp_path, "l.csv", f"email,name\n{line}{end}".encode())
        assert [what in each for each in broken] == [True] * (length > LONGEST_LINE)


def test_e164_is_read_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(phonenumbers, "parse")
    rows = [f"a{n}@acme.example,+4915112{n:06d}" for n in range(3000)]
    (tmp_path / "l.csv").write_text("\n".join(["email,phone", *rows]))
    people, *_ = read_as(tmp_path, "l.csv", by_columns=True)
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
    marks = bytes(range(24))  # one that is found across two others is not there
    assert [_holds(marks, marks[at : at + 8]) for at in (0, 4, 8, 13, 16)] == [True, False, True, False, True]


PROGRAM = """
import resource, sys
from pathlib import Path
from commcast.recipients.lists import open_recipients
from commcast.config.settings import Config

audiences = {"all": {"recipients": sys.argv[2]}}
tables = {"folder": Path(sys.argv[1]), "organisation": {"name": "A"}, "channels": {}, "audiences": audiences}
reading = open_recipients("all", Config.model_validate(tables))
count, peak = 0, 0
for recipient in reading:
    count += 1
    if count == 1_000:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(count, reading.skipped, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)
"""


@pytest.mark.linux("memory counted in KiB")
@pytest.mark.parametrize("name", ["long.csv", "long.jsonl"])
def test_memory_does_not_grow_with_the_list(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("w") as file:
        if name.endswith("csv"):
            file.write("email,name,plan\n")
        for n in range(200_000):
            address = "bad" if n % 10 == 9 else f"reader{n}@mail{n}.example"
            row = {"email": address, "name": f"Reader {n}", "plan": "x" * 40}
            file.write((",".join(row.values()) if name.endswith("csv") else json.dumps(row)) + "\n")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), name]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    count, skipped, grown = map(int, run.stdout.split())
    assert (count, skipped) == (180_000, 20_000)
    assert grown < 4_096  # KiB
