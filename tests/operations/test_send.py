"""From released words to settled deliveries: once, to the right people, in the right words, as foreseen.

Each tick here comes after a dry run, and does what that had said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from commcast.errors import ExitCode, InputError
from commcast.ledger.suppressions import erase, suppress
from commcast.ledger.tables import State
from commcast.operations.desk import make_plan
from commcast.operations.dry_run import Foreseen, foresee
from commcast.operations.tick import Ticked
from tests.support.desk import Bench, update_text, write_desk, write_incident, write_list
from tests.support.scenario import night

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


# What happens on a desk: each of these takes a bench


def edit(path: str, old: str, new: str) -> Step:
    return lambda bench: bench.edit(path, old, new)


def says(**keys: str) -> Step:
    return lambda bench: bench.write(**keys)


def later(minutes: float) -> Step:
    return lambda bench: bench.later(minutes=minutes)


def opt_out(bench: Bench) -> None:
    with bench.ledger.write() as connection:
        suppress(connection, "email", "ann@example.com", reason="asked", by="dana", now=bench.now)


def erased(bench: Bench) -> None:
    with bench.ledger.write() as connection:
        erase(connection, bench.ledger.secret, "email", "ann@example.com", by="dana", now=bench.now)


def goes(bench: Bench) -> None:
    (bench.folder / PAY7).rename(bench.folder / "away.yaml")


def is_renamed(bench: Bench) -> None:
    (bench.folder / PAY7).rename(bench.folder / "incidents/pay8.yaml")


def breaks(bench: Bench) -> None:
    (bench.folder / PAY7).write_text("title: [")


def others_listed(bench: Bench) -> None:
    write_list(bench.folder, "customers", "email,phone,name", ["new@example.com,,New"])


def listed_otherwise(bench: Bench) -> None:
    """Reordered, moved to another audience, the phone written differently."""
    rows = ["bob@EXAMPLE.com,+49 151 12345672,Bob", "ann@example.com,0049 151 12345671,Ann"]
    write_list(bench.folder, "customers", "email,phone,name", rows)
    write_list(bench.folder, "support", "email,name", ["ann@example.com,Ann", "help@acme.example,Su"])


def text_with_its_time(bench: Bench) -> None:
    template = bench.folder / "templates" / "customers" / "sms.txt.j2"
    template.parent.mkdir(parents=True)
    template.write_text("{{ incident.title }}{% if next_update_by %} {{ next_update_by.sms }}{% endif %}")


def support_is_first(bench: Bench) -> None:
    edit("commcast.toml", "rank = 1\n", 'rank = 1\nlead = "10m"\n')(bench)
    edit(PAY7, "severity: 1\n", "severity: 3\naudiences: [support, customers]\n")(bench)


def in_the_evening(severity: int = 2, every: str = "30m") -> Step:
    """Begin at 22:00 instead; texts wait for 08:00."""

    def begin(bench: Bench) -> None:
        bench.now = EVENING
        cadence = f'[cadence.2]\nfirst = "10m"\nevery = "{every}"'
        write_desk(bench.folder, sms='quiet = "21:00-08:00"', extra=cadence)
        write_incident(bench.folder, at=EVENING, severity=severity)

    return begin


def until(hour: int, minute: int = 0) -> Step:
    """Go on to a time of the next day, in UTC: 7:00 is 8:00 in Berlin."""
    return lambda bench: setattr(bench, "now", EVENING.replace(day=22, hour=hour, minute=minute))


send, release, freeze, tick = Bench.send, Bench.release, Bench.freeze, foreseen_and_done
stop, resume = Bench.stop, Bench.resume
plain, worse, ends = says(**IDENTIFIED), says(severity="1"), says(**RESOLVED)
mild = edit(PAY7, "severity: 1", "severity: 2")
HALF_DAY = "12h"
ALL = "email 3 accepted, sms 2 accepted"
CASES: list[tuple[str, Sequence[Step], Mapping[int, str]]] = [
    ("each reader gets one message per channel", [send], {1: ALL}),
    ("the same send again sends nothing", [send, send], {1: ALL}),
    ("saving a file publishes nothing", [tick], {}),
    ("a tick sends what was released, once", [release, tick, tick], {1: ALL}),
    ("lists that change tell nobody twice", [send, listed_otherwise, send], {1: ALL}),
    ("a plain update is not texted", [send, later(9), plain, send], {1: ALL, 2: "email 3 accepted"}),
    ("what is worse is texted", [mild, send, later(9), worse, send], {1: ALL, 2: ALL}),
    ("the end is texted", [send, later(9), ends, send], {1: ALL, 2: ALL}),
    ("those told it began are told its end", [send, others_listed, later(9), ends, send], {1: ALL, 2: ALL}),
    ("what is over before the first word", [later(5), ends, later(1), send], {2: ALL}),
    ("only the newest of several drafts is sent", [later(5), plain, send], {2: ALL}),
    ("no tick sends what is older than its promise", [release, later(25), tick], {}),
    (
        "newer words end what is pending of older ones",
        [release, freeze, later(5), plain, release, tick, tick],
        {1: "email 3 skipped, sms 2 accepted", 2: "email 3 accepted"},
    ),
    # A text states no time, and no plain update is texted: it goes for a while longer.
    (
        "what is pending past its promise expires",
        [release, freeze, later(25), tick],
        {1: "email 3 skipped, sms 2 accepted"},
    ),
    ("so do texts", [release, freeze, later(180), tick], {1: "email 3 skipped, sms 2 skipped"}),
    (
        "a text that states the time expires at it",
        [text_with_its_time, release, freeze, later(25), tick],
        {1: "email 3 skipped, sms 2 skipped"},
    ),
    ("what is stopped sends nothing", [stop, send, tick], {}),
    ("until it is resumed", [stop, send, tick, resume, tick], {1: ALL}),
    (
        "an opt-out counts until the claim",
        [release, freeze, opt_out, tick],
        {1: "email 2 accepted, email 1 skipped, sms 2 accepted"},
    ),
    (
        "an old list tells nobody who was erased",
        [send, erased, later(5), plain, send],
        {1: ALL, 2: "email 2 accepted, email 1 skipped"},
    ),
    ("a renamed file is not sent again", [send, is_renamed, tick], {1: ALL}),
    ("what is frozen goes though its file broke", [release, freeze, breaks, tick], {1: ALL}),
    ("or is gone", [release, freeze, goes, later(1), tick], {1: ALL}),
    (
        "others wait for the audience that is told first",
        [support_is_first, release, tick, later(1), tick],
        {1: "email 1 accepted, email 2 pending, sms 2 pending"},
    ),
    ("nobody waits if no tick ran lately", [support_is_first, tick, later(10), send], {1: ALL}),
    (
        "newer words win over those that wait",
        [support_is_first, tick, send, later(2), tick, worse, send, later(9), tick],
        {1: "email 1 accepted, email 2 skipped, sms 2 skipped", 2: ALL},
    ),
    (
        "those who wait are told nothing if it is over before",
        [support_is_first, tick, send, later(2), ends, send, later(9), tick],
        dict.fromkeys((1, 2), "email 1 accepted, email 2 skipped, sms 2 skipped"),
    ),
    (
        "a stop halts those who wait",
        [support_is_first, tick, send, stop, later(11), tick],
        {1: "email 1 accepted, email 2 pending, sms 2 pending"},
    ),
    ("until then", [support_is_first, tick, send, stop, later(11), tick, resume, tick], {1: ALL}),
    ("texts wait for quiet hours", [in_the_evening(), send, tick], {1: "email 3 accepted, sms 2 held"}),
    (
        "not a minute less",
        [in_the_evening(every=HALF_DAY), send, until(6, 59), tick],
        {1: "email 3 accepted, sms 2 held"},
    ),
    ("and go then", [in_the_evening(every=HALF_DAY), send, until(7), tick, tick], {1: ALL}),
    ("unless severity 1 wakes", [in_the_evening(severity=1), send], {1: ALL}),
    (
        "a text that nobody kept up to date is dropped",
        [in_the_evening(), send, until(7), tick],
        {1: "email 3 accepted, sms 2 skipped"},
    ),
    (
        "so is one that is over by then",
        [in_the_evening(every=HALF_DAY), send, later(60), ends, send, until(7), tick],
        {1: "email 3 accepted, sms 2 skipped", 2: "email 3 accepted, sms 2 skipped"},
    ),
]


@pytest.mark.parametrize(("steps", "left"), [pytest.param(*case, id=name) for name, *case in CASES])
def test_what_is_sent(bench: Bench, steps: Sequence[Step], left: Mapping[int, str]) -> None:
    for step in steps:
        step(bench)
    found = Counter((row.notice, row.channel, row.state.value) for row in bench.rows())
    wanted = {
        (f"update:{number}", channel, state): int(many)
        for number, states in left.items()
        for channel, many, state in (each.split() for each in states.split(", "))
    }
    assert found == wanted
    accepted = Counter(channel for (_, channel, state) in found.elements() if state == "accepted")
    assert (len(bench.mails()), len(bench.texts())) == (accepted["email"], accepted["sms"])


def test_late_sends_what_is_older_than_its_promise(bench: Bench) -> None:
    bench.release()
    bench.later(minutes=25)
    bench.send_released(late=True)
    assert len(bench.mails()) == 3


def test_a_stop_is_named_and_ends_a_run_with_its_code(bench: Bench) -> None:
    bench.stop()
    delivered = bench.send()
    assert (delivered.stopped_by, delivered.exit_code(0.02)) == ("dana", ExitCode.DECISION)
    assert foresee(bench.desk, bench.ledger).stopped == {"pay7": "dana"}


def test_an_erased_reader_leaves_no_address_behind(bench: Bench) -> None:
    bench.send()
    erased(bench)
    assert all(row.address != "ann@example.com" for row in bench.rows())


def test_readers_who_are_still_listed_are_counted_once_at_the_end(bench: Bench) -> None:
    """Those who were told before come from the ledger, too."""
    bench.send()
    later(9)(bench)
    ends(bench)
    tally = make_plan(bench.desk, bench.incident(), bench.ledger, as_if_released=True).tally()
    counted = [audience for notice in tally.notices for audience in notice.audiences.values()]
    assert (tally.send, sum(each.not_due.total() for each in counted)) == (5, 0)


def test_released_words_may_not_change_but_internal_notes_may(bench: Bench) -> None:
    bench.send()
    edit(PAY7, "db-eu-3", "db-eu-4")(bench)
    bench.check()
    edit(PAY7, "an error", "two errors")(bench)
    with pytest.raises(InputError, match="released and has changed"):
        bench.check()


def test_a_renamed_file_is_recognised_by_what_it_said(bench: Bench) -> None:
    bench.send()
    is_renamed(bench)
    with pytest.raises(InputError, match="id: pay7"):
        bench.check("pay8")


def test_one_reader_that_a_template_fails_for_stops_all_before_the_first(bench: Bench) -> None:
    folder = bench.folder / "templates/customers"
    folder.mkdir(parents=True)
    (folder / "sms.txt.j2").write_text("Hello {{ recipient.nickname }}")
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


@pytest.mark.parametrize("news", [True, False])
def test_a_held_text_says_what_is_true_when_it_goes_or_its_loss_is_reported(bench: Bench, news: bool) -> None:
    """What was true at night is not enough; nor does the passed promise of an email drop a text."""
    in_the_evening()(bench)
    bench.send()
    if news:
        until(6, 45)(bench)
        says(status="identified", issue="Nobody can pay by card.")(bench)
        bench.send()
    until(7, 20)(bench)
    _, ticked = foreseen_and_done(bench)
    assert ["Nobody can pay by card." in path.read_text() for path in bench.texts()] == [True, True] * news
    delivered = ticked.delivered["pay7"]
    code = ExitCode.DONE if news else ExitCode.DECISION
    assert (delivered.expired, delivered.exit_code(0.02)) == (0 if news else 2, code)


def test_the_emails_of_an_incident_hold_together_and_name_one_reader(bench: Bench) -> None:
    """And internal words reach only internal audiences."""
    for step in (send, later(9), plain, send):
        step(bench)
    mails = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in bench.mails()]
    assert len({mail["References"] for mail in mails}) == 1
    assert len({mail["Message-ID"] for mail in mails}) == 6
    for mail in mails:
        assert len(mail["To"].addresses) == 1
        assert mail["Reply-To"] == "help+pay7@acme.example"
        assert mail["Auto-Submitted"] == "auto-generated"
        assert "mailto:unsubscribe@acme.example" in mail["List-Unsubscribe"]
        assert not mail.defects
    for mail in mails[:3]:
        body = "".join(part.get_content() for part in mail.walk() if not part.is_multipart())
        assert ("db-eu-3" in body) == ("help@acme.example" in mail["To"])


# What a dry run says, over time


def broken(bench: Bench) -> None:
    edit(PAY7, "severity: 1", "severity: 9")(bench)


def mended(bench: Bench) -> None:
    edit(PAY7, "severity: 9", "severity: 1")(bench)


def drafted(bench: Bench) -> None:
    says(nothing_new="rollback at 60%")(bench)


def released(bench: Bench) -> None:
    drafted(bench)
    bench.release()


def frozen(bench: Bench) -> None:
    released(bench)
    bench.freeze()


@pytest.mark.parametrize(
    "happens",
    [
        {},
        {6: broken, 30: mended},
        {18: goes},
        {9: drafted},
        {9: released},
        {9: Bench.stop, 24: Bench.resume},
        {9: frozen},
        {9: Bench.stop, 12: released},
    ],
    ids=lambda happens: " ".join(f"{at}:{what.__name__}" for at, what in happens.items()) or "nothing",
)
def test_a_dry_run_says_what_the_tick_does(
    happens: dict[int, Callable[[Bench], None]], tmp_path: Path
) -> None:
    """Every third minute of a time in which nobody writes, and something goes wrong."""
    with night(tmp_path) as here:
        here.bench.send()
        sent, woken = 0, 0
        for minute in range(3, 46, 3):
            here.bench.later(minutes=3)
            if minute in happens:
                happens[minute](here.bench)
            found, _ = foreseen_and_done(here.bench)
            sent += sum(each.deliveries for each in found.coming)
            woken += len(found.waking)
        assert woken
        assert sent or Bench.stop in happens.values()


def test_a_draft_that_nobody_released_nudges_and_is_not_sent(bench: Bench) -> None:
    bench.later(minutes=5)
    found, _ = foreseen_and_done(bench)
    assert ([each.nudge.why for each in found.waking], found.coming) == (["draft"], [])


# What a pass costs if nothing is due


@pytest.mark.parametrize("closed", [0, 12])
@pytest.mark.parametrize("is_open", [False, True], ids=["all closed", "one open"])
def test_a_pass_with_nothing_due_reads_the_ledger_in_few_transactions(
    tmp_path: Path, closed: int, is_open: bool
) -> None:
    """No matter how many incidents are over."""
    write_desk(tmp_path)
    bench = Bench(tmp_path)
    for number in range(closed):
        write_incident(tmp_path, f"old{number}", more=update_text(bench.now, **RESOLVED))
        bench.send(f"old{number}")
    if is_open:
        write_incident(tmp_path)
        bench.send()
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
