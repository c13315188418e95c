"""SendGrid against a stand-in: every line of the outcome table, and which reader a refusal is about."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from dataclasses import replace
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
from commcast.providers.sendgrid.outcomes import NamedInRefusal, named
from commcast.providers.sendgrid.request import SendGridClient
from tests.providers.contract import (
    Arrived,
    HttpContract,
    HttpRig,
    Rig,
    TableContract,
    address_of,
    collect,
    email,
)
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
from tests.support.servers import apis, http
from tests.support.servers.apis import KEY, SendGrid
from tests.support.servers.http import Handler, HttpStandIn

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
        return adapter_at(url, **{"batch": self.batch, **settings})

    def arrived(self) -> Sequence[Arrived]:
        def shown(taken: apis.Taken) -> str:
            shared = [taken.body.get(name) for name in ("from", "reply_to", "headers")]
            own = [taken.person["to"], taken.person["headers"], *taken.reading]
            return json.dumps([*shared, *own], ensure_ascii=False)

        return [Arrived((taken.address,), shown(taken)) for taken in self.service.taken]


def adapter_at(url: str, **settings: Any) -> SendGridAdapter:
    """An adapter whose key has white space around it, as a line end in a file; that is no part of it."""
    return SendGridAdapter(apis.sendgrid(url, **settings), f" {KEY}\n", apis.clock)


class TestContract(HttpContract):
    """With ten readers a request."""

    rig_class = SendGridRig

    def test_ids_match(self, rig: Rig) -> None:
        """A provider id names a request: its readers share it, and no others have it."""
        ids = [outcome.provider_id for outcome in rig.send(*plain(25))]
        assert sorted(ids.count(each) for each in set(ids) - {""}) == [5, 10, 10]


class OneByOneRig(SendGridRig):
    batch = 1


class TestContractOneByOne(HttpContract):
    rig_class = OneByOneRig


def send(
    service: Handler, items: Sequence[Delivery], **settings: Any
) -> tuple[dict[int, Outcome], HttpStandIn]:
    """Hand one batch over; return the outcomes by delivery, and the server with what it saw."""
    server = HttpStandIn(service)

    async def scenario() -> list[Outcome]:
        async with server, adapter_at(server.url, **settings) as adapter:
            return await collect(adapter, items)

    outcomes = asyncio.run(scenario())
    assert sorted(each.delivery for each in outcomes) == sorted(item.delivery for item in items)
    return {each.delivery: each for each in outcomes}, server


def plain(count: int) -> list[Delivery]:
    """So many mails that can be in one request."""
    return [Delivery(number, email(number)) for number in range(1, count + 1)]


def meanings(outcomes: dict[int, Outcome], *numbers: int) -> set[tuple[OutcomeKind, Blame]]:
    """What the outcomes of these deliveries say, or of all."""
    return {(outcomes[n].kind, outcomes[n].blame) for n in numbers or outcomes}


# Status, headers, body, and what that must mean: kind, blame, words. Sources: SendGrid's API description and
# its responses, 4xx and rate-limits pages. What any server's answer means is in test_http.py.
CASES: list[tuple[int, dict[str, str], Any, OutcomeKind, Blame, str]] = [
    *[(202, ID, body, ACCEPTED, RECIPIENT, "") for body in ("", "{broken")],
    *[(202, no_id, "", UNKNOWN, RECIPIENT, "not SendGrid's") for no_id in ({}, {"X-Message-Id": "\x01 <>"})],
    (200, ID, {"message": "queued"}, UNKNOWN, RECIPIENT, "not SendGrid's"),  # a sandbox
    *[(status, {}, "", NOT_TAKEN, ACCOUNT, "base_url") for status in (301, 404, 405)],
    *[(status, {}, {"errors": []}, REJECTED, RECIPIENT, "refuses the request") for status in (400, 413)],
    (401, {}, {"errors": [{"message": "Maximum credits exceeded"}]}, NOT_TAKEN, ACCOUNT, "credits"),
    (403, {}, {"errors": [{"message": "no"}]}, NOT_TAKEN, ACCOUNT, "not verified"),
    (406, {}, "", NOT_TAKEN, ACCOUNT, "such a request"),
    (407, {}, "", NOT_TAKEN, ACCOUNT, "proxy"),
    (408, ID, "", UNKNOWN, RECIPIENT, "stopped waiting"),
    (425, ID, "", NOT_TAKEN, PROVIDER, "did not start"),
    (429, {}, {"errors": [{"message": "too many requests"}]}, NOT_TAKEN, PROVIDER, "no more requests"),
    (500, {}, "<html>oops reader1@private.example</html>", UNKNOWN, RECIPIENT, "failed"),
    (503, ID, "", UNKNOWN, RECIPIENT, "failed"),
]


class TestTable(TableContract):
    """No address is shown; only a request that was taken has a name; only a busy SendGrid names a time."""

    module = sendgrid_outcomes

    def wrong(self) -> list[str]:
        wrong = []
        for status, headers, body, kind, blame, words in CASES:
            lower = {name.lower(): value for name, value in {**headers, "Retry-After": "9"}.items()}
            (found,) = sendgrid_outcomes.outcomes([7], HttpAnswer(status, lower, json.dumps(body)), apis.NOW)
            own_id, wait = ("SG-1" if kind is ACCEPTED else ""), (9.0 if blame is PROVIDER else None)
            expected = Outcome(7, kind, found.detail, own_id, blame, wait)
            shown = found.detail == "" if kind is ACCEPTED else found.detail.endswith(f"({status})")
            if found != expected or words not in found.detail or not shown or "private" in found.detail:
                wrong.append(f"{status}: {found}")
        return wrong


def test_a_request_id_is_kept_short_and_clean() -> None:
    """What SendGrid calls a request is stored and shown: no control character, and not without end."""
    answer = HttpAnswer(202, {"x-message-id": "a\x1b[31m_b-c.d" + "e" * 500})
    assert sendgrid_outcomes.request_id(answer) == ("a31m_b-c.d" + "e" * 500)[:100]


@pytest.mark.parametrize("names", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize(("count", "bad"), [(250, {124}), (64, {10, 11, 40, 64})], ids=["one", "several"])
def test_a_bad_address_costs_one_reader(count: int, bad: set[int], names: bool) -> None:
    """All others are served once. One whom SendGrid does not name may be refused for our words: it waits."""
    items = plain(count)
    addresses = {item.delivery: address_of(item) for item in items}
    service = SendGrid(refuses=frozenset(addresses[number] for number in bad), names=names)
    outcomes, server = send(service, items)
    assert {number for number, each in outcomes.items() if each.kind is not ACCEPTED} == bad
    assert meanings(outcomes, *bad) == {(REJECTED, RECIPIENT) if names else (NOT_TAKEN, FOR_ONE)}
    assert meanings(outcomes, *(addresses.keys() - bad)) == {(ACCEPTED, RECIPIENT)}
    good = sorted(address for number, address in addresses.items() if number not in bad)
    assert sorted(each.address for each in service.taken) == good
    assert len(server.exchanges) <= (2 if names else 18 * len(bad))
    assert not [number for number in bad if addresses[number] in outcomes[number].detail]


def complaint(*fields: Any, status: int = 400) -> Handler:
    errors = [{"message": "reader1@private.example is bad", "field": each, "help": None} for each in fields]
    return http.answer(status, {"errors": errors})


GOOD, BAD, AGAIN = (ACCEPTED, RECIPIENT), (REJECTED, RECIPIENT), (NOT_TAKEN, RECIPIENT)
STOPPED, BUSY, LOST = (NOT_TAKEN, ACCOUNT), (NOT_TAKEN, PROVIDER), (UNKNOWN, RECIPIENT)
REFUSED, BAD_ADDRESS = http.answer(400, "no"), complaint("personalizations.0.to.0.email")
OWN_LINES = complaint("personalizations.0.substitutions")
OF_THE_MESSAGE = [
    *[[one] for one in ("from.email", "subject", "content.0.value", "headers.List-Id", "personalizations")],
    ["personalizations.0.to.0.email", "from"],
    [f"personalizations.{number}.headers" for number in range(3)],
]


@pytest.mark.parametrize(("answers", "expected", "requests"), [
    # What is the same for all is no reader's fault: nobody is refused for good, nothing is narrowed.
    *[([complaint(*fields)], [STOPPED] * 3, 1) for fields in OF_THE_MESSAGE],
    # Refused without a word of an address, and nobody accepted: the third one shows that it is us.
    ([REFUSED] * 99, [AGAIN] * 2 + [STOPPED] * 62, 10),
    ([http.answer(413)] * 99, [AGAIN] * 2 + [STOPPED] * 62, 10),
    ([OWN_LINES] * 99, [AGAIN] * 2 + [STOPPED] * 62, 3),
    # However many: a bad address says nothing of the message.
    ([BAD_ADDRESS] * 6, [BAD] * 6 + [GOOD] * 6, 7),
    # Another answer is about the part that was asked; what was not begun was surely not taken.
    ([REFUSED, http.answer(429)], [BUSY] * 8, 2),
    *[([REFUSED, lost], [LOST] * 4 + [BUSY] * 4, 2) for lost in (http.answer(500), http.reset)],
    ([REFUSED, http.answer(401)], [STOPPED] * 8, 2),
])  # fmt: skip
def test_what_answers_mean_for_a_batch(answers: list[Handler], expected: list[Any], requests: int) -> None:
    """No detail shows an address, and nothing is asked beyond the given answers."""
    service = SendGrid(answers=list(answers))
    outcomes, server = send(service, plain(len(expected)))
    assert [(each.kind, each.blame) for _, each in sorted(outcomes.items())] == expected
    assert len(server.exchanges) == requests
    assert not [each for each in outcomes.values() if "private" in each.detail]
    assert ("refuses the message" in outcomes[1].detail) == (expected == [STOPPED] * 3)


async def test_one_reader_who_is_named_for_his_own_lines() -> None:
    """A complaint of what we wrote for one reader, once another was accepted, keeps that one waiting."""
    handler = http.in_turn(OWN_LINES, http.answer(202, b"", ID), OWN_LINES)
    async with HttpStandIn(handler) as server, adapter_at(server.url) as adapter:
        outcomes = [each for _ in range(3) for each in await collect(adapter, plain(1))]
    found = [(each.kind, each.blame, each.retry_after) for each in outcomes]
    assert found == [(*AGAIN, 1.0), (*GOOD, None), (NOT_TAKEN, FOR_ONE, None)]


async def test_a_halt_ends_the_narrowing() -> None:
    """After Ctrl-C or a stop no further request is begun, though a refused one is being taken apart."""
    service, outcomes = SendGrid(refuses=frozenset({"reader1@private.example"}), names=False), []
    async with HttpStandIn(service) as server, adapter_at(server.url) as adapter:
        async for outcome in adapter.send(plain(64)):
            outcomes.append(outcome)
            adapter.halt()
    assert (len(outcomes), len(server.exchanges) <= 8) == (64, True)
    assert {outcome.detail for outcome in outcomes[1:]} <= {NOT_BEGUN, ""}
    assert sum(outcome.kind is ACCEPTED for outcome in outcomes) < 64


async def test_requests_are_made_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a batch costs to compare and to merge, the loop serves others meanwhile; one at a time."""
    threads, under_way, most = list[int](), 0, 0
    honest = sendgrid_request.requests

    def watched(*given: Any) -> Any:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        threads.append(threading.get_ident())
        made = honest(*given)
        under_way -= 1
        return made

    monkeypatch.setattr(sendgrid, "requests", watched)
    async with HttpStandIn(SendGrid()) as server, adapter_at(server.url) as adapter:
        await asyncio.gather(*(collect(adapter, plain(4)) for _ in range(6)))
    assert (len(threads), most) == (6, 1)
    assert threading.get_ident() not in threads


