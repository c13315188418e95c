"""Rows of a release gather in a private temporary table beside the ledger, then go into it.

Until they go in, the ledger holds nothing of them: SQLite keeps a temporary table in a file of its own that
has no name any more. So a question can be asked over rows that are ready, and a "no" leaves nothing behind.

An index of a million addresses in the order of a list is written page by page at random: each transaction
rewrites most of it. So rows go in by order of address: all at once, or some thousands a transaction.
"""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from commcast.errors import TryAgain
from commcast.ledger.broadcasts import Broadcast, Composition, add_composition, check_still_filling
from commcast.ledger.location import free_bytes
from commcast.ledger.store import Ledger
from commcast.ledger.tables import stamp

# key, address, audience, words (the number that add_words gave), recipient as JSON, digest, state, reason,
# not_before, expires_at
GatheredRow = tuple[str, str, str, int | None, str, str, str, str, str | None, str | None]

_OWN = (
    "key",
    "address",
    "audience",
    "words",
    "recipient",
    "digest",
    "state",
    "reason",
    "not_before",
    "expires_at",
)
_COLUMNS = ", ".join(_OWN)
_INTO = _COLUMNS.replace("words", "composition")
_OUT_OF = _COLUMNS.replace("words", "(select id from temp.words where number = gathered.words)")
_SHARED = "broadcast, incident, notice, channel, changed_at"
MOVED_AT_ONCE = 20_000  # rows a transaction: a quarter of a second, for which others wait
_AT_ONCE = 1_000  # rows a statement; SQLite takes 32,766 parameters
_UNDER_WAY = 2  # of these wait for the database; more would only take memory


