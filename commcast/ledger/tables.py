"""The tables, and statements compiled once."""

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
    Index,
    Insert,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    case,
    cast,
    event,
    func,
    literal,
    literal_column,
    not_,
    select,
    text,
)
from sqlalchemy.sql import Executable

# The revision these tables stand for; Alembic is imported only when a ledger holds another one.
REVISION = "0004"

ALL_INCIDENTS = "*"  # in `stop`: every incident
# What the people of an incident are told themselves, nudges above all, is a story of its own: "~pay7".
# Nothing of it counts as told to readers, and a reader's end, cap or stop does not touch it.
OWN_STORY = "~"


class State(StrEnum):
    """The state of a delivery. Terminal but for pending, claimed and held; unknown may be settled later."""

    HELD = "held"
    PENDING = "pending"
    CLAIMED = "claimed"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


WAITING = (State.PENDING, State.HELD)
# Who was, or may have been, told: an answer that was lost may well have been a yes.
MAYBE_TOLD = (State.CLAIMED, State.ACCEPTED, State.UNKNOWN)


class BroadcastState(StrEnum):
    """freezing: rows are still going in, nobody may claim. frozen: list and words are fixed."""

    FREEZING = "freezing"
    FROZEN = "frozen"


def stamp(at: datetime) -> str:
    """Return an aware time as the ledger keeps it."""
    if at.tzinfo is None:
        raise ValueError("the ledger keeps aware times only")
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def unstamp(text: str | None) -> datetime | None:
    """Return a time of the ledger as an aware UTC datetime."""
    return datetime.fromisoformat(text) if text else None


class Time(TypeDecorator[datetime]):
    """An aware time, kept as text that sorts as the times do. What is written may be such a text already."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: datetime | str | None, _dialect: Dialect) -> str | None:
        return stamp(value) if isinstance(value, datetime) else value

    def process_result_value(self, value: str | None, _dialect: Dialect) -> datetime | None:
        return unstamp(value)


class Named(TypeDecorator[StrEnum]):
    """One of the values of an enumeration, kept by its name."""

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
    """What was done about a lost answer: a provider's records were asked, or a person decided.

    restore: a person took a ledger that was older than what was sent; that is where the doubt comes from.
    """

    RECONCILE = "reconcile"
    RESEND = "resend"
    SETTLE = "settle"
    RESTORE = "restore"


metadata = MetaData()


def _texts(*names: str) -> Iterator[Column[str]]:
    """Yield columns of text that is always there."""
    for name in names:
        yield Column(name, String, nullable=False)


def _where(condition: str) -> dict[str, Any]:
    """Return the options that make an index partial; in PostgreSQL `_make_partial` does."""
    return {"sqlite_where": text(condition), "info": {"where": condition}}


# desk: whose ledger this is. secret: keys of Message-IDs and erasure hashes; never leaves the ledger.
# generation: a number that rises before a run's first hand-over and after its last.
meta = Table(
    "meta", metadata, Column("name", String, primary_key=True), Column("value", String, nullable=False)
)

release = Table(
    "release",
    metadata,
    Column("incident", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("digest", String, nullable=False),
    Column("at", Time, nullable=False),
    *_texts("title", "status"),
    Column("severity", Integer, nullable=False),
    Column("next_update_by", Time),
    Column("facts", JSON, nullable=False),
    *_texts("how", "by"),
    Column("released_at", Time, nullable=False),
    Index("release_digest", "digest"),
)

# One notice over one channel to all its recipients.
broadcast = Table(
    "broadcast",
    metadata,
    Column("id", Integer, primary_key=True),
    *_texts("incident", "notice"),
    Column("number", Integer, nullable=False),
    Column("channel", String, nullable=False),
    Column("state", Named(BroadcastState), nullable=False),
    Column("owner", String, nullable=False),
    Column("created_at", Time, nullable=False),
    UniqueConstraint("incident", "notice", "channel"),
    CheckConstraint("state in ('freezing', 'frozen')"),
)

# One group's words, frozen: template sources and context; what differs by person is in `delivery`.
composition = Table(
    "composition",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("broadcast", Integer, ForeignKey("broadcast.id", ondelete="CASCADE"), nullable=False, index=True),
    *_texts("audience", "zone", "locale", "wording"),
    Column("context", JSON, nullable=False),
    Column("envelope", JSON, nullable=False),
    Column("next_update_by", Time),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("broadcast", Integer, ForeignKey("broadcast.id", ondelete="CASCADE"), nullable=False),
    *_texts("incident", "notice", "channel", "key", "address", "audience"),
    Column("composition", Integer, ForeignKey("composition.id")),
    Column("recipient", JSON, nullable=False),
    Column("digest", String, nullable=False),
    Column("state", Named(State), nullable=False),
    Column("reason", String, nullable=False, server_default=""),
    Column("owner", String),
    Column("lease_until", Time),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("not_before", Time),
    Column("expires_at", Time),
    Column("provider", String),
    Column("provider_id", String),
    Column("changed_at", Time, nullable=False),
    # When it was last claimed: it was handed over, if at all, between then and changed_at.
    Column("claimed_at", Time),
    # 1 where a person had it sent again although an earlier hand-over may have arrived.
    Column("doubted", Integer, nullable=False, server_default="0"),
    # What the provider said later of an accepted one: delivered (final), bounced or failed.
    Column("receipt", String),
    Column("receipt_at", Time),
    Column("receipt_detail", String),
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
    Column("channel", String, primary_key=True),
    Column("key", String, primary_key=True),
    *_texts("reason", "by"),
    Column("at", Time, nullable=False),
)

stop = Table(
    "stop",
    metadata,
    Column("id", Integer, primary_key=True),
    *_texts("incident", "by"),
    Column("at", Time, nullable=False),
    Column("lifted_at", Time),
    Column("lifted_by", String),
    Index("stop_in_force", "incident", **_where("lifted_at is null")),
)

# What a person, or a provider's records, made of a delivery whose answer was lost.
act = Table(
    "act",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("delivery", Integer, ForeignKey("delivery.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("what", Named(What), nullable=False),
    Column("became", Named(State), nullable=False),
    *_texts("detail", "by"),
    Column("at", Time, nullable=False),
)

# How fast every process on this ledger together may hand over, and until when a provider asked for a pause.
pace = Table(
    "pace",
    metadata,
    Column("provider", String, primary_key=True),
    Column("next_slot", Time),
    Column("closed_until", Time),
)

tick = Table(
    "tick",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Time, nullable=False),
    Column("host", String, nullable=False),
)

# Each run of the command that calls somebody, by its nudge.
call = Table(
    "call",
    metadata,
    Column("incident", String, primary_key=True),
    Column("notice", String, primary_key=True),
    Column("at", Time, nullable=False),
    Column("ended_at", Time),
    # accepted (it ended with 0), rejected, or unknown: begun, and nothing more is known.
    Column("state", Named(State), nullable=False),
    Column("detail", String, nullable=False),
)

# Who is on duty for an incident, where that was handed over: the last one that was taken counts.
duty = Table(
    "duty",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("incident", String, nullable=False, index=True),
    *_texts("person", "offered_by"),
    Column("offered_at", Time, nullable=False),
    Column("note", String, nullable=False, server_default=""),
    Column("taken_by", String),
    Column("taken_at", Time),
)

# What readers answered to "did we keep you well informed?", counted elsewhere and entered by somebody.
feedback = Table(
    "feedback",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("incident", String, nullable=False, index=True),
    Column("yes", Integer, nullable=False),
    Column("no", Integer, nullable=False),
    Column("by", String, nullable=False),
    Column("at", Time, nullable=False),
)

# Incident files that were found to be over, with all of it told: a tick reads one again when it changes.
judged = Table(
    "judged",
    metadata,
    Column("path", String, primary_key=True),
    *_texts("digest", "incident"),
    Column("at", Time, nullable=False),
)


# The one place that says which broadcasts count: while a list is still going in, nobody but the process that
# fills it, and an erasure, sees anything of it. Whatever else looks up broadcasts looks here.
frozen_broadcast = select(broadcast).where(broadcast.c.state == BroadcastState.FROZEN).subquery("frozen")
# The same of a delivery, where its broadcast is not joined anyway. Listed once a statement, not once a row.
IS_FROZEN: ColumnElement[bool] = delivery.c.broadcast.in_(select(frozen_broadcast.c.id).correlate(None))

# Written out word for word as the partial indexes have them: else SQLite cannot see that it may use them,
# and reads the whole table.
IS_PENDING: ColumnElement[bool] = delivery.c.state == literal_column("'pending'")
IS_OPEN: ColumnElement[bool] = delivery.c.state.in_([literal_column("'claimed'"), literal_column("'held'")])


@event.listens_for(metadata, "before_create")
def _make_partial(_metadata: MetaData, connection: Connection, **_: Any) -> None:
    """Make indexes partial in PostgreSQL, too: naming it above would import that dialect each time."""
    if connection.dialect.name == "postgresql":
        for table in metadata.tables.values():
            for index in table.indexes:
                if condition := index.info.get("where"):
                    index.dialect_kwargs["postgresql_where"] = text(condition)


def said_to_readers(incident: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that an incident's id is not that of what its own people were told."""
    return not_(incident.startswith(OWN_STORY, autoescape=True))


