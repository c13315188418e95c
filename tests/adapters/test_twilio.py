"""Twilio against a stand-in: every line of the outcome table, and what a server can do at every point."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.model.incident import Channel
from commcast.model.message import NOT_BEGUN, Blame, Delivery, Outcome, OutcomeKind, Sms
from commcast.providers.base import Adapter
from commcast.providers.http import HttpAnswer
from commcast.providers.twilio import outcomes as twilio_outcomes
from commcast.providers.twilio.client import sendable
from commcast.providers.twilio.outcomes import OUTCOMES, judge, said_by
from tests.providers.contract import AdapterContract, Arrived, Rig, email
from tests.support.servers import http as standins
from tests.support.servers.http import Exchange, HttpStandIn, Writer, answer, in_turn
from tests.support.servers.twilio import (
    ACCOUNT,
    GOOD,
    MAGIC,
    MAGIC_SENDERS,
    NOW,
    NUMBER,
    SENDER,
    SERVICE,
    SID,
    TOKEN,
    WORDS,
    Twilio,
    adapter,
    error,
    message,
    official,
    official_faults,
    talk,
    texts,
    told,
)

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
UNKNOWN, NOT_TAKEN = OutcomeKind.UNKNOWN, OutcomeKind.NOT_TAKEN
RECIPIENT, PROVIDER, ACCOUNT_ = Blame.RECIPIENT, Blame.PROVIDER, Blame.ACCOUNT
STEP = timedelta(milliseconds=400)


class TwilioRig(Rig):
    """The stand-in, which checks each request."""

    channel = Channel.SMS
    secrets = (TOKEN, ACCOUNT, SERVICE)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.twilio = Twilio()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Adapter]:
        async with self.twilio.serve() as server, adapter(server.url) as made:
            yield made

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[Callable[[], Adapter]]:
        async with HttpStandIn(standins.hang) as server:
            yield lambda: adapter(server.url)

    def arrived(self) -> Sequence[Arrived]:
        return [Arrived((row["to"],), row["body"]) for row in self.twilio.messages]


class TestContract(AdapterContract):
    """The contract, against the stand-in."""

    rig_class = TwilioRig


# --- many at once


def many(count: int) -> list[Delivery]:
    return [Delivery(number, Sms(f"+4915500{number:06d}", WORDS)) for number in range(1, count + 1)]


async def collected(into: list[Outcome], made: Adapter, items: Sequence[Delivery]) -> None:
    async for outcome in made.send(items):
        into.append(outcome)


def test_a_batch_is_under_way_on_all_connections_at_once() -> None:
    """Each of the connections carries one text before any is answered, none waits for another's answer."""

    async def scenario() -> None:
        everybody = asyncio.Event()

        async def wait(exchange: Exchange, writer: Writer) -> None:
            await everybody.wait()
            await writer.answer(201, message(1, NUMBER, WORDS))

        async with HttpStandIn(wait) as server, adapter(server.url, connections=16) as made:
            outcomes: list[Outcome] = []
            sending = asyncio.create_task(collected(outcomes, made, many(made.window)))
            await server.requested(16)
            assert outcomes == []
            everybody.set()
            await sending
            assert {each.kind for each in outcomes} == {ACCEPTED}
            assert server.connections == 16

    asyncio.run(scenario())


def test_no_more_texts_are_under_way_than_there_are_connections() -> None:
    """Whoever calls how often: the others wait for their turn."""
    most, under_way = 0, 0

    async def count(exchange: Exchange, writer: Writer) -> None:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        await writer.answer(201, message(1, NUMBER, WORDS))

    async def scenario() -> list[Outcome]:
        async with HttpStandIn(count) as server, adapter(server.url, connections=3) as made:
            outcomes: list[Outcome] = []
            await asyncio.gather(*(collected(outcomes, made, many(7)) for _ in range(5)))
            assert server.connections <= 3
            return outcomes

    assert len(asyncio.run(scenario())) == 35
    assert most <= 3


