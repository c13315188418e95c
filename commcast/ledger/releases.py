"""Released updates, and which incidents are open, merged, unfinished or over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, func, insert, select, union

from commcast.incidents.load import Judged
from commcast.ledger import tables
from commcast.ledger.tables import HAS_PENDING, IS_FROZEN, IS_OPEN, fields_of, one_of
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
            title=incident.title_as_of(update),
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
    """Mark every unreleased update of `incidents` as told elsewhere; return how many.

    An update without an `at` is a draft, and stays one.
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
    found = connection.execute(select(*fields_of(Release, _release)).where(_release.c.incident == incident))
    return {row.number: Release(*row) for row in found}


def release_times(connection: Connection) -> dict[tuple[str, int], datetime]:
    """Return the `at` of each released update, by incident and number, with the offset that its file had."""
    written = _release.c.facts["update", "at"].as_string()
    rows = connection.execute(select(_release.c.incident, _release.c.number, _release.c.at, written))
    return {(name, number): datetime.fromisoformat(text) if text else at for name, number, at, text in rows}


def released_facts(connection: Connection, incident: str, number: int) -> Mapping[str, Any]:
    """Return what was known when update `number` was released; empty if it was not."""
    found = connection.execute(
        select(_release.c.facts).where(_release.c.incident == incident, _release.c.number == number)
    ).scalar_one_or_none()
    return found or {}


def released_incident(connection: Connection, incident: str) -> Incident | None:
    """Return an incident as it was last released, without its file; None if nothing was released.

    In place of an unreleased update between released ones stands the one before it.
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
        # Other versions store other keys; older ones had no words that hold on.
        said = {"words_in_force": row.facts["update"]["words"], **row.facts["update"]}
        told = Update.model_validate(said, extra="ignore")
        while len(updates) < told.number - 1:
            updates.append(updates[-1] if updates else told)
        updates.append(told)
    return Incident.model_validate({**rows[-1].facts["incident"], "updates": updates}, extra="ignore")


def released_incidents(connection: Connection) -> frozenset[str]:
    """Return the ids of all incidents with a release."""
    return frozenset(connection.execute(select(_release.c.incident).distinct()).scalars())


def open_incidents(connection: Connection) -> frozenset[str]:
    """Return the ids of incidents whose newest release is not an end and was not told elsewhere."""
    is_open = (_release.c.status.not_in(END_STATUSES), _release.c.how != ELSEWHERE)
    return frozenset(row.incident for row in connection.execute(newest_releases().where(*is_open)))


def newest_releases() -> Select[Any]:
    """Select the newest release of each incident."""
    r = _release.c
    newest = select(r.incident, func.max(r.number).label("number")).group_by(r.incident).subquery()
    is_newest = and_(r.incident == newest.c.incident, r.number == newest.c.number)
    return select(_release).join(newest, is_newest)


def incidents_by_digest(connection: Connection, digests: Iterable[str]) -> frozenset[str]:
    """Return the ids under which updates with these digests were released, to recognise a renamed file."""
    same = _release.c.digest.in_(list(digests))
    return frozenset(connection.execute(select(_release.c.incident).where(same)).scalars())


def merged_into(connection: Connection, incident: str) -> tuple[str, ...]:
    """Return the incidents merged into this one, directly or through others."""
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
    """Return an incident's title as it was last released, "" if it never was."""
    titles = select(_release.c.title).where(_release.c.incident == incident)
    return connection.execute(titles.order_by(_release.c.number.desc()).limit(1)).scalar() or ""


_broadcast, _delivery, _judged = tables.frozen_broadcast, tables.delivery, tables.judged


def unfinished_incidents(connection: Connection) -> frozenset[str]:
    """Return the incidents with a waiting, held or claimed delivery."""
    pending = select(_broadcast.c.incident).where(HAS_PENDING)
    others = select(_delivery.c.incident).where(IS_OPEN, IS_FROZEN)
    return frozenset(connection.execute(union(pending, others)).scalars())


def read_judged(connection: Connection) -> dict[str, Judged]:
    """Return the incident files that were found to be over, by path."""
    rows = connection.execute(select(_judged.c.path, _judged.c.digest, _judged.c.incident))
    return {path: Judged(digest, incident) for path, digest, incident in rows}


def replace_judged(
    connection: Connection, gone: Collection[str], found: Mapping[str, Judged], now: datetime
) -> None:
    """Forget files that are `gone` or no longer over, and record those `found` to be over."""
    connection.execute(delete(_judged).where(one_of(connection, _judged.c.path, sorted({*gone, *found}))))
    if found:
        rows = [
            {"path": path, "digest": each.digest, "incident": each.incident, "at": now}
            for path, each in found.items()
        ]
        connection.execute(insert(_judged), rows)
