"""HTTP to a provider: what a server, a network or a proxy can do to one request, and what is made of it."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commcast.errors import ConfigError, TryAgain
from commcast.model.message import Blame, Outcome, OutcomeKind
from commcast.providers import http as ours
from commcast.providers import masking
from commcast.providers.base import Refused
from commcast.providers.http import Connections, Doubts, HttpAnswer, NoAnswer, Turns, retry_after
from tests.providers.contract import BOUNDED
from tests.providers.kinds import (
    ACCEPTED,
    ACCOUNT,
    FOR_ONE,
    NOT_TAKEN,
    PROVIDER,
    RECIPIENT,
    REJECTED,
    UNKNOWN,
)
from tests.support.providers import settle_down
from tests.support.servers import http
from tests.support.servers.http import Handler, HttpStandIn, make_certificate

NOW = datetime(2026, 11, 21, 10, 5, tzinfo=UTC)
UNIX = int(NOW.timestamp())
DAY = 86_400.0
GOOD = http.answer(201, {"sid": "SM1"})
SOON = 1.0  # seconds: a deadline that a test waits for, long enough for a request to leave a busy machine
BODY = b"To=%2B4915500&Body=hello"
_NAMES = b"Content-Length Transfer-Encoding Content-Encoding Location Set-Cookie Connection".split()
_VALUES = b"chunked gzip deflate br close 0 5 -1 upgrade".split()
_HEADER = st.tuples(st.sampled_from(_NAMES), st.one_of(st.sampled_from(_VALUES), st.binary(max_size=20)))
NO_LOSS, ONE_LOSS = [None] * 6, [None, NoAnswer.LOST, None]


def post(
    handler: Handler, count: int = 1, *, keep: bool = False, timeout: float = 20.0, **server_settings: Any
) -> tuple[list[HttpAnswer], HttpStandIn]:
    """Post `count` requests one after another; return the answers and the server."""
    server = HttpStandIn(handler, **server_settings)
    return asyncio.run(served(server, count, keep=keep, timeout=timeout)), server


async def served(server: HttpStandIn, count: int = 1, **how: Any) -> list[HttpAnswer]:
    async with server:
        return await asked(server.url, count, **how)


async def asked(url: str, count: int = 1, *, keep: bool = False, timeout: float = 20.0) -> list[HttpAnswer]:
    async with Connections("twilio", url, timeout, keep=keep) as connections:
        headers = {"Authorization": "Basic secret"}
        return [await connections.ask("POST", f"{url}/v1/send?a=%2F", headers, BODY) for _ in range(count)]


def post_to(url: str, timeout: float = 20.0) -> HttpAnswer:
    return asyncio.run(asked(url, timeout=timeout))[0]


def test_a_request_goes_out_as_it_was_written() -> None:
    """Method, address, headers, body; the answer's names are lower-case, its broken bytes replaced."""
    (answer,), server = post(http.answer(202, b"\xffok", {"X-Message-Id": "SG-1"}))
    assert (answer.status, answer.headers["x-message-id"], answer.body) == (202, "SG-1", "\ufffdok")
    assert (answer.trouble, answer.sent) == (None, True)
    (exchange,) = server.exchanges
    assert (exchange.method, exchange.target, exchange.body) == ("POST", "/v1/send?a=%2F", BODY)
    login, encoding = exchange.headers["authorization"], exchange.headers["accept-encoding"]
    assert (login, encoding) == ("Basic secret", "identity")


