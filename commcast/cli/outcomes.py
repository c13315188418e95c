"""What became of an incident's newest words: by audience and channel, as a table and as JSON."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from commcast.cli.output import show, table
from commcast.cli.present import NAMES

if TYPE_CHECKING:
    from commcast.errors import ExitCode
    from commcast.ledger.store import Ledger
    from commcast.model import Incident

# The column of each state of a delivery; the order in which a person looks at them.
_COLUMN = {
    "accepted": "ACCEPTED",
    "rejected": "REJECTED",
    "unknown": "UNKNOWN",
    "skipped": "SKIPPED",
    "held": "HELD",
    "pending": "WAITING",
    "claimed": "WAITING",
}
_COLUMNS = list(dict.fromkeys(_COLUMN.values()))


def show_outcomes(incident: Incident, ledger: Ledger) -> None:
    """Print the outcome table of the newest update."""
    counted = _counted(incident, ledger)
    if counted:
        rows = [
            [audience, NAMES[channel], *(str(counts[column] or "-") for column in _COLUMNS)]
            for (audience, channel), counts in counted.items()
        ]
        show(table(["AUDIENCE", "CHANNEL", *_COLUMNS], rows))


def outcome_document(
    incident: Incident, ledger: Ledger, released: list[int], code: ExitCode
) -> dict[str, Any]:
    """Return what became of the newest update as JSON."""
    return {
        "incident": incident.id,
        "update": incident.latest.number,
        "released": released,
        "outcomes": [
            {"audience": audience, "channel": channel, **{c.lower(): counts[c] for c in _COLUMNS}}
            for (audience, channel), counts in _counted(incident, ledger).items()
        ],
        "exit_code": int(code),
    }


def _counted(incident: Incident, ledger: Ledger) -> dict[tuple[str, str], Counter[str]]:
    from commcast.ledger.history import tallies

    with ledger.read() as connection:
        found = [t for t in tallies(connection, incident.id) if t.number == incident.latest.number]
    counted: dict[tuple[str, str], Counter[str]] = {}
    for tally in found:
        counts = counted.setdefault((tally.audience, tally.channel), Counter())
        counts[_COLUMN[tally.state.value]] += tally.count
    return counted
