"""What queries to providers need: receipts, the pace of each provider, and how unknown deliveries ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Integer, String

from commcast.ledger.tables import columns

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for column in (
        *columns(String, "claimed_at", nullable=True),
        *columns(Integer, "doubted", server_default="0"),
        *columns(String, "receipt", "receipt_at", "receipt_detail", nullable=True),
    ):
        op.add_column("delivery", column)
    has_id = sa.text("provider_id <> ''")
    names = ["provider", "provider_id"]
    op.create_index("delivery_receipt", "delivery", names, sqlite_where=has_id, postgresql_where=has_id)
    op.create_table(
        "act",
        *columns(Integer, "id", primary_key=True),
        sa.Column("delivery", Integer, sa.ForeignKey("delivery.id", ondelete="CASCADE"), nullable=False),
        *columns(String, "what", "became", "detail", "by", "at"),
    )
    op.create_index("ix_act_delivery", "act", ["delivery"])
    op.create_table(
        "pace",
        *columns(String, "provider", primary_key=True),
        *columns(String, "next_slot", "closed_until", nullable=True),
    )
