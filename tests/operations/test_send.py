"""From released words to settled deliveries: once, to the right people, in the right words, as foreseen.

Each tick here comes after a dry run, and does what that had said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, update

from commcast.errors import ExitCode, InputError
from commcast.ledger.broadcasts import open_broadcasts
from commcast.ledger.claims import settle_and_claim
from commcast.ledger.oncall import last_nudges
from commcast.ledger.suppressions import erase, list_suppressions, suppress
from commcast.ledger.tables import State, broadcast, delivery
from commcast.model.message import Blame, Delivery, Outcome, OutcomeKind
from commcast.operations.desk import make_plan
from commcast.operations.dry_run import Foreseen, foresee
from commcast.operations.tick import Ticked
from tests.support.desk import LEASE, Bench, update_text, write_desk, write_incident, write_list
from tests.support.own_words import write_words
from tests.support.providers import DEAD, FakeAdapter, address_of
from tests.support.scenario import night
from tests.support.terminal import bench_now, run
from tests.support.values import cases

Step = Callable[[Bench], object]
IDENTIFIED = {"status": "identified", "resolution": "A fix is on its way."}
RESOLVED = {"status": "resolved", "fixed": "The release is rolled back.", "remains": "nothing"}
PAY7 = "incidents/pay7.yaml"
EVENING = datetime(2026, 11, 21, 21, tzinfo=UTC)  # 22:00 in Berlin


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_desk(tmp_path)
    write_incident(tmp_path)
    return Bench(tmp_path)


def told(bench: Bench) -> Counter[tuple[str, str]]:
    """Count what readers were told, by notice and channel."""
    return Counter((row.notice, row.channel) for row in bench.rows() if row.state is State.ACCEPTED)


def foreseen_and_done(bench: Bench) -> tuple[Foreseen, Ticked]:
    """Tick after a dry run, and check that it did what the dry run had said."""
    before = told(bench)
    found = foresee(bench.desk, bench.ledger)
    assert told(bench) == before
    ticked = bench.tick()
    coming = Counter({(each.notice, each.channel): each.deliveries for each in found.coming})
    assert told(bench) - before == coming
    assert len(coming) == len(found.coming), "each is foreseen once"
    done = {name: [nudge.id for nudge in nudged.nudges] for name, nudged in ticked.nudged.items()}
    assert {each.incident: [one.nudge.id for one in found.waking] for each in found.waking} == done
    people = {name for each in found.waking for name in each.people}
    assert people == {name for nudged in ticked.nudged.values() for name in nudged.people}
    errors = [{path: str(error) for path, error in each.errors.items()} for each in (found, ticked)]
    assert errors[0] == errors[1]
    return found, ticked


def edit(path: str, old: str, new: str) -> Step:
    return lambda bench: bench.edit(path, old, new)


def says(**keys: str) -> Step:
    return lambda bench: bench.write(**keys)


def opt_out(bench: Bench) -> None:
    with bench.ledger.write() as connection:
        suppress(connection, "email", "ann@example.com", reason="asked", by="dana", now=bench.now)


def erased(bench: Bench) -> None:
    with bench.ledger.write() as connection:
        erase(connection, bench.ledger.secret, "email", "ann@example.com", by="dana", now=bench.now)


def moved(to: str) -> Step:
    return lambda bench: (bench.folder / PAY7).rename(bench.folder / to)


def listing(*rows: str) -> Step:
    return lambda bench: write_list(bench.folder, "customers", "email,phone,name", rows)


def listed_otherwise(bench: Bench) -> None:
    """Reordered, moved to another audience, the phone written differently."""
    listing("bob@EXAMPLE.com,+49 151 12345672,Bob", "ann@example.com,0049 151 12345671,Ann")(bench)
    write_list(bench.folder, "support", "email,name", ["ann@example.com,Ann", "help@acme.example,Su"])


def text_says(words: str) -> Step:
    """Let texts be rendered by another template."""

    def write(bench: Bench) -> None:
        write_words(bench.folder, "customers", sms=words)

    return write


def support_is_first(bench: Bench) -> None:
    bench.edit("commcast.toml", "rank = 1\n", 'rank = 1\nlead = "10m"\n')
    bench.edit(PAY7, "severity: 1\n", "severity: 3\naudiences: [support, customers]\n")


def in_the_evening(severity: int = 2, every: str = "30m") -> Step:
    """Begin at 22:00 instead; texts wait for 08:00."""

    def begin(bench: Bench) -> None:
        bench.now = EVENING
        cadence = f'[cadence.2]\nfirst = "10m"\nevery = "{every}"'
        write_desk(bench.folder, sms='quiet = "21:00-08:00"', extra=cadence)
        write_incident(bench.folder, at=EVENING, severity=severity)

    return begin


STEPS: dict[str, Step] = {"send": Bench.send, "release": Bench.release, "freeze": Bench.freeze}
STEPS |= {"tick": foreseen_and_done, "stop": Bench.stop, "resume": Bench.resume}
STEPS |= {"plain": says(**IDENTIFIED), "worse": says(severity="1"), "ends": says(**RESOLVED)}
STEPS |= {"drafted": says(nothing_new="rollback at 60%"), "mild": edit(PAY7, "severity: 1", "severity: 2")}
STEPS |= {"broken": edit(PAY7, "severity: 1", "severity: 9"), "gone": moved("away.yaml")}
STEPS |= {"mended": edit(PAY7, "severity: 9", "severity: 1"), "renamed": moved("incidents/pay8.yaml")}
STEPS |= {"others": listing("new@example.com,,New"), "reordered": listed_otherwise, "lead": support_is_first}
STEPS |= {"erased": erased, "opt-out": opt_out, "evening": in_the_evening()}
STEPS |= {"seldom": in_the_evening(every="12h"), "grave": in_the_evening(severity=1)}
STATED = "{{ incident.title }}{% if next_update_by %} {{ next_update_by.short }}{% endif %}"
STEPS["timed"] = text_says(STATED)


def do(bench: Bench, steps: str) -> None:
    """Do each of these; 9 is nine minutes later, 7:00 a time of the next day in UTC."""
    for word in steps.split():
        hour, _, minute = word.partition(":")
        if minute:
            bench.now = EVENING.replace(day=22, hour=int(hour), minute=int(minute))
        elif word.isdigit():
            bench.later(minutes=int(word))
        else:
            STEPS[word](bench)


@cases("""
    steps                             | first                  | second
    send                              | all                    |  # once on each channel
    tick                              |                        |  # saving publishes nothing
    release tick tick                 | all                    |
    send reordered send               | all                    |  # lists that change
    send 9 plain send                 | all                    | 3 accepted /
    mild send 9 worse send            | all                    | all
    send 9 ends send                  | all                    | all
    send others 9 ends send           | all                    | all  # told of the beginning
    5 ends 1 send                     |                        | all  # over before the first word
    5 plain send                      |                        | all  # the newest of several drafts
    release 25 tick                   |                        |  # older than its promise
    release freeze 5 plain release tick tick | 3 skipped / 2 accepted | 3 accepted /
    release freeze 25 tick            | all                    |  # its promise passed: a new one
    release freeze 180 tick           | all                    |  # however late
    timed release freeze 25 tick      | all                    |  # in words of one's own
    release freeze 1500 tick          | 3 skipped / 2 skipped  |  # facts of yesterday
    release freeze broken tick        | all                    |  # what is frozen goes from the ledger
    release freeze gone tick          | all                    |
    stop send tick                    |                        |
    stop send tick resume tick        | all                    |
    release freeze opt-out tick       | 2 accepted 1 skipped / 2 accepted |  # counts until the claim
    send erased 5 plain send          | all                    | 2 accepted 1 skipped /
    send renamed tick                 | all                    |
    lead release tick 1 tick          | 1 accepted 2 pending / 2 pending |  # others wait
    lead tick send 11 tick            | all                    |  # until their time
    lead tick 10 send                 | all                    |  # no tick ran lately
    lead tick send 2 tick worse send 9 tick | 1 accepted 2 skipped / 2 skipped | all
    lead tick send 2 ends send 9 tick | 1 accepted 2 skipped / 2 skipped | 1 accepted 2 skipped / 2 skipped
    seldom send 6:59 tick             | 3 accepted / 2 held    |  # quiet hours
    seldom send 7:00 tick tick        | all                    |
    grave send                        | all                    |  # severity 1 wakes
    evening send 7:00 tick            | 3 accepted / 2 skipped |  # nobody kept it up to date
    seldom send 60 ends send 7:00 tick | 3 accepted / 2 skipped | 3 accepted / 2 skipped
