"""SMTP connections: a server that fails at each point of a transaction, and a whole Postfix."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise, product
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import aiosmtplib
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from commcast.model.incident import Channel
from commcast.model.message import NOT_BEGUN, Delivery, Outcome
from commcast.providers import mime
from commcast.providers.smtp import adapter as smtp_pool
from commcast.providers.smtp import opening as smtp_opening
from commcast.providers.smtp.adapter import SmtpAdapter
from commcast.providers.smtp.connection import GARBAGE as NO_REPLY
from commcast.providers.smtp.connection import LONGEST_LINE, LONGEST_REPLY, ONE_WRITE, Connection, Replies
from tests.providers.contract import collect, email, hand_overs
from tests.providers.kinds import ACCEPTED, NOT_TAKEN, REJECTED, UNKNOWN
from tests.support.idle_clock import IdleClockLoop
from tests.support.servers import smtp as standins
from tests.support.servers.http import make_certificate
from tests.support.servers.smtp import (
    CLOSE,
    DRIP,
    EACH,
    GARBAGE,
    GOOD,
    MERGED,
    PIPELINING,
    STALL,
    STEP,
    Script,
)

LETTERS = {ACCEPTED: "A", REJECTED: "R", UNKNOWN: "U", NOT_TAKEN: "N"}
MAILS = hand_overs(Channel.EMAIL, 6)
LOOPS: dict[str, Any] = {"asyncio": IdleClockLoop, "uvloop": uvloop.new_event_loop}
BOTH_LOOPS = pytest.mark.parametrize("loop", LOOPS)
Writes = Callable[[], list[bytes]]
LINES = st.text(alphabet="abc 25.-\u00e9", max_size=12)
REPLIES = st.lists(st.tuples(st.integers(200, 599), st.lists(LINES, min_size=1, max_size=4)), max_size=6)


async def until(holds: Callable[[], object]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


def in_calls(script: Script, *calls: Sequence[Delivery], loop: str = "asyncio", **more: Any) -> list[Outcome]:
    """Send by several calls at once; the outcomes come back in order of the deliveries."""

    async def scenario() -> list[Outcome]:
        async with standins.adapter_for(script, **more) as adapter:
            found = await asyncio.gather(*(collect(adapter, items) for items in calls))
            return sorted((each for part in found for each in part), key=lambda each: each.delivery)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(scenario())


def three(script: Script, **more: Any) -> list[Outcome]:
    """Send three emails by one connection, as a broadcast does: a window's worth, and what follows."""
    return in_calls(script, MAILS[:2], MAILS[2:3], **more)


def said(outcomes: Sequence[Outcome]) -> str:
    return "".join(LETTERS[outcome.kind] for outcome in outcomes)


def got(script: Script) -> str:
    """Whose emails the server took."""
    return "".join(to.removeprefix("reader")[0] for message in script.messages for to in message.recipients)


HARD, SOFT, BYE, ODD = "550 5.1.1 no", "450 4.2.0 later", "421 4.3.2 bye", "299 2.9.9 what"
DEAD = (CLOSE, STALL, GARBAGE, DRIP)
WORDS = {CLOSE: "broke", STALL: "repl", DRIP: "repl", GARBAGE: "repl"}  # found in a detail

# For which email, at which point, what happens; the outcomes of the three, pipelined and else. A short body
# is in one write with its dot: whatever happens then, the dot may have arrived.
FAILS: list[tuple[int, str, tuple[str, ...], str, str]] = [
    (1, "connect", ("554 5.7.1 no", BYE, *DEAD), "NNN", "NNN"),
    (1, "ehlo", (HARD, BYE, *DEAD), "NNN", "NNN"),
    (1, "mail", (HARD, "552 5.3.4 too large", SOFT, BYE, "354 what", *DEAD), "NAA", "NAA"),
    (1, "mail", (ODD,), "AAA", "AAA"),
    (1, "rcpt", (HARD, "552 5.2.2 full"), "RAA", "RAA"),
    (1, "rcpt", (SOFT, BYE, "354 what", *DEAD), "NAA", "NAA"),
    (1, "data", (SOFT, BYE, ODD, *DEAD), "NAA", "NAA"),
    (1, "data", (HARD,), "RAA", "RAA"),
    (1, "body", (CLOSE, STALL), "UNA", "UAA"),
    (1, "middle", DEAD, "UNA", "UAA"),
    (1, "middle", (BYE,), "NNA", "NAA"),
    (1, "dot", (*DEAD, "354 what"), "UNA", "UAA"),
    (1, "dot", (SOFT, "451 4.3.0 trouble"), "NAA", "NAA"),
    (1, "dot", (HARD,), "RAA", "RAA"),
    (1, "dot", (BYE,), "NNA", "NAA"),
    # The envelope of the second stands behind the body of the first.
    (2, "mail", (HARD, SOFT, "354 what", STALL, GARBAGE, DRIP), "ANA", "ANA"),
    (2, "mail", (BYE, CLOSE), "AAA", "AAA"),  # a fresh connection: nothing was said yet
    (2, "rcpt", (HARD,), "ARA", "ARA"),
    (2, "rcpt", (SOFT, BYE, *DEAD), "ANA", "ANA"),
    (2, "data", (SOFT, BYE, ODD, *DEAD), "ANA", "ANA"),
    (2, "data", (HARD,), "ARA", "ARA"),
    (2, "body", (CLOSE, STALL), "AUN", "AUA"),
    (2, "dot", DEAD, "AUN", "AUA"),
    (2, "dot", (SOFT, "451 4.3.0 trouble"), "ANA", "ANA"),
    (2, "dot", (HARD,), "ARA", "ARA"),
    (2, "dot", (BYE,), "ANN", "ANA"),
]


