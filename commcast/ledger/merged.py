"""Which incidents were merged into another: whoever heard of them counts as told of that one. Reads only."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import Connection, select

from commcast.ledger import schema
from commcast.model import Status

_release = schema.release


def merged_into(connection: Connection, incident: str) -> tuple[str, ...]:
    """Return the incidents that go on as this one, also by way of others."""
    rows = connection.execute(
        select(_release.c.incident, _release.c.facts["update"]["merged_into"].as_string()).where(
            _release.c.status == Status.MERGED
        )
    )
    parts = defaultdict(set)
    for part, whole in rows:
        parts[whole].add(part)
    found: list[str] = []
    waiting = [incident]
    while waiting:
        for part in sorted(parts[waiting.pop()]):
            if part not in found and part != incident:
                found.append(part)
                waiting.append(part)
    return tuple(found)


def title_of(connection: Connection, incident: str) -> str:
    """Return an incident's title as it was released, "" where it never was."""
    title = connection.execute(
        select(_release.c.title).where(_release.c.incident == incident).order_by(_release.c.number).limit(1)
    ).scalar_one_or_none()
    return title or ""
