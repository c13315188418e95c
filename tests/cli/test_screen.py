"""What a person sees: failing streams, prose and tables that fit, colour, progress, keys that are pressed."""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
import typing
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from commcast import __main__, cli
from commcast.cli import app
from commcast.cli.commands import TABLE, Commands
from commcast.cli.output import PROSE, RED, say, show, show_prose, silence, table
from commcast.cli.progress import QUIET, SPAN, Meter, ProgressBar
from commcast.errors import LedgerError
from tests.support import terminal
from tests.support.desk import Bench, numbered, write_desk
from tests.support.terminal import (
    CTRL_C,
    at_terminal,
    declare,
    in_one,
    missing,
    outbox,
    run,
    run_at_terminal,
)
from tests.support.values import cases, rows

PROGRAM = [sys.executable, "-m", "commcast"]


bench = pytest.fixture(lambda tmp_path: terminal.bench_now(tmp_path))


def in_shell(redirection: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the program as a person's shell does, with its streams as `redirection` says."""
    given = ["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM, *map(str, arguments)]
    where = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(given, env=where, capture_output=True, text=True, check=False)


@pytest.mark.linux("/dev/full")
@cases("""
    redirection            | arguments       | code
    >/dev/full             | send --help     | 2
    >/dev/full 2>/dev/full | schema incident | 0
    2>/dev/full            | nonsense        | 2
    <&-                    | send            | 5
    >&-                    | send            | 5
    2>&-                   | send            | 5
    <&- >&- 2>&-           | send            | 5
    <&- >&- 2>&-           | status          | 0
    >/dev/full             | send pay7 --yes | 0
""")
def test_a_stream_that_fails_or_is_closed_is_no_traceback(
    bench: Bench, redirection: str, arguments: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk ends no send: what was handed over was, and stderr says what is missing."""
    monkeypatch.chdir(bench.folder)
    done = in_shell(redirection, *arguments.split())
    assert done.returncode == int(code), done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    if "--yes" in arguments:
        assert ("stdout: No space left on device" in done.stderr, len(bench.mails())) == (True, 3)


def test_what_may_not_be_read_is_told_with_its_path(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path | bytes) -> typing.NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    for path, code in ((Path("/d/.commcast/ledger.db"), 3), (b"/d/.commcast", 3), (Path("/d/audiences"), 2)):
        monkeypatch.setattr("commcast.config.load.config_schema", partial(refuse, path))
        told = run("schema", "config", expect=code).stderr
        assert told == f"{os.fsdecode(path)}: Permission denied\n"
    monkeypatch.setattr(Path, "read_bytes", refuse)
    told = run("tick", folder=bench.folder, expect=2).stderr
    assert told.startswith("commcast.toml: cannot be read: Permission denied; check: ls -l ")


def test_ctrl_c_before_any_command_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> typing.NoReturn:
        raise KeyboardInterrupt

    for place, name, main in ((cli, "app", cli.main), (builtins, "__import__", __main__.main)):
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(place, name, interrupted)
            main()
        assert ended.value.code == 130
    assert capsys.readouterr().err == "Interrupted before anything was done.\n" * 2


def test_an_error_is_one_json_document_on_stdout_and_a_line_on_stderr(desk: Path) -> None:
    (desk / "incidents" / "bad.yaml").write_text("title: [\n")
    done = run("send", "bad", "--yes", "--json", folder=desk, expect=2)
    told = json.loads(done.stdout)
    assert (told["commcast"], told["version"], told["exit_code"]) == ("error", 1, 2)
    assert told["faults"][0].keys() == {"file", "line", "column", "what", "remedy"}
    assert told["faults"][0]["file"] == "incidents/bad.yaml" and "incidents/bad.yaml:" in done.stderr
    (desk / "incidents" / "bad.yaml").unlink()
    unanswered = declare(desk, "--json")  # a question that nobody answers
    assert json.loads(unanswered.stdout)["exit_code"] == unanswered.exit_code == 5
    assert outbox(desk) == []
    (desk / ".commcast" / "ledger.db").unlink()  # an error without a place
    told = json.loads(run("tick", "--json", folder=desk, expect=LedgerError.exit_code).stdout)
    assert (told["exit_code"], "there is no ledger" in told["message"]) == (LedgerError.exit_code, True)
    assert run_at_terminal(desk, "tick").stdout == ""


SENTENCE = "No tick has run yet. Ticks keep promises while you work, and nobody else does it. " * 3
COMMAND = "commcast complete database1 --ended HH:MM --fixed 'It runs.'"
ROWS = (["customers", "\x1b[31m[red]a[/red] :smile: " + "long words " * 8, "12,000"], ["b", "c", "7"])
Shown = Callable[..., str]


class Terminal(io.StringIO):
    """A stream that says it is a terminal; it has no number, so that its size is that of 80 columns."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What a terminal, or `stream`, gets when something is printed in this environment."""

    def shown(printing: Callable[..., None], *given: Any, stream: Any = None, **environment: str) -> str:
        stream = stream or Terminal()
        with monkeypatch.context() as patch:
            for name, value in {"COLUMNS": "", "TERM": "xterm", **environment}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stderr", stream)
            patch.setattr(sys, "stdout", stream)
            printing(*given)
        return str(stream.getvalue())

    return shown


@pytest.mark.parametrize(("columns", "room"), [("", PROSE), ("200", PROSE), ("50", 49)])
@pytest.mark.parametrize(("printed", "indent"), [(say, ""), (say, "  "), (show_prose, "  ")])
def test_a_sentence_is_folded_under_its_own_indentation(
    shown: Shown, printed: Callable[[str], None], indent: str, columns: str, room: int
) -> None:
    found = shown(printed, indent + SENTENCE, COLUMNS=columns)
    first, *more = found.splitlines()
    assert room - 15 < len(first) <= room and first.startswith(indent)
    assert more and all(len(line) <= room and line.startswith(f"{indent}  ") for line in more)
    assert found.split() == SENTENCE.split()
    assert shown(printed, SENTENCE, stream=io.StringIO()) == SENTENCE + "\n"  # a program reads one line


def test_what_is_no_prose_stays_as_it_is(shown: Shown) -> None:
    """A command, a row of a table, a quotation, a tab, a link; and a result is never folded."""
    kinds = [
        f"  {COMMAND} --remains 'Some pages are slow for a while.'",
        "customers  email  " + "a cell " * 12,
    ]
    kinds += ["  | " + "words of a message " * 6, "a\t" + "words " * 20]
    for line in (*kinds, "https://status.acme.example/" + "a" * 80):
        assert shown(say, line) == line + "\n"
    assert shown(show, SENTENCE) == SENTENCE + "\n"


def test_a_command_in_a_sentence_is_not_torn(shown: Shown) -> None:
    """So that a double click takes it whole at the end of a sentence; within one it keeps its verb."""
    for words in range(1, 16):
        ends = f"{'words ' * words}that ran on time without a word is done, not moved: {COMMAND}"
        assert any(COMMAND in line for line in shown(say, ends).splitlines())
        within = f"{'words ' * words}and commcast resume pay7 goes on with it, whatever stopped it before."
        assert "commcast\n" not in shown(say, within)


@pytest.mark.parametrize("columns", [120, 80, 60, 40])
def test_a_table_fits_a_terminal_and_reads_no_markup(shown: Shown, columns: int) -> None:
    """What others wrote is shown as it is, without their control characters. No table is cut to pieces."""

    def printing() -> None:
        print(table(["AUDIENCE", "WORDS", "SEND"], ROWS))

    whole = shown(printing, stream=io.StringIO())
    assert (shown(printing, COLUMNS="22"), len(whole.splitlines())) == (whole, 3)
    found = shown(printing, COLUMNS=str(columns))
    assert max(map(len, found.splitlines())) < columns
    assert found.startswith("AUDIENCE   WORDS") and "\x1b" not in found
    assert terminal.missing("\\u001b[31m[red]a[/re … :smile: … 12,000\n … customers  ", found) == []


def test_styles_are_shown_only_where_they_are_wanted(shown: Shown) -> None:
    words = "late\x1b[0m"
    assert shown(show, words, RED) == "\x1b[31mlate\\u001b[0m\x1b[0m\n"
    plain = [shown(show, words, RED, NO_COLOR="1"), shown(show, words, RED, TERM="dumb")]
    plain.append(shown(show, words, RED, stream=io.StringIO(), FORCE_COLOR="1"))
    assert plain == ["late\\u001b[0m\n"] * 3


class Clock:
    """A clock in the test's hand. As the event that ends a bar, it lets as long pass as is waited."""

    now, waits = 100.0, 0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self.waits -= 1
        return self.waits < 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Bars show only what a test asks for."""
    monkeypatch.setattr(ProgressBar, "_heard", lambda self: None)
    return Clock()


def half_way(bar: ProgressBar, clock: Clock) -> None:
    bar.begins("pay7 email", 200_000)
    bar.begins("pay7 sms", 1_800)
    for _ in range(100):
        clock.now += 0.1
        bar.settled("pay7 email", {"accepted": 1_198, "rejected": 1, "unknown": 1})
        bar.settled("pay7 sms", {"accepted": 2, "not_taken": 1})


def drawn(bar: ProgressBar, columns: int = 79) -> list[str]:
    """Return what a terminal without colour shows."""
    console = Console(file=io.StringIO(), width=columns, color_system=None)
    with console.capture() as captured:
        console.print(bar.picture(columns))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_each_broadcast_has_its_bar_and_below_it_what_went_wrong(clock: Clock) -> None:
    bar = ProgressBar(clock)
    half_way(bar, clock)
    bar.begins("~pay7 email", 2)  # the ledger's name of what goes to the incident's own people
    first, second, third, *below = drawn(bar, 110)
    assert re.fullmatch(r"pay7 email +━{18} +120,000 of 200,000  12,000/s  7s left", first)
    assert re.fullmatch(r"pay7 sms +━{3} +200 of 1,800  20/s  80s left", second)
    assert re.fullmatch(r"pay7's own people, email +0 of 2", third)
    assert below == ["pay7 email: 100 rejected, 100 unknown", "pay7 sms: 100 not taken"]
    clock.now += 40  # nothing happens while a provider's pause lasts: it is told all the same
    assert "120,000 of 200,000  no answer for 40s" in drawn(bar)[0]
    assert "left" not in "".join(drawn(bar))


@pytest.mark.parametrize("columns", [19, 30, 39, 50, 59, 79, 119, 199])
def test_a_line_fits_whatever_the_width(clock: Clock, columns: int) -> None:
    """In a narrow window the bar goes first, then the time left, then the rate."""
    bar = ProgressBar(clock)
    half_way(bar, clock)
    lines = drawn(bar, columns)
    assert (len(lines), max(map(len, lines)) <= columns) == (4, True)
    parts = {"━": 59, "7s left": 50, "12,000/s": 50, "120,000 of 200,000": 30}
    assert {part: part in lines[0] for part in parts} == {part: columns >= at for part, at in parts.items()}


def test_what_is_over_makes_room_and_who_takes_over_goes_on_with_the_count(clock: Clock) -> None:
    bar = ProgressBar(clock)
    for done in range(1000, 11_000, 1000):
        clock.now += 0.5
        bar.freezing(done)
    assert bar.lines() == ["Rendering: 10,000 done, 2,000/s"]
    bar.freezing(500)  # of the next list
    assert bar.lines() == ["Rendering: 500 done"]
    bar.begins("pay7 email", 100)
    bar.settled("pay7 email", {"accepted": 40, "not_taken": 10})
    bar.begins("pay7 email", 60)  # by another provider
    assert bar.lines() == ["pay7 email: 40 of 100, 10 not taken"]
    bar.begins("pay7 sms", 5)
    bar.settled("pay7 email", {"accepted": 60})
    bar.begins("db2 email", 10)
    assert bar.lines() == ["pay7 sms: 0 of 5", "db2 email: 0 of 10"]
    bar.asked("sendgrid", 12)
    assert bar.lines() == ["Asking sendgrid: 12 done"]


def test_a_rate_is_that_of_now_and_a_slow_limit_is_no_standstill() -> None:
    """One text every ten seconds is a rate, and not a pause. What was not taken is told while it is so."""
    meter = Meter("pay7 email", 0.0, 100_000)
    for at, count in [*((second, 100) for second in range(1, 11)), (600.0, 50), (601.0, 50)]:
        meter.settle({"accepted": count}, at)
        assert at != 10 or meter.rate(10.0) == 100
    assert (meter.rate(601.0), meter.rate(601.0 + QUIET + 0.1)) == (100, None)
    slow = Meter("pay7 sms", 0.0, 100)
    for turn in range(1, 10):
        slow.settle({"accepted": 1}, turn * 10.0)
    assert slow.rate(98.0) == pytest.approx(0.1, rel=0.3)
    assert ("0.1/s" in slow.facts(98.0), "no answer for 60s" in slow.facts(150.0)) == (True, True)
    refused = Meter("pay7 sms", 0.0, 100)
    refused.settle({"not_taken": 7}, 1.0)
    assert (refused.done, [*refused.troubles(2.0)], refused.troubles(2.0 + SPAN)) == (0, ["7 not taken"], {})


def test_a_log_gets_the_numbers_every_five_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """But not that nothing moves: that is said once a minute."""
    bar = ProgressBar(clock)
    half_way(bar, clock)
    clock.waits, bar._ended = 14, clock  # type: ignore[assignment]
    bar._log()
    assert capsys.readouterr().err.splitlines() == [
        "pay7 email: 120,000 of 200,000, 8,000/s, 10s left, 100 rejected, 100 unknown",
        "pay7 sms: 200 of 1,800, 13/s, 2m left, 100 not taken",
        "pay7 email: 120,000 of 200,000, no answer for 65s, 100 rejected, 100 unknown",
        "pay7 sms: 200 of 1,800, no answer for 65s",
    ]


@pytest.mark.parametrize("command", [["send", "pay7", "--yes"], ["tick"], ["resume", "pay7"]], ids=" ".join)
def test_every_command_that_sends_tells_its_progress(
    bench: Bench, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: Counter[str] = Counter()

    def settled(self: ProgressBar, broadcast: str, outcomes: Mapping[str, int]) -> None:
        heard[broadcast] += sum(outcomes.values())

    monkeypatch.setattr(ProgressBar, "settled", settled)
    monkeypatch.setattr(ProgressBar, "freezing", lambda self, rows: heard.update({"rows": rows}))
    if command[0] != "send":
        bench.release()
    assert " of " not in run(*command, folder=bench.folder).stderr  # what is done at once says nothing
    assert heard["pay7 email"] == 3 and heard["pay7 sms"] == 2 and heard["rows"] >= 3


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_that_goes_away_ends_no_send(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    keyboard, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as gone:
        os.close(keyboard)  # from now on writing fails with EIO
        monkeypatch.setattr(sys, "stderr", gone)
        monkeypatch.setattr("commcast.cli.progress.can_draw", lambda stream: is_terminal)
        monkeypatch.setattr("commcast.cli.progress._IN_LOG", 0.0)
        with ProgressBar() as bar:
            bar.begins("pay7 email", 10)
            assert bar._thread is not None
            bar._thread.join(5 if is_terminal else 0.2)
            bar.settled("pay7 email", {"accepted": 1})
        assert not bar._thread.is_alive()
        silence(gone)  # so that it can be closed


def test_a_tick_tells_a_log_nothing_of_its_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("commcast.cli.progress._IN_LOG", 0.0)
    for in_log in (True, False):
        with ProgressBar(in_log=in_log) as bar:
            bar.begins("pay7 email", 10)
            assert bar._thread is not None
            bar._thread.join(0.2)
        assert bool(capsys.readouterr().err) is in_log


def test_a_person_sees_a_bar_and_then_only_the_result(bench: Bench) -> None:
    write_desk(bench.folder, customers=numbered(3000))
    seen = at_terminal(bench.folder, ["send", "pay7", "--yes"], COLUMNS="50", NO_COLOR="1")
    assert (seen.exit_code, re.search("\x1b\\[[0-9;]*m", seen.screen)) == (0, None)
    assert re.search(r"pay7 email  (━+╸? *)?[\d,]+ of 3,001", seen.screen)
    left = seen.left(50)
    assert not [line for line in left if " of 3,0" in line or "freezing" in line]
    assert any("6,001 handed over" in line for line in left)


def test_ctrl_c_takes_the_bar_away_and_gives_the_cursor_back(bench: Bench) -> None:
    write_desk(bench.folder, customers=numbered(6000))
    seen = at_terminal(bench.folder, ["send", "pay7", "--yes"], [(" of 6,00", CTRL_C)])
    assert seen.exit_code == 130, seen.screen
    assert seen.screen.rfind("\x1b[?25h") > seen.screen.rfind("\x1b[?25l") >= 0
    left = " ".join(seen.left(80))
    assert "Nothing more is sent." in left and "Interrupted: " in left and "━" not in left


@pytest.mark.parametrize(("keys", "code"), [(b"y\n", 0), (b"\n", 5), (terminal.CTRL_D, 5), (CTRL_C, 130)])
def test_only_y_sends(desk: Path, keys: bytes, code: int) -> None:
    declare(desk)
    seen = at_terminal(desk, ["send"], [("Send 7 messages: 6 emails, 1 SMS? [y/N]", keys)])
    assert seen.exit_code == code, seen.screen
    said = "commcast send card1" if code else "card1: update 1 released, 7 handed over."
    assert (said in seen.screen, "Traceback" in seen.screen) == (True, False)
    assert max(map(len, seen.left())) <= 80
    run("tick", folder=desk)
    assert len(outbox(desk)) == (0 if code else 7)


def test_the_question_fits_a_screen_and_v_shows_all_and_e_edits(desk: Path) -> None:
    """What is typed in the editor is kept, also if it is wrong; then the question is about the new words."""
    declare(desk)
    fix, slip = "s/resolutoin: .*/resolution: We go back./", "s/resolution:/resolutoin:/"
    keys = [b"v\n", b"e\n", b"y\n", b"y\n"]
    asked = ["[y/N]", "Send 7 messages: 6 emails, 1 SMS? [y/N]", "Edit it again? [y/N]", "e: edit"]
    editor = f"sed -i -e '{fix}' -e t -e '{slip}'"
    seen = at_terminal(desk, ["send"], list(zip(asked, keys, strict=True)), VISUAL=editor)
    first, whole, faulty, again = seen.screen.split("[y/N]")[:4]
    assert first.count("\n") <= 40, first
    assert (first.count("| Subject:"), first.count("by SMS ("), whole.count("| Subject:")) == (1, 1, 5)
    assert "v: all 6 messages, e: edit" in first
    assert missing("card1.yaml:6: … unknown key 'resolutoin'", faulty) == []
    assert "We go back." in again
    assert (seen.exit_code, len(outbox(desk))) == (0, 7)


def test_what_is_missing_and_no_text_is_asked_for_and_ctrl_c_leaves_no_trace(desk: Path) -> None:
    dialogue = [("Severity", b"1\n"), ("Issue", b"caf\xe9\n"), ("bytes that are not text", CTRL_C)]
    seen = at_terminal(desk, ["declare", "Cards fail"], dialogue)
    assert seen.exit_code == 130, seen.screen
    assert ("Traceback" in seen.screen, list((desk / "incidents").glob("*.yaml"))) == (False, [])


SENTENCES = f"""
    status                                                     | No tick has run yet
    update card1 --status broken                               | --status: 'broken' is not known
    update card1 --issue More --dry-run                        | Dry run: nothing was written
    update card1 --issue More --yes                            | no tick has run yet
    lint                                                       | audience support has no usable recipient
    recipients check no-such-audience-at-all-whatever-it-may-be | audiences are:
    doctor                                                     | {"D" * 60} is not set: the email of dana
"""


def test_sentences_fit_80_columns(desk: Path) -> None:
    (desk / "audiences" / "support.csv").write_text("email,name\n")
    with (desk / "commcast.toml").open("a") as file:
        file.write(f"[people.dana]\nname = 'Dana'\nemail = 'env:{'D' * 60}'\n")
    declare(desk, "--audience", "customers", "--yes")
    for command, said in rows(SENTENCES):
        seen = at_terminal(desk, command.split()).left()
        assert max(map(len, seen)) <= 80, command
        assert said in in_one(" ".join(seen)), command
    # one line for a program
    assert f"warn  secret: {said}" in run_at_terminal(desk, "doctor").stdout.splitlines()


def test_help_lists_every_command_in_the_order_of_the_table_as_its_own_help_says() -> None:
    names = [entry.name for entry in TABLE]
    assert [Commands()[name].get_short_help_str(200) for name in names] == [each.help for each in TABLE]
    lines = run("--help").stdout.splitlines()
    listed = [line.split()[0] for line in lines if line[:2] == "  " and line[2:3].islower()]
    assert [name for name in listed if name in Commands()] == names
    assert list(typer.main.get_command(app).commands) == names  # type: ignore[attr-defined]


@cases("""
    arguments                       | said
    statsu                          | Did you mean 'status'
    declare Card fails\x1b           | Put the words in quotes: commcast declare 'Card fails\\u001b'
    log --channel fax               | Invalid value for '--channel': 'fax' is not one of 'email', 'sms'
    update 'Still broken'           | Text needs an option: commcast update --nothing-new "…" (or --issue "…")
    update Still broken             | Text needs an option: commcast update --nothing-new "…" (or --issue "…")
    resolve 'Still broken'          | Text needs an option: commcast resolve --fixed "…"
    retract Still broken            | Text needs an option: commcast retract --because "…"
    reopen Still broken             | Text needs an option: commcast reopen --issue "…"
""")
def test_a_slip_in_a_command_is_told_what_was_meant(
    bench: Bench, arguments: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.folder)
    assert said in run(*shlex.split(arguments), expect=2).output
    assert "Words need" not in run("update", "pay8", expect=2).output
