"""HTTP under Twilio's official SDK: kept connections, one total deadline, and nothing repeated or logged."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import ssl
import urllib.request
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit

import aiohttp
from twilio.http.async_http_client import AsyncTwilioHttpClient
from yarl import URL

from commcast.config import CONFIG_NAME
from commcast.errors import Fault, ProviderError
from commcast.lookups import NamesInThreads
from commcast.providers.http_answer import LONGEST_BODY, HttpAnswer, Trouble

_FAREWELL = 2.0  # seconds that leaving waits for the connections to close
_PIECE = 1 << 16
# The first line that fits counts; what none fits is a lost connection.
_TROUBLES: tuple[tuple[type[BaseException], Trouble], ...] = (
    (aiohttp.ClientConnectorDNSError, Trouble.UNRESOLVED),
    (aiohttp.ClientConnectorCertificateError, Trouble.CERTIFICATE),
    (aiohttp.ClientConnectorSSLError, Trouble.HANDSHAKE),
    (aiohttp.ClientConnectorError, Trouble.UNREACHABLE),
    (aiohttp.ClientHttpProxyError, Trouble.UNREACHABLE),
    (TimeoutError, Trouble.SILENCE),
    (aiohttp.ClientPayloadError, Trouble.LOST),
    (aiohttp.ClientConnectionError, Trouble.LOST),
    (aiohttp.ClientError, Trouble.GARBAGE),
)


class AnsweredError(Exception):
    """Not an error: how an answer leaves the SDK, which would read it, lose its headers, and fail on a
    broken one."""

    def __init__(self, answer: HttpAnswer) -> None:
        super().__init__()
        self.answer = answer


class _Request:
    """One request on its way; `sent` is set before its first byte can leave."""

    def __init__(self) -> None:
        self.sent = False


class SdkHttp(AsyncTwilioHttpClient):  # type: ignore[misc] # the SDK has no types
    """The SDK's way out. Nothing of a request is logged: the SDK would log numbers and bodies."""

    def __init__(self, base_url: str, user: str, secret: str, timeout: float, connections: int) -> None:
        super().__init__(pool_connections=False, logger=_silent())
        self.session: aiohttp.ClientSession | None = None
        self._authorization = "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()
        self._secure = base_url.startswith("https:")
        self._proxy = _proxy(base_url)
        self._deadline, self._connections = timeout, connections
        self._slots = asyncio.Semaphore(connections)

    async def open(self) -> None:
        context = await asyncio.to_thread(ssl.create_default_context) if self._secure else None
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_mark_sent)
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections, resolver=NamesInThreads(), ssl=True if context is None else context
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            trace_configs=[trace],
            trust_env=False,  # it would look for a login in .netrc too
        )

    async def close(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            # The sockets are closed at once; only their end is awaited.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    await session.close()
            await asyncio.sleep(0)  # the turn of the loop in which those who waited go on

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: object = None,  # noqa: ARG002 - aiohttp wants it as a header
        timeout: float | None = None,  # noqa: ARG002 - the SDK passes none; ours is total
        allow_redirects: bool = False,  # noqa: ARG002 - never
    ) -> NoReturn:
        """Ask once, and raise AnsweredError with whatever came."""
        query = "?" + urlencode(params, doseq=True) if params else ""
        head = {**(headers or {}), "Authorization": self._authorization, "Accept-Encoding": "identity"}
        body = urlencode(data, doseq=True).encode() if data else None
        async with self._slots:
            answer = await self._ask(method, URL(url + query, encoded=True), head, body)
        raise AnsweredError(answer)

    async def _ask(self, method: str, url: URL, head: Mapping[str, str], body: bytes | None) -> HttpAnswer:
        request = _Request()
        if self.session is None:  # the context was left while this waited for its turn
            return HttpAnswer(trouble=Trouble.LOST, sent=False)
        try:
            async with (
                asyncio.timeout(self._deadline),
                self.session.request(
                    method,
                    url,
                    headers=head,
                    data=body,
                    allow_redirects=False,
                    proxy=self._proxy,
                    trace_request_ctx=request,
                ) as response,
            ):
                return await _whole(response)
        except (aiohttp.ClientError, OSError) as error:
            return HttpAnswer(trouble=_trouble(error), sent=request.sent)


async def _mark_sent(session: object, context: Any, params: object) -> None:  # noqa: ARG001
    context.trace_request_ctx.sent = True


async def _whole(response: aiohttp.ClientResponse) -> HttpAnswer:
    body = bytearray()
    async for piece in response.content.iter_chunked(_PIECE):
        body += piece
        if len(body) > LONGEST_BODY:
            response.close()
            return HttpAnswer(trouble=Trouble.GARBAGE)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return HttpAnswer(response.status, headers, body.decode("utf-8", "replace"))


def _trouble(error: BaseException) -> Trouble:
    return next((trouble for kind, trouble in _TROUBLES if isinstance(error, kind)), Trouble.LOST)


def _proxy(base_url: str) -> str | None:
    parts = urlsplit(base_url)
    if parts.scheme != "https" or urllib.request.proxy_bypass(parts.netloc):
        return None
    found = urllib.request.getproxies()
    url = found.get("https") or found.get("all")
    if url and urlsplit(url).scheme not in {"http", "https"}:
        what = "providers.twilio: HTTPS_PROXY is no proxy that speaks HTTP"
        raise ProviderError("twilio", Fault(CONFIG_NAME, 0, 0, what, "set it to http://…, or unset it"))
    return url


def _silent() -> logging.Logger:
    logger = logging.Logger("twilio")  # no child of any: nothing switches it on
    logger.disabled = True
    return logger