# In which ways: all of them for what can be said in pieces.
FEW = [(road, EACH, "asyncio") for road in ("plain", "pipelined", "tls")]
MANY = [*FEW, *product(["pipelined"], (MERGED, standins.BYTES), LOOPS), ("tls", MERGED, "uvloop")]
CASES = [
    (number, point, action, plain if way[0] == "plain" else pipelined, *way)
    for number, point, actions, pipelined, plain in FAILS
    for action in actions
    for way in (MANY if action in {HARD, BYE, CLOSE, GARBAGE} else FEW)
]


@pytest.mark.parametrize(("number", "point", "action", "became", "road", "pace", "loop"), CASES)
def test_a_server_that_fails(
    number: int, point: str, action: str, became: str, road: str, pace: str, loop: str, tmp_path: Path
) -> None:
    """Each email has its own outcome, is taken at most once, and hurts no other, in any way of talking."""
    script = Script({point: [GOOD] * (number - 1) + [action]}, pace=pace)
    if road != "plain":
        script.extensions = PIPELINING
    if road == "tls":
        script.extensions, script.certificate = ("STARTTLS", *PIPELINING), make_certificate(tmp_path)
    outcomes = three(script, loop=loop)
    taken = "".join(name for name, letter in zip("123", became, strict=True) if letter == "A")
    if (point, action) == ("middle", GARBAGE):
        taken = f"1{taken}"  # it is taken in the end, and nobody believes the answer
    assert (said(outcomes), got(script)) == (became, taken)
    assert became[number - 1] == "A" or WORDS.get(action, "") in outcomes[number - 1].detail
    assert {message.secure for message in script.messages} <= {road == "tls"}


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
    script = Script({"rcpt": [HARD], point: [action]}, PIPELINING, wants_empty=True)
    assert said(three(script))[0] == "R"
    assert "1" not in got(script)


