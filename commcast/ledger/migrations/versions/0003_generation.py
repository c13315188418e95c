"""The generation, which shows that a ledger is a restored backup; and which finished incidents were read."""

from __future__ import annotations

from alembic import op
from sqlalchemy import String, column, table

from commcast.ledger.tables import columns

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    meta = table("meta", column("name", String), column("value", String))
    op.bulk_insert(meta, [{"name": "generation", "value": "0"}])
    op.create_table(
        "judged", *columns(String, "path", primary_key=True), *columns(String, "digest", "incident", "at")
    )
