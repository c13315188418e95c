"""HTTP to a provider: connections, timeouts, and the answer or why there is none."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import socket
import ssl
import threading
import urllib.request
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Generic, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from commcast.config.settings import CONFIG_NAME
from commcast.errors import Fault, ProviderError, TryAgain
from commcast.model.message import Blame, Outcome, OutcomeKind
from commcast.providers.base import Refused

LONGEST_BODY = 8 << 20  # bytes of an answer that are read; a longer one counts as garbage
_LONGEST_WAIT = 86_400.0  # seconds: a provider that says "in a year" is not believed beyond a day
_FAREWELL = 2.0  # seconds that leaving waits for the connections to close
_PIECE = 1 << 16
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,9})?")

_T = TypeVar("_T")


class NoAnswer(StrEnum):
    """What happened when no whole answer came.

    unresolved   the server's name has no address
    unreachable  no connection: refused, no route, or not in time
    certificate  the server's certificate is not trusted
    handshake    TLS could not be agreed on
    lost         the connection broke before the whole answer was there
    silence      the total deadline passed
    garbage      the answer is not HTTP, or longer than LONGEST_BODY
    """

    UNRESOLVED = "unresolved"
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    HANDSHAKE = "handshake"
    LOST = "lost"
    SILENCE = "silence"
    GARBAGE = "garbage"

    @property
    def words(self) -> str:
        """What happened, for a person."""
        return _IN_WORDS[self]


_IN_WORDS = {
    NoAnswer.UNRESOLVED: "its name has no address",
    NoAnswer.UNREACHABLE: "no connection",
    NoAnswer.CERTIFICATE: "nobody vouches for its certificate",
    NoAnswer.HANDSHAKE: "no TLS connection",
    NoAnswer.LOST: "the connection broke",
    NoAnswer.SILENCE: "no answer in time",
    NoAnswer.GARBAGE: "its answer makes no sense",
}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer (`trouble` is None), or what came instead (`status` is 0).

    `sent` says whether any byte of the request may have left; if so, a missing answer is `unknown`.
    Names in `headers` are lower-case. `body` is text, with broken bytes replaced.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    trouble: NoAnswer | None = None
    sent: bool = True


# --- what an answer means


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return in how many seconds a provider asks to be tried again; None if it names no sensible time.

    Reads Retry-After (seconds or an HTTP date, RFC 9110 10.2.3), else X-RateLimit-Reset (SendGrid: Unix
    seconds). A negative number is nonsense: None. A moment in the past means now: 0. Never beyond a day.
    """
    for name, read in (("retry-after", _after), ("x-ratelimit-reset", _reset)):
        wait = read(headers.get(name, "").strip(), now)
        if wait is not None:
            return min(wait, _LONGEST_WAIT)
    return None


def _after(text: str, now: datetime) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text) if float(text) >= 0 else None
    at = mail_date(text)
    return max((at - now).total_seconds(), 0.0) if at else None


