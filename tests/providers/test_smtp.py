"""SMTP against real servers: every line of the outcome table, and what a server can do at every point."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtplib.protocol import SMTPProtocol
from hypothesis import given
from hypothesis import strategies as st

from commcast.config.settings import SmtpProvider
from commcast.errors import ConfigError
from commcast.model.incident import Channel
from commcast.model.message import Blame, Delivery, Mailbox, Outcome, OutcomeKind
from commcast.providers import mime
from commcast.providers.base import Adapter
from commcast.providers.smtp import adapter as smtp
from commcast.providers.smtp import outcomes as smtp_outcomes
from commcast.providers.smtp.adapter import SmtpAdapter
from commcast.providers.smtp.dialogue import Dialogue
from commcast.providers.smtp.outcomes import OUTCOMES, Answer, SmtpStage, judge
from tests.providers.contract import AdapterContract, Arrived, Rig, collect, email, hand_overs, send_all
from tests.providers.kinds import ACCEPTED, ACCOUNT, NOT_TAKEN, PROVIDER, RECIPIENT, REJECTED, UNKNOWN
from tests.support import idle_clock
from tests.support.servers.http import HOST, Certificate, Inbox, aiosmtpd_server, make_certificate
from tests.support.servers.smtp import CLOSE, DRIP, GARBAGE, GOOD, STALL, Script, scripted_server

PASSWORD = "correct horse battery"
USER = "desk"
STEP = timedelta(seconds=1)  # of a clock that stands still while anything happens
MAILS = hand_overs(Channel.EMAIL, 5)


def provider(
    port: int, security: str = "none", timeout: timedelta = timedelta(seconds=20), **settings: Any
) -> SmtpProvider:
    made = SmtpProvider.model_validate({"host": HOST, "port": port, "security": security, **settings})
    return made.model_copy(update={"timeout": timeout})  # the file's own durations begin at whole seconds


def secured(port: int, certificate: Certificate, **settings: Any) -> SmtpProvider:
    return provider(port, "starttls", ca_file=str(certificate.pem), **settings)


async def send(settings: SmtpProvider, *items: Delivery, password: str | None = None) -> list[Outcome]:
    """Hand the items over as a broadcast does, each to one connection of some."""
    async with SmtpAdapter(settings, password) as adapter:
        return await send_all(adapter, items)


class SmtpRig(Rig):
    """aiosmtpd with STARTTLS and a login, as a relay on the internet is."""

    channel = Channel.EMAIL
    secrets = (PASSWORD, USER)
    pipelining = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.inbox = Inbox(pipelining=self.pipelining)
        self.certificate = make_certificate(folder)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Adapter]:
        context = self.certificate.server_context()
        async with (
            aiosmtpd_server(self.inbox, tls=context, login=(USER, PASSWORD)) as port,
            SmtpAdapter(secured(port, self.certificate, user=USER), PASSWORD) as adapter,
        ):
            yield adapter

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[Callable[[], Adapter]]:
        offered = ["PIPELINING"] if self.pipelining else []
        async with scripted_server(Script({"dot": [STALL]}, offered)) as port:
            yield lambda: SmtpAdapter(provider(port), None)

    def arrived(self) -> Sequence[Arrived]:
        return [Arrived(message.recipients, message.raw.decode()) for message in self.inbox.messages]


class TestSmtp(AdapterContract):
    """The contract, against aiosmtpd."""

    rig_class = SmtpRig


class PipelinedRig(SmtpRig):
    """The same server, which also offers PIPELINING."""

    pipelining = True


class TestSmtpPipelined(AdapterContract):
    """The contract, by the other road."""

    rig_class = PipelinedRig


@pytest.fixture(params=["plain", "pipelined"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with a server that offers no PIPELINING, once with one that does."""
    monkeypatch.setattr(Script, "also_offered", ["PIPELINING"] if request.param == "pipelined" else [])


BOTH_ROADS = pytest.mark.usefixtures("road")


def timed_talk(
    script: Script, *items: Delivery, user: str = "", security: str = "none", step: timedelta = STEP
) -> tuple[list[Outcome], float]:
    """Send the items one after another to a scripted server, by one connection.

    Returns the outcomes, and the seconds it took by a clock that moves only while nothing happens.
    """

    async def scenario() -> tuple[list[Outcome], float]:
        loop = asyncio.get_running_loop()
        async with scripted_server(script) as port:
            ca_file = str(script.certificate.pem) if script.certificate else ""
            settings = provider(port, security, step, user=user, connections=1, ca_file=ca_file)
            begin = loop.time()
            async with SmtpAdapter(settings, PASSWORD if user else None) as adapter:
                outcomes = [outcome for item in items for outcome in await collect(adapter, [item])]
            return outcomes, loop.time() - begin

    done: tuple[list[Outcome], float] = idle_clock.run(scenario())
    return done


