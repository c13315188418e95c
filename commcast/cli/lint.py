"""The commands lint, schema and templates."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli.options import FolderOption, JsonOption, clock, find_folder
from commcast.cli.output import picked, say, show, show_json, show_prose, table
from commcast.cli.present import NAMES
from commcast.errors import ExitCode, InputError
from commcast.model.incident import Status

if TYPE_CHECKING:
    from commcast.doctor.lint import Findings
    from commcast.rendering.templates import TemplateRow


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


def templates(
    audience: Annotated[str | None, typer.Option("--audience", help="Only this audience.")] = None,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """List which template wins for each audience, channel and status.

    The first that exists: in templates/ of this folder, then among the shipped ones; in each, the folder of
    the audience, then customers/ (public view) or internal/; in each, the status's file, then the general.

    Example: commcast templates --audience customers
    """
    from commcast.config.load import load_config
    from commcast.rendering.templates import Templates, shipped_templates

    config = load_config(find_folder(folder, shows=True))
    if audience is not None and audience not in config.audiences:
        raise InputError(f"no audience {audience!r:.60}; audiences are: {', '.join(config.audiences)}")
    found = Templates(config.folder / "templates", shipped_templates())
    statuses = [status.value for status in Status]
    rows = _grouped(
        row
        for name, settings in config.audiences.items()
        if audience in (None, name)
        for row in found.listing({name: settings.view}, settings.channels, statuses)
    )
    if as_json:
        documents = [_template_document(group, statuses) for group, statuses in rows.items()]
        show_json("templates", {"templates": documents})
    else:
        show("\n".join(_lines(rows)))


def _grouped(rows: Iterable[TemplateRow]) -> dict[TemplateRow, list[str]]:
    """Return the statuses that share one template, by the rest of their rows."""
    groups: dict[TemplateRow, list[str]] = {}
    for row in rows:
        groups.setdefault(row._replace(status="", locale=""), []).append(row.status)
    return groups


def _template_document(row: TemplateRow, statuses: list[str]) -> dict[str, object]:
    optional = {"html": row.html or None, "note": row.note or None}
    return {**picked(row, "audience", "channel", "text"), "statuses": statuses, **optional}


def _lines(groups: dict[TemplateRow, list[str]]) -> list[str]:
    rows = []
    for row, statuses in groups.items():
        which = "all" if len(statuses) == len(Status) else ", ".join(statuses)
        if len(Status) / 2 < len(statuses) < len(Status):
            which = "all others"
        origin = "shipped" if row.text.startswith("shipped ") else "yours"
        remark = f" ({row.note})" if row.note else ", .html" if row.html else ""
        file = row.text.partition("templates/")[2] or f"for {NAMES[row.channel]}:"
        rows.append((row.audience, which, origin if row.text else "", f"{file}{remark}"))
    return table(("AUDIENCE", "STATUS", "FROM", "TEMPLATE"), rows).splitlines()
