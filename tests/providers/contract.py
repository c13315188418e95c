"""What every adapter must do, whoever the provider is.

A new adapter joins with a few lines: a `Rig` (how to make it, what arrived, a provider that hangs), and

    class TestMine(AdapterContract):
        rig_class = MyRig
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commcast.model.incident import Channel
from commcast.model.message import Blame, Delivery, Email, Mailbox, Message, Outcome, OutcomeKind, Sms
from commcast.providers.base import Adapter

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
UNKNOWN, NOT_TAKEN = OutcomeKind.UNKNOWN, OutcomeKind.NOT_TAKEN
RECIPIENT, PROVIDER, ACCOUNT = Blame.RECIPIENT, Blame.PROVIDER, Blame.ACCOUNT
BOUNDED = 8.0  # seconds in which a context must be left, whatever the provider does

HOSTILE = {
    "line breaks": "Dana\r\nBcc: eve@evil.example\r\n\r\nbody",
    "lone CR": "Dana\rBcc: eve@evil.example",
    "other line ends": "Dana\x0b\x0c\x85\u2028Bcc: eve@evil.example",
    "encoded line breaks": "=?utf-8?q?=0D=0ABcc:_eve@evil.example?=",
    "semicolon and comma": "Reyes; Dana, <eve@evil.example>",
    "quotes": 'Dana "Dee\\" Reyes',
    "RTL": "\u05d3\u05e0\u05d4 \u202egnp.exe\u202c",
    "emoji": "\U0001f6a8 Dana \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "long": "x" * 1000,
    "long and not ASCII": "\u00e9" * 1000,
    "lone surrogate": "Dana \ud800",
    "template": "{{ 7 * 7 }} -sub- %s",
    "empty": "",
}


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


def email(number: int, *, name: str = "", subject: str = "Card payments fail", address: str = "") -> Email:
    to = Mailbox(address or f"reader{number}@private.example", name)
    return Email(
        sender=Mailbox("status@acme.example", "Acme Pay"),
        to=to,
        subject=subject,
        text=f"Hello,\n.a line with a dot\nFrom here to there \u2013 {number}\n.\n",
        html=f"<p>Hello, {number}</p>\n",
        message_id=f"<pay7.{number}@acme.example>",
        references=("<pay7@acme.example>",),
        reply_to="help+pay7@acme.example",
        list_unsubscribe="mailto:unsubscribe@acme.example",
        list_id="incidents.acme.example",
        date=datetime(2026, 11, 21, 10, 5, tzinfo=UTC),
    )


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


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


class AdapterContract:
    """The rules of commcast/providers/base.py as tests."""

    rig_class: ClassVar[type[Rig]]

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        yield self.rig_class(tmp_path)

    def test_one_outcome_for_each_hand_over(self, rig: Rig) -> None:
        """Every delivery is answered once, under its own id, and its message arrives once."""
        items = hand_overs(rig.channel, 25)

        async def scenario() -> list[Outcome]:
            async with rig.working() as adapter:
                return await send_all(adapter, items)

        outcomes = run(scenario())
        assert sorted(outcome.delivery for outcome in outcomes) == [item.delivery for item in items]
        assert {outcome.kind for outcome in outcomes} == {OutcomeKind.ACCEPTED}
        assert Counter(one.addresses for one in rig.arrived()) == Counter((_to(item),) for item in items)

    def test_ids_match(self, rig: Rig) -> None:
        """Each accepted delivery has a provider id of its own."""

        async def scenario() -> list[Outcome]:
            async with rig.working() as adapter:
                return await send_all(adapter, hand_overs(rig.channel, 5))

        assert len({outcome.provider_id for outcome in run(scenario())} - {""}) == 5

    def test_nobody_sees_anothers_address(self, rig: Rig) -> None:
        """A message names no recipient but its own."""
        items = hand_overs(rig.channel, 8)

        async def scenario() -> None:
            async with rig.working() as adapter:
                await send_all(adapter, items)

        run(scenario())
        everyone = {_to(item) for item in items}
        for one in rig.arrived():
            assert not [address for address in everyone - set(one.addresses) if address in one.content]

    def test_says_what_it_is(self, rig: Rig) -> None:
        """An adapter names itself, its channel and its limits."""

        async def scenario() -> Adapter:
            async with rig.working() as adapter:
                return adapter

        adapter = run(scenario())
        assert adapter.channel is rig.channel
        assert adapter.name
        assert adapter.batch_size >= 1
        assert adapter.connections >= 1

    def test_nothing_to_send(self, rig: Rig) -> None:
        """An empty batch gives no outcome, and an unused context is left at once."""

        async def scenario() -> list[Outcome]:
            async with rig.working() as adapter:
                return await collect(adapter, [])

        assert run(scenario()) == []
        assert list(rig.arrived()) == []

    @pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
    def test_hostile_words_break_nothing(self, rig: Rig, text: str) -> None:
        """Whatever a name, subject or text holds: one outcome, one message, to its reader alone."""
        item = Delivery(1, _with_words(message(rig.channel, 1), text))

        async def scenario() -> list[Outcome]:
            async with rig.working() as adapter:
                return await collect(adapter, [item])

        (outcome,) = run(scenario())
        assert outcome.kind in {OutcomeKind.ACCEPTED, OutcomeKind.REJECTED}
        expected = [(_to(item),)] if outcome.kind is OutcomeKind.ACCEPTED else []
        assert [one.addresses for one in rig.arrived()] == expected

    def test_hostile_text_at_random(self, rig: Rig) -> None:
        """The same for any text at all."""

        @settings(max_examples=15, suppress_health_check=list(HealthCheck))
        @given(st.lists(st.text(max_size=80), min_size=1, max_size=4))
        def any_text(texts: list[str]) -> None:
            items = [
                Delivery(number, _with_words(message(rig.channel, number), text))
                for number, text in enumerate(texts, 1)
            ]

            async def scenario() -> list[Outcome]:
                async with rig.working() as adapter:
                    return await collect(adapter, items)

            outcomes = run(scenario())
            assert sorted(outcome.delivery for outcome in outcomes) == [item.delivery for item in items]
            assert {outcome.kind for outcome in outcomes} <= {OutcomeKind.ACCEPTED, OutcomeKind.REJECTED}

        any_text()

    @pytest.mark.parametrize(
        "address", ["", "-", "a@b\r\nRCPT TO:<eve@evil.example>", "+4930\n+4931", "\ud800"]
    )
    def test_an_impossible_address_fails_alone(self, rig: Rig, address: str) -> None:
        """What cannot be addressed is refused for good, and the next one is served."""
        bad, good = hand_overs(rig.channel, 2)
        bad = Delivery(1, _with_address(bad.message, address))

        async def scenario() -> list[Outcome]:
            async with rig.working() as adapter:
                return [*await collect(adapter, [bad]), *await collect(adapter, [good])]

        first, second = run(scenario())
        assert first.kind is OutcomeKind.REJECTED
        assert "eve" not in first.detail
        assert second.kind is OutcomeKind.ACCEPTED
        assert [one.addresses for one in rig.arrived()] == [(_to(good),)]

    def test_a_cancelled_send_ends_at_once(self, rig: Rig) -> None:
        """Cancelling ends `send` with the cancellation, soon, and the context can be left."""

        async def scenario() -> float:
            async with rig.hanging() as make:
                begin = time.monotonic()
                async with make() as adapter:
                    task = asyncio.create_task(collect(adapter, hand_overs(rig.channel, 1)))
                    await asyncio.sleep(0.1)  # lets it reach the provider; nothing depends on how far it came
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                return time.monotonic() - begin

        assert run(scenario()) < BOUNDED

    def test_leaving_is_bounded_while_the_provider_hangs(self, rig: Rig) -> None:
        """A context is left in bounded time though a hand-over is still waiting for its answer."""

        async def scenario() -> float:
            async with rig.hanging() as make:
                adapter = make()
                await adapter.__aenter__()
                task = asyncio.create_task(collect(adapter, hand_overs(rig.channel, 1)))
                await asyncio.sleep(0.1)
                begin = time.monotonic()
                await adapter.__aexit__(None, None, None)
                spent = time.monotonic() - begin
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                return spent

        assert run(scenario()) < BOUNDED

    def test_details_hold_no_secret_and_no_address(self, rig: Rig) -> None:
        """What is stored and shown names neither the reader nor a password."""
        items = hand_overs(rig.channel, 3)

        async def scenario() -> list[Outcome]:
            async with rig.working() as adapter:
                return await send_all(adapter, items)

        for outcome in run(scenario()):
            assert not [word for word in (*rig.secrets, *map(_to, items)) if word in outcome.detail]


def _to(item: Delivery) -> str:
    return item.message.to.address if isinstance(item.message, Email) else item.message.to


def _with_words(message: Message, text: str) -> Message:
    if isinstance(message, Email):
        return replace(message, to=Mailbox(message.to.address, text), subject=text, text=f"{text}\n")
    return replace(message, body=text)


def _with_address(message: Message, address: str) -> Message:
    if isinstance(message, Email):
        return replace(message, to=Mailbox(address, message.to.name))
    return replace(message, to=address)


@asynccontextmanager
async def entered(adapter: Adapter) -> AsyncIterator[Adapter]:
    """An adapter in its open context."""
    async with adapter:
        yield adapter
