"""Twilio against a stand-in: every line of the outcome table, the request, and the credentials."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.errors import ConfigError
from commcast.model.incident import Channel
from commcast.model.message import NOT_BEGUN, Blame, Delivery, Outcome, OutcomeKind, Sms
from commcast.providers.http import HttpAnswer
from commcast.providers.twilio import outcomes as twilio_outcomes
from commcast.providers.twilio.adapter import TwilioAdapter
from commcast.providers.twilio.client import Credentials, TwilioClient, sendable
from commcast.providers.twilio.outcomes import OUTCOMES, judge, said_by
from tests.providers.contract import Arrived, HttpContract, HttpRig, collect, hand_overs
from tests.providers.kinds import ACCEPTED, ACCOUNT, NOT_TAKEN, PROVIDER, RECIPIENT, REJECTED, UNKNOWN
from tests.support.servers.http import Exchange, Handler, HttpStandIn, Writer, answer, hang, in_turn, raw
from tests.support.servers.twilio import ACCOUNT as ACCOUNT_SID
from tests.support.servers.twilio import (
    CREDENTIALS,
    MAGIC,
    MAGIC_SENDERS,
    NOW,
    NUMBER,
    SENDER,
    SERVICE,
    TOKEN,
    WORDS,
    Twilio,
    clock,
    error,
    message,
    official,
    official_faults,
    provider,
)

GOOD = message(1, NUMBER, WORDS)  # the first message that the stand-in takes
SID = GOOD["sid"]


class TwilioRig(HttpRig):
    """The stand-in, which checks each request."""

    channel = Channel.SMS
    secrets = (TOKEN, ACCOUNT_SID, SERVICE)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.takes_all = self.twilio = Twilio()
        self.takes_one = answer(201, GOOD)

    def adapter(self, url: str, **settings: Any) -> TwilioAdapter:
        return TwilioAdapter(provider(url, **settings), CREDENTIALS, clock)

    def arrived(self) -> Sequence[Arrived]:
        return [Arrived((row["to"],), row["body"]) for row in self.twilio.messages]


class TestContract(HttpContract):
    """The contract, against the stand-in."""

    rig_class = TwilioRig


RIG = TwilioRig(Path())


def ask(handler: Handler, *texts: Sms, **settings: Any) -> tuple[list[Outcome], HttpStandIn]:
    """Hand over the texts, else one that is like any other, one after another."""
    items = [Delivery(number, sms) for number, sms in enumerate(texts or [Sms(NUMBER, WORDS)], 1)]
    return RIG.ask(handler, *items, **settings)


def told(handler: Handler, **settings: Any) -> Outcome:
    """Return what becomes of one text."""
    return ask(handler, **settings)[0][0]


# --- one batch, many requests


def test_a_halt_gives_back_the_rest_of_a_batch() -> None:
    """At once, though two texts of the batch are in flight; these are answered later."""

    async def scenario() -> tuple[list[Outcome], list[Outcome]]:
        go_on = asyncio.Event()

        async def held(exchange: Exchange, writer: Writer) -> None:
            await go_on.wait()
            await writer.answer(201, GOOD)

        async with HttpStandIn(held) as server, RIG.adapter(server.url, connections=2) as made:
            sending = made.send(hand_overs(Channel.SMS, 6))
            first = asyncio.ensure_future(anext(sending))
            await server.requested(2)
            made.halt()
            given_back = [await first, *[await anext(sending) for _ in range(3)]]
            go_on.set()
            return given_back, [outcome async for outcome in sending]

    given_back, answered = asyncio.run(scenario())
    assert {(each.kind, each.detail) for each in given_back} == {(NOT_TAKEN, NOT_BEGUN)}
    assert [each.kind for each in answered] == [ACCEPTED] * 2


def test_a_batch_that_is_left_ends_what_it_began() -> None:
    """Who stops reading the outcomes leaves no request behind."""

    async def scenario() -> None:
        async with (
            HttpStandIn(in_turn(answer(201, GOOD), hang)) as server,
            RIG.adapter(server.url, connections=4) as made,
        ):
            sending = made.send(hand_overs(Channel.SMS, 4))
            assert (await anext(sending)).kind is ACCEPTED
            before = asyncio.all_tasks()
            await sending.aclose()  # type: ignore[attr-defined]
            assert len(before - asyncio.all_tasks()) >= 3

    asyncio.run(scenario())


def test_a_text_that_waits_for_its_turn_loses_no_time() -> None:
    """With one connection the fourth text has as long as the first."""

    async def slow(exchange: Exchange, writer: Writer) -> None:
        await asyncio.sleep(0.6)  # four of them take longer than the deadline
        await writer.answer(201, GOOD)

    async def scenario() -> tuple[list[Outcome], int]:
        timeout = timedelta(seconds=2)
        async with (
            HttpStandIn(slow) as server,
            RIG.adapter(server.url, connections=1, timeout=timeout) as made,
        ):
            return await collect(made, hand_overs(Channel.SMS, 4)), server.connections

    outcomes, connections = asyncio.run(scenario())
    assert ({outcome.kind for outcome in outcomes}, connections) == ({ACCEPTED}, 1)


# --- the table

Case = tuple[str, OutcomeKind, Blame, bool, bool, str]
SENDERS = "21212 21267 21601 21603 21606 21607 21616 21657 21659 21660 21661 21663"
SERVICES = "21701 21702 21703 21704 21705 21709 21711 21712 21715"
SETTINGS = "21609 21620 21621 21622 21623 21624 21626"


def means(said: str, kind: OutcomeKind, blame: Blame, words: str, suppress: bool = False) -> list[Case]:
    """The cases of some answers ("400 21211|403"; "400:" before many numbers): what each means."""
    head, _, codes = said.rpartition(":")
    each = [f"{head} {code}" for code in codes.split()] if head else said.split("|")
    return [(one, kind, blame, suppress, words == "opted out", words) for one in each]


CASES: list[Case] = [
    *means("201 taken", ACCEPTED, RECIPIENT, ""),
    *means("201 failed|201 failed 30007|201 failed 30002", REJECTED, RECIPIENT, "did not send it"),
    *means("201 failed 21610|400 21610|403 21610", REJECTED, RECIPIENT, "opted out", suppress=True),
    *means("201 failed 21211|400 21211", REJECTED, RECIPIENT, "not a phone number", suppress=True),
    *means("201 failed 21614|400 21614|400 21635", REJECTED, RECIPIENT, "gets no texts", suppress=True),
    *means("201|200|202|204|200 21211", UNKNOWN, RECIPIENT, "not Twilio's"),
    *means("300|301|302|303|304|307|308", NOT_TAKEN, ACCOUNT, "sent to another server"),
    *means("400:21265 21266 21268", REJECTED, RECIPIENT, "this kind of number"),
    *means("400:21612 21662 21668 21910", REJECTED, RECIPIENT, "no way leads"),
    *means("400:21608", REJECTED, RECIPIENT, "trial account"),
    *means("400:21602 21605 21617 21618 21619 21658", REJECTED, RECIPIENT, "words cannot be texted"),
    *means("400:21611 30001", NOT_TAKEN, PROVIDER, "queue at Twilio is full"),
    *means("400:20429 14107 30022 30454 63038", NOT_TAKEN, PROVIDER, "limit there is reached"),
    *means("400 21408|403 21408", NOT_TAKEN, ACCOUNT, "may not text this region"),
    *means(f"400:{SENDERS}", NOT_TAKEN, ACCOUNT, "look at from"),
    *means(f"400:{SERVICES}", NOT_TAKEN, ACCOUNT, "look at messaging_service"),
    *means(f"400:{SETTINGS}", NOT_TAKEN, ACCOUNT, "[providers.twilio]"),
    *means("400:10001 20005 20403 21472 30002", NOT_TAKEN, ACCOUNT, "suspended or not active"),
    *means("400:20003 20008 70051", NOT_TAKEN, ACCOUNT, "credentials are refused"),
    *means("401 20003|401|401 99999", NOT_TAKEN, ACCOUNT, "credentials are refused"),
    *means("400|400 99999|400 20001", REJECTED, RECIPIENT, "Twilio refuses the text"),
    *means("403|403 99999", NOT_TAKEN, ACCOUNT, "may not send texts"),
    *means("404|404 20404|405", NOT_TAKEN, ACCOUNT, "no such account"),
    *means("407", NOT_TAKEN, ACCOUNT, "proxy"),
    *means("408|408 21211", UNKNOWN, RECIPIENT, "stopped waiting"),
    *means("425", NOT_TAKEN, PROVIDER, "did not begin"),
    *means("429|429 20429|429 21610|429 63038", NOT_TAKEN, PROVIDER, "no more texts now"),
    *means("402|406|409|410|413|415|422|431|451", NOT_TAKEN, ACCOUNT, "does not take such a request"),
    *means("500|500 20500|502|503|503 20503|503 21211|504|599", UNKNOWN, RECIPIENT, "Twilio failed after"),
    *means("101|600", UNKNOWN, RECIPIENT, "no rule"),
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
        assert rule.blame in {PROVIDER, ACCOUNT}
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
    (outcome,), server = ask(answer(int(status), body))
    if judge(said).doubtful:
        kind = NOT_TAKEN  # asked about again, as long as nobody was accepted
    assert (outcome.kind, outcome.blame) == (kind, blame)
    assert (outcome.suppress, outcome.opted_out) == (suppress, opted_out)
    assert len(server.exchanges) == 1
    assert outcome.detail == "" if kind is ACCEPTED else said in outcome.detail
    assert outcome.provider_id == (SID if "taken" in said or "failed" in said else "")
    assert not [word for word in (NUMBER, TOKEN, ACCOUNT_SID) if word in outcome.detail]


@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"204 No Content", UNKNOWN), (b"304 Not Modified", NOT_TAKEN), (b"101 Switching Protocols", UNKNOWN)],
)
def test_answers_without_a_body(head: bytes, kind: OutcomeKind) -> None:
    """Answers that have no body by their nature are whole as well."""
    assert told(raw(b"HTTP/1.1 " + head + b"\r\n\r\n")).kind is kind


WHOLE = json.dumps(GOOD).encode()


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"[]", b"null", b"not json", b"[" * 100_000, b'{"sid": ' + b"9" * 100_000 + b"}"),
        *(b'{"sid": "SM123"}', b'{"sid": null, "status": "queued"}', b'{"sid": 5}'),
        b'{"sid": {"a": ["SM00000000000000000000000000000001"]}}',
        *(WHOLE[:-1], b"\xff\xfe" + WHOLE, "<html>Créé</html>".encode("latin-1")),
        WHOLE.replace(SID.encode(), SID.encode() + b"\\n"),
        WHOLE.replace(SID.encode(), b"AC" + SID[2:].encode()),
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


@pytest.mark.parametrize(("after", "wait"), [("7", 7.0), ("soon", None), (None, None)])
@pytest.mark.parametrize("reply", [(429, error(20429, 429)), (400, error(21611)), (429, "<html>slow</html>")])
def test_a_busy_provider_may_name_a_time(
    after: str | None, wait: float | None, reply: tuple[int, Any]
) -> None:
    """Nothing was taken, and the time is handed on."""
    outcome = told(answer(*reply, {} if after is None else {"Retry-After": after}))
    assert (outcome.kind, outcome.blame, outcome.retry_after) == (NOT_TAKEN, PROVIDER, wait)


def test_only_a_busy_provider_names_a_time() -> None:
    """A Retry-After with a refusal or a failure says nothing."""
    for status in (401, 403, 302, 500, 503):
        assert told(answer(status, "", {"Retry-After": "7"})).retry_after is None


def test_refusals_that_nobody_knows_stop_after_a_few() -> None:
    """A number that is not in the table may speak of us: nobody is refused, and the third stops the rest."""
    outcomes, _ = ask(answer(400, error(21999)), *[Sms(NUMBER, WORDS)] * 5)
    assert {outcome.kind for outcome in outcomes} == {NOT_TAKEN}
    assert [outcome.blame for outcome in outcomes[:3]] == [RECIPIENT, RECIPIENT, ACCOUNT]
    assert [outcome.retry_after for outcome in outcomes[:3]] == [1.0, 1.0, None]
    assert not any(outcome.suppress for outcome in outcomes)


@pytest.mark.parametrize(
    ("refusal", "kind"), [((400, error(21999)), REJECTED), ((401, error(20003, 401)), NOT_TAKEN)]
)
def test_refusals_after_others_were_accepted(refusal: tuple[int, Any], kind: OutcomeKind) -> None:
    """What nobody knows is then the reader's own fault; what was accepted stays so, whatever follows."""
    outcomes, _ = ask(in_turn(answer(201, GOOD), answer(*refusal)), *[Sms(NUMBER, WORDS)] * 6)
    assert [outcome.kind for outcome in outcomes] == [ACCEPTED, *[kind] * 5]


