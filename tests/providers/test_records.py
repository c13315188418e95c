"""What the records of Twilio and SendGrid say: lost answers, receipts, lists, and every kind of no."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commcast.config.settings import SendGridProvider
from commcast.errors import CommcastError, ExitCode, TryAgain
from commcast.model.message import Receipt, ReceiptKind
from commcast.providers.base import Asked, Refused, Seen, Sighting, SuppressionEntry
from commcast.providers.sendgrid import records as sendgrid_records
from commcast.providers.sendgrid.records import SendGridRecords
from commcast.providers.twilio.client import Credentials
from commcast.providers.twilio.records import TwilioAccount, TwilioRecords
from tests.support.servers import apis, http
from tests.support.servers.apis import KEY, NOW, NUMBER, SENDER, SERVICE, WORDS, Twilio, sent, sid
from tests.support.servers.http import Exchange, Handler, HttpStandIn, Writer

OTHER = "+491550099999"
TRIAL = "Sent from your Twilio trial account - "
BEGUN = NOW - timedelta(minutes=30)
AT = NOW - timedelta(minutes=10)
_OWN = r"\(unique_args\['commcast_delivery'\]=\"([^\"]+)\" AND to_email=\"([^\"]+)\"\)"
_ANY = r'\((.*)\) AND last_event_time BETWEEN TIMESTAMP "([^"]+)" AND TIMESTAMP "([^"]+)"'
NO_EMAILS = (None, "x" * 999, "a@b\r\nc", "\ud800@c")
CREATED = int(AT.timestamp())
NO_ROWS: list[Any] = [7, None, [], {}, *({"created": CREATED, "email": each} for each in NO_EMAILS)]


def asked_of(handler: Handler, make: Callable[[str], Any], question: Callable[[Any], Any]) -> Any:
    """Ask records of a server; return what they say, or all that they say, and the server."""
    server = HttpStandIn(handler)

    async def scenario() -> Any:
        async with server, make(server.url) as records:
            found = question(records)
            return [each async for each in found] if hasattr(found, "__aiter__") else await found

    return asyncio.run(scenario()), server


class Naps(list[float]):
    """Pauses that take no time, and are counted."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self._then = then

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)
        self._then()


def asking(
    handler: Handler,
    question: Callable[[TwilioRecords], Any],
    sleep: Naps | None = None,
    credentials: Credentials = apis.CREDENTIALS,
    **settings: Any,
) -> Any:
    """Return what Twilio's records answer when the handler serves them."""

    def made(url: str) -> TwilioRecords:
        return TwilioRecords(
            apis.twilio(url, **settings), credentials, apis.clock, Naps() if sleep is None else sleep
        )

    return asked_of(handler, made, question)[0]


def asked(delivery: int = 1, address: str = NUMBER, words: str = WORDS, **times: datetime) -> Asked:
    window = {"begun": NOW - timedelta(seconds=30), "ended": NOW + timedelta(seconds=30), **times}
    return Asked(delivery, address, "", words, **window)


def looked(
    twilio: Handler, *asks: Asked, known: Sequence[str] = (), sleep: Naps | None = None, **settings: Any
) -> dict[int, Sighting]:
    """Return what was seen of each delivery, every one once."""
    found = asking(twilio, lambda records: records.look(asks, set(known)), sleep, **settings)
    assert sorted(sighting.delivery for sighting in found) == sorted(each.delivery for each in asks)
    return {sighting.delivery: sighting for sighting in found}


def receipts(twilio: Handler, *open_ids: str, since: datetime = NOW) -> list[Receipt]:
    found: list[Receipt] = asking(twilio, lambda records: records.receipts(since, set(open_ids)))
    return found


def ago(**time: float) -> str:
    return format_datetime(NOW - timedelta(**time))


TAKEN, NOTHING = Sighting(1, Seen.TAKEN, sid(1)), Sighting(1, Seen.NOTHING)
FOREIGN = Sighting(1, Seen.FOREIGN, detail="other messages at that time: 1")
ON_ITS_WAY = ("queued", "accepted", "scheduled", "sending", "sent", "new")
# What the one message that is there differs in, the words that we look for, and what that must say.
LOOKS: list[tuple[dict[str, Any], str, Sighting]] = [
    *[({"status": state}, WORDS, TAKEN) for state in (*ON_ITS_WAY, "delivered", "read")],
    *[({"status": state, "error_code": code}, WORDS, Sighting(1, Seen.REFUSED, sid(1), why))
      for state, code, why in (("undelivered", 30003, "30003: unreachable"), ("failed", 39, "39: failed"),
                               ("canceled", None, "canceled"))],
    # Somebody else's message to the same number at the same time proves nothing of ours.
    *[({"body": body}, WORDS, FOREIGN)
      for body in (f"{WORDS} ", WORDS.upper(), WORDS[:-1], "", None, f"{TRIAL[:-3]}- {WORDS}",
                   TRIAL * 2 + WORDS)],
    # Line ends, a trial account's first words, and what no request can hold make no difference.
    *[({"body": body}, words, TAKEN)
      for words, body in (("one\ntwo", "one\r\ntwo"), ("one\r\ntwo", "one\ntwo"), (WORDS, TRIAL + WORDS),
                          (f"{TRIAL}x", f"{TRIAL}x"), ("half \ud800\x00", "half \ufffd"))],
    # From two minutes before the delivery began until ten minutes after it ended.
    *[({"date_created": ago(seconds=-later)}, WORDS, found)
      for later, found in ((-150, TAKEN), (-151, NOTHING), (630, TAKEN), (631, NOTHING))],
    # A reader's own text, one to another number, or a message without a name or a time.
    *[(wrong, WORDS, NOTHING)
      for wrong in ({"direction": "inbound"}, {"to": OTHER}, {"sid": "none"}, {"sid": None},
                    {"date_created": None}, {"date_created": "yesterday"})],
]  # fmt: skip


