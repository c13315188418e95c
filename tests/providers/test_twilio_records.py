"""What Twilio's records say of lost answers, and of what was accepted; the account's own state."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commcast.errors import TryAgain
from commcast.model.message import Receipt, ReceiptKind
from commcast.providers.base import Asked, Refused, Seen, Sighting
from commcast.providers.twilio.client import Credentials
from commcast.providers.twilio.records import TwilioAccount, TwilioRecords
from tests.support.servers import http as standins
from tests.support.servers.http import Exchange, Handler, HttpStandIn, Writer, answer
from tests.support.servers.twilio import (
    ACCOUNT,
    CREDENTIALS,
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
    sent,
)

OTHER = "+491550099999"
T = TypeVar("T")
Ask = Callable[[TwilioRecords], Awaitable[T]]


class Naps:
    """Pauses that take no time, and are counted."""

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self.taken: list[float] = []
        self._then = then

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        if self._then:
            self._then()


def asking(
    handler: Handler,
    ask: Ask[T],
    sleep: Callable[[float], Awaitable[None]] | None = None,
    credentials: Credentials = CREDENTIALS,
    **settings: Any,
) -> T:
    """Return what the records answer when the handler serves them."""

    async def scenario() -> T:
        async with HttpStandIn(handler) as server:
            made = TwilioRecords(provider(server.url, **settings), credentials, clock, sleep=sleep or Naps())
            async with made as records:
                return await ask(records)

    return asyncio.run(scenario())


def asked(delivery: int = 1, address: str = NUMBER, words: str = WORDS, **times: datetime) -> Asked:
    window = {"begun": NOW - timedelta(seconds=30), "ended": NOW + timedelta(seconds=30), **times}
    return Asked(delivery, address, "", words, **window)


def looked(
    twilio: Handler, *asks: Asked, known: Sequence[str] = (), sleep: Naps | None = None, **settings: Any
) -> dict[int, Sighting]:
    """Return what was seen of each delivery, every one once."""

    async def ask(records: TwilioRecords) -> list[Sighting]:
        return [sighting async for sighting in records.look(asks, set(known))]

    found = asking(twilio, ask, sleep, **settings)
    assert sorted(sighting.delivery for sighting in found) == sorted(each.delivery for each in asks)
    return {sighting.delivery: sighting for sighting in found}


def receipts(twilio: Handler, *open_ids: str, since: datetime = NOW, **settings: Any) -> list[Receipt]:
    async def ask(records: TwilioRecords) -> list[Receipt]:
        return [receipt async for receipt in records.receipts(since, set(open_ids))]

    return asking(twilio, ask, **settings)


def sid(number: int) -> str:
    return f"SM{number:032x}"


def at(**ago: float) -> str:
    return format_datetime(NOW - timedelta(**ago))


# --- looking for one delivery


@pytest.mark.parametrize(
    "state", ["queued", "accepted", "scheduled", "sending", "sent", "delivered", "read", "new"]
)
def test_our_words_are_there(state: str) -> None:
    """Taken, in whatever state it is on its way; its name is what the provider calls it."""
    naps = Naps()
    twilio = Twilio(messages=[sent(1, NUMBER, WORDS, state)])
    assert looked(twilio, asked(), sleep=naps) == {1: Sighting(1, Seen.TAKEN, sid(1))}
    assert naps.taken == []


@pytest.mark.parametrize(
    ("state", "code", "reason"),
    [
        ("undelivered", 30003, "30003: unreachable"),
        ("failed", 39999, "39999: failed"),
        ("canceled", None, "canceled"),
    ],
)
def test_our_words_did_not_arrive(state: str, code: int | None, reason: str) -> None:
    """Refused, with the number of the error and what it means."""
    twilio = Twilio(messages=[sent(1, NUMBER, WORDS, state, error_code=code)])
    assert looked(twilio, asked()) == {1: Sighting(1, Seen.REFUSED, sid(1), reason)}


def test_a_text_that_waits_in_the_queue_has_no_date() -> None:
    """A list by dates leaves it out; the second look goes without dates, and finds it."""
    naps = Naps()
    twilio = Twilio(messages=[message(1, NUMBER, WORDS)])
    assert looked(twilio, asked(), sleep=naps)[1].seen is Seen.TAKEN
    assert naps.taken == [10.0]
    first, second = twilio.lists
    assert (first["DateSent>"], first["DateSent<"]) == ("2026-11-20", "2026-11-23")
    assert second == {"To": NUMBER, "PageSize": "1000"}


def test_only_what_is_lost_is_looked_for_again() -> None:
    """One pause for all, and no second question about who was found."""
    twilio = Twilio(messages=[sent(1, NUMBER, WORDS)])
    naps = Naps(lambda: twilio.messages.append(sent(2, OTHER, WORDS)))
    found = looked(twilio, asked(1), asked(2, OTHER), sleep=naps)
    assert [found[1].seen, found[2].seen] == [Seen.TAKEN, Seen.TAKEN]
    assert [each["To"] for each in twilio.lists].count(NUMBER) == 1
    assert [each["To"] for each in twilio.lists].count(OTHER) == 2


def test_nothing_is_there() -> None:
    """No message to that number at that time, looked for twice."""
    twilio = Twilio(messages=[sent(1, OTHER, WORDS)])
    assert looked(twilio, asked()) == {1: Sighting(1, Seen.NOTHING)}
    assert len(twilio.lists) == 2


@pytest.mark.parametrize(
    "body",
    [
        WORDS + " ",
        WORDS.upper(),
        WORDS[:-1],
        "",
        "Sent from your Twilio trial account- " + WORDS,
        "Sent from your Twilio trial account - Sent from your Twilio trial account - " + WORDS,
    ],
)
def test_other_words_are_foreign(body: str) -> None:
    """Somebody else's message to the same number at the same time proves nothing of ours."""
    found = looked(Twilio(messages=[sent(1, NUMBER, body)]), asked())
    assert found == {1: Sighting(1, Seen.FOREIGN, detail="other messages at that time: 1")}


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ("one\ntwo", "one\r\ntwo"),
        ("one\r\ntwo", "one\ntwo"),
        (WORDS, "Sent from your Twilio trial account - " + WORDS),
        ("Sent from your Twilio trial account - x", "Sent from your Twilio trial account - x"),
        ("half \ud800\x00", "half \ufffd"),
    ],
)
def test_words_are_compared_as_they_were_sent(words: str, body: str) -> None:
    """Line ends, a trial account's first words, and what no request can hold make no difference."""
    assert looked(Twilio(messages=[sent(1, NUMBER, body)]), asked(words=words))[1].seen is Seen.TAKEN


