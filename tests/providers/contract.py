"""What every adapter must do: a new one joins by a `Rig`, and a subclass of AdapterContract that names it."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commcast.model.incident import Channel
from commcast.model.message import NOT_BEGUN, Delivery, Email, Mailbox, Message, Outcome, Sms
from commcast.providers.base import Adapter
from tests.providers.kinds import ACCEPTED, ACCOUNT, NOT_TAKEN, PROVIDER, RECIPIENT, REJECTED, UNKNOWN
from tests.support.servers import http
from tests.support.servers.http import Exchange, Handler, HttpStandIn, Writer, make_certificate

BOUNDED = 8.0  # seconds in which a context must be left, whatever the provider does

HOSTILE = [  # names, subjects and texts: line ends, quotes, directions, lengths, half a character, templates
    *(f"Dana{end}Bcc: eve@evil.example" for end in ("\r\n", "\r", "\x0b\x0c\x85\u2028")),
    *("Dana\r\nBcc: eve@evil.example\r\n\r\nbody", "=?utf-8?q?=0D=0ABcc:_eve@evil.example?="),
    *("Reyes; Dana, <eve@evil.example>", 'Dana "Dee\\" Reyes', "\u05d3\u05e0\u05d4 \u202egnp.exe\u202c"),
    *("\U0001f6a8 \U0001f468\u200d\U0001f469\u200d\U0001f467", "x" * 1000, "\u00e9" * 1000, "Dana \ud800"),
    *("{{ 7 * 7 }} -sub- %s", ""),
]


@dataclass(frozen=True)
class Arrived:
    """One message as the provider got it: every address it goes to, and all that its reader can see."""

    addresses: tuple[str, ...]
    content: str


class Rig(ABC):
    """One adapter and the provider it talks to. `folder` is the test's own."""

    channel: ClassVar[Channel]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def working(self) -> AbstractAsyncContextManager[Adapter]:
        """A provider that takes all, and an adapter in its open context."""

    @abstractmethod
    def hanging(self) -> AbstractAsyncContextManager[Callable[[], Adapter]]:
        """A provider that never answers, and a maker of adapters for it."""

    @abstractmethod
    def arrived(self) -> Sequence[Arrived]:
        """What the working provider got."""

    secrets: Sequence[str] = ()

    def send(self, *items: Delivery) -> list[Outcome]:
        """Hand the items to the working provider, as a broadcast does."""

        async def scenario() -> list[Outcome]:
            async with self.working() as adapter:
                return await send_all(adapter, items)

        return asyncio.run(scenario())


class HttpRig(Rig):
    """A provider over HTTP: `takes_all` is its stand-in, `takes_one` a single good answer."""

    takes_all: Handler
    takes_one: Handler

    @abstractmethod
    def adapter(self, url: str, **settings: Any) -> Adapter:
        """An adapter for a server, with settings of [providers.…]."""

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Adapter]:
        async with HttpStandIn(self.takes_all) as server, self.adapter(server.url) as adapter:
            yield adapter

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[Callable[[], Adapter]]:
        async with HttpStandIn(http.hang) as server:
            yield lambda: self.adapter(server.url)

    def ask(
        self, handler: Handler, *items: Delivery, tls: ssl.SSLContext | None = None, **settings: Any
    ) -> tuple[list[Outcome], HttpStandIn]:
        """Hand over one item after another by one connection; return the outcomes and the server."""
        server = HttpStandIn(handler, tls=tls)

        async def scenario() -> list[Outcome]:
            async with server, self.adapter(server.url, **{"connections": 1, **settings}) as adapter:
                return [outcome for item in items for outcome in await collect(adapter, [item])]

        return asyncio.run(scenario()), server


def email(number: int, *, name: str = "", subject: str = "Card payments fail", address: str = "") -> Email:
    to = Mailbox(address or f"reader{number}@private.example", name)
    return Email(
        sender=Mailbox("status@acme.example", "Acme Pay"), to=to, subject=subject,
        text=f"Hello,\n.a line with a dot\nFrom here to there \u2013 {number}\n.\n",
        html=f"<p>Hello, {number}</p>\n", message_id=f"<pay7.{number}@acme.example>",
        references=("<pay7@acme.example>",), list_unsubscribe="mailto:unsubscribe@acme.example",
        reply_to="help+pay7@acme.example", list_id="incidents.acme.example",
        date=datetime(2026, 11, 21, 10, 5, tzinfo=UTC),
    )  # fmt: skip