""")
def test_what_is_sent(bench: Bench, steps: str, first: str, second: str) -> None:
    """What became of each update, by mail / by text."""
    do(bench, steps)
    found = Counter((row.notice, row.channel, row.state.value) for row in bench.rows())
    wanted: dict[tuple[str, str, str], int] = {}
    for notice, states in (("update:1", first), ("update:2", second)):
        by_mail, _, by_text = states.replace("all", "3 accepted / 2 accepted").partition("/")
        for channel, words in (("email", by_mail.split()), ("sms", by_text.split())):
            wanted |= {(notice, channel, words[at + 1]): int(words[at]) for at in range(0, len(words), 2)}
    assert found == wanted
    accepted = Counter(channel for (_, channel, state) in found.elements() if state == "accepted")
    assert (len(bench.mails()), len(bench.texts())) == (accepted["email"], accepted["sms"])


def test_readers_who_are_still_listed_are_counted_once_at_the_end(bench: Bench) -> None:
    """Those who were told before come from the ledger, too."""
    do(bench, "send 9 ends")
    tally = make_plan(bench.desk, bench.incident(), bench.ledger, as_if_released=True).tally()
    counted = [audience for notice in tally.notices for audience in notice.audiences.values()]
    assert (tally.send, sum(each.not_due.total() for each in counted)) == (5, 0)


def test_one_reader_that_a_template_fails_for_stops_all_before_the_first(bench: Bench) -> None:
    text_says("Hello {{ recipient.nickname }}")(bench)
    bench.release()
    with pytest.raises(InputError, match=r"line 2 of audience customers"):
        bench.send_released()
    assert (bench.rows(), bench.mails()) == ([], [])


def test_a_broken_incident_does_not_stop_another(bench: Bench) -> None:
    write_incident(bench.folder, "good")
    bench.release("good")
    for name in ("a1", "a2", "a3"):
        (bench.folder / f"incidents/{name}.yaml").write_text("title: [")
    ticked = bench.tick()
    assert (ticked.exit_code(0.02), len(ticked.errors)) == (ExitCode.INPUT, 3)
    assert bench.states("good")[("email", "accepted")] == 3


def test_what_a_dead_run_leaves_is_unknown_of_its_own_incident(bench: Bench) -> None:
    """Not of the one that is sent next, nor of the nudge that a tick gives first; each counts in the code."""
    bench.edit("commcast.toml", 'name = "Dana Reyes"', 'name = "Dana Reyes"\nemail = "dana@acme.example"')
    write_incident(bench.folder, "aaa1")
    for name, of in (("pay7", "pay7"), ("aaa1", "~aaa1")):
        bench.release(name)
        bench.freeze(name)
        with bench.ledger.write() as connection:
            if of != name:
                connection.execute(update(broadcast).where(broadcast.c.incident == name).values(incident=of))
                connection.execute(update(delivery).where(delivery.c.incident == name).values(incident=of))
            first = next(each.id for each in open_broadcasts(connection, of))
            settle_and_claim(connection, first, [], count=1, owner=DEAD, lease=LEASE, now=bench.now)
    delivered = bench.send_released("aaa1")
    assert (delivered.lost, delivered.exit_code(0.02)) == (0, ExitCode.DONE)
    bench.later(minutes=16)
    ticked = bench.tick()
    assert {name: done.lost for name, done in ticked.delivered.items()} == {"pay7": 1}
    nudged = {name: done.delivered.lost for name, done in ticked.nudged.items() if done.delivered}
    assert nudged == {"pay7": 0, "aaa1": 1}
    for alone in (replace(ticked, delivered={}), replace(ticked, nudged={})):
        assert alone.exit_code(0.02) is ExitCode.UNKNOWN_OUTCOME


def test_a_region_that_we_may_not_text_is_said_once_and_told_once_it_is_allowed(tmp_path: Path) -> None:
    """It is our account's fault, for these readers only: nobody is suppressed, and all others are told."""
    bench = bench_now(tmp_path)
    bench.edit("commcast.toml", 'name = "Dana Reyes"', 'name = "Dana Reyes"\nemail = "dana@acme.example"')
    no = Outcome(0, OutcomeKind.REJECTED, "may not text this region", blame=Blame.ACCOUNT_FOR_ONE)

    def answer(item: Delivery) -> Outcome:
        refused = address_of(item) == "+4915112345671"
        return (
            no._replace(delivery=item.delivery) if refused else Outcome(item.delivery, OutcomeKind.ACCEPTED)
        )

    bench.adapter = lambda channel: FakeAdapter(channel, answer)
    bench.release()
    codes = []
    for _ in range(3):
        ticked = bench.tick()
        codes.append(ticked.exit_code(0.02))
        bench.later(minutes=1)
    assert codes == [ExitCode.REFUSED, ExitCode.DONE, ExitCode.DONE]
    assert bench.states() == {("email", "accepted"): 3, ("sms", "accepted"): 1, ("sms", "rejected"): 1}
    with bench.ledger.read() as connection:
        assert list_suppressions(connection) == ()
        (nudge,) = last_nudges(connection).values()
    assert nudge.notice == "nudge:provider:fake:some:1"
    bench.adapter = lambda channel: FakeAdapter(channel)
    run("resend", "pay7", "--rejected", "--yes", folder=bench.folder)
    assert bench.states()["sms", "accepted"] == 2


