"""SMTP pipelining: several mails in the pipe, and a server that fails at each point of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from commcast.config.settings import SmtpProvider
from commcast.model.incident import Channel
from commcast.model.message import NOT_BEGUN, Delivery, Outcome
from commcast.providers import mime
from commcast.providers.smtp import adapter as smtp_pool
from commcast.providers.smtp import letter as smtp_letter
from commcast.providers.smtp import opening as smtp_opening
from commcast.providers.smtp import pipeline as smtp_pipeline
from commcast.providers.smtp.adapter import SmtpAdapter
from commcast.providers.smtp.pipeline import GARBAGE as NO_REPLY
from commcast.providers.smtp.pipeline import LONGEST_LINE, LONGEST_REPLY, ONE_WRITE, Replies
from tests.providers.contract import collect, email, hand_overs
from tests.providers.kinds import ACCEPTED, NOT_TAKEN, REJECTED, UNKNOWN
from tests.support.idle_clock import IdleClockLoop
from tests.support.servers.http import HOST, make_certificate
from tests.support.servers.smtp import (
    BYTES,
    CLOSE,
    DRIP,
    EACH,
    GARBAGE,
    GOOD,
    MERGED,
    STALL,
    Script,
    Talk,
    scripted_server,
)

# Where something stalls. The idle clock does not let it pass while anything happens; uvloop has a real clock.
STEP = timedelta(seconds=1.5)
PATIENT = timedelta(seconds=20)
LETTERS = {ACCEPTED: "A", REJECTED: "R", UNKNOWN: "U", NOT_TAKEN: "N"}
MAILS = hand_overs(Channel.EMAIL, 6)
PIPELINING = ("PIPELINING", "SIZE 30000000", "8BITMIME")
LOOPS: dict[str, Any] = {"asyncio": IdleClockLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=list(LOOPS.values()), ids=list(LOOPS))
def loop_factory(request: pytest.FixtureRequest) -> Any:
    return request.param


def run(coroutine: Coroutine[Any, Any, Any], factory: Any = IdleClockLoop) -> Any:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


def settings(port: int, **more: Any) -> SmtpProvider:
    timeout = more.pop("timeout", PATIENT)
    made = SmtpProvider.model_validate(
        {"host": HOST, "port": port, "security": "none", "connections": 1, **more}
    )
    return made.model_copy(update={"timeout": timeout})


@asynccontextmanager
async def adapter_for(script: Script, **more: Any) -> AsyncIterator[SmtpAdapter]:
    async with scripted_server(script) as port, SmtpAdapter(settings(port, **more), None) as adapter:
        yield adapter


async def in_two_calls(adapter: SmtpAdapter, items: Sequence[Delivery]) -> list[Outcome]:
    """As a broadcaster does: a first batch as large as the window, and another call for what follows."""
    found = await asyncio.gather(collect(adapter, items[:2]), collect(adapter, items[2:]))
    return sorted((each for part in found for each in part), key=lambda each: each.delivery)


def three(script: Script, factory: Any = IdleClockLoop, **more: Any) -> list[Outcome]:
    """Send three mails through one connection: the second always stands behind the first."""

    stalls = {STALL, DRIP} & {action for actions in script.actions.values() for action in actions}
    more = {"timeout": STEP if stalls else PATIENT, **more}

    async def scenario() -> list[Outcome]:
        async with adapter_for(script, **more) as adapter:
            return await in_two_calls(adapter, MAILS[:3])

    outcomes: list[Outcome] = run(scenario(), factory)
    return outcomes


def in_one_call(
    script: Script, items: Sequence[Delivery], factory: Any = IdleClockLoop, **more: Any
) -> list[Outcome]:
    """Send them by one call; the outcomes come back in order of the deliveries."""

    async def scenario() -> list[Outcome]:
        async with adapter_for(script, **more) as adapter:
            return await collect(adapter, items)

    return sorted(run(scenario(), factory), key=lambda each: each.delivery)


def said(outcomes: Sequence[Outcome]) -> str:
    return "".join(LETTERS[outcome.kind] for outcome in outcomes)


def got(script: Script) -> str:
    """Which readers' mails the server took."""
    return "".join(to.removeprefix("reader")[0] for message in script.messages for to in message.recipients)


# --- a server that fails at each point, for each mail of the three