@pytest.mark.parametrize(("changed", "words", "expected"), LOOKS)
def test_what_the_list_of_messages_says(changed: Any, words: str, expected: Sighting) -> None:
    """Only what is not found is looked for again, after a pause."""
    naps, page = Naps(), {"messages": [sent(1, **changed)]}
    assert looked(http.answer(200, page), asked(words=words), sleep=naps) == {1: expected}
    assert naps == ([] if expected.provider_id else [10.0])


def test_a_text_that_waits_in_the_queue_has_no_date() -> None:
    """A list by dates leaves it out; the second look goes without dates, and finds it."""
    twilio = Twilio(messages=[apis.message(1)])
    assert looked(twilio, asked()) == {1: TAKEN}
    first, second = twilio.lists
    assert (first["DateSent>"], first["DateSent<"]) == ("2026-11-20", "2026-11-23")
    assert second == {"To": NUMBER, "PageSize": "1000"}


def test_only_what_is_lost_is_looked_for_again() -> None:
    """One pause for all, and no second question about who was found."""
    twilio = Twilio(messages=[sent(1)])
    naps = Naps(lambda: twilio.messages.append(sent(2, OTHER)))
    found = looked(twilio, asked(1), asked(2, OTHER), sleep=naps)
    assert [found[1].seen, found[2].seen] == [Seen.TAKEN, Seen.TAKEN]
    assert sorted(each["To"] for each in twilio.lists) == [NUMBER, OTHER, OTHER]


def test_a_message_belongs_to_one_delivery() -> None:
    """One that the ledger knows is nobody else's, and two deliveries of the same words share none."""
    one, two = Twilio(messages=[sent(1)]), Twilio(messages=[sent(1), sent(2)])
    assert looked(two, asked(), known=[sid(1)]) == {1: Sighting(1, Seen.TAKEN, sid(2))}
    assert looked(two, asked(), known=[sid(1), sid(2)])[1].seen is Seen.FOREIGN
    asks = (asked(1), asked(2, begun=NOW - timedelta(seconds=20)))
    assert looked(one, *asks) == {1: TAKEN, 2: Sighting(2, Seen.FOREIGN, detail=FOREIGN.detail)}
    assert {each.provider_id for each in looked(two, *asks).values()} == {sid(1), sid(2)}


def test_of_several_copies_the_first_that_was_sent_counts() -> None:
    """Whatever became of another; that there are more is said."""
    failed = sent(1, status="failed", error_code=30007, date_created=ago(seconds=20))
    copies = [failed, *(sent(number, date_created=ago(seconds=age)) for number, age in ((2, 5), (3, 10)))]
    expected = Sighting(1, Seen.TAKEN, sid(3), "3 messages have our text")
    assert looked(Twilio(messages=copies), asked()) == {1: expected}


@pytest.mark.parametrize(
    ("is_there", "days", "pages"), [(True, 0, 6), (False, 5, 2)], ids=["there", "long past"]
)
def test_pages_are_read_as_far_as_needed(is_there: bool, days: int, pages: int) -> None:
    """To the last one, or, as the newest come first, to one that is as a whole older than the question."""
    rows = [sent(number, NUMBER, f"other {number}", date_created=ago(days=days)) for number in range(2, 30)]
    twilio = Twilio(page=5, messages=[*rows, *([sent(1, date_created=ago(seconds=29))] if is_there else [])])
    assert looked(twilio, asked()) == {1: TAKEN if is_there else NOTHING}
    assert len(twilio.lists) == pages