def mail_date(text: object) -> datetime | None:
    """Read a date as mails and HTTP write it (RFC 5322); without a zone it is UTC. None if it is no date."""
    try:
        at = parsedate_to_datetime(str(text))
    except (ValueError, TypeError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _reset(text: str, now: datetime) -> float | None:
    if not _NUMBER.fullmatch(text) or float(text) < 0:
        return None
    return max(float(text) - now.timestamp(), 0.0)


# Before the first byte has left, the provider took nothing; afterwards nobody knows.
_NOT_SENT = {
    NoAnswer.UNRESOLVED: (Blame.PROVIDER, "the provider's name has no address"),
    NoAnswer.UNREACHABLE: (Blame.PROVIDER, "the provider cannot be reached"),
    NoAnswer.CERTIFICATE: (Blame.ACCOUNT, "the provider's certificate is not trusted"),
    NoAnswer.HANDSHAKE: (Blame.PROVIDER, "no TLS connection can be made"),
    NoAnswer.LOST: (Blame.PROVIDER, "the connection broke before the request was sent"),
    NoAnswer.SILENCE: (Blame.PROVIDER, "the provider did not answer in time"),
    NoAnswer.GARBAGE: (Blame.PROVIDER, "the provider's answer makes no sense"),
}
_SENT = {
    NoAnswer.LOST: "the connection broke after the request was sent",
    NoAnswer.SILENCE: "no answer came after the request was sent",
    NoAnswer.GARBAGE: "a senseless answer came after the request was sent",
}
_SENT_ELSE = "the request was sent, and its answer was lost"


def without_answer(delivery: int, answer: HttpAnswer) -> Outcome:
    """Return the outcome of a delivery whose request got no whole answer; `answer.trouble` is set."""
    assert answer.trouble is not None  # noqa: S101 - a whole answer is judged by its provider's table
    if answer.sent:
        return Outcome(delivery, OutcomeKind.UNKNOWN, _SENT.get(answer.trouble, _SENT_ELSE))
    blame, words = _NOT_SENT[answer.trouble]
    return Outcome(delivery, OutcomeKind.NOT_TAKEN, words, blame=blame)


def checked(
    answer: HttpAnswer, provider: str, what: str, refusals: Mapping[int, str], otherwise: str
) -> HttpAnswer:
    """Return a good answer to a question about `what`. Raises Refused or TryAgain for any other answer.

    `refusals` are the words for a status that a person has to fix, `otherwise` those for one not listed.
    """
    if answer.trouble is NoAnswer.CERTIFICATE:
        hint = "look at base_url and this machine's authorities"
        raise Refused(f"{provider}'s certificate is not trusted; {hint}")
    if answer.trouble is not None:
        raise TryAgain(f"{provider} cannot be asked for {what} now ({answer.trouble.words})")
    if answer.status in {408, 425, 429} or answer.status >= 500:
        raise TryAgain(f"{provider} cannot be asked for {what} now ({answer.status})")
    if answer.status != 200:
        raise Refused(refusals.get(answer.status, otherwise))
    return answer


def nonsense(provider: str) -> TryAgain:
    """Return the error for a good answer that cannot be read."""
    return TryAgain(f"{provider}'s answer makes no sense; nothing was learnt from it")


# --- connections

# The first line that fits counts; an error that fits none is a lost connection.
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


class Connections:
    """The connections to one server, for one event loop; they last as long as the context.

    `timeout` is the total for a request in seconds, connecting and reading included. With `keep` a connection
    serves one request after another; without, each request has its own, so that none is lost because the
    other side closes a kept connection at that moment. Nothing is followed, repeated, remembered or decoded.
    A proxy is used only for https, as urllib finds it (HTTPS_PROXY, NO_PROXY): http stays on this machine.
    Raises ProviderError if that proxy cannot work.
    """

    def __init__(self, provider: str, base_url: str, timeout: float, *, keep: bool) -> None:
        self._secure, self._proxy = base_url.startswith("https:"), _proxy(provider, base_url)
        self._timeout, self._keep = timeout, keep
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Made now: aiohttp's own context was made when it was imported, whatever is trusted since.
        trusted = await asyncio.to_thread(ssl.create_default_context) if self._secure else True
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_mark_sent)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, resolver=NamesInThreads(), ssl=trusted, force_close=not self._keep
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            trace_configs=[trace],
            trust_env=False,  # it would also look for a login in .netrc
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            # The sockets are closed at once; only their end is awaited.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    await session.close()
            await asyncio.sleep(0)  # lets the requests that were waiting end in this turn of the loop

    async def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> HttpAnswer:
        """Make a request once, and return whatever came."""
        if self._session is None:  # the context was left while this waited for its turn
            return HttpAnswer(trouble=NoAnswer.LOST, sent=False)
        sent = asyncio.Event()
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._session.request(
                    method,
                    URL(url, encoded=True),
                    headers={**headers, "Accept-Encoding": "identity"},
                    data=io.BytesIO(body) if body else None,  # in pieces: a large body holds nobody up
                    allow_redirects=False,
                    proxy=self._proxy,
                    trace_request_ctx=sent,
                ) as response,
            ):
                return await _whole(response)
        except Exception as error:  # whatever a server makes the library stumble over
            if not (sent.is_set() or isinstance(error, (aiohttp.ClientError, OSError))):
                raise  # a fault of ours
            trouble = next((no for kind, no in _TROUBLES if isinstance(error, kind)), NoAnswer.LOST)
            return HttpAnswer(trouble=trouble, sent=sent.is_set())


