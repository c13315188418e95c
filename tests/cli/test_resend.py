"""commcast resend and settle: a person decides, knows what it means, and their name stands beside it."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path

import pytest
from sqlalchemy import update

from commcast.cli import prompt as asking
from commcast.delivery import deliver as delivering
from commcast.ledger import tables as schema
from commcast.ledger.releases import stop_incident
from commcast.ledger.settle import settle_lost
from commcast.ledger.unknowns import Act, acts
from commcast.model.message import Blame, Delivery, Outcome, OutcomeKind
from commcast.providers import registry as wiring
from tests.crash.services import Receiver
from tests.support import terminal as terminals
from tests.support.desk import Bench, numbered, update_text, write_desk, write_incident
from tests.support.providers import FakeAdapter, FakeRecords, die_over
from tests.support.terminal import every_byte, just_now, run

RESEND = ("resend", "pay7", "--unknown")
SETTLE = ("settle", "pay7", "--unknown", "--as")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A desk; a run died over the two texts and three mails of its incident."""
    return lost_desk(tmp_path)


def lost_desk(folder: Path, name: str = "pay7", **settings: object) -> Bench:
    write_desk(folder, **settings)  # type: ignore[arg-type]
    return lose(folder, name)


def lose(folder: Path, name: str = "pay7") -> Bench:
    write_incident(folder, name, at=just_now())
    bench = Bench(folder, now=datetime.now(UTC))
    bench.release(name)
    bench.freeze(name)
    die_over(bench, incident=name)
    with bench.ledger.write() as connection:
        settle_lost(connection, bench.now)
    return bench


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


def states(bench: Bench) -> Counter[str]:
    return Counter(row.state.value for row in bench.rows())


def done(bench: Bench) -> list[Act]:
    with bench.ledger.read() as connection:
        return list(acts(connection, "pay7"))


def nothing_left(bench: Bench) -> None:
    assert bench.mails() == bench.texts() == []
    assert set(states(bench)) == {"unknown"}
    assert [act for act in done(bench) if act.what != "reconcile"] == []


def lying_low(monkeypatch: pytest.MonkeyPatch, adapter: FakeAdapter) -> None:
    monkeypatch.setattr(wiring, "adapter_for", lambda config, channel, clock: adapter)


def test_a_yes_sends_once_more_through_the_one_path_and_is_remembered(bench: Bench) -> None:
    result = run(*RESEND, "--yes", "--by", "dana", folder=bench.folder)
    assert "pay7: 5 messages are released again: 5 accepted." in result.stdout
    assert len(bench.mails()) == 3
    assert len(bench.texts()) == 2
    assert states(bench) == {"accepted": 5}
    assert {(act.what, act.became, act.by) for act in done(bench)} == {("resend", "pending", "dana")}
    assert {row.attempts for row in bench.rows()} == {2}
    again = run(*RESEND, "--yes", folder=bench.folder)
    assert "Nothing is unknown of pay7" in again.stdout
    assert len(bench.mails()) == 3
    assert "released again by dana" in run("log", "pay7", folder=bench.folder).stdout


def test_without_a_terminal_and_without_yes_nothing_is_sent(bench: Bench) -> None:
    result = run(*RESEND, folder=bench.folder, expect=5)
    assert "no --yes: nothing was sent again" in result.stderr
    nothing_left(bench)


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize("typed", ["n\n", "\n", "", "maybe\n"])
@pytest.mark.parametrize("command", [RESEND, (*SETTLE, "accepted")])
def test_anything_but_yes_changes_nothing(bench: Bench, command: tuple[str, ...], typed: str) -> None:
    assert terminals.run_at_terminal(bench.folder, *command, typed=typed).exit_code == 5
    nothing_left(bench)


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize(("typed", "code"), [("y\n", 5), ("4\n", 5), ("5\n", 0)])
@pytest.mark.parametrize("command", [RESEND, (*SETTLE, "accepted")])
def test_above_confirm_above_the_number_is_typed(
    tmp_path: Path, command: tuple[str, ...], typed: str, code: int
) -> None:
    bench = lost_desk(tmp_path, extra="confirm_above = 4")
    assert terminals.run_at_terminal(bench.folder, *command, typed=typed).exit_code == code
    assert states(bench) == ({"unknown": 5} if code else {"accepted": 5})


