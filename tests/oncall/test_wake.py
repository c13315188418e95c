"""How an incident's people are told: mail, text, command; and the heartbeat that tells a monitor of ticks."""

from __future__ import annotations

import email
import email.policy
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from commcast.errors import ExitCode, TryAgain
from commcast.ledger.fence import stops_in_force
from commcast.ledger.oncall import Call, begin_call, calls
from commcast.ledger.store import Ledger
from commcast.ledger.suppressions import suppress
from commcast.ledger.tables import State
from commcast.oncall.heartbeat import ping, url_of
from commcast.operations import wake
from commcast.operations.wake import Nudger, call_once
from tests.support.desk import START, Bench, update_text, write_desk, write_incident
from tests.support.providers import FakeAdapter
from tests.support.servers import http as standins
from tests.support.servers.http import HttpStandIn, answer, make_certificate, redirect, threaded
from tests.support.terminal import bench_now, run
from tests.support.values import cases

OWNER = '[people.sam]\nname = "Sam Oyo"\nemail = "sam@acme.example"\n'
WRITES = """
import pathlib, sys
called = pathlib.Path("called")
before = called.read_text() if called.exists() else ""
called.write_text(before + sys.stdin.read() + "\\n")
"""


def desk_of(folder: Path, extra: str = OWNER, *, minutes: float = 0) -> Bench:
    """A desk whose incident is sam's, where sam is somebody; sent so many minutes ago, 0 for not yet."""
    write_desk(folder, extra=extra)
    path = write_incident(folder)
    if "sam" in extra:
        path.write_text(path.read_text().replace("owner: dana", "owner: sam"))
    bench = Bench(folder)
    if minutes:
        bench.send()
        bench.later(minutes=minutes)
    return bench


def call(bench: Bench, *command: str) -> Call:
    folder, nudge = bench.folder, "nudge:draft:1"
    now = lambda: bench.now  # noqa: E731
    call_once(bench.ledger, "pay7", nudge, command, '{"a": "ü"}', folder=folder, environ={}, clock=now)
    with bench.ledger.read() as connection:
        return calls(connection, "pay7")[-1]


def test_the_command_reads_json_and_runs_once_and_never_if_it_was_begun_elsewhere(tmp_path: Path) -> None:
    bench = desk_of(tmp_path / "one")
    for _ in range(2):
        done = call(bench, sys.executable, "-c", WRITES)
    assert (bench.folder / "called").read_text() == '{"a": "ü"}\n'
    assert (done.state, done.ended_at) == (State.ACCEPTED, START)
    bench = desk_of(tmp_path / "two")
    with bench.ledger.write() as connection:
        assert begin_call(connection, "pay7", "nudge:draft:1", bench.now)
    assert call(bench, sys.executable, "-c", WRITES).state is State.UNKNOWN
    assert not (bench.folder / "called").exists()


@cases(r"""
    command                                                | detail
    no-such-command-here                                   | cannot be run: No such file or directory
    python -c import sys; sys.exit('no line\nto the pager') | exited with 1: to the pager
    python -c import sys; sys.exit('tok-4711 is bad')      | exited with 1: *** is bad
    python -c pass                                         |
    python -c import time; time.sleep(60)                  | took longer than 1 seconds and was stopped
""")
def test_what_came_of_it_is_kept(
    tmp_path: Path, command: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "LONGEST_CALL", 1.0)
    wake.passed_on({"PAGER_TOKEN": "tok-4711", "OTHER": "pager"}, ["PAGER_TOKEN"])
    program, *rest = command.split(maxsplit=2)
    done = call(desk_of(tmp_path), sys.executable if rest else program, *rest)
    assert done.detail.endswith(detail)
    assert done.state is (State.REJECTED if detail else State.ACCEPTED)


def test_a_tick_runs_it_for_a_nudge_and_tells_it_no_secret_that_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = json.dumps([sys.executable, "pager.py"])
    bench = desk_of(tmp_path, f'[nudge]\ncommand = {command}\nenv = ["PAGER_TOKEN"]\n', minutes=16)
    knows = "import json, os\npathlib.Path('knows').write_text(json.dumps(dict(os.environ)))\n"
    (tmp_path / "pager.py").write_text(WRITES + knows)
    passed = {"PATH": "/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PAGER_TOKEN": "p"}
    monkeypatch.setattr(os, "environ", {**passed, "SENDGRID_API_KEY": "s", "PYTHONPATH": "/", "SHELL": "x"})
    assert bench.tick().nudged["pay7"].unreached == ""
    knows = json.loads((tmp_path / "knows").read_text())
    assert {name: knows[name] for name in knows if name != "LC_CTYPE"} == passed
    document = json.loads((tmp_path / "called").read_text())
    assert (document["commcast"], document["version"], document["why"]) == ("nudge", 1, "promise")
    assert (document["incident"], document["people"]) == ("pay7", ["Dana Reyes"])
    assert document["command"] == 'commcast update pay7 --nothing-new "…" --next 20m'
    assert document["deadline"] == "2026-11-21T09:25:00+00:00"
    assert (document["host"], document["folder"]) == (socket.gethostname(), str(tmp_path))
    bench.later(minutes=1)
    assert bench.tick().nudged == {}