HARD, SOFT, BYE, ODD = "550 5.7.1 no", "450 4.2.0 later", "421 4.3.2 bye", "299 2.9.9 what"
DEAD = (CLOSE, STALL, GARBAGE, DRIP)

# point, what happens there, the outcomes of the three, whose mail the server took
FIRST = [
    *[("connect", action, "NNN", "") for action in ("554 5.7.1 no", BYE, *DEAD)],
    *[("ehlo", action, "NNN", "") for action in (HARD, BYE, *DEAD)],
    *[("mail", action, "NAA", "23") for action in (HARD, SOFT, BYE, "354 what", *DEAD)],
    ("mail", "552 5.3.4 too large", "RAA", "23"),
    ("mail", ODD, "AAA", "123"),
    *[("rcpt", action, "RAA", "23") for action in (HARD, "550 5.1.1 unknown", "552 5.2.2 full")],
    *[("rcpt", action, "NAA", "23") for action in (SOFT, BYE, "354 what", *DEAD)],
    *[("data", action, "NAA", "23") for action in (SOFT, BYE, ODD, *DEAD)],
    ("data", HARD, "RAA", "23"),
    # A short body is in one write with its dot: whatever happens now, the dot may have arrived.
    *[("body", action, "UNA", "3") for action in (CLOSE, STALL)],
    *[("middle", action, "UNA", "3") for action in (CLOSE, STALL, DRIP)],
    ("middle", GARBAGE, "UNA", "13"),  # it is taken in the end, and nobody believes the answer
    *[("dot", action, "UNA", "3") for action in DEAD],
    *[("dot", action, "NAA", "23") for action in (SOFT, "451 4.3.0 trouble")],
    ("dot", HARD, "RAA", "23"),
    ("dot", BYE, "NNA", "3"),
    ("middle", BYE, "NNA", "3"),
    ("dot", "354 what", "UNA", "3"),
]
# The same for the second, whose envelope stood behind the first one's body.
SECOND = [
    *[("mail", action, "ANA", "13") for action in (HARD, SOFT, "354 what", STALL, GARBAGE, DRIP)],
    *[("mail", action, "AAA", "123") for action in (BYE, CLOSE)],  # a fresh connection: nothing was said yet
    *[("rcpt", action, "ARA", "13") for action in (HARD, "550 5.1.1 unknown")],
    *[("rcpt", action, "ANA", "13") for action in (SOFT, BYE, *DEAD)],
    *[("data", action, "ANA", "13") for action in (SOFT, BYE, ODD, *DEAD)],
    ("data", HARD, "ARA", "13"),
    *[("body", action, "AUN", "1") for action in (CLOSE, STALL)],
    *[("dot", action, "AUN", "1") for action in DEAD],
    *[("dot", action, "ANA", "13") for action in (SOFT, "451 4.3.0 trouble")],
    ("dot", HARD, "ARA", "13"),
    ("dot", BYE, "ANN", "1"),
]
CASES = [*((*case, 1) for case in FIRST), *((*case, 2) for case in SECOND)]


@pytest.mark.parametrize(
    ("point", "action", "became", "taken", "number"),
    CASES,
    ids=[f"{case[4]}-{case[0]}-{case[1].replace(' ', '_')}" for case in CASES],
)
def test_a_server_that_fails(point: str, action: str, became: str, taken: str, number: int) -> None:
    """Each mail gets its own outcome, the server has each mail at most once, and nobody else suffers."""
    script = Script({point: [GOOD] * (number - 1) + [action]}, PIPELINING)
    assert (said(three(script)), got(script)) == (became, taken)


@pytest.mark.parametrize("pace", [MERGED, BYTES])
@pytest.mark.parametrize(
    ("point", "action", "became", "taken", "number"),
    [case for case in CASES if case[1] in {HARD, BYE, CLOSE, GARBAGE}],
    ids=lambda value: str(value).replace(" ", "_"),
)
def test_replies_may_come_in_any_pieces(
    point: str, action: str, became: str, taken: str, number: int, pace: str, loop_factory: Any
) -> None:
    """All together or byte by byte, on both event loops: the same outcomes."""
    script = Script({point: [GOOD] * (number - 1) + [action]}, PIPELINING, pace=pace)
    assert (said(three(script, loop_factory)), got(script)) == (became, taken)


