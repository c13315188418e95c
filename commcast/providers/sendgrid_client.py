"""SendGrid's official SDK behind one connection a request: it cannot hang, follow, repeat or leak."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import logging
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.error import URLError
from urllib.parse import quote

import sendgrid

from commcast.config import CONFIG_NAME
from commcast.errors import Fault, ProviderError
from commcast.providers.http_answer import HttpAnswer, Trouble
from commcast.providers.sendgrid_http import Client, CutError, Handler, Line, opener_of

OWN_ID = "commcast_delivery"  # the custom argument that holds a mail's Message-ID without its brackets

_KEY = re.compile(r"[!-~]{1,500}")
# At DEBUG it logs each request's key and payload. A filter, since logging.config switches loggers on again.
_logger = logging.getLogger("python_http_client.client")
# The first line that fits counts; what none fits is garbage.
_BEFORE: tuple[tuple[type[Exception], Trouble], ...] = (
    (socket.gaierror, Trouble.UNRESOLVED),
    (UnicodeError, Trouble.UNRESOLVED),  # a name that cannot even be asked for
    (ssl.SSLCertVerificationError, Trouble.CERTIFICATE),
    (ssl.SSLError, Trouble.HANDSHAKE),
    (OSError, Trouble.UNREACHABLE),
)
_AFTERWARDS: tuple[tuple[type[Exception], Trouble], ...] = (
    (TimeoutError, Trouble.SILENCE),
    (OSError, Trouble.LOST),
    (http.client.IncompleteRead, Trouble.LOST),
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
        self._open: dict[Line, asyncio.Future[HttpAnswer]] = {}

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
                answer.set_result(HttpAnswer(trouble=Trouble.LOST, sent=sent))

    async def _ask(self, call: Callable[[Any], Any]) -> HttpAnswer:
        loop = asyncio.get_running_loop()
        line, answer = Line(), loop.create_future()
        self._open[line] = answer
        # A thread a request, and a daemon: a pool's threads would be waited for when the program ends.
        work = functools.partial(self._work, call, line, loop, answer)
        threading.Thread(target=work, name="sendgrid", daemon=True).start()
        try:
            await asyncio.wait([answer], timeout=self._timeout)
            return answer.result() if answer.done() else HttpAnswer(trouble=Trouble.SILENCE, sent=line.cut())
        finally:
            line.cut()
            answer.cancel()
            del self._open[line]

    def _work(
        self,
        call: Callable[[Any], Any],
        line: Line,
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

    def _answered(self, call: Callable[[Any], Any], line: Line) -> HttpAnswer:
        api = sendgrid.SendGridAPIClient(api_key=self._key, host=self._base_url)
        opener = opener_of(Handler(line, lambda: self._trust))
        api.client = Client(opener, self._base_url, api.client.request_headers, self._timeout)
        try:
            reply = call(api.client)
        except CutError:
            return HttpAnswer(trouble=Trouble.LOST, sent=False)
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


def _trouble(error: Exception, sent: bool) -> Trouble:
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    kinds = _AFTERWARDS if sent else _BEFORE
    return next((trouble for kind, trouble in kinds if isinstance(cause, kind)), Trouble.GARBAGE)


def _settle(answer: asyncio.Future[HttpAnswer], found: HttpAnswer | None, error: Exception | None) -> None:
    if answer.done():
        return  # given up meanwhile
    if found is not None:
        answer.set_result(found)
    elif error is not None:
        answer.set_exception(error)


def _mute(_record: logging.LogRecord) -> bool:
    return False
