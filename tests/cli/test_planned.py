"""The verbs of planned work and of what is expected: what readers and calendars get, what is refused."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from typer.testing import Result

from commcast.model.times import write_instant
from tests.support.reader import ReaderCalendar, calendar_file, event_in, parsed, sequence, words
from tests.support.terminal import do, everything_in, make_desk, missing, outbox, refuse, succeed, timeless

Kept = Callable[..., Path]
PLAN = "--issue 'Payments pause for 10 minutes.' --resolution 'We move the database.'"
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
DAY = (NOW + timedelta(days=20)).date()
FILE = "incidents/database1.yaml"
NIGHT = f"{DAY} 02:00/04:00"
STORM = (
    "declare 'Storm over Berlin' --severity 2 --issue 'Payments may fail.' --resolution 'We watch.' "
    f"--timeframe unknown --expected '{DAY} 02:00' --yes"
)


def schedule(folder: Path, window: str = NIGHT, more: str = "--yes") -> Result:
    return do(folder, f"schedule 'Database moves' --window {shlex.quote(window)} {PLAN} {more}")


def running(folder: Path, status: str = "scheduled", *, began: float = 10, lasts: float = 60) -> Path:
    """Write work whose window began so many minutes ago, and tell everybody; return its folder."""
    start, said = NOW - timedelta(minutes=began), NOW - timedelta(minutes=max(began, 0) + 60)
    (folder / FILE).write_text(
        f"title: Database moves\nkind: maintenance\nseverity: 2\n"
        f"window: {{from: {write_instant(start)}, to: {write_instant(start + timedelta(minutes=lasts))}}}\n"
        f"updates:\n  - at: {write_instant(said)}\n    status: {status}\n"
        f"    issue: Payments pause for 10 minutes.\n    resolution: We move the database.\n"
    )
    succeed(folder, "send database1 --late")
    return folder


def mails_to(folder: Path, name: str = "alex-customer-example") -> list[EmailMessage]:
    """Return one reader's mails in the order in which they went."""
    return [parsed(folder / "outbox" / each) for each in outbox(folder) if each.endswith(f"-{name}.eml")]


def calendars(mails: list[EmailMessage]) -> list[bytes]:
    return [content for mail in mails if (content := calendar_file(mail)) is not None]


def windows(mail: EmailMessage) -> list[str]:
    """Return the windows that a mail names, each once, in their order."""
    moment = r"\w{3} \d+ \w{3}, \d\d:\d\d"
    return list(dict.fromkeys(re.findall(rf"{moment}(?: - {moment}|-\d\d:\d\d)", words(mail))))


def test_work_that_is_moved_twice_and_cancelled_leaves_every_calendar_empty(desk: Path) -> None:
    """Every mail names the old window and the new one; calendars follow, file by file."""
    assert schedule(desk).exit_code == 0
    refuse(desk, f"reschedule --window '{NIGHT}' --yes", "this is already the window")
    succeed(
        desk, f"reschedule --urgent --window '{DAY} 03:00/05:00'", f"reschedule --window '{DAY} 22:00/01:00'"
    )
    succeed(desk, "cancel --because 'The hardware came damaged.'")
    assert "    urgent: true\n" in (desk / "incidents" / "database1.yaml").read_text()
    readers = {name.split("-", 1)[1].removesuffix(".eml") for name in outbox(desk) if name.endswith(".eml")}
    assert len(readers) == 6
    for name in readers:
        mails = mails_to(desk, name)
        (first,), (second, before), (third, then), (cancelled,) = map(windows, mails)
        assert len({first, second, third}) == 3
        assert (before, then, cancelled) == (first, second, third)
        calendar, seen = ReaderCalendar(), []
        for content in calendars(mails):
            calendar.take(content)
            seen.append((sequence(content), len(calendar.entries)))
        assert seen == [(0, 1), (1, 1), (2, 1), (3, 0)]
        late = ReaderCalendar()
        for content in reversed(calendars(mails)):  # files that come in another order end the same
            late.take(content)
        assert late.entries == calendar.entries


def test_work_that_is_cancelled_names_the_window_that_readers_were_told(desk: Path) -> None:
    """A move that was only drafted reached nobody: nobody waits for that time."""
    schedule(desk)
    for command in (f"reschedule --window '{DAY} 13:00/15:00'", "cancel --because 'No need.'"):
        assert do(desk, command).exit_code == 5
    succeed(desk, "send database1")
    (told,) = windows(mails_to(desk)[-1])
    assert re.search(r" 0[34]:00-0[56]:00$", told), "in Berlin, where Alex lives"


