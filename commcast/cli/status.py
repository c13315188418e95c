"""The command status: every incident at a glance, the open ones first."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from commcast.cli.colour import show_painted
from commcast.cli.options import FolderOption, JsonOption, NowOption, moment_or_now
from commcast.cli.output import say, show_json
from commcast.cli.standings import DeskStatus, read_status
from commcast.cli.status_document import as_document
from commcast.cli.status_lines import last_tick_line, lines_of, warnings
from commcast.errors import ExitCode, InputError


def status(
    incident: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only this incident.", show_default=False)
    ] = None,
    overdue: Annotated[
        bool,
        typer.Option("--overdue", help="Only what is late; end with 4 when a promise to readers is broken."),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", "-w", help="Draw it anew in place until Ctrl-C, with what is being sent."),
    ] = False,
    every: Annotated[
        str, typer.Option("--every", help="With --watch: how long from one look to the next.")
    ] = "2s",
    as_json: JsonOption = False,
    now: NowOption = None,
    folder: FolderOption = None,
) -> None:
    """Show where every incident stands: what was told to how many, and when the next word is due.

    Open incidents come first, by their next deadline; under each stands what every audience was told last
    and when it expects more, who is on duty, and who was nudged. A promise counts as broken as long as its
    audience has heard nothing newer; an incident that has ended owes nothing.

    A watch disturbs nothing that runs: it reads a copy, and only when something has changed. Ctrl-C is how
    it ends, so that it ends in 0. With --json it prints one line of JSON for each change, also into a pipe.

    Example: commcast status --overdue

    Example: commcast status --watch
    """
    if watch:
        from commcast.cli.watch import watch_status

        if overdue or now is not None:
            raise InputError("--watch shows what is so now, and goes on: leave out --overdue and --now")
        watch_status(folder, incident, every, as_json=as_json)
        return
    found = read_status(folder, moment_or_now(now), incident)
    if overdue:
        found = found.only_late()
    if as_json:
        show_json("status", as_document(found))
    elif found.overdue or not overdue:
        _show(found)
    if overdue and found.overdue:
        say(f"Overdue: {', '.join(found.overdue)}. Readers were promised word; {_way_out(found)}")
        raise typer.Exit(ExitCode.OVERDUE)


_PLANNED = frozenset({"scheduled", "rescheduled", "in_progress", "extended", "verifying"})


def _way_out(found: DeskStatus) -> str:
    """Return what helps: words, or, where words wait for a provider, getting them out."""
    late = [each for each in found.standings if each.id in found.overdue]
    name = late[0].id if len(late) == 1 else "ID"
    if any(each.counts.get("pending") for each in late):
        return f"what is written waits: commcast send {name}, commcast doctor --connect"
    if all(each.status in _PLANNED for each in late):
        return f"say that it has begun or is done: commcast start {name}, commcast complete {name}"
    return f'write: commcast update {name} --nothing-new "…"'


def show_status(folder: Path | None, *, now: datetime, incident: str | None) -> None:
    """Show the table of a folder as of `now`."""
    _show(read_status(folder, now, incident))


def _show(found: DeskStatus) -> None:
    for line in lines_of(found):
        show_painted(line)
    for line in warnings(found):
        say(line)
    if line := last_tick_line(found):
        show_painted(line)
