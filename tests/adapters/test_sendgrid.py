"""SendGrid against a stand-in: every line of the outcome table, narrowing, and what a network can do."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from commcast.config.settings import SendGridProvider
from commcast.errors import ConfigError
from commcast.model.incident import Channel
from commcast.model.message import (
    NOT_BEGUN,
    Blame,
    CalendarFile,
    Delivery,
    Mailbox,
    Outcome,
    OutcomeKind,
    Sms,
)
from commcast.providers import http as http_answer
from commcast.providers.base import Adapter
from commcast.providers.http import HttpAnswer
from commcast.providers.sendgrid import adapter as sendgrid
from commcast.providers import http as sendgrid_http
from commcast.providers.sendgrid import outcomes as sendgrid_outcomes
from commcast.providers.sendgrid import request as sendgrid_request
from commcast.providers.sendgrid.adapter import SendGridAdapter
from commcast.providers.sendgrid.client import SendGridClient
from commcast.providers.sendgrid.outcomes import OUTCOMES, Named, Rule, judge, named, request_id
from tests.providers.contract import (
    BOUNDED,
    AdapterContract,
    Arrived,
    Rig,
    collect,
    email,
    hand_overs,
    send_all,
)
from tests.support.servers import http
from tests.support.servers.http import Handler, HttpStandIn, make_certificate
from tests.support.servers.sendgrid import (
    KEY,
    NOW,
    SendGrid,
    clock,
    mail_send,
    official,
    official_faults,
    provider,
)

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
UNKNOWN, NOT_TAKEN = OutcomeKind.UNKNOWN, OutcomeKind.NOT_TAKEN
RECIPIENT, PROVIDER, ACCOUNT = Blame.RECIPIENT, Blame.PROVIDER, Blame.ACCOUNT
SOON = timedelta(milliseconds=700)


def adapter_at(url: str, timeout: timedelta = timedelta(seconds=20), **settings: Any) -> SendGridAdapter:
    return SendGridAdapter(provider(url, timeout, **settings), KEY, clock)


class SendGridRig(Rig):
    """A stand-in that takes all. `batch` is how many readers a request carries."""

    channel = Channel.EMAIL
    secrets = (KEY,)
    batch = 10

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.service = SendGrid()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Adapter]:
        async with self.service.serve() as server:
            settings = provider(server.url, batch=self.batch)
            async with SendGridAdapter(settings, KEY, clock) as adapter:
                yield adapter

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[Callable[[], Adapter]]:
        async with HttpStandIn(http.hang) as server:
            yield lambda: adapter_at(server.url)

    def arrived(self) -> Sequence[Arrived]:
        return [
            Arrived(
                (taken.address,),
                json.dumps(
                    [
                        taken.reading.subject,
                        taken.reading.text,
                        taken.reading.html,
                        taken.person["to"],
                        taken.person["headers"],
                        {name: taken.body.get(name) for name in ("from", "reply_to", "headers")},
                    ],
                    ensure_ascii=False,
                ),
            )
            for taken in self.service.taken
        ]


class TestContract(AdapterContract):
    """The contract, with ten readers a request."""

    rig_class = SendGridRig

    def test_ids_match(self, rig: Rig) -> None:
        """A provider id names a request: its readers share it, and no others have it."""

        async def scenario() -> list[Outcome]:
            async with rig.working() as adapter:
                return await send_all(adapter, hand_overs(rig.channel, 25))

        ids = [outcome.provider_id for outcome in sorted(asyncio.run(scenario()), key=lambda o: o.delivery)]
        assert sorted(ids.count(each) for each in set(ids) - {""}) == [5, 10, 10]


class OneByOneRig(SendGridRig):
    batch = 1


class TestContractOneByOne(AdapterContract):
    """The contract, with one reader a request."""

    rig_class = OneByOneRig


def send(
    service: Handler,
    items: Sequence[Delivery],
    timeout: timedelta = timedelta(seconds=20),
    **settings: Any,
) -> tuple[dict[int, Outcome], HttpStandIn]:
    """Hand one batch over; return the outcomes by delivery, and the server with what it saw."""

    async def scenario() -> tuple[dict[int, Outcome], HttpStandIn]:
        async with HttpStandIn(service) as server:
            async with adapter_at(server.url, timeout, **settings) as adapter:
                outcomes = await collect(adapter, items)
            assert len({each.delivery for each in outcomes}) == len(outcomes) == len(items)
            return {each.delivery: each for each in outcomes}, server

    return asyncio.run(scenario())


def batch(count: int) -> list[Delivery]:
    return hand_overs(Channel.EMAIL, count)


def plain(count: int) -> list[Delivery]:
    """So many mails that can be in one request."""
    return [Delivery(number, email(number)) for number in range(1, count + 1)]


def kinds(outcomes: dict[int, Outcome]) -> set[tuple[OutcomeKind, Blame]]:
    return {(each.kind, each.blame) for each in outcomes.values()}


# --- the table

ID = {"X-Message-Id": "SG-1"}
# status, headers, body, and what that must mean: kind, blame, words
CASES: list[tuple[int, dict[str, str], Any, OutcomeKind, Blame, str]] = [
    (202, ID, b"", ACCEPTED, RECIPIENT, ""),
    (202, ID, b"{broken", ACCEPTED, RECIPIENT, ""),
    (202, {}, b"", UNKNOWN, RECIPIENT, "not SendGrid's"),
    (202, {"X-Message-Id": "\x01 <>"}, b"", UNKNOWN, RECIPIENT, "not SendGrid's"),
    (200, ID, {"message": "queued"}, UNKNOWN, RECIPIENT, "not SendGrid's"),
    (204, {}, b"", UNKNOWN, RECIPIENT, "not SendGrid's"),
    (301, {"Location": "/"}, b"", NOT_TAKEN, ACCOUNT, "base_url"),
    (304, {}, b"", NOT_TAKEN, ACCOUNT, "base_url"),
    (400, {}, {"errors": []}, REJECTED, RECIPIENT, "refuses the request (400)"),
    (401, {}, {"errors": [{"message": "Maximum credits exceeded"}]}, NOT_TAKEN, ACCOUNT, "credits"),
    (403, {}, {"errors": [{"message": "no"}]}, NOT_TAKEN, ACCOUNT, "not verified"),
    (404, {}, "<html>", NOT_TAKEN, ACCOUNT, "base_url"),
    (405, {}, b"", NOT_TAKEN, ACCOUNT, "base_url"),
    (406, {}, b"", NOT_TAKEN, ACCOUNT, "such a request"),
    (407, {}, b"", NOT_TAKEN, ACCOUNT, "proxy"),
    (408, {}, b"", UNKNOWN, RECIPIENT, "stopped waiting"),
    (409, {}, b"", NOT_TAKEN, ACCOUNT, "such a request"),
    (413, {}, "too large", REJECTED, RECIPIENT, "refuses the request (413)"),
    (415, {}, b"", NOT_TAKEN, ACCOUNT, "such a request"),
    (425, {}, b"", NOT_TAKEN, PROVIDER, "did not begin"),
    (429, {}, {"errors": [{"message": "too many requests"}]}, NOT_TAKEN, PROVIDER, "no more requests"),
    (500, {}, "<html>oops reader1@private.example</html>", UNKNOWN, RECIPIENT, "failed"),
    (502, {}, b"", UNKNOWN, RECIPIENT, "failed"),
    (503, ID, b"", UNKNOWN, RECIPIENT, "failed"),
    (504, {}, b"", UNKNOWN, RECIPIENT, "failed"),
    (600, ID, b"", UNKNOWN, RECIPIENT, "no rule"),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{case[0]}{'-id' if case[1] is ID else ''}" for case in CASES])
def test_every_answer_means_what_the_table_says(
    case: tuple[int, dict[str, str], Any, OutcomeKind, Blame, str],
) -> None:
    """One reader, one request, one answer; the request is never repeated."""
    status, headers, body, kind, blame, words = case
    outcomes, server = send(SendGrid(answers=[http.answer(status, body, headers)]), plain(1))
    if status in {400, 413}:
        kind = NOT_TAKEN  # asked about again, as long as nobody was accepted
    assert (outcomes[1].kind, outcomes[1].blame) == (kind, blame)
    assert words in outcomes[1].detail
    assert "private" not in outcomes[1].detail
    assert outcomes[1].provider_id == ("SG-1" if kind is ACCEPTED else "")
    assert [exchange.method for exchange in server.exchanges] == ["POST"]
    assert server.connections == 1


@pytest.mark.parametrize("line", range(len(OUTCOMES)))
def test_every_line_of_the_table_counts(line: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one line some answer above means something else."""

    def meanings() -> list[Rule]:
        answers = (
            HttpAnswer(case[0], {name.lower(): value for name, value in case[1].items()}) for case in CASES
        )
        return [judge(answer) for answer in answers]

    whole = meanings()
    monkeypatch.setattr(sendgrid_outcomes, "OUTCOMES", OUTCOMES[:line] + OUTCOMES[line + 1 :])
    assert meanings() != whole