@cases("""
    way   | why
          | and no usable address for Dana Reyes
    pager | the nudge reached nobody: no-such-pager cannot be run: No such file or directory
    owner | the nudge reached nobody: opted out
""")
def test_a_nudge_that_reached_nobody_is_said_where_cron_prints(tmp_path: Path, way: str, why: str) -> None:
    ways = {"": "", "pager": '[nudge]\ncommand = ["no-such-pager"]\n', "owner": OWNER}
    bench = desk_of(tmp_path, ways[way], minutes=16)
    with bench.ledger.write() as connection:
        suppress(connection, "email", "sam@acme.example", reason="asked", by="x", now=bench.now)
    ticked = bench.tick()
    said = ticked.nudged["pay7"].unreached
    assert said.startswith("An update is due by 10:25 CET (09:25 UTC), in 4 minutes, and ")
    assert why in said
    assert ticked.exit_code(0.02) is ExitCode.DECISION
    assert bench.tick().nudged == {}


def released_late(folder: Path) -> Bench:
    """Return a desk on which a nudge is due, and an update that a person released."""
    bench = desk_of(folder, minutes=1)
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text() + update_text(bench.now, issue="It is the switch."))
    bench.later(minutes=3)
    assert [nudge.id for nudge in bench.tick().nudged["pay7"].nudges] == ["nudge:draft:2"]
    bench.release()
    bench.later(minutes=12)
    return bench


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_tick_and_stops_no_later_nudge(tmp_path: Path, number: signal.Signals) -> None:
    """Nor a person's words: they go with the next tick."""
    bench = released_late(tmp_path)
    bench.adapter = lambda channel: FakeAdapter(channel, before=lambda _: signal.raise_signal(number))
    ticked = bench.tick()
    code = ExitCode.INTERRUPTED if number is signal.SIGINT else ExitCode.TERMINATED
    assert (ticked.exit_code(0.02), ticked.delivered) == (code, {})
    with bench.ledger.read() as connection:
        assert stops_in_force(connection) == ()
    handed: list[str] = []
    bench.adapter = lambda channel: FakeAdapter(channel, before=lambda each: handed.extend(each.addresses))
    bench.later(minutes=2)
    bench.tick()
    assert "ann@example.com" in handed


def test_a_nudge_that_fails_keeps_no_reader_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise TryAgain("somebody else is at it")

    bench = released_late(tmp_path)
    monkeypatch.setattr(Nudger, "nudge", fails)
    assert bench.tick().exit_code(0.02) is ExitCode.TRY_AGAIN
    assert bench.states(notice="update:2") == {("email", "accepted"): 3}


def test_a_pager_is_called_though_a_run_died_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nudge's mail is frozen, and its command was not begun: the next tick begins it."""
    called: list[str] = []

    def dies(*_: object, **__: object) -> None:
        raise TryAgain("the ledger is locked")

    def begins(ledger: Ledger, incident: str, nudge: str, *_: object, **__: object) -> None:
        with ledger.write() as connection:
            if begin_call(connection, incident, nudge, START):
                called.append(nudge)

    bench = desk_of(tmp_path, OWNER + '[nudge]\ncommand = ["page"]\n', minutes=25)
    monkeypatch.setattr(wake, "call_once", dies)
    bench.tick()
    monkeypatch.setattr(wake, "call_once", begins)
    for _ in range(3):
        bench.later(minutes=1)
        bench.tick()
    assert called == ["nudge:2026-11-21T09:25:00Z:late"]
    assert len([mail for mail in bench.mails() if "sam-acme" in mail.name]) == 1