@pytest.mark.parametrize("news", [True, False])
def test_a_held_text_says_what_is_true_when_it_goes_or_its_loss_is_reported(bench: Bench, news: bool) -> None:
    """What was true at night is not enough; nor does the passed promise of an email drop a text."""
    do(bench, "evening send 6:45")
    if news:
        bench.write(status="identified", issue="Nobody can pay by card.")
        bench.send()
    do(bench, "7:20")
    _, ticked = foreseen_and_done(bench)
    assert ["Nobody can pay by card." in path.read_text() for path in bench.texts()] == [True, True] * news
    delivered = ticked.delivered["pay7"]
    code = ExitCode.DONE if news else ExitCode.DECISION
    assert (delivered.expired, delivered.exit_code(0.02)) == (0 if news else 2, code)


def test_the_emails_of_an_incident_hold_together_and_name_one_reader(bench: Bench) -> None:
    """And internal words reach only internal audiences."""
    do(bench, "send 9 plain send")
    mails = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in bench.mails()]
    assert len({mail["References"] for mail in mails}) == 1
    assert len({mail["Message-ID"] for mail in mails}) == 6
    for mail in mails:
        assert len(mail["To"].addresses) == 1
        is_ours = "help@acme.example" in mail["To"]
        assert mail["Reply-To"] == (None if is_ours else "help+pay7@acme.example")
        assert "mailto:unsubscribe@acme.example" in mail["List-Unsubscribe"]
        assert not mail.defects
    for mail in mails[:3]:
        body = "".join(part.get_content() for part in mail.walk() if not part.is_multipart())
        assert ("db-eu-3" in body) == ("help@acme.example" in mail["To"])


