"""HTTP to a provider: connections, timeouts, what answers mean, and why there was none."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import math
import re
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping, Sequence
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

from commcast.config.settings import CONFIG_NAME, is_loopback
from commcast.errors import Fault, ProviderError, TryAgain
from commcast.model.message import Blame, Outcome, OutcomeKind
from commcast.providers.base import Refused
from commcast.providers.masking import masked

LONGEST_BODY = 8 << 20  # bytes of an answer that are read; a longer one counts as garbage
LONGEST_TALK = (1 << 30, 3600.0)  # bytes of all answers, and seconds, that reading records may take
FIRST_DOUBTS = 3  # unexplained refusals, with nobody accepted, until the account is at fault
ASK_AGAIN = 1.0  # seconds until a delivery refused so is tried again; others may have been accepted by then
_LONGEST_WAIT = 86_400.0  # seconds: a provider that says "in a year" is not believed beyond a day
_FAREWELL = 2.0  # seconds that leaving waits for the connections to close
_PIECE = 1 << 16
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?")
_SECRET = "[!-~]{1,500}"  # noqa: S105 - the shape of one

_T = TypeVar("_T")


class NoAnswer(StrEnum):
    """What happened if no whole answer came, in words to show."""

    UNRESOLVED = "the server's name has no address"
    UNREACHABLE = "no connection"  # refused, no route, or not in time
    CERTIFICATE = "the server's certificate is not trusted"
    HANDSHAKE = "no TLS connection"
    LOST = "the connection broke"
    SILENCE = "no answer in time"  # the deadline for the whole request passed
    ENDLESS = "the answer is too long"  # see Connections.room
    GARBAGE = "the answer is invalid"  # it is not HTTP, or longer than LONGEST_BODY


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer (`trouble` is None), or why there is none (`status` is 0).

    `sent` says whether any byte of the request may have left; if so, a missing answer is `unknown`.
    Names in `headers` are lower-case. `body` is text, with broken bytes replaced.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    trouble: NoAnswer | None = None
    sent: bool = True


def json_in(answer: HttpAnswer) -> Any:
    """Return the JSON of an answer's body; None if it holds none."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def object_in(answer: HttpAnswer) -> dict[str, Any]:
    """Return the JSON object of an answer's body; empty if it holds none."""
    found = json_in(answer)
    return found if isinstance(found, dict) else {}