def test_a_halt_gives_back_at_once_what_was_not_begun() -> None:
    """What is in flight finishes; who waits for a turn is told without waiting for it."""

    async def scenario() -> list[Outcome]:
        go_on = asyncio.Event()

        async def wait(exchange: Exchange, writer: Writer) -> None:
            await go_on.wait()
            await writer.answer(201, message(1, NUMBER, WORDS))

        async with HttpStandIn(wait) as server, adapter(server.url, connections=2) as made:
            sending = made.send(many(6))
            first = asyncio.ensure_future(anext(sending))
            await server.requested(2)
            made.halt()
            given_back = [await first, *[await anext(sending) for _ in range(3)]]
            assert len(server.exchanges) == 2
            go_on.set()
            answered = [outcome async for outcome in sending]
            assert {each.kind for each in answered} == {ACCEPTED}
            assert len(server.exchanges) == len(answered) == 2
            later: list[Outcome] = []
            await collected(later, made, many(2))
            return given_back + later

    outcomes = asyncio.run(scenario())
    assert {(each.kind, each.detail) for each in outcomes} == {(NOT_TAKEN, NOT_BEGUN)}


def test_a_batch_that_is_left_ends_what_it_began() -> None:
    """Whoever stops reading the outcomes leaves no request behind."""

    async def scenario() -> None:
        async with (
            HttpStandIn(standins.in_turn(answer(201, message(1, NUMBER, WORDS)), standins.hang)) as server,
            adapter(server.url, connections=4) as made,
        ):
            sending = made.send(many(4))
            assert (await anext(sending)).kind is ACCEPTED
            before = asyncio.all_tasks()
            await sending.aclose()  # type: ignore[attr-defined]
            assert len(before - asyncio.all_tasks()) >= 3

    asyncio.run(scenario())


# --- the table

Case = tuple[str, OutcomeKind, Blame, bool, bool, str]


def refused(codes: str, kind: OutcomeKind, blame: Blame, words: str, *, suppress: bool = False) -> list[Case]:
    return [(f"400 {code}", kind, blame, suppress, False, words) for code in codes.split()]