def message(channel: Channel, number: int) -> Message:
    if channel is Channel.EMAIL:
        return email(number, name=f"Reader {number}")
    return Sms(f"+4915500{number:06d}", f"Acme Pay: card payments fail ({number}).")


def hand_overs(channel: Channel, count: int) -> list[Delivery]:
    return [Delivery(number, message(channel, number)) for number in range(1, count + 1)]


async def collect(adapter: Adapter, batch: Sequence[Delivery]) -> list[Outcome]:
    return [outcome async for outcome in adapter.send(batch)]


async def send_all(adapter: Adapter, items: Sequence[Delivery]) -> list[Outcome]:
    """Send as a broadcaster does: never more than a window at once, one request or many readers a call."""
    size = adapter.batch_size if adapter.batch_size > 1 else max(adapter.window // 2, 1)
    waiting = [items[start : start + size] for start in range(0, len(items), size)]

    async def work() -> list[Outcome]:
        done = []
        while waiting:
            done.extend(await collect(adapter, waiting.pop(0)))
        return done

    calls = max(adapter.window // size, 1)
    return [each for part in await asyncio.gather(*(work() for _ in range(calls))) for each in part]


class AdapterContract:
    """The rules of commcast/providers/base.py as tests."""

    rig_class: ClassVar[type[Rig]]

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Rig:
        return self.rig_class(tmp_path)

    def test_one_outcome_for_each_delivery(self, rig: Rig) -> None:
        """Each is answered under its own id and arrives once, at nobody else's; no detail tells a secret."""
        items = hand_overs(rig.channel, 25)
        outcomes = rig.send(*items)
        assert sorted(outcome.delivery for outcome in outcomes) == [item.delivery for item in items]
        assert {outcome.kind for outcome in outcomes} == {ACCEPTED}
        everyone = {address_of(item) for item in items}
        assert Counter(one.addresses for one in rig.arrived()) == Counter((each,) for each in everyone)
        for one in rig.arrived():
            assert not [address for address in everyone - set(one.addresses) if address in one.content]
        told = [word for word in (*rig.secrets, *everyone) for each in outcomes if word in each.detail]
        assert told == []

    def test_ids_match(self, rig: Rig) -> None:
        """Each accepted delivery of a request has a provider id of its own."""
        assert len({each.provider_id for each in rig.send(*hand_overs(rig.channel, 5))} - {""}) == 5

    async def test_says_what_it_is(self, rig: Rig) -> None:
        """An adapter names itself, its channel and its limits; unused, it is left at once."""
        async with rig.working() as adapter:
            assert await collect(adapter, []) == []
        assert (adapter.channel, bool(adapter.name)) == (rig.channel, True)
        assert adapter.window >= adapter.batch_size >= 1
        assert list(rig.arrived()) == []

    def test_a_wrong_channel_is_a_mistake_of_ours(self, rig: Rig) -> None:
        """A text for a mail provider is a programming error, never a reader's refusal."""
        other = Channel.SMS if rig.channel is Channel.EMAIL else Channel.EMAIL
        with pytest.raises(TypeError):
            rig.send(*hand_overs(other, 1))

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_hostile_words_break_nothing(self, rig: Rig, text: str) -> None:
        """Whatever a name, subject or text is: one outcome, one message, to its reader alone."""
        item = Delivery(1, _with_words(message(rig.channel, 1), text))
        (outcome,) = rig.send(item)
        assert outcome.kind in {ACCEPTED, REJECTED}
        expected = [(address_of(item),)] if outcome.kind is ACCEPTED else []
        assert [one.addresses for one in rig.arrived()] == expected

    def test_hostile_text_at_random(self, rig: Rig) -> None:
        @settings(max_examples=15, suppress_health_check=list(HealthCheck))
        @given(st.lists(st.text(max_size=80), min_size=1, max_size=4))
        def any_text(texts: list[str]) -> None:
            items = [
                Delivery(number, _with_words(message(rig.channel, number), text))
                for number, text in enumerate(texts, 1)
            ]
            outcomes = rig.send(*items)
            assert sorted(outcome.delivery for outcome in outcomes) == [item.delivery for item in items]
            assert {outcome.kind for outcome in outcomes} <= {ACCEPTED, REJECTED}

        any_text()

    @pytest.mark.parametrize(
        "address", ["", "-", "a@b\r\nRCPT TO:<eve@evil.example>", "+4930\n+4931", "\ud800"]
    )
    def test_an_impossible_address_fails_alone(self, rig: Rig, address: str) -> None:
        """What can't be addressed is refused for good, and the next one is served."""
        bad, good = hand_overs(rig.channel, 2)
        bad = Delivery(1, _with_address(bad.message, address))
        first, second = sorted(rig.send(bad, good), key=lambda each: each.delivery)
        assert first.kind is REJECTED
        assert "eve" not in first.detail
        assert second.kind is ACCEPTED
        assert [one.addresses for one in rig.arrived()] == [(address_of(good),)]

    @pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "left"])
    async def test_the_end_is_bounded_while_the_provider_hangs(self, rig: Rig, is_cancelled: bool) -> None:
        """A cancelled `send` ends with the cancellation, and the context can be left, both soon."""
        async with rig.hanging() as make:
            async with make() as adapter:
                task = asyncio.create_task(collect(adapter, hand_overs(rig.channel, 1)))
                await asyncio.sleep(0.1)  # lets it reach the provider; nothing depends on how far it came
                begin = time.monotonic()
                if is_cancelled:
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
            assert time.monotonic() - begin < BOUNDED
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class TableContract:
    """The outcome table of a provider, which is OUTCOMES of its module, against cases from its documents."""

    module: ModuleType

    def wrong(self) -> list[str]:
        """Return the cases that the table, as it is now, does not answer as it must."""
        raise NotImplementedError

    def test_each_line_is_right_and_needed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each answer means what it must; without any one line, some case goes wrong."""
        assert self.wrong() == []
        lines = self.module.OUTCOMES
        for number, line in enumerate(lines):
            monkeypatch.setattr(self.module, "OUTCOMES", lines[:number] + lines[number + 1 :])
            assert self.wrong() != [], line


class HttpContract(AdapterContract):
    """What every adapter over HTTP must do besides."""

    rig_class: ClassVar[type[HttpRig]]

    @pytest.fixture
    def rig(self, tmp_path: Path) -> HttpRig:
        return self.rig_class(tmp_path)

    def test_a_lost_answer_is_unknown_what_stayed_was_not_taken(self, rig: HttpRig, tmp_path: Path) -> None:
        """Nothing is repeated. A provider that is down is at fault; a certificate needs a person."""
        (item,) = hand_overs(rig.channel, 1)
        for handler, timeout in ((http.hang, 1), (http.reset, 20)):
            (outcome,), server = rig.ask(handler, item, timeout=timedelta(seconds=timeout))
            assert (outcome.kind, [exchange.method for exchange in server.exchanges]) == (UNKNOWN, ["POST"])
        (outcome,), server = rig.ask(rig.takes_one, item, tls=make_certificate(tmp_path).server_context())
        assert (outcome.kind, outcome.blame, server.exchanges) == (NOT_TAKEN, ACCOUNT, [])

        async def refused() -> list[Outcome]:
            async with http.nobody() as url, rig.adapter(url) as adapter:
                return await collect(adapter, [item])

        (outcome,) = asyncio.run(refused())
        assert (outcome.kind, outcome.blame) == (NOT_TAKEN, PROVIDER)

    async def test_all_connections_are_used_and_no_more(self, rig: HttpRig) -> None:
        """Each of them carries a request before any is answered; all others wait for their turn."""
        full, most, here = asyncio.Event(), 0, 0

        async def held(exchange: Exchange, writer: Writer) -> None:
            nonlocal most, here
            here += 1
            most = max(most, here)
            await full.wait()
            here -= 1
            await rig.takes_one(exchange, writer)

        async with HttpStandIn(held) as server, rig.adapter(server.url, connections=3) as adapter:
            items = hand_overs(rig.channel, 4 * adapter.window)
            calls = [asyncio.create_task(send_all(adapter, items)) for _ in range(2)]  # they share the turns
            await server.requested(3)
            full.set()
            outcomes = [each for found in await asyncio.gather(*calls) for each in found]
        assert ({outcome.kind for outcome in outcomes}, most) == ({ACCEPTED}, 3)

    async def test_a_halt_gives_back_at_once_what_has_not_begun(self, rig: HttpRig) -> None:
        items, go_on = hand_overs(rig.channel, 6), asyncio.Event()

        async def held(exchange: Exchange, writer: Writer) -> None:
            await go_on.wait()
            await rig.takes_one(exchange, writer)

        async with HttpStandIn(held) as server, rig.adapter(server.url, connections=1) as adapter:
            first = asyncio.create_task(collect(adapter, items[:1]))
            await server.requested()
            others = [asyncio.create_task(collect(adapter, [item])) for item in items[1:5]]
            await asyncio.sleep(0)
            adapter.halt()
            given_back = [each for found in await asyncio.gather(*others) for each in found]
            given_back += await collect(adapter, items[5:])
            go_on.set()
            assert [each.kind for each in await first] == [ACCEPTED]
        given = {(each.kind, each.blame, each.detail) for each in given_back}
        assert (len(given_back), given) == (5, {(NOT_TAKEN, RECIPIENT, NOT_BEGUN)})
        assert len(server.exchanges) == 1

    async def test_leaving_answers_what_waits(self, rig: HttpRig) -> None:
        """A request in flight is unknown, one that waits for its turn was not taken."""
        async with asyncio.timeout(BOUNDED), HttpStandIn(http.hang) as server:
            async with rig.adapter(server.url, connections=1) as adapter:
                items = hand_overs(rig.channel, 3)
                tasks = [asyncio.create_task(collect(adapter, [item])) for item in items]
                await server.requested()
            kinds = [outcome.kind for part in await asyncio.gather(*tasks) for outcome in part]
        assert sorted(kinds) == [NOT_TAKEN, NOT_TAKEN, UNKNOWN]

    def test_nothing_secret_is_logged_or_told(
        self, rig: HttpRig, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """No credentials, address or words of a message, at DEBUG or in a detail that a provider repeats."""
        (item,) = hand_overs(rig.channel, 1)
        shown = item.message.text if isinstance(item.message, Email) else item.message.body
        told = [*rig.secrets, address_of(item), address_of(item)[1:], *shown.splitlines(), "Basic ", "Bearer"]
        secrets = [word for word in told if len(word) > 5]
        quoting = {"errors": [{"message": " ".join(secrets)}], "message": " ".join(secrets)}
        handlers = [
            rig.takes_one,
            *(http.answer(status, quoting) for status in (400, 401, 429, 500)),
            http.answer(302, "", {"Location": "http://x.invalid/"}),
            http.answer(201, "", {"Set-Cookie": "a=b; Domain=["}),
            http.answer(202, "", {"X-Message-Id": rig.secrets[0]}),
            *(http.garbage, http.reset, http.half(201), http.hang),
        ]
        with caplog.at_level(logging.DEBUG):
            rig.ask(rig.takes_one, item)  # the SDKs make loggers as they go
            for name in list(logging.root.manager.loggerDict):
                caplog.set_level(logging.DEBUG, logger=name)
                logging.getLogger(name).disabled = False
            found = [rig.ask(each, item, timeout=timedelta(milliseconds=500))[0] for each in handlers]
        logged = caplog.text + "".join(capfd.readouterr())
        assert "asyncio" in logged  # somebody does log
        details = " ".join(f"{each.detail} {each.provider_id}" for outcomes in found for each in outcomes)
        assert not [word for word in secrets if word in logged or word in details]

    def test_an_adapter_shows_no_credentials(self, rig: HttpRig) -> None:
        """Not even in a traceback."""
        shown = repr(rig.adapter("http://127.0.0.1:1"))
        assert not [secret for secret in rig.secrets if secret in shown]


def address_of(item: Delivery) -> str:
    return item.message.to.address if isinstance(item.message, Email) else item.message.to


def _with_words(message: Message, text: str) -> Message:
    if isinstance(message, Email):
        return replace(message, to=Mailbox(message.to.address, text), subject=text, text=f"{text}\n")
    return replace(message, body=text)


def _with_address(message: Message, address: str) -> Message:
    if isinstance(message, Email):
        return replace(message, to=Mailbox(address, message.to.name))
    return replace(message, to=address)