# --- what an answer means


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return in how many seconds a provider asks to be tried again; None if it names no sensible time.

    Reads Retry-After (seconds or an HTTP date, RFC 9110 10.2.3), else X-RateLimit-Reset (SendGrid: Unix
    seconds). A negative number is nonsense: None. A moment in the past means now: 0. Never beyond a day.
    """
    after, reset = (headers.get(name, "").strip() for name in ("retry-after", "x-ratelimit-reset"))
    wait, at, unix = _seconds(after), mail_date(after), _seconds(reset)
    if wait is None and at is not None:
        wait = (at - now).total_seconds()
    elif wait is None and unix is not None:
        wait = unix - now.timestamp()
    return None if wait is None else min(max(wait, 0.0), _LONGEST_WAIT)


def _seconds(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def mail_date(text: object) -> datetime | None:
    """Read a date as email and HTTP write it (RFC 5322); without a zone it is UTC. None if it is no date."""
    try:
        at = parsedate_to_datetime(str(text))
    except (ValueError, TypeError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rule:
    """What an answer means. `said` is a pattern for the status and what the provider adds to it.

    An accepted message is "202 taken". `doubtful` says that the answer does not show who is at fault: the
    recipient, or our account or message.
    """

    said: str
    kind: OutcomeKind
    blame: Blame
    words: str
    suppress: bool = False
    opted_out: bool = False
    doubtful: bool = False


_REJECTED, _UNKNOWN, _NOT_TAKEN = OutcomeKind.REJECTED, OutcomeKind.UNKNOWN, OutcomeKind.NOT_TAKEN
_PROVIDER, _ACCOUNT, _ONE = Blame.PROVIDER, Blame.ACCOUNT, Blame.RECIPIENT
_UNLISTED = Rule("", _UNKNOWN, _ONE, "no rule covers this answer")


def table(provider: str, *own: Rule) -> tuple[Rule, ...]:
    """Return a provider's rules among those for any server (RFC 9110, RFC 8470). The first that fits counts.

    408 says that our request never arrived whole; we know that it left whole, so it cannot be trusted.
    425 says that the request was not begun, which its RFC promises. 407 comes from a proxy: the provider saw
    nothing.
    """
    return (
        Rule(r"\d+ taken", OutcomeKind.ACCEPTED, _ONE, ""),
        Rule("407.*", _NOT_TAKEN, _ACCOUNT, "the proxy requires a login"),
        Rule("408.*", _UNKNOWN, _ONE, "the server says it stopped waiting for a request that was sent"),
        Rule("425.*", _NOT_TAKEN, _PROVIDER, "the server did not start processing the request"),
        Rule("429.*", _NOT_TAKEN, _PROVIDER, f"{provider} accepts no more requests for now"),
        *own,
        Rule(r"2\d\d.*", _UNKNOWN, _ONE, f"the request was sent, but the answer is not {provider}'s"),
        Rule(r"3\d\d.*", _NOT_TAKEN, _ACCOUNT, "redirected, which is not followed: check base_url"),
        Rule(r"4\d\d.*", _NOT_TAKEN, _ACCOUNT, f"{provider} does not accept such a request"),
        Rule(r"5\d\d.*", _UNKNOWN, _ONE, f"{provider} failed after the request was sent"),
    )


def rule_for(said: str, rules: Sequence[Rule]) -> Rule:
    """Return the rule for an answer. An answer without one is unknown, so that nobody is told twice."""
    return next((rule for rule in rules if re.fullmatch(rule.said, said)), _UNLISTED)


def outcome_of(
    delivery: int, answer: HttpAnswer, said: str, rules: Sequence[Rule], now: datetime, provider_id: str
) -> Outcome:
    """Return what an answer, whole or not, means for one delivery."""
    if answer.trouble is not None:
        if answer.sent:
            return Outcome(delivery, _UNKNOWN, f"the request was sent; its answer was lost: {answer.trouble}")
        blame = _ACCOUNT if answer.trouble is NoAnswer.CERTIFICATE else _PROVIDER
        return Outcome(delivery, _NOT_TAKEN, f"nothing was sent: {answer.trouble}", blame=blame)
    rule = rule_for(said, rules)
    return Outcome(
        delivery,
        rule.kind,
        f"{rule.words} ({said})" if rule.words else "",
        provider_id=provider_id,
        blame=rule.blame,
        retry_after=retry_after(answer.headers, now) if rule.blame is _PROVIDER else None,
        suppress=rule.suppress,
        opted_out=rule.opted_out,
    )


@dataclass(slots=True)
class Doubts:
    """Decides what refusals are about that don't show it: all of us, or our words for one reader."""

    provider: str
    has_accepted: bool = False
    count: int = 0

    def weigh(self, refused: Outcome, status: int) -> Outcome:
        """Return what a doubtful refusal means.

        Nobody is rejected for what may be our fault. While nobody was accepted, the delivery is tried again,
        and at the third such refusal the account is at fault; later this one waits.
        """
        self.count += 1
        if self.has_accepted:
            return refused._replace(kind=_NOT_TAKEN, blame=Blame.ACCOUNT_FOR_ONE)
        if self.count < FIRST_DOUBTS:
            return refused._replace(kind=_NOT_TAKEN, retry_after=ASK_AGAIN)
        words = f"{self.provider} refuses every request ({status})"
        return refused._replace(kind=_NOT_TAKEN, detail=words, blame=_ACCOUNT)


def checked(answer: HttpAnswer, provider: str, what: str, refusals: Mapping[int, str], otherwise: str) -> Any:
    """Return the JSON of a good answer to a question about `what`. Raises Refused or TryAgain for any other.

    `refusals` are the words for a status that a person has to fix, `otherwise` those for one not listed.
    """
    if answer.trouble is NoAnswer.CERTIFICATE:
        hint = "check base_url and this machine's certificate authorities"
        raise Refused(f"{provider}'s certificate is not trusted; {hint}")
    if answer.trouble is not None or answer.status in {408, 425, 429} or answer.status >= 500:
        raise TryAgain(f"{provider} cannot be asked for {what} now ({answer.trouble or answer.status})")
    if answer.status != 200:
        raise Refused(refusals.get(answer.status, otherwise))
    if (found := json_in(answer)) is None:
        raise nonsense(provider)
    return found


def list_in(found: object, provider: str) -> list[Any]:
    """Return a list of an answer. Raises TryAgain if it is none."""
    if not isinstance(found, list):
        raise nonsense(provider)
    return found


