"""Planned work, nights in which clocks change, and what is said after an end.

A length of time is that long, whatever clocks show meanwhile: three hours, or a day of 24 hours.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.ledger.history import what_was_said
from commcast.model.incident import Channel
from commcast.model.times import at_offset_of, in_zone, parse_clock_time, parse_window
from commcast.plan.cadence import GRACE
from commcast.plan.reminders import next_morning
from tests.support.desk import START as SATURDAY
from tests.support.desk import Bench, update_text, write_desk, write_incident, write_list
from tests.support.reader import calendar_file, event_in, parsed, words
from tests.support.scenario import ANN, ANN_SMS, BOB, Story
from tests.support.terminal import run
from tests.support.values import cases

START = datetime(2026, 12, 5, 1, 0, tzinfo=UTC)  # 02:00 in Berlin
END = START + timedelta(hours=2)
ANNOUNCED = START - timedelta(days=8)
EVENTS = ["first", "correction", "retracted", "reopened", "resolved", "started", "reminder"]
LEFT = {"7d": timedelta(days=7), "1d": timedelta(days=1), "1h": timedelta(hours=1)}


def window(start: datetime) -> str:
    return f"{{from: {start.isoformat()}, to: {(start + timedelta(hours=2)).isoformat()}}}"


def work(folder: Path, title: str = "Database moves") -> Bench:
    """Return a desk with planned work that nobody has announced yet."""
    sms = f'events = {EVENTS}\nquiet = "21:00-08:00"'
    write_desk(folder, customers=(f"{ANN},,Ann",), support=(), sms=sms, extra='[tick]\nhold_before = "3m"\n')
    (folder / "incidents" / "move1.yaml").write_text(
        f"title: {title}\nkind: maintenance\nseverity: 2\nwindow: {window(START)}\nupdates:\n"
        + update_text(ANNOUNCED, issue="Payments pause.", resolution="We move the database.")
    )
    return Bench(folder, ANNOUNCED)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A desk whose readers were told of the work."""
    made = work(tmp_path)
    made.send("move1")
    return made


def write(bench: Bench, **keys: str) -> None:
    bench.append("incidents/move1.yaml", update_text(bench.now, **keys))


def say(bench: Bench, at: datetime, **keys: str) -> None:
    """Append an update of a moment and send it, as a command with --yes does."""
    bench.now = at
    write(bench, **keys)
    bench.send("move1")


def tick(bench: Bench, at: datetime) -> None:
    bench.now = at
    assert not bench.tick().errors


def newest(bench: Bench) -> str:
    return words(parsed(bench.mails()[-1]))


@pytest.mark.parametrize(
    "title", ["Database, moves; to C\\:", "Ümzug 李 雷 🚚 " + "sehr " * 20, '"END:VEVENT"', "BEGIN:VALARM"]
)
def test_any_title_reads_back_from_the_calendar(tmp_path: Path, title: str) -> None:
    quoted = title.replace("\\", "\\\\").replace('"', '\\"')
    made = work(tmp_path, title=f'"{quoted}"')
    made.send("move1")
    content = calendar_file(parsed(made.mails()[0]))
    assert content is not None
    assert str(event_in(content)["summary"]) == f"Acme Pay: {title.strip()}"
    assert max(map(len, content.split(b"\r\n"))) <= 75
    assert b"\n" not in content.replace(b"\r\n", b"")


def test_reminders_say_once_how_far_off_it_is_and_carry_the_same_entry(bench: Bench) -> None:
    for left in LEFT.values():
        tick(bench, START - left)
        bench.tick()
    mails = [parsed(path) for path in bench.mails()]
    assert [mail["Subject"] for mail in mails[1:]] == ["[Reminder] Database moves (move1)"] * 3
    for mail, ahead in zip(mails[1:], ("7 days", "1 day", "1 hour"), strict=True):
        assert f"This starts in {ahead}: Sat 5 Dec, 02:00-04:00 CET (UTC+1) (2 hours)." in words(mail)
    assert len({calendar_file(mail) for mail in mails}) == 1


