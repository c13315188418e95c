"""Planned work over the whole engine: what is frozen stays so, and what nobody confirmed is said to be so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commcast.model.incident import Channel
from tests.support.desk import Bench, update_text, write_desk
from tests.support.reader import calendar_file, event_in, parsed, words

START = datetime(2026, 12, 5, 1, 0, tzinfo=UTC)  # 02:00 in Berlin
END = START + timedelta(hours=2)
ANNOUNCED = START - timedelta(days=8)
EVENTS = ["first", "correction", "retracted", "reopened", "resolved", "started", "reminder"]
TEXTS = f'events = {EVENTS}\nquiet = "21:00-08:00"'
HOLD = '[tick]\nhold_before = "3m"\n'


def write_work(folder: Path, *, title: str = "Database moves", more: str = "") -> Path:
    path = folder / "incidents" / "move1.yaml"
    path.write_text(
        f"title: {title}\nkind: maintenance\nseverity: 2\n"
        f"window: {{from: {START.isoformat()}, to: {END.isoformat()}}}\nupdates:\n"
        + update_text(ANNOUNCED, issue="Payments pause.", resolution="We move the database.")
        + more
    )
    return path


def desk(folder: Path, *customers: str, sms: str = TEXTS, title: str = "Database moves") -> Bench:
    write_desk(folder, customers=customers or ("ann@example.com,,Ann",), support=(), sms=sms, extra=HOLD)
    write_work(folder, title=title)
    return Bench(folder, ANNOUNCED)


def say(bench: Bench, **keys: str) -> None:
    """Append an update of this moment and send it, as a verb with --yes does."""
    with (bench.folder / "incidents" / "move1.yaml").open("a") as file:
        file.write(update_text(bench.now, **keys))
    bench.send("move1")


def newest(bench: Bench) -> str:
    return words(parsed(bench.mails()[-1]))


def test_a_run_that_died_is_finished_with_the_calendar_file_it_froze(tmp_path: Path) -> None:
    """Also where the file says something else by then, or nothing any more."""
    whole = desk(tmp_path / "whole")
    whole.send("move1")
    died = desk(tmp_path / "died")
    died.release("move1")
    died.freeze("move1")
    (tmp_path / "died" / "incidents" / "move1.yaml").write_text("title: [\n")
    died.later(minutes=10)
    died.tick()
    (one,), (other,) = whole.mails(), died.mails()
    assert calendar_file(parsed(one)) == calendar_file(parsed(other)) is not None
    assert parsed(one).get_boundary() != parsed(other).get_boundary()  # each desk has its secret


@pytest.mark.parametrize(
    "title",
    [
        "Database, moves; to C\\:",
        "Ümzug der Datenbank 李 雷 🚚 " + "sehr " * 20,
        '"END:VEVENT"',
        "BEGIN:VALARM",
    ],
)
def test_any_title_reads_back_from_the_calendar(tmp_path: Path, title: str) -> None:
    quoted = title.replace("\\", "\\\\").replace('"', '\\"')
    bench = desk(tmp_path, title=f'"{quoted}"')
    bench.send("move1")
    content = calendar_file(parsed(bench.mails()[0]))
    assert content is not None
    assert str(event_in(content)["summary"]) == f"Acme Pay: {title.strip()}"
    assert max(map(len, content.split(b"\r\n"))) <= 75
    assert b"\n" not in content.replace(b"\r\n", b"")


def test_reminders_say_how_far_off_it_is_and_carry_the_same_entry(tmp_path: Path) -> None:
    bench = desk(tmp_path)
    bench.send("move1")
    for left in (timedelta(days=7), timedelta(days=1), timedelta(hours=1)):
        bench.now = START - left
        bench.tick()
        bench.tick()
    mails = [parsed(path) for path in bench.mails()]
    assert [mail["Subject"] for mail in mails[1:]] == [
        "[Reminder: in 7 days] Database moves (move1)",
        "[Reminder: in 1 day] Database moves (move1)",
        "[Reminder: in 1 hour] Database moves (move1)",
    ]
    assert "REMINDER: Database moves This is a reminder: the planned work begins in 1 day." in words(mails[2])
    assert "When: Sat 5 Dec 2026, 02:00 to 04:00 CET (01:00 to 03:00 UTC)" in words(mails[2])
    assert len({calendar_file(mail) for mail in mails}) == 1


def test_after_a_move_nobody_is_reminded_of_the_old_time(tmp_path: Path) -> None:
    bench = desk(tmp_path)
    bench.send("move1")
    bench.now = START - timedelta(days=2)
    later = START + timedelta(days=7)
    window = f"{{from: {later.isoformat()}, to: {(later + timedelta(hours=2)).isoformat()}}}"
    say(bench, status="rescheduled", window=window)
    for left in (timedelta(days=1), timedelta(hours=1)):
        bench.now = START - left
        bench.tick()
    assert len(bench.mails()) == 2
    bench.now = later - timedelta(days=1)
    bench.tick()
    assert "begins in 1 day" in newest(bench)
    assert "When: Sat 12 Dec 2026" in newest(bench)


def test_a_move_that_nobody_was_told_of_is_not_what_it_was_before(tmp_path: Path) -> None:
    """Moved twice before somebody said yes: readers know the first window alone."""
    bench = desk(tmp_path)
    bench.send("move1")
    bench.later(days=1)
    for days in (7, 9):
        start = START + timedelta(days=days)
        window = f"{{from: {start.isoformat()}, to: {(start + timedelta(hours=2)).isoformat()}}}"
        with (tmp_path / "incidents" / "move1.yaml").open("a") as file:
            file.write(update_text(bench.now, status="rescheduled", window=window))
    bench.send("move1")
    assert "New time: Mon 14 Dec 2026, 02:00 to 04:00 CET" in newest(bench)
    assert "Before it was: Sat 5 Dec 2026, 02:00 to 04:00 CET" in newest(bench)


def test_work_whose_start_nobody_confirms_is_not_called_begun(tmp_path: Path) -> None:
    bench = desk(tmp_path)
    bench.send("move1")
    bench.now = START - timedelta(minutes=3)
    bench.tick()
    what = "The planned start (Sat 5 Dec, 02:00 CET (01:00 UTC)) is near"
    assert f"{what}; we have not confirmed that the work has begun." in newest(bench)
    assert "has started" not in newest(bench)
    assert calendar_file(parsed(bench.mails()[-1])) is None


def test_work_whose_end_nobody_confirms_is_not_called_complete(tmp_path: Path) -> None:
    """Readers are told at the end of the window, again at growing steps, never in the same words."""
    bench = desk(tmp_path)
    bench.send("move1")
    bench.now = START
    say(bench, status="in_progress")
    said = []
    while bench.now < END + timedelta(hours=5):
        before = len(bench.mails())
        bench.later(minutes=1)
        bench.tick()
        if len(bench.mails()) > before:
            said.append((bench.now - END, newest(bench)))
    assert said[0][0] == timedelta(minutes=-3)
    leads = [text.partition(": Database moves ")[2].partition(" Planned end:")[0] for _, text in said]
    assert leads[0].endswith("is near; we have not confirmed that the work is complete.")
    assert leads[1].startswith("We have still not confirmed that the work is complete. The planned end")
    assert leads[1].endswith("has passed.")
    assert len(set(leads)) == len(leads)
    assert all("Next update: by " in text and "The planned work is complete" not in text for _, text in said)
    assert len(said) >= 2
    say(bench, status="completed", fixed="It runs on new hardware.")
    assert "The planned work is complete." in newest(bench)
    assert "after " in newest(bench)


def test_a_late_end_owns_what_it_had_promised(tmp_path: Path) -> None:
    bench = desk(tmp_path)
    bench.send("move1")
    bench.now = START
    say(bench, status="in_progress")
    bench.now = END + timedelta(hours=1)  # no tick ran meanwhile
    say(bench, status="completed", fixed="It runs on new hardware.")
    assert "We had promised to write by " in newest(bench)


def test_a_text_held_for_another_zone_goes_as_a_reminder_or_not_at_all(tmp_path: Path) -> None:
    """20:30 in Berlin is the small hours in Tokyo: there it waits, and is dropped once the work has begun."""
    head = "email,phone,name,timezone"
    bench = desk(tmp_path)
    (tmp_path / "audiences" / "customers.csv").write_text(
        f"{head}\n,+4915112345671,Ann,\n,+81312345671,Ren,Asia/Tokyo\n"
    )
    bench.send("move1")
    bench.now = START - timedelta(hours=29, minutes=30)  # 20:30 in Berlin, 04:30 in Tokyo
    bench.tick()
    notice = "reminder:1:1d"
    assert bench.states("move1", notice) == {(Channel.SMS, "accepted"): 1, (Channel.SMS, "held"): 1}
    bench.later(hours=4)
    bench.tick()
    assert bench.states("move1", notice) == {(Channel.SMS, "accepted"): 2}
    texts = [path.read_text() for path in bench.texts()]
    assert "Acme Pay REMINDER: Planned work in 1 day 5 hours, " in texts[-2] or "REMINDER" in texts[-2]
    assert "Acme Pay REMINDER: Planned work in 1 day" in texts[-1]
    bench.now = START - timedelta(hours=5, minutes=30)
    bench.tick()
    bench.now = START + timedelta(hours=1)
    bench.tick()
    assert ("sms", "skipped") in bench.states("move1", "reminder:1:1h")
