"""The generation, by which a restored backup is noticed; and which closed incident files were judged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    meta = sa.table("meta", sa.column("name", sa.String), sa.column("value", sa.String))
    op.bulk_insert(meta, [{"name": "generation", "value": "0"}])
    op.create_table(
        "judged",
        sa.Column("path", sa.String, primary_key=True),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("incident", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
