"""Fault points and broken variants, put into a child from outside: production code holds none of this.

A point is passed before and after each statement that begins, writes or commits in the ledger, each call
that connects, sends or receives, and each call that makes, syncs, names or removes a file. What SQLite does
inside one statement is C: there tests/crash/tracing.py kills at system calls.

Points need Python's own event loop: uvloop writes to its sockets in C (see `Children` and its `plain`).
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

_FILES = ("fsync", "fdatasync", "link", "rename", "replace", "unlink", "fchmod", "mkdir")
_CALLS = {
    "connect": ("connect",),
    "send": ("send", "sendall", "sendmsg", "sendto"),
    "receive": ("recv", "recv_into"),
}
_WRITES = {"insert", "update", "delete", "replace"}


@dataclass(frozen=True)
class Faults:
    """What befalls one child.

    `passages` is a file that gets a line for each point passed. At passage `kill_at` of the point `of` (of
    any, where that is empty), counted from 1, the child kills itself; at `hold_at` it writes its process id
    into the FIFO `passages`.held and waits for the end of what comes from `passages`.go. `busy` is its
    patience with a locked ledger, in seconds. `variant` names what is broken in it.
    """

    passages: str
    kill_at: int = 0
    hold_at: int = 0
    of: str = ""
    busy: float | None = None
    variant: str = ""

    def to_json(self) -> Mapping[str, Any]:
        return asdict(self)


class _Points:
    """Counts the passages of one process, over all its threads."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._log = os.open(faults.passages, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()
        self._passed = 0

    def reach(self, name: str) -> None:
        with self._lock:
            self._passed += self._faults.of in {"", name}
            os.write(self._log, f"{name}\n".encode())
            if self._faults.of not in {"", name}:
                return
            if self._passed == self._faults.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()  # no thread goes on until it has arrived
            if self._passed == self._faults.hold_at:
                Path(f"{self._faults.passages}.held").write_text(str(os.getpid()))
                Path(f"{self._faults.passages}.go").read_bytes()

    def around(
        self, owner: Any, attribute: str, name: str, counts: Callable[..., bool] = lambda *_: True
    ) -> None:
        """Put a point before and after each call of a function for whose first argument `counts`."""
        original: Callable[..., Any] = getattr(owner, attribute)

        def wrapped(*given: Any, **named: Any) -> Any:
            if not counts(*given[:1]):
                return original(*given, **named)
            self.reach(f"before {name}")
            result = original(*given, **named)
            self.reach(f"after {name}")
            return result

        setattr(owner, attribute, wrapped)


def install(faults: Faults) -> None:
    """Put the points and the variant into this process."""
    points = _Points(faults)
    for attribute in _FILES:
        points.around(os, attribute, f"file {attribute}")
    for name, attributes in _CALLS.items():
        for attribute in attributes:
            points.around(socket.socket, attribute, name, _leads_out)
    _watch_ledger(points, faults)
    if faults.variant == "claims without bound":
        _claim_without_bound()


def _leads_out(sock: socket.socket) -> bool:
    return sock.family != socket.AF_UNIX  # an event loop wakes itself up through a pair of these


def _watch_ledger(points: _Points, faults: Faults) -> None:
    original = sqlite3.connect

    def connect(*given: Any, **named: Any) -> sqlite3.Connection:
        if faults.busy is not None:
            named["timeout"] = faults.busy
        made = original(*given, **{**named, "factory": _Connection})
        made = cast(_Connection, made)
        made.points, made.variant = points, faults.variant
        return made

    for module in (sqlite3, sqlite3.dbapi2):
        setattr(module, "connect", connect)  # noqa: B010 - it has overloads, and this has not


class _Connection(sqlite3.Connection):
    """A connection to the ledger that passes points, and may be broken on purpose."""

    points: _Points
    variant = ""
    claims = False  # whether this transaction takes deliveries
    owes_commit = False

    def cursor(self, _factory: object = None) -> _Cursor:  # type: ignore[override]
        return super().cursor(_Cursor)

    def execute(self, sql: str, *given: Any) -> _Cursor:
        return self.cursor().execute(sql, *given)

    def executemany(self, sql: str, *given: Any) -> _Cursor:
        return self.cursor().executemany(sql, *given)

    def commit(self) -> None:
        if not self.in_transaction:
            return
        if self.variant == "commits late" and self.claims:
            self.owes_commit, self.claims = True, False
            return
        self.points.reach("before commit")
        super().commit()
        self.points.reach("after commit")

    def rollback(self) -> None:
        if not self.owes_commit:
            super().rollback()

    def close(self) -> None:
        self.pay()
        super().close()

    def pay(self) -> None:
        """Do the commit that was put off."""
        if self.owes_commit:
            self.owes_commit = False
            super().commit()


class _Cursor(sqlite3.Cursor):
    """A cursor that passes points."""

    def execute(self, sql: str, *given: Any) -> _Cursor:
        return self._do(super().execute, sql, *given)

    def executemany(self, sql: str, *given: Any) -> _Cursor:
        return self._do(super().executemany, sql, *given)

    def _do(self, method: Callable[..., Any], sql: str, *given: Any) -> _Cursor:
        word = sql.split(None, 1)[0].lower()
        connection = cast(_Connection, self.connection)
        if word == "commit":
            connection.commit()
            return self
        if word == "begin":
            connection.pay()
        kind = "begin" if word == "begin" and "immediate" in sql else "write" if word in _WRITES else ""
        connection.claims |= word == "update" and "lease_until" in sql
        sql = _broken(connection.variant, word, sql)
        if kind:
            connection.points.reach(f"before {kind}")
        method(sql, *given)
        if kind:
            connection.points.reach(f"after {kind}")
        if word == "pragma" and "secure_delete" in sql:  # the last: the connection is ready
            for trigger in _TRIGGERS.get(connection.variant, ()):
                super().execute(trigger)
        return self


def _broken(variant: str, word: str, sql: str) -> str:
    if variant == "skips the fsync" and word == "pragma" and "synchronous" in sql:
        return "pragma synchronous=off"
    return sql


def _on_delivery(state: str, becomes: str) -> str:
    """Return a trigger of this connection alone, which makes another state of one that is written."""
    change = f"update delivery set {becomes} where id = new.id"  # noqa: S608 - words of this file
    on = f"after update of state on main.delivery when new.state = '{state}'"
    return f"create temp trigger if not exists broken_{state} {on} begin {change}; end"


_TRIGGERS = {
    # `doubted` lets the answer settle what no claim stands for.
    "skips the claim": (_on_delivery("claimed", "state = 'pending', doubted = 1"),),
    "sends the unknown again": (_on_delivery("unknown", "state = 'pending'"),),
    "calls it sent when it is claimed": (_on_delivery("claimed", "state = 'accepted'"),),
}

VARIANTS = ("commits late", "skips the fsync", "claims without bound", *_TRIGGERS)


def _claim_without_bound() -> None:
    """Let an adapter's window be no window."""
    from commcast.providers.smtp.adapter import SmtpAdapter

    SmtpAdapter.window = property(lambda adapter: 10_000, lambda adapter, window: None)  # type: ignore[assignment]