def test_every_answer_is_judged() -> None:
    """No status is without a meaning, and what is no plain yes or documented no is unknown."""
    for status in range(100, 1000):
        rule = judge(HttpAnswer(status))
        assert rule.kind is not ACCEPTED
        if not 300 <= status < 500:
            assert rule.kind is UNKNOWN


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": format_datetime(NOW + timedelta(seconds=90))}, 90.0),
        ({}, None),
        ({"Retry-After": "1000000000"}, 86_400.0),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"X-RateLimit-Reset": str(int(NOW.timestamp()) - 60)}, 0.0),
        ({"X-RateLimit-Reset": str(int(NOW.timestamp()) + 60)}, 60.0),
    ],
)
def test_too_many_requests(headers: dict[str, str], wait: float | None) -> None:
    """Nothing was taken, and the time that SendGrid names is handed on; nothing is asked before it."""
    outcomes, server = send(SendGrid(answers=[http.answer(429, b"", headers)]), plain(3))
    assert {each.retry_after for each in outcomes.values()} == {wait}
    assert kinds(outcomes) == {(NOT_TAKEN, PROVIDER)}
    assert len(server.exchanges) == 1


def test_a_request_id_is_kept_short_and_clean() -> None:
    """What SendGrid calls a request is stored and shown: no control character, and no end of the world."""
    answer = HttpAnswer(202, {"x-message-id": "a\x1b[31m_b-c.d" + "e" * 500})
    assert request_id(answer) == ("a31m_b-c.d" + "e" * 500)[:100]


