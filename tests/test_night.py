"""A night at the desk: who is asleep, what goes out by itself, who is woken, and that no promise breaks."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.desk import START, Bench, update_text, write_incident, write_list
from tests.support.scenario import OWNERS, Heard, Night, night

ALL_HOLD = 'customers = "hold"\nsupport = "hold"\nexecutives = "hold"'
READERS = ("ann@example.com", "help@acme.example", "chief@acme.example")


def say(here: Night, **keys: str) -> None:
    """Append an update of this moment to the incident and send it, as `commcast update --yes` does."""
    path = here.bench.folder / "incidents" / "pay7.yaml"
    with path.open("a") as file:
        file.write(update_text(here.bench.now, **keys))
    here.send()


def evening(here: Night) -> None:
    """Declare, and say more twice; then the owner falls asleep. Ticks run every minute."""
    here.send()
    here.minutes(14)
    say(here, status="identified", issue="A release broke card payments.")
    here.minutes(16)
    say(here, nothing_new="rollback at 60%")


def at(hour: int, minute: int) -> datetime:
    """Return a moment of that day by the clock of Berlin."""
    return START.replace(hour=hour, minute=minute) - timedelta(hours=1)


def promised(heard: Heard) -> datetime | None:
    """Return when a mail said its reader hears more."""
    for line in heard.text.splitlines():
        if line.startswith("Next update: by "):
            hour, minute = line.split()[3].split(":")
            return at(int(hour), int(minute))
    return None


def kinds(here: Night, to: str) -> list[tuple[int, str]]:
    """Return at which minutes one address heard what kind of mail."""
    minutes = here.minutes_of(to)
    return [
        (minute, each.subject.split("]")[0][1:]) for minute, each in zip(minutes, here.by(to), strict=True)
    ]


def check_no_promise_broke(here: Night, to: str) -> None:
    """Each mail but the last came with a promise, and the next one came before it."""
    for earlier, later in pairwise(here.by(to)):
        by = promised(earlier)
        assert by is not None, earlier
        assert later.at <= by, (earlier, later)
        assert "We had promised" not in later.text


def test_a_night_with_the_owner_asleep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates, holding statements at growing steps with other words each, the nudges, and the end."""
    with night(tmp_path, monkeypatch, silence=ALL_HOLD) as here:
        evening(here)
        here.minutes(330)
        say(here, status="resolved", fixed="We rolled back.")
        here.minutes(30)
    told = [(0, "Investigating"), (14, "Identified"), (30, "Identified")]
    hold = "No change"
    assert kinds(here, "ann@example.com") == [
        *told,
        *((47, hold), (67, hold), (107, hold), (167, hold)),
        (360, "Resolved"),
    ]
    # Executives hear every half an hour, and so their steps are longer.
    assert kinds(here, "chief@acme.example") == [
        *told,
        *((57, hold), (87, hold), (147, hold), (207, hold)),
        (360, "Resolved"),
    ]
    for reader in READERS:
        check_no_promise_broke(here, reader)
        said = [heard.text for heard in here.by(reader)]
        assert len(set(said)) == len(said)
    assert here.minutes_of("+4915112345671") == [0, 360]
    check_who_was_woken(here)
    assert Counter(heard.to for heard in here.heard)["bob@example.com"] == 8


def check_who_was_woken(here: Night) -> None:
    """The owner alone as long as somebody may be awake; both from the first holding statement on."""
    dana, sam = here.minutes_of("dana@acme.example"), here.minutes_of("sam@acme.example")
    assert dana[:3] == [29, 45, 47]
    assert sam[0] == 47
    assert [minute for minute in dana if minute > 53] == [minute for minute in sam if minute > 53]
    assert here.minutes_of("+4915199999901") == dana
    last = here.by("dana@acme.example")[0].text.rstrip().splitlines()[-1].strip()
    assert last == 'commcast update pay7 --nothing-new "…" --next 20m'
    assert max(dana) < 360


def test_ticking_twice_over_says_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with night(tmp_path, monkeypatch) as here:
        here.ticks = 2
        evening(here)
        here.minutes(100)
    assert [minute for minute, _ in kinds(here, "ann@example.com")] == [0, 14, 30, 47, 67, 107]
    assert here.minutes_of("dana@acme.example")[:3] == [29, 45, 47]


def test_four_ticks_at_once_say_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with night(tmp_path, monkeypatch) as here:
        evening(here)
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            for _ in range(40):
                here.bench.later(minutes=1)
                pool.starmap(tick_there, [(str(here.bench.folder), here.bench.now)] * 4, chunksize=1)
                here.listen()
    assert [minute for minute, _ in kinds(here, "ann@example.com")] == [0, 14, 30, 47, 67]
    assert here.minutes_of("dana@acme.example")[:3] == [29, 45, 47]


