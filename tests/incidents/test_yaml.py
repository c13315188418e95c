"""YAML from people: plain data with places, all faults at once; what verbs write reads back equal."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from datetime import timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.config.settings import Config
from commcast.errors import InputError
from commcast.files import FORBIDDEN, read_bytes_file, read_text_file
from commcast.incidents import editor
from commcast.incidents.editor import append_update, fill_times, new_incident_id, with_at, with_update
from commcast.incidents.load import load_incident
from commcast.incidents.yaml import examine, parse
from commcast.incidents.yaml_lines import lines_of
from commcast.model.incident import Status
from tests.support.scenario import LEAST, NOW, create_incident, make_desk

SENTENCES = frozenset({"issue", "title"})


def faults(text: str) -> list[tuple[int, int, str]]:
    return [(f.line, f.column, f.what) for f in examine(text, "x.yaml", sentences=SENTENCES).faults]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((f"a: {x}", x) for x in ("no", "0123", "12:30", "2026-11-21", "0x1F", "1_000", "9" * 5000)),
        *(("a: '1'", "1"), ("a: 1", 1), ("a: -0.5", -0.5), ("a: true", True), ("a: .nan", float("nan"))),
        *(("a: ~", None), ("a:", None), ("a: |\n  one\n  two\n", "one\ntwo\n")),
        *(("a: one\n  two # and a comment\n", "one two"), ("---\na: b\n...\n", "b")),
    ],
)
def test_strings_stay_strings(text: str, value: object) -> None:
    found = parse(text, "x.yaml").data["a"]
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    ("text", "line", "column", "what"),
    [
        *(("a: 1\nb: 2\na: 3\n", 3, 1, "twice"), ("a: 1\n---\nb: 2\n", 2, 1, "second document")),
        *(("a:\n\t- b\n", 2, 1, "tab"), ("a:\tb\n", 1, 3, "tab"), ("a: &x b\n", 1, 4, "anchor")),
        *(("a: *x\n", 1, 4, "alias"), ("a: &x\n", 1, 4, "anchor")),
        *(("a: !!python/object:os.system x\n", 1, 4, "tag"), ("a: !include secrets.yaml\n", 1, 4, "tag")),
        *(("%YAML 1.1\n---\na: no\n", 1, 1, "directives"), ('a: "never\nb: c\n', 1, 4, "never closed")),
        ('a: "one" two\n', 1, 10, "after the closing quote"),
        ("a: [b\nc: d\n", 2, 2, '": " inside the text that began in line 1'),
        *(("a: @home\n", 1, 4, "cannot start with @"), ("a: %x\n", 1, 4, "cannot start with %")),
        *(("a: *bold* words\n", 1, 4, ""), ("a: > text\n", 1, 6, "after |"), ("a: - b\n", 1, 4, "list")),
        *(('a: "\\q"\n', 1, 6, "means nothing"), ("a: {{ name }} is down\n", 1, 5, "key")),
        *(("a: 1\nb\nc: 2\n", 2, 1, "no colon"), ("? [a, b]\n: c\n", 1, 3, "key")),
        *(('a: "\\U00110000"\n', 1, 2, "invalid YAML"), ('a: "\\u202e"\n', 1, 4, "control")),
        *(('a: "\\ud800"\n', 1, 4, "control"), ('a: "\\r"\n', 1, 4, "control")),
        *(("a: b\0c\n", 1, 5, "U+0000"), ("a: b\n# \u202e evil\n", 2, 3, "U+202E")),
        ("a: cards fail\u2028now\n", 1, 14, "U+2028 (line separator) is not allowed, after 'a: cards fail'"),
        *(("a: b\rc: d\n", 1, 5, "U+000D"), ("a: \ufeffb\n", 1, 4, "U+FEFF")),
        *(("issue: cards fail # 40%\n", 1, 19, '" #"'), ("issue: cards\n  fail # 40%\n", 2, 8, '" #"')),
        *(("issue: cards # 40%\n  fail\n", 1, 14, '" #"'), ("{issue: cards # 40%\n}\n", 1, 15, '" #"')),
        *(("issue: cards fail: all\n", 1, 18, '": "'), ("{issue: cards fail: all}\n", 1, 19, '": "')),
    ],
)
def test_what_yaml_would_misread_is_a_fault_in_place(text: str, line: int, column: int, what: str) -> None:
    found = faults(text)
    assert any(f[:2] == (line, column) and what in f[2] for f in found), found


def test_lines_behind_a_broken_one_are_read_and_comments_that_cut_no_sentence_are_fine() -> None:
    for text in ("issue: 'a # b'", "issue: a#b", "severity: 1 # bad", "issue: |\n  a # b\n", "issue: a\n# b"):
        assert faults(text) == []
    text = "a: one: two\nb: fine\nissue: three # four\nc: five: six\nb: again\n"
    assert [f[:2] for f in faults(text)] == [(1, 7), (3, 14), (4, 8), (5, 1)]


def test_places_count_from_one_and_name_the_nearest_value() -> None:
    document = parse("a:\n  - b: c\n    d:\n", "x.yaml")
    assert document.place(("a", 0, "b")) == (2, 8)
    assert document.key_place(("a", 0, "b")) == (2, 5)
    assert document.place(("a", 0, "missing", 3)) == (2, 5)
    assert document.place(("a", 0, "d")) == (3, 6)


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        ("a: b".encode("utf-16"), "1:1: is UTF-16"),
        (b"a: b\nc: caf\xe9\n", "2:7: byte 0xe9 is not UTF-8"),
        (b"a: b\nc: \x00\n", r"2:4: control character U\+0000"),
        ("a: b".encode("utf-16-le"), r"1:2: control character U\+0000"),
    ],
)
def test_other_encodings_are_named_with_their_line(tmp_path: Path, raw: bytes, place: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=rf"x\.yaml:{place}"):
        parse(read_text_file(path), "x.yaml")
    path.write_bytes(b"\xef\xbb\xbfa: b\r\nc: |\r\n  d\r\n  e\r\n")  # a byte order mark and CRLF are fine
    assert parse(read_text_file(path), "x.yaml").data == {"a": "b", "c": "d\ne\n"}


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


@pytest.mark.linux("/proc")
def test_a_folder_that_becomes_a_link_while_its_file_is_opened_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, secret = tmp_path / "desk" / "incidents" / "x.yaml", tmp_path / "elsewhere" / "x.yaml"
    for each in (path, secret):
        each.parent.mkdir(parents=True)
        each.write_text("a: b")
    real = os.open

    def swapping(*given: Any, **more: Any) -> int:
        if path.parent.exists() and not path.parent.is_symlink():
            path.parent.rename(tmp_path / "old")
            path.parent.symlink_to(secret.parent)
        return real(*given, **more)

    assert read_text_file(path, folder=tmp_path / "desk") == "a: b"
    monkeypatch.setattr(os, "open", swapping)
    with pytest.raises(InputError, match=r"x\.yaml: was replaced by a link"):
        read_text_file(path, folder=tmp_path / "desk")


PIECES = ["a: ", "- ", "  ", " #", ": ", "&a", "*a", "---", *"b\n\"'{}[]#|>!\t\\?,"]


@given(st.text(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_text_is_data_or_faults(text: str) -> None:
    document = examine(text, "x.yaml", sentences=SENTENCES)
    for fault in document.faults:
        assert 0 <= fault.line <= text.count("\n") + 1
        assert fault.what
    assert document.faults or parse(text, "x.yaml").data == document.data


EXAMPLE = (Path(__file__).parents[2] / "incidents" / "pay7.yaml").read_text()
ENTRY = {"at": NOW, "status": Status.MONITORING, "issue": "It works.", "next_update": timedelta(minutes=20)}
WRITTEN = {"at": "2026-11-21T12:00+00:00", "status": "monitoring", "issue": "It works.", "next_update": "20m"}
ENTRY_LINES = (
    "  - at: 2026-11-21T12:00+00:00\n    status: monitoring\n    issue: It works.\n    next_update: 20m\n"
)


@pytest.fixture
def desk(tmp_path: Path) -> Config:
    return make_desk(tmp_path)


def is_spliced(old: str, new: str) -> bool:
    """Return whether `new` is `old` with one piece put in."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False))
    start = sum(1 for _ in same)
    return new.endswith(old[start:]) and len(new) >= len(old)