# --- what a network can do

LOST: list[tuple[str, Handler, str]] = [
    ("hang", http.hang, "no answer"),
    ("drip", http.drip, "no answer"),
    ("reset", http.reset, "broke"),
    ("close", http.close, "broke"),
    ("half", http.half(202, b"{}", ID), "broke"),
    ("garbage", http.garbage, "senseless"),
    ("endless", http.endless, "senseless"),
    ("endless head", http.endless_head, "senseless"),
    ("bad chunks", http.raw(b"HTTP/1.1 202 A\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "broke"),
    ("bad length", http.raw(b"HTTP/1.1 202 A\r\nContent-Length: x\r\n\r\n"), "not SendGrid's"),
    ("no status", http.raw(b"HTTP/1.1 abc\r\n\r\n"), "senseless"),
    ("half chunk", http.raw(b"HTTP/1.1 202 A\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nab"), "broke"),
    ("only continue", http.raw(b"HTTP/1.1 100 Continue\r\n\r\n"), "broke"),
]


@pytest.mark.parametrize("how", LOST, ids=[each[0] for each in LOST])
def test_a_lost_answer_is_unknown(how: tuple[str, Handler, str]) -> None:
    """Once the request has left, nobody knows: no repeat, no traceback, and an end in bounded time."""
    _, handler, words = how
    begin = time.monotonic()
    timeout = SOON if handler in (http.hang, http.drip) else timedelta(seconds=20)
    outcomes, server = send(SendGrid(answers=[handler]), plain(3), timeout)
    assert time.monotonic() - begin < BOUNDED
    assert kinds(outcomes) == {(UNKNOWN, RECIPIENT)}
    assert all(words in each.detail for each in outcomes.values()), outcomes[1].detail
    assert [exchange.method for exchange in server.exchanges] == ["POST"]


def test_an_answer_is_whole_or_unknown() -> None:
    """Cut at whatever byte: nothing counts as accepted, though the line with the id was there."""
    whole = b"HTTP/1.1 202 A\r\nX-Message-Id: SG-1\r\nContent-Length: 2\r\n\r\n{}"

    async def scenario() -> list[OutcomeKind]:
        service = SendGrid(answers=[http.raw(whole[:count]) for count in range(len(whole) + 1)])
        found = []
        async with service.serve() as server, adapter_at(server.url) as adapter:
            for _ in range(len(whole) + 1):
                found += [outcome.kind for outcome in await collect(adapter, plain(1))]
        return found

    assert asyncio.run(scenario()) == [UNKNOWN] * len(whole) + [ACCEPTED]


@pytest.mark.parametrize("take", [1, 40, 2000])
@pytest.mark.parametrize("rude", [True, False])
def test_a_connection_lost_in_the_request_is_unknown(take: int, rude: bool) -> None:
    """Whether it was the whole request that arrived, nobody knows."""

    async def scenario() -> tuple[list[Outcome], int]:
        async with HttpStandIn(http.hang, take=take, rude=rude) as server, adapter_at(server.url) as adapter:
            return await collect(adapter, plain(20)), server.connections

    outcomes, connections = asyncio.run(scenario())
    assert {each.kind for each in outcomes} == {UNKNOWN}
    assert connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(status: int) -> None:
    """The other server gets nothing at all, least of all the key; nothing counts as accepted."""

    async def scenario() -> tuple[list[Outcome], HttpStandIn]:
        async with HttpStandIn(http.answer(202, b"", ID)) as other:
            service = SendGrid(answers=[http.redirect(f"{other.url}/v3/mail/send", status)])
            async with service.serve() as server, adapter_at(server.url) as adapter:
                return await collect(adapter, plain(2)), other

    outcomes, other = asyncio.run(scenario())
    assert {(each.kind, each.blame) for each in outcomes} == {(NOT_TAKEN, ACCOUNT)}
    assert other.connections == 0


def without_connection(url: str) -> list[Outcome]:
    async def scenario() -> list[Outcome]:
        async with adapter_at(url, SOON) as adapter:
            return await collect(adapter, plain(2))

    return asyncio.run(scenario())


@pytest.mark.parametrize("url", ["https://nowhere.invalid", "https://a..b.invalid", "http://[::1]:1"])
def test_no_connection(url: str) -> None:
    """Where nothing left, nothing was taken: the next run tries again."""
    outcomes = without_connection(url)
    assert {(each.kind, each.blame) for each in outcomes} == {(NOT_TAKEN, PROVIDER)}


def test_connection_refused() -> None:
    async def scenario() -> list[Outcome]:
        async with http.nobody() as url, adapter_at(url) as adapter:
            return await collect(adapter, plain(2))

    outcomes = asyncio.run(scenario())
    assert {(each.kind, each.blame) for each in outcomes} == {(NOT_TAKEN, PROVIDER)}
    assert outcomes[0].detail == "the provider cannot be reached"


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    """Refused before a byte of the request has left, and a person has to look."""
    certificate = make_certificate(tmp_path)

    async def scenario() -> tuple[list[Outcome], HttpStandIn]:
        handler, context = http.answer(202, b"", ID), certificate.server_context()
        async with HttpStandIn(handler, tls=context) as server, adapter_at(server.url) as adapter:
            return await collect(adapter, plain(2)), server

    outcomes, server = asyncio.run(scenario())
    assert {(each.kind, each.blame) for each in outcomes} == {(NOT_TAKEN, ACCOUNT)}
    assert "certificate" in outcomes[0].detail
    assert not server.exchanges


@pytest.mark.parametrize(
    ("made", "taken"),
    [({}, True), ({"host": "other.example"}, False), ({"valid": timedelta(days=-1)}, False)],
    ids=["trusted", "another host's", "run out"],
)
def test_tls(made: dict[str, Any], taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's authorities are asked, for this host and for now."""
    certificate = make_certificate(tmp_path, **made)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.pem))
    service = SendGrid()

    async def scenario() -> list[Outcome]:
        context = certificate.server_context()
        async with HttpStandIn(service, tls=context) as server, adapter_at(server.url) as adapter:
            return await collect(adapter, plain(2))

    wanted = (ACCEPTED, RECIPIENT) if taken else (NOT_TAKEN, ACCOUNT)
    assert {(each.kind, each.blame) for each in asyncio.run(scenario())} == {wanted}
    assert len(service.taken) == (2 if taken else 0)


def test_a_server_that_speaks_no_tls() -> None:
    """Its answer to the handshake is no answer to the request."""

    async def scenario() -> tuple[list[Outcome], HttpStandIn]:
        async with (
            HttpStandIn(http.garbage, take=5) as server,
            adapter_at(server.url.replace("http:", "https:"), SOON) as adapter,
        ):
            return await collect(adapter, plain(2)), server

    outcomes, server = asyncio.run(scenario())
    assert {(each.kind, each.blame) for each in outcomes} == {(NOT_TAKEN, PROVIDER)}
    assert not server.exchanges


def test_a_connection_that_dies_between_two_requests_costs_nothing() -> None:
    """Each request has a connection of its own, so that a kept one cannot die under it."""
    service = SendGrid()

    async def closing(exchange: http.Exchange, writer: http.Writer) -> None:
        await http.then_close(service)(exchange, writer)

    async def scenario() -> tuple[list[Outcome], HttpStandIn]:
        async with HttpStandIn(closing) as server, adapter_at(server.url, batch=1) as adapter:
            return await send_all(adapter, plain(6)), server

    outcomes, server = asyncio.run(scenario())
    assert {each.kind for each in outcomes} == {ACCEPTED}
    assert len(server.exchanges) == server.connections == 6


def test_a_proxy_is_used_as_urllib_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """http_proxy and no_proxy mean what they mean to every other program."""
    seen: list[str] = []

    async def proxy(exchange: http.Exchange, writer: http.Writer) -> None:
        seen.append(exchange.target)
        await writer.answer(202, b"", ID)

    async def scenario() -> list[Outcome]:
        async with HttpStandIn(proxy) as server, adapter_at("http://localhost:1") as adapter:
            monkeypatch.setenv("http_proxy", server.url)
            first = await collect(adapter, plain(1))
            monkeypatch.setenv("no_proxy", "localhost")
            return [*first, *await collect(adapter, plain(1))]

    outcomes = asyncio.run(scenario())
    assert [each.kind for each in outcomes] == [ACCEPTED, NOT_TAKEN]
    assert seen == ["http://localhost:1/v3/mail/send"]


def test_a_proxy_for_tls_gets_nothing_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that refuses the tunnel saw the server's name, no key, and nothing was taken."""
    seen: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 Login\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def scenario() -> list[Outcome]:
        server = await asyncio.start_server(refuse, http.HOST, 0)
        async with server, adapter_at("https://api.sendgrid.invalid") as adapter:
            monkeypatch.setenv("https_proxy", f"http://{http.HOST}:{server.sockets[0].getsockname()[1]}")
            return await collect(adapter, plain(1))

    (outcome,) = asyncio.run(scenario())
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, PROVIDER)
    assert seen[0].startswith(b"CONNECT api.sendgrid.invalid:443 ")
    assert KEY.encode() not in seen[0]


