"""What SendGrid can be asked, against a stand-in: Email Activity, lists, scopes, and every kind of no."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from commcast.config.settings import SendGridProvider
from commcast.errors import CommcastError, ExitCode, TryAgain
from commcast.model.message import Receipt, ReceiptKind
from commcast.providers.base import Asked, Refused, Seen, Sighting, SuppressionEntry
from commcast.providers.sendgrid import records as sendgrid_records
from commcast.providers.sendgrid.records import SendGridRecords
from tests.support.servers import http
from tests.support.servers.http import Exchange, Handler, HttpStandIn, Writer
from tests.support.servers.sendgrid import KEY, NOW, clock, official_faults, provider

BEGUN = NOW - timedelta(minutes=30)
CREATED = int((NOW - timedelta(minutes=10)).timestamp())
AT = datetime.fromtimestamp(CREATED, UTC)


class Account:
    """A stand-in for what an account's records hold. `status` answers all of it with a refusal."""

    def __init__(self) -> None:
        self.lists: dict[str, list[Any]] = {"bounces": [], "blocks": [], "unsubscribes": []}
        self.group: list[str] = []
        self.messages: list[dict[str, Any]] = []
        self.own: dict[str, str] = {}  # a message's id by our own name for it
        self.activity: Handler | None = None

    async def __call__(self, exchange: Exchange, writer: Writer) -> None:
        assert exchange.method == "GET"
        assert exchange.headers["authorization"] == f"Bearer {KEY}"
        assert not exchange.body
        name = exchange.path.rpartition("/")[2]
        if exchange.path == "/v3/messages":
            if self.activity is not None:
                await self.activity(exchange, writer)
                return
            assert 1 <= int(exchange.query["limit"]) <= 1000
            await writer.answer(200, {"messages": self._found(exchange.query["query"])})
        elif exchange.path == "/v3/asm/groups/7/suppressions":
            await writer.answer(200, list(self.group))
        elif exchange.path == "/v3/scopes":
            await writer.answer(200, {"scopes": ["mail.send", "suppression.read", "x y", 7]})
        else:
            assert exchange.path == f"/v3/suppression/{name}"
            await writer.answer(200, self._page(name, exchange.query))

    def _page(self, name: str, query: dict[str, str]) -> list[Any]:
        start, limit, offset = (int(query.get(key, "0")) for key in ("start_time", "limit", "offset"))
        assert 0 < limit <= 500
        rows = [
            row for row in self.lists[name] if not isinstance(row, dict) or row.get("created", start) >= start
        ]
        return rows[offset : offset + limit]

    def _found(self, query: str) -> list[dict[str, Any]]:
        """Understands the questions that we ask, and no others."""
        if like := re.fullmatch(r'msg_id LIKE "([^"%]+)%"', query):
            pattern = like[1].replace("_", ".")
            return [row for row in self.messages if re.match(pattern, row["msg_id"])]
        if "unique_args" in query:
            pairs = re.findall(
                r"\(unique_args\['commcast_delivery'\]=\"([^\"]+)\" AND to_email=\"([^\"]+)\"\)", query
            )
            asked = [f'(unique_args[\'commcast_delivery\']="{own}" AND to_email="{to}")' for own, to in pairs]
            assert " OR ".join(asked) == query
            wanted = {(self.own.get(own), to) for own, to in pairs}
            return [row for row in self.messages if (row["msg_id"], row["to_email"]) in wanted]
        whole = re.fullmatch(
            r'\((.*)\) AND last_event_time BETWEEN TIMESTAMP "([^"]+)" AND TIMESTAMP "([^"]+)"', query
        )
        assert whole, query
        people = re.findall(r'to_email="([^"]+)"', whole[1])
        begun, ended = (datetime.fromisoformat(whole[at]) for at in (2, 3))
        return [
            row
            for row in self.messages
            if row["to_email"] in people and begun <= datetime.fromisoformat(row["last_event_time"]) <= ended
        ]

    def sent(self, number: int, status: str = "delivered", own: bool = True, **changed: Any) -> None:
        row = {
            "from_email": "status@acme.example",
            "msg_id": f"REQ_{number}.filter0001.16648.5515E0B88.{number}",
            "subject": "Card payments fail",
            "to_email": f"reader{number}@private.example",
            "status": status,
            "opens_count": 0,
            "clicks_count": 0,
            "last_event_time": "2026-11-21T10:00:00Z",
            **changed,
        }
        assert official_faults({"messages": [row]}, _messages) in ([], None) or changed
        self.messages.append(row)
        if own:
            self.own[f"pay7.{number}@acme.example"] = row["msg_id"]


