"""Which incidents a tick must look at: those with deliveries left, and all whose file was not judged over."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, union

from commcast.incidents.judged import Judged
from commcast.ledger import schema
from commcast.ledger.schema import IS_OPEN, IS_PENDING, stamp

_broadcast, _delivery, _judged = schema.broadcast, schema.delivery, schema.judged
_AT_ONCE = 500  # paths in one statement: SQLite bounds how many values one may hold


def unfinished_incidents(connection: Connection) -> frozenset[str]:
    """Return the incidents of which a delivery waits, is held, or is claimed."""
    pending = select(_broadcast.c.incident).where(
        select(_delivery.c.id).where(_delivery.c.broadcast == _broadcast.c.id, IS_PENDING).exists()
    )
    others = select(_delivery.c.incident).where(IS_OPEN)
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
            {"path": path, "digest": each.digest, "incident": each.incident, "at": stamp(now)}
            for path, each in found.items()
        ]
        connection.execute(insert(_judged), rows)