# --- narrowing


@pytest.mark.parametrize("names", [True, False])
def test_one_bad_address_costs_one_reader(names: bool) -> None:
    """Of 250 readers 249 are served once, whether or not SendGrid says whom it means."""
    items = plain(250)
    bad = items[123].message.to
    assert isinstance(bad, Mailbox)
    service = SendGrid(refuses=frozenset({bad.address}), names=names)
    outcomes, server = send(service, items)
    assert outcomes[124].kind is REJECTED
    assert {each.kind for number, each in outcomes.items() if number != 124} == {ACCEPTED}
    assert sorted(taken.address for taken in service.taken) == sorted(
        item.message.to.address
        for item in items
        if item.delivery != 124 and isinstance(item.message.to, Mailbox)
    )
    assert len(server.exchanges) == 2 if names else len(server.exchanges) <= 18
    assert bad.address not in outcomes[124].detail


@pytest.mark.parametrize("names", [True, False])
def test_several_bad_addresses(names: bool) -> None:
    """Each costs one reader, wherever it stands."""
    items = plain(64)
    service = SendGrid(refuses=frozenset(f"reader{n}@private.example" for n in (10, 11, 40, 64)), names=names)
    outcomes, _ = send(service, items)
    assert {number for number, each in outcomes.items() if each.kind is REJECTED} == {10, 11, 40, 64}
    assert len(service.taken) == 60


