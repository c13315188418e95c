"""SendGrid against a stand-in: every line of the outcome table, and which reader a refusal is about."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from commcast.config.settings import SendGridProvider
from commcast.errors import ConfigError
from commcast.model.incident import Channel
from commcast.model.message import NOT_BEGUN, Blame, CalendarFile, Delivery, Outcome, OutcomeKind
from commcast.providers.http import HttpAnswer
from commcast.providers.sendgrid import adapter as sendgrid
from commcast.providers.sendgrid import outcomes as sendgrid_outcomes
from commcast.providers.sendgrid import request as sendgrid_request
from commcast.providers.sendgrid.adapter import SendGridAdapter
from commcast.providers.sendgrid.client import SendGridClient
from commcast.providers.sendgrid.outcomes import OUTCOMES, NamedInRefusal, Rule, judge, named, request_id
from tests.providers.contract import (
    Arrived,
    HttpContract,
    HttpRig,
    Rig,
    address_of,
    collect,
    email,
    hand_overs,
)
from tests.providers.kinds import ACCEPTED, ACCOUNT, NOT_TAKEN, PROVIDER, RECIPIENT, REJECTED, UNKNOWN
from tests.support.servers import http
from tests.support.servers.http import Handler, HttpStandIn
from tests.support.servers.sendgrid import (
    KEY,
    SendGrid,
    clock,
    mail_send,
    official,
    official_faults,
    provider,
)

ID = {"X-Message-Id": "SG-1"}


class SendGridRig(HttpRig):
    """A stand-in that takes all. `batch` is how many readers a request carries."""

    channel = Channel.EMAIL
    secrets = (KEY,)
    batch = 10

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.takes_all = self.service = SendGrid()
        self.takes_one = http.answer(202, b"", ID)

    def adapter(self, url: str, **settings: Any) -> SendGridAdapter:
        return SendGridAdapter(provider(url, **{"batch": self.batch, **settings}), KEY, clock)

    def arrived(self) -> Sequence[Arrived]:
        def shown(taken: Any) -> str:
            shared = {name: taken.body.get(name) for name in ("from", "reply_to", "headers")}
            own = [
                taken.person["to"],
                taken.person["headers"],
                *(getattr(taken.reading, part) for part in PARTS),
            ]
            return json.dumps([shared, own], ensure_ascii=False)

        return [Arrived((taken.address,), shown(taken)) for taken in self.service.taken]


PARTS = ("subject", "text", "html")


class TestContract(HttpContract):
    """The contract, with ten readers a request."""

    rig_class = SendGridRig

    def test_ids_match(self, rig: Rig) -> None:
        """A provider id names a request: its readers share it, and no others have it."""
        ids = [outcome.provider_id for outcome in rig.send(*hand_overs(rig.channel, 25))]
        assert sorted(ids.count(each) for each in set(ids) - {""}) == [5, 10, 10]


class OneByOneRig(SendGridRig):
    batch = 1


class TestContractOneByOne(HttpContract):
    """The contract, with one reader a request."""

    rig_class = OneByOneRig


def adapter_at(url: str, **settings: Any) -> SendGridAdapter:
    return SendGridAdapter(provider(url, **settings), KEY, clock)


def send(
    service: Handler, items: Sequence[Delivery], **settings: Any
) -> tuple[dict[int, Outcome], HttpStandIn]:
    """Hand one batch over; return the outcomes by delivery, and the server with what it saw."""

    async def scenario() -> tuple[dict[int, Outcome], HttpStandIn]:
        async with HttpStandIn(service) as server:
            async with adapter_at(server.url, **settings) as adapter:
                outcomes = await collect(adapter, items)
            assert len({each.delivery for each in outcomes}) == len(outcomes) == len(items)
            return {each.delivery: each for each in outcomes}, server

    return asyncio.run(scenario())


def plain(count: int) -> list[Delivery]:
    """So many mails that can be in one request."""
    return [Delivery(number, email(number)) for number in range(1, count + 1)]


Meaning = tuple[OutcomeKind, Blame]


def meanings(outcomes: dict[int, Outcome], *numbers: int) -> set[Meaning]:
    """What the outcomes of these deliveries say, or of all."""
    return {(outcomes[n].kind, outcomes[n].blame) for n in numbers or outcomes}


# --- the table

# status, headers, body, and what that must mean: kind, blame, words
CASES: list[tuple[int, dict[str, str], Any, OutcomeKind, Blame, str]] = [
    *[(202, ID, body, ACCEPTED, RECIPIENT, "") for body in (b"", b"{broken")],
    *[(202, no_id, b"", UNKNOWN, RECIPIENT, "not SendGrid's") for no_id in ({}, {"X-Message-Id": "\x01 <>"})],
    (200, ID, {"message": "queued"}, UNKNOWN, RECIPIENT, "not SendGrid's"),
    (204, {}, b"", UNKNOWN, RECIPIENT, "not SendGrid's"),
    *[(status, {}, b"", NOT_TAKEN, ACCOUNT, "base_url") for status in (301, 304, 404, 405)],
    *[
        (status, {}, {"errors": []}, REJECTED, RECIPIENT, f"refuses the request ({status})")
        for status in (400, 413)
    ],
    (401, {}, {"errors": [{"message": "Maximum credits exceeded"}]}, NOT_TAKEN, ACCOUNT, "credits"),
    (403, {}, {"errors": [{"message": "no"}]}, NOT_TAKEN, ACCOUNT, "not verified"),
    *[(status, {}, b"", NOT_TAKEN, ACCOUNT, "such a request") for status in (406, 409, 415)],
    (407, {}, b"", NOT_TAKEN, ACCOUNT, "proxy"),
    (408, {}, b"", UNKNOWN, RECIPIENT, "stopped waiting"),
    (425, {}, b"", NOT_TAKEN, PROVIDER, "did not begin"),
    (429, {}, {"errors": [{"message": "too many requests"}]}, NOT_TAKEN, PROVIDER, "no more requests"),
    (500, {}, "<html>oops reader1@private.example</html>", UNKNOWN, RECIPIENT, "failed"),
    *[(status, ID, b"", UNKNOWN, RECIPIENT, "failed") for status in (502, 503, 504)],
    (600, ID, b"", UNKNOWN, RECIPIENT, "no rule"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}{'-id' if case[1] is ID else ''}")
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

    def rules() -> list[Rule]:
        answers = (
            HttpAnswer(case[0], {name.lower(): value for name, value in case[1].items()}) for case in CASES
        )
        return [judge(answer) for answer in answers]

    whole = rules()
    monkeypatch.setattr(sendgrid_outcomes, "OUTCOMES", OUTCOMES[:line] + OUTCOMES[line + 1 :])
    assert rules() != whole


def test_every_answer_is_judged() -> None:
    """No status is without a meaning, and what is no plain yes or documented no is unknown."""
    for status in range(100, 1000):
        rule = judge(HttpAnswer(status))
        assert rule.kind is not ACCEPTED
        if not 300 <= status < 500:
            assert rule.kind is UNKNOWN


@pytest.mark.parametrize(
    ("headers", "wait"), [({"Retry-After": "7"}, 7.0), ({}, None), ({"X-RateLimit-Reset": "1"}, 0.0)]
)
def test_too_many_requests(headers: dict[str, str], wait: float | None) -> None:
    """Nothing was taken, and the time that SendGrid names is handed on; nothing is asked before it."""
    outcomes, server = send(SendGrid(answers=[http.answer(429, b"", headers)]), plain(3))
    assert {each.retry_after for each in outcomes.values()} == {wait}
    assert meanings(outcomes) == {(NOT_TAKEN, PROVIDER)}
    assert len(server.exchanges) == 1


def test_a_request_id_is_kept_short_and_clean() -> None:
    """What SendGrid calls a request is stored and shown: no control character, and no end of the world."""
    answer = HttpAnswer(202, {"x-message-id": "a\x1b[31m_b-c.d" + "e" * 500})
    assert request_id(answer) == ("a31m_b-c.d" + "e" * 500)[:100]


# --- narrowing


@pytest.mark.parametrize("names", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize(("count", "bad"), [(250, {124}), (64, {10, 11, 40, 64})], ids=["one", "several"])
def test_a_bad_address_costs_one_reader(count: int, bad: set[int], names: bool) -> None:
    """All others are served once, whether or not SendGrid names the reader."""
    items = plain(count)
    addresses = {item.delivery: address_of(item) for item in items}
    service = SendGrid(refuses=frozenset(addresses[number] for number in bad), names=names)
    outcomes, server = send(service, items)
    assert {number for number, each in outcomes.items() if each.kind is REJECTED} == bad
    assert meanings(outcomes, *(addresses.keys() - bad)) == {(ACCEPTED, RECIPIENT)}
    assert sorted(each.address for each in service.taken) == sorted(
        address for number, address in addresses.items() if number not in bad
    )
    assert len(server.exchanges) <= (2 if names else 18 * len(bad))
    assert not [number for number in bad if addresses[number] in outcomes[number].detail]


def complaint(*fields: Any, status: int = 400) -> Handler:
    errors = [{"message": "reader1@private.example is bad", "field": each, "help": None} for each in fields]
    return http.answer(status, {"errors": errors})


@pytest.mark.parametrize(
    "fields",
    [
        *[
            [one]
            for one in ("from.email", "subject", "content.0.value", "headers.List-Id", "personalizations")
        ],
        ["personalizations.0.to.0.email", "from"],
        [f"personalizations.{number}.headers" for number in range(3)],
    ],
)
def test_a_message_that_is_refused_stops_the_run(fields: list[str]) -> None:
    """What is the same for all is no reader's fault: nobody is refused for good, nothing is narrowed."""
    outcomes, server = send(SendGrid(answers=[complaint(*fields)]), plain(3))
    assert meanings(outcomes) == {(NOT_TAKEN, ACCOUNT)}
    assert "refuses the message" in outcomes[1].detail
    assert "private" not in outcomes[1].detail
    assert len(server.exchanges) == 1