@pytest.mark.parametrize("dot", [GOOD, "250 2.0.0 Ok: queued as EMPTY"])
@pytest.mark.parametrize("wants_empty", [False, True])
def test_a_refused_recipient_gets_a_lone_dot(wants_empty: bool, dot: str) -> None:
    """If DATA is answered with 354 all the same, no content leaves, and the dot's answer is ignored."""
    script = Script({"rcpt": ["550 5.1.1 unknown"], "dot": [dot]}, PIPELINING, wants_empty=wants_empty)
    outcomes = three(script)
    assert (said(outcomes), got(script), script.connections) == ("RAA", "23", 1)
    assert outcomes[0].suppress
    assert {message.raw for message in script.messages if not message.recipients} <= {b""}


@pytest.mark.parametrize("action", [CLOSE, STALL, GARBAGE, BYE])
@pytest.mark.parametrize("point", ["data", "dot"])
def test_a_refused_recipient_stays_refused(point: str, action: str) -> None:
    """Whatever happens to the connection after the refusal, that reader is answered."""
    script = Script({"rcpt": [HARD], point: [action]}, PIPELINING, wants_empty=True)
    assert said(three(script))[0] == "R"
    assert "1" not in got(script)


def test_a_sender_refused_gets_no_dot_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that refuses MAIL, and goes on to 354, may have a recipient: the connection is closed."""
    script = Script({"mail": ["550 5.7.1 no"]}, PIPELINING)

    async def careless(self: Talk, text: str) -> None:
        self.sender = self.sender or "somebody"
        await self.answer("rcpt", "250 2.1.5 ok")
        self.recipients.append(text)

    monkeypatch.setattr(Talk, "rcpt", careless)
    monkeypatch.setattr(script, "wants_empty", True)
    assert said(three(script))[0] == "N"
    assert script.connections == 2
    assert ["reader1" in to for message in script.messages for to in message.recipients] == [False, False]


def test_nested_mail_after_a_refused_body_is_no_refusal_of_the_sender(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that keeps the envelope of a refused mail says 503: the next goes over a fresh connection."""
    script = Script({"dot": [HARD], "mail": [GOOD, "503 5.5.1 nested MAIL command"]}, PIPELINING)
    assert (said(three(script)), got(script), script.connections) == ("RAA", "23", 2)


@pytest.mark.parametrize("early", ["250 2.0.0 ok", "554 5.7.1 no"])
def test_an_answer_to_a_body_that_was_not_sent_counts_for_nothing(early: str) -> None:
    """A server that says more than it was asked is not trusted with a body."""
    script = Script({"data": [f"354 go on\r\n{early}"]}, PIPELINING)
    assert (said(three(script)), got(script)) == ("NAA", "23")


@pytest.mark.parametrize("more", ["421 4.4.2 idle too long", HARD])
def test_an_idle_connection_that_speaks_or_closes_is_dropped(more: str) -> None:
    """A server's word or end while nothing is under way costs no mail."""
    script = Script({"dot": [f"250 2.0.0 Ok\r\n{more}"]}, PIPELINING)

    async def scenario() -> str:
        async with adapter_for(script) as adapter:
            return "".join([said(await collect(adapter, [item])) for item in MAILS[:2]])

    assert (run(scenario()), script.connections) == ("AA", 2)


def test_a_connection_good_for_one_mail_only() -> None:
    """A server that ends each connection after one mail gets every mail, each by a connection of its own."""
    script = Script({"mail": [GOOD, BYE] * 9}, PIPELINING)
    outcomes = three(script)
    assert (said(outcomes), got(script), script.connections) == ("AAA", "123", 3)