def talk(script: Script, *items: Delivery, **how: Any) -> list[Outcome]:
    return timed_talk(script, *items, **how)[0]


def to_inbox(
    inbox: Inbox,
    *items: Delivery,
    password: str = PASSWORD,
    certificate: Certificate | None = None,
    smtputf8: bool = False,
    **settings: Any,
) -> list[Outcome]:
    """Send to aiosmtpd; with a certificate it wants STARTTLS and a login."""

    async def scenario() -> list[Outcome]:
        if certificate is None:
            async with aiosmtpd_server(inbox, smtputf8=smtputf8) as port:
                return await send(provider(port, **settings), *items)
        context = certificate.server_context()
        async with aiosmtpd_server(inbox, tls=context, login=(USER, PASSWORD)) as port:
            return await send(secured(port, certificate, user=USER), *items, password=password)

    return asyncio.run(scenario())


# --- the table

Case = tuple[SmtpStage, str, OutcomeKind, Blame, bool, str]
BEFORE = [stage for stage in SmtpStage if stage is not SmtpStage.DOT]
AFTER = "after the message was handed over"
S = SmtpStage


def means(
    at: SmtpStage | Sequence[SmtpStage],
    said: str,
    kind: OutcomeKind,
    blame: Blame,
    words: str,
    suppress: bool = False,
) -> list[Case]:
    """The cases of some answers ("550 5.1.1|551") at some stages: what they mean, and in which words."""
    stages = [at] if isinstance(at, SmtpStage) else at
    return [(stage, each, kind, blame, suppress, words) for stage in stages for each in said.split("|")]


CASES: list[Case] = [
    *means(BEFORE, "421 4.3.2|421", NOT_TAKEN, PROVIDER, "closing the connection"),
    *means(BEFORE, "lost", NOT_TAKEN, PROVIDER, "broke before"),
    *means(BEFORE, "silence", NOT_TAKEN, PROVIDER, "did not answer in time"),
    *means(BEFORE, "garbage|299", NOT_TAKEN, PROVIDER, "makes no sense here"),
    *means(S.CONNECT, "unresolved", NOT_TAKEN, PROVIDER, "name has no address"),
    *means(S.CONNECT, "unreachable", NOT_TAKEN, PROVIDER, "cannot be reached"),
    *means([S.CONNECT, S.TLS], "certificate", NOT_TAKEN, ACCOUNT, "certificate is not trusted"),
    *means([S.CONNECT, S.TLS], "handshake", NOT_TAKEN, PROVIDER, "no TLS connection"),
    *means(S.TLS, "missing", NOT_TAKEN, ACCOUNT, "offers no STARTTLS"),
    *means([S.TLS, S.AUTH], "454 4.7.0", NOT_TAKEN, PROVIDER, "does not serve us now"),
    *means([S.CONNECT, S.HELLO], "554 5.7.1|550", NOT_TAKEN, PROVIDER, "does not serve us now"),
    *means(S.AUTH, "535 5.7.8|534", NOT_TAKEN, ACCOUNT, "login is refused"),
    *means(S.AUTH, "missing", NOT_TAKEN, ACCOUNT, "no login that we know"),
    *means(S.MAIL, "550 5.7.1|530 5.7.0|553", NOT_TAKEN, ACCOUNT, "sender is refused"),
    *means(S.MAIL, "451 4.7.1|452 4.3.1", NOT_TAKEN, PROVIDER, "takes no mail now"),
    *means(S.MAIL, "552 5.3.4", REJECTED, RECIPIENT, "too large"),
    *means([S.MAIL, S.RCPT], "550 5.6.7|553 5.6.7", REJECTED, RECIPIENT, "non-ASCII address"),
    *means(S.MAIL, "missing", REJECTED, RECIPIENT, "SMTPUTF8"),
    *means(S.MAIL, "unsendable", REJECTED, RECIPIENT, "cannot be put into a mail"),
    *means(S.RCPT, "450 4.2.0|451 4.3.0|452", NOT_TAKEN, RECIPIENT, "recipient is not taken now"),
    *means(S.RCPT, "550|550 5.7.1|554 5.1.1|552 5.2.2", REJECTED, RECIPIENT, "recipient is refused"),
    *means(S.RCPT, "550 5.1.1|551 5.1.6|553 5.1.2", REJECTED, RECIPIENT, "no such mailbox", suppress=True),
    *means(S.RCPT, "553 5.1.8|550 5.1.7|530 5.7.0", NOT_TAKEN, ACCOUNT, "sender or login is refused"),
    *means(S.DATA, "451 4.2.0", NOT_TAKEN, RECIPIENT, "message is not taken now"),
    *means(S.DATA, "451 4.3.0", NOT_TAKEN, PROVIDER, "mail system is in trouble"),
    *means(S.DATA, "554 5.5.1", REJECTED, RECIPIENT, "message is refused"),
    *means(S.DATA, "250", NOT_TAKEN, PROVIDER, "makes no sense here"),
    *means(S.DOT, "250 2.0.0", ACCEPTED, RECIPIENT, ""),
    *means(S.DOT, "421 4.3.2|452 4.3.1", NOT_TAKEN, PROVIDER, "mail system is in trouble"),
    *means(S.DOT, "450|451 4.7.1", NOT_TAKEN, RECIPIENT, "message is not taken now"),
    *means(S.DOT, "554 5.7.1|550 5.1.1", REJECTED, RECIPIENT, "message is refused"),
    *means(S.DOT, "lost", UNKNOWN, RECIPIENT, f"connection broke {AFTER}"),
    *means(S.DOT, "silence", UNKNOWN, RECIPIENT, f"no answer came {AFTER}"),
    *means(S.DOT, "garbage|354", UNKNOWN, RECIPIENT, f"a senseless answer came {AFTER}"),
    *means(S.DOT, "something new", UNKNOWN, RECIPIENT, "no rule speaks of this"),
]


