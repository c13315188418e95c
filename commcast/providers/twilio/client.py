"""The SDK over kept connections that cannot hang."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import re
import ssl
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import urlencode, urlsplit

import aiohttp
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client
from yarl import URL

from commcast.config.settings import CONFIG_NAME
from commcast.errors import Fault, ProviderError
from commcast.providers.http import LONGEST_BODY, HttpAnswer, NamesInThreads, NoAnswer

_FAREWELL = 2.0  # seconds that leaving waits for the connections to close
_PIECE = 1 << 16
# The first line that fits counts; what none fits is a lost connection.
_TROUBLES: tuple[tuple[type[BaseException], NoAnswer], ...] = (
    (aiohttp.ClientConnectorDNSError, NoAnswer.UNRESOLVED),
    (aiohttp.ClientConnectorCertificateError, NoAnswer.CERTIFICATE),
    (aiohttp.ClientConnectorSSLError, NoAnswer.HANDSHAKE),
    (aiohttp.ClientConnectorError, NoAnswer.UNREACHABLE),
    (aiohttp.ClientHttpProxyError, NoAnswer.UNREACHABLE),
    (TimeoutError, NoAnswer.SILENCE),
    (aiohttp.ClientPayloadError, NoAnswer.LOST),
    (aiohttp.ClientConnectionError, NoAnswer.LOST),
    (aiohttp.ClientError, NoAnswer.GARBAGE),
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
            return HttpAnswer(trouble=NoAnswer.LOST, sent=False)
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
            return HttpAnswer(trouble=NoAnswer.GARBAGE)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return HttpAnswer(response.status, headers, body.decode("utf-8", "replace"))


def _trouble(error: BaseException) -> NoAnswer:
    return next((trouble for kind, trouble in _TROUBLES if isinstance(error, kind)), NoAnswer.LOST)


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


GAVE_UP = frozenset({"failed", "undelivered", "canceled"})  # states of a message that did not arrive
PAGE_SIZE = 1000  # the most that Twilio gives of a list at once
MOST_PAGES = 1000
_SID = r"[0-9a-fA-F]{32}"
_MESSAGE_SID = re.compile(f"(?:SM|MM){_SID}")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_CODE = re.compile(r"[1-9][0-9]{0,5}")
_SECRET = re.compile(r"[!-~]{1,500}")
# A way to the next page. It stays at the same server: it begins with one slash and a plain name.
_NEXT = re.compile(r"/2010-04-01/[A-Za-z0-9_.~!$&'()*+,;=:@%/-]{1,500}(?:\?[!-~]{0,4000})?")


@dataclass(frozen=True)
class Credentials:
    """Who asks Twilio: `user` is the account itself (with its token) or an API key (with its secret)."""

    account_sid: str = field(repr=False)
    user: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def variables(self) -> str:
        """The environment variables that hold them, for who has to mend them."""
        keyed = self.user != self.account_sid
        return "TWILIO_API_KEY and TWILIO_API_SECRET" if keyed else "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Credentials:
        """Return them from the variables TWILIO_ACCOUNT_SID, and TWILIO_AUTH_TOKEN or TWILIO_API_KEY with
        TWILIO_API_SECRET. White space around a value is no part of it. A key is used before the token.

        Raises ProviderError that names each variable which is missing or cannot be right, and no value.
        """
        names = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_API_KEY", "TWILIO_API_SECRET")
        account, token, key, secret = (environ.get(name, "").strip() for name in names)
        faults = [_sid_fault("TWILIO_ACCOUNT_SID", "AC", account)]
        if key or secret:
            faults += [_sid_fault("TWILIO_API_KEY", "SK", key), _secret_fault("TWILIO_API_SECRET", secret)]
        elif token:
            faults.append(_secret_fault("TWILIO_AUTH_TOKEN", token))
        else:
            what = "neither TWILIO_AUTH_TOKEN nor TWILIO_API_KEY with TWILIO_API_SECRET is set"
            faults.append(_fault(what, "set one of them"))
        if found := [fault for fault in faults if fault is not None]:
            raise ProviderError("twilio", found)
        return cls(account, key or account, secret if key else token)


class TwilioClient:
    """The API of one account, for one event loop; its context holds the connections.

    `timeout` is the total of a request in seconds, connecting and reading included; `connections` is how
    many requests run at once, others wait for their turn. A server other than Twilio's own gets all requests.
    A proxy is used for https alone, as urllib finds it (HTTPS_PROXY, NO_PROXY): http goes to this machine.
    """

    def __init__(self, base_url: str, credentials: Credentials, timeout: float, connections: int) -> None:
        self._http = SdkHttp(base_url, credentials.user, credentials.secret, timeout, connections)
        self._sdk = Client(
            credentials.user,
            credentials.secret,
            credentials.account_sid,
            http_client=self._http,
            # An empty one is replaced by the process's own, where TWILIO_EDGE and TWILIO_REGION change hosts.
            environment={"TWILIO_ACCOUNT_SID": credentials.account_sid},
        )
        self._base_url = base_url.rstrip("/")
        self._account_sid = credentials.account_sid
        self._sdk.api.base_url = self._base_url
        self._sdk.messaging.base_url = _messaging_url(self._base_url)

    async def __aenter__(self) -> Self:
        await self._http.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    async def create_message(self, **fields: Any) -> HttpAnswer:
        """Hand over a message; the fields are those of the SDK's `messages.create`. It is asked once."""
        return await _answered(self._sdk.messages.create_async(**fields))

    async def list_messages(self, **filters: Any) -> AsyncIterator[HttpAnswer]:
        """Yield each page of the messages; the filters are those of the SDK's `messages.list`.

        An answer that is no page is the last. So is a page whose way to the next leads elsewhere, in a circle
        or on for ever: after it comes one that is garbage.
        """
        page = await _answered(self._sdk.messages.page_async(page_size=PAGE_SIZE, **filters))
        gone: set[str] = set()
        while True:
            yield page
            way = _way_on(page)
            if not way:
                return
            if way in gone or not _leads_on(way) or len(gone) >= MOST_PAGES:
                yield HttpAnswer(trouble=NoAnswer.GARBAGE)
                return
            gone.add(way)
            page = await _answered(self._sdk.request_async("GET", self._base_url + way))

    async def account(self) -> HttpAnswer:
        """Ask for the account itself."""
        return await _answered(self._sdk.api.v2010.accounts(self._account_sid).fetch_async())

    async def balance(self) -> HttpAnswer:
        """Ask for the account's money."""
        return await _answered(self._sdk.balance.fetch_async())

    async def numbers_like(self, number: str) -> HttpAnswer:
        """Ask for the account's own numbers that hold this one."""
        return await _answered(self._sdk.incoming_phone_numbers.page_async(phone_number=number))

    async def messaging_service(self, sid: str) -> HttpAnswer:
        """Ask for a messaging service."""
        return await _answered(self._sdk.messaging.v1.services(sid).fetch_async())


