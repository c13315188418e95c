"""The command doctor: is this desk fit to send, and what to mend; and adopting a ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commcast.cli.colour import GREEN, RED, YELLOW, paint, show_painted
from commcast.cli.options import FolderOption, JsonOption, NoQuestionOption, clock, find_folder
from commcast.cli.output import inert, show_json
from commcast.cli.present import NAMES
from commcast.errors import ExitCode, gravest

_COLOUR = {"ok": GREEN, "warn": YELLOW, "FAIL": RED}


def doctor(
    adopt_ledger: Annotated[
        bool, typer.Option("--adopt-ledger", help="Trust the ledger that is here, or begin a new one.")
    ] = False,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also say hello to the mail server and log in; nothing is sent.")
    ] = False,
    yes: NoQuestionOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Check whether this desk can send: configuration, ledger, time zones, providers, secrets, last tick.

    With --adopt-ledger the ledger becomes this desk's own, a new one where there is none. All that stands in
    incidents/ then counts as told elsewhere, so that old history is never sent.

    Example: commcast doctor --connect
    """
    found = find_folder(folder)
    if adopt_ledger:
        from commcast.cli.adopt import adopt

        adopt(found, yes=yes)
    _examine(found, connect, as_json)


def _examine(folder: Path, connect: bool, as_json: bool) -> None:
    from commcast.cli.doctor_checks import examine

    checks = examine(folder, clock(), connect=connect)
    code = gravest(check.exit_code for check in checks)
    if as_json:
        show_json(
            "doctor",
            {
                "ok": code is ExitCode.DONE,
                "checks": [
                    {"state": check.state, "about": check.about, "what": check.what, "remedy": check.remedy}
                    for check in checks
                ],
            },
        )
    else:
        for check in checks:
            text = inert(f"{NAMES.get(check.about, check.about)}: {check.what}").replace("\n", "; ")
            show_painted(f"{paint(check.state.ljust(4), _COLOUR[check.state])}  {text}")
            if check.remedy:
                show_painted(f"      {inert(check.remedy)}")
    raise typer.Exit(code)