def meaning(stage: SmtpStage, said: str) -> tuple[OutcomeKind, Blame, bool, str]:
    rule = judge(Answer(stage, said))
    return rule.kind, rule.blame, rule.suppress, rule.words


def wrong_cases() -> list[str]:
    """Return the cases that the table, as it is now, does not answer as it must."""
    wrong = []
    for stage, said, kind, blame, suppress, words in CASES:
        found = meaning(stage, said)
        if found[:3] != (kind, blame, suppress) or words not in found[3]:
            wrong.append(f"{stage} {said}: {found}")
    return wrong


def test_every_line_of_the_table() -> None:
    """Each answer means what it must."""
    assert wrong_cases() == []


@pytest.mark.parametrize("number", range(len(OUTCOMES)), ids=lambda n: f"{n}-{OUTCOMES[n].said}")
def test_no_line_of_the_table_is_idle(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one line, some case above goes wrong: the cases cover the whole table."""
    monkeypatch.setattr(smtp_outcomes, "OUTCOMES", OUTCOMES[:number] + OUTCOMES[number + 1 :])
    assert wrong_cases() != []


@given(
    st.sampled_from(list(SmtpStage)),
    st.integers(100, 599),
    st.sampled_from(["", " 5.1.1", " 4.3.0", " 2.0.0"]),
)
def test_the_two_laws_of_the_table(stage: SmtpStage, code: int, enhanced: str) -> None:
    """Only a 2xx after the dot is accepted; before the dot nothing is unknown."""
    kind = meaning(stage, f"{code}{enhanced}")[0]
    assert (kind is ACCEPTED) == (stage is SmtpStage.DOT and 200 <= code < 300)
    assert kind is not UNKNOWN or stage is SmtpStage.DOT


# --- the same, said by a server

REPLIES = [
    case
    for case in CASES
    if re.match(r"[2-5]\d\d", case[1])
    and case[0] not in {"body", "reset", "tls", "auth"}  # these have tests of their own
    and (case[0], case[1]) not in {("mail", "299"), ("rcpt", "299"), ("hello", "299")}  # as good as 250
]
POINTS = {SmtpStage.HELLO: "ehlo", SmtpStage.TLS: "starttls"}


@BOTH_ROADS
@pytest.mark.parametrize("case", REPLIES, ids=lambda case: f"{case[0]}-{case[1].replace(' ', '-')}")
def test_a_servers_reply(case: Case) -> None:
    """The reply, given on the wire at that point, becomes that outcome; the next mail goes through."""
    stage, said, kind, blame, suppress, words = case
    script = Script({POINTS.get(stage, stage.value): [f"{said} because"]})
    if (stage, said) == (SmtpStage.DOT, "250 2.0.0"):
        script = Script()
    first, second = talk(script, *MAILS[:2])
    assert (first.kind, first.blame, first.suppress) == (kind, blame, suppress)
    assert words in first.detail
    assert second.kind is ACCEPTED
    everyone = [recipient for message in script.messages for recipient in message.recipients]
    assert everyone == [f"reader{n}@private.example" for n in ((1, 2) if kind is ACCEPTED else (2,))]


BEFORE_DOT = ["connect", "ehlo", "mail", "rcpt", "data"]


@BOTH_ROADS
@pytest.mark.parametrize(
    ("action", "words"),
    [
        (CLOSE, "connection broke before"),
        (STALL, "did not answer in time"),
        (DRIP, "did not answer in time"),
        (GARBAGE, "makes no sense here"),
    ],
)
@pytest.mark.parametrize("point", BEFORE_DOT)
def test_trouble_before_the_dot(point: str, action: str, words: str) -> None:
    """Whatever goes wrong before the dot: certainly not taken, the next mail goes over a new connection."""
    script = Script({point: [action]})
    first, second = talk(script, *MAILS[:2])
    assert (first.kind, first.blame) == (NOT_TAKEN, PROVIDER)
    assert words in first.detail
    assert second.kind is ACCEPTED
    assert script.connections == 2
    assert len(script.messages) == 1


@BOTH_ROADS
@pytest.mark.parametrize("action", [CLOSE, STALL, DRIP, GARBAGE])
def test_trouble_after_the_dot(action: str) -> None:
    """Whatever goes wrong after the dot: unknown, never sent again, and the next mail goes through."""
    script = Script({"dot": [action]})
    first, second = talk(script, *MAILS[:2])
    assert first.kind is UNKNOWN
    assert "handed over" in first.detail
    assert second.kind is ACCEPTED
    assert [line for line in script.spoken if "reader1" in line] == ["RCPT TO:<reader1@private.example>"]


@BOTH_ROADS
@pytest.mark.parametrize("security", ["none", "starttls"])
@pytest.mark.parametrize("action", [CLOSE, STALL])
def test_trouble_while_the_body_is_on_its_way(
    action: str, security: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A body that the server does not read to its end had no final dot written: not taken."""
    big = b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 2_000_000
    monkeypatch.setattr(mime, "wire", lambda _: big)
    script = Script({"body": [action]}, ["STARTTLS"], make_certificate(tmp_path))
    (outcome,) = talk(script, MAILS[0], security=security)
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, PROVIDER)
    assert script.messages == []


