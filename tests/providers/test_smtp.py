"""SMTP: the outcome table, how a server is reached and trusted, and what goes over the wire."""

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
from commcast.providers.smtp.outcomes import Answer, judge
from commcast.providers.smtp.outcomes import SmtpStage as S
from tests.providers.contract import (
    AdapterContract,
    Arrived,
    Rig,
    TableContract,
    collect,
    email,
    hand_overs,
    send_all,
)
from tests.providers.kinds import (
    ACCEPTED,
    ACCOUNT,
    NOT_TAKEN,
    PROVIDER,
    RECIPIENT,
    REJECTED,
    UNCLEAR,
    UNKNOWN,
)
from tests.support import idle_clock
from tests.support.servers import smtp as standins
from tests.support.servers.http import HOST, Inbox, aiosmtpd_server, make_certificate
from tests.support.servers.smtp import CLOSE, GARBAGE, GOOD, PASSWORD, STALL, STEP, Script, adapter_for, relay

USER = "desk"
MAILS = hand_overs(Channel.EMAIL, 5)
BOTH_ROADS = pytest.mark.usefixtures("road")
Case = tuple[S, str, OutcomeKind, Blame, bool, str]
READER = [S.RCPT, S.DATA, S.DOT]
BEFORE = [stage for stage in S if stage is not S.DOT]
AFTER = "after the message was handed over"
EAI, IDN = "d\u00e1na@m\u00fcnchen.example", "dana@m\u00fcnchen.example"


class SmtpRig(Rig):
    """aiosmtpd with STARTTLS and a login, like a relay on the internet."""

    channel = Channel.EMAIL
    secrets = (PASSWORD, USER)
    pipelining = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.inbox = Inbox(pipelining=self.pipelining)
        self.certificate = make_certificate(folder)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Adapter]:
        tls, pem = self.certificate.server_context(), str(self.certificate.pem)
        async with (
            aiosmtpd_server(self.inbox, tls=tls, login=(USER, PASSWORD)) as port,
            SmtpAdapter(relay(port, "starttls", ca_file=pem, user=USER), PASSWORD) as adapter,
        ):
            yield adapter

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[Callable[[], Adapter]]:
        offered = ["PIPELINING"] if self.pipelining else []
        async with standins.scripted_server(Script({"dot": [STALL]}, offered)) as port:
            yield lambda: SmtpAdapter(relay(port), None)

    def arrived(self) -> Sequence[Arrived]:
        assert {(each.secure, each.login) for each in self.inbox.messages} <= {(True, USER)}
        return [Arrived(message.recipients, message.raw.decode()) for message in self.inbox.messages]


class TestSmtp(AdapterContract):
    rig_class = SmtpRig


class PipelinedRig(SmtpRig):
    pipelining = True


class TestSmtpPipelined(AdapterContract):
    rig_class = PipelinedRig