BOTH = "customers and support are waiting."
WAITING = f"An update is due by 10:25 CET (09:25 UTC), in 4 minutes; {BOTH}"
TO_SOME = "Unless you write, an automatic statement goes to customers at 10:22, but nothing to support."
GOING = "Nobody has written, so an automatic statement goes to customers before 10:25 CET (09:25 UTC). "
GOING += "Unless you write, nothing goes to support and that promise is broken."
NUDGED = [
    # minutes, held by [silence], what the nudge says
    (15.5, "", f"{WAITING} Unless you write, they get nothing and the promise is broken."),
    (15.5, "customers support", f"{WAITING} An automatic statement goes to them at 10:22 unless you write."),
    (15.5, "customers", f"{WAITING} {TO_SOME}"),
    (18, "customers", GOING),
    (21, "", f"The update promised by 10:25 CET (09:25 UTC) is 1 minute late; {BOTH}"),
]


@pytest.mark.parametrize(("minutes", "held", "said"), NUDGED)
def test_a_nudge_says_who_is_waiting_what_they_get_and_what_to_paste_where(
    tmp_path: Path, minutes: float, held: str, said: str
) -> None:
    """`[silence]` may hold for some of those who wait: nobody leans back for the rest."""
    silence = "".join(f'{name} = "hold"\n' for name in held.split())
    phone = 'phone = "+4915112345699"\n'
    bench = desk_of(tmp_path, OWNER + phone + f"[silence]\n{silence}", minutes=minutes)
    bench.tick()
    nudge = next(each for each in bench.mails() if "sam-acme" in each.name)
    mail = email.message_from_bytes(nudge.read_bytes(), policy=email.policy.default)
    part = mail.get_body(("plain",))
    assert part is not None
    *body, hint, _, line = part.get_content().rstrip().splitlines()
    assert said in body
    assert hint.endswith(f" On {socket.gethostname()}, in {tmp_path}, paste and complete:")
    assert line == '    commcast update pay7 --nothing-new "…" --next 20m'
    (text,) = [path.read_text() for path in bench.texts() if "345699" in path.read_text()]
    assert "paste and complete: " + line.strip().replace("…", "...") in text


