"""The verbs of planned work: what they write, what readers and their calendars get, what they refuse."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from typer.testing import Result

from commcast.model.times import write_instant
from tests.support.desk import Bench, write_desk
from tests.support.reader import ReaderCalendar, calendar_file, event_in, parsed, sequence, words
from tests.support.terminal import everything_in, outbox, run_at_terminal

PLAN = ("--issue", "Payments pause for 10 minutes.", "--resolution", "We move the database.")
DAY = (datetime.now(UTC) + timedelta(days=20)).date()
FILE = "incidents/database1.yaml"


def schedule(folder: Path, window: str, *more: str, title: str = "Database moves") -> Result:
    return run_at_terminal(folder, "schedule", title, "--window", window, *PLAN, *more)


def running(folder: Path, status: str = "scheduled", *, began: float = 10, lasts: float = 60) -> Path:
    """Write work whose window began so many minutes ago, and tell everybody; return its file."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    start, said = now - timedelta(minutes=began), now - timedelta(minutes=max(began, 0) + 60)
    path = folder / FILE
    path.write_text(
        f"title: Database moves\nkind: maintenance\nseverity: 2\n"
        f"window: {{from: {write_instant(start)}, to: {write_instant(start + timedelta(minutes=lasts))}}}\n"
        f"updates:\n  - at: {write_instant(said)}\n    status: {status}\n"
        f"    issue: Payments pause for 10 minutes.\n    resolution: We move the database.\n"
    )
    done = run_at_terminal(folder, "send", "database1", "--yes", "--late")
    assert done.exit_code == 0, done.output
    return path


def mails_to(folder: Path, name: str) -> list[Path]:
    """Return one reader's mails in the order in which they went."""
    return [folder / "outbox" / each for each in outbox(folder) if each.endswith(f"-{name}.eml")]


def fact(mail: EmailMessage, *labels: str) -> str:
    """Return what a mail says under the first of these labels that it has."""
    part = mail.get_body(("plain",))
    assert part is not None
    found = re.search(rf"^(?:- )?(?:{'|'.join(labels)}): (.*)$", part.get_content(), re.MULTILINE)
    assert found, part.get_content()
    return found[1].strip()


def test_work_that_is_moved_twice_and_cancelled_leaves_every_calendar_empty(desk: Path) -> None:
    """Every mail names the old window and the new one; calendars follow, file by file."""
    done = schedule(desk, f"{DAY} 02:00/04:00", "--yes")
    assert done.exit_code == 0, done.output
    for window in (f"{DAY} 03:00/05:00", f"{DAY} 22:00/01:00"):
        done = run_at_terminal(
            desk, "reschedule", "--window", window, "--because", "The truck is late.", "--yes"
        )
        assert done.exit_code == 0, done.output
    done = run_at_terminal(desk, "cancel", "--because", "The hardware came damaged.", "--yes")
    assert done.exit_code == 0, done.output
    readers = {name.split("-", 1)[1] for name in outbox(desk) if name.endswith(".eml")}
    assert len(readers) == 6
    for name in readers:
        mails = [parsed(path) for path in mails_to(desk, name.removesuffix(".eml"))]
        named = [fact(mail, "When", "New time", "It was planned for") for mail in mails]
        assert len(set(named[:3])) == 3
        assert named[1].startswith(fact(mails[1], "New time"))
        assert [fact(mail, "Before it was") for mail in mails[1:3]] == [
            window.rpartition(", ")[0] for window in named[:2]
        ]
        assert named[3] == named[2]
    for name in readers:
        calendar = ReaderCalendar()
        seen = []
        for path in mails_to(desk, name.removesuffix(".eml")):
            content = calendar_file(parsed(path))
            assert content is not None
            calendar.take(content)
            seen.append((sequence(content), len(calendar.entries)))
        assert seen == [(0, 1), (1, 1), (2, 1), (3, 0)]


def test_work_that_is_cancelled_names_the_window_that_readers_were_told(desk: Path) -> None:
    """A move that was only drafted reached nobody: nobody waits for that time."""
    schedule(desk, f"{DAY} 02:00/04:00", "--yes")
    run_at_terminal(desk, "reschedule", "--window", f"{DAY} 13:00/15:00")
    draft = run_at_terminal(desk, "cancel", "--because", "No need.")
    assert draft.exit_code == 5
    done = run_at_terminal(desk, "send", "database1", "--yes")
    assert done.exit_code == 0, done.output
    mail = parsed(mails_to(desk, "alex-customer-example")[-1])
    assert "02:00 to 04:00 UTC" in fact(mail, "It was planned for")


