"""The question at a real terminal: keys are pressed, and what is released is looked up afterwards."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.terminal import CTRL_C, CTRL_D, at_terminal, declare, outbox, run_at_terminal

QUESTION = "Send 7 messages: 6 emails, 1 SMS? [y/N]"


@pytest.mark.parametrize(("keys", "code"), [(b"n\n", 5), (b"\n", 5), (CTRL_D, 5), (CTRL_C, 130)])
def test_no_ctrl_d_and_ctrl_c_release_nothing(desk: Path, keys: bytes, code: int) -> None:
    declare(desk)
    seen = at_terminal(desk, ["send"], [(QUESTION, keys)])
    assert seen.exit_code == code, seen.screen
    assert "commcast send card1" in seen.screen
    assert "Traceback" not in seen.screen
    assert run_at_terminal(desk, "tick").exit_code == 0
    assert outbox(desk) == []


def test_y_sends(desk: Path) -> None:
    declare(desk)
    seen = at_terminal(desk, ["send"], [(QUESTION, b"y\n")])
    assert seen.exit_code == 0, seen.screen
    assert "card1: update 1 released, 7 handed over." in seen.screen
    assert len(outbox(desk)) == 7


def test_declare_asks_for_what_is_missing_and_ctrl_c_leaves_no_trace(desk: Path) -> None:
    seen = at_terminal(desk, ["declare", "Cards fail"], [("Severity", b"1\n"), ("Issue", CTRL_C)])
    assert seen.exit_code == 130
    assert not list((desk / "incidents").glob("*.yaml"))


def test_the_screen_fits_80_columns(desk: Path) -> None:
    declare(desk)
    seen = at_terminal(desk, ["send"], [(QUESTION, b"n\n")])
    assert max(len(line) for line in seen.screen.split("\n")) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("status",), "No tick has run yet"),
        (("update", "card1", "--status", "broken"), "--status: 'broken' is not known"),
        (("update", "card1", "--issue", "More cards fail.", "--dry-run"), "Dry run: nothing was written"),
        (("update", "card1", "--issue", "More cards fail.", "--yes"), "no tick has run yet"),
        (("lint",), "audience support has nobody who can be told"),
        (("recipients", "check", "no-such-audience-at-all-whatever-it-may-be"), "audiences are: "),
    ],
)
def test_sentences_fit_80_columns(desk: Path, arguments: tuple[str, ...], said: str) -> None:
    (desk / "audiences" / "support.csv").write_text("email,name\n")
    declare(desk, "--audience", "customers", "--yes")
    seen = re.sub("\x1b\\[[0-9;]*m", "", at_terminal(desk, arguments, []).screen)
    assert max(len(line.rstrip()) for line in seen.split("\n")) <= 80
    assert said in " ".join(seen.split())


def test_what_doctor_finds_fits_80_columns_and_is_one_line_for_a_program(desk: Path) -> None:
    settings = desk / "commcast.toml"
    settings.write_text(settings.read_text() + f"[people.dana]\nname = 'Dana'\nemail = 'env:{'D' * 60}'\n")
    seen = re.sub("\x1b\\[[0-9;]*m", "", at_terminal(desk, ["doctor"], []).screen)
    assert max(len(line) for line in seen.split("\n")) <= 80
    long = f"warn  secret: {'D' * 60} is not set: the email of dana"
    assert long in run_at_terminal(desk, "doctor").stdout.splitlines()
    assert long not in seen
    assert long in " ".join(seen.split()).replace("warn ", "warn  ")


def test_bytes_that_are_no_text_are_refused_at_their_question(desk: Path) -> None:
    dialogue = [("Severity", b"1\n"), ("Issue", b"caf\xe9\n"), ("bytes that are no text", CTRL_C)]
    seen = at_terminal(desk, ["declare", "Cards fail"], dialogue)
    assert seen.exit_code == 130, seen.screen
    assert "Traceback" not in seen.screen