def complaint(*fields: Any, status: int = 400) -> Handler:
    errors = [{"message": "reader1@private.example is bad", "field": each, "help": None} for each in fields]
    return http.answer(status, {"errors": errors})


@pytest.mark.parametrize(
    "fields",
    [
        ["from.email"],
        ["subject"],
        ["content.0.value"],
        ["headers.List-Id"],
        ["asm.group_id"],
        ["personalizations"],
        ["personalizations.0.to.0.email", "from"],
        ["personalizations.0.headers", "personalizations.1.headers", "personalizations.2.headers"],
    ],
)
def test_a_message_that_is_refused_stops_the_run(fields: list[str]) -> None:
    """What is the same for all is no reader's fault: nobody is refused for good, nothing is narrowed."""
    outcomes, server = send(SendGrid(answers=[complaint(*fields)]), plain(3))
    assert kinds(outcomes) == {(NOT_TAKEN, ACCOUNT)}
    assert "refuses the message" in outcomes[1].detail
    assert "private" not in outcomes[1].detail
    assert len(server.exchanges) == 1


@pytest.mark.parametrize("status", [400, 413])
def test_where_nobody_is_accepted_it_is_us(status: int) -> None:
    """Three readers refused without a word, none accepted: nobody is refused for good."""
    service = SendGrid(answers=[http.answer(status, "no") for _ in range(500)])
    outcomes, server = send(service, plain(250))
    assert kinds({n: outcomes[n] for n in (1, 2)}) == {(NOT_TAKEN, RECIPIENT)}
    assert kinds({n: each for n, each in outcomes.items() if n > 2}) == {(NOT_TAKEN, ACCOUNT)}
    assert len(server.exchanges) < 20


def test_readers_named_for_what_is_ours_are_not_all_refused() -> None:
    """A complaint of one personalization after another, but not of its address, is about the message."""
    service = SendGrid(answers=[complaint("personalizations.0.substitutions") for _ in range(100)])
    outcomes, server = send(service, plain(50))
    assert kinds({n: outcomes[n] for n in (1, 2)}) == {(NOT_TAKEN, RECIPIENT)}
    assert kinds({n: each for n, each in outcomes.items() if n > 2}) == {(NOT_TAKEN, ACCOUNT)}
    assert len(server.exchanges) == 3


def test_bad_addresses_that_are_named_one_by_one() -> None:
    """However many: a bad address says nothing of the message."""
    items = plain(12)
    first = [complaint("personalizations.0.to.0.email") for _ in range(6)]
    outcomes, server = send(SendGrid(answers=first), items)
    assert [number for number, each in outcomes.items() if each.kind is REJECTED] == [1, 2, 3, 4, 5, 6]
    assert kinds({n: each for n, each in outcomes.items() if n > 6}) == {(ACCEPTED, RECIPIENT)}
    assert len(server.exchanges) == 7


def test_one_reader_who_is_named_for_his_own_lines() -> None:
    """A complaint of a personalization alone is about that reader, once another was accepted."""

    async def scenario() -> list[Outcome]:
        bad = complaint("personalizations.0.substitutions")
        service = SendGrid(answers=[bad])
        async with service.serve() as server, adapter_at(server.url) as adapter:
            first = await collect(adapter, plain(1))
            service.answers = []
            accepted = await collect(adapter, plain(1))
            service.answers = [bad]
            return [*first, *accepted, *await collect(adapter, plain(1))]

    first, accepted, again = asyncio.run(scenario())
    assert (first.kind, first.retry_after) == (NOT_TAKEN, 1.0)
    assert (accepted.kind, again.kind) == (ACCEPTED, REJECTED)


def test_a_halt_ends_the_narrowing() -> None:
    """After Ctrl-C or a stop no further request is begun, though a refused one is being taken apart."""

    async def scenario() -> tuple[list[Outcome], int]:
        service = SendGrid(refuses=frozenset({"reader1@private.example"}), names=False)
        async with service.serve() as server, adapter_at(server.url) as adapter:
            found = []
            async for outcome in adapter.send(plain(64)):
                found.append(outcome)
                adapter.halt()
            return found, len(server.exchanges)

    outcomes, asked = asyncio.run(scenario())
    assert len(outcomes) == 64
    assert asked <= 8
    assert {outcome.detail for outcome in outcomes[1:]} <= {NOT_BEGUN, ""}
    assert sum(outcome.kind is ACCEPTED for outcome in outcomes) < 64


