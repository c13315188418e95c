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


def promise_id(at: datetime, again: int = 0) -> str:
    """Return a promise as it stands in the id of what keeps it: its moment.

    `again` is the number of the update that promised a moment which an older one had promised before, 0 for
    none: what kept the older promise does not keep this one.
    """
    return f"{moment_id(at)}:{again}" if again else moment_id(at)


def is_named_for(notice: str, at: datetime) -> bool:
    """Return whether a holding statement, by its id, keeps a promise of this moment."""
    named = notice.partition("/")[0].split(":", 1)[1]
    return kind_of(notice) is NoticeKind.HOLDING and f"{named}:".startswith(f"{moment_id(at)}:")
