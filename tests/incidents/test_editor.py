"""The verbs write incident files: what they write reads back equal, and every byte that stood there stays."""

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
from commcast.files import FORBIDDEN, read_bytes_file
from commcast.incidents import editor
from commcast.incidents.editor import append_update, fill_times, new_incident_id, with_at, with_update
from commcast.incidents.load import load_incident
from commcast.incidents.yaml import parse
from commcast.incidents.yaml_lines import lines_of
from commcast.model.incident import Status
from tests.support.scenario import LEAST, NOW, create_incident, make_desk

EXAMPLE = (Path(__file__).parents[2] / "incidents" / "pay7.yaml").read_text()
ENTRY = {"at": NOW, "status": Status.MONITORING, "issue": "It works.", "next_update": timedelta(minutes=20)}
WRITTEN = {"at": "2026-11-21T12:00+00:00", "status": "monitoring", "issue": "It works.", "next_update": "20m"}
ENTRY_LINES = """\
  - at: 2026-11-21T12:00+00:00
    status: monitoring
    issue: It works.
    next_update: 20m
"""


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
    "comment below": LEAST + "\n\n# about the file\n",
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
    "updates first": "updates:\n  - issue: a\n    timeframe: 1h\nseverity: 1\ntitle: x\n",
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


def test_comments_stay_with_what_they_speak_of() -> None:
    new = with_update(FILES["comment of the update"], "x.yaml", {"issue": "More."})
    assert new == LEAST + "    # db-3 again\n  - issue: More.\n\n# about the file\n"


def test_a_moment_is_written_with_its_offset_and_filled_once() -> None:
    text = with_update(LEAST, "x.yaml", {"issue": "More."})
    filled = with_at(text, "x.yaml", 2, NOW)
    assert filled == LEAST + "  - at: 2026-11-21T12:00+00:00\n    issue: More.\n"
    assert with_at(filled, "x.yaml", 2, NOW + timedelta(hours=1)) == filled
    exact = with_update(LEAST, "x.yaml", {"at": NOW + timedelta(seconds=5)})
    assert exact.endswith("  - at: 2026-11-21T12:00:05+00:00\n")


def test_what_cannot_be_edited_is_refused() -> None:
    for text in ("title: x\n", "title: x\nupdates:\n", "title: x\nupdates: []\n", "a: [", "", "- a\n"):
        with pytest.raises(InputError):
            with_update(text, "x.yaml", ENTRY)
    for number in (0, -1, 2):
        with pytest.raises(InputError, match="no update"):
            with_at(LEAST, "x.yaml", number, NOW)


SENTENCES = [
    *("Cards fail: all of them", "40% # of cards", "{a: down, 40%}", "[x]", "no", "~", "404", "0x1F", "1e3"),
    *(
        ".nan",
        "14:00",
        "2026-11-21",
        "- a",
        "? a",
        "a:",
        ": a",
        "#a",
        "'a'",
        '"a"',
        "it's \\n",
        "@home",
        "`a`",
    ),
    *("*a*", "&a", "!a", "%a", "|", ">", "--- a", "...", "one\ntwo", "one\n\n  two\n", "\n one", " one "),
    *("one\n\ttwo", "tab\there", "é ü 日本 🙂 \u00a0x", "{{ name }} <b>", "$(id)", "x" * 4000, "", "=", "<<"),
    *("a ,b", "a\u200bb", "yes", "Null", "12:30:45", "0o17", "+1", "a # b", "a\nb: c\n# d"),
]


@pytest.mark.parametrize("text", SENTENCES)
def test_sentences_read_back_equal(text: str) -> None:
    entry = {"issue": text, "for": {"executives": {"issue": text}}, "audiences": [text]}
    for old in (LEAST, FILES["braces"], LEAST.replace("\n", "\r\n")):
        new = with_update(old, "x.yaml", entry)
        assert parse(new, "x.yaml").data["updates"][1] == entry