def test_a_calendar_that_gets_the_files_in_another_order_ends_the_same(desk: Path) -> None:
    schedule(desk, f"{DAY} 02:00/04:00", "--yes")
    run_at_terminal(desk, "reschedule", "--window", f"{DAY} 03:00/05:00", "--yes")
    files = [calendar_file(parsed(path)) for path in mails_to(desk, "alex-customer-example")]
    calendar = ReaderCalendar()
    for content in reversed(files):
        assert content is not None
        calendar.take(content)
    assert [(start.hour, end.hour) for start, end in calendar.times] == [(3, 5)]


def test_the_window_is_echoed_as_it_was_read(desk: Path) -> None:
    done = schedule(desk, f"{DAY} 22:00/02:00", "--dry-run")
    after = DAY + timedelta(days=1)
    read = f"{DAY:%a} {DAY.day} {DAY:%b} {DAY.year}, 22:00 to {after:%a} {after.day} {after:%b}, 02:00 UTC"
    assert f"Window: {read}, 4 hours; zone UTC." in done.stderr


def test_customers_hear_of_planned_work_unless_another_severity_is_given(desk: Path) -> None:
    schedule(desk, f"{DAY} 02:00/04:00", "--yes")
    assert mails_to(desk, "alex-customer-example")
    assert "kind: maintenance\nseverity: 2\n" in (desk / FILE).read_text()


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (f"{DAY} 04:00/02:00", "--window: 02:00 is on "),
        ("tomorrow", "--window: 'tomorrow' is not a window; write \"2026-12-05 02:00/04:00\""),
        (f"{DAY} 04:00", "is not a window"),
        (f"{DAY} 04:00/{DAY} 02:00", "--window: the window ends before it begins; write a later end"),
        (f"{DAY} 04:00/04:00", "--window: 04:00 is when it begins; write a later end"),
        ("2020-01-01 02:00/04:00", "--window: it has begun already (Wed 1 Jan 2020, 02:00 to 04:00 UTC"),
        (f"{DAY} 25:00/26:00", "is not a moment that exists"),
        (f"{DAY} 02:00/26:00", "26:00 is not a clock time"),
        ("02:00\x1b[2J/04:00", "--window: "),
        ("/", "is not a window"),
    ],
)
def test_a_window_that_is_none_is_explained_and_writes_nothing(desk: Path, window: str, said: str) -> None:
    before = everything_in(desk)
    done = schedule(desk, window, "--yes")
    assert done.exit_code == 2, done.output
    assert said in done.stderr, done.stderr
    assert "\x1b" not in done.output
    assert everything_in(desk) == before


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ("2027-03-28 02:30/04:00", "2027-03-28T02:30 does not exist in Europe/Berlin: the clocks go forward"),
        (
            "2027-10-31 01:00/02:30",
            "occurs twice in Europe/Berlin; write the offset: 2027-10-31T02:30+02:00 or ",
        ),
    ],
)
def test_a_time_that_clocks_skip_or_show_twice_is_refused_with_both_readings(
    desk: Path, window: str, said: str
) -> None:
    (desk / "commcast.toml").write_text(
        (desk / "commcast.toml").read_text().replace('zone = "UTC"', 'zone = "Europe/Berlin"')
    )
    done = schedule(desk, window, "--yes")
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr


def test_an_end_may_name_its_offset_in_the_night_of_two_such_hours(desk: Path) -> None:
    (desk / "commcast.toml").write_text(
        (desk / "commcast.toml").read_text().replace('zone = "UTC"', 'zone = "Europe/Berlin"')
    )
    done = schedule(desk, "2027-10-31 01:00/02:30+01:00", "--yes")
    assert done.exit_code == 0, done.output
    assert "01:00 CEST to 02:30 CET" in done.stderr
    assert "2 hours 30 minutes, the clocks change within it" in done.stderr