def test_the_final_dot_is_written_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage DOT is set before the dot can leave, and not before the body has."""
    seen: list[tuple[SmtpStage, bytes]] = []
    real = SMTPProtocol.write

    def watch(self: Any, data: bytes) -> None:
        if connection:
            seen.append((connection[0].stage, data[-7:]))
        real(self, data)

    connection: list[Any] = []
    make = Dialogue

    def remember(*args: Any) -> Any:
        connection.append(make(*args))
        return connection[-1]

    monkeypatch.setattr(smtp, "Dialogue", remember)
    monkeypatch.setattr(SMTPProtocol, "write", watch)
    talk(Script(), MAILS[0])
    assert [stage for stage, data in seen if data == b".\r\n"] == [SmtpStage.DOT]
    assert [stage for stage, data in seen if data.endswith(b"--\r\n")] == [SmtpStage.BODY]


# --- connections


@BOTH_ROADS
def test_a_connection_is_used_again_and_left_politely() -> None:
    """Many mails, one connection, one QUIT; RSET only after a refusal."""
    script = Script({"rcpt": [GOOD, "550 5.1.1 no", "450 later"], "dot": [GOOD, "554 5.7.1 spam"]})
    outcomes = talk(script, *MAILS)
    assert [o.kind for o in outcomes] == [ACCEPTED, REJECTED, NOT_TAKEN, REJECTED, ACCEPTED]
    assert script.connections == 1
    assert [line.split(" ")[0] for line in script.spoken if line in {"RSET", "QUIT"}] == ["RSET"] * 3 + [
        "QUIT"
    ]
    assert script.spoken[-1] == "QUIT"


@BOTH_ROADS
@pytest.mark.parametrize(
    ("script", "kinds"),
    [
        *[({"mail": [GOOD, action]}, [ACCEPTED] * 3) for action in ("421 4.3.2 enough for today", CLOSE)],
        *[
            ({"rcpt": ["550 no"], "rset": [action]}, [REJECTED, ACCEPTED, ACCEPTED])
            for action in ("500 what", CLOSE, "421 bye")
        ],
    ],
    ids=["idle-421", "idle-close", "rset-500", "rset-close", "rset-421"],
)
def test_a_server_that_ends_an_idle_connection(
    script: dict[str, list[str]], kinds: list[OutcomeKind]
) -> None:
    """A used connection that is closed when the next mail begins is replaced: nobody is delayed for it."""
    server = Script(script)
    assert [outcome.kind for outcome in talk(server, *MAILS[:3])] == kinds
    assert server.connections == 2
    assert len(server.messages) == kinds.count(ACCEPTED)


def test_several_connections_at_once() -> None:
    """No more connections than asked for, each used again, everybody told once."""
    inbox = Inbox()
    outcomes = to_inbox(inbox, *hand_overs(Channel.EMAIL, 40), connections=3)
    assert [outcome.kind for outcome in outcomes] == [ACCEPTED] * 40
    assert inbox.connections == 3
    assert (len(inbox.counts()), set(inbox.counts().values())) == (40, {1})


@BOTH_ROADS
def test_a_closed_door_is_tried_once_a_batch() -> None:
    """If no connection can be opened, the rest of a batch is answered without knocking again."""
    script = Script({"connect": ["554 5.7.1 blocked"] * 9})

    async def scenario() -> list[Outcome]:
        async with scripted_server(script) as port, SmtpAdapter(provider(port), None) as adapter:
            return await collect(adapter, MAILS)

    outcomes = asyncio.run(scenario())
    assert [(o.delivery, o.kind, o.blame) for o in outcomes] == [
        (n, NOT_TAKEN, PROVIDER) for n in range(1, 6)
    ]
    assert script.connections == 1


@BOTH_ROADS
def test_nothing_is_opened_before_the_first_mail() -> None:
    """Entering and leaving the context makes no connection."""
    script = Script()
    assert talk(script) == []
    assert script.connections == 0


@BOTH_ROADS
def test_the_whole_hand_over_has_a_deadline() -> None:
    """A server that takes nearly all the time of every step does not take all of it together."""
    (outcome,), seconds = timed_talk(Script({"dot": [STALL]}), MAILS[0])
    assert outcome.kind is UNKNOWN
    assert STEP.total_seconds() <= seconds < smtp.DEADLINE_STEPS * STEP.total_seconds() + smtp.FAREWELL
    assert SmtpAdapter(provider(25), None).deadline == 60


@BOTH_ROADS
def test_the_deadline_ends_a_dialogue_of_slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The total is kept also where each step is within its own time."""
    monkeypatch.setattr(smtp, "DEADLINE_STEPS", 0.01)
    (outcome,) = talk(Script({"rcpt": [STALL]}), MAILS[0], step=timedelta(seconds=30))
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, PROVIDER)