SENDERS = "21212 21267 21601 21603 21606 21607 21616 21657 21659 21660 21661 21663"
SERVICES = "21701 21702 21703 21704 21705 21709 21711 21712 21715"
CASES: list[Case] = [
    ("201 taken", ACCEPTED, RECIPIENT, False, False, ""),
    ("201 failed", REJECTED, RECIPIENT, False, False, "did not send it"),
    ("201 failed 30007", REJECTED, RECIPIENT, False, False, "did not send it"),
    ("201 failed 30002", REJECTED, RECIPIENT, False, False, "did not send it"),
    ("201 failed 21610", REJECTED, RECIPIENT, True, True, "opted out"),
    ("201 failed 21211", REJECTED, RECIPIENT, True, False, "not a phone number"),
    ("201 failed 21614", REJECTED, RECIPIENT, True, False, "gets no texts"),
    ("201", UNKNOWN, RECIPIENT, False, False, "not Twilio's"),
    ("200", UNKNOWN, RECIPIENT, False, False, "not Twilio's"),
    ("202", UNKNOWN, RECIPIENT, False, False, "not Twilio's"),
    ("204", UNKNOWN, RECIPIENT, False, False, "not Twilio's"),
    ("200 21211", UNKNOWN, RECIPIENT, False, False, "not Twilio's"),
    *[
        (f"{status}", NOT_TAKEN, ACCOUNT_, False, False, "sent to another server")
        for status in (300, 301, 302, 303, 304, 307, 308)
    ],
    ("400 21610", REJECTED, RECIPIENT, True, True, "opted out"),
    ("403 21610", REJECTED, RECIPIENT, True, True, "opted out"),
    *refused("21211", REJECTED, RECIPIENT, "not a phone number", suppress=True),
    *refused("21614 21635", REJECTED, RECIPIENT, "gets no texts", suppress=True),
    *refused("21265 21266 21268", REJECTED, RECIPIENT, "this kind of number"),
    *refused("21612 21662 21668 21910", REJECTED, RECIPIENT, "no way leads"),
    *refused("21608", REJECTED, RECIPIENT, "trial account"),
    *refused("21602 21605 21617 21618 21619 21658", REJECTED, RECIPIENT, "words cannot be texted"),
    *refused("21611 30001", NOT_TAKEN, PROVIDER, "queue at Twilio is full"),
    *refused("20429 14107 30022 30454 63038", NOT_TAKEN, PROVIDER, "limit there is reached"),
    *refused("21408", NOT_TAKEN, ACCOUNT_, "may not text this region"),
    ("403 21408", NOT_TAKEN, ACCOUNT_, False, False, "may not text this region"),
    *refused(SENDERS, NOT_TAKEN, ACCOUNT_, "look at from"),
    *refused(SERVICES, NOT_TAKEN, ACCOUNT_, "look at messaging_service"),
    *refused("21609 21620 21621 21622 21623 21624 21626", NOT_TAKEN, ACCOUNT_, "[providers.twilio]"),
    *refused("10001 20005 20403 21472 30002", NOT_TAKEN, ACCOUNT_, "suspended or not active"),
    *refused("20003 20008 70051", NOT_TAKEN, ACCOUNT_, "credentials are refused"),
    ("401 20003", NOT_TAKEN, ACCOUNT_, False, False, "credentials are refused"),
    ("401", NOT_TAKEN, ACCOUNT_, False, False, "credentials are refused"),
    ("401 99999", NOT_TAKEN, ACCOUNT_, False, False, "credentials are refused"),
    ("400", REJECTED, RECIPIENT, False, False, "Twilio refuses the text"),
    ("400 99999", REJECTED, RECIPIENT, False, False, "Twilio refuses the text"),
    ("400 20001", REJECTED, RECIPIENT, False, False, "Twilio refuses the text"),
    ("403", NOT_TAKEN, ACCOUNT_, False, False, "may not send texts"),
    ("403 99999", NOT_TAKEN, ACCOUNT_, False, False, "may not send texts"),
    ("404", NOT_TAKEN, ACCOUNT_, False, False, "no such account"),
    ("404 20404", NOT_TAKEN, ACCOUNT_, False, False, "no such account"),
    ("405", NOT_TAKEN, ACCOUNT_, False, False, "no such account"),
    ("407", NOT_TAKEN, ACCOUNT_, False, False, "proxy"),
    ("408", UNKNOWN, RECIPIENT, False, False, "stopped waiting"),
    ("408 21211", UNKNOWN, RECIPIENT, False, False, "stopped waiting"),
    ("425", NOT_TAKEN, PROVIDER, False, False, "did not begin"),
    ("429", NOT_TAKEN, PROVIDER, False, False, "no more texts now"),
    ("429 20429", NOT_TAKEN, PROVIDER, False, False, "no more texts now"),
    ("429 21610", NOT_TAKEN, PROVIDER, False, False, "no more texts now"),
    ("429 63038", NOT_TAKEN, PROVIDER, False, False, "no more texts now"),
    *[
        (f"{status}", NOT_TAKEN, ACCOUNT_, False, False, "does not take such a request")
        for status in (402, 406, 409, 410, 411, 413, 414, 415, 422, 431, 451)
    ],
    *[
        (said, UNKNOWN, RECIPIENT, False, False, "Twilio failed after")
        for said in ("500", "500 20500", "501", "502", "503", "503 20503", "503 21211", "504", "520", "599")
    ],
    ("101", UNKNOWN, RECIPIENT, False, False, "no rule"),
    ("600", UNKNOWN, RECIPIENT, False, False, "no rule"),
]


def wrong_cases() -> list[str]:
    """Return the cases that the table, as it is now, does not answer as it must."""
    wrong = []
    for said, kind, blame, suppress, opted_out, words in CASES:
        rule = judge(said)
        found = (rule.kind, rule.blame, rule.suppress, rule.opted_out)
        if found != (kind, blame, suppress, opted_out) or words not in rule.words:
            wrong.append(f"{said}: {rule}")
    return wrong


