"""The nights in which clocks change: windows, reminders and follow-ups come once, at the promised instant.

The rule: a length of time is that long, whatever clocks show meanwhile (three hours, or a day of 24 hours).
A clock time is refused where that night's clocks skip it or show it twice, unless it names its offset.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from commcast.ledger.history import what_was_said
from commcast.model.incident import Channel
from commcast.model.times import at_offset_of, in_zone, parse_clock_time, parse_window
from tests.support.desk import Bench, update_text, write_desk
from tests.support.reader import calendar_file, event_in, parsed

Heard = tuple[str, datetime, datetime | None]  # what a mail is labelled, when it went, what it promised
STEP = timedelta(minutes=5)
EXTRA = """\
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
NIGHTS = [
    pytest.param("Europe/Berlin", "2026-10-24", 60, id="Berlin, autumn"),
    pytest.param("Europe/Berlin", "2027-03-27", -60, id="Berlin, spring"),
    pytest.param("America/New_York", "2026-10-31", 60, id="New York, autumn"),
    pytest.param("America/New_York", "2027-03-13", -60, id="New York, spring"),
    pytest.param("Australia/Lord_Howe", "2027-04-03", 30, id="Lord Howe, autumn"),
    pytest.param("Australia/Lord_Howe", "2026-10-03", -30, id="Lord Howe, spring"),
]


def local(zone: str, evening: str, hour: int, minute: int = 0, days: int = 0) -> datetime:
    """Return the moment at which clocks in `zone` show a time, so many days after the evening."""
    day = datetime.fromisoformat(evening).date() + timedelta(days=days)
    return in_zone(datetime.combine(day, time(hour, minute)), ZoneInfo(zone)).astimezone(UTC)


def desk_in(folder: Path, zone: str, now: datetime) -> Bench:
    write_desk(folder, customers=["ann@example.com,,Ann"], support=[], extra=EXTRA)
    config = folder / "commcast.toml"
    config.write_text(config.read_text().replace('zone = "Europe/Berlin"', f'zone = "{zone}"'))
    return Bench(folder, now)


def ticked(bench: Bench, name: str, moments: Iterable[datetime], seen: int = 0) -> list[Heard]:
    """Tick at each moment; return each mail to the customer but the first `seen`."""
    found: list[Heard] = []
    for moment in moments:
        bench.now = moment
        assert not bench.tick().errors
        found += new_mails(bench, name, seen + len(found))
    return found


def new_mails(bench: Bench, name: str, seen: int) -> list[Heard]:
    mails = [path for path in bench.mails() if "ann" in path.name][seen:]
    if not mails:
        return []
    with bench.ledger.read() as connection:
        said = [each for each in what_was_said(connection, name) if each.channel is Channel.EMAIL]
    told = [each for each in said if each.audience == "customers"][seen:]
    labels = [str(parsed(path)["Subject"]).partition("]")[0][1:] for path in mails]
    return [(label, bench.now, each.promised) for label, each in zip(labels, told, strict=True)]


def steps(start: datetime, end: datetime) -> Iterable[datetime]:
    while start <= end:
        yield start
        start += STEP


@pytest.mark.parametrize(("zone", "evening", "minutes"), NIGHTS)
def test_each_follow_up_comes_once_at_the_promised_instant(
    tmp_path: Path, zone: str, evening: str, minutes: int
) -> None:
    """Told at 00:30 by local time without an offset: word every three hours of real time, all night."""
    began = local(zone, evening, 0, 30, days=1)
    written = began.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    bench = desk_in(tmp_path, zone, began)
    (tmp_path / "incidents" / "pay7.yaml").write_text(
        f"title: Cards fail\nseverity: 2\nupdates:\n  - at: {written.isoformat()}\n"
        "    issue: Cards fail.\n    resolution: We look.\n    timeframe: unknown\n"
    )
    bench.release()
    pace = timedelta(hours=3)
    assert ticked(bench, "pay7", steps(began, began + 3 * pace)) == [
        ("Investigating", began, began + pace),
        ("No change", began + pace - STEP, began + 2 * pace),
        ("No change", began + 2 * pace - STEP, began + 3 * pace),
        ("No change", began + 3 * pace - STEP, began + 4 * pace),
    ]
    shown = (began + pace).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    assert shown - written == pace - timedelta(minutes=minutes)