CHUNKED = b"HTTP/1.1 202 A\r\nTransfer-Encoding: chunked\r\n\r\n"
LOST: dict[str, tuple[Handler, NoAnswer | None]] = {
    "hang": (http.hang, NoAnswer.SILENCE),
    "byte by byte": (http.drip, NoAnswer.SILENCE),
    "reset": (http.reset, NoAnswer.LOST),
    "close": (http.close, NoAnswer.LOST),
    "half a body": (http.half(202, b"{}"), NoAnswer.LOST),
    "half a head": (http.raw(b"HTTP/1.1 202 Accepted"), NoAnswer.LOST),
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
    """Cut at any byte it is no answer, though the line with the id was there; some have no body."""
    whole = b"HTTP/1.1 202 A\r\nX-Message-Id: SG-1\r\nContent-Length: 2\r\n\r\n{}"
    empty = [b"HTTP/1.1 %d A\r\n\r\n" % status for status in (204, 304)]
    handlers = [http.raw(each) for each in (*(whole[:count] for count in range(len(whole) + 1)), *empty)]
    answers, _ = post(http.in_turn(*handlers), len(handlers))
    assert [answer.status for answer in answers] == [0] * len(whole) + [202, 204, 304]
    assert all(answer.sent for answer in answers)


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


@pytest.mark.parametrize("name", ["api.twilio.invalid", "a" * 70 + ".invalid", "api..invalid"])
def test_a_name_without_an_address(name: str) -> None:
    """Also a name that cannot even be looked up."""
    assert post_to(f"https://{name}") == HttpAnswer(trouble=NoAnswer.UNRESOLVED, sent=False)


@pytest.mark.parametrize("wrong", ["", "self-signed", "another host's", "expired"])
def test_certificates(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's authorities are asked, for this host and for now, before a byte of the request leaves."""
    days, host = -1 if wrong == "expired" else 1, "x.example" if "host" in wrong else http.HOST
    certificate = make_certificate(tmp_path, host=host, valid=timedelta(days=days))
    if wrong != "self-signed":
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.pem))
    (answer,), server = post(GOOD, tls=certificate.server_context())
    expected = HttpAnswer(trouble=NoAnswer.CERTIFICATE, sent=False) if wrong else answer
    assert (answer, answer.status, len(server.exchanges)) == (expected, 0 if wrong else 201, not wrong)


async def test_a_server_that_speaks_no_tls() -> None:
    heard = bytearray()

    async def blunt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(10_000))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(blunt, http.HOST, 0) as plain:
        (answer,) = await asked(f"https://{http.HOST}:{plain.sockets[0].getsockname()[1]}")
    assert answer == HttpAnswer(trouble=NoAnswer.HANDSHAKE, sent=False)
    assert b"POST" not in heard


def test_a_handshake_that_hangs() -> None:
    """The deadline covers connecting, and nothing was sent."""
    with socket.create_server((http.HOST, 0)) as silent:  # the system connects, nobody speaks
        answer = post_to(f"https://{http.HOST}:{silent.getsockname()[1]}", SOON)
    assert answer == HttpAnswer(trouble=NoAnswer.SILENCE, sent=False)


async def test_a_dead_address_leaves_time_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's first address may swallow packets, as a dead IPv6 route does."""
    loop = asyncio.get_running_loop()
    real = loop.sock_connect

    async def connect(sock: socket.socket, address: Any) -> None:
        await (real(sock, address) if address[0] == http.HOST else asyncio.Event().wait())

    async with HttpStandIn(GOOD) as server:
        stream = socket.AF_INET, socket.SOCK_STREAM, 6, ""
        two = [(*stream, (host, server.port)) for host in ("127.0.0.9", http.HOST)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: two)
        monkeypatch.setattr(loop, "sock_connect", connect)
        assert (await asked(f"http://two.example:{server.port}"))[0].status == 201


_STUCK = """
import asyncio, socket, threading
from commcast.providers.http import Connections

socket.getaddrinfo = lambda *a, **k: threading.Event().wait()

async def main():
    async with Connections("twilio", "https://api.twilio.invalid", 0.3, keep=True) as connections:
        print((await connections.ask("GET", "https://api.twilio.invalid/", {}, None)).trouble.name)

asyncio.run(main())
"""


def test_no_thread_keeps_the_process_alive() -> None:
    """A look-up of a name that never ends is over at the deadline, and the interpreter can end."""
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", _STUCK], capture_output=True, text=True, timeout=60, env=clean, check=False
    )
    assert (done.stdout, done.returncode) == ("SILENCE\n", 0), done.stderr


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(status: int) -> None:
    """The other server gets nothing, least of all the credentials."""
    async with HttpStandIn(GOOD) as other:
        server = HttpStandIn(http.redirect(f"{other.url}/x", status))
        (answer,) = await served(server)
    assert (answer.status, len(server.exchanges), other.connections) == (status, 1, 0)


