"""The kinds of notices, and how a notice is named in the ledger (pure)."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum


class NoticeKind(StrEnum):
    """What a notice is; its value begins the notice's id in the ledger ("update:3")."""

    UPDATE = "update"
    HOLDING = "holding"
    REMINDER = "reminder"
    FOLLOW_UP = "follow-up"
    NUDGE = "nudge"


def kind_of(notice: str) -> NoticeKind:
    """Return the kind of a notice by its id in the ledger."""
    return NoticeKind(notice.partition(":")[0])


def moment_id(at: datetime) -> str:
    """Return a moment as it stands in a notice's id, in UTC and to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
