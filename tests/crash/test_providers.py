"""Killed at any instant with requests in flight at SendGrid and Twilio: nobody twice, nobody lost."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.adapters import sendgrid_standin, twilio_standin
from tests.adapters.http_standins import Exchange, Handler, HttpStandIn, Writer, threaded
from tests.crash.harness import Children, children, unknown
from tests.desks import write_desk, write_incident

PEOPLE = 48
KILLS = 50
SEND = ["send", "pay7", "--yes"]
LATENCY = 0.01  # seconds before and after a stand-in takes a request, so that a kill falls into one


@dataclass(frozen=True)
class Provider:
    """A stand-in: `counts` says how many messages each address got, `in_flight` is W."""

    url: str
    counts: Callable[[], Counter[str]]
    in_flight: int
    settings: str

    def desk(self, folder: Path, number: int) -> Path:
        """Make a desk with people of its own and an incident that nobody has released."""
        raise NotImplementedError


class SendGridDesk(Provider):
    """Mail in requests of 8, two at a time."""

    def desk(self, folder: Path, number: int) -> Path:
        people = [f"c{at}.k{number}@example.com,,Customer {at}" for at in range(PEOPLE)]
        write_desk(folder, customers=people, support=[], email="sendgrid", extra=self.settings)
        return folder


class TwilioDesk(Provider):
    """Texts, eight at a time; the mails of the same people go into files."""

    def desk(self, folder: Path, number: int) -> Path:
        people = [f",+49151{10_000_000 + number * 1000 + at},Customer {at}" for at in range(PEOPLE)]
        write_desk(folder, customers=people, support=[], sms='provider = "twilio"', extra=self.settings)
        return folder


def slowly(handler: Handler) -> Handler:
    """Take a moment on both sides of the taking, as a real provider does."""

    async def handle(exchange: Exchange, writer: Writer) -> None:
        await asyncio.sleep(LATENCY)
        await handler(exchange, writer)

    return handle


@contextmanager
def a_sendgrid() -> Iterator[Provider]:
    service = sendgrid_standin.SendGrid()
    with threaded(HttpStandIn(slowly(service))) as server:
        settings = f'[providers.sendgrid]\nbase_url = "{server.url}"\nbatch = 8\nconnections = 2\n'
        yield SendGridDesk(
            server.url, lambda: Counter(taken.address for taken in service.taken), 2 * 8, settings
        )


@contextmanager
def a_twilio() -> Iterator[Provider]:
    service = twilio_standin.Twilio()
    with threaded(HttpStandIn(slowly(service))) as server:
        settings = f'[providers.twilio]\nbase_url = "{server.url}"\nconnections = 8\n'
        yield TwilioDesk(server.url, lambda: Counter(form["To"] for form in service.forms), 8, settings)


@pytest.fixture(scope="module", params=[a_sendgrid, a_twilio], ids=["sendgrid", "twilio"])
def provider(request: pytest.FixtureRequest) -> Iterator[Provider]:
    with request.param() as started:
        yield started


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENDGRID_API_KEY", sendgrid_standin.KEY)
        patch.setenv("TWILIO_ACCOUNT_SID", twilio_standin.ACCOUNT)
        patch.setenv("TWILIO_AUTH_TOKEN", twilio_standin.TOKEN)
        with children(tmp_path_factory.mktemp("log") / "children.log") as started:
            yield started


def test_killed_fifty_times_and_run_again_at_once(tmp_path: Path, provider: Provider, runs: Children) -> None:
    """Each kill leaves at most what was in flight in doubt; the next run tells the rest; nobody gets two."""
    begin = datetime.now(UTC).replace(microsecond=0)
    whole = provider.desk(tmp_path / "whole", 999)
    write_incident(whole, at=begin)
    began = time.monotonic()
    assert runs.run(whole, SEND) == [0]
    longest = time.monotonic() - began
    chance = random.Random(20261122)
    in_doubt = 0
    for number in range(KILLS):
        folder = provider.desk(tmp_path / f"k{number}", number)
        write_incident(folder, at=datetime.now(UTC).replace(microsecond=0))
        before = provider.counts()
        runs.run(folder, SEND, kill_after=chance.uniform(longest / 3, longest))
        (code,) = runs.run(folder, SEND)
        lost, got = unknown(folder), provider.counts() - before
        assert code == (1 if lost else 0)
        assert len(lost) <= provider.in_flight
        assert set(got.values()) <= {1}
        assert len(set(got) | lost) == PEOPLE
        in_doubt += len(lost)
    assert in_doubt > 0, "no kill fell into a request: the test proved nothing"