@BOTH_ROADS
@pytest.mark.parametrize("point", ["quit", "dot"])
def test_leaving_does_not_wait_for_a_hanging_server(point: str, tmp_path: Path) -> None:
    """A server that never answers QUIT, over TLS too, keeps us for at most the farewell."""
    script = Script({point: [STALL] * 9}, extensions=["STARTTLS"], certificate=make_certificate(tmp_path))
    _, seconds = timed_talk(script, MAILS[0], security="starttls")
    assert seconds <= STEP.total_seconds() + smtp.FAREWELL


# --- reaching the server


def _one(settings: SmtpProvider) -> Outcome:
    return asyncio.run(send(settings, MAILS[0]))[0]


def test_a_server_that_is_not_there() -> None:
    """Not taken, the provider is down: nobody listens, or the name has no address."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))  # bound, but not listening
        refused = _one(provider(taken.getsockname()[1]))
    unknown = _one(provider(25, host="mail.invalid"))
    assert {(each.kind, each.blame) for each in (refused, unknown)} == {(NOT_TAKEN, PROVIDER)}
    assert "cannot be reached" in refused.detail
    assert "name has no address" in unknown.detail


def test_a_black_hole_before_a_good_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first address swallows packets, the next one gets its turn within the time."""
    script = Script()

    async def scenario() -> Outcome:
        async with scripted_server(script) as port:
            loop = asyncio.get_running_loop()
            real, where = loop.sock_connect, (HOST, port)

            async def two(*_: Any, **__: Any) -> list[Any]:
                stream = socket.AF_INET, socket.SOCK_STREAM, 0, ""
                return [(*stream, ("127.0.0.9", port)), (*stream, where)]

            async def connect(sock: socket.socket, address: Any) -> None:
                await (real(sock, address) if address == where else asyncio.Event().wait())

            monkeypatch.setattr(loop, "getaddrinfo", two)
            monkeypatch.setattr(loop, "sock_connect", connect)
            return (await send(provider(port, timeout=STEP), MAILS[0]))[0]

    assert idle_clock.run(scenario()).kind is ACCEPTED