def nonsense(provider: str) -> TryAgain:
    """Return the error for a good answer that cannot be read."""
    return TryAgain(f"{provider}'s answer is invalid and was ignored")


def secret_faults(
    provider: str, name: str, secret: str, source: str, shape: str = _SECRET, kind: str = "plain characters"
) -> list[Fault]:
    """Return the fault of an environment variable that holds no possible secret, without showing it."""
    if re.fullmatch(shape, secret):
        return []
    what = f"{name} is not {kind}" if secret else f"{name} is not set"
    return [Fault(CONFIG_NAME, 0, 0, f"providers.{provider}: {what}", f"get it from {source}")]


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
    other side closes a kept connection at that moment. Redirects are not followed, nothing is retried, no
    cookie is kept and no body decompressed.
    A proxy is used only for https, as urllib finds it (HTTPS_PROXY, NO_PROXY), and never for this machine.
    Raises ProviderError if that proxy cannot work.
    """

    def __init__(self, provider: str, base_url: str, timeout: float, *, keep: bool) -> None:
        self._secure, self._proxy = base_url.startswith("https:"), _proxy(provider, base_url)
        self._timeout, self._keep = timeout, keep
        self._session: aiohttp.ClientSession | None = None
        # Nothing more is asked once all answers have this many bytes, or it is this late (time.monotonic).
        self.room = self.until = math.inf

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
        if self.room <= 0 or time.monotonic() > self.until:
            return HttpAnswer(trouble=NoAnswer.ENDLESS, sent=False)
        sent = asyncio.Event()
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._session.request(
                    method,
                    URL(url, encoded=True),
                    headers={**headers, "Accept-Encoding": "identity"},
                    data=io.BytesIO(body)
                    if body
                    else None,  # in pieces: a large body would block the event loop
                    allow_redirects=False,
                    proxy=self._proxy,
                    trace_request_ctx=sent,
                ) as response,
            ):
                answer = await _whole(response)
                self.room -= len(answer.body)
                return answer
        except Exception as error:  # anything that an answer can make the library raise
            if not (sent.is_set() or isinstance(error, (aiohttp.ClientError, OSError))):
                raise  # a fault of ours
            trouble = next((no for kind, no in _TROUBLES if isinstance(error, kind)), NoAnswer.LOST)
            return HttpAnswer(trouble=trouble, sent=sent.is_set())


_C = TypeVar("_C", bound=Connections)


class OverHttp(Generic[_C]):
    """What a provider's adapter and its records share: a context that holds the connections.

    `_longest` bounds the bytes and the seconds of all answers; records set it.
    """

    _client: _C
    _longest = (math.inf, math.inf)

    async def __aenter__(self) -> Self:
        size, seconds = self._longest
        self._client.room, self._client.until = size, time.monotonic() + seconds
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
    headers = {name.lower(): masked(value) for name, value in response.headers.items()}
    return HttpAnswer(response.status, headers, masked(body.decode("utf-8", "replace")))


def _proxy(provider: str, base_url: str) -> str | None:
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if parts.scheme != "https" or is_loopback(host) or urllib.request.proxy_bypass(parts.netloc):
        return None
    found = urllib.request.getproxies()
    url = found.get("https") or found.get("all")
    if url and urlsplit(url).scheme not in {"http", "https"}:
        what = f"providers.{provider}: HTTPS_PROXY is not an HTTP proxy"
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
    except ValueError:  # a name that cannot be looked up at all
        found.set_exception(socket.gaierror(socket.EAI_NONAME, "not a name"))
    except BaseException as error:  # raised in the waiting task: in the thread it would be lost
        found.set_exception(error)


# --- turns


async def as_they_come(work: Iterable[Coroutine[Any, Any, _T]]) -> AsyncGenerator[_T, None]:
    """Run all of it concurrently, and yield results as they come; closing the generator cancels the rest."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        for answered in asyncio.as_completed(tasks):
            yield await answered
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Turns:
    """`async with turns as may_begin` holds one of `count` turns; waiting tasks are served in order.

    `may_begin` is false at or after `halt`, also for tasks that were waiting. For one event loop.
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self.is_halted = False

    def halt(self) -> None:
        """Let no further work begin; a task that has a turn keeps it."""
        self.is_halted = True
        self._free.release()  # resumes the first task that waits, which resumes the next

    async def __aenter__(self) -> bool:
        await self._free.acquire()
        return not self.is_halted

    async def __aexit__(self, *_: object) -> None:
        self._free.release()