@pytest.fixture(params=["plain", "pipelined"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with a server that does not offer PIPELINING, once with one that does."""
    monkeypatch.setattr(Script, "also_offered", ["PIPELINING"] if request.param == "pipelined" else [])


def timed(script: Script, *items: Delivery, at_once: bool = False, **how: Any) -> tuple[list[Outcome], float]:
    """Send to a scripted server, one after another or at once; return how long it took by an idle clock."""

    async def scenario() -> tuple[list[Outcome], float]:
        begin = asyncio.get_running_loop().time()
        async with adapter_for(script, **{"timeout": STEP, **how}) as adapter:
            calls = [items] if at_once else [[item] for item in items]
            outcomes = [outcome for call in calls for outcome in await send_all(adapter, call)]
        return outcomes, asyncio.get_running_loop().time() - begin

    return idle_clock.run(scenario())  # type: ignore[no-any-return]


def talk(script: Script, *items: Delivery, **how: Any) -> list[Outcome]:
    return timed(script, *items, **how)[0]


async def send_one(settings: SmtpProvider) -> Outcome:
    async with SmtpAdapter(settings, None) as adapter:
        return (await collect(adapter, MAILS[:1]))[0]


def means(at: S | Sequence[S], said: str, *meaning: Any, suppress: bool = False) -> list[Case]:
    """The cases of some answers ("550 5.1.1|551") at some stages: kind, blame and words of what they mean."""
    stages, (kind, blame, words) = [at] if isinstance(at, S) else at, meaning
    return [(stage, each, kind, blame, suppress, words) for stage in stages for each in said.split("|")]


CASES: list[Case] = [
    *means(BEFORE, "421 4.3.2|421", NOT_TAKEN, PROVIDER, "closing the connection"),
    *means(BEFORE, "lost", NOT_TAKEN, PROVIDER, "broke before"),
    *means(BEFORE, "silence", NOT_TAKEN, PROVIDER, "did not reply in time"),
    *means(BEFORE, "garbage|299", NOT_TAKEN, PROVIDER, "is invalid here"),
    *means(S.CONNECT, "unresolved", NOT_TAKEN, PROVIDER, "name has no address"),
    *means(S.CONNECT, "unreachable", NOT_TAKEN, PROVIDER, "cannot be reached"),
    *means([S.CONNECT, S.TLS], "certificate", NOT_TAKEN, ACCOUNT, "certificate is not trusted"),
    *means([S.CONNECT, S.TLS], "handshake", NOT_TAKEN, PROVIDER, "no TLS connection"),
    *means(S.TLS, "missing", NOT_TAKEN, ACCOUNT, "does not offer STARTTLS"),
    *means([S.TLS, S.AUTH], "454 4.7.0", NOT_TAKEN, PROVIDER, "refuses service for now"),
    *means([S.CONNECT, S.HELLO], "554 5.7.1|550", NOT_TAKEN, PROVIDER, "refuses service for now"),
    *means(S.AUTH, "535 5.7.8|534", NOT_TAKEN, ACCOUNT, "login was refused"),
    *means(S.AUTH, "missing", NOT_TAKEN, ACCOUNT, "login method that we support"),
    *means(S.MAIL, "550 5.7.1|530 5.7.0|553", NOT_TAKEN, ACCOUNT, "sender was refused"),
    *means(S.MAIL, "451 4.7.1|452 4.3.1", NOT_TAKEN, PROVIDER, "accepts no email for now"),
    *means(S.MAIL, "552 5.3.4|552", NOT_TAKEN, ACCOUNT, "too large, or our quota"),
    *means([S.MAIL, S.RCPT], "550 5.6.7|553 5.6.7", REJECTED, RECIPIENT, "non-ASCII address"),
    *means(S.MAIL, "missing", REJECTED, RECIPIENT, "SMTPUTF8"),
    *means(S.MAIL, "unsendable", REJECTED, RECIPIENT, "cannot be made into an email"),
    *means(S.RCPT, "450 4.2.0|451 4.3.0|452 4.2.2", NOT_TAKEN, RECIPIENT, "recipient was not accepted"),
    *means(S.RCPT, "452 4.3.1", NOT_TAKEN, PROVIDER, "no room for now"),
    *means(
        READER, "452|454|452 4.5.3|454 4.7.0 > Throttling failure", NOT_TAKEN, PROVIDER, "no more from us"
    ),
    # About nothing but the reader.
    *means(
        READER,
        "550 5.1.1|554 5.1.1|501 5.1.3|551 5.1.6",
        REJECTED,
        RECIPIENT,
        "no such mailbox",
        suppress=True,
    ),
    *means(READER, "550 5.2.1|552 5.2.2|525 5.7.13", REJECTED, RECIPIENT, "disabled or full"),
    *means(READER, "550 > Unrouteable address|550 > No such user here", REJECTED, RECIPIENT, "not known"),
    *means(READER, "550 5.1.10 > Recipient r1 not found", REJECTED, RECIPIENT, "not known"),
    # About us: our limit, our sender, our content.
    *means(
        READER, "550 5.1.90|550 5.4.5|552 > Daily quota of messages", NOT_TAKEN, ACCOUNT, "limit is reached"
    ),
    *means(READER, "550 > You have exceeded your sending limit", NOT_TAKEN, ACCOUNT, "limit is reached"),
    *means(READER, "553 5.1.8|550 5.1.7|530 5.7.0|530", NOT_TAKEN, ACCOUNT, "our sender, login or message"),
    *means(READER, "554 5.2.252|550 5.7.60|553 5.7.1", NOT_TAKEN, ACCOUNT, "our sender, login or message"),
    *means(READER, "554 5.7.1 > Relay access denied", NOT_TAKEN, ACCOUNT, "our sender, login or message"),
    *means(READER, "550 5.7.350|554 5.7.1", NOT_TAKEN, ACCOUNT, "our sender, login or message"),
    *means(READER, "552 5.3.4|554 5.6.0", NOT_TAKEN, ACCOUNT, "our message was refused"),
    # It does not say about whom.
    *means(
        READER, "550 5.1.0|553 5.1.2|550 5.1.5|550 5.1.10|550 5.0.0", NOT_TAKEN, UNCLEAR, "without saying"
    ),
    *means(READER, "550|552|554|550 5.4.1|554 5.5.1", NOT_TAKEN, UNCLEAR, "without saying"),
    *means(READER, "550 > Sender rejected: unknown user", NOT_TAKEN, UNCLEAR, "without saying"),
    *means(S.DATA, "451 4.2.0", NOT_TAKEN, RECIPIENT, "message was not accepted for now"),
    *means(S.DATA, "451 4.3.0", NOT_TAKEN, PROVIDER, "mail system has a problem"),
    *means(S.DATA, "250", NOT_TAKEN, PROVIDER, "is invalid here"),
    *means(S.DOT, "250 2.0.0", ACCEPTED, RECIPIENT, ""),
    *means(S.DOT, "421 4.3.2|452 4.3.1", NOT_TAKEN, PROVIDER, "mail system has a problem"),
    *means(S.DOT, "450|451 4.7.1", NOT_TAKEN, RECIPIENT, "message was not accepted for now"),
    *means(S.DOT, "lost", UNKNOWN, RECIPIENT, f"connection broke {AFTER}"),
    *means(S.DOT, "silence", UNKNOWN, RECIPIENT, f"no reply came {AFTER}"),
    *means(S.DOT, "garbage|354", UNKNOWN, RECIPIENT, f"an invalid reply came {AFTER}"),
    *means(S.DOT, "something new", UNKNOWN, RECIPIENT, "no rule covers this"),
]


class TestTable(TableContract):
    module = smtp_outcomes

    def wrong(self) -> list[str]:
        found = [(case, judge(Answer(case[0], *case[1].split(" > ")))) for case in CASES]
        return [
            f"{stage} {said}: {rule}"
            for (stage, said, *wanted, words), rule in found
            if [rule.kind, rule.blame, rule.suppress] != wanted or words not in rule.words
        ]


@given(st.sampled_from(list(S)), st.integers(100, 599), st.sampled_from(["", " 5.1.1", " 4.3.0", " 2.0.0"]))
def test_the_two_laws_of_the_table(stage: S, code: int, enhanced: str) -> None:
    """Only a 2xx after the dot is accepted; before the dot nothing is unknown."""
    kind = judge(Answer(stage, f"{code}{enhanced}")).kind
    assert (kind is ACCEPTED) == (stage is S.DOT and 200 <= code < 300)
    assert kind is not UNKNOWN or stage is S.DOT


@BOTH_ROADS
def test_a_connection_is_used_again_and_left_politely() -> None:
    """Many emails, one connection, one QUIT; RSET only after a refusal."""
    assert talk(unused := Script()) == []
    assert unused.connections == 0
    script = Script({"rcpt": [GOOD, "550 5.1.1 no", "450 later"], "dot": [GOOD, "554 5.7.1 spam"]})
    outcomes = talk(script, *MAILS)
    assert [each.kind for each in outcomes] == [ACCEPTED, REJECTED, NOT_TAKEN, NOT_TAKEN, ACCEPTED]
    assert script.connections == 1
    assert [line for line in script.spoken if line in {"RSET", "QUIT"}] == [*["RSET"] * 3, "QUIT"]


@BOTH_ROADS
def test_several_connections_at_once() -> None:
    """No more than allowed, each used again, everybody told once; a server that is full is left in peace."""
    outcomes = talk(script := Script(), *hand_overs(Channel.EMAIL, 40), connections=3, at_once=True)
    assert [outcome.kind for outcome in outcomes] == [ACCEPTED] * 40
    assert (script.connections, len(script.messages)) == (3, 40)
    assert len({message.recipients for message in script.messages}) == 40
    full = Script({"connect": [GOOD, *["421 4.7.0 too many connections"] * 40]})
    talk(full, *hand_overs(Channel.EMAIL, 40), connections=3, at_once=True)
    assert (len(full.messages), full.connections <= 3) == (40, True)


@BOTH_ROADS
def test_the_whole_hand_over_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that stalls ends the delivery; so does the deadline, even if each step is within its time."""
    (outcome,), seconds = timed(Script({"dot": [STALL]}), MAILS[0])
    assert outcome.kind is UNKNOWN
    assert STEP.total_seconds() <= seconds < smtp.DEADLINE_STEPS * STEP.total_seconds() + smtp.FAREWELL
    assert SmtpAdapter(relay(25), None).deadline == 60
    monkeypatch.setattr(smtp, "DEADLINE_STEPS", 0.01)
    (outcome,), seconds = timed(Script({"rcpt": [STALL]}), MAILS[0], timeout=timedelta(seconds=30))
    assert (outcome.kind, outcome.blame) == (NOT_TAKEN, PROVIDER)
    assert seconds < 5


@BOTH_ROADS
@pytest.mark.parametrize("point", ["quit", "dot"])
def test_leaving_does_not_wait_for_a_hanging_server(point: str, tmp_path: Path) -> None:
    """A server that never answers QUIT, also over TLS, delays us for at most the farewell."""
    script = Script({point: [STALL] * 9}, ["STARTTLS"], make_certificate(tmp_path))
    assert timed(script, MAILS[0])[1] <= STEP.total_seconds() + smtp.FAREWELL


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))  # bound, but not listening
        refused = asyncio.run(send_one(relay(taken.getsockname()[1])))
    unknown = asyncio.run(send_one(relay(25, host="mail.invalid")))
    assert {(each.kind, each.blame) for each in (refused, unknown)} == {(NOT_TAKEN, PROVIDER)}
    assert "cannot be reached" in refused.detail
    assert "name has no address" in unknown.detail


