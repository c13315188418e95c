"""Nudging: what happens to a tick while it wakes an incident's people."""

from __future__ import annotations

import email
import email.policy
import signal
from pathlib import Path

import pytest

from commcast.errors import ExitCode, TryAgain
from commcast.ledger.oncall import begin_call
from commcast.ledger.releases import stops_in_force
from commcast.ledger.store import Ledger
from commcast.model.incident import Channel
from commcast.operations import wake as nudging
from commcast.operations.wake import Nudger
from tests.support.desk import START, Bench, update_text, write_desk, write_incident
from tests.support.providers import FakeAdapter

OWNER = '[people.sam]\nname = "Sam Oyo"\nemail = "sam@acme.example"\n'


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_desk(tmp_path, extra=OWNER)
    path = write_incident(tmp_path)
    path.write_text(path.read_text().replace("owner: dana", "owner: sam"))
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
def test_a_signal_ends_the_tick_and_stops_no_later_nudge(
    bench: Bench, number: signal.Signals, code: ExitCode
) -> None:
    bench.send()
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text() + update_text(bench.later(minutes=1), issue="It is the switch."))
    bench.release()
    bench.later(minutes=15)  # a nudge is due, and words of a person, which are not sent after the signal
    handed: list[str] = []

    def wired(channel: Channel) -> FakeAdapter:
        return FakeAdapter(channel, before=lambda adapter: signal.raise_signal(number))

    bench.adapter = wired
    ticked = bench.tick()
    assert ticked.exit_code(0.02) is code
    assert ticked.delivered == {}
    with bench.ledger.read() as connection:
        assert [stop.incident for stop in stops_in_force(connection)] == []
    bench.adapter = lambda channel: FakeAdapter(
        channel, before=lambda adapter: handed.extend(adapter.addresses)
    )
    bench.later(minutes=2)
    bench.tick()
    assert "ann@example.com" in handed


def test_what_keeps_its_people_asleep_keeps_no_reader_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.send()
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text() + update_text(bench.later(minutes=1), issue="It is the switch."))
    bench.later(minutes=15)
    bench.release()

    def fails(*_: object) -> None:
        raise TryAgain("somebody else is at it")

    monkeypatch.setattr(Nudger, "nudge", fails)
    ticked = bench.tick()
    assert ticked.exit_code(0.02) is ExitCode.TRY_AGAIN
    assert bench.states(notice="update:2") == {("email", "accepted"): 3}


def test_a_pager_is_called_though_the_run_died_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nudge's mail is frozen, and what wakes those who sleep was not begun: the next tick begins it."""
    called: list[str] = []

    def dies(*_: object, **__: object) -> None:
        raise TryAgain("the ledger is locked")

    def calls(ledger: Ledger, incident: str, nudge: str, *_: object, **__: object) -> None:
        with ledger.write() as connection:
            if begin_call(connection, incident, nudge, START):
                called.append(nudge)

    write_desk(tmp_path, extra=OWNER + '[nudge]\ncommand = ["page"]\n')
    path = write_incident(tmp_path)
    path.write_text(path.read_text().replace("owner: dana", "owner: sam"))
    bench = Bench(tmp_path)
    bench.send()
    bench.later(minutes=25)
    monkeypatch.setattr(nudging, "call_once", dies)
    bench.tick()
    monkeypatch.setattr(nudging, "call_once", calls)
    for _ in range(3):
        bench.later(minutes=1)
        bench.tick()
    assert called == ["nudge:2026-11-21T09:25:00Z:late"]
    assert len([mail for mail in bench.mails() if "sam-acme" in mail.name]) == 1


def nudge_mails(bench: Bench) -> list[tuple[str, str]]:
    """Return the nudges by mail, oldest first: subject and body, each line break a space."""
    mails = [
        email.message_from_bytes(each.read_bytes(), policy=email.policy.default) for each in bench.mails()
    ]
    found = []
    for mail in mails:
        if str(mail["subject"]).startswith("[Nudge]"):
            body = mail.get_body(("plain",))
            assert body is not None
            found.append((str(mail["subject"]), " ".join(body.get_content().split())))
    return found


@pytest.mark.parametrize(
    ("silence", "says", "not_says"),
    [
        ("", "nothing goes out and the promise is broken", "holding statement"),
        ('customers = "hold"\nsupport = "hold"', "goes out by itself shortly before", "hear nothing"),
        (
            'customers = "hold"',
            "shortly before. It goes only to: customers "
            "Without word from you these hear nothing, and the promise is broken: support",
            "nothing goes out",
        ),
    ],
)
def test_a_nudge_says_who_hears_something_by_itself_and_who_nothing(
    tmp_path: Path, silence: str, says: str, not_says: str
) -> None:
    """`[silence]` may hold for some of those who wait: nobody leans back for the rest."""
    write_desk(tmp_path, extra=OWNER + f"[silence]\n{silence}\n")
    path = write_incident(tmp_path)
    path.write_text(path.read_text().replace("owner: dana", "owner: sam"))
    bench = Bench(tmp_path)
    bench.send()
    bench.later(minutes=15.5)
    bench.tick()
    ((_, body),) = nudge_mails(bench)
    assert says in body
    assert not_says not in body


def test_a_nudge_over_a_statement_that_goes_only_to_some_says_so(tmp_path: Path) -> None:
    write_desk(tmp_path, extra=OWNER + '[silence]\ncustomers = "hold"\n')
    path = write_incident(tmp_path)
    path.write_text(path.read_text().replace("owner: dana", "owner: sam"))
    bench = Bench(tmp_path)
    bench.send()
    bench.later(minutes=18)
    bench.tick()
    ((subject, body),) = nudge_mails(bench)
    assert "a holding statement goes out to some before 10:25 CET" in subject
    assert "the promise is broken: support" in body
