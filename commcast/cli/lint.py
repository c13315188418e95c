"""The command lint: everything that is wrong in the folder, at once; opens no ledger and no network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli.options import FolderOption, JsonOption, clock, find_folder
from commcast.cli.output import say, show_json, show_prose
from commcast.errors import ExitCode, Fault, InputError

if TYPE_CHECKING:
    from commcast.cli.lint_check import Findings

FilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FILE]...", help="Only these incident files; default: all.", show_default=False),
]


def lint(files: FilesArgument = None, as_json: JsonOption = False, folder: FolderOption = None) -> None:
    """Check the configuration, incident files, presets, lists and templates; name every fault at once.

    Ends with 2 on any fault. A bad row that is only left out of a list is a warning.

    Example: commcast lint incidents/pay7.yaml
    """
    from commcast.cli.lint_check import find_faults

    found = find_faults(find_folder(folder), files or [], clock())
    if as_json:
        show_json("lint", _document(found))
    else:
        _show(found)
    raise typer.Exit(ExitCode.INPUT if found.faults else ExitCode.DONE)


def _show(found: Findings) -> None:
    for warning in InputError(found.warnings).lines():
        say(f"warning: {warning}")
    for fault in InputError(found.faults).lines():
        show_prose(fault)
    if found.faults:
        say(f"{counted({'faults': len(found.faults)})}; nothing of these files is sent.")
    else:
        show_prose(f"OK: {counted(found.checked)}")


def counted(checked: dict[str, int]) -> str:
    """Return "3 incidents, 1 audience"."""
    return ", ".join(f"{n} {kind[:-1] if n == 1 else kind}" for kind, n in checked.items())


def _document(found: Findings) -> dict[str, Any]:
    return {
        "ok": not found.faults,
        "checked": found.checked,
        "faults": _faults(found.faults),
        "warnings": _faults(found.warnings),
    }


def _faults(faults: Iterable[Fault]) -> list[dict[str, Any]]:
    return [
        {"file": f.file, "line": f.line, "column": f.column, "what": f.what, "remedy": f.remedy}
        for f in faults
    ]