def test_work_begins_takes_longer_and_is_done(desk: Path) -> None:
    until = f"{NOW + timedelta(minutes=110):%Y-%m-%d %H:%M}"
    succeed(running(desk), "start", f"extend --until '{until}' --because 'Copying is slow.'")
    succeed(desk, "complete --fixed 'The database runs on new hardware.'")
    text = (desk / FILE).read_text()
    said = [line.split()[-1] for line in text.splitlines() if "status:" in line]
    assert said == ["scheduled", "in_progress", "extended", "completed"]
    mails = mails_to(desk)
    subjects = [mail["subject"].split("]")[0][1:] for mail in mails]
    assert subjects == ["Planned work", "Started", "Taking longer", "Finished"]
    assert [calendar_file(mail) is not None for mail in mails] == [True, False, True, False]
    at = (NOW + timedelta(minutes=minutes) for minutes in (110, 50))
    ends = [f"{each.astimezone(ZoneInfo('Europe/Berlin')):%H:%M}" for each in at]
    told = " … ".join(["taking longer", *ends, "Copying is slow."])
    assert missing(told, words(mails[2])) == [], "the new end, and the old one"


def test_a_test_message_carries_an_entry_of_its_own(desk: Path) -> None:
    """Nobody's calendar shall take a test for the real thing."""
    schedule(desk)
    (real,) = calendars(mails_to(desk))
    assert do(desk, "test database1 --to me@example.com").exit_code == 0
    tests = [event_in(content) for content in calendars(mails_to(desk, "me-example-com"))]
    assert tests and all(str(test["summary"]).startswith("[TEST for ") for test in tests)
    assert event_in(real)["uid"] not in [test["uid"] for test in tests]


def test_what_is_expected_is_told_before_and_becomes_the_incident(desk: Path) -> None:
    assert do(desk, STORM).exit_code == 0
    succeed(
        desk, f"update --expected '{DAY} 05:00'", "update --status investigating --issue 'Payments fail.'"
    )
    first, moved, begun = mails_to(desk, "kim-customer-example")
    assert first["subject"].startswith("[Expected] ")
    (told,) = re.findall(r"We expect problems from ([^.]+)\. .* so that you can prepare\.", words(first))
    ((now, before),) = re.findall(r"it's now ([^.]+), not ([^.]+)\.", words(moved))
    assert before == told != now
    assert begun["subject"].startswith("[Investigating] ")
    assert "What we told you to expect has started. Payments fail." in words(begun)
    texts = [path.read_text() for path in sorted((desk / "outbox").glob("*.txt"))]
    assert "Acme Pay: From " in texts[0]
    assert "Acme Pay: Payments fail." in texts[-1]
    refuse(desk, f"update --expected '{DAY} 06:00' --yes", "storm1 has begun: it is investigating")


def test_what_was_expected_and_does_not_come_is_called_off(desk: Path) -> None:
    do(desk, STORM)
    succeed(desk, "cancel --because 'The storm turned north.'")
    last = mails_to(desk, "kim-customer-example")[-1]
    said = words(last)
    assert missing("We no longer expect the problems  …  The storm turned north.", said) == []
    assert "Next update" not in said and "sorry" not in said


def in_berlin(desk: Path) -> Path:
    path = desk / "commcast.toml"
    path.write_text(path.read_text().replace('zone = "UTC"', 'zone = "Europe/Berlin"'))
    return desk


def test_a_dry_run_echoes_the_window_as_it_was_read_and_writes_nothing(kept: Kept) -> None:
    before = everything_in(kept())
    assert "Attached: database1.ics, CONFIRMED, sequence 0" in schedule(kept(), more="--dry-run").stdout
    done = schedule(kept(), f"{DAY} 22:00/02:00", "--dry-run")
    after = DAY + timedelta(days=1)
    read = f"{DAY:%a} {DAY.day} {DAY:%b} {DAY.year}, 22:00 to {after:%a} {after.day} {after:%b}, 02:00 UTC"
    assert done.exit_code == 0
    assert f"Window: {read}, 4 hours; zone UTC." in done.stderr
    assert everything_in(kept()) == before


def test_an_end_may_name_its_offset_in_the_night_of_two_such_hours(desk: Path) -> None:
    done = schedule(in_berlin(desk), "2027-10-31 01:00/02:30+01:00")
    assert done.exit_code == 0, done.output
    read = "01:00 CEST to 02:30 CET … 2 hours 30 minutes, the clocks change during it"
    assert missing(read, done.stderr) == []
    assert mails_to(desk), "customers are told of planned work"
    assert "kind: maintenance\nseverity: 2\n" in (desk / FILE).read_text()


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ("tomorrow", "--window: 'tomorrow' is not a window; write \"2026-12-05 02:00/04:00\""),
        (f"{DAY} 04:00/{DAY} 02:00", "--window: the window ends before it begins; write a later end"),
        (f"{DAY} 04:00/04:00", "--window: 04:00 is when it begins; write a later end"),
        (f"{DAY} 25:00/26:00", "does not exist; check day"),
        (f"{DAY} 02:00/26:00", "26:00 is not a clock time"),
        ("02:00\x1b[2J/04:00", "--window: "),
    ],
    ids=timeless,
)
def test_a_window_that_is_none_is_explained(kept: Kept, window: str, said: str) -> None:
    refuse(kept(), f"schedule 'Database moves' --window {shlex.quote(window)} {PLAN} --yes", said)