@pytest.mark.parametrize(
    ("moment", "seen"),
    [
        (NOW - timedelta(minutes=2, seconds=30), Seen.TAKEN),
        (NOW - timedelta(minutes=2, seconds=31), Seen.NOTHING),
        (NOW + timedelta(minutes=10, seconds=30), Seen.TAKEN),
        (NOW + timedelta(minutes=10, seconds=31), Seen.NOTHING),
    ],
)
def test_the_time_in_question(moment: datetime, seen: Seen) -> None:
    """From two minutes before the delivery began until ten minutes after it ended."""
    twilio = Twilio(messages=[sent(1, NUMBER, WORDS, date_created=format_datetime(moment))])
    assert looked(twilio, asked())[1].seen is seen
    assert looked(twilio, asked(begun=NOW - timedelta(hours=1)))[1].seen in {seen, Seen.TAKEN}


@pytest.mark.parametrize(
    "wrong",
    [{"direction": "inbound"}, {"date_created": None}, {"date_created": "yesterday"}, {"to": OTHER},
     {"sid": "none"}, {"sid": None}, {"body": None}],
    ids=str,
)  # fmt: skip
def test_what_is_not_ours(wrong: dict[str, Any]) -> None:
    """A reader's own text, a message without a name, a time or words, or one to another number."""
    listed = {"messages": [{**sent(1, NUMBER, WORDS), **wrong}], "next_page_uri": None}
    assert looked(answer(200, listed), asked())[1].seen in {Seen.NOTHING, Seen.FOREIGN}


def test_what_belongs_to_another_delivery() -> None:
    """A message that the ledger knows is nobody else's."""
    twilio = Twilio(messages=[sent(1, NUMBER, WORDS), sent(2, NUMBER, WORDS)])
    assert looked(twilio, asked(), known=[sid(1)]) == {1: Sighting(1, Seen.TAKEN, sid(2))}
    assert looked(twilio, asked(), known=[sid(1), sid(2)])[1].seen is Seen.FOREIGN


