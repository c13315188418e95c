"""A small folder for the tests of what is read from it and written to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from commcast.config.load import load_config
from commcast.config.settings import Config
from commcast.errors import InputError
from commcast.incidents.editor import create_file
from commcast.incidents.load import parse_incident
from commcast.incidents.yaml_lines import lines_of
from commcast.model.incident import Incident

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


def create_incident(config: Config, incident_id: str, data: Mapping[str, Any]) -> Path:
    """Write an incident file with `data` in its order, as the verbs write theirs."""
    return create_file(config, incident_id, "\n".join(lines_of(data, 0)) + "\n")
