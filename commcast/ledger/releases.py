"""Releases in the ledger: which updates somebody said yes to, with the digest of their words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, insert, select

from commcast.ledger import schema
from commcast.ledger.schema import stamp
from commcast.model import END_STATUSES, Incident, Update
from commcast.release import ELSEWHERE, Release, digest, facts

_release = schema.release


def record_release(
    connection: Connection,
    incident: Incident,
    number: int,
    *,
    next_update_by: datetime | None,
    how: str,
    by: str,
    now: datetime,
) -> None:
    """Record a yes to update `number`. A second yes to the same update changes nothing."""
    if number in read_releases(connection, incident.id):
        return
    update = incident.update(number)
    connection.execute(
        insert(_release).values(
            incident=incident.id,
            number=number,
            digest=digest(incident, update),
            at=stamp(update.at),
            title=incident.title,
            status=update.status.value,
            severity=update.severity,
            next_update_by=stamp(next_update_by) if next_update_by else None,
            facts=facts(incident, update),
            how=how,
            by=by,
            released_at=stamp(now),
        )
    )


def record_history(connection: Connection, incidents: Iterable[Incident], by: str, now: datetime) -> int:
    """Mark every unreleased update of `incidents` as told elsewhere; return how many there were.

    One without an `at` is a draft that nobody has told anywhere: it stays one.
    """
    count = 0
    for incident in incidents:
        known = read_releases(connection, incident.id)
        for update in incident.updates:
            if update.at_written and update.number not in known:
                record_release(
                    connection, incident, update.number, next_update_by=None, how=ELSEWHERE, by=by, now=now
                )
                count += 1
    return count


def read_releases(connection: Connection, incident: str) -> dict[int, Release]:
    """Return an incident's releases by update number."""
    found = connection.execute(
        select(
            _release.c.incident,
            _release.c.number,
            _release.c.digest,
            _release.c.at,
            _release.c.how,
            _release.c.by,
        ).where(_release.c.incident == incident)
    )
    return {
        row.number: Release(
            row.incident, row.number, row.digest, datetime.fromisoformat(row.at), row.how, row.by
        )
        for row in found
    }


def released_facts(connection: Connection, incident: str, number: int) -> Mapping[str, Any]:
    """Return what was known when update `number` was released; empty where it was not."""
    found = connection.execute(
        select(_release.c.facts).where(_release.c.incident == incident, _release.c.number == number)
    ).scalar_one_or_none()
    return found or {}


def released_incident(connection: Connection, incident: str) -> Incident | None:
    """Return an incident as it was last released, without its file; None where nothing was released.

    What was never released between two updates that were stands in for by the one before.
    """
    rows = connection.execute(
        select(_release.c.number, _release.c.facts)
        .where(_release.c.incident == incident)
        .order_by(_release.c.number)
    ).all()
    if not rows:
        return None
    updates: list[Update] = []
    for row in rows:
        told = Update.model_validate(row.facts["update"])
        while len(updates) < told.number - 1:
            updates.append(updates[-1] if updates else told)
        updates.append(told)
    return Incident.model_validate({**rows[-1].facts["incident"], "updates": tuple(updates)})


def released_incidents(connection: Connection) -> frozenset[str]:
    """Return the ids of all incidents that anything was released of."""
    return frozenset(connection.execute(select(_release.c.incident).distinct()).scalars())


def open_incidents(connection: Connection) -> frozenset[str]:
    """Return the ids of incidents whose newest released update is no end, and was not told elsewhere."""
    newest = (
        select(_release.c.incident, func.max(_release.c.number).label("number"))
        .group_by(_release.c.incident)
        .subquery()
    )
    rows = connection.execute(
        select(_release.c.incident)
        .join(newest, and_(_release.c.incident == newest.c.incident, _release.c.number == newest.c.number))
        .where(_release.c.status.not_in(END_STATUSES), _release.c.how != ELSEWHERE)
    )
    return frozenset(rows.scalars())


def incidents_by_digest(connection: Connection, digests: Iterable[str]) -> frozenset[str]:
    """Return the ids under which updates with these words were released: how a renamed file is recognised."""
    return frozenset(
        connection.execute(
            select(_release.c.incident).where(_release.c.digest.in_(list(digests))).distinct()
        ).scalars()
    )
