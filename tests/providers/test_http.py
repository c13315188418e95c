"""HTTP to a provider: what a server, a network or a proxy can do to one request, and what is made of it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commcast.errors import ConfigError, TryAgain
from commcast.model.message import OutcomeKind
from commcast.providers import http as ours
from commcast.providers.base import Refused
from commcast.providers.http import (
    Connections,
    HaltedError,
    HttpAnswer,
    NoAnswer,
    Turns,
    as_they_come,
    checked,
    nonsense,
    retry_after,
    without_answer,
)
from tests.providers.contract import BOUNDED
from tests.providers.kinds import ACCOUNT, NOT_TAKEN, PROVIDER, UNKNOWN
from tests.support.servers import http
from tests.support.servers.http import Handler, HttpStandIn, make_certificate

NOW = datetime(2026, 11, 21, 10, 5, tzinfo=UTC)
UNIX = int(NOW.timestamp())
DAY = 86_400.0
GOOD = http.answer(201, {"sid": "SM1"})
SOON = 1.0  # seconds: a deadline that a test waits for, long enough for a request to leave a busy machine
BODY = b"To=%2B4915500&Body=hello"


def post(
    handler: Handler, count: int = 1, *, keep: bool = False, timeout: float = 20.0, **server_settings: Any
) -> tuple[list[HttpAnswer], HttpStandIn]:
    """Post `count` requests one after another; return the answers and the server."""
    server = HttpStandIn(handler, **server_settings)

    async def scenario() -> list[HttpAnswer]:
        async with server:
            return await asked(server.url, count, keep=keep, timeout=timeout)

    return asyncio.run(scenario()), server


async def asked(url: str, count: int = 1, *, keep: bool = False, timeout: float = 20.0) -> list[HttpAnswer]:
    async with Connections("twilio", url, timeout, keep=keep) as connections:
        return [await ask(connections, url) for _ in range(count)]


async def ask(connections: Connections, url: str) -> HttpAnswer:
    return await connections.ask("POST", f"{url}/v1/send?a=%2F", {"Authorization": "Basic secret"}, BODY)


def post_to(url: str, timeout: float = 20.0) -> HttpAnswer:
    return asyncio.run(asked(url, timeout=timeout))[0]


def test_a_request_goes_out_as_it_was_written() -> None:
    """Method, address, headers, body; the answer's names are lower-case, its broken bytes replaced."""
    (answer,), server = post(http.answer(202, b"\xffok", {"X-Message-Id": "SG-1"}))
    assert (answer.status, answer.headers["x-message-id"], answer.body) == (202, "SG-1", "\ufffdok")
    assert (answer.trouble, answer.sent) == (None, True)
    (exchange,) = server.exchanges
    assert (exchange.method, exchange.target, exchange.body) == ("POST", "/v1/send?a=%2F", BODY)
    assert (exchange.headers["authorization"], exchange.headers["accept-encoding"]) == (
        "Basic secret",
        "identity",
    )


# --- answers that do not come, or not whole

CHUNKED = b"HTTP/1.1 202 A\r\nTransfer-Encoding: chunked\r\n\r\n"
LOST: dict[str, tuple[Handler, NoAnswer | None]] = {
    "hang": (http.hang, NoAnswer.SILENCE),
    "byte by byte": (http.drip, NoAnswer.SILENCE),
    "reset": (http.reset, NoAnswer.LOST),
    "close": (http.close, NoAnswer.LOST),
    "half a body": (http.half(202, b"{}"), NoAnswer.LOST),
    "half a head": (http.close_after(20), NoAnswer.LOST),
    "half a chunk": (http.raw(CHUNKED + b"ff\r\nab"), NoAnswer.LOST),
    "only continue": (http.raw(b"HTTP/1.1 100 Continue\r\n\r\n"), NoAnswer.LOST),
    "garbage": (http.garbage, NoAnswer.GARBAGE),
    "no status": (http.raw(b"HTTP/1.1 abc\r\n\r\n"), NoAnswer.GARBAGE),
    "a length that is none": (http.raw(b"HTTP/1.1 201 C\r\nContent-Length: x\r\n\r\n{}"), NoAnswer.GARBAGE),
    "a broken chunk": (http.raw(CHUNKED + b"zz\r\n{}"), None),  # as the pieces come: lost or garbage
    "endless body": (http.endless, NoAnswer.GARBAGE),
    "endless head": (http.endless_head, NoAnswer.GARBAGE),
}