def test_many_numbers_are_asked_at_once() -> None:
    """As many as there are connections, and each has its own answer."""
    full, here, most = asyncio.Event(), 0, 0
    numbers = {number: f"+4915500{number:06d}" for number in range(1, 13)}
    twilio = Twilio(messages=[sent(number, to) for number, to in numbers.items()])

    async def counted(exchange: Exchange, writer: Writer) -> None:
        nonlocal here, most
        here += 1
        most = max(most, here)
        if here == 4:
            full.set()
        await full.wait()
        here -= 1
        await twilio(exchange, writer)

    found = looked(counted, *[asked(number, to) for number, to in numbers.items()], connections=4)
    assert {number: each.provider_id for number, each in found.items()} == {n: sid(n) for n in numbers}
    assert most == 4


def test_what_was_seen_before_a_failure_is_told() -> None:
    """A provider that fails in the middle has proved some things already."""
    twilio = Twilio(messages=[sent(1)])
    seen: list[Sighting] = []

    async def ask(records: TwilioRecords) -> None:
        async for sighting in records.look([asked(1), asked(2, OTHER)], set()):
            seen.append(sighting)
            twilio.answers.append(http.answer(503))

    with pytest.raises(TryAgain):
        asking(twilio, ask, connections=1)
    assert seen == [TAKEN]


def following(way: Callable[[int], object]) -> tuple[int, bool]:
    """Read a list whose pages lead on like that; return how many were asked for, and whether it was left."""
    pages = 0

    async def led(exchange: Exchange, writer: Writer) -> None:
        nonlocal pages
        pages += 1
        await writer.answer(200, {"messages": [], "next_page_uri": way(pages)})

    try:
        receipts(led, sid(1))
    except TryAgain:
        return pages, True
    return pages, False


ELSEWHERE = [
    "http://evil.example/2010-04-01/x", "//evil.example/2010-04-01/x", "@evil.example/2010-04-01/x",
    ".evil.example/2010-04-01/x", ":1/2010-04-01/x", "/2010-04-01/../v1/Services",
    "/2010-04-01/%2e%2e/v1/Services", "/2010-04-01/%2E%2E/v1/Services", "/2010-04-01/a b",
    "/2010-04-01/a\r\nX: y", "/2010-04-01\\..\\x", "/2010-04-02/Accounts", "/v1/Services",
    "/2010-04-01/" + "x" * 5000, "/2010-04-01/\u00e9", "2010-04-01/x", "?Page=2",
]  # fmt: skip
NOWHERE: list[Any] = [None, "", 5, [], {"a": 1}]


@pytest.mark.parametrize("way", ELSEWHERE + NOWHERE)
def test_a_way_that_leads_elsewhere_is_not_followed(way: Any) -> None:
    """The credentials go nowhere but to the API of the configured server; no way is the end."""
    assert following(lambda _: way) == (1, way in ELSEWHERE)


def test_a_list_that_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its pages lead round and round or on for ever."""
    monkeypatch.setattr("commcast.providers.twilio.client.MOST_PAGES", 7)
    assert following(lambda _: "/2010-04-01/x?PageToken=PA") == (2, True)
    assert following(lambda page: f"/2010-04-01/x?PageToken=PA{page}") == (8, True)


# One page per number under https://www.twilio.com/docs/api/errors.
LATER = {
    21610: "opted out", 30001: "the queue was full", 30002: "the account is suspended", 30003: "unreachable",
    30004: "blocked", 30005: "unknown number", 30006: "landline", 30007: "filtered", 30008: "unknown error",
    63016: "undelivered",
}  # fmt: skip


@pytest.mark.parametrize(("state", "code", "detail"), [
    *[(state, None, "") for state in ("delivered", "read")],
    *[(state, None, None) for state in (*ON_ITS_WAY, "partially_delivered")],  # later, perhaps
    *[("undelivered", code, f"{code}: {words}") for code, words in LATER.items()],
    *[(state, None, state) for state in ("failed", "canceled")],
])  # fmt: skip
def test_receipts(state: str, code: int | None, detail: str | None) -> None:
    """What the list says of a message that was accepted; three numbers suppress the reader's."""
    changed = datetime(2026, 11, 21, 10, 7, 3, tzinfo=UTC)
    row = sent(1, status=state, error_code=code, date_updated=format_datetime(changed))
    kind = ReceiptKind.FAILED if detail else ReceiptKind.DELIVERED
    suppress = code in {21610, 30004, 30006}
    expected = Receipt(kind, changed, detail or "", provider_id=sid(1), suppress=suppress)
    assert receipts(Twilio(messages=[row]), sid(1)) == ([] if detail is None else [expected])


def test_receipts_of_foreign_messages() -> None:
    """Only messages that were asked about: nothing of others, and nothing that readers wrote."""
    rows = [sent(1), sent(2, OTHER, "foreign"), sent(4, NUMBER, "STOP", direction="inbound")]
    assert [each.provider_id for each in receipts(Twilio(messages=rows), sid(1), sid(4), sid(9))] == [sid(1)]


