"""The commands lint, schema and templates."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli.options import FolderOption, JsonOption, clock, find_folder
from commcast.cli.output import say, show, show_json, show_prose
from commcast.errors import ExitCode, InputError

if TYPE_CHECKING:
    from commcast.doctor.lint import Findings


FilesArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="[FILE]...", help="Only these incident files; default: all.")
]


def lint(
    files: FilesArgument = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Restore `at` from the ledger if a file has lost it.")
    ] = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Check configuration, incidents, presets, lists and templates; report all errors at once.

    Exits with 2 on any error. A bad row in a list is left out, with a warning. If there is a ledger, files
    are also compared with what was released.

    Example: commcast lint incidents/pay7.yaml
    """
    from commcast.doctor.lint import find_faults

    found = find_faults(find_folder(folder, shows=not fix), files or [], clock(), fix=fix)
    if as_json:
        show_json("lint", _document(found))
    else:
        _show(found)
    raise typer.Exit(ExitCode.INPUT if found.faults else ExitCode.DONE)


def _show(found: Findings) -> None:
    for line in found.fixed:
        say(f"Wrote {line}.")
    for warning in InputError(found.warnings).lines():
        say(f"warning: {warning}")
    for fault in InputError(found.faults).lines():
        show_prose(fault)
    if found.faults:
        say(f"{counted({'errors': len(found.faults)})}; nothing from these files will be sent.")
    else:
        show_prose(f"OK: {counted(found.checked)}")


def counted(checked: dict[str, int]) -> str:
    """Return "3 incidents, 1 audience"."""
    return ", ".join(f"{n} {kind[:-1] if n == 1 else kind}" for kind, n in checked.items())


def _document(found: Findings) -> dict[str, Any]:
    return {
        "ok": not found.faults,
        "checked": found.checked,
        "fixed": found.fixed,
        "faults": [fault._asdict() for fault in found.faults],
        "warnings": [fault._asdict() for fault in found.warnings],
    }


class Document(StrEnum):
    """The kinds of file that have a schema."""

    INCIDENT = "incident"
    CONFIG = "config"
    PRESET = "preset"


def schema(
    of: Annotated[Document, typer.Argument(metavar="incident|config|preset", help="Which kind of file.")],
) -> None:
    """Print the JSON Schema of incident files, commcast.toml, or presets.

    Example: commcast schema incident > incident.schema.json
    """
    from commcast.config.load import config_schema
    from commcast.incidents.schema import IncidentFile, PresetFile, json_schema

    shape = PresetFile if of is Document.PRESET else IncidentFile
    found = config_schema() if of is Document.CONFIG else json_schema(shape)
    show(json.dumps(found, indent=2, ensure_ascii=False))
