"""Promises kept: pager calls, who is on duty, and how well informed readers said they were."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Integer, String

from commcast.ledger.tables import columns

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "call",
        *columns(String, "incident", "notice", primary_key=True),
        *columns(String, "at"),
        *columns(String, "ended_at", nullable=True),
        *columns(String, "state", "detail"),
    )
    op.create_table(
        "duty",
        *columns(Integer, "id", primary_key=True),
        *columns(String, "incident", index=True),
        *columns(String, "person", "offered_by", "offered_at"),
        *columns(String, "note", server_default=""),
        *columns(String, "taken_by", "taken_at", nullable=True),
    )
    op.create_table(
        "feedback",
        *columns(Integer, "id", primary_key=True),
        *columns(String, "incident", index=True),
        *columns(Integer, "yes", "no"),
        *columns(String, "by", "at"),
    )
    op.create_index("delivery_composition", "delivery", ["composition"])