def test_an_update_is_only_new_lines() -> None:
    assert with_update(LEAST, "x.yaml", ENTRY) == LEAST + ENTRY_LINES
    assert with_update(EXAMPLE, "x.yaml", ENTRY) == EXAMPLE + "\n" + ENTRY_LINES  # entries are spaced there


FILES = {
    "keys below": LEAST + "started: 2026-11-21T10:00+01:00\n# the end\n",
    "comment of the update": LEAST + "    # db-3 again\n\n# about the file\n",
    "comment between": LEAST + "\n# who leads\nowner: dana\n",
    "no line end": LEAST.rstrip("\n"),
    "no line end behind a block": LEAST + "    scope: |\n      all of it",
    "kept line ends": LEAST + "    scope: |+\n      all of it\n\n\n",
    "sharp in a block": LEAST + "    scope: |\n      all of it\n      # 1 of all\n",
    "no indent": "severity: 1\nupdates:\n- issue: a\n  resolution: b\n  timeframe: 1h\nowner: dana\n",
    "deep indent": "title: x\nseverity: 1\nupdates:\n        -   issue: a\n            timeframe: 1h\n",
    "dash alone": "title: x\nseverity: 1\nupdates:\n  -\n    issue: a\n    timeframe: 1h\n",
    "braces": "title: x\nseverity: 1\nupdates: [{issue: a}]\n",
    "braces and comma": "title: x\nseverity: 1\nupdates: [\n  {issue: a},\n]\n",
    "braces in a list": "title: x\nseverity: 1\nupdates:\n  - {issue: a}\n",
    "a document's end": "---\n" + LEAST + "...\n",
    "comments everywhere": "title: x # b\nupdates: # c\n  # d\n  - # e\n    issue: |  # f\n      g\n  # h\n",
    "quoted": LEAST + "    scope: 'it''s\n      all'\n",
    "one line": '{title: x, severity: 1, updates: [{issue: "a"}]}',
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", FILES)
def test_old_text_stays_whatever_its_style(name: str, line_end: str) -> None:
    old = FILES[name].replace("\n", line_end)
    new = with_update(old, "x.yaml", ENTRY)
    assert is_spliced(old, new)
    assert parse(new, "x.yaml").data["updates"][1] == WRITTEN
    again = with_update(new, "x.yaml", {"issue": "Again."})
    assert is_spliced(new, again)
    assert len(parse(again, "x.yaml").data["updates"]) == 3
    if line_end == "\r\n":
        assert "\n" not in again.replace("\r\n", "")
    dated = with_at(old, "x.yaml", 1, NOW)
    assert is_spliced(old, dated)
    assert parse(dated, "x.yaml").data["updates"][0]["at"]


def test_comments_stay_and_a_moment_is_written_with_its_offset_and_filled_once() -> None:
    new = with_update(FILES["comment of the update"], "x.yaml", {"issue": "More."})
    assert new == LEAST + "    # db-3 again\n  - issue: More.\n\n# about the file\n"
    filled = with_at(with_update(LEAST, "x.yaml", {"issue": "More."}), "x.yaml", 2, NOW)
    assert filled == LEAST + "  - at: 2026-11-21T12:00+00:00\n    issue: More.\n"
    assert with_at(filled, "x.yaml", 2, NOW + timedelta(hours=1)) == filled
    exact = with_update(LEAST, "x.yaml", {"at": NOW + timedelta(seconds=5)})
    assert exact.endswith("  - at: 2026-11-21T12:00:05+00:00\n")


def test_what_cannot_be_edited_is_refused() -> None:
    for text in ("title: x\n", "title: x\nupdates:\n", "title: x\nupdates: []\n", "a: [", "", "- a\n"):
        with pytest.raises(InputError):
            with_update(text, "x.yaml", ENTRY)
    for text in ("a\0b", "a\x1b[31m", "a\u202eb", "a\rb", "a\u2028b", "a\ud800b"):  # what no mail may hold
        with pytest.raises(InputError):
            with_update(LEAST, "x.yaml", {"issue": text})
    for number in (0, -1, 2):
        with pytest.raises(InputError, match="no update"):
            with_at(LEAST, "x.yaml", number, NOW)


# What YAML would read as something else; all other text is drawn below.
WRITTEN_SO = [
    *("Cards fail: all of them", "40% # of cards", "{a: down, 40%}", "no", "~", "404", "0x1F", "1e3", ".nan"),
    *(
        "14:00",
        "2026-11-21",
        "- a",
        "? a",
        "#a",
        "it's \\n",
        "*a*",
        "&a",
        "!a",
        "%a",
        "|",
        ">",
        "--- a",
        "...",
    ),
    *(
        "one\n\n  two\n",
        "\n one",
        " one ",
        "one\n\ttwo",
        "x" * 4000,
        "",
        "=",
        "<<",
        "a\u200bb",
        "Null",
        "0o17",
    ),
]


def test_sentences_read_back_equal() -> None:
    for text in WRITTEN_SO:
        entry = {"issue": text, "for": {"executives": {"issue": text}}, "audiences": [text]}
        for old in (LEAST, FILES["braces"], LEAST.replace("\n", "\r\n")):
            assert parse(with_update(old, "x.yaml", entry), "x.yaml").data["updates"][1] == entry, text


SIGNS = st.sampled_from(list(" :#-'\"\n\t[]{},&*!|>%@`~?.=<0123456789abn\\"))
TEXT = st.text(st.one_of(SIGNS, st.characters(exclude_categories=["Cs"])), max_size=60).filter(
    lambda text: not FORBIDDEN.search(text) and "\r" not in text
)
WORDS = st.dictionaries(st.sampled_from(["issue", "scope", "action", "internal"]), TEXT, min_size=1)
ENTRIES = st.one_of(
    WORDS,
    st.builds(lambda words, inner: {**words, "for": {"executives": inner}}, WORDS, WORDS),
    st.builds(lambda words, names: {**words, "audiences": names}, WORDS, st.lists(TEXT, max_size=3)),
)


@given(st.sampled_from(sorted(FILES)), ENTRIES, ENTRIES)
def test_all_that_is_written_reads_back_equal(name: str, one: dict[str, Any], two: dict[str, Any]) -> None:
    old = FILES[name]
    before = parse(old, "x.yaml").data["updates"]
    new = with_update(with_update(old, "x.yaml", one), "x.yaml", two)
    assert parse(new, "x.yaml").data["updates"][len(before) :] == [one, two]
    rest = iter(new)
    assert all(character in rest for character in old)  # in its order


@given(
    st.dictionaries(st.sampled_from(["title", "owner", "postmortem"]), TEXT, min_size=1),
    st.lists(WORDS, min_size=1),
)
def test_a_whole_file_reads_back(top: dict[str, Any], updates: list[dict[str, Any]]) -> None:
    data = {**top, "severity": 1, "updates": updates}
    assert parse("\n".join(lines_of(data, 0)) + "\n", "x.yaml").data == data


def test_a_new_file_is_made_once_and_whole(desk: Config) -> None:
    old_mask = os.umask(0o077)
    try:
        path = create_incident(desk, "pay7", {"title": "Cards: down", "severity": 1, "updates": [WRITTEN]})
    finally:
        os.umask(old_mask)
    assert path == desk.folder / "incidents" / "pay7.yaml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == 'title: "Cards: down"\nseverity: 1\nupdates:\n' + ENTRY_LINES
    with pytest.raises(InputError, match="file exists"):
        create_incident(desk, "pay7", {"title": "x"})
    for name in ("../x", "Pay7", "", "a/b", "-a", "x" * 41):
        with pytest.raises(InputError, match="cannot be an id"):
            create_incident(desk, name, {"title": "x"})
    assert [file.name for file in path.parent.iterdir()] == ["pay7.yaml"]


def test_the_folder_is_made_but_not_followed_away(tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()
    desk = make_desk(tmp_path / "desk")
    folder = desk.folder / "incidents"
    folder.rmdir()
    assert create_incident(desk, "a", {"title": "x"}).exists()
    (folder / "a.yaml").unlink()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(InputError, match="points outside"):
        create_incident(desk, "a", {"title": "x"})


def test_mode_bom_and_line_ends_stay(desk: Config) -> None:
    path = desk.folder / "incidents" / "pay7.yaml"
    old = b"\xef\xbb\xbf" + LEAST.replace("\n", "\r\n").encode()
    path.write_bytes(old)
    path.chmod(0o640)
    append_update(path, {"status": "identified"})
    fill_times(path, {2: NOW})
    assert path.read_bytes() == old + b"  - at: 2026-11-21T12:00+00:00\r\n    status: identified\r\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert load_incident(path, desk, NOW).latest.status is Status.IDENTIFIED


def is_locked(folder: Path) -> bool:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def test_writers_take_turns_and_a_full_disk_harms_none(desk: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """From before the file is read until it is replaced, nobody else gets the folder's lock."""
    path = desk.folder / "incidents" / "pay7.yaml"
    path.write_text(LEAST)
    held: list[bool] = []

    def noting(*given: Any, **more: Any) -> bytes:
        held.append(is_locked(path.parent))
        return read_bytes_file(*given, **more)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(editor, "read_bytes_file", noting)
    monkeypatch.setattr(editor, "sync_folder", lambda folder: held.append(is_locked(folder)))
    append_update(path, ENTRY)
    assert held == [True, True]
    assert not is_locked(path.parent)
    before = path.read_text()
    monkeypatch.setattr("commcast.incidents.editor.os.fsync", full)
    with pytest.raises(InputError, match="cannot be written: No space left"):
        append_update(path, ENTRY)
    assert path.read_text() == before
    assert [file.name for file in path.parent.iterdir()] == ["pay7.yaml"]


def test_ids_can_be_said_on_the_phone() -> None:
    for title, expected in (
        *(
            *(
                ("Card payments fail in the EU", "card3"),
                ("The API is slow", "api1"),
                ("決済が失敗", "incident1"),
            ),
        ),
        *(("Überweisungen stocken", "uberweis1"), ("", "incident1")),
    ):
        assert new_incident_id(title, {"card1", "card2"}) == expected
