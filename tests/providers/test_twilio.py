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
from commcast.providers.http import HttpAnswer, rule_for
from commcast.providers.twilio import outcomes as twilio_outcomes
from commcast.providers.twilio.adapter import TwilioAdapter
from commcast.providers.twilio.client import Credentials, TwilioClient, sendable
from commcast.providers.twilio.outcomes import OUTCOMES, outcome, said_by
from tests.providers.contract import Arrived, HttpContract, HttpRig, TableContract, collect, hand_overs
from tests.providers.kinds import (
    ACCEPTED,
    ACCOUNT,
    FOR_ONE,
    NOT_TAKEN,
    PROVIDER,
    RECIPIENT,
    REJECTED,
    UNCLEAR,
    UNKNOWN,
)
from tests.support.servers import apis
from tests.support.servers.apis import CREDENTIALS, NOW, NUMBER, SENDER, SERVICE, TOKEN, WORDS, Twilio
from tests.support.servers.http import Exchange, Handler, HttpStandIn, Writer, answer, hang, in_turn

GOOD = apis.message(1)  # the first message that the stand-in takes
Case = tuple[str, OutcomeKind, Blame, bool, str]
SENDERS = "21212 21267 21601 21603 21606 21607 21616 21657 21659 21660 21661 21663"
SERVICES = "21701 21702 21703 21704 21705 21709 21711 21712 21715"
SETTINGS = "21609 21620 21621 21622 21623 21624 21626"
WHOLE = json.dumps(GOOD)
OTHER = "MG" + "ab" * 16
NOT_E164 = ["", "4915500", "+015500123", "+49 155 001", "+4915500123456789", "+49155\n", "\uff0b491550012345"]
GIVEN = {"TWILIO_ACCOUNT_SID": apis.ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN}
KEYED = {"TWILIO_ACCOUNT_SID": apis.ACCOUNT, "TWILIO_API_KEY": "SK" + "1b" * 16, "TWILIO_API_SECRET": "hush"}
ID, KEY_ID, LOGIN, SECRET = "TWILIO_ACCOUNT_SID", "TWILIO_API_KEY", "TWILIO_AUTH_TOKEN", "TWILIO_API_SECRET"
NO_LOGIN = "neither TWILIO_AUTH_TOKEN nor TWILIO_API_KEY"
TWILIO, DUBLIN = "twilio.com", "dublin.ie1.twilio.com"
OWN, EVIL = "http://127.0.0.1:8080", "https://api.twilio.com.evil.example"


class TwilioRig(HttpRig):
    """The stand-in, which checks each request."""

    channel = Channel.SMS
    secrets = (TOKEN, apis.ACCOUNT, SERVICE)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.takes_all = self.twilio = Twilio()
        self.takes_one = answer(201, GOOD)

    def adapter(self, url: str, login: Credentials = CREDENTIALS, **settings: Any) -> TwilioAdapter:
        return TwilioAdapter(apis.twilio(url, **settings), login, apis.clock)

    def arrived(self) -> Sequence[Arrived]:
        return [Arrived((row["to"],), row["body"]) for row in self.twilio.messages]


class TestContract(HttpContract):
    rig_class = TwilioRig


RIG = TwilioRig(Path())


def ask(handler: Handler, *texts: Sms, **settings: Any) -> tuple[list[Outcome], HttpStandIn]:
    """Hand over the texts, else one that is like any other, one after another."""
    items = [Delivery(number, sms) for number, sms in enumerate(texts or [Sms(NUMBER, WORDS)], 1)]
    return RIG.ask(handler, *items, **settings)


async def test_a_halt_gives_back_the_rest_of_a_batch() -> None:
    """At once, though two texts of the batch are in flight; these are answered later."""
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
        assert [each.kind async for each in sending] == [ACCEPTED] * 2
    assert {(each.kind, each.detail) for each in given_back} == {(NOT_TAKEN, NOT_BEGUN)}


async def test_a_batch_that_is_left_ends_what_it_began() -> None:
    """Closing the outcomes early leaves no request behind."""
    handler = in_turn(answer(201, GOOD), hang)
    async with HttpStandIn(handler) as server, RIG.adapter(server.url, connections=4) as made:
        sending = made.send(hand_overs(Channel.SMS, 4))
        assert (await anext(sending)).kind is ACCEPTED
        before = asyncio.all_tasks()
        await sending.aclose()  # type: ignore[attr-defined]
        assert len(before - asyncio.all_tasks()) >= 3


