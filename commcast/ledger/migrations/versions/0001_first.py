"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "meta", sa.Column("name", sa.String, primary_key=True), sa.Column("value", sa.String, nullable=False)
    )
    _create_release()
    _create_broadcast()
    _create_composition()
    _create_delivery()
    op.create_table(
        "suppression",
        sa.Column("channel", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("by", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_table(
        "stop",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("incident", sa.String, nullable=False),
        sa.Column("by", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("lifted_at", sa.String),
        sa.Column("lifted_by", sa.String),
    )
    _create_partial_index("stop_in_force", "stop", ["incident"], "lifted_at is null")
    op.create_table(
        "tick",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("host", sa.String, nullable=False),
    )


def _create_release() -> None:
    op.create_table(
        "release",
        sa.Column("incident", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("severity", sa.Integer, nullable=False),
        sa.Column("next_update_by", sa.String),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("how", sa.String, nullable=False),
        sa.Column("by", sa.String, nullable=False),
        sa.Column("released_at", sa.String, nullable=False),
    )
    op.create_index("release_digest", "release", ["digest"])


def _create_broadcast() -> None:
    op.create_table(
        "broadcast",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("incident", sa.String, nullable=False),
        sa.Column("notice", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.UniqueConstraint("incident", "notice", "channel"),
        sa.CheckConstraint("state in ('freezing', 'frozen')"),
    )


def _create_composition() -> None:
    op.create_table(
        "composition",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("broadcast", sa.Integer, sa.ForeignKey("broadcast.id", ondelete="CASCADE"), nullable=False),
        sa.Column("audience", sa.String, nullable=False),
        sa.Column("zone", sa.String, nullable=False),
        sa.Column("locale", sa.String, nullable=False),
        sa.Column("wording", sa.String, nullable=False),
        sa.Column("context", sa.JSON, nullable=False),
        sa.Column("envelope", sa.JSON, nullable=False),
        sa.Column("next_update_by", sa.String),
    )
    op.create_index("ix_composition_broadcast", "composition", ["broadcast"])


def _create_delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("broadcast", sa.Integer, sa.ForeignKey("broadcast.id", ondelete="CASCADE"), nullable=False),
        sa.Column("incident", sa.String, nullable=False),
        sa.Column("notice", sa.String, nullable=False),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("audience", sa.String, nullable=False),
        sa.Column("composition", sa.Integer, sa.ForeignKey("composition.id")),
        sa.Column("recipient", sa.JSON, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False, server_default=""),
        sa.Column("owner", sa.String),
        sa.Column("lease_until", sa.String),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("not_before", sa.String),
        sa.Column("expires_at", sa.String),
        sa.Column("provider", sa.String),
        sa.Column("provider_id", sa.String),
        sa.Column("changed_at", sa.String, nullable=False),
        sa.UniqueConstraint("incident", "notice", "channel", "key", name="delivery_once"),
        sa.CheckConstraint(
            "state in ('held', 'pending', 'claimed', 'accepted', 'rejected', 'unknown', 'skipped')",
            name="delivery_state",
        ),
    )
    _create_partial_index("delivery_pending", "delivery", ["broadcast", "id"], "state = 'pending'")
    _create_partial_index("delivery_open", "delivery", ["state"], "state in ('claimed', 'held')")
    op.create_index("delivery_person", "delivery", ["channel", "key"])


def _create_partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition)
    )