@pytest.mark.parametrize("name", LOST)
def test_an_answer_that_is_lost(name: str) -> None:
    """The request had left and is not repeated; each deadline is for the whole answer, not for one read."""
    handler, trouble = LOST[name]
    begin = time.monotonic()
    (answer,), server = post(handler, timeout=SOON if trouble is NoAnswer.SILENCE else 20.0)
    assert time.monotonic() - begin < BOUNDED
    assert answer.trouble in ({trouble} if trouble else {NoAnswer.LOST, NoAnswer.GARBAGE})
    assert (answer.sent, answer.status) == (True, 0)
    assert [exchange.method for exchange in server.exchanges] == ["POST"]


def test_an_answer_is_whole_or_lost() -> None:
    """Cut at any byte it is no answer, though the line with the id was there."""
    whole = b"HTTP/1.1 202 A\r\nX-Message-Id: SG-1\r\nContent-Length: 2\r\n\r\n{}"
    handlers = [http.raw(whole[:count]) for count in range(len(whole) + 1)]
    answers, _ = post(http.in_turn(*handlers), len(handlers))
    assert [answer.status for answer in answers] == [0] * len(whole) + [202]
    assert all(answer.sent for answer in answers)


@pytest.mark.parametrize("head", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_that_has_no_body_is_whole(head: bytes) -> None:
    (answer,), _ = post(http.raw(b"HTTP/1.1 " + head + b"\r\n\r\n"))
    assert (answer.trouble, answer.status) == (None, int(head[:3]))


@pytest.mark.parametrize("rude", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("count", [0, 1, 100])
def test_a_connection_lost_while_the_request_is_sent(count: int, rude: bool) -> None:
    """Some bytes may have left: nobody knows."""
    (answer,), server = post(GOOD, take=count, rude=rude)
    assert (answer.trouble, answer.sent, server.connections) == (NoAnswer.LOST, True, 1)


def test_an_answer_that_the_library_stumbles_over_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever way: the request had left. What fails before it leaves is a fault of ours, and raised."""

    def stumble(*_: object, **__: object) -> None:
        raise ValueError("no such thing")

    with monkeypatch.context() as patch:
        patch.setattr(ours, "_whole", stumble)
        (answer,), _ = post(GOOD)
    assert (answer.trouble, answer.sent) == (NoAnswer.LOST, True)
    monkeypatch.setattr(ours, "URL", stumble)
    with pytest.raises(ValueError, match="no such thing"):
        post(GOOD)


def test_a_long_answer_is_read_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last byte that fits is read; one more is no answer."""
    assert ours.LONGEST_BODY > 1 << 20
    monkeypatch.setattr(ours, "LONGEST_BODY", 1000)
    for size, trouble in ((1000, None), (1001, NoAnswer.GARBAGE)):
        assert post(http.answer(202, b"x" * size))[0][0].trouble is trouble


_NAMES = b"Content-Length Transfer-Encoding Content-Encoding Location Set-Cookie Connection Retry-After"
_VALUES = b"chunked gzip deflate br close 0 5 -1 upgrade"
_HEADER = st.tuples(
    st.sampled_from(_NAMES.split()), st.one_of(st.sampled_from(_VALUES.split()), st.binary(max_size=20))
)


def _answer(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    head = [b"HTTP/1.1 %d X" % status, *(b"%s: %s" % header for header in headers), b"", body]
    return b"\r\n".join(head)


@settings(max_examples=60)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(_answer, st.integers(0, 999), st.lists(_HEADER, max_size=4), st.binary(max_size=200)),
    )
)
def test_whatever_a_server_says_there_is_one_answer(data: bytes) -> None:
    """No bytes raise anything, and the request was made once."""
    (answer,), server = post(http.raw(data), timeout=5.0)
    assert answer.sent
    assert len(server.exchanges) == 1


# --- requests that never leave


def test_nobody_listens() -> None:
    async def scenario() -> HttpAnswer:
        async with http.nobody() as url:
            return (await asked(url))[0]

    answer = asyncio.run(scenario())
    assert (answer.trouble, answer.sent) == (NoAnswer.UNREACHABLE, False)


@pytest.mark.parametrize("name", ["api.twilio.invalid", "a" * 70 + ".invalid", "api..invalid"])
def test_a_name_without_an_address(name: str) -> None:
    """Also a name that cannot even be asked for."""
    answer = post_to(f"https://{name}")
    assert (answer.trouble, answer.sent) == (NoAnswer.UNRESOLVED, False)


@pytest.mark.parametrize(
    ("made", "is_trusted", "trouble"),
    [
        ({}, True, None),
        ({}, False, NoAnswer.CERTIFICATE),
        ({"host": "other.example"}, True, NoAnswer.CERTIFICATE),
        ({"valid": timedelta(days=-1)}, True, NoAnswer.CERTIFICATE),
    ],
    ids=["trusted", "self-signed", "another host's", "run out"],
)
def test_certificates(
    made: dict[str, Any],
    is_trusted: bool,
    trouble: NoAnswer | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system's authorities are asked, for this host and for now, before a byte of the request leaves."""
    certificate = make_certificate(tmp_path, **made)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.pem))
    (answer,), server = post(GOOD, tls=certificate.server_context())
    assert (answer.trouble, answer.sent) == (trouble, trouble is None)
    assert len(server.exchanges) == (trouble is None)


