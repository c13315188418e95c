"""What a screen shows after a program wrote to it: enough of a terminal for what commcast writes."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from commcast.cli import app
from commcast.cli import prompt as asking
from tests.support.desk import Bench, write_desk, write_incident

_TIMES = ("--timeframe", "1h to 2h")
WORDS = ("--issue", "Some cards are refused.", "--resolution", "We roll back the last release.", *_TIMES)
CTRL_C, CTRL_D = b"\x03", b"\x04"
_PATIENCE = 60.0  # seconds for the next words on the screen


def run_at_terminal(folder: Path, *arguments: str, typed: str = "") -> Result:
    """Run one command over a desk's folder; `typed` is what stands on its standard input."""
    name, *rest = arguments
    where = [] if name == "init" else ["--folder", str(folder)]
    return CliRunner().invoke(app, [name, *rest, *where], input=typed)


def do(folder: Path, command: str, typed: str = "") -> Result:
    """Run a command as somebody types it: `update --issue 'More fail.'`."""
    return run_at_terminal(folder, *shlex.split(command), typed=typed)


def missing(parts: str, text: str) -> list[str]:
    """Return which of the parts, told apart by " … ", a text lacks."""
    return [part for part in parts.split(" … ") if part not in text]


def in_one(text: str) -> str:
    """Return a text on one line, however it was folded."""
    return " ".join(text.split())


def timeless(value: object) -> str:
    """Return the name of a table's cell without its times: two test processes have to agree on it."""
    return re.sub(r"\d[\d:.T+-]*", "#", str(value))[:60]


def make_desk(folder: Path) -> Path:
    """Make a desk as a newcomer gets it, in UTC."""
    done = run_at_terminal(folder, "init", str(folder), "--organisation", "Acme Pay", "--zone", "UTC")
    assert done.exit_code == 0, done.output
    return folder


def declare(folder: Path, *more: str, title: str = "Card payments fail") -> Result:
    """Declare a severity 1 incident, which may wake readers at any time of day."""
    return run_at_terminal(folder, "declare", title, "--severity", "1", *WORDS, *more)


def outbox(folder: Path) -> list[str]:
    """Return the names of all messages that were handed over."""
    return sorted(path.name for path in (folder / "outbox").glob("*")) if (folder / "outbox").exists() else []


def everything_in(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return each file's bytes, time and mode: two that are equal mean that nothing was touched."""

    def state(path: Path) -> tuple[bytes, int, int]:
        return path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns, path.stat().st_mode

    return {path.relative_to(folder).as_posix(): state(path) for path in sorted(folder.rglob("*"))}


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A new desk's folder."""
    return make_desk(tmp_path / "desk")


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sits at the terminal: what is `typed` is asked for."""
    monkeypatch.setattr(asking, "at_terminal", lambda: True)


@dataclass
class Seen:
    """What a person saw on the screen, and the exit code."""

    screen: str
    exit_code: int

    def left(self, columns: int = 200) -> list[str]:
        """Return the lines that stand on a screen of so many columns in the end."""
        return screen(self.screen.replace("\n", "\r\n"), columns)


def at_terminal(
    folder: Path, arguments: Sequence[str], dialogue: Sequence[tuple[str, bytes]] = (), **environment: str
) -> Seen:
    """Run a command at a pseudo terminal of 80 columns: each time its words appear, press the keys."""
    child, terminal = pty.fork()
    if child == 0:
        where = {"TERM": "xterm", "COLUMNS": "80", "PYTHONPATH": str(Path(__file__).parents[2])}
        program = [sys.executable, "-c", "from commcast.cli import main; main()"]
        given = [*program, *arguments, "--folder", str(folder)]
        os.execve(sys.executable, given, {**os.environ, **where, **environment})  # noqa: S606 - no shell
    seen, answered, waiting = b"", 0, list(dialogue)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # the other end was closed
            break
        if not chunk:
            break
        seen += chunk
        if waiting and waiting[0][0].encode() in seen[answered:]:
            answered = len(seen)
            os.write(terminal, waiting.pop(0)[1])
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert not waiting, f"never asked: {waiting}\n{seen!r}"
    return Seen(seen.decode(errors="replace").replace("\r\n", "\n"), os.waitstatus_to_exitcode(status))


def run(*arguments: str | Path, folder: Path | None = None, expect: int = 0) -> Result:
    """Run a command; it has to end with `expect` and without a traceback."""
    where = ["-C", str(folder)] if folder is not None else []
    result = CliRunner().invoke(app, [*map(str, arguments), *where])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == expect, result.output
    return result


def succeed(folder: Path, *commands: str) -> list[str]:
    """Run commands, each with --yes, that have to exit with 0; return what is in the outbox then."""
    for command in commands:
        done = do(folder, f"{command} --yes")
        assert done.exit_code == 0, done.output
    return outbox(folder)


def prepare(folder: Path, *commands: str) -> Path:
    """Run commands without a terminal: those without --yes leave a draft. Return the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "at_terminal", lambda: False)
        for command in commands:
            done = do(folder, command)
            assert done.exit_code == (0 if "--yes" in command else 5), done.output
    return folder