@BOTH_ROADS
@pytest.mark.parametrize(("hello", "said"), [("", "[127.0.0.1]"), ("desk.acme.example", "desk.acme.example")])
def test_how_we_introduce_ourselves(hello: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the configured name, else by our address; our host name is never looked up."""
    monkeypatch.delattr(socket, "getfqdn")
    monkeypatch.delattr(socket, "gethostname")
    script = Script()

    async def scenario() -> None:
        async with scripted_server(script) as port:
            await send(provider(port, hello=hello), MAILS[0])

    asyncio.run(scenario())
    assert script.spoken[0] == f"EHLO {said}"


@BOTH_ROADS
def test_an_old_server_without_ehlo() -> None:
    """A server that does not know EHLO is greeted with HELO; one that refuses us is not asked twice."""
    script = Script({"ehlo": ["502 5.5.1 what"]})
    assert talk(script, MAILS[0])[0].kind is ACCEPTED
    refused = Script({"ehlo": ["550 not you"]})
    assert talk(refused, MAILS[0])[0].kind is NOT_TAKEN
    assert not any(line.startswith("HELO") for line in refused.spoken)


# --- TLS and login


def test_starttls_and_login(tmp_path: Path) -> None:
    """By default the connection is encrypted before anything is said, and the server knows who we are."""
    inbox = Inbox()
    (outcome,) = to_inbox(inbox, MAILS[0], certificate=make_certificate(tmp_path))
    assert (outcome.kind, outcome.provider_id) == (ACCEPTED, "Q000001")
    assert (inbox.messages[0].secure, inbox.messages[0].login) == (True, USER)
    assert SmtpProvider(host="x").security == "starttls"


def test_a_wrong_password(tmp_path: Path) -> None:
    """535 is the account's fault, is tried once, and tells neither user nor password."""
    inbox = Inbox()
    outcomes = to_inbox(inbox, *MAILS[:3], certificate=make_certificate(tmp_path), password="wrong")
    assert {(o.kind, o.blame) for o in outcomes} == {(NOT_TAKEN, ACCOUNT)}
    assert inbox.connections == 1
    assert "login is refused" in outcomes[0].detail
    assert not [word for word in (USER, "wrong") if word in outcomes[0].detail]


@BOTH_ROADS
@pytest.mark.parametrize(
    ("offered", "said"),
    [("AUTH LOGIN", "AUTH LOGIN"), ("AUTH CRAM-MD5 PLAIN LOGIN", "AUTH PLAIN"), ("AUTH XOAUTH2", "")],
)
def test_one_way_to_log_in(tmp_path: Path, offered: str, said: str) -> None:
    """One method is tried, once; none that we know is the account's blame."""
    script = Script(
        {"auth": ["535 5.7.8 no"] * 9},
        extensions=["STARTTLS", offered],
        certificate=make_certificate(tmp_path),
    )
    (outcome,) = talk(script, MAILS[0], user=USER, security="starttls")
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, ACCOUNT)
    assert [" ".join(line.split(" ")[:2]) for line in script.spoken if line.startswith("AUTH")] == [
        said
    ] * bool(said)


@BOTH_ROADS
@pytest.mark.parametrize("reply", ["454 4.7.0 not now", "421 bye", CLOSE, STALL, GARBAGE])
@pytest.mark.parametrize("point", ["starttls", "auth"])
def test_trouble_while_a_connection_is_opened(tmp_path: Path, point: str, reply: str) -> None:
    """It is the provider's, the next mail gets through, and nothing goes out in the clear."""
    script = Script(
        {point: [reply]}, extensions=["STARTTLS", "AUTH PLAIN"], certificate=make_certificate(tmp_path)
    )
    first, second = talk(script, *MAILS[:2], user=USER, security="starttls")
    assert (first.kind, first.blame, second.kind) == (NOT_TAKEN, PROVIDER, ACCEPTED)
    assert [message.secure for message in script.messages] == [True]