@pytest.mark.parametrize(
    ("refusal", "most"),
    [
        (http.answer(400, "no"), 20),
        (http.answer(413, "no"), 20),
        (complaint("personalizations.0.substitutions"), 3),
    ],
    ids=["400", "413", "not for their address"],
)
def test_if_nobody_is_accepted_it_is_us(refusal: Handler, most: int) -> None:
    """Three refused without a word of an address, none accepted: nobody is refused for good."""
    outcomes, server = send(refusal, plain(250))
    assert meanings(outcomes, 1, 2) == {(NOT_TAKEN, RECIPIENT)}
    assert meanings(outcomes, *range(3, 251)) == {(NOT_TAKEN, ACCOUNT)}
    assert len(server.exchanges) <= most


def test_bad_addresses_that_are_named_one_by_one() -> None:
    """However many: a bad address says nothing of the message."""
    items = plain(12)
    first = [complaint("personalizations.0.to.0.email") for _ in range(6)]
    outcomes, server = send(SendGrid(answers=first), items)
    assert [number for number, each in outcomes.items() if each.kind is REJECTED] == [1, 2, 3, 4, 5, 6]
    assert meanings(outcomes, *range(7, 13)) == {(ACCEPTED, RECIPIENT)}
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
def test_another_answer_while_narrowing(answer: Handler, part: Meaning, rest: Meaning) -> None:
    """It is about the part that was asked; what was not begun was surely not taken."""
    service = SendGrid(answers=[http.answer(400), answer])
    outcomes, server = send(service, plain(8))
    assert meanings(outcomes, *range(1, 5)) == {part}
    assert meanings(outcomes, *range(5, 9)) == {rest}
    assert len(server.exchanges) == 2
    assert not service.taken