def test_a_text_that_waits_for_its_turn_loses_no_time() -> None:
    """With one connection the fourth text has as long as the first."""

    async def slow(exchange: Exchange, writer: Writer) -> None:
        await asyncio.sleep(0.4)  # four of them take longer than the deadline
        await writer.answer(201, GOOD)

    outcomes, server = ask(slow, *[Sms(NUMBER, WORDS)] * 4, connections=1, timeout=timedelta(seconds=1.5))
    assert ({each.kind for each in outcomes}, server.connections) == ({ACCEPTED}, 1)


def means(said: str, kind: OutcomeKind, blame: Blame, words: str, suppress: bool = False) -> list[Case]:
    """The cases of some answers ("400 21211|403"; "400:" before many numbers): what each means."""
    head, _, codes = said.rpartition(":")
    each = [f"{head} {code}" for code in codes.split()] if head else said.split("|")
    return [(one, kind, blame, suppress, words) for one in each]


# Sources: Twilio's API description and its error dictionary, https://www.twilio.com/docs/api/errors. What any
# server's answer means is in test_http.py; here stands that a number does not outweigh it.
CASES: list[Case] = [
    *means("201 taken", ACCEPTED, RECIPIENT, ""),
    *means("201 failed|201 failed 30007|201 failed 30002", REJECTED, RECIPIENT, "did not send it"),
    *means("201 failed 21610|400 21610|403 21610", REJECTED, RECIPIENT, "opted out", suppress=True),
    *means("201 failed 21211|400 21211", REJECTED, RECIPIENT, "not a phone number", suppress=True),
    *means("201 failed 21614|400 21614|400 21635", REJECTED, RECIPIENT, "receive texts", suppress=True),
    *means("201|200|200 21211", UNKNOWN, RECIPIENT, "not Twilio's"),
    *means("302|307 21211", NOT_TAKEN, ACCOUNT, "redirected"),
    *means("400:21265 21266 21268", REJECTED, RECIPIENT, "this kind of number"),
    *means("400:21612 21662 21668 21910", REJECTED, FOR_ONE, "cannot reach this number"),
    *means("400:21608", NOT_TAKEN, ACCOUNT, "trial account"),
    *means("400:21602 21605 21617 21618 21619 21658", NOT_TAKEN, ACCOUNT, "the body is refused"),
    *means("400:21611 30001", NOT_TAKEN, PROVIDER, "queue at Twilio is full"),
    *means("400:20429 14107 30022 30454 63038", NOT_TAKEN, PROVIDER, "our limit is reached"),
    *means("400 21408|403 21408", REJECTED, FOR_ONE, "may not text this region"),
    *means(f"400:{SENDERS}", NOT_TAKEN, ACCOUNT, "check from"),
    *means(f"400:{SERVICES}", NOT_TAKEN, ACCOUNT, "check messaging_service"),
    *means(f"400:{SETTINGS}", NOT_TAKEN, ACCOUNT, "[providers.twilio]"),
    *means("400:10001 20005 20403 21472 30002", NOT_TAKEN, ACCOUNT, "suspended or not active"),
    *means("400:20003 20008 70051", NOT_TAKEN, ACCOUNT, "credentials are refused"),
    *means("401 20003|401|401 99999", NOT_TAKEN, ACCOUNT, "credentials are refused"),
    *means("400|400 99999|400 20001", NOT_TAKEN, UNCLEAR, "Twilio refuses the text"),
    *means("403|403 99999", NOT_TAKEN, ACCOUNT, "may not send texts"),
    *means("404|404 20404|405", NOT_TAKEN, ACCOUNT, "no such account"),
    *means("407", NOT_TAKEN, ACCOUNT, "proxy"),
    *means("408|408 21211", UNKNOWN, RECIPIENT, "stopped waiting"),
    *means("425", NOT_TAKEN, PROVIDER, "did not start"),
    *means("429|429 20429|429 21610|429 63038", NOT_TAKEN, PROVIDER, "no more requests for now"),
    *means("402|413|451", NOT_TAKEN, ACCOUNT, "does not accept such a request"),
    *means("500|500 20500|503 20503|503 21211|599", UNKNOWN, RECIPIENT, "Twilio failed after"),
]


