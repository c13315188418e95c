"""Twilio's credentials, and where the SDK is sent."""

from __future__ import annotations

import asyncio
import base64

import pytest

from commcast.errors import ConfigError
from commcast.providers.twilio.adapter import TwilioAdapter
from commcast.providers.twilio.client import Credentials, TwilioClient
from tests.providers.contract import collect
from tests.support.servers.http import HttpStandIn, answer
from tests.support.servers.twilio import ACCOUNT, CREDENTIALS, GOOD, TOKEN, clock, provider, texts

GIVEN = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN}
KEYED = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_API_KEY": "SK" + "1b" * 16, "TWILIO_API_SECRET": "hush"}


def test_credentials() -> None:
    """A token goes with the account, a secret with its key; a key is used before a token."""
    assert Credentials.from_environment(GIVEN) == CREDENTIALS
    keyed = Credentials(ACCOUNT, "SK" + "1b" * 16, "hush")
    assert Credentials.from_environment(KEYED) == keyed
    assert Credentials.from_environment({**GIVEN, **KEYED}) == keyed
    spaced = {name: f"  {value}\n" for name, value in GIVEN.items()}
    assert Credentials.from_environment(spaced) == CREDENTIALS
    assert CREDENTIALS.variables == "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"
    assert keyed.variables == "TWILIO_API_KEY and TWILIO_API_SECRET"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, ["TWILIO_ACCOUNT_SID is not set", "neither TWILIO_AUTH_TOKEN nor TWILIO_API_KEY"]),
        ({"TWILIO_AUTH_TOKEN": TOKEN}, ["TWILIO_ACCOUNT_SID is not set"]),
        ({"TWILIO_ACCOUNT_SID": ACCOUNT}, ["neither TWILIO_AUTH_TOKEN nor TWILIO_API_KEY"]),
        ({**GIVEN, "TWILIO_ACCOUNT_SID": "SK" + "1" * 32}, ["TWILIO_ACCOUNT_SID is not AC and 32"]),
        ({**GIVEN, "TWILIO_ACCOUNT_SID": ACCOUNT + "0"}, ["TWILIO_ACCOUNT_SID is not AC and 32"]),
        ({**GIVEN, "TWILIO_ACCOUNT_SID": "AC" + "\u0661" * 32}, ["TWILIO_ACCOUNT_SID is not AC and 32"]),
        ({**GIVEN, "TWILIO_AUTH_TOKEN": "se\ncret"}, ["TWILIO_AUTH_TOKEN holds more than plain"]),
        ({**GIVEN, "TWILIO_AUTH_TOKEN": "s\u00e9cret"}, ["TWILIO_AUTH_TOKEN holds more than plain"]),
        ({**GIVEN, "TWILIO_AUTH_TOKEN": " \t"}, ["neither TWILIO_AUTH_TOKEN nor TWILIO_API_KEY"]),
        ({**GIVEN, "TWILIO_API_KEY": "SK" + "1" * 32}, ["TWILIO_API_SECRET is not set"]),
        ({**GIVEN, "TWILIO_API_SECRET": "hush"}, ["TWILIO_API_KEY is not set"]),
        ({**KEYED, "TWILIO_API_KEY": ACCOUNT}, ["TWILIO_API_KEY is not SK and 32"]),
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
            await collect(made, texts(1))

    asyncio.run(scenario())
    (exchange,) = server.exchanges
    assert exchange.path == f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
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