def test_receipts_over_many_pages() -> None:
    """All pages are read, until nothing is open any more; since whole days, one more than asked for."""
    twilio = Twilio(page=10, messages=[sent(n, date_created=ago(seconds=n)) for n in range(1, 41)])
    since = datetime.fromisoformat("2026-11-21T01:00:00+02:00")
    found = receipts(twilio, *map(sid, range(1, 16)), since=since)
    assert [each.provider_id for each in found] == [sid(number) for number in range(1, 16)]
    assert len(twilio.lists) == 2
    assert twilio.lists[0] == {"DateSent>": "2026-11-19", "PageSize": "1000"}


def test_what_cannot_be_asked_for_asks_nothing() -> None:
    """No request and no pause, for receipts and for sightings, for nobody and for what is no number."""
    twilio, naps = Twilio(), Naps()
    asks = [asked(n, address) for n, address in enumerate(("", "4915500", "+49155\n", "ACME"))]
    assert {each.seen for each in looked(twilio, *asks, sleep=naps).values()} == {Seen.CANNOT}
    assert (receipts(twilio), looked(twilio, sleep=naps), twilio.lists, naps) == ([], {}, [], [])


@pytest.mark.parametrize(("updated", "gone", "minutes"), [
    *[(ago(minutes=-2), ago(minutes=-1), 2), ("Sat, 21 Nov 2026 10:07:00 -0000", None, 2)],
    *[(updated, ago(minutes=-1), 1) for updated in (None, "soon")],
    *[(wrong, wrong, 0) for wrong in (None, "Sat, 21 Nov 2026 99:07:00 +0000")],
])  # fmt: skip
def test_when_it_happened(updated: str | None, gone: str | None, minutes: int) -> None:
    """When the message changed last, else when it was sent, else now; always with a time zone."""
    listed = {"messages": [{**sent(1), "date_updated": updated, "date_sent": gone}]}
    (found,) = receipts(http.answer(200, listed), sid(1))
    assert found.at == NOW + timedelta(minutes=minutes)


ASKS: dict[str, Callable[[TwilioRecords], Any]] = {
    "look": lambda records: records.look([asked()], set()),
    "receipts": lambda records: records.receipts(NOW, {sid(1)}),
    "number": lambda records: records.knows_sender(SENDER),
    "service": lambda records: records.knows_sender(SERVICE),
    "account": lambda records: records.account(),
    "balance": lambda records: records.balance(),
}
TOLD = apis.error(20003, 401, f"{NUMBER} {apis.TOKEN}")


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize(("handler", "raised", "words"), [
    (http.answer(401, TOLD), Refused, "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"),
    (http.answer(403, TOLD), Refused, "https://console.twilio.com/"),
    (http.answer(400, TOLD), Refused, "base_url"),
    (http.answer(503, TOLD), TryAgain, "now (503)"),
    *[(http.answer(200, body), TryAgain, "invalid") for body in ("[]", "{}")],
])  # fmt: skip
def test_what_the_records_cannot_tell(ask: str, handler: Handler, raised: Any, words: str) -> None:
    """A refusal needs a person, a failure time; neither is "nothing is there", and no secret is shown."""
    with pytest.raises(raised, match=re.escape(words)) as caught:
        asking(handler, ASKS[ask])
    assert not [word for word in (NUMBER, apis.TOKEN, apis.ACCOUNT, "0" * 20) if word in str(caught.value)]


@pytest.mark.parametrize("ask", ["look", "receipts", "number"])
@pytest.mark.parametrize("rows", [None, {}, "x"])
def test_a_list_that_is_none(ask: str, rows: object) -> None:
    """An answer without its list says nothing: it is not "nothing is there"."""
    with pytest.raises(TryAgain):
        asking(http.answer(200, {"messages": rows, "incoming_phone_numbers": rows}), ASKS[ask])


def test_rows_that_are_none_are_passed_over() -> None:
    """Rubbish among the messages hides none of them."""
    rows: list[Any] = [None, 5, "x", [], {}, {"sid": []}, sent(1)]
    assert looked(http.answer(200, {"messages": rows}), asked()) == {1: TAKEN}


def test_an_api_key_is_named() -> None:
    """The variables to look at are those that were used."""
    keyed = Credentials(apis.ACCOUNT, "SK" + "1b" * 16, "hush")
    with pytest.raises(Refused, match="TWILIO_API_KEY and TWILIO_API_SECRET"):
        asking(http.answer(401), ASKS["account"], credentials=keyed)


def test_the_account() -> None:
    """Its state, its kind and its name, which holds no address; on one line, and not long."""
    assert asking(Twilio(), ASKS["account"]) == TwilioAccount("active", "Full", "* Account")
    body = {"status": "sus\x1b[2Jpended\n", "type": {"a": 1}, "friendly_name": "x \u202e" * 1000}
    found = asking(http.answer(200, body), ASKS["account"])
    assert all(words.isprintable() and len(words) <= 120 for words in (found.status, found.type, found.name))