def test_a_move_that_nobody_was_told_of_is_not_what_it_was_before(bench: Bench) -> None:
    """Moved twice before somebody said yes: readers know the first window alone."""
    bench.later(days=1)
    for days in (7, 9):
        write(bench, status="rescheduled", window=window(START + timedelta(days=days)))
    bench.send("move1")
    assert "We've moved this to a new time: Mon 14 Dec, 02:00-04:00 CET (UTC+1)." in newest(bench)
    assert "It was planned for Sat 5 Dec, 02:00-04:00 CET (UTC+1)." in newest(bench)


def test_work_whose_start_nobody_confirms_is_not_called_begun(bench: Bench) -> None:
    counts = []
    for minutes in (-3, 0, 11):  # a late reminder, and nothing beside it
        tick(bench, START + timedelta(minutes=minutes))
        counts.append(len(bench.mails()))
    assert counts == [2, 2, 2]  # whoever is punctual worries nobody
    tick(bench, START + timedelta(minutes=12))
    assert "Sat 5 Dec, 02:00 CET (UTC+1). We can't confirm yet that it has started." in newest(bench)
    assert newest(bench).count("has started") == 1
    assert calendar_file(parsed(bench.mails()[-1])) is None


def test_work_whose_end_nobody_confirms_is_not_called_complete(bench: Bench) -> None:
    """Readers are told at the end of the window, again at growing steps, never in the same words."""
    say(bench, START, status="in_progress")
    bench.now = END - timedelta(minutes=10)
    said: dict[str, timedelta] = {}
    while bench.now < END + timedelta(hours=5):
        tick(bench, bench.now + timedelta(minutes=1 if bench.now < END else 7))
        said.setdefault(newest(bench), bench.now - END)
    said.pop(next(iter(said)))  # that it began
    assert next(iter(said.values())) == timedelta(minutes=14)
    leads, promised = zip(*(text.partition(" Next update by ")[::2] for text in said), strict=True)
    assert all("04:00 CET (UTC+1). We can't confirm yet that it has finished" in lead for lead in leads)
    assert len(set(promised)) == len(promised)
    assert not any("The work finished" in text for text in said)
    say(bench, bench.now, status="completed", fixed="It runs on new hardware.")
    assert "The work finished at" in newest(bench)


def test_a_text_held_for_another_zone_goes_as_a_reminder_or_not_at_all(tmp_path: Path) -> None:
    """20:30 in Berlin is the small hours in Tokyo: there it waits, and is dropped once the work has begun."""
    made = work(tmp_path)
    rows = [f",{ANN_SMS},Ann,", ",+81312345671,Ren,Asia/Tokyo"]
    write_list(tmp_path, "customers", "email,phone,name,timezone", rows)
    made.send("move1")
    tick(made, START - timedelta(hours=29, minutes=30))  # 20:30 in Berlin, 04:30 in Tokyo
    notice = "reminder:1:1d"
    assert made.states("move1", notice) == {(Channel.SMS, "accepted"): 1, (Channel.SMS, "held"): 1}
    tick(made, START - timedelta(hours=25, minutes=30))
    assert made.states("move1", notice) == {(Channel.SMS, "accepted"): 2}
    assert "Acme Pay: Planned work in 1 day" in made.texts()[-1].read_text()
    tick(made, START - timedelta(hours=5, minutes=30))
    tick(made, START + timedelta(hours=1))
    assert ("sms", "skipped") in made.states("move1", "reminder:1:1h")


STEP, PACE = timedelta(minutes=5), timedelta(hours=3)
EVERY_3H = """\
[cadence.2]
every = "3h"
[silence]
customers = "hold"
steps = ["1x"]
then = "1x"
[tick]
hold_before = "5m"
"""
# The evening before the clocks change, and by how much they do.
NIGHTS = cases("""
    zone                | evening    | minutes
    Europe/Berlin       | 2026-10-24 | 60
    Europe/Berlin       | 2027-03-27 | -60
    America/New_York    | 2026-10-31 | 60
    Australia/Lord_Howe | 2027-04-03 | 30
    Australia/Lord_Howe | 2026-10-03 | -30
""")