def test_two_deliveries_of_the_same_words_share_no_message() -> None:
    """One message proves one of them; the second look does not give it to the other."""
    asks = (asked(1), asked(2, begun=NOW - timedelta(seconds=20)))
    found = looked(Twilio(messages=[sent(1, NUMBER, WORDS)]), *asks)
    assert (found[1].seen, found[1].provider_id) == (Seen.TAKEN, sid(1))
    assert found[2].seen is Seen.FOREIGN
    both = looked(Twilio(messages=[sent(1, NUMBER, WORDS), sent(2, NUMBER, WORDS)]), *asks)
    assert {each.provider_id for each in both.values()} == {sid(1), sid(2)}


def test_two_messages_for_one_delivery() -> None:
    """Taken by the first that was sent, and it is said that there are more."""
    twilio = Twilio(
        messages=[
            sent(1, NUMBER, WORDS, "failed", error_code=30007, date_created=at(seconds=20)),
            sent(2, NUMBER, WORDS, date_created=at(seconds=5)),
            sent(3, NUMBER, WORDS, date_created=at(seconds=10)),
        ]
    )
    assert looked(twilio, asked()) == {1: Sighting(1, Seen.TAKEN, sid(3), "3 messages have our words")}


@pytest.mark.parametrize("address", ["", "4915500", "+49155\n", "ACME"])
def test_a_number_that_cannot_be_asked_for(address: str) -> None:
    """Nothing is asked."""
    twilio = Twilio()
    assert looked(twilio, asked(address=address))[1].seen is Seen.CANNOT
    assert twilio.lists == []


def test_all_pages_are_read() -> None:
    """Ours is on the last page, among what came meanwhile."""
    others = [sent(number, NUMBER, f"other {number}") for number in range(2, 30)]
    twilio = Twilio(page=5, messages=[*others, sent(1, NUMBER, WORDS, date_created=at(seconds=29))])
    assert looked(twilio, asked())[1] == Sighting(1, Seen.TAKEN, sid(1))
    assert [each.get("Page") for each in twilio.lists] == [None, "1", "2", "3", "4", "5"]


def test_what_is_long_past_is_not_read() -> None:
    """The newest come first: the second look ends where a whole page is older than the question."""
    others = [sent(number, NUMBER, "old", date_created=at(days=5)) for number in range(2, 30)]
    twilio = Twilio(page=5, messages=others)
    assert looked(twilio, asked())[1].seen is Seen.NOTHING
    assert len(twilio.lists) <= 4


def test_many_numbers_are_asked_at_once() -> None:
    """As many as there are connections, and each has its own answer."""
    here, most = 0, 0
    full = asyncio.Event()
    twilio = Twilio(messages=[sent(number, f"+4915500{number:06d}", WORDS) for number in range(1, 13)])

    async def counted(exchange: Exchange, writer: Writer) -> None:
        nonlocal here, most
        here += 1
        most = max(most, here)
        if here == 4:
            full.set()
        await full.wait()
        here -= 1
        await twilio(exchange, writer)

    found = looked(counted, *[asked(n, f"+4915500{n:06d}") for n in range(1, 13)], connections=4)
    assert {number: each.provider_id for number, each in found.items()} == {n: sid(n) for n in range(1, 13)}
    assert most == 4


def test_what_was_seen_before_a_failure_is_told() -> None:
    """A provider that fails in the middle has proved some things already."""
    twilio = Twilio(messages=[sent(1, NUMBER, WORDS)])
    seen: list[Sighting] = []

    async def ask(records: TwilioRecords) -> None:
        async for sighting in records.look([asked(1), asked(2, OTHER)], set()):
            seen.append(sighting)
            twilio.answers.append(answer(503))

    with pytest.raises(TryAgain):
        asking(twilio, ask, connections=1)
    assert [sighting.delivery for sighting in seen] == [1]


# --- the way to the next page


