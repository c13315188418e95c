"""What a command costs before it does anything: --help, and a tick with nothing due."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import desks, profiling
from benchmarks.children import PYTHON, Ended, Void, environment, run
from benchmarks.model import Group, Lab, Measure, Row, Sample, Side
from benchmarks.tools import SCRIPTS

CLOSED, OPEN, LAUNCHES = 1_000, 3, 5

_HELP, _BARE, _BARE_PLAIN = "commcast --help", "bare Typer --help", "bare Typer --help, rich switched off"
_TICK, _IMPORTS = "commcast tick", "five imports"

_LAUNCHER = "from {module} import {name}\n{name}()\n"
_CLOSED = """\
title: Card payments fail in the EU, number {number}
severity: 3
started: {started}
owner: dana
updates:
  - at: {first}
    status: investigating
    issue: Some customers in the EU see an error when they pay by card.
    resolution: We are finding out what changed; rolling back this morning's release is our first step.
    timeframe: unknown
    scope: card payments in the EU; not bank transfer, and not cards outside the EU
    action: Please do not pay twice; we show pending payments under Orders.
  - at: {second}
    status: identified
    issue: About four in ten card payments in the EU end in an error. No card is charged for a failed payment.
    resolution: The release broke the connection to one of our databases. We are rolling it back.
    timeframe: 30m to 90m
  - at: {third}
    status: monitoring
    issue: Card payments in the EU go through again for most customers.
    resolution: The rollback is complete; we watch every payment until all of them stay normal.
    timeframe: 30m to 45m
  - at: {fourth}
    status: resolved
    ended: {fourth}
    fixed: We took back the release, and card payments in the EU have worked without errors since.
    remains: Receipts for some payments may reach you late, until this evening.