def test_a_black_hole_before_a_good_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the first addresses swallow packets, the next one is tried within the time."""

    async def scenario() -> Outcome:
        async with standins.scripted_server(Script()) as port:
            loop = asyncio.get_running_loop()
            real, where = loop.sock_connect, (HOST, port)

            async def two(*_: Any, **__: Any) -> list[Any]:
                stream = socket.AF_INET, socket.SOCK_STREAM, 0, ""
                return [*[(*stream, ("127.0.0.9", port))] * 4, (*stream, where)]

            async def connect(sock: socket.socket, address: Any) -> None:
                await (real(sock, address) if address == where else asyncio.Event().wait())

            monkeypatch.setattr(loop, "getaddrinfo", two)
            monkeypatch.setattr(loop, "sock_connect", connect)
            return await send_one(relay(port, timeout=STEP))

    assert idle_clock.run(scenario()).kind is ACCEPTED


@BOTH_ROADS
@pytest.mark.parametrize(("hello", "said"), [("", "[127.0.0.1]"), ("desk.acme.example", "desk.acme.example")])
def test_how_we_introduce_ourselves(hello: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the configured name, otherwise by our address; our host name is never looked up."""
    monkeypatch.delattr(socket, "getfqdn")
    monkeypatch.delattr(socket, "gethostname")
    talk(script := Script(), MAILS[0], hello=hello)
    assert script.spoken[0] == f"EHLO {said}"


