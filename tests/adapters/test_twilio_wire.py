"""Twilio on a bad day: what a server, a network and an environment can do to one text."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commcast.errors import ConfigError
from commcast.model.message import Blame, Delivery, Outcome, OutcomeKind, Sms
from commcast.providers.twilio.adapter import TwilioAdapter
from tests.providers.contract import BOUNDED, collect, send_all
from tests.support.servers import http as standins
from tests.support.servers.http import (
    Exchange,
    Handler,
    HttpStandIn,
    Writer,
    answer,
    in_turn,
    make_certificate,
)
from tests.support.servers.twilio import (
    ACCOUNT,
    CREDENTIALS,
    GOOD,
    NUMBER,
    SERVICE,
    SID,
    TOKEN,
    Twilio,
    adapter,
    error,
    talk,
    texts,
    told,
    unsent,
)

ACCEPTED, UNKNOWN, NOT_TAKEN = OutcomeKind.ACCEPTED, OutcomeKind.UNKNOWN, OutcomeKind.NOT_TAKEN
PROVIDER, ACCOUNT_ = Blame.PROVIDER, Blame.ACCOUNT
STEP = timedelta(milliseconds=400)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    """Neither words nor credentials go to another server, and no connection is made there."""
    other = HttpStandIn(answer(201, GOOD))

    async def scenario() -> Outcome:
        async with (
            other,
            HttpStandIn(standins.redirect(f"{other.url}/x", status)) as server,
            adapter(server.url) as made,
        ):
            (outcome,) = await collect(made, texts(1))
            assert len(server.exchanges) == 1
            return outcome

    outcome = asyncio.run(scenario())
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, ACCOUNT_)
    assert (other.connections, other.exchanges) == (0, [])


LOST: dict[str, tuple[Handler, str]] = {
    "reset after the body": (standins.reset, "broke after"),
    "closed after the body": (standins.close, "broke after"),
    "half an answer": (standins.half(201), "broke after"),
    "half a head": (standins.close_after(20, status=201), "after the request was sent"),
    "garbage": (standins.garbage, "senseless"),
    "endless body": (standins.endless, "senseless"),
    "endless head": (standins.endless_head, "senseless"),
    "500 with HTML": (answer(500, "<html>\x00oops</html>"), "Twilio failed"),
    "502 without a body": (answer(502), "Twilio failed"),
    "503 with a date": (answer(503, "", {"Retry-After": "10"}), "Twilio failed"),
    "a length that is none": (
        standins.raw(b"HTTP/1.1 201 Created\r\nContent-Length: x\r\n\r\n{}"),
        "senseless",
    ),
    "a broken chunk": (
        standins.raw(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}"),
        "after the request was sent",
    ),
    "a broken gzip": (
        standins.raw(b"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"),
        "after the request was sent",
    ),
    "a location that is none": (answer(201, "", {"Location": "http://["}), "not Twilio's"),
    "a cookie": (answer(201, "", {"Set-Cookie": "a=b; Domain=[; Expires=x"}), "not Twilio's"),
}


@pytest.mark.parametrize("name", LOST)
def test_an_answer_that_is_lost(name: str) -> None:
    """Once the request has left, no answer is `unknown`; the request was made once."""
    handler, words = LOST[name]
    (outcome,), server = talk(handler, *texts(1))
    assert outcome.kind is UNKNOWN
    assert words in outcome.detail
    assert len(server.exchanges) == 1


@pytest.mark.parametrize("handler", [standins.hang, standins.drip], ids=["hang", "drip"])
def test_the_deadline_is_total(handler: Handler) -> None:
    """An answer that does not come, or comes byte by byte, ends at the deadline."""
    begin = time.monotonic()
    (outcome,), server = talk(handler, *texts(1), timeout=STEP)
    assert time.monotonic() - begin < BOUNDED
    assert (outcome.kind, "no answer came" in outcome.detail) == (UNKNOWN, True)
    assert len(server.exchanges) == 1


def test_waiting_for_a_connection_takes_nothing_from_the_deadline() -> None:
    """With one connection, the fourth text has as much time as the first, and nobody else's connection."""

    async def slow(exchange: Exchange, writer: Writer) -> None:
        await asyncio.sleep(0.6)
        await writer.answer(201, GOOD)

    server = HttpStandIn(slow)

    async def scenario() -> list[Outcome]:
        async with server, adapter(server.url, connections=1, timeout=timedelta(seconds=2)) as made:
            parts = await asyncio.gather(*(collect(made, [item]) for item in texts(4)))
            return [outcome for part in parts for outcome in part]

    assert {outcome.kind for outcome in asyncio.run(scenario())} == {ACCEPTED}
    assert server.connections == 1


