"""One HTTP answer, or what came instead, and what that means."""

from __future__ import annotations

import asyncio
import math
import re
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from aiohttp.abc import AbstractResolver, ResolveResult

from commcast.model.message import Blame, Outcome, OutcomeKind

LONGEST_BODY = 8 << 20  # bytes of an answer that are read; a longer one is no answer
_LONGEST_WAIT = 86_400.0  # seconds: a provider that says "in a year" is not believed beyond a day
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,9})?")


class NoAnswer(StrEnum):
    """What happened where no whole answer came.

    unresolved   the server's name has no address
    unreachable  no connection: refused, no route, or not in time
    certificate  nobody vouches for the server's certificate
    handshake    TLS could not be agreed on
    lost         the connection broke before the whole answer was there
    silence      the total deadline passed
    garbage      what came is not HTTP, or longer than LONGEST_BODY
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

    `sent` says whether any byte of the request may have left: then a missing answer is `unknown`.
    Names in `headers` are lower-case. `body` is text, its broken bytes replaced.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    trouble: NoAnswer | None = None
    sent: bool = True


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return in how many seconds a provider asks to be tried again; None where it names no sensible time.

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
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max((at - now).total_seconds(), 0.0)


def _reset(text: str, now: datetime) -> float | None:
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)) or float(text) < 0:
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


class NamesInThreads(AbstractResolver):
    """Looks names up in threads that keep no process alive: getaddrinfo cannot be cancelled."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[ResolveResult]] = loop.create_future()
        threading.Thread(target=_look_up, args=(loop, found, host, port, family), daemon=True).start()
        return await found

    async def close(self) -> None:
        """Nothing is held."""


def _look_up(
    loop: asyncio.AbstractEventLoop,
    found: asyncio.Future[list[ResolveResult]],
    host: str,
    port: int,
    family: socket.AddressFamily,
) -> None:
    results: list[ResolveResult] = []
    failed: BaseException | None = None
    try:
        for kind, _, proto, _, address in socket.getaddrinfo(host, port, family, socket.SOCK_STREAM):
            results.append(
                ResolveResult(
                    hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=0
                )
            )
    except ValueError:  # a name that cannot even be asked for
        failed = socket.gaierror(socket.EAI_NONAME, "not a name")
    except BaseException as error:  # who waits hears of it: nobody hears a thread
        failed = error

    def tell() -> None:
        if found.done():
            return
        if failed is not None:
            found.set_exception(failed)
        else:
            found.set_result(results)

    try:
        loop.call_soon_threadsafe(tell)
    except RuntimeError:
        return  # the loop has ended meanwhile: nobody waits
