"""What the documents say is what happens.

In README.md a block of commands under the comment `<!-- checked -->` is run and compared::

    <!-- checked -->
    ```console
    $ commcast status
    pay7  resolved
    ```

All checked blocks are one story: they run in order, in one scratch folder, without a terminal. A command is
`commcast …` or `cd …`; a line that ends in a backslash goes on in the next. `…` stands for any text
within a line, and alone on a line for any lines. A command ends in 0, unless the comment says otherwise:
`<!-- checked: exit 5 -->` (of the block's last command). A block under `<!-- file: NAME -->` is written to
that file first.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main

import commcast
from commcast.cli import app

CHECKOUT = Path(__file__).parents[1]
README = CHECKOUT / "README.md"
BLOCK = re.compile(
    r"^<!-- checked(?:: exit (?P<exit>\d+))? -->\n+```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
FILE = re.compile(
    r"^<!-- file: (?P<name>[\w./-]+) -->\n+```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


@dataclass(frozen=True)
class Step:
    """One command of a block, what it prints and the code it ends in. `line` is its place in README.md.

    A block that is to be written has the command "file NAME", and its text in `printed`.
    """

    line: int
    command: str
    printed: str
    exit_code: int


def steps(text: str) -> Iterator[Step]:
    """Yield the commands of all checked blocks, and the blocks to write, as they stand."""
    for block in sorted([*BLOCK.finditer(text), *FILE.finditer(text)], key=lambda found: found.start()):
        if block.re is FILE:
            yield Step(text.count("\n", 0, block.start()) + 1, f"file {block['name']}", block["text"], 0)
            continue
        starts = list(re.finditer(r"^\$ ((?:.*\\\n)*.*)\n?", block["text"], re.MULTILINE))
        ends = [*(start.start() for start in starts[1:]), len(block["text"])]
        for start, end in zip(starts, ends, strict=True):
            line = text.count("\n", 0, block.start("text") + start.start()) + 1
            code = int(block["exit"] or 0) if start is starts[-1] else 0
            yield Step(line, start[1].replace("\\\n", " "), block["text"][start.end() : end], code)


def as_pattern(printed: str) -> str:
    """Return the regular expression of what a block shows."""
    lines = printed.rstrip().splitlines()
    return "".join(
        "(?:.*\n)*" if line.strip() == "…" else ".*".join(map(re.escape, line.rstrip().split("…"))) + "\n"
        for line in lines
    )


def test_every_checked_block_of_the_readme_prints_what_it_shows(tmp_path: Path) -> None:
    story = list(steps(README.read_text()))
    assert story, "README.md has no checked block"
    folder = tmp_path
    for step in story:
        if step.command.startswith("cd "):
            folder = folder / step.command.removeprefix("cd ").strip()
            continue
        if step.command.startswith("file "):
            (folder / step.command.removeprefix("file ")).write_text(step.printed)
            continue
        code, printed = run_commcast(step.command, folder, home=tmp_path)
        place = f"README.md:{step.line}: $ {step.command}"
        assert code == step.exit_code, f"{place} ended in {code}:\n{printed}"
        assert re.fullmatch(as_pattern(step.printed), printed), f"{place} printed:\n{printed}"


def run_commcast(command: str, folder: Path, home: Path) -> tuple[int, str]:
    """Run one command line; return its exit code and what a terminal would show, without trailing blanks."""
    program, *arguments = shlex.split(command)
    assert program == "commcast", f"only commcast and cd can be checked, not {program}"
    scripts = sysconfig.get_path("scripts")
    done = subprocess.run(
        [f"{scripts}/commcast", *arguments],
        cwd=folder,
        env={
            "PATH": f"{scripts}{os.pathsep}{os.defpath}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    text = "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines()).rstrip("\n")
    return done.returncode, text + "\n" if text else ""


def test_the_readme_names_the_two_commands_of_a_newcomer() -> None:
    text = README.read_text()
    assert "make demo" in text
    assert "make test" in text


def test_the_readme_leads_to_files_that_exist() -> None:
    missing = [link for link in LINK.findall(README.read_text()) if not (CHECKOUT / link).exists()]
    assert missing == []


def test_the_changelog_speaks_of_this_version() -> None:
    assert f"## [{commcast.__version__}]" in (CHECKOUT / "CHANGELOG.md").read_text()


def test_ci_runs_what_the_readme_tells_a_newcomer_to_run() -> None:
    script = (CHECKOUT / ".ci" / "run").read_text()
    assert re.search(r"^make check$", script, re.MULTILINE)
    assert "make test" in script
    check = (CHECKOUT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]
    assert "$(MAKE) test" in check


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every command below a group, with the words that call it."""
    for name, child in getattr(command, "commands", {}).items():
        if getattr(child, "commands", None):
            yield from commands(child, f"{path} {name}")
        else:
            yield f"{path} {name}", child


@pytest.mark.parametrize(("words", "command"), [*commands(typer.main.get_command(app), "commcast")])
def test_the_help_of_every_command_has_an_example(words: str, command: Any) -> None:
    help_text = f"{command.help or ''}\n{command.epilog or ''}"
    assert words in help_text, f"`{words} --help` shows no example"
