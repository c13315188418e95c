"""Values against a provider's schemas: our own, and its official description where this machine has it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

# The official descriptions are no part of this repository. Read now: tests see no COMMCAST_ variables.
_SPECS = Path(os.environ.get("COMMCAST_SPECS") or Path(__file__).parents[4] / "shared" / "specs")
_OWN = Path(__file__).with_name("schemas")


@cache
def own(name: str) -> dict[str, Any]:
    """Return our own schema of what we send to a provider."""
    found: dict[str, Any] = json.loads((_OWN / f"{name}.json").read_text())
    return found


@cache
def described(name: str) -> dict[str, Any] | None:
    """Return an official description ("twilio/messages"); None if it is not on this machine."""
    path = _SPECS / f"{name}.openapi.json"
    return dict(json.loads(path.read_text())) if path.is_file() else None


def faults(value: Any, rules: Mapping[str, Any]) -> list[str]:
    """Return what a schema has against a value."""
    return [
        f"{fault.json_path}: {fault.message[:200]}"
        for fault in Draft202012Validator(rules).iter_errors(value)
    ]