@pytest.mark.parametrize("rude", [False, True])
@pytest.mark.parametrize("count", [0, 1, 200])
def test_a_connection_that_breaks_while_we_speak(count: int, rude: bool) -> None:
    """Some bytes may have left: nobody knows."""
    server = HttpStandIn(answer(201, GOOD), take=count, rude=rude)

    async def scenario() -> Outcome:
        async with server, adapter(server.url) as made:
            (outcome,) = await collect(made, texts(1))
            return outcome

    assert asyncio.run(scenario()).kind is UNKNOWN
    assert server.connections == 1


def test_nobody_listens() -> None:
    """A refused connection took nothing."""

    async def scenario() -> Outcome:
        async with standins.nobody() as url, adapter(url) as made:
            (outcome,) = await collect(made, texts(1))
            return outcome

    outcome = asyncio.run(scenario())
    assert (outcome.kind, outcome.blame, outcome.detail) == (
        NOT_TAKEN,
        PROVIDER,
        "the provider cannot be reached",
    )


@pytest.mark.parametrize("name", ["api.twilio.invalid", "a" * 70 + ".invalid", "api..invalid"])
def test_a_name_without_an_address(name: str) -> None:
    """Nothing is sent to a name that nobody knows, or that is none."""
    outcome = unsent(f"https://{name}")
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, PROVIDER)
    assert "name has no address" in outcome.detail