def test_after_a_halt_no_request_is_begun() -> None:
    """What waits for its turn is given back at once; what is in flight finishes."""

    async def scenario() -> tuple[list[Outcome], list[Outcome], int]:
        go_on = asyncio.Event()

        async def wait(exchange: http.Exchange, writer: http.Writer) -> None:
            await go_on.wait()
            await writer.answer(202, headers=ID)

        async with HttpStandIn(wait) as server, adapter_at(server.url, connections=1) as adapter:
            first = asyncio.create_task(collect(adapter, plain(3)))
            await server.requested()
            others = [asyncio.create_task(collect(adapter, plain(3))) for _ in range(4)]
            await asyncio.sleep(0)
            adapter.halt()
            given_back = [each for found in await asyncio.gather(*others) for each in found]
            given_back += await collect(adapter, plain(2))
            go_on.set()
            return await first, given_back, len(server.exchanges)

    finished, given_back, asked = asyncio.run(scenario())
    assert {each.kind for each in finished} == {ACCEPTED}
    assert len(given_back) == 14
    assert {(each.kind, each.detail) for each in given_back} == {(NOT_TAKEN, NOT_BEGUN)}
    assert asked == 1


def test_no_more_requests_are_under_way_than_there_are_connections() -> None:
    """However many batches are handed over at once."""
    most, under_way = 0, 0

    async def count(exchange: http.Exchange, writer: http.Writer) -> None:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)  # nothing waits for it: it only lets others come meanwhile
        under_way -= 1
        await writer.answer(202, headers=ID)

    async def scenario() -> list[list[Outcome]]:
        async with HttpStandIn(count) as server, adapter_at(server.url, connections=3) as adapter:
            return await asyncio.gather(*(collect(adapter, plain(4)) for _ in range(12)))

    found = asyncio.run(scenario())
    assert {each.kind for outcomes in found for each in outcomes} == {ACCEPTED}
    assert sum(map(len, found)) == 48
    assert most <= 3


def test_requests_are_made_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a batch costs to compare and to merge, the loop serves others meanwhile; one at a time."""
    threads: list[int] = []
    most, under_way = 0, 0
    honest = sendgrid_request.requests

    def watched(*given: Any) -> Any:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        threads.append(threading.get_ident())
        try:
            return honest(*given)
        finally:
            under_way -= 1

    monkeypatch.setattr(sendgrid, "requests", watched)

    async def scenario() -> None:
        async with SendGrid().serve() as server, adapter_at(server.url) as adapter:
            await asyncio.gather(*(collect(adapter, plain(4)) for _ in range(6)))

    asyncio.run(scenario())
    assert len(threads) == 6
    assert threading.get_ident() not in threads
    assert most == 1


@pytest.mark.parametrize(
    ("answer", "part", "rest"),
    [
        (http.answer(429, b"", {"Retry-After": "9"}), (NOT_TAKEN, PROVIDER), (NOT_TAKEN, PROVIDER)),
        (http.answer(500), (UNKNOWN, RECIPIENT), (NOT_TAKEN, PROVIDER)),
        (http.reset, (UNKNOWN, RECIPIENT), (NOT_TAKEN, PROVIDER)),
        (http.answer(202), (UNKNOWN, RECIPIENT), (NOT_TAKEN, PROVIDER)),
        (http.answer(401), (NOT_TAKEN, ACCOUNT), (NOT_TAKEN, ACCOUNT)),
        (http.answer(403), (NOT_TAKEN, ACCOUNT), (NOT_TAKEN, ACCOUNT)),
    ],
    ids=["429", "500", "reset", "202 without id", "401", "403"],
)
def test_another_answer_while_narrowing(
    answer: Handler, part: tuple[OutcomeKind, Blame], rest: tuple[OutcomeKind, Blame]
) -> None:
    """It is about the part that was asked; what was not begun was surely not taken."""
    service = SendGrid(answers=[http.answer(400), answer])
    outcomes, server = send(service, plain(8))
    assert kinds({n: outcomes[n] for n in range(1, 5)}) == {part}
    assert kinds({n: outcomes[n] for n in range(5, 9)}) == {rest}
    assert len(server.exchanges) == 2
    assert not service.taken


def test_after_a_refused_key_the_rest_is_not_tried() -> None:
    """A key that is revoked in the middle: whom it had served stays served, the rest waits for a person."""
    items = [Delivery(n, replace(email(n), text="line\n" * n)) for n in range(1, 5)]  # one request each
    good = SendGrid()
    outcomes, server = send(http.in_turn(good, good, http.answer(401), good), items)
    assert [outcomes[n].kind for n in range(1, 5)] == [ACCEPTED, ACCEPTED, NOT_TAKEN, NOT_TAKEN]
    assert {outcomes[n].blame for n in (3, 4)} == {ACCOUNT}
    assert len(server.exchanges) == 3


def test_narrowing_ends_before_the_lease_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is no time for is given back untried; the last request has its whole timeout left."""
    monkeypatch.setattr(sendgrid, "DEADLINE", 21.0)
    service = SendGrid(answers=[_slowly(http.answer(400)) for _ in range(3)])
    outcomes, server = send(service, plain(8), timedelta(seconds=20))
    assert len(server.exchanges) == 1
    assert kinds(outcomes) == {(NOT_TAKEN, PROVIDER)}
    assert "in time" in outcomes[1].detail


def _slowly(handler: Handler) -> Handler:
    async def handle(exchange: http.Exchange, writer: http.Writer) -> None:
        await asyncio.sleep(1.1)  # longer than the deadline leaves; nothing waits for anything else
        await handler(exchange, writer)

    return handle


