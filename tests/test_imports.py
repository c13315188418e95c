"""What is imported when: a quick command stays quick, and the layers are kept for every adapter."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from tests.support.desk import Bench, write_desk, write_incident

CHECKOUT = Path(__file__).parents[1]
HEAVY = {"sqlalchemy", "alembic", "aiosmtplib", "sendgrid", "twilio", "aiohttp", "icalendar"}

# Runs `commcast` as its entry point does, then tells on the last line which of the named modules it loaded.
WATCHED = """
import sys
heavy, sys.argv = sys.argv[1].split(","), ["commcast", *sys.argv[2:]]
from commcast.cli import main
try:
    code = main()
except SystemExit as end:
    code = end.code
print("loaded:", *sorted(set(heavy) & set(sys.modules)))
sys.exit(code)
"""

INCIDENT = """\
title: Card payments fail
severity: 2
updates:
  - at: 2026-11-21T10:05+01:00
    issue: Some customers see an error when they pay by card.
    resolution: We are rolling back the last release.
    timeframe: unknown
"""


def loaded_by(*arguments: str, folder: Path, of: Collection[str] = HEAVY) -> set[str]:
    """Return which of these modules a command loads; it has to end well."""
    command = [sys.executable, "-c", WATCHED, ",".join(of), *arguments]
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(done.stdout.splitlines()[-1].removeprefix("loaded:").split())


def test_help_loads_no_provider_and_no_database(tmp_path: Path) -> None:
    assert loaded_by("--help", folder=tmp_path) == set()


def test_lint_loads_no_provider_and_no_database(tmp_path: Path) -> None:
    loaded_by("init", "desk", folder=tmp_path)
    desk = tmp_path / "desk"
    (desk / "incidents").mkdir(exist_ok=True)
    (desk / "incidents" / "pay7.yaml").write_text(INCIDENT)
    assert loaded_by("lint", folder=desk) == set()


# What only sending, asking or showing needs.
OF_SENDING = HEAVY - {"sqlalchemy"} | {
    "commcast.delivery.worker",
    "commcast.rendering.compose",
    "commcast.delivery.deliver",
    "commcast.providers.registry",
    "email_validator",
    "jinja2",
    "phonenumbers",
    "rich",
    "sqlalchemy.dialects.postgresql",
    "uvloop",
}


def test_a_tick_with_nothing_due_loads_nothing_that_sends(tmp_path: Path) -> None:
    write_desk(tmp_path)
    write_incident(tmp_path, at=datetime.now(UTC).replace(microsecond=0))
    bench = Bench(tmp_path, now=datetime.now(UTC))
    bench.send()
    bench.ledger.close()
    assert loaded_by("tick", folder=tmp_path, of=OF_SENDING) == set()


def test_the_layer_rules_name_every_provider() -> None:
    """A provider is a package of its own, or, like the outbox, one file."""
    folder = CHECKOUT / "commcast" / "providers"
    packages = {path.name for path in folder.iterdir() if (path / "__init__.py").exists()}
    expected = {f"commcast.providers.{name}" for name in packages | {"outbox"}}
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]
    contracts = {contract["type"]: contract for contract in settings["contracts"]}
    assert set(contracts["independence"]["modules"]) == expected
    assert set(contracts["protected"]["protected_modules"]) == expected