def test_a_server_that_speaks_no_tls() -> None:
    async def scenario() -> tuple[HttpAnswer, bytes]:
        heard = bytearray()

        async def blunt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.extend(await reader.read(10_000))
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        plain = await asyncio.start_server(blunt, http.HOST, 0)
        async with plain:
            return (await asked(f"https://{http.HOST}:{plain.sockets[0].getsockname()[1]}"))[0], bytes(heard)

    answer, heard = asyncio.run(scenario())
    assert (answer.trouble, answer.sent) == (NoAnswer.HANDSHAKE, False)
    assert b"POST" not in heard


def test_a_handshake_that_hangs() -> None:
    """The deadline covers connecting, and nothing was sent."""
    with socket.create_server((http.HOST, 0)) as silent:  # the system connects, nobody speaks
        answer = post_to(f"https://{http.HOST}:{silent.getsockname()[1]}", SOON)
    assert (answer.trouble, answer.sent) == (NoAnswer.SILENCE, False)


def test_a_dead_address_leaves_time_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's first address may swallow packets, as a dead IPv6 route does."""

    async def scenario() -> HttpAnswer:
        loop = asyncio.get_running_loop()
        real = loop.sock_connect
        async with HttpStandIn(GOOD) as server:

            async def connect(sock: socket.socket, address: Any) -> None:
                await (real(sock, address) if address[0] == http.HOST else asyncio.Event().wait())

            stream = socket.AF_INET, socket.SOCK_STREAM, 6, ""
            two = [(*stream, (host, server.port)) for host in ("127.0.0.9", http.HOST)]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: two)
            monkeypatch.setattr(loop, "sock_connect", connect)
            return (await asked(f"http://two.example:{server.port}"))[0]

    assert asyncio.run(scenario()).status == 201


_STUCK = """
import asyncio, socket, threading
from commcast.providers.http import Connections

socket.getaddrinfo = lambda *a, **k: threading.Event().wait()

async def main():
    async with Connections("twilio", "https://api.twilio.invalid", 0.3, keep=True) as connections:
        print((await connections.ask("GET", "https://api.twilio.invalid/", {}, None)).trouble)

asyncio.run(main())
"""


