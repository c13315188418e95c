"""The commands lint, schema and templates."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli.options import FolderOption, JsonOption, clock, find_folder
from commcast.cli.output import say, show, show_json, show_prose, table
from commcast.errors import ExitCode, InputError

if TYPE_CHECKING:
    from commcast.doctor.lint import Findings
    from commcast.model.incident import Channel
    from commcast.rendering.templates import TemplateRow


FilesArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="[FILE]...", help="Only these incident files; default: all.")
]


def lint(
    files: FilesArgument = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Write `at` back where a file lost it; the ledger has it.")
    ] = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Check configuration, incidents, presets, lists and templates; name every fault at once.

    Exits with 2 on any fault. A bad row that is only left out of a list is a warning. Where there is a
    ledger, files are also compared with what was released of them.

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
    """List which template wins for each audience and moment.

    A reader's language is looked up first, then English; in it, the audience's folder, then internal/
    (internal view), then the language's own; in each, templates/ of this folder, then the shipped ones.

    Example: commcast templates --audience customers
    """
    from commcast.config.load import load_config
    from commcast.rendering.templates import Templates, shipped_templates

    config = load_config(find_folder(folder, shows=True))
    if audience is not None and audience not in config.audiences:
        raise InputError(f"no audience {audience!r:.60}; audiences are: {', '.join(config.audiences)}")
    found = Templates(config.folder / "templates", shipped_templates())
    rows = [
        row
        for name, settings in config.audiences.items()
        if audience in (None, name)
        for row in found.listing({name: settings.view}, _told(settings.channels))
    ]
    if as_json:
        show_json("templates", {"templates": [row._asdict() for row in rows]})
    else:
        show("\n".join(_lines(rows)))


def _told(channels: Iterable[Channel]) -> list[tuple[Channel, str]]:
    from commcast.rendering.moments import moments_on

    return [(channel, moment) for channel in channels for moment in moments_on(channel)]


def _lines(rows: Iterable[TemplateRow]) -> list[str]:
    """Return a line for each file; what all audiences share is said once."""
    heard: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        heard.setdefault((row.moment, row.file, row.note), []).append(row.audience)
    found = []
    for (moment, file, note), audiences in heard.items():
        origin = "shipped" if file.startswith("shipped ") else "yours" if file else ""
        remark = f" ({note})" if note else ""
        who = ", ".join(dict.fromkeys(audiences))
        found.append((moment, origin, f"{file.partition('templates/')[2]}{remark}", who))
    return table(("MOMENT", "FROM", "TEMPLATE", "AUDIENCES"), found).splitlines()
