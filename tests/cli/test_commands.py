"""The table of commands: --help lists from it, and it says what each command says of itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from commcast.cli import app
from commcast.cli.commands import TABLE, CommandEntry, Commands
from tests.support.terminal import bench_now, run

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("entry", TABLE, ids=[entry.name for entry in TABLE])
def test_the_table_says_of_a_command_what_its_own_help_says(entry: CommandEntry) -> None:
    assert Commands()[entry.name].get_short_help_str(200) == entry.help


def test_help_lists_every_command_in_the_order_of_the_table() -> None:
    lines = run("--help").stdout.splitlines()
    listed = [line.split()[0] for line in lines if line[:2] == "  " and line[2:3].islower()]
    assert [name for name in listed if name in Commands()] == [entry.name for entry in TABLE]


def test_what_is_nearly_a_command_is_suggested() -> None:
    assert "Did you mean 'status'" in run("statsu", expect=2).output


def test_a_title_without_quotes_is_shown_in_quotes() -> None:
    said = run("declare", "Card", "payments", "fail\x1b", "--severity", "1", expect=2).output
    assert "Put the words in quotes: commcast declare 'Card payments fail\\u001b'" in said


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        ("update", '--nothing-new "…" (or --issue "…")'),
        ("resolve", '--fixed "…"'),
        ("retract", '--because "…"'),
        ("reopen", '--issue "…"'),
    ],
)
def test_words_in_the_place_of_an_id_are_told_where_they_go(verb: str, option: str, tmp_path: Path) -> None:
    bench_now(tmp_path)
    remedy = f"Words go behind an option: commcast {verb} {option}"
    for words in (["Still broken"], ["Still", "broken"]):
        assert remedy in run(verb, *words, folder=tmp_path, expect=2).output
    assert remedy not in run(verb, "pay8", folder=tmp_path, expect=2).output


def test_the_program_finds_the_same_commands_as_typer_does() -> None:
    group = typer.main.get_command(app)
    assert list(group.commands) == [entry.name for entry in TABLE]  # type: ignore[attr-defined]


def test_help_reads_the_code_of_no_command() -> None:
    program = (
        "import sys; sys.argv = ['commcast', '--help']\n"
        "from commcast.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('read:', *sorted(name for name in sys.modules if name.startswith('commcast.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    read = done.stdout.splitlines()[-1].split()[1:]
    assert read == [
        "commcast.cli",
        "commcast.cli.commands",
        "commcast.cli.output",
        "commcast.errors",
        "commcast.signals",
    ]
