"""Promises kept: who was woken and how, who is on duty, and what readers said of how they were informed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "call",
        sa.Column("incident", sa.String, primary_key=True),
        sa.Column("notice", sa.String, primary_key=True),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("ended_at", sa.String),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("detail", sa.String, nullable=False),
    )
    op.create_table(
        "duty",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("incident", sa.String, nullable=False, index=True),
        sa.Column("person", sa.String, nullable=False),
        sa.Column("offered_by", sa.String, nullable=False),
        sa.Column("offered_at", sa.String, nullable=False),
        sa.Column("note", sa.String, nullable=False, server_default=""),
        sa.Column("taken_by", sa.String),
        sa.Column("taken_at", sa.String),
    )
    op.create_table(
        "feedback",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("incident", sa.String, nullable=False, index=True),
        sa.Column("yes", sa.Integer, nullable=False),
        sa.Column("no", sa.Integer, nullable=False),
        sa.Column("by", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_index("delivery_composition", "delivery", ["composition"])