@BOTH_ROADS
def test_starttls_not_offered() -> None:
    """A server (or somebody in between) that offers no STARTTLS gets neither mail nor password."""
    script = Script(extensions=["AUTH PLAIN LOGIN"])
    (outcome,) = talk(script, MAILS[0], user=USER, security="starttls")
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, ACCOUNT)
    assert "offers no STARTTLS" in outcome.detail
    assert [line.split(" ")[0] for line in script.spoken] == ["EHLO"]


@pytest.mark.parametrize(
    ("made", "is_trusted", "kind"),
    [
        ({}, True, ACCEPTED),
        ({}, False, NOT_TAKEN),
        ({"host": "mail.elsewhere.example"}, True, NOT_TAKEN),
        ({"valid": timedelta(days=-1)}, True, NOT_TAKEN),
    ],
    ids=["trusted", "unknown authority", "other host", "run out"],
)
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_certificates(
    tmp_path: Path, made: dict[str, Any], is_trusted: bool, kind: OutcomeKind, security: str
) -> None:
    """One that cannot be trusted is refused in both ways of TLS, and a person has to look."""
    (tmp_path / "other").mkdir()
    certificate, other = make_certificate(tmp_path, **made), make_certificate(tmp_path / "other")
    script = Script(extensions=["STARTTLS"], certificate=certificate, tls=security == "tls")

    async def scenario() -> list[Outcome]:
        async with scripted_server(script) as port:
            trusted = str((certificate if is_trusted else other).pem)
            return await send(provider(port, security, ca_file=trusted), MAILS[0])

    (outcome,) = asyncio.run(scenario())
    assert outcome.kind is kind
    assert len(script.messages) == (kind is ACCEPTED)
    if kind is NOT_TAKEN:
        assert outcome.blame is ACCOUNT
        assert "certificate is not trusted" in outcome.detail


@BOTH_ROADS
def test_tls_with_a_server_that_speaks_none(tmp_path: Path) -> None:
    """A plain server where TLS was expected: not taken."""
    script = Script(certificate=make_certificate(tmp_path))
    (outcome,) = talk(script, MAILS[0], security="tls")
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, PROVIDER)
    assert "no TLS connection" in outcome.detail