def test_no_thread_keeps_the_process_alive() -> None:
    """A look-up of a name that never ends is over at the deadline, and the interpreter can end."""
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", _STUCK], capture_output=True, text=True, timeout=60, env=clean, check=False
    )
    assert (done.stdout, done.returncode) == ("silence\n", 0), done.stderr


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(status: int) -> None:
    """The other server gets nothing, least of all the credentials."""
    other = HttpStandIn(GOOD)

    async def scenario() -> tuple[list[HttpAnswer], HttpStandIn]:
        async with other, HttpStandIn(http.redirect(f"{other.url}/x", status)) as server:
            return await asked(server.url), server

    (answer,), server = asyncio.run(scenario())
    assert (answer.status, len(server.exchanges), other.connections) == (status, 1, 0)


# --- connections: kept, or one a request


def test_kept_connections_serve_one_request_after_another() -> None:
    answers, server = post(GOOD, 10, keep=True)
    assert {answer.status for answer in answers} == {201}
    assert (server.connections, len(server.exchanges)) == (1, 10)


def test_a_connection_of_its_own_cannot_die_between_two_requests() -> None:
    answers, server = post(http.then_close(GOOD), 6)
    assert {answer.status for answer in answers} == {201}
    assert len(server.exchanges) == server.connections == 6


@pytest.mark.parametrize("last", [http.close, http.reset], ids=["close", "reset"])
def test_a_kept_connection_that_dies_under_a_request(last: Handler) -> None:
    """It may have been taken: lost, and not posted again. The next request has a new connection."""
    answers, server = post(http.in_turn(GOOD, last, GOOD), 3, keep=True)
    assert [answer.trouble for answer in answers] == [None, NoAnswer.LOST, None]
    assert (len(server.exchanges), server.connections) == (3, 2)


def test_nothing_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cookie goes back, and no login of .netrc replaces ours."""
    (tmp_path / "netrc").write_text("machine localhost login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = HttpStandIn(http.answer(201, headers={"Set-Cookie": "who=desk; Path=/"}))

    async def scenario() -> None:
        async with server:
            await asked(server.url.replace(http.HOST, "localhost"), 3, keep=True)

    asyncio.run(scenario())
    assert ["cookie" in exchange.headers for exchange in server.exchanges] == [False] * 3
    assert {exchange.headers["authorization"] for exchange in server.exchanges} == {"Basic secret"}


def test_leaving_ends_what_waits() -> None:
    """A request that was sent is lost; one that comes after the context was left is never sent."""

    async def scenario() -> tuple[HttpAnswer, HttpAnswer]:
        async with HttpStandIn(http.hang) as server:
            async with Connections("twilio", server.url, 20.0, keep=True) as connections:
                task = asyncio.create_task(ask(connections, server.url))
                await server.requested()
            return await task, await ask(connections, server.url)

    first, later = asyncio.run(asyncio.wait_for(scenario(), BOUNDED))
    assert [(each.trouble, each.sent) for each in (first, later)] == [
        (NoAnswer.LOST, True),
        (NoAnswer.LOST, False),
    ]


# --- proxies


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY", "HTTPS_PROXY"])
def test_plain_http_goes_to_no_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leads to this machine alone: the key goes to nobody else in the clear."""
    proxy = HttpStandIn(GOOD)

    async def scenario() -> list[HttpAnswer]:
        async with proxy, HttpStandIn(GOOD) as server:
            monkeypatch.setenv(name, proxy.url)
            return await asked(server.url)

    assert asyncio.run(scenario())[0].status == 201
    assert proxy.connections == 0


async def _tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: list[bytes]) -> None:
    """A proxy: connects to the named server and passes bytes on."""
    heard.append(await reader.readuntil(b"\r\n\r\n"))
    host, _, port = heard[-1].split(b" ")[1].decode().partition(":")
    up, down = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(65536):
            sink.write(piece)
        sink.close()
        await sink.wait_closed()

    await asyncio.gather(pump(reader, down), pump(up, writer), return_exceptions=True)
    heard.append(b"closed")