def test_magic_numbers() -> None:
    """The numbers of Twilio's test credentials are refused one by one, and the next one is served."""
    twilio = Twilio()
    outcomes, _ = ask(twilio, *[Sms(number, WORDS) for number in [*MAGIC, NUMBER]])
    assert [(outcome.kind, outcome.suppress, outcome.opted_out) for outcome in outcomes] == [
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
    (outcome,), _ = ask(Twilio(), Sms(NUMBER, WORDS, sender=sender), messaging_service="")
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, PROVIDER if code == 21611 else ACCOUNT)
    assert str(code) in outcome.detail


@pytest.mark.parametrize(("body", "kind"), [("x" * 1600, ACCEPTED), ("x" * 1601, REJECTED), ("", REJECTED)])
def test_how_long_a_text_may_be(body: str, kind: OutcomeKind) -> None:
    """Twilio takes 1,600 characters, and not none."""
    assert ask(Twilio(), Sms(NUMBER, body))[0][0].kind is kind


# --- the request


def form(sms: Sms, **settings: Any) -> dict[str, str]:
    """Return the form that was posted for a text."""
    twilio = Twilio()
    (outcome,), _ = ask(twilio, sms, **settings)
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
    (outcome,), server = ask(Twilio(), messaging_service="")
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, ACCOUNT)
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