@BOTH_ROADS
def test_an_old_server_without_ehlo() -> None:
    """A server that doesn't know EHLO is greeted with HELO; one that refuses us is not asked twice."""
    assert talk(Script({"ehlo": ["502 5.5.1 what"]}), MAILS[0])[0].kind is ACCEPTED
    refused = Script({"ehlo": ["550 not you"]})
    assert talk(refused, MAILS[0])[0].kind is NOT_TAKEN
    assert not any(line.startswith("HELO") for line in refused.spoken)


@pytest.mark.parametrize(("extensions", "security", "blame", "words", "said"), [
    (["AUTH LOGIN"], "starttls", ACCOUNT, "login was refused", ["AUTH LOGIN"]),
    (["AUTH CRAM-MD5 PLAIN LOGIN"], "starttls", ACCOUNT, "login was refused", ["AUTH PLAIN"]),
    (["AUTH XOAUTH2"], "starttls", ACCOUNT, "login method that we support", []),
    (None, "starttls", ACCOUNT, "does not offer STARTTLS", []),  # neither email nor password goes out
    ([], "tls", PROVIDER, "no TLS connection", []),
])  # fmt: skip
@BOTH_ROADS
def test_a_server_that_never_lets_us_in(
    tmp_path: Path, extensions: list[str] | None, security: str, blame: Blame, words: str, said: list[str]
) -> None:
    """One login method is tried, once for all that wait; what is refused names neither user nor password."""
    offered = ["AUTH PLAIN"] if extensions is None else ["STARTTLS", *extensions]
    script = Script({"auth": [f"535 5.7.8 {PASSWORD}"] * 9}, offered, make_certificate(tmp_path))
    outcomes = talk(script, *MAILS, user=USER, security=security, connections=4, at_once=True)
    assert [(each.kind, each.blame) for each in outcomes] == [(NOT_TAKEN, blame)] * len(MAILS)
    assert words in outcomes[0].detail
    assert [" ".join(line.split(" ")[:2]) for line in script.spoken if line.startswith("AUTH")] == said
    assert not [word for word in (USER, *PASSWORD.split()) if word in outcomes[0].detail]
    assert not [line for line in script.spoken if line.startswith("MAIL")]
    assert script.connections == 1


