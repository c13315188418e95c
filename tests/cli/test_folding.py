"""Prose is folded for a person at a terminal, and nothing else is: no table, no command to copy, no pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from commcast.cli.output import PROSE, say, show, show_prose

SENTENCE = "No tick has run yet. Ticks keep promises while you work, and nobody else does it. " * 3
COMMAND = "commcast complete database1 --ended HH:MM --fixed 'It runs.'"


class Terminal(io.StringIO):
    """A stream that says it is a terminal; it has no number, so that its size is that of 80 columns."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], None], str], str]:
    """What a terminal gets where something is printed."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def shown(printing: Callable[[str], None], text: str) -> str:
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            patch.setattr(sys, "stdout", terminal)
            printing(text)
        return terminal.getvalue()

    return shown


Shown = Callable[[Callable[[str], None], str], str]


@pytest.mark.parametrize("printed", [say, show_prose])
@pytest.mark.parametrize("indent", ["", "  "])
def test_a_sentence_is_folded_under_its_own_indentation(
    shown: Shown, printed: Callable[[str], None], indent: str
) -> None:
    found = shown(printed, indent + SENTENCE)
    first, *more = found.splitlines()
    assert len(first) <= PROSE and first.startswith(indent)
    assert more and all(len(line) <= PROSE and line.startswith(f"{indent}  ") for line in more)
    assert found.split() == SENTENCE.split()


def test_a_program_reads_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    read = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", read)
        say(SENTENCE)
    assert read.getvalue() == SENTENCE + "\n"


@pytest.mark.parametrize(
    "line",
    [
        f"  {COMMAND} --remains 'Some pages are slow for a while.'",
        "customers  email  " + "a cell " * 12,
        "  | " + "words of a message " * 6,
        "a\t" + "words " * 20,
        "https://status.acme.example/" + "a" * 80,
    ],
)
def test_what_is_no_prose_stays_as_it_is(shown: Shown, line: str) -> None:
    assert shown(say, line) == line + "\n"


def test_a_result_that_is_no_prose_is_never_folded(shown: Shown) -> None:
    assert shown(show, SENTENCE) == SENTENCE + "\n"


@pytest.mark.parametrize("before", range(0, 60, 7))
def test_the_command_that_a_sentence_ends_in_is_on_one_line(shown: Shown, before: int) -> None:
    """So that a double click, or a look, takes it whole."""
    text = f"{'Work ' * (before // 5)}that ran on time without a word is done, not moved: {COMMAND}"
    assert any(COMMAND in line for line in shown(say, text).splitlines())


def test_a_command_within_a_sentence_keeps_its_verb(shown: Shown) -> None:
    for words in range(1, 16):
        text = f"{'words ' * words}and commcast resume pay7 goes on with it, whatever stopped it before."
        assert "commcast\n" not in shown(say, text)