def test_after_a_refused_key_the_rest_is_not_tried() -> None:
    """A key revoked midway: what was accepted stays so, the rest waits; a connection for each request."""
    items = [Delivery(n, replace(email(n), text="line\n" * n)) for n in range(1, 5)]  # one request each
    good = SendGrid()
    outcomes, server = send(http.in_turn(good, good, http.answer(401), good), items)
    assert meanings(outcomes, 1, 2) == {(ACCEPTED, RECIPIENT)}
    assert meanings(outcomes, 3, 4) == {(NOT_TAKEN, ACCOUNT)}
    assert len(server.exchanges) == server.connections == 3


def test_narrowing_ends_before_the_lease_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is no time for is given back untried; the last request has its whole timeout left."""
    assert sendgrid.DEADLINE < 25 * 60
    monkeypatch.setattr(sendgrid, "DEADLINE", 21.0)

    async def slow(exchange: http.Exchange, writer: http.Writer) -> None:
        await asyncio.sleep(1.1)  # longer than the deadline leaves; nothing waits for anything else
        await writer.answer(400)

    outcomes, server = send(slow, plain(8))
    assert len(server.exchanges) == 1
    assert meanings(outcomes) == {(NOT_TAKEN, PROVIDER)}
    assert "in time" in outcomes[1].detail


@pytest.mark.parametrize(("fields", "wanted"), [
    ([None, 7, "personalizations.9999.to", "from\x1b[31m"], NamedInRefusal()),
    (["personalizations.1"], NamedInRefusal(frozenset({1}), (), True)),
    *[([f"personalizations.1.{to}"], NamedInRefusal(frozenset({1}))) for to in ("to", "to.0", "to.0.email")],
    (["personalizations.1.to.0.name"], NamedInRefusal(frozenset({1}), (), True)),
    (["from", "from"], NamedInRefusal(frozenset(), ("from",))),
])  # fmt: skip
def test_what_a_refusal_names(fields: list[Any], wanted: NamedInRefusal) -> None:
    errors = [1, None, *({"field": each} for each in fields)]
    assert named(HttpAnswer(400, {}, json.dumps({"errors": errors})), 3) == wanted


def test_a_refusal_that_cannot_be_read_names_nothing() -> None:
    for body in ("", "<html>", "[]", '{"errors": {}}', "[" * 100_000):
        assert named(HttpAnswer(400, {}, body), 3) == NamedInRefusal()


@pytest.mark.parametrize(("settings", "size"), [
    *[({}, 250), ({"batch": 1000}, 1000)],
    *[({"per_second": n}, most) for n, most in ((100, 5), (1, 1), (10**5, 250))],
])  # fmt: skip
def test_how_many_readers_a_request_carries(settings: dict[str, Any], size: int) -> None:
    """As many as is set, and no more than a twentieth of a second's limit."""
    adapter = adapter_at("http://127.0.0.1:1", connections=3, **settings)
    assert (adapter.batch_size, adapter.window) == (size, 3 * size)
    assert adapter.per_second == settings.get("per_second", 0)
    assert adapter_at("http://127.0.0.1:1", connections=64, batch=1000).window == sendgrid.MOST_CLAIMED