class Names(AbstractResolver):
    """A name service in the test's hand; each look-up gets the next of `answers`, then the last again."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_UNSPEC) -> list[ResolveResult]:
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        more: Any = {"hostname": host, "port": port, "family": family, "proto": 0, "flags": 0}
        return [more | {"host": each} for each in found.split()]

    async def close(self) -> None:
        """Nothing is held."""


def test_a_get_with_2xx_is_a_beat_without_proxy_or_redirect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with threaded(HttpStandIn(answer(204))) as server, threaded(HttpStandIn(answer())) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert ping(f"{server.url}/ping/token?a=b%20c", private=True) == ""
    assert proxy.connections == 0
    (exchange,) = server.exchanges
    assert (exchange.method, exchange.target) == ("GET", "/ping/token?a=b%20c")
    assert exchange.headers["user-agent"] == "commcast"
    with threaded(HttpStandIn(answer())) as other, threaded(HttpStandIn(redirect(other.url))) as server:
        why = ping(server.url, private=True)
    assert why == "127.0.0.1 responded with 302: redirects are not followed, write the final address"
    assert other.connections == 0


PRIVATE = "127.0.0.1 localhost [::1] 10.1.2.3 169.254.169.254 [::ffff:127.0.0.1] １２７.0.0.1"
DISGUISED = "127.1 2130706433 0x7f000001 0177.0.0.1"


@pytest.mark.parametrize("host", [*PRIVATE.split(), *DISGUISED.split()])
def test_a_private_address_is_refused_unless_it_is_allowed_and_a_number_in_disguise_always(host: str) -> None:
    why = ping(f"http://{host}:1/secret", private=False)
    assert "secret" not in why
    if host in DISGUISED.split():
        assert "is not a valid host" in why
        assert "is not a valid host" in ping(f"http://{host}:1/", private=True)
    else:
        assert "is in this network; if that is intended: heartbeat_private = true in [tick]" in why


@pytest.mark.parametrize("answers", ["127.0.0.1 ::1", "127.0.0.1", "192.0.2.1, 127.0.0.1"])
def test_a_name_is_looked_up_once_and_leads_home_only_where_that_is_allowed(answers: str) -> None:
    """Neither does a second answer lead home after a first that may be asked."""
    names, is_beat = Names(*answers.split(", ")), answers == "127.0.0.1"
    with threaded(HttpStandIn(answer(200))) as server:
        why = ping(f"http://beat.example:{server.port}/", private=is_beat, names=names)
    assert names.asked == ["beat.example"]
    assert (why == "", server.connections) == (is_beat, is_beat)
    assert why.startswith("beat.example is in this network") != is_beat
    assert [each.headers["host"] for each in server.exchanges] == [f"beat.example:{server.port}"] * is_beat


NOT_VALID = "gave no valid response"
MISBEHAVES = {"hang": "gave no answer in time", "drip": "", "endless": "", "endless_head": "gave no"}
MISBEHAVES |= {"garbage": NOT_VALID, "reset": NOT_VALID, "close": NOT_VALID, "down": "responded with 503"}


@pytest.mark.parametrize("name", MISBEHAVES)
def test_a_monitor_that_misbehaves_keeps_nobody(name: str) -> None:
    """Of an endless or a dripping answer the head is enough, or the time is over."""
    why = MISBEHAVES[name]
    with threaded(HttpStandIn(getattr(standins, name, answer(503, "down")))) as server:
        said = ping(server.url, private=True, seconds=0.5)
    assert said.startswith(f"127.0.0.1 {why}") if why else said in {"", "127.0.0.1 gave no answer in time"}


def test_where_nobody_listens_or_nothing_is_named_that_is_said() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/token"
        assert ping(url, private=True) == "127.0.0.1 cannot be reached"
    assert ping("https://beat.invalid/t", private=False) == "beat.invalid cannot be resolved"
    for url in ("http://[::1", "https://", "nonsense"):
        assert ping(url, private=False) != ""


def test_the_certificate_is_that_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path, host="beat.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.pem))
    names = Names("127.0.0.1")
    with threaded(HttpStandIn(answer(), tls=certificate.server_context())) as server:
        urls = (f"https://{name}.example:{server.port}/" for name in ("beat", "other"))
        why = [ping(url, private=True, names=names) for url in urls]
    assert why == ["", "other.example has an untrusted certificate"]


def test_a_name_service_that_hangs_keeps_neither_the_tick_nor_the_process() -> None:
    script = (
        "import socket, threading; from commcast.oncall.heartbeat import ping\n"
        "socket.getaddrinfo = lambda *a, **k: threading.Event().wait()\n"
        "print(ping('https://beat.invalid/', private=False, seconds=0.3))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("beat.invalid gave no answer in time\n", 0), done.stderr


@pytest.fixture
def live(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def beating(bench: Bench, url: str, *, private: bool = True) -> None:
    path = bench.folder / "commcast.toml"
    more = "heartbeat_private = true\n" if private else ""
    path.write_text(f'{path.read_text()}[tick]\nheartbeat_url = "{url}"\n{more}')


def test_a_pass_that_went_well_is_told(live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address may be kept in the environment."""
    live.release()
    with threaded(HttpStandIn(answer())) as server:
        beating(live, "env:HEARTBEAT")
        assert "Heartbeat: HEARTBEAT is not set" in run("tick", folder=live.folder).stderr
        monkeypatch.setenv("HEARTBEAT", f"{server.url}/t0ken")
        result = run("tick", folder=live.folder)
    assert [exchange.target for exchange in server.exchanges] == ["/t0ken"]
    assert "eartbeat" not in result.output
    assert url_of("https://a.example/x", {}) == "https://a.example/x"
    assert url_of("env:BEAT", {"BEAT": " https://a.example/x\n"}) == "https://a.example/x"


@pytest.mark.parametrize("way", ["broken", "dry", "private"])
def test_faults_a_dry_run_and_by_default_a_private_address_are_no_beat(live: Bench, way: str) -> None:
    if way == "broken":
        (live.folder / "incidents" / "half.yaml").write_text("title: [\n")
    with threaded(HttpStandIn(answer())) as server:
        beating(live, server.url, private=way != "private")
        result = run("tick", *["--dry-run"][: way == "dry"], folder=live.folder, expect=2 * (way == "broken"))
    assert server.connections == 0
    assert ("heartbeat_private = true" in result.stderr) == (way == "private")


@pytest.mark.parametrize("handler", [answer(500), standins.reset])
def test_a_monitor_that_fails_is_said_once_and_fails_no_tick(live: Bench, handler: standins.Handler) -> None:
    """But a wrong address is refused, without being shown."""
    with threaded(HttpStandIn(handler)) as server:
        beating(live, f"{server.url}/t0ken")
        result = run("tick", "--loop", "1s", "--for", "2s", folder=live.folder)
    assert server.connections > 1
    assert result.stderr.count("Heartbeat: 127.0.0.1 ") == 1
    path = live.folder / "commcast.toml"
    path.write_text(path.read_text().replace(server.url, "hc-ping.example"))
    refused = run("tick", folder=live.folder, expect=2)
    assert "tick.heartbeat_url" in refused.stderr
    assert "t0ken" not in result.output + refused.output
