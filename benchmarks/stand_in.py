"""SendGrid and Twilio on loopback: reads a request, waits, says yes; counts the readers it was told of.

    python -m benchmarks.stand_in LATENCY_SECONDS

One process answers both, by path. `GET /count` tells at once how many readers were taken, and how many
requests there were.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from benchmarks.children import PYTHON, Void, running

_SENDGRID = b"POST /v3/mail/send "
_TWILIO = b"POST /2010-04-01/Accounts/"
_OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(slots=True)
class Counts:
    """What came in."""

    readers: int = 0
    requests: int = 0


class Http(asyncio.Protocol):
    """One connection: HTTP/1.1 with Content-Length, kept open unless the request says otherwise."""

    def __init__(self, latency: float, counts: Counts) -> None:
        self._latency, self._counts = latency, counts
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._needed = 0  # bytes of the buffer that a whole request takes, 0 before its head is read
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own, which is none by its class

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._is_whole():
            request = bytes(self._buffer[: self._needed])
            del self._buffer[: self._needed]
            self._needed = 0
            self._take(request)

    def _is_whole(self) -> bool:
        if not self._needed:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = bytes(self._buffer[:end]).lower()
            length = head.partition(b"\ncontent-length:")[2].partition(b"\r")[0]
            self._needed = end + 4 + int(length or 0)
        return len(self._buffer) >= self._needed

    def _take(self, request: bytes) -> None:
        if request.startswith(_SENDGRID):
            self._counts.readers += request.count(b'"to":')
            self._counts.requests += 1
            answer = b"HTTP/1.1 202 Accepted\r\nX-Message-Id: benchmark%d\r\n" % self._counts.requests
            body, latency = b"", self._latency
        elif request.startswith(_TWILIO):
            self._counts.readers += 1
            self._counts.requests += 1
            answer = b"HTTP/1.1 201 CREATED\r\nContent-Type: application/json\r\n"
            body = b'{"sid": "SM%032x", "status": "queued", "error_code": null}' % self._counts.requests
            latency = self._latency
        elif request.startswith(b"GET /count "):
            answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            body, latency = json.dumps([self._counts.readers, self._counts.requests]).encode(), 0.0
        else:
            answer, body, latency = b"HTTP/1.1 404 Not Found\r\n", b"{}", 0.0
        closes = b"connection: close" in request.partition(b"\r\n\r\n")[0].lower()
        answer += b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        self._loop.call_later(latency, self._answer, answer, closes)

    def _answer(self, answer: bytes, closes: bool) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)
            if closes:
                self._transport.close()


async def serve(latency: float) -> None:
    """Listen on a port of our own, print it, and answer until we are ended."""
    counts = Counts()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Http(latency, counts), "127.0.0.1", 0, backlog=1024)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def stand_in(latency: float, expected: int, *, at_least: bool = False) -> Iterator[str]:
    """Run a stand-in and yield its URL. Raises Void at the end unless so many readers were handed to it.

    `at_least` is for a load generator that has requests in flight when its time is over.
    """
    command = [PYTHON, "-m", "benchmarks.stand_in", str(latency)]
    with running(command, ready="port ") as (_, line):
        url = f"http://127.0.0.1:{line.split()[1]}"
        yield url
        readers, _requests = count(url)
        if readers != expected and not (at_least and readers > expected):
            raise Void(f"the stand-in should have {expected:,} readers, and has {readers:,}")


def count(url: str) -> tuple[int, int]:
    """Return how many readers and requests a stand-in has counted."""
    try:
        with _OPEN.open(f"{url}/count", timeout=10) as answer:
            readers, requests = json.load(answer)
    except OSError as error:
        raise Void(f"the stand-in does not tell what it counted: {error}") from None
    return int(readers), int(requests)


if __name__ == "__main__":
    import uvloop  # here, so that the process that measures stays small

    uvloop.run(serve(float(sys.argv[1])))