@pytest.mark.usefixtures("person")
def test_the_question_says_to_whom_and_that_a_second_copy_may_come(bench: Bench) -> None:
    shown = terminals.run_at_terminal(bench.folder, *RESEND, typed="n\n").stderr
    assert "update 1 by email: 3 to h…@acme.example, a…@example.com, b…@example.com" in shown
    assert "update 1 by SMS: 2 to …5671, …5672" in shown
    assert "Who did get it gets it a second time." in shown
    assert "nothing keeps a second copy away" in shown
    assert "Send 5 messages again?" in shown
    assert "Message-ID" not in shown
    assert "ann@example.com" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_records_that_nobody_asked_are_named_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = lost_desk(tmp_path, sms='provider = "twilio"')
    by_name = {"twilio": FakeRecords(answer=lambda asked: None)}
    monkeypatch.setattr(wiring, "records_for", lambda config, provider, clock: by_name.get(provider))
    shown = run(*RESEND, "--dry-run", folder=bench.folder).stdout
    assert "Nobody has asked twilio about 2 of them" in shown
    assert "commcast reconcile pay7" in shown
    run("reconcile", folder=bench.folder, expect=1)
    assert "Nobody has asked" not in run(*RESEND, "--dry-run", folder=bench.folder).stdout


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    bench = lost_desk(tmp_path, customers=numbered(40))
    shown = run(*RESEND, "--dry-run", folder=bench.folder).stdout
    assert "update 1 by SMS: 40 to …0000, …0001, …0002, …0003, …0004 and 35 more" in shown


def test_only_the_address_that_is_named_gets_it_again(bench: Bench) -> None:
    result = run(*RESEND, "--to", "Ann@Example.com", "--yes", folder=bench.folder)
    assert "update 1 by email: 1 to ann@example.com" in result.stderr
    assert [path.name.split("-", 1)[1] for path in bench.mails()] == ["ann-example-com.eml"]
    assert bench.texts() == []
    assert states(bench) == {"accepted": 1, "unknown": 4}


def test_a_number_is_an_address_too(bench: Bench) -> None:
    run(*RESEND, "--to", "+49 151 12345672", "--yes", folder=bench.folder)
    assert len(bench.texts()) == 1
    assert (
        "Nothing to this address is unknown"
        in run(*RESEND, "--to", "+4915112345672", folder=bench.folder).stdout
    )
    run(*RESEND, "--to", "no address", "--yes", folder=bench.folder, expect=2)


def test_a_mail_over_smtp_has_the_same_message_id(tmp_path: Path, receiver: Receiver) -> None:
    """The relay took the first one, and its answer was lost."""
    write_desk(
        tmp_path,
        customers=["twice@example.com,,Ann"],
        support=["t@acme.example,Su"],
        email="smtp",
        port=receiver.port,
    )
    write_incident(tmp_path, at=just_now())
    bench = Bench(tmp_path, now=datetime.now(UTC))
    bench.send()
    with bench.ledger.write() as connection:
        connection.execute(update(schema.delivery).values(state="unknown", reason="the answer was lost"))
    result = run(*RESEND, "--to", "twice@example.com", "--yes", folder=tmp_path, expect=0)
    assert "Mails have the same Message-ID as before" in result.stderr
    assert "nothing keeps a second copy away" not in result.stderr
    taken = [each for each in receiver.inbox.messages if "twice@example.com" in each.recipients]
    mails = [message_from_bytes(each.raw) for each in taken]
    assert len(mails) == 2
    assert len({mail["Message-ID"] for mail in mails}) == 1


def test_a_dry_run_changes_no_byte_and_sends_nothing(bench: Bench) -> None:
    before = every_byte(bench.folder)
    shown = run(*RESEND, "-n", folder=bench.folder).stdout.splitlines()
    assert shown[0] == "pay7: would be sent again, although it may have arrived:"
    assert shown[-1] == "Dry run: nothing was written, nothing was sent."
    document = json.loads(run(*RESEND, "-n", "--json", folder=bench.folder).stdout)
    assert (document["commcast"], document["dry_run"]) == ("resend", True)
    assert (document["chosen"], document["sent_again"], document["left_out"]) == (5, 0, {})
    assert every_byte(bench.folder) == before