@pytest.mark.parametrize(("handler", "keep", "troubles", "connections"), [
    *((GOOD, True, NO_LOSS, 1), (GOOD, False, NO_LOSS, 6)),
    *[(http.in_turn(GOOD, dies, GOOD), True, ONE_LOSS, 2) for dies in (http.close, http.reset)],
], ids=["kept", "one each", "kept, closed", "kept, reset"])  # fmt: skip
def test_how_long_connections_live(handler: Handler, keep: bool, troubles: Any, connections: int) -> None:
    """If a kept one dies, the answer is lost and the request not repeated; the next one has another."""
    answers, server = post(handler, len(troubles), keep=keep)
    assert [answer.trouble for answer in answers] == troubles
    assert (len(server.exchanges), server.connections) == (len(troubles), connections)


async def test_nothing_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cookie goes back, and no login of .netrc replaces ours."""
    (tmp_path / "netrc").write_text("machine localhost login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with HttpStandIn(http.answer(201, headers={"Set-Cookie": "who=desk; Path=/"})) as server:
        await asked(server.url.replace(http.HOST, "localhost"), 3, keep=True)
    headers = [exchange.headers for exchange in server.exchanges]
    assert [("cookie" in each, each["authorization"]) for each in headers] == [(False, "Basic secret")] * 3


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_a_secret_is_hidden_also_where_base64_holds_it(before: str) -> None:
    masking.hide(secret := "Zürich-4711")
    masking.hide("short")
    for text in (f"no {secret}.", base64.b64encode(f"{before}{secret}:x".encode()).decode()):
        shown = masking.masked(text)
        assert "***" in shown and len(shown) <= 12
    assert masking.masked("cut short") == "cut short"


@pytest.mark.parametrize("is_secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY", "HTTPS_PROXY"])
async def test_what_goes_to_this_machine_goes_to_no_proxy(
    name: str, is_secure: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain http leads to this machine alone: the key goes to nobody else in the clear."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.pem))
    async with HttpStandIn(GOOD) as proxy:
        monkeypatch.setenv(name, proxy.url)
        server = HttpStandIn(GOOD, tls=certificate.server_context() if is_secure else None)
        assert [answer.status for answer in await served(server)] == [201]
    assert proxy.connections == 0


@pytest.mark.parametrize("is_excepted", [False, True], ids=["HTTPS_PROXY", "NO_PROXY"])
async def test_https_has_a_tunnel(is_excepted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a tunnel: the proxy sees the server's name and nothing else. NO_PROXY bypasses it."""
    certificate = make_certificate(tmp_path, host="api.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.pem))
    server, heads, closed = (
        HttpStandIn(GOOD, tls=certificate.server_context()),
        list[bytes](),
        asyncio.Event(),
    )

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(65536):
            sink.write(piece)
        sink.close()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        up, down = await asyncio.open_connection(http.HOST, server.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pump(reader, down), pump(up, writer), return_exceptions=True)
        closed.set()

    async with server, await asyncio.start_server(tunnel, http.HOST, 0) as listener:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{http.HOST}:{listener.sockets[0].getsockname()[1]}")
        if is_excepted:
            monkeypatch.setenv("NO_PROXY", "api.example")
            address = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (http.HOST, server.port))]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_: address)
        assert (await asked(f"https://api.example:{server.port}"))[0].status == 201
        await (asyncio.sleep(0) if is_excepted else closed.wait())
    told = [] if is_excepted else [b"CONNECT api.example:%d HTTP/1.1" % server.port]
    assert [head.splitlines()[0] for head in heads] == told
    assert not any(b"Authorization" in head for head in heads)