def test_the_status_callback() -> None:
    """Twilio reports what became of each text to the configured page."""
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
    (outcome,), server = ask(Twilio(), Sms(number, WORDS))
    assert (outcome.kind, outcome.suppress) == (REJECTED, False)
    assert server.connections == 0
    assert not number or number not in outcome.detail


def test_the_official_description_agrees() -> None:
    """What we ask, and what our stand-in says, is as Twilio describes it (if the description is here)."""
    twilio = Twilio()
    texts = [
        Sms(NUMBER, WORDS),
        Sms(NUMBER, WORDS, NOW + timedelta(minutes=5), SENDER),
        Sms(NUMBER, WORDS, NOW + timedelta(days=5), "ACME"),
    ]
    outcomes = ask(twilio, *texts, status_callback="https://hooks.acme.example/twilio")[0]
    outcomes += ask(twilio, *texts[1:], messaging_service="")[0]
    assert len({outcome.provider_id for outcome in outcomes}) == len(twilio.forms) == 5
    if official() is None:
        print("official descriptions not here: checked against our own schema only")
        return
    assert [official_faults("create", posted) for posted in twilio.forms] == [[]] * 5
    assert [official_faults("created", made) for _, made in twilio.replies] == [[]] * 5
    assert official_faults("create", {"To": NUMBER, "Bodi": WORDS}) != []