@pytest.mark.parametrize(
    "happens",
    [
        {},
        {6: "broken", 30: "mended"},
        {18: "gone"},
        {9: "drafted"},
        {9: "drafted release"},
        {9: "stop", 24: "resume"},
        {9: "drafted release freeze"},
        {9: "stop", 12: "drafted release"},
    ],
    ids=str,
)
def test_a_dry_run_says_what_the_tick_does(happens: dict[int, str], tmp_path: Path) -> None:
    """Every third minute of a time in which nobody writes, and something goes wrong."""
    with night(tmp_path) as here:
        here.bench.send()
        sent, woken = 0, 0
        for minute in range(3, 46, 3):
            here.bench.later(minutes=3)
            do(here.bench, happens.get(minute, ""))
            found, _ = foreseen_and_done(here.bench)
            sent += sum(each.deliveries for each in found.coming)
            woken += len(found.waking)
        assert woken
        assert sent or "stop" in happens.values()


@pytest.mark.parametrize("is_open", [False, True], ids=["all closed", "one open"])
def test_a_pass_with_nothing_due_reads_the_ledger_in_few_transactions(bench: Bench, is_open: bool) -> None:
    """No matter how many incidents are over."""
    for number in range(12):
        write_incident(bench.folder, f"old{number}", more=update_text(bench.now, **RESOLVED))
        bench.send(f"old{number}")
    if is_open:
        bench.send()
    else:
        (bench.folder / PAY7).unlink()
    bench.later(minutes=1)
    bench.tick()  # finds out what is over
    bench.later(minutes=1)
    begun: list[Connection] = []

    def note(connection: Connection) -> None:
        if connection.get_execution_options().get("commcast_reads"):
            begun.append(connection)

    event.listen(bench.ledger.engine, "begin", note)
    ticked = bench.tick()
    assert (ticked.delivered, ticked.nudged, list(ticked.quiet)) == ({}, {}, ["pay7"] if is_open else [])
    assert len(begun) <= 4
