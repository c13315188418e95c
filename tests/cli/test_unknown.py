"""resend, settle and reconcile: what becomes of lost answers, and that nobody is told twice unasked."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from commcast.cli import prompt as asking
from commcast.delivery import worker as delivering
from commcast.errors import ConfigError, TryAgain
from commcast.ledger import tables as schema
from commcast.ledger.fence import stop_incident
from commcast.ledger.settle import settle_lost
from commcast.ledger.unknowns import Act, acts
from commcast.model.incident import Channel
from commcast.model.message import Blame, Delivery, Outcome, OutcomeKind
from commcast.providers import registry as wiring
from commcast.providers.base import Refused, Seen
from tests.crash.services import Receiver
from tests.support.desk import Bench, numbered, write_desk, write_incident
from tests.support.providers import FakeAdapter, FakeRecords, die_over, seeing, taken
from tests.support.terminal import every_byte, just_now, missing, run, run_at_terminal

RESEND = ("resend", "pay7", "--unknown")
SETTLE = ("settle", "pay7", "--unknown", "--as")
BOTH = pytest.mark.parametrize("command", [RESEND, (*SETTLE, "accepted")], ids=["resend", "settle"])
TWILIO = 'provider = "twilio"'


def dying(folder: Path, name: str = "pay7", *, settled: bool = True, **settings: object) -> Bench:
    """Return a desk on which a run died over the two texts and three mails of an incident."""
    write_desk(folder, **settings)  # type: ignore[arg-type]
    write_incident(folder, name, at=just_now())
    bench = Bench(folder, now=datetime.now(UTC))
    bench.release(name)
    bench.freeze(name)
    die_over(bench, incident=name)
    if settled:
        with bench.ledger.write() as connection:
            settle_lost(connection, bench.now)
    return bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return dying(tmp_path)


@pytest.fixture
def asked(tmp_path: Path) -> Bench:
    """A desk whose texts go by Twilio, which can be asked."""
    return dying(tmp_path, settled=False, sms=TWILIO)


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


def by(monkeypatch: pytest.MonkeyPatch, answer: Callable[[Delivery], Outcome]) -> None:
    """Let adapters answer so."""
    made = partial(FakeAdapter, answer=answer, ready=50)
    monkeypatch.setattr(wiring, "adapter_for", lambda config, channel, clock: made(channel))


def keeping(monkeypatch: pytest.MonkeyPatch, *records: FakeRecords) -> None:
    """Let these be the records that there are."""
    by_name = {each.name: each for each in records}
    monkeypatch.setattr(wiring, "records_for", lambda config, provider, clock: by_name.get(provider))


# --- resend and settle: who is asked what


def test_a_yes_sends_once_more_through_the_one_path_and_is_remembered(bench: Bench) -> None:
    result = run(*RESEND, "--yes", "--by", "dana", folder=bench.folder)
    assert "pay7: 5 messages are released again: 5 accepted." in result.stdout
    assert (len(bench.mails()), len(bench.texts()), states(bench)) == (3, 2, {"accepted": 5})
    assert {(act.what, act.became, act.by) for act in done(bench)} == {("resend", "pending", "dana")}
    assert {row.attempts for row in bench.rows()} == {2}
    assert "Nothing is unknown of pay7" in run(*RESEND, "--yes", folder=bench.folder).stdout
    assert len(bench.mails()) == 3
    assert "released again by dana" in run("log", "pay7", folder=bench.folder).stdout
    assert "Nothing is unknown." in run("resend", "--unknown", "--yes", folder=bench.folder).stdout
    assert "Nothing is unknown." in run("settle", "--unknown", "--as", "accepted", folder=bench.folder).stdout


@pytest.mark.parametrize("as_", ["accepted", "rejected"])
def test_a_person_settles_what_they_know(bench: Bench, as_: str) -> None:
    result = run(*SETTLE, as_, "--because", "the relay's\nlog", "--by", "dana", "--yes", folder=bench.folder)
    assert f"pay7: 5 messages settled as {as_}." in result.stdout
    said = "settled by dana: the relay's log"
    assert {(row.state.value, row.reason) for row in bench.rows()} == {(as_, said)}
    assert bench.mails() == bench.texts() == []
    shown = run("log", "pay7", folder=bench.folder).stdout
    assert f"3 readers  settled by dana: {as_}  the relay's log" in shown


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize("typed", ["n\n", "\n", "", "maybe\n"])
@BOTH
def test_anything_but_yes_changes_nothing(bench: Bench, command: tuple[str, ...], typed: str) -> None:
    assert run_at_terminal(bench.folder, *command, typed=typed).exit_code == 5
    nothing_left(bench)


@BOTH
def test_without_a_terminal_and_without_yes_nothing_is_changed(
    bench: Bench, command: tuple[str, ...]
) -> None:
    assert "no --yes: nothing was " in run(*command, folder=bench.folder, expect=5).stderr
    nothing_left(bench)


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize(("typed", "code"), [("y\n", 5), ("4\n", 5), ("5\n", 0)])
@BOTH
def test_above_confirm_above_the_number_is_typed(
    tmp_path: Path, command: tuple[str, ...], typed: str, code: int
) -> None:
    bench = dying(tmp_path, extra="confirm_above = 4")
    assert run_at_terminal(bench.folder, *command, typed=typed).exit_code == code
    assert states(bench) == ({"unknown": 5} if code else {"accepted": 5})


@pytest.mark.usefixtures("person")
def test_the_question_says_to_whom_and_what_a_yes_means(bench: Bench) -> None:
    shown = run_at_terminal(bench.folder, *RESEND, typed="n\n").stderr
    for line in (
        "update 1 by email: 3 to h…@acme.example, a…@example.com, b…@example.com",
        "update 1 by SMS: 2 to …5671, …5672",
        "Who did get it gets it a second time.",
        "nothing keeps a second copy away",
        "Send 5 messages again?",
    ):
        assert line in shown
    assert "Message-ID" not in shown
    assert "ann@example.com" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "count as told" in run_at_terminal(bench.folder, *SETTLE, "accepted", typed="n\n").stderr
    one = ("rejected", "--to", "ann@example.com")
    shown = run_at_terminal(bench.folder, *SETTLE, *one, typed="n\n").stderr
    assert missing("count as not told … 1 to ann@example.com", shown) == []


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    bench = dying(tmp_path, customers=numbered(40))
    shown = run(*RESEND, "--dry-run", folder=bench.folder).stdout
    assert "update 1 by SMS: 40 to …0000, …0001, …0002, …0003, …0004 and 35 more" in shown


def test_a_dry_run_changes_no_byte_and_sends_nothing(bench: Bench) -> None:
    before = every_byte(bench.folder)
    shown = run(*RESEND, "-n", folder=bench.folder).stdout.splitlines()
    assert shown[0] == "pay7: would be sent again, although it may have arrived:"
    assert shown[-1] == "Dry run: nothing was written, nothing was sent."
    document = json.loads(run(*RESEND, "-n", "--json", folder=bench.folder).stdout)
    assert (document["commcast"], document["dry_run"]) == ("resend", True)
    assert (document["chosen"], document["sent_again"], document["left_out"]) == (5, 0, {})
    assert every_byte(bench.folder) == before


def test_only_the_address_that_is_named_is_meant(bench: Bench) -> None:
    result = run(*RESEND, "--to", "Ann@Example.com", "--yes", folder=bench.folder)
    assert "update 1 by email: 1 to ann@example.com" in result.stderr
    assert [path.name.split("-", 1)[1] for path in bench.mails()] == ["ann-example-com.eml"]
    assert (bench.texts(), states(bench)) == ([], {"accepted": 1, "unknown": 4})
    run(*RESEND, "--to", "+49 151 12345672", "--yes", folder=bench.folder)
    assert len(bench.texts()) == 1
    again = run(*RESEND, "--to", "+4915112345672", folder=bench.folder)
    assert "Nothing to this address is unknown" in again.stdout
    bob = ("--to", "bob@example.com", "--yes", "--json")
    document = json.loads(run(*SETTLE, "rejected", *bob, folder=bench.folder).stdout)
    assert (document["found"], document["settled"], document["meanwhile"]) == (1, 1, 0)
    assert (document["as"], document["became"], document["left_out"]) == ("rejected", {"rejected": 1}, {})
    assert states(bench) == {"accepted": 2, "rejected": 1, "unknown": 2}
    run(*RESEND, "--to", "no address", "--yes", folder=bench.folder, expect=2)


def test_json_has_the_same_keys_whatever_became_of_it(bench: Bench) -> None:
    def keys(*command: str) -> list[str]:
        return list(json.loads(run(*command, "--json", folder=bench.folder).stdout))

    run("recipients", "suppress", "ann@example.com", folder=bench.folder)
    planned = keys(*RESEND, "--dry-run")
    document = json.loads(run(*RESEND, "--yes", "--json", folder=bench.folder, expect=1).stdout)
    counts = {
        "found": 5,
        "chosen": 4,
        "sent_again": 4,
        "became": {"accepted": 4},
        "left_out": {"opted out": 1},
    }
    head = {"commcast": "resend", "version": 1, "incident": "pay7", "dry_run": False, "exit_code": 1}
    assert document == head | counts
    settled = keys(*SETTLE, "accepted", "--yes")
    shared = {"incident", "found", "chosen", "became", "left_out", "dry_run", "exit_code"}
    assert {*shared, "settled", "as", "meanwhile"} <= set(settled)
    # Nothing is unknown any more.
    assert keys(*RESEND, "--yes") == keys(*RESEND, "--dry-run") == planned
    assert keys(*SETTLE, "accepted", "--yes") == settled


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("resend", "pay7"), "commcast resend --unknown"),
        (("settle", "pay7", "--as", "accepted"), "commcast settle --unknown"),
        ((*SETTLE, "skipped"), "'skipped'"),
        (("settle", "pay7", "--unknown"), "--as"),
        (("resend", "nothing1", "--unknown"), "nothing was said of an incident 'nothing1'"),
        ((*SETTLE, "accepted", "--because", "ann@example.com called"), "--because holds an address"),
        ((*SETTLE, "accepted", "--because", "from +49 151 12345671"), "--because holds an address"),
    ],
)
def test_what_cannot_be_meant_is_refused(bench: Bench, command: tuple[str, ...], said: str) -> None:
    result = run(*command, "--yes", folder=bench.folder, expect=2)
    assert said in result.stderr
    assert "12345671" not in result.output and "ann@" not in result.output
    nothing_left(bench)


def test_a_reason_is_inert_and_bounded(bench: Bench) -> None:
    run(*SETTLE, "accepted", "--because", "\x1b[31m" + "x" * 5000, "--yes", folder=bench.folder)
    (reason,) = {row.reason for row in bench.rows()}
    assert "\x1b" not in reason
    assert len(reason) < 300


def test_several_incidents_are_listed_and_none_is_guessed(bench: Bench) -> None:
    dying(bench.folder, "web1")
    for command in (("resend", "--unknown"), ("settle", "--unknown", "--as", "accepted")):
        assert "pay7, web1" in run(*command, "--yes", folder=bench.folder, expect=2).stderr
    nothing_left(bench)


def test_nothing_of_a_stopped_incident_is_sent_again(bench: Bench) -> None:
    run("stop", "pay7", "--by", "kim", folder=bench.folder)
    for how in ("--yes", "--dry-run", "--json"):  # it is said first, before anybody is asked
        assert "commcast resume pay7" in run(*RESEND, how, folder=bench.folder, expect=5).stderr
    nothing_left(bench)


def test_settings_that_cannot_work_change_nothing(bench: Bench) -> None:
    config = bench.folder / "commcast.toml"
    text = config.read_text().replace('provider = "outbox"\nfrom', 'provider = "smtp"\nfrom')
    config.write_text(text.replace('security = "none"', 'security = "none"\nuser = "status"'))
    run(*RESEND, "--yes", folder=bench.folder, expect=78)
    nothing_left(bench)


# --- what happens meanwhile


@BOTH
def test_what_a_dead_run_left_needs_no_tick_to_be_found(tmp_path: Path, command: tuple[str, ...]) -> None:
    bench = dying(tmp_path, settled=False)
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
@BOTH
def test_an_answer_that_comes_at_the_question_wins(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    def answered_meanwhile(_question: str) -> bool:
        with bench.ledger.write() as connection:
            connection.execute(update(schema.delivery).values(state="rejected", reason="late"))
        return True

    monkeypatch.setattr(asking, "says_yes", answered_meanwhile)
    monkeypatch.setattr(delivering.Worker, "deliver", lambda *_: pytest.fail("there was nothing to do"))
    assert "5 were answered" in run(*command, folder=bench.folder).stdout
    assert {(row.state.value, row.reason) for row in bench.rows()} == {("rejected", "late")}
    assert (done(bench), bench.mails(), bench.texts()) == ([], [], [])


@pytest.mark.parametrize("step", ["after the decision", "in a hand-over"])
def test_killed_in_the_middle_nobody_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    dying(tmp_path).ledger.close()
    child = os.fork()
    if child == 0:
        if step == "after the decision":
            dies: Callable[..., None] = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
            monkeypatch.setattr(delivering.Worker, "deliver", dies)
        else:
            adapter = FakeAdapter(before=lambda adapter: os.kill(os.getpid(), signal.SIGKILL))
            monkeypatch.setattr(wiring, "adapter_for", lambda *_: adapter)
        run(*RESEND, "--yes", folder=tmp_path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    bench = Bench(tmp_path, now=datetime.now(UTC))
    assert set(states(bench)) <= {"pending", "claimed"}
    assert len(done(bench)) == 5
    run("tick", folder=tmp_path, expect=0 if step == "after the decision" else 1)
    found = states(bench)
    assert found["accepted"] + found["unknown"] == 5
    assert found["unknown"] == (0 if step == "after the decision" else len(done(bench)) - found["accepted"])
    assert max(Counter(path.name for path in [*bench.mails(), *bench.texts()]).values()) == 1


# --- who gets it again


def test_who_must_not_hear_it_again_is_left_out_and_stays_unknown(bench: Bench) -> None:
    run("recipients", "suppress", "ann@example.com", folder=bench.folder)
    run("recipients", "erase", "bob@example.com", "--yes", folder=bench.folder)
    result = run(*RESEND, "--yes", folder=bench.folder, expect=1)
    assert missing("left out: 1, opted out … left out: 2, erased", result.stderr) == []
    assert states(bench) == {"accepted": 2, "unknown": 3}


def test_where_nobody_may_hear_it_again_a_person_has_to_think(bench: Bench) -> None:
    past = schema.stamp(datetime.now(UTC) - timedelta(seconds=1))
    with bench.ledger.write() as connection:
        connection.execute(update(schema.delivery).values(expires_at=past))
    said = run(*RESEND, "--yes", folder=bench.folder, expect=5).stderr
    assert "left out: 5, the promise in these words has passed" in said
    assert "commcast settle pay7 --unknown --as accepted" in said
    nothing_left(bench)


def test_who_was_settled_as_accepted_hears_the_end_and_as_rejected_does_not(bench: Bench) -> None:
    run(*SETTLE, "accepted", "--to", "ann@example.com", "--yes", folder=bench.folder)
    run(*SETTLE, "rejected", "--to", "bob@example.com", "--yes", folder=bench.folder)
    run("resolve", "pay7", "--fixed", "Rolled back.", "--yes", folder=bench.folder)
    told = {row.address for row in bench.rows() if row.notice == "update:2" and row.channel == "email"}
    assert ("ann@example.com" in told, "bob@example.com" in told) == (True, False)


def test_unknown_again_is_unknown_and_may_be_sent_a_third_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(item: Delivery) -> Outcome:
        kind = OutcomeKind.UNKNOWN if item.delivery % 2 else OutcomeKind.ACCEPTED
        return Outcome(item.delivery, kind, "no answer within 20 s")

    with monkeypatch.context() as patch:
        by(patch, half)
        result = run(*RESEND, "--yes", folder=bench.folder, expect=1)
    assert "5 messages are released again: 2 accepted, 3 unknown." in result.stdout
    assert "nobody is told again by itself" in result.stderr
    run(*RESEND, "--yes", folder=bench.folder)
    assert states(bench) == {"accepted": 5}
    assert Counter(row.attempts for row in bench.rows()) == {2: 2, 3: 3}
    assert len(done(bench)) == 8


def test_what_a_provider_refuses_as_a_whole_is_released_and_has_not_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    no = OutcomeKind.NOT_TAKEN
    by(monkeypatch, lambda item: Outcome(item.delivery, no, "the key is wrong", blame=Blame.ACCOUNT))
    result = run(*RESEND, "--yes", folder=bench.folder, expect=78)
    assert "pay7: 5 messages are released again; none has left yet: 5 waiting." in result.stdout
    assert "sent again" not in result.stdout


def test_a_mail_over_smtp_has_the_same_message_id(tmp_path: Path, receiver: Receiver) -> None:
    """The relay took the first one, and its answer was lost."""
    lists = {"customers": ["twice@example.com,,Ann"], "support": ["t@acme.example,Su"]}
    write_desk(tmp_path, **lists, email="smtp", port=receiver.port)  # type: ignore[arg-type]
    write_incident(tmp_path, at=just_now())
    bench = Bench(tmp_path, now=datetime.now(UTC))
    bench.send()
    with bench.ledger.write() as connection:
        connection.execute(update(schema.delivery).values(state="unknown", reason="the answer was lost"))
    result = run(*RESEND, "--to", "twice@example.com", "--yes", folder=tmp_path)
    assert "Mails have the same Message-ID as before" in result.stderr
    assert "nothing keeps a second copy away" not in result.stderr
    taken = [each for each in receiver.inbox.messages if "twice@example.com" in each.recipients]
    mails = [message_from_bytes(each.raw) for each in taken]
    assert (len(mails), len({mail["Message-ID"] for mail in mails})) == (2, 1)


# --- reconcile: what records can prove


def test_what_can_be_proved_is_settled_and_the_rest_named_and_nothing_is_sent(
    asked: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sightings = iter([taken, seeing(Seen.NOTHING)])
    keeping(monkeypatch, FakeRecords(answer=lambda each: next(sightings)(each)))
    offered = run(*RESEND, "--dry-run", folder=asked.folder).stdout
    assert missing("Nobody has asked twilio about 2 of them … commcast reconcile pay7", offered) == []
    result = run("reconcile", "pay7", folder=asked.folder, expect=1)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["ID", "BY", "PROVIDER", "ASKED", "ACCEPTED", "REJECTED", "UNKNOWN"]
    assert ["pay7", "email", "outbox", "-", "-", "-", "3"] in lines
    assert ["pay7", "SMS", "twilio", "2", "1", "-", "1"] in lines
    assert "1 unknown by SMS: twilio does not list it, looked at twice\n" in result.stdout
    assert "3 unknown by email: outbox keeps no records" in result.stdout
    for command in ("log pay7", "resend pay7 --unknown", "settle pay7 --unknown --as accepted"):
        assert f"commcast {command}" in result.stderr
    assert "Nobody has asked" not in run(*RESEND, "--dry-run", folder=asked.folder).stdout

    log = run("log", "pay7", folder=asked.folder)
    assert "update 1  SMS  …5671  asked twilio: accepted  found at twilio" in log.stdout
    assert "asked twilio: unknown  twilio does not list it, looked at twice" in log.stdout
    assert "update 1  email  3 readers  asked outbox: unknown" in log.stdout
    assert "commcast reconcile pay7" in log.stderr
    full = run("log", "pay7", "--addresses", "--channel", "sms", folder=asked.folder).stdout
    assert "SMS  +4915112345671  asked twilio: accepted" in full
    assert "asked outbox" not in full
    listed = json.loads(run("log", "--json", folder=asked.folder).stdout)["acts"]
    became = Counter((each["what"], each["became"]) for each in listed)
    assert became == {("reconcile", "accepted"): 1, ("reconcile", "unknown"): 4}
    assert "+4915112345671" not in json.dumps(listed)
    run("recipients", "erase", "+4915112345671", "--yes", folder=asked.folder)
    shown = run("log", "--addresses", folder=asked.folder).output
    assert ("(erased)" in shown, "5671" in shown) == (True, False)

    nothing = seeing(Seen.NOTHING)
    keeping(monkeypatch, FakeRecords(answer=nothing), FakeRecords(Channel.EMAIL, "outbox", answer=nothing))
    again = run("reconcile", folder=asked.folder, expect=1)
    assert "3 unknown by email: outbox does not list it (yet): ask again in a few minutes" in again.stdout
    later, offer = (again.stderr.index(f"commcast {each} pay7") for each in ("reconcile", "resend"))
    assert later < offer
    rows = asked.rows()
    run("reconcile", folder=asked.folder, expect=1)
    run("tick", folder=asked.folder)
    assert asked.rows() == rows
    assert asked.mails() == asked.texts() == []


def test_nothing_left_unknown_ends_in_0_also_where_the_file_is_broken(
    asked: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (asked.folder / "incidents/pay7.yaml").write_text("title: [\n")
    keeping(monkeypatch, FakeRecords(), FakeRecords(Channel.EMAIL, "outbox"))
    run("reconcile", folder=asked.folder)
    assert "Nothing is unknown" in run("reconcile", "pay7", folder=asked.folder).stdout


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (Refused("401: look there"), 78),
        (TryAgain("429"), 75),
        (ConfigError("TWILIO_AUTH_TOKEN is not set"), 2),
    ],
)
def test_one_providers_trouble_is_told_and_the_other_is_asked(
    asked: Bench, monkeypatch: pytest.MonkeyPatch, trouble: Exception, code: int
) -> None:
    mails = FakeRecords(Channel.EMAIL, "outbox")
    keeping(monkeypatch, FakeRecords(trouble=trouble), mails)
    result = run("reconcile", folder=asked.folder, expect=code)
    assert f"twilio: {trouble}" in result.stderr
    assert len(mails.asked) == 3
    assert f"2 unknown by SMS: could not be asked: {trouble}" in result.stdout
    assert "pay7: mend or wait, then: commcast reconcile pay7" in result.stderr
    assert "commcast resend" not in result.stderr
    assert "commcast settle" not in result.stderr


def test_reconcile_as_json(asked: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping(monkeypatch, FakeRecords(trouble=TryAgain("429"), until=1))
    document = json.loads(run("reconcile", "--json", folder=asked.folder, expect=75).stdout)
    assert (document["commcast"], document["version"], document["exit_code"]) == ("reconcile", 1, 75)
    assert (document["troubles"], document["unknown"]) == ({"twilio": "429"}, 4)
    counts = {"asked": 1, "accepted": 1, "rejected": 0, "unknown": 1, "meanwhile": 0}
    of = {"incident": "pay7", "channel": "sms", "provider": "twilio", "why": {"could not be asked": 1}}
    assert next(each for each in document["asked"] if each["channel"] == "sms") == of | counts


def test_what_nobody_spoke_of_and_a_lost_ledger_are_refused(asked: Bench) -> None:
    run("reconcile", "nothing1", folder=asked.folder, expect=2)
    (asked.folder / ".commcast/ledger.db").unlink()
    run("reconcile", folder=asked.folder, expect=3)