def judged(said: str) -> Outcome:
    """Return what an answer means that says this, and that repeats what must not be shown."""
    status, _, code = said.replace("failed ", "").partition(" ")
    body: dict[str, Any] = apis.error(int(code), int(status), f"{NUMBER} {TOKEN}") if code.isdigit() else {}
    if "taken" in said:
        body = GOOD
    elif "failed" in said:
        state = {"30007": "undelivered", "failed": "canceled"}.get(code, "failed")
        body = {**GOOD, "status": state, "error_code": int(code) if code.isdigit() else None}
    return outcome(7, HttpAnswer(int(status), {"retry-after": "9"}, json.dumps(body)), NOW)


class TestTable(TableContract):
    """No secret is shown, and only a busy Twilio names a time."""

    module = twilio_outcomes

    def wrong(self) -> list[str]:
        wrong = []
        for said, kind, blame, suppress, words in CASES:
            made = apis.sid(1) if said.startswith("201 ") else ""
            wait = 9.0 if blame is PROVIDER else None
            found = judged(said)
            expected = Outcome(7, kind, found.detail, made, blame, wait, suppress, words == "opted out")
            shown = found.detail == "" if kind is ACCEPTED else found.detail.endswith(f"({said})")
            if found != expected or words not in found.detail or not shown or TOKEN in found.detail:
                wrong.append(f"{said}: {found}")
        return wrong


def test_every_number_of_the_table_has_a_case() -> None:
    listed = {code for rule in OUTCOMES for code in re.findall(r"\d{5}", rule.said)}
    assert listed <= {said.partition(" ")[2].removeprefix("failed ") for said, *_ in CASES}


@given(st.integers(100, 999), st.one_of(st.just(""), st.integers(1, 999_999).map(str)))
def test_the_laws_of_the_table(status: int, code: str) -> None:
    """Only a message with a name is accepted; a 5xx is never believed; only a 4xx or 3xx says "not taken"."""
    rule = rule_for(f"{status} {code}".strip(), OUTCOMES)
    allowed = {NOT_TAKEN: range(300, 500), REJECTED: range(400, 500), UNKNOWN: range(100, 1000)}
    assert status in allowed[rule.kind]
    assert rule.kind is not NOT_TAKEN or rule.blame in {PROVIDER, ACCOUNT, UNCLEAR}
    assert rule.kind is UNKNOWN or (300 <= status < 500 and status != 408)


@pytest.mark.parametrize("body", [
    *("", "{}", "[]", "null", "not json", "[" * 100_000, '{"sid": ' + "9" * 100_000 + "}"),
    *('{"sid": "SM123"}', '{"sid": null, "status": "queued"}', '{"sid": 5}', '{"sid": {"a": ["SM1"]}}'),
    *(WHOLE[:-1], "\ufffd\ufffd" + WHOLE, "<html>"),
    *(WHOLE.replace(apis.sid(1), wrong) for wrong in (apis.sid(1) + "\\n", "AC" + apis.sid(1)[2:])),
], ids=range(16))  # fmt: skip
def test_a_201_that_names_no_message_is_unknown(body: str) -> None:
    """Broken, empty or foreign: something was taken, perhaps. The SDK would raise; nothing is raised."""
    found = outcome(1, HttpAnswer(201, {}, body), NOW)
    assert (found.kind, found.provider_id) == (UNKNOWN, "")


def test_a_201_with_a_name_is_accepted_in_any_other_state() -> None:
    """What is not said to have failed was taken; its name is kept."""
    for state in ("queued", "accepted", "sending", "sent", "scheduled", "delivered", "new", None):
        found = outcome(1, HttpAnswer(201, {}, json.dumps({**GOOD, "status": state})), NOW)
        assert found == Outcome(1, ACCEPTED, provider_id=apis.sid(1))


@pytest.mark.parametrize(
    "code",
    ["21610", 21610.0, True, [21610], {"a": 21610}, -21610, 10**9, "21610 ", "٢١٦١٠", "x" * 10_000, None],
)
def test_only_a_number_is_an_error_number(code: object) -> None:
    """Twilio writes numbers; a text of the same digits is read as well, anything else is none."""
    said = said_by(HttpAnswer(400, {}, json.dumps({"code": code})))
    assert said == ("400 21610" if code == "21610" else "400")


@pytest.mark.parametrize(
    ("refusal", "blame"),
    [((400, apis.error(21999)), UNCLEAR), ((401, apis.error(20003, 401)), ACCOUNT)],
)
def test_a_refusal_takes_nothing_back(refusal: tuple[int, Any], blame: Blame) -> None:
    """What was accepted stays so, and ends no row of others, whatever follows."""
    outcomes, _ = ask(in_turn(answer(201, GOOD), answer(*refusal)), *[Sms(NUMBER, WORDS)] * 6)
    found = [(each.kind, each.blame) for each in outcomes]
    assert found == [(ACCEPTED, RECIPIENT)] + [(NOT_TAKEN, blame)] * 5