def test_says_its_limits() -> None:
    """W is one text a connection; the rate is the configuration's."""
    made = RIG.adapter("http://127.0.0.1:1", connections=7, per_second=2.5, timeout=timedelta(seconds=9))
    assert (made.connections, made.window, made.per_second, made.deadline) == (7, 7, 2.5, 9.0)


# --- credentials, and where the SDK is sent

GIVEN = {"TWILIO_ACCOUNT_SID": ACCOUNT_SID, "TWILIO_AUTH_TOKEN": TOKEN}
KEYED = {"TWILIO_ACCOUNT_SID": ACCOUNT_SID, "TWILIO_API_KEY": "SK" + "1b" * 16, "TWILIO_API_SECRET": "hush"}


def test_credentials() -> None:
    """A token goes with the account, a secret with its key; a key is used before a token."""
    assert Credentials.from_environment(GIVEN) == CREDENTIALS
    keyed = Credentials(ACCOUNT_SID, "SK" + "1b" * 16, "hush")
    assert Credentials.from_environment(KEYED) == keyed
    assert Credentials.from_environment({**GIVEN, **KEYED}) == keyed
    spaced = {name: f"  {value}\n" for name, value in GIVEN.items()}
    assert Credentials.from_environment(spaced) == CREDENTIALS
    assert CREDENTIALS.variables == "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"
    assert TOKEN not in f"{CREDENTIALS!r} {CREDENTIALS}"
    assert keyed.variables == "TWILIO_API_KEY and TWILIO_API_SECRET"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, ["TWILIO_ACCOUNT_SID is not set", "neither TWILIO_AUTH_TOKEN nor TWILIO_API_KEY"]),
        ({"TWILIO_AUTH_TOKEN": TOKEN}, ["TWILIO_ACCOUNT_SID is not set"]),
        ({"TWILIO_ACCOUNT_SID": ACCOUNT_SID}, ["neither TWILIO_AUTH_TOKEN nor TWILIO_API_KEY"]),
        ({**GIVEN, "TWILIO_ACCOUNT_SID": "SK" + "1" * 32}, ["TWILIO_ACCOUNT_SID is not AC and 32"]),
        ({**GIVEN, "TWILIO_ACCOUNT_SID": ACCOUNT_SID + "0"}, ["TWILIO_ACCOUNT_SID is not AC and 32"]),
        ({**GIVEN, "TWILIO_ACCOUNT_SID": "AC" + "\u0661" * 32}, ["TWILIO_ACCOUNT_SID is not AC and 32"]),
        ({**GIVEN, "TWILIO_AUTH_TOKEN": "se\ncret"}, ["TWILIO_AUTH_TOKEN holds more than plain"]),
        ({**GIVEN, "TWILIO_AUTH_TOKEN": "s\u00e9cret"}, ["TWILIO_AUTH_TOKEN holds more than plain"]),
        ({**GIVEN, "TWILIO_AUTH_TOKEN": " \t"}, ["neither TWILIO_AUTH_TOKEN nor TWILIO_API_KEY"]),
        ({**GIVEN, "TWILIO_API_KEY": "SK" + "1" * 32}, ["TWILIO_API_SECRET is not set"]),
        ({**GIVEN, "TWILIO_API_SECRET": "hush"}, ["TWILIO_API_KEY is not set"]),
        ({**KEYED, "TWILIO_API_KEY": ACCOUNT_SID}, ["TWILIO_API_KEY is not SK and 32"]),
        ({**KEYED, "TWILIO_API_SECRET": "hu\x00sh"}, ["TWILIO_API_SECRET holds more than plain"]),
    ],
)
def test_credentials_that_cannot_be_right(environ: dict[str, str], named: list[str]) -> None:
    """Each variable that is missing or wrong is named, no other, and no value is shown."""
    with pytest.raises(ConfigError) as caught:
        Credentials.from_environment(environ)
    lines = caught.value.lines()
    assert len(lines) == len(named)
    assert all(words in line for words, line in zip(named, lines, strict=True))
    assert not [value for value in environ.values() if value.strip() and value in str(caught.value)]