class Gathering:
    """Takes the rows of some notices, in a thread of its own, on a connection of its own.

    `add` and `end_of_part` return at once unless the database is behind; what goes wrong there is raised by
    one of the next calls, at the latest by `finish`. With `filling`, the broadcasts of all notices in order,
    rows go into the ledger as they come; else they stay beside it until `move_all` or `move_by_chunks`.
    Left by an error, it moves no more; what has moved is for the caller to take back.
    """

    def __init__(self, ledger: Ledger, now: datetime, filling: Sequence[Broadcast] = ()) -> None:
        self._ledger, self._now, self._filling = ledger, now, filling
        self._pool = ThreadPoolExecutor(1, "gathering")
        self._under_way: deque[Future[None]] = deque()
        self._rows: dict[int, list[GatheredRow]] = {}  # by the part they are of
        self._parts: list[int] = []  # the notice of each part, by their numbers
        self._part_of: dict[int, int] = {}  # the part that each notice's rows go into now
        self._words: list[tuple[int, Composition]] = []  # with the notice they are of
        self._known_words = 0  # so many of them have a number in the ledger
        self.count = 0  # rows gathered
        self._gathered = self._moved = 0
        self._given_up = False

    def __enter__(self) -> Self:
        with self._ledger.naming_errors():
            self._connection = self._ledger.engine.connect()
        with self._beside() as connection:
            connection.exec_driver_sql("create temp table words (number integer primary key, id integer)")
            connection.exec_driver_sql(f"create temp table gathered (part, {_COLUMNS})")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._given_up = error is not None
        try:
            self._pool.shutdown(wait=True, cancel_futures=True)
            if not self._given_up:
                with self._beside() as connection:
                    connection.exec_driver_sql("drop table temp.gathered")
                    connection.exec_driver_sql("drop table temp.words")
        finally:
            if self._given_up:
                self._connection.invalidate()  # with it go the temporary tables
            self._connection.close()

    def add_words(self, notice: int, composition: Composition) -> int:
        """Take the words of one group of a notice's readers; return the number its rows name them by."""
        self._words.append((notice, composition))
        return len(self._words) - 1

    def add(self, notice: int, rows: Sequence[GatheredRow]) -> None:
        """Take rows of a notice. Raises what an earlier call met: LedgerError, or TryAgain."""
        if notice not in self._part_of:
            self._part_of[notice] = len(self._parts)
            self._parts.append(notice)
        part = self._part_of[notice]
        waiting = self._rows.setdefault(part, [])
        waiting.extend(rows)
        self.count += len(rows)
        while len(waiting) >= _AT_ONCE:
            self._submit(self._gather, part, waiting[:_AT_ONCE])
            del waiting[:_AT_ONCE]

    def end_of_part(self) -> None:
        """Let what was added so far go before what follows: an audience of better rank is told first."""
        for part, rows in self._rows.items():
            if rows:
                self._submit(self._gather, part, rows)
        self._rows, self._part_of = {}, {}
        if self._filling:
            self._submit(self._move_gathered)

    def finish(self) -> None:
        """Return when all that was added is in its place. Raises as `add` does."""
        self.end_of_part()
        if not self._filling:
            self._submit(self._put_in_order)
        self._wait(0)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield the connection in one transaction that writes. Raises as `Ledger.write` does."""
        with self._ledger.naming_errors():
            self._connection.execution_options(commcast_reads=False)
            with self._connection.begin():
                yield self._connection

    def move_all(self, connection: Connection, broadcasts: Sequence[Broadcast]) -> None:
        """Put everything into these broadcasts, one for each notice, within the caller's `transaction`."""
        self._put_words(connection, broadcasts)
        for part in range(len(self._parts)):
            self._move_part(connection, part, broadcasts, "")

    def move_by_chunks(self, broadcasts: Sequence[Broadcast]) -> None:
        """Put everything into these broadcasts, some thousand rows a transaction."""
        for part in range(len(self._parts)):
            last: str | None = ""
            while last is not None:
                last = self._move_chunk(part, broadcasts, last)

    def _submit(self, work: Any, *given: Any) -> None:
        self._under_way.append(self._pool.submit(work, *given))
        self._wait(_UNDER_WAY)

    def _wait(self, most: int) -> None:
        while len(self._under_way) > most:
            self._under_way.popleft().result()

    def _gather(self, part: int, rows: Sequence[GatheredRow]) -> None:
        with self._beside() as connection:  # takes no lock on the ledger
            values = chain.from_iterable((part, *row) for row in rows)
            connection.exec_driver_sql(_gather_sql(len(rows)), tuple(values))
        self._gathered += len(rows)
        # What gathers before it moves doubles, so that each page of the index is written a few times only.
        if self._filling and self._gathered >= max(MOVED_AT_ONCE, self._moved):
            self._move_gathered()

    def _put_in_order(self) -> None:
        with self._beside() as connection:
            connection.exec_driver_sql("create index temp.in_order on gathered (part, key)")

    def _move_gathered(self) -> None:
        """Put what has gathered into the ledger; then begin with an empty table."""
        if not self._gathered:
            return
        self._put_in_order()
        with self._beside() as connection:
            parts = connection.exec_driver_sql(_PARTS).scalars().all()
        for part in parts:
            last: str | None = ""
            while last is not None and not self._given_up:
                last = self._move_chunk(part, self._filling, last)
        with self._beside() as connection:
            connection.exec_driver_sql("drop table temp.gathered")
            connection.exec_driver_sql(f"create temp table gathered (part, {_COLUMNS})")
        self._moved += self._gathered
        self._gathered = 0

    def _move_chunk(self, part: int, broadcasts: Sequence[Broadcast], after: str) -> str | None:
        """Move rows behind an address in one transaction; return the last one's, None at the end."""
        with self.transaction() as connection:
            check_still_filling(connection, broadcasts[self._parts[part]])
            words = self._put_words(connection, broadcasts)
            further = connection.exec_driver_sql(_END_OF_CHUNK, (part, after, MOVED_AT_ONCE - 1)).scalar()
            self._move_part(connection, part, broadcasts, after, further)
        self._known_words += words
        return further

    def _move_part(
        self,
        connection: Connection,
        part: int,
        broadcasts: Sequence[Broadcast],
        after: str,
        last: str | None = None,
    ) -> None:
        into = broadcasts[self._parts[part]]
        shared = (into.id, into.incident, into.notice, into.channel, stamp(self._now))
        if last is None:
            connection.exec_driver_sql(_MOVE.format(""), (*shared, part, after))
        else:
            connection.exec_driver_sql(_MOVE.format("and key <= ?"), (*shared, part, after, last))

    def _put_words(self, connection: Connection, broadcasts: Sequence[Broadcast]) -> int:
        """Put new words into the ledger and note their numbers there; return how many they were."""
        new = self._words[self._known_words :]
        for number, (notice, composition) in enumerate(new, self._known_words):
            made = add_composition(connection, broadcasts[notice].id, composition)
            connection.exec_driver_sql("insert or replace into temp.words values (?, ?)", (number, made))
        return len(new)

    @contextmanager
    def _beside(self) -> Iterator[Connection]:
        """Yield the connection in a transaction that touches the temporary tables alone."""
        try:
            self._connection.execution_options(commcast_reads=True)
            with self._connection.begin():
                yield self._connection
        except DBAPIError as error:
            if not isinstance(error.orig, sqlite3.OperationalError):
                raise
            folder = temporary_folder(os.environ)
            free = free_bytes(folder)
            raise TryAgain(
                f"{folder}: rows cannot be kept in the temporary folder ({error.orig}"
                + (f"; {free} bytes free" if free is not None else "")
                + "); make room there, or set SQLITE_TMPDIR to another. Nothing was released by this"
            ) from None


_PARTS = "select distinct part from temp.gathered order by part"
_END_OF_CHUNK = "select key from temp.gathered where part = ? and key > ? order by key limit 1 offset ?"
_MOVE = (
    f"insert into delivery ({_SHARED}, {_INTO}) select ?, ?, ?, ?, ?, {_OUT_OF} from temp.gathered "  # noqa: S608
    "where part = ? and key > ? {} order by key on conflict do nothing"
)


@lru_cache(maxsize=2)  # one size but for the end of a part: SQLite takes long to prepare it, and keeps it
def _gather_sql(rows: int) -> str:
    places = "(" + ", ".join("?" * (len(_OWN) + 1)) + ")"
    return f"insert into temp.gathered values {', '.join([places] * rows)}"  # noqa: S608


def temporary_folder(environment: Mapping[str, str]) -> Path:
    """Return where SQLite keeps its temporary tables (sqlite.org/tempfiles.html, section 5)."""
    named = (environment.get("SQLITE_TMPDIR"), environment.get("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp")  # noqa: S108
    return next((Path(each) for each in named if each and os.access(each, os.W_OK | os.X_OK)), Path())
