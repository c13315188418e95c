"""The ledger's tables, and statements that are compiled once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    Case,
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Dialect,
    ForeignKey,
    FromClause,
    Index,
    Insert,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    and_,
    case,
    cast,
    event,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    text,
)
from sqlalchemy.sql import Executable

from commcast.model.incident import Channel, NextWord

# The revision of these tables; Alembic is imported only if a ledger has another one.
REVISION = "0004"

ALL_INCIDENTS = "*"  # in `stop`: every incident
# Messages to an incident's own people, mainly nudges, are kept under an id of their own: "~pay7".
# They never count as told to readers, and no end, cap or stop of the incident applies to them.
OWN_STORY = "~"


class State(StrEnum):
    """The state of a delivery. All but pending, claimed and held are final; unknown may be settled later."""

    HELD = "held"
    PENDING = "pending"
    CLAIMED = "claimed"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


WAITING = (State.PENDING, State.HELD)
# Readers in these states were told, or may have been.
MAYBE_TOLD = (State.CLAIMED, State.ACCEPTED, State.UNKNOWN)


class BroadcastState(StrEnum):
    """freezing: rows are still going in and nobody may claim. frozen: list and words are fixed."""

    FREEZING = "freezing"
    FROZEN = "frozen"


def stamp(at: datetime) -> str:
    """Return an aware time as the ledger stores it. Raises ValueError for a naive one."""
    if at.tzinfo is None:
        raise ValueError("the ledger stores aware times only")
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def unstamp(text: str | None) -> datetime | None:
    """Return a time from the ledger as an aware UTC datetime."""
    return datetime.fromisoformat(text) if text else None


class Time(TypeDecorator[datetime]):
    """An aware time, stored as text that sorts like the times. It may be written as such a text."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: datetime | str | None, _dialect: Dialect) -> str | None:
        return stamp(value) if isinstance(value, datetime) else value

    def process_result_value(self, value: str | None, _dialect: Dialect) -> datetime | None:
        return unstamp(value)


class Named(TypeDecorator[StrEnum]):
    """A member of an enumeration, stored as its value."""

    impl = String
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, _dialect: Dialect) -> StrEnum | None:
        return None if value is None else self.kind(value)


class What(StrEnum):
    """What was done about an unknown delivery: a provider's records were asked, or a person decided.

    restore: a person adopted a ledger older than the last send, which made the delivery unknown.
    """

    RECONCILE = "reconcile"
    RESEND = "resend"
    SETTLE = "settle"
    RESTORE = "restore"


metadata = MetaData()


def columns(kind: Any, *names: str, nullable: bool = False, **more: Any) -> Iterator[Column[Any]]:
    """Yield columns of one type, NOT NULL unless `nullable`. Migrations use it too: it must never change."""
    for name in names:
        yield Column(name, kind, nullable=nullable, **more)


def _where(condition: str) -> dict[str, Any]:
    """Return the options that make an index partial; in PostgreSQL `_make_partial` does."""
    return {"sqlite_where": text(condition), "info": {"where": condition}}


# desk: whose ledger this is. secret: keys of Message-IDs and erasure hashes; never leaves the ledger.
# generation: a number that rises before a run's first delivery and after its last. drafts: since when each
# draft waits, as ticks saw it.
meta = Table("meta", metadata, *columns(String, "name", primary_key=True), *columns(String, "value"))

release = Table(
    "release",
    metadata,
    *columns(String, "incident", primary_key=True),
    *columns(Integer, "number", primary_key=True),
    *columns(String, "digest"),
    *columns(Time, "at"),
    *columns(String, "title", "status"),
    *columns(Integer, "severity"),
    *columns(Time, "next_update_by", nullable=True),
    *columns(JSON, "facts"),
    *columns(String, "how", "by"),
    *columns(Time, "released_at"),
    Index("release_digest", "digest"),
)