# --- one write, and where the dot is


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the pipelined dialogue writes, in order."""
    seen: list[bytes] = []

    class Heard:
        def __init__(self, transport: Any) -> None:
            self._transport = transport

        def write(self, data: bytes) -> None:
            seen.append(data)
            self._transport.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._transport, name)

    real = smtp_pipeline.Pipeline.__init__

    def listen(self: Any, *args: Any) -> None:
        real(self, *args)
        self._transport = Heard(self._transport)

    monkeypatch.setattr(smtp_pipeline.Pipeline, "__init__", listen)
    return seen


def test_many_mails_take_a_write_each(writes: list[bytes], loop_factory: Any) -> None:
    """The body of one and the envelope of the next leave together: N mails, N + 2 writes, QUIT included."""
    script = Script({}, PIPELINING, pace=MERGED)
    assert said(in_one_call(script, hand_overs(Channel.EMAIL, 40), loop_factory)) == "A" * 40
    assert len(script.messages) == 40
    assert len(writes) == 42
    assert writes[0].startswith(b"MAIL FROM:<status@acme.example> SIZE=")
    assert writes[1].count(b"\r\n.\r\nMAIL FROM:<") == 1


def test_a_mail_that_comes_while_a_body_is_on_its_way_is_announced_at_once(writes: list[bytes]) -> None:
    """Its envelope does not wait for the answer to the body before it."""
    script, first, second = Script({"dot": [STALL]}, PIPELINING), *MAILS[:2]

    async def scenario() -> None:
        async with adapter_for(script) as adapter:
            calls = [asyncio.create_task(collect(adapter, [first]))]
            while len(writes) < 2:
                await asyncio.sleep(0.001)
            calls.append(asyncio.create_task(collect(adapter, [second])))
            while len(writes) < 3:
                await asyncio.sleep(0.001)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    run(scenario())
    assert writes[2].startswith(b"MAIL FROM:")
    assert b"RCPT TO:<reader2@" in writes[2]


def test_the_dot_of_a_large_body_leaves_after_the_body(
    writes: list[bytes], monkeypatch: pytest.MonkeyPatch, loop_factory: Any
) -> None:
    """A larger body goes first, and its dot with the next envelope when the kernel has it all."""
    large = b"Subject: x\r\n\r\n" + (b"0123456789" * 90 + b"\r\n") * 4_000
    monkeypatch.setattr(mime, "wire", lambda _: large)
    script = Script({}, PIPELINING)
    assert said(three(script, loop_factory)) == "AAA"
    first = writes.index(next(write for write in writes if write.startswith(b".\r\n")))
    assert b"".join(writes[1:first]) == large
    assert writes[first].startswith(b".\r\nMAIL FROM:")
    assert [message.raw for message in script.messages] == [large] * 3


@pytest.mark.parametrize("action", [CLOSE, STALL, "552 5.3.4 too much"])
@pytest.mark.parametrize("security", ["none", "starttls"])
def test_a_large_body_that_stalls_is_not_taken(
    action: str, security: str, monkeypatch: pytest.MonkeyPatch, loop_factory: Any, tmp_path: Path
) -> None:
    """While a part of it is in our buffer its dot is nowhere: certainly not taken, also over TLS."""
    bodies = iter([b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 2_000_000])
    small = b"Subject: y\r\n\r\nsmall\r\n"
    monkeypatch.setattr(mime, "wire", lambda _: next(bodies, small))
    certificate = make_certificate(tmp_path)
    script = Script({"body": [action if action == CLOSE else STALL]}, ["STARTTLS", *PIPELINING], certificate)
    if action.startswith("552"):
        script.actions = {"body": [action]}
    more: dict[str, Any] = {"security": security, "timeout": STEP}
    if security == "starttls":
        more["ca_file"] = str(certificate.pem)
    assert (said(three(script, loop_factory, **more)), got(script)) == ("NAA", "23")


@pytest.mark.parametrize(("action", "became"), [(STALL, "N"), (CLOSE, "U")])
def test_a_small_body_stuck_in_our_own_buffer(
    action: str, became: str, monkeypatch: pytest.MonkeyPatch, loop_factory: Any
) -> None:
    """If the dot is surely still ours it is not taken; where one cannot know any more, unknown."""
    real = smtp_opening._dial

    async def narrow(*args: Any) -> socket.socket:
        sock = await real(*args)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        return sock

    monkeypatch.setattr(smtp_opening, "_dial", narrow)
    monkeypatch.setattr(
        mime, "wire", lambda _: b"Subject: x\r\n\r\n" + b"0123456789\r\n" * (ONE_WRITE // 12 - 3)
    )
    script = Script({"body": [action]}, PIPELINING)
    assert said(in_one_call(script, MAILS[:1], loop_factory, timeout=STEP)) == became


# --- stopping


def test_a_halt_gives_back_what_is_not_begun() -> None:
    """What is under way may finish; what waits comes back at once, as not begun, also in later calls."""
    script = Script({"dot": [STALL]}, PIPELINING)

    async def scenario() -> tuple[list[Outcome], list[Outcome]]:
        async with adapter_for(script, timeout=STEP) as adapter:
            call = asyncio.create_task(collect(adapter, MAILS))
            while not script.used["dot"]:
                await asyncio.sleep(0.001)
            adapter.halt()
            later = await collect(adapter, MAILS[:2])
            return await call, later

    outcomes, later = run(scenario())
    assert {outcome.detail for outcome in later} == {NOT_BEGUN}
    assert [outcome.delivery for outcome in outcomes if outcome.detail == NOT_BEGUN] == [3, 4, 5, 6]
    assert said(sorted(outcomes, key=lambda each: each.delivery)) == "UNNNNN"


class Late(smtp_opening.Opening):
    """A connection that is there in the moment in which it is cancelled: asyncio.wait_for of Python 3.11,
    which the library uses, gives the answer and forgets the cancellation when both come in one turn."""

    ready = asyncio.Event()
    cancels = 1  # until it heeds one

    async def run(self) -> aiosmtplib.SMTP:
        client = await super().run()
        Late.ready.set()
        for _ in range(Late.cancels):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return client


@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize("extensions", [PIPELINING, ()])
def test_a_connection_that_comes_while_we_leave_is_closed(
    cancels: int, extensions: Sequence[str], loop_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would end it any more: it would stand open until the loop is torn down around it."""
    monkeypatch.setattr(smtp_pool, "Opening", Late)
    monkeypatch.setattr(Late, "ready", asyncio.Event())
    monkeypatch.setattr(Late, "cancels", cancels)
    script = Script({}, extensions)

    async def scenario() -> list[Outcome]:
        async with scripted_server(script) as port:
            async with SmtpAdapter(settings(port), None) as adapter:
                call = asyncio.create_task(collect(adapter, MAILS[:1]))
                await Late.ready.wait()
                adapter.halt()
                outcomes = await call
            while not script.ended:
                await asyncio.sleep(0.001)
            return outcomes

    outcomes = run(asyncio.wait_for(scenario(), PATIENT.total_seconds()), loop_factory)
    assert [outcome.detail for outcome in outcomes] == [NOT_BEGUN]
    assert script.ended == script.connections == 1


