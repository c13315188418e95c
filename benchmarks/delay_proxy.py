"""A relay some way off: passes bytes on after half a round trip, in order, as many at once as come.

    python -m benchmarks.delay_proxy PORT ROUND_TRIP_SECONDS

Bandwidth is not limited. Opening a connection costs nothing extra, so who reconnects is not punished more
than over a real line.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import cast


class End(asyncio.Protocol):
    """One end of a connection; what it reads is written by its `other` end later."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.other: End | None = None
        self.transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, bytes]] = deque()  # b"" is the end of the stream
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own, which is none by its class

    def data_received(self, data: bytes) -> None:
        self._later(data)

    def eof_received(self) -> bool:
        self._later(b"")
        return True

    def connection_lost(self, _error: Exception | None) -> None:
        self._later(b"")

    def _later(self, data: bytes) -> None:
        self._waiting.append((self._loop.time() + self.delay, data))
        if self._timer is None:
            self._timer = self._loop.call_later(self.delay, self._pass_on)

    def _pass_on(self) -> None:
        self._timer = None
        if self.other is None or self.other.transport is None:  # not connected yet
            self._timer = self._loop.call_later(0.001, self._pass_on)
            return
        # Half a millisecond is what a timer is off by; else each would wait for a further turn.
        now = self._loop.time() + 0.0005
        while self._waiting and self._waiting[0][0] <= now:
            _, data = self._waiting.popleft()
            if data:
                self.other.transport.write(data)
            else:
                self.other.transport.close()
        if self._waiting:
            self._timer = self._loop.call_later(max(0.0, self._waiting[0][0] - now), self._pass_on)


async def serve(port: int, delay: float) -> None:
    """Listen on a port of our own, print it, and pass connections on to `port`."""
    loop = asyncio.get_running_loop()
    opening: set[asyncio.Task[None]] = set()

    def accept() -> End:
        near = End(delay)

        async def connect() -> None:
            far = End(delay)
            far.other, near.other = near, far
            try:
                await loop.create_connection(lambda: far, "127.0.0.1", port)
            except OSError:
                if near.transport is not None:
                    near.transport.close()

        task = loop.create_task(connect())
        opening.add(task)
        task.add_done_callback(opening.discard)
        return near

    server = await loop.create_server(accept, "127.0.0.1", 0, backlog=1024)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop  # here, so that the process that measures stays small

    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 2))