def test_one_send_ends_before_its_lease() -> None:
    """The longest request that the settings allow fits in, with time to spare before the lease ends."""
    assert sendgrid.DEADLINE < 25 * 60
    assert adapter_at("http://127.0.0.1:1").deadline == sendgrid.DEADLINE


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("", Named()),
        ("<html>", Named()),
        ("[]", Named()),
        ('{"errors": {}}', Named()),
        ('{"errors": [1, null, {"field": null}, {"field": 7}]}', Named()),
        ("[" * 100_000, Named()),
        ('{"errors": [{"field": "personalizations.9999.to"}]}', Named()),
        ('{"errors": [{"field": "personalizations.1"}]}', Named(frozenset({1}), (), True)),
        ('{"errors": [{"field": "personalizations.1.to.0.email"}]}', Named(frozenset({1}))),
        ('{"errors": [{"field": "personalizations.1.to"}]}', Named(frozenset({1}))),
        ('{"errors": [{"field": "personalizations.1.to.0.name"}]}', Named(frozenset({1}), (), True)),
        ('{"errors": [{"field": "from\\u001b[31m"}]}', Named()),
        ('{"errors": [{"field": "from"}, {"field": "from"}]}', Named(frozenset(), ("from",))),
    ],
)
def test_what_a_refusal_names(body: str, wanted: Named) -> None:
    """Read with suspicion: what cannot be read names nothing."""
    assert named(HttpAnswer(400, {}, body), 3) == wanted


# --- batches


def test_a_thousand_and_one_readers() -> None:
    """Two requests; each reader once, in no other's personalization."""
    service = SendGrid()
    items = batch(1001)
    outcomes, server = send(service, items, batch=1000)
    assert {each.kind for each in outcomes.values()} == {ACCEPTED}
    assert len(server.exchanges) == 2
    assert len({taken.address for taken in service.taken}) == 1001
    for taken in service.taken:
        assert json.dumps(taken.person).count("@private.example") == 1
        number = taken.address.partition("@")[0].removeprefix("reader")
        assert f"From here to there \u2013 {number}\n" in taken.reading.text


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, 250),
        ({"batch": 1000}, 1000),
        ({"per_second": 100}, 5),
        ({"per_second": 1}, 1),
        ({"per_second": 100_000}, 250),
    ],
)
def test_how_many_readers_a_request_carries(settings: dict[str, Any], size: int) -> None:
    """As many as is set, and no more than a twentieth of a second's limit."""
    adapter = adapter_at("http://127.0.0.1:1", connections=3, **settings)
    assert adapter.batch_size == size
    assert adapter.window == 3 * size
    assert adapter.per_second == settings.get("per_second", 0)


def test_only_mail() -> None:
    with pytest.raises(TypeError):
        send(SendGrid(), [Delivery(1, Sms("+4915112345678", "hi"))])


# --- keys, logs, ends


@pytest.mark.parametrize("key", [None, "", "  ", "SG.a\nb", "SG.\u00e9", "SG a", "SG.\x00"])
def test_a_key_that_is_none(key: str | None) -> None:
    """Said before anything is sent, with the variable's name and without the key."""
    with pytest.raises(ConfigError, match="SENDGRID_API_KEY") as caught:
        SendGridAdapter(SendGridProvider(), key, clock)
    assert not key or not key.strip() or key not in str(caught.value)


def test_white_space_around_a_key_is_nothing() -> None:
    """A line end behind a key in a file is no part of it."""
    service = SendGrid()

    async def scenario() -> list[Outcome]:
        async with (
            service.serve() as server,
            SendGridAdapter(provider(server.url), f" {KEY}\n", clock) as adapter,
        ):
            return await collect(adapter, plain(1))

    assert asyncio.run(scenario())[0].kind is ACCEPTED