def test_after_a_refused_key_the_rest_is_not_tried() -> None:
    """A key revoked midway: what was accepted stays accepted, the rest waits for a person."""
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
    outcomes, server = send(service, plain(8), timeout=timedelta(seconds=20))
    assert len(server.exchanges) == 1
    assert meanings(outcomes) == {(NOT_TAKEN, PROVIDER)}
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
        *[(body, NamedInRefusal()) for body in ("", "<html>", "[]", '{"errors": {}}', "[" * 100_000)],
        ('{"errors": [1, null, {"field": null}, {"field": 7}]}', NamedInRefusal()),
        (
            '{"errors": [{"field": "personalizations.9999.to"}, {"field": "from\\u001b[31m"}]}',
            NamedInRefusal(),
        ),
        ('{"errors": [{"field": "personalizations.1"}]}', NamedInRefusal(frozenset({1}), (), True)),
        ('{"errors": [{"field": "personalizations.1.to.0.email"}]}', NamedInRefusal(frozenset({1}))),
        ('{"errors": [{"field": "personalizations.1.to"}]}', NamedInRefusal(frozenset({1}))),
        ('{"errors": [{"field": "personalizations.1.to.0.name"}]}', NamedInRefusal(frozenset({1}), (), True)),
        ('{"errors": [{"field": "from"}, {"field": "from"}]}', NamedInRefusal(frozenset(), ("from",))),
    ],
)
def test_what_a_refusal_names(body: str, wanted: NamedInRefusal) -> None:
    """Read with suspicion: what cannot be read names nothing."""
    assert named(HttpAnswer(400, {}, body), 3) == wanted