@pytest.mark.parametrize("fault", ["self-signed", "expired", "other name"])
def test_a_certificate_that_nobody_vouches_for(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent, and a person has to look."""
    if fault == "self-signed":
        certificate = make_certificate(tmp_path)
    elif fault == "expired":
        certificate = make_certificate(tmp_path, valid=timedelta(days=-1))
    else:
        certificate = make_certificate(tmp_path, host="api.twilio.example")
    if fault != "self-signed":
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.pem))
    outcome, server = over_tls(certificate.server_context())
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, ACCOUNT_)
    assert "certificate" in outcome.detail
    assert server.exchanges == []


def over_tls(context: ssl.SSLContext) -> tuple[Outcome, HttpStandIn]:
    server = HttpStandIn(Twilio(), tls=context)

    async def scenario() -> Outcome:
        async with server, adapter(server.url) as made:
            (outcome,) = await collect(made, texts(1))
            return outcome

    return asyncio.run(scenario()), server


def test_a_certificate_that_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS it works the same; SSL_CERT_FILE names further authorities."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.pem))
    outcome, server = over_tls(certificate.server_context())
    assert outcome.kind is ACCEPTED
    assert len(server.exchanges) == 1


def test_a_server_without_tls() -> None:
    """Where TLS cannot be agreed on, nothing is sent."""

    async def scenario() -> tuple[Outcome, bytes]:
        heard = bytearray()

        async def blunt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.extend(await reader.read(10_000))
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        plain = await asyncio.start_server(blunt, standins.HOST, 0)
        port = plain.sockets[0].getsockname()[1]
        async with plain, adapter(f"https://{standins.HOST}:{port}") as made:
            (outcome,) = await collect(made, texts(1))
        return outcome, bytes(heard)

    outcome, heard = asyncio.run(scenario())
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, PROVIDER)
    assert "no TLS connection" in outcome.detail
    assert b"POST" not in heard


def test_a_handshake_that_hangs() -> None:
    """The deadline covers connecting; nothing was sent."""

    async def scenario() -> Outcome:
        with socket.create_server((standins.HOST, 0)) as silent:  # the system connects, nobody speaks
            port = silent.getsockname()[1]
            async with adapter(f"https://{standins.HOST}:{port}", timeout=STEP) as made:
                (outcome,) = await collect(made, texts(1))
                return outcome

    begin = time.monotonic()
    outcome = asyncio.run(scenario())
    assert time.monotonic() - begin < BOUNDED
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, PROVIDER)


def test_a_revoked_token_in_the_middle() -> None:
    """What was accepted stays so; the rest is not taken, and a person has to look."""
    handler = in_turn(answer(201, GOOD), answer(401, error(20003, 401)))
    outcomes, _ = talk(handler, *texts(3))
    assert [outcome.kind for outcome in outcomes] == [ACCEPTED, NOT_TAKEN, NOT_TAKEN]
    assert {outcome.blame for outcome in outcomes[1:]} == {ACCOUNT_}


# --- connections that are kept


def test_connections_are_kept() -> None:
    """Many texts go over one connection."""
    outcomes, server = talk(Twilio(), *texts(10))
    assert {outcome.kind for outcome in outcomes} == {ACCEPTED}
    assert (server.connections, len(server.exchanges)) == (1, 10)


def test_no_more_connections_than_told() -> None:
    """However many texts wait."""
    server = HttpStandIn(Twilio())

    async def scenario() -> list[Outcome]:
        async with server, adapter(server.url, connections=3) as made:
            return await send_all(made, texts(30))

    assert len(asyncio.run(scenario())) == 30
    assert server.connections <= 3


def bodies(server: HttpStandIn) -> list[str]:
    return [exchange.form["Body"] for exchange in server.exchanges]


def _kept(made: TwilioAdapter) -> bool:
    """Whether a connection is kept that is not known to be dead."""
    session = made._client._http.session
    assert session is not None
    assert session.connector is not None
    return any(each.is_connected() for kept in session.connector._conns.values() for each, _ in kept)


def test_a_connection_that_dies_between_two_texts() -> None:
    """The next text has a new connection; each is posted once."""

    async def scenario(server: HttpStandIn) -> list[Outcome]:
        async with server, adapter(server.url, connections=1) as made:
            outcomes = await collect(made, texts(1))
            closed.set()
            await gone.wait()
            while _kept(made):
                await asyncio.sleep(0.01)  # the end of the connection is on its way to us
            return outcomes + await collect(made, texts(2)[1:])

    async def served(exchange: Exchange, writer: Writer) -> None:
        await writer.answer(201, GOOD)
        if len(server.exchanges) == 1:
            await closed.wait()
            writer.close()
            gone.set()

    closed, gone = asyncio.Event(), asyncio.Event()
    server = HttpStandIn(served)
    outcomes = asyncio.run(scenario(server))
    assert [outcome.kind for outcome in outcomes] == [ACCEPTED, ACCEPTED]
    assert (server.connections, len(set(bodies(server))), len(bodies(server))) == (2, 2, 2)


@pytest.mark.parametrize("last", [standins.close, standins.reset], ids=["close", "reset"])
def test_a_kept_connection_that_dies_under_a_text(last: Handler) -> None:
    """The text may have been taken: it is unknown, and not posted again. The next has a new connection."""
    outcomes, server = talk(in_turn(answer(201, GOOD), last, answer(201, GOOD)), *texts(3))
    assert [outcome.kind for outcome in outcomes] == [ACCEPTED, UNKNOWN, ACCEPTED]
    assert len(bodies(server)) == len(set(bodies(server))) == 3
    assert server.connections == 2


def test_a_connection_that_closes_as_we_use_it() -> None:
    """Whoever is quicker: no text is posted twice, and none is called accepted that was not."""
    outcomes, server = talk(standins.then_close(Twilio()), *texts(20))
    posted = bodies(server)
    assert len(posted) == len(set(posted))
    accepted = [outcome for outcome in outcomes if outcome.kind is ACCEPTED]
    assert len(accepted) == len(posted)
    assert {outcome.kind for outcome in outcomes} <= {ACCEPTED, UNKNOWN}


def test_no_cookie_is_kept() -> None:
    """What one answer says is not told with the next request."""
    server = HttpStandIn(answer(201, GOOD, {"Set-Cookie": "who=desk; Path=/"}))

    async def scenario() -> None:
        async with server, adapter(server.url.replace(standins.HOST, "localhost"), connections=1) as made:
            await send_all(made, texts(3))

    asyncio.run(scenario())
    assert ["cookie" in exchange.headers for exchange in server.exchanges] == [False] * 3


# --- leaving


def test_leaving_ends_what_waits() -> None:
    """Who waits for an answer when the context is left hears `unknown`, who waits for a turn `not taken`."""

    async def scenario() -> list[Outcome]:
        async with HttpStandIn(standins.hang) as server:
            made = adapter(server.url, connections=1)
            await made.__aenter__()
            tasks = [asyncio.create_task(collect(made, [item])) for item in texts(3)]
            await server.requested()
            await made.__aexit__(None, None, None)
            return [outcome for part in await asyncio.gather(*tasks) for outcome in part]

    assert sorted(outcome.kind for outcome in asyncio.run(scenario())) == [NOT_TAKEN, NOT_TAKEN, UNKNOWN]


def test_a_resolver_that_hangs_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name service that never answers ends at the deadline, and the loop can end as well."""
    end = threading.Event()

    def stuck(*_: object, **__: object) -> Any:
        end.wait()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    begin = time.monotonic()
    try:
        outcome = unsent("https://api.twilio.invalid", timeout=STEP)
        assert time.monotonic() - begin < BOUNDED
    finally:
        end.set()
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, PROVIDER)