def test_every_line_of_the_table() -> None:
    """Each answer means what it must."""
    assert wrong_cases() == []


@pytest.mark.parametrize("number", range(len(OUTCOMES)), ids=lambda n: f"{n}-{OUTCOMES[n].said}")
def test_no_line_of_the_table_is_idle(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one line, some case above goes wrong: the cases cover the whole table."""
    monkeypatch.setattr(twilio_outcomes, "OUTCOMES", OUTCOMES[:number] + OUTCOMES[number + 1 :])
    assert wrong_cases() != []


def test_every_number_of_the_table_has_a_case() -> None:
    """A number that stands in a line stands in a case too."""
    listed = {code for rule in OUTCOMES for code in re.findall(r"\d{5}", rule.said)}
    assert listed <= {said.partition(" ")[2].removeprefix("failed ") for said, *_ in CASES}


@given(st.integers(100, 999), st.one_of(st.just(""), st.integers(1, 999_999).map(str)))
def test_the_laws_of_the_table(status: int, code: str) -> None:
    """Only a message with a name is accepted; a 5xx is never believed; only a 4xx or 3xx says "not taken"."""
    rule = judge(f"{status} {code}".strip())
    assert rule.kind is not ACCEPTED
    if rule.kind is NOT_TAKEN:
        assert 300 <= status < 500
        assert rule.blame in {PROVIDER, ACCOUNT_}
    if rule.kind is REJECTED:
        assert 400 <= status < 500
    if status >= 500 or 200 <= status < 300 or status == 408:
        assert rule.kind is UNKNOWN


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].replace(" ", "-"))
def test_an_answer_on_the_wire(case: Case) -> None:
    """The answer, given on the wire, becomes that outcome, and the text was posted once."""
    said, kind, blame, suppress, opted_out, _ = case
    status, _, code = said.replace("failed ", "").partition(" ")
    if status == "101" or said in {"204", "304"}:
        return  # these have no body on the wire: test_answers_without_a_body
    if said == "201 taken":
        body: dict[str, Any] = message(1, NUMBER, WORDS)
    elif said.startswith("201 failed"):
        state = {"30007": "undelivered", "": "canceled"}.get(code.removeprefix("failed"), "failed")
        body = message(1, NUMBER, WORDS, status=state, error_code=int(code) if code.isdigit() else None)
    else:
        body = error(int(code), int(status), f"{NUMBER} {TOKEN}") if code else {}
    (outcome,), server = talk(answer(int(status), body), *texts(1))
    if judge(said).doubtful:
        kind = NOT_TAKEN  # asked about again, as long as nobody was accepted
    assert (outcome.kind, outcome.blame) == (kind, blame)
    assert (outcome.suppress, outcome.opted_out) == (suppress, opted_out)
    assert len(server.exchanges) == 1
    assert outcome.detail == "" if kind is ACCEPTED else said in outcome.detail
    assert outcome.provider_id == (SID if "taken" in said or "failed" in said else "")
    assert not [word for word in (NUMBER, TOKEN, ACCOUNT) if word in outcome.detail]


@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"204 No Content", UNKNOWN), (b"304 Not Modified", NOT_TAKEN), (b"101 Switching Protocols", UNKNOWN)],
)
def test_answers_without_a_body(head: bytes, kind: OutcomeKind) -> None:
    """Answers that have no body by their nature are whole as well."""
    assert told(standins.raw(b"HTTP/1.1 " + head + b"\r\n\r\n")).kind is kind


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"not json",
        b'{"sid": "SM123"}',
        b'{"sid": null, "status": "queued"}',
        b'{"sid": 5}',
        b'{"sid": {"a": ["SM00000000000000000000000000000001"]}}',
        json.dumps(GOOD).encode()[:-1],
        json.dumps({**GOOD, "sid": GOOD["sid"] + "\n"}).encode(),
        json.dumps({**GOOD, "sid": "AC" + GOOD["sid"][2:]}).encode(),
        b"\xff\xfe" + json.dumps(GOOD).encode(),
        b"[" * 100_000,
        b'{"sid": ' + b"9" * 100_000 + b"}",
        "<html>Créé</html>".encode("latin-1"),
    ],
    ids=range(16),
)
def test_a_201_that_names_no_message_is_unknown(body: bytes) -> None:
    """Broken, empty or foreign: something was taken, perhaps. The SDK would raise; nothing is raised."""
    outcome = told(answer(201, body))
    assert (outcome.kind, outcome.provider_id) == (UNKNOWN, "")


@pytest.mark.parametrize(
    "state", ["queued", "accepted", "sending", "sent", "scheduled", "delivered", "new", None]
)
def test_a_201_with_a_name_is_accepted_in_any_other_state(state: str | None) -> None:
    """What is not said to have failed was taken; its name is kept."""
    outcome = told(answer(201, {**GOOD, "status": state}))
    assert (outcome.kind, outcome.provider_id) == (ACCEPTED, SID)


@pytest.mark.parametrize(
    "code",
    ["21610", 21610.0, True, [21610], {"a": 21610}, -21610, 10**9, "21610 ", "٢١٦١٠", "x" * 10_000, None],
)
def test_only_a_number_is_an_error_number(code: object) -> None:
    """Twilio writes numbers; a text of the same digits is read as well, anything else is none."""
    said = said_by(HttpAnswer(400, {}, json.dumps({"code": code})))
    assert said == ("400 21610" if code == "21610" else "400")


WAITS = [
    ("7", 7.0),
    ("0", 0.0),
    ("0.5", 0.5),
    ("Sat, 21 Nov 2026 10:06:00 GMT", 60.0),
    ("Sat, 21 Nov 2026 10:00:00 GMT", 0.0),
    ("1000000000", 86_400.0),
    ("9" * 400, None),
    ("-5", None),
    ("soon", None),
    ("", None),
    (None, None),
]


@pytest.mark.parametrize(("after", "wait"), WAITS, ids=[str(after)[:12] for after, _ in WAITS])
@pytest.mark.parametrize("reply", [(429, error(20429, 429)), (400, error(21611)), (429, "<html>slow</html>")])
def test_retry_after(after: str | None, wait: float | None, reply: tuple[int, Any]) -> None:
    """What a busy Twilio says of the time is kept, as far as it makes sense; nothing was taken."""
    outcome = told(answer(*reply, {} if after is None else {"Retry-After": after}))
    assert (outcome.kind, outcome.blame, outcome.retry_after) == (NOT_TAKEN, PROVIDER, wait)


def test_only_a_busy_provider_names_a_time() -> None:
    """A Retry-After with a refusal or a failure says nothing."""
    for status in (401, 403, 302, 500, 503):
        assert told(answer(status, "", {"Retry-After": "7"})).retry_after is None


def test_refusals_that_nobody_knows_stop_after_a_few() -> None:
    """A number that is not in the table may speak of us: it costs nobody, and the third stops the rest."""
    outcomes, _ = talk(answer(400, error(21999)), *texts(5))
    assert {outcome.kind for outcome in outcomes} == {NOT_TAKEN}
    assert [outcome.blame for outcome in outcomes[:3]] == [RECIPIENT, RECIPIENT, ACCOUNT_]
    assert [outcome.retry_after for outcome in outcomes[:3]] == [1.0, 1.0, None]
    assert not any(outcome.suppress for outcome in outcomes)


def test_refusals_that_nobody_knows_are_theirs_where_others_were_accepted() -> None:
    """Who is refused after another was accepted is refused for himself."""
    handler = in_turn(answer(201, GOOD), answer(400, error(21999)))
    outcomes, _ = talk(handler, *texts(6))
    assert [outcome.kind for outcome in outcomes] == [ACCEPTED, *[REJECTED] * 5]


def test_magic_numbers() -> None:
    """The numbers of Twilio's test credentials are refused one by one, and the next one is served."""
    twilio = Twilio()
    items = [Delivery(at, Sms(number, WORDS)) for at, number in enumerate([*MAGIC, NUMBER], 1)]
    outcomes, _ = talk(twilio, *items)
    found = [(outcome.kind, outcome.suppress, outcome.opted_out) for outcome in outcomes]
    assert found == [
        (REJECTED, True, False),  # 21211
        (REJECTED, False, False),  # 21612
        (NOT_TAKEN, False, False),  # 21408
        (REJECTED, True, True),  # 21610
        (REJECTED, True, False),  # 21614
        (ACCEPTED, False, False),
    ]
    assert [row["to"] for row in twilio.messages] == [NUMBER]


@pytest.mark.parametrize(("sender", "code"), MAGIC_SENDERS.items())
def test_magic_senders(sender: str, code: int) -> None:
    """A sender that is not ours stops the broadcast; a full queue is tried again later."""
    (outcome,), _ = talk(Twilio(), Delivery(1, Sms(NUMBER, WORDS, sender=sender)), messaging_service="")
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, PROVIDER if code == 21611 else ACCOUNT_)
    assert str(code) in outcome.detail