# One notice on one channel to all its recipients.
broadcast = Table(
    "broadcast",
    metadata,
    *columns(Integer, "id", primary_key=True),
    *columns(String, "incident", "notice"),
    *columns(Integer, "number"),
    *columns(String, "channel"),
    *columns(Named(BroadcastState), "state"),
    *columns(String, "owner"),
    *columns(Time, "created_at"),
    UniqueConstraint("incident", "notice", "channel"),
    CheckConstraint("state in ('freezing', 'frozen')"),
)

# One group's words, frozen: template sources and context; what differs per person is in `delivery`.
composition = Table(
    "composition",
    metadata,
    *columns(Integer, "id", primary_key=True),
    Column("broadcast", Integer, ForeignKey("broadcast.id", ondelete="CASCADE"), nullable=False, index=True),
    *columns(String, "audience", "zone", "locale", "wording"),
    *columns(JSON, "context", "envelope"),
    *columns(Time, "next_update_by", nullable=True),
)

delivery = Table(
    "delivery",
    metadata,
    *columns(Integer, "id", primary_key=True),
    Column("broadcast", Integer, ForeignKey("broadcast.id", ondelete="CASCADE"), nullable=False),
    *columns(String, "incident", "notice", "channel", "key", "address", "audience"),
    Column("composition", Integer, ForeignKey("composition.id")),
    *columns(JSON, "recipient"),
    *columns(String, "digest"),
    *columns(Named(State), "state"),
    *columns(String, "reason", server_default=""),
    *columns(String, "owner", nullable=True),
    *columns(Time, "lease_until", nullable=True),
    *columns(Integer, "attempts", server_default="0"),
    *columns(Time, "not_before", "expires_at", nullable=True),
    *columns(String, "provider", "provider_id", nullable=True),
    *columns(Time, "changed_at"),
    # The last claim: if it was handed over at all, then between this and changed_at.
    *columns(Time, "claimed_at", nullable=True),
    # 1 if a person had it sent again although an earlier attempt may have arrived.
    *columns(Integer, "doubted", server_default="0"),
    # What the provider later said about an accepted one: delivered (final), bounced or failed.
    *columns(String, "receipt", nullable=True),
    *columns(Time, "receipt_at", nullable=True),
    *columns(String, "receipt_detail", nullable=True),
    # Promise 1: one notice, one channel, one address. The database refuses a second, no matter who runs.
    UniqueConstraint("incident", "notice", "channel", "key", name="delivery_once"),
    CheckConstraint(
        "state in ('held', 'pending', 'claimed', 'accepted', 'rejected', 'unknown', 'skipped')",
        name="delivery_state",
    ),
    Index("delivery_pending", "broadcast", "id", **_where("state = 'pending'")),
    Index("delivery_open", "state", **_where("state in ('claimed', 'held')")),
    Index("delivery_person", "channel", "key"),
    Index("delivery_composition", "composition"),
    Index("delivery_receipt", "provider", "provider_id", **_where("provider_id <> ''")),
)

# Addresses that must get no more messages. After an erasure `key` is a keyed hash and `address` is empty.
suppression = Table(
    "suppression",
    metadata,
    *columns(String, "channel", "key", primary_key=True),
    *columns(String, "reason", "by"),
    *columns(Time, "at"),
)

stop = Table(
    "stop",
    metadata,
    *columns(Integer, "id", primary_key=True),
    *columns(String, "incident", "by"),
    *columns(Time, "at"),
    *columns(Time, "lifted_at", nullable=True),
    *columns(String, "lifted_by", nullable=True),
    Index("stop_in_force", "incident", **_where("lifted_at is null")),
)

# What a person, or a provider's records, made of an unknown delivery.
act = Table(
    "act",
    metadata,
    *columns(Integer, "id", primary_key=True),
    Column("delivery", Integer, ForeignKey("delivery.id", ondelete="CASCADE"), nullable=False, index=True),
    *columns(Named(What), "what"),
    *columns(Named(State), "became"),
    *columns(String, "detail", "by"),
    *columns(Time, "at"),
)