_STUCK = """
import asyncio, socket, threading
from datetime import UTC, datetime, timedelta
from commcast.providers.twilio.adapter import TwilioAdapter
from commcast.config.settings import TwilioProvider
from commcast.model.message import HandOver, Sms
from commcast.providers.twilio.client import Credentials

socket.getaddrinfo = lambda *a, **k: threading.Event().wait()

async def main():
    settings = TwilioProvider(base_url="https://api.twilio.invalid", messaging_service="MG" + "a" * 32)
    settings = settings.model_copy(update={"timeout": timedelta(milliseconds=300)})
    who = Credentials("AC" + "a" * 32, "AC" + "a" * 32, "secret")
    async with TwilioAdapter(settings, who, lambda: datetime.now(UTC)) as adapter:
        async for outcome in adapter.send([HandOver(1, Sms("+491550012345", "x"))]):
            print(outcome.kind)

asyncio.run(main())
"""


def test_no_thread_keeps_the_process() -> None:
    """The interpreter ends though a look-up of a name never does."""
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", _STUCK], capture_output=True, text=True, timeout=60, env=clean, check=False
    )
    assert (done.stdout, done.returncode) == ("not_taken\n", 0), done.stderr


# --- the environment


def test_the_edge_and_region_of_the_environment_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would send to another host; what base_url says counts."""
    monkeypatch.setenv("TWILIO_EDGE", "dublin")
    monkeypatch.setenv("TWILIO_REGION", "ie1")
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "AC" + "f" * 32)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "another")
    assert told(Twilio()).kind is ACCEPTED


def test_a_login_in_netrc_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials are ours alone."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert told(Twilio()).kind is ACCEPTED


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY", "HTTPS_PROXY"])
def test_plain_http_goes_to_no_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leads to this machine alone: the key goes to nobody else in the clear."""
    proxy = HttpStandIn(answer(201, GOOD))

    async def scenario() -> Outcome:
        async with proxy, Twilio().serve() as server:
            monkeypatch.setenv(name, proxy.url)
            async with adapter(server.url) as made:
                (outcome,) = await collect(made, texts(1))
                return outcome

    assert asyncio.run(scenario()).kind is ACCEPTED
    assert proxy.connections == 0


async def _tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: list[bytes]) -> None:
    """A proxy: connects as it is told, and passes bytes on."""
    head = await reader.readuntil(b"\r\n\r\n")
    heard.append(head)
    host, _, port = head.split(b" ")[1].decode().partition(":")
    up, down = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(65536):
            sink.write(piece)
        sink.close()

    await asyncio.gather(pump(reader, down), pump(up, writer), return_exceptions=True)