def test_as_json(bench: Bench) -> None:
    run("recipients", "suppress", "ann@example.com", folder=bench.folder)
    document = json.loads(run(*RESEND, "--yes", "--json", folder=bench.folder, expect=1).stdout)
    assert document == {
        "commcast": "resend",
        "version": 1,
        "incident": "pay7",
        "found": 5,
        "chosen": 4,
        "sent_again": 4,
        "became": {"accepted": 4},
        "left_out": {"opted out": 1},
        "dry_run": False,
        "exit_code": 1,
    }


def test_json_has_the_same_keys_whatever_became_of_it(bench: Bench) -> None:
    def keys(*command: str) -> list[str]:
        return list(json.loads(run(*command, "--json", folder=bench.folder).stdout))

    shared = {"incident", "found", "chosen", "became", "left_out", "dry_run", "exit_code"}
    settled = keys(*SETTLE, "accepted", "--yes", "--to", "ann@example.com")
    assert {*shared, "settled", "as", "meanwhile"} <= set(settled)
    planned = keys(*RESEND, "--dry-run")
    assert {*shared, "sent_again"} <= set(planned)
    assert keys(*RESEND, "--yes") == planned
    assert keys(*RESEND, "--yes") == planned  # nothing is unknown any more
    assert keys(*RESEND, "--dry-run") == planned
    assert keys(*SETTLE, "accepted", "--yes") == settled


def test_what_a_provider_refuses_as_a_whole_is_released_and_has_not_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(item: Delivery) -> Outcome:
        return Outcome(item.delivery, OutcomeKind.NOT_TAKEN, "the key is wrong", blame=Blame.ACCOUNT)

    monkeypatch.setattr(wiring, "adapter_for", lambda config, channel, clock: FakeAdapter(channel, refuse))
    result = run(*RESEND, "--yes", folder=bench.folder, expect=78)
    assert "pay7: 5 messages are released again; none has left yet: 5 waiting." in result.stdout
    assert "sent again" not in result.stdout


@pytest.mark.parametrize("command", ["resend", "settle"])
def test_the_command_line_says_what_it_is_about(bench: Bench, command: str) -> None:
    as_ = ["--as", "accepted"] if command == "settle" else []
    result = run(command, "pay7", *as_, "--yes", folder=bench.folder, expect=2)
    assert f"commcast {command} --unknown" in result.stderr
    nothing_left(bench)


def test_an_incident_may_be_left_out_when_one_has_lost_answers(bench: Bench) -> None:
    run("resend", "--unknown", "--yes", folder=bench.folder)
    assert len(bench.mails()) == 3
    assert "Nothing is unknown." in run("resend", "--unknown", "--yes", folder=bench.folder).stdout
    assert "Nothing is unknown." in run("settle", "--unknown", "--as", "accepted", folder=bench.folder).stdout


def test_several_incidents_are_listed_and_none_is_guessed(bench: Bench) -> None:
    lose(bench.folder, "web1")
    for command in (("resend", "--unknown"), ("settle", "--unknown", "--as", "accepted")):
        result = run(*command, "--yes", folder=bench.folder, expect=2)
        assert "pay7, web1" in result.stderr
    run("resend", "nothing1", "--unknown", "--yes", folder=bench.folder, expect=2)
    nothing_left(bench)


def test_nothing_of_a_stopped_incident_is_sent_again(bench: Bench) -> None:
    run("stop", "pay7", "--by", "kim", folder=bench.folder)
    for how in ("--yes", "--dry-run", "--json"):  # it is said first, before anybody is asked
        result = run(*RESEND, how, folder=bench.folder, expect=5)
        assert "commcast resume pay7" in result.stderr
    nothing_left(bench)


@pytest.mark.parametrize("command", [RESEND, (*SETTLE, "accepted")])
def test_what_a_dead_run_left_needs_no_tick_to_be_found(tmp_path: Path, command: tuple[str, ...]) -> None:
    write_desk(tmp_path)
    write_incident(tmp_path, at=just_now())
    bench = Bench(tmp_path, now=datetime.now(UTC))
    bench.release()
    bench.freeze()
    die_over(bench)
    run(*command, "--yes", folder=tmp_path)
    assert states(bench) == {"accepted": 5}


