"""SendGrid and Twilio on 127.0.0.1: they check each request, keep what a reader would get, refuse as told."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from jsonschema import Draft202012Validator

from commcast.config.settings import SendGridProvider, TwilioProvider
from commcast.providers.sendgrid.letter import OWN_ID, ReaderView
from commcast.providers.twilio.client import Credentials
from tests.support.servers.http import Exchange, Handler, Writer

NOW = datetime(2026, 11, 21, 10, 5, tzinfo=UTC)
_Provider = TypeVar("_Provider", SendGridProvider, TwilioProvider)


def clock() -> datetime:
    return NOW


def sendgrid(url: str, **settings: Any) -> SendGridProvider:
    """Make the settings of a SendGrid at this address."""
    return _timed(SendGridProvider, {"base_url": url, **settings})


def twilio(url: str, **settings: Any) -> TwilioProvider:
    """Make the settings of a Twilio at this address, with a messaging service."""
    return _timed(TwilioProvider, {"base_url": url, "messaging_service": SERVICE, **settings})


def _timed(kind: type[_Provider], settings: dict[str, Any]) -> _Provider:
    timeout = settings.pop("timeout", timedelta(seconds=20))
    # The file's own durations begin at whole seconds.
    return kind.model_validate(settings).model_copy(update={"timeout": timeout})


KEY = "SG.kept-secret_key.0123456789abcdef"
_FORBIDDEN = re.compile(
    r"x-sg-e?id|received|dkim-signature|content-type|content-transfer-encoding|to|from|subject|reply-to|b?cc",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Taken:
    """One email that was queued for one reader."""

    address: str
    reading: ReaderView
    person: Mapping[str, Any]
    body: Mapping[str, Any]


@dataclass
class SendGrid:
    """A stand-in for mail/send. `taken` is what was queued, `bodies` every request that came.

    `refuses` are addresses for which a request is refused: by name if `names` is set, else without a field.
    `answers` are handlers for the first requests, each of which takes nothing.
    """

    refuses: frozenset[str] = frozenset()
    names: bool = True
    answers: list[Handler] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, exchange: Exchange, writer: Writer) -> None:
        assert (exchange.method, exchange.target) == ("POST", "/v3/mail/send")
        assert exchange.headers["authorization"] == f"Bearer {KEY}"
        assert exchange.headers["content-type"] == "application/json"
        assert len(exchange.body) < 30_000_000
        body = exchange.json()
        check_body(body)
        self.bodies.append(body)
        if self.answers:
            await self.answers.pop(0)(exchange, writer)
            return
        taken = [seen(body, at) for at in range(len(body["personalizations"]))]
        if bad := [at for at, each in enumerate(taken) if each.address in self.refuses]:
            # As the real service does, the words repeat what they complain of.
            words = "The email address {} is not valid"
            errors = [
                {
                    "message": words.format(taken[at].address),
                    "field": field if self.names else None,
                    "help": None,
                }
                for at, field in ((at, f"personalizations.{at}.to.0.email") for at in bad)
            ]
            await writer.answer(400, {"errors": errors})
            return
        self.taken += taken
        await writer.answer(202, headers={"X-Message-Id": f"SG-request_{len(self.bodies)}"})


def seen(body: Mapping[str, Any], at: int) -> Taken:
    """Return what a reader gets, by substitution as SendGrid describes it; written apart from ours."""
    person = body["personalizations"][at]
    values = person.get("substitutions", {})
    tags = re.compile("|".join(re.escape(tag) for tag in values) or r"(?!)")

    def filled(text: str) -> str:
        return tags.sub(lambda found: values[found[0]], text)

    parts = {part["type"]: filled(part["value"]) for part in body["content"]}
    reading = ReaderView(filled(body["subject"]), parts["text/plain"], parts.get("text/html", ""))
    return Taken(person["to"][0]["email"], reading, person, body)


def check_body(body: Any) -> None:
    """Raise AssertionError if the body breaks a rule of our own schema, or one that none can say."""
    found = _faults(body, _own("sendgrid"))
    assert not found, found[:5]
    people = body["personalizations"]
    addresses = [person["to"][0]["email"].casefold() for person in people]
    assert len(set(addresses)) == len(addresses), "a request holds an address twice"
    for person in people:
        assert len(json.dumps(person["custom_args"])) < 10_000
        assert len(json.dumps(person.get("substitutions", {}))) <= 10_000
        assert person["headers"]["Message-ID"] == f"<{person['custom_args'][OWN_ID]}>"
        assert person.get("substitutions", {}).keys() == people[0].get("substitutions", {}).keys()
        for name, value in {**body["headers"], **person["headers"]}.items():
            assert not _FORBIDDEN.fullmatch(name)
            assert value.isascii()
            assert value.isprintable()
    assert json.dumps(body, ensure_ascii=False).encode(), "a lone surrogate is no Unicode"


ACCOUNT = "AC" + "0a" * 16
TOKEN = "kept5ecret" * 3
SERVICE = "MG" + "5e" * 16
SENDER = "+15005550006"  # the sender that Twilio's test credentials take
CREDENTIALS = Credentials(ACCOUNT, ACCOUNT, TOKEN)
NUMBER = "+491550012345"
WORDS = "Acme Pay: card payments fail."
_ROOT = f"/2010-04-01/Accounts/{ACCOUNT}"
_LIST = f"{_ROOT}/Messages.json"


def sid(number: int) -> str:
    return f"SM{number:032x}"


def message(number: int, to: str = NUMBER, body: str = WORDS, **changed: Any) -> dict[str, Any]:
    """Make a message as Twilio's list has it."""
    none = dict.fromkeys(("date_sent", "error_code", "error_message", "messaging_service_sid", "price"))
    dates = dict.fromkeys(("date_created", "date_updated"), format_datetime(NOW))
    made = {
        "sid": sid(number),
        "to": to,
        "from": SENDER,
        "body": body,
        "status": "queued",
        "num_segments": "1",
    }
    return {"account_sid": ACCOUNT, "direction": "outbound-api", **none, **dates, **made, **changed}