def tick_there(folder: str, now: datetime) -> None:
    """Tick as a process of its own."""
    bench = Bench(Path(folder), now)
    try:
        bench.tick()
    finally:
        bench.ledger.close()


@pytest.mark.parametrize("minute", [46, 47, 68])
def test_a_person_takes_over_at_any_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minute: int
) -> None:
    with night(tmp_path, monkeypatch) as here:
        evening(here)
        here.minutes(minute - 30)
        before = len(here.by("ann@example.com"))
        say(here, issue="Nearly there.")
        here.minutes(16)
        after = here.by("ann@example.com")[before:]
        assert [heard.subject[:13] for heard in after] == ["[Identified] "]
        here.minutes(1)
        hold = here.by("ann@example.com")[-1]
        assert hold.subject.startswith("[No change]")
        assert "We have nothing new to report since" in hold.text  # the first in a row again


def test_after_a_gap_one_message_owns_its_lateness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cron stood still for three hours: one current message each, no backlog, and few nudges."""
    with night(tmp_path, monkeypatch) as here:
        evening(here)
        here.minutes(5)
        here.heard.clear()
        here.bench.later(hours=3)
        here.tick()
        here.minutes(5)
    (ann,) = here.by("ann@example.com")
    assert "We had promised to write by 10:55 CET (09:55 UTC) and write only now, at 13:40 CET" in ann.text
    assert "Next update: by 14:40 CET" in ann.text  # hourly after two hours
    assert here.by("chief@acme.example") == []  # left to the nudge, and overdue
    assert Counter(heard.to for heard in here.heard if heard.to in OWNERS).most_common(1)[0][1] <= 3


def test_an_end_that_comes_late_owns_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with night(tmp_path, monkeypatch, silence="") as here:
        here.send()
        here.bench.later(minutes=45)
        say(here, status="resolved", fixed="We rolled back.")
    end = here.by("ann@example.com")[-1]
    assert "We had promised to write by 10:25 CET (09:25 UTC) and write only now, at 10:50 CET" in end.text


def test_without_a_table_of_silence_nothing_is_said_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with night(tmp_path, monkeypatch, silence="") as here:
        here.send()
        here.minutes(90)
    assert kinds(here, "ann@example.com") == [(0, "Investigating")]
    late = [heard for heard in here.by("sam@acme.example") if "broken" in heard.subject]
    assert len(late) == 2  # the promise to customers and support, and that to executives


@pytest.mark.parametrize("becomes", ["broken", "gone"])
def test_a_broken_file_cannot_silence_a_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, becomes: str
) -> None:
    with night(tmp_path, monkeypatch) as here:
        here.send()
        path = tmp_path / "incidents" / "pay7.yaml"
        path.write_text("title: [") if becomes == "broken" else path.unlink()
        for _ in range(20):
            here.bench.later(minutes=1)
            assert here.bench.tick().exit_code(0.02) == 2
        here.listen()
    hold = here.by("ann@example.com")[-1]
    assert hold.subject.startswith("[No change]")
    assert "Some customers see an error when they pay by card." in hold.text
    assert len(here.by("ann@example.com")) == 2
    broken = [heard for heard in here.by("dana@acme.example") if "is broken:" in heard.subject]
    assert len(broken) == 1


def test_where_ticks_come_late_holding_statements_come_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler that comes every seven minutes keeps promises of twenty."""
    with night(tmp_path, monkeypatch, silence=ALL_HOLD) as here:
        here.minutes(70, every=7)
        write_incident(tmp_path, at=here.bench.now)
        here.send()
        here.minutes(140, every=7)
    assert len(here.by("ann@example.com")) >= 4
    for reader in READERS:
        check_no_promise_broke(here, reader)


def test_a_broken_list_cannot_silence_a_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who were told hear its news by what the ledger knows of them, and not that nothing is new."""
    with night(tmp_path, monkeypatch) as here:
        here.send()
        here.bench.later(minutes=5)
        path = tmp_path / "incidents" / "pay7.yaml"
        path.write_text(path.read_text() + update_text(here.bench.now, issue="It is the switch."))
        here.bench.release()
        (tmp_path / "audiences" / "customers.csv").write_text("no such columns\n")
        for _ in range(16):
            here.bench.later(minutes=1)
            assert here.bench.tick().exit_code(0.02) == 2
            here.listen()
        first, hold = here.by("ann@example.com")
        assert (first.subject[:5], hold.subject[:5]) == ("[Inve", "[Inve")
        assert "It is the switch." in hold.text
        assert hold.at <= START + timedelta(minutes=20)
        write_list(tmp_path, "customers", "email,phone,name", ["ann@example.com,+4915112345671,Ann"])
        here.minutes(1)
        assert "It is the switch." in here.by("ann@example.com")[-1].text
