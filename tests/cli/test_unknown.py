"""resend, settle, reconcile, receipts, recipients import: what providers and people say of messages."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from commcast.cli import prompt as asking
from commcast.delivery import worker as delivering
from commcast.errors import ConfigError, Fault, TryAgain
from commcast.ledger import tables as schema
from commcast.ledger.fence import stop_incident
from commcast.ledger.settle import settle_lost
from commcast.ledger.unknowns import Act, acts
from commcast.model.incident import Channel
from commcast.model.message import NOT_BEGUN, Blame, Delivery, Outcome, OutcomeKind, Receipt, ReceiptKind
from commcast.providers import registry as wiring
from commcast.providers.base import Refused, Seen, SuppressionEntry
from tests.support.desk import Bench, numbered, write_desk, write_incident
from tests.support.providers import (
    FakeAdapter,
    FakeRecords,
    SayingRecords,
    accepted,
    address_of,
    die_over,
    seeing,
    taken,
)
from tests.support.terminal import at_terminal, bench_now, every_byte, just_now, missing, run, run_at_terminal

RESEND = ("resend", "pay7", "--unknown")
SETTLE = ("settle", "pay7", "--unknown", "--as")
BOTH = pytest.mark.parametrize("command", [RESEND, (*SETTLE, "accepted")], ids=["resend", "settle"])
Keeping = Callable[..., None]
Said = Sequence[Receipt | Exception]
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


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> Keeping:
    """Let these be the records that there are."""

    def keep(*records: FakeRecords | SayingRecords) -> None:
        by_name = {each.name: each for each in records}
        monkeypatch.setattr(wiring, "records_for", lambda config, provider, clock: by_name.get(provider))

    return keep


def test_a_yes_sends_once_more_through_the_one_path_and_is_remembered(tmp_path: Path) -> None:
    bench = dying(tmp_path, settled=False)
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
def test_a_person_settles_what_they_know(tmp_path: Path, as_: str) -> None:
    """The reason is inert and bounded. What a dead run left needs no tick to be found."""
    bench = dying(tmp_path, settled=False)
    because = ("--because", "the relay's\nlog \x1b" + "x" * 5000, "--by", "dana")
    result = run(*SETTLE, as_, *because, "--yes", folder=bench.folder)
    assert f"pay7: 5 messages settled as {as_}." in result.stdout
    reason = "the relay's log \\u001b" + "x" * 178
    assert {(row.state.value, row.reason) for row in bench.rows()} == {(as_, f"settled by dana: {reason}")}
    assert bench.mails() == bench.texts() == []
    assert f"3 readers  settled by dana: {as_}  {reason}" in run("log", "pay7", folder=bench.folder).stdout


@pytest.mark.parametrize("most", [5, 4])
@BOTH
def test_a_yes_or_above_confirm_above_the_number_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], most: int
) -> None:
    bench = dying(tmp_path, extra=f"confirm_above = {most}")
    yes, wrong = ("y\n", "5\n") if most == 5 else ("5\n", "y\n")
    for typed in (None, "n\n", "\n", "", "maybe\n", "4\n", wrong, yes):
        monkeypatch.setattr(asking, "at_terminal", lambda typed=typed: typed is not None)
        asked = run_at_terminal(bench.folder, *command, typed=typed or "")
        assert (asked.exit_code, "no --yes: nothing was " in asked.stderr) == (
            5 * (typed != yes),
            typed is None,
        )
        if typed != yes:
            nothing_left(bench)
    assert set(states(bench)) == {"accepted"}


@pytest.mark.usefixtures("person")
def test_the_question_says_to_whom_and_what_a_yes_means(bench: Bench) -> None:
    shown = run_at_terminal(bench.folder, *RESEND, typed="n\n").stderr
    said = (
        "update 1 by email: 3 to h…@acme.example, a…@example.com, b…@example.com … by SMS: 2 to …5671, …5672"
        " … Anyone who did get it gets it twice. … Nothing filters out a second copy … Send 5 messages again?"
    )
    assert missing(said, shown) == []
    assert "Message-ID" not in shown and "ann@example.com" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "count as told" in run_at_terminal(bench.folder, *SETTLE, "accepted", typed="n\n").stderr
    one = ("rejected", "--to", "ann@example.com")
    shown = run_at_terminal(bench.folder, *SETTLE, *one, typed="n\n").stderr
    assert missing("count as not told … 1 to ann@example.com", shown) == []


def test_a_dry_run_cuts_a_long_list_changes_no_byte_and_sends_nothing(tmp_path: Path) -> None:
    bench = dying(tmp_path, customers=numbered(40))
    before = every_byte(bench.folder)
    shown = run(*RESEND, "-n", folder=bench.folder).stdout.splitlines()
    assert shown[0] == "pay7: would be sent again, although it may have arrived:"
    assert "  update 1 by SMS: 40 to …0000, …0001, …0002, …0003, …0004 and 35 more" in shown
    assert shown[-1] == "Dry run: nothing was written, nothing was sent."
    document = json.loads(run(*RESEND, "-n", "--json", folder=bench.folder).stdout)
    assert (document["commcast"], document["dry_run"]) == ("resend", True)
    assert (document["chosen"], document["sent_again"], document["left_out"]) == (81, 0, {})
    assert every_byte(bench.folder) == before


def test_only_the_address_that_is_named_is_meant(bench: Bench) -> None:
    """Who got it after all hears the end; who was settled as rejected does not."""
    result = run(*RESEND, "--to", "Ann@Example.com", "--yes", folder=bench.folder)
    assert "update 1 by email: 1 to ann@example.com" in result.stderr
    assert [path.name.split("-", 1)[1] for path in bench.mails()] == ["ann-example-com.eml"]
    assert (bench.texts(), states(bench)) == ([], {"accepted": 1, "unknown": 4})
    run(*RESEND, "--to", "+49 151 12345672", "--yes", folder=bench.folder)
    assert len(bench.texts()) == 1
    again = run(*RESEND, "--to", "+4915112345672", folder=bench.folder)
    assert "Nothing to this address is unknown" in again.stdout
    run(*SETTLE, "rejected", "--to", "bob@example.com", "--yes", folder=bench.folder)
    assert states(bench) == {"accepted": 2, "rejected": 1, "unknown": 2}
    run("resolve", "pay7", "--fixed", "Rolled back.", "--yes", folder=bench.folder)
    told = {row.address for row in bench.rows() if row.notice == "update:2" and row.channel == "email"}
    assert ("ann@example.com" in told, "bob@example.com" in told) == (True, False)


def test_json_has_the_same_keys_whatever_became_of_it(bench: Bench) -> None:
    def document(*command: str, expect: int = 0) -> dict[str, object]:
        found = run(*command, "--json", folder=bench.folder, expect=expect).stdout
        return dict(json.loads(found))

    run("recipients", "suppress", "ann@example.com", folder=bench.folder)
    planned = document(*RESEND, "--dry-run")
    head = {"commcast": "resend", "version": 1, "incident": "pay7", "dry_run": False, "exit_code": 1}
    counts = {"found": 5, "chosen": 4, "sent_again": 4, "became": {"accepted": 4}}
    assert document(*RESEND, "--yes", expect=1) == head | counts | {"left_out": {"opted out": 1}}
    head |= {"commcast": "settle", "exit_code": 0, "as": "accepted", "left_out": {}}
    settled = document(*SETTLE, "accepted", "--yes")
    counts = {"found": 1, "chosen": 1, "settled": 1, "meanwhile": 0, "became": {"accepted": 1}}
    assert settled == head | counts
    # Nothing is unknown any more.
    assert list(document(*RESEND, "--yes")) == list(document(*RESEND, "--dry-run")) == list(planned)
    assert list(document(*SETTLE, "accepted", "--yes")) == list(settled)


def test_what_cannot_be_meant_is_refused(bench: Bench) -> None:
    dying(bench.folder, "web1")
    for command, said in (
        ("resend pay7", "commcast resend --unknown"),
        ("resend --unknown", "pay7, web1"),
        ("settle --unknown --as accepted", "pay7, web1"),
        ("settle pay7 --as accepted", "commcast settle --unknown"),
        ("settle pay7 --unknown --as skipped", "'skipped'"),
        ("settle pay7 --unknown", "--as"),
        ("resend nothing1 --unknown", "nothing was sent for an incident 'nothing1'"),
        ("resend pay7 --unknown --to 'no address'", "no address"),
        *(
            (f"settle pay7 --unknown --as accepted --because '{why}'", "--because contains an address")
            for why in ("ann@example.com called", "from +49 151 12345671")
        ),
    ):
        result = run_at_terminal(bench.folder, *shlex.split(command), "--yes")
        assert (result.exit_code, said in result.stderr) == (2, True), result.output
        assert "12345671" not in result.output and "ann@" not in result.output
    nothing_left(bench)


def test_of_a_stopped_incident_or_with_settings_that_cannot_work_nothing_is_sent_again(bench: Bench) -> None:
    run("stop", "pay7", "--by", "kim", folder=bench.folder)
    for how in ("--yes", "--dry-run", "--json"):  # it is said first, before anybody is asked
        assert "commcast resume pay7" in run(*RESEND, how, folder=bench.folder, expect=5).stderr
    run("resume", "pay7", folder=bench.folder)
    config = bench.folder / "commcast.toml"
    text = config.read_text().replace('provider = "outbox"\nfrom', 'provider = "smtp"\nfrom')
    config.write_text(text.replace('security = "none"', 'security = "none"\nuser = "status"'))
    run(*RESEND, "--yes", folder=bench.folder, expect=78)
    nothing_left(bench)


# --- what was rejected


def rejecting(item: Delivery) -> Outcome:
    """Refuse ann (for a fault that is ours) and bob, who has no mailbox."""
    name = address_of(item).partition("@")[0]
    if name not in {"ann", "bob"}:
        return Outcome(item.delivery, OutcomeKind.ACCEPTED)
    words = "no such mailbox (550 5.1.1)" if name == "bob" else f"our mistake (550: {name})"
    return Outcome(item.delivery, OutcomeKind.REJECTED, words, suppress=name == "bob")


def test_what_was_rejected_is_sent_again_but_to_nobody_who_is_suppressed_or_may_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_incident(write_desk(tmp_path), at=just_now())
    bench = Bench(tmp_path, now=datetime.now(UTC))
    bench.release()
    bench.freeze()
    by(monkeypatch, rejecting)
    said = run("resume", "pay7", folder=tmp_path, expect=1).stderr
    assert "commcast resend pay7 --rejected" in said
    assert states(bench) == {"accepted": 3, "rejected": 2}
    shown = run("log", "pay7", folder=tmp_path).stdout
    assert "  1 rejected: our mistake (550: ann)" in shown
    assert "  1 rejected: no such mailbox (550 5.1.1)" in shown
    again = ("resend", "pay7", "--rejected")
    by(monkeypatch, accepted)
    asked = run(*again, "--dry-run", folder=tmp_path).stdout
    assert "although it was rejected:" in asked
    assert "left out: 1, suppressed" in asked
    assert "twice" not in asked
    run(*again, folder=tmp_path, expect=5)  # nobody said yes
    with bench.ledger.write() as connection:
        connection.execute(update(schema.delivery).values(doubted=1))
    assert "an earlier copy may have arrived" in run(*again, "--yes", folder=tmp_path, expect=5).stderr
    with bench.ledger.write() as connection:  # and by then the promise in their words has passed
        past = schema.stamp(datetime.now(UTC) - timedelta(seconds=1))
        connection.execute(update(schema.delivery).values(doubted=0, expires_at=past))
    result = run(*again, "--to", "ann@example.com", "--yes", "--by", "dana", folder=tmp_path)
    assert "pay7: 1 message is released again: 1 accepted." in result.stdout
    assert states(bench) == {"accepted": 4, "rejected": 1}
    assert "released again by dana" in run("log", "pay7", folder=tmp_path).stdout
    assert (
        "Nothing to this address is rejected of pay7."
        in run(*again, "--to", "ann@example.com", folder=tmp_path).stdout
    )


def test_a_fault_of_ours_leaves_all_waiting_and_log_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person's resume sends at once what waits for its turn."""
    write_incident(write_desk(tmp_path), at=just_now())
    bench = Bench(tmp_path, now=datetime.now(UTC))
    bench.release()
    bench.freeze()
    limit = {"blame": Blame.ACCOUNT, "retry_after": 300.0}
    refused = OutcomeKind.NOT_TAKEN
    by(monkeypatch, lambda item: Outcome(item.delivery, refused, "our limit is reached", **limit))  # type: ignore[arg-type]
    said = run("send", "pay7", "--yes", folder=tmp_path, expect=78).stderr
    assert "Fix that, then: commcast resume pay7" in said
    assert states(bench) == {"pending": 5}
    shown = run("log", "pay7", folder=tmp_path).stdout
    assert "waiting: our limit is reached" in shown
    assert NOT_BEGUN not in shown  # those behind are only queued
    by(monkeypatch, accepted)
    run("resume", "pay7", folder=tmp_path)
    assert states(bench) == {"accepted": 5}


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize("how", ["a stop", "resend", "settle"])
def test_what_comes_at_the_question_wins(bench: Bench, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A stop, or an answer that comes late."""

    def says_yes(_question: str) -> bool:
        with bench.ledger.write() as connection:
            if how == "a stop":
                stop_incident(connection, "pay7", "kim", bench.now)
            else:
                connection.execute(update(schema.delivery).values(state="rejected", reason="late"))
        return True

    monkeypatch.setattr(asking, "says_yes", says_yes)
    monkeypatch.setattr(delivering.Worker, "deliver", lambda *_: pytest.fail("there was nothing to do"))
    if how == "a stop":
        assert "stopped by kim" in run(*RESEND, folder=bench.folder, expect=5).stderr
        nothing_left(bench)
        return
    command = RESEND if how == "resend" else (*SETTLE, "accepted")
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
        adapter = FakeAdapter(before=lambda adapter: os.kill(os.getpid(), signal.SIGKILL))
        monkeypatch.setattr(wiring, "adapter_for", lambda *_: adapter)
        if step == "after the decision":
            monkeypatch.setattr(delivering.Worker, "deliver", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
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


def test_where_nobody_may_hear_it_again_a_person_has_to_think(bench: Bench) -> None:
    past = schema.stamp(datetime.now(UTC) - timedelta(seconds=1))
    with bench.ledger.write() as connection:
        connection.execute(update(schema.delivery).values(expires_at=past))
    said = run(*RESEND, "--yes", folder=bench.folder, expect=5).stderr
    assert "left out: 5, the promise in this message has passed" in said
    assert "commcast settle pay7 --unknown --as accepted" in said
    nothing_left(bench)


def test_unknown_again_is_unknown_and_may_be_sent_a_third_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(item: Delivery) -> Outcome:
        kind = OutcomeKind.UNKNOWN if item.delivery % 2 else OutcomeKind.ACCEPTED
        return Outcome(item.delivery, kind, "no answer within 20 s")

    by(monkeypatch, half)
    result = run(*RESEND, "--yes", folder=bench.folder, expect=1)
    assert "5 messages are released again: 2 accepted, 3 unknown." in result.stdout
    assert "nothing is resent automatically" in result.stderr
    no = OutcomeKind.NOT_TAKEN  # refused as a whole: released, and nothing has left
    by(monkeypatch, lambda item: Outcome(item.delivery, no, "the key is wrong", blame=Blame.ACCOUNT))
    result = run(*RESEND, "--yes", folder=bench.folder, expect=78)
    assert "pay7: 3 messages are released again; none has left yet: 3 waiting." in result.stdout
    monkeypatch.undo()
    run("resume", "pay7", folder=bench.folder)
    assert states(bench) == {"accepted": 5}
    assert len(done(bench)) == 8


def test_of_mails_over_smtp_it_is_said_that_they_keep_their_id(tmp_path: Path) -> None:
    bench = dying(tmp_path, email="smtp", sms='provider = "outbox"')
    said = run(*RESEND, "--to", "ann@example.com", "--dry-run", folder=bench.folder).stdout
    assert ("Emails keep their Message-ID" in said, "Nothing filters out" in said) == (True, False)


def test_what_can_be_proved_is_settled_and_nothing_is_sent(asked: Bench, keeping: Keeping) -> None:
    sightings = iter([taken, seeing(Seen.NOTHING)])
    keeping(FakeRecords(answer=lambda each: next(sightings)(each)))
    offered = run(*RESEND, "--dry-run", folder=asked.folder).stdout
    assert missing("twilio has not been asked about 2 of them … commcast reconcile pay7", offered) == []
    result = run("reconcile", "pay7", folder=asked.folder, expect=1)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["ID", "BY", "PROVIDER", "ASKED", "ACCEPTED", "REJECTED", "UNKNOWN"]
    assert ["pay7", "email", "outbox", "-", "-", "-", "3"] in lines
    assert ["pay7", "SMS", "twilio", "2", "1", "-", "1"] in lines
    assert "1 unknown by SMS: twilio does not list it, looked at twice\n" in result.stdout
    assert "3 unknown by email: outbox keeps no records" in result.stdout
    offers = "log pay7 … commcast resend pay7 --unknown … commcast settle pay7 --unknown --as accepted"
    assert missing(f"commcast {offers}", result.stderr) == []
    assert "has not been asked" not in run(*RESEND, "--dry-run", folder=asked.folder).stdout
    log = run("log", "pay7", folder=asked.folder)
    seen = (
        "update 1  SMS  …5671  asked twilio: accepted  found at twilio … update 1  email  3 readers  asked "
        "outbox: unknown … asked twilio: unknown  twilio does not list it, looked at twice"
    )
    assert missing(seen, log.stdout) == []
    assert "commcast reconcile pay7" in log.stderr
    full = run("log", "pay7", "--addresses", "--channel", "sms", folder=asked.folder).stdout
    assert ("SMS  +4915112345671  asked twilio: accepted" in full, "asked outbox" in full) == (True, False)
    listed = json.loads(run("log", "--json", folder=asked.folder).stdout)["acts"]
    became = Counter((each["what"], each["became"]) for each in listed)
    assert became == {("reconcile", "accepted"): 1, ("reconcile", "unknown"): 4}
    assert "+4915112345671" not in json.dumps(listed)
    run("recipients", "erase", "+4915112345671", "--yes", folder=asked.folder)
    shown = run("log", "--addresses", folder=asked.folder).output
    assert ("(erased)" in shown, "5671" in shown) == (True, False)
    nothing = seeing(Seen.NOTHING)
    keeping(FakeRecords(answer=nothing), FakeRecords(Channel.EMAIL, "outbox", answer=nothing))
    again = run("reconcile", folder=asked.folder, expect=1)
    assert "3 unknown by email: outbox does not list it (yet): ask again in a few minutes" in again.stdout
    later, offer = (again.stderr.index(f"commcast {each} pay7") for each in ("reconcile", "resend"))
    assert later < offer
    rows = asked.rows()
    run("reconcile", folder=asked.folder, expect=1)
    run("tick", folder=asked.folder)
    assert asked.rows() == rows
    assert asked.mails() == asked.texts() == []


def test_nothing_left_unknown_ends_in_0_also_where_the_file_is_broken(asked: Bench, keeping: Keeping) -> None:
    (asked.folder / "incidents/pay7.yaml").write_text("title: [\n")
    keeping(FakeRecords(), FakeRecords(Channel.EMAIL, "outbox"))
    run("reconcile", folder=asked.folder)
    assert "Nothing is unknown" in run("reconcile", "pay7", folder=asked.folder).stdout
    run("reconcile", "nothing1", folder=asked.folder, expect=2)
    (asked.folder / ".commcast/ledger.db").unlink()
    run("reconcile", folder=asked.folder, expect=3)


def test_one_providers_trouble_is_told_and_the_other_is_asked(asked: Bench, keeping: Keeping) -> None:
    keeping(FakeRecords(trouble=TryAgain("429"), until=1))
    document = json.loads(run("reconcile", "--json", folder=asked.folder, expect=75).stdout)
    assert (document["commcast"], document["version"], document["exit_code"]) == ("reconcile", 1, 75)
    assert (document["troubles"], document["unknown"]) == ({"twilio": "429"}, 4)
    counts = {"asked": 1, "accepted": 1, "rejected": 0, "unknown": 1, "meanwhile": 0}
    of = {"incident": "pay7", "channel": "sms", "provider": "twilio", "why": {"could not be asked": 1}}
    assert of | counts in document["asked"]
    mails = FakeRecords(Channel.EMAIL, "outbox")
    keeping(FakeRecords(trouble=Refused("401: look there")), mails)
    result = run("reconcile", folder=asked.folder, expect=78)
    assert len(mails.asked) == 3
    assert "1 unknown by SMS: could not be asked: 401: look there" in result.stdout
    said = "twilio: 401: look there\npay7: fix this or wait, then: commcast reconcile pay7\n"
    assert result.stderr == said


@pytest.fixture
def live(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def suppressed(bench: Bench) -> str:
    return run("recipients", "suppressed", folder=bench.folder).stdout


def send(bench: Bench) -> None:
    """Let sendgrid take the mails and twilio the texts of pay7: three mails, two texts."""
    names = {Channel.EMAIL: "sendgrid", Channel.SMS: "twilio"}
    bench.adapter = lambda channel: FakeAdapter(channel=channel, name=names[channel])
    bench.send()


def says(
    mails: Sequence[Receipt | Exception], texts: Sequence[Receipt | Exception] = ()
) -> list[SayingRecords]:
    """Return records of the two that say this."""
    return [SayingRecords(mails), SayingRecords(texts, Channel.SMS, "twilio")]


def delivered(bench: Bench) -> list[Receipt]:
    """Return that both texts arrived."""
    ids = [row.provider_id for row in bench.rows() if row.channel == "sms"]
    return [Receipt(ReceiptKind.DELIVERED, bench.now, provider_id=each) for each in ids]


def bounced(bench: Bench, key: str = "ann@example.com") -> Receipt:
    words = "550 5.1.1 <ann@example.com> unknown"
    return Receipt(ReceiptKind.BOUNCED, bench.later(minutes=1), words, key=key, lasting=True, suppress=True)


def test_news_is_a_table_and_no_news_is_silence(live: Bench, keeping: Keeping) -> None:
    send(live)
    assert " accepted: " not in run("status", folder=live.folder).stdout
    block = Receipt(ReceiptKind.FAILED, live.now, "421 busy", key="bob@example.com")
    keeping(*says([bounced(live), block], delivered(live)))
    result = run("receipts", folder=live.folder)
    assert result.stdout.splitlines() == [
        "PROVIDER  ASKED  DELIVERED  BOUNCED  FAILED  SUPPRESSED",
        "sendgrid  3      0          1        1       1",
        "twilio    2      2          0        0       0",
    ]
    assert "ann@" not in result.output
    assert run("receipts", folder=live.folder).output == ""
    assert "bounced: 550 5.1.1 * unknown  sendgrid" in suppressed(live)
    shown = run("status", folder=live.folder).stdout
    assert "\n  of 5 accepted: 2 delivered, 1 bounced, 1 failed\n" in shown
    assert max(map(len, shown.splitlines())) <= 80
    (found,) = json.loads(run("status", "--json", folder=live.folder).stdout)["incidents"]
    assert found["receipts"] == {"delivered": 2, "bounced": 1, "failed": 1}
    assert found["deliveries"]["accepted"] == 5
    again = run("recipients", "unsuppress", "ann@example.com", folder=live.folder).stdout
    assert "SendGrid's own list" in again


def test_trouble_is_said_and_the_other_is_asked(live: Bench, keeping: Keeping) -> None:
    send(live)
    foreign = bounced(live, "x@y.example")
    keeping(*says([bounced(live), foreign, Refused("no")], delivered(live)[:1]))
    document = json.loads(run("receipts", "--json", folder=live.folder, expect=78).stdout)
    mails, texts = document["providers"]
    sums = {"delivered": 0, "bounced": 1, "failed": 0, "suppressed": 1, "foreign": 1}
    assert mails == {"provider": "sendgrid", "channel": "email", "asked": 3, **sums, "trouble": "no"}
    assert (texts["delivered"], texts["trouble"], document["exit_code"]) == (1, None, 78)
    keeping(*says([Refused("no")]))
    again = run("receipts", folder=live.folder, expect=78)
    assert (again.stdout, again.stderr) == ("", "sendgrid: no\n")


def test_only_what_is_young_is_asked_about(live: Bench, keeping: Keeping) -> None:
    live.now -= timedelta(hours=2)
    write_incident(live.folder, at=live.now - timedelta(minutes=1))
    send(live)
    keeping(*says([TryAgain("is down")], [TryAgain("is down")]))
    run("receipts", "--since", "1h", folder=live.folder)
    run("receipts", "--since", "3h", folder=live.folder, expect=75)
    assert "--since" in run("receipts", "--since", "yesterday", folder=live.folder, expect=2).stderr


def test_files_and_smtp_are_asked_nothing_and_a_person_is_told_so(live: Bench) -> None:
    live.send()
    assert run("receipts", folder=live.folder).output == ""
    seen = at_terminal(live.folder, ["receipts"], [])
    assert seen.screen == "Nothing to ask: no receipt from the last 3d is missing.\n"


THEN = datetime(2025, 3, 1, tzinfo=UTC)
IMPORT = ("recipients", "import", "--from", "sendgrid")


def listing(**lists: Sequence[str | Exception]) -> SayingRecords:
    """Return SendGrid's lists with these addresses."""
    entries: dict[str, Sequence[SuppressionEntry | Exception]] = {
        name: [
            each if isinstance(each, Exception) else SuppressionEntry(name, each, THEN, "550 gone")
            for each in lists.get(name, [])
        ]
        for name in ("unsubscribes", "bounces", "blocks")
    }
    return SayingRecords(lists=entries)


def test_bounces_and_unsubscribes_come_in_and_blocks_are_counted(live: Bench, keeping: Keeping) -> None:
    ann, bob = "ann@example.com", "bob@example.com"
    keeping(listing(bounces=[ann, "gone@example.com", "no address"], unsubscribes=[ann], blocks=[bob]))
    live.ledger.close()
    before = every_byte(live.folder)
    dry = run(*IMPORT, "--dry-run", folder=live.folder).stdout
    assert every_byte(live.folder) == before
    result = run(*IMPORT, folder=live.folder)
    assert result.stdout.splitlines() == [
        "LIST          READ  NEW  KNOWN  UNREADABLE",
        "unsubscribes  1     1    0      0",
        "bounces       3     1    1      1",
        "blocks        1     1    0      0",
        "1 new on the list blocks not suppressed: SendGrid still delivers to them.",
        "To suppress them as well: --list blocks",
    ]
    assert dry == f"{result.stdout}Nothing was written.\n"
    listed = suppressed(live)
    said = "imported from SendGrid: unsubscribes: 550 gone … imported from SendGrid: bounces: 550 gone"
    assert missing(f"{said} … 2025-03-01", listed) == []
    assert ("b…@example.com" in listed, ann in result.output) == (False, False)
    keeping(listing(bounces=["help@acme.example"], blocks=[bob]))
    only = run(*IMPORT, "--list", "blocks", folder=live.folder).stdout.splitlines()
    assert [line.split()[0] for line in only] == ["LIST", "blocks"]
    assert ("b…@example.com" in suppressed(live), "h…@acme.example" in suppressed(live)) == (True, False)


def test_a_list_that_may_not_be_read_is_named(live: Bench, keeping: Keeping) -> None:
    keeping(listing(bounces=["ann@example.com"], unsubscribes=[Refused("the key may not read it")]))
    document = json.loads(run(*IMPORT, "--dry-run", "--json", folder=live.folder, expect=78).stdout)
    unsubscribes, bounces, blocks = document["lists"]
    assert (unsubscribes["trouble"], bounces["new"]) == ("the key may not read it", 1)
    assert (blocks["suppresses"], bounces["suppresses"]) == (False, True)
    assert (document["from"], document["dry_run"], document["exit_code"]) == ("sendgrid", True, 78)
    result = run(*IMPORT, folder=live.folder, expect=78)
    assert result.stderr == "unsubscribes: the key may not read it\n"
    assert "unsubscribes  -     -    -      -" in result.stdout
    theirs = "Also remove it from SendGrid's own list (Suppressions)"  # of what was imported, once
    run("recipients", "suppress", "bob@example.com", folder=live.folder)
    for address in ("Ann@example.com", "ann@example.com", "bob@example.com"):
        shown = run("recipients", "unsuppress", address, folder=live.folder).stdout
        assert (theirs in shown) == (address == "Ann@example.com")


def test_only_what_can_be_imported_is_taken(live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--from" in run("recipients", "import", folder=live.folder, expect=2).stderr
    run("recipients", "import", "--from", "twilio", folder=live.folder, expect=2)
    run(*IMPORT, "--list", "friends", folder=live.folder, expect=2)

    def refuse(*_: object) -> None:
        raise ConfigError(Fault("commcast.toml", 0, 0, "SENDGRID_API_KEY is not set", "set it"))

    monkeypatch.setattr(wiring, "records_for", refuse)
    assert "SENDGRID_API_KEY is not set" in run(*IMPORT, folder=live.folder, expect=2).stderr
