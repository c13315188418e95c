"""A small folder for the tests of what is read from it and written to it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from commcast.config import Config
from commcast.config_file import load_config
from commcast.errors import InputError
from commcast.incidents.load import parse_incident
from commcast.model import Incident

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)  # 13:00 in Berlin

CONFIG = """
[organisation]
name = "Acme Pay"
zone = "Europe/Berlin"
[people.dana]
name = "Dana Reyes"
[people.sam]
name = "Sam Okoro"
[components.payments-api]
public = "Card payments"
[audiences.customers]
recipients = "audiences/customers.csv"
[audiences.executives]
recipients = "audiences/executives.csv"
view = "internal"
[channels.email]
from = "Acme Pay <status@acme.example>"
"""

LEAST = """\
title: Card payments fail
severity: 2
updates:
  - at: 2026-11-21T10:05+01:00
    issue: Some payments fail.
    resolution: We roll back.
    timeframe: 1h to 2h
"""


def make_desk(folder: Path) -> Config:
    """Write a configuration into `folder` and read it."""
    (folder / "commcast.toml").write_text(CONFIG)
    (folder / "incidents").mkdir()
    return load_config(folder)


def read(text: str, config: Config, name: str = "incidents/pay7.yaml") -> Incident:
    return parse_incident(text, name, config, NOW)


def faults(text: str, config: Config, name: str = "incidents/pay7.yaml") -> list[str]:
    """Return what is wrong with an incident file, one line a fault, [] for nothing."""
    try:
        read(text, config, name)
    except InputError as error:
        return [str(fault) for fault in error.faults]
    return []