def local(zone: str, evening: str, hour: int, minute: int = 0, days: int = 0) -> datetime:
    """Return the moment at which clocks in `zone` show a time, so many days after the evening."""
    day = datetime.fromisoformat(evening).date() + timedelta(days=days)
    return in_zone(datetime.combine(day, time(hour, minute)), ZoneInfo(zone)).astimezone(UTC)


def desk_in(folder: Path, zone: str, now: datetime) -> Bench:
    write_desk(folder, customers=[f"{ANN},,Ann"], support=[], extra=EVERY_3H)
    bench = Bench(folder, now)
    bench.edit("commcast.toml", 'zone = "Europe/Berlin"', f'zone = "{zone}"')
    return bench


def ticked(bench: Bench, moments: Iterable[datetime]) -> list[tuple[str, datetime]]:
    """Tick at each moment; return what each new email is labelled, and when it went."""
    found: list[tuple[str, datetime]] = []
    for moment in moments:
        seen = len(bench.mails())
        tick(bench, moment)
        for path in bench.mails()[seen:]:
            found.append((str(parsed(path)["Subject"]).partition("]")[0][1:], moment))
    return found


def promises(bench: Bench, name: str) -> list[datetime | None]:
    """Return what each mail to customers promised, in order."""
    with bench.ledger.read() as connection:
        return [each.promised for each in what_was_said(connection, name) if each.channel is Channel.EMAIL]


