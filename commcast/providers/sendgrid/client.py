"""The SDK behind a connection that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import io
import logging
import re
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.error import URLError
from urllib.parse import quote

import python_http_client
import sendgrid

from commcast.config.settings import CONFIG_NAME
from commcast.errors import Fault, ProviderError
from commcast.providers.http import LONGEST_BODY, HttpAnswer, NoAnswer

_PIECE = 1 << 16
_DIAL = 10.0  # seconds for one address of the server: a dead IPv6 route leaves time for the next address


class CutError(Exception):
    """The request was given up before its first byte had left."""


class _TooLongError(http.client.HTTPException):
    """The answer is longer than any that makes sense."""


class CuttableConnection:
    """One request's connection, as the thread that speaks on it and the loop that may cut it both see it.

    After `cut` no first byte leaves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent = self._is_cut = False
        # A second handle on the same connection: TLS takes the first one apart, and SSLSocket.shutdown would
        # let a thread that is about to write go on in the clear.
        self._handle: socket.socket | None = None

    @property
    def sent(self) -> bool:
        """Whether any byte of the request may have left."""
        with self._lock:
            return self._sent

    def hold(self, sock: socket.socket) -> None:
        """Take note of the connection. Raises CutError where the request is given up."""
        with self._lock:
            if self._is_cut:
                raise CutError
            self._handle = sock.dup()

    def speak(self) -> None:
        """Say that the next byte belongs to the request. Raises CutError where the request is given up."""
        with self._lock:
            if self._is_cut:
                raise CutError
            self._sent = True

    def cut(self) -> bool:
        """End the connection; return whether any byte of the request may have left."""
        with self._lock:
            self._is_cut = True
            if self._handle is not None:
                with contextlib.suppress(OSError):  # the other side was quicker
                    self._handle.shutdown(socket.SHUT_RDWR)
            return self._sent

    def close(self) -> None:
        """Let go of the connection: the thread is done with it."""
        with self._lock:
            self._is_cut = True
            if self._handle is not None:
                self._handle.close()
                self._handle = None


class Client(python_http_client.Client):  # type: ignore[misc]
    """The SDK's client with an opener of ours; the SDK's own follows redirects and takes the key along."""

    def __init__(
        self,
        opener: urllib.request.OpenerDirector,
        host: str,
        headers: dict[str, str],
        timeout: float,
        path: list[str] | None = None,
    ) -> None:
        super().__init__(host, request_headers=headers, version=3, url_path=path, timeout=timeout)
        self.opener_of = opener

    def _build_client(self, name: str | None = None) -> Client:
        path = [*self._url_path, name] if name else self._url_path
        return Client(self.opener_of, self.host, self.request_headers, self.timeout, path)

    def _make_request(
        self, _theirs: object, request: urllib.request.Request, timeout: float | None = None
    ) -> _Reply:
        with self.opener_of.open(request, timeout=timeout or self.timeout) as response:
            return _Reply(response.status, response.headers, _read(response))


@dataclass(frozen=True, slots=True)
class _Reply:
    """A whole answer in the shape in which the SDK reads one."""

    status: int
    headers: Message
    body: bytes

    def getcode(self) -> int:
        return self.status

    def read(self) -> bytes:
        return self.body

    def info(self) -> Message:
        return self.headers


class Handler(urllib.request.AbstractHTTPHandler):
    """Opens http and https over a line; `trust` gives the authorities."""

    def __init__(self, line: CuttableConnection, trust: Callable[[], ssl.SSLContext]) -> None:
        super().__init__(debuglevel=0)
        self._line, self._trust = line, trust

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_Connection, self._line), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        made = functools.partial(_SecureConnection, self._line)
        return self.do_open(made, request, context=self._trust())

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_


class _Reader(io.BufferedReader):
    """Reads whole lines only: http.client takes the end of a connection for the end of the headers."""

    def readline(self, limit: int | None = -1) -> bytes:
        line = super().readline(limit)
        if not line.endswith(b"\n") and len(line) != limit:
            raise http.client.IncompleteRead(b"")
        return line