@pytest.mark.parametrize(("zone", "evening", "minutes"), NIGHTS)
def test_planned_work_over_the_change_is_reminded_of_begun_and_asked_for_once(
    tmp_path: Path, zone: str, evening: str, minutes: int
) -> None:
    start, end = local(zone, evening, 23), local(zone, evening, 5, days=1)
    assert end - start == timedelta(hours=6, minutes=minutes)
    announced = start - timedelta(days=8)
    bench = desk_in(tmp_path, zone, announced)
    path = tmp_path / "incidents" / "move1.yaml"
    window = parse_window(f"{evening} 23:00/05:00", announced, ZoneInfo(zone))
    assert (window.start, window.end) == (start, end)
    path.write_text(
        "title: Database moves\nkind: maintenance\nseverity: 2\n"
        f"window: {{from: {evening}T23:00, to: {window.end.isoformat()}}}\n"
        f"updates:\n  - at: {announced.isoformat()}\n"
        "    issue: Payments pause.\n    resolution: We move the database.\n"
    )
    bench.release("move1")
    nearly = [timedelta(days=7), timedelta(hours=24), timedelta(hours=1)]
    watched = [at for left in nearly for at in steps(start - left - 3 * STEP, start - left + 3 * STEP)]
    heard = ticked(bench, "move1", [announced, *watched])
    assert heard == [
        ("Scheduled", announced, start),
        ("Reminder: in 7 days", start - timedelta(days=7), start),
        ("Reminder: in 1 day", start - timedelta(hours=24), start),
        ("Reminder: in 1 hour", start - timedelta(hours=1), start),
    ]
    bench.now = start
    with path.open("a") as file:
        file.write(update_text(start, status="in_progress"))
    bench.send("move1")
    night = ticked(bench, "move1", steps(start + STEP, end + 2 * STEP), len(heard))
    assert night == [
        ("In progress", start + STEP, end),  # taken note of at the tick after it
        ("No change", end - STEP, end + timedelta(hours=3)),
    ]
    check_calendars(bench, start, end)


def check_calendars(bench: Bench, start: datetime, end: datetime) -> None:
    """Announcement and reminders carry the window in UTC, in the same bytes each time."""
    files = {calendar_file(parsed(path)) for path in bench.mails()} - {None}
    assert len(files) == 1
    content = files.pop()
    assert content is not None
    event: Any = event_in(content)
    assert (event["dtstart"].dt, event["dtend"].dt) == (start, end)


@pytest.mark.parametrize(
    ("zone", "window", "hours"),
    [
        ("Europe/Berlin", "2026-10-25 01:00/04:00", 4),
        ("Europe/Berlin", "2027-03-28 01:00/04:00", 2),
        ("Europe/Berlin", "2026-10-25 01:00/02:30+01:00", 2.5),
        ("Europe/Berlin", "2026-10-25T02:30+02:00/02:30+01:00", 1),
        ("America/New_York", "2026-11-01 00:30/03:00", 3.5),
        ("America/New_York", "2027-03-14 00:30/03:00", 1.5),
        ("Australia/Lord_Howe", "2027-04-04 01:00/03:00", 2.5),
        ("Australia/Lord_Howe", "2026-10-04 01:00/03:00", 1.5),
    ],
)
def test_a_window_over_the_change_is_as_long_as_it_really_is(zone: str, window: str, hours: float) -> None:
    found = parse_window(window, datetime(2026, 9, 1, tzinfo=UTC), ZoneInfo(zone))
    assert found.end - found.start == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("zone", "window", "said"),
    [
        ("Europe/Berlin", "2026-10-25 02:30/04:00", "occurs twice in Europe/Berlin; write the offset"),
        ("Europe/Berlin", "2027-03-28 01:00/02:30", "does not exist in Europe/Berlin"),
        ("America/New_York", "2026-11-01 00:00/01:30", "occurs twice in America/New_York"),
        ("Australia/Lord_Howe", "2027-04-04 01:45/03:00", "occurs twice in Australia/Lord_Howe"),
        ("Australia/Lord_Howe", "2026-10-04 02:15/03:00", "does not exist in Australia/Lord_Howe"),
    ],
)
def test_a_clock_time_that_cannot_be_told_is_refused(zone: str, window: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_window(window, datetime(2026, 9, 1, tzinfo=UTC), ZoneInfo(zone))


def test_the_next_such_clock_time_does_not_stumble_over_hours_that_are_past() -> None:
    """02:30 came twice this night; who asks for the next one at 04:00 means tomorrow's."""
    berlin = ZoneInfo("Europe/Berlin")
    after = datetime(2026, 10, 25, 3, 0, tzinfo=UTC)
    assert parse_clock_time("02:30", after, berlin) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_lengths_are_added_to_a_moment_and_not_to_what_a_clock_shows() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    before = datetime(2026, 10, 24, 23, 50, tzinfo=UTC)
    for moment in (in_zone(datetime(2026, 10, 25, 1, 50), berlin), at_offset_of(berlin, before)):  # noqa: DTZ001
        assert (moment + timedelta(hours=2)).astimezone(UTC) == before + timedelta(hours=2)
        assert moment.isoformat() == "2026-10-25T01:50:00+02:00"
