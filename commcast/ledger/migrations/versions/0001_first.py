"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import JSON, Integer, String

from commcast.ledger.tables import columns

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table("meta", *columns(String, "name", primary_key=True), *columns(String, "value"))
    op.create_table(
        "release",
        *columns(String, "incident", primary_key=True),
        *columns(Integer, "number", primary_key=True),
        *columns(String, "digest", "at", "title", "status"),
        *columns(Integer, "severity"),
        *columns(String, "next_update_by", nullable=True),
        *columns(JSON, "facts"),
        *columns(String, "how", "by", "released_at"),
    )
    op.create_index("release_digest", "release", ["digest"])
    op.create_table(
        "broadcast",
        *columns(Integer, "id", primary_key=True),
        *columns(String, "incident", "notice"),
        *columns(Integer, "number"),
        *columns(String, "channel", "state", "owner", "created_at"),
        sa.UniqueConstraint("incident", "notice", "channel"),
        sa.CheckConstraint("state in ('freezing', 'frozen')"),
    )
    op.create_table(
        "composition",
        *columns(Integer, "id", primary_key=True),
        _of_broadcast(),
        *columns(String, "audience", "zone", "locale", "wording"),
        *columns(JSON, "context", "envelope"),
        *columns(String, "next_update_by", nullable=True),
    )
    op.create_index("ix_composition_broadcast", "composition", ["broadcast"])
    _create_delivery()
    op.create_table(
        "suppression",
        *columns(String, "channel", "key", primary_key=True),
        *columns(String, "reason", "by", "at"),
    )
    op.create_table(
        "stop",
        *columns(Integer, "id", primary_key=True),
        *columns(String, "incident", "by", "at"),
        *columns(String, "lifted_at", "lifted_by", nullable=True),
    )
    _create_partial_index("stop_in_force", "stop", ["incident"], "lifted_at is null")
    op.create_table("tick", *columns(Integer, "id", primary_key=True), *columns(String, "at", "host"))


def _create_delivery() -> None:
    op.create_table(
        "delivery",
        *columns(Integer, "id", primary_key=True),
        _of_broadcast(),
        *columns(String, "incident", "notice", "channel", "key", "address", "audience"),
        sa.Column("composition", Integer, sa.ForeignKey("composition.id")),
        *columns(JSON, "recipient"),
        *columns(String, "digest", "state"),
        *columns(String, "reason", server_default=""),
        *columns(String, "owner", "lease_until", nullable=True),
        *columns(Integer, "attempts", server_default="0"),
        *columns(String, "not_before", "expires_at", "provider", "provider_id", nullable=True),
        *columns(String, "changed_at"),
        sa.UniqueConstraint("incident", "notice", "channel", "key", name="delivery_once"),
        sa.CheckConstraint(
            "state in ('held', 'pending', 'claimed', 'accepted', 'rejected', 'unknown', 'skipped')",
            name="delivery_state",
        ),
    )
    _create_partial_index("delivery_pending", "delivery", ["broadcast", "id"], "state = 'pending'")
    _create_partial_index("delivery_open", "delivery", ["state"], "state in ('claimed', 'held')")
    op.create_index("delivery_person", "delivery", ["channel", "key"])


def _of_broadcast() -> sa.Column[int]:
    return sa.Column("broadcast", Integer, sa.ForeignKey("broadcast.id", ondelete="CASCADE"), nullable=False)


def _create_partial_index(name: str, table: str, names: list[str], condition: str) -> None:
    op.create_index(name, table, names, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))