def _messages(description: dict[str, Any]) -> dict[str, Any]:
    answers = description["paths"]["/v3/messages"]["get"]["responses"]["200"]
    found: dict[str, Any] = answers["content"]["application/json"]["schema"]
    return found


def asked(number: int, **changed: Any) -> Asked:
    told: dict[str, Any] = {
        "delivery": number,
        "address": f"reader{number}@private.example",
        "own_id": f"<pay7.{number}@acme.example>",
        "words": "Card payments fail",
        "begun": BEGUN,
        "ended": BEGUN + timedelta(minutes=1),
    }
    return Asked(**{**told, **changed})


def bounce(number: int, **changed: Any) -> dict[str, Any]:
    return {
        "created": CREATED,
        "email": f"reader{number}@private.example",
        "reason": f"550 5.1.1 <reader{number}@private.example>: no such user",
        "status": "5.1.1",
        **changed,
    }


async def _all(stream: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in stream]


def ask(service: Handler, what: str, *given: Any, **settings: Any) -> tuple[Any, HttpStandIn]:
    """Ask one thing of a stand-in; return what came, and the server with what it saw."""

    async def scenario() -> tuple[Any, HttpStandIn]:
        async with (
            HttpStandIn(service) as server,
            SendGridRecords(provider(server.url, **settings), KEY, clock) as records,
        ):
            if what == "scopes":
                return await records.scopes(), server
            return await _all(getattr(records, what)(*given)), server

    return asyncio.run(scenario())


def look(account: Account, *people: Asked) -> list[Sighting]:
    found, _ = ask(account, "look", people, ())
    assert sorted(each.delivery for each in found) == sorted(each.delivery for each in people)
    return sorted(found, key=lambda each: each.delivery)


# --- look


def test_what_email_activity_says_of_a_delivery() -> None:
    """By our own name, the address and the subject: taken, refused, another's, or nothing."""
    account = Account()
    account.sent(1, "delivered")
    account.sent(2, "processed")
    account.sent(3, "not_delivered")
    account.sent(4, own=False)
    account.sent(5, subject="Another incident")
    account.sent(7, own=False, last_event_time="2026-11-21T09:25:00Z")
    found = look(account, *(asked(number) for number in range(1, 8)))
    assert [each.seen for each in found] == [
        *(Seen.TAKEN, Seen.TAKEN, Seen.REFUSED, Seen.FOREIGN, Seen.FOREIGN, Seen.NOTHING, Seen.NOTHING)
    ]
    assert [each.provider_id for each in found[:3]] == ["REQ_1", "REQ_2", "REQ_3"]
    assert not [each for each in found if "private" in each.detail]


def test_many_are_asked_for_in_few_questions() -> None:
    """SendGrid answers a few questions a minute: forty deliveries are two."""
    account = Account()
    for number in range(1, 41):
        account.sent(number)
    found, server = ask(account, "look", [asked(number) for number in range(1, 41)], ())
    assert {each.seen for each in found} == {Seen.TAKEN}
    assert len(server.exchanges) == 2
    assert max(len(exchange.target) for exchange in server.exchanges) < 8000


def test_two_deliveries_to_one_address_are_asked_for_apart() -> None:
    """In one answer they could not be told from each other."""
    account = Account()
    account.sent(1)
    other = asked(2, address="reader1@private.example")
    assert [each.seen for each in look(account, asked(1), other)] == [Seen.TAKEN, Seen.FOREIGN]


def test_a_mail_that_was_delivered_once_was_taken() -> None:
    """Whatever became of another copy of it."""
    account = Account()
    account.sent(1, "not_delivered")
    account.sent(1, "delivered", own=False, msg_id=account.messages[0]["msg_id"])
    assert look(account, asked(1))[0].seen is Seen.TAKEN


def test_a_subject_is_compared_by_its_words() -> None:
    """How SendGrid writes the spaces of a folded subject is no difference."""
    account = Account()
    account.sent(1, subject=" Card  payments\r\n fail")
    assert look(account, asked(1))[0].seen is Seen.TAKEN


@pytest.mark.parametrize(
    "activity",
    [
        *map(http.answer, (400, 403, 404)),
        http.answer(200, {"errors": [{"message": "none"}]}),
        http.answer(200, []),
    ],
)
def test_an_account_without_email_activity(activity: Handler) -> None:
    """Not every account has it: then nothing is known, and nothing is guessed."""
    account = Account()
    account.activity = activity
    assert {each.seen for each in look(account, asked(1), asked(2))} == {Seen.CANNOT}