@pytest.mark.parametrize(
    "way",
    ["http://evil.example/2010-04-01/x", "//evil.example/2010-04-01/x", "@evil.example/2010-04-01/x",
     ".evil.example/2010-04-01/x", ":1/2010-04-01/x", "/2010-04-01/../v1/Services",
     "/2010-04-01/%2e%2e/v1/Services", "/2010-04-01/%2E%2E/v1/Services", "/2010-04-01/a b",
     "/2010-04-01/a\r\nX: y", "/2010-04-01\\..\\x", "/2010-04-02/Accounts", "/v1/Services",
     "/2010-04-01/" + "x" * 5000, "/2010-04-01/\u00e9", "2010-04-01/x", "?Page=2"],
)  # fmt: skip
def test_a_way_that_leads_elsewhere_is_not_followed(way: str) -> None:
    """The credentials go nowhere but to the API of the configured server."""
    asked_for: list[str] = []

    async def led(exchange: Exchange, writer: Writer) -> None:
        asked_for.append(exchange.target)
        await writer.answer(200, {"messages": [], "next_page_uri": way})

    with pytest.raises(TryAgain):
        receipts(led, sid(1))
    assert len(asked_for) == 1


@pytest.mark.parametrize("way", [None, "", 5, [], {"a": 1}])
def test_no_way_is_the_end(way: object) -> None:
    """Then this was the last page."""
    assert receipts(answer(200, {"messages": [], "next_page_uri": way}), sid(1)) == []