def form(sms: Sms, **settings: Any) -> dict[str, str]:
    """Return the form that was posted for a text."""
    twilio = Twilio()
    (found,), _ = ask(twilio, sms, **settings)
    assert found.kind is ACCEPTED
    (posted,) = twilio.forms
    return posted


def test_a_text_is_posted_as_it_is() -> None:
    """Number, words and service go in a form; only what no form can hold is replaced."""
    body = "Grüße: 1 + 1 = 2 & so on\n\u20ac 100 %"
    expected = {"To": NUMBER, "MessagingServiceSid": SERVICE, "Body": body, "SmartEncoded": "false"}
    assert form(Sms(NUMBER, body)) == expected
    page = "https://hooks.acme.example/twilio?a=1&b=2"
    assert form(Sms(NUMBER, body), status_callback=page) == {**expected, "StatusCallback": page}
    assert form(Sms(NUMBER, "a\ud800b\x00c\udfffd \U0001f6a8"))["Body"] == "a\ufffdbc\ufffdd \U0001f6a8"


@pytest.mark.parametrize(("service", "sender", "expected"), [
    (SERVICE, "", {"MessagingServiceSid": SERVICE}),
    (SERVICE, SENDER, {"MessagingServiceSid": SERVICE, "From": SENDER}),
    (SERVICE, "12345", {"MessagingServiceSid": SERVICE, "From": "12345"}),
    (SERVICE, "ACME", {"MessagingServiceSid": SERVICE}),
    *[(service, OTHER, {"MessagingServiceSid": OTHER}) for service in (SERVICE, "")],
    *[("", sender, {"From": sender}) for sender in (SENDER, "12345", "ACME Pay")],
])  # fmt: skip
def test_who_sends(service: str, sender: str, expected: dict[str, str]) -> None:
    """A service picks the sender, a number beside it is the one of its pool; a name alone is a sender."""
    posted = form(Sms(NUMBER, WORDS, sender=sender), messaging_service=service)
    assert {name: posted[name] for name in ("From", "MessagingServiceSid") if name in posted} == expected


# What is sent late on purpose is not to be dropped at once.
@pytest.mark.parametrize(("left", "seconds"), [
    *[(20 * 60, "1200"), (59.9, "59"), (1.5, "1"), (0, "3600"), (-5 * 60, "3600")],
    *[(36_000, "36000"), (30 * 86_400, "36000")],
])  # fmt: skip
def test_how_long_a_text_is_good(left: float, seconds: str) -> None:
    """Twilio drops what it could not send until then; it knows whole seconds from 1 to 36,000."""
    assert form(Sms(NUMBER, WORDS, valid_until=NOW + timedelta(seconds=left)))["ValidityPeriod"] == seconds


@given(st.text(st.characters(), max_size=30))
def test_whole_characters_stay(text: str) -> None:
    """Text without half a surrogate pair goes as it is, except for NUL."""
    whole = text.encode("utf-8", "ignore").decode()
    assert sendable(whole) == whole.replace("\x00", "")
    assert sendable(text).encode().decode() == sendable(text)


@pytest.mark.parametrize(("sms", "kind", "blame"), [
    *[(Sms(number, WORDS), REJECTED, RECIPIENT) for number in NOT_E164],
    (Sms(NUMBER, WORDS), NOT_TAKEN, ACCOUNT),
], ids=[*map(repr, NOT_E164), "no sender"])  # fmt: skip
def test_what_is_not_even_asked(sms: Sms, kind: OutcomeKind, blame: Blame) -> None:
    """A number without its country is refused without naming it; without a sender a person has to set one."""
    (found,), server = ask(Twilio(), sms, messaging_service="")
    assert (found.kind, found.blame, found.suppress, server.connections) == (kind, blame, False, 0)
    assert not sms.to or sms.to not in found.detail


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
    assert len({each.provider_id for each in outcomes}) == len(twilio.forms) == 5
    assert [apis.official_faults("create", posted) for posted in twilio.forms] == [[]] * 5
    assert [apis.official_faults(*reply) for reply in twilio.replies] == [[]] * 5
    assert bool(apis.official_faults("create", {"To": NUMBER, "Bodi": WORDS})) == apis.HAS_SPECS