"""


@contextmanager
def _help(lab: Lab) -> Iterator[Sequence[Side]]:
    ours = lab.folder / "ours.py"
    ours.write_text(_LAUNCHER.format(module="commcast.__main__", name="main"))
    peer = lab.folder / "peer.py"
    peer.write_text(_LAUNCHER.format(module="bare_app", name="app"))
    (lab.folder / "bare_app.py").write_text(_bare_app())
    launches = _launches(lab)

    def start(script: Path, **more: str) -> Callable[[], Sample]:
        return lambda: _median_of(
            launches, lambda: run([PYTHON, *profiling.options(), script, "--help"], env=environment(more))
        )

    each = f"the whole process, the middle of {launches} launches a round, bytecode compiled"
    yield [
        Side(_HELP, f"what pip's `commcast` script does, with --help: {each}", start(ours)),
        Side(
            _BARE, f"typer.Typer() with as many commands of no body in the same groups: {each}", start(peer)
        ),
        Side(_BARE_PLAIN, f"the same with TYPER_USE_RICH=0: {each}", start(peer, TYPER_USE_RICH="0")),
    ]


def _bare_app() -> str:
    """Return a module with a Typer app of as many empty commands as ours has, in the same groups."""
    lines = ["import typer", "app = typer.Typer()"]
    for path, panel in _commands():
        *groups, name = path
        parent = "_".join(["app", *groups]).replace("-", "_")
        function = "_".join(["run", *path]).replace("-", "_")
        if panel is None:  # a group of commands
            lines.append(f"{'_'.join([parent, name])} = typer.Typer()")
            lines.append(f"{parent}.add_typer({'_'.join([parent, name])}, name={name!r})")
            continue
        of_panel = f", rich_help_panel={panel!r}" if panel else ""
        lines.append(f"@{parent}.command({name!r}{of_panel})")
        lines.append(f"def {function}() -> None:\n    '''Do {name}.'''")
    return "\n".join(lines) + "\n"


def _commands() -> list[tuple[list[str], str | None]]:
    """Return the path of each of our commands and its panel, groups before what is in them (panel None)."""
    code = (
        "import typer.main\n"
        "from commcast.cli import app\n"
        "def walk(group, path):\n"
        "    for name, command in group.commands.items():\n"
        "        inner = hasattr(command, 'commands')\n"
        "        print(*path, name, sep=' ', end='\\t')\n"
        "        print('' if inner else getattr(command, 'rich_help_panel', None) or '-')\n"
        "        if inner:\n"
        "            walk(command, [*path, name])\n"
        "walk(typer.main.get_command(app), [])\n"
    )
    found: list[tuple[list[str], str | None]] = []
    for line in run([PYTHON, "-c", code]).out.splitlines():
        path, _, panel = line.partition("\t")
        found.append((path.split(), None if not panel else "" if panel == "-" else panel))
    return found


@contextmanager
def _tick(lab: Lab) -> Iterator[Sequence[Side]]:
    closed, launches = lab.count(CLOSED, least=10), _launches(lab)
    desk = _write_history(lab.folder / "desk", closed)
    ours = lab.folder / "ours.py"
    ours.write_text(_LAUNCHER.format(module="commcast.__main__", name="main"))

    def tick() -> Ended:
        ended = run([PYTHON, *profiling.options(), ours, "tick", "--folder", desk])
        if ended.out:
            raise Void(f"a tick with nothing due told: {ended.out[:300]}")
        return ended

    tick()  # after it the ledger knows the closed files by their digests
    each = f"the whole process, the middle of {launches} launches a round, bytecode compiled"
    yield [
        Side(
            _TICK,
            f"`commcast tick` where nothing is due, {closed:,} closed incidents of 4 updates and {OPEN} "
            f"open ones, after a first tick: {each}",
            lambda: _median_of(launches, tick),
        ),
        Side(
            _IMPORTS,
            f"a script that imports typer, sqlalchemy, pydantic, jinja2 and ruamel.yaml: {each}",
            lambda: _median_of(launches, lambda: run([PYTHON, SCRIPTS / "imports.py"])),
        ),
    ]


def _write_history(folder: Path, closed: int) -> Path:
    """Write a desk with incidents that are over and some that are not; all of it was told."""
    desks.write_desk(folder, 1, provider="outbox")
    (only,) = (folder / "incidents").glob("*.yaml")
    for number in range(OPEN):
        (folder / "incidents" / f"open{number}.yaml").write_text(only.read_text())
    only.unlink()
    now = datetime.now(UTC).replace(microsecond=0)
    for number in range(closed):
        began = now - timedelta(days=1 + number % 300, minutes=number)
        times = {
            name: (began + timedelta(minutes=minutes)).isoformat()
            for name, minutes in {"started": 0, "first": 10, "second": 30, "third": 50, "fourth": 80}.items()
        }
        text = _CLOSED.format(number=number, **times)
        (folder / "incidents" / f"closed{number:04d}.yaml").write_text(text)
    desks.ours("history", folder)
    return folder


def _launches(lab: Lab) -> int:
    return LAUNCHES if lab.scale >= 1 else 1


def _median_of(launches: int, start: Callable[[], Ended]) -> Sample:
    ended = [start() for _ in range(launches)]
    middle = statistics.median_low([each.seconds for each in ended])
    found = next(each for each in ended if each.seconds == middle)
    return Sample(1, found.seconds, found.cpu, found.peak)


HELP = Group(
    "help",
    "--help",
    (
        Row(
            "help",
            "commcast --help, against a bare Typer app with as many empty commands",
            _HELP,
            _BARE,
            1.25,
            Measure.TIME,
        ),
        Row(
            "help-plain",
            "the same, with rich switched off in the bare app",
            _HELP,
            _BARE_PLAIN,
            None,
            Measure.TIME,
        ),
    ),
    _help,
)

TICK = Group(
    "tick",
    "A tick with nothing due",
    (
        Row(
            "tick",
            "tick, nothing due, 1,000 closed and 3 open incidents, against a script with five imports",
            _TICK,
            _IMPORTS,
            1.3,
            Measure.TIME,
        ),
    ),
    _tick,
)