# --- batches


def test_a_thousand_and_one_readers() -> None:
    """Two requests; each reader once, in no other's personalization."""
    service = SendGrid()
    outcomes, server = send(service, hand_overs(Channel.EMAIL, 1001), batch=1000)
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
        *[({"per_second": n}, size) for n, size in ((100, 5), (1, 1), (10**5, 250))],
    ],
)
def test_how_many_readers_a_request_carries(settings: dict[str, Any], size: int) -> None:
    """As many as is set, and no more than a twentieth of a second's limit."""
    adapter = adapter_at("http://127.0.0.1:1", connections=3, **settings)
    assert adapter.batch_size == size
    assert adapter.window == 3 * size
    assert adapter.per_second == settings.get("per_second", 0)


# --- keys


@pytest.mark.parametrize("key", [None, "", "  ", "SG.a\nb", "SG.\u00e9", "SG a", "SG.\x00"])
def test_a_key_that_is_none(key: str | None) -> None:
    """Said before anything is sent, with the variable's name and without the key."""
    with pytest.raises(ConfigError, match="SENDGRID_API_KEY") as caught:
        SendGridAdapter(SendGridProvider(), key, clock)
    assert not key or not key.strip() or key not in str(caught.value)


def test_white_space_around_a_key_is_no_part_of_it() -> None:
    """Such as a line end behind a key in a file; and what holds the key does not show it."""
    service = SendGrid()

    async def scenario() -> list[Outcome]:
        async with (
            service.serve() as server,
            SendGridAdapter(provider(server.url), f" {KEY}\n", clock) as adapter,
        ):
            return await collect(adapter, plain(1))

    assert asyncio.run(scenario())[0].kind is ACCEPTED
    assert KEY not in repr(SendGridClient("http://127.0.0.1:1", KEY, 1))


# --- the official description


def test_requests_are_what_the_official_description_says() -> None:
    """All kinds of requests, checked against SendGrid's own description where it is on this machine."""
    service = SendGrid(refuses=frozenset({"reader3@private.example"}))
    send(service, hand_overs(Channel.EMAIL, 20))
    send(service, hand_overs(Channel.EMAIL, 3), asm_group=7)
    send(service, [Delivery(1, replace(email(1), html="", reply_to="", references=()))])
    send(service, [Delivery(1, replace(email(1), calendar=CalendarFile("move1.ics", "BEGIN:VCALENDAR")))])
    assert len(service.bodies) >= 5
    if official() is None:
        print("official descriptions not here: checked against our own schema only")
        return
    for body in service.bodies:
        assert official_faults(body, mail_send) == []
    broken = {**service.bodies[0], "personalizations": [{"cc": []}]}
    assert official_faults(broken, mail_send)
