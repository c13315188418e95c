"""What asking providers needs: receipts, the pace of each provider, and what became of lost answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("delivery", sa.Column("claimed_at", sa.String))
    op.add_column("delivery", sa.Column("doubted", sa.Integer, nullable=False, server_default="0"))
    op.add_column("delivery", sa.Column("receipt", sa.String))
    op.add_column("delivery", sa.Column("receipt_at", sa.String))
    op.add_column("delivery", sa.Column("receipt_detail", sa.String))
    answered = sa.text("provider_id <> ''")
    op.create_index(
        "delivery_receipt",
        "delivery",
        ["provider", "provider_id"],
        sqlite_where=answered,
        postgresql_where=answered,
    )
    op.create_table(
        "act",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("delivery", sa.Integer, sa.ForeignKey("delivery.id", ondelete="CASCADE"), nullable=False),
        sa.Column("what", sa.String, nullable=False),
        sa.Column("became", sa.String, nullable=False),
        sa.Column("detail", sa.String, nullable=False),
        sa.Column("by", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_index("ix_act_delivery", "act", ["delivery"])
    op.create_table(
        "pace",
        sa.Column("provider", sa.String, primary_key=True),
        sa.Column("next_slot", sa.String),
        sa.Column("closed_until", sa.String),
    )
