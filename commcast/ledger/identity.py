"""What a ledger says of itself: its tables' revision, whose it is, its secret."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection, Engine, select, text

from commcast.errors import LedgerError
from commcast.ledger import schema


def read_identity(engine: Engine, path: Path) -> dict[str, str]:
    """Return what the ledger says of itself, its tables brought up to date."""
    with engine.connect() as connection:
        connection.execution_options(commcast_reads=True)
        revision = _revision(connection, path)
    if revision != schema.REVISION:
        _upgrade(engine, path, revision)
    with engine.connect() as connection:
        connection.execution_options(commcast_reads=True)
        kept = {row.name: row.value for row in connection.execute(select(schema.meta))}
    if not kept.get("generation", "").isdecimal():
        raise LedgerError(f"{path}: is damaged: its generation is gone; restore it from a backup")
    return kept


def check_desk(path: Path, found: str, desk: str) -> None:
    """Refuse another desk's ledger, and any where the folder does not say whose it is. Raises LedgerError."""
    if not desk:
        raise LedgerError(
            "commcast.toml has no desk: it does not say whose ledger to trust; "
            "mend it with: commcast doctor --adopt-ledger"
        )
    if found != desk:
        raise LedgerError(
            f"{path}: is the ledger of another desk ({found[:8]}…, this folder's is {desk[:8]}…); "
            "put the right one there, or take this one with: commcast doctor --adopt-ledger"
        )


def secret_of(path: Path, kept: Mapping[str, str]) -> bytes:
    """Return a ledger's secret. Raises LedgerError where it is gone."""
    try:
        return bytes.fromhex(kept["secret"])
    except (KeyError, ValueError):
        raise LedgerError(f"{path}: is damaged: its secret is gone; restore it from a backup") from None


def _revision(connection: Connection, path: Path) -> str:
    known = connection.execute(
        text("select count(*) from sqlite_master where name in ('alembic_version', 'meta')")
    ).scalar_one()
    if known != 2:
        raise LedgerError(f"{path}: is a database, but not a ledger of commcast; put the right file there")
    revision = connection.execute(text("select version_num from alembic_version")).scalar_one_or_none()
    if revision is None:
        raise LedgerError(f"{path}: is damaged: it does not say how old it is; restore it from a backup")
    return str(revision)


def _upgrade(engine: Engine, path: Path, revision: str) -> None:
    from commcast.ledger.migrations.upgrade import known_revisions, upgrade

    if revision not in known_revisions():
        raise LedgerError(
            f"{path}: was written by a newer commcast (tables {revision}); upgrade commcast here"
        )
    with engine.begin() as connection:
        upgrade(connection)
