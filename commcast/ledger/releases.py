"""What somebody said yes to, and which incidents are merged, unfinished or judged over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, select, union

from commcast.incidents.load import Judged
from commcast.ledger import tables
from commcast.ledger.tables import IS_FROZEN, IS_OPEN, IS_PENDING
from commcast.model.incident import END_STATUSES, Incident, Status, Update
from commcast.model.release import ELSEWHERE, Release, digest, facts

_release = tables.release


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
            at=update.at,
            title=incident.title,
            status=update.status.value,
            severity=update.severity,
            next_update_by=next_update_by,
            facts=facts(incident, update),
            how=how,
            by=by,
            released_at=now,
        )
    )


def record_history(connection: Connection, incidents: Iterable[Incident], by: str, now: datetime) -> int:
    """Mark every unreleased update of `incidents` as told elsewhere; return how many there were.

    One without an `at` is a draft that nobody has told anywhere: it stays one.
    """
    count = 0
    for incident in incidents:
        known = read_releases(connection, incident.id)
        for each in incident.updates:
            if each.at_written and each.number not in known:
                record_release(
                    connection, incident, each.number, next_update_by=None, how=ELSEWHERE, by=by, now=now
                )
                count += 1
    return count


def read_releases(connection: Connection, incident: str) -> dict[int, Release]:
    """Return an incident's releases by update number."""
    r = _release.c
    columns = (r.incident, r.number, r.digest, r.at, r.how, r.by)
    found = connection.execute(select(*columns).where(r.incident == incident))
    return {row.number: Release(*row) for row in found}


def release_times(connection: Connection) -> dict[tuple[str, int], datetime]:
    """Return the moment that each released update bears, by incident and number."""
    rows = connection.execute(select(_release.c.incident, _release.c.number, _release.c.at))
    return {(row.incident, row.number): row.at for row in rows}


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


_broadcast, _delivery, _judged = tables.frozen_broadcast, tables.delivery, tables.judged
_AT_ONCE = 500  # paths in one statement: SQLite bounds how many values one may hold


def unfinished_incidents(connection: Connection) -> frozenset[str]:
    """Return the incidents of which a delivery waits, is held, or is claimed."""
    pending = select(_broadcast.c.incident).where(
        select(_delivery.c.id).where(_delivery.c.broadcast == _broadcast.c.id, IS_PENDING).exists()
    )
    others = select(_delivery.c.incident).where(IS_OPEN, IS_FROZEN)
    return frozenset(connection.execute(union(pending, others)).scalars())


def read_judged(connection: Connection) -> dict[str, Judged]:
    """Return what was judged, by the path of the file."""
    rows = connection.execute(select(_judged.c.path, _judged.c.digest, _judged.c.incident))
    return {path: Judged(digest, incident) for path, digest, incident in rows}


def replace_judged(
    connection: Connection, gone: Collection[str], found: Mapping[str, Judged], now: datetime
) -> None:
    """Forget the files that are `gone` or no longer over, and note the ones that were `found` to be."""
    paths = sorted({*gone, *found})
    for start in range(0, len(paths), _AT_ONCE):
        connection.execute(delete(_judged).where(_judged.c.path.in_(paths[start : start + _AT_ONCE])))
    if found:
        rows = [
            {"path": path, "digest": each.digest, "incident": each.incident, "at": now}
            for path, each in found.items()
        ]
        connection.execute(insert(_judged), rows)