def given_up() -> Case[str]:
    """Return the state of a delivery that is not to go any more.

    Who may have got an earlier hand-over of it stays `unknown`: it is not certain that they were not told.
    """
    return case((delivery.c.doubted == 1, State.UNKNOWN), else_=State.SKIPPED)


def insert_unless_there(connection: Connection, table: Table) -> Insert:
    """Return an insert that leaves a row alone which a UNIQUE key already holds."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table).on_conflict_do_nothing()


class Prepared:
    """A statement made by `build` when it is first run, and handed to the driver as it was compiled then."""

    def __init__(self, build: Callable[[], Executable]) -> None:
        self._build = build
        self._compiled: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {}

    def run(self, connection: Connection, **values: object) -> CursorResult[Any]:
        """Run it. `values` are those of its bind parameters, as the database keeps them."""
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
    """Return a statement that gives all rows of another as one JSON document, a list a row."""
    table = rows.subquery()
    # What is JSON already goes in as it is, not as a text.
    columns = (func.json(each) if isinstance(each.type, JSON) else each for each in table.c)
    return select(func.json_group_array(func.json_array(*columns)))


def given(texts: ColumnElement[Any]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the columns of the table in a JSON parameter that holds texts by number: number, text."""
    table = func.json_each(texts).table_valued("key", "value")
    return cast(table.c.key, Integer), table.c.value


def listed(parameter: ColumnElement[Any]) -> Select[Any]:
    """Return the numbers or texts that a JSON parameter lists, for IN."""
    return select(func.json_each(parameter).table_valued("value", joins_implicitly=True).c.value)


def one_of(connection: Connection, column: ColumnElement[str], texts: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that a column holds one of many texts, all of them in one parameter."""
    if connection.dialect.name == "postgresql":
        return column.in_(texts)
    return column.in_(listed(literal(as_json(texts))))


def as_json(rows: Sequence[int] | Sequence[str] | Mapping[int, str]) -> str:
    """Return what `given` and `listed` read."""
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