@pytest.mark.parametrize(("body", "kind"), [("x" * 1600, ACCEPTED), ("x" * 1601, REJECTED), ("", REJECTED)])
def test_how_long_a_text_may_be(body: str, kind: OutcomeKind) -> None:
    """Twilio takes 1,600 characters, and not none."""
    (outcome,), _ = talk(Twilio(), Delivery(1, Sms(NUMBER, body)))
    assert outcome.kind is kind


# --- the request


def form(sms: Sms, **settings: Any) -> dict[str, str]:
    """Return the form that was posted for a text."""
    twilio = Twilio()
    (outcome,), _ = talk(twilio, Delivery(1, sms), **settings)
    assert outcome.kind is ACCEPTED
    (posted,) = twilio.forms
    return posted


def test_a_text_is_posted_as_it_is() -> None:
    """Number, words and service go in a form; nothing is rewritten, scheduled or added."""
    assert form(Sms(NUMBER, "Grüße: 1 + 1 = 2 & so on\n\u20ac 100 %")) == {
        "To": NUMBER,
        "MessagingServiceSid": SERVICE,
        "Body": "Grüße: 1 + 1 = 2 & so on\n\u20ac 100 %",
        "SmartEncoded": "false",
    }


@pytest.mark.parametrize(
    ("service", "sender", "expected"),
    [
        (SERVICE, "", {"MessagingServiceSid": SERVICE}),
        (SERVICE, SENDER, {"MessagingServiceSid": SERVICE, "From": SENDER}),
        (SERVICE, "12345", {"MessagingServiceSid": SERVICE, "From": "12345"}),
        (SERVICE, "ACME", {"MessagingServiceSid": SERVICE}),
        (SERVICE, "MG" + "ab" * 16, {"MessagingServiceSid": "MG" + "ab" * 16}),
        ("", "MG" + "ab" * 16, {"MessagingServiceSid": "MG" + "ab" * 16}),
        ("", SENDER, {"From": SENDER}),
        ("", "12345", {"From": "12345"}),
        ("", "ACME Pay", {"From": "ACME Pay"}),
    ],
)
def test_who_sends(service: str, sender: str, expected: dict[str, str]) -> None:
    """A service picks the sender, a number beside it is the one of its pool; a name alone is a sender."""
    posted = form(Sms(NUMBER, WORDS, sender=sender), messaging_service=service)
    assert {name: posted[name] for name in ("From", "MessagingServiceSid") if name in posted} == expected