# How fast all processes on this ledger together may hand over, and until when a provider asked for a pause.
pace = Table(
    "pace",
    metadata,
    *columns(String, "provider", primary_key=True),
    *columns(Time, "next_slot", "closed_until", nullable=True),
)

tick = Table(
    "tick",
    metadata,
    *columns(Integer, "id", primary_key=True),
    *columns(Time, "at"),
    *columns(String, "host"),
)

# Each run of the pager command, by its nudge.
call = Table(
    "call",
    metadata,
    *columns(String, "incident", "notice", primary_key=True),
    *columns(Time, "at"),
    *columns(Time, "ended_at", nullable=True),
    # accepted (it exited with 0), rejected, or unknown: it began, and nothing more is known.
    *columns(Named(State), "state"),
    *columns(String, "detail"),
)

# Handovers of an incident: the person who took the last one is on duty.
duty = Table(
    "duty",
    metadata,
    *columns(Integer, "id", primary_key=True),
    *columns(String, "incident", index=True),
    *columns(String, "person", "offered_by"),
    *columns(Time, "offered_at"),
    *columns(String, "note", server_default=""),
    *columns(String, "taken_by", nullable=True),
    *columns(Time, "taken_at", nullable=True),
)

# What readers answered to "did we keep you well informed?", counted elsewhere and entered by somebody.
feedback = Table(
    "feedback",
    metadata,
    *columns(Integer, "id", primary_key=True),
    *columns(String, "incident", index=True),
    *columns(Integer, "yes", "no"),
    *columns(String, "by"),
    *columns(Time, "at"),
)

# Incident files that are over and fully sent: a tick reads one again only when it changes.
judged = Table(
    "judged",
    metadata,
    *columns(String, "path", primary_key=True),
    *columns(String, "digest", "incident"),
    *columns(Time, "at"),
)


# The one place that says which broadcasts count: while a list is still being filled, only the process filling
# it, and an erasure, may see it. Everything else reads broadcasts from here.
frozen_broadcast = select(broadcast).where(broadcast.c.state == BroadcastState.FROZEN).subquery("frozen")
# The same for a delivery whose broadcast is not joined. Evaluated once per statement, not once per row.
IS_FROZEN: ColumnElement[bool] = delivery.c.broadcast.in_(select(frozen_broadcast.c.id).correlate(None))

# A broadcast's deliveries by all columns of their UNIQUE key, so that the database uses its index.
IN_FROZEN: ColumnElement[bool] = and_(
    *(delivery.c[name] == frozen_broadcast.c[name] for name in ("incident", "notice", "channel"))
)

# Spelled exactly like the conditions of the partial indexes: otherwise SQLite doesn't use these indexes and
# reads the whole table.
IS_PENDING: ColumnElement[bool] = delivery.c.state == literal_column("'pending'")
IS_OPEN: ColumnElement[bool] = delivery.c.state.in_([literal_column("'claimed'"), literal_column("'held'")])
# Of a broadcast that is joined: whether it has deliveries that wait, and whether any wait or are open.
HAS_PENDING: ColumnElement[bool] = (
    select(delivery.c.id).where(delivery.c.broadcast == frozen_broadcast.c.id, IS_PENDING).exists()
)
# In two halves, because each has its own index.
HAS_MORE: ColumnElement[bool] = or_(
    HAS_PENDING, frozen_broadcast.c.id.in_(select(delivery.c.broadcast).where(IS_OPEN))
)

# A text that promises another text: its readers get no email.
IS_TEXT_PROMISE: ColumnElement[bool] = and_(
    composition.c.next_update_by.is_not(None),
    composition.c.context["next_word"].as_string() == NextWord.UPDATE.value,
)
# A person's words that are written anew if the time that they name passed before they could be sent. Not
# those for readers who may have had them, nor texts that name no time.
IS_WRITTEN_ANEW: ColumnElement[bool] = and_(
    delivery.c.notice.like("update:%"),
    delivery.c.doubted == 0,
    or_(
        delivery.c.channel == Channel.EMAIL,
        delivery.c.composition.in_(select(composition.c.id).where(composition.c.next_update_by.is_not(None))),
    ),
)


