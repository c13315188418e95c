"""Which incident files were found to be over: a tick does not read those again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "judged",
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("incident", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
    )
