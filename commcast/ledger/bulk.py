"""Rows of a freeze gather beside the ledger and go into it in order of address, while more are being read.

An index of a million addresses in the order of a list is written page by page at random: each transaction
rewrites most of it. So rows gather in a temporary table of the ledger's own connection, which locks nobody
out, and move in order of address, some thousands a transaction. What has gathered before it moves doubles, so
that however long a list is, each page of the index is written a few times only.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from itertools import chain
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection

from commcast.ledger import tables
from commcast.ledger.broadcasts import Broadcast, check_still_filling
from commcast.ledger.location import named_errors
from commcast.ledger.store import Ledger
from commcast.ledger.tables import insert_unless_there, stamp

# key, address, audience, composition, recipient as JSON, digest, state, reason, not_before, expires_at
GatheredRow = tuple[str, str, str, int | None, str, str, str, str, str | None, str | None]

_OWN = ("key", "address", "audience", "composition", "recipient", "digest", "state", "reason")
_COLUMNS = (*_OWN, "not_before", "expires_at")
_LIST = ", ".join(_COLUMNS)
_SHARED = "broadcast, incident, notice, channel, changed_at"
MOVED_AT_ONCE = 20_000  # rows a transaction: a quarter of a second, for which others wait
_AT_ONCE = 1_000  # rows a statement; SQLite takes 32,766 parameters
_UNDER_WAY = 2  # of these wait for the database; more would only take memory


class Gathering:
    """Takes the rows of one broadcast that is freezing, in a thread of its own.

    `add` and `end_of_part` return at once unless the database is behind; what goes wrong there is raised by
    one of the next calls, at the latest by `finish`. Rows that were added are in the ledger after `finish`.
    Left by an error, it moves no more; what has moved is for the caller to take back.
    """

    def __init__(self, ledger: Ledger, broadcast: Broadcast, now: datetime) -> None:
        self._ledger, self._broadcast, self._now = ledger, broadcast, now
        self._pool = ThreadPoolExecutor(1, "gathering")
        self._under_way: deque[Future[None]] = deque()
        self._rows: list[GatheredRow] = []
        self._gathered, self._moved = 0, 0
        self._given_up = False

    def __enter__(self) -> Self:
        with named_errors(self._ledger.path):
            self._connection = self._ledger.engine.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._given_up = error is not None
        try:
            self._pool.shutdown(wait=True, cancel_futures=True)
        finally:
            if self._given_up:
                self._connection.invalidate()  # with it goes what is left of the temporary table
            self._connection.close()

    def add(self, rows: Sequence[GatheredRow]) -> None:
        """Take rows. Raises what an earlier call met: LedgerError, or TryAgain where the freeze was lost."""
        self._rows.extend(rows)
        while len(self._rows) >= _AT_ONCE:
            self._submit(self._gather, self._rows[:_AT_ONCE])
            del self._rows[:_AT_ONCE]

    def end_of_part(self) -> None:
        """Let what was added so far go before what follows: an audience of better rank is told first."""
        if self._rows:
            self._submit(self._gather, self._rows)
            self._rows = []
        self._submit(self._move)

    def finish(self) -> None:
        """Return when all is in the ledger. Raises as `add` does."""
        self.end_of_part()
        self._wait(0)

    def _submit(self, work: Any, *given: Any) -> None:
        self._under_way.append(self._pool.submit(work, *given))
        self._wait(_UNDER_WAY)

    def _wait(self, most: int) -> None:
        while len(self._under_way) > most:
            self._under_way.popleft().result()

    def _gather(self, rows: Sequence[GatheredRow]) -> None:
        if self._connection.dialect.name != "sqlite":
            with self._transaction(reads=False) as connection:
                add_in_order(connection, self._broadcast, rows, self._now)
            return
        with self._transaction(reads=True) as connection:  # takes no lock on the ledger
            if not self._gathered:
                connection.exec_driver_sql(f"create temp table gathered ({_LIST})")
            connection.exec_driver_sql(_gather_sql(len(rows)), tuple(chain.from_iterable(rows)))
        self._gathered += len(rows)
        if self._gathered >= max(MOVED_AT_ONCE, self._moved):
            self._move()

    def _move(self) -> None:
        """Put what has gathered into the ledger, in order of address."""
        if not self._gathered:
            return
        with self._transaction(reads=True) as connection:
            connection.exec_driver_sql("create index temp.in_order on gathered (key)")
        last: str | None = ""
        while last is not None and not self._given_up:
            last = self._move_some(last)
        with self._transaction(reads=True) as connection:
            connection.exec_driver_sql("drop table temp.gathered")
        self._moved += self._gathered
        self._gathered = 0

    def _move_some(self, after: str) -> str | None:
        """Move rows behind an address; return the last one's, None where there are no more."""
        broadcast = self._broadcast
        shared = (broadcast.id, broadcast.incident, broadcast.notice, broadcast.channel, stamp(self._now))
        with self._transaction(reads=False) as connection:
            check_still_filling(connection, broadcast)
            further = connection.exec_driver_sql(
                _END_OF_SOME, (after, MOVED_AT_ONCE - 1)
            ).scalar_one_or_none()
            if further is None:
                connection.exec_driver_sql(_MOVE.format(""), (*shared, after))
            else:
                connection.exec_driver_sql(_MOVE.format("and key <= ?"), (*shared, after, further))
        return further

    @contextmanager
    def _transaction(self, *, reads: bool) -> Iterator[Connection]:
        with named_errors(self._ledger.path):
            self._connection.execution_options(commcast_reads=reads)
            with self._connection.begin():
                yield self._connection


_END_OF_SOME = "select key from temp.gathered where key > ? order by key limit 1 offset ?"
_MOVE = (
    f"insert into delivery ({_SHARED}, {_LIST}) select ?, ?, ?, ?, ?, {_LIST} from temp.gathered "  # noqa: S608
    "where key > ? {} order by key on conflict do nothing"
)


@lru_cache(maxsize=2)  # one size but for the end of a part: SQLite takes long to prepare it, and keeps it
def _gather_sql(rows: int) -> str:
    places = "(" + ", ".join("?" * len(_COLUMNS)) + ")"
    return f"insert into temp.gathered values {', '.join([places] * rows)}"  # noqa: S608


def add_in_order(
    connection: Connection, broadcast: Broadcast, rows: Sequence[GatheredRow], now: datetime
) -> None:
    """Put rows into a broadcast that is freezing, without a temporary table: for any database."""
    check_still_filling(connection, broadcast)
    shared = {
        "broadcast": broadcast.id,
        "incident": broadcast.incident,
        "notice": broadcast.notice,
        "channel": broadcast.channel,
        "changed_at": stamp(now),
    }
    values = [
        {**shared, **dict(zip(_COLUMNS, row, strict=True)), "recipient": json.loads(row[4])}
        for row in sorted(rows)
    ]
    if values:
        connection.execute(insert_unless_there(connection, tables.delivery), values)