def fields_of(kind: Any, table: FromClause) -> list[ColumnElement[Any]]:
    """Return the columns of a table that the annotated fields of a class are called after."""
    return [table.c[name] for name in kind.__annotations__]


@event.listens_for(metadata, "before_create")
def _make_partial(_metadata: MetaData, connection: Connection, **_: Any) -> None:
    """Make indexes partial in PostgreSQL too; an option above would import that dialect every time."""
    if connection.dialect.name == "postgresql":
        for table in metadata.tables.values():
            for index in table.indexes:
                if condition := index.info.get("where"):
                    index.dialect_kwargs["postgresql_where"] = text(condition)


def said_to_readers(incident: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that an incident's id is not the one of messages to its own people."""
    return not_(incident.startswith(OWN_STORY, autoescape=True))


def given_up() -> Case[str]:
    """Return the state of a delivery that will not be sent any more.

    It stays `unknown` if an earlier attempt may have arrived.
    """
    return case((delivery.c.doubted == 1, State.UNKNOWN), else_=State.SKIPPED)


def insert_unless_there(connection: Connection, table: Table) -> Insert:
    """Return an insert that does nothing for a row whose UNIQUE key is already there."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table).on_conflict_do_nothing()


class Prepared:
    """A statement that is built and compiled when first run; later runs go straight to the driver."""

    def __init__(self, build: Callable[[], Executable]) -> None:
        self._build = build
        self._compiled: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {}

    def run(self, connection: Connection, **values: object) -> CursorResult[Any]:
        """Run it. `values` are those of its bind parameters, as the database stores them."""
        sql, names, fixed = self._for(connection)
        return connection.exec_driver_sql(sql, tuple(values.get(name, fixed.get(name)) for name in names))

    def rows(self, connection: Connection, **values: object) -> list[list[Any]]:
        """Run a statement made with `as_one`; return its rows."""
        found: list[list[Any]] = json.loads(self.run(connection, **values).scalar_one())
        return found

    def _for(self, connection: Connection) -> tuple[str, tuple[str, ...], dict[str, Any]]:
        kind = connection.dialect.name
        if kind not in self._compiled:
            made: Any = self._build().compile(dialect=connection.dialect)  # type: ignore[attr-defined]
            fixed = {
                name: str(value) if isinstance(value, str) else value for name, value in made.params.items()
            }
            self._compiled[kind] = (str(made), tuple(made.positiontup), fixed)
        return self._compiled[kind]


def as_one(rows: Select[Any]) -> Select[Any]:
    """Return a statement that gives all rows of another as one JSON document, one list per row."""
    table = rows.subquery()
    # JSON columns go in as they are, not as text.
    columns = (func.json(each) if isinstance(each.type, JSON) else each for each in table.c)
    return select(func.json_group_array(func.json_array(*columns)))


def given(texts: ColumnElement[Any]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the two columns, number and text, of a JSON parameter that maps numbers to texts."""
    table = func.json_each(texts).table_valued("key", "value")
    return cast(table.c.key, Integer), table.c.value


def listed(parameter: ColumnElement[Any]) -> Select[Any]:
    """Return the numbers or texts in a JSON list parameter, for use with IN."""
    return select(func.json_each(parameter).table_valued("value", joins_implicitly=True).c.value)


def one_of(
    connection: Connection, column: ColumnElement[Any], values: Sequence[str] | Sequence[int]
) -> ColumnElement[bool]:
    """Return the condition that a column holds one of many values, passed as a single parameter."""
    if connection.dialect.name == "postgresql":
        return column.in_(values)
    return column.in_(listed(literal(as_json(values))))


def as_json(rows: Sequence[int] | Sequence[str] | Mapping[int, str]) -> str:
    """Return the JSON that `given` and `listed` read."""
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