def test_nothing_secret_is_logged(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """At DEBUG, with every logger switched on, neither the key nor an address nor a word is logged."""
    items = plain(3)
    handlers = [http.answer(400), http.answer(500), http.hang]
    for name in ("python_http_client", "python_http_client.client", "sendgrid", "urllib", "http.client"):
        caplog.set_level(logging.DEBUG, logger=name)
    with caplog.at_level(logging.DEBUG):
        send(SendGrid(), items)
        for handler in handlers:
            send(SendGrid(answers=[handler]), items, SOON)
        for name in list(logging.root.manager.loggerDict):
            logging.getLogger(name).disabled = False
        send(SendGrid(), items)
    told = caplog.text + "".join(capfd.readouterr())
    for word in (KEY, "Bearer", "reader1", "private.example", "Card payments", "here to there"):
        assert word not in told


def test_an_adapter_shows_no_key() -> None:
    """Not even to whoever prints it in a traceback."""
    adapter = adapter_at("http://127.0.0.1:1")
    assert KEY not in repr(adapter) + repr(SendGridClient("http://127.0.0.1:1", KEY, 1))


def test_a_request_that_was_given_up_is_never_sent() -> None:
    """Cut before its first byte: a thread that is still dialling sends nothing afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        dialled, go_on = asyncio.Event(), asyncio.Event()

        async def scenario() -> tuple[list[Outcome], HttpStandIn]:
            loop = asyncio.get_running_loop()
            honest = socket.create_connection

            def slow(*args: Any, **more: Any) -> Any:
                sock = honest(*args, **more)
                loop.call_soon_threadsafe(dialled.set)
                asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)
                ended.append(True)
                return sock

            ended: list[bool] = []
            patch.setattr(socket, "create_connection", slow)
            service = SendGrid()
            async with service.serve() as server:
                adapter = adapter_at(server.url)
                await adapter.__aenter__()
                task = asyncio.create_task(collect(adapter, plain(2)))
                await dialled.wait()
                await adapter.__aexit__(None, None, None)
                outcomes = await task
                go_on.set()
                threads = [each for each in threading.enumerate() if each.name == "sendgrid"]
                for thread in threads:
                    await asyncio.to_thread(thread.join, 10)
                assert ended
                assert not server.exchanges
                return outcomes, server

        outcomes, _ = asyncio.run(scenario())
    assert {each.kind for each in outcomes} == {NOT_TAKEN}


def test_a_deadline_while_dialling_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server or a route that never answers: nothing left, nothing will."""
    release = threading.Event()

    def never(*_: Any, **__: Any) -> Any:
        release.wait(20)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", never)
    begin = time.monotonic()
    outcomes = without_connection("http://127.0.0.1:1")
    assert time.monotonic() - begin < BOUNDED
    release.set()
    assert {(each.kind, each.blame) for each in outcomes} == {(NOT_TAKEN, PROVIDER)}


def test_cancelling_ends_the_connection() -> None:
    """The server sees it end, so that no thread goes on with a request nobody waits for."""
    gone = asyncio.Event()

    async def watch(exchange: http.Exchange, writer: http.Writer) -> None:
        reader_gone.append(exchange)
        await writer.drip(b"x" * 100_000, 0.01)

    reader_gone: list[http.Exchange] = []

    async def scenario() -> None:
        async with HttpStandIn(watch) as server, adapter_at(server.url) as adapter:
            task = asyncio.create_task(collect(adapter, plain(1)))
            await server.requested()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(BOUNDED):
                while server.open:
                    await asyncio.sleep(0.01)
            gone.set()

    asyncio.run(scenario())
    assert gone.is_set()


def test_no_thread_keeps_the_program_alive() -> None:
    """A program that ends while a name server hangs, where nothing can be cut, does end."""
    program = """
import asyncio, socket, threading
from tests.adapters.contract import collect, hand_overs
from tests.adapters.test_sendgrid import adapter_at
from commcast.model.incident import Channel

dialling = threading.Event()

def never(*given, **more):
    dialling.set()
    threading.Event().wait()

socket.create_connection = never

async def main():
    adapter = adapter_at("http://127.0.0.1:1")
    await adapter.__aenter__()
    asyncio.create_task(collect(adapter, hand_overs(Channel.EMAIL, 1)))
    await asyncio.sleep(0)
    assert await asyncio.get_running_loop().run_in_executor(None, dialling.wait, 20)

asyncio.run(main())
print("ended")
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stdout == "ended\n", run.stderr
    assert KEY not in run.stderr


def test_a_line_that_was_cut_lets_nothing_begin() -> None:
    """At each point before the first byte; what was said to have left nothing leaves nothing."""
    for steps in ((), ("hold",)):
        with socket.socket() as sock:
            line = CuttableConnection()
            if steps:
                line.hold(sock)
            assert line.cut() is False
            with pytest.raises(CutError):
                line.hold(sock)
            with pytest.raises(CutError):
                line.speak()
            assert not line.sent
            line.close()


def test_a_dead_route_leaves_time_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a server's addresses the first may be one that never answers: the total is not all for it."""
    waits: list[float] = []

    def refuse(address: object, timeout: float, source: object) -> socket.socket:
        waits.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", refuse)
    for timeout in (timedelta(seconds=60), timedelta(seconds=5)):
        adapter = adapter_at("http://127.0.0.1:1", timeout)
        assert {each.kind for each in asyncio.run(collect(adapter, plain(1)))} == {NOT_TAKEN}
    assert waits == [10.0, 5.0]


def test_a_long_answer_is_read_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte too many is no answer, the last that fits is."""
    monkeypatch.setattr(sendgrid_http, "LONGEST_BODY", 1000)
    for size, kind in ((1000, ACCEPTED), (1001, UNKNOWN)):
        outcomes, _ = send(SendGrid(answers=[http.answer(202, b"x" * size, ID)]), plain(1))
        assert outcomes[1].kind is kind
    assert http_answer.LONGEST_BODY > 1 << 20


# --- the official description


def test_requests_are_what_the_official_description_says(capsys: pytest.CaptureFixture[str]) -> None:
    """All kinds of requests, checked against SendGrid's own description where it is on this machine."""
    service = SendGrid(refuses=frozenset({"reader3@private.example"}))
    send(service, batch(20))
    send(service, batch(3), asm_group=7)
    send(service, [Delivery(1, replace(email(1), html="", reply_to="", references=()))])
    send(service, [Delivery(1, replace(email(1), calendar=CalendarFile("move1.ics", "BEGIN:VCALENDAR")))])
    assert len(service.bodies) >= 5
    if official() is None:
        with capsys.disabled():
            print("official descriptions not here: checked against our own schema only")
        return
    for body in service.bodies:
        assert official_faults(body, mail_send) == []
    broken = {**service.bodies[0], "personalizations": [{"cc": []}]}
    assert official_faults(broken, mail_send)