@pytest.mark.parametrize("point", ["connect", "mail", "rcpt", "data", "dot"])
def test_a_cancelled_call_hurts_no_other(point: str, loop_factory: Any) -> None:
    """Cancelled at any point: the mails of another call get through."""
    script = Script({point: [STALL]}, PIPELINING)

    async def scenario() -> list[Outcome]:
        async with adapter_for(script, timeout=2 * STEP) as adapter:
            call = asyncio.create_task(collect(adapter, MAILS[:1]))
            while not script.used[point]:
                await asyncio.sleep(0.001)
            other = asyncio.create_task(collect(adapter, MAILS[1:3]))
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            return await other

    outcomes = run(scenario(), loop_factory)
    behind_a_body = point == "dot"  # the first of them had its envelope behind the body that got no answer
    assert said(outcomes) == ("NN" if point == "connect" else "NA" if behind_a_body else "AA")
    assert "1" not in got(script)


def test_a_letter_that_waits_too_long_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline counts from the call of `send`, waiting for a connection included."""
    monkeypatch.setattr("commcast.providers.smtp.adapter.DEADLINE_STEPS", 1)
    script = Script({"dot": [STALL] * 9}, PIPELINING)
    outcomes = in_one_call(script, MAILS[:3], timeout=STEP)
    assert said(outcomes) == "UNN"
    assert outcomes[2].detail == NOT_BEGUN
    assert script.connections == 1


@pytest.mark.parametrize(("per_second", "became"), [(0, ""), (20, "A")])
def test_only_where_nothing_is_paced_does_a_letter_wait_for_the_first_opening(
    per_second: int, became: str
) -> None:
    """A letter that has its slot goes by a connection of its own: those that waited would go all at once."""
    script = Script({"connect": [STALL]}, PIPELINING)

    async def scenario() -> str:
        async with adapter_for(script, connections=2, per_second=per_second) as adapter:
            calls = [asyncio.create_task(collect(adapter, [item])) for item in MAILS[:2]]
            while not script.connections:
                await asyncio.sleep(0.001)
            if per_second:
                done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                return "".join(said(call.result()) for call in done)[:1]
            return "A" * (script.connections - 1)

    assert run(scenario()) == became


# --- TLS, on both event loops


@pytest.mark.parametrize("pace", [EACH, MERGED])
def test_pipelining_after_starttls(tmp_path: Path, loop_factory: Any, pace: str) -> None:
    """What EHLO offers after TLS counts, and the bare transport is the encrypted one."""
    certificate = make_certificate(tmp_path)
    script = Script({"rcpt": [GOOD, HARD]}, ["STARTTLS", *PIPELINING], certificate, pace=pace)
    outcomes = three(script, loop_factory, security="starttls", ca_file=str(certificate.pem))
    assert (said(outcomes), got(script), script.connections) == ("ARA", "13", 1)
    assert [message.secure for message in script.messages] == [True, True]


@pytest.mark.parametrize("point", ["mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize("action", [CLOSE, STALL])
def test_a_connection_lost_over_tls(tmp_path: Path, loop_factory: Any, point: str, action: str) -> None:
    """The same outcomes as in the clear."""
    certificate = make_certificate(tmp_path)
    script = Script({point: [action]}, ["STARTTLS", *PIPELINING], certificate)
    outcomes = three(script, loop_factory, security="starttls", ca_file=str(certificate.pem), timeout=STEP)
    assert said(outcomes) == ("UNA" if point == "dot" else "NAA")


# --- letters


@given(st.text(alphabet="ab0.+_-@ <>\r\n\x00\u00e9'", max_size=20))
def test_the_short_way_to_an_address_is_the_long_way(address: str) -> None:
    """The pattern for plain addresses lets through what `mime.wire_address` leaves as it is, and no more."""

    def outcome(make: Callable[[str], str | bytes]) -> str:
        try:
            made = make(address)
        except ValueError as error:
            return str(error)
        return made.decode() if isinstance(made, bytes) else made

    assert outcome(smtp_letter._address) == outcome(mime.wire_address)


def test_an_address_that_needs_smtputf8_fails_alone_amid_a_pipeline() -> None:
    """It is refused before anything of it is said; the envelope behind the body is the next reader's."""
    script = Script({}, PIPELINING)
    other = replace(MAILS[1], message=email(2, address="d\u00e1na@private.example"))
    assert said(in_one_call(script, [MAILS[0], other, *MAILS[2:4]])) == "ARAA"
    assert script.connections == 1