def test_says_its_limits() -> None:
    """W is one text per connection; the rate is the configuration's."""
    made = RIG.adapter("http://127.0.0.1:1", connections=7, per_second=2.5)
    assert (made.window, made.per_second) == (7, 2.5)


def test_credentials() -> None:
    """A token goes with the account, a secret with its key; a key is used before a token."""
    keyed = Credentials(apis.ACCOUNT, "SK" + "1b" * 16, "hush")
    spaced = {name: f"  {value}\n" for name, value in GIVEN.items()}
    found = [Credentials.from_environment(each) for each in (GIVEN, spaced, KEYED, {**GIVEN, **KEYED})]
    assert found == [CREDENTIALS, CREDENTIALS, keyed, keyed]
    assert CREDENTIALS.variables == "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"
    assert keyed.variables == "TWILIO_API_KEY and TWILIO_API_SECRET"
    assert TOKEN not in f"{CREDENTIALS!r} {CREDENTIALS}"


@pytest.mark.parametrize(("environ", "named"), [
    ({}, [f"{ID} is not set", NO_LOGIN]),
    ({LOGIN: TOKEN}, [f"{ID} is not set"]),
    *[(each, [NO_LOGIN]) for each in ({ID: apis.ACCOUNT}, {**GIVEN, LOGIN: " \t"})],
    *[({**GIVEN, ID: wrong}, [f"{ID} is not AC and 32"])
      for wrong in ("SK" + "1" * 32, apis.ACCOUNT + "0", "AC" + "\u0661" * 32)],
    *[({**GIVEN, LOGIN: wrong}, [f"{LOGIN} is not plain"]) for wrong in ("se\ncret", "s\u00e9cret")],
    ({**GIVEN, KEY_ID: "SK" + "1" * 32}, [f"{SECRET} is not set"]),
    ({**GIVEN, SECRET: "hush"}, [f"{KEY_ID} is not set"]),
    ({**KEYED, KEY_ID: apis.ACCOUNT}, [f"{KEY_ID} is not SK and 32"]),
    ({**KEYED, SECRET: "hu\x00sh"}, [f"{SECRET} is not plain characters"]),
])  # fmt: skip
def test_credentials_that_cannot_be_right(environ: dict[str, str], named: list[str]) -> None:
    """Each variable that is missing or wrong is named, no other, and no value is shown."""
    with pytest.raises(ConfigError) as caught:
        Credentials.from_environment(environ)
    lines = caught.value.lines()
    assert all(words in line for words, line in zip(named, lines, strict=True))
    assert not [value for value in environ.values() if value.strip() and value in str(caught.value)]


async def test_an_api_key_logs_in() -> None:
    """The key is the user, its secret the password; the path names the account."""
    keyed = Credentials.from_environment(KEYED)
    async with HttpStandIn(answer(201, GOOD)) as server, RIG.adapter(server.url, login=keyed) as made:
        await collect(made, hand_overs(Channel.SMS, 1))
    (exchange,) = server.exchanges
    assert exchange.path == f"/2010-04-01/Accounts/{apis.ACCOUNT}/Messages.json"
    encoded = exchange.headers["authorization"].removeprefix("Basic ")
    assert base64.b64decode(encoded).decode() == f"SK{'1b' * 16}:hush"


@pytest.mark.parametrize(("base_url", "hosts"), [
    *[(f"https://api.{at}", (f"https://api.{at}", f"https://messaging.{at}")) for at in (TWILIO, DUBLIN)],
    (f"{OWN}/", (OWN, OWN)),
    (EVIL, (EVIL, EVIL)),
])  # fmt: skip
def test_base_urls(base_url: str, hosts: tuple[str, str]) -> None:
    """The API is asked at base_url; messaging services beside it at Twilio, else at the same server."""
    sdk = TwilioClient(base_url, CREDENTIALS, 1.0)._sdk
    assert (sdk.api.base_url, sdk.messaging.base_url) == hosts


def test_the_edge_and_region_of_the_environment_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would send to another host; what base_url says counts."""
    others = {"EDGE": "dublin", "REGION": "ie1", "ACCOUNT_SID": "AC" + "f" * 32, "AUTH_TOKEN": "another"}
    for name, value in others.items():
        monkeypatch.setenv(f"TWILIO_{name}", value)
    assert ask(Twilio())[0][0].kind is ACCEPTED
