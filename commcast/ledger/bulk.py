"""Gathers a release's rows in a private temporary table beside the ledger, then moves them into it.

Until then the ledger contains nothing of them: SQLite keeps temporary tables in an unlinked file of its own.
So a question can be asked about rows that are ready, and a "no" leaves nothing behind.

Written in list order, a million addresses would touch the pages of their index at random, and each
transaction would rewrite most of it. So rows go in by address: all at once, or thousands per transaction.
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

# The columns below; `words` is the number from add_words, `recipient` is JSON.
GatheredRow = tuple[str, str, str, int | None, str, str, str, str, str | None, str | None]

_COLUMNS = "key, address, audience, words, recipient, digest, state, reason, not_before, expires_at"
_INTO = _COLUMNS.replace("words", "composition")
_OUT_OF = _COLUMNS.replace("words", "(select id from temp.words where number = gathered.words)")
_SHARED = "broadcast, incident, notice, channel, changed_at"
MOVED_AT_ONCE = 20_000  # rows per transaction: others wait for a quarter of a second
_AT_ONCE = 1_000  # rows per statement; SQLite allows 32,766 parameters
_UNDER_WAY = 2  # statements that may wait for the database; more would only take memory


class Gathering:
    """Gathers the rows of some notices, in its own thread and on its own connection.

    `add` and `end_of_part` return at once unless the database is behind; its errors are raised by one of the
    next calls, at the latest by `finish`. With `filling`, the broadcasts of all notices in order, rows go
    into the ledger as they come; otherwise they stay beside it until `move_all` or `move_by_chunks`.
    After an error it moves nothing more; the caller has to delete what has moved.
    """

    def __init__(self, ledger: Ledger, now: datetime, filling: Sequence[Broadcast] = ()) -> None:
        self._ledger, self._now, self._filling = ledger, now, filling
        self._pool = ThreadPoolExecutor(1, "gathering")
        self._under_way: deque[Future[None]] = deque()
        self._rows: dict[int, list[GatheredRow]] = {}  # by part
        self._parts: list[int] = []  # the notice of each part
        self._part_of: dict[int, int] = {}  # the current part of each notice
        self._words: list[tuple[int, Composition]] = []  # each with its notice
        self._known_words = 0  # how many of them are in the ledger
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
                self._connection.invalidate()  # which drops the temporary tables
            self._connection.close()

    def add_words(self, notice: int, composition: Composition) -> int:
        """Take the words of one group of readers; return the number that its rows refer to."""
        self._words.append((notice, composition))
        return len(self._words) - 1

    def add(self, notice: int, rows: Sequence[GatheredRow]) -> None:
        """Take rows of a notice. Raises errors of earlier calls: LedgerError or TryAgain."""
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
        """Put everything added so far before what follows: audiences with a better rank are told first."""
        for part, rows in self._rows.items():
            if rows:
                self._submit(self._gather, part, rows)
        self._rows, self._part_of = {}, {}
        if self._filling:
            self._submit(self._move_gathered)

    def finish(self) -> None:
        """Wait until everything added is in its place. Raises like `add`."""
        self.end_of_part()
        if not self._filling:
            self._submit(self._put_in_order)
        self._wait(0)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield the connection in one transaction that writes. Raises like `Ledger.write`."""
        with self._ledger.naming_errors():
            self._connection.execution_options(commcast_reads=False)
            with self._connection.begin():
                yield self._connection

    def move_all(self, connection: Connection, broadcasts: Sequence[Broadcast]) -> None:
        """Put everything into these broadcasts, one per notice, within the caller's `transaction`."""
        self._put_words(connection, broadcasts)
        for part in range(len(self._parts)):
            self._move_part(connection, part, broadcasts, "")

    def move_by_chunks(self, broadcasts: Sequence[Broadcast]) -> None:
        """Put everything into these broadcasts, `MOVED_AT_ONCE` rows per transaction."""
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
        # Each move is twice as large as the one before, so that index pages are written only a few times.
        if self._filling and self._gathered >= max(MOVED_AT_ONCE, self._moved):
            self._move_gathered()

    def _put_in_order(self) -> None:
        with self._beside() as connection:
            connection.exec_driver_sql("create index temp.in_order on gathered (part, key)")

    def _move_gathered(self) -> None:
        """Move what has gathered into the ledger; then start with an empty table."""
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
        """Move rows after an address in one transaction; return the last address, None at the end."""
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
        until, bound = ("", ()) if last is None else ("and key <= ?", (last,))
        connection.exec_driver_sql(_MOVE.format(until), (*shared, part, after, *bound))

    def _put_words(self, connection: Connection, broadcasts: Sequence[Broadcast]) -> int:
        """Put new words into the ledger and note their ids; return how many they were."""
        new = self._words[self._known_words :]
        for number, (notice, composition) in enumerate(new, self._known_words):
            made = add_composition(connection, broadcasts[notice].id, composition)
            connection.exec_driver_sql("insert or replace into temp.words values (?, ?)", (number, made))
        return len(new)

    @contextmanager
    def _beside(self) -> Iterator[Connection]:
        """Yield the connection in a transaction that touches only the temporary tables."""
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
                + "); make room there, or set SQLITE_TMPDIR to another folder. Nothing was released"
            ) from None


_PARTS = "select distinct part from temp.gathered order by part"
_END_OF_CHUNK = "select key from temp.gathered where part = ? and key > ? order by key limit 1 offset ?"
_MOVE = (
    f"insert into delivery ({_SHARED}, {_INTO}) select ?, ?, ?, ?, ?, {_OUT_OF} from temp.gathered "  # noqa: S608
    "where part = ? and key > ? {} order by key on conflict do nothing"
)


@lru_cache(maxsize=2)  # nearly always one size; SQLite is slow to prepare it, and caches it
def _gather_sql(rows: int) -> str:
    places = "(?" + ", ?" * len(_COLUMNS.split(", ")) + ")"
    return f"insert into temp.gathered values {', '.join([places] * rows)}"  # noqa: S608


def temporary_folder(environment: Mapping[str, str]) -> Path:
    """Return where SQLite keeps its temporary tables (sqlite.org/tempfiles.html, section 5)."""
    named = (environment.get("SQLITE_TMPDIR"), environment.get("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp")  # noqa: S108
    return next((Path(each) for each in named if each and os.access(each, os.W_OK | os.X_OK)), Path())
