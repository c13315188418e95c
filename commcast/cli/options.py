"""Options that several commands share, declared once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from commcast.errors import ConfigError, Fault

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder", "-C", help="The desk's folder; default: here or the nearest above.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: release and send.")]
# Where a yes sends nothing.
NoQuestionOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Show what would be sent; write and send nothing.")
]
NowOption = Annotated[
    str | None,
    typer.Option("--now", help="Show as of this time, such as 2026-11-21T10:05+01:00.", show_default=False),
]
IncidentArgument = Annotated[
    str | None,
    typer.Argument(help="The incident's id; may be left out when one is open.", show_default=False),
]

CONFIG_NAME = "commcast.toml"


def find_folder(given: Path | None) -> Path:
    """Return the desk's folder: the one given, else this one or the nearest above that holds commcast.toml.

    Raises ConfigError where there is none.
    """
    if given is not None:
        return given
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / CONFIG_NAME).is_file():
            return folder
    raise ConfigError(
        Fault(
            CONFIG_NAME,
            0,
            0,
            f"there is no {CONFIG_NAME} here or above",
            "go to a desk's folder, or: commcast init",
        )
    )


def clock() -> datetime:
    """Return now, aware: the one place that reads the clock."""
    return datetime.now(UTC)


def moment_or_now(text: str | None) -> datetime:
    """Return the time given with --now, else now."""
    if text is None:
        return clock()
    from commcast.instants import parse_instant

    try:
        return parse_instant(text, None)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--now") from None
