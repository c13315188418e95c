"""What the operating system refuses is one line and a documented exit code, never a traceback."""

from __future__ import annotations

import builtins
import errno
import json
import os
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from commcast import __main__, cli
from commcast.cli import CommcastGroup
from commcast.errors import LedgerError
from tests.support.desk import Bench
from tests.support.terminal import bench_now, declare, outbox, run_at_terminal
from tests.support.terminal import run as run_quietly

PROGRAM = [sys.executable, "-m", "commcast"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def in_shell(redirection: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the program as a person's shell does, with its streams as `redirection` says."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_full_disk_under_the_output_ends_no_send(bench: Bench) -> None:
    """What was handed over was: the exit code is that of the send, and stderr says what is missing."""
    done = in_shell(">/dev/full", "send", "pay7", "--yes", "-C", bench.folder)
    assert (done.returncode, "stdout: No space left on device" in done.stderr) == (0, True), done.stderr
    assert "Traceback" not in done.stderr
    assert len(bench.mails()) == 3


@pytest.mark.parametrize("arguments", [["--help"], ["send", "--help"], ["nonsense"], ["schema", "incident"]])
@pytest.mark.parametrize("redirection", [">/dev/full", ">/dev/full 2>/dev/full", "2>/dev/full"])
def test_a_full_disk_under_any_stream_is_no_traceback(arguments: list[str], redirection: str) -> None:
    done = in_shell(redirection, *arguments)
    assert done.returncode in {0, 2}
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("verb", "code"), [("send", 5), ("status", 0)])
def test_closed_streams_go_nowhere(bench: Bench, redirection: str, verb: str, code: int) -> None:
    done = in_shell(redirection, verb, "-C", bench.folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "code"), [("/desk/.commcast/ledger.db", 3), (b"/desk/.commcast", 3), ("/desk/audiences", 2)]
)
def test_what_nobody_else_has_named_is_told_with_its_path(path: str | bytes, code: int) -> None:
    class Stumbling(CommcastGroup):
        """The group with commands of the test's own."""

        def __init__(self, **attrs: Any) -> None:
            super().__init__(**attrs)
            self.commands = attrs["commands"]

    app = typer.Typer(cls=Stumbling)

    @app.command()
    def stumble() -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    app.command("other")(lambda: None)
    done = CliRunner().invoke(app, ["stumble"])
    assert (done.exit_code, done.stderr) == (code, f"{os.fsdecode(path)}: Permission denied\n")


def test_a_configuration_that_may_not_be_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    done = run_quietly("tick", folder=bench.folder, expect=2)
    assert done.stderr.startswith("commcast.toml: cannot be read: Permission denied; look at: ls -l ")


def test_ctrl_c_before_any_command_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> typing.NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    monkeypatch.setattr(builtins, "__import__", interrupted)
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    monkeypatch.undo()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Interrupted before anything was done.\n" * 2


def test_an_error_is_told_to_programs_too(desk: Path) -> None:
    """One JSON document on stdout; people read the same on stderr."""
    (desk / "incidents" / "bad.yaml").write_text("title: [\n")
    done = run_at_terminal(desk, "send", "bad", "--yes", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == told["exit_code"] == 2
    assert (told["commcast"], told["version"]) == ("error", 1)
    assert told["faults"][0].keys() == {"file", "line", "column", "what", "remedy"}
    assert told["faults"][0]["file"] == "incidents/bad.yaml"
    assert "incidents/bad.yaml:" in done.stderr


def test_an_error_without_a_place_is_a_message(desk: Path) -> None:
    (desk / ".commcast" / "ledger.db").unlink()
    done = run_at_terminal(desk, "tick", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == told["exit_code"] == LedgerError.exit_code
    assert "there is no ledger" in told["message"]
    assert run_at_terminal(desk, "tick").stdout == ""


def test_a_question_that_nobody_answers_is_one_document(desk: Path) -> None:
    done = declare(desk, "--json")
    assert json.loads(done.stdout)["exit_code"] == done.exit_code == 5
    assert outbox(desk) == []