def sendable(text: str) -> str:
    """Return the text as it can go over HTTP: lone surrogates become U+FFFD, NUL goes."""
    return text.replace("\x00", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_e164(number: str) -> bool:
    """Whether this is a number with its country code, as Twilio wants it."""
    return bool(_E164.fullmatch(number))


def message_sid(found: Mapping[str, Any]) -> str:
    """Return Twilio's name for a message, "" where there is none that can be one."""
    sid = found.get("sid")
    return sid if isinstance(sid, str) and _MESSAGE_SID.fullmatch(sid) else ""


def error_code(found: object) -> str:
    """Return Twilio's number for an error, "" where this is none."""
    code = str(found) if isinstance(found, int | str) else ""
    return code if _CODE.fullmatch(code) else ""


def parsed(answer: HttpAnswer) -> dict[str, Any]:
    """Return the object that an answer holds; empty where it holds none."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


async def _answered(asking: Awaitable[object]) -> HttpAnswer:
    try:
        await asking
    except AnsweredError as answered:
        return answered.answer
    raise AssertionError("the SDK asked nothing")


def _way_on(page: HttpAnswer) -> str:
    """Return the way to the next page as Twilio gives it, "" where this is the last."""
    way = parsed(page).get("next_page_uri") if page.trouble is None and page.status == 200 else None
    return way if isinstance(way, str) else ""


def _leads_on(way: str) -> bool:
    climbs = ".." in way.partition("?")[0] or "%2e" in way.lower()
    return bool(_NEXT.fullmatch(way)) and not climbs


def _messaging_url(base_url: str) -> str:
    """Return where messaging services are asked for: beside the API at Twilio, else at the same server."""
    parts = urlsplit(base_url)
    if re.fullmatch(r"api\.(?:[a-z0-9-]+\.)*twilio\.com", parts.netloc):
        return f"{parts.scheme}://messaging.{parts.netloc.removeprefix('api.')}"
    return base_url


def _sid_fault(name: str, prefix: str, value: str) -> Fault | None:
    if re.fullmatch(prefix + _SID, value):
        return None
    what = f"{name} is not {prefix} and 32 hexadecimal digits" if value else f"{name} is not set"
    return _fault(what, "copy it from https://console.twilio.com/")


def _secret_fault(name: str, value: str) -> Fault | None:
    if _SECRET.fullmatch(value):
        return None
    what = f"{name} holds more than plain characters" if value else f"{name} is not set"
    return _fault(what, "copy it from https://console.twilio.com/")


def _fault(what: str, remedy: str) -> Fault:
    return Fault(CONFIG_NAME, 0, 0, f"providers.twilio: {what}", remedy)