def test_a_sender_refused_gets_no_dot_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that refuses MAIL, and goes on to 354, may have a recipient: the connection is closed."""
    script = Script({"mail": ["550 5.7.1 no"]}, PIPELINING, wants_empty=True)

    async def careless(self: standins.Talk, text: str) -> None:
        self.sender = self.sender or "somebody"
        await self.answer("rcpt", "250 2.1.5 ok")
        self.recipients.append(text)

    monkeypatch.setattr(standins.Talk, "rcpt", careless)
    assert said(three(script))[0] == "N"
    assert script.connections == 2
    assert ["reader1" in to for message in script.messages for to in message.recipients] == [False, False]


@pytest.mark.parametrize(("extensions", "actions", "became", "taken", "connections"), [
    # A server that keeps the envelope of a refused email: that is no refusal of the next one's sender.
    (PIPELINING, {"dot": [HARD], "mail": [GOOD, "503 5.5.1 nested MAIL command"]}, "RAA", "23", 2),
    (PIPELINING, {"dot": [HARD], "mail": [GOOD, GOOD, "503 5.5.1 not you"]}, "RAN", "2", 1),
    # One that says more than it was asked is not trusted with a body, nor with its next reply.
    (PIPELINING, {"data": ["354 go on\r\n250 2.0.0 ok"]}, "NAA", "23", 2),
    (PIPELINING, {"data": ["354 go on\r\n554 5.1.1 no"]}, "NAA", "23", 2),
    ((), {"mail": ["250 ok\r\n250 ok"]}, "NAA", "23", 2),
    ((), {"rcpt": ["250 ok\r\n354 go on"]}, "NAA", "23", 2),
    ((), {"data": ["354 go on\r\n250 ok"]}, "NAA", "23", 2),
    *[((), {"dot": [f"250 ok\r\n{more}"]}, "AAA", "123", 2) for more in ("250 ok", "354 on", "250 a\r\n2")],
    ((), {"dot": [f"{HARD}\r\n250 ok"]}, "RAA", "23", 2),
    # One that ends each connection after an email gets each by a connection of its own.
    (PIPELINING, {"mail": [GOOD, BYE] * 9}, "AAA", "123", 3),
    # One that ends it instead of beginning anew.
    *[(offers, {"rcpt": [HARD], "rset": [end]}, "RAA", "23", 2)
      for offers in (PIPELINING, ()) for end in ("500 what", CLOSE, BYE)],
])  # fmt: skip
def test_odd_servers(
    extensions: Sequence[str], actions: dict[str, list[str]], became: str, taken: str, connections: int
) -> None:
    script = Script(actions, extensions)
    assert (said(three(script)), got(script), script.connections) == (became, taken, connections)


@pytest.mark.parametrize("extensions", [PIPELINING, ()])
@pytest.mark.parametrize("more", ["421 4.4.2 idle too long", HARD])
async def test_an_idle_connection_that_speaks_or_ends_is_dropped(
    more: str, extensions: Sequence[str]
) -> None:
    """A server's word or end while nothing is under way costs no email."""
    script = Script({"dot": [f"250 2.0.0 Ok\r\n{more}"]}, extensions)
    async with standins.adapter_for(script) as adapter:
        assert [said(await collect(adapter, [item])) for item in MAILS[:2]] == ["A", "A"]
    assert script.connections == 2


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    """What connections have written, in order."""
    heard: list[Mock] = []
    real = Connection.__init__

    def listen(self: Any, *args: Any) -> None:
        real(self, *args)
        self._transport = Mock(wraps=self._transport)
        heard.append(self._transport.write)

    monkeypatch.setattr(Connection, "__init__", listen)
    return lambda: [call.args[0] for write in heard for call in write.call_args_list]


@BOTH_LOOPS
def test_many_emails_take_a_write_each(writes: Writes, loop: str) -> None:
    """The body of one and the envelope of the next leave together: N emails, N + 2 writes, QUIT included."""
    script = Script({}, PIPELINING, pace=MERGED)
    assert said(in_calls(script, hand_overs(Channel.EMAIL, 40), loop=loop)) == "A" * 40
    assert (len(script.messages), len(writes())) == (40, 42)
    assert writes()[0].startswith(b"MAIL FROM:<status@acme.example> SIZE=")
    assert writes()[1].count(b"\r\n.\r\nMAIL FROM:<") == 1


async def test_an_email_that_comes_while_a_body_is_in_flight_is_announced_at_once(writes: Writes) -> None:
    async with standins.adapter_for(Script({"dot": [STALL]}, PIPELINING)) as adapter:
        for number, item in enumerate(MAILS[:2], 2):
            call = asyncio.create_task(collect(adapter, [item]))
            await until(lambda: len(writes()) >= number)  # noqa: B023 - awaited at once
        await call
    assert writes()[2].startswith(b"MAIL FROM:")
    assert b"RCPT TO:<reader2@" in writes()[2]


