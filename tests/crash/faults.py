"""Points at which a child is killed or held, and broken variants: put in from outside, never in the product.

Without more, a point is passed before and after each statement that begins, writes or commits in the ledger,
each call that connects, sends or receives, and each call that makes, syncs, names or removes a file. They
need Python's own event loop: uvloop writes to its sockets in C.
With `of` set to "statement" there is one point before each SQL statement. What SQLite does inside one is C:
there tests/crash/tracing.py kills at system calls.
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

_FILES = ("fsync", "fdatasync", "link", "rename", "replace", "unlink", "fchmod", "mkdir")
_CALLS = dict.fromkeys(("send", "sendall", "sendmsg", "sendto"), "send")
_CALLS |= {"connect": "connect", "recv": "receive", "recv_into": "receive"}
_WRITES = {"insert", "update", "delete", "replace"}


@dataclass(frozen=True)
class Faults:
    """What happens to one child.

    `passages` is a file that gets a line for each point passed. At passage `kill_at` (from 1) of the points
    whose names begin with `of`, the child kills itself; at `hold_at` it writes its process id into the FIFO
    `passages`.held and waits until `passages`.go is closed. `variant` names what is broken in the child.
    """

    passages: str
    kill_at: int = 0
    hold_at: int = 0
    of: str = ""
    variant: str = ""


def statement(number: int, passages: Path) -> Faults:
    """Kill before the `number`th SQL statement; 0 only writes them all down."""
    return Faults(str(passages), kill_at=number, of="statement")


class _Points:
    """Counts the passages of one process, over all its threads."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._log = os.open(faults.passages, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()
        self._passed = 0

    def reach(self, name: str) -> None:
        with self._lock:
            os.write(self._log, f"{name}\n".encode())
            if not name.startswith(self._faults.of):
                return
            self._passed += 1
            if self._passed == self._faults.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()  # no thread goes on until it has arrived
            if self._passed == self._faults.hold_at:
                Path(f"{self._faults.passages}.held").write_text(str(os.getpid()))
                Path(f"{self._faults.passages}.go").read_bytes()

    def around(self, owner: Any, attribute: str, name: str) -> None:
        """Put a point before and after each call of a function, but for what an event loop tells itself."""
        original: Callable[..., Any] = getattr(owner, attribute)

        def wrapped(*given: Any, **named: Any) -> Any:
            if isinstance(given[0], socket.socket) and given[0].family == socket.AF_UNIX:
                return original(*given, **named)
            self.reach(f"before {name}")
            result = original(*given, **named)
            self.reach(f"after {name}")
            return result

        setattr(owner, attribute, wrapped)


def install(faults: Faults) -> None:
    """Put the points and the variant into this process."""
    points = _Points(faults)
    if faults.of == "statement":

        def reach(sql: str) -> None:
            points.reach(f"statement {' '.join(sql.split())}")

        _change_connections(lambda made: made.set_trace_callback(reach))
        return
    os.environ["COMMCAST_EVENT_LOOP"] = "asyncio"
    for attribute in _FILES:
        points.around(os, attribute, f"file {attribute}")
    for attribute, name in _CALLS.items():
        points.around(socket.socket, attribute, name)
    _change_connections(lambda made: made.take(points, faults.variant), factory=_Connection)
    if faults.variant == "claims without bound":  # an adapter's window is no window
        from commcast.providers.smtp.adapter import SmtpAdapter

        SmtpAdapter.window = property(lambda adapter: 10_000, lambda adapter, window: None)  # type: ignore[assignment]


def wait_for_locks(seconds: float) -> None:
    """Set how long this process waits for a locked ledger."""
    _change_connections(lambda made: made.execute(f"pragma busy_timeout={round(seconds * 1000)}"))


def _change_connections(change: Callable[[Any], object], **more: Any) -> None:
    """Change each connection to a ledger that this process opens from now on."""
    original = sqlite3.connect

    def connect(*given: Any, **named: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = original(*given, **{**named, **more})
        change(made)
        return made

    for module in (sqlite3, sqlite3.dbapi2):
        setattr(module, "connect", connect)  # noqa: B010 - it has overloads, and this has not


class _Connection(sqlite3.Connection):
    """A connection to the ledger that passes points, and may be broken on purpose."""

    points: _Points
    variant = ""
    claims = False  # whether this transaction takes deliveries
    owes_commit = False

    def take(self, points: _Points, variant: str) -> None:
        self.points, self.variant = points, variant

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
        if connection.variant == "skips the fsync" and word == "pragma" and "synchronous" in sql:
            sql = "pragma synchronous=off"
        if kind:
            connection.points.reach(f"before {kind}")
        method(sql, *given)
        if kind:
            connection.points.reach(f"after {kind}")
        if connection.variant in _TRIGGERS and word == "pragma" and "secure_delete" in sql:
            super().execute(_TRIGGERS[connection.variant])  # that was the last: the connection is ready
        return self


def _on_delivery(state: str, becomes: str) -> str:
    """Return a trigger of this connection alone, which makes another state of one that is written."""
    change = f"update delivery set {becomes} where id = new.id"  # noqa: S608 - words of this file
    on = f"after update of state on main.delivery when new.state = '{state}'"
    return f"create temp trigger if not exists broken_{state} {on} begin {change}; end"


_TRIGGERS = {
    # `doubted` lets the answer settle what no claim stands for.
    "skips the claim": _on_delivery("claimed", "state = 'pending', doubted = 1"),
    "sends the unknown again": _on_delivery("unknown", "state = 'pending'"),
    "calls it sent when it is claimed": _on_delivery("claimed", "state = 'accepted'"),
}
