"""The heartbeat: bounded, pinned to what was resolved, silent about its token, no way into one's network."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from commcast.oncall.heartbeat import ping, url_of
from tests.support.servers import http as http_standins
from tests.support.servers.http import HttpStandIn, answer, make_certificate, redirect, threaded

SOON = 0.5  # seconds: long enough for an answer of this machine, and for no other


class Names(AbstractResolver):
    """A name service in the test's hand; each look-up gets the next of `answers`, then the last again."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0)
            for each in found.split()
        ]

    async def close(self) -> None:
        """Nothing is held."""


def test_a_get_that_is_answered_with_2xx_is_a_beat() -> None:
    with threaded(HttpStandIn(answer(204))) as server:
        assert ping(f"{server.url}/ping/token?a=b%20c", private=True) == ""
    (exchange,) = server.exchanges
    assert (exchange.method, exchange.target) == ("GET", "/ping/token?a=b%20c")
    assert exchange.headers["user-agent"] == "commcast"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254", "[::ffff:127.0.0.1]", "１２７.0.0.1"],
)
def test_a_private_address_is_refused_unless_it_is_allowed(host: str) -> None:
    why = ping(f"http://{host}:1/secret", private=False)
    assert "is an address of this network; if that is meant: heartbeat_private = true in [tick]" in why
    assert "secret" not in why


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1"])
@pytest.mark.parametrize("private", [True, False])
def test_a_number_in_disguise_is_asked_by_nobody(host: str, private: bool) -> None:
    assert "is no host that can be asked" in ping(f"http://{host}:1/", private=private)


def test_a_name_that_leads_to_a_private_address_is_refused() -> None:
    with threaded(HttpStandIn(answer(200))) as server:
        names = Names("127.0.0.1 ::1")
        why = ping(f"http://beat.example:{server.port}/", private=False, names=names)
    assert why.startswith("beat.example is an address of this network")
    assert server.connections == 0


def test_a_name_is_looked_up_once_so_that_it_cannot_change_meanwhile() -> None:
    """The second answer would lead home: nobody asks for it."""
    names = Names("192.0.2.1", "127.0.0.1")
    with threaded(HttpStandIn(answer(200))) as server:
        why = ping(f"http://beat.example:{server.port}/", private=False, names=names)
    assert names.asked == ["beat.example"]
    assert server.connections == 0
    assert why != ""


def test_where_private_ones_are_allowed_a_name_may_lead_there() -> None:
    with threaded(HttpStandIn(answer(200))) as server:
        names = Names("127.0.0.1")
        assert ping(f"http://beat.example:{server.port}/", private=True, names=names) == ""
    assert server.exchanges[0].headers["host"] == f"beat.example:{server.port}"


def test_a_redirect_is_not_followed() -> None:
    with threaded(HttpStandIn(answer())) as other, threaded(HttpStandIn(redirect(other.url))) as server:
        why = ping(server.url, private=True)
    assert why == "127.0.0.1 answered 302: it is not followed, write where it leads"
    assert other.connections == 0


def test_an_error_is_said_with_its_code() -> None:
    with threaded(HttpStandIn(answer(503, "down"))) as server:
        assert ping(server.url, private=True) == "127.0.0.1 answered 503"


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (http_standins.hang, "gave no answer in time"),
        (http_standins.drip, ""),
        (http_standins.endless, ""),
        (http_standins.garbage, "gave no proper answer"),
        (http_standins.reset, "gave no proper answer"),
        (http_standins.close, "gave no proper answer"),
    ],
)
def test_a_monitor_that_misbehaves_keeps_nobody(handler: http_standins.Handler, why: str) -> None:
    """Of an endless or a dripping answer the head is enough, or the time is over."""
    with threaded(HttpStandIn(handler)) as server:
        said = ping(server.url, private=True, seconds=SOON)
    if why:
        assert said == f"127.0.0.1 {why}"
    else:
        assert said in {"", "127.0.0.1 gave no answer in time"}


def test_a_head_without_an_end_is_given_up() -> None:
    with threaded(HttpStandIn(http_standins.endless_head)) as server:
        assert ping(server.url, private=True, seconds=SOON) != ""


def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/token"
        assert ping(url, private=True) == "127.0.0.1 cannot be reached"


def test_a_name_that_is_not_there() -> None:
    assert ping("https://beat.invalid/t", private=False) == "beat.invalid is a name that cannot be found"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_not_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with threaded(HttpStandIn(answer())) as proxy, threaded(HttpStandIn(answer())) as server:
        monkeypatch.setenv(name, proxy.url)
        assert ping(server.url, private=True) == ""
    assert proxy.connections == 0


def test_the_certificate_is_that_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path, host="beat.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.pem))
    with threaded(HttpStandIn(answer(), tls=certificate.server_context())) as server:
        for name, why in (
            ("beat.example", ""),
            ("other.example", "other.example shows a certificate that cannot be trusted"),
        ):
            url = f"https://{name}:{server.port}/"
            assert ping(url, private=True, names=Names("127.0.0.1")) == why


_STUCK = """
import socket, sys, threading
from commcast.oncall.heartbeat import ping
socket.getaddrinfo = lambda *a, **k: threading.Event().wait()
print(ping("https://beat.invalid/", private=False, seconds=0.3))
"""


def test_a_name_service_that_hangs_keeps_neither_the_tick_nor_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STUCK], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("beat.invalid gave no answer in time\n", 0), done.stderr


@pytest.mark.parametrize("url", ["http://[::1", "https://", "nonsense"])
def test_what_is_no_address_is_said_without_it(url: str) -> None:
    assert ping(url, private=False) != ""


def test_the_address_may_stand_in_the_environment() -> None:
    assert url_of("https://a.example/x", {}) == "https://a.example/x"
    assert url_of("env:BEAT", {"BEAT": " https://a.example/x\n"}) == "https://a.example/x"
    assert url_of("env:BEAT", {}) == ""
