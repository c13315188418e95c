"""How `tick --dry-run` looks: what a tick would send now, whom it would wake, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commcast.cli.opening import desk_to_read
from commcast.cli.output import say, show_json, show_prose
from commcast.cli.present import NAMES
from commcast.cli.status_words import notice_in_words
from commcast.cli.tick_words import fault_in_words, why_in_words
from commcast.errors import ExitCode, gravest
from commcast.model import Channel

if TYPE_CHECKING:
    from commcast.foresight import Foreseen


def show_foreseen(folder: Path | None, now: datetime, as_json: bool) -> ExitCode:
    """Show what a tick would do at `now`, and return the exit code; nothing is written.

    Raises what opening a desk raises, and InputError where there are no files.
    """
    from commcast.foresight import Foreseen, foresee

    with desk_to_read(folder, now) as (desk, ledger):
        found = foresee(desk, ledger) if ledger is not None else Foreseen()
    if as_json:
        show_json("tick-dry-run", _document(found))
    else:
        for line in _lines(found):
            show_prose(line)
        for path, error in found.errors.items():
            say(fault_in_words(path, error))
    return gravest(error.exit_code for error in found.errors.values())


def _lines(found: Foreseen) -> Iterator[str]:
    for each in found.waking:
        who = " and ".join(each.people) or "nobody: no [people] in commcast.toml"
        yield f"{each.incident}: would nudge {who}: {why_in_words([each.nudge])}"
    for coming in found.coming:
        notice = notice_in_words(coming.notice, coming.number)
        by = NAMES[Channel(coming.channel)]
        yield f"{coming.incident}: would send {notice} by {by} to {coming.deliveries:,}"
    for incident, who in found.stopped.items():
        yield f"{incident}: stopped by {who}; go on with: commcast resume {incident}"
    if not (found.waking or found.coming):
        yield "A tick would send nothing."


def _document(found: Foreseen) -> dict[str, Any]:
    return {
        "would_send": [
            {
                "incident": each.incident,
                "notice": each.notice,
                "channel": each.channel,
                "send": each.deliveries,
            }
            for each in found.coming
        ],
        "would_nudge": [
            {
                "incident": each.incident,
                "nudge": each.nudge.id,
                "why": each.nudge.why,
                "people": list(each.people),
                "line": each.nudge.line,
            }
            for each in found.waking
        ],
        "stopped": found.stopped,
        "faults": {path: str(error).splitlines() for path, error in found.errors.items()},
    }