def refuse(folder: Path, command: str, said: str, code: int = 2) -> str:
    """Run a command that has to say these parts, and to write and send nothing; return what it said."""
    before = everything_in(folder / "incidents"), outbox(folder)
    done = do(folder, command)
    assert done.exit_code == code, done.output
    assert missing(said, done.stderr) == [], done.stderr
    assert "\x1b" not in done.output
    assert (everything_in(folder / "incidents"), outbox(folder)) == before
    return done.stderr


def play(folder: Path, story: str) -> None:
    """Run a story, one command per line: `command < typed | exit code | messages handed over | what it says`.

    Parts that it says are separated by " … "; one that begins with "not:" must be missing.
    """
    for line in story.strip().splitlines():
        command, code, sent, said = (each.strip() for each in re.split(r" \|(?: |$)", line))
        command, _, typed = command.partition(" < ")
        before = len(outbox(folder))
        done = do(folder, command, f"{typed}\n" if typed else "")
        assert done.exit_code == int(code), f"{line}\n{done.output}"
        assert len(outbox(folder)) - before == int(sent), f"{line}\n{done.output}"
        output = in_one(done.output)
        for part in filter(None, said.split(" … ")):
            wanted = part.removeprefix("not:")
            assert (wanted.strip() in output) == (part == wanted), f"{line}\n{done.output}"


def just_now() -> datetime:
    """Return a full minute shortly ago: the commands read the real clock, and a draft nudges after three."""
    return (datetime.now(UTC) - timedelta(minutes=1)).replace(second=0, microsecond=0)


def bench_now(folder: Path) -> Bench:
    """Return a desk with one incident, declared just now and not released."""
    write_desk(folder)
    write_incident(folder, at=just_now())
    return Bench(folder, now=datetime.now(UTC))


def every_byte(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder with their content."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


_PIECES = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


def screen(written: str, columns: int = 80) -> list[str]:
    """Return the lines that stand on the screen in the end, without the empty ones below.

    A line that reaches beyond the last column goes on in the next one, as in a terminal.
    """
    lines, row, column = [""], 0, 0
    for count, verb, turn, text in _PIECES.findall(written):
        if verb == "A":
            row = max(0, row - int(count or 1))
        elif verb == "H":
            row = column = 0
        elif verb == "J" and count == "2":
            lines = [""] * (row + 1)
        elif verb in {"J", "K"}:
            lines[row] = "" if count == "2" else lines[row][:column]
            if verb == "J":
                del lines[row + 1 :]
        elif turn:
            row, column = row + (turn == "\n"), 0
        for character in text:
            if column == columns:
                row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
            lines[row] = lines[row][:column].ljust(column) + character + lines[row][column + 1 :]
            column += 1
        lines += [""] * (row + 1 - len(lines))
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.rstrip() for line in lines]


_watching: list[Callable[[str, tuple[Any, ...]], None]] = []


@contextmanager
def audited(watch: Callable[[str, tuple[Any, ...]], None]) -> Iterator[None]:
    """Let `watch` hear what this process does to files, sockets and databases."""
    if not _watching:
        sys.addaudithook(lambda event, given: _watching[-1](event, given) if len(_watching) > 1 else None)
        _watching.append(lambda *_: None)
    _watching.append(watch)
    try:
        yield
    finally:
        _watching.pop()