def sent(number: int, to: str = NUMBER, body: str = WORDS, **changed: Any) -> dict[str, Any]:
    """Make a message that has left the queue."""
    return message(number, to, body, **{"status": "delivered", "date_sent": format_datetime(NOW), **changed})


def error(code: int, status: int = 400, words: str = "") -> dict[str, Any]:
    """Make an error as Twilio words it; its sentences hold numbers."""
    more = f"https://www.twilio.com/docs/errors/{code}"
    return {"code": code, "message": words or f"error {code}", "more_info": more, "status": status}


_ACCOUNT = {"sid": ACCOUNT, "status": "active", "type": "Full", "friendly_name": "ops@acme.example's Account"}
_BALANCE = {"account_sid": ACCOUNT, "balance": "12.5", "currency": "USD"}


@dataclass
class Twilio:
    """A stand-in for the API of one account. `messages` is its list, `forms` is all that was to be sent.

    `answers` are handlers for the first requests, each of which takes nothing. A page of a list holds `page`
    messages. `lists` are the lists that were asked for, `replies` what was made ("created") and listed.
    """

    answers: list[Handler] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    account: dict[str, Any] = field(default_factory=_ACCOUNT.copy)
    balance: dict[str, Any] = field(default_factory=_BALANCE.copy)
    page: int = 1000
    forms: list[dict[str, str]] = field(default_factory=list)
    lists: list[dict[str, str]] = field(default_factory=list)
    replies: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def __call__(self, exchange: Exchange, writer: Writer) -> None:
        _check(exchange)
        if exchange.method == "POST":
            self.forms.append(exchange.form)
        if self.answers:
            await self.answers.pop(0)(exchange, writer)
            return
        await writer.answer(*self._reply(exchange))

    def _reply(self, exchange: Exchange) -> tuple[int, dict[str, Any]]:
        if exchange.method == "POST":
            return self._create(exchange.form)
        if exchange.path == _LIST:
            return 200, self._listed(exchange.query)
        like = exchange.query.get("PhoneNumber", "")
        numbers = [{"phone_number": SENDER}] if like in SENDER else []
        found = {
            f"{_ROOT}.json": self.account,
            f"{_ROOT}/Balance.json": self.balance,
            f"{_ROOT}/IncomingPhoneNumbers.json": {"incoming_phone_numbers": numbers, "next_page_uri": None},
            f"/v1/Services/{SERVICE}": {"sid": SERVICE, "account_sid": ACCOUNT},
        }
        return (200, found[exchange.path]) if exchange.path in found else (404, error(20404, 404))

    def _create(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        service = form.get("MessagingServiceSid")
        how = {"status": "accepted", "num_segments": "0"} if service else {}
        own = {"messaging_service_sid": service, "from": form.get("From"), **how}
        self.messages.append(message(len(self.messages) + 1, form["To"], form["Body"], **own))
        self.replies.append(("created", self.messages[-1]))
        return 201, self.messages[-1]

    def _listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        self.lists.append(dict(query))
        number = int(query.get("Page", "0"))
        start, end = number * self.page, (number + 1) * self.page
        rows = [row for row in self.messages if _fits(row, query)]
        rows.sort(
            key=lambda row: parsedate_to_datetime(row["date_created"]), reverse=True
        )  # the newest first
        after = {**query, "Page": str(number + 1), "PageToken": "PASM1"}
        follows = f"{_LIST}?{urlencode(after)}" if end < len(rows) else None
        page = {"messages": rows[start:end], "next_page_uri": follows, "page": number, "page_size": self.page}
        self.replies.append(("listed", page))
        return page


def _fits(row: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    # What is still in the queue was not sent at any date.
    day = parsedate_to_datetime(row["date_sent"]).strftime("%Y-%m-%d") if row["date_sent"] else ""
    if query.get("To") not in {None, row["to"]} or (not day and {"DateSent<", "DateSent>"} & query.keys()):
        return False
    return query.get("DateSent>", day) <= day <= query.get("DateSent<", day)


def _check(exchange: Exchange) -> None:
    """Raise AssertionError if Twilio would not read the request, or if we promise more."""
    login = base64.b64decode(exchange.headers["authorization"].removeprefix("Basic ")).decode()
    assert login == f"{ACCOUNT}:{TOKEN}"
    assert exchange.headers["accept-encoding"] == "identity"
    assert exchange.headers["user-agent"].startswith("twilio-python/")
    kind, value = "create", exchange.form
    if exchange.method == "POST":
        assert exchange.target == _LIST
        assert exchange.headers["content-type"] == "application/x-www-form-urlencoded"
        assert re.fullmatch(rb"[A-Za-z0-9_.~%&=+*-]*", exchange.body), "not a form"
    else:
        assert (exchange.method, exchange.body) == ("GET", b"")
        kind, value = "list", exchange.query
    if exchange.path == _LIST:
        found = _faults(value, {**_own("twilio"), "$ref": f"#/$defs/{kind}"})
        assert not found, found[:5]


# They are no part of this repository. Read now: tests see no COMMCAST_ variables.
_SPECS = Path(os.environ.get("COMMCAST_SPECS") or Path(__file__).parents[4] / "shared" / "specs")
HAS_SPECS = _SPECS.is_dir()
_JSON = ("content", "application/json", "schema")
_FORM = ("content", "application/x-www-form-urlencoded", "schema")
_MESSAGES = ("paths", "/2010-04-01/Accounts/{AccountSid}/Messages.json")
_PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "mail/send": ("sendgrid/mail", ("paths", "/v3/mail/send", "post", "requestBody", *_JSON)),
    "activity": ("sendgrid/mail", ("paths", "/v3/messages", "get", "responses", "200", *_JSON)),
    "create": ("twilio/messages", (*_MESSAGES, "post", "requestBody", *_FORM)),
    "created": ("twilio/messages", (*_MESSAGES, "post", "responses", "201", *_JSON)),
    "list": ("twilio/messages", (*_MESSAGES, "get", "parameters")),
    "listed": ("twilio/messages", (*_MESSAGES, "get", "responses", "200", *_JSON)),
}
_TYPES: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("ValidityPeriod", "PageSize", "Page"), int),
    "SmartEncoded": json.loads,
}


