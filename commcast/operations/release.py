"""A person's yes: nothing changed since they looked; times written; recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from commcast.ledger.releases import record_release
from commcast.ledger.store import Ledger

if TYPE_CHECKING:
    from commcast.operations.desk import Desk, Plan


def release_updates(
    desk: Desk, plan: Plan, numbers: Sequence[int], ledger: Ledger, *, how: str, by: str
) -> None:
    """Record a person's yes to these updates, all in one transaction."""
    promised = [
        promise
        for line in plan.lines
        for name in line.notice.audiences
        if (promise := line.notice.next_update_by[name]) is not None
    ]
    with ledger.write() as connection:
        for number in numbers:
            record_release(
                connection,
                plan.incident,
                number,
                next_update_by=min(promised) if promised else None,
                how=how,
                by=by,
                now=desk.now,
            )
