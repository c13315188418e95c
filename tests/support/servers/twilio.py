"""Twilio on 127.0.0.1: checks every request, keeps what each reader would get, and refuses as told."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode

from commcast.config.settings import TwilioProvider
from commcast.providers.twilio.client import Credentials
from tests.support.servers.http import Exchange, Handler, HttpStandIn, Writer
from tests.support.servers.official import described, faults, own

ACCOUNT = "AC" + "0a" * 16
TOKEN = "kept5ecret" * 3
SERVICE = "MG" + "5e" * 16
SENDER = "+15005550006"  # the sender that Twilio's test credentials take
CREDENTIALS = Credentials(ACCOUNT, ACCOUNT, TOKEN)
NUMBER = "+491550012345"
WORDS = "Acme Pay: card payments fail."
NOW = datetime(2026, 11, 21, 10, 5, tzinfo=UTC)
MAGIC = {  # https://www.twilio.com/docs/iam/test-credentials
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}
MAGIC_SENDERS = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}
LONGEST_BODY = 1600
_ROOT = f"/2010-04-01/Accounts/{ACCOUNT}"


def clock() -> datetime:
    return NOW


def provider(url: str, timeout: timedelta = timedelta(seconds=20), **settings: Any) -> TwilioProvider:
    made = TwilioProvider.model_validate({"base_url": url, "messaging_service": SERVICE, **settings})
    return made.model_copy(update={"timeout": timeout})  # the file's own durations begin at whole seconds


def message(number: int, to: str, body: str, **changed: Any) -> dict[str, Any]:
    """Make a message as Twilio's list has it."""
    sid = f"SM{number:032x}"
    return {
        "account_sid": ACCOUNT,
        "api_version": "2010-04-01",
        "body": body,
        "date_created": format_datetime(NOW),
        "date_sent": None,
        "date_updated": format_datetime(NOW),
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": SENDER,
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": "USD",
        "sid": sid,
        "status": "queued",
        "subresource_uris": {"media": f"{_ROOT}/Messages/{sid}/Media.json"},
        "to": to,
        "uri": f"{_ROOT}/Messages/{sid}.json",
        **changed,
    }


def sent(number: int, to: str, body: str, status: str = "delivered", **changed: Any) -> dict[str, Any]:
    """Make a message that has left the queue."""
    return message(number, to, body, status=status, **{"date_sent": format_datetime(NOW), **changed})


def error(code: int, status: int = 400, words: str = "") -> dict[str, Any]:
    """Make an error as Twilio words it; its sentences hold numbers."""
    more = f"https://www.twilio.com/docs/errors/{code}"
    return {"code": code, "message": words or f"error {code}", "more_info": more, "status": status}