def test_the_balance() -> None:
    """The amount as it is, and its currency; rubbish is no amount."""
    for shown in ("12.50", "-3.001", "0", 7):
        twilio = Twilio(balance={"balance": shown, "currency": "EUR"})
        assert asking(twilio, ASKS["balance"]) == (Decimal(shown), "EUR")
    for rubbish in ("x", None, "NaN", "inf"):
        with pytest.raises(TryAgain):
            asking(Twilio(balance={"balance": rubbish, "currency": "EUR"}), ASKS["balance"])


@pytest.mark.parametrize(("senders", "known"), [
    ((SENDER, SERVICE), True),
    ((SENDER[:-1], "+15005550009", "MG" + "0" * 32), False),  # a part of a number is another number
    (("ACME", "12345", ""), None),
])  # fmt: skip
def test_whether_a_sender_is_known(senders: tuple[str, ...], known: bool | None) -> None:
    """A number or a service is the account's own or not; of a name nobody can tell."""

    async def ask(records: TwilioRecords) -> list[bool | None]:
        return [await records.knows_sender(sender) for sender in senders]

    assert asking(Twilio(), ask) == [known] * len(senders)


def test_twilios_official_description_agrees() -> None:
    """What we ask of the list, and what our stand-in answers, is as Twilio describes it."""
    twilio = Twilio(page=2, messages=[sent(number, NUMBER, f"w{number}") for number in range(1, 6)])
    looked(twilio, asked(words="w1"), asked(2, OTHER))
    receipts(twilio, sid(1))
    assert len(twilio.lists) >= 6
    assert [fault for query in twilio.lists for fault in apis.official_faults("list", query)] == []
    assert [fault for reply in twilio.replies for fault in apis.official_faults(*reply)] == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_READ = ("sid", "to", "body", "status", "direction", "error_code", "date_created", "date_updated")
_ROW = st.fixed_dictionaries({}, optional={name: _JSON | st.just(sent(1)[name]) for name in _READ})


@settings(max_examples=50)
@given(st.lists(_ROW, max_size=4), _JSON)
def test_no_list_breaks_it(rows: list[Any], way: Any) -> None:
    """Whatever is in the list: sightings and receipts that can be shown, or an error that is ours."""
    handler = http.answer(200, {"messages": rows, "next_page_uri": way})
    try:
        (sighting,) = looked(handler, asked()).values()
        found = receipts(handler, sid(1))
    except TryAgain:
        return
    for words in (sighting.detail, *(each.detail for each in found)):
        assert words.isprintable()
        assert len(words) < 200
    assert all(each.at.tzinfo and each.provider_id == sid(1) for each in found)
    if sighting.seen is Seen.TAKEN:
        assert any(row.get("body") == WORDS and row.get("to") == NUMBER for row in rows)


def _created(row: Any, otherwise: int) -> Any:
    return row.get("created", otherwise) if isinstance(row, dict) else otherwise


class Account:
    """A stand-in for what an account's records hold. `activity`, if set, answers for Email Activity."""

    def __init__(self, activity: Handler | None = None, **lists: list[Any]) -> None:
        self.lists: dict[str, list[Any]] = {"bounces": [], "blocks": [], "unsubscribes": [], **lists}
        self.group: list[str] = []
        self.messages: list[dict[str, Any]] = []
        self.own: dict[str, str] = {}  # a message's id by our own name for it
        self.activity = activity

    async def __call__(self, exchange: Exchange, writer: Writer) -> None:
        assert (exchange.method, exchange.body) == ("GET", b"")
        assert exchange.headers["authorization"] == f"Bearer {KEY}"
        kind, _, name = exchange.path.removeprefix("/v3/").rpartition("/")
        query = exchange.query
        if name == "messages":
            assert 1 <= int(query["limit"]) <= 1000
            handler = self.activity or http.answer(200, {"messages": self._found(query["query"])})
            await handler(exchange, writer)
        elif name == "scopes":
            await writer.answer(200, {"scopes": ["mail.send", "suppression.read", "x y", 7]})
        elif kind == "asm/groups/7":
            await writer.answer(200, list(self.group))
        else:
            assert kind == "suppression"
            start, limit, offset = (int(query.get(key, "0")) for key in ("start_time", "limit", "offset"))
            assert 0 < limit <= 500
            rows = [row for row in self.lists[name] if _created(row, start) >= start]
            await writer.answer(200, rows[offset : offset + limit])

    def _found(self, query: str) -> list[dict[str, Any]]:
        """Understands the questions that we ask, and no others."""
        if like := re.fullmatch(r'msg_id LIKE "([^"%]+)%"', query):
            pattern = like[1].replace("_", ".")
            return [row for row in self.messages if re.match(pattern, row["msg_id"])]
        if re.fullmatch(f"{_OWN}(?: OR {_OWN})*", query):
            wanted = {(self.own.get(own), to) for own, to in re.findall(_OWN, query)}
            return [row for row in self.messages if (row["msg_id"], row["to_email"]) in wanted]
        whole = re.fullmatch(_ANY, query)
        assert whole, query
        people = re.findall(r'to_email="([^"]+)"', whole[1])
        rows = [row for row in self.messages if row["to_email"] in people]
        return [row for row in rows if whole[2] <= row["last_event_time"].replace("Z", ".000Z") <= whole[3]]

    def sent(self, number: int, status: str = "delivered", own: bool = True, **changed: Any) -> None:
        row: dict[str, Any] = {
            "from_email": "status@acme.example", "opens_count": 0, "clicks_count": 0, "status": status,
            "msg_id": f"REQ_{number}.filter0001.16648.5515E0B88.{number}", "subject": "Card payments fail",
            "to_email": f"reader{number}@private.example", "last_event_time": "2026-11-21T10:00:00Z",
        } | changed  # fmt: skip
        assert apis.official_faults("activity", {"messages": [row]}) == [] or changed
        self.messages.append(row)
        if own:
            self.own[f"pay7.{number}@acme.example"] = row["msg_id"]