@pytest.mark.parametrize("is_excepted", [False, True], ids=["HTTPS_PROXY", "NO_PROXY"])
def test_https_goes_through_the_proxy(
    is_excepted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a tunnel: the proxy sees the server's name and nothing else. NO_PROXY bypasses it."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.pem))
    server = HttpStandIn(GOOD, tls=certificate.server_context())
    heard: list[bytes] = []

    async def scenario() -> list[HttpAnswer]:
        listener = await asyncio.start_server(lambda r, w: _tunnel(r, w, heard), http.HOST, 0)
        monkeypatch.setenv("HTTPS_PROXY", f"http://{http.HOST}:{listener.sockets[0].getsockname()[1]}")
        if is_excepted:
            monkeypatch.setenv("NO_PROXY", http.HOST)
        async with server, listener:
            answers = await asked(server.url)
            while heard and heard[-1] != b"closed":
                await asyncio.sleep(0.001)
            return answers

    assert asyncio.run(scenario())[0].status == 201
    assert [head.split(b" ")[0] for head in heard] == ([] if is_excepted else [b"CONNECT", b"closed"])
    assert not any(b"Authorization" in head for head in heard)


@pytest.mark.parametrize(
    ("handler", "trouble"),
    [
        (http.answer(407), NoAnswer.UNREACHABLE),
        (http.answer(502), NoAnswer.UNREACHABLE),
        (http.redirect("http://x.invalid"), NoAnswer.UNREACHABLE),
        (http.close, NoAnswer.LOST),
    ],
    ids=["407", "502", "redirect", "close"],
)
def test_a_proxy_that_does_not_connect(
    handler: Handler, trouble: NoAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the request reached the provider, nor the proxy."""
    proxy = HttpStandIn(handler)

    async def scenario() -> list[HttpAnswer]:
        async with proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            return await asked("https://api.twilio.invalid")

    (answer,) = asyncio.run(scenario())
    assert (answer.trouble, answer.sent) == (trouble, False)
    assert {exchange.method for exchange in proxy.exchanges} == {"CONNECT"}
    assert not [each for each in proxy.exchanges if each.body or "authorization" in each.headers]


def test_a_proxy_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent; its address may hold a login, and is not shown."""
    monkeypatch.setenv("HTTPS_PROXY", "socks5://desk:hidden@127.0.0.1:1080")
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as caught:
        Connections("twilio", "https://api.twilio.com", 20.0, keep=True)
    assert "hidden" not in str(caught.value)


# --- what it means

OUTCOMES = [
    (NoAnswer.UNRESOLVED, False, NOT_TAKEN, PROVIDER, "name has no address"),
    (NoAnswer.UNREACHABLE, False, NOT_TAKEN, PROVIDER, "the provider cannot be reached"),
    (NoAnswer.CERTIFICATE, False, NOT_TAKEN, ACCOUNT, "certificate is not trusted"),
    (NoAnswer.HANDSHAKE, False, NOT_TAKEN, PROVIDER, "no TLS connection"),
    (NoAnswer.LOST, False, NOT_TAKEN, PROVIDER, "before the request was sent"),
    (NoAnswer.SILENCE, False, NOT_TAKEN, PROVIDER, "did not answer in time"),
    (NoAnswer.GARBAGE, False, NOT_TAKEN, PROVIDER, "makes no sense"),
    (NoAnswer.LOST, True, UNKNOWN, None, "broke after the request was sent"),
    (NoAnswer.SILENCE, True, UNKNOWN, None, "no answer came after"),
    (NoAnswer.GARBAGE, True, UNKNOWN, None, "senseless"),
    (NoAnswer.UNREACHABLE, True, UNKNOWN, None, "its answer was lost"),
]


@pytest.mark.parametrize(("trouble", "sent", "kind", "blame", "words"), OUTCOMES)
def test_without_an_answer(trouble: NoAnswer, sent: bool, kind: OutcomeKind, blame: Any, words: str) -> None:
    """What never left was not taken; what may have left is unknown."""
    outcome = without_answer(7, HttpAnswer(trouble=trouble, sent=sent))
    assert (outcome.delivery, outcome.kind) == (7, kind)
    assert words in outcome.detail
    assert blame in {None, outcome.blame}


def test_each_trouble_has_its_words() -> None:
    assert len({trouble.words for trouble in NoAnswer}) == len(NoAnswer)


@pytest.mark.parametrize(
    ("answer", "raised", "words"),
    [
        (HttpAnswer(200, {}, "ok"), None, ""),
        (HttpAnswer(401), Refused, "fix the key"),
        (HttpAnswer(302), Refused, "look at base_url"),
        (HttpAnswer(400), Refused, "look at base_url"),
        (HttpAnswer(204), Refused, "look at base_url"),
        *[
            (HttpAnswer(status), TryAgain, f"Twilio cannot be asked for its lists now ({status})")
            for status in (408, 425, 429, 500, 503)
        ],
        (HttpAnswer(trouble=NoAnswer.CERTIFICATE, sent=False), Refused, "certificate is not trusted"),
        *[
            (HttpAnswer(trouble=trouble), TryAgain, f"for its lists now ({trouble.words})")
            for trouble in NoAnswer
            if trouble is not NoAnswer.CERTIFICATE
        ],
    ],
    ids=lambda value: f"{value.status}-{value.trouble or ''}" if isinstance(value, HttpAnswer) else "",
)
def test_a_question_that_is_not_answered(answer: HttpAnswer, raised: Any, words: str) -> None:
    """A refusal needs a person, a failure needs time."""

    def judged() -> HttpAnswer:
        return checked(answer, "Twilio", "its lists", {401: "fix the key"}, "look at base_url")

    if raised is None:
        assert judged() is answer
        return
    with pytest.raises(raised) as caught:
        judged()
    assert type(caught.value) is raised
    assert words in str(caught.value)
    assert "Twilio's answer makes no sense" in str(nonsense("Twilio"))


WAITS: dict[float | None, list[str]] = {
    0.0: ["0", "-0", "Sat, 21 Nov 2026 10:04:00 GMT"],
    1.5: ["1.5"],
    7.0: ["7", " 7 ", "\u0667"],
    30.0: [
        "Sat, 21 Nov 2026 10:05:30 GMT",
        "Saturday, 21-Nov-26 10:05:30 GMT",
        "Sat Nov 21 10:05:30 2026",
        "Sat, 21 Nov 2026 12:05:30 +0200",
        "Sat, 21 Nov 2026 10:05:30 -0000",
    ],
    DAY: ["86400", "86401", "9" * 15, "Fri, 31 Dec 9999 23:59:59 GMT"],
    None: [
        *("-1", "9" * 16, "1e9", "0x10", "+7", "7s", "7, 8", "nan", "inf", "", "soon"),
        "Sat, 99 Nov 2026 10:05:30 GMT",
        "Sat, 21 Nov 2026 10:05:30 +9999999999",
    ],
}


@pytest.mark.parametrize(("text", "wait"), [(text, wait) for wait, texts in WAITS.items() for text in texts])
def test_retry_after(text: str, wait: float | None) -> None:
    """Seconds or a date; the past means now, the far future a day, and nonsense nothing."""
    assert retry_after({"retry-after": text}, NOW) == wait


@pytest.mark.parametrize(
    ("text", "wait"),
    [(UNIX + 30, 30.0), (UNIX, 0.0), (UNIX - 1, 0.0), (UNIX * 1000, DAY), (-5, None), ("soon", None)],
)
def test_a_reset_in_unix_time(text: object, wait: float | None) -> None:
    """X-RateLimit-Reset names a moment in Unix seconds; what looks like milliseconds is far away."""
    assert retry_after({"x-ratelimit-reset": str(text)}, NOW) == wait


def test_which_header_counts() -> None:
    """Retry-After if it makes sense, else the other; without both there is none."""
    reset = {"x-ratelimit-reset": f"{UNIX + 30}"}
    found = [retry_after({"retry-after": text, **reset}, NOW) for text in ("7", "0", "-7", "")]
    assert found == [7.0, 0.0, 30.0, 30.0]
    assert retry_after({}, NOW) is None
    assert retry_after({"Retry-After": "7"}, NOW) is None  # names are lower-case in an answer


_TEXTS = st.one_of(
    st.text(max_size=40),
    st.integers().map(str),
    st.floats().map(str),
    st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,6} \d{1,3}:\d{1,3}(:\d{1,3})? [+-]?\w{0,10}"),
)


@given(_TEXTS, _TEXTS)
def test_no_header_breaks_it(after: str, reset: str) -> None:
    """Whatever a provider writes: nothing, or a time between now and a day."""
    wait = retry_after({"retry-after": after, "x-ratelimit-reset": reset}, NOW)
    assert wait is None or 0 <= wait <= DAY


@given(st.integers(0, 86_400), st.integers(-12, 14))
def test_a_date_and_its_seconds_say_the_same(seconds: int, hours: int) -> None:
    """In any time zone."""
    at = (NOW + timedelta(seconds=seconds)).astimezone(timezone(timedelta(hours=hours)))
    assert retry_after({"retry-after": at.strftime("%a, %d %b %Y %H:%M:%S %z")}, NOW) == seconds
    assert retry_after({"retry-after": str(seconds)}, NOW) == seconds
    assert retry_after({"x-ratelimit-reset": str(UNIX + seconds)}, NOW) == seconds


# --- turns


async def hold(turns: Turns, name: str, begun: list[str], go_on: asyncio.Event) -> None:
    async with turns:
        begun.append(name)
        await go_on.wait()


async def settled() -> None:
    """Let everything that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


def begin(
    count: int, names: str
) -> tuple[Turns, list[str], dict[str, asyncio.Event], list[asyncio.Task[None]]]:
    """Start a task per name, each taking one of `count` turns until its event is set."""
    turns, begun = Turns(count), list[str]()
    ends = {name: asyncio.Event() for name in names}
    return turns, begun, ends, [asyncio.create_task(hold(turns, n, begun, end)) for n, end in ends.items()]


def test_turns_are_given_in_order() -> None:
    async def scenario() -> None:
        _, begun, ends, tasks = begin(2, "abcd")
        await settled()
        assert begun == ["a", "b"]
        ends["b"].set()
        await settled()
        assert begun == ["a", "b", "c"]
        for end in ends.values():
            end.set()
        await asyncio.gather(*tasks)
        assert begun == ["a", "b", "c", "d"]

    asyncio.run(scenario())


def test_a_halt_ends_the_waiting_and_lets_finish_what_was_begun() -> None:
    async def scenario() -> None:
        turns, begun, ends, tasks = begin(1, "abc")
        await settled()
        turns.halt()
        done = await asyncio.gather(*tasks[1:], return_exceptions=True)
        assert [type(each) for each in done] == [HaltedError] * 2
        assert not tasks[0].done()
        ends["a"].set()
        await tasks[0]
        for name in "de":
            with pytest.raises(HaltedError):
                await hold(turns, name, begun, ends["a"])
        assert begun == ["a"]

    asyncio.run(scenario())


@pytest.mark.parametrize("given_one", [False, True], ids=["before its turn", "just as its turn comes"])
def test_a_cancelled_task_costs_no_turn(given_one: bool) -> None:
    """Also if it had been given the turn at that very moment."""

    async def scenario() -> None:
        turns, begun, ends, (a, b, c) = begin(1, "abc")
        await settled()
        if given_one:
            ends["a"].set()
            await a
        b.cancel()
        await asyncio.gather(b, return_exceptions=True)
        ends["a"].set()
        await settled()
        assert begun[-1] == "c"
        ends["c"].set()
        await asyncio.gather(a, c)
        async with asyncio.timeout(1), turns:
            pass

    asyncio.run(scenario())


def test_what_is_left_is_cancelled() -> None:
    """Results come in the order in which they are ready; closing the generator ends the others."""
    ended: list[str] = []

    async def work(name: str, ready: Callable[[], Awaitable[object]]) -> str:
        try:
            await ready()
        finally:
            ended.append(name)
        return name

    async def scenario() -> list[str]:
        never = asyncio.Event()
        found = as_they_come(
            [work("slow", never.wait), work("quick", settled), work("quicker", lambda: asyncio.sleep(0))]
        )
        first = [await anext(found), await anext(found)]
        await found.aclose()
        return first

    assert asyncio.run(scenario()) == ["quicker", "quick"]
    assert ended == ["quicker", "quick", "slow"]