def steps(start: datetime, end: datetime) -> list[datetime]:
    return [start + number * STEP for number in range((end - start) // STEP + 1)]


@NIGHTS
def test_each_follow_up_comes_once_at_the_promised_instant(
    tmp_path: Path, zone: str, evening: str, minutes: str
) -> None:
    """Told at 00:30 by local time without an offset: word every three hours of real time, all night."""
    began = local(zone, evening, 0, 30, days=1)
    written = began.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    made = desk_in(tmp_path, zone, began)
    (tmp_path / "incidents" / "pay7.yaml").write_text(
        f"title: Cards fail\nseverity: 2\nupdates:\n  - at: {written.isoformat()}\n"
        "    issue: Cards fail.\n    resolution: We look.\n    timeframe: unknown\n"
    )
    made.release("pay7")
    near = [at for turn in (1, 2, 3) for at in steps(began + turn * PACE - 3 * STEP, began + turn * PACE)]
    assert ticked(made, [began, *near]) == [
        ("Investigating", began),
        *(("Update", began + turn * PACE - STEP) for turn in (1, 2, 3)),
    ]
    assert promises(made, "pay7") == [began + turn * PACE for turn in (1, 2, 3, 4)]
    shown = (began + PACE).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    assert shown - written == PACE - timedelta(minutes=int(minutes))


@NIGHTS
def test_planned_work_over_the_change_is_reminded_of_begun_and_asked_for_once(
    tmp_path: Path, zone: str, evening: str, minutes: str
) -> None:
    start, end = local(zone, evening, 23), local(zone, evening, 5, days=1)
    assert end - start == timedelta(hours=6, minutes=int(minutes))
    announced = start - timedelta(days=8)
    made = desk_in(tmp_path, zone, announced)
    planned = parse_window(f"{evening} 23:00/05:00", announced, ZoneInfo(zone))
    assert (planned.start, planned.end) == (start, end)
    (tmp_path / "incidents" / "move1.yaml").write_text(
        "title: Database moves\nkind: maintenance\nseverity: 2\n"
        f"window: {{from: {evening}T23:00, to: {planned.end.isoformat()}}}\nupdates:\n"
        + update_text(announced, issue="Payments pause.", resolution="We move the database.")
    )
    made.release("move1")
    watched = [at for left in LEFT.values() for at in steps(start - left - 2 * STEP, start - left + 2 * STEP)]
    assert ticked(made, [announced, *watched]) == [
        ("Planned work", announced),
        ("Reminder", start - LEFT["7d"]),
        ("Reminder", start - LEFT["1d"]),
        ("Reminder", start - LEFT["1h"]),
    ]
    made.now = start
    write(made, status="in_progress")
    made.release("move1")
    assert ticked(made, steps(start + STEP, end + 4 * STEP)) == [
        ("Started", start + STEP),
        ("Update", end + 2 * STEP),
    ]
    assert promises(made, "move1") == [*[start + GRACE] * 4, end + GRACE, end + GRACE + PACE]
    # Announcement and reminders carry the window in UTC, in the same bytes each time.
    (content,) = {calendar_file(parsed(path)) for path in made.mails()} - {None}
    assert content is not None
    event: Any = event_in(content)
    assert (event["dtstart"].dt, event["dtend"].dt) == (start, end)


@cases("""
    zone                | written                                   | hours
    Europe/Berlin       | 2026-10-25 01:00/04:00                    | 4
    Europe/Berlin       | 2027-03-28 01:00/04:00                    | 2
    Europe/Berlin       | 2026-10-25 01:00/02:30+01:00              | 2.5
    Europe/Berlin       | 2026-10-25T02:30+02:00/02:30+01:00        | 1
    Australia/Lord_Howe | 2027-04-04 01:00/03:00                    | 2.5
    Australia/Lord_Howe | 2026-10-04 01:00/03:00                    | 1.5
""")
def test_a_window_over_the_change_is_as_long_as_it_really_is(zone: str, written: str, hours: str) -> None:
    found = parse_window(written, datetime(2026, 9, 1, tzinfo=UTC), ZoneInfo(zone))
    assert found.end - found.start == timedelta(hours=float(hours))


def test_the_next_such_clock_time_does_not_stumble_over_hours_that_are_past() -> None:
    """02:30 came twice this night; asked for at 04:00, the next one is tomorrow's."""
    after = datetime(2026, 10, 25, 3, 0, tzinfo=UTC)
    found = parse_clock_time("02:30", after, ZoneInfo("Europe/Berlin"))
    assert found == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_lengths_are_added_to_a_moment_and_not_to_what_a_clock_shows() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    before = datetime(2026, 10, 24, 23, 50, tzinfo=UTC)
    for moment in (in_zone(datetime(2026, 10, 25, 1, 50), berlin), at_offset_of(berlin, before)):  # noqa: DTZ001
        assert (moment + timedelta(hours=2)).astimezone(UTC) == before + timedelta(hours=2)
        assert moment.isoformat() == "2026-10-25T01:50:00+02:00"


LINK = "https://acme.example/reviews/pay7"
WRITTEN = "At 09:45 a release broke the connection to a database. " * 5
ALL = {ANN, BOB, "help@acme.example"}


def ended(folder: Path, *, at: datetime = SATURDAY, head: str = "", rows: tuple[str, ...] = ()) -> Story:
    """Tell an incident from its beginning to its end; the customers have a check-in coming."""
    story = Story(folder, start=at)
    if rows:
        story.people("email,name,timezone", *rows)
    story.declare()
    story.go_to(10)
    story.say(status="resolved", fixed="The release is back.", check_in="[customers]")
    return story


def told_of(story: Story, notice: str) -> set[str]:
    return {row.address for row in story.bench.rows() if row.notice == notice and row.state == "accepted"}


@pytest.mark.parametrize(
    "review", [LINK, f'"{WRITTEN}\\n\\nWe test it now."'], ids=["a link", "the review itself"]
)
def test_a_person_and_no_tick_sends_the_review_to_those_who_were_told_the_end(
    tmp_path: Path, review: str
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    story = ended(tmp_path, at=now - timedelta(minutes=20))
    story.people("email,phone,name", "new@example.com,,New", f"{ANN},,Ann")
    story.path.write_text(f"postmortem: {review}\n" + story.path.read_text())
    for _ in range(2):
        run("tick", folder=tmp_path)
    run("send", "pay7", folder=tmp_path, expect=5)
    assert story.bench.mails() == []
    run("send", "--yes", folder=tmp_path)
    new = [path.read_text().replace("=\n", "") for path in story.bench.mails()]
    assert len(new) == 3
    said = LINK if review == LINK else WRITTEN
    assert all(said in mail and "Subject: [Review]" in mail for mail in new)
    assert (told_of(story, "follow-up:review"), story.bench.texts()) == (ALL, [])
    run("send", "pay7", "--yes", folder=tmp_path)
    run("tick", folder=tmp_path)
    assert len(story.bench.mails()) == 3


def test_a_check_in_goes_in_the_morning_of_each_readers_zone(tmp_path: Path) -> None:
    """To the audience that the owner picked. The story is of a Saturday: Monday is the next working day."""
    zones = {"ann": "Asia/Tokyo", "bob": "Europe/Berlin", "cat": "America/New_York"}
    rows = tuple(f"{name}@example.com,{name},{zone}" for name, zone in zones.items())
    story = ended(tmp_path, rows=rows)
    before = len(story.heard)
    story.bench.now = SATURDAY.replace(hour=12, minute=0)
    while story.bench.now < SATURDAY + timedelta(days=3):
        story.bench.tick()
        story.bench.later(hours=2)
    assert {heard.to: heard.at for heard in story.heard[before:]} == {
        "ann@example.com": datetime(2026, 11, 23, 0, 0, tzinfo=UTC),
        "bob@example.com": datetime(2026, 11, 23, 8, 0, tzinfo=UTC),
        "cat@example.com": datetime(2026, 11, 23, 14, 0, tzinfo=UTC),
    }
    assert len(story.heard) == before + 3
    assert "If everything works for you, you don't need to do anything." in story.heard[-1].text


def test_a_check_in_is_left_out_when_it_goes_on_again(tmp_path: Path) -> None:
    story = ended(tmp_path)
    story.go_to(42 * 60)
    story.say(status="reopened", issue="It is back.", resolution="We look.", timeframe="unknown")
    story.minutes(36 * 60, every=6 * 60)
    assert told_of(story, "follow-up:check-in") == set()


def test_the_last_email_asks_once_whether_readers_were_kept_informed(tmp_path: Path) -> None:
    write_desk(tmp_path)
    write_incident(tmp_path)
    made = Bench(tmp_path)
    url = "https://acme.example/f/{id}?from=mail"
    made.edit("commcast.toml", "[contact]\n", f'[contact]\nfeedback_url = "{url}"\n')
    made.send()
    assert not any("well informed" in path.read_text() for path in made.mails())
    made.later(minutes=10)
    made.write(status="resolved", fixed="The release is back.")
    made.send()
    for path in made.mails()[3:]:
        mail = path.read_text().replace("=\n", "").replace("=3D", "=")
        assert "https://acme.example/f/pay7?from=mail&incident=pay7&answer=yes" in mail
        assert "from=mail&amp;incident=pay7&amp;answer=no" in mail
        assert not any("@" in word for word in mail.split() if "acme.example/f" in word)
    assert not any("well informed" in path.read_text() for path in made.texts())


ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Tokyo", "Pacific/Auckland", "Etc/GMT-14"])


@given(hours=st.integers(0, 20_000), zone=ZONES)
def test_a_morning_is_nine_on_a_working_day_after_the_end(hours: int, zone: str) -> None:
    at = SATURDAY + timedelta(hours=hours)
    morning = next_morning(at, ZoneInfo(zone)).astimezone(ZoneInfo(zone))
    here = at.astimezone(ZoneInfo(zone))
    assert (morning.hour, morning.minute) == (9, 0)
    assert morning.weekday() < 5
    assert here.date() < morning.date() <= here.date() + timedelta(days=3)