@dataclass
class Twilio:
    """A stand-in for the API of one account. `messages` is its list, `forms` is all that was to be sent.

    `answers` are handlers for the first requests, each of which takes nothing. The first `lag` lists of each
    number are empty. A page of a list holds `page` messages. `lists` are the lists that were asked for,
    `replies` what was made and listed.
    """

    answers: list[Handler] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[str] = field(default_factory=lambda: [SENDER])
    account: dict[str, Any] = field(
        default_factory=lambda: {
            "sid": ACCOUNT,
            "status": "active",
            "type": "Full",
            "friendly_name": "ops@acme.example's Account",
        }
    )
    balance: dict[str, Any] = field(
        default_factory=lambda: {"account_sid": ACCOUNT, "balance": "12.5", "currency": "USD"}
    )
    lag: int = 0
    page: int = 1000
    forms: list[dict[str, str]] = field(default_factory=list)
    lists: list[dict[str, str]] = field(default_factory=list)
    replies: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def __call__(self, exchange: Exchange, writer: Writer) -> None:
        check(exchange)
        if exchange.method == "POST":
            self.forms.append(exchange.form)
        if self.answers:
            await self.answers.pop(0)(exchange, writer)
            return
        status, body = self.reply(exchange)
        await writer.answer(status, body)

    def reply(self, exchange: Exchange) -> tuple[int, dict[str, Any]]:
        """Return what the real service says to a request."""
        if exchange.method == "POST":
            return self.create(exchange.form)
        if exchange.path == f"{_ROOT}/Messages.json":
            return 200, self.listed(exchange.query)
        if exchange.path == f"{_ROOT}.json":
            return 200, self.account
        if exchange.path == f"{_ROOT}/Balance.json":
            return 200, self.balance
        if exchange.path == f"{_ROOT}/IncomingPhoneNumbers.json":
            like = exchange.query["PhoneNumber"]
            rows = [{"phone_number": number} for number in self.numbers if like in number]
            return 200, {"incoming_phone_numbers": rows, "next_page_uri": None}
        if exchange.path == f"/v1/Services/{SERVICE}":
            return 200, {"sid": SERVICE, "account_sid": ACCOUNT}
        return 404, error(20404, 404)

    def create(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        code = MAGIC.get(form["To"]) or MAGIC_SENDERS.get(form.get("From", ""))
        if not form["Body"]:
            code = 21602
        elif len(form["Body"]) > LONGEST_BODY:
            code = 21617
        if code is not None:
            return 400, error(code, 400, f"{form['To']} and {form.get('From')} cannot have it")
        service = form.get("MessagingServiceSid")
        made = message(
            len(self.messages) + 1,
            form["To"],
            form["Body"],
            status="accepted" if service else "queued",
            messaging_service_sid=service,
            num_segments="0" if service else "1",
            **{"from": form.get("From")},
        )
        self.messages.append(made)
        self.replies.append(("create", made))
        return 201, made

    def listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        self.lists.append(dict(query))
        start = int(query.get("Page", "0")) * self.page
        rows = [row for row in self.messages if _fits(row, query)]
        looks = [each for each in self.lists if each.get("To") == query.get("To") and "Page" not in each]
        if len(looks) <= self.lag:
            rows = []
        # The newest first.
        rows = sorted(rows, key=lambda row: _moment(row["date_created"]), reverse=True)
        more = start + self.page < len(rows)
        after = {**query, "Page": str(start // self.page + 1), "PageToken": "PASM1"}
        page = {
            "end": min(start + self.page, len(rows)) - 1,
            "first_page_uri": f"{_ROOT}/Messages.json?{urlencode(query)}",
            "messages": rows[start : start + self.page],
            "next_page_uri": f"{_ROOT}/Messages.json?{urlencode(after)}" if more else None,
            "page": start // self.page,
            "page_size": self.page,
            "previous_page_uri": None,
            "start": start,
            "uri": f"{_ROOT}/Messages.json?{urlencode(query)}",
        }
        self.replies.append(("list", page))
        return page

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[HttpStandIn]:
        async with HttpStandIn(self) as server:
            yield server


def _fits(row: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    if query.get("To") not in {None, row["to"]}:
        return False
    # What is still in the queue was not sent at any date.
    day = _moment(row["date_sent"]).strftime("%Y-%m-%d") if row["date_sent"] else ""
    if ("DateSent<" in query or "DateSent>" in query) and not day:
        return False
    return query.get("DateSent>", day) <= day <= query.get("DateSent<", day)


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S %z")


def check(exchange: Exchange) -> None:
    """Raise AssertionError where Twilio would not read the request, or where we promise more."""
    login = base64.b64decode(exchange.headers["authorization"].removeprefix("Basic ")).decode()
    assert login == f"{ACCOUNT}:{TOKEN}"
    assert exchange.headers["accept-encoding"] == "identity"
    assert exchange.headers["user-agent"].startswith("twilio-python/")
    if exchange.method == "POST":
        assert exchange.target == f"{_ROOT}/Messages.json"
        assert exchange.headers["content-type"] == "application/x-www-form-urlencoded"
        assert re.fullmatch(rb"[A-Za-z0-9_.~%&=+*-]*", exchange.body), "not a form"
        _check("create", exchange.form)
    else:
        assert exchange.method == "GET"
        assert exchange.body == b""
        if exchange.path == f"{_ROOT}/Messages.json":
            _check("list", exchange.query)


def _check(kind: str, value: Mapping[str, str]) -> None:
    found = faults(value, {**own("twilio"), "$ref": f"#/$defs/{kind}"})
    assert not found, found[:5]


# --- the official description


@cache
def official() -> dict[str, Any] | None:
    """Return Twilio's own description where it lies on this machine; None where it does not."""
    description = described("twilio/messages")
    return None if description is None else dict(_with_null(description))


def official_faults(kind: str, value: Mapping[str, Any]) -> list[str]:
    """Return what the official description has against a "create" form, a "list" query, or what answers
    them ("created", "listed")."""
    description = official()
    assert description is not None
    operations = description["paths"]["/2010-04-01/Accounts/{AccountSid}/Messages.json"]
    if kind == "create":
        form = operations["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
        return _faults(_typed(value), {**form, "additionalProperties": False}, description)
    if kind == "list":
        known = {each["name"]: each["schema"] for each in operations["get"]["parameters"]}
        rules = {"properties": known, "additionalProperties": False}
        return _faults(_typed(value), rules, description)
    answers = operations["post" if kind == "created" else "get"]["responses"]
    answer = answers["201" if kind == "created" else "200"]["content"]["application/json"]["schema"]
    return _faults(value, answer, description)


def _faults(value: Any, rules: Mapping[str, Any], description: Mapping[str, Any]) -> list[str]:
    return faults(value, {**rules, "components": description["components"]})


def _typed(form: Mapping[str, Any]) -> dict[str, Any]:
    """Return a form's or query's values as the types that the description names."""
    typed: dict[str, Any] = dict(form)
    for name in {"ValidityPeriod", "PageSize", "Page"} & typed.keys():
        typed[name] = int(typed[name])
    if "SmartEncoded" in typed:
        typed["SmartEncoded"] = {"true": True, "false": False}[typed["SmartEncoded"]]
    return typed


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