@BOTH_ROADS
@pytest.mark.parametrize("reply", ["454 4.7.0 not now", "421 bye", CLOSE, STALL, GARBAGE])
@pytest.mark.parametrize("point", ["starttls", "auth"])
def test_trouble_while_a_connection_is_opened(tmp_path: Path, point: str, reply: str) -> None:
    """It is the provider's, the next email gets through, and nothing goes out in the clear."""
    script = Script({point: [reply]}, ["STARTTLS", "AUTH PLAIN"], make_certificate(tmp_path))
    first, second = talk(script, *MAILS[:2], user=USER)
    assert (first.kind, first.blame, second.kind) == (NOT_TAKEN, PROVIDER, ACCEPTED)
    assert [message.secure for message in script.messages] == [True]


@pytest.mark.parametrize(("made", "is_trusted"), [
    *(({}, True), ({}, False), ({"host": "mail.elsewhere.example"}, True), ({"valid": timedelta(-1)}, True)),
], ids=["trusted", "unknown authority", "other host", "run out"])  # fmt: skip
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_certificates(tmp_path: Path, made: dict[str, Any], is_trusted: bool, security: str) -> None:
    """One that can't be trusted is refused in both ways of TLS, and a person has to look."""
    assert SmtpProvider(host="x").security == "starttls"
    (tmp_path / "other").mkdir()
    certificate, other = make_certificate(tmp_path, **made), make_certificate(tmp_path / "other")
    script = Script(extensions=["STARTTLS"], certificate=certificate, tls=security == "tls")
    trusted = certificate if is_trusted else other
    (outcome,) = talk(script, MAILS[0], security=security, ca_file=str(trusted.pem))
    found = (outcome.kind, outcome.blame, len(script.messages))
    assert found == ((ACCEPTED, RECIPIENT, 1) if is_trusted and not made else (NOT_TAKEN, ACCOUNT, 0))
    assert ("certificate is not trusted" in outcome.detail) == (outcome.kind is NOT_TAKEN)