class _Response(http.client.HTTPResponse):
    """An answer whose head has to be whole."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.fp = _Reader(self.fp.detach())


class _Connection(http.client.HTTPConnection):
    """A connection that asks its line before each byte of the request."""

    response_class = _Response
    _create_connection: Callable[..., socket.socket]

    def __init__(self, line: CuttableConnection, host: str, **settings: Any) -> None:
        super().__init__(host, **settings)
        self._line, self._is_open = line, False
        self._create_connection = self._dial

    def connect(self) -> None:
        super().connect()
        self._is_open = True

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if self._is_open:  # until then it is the words to a proxy, which hold nothing of the request
            self._line.speak()
        super().send(data)

    def _dial(self, address: tuple[str, int], timeout: float, source: Any = None) -> socket.socket:
        sock = socket.create_connection(address, min(timeout, _DIAL), source)
        try:
            sock.settimeout(timeout)
            self._line.hold(sock)
        except BaseException:
            sock.close()
            raise
        return sock


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    """The same over TLS."""


def opener_of(handler: Handler) -> urllib.request.OpenerDirector:
    """Return an opener that knows proxies, and neither redirects nor logins nor any other kind of URL."""
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.ProxyHandler())
    opener.add_handler(handler)
    return opener


def _read(response: http.client.HTTPResponse) -> bytes:
    """Return the whole body. Raises IncompleteRead where less came than was promised: read(n) does not."""
    whole = bytearray()
    while piece := response.read(_PIECE):
        whole += piece
        if len(whole) > LONGEST_BODY:
            raise _TooLongError
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return bytes(whole)


OWN_ID = "commcast_delivery"  # the custom argument that holds a mail's Message-ID without its brackets

_KEY = re.compile(r"[!-~]{1,500}")
# At DEBUG it logs each request's key and payload. A filter, since logging.config switches loggers on again.
_logger = logging.getLogger("python_http_client.client")
# The first line that fits counts; what none fits is garbage.
_BEFORE: tuple[tuple[type[Exception], NoAnswer], ...] = (
    (socket.gaierror, NoAnswer.UNRESOLVED),
    (UnicodeError, NoAnswer.UNRESOLVED),  # a name that cannot even be asked for
    (ssl.SSLCertVerificationError, NoAnswer.CERTIFICATE),
    (ssl.SSLError, NoAnswer.HANDSHAKE),
    (OSError, NoAnswer.UNREACHABLE),
)
_AFTERWARDS: tuple[tuple[type[Exception], NoAnswer], ...] = (
    (TimeoutError, NoAnswer.SILENCE),
    (OSError, NoAnswer.LOST),
    (http.client.IncompleteRead, NoAnswer.LOST),
)


def checked_key(key: str | None) -> str:
    """Return the key without the white space around it. Raises ProviderError where it cannot be one."""
    key = (key or "").strip()
    if _KEY.fullmatch(key):
        return key
    what = "is not a key: it holds more than plain characters" if key else "has no key"
    raise ProviderError(
        "sendgrid", Fault(CONFIG_NAME, 0, 0, f"providers.sendgrid: {what}", "set SENDGRID_API_KEY")
    )


class SendGridClient:
    """The Web API of one account.

    `timeout` is the total of a request in seconds: an answer that comes slowly ends there as well. Each
    request has a connection of its own, since one kept from before may be closed by the other side at the
    moment it is used, which would make a whole request unknown. Proxies are found as urllib finds them.
    Raises ProviderError where the key cannot be one.
    """

    def __init__(self, base_url: str, key: str, timeout: float) -> None:
        _logger.addFilter(_mute)
        self._base_url, self._key, self._timeout = base_url, checked_key(key), timeout
        self._open: dict[CuttableConnection, asyncio.Future[HttpAnswer]] = {}

    async def post_mail(self, body: dict[str, Any]) -> HttpAnswer:
        """Hand over one mail/send request, once."""
        return await self._ask(lambda client: client.mail.send.post(request_body=body))

    async def get(self, path: Sequence[str], query: Mapping[str, str]) -> HttpAnswer:
        """Read what stands at /v3/ and the path's parts."""

        def ask(client: Any) -> Any:
            for part in path:
                client = client._(quote(part, safe=""))
            return client.get(query_params=dict(query))

        return await self._ask(ask)

    def abort_all(self) -> None:
        """Cut all connections; who waits for an answer gets one that says whether anything was sent."""
        for line, answer in tuple(self._open.items()):
            sent = line.cut()
            if not answer.done():
                answer.set_result(HttpAnswer(trouble=NoAnswer.LOST, sent=sent))

    async def _ask(self, call: Callable[[Any], Any]) -> HttpAnswer:
        loop = asyncio.get_running_loop()
        line, answer = CuttableConnection(), loop.create_future()
        self._open[line] = answer
        # A thread a request, and a daemon: a pool's threads would be waited for when the program ends.
        work = functools.partial(self._work, call, line, loop, answer)
        threading.Thread(target=work, name="sendgrid", daemon=True).start()
        try:
            await asyncio.wait([answer], timeout=self._timeout)
            return answer.result() if answer.done() else HttpAnswer(trouble=NoAnswer.SILENCE, sent=line.cut())
        finally:
            line.cut()
            answer.cancel()
            del self._open[line]

    def _work(
        self,
        call: Callable[[Any], Any],
        line: CuttableConnection,
        loop: asyncio.AbstractEventLoop,
        answer: asyncio.Future[HttpAnswer],
    ) -> None:
        try:
            settle = functools.partial(_settle, answer, self._answered(call, line), None)
        except Exception as error:
            settle = functools.partial(_settle, answer, None, error)
        line.close()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle)

    def _answered(self, call: Callable[[Any], Any], line: CuttableConnection) -> HttpAnswer:
        api = sendgrid.SendGridAPIClient(api_key=self._key, host=self._base_url)
        opener = opener_of(Handler(line, lambda: self._trust))
        api.client = Client(opener, self._base_url, api.client.request_headers, self._timeout)
        try:
            reply = call(api.client)
        except CutError:
            return HttpAnswer(trouble=NoAnswer.LOST, sent=False)
        except Exception as error:
            # Whatever a server makes the HTTP library stumble over; what fails before is a fault of ours.
            if not line.sent and not isinstance(error, (OSError, http.client.HTTPException, UnicodeError)):
                raise
            return HttpAnswer(trouble=_trouble(error, line.sent), sent=line.sent)
        headers = {name.lower(): str(value) for name, value in reply.headers.items()}
        return HttpAnswer(reply.status_code, headers, reply.body.decode(errors="replace"))

    @functools.cached_property
    def _trust(self) -> ssl.SSLContext:
        """The authorities we trust; read from the disk, so by a thread only."""
        return ssl.create_default_context()


def _trouble(error: Exception, sent: bool) -> NoAnswer:
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    kinds = _AFTERWARDS if sent else _BEFORE
    return next((trouble for kind, trouble in kinds if isinstance(cause, kind)), NoAnswer.GARBAGE)


def _settle(answer: asyncio.Future[HttpAnswer], found: HttpAnswer | None, error: Exception | None) -> None:
    if answer.done():
        return  # given up meanwhile
    if found is not None:
        answer.set_result(found)
    elif error is not None:
        answer.set_exception(error)


def _mute(_record: logging.LogRecord) -> bool:
    return False