def mailed(number: int, address: str = "", own_id: str | None = None) -> Asked:
    own, to = f"<pay7.{number}@acme.example>" if own_id is None else own_id, f"reader{number}@private.example"
    return Asked(number, address or to, own, "Card payments fail", BEGUN, BEGUN + timedelta(minutes=1))


def bounce(number: int, **changed: Any) -> dict[str, Any]:
    reason = f"550 5.1.1 <reader{number}@private.example>: no such user"
    row = {"created": int(AT.timestamp()), "email": f"reader{number}@private.example", "reason": reason}
    return {**row, "status": "5.1.1", **changed}


def ask(service: Handler, what: str, *given: Any, **settings: Any) -> tuple[Any, HttpStandIn]:
    """Ask one thing of SendGrid's records; return what came, and the server with what it saw."""

    def made(url: str) -> SendGridRecords:
        return SendGridRecords(apis.sendgrid(url, **settings), KEY, apis.clock)

    return asked_of(service, made, lambda records: getattr(records, what)(*given))  # type: ignore[no-any-return]


def look(account: Account, *people: Asked) -> list[Seen]:
    found, _ = ask(account, "look", people, ())
    assert sorted(each.delivery for each in found) == sorted(each.delivery for each in people)
    assert not [each for each in found if "private" in each.detail]
    return [each.seen for each in sorted(found, key=lambda each: each.delivery)]


def test_what_email_activity_says_of_a_delivery() -> None:
    """By our own name, the address and the subject's words: taken, refused, another's, or nothing."""
    account = Account()
    account.sent(1, "delivered")
    account.sent(2, "processed", subject=" Card  payments\r\n fail")
    account.sent(3, "not_delivered")
    account.sent(4, own=False)
    account.sent(5, subject="Another incident")
    account.sent(7, own=False, last_event_time="2026-11-21T09:25:00Z")
    account.sent(8, "not_delivered")
    account.sent(8, "delivered", own=False, msg_id=account.messages[-1]["msg_id"])  # another copy arrived
    people = [mailed(number) for number in range(1, 9)]
    seen = ["TAKEN", "TAKEN", "REFUSED", "FOREIGN", "FOREIGN", "NOTHING", "NOTHING", "TAKEN"]
    assert look(account, *people) == [Seen[name] for name in seen]
    found, _ = ask(account, "look", people[:3], ())
    assert [each.provider_id for each in found] == ["REQ_1", "REQ_2", "REQ_3"]


def test_many_are_asked_for_in_few_questions() -> None:
    """SendGrid answers few a minute. Two to one address are asked apart, or they would be mixed up."""
    account = Account()
    for number in range(1, 41):
        account.sent(number)
    found, server = ask(account, "look", [mailed(number) for number in range(1, 41)], ())
    assert {each.seen for each in found} == {Seen.TAKEN}
    assert len(server.exchanges) == 2
    assert max(len(exchange.target) for exchange in server.exchanges) < 8000
    other = mailed(50, address="reader1@private.example")
    assert look(account, mailed(1), other) == [Seen.TAKEN, Seen.FOREIGN]


@pytest.mark.parametrize("activity", [
    *map(http.answer, (400, 403, 404)),
    *(http.answer(200, []), http.answer(200, {"errors": [{"message": "none"}]})),
])  # fmt: skip
def test_an_account_without_email_activity(activity: Handler) -> None:
    """Not every account has it: then nothing is known, and nothing is guessed."""
    assert look(Account(activity), mailed(1), mailed(2)) == [Seen.CANNOT, Seen.CANNOT]