def test_what_is_missing_is_named_at_once(desk: Path) -> None:
    done = run_at_terminal(desk, "schedule", "Database moves", "--yes")
    assert done.exit_code == 2
    for option in ("--window", "--issue", "--resolution"):
        assert f"{option} is missing" in done.stderr
    done = run_at_terminal(desk, "schedule", "--window", f"{DAY} 02:00/04:00", *PLAN, "--yes")
    assert "TITLE is missing; what will be done, in a few words" in done.stderr


@pytest.mark.usefixtures("person")
def test_what_is_missing_is_asked_for(desk: Path) -> None:
    typed = f"soon\n{DAY} 02:00/04:00\nPayments pause.\nWe move the database.\ny\n"
    done = run_at_terminal(desk, "schedule", "Database moves", typed=typed)
    assert done.exit_code == 0, done.output
    assert "'soon' is not a window" in done.stderr
    assert f"from: {DAY}T02:00+00:00" in (desk / FILE).read_text()


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize(
    ("window", "said"),
    [
        (f"{DAY} 04:00/02:00", "long after its beginning; where that is meant, write its date"),
        ("2020-01-01 02:00/04:00", "it has begun already"),
        (f"{DAY}T04:00Z/{DAY}T02:00Z", "the window ends before it begins"),
    ],
)
def test_a_window_that_would_be_refused_later_is_asked_for_again(desk: Path, window: str, said: str) -> None:
    """A person who answered everything else must not lose it to the first answer."""
    typed = f"{window}\n{DAY} 02:00/04:00\nPayments pause.\nWe move the database.\ny\n"
    done = run_at_terminal(desk, "schedule", "Database moves", typed=typed)
    assert done.exit_code == 0, done.output
    assert said in done.stderr
    assert f"from: {DAY}T02:00+00:00" in (desk / FILE).read_text()


def test_a_window_that_passed_without_a_word_has_three_ways_on(desk: Path) -> None:
    """Work that ran on time is not moved: it is done, or takes longer."""
    running(desk, began=70, lasts=60)
    said = run_at_terminal(desk, "start").stderr
    assert 'complete database1 --ended HH:MM --fixed "…"' in said
    assert "extend database1 --until HH:MM" in said
    assert 'reschedule database1 --window "…"' in said
    ended = f"{datetime.now(UTC) - timedelta(minutes=12):%H:%M}"
    done = run_at_terminal(desk, "complete", "--ended", ended, "--fixed", "It moved.", "--yes")
    assert done.exit_code == 0, done.output


def test_a_dry_run_writes_nothing(desk: Path) -> None:
    before = everything_in(desk)
    assert schedule(desk, f"{DAY} 02:00/04:00", "--dry-run").exit_code == 0
    assert everything_in(desk) == before


def test_work_begins_takes_longer_and_is_done(desk: Path) -> None:
    path = running(desk)
    assert run_at_terminal(desk, "start", "--yes").exit_code == 0
    until = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=110)
    done = run_at_terminal(
        desk, "extend", "--until", f"{until:%Y-%m-%d %H:%M}", "--because", "Copying is slow.", "--yes"
    )
    assert done.exit_code == 0, done.output
    done = run_at_terminal(desk, "complete", "--fixed", "The database runs on new hardware.", "--yes")
    assert done.exit_code == 0, done.output
    text = path.read_text()
    assert [line.split()[-1] for line in text.splitlines() if "status:" in line] == [
        "scheduled",
        "in_progress",
        "extended",
        "completed",
    ]
    mails = [parsed(each) for each in mails_to(desk, "alex-customer-example")]
    assert [mail["subject"].split("]")[0][1:] for mail in mails] == [
        "Scheduled",
        "In progress",
        "Extended",
        "Completed",
    ]
    assert [calendar_file(mail) is not None for mail in mails] == [True, False, True, False]
    assert "New end: " in words(mails[2]) and "Before it was: " in words(mails[2])
    assert "Why: Copying is slow." in words(mails[2])