@pytest.mark.parametrize(
    "handler", [http.answer(407), http.answer(502), http.redirect("http://x.invalid"), http.close]
)
async def test_a_proxy_that_does_not_connect(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the request reached the provider, nor the proxy."""
    async with HttpStandIn(handler) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        answers = await asked("https://api.twilio.invalid")
    trouble = NoAnswer.LOST if handler is http.close else NoAnswer.UNREACHABLE
    assert answers == [HttpAnswer(trouble=trouble, sent=False)]
    assert {exchange.method for exchange in proxy.exchanges} == {"CONNECT"}
    assert not [each for each in proxy.exchanges if each.body or "authorization" in each.headers]


def test_a_proxy_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent; its address may hold a login, and is not shown."""
    monkeypatch.setenv("HTTPS_PROXY", "socks5://desk:hidden@127.0.0.1:1080")
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as caught:
        Connections("twilio", "https://api.twilio.com", 20.0, keep=True)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("trouble", NoAnswer)
def test_without_an_answer(trouble: NoAnswer) -> None:
    """What never left was not taken; what may have left is unknown. A certificate needs a person."""
    lost = {sent: HttpAnswer(trouble=trouble, sent=sent) for sent in (True, False)}
    left, stayed = (ours.outcome_of(7, lost[sent], "0", (), NOW, "") for sent in (True, False))
    assert (left.delivery, left.kind, left.blame) == (7, UNKNOWN, RECIPIENT)
    assert left.detail == f"the request was sent; its answer was lost: {trouble}"
    blame = ACCOUNT if trouble is NoAnswer.CERTIFICATE else PROVIDER
    assert stayed == Outcome(7, NOT_TAKEN, f"nothing was sent: {trouble}", blame=blame)


TABLE = ours.table("Acme", ours.Rule("400 7", REJECTED, RECIPIENT, "refused", suppress=True, opted_out=True))
# RFC 9110 and RFC 8470 (425): what any server's answer means, whatever it sells.
ANY_SERVER: list[tuple[str, OutcomeKind, Blame, str]] = [
    ("400 7", REJECTED, RECIPIENT, "refused"),
    ("200|204|202 x", UNKNOWN, RECIPIENT, "the answer is not Acme's"),
    (
        "300|301|302|303|304|307 7|308",
        NOT_TAKEN,
        ACCOUNT,
        "redirected, which is not followed: check base_url",
    ),
    ("400|402|406|409|410|415|431|451|499", NOT_TAKEN, ACCOUNT, "Acme does not accept such a request"),
    ("407", NOT_TAKEN, ACCOUNT, "the proxy requires a login"),
    ("408|408 7", UNKNOWN, RECIPIENT, "the server says it stopped waiting for a request that was sent"),
    ("425", NOT_TAKEN, PROVIDER, "did not start processing the request"),
    ("429|429 7", NOT_TAKEN, PROVIDER, "Acme accepts no more requests for now"),
    ("500|502|503 7|504|599", UNKNOWN, RECIPIENT, "Acme failed after the request was sent"),
    ("101|600|0|x 200", UNKNOWN, RECIPIENT, "no rule covers this answer"),
    ("202 taken", ACCEPTED, RECIPIENT, ""),
]


@pytest.mark.parametrize(("each", "kind", "blame", "words"), ANY_SERVER)
def test_what_any_servers_answer_means(each: str, kind: OutcomeKind, blame: Blame, words: str) -> None:
    """Only a provider that is busy, or did not begin, names a time to wait."""
    for said in each.split("|"):
        found = ours.outcome_of(1, HttpAnswer(200, {"retry-after": "7"}), said, TABLE, NOW, "id")
        is_ours, wait = said == "400 7", 7.0 if blame is PROVIDER else None
        assert found == Outcome(1, kind, found.detail, "id", blame, wait, suppress=is_ours, opted_out=is_ours)
        assert found.detail.endswith(f"{words} ({said})" if words else "")
        assert bool(words) == bool(found.detail)


def test_a_doubtful_refusal_ends_no_readers_row() -> None:
    """They are tried again, and the third stops the run; once anybody was accepted, it is about one alone."""
    refused, doubts = Outcome(7, REJECTED, "refused"), Doubts("Acme")
    again = Outcome(7, NOT_TAKEN, "refused", retry_after=1.0)
    stopped = Outcome(7, NOT_TAKEN, "Acme refuses every request (400)", blame=ACCOUNT)
    assert [doubts.weigh(refused, 400) for _ in range(4)] == [again, again, stopped, stopped]
    doubts.has_accepted = True
    assert doubts.weigh(refused, 400) == refused._replace(kind=NOT_TAKEN, blame=FOR_ONE)


@pytest.mark.parametrize(("answer", "raised", "words"), [
    (HttpAnswer(401), Refused, "fix the key"),
    *[(HttpAnswer(status), Refused, "check base_url") for status in (302, 400, 204)],
    *[(HttpAnswer(status), TryAgain, f"now ({status})") for status in (408, 425, 429, 500, 503)],
    *[(HttpAnswer(trouble=each), TryAgain, f"now ({each})") for each in NoAnswer if "cert" not in each],
    (HttpAnswer(trouble=NoAnswer.CERTIFICATE), Refused, "certificate is not trusted"),
    *[(HttpAnswer(200, {}, body), TryAgain, "is invalid") for body in ("", "<html>", "[" * 100_000)],
])  # fmt: skip
def test_a_question_that_is_not_answered(answer: HttpAnswer, raised: type[Exception], words: str) -> None:
    """A refusal needs a person, a failure needs time."""
    with pytest.raises(raised, match=re.escape(words)) as caught:
        ours.checked(answer, "Twilio", "its lists", {401: "fix the key"}, "check base_url")
    assert type(caught.value) is raised


def test_a_question_that_is_answered() -> None:
    assert ours.checked(HttpAnswer(200, {}, '{"a": [1]}'), "Twilio", "it", {}, "") == {"a": [1]}
    assert ours.list_in([1], "Twilio") == [1]
    with pytest.raises(TryAgain, match="Twilio's answer is invalid"):
        ours.list_in({"a": 1}, "Twilio")


SAT, DATE = "Sat, 21 Nov 2026", "Sat, 21 Nov 2026 10:05:30"
WAITS: dict[float | None, list[str]] = {
    0.0: ["0", f"{SAT} 10:04:00 GMT"],
    1.5: ["1.5"],
    7.0: ["7", " 7 ", "\u0667"],
    30.0: [f"{DATE} GMT", f"{DATE} -0000", f"{SAT} 12:05:30 +0200", "Sat Nov 21 10:05:30 2026"],
    DAY: ["86400", "86401", "9" * 15, "Fri, 31 Dec 9999 23:59:59 GMT"],
    None: ["-1", "-0", "9" * 16, "1e9", "0x10", "+7", "7s", "7, 8", "nan", "inf", "", "soon",
           f"{DATE} +9999999999"],
}  # fmt: skip
# X-RateLimit-Reset names a moment in Unix seconds; what looks like milliseconds is far away.
RESETS = [(UNIX + 30, 30.0), (UNIX, 0.0), (UNIX - 1, 0.0), (UNIX * 1000, DAY), (-5, None), ("soon", None)]
RESET = {"x-ratelimit-reset": f"{UNIX + 30}"}


@pytest.mark.parametrize(("headers", "wait"), [
    *[({"retry-after": text}, wait) for wait, texts in WAITS.items() for text in texts],
    *[({"x-ratelimit-reset": str(text)}, wait) for text, wait in RESETS],
    *[({"retry-after": text, **RESET}, wait) for text, wait in (("7", 7.0), ("0", 0.0))],
    *[({"retry-after": text, **RESET}, 30.0) for text in ("-7", "", "soon", "Sat, 99 Nov 2026 10:05:30 GMT")],
    *[(headers, None) for headers in ({}, {"Retry-After": "7"})],  # an answer's names are lower-case
])  # fmt: skip
def test_retry_after(headers: dict[str, str], wait: float | None) -> None:
    """Seconds or a date, else the reset; the past means now, the far future a day, and nonsense nothing."""
    assert retry_after(headers, NOW) == wait


@pytest.mark.parametrize("given_one", [False, True], ids=["before its turn", "just as its turn comes"])
async def test_a_cancelled_task_costs_no_turn(given_one: bool) -> None:
    """Also if it had been given the turn at that very moment; the next one in order has it then."""
    turns, begun = Turns(1), list[str]()
    ends = {name: asyncio.Event() for name in "abcd"}

    async def hold(name: str) -> None:
        async with turns:
            begun.append(name)
            await ends[name].wait()

    a, b, *others = [asyncio.create_task(hold(name)) for name in ends]
    await settle_down()
    if given_one:
        ends["a"].set()
        await a
    b.cancel()
    await asyncio.gather(b, return_exceptions=True)
    ends["a"].set()
    await settle_down()
    assert begun[-1] == "c"
    for end in ends.values():
        end.set()
    await asyncio.gather(a, *others)
    assert begun[-2:] == ["c", "d"]
    async with asyncio.timeout(1), turns as may_begin:
        assert may_begin
