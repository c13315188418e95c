"""YAML from people: plain data with places, all faults at once, hostile files refused cheaply."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.errors import InputError
from commcast.files import read_text_file
from commcast.incidents.yaml import examine, parse

SENTENCES = frozenset({"issue", "title"})
MIB = 1 << 20

# Run in a process of its own: 200 MB of address space for a reader that starts at about 60, and 2 s for each.
READER = """
import resource, sys, time
from pathlib import Path
from commcast.errors import InputError
from commcast.files import read_text_file
from commcast.incidents.yaml import parse
resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))
for path in map(Path, sys.argv[1:]):
    began = time.process_time()
    try:
        parse(read_text_file(path), path.name, sentences=frozenset({"issue"}))
    except InputError as error:
        print(error)
    took = time.process_time() - began
    assert took < 2, f"{path.name}: {took:.1f} s"
"""


def faults(text: str) -> list[tuple[int, int, str]]:
    return [(f.line, f.column, f.what) for f in examine(text, "x.yaml", sentences=SENTENCES).faults]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no", "no"),
        ("a: 0123", "0123"),
        ("a: 12:30", "12:30"),
        ("a: 2026-11-21", "2026-11-21"),
        ("a: 2026-11-21T10:05+01:00", "2026-11-21T10:05+01:00"),
        ("a: 0x1F", "0x1F"),
        ("a: 1_000", "1_000"),
        ("a: '1'", "1"),
        ("a: 1", 1),
        ("a: -0.5", -0.5),
        ("a: true", True),
        ("a: .nan", float("nan")),
        ("a: ~", None),
        ("a:", None),
        ("a: |\n  one\n  two\n", "one\ntwo\n"),
        ("a: one\n  two # and a comment\n", "one two"),
        ("---\na: b\n...\n", "b"),
        ("a: " + "9" * 5000, "9" * 5000),
    ],
)
def test_strings_stay_strings(text: str, value: object) -> None:
    """YAML 1.2 with fewer numbers: what a person would not call a number is text."""
    found = parse(text, "x.yaml").data["a"]
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    ("text", "line", "column", "what"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1, "twice"),
        ("a: 1\n---\nb: 2\n", 2, 1, "second document"),
        ("a:\n\t- b\n", 2, 1, "tab"),
        ("a:\tb\n", 1, 3, "tab"),
        ("a: &x b\n", 1, 4, "anchor"),
        ("a: *x\n", 1, 4, "alias"),
        ("a: &x\n", 1, 4, "anchor"),
        ("a: !!python/object:os.system x\n", 1, 4, "tag"),
        ("a: !include secrets.yaml\n", 1, 4, "tag"),
        ("%YAML 1.1\n---\na: no\n", 1, 1, "directives"),
        ('a: "never\nb: c\n', 1, 4, "never closed"),
        ('a: "one" two\n', 1, 10, "after the closing quote"),
        ("a: [b\nc: d\n", 2, 2, '": " inside the text that began in line 1'),
        ("a: @home\n", 1, 4, "cannot start with @"),
        ("a: %x\n", 1, 4, "cannot start with %"),
        ("a: *bold* words\n", 1, 4, ""),
        ("a: > text\n", 1, 6, "after |"),
        ("a: - b\n", 1, 4, "list"),
        ('a: "\\q"\n', 1, 6, "means nothing"),
        ("a: {{ name }} is down\n", 1, 5, "key"),
        ("a: 1\nb\nc: 2\n", 2, 1, "no colon"),
        ("? [a, b]\n: c\n", 1, 3, "key"),
        ('a: "\\U00110000"\n', 1, 2, "invalid YAML"),
        ('a: "\\u202e"\n', 1, 4, "control"),
        ('a: "\\ud800"\n', 1, 4, "control"),
        ('a: "\\r"\n', 1, 4, "control"),
        ("a: b\0c\n", 1, 5, "U+0000"),
        ("a: b\n# \u202e evil\n", 2, 3, "U+202E"),
        ("a: b\rc: d\n", 1, 5, "U+000D"),
        ("a: \ufeffb\n", 1, 4, "U+FEFF"),
        ("issue: cards fail # 40%\n", 1, 19, '" #"'),
        ("issue: cards\n  fail # 40%\n", 2, 8, '" #"'),
        ("issue: cards # 40%\n  fail\n", 1, 14, '" #"'),
        ("{issue: cards # 40%\n}\n", 1, 15, '" #"'),
        ("issue: cards fail: all\n", 1, 18, '": "'),
        ("{issue: cards fail: all}\n", 1, 19, '": "'),
    ],
)
def test_what_yaml_would_misread_is_a_fault_at_its_place(
    text: str, line: int, column: int, what: str
) -> None:
    found = faults(text)
    assert any(f[:2] == (line, column) and what in f[2] for f in found), found


@pytest.mark.parametrize(
    "text", ["issue: 'a # b'", "issue: a#b", "severity: 1 # bad", "issue: |\n  a # b\n", "issue: a\n# b"]
)
def test_comments_are_fine_where_they_cut_no_sentence(text: str) -> None:
    assert faults(text) == []


def test_lines_behind_a_broken_one_are_still_read() -> None:
    text = "a: one: two\nb: fine\nissue: three # four\nc: five: six\nb: again\n"
    assert [f[:2] for f in faults(text)] == [(1, 7), (3, 14), (4, 8), (5, 1)]


def test_places_count_from_one_and_name_the_nearest_value() -> None:
    document = parse("a:\n  - b: c\n    d:\n", "x.yaml")
    assert document.place(("a", 0, "b")) == (2, 8)
    assert document.key_place(("a", 0, "b")) == (2, 5)
    assert document.place(("a", 0, "missing", 3)) == (2, 5)
    assert document.place(("a", 0, "d")) == (3, 6)


def test_bom_and_crlf_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: b\r\nc: |\r\n  d\r\n  e\r\n")
    assert parse(read_text_file(path), "x.yaml").data == {"a": "b", "c": "d\ne\n"}


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        ("a: b".encode("utf-16"), "1:1: is UTF-16"),
        (b"a: b\nc: caf\xe9\n", "2:7: byte 0xe9 is not UTF-8"),
        (b"a: b\nc: \xed\xa0\x80\n", "2:4: byte 0xed is not UTF-8"),
        (b"a: b\nc: \x00\n", "2:4: control character U+0000"),
        ("a: b".encode("utf-16-le"), "1:2: control character U+0000"),
    ],
)
def test_other_encodings_are_named_with_their_line(tmp_path: Path, raw: bytes, place: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=rf"x\.yaml:{place}".replace("+", r"\+")):
        parse(read_text_file(path), "x.yaml")


def test_only_regular_files_inside_the_folder_are_read(tmp_path: Path) -> None:
    inside = tmp_path / "folder"
    inside.mkdir()
    (tmp_path / "secret.yaml").write_text("a: b")
    (inside / "out.yaml").symlink_to(tmp_path / "secret.yaml")
    (inside / "round.yaml").symlink_to(inside / "round.yaml")
    (inside / "real.yaml").write_text("a: b")
    (inside / "link.yaml").symlink_to(inside / "real.yaml")
    os.mkfifo(inside / "pipe.yaml")
    assert read_text_file(inside / "link.yaml") == "a: b"
    for name in ("out.yaml", "round.yaml", "pipe.yaml", ".", "none.yaml"):
        with pytest.raises(InputError):
            read_text_file(inside / name, folder=inside)
    with pytest.raises(InputError, match="not a regular file"):
        read_text_file(Path("/dev/zero"))


HOSTILE = {
    "alias bomb": "a: &a [x, x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(24)),
    "recursive alias": "a: &a [*a]\n",
    "8 MiB scalar": 'a: "' + "x" * 8 * MIB + '"\n',
    "flow nesting": "a: " + "[" * 20_000,
    "closed flow nesting": "[" * 20_000 + "]" * 20_000,
    "brace nesting": "{a: " * 20_000,
    "dash nesting": "- " * 5_000,
    "indent nesting": "".join(" " * n + "a:\n" for n in range(900)),
    "question nesting": "? " * 5_000,
    "words": ("issue: " + "a " * 9_900 + "\n") * 25,
    "long line": "a: " + "x" * 500_000,
    "many keys": "".join(f"k{n}: v\n" for n in range(9_990)),
    "same key": "k: v\n" * 9_990,
    "many documents": "---\n" * 9_990,
    "many values": "[" + "a, \n" * 9_990 + "]",
    "many on a line": "\n".join(["[" + "a," * 4_900] * 20),
    "blank lines": "\n" * 9_990,
    "comments": "# x\n" * 9_990,
    "quoted": 'a: "' + ("\\n" * 4_990 + "\n") * 40 + '"',
    "block": "a: |\n" + (" " + "x" * 9_900 + "\n") * 50,
    "folded": "a: >\n" + " a\n\n" * 4_900,
    "tags": "a: " + "!" * 19_900,
    "broken lines": "a: b: c\n" * 9_990,
    "cut lines": "issue: a # b\n  c\n" * 4_900,
    "colons": "a:" * 9_900,
    "percent": "%A\n" * 9_990,
}


def test_each_hostile_text_is_refused_within_2_s_and_200_mb_and_a_pipe_without_waiting(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    paths = [tmp_path / "pipe.yaml"]
    for name, text in HOSTILE.items():
        paths.append(tmp_path / f"{name}.yaml")
        paths[-1].write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", READER, *paths], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "pipe.yaml: is not a regular file" in done.stdout


@given(st.text(max_size=200))
def test_any_text_is_data_or_faults(text: str) -> None:
    """Nothing but InputError leaves the reader, and every fault has a place in the text."""
    lines = text.count("\n") + 1
    for fault in examine(text, "x.yaml", sentences=SENTENCES).faults:
        assert 0 <= fault.line <= lines
        assert fault.what


PIECES = ["a: ", "- ", "  ", " #", ": ", "&a", "*a", "---", *"b\n\"'{}[]#|>!\t\\?,"]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_heap_of_yaml_signs_is_data_or_faults(text: str) -> None:
    document = examine(text, "x.yaml", sentences=SENTENCES)
    assert document.faults or parse(text, "x.yaml").data == document.data