@pytest.mark.parametrize(("settings", "password", "says"), [
    ({"user": USER, "security": "none"}, PASSWORD, "in the clear"),
    *[({"user": USER}, password, "COMMCAST_SMTP_PASSWORD") for password in (None, "")],
    *[({name: wrong}, None, name) for name, wrong in (("host", ""), ("hello", "a b"))],
    *[({"security": "tls", "ca_file": wrong}, None, "ca_file") for wrong in ("missing.pem", __file__)],
])  # fmt: skip
def test_settings_that_cannot_work(settings: dict[str, str], password: str | None, says: str) -> None:
    """What could never work, or would tell the password, is refused before anything is opened."""

    async def enter() -> None:
        async with SmtpAdapter(SmtpProvider.model_validate({"host": "mail.example", **settings}), password):
            pytest.fail("it was entered")

    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        asyncio.run(enter())
    assert PASSWORD not in str(caught.value)


@BOTH_ROADS
def test_the_email_arrives_as_it_was_built() -> None:
    """Including dots at the start of a line, byte for byte; the envelope has one recipient."""
    talk(script := Script(), *MAILS[:2])
    wanted = [email(number, name=f"Reader {number}") for number in (1, 2)]
    assert [message.raw for message in script.messages] == [mime.build(each) for each in wanted]
    assert [message.recipients for message in script.messages] == [(each.to.address,) for each in wanted]
    assert {message.sender for message in script.messages} == {"status@acme.example"}


@BOTH_ROADS
def test_only_what_the_server_offers_is_used() -> None:
    """SIZE if it is offered; no BODY for an email of seven bits; nothing if nothing is offered."""
    size = len(mime.build(email(1))) + mime.build(email(1)).count(b"\n.")
    for extensions, options in (["SIZE 10000000", "8BITMIME"], f" SIZE={size}"), ([], ""):
        script = Script(extensions=extensions)
        talk(script, Delivery(1, email(1)))
        assert f"MAIL FROM:<status@acme.example>{options}" in script.spoken


@BOTH_ROADS
@pytest.mark.parametrize("extensions", [["8BITMIME"], ["SMTPUTF8"], [], ["SMTPUTF8", "8BITMIME"]])
def test_a_non_ascii_address(extensions: list[str]) -> None:
    """Its local part needs SMTPUTF8 and 8BITMIME, or that reader is refused; a domain goes as punycode."""
    script, can = Script(extensions=extensions), len(extensions) == 2
    items = [Delivery(n, email(n, address=to)) for n, to in enumerate(["", EAI, IDN, ""], 1)]
    outcomes = sorted(talk(script, *items, at_once=True), key=lambda each: each.delivery)
    kind = ACCEPTED if can else REJECTED
    assert [outcome.kind for outcome in outcomes] == [ACCEPTED, kind, ACCEPTED, ACCEPTED]
    assert can or "SMTPUTF8" in outcomes[1].detail
    said = [line for line in script.spoken if "BODY=" in line or "xn--" in line]
    wide = "MAIL FROM:<status@acme.example> BODY=8BITMIME SMTPUTF8"
    eai = [wide, "RCPT TO:<d\u00e1na@xn--mnchen-3ya.example>"] if can else []
    assert said == [*eai, "RCPT TO:<dana@xn--mnchen-3ya.example>"]
    assert (script.connections, len(script.messages)) == (1, 3 + can)