_C = TypeVar("_C", bound=Connections)


class OverHttp(Generic[_C]):
    """What an adapter and its provider's records share: a context that holds the connections."""

    _client: _C

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.__aexit__()


async def _mark_sent(session: object, context: Any, params: object) -> None:  # noqa: ARG001
    context.trace_request_ctx.set()  # called before the first byte of the request leaves


async def _whole(response: aiohttp.ClientResponse) -> HttpAnswer:
    body = bytearray()
    async for piece in response.content.iter_chunked(_PIECE):
        body += piece
        if len(body) > LONGEST_BODY:
            response.close()
            return HttpAnswer(trouble=NoAnswer.GARBAGE)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return HttpAnswer(response.status, headers, body.decode("utf-8", "replace"))


def _proxy(provider: str, base_url: str) -> str | None:
    parts = urlsplit(base_url)
    if parts.scheme != "https" or urllib.request.proxy_bypass(parts.netloc):
        return None
    found = urllib.request.getproxies()
    url = found.get("https") or found.get("all")
    if url and urlsplit(url).scheme not in {"http", "https"}:
        what = f"providers.{provider}: HTTPS_PROXY is no proxy that speaks HTTP"
        raise ProviderError(provider, Fault(CONFIG_NAME, 0, 0, what, "set it to http://…, or unset it"))
    return url


class NamesInThreads(AbstractResolver):
    """Looks names up in daemon threads, which keep no process alive: getaddrinfo cannot be cancelled."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found: Future[list[ResolveResult]] = Future()
        threading.Thread(target=_look_up, args=(found, host, port, family), daemon=True).start()
        return await asyncio.wrap_future(found)

    async def close(self) -> None:
        """Nothing is held."""


def _look_up(found: Future[list[ResolveResult]], host: str, port: int, family: socket.AddressFamily) -> None:
    if not found.set_running_or_notify_cancel():  # from here on a cancelled request leaves the future alone
        return
    try:
        found.set_result(
            [
                ResolveResult(
                    hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=0
                )
                for kind, _, proto, _, address in socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
            ]
        )
    except ValueError:  # a name that cannot even be asked for
        found.set_exception(socket.gaierror(socket.EAI_NONAME, "not a name"))
    except BaseException as error:  # the waiting task gets it: nobody sees what a thread raises
        found.set_exception(error)


# --- turns


async def as_they_come(work: Iterable[Coroutine[Any, Any, _T]]) -> AsyncGenerator[_T, None]:
    """Do all of it at once, and yield each result as it comes; closing the generator cancels what is left."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        for answered in asyncio.as_completed(tasks):
            yield await answered
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class HaltedError(Exception):
    """There are no further turns: the work that waited for one has not begun."""


class Turns:
    """`async with turns:` holds one of `count` turns; waiting tasks are served in order.

    Raises HaltedError in every task that waits for a turn at or after `halt`. For one event loop.
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self.is_halted = False

    def halt(self) -> None:
        """Give no further turns; a task that has one keeps it."""
        self.is_halted = True
        self._free.release()  # wakes the first task that waits, which wakes the next

    async def __aenter__(self) -> None:
        await self._free.acquire()
        if self.is_halted:
            self._free.release()
            raise HaltedError

    async def __aexit__(self, *_: object) -> None:
        self._free.release()