@pytest.mark.usefixtures("person")
def test_a_window_that_would_be_refused_later_is_asked_for_again(desk: Path) -> None:
    """A person who answered everything else must not lose it to the first answer."""
    wrong = ("soon", f"{DAY} 04:00/02:00", "2020-01-01 02:00/04:00", f"{DAY}T04:00Z/{DAY}T02:00Z")
    typed = "\n".join([*wrong, NIGHT, "Payments pause.", "We move the database.", "y", ""])
    done = do(desk, "schedule 'Database moves'", typed)
    assert done.exit_code == 0, done.output
    said = (
        "Severity 2 (--severity was not given) … 'soon' is not a window … long after its start; write its "
        "date if that is meant … it has "
        "already begun (Wed 1 Jan 2020, 02:00 to 04:00 UTC … the window ends before it begins"
    )
    assert missing(said, done.stderr) == []
    assert f"from: {DAY}T02:00+00:00" in (desk / FILE).read_text()


def test_a_window_that_passed_without_a_word_has_three_ways_on(desk: Path) -> None:
    """Work that ran on time is not moved: it is done, or takes longer."""
    said = do(running(desk, began=70, lasts=60), "start").stderr
    assert (
        missing('complete database1 --ended HH:MM --fixed "…" … extend database1 --until HH:MM', said) == []
    )
    assert 'reschedule database1 --window "…"' in said
    succeed(desk, f"complete --ended {NOW - timedelta(minutes=12):%H:%M} --fixed 'It moved.'")


# Work in each state: its status, and since when its window has run, in minutes.
STATES = {
    "ahead": ("scheduled", -120.0),
    "passed": ("scheduled", 70.0),
    "begun": ("in_progress", 10.0),
    "done": ("completed", 10.0),
}
CARDS = "declare 'Cards fail' --severity 2 --issue 'Cards fail.' --resolution 'We look.' --timeframe unknown"


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory, kept: Kept) -> Kept:
    """Return a desk with work in a state, made once."""

    @cache
    def get(state: str) -> Path:
        if state not in STATES:
            return kept(f"{CARDS} --yes") if state == "incident" else kept()
        status, began = STATES[state]
        return running(make_desk(tmp_path_factory.mktemp(state) / "desk"), status, began=began)

    return get


PAST = f"{NOW - timedelta(minutes=30):%H:%M}"


@pytest.mark.parametrize(
    ("state", "command", "said"),
    [
        ("nothing", "schedule Move", "--window is missing … --issue is … --resolution is missing"),
        ("nothing", f"schedule --window '{NIGHT}' {PLAN}", "TITLE is missing; what will be done, in a few"),
        ("nothing", "start", "no maintenance is open; plan one with: commcast schedule"),
        ("nothing", "cancel --because x", "nothing is planned or expected: there is nothing to cancel"),
        ("ahead", "start", "database1 is announced for"),
        ("ahead", "complete --fixed x", "database1 has not begun"),
        ("ahead", "extend --until '2099-01-01 05:00'", "has not begun"),
        ("passed", "start", "the window of database1 is over"),
        ("begun", "start", "database1 has already begun"),
        ("begun", "complete", "--fixed is missing; what was done"),
        ("begun", "extend", "--until is missing"),
        ("begun", "extend --until soon", "--until: 'soon' is not a date and time"),
        ("begun", "extend --until '2020-01-01 05:00'", "--until: that is not later than the announced end"),
        ("begun", f"extend --until {PAST}", "write its date if that is meant: "),
        ("begun", "reschedule", "--window is missing"),
        ("begun", "reschedule --window '2020-01-01 02:00/04:00'", "--window: it has already begun"),
        ("begun", "resolve --fixed x", 'not an incident; write: commcast complete database1 --fixed "…"'),
        ("begun", "update --status completed", "write: commcast complete database1"),
        ("begun", "update --status extended", "write: commcast extend database1 --until"),
        ("done", "start database1", "database1 is completed already"),
        ("done", "update database1 --issue x", "schedule it again: commcast schedule"),
        ("incident", "start cards1", "cards1 is an incident, not maintenance"),
        ("incident", "cancel cards1 --because x", "cards1 is an incident that has begun"),
    ],
    ids=timeless,
)
def test_what_is_refused_of_planned_work(planned: Kept, state: str, command: str, said: str) -> None:
    refuse(planned(state), f"{command} --yes", said)


def test_calendars_get_a_corrected_title_and_a_cancellation(desk: Path) -> None:
    schedule(desk)
    succeed(desk, "correct database1 --wrong Database --right Cards", "cancel --because 'No need.'")
    texts = [content.decode().replace("\r\n ", "") for content in calendars(mails_to(desk))]
    assert [re.findall("METHOD:(.*)\r", text)[0] for text in texts] == ["PUBLISH", "PUBLISH", "CANCEL"]
    names = ["Acme Pay: Database moves", "Acme Pay: Cards moves", "Cancelled: Acme Pay: Cards moves"]
    assert [re.findall("SUMMARY:(.*)\r", text)[0] for text in texts] == names