def test_without_a_sender_nothing_is_asked() -> None:
    """Neither service nor sender: a person has to set one."""
    twilio = Twilio()
    (outcome,), server = talk(twilio, *texts(1), messaging_service="")
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, ACCOUNT_)
    assert server.connections == 0


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        (timedelta(minutes=20), "1200"),
        (timedelta(seconds=59.9), "59"),
        (timedelta(seconds=1.5), "1"),
        (timedelta(0), "3600"),  # sent late on purpose: it is not to be dropped at once
        (timedelta(minutes=-5), "3600"),
        (timedelta(hours=10), "36000"),
        (timedelta(days=30), "36000"),
    ],
)
def test_how_long_a_text_is_good(left: timedelta, seconds: str) -> None:
    """Twilio drops what it could not send until then; it knows whole seconds from 1 to 36,000."""
    assert form(Sms(NUMBER, WORDS, valid_until=NOW + left))["ValidityPeriod"] == seconds


def test_without_an_end_there_is_no_validity() -> None:
    """Then Twilio's own applies."""
    assert "ValidityPeriod" not in form(Sms(NUMBER, WORDS))


def test_the_status_callback() -> None:
    """The configured page is told what became of each text."""
    page = "https://hooks.acme.example/twilio?a=1&b=2"
    assert form(Sms(NUMBER, WORDS), status_callback=page)["StatusCallback"] == page