# --- the parser

LINES = st.text(alphabet="abc 25.-\u00e9", max_size=12)
REPLIES = st.lists(st.tuples(st.integers(200, 599), st.lists(LINES, min_size=1, max_size=4)), max_size=6)


@given(REPLIES, st.lists(st.integers(0, 400), max_size=30), st.booleans())
def test_a_reply_is_the_same_in_any_pieces(
    replies: list[tuple[int, list[str]]], cuts: list[int], bare: bool
) -> None:
    """However the bytes are cut, whole replies come out, as they were put in."""
    end = "\n" if bare else "\r\n"
    wire = "".join(
        f"{code}{' ' if number == len(lines) else '-'}{line}{end}"
        for code, lines in replies
        for number, line in enumerate(lines, 1)
    ).encode()
    parser, found = Replies(), list[tuple[int, bytes]]()
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    for start, stop in pairwise(edges):
        found += parser.feed(wire[start:stop])
    assert [(code, text.decode().replace("\r", "").rstrip("\n")) for code, text in found] == [
        (code, "\n".join(lines).rstrip("\n")) for code, lines in replies
    ]
    assert not parser.is_amid


@given(st.binary(max_size=200), st.integers(1, 20))
def test_any_bytes_at_all_end_in_replies_or_in_garbage(data: bytes, size: int) -> None:
    """The parser never raises, and gives no code that is none."""
    parser = Replies()
    for start in range(0, len(data), size):
        for code, _ in parser.feed(data[start : start + size]):
            assert code == NO_REPLY or 100 <= code < 600
            if code == NO_REPLY:
                return


@pytest.mark.parametrize(
    "wire",
    [
        b"x" * (LONGEST_LINE + 1),
        b"250 " + b"x" * LONGEST_LINE + b"\r\n",
        b"250-x\r\n" * (LONGEST_REPLY // 6) + b"250 x\r\n",
        b"250-one\r\n550 two\r\n",
        *(
            b"25\r\n",
            b"2500 ok\r\n",
            b"250_ok\r\n",
            b"000 ok\r\n",
            b"999 ok\r\n",
            b"\r\n",
            b"\xb2\xb5\xb0 ok\r\n",
        ),
    ],
)
def test_what_is_no_reply(wire: bytes) -> None:
    """Endless lines and replies, two codes in one reply, codes that are none."""
    assert Replies().feed(wire)[-1] == (NO_REPLY, b"")