@BOTH_LOOPS
@pytest.mark.parametrize(("extensions", "after"), [(PIPELINING, b"MAIL FROM:"), ((), b"")])
def test_the_dot_of_a_large_body_leaves_after_the_body(
    extensions: Sequence[str], after: bytes, writes: Writes, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    """A larger body goes first, and its dot with the next envelope when the kernel has it all."""
    large = b"Subject: x\r\n\r\n" + (b"0123456789" * 90 + b"\r\n") * 4_000
    monkeypatch.setattr(mime, "wire", lambda _: large)
    script = Script({}, extensions)
    assert said(three(script, loop=loop)) == "AAA"
    written = writes()
    begin = written.index(large[:65_536])
    dot = next(number for number, write in enumerate(written) if write.startswith(b".\r\n"))
    assert b"".join(written[begin:dot]) == large
    assert written[dot].startswith(b".\r\n" + after)
    assert [message.raw for message in script.messages] == [large] * 3


@BOTH_LOOPS
@pytest.mark.parametrize("action", [CLOSE, STALL, "552 5.3.4 too much"])
@pytest.mark.parametrize("extensions", [(), PIPELINING, ("STARTTLS",), ("STARTTLS", *PIPELINING)])
def test_a_large_body_that_stalls_is_not_taken(
    action: str, extensions: Sequence[str], monkeypatch: pytest.MonkeyPatch, loop: str, tmp_path: Path
) -> None:
    """While a part of it is in our buffer its dot is nowhere: certainly not taken, also over TLS."""
    bodies = iter([b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 2_000_000])
    monkeypatch.setattr(mime, "wire", lambda _: next(bodies, b"Subject: y\r\n\r\nsmall\r\n"))
    certificate = make_certificate(tmp_path) if "STARTTLS" in extensions else None
    script = Script({"body": [action]}, extensions, certificate)
    assert (said(three(script, loop=loop, timeout=STEP)), got(script)) == ("NAA", "23")


@BOTH_LOOPS
@pytest.mark.parametrize(("action", "became"), [(STALL, "N"), (CLOSE, "U")])
def test_a_small_body_still_here(
    action: str, became: str, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    """If the dot is surely still ours it is not taken; if nobody can know any more, unknown."""
    real = smtp_opening._dial

    async def narrow(*args: Any) -> socket.socket:
        sock = await real(*args)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        return sock

    monkeypatch.setattr(smtp_opening, "_dial", narrow)
    body = b"Subject: x\r\n\r\n" + b"0123456789\r\n" * (ONE_WRITE // 12 - 3)
    monkeypatch.setattr(mime, "wire", lambda _: body)
    script = Script({"body": [action]}, PIPELINING)
    assert said(in_calls(script, MAILS[:1], loop=loop, timeout=STEP)) == became


async def test_a_halt_gives_back_what_is_not_begun() -> None:
    """What is under way may finish; what waits comes back at once, as not begun, also in later calls."""
    script = Script({"dot": [STALL]}, PIPELINING)
    async with standins.adapter_for(script) as adapter:
        call = asyncio.create_task(collect(adapter, MAILS))
        await until(lambda: script.used["dot"])
        adapter.halt()
        assert {outcome.detail for outcome in await collect(adapter, MAILS[:2])} == {NOT_BEGUN}
        outcomes = sorted(await call, key=lambda each: each.delivery)
    assert [outcome.delivery for outcome in outcomes if outcome.detail == NOT_BEGUN] == [3, 4, 5, 6]
    assert said(outcomes) == "UNNNNN"


class Late(smtp_opening.Opening):
    """There just as it is cancelled: wait_for of Python 3.11, which the library uses, forgets that then."""

    ready = asyncio.Event()
    cancels = 1  # until it heeds one

    async def run(self) -> aiosmtplib.SMTP:
        client = await super().run()
        Late.ready.set()
        for _ in range(Late.cancels):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return client


@BOTH_LOOPS
@pytest.mark.parametrize("cancels", [1, 2])
async def test_a_late_connection_is_closed(cancels: int, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would end it any more: it would stand open until the loop is torn down around it."""
    monkeypatch.setattr(smtp_pool, "Opening", Late)
    monkeypatch.setattr(Late, "ready", asyncio.Event())
    monkeypatch.setattr(Late, "cancels", cancels)
    async with asyncio.timeout(20), standins.scripted_server(script := Script({}, PIPELINING)) as port:
        async with SmtpAdapter(standins.relay(port), None) as adapter:
            call = asyncio.create_task(collect(adapter, MAILS[:1]))
            await Late.ready.wait()
            adapter.halt()
            assert [outcome.detail for outcome in await call] == [NOT_BEGUN]
        await until(lambda: script.ended)
    assert script.ended == script.connections == 1


@pytest.mark.parametrize("extensions", [PIPELINING, ()])
@pytest.mark.parametrize("point", ["connect", "mail", "rcpt", "data", "dot"])
async def test_a_cancelled_call_hurts_no_other(point: str, extensions: Sequence[str]) -> None:
    script = Script({point: [STALL]}, extensions)
    async with standins.adapter_for(script, timeout=2 * STEP) as adapter:
        call = asyncio.create_task(collect(adapter, MAILS[:1]))
        await until(lambda: script.used[point])
        other = asyncio.create_task(collect(adapter, MAILS[1:3]))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        outcomes = await other
    behind_a_body = point == "dot" and extensions  # the first of them stood behind a body that got no answer
    assert said(outcomes) == ("NN" if point == "connect" else "NA" if behind_a_body else "AA")
    assert "1" not in got(script)


def test_a_letter_that_waits_too_long_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline counts from the call of `send`, including the wait for a connection."""
    monkeypatch.setattr(smtp_pool, "DEADLINE_STEPS", 1)
    script = Script({"dot": [STALL] * 9}, PIPELINING)
    outcomes = in_calls(script, MAILS[:3])
    assert (said(outcomes), outcomes[2].detail, script.connections) == ("UNN", NOT_BEGUN, 1)


@pytest.mark.parametrize("per_second", [0, 20])
async def test_only_if_nothing_is_paced_does_a_letter_wait_for_the_first_opening(per_second: int) -> None:
    """A letter that has its slot goes by a connection of its own: those that waited would go all at once."""
    script = Script({"connect": [STALL]}, PIPELINING)
    async with standins.adapter_for(
        script, connections=2, per_second=per_second, timeout=20 * STEP
    ) as adapter:
        calls = [asyncio.create_task(collect(adapter, [item])) for item in MAILS[:2]]
        await until(lambda: script.messages if per_second else script.connections)
        assert script.connections == (2 if per_second else 1)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


@given(REPLIES, st.lists(st.integers(0, 400), max_size=30), st.booleans())
def test_a_reply_in_any_pieces(replies: list[tuple[int, list[str]]], cuts: list[int], bare: bool) -> None:
    end = "\n" if bare else "\r\n"
    wire = "".join(
        f"{code}{' ' if number == len(lines) else '-'}{line}{end}"
        for code, lines in replies
        for number, line in enumerate(lines, 1)
    ).encode()
    parser, found = Replies(), list[tuple[int, bytes]]()
    for start, stop in pairwise(sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})):
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


@pytest.mark.parametrize("wire", [
    b"x" * (LONGEST_LINE + 1),
    b"250 " + b"x" * LONGEST_LINE + b"\r\n",
    b"250-x\r\n" * (LONGEST_REPLY // 6) + b"250 x\r\n",
    b"250-one\r\n550 two\r\n",
    *(b"25\r\n", b"2500 ok\r\n", b"250_ok\r\n", b"000 ok\r\n", b"999 ok\r\n", b"\r\n"),
    b"\xb2\xb5\xb0 ok\r\n",
])  # fmt: skip
def test_what_is_no_reply(wire: bytes) -> None:
    assert Replies().feed(wire)[-1] == (NO_REPLY, b"")


@pytest.mark.linux("Postfix, as system-tools installs it")
@pytest.mark.parametrize(("security", "is_pipelined", "count", "connections", "unknown"), [
    ("none", True, 2_000, 8, {7, 8, 50, 51, 52, 250}),
    ("starttls", True, 300, 8, {7, 8, 50, 51, 52, 250}),
    ("none", False, 400, 8, {7, 8, 50, 51, 52, 250}),
    ("none", True, 6, 1, {1, 2, 3, 4, 6}),  # a whole window of unknown readers
])  # fmt: skip
def test_postfix_takes_thousands(
    security: str, is_pipelined: bool, count: int, connections: int, unknown: set[int],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    """Pipelined or not, in the clear and over TLS: each email once; only unknown readers are refused."""
    pipelined, waiting, outcomes = list[bool](), hand_overs(Channel.EMAIL, count), list[Outcome]()

    class Noted(Connection):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            pipelined.append(self._is_pipelined)

    monkeypatch.setattr(smtp_pool, "Connection", Noted)
    for number in unknown:
        waiting[number - 1] = Delivery(number, email(number, address=f"nobody{number}@private.example"))
    certificate = make_certificate(tmp_path)
    how: dict[str, Any] = {"connections": connections, "security": security, "ca_file": str(certificate.pem)}

    async def work(adapter: SmtpAdapter) -> None:
        while waiting:
            outcomes.extend(await collect(adapter, [waiting.pop(0)]))

    async def send(port: int) -> None:
        async with SmtpAdapter(standins.relay(port, **how), None) as adapter:
            await asyncio.gather(*(work(adapter) for _ in range(adapter.window)))

    with standins.real_postfix(certificate, "" if is_pipelined else "pipelining") as (port, delivered):
        uvloop.run(send(port))
        counted = delivered(count - len(unknown))
    assert set(pipelined) == {is_pipelined}
    assert len(pipelined) <= connections
    assert sorted(outcome.delivery for outcome in outcomes) == list(range(1, count + 1))
    refused = [outcome for outcome in outcomes if outcome.delivery in unknown]
    assert {(outcome.kind, outcome.suppress) for outcome in refused} == {(REJECTED, True)}
    told = [outcome for outcome in outcomes if outcome.delivery not in unknown]
    assert {outcome.kind for outcome in told} == {ACCEPTED}
    assert len({outcome.provider_id for outcome in told} - {""}) == len(told)
    assert counted == Counter(f"reader{outcome.delivery}@private.example" for outcome in told)
