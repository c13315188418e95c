"""What only shows is watched from inside: no packet, nothing opened for writing, no byte changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.desk import Bench, update_text, write_desk, write_incident
from tests.support.terminal import every_byte, just_now

ROOT = Path(__file__).parents[2]

WATCH = """
import json, os, sys
folder, command = sys.argv[1], sys.argv[2:]
seen = []
CHANGES = {"os." + name for name in "rename remove mkdir rmdir chmod truncate link symlink".split()}
def inside(path):
    return isinstance(path, (str, bytes)) and folder in os.fsdecode(path)
def watch(event, args):
    if event.startswith("socket.") and event in {"socket.connect", "socket.sendto", "socket.getaddrinfo"}:
        seen.append([event, str(args[1:])])
    elif event == "open" and inside(args[0]) and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        seen.append([event, str(args[0])])
    elif event == "sqlite3.connect" and inside(args[0]):
        seen.append([event, str(args[0])])
    elif event in CHANGES and inside(args[0]):
        seen.append([event, str(args[0])])
sys.addaudithook(watch)
from commcast.cli import app
code = 0
try:
    app([*command, "-C", folder])
except SystemExit as end:
    code = end.code
sys.stderr.write("SEEN " + json.dumps([int(code or 0), seen]))
"""

NEW = ("--severity", "1", "--issue", "a", "--resolution", "b", "--timeframe", "unknown")


@pytest.fixture(params=["closed", "write-ahead log"])
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A desk at a mail server that would be spoken to, one update told and one a draft."""
    folder = write_desk(tmp_path / "desk")
    bench = Bench(folder, now=just_now())
    write_incident(folder, at=bench.now)
    bench.send()
    config = folder / "commcast.toml"
    config.write_text(config.read_text().replace('provider = "outbox"', 'provider = "smtp"'))
    write_incident(folder, at=bench.now, more=update_text(bench.now, status="identified"))
    bench.ledger.close()
    if request.param != "closed":
        _leave_a_log(folder)
    return folder


def _leave_a_log(folder: Path) -> None:
    """Change the ledger in a process that is killed: its write-ahead log stays."""
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from tests.desks import Bench; from commcast.ledger.releases import *\n"
        "bench = Bench(Path(sys.argv[1]))\n"
        "with bench.ledger.write() as connection: stop_incident(connection, 'other', 'dana', bench.now)\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(folder), str(ROOT)], check=True, cwd=ROOT)
    assert (folder / ".commcast/ledger.db-wal").stat().st_size > 0


@pytest.mark.parametrize(
    "command",
    [
        ("preview", "pay7"),
        ("send", "pay7", "--dry-run"),
        ("declare", "Another", *NEW, "--dry-run"),
        ("update", "pay7", "--issue", "c", "--dry-run"),
        ("resolve", "pay7", "--fixed", "d", "--dry-run"),
        ("tick", "--dry-run"),
        ("status",),
        ("log", "pay7"),
        ("lint",),
        ("templates",),
        ("recipients", "check"),
    ],
    ids=lambda command: command[0],
)
def test_what_only_shows_touches_nothing(desk: Path, command: tuple[str, ...]) -> None:
    before = every_byte(desk)
    code, seen = watched(desk, *command)
    assert code == 0
    assert seen == []
    assert every_byte(desk) == before


def test_the_watch_sees_what_a_send_does(desk: Path) -> None:
    code, seen = watched(desk, "send", "pay7", "--yes")
    assert code == 75
    assert {"socket.connect", "sqlite3.connect"} <= {event for event, _ in seen}


def watched(desk: Path, *command: str) -> tuple[int, list[list[str]]]:
    """Run a command; return its exit code, and what it did to the folder and the network."""
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(desk), *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    code, seen = json.loads(done.stderr.rpartition("SEEN ")[2])
    return code, seen
