"""The command schema: JSON Schema that a YAML or TOML editor uses while somebody types."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from commcast.cli.output import show


class Document(StrEnum):
    """What a schema can be had of."""

    INCIDENT = "incident"
    CONFIG = "config"
    PRESET = "preset"


def schema(
    of: Annotated[Document, typer.Argument(metavar="incident|config|preset", help="Which kind of file.")],
) -> None:
    """Print the JSON Schema of incident files, commcast.toml, or presets.

    Example: commcast schema incident > incident.schema.json
    """
    show(json.dumps(_schema(of), indent=2, ensure_ascii=False))


def _schema(of: Document) -> dict[str, Any]:
    if of is Document.CONFIG:
        from commcast.config_file import config_schema

        return config_schema()
    from commcast.incidents.written import incident_schema, preset_schema

    return incident_schema() if of is Document.INCIDENT else preset_schema()