@pytest.mark.parametrize(
    "changed", [{"address": 'a"b@c.example'}, {"own_id": '<a" OR "b@c>'}, {"own_id": ""}], ids=str
)
def test_what_cannot_be_asked_is_not_asked(changed: dict[str, str]) -> None:
    """No quote gets out of a question."""
    account = Account()
    account.sent(2)
    assert look(account, mailed(1, **changed), mailed(2)) == [Seen.CANNOT, Seen.TAKEN]


def told(account: Account, open_ids: Collection[str] = ()) -> list[Receipt]:
    return ask(account, "receipts", NOW - timedelta(hours=1), open_ids)[0]  # type: ignore[no-any-return]


def test_bounces_last_and_blocks_do_not() -> None:
    """A bounced address is suppressed, here and there; only the code of SendGrid's words is kept."""
    named = "5.1.1 <reader1@private.example>\x1b[31m"
    other = bounce(2, status="", email="READER2@B\u00fccher.example")
    assert told(Account(bounces=[bounce(1, status=named), other], blocks=[bounce(3, status="4.0.0")])) == [
        Receipt(ReceiptKind.BOUNCED, AT, "bounced 5.1.1", "", "reader1@private.example", True, True),
        Receipt(ReceiptKind.BOUNCED, AT, "bounced", "", "reader2@xn--bcher-kva.example", True, True),
        Receipt(ReceiptKind.FAILED, AT, "blocked 4.0.0", "", "reader3@private.example"),
    ]