@pytest.mark.parametrize("text", ["a\0b", "a\x1b[31m", "a\u202eb", "a\rb", "a\u2028b", "a\ud800b"])
def test_what_no_mail_may_hold_is_not_written(text: str) -> None:
    with pytest.raises(InputError):
        with_update(LEAST, "x.yaml", {"issue": text})


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
def test_anything_written_reads_back_and_old_text_stays(
    name: str, one: dict[str, Any], two: dict[str, Any]
) -> None:
    old = FILES[name]
    before = parse(old, "x.yaml").data["updates"]
    new = with_update(with_update(old, "x.yaml", one), "x.yaml", two)
    assert parse(new, "x.yaml").data["updates"][len(before) :] == [one, two]
    rest = iter(new)
    assert all(character in rest for character in old)  # in its order


@given(
    st.dictionaries(st.sampled_from(["title", "owner", "dedupe_key"]), TEXT, min_size=1),
    st.lists(WORDS, min_size=1),
)
def test_a_whole_file_reads_back(top: dict[str, Any], updates: list[dict[str, Any]]) -> None:
    data = {**top, "severity": 1, "updates": updates}
    assert parse("\n".join(lines_of(data, 0)) + "\n", "x.yaml").data == data


def test_a_new_file_is_made_once_and_whole(desk: Config) -> None:
    """0644 whatever the umask, never over another file, nothing else left in the folder."""
    old_mask = os.umask(0o077)
    try:
        path = create_incident(desk, "pay7", {"title": "Cards: down", "severity": 1, "updates": [WRITTEN]})
    finally:
        os.umask(old_mask)
    assert path == desk.folder / "incidents" / "pay7.yaml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert path.read_text() == 'title: "Cards: down"\nseverity: 1\nupdates:\n' + ENTRY_LINES
    with pytest.raises(InputError, match="file exists"):
        create_incident(desk, "pay7", {"title": "x"})
    assert [file.name for file in path.parent.iterdir()] == ["pay7.yaml"]


@pytest.mark.parametrize("name", ["../x", "Pay7", "", "a/b", "-a", "x" * 41])
def test_an_id_names_a_file_in_the_folder(desk: Config, name: str) -> None:
    with pytest.raises(InputError, match="cannot be an id"):
        create_incident(desk, name, {"title": "x"})


def test_the_folder_is_made_but_not_followed_away(tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()
    desk = make_desk(tmp_path / "desk")
    folder = desk.folder / "incidents"
    folder.rmdir()
    assert create_incident(desk, "a", {"title": "x"}).exists()
    (folder / "a.yaml").unlink()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(InputError, match="leads out"):
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


def test_a_full_disk_leaves_the_old_file(desk: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    path = desk.folder / "incidents" / "pay7.yaml"
    path.write_text(LEAST)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("commcast.incidents.editor.os.fsync", full)
    with pytest.raises(InputError, match="cannot be written: No space left"):
        append_update(path, ENTRY)
    assert path.read_text() == LEAST
    assert [file.name for file in path.parent.iterdir()] == ["pay7.yaml"]


def is_locked(folder: Path) -> bool:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def test_two_writers_take_turns(desk: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """From before the file is read until it is replaced, nobody else gets the folder's lock."""
    path = desk.folder / "incidents" / "pay7.yaml"
    path.write_text(LEAST)
    held: list[bool] = []
    read = read_bytes_file

    def noting(*given: Any, **more: Any) -> bytes:
        held.append(is_locked(path.parent))
        return read(*given, **more)

    monkeypatch.setattr(editor, "read_bytes_file", noting)
    monkeypatch.setattr(editor, "sync_folder", lambda folder: held.append(is_locked(folder)))
    append_update(path, ENTRY)
    assert held == [True, True]
    assert not is_locked(path.parent)


@pytest.mark.parametrize(
    ("title", "taken", "expected"),
    [
        ("Card payments fail in the EU", set(), "card1"),
        ("Card payments fail in the EU", {"card1", "card2"}, "card3"),
        ("The API is slow", set(), "api1"),
        ("Überweisungen stocken", set(), "uberweis1"),
        ("決済が失敗", set(), "incident1"),
        ("", set(), "incident1"),
    ],
)
def test_ids_can_be_said_on_the_phone(title: str, taken: set[str], expected: str) -> None:
    assert new_incident_id(title, taken) == expected
