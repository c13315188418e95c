"""Which readers follow another open incident already, and what it last told them: as lines and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from commcast.desk import Owed

_NAMES = {"email": "email", "sms": "SMS"}


def other_stories(owed: Owed, when: Callable[[datetime], str]) -> Iterator[str]:
    """Yield how many of the readers already follow another open incident, and what it last told them."""
    found = owed.following.found() if owed.following else ()
    for each in sorted(found, key=lambda one: one.channel):
        many = f"{'At least ' if each.at_least else ''}{each.readers:,} of those by {_NAMES[each.channel]}"
        were = "was" if each.readers == 1 else "were"
        status = each.status.replace("_", " ").capitalize()
        promised = f", next update by {when(each.promised)}" if each.promised else ""
        yield f"{many} {were} told of {each.incident} at {when(each.at)}: {status}, {each.title}{promised}."


def others_document(owed: Owed) -> list[dict[str, Any]]:
    """Return the same as JSON."""
    return [
        {
            "incident": each.incident,
            "channel": each.channel,
            "readers": each.readers,
            "at_least": each.at_least,
            "status": each.status,
            "told_at": each.at.isoformat(),
            "next_update_by": each.promised.isoformat() if each.promised else None,
        }
        for each in (owed.following.found() if owed.following else ())
    ]
