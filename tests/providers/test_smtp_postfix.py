"""SMTP against Postfix's own code: its test sink with every fault it offers, and a whole Postfix."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvloop

from commcast.config.settings import SmtpProvider
from commcast.model.incident import Channel
from commcast.model.message import Delivery, Outcome, OutcomeKind
from commcast.providers.smtp import adapter as smtp_pool
from commcast.providers.smtp.adapter import SmtpAdapter
from commcast.providers.smtp.dialogue import Dialogue
from commcast.providers.smtp.pipeline import Pipeline
from tests.providers.contract import collect, email, hand_overs
from tests.providers.kinds import ACCEPTED, NOT_TAKEN, REJECTED, UNKNOWN
from tests.support.servers.http import HOST, make_certificate
from tests.support.servers.postfix import real_postfix, smtp_sink


@pytest.fixture
def talks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kind of every connection that is opened."""
    opened: list[str] = []

    def noting(kind: type[Pipeline] | type[Dialogue]) -> Callable[..., Pipeline | Dialogue]:
        def make(*args: Any) -> Pipeline | Dialogue:
            opened.append(kind.__name__)
            return kind(*args)

        return make

    monkeypatch.setattr(smtp_pool, "Pipeline", noting(Pipeline))
    monkeypatch.setattr(smtp_pool, "Dialogue", noting(Dialogue))
    return opened


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


async def window_by_window(adapter: SmtpAdapter, items: Sequence[Delivery]) -> list[Outcome]:
    """Keep `window` hand-overs going, each in a call of its own."""
    waiting, done = list(reversed(items)), list[Outcome]()

    async def work() -> None:
        while waiting:
            done.extend(await collect(adapter, [waiting.pop()]))

    await asyncio.gather(*(work() for _ in range(adapter.window)))
    return sorted(done, key=lambda each: each.delivery)


def deliver(port: int, items: Sequence[Delivery], connections: int = 8, **more: Any) -> list[Outcome]:
    settings = {"host": HOST, "port": port, "security": "none", "connections": connections, **more}

    async def scenario() -> list[Outcome]:
        async with SmtpAdapter(SmtpProvider.model_validate(settings), None) as adapter:
            return await window_by_window(adapter, items)

    outcomes: list[Outcome] = run(scenario())
    return outcomes


# --- the sink


@pytest.mark.parametrize(
    ("options", "kind"), [((), "Pipeline"), (("-p",), "Dialogue"), (("-e",), "Dialogue")]
)
def test_the_sink_takes_each_of_hundreds_once(options: tuple[str, ...], kind: str, talks: list[str]) -> None:
    """Over several connections, by both roads, also where it knows no EHLO."""
    with smtp_sink(*options) as sink:
        outcomes = deliver(sink.port, hand_overs(Channel.EMAIL, 400))
        received = sink.messages()
    assert {outcome.kind for outcome in outcomes} == {ACCEPTED}
    assert set(talks) == {kind}
    assert len(talks) <= 8
    counted = Counter(message.recipients for message in received)
    assert counted == Counter((f"reader{number}@private.example",) for number in range(1, 401))


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        # These leave PIPELINING on. After "." the second is a mail whose envelope stood behind.
        *[(("-q", point), {NOT_TAKEN}) for point in ("connect", "ehlo", "mail", "rcpt", "data")],
        (("-q", "."), {UNKNOWN, NOT_TAKEN}),
        *[(("-Q", point), {NOT_TAKEN}) for point in ("mail", "rcpt", "data", ".")],
        (("-A", "0"), {REJECTED, NOT_TAKEN, UNKNOWN}),
        # These switch it off.
        *[(("-r", point), {NOT_TAKEN}) for point in ("rcpt", "data", ".")],
        *[(("-f", point), {REJECTED}) for point in ("rcpt", "data", ".")],
        (("-f", "mail"), {NOT_TAKEN}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_sink_fails(options: tuple[str, ...], kinds: set[OutcomeKind]) -> None:
    """Each of its faults: one outcome a mail, and none that says accepted."""
    with smtp_sink(*options) as sink:
        outcomes = deliver(sink.port, hand_overs(Channel.EMAIL, 12), connections=2)
    assert [outcome.delivery for outcome in outcomes] == list(range(1, 13))
    assert {outcome.kind for outcome in outcomes} <= kinds


@pytest.mark.parametrize("options", [("-w", "1"), ("-H", "1", "-T", "2048")])
def test_the_sink_is_slow(options: tuple[str, ...]) -> None:
    """Slow answers, slow reading through a tiny window: all get through."""
    with smtp_sink(*options) as sink:
        outcomes = deliver(sink.port, hand_overs(Channel.EMAIL, 4), connections=4)
        received = sink.messages()
    assert {outcome.kind for outcome in outcomes} == {ACCEPTED}
    assert len(received) == 4


# --- a whole Postfix


@pytest.mark.parametrize("security", ["none", "starttls"])
def test_postfix_takes_thousands(security: str, talks: list[str], tmp_path: Path) -> None:
    """Pipelined, in the clear and over TLS: each reader's mail once; only unknown readers are refused."""
    certificate = make_certificate(tmp_path)
    count = 2_000 if security == "none" else 300
    items = hand_overs(Channel.EMAIL, count)
    unknown = {7, 8, 50, 51, 52, 250}
    for number in unknown:
        items[number - 1] = Delivery(number, email(number, address=f"nobody{number}@private.example"))
    with real_postfix(certificate) as postfix:
        outcomes = deliver(postfix.port, items, security=security, ca_file=str(certificate.pem))
        delivered = postfix.delivered(count - len(unknown))
    assert set(talks) == {"Pipeline"}
    assert len(talks) <= 8
    refused = {outcome.delivery for outcome in outcomes if outcome.kind is REJECTED}
    assert refused == unknown
    assert all(outcome.suppress for outcome in outcomes if outcome.delivery in unknown)
    assert {outcome.kind for outcome in outcomes if outcome.delivery not in unknown} == {ACCEPTED}
    assert len({outcome.provider_id for outcome in outcomes if outcome.kind is ACCEPTED} - {""}) == count - 6
    told = [f"reader{number}@private.example" for number in range(1, count + 1) if number not in unknown]
    assert delivered == Counter(told)


def test_a_whole_window_of_unknown_readers(talks: list[str]) -> None:
    """Refused recipients behind each other in the pipe hurt neither one another nor who comes next."""
    addresses = ["nobody1", "nobody2", "nobody3", "nobody4", "reader5", "nobody6"]
    items = [
        Delivery(number, email(number, address=f"{name}@private.example"))
        for number, name in enumerate(addresses, 1)
    ]
    with real_postfix() as postfix:
        outcomes = deliver(postfix.port, items, connections=1)
        delivered = postfix.delivered(1)
    assert [outcome.kind is REJECTED for outcome in outcomes] == [n != 5 for n in range(1, 7)]
    assert delivered == {"reader5@private.example": 1}
    assert talks == ["Pipeline"]