def official_faults(kind: str, value: Any) -> list[str]:
    """Return what the official description has against a request or an answer; nothing without HAS_SPECS."""
    if not HAS_SPECS:
        return []
    name, path = _PARTS[kind]
    description = _described(name)
    rules: Any = description
    for step in path:
        rules = rules[step]
    if kind in {"create", "list"}:  # forms and queries are texts, of the types that the description names
        value = {name: _TYPES.get(name, str)(text) for name, text in value.items()}
        fields = rules["properties"] if kind == "create" else {each["name"]: each["schema"] for each in rules}
        rules = {"properties": fields, "additionalProperties": False}
    return _faults(value, {**rules, "components": description["components"]})


@cache
def _described(name: str) -> dict[str, Any]:
    description: dict[str, Any] = _with_null(json.loads((_SPECS / f"{name}.openapi.json").read_text()))
    if name == "sendgrid/mail":
        # A known defect: the message's custom_args is an object, as the SDK sends it, and no string.
        body = description["paths"]["/v3/mail/send"]["post"]["requestBody"]["content"]["application/json"]
        body["schema"]["properties"]["custom_args"]["type"] = "object"
    return description


def _with_null(schema: Any) -> Any:
    """Return an OpenAPI 3.0 schema in the words of JSON Schema: there is no `nullable`."""
    if isinstance(schema, list):
        return [_with_null(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _with_null(each) for name, each in schema.items()}
    if made.get("nullable") is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


@cache
def _own(name: str) -> dict[str, Any]:
    """Return our own schema of what we send to a provider."""
    schema = Path(__file__).with_name("schemas") / f"{name}.json"
    return json.loads(schema.read_text())  # type: ignore[no-any-return]


def _faults(value: Any, rules: Mapping[str, Any]) -> list[str]:
    found = Draft202012Validator(rules).iter_errors(value)
    return [f"{fault.json_path}: {fault.message[:200]}" for fault in found]