def test_https_goes_through_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY is used as a tunnel: the proxy hears the server's name and nothing else."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.pem))
    server = HttpStandIn(Twilio(), tls=certificate.server_context())
    heard: list[bytes] = []

    async def scenario() -> Outcome:
        listener = await asyncio.start_server(lambda r, w: _tunnel(r, w, heard), standins.HOST, 0)
        monkeypatch.setenv("HTTPS_PROXY", f"http://{standins.HOST}:{listener.sockets[0].getsockname()[1]}")
        async with server, listener:
            async with adapter(server.url) as made:
                (outcome,) = await collect(made, texts(1))
            await asyncio.sleep(0)
            return outcome

    assert asyncio.run(scenario()).kind is ACCEPTED
    assert len(heard) == 1
    assert heard[0].startswith(b"CONNECT ")
    assert b"Authorization" not in heard[0]
    assert len(server.exchanges) == 1


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (answer(407), "cannot be reached"),
        (answer(502), "cannot be reached"),
        (standins.redirect("http://x.invalid"), "cannot be reached"),
        (standins.close, "before the request was sent"),
    ],
    ids=["407", "502", "redirect", "close"],
)
def test_a_proxy_that_does_not_connect(handler: Handler, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the request reached Twilio, and nothing of it the proxy."""
    proxy = HttpStandIn(handler)

    async def scenario() -> Outcome:
        async with proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            async with adapter("https://api.twilio.invalid") as made:
                (outcome,) = await collect(made, texts(1))
                return outcome

    outcome = asyncio.run(scenario())
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, PROVIDER)
    assert words in outcome.detail
    assert {exchange.method for exchange in proxy.exchanges} == {"CONNECT"}
    assert not [each for each in proxy.exchanges if each.body or "authorization" in each.headers]


def test_no_proxy_is_heeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY leaves the proxy out."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.pem))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", standins.HOST)
    assert over_tls(certificate.server_context())[0].kind is ACCEPTED


def test_a_proxy_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent; its address may hold a login, and is not shown."""
    monkeypatch.setenv("HTTPS_PROXY", "socks5://desk:hidden@127.0.0.1:1080")
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as caught:
        adapter("https://api.twilio.com")
    assert "hidden" not in str(caught.value)


# --- what is written down


class _Kept(logging.Handler):
    """Keeps every record of every logger."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {self.format(record)} {record.args!r}")


@pytest.fixture
def log() -> Iterator[_Kept]:
    """Everything that is logged, by loggers that exist and by new ones, at DEBUG."""
    kept, root = _Kept(), logging.getLogger()
    names = [*logging.root.manager.loggerDict, "twilio.async_http_client", "twilio.http_client", "aiohttp"]
    before = {name: (logging.getLogger(name).level, logging.getLogger(name).disabled) for name in names}
    level = root.level
    root.addHandler(kept)
    root.setLevel(logging.DEBUG)
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger(name).disabled = False
    yield kept
    root.removeHandler(kept)
    root.setLevel(level)
    for name, (old, disabled) in before.items():
        logging.getLogger(name).setLevel(old)
        logging.getLogger(name).disabled = disabled


def test_no_log_holds_a_number_or_a_secret(log: _Kept) -> None:
    """Whatever happens, neither words nor numbers nor credentials are logged by anybody."""
    words = "words-of-the-text"
    handlers: list[Handler] = [
        answer(201, GOOD),
        answer(400, error(21211, 400, f"{NUMBER} is bad")),
        standins.garbage,
        standins.reset,
        standins.half(201),
        answer(302, "", {"Location": "http://x.invalid/"}),
        answer(500, NUMBER),
        answer(201, "", {"Set-Cookie": "a=b; Domain=["}),
    ]
    outcomes = []
    for handler in handlers:
        (outcome,), _ = talk(handler, Delivery(1, Sms(NUMBER, words)))
        outcomes.append(outcome)
    outcomes += [unsent("https://api.twilio.invalid")]
    outcomes += [told(standins.hang, timeout=STEP)]
    logging.getLogger("sanity").debug("hello")
    assert any("sanity hello" in line for line in log.lines)
    secrets = (NUMBER, NUMBER[1:], words, TOKEN, ACCOUNT, SERVICE, SID, "Basic ")
    assert not [line for line in log.lines if any(secret in line for secret in secrets)]
    assert not [outcome for outcome in outcomes if any(secret in outcome.detail for secret in secrets)]


def test_nothing_shows_credentials() -> None:
    """Neither the credentials nor what holds them says them."""
    shown = f"{CREDENTIALS!r} {CREDENTIALS} {adapter('http://127.0.0.1:1')!r}"
    assert TOKEN not in shown
    assert ACCOUNT not in shown


# --- at random


_NAMES = b"Content-Length Transfer-Encoding Content-Encoding Location Set-Cookie Connection Retry-After"
_VALUES = b"chunked gzip deflate br close 0 5 -1 upgrade"
_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(_NAMES.split()),
        st.one_of(st.sampled_from(_VALUES.split()), st.binary(max_size=20)),
    ),
    max_size=4,
)


def _answer(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    head = [b"HTTP/1.1 %d X" % status, *(b"%s: %s" % header for header in headers), b"", body]
    return b"\r\n".join(head)


_BODY = st.one_of(st.binary(max_size=200), st.just(json.dumps(GOOD).encode()))
_WIRE = st.one_of(st.binary(max_size=300), st.builds(_answer, st.integers(0, 999), _HEADERS, _BODY))


@settings(max_examples=60)
@given(_WIRE)
def test_whatever_a_server_says_there_is_one_outcome(data: bytes) -> None:
    """No answer at all breaks `send`; one outcome comes, and one request was made."""
    outcomes, server = talk(standins.raw(data), *texts(1), timeout=timedelta(seconds=5))
    assert [outcome.delivery for outcome in outcomes] == [1]
    assert len(server.exchanges) == 1
    assert len(outcomes[0].detail) < 200
    assert outcomes[0].detail.isprintable()