@pytest.mark.parametrize(("is_circle", "pages"), [(True, 2), (False, 8)], ids=["a circle", "without end"])
def test_a_list_that_never_ends_is_left(is_circle: bool, pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its pages lead round and round or on for ever."""
    monkeypatch.setattr("commcast.providers.twilio.client.MOST_PAGES", 7)
    asked_for: list[str] = []

    async def endless(exchange: Exchange, writer: Writer) -> None:
        asked_for.append(exchange.target)
        number = 1 if is_circle else len(asked_for)
        await writer.answer(200, {"messages": [], "next_page_uri": f"/2010-04-01/x?PageToken=PA{number}"})

    with pytest.raises(TryAgain):
        receipts(endless, sid(1))
    assert len(asked_for) == pages


# --- receipts


@pytest.mark.parametrize(
    ("state", "code", "detail", "suppress"),
    [
        ("delivered", None, "", False),
        ("read", None, "", False),
        ("undelivered", 30001, "30001: the queue was full", False),
        ("failed", 30002, "30002: the account is suspended", False),
        ("undelivered", 30003, "30003: unreachable", False),
        ("undelivered", 30004, "30004: blocked", True),
        ("undelivered", 30005, "30005: unknown number", False),
        ("undelivered", 30006, "30006: landline", True),
        ("undelivered", 30007, "30007: filtered", False),
        ("undelivered", 30008, "30008: unknown error", False),
        ("failed", 21610, "21610: opted out", True),
        ("failed", 63016, "63016: failed", False),
        ("failed", None, "failed", False),
        ("canceled", None, "canceled", False),
    ],
)
def test_receipts(state: str, code: int | None, detail: str, suppress: bool) -> None:
    """What the list says of a message that was accepted."""
    changed = datetime(2026, 11, 21, 10, 7, 3, tzinfo=UTC)
    row = sent(1, NUMBER, WORDS, state, error_code=code, date_updated=format_datetime(changed))
    kind = ReceiptKind.FAILED if detail else ReceiptKind.DELIVERED
    expected = Receipt(kind, changed, detail, provider_id=sid(1), suppress=suppress)
    assert receipts(Twilio(messages=[row]), sid(1)) == [expected]


@pytest.mark.parametrize(
    "state", ["queued", "accepted", "sending", "sent", "scheduled", "partially_delivered"]
)
def test_what_is_on_its_way_has_no_receipt(state: str) -> None:
    """Later, perhaps."""
    assert receipts(Twilio(messages=[sent(1, NUMBER, WORDS, state)]), sid(1)) == []


def test_receipts_of_foreign_messages() -> None:
    """Only messages that were asked about: nothing of others, and nothing that readers wrote."""
    rows = [
        sent(1, NUMBER, WORDS),
        sent(2, OTHER, "foreign"),
        sent(3, NUMBER, "STOP", "received", direction="inbound"),
        sent(4, NUMBER, "STOP", direction="inbound"),
    ]
    twilio = Twilio(messages=rows)
    assert [each.provider_id for each in receipts(twilio, sid(1), sid(4), sid(9))] == [sid(1)]


def test_since_when() -> None:
    """Whole days, one more than asked for: Twilio may read a moment as its day."""
    twilio = Twilio()
    receipts(twilio, sid(1), since=datetime.fromisoformat("2026-11-21T01:00:00+02:00"))
    assert twilio.lists == [{"DateSent>": "2026-11-19", "PageSize": "1000"}]


def test_receipts_over_many_pages() -> None:
    """All pages are read, until nothing is open any more."""
    rows = [sent(number, NUMBER, WORDS, date_created=at(seconds=number)) for number in range(1, 41)]
    twilio = Twilio(page=10, messages=rows)
    found = receipts(twilio, *[sid(number) for number in range(1, 16)])
    assert [each.provider_id for each in found] == [sid(number) for number in range(1, 16)]
    assert len(twilio.lists) == 2


def test_nothing_to_ask_asks_nothing() -> None:
    """No request and no pause, for receipts and for sightings."""
    twilio, naps = Twilio(), Naps()
    assert (receipts(twilio), looked(twilio, sleep=naps)) == ([], {})
    assert (twilio.lists, naps.taken) == ([], [])


@pytest.mark.parametrize(
    ("updated", "gone", "moment"),
    [
        (at(minutes=-2), at(minutes=-1), NOW + timedelta(minutes=2)),
        (None, at(minutes=-1), NOW + timedelta(minutes=1)),
        ("soon", at(minutes=-1), NOW + timedelta(minutes=1)),
        ("Sat, 21 Nov 2026 10:07:00 -0000", None, NOW + timedelta(minutes=2)),
        ("Sat, 21 Nov 2026 99:07:00 +0000", "Sat, 99 Nov 2026 10:07:00 +0000", NOW),
        (None, None, NOW),
    ],
)
def test_when_it_happened(updated: str | None, gone: str | None, moment: datetime) -> None:
    """When the message changed last, else when it was sent, else now; always with a time zone."""
    row = {**sent(1, NUMBER, WORDS), "date_updated": updated, "date_sent": gone}
    listed = {"messages": [row], "next_page_uri": None}
    assert [each.at for each in receipts(answer(200, listed), sid(1))] == [moment]


# --- what goes wrong

ASKS: dict[str, Ask[Any]] = {
    "look": lambda records: _all(records.look([asked()], set())),
    "receipts": lambda records: _all(records.receipts(NOW, {sid(1)})),
    "account": lambda records: records.account(),
    "balance": lambda records: records.balance(),
    "number": lambda records: records.knows_sender(SENDER),
    "service": lambda records: records.knows_sender(SERVICE),
}


async def _all(each: Any) -> list[Any]:
    return [one async for one in each]


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize(
    ("handler", "raised", "words"),
    [
        (
            answer(401, error(20003, 401, f"{NUMBER} {TOKEN}")),
            Refused,
            "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN",
        ),
        (answer(403, error(20008, 403)), Refused, "https://console.twilio.com/"),
        (answer(400, error(20001)), Refused, "base_url"),
        (answer(503), TryAgain, "now (503)"),
        (standins.reset, TryAgain, "the connection broke"),
        (answer(200, "not json"), TryAgain, "no sense"),
        (answer(200, []), TryAgain, "no sense"),
        (answer(200, "[" * 100_000), TryAgain, "no sense"),
    ],
    ids=["401", "403", "400", "503", "lost", "no JSON", "no object", "deep"],
)
def test_what_the_records_cannot_tell(
    ask: str, handler: Handler, raised: type[Exception], words: str
) -> None:
    """A refusal needs a person, a failure time; neither is "nothing is there", and no secret is shown."""
    with pytest.raises(raised, match=re.escape(words)) as caught:
        asking(handler, ASKS[ask])
    assert not [word for word in (NUMBER, TOKEN, ACCOUNT, "0" * 20) if word in str(caught.value)]


@pytest.mark.parametrize("ask", ["look", "receipts", "number"])
@pytest.mark.parametrize("body", [{}, {"messages": None}, {"messages": {}, "incoming_phone_numbers": "x"}])
def test_a_list_that_is_none(ask: str, body: dict[str, Any]) -> None:
    """An answer without its list says nothing: it is not "nothing is there"."""
    with pytest.raises(TryAgain):
        asking(answer(200, body), ASKS[ask])


def test_rows_that_are_none_are_passed_over() -> None:
    """Rubbish among the messages hides none of them."""
    rows: list[Any] = [None, 5, "x", [], {}, {"sid": []}, sent(1, NUMBER, WORDS)]
    assert looked(answer(200, {"messages": rows}), asked())[1].seen is Seen.TAKEN


def test_an_api_key_is_named() -> None:
    """The variables to look at are those that were used."""
    keyed = Credentials(ACCOUNT, "SK" + "1b" * 16, "hush")
    with pytest.raises(Refused, match="TWILIO_API_KEY and TWILIO_API_SECRET"):
        asking(answer(401), ASKS["account"], credentials=keyed)


# --- the account


def test_the_account() -> None:
    """Its state, its kind and its name, which holds no address; on one line, and not long."""
    assert asking(Twilio(), ASKS["account"]) == TwilioAccount("active", "Full", "* Account")
    body = {"status": "sus\x1b[2Jpended\n", "type": {"a": 1}, "friendly_name": "x \u202e" * 1000}
    found = asking(answer(200, body), ASKS["account"])
    for words in (found.status, found.type, found.name):
        assert words.isprintable()
        assert len(words) <= 120


@pytest.mark.parametrize("amount", ["x", None, "NaN", "inf"])
def test_a_balance_that_is_none(amount: object) -> None:
    """Rubbish is no amount."""
    with pytest.raises(TryAgain):
        asking(answer(200, {"balance": amount}), ASKS["balance"])


@pytest.mark.parametrize(("shown", "amount"), [("12.50", "12.5"), ("-3.001", "-3.001"), ("0", "0"), (7, "7")])
def test_the_balance(shown: object, amount: str) -> None:
    """The amount as it is, and its currency."""
    twilio = Twilio(balance={"balance": shown, "currency": "EUR"})
    assert asking(twilio, ASKS["balance"]) == (Decimal(amount), "EUR")


@pytest.mark.parametrize(
    ("sender", "known"),
    [
        (SENDER, True),
        (SENDER[:-1], False),  # a part of a number is another number
        ("+15005550009", False),
        (SERVICE, True),
        ("MG" + "0" * 32, False),
        ("ACME", None),
        ("12345", None),
        ("", None),
    ],
)
def test_whether_a_sender_is_known(sender: str, known: bool | None) -> None:
    """A number or a service is the account's own or not; of a name nobody can tell."""
    assert asking(Twilio(), lambda records: records.knows_sender(sender)) is known


# --- what it is


def test_the_official_description_agrees() -> None:
    """What we ask of the list, and what our stand-in answers, is as Twilio describes it."""
    twilio = Twilio(page=2, messages=[sent(number, NUMBER, f"w{number}") for number in range(1, 6)])
    looked(twilio, asked(words="w1"), asked(2, OTHER))
    receipts(twilio, sid(1))
    assert len(twilio.lists) >= 6
    if official() is None:
        print("official descriptions not here: checked against our own schema only")
        return
    assert [fault for query in twilio.lists for fault in official_faults("list", query)] == []
    assert [fault for kind, page in twilio.replies for fault in official_faults(kind + "ed", page)] == []


# --- at random

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_ROW = st.fixed_dictionaries(
    {},
    optional={
        name: _JSON | st.just(good)
        for name, good in sent(1, NUMBER, WORDS).items()
        if name in {"sid", "to", "body", "status", "direction", "error_code", "date_created", "date_updated"}
    },
)


@settings(max_examples=50)
@given(st.lists(_ROW, max_size=4), _JSON)
def test_no_list_breaks_it(rows: list[Any], way: Any) -> None:
    """Whatever is in the list: sightings and receipts that can be shown, or an error that is ours."""
    body = json.dumps({"messages": rows, "next_page_uri": way})
    try:
        (sighting,) = looked(answer(200, body), asked()).values()
        found = receipts(answer(200, body), sid(1))
    except TryAgain:
        return
    for words in (sighting.detail, *(each.detail for each in found)):
        assert words.isprintable()
        assert len(words) < 200
    assert all(each.at.tzinfo and each.provider_id == sid(1) for each in found)
    if sighting.seen is Seen.TAKEN:
        assert any(row.get("body") == WORDS and row.get("to") == NUMBER for row in rows)