def test_an_api_key_logs_in() -> None:
    """The key is the user, its secret the password; the path names the account."""
    server = HttpStandIn(answer(201, GOOD))

    async def scenario() -> None:
        keyed = Credentials.from_environment(KEYED)
        async with server, TwilioAdapter(provider(server.url), keyed, clock) as made:
            await collect(made, hand_overs(Channel.SMS, 1))

    asyncio.run(scenario())
    (exchange,) = server.exchanges
    assert exchange.path == f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json"
    encoded = exchange.headers["authorization"].removeprefix("Basic ")
    assert base64.b64decode(encoded).decode() == f"SK{'1b' * 16}:hush"


def test_base_urls() -> None:
    """The API is asked at base_url; messaging services beside it at Twilio, else at the same server."""

    def hosts(base_url: str) -> tuple[str, str]:
        sdk = TwilioClient(base_url, CREDENTIALS, 1.0)._sdk
        return sdk.api.base_url, sdk.messaging.base_url

    assert hosts("https://api.twilio.com") == ("https://api.twilio.com", "https://messaging.twilio.com")
    dublin = ("https://api.dublin.ie1.twilio.com", "https://messaging.dublin.ie1.twilio.com")
    assert hosts(dublin[0]) == dublin
    assert hosts("http://127.0.0.1:8080/") == ("http://127.0.0.1:8080", "http://127.0.0.1:8080")
    assert hosts("https://api.twilio.com.evil.example")[1] == "https://api.twilio.com.evil.example"


def test_the_edge_and_region_of_the_environment_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would send to another host; what base_url says counts."""
    monkeypatch.setenv("TWILIO_EDGE", "dublin")
    monkeypatch.setenv("TWILIO_REGION", "ie1")
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "AC" + "f" * 32)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "another")
    assert told(Twilio()).kind is ACCEPTED