@pytest.mark.parametrize("key", [None, "", "  ", "SG.a\nb", "SG.\u00e9", "SG a", "SG.\x00"])
def test_a_key_that_is_none(key: str | None) -> None:
    """Said before anything is sent, with the variable's name and without the key."""
    with pytest.raises(ConfigError, match="SENDGRID_API_KEY") as caught:
        SendGridAdapter(SendGridProvider(), key, apis.clock)
    assert not key or not key.strip() or key not in str(caught.value)


def test_what_holds_the_key_does_not_show_it() -> None:
    assert KEY not in repr(SendGridClient("http://127.0.0.1:1", KEY, 1))


def test_requests_are_what_the_official_description_says() -> None:
    """All kinds of requests, checked against SendGrid's own description where it is on this machine."""
    service = SendGrid(refuses=frozenset({"reader3@private.example"}))
    send(service, plain(20))
    send(service, plain(3), asm_group=7)
    send(service, [Delivery(1, replace(email(1), html="", reply_to="", references=()))])
    send(service, [Delivery(1, replace(email(1), calendar=CalendarFile("move1.ics", "BEGIN:VCALENDAR")))])
    assert len(service.bodies) >= 5
    assert [apis.official_faults("mail/send", body) for body in service.bodies] == [[]] * len(service.bodies)
    broken = {**service.bodies[0], "personalizations": [{"cc": []}]}
    assert bool(apis.official_faults("mail/send", broken)) == apis.HAS_SPECS