@pytest.mark.parametrize(
    ("settings", "password", "says"),
    [
        ({"user": USER, "security": "none"}, PASSWORD, "in the clear"),
        ({"user": USER}, None, "COMMCAST_SMTP_PASSWORD"),
        ({"user": USER}, "", "COMMCAST_SMTP_PASSWORD"),
        ({"host": ""}, None, "host"),
        ({"hello": "a b"}, None, "hello"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, str], password: str | None, says: str) -> None:
    """What could never work, or would tell the password, is refused before anything is opened."""
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        SmtpAdapter(SmtpProvider.model_validate({"host": "mail.example", **settings}), password)
    assert PASSWORD not in str(caught.value)


def test_a_ca_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing or broken ca_file is an error of the configuration."""
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for path in (broken, tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match="ca_file"):
            _one(provider(25, security="tls", ca_file=str(path)))


# --- what goes over the wire


def test_the_mail_arrives_as_it_was_built() -> None:
    """Dots at the start of a line included, byte for byte; the envelope holds one recipient."""
    inbox = Inbox()
    to_inbox(inbox, *MAILS[:2], connections=1)
    wanted = [email(number, name=f"Reader {number}") for number in (1, 2)]
    assert [message.raw for message in inbox.messages] == [mime.build(each) for each in wanted]
    assert [message.recipients for message in inbox.messages] == [(each.to.address,) for each in wanted]
    assert {message.sender for message in inbox.messages} == {"status@acme.example"}


@BOTH_ROADS
def test_only_what_the_server_offers_is_used() -> None:
    """SIZE where it is offered; no BODY for a mail of seven bits; nothing where nothing is offered."""
    size = len(mime.build(email(1))) + mime.build(email(1)).count(b"\n.")
    for extensions, options in (["SIZE 10000000", "8BITMIME"], f" SIZE={size}"), ([], ""):
        script = Script(extensions=extensions)
        talk(script, Delivery(1, email(1)))
        assert f"MAIL FROM:<status@acme.example>{options}" in script.spoken


EAI = "d\u00e1na@m\u00fcnchen.example"


@BOTH_ROADS
@pytest.mark.parametrize("extensions", [["8BITMIME"], ["SMTPUTF8"], []])
def test_a_non_ascii_address_fails_alone(extensions: list[str]) -> None:
    """Without SMTPUTF8 (which needs 8BITMIME) that reader is refused, and the others are served."""
    script = Script(extensions=extensions)
    outcomes = talk(script, Delivery(1, email(1, address=EAI)), Delivery(2, email(2)))
    assert [outcome.kind for outcome in outcomes] == [REJECTED, ACCEPTED]
    assert "SMTPUTF8" in outcomes[0].detail
    assert script.connections == 1
    assert not any("d\u00e1na" in line for line in script.spoken)


def test_a_non_ascii_address_where_the_server_can() -> None:
    """With SMTPUTF8 the local part goes as it is, the domain as punycode."""
    inbox = Inbox()
    items = [Delivery(1, email(1, address=EAI)), Delivery(2, email(2))]
    outcomes = to_inbox(inbox, *items, smtputf8=True, connections=1)
    assert [outcome.kind for outcome in outcomes] == [ACCEPTED, ACCEPTED]
    assert inbox.messages[0].recipients == ("d\u00e1na@xn--mnchen-3ya.example",)
    assert {"SMTPUTF8", "BODY=8BITMIME"} <= set(inbox.messages[0].options)
    assert not {"SMTPUTF8", "BODY=8BITMIME"} & set(inbox.messages[1].options)


@BOTH_ROADS
def test_a_non_ascii_domain_alone_needs_nothing() -> None:
    """An IDN is punycode on the wire: any server can take it."""
    script = Script(extensions=[])
    assert talk(script, Delivery(1, email(1, address="dana@m\u00fcnchen.example")))[0].kind is ACCEPTED
    assert script.messages[0].recipients == ("dana@xn--mnchen-3ya.example",)


# --- what is kept


@pytest.mark.parametrize(
    ("reply", "queue_id"),
    [
        ("2.0.0 Ok: queued as 4Vx3Pq0kXyz", "4Vx3Pq0kXyz"),
        ("OK id=1rQabc-0001Xy-2k", "1rQabc-0001Xy-2k"),
        ("2.0.0 3AL9x0aB012345 Message accepted for delivery", "3AL9x0aB012345"),
        ("2.6.0 <a@b.example> [InternalId=12345, Hostname=x] Queued mail for delivery", "12345"),
        ("2.0.0 Ok", ""),
        ("2.0.0 queued as <eve@evil.example>", ""),
        ("", ""),
    ],
)
def test_the_servers_name_for_a_mail(reply: str, queue_id: str) -> None:
    """The queue id is found in what the usual servers say."""
    assert smtp_outcomes.queue_id(reply) == queue_id


HOSTILE_REPLY = st.lists(
    st.sampled_from(
        ["dana.reyes@private.example", "<dana.reyes@private.example>:", "dana.reyes", "DANA", "Reyes",
         "private.example", "dana.reyes%40private.example", "desk", "\x1b[2J", "\u202e",
         "ZGFuYS5yZXllc0Bwcml2YXRlLmV4YW1wbGU=", "user", "unknown", "5.1.1", "x" * 500]
    ),
    max_size=12,
).map(" ".join)  # fmt: skip


@given(HOSTILE_REPLY, st.sampled_from(["550", "450", "250", "354", "421"]), st.sampled_from(list(SmtpStage)))
def test_a_detail_names_nobody(text: str, code: str, stage: SmtpStage) -> None:
    """Whatever a server says, what we keep holds no part of an address, no login, no control character."""
    message = replace(email(1), to=Mailbox("dana.reyes@private.example", "Dana Reyes"))
    said = smtp_outcomes.reply_line(int(code), text)
    detail = smtp_outcomes.outcome(1, message, Answer(stage, said, text), "desk").detail
    lowered = detail.lower()
    assert not [w for w in ("dana", "reyes", "private", "desk", "zgfuys5", "@", "%40") if w in lowered]
    assert detail.isprintable()
    assert len(detail) < 300


@BOTH_ROADS
def test_a_detail_says_why() -> None:
    """The person on call reads the code and the server's own reason."""
    script = Script(
        {"rcpt": ["550 5.7.1 <reader1@private.example>: rejected by policy, see https://x.example/p1"]}
    )
    (outcome,) = talk(script, MAILS[0])
    assert outcome.detail.startswith("the recipient is refused (550 5.7.1: ")
    assert "rejected by policy" in outcome.detail