@pytest.mark.parametrize(
    ("began", "lasts", "status", "command", "said"),
    [
        (-120, 60, "scheduled", ["start"], "readers expect database1 later"),
        (70, 60, "scheduled", ["start"], "the window of database1 is over"),
        (10, 60, "in_progress", ["start"], "database1 has begun already"),
        (-120, 60, "scheduled", ["complete", "--fixed", "x"], "database1 has not begun"),
        (10, 60, "in_progress", ["complete"], "--fixed is missing; what was done"),
        (10, 60, "in_progress", ["extend"], "--until is missing"),
        (10, 60, "in_progress", ["extend", "--until", "soon"], "--until: 'soon' is not a date and time"),
        (
            10,
            60,
            "in_progress",
            ["extend", "--until", "2020-01-01 05:00"],
            "--until: that is not later than the end",
        ),
        (-120, 60, "scheduled", ["extend", "--until", "2099-01-01 05:00"], "has not begun"),
        (10, 60, "in_progress", ["reschedule"], "--window is missing"),
        (
            10,
            60,
            "in_progress",
            ["reschedule", "--window", "2020-01-01 02:00/04:00"],
            "--window: it has begun already",
        ),
        (10, 60, "in_progress", ["cancel"], "--because is missing"),
        (10, 60, "in_progress", ["update", "--status", "completed"], "write: commcast complete database1"),
        (
            10,
            60,
            "in_progress",
            ["update", "--status", "extended"],
            "write: commcast extend database1 --until",
        ),
        (10, 60, "completed", ["start", "database1"], "database1 is completed already"),
        (
            10,
            60,
            "completed",
            ["extend", "database1", "--until", "2099-01-01"],
            "database1 is completed already",
        ),
        (10, 60, "completed", ["start"], "no maintenance is open; plan one with: commcast schedule"),
    ],
)
def test_what_cannot_be_said_of_planned_work_is_refused(
    tmp_path: Path, desk: Path, began: float, lasts: float, status: str, command: list[str], said: str
) -> None:
    path = running(desk, status, began=began, lasts=lasts)
    before = path.read_bytes()
    done = run_at_terminal(desk, *command, "--yes")
    assert done.exit_code == 2, done.output
    assert said in done.stderr, done.stderr
    assert path.read_bytes() == before


def test_a_clock_time_that_has_passed_is_no_new_end_tomorrow(desk: Path) -> None:
    path = running(desk, "in_progress", began=30, lasts=60)
    before = path.read_bytes()
    passed = datetime.now(UTC) - timedelta(minutes=40)
    done = run_at_terminal(desk, "extend", "--until", f"{passed:%H:%M}", "--yes")
    assert done.exit_code == 2
    assert "where that is meant, write its date: --until " in done.stderr
    assert path.read_bytes() == before


def test_moving_work_to_its_own_window_is_refused(desk: Path) -> None:
    schedule(desk, f"{DAY} 02:00/04:00", "--yes")
    done = run_at_terminal(desk, "reschedule", "--window", f"{DAY} 02:00/04:00", "--yes")
    assert (done.exit_code, "that is the window already" in done.stderr) == (2, True)


def test_an_incident_is_not_planned_work(desk: Path) -> None:
    words_of_it = ("--issue", "Cards fail.", "--resolution", "We look.", "--timeframe", "unknown")
    run_at_terminal(desk, "declare", "Cards fail", "--severity", "2", *words_of_it, "--yes")
    for command in (["start"], ["extend", "--until", "05:00"], ["complete", "--fixed", "x"]):
        done = run_at_terminal(desk, command[0], "cards1", *command[1:], "--yes")
        assert (done.exit_code, "cards1 is an incident, no maintenance" in done.stderr) == (2, True), (
            done.stderr
        )
    done = run_at_terminal(desk, "cancel", "cards1", "--because", "x", "--yes")
    assert (done.exit_code, "cards1 is an incident that has begun" in done.stderr) == (2, True)


EXPECTED = (
    "--severity",
    "2",
    "--issue",
    "Payments may fail.",
    "--resolution",
    "We watch.",
    "--timeframe",
    "unknown",
)


def test_what_is_expected_is_told_before_and_becomes_the_incident(desk: Path) -> None:
    done = run_at_terminal(
        desk, "declare", "Storm over Berlin", *EXPECTED, "--expected", f"{DAY} 02:00", "--yes"
    )
    assert done.exit_code == 0, done.output
    first = parsed(mails_to(desk, "kim-customer-example")[0])
    assert first["subject"].startswith("[Expected] ")
    assert "We expect trouble from " in words(first) and "so that you can prepare." in words(first)
    done = run_at_terminal(desk, "update", "--status", "investigating", "--issue", "Payments fail.", "--yes")
    assert done.exit_code == 0, done.output
    second = parsed(mails_to(desk, "kim-customer-example")[1])
    assert second["subject"].startswith("[Investigating] ")
    assert "What we expected has begun. We are looking into this." in words(second)
    texts = [path.read_text() for path in sorted((desk / "outbox").glob("*.txt"))]
    assert "Acme Pay EXPECTED: From " in texts[0]
    assert "Acme Pay INVESTIGATING: What we expected has begun. Payments fail." in texts[1]
    assert run_at_terminal(desk, "cancel", "storm1", "--because", "x", "--yes").exit_code == 2