@pytest.mark.parametrize(
    "changed", [{"address": 'a"b@c.example'}, {"own_id": '<a" OR "b@c>'}, {"own_id": ""}]
)
def test_what_cannot_be_asked_is_not_asked(changed: dict[str, str]) -> None:
    """No quote gets out of a question."""
    account = Account()
    account.sent(2)
    assert [each.seen for each in look(account, asked(1, **changed), asked(2))] == [Seen.CANNOT, Seen.TAKEN]


# --- receipts


def receipts(account: Account, open_ids: Collection[str] = ()) -> list[Receipt]:
    found: list[Receipt]
    found, _ = ask(account, "receipts", NOW - timedelta(hours=1), open_ids)
    return found


def test_bounces_last_and_blocks_do_not() -> None:
    """A bounced address is suppressed, here and there; a blocked one is tried again."""
    account = Account()
    account.lists["bounces"] = [bounce(1), bounce(2, status="", email="READER2@B\u00fccher.example")]
    account.lists["blocks"] = [bounce(3, status="4.0.0")]
    assert receipts(account) == [
        Receipt(ReceiptKind.BOUNCED, AT, "bounced 5.1.1", "", "reader1@private.example", True, True),
        Receipt(ReceiptKind.BOUNCED, AT, "bounced", "", "reader2@xn--bcher-kva.example", True, True),
        Receipt(ReceiptKind.FAILED, AT, "blocked 4.0.0", "", "reader3@private.example"),
    ]