@pytest.mark.parametrize(("reply", "queue_id"), [
    ("2.0.0 Ok: queued as 4Vx3Pq0kXyz", "4Vx3Pq0kXyz"),
    ("OK id=1rQabc-0001Xy-2k", "1rQabc-0001Xy-2k"),
    ("2.0.0 3AL9x0aB012345 Message accepted for delivery", "3AL9x0aB012345"),
    ("2.6.0 <a@b.example> [InternalId=12345, Hostname=x] Queued mail for delivery", "12345"),
    *[(reply, "") for reply in ("2.0.0 Ok", "2.0.0 queued as <eve@evil.example>", "")],
])  # fmt: skip
def test_the_servers_id_of_an_email(reply: str, queue_id: str) -> None:
    assert smtp_outcomes.queue_id(reply) == queue_id


HOSTILE_REPLY = st.lists(
    st.sampled_from(
        ["dana.reyes@private.example", "<dana.reyes@private.example>:", "dana.reyes", "DANA", "Reyes",
         "private.example", "dana.reyes%40private.example", "desk", "\x1b[2J", "\u202e",
         "ZGFuYS5yZXllc0Bwcml2YXRlLmV4YW1wbGU=", "user", "unknown", "5.1.1", "x" * 500]
    ),
    max_size=12,
).map(" ".join)  # fmt: skip


@given(HOSTILE_REPLY, st.sampled_from(["550", "450", "250", "354", "421"]), st.sampled_from(list(S)))
def test_a_detail_names_nobody(text: str, code: str, stage: S) -> None:
    """Whatever a server says, what we keep has no part of an address, no login, no control character."""
    message = replace(email(1), to=Mailbox("dana.reyes@private.example", "Dana Reyes"))
    said = smtp_outcomes.reply_line(int(code), text)
    detail = smtp_outcomes.outcome(1, message, Answer(stage, said, text), "desk").detail
    lowered = detail.lower()
    assert not [w for w in ("dana", "reyes", "private", "desk", "zgfuys5", "@", "%40") if w in lowered]
    assert detail.isprintable()
    assert len(detail) < 300


def test_why_no_connection_came_about_is_said_in_the_same_words_whoever_is_first_in_line() -> None:
    """Else a tick under cron says it every minute as if it were new."""
    down = Answer(S.CONNECT, "unreachable", "Connect call failed ('10.0.0.1', 25)")
    named = [replace(email(1), to=Mailbox(f"team-{i}@private.example", f"Call {i}")) for i in (0, 1, 25)]
    (detail,) = {smtp_outcomes.outcome(1, each, down, "login").detail for each in named}
    assert "10.0.0.1" in detail


@BOTH_ROADS
def test_a_server_that_repeats_our_password_is_not_quoted() -> None:
    script = Script({"rcpt": [f"550 5.1.1 I know {PASSWORD}"], "dot": [f"250 Ok: queued as {PASSWORD}"]})
    refused, taken = talk(script, *MAILS[:2])
    assert refused.detail.endswith("(550 5.1.1: I know ***)")
    assert (taken.kind, taken.provider_id) == (ACCEPTED, "")


@BOTH_ROADS
def test_a_detail_says_why() -> None:
    reply = "550 5.7.1 <reader1@private.example>: rejected by policy, see https://x.example/p1"
    (outcome,) = talk(Script({"rcpt": [reply]}), MAILS[0])
    assert outcome.detail.startswith("our sender, login or message was refused (550 5.7.1: ")
    assert "rejected by policy" in outcome.detail
    assert outcome.retry_after  # the next run begins with others: this reader may be the cause after all