def test_what_is_expected_at_another_time_is_said_with_both(desk: Path) -> None:
    run_at_terminal(desk, "declare", "Storm over Berlin", *EXPECTED, "--expected", f"{DAY} 02:00", "--yes")
    done = run_at_terminal(desk, "update", "--expected", f"{DAY} 05:00", "--yes")
    assert done.exit_code == 0, done.output
    said = words(parsed(mails_to(desk, "noc-partner-example")[-1]))
    assert "This is expected at another time now. We expect trouble from " in said
    assert "Before it was: " in said
    run_at_terminal(desk, "update", "--status", "investigating", "--yes")
    refused = run_at_terminal(desk, "update", "--expected", f"{DAY} 06:00", "--yes")
    assert (refused.exit_code, "storm1 has begun: it is investigating" in refused.stderr) == (2, True)


def test_what_was_expected_and_does_not_come_is_called_off(desk: Path) -> None:
    run_at_terminal(desk, "declare", "Storm over Berlin", *EXPECTED, "--expected", f"{DAY} 02:00", "--yes")
    done = run_at_terminal(desk, "cancel", "--because", "The storm turned north.", "--yes")
    assert done.exit_code == 0, done.output
    last = parsed(mails_to(desk, "kim-customer-example")[-1])
    assert last["subject"].startswith("[Retracted] ")
    said = words(last)
    assert "What we expected will not come." in said and "It was expected from: " in said
    assert "Next update" not in said and "sorry" not in said


def test_what_is_only_expected_is_not_resolved(desk: Path) -> None:
    run_at_terminal(desk, "declare", "Storm over Berlin", *EXPECTED, "--expected", f"{DAY} 02:00", "--yes")
    done = run_at_terminal(desk, "resolve", "--fixed", "It went by.", "--yes")
    assert done.exit_code == 2
    assert "commcast cancel storm1" in done.stderr


def test_what_has_begun_is_not_expected(desk: Path) -> None:
    done = run_at_terminal(
        desk, "declare", "Storm", *EXPECTED, "--expected", f"{DAY} 02:00", "--status", "identified", "--yes"
    )
    assert (done.exit_code, "--expected: what is identified has begun" in done.stderr) == (2, True)


@pytest.mark.parametrize(("when", "said"), [("soon", "--expected: "), ("2020-01-01 02:00", "--expected: ")])
def test_a_time_that_cannot_be_expected_is_refused(desk: Path, when: str, said: str) -> None:
    before = everything_in(desk)
    done = run_at_terminal(desk, "declare", "Storm", *EXPECTED, "--expected", when, "--yes")
    assert (done.exit_code, said in done.stderr) == (2, True), done.output
    assert everything_in(desk) == before


def test_a_test_message_carries_an_entry_of_its_own(desk: Path) -> None:
    """Nobody's calendar shall take a test for the real thing."""
    schedule(desk, f"{DAY} 02:00/04:00", "--yes")
    real = calendar_file(parsed(mails_to(desk, "alex-customer-example")[0]))
    assert run_at_terminal(desk, "test", "database1", "--to", "me@example.com").exit_code == 0
    tests = [calendar_file(parsed(path)) for path in mails_to(desk, "me-example-com")]
    assert tests
    assert real is not None
    for content in tests:
        assert content is not None
        assert str(event_in(content)["summary"]).startswith("[TEST for ")
        assert event_in(content)["uid"] != event_in(real)["uid"]


def test_a_preview_tells_of_the_calendar_file(tmp_path: Path) -> None:
    write_desk(tmp_path)
    Bench(tmp_path)
    done = schedule(tmp_path, f"{DAY} 02:00/04:00", "--dry-run")
    assert "Attached: database1.ics, CONFIRMED, sequence 0" in done.stdout, done.output