@pytest.mark.usefixtures("person")
def test_a_stop_at_the_question_wins(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped_meanwhile(_question: str) -> bool:
        with bench.ledger.write() as connection:
            stop_incident(connection, "pay7", "kim", bench.now)
        return True

    monkeypatch.setattr(asking, "says_yes", stopped_meanwhile)
    assert "stopped by kim" in run(*RESEND, folder=bench.folder, expect=5).stderr
    nothing_left(bench)


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize("command", [RESEND, (*SETTLE, "rejected")])
def test_an_answer_that_comes_at_the_question_wins(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    def answered_meanwhile(_question: str) -> bool:
        with bench.ledger.write() as connection:
            connection.execute(update(schema.delivery).values(state="accepted", reason="late"))
        return True

    def delivered(*_: object) -> None:
        pytest.fail("there was nothing to deliver")

    monkeypatch.setattr(asking, "says_yes", answered_meanwhile)
    monkeypatch.setattr(delivering.Deliverer, "deliver", delivered)
    assert re.search("5 were answered", run(*command, folder=bench.folder).stdout)
    assert {(row.state.value, row.reason) for row in bench.rows()} == {("accepted", "late")}
    assert done(bench) == []
    assert bench.mails() == bench.texts() == []


def test_who_must_not_hear_it_again_is_left_out_and_stays_unknown(bench: Bench) -> None:
    run("recipients", "suppress", "ann@example.com", folder=bench.folder)
    run("recipients", "erase", "bob@example.com", "--yes", folder=bench.folder)
    result = run(*RESEND, "--yes", folder=bench.folder, expect=1)
    assert "left out: 1, opted out" in result.stderr
    assert "left out: 2, erased" in result.stderr
    assert states(bench) == {"accepted": 2, "unknown": 3}


def test_where_nobody_may_hear_it_again_a_person_has_to_think(bench: Bench) -> None:
    past = schema.stamp(datetime.now(UTC) - timedelta(seconds=1))
    with bench.ledger.write() as connection:
        connection.execute(update(schema.delivery).values(expires_at=past))
    result = run(*RESEND, "--yes", folder=bench.folder, expect=5)
    assert "left out: 5, the promise in these words has passed" in result.stderr
    assert "commcast settle pay7 --unknown --as accepted" in result.stderr
    nothing_left(bench)
    assert "5 nobody said yes or all are left out" in " ".join(run("resend", "--help").stdout.split())


def test_older_words_are_not_sent_again_after_newer_ones(bench: Bench) -> None:
    path = bench.folder / "incidents/pay7.yaml"
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)
    path.write_text(path.read_text() + update_text(at, status="identified", resolution="A fix."))
    bench.now = datetime.now(UTC)
    bench.send()
    result = run(*RESEND, "--yes", folder=bench.folder, expect=1)
    assert "left out: 3, newer words have gone to them" in result.stderr
    assert {row.notice for row in bench.rows() if row.state.value == "unknown"} == {"update:1"}


def test_unknown_again_is_unknown_and_may_be_sent_a_third_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(item: Delivery) -> Outcome:
        kind = OutcomeKind.UNKNOWN if item.delivery % 2 else OutcomeKind.ACCEPTED
        return Outcome(item.delivery, kind, "no answer within 20 s")

    with monkeypatch.context() as patch:
        patch.setattr(
            wiring, "adapter_for", lambda config, channel, clock: FakeAdapter(channel, half, ready=50)
        )
        result = run(*RESEND, "--yes", folder=bench.folder, expect=1)
    assert "5 messages are released again: 2 accepted, 3 unknown." in result.stdout
    assert "nobody is told again by itself" in result.stderr
    run(*RESEND, "--yes", folder=bench.folder)
    assert states(bench) == {"accepted": 5}
    assert Counter(row.attempts for row in bench.rows()) == {2: 2, 3: 3}
    assert len(done(bench)) == 8


def test_settings_that_cannot_work_change_nothing(tmp_path: Path) -> None:
    bench = lost_desk(tmp_path)
    config = bench.folder / "commcast.toml"
    text = config.read_text().replace('provider = "outbox"\nfrom', 'provider = "smtp"\nfrom')
    config.write_text(text.replace('security = "none"', 'security = "none"\nuser = "status"'))
    run(*RESEND, "--yes", folder=bench.folder, expect=78)
    nothing_left(bench)


def killed_at(step: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a resend in a process of its own, which dies at `step`."""
    child = os.fork()
    if child == 0:
        die = FakeAdapter(before=lambda adapter: os.kill(os.getpid(), signal.SIGKILL))
        if step == "after the decision":
            monkeypatch.setattr(
                delivering.Deliverer, "deliver", lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            )
        else:
            lying_low(monkeypatch, die)
        run(*RESEND, "--yes", folder=folder)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("step", ["after the decision", "in a hand-over"])
def test_killed_in_the_middle_nobody_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    lost_desk(tmp_path).ledger.close()
    killed_at(step, tmp_path, monkeypatch)
    bench = Bench(tmp_path, now=datetime.now(UTC))
    assert set(states(bench)) <= {"pending", "claimed"}
    assert len(done(bench)) == 5
    run("tick", folder=tmp_path, expect=0 if step == "after the decision" else 1)
    found = states(bench)
    assert found["accepted"] + found["unknown"] == 5
    assert found["unknown"] == (0 if step == "after the decision" else len(done(bench)) - found["accepted"])
    assert max(Counter(path.name for path in [*bench.mails(), *bench.texts()]).values()) == 1


@pytest.mark.parametrize("as_", ["accepted", "rejected"])
def test_a_person_settles_what_they_know(bench: Bench, as_: str) -> None:
    result = run(*SETTLE, as_, "--because", "the relay's\nlog", "--by", "dana", "--yes", folder=bench.folder)
    assert f"pay7: 5 messages settled as {as_}." in result.stdout
    assert {(row.state.value, row.reason) for row in bench.rows()} == {
        (as_, "settled by dana: the relay's log")
    }
    assert bench.mails() == bench.texts() == []
    shown = run("log", "pay7", folder=bench.folder).stdout
    assert f"3 readers  settled by dana: {as_}  the relay's log" in shown


def test_only_the_address_that_is_named_is_settled(bench: Bench) -> None:
    document = json.loads(
        run(*SETTLE, "rejected", "--to", "ann@example.com", "--yes", "--json", folder=bench.folder).stdout
    )
    assert (document["found"], document["settled"], document["as"], document["meanwhile"]) == (
        1,
        1,
        "rejected",
        0,
    )
    assert (document["became"], document["left_out"]) == ({"rejected": 1}, {})
    assert states(bench) == {"rejected": 1, "unknown": 4}


@pytest.mark.usefixtures("person")
def test_what_a_settlement_means_is_said(bench: Bench) -> None:
    assert "count as told" in terminals.run_at_terminal(bench.folder, *SETTLE, "accepted", typed="n\n").stderr
    shown = terminals.run_at_terminal(
        bench.folder, *SETTLE, "rejected", "--to", "ann@example.com", typed="n\n"
    ).stderr
    assert "count as not told" in shown
    assert "1 to ann@example.com" in shown


@pytest.mark.parametrize("because", ["ann@example.com called", "called from +49 151 12345671"])
def test_a_reason_holds_no_address(bench: Bench, because: str) -> None:
    result = run(*SETTLE, "accepted", "--because", because, "--yes", folder=bench.folder, expect=2)
    assert "12345671" not in result.output
    assert "ann@" not in result.output
    nothing_left(bench)


def test_a_reason_is_inert_and_bounded(bench: Bench) -> None:
    run(*SETTLE, "accepted", "--because", "\x1b[31m" + "x" * 5000, "--yes", folder=bench.folder)
    (reason,) = {row.reason for row in bench.rows()}
    assert "\x1b" not in reason
    assert len(reason) < 300


def test_other_words_than_accepted_or_rejected_are_refused(bench: Bench) -> None:
    run(*SETTLE, "skipped", "--yes", folder=bench.folder, expect=2)
    run("settle", "pay7", "--unknown", "--yes", folder=bench.folder, expect=2)
    nothing_left(bench)


def test_who_was_settled_as_accepted_hears_the_end_and_as_rejected_does_not(bench: Bench) -> None:
    run(*SETTLE, "accepted", "--to", "ann@example.com", "--yes", folder=bench.folder)
    run(*SETTLE, "rejected", "--to", "bob@example.com", "--yes", folder=bench.folder)
    run("resolve", "pay7", "--fixed", "Rolled back.", "--yes", folder=bench.folder)
    told = {row.address for row in bench.rows() if row.notice == "update:2" and row.channel == "email"}
    assert "ann@example.com" in told
    assert "bob@example.com" not in told