def test_who_bounced_long_ago_is_told_of_after_what_happened_since(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes to them is dropped; of such a list only the beginning is read each time."""
    monkeypatch.setattr(sendgrid_records, "_PAGE", 2)
    monkeypatch.setattr(sendgrid_records, "_OLD_PAGES", 1)
    old = int((NOW - timedelta(days=1)).timestamp())
    before = [bounce(number, created=old) for number in (1, 3, 4)]
    found = told(Account(bounces=[*before, bounce(2)], blocks=[bounce(5, created=old)]))
    assert [each.key for each in found] == [f"reader{number}@private.example" for number in (2, 1, 3)]
    assert {each.lasting for each in found} == {True}


def test_delivered_is_joined_by_request_and_address() -> None:
    """A request's id is shared by its readers: only with the address it is one delivery's."""
    account = Account()
    account.sent(1)
    account.sent(2, "processed")
    account.sent(3, msg_id="REQx1.filter.1")  # LIKE takes "_" for any character
    account.sent(4, to_email="not an address")
    account.sent(5, "not_delivered")
    found = told(account, ["REQ_1", "REQ_2", "REQ_4", "REQ_5", 'x" OR "y'])
    at, dropped = NOW - timedelta(minutes=5), "SendGrid did not deliver it"
    assert sorted(found, key=lambda each: each.provider_id) == [
        Receipt(ReceiptKind.DELIVERED, at, "", "REQ_1", "reader1@private.example"),
        Receipt(ReceiptKind.FAILED, at, dropped, "REQ_5", "reader5@private.example"),
    ]


@pytest.mark.parametrize("status", [403, 404, 429])
def test_bounces_are_told_without_email_activity(status: int) -> None:
    """If the account has none, or it is asked too often, the rest is still reported."""
    account = Account(http.answer(status), bounces=[bounce(1)])
    found, server = ask(account, "receipts", BEGUN, ["REQ_1", "REQ_2"])
    assert len(found) == 1
    assert [exchange.path for exchange in server.exchanges].count("/v3/messages") == 1


def test_no_open_id_is_starved() -> None:
    """Each minute another one is asked for first."""
    clocks = [lambda minute=minute: NOW + timedelta(minutes=minute) for minute in range(3)]
    asked_first = [SendGridRecords(SendGridProvider(), KEY, each)._by_turns("abc")[0] for each in clocks]
    assert sorted(asked_first) == ["a", "b", "c"]


def listed(account: Handler, *names: str, **settings: Any) -> list[SuppressionEntry]:
    return ask(account, "listed", names, **settings)[0]  # type: ignore[no-any-return]


def test_lists() -> None:
    """Each list under its own name; an unsubscribe group's members count as unsubscribed, each once."""
    left = {"created": int(AT.timestamp()), "email": "reader3@private.example"}
    account = Account(bounces=[bounce(1)], blocks=[bounce(2, status="4.0.0")], unsubscribes=[left])
    account.group = ["reader3@private.example", "Reader4@private.example", "nobody"]
    bounced = SuppressionEntry("bounces", "reader1@private.example", AT, "5.1.1")
    assert listed(account, "unsubscribes", "bounces", "blocks", asm_group=7) == [
        bounced,
        SuppressionEntry("blocks", "reader2@private.example", AT, "4.0.0"),
        SuppressionEntry("unsubscribes", "reader3@private.example", AT),
        SuppressionEntry("unsubscribes", "reader4@private.example", NOW),
        SuppressionEntry("unsubscribes", "nobody", NOW),  # an import counts what cannot be read
    ]
    assert listed(account, "bounces", asm_group=7) == [bounced]
    assert len(listed(account, "unsubscribes")) == 1


@pytest.mark.parametrize("count", [499, 500, 501, 1200])
def test_long_lists_are_read_page_by_page(count: int) -> None:
    """To the last row, and no row twice."""
    found, server = ask(Account(bounces=[bounce(number) for number in range(count)]), "listed", ["bounces"])
    assert len({each.address for each in found}) == len(found) == count
    assert len(server.exchanges) == count // 500 + 1


def test_a_list_that_grows_while_it_is_read_repeats_nothing() -> None:
    """A new row at the beginning moves the others: what comes again is left out."""
    account = Account(bounces=[bounce(number) for number in range(600)])

    async def growing(exchange: Exchange, writer: Writer) -> None:
        await account(exchange, writer)
        account.lists["bounces"].insert(0, bounce(1000 + len(account.lists["bounces"])))

    found, _ = ask(growing, "receipts", NOW - timedelta(hours=1), ())
    keys = [each.key for each in found if each.kind is ReceiptKind.BOUNCED]
    assert len(set(keys)) == len(keys) == 600


def test_a_list_without_end_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full pages for ever are read up to a bound."""
    monkeypatch.setattr(sendgrid_records, "_MOST_PAGES", 3)
    page = http.answer(200, [bounce(number) for number in range(500)])
    found, server = ask(page, "listed", ["bounces"])
    assert (len(found), len(server.exchanges)) == (500, 3)


@pytest.mark.parametrize(("size", "seconds"), [(100_000, 60.0), (1 << 30, 0.5)], ids=["bytes", "seconds"])
def test_all_that_a_provider_says_has_a_bound(
    size: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives full pages for ever, and no row of them twice."""
    monkeypatch.setattr(SendGridRecords, "_longest", (size, seconds))
    numbers = itertools.count()

    async def page(exchange: Exchange, writer: Writer) -> None:
        await asyncio.sleep(0.1)
        await http.answer(200, [bounce(next(numbers)) for _ in range(500)])(exchange, writer)

    with pytest.raises(TryAgain, match="the answer is too long"):
        ask(page, "listed", ["bounces"])
    assert 500 <= next(numbers) < 10_000


@pytest.mark.parametrize("row", NO_ROWS)
def test_rows_that_make_no_sense_are_left_out(row: Any) -> None:
    """A list shows at most the beginning of what is no address."""
    account = Account(bounces=[row, bounce(1)])
    assert [each.key for each in told(account)] == ["reader1@private.example"]
    *others, last = [each.address for each in listed(account, "bounces")]
    assert last == "reader1@private.example"
    assert len(others) <= 1
    assert len("".join(others)) <= 320


@pytest.mark.parametrize("created", [-1, True, "soon", 1e300, None])
def test_a_date_that_makes_no_sense(created: Any) -> None:
    """A listed address stays listed, dated now; as a receipt the row is ignored."""
    page = http.answer(200, [bounce(1, created=created)])
    assert [each.at for each in listed(page, "bounces")] == [NOW]
    assert ask(page, "receipts", BEGUN, ())[0] == []


def test_scopes_are_names() -> None:
    assert ask(Account(), "scopes")[0] == ("mail.send", "suppression.read")


@pytest.mark.parametrize("what", ["bounces", "scopes"])
@pytest.mark.parametrize(("handler", "kind", "words"), [
    (http.answer(401, {"errors": [{"message": f"bad key {KEY}"}]}), Refused, "SendGrid refuses the key"),
    (http.answer(403), Refused, "the key may not read (its own )?{what}; (give it the scope|use)"),
    (http.answer(404), Refused, "base_url"),
    (http.answer(500, "<html>reader1@private.example"), TryAgain, "500"),
    *[(http.answer(200, body), TryAgain, "is invalid") for body in ("7", "{}")],
])  # fmt: skip
def test_refusals(handler: Handler, kind: type[CommcastError], words: str, what: str) -> None:
    """A person has to fix it, or it is tried again; no key and no address is shown."""
    with pytest.raises(kind, match=words.replace("{what}", what)) as caught:
        ask(handler, "scopes") if what == "scopes" else ask(handler, "listed", ["bounces"])
    assert type(caught.value) is kind
    assert caught.value.exit_code is (ExitCode.REFUSED if kind is Refused else ExitCode.TRY_AGAIN)
    assert not [secret for secret in (KEY, "private") if secret in str(caught.value)]


@pytest.mark.parametrize(("status", "kind"), [(401, Refused), (429, TryAgain), (503, TryAgain)])
def test_looking_needs_an_answer(status: int, kind: type[CommcastError]) -> None:
    """A refused key or a busy service is not the same as an account without records."""
    with pytest.raises(kind):
        look(Account(http.answer(status)), mailed(1))
