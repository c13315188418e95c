"""SendGrid on 127.0.0.1: checks every request, keeps what each reader would see, and refuses as told."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from commcast.config.settings import SendGridProvider
from commcast.providers.sendgrid.client import OWN_ID
from commcast.providers.sendgrid.letter import ReaderView
from tests.support.servers.http import Exchange, Handler, HttpStandIn, Writer
from tests.support.servers.official import described, faults, own

KEY = "SG.kept-secret_key.0123456789abcdef"
NOW = datetime(2026, 11, 21, 10, 5, tzinfo=UTC)
_FORBIDDEN = re.compile(
    r"x-sg-e?id|received|dkim-signature|content-type|content-transfer-encoding|to|from|subject|reply-to|b?cc",
    re.IGNORECASE,
)


def clock() -> datetime:
    return NOW


def provider(url: str, timeout: timedelta = timedelta(seconds=20), **settings: Any) -> SendGridProvider:
    made = SendGridProvider.model_validate({"base_url": url, **settings})
    return made.model_copy(update={"timeout": timeout})  # the file's own durations begin at whole seconds


@dataclass(frozen=True)
class Taken:
    """One mail that was queued for one reader."""

    address: str
    reading: ReaderView
    person: Mapping[str, Any]
    body: Mapping[str, Any]


@dataclass
class SendGrid:
    """A stand-in for mail/send. `taken` is what was queued, `bodies` every request that came.

    `refuses` are addresses for which a request is refused: by name where `names` is set, else without a
    field. `answers` are handlers for the first requests, each of which takes nothing.
    """

    refuses: frozenset[str] = frozenset()
    names: bool = True
    answers: list[Handler] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, exchange: Exchange, writer: Writer) -> None:
        check(exchange)
        body = exchange.json()
        self.bodies.append(body)
        if self.answers:
            await self.answers.pop(0)(exchange, writer)
            return
        bad = [at for at, person in enumerate(body["personalizations"]) if _address(person) in self.refuses]
        if bad:
            await writer.answer(400, {"errors": [self._complaint(body, at) for at in bad]})
            return
        self.taken += [seen(body, at) for at in range(len(body["personalizations"]))]
        await writer.answer(202, headers={"X-Message-Id": f"SG-request_{len(self.bodies)}"})

    def _complaint(self, body: Mapping[str, Any], at: int) -> dict[str, Any]:
        field = f"personalizations.{at}.to.0.email" if self.names else None
        # As the real service does, the words repeat what they complain of.
        address = _address(body["personalizations"][at])
        return {"message": f"The email address {address} is not valid", "field": field, "help": None}

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[HttpStandIn]:
        async with HttpStandIn(self) as server:
            yield server


def _address(person: Mapping[str, Any]) -> str:
    return str(person["to"][0]["email"])


def seen(body: Mapping[str, Any], at: int) -> Taken:
    """Return what a reader gets, by substitution as SendGrid describes it; written apart from ours."""
    person = body["personalizations"][at]
    values = person.get("substitutions", {})
    tags = re.compile("|".join(re.escape(tag) for tag in values) or r"(?!)")

    def filled(text: str) -> str:
        return tags.sub(lambda found: values[found[0]], text)

    parts = {part["type"]: filled(part["value"]) for part in body["content"]}
    reading = ReaderView(filled(body["subject"]), parts["text/plain"], parts.get("text/html", ""))
    return Taken(_address(person), reading, person, body)


def check(exchange: Exchange) -> None:
    """Raise AssertionError where SendGrid would not take the request, or where we promise more."""
    assert (exchange.method, exchange.target) == ("POST", "/v3/mail/send")
    assert exchange.headers["authorization"] == f"Bearer {KEY}"
    assert exchange.headers["content-type"] == "application/json"
    assert len(exchange.body) < 30_000_000
    check_body(exchange.json())


def check_body(body: Any) -> None:
    """Raise AssertionError where the body breaks a rule of our own schema, or one that none can say."""
    found = faults(body, own("sendgrid"))
    assert not found, found[:5]
    people = body["personalizations"]
    addresses = [_address(person).casefold() for person in people]
    assert len(set(addresses)) == len(addresses), "an address stands twice in a request"
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


@cache
def official() -> dict[str, Any] | None:
    """Return SendGrid's own description; None if it is not on this machine."""
    loaded = described("sendgrid/mail")
    if loaded is not None:
        # A known defect: the message's custom_args is an object, as the SDK sends it, and no string.
        mail_send(loaded)["properties"]["custom_args"]["type"] = "object"
    return loaded


def official_faults(value: Any, schema: Callable[[dict[str, Any]], dict[str, Any]]) -> list[str] | None:
    """Return what the official description has against a value; None where it is not on this machine.

    `schema` picks the part of the description.
    """
    description = official()
    if description is None:
        return None
    return faults(value, {**schema(description), "components": description["components"]})


def mail_send(description: dict[str, Any]) -> dict[str, Any]:
    """The schema of a mail/send request."""
    operation = description["paths"]["/v3/mail/send"]["post"]
    found: dict[str, Any] = operation["requestBody"]["content"]["application/json"]["schema"]
    return found
