"""Nights in which a provider fails from the first word on, minute by minute, over real servers.

The owner sleeps. Each reader is told once, lateness is seen all the while, and people are told why.
"""

from __future__ import annotations

import email
import email.policy
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from commcast.providers.registry import fallback_for
from tests.crash.services import Receiver
from tests.support.desk import START
from tests.support.idle_clock import wait_in_made_up_time
from tests.support.scenario import ANN, ANN_SMS, BOB, OWNERS, Story
from tests.support.servers import apis
from tests.support.servers.http import Handler, HttpStandIn, answer, make_certificate, threaded
from tests.support.servers.smtp import free_port
from tests.support.terminal import do

SU, CYD_SMS = "help@acme.example", "+4915112345673"
MAILED, TEXTED = frozenset({ANN, BOB, SU}), frozenset({ANN_SMS, CYD_SMS})
ALL = MAILED | TEXTED
PEOPLE = [f"{ANN},{ANN_SMS},Ann", f"{BOB},,Bob", f",{CYD_SMS},Cyd"]
SILENCE = '[silence]\ncustomers = "hold"\nsupport = "hold"\n'
REFUSED = answer(401, {"errors": [{"message": "The provided authorization grant is invalid"}]})


@dataclass
class Providers:
    """A mail server, SendGrid and Twilio on this machine, and what readers got from them."""

    stack: ExitStack
    relay: Receiver
    grid: apis.SendGrid = field(default_factory=apis.SendGrid)
    texts: apis.Twilio = field(default_factory=apis.Twilio)

    def config(self) -> str:
        """Start what is up from the first; return the settings of both services."""
        urls = [self.stack.enter_context(threaded(HttpStandIn(each))).url for each in (self.grid, self.texts)]
        return '[providers.sendgrid]\nbase_url = "{}"\n[providers.twilio]\nbase_url = "{}"\n'.format(*urls)

    def start_relay(self) -> None:
        self.stack.enter_context(self.relay.serving())

    @property
    def heard(self) -> Mapping[str, list[str]]:
        """Return the words that each address got, in order."""
        found = defaultdict(list)
        for message in self.relay.inbox.messages:
            mail: Any = email.message_from_bytes(message.raw, policy=email.policy.default)
            words = f"{mail['Subject']}\n{mail.get_body(('plain',)).get_content()}"
            found[message.recipients[0]].append(words)
        for taken in self.grid.taken:
            found[taken.address].append(f"{taken.reading.subject}\n{taken.reading.text}")
        for text in self.texts.messages:
            found[text["to"]].append(text["body"])
        return found

    @property
    def readers(self) -> set[str]:
        return set(self.heard) - OWNERS


MENDED = 46


@dataclass(frozen=True)
class Outage:
    """A provider that fails: `late` hear nothing until it is mended, and the owners read what it `says`."""

    email: str
    fails: Callable[[Providers], object] = lambda providers: None
    mended: Callable[[Providers], object] = lambda providers: None
    late: frozenset[str] = MAILED
    says: str = "Email isn't getting through"
    fallback: str = ""


def login(works: bool, providers: Providers) -> None:
    providers.relay.refuses_login = not works
    if not works:
        providers.start_relay()


def answering(which: str, *answers: Handler) -> Callable[[Providers], None]:
    def act(providers: Providers) -> None:
        getattr(providers, which).answers[:] = answers * 999

    return act


def all_but_email(providers: Providers) -> None:
    providers.start_relay()
    answering("texts", answer(429))(providers)


OUTAGES = {
    "the relay is down": Outage("smtp", mended=Providers.start_relay),
    "the login is refused": Outage("smtp", partial(login, False), partial(login, True)),
    "the key is refused": Outage("sendgrid", answering("grid", REFUSED), answering("grid")),
    "Twilio is busy": Outage("smtp", all_but_email, answering("texts"), TEXTED, "SMS isn't getting through"),
    "a fallback takes over": Outage(
        "smtp", mended=Providers.start_relay, late=frozenset(), fallback="sendgrid"
    ),
}


@pytest.fixture
def providers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Providers]:
    secrets = {"SENDGRID_API_KEY": apis.KEY, "TWILIO_ACCOUNT_SID": apis.ACCOUNT}
    for name, secret in {**secrets, "TWILIO_AUTH_TOKEN": apis.TOKEN, "COMMCAST_SMTP_PASSWORD": "x"}.items():
        monkeypatch.setenv(name, secret)
    tls = make_certificate(tmp_path).server_context()
    with ExitStack() as stack:
        yield Providers(stack, Receiver(port=free_port(), tls=tls))


def night_of(outage: Outage, folder: Path, providers: Providers) -> Story:
    """Return a desk whose clock the test moves, and whose providers are real."""
    where: dict[str, Any] = {
        "email": outage.email,
        "port": providers.relay.port,
        "sms": 'provider = "twilio"',
    }
    story = Story(folder, customers=PEOPLE, extra=SILENCE + providers.config(), **where)
    login = 'security = "tls"\nca_file = "certificate.pem"\nuser = "desk"\n'
    story.edit("commcast.toml", 'security = "none"\n', login)
    if outage.fallback:
        story.edit("commcast.toml", "[channels.sms]", f'fallback = "{outage.fallback}"\n[channels.sms]')
    bench = story.bench
    bench.adapter = None
    bench.fallback = lambda channel: fallback_for(bench.desk.config, channel, lambda: bench.now)
    return story


@pytest.mark.parametrize("name", OUTAGES)
def test_a_night_without_a_provider(
    name: str, tmp_path: Path, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = OUTAGES[name]
    story = night_of(outage, tmp_path, providers)
    wait_in_made_up_time(monkeypatch, lambda seconds: story.bench.later(seconds=seconds))
    outage.fails(providers)
    story.declare()
    for minute in range(1, MENDED):
        story.go_to(minute)
        story.bench.tick()
        assert providers.readers == ALL - outage.late, minute
        overdue = show(story, "status --overdue").exit_code
        assert overdue == (4 if outage.late and minute > 10 else 0), minute
    told = [" ".join(words.split()) for owner in OWNERS for words in providers.heard[owner]]
    assert any(outage.says in words for words in told) == bool(outage.late)
    outage.mended(providers)
    story.minutes(3)
    assert show(story, "status --overdue").exit_code == 0
    assert providers.readers == ALL
    heard = providers.heard
    for reader in outage.late:
        (words,) = heard[reader]
        assert "Some customers see an error" in words
        promised = re.search(r"update by (\d\d):(\d\d)", words)
        assert promised
        assert story.bench.now < START.replace(hour=int(promised[1]) - 1, minute=int(promised[2]))
    assert all(len(set(heard[each])) == len(heard[each]) for each in ALL), "somebody was told the same twice"
    figures = json.loads(show(story, "report pay7 --json").stdout)["audiences"]
    first = {each["audience"]: each["first_after_release_seconds"] // 60 for each in figures}
    assert first == {"customers": 0, "support": MENDED if SU in outage.late else 0}
    assert ("46 min" in show(story, "report pay7").stdout) == (SU in outage.late)


def show(story: Story, command: str) -> Result:
    return do(story.folder, f"{command} --now {story.bench.now.isoformat()}")