def test_who_bounced_long_ago_is_told_of_after_what_happened_since(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes to them is dropped; of such a list only the beginning is read each time."""
    monkeypatch.setattr(sendgrid_records, "_PAGE", 2)
    monkeypatch.setattr(sendgrid_records, "_OLD_PAGES", 1)
    account = Account()
    account.lists["bounces"] = [bounce(number, created=CREATED - 86_400) for number in (1, 3, 4)] + [
        bounce(2)
    ]
    account.lists["blocks"] = [bounce(5, created=CREATED - 86_400)]
    found = receipts(account)
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
    found = receipts(account, ["REQ_1", "REQ_2", "REQ_4", "REQ_5", 'x" OR "y'])
    *others, dropped = sorted(found, key=lambda each: each.provider_id)
    assert (dropped.kind, dropped.key) == (ReceiptKind.FAILED, "reader5@private.example")
    assert others == [
        Receipt(
            ReceiptKind.DELIVERED,
            datetime(2026, 11, 21, 10, 0, tzinfo=UTC),
            provider_id="REQ_1",
            key="reader1@private.example",
        )
    ]


@pytest.mark.parametrize("status", [403, 404, 429])
def test_bounces_are_told_without_email_activity(status: int) -> None:
    """If the account has none, or it is asked too often, the rest is still reported."""
    account = Account()
    account.lists["bounces"] = [bounce(1)]
    account.activity = http.answer(status)
    found, server = ask(account, "receipts", BEGUN, ["REQ_1", "REQ_2"])
    assert len(found) == 1
    assert [exchange.path for exchange in server.exchanges].count("/v3/messages") == 1


def test_no_open_id_is_starved() -> None:
    """Each minute another one is asked for first."""
    first = set()
    for minute in range(3):
        at = NOW + timedelta(minutes=minute)
        records = SendGridRecords(SendGridProvider(), KEY, lambda at=at: at)  # type: ignore[misc]
        first.add(records._by_turns(["a", "b", "c"])[0])
    assert first == {"a", "b", "c"}


# --- lists


def listed(account: Account, names: Sequence[str], **settings: Any) -> list[SuppressionEntry]:
    found: list[SuppressionEntry]
    found, _ = ask(account, "listed", names, **settings)
    return found


def test_lists() -> None:
    """Each list under its own name; an unsubscribe group's members count as unsubscribed, each once."""
    account = Account()
    account.lists["bounces"] = [bounce(1)]
    account.lists["blocks"] = [bounce(2, status="4.0.0")]
    account.lists["unsubscribes"] = [{"created": CREATED, "email": "reader3@private.example"}]
    account.group = ["reader3@private.example", "Reader4@private.example", "nobody"]
    assert listed(account, ["unsubscribes", "bounces", "blocks"], asm_group=7) == [
        SuppressionEntry("bounces", "reader1@private.example", AT, "5.1.1"),
        SuppressionEntry("blocks", "reader2@private.example", AT, "4.0.0"),
        SuppressionEntry("unsubscribes", "reader3@private.example", AT),
        SuppressionEntry("unsubscribes", "reader4@private.example", NOW),
        SuppressionEntry("unsubscribes", "nobody", NOW),  # an import counts what cannot be read
    ]
    assert listed(account, ["bounces"]) == [
        SuppressionEntry("bounces", "reader1@private.example", AT, "5.1.1")
    ]
    assert len(listed(account, ["unsubscribes"])) == 1


@pytest.mark.parametrize("count", [499, 500, 501, 1200])
def test_long_lists_are_read_page_by_page(count: int) -> None:
    """To the last row, and no row twice."""
    account = Account()
    account.lists["bounces"] = [bounce(number) for number in range(count)]
    found, server = ask(account, "listed", ["bounces"])
    assert len({each.address for each in found}) == len(found) == count
    assert len(server.exchanges) == count // 500 + 1


def test_a_list_that_grows_while_it_is_read_repeats_nothing() -> None:
    """A new row at the beginning moves the others: what comes again is left out."""
    account = Account()
    account.lists["bounces"] = [bounce(number) for number in range(600)]

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
    assert len(found) == 500
    assert len(server.exchanges) == 3


@pytest.mark.parametrize(
    "row",
    [7, None, [], {}, {"email": None, "created": CREATED}, {"email": "x" * 10_000, "created": CREATED},
     {"email": "a@b\r\nc.example", "created": CREATED}, {"email": "\ud800@c.example", "created": CREATED}],
)  # fmt: skip
def test_rows_that_make_no_sense_are_left_out(row: Any) -> None:
    account = Account()
    account.lists["bounces"] = [row, bounce(1)]
    assert [each.key for each in receipts(account)] == ["reader1@private.example"]
    named = [each.address for each in listed(account, ["bounces"])]
    assert named[-1] == "reader1@private.example"
    assert len(named) <= 2
    assert all(len(address) <= 320 for address in named)


@pytest.mark.parametrize("created", [-1, True, "soon", 1e300, None])
def test_a_date_that_makes_no_sense(created: Any) -> None:
    """A listed address stays listed, dated now; as a receipt the row is ignored."""
    row = bounce(1, created=created)
    found, _ = ask(http.answer(200, [row]), "listed", ["bounces"])
    assert [each.at for each in found] == [NOW]
    found, _ = ask(http.answer(200, [row]), "receipts", BEGUN, ())
    assert found == []


def test_reasons_hold_no_address() -> None:
    """Of SendGrid's words only the code is kept."""
    account = Account()
    account.lists["bounces"] = [bounce(1, status="5.1.1 <reader1@private.example>\x1b[31m")]
    assert receipts(account)[0].detail == "bounced 5.1.1"


def test_scopes() -> None:
    """What the key may do; what is no scope's name is left out."""
    found, _ = ask(Account(), "scopes")
    assert found == ("mail.send", "suppression.read")


# --- every kind of no

REFUSALS: list[tuple[Handler, type[CommcastError], str]] = [
    (http.answer(401, {"errors": [{"message": f"bad key {KEY}"}]}), Refused, "refuses the key"),
    (http.answer(403), Refused, "the key may not read"),
    (http.answer(404), Refused, "base_url"),
    (http.answer(500, "<html>reader1@private.example"), TryAgain, "500"),
    (http.reset, TryAgain, "the connection broke"),
    (http.answer(200, "<html>"), TryAgain, "no sense"),
    (http.answer(200, "[" * 100_000), TryAgain, "makes no sense"),
    (http.answer(200, "7"), TryAgain, "answer makes no sense"),
]


@pytest.mark.parametrize("what", ["bounces", "scopes"])
@pytest.mark.parametrize("case", REFUSALS, ids=[each[2] for each in REFUSALS])
def test_refusals(case: tuple[Handler, type[CommcastError], str], what: str) -> None:
    """A person has to fix it, or it is tried again; no key and no address is shown."""
    handler, kind, words = case
    with pytest.raises(kind, match=words) as caught:
        ask(handler, "scopes") if what == "scopes" else ask(handler, "listed", ["bounces"])
    assert type(caught.value) is kind
    assert KEY not in str(caught.value)
    assert "private" not in str(caught.value)


def test_a_refusal_says_what_is_missing() -> None:
    with pytest.raises(Refused, match=r"may not read bounces; give it the scope suppression\.read") as caught:
        ask(http.answer(403), "listed", ["bounces"])
    assert caught.value.exit_code is ExitCode.REFUSED


@pytest.mark.parametrize(("status", "kind"), [(401, Refused), (429, TryAgain), (503, TryAgain)])
def test_looking_needs_an_answer(status: int, kind: type[CommcastError]) -> None:
    """A refused key or a busy service is not the same as an account without records."""
    account = Account()
    account.activity = http.answer(status)
    with pytest.raises(kind):
        look(account, asked(1))