def test_what_no_form_can_hold_is_replaced() -> None:
    """Half a surrogate pair and NUL would break the request."""
    assert form(Sms(NUMBER, "a\ud800b\x00c\udfffd \U0001f6a8"))["Body"] == "a\ufffdbc\ufffdd \U0001f6a8"


@given(st.text(st.characters(), max_size=30))
def test_whole_characters_stay(text: str) -> None:
    """Text without such halves goes as it is, but for NUL."""
    whole = text.encode("utf-8", "ignore").decode()
    assert sendable(whole) == whole.replace("\x00", "")
    assert sendable(text).encode().decode() == sendable(text)


@pytest.mark.parametrize(
    "number",
    ["", "4915500", "+0155001234", "+49 155 0012", "+49155001234567890", "+49155\n", "\uff0b491550012345"],
)
def test_a_number_without_its_country_is_not_asked_for(number: str) -> None:
    """Only E.164 goes out; the refusal holds no number."""
    (outcome,), server = talk(Twilio(), Delivery(1, Sms(number, WORDS)))
    assert (outcome.kind, outcome.suppress) == (REJECTED, False)
    assert server.connections == 0
    assert not number or number not in outcome.detail


def test_it_carries_texts_only() -> None:
    """A mail is a mistake of ours."""
    with pytest.raises(TypeError):
        talk(Twilio(), Delivery(1, email(1)))


def test_the_official_description_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    """What we ask, and what our stand-in says, is as Twilio describes it (where the description is here)."""
    twilio = Twilio()
    items = [
        Delivery(1, Sms(NUMBER, WORDS)),
        Delivery(2, Sms(NUMBER, WORDS, NOW + timedelta(minutes=5), SENDER)),
        Delivery(3, Sms(NUMBER, WORDS, NOW + timedelta(days=5), "ACME")),
    ]
    talk(twilio, *items, status_callback="https://hooks.acme.example/twilio")
    talk(twilio, *items[1:], messaging_service="")
    assert len(twilio.forms) == 5
    if official() is None:
        print("official descriptions not here: checked against our own schema only")
        return
    assert [official_faults("create", posted) for posted in twilio.forms] == [[]] * 5
    assert [official_faults("created", made) for _, made in twilio.replies] == [[]] * 5
    assert official_faults("create", {"To": NUMBER, "Bodi": WORDS}) != []


def test_says_its_limits() -> None:
    """W is one text a connection; the rate is the configuration's."""
    made = adapter("http://127.0.0.1:1", connections=7, per_second=2.5, timeout=timedelta(seconds=9))
    assert (made.connections, made.window, made.per_second, made.deadline) == (7, 7, 2.5, 9.0)


def test_accepted_twice_is_one_sid_each() -> None:
    """Two texts with the same words are two messages."""
    twilio = Twilio()
    item = texts(1)[0]
    outcomes, _ = talk(twilio, item, replace(item, delivery=2))
    assert len({outcome.provider_id for outcome in outcomes}) == 2
