"""The words of status: moments, deadlines and counts."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from commcast.durations import short_duration

if TYPE_CHECKING:
    from commcast.cli.standings import DeskStatus, Standing

COUNTED = ("accepted", "pending", "claimed", "held", "unknown", "rejected", "skipped")
RECEIPTS = ("delivered", "bounced", "failed")
_WORD_OF = {"pending": "waiting", "claimed": "on the way"}
_NOTICES = {
    "holding": "holding statement",
    "reminder": "reminder",
    "follow-up": "follow-up",
}


def moment(at: datetime, found: DeskStatus) -> str:
    """Return a moment as the desk's clocks show it; with its day where that is not today."""
    local, today = at.astimezone(found.zone), found.now.astimezone(found.zone).date()
    return f"{local:%H:%M}" if local.date() == today else f"{local.day} {local:%b %H:%M}"


def due_in_words(promised: datetime | None, found: DeskStatus) -> str:
    """Return a deadline with how long it is away: "11:25, in 12m", "LATE by 3m"."""
    if promised is None:
        return "none due"
    away = promised - found.now
    if away.total_seconds() < 0:
        return f"LATE by {short_duration(-away)}"
    return f"{moment(promised, found)}, in {short_duration(away)}"


def counts_in_words(each: Standing) -> list[str]:
    """Return how many deliveries are in each state, those of no state left out."""
    return [
        f"{each.counts[state]} {_WORD_OF.get(state, state)}" for state in COUNTED if each.counts.get(state)
    ]


def notice_in_words(notice: str, number: int) -> str:
    """Return what a notice is to people: "update 3", "holding statement"."""
    return _NOTICES.get(notice.partition(":")[0], f"update {number}")
