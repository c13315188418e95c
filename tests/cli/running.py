"""Runs commands as cron does: no terminal, a folder of their own, the real clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from typer.testing import CliRunner, Result

from commcast.cli import app
from tests.desks import Bench, write_desk, write_incident


def run(*arguments: str | Path, folder: Path | None = None, expect: int = 0) -> Result:
    """Run a command; it has to end with `expect` and without a traceback."""
    where = ["-C", str(folder)] if folder is not None else []
    result = CliRunner().invoke(app, [*map(str, arguments), *where])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == expect, result.output
    return result


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
